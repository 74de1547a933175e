package plan

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/otasim/otasim/sim/report"
)

// Spread is a metric over the seeds of a point.
type Spread struct{ P5, P50, P95 float64 }

// A Row is one point with what its runs showed.
type Row struct {
	Number  int // from 1, as cited
	Point   *Point
	Runs    []*Run
	Spreads map[string]Spread // by metric
	Broken  []string          // constraints that a run did not keep
	Pareto  bool              // no other row that keeps the constraints is better in one objective and not worse in the others
}

// Keeps reports whether every run of the row keeps every constraint.
func (r *Row) Keeps() bool { return len(r.Runs) > 0 && len(r.Broken) == 0 }

// A Response is how the first objectives answer to one parameter, all others as in the
// best row.
type Response struct {
	Parameter *Parameter
	Rows      []*Row // by value of the parameter
	Knee      int    // index in Rows from which on a further step brings little; -1: none
	Metric    *Metric
}

// A Judgement is a plan's answer.
type Judgement struct {
	Plan      *Plan
	Rows      []*Row
	Best      *Row // nil: no row keeps the constraints
	Responses []Response
	Text      []string // the recommendation, a sentence each
	Missing   int      // runs that were not made
}

// Judge compares the points.
func (p *Plan) Judge(runs [][]*Run) *Judgement {
	j := &Judgement{Plan: p}
	for i, rs := range complete(runs) {
		row := &Row{Number: i + 1, Point: &p.Points[i], Runs: rs, Spreads: map[string]Spread{}}
		j.Missing += p.Seeds - len(rs)
		for k := range Metrics {
			m := &Metrics[k]
			values := make([]float64, 0, len(rs))
			for _, r := range rs {
				values = append(values, r.Value(m))
			}
			v := sorted(values)
			row.Spreads[m.Name] = Spread{quantile(v, 0.05), quantile(v, 0.5), quantile(v, 0.95)}
		}
		for k := range p.Constraints {
			c := &p.Constraints[k]
			if slices.ContainsFunc(rs, func(r *Run) bool { return !c.Holds(r.Value(c.Metric)) }) {
				row.Broken = append(row.Broken, c.Text)
			}
		}
		j.Rows = append(j.Rows, row)
	}
	for _, r := range j.Rows {
		if !r.Keeps() {
			continue
		}
		r.Pareto = !slices.ContainsFunc(j.Rows, func(o *Row) bool { return o.Keeps() && j.comparable(o, r) && j.dominates(o, r) })
		if j.comparable(r, j.Rows[0]) && (j.Best == nil || j.better(r, j.Best)) {
			j.Best = r
		}
	}
	j.respond()
	j.recommend()
	return j
}

// Quota is the one that was most in the way in the row's first run in which one
// throttled, or else in its first run. nil: no quota was used.
func (r *Row) Quota() (q *report.Quota) {
	for _, run := range r.Runs {
		if run.Quota != nil && (q == nil || q.Throttled == 0 && run.Quota.Throttled > 0) {
			q = run.Quota
		}
	}
	return q
}

// Binds says in words which quota binds at a row, "" if none does.
func (r *Row) Binds() string {
	if q := r.Quota(); q != nil && q.Binds() {
		return q.String()
	}
	return ""
}

func (r *Row) median(m *Metric) float64 { return r.Spreads[m.Name].P50 }

// comparable reports whether two rows are under the same circumstances.
func (j *Judgement) comparable(a, b *Row) bool {
	for k := range j.Plan.Parameters {
		if j.Plan.Parameters[k].Given && a.Point.Choice[k] != b.Point.Choice[k] {
			return false
		}
	}
	return true
}

// dominates: a is no worse than b in every objective, and better in one.
func (j *Judgement) dominates(a, b *Row) bool {
	better := false
	for _, m := range j.Plan.Minimize {
		x, y := a.median(m), b.median(m)
		if x > y {
			return false
		}
		better = better || x < y
	}
	return better
}

// better compares by the objectives in their order; 1 % is no difference but for the last.
func (j *Judgement) better(a, b *Row) bool {
	for i, m := range j.Plan.Minimize {
		x, y := a.median(m), b.median(m)
		if x == y || i < len(j.Plan.Minimize)-1 && !math.IsInf(x, 1) && !math.IsInf(y, 1) && math.Abs(x-y) <= 0.01*max(math.Abs(x), math.Abs(y)) {
			continue
		}
		return x < y
	}
	return false
}

