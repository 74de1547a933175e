package bootloader

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

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

var e0, e1 = uint32(otadataAt), uint32(otadataAt + otadata.SectorSize)

// board is a chip with a table of two OTA slots, perhaps a factory and a test
// app, and a good image in each.
type board struct {
	t     testing.TB
	flash *flashmodel.Flash
	fuse  efuse.EFuse
	cfg   Config
	table partition.Table
}

func newBoard(t testing.TB, withFactory bool) *board {
	b := &board{t: t, cfg: Config{Kind: IDF55, Rollback: true, FlashSize: 4 << 20, Image: image.VerifyOptions{Revision: 300}}}
	chip, ok := flashmodel.ChipByName("4MB")
	require.True(t, ok)
	b.flash = flashmodel.New(flashmodel.NewStore(), chip)
	b.table = partition.Table{
		{Type: partition.TypeData, Subtype: partition.SubtypeNVS, Offset: 0x9000, Size: 0x4000, Label: "nvs"},
		{Type: partition.TypeData, Subtype: partition.SubtypeOTAData, Offset: otadataAt, Size: 0x2000, Label: "otadata"},
		{Type: partition.TypeApp, Subtype: partition.SubtypeOTA, Offset: 0x40000, Size: slotSize, Label: "ota_0"},
		{Type: partition.TypeApp, Subtype: partition.SubtypeOTA + 1, Offset: 0x60000, Size: slotSize, Label: "ota_1"},
	}
	if withFactory {
		b.table = append(b.table, partition.Record{Type: partition.TypeApp, Subtype: partition.SubtypeFactory, Offset: 0x10000, Size: slotSize, Label: "factory"})
	}
	b.storeTable(true)
	for i, r := range b.table {
		if r.Type == partition.TypeApp {
			b.put(r.Label, image.Spec{Version: fmt.Sprint(i), Size: 0x8000, SecureVersion: 1, Seed: uint64(i)})
		}
	}
	return b
}

func (b *board) storeTable(md5 bool) {
	raw, err := b.table.Encode(md5)
	require.NoError(b.t, err)
	require.NoError(b.t, b.flash.Load(partition.DefaultOffset, raw))
}

func (b *board) part(label string) partition.Record {
	r, ok := b.table.FindLabel(label)
	require.True(b.t, ok, label)
	return r
}

func (b *board) put(label string, spec image.Spec) {
	raw, err := image.Build(spec)
	require.NoError(b.t, err)
	require.NoError(b.t, b.flash.Load(b.part(label).Offset, raw))
}

