package flashmodel

import (
	"bytes"
	"fmt"
	"math/bits"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func cells(t testing.TB, f *Flash, addr, n uint32) []byte {
	t.Helper()
	b := make([]byte, n)
	require.NoError(t, f.Read(addr, b))
	return b
}

func ones(b []byte) (n int) {
	for _, x := range b {
		n += bits.OnesCount8(x)
	}
	return n
}

// Each mode on a program command of 64 bytes 00 over erased cells.
func TestCutProgram(t *testing.T) {
	for _, c := range []struct {
		cut  Cut
		zero func(n int) bool // bits cleared
		cmds uint64
	}{
		{Cut{Mode: CutNotStarted}, func(n int) bool { return n == 0 }, 0},
		{Cut{Mode: CutPrefix, Keep: 10}, func(n int) bool { return n == 80 }, 1},
		{Cut{Mode: CutPrefix, Keep: 1000}, func(n int) bool { return n == 512 }, 1},
		{Cut{Mode: CutSubset, Seed: 1}, func(n int) bool { return 0 < n && n < 512 }, 1},
		{Cut{Mode: CutEraseNoise, Seed: 1}, func(n int) bool { return 0 < n && n < 512 }, 1},
		{Cut{Mode: CutDone}, func(n int) bool { return n == 512 }, 1},
	} {
		t.Run(fmt.Sprint(c.cut.Mode, c.cut.Keep), func(t *testing.T) {
			f := New(NewStore(), chipOf(t, "1MB"))
			f.SetInjector(&cutAfter{left: 0, cut: c.cut})
			require.True(t, LosesPower(func() { _ = f.Program(0x2000, make([]byte, 64)) }))
			got := cells(t, f, 0x2000, 64)
			require.True(t, c.zero(512-ones(got)), "%x", got)
			require.Equal(t, c.cmds, f.Stats().Programs)
			require.Equal(t, uint64(1), f.Stats().PowerCuts)
			require.LessOrEqual(t, f.Clock(), f.Chip().Timing.Program(64))
			require.Equal(t, bytes.Repeat([]byte{0xff}, 64), cells(t, f, 0x2040, 64))
			require.False(t, LosesPower(func() { _ = f.Program(0x2000, make([]byte, 64)) }))
			require.Equal(t, make([]byte, 64), cells(t, f, 0x2000, 64))
		})
	}
}

// Each mode on the erase of a programmed 64 KiB block.
func TestCutErase(t *testing.T) {
	old := make([]byte, BlockSize)
	noise(old, 5)
	erased, zero := bytes.Repeat([]byte{0xff}, BlockSize), make([]byte, BlockSize)
	half := append(bytes.Clone(erased[:3*SectorSize]), old[3*SectorSize:]...)
	for _, c := range []struct {
		cut      Cut
		want     []byte // nil: noise
		unstable bool
	}{
		{Cut{Mode: CutNotStarted}, old, false},
		{Cut{Mode: CutPrefix, Keep: 3*SectorSize + 5}, half, false},
		{Cut{Mode: CutEraseZeroed}, zero, false},
		{Cut{Mode: CutEraseNoise, Seed: 7}, nil, true},
		{Cut{Mode: CutSubset, Seed: 7}, nil, true},
		{Cut{Mode: CutEraseLooksDone, Seed: 7}, erased, true},
		{Cut{Mode: CutDone}, erased, false},
	} {
		t.Run(c.cut.Mode.String(), func(t *testing.T) {
			f := New(NewStore(), chipOf(t, "1MB"))
			require.NoError(t, f.Load(BlockSize, old))
			f.SetInjector(&cutAfter{left: 0, cut: c.cut})
			require.True(t, LosesPower(func() { _ = f.Erase(BlockSize, BlockSize) }))
			got := f.cells()[BlockSize : 2*BlockSize]
			if c.want == nil {
				n := ones(got)
				require.InDelta(t, BlockSize*4, n, BlockSize/8)
				require.False(t, bytes.Equal(got, old))
			} else {
				require.True(t, bytes.Equal(c.want, got))
			}
			f.SetInjector(nil)
			a, b := cells(t, f, BlockSize, BlockSize), cells(t, f, BlockSize, BlockSize)
			require.Equal(t, c.unstable, !bytes.Equal(a, b), "two reads")
			_, ok := f.Key(BlockSize, SectorSize)
			require.Equal(t, !c.unstable, ok)

			again := f.Fork() // what a read answers follows from the seed
			require.Equal(t, cells(t, f, BlockSize, 512), cells(t, again, BlockSize, 512))

			require.NoError(t, f.Program(BlockSize, make([]byte, SectorSize))) // does not settle it
			a, b = cells(t, f, BlockSize, SectorSize), cells(t, f, BlockSize, SectorSize)
			require.Equal(t, c.unstable, !bytes.Equal(a, b), "two reads after a program")

			require.NoError(t, f.Erase(BlockSize, BlockSize))
			require.True(t, bytes.Equal(erased, cells(t, f, BlockSize, BlockSize)))
			require.False(t, f.slow)
		})
	}
}

// A cut by time finds the command in progress: everything before is there, everything after is not.
func TestCutByTime(t *testing.T) {
	chip := chipOf(t, "1MB")
	per := chip.Timing.Program(64)
	src := make([]byte, SectorSize)
	for _, c := range []struct {
		name     string
		at       time.Duration
		lost     bool
		complete int // bytes certainly programmed
		torn     int // bytes possibly programmed
	}{
		{"before the first", 1, true, 0, 64},
		{"between two", 10 * per, true, 640, 640},
		{"inside the fourth", 3*per + per/2, true, 192, 256},
		{"just before the end", 64*per - 1, true, 4032, 4096},
		{"at the end", 64 * per, false, 4096, 4096},
		{"later", time.Second, false, 4096, 4096},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := New(NewStore(), chip)
			f.SetCutSeed(3)
			f.SetCutAt(c.at)
			require.Equal(t, c.lost, LosesPower(func() { require.NoError(t, f.Program(0x3000, src)) }))
			got := cells(t, f, 0x3000, SectorSize)
			require.Zero(t, ones(got[:c.complete]))
			require.Equal(t, (SectorSize-c.torn)*8, ones(got[c.torn:]))
			if c.lost {
				require.Equal(t, c.at, f.Clock())
				require.False(t, LosesPower(func() { f.Advance(time.Hour) }), "a cut happens once")
			} else {
				require.Equal(t, 64*per, f.Clock())
			}
		})
	}
}

