package bootloader

import (
	"time"

	"github.com/otasim/otasim/device/defect"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/efuse"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/otadata"
	"github.com/otasim/otasim/flashmodel/partition"
)

// boot is the bootloader while it runs.
type boot struct {
	flash *flashmodel.Flash
	mem   flashmodel.NOR // flash, decrypted if flash encryption is on
	fuse  *efuse.EFuse
	cfg   *Config
	reset ResetReason
	since time.Duration // flash clock at reset

	table   partition.Table
	slots   *partition.BootSlots
	records [2]otadata.Entry
	initial bool // both records were never written: set the first one once a slot is loaded
	v       Verdict
}

// Boot runs the bootloader from reset to the jump into an app or to its end.
// Flash commands and the time they take go through f, which may lose power in
// any of them (flashmodel.PowerLost passes through).
func Boot(f *flashmodel.Flash, fuse *efuse.EFuse, cfg Config, reset ResetReason) Verdict {
	if cfg.SignedOnUpdate {
		cfg.Image.Signature = nil
	}
	b := boot{flash: f, fuse: fuse, cfg: &cfg, reset: reset, since: f.Clock()}
	b.mem = Memory(f, fuse, cfg.Image.Chip, bootGranularity)
	b.v.Index, b.v.StartIndex, b.v.Record = IndexInvalid, IndexInvalid, -1
	if !cfg.VectorSlicing {
		f.SetSlicing(flashmodel.SliceBootloader)
		defer f.SetSlicing(flashmodel.SliceApp)
	}
	b.run()
	return b.v
}

func (b *boot) run() {
	size, ok := b.flashSize()
	if !ok {
		b.fail("no bootloader image")
		return
	}
	b.flash.Advance(b.cfg.StartTime)
	if !b.rom() {
		return
	}
	b.logStart(size)
	if !b.loadTable(size) {
		b.log('E', "boot", "load partition table error!")
		b.fail("partition table refused")
		return
	}
	index, ok := b.selectIndex()
	if !ok {
		return
	}
	b.v.Selected, b.v.StartIndex = true, index
	if b.cfg.Kind == AFR2018 {
		b.load2018(index)
	} else {
		b.load(index)
	}
}

// fail ends the boot without an app.
func (b *boot) fail(reason string) {
	b.v.Reason, b.v.End = reason, Reset
	if b.cfg.Kind == AFR2018 {
		b.v.End, b.v.Watchdog = Hang, b.cfg.trialWatchdog()
	}
}

func (b *boot) div0() {
	b.v.Reason, b.v.End = "division by zero: the table has no OTA slot", Div0
}

// flashSize is the size by which the partition table is checked. It is false
// when the ROM finds no bootloader to run.
func (b *boot) flashSize() (uint32, bool) {
	if b.cfg.FlashSize != 0 {
		return b.cfg.FlashSize, true
	}
	var raw [image.HeaderSize]byte
	if b.mem.Read(b.cfg.ImageOffset, raw[:]) != nil || raw[0] != image.Magic {
		return 0, false
	}
	h, err := image.DecodeHeader(raw[:])
	if err != nil {
		return 0, false
	}
	if size := h.FlashSize(); size != 0 {
		return size, true
	}
	return 2 << 20, true
}

// loaded is a partition table as the bootloader keeps it. It is remembered by
// the content of the table sector and must not be changed.
type loaded struct {
	limit uint32
	table partition.Table
	slots partition.BootSlots
	err   partition.Err
}

func (b *boot) loadTable(limit uint32) bool {
	at, read, name := b.cfg.tableOffset(), partition.LoadBootloader, "boot table"
	if b.cfg.Kind == AFR2018 {
		read, name = partition.LoadBootloader2018, "boot table 2018"
	}
	load := func() *loaded {
		t, err := read(b.mem, at, limit)
		return &loaded{limit, t, t.BootSlots(), err}
	}
	var l *loaded
	if b.mem == flashmodel.NOR(b.flash) {
		l = flashmodel.Remember(b.flash, name, at, partition.TableSize, load)
	}
	if l == nil || l.limit != limit {
		l = load()
	}
	if l.err != partition.OK {
		b.logf('E', "boot", "Failed to verify partition table")
		return false
	}
	b.table, b.slots = l.table, &l.slots
	b.logTable()
	return true
}

