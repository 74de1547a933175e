package plan

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// A Run is one finished run of a point: a line of runs.jsonl.
type Run struct {
	Plan    string             `json:"plan"` // identity of the plan it belongs to
	Point   string             `json:"point"`
	Seed    uint64             `json:"seed"`
	Verdict string             `json:"verdict"`
	Error   string             `json:"error,omitempty"`
	Values  map[string]float64 `json:"values"`          // by metric; a time that never came is left out
	Quota   *report.Quota      `json:"quota,omitempty"` // that was most in the way
	Curve   []float64          `json:"curve"`           // virtual seconds from the first job's creation until 0, 2, 4 ... 100 % of the targets had succeeded
	Hash    string             `json:"trace_hash"`
	Wall    float64            `json:"wall_seconds"`
}

// Value is one metric of the run.
func (r *Run) Value(m *Metric) float64 {
	if v, ok := r.Values[m.Name]; ok {
		return v
	}
	return never
}

// Runner runs a scenario on one core.
type Runner func(ctx context.Context, sc *scenario.Scenario, until time.Duration) (*report.Result, error)

// Execution says how a plan is carried out.
type Execution struct {
	Dir      string // keeps finished runs; "": nothing is kept
	Parallel int    // runs at a time
	Run      Runner
	Progress func(done, total int, r *Run) // after each run; nil: not wanted
}

// ErrOtherPlan says that a folder holds the runs of another plan.
var ErrOtherPlan = errors.New("holds the runs of another plan")

// Carry carries a plan out and returns its runs, ordered by point and seed. Runs that
// the folder has already are not made again. When ctx ends, the runs so far are
// returned with its cause.
func (p *Plan) Carry(ctx context.Context, e Execution) ([][]*Run, error) {
	done := map[string]*Run{}
	var kept *os.File
	if e.Dir != "" {
		var err error
		if kept, err = p.open(e.Dir, done); err != nil {
			return nil, err
		}
		defer kept.Close()
	}
	type job struct{ point, seed int }
	runs := make([][]*Run, len(p.Points))
	var todo []job
	finished := 0
	for s := range p.Seeds { // all points with one seed first: a plan that is cut short has seen every point
		for i := range p.Points {
			if runs[i] == nil {
				runs[i] = make([]*Run, p.Seeds)
			}
			if r := done[key(p.Label(&p.Points[i]), p.Seed+uint64(s))]; r != nil {
				runs[i][s] = r
				finished++
				continue
			}
			todo = append(todo, job{i, s})
		}
	}
	total := len(p.Points) * p.Seeds
	var lock sync.Mutex
	var failure error
	next := 0
	var workers sync.WaitGroup
	for range max(1, e.Parallel) {
		workers.Go(func() {
			for {
				lock.Lock()
				if next == len(todo) || failure != nil || ctx.Err() != nil {
					lock.Unlock()
					return
				}
				j := todo[next]
				next++
				lock.Unlock()
				r, err := p.one(ctx, &p.Points[j.point], p.Seed+uint64(j.seed), e.Run)
				lock.Lock()
				switch {
				case err != nil:
					failure = errors.Join(failure, err)
				case r != nil:
					if kept != nil {
						if err := keep(kept, r); err != nil {
							failure = errors.Join(failure, err)
						}
					}
					runs[j.point][j.seed] = r
					finished++
					if e.Progress != nil {
						e.Progress(finished, total, r)
					}
				}
				lock.Unlock()
			}
		})
	}
	workers.Wait()
	if failure == nil {
		failure = context.Cause(ctx)
	}
	return runs, failure
}

// one makes one run; nil if it was interrupted.
func (p *Plan) one(ctx context.Context, pt *Point, seed uint64, run Runner) (*Run, error) {
	sc, problems, err := p.scenario(pt, seed)
	if err == nil && sc == nil {
		err = fmt.Errorf("%v", problems)
	}
	if err != nil {
		return nil, fmt.Errorf("point %s: %w", p.Label(pt), err)
	}
	res, err := run(ctx, sc, p.Until)
	if err != nil {
		return nil, fmt.Errorf("point %s, seed %d: %w", p.Label(pt), seed, err)
	}
	if res.Verdict == report.VerdictInterrupted {
		return nil, nil //nolint:nilnil // no run, and no mistake
	}
	out := &Run{Plan: p.id, Point: p.Label(pt), Seed: seed, Verdict: res.Verdict, Error: res.Error, Values: map[string]float64{}, Quota: res.Tightest(), Curve: res.Updates.Curve, Hash: res.TraceHash, Wall: res.WallSeconds}
	for i := range Metrics {
		if v := Metrics[i].of(res); v != never && v == v {
			out.Values[Metrics[i].Name] = v
		}
	}
	return out, nil
}

func key(point string, seed uint64) string { return fmt.Sprintf("%d %s", seed, point) }

// open reads the finished runs of a folder and opens it for more. A last line that was
// cut off is dropped.
func (p *Plan) open(dir string, done map[string]*Run) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // results are for everybody
		return nil, err
	}
	name := filepath.Join(dir, "runs.jsonl")
	text, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	whole := text[:bytes.LastIndexByte(text, '\n')+1]
	lines := bufio.NewScanner(bytes.NewReader(whole))
	lines.Buffer(nil, 1<<24)
	for n := 1; lines.Scan(); n++ {
		r := &Run{}
		if err := json.Unmarshal(lines.Bytes(), r); err != nil {
			return nil, fmt.Errorf("%s:%d: %w: remove the file to start again", name, n, err)
		}
		if r.Plan != p.id {
			return nil, fmt.Errorf("%s:%d: %w: the plan or its scenario has changed since; choose another --dir or remove this one", name, n, ErrOtherPlan)
		}
		done[key(r.Point, r.Seed)] = r
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o644) //nolint:gosec // results are for everybody
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(int64(len(whole))); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := f.Seek(int64(len(whole)), 0); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// keep writes one run down for good.
func keep(f *os.File, r *Run) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := f.Write(append(text, '\n')); err != nil {
		return err
	}
	return f.Sync()
}

// complete are the points with at least one run, with the runs they have.
func complete(runs [][]*Run) [][]*Run {
	out := make([][]*Run, len(runs))
	for i, rs := range runs {
		out[i] = slices.DeleteFunc(slices.Clone(rs), func(r *Run) bool { return r == nil })
	}
	return out
}
