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
	answers := 0
	for _, b := range d.Latencies {
		answers += b.Count
	}
	require.Greater(t, answers, r.Updates.Succeeded*10)
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
	d, sh := newDetail(1), &shard{latencies: make([]int, latencyBins)}
	for _, m := range []mark{{at: s(1), point: device.PointStarted}, {at: s(2), point: device.PointConnect}, {at: s(5), point: device.PointConnect, arg: 1}, {at: s(9), point: device.PointConnect, arg: 2},
		{at: s(12), point: device.PointJobReceived}, {at: s(14), point: device.PointSlotErase}, {at: s(20), point: device.PointBlockRequested}, {at: s(21), point: device.PointBlockReceived},
		{at: s(22), point: device.PointBlockReceived, arg: 1}, {at: s(44), point: device.PointDownloadComplete}, {at: s(47), point: device.PointReady}, {at: s(50), point: device.PointStarted, arg: 1}} {
		d.reached(sh, 0, m.at, m.point, int(m.arg))
	}
	require.Equal(t, []time.Duration{s(2), s(32), s(3), 0, s(3), 0, 0, 0}, phases(d.lines[0], s(10)))
	require.Equal(t, "connect (3 attempts until 9.0s)", steps(d.lines[0])[1].Text)
	w := &world{shards: []*shard{sh}}
	got := w.latencies()
	require.Len(t, got, 1)
	require.Equal(t, 1, got[0].Count, "the second answer belongs to the same request")
	require.InDelta(t, 1, got[0].From, 1e-9)
	require.InDelta(t, 1.2589, got[0].To, 1e-4)
}

func TestLatencyBins(t *testing.T) {
	for d, bin := range map[time.Duration]int{0: 0, time.Millisecond: 0, 2 * time.Millisecond: 3, 99 * time.Millisecond: 19, 101 * time.Millisecond: 20, time.Hour: 60} {
		require.Equal(t, bin, latencyBin(d), d)
	}
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
