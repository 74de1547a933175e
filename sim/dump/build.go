package dump

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/nvs"
	"github.com/otasim/otasim/flashmodel/otadata"
	"github.com/otasim/otasim/flashmodel/partition"
)

// Spec describes a flash image to build.
type Spec struct {
	Chip        *image.Chip // nil: that of the bootloader, or ESP32
	Size        uint32      // of the flash in bytes, which the bootloader header then says too; 0: what it says, or 4 MB
	TableOffset uint32      // 0: 0x8000
	Table       []byte      // partition table, CSV or binary; nil: it is among Pieces, or there is none
	DisableMD5  bool
	Lookup      func(string) (string, bool) // variables in the CSV
	Bootloader  []byte                      // nil: a stand-in whose header tells chip and flash size; no board starts from it
	Apps        []LabelFile
	NVS         []LabelFile // CSV or binary; an empty label is the first NVS partition
	File        func(name string) ([]byte, bool)
	OTAData     []string // LABEL:STATE or LABEL:STATE:SEQ for record 0 and record 1; "empty" leaves one out
	Pieces      []Piece
}

// LabelFile is a file for a partition. Name is for messages.
type LabelFile struct {
	Label, Name string
	Data        []byte
}

// Piece is a file for an address.
type Piece struct {
	Addr uint32
	Name string
	Data []byte
}

// Built is a flash image and what is where in it, in the order of addresses.
type Built struct {
	Data   []byte
	Chip   *image.Chip
	Pieces []Piece
	Notes  []string
}

type builder struct {
	spec  *Spec
	chip  *image.Chip
	size  uint32
	table partition.Table
	out   Built
}

// Build lays out a flash image. The error is *Error.
func Build(s Spec) (*Built, error) {
	b := &builder{spec: &s}
	for _, step := range []func() error{b.target, b.loader, b.tables, b.apps, b.nvs, b.otadata} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	b.out.Pieces = append(b.out.Pieces, s.Pieces...)
	if err := b.merge(); err != nil {
		return nil, err
	}
	b.out.Chip = b.chip
	return &b.out, nil
}

func (b *builder) add(addr uint32, name string, data []byte) {
	b.out.Pieces = append(b.out.Pieces, Piece{addr, name, data})
}

func (b *builder) note(format string, args ...any) {
	b.out.Notes = append(b.out.Notes, fmt.Sprintf(format, args...))
}

// target settles chip and flash size.
func (b *builder) target() error {
	if b.spec.TableOffset == 0 {
		b.spec.TableOffset = partition.DefaultOffset
	}
	b.chip, b.size = b.spec.Chip, b.spec.Size
	if h, ok := headerAt(b.spec.Bootloader, 0); ok {
		c := image.ChipByID(h.ChipID)
		if _, known := ChipByName(c.Name); !known {
			return refuse("", "the bootloader is for an %s: one of esp32, esp32s3, esp32c3 is supported", c.Name)
		}
		if b.chip == nil {
			b.chip = c
		}
		if b.chip != c {
			return refuse("", "the bootloader is for %s, not for %s", ChipName(c), ChipName(b.chip))
		}
		if b.size == 0 {
			b.size = h.FlashSize()
		}
	}
	if b.chip == nil {
		b.chip = image.ESP32
	}
	if b.size == 0 {
		b.size = 4 << 20
	}
	if _, ok := flashmodel.ChipOfSize(b.size); !ok {
		return refuse("", "%s: flash chips have 1, 2, 4, 8 or 16 MB", megabytes(b.size))
	}
	return nil
}

// loader places the bootloader.
func (b *builder) loader() error {
	at := b.chip.BootloaderOffset
	for _, p := range b.spec.Pieces {
		if p.Addr == at && b.spec.Bootloader == nil {
			return nil
		}
	}
	data := b.spec.Bootloader
	if data == nil {
		var err error
		if data, err = image.Build(image.Spec{Project: "bootloader", Version: "stand-in", Size: 16 << 10, Chip: b.chip, FlashSize: b.size}); err != nil {
			return refuse("", "%v", err)
		}
		b.note("0x%x holds a stand-in for the bootloader: otasim boots it, a board does not; give --bootloader for one", at)
	} else if _, ok := headerAt(data, 0); !ok {
		return refuse("", "the bootloader is no image")
	} else if h, _ := headerAt(data, 0); h.FlashSize() != b.size {
		b.note("bootloader header: flash size %s becomes %s, as with esptool --flash-size", megabytes(h.FlashSize()), megabytes(b.size))
		data = withFlashSize(data, b.size)
	}
	if uint64(at)+uint64(len(data)) > uint64(b.spec.TableOffset) {
		return refuse("a later --table-offset makes room", "the bootloader ends at 0x%x, behind the partition table at 0x%x", uint64(at)+uint64(len(data)), b.spec.TableOffset)
	}
	b.add(at, "bootloader", data)
	return nil
}

