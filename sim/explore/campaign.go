package explore

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	Done, Jobs      int
	Cases           uint64
	Rate            float64 // cases a second
	Left            time.Duration
	Reached, States int
	Failures        int
}

func (p Progress) String() string {
	return fmt.Sprintf("%-8s  %3d %%  %d cases, %.0f/s  states %d/%d  failures %d  %s left",
		p.Part, 100*p.Done/max(p.Jobs, 1), p.Cases, p.Rate, p.Reached, p.States, p.Failures, p.Left.Round(time.Second))
}

// Findings is what a campaign came to.
type Findings struct {
	Case     Case
	Tally    Tally
	PerPart  map[string]*PartTally
	Failures []Finding
	Elapsed  time.Duration
	Done     bool // not interrupted
}

// PartTally is one part's share.
type PartTally struct {
	Cases      uint64        `json:"cases"`      // cut points, booted to a verdict
	Recoveries uint64        `json:"recoveries"` // whole runs
	Time       time.Duration `json:"nanoseconds"`
}

// Finding is a failure with the way to see it again.
type Finding struct {
	Failure
	Token string
	File  string // of the scenario, if one was written
}

// Broken is the number of failures that are no known limit.
func (f *Findings) Broken() int {
	n := 0
	for i := range f.Failures {
		if f.Failures[i].Known == "" {
			n++
		}
	}
	return n
}

// work is a piece of a campaign: small enough to be done again after an interruption.
type work struct {
	part string
	id   string
	run  func(e *Explorer, tick func(uint64) bool) (*Tally, error)
}

// saved is the state file.
type saved struct {
	Case  Case
	Seeds int
	Done  map[string]*Tally // by id of the work
}

