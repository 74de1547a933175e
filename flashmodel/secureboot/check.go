package secureboot

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"

	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/image"
)

// Scheme is the signature scheme that firmware is built for.
type Scheme byte

// The schemes of Secure Boot V2. ESP32 knows RSA only.
const (
	RSA3072 Scheme = iota
	ECDSA192
	ECDSA256
	ECDSA384
)

func (s Scheme) String() string {
	return [...]string{"RSA-3072", "ECDSA P-192", "ECDSA P-256", "ECDSA P-384"}[s%4]
}

func (s Scheme) fits(b *V2Block) bool {
	return b.Curve() == byte(s) && (b.Version() == versionRSA) == (s == RSA3072)
}

// ErrNoTrust says that there is no key to compare with.
var ErrNoTrust = errors.New("no trusted key")

// KeySlot is one key digest that a chip trusts. Chips have up to three; the
// ESP32 has one, which cannot be revoked.
type KeySlot struct {
	Digest  [32]byte
	Set     bool
	Revoked bool
}

// Keys are the key slots of a chip, as eFuse has them.
type Keys [V2MaxBlocks]KeySlot

// TrustKeys fills slots with the digests of keys, in order; at most three.
func TrustKeys(keys ...*Key) (Keys, error) {
	var out Keys
	if len(keys) > len(out) {
		return out, fmt.Errorf("%w: %d keys for %d slots", ErrKey, len(keys), len(out))
	}
	for i, k := range keys {
		d, err := KeyDigest(k.Public)
		if err != nil {
			return out, err
		}
		out[i] = KeySlot{Digest: d, Set: true}
	}
	return out, nil
}

// find gives the slot that trusts a digest, -1 if none does.
func (k *Keys) find(digest [32]byte) int {
	for i, slot := range k {
		if slot.Set && !slot.Revoked && slot.Digest == digest {
			return i
		}
	}
	return -1
}

// Any reports whether a key is set and not revoked.
func (k *Keys) Any() bool {
	for _, slot := range k {
		if slot.Set && !slot.Revoked {
			return true
		}
	}
	return false
}

// V2Config says which signatures firmware accepts.
type V2Config struct {
	Chip   *image.Chip // nil: ESP32, which looks at the first block only
	Scheme Scheme
	Keys   Keys

	// FirstBoot: secure boot is compiled in, but the chip has no digests yet;
	// any block whose signature matches its own key is good.
	FirstBoot bool

	// NoHardware: signed apps without hardware secure boot. Keys come from the
	// running app (RunningKeys), the bootloader checks nothing, and only the
	// first block and the first key count.
	NoHardware bool
}

// V2 is the check of Secure Boot V2. It is an image.Signature.
type V2 struct {
	cfg    V2Config
	blocks int // looked at
	id     string
}

// NewV2 makes the check.
func NewV2(cfg V2Config) *V2 {
	if cfg.Chip == nil {
		cfg.Chip = image.ESP32
	}
	v := &V2{cfg: cfg, blocks: V2MaxBlocks}
	if cfg.NoHardware || cfg.Chip == image.ESP32 {
		v.blocks = 1
	}
	var id strings.Builder
	fmt.Fprintf(&id, "v2 %s %s %t %t", cfg.Chip.Name, cfg.Scheme, cfg.FirstBoot, cfg.NoHardware)
	for _, slot := range cfg.Keys {
		fmt.Fprintf(&id, " %t%t%x", slot.Set, slot.Revoked, slot.Digest)
	}
	v.id = id.String()
	return v
}

// ID names scheme and keys.
func (v *V2) ID() string { return v.id }

// PadTo is 4096.
func (v *V2) PadTo() uint32 { return V2SectorSize }

// BlockLen is what the loader adds to the length of the image: one block on
// the ESP32, the whole sector on later chips.
func (v *V2) BlockLen() uint32 {
	if v.cfg.Chip == image.ESP32 {
		return V2BlockSize
	}
	return V2SectorSize
}

// SignsBootloader is true with hardware secure boot.
func (v *V2) SignsBootloader() bool { return !v.cfg.NoHardware }

