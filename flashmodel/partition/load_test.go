package partition

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// flash is a read-only memory that is FF behind its bytes.
type flash []byte

func (f flash) Read(addr uint32, dst []byte) error {
	for i := range dst {
		dst[i] = 0xFF
	}
	if int(addr) < len(f) {
		copy(dst, f[addr:])
	}
	return nil
}

type broken struct{}

func (broken) Read(uint32, []byte) error { return errors.New("no answer") }

const limit = 4 << 20

var (
	factory = Record{Type: TypeApp, Subtype: SubtypeFactory, Offset: 0x10000, Size: 0x100000, Label: "factory"}
	otadata = Record{Type: TypeData, Subtype: SubtypeOTAData, Offset: 0xD000, Size: 0x2000, Label: "otadata"}
	ota0    = Record{Type: TypeApp, Subtype: SubtypeOTA, Offset: 0x110000, Size: 0x100000, Label: "ota_0"}
	ota1    = Record{Type: TypeApp, Subtype: SubtypeOTA + 1, Offset: 0x210000, Size: 0x100000, Label: "ota_1"}
)

// records concatenates records; an MD5 record is given as "md5".
func records(parts ...any) flash {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case Record:
			b = p.AppendTo(b)
		case string:
			sum := md5.Sum(b)
			b = append(append(append(b, 0xEB, 0xEB), bytes.Repeat([]byte{0xFF}, 14)...), sum[:]...)
		case []byte:
			b = append(b, p...)
		}
	}
	return b
}

func repeat(r Record, n int) []any {
	s := make([]any, n)
	for i := range s {
		s[i] = r
	}
	return s
}

func TestLoaders(t *testing.T) {
	otherMagic := append([]byte{0xAA, 0x51}, make([]byte, 30)...)
	badMD5 := records(factory, "md5")
	badMD5[63] ^= 1
	asPartition := DecodeRecord((*[32]byte)(records(factory, "md5")[32:]))
	tooFar := Record{Offset: limit, Size: 1}
	wraps := Record{Offset: 0x10000, Size: 0xFFFFF000, Label: "w"}

	for _, c := range []struct {
		name      string
		flash     flash
		boot      Table
		bootErr   Err
		app       Table
		appErr    Err
		noMD5     Table // the application without the MD5 switch
		b2018     Table
		b2018Fail Err
	}{
		{"erased", nil, nil, ErrInvalidState, nil, ErrNotFound, nil, Table{}, OK},
		{"with MD5", records(otadata, factory, "md5"), Table{otadata, factory}, OK, Table{otadata, factory}, OK, Table{otadata, factory}, nil, ErrInvalidState},
		{"without MD5", records(factory), Table{factory}, OK, nil, ErrNotFound, Table{factory}, Table{factory}, OK},
		{"wrong MD5", badMD5, nil, ErrInvalidState, nil, ErrInvalidState, Table{factory}, nil, ErrInvalidState},
		{"MD5 twice", records(factory, "md5", "md5"), nil, ErrInvalidState, Table{factory}, OK, Table{factory}, nil, ErrInvalidState},
		{"MD5 first", records("md5"), Table{}, OK, nil, OK, nil, nil, ErrInvalidState},
		{"records behind MD5", records(factory, "md5", ota0), Table{factory, asPartition}, OK, Table{factory}, OK, Table{factory}, nil, ErrInvalidState},
		{"other magic", records(factory, otherMagic), nil, ErrInvalidState, nil, ErrNotFound, Table{factory}, nil, ErrInvalidState},
		{"beyond the flash", records(factory, tooFar, "md5"), nil, ErrInvalidSize, Table{factory, tooFar}, OK, Table{factory, tooFar}, nil, ErrInvalidSize},
		{"size wraps", records(wraps, "md5"), Table{wraps}, OK, Table{wraps}, OK, Table{wraps}, nil, ErrInvalidState},
		{"no terminator", records(repeat(factory, 96)...), nil, ErrInvalidState, nil, ErrNotFound, rep(factory, 96), nil, ErrInvalidState},
		{"terminator last", records(repeat(factory, 95)...), rep(factory, 95), OK, nil, ErrNotFound, rep(factory, 95), rep(factory, 95), OK},
		{"whole sector", records(repeat(factory, 128)...), nil, ErrInvalidState, nil, ErrNotFound, rep(factory, 128), nil, ErrInvalidState},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := append(bytes.Repeat([]byte{0xFF}, DefaultOffset), c.flash...)
			got, err := LoadBootloader(flash(f), DefaultOffset, limit)
			require.Equal(t, c.bootErr, err)
			require.Equal(t, c.boot, got)
			got, err = LoadApp(flash(f), DefaultOffset, true)
			require.Equal(t, c.appErr, err)
			require.Equal(t, c.app, got)
			got, err = LoadApp(flash(f), DefaultOffset, false)
			require.Equal(t, OK, err)
			require.Equal(t, c.noMD5, got)
			got, err = LoadBootloader2018(flash(f), DefaultOffset, limit)
			require.Equal(t, c.b2018Fail, err)
			require.Equal(t, c.b2018, got)
		})
	}
	_, err := LoadBootloader(broken{}, DefaultOffset, limit)
	require.Equal(t, ErrFail, err)
	_, err = LoadBootloader2018(broken{}, DefaultOffset, limit)
	require.Equal(t, ErrFail, err)
	_, err = LoadApp(broken{}, DefaultOffset, true)
	require.Equal(t, ErrFail, err)
}

