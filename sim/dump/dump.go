// Package dump takes apart what "esptool read-flash 0 ALL" reads from a board,
// boots it, and builds such files.
//
//	ESP32            S3, C3
//	0x0000           -           Secure Boot V1 digest
//	0x1000           0x0000      second-stage bootloader
//	0x8000           0x8000      partition table, one sector
//	as the table says            NVS, otadata, apps, ...
//
// A dump is as long as its flash chip: 1, 2, 4, 8 or 16 MB.
package dump

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/partition"
)

// MaxSize is the size of the largest supported flash chip in bytes.
const MaxSize = 16 << 20

// ErrInvalid is wrapped by every Error.
var ErrInvalid = errors.New("not a usable flash dump")

// Error is the refusal of a file. Reason is one line, Help says what to do
// about it and may be "".
type Error struct{ Reason, Help string }

func (e *Error) Error() string { return e.Reason }

func (e *Error) Unwrap() error { return ErrInvalid }

func refuse(help, format string, args ...any) error {
	return &Error{Reason: fmt.Sprintf(format, args...), Help: help}
}

// Options say what the file cannot.
type Options struct {
	Chip        *image.Chip // nil: what the bootloader header says, or ESP32
	TableOffset uint32      // 0: 0x8000
	Partial     bool        // the file holds only the first part of the flash; the rest is taken as erased
}

// Dump is the content of a flash chip.
type Dump struct {
	Flash       *flashmodel.Flash
	Length      int // bytes of the file; the chip is larger if Partial
	Partial     bool
	Chip        *image.Chip
	ChipFrom    string // what told the chip
	Bootloader  bool   // there is a bootloader image where Chip looks for it
	TableOffset uint32

	data []byte // of the whole chip
}

// Chips are the chips whose dumps are understood.
func Chips() []*image.Chip { return []*image.Chip{image.ESP32, image.ESP32S3, image.ESP32C3} }

// ChipName is the name of a chip as command lines spell it: esp32s3.
func ChipName(c *image.Chip) string {
	return strings.ToLower(strings.ReplaceAll(c.Name, "-", ""))
}

// ChipByName finds a chip that is understood.
func ChipByName(name string) (*image.Chip, bool) {
	for _, c := range Chips() {
		if image.ChipByName(name) == c {
			return c, true
		}
	}
	return nil, false
}

// Read checks the bytes of a file. The error is *Error.
func Read(data []byte, o Options) (*Dump, error) {
	if err := plausible(data); err != nil {
		return nil, err
	}
	d := &Dump{Length: len(data), TableOffset: o.TableOffset, data: data}
	if d.TableOffset == 0 {
		d.TableOffset = partition.DefaultOffset
	}
	size, err := chipSize(data, o.Partial)
	if err != nil {
		return nil, err
	}
	if int(size) > len(data) {
		d.Partial = true
		d.data = append(bytes.Clone(data), bytes.Repeat([]byte{0xFF}, int(size)-len(data))...)
	}
	if uint64(d.TableOffset)+partition.SectorSize > uint64(len(data)) {
		return nil, refuse("", "%d bytes do not reach the partition table at 0x%x", len(data), d.TableOffset)
	}
	if err := d.detect(o.Chip); err != nil {
		return nil, err
	}
	if !d.recognized() {
		return nil, refuse("with flash encryption on, decrypt it first (espsecure decrypt-flash-data); for a table elsewhere use --table-offset",
			"neither a partition table at 0x%x nor an image anywhere", d.TableOffset)
	}
	if err := d.whole(); err != nil {
		return nil, err
	}
	chip, _ := flashmodel.ChipOfSize(size)
	d.Flash = flashmodel.New(flashmodel.NewStore(), chip)
	if err := d.Flash.Load(0, d.data); err != nil {
		return nil, refuse("", "%v", err)
	}
	return d, nil
}

// Size is the size of the chip in bytes.
func (d *Dump) Size() uint32 { return uint32(len(d.data)) }

const readAgain = "read the whole chip: esptool read-flash 0 ALL dump.bin"

// plausible refuses what is no dump at first sight.
func plausible(data []byte) error {
	switch {
	case len(data) == 0:
		return refuse(readAgain, "the file is empty")
	case filled(data, 0xFF):
		return refuse("", "nothing but FF: erased flash, or nothing was read")
	case filled(data, 0):
		return refuse("", "nothing but 00: nothing was read")
	case isText(data):
		return refuse("a dump is binary: esptool read-flash 0 ALL dump.bin", "this is text, not a flash dump")
	}
	return nil
}

// isText looks at the first bytes.
func isText(data []byte) bool {
	for _, b := range data[:min(len(data), 512)] {
		if b < 0x20 && b != '\n' && b != '\r' && b != '\t' || b >= 0x7F {
			return false
		}
	}
	return true
}

// chipSize is the size of the chip that the file comes from.
func chipSize(data []byte, partial bool) (uint32, error) {
	if len(data) > MaxSize {
		return 0, refuse("", "%d bytes: larger than 16 MB", len(data))
	}
	if c, ok := flashmodel.ChipOfSize(uint32(len(data))); ok {
		size := c.Size
		if partial {
			size = max(size, headerSize(data))
		}
		return size, nil
	}
	if partial {
		for size := uint32(1 << 20); ; size <<= 1 {
			if int(size) >= len(data) {
				return max(size, headerSize(data)), nil
			}
		}
	}
	if p, err := image.Parse(data); err == nil && p.Descriptor != nil {
		return 0, refuse("otasim image info FILE shows it", "this is an app image, not a flash dump")
	}
	return 0, refuse(readAgain+", or --partial if it is the first part only", "%d bytes: no flash chip has this size (1, 2, 4, 8 or 16 MB), the dump is truncated or padded", len(data))
}

