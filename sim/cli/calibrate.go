package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/otasim/otasim/sim/calibrate"
	"github.com/otasim/otasim/sim/report/html"
	"github.com/otasim/otasim/sim/scenario/file"
)

func (c *command) calibrateCommand() *cobra.Command {
	var size, fixed string
	var out []string
	cmd := &cobra.Command{
		Use:   "calibrate FILE.csv",
		Short: "Fit a fleet to the times of real job executions",
		Long: `Fit a fleet to the times of real job executions: how many devices are always
there, how often the others wake up, how fast their links are.

FILE.csv has the columns queuedAt, startedAt, lastUpdatedAt and status, as
ListJobExecutionsForJob gives them. The part of a scenario that makes such a
fleet goes to standard output, the fits to standard error.`,
		Example: `  otasim calibrate executions.csv --size 1MiB > fleet.yaml
  otasim calibrate executions.csv --size 1MiB --out html=fit.html`,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("calibrate: which CSV file?")
			}
			bytesOf, ok := file.ParseSize(size)
			if !ok || bytesOf == 0 {
				return usage("--size %s: expected the size of the update, such as 1MiB", size)
			}
			rest, ok := parseTime(fixed)
			if !ok {
				return usage("--fixed %s: expected a duration such as 20s", fixed)
			}
			f, err := os.Open(args[0])
			if err != nil {
				return &exit{status: ExitInvalid, text: err.Error(), help: nearby(args[0])}
			}
			defer f.Close()
			all, err := calibrate.Read(f)
			if errors.Is(err, calibrate.ErrInput) {
				return &exit{status: ExitInvalid, text: args[0] + ": " + strings.TrimPrefix(err.Error(), "calibrate: ")}
			}
			if err != nil {
				return c.environment(err)
			}
			field := calibrate.Analyse(all, int64(bytesOf), rest)
			for _, o := range out {
				kind, target, _ := strings.Cut(o, "=")
				if kind != "html" || target == "" {
					return usage("--out %s: expected html=FILE", o)
				}
				var page bytes.Buffer
				if err := html.WriteField(&page, field); err != nil {
					return err
				}
				if err := os.WriteFile(target, page.Bytes(), 0o644); err != nil { //nolint:gosec // a report is for everybody
					return c.environment(err)
				}
			}
			field.WriteSummary(c.std.Err)
			fmt.Fprintln(c.std.Err)
			field.WriteYAML(c.std.Out)
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&size, "size", "1MiB", "size of the update that was rolled out")
	fl.StringVar(&fixed, "fixed", "20s", "part of an update's time that is not download: verification, restart, self-test")
	fl.StringArrayVar(&out, "out", nil, "write html=FILE: the fits as pictures")
	return cmd
}
