package fuzz

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/sim/check"
)

// Logic is what is tested. Its flash commands go through the NOR they are given.
type Logic interface {
	// Boot is the boot loader, from reset until it jumps: it answers with the index of the slot to run. An error means
	// that nothing starts.
	Boot(flash flashmodel.NOR) (slot int, err error)
	// Install runs in the image of a slot. It fetches the new image, writes it and makes it the one to boot. An error
	// means that it is given up for now; Install is called again after a reset.
	Install(flash flashmodel.NOR, running int, blocks Blocks) error
	// Confirm runs in the new image after its self-test.
	Confirm(flash flashmodel.NOR, running int) error
}

// ErrLost is what Blocks answers when a block did not come.
var ErrLost = errors.New("fuzz: the block was lost")

// Blocks is where an image comes from.
type Blocks interface {
	// Size is the size of the image in bytes.
	Size() int
	// Block returns block i of BlockSize bytes, the last one shorter, or an error wrapping ErrLost. The bytes must not
	// be changed.
	Block(i int) ([]byte, error)
}

// BlockSize is the size of a block in bytes.
const BlockSize = 4096

// Region is a part of the flash in bytes. Regions begin and end at sectors of 4 KiB.
type Region struct{ At, Size uint32 }

func (r Region) holds(at, n uint32) bool { return at >= r.At && at+n <= r.At+r.Size }

// Target is a Logic with its flash.
type Target struct {
	New        func() Logic                                    // as after power-on: with empty RAM
	Slots      []Region                                        // two or more
	Data       Region                                          // the logic's own records
	Old, Newer []byte                                          // the images; nil: two of 16 KiB
	Factory    func(flash *flashmodel.Flash, old []byte) error // nil: Old in slot 0, the rest erased
	Rollback   bool                                            // an image that is not confirmed must not be booted twice
	Seeds      int                                             // for each random way to tear a command; 0: 3
	Flash      uint32                                          // bytes; 0: 4 MiB
}

func (t *Target) images() (older, newer []byte) {
	older, newer = t.Old, t.Newer
	if older == nil {
		older = pattern(16<<10, 1)
	}
	if newer == nil {
		newer = pattern(16<<10, 2)
	}
	return older, newer
}

// pattern is an image that begins with 0xE9, as ESP32 images do, and looks random.
func pattern(n int, seed uint32) []byte {
	b := make([]byte, n)
	for i := range b {
		seed = seed*1664525 + 1013904223
		b[i] = byte(seed >> 24)
	}
	b[0] = 0xe9
	return b
}

// Cut is a power cut in the N-th flash command of a life, counted from 0.
type Cut struct {
	N    uint64
	Mode flashmodel.CutMode
	Keep uint32 // bytes, flashmodel.CutPrefix
	Seed uint64 // the random modes
}

// Plan is what happens in one life of a device.
type Plan struct {
	Cuts []Cut  // in the order of N
	Lost uint64 // bit i: the i-th block that is asked for is lost
}

// String is the plan in Go: target.Check(plan) does it again.
func (p Plan) String() string {
	var b strings.Builder
	b.WriteString("fuzz.Plan{")
	if len(p.Cuts) > 0 {
		b.WriteString("Cuts: []fuzz.Cut{")
		for i, c := range p.Cuts {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "{N: %d, Mode: flashmodel.%s", c.N, modeNames[min(int(c.Mode), len(modeNames)-1)])
			if c.Keep != 0 {
				fmt.Fprintf(&b, ", Keep: %d", c.Keep)
			}
			if c.Seed != 0 {
				fmt.Fprintf(&b, ", Seed: %d", c.Seed)
			}
			b.WriteString("}")
		}
		b.WriteString("}")
		if p.Lost != 0 {
			b.WriteString(", ")
		}
	}
	if p.Lost != 0 {
		fmt.Fprintf(&b, "Lost: %#x", p.Lost)
	}
	return b.String() + "}"
}

