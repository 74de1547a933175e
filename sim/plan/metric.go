package plan

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario/file"
)

// A Metric is one number of a run that a plan can ask for.
type Metric struct {
	Name     string
	Text     string // what it is
	Duration bool   // virtual seconds
	Money    bool   // US dollars
	of       func(*report.Result) float64
}

// never is what a time is that did not come.
var never = math.Inf(1)

// Metrics in the order of the tables.
var Metrics = []Metric{
	{"time_to_50", "from the job's creation until half of the targets had succeeded", true, false, func(r *report.Result) float64 { return when(r.Updates.TimeTo50) }},
	{"time_to_90", "until 90 % had", true, false, func(r *report.Result) float64 { return when(r.Updates.TimeTo90) }},
	{"time_to_99", "until 99 % had", true, false, func(r *report.Result) float64 { return when(r.Updates.TimeTo99) }},
	{"virtual_time", "until the run ended", true, false, func(r *report.Result) float64 { return r.VirtualSeconds }},
	{"cost", "what the cloud would bill", false, true, func(r *report.Result) float64 {
		if r.CostUSD == nil {
			return never
		}
		return r.CostUSD.Total
	}},
	{"cost_messages", "of it, messages", false, true, func(r *report.Result) float64 { return part(r, func(c *report.Cost) float64 { return c.Messages }) }},
	{"cost_connectivity", "of it, connection-minutes", false, true, func(r *report.Result) float64 { return part(r, func(c *report.Cost) float64 { return c.Connectivity }) }},
	{"cost_executions", "of it, job executions", false, true, func(r *report.Result) float64 {
		return part(r, func(c *report.Cost) float64 { return c.JobExecutions })
	}},
	{"cost_s3_requests", "of it, S3 requests", false, true, func(r *report.Result) float64 {
		return part(r, func(c *report.Cost) float64 { return c.S3 - c.S3Transfer })
	}},
	{"cost_s3_transfer", "of it, bytes from S3 to devices", false, true, func(r *report.Result) float64 { return part(r, func(c *report.Cost) float64 { return c.S3Transfer }) }},
	{"hurt", "devices left bricked, rolled back or with a failed execution", false, false, func(r *report.Result) float64 { return float64(r.Updates.Hurt) }},
	{"succeeded", "executions SUCCEEDED", false, false, func(r *report.Result) float64 { return float64(r.Updates.Succeeded) }},
	{"failed", "executions FAILED, REJECTED or TIMED_OUT", false, false, func(r *report.Result) float64 { return float64(r.Updates.Failed) }},
	{"rolled_back", "devices that fell back to their older image", false, false, func(r *report.Result) float64 { return float64(r.Fleet.RolledBack) }},
	{"bricked", "devices with nothing bootable", false, false, func(r *report.Result) float64 { return float64(r.Fleet.Bricked) }},
	{"mismatched", "devices about which the cloud and the flash disagree", false, false, func(r *report.Result) float64 { return float64(r.Fleet.Mismatched) }},
	{"messages", "MQTT control packets both ways", false, false, func(r *report.Result) float64 { return float64(r.Traffic.MQTTMessagesIn + r.Traffic.MQTTMessagesOut) }},
	{"metered_messages", "in the units of 5 KB that are billed", false, false, func(r *report.Result) float64 { return float64(r.Traffic.MeteredMessages) }},
	{"mqtt_bytes", "bytes of MQTT both ways", false, false, func(r *report.Result) float64 { return float64(r.Traffic.MQTTBytesIn + r.Traffic.MQTTBytesOut) }},
	{"http_bytes", "bytes of HTTP", false, false, func(r *report.Result) float64 { return float64(r.Traffic.HTTPBytes) }},
	{"connects", "connections accepted", false, false, func(r *report.Result) float64 { return float64(r.Traffic.Connects) }},
	{"throttled", "packets and calls refused for a quota", false, false, func(r *report.Result) float64 { return float64(r.Traffic.Throttled) }},
}

// CostParts are the metrics that add up to cost.
func CostParts() (out []*Metric) {
	for i := range Metrics {
		if strings.HasPrefix(Metrics[i].Name, "cost_") {
			out = append(out, &Metrics[i])
		}
	}
	return out
}

func part(r *report.Result, of func(*report.Cost) float64) float64 {
	if r.CostUSD == nil {
		return never
	}
	return of(r.CostUSD)
}

