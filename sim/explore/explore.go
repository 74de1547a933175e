package explore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/sim"
	"github.com/otasim/otasim/sim/check"
	"github.com/otasim/otasim/sim/scenario"
)

// Explorer runs cases of one scenario. It belongs to one goroutine.
type Explorer struct {
	base    Case
	sc      *scenario.Scenario
	bench   *sim.Bench
	boards  []sim.Board
	trusted check.Trusted
	defects sim.Defects
	plain   map[string]string // how executions end without acts, by thing and job
	ended   map[string]int    // how many of a job succeed then
	ctx     context.Context   //nolint:containedctx // of the campaign; the hooks of a run have no other way to it
}

// New makes an explorer of a case's scenario, its acts not included.
func New(ctx context.Context, base Case) (*Explorer, error) {
	sc, err := base.Load()
	if err != nil {
		return nil, err
	}
	return newExplorer(ctx, base, sc)
}

// ErrEncrypted is wrapped by errors about devices with flash encryption, whose cells the explorer's own readers cannot
// understand.
var ErrEncrypted = errors.New("flash encryption is on: its cells cannot be followed")

func newExplorer(ctx context.Context, base Case, sc *scenario.Scenario) (*Explorer, error) {
	planted, err := sim.ParseDefects(base.Defects)
	if err != nil {
		return nil, err
	}
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		if g.Sdkconfig.FlashEncryption || slices.ContainsFunc(g.Mix, func(m scenario.Build) bool { return m.Device.Sdkconfig.FlashEncryption }) {
			return nil, fmt.Errorf("group %s: %w", g.Name, ErrEncrypted)
		}
	}
	b, err := sim.NewBench(sc)
	if err != nil {
		return nil, err
	}
	e := &Explorer{base: base, sc: sc, bench: b, boards: b.Boards(), trusted: check.Trusted{}, defects: planted, ctx: ctx}
	_, data := b.Images()
	for i := range sc.Firmware {
		f := &sc.Firmware[i]
		if len(f.Sign) > 0 && f.Sign[0] != sc.Keys[0].Name {
			continue // signed with a key that no device trusts
		}
		e.trusted[check.Digest(data[i])] = check.Image{Version: f.Version, Passes: f.SelfTest == scenario.SelfTestPass, SelfTest: f.SelfTestDuration}
	}
	return e, nil
}

// Boards are the devices of the scenario.
func (e *Explorer) Boards() []sim.Board { return e.boards }

func (e *Explorer) chip(b *sim.Board) check.Chip {
	return check.Chip{TableOffset: b.TableOffset, AntiRollback: b.AntiRollback, Rollback: b.Rollback, Trusted: e.trusted}
}

// Found is one breach with its place.
type Found struct {
	*check.Breach
	Device int
	At     time.Duration
}

// Report is what one whole run of a case came to.
type Report struct {
	Outcome *sim.Outcome
	Found   []Found
	Fired   []Act // the acts that took place
	player  *player
}

// Run runs a case with these acts to its end, and judges it.
func (e *Explorer) Run(acts []Act, change func(*player)) (*Report, error) {
	if e.plain == nil && len(acts) > 0 {
		r, err := e.Run(nil, nil)
		if err != nil {
			return nil, err
		}
		e.plain, e.ended = map[string]string{}, map[string]int{}
		for _, x := range r.Outcome.Executions {
			e.plain[x.Thing+" "+x.Job] = x.Status.String()
			if x.Status == jobs.Succeeded {
				e.ended[x.Job]++
			}
		}
	}
	p, offs, err := newPlayer(e.boards, e.chip, acts)
	if err != nil {
		return nil, err
	}
	if change != nil {
		change(p)
	}
	return e.run(p, offs, sim.Options{})
}