// NewHash is SHA-256, or SHA-384 for P-384.
func (v *V2) NewHash() hash.Hash {
	if v.cfg.Scheme == ECDSA384 {
		return sha512.New384()
	}
	return sha256.New()
}

// Check verifies a signature sector (or its first block) against the digest of
// the padded image. The error wraps ErrSignature.
func (v *V2) Check(digest, sector []byte) error {
	_, err := v.verify(digest, sector)
	return err
}

// verify gives the slot of the key that verified.
func (v *V2) verify(digest, sector []byte) (int, error) {
	keys := &v.cfg.Keys
	if !v.cfg.FirstBoot && !keys.Any() {
		return -1, fmt.Errorf("%w: %w", ErrSignature, ErrNoTrust)
	}
	err := fmt.Errorf("%w: no valid signature block", ErrSignature)
	for i := range v.blocks {
		b, ok := validBlock(sector, i)
		if !ok {
			continue
		}
		slot, blockErr := v.verifyBlock(&b, digest)
		if blockErr == nil {
			return slot, nil
		}
		err = fmt.Errorf("block %d: %w", i, blockErr)
	}
	return -1, err
}

// verifyBlock checks one well-formed block. The slot is -1 unless its key is
// trusted, also if the signature is bad.
func (v *V2) verifyBlock(b *V2Block, digest []byte) (int, error) {
	if !v.cfg.Scheme.fits(b) {
		return -1, fmt.Errorf("%w: not %s", ErrSignature, v.cfg.Scheme)
	}
	if !bytes.Equal(digest, b.Digest()) {
		return -1, fmt.Errorf("%w: digest of the image is %x, the block has %x", ErrSignature, digest, b.Digest())
	}
	slot := v.cfg.Keys.find(b.KeyDigest())
	if slot < 0 && !v.cfg.FirstBoot || slot > 0 && v.cfg.NoHardware {
		d := b.KeyDigest()
		return -1, fmt.Errorf("%w: key %s is not trusted", ErrSignature, hex.EncodeToString(d[:8]))
	}
	return slot, b.VerifyWithOwnKey(digest)
}

// VerifyBootloader does what the ROM does with a second-stage bootloader: it
// checks every block, and with aggressive revocation it revokes each trusted
// key whose signature is bad. It returns the keys as eFuse has them afterwards,
// and an error that wraps ErrSignature if the bootloader must not run.
func (v *V2) VerifyBootloader(digest, sector []byte, aggressive bool) (Keys, error) {
	keys := v.cfg.Keys
	err := fmt.Errorf("%w: no valid signature block", ErrSignature)
	verified := false
	for i := range v.blocks {
		b, ok := validBlock(sector, i)
		if !ok {
			continue
		}
		slot, blockErr := v.verifyBlock(&b, digest)
		switch {
		case blockErr == nil:
			verified = true
		case slot >= 0 && aggressive && v.blocks > 1:
			keys[slot].Revoked = true
			err = blockErr
		default:
			err = blockErr
		}
	}
	if verified {
		return keys, nil
	}
	return keys, err
}

// RunningKeys reads the key digests from the signature sector of a verified
// image, which is what an app without hardware secure boot trusts for its
// successor. The error wraps ErrNoTrust if the image is not signed.
//
// Source: esp-idf components/bootloader_support/src/secure_boot_v2/secure_boot_signatures_app.c.
func RunningKeys(r flashmodel.Reader, md *image.Metadata) (Keys, error) {
	at := md.Start + (md.End()+V2SectorSize-1)/V2SectorSize*V2SectorSize
	sector := make([]byte, V2MaxBlocks*V2BlockSize)
	var keys Keys
	if err := r.Read(at, sector); err != nil {
		return keys, fmt.Errorf("signature sector at 0x%x: %w", at, err)
	}
	for i := range keys {
		if b, ok := validBlock(sector, i); ok {
			keys[i] = KeySlot{Digest: b.KeyDigest(), Set: true}
		}
	}
	if !keys.Any() {
		return keys, fmt.Errorf("signature sector at 0x%x: %w", at, ErrNoTrust)
	}
	return keys, nil
}
