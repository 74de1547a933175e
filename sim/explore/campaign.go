package explore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Plan is what a campaign searches.
type Plan struct {
	Only     []string // Parts; nil: all
	Devices  int
	Things   []string // cut and disturb only these; nil: all
	Seeds    int      // for each random mode
	Workers  int      // 0: one per processor
	Swarm    uint64   // swarm runs
	Reach    []string // named states that must be reached, besides those that the scenario promises by itself
	For      time.Duration
	State    string // file that keeps the progress
	Defects  string
	Progress func(Progress)
}

// ErrPlan is wrapped by errors about a plan.
var ErrPlan = errors.New("plan")

// The parts of a campaign.
const (
	PartCuts     = "cuts"     // every flash command, every mode
	PartDoubles  = "doubles"  // two cuts over otadata and the confirmation
	PartMessages = "messages" // lost, doubled and late messages, with each other and with cuts
	PartSwarm    = "swarm"    // each seed draws its own faults and settings
)

// Parts lists the parts in their order.
func Parts() []string { return []string{PartCuts, PartDoubles, PartMessages, PartSwarm} }

// Progress is how far a campaign is.
type Progress struct {
	Part            string
	Percent         int // of the time that it takes, as far as that can be told
	Cases           uint64
	Rate            float64 // cases a second
	Left            time.Duration
	Reached, States int
	Failures        int
}

func (p Progress) String() string {
	return fmt.Sprintf("%-8s  %3d %%  %d cases, %.0f/s  states %d/%d  failures %d  %s left",
		p.Part, p.Percent, p.Cases, p.Rate, p.Reached, p.States, p.Failures, p.Left.Round(time.Second))
}

// work is a piece of a campaign: small enough to be done again after an interruption.
type work struct {
	part string
	id   string
	run  func(e *Explorer, tick func(uint64) bool) (*Tally, error)
}

// campaign is a running one.
type campaign struct {
	ctx     context.Context //nolint:containedctx // of the campaign
	base    Case
	plan    Plan
	done    map[string]*piece // by id
	file    *os.File          // the state, nil: none
	mu      sync.Mutex
	cases   atomic.Uint64 // of this call
	began   time.Time
	covered Coverage
	failed  int
	per     map[string]*PartTally
	todo    map[string]int           // works that are still planned, by part
	cost    map[string]time.Duration // what one is thought to take, until one is done
	works   map[string]int           // done in this call
	spent   map[string]time.Duration // on them
}