// centre is the row the others are compared with: the best one, or the first.
func (j *Judgement) centre() *Row {
	if j.Best != nil {
		return j.Best
	}
	return j.Rows[0]
}

// respond follows each parameter through the centre.
func (j *Judgement) respond() {
	p := j.Plan
	for k := range p.Parameters {
		if len(p.Parameters[k].Labels) < 2 || p.Parameters[k].Given {
			continue
		}
		r := Response{Parameter: &p.Parameters[k], Knee: -1, Metric: p.Minimize[0], Rows: j.along(k, j.centre())}
		if len(r.Rows) < 2 {
			continue
		}
		r.Knee = r.knee()
		j.Responses = append(j.Responses, r)
	}
}

// along are the rows that differ from one in a single parameter, by its values.
func (j *Judgement) along(parameter int, from *Row) (out []*Row) {
	for _, r := range j.Rows {
		same := len(r.Runs) > 0
		for k, c := range r.Point.Choice {
			same = same && (k == parameter || c == from.Point.Choice[k])
		}
		if same {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b *Row) int { return a.Point.Choice[parameter] - b.Point.Choice[parameter] })
	return out
}

// X is the number behind a label; ok is false when there is none.
func X(label string) (float64, bool) {
	v, err := strconv.ParseFloat(strings.TrimSuffix(strings.ReplaceAll(label, "_", ""), "%"), 64)
	return v, err == nil && !math.IsInf(v, 0) && !math.IsNaN(v)
}

// Xs are the numbers of the response's values, nil if one has none.
func (r *Response) Xs(p *Plan) []float64 {
	k := slices.IndexFunc(p.Parameters, func(q Parameter) bool { return q.Name == r.Parameter.Name })
	var out []float64
	for _, row := range r.Rows {
		v, ok := X(r.Parameter.Labels[row.Point.Choice[k]])
		if !ok {
			return nil
		}
		out = append(out, v)
	}
	return out
}

// worthwhile is the share of a metric from which on a gain is worth a sentence.
const worthwhile = 0.02

// knee is where a falling curve bends: the row farthest below the straight line
// between its ends, both axes scaled to 1. The steps count, not their size: values
// are usually chosen on a scale of their own.
func (r *Response) knee() int {
	n := len(r.Rows)
	if n < 3 {
		return -1
	}
	first, last := r.Rows[0].median(r.Metric), r.Rows[n-1].median(r.Metric)
	if math.IsInf(first, 1) || math.IsInf(last, 1) || first-last < worthwhile*first {
		return -1
	}
	best, at := 0.1, -1
	for i := 1; i < n-1; i++ {
		y := (r.Rows[i].median(r.Metric) - last) / (first - last)
		if d := 1 - float64(i)/float64(n-1) - y; d > best {
			best, at = d, i
		}
	}
	return at
}

func (j *Judgement) cite(r *Row) string {
	return fmt.Sprintf("row %d (%s)", r.Number, j.Plan.Label(r.Point))
}

func (j *Judgement) say(format string, args ...any) {
	j.Text = append(j.Text, fmt.Sprintf(format, args...))
}