func rep(r Record, n int) Table {
	t := make(Table, n)
	for i := range t {
		t[i] = r
	}
	return t
}

func TestSlotsAreCountedInTwoWays(t *testing.T) {
	ota2 := ota1
	ota2.Subtype, ota2.Label = SubtypeOTA+2, "ota_2"
	other0 := ota0
	other0.Offset, other0.Label = 0x310000, "other"

	gap := Table{ota0, ota2}
	boot := gap.BootSlots()
	require.Equal(t, 2, boot.AppCount)
	require.Equal(t, ota0, boot.Slot(0))
	require.Zero(t, boot.Slot(1), "ota_1 is missing but counts")
	require.Zero(t, boot.Slot(2), "ota_2 exists but is out of reach")
	require.Zero(t, boot.Slot(-1))
	require.Zero(t, boot.Slot(16))
	require.Equal(t, []Record{ota0}, gap.AppSlots())

	twice := Table{ota0, other0, otadata}
	boot = twice.BootSlots()
	require.Equal(t, 2, boot.AppCount)
	require.Equal(t, other0, boot.Slot(0), "the bootloader takes the last")
	require.Equal(t, otadata, boot.OTAData)
	first, ok := twice.FindFirst(TypeApp, SubtypeOTA)
	require.True(t, ok)
	require.Equal(t, ota0, first, "the application takes the first")
	byName, ok := twice.FindLabel("other")
	require.True(t, ok)
	require.Equal(t, other0, byName)
	_, ok = twice.FindLabel("factory")
	require.False(t, ok)

	slot, ok := ota2.OTASlot()
	require.True(t, ok)
	require.Equal(t, 2, slot)
	_, ok = factory.OTASlot()
	require.False(t, ok)
}

func TestEncryptedBy(t *testing.T) {
	nvs := Record{Type: TypeData, Subtype: SubtypeNVS}
	keys := Record{Type: TypeData, Subtype: SubtypeNVSKeys}
	flagged := Record{Type: 0x40, Flags: FlagEncrypted}
	for _, r := range []Record{factory, ota0, otadata, keys, flagged} {
		require.True(t, r.EncryptedBy(true), r)
		require.False(t, r.EncryptedBy(false), r)
	}
	require.False(t, nvs.EncryptedBy(true))
}

func TestBuiltinTables(t *testing.T) {
	require.Len(t, Names(), 14)
	for _, name := range Names() {
		table, err := Builtin(name)
		require.NoError(t, err, name)
		b, err := table.Encode(true)
		require.NoError(t, err)
		back, code := LoadBootloader(flash(append(make([]byte, DefaultOffset), b...)), DefaultOffset, 8<<20)
		require.Equal(t, OK, code)
		require.Equal(t, table, back, name)
	}
	large, err := Builtin("partitions_two_ota_large")
	require.NoError(t, err)
	require.Equal(t, []Record{
		{TypeApp, SubtypeOTA, 0x20000, 0x1A9000, "ota_0", 0},
		{TypeApp, SubtypeOTA + 1, 0x1D0000, 0x1A9000, "ota_1", 0},
	}, large.AppSlots())
	_, err = Builtin("partitions_none.csv")
	require.ErrorContains(t, err, "partitions_none.csv")
}

// The table of the 2018 port as the current generator packs it.
func TestGolden2018(t *testing.T) {
	table, err := Builtin("afr_2018.csv")
	require.NoError(t, err)
	b, err := table.Encode(true)
	require.NoError(t, err)
	require.Len(t, b, TableSize)
	sum := md5.Sum(b)
	require.Equal(t, "6a8668b198bf1fede77651f104f23462", hex.EncodeToString(sum[:]))
	require.Equal(t, "8fbe585ad02aa1451ba76d7b2c4f372b", hex.EncodeToString(b[len(table)*32+16:len(table)*32+32]))
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(records(otadata, factory, ota0, ota1, "md5")))
	f.Add([]byte(records(factory, "md5", ota0)))
	f.Add([]byte{0xFF})
	f.Fuzz(func(t *testing.T, b []byte) {
		boot, err := LoadBootloader(flash(b), 0, limit)
		if err == OK {
			require.LessOrEqual(t, len(boot), MaxRecords)
			for i := range boot {
				s := boot.BootSlots()
				_ = s.Slot(i)
			}
		}
		app, err := LoadApp(flash(b), 0, true)
		require.LessOrEqual(t, len(app), SectorSize/RecordSize)
		if err != OK {
			require.Nil(t, app)
			return
		}
		if len(app) <= MaxRecords-2 {
			again, e := app.Encode(true)
			require.NoError(t, e)
			back, code := LoadApp(flash(again), 0, true)
			require.Equal(t, OK, code)
			require.Equal(t, app, back)
		}
	})
}