// headerSize is the flash size that a bootloader header in the data names, 0
// if there is none or it is not supported.
func headerSize(data []byte) uint32 {
	for _, c := range Chips() {
		if h, ok := headerAt(data, c.BootloaderOffset); ok && h.ChipID == c.ID && h.FlashSize() <= MaxSize {
			return h.FlashSize()
		}
	}
	return 0
}

// headerAt is the image header at an address if it looks like one.
func headerAt(data []byte, at uint32) (image.Header, bool) {
	if uint64(at)+image.HeaderSize > uint64(len(data)) || data[at] != image.Magic {
		return image.Header{}, false
	}
	h, err := image.DecodeHeader(data[at:])
	return h, err == nil && h.SegmentCount <= image.MaxSegments && image.ChipByID(h.ChipID) != nil
}

// detect finds out which chip the dump is of.
func (d *Dump) detect(given *image.Chip) error {
	if given != nil {
		d.Chip, d.ChipFrom = given, "option"
		_, d.Bootloader = headerAt(d.data, given.BootloaderOffset)
		return nil
	}
	var other *image.Chip
	// images for address 0 reach past 0x1000, so address 0 comes first
	for _, at := range []uint32{0, 0x1000} {
		h, ok := headerAt(d.data, at)
		if !ok {
			continue
		}
		c := image.ChipByID(h.ChipID)
		if _, known := ChipByName(c.Name); known && c.BootloaderOffset == at {
			d.Chip, d.ChipFrom, d.Bootloader = c, "bootloader header", true
			return nil
		}
		other = c
	}
	if other != nil {
		return refuse("one of esp32, esp32s3, esp32c3 is supported; --chip decides", "the dump is of an %s", other.Name)
	}
	// an app for another chip may lie in a slot, so apps say nothing
	d.Chip, d.ChipFrom = image.ESP32, "no bootloader header"
	return nil
}

// recognized reports whether anything in the dump is known.
func (d *Dump) recognized() bool {
	if d.Bootloader || len(d.salvage()) > 0 {
		return true
	}
	for at := uint32(0); at < d.Size(); at += flashmodel.SectorSize {
		if _, ok := headerAt(d.data, at); ok {
			return true
		}
	}
	return false
}

// whole refuses a dump that ends before the flash that bootloader header and
// table agree on.
func (d *Dump) whole() error {
	if d.Partial || !d.Bootloader {
		return nil
	}
	h, _ := headerAt(d.data, d.Chip.BootloaderOffset)
	if h.FlashSize() <= d.Size() {
		return nil
	}
	for _, r := range d.salvage() {
		if r.End() > uint64(d.Size()) && r.End() <= uint64(h.FlashSize()) {
			return refuse(readAgain+", or --partial if it is the first part only",
				"truncated: the bootloader header says %s and partition %s ends at 0x%x, the dump at 0x%x", megabytes(h.FlashSize()), r.Label, r.End(), d.Size())
		}
	}
	return nil
}

// salvage gives everything in the table sector that looks like a partition
// record, whatever is around it and even if its magic number is damaged.
func (d *Dump) salvage() partition.Table {
	if uint64(d.TableOffset)+partition.TableSize > uint64(len(d.data)) {
		return nil
	}
	raw := d.data[d.TableOffset:][:partition.TableSize]
	var t partition.Table
	for ; len(raw) >= partition.RecordSize; raw = raw[partition.RecordSize:] {
		r := partition.DecodeRecord((*[partition.RecordSize]byte)(raw))
		if raw[0] == 0xAA && raw[1] == 0x50 || looksLikeRecord(&r) {
			t = append(t, r)
		}
	}
	return t
}

// looksLikeRecord reports whether the fields make sense together.
func looksLikeRecord(r *partition.Record) bool {
	return r.Label != "" && isText([]byte(r.Label)) && r.Offset != 0 && r.Size != 0 && r.Offset%flashmodel.SectorSize == 0 && r.Size%flashmodel.SectorSize == 0 &&
		r.End() <= MaxSize
}

// region is the part of [at, at+n) that is in the chip.
func (d *Dump) region(at, n uint32) []byte {
	if at >= d.Size() {
		return nil
	}
	return d.data[at:min(uint64(at)+uint64(n), uint64(d.Size()))]
}

// megabytes is a flash size as esptool writes it.
func megabytes(n uint32) string {
	if n%(1<<20) == 0 && n > 0 {
		return fmt.Sprintf("%dMB", n>>20)
	}
	return kilobytes(n)
}

// kilobytes is a partition size as partition tables write it.
func kilobytes(n uint32) string {
	switch {
	case n != 0 && n%(1<<20) == 0:
		return fmt.Sprintf("%dM", n>>20)
	case n%1024 == 0:
		return fmt.Sprintf("%dK", n>>10)
	}
	return fmt.Sprintf("0x%x", n)
}

// filled reports whether every byte of b is c.
func filled(b []byte, c byte) bool { return bytes.Count(b, []byte{c}) == len(b) }
