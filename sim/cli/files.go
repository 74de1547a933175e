package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/report/html"
	"github.com/otasim/otasim/sim/scenario/file"
)

// expand replaces folders by the scenario files in them.
func expand(paths []string) ([]string, error) {
	var out []string
	for _, p := range paths {
		info, err := os.Stat(p)
		if err != nil || !info.IsDir() {
			out = append(out, p)
			continue
		}
		entries, err := os.ReadDir(p)
		if err != nil {
			return nil, &exit{status: ExitEnvironment, text: err.Error()}
		}
		for _, e := range entries {
			if ext := filepath.Ext(e.Name()); !e.IsDir() && (ext == ".yaml" || ext == ".yml") {
				out = append(out, filepath.Join(p, e.Name()))
			}
		}
	}
	if len(out) == 0 {
		return nil, &exit{status: ExitNothing, text: "no scenario file in " + strings.Join(paths, ", ")}
	}
	return out, nil
}

// nearby proposes a file for one that is not there.
func nearby(path string) string {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return ""
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if near := file.Nearest(filepath.Base(path), names); near != "" {
		return fmt.Sprintf("did you mean %q?", filepath.Join(filepath.Dir(path), near))
	}
	return ""
}

// output is one --out KIND=TARGET.
type output struct {
	kind, target string
}

// outputKinds are the kinds in the order they are listed.
var outputKinds = []string{"json", "junit", "html", "csv", "trace", "dir"}

func parseOutputs(values []string, json bool) ([]output, error) {
	var out []output
	stdout := json
	for _, v := range values {
		kind, target, ok := strings.Cut(v, "=")
		if !ok || target == "" {
			return nil, usage("--out %s: expected KIND=TARGET such as junit=result.xml, - is standard output", v)
		}
		if !slices.Contains(outputKinds, kind) {
			return nil, &exit{status: ExitUsage, text: fmt.Sprintf("--out %s: unknown kind %q", v, kind), help: file.DidYouMean(kind, outputKinds)}
		}
		if target == "-" {
			if kind == "dir" {
				return nil, usage("--out dir=-: a folder is needed")
			}
			if stdout {
				return nil, usage("--out %s: standard output is already taken", v)
			}
			stdout = true
		}
		out = append(out, output{kind, target})
	}
	return out, nil
}

// wantsDetail reports whether one of the outputs needs what charts are drawn from.
func wantsDetail(outs []output) bool {
	return slices.ContainsFunc(outs, func(o output) bool { return o.kind == "html" || o.kind == "dir" })
}

// takesStdout reports whether one of the outputs is standard output.
func takesStdout(outs []output) bool {
	return slices.ContainsFunc(outs, func(o output) bool { return o.target == "-" })
}

// prepare makes sure that every target can be written before anything runs, and opens the trace.
func (c *command) prepare(outs []output) (trace io.WriteCloser, err error) {
	for _, o := range outs {
		if o.target == "-" {
			if o.kind == "trace" {
				trace = nopCloser{c.std.Out}
			}
			continue
		}
		if o.kind == "dir" {
			if err := os.MkdirAll(o.target, 0o755); err != nil {
				return nil, &exit{status: ExitEnvironment, text: err.Error()}
			}
			continue
		}
		f, err := os.Create(o.target)
		if err != nil {
			return nil, &exit{status: ExitEnvironment, text: err.Error()}
		}
		if o.kind == "trace" {
			trace = f
			continue
		}
		if err := f.Close(); err != nil {
			return nil, &exit{status: ExitEnvironment, text: err.Error()}
		}
	}
	return trace, nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// write writes all outputs but the trace and returns the names of the files.
func (c *command) write(outs []output, results []*report.Result, again []string) (names []string, err error) {
	writers := map[string]func(io.Writer, []*report.Result) error{
		"json": report.WriteJSON, "junit": report.WriteJUnit, "csv": report.WriteCSV,
		"html": func(w io.Writer, rs []*report.Result) error { return html.Write(w, rs, again) },
	}
	one := func(path string, write func(io.Writer, []*report.Result) error) {
		f, e := os.Create(path)
		if e == nil {
			e = write(f, results)
			if ce := f.Close(); e == nil {
				e = ce
			}
		}
		if e != nil && err == nil {
			err = &exit{status: ExitEnvironment, text: e.Error()}
		}
		names = append(names, path)
	}
	for _, o := range outs {
		switch {
		case o.kind == "trace":
			if o.target != "-" {
				names = append(names, o.target)
			}
		case o.kind == "dir":
			one(filepath.Join(o.target, "result.json"), report.WriteJSON)
			one(filepath.Join(o.target, "report.html"), writers["html"])
			one(filepath.Join(o.target, "junit.xml"), report.WriteJUnit)
			one(filepath.Join(o.target, "result.csv"), report.WriteCSV)
			one(filepath.Join(o.target, "summary.txt"), func(w io.Writer, rs []*report.Result) error {
				for _, r := range rs {
					r.WriteSummary(w, report.Style{})
				}
				return nil
			})
		case o.target == "-":
			if e := writers[o.kind](c.std.Out, results); e != nil && err == nil {
				err = &exit{status: ExitEnvironment, text: e.Error()}
			}
		default:
			one(o.target, writers[o.kind])
		}
	}
	return names, err
}
