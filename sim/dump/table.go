package dump

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/otadata"
	"github.com/otasim/otasim/flashmodel/partition"
)

const accepted = "accepted"

// flashLimit is the flash size that the bootloader believes in.
func (d *Dump) flashLimit() uint32 {
	if !d.Bootloader {
		return d.Size()
	}
	h, _ := headerAt(d.data, d.Chip.BootloaderOffset)
	if size := h.FlashSize(); size != 0 {
		return size
	}
	return 2 << 20
}

// table is the table that the bootloader works with; if it refuses it, every
// record that can be made out.
func (d *Dump) table() partition.Table {
	if t, err := partition.LoadBootloader(d.Flash, d.TableOffset, d.flashLimit()); err == partition.OK {
		return t
	}
	return d.salvage()
}

// judge collects the verdicts of the three readers of the table.
func (d *Dump) judge() Table {
	out := Table{Offset: d.TableOffset, MD5: "absent", Bootloader: accepted, App: accepted, Generator: accepted, Warnings: []string{}}
	raw := d.data[d.TableOffset:][:partition.TableSize]
	for at := 0; at+partition.RecordSize <= len(raw); at += partition.RecordSize {
		if raw[at] != 0xEB || raw[at+1] != 0xEB {
			continue
		}
		sum := md5.Sum(raw[:at])
		out.MD5 = "valid"
		if !bytes.Equal(sum[:], raw[at+16:at+32]) {
			out.MD5 = "mismatch"
		}
		break
	}
	limit := d.flashLimit()
	if _, err := partition.LoadBootloader(d.Flash, d.TableOffset, limit); err != partition.OK {
		out.Bootloader = tableFault(raw, limit)
	}
	switch _, err := partition.LoadApp(d.Flash, d.TableOffset, true); err {
	case partition.OK:
	case partition.ErrNotFound:
		out.App = "no MD5 record (firmware built without CONFIG_PARTITION_TABLE_MD5 accepts that)"
	case partition.ErrInvalidState:
		out.App = "the MD5 record does not fit the records before it"
	default:
		out.App = err.Error()
	}
	at := int64(d.TableOffset)
	c, err := partition.Convert(raw, partition.Options{TableOffset: &at, FlashSize: int64(d.Size())})
	out.Warnings = append(out.Warnings, c.Warnings...)
	var refused *partition.ToolError
	if errors.As(err, &refused) {
		out.Generator = fmt.Sprintf("%s (%s)", refused.Message, refused.Class)
	} else if err != nil {
		out.Generator = err.Error()
	}
	return out
}

// tableFault says which check of the bootloader a table fails first.
func tableFault(raw []byte, limit uint32) string {
	md5Seen := false
	for i := 0; i < partition.MaxRecords; i++ {
		rec := raw[i*partition.RecordSize:][:partition.RecordSize]
		switch {
		case rec[0] == 0xAA && rec[1] == 0x50:
			r := partition.DecodeRecord((*[partition.RecordSize]byte)(rec))
			if r.Offset > limit || r.Offset+r.Size > limit {
				return fmt.Sprintf("record %d: %q ends at 0x%x, the flash at 0x%x by the bootloader header", i, r.Label, r.End(), limit)
			}
		case rec[0] == 0xEB && rec[1] == 0xEB:
			if md5Seen {
				return fmt.Sprintf("record %d: a second MD5 record", i)
			}
			md5Seen = true
			if sum := md5.Sum(raw[:i*partition.RecordSize]); !bytes.Equal(sum[:], rec[16:]) {
				return fmt.Sprintf("record %d: the MD5 does not fit the records before it", i)
			}
		case i == 0 && filled(rec, 0xFF):
			return "record 0: erased, there is no table"
		default:
			return fmt.Sprintf("record %d: magic number %02x%02x is none", i, rec[0], rec[1])
		}
	}
	return fmt.Sprintf("no end marker in %d records", partition.MaxRecords)
}

// otaPart is the otadata partition that the bootloader uses.
func otaPart(t partition.Table) (partition.Record, bool) {
	p := t.BootSlots().OTAData
	return p, p.Offset != 0
}

