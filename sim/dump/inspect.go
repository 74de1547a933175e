package dump

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/nvs"
	"github.com/otasim/otasim/flashmodel/partition"
)

// Inspect describes everything in the dump. file is its name in the report.
func (d *Dump) Inspect(file string) *Report {
	t := d.table()
	r := &Report{
		File: file, Size: d.Size(), Partial: d.Partial, Chip: ChipName(d.Chip), ChipFrom: d.ChipFrom,
		Table: d.judge(), OTAData: d.otaData(t), Partitions: []Partition{}, Problems: []string{},
	}
	r.Bootloader = d.bootloader()
	keys := d.nvsKeys(t)
	for _, rec := range t {
		r.Partitions = append(r.Partitions, d.partition(rec, keys))
	}
	d.findProblems(r)
	return r
}

func (d *Dump) bootloader() *Bootloader {
	if !d.Bootloader {
		return nil
	}
	at := d.Chip.BootloaderOffset
	p, err := image.Parse(d.region(at, d.TableOffset-min(at, d.TableOffset)))
	if err != nil {
		return nil
	}
	b := &Bootloader{
		Offset: at, Image: DescribeImage(p, at), FlashSize: d.flashLimit(), FlashMode: FlashMode(&p.Header), FlashFreq: FlashFreq(&p.Header),
	}
	if v := p.Bootloader; v != nil {
		b.Version, b.IDFVersion, b.DateTime = &v.Version, v.IDFVersion, v.DateTime
	}
	return b
}

func (d *Dump) partition(rec partition.Record, keys *nvs.Keys) Partition {
	p := Partition{
		Label: rec.Label, Type: partition.TypeName(rec.Type), Subtype: partition.SubtypeName(rec.Type, rec.Subtype), Offset: rec.Offset, Size: rec.Size,
		Encrypted: rec.Flags&partition.FlagEncrypted != 0, ReadOnly: rec.Flags&partition.FlagReadOnly != 0,
	}
	content := d.region(rec.Offset, rec.Size)
	p.Used = uint32(used(content))
	switch {
	case uint64(len(content)) < uint64(rec.Size):
		p.Content = "outside"
		return p
	case p.Used == 0:
		p.Content = "erased"
		return p
	}
	p.Content = "data"
	switch {
	case rec.Type == partition.TypeApp && content[0] == image.Magic:
		if p.App = d.app(rec, content); p.App != nil {
			p.Content = "image"
		}
	case rec.Type == partition.TypeData && rec.Subtype == partition.SubtypeOTAData:
		p.Content = "otadata"
	case rec.Type == partition.TypeData && rec.Subtype == partition.SubtypeNVS:
		p.Content, p.NVS = "nvs", d.nvs(rec, keys)
	}
	return p
}

// app describes an app slot; nil if there is no image header.
func (d *Dump) app(rec partition.Record, content []byte) *App {
	p, err := image.Parse(content)
	if err != nil {
		return nil
	}
	a := &App{Chip: fmt.Sprintf("id %d", p.Header.ChipID), Image: DescribeImage(p, rec.Offset)}
	if c := image.ChipByID(p.Header.ChipID); c != nil {
		a.Chip = ChipName(c)
	}
	if v := p.Descriptor; v != nil {
		a.Descriptor, a.Version, a.Project, a.SecureVersion = true, v.Version, v.Project, v.SecureVersion
		a.IDFVersion, a.Compiled, a.ELFSHA256 = v.IDFVersion, strings.TrimSpace(v.Date+" "+v.Time), hex.EncodeToString(v.ELFSHA256[:])
	}
	md, code := image.Verify(d.Flash, rec.Offset, rec.Size, d.loadOptions(Revision(d.Chip)))
	a.Loads = code == image.OK
	if !a.Loads {
		a.Refused, a.Step = md.Why, md.FailStep
	}
	return a
}

// findProblems lists what keeps the device from working as its owner expects.
func (d *Dump) findProblems(r *Report) {
	say := func(format string, args ...any) { r.Problems = append(r.Problems, fmt.Sprintf(format, args...)) }
	if d.Partial {
		say("the file ends at 0x%x of 0x%x: what is behind is taken as erased", d.Length, d.Size())
	}
	if b := r.Bootloader; b == nil {
		say("no bootloader image at 0x%x", d.Chip.BootloaderOffset)
	} else {
		for _, p := range b.Image.Problems {
			say("bootloader: %s", p)
		}
		switch {
		case b.FlashSize > r.Size:
			say("the bootloader header says %s of flash, the dump has %s", megabytes(b.FlashSize), megabytes(r.Size))
		case b.FlashSize < r.Size:
			say("the bootloader header says %s of flash: the rest of the %s is out of its reach", megabytes(b.FlashSize), megabytes(r.Size))
		}
		if end := uint64(b.Offset) + uint64(b.Image.Length); end > uint64(r.Table.Offset) {
			say("the bootloader ends at 0x%x, behind the partition table at 0x%x", end, r.Table.Offset)
		}
	}
	for _, v := range []struct{ who, verdict string }{{"bootloader", r.Table.Bootloader}, {"app", r.Table.App}, {"generator", r.Table.Generator}} {
		if v.verdict != accepted {
			say("partition table, %s: %s", v.who, v.verdict)
		}
	}
	apps := 0
	for i := range r.Partitions {
		p := &r.Partitions[i]
		switch {
		case p.Content == "outside":
			say("%s: 0x%x to 0x%x is not in the dump", p.Label, p.Offset, uint64(p.Offset)+uint64(p.Size))
		case p.App != nil && p.App.Loads:
			apps++
		case p.App != nil:
			say("%s: the bootloader refuses it: %s", p.Label, p.App.Refused)
		case p.Type == "app" && p.Content == "data":
			say("%s: not an image", p.Label)
		case p.NVS != nil && p.NVS.Error != "":
			say("%s: %s", p.Label, p.NVS.Error)
		}
	}
	if apps == 0 {
		say("no app that the bootloader would start")
	}
}
