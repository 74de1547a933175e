package flashmodel

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func addFault(t *testing.T, f *Flash, x Fault) FaultID {
	t.Helper()
	id, err := f.AddFault(x)
	require.NoError(t, err)
	return id
}

// Read faults lie over the cells: lifting one gives the true bytes back.
func TestReadFaults(t *testing.T) {
	old := make([]byte, 2*SectorSize)
	noise(old, 1)
	differing := func(a, b []byte) (n int) {
		for i := range a {
			n += ones([]byte{a[i] ^ b[i]})
		}
		return n
	}
	for _, c := range []struct {
		name string
		x    Fault
		bits int
	}{
		{"one stuck bit", Fault{Kind: FaultStuck, Addr: 7, Len: 1, Mask: 1, Value: ^old[7]}, 1},
		{"a stuck byte", Fault{Kind: FaultStuck, Addr: 7, Len: 1, Mask: 0xff, Value: ^old[7]}, 8},
		{"stuck at what it is", Fault{Kind: FaultStuck, Addr: 7, Len: 1, Mask: 0xff, Value: old[7]}, 0},
		{"rot by mask", Fault{Kind: FaultBitRot, Addr: SectorSize - 2, Len: 4, Mask: 0x81}, 8},
		{"rot by seed", Fault{Kind: FaultBitRot, Addr: 100, Len: 8000, Bits: 3, Seed: 5}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := New(NewStore(), chipOf(t, "1MB"))
			require.NoError(t, f.Load(0, old))
			id := addFault(t, f, c.x)
			require.Equal(t, c.bits, differing(old, cells(t, f, 0, 2*SectorSize)))
			odd := append(cells(t, f, 0, 4091), cells(t, f, 4091, 2*SectorSize-4091)...)
			require.Equal(t, c.bits, differing(old, odd), "however it is read")
			_, ok := f.Key(c.x.Addr, 1)
			require.False(t, ok)
			_, ok = f.Key(3*SectorSize, SectorSize)
			require.True(t, ok)
			c := f.Fork()
			require.True(t, f.LiftFault(id))
			require.False(t, f.LiftFault(id))
			require.Equal(t, old, cells(t, f, 0, 2*SectorSize))
			require.False(t, f.slow)
			require.True(t, c.slow, "a fork keeps its faults")
		})
	}
}

func TestBitRotEndsWithAnErase(t *testing.T) {
	f := New(NewStore(), chipOf(t, "1MB"))
	addFault(t, f, Fault{Kind: FaultBitRot, Addr: 0, Len: 2 * SectorSize, Mask: 4})
	require.Equal(t, byte(0xfb), cells(t, f, 9, 1)[0])
	fork := f.Fork()
	require.NoError(t, f.Erase(0, SectorSize))
	require.Equal(t, byte(0xff), cells(t, f, 9, 1)[0])
	require.Equal(t, byte(0xfb), cells(t, f, SectorSize, 1)[0], "the other sector")
	require.Equal(t, byte(0xfb), cells(t, fork, 9, 1)[0], "the other chip")
}

func TestReadDisturb(t *testing.T) {
	f := New(NewStore(), chipOf(t, "1MB"))
	addFault(t, f, Fault{Kind: FaultReadDisturb, Addr: 0, Len: SectorSize, Mask: 1, Reads: 3})
	good, bad := byte(0xff), byte(0xfe)
	for _, want := range []byte{good, good, good, bad, bad} {
		require.Equal(t, want, cells(t, f, 9, 1)[0])
	}
	require.NoError(t, f.Erase(0, SectorSize))
	for _, want := range []byte{good, good, good, bad} {
		require.Equal(t, want, cells(t, f, 9, 1)[0])
	}
}

// A fault elsewhere does not keep a received block from being shared.
func TestFaultsElsewhereDoNotSlowPrograms(t *testing.T) {
	f := New(NewStore(), chipOf(t, "1MB"))
	addFault(t, f, Fault{Kind: FaultProgramFails, Addr: 0, Len: SectorSize})
	addFault(t, f, Fault{Kind: FaultStuck, Addr: 0x20000, Len: 1, Mask: 1})
	src := make([]byte, SectorSize)
	noise(src, 1)
	require.NoError(t, f.ProgramShared(0x20000, src))
	require.Nil(t, f.own)
	require.Equal(t, uint64(64), f.Stats().Programs)
	require.NoError(t, f.ProgramShared(0, src))
	require.Equal(t, SectorSize*8, ones(cells(t, f, 0, SectorSize)))
}

