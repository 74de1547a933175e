package dump

import (
	"fmt"
	"io"
	"strings"
)

// writer prints a report with an indentation.
type writer struct {
	w io.Writer
}

func (t writer) line(indent int, format string, args ...any) {
	fmt.Fprintf(t.w, "%s%s\n", strings.Repeat("  ", indent), fmt.Sprintf(format, args...))
}

// WriteText prints the report for people.
func (r *Report) WriteText(out io.Writer) {
	t := writer{out}
	t.line(0, "%s: %s, %s (%s)", r.File, megabytes(r.Size), r.Chip, r.ChipFrom)
	t.bootloader(r.Bootloader)
	t.table(r)
	t.otaData(r.OTAData)
	for i := range r.Partitions {
		if r.Partitions[i].Content != "otadata" {
			t.partition(&r.Partitions[i])
		}
	}
	t.line(0, "")
	if len(r.Problems) == 0 {
		t.line(0, "No problems.")
		return
	}
	t.line(0, "Problems")
	for _, p := range r.Problems {
		t.line(1, "%s", p)
	}
}

func (t writer) bootloader(b *Bootloader) {
	if b == nil {
		return
	}
	t.line(0, "")
	t.line(0, "Bootloader at 0x%x", b.Offset)
	if b.Version != nil {
		t.line(1, "version %d, ESP-IDF %s, compiled %s", *b.Version, b.IDFVersion, b.DateTime)
	} else {
		t.line(1, "no descriptor (ESP-IDF before v5.1)")
	}
	t.image(&b.Image)
	t.line(1, "header: flash mode %s, %s, %s", b.FlashMode, b.FlashFreq, megabytes(b.FlashSize))
}

func (t writer) image(i *Image) {
	t.line(1, "%d bytes, %d segments, checksum %s, hash %s, chip revision from %s to %s", i.Length, i.Segments, i.Checksum, i.Hash, i.MinRevision, i.MaxRevision)
	if i.SHA256 != "" {
		t.line(1, "SHA-256 %s", i.SHA256)
	}
	switch i.Signature {
	case SignedECDSA:
		t.line(1, "ECDSA block at 0x%x: Secure Boot V1 or FreeRTOS trailer", i.SignatureAt)
	case SignedV2:
		t.line(1, "Secure Boot V2 sector at 0x%x", i.SignatureAt)
		for n, k := range i.SignatureKeys {
			t.line(2, "block %d, key digest %s", n, k)
		}
	}
	if i.After != "" {
		t.line(1, "behind it: %s", i.After)
	}
}

func (t writer) table(r *Report) {
	p := &r.Table
	t.line(0, "")
	t.line(0, "Partition table at 0x%x: MD5 %s", p.Offset, p.MD5)
	if p.Bootloader == accepted && p.App == accepted && p.Generator == accepted {
		t.line(1, "accepted by bootloader, app and generator")
	} else {
		t.line(1, "bootloader: %s", p.Bootloader)
		t.line(1, "app: %s", p.App)
		t.line(1, "generator: %s", p.Generator)
	}
	for _, w := range p.Warnings {
		t.line(1, "warning of the generator: %s", w)
	}
	t.line(1, "%-16s %-10s %-10s %-10s %-8s %s", "# Name", "Type", "SubType", "Offset", "Size", "Flags")
	for i := range r.Partitions {
		q := &r.Partitions[i]
		var flags []string
		if q.Encrypted {
			flags = append(flags, "encrypted")
		}
		if q.ReadOnly {
			flags = append(flags, "readonly")
		}
		t.line(1, "%s", strings.TrimRight(fmt.Sprintf("%-16s %-10s %-10s %-10s %-8s %s", q.Label, q.Type, q.Subtype,
			fmt.Sprintf("0x%x", q.Offset), kilobytes(q.Size), strings.Join(flags, ":")), " "))
	}
}

func (t writer) otaData(o *OTAData) {
	if o == nil {
		return
	}
	t.line(0, "")
	t.line(0, "otadata at 0x%x", o.Offset)
	for i := range o.Records {
		t.record(i, &o.Records[i])
	}
	if o.Slot != nil {
		t.line(1, "active: record %d, %s", *o.Active, *o.Slot)
	} else {
		t.line(1, "active: none")
	}
	t.line(1, "%s", o.Why)
}

func (t writer) record(i int, r *Record) {
	t.line(1, "[%d] %s", i, r.Hex)
	if r.Empty {
		t.line(1, "    empty")
		return
	}
	crc, slot := "good", "no slot"
	if !r.CRCGood {
		crc = "bad"
	}
	if r.Slot != nil {
		slot = *r.Slot
	}
	t.line(1, "    ota_seq %d (%s), ota_state %s, CRC %s %s", r.Seq, slot, r.State, r.CRC, crc)
}

func (t writer) partition(p *Partition) {
	t.line(0, "")
	t.line(0, "%s at 0x%x: %s", p.Label, p.Offset, p.summary())
	if a := p.App; a != nil {
		if a.Descriptor {
			t.line(1, "%s %s, secure version %d, ESP-IDF %s, compiled %s", a.Project, a.Version, a.SecureVersion, a.IDFVersion, a.Compiled)
		} else {
			t.line(1, "no app descriptor")
		}
		t.image(&a.Image)
		if a.Loads {
			t.line(1, "the bootloader would start it")
		} else {
			t.line(1, "the bootloader refuses it at step %d: %s", a.Step, a.Refused)
		}
	}
	if n := p.NVS; n != nil {
		t.nvs(n)
	}
}

func (p *Partition) summary() string {
	switch {
	case p.App != nil:
		return "app for " + p.App.Chip
	case p.NVS != nil && p.NVS.Error != "":
		return p.NVS.Error
	case p.NVS != nil && p.NVS.Encrypted:
		return fmt.Sprintf("encrypted NVS, %d of %d entries used", p.NVS.Used, p.NVS.Total)
	case p.NVS != nil:
		return fmt.Sprintf("NVS, %d of %d entries used", p.NVS.Used, p.NVS.Total)
	case p.Content == "data":
		return fmt.Sprintf("data, 0x%x of 0x%x bytes up to the last one that is not FF", p.Used, p.Size)
	case p.Content == "outside":
		return "not in the dump"
	}
	return p.Content
}

func (t writer) nvs(n *NVS) {
	for _, ns := range n.Namespaces {
		t.line(1, "%s", ns.Name)
		for _, k := range ns.Keys {
			t.line(2, "%s", strings.TrimRight(fmt.Sprintf("%-15s %-6s %6d  %s%s", k.Key, k.Type, k.Size, k.Value, k.Note), " "))
		}
	}
}