// withFlashSize changes the size in an image header and the appended hash with it.
func withFlashSize(data []byte, size uint32) []byte {
	p, err := image.Parse(data)
	if err != nil {
		return data
	}
	out := bytes.Clone(data)
	out[3] = out[3]&0x0F | byte(bits.TrailingZeros32(size)-20)<<4
	if end := int(p.Length) - image.HashSize; p.Hash != nil {
		sum := sha256.Sum256(out[:end])
		copy(out[end:], sum[:])
	}
	return out
}

// tables reads the partition table and places it.
func (b *builder) tables() error {
	text, given := b.spec.Table, b.spec.Table != nil
	if !given {
		for _, p := range b.spec.Pieces {
			if p.Addr == b.spec.TableOffset {
				text = p.Data
			}
		}
	}
	if text == nil {
		if len(b.spec.Apps)+len(b.spec.NVS)+len(b.spec.OTAData) > 0 {
			return refuse("--partitions CSV or NAME", "labels need a partition table")
		}
		return nil
	}
	at := int64(b.spec.TableOffset)
	c, err := partition.Convert(text, partition.Options{TableOffset: &at, FlashSize: int64(b.size), DisableMD5: b.spec.DisableMD5, Lookup: b.spec.Lookup})
	for _, w := range c.Warnings {
		b.note("partition table: %s", w)
	}
	if err != nil {
		var t *partition.ToolError
		if errors.As(err, &t) {
			return refuse("", "partition table: %s", t.Message)
		}
		return refuse("", "partition table: %v", err)
	}
	b.table = c.Table
	if !given {
		return nil
	}
	raw := c.Output
	if c.FromBinary {
		if raw, err = c.Table.Encode(!b.spec.DisableMD5); err != nil {
			return refuse("", "%v", err)
		}
	}
	b.add(b.spec.TableOffset, "partition table", raw)
	return nil
}

// find gives the partition with a label.
func (b *builder) find(label string) (partition.Record, error) {
	if r, ok := b.table.FindLabel(label); ok {
		return r, nil
	}
	var labels []string
	for _, r := range b.table {
		labels = append(labels, r.Label)
	}
	return partition.Record{}, refuse("the table has "+strings.Join(labels, ", "), "no partition %q", label)
}

func (b *builder) apps() error {
	for _, a := range b.spec.Apps {
		r, err := b.find(a.Label)
		if err != nil {
			return err
		}
		if r.Type != partition.TypeApp {
			return refuse("ADDRESS FILE puts any file anywhere", "%s is no app partition", a.Label)
		}
		p, err := image.Parse(a.Data)
		switch {
		case err != nil:
			return refuse("ADDRESS FILE puts any file anywhere", "%s: %v", a.Name, err)
		case p.Header.ChipID != b.chip.ID:
			b.note("%s is for chip id %d: an %s refuses it", a.Name, p.Header.ChipID, b.chip.Name)
		}
		for _, problem := range p.Problems {
			b.note("%s: %s", a.Name, problem)
		}
		if uint64(len(a.Data)) > uint64(r.Size) {
			return refuse("", "%s has %d bytes, partition %s has %d", a.Name, len(a.Data), a.Label, r.Size)
		}
		b.add(r.Offset, a.Label, a.Data)
	}
	return nil
}

func (b *builder) nvs() error {
	for _, n := range b.spec.NVS {
		r, ok := b.table.FindFirst(partition.TypeData, partition.SubtypeNVS)
		if n.Label != "" {
			var err error
			if r, err = b.find(n.Label); err != nil {
				return err
			}
		} else if !ok {
			return refuse("", "the partition table has no NVS partition")
		}
		data := n.Data
		if isText(data) {
			var err error
			if data, err = nvs.Generate(data, nvs.GenerateOptions{Size: int(r.Size), File: b.spec.File}); err != nil {
				return refuse("", "%s: %v", n.Name, err)
			}
		} else if uint64(len(data)) > uint64(r.Size) || len(data)%nvs.PageSize != 0 {
			return refuse("", "%s has %d bytes: partition %s takes whole pages of 4096, up to %d", n.Name, len(data), r.Label, r.Size)
		}
		b.add(r.Offset, r.Label, data)
	}
	return nil
}

