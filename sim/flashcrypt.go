package sim

import (
	"fmt"

	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/efuse"
	"github.com/otasim/otasim/flashmodel/flashcrypt"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/otadata"
)

// part is what the factory programs at an address.
type part struct {
	at   uint32
	data []byte
}

// encrypt does what the first start with flash encryption does: a key for this chip alone, everything that is to be
// encrypted in its encrypted form, and the eFuses that say so.
func (m *factory) encrypt(t *thing, f *flashmodel.Flash, l *line) (efuse.EFuse, error) {
	fuse := l.fuse
	key := m.fleet.seed.Key("flash encryption/" + t.name)
	if e := fuse.EnableFlashEncryption(key, t.config.Sdkconfig.FlashRelease); e != efuse.OK {
		return fuse, fmt.Errorf("flash encryption: %v", e)
	}
	for _, p := range l.parts {
		if err := f.LoadOwn(p.at, ciphertext(f, &fuse, image.ChipByName(t.config.Target), p.at, p.data)); err != nil {
			return fuse, fmt.Errorf("at %#x: %w", p.at, err)
		}
	}
	return fuse, nil
}

// ciphertext is what data becomes in the flash of a chip: itself without flash encryption. It is filled up with FF to
// whole units.
func ciphertext(f *flashmodel.Flash, fuse *efuse.EFuse, chip *image.Chip, at uint32, data []byte) []byte {
	nor, ok := bootloader.Memory(f, fuse, chip, bootloader.AppGranularity).(*flashcrypt.NOR)
	if !ok {
		return data
	}
	out := append(make([]byte, 0, len(data)+flashcrypt.BlockSize), data...)
	for len(out)%flashcrypt.BlockSize != 0 {
		out = append(out, 0xff)
	}
	nor.Cipher.Encrypt(at, out)
	return out
}

// programmer is what somebody with the board in hand puts into a chip. In development mode the chip encrypts it for
// them (esptool write-flash --encrypt); in release mode it lands as it is.
func (sh *shard) programmer(a *actor, at uint32, data []byte) {
	c := sh.w.fleet.things[a.id].config
	if fuse := a.dev.EFuse(); c.Sdkconfig.FlashEncryption && !c.Sdkconfig.FlashRelease {
		data = ciphertext(a.dev.Flash(), &fuse, image.ChipByName(c.Target), at, data)
	}
	_ = a.dev.Flash().Load(at, data) // a programmer cannot fail
}

// freshOtadata is otadata as the first start encrypts it: it reads as erased.
var freshOtadata = blank(otadata.PartitionSize)
