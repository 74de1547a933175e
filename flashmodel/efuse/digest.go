package efuse

// Chips after the ESP32 have six key blocks instead of BLK1 and BLK2, each with a purpose, and fuses of their own that
// switch secure boot and flash encryption on.
//
//	BLOCK_KEY0..5                  256 bits each
//	KEY_PURPOSE_0..5               4 bits each: Purpose
//	SECURE_BOOT_KEY_REVOKE0..2     the digests with the purposes 9, 10 and 11 are void
//	SECURE_BOOT_EN                 secure boot V2 is on
//	SECURE_BOOT_AGGRESSIVE_REVOKE  the ROM revokes a key whose signature on the boot loader is bad
//	SPI_BOOT_CRYPT_CNT             3 bits; an odd number of ones: flash encryption is on
//
// Sources: esp-idf components/efuse/esp32c3/esp_efuse_table.csv and esp32s3, components/efuse/src/esp_efuse_api_key.c.

// Purpose is what a key block is for.
type Purpose uint8

// The values of KEY_PURPOSE_n that matter here.
const (
	PurposeUser              Purpose = 0
	PurposeXTSAES128         Purpose = 4
	PurposeSecureBootDigest0 Purpose = 9 // 10 and 11 are the second and third digest
)

// DigestSlots is how many keys of secure boot V2 a chip after the ESP32 can trust. The ESP32 trusts one.
const DigestSlots = 3

// keyBlocks are the fuses of later chips. A value is never changed once an EFuse points at it, so that copies of an
// EFuse stay independent.
type keyBlocks struct {
	keys       [6][32]byte
	purposes   [6]Purpose
	used       uint8 // bit per block: written, and protected against writing
	revoked    uint8 // SECURE_BOOT_KEY_REVOKE, bit per digest
	secureBoot bool
	aggressive bool
	cryptCount uint8
}

// Later gives the chip the fuses of an ESP32-S3 or ESP32-C3, nothing burnt.
func (e *EFuse) Later() { e.later = &keyBlocks{} }

// burnLater changes a copy of the fuses.
func (e *EFuse) burnLater(change func(k *keyBlocks)) {
	k := *e.later
	change(&k)
	e.later = &k
}

// Digest is one digest of a public key of secure boot V2.
type Digest struct {
	Sum     [32]byte
	Set     bool
	Revoked bool
}

// Digests are the keys of secure boot V2 that the chip has; the ESP32 has one, which cannot be revoked.
func (e *EFuse) Digests() (d [DigestSlots]Digest) {
	if e.later == nil {
		d[0].Sum = e.SecureBootDigest()
		d[0].Set = d[0].Sum != [32]byte{}
		return d
	}
	for i, p := range e.later.purposes {
		if slot := int(p) - int(PurposeSecureBootDigest0); slot >= 0 && slot < DigestSlots && e.later.used>>i&1 == 1 {
			d[slot].Sum, d[slot].Set = e.later.keys[i], true
		}
	}
	for i := range d {
		d[i].Revoked = e.later.revoked>>i&1 == 1
	}
	return d
}

// BurnDigest adds the digest of a public key, as espefuse burn-key with the purpose SECURE_BOOT_DIGESTn does.
//
//	slot not of this chip                 InvalidArg
//	slot revoked, or taken                InvalidState
//	no key block left                     FieldFull
func (e *EFuse) BurnDigest(slot int, sum [32]byte) Err {
	switch {
	case slot < 0 || slot >= DigestSlots || e.later == nil && slot > 0:
		return InvalidArg
	case e.later == nil:
		return e.BurnKey(SecureBootV2Digest, sum[:])
	}
	if d := e.Digests()[slot]; d.Set || d.Revoked {
		return InvalidState
	}
	return e.burnBlock(PurposeSecureBootDigest0+Purpose(slot), sum)
}

// burnBlock writes the first free key block.
func (e *EFuse) burnBlock(p Purpose, key [32]byte) Err {
	for i := range e.later.keys {
		if e.later.used>>i&1 == 0 {
			e.burnLater(func(k *keyBlocks) { k.keys[i], k.purposes[i], k.used = key, p, k.used|1<<i })
			return OK
		}
	}
	return FieldFull
}

// Revoke burns SECURE_BOOT_KEY_REVOKEn, whether or not the slot has a key. The ESP32 has no such fuse: NotSupported.
func (e *EFuse) Revoke(slot int) Err {
	switch {
	case e.later == nil:
		return NotSupported
	case slot < 0 || slot >= DigestSlots:
		return InvalidArg
	}
	e.burnLater(func(k *keyBlocks) { k.revoked |= 1 << slot })
	return OK
}

// RevokedSlots is SECURE_BOOT_KEY_REVOKE0..2, a bit each; 0 on the ESP32.
func (e *EFuse) RevokedSlots() uint8 {
	if e.later == nil {
		return 0
	}
	return e.later.revoked
}

// EnableSecureBootV2 burns ABS_DONE_1, or SECURE_BOOT_EN and, if it is wanted, SECURE_BOOT_AGGRESSIVE_REVOKE, which the
// ESP32 does not have.
func (e *EFuse) EnableSecureBootV2(aggressive bool) {
	if e.later == nil {
		var w Batch
		w.Write(e, AbsDone1, 1)
		e.Commit(&w)
		return
	}
	e.burnLater(func(k *keyBlocks) { k.secureBoot, k.aggressive = true, k.aggressive || aggressive })
}

// AggressiveRevoke reports whether the ROM revokes keys by itself.
func (e *EFuse) AggressiveRevoke() bool { return e.later != nil && e.later.aggressive }

// EnableFlashEncryption burns a key and the counter that switches flash encryption on: all bits of it in release mode,
// one in development mode. FLASH_CRYPT_CONFIG becomes 15 on the ESP32. The key has 32 bytes, as in a key file.
func (e *EFuse) EnableFlashEncryption(key [32]byte, release bool) Err {
	if e.later != nil {
		if err := e.burnBlock(PurposeXTSAES128, key); err != OK {
			return err
		}
		e.burnLater(func(k *keyBlocks) {
			if k.cryptCount = 1; release {
				k.cryptCount = 7
			}
		})
		return OK
	}
	if err := e.BurnKey(FlashEncryptionKey, key[:]); err != OK {
		return err
	}
	var w Batch
	count := 1
	if release {
		count = 7
	}
	w.Write(e, FlashCryptConfig, 15)
	w.Count(e, FlashCryptCount, count)
	return e.Commit(&w)
}

// xtsKey is the key that the flash of a later chip is encrypted with.
func (k *keyBlocks) xtsKey() (key [32]byte) {
	for i, p := range k.purposes {
		if p == PurposeXTSAES128 && k.used>>i&1 == 1 {
			return k.keys[i]
		}
	}
	return key
}