func (e *Explorer) run(p *player, offs []sim.Off, opt sim.Options) (*Report, error) {
	opt.Probe, opt.Defects = p, e.defects
	out, err := e.bench.Run(e.ctx, opt, offs...)
	if err != nil {
		return nil, err
	}
	r := &Report{Outcome: out, player: p}
	for i := range p.units {
		u := &p.units[i]
		r.Fired = append(r.Fired, u.fired...)
		for k, b := range u.watch.Breaches {
			r.Found = append(r.Found, Found{b, i, u.watch.When[k]})
		}
	}
	e.settled(r)
	slices.SortStableFunc(r.Found, func(a, b Found) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Device, b.Device)) })
	return r, nil
}

// settled compares what the cloud says at the end with what the flash says.
func (e *Explorer) settled(r *Report) {
	end := time.Duration(r.Outcome.VirtualSeconds * float64(time.Second))
	for i := range r.player.units {
		u := &r.player.units[i]
		if u.dev == nil {
			continue
		}
		if u.harmless && len(u.fired) > 0 {
			for _, x := range r.Outcome.Executions {
				if want := e.plain[x.Thing+" "+x.Job]; x.Thing == u.board.Thing && want != "" {
					if b := check.Tolerates(x.Job, x.Status.String(), want); b != nil {
						r.Found = append(r.Found, Found{b, i, end})
						break
					}
				}
			}
		}
		running := e.running(u)
		var latest *sim.Execution
		for k := range r.Outcome.Executions {
			if x := &r.Outcome.Executions[k]; x.Thing == u.board.Thing {
				latest = x
			}
		}
		if latest == nil {
			continue
		}
		if b := check.Settled(latest.Job, latest.Status.String(), latest.Status.Terminal(), latest.Version, running, len(u.watch.Breaches) > 0); b != nil {
			r.Found = append(r.Found, Found{b, i, end})
		}
	}
}

// running is the version of the image that runs or, without power, would start.
func (e *Explorer) running(u *unit) string {
	t := check.ReadTruth(u.dev.Flash(), u.board.TableOffset)
	for i := range t.Slots {
		if s := &t.Slots[i]; s.Bootable && (s.Offset == u.slot || u.slot == 0 && i == t.Active) {
			return e.trusted[s.SHA256].Version
		}
	}
	return ""
}

// Sweep is the exhaustive search over single cuts, or over a second one.
type Sweep struct {
	Seeds   int    // for each random mode
	Devices []int  // those to cut; nil: all
	Before  []Act  // what has been done to the run already; only commands after its cuts are cut
	Data    bool   // only commands on otadata
	Part    uint64 // of Parts: commands whose number leaves this remainder
	Parts   uint64
	Dense   bool // prefixes of every length
}

// Tally is what a search has done.
type Tally struct {
	Cases      uint64 // cut points, booted to a verdict
	Recoveries uint64 // cases run to the end
	Commands   uint64
	Torn       [flashmodel.CutDone + 1]uint64 // cut points by how the command was torn
	Whole      [wholes]uint64                 // whole runs by what was done to them
	Coverage   Coverage
	Failures   []Failure
	Kinds      map[string]string // acts by the kind of state a cut leaves: each is worth a whole run
}

// WholeKind is what is done to a whole run.
type WholeKind uint8

// The kinds of whole runs.
const (
	WholePlain    WholeKind = iota // nothing
	WholeCuts                      // power is cut, nothing else
	WholeMessages                  // messages are lost or doubled
	WholeTimers                    // a message is late: it crosses others and the timers of the agent
	WholeMixed                     // power is cut, and messages are lost, doubled or late
	wholes
)

var wholeNames = [wholes]string{"nothing", "power cuts", "lost and doubled messages", "late messages against timers", "power cuts and messages"}

func (k WholeKind) String() string { return wholeNames[k] }

func wholeOf(acts []Act) WholeKind {
	cuts, late := 0, false
	for _, a := range acts {
		if a.Kind <= Off {
			cuts++
		}
		late = late || a.Kind == Late
	}
	switch {
	case len(acts) == 0:
		return WholePlain
	case cuts == len(acts):
		return WholeCuts
	case cuts > 0:
		return WholeMixed
	case late:
		return WholeTimers
	}
	return WholeMessages
}

