package explore

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/otasim/otasim/cloud/aws"
	clouddefect "github.com/otasim/otasim/cloud/defect"
	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/device/defect"
	"github.com/otasim/otasim/sim"
	"github.com/otasim/otasim/sim/check"
)

// Mutant is a planted defect.
type Mutant struct {
	Name, Where, What string
}

// Mutants lists every planted defect: those of the device, then those of the cloud.
func Mutants() (out []Mutant) {
	for _, r := range defect.Table {
		out = append(out, Mutant{r.Name, r.Where, r.What})
	}
	for _, r := range clouddefect.Table {
		out = append(out, Mutant{r.Name, r.Where, r.What})
	}
	return out
}

// trial is a scenario that the correct system passes, and how it is searched.
type trial struct {
	name     string
	cuts     bool     // every flash command is cut
	messages bool     // every message is disturbed
	allow    []string // invariants that the trial's own faults break
}

// trials in the order in which they are tried: the cheapest first.
var trials = []trial{
	{name: "update"}, {name: "self-test-fail"}, {name: "self-test-crash"}, {name: "foreign-key"}, {name: "reconnect"}, {name: "fallback", allow: []string{check.JobTruth}},
	{name: "rotten", allow: []string{check.JobTruth, check.Bootable}}, {name: "queue"}, {name: "cancel"}, {name: "timeout"}, {name: "rate"}, {name: "abort"}, {name: "not-aborted"},
	{name: "update", cuts: true}, {name: "foreign-key", cuts: true}, {name: "update", messages: true},
}

// Catch is what noticed a defect.
type Catch struct {
	Mutant  Mutant
	Caught  bool
	Checker string // invariant, or the assertion of a trial
	Detail  string
	Trial   string
	Cases   uint64 // until then
	Time    time.Duration
	Token   string // "" for the API
}

// Hunt searches for a defect with every trial, until something notices. dir holds the trials. An empty name hunts for
// something wrong with the correct system.
func Hunt(ctx context.Context, dir string, m Mutant) (Catch, error) {
	began := time.Now() //nolint:forbidigo // how long it takes to notice
	c := Catch{Mutant: m}
	if b := talk(m.Name); b != nil {
		c.Caught, c.Checker, c.Detail, c.Trial, c.Cases = true, b.Invariant, b.Detail, "jobs API", 1
		c.Time = time.Since(began) //nolint:forbidigo // as above
		return c, nil
	}
	c.Cases++
	for _, t := range trials {
		if err := c.try(ctx, dir, &t); err != nil {
			return c, fmt.Errorf("%s: trial %s: %w", m.Name, t.name, err)
		}
		if c.Caught || ctx.Err() != nil {
			break
		}
	}
	c.Time = time.Since(began) //nolint:forbidigo // as above
	return c, nil
}

func (c *Catch) caught(t *trial, how string, f *Failure, k Case) {
	k.Acts = FormatActs(f.Acts)
	c.Caught, c.Checker, c.Detail, c.Trial, c.Token = true, f.Invariant, f.Detail, t.name+how, k.Token()
}

func (c *Catch) try(ctx context.Context, dir string, t *trial) error {
	path := filepath.Join(dir, t.name+".yaml")
	hash, err := FileHash(path)
	if err != nil {
		return err
	}
	k := Case{File: path, Hash: hash, Seed: 1, Defects: c.Mutant.Name}
	e, err := New(ctx, k)
	if err != nil {
		return err
	}
	if !t.cuts && !t.messages {
		c.Cases++
		r, err := e.Run(nil, nil)
		if err != nil {
			return err
		}
		if f := r.first(t.allow); f != nil {
			c.caught(t, "", f, k)
		}
		return nil
	}
	ref, err := e.Reference()
	if err != nil {
		return err
	}
	var works []work
	how := " with cuts"
	if t.cuts {
		works = cutWorks([]int{0}, 1)
	} else {
		how = " with messages"
		works = messageWorks(ref, []int{0})
	}
	total := &Tally{}
	for pass := range 2 {
		for i := range works {
			one, err := works[i].run(e, func(uint64) bool { return ctx.Err() == nil })
			if err != nil {
				return err
			}
			c.Cases += one.Cases + one.Recoveries
			total.Merge(one)
			for j := range total.Failures {
				f := &total.Failures[j]
				if f.Known == "" && !slices.Contains(t.allow, f.Invariant) {
					c.caught(t, how, f, k)
					return nil
				}
			}
		}
		if pass == 0 {
			works = kindWorks(total.Kinds)
		}
	}
	return nil
}