func when(t *float64) float64 {
	if t == nil {
		return never
	}
	return *t
}

func metric(name string) *Metric {
	for i := range Metrics {
		if Metrics[i].Name == name {
			return &Metrics[i]
		}
	}
	return nil
}

func metricNames() []string {
	out := make([]string, 0, len(Metrics))
	for i := range Metrics {
		out = append(out, Metrics[i].Name)
	}
	return out
}

// Text writes a value of the metric.
func (m *Metric) Write(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "never"
	case math.IsNaN(v):
		return "?"
	case m.Duration:
		return report.Clock(time.Duration(v * float64(time.Second)).Round(time.Second))
	case m.Money:
		return "$" + strconv.FormatFloat(v, 'f', 2, 64)
	}
	return report.Thousands(int64(math.Round(v)))
}

// A Constraint is a limit on a metric that every run of a point must keep.
type Constraint struct {
	Text   string
	Metric *Metric
	Op     string
	Limit  float64
}

var constraintPattern = regexp.MustCompile(`^\s*([a-z0-9_]+)\s*(<=|>=|==|!=|<|>)\s*(\S.*?)\s*$`)

// ParseConstraint reads "time_to_99 < 6h".
func ParseConstraint(text string) (Constraint, error) {
	m := constraintPattern.FindStringSubmatch(text)
	if m == nil {
		return Constraint{}, fmt.Errorf(`expected a limit on a metric such as "time_to_99 < 6h" or "bricked == 0", got %q`, text)
	}
	c := Constraint{Text: text, Metric: metric(m[1]), Op: m[2]}
	if c.Metric == nil {
		help := file.DidYouMean(m[1], metricNames())
		if help == "" {
			help = "one of " + strings.Join(metricNames(), ", ")
		}
		return c, fmt.Errorf("unknown metric %q: %s", m[1], help)
	}
	if d, ok := file.ParseDuration(m[3]); ok && c.Metric.Duration {
		c.Limit = d.Seconds()
		return c, nil
	}
	v, err := strconv.ParseFloat(strings.TrimPrefix(m[3], "$"), 64)
	switch {
	case c.Metric.Duration:
		return c, fmt.Errorf("%s is a time: compare it with a duration such as 90s or 6h, got %q", c.Metric.Name, m[3])
	case err != nil || math.IsNaN(v) || math.IsInf(v, 0):
		return c, fmt.Errorf("%s is a number: compare it with one, got %q", c.Metric.Name, m[3])
	}
	c.Limit = v
	return c, nil
}

// impossible says which constraints no run can keep together: every metric is 0 or more. "" if there are none.
func impossible(all []Constraint) string {
	for i := range all {
		low, high, above, below := 0.0, never, false, false // above, below: the bound itself does not keep it
		var texts []string
		for k := range all {
			c := &all[k]
			if c.Metric != all[i].Metric || c.Op == "!=" {
				continue
			}
			texts = append(texts, strconv.Quote(c.Text))
			if c.Op != "<" && c.Op != "<=" && (c.Limit > low || c.Limit == low && c.Op == ">") {
				low, above = c.Limit, c.Op == ">"
			}
			if c.Op != ">" && c.Op != ">=" && (c.Limit < high || c.Limit == high && c.Op == "<") {
				high, below = c.Limit, c.Op == "<"
			}
		}
		if low > high || low == high && (above || below) {
			return fmt.Sprintf("no run can keep %s: %s is 0 or more, and one number", strings.Join(texts, " and "), all[i].Metric.Name)
		}
	}
	return ""
}

// Holds judges a value. What never came keeps no upper limit.
func (c *Constraint) Holds(v float64) bool {
	switch c.Op {
	case "<":
		return v < c.Limit
	case "<=":
		return v <= c.Limit
	case ">":
		return v > c.Limit
	case ">=":
		return v >= c.Limit
	case "!=":
		return v != c.Limit
	}
	return v == c.Limit
}

// quantile of sorted values by linear interpolation; an infinite neighbour wins.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	at := q * float64(len(sorted)-1)
	i := int(at)
	if f := at - float64(i); f > 0 {
		if math.IsInf(sorted[i+1], 1) {
			return never
		}
		return sorted[i] + f*(sorted[i+1]-sorted[i])
	}
	return sorted[i]
}

func sorted(v []float64) []float64 {
	out := slices.Clone(v)
	slices.Sort(out)
	return out
}