// recommend says in plain words what the rows show.
func (j *Judgement) recommend() {
	p := j.Plan
	made := 0
	for _, r := range j.Rows {
		made += len(r.Runs)
	}
	if j.Missing > 0 {
		j.say("%d of %d runs were made; what follows holds for those.", made, made+j.Missing)
	}
	if made == 0 {
		return
	}
	if j.Best == nil {
		j.say("No row keeps every constraint.")
		for k := range p.Constraints {
			c := &p.Constraints[k]
			var nearest *Row
			kept := 0
			for _, r := range j.Rows {
				switch {
				case len(r.Runs) == 0:
				case !slices.Contains(r.Broken, c.Text):
					kept++
				case nearest == nil || math.Abs(r.median(c.Metric)-c.Limit) < math.Abs(nearest.median(c.Metric)-c.Limit):
					nearest = r
				}
			}
			switch {
			case kept > 0:
				j.say("%q is kept by %d of %d rows.", c.Text, kept, len(j.Rows))
			case nearest != nil:
				j.say("%q is kept by none; the nearest is %s with %s.", c.Text, j.cite(nearest), c.Metric.Write(nearest.median(c.Metric)))
			}
		}
	} else {
		words := make([]string, 0, len(p.Minimize))
		for _, m := range p.Minimize {
			words = append(words, m.Name+" "+j.spread(j.Best, m))
		}
		kept := ""
		if n := len(p.Constraints); n > 0 {
			good := 0
			for _, r := range j.Rows {
				if r.Keeps() {
					good++
				}
			}
			kept = fmt.Sprintf(" It keeps every constraint, as %d of %d rows do.", good, len(j.Rows))
		}
		j.say("Take %s: %s.%s", j.cite(j.Best), strings.Join(words, ", "), kept)
	}
	if c := j.centre(); len(c.Runs) > 0 {
		switch q := c.Quota(); {
		case c.Binds() != "":
			j.say("A quota binds in row %d: %s (%s).", c.Number, c.Binds(), q.Unit)
		case q != nil && q.Limit != nil:
			j.say("No quota binds in row %d; the tightest is %s (%s).", c.Number, q.String(), q.Unit)
		}
	}
	j.single()
	for i := range j.Responses {
		if r := &j.Responses[i]; r.Knee >= 0 {
			last := r.Rows[len(r.Rows)-1]
			j.say("Beyond %s in %s, %s gains little: %s there, %s in row %d.", label(p, r.Parameter, r.Rows[r.Knee]), j.cite(r.Rows[r.Knee]), r.Metric.Name,
				r.Metric.Write(r.Rows[r.Knee].median(r.Metric)), r.Metric.Write(last.median(r.Metric)), last.Number)
		}
	}
	var front []string
	for _, r := range j.Rows {
		if r.Pareto {
			front = append(front, strconv.Itoa(r.Number))
		}
	}
	if len(front) > 1 && len(p.Minimize) > 1 {
		names := make([]string, 0, len(p.Minimize))
		for _, m := range p.Minimize {
			names = append(names, m.Name)
		}
		j.say("Rows %s are the choices between %s that no other row beats in all of them.", strings.Join(front, ", "), strings.Join(names, " and "))
	}
}

// single finds, for each objective, the one change that helps most, from the first values. Where those leave nothing to
// gain, it starts from the row under another circumstance that has most of it: the bad build beside the good one.
func (j *Judgement) single() {
	p := j.Plan
	if len(j.Rows[0].Runs) == 0 {
		return
	}
	for i, m := range p.Minimize {
		from, start := j.Rows[0], "From the first values"
		if i > 0 && from.median(m) == 0 {
			for k := range p.Parameters {
				if !p.Parameters[k].Given {
					continue
				}
				for _, r := range j.along(k, j.Rows[0]) {
					if v := r.median(m); v > from.median(m) && !math.IsInf(v, 1) {
						from, start = r, "Where there is most of it"
					}
				}
			}
		}
		var best *Row
		for k := range p.Parameters {
			if p.Parameters[k].Given {
				continue
			}
			for _, r := range j.along(k, from) {
				if r.median(m) < from.median(m)*(1-worthwhile) && (best == nil || r.median(m) < best.median(m)) {
					best = r
				}
			}
		}
		switch {
		case best != nil:
			gain := ""
			if was := from.median(m); !math.IsInf(was, 1) && was > 0 {
				gain = fmt.Sprintf(", %.0f %% less", 100*(was-best.median(m))/was)
			}
			j.say("%s, %s, the single change that helps %s most is to %s: %s instead of %s%s.", start, j.cite(from), m.Name, j.cite(best), m.Write(best.median(m)), m.Write(from.median(m)), gain)
		case from.median(m) > 0:
			j.say("%s, %s, no single change makes %s much smaller than %s.", start, j.cite(from), m.Name, m.Write(from.median(m)))
		}
	}
}

func (j *Judgement) spread(r *Row, m *Metric) string {
	s := r.Spreads[m.Name]
	if len(r.Runs) < 2 || m.Write(s.P5) == m.Write(s.P95) {
		return m.Write(s.P50)
	}
	return fmt.Sprintf("%s (%s to %s)", m.Write(s.P50), m.Write(s.P5), m.Write(s.P95))
}

func label(p *Plan, q *Parameter, r *Row) string {
	k := slices.IndexFunc(p.Parameters, func(o Parameter) bool { return o.Name == q.Name })
	return q.Name + "=" + q.Labels[r.Point.Choice[k]]
}
