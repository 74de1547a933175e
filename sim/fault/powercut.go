package fault

import (
	"fmt"
	"slices"
	"time"

	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/sim/kernel"
	"github.com/otasim/otasim/sim/scenario"
)

// Where a device keeps what power cuts aim at.
type Where struct {
	Blocks       int           // file blocks of the update the device will take
	Otadata      uint32        // flash address of the otadata partition
	SlotErase    time.Duration // how long erasing the slot takes
	BlockProgram time.Duration // how long programming one file block takes
	Verify       time.Duration // how long digest and signature take
	SelfTest     time.Duration // how long the self-test lasts
}

// A PowerCut is planned for one device: it waits for a point of the device's
// program or for a time, then takes the power away, a moment later or at a chosen
// flash command.
type PowerCut struct {
	Fault int    // index in the scenario
	Phase string // as the file names it: what the result counts
	Off   time.Duration
	At    time.Duration // of a cut at a time, 0: it waits for its point

	point  device.Point
	arg    int           // -1: any
	nth    int           // so many times the point passes before
	delay  time.Duration // after the point
	op     int           // >= 0: at the op-th command there from the point on, instead
	kind   string        // program, erase, "" or any: the commands counted
	addr   uint32        // and only those in [addr, addr+size)
	size   uint32
	torn   tear
	chance uint64 // ppm, at each opportunity
	rand   kernel.Rand
}

type tear struct {
	torn scenario.Torn
	keep uint32
	has  bool
	mode flashmodel.CutMode // if not CutNone: instead
	seed uint64
}

// otadataOps are the flash commands that a good update spends on otadata: erase
// and program at activation, at NEW to PENDING_VERIFY, at confirmation.
const otadataOps = 6

// Plan draws the power cuts of one fault for one device: as many as times says.
func Plan(seed kernel.Seed, index int, f *scenario.Fault, thing string, w Where, times int) []*PowerCut {
	r := seed.Stream(fmt.Sprintf("fault/%s/%s", f.Name, thing))
	var cuts []*PowerCut
	for n := range times {
		c := newCut(index, f, &r)
		if f.Probability < scenario.Million {
			c.chance, c.rand = f.Probability, kernel.Rand(r.Uint64())
		}
		switch {
		case f.At != nil:
			c.Phase = f.At.Point.String()
			c.point, c.arg, c.nth = f.At.Point, f.At.Arg, f.PowerCut.Nth
			c.inCommand(&f.PowerCut, w)
		case f.HasTime:
			c.At = f.TimeFrom + upTo(&r, f.TimeTo-f.TimeFrom+1) + time.Duration(n)*f.Every
			c.At = max(c.At, 1)
			if f.Probability < scenario.Million && r.Below(scenario.Million) >= f.Probability {
				continue
			}
			c.chance = 0
		default:
			c.in(f.During[r.Below(uint64(len(f.During)))], &r, w)
		}
		cuts = append(cuts, c)
	}
	return cuts
}

func newCut(index int, f *scenario.Fault, r *kernel.Rand) *PowerCut {
	p := &f.PowerCut
	c := &PowerCut{Fault: index, op: -1, arg: -1, size: ^uint32(0), torn: tear{torn: p.Torn, keep: p.Keep, has: p.HasKeep, seed: r.Uint64()}}
	if p.HasSeed {
		c.torn.seed = p.Seed
	}
	for m := flashmodel.CutNone; m <= flashmodel.CutDone; m++ {
		if m.String() == p.Leaves {
			c.torn.mode = m
		}
	}
	c.Off = p.OffFrom + time.Duration(r.Below(uint64(p.OffTo-p.OffFrom)+1))
	return c
}

// inCommand aims at a flash command after the point, if the fault says so.
func (c *PowerCut) inCommand(p *scenario.PowerCut, w Where) {
	if p.Command == "" {
		return
	}
	c.op, c.kind = p.Skip, p.Command
	if p.Copy >= 0 {
		c.addr, c.size = w.Otadata+uint32(p.Copy)*flashmodel.SectorSize, flashmodel.SectorSize
	}
}

