// Command otasim simulates over-the-air firmware updates of ESP32 fleets.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"github.com/otasim/otasim/sim"
	"github.com/otasim/otasim/sim/cli"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

func main() {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		// The first signal ends the run in order, the second at once.
		if <-signals == syscall.SIGTERM {
			cancel(cli.ErrTerminated)
		} else {
			cancel(cli.ErrInterrupted)
		}
		if <-signals == syscall.SIGTERM {
			os.Exit(cli.ExitTerminated)
		}
		os.Exit(cli.ExitInterrupted)
	}()
	width, _, err := term.GetSize(int(os.Stderr.Fd()))
	if err != nil {
		width = 80
	}
	std := cli.Streams{
		Out: os.Stdout, Err: os.Stderr, Env: os.Getenv, Width: width,
		OutTTY: term.IsTerminal(int(os.Stdout.Fd())), ErrTTY: err == nil && term.IsTerminal(int(os.Stderr.Fd())),
	}
	os.Exit(cli.Main(ctx, os.Args[1:], std, run))
}

// run is the world behind the command line.
func run(ctx context.Context, sc *scenario.Scenario, opt cli.RunOptions) (*report.Result, error) {
	return sim.Run(ctx, sc, sim.Options{
		Mode: opt.Mode, Workers: opt.Workers, Until: opt.Until, Timeout: opt.Timeout,
		Progress: opt.Progress, Trace: opt.Trace, Version: opt.Version, Detail: opt.Detail, Dumps: opt.Dumps,
	})
}