var modeNames = [...]string{"CutNone", "CutNotStarted", "CutPrefix", "CutSubset", "CutEraseZeroed", "CutEraseNoise", "CutEraseLooksDone", "CutDone"}

// maxBoots bounds the boots of a life after its last fault.
const maxBoots = 8

// life is one device under a plan.
type life struct {
	t          *Target
	f          *flashmodel.Flash
	plan       Plan
	old, newer []byte
	running    int // slot, -1: the boot loader
	asked      int
	confirming bool
	touched    bool // Confirm has changed flash, or may have
	breach     *check.Breach
	kinds      []flashmodel.Op // of a life without faults
	record     bool
}

func (l *life) add(id, format string, args ...any) {
	if l.breach == nil {
		l.breach = &check.Breach{Invariant: id, Detail: fmt.Sprintf(format, args...)}
	}
}

// BeforeOp implements flashmodel.Injector.
func (l *life) BeforeOp(op flashmodel.Op) flashmodel.Cut {
	inside := l.t.Data.holds(op.Addr, op.Len)
	for i, s := range l.t.Slots {
		if s.holds(op.Addr, op.Len) {
			inside = true
			if i == l.running {
				l.add(check.RunningSlot, "%s of 0x%x+%d in slot %d, which runs", op.Kind, op.Addr, op.Len, i)
			}
		}
	}
	if !inside {
		l.add(check.OwnSlot, "%s of 0x%x+%d outside the slots and the data region", op.Kind, op.Addr, op.Len)
	}
	if op.Kind == flashmodel.OpProgram {
		old := make([]byte, len(op.Data))
		if l.f.Read(op.Addr, old) == nil {
			for i := range old {
				if op.Data[i]&^old[i] != 0 {
					l.add(check.BlankCells, "program of 0x%x: the cell at 0x%x holds %02x, %02x cannot be written over it", op.Addr, op.Addr+uint32(i), old[i], op.Data[i])
					break
				}
			}
		}
	}
	if l.record {
		op.Data = nil
		l.kinds = append(l.kinds, op)
	}
	if len(l.plan.Cuts) == 0 || op.Index < l.plan.Cuts[0].N {
		l.touched = l.touched || l.confirming
		return flashmodel.Cut{}
	}
	c := l.plan.Cuts[0]
	l.plan.Cuts = l.plan.Cuts[1:]
	if op.Index > c.N {
		l.touched = l.touched || l.confirming
		return flashmodel.Cut{}
	}
	l.touched = l.touched || l.confirming && c.Mode != flashmodel.CutNotStarted
	return flashmodel.Cut{Mode: c.Mode, Keep: c.Keep, Seed: c.Seed}
}

// Size implements Blocks.
func (l *life) Size() int { return len(l.newer) }

// Block implements Blocks.
func (l *life) Block(i int) ([]byte, error) {
	l.asked++
	if l.asked <= 64 && l.plan.Lost>>(l.asked-1)&1 == 1 {
		return nil, fmt.Errorf("block %d: %w", i, ErrLost)
	}
	if i < 0 || i*BlockSize >= len(l.newer) {
		return nil, fmt.Errorf("block %d: %w", i, ErrLost)
	}
	return l.newer[i*BlockSize : min((i+1)*BlockSize, len(l.newer))], nil
}

// slot tells which image a slot holds: 0 the old one, 1 the new one, -1 neither.
func (l *life) slot(i int) int {
	for k, img := range [][]byte{l.old, l.newer} {
		got := make([]byte, len(img))
		if l.f.Read(l.t.Slots[i].At, got) == nil && bytes.Equal(got, img) {
			return k
		}
	}
	return -1
}

