package flashmodel

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// small is a chip of two leaves, so that every cell can be compared after every step.
var small = Chip{Name: "small", Size: 2 * leafSpan, Timing: typical, Endurance: 1000}

// tight makes every table of a Store overflow soon.
var tight = limits{sharedPages: 12, copiedPages: 8, aliases: 3, openLeaves: 12, leaves: 20, sequences: 16, answers: 4}

// twin is the dumb chip: bytes and counters.
type twin struct {
	cells []byte
	wear  []uint32
	clock time.Duration
}

func (w *twin) fork() *twin {
	return &twin{bytes.Clone(w.cells), append([]uint32(nil), w.wear...), w.clock}
}

// world runs a script on chips of one Store and on their twins.
type world struct {
	t      require.TestingT
	st     *Store
	chips  []*Flash
	twins  []*twin
	blocks [][]byte // immutable
	keys   map[RegionKey][]byte
}

func newWorld(t require.TestingT, l limits) *world {
	w := &world{t: t, st: NewStore(), keys: map[RegionKey][]byte{}}
	w.st.limits = l
	for i := range 24 {
		b := make([]byte, SectorSize)
		noise(b, uint64(i%12)) // every content twice, in different memory
		if i%12 == 11 {
			fill(b)
		}
		w.blocks = append(w.blocks, b)
	}
	w.add(New(w.st, &small), &twin{bytes.Repeat([]byte{0xff}, int(small.Size)), make([]uint32, small.Size/SectorSize), 0})
	return w
}

func (w *world) add(f *Flash, o *twin) {
	if len(w.chips) < 6 {
		w.chips, w.twins = append(w.chips, f), append(w.twins, o)
	}
}

// stepSize is the length of one step of a script:
//
//	op, chip, sector, offset (2), length (2), argument
const stepSize = 8

// run executes a script and returns a checksum of everything observable.
func (w *world) run(script []byte) uint32 {
	sum := crc32.NewIEEE()
	for ; len(script) >= stepSize; script = script[stepSize:] {
		w.step(script[:stepSize])
	}
	for _, f := range w.chips {
		cells := make([]byte, f.Size())
		require.NoError(w.t, f.Read(0, cells))
		sum.Write(cells)
		require.NoError(w.t, binary.Write(sum, binary.LittleEndian, f.Stats()))
		require.NoError(w.t, binary.Write(sum, binary.LittleEndian, f.Clock()))
	}
	return sum.Sum32()
}

// sectors are where steps begin: few, so that they meet, at the edges of units.
var sectors = [...]uint32{0, 1, 15, 16, 30, 31, 32, 48, 63}

func (w *world) step(s []byte) {
	i := int(s[1]) % len(w.chips)
	f, o := w.chips[i], w.twins[i]
	sector := sectors[int(s[2])%len(sectors)]
	off := uint32(binary.LittleEndian.Uint16(s[3:])) % SectorSize
	n := uint32(binary.LittleEndian.Uint16(s[5:]))
	block := w.blocks[int(s[7])%len(w.blocks)]
	addr := sector*SectorSize + off
	switch s[0] % 12 {
	case 0, 1: // a received block
		w.program(f, o, sector*SectorSize, block, true)
	case 2: // the tail of an image
		w.program(f, o, sector*SectorSize, block[:n%SectorSize], true)
	case 3: // anywhere, long
		w.program(f, o, addr, bytes.Repeat(block, 2)[:n%(2*SectorSize)], false)
	case 4: // a record
		w.program(f, o, addr&^31, block[:32], s[7]&1 == 0)
	case 5:
		w.erase(f, o, sector*SectorSize, (n%20)*SectorSize)
	case 6: // a slot
		w.erase(f, o, uint32(s[2])%2*leafSpan, leafSpan/(1+n%2))
	case 7:
		if addr+n <= small.Size {
			require.NoError(w.t, f.Load(addr, bytes.Repeat(block, 17)[:n]))
			copy(o.cells[addr:], bytes.Repeat(block, 17)[:n])
			for t := sector; n > 0 && t <= (addr+n-1)/SectorSize; t++ {
				require.False(w.t, f.isUnstable(t))
			}
		}
	case 8:
		if n%2 == 0 {
			w.add(f.Fork(), o.fork())
		} else {
			c := f.Fork() // as if the original had been the copy
			w.chips[i] = c
		}
	case 9:
		f.SetInjector(&cutAfter{left: int(s[7]) % 7, cut: Cut{Mode: CutMode(n % 8), Keep: off, Seed: uint64(s[2])}})
	case 10:
		f.SetCutAt(f.Clock() + time.Duration(n)*time.Duration(off)*time.Microsecond/16)
		f.SetCutSeed(uint64(s[7]))
	case 11:
		f.SetSlicing(Slicing(s[7] % 3))
		w.ask(f, addr, n%100)
		w.ask(f, sector*SectorSize, n)
		w.ask(f, sector*SectorSize, n*4)
	}
	w.compare(f, o)
}

// cutAfter lets some commands pass, then cuts once.
type cutAfter struct {
	left int
	cut  Cut
}

func (c *cutAfter) BeforeOp(Op) Cut {
	c.left--
	if c.left == -1 {
		return c.cut
	}
	return Cut{}
}

func (w *world) compare(f *Flash, o *twin) {
	cells := f.cells()
	if !bytes.Equal(cells, o.cells) {
		for i := range cells {
			if cells[i] != o.cells[i] {
				require.Failf(w.t, "cells differ", "at 0x%x: %02x, want %02x", i, cells[i], o.cells[i])
			}
		}
	}
	require.Equal(w.t, o.clock, f.Clock())
	for s, cycles := range o.wear {
		require.Equal(w.t, cycles, f.Wear(uint32(s)*SectorSize), "wear of sector %d", s)
	}
}

