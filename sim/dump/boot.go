package dump

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/flashmodel/efuse"
	"github.com/otasim/otasim/flashmodel/image"
)

// BootOptions are what the build of the bootloader and the eFuses decide.
type BootOptions struct {
	Kind         bootloader.Kind
	Rollback     bool   // CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE
	AntiRollback bool   // CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK
	EFuseVersion uint32 // SECURE_VERSION before the boot, at most SecureVersionBits
	Revision     uint16 // of the chip, major*100 + minor
}

// SecureVersionBits is the width of SECURE_VERSION in the eFuses of a chip.
func SecureVersionBits(c *image.Chip) int {
	if c == image.ESP32 {
		return 32
	}
	return 16
}

// BootReport is one boot of a dump.
type BootReport struct {
	End          string    `json:"end"`           // started, reset, div0 or hang
	Boot         *string   `json:"boot"`          // label of the started app
	Tried        []string  `json:"tried"`         // labels whose image was read and checked, in order
	OTAData      []string  `json:"otadata"`       // both records afterwards; null: no otadata partition
	EFuseVersion uint32    `json:"efuse_version"` // afterwards
	Selected     *int      `json:"start_index"`   // slot chosen from otadata, -1 factory; null: the code stopped before
	Reason       string    `json:"reason"`        // why no app was started, "" if one was
	App          *Started  `json:"app"`           // the started app
	Attempts     []Attempt `json:"attempts"`
	Changed      []string  `json:"changed"` // what the boot wrote
	Why          []string  `json:"why"`
	Log          []string  `json:"log"`
	Notes        []string  `json:"notes"` // what was assumed
}

// Started is the app that runs.
type Started struct {
	Offset        uint32  `json:"offset"`
	Version       string  `json:"version"`
	Project       string  `json:"project_name"`
	SecureVersion uint32  `json:"secure_version"`
	SHA256        string  `json:"sha256"`
	Watchdog      float64 `json:"watchdog_seconds"` // until the RTC watchdog resets the chip; 0: app start-up stops it
}

// Attempt is an app that the bootloader read and checked.
type Attempt struct {
	Label   string `json:"label"`
	Loads   bool   `json:"loads"`
	Refused string `json:"refused,omitempty"`
}

// Boot lets the bootloader run from power-on, which changes the dump as the
// chip would change.
func (d *Dump) Boot(o BootOptions) *BootReport {
	bits := SecureVersionBits(d.Chip)
	var fuse efuse.EFuse
	fuse.Preset(efuse.SecureVersionBits, 1<<o.EFuseVersion-1)
	model := device.DefaultModel()
	cfg := bootloader.Config{
		Kind: o.Kind, Rollback: o.Rollback, AntiRollback: o.AntiRollback, SecVerBits: bits, TableOffset: d.TableOffset, ImageOffset: d.Chip.BootloaderOffset,
		Image: image.VerifyOptions{Chip: d.Chip, Revision: o.Revision, Header: headerChecks[o.Kind]}, StartTime: model.Boot, ReadRate: model.HashRate, KeepLog: true,
	}
	if !d.Bootloader {
		cfg.FlashSize = d.Size()
	}
	t := d.table()
	_, before, haveRecords := d.records(t)
	v := bootloader.Boot(d.Flash, &fuse, cfg, bootloader.PowerOn)
	old := d.data
	d.data = d.Bytes()

	r := &BootReport{
		End: v.End.String(), Tried: append([]string{}, v.Tried...), EFuseVersion: fuse.SecureVersion(bits), Reason: v.Reason,
		Attempts: attempts(&v), Changed: []string{}, Log: []string{}, Notes: d.notes(),
	}
	if v.Selected {
		r.Selected = &v.StartIndex
	}
	if v.End == bootloader.Started {
		r.Boot = &v.Boot
		r.App = &Started{
			Offset: v.Part.Offset, Version: v.Image.Descriptor.Version, Project: v.Image.Descriptor.Project, SecureVersion: v.Image.SecureVersion,
			SHA256: hex.EncodeToString(v.Image.SHA256[:]), Watchdog: v.Watchdog.Seconds(),
		}
	}
	raw, after, _ := d.records(t)
	if haveRecords {
		r.OTAData = []string{hex.EncodeToString(raw[0]), hex.EncodeToString(raw[1])}
	}
	for _, l := range v.Log {
		r.Log = append(r.Log, l.String())
	}
	e := explainer{d: d, o: &o, v: &v, report: r, table: t, slots: t.BootSlots(), before: before, after: after, records: haveRecords, old: old}
	e.run()
	return r
}

// headerChecks are what the bootloaders look at in an image header: the 2018
// one at no chip, the one of 2022 (ESP-IDF v4.2) at no full revision.
var headerChecks = map[bootloader.Kind]image.HeaderChecks{
	bootloader.AFR2018: image.CheckNoChip, bootloader.AFR2022: image.CheckLegacyRevision,
}

// Bytes is the content of the chip now.
func (d *Dump) Bytes() []byte {
	b := make([]byte, d.Size())
	if err := d.Flash.Read(0, b); err != nil {
		return nil // the range is the chip
	}
	return b
}

// notes are the assumptions a boot rests on.
func (d *Dump) notes() []string {
	out := []string{}
	if !d.Bootloader {
		out = append(out, fmt.Sprintf("no bootloader image at 0x%x: this is what one that was built for %s would do", d.Chip.BootloaderOffset, megabytes(d.Size())))
	} else if p, err := image.Parse(d.region(d.Chip.BootloaderOffset, d.TableOffset-min(d.Chip.BootloaderOffset, d.TableOffset))); err == nil {
		for _, problem := range p.Problems {
			out = append(out, "bootloader image: "+problem+"; taken as if it ran")
		}
	}
	if d.Partial {
		out = append(out, "the file ends before the chip: what is behind is taken as erased")
	}
	return out
}

// attempts pairs the tried labels with what the log says of them: every try
// ends with one of two lines.
func attempts(v *bootloader.Verdict) []Attempt {
	out := []Attempt{}
	for _, l := range v.Log {
		if len(out) == len(v.Tried) {
			break
		}
		label := v.Tried[len(out)]
		switch {
		case l.Tag == "esp_image" && l.Level == 'E':
			out = append(out, Attempt{Label: label, Refused: l.Text})
		case l.Tag == "boot" && strings.HasPrefix(l.Text, loadedLine):
			out = append(out, Attempt{Label: label, Loads: true})
		}
	}
	return out
}

// WriteText prints the log of the bootloader and what it means.
func (r *BootReport) WriteText(w io.Writer) {
	t := writer{w}
	for _, l := range r.Log {
		t.line(0, "%s", l)
	}
	if len(r.Log) > 0 {
		t.line(0, "")
	}
	if r.Boot != nil {
		t.line(0, "starts %s at 0x%x: %s %s, secure version %d", *r.Boot, r.App.Offset, r.App.Project, r.App.Version, r.App.SecureVersion)
	} else {
		t.line(0, "ends in %s: %s", r.End, r.Reason)
	}
	t.list("Why", r.Why)
	t.list("Written", r.Changed)
	t.list("Taken for granted", r.Notes)
	for i, hex := range r.OTAData {
		if i == 0 {
			t.line(0, "")
			t.line(0, "otadata afterwards")
		}
		t.line(1, "[%d] %s", i, hex)
	}
}

func (t writer) list(title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	t.line(0, "")
	t.line(0, "%s", title)
	for _, l := range lines {
		t.line(1, "%s", l)
	}
}