// Campaign searches a case's scenario. When ctx ends, the findings are those so far.
func Campaign(ctx context.Context, base Case, plan Plan) (*Findings, error) {
	if plan.Workers <= 0 {
		plan.Workers = runtime.GOMAXPROCS(0)
	}
	plan.Seeds = max(plan.Seeds, 1)
	for _, o := range plan.Only {
		if !slices.Contains(Parts(), o) {
			return nil, fmt.Errorf("%w: no part %q: one of %s", ErrPlan, o, strings.Join(Parts(), ", "))
		}
	}
	c := &campaign{ctx: ctx, base: base, plan: plan, began: time.Now(), per: map[string]*PartTally{}, done: map[string]*piece{}, //nolint:forbidigo // for the rate, not for the search
		todo: map[string]int{}, works: map[string]int{}, spent: map[string]time.Duration{}}
	if err := c.resume(); err != nil {
		return nil, err
	}
	if c.file != nil {
		defer c.file.Close()
	}
	e, err := New(ctx, base)
	if err != nil {
		return nil, err
	}
	ref, err := e.Reference()
	if err != nil {
		return nil, err
	}
	one := time.Since(c.began) //nolint:forbidigo // an idea of what a whole run takes
	c.cost = map[string]time.Duration{PartCuts: 4 * one, PartDoubles: one, PartMessages: runsPerWork * one, PartSwarm: 2 * swarmWork * one}
	devices, err := c.devices(e)
	if err != nil {
		return nil, err
	}
	t := &Tally{}
	for _, f := range ref.Report.Found {
		t.fail(Failure{Invariant: f.Invariant, Detail: f.Detail, Device: f.Device, At: f.At, Count: 1, Where: "without a fault", Whole: true})
	}
	var first, second []work
	if c.wants(PartCuts) {
		first = append(first, cutWorks(devices, plan.Seeds)...)
	}
	if c.wants(PartDoubles) {
		w, err := doubleWorks(ref, devices)
		if err != nil {
			return nil, err
		}
		first = append(first, w...)
	}
	if c.wants(PartMessages) {
		first = append(first, messageWorks(ref, devices)...)
	}
	for i := range first {
		c.todo[first[i].part]++
	}
	if c.wants(PartCuts) {
		c.todo[PartCuts] += kindGuess
	}
	if c.wants(PartSwarm) {
		c.todo[PartSwarm] = int((plan.Swarm + swarmRound - 1) / swarmRound * (swarmRound / swarmWork))
	}
	if err := c.do(first, t); err != nil {
		return nil, err
	}
	c.todo[PartCuts] = 0
	if c.wants(PartCuts) {
		second = kindWorks(t.Kinds)
		c.todo[PartCuts] = len(second)
		if err := c.do(second, t); err != nil {
			return nil, err
		}
	}
	if c.wants(PartSwarm) {
		for from := uint64(0); c.ctx.Err() == nil && (from < plan.Swarm || plan.For > 0 && time.Since(c.began) < plan.For); from += swarmRound { //nolint:forbidigo // a budget of wall time
			if err := c.do(swarmWorks(base, ref, devices, from), t); err != nil {
				return nil, err
			}
		}
	}
	t.Kinds = nil
	promise, err := c.promised(e, ref, devices)
	if err != nil {
		return nil, err
	}
	out := &Findings{Case: base, Tally: *t, PerPart: c.per, Promised: promise, Elapsed: time.Since(c.began), Done: ctx.Err() == nil} //nolint:forbidigo // for the reader
	for _, f := range t.Failures {
		g, token, err := c.finish(e, f)
		if err != nil {
			return nil, err
		}
		if same := slices.IndexFunc(out.Failures, func(o Finding) bool { return o.same(&g) }); same >= 0 {
			out.Failures[same].Count += g.Count
			continue
		}
		out.Failures = append(out.Failures, Finding{Failure: g, Token: token})
	}
	return out, nil
}

func (c *campaign) wants(part string) bool {
	return len(c.plan.Only) == 0 || slices.Contains(c.plan.Only, part)
}

