package otaops

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/efuse"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/otadata"
	"github.com/otasim/otasim/flashmodel/partition"
)

const (
	otadataAt = 0xD000
	slotSize  = 0x20000
)

// board is a chip whose two OTA slots hold good images, with whatever app runs
// on it.
type board struct {
	t     testing.TB
	flash *flashmodel.Flash
	fuse  *efuse.EFuse
	cfg   *bootloader.Config
	table partition.Table
	ops   *Ops
}

func newBoard(t testing.TB, kind bootloader.Kind, extra ...partition.Record) *board {
	chip, ok := flashmodel.ChipByName("4MB")
	require.True(t, ok)
	b := &board{t: t, flash: flashmodel.New(flashmodel.NewStore(), chip), fuse: &efuse.EFuse{}}
	b.cfg = &bootloader.Config{Kind: kind, Rollback: true, FlashSize: 4 << 20, Image: image.VerifyOptions{Revision: 300}}
	b.table = append(partition.Table{
		{Type: partition.TypeData, Subtype: partition.SubtypeNVS, Offset: 0x9000, Size: 0x4000, Label: "nvs"},
		{Type: partition.TypeData, Subtype: partition.SubtypeOTAData, Offset: otadataAt, Size: 0x2000, Label: "otadata"},
		{Type: partition.TypeApp, Subtype: partition.SubtypeOTA, Offset: 0x40000, Size: slotSize, Label: "ota_0"},
		{Type: partition.TypeApp, Subtype: partition.SubtypeOTA + 1, Offset: 0x60000, Size: slotSize, Label: "ota_1"},
	}, extra...)
	raw, err := b.table.Encode(kind != bootloader.AFR2018)
	require.NoError(t, err)
	require.NoError(t, b.flash.Load(partition.DefaultOffset, raw))
	for i := range b.table {
		if r := &b.table[i]; r.Type == partition.TypeApp {
			b.put(r.Label, buildImage(t, "old "+r.Label, 0x4000))
		}
	}
	return b
}

var factoryRow = partition.Record{Type: partition.TypeApp, Subtype: partition.SubtypeFactory, Offset: 0x10000, Size: slotSize, Label: "factory"}

func buildImage(t testing.TB, version string, size uint32) []byte {
	raw, err := image.Build(image.Spec{Version: version, Size: size, SecureVersion: 1})
	require.NoError(t, err)
	return raw
}

func (b *board) put(label string, raw []byte) {
	require.NoError(b.t, b.flash.Load(b.part(label).Offset, raw))
}

func (b *board) part(label string) *partition.Record {
	for i := range b.table {
		if b.table[i].Label == label {
			return &b.table[i]
		}
	}
	b.t.Fatalf("no partition %s", label)
	return nil
}

func (b *board) records(e ...otadata.Entry) {
	for i, r := range e {
		raw := r.Encode()
		require.NoError(b.t, b.flash.Load(otadataAt+uint32(i)*otadata.SectorSize, raw[:]))
	}
}

func (b *board) record(i int) otadata.Entry {
	var raw [otadata.EntrySize]byte
	require.NoError(b.t, b.flash.Read(otadataAt+uint32(i)*otadata.SectorSize, raw[:]))
	e, err := otadata.Decode(raw[:])
	require.NoError(b.t, err)
	return e
}

// boot starts an app and gives its verdict; b.ops is nil if none started.
func (b *board) boot() bootloader.Verdict {
	b.ops = nil
	v := bootloader.Boot(b.flash, b.fuse, *b.cfg, bootloader.PowerOn)
	if v.End == bootloader.Started {
		b.ops = New(b.flash, b.fuse, b.cfg, v.Part)
	}
	return v
}

// fork is a second board that goes its own way from here.
func (b *board) fork() *board {
	fuse := *b.fuse
	c := *b
	c.flash, c.fuse = b.flash.Fork(), &fuse
	if b.ops != nil {
		c.ops = b.ops.On(c.flash, c.fuse)
	}
	return &c
}

func (b *board) version(label string) string {
	d, err := image.ReadDescriptor(b.flash, b.part(label).Offset)
	if err != nil {
		return fmt.Sprint(err)
	}
	return d.Version
}
