package html

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/otasim/otasim/sim/plan"
)

// PlanPage is what the template of a plan shows.
type PlanPage struct {
	*plan.Judgement
	Charts  []drawn
	Columns []*plan.Metric
	Seeds   string
}

// WritePlan writes the report of a plan.
func WritePlan(w io.Writer, j *plan.Judgement) error {
	p := PlanPage{Judgement: j, Columns: j.Columns(), Seeds: fmt.Sprintf("%d seeds from %d", j.Plan.Seeds, j.Plan.Seed)}
	for _, c := range planCharts(j) {
		d, err := c.draw()
		if err != nil {
			return err
		}
		p.Charts = append(p.Charts, d)
	}
	var buf bytes.Buffer // all or nothing
	if err := page.ExecuteTemplate(&buf, "plan.html", p); err != nil {
		return err
	}
	_, err := buf.WriteTo(w)
	return err
}

// planCharts are the pictures of a plan: curves over time, a front for each pair of
// objectives, and how they answer to each parameter.
func planCharts(j *plan.Judgement) []Chart {
	var out []Chart
	if c := curves(j); c.X != nil {
		out = append(out, c)
	}
	for i, a := range j.Plan.Minimize {
		for _, b := range j.Plan.Minimize[i+1:] {
			if c := front(j, a, b); len(c.Series) > 0 {
				out = append(out, c)
			}
		}
	}
	if c := costParts(j); len(c.Names) > 0 {
		out = append(out, c)
	}
	for i := range j.Responses {
		r := &j.Responses[i]
		for _, m := range j.Plan.Minimize {
			if c := response(j, r, m); len(c.Series) > 0 {
				out = append(out, c)
			}
		}
	}
	return out
}

// costParts are what the bill of each row is made of, for the first twelve.
func costParts(j *plan.Judgement) Chart {
	parts := plan.CostParts()
	c := Chart{ID: "cost-parts", Title: "What the bill is made of", Note: "Medians over the seeds, in US dollars.", Unit: "USD", Kind: Ranks, Sum: true}
	for i := range parts {
		c.Series = append(c.Series, Line{Name: parts[i].Text, Color: []int{1, 7, 0, 2, 3}[i%5]})
	}
	for _, r := range j.Rows {
		known := len(r.Runs) > 0 && len(c.Names) < 12
		for _, m := range parts {
			known = known && !math.IsInf(r.Spreads[m.Name].P50, 0)
		}
		if !known {
			continue
		}
		c.Names = append(c.Names, fmt.Sprintf("row %d", r.Number))
		for i, m := range parts {
			c.Series[i].Y = append(c.Series[i].Y, r.Spreads[m.Name].P50)
		}
	}
	for i := range c.Series {
		c.Series[i].Name = strings.TrimPrefix(c.Series[i].Name, "of it, ")
	}
	c.Table = tableOf(&c)
	return c
}

// curves are the shares of the targets that had succeeded, over time: of the best row,
// or else the first, and up to three others, with a band over the seeds.
func curves(j *plan.Judgement) Chart {
	c := Chart{ID: "curves", Title: "Rollout curves", Note: "Share of the targets that had succeeded; the band is from the 5th to the 95th percentile over the seeds.", Unit: "per cent"}
	rows := []*plan.Row{}
	if j.Best != nil {
		rows = append(rows, j.Best)
	}
	for _, r := range j.Rows {
		if len(rows) < 4 && len(r.Runs) > 0 && !slices.Contains(rows, r) && (r.Pareto || r == j.Rows[0]) {
			rows = append(rows, r)
		}
	}
	all := make([][][]float64, len(rows))
	for i, r := range rows {
		for _, run := range r.Runs {
			all[i] = append(all[i], run.Curve)
		}
	}
	if c.X = curveTimes(slices.Concat(all...)); c.X == nil {
		return c
	}
	for n, r := range rows {
		l := curveLine(c.X, all[n])
		l.Name, l.Color = fmt.Sprintf("row %d", r.Number), []int{0, 1, 2, 4}[n]
		c.Series = append(c.Series, l)
	}
	c.Table = tableOf(&c)
	return c
}

