package bootloader

import (
	"time"

	"github.com/otasim/otasim/device/defect"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/otadata"
)

// load is bootloader_utility_load_boot_image: the chosen partition, then down
// to the factory app, then up, then the test app. otadata states play no part.
func (b *boot) load(start int) {
	if start == IndexTest {
		if b.try(IndexTest) {
			b.start(IndexTest)
			return
		}
		b.log('E', "boot", "No bootable test partition in the partition table")
		b.fail("test app not bootable")
		return
	}
	if index, ok := b.firstBootable(start); ok {
		if index >= 0 && b.initial {
			b.logf('I', "boot", "Set actual ota_seq=%d in otadata[0]", index+1)
			b.writeRecord(0, otadata.Make(uint32(index)+1, otadata.Valid))
			if b.cfg.antiRollback() {
				b.burn(b.at(index))
			}
		}
		b.start(index)
	}
}

// firstBootable tries partitions in the order of the fallback. It is false
// when none boots; the boot has ended then.
func (b *boot) firstBootable(start int) (int, bool) {
	for i := start; i >= IndexFactory; i-- {
		if b.tryLogged(i) {
			return i, true
		}
		if b.at(i).Size != 0 && b.cfg.Defects.Has(defect.NoFallback) {
			b.fail("no bootable app")
			return IndexInvalid, false
		}
	}
	for i := start + 1; i < b.slots.AppCount; i++ {
		if b.tryLogged(i) {
			return i, true
		}
	}
	if b.try(IndexTest) {
		b.log('W', "boot", "Falling back to test app as only bootable partition")
		return IndexTest, true
	}
	b.log('E', "boot", "No bootable app partitions in the partition table")
	b.fail("no bootable app")
	return IndexInvalid, false
}

func (b *boot) tryLogged(index int) bool {
	if b.at(index).Size == 0 {
		return false
	}
	if b.try(index) {
		return true
	}
	if index == IndexFactory {
		b.log('E', "boot", "Factory app partition is not bootable")
	} else {
		b.logf('E', "boot", "OTA app partition slot %d is not bootable", index)
	}
	return false
}

// try verifies the image in a partition as for loading it.
func (b *boot) try(index int) bool {
	p := b.at(index)
	if p.Size == 0 || !b.newEnough(p) {
		return false
	}
	b.v.Tried = append(b.v.Tried, p.Label)
	m, err := image.Verify(b.mem, p.Offset, p.Size, b.options())
	b.readTime(m.ImageLen)
	b.logImage(&m, err)
	if err != image.OK {
		return false
	}
	if b.cfg.KeepLog {
		b.logf('I', "boot", "Loaded app from partition at offset 0x%x", p.Offset)
	}
	b.v.Image = m
	return true
}

func (b *boot) options() image.VerifyOptions {
	opt := b.cfg.VerifyOptions(b.fuse)
	opt.Mode, opt.Wake = image.BootLoad, b.reset == DeepSleep
	if b.cfg.SkipValidate == SkipAlways || (b.cfg.SkipValidate == SkipOnPowerOn && b.reset == PowerOn) {
		opt.Mode = image.BootLoadUnchecked
	}
	if b.cfg.Defects.Has(defect.ImageUnchecked) {
		opt.Mode = image.BootLoadUnchecked
	}
	opt.AntiRollback = b.cfg.antiRollback() && !b.cfg.Defects.Has(defect.VersionIgnored)
	if opt.AntiRollback {
		opt.SecureVersion = b.fuse.SecureVersion(b.cfg.secVerBits())
	}
	return opt
}

// readTime lets the time pass that reading and hashing n bytes takes.
func (b *boot) readTime(n uint32) {
	if b.cfg.ReadRate != 0 {
		b.flash.Advance(time.Duration(uint64(n) * uint64(time.Second) / uint64(b.cfg.ReadRate)))
	}
}

// start jumps into the app.
func (b *boot) start(index int) {
	b.log('I', "boot", "Disabling RNG early entropy source...")
	p := b.at(index)
	b.v.End, b.v.Boot, b.v.Part, b.v.Index = Started, p.Label, p, index
}
