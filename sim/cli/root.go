// Package cli is the otasim command.
//
// Standard output carries what was asked for (a summary, or the document of --json) and nothing else; progress, messages
// and logs go to standard error. Exit statuses are constants below.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
	"github.com/otasim/otasim/sim/scenario/file"
)

// Version of this otasim.
const Version = "0.1.0"

// Exit statuses.
const (
	ExitOK           = 0
	ExitInternal     = 1   // a fault of the simulator itself
	ExitUsage        = 2   // a wrong flag or argument
	ExitInvalid      = 3   // an invalid file; positions were printed
	ExitEnvironment  = 4   // a port in use, no permission, a full disk
	ExitNothing      = 5   // nothing selected
	ExitInconclusive = 97  // a limit came before the verdict
	ExitFailed       = 99  // an expectation, invariant or threshold failed
	ExitInterrupted  = 130 // Ctrl-C
	ExitTerminated   = 143 // SIGTERM
)

// RunOptions say how to run a scenario.
type RunOptions struct {
	Mode     string // virtual or live
	Workers  int    // 0: as many as there are cores
	Until    time.Duration
	Timeout  time.Duration
	Progress func(report.Progress) // nil: not wanted
	Trace    io.Writer             // nil: not wanted
	Version  string
	Detail   bool              // collect what charts are drawn from
	Dumps    map[string]string // file by thing: its flash at the end
}

// Runner runs one scenario. It returns a result whenever there is one, also with an error and when ctx ends.
type Runner func(ctx context.Context, sc *scenario.Scenario, opt RunOptions) (*report.Result, error)

// Streams are what the command reads from and writes to.
type Streams struct {
	Out, Err io.Writer
	Env      func(string) string
	OutTTY   bool
	ErrTTY   bool
	Width    int // columns of the terminal behind Err
}

// exit is an error that carries an exit status. An empty text prints nothing.
type exit struct {
	status int
	text   string
	help   string
}

func (e *exit) Error() string { return e.text }

func usage(format string, args ...any) error {
	return &exit{status: ExitUsage, text: fmt.Sprintf(format, args...)}
}

// Main runs the command line and returns the exit status.
func Main(ctx context.Context, args []string, std Streams, run Runner) int {
	c := &command{std: std, run: run}
	root := c.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	var e *exit
	if !errors.As(err, &e) {
		e = &exit{status: ExitUsage, text: err.Error()}
		// Cobra proposes a command below its message; here it has the form of every other proposal.
		if text, tail, found := strings.Cut(e.text, "\n\nDid you mean this?\n"); found {
			e.text, e.help = text, fmt.Sprintf("did you mean %q?", strings.TrimSpace(strings.SplitN(strings.TrimSpace(tail), "\n", 2)[0]))
		}
	}
	if e.text != "" {
		fmt.Fprintf(std.Err, "otasim: %s\n", strings.TrimSpace(e.text))
		if e.help != "" {
			fmt.Fprintf(std.Err, "  = help: %s\n", e.help)
		} else if e.status == ExitUsage {
			fmt.Fprintf(std.Err, "  = help: otasim --help lists commands and flags\n")
		}
	}
	return e.status
}

// command is one invocation.
type command struct {
	std   Streams
	run   Runner
	color string
}

func (c *command) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "otasim",
		Short: "Simulate over-the-air firmware updates of ESP32 fleets",
		Long: `otasim runs whole over-the-air firmware updates of ESP32 fleets in one process: bucket,
code signer, update and job services, MQTT broker, and thousands of devices with a
byte-accurate flash, in virtual time and reproducible from a seed.`,
		Example: `  otasim init demo                  make a scenario that runs
  otasim validate demo/*.yaml       check it
  otasim run demo/first-update.yaml run it`,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
		Args: cobra.NoArgs,
	}
	root.SetOut(c.std.Out)
	root.SetErr(c.std.Err)
	root.PersistentFlags().StringVar(&c.color, "color", "auto", "auto, always or never")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		switch c.color {
		case "auto", "always", "never":
			return nil
		}
		return usage("--color %s: one of auto, always, never", c.color)
	}
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(
		c.runCommand(),
		c.validateCommand(),
		c.initCommand(),
		c.schemaCommand(),
		c.explainCommand(),
		c.flashCommand(),
		c.imageCommand(),
		c.serveCommand(),
		c.fleetCommand(),
		c.reportCommand(),
		c.exploreCommand(),
		c.replayCommand(),
		c.traceCommand(), c.compareCommand(),
		c.planCommand(),
		c.calibrateCommand(),
		c.versionCommand(),
	)
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	root.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		var names []string
		for _, sub := range cmd.Commands() {
			if !sub.Hidden {
				names = append(names, sub.Name())
			}
		}
		return &exit{status: ExitUsage, text: fmt.Sprintf("unknown command %q", args[0]), help: file.DidYouMean(args[0], names)}
	}
	return root
}

