package flashmodel

import (
	"encoding/binary"
	"slices"
	"time"
)

// CutMode is what a power cut leaves of the command it meets.
type CutMode uint8

// The values of CutMode. A mode that does not fit the command becomes its neighbour:
// CutSubset of an erase is CutEraseNoise, an erase mode of a program is CutSubset.
const (
	CutNone           CutMode = iota // power stays
	CutNotStarted                    // nothing happened
	CutPrefix                        // the first Keep bytes are programmed; of an erase, the sectors that lie whole in them are erased
	CutSubset                        // each 1 to 0 transition happened or not, by chance
	CutEraseZeroed                   // the whole unit is 00: the chip programs before it erases
	CutEraseNoise                    // random bits, unstable
	CutEraseLooksDone                // all FF, unstable
	CutDone                          // the command is complete
)

var cutNames = [...]string{"none", "not-started", "prefix", "subset", "erase-zeroed", "erase-noise", "erase-looks-done", "done"}

func (m CutMode) String() string {
	if int(m) < len(cutNames) {
		return cutNames[m]
	}
	return "unknown"
}

// Op is one command about to be executed.
type Op struct {
	Index      uint64 // commands executed before this one since New
	Kind       OpKind // OpProgram or OpErase
	Addr, Len  uint32
	Start, Dur time.Duration
	Data       []byte // what an OpProgram programs; valid, and not to be changed, while BeforeOp runs
}

// Cut answers an Op. Everything random in the result comes from Seed.
type Cut struct {
	Mode CutMode
	Keep uint32 // bytes, CutPrefix only
	Seed uint64
}

// Injector is asked before every program and erase command.
type Injector interface{ BeforeOp(op Op) Cut }

// PowerLost is what a power cut panics with, after tearing the cells: nothing that runs
// on the device survives it. The owner recovers with LosesPower.
type PowerLost struct{}

func (PowerLost) Error() string { return "power lost" }

// LosesPower runs fn and reports whether it ended in a power cut. Other panics pass.
func LosesPower(fn func()) (lost bool) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case PowerLost:
			lost = true
		default:
			panic(r)
		}
	}()
	fn()
	return false
}

// SetInjector asks inj before every command from now on; nil stops.
func (f *Flash) SetInjector(inj Injector) {
	if inj == nil && f.extra == nil {
		return
	}
	f.extras().injector = inj
	f.recheck()
}

// Injector is what SetInjector set, nil for none.
func (f *Flash) Injector() Injector {
	if f.extra == nil {
		return nil
	}
	return f.extra.injector
}

// SetCutAt makes power fail at time t, once; 0 takes it back. A command in progress at t
// is torn: how follows from the share of it that is done and from the cut seed. A t
// that has passed fails the next command or Advance.
func (f *Flash) SetCutAt(t time.Duration) { f.cutAt = t }

// SetCutSeed seeds what power cuts by time and worn cells leave. The default is 0.
func (f *Flash) SetCutSeed(seed uint64) { f.seed = seed }

// Advance lets d pass without a command. Power is lost if that passes the time of SetCutAt.
func (f *Flash) Advance(d time.Duration) {
	if f.cutAt != 0 && f.clock+d > f.cutAt {
		f.loseAt(tear{at: max(f.clock, f.cutAt)})
	}
	f.clock += d
}

// loseAt ends everything.
func (f *Flash) loseAt(t tear) {
	f.clock = t.at
	f.cutAt = 0
	f.cuts++
	panic(PowerLost{})
}

// tear is a decided Cut.
type tear struct {
	mode     CutMode
	keep     uint32
	progress uint32 // 0 to 65536
	seed     uint64
	at       time.Duration // power is gone
}

// decide asks the injector, then the clock.
func (f *Flash) decide(op Op) tear {
	if f.extra != nil && f.extra.injector != nil {
		if c := f.extra.injector.BeforeOp(op); c.Mode != CutNone {
			return decideCut(op, c)
		}
	}
	if f.cutAt == 0 || op.Start+op.Dur <= f.cutAt {
		return tear{}
	}
	t := tear{at: max(op.Start, f.cutAt), seed: mix(mix(f.seed) + op.Index)}
	done := t.at - op.Start
	t.progress = uint32(uint64(done) << 16 / uint64(op.Dur))
	switch {
	case done == 0:
		t.mode = CutNotStarted
	case op.Kind == OpProgram:
		t.mode = CutSubset
	case t.progress < 1<<16/3:
		t.mode = CutEraseZeroed
	case t.progress < 1<<16*7/8:
		t.mode = CutEraseNoise
	default:
		t.mode = CutEraseLooksDone
	}
	return t
}

// decideCut completes an injector's answer. Its time within the command is as the mode
// suggests: chance, but from the seed.
func decideCut(op Op, c Cut) tear {
	t := tear{mode: c.Mode, keep: c.Keep, seed: mix(c.Seed), progress: uint32(mix(c.Seed+1) >> 48)}
	switch {
	case op.Kind == OpProgram && t.mode >= CutEraseZeroed && t.mode != CutDone:
		t.mode = CutSubset
	case op.Kind == OpErase && t.mode == CutSubset:
		t.mode = CutEraseNoise
	}
	switch t.mode {
	case CutNotStarted:
		t.progress = 0
	case CutPrefix:
		t.progress = uint32(uint64(min(t.keep, op.Len)) << 16 / uint64(op.Len))
	case CutDone:
		t.progress = 1 << 16
	}
	t.at = op.Start + op.Dur*time.Duration(t.progress)>>16
	return t
}

// unstable is a sector whose last erase was interrupted: some cells answer differently
// from read to read until it is erased completely.
type unstable struct {
	sector uint32
	reads  uint32
	seed   uint64
}

func (f *Flash) searchUnstable(sector uint32) (int, bool) {
	return slices.BinarySearchFunc(f.extra.unstable, sector, func(u unstable, s uint32) int { return int(u.sector) - int(s) })
}

func (f *Flash) setUnstable(sector uint32, seed uint64) {
	e := f.extras()
	u := unstable{sector: sector, seed: mix(seed + uint64(sector))}
	if i, found := f.searchUnstable(sector); found {
		e.unstable[i] = u
	} else {
		e.unstable = slices.Insert(e.unstable, i, u)
	}
	f.slow = true
}

// settle ends what an erase ends: instability, bit rot, read disturb.
func (f *Flash) settle(sector uint32) {
	if f.extra == nil {
		return
	}
	if i, found := f.searchUnstable(sector); found {
		f.extra.unstable = slices.Delete(f.extra.unstable, i, i+1)
		f.recheck()
	}
	for _, x := range f.extra.faults {
		x.heal(sector)
	}
}

// waver flips marginal bits of a read. About one byte in 16 has one.
func (u *unstable) waver(addr uint32, dst []byte) {
	u.reads++
	for i := range dst {
		h := mix(u.seed + uint64(addr) + uint64(i))
		if h&15 == 0 && mix(h+uint64(u.reads))&1 == 1 {
			dst[i] ^= 1 << (h >> 4 & 7)
		}
	}
}

// noise fills b from a seed.
func noise(b []byte, seed uint64) {
	for i := 0; i+8 <= len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], mix(seed+uint64(i)))
	}
}