// Half a program command clears about half of its bits, and the seed decides which.
func TestCutByTimeFollowsProgress(t *testing.T) {
	run := func(share, seed int) []byte {
		f := New(NewStore(), chipOf(t, "1MB"))
		f.SetCutSeed(uint64(seed))
		f.SetCutAt(f.Chip().Timing.Program(64) * time.Duration(share) / 100)
		require.True(t, LosesPower(func() { _ = f.Program(0, make([]byte, 64)) }))
		return cells(t, f, 0, 64)
	}
	for _, share := range []int{10, 50, 90} {
		cleared := 512 - ones(run(share, 1))
		require.InDelta(t, 512*share/100, cleared, 60)
	}
	require.Equal(t, run(50, 1), run(50, 1))
	require.NotEqual(t, run(50, 1), run(50, 2))
}

func TestCutEraseByTime(t *testing.T) {
	for share, want := range map[int]string{10: "zero", 50: "noise", 95: "erased"} {
		f := New(NewStore(), chipOf(t, "1MB"))
		require.NoError(t, f.Load(0, bytes.Repeat([]byte{0x5a}, SectorSize)))
		f.SetCutAt(f.Chip().Timing.Sector * time.Duration(share) / 100)
		require.True(t, LosesPower(func() { _ = f.Erase(0, SectorSize) }))
		n := ones(f.cells()[:SectorSize])
		switch want {
		case "zero":
			require.Zero(t, n)
		case "noise":
			require.InDelta(t, SectorSize*4, n, 500)
		case "erased":
			require.Equal(t, SectorSize*8, n)
		}
		require.Equal(t, want != "zero", f.isUnstable(0))
	}
}

func TestAdvanceHonoursTheCut(t *testing.T) {
	f := New(NewStore(), chipOf(t, "1MB"))
	f.SetCutAt(time.Second)
	f.Advance(time.Second)
	require.True(t, LosesPower(func() { f.Advance(1) }))
	require.Equal(t, time.Second, f.Clock())
	f.Advance(time.Second)
	f.SetCutAt(time.Second) // long gone
	require.True(t, LosesPower(func() { _ = f.Erase(0, SectorSize) }))
	require.Equal(t, Stats{PowerCuts: 2}, f.Stats())
	require.Equal(t, 2*time.Second, f.Clock())
}

func TestLosesPowerPassesOtherPanics(t *testing.T) {
	require.PanicsWithValue(t, "boom", func() { LosesPower(func() { panic("boom") }) })
	require.False(t, LosesPower(func() {}))
}
