package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/report/html"
)

func (c *command) reportCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "report RUN",
		Short: "Write the HTML report of a run again",
		Long: `Write the HTML report of a run that was written by otasim run --out dir=DIR
(or --out html=FILE --out json=FILE). RUN is the folder or the result document.`,
		Example: `  otasim run scenarios/first-update.yaml --out dir=runs/first
  otasim report runs/first -o first.html`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("report: which run? A folder of otasim run --out dir=DIR, or a result document")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			results, err := ReadResults(args[0])
			if err != nil {
				return err
			}
			if out == "-" {
				return c.environment(html.Write(c.std.Out, results, nil))
			}
			var buf bytes.Buffer
			if err := html.Write(&buf, results, nil); err != nil {
				return err
			}
			if err := os.WriteFile(out, buf.Bytes(), 0o644); err != nil { //nolint:gosec // a report is for everybody
				return c.environment(err)
			}
			fmt.Fprintf(c.std.Out, "wrote %s\n", out)
			return nil
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "report.html", "file to write, - is standard output")
	return cmd
}

// environment makes an error one of the environment.
func (c *command) environment(err error) error {
	if err == nil {
		return nil
	}
	return &exit{status: ExitEnvironment, text: err.Error()}
}

// ReadResults reads a result document, a list of them, or the one in a folder.
func ReadResults(path string) ([]*report.Result, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, "result.json")
	}
	f, err := os.Open(path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, &exit{status: ExitInvalid, text: fmt.Sprintf("%s: no such file", path), help: "otasim run FILE --out dir=DIR writes one"}
		}
		return nil, &exit{status: ExitEnvironment, text: err.Error()}
	}
	defer f.Close()
	results, err := report.ReadJSON(f)
	if err != nil {
		return nil, &exit{status: ExitInvalid, text: fmt.Sprintf("%s: %v", path, err), help: "a result document is what otasim run --json prints"}
	}
	return results, nil
}
