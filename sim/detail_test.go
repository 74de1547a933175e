package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/sim/scenario"
)

// What charts are drawn from agrees with the result, and is the same for any number
// of workers.
func TestDetail(t *testing.T) {
	sc, _, err := scenario.Load("../scenarios/power-cut.yaml", scenario.Options{Devices: 40})
	require.NoError(t, err)
	r := run(t, sc, Options{Workers: 1, Detail: true})
	d := r.Detail
	require.NotNil(t, d)
	n := len(d.Series.At)
	require.Greater(t, n, 20)
	require.LessOrEqual(t, n, mostSamples+1)
	require.Len(t, d.Series.Powered, n)
	for name, v := range d.Series.Executions {
		require.Len(t, v, n, name)
		require.Equal(t, r.Jobs[0].Executions[name], v[n-1], name)
	}
	for name, v := range d.Series.Versions {
		require.Equal(t, r.Fleet.OnVersion[name], v[n-1], name)
	}
	require.Equal(t, r.Traffic.MQTTMessagesIn, d.Series.MessagesIn[n-1])
	total := 0
	for _, b := range d.Durations {
		total += b.Count
	}
	require.Equal(t, r.Updates.Succeeded, total)
	require.Len(t, d.Timelines, 40)
	require.NotEmpty(t, d.Timelines[0].Marks)
	mean := 0.0
	for _, p := range d.Phases {
		mean += p.Mean
	}
	require.InDelta(t, r.ExecutionTime.P50, mean, r.ExecutionTime.P50, "phases add up to about an execution")

	again := run(t, sc, Options{Workers: 2, Detail: true, parallel: true})
	require.Equal(t, d, again.Detail)
}

func TestPhases(t *testing.T) {
	s := func(n int) time.Duration { return time.Duration(n) * time.Second }
	line := []mark{{s(1), device.PointStarted, 0}, {s(12), device.PointJobReceived, 0}, {s(14), device.PointSlotErase, 0}, {s(44), device.PointDownloadComplete, 0},
		{s(47), device.PointReady, 0}, {s(50), device.PointStarted, 1}}
	got := phases(line, s(10))
	require.Equal(t, []time.Duration{s(2), s(2), s(30), s(3), 0, s(3), 0, 0, 0}, got)
}

func TestBins(t *testing.T) {
	require.Nil(t, bins(nil, 10))
	one := bins([]float64{7}, 10)
	require.Len(t, one, 1)
	require.Equal(t, 1, one[0].Count)
	total := 0
	for _, b := range bins([]float64{0, 1.5, 9, 10, 100}, 4) {
		total += b.Count
	}
	require.Equal(t, 5, total)
}
