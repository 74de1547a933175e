package otaops

import (
	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/flashmodel/efuse"
	"github.com/otasim/otasim/flashmodel/otadata"
	"github.com/otasim/otasim/flashmodel/partition"
)

// RevokeKey is esp_ota_revoke_secure_boot_public_key: it burns SECURE_BOOT_KEY_REVOKE of a digest.
//
// From ESP-IDF v5 on it refuses while the running image is on trial, and when the running image or the boot loader
// could not be verified with another key. Older releases, and so the boot loaders of Amazon FreeRTOS, burn at once.
// On the ESP32 there is nothing to burn.
func (o *Ops) RevokeKey(slot int) Err {
	switch {
	case !o.fuse.SecureBootV2():
		return Fail
	case slot < 0 || slot >= efuse.DigestSlots:
		return InvalidArg
	}
	if !o.v4() {
		if err := o.mayRevoke(slot); err != OK {
			return err
		}
	}
	if o.fuse.Revoke(slot) != efuse.OK {
		return Fail
	}
	return OK
}

func (o *Ops) mayRevoke(slot int) Err {
	running, err := o.Running()
	if err != OK {
		return err
	}
	if o.cfg.Rollback {
		if state, err := o.GetState(running); err != OK || state != otadata.Valid {
			return Fail
		}
	}
	at := o.cfg.TableOffset
	if at == 0 {
		at = partition.DefaultOffset
	}
	if !o.signedByOther(slot, running.Offset, running.Size) || !o.signedByOther(slot, o.cfg.ImageOffset, at-o.cfg.ImageOffset) {
		return Fail
	}
	return OK
}

// signedByOther reports whether an image verifies with a key other than that of a slot.
func (o *Ops) signedByOther(slot int, at, size uint32) bool {
	keys := bootloader.TrustedKeys(o.fuse)
	for i := range keys {
		if i != slot && bootloader.SignedBy(o.mem, o.cfg.Image, keys, i, at, size) {
			return true
		}
	}
	return false
}
