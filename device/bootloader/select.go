package bootloader

import (
	"github.com/otasim/otasim/device/defect"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/otadata"
	"github.com/otasim/otasim/flashmodel/partition"
)

// selectStock is bootloader_utility_get_selected_boot_partition. It is false
// when the boot has ended.
func (b *boot) selectStock() (index int, ok bool) {
	if b.slots.OTAData.Offset == 0 {
		return IndexFactory, true
	}
	if !b.readRecords() {
		return IndexInvalid, false
	}
	b.initial = false
	if b.cfg.Rollback {
		b.abortPending()
	}
	n := uint32(b.slots.AppCount)
	var active int
	if b.cfg.antiRollback() {
		b.log('I', "boot", "Enabled a check secure version of app for anti rollback")
		if b.cfg.KeepLog {
			b.logf('I', "boot", "Secure version (from eFuse) = %d", b.fuse.SecureVersion(b.cfg.secVerBits()))
		}
		if b.records[0].Initial() && b.records[1].Initial() {
			b.log('I', "boot", "otadata[0..1] in initial state")
			b.initial = true
			return IndexFactory, true
		}
		if active, ok = b.activeAntiRollback(n); !ok {
			b.div0()
			return IndexInvalid, false
		}
	} else {
		if n == 0 || (b.records[0].Unusable() && b.records[1].Unusable()) {
			return b.selectDefault(), true
		}
		active = otadata.Active(b.records)
	}
	if b.cfg.Defects.Has(defect.LowestSequence) && b.records[0].Usable() && b.records[1].Usable() {
		active = 1 - active
	}
	b.v.Record = active
	if active < 0 {
		b.logTorn()
		return IndexFactory, true
	}
	slot := b.records[active].Slot(n)
	b.follow(active, n)
	if b.cfg.antiRollback() && b.records[active].State == otadata.Valid {
		b.burn(b.ota(slot))
	}
	return int(slot), true
}

// abortPending marks every record whose trial boot is over, good CRC or not.
func (b *boot) abortPending() {
	for i, e := range b.records {
		if e.State == otadata.PendingVerify && !b.cfg.Defects.Has(defect.TrialNotEnded) {
			e.State = otadata.Aborted
			b.writeRecord(i, e)
		}
	}
}

// selectDefault is the choice when no record may be followed.
func (b *boot) selectDefault() int {
	if b.slots.Factory.Offset != 0 {
		b.log('I', "boot", "Defaulting to factory image")
		return IndexFactory
	}
	b.log('I', "boot", "No factory image, trying OTA 0")
	b.initial = b.records[0].Initial() && b.records[1].Initial()
	return 0
}

func (b *boot) logTorn() {
	if b.slots.Factory.Offset != 0 {
		b.log('E', "boot", "ota data partition invalid, falling back to factory")
	} else {
		b.log('E', "boot", "ota data partition invalid and no factory, will try all partitions")
	}
}

// activeAntiRollback counts only records whose slot holds an app that is new
// enough. It is false when the code divides by zero.
func (b *boot) activeAntiRollback(n uint32) (active int, ok bool) {
	var usable [2]bool
	for i, e := range b.records {
		if !e.Usable() {
			continue
		}
		if n == 0 {
			return -1, false
		}
		usable[i] = b.newEnough(b.ota(e.Slot(n)))
	}
	return otadata.Select(b.records, usable), true
}

// follow updates otadata for the record that was chosen: its trial begins, or
// (FreeRTOS) a confirmed image makes the other one go. The image has not been
// looked at yet.
func (b *boot) follow(active int, n uint32) {
	if !b.cfg.Rollback {
		return
	}
	afr := b.cfg.Kind == AFR2022
	switch e := b.records[active]; e.State {
	case otadata.New:
		if b.cfg.Defects.Has(defect.LoaderBurnsEarly) {
			b.burn(b.ota(e.Slot(n)))
		}
		if b.cfg.Defects.Has(defect.ErasesFallbackEarly) {
			b.erasePart(b.ota((e.Slot(n) + 1) % n))
		}
		if b.cfg.Defects.Has(defect.TrialNotMarked) {
			break
		}
		if afr {
			b.logf('I', "boot", "otadata[%d] is selected as new and marked PENDING_VERIFY state", active)
		}
		e.State = otadata.PendingVerify
		b.writeRecord(active, e)
		if afr {
			b.v.Watchdog = b.cfg.trialWatchdog()
		}
	case otadata.Valid:
		passive := b.records[1-active]
		if afr && !b.cfg.KeepPassive && passive.CRCGood() {
			if b.cfg.Defects.Has(defect.ErasesChosen) {
				passive = e
			}
			b.erasePart(b.at(int(passive.Slot(n))))
			b.writeRecord(1-active, otadata.Empty())
		}
	}
	if afr {
		b.log('I', "boot", "ota rollback check done")
	}
}

// newEnough is the secure version check before an image is loaded: the
// descriptor is read, nothing else of the image is.
func (b *boot) newEnough(p partition.Record) bool {
	if !b.cfg.antiRollback() || b.cfg.Defects.Has(defect.VersionIgnored) {
		return true
	}
	d, ok := b.descriptor(p)
	return ok && d.SecureVersion >= b.fuse.SecureVersion(b.cfg.secVerBits())
}

func (b *boot) descriptor(p partition.Record) (image.Descriptor, bool) {
	if p.Offset == 0 {
		return image.Descriptor{}, false
	}
	d, err := image.ReadDescriptor(b.mem, p.Offset)
	return d, err == nil
}

// burn raises the eFuse to the version of a slot's app. What the eFuse says
// about it is ignored.
func (b *boot) burn(p partition.Record) {
	if d, ok := b.descriptor(p); ok {
		b.fuse.BurnSecureVersion(d.SecureVersion, b.cfg.secVerBits())
	}
}