// live runs the device until the new image is confirmed.
func (l *life) live() {
	l.f.SetInjector(l)
	trialSlot, boots := -1, 0
	for boots < maxBoots && l.breach == nil {
		if len(l.plan.Cuts) == 0 && (l.asked >= 64 || l.plan.Lost>>l.asked == 0) {
			boots++
		}
		logic, done := l.t.New(), false
		l.confirming, l.touched = false, false
		lost := flashmodel.LosesPower(func() {
			l.running = -1
			i, err := logic.Boot(l.f)
			switch {
			case err != nil:
				l.add(check.Bootable, "nothing starts: %v", err)
				return
			case i < 0 || i >= len(l.t.Slots):
				l.add(check.VerifiedBytes, "slot %d starts; there is none", i)
				return
			}
			l.running = i
			switch l.slot(i) {
			case -1:
				l.add(check.VerifiedBytes, "slot %d starts, and holds neither image", i)
			case 0:
				trialSlot = -1
				// What Install gives up for now it tries again after the next reset.
				_ = logic.Install(l.f, i, l)
			case 1:
				if l.t.Rollback && trialSlot == i {
					l.add(check.SelfTestFirst, "slot %d starts again without having been confirmed", i)
					return
				}
				trialSlot, l.confirming = i, true
				if logic.Confirm(l.f, i) == nil {
					done = true
				}
			}
		})
		if done && !lost {
			l.finished()
			return
		}
		if lost && trialSlot >= 0 && l.touched && l.confirmedAnyway() {
			trialSlot = -1
		}
	}
	if l.breach == nil {
		l.add(check.Liveness, "after %d boots without a fault the new image is not confirmed", maxBoots)
	}
}

// confirmedAnyway looks whether power failed so late in Confirm that the image is confirmed: a boot of a copy of the
// device and one more both start it.
func (l *life) confirmedAnyway() bool {
	c := l.f.Fork()
	for range 2 {
		i, err := l.t.New().Boot(c)
		if err != nil || i < 0 || i >= len(l.t.Slots) {
			return false
		}
		probe := life{t: l.t, f: c, old: l.old, newer: l.newer}
		if probe.slot(i) != 1 {
			return false
		}
	}
	return true
}

// finished asks for what must stay so: the new image boots, twice.
func (l *life) finished() {
	l.plan.Cuts = nil
	for range 2 {
		l.running = -1
		i, err := l.t.New().Boot(l.f)
		switch {
		case err != nil:
			l.add(check.Bootable, "nothing starts after the new image was confirmed: %v", err)
		case i < 0 || i >= len(l.t.Slots) || l.slot(i) != 1:
			l.add(check.Liveness, "the new image was confirmed, but slot %d starts", i)
		}
	}
}

// Check lives one life and returns what broke, nil if nothing did.
func (t *Target) Check(p Plan) *check.Breach {
	p.Cuts = append([]Cut(nil), p.Cuts...) // the life uses the list up
	l, err := t.born(p)
	if err != nil {
		return &check.Breach{Invariant: "factory", Detail: err.Error()}
	}
	l.live()
	return l.breach
}

func (t *Target) born(p Plan) (*life, error) {
	size := t.Flash
	if size == 0 {
		size = 4 << 20
	}
	chip, ok := flashmodel.ChipOfSize(size)
	if !ok {
		return nil, fmt.Errorf("no chip of %d bytes", size)
	}
	l := &life{t: t, f: flashmodel.New(flashmodel.NewStore(), chip), plan: p, running: -1}
	l.old, l.newer = t.images()
	if t.Factory != nil {
		return l, t.Factory(l.f, l.old)
	}
	return l, l.f.Load(t.Slots[0].At, l.old)
}

