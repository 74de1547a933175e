package flashmodel

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func chipOf(t testing.TB, name string) *Chip {
	t.Helper()
	c, ok := ChipByName(name)
	require.True(t, ok)
	return c
}

func readAll(t testing.TB, f *Flash) []byte {
	t.Helper()
	b := make([]byte, f.Size())
	require.NoError(t, f.Read(0, b))
	return b
}

func TestProgramOnlyClearsBits(t *testing.T) {
	f := New(NewStore(), chipOf(t, "1MB"))
	require.NoError(t, f.Program(0x1000, []byte{0xf0, 0xff, 0x0f}))
	require.NoError(t, f.Program(0x1000, []byte{0x3c, 0xff, 0xf1}))
	got := make([]byte, 4)
	require.NoError(t, f.Read(0x1000, got))
	require.Equal(t, []byte{0x30, 0xff, 0x01, 0xff}, got)
	require.NoError(t, f.Erase(0x1000, SectorSize))
	require.NoError(t, f.Read(0x1000, got))
	require.Equal(t, []byte{0xff, 0xff, 0xff, 0xff}, got)
}

// Four commands of 64 bytes a page from the application, eight of 32 from the bootloader.
func TestSlicing(t *testing.T) {
	us := time.Microsecond
	for _, c := range []struct {
		name     string
		slicing  Slicing
		addr, n  uint32
		programs uint64
		d        time.Duration
	}{
		{"app sector", SliceApp, 0x1000, 4096, 64, 64 * 187500 * time.Nanosecond},
		{"app record", SliceApp, 0x1000, 32, 1, 107500 * time.Nanosecond},
		{"app across a page", SliceApp, 0x10f0, 32, 2, 2 * 67500 * time.Nanosecond},
		{"app odd head", SliceApp, 0x1001, 255, 4, 3*187500*time.Nanosecond + 185*us},
		{"bootloader page", SliceBootloader, 0x1000, 256, 8, 8 * 107500 * time.Nanosecond},
		{"bootloader record", SliceBootloader, 0x1000, 32, 1, 107500 * time.Nanosecond},
		{"vectors sector", SliceVectors, 0x1000, 4096, 16, 16 * 600 * us},
		{"vectors across a page", SliceVectors, 0x1080, 256, 2, 2 * 347500 * time.Nanosecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			whole, single := New(NewStore(), chipOf(t, "1MB")), New(NewStore(), chipOf(t, "1MB"))
			log := &opLog{}
			single.SetInjector(log)
			for _, f := range []*Flash{whole, single} {
				f.SetSlicing(c.slicing)
				require.NoError(t, f.Program(c.addr, make([]byte, c.n)))
				require.Equal(t, c.programs, f.Stats().Programs)
				require.Equal(t, c.d, f.Clock())
			}
			require.Equal(t, readAll(t, whole), readAll(t, single))
			require.Len(t, log.ops, int(c.programs))
			for i, op := range log.ops {
				require.Equal(t, uint64(i), op.Index)
				require.Equal(t, op.Addr/PageSize, (op.Addr+op.Len-1)/PageSize)
			}
		})
	}
}

// opLog lets everything pass.
type opLog struct{ ops []Op }

func (l *opLog) BeforeOp(op Op) Cut {
	l.ops = append(l.ops, op)
	return Cut{}
}

func TestEraseByBlocksWhereAligned(t *testing.T) {
	ms := time.Millisecond
	for _, c := range []struct {
		slicing Slicing
		addr, n uint32
		erases  uint64
		d       time.Duration
	}{
		{SliceApp, 0x10000, 0x10000, 1, 150 * ms},
		{SliceApp, 0xf000, 0x12000, 3, 45*ms + 150*ms + 45*ms},
		{SliceApp, 0x10000, 0xf000, 15, 15 * 45 * ms},
		{SliceApp, 0x1000, 0x2000, 2, 90 * ms},
		{SliceBootloader, 0x20000, 0x20000, 2, 300 * ms},
		{SliceVectors, 0x10000, 0x10000, 16, 16 * 45 * ms},
	} {
		for _, inj := range []Injector{nil, &opLog{}} {
			f := New(NewStore(), chipOf(t, "1MB"))
			f.SetInjector(inj)
			f.SetSlicing(c.slicing)
			require.NoError(t, f.Load(0, bytes.Repeat([]byte{7}, int(f.Size()))))
			require.NoError(t, f.Erase(c.addr, c.n))
			require.Equal(t, c.erases, f.Stats().Erases)
			require.Equal(t, uint64(c.n/SectorSize), f.Stats().SectorsErased)
			require.Equal(t, c.d, f.Clock())
			want := bytes.Repeat([]byte{7}, int(f.Size()))
			copy(want[c.addr:c.addr+c.n], bytes.Repeat([]byte{0xff}, int(c.n)))
			require.True(t, bytes.Equal(want, readAll(t, f)))
		}
	}
}

func TestRefusals(t *testing.T) {
	f := New(NewStore(), chipOf(t, "1MB"))
	f.SetGuards([]Guard{{Addr: 0, Len: 0x8c00, Dangerous: true}, {Addr: 0x20000, Len: 0x1000}})
	size := f.Size()
	for _, c := range []struct {
		name string
		err  error
		want error
	}{
		{"read past the end", f.Read(size-1, make([]byte, 2)), ErrBounds},
		{"read far away", f.Read(0xffffffff, make([]byte, 2)), ErrBounds},
		{"program past the end", f.Program(size-1, make([]byte, 2)), ErrBounds},
		{"load past the end", f.Load(size-1, make([]byte, 2)), ErrBounds},
		{"erase past the end", f.Erase(size, SectorSize), ErrBounds},
		{"erase wraps around", f.Erase(0xfffff000, 0x2000), ErrBounds},
		{"erase unaligned address", f.Erase(0x9004, SectorSize), ErrAlign},
		{"erase unaligned length", f.Erase(0x9000, 100), ErrAlign},
		{"dangerous", f.Program(0x8bff, []byte{0}), ErrDangerous},
		{"readonly", f.Erase(0x1f000, 0x2000), ErrReadOnly},
	} {
		var op *OpError
		require.ErrorIs(t, c.err, c.want, c.name)
		require.ErrorAs(t, c.err, &op, c.name)
	}
	require.NoError(t, f.Program(0x8c00, []byte{0}))
	require.NoError(t, f.Read(size, nil))
	require.NoError(t, f.Erase(0x21000, 0))
	f.SetSlicing(SliceBootloader)
	require.ErrorIs(t, f.Program(0x9002, make([]byte, 4)), ErrAlign)
	require.ErrorIs(t, f.Program(0x9000, make([]byte, 3)), ErrAlign)
	require.Equal(t, uint64(1), f.Stats().Programs)
}
