package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/otasim/otasim/sim/explore"
	"github.com/otasim/otasim/sim/scenario"
)

type exploreFlags struct {
	sets    []string
	seed    string
	variant string
	plan    explore.Plan
	budget  string
	json    bool
	quiet   bool
	dir     string
	things  []string
}

func (c *command) exploreCommand() *cobra.Command {
	var f exploreFlags
	cmd := &cobra.Command{
		Use:   "explore FILE",
		Short: "Search for the power cut or lost message that breaks an update",
		Long: `Run a scenario with one device per group and the real cloud in virtual time, again
and again: power fails at every flash command in every way a command can tear, and
messages are lost, doubled and delayed. The scenario's own faults, attacks and
assertions are left out; the invariants of docs/explore.md judge.

Each failure is reduced to its shortest list of acts and printed with a replay token.
Exit status: 0 nothing found, 99 an invariant was broken, or a state that must be
reached never was.`,
		Example: `  otasim explore scenarios/first-update.yaml
  otasim explore scenarios/power-cut.yaml --only cuts --seeds 8
  otasim explore scenarios/power-cut.yaml --for 10m --state campaign.json`,
		ValidArgsFunction: scenarioFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("explore: which scenario file?")
			}
			return c.explore(cmd.Context(), args[0], &f)
		},
	}
	fl := cmd.Flags()
	fl.StringArrayVar(&f.sets, "set", nil, "change a value of the scenario: PATH=VALUE (repeatable)")
	fl.StringVar(&f.seed, "seed", "", "seed of everything random (default: the scenario's)")
	fl.StringVar(&f.variant, "variant", "", "explore this variant of the file")
	fl.StringSliceVar(&f.plan.Only, "only", nil, "parts of the search: "+strings.Join(explore.Parts(), ", ")+" (default: all)")
	fl.IntVar(&f.plan.Devices, "devices", 0, "devices of the fleet (default: one per group)")
	fl.StringSliceVar(&f.things, "thing", nil, "cut and disturb only these (default: all)")
	fl.IntVar(&f.plan.Seeds, "seeds", 3, "seeds for each random way to tear a command")
	fl.IntVar(&f.plan.Workers, "workers", 0, "threads; what is found does not depend on it (default: cores)")
	fl.StringVar(&f.budget, "for", "", "after the exhaustive parts, swarm until this much wall time has passed")
	fl.Uint64Var(&f.plan.Swarm, "swarm", 200, "swarm runs, each with its own draw of faults and settings")
	fl.StringArrayVar(&f.plan.Reach, "reach", nil, "a named state that must be reached, besides those that the scenario promises by itself (repeatable)")
	fl.StringVar(&f.plan.State, "state", "", "file that keeps the progress: an interrupted search goes on from it")
	fl.StringVar(&f.dir, "out", "", "folder for one scenario file per failure")
	fl.StringVar(&f.plan.Defects, "defect", "", "plant these defects, by id")
	fl.BoolVar(&f.json, "json", false, "write the findings as JSON to standard output")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "no progress")
	return cmd
}

func (c *command) explore(ctx context.Context, path string, f *exploreFlags) error {
	rf := runFlags{seed: f.seed, mode: "virtual"}
	if err := rf.check(); err != nil {
		return err
	}
	if f.budget != "" {
		d, ok := parseTime(f.budget)
		if !ok || d <= 0 {
			return usage("--for %s: expected a duration such as 10m", f.budget)
		}
		f.plan.For = d
	}
	loaded, err := c.load([]string{path}, scenario.Options{Sets: f.sets, Seed: rf.seedValue, Variant: f.variant})
	if err != nil {
		return err
	}
	sc := loaded[0]
	hash, err := explore.FileHash(sc.Path)
	if err != nil {
		return c.environment(err)
	}
	if f.plan.Devices == 0 {
		f.plan.Devices = len(sc.Fleet.Groups)
	}
	base := explore.Case{File: sc.Path, Hash: hash, Variant: f.variant, Seed: sc.Seed, Devices: f.plan.Devices, Sets: f.sets, Bare: true, Defects: f.plan.Defects}
	f.plan.Things = f.things
	if !f.quiet && !f.json {
		f.plan.Progress = c.exploreProgress()
	}
	found, err := explore.Campaign(ctx, base, f.plan)
	if err != nil {
		if errors.Is(err, explore.ErrPlan) {
			return usage("explore: %v", err)
		}
		return &exit{status: ExitInternal, text: err.Error()}
	}
	if f.plan.Progress != nil && c.std.ErrTTY {
		fmt.Fprint(c.std.Err, "\r\x1b[K")
	}
	if f.dir != "" {
		if err := c.saveFailures(context.WithoutCancel(ctx), f.dir, base, found); err != nil {
			return err
		}
	}
	if f.json {
		if err := found.WriteJSON(c.std.Out); err != nil {
			return c.environment(err)
		}
	} else {
		found.Write(c.std.Out)
	}
	switch {
	case ctx.Err() != nil:
		return &exit{status: ExitInterrupted}
	case found.Broken() > 0, len(found.Missed()) > 0:
		return &exit{status: ExitFailed}
	}
	return nil
}

