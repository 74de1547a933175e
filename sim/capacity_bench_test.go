//go:build unix

package sim

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim/plan"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// size is a number from the environment, so that make bench stays short.
func size(b *testing.B, name string, otherwise int) int {
	b.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	require.NoError(b, err)
	return n
}

// BenchmarkPlan carries out a plan of runs of 1,000 devices with 1 MiB images, two at
// a time: 4 of them, or OTASIM_BENCH_RUNS.
func BenchmarkPlan(b *testing.B) {
	runs := size(b, "OTASIM_BENCH_RUNS", 4)
	file := filepath.Join(b.TempDir(), "plan.yaml")
	base, err := filepath.Abs("../scenarios/first-update.yaml")
	require.NoError(b, err)
	require.NoError(b, os.WriteFile(file, []byte(`apiVersion: otasim/v1
kind: Plan
metadata: {name: bench}
base: `+base+`
seeds: `+strconv.Itoa(max(1, runs/4))+`
parameters:
  rate: {path: updates.fw-1-1-0-field.awsJobExecutionsRolloutConfig.maximumPerMinute, values: [100, 200, 500, 1000]}
`), 0o600))
	cpu := func() float64 {
		var u syscall.Rusage
		require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
		return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
	}
	for b.Loop() {
		spent := cpu()
		p, problems, err := plan.Load(file, plan.Overrides{})
		require.NoError(b, err)
		require.NotNil(b, p, "%v", problems)
		start := time.Now()
		_, err = p.Carry(context.Background(), plan.Execution{Parallel: 2, Run: func(ctx context.Context, sc *scenario.Scenario, _ time.Duration) (*report.Result, error) {
			return Run(ctx, sc, Options{Workers: 1})
		}})
		require.NoError(b, err)
		b.ReportMetric(float64(p.Seeds*len(p.Points)), "runs")
		b.ReportMetric(time.Since(start).Seconds(), "wall-s")
		b.ReportMetric(cpu()-spent, "cpu-s")
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkThreeDays rolls 1 MiB out over three days to devices that are always
// connected: 500 of them, or OTASIM_BENCH_DEVICES. Of 100,000 and more it fails if they
// take more than 3 GiB.
func BenchmarkThreeDays(b *testing.B) {
	n := size(b, "OTASIM_BENCH_DEVICES", 500)
	sc := load(b, "capacity/three-days", scenario.Options{Devices: n})
	// The service's slowest pace is one a minute: fewer devices than 4,320 have less than three days.
	sc.Updates[0].Rollout = &scenario.Rollout{MaximumPerMinute: max(1, (n+4319)/4320)}
	for b.Loop() {
		res := run(b, sc, Options{Workers: 2})
		require.Equal(b, report.VerdictPass, res.Verdict)
		b.ReportMetric(res.WallSeconds, "wall-s")
		b.ReportMetric(res.VirtualSeconds/86400, "days")
		b.ReportMetric(float64(res.Events)/float64(n), "events/device")
		b.ReportMetric(float64(res.Memory.BytesPerDevice), "B/device")
		b.ReportMetric(float64(res.Memory.PeakRSSBytes)/(1<<20), "MiB-RSS")
		if n >= 100_000 {
			require.LessOrEqual(b, res.Memory.PeakRSSBytes, uint64(3<<30))
		}
	}
	b.ReportMetric(0, "ns/op")
}
