package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// TestMain makes this test binary the otasim command of the scripts; WORLD says how its world ends.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"otasim": func() { os.Exit(scripted()) }})
}

func scripted() int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	std := Streams{Out: os.Stdout, Err: os.Stderr, Env: os.Getenv, Width: 80}
	return Main(ctx, os.Args[1:], std, func(ctx context.Context, sc *scenario.Scenario, opt RunOptions) (*report.Result, error) {
		r := &report.Result{
			Schema: report.Schema, Scenario: sc.Metadata.Name, Seed: sc.Seed, Mode: opt.Mode, Workers: opt.Workers, Version: opt.Version,
			VirtualSeconds: opt.Until.Seconds(), TraceHash: "00ff", Fleet: report.Fleet{Devices: sc.Devices(), Powered: sc.Devices()},
		}
		for _, a := range sc.Rules() {
			r.Assertions = append(r.Assertions, report.Assertion{Name: a.Name, Kind: string(a.Program.Kind), Expr: a.Program.Source, Holds: os.Getenv("WORLD") != "fails", Actual: "7"})
		}
		if opt.Trace != nil {
			if _, err := io.WriteString(opt.Trace, "a trace\n"); err != nil {
				return nil, err
			}
		}
		if opt.Progress != nil {
			opt.Progress(report.Progress{Virtual: time.Minute, Limit: sc.Duration, Devices: sc.Devices(), Steps: []report.Step{{At: 60, Text: "the job was created"}}})
		}
		switch os.Getenv("WORLD") {
		case "broken":
			return nil, errors.New("sim: the world fell apart")
		case "late":
			r.Verdict = report.VerdictInconclusive
		case "interrupted":
			cancel(ErrInterrupted)
			r.Verdict = report.VerdictInterrupted
		case "terminated":
			cancel(ErrTerminated)
			r.Verdict = report.VerdictInterrupted
		}
		r.Conclude(sc.Scaled)
		return r, nil
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			text, err := os.ReadFile("template/first-update.yaml")
			if err != nil {
				return err
			}
			return os.WriteFile(e.WorkDir+"/good.yaml", text, 0o644)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits,
		},
	})
}

// exits STATUS otasim ARGS...: the command ends with this status.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits STATUS COMMAND...")
	}
	got := "0"
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var code interface{ ExitCode() int }
		if !errors.As(err, &code) {
			ts.Fatalf("%v", err)
		}
		got = strconv.Itoa(code.ExitCode())
	}
	if got != args[0] {
		ts.Fatalf("exit status %s, expected %s", got, args[0])
	}
}