// cells are the bytes without faults.
func (f *Flash) cells() []byte {
	b := make([]byte, f.Size())
	for s := range f.Size() / SectorSize {
		f.readCells(s, 0, b[s*SectorSize:][:SectorSize])
	}
	return b
}

func (f *Flash) isUnstable(sector uint32) bool {
	if f.extra == nil {
		return false
	}
	_, found := f.searchUnstable(sector)
	return found
}

func (w *world) program(f *Flash, o *twin, addr uint32, src []byte, shared bool) {
	program := f.Program
	if shared {
		program = f.ProgramShared
	}
	before := f.Stats()
	var err error
	lost := LosesPower(func() { err = program(addr, src) })
	if err != nil {
		aligned := f.slicing != SliceBootloader || (addr|uint32(len(src)))%4 == 0
		require.True(w.t, addr+uint32(len(src)) > small.Size || !aligned)
		return
	}
	n, a, left := f.Stats().Programs-before.Programs, addr, src
	for ; n > 0 && len(left) > 0; n-- {
		k := min(uint32(len(left)), f.slicing.width(), PageSize-a%PageSize)
		if n == 1 && lost { // torn: some of the 1 to 0 transitions
			got := f.cells()[a : a+k]
			for i := range got {
				old := o.cells[a+uint32(i)]
				require.Zero(w.t, got[i]&^old, "a program set bits")
				require.Equal(w.t, old&left[i], got[i]&(old&left[i]), "a program cleared too much")
			}
			copy(o.cells[a:], got)
			break
		}
		for i := range k {
			o.cells[a+i] &= left[i]
		}
		o.clock += f.chip.Timing.Program(k)
		a, left = a+k, left[k:]
	}
	if lost {
		require.GreaterOrEqual(w.t, f.Clock(), o.clock)
		o.clock = f.Clock()
		require.Equal(w.t, before.PowerCuts+1, f.Stats().PowerCuts)
	} else {
		require.Empty(w.t, left)
	}
}

func (w *world) erase(f *Flash, o *twin, addr, n uint32) {
	before := f.Stats()
	var err error
	lost := LosesPower(func() { err = f.Erase(addr, n) })
	if err != nil {
		require.ErrorIs(w.t, err, ErrBounds)
		return
	}
	commands := f.Stats().Erases - before.Erases
	for ; commands > 0 && n > 0; commands-- {
		k := uint32(SectorSize)
		if f.slicing != SliceVectors && addr%BlockSize == 0 && n >= BlockSize {
			k = BlockSize
		}
		if commands == 1 && lost { // anything inside the unit
			copy(o.cells[addr:addr+k], f.cells()[addr:addr+k])
			for s := addr / SectorSize; s < (addr+k)/SectorSize; s++ {
				worn := f.Wear(s*SectorSize) - o.wear[s]
				require.LessOrEqual(w.t, worn, uint32(1))
				o.wear[s] += worn
			}
			break
		}
		fill(o.cells[addr : addr+k])
		for s := addr / SectorSize; s < (addr+k)/SectorSize; s++ {
			o.wear[s]++
			require.False(w.t, f.isUnstable(s))
		}
		o.clock += f.chip.Timing.Erase(k)
		addr, n = addr+k, n-k
	}
	if lost {
		require.GreaterOrEqual(w.t, f.Clock(), o.clock)
		o.clock = f.Clock()
	} else {
		require.Zero(w.t, n)
	}
}

// ask takes the key of a region and holds it against all keys taken before.
func (w *world) ask(f *Flash, addr, n uint32) {
	if n == 0 || addr+n > small.Size {
		return
	}
	key, ok := f.Key(addr, n)
	if !ok {
		return
	}
	got := make([]byte, n)
	require.NoError(w.t, f.Read(addr, got))
	if old, seen := w.keys[key]; seen {
		require.True(w.t, bytes.Equal(old, got), "one key, two contents")
	}
	w.keys[key] = got
	sum := Remember(f, "crc", addr, n, func() uint32 { return crc32.ChecksumIEEE(got) })
	require.Equal(w.t, crc32.ChecksumIEEE(got), sum)
}

// Random scripts: the chip equals its twin, and how full the Store is never shows.
func TestChipEqualsTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		script := bytes.Join(rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), stepSize, stepSize), 1, 60).Draw(t, "script"), nil)
		roomy := newWorld(t, usualLimits).run(script)
		require.Equal(t, roomy, newWorld(t, tight).run(script))
		forgetful := newWorld(t, usualLimits)
		forgetful.st.DisableMemo = true
		require.Equal(t, roomy, forgetful.run(script))
	})
}

func FuzzChipEqualsTwin(f *testing.F) {
	f.Add([]byte{0, 0, 3, 0, 0, 0, 0, 1, 5, 0, 3, 0, 0, 1, 0, 0, 2, 0, 3, 0, 0, 17, 1, 2})
	f.Add([]byte{3, 0, 9, 200, 5, 0, 30, 4, 8, 0, 0, 0, 0, 0, 0, 0, 9, 1, 0, 9, 0, 2, 0, 3, 3, 1, 9, 200, 5, 0, 30, 7})
	f.Add([]byte{7, 0, 0, 0, 0, 255, 255, 2, 10, 0, 0, 255, 1, 255, 9, 3, 6, 0, 0, 0, 0, 0, 0, 0, 11, 0, 0, 0, 0, 0, 255, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 100*stepSize {
			return
		}
		require.Equal(t, newWorld(t, usualLimits).run(script), newWorld(t, tight).run(script))
	})
}
