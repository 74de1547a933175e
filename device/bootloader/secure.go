package bootloader

import (
	"crypto/sha256"
	"fmt"

	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/efuse"
	"github.com/otasim/otasim/flashmodel/flashcrypt"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/secureboot"
)

// VerifyOptions says what an app image must fulfil. With secure boot V2 the keys are those that the eFuses trust at this
// moment.
func (c *Config) VerifyOptions(fuse *efuse.EFuse) image.VerifyOptions {
	opt := c.Image
	if c.SecureBootV2 {
		opt.Signature = secureboot.NewV2(secureboot.V2Config{Chip: opt.Chip, Keys: TrustedKeys(fuse)})
	}
	return opt
}

// TrustedKeys are the keys of secure boot V2 as the eFuses have them.
func TrustedKeys(fuse *efuse.EFuse) (keys secureboot.Keys) {
	for i, d := range fuse.Digests() {
		keys[i] = secureboot.KeySlot{Digest: d.Sum, Set: d.Set, Revoked: d.Revoked}
	}
	return keys
}

// SignedBy reports whether an image, the boot loader's own included, verifies with one key of the chip alone: what
// esp_secure_boot_verify_with_efuse_digest_index finds.
func SignedBy(mem flashmodel.Reader, opt image.VerifyOptions, keys secureboot.Keys, slot int, at, size uint32) bool {
	var one secureboot.Keys
	if !keys[slot].Set || keys[slot].Revoked {
		return false
	}
	one[slot] = keys[slot]
	opt.Mode, opt.Signature = image.AppVerify, secureboot.NewV2(secureboot.V2Config{Chip: opt.Chip, Keys: one})
	_, err := image.Verify(mem, at, size, opt)
	return err == image.OK
}

// romVerdict is what the ROM of a chip with secure boot V2 finds out about the boot loader.
type romVerdict struct {
	keys secureboot.Keys // afterwards
	err  error
}

// rom is the first stage: with secure boot V2 it verifies the boot loader. Where the eFuses say so it revokes each key
// whose signature on it is bad. It is remembered by content.
//
// Source: esp-idf docs/en/security/secure-boot-v2.rst, "Key Revocation".
func (b *boot) rom() bool {
	if !b.cfg.SecureBootV2 || !b.fuse.SecureBootV2() {
		return true
	}
	keys, aggressive := TrustedKeys(b.fuse), b.fuse.AggressiveRevoke()
	check := secureboot.NewV2(secureboot.V2Config{Chip: b.cfg.Image.Chip, Keys: keys})
	at := b.cfg.ImageOffset
	size := b.cfg.tableOffset() - at
	verify := func() (v romVerdict) {
		v.keys, v.err = verifyLoader(b.mem, b.cfg.Image, check, at, size, aggressive)
		return v
	}
	key := ""
	if c, encrypted := b.mem.(*flashcrypt.NOR); encrypted {
		key = c.Key
	}
	v := flashmodel.Remember(b.flash, fmt.Sprintf("rom %t %s %s", aggressive, check.ID(), key), at, size, verify)
	for i, k := range v.keys {
		if k.Revoked && !keys[i].Revoked {
			b.fuse.Revoke(i)
		}
	}
	if v.err != nil {
		b.logf('E', "rom", "secure boot check of the boot loader: %v", v.err)
		b.fail("the ROM refuses the boot loader: " + v.err.Error())
		return false
	}
	return true
}

func verifyLoader(mem flashmodel.Reader, opt image.VerifyOptions, check *secureboot.V2, at, size uint32, aggressive bool) (secureboot.Keys, error) {
	opt.Mode, opt.Signature = image.AppVerify, nil
	md, code := image.Verify(mem, at, size, opt)
	if code != image.OK {
		return secureboot.Keys{}, fmt.Errorf("%w: %s", secureboot.ErrSignature, md.Why)
	}
	signed := (md.End() + secureboot.V2SectorSize - 1) / secureboot.V2SectorSize * secureboot.V2SectorSize
	if signed+secureboot.V2SectorSize > size {
		return secureboot.Keys{}, fmt.Errorf("%w: no room for a signature", secureboot.ErrSignature)
	}
	content := make([]byte, signed+secureboot.V2SectorSize)
	if err := mem.Read(at, content); err != nil {
		return secureboot.Keys{}, fmt.Errorf("boot loader: %w", err)
	}
	digest := sha256.Sum256(content[:signed])
	return check.VerifyBootloader(digest[:], content[signed:], aggressive)
}
