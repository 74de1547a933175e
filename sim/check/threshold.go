package check

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/otasim/otasim/sim/report"
)

// Threshold is one limit on a metric: "p(99) < 90m" on job_execution_duration of group canary.
type Threshold struct {
	Metric string // job_execution_duration
	Group  string // "" is the whole fleet
	Expr   string // as written
	Stat   string // p, min, max, avg, med, rate, count
	P      float64
	Op     string // <, <=, >, >=
	Limit  int64  // nanoseconds for durations, ppm for rates, else a number
}

// Name is the metric with its group, as the file writes it.
func (t Threshold) Name() string {
	if t.Group == "" {
		return t.Metric
	}
	return t.Metric + "{group:" + t.Group + "}"
}

// The metrics of a run.
const (
	MetricJobExecutionDuration = "job_execution_duration" // from QUEUED to SUCCEEDED, of executions that succeeded
	MetricJobDuration          = "job_duration"           // from creation to COMPLETED
	MetricJobExecutionFailed   = "job_execution_failed"   // share of the finished executions that did not succeed
	MetricMQTTConnectFailed    = "mqtt_connect_failed"    // share of the connection attempts that failed
)

// durations and rates are the metrics by what they measure.
var (
	durations = []string{MetricJobExecutionDuration, MetricJobDuration}
	rates     = []string{MetricJobExecutionFailed, MetricMQTTConnectFailed}
)

// Metrics lists the names of all metrics.
func Metrics() []string { return append(slices.Clone(durations), rates...) }

var (
	metricPattern    = regexp.MustCompile(`^([a-z0-9_]+)(?:\{group: ?([^{}]+)\})?$`)
	thresholdPattern = regexp.MustCompile(`^(p\(([0-9.]+)\)|min|max|avg|med|count|rate) *(<=|>=|<|>) *([^<>= ].*)$`)
)

// ParseThreshold reads the metric and the expression of a threshold. parse reads a duration and a share.
func ParseThreshold(metric, exprText string, duration func(string) (time.Duration, bool), share func(string) (uint64, bool)) (Threshold, error) {
	m := metricPattern.FindStringSubmatch(metric)
	if m == nil {
		return Threshold{}, fmt.Errorf("expected a metric such as job_execution_duration or job_execution_duration{group:NAME}, got %q", metric)
	}
	t := Threshold{Metric: m[1], Group: m[2], Expr: exprText}
	e := thresholdPattern.FindStringSubmatch(strings.TrimSpace(exprText))
	if e == nil {
		return t, fmt.Errorf(`expected a limit such as "p(99) < 90m", "max < 45m" or "rate < 2%%", got %q`, exprText)
	}
	t.Stat, t.Op = e[1], e[3]
	if e[2] != "" {
		p, err := strconv.ParseFloat(e[2], 64)
		if err != nil || p <= 0 || p > 100 {
			return t, fmt.Errorf("a percentile lies above 0 and up to 100, got %q", e[2])
		}
		t.Stat, t.P = "p", p
	}
	limit := strings.TrimSpace(e[4])
	switch {
	case t.Stat == "count":
		n, err := strconv.ParseInt(limit, 10, 64)
		if err != nil {
			return t, fmt.Errorf("count is compared with a whole number, got %q", limit)
		}
		t.Limit = n
	case slices.Contains(rates, t.Metric):
		s, ok := share(limit)
		if t.Stat != "rate" || !ok {
			return t, fmt.Errorf(`%s is a share: write "rate < 2%%"`, t.Metric)
		}
		t.Limit = int64(s)
	default:
		d, ok := duration(limit)
		if t.Stat == "rate" || !ok {
			return t, fmt.Errorf(`%s is a duration: write "p(99) < 90m" or "max < 45m"`, t.Metric)
		}
		t.Limit = int64(d)
	}
	return t, nil
}

// Samples collects the metrics of a run.
type Samples struct {
	series map[string]*series
}

type series struct {
	hist       *hdrhistogram.Histogram // milliseconds
	sum        time.Duration
	count, hit int64
}

// maxMillis bounds what a histogram keeps: 100 days.
const maxMillis = 100 * 24 * 3600 * 1000

// NewSamples makes an empty collection.
func NewSamples() *Samples { return &Samples{series: map[string]*series{}} }

func (s *Samples) of(metric, group string) *series {
	key := metric + "\x00" + group
	got := s.series[key]
	if got == nil {
		got = &series{}
		s.series[key] = got
	}
	return got
}

// Duration adds one measured duration, for the fleet and for its group ("" if it has none).
func (s *Samples) Duration(metric, group string, d time.Duration) {
	for i, g := range [...]string{"", group} {
		if i == 1 && g == "" {
			return
		}
		one := s.of(metric, g)
		if one.hist == nil {
			one.hist = hdrhistogram.New(1, maxMillis, 3)
		}
		// The value is clamped, so RecordValue cannot fail.
		_ = one.hist.RecordValue(min(max(d.Milliseconds(), 0), maxMillis))
		one.sum += d
		one.count++
	}
}

// Rate adds one case of which some are hits, for the fleet and for its group.
func (s *Samples) Rate(metric, group string, hit bool) {
	for i, g := range [...]string{"", group} {
		if i == 1 && g == "" {
			return
		}
		one := s.of(metric, g)
		one.count++
		if hit {
			one.hit++
		}
	}
}

// Quantiles of a duration over the fleet, nil without samples.
func (s *Samples) Quantiles(metric string) *report.Quantiles {
	one := s.series[metric+"\x00"]
	if one == nil || one.hist == nil {
		return nil
	}
	q := func(p float64) float64 { return float64(one.hist.ValueAtQuantile(p)) / 1000 }
	return &report.Quantiles{P50: q(50), P90: q(90), P95: q(95), P99: q(99), Max: q(100)}
}

// Judge judges thresholds. A metric without samples does not hold its limit, except that a count is then 0.
func (s *Samples) Judge(limits []Threshold) []report.Threshold {
	out := make([]report.Threshold, 0, len(limits))
	for _, t := range limits {
		r := report.Threshold{Metric: t.Name(), Expr: t.Expr}
		one := s.series[t.Metric+"\x00"+t.Group]
		if one == nil {
			one = &series{}
		}
		switch {
		case t.Stat == "count":
			r.Holds, r.Actual = compare(one.count, t.Op, t.Limit), strconv.FormatInt(one.count, 10)
		case one.count == 0:
			r.Actual = "no samples"
		case t.Stat == "rate":
			ppm := one.hit * 1_000_000 / one.count
			r.Holds = compare(ppm, t.Op, t.Limit)
			r.Actual = strconv.FormatFloat(float64(ppm)/10_000, 'f', -1, 64) + "%"
		default:
			d := one.stat(t)
			r.Holds, r.Actual = compare(int64(d), t.Op, t.Limit), report.Clock(d)
		}
		out = append(out, r)
	}
	return out
}

func (s *series) stat(t Threshold) time.Duration {
	switch t.Stat {
	case "min":
		return time.Duration(s.hist.Min()) * time.Millisecond
	case "max":
		return time.Duration(s.hist.ValueAtQuantile(100)) * time.Millisecond
	case "avg":
		return s.sum / time.Duration(s.count)
	case "med":
		return time.Duration(s.hist.ValueAtQuantile(50)) * time.Millisecond
	}
	return time.Duration(s.hist.ValueAtQuantile(t.P)) * time.Millisecond
}

func compare(a int64, op string, b int64) bool {
	switch op {
	case "<":
		return a < b
	case "<=":
		return a <= b
	case ">":
		return a > b
	}
	return a >= b
}
