package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Style says how text is written for a person.
type Style struct {
	Color bool
	ASCII bool   // no glyphs beyond ASCII
	Again string // command that repeats the run, "" if unknown
	Files []string
}

func (s Style) paint(code, text string) string {
	if !s.Color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// mark is ✓ or ✗, with severity a sign of its own; never colour alone.
func (s Style) mark(holds bool, severity string) string {
	ok, bad, warn := "✓", "✗", "!"
	if s.ASCII {
		ok, bad = "ok", "XX"
		warn = "!!"
	}
	switch {
	case holds:
		return s.paint("32", ok)
	case severity != "":
		return s.paint("33", warn)
	}
	return s.paint("31", bad)
}

// WriteSummary prints a result for a person: verdict, thresholds, assertions, numbers, how to repeat it.
func (r *Result) WriteSummary(w io.Writer, s Style) {
	verdict := strings.ToUpper(r.Verdict)
	if r.Verdict == VerdictPass {
		verdict = "passed"
	}
	fmt.Fprintf(w, "\n  %s %s %s   virtual %s   wall %s   seed %d\n", s.mark(r.Verdict == VerdictPass, ""),
		s.paint("1", fmt.Sprintf("%-34s", r.Scenario)), verdict, Clock(seconds(r.VirtualSeconds)), wall(r.WallSeconds), r.Seed)
	if r.Error != "" {
		fmt.Fprintf(w, "    %s\n", r.Error)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "    note: %s\n", n)
	}
	r.rules(w, s)
	fmt.Fprintln(w)
	for _, line := range r.numbers() {
		if line[1] != "" {
			fmt.Fprintf(w, "    %s %s: %s\n", line[0], strings.Repeat(".", 18-len(line[0])), line[1])
		}
	}
	fmt.Fprintln(w)
	for _, f := range s.Files {
		fmt.Fprintf(w, "    wrote       %s\n", f)
	}
	if s.Again != "" {
		fmt.Fprintf(w, "    again       %s\n", s.Again)
	}
	if r.TraceHash != "" {
		fmt.Fprintf(w, "    trace_hash  %s\n", r.TraceHash)
	}
}

func wall(s float64) string {
	if s < 10 {
		return fmt.Sprintf("%.1f s", s)
	}
	return fmt.Sprintf("%.0f s", s)
}

// rules prints what was judged, the widest name deciding the columns.
func (r *Result) rules(w io.Writer, s Style) {
	if len(r.Thresholds) > 0 {
		fmt.Fprintf(w, "\n    %s\n", s.paint("1", "THRESHOLDS"))
		width := 0
		for _, t := range r.Thresholds {
			width = max(width, len(t.Metric))
		}
		for _, t := range r.Thresholds {
			fmt.Fprintf(w, "    %s %-*s   %-14s %s\n", s.mark(t.Holds, ""), width, t.Metric, t.Expr, t.Actual)
		}
	}
	if len(r.Assertions) > 0 {
		fmt.Fprintf(w, "\n    %s\n", s.paint("1", "ASSERTIONS"))
		width := 0
		for _, a := range r.Assertions {
			width = min(60, max(width, len([]rune(a.Name))))
		}
		for _, a := range r.Assertions {
			name := a.Name + strings.Repeat(" ", max(0, width-len([]rune(a.Name))))
			if !a.Holds && r.early() && (a.Kind == "atEnd" || a.Kind == "sometimes") {
				fmt.Fprintf(w, "    ? %s   not judged: the run ended early\n", name)
				continue
			}
			fmt.Fprintf(w, "    %s %s   %s\n", s.mark(a.Holds, a.Severity), name, a.Actual)
			if !a.Holds {
				kind := a.Kind
				if a.Severity != "" {
					kind += ", " + a.Severity
				}
				fmt.Fprintf(w, "      %s: %s\n", kind, a.Expr)
			}
		}
	}
	checks := uint64(0)
	for _, i := range r.Invariants {
		checks += i.Checked
	}
	if len(r.Invariants) > 0 {
		fmt.Fprintf(w, "\n    %s\n", s.paint("1", "INVARIANTS"))
		if !r.violated(false) && !r.violated(true) {
			fmt.Fprintf(w, "    %s all %d hold   %s checks\n", s.mark(true, ""), len(r.Invariants), Thousands(checks))
		}
		for _, i := range r.Invariants {
			for n, v := range i.Violations {
				if n == 3 {
					fmt.Fprintf(w, "      and %d more\n", len(i.Violations)-n)
					break
				}
				fmt.Fprintf(w, "    %s %s   %s at %s: %s\n", s.mark(false, ""), i.ID, v.Thing, Clock(seconds(v.At)), v.Detail)
				if v.Replay != "" {
					fmt.Fprintf(w, "      otasim replay %s\n", v.Replay)
				}
			}
		}
	}
	if len(r.Variants) > 0 {
		fmt.Fprintf(w, "\n    %s\n", s.paint("1", "VARIANTS"))
		for _, v := range r.Variants {
			fmt.Fprintf(w, "    %s %-30s ended %s, expected %s\n", s.mark(v.Holds, ""), v.Name, v.Verdict, v.Expected)
			if v.Result == nil {
				continue
			}
			for _, a := range v.Result.Assertions {
				if !a.Holds {
					fmt.Fprintf(w, "      fails: %s   %s\n", a.Name, a.Actual)
				}
			}
		}
	}
}