// campaign is a running one.
type campaign struct {
	ctx     context.Context //nolint:containedctx // of the campaign
	base    Case
	plan    Plan
	state   saved
	mu      sync.Mutex
	cases   atomic.Uint64
	began   time.Time
	covered Coverage
	failed  int
	fresh   int // works done in this call
	per     map[string]*PartTally
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
	c := &campaign{ctx: ctx, base: base, plan: plan, began: time.Now(), per: map[string]*PartTally{}} //nolint:forbidigo // for the rate, not for the search
	if err := c.resume(); err != nil {
		return nil, err
	}
	e, err := New(ctx, base)
	if err != nil {
		return nil, err
	}
	ref, err := e.Reference()
	if err != nil {
		return nil, err
	}
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
	if err := c.do(first, t); err != nil {
		return nil, err
	}
	if c.wants(PartCuts) {
		second = kindWorks(t.Kinds)
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
	out := &Findings{Case: base, Tally: *t, PerPart: c.per, Elapsed: time.Since(c.began), Done: ctx.Err() == nil} //nolint:forbidigo // for the reader
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

// resume reads the state file, if there is one.
func (c *campaign) resume() error {
	c.state = saved{Case: c.base, Seeds: c.plan.Seeds, Done: map[string]*Tally{}}
	if c.plan.State == "" {
		return nil
	}
	text, err := os.ReadFile(c.plan.State)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var s saved
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("%w: state file %s: %w", ErrPlan, c.plan.State, err)
	}
	if fmt.Sprint(s.Case) != fmt.Sprint(c.base) || s.Seeds != c.plan.Seeds {
		return fmt.Errorf("%w: state file %s is of another campaign: remove it or name another one", ErrPlan, c.plan.State)
	}
	c.state = s
	return nil
}

func (c *campaign) save() error {
	if c.plan.State == "" {
		return nil
	}
	text, err := json.Marshal(&c.state)
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.plan.State+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(c.plan.State+".new", c.plan.State)
}

// do does works on all workers and adds their tallies in the order of the works, whoever did them.
func (c *campaign) do(works []work, t *Tally) error {
	tallies := make([]*Tally, len(works))
	var next atomic.Int64
	errs := make([]error, c.plan.Workers)
	var wg sync.WaitGroup
	began := time.Now() //nolint:forbidigo // for the time left
	done := 0
	for i := range c.plan.Workers {
		wg.Go(func() {
			var e *Explorer
			for {
				k := int(next.Add(1)) - 1
				if k >= len(works) || c.ctx.Err() != nil || errs[i] != nil {
					return
				}
				w := &works[k]
				c.mu.Lock()
				old := c.state.Done[w.id]
				c.mu.Unlock()
				if old != nil {
					tallies[k] = old
				} else {
					if e == nil {
						if e, errs[i] = New(c.ctx, c.base); errs[i] != nil {
							return
						}
					}
					start := time.Now() //nolint:forbidigo // for the rate
					tally, err := w.run(e, func(n uint64) bool {
						c.cases.Add(n)
						c.show(w.part, done, len(works), began)
						return c.ctx.Err() == nil
					})
					if err != nil || c.ctx.Err() != nil {
						errs[i] = err
						return
					}
					tallies[k] = tally
					c.note(w, tally, time.Since(start)) //nolint:forbidigo // for the rate
				}
				c.mu.Lock()
				done++
				c.covered.add(&tallies[k].Coverage)
				c.failed += len(tallies[k].Failures)
				c.mu.Unlock()
				c.show(w.part, done, len(works), began)
			}
		})
	}
	wg.Wait()
	if err := cmp.Or(errs...); err != nil {
		return err
	}
	for _, x := range tallies {
		if x != nil {
			t.Merge(x)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.save()
}

// note keeps a finished work.
func (c *campaign) note(w *work, t *Tally, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.Done[w.id] = t
	p := c.per[w.part]
	if p == nil {
		p = &PartTally{}
		c.per[w.part] = p
	}
	p.Cases += t.Cases
	p.Recoveries += t.Recoveries
	p.Time += d
	if c.fresh++; c.fresh%32 == 0 {
		_ = c.save() // once more at the end, where an error counts
	}
}

func (c *campaign) show(part string, done, jobs int, began time.Time) {
	if c.plan.Progress == nil {
		return
	}
	c.mu.Lock()
	reached, all := c.covered.Reached()
	failed := c.failed
	c.mu.Unlock()
	now := time.Now() //nolint:forbidigo // of a progress line
	p := Progress{Part: part, Done: done, Jobs: jobs, Cases: c.cases.Load(), Reached: reached, States: all, Failures: failed}
	p.Rate = float64(p.Cases) / max(now.Sub(c.began).Seconds(), 1e-3)
	if done > 0 {
		p.Left = now.Sub(began) * time.Duration(jobs-done) / time.Duration(done)
	}
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
	if f.Seed != 0 {
		var err error
		if e, k, f, err = c.plainer(ctx, e, f); err != nil {
			return f, "", err
		}
	}
	f, err := e.Shrink(f)
	if err != nil {
		return f, "", err
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

// Write prints the findings for a reader.
func (f *Findings) Write(w io.Writer) {
	f.writeParts(w)
	reached, all := f.Tally.Coverage.Reached()
	fmt.Fprintf(w, "\nnamed states %d of %d, in %v\n", reached, all, f.Elapsed.Round(time.Millisecond))
	for i, n := range f.Tally.Coverage {
		fmt.Fprintf(w, "  %-40s %d\n", State(i), n)
	}
	if len(f.Failures) == 0 {
		fmt.Fprintf(w, "\nno invariant was broken\n")
	}
	for i := range f.Failures {
		x := &f.Failures[i]
		fmt.Fprintf(w, "\n%s  %s\n", x.Invariant, x.Detail)
		if x.Known != "" {
			fmt.Fprintf(w, "  known   %s\n", x.Known)
		}
		fmt.Fprintf(w, "  at      %s (%d cases)\n  acts    %s\n", x.Where, x.Count, FormatActs(x.Acts))
		for _, s := range x.Sets {
			fmt.Fprintf(w, "  set     %s\n", s)
		}
		if x.File != "" {
			fmt.Fprintf(w, "  file    %s\n", x.File)
		}
		fmt.Fprintf(w, "  again   otasim replay %s\n", x.Token)
	}
	if !f.Done {
		fmt.Fprintf(w, "\ninterrupted: these are the findings so far\n")
	}
}

func (f *Findings) writeParts(w io.Writer) {
	for _, name := range Parts() {
		if p := f.PerPart[name]; p != nil {
			n := p.Cases + p.Recoveries
			fmt.Fprintf(w, "%-9s %9d cut points, %6d whole runs  %8.0f cases/s per core\n", name, p.Cases, p.Recoveries, float64(n)/max(p.Time.Seconds(), 1e-9))
		}
	}
}

// WriteJSON writes the findings as one document.
func (f *Findings) WriteJSON(w io.Writer) error {
	type failure struct {
		Invariant string   `json:"invariant"`
		Detail    string   `json:"detail"`
		Known     string   `json:"known,omitempty"`
		Where     string   `json:"where"`
		Cases     uint64   `json:"cases"`
		Acts      string   `json:"acts"`
		Sets      []string `json:"sets,omitempty"`
		File      string   `json:"file,omitempty"`
		Replay    string   `json:"replay"`
	}
	doc := struct {
		Schema     string                `json:"schema"`
		Scenario   string                `json:"scenario"`
		Seed       uint64                `json:"seed"`
		Cases      uint64                `json:"cases"`
		Recoveries uint64                `json:"recoveries"`
		Parts      map[string]*PartTally `json:"parts"`
		States     map[string]uint64     `json:"states"`
		Failures   []failure             `json:"failures"`
		Complete   bool                  `json:"complete"`
		Seconds    float64               `json:"wall_seconds"`
	}{"otasim.explore/1", f.Case.File, f.Case.Seed, f.Tally.Cases, f.Tally.Recoveries, f.PerPart, map[string]uint64{}, []failure{}, f.Done, f.Elapsed.Seconds()}
	for i, n := range f.Tally.Coverage {
		doc.States[State(i).String()] = n
	}
	for i := range f.Failures {
		x := &f.Failures[i]
		doc.Failures = append(doc.Failures, failure{x.Invariant, x.Detail, x.Known, x.Where, x.Count, FormatActs(x.Acts), x.Sets, x.File, x.Token})
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}
