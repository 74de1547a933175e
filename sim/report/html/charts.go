package html

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/otasim/otasim/sim/report"
)

// curveSteps are the points of a rollout curve.
const curveSteps = 120

// rolloutCurve is the share of the targets that had succeeded over the time since the first job, its median and a band
// over the seeds.
func rolloutCurve(group []*report.Result) Chart {
	c := Chart{ID: "curve", Title: "Rollout", Note: "Share of the targets that had succeeded, over the time since the first job was created.", Unit: "per cent of the targets"}
	curves := make([][]float64, 0, len(group))
	for _, r := range group {
		curves = append(curves, r.Updates.Curve)
	}
	if c.X = curveTimes(curves); c.X == nil {
		return c
	}
	if len(curves) > 1 {
		c.Note += fmt.Sprintf(" Median of %d seeds, and the band from the 5th to the 95th percentile.", len(curves))
	}
	l := curveLine(c.X, curves)
	l.Name = "succeeded"
	c.Series = []Line{l}
	c.Table = tableOf(&c)
	return c
}

// curveTimes are the times at which curves are shown, nil if nothing ever succeeded.
func curveTimes(curves [][]float64) (out []float64) {
	end := 0.0
	for _, c := range curves {
		if n := len(c); n > 0 {
			end = max(end, c[n-1])
		}
	}
	if end == 0 {
		return nil
	}
	for i := range curveSteps + 1 {
		out = append(out, end*float64(i)/curveSteps)
	}
	return out
}

// curveLine is the median of some curves at some times, with a band if there are several.
func curveLine(at []float64, curves [][]float64) (l Line) {
	for _, x := range at {
		shares := make([]float64, 0, len(curves))
		for _, c := range curves {
			shares = append(shares, shareAt(c, x))
		}
		slices.Sort(shares)
		l.Y = append(l.Y, percentile(shares, 0.5))
		if len(shares) > 1 {
			l.Lo, l.Hi = append(l.Lo, percentile(shares, 0.05)), append(l.Hi, percentile(shares, 0.95))
		}
	}
	return l
}

// shareAt reads a curve whose entries are the times of 0, 2, 4 ... per cent, on straight lines between them.
func shareAt(curve []float64, x float64) float64 {
	n, _ := slices.BinarySearchFunc(curve, x, func(t, x float64) int {
		if t <= x {
			return -1
		}
		return 1
	})
	switch n {
	case 0:
		return 0
	case len(curve):
		return float64(2 * (n - 1))
	}
	return 2 * (float64(n-1) + (x-curve[n-1])/(curve[n]-curve[n-1]))
}

func percentile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	at := q * float64(len(sorted)-1)
	i := int(at)
	if f := at - float64(i); f > 0 {
		return sorted[i] + f*(sorted[i+1]-sorted[i])
	}
	return sorted[i]
}

// seedTable is a row for each seed.
func seedTable(group []*report.Result) *Table {
	t := &Table{Rows: [][]string{{"seed", "verdict", "50 %", "90 %", "99 %", "succeeded", "failed", "hurt", "bricked", "cost"}}}
	for _, r := range group {
		cost := ""
		if r.CostUSD != nil {
			cost = usd(r.CostUSD.Total)
		}
		u := &r.Updates
		t.Rows = append(t.Rows, []string{strconv.FormatUint(r.Seed, 10), r.Verdict, optional(u.TimeTo50), optional(u.TimeTo90), optional(u.TimeTo99),
			number(float64(u.Succeeded)), number(float64(u.Failed)), number(float64(u.Hurt)), number(float64(r.Fleet.Bricked)), cost})
	}
	return t
}

