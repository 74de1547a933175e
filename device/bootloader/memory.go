package bootloader

import (
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/efuse"
	"github.com/otasim/otasim/flashmodel/flashcrypt"
	"github.com/otasim/otasim/flashmodel/image"
)

// Bytes that an encrypted program is a multiple of.
const (
	bootGranularity = 32
	AppGranularity  = 16
)

// Memory is the flash as firmware sees it: f itself, or a decrypting view of
// it when the eFuses say that flash encryption is on.
func Memory(f *flashmodel.Flash, fuse *efuse.EFuse, chip *image.Chip, granularity uint32) flashmodel.NOR {
	if !fuse.FlashEncryption() {
		return f
	}
	key := fuse.FlashKey()
	var c flashcrypt.Cipher
	var err error
	if chip == nil || chip == image.ESP32 {
		c, err = flashcrypt.NewESP32(key[:], uint8(fuse.Value(efuse.FlashCryptConfig)))
	} else {
		c, err = flashcrypt.NewXTS(key[:])
	}
	if err != nil {
		return f
	}
	return &flashcrypt.NOR{Flash: f, Cipher: c, Granularity: granularity, Key: string(key[:])}
}
