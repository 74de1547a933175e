package dump

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/otadata"
	"github.com/otasim/otasim/flashmodel/partition"
)

// Fixed parts of lines of the bootloader.
const (
	loadedLine      = "Loaded app from partition"
	notBootableLine = "is not bootable"
)

// explainer puts a boot into words.
type explainer struct {
	d       *Dump
	o       *BootOptions
	v       *bootloader.Verdict
	report  *BootReport
	table   partition.Table
	slots   partition.BootSlots
	records bool // there are records
	before  [2]otadata.Entry
	after   [2]otadata.Entry
	old     []byte // flash before the boot
}

func (e *explainer) why(format string, args ...any) {
	e.report.Why = append(e.report.Why, fmt.Sprintf(format, args...))
}

func (e *explainer) changed(format string, args ...any) {
	e.report.Changed = append(e.report.Changed, fmt.Sprintf(format, args...))
}

func (e *explainer) run() {
	e.report.Why = []string{}
	if e.v.Selected || len(e.v.Tried) > 0 || e.refusedTable() == "" {
		e.selection()
		e.tries()
		e.end()
	} else {
		e.why("%s", e.refusedTable())
	}
	e.writes()
}

// refusedTable says why the bootloader does not take the table, "" if it does.
func (e *explainer) refusedTable() string {
	raw := e.d.data[e.d.TableOffset:][:partition.TableSize]
	if e.o.Kind == bootloader.AFR2018 {
		if _, err := partition.LoadBootloader2018(e.d.Flash, e.d.TableOffset, e.d.flashLimit()); err == partition.OK {
			return ""
		}
		if e.d.judge().MD5 != "absent" {
			return "the partition table has an MD5 record, which the bootloader of 2018 does not know (gen_esp32part.py --disable-md5sum)"
		}
		return "the partition table is refused: " + tableFault(raw, e.d.flashLimit())
	}
	if _, err := partition.LoadBootloader(e.d.Flash, e.d.TableOffset, e.d.flashLimit()); err == partition.OK {
		return ""
	}
	return "the partition table is refused: " + tableFault(raw, e.d.flashLimit())
}

// selection explains where the bootloader begins.
func (e *explainer) selection() {
	if e.slots.OTAData.Offset == 0 {
		e.why("no otadata partition: the bootloader begins with the factory app")
		return
	}
	if !e.records || !e.v.Selected {
		e.why("otadata: %s", e.v.Reason)
		return
	}
	n := uint32(e.slots.AppCount)
	for i, r := range e.before {
		e.why("otadata record %d: %s", i, e.describe(r, n))
		if e.o.Kind == bootloader.AFR2018 {
			continue
		}
		if r.State == otadata.PendingVerify && e.o.Rollback {
			r.State = otadata.Aborted
			e.why("  it was started once and did not confirm itself, so it becomes ABORTED before the choice")
		}
		if e.o.AntiRollback && n > 0 && r.Usable() {
			e.tooOld(r.Slot(n))
		}
	}
	start := "the factory app"
	if e.v.StartIndex >= 0 {
		start = e.label(uint32(e.v.StartIndex))
	}
	switch {
	case e.v.Record >= 0:
		e.why("record %d decides: the bootloader begins with %s", e.v.Record, start)
	case n == 0:
		e.why("the table has no OTA slot: the bootloader begins with %s", start)
	default:
		e.why("no record can be followed: the bootloader begins with %s", start)
	}
}

func (e *explainer) describe(r otadata.Entry, n uint32) string {
	if r == otadata.Empty() {
		return "empty"
	}
	text := fmt.Sprintf("ota_seq %d, %s", r.Seq, r.State)
	if r.Seq == otadata.EmptySeq {
		text = "no ota_seq"
	} else if n > 0 {
		text += ", " + e.label(r.Slot(n))
	}
	if !r.Usable() {
		text += "; it cannot be followed: " + unusable(r)
	}
	return text
}