// chartsOf are the pictures of one run.
func chartsOf(r *report.Result) []Chart {
	d := r.Detail
	s := &d.Series
	marks := make([]Mark, 0, len(r.Steps))
	for _, step := range r.Steps {
		marks = append(marks, Mark{step.At, step.Text})
	}
	rollout := Chart{ID: "rollout", Title: "States over time", Note: "Job executions by status.", Unit: "executions", Kind: Stacked, X: s.At, Marks: marks}
	for _, st := range statuses {
		if v, ok := s.Executions[st.name]; ok {
			rollout.Series = append(rollout.Series, Line{Name: st.name, Color: st.color, Y: floats(v)})
		}
	}
	versions := Chart{ID: "versions", Title: "What the fleet runs", Note: "Devices by the version that their flash shows to be running.", Unit: "devices", Kind: Stacked, X: s.At, Marks: marks}
	for i, v := range slices.Sorted(maps.Keys(s.Versions)) {
		versions.Series = append(versions.Series, Line{Name: v, Color: 8 + i%4, Y: floats(s.Versions[v])})
	}
	trouble := Chart{ID: "trouble", Title: "Devices in trouble", Note: "Without power, asleep and not yet switched on included; rolled back; bricked.", Unit: "devices", X: s.At,
		Series: []Line{{Name: "without power", Color: 7, Y: less(len(s.At), r.Fleet.Devices, s.Powered)}, {Name: "rolled back", Color: 2, Y: floats(s.RolledBack)}, {Name: "bricked", Color: 3, Y: floats(s.Bricked)}}}
	messages := Chart{ID: "messages", Title: "MQTT messages", Note: "Control packets a second at the cloud.", Unit: "per second", X: s.At,
		Series: []Line{{Name: "from devices", Color: 1, Y: rate(s.At, s.MessagesIn)}, {Name: "to devices", Color: 0, Y: rate(s.At, s.MessagesOut)}}}
	volume := Chart{ID: "bytes", Title: "Throughput", Note: "Bytes a second at the cloud.", Unit: "bytes per second", X: s.At,
		Series: []Line{{Name: "MQTT from devices", Color: 1, Y: rate(s.At, s.BytesIn)}, {Name: "MQTT to devices", Color: 0, Y: rate(s.At, s.BytesOut)}}}
	if n := len(s.HTTPBytes); n > 0 && s.HTTPBytes[n-1] > 0 {
		volume.Series = append(volume.Series, Line{Name: "HTTPS to devices", Color: 2, Y: rate(s.At, s.HTTPBytes)})
	}
	connects := Chart{ID: "connects", Title: "Connects and throttling", Note: "CONNECTs accepted, and packets or calls refused for a quota.", Unit: "per second", X: s.At,
		Series: []Line{{Name: "connects", Color: 1, Y: rate(s.At, s.Connects)}, {Name: "throttled", Color: 3, Y: rate(s.At, s.Throttled)}}}
	charts := []Chart{rollout, versions, trouble, messages, volume, connects}
	if len(d.Latencies) > 0 {
		c := histogram("latency", "Latency", "From a request for blocks, or a range by HTTPS, to the first answer, as the device sees it; ten steps for each power of ten.", "answers", "", d.Latencies)
		for _, b := range d.Latencies {
			c.Names = append(c.Names, report.Clock(time.Duration(b.From*float64(time.Second)).Round(time.Millisecond)))
		}
		c.X = nil
		charts = append(charts, c)
	}
	if len(d.Durations) > 0 {
		charts = append(charts, histogram("durations", "How long an update took", "From QUEUED to SUCCEEDED.", "executions", "seconds", d.Durations))
	}
	if len(d.Phases) > 0 {
		c := Chart{ID: "phases", Title: "Where the time went", Note: "Of the executions that succeeded.", Unit: "seconds", Kind: Ranks, Series: []Line{{Name: "mean", Color: 1}, {Name: "95th percentile", Color: 5}}}
		for _, p := range d.Phases {
			c.Names = append(c.Names, p.Name)
			c.Series[0].Y, c.Series[1].Y = append(c.Series[0].Y, p.Mean), append(c.Series[1].Y, p.P95)
		}
		charts = append(charts, c)
	}
	if len(d.Wear) > 0 {
		c := histogram("wear", "Flash wear", "Erases of the most erased sector of each device; the rated life is 100,000.", "devices", "erases", d.Wear)
		if d.Wear[0].To-d.Wear[0].From == 1 {
			for _, b := range d.Wear {
				c.Names = append(c.Names, number(b.From))
			}
			c.X = nil
		}
		charts = append(charts, c)
	}
	for i := range charts {
		charts[i].Table = tableOf(&charts[i])
	}
	return charts
}

func costChart(c *report.Cost) Chart {
	out := Chart{ID: "cost", Title: "Cost", Note: "What the cloud would bill, in US dollars, without its free tier.", Unit: "USD", Kind: Ranks,
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
			if p.Upto > 0 {
				upto = number(p.Upto/p.Per) + " GiB"
			}
		}
		t.Rows = append(t.Rows, []string{p.Name, strconv.FormatFloat(p.USD, 'f', -1, 64), per, upto, source})
	}
	return t
}

// quotaChart is how much of each limit was used, the tightest eight, and a table of all.
func quotaChart(all []report.Quota) Chart {
	c := Chart{ID: "quotas", Title: "Quota headroom", Note: "Peak use of the account's quotas in per cent of their limits; the peak of a rate is what was asked for within a second. The numbers below have also the bounds on single requests and documents.", Unit: "per cent of the limit", Kind: Ranks,
		Series: []Line{{Name: "peak use", Color: 1}}, Limits: []Limit{{100, "limit"}}}
	c.Table = &Table{Rows: [][]string{{"quota", "peak", "limit", "headroom", "throttled", "unit"}}}
	tight := slices.Clone(all)
	slices.SortStableFunc(tight, func(a, b report.Quota) int {
		if a.Static != b.Static {
			return map[bool]int{true: 1, false: -1}[a.Static]
		}
		return cmp.Compare(b.Share(), a.Share())
	})
	for i := range tight {
		q := &tight[i]
		limit, headroom := "none", ""
		if q.Limit != nil {
			limit, headroom = number(float64(*q.Limit)), number(math.Round(100*max(0, 1-q.Share())))+" %"
		}
		c.Table.Rows = append(c.Table.Rows, []string{q.Name, number(float64(q.Peak)), limit, headroom, number(float64(q.Throttled)), q.Unit})
		if q.Limit != nil && !q.Static && len(c.Names) < 12 {
			c.Names = append(c.Names, q.Name)
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
