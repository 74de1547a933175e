package cli

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/otasim/otasim/sim"
	"github.com/otasim/otasim/sim/explore"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// Causes with which the context of Main may be cancelled.
var (
	ErrInterrupted = errors.New("interrupted")
	ErrTerminated  = errors.New("terminated")
)

// runFlags are the flags of run.
type runFlags struct {
	seed      string
	devices   int
	repeat    int
	sets      []string
	mode      string
	workers   int
	json      bool
	out       []string
	dumps     []string
	until     string
	timeout   string
	quiet     bool
	untilD    time.Duration
	timeoutD  time.Duration
	seedValue *uint64
	dumpFiles map[string]string
}

func (c *command) runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run FILE...",
		Short: "Run scenario files",
		Long: `Run scenario files and judge them.

Exit status: 0 passed, 2 usage, 3 an invalid file, 4 environment, 97 inconclusive,
99 an expectation, invariant or threshold failed, 130 interrupted.`,
		Example: `  otasim run scenarios/first-update.yaml
  otasim run scenarios/first-update.yaml --devices 100 --seed 7
  otasim run scenarios/first-update.yaml --set firmware.1.1.0.image=build/app.bin
  otasim run scenarios/first-update.yaml --json | jq .fleet
  otasim run scenarios/first-update.yaml --repeat 10 --out html=report.html
  otasim run scenarios --out junit=result.xml --quiet`,
		ValidArgsFunction: scenarioFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("run: which scenario file?")
			}
			return c.runFiles(cmd.Context(), args, &f)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.seed, "seed", "", "seed of everything random: a number, or random (default: the scenario's)")
	fl.IntVar(&f.repeat, "repeat", 1, "run each file with so many seeds, one after the other")
	fl.IntVar(&f.devices, "devices", 0, "scale the fleet to this many devices")
	fl.StringArrayVar(&f.sets, "set", nil, "change a value of the scenario: PATH=VALUE (repeatable)")
	fl.StringVar(&f.mode, "mode", "virtual", "virtual: modelled network and time; live: real sockets and the real clock")
	fl.IntVar(&f.workers, "workers", 0, "threads; the result does not depend on it (default: cores)")
	fl.BoolVar(&f.json, "json", false, "write the result document to standard output")
	fl.StringArrayVar(&f.out, "out", nil, "write KIND=TARGET: json, junit, html, csv, trace, dir; - is standard output (repeatable)")
	fl.StringArrayVar(&f.dumps, "dump", nil, "write the flash of a device at the end: THING=FILE (repeatable)")
	fl.StringVar(&f.until, "until", "", "stop at this virtual time")
	fl.StringVar(&f.timeout, "timeout", "", "stop after this much wall time")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "no progress, no summary")
	return cmd
}

func scenarioFiles(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}

// check reads the flags that need more than their type.
func (f *runFlags) check() error {
	switch f.seed {
	case "":
	case "random":
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return err
		}
		v := uint64(binary.LittleEndian.Uint32(b[:]))
		f.seedValue = &v
	default:
		v, err := strconv.ParseUint(f.seed, 10, 64)
		if err != nil {
			return usage("--seed %s: a whole number or random", f.seed)
		}
		f.seedValue = &v
	}
	for _, d := range []struct {
		name, text string
		to         *time.Duration
	}{{"until", f.until, &f.untilD}, {"timeout", f.timeout, &f.timeoutD}} {
		if d.text == "" {
			continue
		}
		v, ok := parseTime(d.text)
		if !ok || v <= 0 {
			return usage("--%s %s: expected a duration such as 90s or 1h30m", d.name, d.text)
		}
		*d.to = v
	}
	var err error
	if f.dumpFiles, err = parseDumps(f.dumps); err != nil {
		return err
	}
	if f.devices < 0 {
		return usage("--devices %d: at least 1", f.devices)
	}
	if f.repeat > 1 && len(f.dumps) > 0 {
		return usage("--dump: the flash of one run; leave out --repeat")
	}
	if f.workers < 0 {
		return usage("--workers %d: at least 1", f.workers)
	}
	if f.mode != "virtual" && f.mode != "live" {
		return usage("--mode %s: one of virtual, live", f.mode)
	}
	return nil
}

