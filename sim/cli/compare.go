package cli

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/otasim/otasim/sim/report"
)

func (c *command) compareCommand() *cobra.Command {
	var failIf []string
	var all bool
	cmd := &cobra.Command{
		Use:   "compare A B",
		Short: "Show what differs between two runs",
		Long: `Compare two results of otasim run: folders of --out dir=DIR, or result documents.
What the machine decides (wall time, memory, workers) is left out unless --all is given;
steps and the points of curves are only counted.

--fail-if 'METRIC LIMIT' fails when a number of B is worse than that of A: LIMIT is a
change such as +5%, -5% or +10 (absolute). METRIC is the end of a name in the list, such
as p99, fleet.bricked or traffic.mqtt_bytes_out.

Exit status: 0 compared, 99 a --fail-if is met.`,
		Example: `  otasim compare runs/before runs/after
  otasim compare before.json after.json --fail-if 'p99 +5%' --fail-if 'fleet.bricked +0'`,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usage("compare: which two runs?")
			}
			return c.compare(args[0], args[1], failIf, all)
		},
	}
	cmd.Flags().StringArrayVar(&failIf, "fail-if", nil, "fail if a number grows or shrinks by more: 'p99 +5%' (repeatable)")
	cmd.Flags().BoolVar(&all, "all", false, "compare what the machine decides as well")
	return cmd
}

// machine are the members of a result that depend on where it was made.
var machine = []string{"wall_seconds", "workers", "version", "memory."}

// points are members that are lists of points of time. Their quantiles are numbers of the result too.
var points = []string{"updates.curve.", "steps."}

// limit is one --fail-if.
type limit struct {
	metric  string
	by      float64 // signed: more than this is too much of a change in its direction
	percent bool
	text    string
}

func parseLimit(s string) (l limit, err error) {
	bad := usage("--fail-if %q: expected a metric and a change, such as 'p99 +5%%'", s)
	f := strings.Fields(s)
	if len(f) != 2 || f[1][0] != '+' && f[1][0] != '-' {
		return l, bad
	}
	text, percent := strings.CutSuffix(f[1], "%")
	by, perr := strconv.ParseFloat(text, 64)
	if perr != nil || math.IsNaN(by) || math.IsInf(by, 0) {
		return l, bad
	}
	return limit{f[0], by, percent, s}, nil
}

// exceeded reports whether going from a to b is more than the limit allows.
func (l *limit) exceeded(a, b float64) bool {
	bound := a + l.by
	if l.percent {
		bound = a + math.Abs(a)*l.by/100
	}
	if strings.HasPrefix(strings.Fields(l.text)[1], "-") {
		return b < bound
	}
	return b > bound
}

func (c *command) compare(pathA, pathB string, failIf []string, all bool) error {
	var limits []limit
	for _, s := range failIf {
		l, err := parseLimit(s)
		if err != nil {
			return err
		}
		limits = append(limits, l)
	}
	var sides [2]map[string]any
	for i, path := range []string{pathA, pathB} {
		results, err := ReadResults(path)
		if err != nil {
			return err
		}
		sides[i] = map[string]any{}
		for _, r := range results {
			prefix := ""
			if len(results) > 1 {
				prefix = r.Scenario + "."
			}
			if err := flatten(sides[i], prefix, r); err != nil {
				return &exit{status: ExitInternal, text: err.Error()}
			}
		}
	}
	names := map[string]bool{}
	for _, s := range sides {
		for n := range s {
			names[n] = true
		}
	}
	sorted := make([]string, 0, len(names))
	for n := range names {
		sorted = append(sorted, n)
	}
	slices.Sort(sorted)
	w, differ, hidden := c.std.Out, 0, 0
	failed, met := []string{}, make([]bool, len(limits))
	for _, n := range sorted {
		a, b := sides[0][n], sides[1][n]
		x, xok := a.(float64)
		y, yok := b.(float64)
		for i := range limits {
			if n != limits[i].metric && !strings.HasSuffix(n, "."+limits[i].metric) {
				continue
			}
			met[i] = true
			if xok && yok && limits[i].exceeded(x, y) {
				failed = append(failed, fmt.Sprintf("%s: %s -> %s", limits[i].text, number(a), number(b)))
			}
		}
		if a == b || !all && slices.ContainsFunc(machine, func(m string) bool {
			return n == m || strings.HasSuffix(m, ".") && strings.Contains(n, m) || strings.HasSuffix(n, "."+m)
		}) {
			continue
		}
		differ++
		if !all && slices.ContainsFunc(points, func(p string) bool { return strings.HasPrefix(n, p) || strings.Contains(n, "."+p) }) {
			hidden++
			continue
		}
		change := ""
		if xok && yok && x != 0 {
			change = fmt.Sprintf("  %+.1f%%", (y-x)/math.Abs(x)*100)
		}
		fmt.Fprintf(w, "%-48s %18s -> %-18s%s\n", n, number(a), number(b), change)
	}
	switch {
	case differ == 0:
		fmt.Fprintln(w, "no difference")
	case hidden > 0:
		fmt.Fprintf(w, "and %d points of steps and curves: --all shows them\n", hidden)
	}
	for i := range limits {
		if !met[i] {
			return usage("--fail-if %q: no such number in these results", limits[i].text)
		}
	}
	for _, f := range failed {
		fmt.Fprintf(w, "FAILED %s\n", f)
	}
	if len(failed) > 0 {
		return &exit{status: ExitFailed}
	}
	return nil
}

func number(v any) string {
	switch v := v.(type) {
	case nil:
		return "-"
	case float64:
		return strconv.FormatFloat(v, 'g', 10, 64)
	case string:
		if len(v) > 16 {
			return v[:16] + "…"
		}
		return v
	}
	return fmt.Sprint(v)
}

// flatten lists every number, text and truth of a result by its path. Entries of lists go by their name or id.
func flatten(out map[string]any, prefix string, r *report.Result) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	var doc map[string]any
	if err := json.Unmarshal(text, &doc); err != nil {
		return err
	}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, x := range v {
				walk(path+"."+k, x)
			}
		case []any:
			for i, x := range v {
				key := strconv.Itoa(i)
				if m, ok := x.(map[string]any); ok {
					for _, k := range []string{"name", "id", "metric"} {
						if s, ok := m[k].(string); ok {
							key = s
							break
						}
					}
				}
				walk(path+"."+key, x)
			}
		case nil:
		default:
			out[strings.TrimPrefix(prefix+strings.TrimPrefix(path, "."), ".")] = v
		}
	}
	walk("", doc)
	return nil
}