// Failure is a case that breaks an invariant.
type Failure struct {
	Invariant string
	Detail    string
	Device    int
	At        time.Duration
	Acts      []Act
	Count     uint64   // cases with the same breach at the same place
	Where     string   // point, command and mode
	Whole     bool     // seen in a whole run; else at the boot after a cut
	Sets      []string // settings of a swarm run
	Seed      uint64   // of a swarm run
	Known     string   // the known limit of the release that this is, "": none
}

func (t *Tally) fail(f Failure) {
	for i := range t.Failures {
		o := &t.Failures[i]
		if o.Invariant == f.Invariant && o.Where == f.Where && o.Device == f.Device && o.Known == f.Known {
			o.Count += f.Count
			if order(&f, o) < 0 {
				f.Count = o.Count
				*o = f
			}
			return
		}
	}
	t.Failures = append(t.Failures, f)
}

// order puts failures in an order that does not depend on who found them.
func order(a, b *Failure) int {
	if c := cmp.Compare(len(a.Acts), len(b.Acts)); c != 0 {
		return c
	}
	for i := range a.Acts {
		x, y := &a.Acts[i], &b.Acts[i]
		if c := cmp.Or(cmp.Compare(x.Device, y.Device), cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.N, y.N), cmp.Compare(x.At, y.At), cmp.Compare(x.Mode, y.Mode),
			cmp.Compare(x.Keep, y.Keep), cmp.Compare(x.Seed, y.Seed)); c != 0 {
			return c
		}
	}
	return cmp.Compare(a.Invariant, b.Invariant)
}

// Merge adds another worker's part.
func (t *Tally) Merge(o *Tally) {
	t.Cases += o.Cases
	t.Recoveries += o.Recoveries
	t.Commands += o.Commands
	for i, n := range o.Torn {
		t.Torn[i] += n
	}
	for i, n := range o.Whole {
		t.Whole[i] += n
	}
	t.Coverage.add(&o.Coverage)
	for _, f := range o.Failures {
		t.fail(f)
	}
	for k, a := range o.Kinds {
		if t.Kinds == nil {
			t.Kinds = map[string]string{}
		}
		if old, ok := t.Kinds[k]; !ok || len(a) < len(old) || len(a) == len(old) && a < old {
			t.Kinds[k] = a
		}
	}
	slices.SortFunc(t.Failures, func(a, b Failure) int { return cmp.Or(order(&a, &b), cmp.Compare(a.Where, b.Where)) })
}

// kindKey tells cuts apart whose recovery can differ: where in the program, and what the
// records are afterwards.
type kindKey struct {
	device int
	point  device.Point
	erase  bool
	mode   flashmodel.CutMode
	before [2]check.Record
	slot   bool
	fuse   uint32
}

// dataSeeds is how many times as many seeds a command on otadata gets: there are few of
// them, and every bit counts.
const dataSeeds = 64

// sweeper carries a sweep out.
type sweeper struct {
	e       *Explorer
	s       *Sweep
	tally   Tally
	after   uint64 // the command of the last cut before
	cuts    []flashmodel.Cut
	tear    tearer
	tick    func(n uint64) bool // false: stop
	stopped bool
}

