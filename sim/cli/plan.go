package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/otasim/otasim/sim/plan"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/report/html"
	"github.com/otasim/otasim/sim/scenario"
	"github.com/otasim/otasim/sim/scenario/file"
)

// planFlags are the flags of plan.
type planFlags struct {
	over    plan.Overrides
	workers int
	dir     string
	json    bool
	out     []string
	quiet   bool
}

// planKinds are the kinds of --out that plan knows.
var planKinds = []string{"csv", "jsonl", "json", "html"}

func (c *command) planCommand() *cobra.Command {
	var f planFlags
	cmd := &cobra.Command{
		Use:   "plan FILE",
		Short: "Plan a rollout: run a scenario at every point of a grid and compare",
		Long: `Run a scenario at every point of a grid, with several seeds each, and say which
point is best: how long, how much, how risky.

Finished runs are kept; a plan that was interrupted goes on where it was.

Exit status: 0 a point keeps every constraint, 2 usage, 3 an invalid file, 99 no
point does, 130 interrupted.`,
		Example: `  otasim plan scenarios/plans/block-size-and-protocol.yaml
  otasim plan night.yaml --objective cost --constraint "time_to_99 < 6h"
  otasim plan night.yaml --out html=night.html --out csv=night.csv`,
		ValidArgsFunction: scenarioFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("plan: which plan file?")
			}
			return c.plan(cmd.Context(), args[0], &f)
		},
	}
	fl := cmd.Flags()
	fl.StringArrayVar(&f.over.Minimize, "objective", nil, "metric that should be small; the first one decides (repeatable; instead of the plan's)")
	fl.StringArrayVar(&f.over.Constraints, "constraint", nil, `what every run must keep: "time_to_99 < 6h" (repeatable; with the plan's)`)
	fl.IntVar(&f.over.Seeds, "seeds", 0, "runs of each point (default: the plan's)")
	fl.IntVar(&f.over.Devices, "devices", 0, "scale the fleet to this many devices")
	fl.IntVar(&f.workers, "workers", 0, "runs at a time (default: cores)")
	fl.StringVar(&f.dir, "dir", "", "folder that keeps finished runs (default .otasim/plans/NAME)")
	fl.BoolVar(&f.json, "json", false, "write the JSON document to standard output")
	fl.StringArrayVar(&f.out, "out", nil, "write KIND=TARGET: csv, jsonl, json, html; - is standard output (repeatable)")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "no progress, no table")
	return cmd
}

func (c *command) plan(ctx context.Context, path string, f *planFlags) error {
	outs, err := parsePlanOutputs(f.out, f.json)
	if err != nil {
		return err
	}
	if f.over.Seeds < 0 || f.over.Devices < 0 || f.workers < 0 {
		return usage("plan: --seeds, --devices and --workers are at least 1")
	}
	p, problems, err := plan.Load(path, f.over)
	switch {
	case errors.Is(err, plan.ErrUsage):
		return usage("%s", strings.TrimPrefix(err.Error(), "usage: "))
	case errors.Is(err, os.ErrNotExist):
		return &exit{status: ExitInvalid, text: path + ": no such file", help: nearby(path)}
	case err != nil:
		return &exit{status: ExitInvalid, text: err.Error()}
	}
	if c.problems(problems) || p == nil {
		return &exit{status: ExitInvalid, text: fmt.Sprintf("%s in %s", count(len(problems), "mistake"), path), help: "otasim schema plan prints what a plan may hold"}
	}
	if f.dir == "" {
		f.dir = p.Folder()
	}
	e := plan.Execution{Dir: f.dir, Parallel: f.workers, Run: func(ctx context.Context, sc *scenario.Scenario, until time.Duration) (*report.Result, error) {
		return c.run(ctx, sc, RunOptions{Mode: "virtual", Workers: 1, Until: until, Version: Version})
	}}
	if e.Parallel == 0 {
		e.Parallel = runtime.GOMAXPROCS(0)
	}
	if !f.quiet && !f.json {
		fmt.Fprintf(c.std.Err, "%s, %s each; finished runs are kept in %s\n", count(len(p.Points), "point"), count(p.Seeds, "run"), f.dir)
		e.Progress = c.planProgress()
	}
	runs, err := p.Carry(ctx, e)
	stopped := ctx.Err() != nil
	if err != nil && !stopped {
		status := ExitInternal
		if errors.Is(err, plan.ErrOtherPlan) {
			status = ExitInvalid
		} else if errors.Is(err, os.ErrPermission) || errors.As(err, new(*os.PathError)) {
			status = ExitEnvironment
		}
		return &exit{status: status, text: err.Error()}
	}
	j := p.Judge(runs)
	if err := c.writePlan(outs, j); err != nil {
		return err
	}
	if !f.quiet && !slices.ContainsFunc(outs, func(o output) bool { return o.target == "-" }) {
		j.WriteTable(c.std.Out, 60)
	}
	switch {
	case stopped && errors.Is(context.Cause(ctx), ErrTerminated):
		return &exit{status: ExitTerminated, text: "terminated: run it again to go on"}
	case stopped:
		return &exit{status: ExitInterrupted, text: "interrupted: run it again to go on"}
	case j.Best == nil:
		return &exit{status: ExitFailed, text: "no point keeps every constraint"}
	}
	return nil
}

