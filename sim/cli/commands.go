package cli

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/otasim/otasim/sim/scenario"
	"github.com/otasim/otasim/sim/scenario/file"
)

//go:embed schema/*.json
var schemas embed.FS

//go:embed template
var templates embed.FS

func parseTime(s string) (time.Duration, bool) { return file.ParseDuration(s) }

func (c *command) validateCommand() *cobra.Command {
	var sets []string
	cmd := &cobra.Command{
		Use:               "validate FILE...",
		Short:             "Check scenario files: every mistake at once",
		ValidArgsFunction: scenarioFiles,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("validate: which scenario file?")
			}
			good, err := c.load(args, scenario.Options{Sets: sets})
			if err != nil {
				return err
			}
			for _, sc := range good {
				fmt.Fprintf(c.std.Out, "%s: good: %d devices in %s, %s, %s\n", sc.Path, sc.Devices(), count(len(sc.Fleet.Groups), "group"),
					count(len(sc.Updates), "update"), count(len(sc.Assertions)+len(sc.Thresholds), "rule"))
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&sets, "set", nil, "change a value of the scenario: PATH=VALUE (repeatable)")
	return cmd
}

func (c *command) initCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init [DIR]",
		Short: "Make a scenario, its JSON schema and a CI file, ready to run",
		Args:  atMostOne,
		RunE: func(_ *cobra.Command, args []string) error {
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			return c.initDir(dir)
		},
	}
}

func atMostOne(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usage("%s: at most one argument, got %d", cmd.Name(), len(args))
	}
	return nil
}

// initDir writes the template; a file that exists is never replaced.
func (c *command) initDir(dir string) error {
	files := map[string][]byte{}
	err := fs.WalkDir(templates, "template", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := templates.ReadFile(path)
		files[filepath.FromSlash(path[len("template/"):])] = text
		return err
	})
	if err != nil {
		return err
	}
	if files["scenario.schema.json"], err = schemas.ReadFile("schema/scenario.json"); err != nil {
		return err
	}
	names := []string{"first-update.yaml", "scenario.schema.json", "ci.sh"}
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return &exit{status: ExitEnvironment, text: filepath.Join(dir, name) + " exists already; nothing was written"}
		}
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return &exit{status: ExitEnvironment, text: err.Error()}
		}
		mode := os.FileMode(0o644)
		if filepath.Ext(name) == ".sh" {
			mode = 0o755
		}
		if err := os.WriteFile(path, files[name], mode); err != nil {
			return &exit{status: ExitEnvironment, text: err.Error()}
		}
		fmt.Fprintf(c.std.Out, "wrote %s\n", path)
	}
	fmt.Fprintf(c.std.Out, "\nnext: otasim run %s\n", filepath.Join(dir, names[0]))
	return nil
}

func (c *command) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "schema scenario|plan|result",
		Short:     "Print the JSON Schema of scenario files, plan files or results",
		ValidArgs: []string{"scenario", "plan", "result"},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] != "scenario" && args[0] != "plan" && args[0] != "result" {
				return usage("schema: one of scenario, plan, result")
			}
			text, err := schemas.ReadFile("schema/" + args[0] + ".json")
			if err != nil {
				return err
			}
			_, err = c.std.Out.Write(text)
			return err
		},
	}
}

func (c *command) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				enc := json.NewEncoder(c.std.Out)
				enc.SetIndent("", "  ")
				return enc.Encode(map[string]string{"version": Version, "commit": commit(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH})
			}
			fmt.Fprintf(c.std.Out, "otasim %s (%s, %s/%s)\n", Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}