// spoil flips a byte inside the image of a partition.
func (b *board) spoil(label string) {
	require.NoError(b.t, b.flash.Load(b.part(label).Offset+0x1000, []byte{0x5A, 0x5A, 0x5A}))
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

func (b *board) boot() Verdict { return Boot(b.flash, &b.fuse, b.cfg, PowerOn) }

func (b *board) erased(label string) bool {
	p := b.part(label)
	raw := make([]byte, p.Size)
	require.NoError(b.t, b.flash.Read(p.Offset, raw))
	return bytes.Count(raw, []byte{0xff}) == len(raw)
}

func torn(seq uint32) otadata.Entry {
	e := otadata.Make(seq, otadata.Undefined)
	e.CRC = 0xFFFFFFFF
	return e
}

// writes records the program commands that boot makes to otadata.
type writes []string

func (w *writes) BeforeOp(op flashmodel.Op) flashmodel.Cut {
	if op.Addr >= otadataAt && op.Addr < otadataAt+0x2000 {
		*w = append(*w, fmt.Sprintf("%s %d", op.Kind, (op.Addr-otadataAt)/otadata.SectorSize))
	}
	return flashmodel.Cut{}
}

func TestGoldenBootOutcomes(t *testing.T) {
	const (
		factory = "factory"
		zero    = "ota_0"
		one     = "ota_1"
	)
	make := otadata.Make
	empty := otadata.Empty()
	badCRC := make(2, otadata.PendingVerify)
	badCRC.CRC ^= 1
	seq0 := otadata.Entry{Seq: 0, Label: empty.Label, State: otadata.Undefined, CRC: 0xFFFFFFFF}
	type result struct {
		boot   string
		writes string // sector:state in order
	}
	for _, c := range []struct {
		name   string
		e0, e1 otadata.Entry
		want   [4]result // factory+rollback, factory, rollback, neither
	}{
		{"erased", empty, empty, [4]result{{factory, ""}, {factory, ""}, {zero, "0:VALID"}, {zero, "0:VALID"}}},
		{"torn first", torn(1), empty, [4]result{{factory, ""}, {factory, ""}, {zero, ""}, {zero, ""}}},
		{"1 valid", make(1, otadata.Valid), empty, [4]result{{zero, ""}, {zero, ""}, {zero, ""}, {zero, ""}}},
		{"2 new", make(1, otadata.Valid), make(2, otadata.New), [4]result{{one, "1:PENDING_VERIFY"}, {one, ""}, {one, "1:PENDING_VERIFY"}, {one, ""}}},
		{"2 pending", make(1, otadata.Valid), make(2, otadata.PendingVerify), [4]result{{zero, "1:ABORTED"}, {one, ""}, {zero, "1:ABORTED"}, {one, ""}}},
		{"2 aborted", make(1, otadata.Valid), make(2, otadata.Aborted), [4]result{{zero, ""}, {zero, ""}, {zero, ""}, {zero, ""}}},
		{"2 torn", make(1, otadata.Valid), torn(2), [4]result{{zero, ""}, {zero, ""}, {zero, ""}, {zero, ""}}},
		{"unknown state", make(1, otadata.Valid), make(2, 0x80000004), [4]result{{one, ""}, {one, ""}, {one, ""}, {one, ""}}},
		{"1 new", make(1, otadata.New), empty, [4]result{{zero, "0:PENDING_VERIFY"}, {zero, ""}, {zero, "0:PENDING_VERIFY"}, {zero, ""}}},
		{"1 pending", make(1, otadata.PendingVerify), empty, [4]result{{factory, "0:ABORTED"}, {zero, ""}, {zero, "0:ABORTED"}, {zero, ""}}},
		{"1 aborted", make(1, otadata.Aborted), empty, [4]result{{factory, ""}, {factory, ""}, {zero, ""}, {zero, ""}}},
		{"both refused", make(1, otadata.Invalid), make(2, otadata.Aborted), [4]result{{factory, ""}, {factory, ""}, {zero, ""}, {zero, ""}}},
		{"aborted and torn", make(1, otadata.Aborted), torn(2), [4]result{{factory, ""}, {factory, ""}, {zero, ""}, {zero, ""}}},
		{"new and pending", make(1, otadata.New), make(2, otadata.PendingVerify), [4]result{{zero, "1:ABORTED 0:PENDING_VERIFY"}, {one, ""}, {zero, "1:ABORTED 0:PENDING_VERIFY"}, {one, ""}}},
		{"tie", make(2, otadata.Valid), make(2, otadata.New), [4]result{{one, ""}, {one, ""}, {one, ""}, {one, ""}}},
		{"tie, first new", make(2, otadata.New), make(2, otadata.Valid), [4]result{{one, "0:PENDING_VERIFY"}, {one, ""}, {one, "0:PENDING_VERIFY"}, {one, ""}}},
		{"sequence number 0", seq0, empty, [4]result{{one, ""}, {one, ""}, {one, ""}, {one, ""}}},
		{"all 00", otadata.Entry{}, empty, [4]result{{factory, ""}, {factory, ""}, {zero, ""}, {zero, ""}}},
		{"pending with bad CRC", badCRC, make(1, otadata.Valid), [4]result{{zero, "0:ABORTED"}, {zero, ""}, {zero, "0:ABORTED"}, {zero, ""}}},
	} {
		for i, want := range c.want {
			b := newBoard(t, i < 2)
			b.cfg.Rollback = i%2 == 0
			b.records(c.e0, c.e1)
			var w writes
			b.flash.SetInjector(&w)
			v := b.boot()
			require.Equal(t, Started, v.End, c.name)
			require.Equal(t, want.boot, v.Boot, "%s, column %d", c.name, i)
			var got []string
			for k := 0; k < len(w); k += 2 {
				sector := w[k][len("erase "):]
				require.Equal(t, "erase "+sector, w[k])
				require.Equal(t, "program "+sector, w[k+1])
				got = append(got, fmt.Sprintf("%s:%s", sector, b.record(int(sector[0]-'0')).State))
			}
			require.Equal(t, want.writes, strings.Join(got, " "), "%s, column %d", c.name, i)
			if c.name == "pending with bad CRC" && b.cfg.Rollback {
				require.False(t, b.record(0).CRCGood())
			}
		}
	}
}

func TestFallbackIgnoresStatesAndRepairsNothing(t *testing.T) {
	b := newBoard(t, false)
	b.records(otadata.Make(1, otadata.Aborted), otadata.Make(2, otadata.New))
	b.spoil("ota_1")
	v := b.boot()
	require.Equal(t, "ota_0", v.Boot)
	require.Equal(t, []string{"ota_1", "ota_0"}, v.Tried)
	require.Equal(t, 1, v.StartIndex)
	require.Equal(t, otadata.PendingVerify, b.record(1).State, "the trial is used up before the image is looked at")
	v = b.boot()
	require.Equal(t, "ota_0", v.Boot)
	require.Equal(t, otadata.Aborted, b.record(1).State)
}

func TestNothingBoots(t *testing.T) {
	b := newBoard(t, true)
	for _, l := range []string{"factory", "ota_0", "ota_1"} {
		b.spoil(l)
	}
	v := b.boot()
	require.Equal(t, Reset, v.End)
	require.Equal(t, []string{"factory", "ota_0", "ota_1"}, v.Tried)
	require.NotEmpty(t, v.Reason)
	b.cfg.Kind = AFR2018
	b.storeTable(false)
	v = b.boot()
	require.Equal(t, Hang, v.End)
	require.Equal(t, 60*time.Second, v.Watchdog)
}

func TestOwnHeaderDecidesTheSizeLimit(t *testing.T) {
	b := newBoard(t, false)
	b.cfg.FlashSize, b.cfg.ImageOffset = 0, 0x1000
	require.Equal(t, Reset, b.boot().End, "no bootloader image")
	header := image.Header{Magic: image.Magic, SPISizeSpeed: 0x20}
	require.NoError(t, b.flash.Load(0x1000, header.AppendTo(nil)))
	require.Equal(t, Started, b.boot().End)
	b.table[3].Offset = 0x300000
	b.put("ota_1", image.Spec{Size: 0x8000})
	b.storeTable(true)
	require.Equal(t, Started, b.boot().End)
	header.SPISizeSpeed = 0x10
	require.NoError(t, b.flash.Load(0x1000, header.AppendTo(nil)))
	require.Equal(t, Reset, b.boot().End, "the bootloader believes in 2 MB")
}

func TestDeepSleepEndsTheTrial(t *testing.T) {
	b := newBoard(t, false)
	b.records(otadata.Make(1, otadata.Valid), otadata.Make(2, otadata.New))
	require.Equal(t, "ota_1", b.boot().Boot)
	require.Equal(t, "ota_0", Boot(b.flash, &b.fuse, b.cfg, DeepSleep).Boot)
	require.Equal(t, otadata.Aborted, b.record(1).State)
}

func TestFactoryResetPinAbortsAWaitingUpdate(t *testing.T) {
	b := newBoard(t, false)
	b.records(otadata.Make(1, otadata.Valid), otadata.Make(2, otadata.New))
	require.NoError(t, b.flash.Load(0x9000, []byte{1, 2, 3}))
	b.cfg.FactoryResetPin = true
	require.Equal(t, "ota_0", b.boot().Boot)
	require.Equal(t, otadata.Aborted, b.record(1).State)
	require.True(t, b.erased("nvs"))
	b.cfg.EraseOTAData = true
	require.Equal(t, "ota_0", b.boot().Boot)
	require.Equal(t, otadata.Make(1, otadata.Valid), b.record(0), "erased, then initial contents")
	require.Equal(t, otadata.Empty(), b.record(1))
}

func TestTestAppPin(t *testing.T) {
	b := newBoard(t, false)
	b.cfg.AppTestPin = true
	require.Equal(t, Reset, b.boot().End, "no test app in the table")
	b.table = append(b.table, partition.Record{Type: partition.TypeApp, Subtype: partition.SubtypeTest, Offset: 0x80000, Size: slotSize, Label: "test"})
	b.storeTable(true)
	require.Equal(t, Reset, b.boot().End, "no image in it")
	b.put("test", image.Spec{Size: 0x8000})
	v := b.boot()
	require.Equal(t, "test", v.Boot)
	require.Equal(t, IndexTest, v.Index)
}

func TestAntiRollbackBurnsBeforeTheImageIsVerified(t *testing.T) {
	b := newBoard(t, false)
	b.cfg.AntiRollback = true
	b.put("ota_1", image.Spec{Size: 0x8000, SecureVersion: 5})
	b.spoil("ota_1")
	b.records(otadata.Make(1, otadata.Valid), otadata.Make(2, otadata.Valid))
	v := b.boot()
	require.Equal(t, Reset, v.End, "ota_1 is broken and by now ota_0 is too old")
	require.Equal(t, uint32(5), b.fuse.SecureVersion(32))
	require.Equal(t, []string{"ota_1"}, v.Tried)
}

func TestDivisionByZeroWithoutSlots(t *testing.T) {
	b := newBoard(t, true)
	b.cfg.AntiRollback = true
	b.table = append(b.table[:2:2], b.part("factory"))
	b.storeTable(true)
	b.records(otadata.Make(1, otadata.Valid))
	require.Equal(t, Div0, b.boot().End)
	b.cfg.AntiRollback = false
	require.Equal(t, "factory", b.boot().Boot)
}

func TestSkipValidate(t *testing.T) {
	b := newBoard(t, false)
	b.spoil("ota_0")
	require.Equal(t, "ota_1", b.boot().Boot)
	b.records(otadata.Make(1, otadata.Valid))
	b.cfg.SkipValidate = SkipOnPowerOn
	require.Equal(t, "ota_1", Boot(b.flash, &b.fuse, b.cfg, SoftwareCPU).Boot)
	require.Equal(t, "ota_0", b.boot().Boot)
}

func TestTimePasses(t *testing.T) {
	b := newBoard(t, false)
	b.records(otadata.Make(1, otadata.Valid))
	b.cfg.StartTime, b.cfg.ReadRate = 100*time.Millisecond, 0x8000
	b.boot()
	require.Equal(t, 1100*time.Millisecond, b.flash.Clock(), "start, then an image of 0x8000 bytes")
}

func TestLog(t *testing.T) {
	b := newBoard(t, true)
	b.cfg.KeepLog = true
	b.spoil("factory")
	b.records(torn(1))
	var text []string
	for _, l := range b.boot().Log {
		text = append(text, l.String())
	}
	log := strings.Join(text, "\n")
	for _, want := range []string{
		"I (0) boot: Partition Table:",
		"I (0) boot:  1 otadata          OTA data         01 00 0000d000 00002000",
		"E (0) boot: ota data partition invalid, falling back to factory",
		"I (0) esp_image: segment 0: paddr=00040020",
		"E (0) boot: Factory app partition is not bootable",
		"I (0) boot: Loaded app from partition at offset 0x40000",
	} {
		require.Contains(t, log, want)
	}
	b.cfg.KeepLog = false
	require.Empty(t, b.boot().Log)
}

func TestKindNames(t *testing.T) {
	for k := AFR2022; k <= AFR2018; k++ {
		got, ok := KindByName(k.String())
		require.True(t, ok)
		require.Equal(t, k, got)
	}
	_, ok := KindByName("esp8266")
	require.False(t, ok)
}

// FuzzBoot: whatever table and otadata say, the boot ends, and an app that is
// started lies in the chip.
func FuzzBoot(f *testing.F) {
	seed := newBoard(f, true)
	raw, err := seed.table.Encode(true)
	require.NoError(f, err)
	first, second := otadata.Make(1, otadata.Valid), otadata.Make(2, otadata.New)
	a, z := first.Encode(), second.Encode()
	f.Add(raw[:32*8], a[:], z[:], uint8(IDF55), uint32(0))
	f.Add(raw[:32*8], z[:], a[:], uint8(AFR2022), uint32(3))
	f.Add([]byte{0xFF}, []byte{}, []byte{}, uint8(AFR2018), uint32(1))
	f.Fuzz(func(t *testing.T, table, first, second []byte, bits uint8, field uint32) {
		flash := seed.flash.Fork()
		must := func(at uint32, b []byte) { require.NoError(t, flash.Load(at, b)) }
		must(partition.DefaultOffset, table[:min(len(table), partition.TableSize)])
		must(e0, first[:min(len(first), otadata.EntrySize)])
		must(e1, second[:min(len(second), otadata.EntrySize)])
		var fuse efuse.EFuse
		fuse.Preset(efuse.SecureVersionBits, uint64(field))
		cfg := Config{Kind: Kind(bits % 4), Rollback: bits&4 != 0, AntiRollback: bits&8 != 0, FlashSize: 4 << 20, Image: image.VerifyOptions{Revision: 300}}
		v := Boot(flash, &fuse, cfg, PowerOn)
		require.NotZero(t, v.End)
		if v.End == Started {
			require.Less(t, v.Part.Offset, flash.Size())
			require.Contains(t, v.Tried, v.Boot)
		}
	})
}
