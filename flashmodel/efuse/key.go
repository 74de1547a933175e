package efuse

import "slices"

// BurnKey writes a key block as espefuse burn-key and esp_efuse_write_key do, and
// protects it: against writing, and reading if the key is secret. InvalidState if
// the block is in use, InvalidArg if the length does not fit: 32 bytes, 24 under 3/4
// coding.
//
//	FlashKeyBlock            key of flash encryption, as in the key file; stored reversed, unreadable
//	SecureBootBlock, v1      key of secure boot V1, as in the key file; stored reversed, unreadable
//	SecureBootBlock, digest  SHA-256 digest of the V2 public key, stored as it is, readable
func (e *EFuse) BurnKey(use KeyUse, key []byte) Err {
	want := 32
	if e.Scheme() == SchemeThreeQuarters {
		want = 24
	}
	if len(key) != want || use > SecureBootV2Digest {
		return InvalidArg
	}
	if use == SecureBootV2Digest && e.Scheme() != SchemeNone {
		return NotSupported
	}
	b := use.block()
	if e.Words(b) != (Words{}) || e.Value(WriteDisable)>>(6+b)&1 == 1 || e.Value(ReadDisable)>>(b-1)&1 == 1 {
		return InvalidState
	}
	var w Batch
	protect := uint64(1) << (b - 1)
	if use == SecureBootV2Digest {
		protect = 0
	} else {
		key = slices.Clone(key)
		slices.Reverse(key)
	}
	for _, err := range []Err{
		w.WriteBlock(e, b, key),
		w.Write(e, WriteDisable, 1<<(6+b)),
		w.Write(e, ReadDisable, protect),
	} {
		if err != OK {
			return err
		}
	}
	return e.Commit(&w)
}

// KeyUse is what a key block is for.
type KeyUse uint8

// The values of KeyUse.
const (
	FlashEncryptionKey KeyUse = iota
	SecureBootV1Key
	SecureBootV2Digest
)

func (u KeyUse) block() Block {
	if u == FlashEncryptionKey {
		return FlashKeyBlock
	}
	return SecureBootBlock
}

// FlashKey is the flash encryption key as the hardware uses it, in the order of a key
// file. Under 3/4 coding the 24 bytes grow to 32: bytes 8 to 15 come again at the end.
func (e *EFuse) FlashKey() [32]byte {
	if e.later != nil {
		return e.later.xtsKey()
	}
	return e.key(FlashKeyBlock)
}

// SecureBootV1Key is the key of secure boot V1 as the hardware uses it.
func (e *EFuse) SecureBootV1Key() [32]byte { return e.key(SecureBootBlock) }

func (e *EFuse) key(b Block) (key [32]byte) {
	stored, n := e.data(b).bytes(), 32
	if schemeOf(e.fuse[System][6]) == SchemeThreeQuarters {
		n = 24
	}
	for i := range n {
		key[i] = stored[n-1-i]
	}
	if n == 24 {
		copy(key[24:], key[8:16])
	}
	return key
}

// SecureBootDigest is the digest of the V2 public key that software reads: all 0 when
// there is none or when the block was read-protected by mistake.
func (e *EFuse) SecureBootDigest() [32]byte { return e.Words(SecureBootBlock).bytes() }