func TestCommandFaults(t *testing.T) {
	old := bytes.Repeat([]byte{0x5a}, 4*SectorSize)
	f := New(NewStore(), chipOf(t, "1MB"))
	require.NoError(t, f.Load(0, old))
	erase := addFault(t, f, Fault{Kind: FaultEraseFails, Addr: SectorSize + 5, Len: 1})
	require.NoError(t, f.Erase(0, 4*SectorSize))
	require.Equal(t, old[:SectorSize], cells(t, f, SectorSize, SectorSize))
	require.Equal(t, 3*SectorSize*8, ones(cells(t, f, 0, 4*SectorSize))-ones(old[:SectorSize]))
	require.True(t, f.LiftFault(erase))
	require.NoError(t, f.Erase(SectorSize, SectorSize))

	program := addFault(t, f, Fault{Kind: FaultProgramFails, Addr: 100, Len: 10})
	require.NoError(t, f.Program(0, make([]byte, 256)))
	got := cells(t, f, 0, 256)
	require.Equal(t, bytes.Repeat([]byte{0xff}, 10), got[100:110])
	require.Equal(t, 80, ones(got))
	_, ok := f.Key(0, SectorSize)
	require.True(t, ok, "cells are what reads answer")
	require.True(t, f.LiftFault(program))

	addFault(t, f, Fault{Kind: FaultProgramFails, Addr: 0, Len: 1 << 20, OneIn: 4, Seed: 9})
	require.NoError(t, f.Program(0x10000, make([]byte, BlockSize)))
	failed := ones(cells(t, f, 0x10000, BlockSize)) / 512
	require.InDelta(t, 1024/4, failed, 60)
}

// Past its endurance a sector keeps zeros through an erase, ever more of them.
func TestEndurance(t *testing.T) {
	f := New(NewStore(), chipOf(t, "1MB"))
	require.NoError(t, f.SetWear(0, BlockSize, 99_999))
	require.NoError(t, f.Erase(0, BlockSize))
	require.Equal(t, BlockSize*8, ones(cells(t, f, 0, BlockSize)))
	require.Equal(t, uint32(100_000), f.MaxWear())
	require.NoError(t, f.Erase(0, SectorSize))
	first := cells(t, f, 0, SectorSize)
	require.Equal(t, SectorSize*8-1, ones(first))
	require.NoError(t, f.SetWear(0, SectorSize, 150_000))
	require.NoError(t, f.Erase(0, SectorSize))
	later := cells(t, f, 0, SectorSize)
	require.InDelta(t, SectorSize*8-51, ones(later), 1)
	for i := range later {
		require.Zero(t, later[i]&^first[i], "a dead cell came back")
	}
	require.Equal(t, 15*SectorSize*8, ones(cells(t, f, SectorSize, 15*SectorSize)))
	require.NoError(t, f.SetWear(0x80000, SectorSize, 100_000))
	require.NoError(t, f.Erase(0x80000, BlockSize))
	require.Equal(t, BlockSize*8-1, ones(cells(t, f, 0x80000, BlockSize)), "the fresh neighbours erase")
	require.ErrorIs(t, f.SetWear(f.Size(), 1, 1), ErrBounds)
}

func TestWornOutFault(t *testing.T) {
	f := New(NewStore(), chipOf(t, "1MB"))
	id := addFault(t, f, Fault{Kind: FaultWornOut, Addr: 0, Len: SectorSize, Bits: 20, Seed: 1})
	require.NoError(t, f.Erase(0, 2*SectorSize))
	require.InDelta(t, 2*SectorSize*8-20, ones(cells(t, f, 0, 2*SectorSize)), 1)
	require.True(t, f.LiftFault(id))
	require.NoError(t, f.Erase(0, 2*SectorSize))
	require.Equal(t, 2*SectorSize*8, ones(cells(t, f, 0, 2*SectorSize)))
}

func TestRefusedFaults(t *testing.T) {
	f := New(NewStore(), chipOf(t, "1MB"))
	for _, x := range []Fault{
		{Kind: 99, Len: 1, Mask: 1},
		{Kind: FaultStuck, Len: 0, Mask: 1},
		{Kind: FaultStuck, Addr: f.Size(), Len: 1, Mask: 1},
		{Kind: FaultStuck, Addr: 0xffffffff, Len: 0xffffffff, Mask: 1},
		{Kind: FaultBitRot, Len: 1},
		{Kind: FaultBitRot, Len: 1, Bits: MaxFaultBits + 1},
		{Kind: FaultWornOut, Len: 1},
	} {
		_, err := f.AddFault(x)
		require.ErrorIs(t, err, ErrFault)
	}
	require.False(t, f.LiftFault(1))
}