// tooOld says if anti-rollback passes over the record of a slot.
func (e *explainer) tooOld(slot uint32) {
	p := e.slots.Slot(int(slot))
	d, err := image.ReadDescriptor(e.d.Flash, p.Offset)
	switch {
	case err != nil || p.Size == 0:
		e.why("  it is passed over: %s has no app descriptor", e.label(slot))
	case d.SecureVersion < e.o.EFuseVersion:
		e.why("  it is passed over: %s has secure version %d, the eFuses have %d", e.label(slot), d.SecureVersion, e.o.EFuseVersion)
	}
}

// label is the label of an OTA slot.
func (e *explainer) label(n uint32) string {
	if r := e.slots.Slot(int(n)); r.Size != 0 {
		return r.Label
	}
	return fmt.Sprintf("slot %d, which the table does not have", n)
}

// tries explains each candidate in the order of the console.
func (e *explainer) tries() {
	next, failed := 0, false
	for _, l := range e.v.Log {
		switch {
		case next < len(e.report.Attempts) && l.Tag == "esp_image" && l.Level == 'E':
			a := e.report.Attempts[next]
			e.why("%s is refused: %s", a.Label, a.Refused)
			next, failed = next+1, true
		case next < len(e.report.Attempts) && l.Tag == "boot" && strings.HasPrefix(l.Text, loadedLine):
			e.why("%s verifies", e.report.Attempts[next].Label)
			next, failed = next+1, false
		case l.Tag == "boot" && strings.HasSuffix(l.Text, notBootableLine):
			if !failed {
				e.why("%s: passed over, its secure version is below the eFuses' or it has no app descriptor", strings.TrimSuffix(l.Text, " "+notBootableLine))
			}
			failed = false
		}
	}
}

func (e *explainer) end() {
	switch e.v.End {
	case bootloader.Started:
		if a := e.report.Attempts; len(a) > 1 && e.records && e.v.Record >= 0 {
			e.why("otadata still names %s: every boot tries it first", a[0].Label)
		}
		if e.v.Watchdog > 0 {
			e.why("the RTC watchdog resets the chip after %s unless the app confirms itself", e.v.Watchdog)
		}
	case bootloader.Reset:
		e.why("no app is left: the chip resets and does the same again")
	case bootloader.Div0:
		e.why("the code divides by the number of OTA slots, which is 0: the chip crashes and resets")
	case bootloader.Hang:
		e.why("the bootloader returns: the chip stands still until its watchdog resets it")
	}
}

// writes lists what the boot changed.
func (e *explainer) writes() {
	for i := range e.after {
		if !e.records || e.before[i] == e.after[i] {
			continue
		}
		from, to := e.before[i], e.after[i]
		at := e.slots.OTAData.Offset + uint32(i)*otadata.SectorSize
		switch {
		case from.Seq == to.Seq && from.State != to.State:
			note := ""
			if to.State == otadata.PendingVerify {
				note = ": one boot to confirm itself; any reset before that makes it ABORTED"
			}
			e.changed("otadata record %d at 0x%x: %s becomes %s%s", i, at, from.State, to.State, note)
		case to == otadata.Empty():
			e.changed("otadata record %d at 0x%x: erased, the other app is confirmed", i, at)
		default:
			e.changed("otadata record %d at 0x%x: ota_seq %d, %s, the first record of this device", i, at, to.Seq, to.State)
		}
	}
	for _, r := range e.table {
		if r.Type == partition.TypeData && r.Subtype == partition.SubtypeOTAData || r.End() > uint64(len(e.old)) {
			continue
		}
		if was, is := e.old[r.Offset:r.End()], e.d.data[r.Offset:r.End()]; !bytes.Equal(was, is) {
			what := "changed"
			if filled(is, 0xFF) {
				what = "erased, the other app is confirmed"
			}
			e.changed("%s at 0x%x: %s", r.Label, r.Offset, what)
		}
	}
	if is := e.report.EFuseVersion; is != e.o.EFuseVersion {
		e.changed("eFuse SECURE_VERSION: %d becomes %d, for good", e.o.EFuseVersion, is)
	}
}