// early reports whether the run ended before it could be judged.
func (r *Result) early() bool {
	return r.Verdict == VerdictInterrupted || r.Verdict == VerdictInconclusive || r.Verdict == VerdictError
}

// numbers are the lines of the report, name and text; a line without text is left out.
func (r *Result) numbers() [][2]string {
	f := r.Fleet
	lines := [][2]string{
		{"devices", fmt.Sprintf("%s    %s", Thousands(f.Devices), sentence(f.OnVersion, "on "))},
		{"image states", sentence(f.ImageState, "")},
		{"troubled", trouble(f)},
	}
	for _, j := range r.Jobs {
		text := j.ID + " " + j.Status
		if j.CreatedAt != nil && j.CompletedAt != nil {
			text += " after " + Clock(seconds(*j.CompletedAt-*j.CreatedAt))
		}
		if counts := sentence(j.Executions, ""); counts != "" {
			text += "    " + counts
		}
		if j.AbortReason != nil {
			text += "    " + *j.AbortReason
		}
		lines = append(lines, [2]string{"job", text})
	}
	if q := r.ExecutionTime; q != nil {
		lines = append(lines, [2]string{"execution time", fmt.Sprintf("p50 %s   p90 %s   p95 %s   p99 %s   max %s", Clock(seconds(q.P50)),
			Clock(seconds(q.P90)), Clock(seconds(q.P95)), Clock(seconds(q.P99)), Clock(seconds(q.Max)))})
	}
	if u := r.Updates; u.TimeTo50 != nil {
		text := "50 % after " + Clock(seconds(*u.TimeTo50))
		if u.TimeTo90 != nil {
			text += "   90 % after " + Clock(seconds(*u.TimeTo90))
		}
		if u.TimeTo99 != nil {
			text += "   99 % after " + Clock(seconds(*u.TimeTo99))
		}
		lines = append(lines, [2]string{"rollout", text})
	}
	lines = append(lines, [2]string{"resets", sentence(r.Resets, "")})
	for _, x := range r.Faults {
		lines = append(lines, [2]string{"fault", fmt.Sprintf("%s: struck %s, recovered %s    %s", x.Name, Thousands(x.Injected), Thousands(x.Recovered), sentence(x.Phases, "in "))})
	}
	for _, a := range r.Attacks {
		lines = append(lines, [2]string{"attack", strings.TrimRight(fmt.Sprintf("%s: launched at %s, executed on %s, committed on %s    %s", a.Name,
			Thousands(a.Launched), Thousands(a.Executed), Thousands(a.Committed), sentence(a.StoppedAt, "stopped at ")), " ")})
	}
	t := r.Traffic
	if t.MQTTMessagesIn+t.MQTTMessagesOut > 0 {
		lines = append(lines, [2]string{"cloud", fmt.Sprintf("%s MQTT messages out (%s), %s in (%s), %s connects, %s throttled",
			Thousands(t.MQTTMessagesOut), mebi(t.MQTTBytesOut), Thousands(t.MQTTMessagesIn), mebi(t.MQTTBytesIn), Thousands(t.Connects), Thousands(t.Throttled))})
	}
	if q := r.Tightest(); q != nil && (q.Throttled > 0 || q.Share() >= 0.5) {
		lines = append(lines, [2]string{"tightest quota", q.String()})
	}
	if r.Flash.BytesProgrammed > 0 {
		lines = append(lines, [2]string{"flash", fmt.Sprintf("%s programmed, %s sectors erased, most worn sector %s erases, %s power cuts",
			mebi(r.Flash.BytesProgrammed), Thousands(r.Flash.SectorsErased), Thousands(r.Flash.MaxWear), Thousands(r.Flash.PowerCuts))})
	}
	speed := ""
	if r.WallSeconds > 0 && r.Events > 0 {
		speed = fmt.Sprintf("%s events, %s a second of wall time", Thousands(r.Events), Thousands(uint64(float64(r.Events)/r.WallSeconds)))
		if r.Workers > 1 {
			speed += fmt.Sprintf(", %d workers", r.Workers)
		}
		if r.Memory.BytesPerDevice > 0 {
			speed += fmt.Sprintf(", %.1f KiB a device", float64(r.Memory.BytesPerDevice)/1024)
		}
	}
	return append(lines, [2]string{"simulator", speed})
}

func mebi(n uint64) string {
	if n < 10<<20 {
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return Thousands(n>>20) + " MiB"
}

// sentence prints counts, the largest first: SUCCEEDED 991   TIMED_OUT 9.
func sentence(m map[string]int, before string) string {
	keys := sortedKeys(m)
	slices.SortStableFunc(keys, func(a, b string) int { return m[b] - m[a] })
	var out []string
	for _, k := range keys {
		switch {
		case m[k] == 0:
		case before == "on ":
			out = append(out, fmt.Sprintf("%s on %s", Thousands(m[k]), k))
		case before != "":
			out = append(out, fmt.Sprintf("%s%s %s", before, k, Thousands(m[k])))
		default:
			out = append(out, k+" "+Thousands(m[k]))
		}
	}
	return strings.Join(out, "   ")
}

func trouble(f Fleet) string {
	var out []string
	for _, c := range []struct {
		n    int
		what string
	}{{f.Bricked, "bricked"}, {f.RolledBack, "rolled back"}, {f.Mismatched, "where cloud and flash disagree"}, {f.Devices - f.Powered, "without power"}} {
		if c.n > 0 {
			out = append(out, fmt.Sprintf("%s %s", Thousands(c.n), c.what))
		}
	}
	return strings.Join(out, "   ")
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