// runFiles runs the files one after the other and prints what they showed.
func (c *command) runFiles(ctx context.Context, args []string, f *runFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	if f.repeat < 1 {
		return usage("--repeat %d: at least 1", f.repeat)
	}
	outs, err := parseOutputs(f.out, f.json)
	if err != nil {
		return err
	}
	scenarios, err := c.load(args, scenario.Options{Sets: f.sets, Devices: f.devices, Seed: f.seedValue})
	if err != nil {
		return err
	}
	if f.repeat > 1 {
		if slices.ContainsFunc(outs, func(o output) bool { return o.kind == "trace" }) {
			return usage("--out trace: the trace of one run; leave out --repeat")
		}
		if scenarios, err = c.repeats(scenarios, f); err != nil {
			return err
		}
	}
	trace, err := c.prepare(outs)
	if err != nil {
		return err
	}
	if f.json {
		outs = append(outs, output{"json", "-"})
	}
	var results []*report.Result
	var internal error
	for _, sc := range scenarios {
		r, err := c.runOne(ctx, sc, f, trace, wantsDetail(outs))
		if r == nil {
			r = &report.Result{Schema: report.Schema, Scenario: sc.Metadata.Name, Seed: sc.Seed, Mode: f.mode, Workers: f.workers, Version: Version, Verdict: report.VerdictError}
		}
		if err != nil {
			r.Verdict, r.Error, internal = report.VerdictError, err.Error(), err
		}
		results = append(results, r)
		if ctx.Err() != nil {
			break
		}
	}
	if trace != nil {
		if err := trace.Close(); err != nil {
			return &exit{status: ExitEnvironment, text: err.Error()}
		}
	}
	repeat := make([]string, len(results))
	for i := range results {
		repeat[i] = again(scenarios[i], f)
	}
	names, err := c.write(outs, results, repeat)
	if !f.quiet && !f.json {
		w, tty := c.std.Out, c.std.OutTTY
		if takesStdout(outs) {
			w, tty = c.std.Err, c.std.ErrTTY
		}
		groups := report.Repeats(results)
		if f.repeat == 1 {
			groups = groups[:0]
			for _, r := range results {
				groups = append(groups, []*report.Result{r})
			}
		}
		at := 0
		for i, group := range groups {
			n := report.Shown(group)
			style := report.Style{Color: c.colored(tty), ASCII: c.ascii(), Again: repeat[at+n]}
			if i == len(groups)-1 {
				style.Files = names
			}
			group[n].WriteSummary(w, style)
			if len(group) > 1 {
				report.WriteRepeats(w, group)
			}
			at += len(group)
		}
		if len(groups) > 1 {
			summarize(w, results)
		}
	}
	if err != nil {
		return err
	}
	return c.status(ctx, results, internal, f.quiet || f.json)
}

// repeats loads each scenario again with the seeds that follow its own.
func (c *command) repeats(scenarios []*scenario.Scenario, f *runFlags) (out []*scenario.Scenario, err error) {
	for _, sc := range scenarios {
		out = append(out, sc)
		for n := 1; n < f.repeat; n++ {
			seed := sc.Seed + uint64(n)
			next, _, err := scenario.Load(sc.Path, scenario.Options{Sets: f.sets, Devices: f.devices, Seed: &seed})
			if err != nil || next == nil {
				return nil, &exit{status: ExitInvalid, text: fmt.Sprintf("%s, seed %d: %v", sc.Path, seed, err)}
			}
			out = append(out, next)
		}
	}
	return out, nil
}

// runOne runs a scenario with its progress on standard error.
func (c *command) runOne(ctx context.Context, sc *scenario.Scenario, f *runFlags, trace io.Writer, detail bool) (*report.Result, error) {
	opt := RunOptions{Mode: f.mode, Workers: f.workers, Until: f.untilD, Timeout: f.timeoutD, Version: Version, Detail: detail, Dumps: f.dumpFiles}
	if trace != nil {
		opt.Trace = trace
	}
	if !f.quiet && !f.json {
		live := &report.Live{W: c.std.Err, Terminal: c.std.ErrTTY && c.std.Env("CI") == "" && c.std.Env("TERM") != "dumb",
			Width: c.std.Width, Now: time.Now, Name: sc.Metadata.Name, Seed: sc.Seed}
		opt.Progress = live.Show
		defer live.Done()
	}
	res, err := c.run(ctx, sc, opt)
	if res != nil && f.mode == "virtual" {
		tokens(sc, f, "", res)
		for i := range res.Variants {
			tokens(sc, f, res.Variants[i].Name, res.Variants[i].Result)
		}
	}
	return res, err
}