// exploreProgress shows one line, ten times a second on a terminal and every ten seconds elsewhere.
func (c *command) exploreProgress() func(explore.Progress) {
	var mu sync.Mutex
	var shown time.Time
	every := 10 * time.Second
	if c.std.ErrTTY {
		every = 100 * time.Millisecond
	}
	return func(p explore.Progress) {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now() //nolint:forbidigo // of a progress line
		if now.Sub(shown) < every {
			return
		}
		shown = now
		begin, end := "", "\n"
		if c.std.ErrTTY {
			begin, end = "\r\x1b[K", ""
		}
		fmt.Fprintf(c.std.Err, "%s%s%s", begin, p, end)
	}
}

func (c *command) saveFailures(ctx context.Context, dir string, base explore.Case, found *explore.Findings) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return c.environment(err)
	}
	text, err := os.ReadFile(base.File)
	if err != nil {
		return c.environment(err)
	}
	for i := range found.Failures {
		f := &found.Failures[i]
		name := filepath.Join(dir, fmt.Sprintf("%02d-%s.yaml", i+1, f.Invariant))
		made, ok, err := explore.ScenarioFile(ctx, text, f)
		if err != nil {
			return &exit{status: ExitInternal, text: err.Error()}
		}
		if !ok {
			continue
		}
		if err := os.WriteFile(name, made, 0o644); err != nil { //nolint:gosec // a scenario is for everybody
			return c.environment(err)
		}
		f.File = name
	}
	return nil
}

func (c *command) replayCommand() *cobra.Command {
	var file string
	var thing string
	var all, changed bool
	cmd := &cobra.Command{
		Use:   "replay TOKEN",
		Short: "Run exactly one case again and show its timeline",
		Long: `Run the case of a replay token again: the same bytes, the same trace hash. The token
names the scenario file it was made from and holds its hash, the seed, what was
changed and what was done; the file itself must still be there, unchanged.

Exit status: 0 the case ends as before without a broken invariant, 99 an invariant is
broken, 3 the file is missing or has changed, 1 the trace is not that of the token.`,
		Example: "  otasim replay ota1-q1YqU7JS...",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("replay: which token?")
			}
			return c.replay(cmd.Context(), args[0], file, thing, all, changed)
		},
	}
	cmd.Flags().StringVar(&file, "scenario", "", "path of the scenario file, if it is not where the token says")
	cmd.Flags().StringVar(&thing, "thing", "", "show this device (default: the one the case is about)")
	cmd.Flags().BoolVar(&all, "all", false, "show the console and every flash command as well")
	cmd.Flags().BoolVar(&changed, "changed", false, "run it although the scenario file has changed")
	return cmd
}