func (c *campaign) devices(e *Explorer) (out []int, err error) {
	for i := range e.boards {
		if len(c.plan.Things) == 0 || slices.Contains(c.plan.Things, e.boards[i].Thing) {
			out = append(out, i)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: no device %s: names are like %s", ErrPlan, strings.Join(c.plan.Things, ", "), e.boards[0].Thing)
	}
	return out, nil
}

// kindGuess is about how many works the whole runs of a sweep make.
const kindGuess = 8

// do does works on all workers and adds their tallies in the order of the works, whoever did them.
func (c *campaign) do(works []work, t *Tally) error {
	pieces := make([]*piece, len(works))
	var next atomic.Int64
	errs := make([]error, c.plan.Workers)
	var wg sync.WaitGroup
	for i := range c.plan.Workers {
		wg.Go(func() {
			var e *Explorer
			for {
				k := int(next.Add(1)) - 1
				if k >= len(works) || c.ctx.Err() != nil || errs[i] != nil {
					return
				}
				w := &works[k]
				old := c.done[w.id] // written by resume only
				if old == nil {
					if e == nil {
						if e, errs[i] = New(c.ctx, c.base); errs[i] != nil {
							return
						}
					}
					start := time.Now() //nolint:forbidigo // for the rate
					tally, err := w.run(e, func(n uint64) bool {
						c.cases.Add(n)
						c.show(w.part)
						return c.ctx.Err() == nil
					})
					if err != nil || c.ctx.Err() != nil {
						errs[i] = err
						return
					}
					pieces[k] = &piece{w.id, w.part, time.Since(start), tally} //nolint:forbidigo // for the rate
				} else {
					pieces[k] = old
				}
				errs[i] = c.note(pieces[k], old == nil)
				c.show(w.part)
			}
		})
	}
	wg.Wait()
	if err := cmp.Or(errs...); err != nil {
		return err
	}
	for _, x := range pieces {
		if x != nil {
			t.Merge(x.Tally)
		}
	}
	return nil
}

// note counts a finished work, and keeps it if it is a fresh one.
func (c *campaign) note(x *piece, fresh bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.per[x.Part]
	if p == nil {
		p = &PartTally{}
		c.per[x.Part] = p
	}
	p.Cases += x.Tally.Cases
	p.Recoveries += x.Tally.Recoveries
	p.Time += x.Time
	c.todo[x.Part] = max(c.todo[x.Part]-1, 0)
	c.covered.add(&x.Tally.Coverage)
	c.failed += len(x.Tally.Failures)
	if !fresh {
		return nil
	}
	c.works[x.Part]++
	c.spent[x.Part] += x.Time
	return c.keep(x)
}

func (c *campaign) show(part string) {
	if c.plan.Progress == nil {
		return
	}
	elapsed := time.Since(c.began) //nolint:forbidigo // of a progress line
	c.mu.Lock()
	reached, all := c.covered.Reached()
	p := Progress{Part: part, Cases: c.cases.Load(), Reached: reached, States: all, Failures: c.failed}
	for name, n := range c.todo {
		one := c.cost[name]
		if done := c.works[name]; done > 0 {
			one = c.spent[name] / time.Duration(done)
		}
		p.Left += time.Duration(n) * one / time.Duration(c.plan.Workers)
	}
	c.mu.Unlock()
	p.Left = max(p.Left, c.plan.For-elapsed)
	p.Rate = float64(p.Cases) / max(elapsed.Seconds(), 1e-3)
	p.Percent = int(100 * elapsed / max(elapsed+p.Left, 1))
	c.plan.Progress(p)
}

// same reports whether two failures are one: the same invariant breaks at the same place in the same kind of run.
func (f *Failure) same(g *Failure) bool {
	return f.Invariant == g.Invariant && f.Known == g.Known && f.Device == g.Device && f.Where == g.Where && slices.Equal(f.Sets, g.Sets)
}

// finish shrinks a failure and gives it its token.
func (c *campaign) finish(e *Explorer, f Failure) (Failure, string, error) {
	ctx := context.WithoutCancel(c.ctx)
	e.ctx = ctx
	k := c.base
	if f.Seed != 0 { // of a swarm run
		var err error
		if e, k, f, err = c.plainer(ctx, e, f); err != nil {
			return f, "", err
		}
	}
	if c.ctx.Err() == nil {
		var err error
		if f, err = e.Shrink(f); err != nil {
			return f, "", err
		}
	}
	token, err := e.Token(k, f.Acts)
	return f, token, err
}

// plainer drops the settings and the seed of a swarm run that its failure does not need.
func (c *campaign) plainer(ctx context.Context, e *Explorer, f Failure) (*Explorer, Case, Failure, error) {
	if g, ok, err := e.breaks(f, f.Acts); err != nil || ok {
		g.Sets, g.Seed = nil, 0
		return e, c.base, g, err
	}
	try := func(sets []string) (*Explorer, Case, Failure, bool, error) {
		k := c.base
		k.Seed, k.Sets = f.Seed, append(slices.Clone(k.Sets), sets...)
		one, err := New(ctx, k)
		if err != nil {
			return nil, k, f, false, err
		}
		g, ok, err := one.breaks(f, f.Acts)
		g.Sets = sets
		return one, k, g, ok, err
	}
	best, k, _, _, err := try(f.Sets)
	for i := len(f.Sets) - 1; err == nil && i >= 0; i-- {
		var one *Explorer
		var plain Case
		var g Failure
		var ok bool
		if one, plain, g, ok, err = try(slices.Delete(slices.Clone(f.Sets), i, i+1)); err == nil && ok {
			best, k, f = one, plain, g
		}
	}
	return best, k, f, err
}

// Token runs a case once for its trace hash, and returns its token.
func (e *Explorer) Token(k Case, acts []Act) (string, error) {
	r, err := e.Run(acts, nil)
	if err != nil {
		return "", err
	}
	k.Acts, k.Trace = FormatActs(acts), r.Outcome.TraceHash[:16]
	return k.Token(), nil
}