// flagError proposes the flag that was meant.
func flagError(cmd *cobra.Command, err error) error {
	e := &exit{status: ExitUsage, text: err.Error()}
	var missing *pflag.NotExistError
	if errors.As(err, &missing) {
		name := missing.GetSpecifiedName()
		var known []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
		cmd.InheritedFlags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
		e.text = "unknown flag --" + name
		if near := file.Nearest(name, known); near != "" {
			e.help = fmt.Sprintf("did you mean --%s?", near)
		} else {
			e.help = fmt.Sprintf("otasim %s --help lists the flags", cmd.Name())
		}
	}
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		e.text = fmt.Sprintf("--%s %s: not of type %s", invalid.GetFlag().Name, invalid.GetValue(), invalid.GetFlag().Value.Type())
	}
	return e
}

// colored decides for one stream.
func (c *command) colored(tty bool) bool {
	switch {
	case c.color == "always":
		return true
	case c.color == "never" || c.std.Env("NO_COLOR") != "" || c.std.Env("TERM") == "dumb":
		return false
	case c.std.Env("FORCE_COLOR") != "":
		return true
	}
	return tty
}

// ascii reports whether the locale has no UTF-8.
func (c *command) ascii() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := c.std.Env(name); v != "" {
			v = strings.ToLower(v)
			return !strings.Contains(v, "utf-8") && !strings.Contains(v, "utf8")
		}
	}
	return false
}

// problems prints mistakes in files and says whether one of them is an error.
func (c *command) problems(ps []scenario.Problem) (failed bool) {
	errs := 0
	for _, p := range ps {
		p.Write(c.std.Err, c.colored(c.std.ErrTTY))
		if c.std.Env("GITHUB_ACTIONS") == "true" {
			fmt.Fprintf(c.std.Err, "::%s file=%s,line=%d,col=%d::%s\n", p.Level(), p.Src.Name, p.Line, p.Col, p.Text)
		}
		if !p.Warning {
			errs++
		}
	}
	return errs > 0
}

// load reads scenario files; folders stand for the *.yaml in them. Nothing is returned unless all of them are good.
func (c *command) load(paths []string, opt scenario.Options) ([]*scenario.Scenario, error) {
	files, err := expand(paths)
	if err != nil {
		return nil, err
	}
	var out []*scenario.Scenario
	bad, mistakes := 0, 0
	for _, path := range files {
		sc, ps, err := scenario.Load(path, opt)
		switch {
		case errors.Is(err, scenario.ErrUsage):
			return nil, &exit{status: ExitUsage, text: strings.TrimPrefix(err.Error(), "usage: ")}
		case errors.Is(err, os.ErrNotExist):
			return nil, &exit{status: ExitInvalid, text: fmt.Sprintf("%s: no such file", path), help: nearby(path)}
		case err != nil:
			return nil, &exit{status: ExitInvalid, text: err.Error()}
		}
		if c.problems(ps) {
			bad++
			for _, p := range ps {
				if !p.Warning {
					mistakes++
				}
			}
			continue
		}
		out = append(out, sc)
	}
	if bad > 0 {
		return nil, &exit{status: ExitInvalid, text: fmt.Sprintf("%s in %s", count(mistakes, "mistake"), count(bad, "file")), help: "otasim explain KEY describes a key of the scenario file"}
	}
	return out, nil
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// commit is the revision the binary was built from, "" if unknown.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return ""
}
