// Package html writes a report as one self-contained HTML file: pictures, tables,
// style and a little script, and nothing that a browser would have to fetch.
package html

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/otasim/otasim/sim/plan"
	"github.com/otasim/otasim/sim/report"
)

//go:embed page.html plan.html field.html page.css page.js
var files embed.FS

var page = template.Must(template.New("page.html").Funcs(template.FuncMap{
	"clock": clock, "number": number, "upper": strings.ToUpper, "percent": func(v float64) string { return strconv.FormatFloat(100*v, 'f', 1, 64) + " %" },
	"usd": usd, "seconds": func(s float64) string { return report.Clock(time.Duration(s * float64(time.Second))) }, "bytes": func(n uint64) string { return byteSize(float64(n)) },
	"thousands": func(n uint64) string { return report.Thousands(n) },
	"list":      func(m map[string]int) string { return listed(m) },
	"file": func(name string) (any, error) {
		text, err := files.ReadFile(name)
		if strings.HasSuffix(name, ".css") {
			return template.CSS(text), err //nolint:gosec // our own file
		}
		return template.JS(text), err //nolint:gosec // our own file
	},
	"median": func(r *plan.Row, m *plan.Metric) float64 { return min(r.Spreads[m.Name].P50, math.MaxFloat64) },
}).ParseFS(files, "page.html", "plan.html", "field.html"))

// A Page is what the template shows.
type Page struct {
	Title    string
	Sections []Section
}

// A Section is one run, or the runs of one scenario with several seeds: then all but Seeds, and the curve, is about one
// of them.
type Section struct {
	*report.Result
	ID      string
	Again   string // the command that repeats it
	Holds   bool
	Charts  []drawn
	Cost    []drawn
	Prices  *Table
	Tiles   []Tile
	Seeds   *Table // with several seeds
	Held    uint64 // checks of the invariants that hold
	Broken  []report.Invariant
	Slowest []report.Timeline
}

// A Tile is one number that matters.
type Tile struct{ Name, Value, Note string }

// Write writes the report of some runs. again are the commands that repeat them, or nil. Runs of one scenario that follow
// each other and differ in their seed make one section.
func Write(w io.Writer, results []*report.Result, again []string) error {
	p := Page{Title: "otasim"}
	groups := report.Repeats(results)
	at := 0
	for g, group := range groups {
		r := group[report.Shown(group)]
		id := "run"
		if len(groups) > 1 {
			id = fmt.Sprintf("run%d", g+1)
		}
		s, err := section(r, group, id)
		if err != nil {
			return err
		}
		if i := at + report.Shown(group); i < len(again) {
			s.Again = again[i]
		}
		at += len(group)
		p.Sections = append(p.Sections, s)
		for n, v := range r.Variants {
			if v.Result == nil || v.Result.Detail == nil {
				continue
			}
			s, err := section(v.Result, []*report.Result{v.Result}, fmt.Sprintf("%s-%d", id, n+1))
			if err != nil {
				return err
			}
			s.Scenario += ": " + v.Name
			p.Sections = append(p.Sections, s)
		}
	}
	if len(groups) == 1 {
		p.Title = results[0].Scenario
	}
	var buf bytes.Buffer // all or nothing
	if err := page.Execute(&buf, p); err != nil {
		return err
	}
	_, err := buf.WriteTo(w)
	return err
}

// section is about r, one of a group.
func section(r *report.Result, group []*report.Result, id string) (s Section, err error) {
	for _, one := range group {
		one.Normalize()
	}
	one := *r
	s = Section{Result: &one, ID: id, Holds: r.Verdict == report.VerdictPass, Tiles: tiles(r)}
	if len(group) > 1 {
		s.Seeds = seedTable(group)
	}
	for _, v := range r.Invariants {
		if len(v.Violations) > 0 {
			s.Broken = append(s.Broken, v)
		}
		s.Held += v.Checked
	}
	var charts []Chart
	if c := rolloutCurve(group); len(c.Series) > 0 {
		charts = append(charts, c)
	}
	if r.Detail != nil {
		charts = append(charts, chartsOf(r)...)
		s.Slowest = slowest(r.Detail.Timelines)
	}
	if s.Charts, err = drawAll(id, charts); err != nil {
		return s, err
	}
	charts = nil
	if c := quotaChart(r.Quotas); len(c.Names) > 0 {
		charts = append(charts, c)
	}
	if r.CostUSD != nil {
		charts, s.Prices = append(charts, costChart(r.CostUSD)), priceTable(r.CostUSD)
	}
	s.Cost, err = drawAll(id, charts)
	return s, err
}