// records reads both otadata records; ok is false where there is no room for them.
func (d *Dump) records(t partition.Table) (raw [2][]byte, e [2]otadata.Entry, ok bool) {
	p, ok := otaPart(t)
	if !ok {
		return raw, e, false
	}
	for i := range e {
		at := uint64(p.Offset) + uint64(i)*otadata.SectorSize
		if at+otadata.EntrySize > uint64(d.Size()) {
			return raw, e, false
		}
		raw[i] = make([]byte, otadata.EntrySize)
		if d.Flash.Read(uint32(at), raw[i]) != nil {
			return raw, e, false
		}
		e[i], _ = otadata.Decode(raw[i])
	}
	return raw, e, true
}

// otaData describes the records of the dump.
func (d *Dump) otaData(t partition.Table) *OTAData {
	raw, e, ok := d.records(t)
	if !ok {
		return nil
	}
	slots := t.BootSlots()
	p, _ := otaPart(t)
	out := &OTAData{Offset: p.Offset}
	for i := range e {
		out.Records[i] = describeRecord(raw[i], e[i], &slots)
	}
	if slots.AppCount == 0 {
		out.Why = "the table has no OTA slot"
		return out
	}
	active := otadata.Active(e)
	out.Why = whyActive(e, active, slots.Factory.Offset != 0)
	if active >= 0 {
		out.Active, out.Slot = &active, out.Records[active].Slot
	}
	return out
}

func describeRecord(raw []byte, e otadata.Entry, slots *partition.BootSlots) Record {
	r := Record{
		Hex: hex.EncodeToString(raw), Empty: filled(raw, 0xFF), Seq: e.Seq, State: e.State.String(), StateHex: fmt.Sprintf("%08x", uint32(e.State)),
		CRC: fmt.Sprintf("%08x", e.CRC), CRCGood: e.CRCGood(), Usable: e.Usable(),
	}
	if e.Seq != otadata.EmptySeq && slots.AppCount > 0 {
		if p := slots.Slot(int(e.Slot(uint32(slots.AppCount)))); p.Size != 0 {
			r.Slot = &p.Label
		}
	}
	return r
}

// whyActive explains the choice among two records.
func whyActive(e [2]otadata.Entry, active int, factory bool) string {
	fallback := "slot 0, there is no factory app"
	if factory {
		fallback = "the factory app"
	}
	switch {
	case active >= 0 && e[0].Usable() && e[1].Usable() && e[0].Seq == e[1].Seq:
		return fmt.Sprintf("both records are usable with the same ota_seq %d: record 0 decides", e[0].Seq)
	case active >= 0 && e[0].Usable() && e[1].Usable():
		return fmt.Sprintf("both records are usable, record %d has the higher ota_seq %d", active, e[active].Seq)
	case active >= 0:
		return fmt.Sprintf("record %d with ota_seq %d is the only usable one; record %d is %s", active, e[active].Seq, 1-active, unusable(e[1-active]))
	case e[0].Unusable() && e[1].Unusable():
		return fmt.Sprintf("record 0 is %s, record 1 is %s: %s", unusable(e[0]), unusable(e[1]), fallback)
	}
	return fmt.Sprintf("record 0 is %s, record 1 is %s: otadata counts as invalid, %s", unusable(e[0]), unusable(e[1]), fallback)
}

// unusable says why a record is not selected.
func unusable(e otadata.Entry) string {
	switch {
	case e.Seq == otadata.EmptySeq:
		return "empty"
	case e.State == otadata.Invalid || e.State == otadata.Aborted:
		return e.State.String()
	case !e.CRCGood():
		return fmt.Sprintf("torn (CRC %08x, ota_seq %d needs %08x)", e.CRC, e.Seq, otadata.CRC(e.Seq))
	}
	return "usable"
}

// loadOptions are the loader's view of an app on this chip.
func (d *Dump) loadOptions(revision uint16) image.VerifyOptions {
	return image.VerifyOptions{Mode: image.BootLoad, Chip: d.Chip, Revision: revision}
}

// Revision is the chip revision that is assumed: the newest that is sold.
func Revision(c *image.Chip) uint16 {
	switch c {
	case image.ESP32S3:
		return 2
	case image.ESP32C3:
		return 4
	}
	return 300
}