// in draws a moment of a phase.
func (c *PowerCut) in(d scenario.During, r *kernel.Rand, w Where) {
	c.Phase = d.Name
	switch d.Phase {
	case device.PhaseDownload:
		// One cut in eight hits the slot's erase, the others a block.
		if r.Below(8) == 0 {
			c.point, c.delay = device.PointSlotErase, upTo(r, w.SlotErase)
			break
		}
		c.point, c.arg = device.PointBlockReceived, int(r.Below(uint64(max(w.Blocks, 1))))
		if d.InFlash {
			c.op = int(r.Below(64)) // a 4 KiB block is 64 commands of 64 bytes
		} else {
			c.delay = upTo(r, 2*w.BlockProgram)
		}
	case device.PhaseVerify:
		c.point, c.delay = device.PointVerify, upTo(r, w.Verify)
	case device.PhaseOtadata:
		c.point, c.op = device.PointOtadataProgram, int(r.Below(otadataOps))
		c.addr, c.size = w.Otadata, 2*flashmodel.SectorSize
	case device.PhaseSelfTest:
		c.point, c.delay = device.PointSelfTest, upTo(r, w.SelfTest)
	case device.PhaseConfirm:
		c.point, c.op = device.PointConfirm, int(r.Below(2)) // erase and program of the record
		c.addr, c.size = w.Otadata, 2*flashmodel.SectorSize
	}
}

func upTo(r *kernel.Rand, d time.Duration) time.Duration { return time.Duration(r.Below(uint64(d))) }

// Now is the power cut of a fault whose condition has become true.
func Now(seed kernel.Seed, index int, f *scenario.Fault, thing string) *PowerCut {
	r := seed.Stream(fmt.Sprintf("fault/%s/%s", f.Name, thing))
	c := newCut(index, f, &r)
	c.Phase = "when"
	return c
}

// SortByTime puts cuts at times in their order.
func SortByTime(cuts []*PowerCut) {
	slices.SortStableFunc(cuts, func(a, b *PowerCut) int { return int(a.At - b.At) })
}

// Pass counts a point that the device passes, for cuts that wait for a later time.
func (c *PowerCut) Pass(p device.Point, arg int) (wait bool) {
	if c.nth > 0 && p == c.point && (c.arg < 0 || arg == c.arg) {
		c.nth--
		return true
	}
	return c.nth > 0
}

// Matches reports whether the cut waits for this point and strikes there.
func (c *PowerCut) Matches(p device.Point, arg int) bool {
	if p != c.point || c.At != 0 || c.arg >= 0 && arg != c.arg {
		return false
	}
	return c.chance == 0 || c.rand.Below(scenario.Million) < c.chance
}

// Strike is called at the point the cut waits for. It takes the power away at once,
// by the panic that unwinds the device; or arms a cut at a flash command; or says
// when power shall fail.
func (c *PowerCut) Strike(f *flashmodel.Flash) (at time.Duration, later bool) {
	switch {
	case c.op >= 0:
		f.SetInjector(c)
		return 0, false
	case c.delay > 0:
		return f.Clock() + c.delay, true
	}
	panic(flashmodel.PowerLost{})
}

// BeforeOp is asked before each flash command once the cut is armed.
func (c *PowerCut) BeforeOp(op flashmodel.Op) flashmodel.Cut {
	if op.Addr-c.addr >= c.size || c.kind == "program" && op.Kind != flashmodel.OpProgram || c.kind == "erase" && op.Kind != flashmodel.OpErase {
		return flashmodel.Cut{}
	}
	if c.op--; c.op >= 0 {
		return flashmodel.Cut{}
	}
	return c.torn.cut(op)
}

// Seed is what an interruption by time is torn with.
func (c *PowerCut) Seed() uint64 { return c.torn.seed }

// cut says what is left of the command that power failed in.
func (t *tear) cut(op flashmodel.Op) flashmodel.Cut {
	r := kernel.Rand(t.seed)
	cut := flashmodel.Cut{Mode: flashmodel.CutNotStarted, Seed: r.Uint64()}
	grain := uint32(0)
	switch {
	case t.mode != flashmodel.CutNone:
		cut.Mode, cut.Keep, cut.Seed = t.mode, min(t.keep, op.Len), t.seed
		return cut
	case t.has:
		cut.Mode, cut.Keep = flashmodel.CutPrefix, min(t.keep, op.Len)
		if op.Kind == flashmodel.OpErase {
			cut.Mode = flashmodel.CutEraseNoise
		}
		return cut
	case t.torn == scenario.TornNone:
		if r.Below(2) == 0 {
			cut.Mode = flashmodel.CutDone
		}
		return cut
	case t.torn == scenario.TornWord:
		grain = 4
	case t.torn == scenario.TornPage:
		grain = flashmodel.PageSize
	}
	if op.Kind == flashmodel.OpErase {
		cut.Mode = []flashmodel.CutMode{flashmodel.CutNotStarted, flashmodel.CutEraseZeroed, flashmodel.CutEraseNoise, flashmodel.CutEraseLooksDone, flashmodel.CutDone}[r.Below(5)]
		return cut
	}
	if grain == 0 {
		cut.Mode = flashmodel.CutSubset
		return cut
	}
	cut.Mode, cut.Keep = flashmodel.CutPrefix, uint32(r.Below(uint64(op.Len/grain)+1))*grain
	return cut
}
