package bootloader

import "github.com/otasim/otasim/flashmodel/otadata"

// select2018 is the selection of Amazon FreeRTOS v1.4.x: it has its own idea
// of a valid record and of emptiness, leaves PENDING records alone, and
// initializes otadata before slot 0 was looked at.
func (b *boot) select2018() (index int, ok bool) {
	if b.slots.OTAData.Offset == 0 {
		return IndexFactory, true
	}
	if !b.readRecords() {
		return IndexInvalid, false
	}
	if b.records[0].Seq == otadata.EmptySeq && b.records[1].Seq == otadata.EmptySeq {
		if b.slots.Factory.Offset != 0 {
			return IndexFactory, true
		}
		b.log('I', "boot", "No factory image, trying OTA 0")
		e := b.records[0]
		e.Seq, e.State, e.CRC = 1, otadata.Valid, otadata.CRC(1)
		b.writeRecord(0, e)
		b.v.Record = 0
		return 0, true
	}
	active := otadata.Active2018(b.records, b.cfg.Rollback)
	b.v.Record = active
	if active < 0 {
		b.logTorn()
		return IndexFactory, true
	}
	if b.slots.AppCount == 0 {
		b.div0()
		return IndexInvalid, false
	}
	return int(b.records[active].Slot(uint32(b.slots.AppCount))), true
}

// load2018 loads first and updates otadata afterwards, and only if what was
// loaded is what otadata chose.
func (b *boot) load2018(start int) {
	var index int
	if start == IndexTest {
		if !b.try(IndexTest) {
			b.fail("test app not bootable")
			return
		}
		index = IndexTest
	} else {
		var ok bool
		if index, ok = b.firstBootable(start); !ok {
			return
		}
	}
	if b.cfg.Rollback && b.v.Record >= 0 && index >= 0 && index == start {
		b.confirm2018(b.v.Record)
	}
	b.start(index)
}

// confirm2018 begins the trial of a new image, or erases what a confirmed one
// replaced: the slot, then its record, which stays empty.
func (b *boot) confirm2018(active int) {
	switch e := b.records[active]; e.State {
	case otadata.New:
		e.State = otadata.PendingVerify
		b.writeRecord(active, e)
		b.v.Watchdog = b.cfg.trialWatchdog()
	case otadata.Valid:
		passive := b.records[1-active]
		if b.cfg.KeepPassive || !passive.CRCGood() {
			return
		}
		b.erasePart(b.at(int(passive.Slot(uint32(b.slots.AppCount)))))
		at := b.slots.OTAData.Offset + uint32(1-active)*otadata.SectorSize
		b.records[1-active] = otadata.Empty()
		if b.flash.Erase(at, otadata.SectorSize) != nil {
			b.log('E', "boot", "otadata erase failed")
		}
	}
}