// selectIndex chooses where to begin, pins included.
func (b *boot) selectIndex() (int, bool) {
	choose := b.selectStock
	pins := b.reset != DeepSleep
	if b.cfg.Kind == AFR2018 {
		choose, pins = b.select2018, true
	}
	index, ok := choose()
	if !ok || !pins {
		return index, ok
	}
	switch {
	case b.cfg.FactoryResetPin:
		b.log('I', "boot", "Detect a condition of the factory reset")
		b.factoryReset()
		return choose()
	case b.cfg.AppTestPin && !b.cfg.antiRollback():
		b.log('I', "boot", "Detect a boot condition of the test firmware")
		if b.slots.Test.Offset == 0 {
			b.log('E', "boot", "Test firmware is not found in partition table")
			b.fail("no test partition")
			return IndexInvalid, false
		}
		return IndexTest, true
	}
	return index, true
}

// factoryReset erases the listed data partitions.
func (b *boot) factoryReset() {
	labels := b.cfg.FactoryReset
	if labels == nil {
		labels = []string{"nvs"}
	}
	for _, r := range b.table {
		erase := r.Type == partition.TypeData && r.Subtype == partition.SubtypeOTAData && b.cfg.EraseOTAData
		for _, l := range labels {
			erase = erase || (r.Type == partition.TypeData && r.Label == l)
		}
		if erase && b.flash.Erase(r.Offset, r.Size) != nil {
			b.log('E', "boot", "Not all partitions were erased")
		}
	}
}

// readRecords reads otadata; the partition must be large enough.
func (b *boot) readRecords() bool {
	p := b.slots.OTAData
	if p.Size < otadata.PartitionSize {
		b.logf('E', "boot", "ota_info partition size %d is too small (minimum %d bytes)", p.Size, otadata.PartitionSize)
		b.fail("otadata partition too small")
		return false
	}
	for i := range b.records {
		var raw [otadata.EntrySize]byte
		if b.mem.Read(p.Offset+uint32(i)*otadata.SectorSize, raw[:]) != nil {
			b.fail("otadata cannot be read")
			return false
		}
		b.records[i], _ = otadata.Decode(raw[:])
		if b.cfg.Defects.Has(defect.RecordCRCIgnored) && b.records[i].Seq != otadata.EmptySeq {
			b.records[i].CRC = otadata.CRC(b.records[i].Seq)
		}
	}
	return true
}

// writeRecord erases the sector that holds record i and programs the record.
// A refused command is only logged, as in the code.
func (b *boot) writeRecord(i int, e otadata.Entry) {
	b.records[i] = e
	at := b.slots.OTAData.Offset + uint32(i)*otadata.SectorSize
	err := b.mem.Erase(at&^(flashmodel.SectorSize-1), flashmodel.SectorSize)
	if err == nil {
		raw := e.Encode()
		err = b.mem.Program(at, raw[:])
	}
	if err != nil {
		b.log('E', "boot", "Error in write_otadata operation")
	}
}

// erasePart erases a partition; a refused command is only logged.
func (b *boot) erasePart(p partition.Record) {
	b.logf('W', "boot", "Deleting passive firmware @0x%x len:0x%x", p.Offset, p.Size)
	if b.flash.Erase(p.Offset, p.Size) != nil {
		b.log('E', "boot", "flash partition erase failed")
	}
}

// at is the partition of an index; its size is 0 when there is none.
func (b *boot) at(index int) partition.Record {
	switch index {
	case IndexFactory:
		return b.slots.Factory
	case IndexTest:
		return b.slots.Test
	}
	return b.slots.Slot(index)
}

// ota is the record of a slot as the selection takes it, without the checks of at.
func (b *boot) ota(slot uint32) partition.Record {
	if slot < partition.MaxOTASlots {
		return b.slots.OTA[slot]
	}
	return partition.Record{}
}
