// Package calibrate fits the devices of a scenario to a field: from the times of real
// job executions it derives how many devices are always there, how often the others
// wake up, how fast their links are, and how many updates fail.
package calibrate

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrInput marks a file that cannot be used.
var ErrInput = errors.New("calibrate")

// An Execution is one row: what ListJobExecutionsForJob tells of one thing.
type Execution struct {
	Queued  time.Time
	Started time.Time // zero: never
	Ended   time.Time // zero: not yet
	Status  string
}

// columns are the names that a head may use, as the AWS CLI spells them and as people do.
var columns = map[string][]string{
	"queued":  {"queuedat", "queued", "queued_at"},
	"started": {"startedat", "started", "started_at"},
	"ended":   {"lastupdatedat", "ended", "last_updated_at", "completedat"},
	"status":  {"status"},
}

// Read reads a CSV with a head: queuedAt, startedAt, lastUpdatedAt and status, in any
// order; other columns are ignored. A time is a Unix time in seconds or RFC 3339, and
// empty if it never came.
func Read(r io.Reader) ([]Execution, error) {
	in := csv.NewReader(r)
	in.FieldsPerRecord = -1
	in.TrimLeadingSpace = true
	head, err := in.Read()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: the file is empty: a head such as queuedAt,startedAt,lastUpdatedAt,status is needed", ErrInput)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInput, err)
	}
	at := map[string]int{}
	for want, names := range columns {
		for i, h := range head {
			if slices.Contains(names, strings.ToLower(strings.TrimSpace(strings.TrimPrefix(h, "\ufeff")))) {
				at[want] = i
			}
		}
		if _, ok := at[want]; !ok {
			return nil, fmt.Errorf("%w: line 1: no column %s (one of %s)", ErrInput, want, strings.Join(names, ", "))
		}
	}
	var out []Execution
	for {
		row, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInput, err)
		}
		line, _ := in.FieldPos(0)
		field := func(name string) string {
			if i := at[name]; i < len(row) {
				return strings.TrimSpace(row[i])
			}
			return ""
		}
		e := Execution{Status: strings.ToUpper(field("status"))}
		for _, f := range []struct {
			name string
			to   *time.Time
		}{{"queued", &e.Queued}, {"started", &e.Started}, {"ended", &e.Ended}} {
			if *f.to, err = moment(field(f.name)); err != nil {
				return nil, fmt.Errorf("%w: line %d: %s: %w", ErrInput, line, f.name, err)
			}
		}
		switch {
		case e.Queued.IsZero():
			return nil, fmt.Errorf("%w: line %d: an execution without the time it was queued", ErrInput, line)
		case !e.Started.IsZero() && e.Started.Before(e.Queued), !e.Ended.IsZero() && e.Ended.Before(e.Queued):
			return nil, fmt.Errorf("%w: line %d: it started or ended before it was queued", ErrInput, line)
		}
		out = append(out, e)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: the file has a head and no executions", ErrInput)
	}
	return out, nil
}

func moment(s string) (time.Time, error) {
	if s == "" || strings.EqualFold(s, "null") || s == "None" {
		return time.Time{}, nil
	}
	if v, err := strconv.ParseFloat(s, 64); err == nil {
		if !(v > 0 && v < 1e11) {
			return time.Time{}, fmt.Errorf("%q is no Unix time in seconds", s)
		}
		return time.UnixMicro(int64(v * 1e6)).UTC(), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05", "2006-01-02T15:04:05"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is neither a Unix time nor RFC 3339", s)
}

// A Fit is a distribution fitted to a sample by maximum likelihood.
type Fit struct {
	Name string  // lognormal, exponential, uniform, weibull
	A, B float64 // mu and sigma; mean; low and high; scale and shape
	N    int
	KS   float64 // largest distance between the sample's distribution and the fitted one
	P    float64 // chance of such a distance if the fit were the truth (Kolmogorov's limit; too large as the fit has seen the sample)
}