// planProgress is one line a run, or at most one a second.
func (c *command) planProgress() func(done, total int, r *plan.Run) {
	start := time.Now()
	last, before := start, -1 // runs that an earlier call has made
	return func(done, total int, r *plan.Run) {
		now := time.Now()
		if before < 0 {
			before = done - 1
		}
		if done < total && now.Sub(last) < time.Second {
			return
		}
		last = now
		left := time.Duration(float64(now.Sub(start)) / float64(done-before) * float64(total-done))
		fmt.Fprintf(c.std.Err, "  %d of %d runs, %s left: %s, seed %d: %s\n", done, total, report.Clock(left.Round(time.Second)), r.Point, r.Seed, r.Verdict)
	}
}

func parsePlanOutputs(values []string, stdout bool) (outs []output, err error) {
	if stdout {
		outs = append(outs, output{"json", "-"})
	}
	for _, v := range values {
		kind, target, ok := strings.Cut(v, "=")
		if !ok || target == "" {
			return nil, usage("--out %s: expected KIND=TARGET such as csv=plan.csv, - is standard output", v)
		}
		if !slices.Contains(planKinds, kind) {
			return nil, &exit{status: ExitUsage, text: fmt.Sprintf("--out %s: unknown kind %q: one of %s", v, kind, strings.Join(planKinds, ", ")), help: file.DidYouMean(kind, planKinds)}
		}
		if target == "-" && stdout {
			return nil, usage("--out %s: standard output is already taken", v)
		}
		stdout = stdout || target == "-"
		outs = append(outs, output{kind, target})
	}
	return outs, nil
}

func (c *command) writePlan(outs []output, j *plan.Judgement) error {
	writers := map[string]func(io.Writer) error{
		"csv": j.WriteCSV, "jsonl": j.WriteJSONLines,
		"json": func(w io.Writer) error {
			enc := json.NewEncoder(w)
			enc.SetIndent("", "  ")
			enc.SetEscapeHTML(false)
			return enc.Encode(j.Document())
		},
		"html": func(w io.Writer) error { return html.WritePlan(w, j) },
	}
	for _, o := range outs {
		write := writers[o.kind]
		if o.target == "-" {
			if err := write(c.std.Out); err != nil {
				return c.environment(err)
			}
			continue
		}
		f, err := os.Create(o.target)
		if err != nil {
			return c.environment(err)
		}
		if err := errors.Join(write(f), f.Close()); err != nil {
			return c.environment(err)
		}
	}
	return nil
}