// first is what a run without acts shows: a broken invariant, or a rule of the scenario that does not hold.
func (r *Report) first(allow []string) *Failure {
	for _, f := range r.Found {
		if !slices.Contains(allow, f.Invariant) {
			return &Failure{Invariant: f.Invariant, Detail: f.Detail, Device: f.Device, At: f.At, Whole: true}
		}
	}
	for _, a := range r.Failed() {
		return &Failure{Invariant: "assertion", Detail: a.Name + ": " + a.Actual, Whole: true}
	}
	return nil
}

// oneThing is a registry of one thing.
type oneThing struct{}

func (oneThing) Thing(name string) bool             { return name == "lamp" }
func (oneThing) Group(name string) ([]string, bool) { return []string{"lamp"}, name == "all" }
func (oneThing) InGroup(thing, group string) bool   { return thing == "lamp" && group == "all" }

// talk asks the Jobs service what no agent asks: updates with an expectedVersion, and after the end.
func talk(defects string) *check.Breach {
	d, err := sim.ParseDefects(defects)
	if err != nil {
		return nil // a name of the other side's table
	}
	s := jobs.New(jobs.Config{Realm: aws.Realm{Region: "us-east-1", Account: "123456789012"}, Directory: oneThing{}, Defects: d.Cloud})
	now := sim.Epoch
	if _, err := s.CreateJob(now, jobs.CreateJobRequest{JobID: "j", Targets: []string{"arn:aws:iot:us-east-1:123456789012:thing/lamp"}, Document: `{}`}); err != nil {
		return &check.Breach{Invariant: check.StatusOnce, Detail: err.Error()}
	}
	s.Wake(now)
	ask := func(payload string) string {
		r := s.Handle(now, "lamp", "j/update", []byte(payload))
		var a struct{ Code string }
		if json.Unmarshal(r.Payload, &a) != nil || a.Code == "" {
			return strings.TrimPrefix(r.Topic, "j/update/")
		}
		return a.Code
	}
	for _, step := range []struct{ payload, want, why string }{
		{`{"status":"IN_PROGRESS","expectedVersion":1}`, "accepted", "the first update is taken"},
		{`{"status":"IN_PROGRESS","expectedVersion":1}`, "VersionMismatch", "an update with an old expectedVersion is refused"},
		{`{"status":"SUCCEEDED","expectedVersion":2}`, "accepted", "the end is taken"},
		{`{"status":"FAILED"}`, "InvalidStateTransition", "what has ended takes no other status"},
	} {
		if got := ask(step.payload); got != step.want {
			return &check.Breach{Invariant: check.StatusOnce, Detail: fmt.Sprintf("%s: %s is answered %s, not %s", step.why, step.payload, got, step.want)}
		}
	}
	return nil
}

// WriteCatches prints a table, the slowest to catch last.
func WriteCatches(w io.Writer, list []Catch) {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b Catch) int { return cmp.Compare(a.Cases, b.Cases) })
	fmt.Fprintf(w, "%-28s %-36s %-16s %-24s %7s %9s\n", "defect", "where", "caught by", "in", "cases", "time")
	for _, c := range list {
		checker := c.Checker
		if !c.Caught {
			checker = "NOT CAUGHT"
		}
		fmt.Fprintf(w, "%-28s %-36s %-16s %-24s %7d %9s\n", c.Mutant.Name, c.Mutant.Where, checker, c.Trial, c.Cases, c.Time.Round(100*time.Microsecond))
	}
}