// ways are the ways to tear one command.
func (t *Target) ways(op *flashmodel.Op) (out []Cut) {
	seeds := uint64(t.Seeds)
	if seeds == 0 {
		seeds = 3
	}
	add := func(m flashmodel.CutMode, keep uint32, seed uint64) { out = append(out, Cut{op.Index, m, keep, seed}) }
	add(flashmodel.CutNotStarted, 0, 0)
	add(flashmodel.CutDone, 0, 0)
	if op.Kind == flashmodel.OpErase {
		add(flashmodel.CutEraseZeroed, 0, 0)
	} else {
		for _, keep := range []uint32{1, 4, op.Len / 2, op.Len - min(4, op.Len), op.Len - 1} {
			if keep > 0 && keep < op.Len {
				add(flashmodel.CutPrefix, keep, 0)
			}
		}
	}
	for s := range seeds {
		if op.Kind == flashmodel.OpErase {
			add(flashmodel.CutEraseNoise, 0, s)
			add(flashmodel.CutEraseLooksDone, 0, s)
		} else {
			add(flashmodel.CutSubset, 0, s)
		}
	}
	return out
}

// Sweep tries every single cut, and pairs of cuts in Data; yield is given each case that breaks something and says
// whether to go on. It returns the number of cases.
func (t *Target) Sweep(yield func(Plan, *check.Breach) bool) (cases int) {
	try := func(p Plan) bool {
		cases++
		if b := t.Check(p); b != nil {
			return yield(p, b)
		}
		return true
	}
	if !try(Plan{}) {
		return cases
	}
	l, err := t.born(Plan{})
	if err != nil {
		return cases
	}
	l.record = true
	l.live()
	var data []Cut
	for i := range l.kinds {
		op := &l.kinds[i]
		for _, c := range t.ways(op) {
			if !try(Plan{Cuts: []Cut{c}}) {
				return cases
			}
			if t.Data.holds(op.Addr, op.Len) {
				data = append(data, c)
			}
		}
	}
	for _, a := range data {
		for after := uint64(0); after < 4; after++ {
			for _, m := range []flashmodel.CutMode{flashmodel.CutNotStarted, flashmodel.CutDone, flashmodel.CutSubset} {
				if !try(Plan{Cuts: []Cut{a, {N: a.N + 1 + after, Mode: m}}}) {
					return cases
				}
			}
		}
	}
	for lost := uint64(0); lost < 64; lost++ {
		if !try(Plan{Lost: lost}) {
			return cases
		}
	}
	return cases
}

// Run is Sweep as a test: it reports the first case of each kind of breach.
func Run(t *testing.T, target Target) {
	t.Helper()
	seen := map[string]bool{}
	cases := target.Sweep(func(p Plan, b *check.Breach) bool {
		if !seen[b.Invariant] {
			seen[b.Invariant] = true
			t.Errorf("%s: %s\n\tagain: target.Check(%v)", b.Invariant, b.Detail, p)
		}
		return len(seen) < 4
	})
	t.Logf("%d cases", cases)
}

// Decode makes a plan of any bytes: eight for each of at most eight cuts, after one for lost blocks.
func Decode(data []byte) (p Plan) {
	if len(data) > 0 {
		p.Lost, data = uint64(data[0]), data[1:]
	}
	at := uint64(0)
	for ; len(data) >= 5 && len(p.Cuts) < 8; data = data[5:] {
		at += uint64(data[0]) | uint64(data[1]&3)<<8
		mode := flashmodel.CutNotStarted + flashmodel.CutMode(data[2])%(flashmodel.CutDone)
		p.Cuts = append(p.Cuts, Cut{at, mode, uint32(data[3]), uint64(data[4])})
		at++
	}
	return p
}

// Add adds seeds for a target to a native fuzz target, and fuzzes it: inputs are plans.
func Add(f *testing.F, target Target) {
	f.Add([]byte{})
	f.Add([]byte{0x05})
	for n := range byte(16) {
		f.Add([]byte{0, n * 16, n & 3, n, 4, n, 3, 0, n + 1, 8, 0})
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p := Decode(data)
		if b := target.Check(p); b != nil {
			t.Fatalf("%s: %s\n\tagain: target.Check(%v)", b.Invariant, b.Detail, p)
		}
	})
}