func drawAll(id string, charts []Chart) (out []drawn, err error) {
	for _, c := range charts {
		c.ID = id + "-" + c.ID
		d, err := c.draw()
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

// slowest are the ten that took longest of those that succeeded and have a timeline.
func slowest(all []report.Timeline) (out []report.Timeline) {
	for _, t := range all {
		if t.Status == "SUCCEEDED" && len(out) < 10 {
			out = append(out, t)
		}
	}
	return out
}

func tiles(r *report.Result) []Tile {
	f := r.Fleet
	out := []Tile{
		{"devices", number(float64(f.Devices)), fmt.Sprintf("%s powered", number(float64(f.Powered)))},
		{"executions", number(float64(r.Updates.Succeeded)), fmt.Sprintf("succeeded, %s failed", number(float64(r.Updates.Failed)))},
		{"bricked", number(float64(f.Bricked)), fmt.Sprintf("%s rolled back, %s differ from the cloud", number(float64(f.RolledBack)), number(float64(f.Mismatched)))},
	}
	if t := r.Updates.TimeTo99; t != nil {
		out = append(out, Tile{"time to 99 %", clock(*t), "50 % " + optional(r.Updates.TimeTo50) + ", 90 % " + optional(r.Updates.TimeTo90)})
	} else {
		out = append(out, Tile{"time to 99 %", "never", "50 % " + optional(r.Updates.TimeTo50) + ", 90 % " + optional(r.Updates.TimeTo90)})
	}
	out = append(out, Tile{"messages", number(float64(r.Traffic.MQTTMessagesIn + r.Traffic.MQTTMessagesOut)), fmt.Sprintf("%s metered, %s throttled", number(float64(r.Traffic.MeteredMessages)), number(float64(r.Traffic.Throttled)))})
	if r.CostUSD != nil {
		out = append(out, Tile{"cost", usd(r.CostUSD.Total), "prices of " + r.CostUSD.PricesAsOf})
	}
	return out
}

func optional(t *float64) string {
	if t == nil {
		return "never"
	}
	return clock(*t)
}

// statuses in the order they are stacked, with their colours on every picture.
var statuses = []struct {
	name  string
	color int
}{{"SUCCEEDED", 0}, {"IN_PROGRESS", 1}, {"FAILED", 3}, {"TIMED_OUT", 2}, {"REJECTED", 4}, {"CANCELED", 6}, {"REMOVED", 7}, {"QUEUED", 5}}

// tableOf are the numbers of a picture, at most 25 rows of them.
func tableOf(c *Chart) *Table {
	head := []string{"virtual time"}
	if c.Names != nil {
		head[0] = ""
	} else if c.XUnit != "" {
		head[0] = c.XUnit
	}
	for _, s := range c.Series {
		head = append(head, s.Name)
	}
	t := &Table{Rows: [][]string{head}}
	n := max(len(c.X), len(c.Names))
	step := max(1, (n+24)/25)
	for i := 0; i < n; i += step {
		if i+step >= n {
			i = n - 1
		}
		var row []string
		switch {
		case c.Names != nil:
			row = []string{c.Names[i]}
		case c.XUnit != "":
			row = []string{short(c.X[i])}
		default:
			row = []string{clock(c.X[i])}
		}
		for _, s := range c.Series {
			row = append(row, number(s.Y[i]))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func floats(v []int) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = float64(x)
	}
	return out
}

func less(n, from int, v []int) []float64 {
	out := make([]float64, n)
	for i := range v {
		out[i] = float64(max(0, from-v[i]))
	}
	return out
}

// rate is the increase a second of a counter.
func rate(at []float64, v []uint64) []float64 {
	out := make([]float64, len(v))
	for i := 1; i < len(v); i++ {
		if dt := at[i] - at[i-1]; dt > 0 {
			out[i] = float64(v[i]-v[i-1]) / dt
		}
	}
	return out
}

func number(v float64) string {
	if v != float64(int64(v)) {
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return report.Thousands(int64(v))
}

func usd(v float64) string {
	if v != 0 && v < 0.01 {
		return "$" + strconv.FormatFloat(v, 'g', 2, 64)
	}
	return "$" + strconv.FormatFloat(v, 'f', 2, 64)
}

func byteSize(v float64) string {
	if math.Abs(v) < 1000 {
		return short(v) + " B"
	}
	return short(v) + "B"
}

// listed writes counts by name, the greatest first.
func listed(m map[string]int) string {
	names := slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		if m[a] != m[b] {
			return m[b] - m[a]
		}
		return strings.Compare(a, b)
	})
	for i, n := range names {
		names[i] = n + " " + number(float64(m[n]))
	}
	return strings.Join(names, ", ")
}