func (c *command) replay(ctx context.Context, token, file, thing string, all, changed bool) error {
	k, err := explore.ParseToken(token)
	if err != nil {
		return usage("replay: %v", err)
	}
	if file != "" {
		k.File = file
	}
	r := &explore.Recorder{Console: all, Flash: all}
	rep, err := k.Replay(ctx, r, changed)
	switch {
	case errors.Is(err, explore.ErrChanged):
		return &exit{status: ExitInvalid, text: err.Error(), help: "--changed runs it all the same, --scenario FILE names another file"}
	case errors.Is(err, os.ErrNotExist):
		return &exit{status: ExitInvalid, text: err.Error(), help: "--scenario FILE says where the scenario is"}
	case err != nil:
		return &exit{status: ExitInvalid, text: err.Error()}
	}
	w := c.std.Out
	fmt.Fprintf(w, "scenario    %s (%s), seed %d", k.File, k.Hash, k.Seed)
	if k.Variant != "" {
		fmt.Fprintf(w, ", variant %s", k.Variant)
	}
	fmt.Fprintln(w)
	for _, s := range k.Sets {
		fmt.Fprintf(w, "set         %s\n", s)
	}
	if k.Defects != "" {
		fmt.Fprintf(w, "defects     %s\n", k.Defects)
	}
	acts, err := explore.ParseActs(k.Acts)
	if err != nil {
		return usage("replay: %v", err)
	}
	for i, what := range rep.Struck(acts) {
		if what == "" {
			what = "did not take place"
		}
		fmt.Fprintf(w, "act         %s   (%s)\n", acts[i], what)
	}
	fmt.Fprintln(w)
	dev := -1
	if thing != "" {
		if dev = rep.Device(thing); dev < 0 {
			return &exit{status: ExitNothing, text: fmt.Sprintf("no device %s in the case", thing)}
		}
	}
	r.Print(w, dev)
	fmt.Fprintln(w)
	for _, x := range rep.Outcome.Executions {
		fmt.Fprintf(w, "execution   %s of %s: %s\n", x.Job, x.Thing, x.Status)
	}
	for _, a := range rep.Failed() {
		fmt.Fprintf(w, "assertion   %s: does not hold, %s\n", a.Name, a.Actual)
	}
	hash := rep.Outcome.TraceHash
	fmt.Fprintf(w, "trace hash  %s\n", hash)
	if k.Trace != "" && !changed && !strings.HasPrefix(hash, k.Trace) {
		return &exit{status: ExitInternal, text: fmt.Sprintf("the token says %s…: this is not the same run; was it made by another version of otasim?", k.Trace)}
	}
	if len(rep.Found) > 0 {
		f := rep.Found[0]
		fmt.Fprintf(w, "first       %s at %.6f s: %s\n", f.Invariant, f.At.Seconds(), f.Detail)
		if name := rep.Known(&f); name != "" {
			fmt.Fprintf(w, "known       %s: a known limit of this agent, see docs/explore.md\n", name)
		}
		return &exit{status: ExitFailed}
	}
	if len(rep.Failed()) > 0 {
		return &exit{status: ExitFailed}
	}
	return nil
}

func (c *command) traceCommand() *cobra.Command {
	var thing, seed, variant string
	var sets []string
	var devices int
	var blocks bool
	cmd := &cobra.Command{
		Use:   "trace FILE",
		Short: "Show one device of a scenario: flash commands, resets, MQTT, boot decisions, console",
		Example: `  otasim trace scenarios/first-update.yaml --thing esp32-canary-00001
  otasim trace scenarios/rollback-attack.yaml --variant hardened --thing esp32-field-00001`,
		ValidArgsFunction: scenarioFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("trace: which scenario file?")
			}
			rf := runFlags{seed: seed, mode: "virtual"}
			if err := rf.check(); err != nil {
				return err
			}
			loaded, err := c.load(args, scenario.Options{Sets: sets, Seed: rf.seedValue, Variant: variant, Devices: devices})
			if err != nil {
				return err
			}
			sc := loaded[0]
			hash, err := explore.FileHash(sc.Path)
			if err != nil {
				return c.environment(err)
			}
			k := explore.Case{File: sc.Path, Hash: hash, Variant: variant, Seed: sc.Seed, Devices: devices, Sets: sets}
			r := &explore.Recorder{Console: true, Flash: true, Blocks: blocks, Thing: thing}
			rep, err := k.Replay(cmd.Context(), r, false)
			if err != nil {
				return &exit{status: ExitInternal, text: err.Error()}
			}
			dev := 0
			if thing != "" {
				if dev = rep.Device(thing); dev < 0 {
					return &exit{status: ExitNothing, text: fmt.Sprintf("no device %s", thing), help: "names are like " + rep.Thing(0)}
				}
			}
			fmt.Fprintf(c.std.Out, "%s, seed %d\n\n", rep.Thing(dev), sc.Seed)
			r.Print(c.std.Out, dev)
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&thing, "thing", "", "name of the device (default: the first)")
	fl.StringVar(&seed, "seed", "", "seed of everything random (default: the scenario's)")
	fl.StringVar(&variant, "variant", "", "run this variant of the file")
	fl.StringArrayVar(&sets, "set", nil, "change a value of the scenario: PATH=VALUE (repeatable)")
	fl.IntVar(&devices, "devices", 0, "scale the fleet to this many devices")
	fl.BoolVar(&blocks, "blocks", false, "show every block of a file")
	return cmd
}