// front is every row by two objectives.
func front(j *plan.Judgement, a, b *plan.Metric) Chart {
	c := Chart{ID: "front-" + a.Name + "-" + b.Name, Title: a.Name + " and " + b.Name, Note: "Each dot is a row, at its medians. Rows on the front are those that no other row beats in every objective.", Unit: b.Name, XUnit: a.Name, Kind: Points}
	if a.Duration {
		c.XUnit += " (seconds)"
	}
	if b.Duration {
		c.Unit += " (seconds)"
	}
	groups := []Line{{Name: "breaks a constraint", Color: 5}, {Name: "keeps them", Color: 1}, {Name: "on the front", Color: 2, Joined: true}, {Name: "best", Color: 0}}
	rows := slices.Clone(j.Rows)
	slices.SortStableFunc(rows, func(x, y *plan.Row) int {
		switch d := x.Spreads[a.Name].P50 - y.Spreads[a.Name].P50; {
		case d < 0:
			return -1
		case d > 0:
			return 1
		}
		return 0
	})
	for _, r := range rows {
		x, y := r.Spreads[a.Name].P50, r.Spreads[b.Name].P50
		if len(r.Runs) == 0 || math.IsInf(x, 0) || math.IsInf(y, 0) || math.IsNaN(x) || math.IsNaN(y) {
			continue
		}
		add := func(l *Line) {
			l.X, l.Y, l.Labels = append(l.X, x), append(l.Y, y), append(l.Labels, fmt.Sprintf("row %d, %s", r.Number, j.Plan.Label(r.Point)))
		}
		switch {
		case !r.Keeps():
			add(&groups[0])
		case !r.Pareto:
			add(&groups[1])
		default:
			add(&groups[2])
		}
		if r == j.Best {
			add(&groups[3])
		}
	}
	for _, l := range groups {
		if len(l.X) > 0 {
			c.Series = append(c.Series, l)
		}
	}
	return c
}

// response is one metric over the values of one parameter.
func response(j *plan.Judgement, r *plan.Response, m *plan.Metric) Chart {
	c := Chart{ID: "response-" + r.Parameter.Name + "-" + m.Name, Title: m.Name + " by " + r.Parameter.Name, Unit: m.Name, XUnit: r.Parameter.Name}
	c.Note = "All other parameters as in the best row, or else the first. Median, with the 5th to 95th percentile over the seeds."
	if m.Duration {
		c.Unit += " (seconds)"
	}
	l := Line{Name: "median", Color: 1}
	low := Line{Name: "5th percentile", Color: 5}
	high := Line{Name: "95th percentile", Color: 5}
	xs := r.Xs(j.Plan)
	var names []string
	var kept []float64
	for i, row := range r.Rows {
		s := row.Spreads[m.Name]
		if math.IsInf(s.P95, 0) || math.IsNaN(s.P50) {
			continue
		}
		names = append(names, r.Parameter.Labels[row.Point.Choice[slices.IndexFunc(j.Plan.Parameters, func(q plan.Parameter) bool { return q.Name == r.Parameter.Name })]])
		if xs != nil {
			kept = append(kept, xs[i])
		}
		l.Y, low.Y, high.Y = append(l.Y, s.P50), append(low.Y, s.P5), append(high.Y, s.P95)
	}
	if len(l.Y) < 2 {
		return c
	}
	if xs == nil {
		c.Kind, c.Names = Ranks, names
		c.Series = []Line{l}
		if j.Plan.Seeds > 1 {
			c.Series = []Line{low, l, high}
		}
		c.Table = tableOf(&c)
		return c
	}
	c.X = kept
	c.LogX = kept[0] > 0 && kept[len(kept)-1]/kept[0] >= 20
	if j.Plan.Seeds > 1 {
		l.Lo, l.Hi = low.Y, high.Y
	}
	c.Series = []Line{l}
	if m == r.Metric && r.Knee >= 0 && r.Knee < len(kept) && len(kept) == len(r.Rows) {
		c.Marks = []Mark{{kept[r.Knee], "knee"}}
	}
	c.Table = tableOf(&c)
	return c
}
