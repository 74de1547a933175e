// Package sim is the world: it builds a fleet, a cloud and an operator from a
// scenario, runs them in virtual time or on real sockets, and judges the outcome.
package sim

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// Modes of a run.
const (
	Virtual = "virtual"
	Live    = "live"
)

// Options says how to run a scenario; they never change what happens in virtual
// time, only when it ends.
type Options struct {
	Mode     string                // Virtual (or "") or Live
	Workers  int                   // goroutines that share the work; 0: one per processor, at most 4
	Until    time.Duration         // stop at this virtual time, 0: never
	Timeout  time.Duration         // stop after this wall time, 0: never
	Progress func(report.Progress) // called now and then, nil: never
	Trace    io.Writer             // one line per thing a device does, nil: none
	Version  string                // of otasim, for the result
	Detail   bool                  // collect what charts are drawn from
	Dumps    map[string]string     // file by thing: its flash at the end; with variants, of the last one

	// Probe takes part in the run, nil: nobody does. Only in virtual time, with one worker.
	Probe Probe
	// Defects are planted in devices and cloud, to test checkers.
	Defects Defects

	kept   *kept // of earlier runs of the same scenario, nil: nothing
	direct bool  // step devices without goroutines (tests)
	// everyPing makes each ping of idle devices an event (tests).
	everyPing bool
	noMemo    bool // compute every digest and signature anew (tests)
	// parallel runs every epoch on all workers: the small fleets of tests have few epochs that pay for it.
	parallel bool
}

// Run runs a scenario once, or once per variant. An error means that the run could
// not be made; whatever the scenario shows is in the result. When ctx ends, the
// result is what there is so far and its verdict is interrupted.
func Run(ctx context.Context, sc *scenario.Scenario, opt Options) (*report.Result, error) {
	if opt.Workers <= 0 {
		opt.Workers = min(runtime.GOMAXPROCS(0), 4)
	}
	if opt.Mode == "" {
		opt.Mode = Virtual
	}
	if os.Getenv("GOGC") == "" {
		// A fleet is long-lived: let garbage take half of what it takes, not as much again.
		defer debug.SetGCPercent(debug.SetGCPercent(50))
	}
	if len(sc.Variants) == 0 {
		return runOne(ctx, sc, opt)
	}
	var whole *report.Result
	for i := range sc.Variants {
		v := &sc.Variants[i]
		one, err := sc.Variant(v.Name)
		if err != nil {
			return nil, err
		}
		res, err := runOne(ctx, one, opt)
		if err != nil {
			return nil, fmt.Errorf("variant %s: %w", v.Name, err)
		}
		if whole == nil {
			first := *res
			whole = &first
			whole.Verdict, whole.Assertions, whole.Thresholds = report.VerdictPass, nil, nil
		}
		rv := report.Variant{Name: v.Name, Verdict: res.Verdict, Expected: v.Verdict, Holds: res.Verdict == v.Verdict && violates(res, v.Violates), Result: res}
		if !rv.Holds && whole.Verdict == report.VerdictPass {
			whole.Verdict = report.VerdictAssertion
		}
		whole.Variants = append(whole.Variants, rv)
		if res.Verdict == report.VerdictInterrupted {
			whole.Verdict = res.Verdict
			break
		}
	}
	return whole, nil
}

// violates reports whether every named rule failed.
func violates(res *report.Result, names []string) bool {
	for _, name := range names {
		found := false
		for _, a := range res.Assertions {
			found = found || a.Name == name && !a.Holds
		}
		for _, inv := range res.Invariants {
			found = found || inv.ID == name && len(inv.Violations) > 0
		}
		if !found {
			return false
		}
	}
	return true
}

func runOne(ctx context.Context, sc *scenario.Scenario, opt Options) (*report.Result, error) {
	if opt.Mode == Live {
		return runLive(ctx, sc, opt)
	}
	w, err := newWorld(sc, opt)
	if err != nil {
		return nil, err
	}
	defer w.close()
	res, err := w.run(ctx)
	if err != nil {
		return res, err
	}
	return res, w.dump(opt.Dumps)
}