// tokens gives a run that failed the token that replays it: to each violation, and to the notes.
func tokens(sc *scenario.Scenario, f *runFlags, variant string, res *report.Result) {
	switch res.Verdict {
	case report.VerdictAssertion, report.VerdictSafety, report.VerdictLiveness, report.VerdictThreshold:
	default:
		return
	}
	if len(res.Variants) > 0 || res.TraceHash == "" || len(f.dumpFiles) > 0 {
		return // each variant has its own; a dump is no part of the scenario
	}
	hash, err := explore.FileHash(sc.Path)
	if err != nil {
		return
	}
	k := explore.Case{File: sc.Path, Hash: hash, Variant: variant, Seed: sc.Seed, Devices: f.devices, Sets: f.sets, Trace: res.TraceHash[:min(16, len(res.TraceHash))]}
	token := k.Token()
	for i := range res.Invariants {
		for j := range res.Invariants[i].Violations {
			res.Invariants[i].Violations[j].Replay = token
		}
	}
	res.Notes = append(res.Notes, "again: otasim replay "+token)
}

// status turns verdicts into the exit status: the simulator's own fault first, then an interruption, then the worst verdict.
func (c *command) status(ctx context.Context, results []*report.Result, internal error, silent bool) error {
	if internal != nil {
		if errors.Is(internal, sim.ErrThing) {
			return &exit{status: ExitUsage, text: "--dump: " + internal.Error()}
		}
		var environment interface{ Environment() bool }
		if errors.As(internal, &environment) && environment.Environment() {
			return &exit{status: ExitEnvironment, text: internal.Error()}
		}
		return &exit{status: ExitInternal, text: internal.Error(), help: "this is a fault of otasim: please report it with the scenario file and the seed"}
	}
	if ctx.Err() != nil {
		if errors.Is(context.Cause(ctx), ErrTerminated) {
			return &exit{status: ExitTerminated, text: "terminated: the result is partial"}
		}
		return &exit{status: ExitInterrupted, text: "interrupted: the result is partial"}
	}
	worst := 0
	text := ""
	for _, r := range results {
		if s := report.ExitStatus(r.Verdict); s > worst || s == ExitInternal {
			worst = s
			text = fmt.Sprintf("%s: %s", r.Scenario, r.Verdict)
			if s == ExitInternal {
				break
			}
		}
	}
	if worst == 0 {
		return nil
	}
	if !silent {
		text = "" // the summary said it
	}
	return &exit{status: worst, text: text, help: "otasim explain " + strconv.Itoa(worst) + " says what this exit status means"}
}

// again is the command that repeats a run.
func again(sc *scenario.Scenario, f *runFlags) string {
	words := []string{"otasim", "run", quote(sc.Path), "--seed", strconv.FormatUint(sc.Seed, 10)}
	if f.devices > 0 {
		words = append(words, "--devices", strconv.Itoa(f.devices))
	}
	for _, s := range f.sets {
		words = append(words, "--set", quote(s))
	}
	if f.mode != "virtual" {
		words = append(words, "--mode", f.mode)
	}
	if f.until != "" {
		words = append(words, "--until", f.until)
	}
	return strings.Join(words, " ")
}

// quote makes a word safe for a shell.
func quote(s string) string {
	if strings.ContainsAny(s, " \t'\"\\$&;|<>()[]{}*?!#~`") {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

// summarize prints one line per scenario of a suite.
func summarize(w io.Writer, results []*report.Result) {
	passed := 0
	fmt.Fprintln(w)
	for _, r := range results {
		fmt.Fprintf(w, "  %-12s %s\n", r.Verdict, r.Scenario)
		if r.Verdict == report.VerdictPass {
			passed++
		}
	}
	fmt.Fprintf(w, "\n  %d of %d passed\n", passed, len(results))
}