// States of otadata records by name.
var states = map[string]otadata.ImageState{
	"NEW": otadata.New, "PENDING_VERIFY": otadata.PendingVerify, "VALID": otadata.Valid, "INVALID": otadata.Invalid, "ABORTED": otadata.Aborted,
	"UNDEFINED": otadata.Undefined,
}

func (b *builder) otadata() error {
	if len(b.spec.OTAData) == 0 {
		return nil
	}
	slots := b.table.BootSlots()
	p, ok := otaPart(b.table)
	switch {
	case !ok:
		return refuse("", "the partition table has no otadata partition")
	case len(b.spec.OTAData) > 2:
		return refuse("", "otadata has two records, %d were given", len(b.spec.OTAData))
	case slots.AppCount == 0:
		return refuse("", "the partition table has no OTA slot")
	}
	last := uint32(0)
	sectors := bytes.Repeat([]byte{0xFF}, otadata.PartitionSize)
	for i, text := range b.spec.OTAData {
		if strings.EqualFold(text, "empty") {
			continue
		}
		e, err := b.record(text, last, &slots)
		if err != nil {
			return err
		}
		last = e.Seq
		raw := e.Encode()
		copy(sectors[i*otadata.SectorSize:], raw[:])
	}
	b.add(p.Offset, p.Label, sectors)
	return nil
}

// record reads LABEL:STATE[:SEQ]. Without a number it is the first one above
// last that names the slot.
func (b *builder) record(text string, last uint32, slots *partition.BootSlots) (otadata.Entry, error) {
	const form = "expected LABEL:STATE or LABEL:STATE:SEQ such as ota_0:VALID, or empty"
	parts := strings.Split(text, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return otadata.Entry{}, refuse(form, "otadata %q", text)
	}
	r, err := b.find(parts[0])
	if err != nil {
		return otadata.Entry{}, err
	}
	slot, ok := r.OTASlot()
	if !ok || slot >= slots.AppCount {
		return otadata.Entry{}, refuse("", "otadata %q: %s is no OTA slot that the bootloader counts", text, r.Label)
	}
	name := strings.TrimPrefix(strings.ToUpper(parts[1]), "ESP_OTA_IMG_")
	state, ok := states[name]
	if name == "PENDING" {
		state, ok = otadata.PendingVerify, true
	}
	if !ok {
		return otadata.Entry{}, refuse("one of NEW, PENDING_VERIFY, VALID, INVALID, ABORTED, UNDEFINED", "otadata %q: unknown state %q", text, parts[1])
	}
	n := uint32(slots.AppCount)
	seq := uint32(slot) + 1
	for seq <= last {
		seq += n
	}
	if len(parts) == 3 {
		v, err := strconv.ParseUint(parts[2], 0, 32)
		if err != nil || v == 0 || uint32(v-1)%n != uint32(slot) {
			return otadata.Entry{}, refuse("", "otadata %q: %s needs a number that is %d above a multiple of %d", text, r.Label, slot+1, n)
		}
		seq = uint32(v)
	}
	return otadata.Make(seq, state), nil
}

// merge writes the pieces into an erased flash; none may reach into another.
func (b *builder) merge() error {
	slices.SortStableFunc(b.out.Pieces, func(x, y Piece) int { return cmp.Compare(x.Addr, y.Addr) })
	b.out.Data = bytes.Repeat([]byte{0xFF}, int(b.size))
	end, last := uint64(0), ""
	for _, p := range b.out.Pieces {
		if uint64(p.Addr) < end {
			return refuse("", "%s at 0x%x overlaps %s, which ends at 0x%x", p.Name, p.Addr, last, end)
		}
		end, last = uint64(p.Addr)+uint64(len(p.Data)), p.Name
		if end > uint64(b.size) {
			return refuse("--size", "%s ends at 0x%x, the flash at 0x%x", p.Name, end, b.size)
		}
		copy(b.out.Data[p.Addr:], p.Data)
	}
	return nil
}
