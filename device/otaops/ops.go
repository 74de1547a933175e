package otaops

import (
	"time"

	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/device/defect"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/efuse"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/otadata"
	"github.com/otasim/otasim/flashmodel/partition"
)

// Ops is the interface as the running app sees it. Everything but State is
// found again at the next boot; State is a value that may be copied.
type Ops struct {
	State
	flash   *flashmodel.Flash
	mem     flashmodel.NOR // flash, decrypted if flash encryption is on
	fuse    *efuse.EFuse
	cfg     *bootloader.Config
	app     *appTable
	running partition.Record
}

// appTable is the partition table as the app keeps it: read once, never
// changed. It is remembered by the content of the table sector.
type appTable struct {
	records partition.Table
	ota     [partition.MaxOTASlots]int // index of the first record of a slot, -1 if none
	otadata int                        // -1 if none
	slots   int                        // consecutive slots from ota_0
	assert  bool                       // counting the slots runs past ota_15
	err     partition.Err
}

// New is the interface of an app that was started from the partition running.
// cfg must not change while Ops is in use.
func New(f *flashmodel.Flash, fuse *efuse.EFuse, cfg *bootloader.Config, running partition.Record) *Ops {
	o := &Ops{flash: f, fuse: fuse, cfg: cfg, running: running}
	o.mem = bootloader.Memory(f, fuse, cfg.Image.Chip, bootloader.AppGranularity)
	o.loadTable()
	return o
}

// On is the same interface with the same open handles on another chip, for
// forks: f and fuse must hold what the ones of o hold.
func (o *Ops) On(f *flashmodel.Flash, fuse *efuse.EFuse) *Ops {
	c := *o
	c.flash, c.fuse = f, fuse
	c.mem = bootloader.Memory(f, fuse, c.cfg.Image.Chip, bootloader.AppGranularity)
	return &c
}

func (o *Ops) loadTable() {
	at := o.cfg.TableOffset
	if at == 0 {
		at = partition.DefaultOffset
	}
	md5 := !o.cfg.TableWithoutMD5 && o.cfg.Kind != bootloader.AFR2018
	name := "app table"
	if !md5 {
		name = "app table without MD5"
	}
	load := func() *appTable {
		records, err := partition.LoadApp(o.mem, at, md5)
		return indexTable(records, err)
	}
	if o.plain() {
		o.app = flashmodel.Remember(o.flash, name, at, partition.SectorSize, load)
	} else {
		o.app = load()
	}
}

// plain reports that flash encryption is off.
func (o *Ops) plain() bool { return o.mem == flashmodel.NOR(o.flash) }

// of is the flash as the calls for a partition see it: only encrypted
// partitions are decrypted and encrypted.
func (o *Ops) of(p *partition.Record) flashmodel.NOR {
	if p.EncryptedBy(!o.plain()) {
		return o.mem
	}
	return o.flash
}

func indexTable(records partition.Table, err partition.Err) *appTable {
	t := &appTable{records: records, err: err, otadata: -1}
	for i := range t.ota {
		t.ota[i] = -1
	}
	for i := len(records) - 1; i >= 0; i-- { // of duplicates the first one stays
		r := records[i]
		if slot, ok := r.OTASlot(); ok {
			t.ota[slot] = i
		}
		if r.Type == partition.TypeData && r.Subtype == partition.SubtypeOTAData {
			t.otadata = i
		}
	}
	for t.slots < len(t.ota) && t.ota[t.slots] >= 0 {
		t.slots++
	}
	// The subtype after ota_15 is that of the test app.
	_, test := records.FindFirst(partition.TypeApp, partition.SubtypeTest)
	t.assert = t.slots == len(t.ota) && test
	return t
}

// record is the record with an index; nil for -1.
func (o *Ops) record(i int) *partition.Record {
	if i < 0 || i >= len(o.app.records) {
		return nil
	}
	return &o.app.records[i]
}

// find is esp_partition_verify: the index of the table's own record that
// equals p, -1 if none does.
func (o *Ops) find(p *partition.Record) int {
	for i := range o.app.records {
		if o.app.records[i] == *p {
			return i
		}
	}
	return -1
}

// count is the number of OTA slots. It is false when the code hits its
// assertion: sixteen slots and a test app.
func (o *Ops) count() (uint32, bool) { return uint32(o.app.slots), !o.app.assert }

// slot is the record of a slot number.
func (o *Ops) slot(n uint32) *partition.Record {
	if n >= partition.MaxOTASlots {
		return nil
	}
	return o.record(o.app.ota[n])
}

