// Package html writes a report as one self-contained HTML file: pictures, tables,
// style and a little script, and nothing that a browser would have to fetch.
package html

import (
	"bytes"
	"cmp"
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
	"list": func(m map[string]int) string { return listed(m) },
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

// A Section is one run.
type Section struct {
	*report.Result
	ID     string
	Again  string // the command that repeats it
	Holds  bool
	Charts []drawn
	Cost   []drawn
	Prices *Table
	Tiles  []Tile
}

// A Tile is one number that matters.
type Tile struct{ Name, Value, Note string }

// Write writes the report of some runs. again are the commands that repeat them, or
// nil.
func Write(w io.Writer, results []*report.Result, again []string) error {
	p := Page{Title: "otasim"}
	for i, r := range results {
		r.Normalize()
		id := "run"
		if len(results) > 1 {
			id = fmt.Sprintf("run%d", i+1)
		}
		s, err := section(r, id)
		if err != nil {
			return err
		}
		if i < len(again) {
			s.Again = again[i]
		}
		p.Sections = append(p.Sections, s)
		for n, v := range r.Variants {
			if v.Result == nil || v.Result.Detail == nil {
				continue
			}
			s, err := section(v.Result, fmt.Sprintf("%s-%d", id, n+1))
			if err != nil {
				return err
			}
			s.Scenario += ": " + v.Name
			p.Sections = append(p.Sections, s)
		}
	}
	if len(results) == 1 {
		p.Title = results[0].Scenario
	}
	var buf bytes.Buffer // all or nothing
	if err := page.Execute(&buf, p); err != nil {
		return err
	}
	_, err := buf.WriteTo(w)
	return err
}

func section(r *report.Result, id string) (Section, error) {
	one := *r
	s := Section{Result: &one, ID: id, Holds: r.Verdict == report.VerdictPass, Tiles: tiles(r)}
	var charts []Chart
	if r.Detail != nil {
		charts = chartsOf(r)
	}
	for _, c := range charts {
		c.ID = id + "-" + c.ID
		d, err := c.draw()
		if err != nil {
			return s, err
		}
		s.Charts = append(s.Charts, d)
	}
	if r.CostUSD != nil {
		c := costChart(r.CostUSD)
		c.ID = id + "-cost"
		d, err := c.draw()
		if err != nil {
			return s, err
		}
		s.Cost, s.Prices = []drawn{d}, priceTable(r.CostUSD)
	}
	if c := quotaChart(r.Quotas); len(c.Names) > 0 {
		c.ID = id + "-quotas"
		d, err := c.draw()
		if err != nil {
			return s, err
		}
		s.Cost = append(s.Cost, d)
	}
	return s, nil
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

// chartsOf are the pictures of one run.
func chartsOf(r *report.Result) []Chart {
	d := r.Detail
	s := &d.Series
	marks := make([]Mark, 0, len(r.Steps))
	for _, step := range r.Steps {
		marks = append(marks, Mark{step.At, step.Text})
	}
	rollout := Chart{ID: "rollout", Title: "Rollout", Note: "Job executions by status over virtual time.", Unit: "executions", Kind: Stacked, X: s.At, Marks: marks}
	for _, st := range statuses {
		if v, ok := s.Executions[st.name]; ok {
			rollout.Series = append(rollout.Series, Line{Name: st.name, Color: st.color, Y: floats(v)})
		}
	}
	versions := Chart{ID: "versions", Title: "What the fleet runs", Note: "Devices by the version that their flash shows to be running.", Unit: "devices", Kind: Stacked, X: s.At, Marks: marks}
	for i, v := range slices.Sorted(maps.Keys(s.Versions)) {
		versions.Series = append(versions.Series, Line{Name: v, Color: 8 + i%4, Y: floats(s.Versions[v])})
	}
	trouble := Chart{ID: "trouble", Title: "Devices in trouble", Note: "Without power, rolled back, bricked.", Unit: "devices", X: s.At,
		Series: []Line{{Name: "without power", Color: 7, Y: less(len(s.At), r.Fleet.Devices, s.Powered)}, {Name: "rolled back", Color: 2, Y: floats(s.RolledBack)}, {Name: "bricked", Color: 3, Y: floats(s.Bricked)}}}
	messages := Chart{ID: "messages", Title: "MQTT messages", Note: "Control packets a second at the cloud.", Unit: "per second", X: s.At,
		Series: []Line{{Name: "from devices", Color: 1, Y: rate(s.At, s.MessagesIn)}, {Name: "to devices", Color: 0, Y: rate(s.At, s.MessagesOut)}}}
	volume := Chart{ID: "bytes", Title: "MQTT bytes", Note: "Bytes a second at the cloud.", Unit: "bytes per second", X: s.At,
		Series: []Line{{Name: "from devices", Color: 1, Y: rate(s.At, s.BytesIn)}, {Name: "to devices", Color: 0, Y: rate(s.At, s.BytesOut)}}}
	connects := Chart{ID: "connects", Title: "Connects and throttling", Note: "CONNECTs accepted, and packets or calls refused for a quota.", Unit: "per second", X: s.At,
		Series: []Line{{Name: "connects", Color: 1, Y: rate(s.At, s.Connects)}, {Name: "throttled", Color: 3, Y: rate(s.At, s.Throttled)}}}
	charts := []Chart{rollout, versions, trouble, messages, volume, connects}
	if len(d.Durations) > 0 {
		charts = append(charts, histogram("durations", "How long an update took", "From QUEUED to SUCCEEDED.", "executions", "seconds", d.Durations))
	}
	if len(d.Phases) > 0 {
		c := Chart{ID: "phases", Title: "Where the time went", Note: "Of the executions that succeeded.", Unit: "seconds", Kind: Bars, Series: []Line{{Name: "mean", Color: 1}, {Name: "95th percentile", Color: 5}}}
		for _, p := range d.Phases {
			c.Names = append(c.Names, p.Name)
			c.Series[0].Y, c.Series[1].Y = append(c.Series[0].Y, p.Mean), append(c.Series[1].Y, p.P95)
		}
		charts = append(charts, c)
	}
	if len(d.Wear) > 0 {
		charts = append(charts, histogram("wear", "Flash wear", "Erases of the most erased sector of each device; the rated life is 100,000.", "devices", "erases", d.Wear))
	}
	for i := range charts {
		charts[i].Table = tableOf(&charts[i])
	}
	return charts
}

func costChart(c *report.Cost) Chart {
	out := Chart{Title: "Cost", Note: "What the cloud would bill, in US dollars, without its free tier.", Unit: "USD", Kind: Bars,
		Names:  []string{"messages", "connectivity", "job executions", "S3 requests", "S3 transfer"},
		Series: []Line{{Name: "cost", Color: 1, Y: []float64{c.Messages, c.Connectivity, c.JobExecutions, c.S3 - c.S3Transfer, c.S3Transfer}}}}
	u := &c.Usage
	out.Table = &Table{Rows: [][]string{{"item", "usage", "USD"},
		{"messages of 5 KB", number(float64(u.MeteredMessages)), usd(c.Messages)}, {"connection-minutes", number(u.ConnectedMinutes), usd(c.Connectivity)},
		{"job executions", number(float64(u.JobExecutions)), usd(c.JobExecutions)},
		{"S3 requests, billed as GET and as PUT", number(float64(u.S3Gets)) + " and " + number(float64(u.S3Puts)), usd(c.S3 - c.S3Transfer)},
		{"S3 transfer to devices", byteSize(float64(u.S3EgressBytes)), usd(c.S3Transfer)}, {"total", "", usd(c.Total)}}}
	return out
}

// priceTable is where the prices of a bill come from.
func priceTable(c *report.Cost) *Table {
	t := &Table{Rows: [][]string{{"price", "USD", "for", "up to", "source"}}}
	for _, p := range c.Prices {
		upto, source := "", p.Source
		if p.Upto > 0 {
			upto = short(p.Upto)
		}
		if p.Date != "" {
			source += " (" + p.Date + ")"
		}
		if !p.Confirmed {
			source += ", not confirmed"
		}
		per := short(p.Per) + " " + p.Unit
		if p.Per == 1<<30 {
			per = "GiB of " + p.Unit
		}
		t.Rows = append(t.Rows, []string{p.Name, strconv.FormatFloat(p.USD, 'f', -1, 64), per, upto, source})
	}
	return t
}

// quotaChart is how much of each limit was used, the tightest eight, and a table of all.
func quotaChart(all []report.Quota) Chart {
	c := Chart{Title: "Quota headroom", Note: "Peak use of the account's quotas in per cent of their limits; the peak of a rate is what was asked for within a second.", Unit: "per cent of the limit", Kind: Bars,
		Series: []Line{{Name: "peak use", Color: 1}}, Limits: []Limit{{100, "limit"}}}
	c.Table = &Table{Rows: [][]string{{"quota", "peak", "limit", "headroom", "throttled", "unit"}}}
	tight := slices.Clone(all)
	slices.SortStableFunc(tight, func(a, b report.Quota) int { return cmp.Compare(b.Share(), a.Share()) })
	for i := range tight {
		q := &tight[i]
		limit, headroom := "none", ""
		if q.Limit != nil {
			limit, headroom = number(float64(*q.Limit)), number(math.Round(100*max(0, 1-q.Share())))+" %"
		}
		c.Table.Rows = append(c.Table.Rows, []string{q.Name, number(float64(q.Peak)), limit, headroom, number(float64(q.Throttled)), q.Unit})
		if q.Limit != nil && len(c.Names) < 8 {
			c.Names = append(c.Names, strings.ReplaceAll(q.Name, "connection", "conn."))
			c.Series[0].Y = append(c.Series[0].Y, math.Round(1000*q.Share())/10)
		}
	}
	return c
}

func histogram(id, title, note, unit, xunit string, bins []report.Bin) Chart {
	c := Chart{ID: id, Title: title, Note: note, Unit: unit, XUnit: xunit, Kind: Bars, Series: []Line{{Name: unit, Color: 1}}}
	for _, b := range bins {
		c.X, c.Series[0].Y = append(c.X, b.From), append(c.Series[0].Y, float64(b.Count))
	}
	return c
}

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