// cut cuts one command in every mode.
func (w *sweeper) cut(u *unit, op flashmodel.Op) {
	if w.stopped || len(w.s.Devices) > 0 && !slices.Contains(w.s.Devices, u.index) {
		return
	}
	chip := &u.watch.Chip
	data := op.Addr >= u.board.Otadata && op.Addr < u.board.Otadata+2*flashmodel.SectorSize
	if op.Index < w.after || op.Index%w.s.Parts != w.s.Part || w.s.Data && !data {
		return
	}
	w.tally.Commands++
	seeds := w.s.Seeds
	if data && !w.s.Data {
		seeds *= dataSeeds
	}
	w.cuts = modes(w.cuts[:0], &op, seeds, w.s.Dense)
	for i := range w.cuts {
		w.tear.cut = w.cuts[i]
		act := Act{Kind: Cut, Device: u.index, N: op.Index, Mode: w.cuts[i].Mode, Keep: w.cuts[i].Keep, Seed: w.cuts[i].Seed, By: DefaultOff}
		s := w.tear.survivor(u.dev, &op)
		f := s.Flash()
		_, steady := f.Key(u.board.Otadata, 2*flashmodel.SectorSize)
		before := check.Records(f, u.board.Otadata)
		v, ok := s.Verdict(f.Clock() + DefaultOff)
		w.tally.Cases++
		w.tally.Torn[w.cuts[i].Mode]++
		e := s.EFuse()
		fuse := e.SecureVersion(max(u.board.SecVerBits, 1))
		if u.board.AntiRollback && fuse > u.secure {
			w.tally.Coverage[FuseAhead]++
		}
		var b *check.Breach
		w.cover(u, &op, data, steady, &before, w.cuts[i].Mode)
		if ok {
			var img check.Image
			img, b = chip.Started(f, v.Part.Offset, v.Part.Size, fuse)
			if b == nil && steady && data {
				b = chip.Chosen(f, before, v.Part.Offset, fuse)
			}
			w.started(u, s, &v, &before, img.Version)
		} else {
			b = chip.Stopped(f, fmt.Sprintf("nothing starts after the cut (%s)", s.Phase()))
		}
		if b != nil {
			w.tally.fail(Failure{Invariant: b.Invariant, Detail: b.Detail, Device: u.index, At: op.Start, Acts: w.with(act), Count: 1, Where: where(u, &op, data)})
		}
		k := kindKey{u.index, u.point, op.Kind == flashmodel.OpErase, w.cuts[i].Mode, rough(before), data, fuse}
		if name := k.String(); w.tally.Kinds[name] == "" {
			w.tally.Kinds[name] = FormatActs(w.with(act))
		}
	}
	if w.tick != nil && !w.tick(uint64(len(w.cuts))) {
		w.stopped = true
	}
}

// String names the kind, for a state file.
func (k kindKey) String() string {
	return fmt.Sprintf("%d/%s/%t/%s/%v/%v/%t/%d", k.device, k.point, k.erase, k.mode, k.before[0], k.before[1], k.slot, k.fuse)
}

// with adds a cut to what was done before.
func (w *sweeper) with(a Act) []Act { return append(slices.Clone(w.s.Before), a) }

// rough forgets what no reader of the records can tell apart.
func rough(r [2]check.Record) [2]check.Record {
	for i := range r {
		e := &r[i]
		e.CRC = 0
		if !e.Good {
			e.Seq = 0
		}
		if e.State > 4 && e.State != 0xffffffff {
			e.State = 5
		}
	}
	return r
}

// where names the place of a cut: equal places are one failure.
func where(u *unit, op *flashmodel.Op, data bool) string {
	what := "slot"
	if data {
		what = "otadata"
	}
	return fmt.Sprintf("%s, %s of %s", u.point, op.Kind, what)
}

// cover notes the named states of one cut.
func (w *sweeper) cover(u *unit, op *flashmodel.Op, data, steady bool, before *[2]check.Record, mode flashmodel.CutMode) {
	c := &w.tally.Coverage
	c.records(before, steady)
	if !data {
		switch {
		case u.point == device.PointPassiveErase || u.point == device.PointBoot && op.Kind == flashmodel.OpErase:
			c[OtherErasing]++
		case op.Kind == flashmodel.OpErase:
			c[SlotErasing]++
		default:
			c[SlotPartly]++
		}
		if mode == flashmodel.CutEraseNoise || mode == flashmodel.CutEraseLooksDone {
			c[SlotUnsteady]++
		}
	} else if u.point == device.PointOtadataProgram {
		c[SlotWhole]++
	}
	if u.slot == 0 {
		c[CutInLoader]++
	} else {
		c[CutInApp]++
	}
	switch u.point {
	case device.PointSelfTest, device.PointConfirm:
		c[CutInSelfTest]++
	case device.PointReport, device.PointReported, device.PointPassiveErase:
		c[CutAfterReport]++
	}
}