// runningIndex is the app partition that holds the running code.
func (o *Ops) runningIndex() int {
	for i, r := range o.app.records {
		if r.Type == partition.TypeApp && r.Offset <= o.running.Offset && uint64(o.running.Offset) < r.End() {
			return i
		}
	}
	return -1
}

// records reads both otadata entries. It is false without otadata.
func (o *Ops) records() (e [2]otadata.Entry, ok bool) {
	p := o.record(o.app.otadata)
	if p == nil {
		return e, false
	}
	for i := range e {
		var raw [otadata.EntrySize]byte
		if o.mem.Read(p.Offset+uint32(i)*otadata.SectorSize, raw[:]) != nil {
			return e, false
		}
		e[i], _ = otadata.Decode(raw[:])
	}
	return e, true
}

// rewrite erases the sector of entry i and programs the entry with the CRC of
// its sequence number.
func (o *Ops) rewrite(e otadata.Entry, i int) Err {
	e.CRC = otadata.CRC(e.Seq)
	if o.cfg.Defects.Has(defect.RecordWithoutCRC) {
		e.CRC = 0
	}
	p, at := o.record(o.app.otadata), uint32(i)*otadata.SectorSize
	if err := o.erase(p, at, otadata.SectorSize); err != OK {
		return err
	}
	raw := e.Encode()
	return o.program(p, at, raw[:])
}

// View is the flash as esp_partition_read and esp_partition_write see it in a partition: the chip itself, or a decrypting
// view of it.
func (o *Ops) View(p *partition.Record) flashmodel.NOR { return o.of(p) }

// erase is esp_partition_erase_range.
func (o *Ops) erase(p *partition.Record, at, n uint32) Err {
	switch {
	case p.Flags&partition.FlagReadOnly != 0:
		return NotAllowed
	case at > p.Size:
		return InvalidArg
	case at+n > p.Size:
		return InvalidSize
	case n%flashmodel.SectorSize != 0:
		return InvalidSize
	case at%flashmodel.SectorSize != 0:
		return InvalidArg
	}
	return fromFlash(o.flash.Erase(p.Offset+at, n))
}

// program is esp_partition_write.
func (o *Ops) program(p *partition.Record, at uint32, data []byte) Err {
	if err := checkWrite(p, at, uint32(len(data))); err != OK {
		return err
	}
	return fromFlash(o.of(p).Program(p.Offset+at, data))
}

// programShared is program for data that never changes afterwards.
func (o *Ops) programShared(p *partition.Record, at uint32, data []byte) Err {
	if err := checkWrite(p, at, uint32(len(data))); err != OK {
		return err
	}
	if m := o.of(p); m != flashmodel.NOR(o.flash) {
		return fromFlash(m.Program(p.Offset+at, data))
	}
	return fromFlash(o.flash.ProgramShared(p.Offset+at, data))
}

func checkWrite(p *partition.Record, at, n uint32) Err {
	switch {
	case p.Flags&partition.FlagReadOnly != 0:
		return NotAllowed
	case at > p.Size:
		return InvalidArg
	case at+n > p.Size:
		return InvalidSize
	}
	return OK
}

// verify is esp_image_verify of a partition; Abort if the code hits its
// assertion.
func (o *Ops) verify(p *partition.Record) Err {
	opt := o.cfg.VerifyOptions(o.fuse)
	opt.Mode, opt.AntiRollback = image.AppVerify, o.antiRollback()
	m, err := image.Verify(o.mem, p.Offset, p.Size, opt)
	if o.cfg.ReadRate != 0 {
		o.flash.Advance(time.Duration(uint64(m.ImageLen) * uint64(time.Second) / uint64(o.cfg.ReadRate)))
	}
	switch err {
	case image.OK:
		return OK
	case image.ErrAbort:
		return Abort
	}
	return ValidateFailed
}

func (o *Ops) antiRollback() bool { return o.cfg.AntiRollback && o.cfg.Kind != bootloader.AFR2018 }

func (o *Ops) secVerBits() int {
	if o.cfg.SecVerBits == 0 {
		return 32
	}
	return o.cfg.SecVerBits
}

// newEnough is esp_efuse_check_secure_version.
func (o *Ops) newEnough(version uint32) bool {
	return version >= o.fuse.SecureVersion(o.secVerBits())
}

func isOTA(p *partition.Record) bool {
	_, ok := p.OTASlot()
	return ok
}
