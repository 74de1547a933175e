package calibrate

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRead(t *testing.T) {
	got, err := Read(strings.NewReader("thingName,status,queuedAt,startedAt,lastUpdatedAt\na,SUCCEEDED,1767225600,1767225601.5,2026-01-01T00:01:00Z\nb,QUEUED,1767225600,,1767225600\n"))
	require.NoError(t, err)
	require.Len(t, got, 2)
	require.Equal(t, 1500*time.Millisecond, got[0].Started.Sub(got[0].Queued))
	require.Equal(t, time.Minute, got[0].Ended.Sub(got[0].Queued))
	require.True(t, got[1].Started.IsZero())
	for text, want := range map[string]string{
		"":                     "the file is empty",
		"queuedAt,startedAt\n": "no column",
		"queuedAt,startedAt,lastUpdatedAt,status\n":                      "no executions",
		"queuedAt,startedAt,lastUpdatedAt,status\nx,,,QUEUED\n":          "line 2: queued",
		"queuedAt,startedAt,lastUpdatedAt,status\n,,,QUEUED\n":           "line 2: an execution without",
		"queuedAt,startedAt,lastUpdatedAt,status\n100,50,,IN_PROGRESS\n": "before it was queued",
		"queuedAt,startedAt,lastUpdatedAt,status\n\"\n":                  "calibrate",
	} {
		_, err := Read(strings.NewReader(text))
		require.ErrorIs(t, err, ErrInput, text)
		require.ErrorContains(t, err, want)
	}
}

// A sample of a known distribution is recognised, and its parameters come back.
func TestFits(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	draw := map[string]func() float64{
		"lognormal":   func() float64 { return math.Exp(3 + 0.7*rng.NormFloat64()) },
		"exponential": func() float64 { return 120 * rng.ExpFloat64() },
		"uniform":     func() float64 { return 43200 * rng.Float64() },
		"weibull":     func() float64 { return 50 * math.Pow(rng.ExpFloat64(), 1/3.0) },
	}
	want := map[string][2]float64{"lognormal": {3, 0.7}, "exponential": {120, 0}, "uniform": {0, 43200}, "weibull": {50, 3}}
	for name, next := range draw {
		v := make([]float64, 4000)
		for i := range v {
			v[i] = next()
		}
		fits := Fits(v)
		best := fits[0]
		if name == "exponential" && best.Name == "weibull" { // which it is, with shape 1
			require.InDelta(t, 1, best.B, 0.05)
			best = fits[1]
		}
		require.Equal(t, name, best.Name)
		require.InDelta(t, want[name][0], best.A, 0.03*want[name][0]+0.05, name)
		require.InDelta(t, want[name][1], best.B, 0.05*want[name][1]+0.01, name)
		require.Less(t, best.KS, 0.03)
		require.InDelta(t, 0.5, best.CDF(best.Quantile(0.5)), 1e-6)
		for _, f := range fits {
			require.False(t, math.IsNaN(f.KS) || math.IsNaN(f.P), "%+v", f)
		}
	}
	require.Nil(t, Fits(nil))
	require.Nil(t, Fits([]float64{5, 5, 5}))
}

func TestField(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	start := time.Unix(1767225600, 0)
	var all []Execution
	for i := range 1000 {
		e := Execution{Queued: start, Status: "SUCCEEDED"}
		switch {
		case i < 700:
			e.Started = start.Add(2 * time.Second)
		case i < 950:
			e.Started = start.Add(time.Minute + time.Duration(rng.Float64()*float64(12*time.Hour)))
		default:
			e.Status = "QUEUED"
			all = append(all, e)
			continue
		}
		e.Ended = e.Started.Add(30*time.Second + time.Duration(rng.Float64()*float64(20*time.Second)))
		all = append(all, e)
	}
	f := Analyse(all, 1<<20, 10*time.Second)
	require.Equal(t, [3]int{700, 250, 50}, [3]int{f.Always, f.Sleepers, f.Never})
	require.InDelta(t, 12, f.Every.Hours(), 1)
	require.Equal(t, "uniform", f.WaitFits[0].Name)
	require.Len(t, f.Links, 5)
	require.InDelta(t, 8*float64(1<<20)/30, f.Links[2].Downlink, 0.1*8*float64(1<<20)/30)
	var text bytes.Buffer
	f.WriteYAML(&text)
	require.Contains(t, text.String(), "- {weight: 70.0000%}")
	require.Contains(t, text.String(), "- {weight: 5.0000%, off: true}")
	require.Contains(t, text.String(), "wake: {every: ")
	f.WriteSummary(&text)
	require.Contains(t, text.String(), "never there .......: 50 (5.0 %)")
	Analyse(all[960:], 1, 0).WriteYAML(&text) // nobody started
}

func FuzzRead(f *testing.F) {
	f.Add("queuedAt,startedAt,lastUpdatedAt,status\n1767225600,1767225601,1767225660,SUCCEEDED\n")
	f.Add("\ufeffstatus,queued,started,ended\nFAILED,2026-01-01T00:00:00Z,,\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := Read(strings.NewReader(text))
		if err != nil {
			return
		}
		var out bytes.Buffer
		field := Analyse(all, 1<<20, 10*time.Second)
		field.WriteYAML(&out)
		field.WriteSummary(&out)
		if strings.Contains(out.String(), "NaN") {
			t.Fatalf("%q gives %s", text, out.String())
		}
	})
}
