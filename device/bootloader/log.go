package bootloader

import (
	"fmt"
	"time"

	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/partition"
)

// Line is one line of the console. Debug lines, which default builds do not
// print, are not made.
type Line struct {
	At    time.Duration // since reset
	Level byte          // 'I', 'W' or 'E'
	Tag   string
	Text  string
}

func (l Line) String() string {
	return fmt.Sprintf("%c (%d) %s: %s", l.Level, l.At.Milliseconds(), l.Tag, l.Text)
}

func (b *boot) log(level byte, tag, text string) {
	if b.cfg.KeepLog {
		b.v.Log = append(b.v.Log, Line{b.flash.Clock() - b.since, level, tag, text})
	}
}

func (b *boot) logf(level byte, tag, format string, args ...any) {
	if b.cfg.KeepLog {
		b.log(level, tag, fmt.Sprintf(format, args...))
	}
}

func (b *boot) logStart(size uint32) {
	if !b.cfg.KeepLog {
		return
	}
	version := map[Kind]string{AFR2022: "v4.2", IDF55: "v5.5", IDF60: "v6.0", AFR2018: "v3.1-dev"}[b.cfg.Kind]
	b.logf('I', "boot", "ESP-IDF %s 2nd stage bootloader", version)
	if rev := b.cfg.Image.Revision; rev != 0 {
		b.logf('I', "boot", "chip revision: v%d.%d", rev/100, rev%100)
	}
	b.logf('I', "boot", "SPI Flash Size : %dMB", size>>20)
	b.log('I', "boot", "Enabling RNG early entropy source...")
}

func (b *boot) logTable() {
	if !b.cfg.KeepLog {
		return
	}
	b.log('I', "boot", "Partition Table:")
	b.log('I', "boot", "## Label            Usage          Type ST Offset   Length")
	for i, r := range b.table {
		b.logf('I', "boot", "%2d %-16s %-16s %02x %02x %08x %08x", i, r.Label, usage(r), r.Type, r.Subtype, r.Offset, r.Size)
	}
	b.log('I', "boot", "End of partition table")
}

// usage is the third column of the table on the console.
func usage(r partition.Record) string {
	_, ota := r.OTASlot()
	switch {
	case r.Type == partition.TypeApp && r.Subtype == partition.SubtypeFactory:
		return "factory app"
	case r.Type == partition.TypeApp && r.Subtype == partition.SubtypeTest:
		return "test app"
	case ota:
		return "OTA app"
	case r.Type == partition.TypeApp:
		return "Unknown app"
	case r.Type == partition.TypeData:
		switch r.Subtype {
		case partition.SubtypeOTAData:
			return "OTA data"
		case partition.SubtypePHY:
			return "RF data"
		case partition.SubtypeNVS:
			return "WiFi data"
		case partition.SubtypeNVSKeys:
			return "NVS keys"
		case partition.SubtypeEFuse:
			return "efuse"
		}
		return "Unknown data"
	}
	return "unknown"
}

func (b *boot) logImage(m *image.Metadata, err image.Err) {
	if !b.cfg.KeepLog {
		return
	}
	for i, s := range m.Segments {
		b.logf('I', "esp_image", "segment %d: paddr=%08x vaddr=%08x size=%05xh (%6d)", i, m.Start+s.DataOffset, s.LoadAddr, s.Len, s.Len)
	}
	if err != image.OK {
		b.logf('E', "esp_image", "%s", m.Why)
	}
}