// CDF of the fit.
func (f *Fit) CDF(x float64) float64 {
	switch f.Name {
	case "lognormal":
		if x <= 0 {
			return 0
		}
		return 0.5 * math.Erfc(-(math.Log(x)-f.A)/(f.B*math.Sqrt2))
	case "exponential":
		return 1 - math.Exp(-max(0, x)/f.A)
	case "weibull":
		return 1 - math.Exp(-math.Pow(max(0, x)/f.A, f.B))
	}
	return min(1, max(0, (x-f.A)/(f.B-f.A)))
}

// Quantile is the inverse of CDF.
func (f *Fit) Quantile(q float64) float64 {
	low, high := 0.0, 1.0
	for f.CDF(high) < q && high < 1e12 {
		high *= 2
	}
	for range 100 {
		if mid := (low + high) / 2; f.CDF(mid) < q {
			low = mid
		} else {
			high = mid
		}
	}
	return (low + high) / 2
}

// Fits are all distributions fitted to a sample of positive numbers, the best first.
func Fits(values []float64) []Fit {
	v := slices.DeleteFunc(slices.Clone(values), func(x float64) bool { return !(x > 0) || math.IsInf(x, 0) })
	slices.Sort(v)
	n := float64(len(v))
	if n < 2 || v[0] == v[len(v)-1] {
		return nil
	}
	sum, logs, squares := 0.0, 0.0, 0.0
	for _, x := range v {
		sum += x
		logs += math.Log(x)
	}
	mu := logs / n
	for _, x := range v {
		squares += (math.Log(x) - mu) * (math.Log(x) - mu)
	}
	scale, shape := weibull(v)
	out := []Fit{
		{Name: "lognormal", A: mu, B: math.Sqrt(squares / n)}, {Name: "exponential", A: sum / n},
		{Name: "uniform", A: 0, B: v[len(v)-1] * (n + 1) / n}, {Name: "weibull", A: scale, B: shape},
	}
	for i := range out {
		f := &out[i]
		f.N = len(v)
		for k, x := range v {
			c := f.CDF(x)
			f.KS = max(f.KS, math.Abs(c-float64(k)/n), math.Abs(float64(k+1)/n-c))
		}
		f.P = kolmogorov(math.Sqrt(n) * f.KS)
	}
	slices.SortStableFunc(out, func(a, b Fit) int {
		switch {
		case a.KS < b.KS:
			return -1
		case a.KS > b.KS:
			return 1
		}
		return 0
	})
	return out
}

// weibull solves the likelihood equation of the shape by bisection.
func weibull(v []float64) (scale, shape float64) {
	mean := 0.0
	for _, x := range v {
		mean += math.Log(x) / float64(len(v))
	}
	top := v[len(v)-1]
	g := func(k float64) float64 { // rises with k
		a, b := 0.0, 0.0
		for _, x := range v {
			w := math.Pow(x/top, k)
			a, b = a+w*math.Log(x), b+w
		}
		return a/b - 1/k - mean
	}
	low, high := 1e-3, 1e3
	for range 200 {
		if shape = math.Sqrt(low * high); g(shape) < 0 {
			low = shape
		} else {
			high = shape
		}
	}
	sum := 0.0
	for _, x := range v {
		sum += math.Pow(x/top, shape)
	}
	return top * math.Pow(sum/float64(len(v)), 1/shape), shape
}

// kolmogorov is the chance that the scaled distance exceeds x, in the limit of many
// samples (A. N. Kolmogorov, 1933).
func kolmogorov(x float64) float64 {
	if x < 0.2 {
		return 1
	}
	p := 0.0
	for k := 1; k <= 100; k++ {
		term := 2 * math.Exp(-2*float64(k*k)*x*x)
		if k%2 == 0 {
			term = -term
		}
		p += term
	}
	return min(1, max(0, p))
}
