package report

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"
)

// Repeats groups results: those of one scenario that follow each other and differ in their seed.
func Repeats(results []*Result) (out [][]*Result) {
	for _, r := range results {
		if n := len(out) - 1; n >= 0 && out[n][0].Scenario == r.Scenario && out[n][0].Mode == r.Mode &&
			!slices.ContainsFunc(out[n], func(o *Result) bool { return o.Seed == r.Seed }) {
			out[n] = append(out[n], r)
			continue
		}
		out = append(out, []*Result{r})
	}
	return out
}

// severity orders the verdicts, the worst first.
var severity = []string{VerdictError, VerdictSafety, VerdictAssertion, VerdictLiveness, VerdictThreshold, VerdictInterrupted, VerdictInconclusive, VerdictPass}

// Shown is the index of the result of a group to look at closely: the first one with the worst verdict.
func Shown(group []*Result) int {
	worst := 0
	for i, r := range group {
		if slices.Index(severity, r.Verdict) < slices.Index(severity, group[worst].Verdict) {
			worst = i
		}
	}
	return worst
}

// WriteRepeats writes what several seeds of one scenario showed: a line each, then medians and the 5th to 95th percentile.
func WriteRepeats(w io.Writer, group []*Result) {
	passed := 0
	for _, r := range group {
		if r.Verdict == VerdictPass {
			passed++
		}
	}
	fmt.Fprintf(w, "\n  %s: %d of %d seeds passed\n\n", group[0].Scenario, passed, len(group))
	fmt.Fprintf(w, "    %8s  %-12s %10s %10s %10s %9s %7s %6s %9s\n", "seed", "verdict", "50 %", "90 %", "99 %", "succeeded", "failed", "hurt", "cost")
	line := func(first, second string, cell func(of func(*Result) *float64, write func(float64) string) string) {
		fmt.Fprintf(w, "    %8s  %-12s", first, second)
		for _, c := range repeatColumns {
			fmt.Fprintf(w, " %*s", c.width, cell(c.of, c.write))
		}
		fmt.Fprintln(w)
	}
	for _, r := range group {
		line(strconv.FormatUint(r.Seed, 10), r.Verdict, func(of func(*Result) *float64, write func(float64) string) string {
			if v := of(r); v != nil {
				return write(*v)
			}
			return "never"
		})
	}
	for _, q := range []struct {
		name string
		at   float64
	}{{"5th", 0.05}, {"median", 0.5}, {"95th", 0.95}} {
		line(q.name, "", func(of func(*Result) *float64, write func(float64) string) string {
			var values []float64
			for _, r := range group {
				if v := of(r); v != nil {
					values = append(values, *v)
				}
			}
			slices.Sort(values)
			at := q.at * float64(len(group)-1)
			i := int(at)
			if i >= len(values) || at > float64(i) && i+1 >= len(values) {
				return "never"
			}
			v := values[i]
			if f := at - float64(i); f > 0 {
				v += f * (values[i+1] - values[i])
			}
			return write(v)
		})
	}
}

var repeatColumns = []struct {
	width int
	of    func(*Result) *float64
	write func(float64) string
}{
	{10, func(r *Result) *float64 { return r.Updates.TimeTo50 }, span},
	{10, func(r *Result) *float64 { return r.Updates.TimeTo90 }, span},
	{10, func(r *Result) *float64 { return r.Updates.TimeTo99 }, span},
	{9, func(r *Result) *float64 { return number(r.Updates.Succeeded) }, whole},
	{7, func(r *Result) *float64 { return number(r.Updates.Failed) }, whole},
	{6, func(r *Result) *float64 { return number(r.Updates.Hurt) }, whole},
	{9, func(r *Result) *float64 {
		if r.CostUSD == nil {
			return nil
		}
		return &r.CostUSD.Total
	}, func(v float64) string { return "$" + strconv.FormatFloat(v, 'f', 2, 64) }},
}

func span(v float64) string { return Clock(time.Duration(v * float64(time.Second)).Round(time.Second)) }

func whole(v float64) string { return Thousands(int64(v + 0.5)) }

func number(n int) *float64 {
	v := float64(n)
	return &v
}