// started notes what the boot after a cut came to.
func (w *sweeper) started(u *unit, s *device.Device, v *bootloader.Verdict, before *[2]check.Record, version string) {
	c := &w.tally.Coverage
	after := check.Records(s.Flash(), u.board.Otadata)
	pending := false
	for i := range after {
		if was := &before[i]; was.Good && was.State == 1 && (after[i].Blank || after[i].Good && after[i].State == 4) {
			c[TrialAborted]++ // afr-2022 erases the record in the end
		}
		pending = pending || after[i].Good && after[i].State == 1
	}
	if v.Selected && v.StartIndex != v.Index {
		c[StartsFallback]++
	}
	if version == u.old {
		c[StartsOld]++
		return
	}
	c[StartsNew]++
	switch {
	case pending:
		c[StartsNewOnTrial]++
	case u.point < device.PointConfirm && u.point > device.PointPassiveErase:
		c[StartsNewUnwatched]++
	}
}

// first is the version a device came with.
func (e *Explorer) first(u *unit) string {
	for i := range e.sc.Fleet.Groups {
		if g := &e.sc.Fleet.Groups[i]; g.Name == u.board.Group {
			return g.Firmware
		}
	}
	return ""
}

// Sweep cuts every flash command of the scenario's devices in every mode. tick is told of finished cut points and says
// whether to go on.
func (e *Explorer) Sweep(s Sweep, tick func(n uint64) bool) (*Tally, error) {
	s.Parts = max(s.Parts, 1)
	w := &sweeper{e: e, s: &s, tick: tick, tally: Tally{Kinds: map[string]string{}}}
	for _, a := range s.Before {
		if a.Kind == Cut {
			w.after = max(w.after, a.N+1)
		}
	}
	if _, err := e.Run(s.Before, func(p *player) {
		p.command = w.cut
		for i := range p.units {
			p.units[i].old = e.first(&p.units[i])
			p.units[i].secure = e.secureOf(p.units[i].old)
		}
	}); err != nil {
		return nil, err
	}
	return &w.tally, nil
}

// Whole runs a case to the end of its jobs.
func (e *Explorer) Whole(acts []Act) (*Tally, error) {
	r, err := e.Run(acts, nil)
	if err != nil {
		return nil, err
	}
	t := &Tally{}
	t.whole(e, r, acts)
	return t, nil
}

// whole notes a whole run.
func (t *Tally) whole(e *Explorer, r *Report, acts []Act) {
	t.Recoveries++
	t.Whole[wholeOf(acts)]++
	c := &t.Coverage
	for i := range r.player.units {
		for _, m := range r.player.units[i].meddled {
			c.meddled(&m)
		}
	}
	cuts := 0
	for _, a := range r.Fired {
		if a.Kind <= Off {
			cuts++
		}
	}
	if cuts > 1 {
		c[CutTwice]++
	}
	for _, x := range r.Outcome.Executions {
		switch x.Status.String() {
		case "SUCCEEDED":
			c[JobSucceeded]++
		case "FAILED":
			c[JobFailed]++
		}
	}
	for i := range r.player.units {
		u := &r.player.units[i]
		if u.dev == nil {
			continue
		}
		if e.running(u) == e.first(u) {
			c[RolledBack]++
		} else {
			c[Updated]++
		}
	}
	for _, f := range r.Found {
		t.fail(r.failure(&f, acts))
	}
}

// failure is a breach of a whole run.
func (r *Report) failure(f *Found, acts []Act) Failure {
	return Failure{Invariant: f.Invariant, Detail: f.Detail, Device: f.Device, At: f.At, Acts: acts, Count: 1, Where: place(r, f.Device), Whole: true,
		Known: r.Known(f)}
}

// place is where the last act on a device struck.
func place(r *Report, device int) string {
	for i := len(r.Fired) - 1; i >= 0; i-- {
		if r.Fired[i].Device == device {
			return r.player.units[device].struck
		}
	}
	return "without a fault"
}
