package sim

import (
	"bytes"
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// Two worlds, one code: the same file comes to the same end on sockets as in virtual
// time. Only how far a rollout came until it was aborted is a matter of time.
func TestLiveAndVirtualAgree(t *testing.T) {
	t.Parallel() // it waits more than it works
	if testing.Short() {
		t.Skip("takes the wall's time")
	}
	// They wait more than they work, so all run at once, whatever -parallel says.
	results, errs := make([]*report.Result, len(shipped)), make([]error, len(shipped))
	var all sync.WaitGroup
	for i, s := range shipped {
		sc := load(t, s.file, scenario.Options{Devices: s.n, Sets: s.sets})
		all.Go(func() { results[i], errs[i] = Run(context.Background(), sc, Options{Mode: Live}) })
	}
	all.Wait()
	for i, s := range shipped {
		t.Run(s.file, func(t *testing.T) {
			require.NoError(t, errs[i])
			want, got := run(t, load(t, s.file, scenario.Options{Devices: s.n, Sets: s.sets}), Options{}), results[i]
			require.Equal(t, report.VerdictPass, got.Verdict, "%+v %v", got.Assertions, got.Notes)
			require.Equal(t, want.Verdict, got.Verdict)
			require.Equal(t, want.Fleet.OnVersion, got.Fleet.OnVersion)
			require.Equal(t, want.Fleet.ImageState, got.Fleet.ImageState)
			require.Equal(t, want.Fleet.Mismatched, got.Fleet.Mismatched)
			require.Len(t, got.Jobs, len(want.Jobs))
			for i := range want.Jobs {
				require.Equal(t, want.Jobs[i].Status, got.Jobs[i].Status)
				if want.Jobs[i].Status != "CANCELED" {
					require.Equal(t, want.Jobs[i].Executions, got.Jobs[i].Executions)
				}
			}
			for i := range want.Assertions {
				require.Equal(t, want.Assertions[i].Holds, got.Assertions[i].Holds, want.Assertions[i].Name)
			}
			require.Equal(t, want.Faults, got.Faults)
			require.Equal(t, want.Attacks, got.Attacks)
			require.Equal(t, want.Notes, got.Notes)
			require.Equal(t, Live, got.Mode)
			require.Empty(t, got.TraceHash)
			require.InEpsilon(t, float64(want.Traffic.Connects), float64(got.Traffic.Connects), 0.2)
			require.NotZero(t, got.Traffic.MQTTBytesOut)
			require.NotZero(t, got.Traffic.HTTPBytes)
			used := map[string]int64{}
			for _, q := range got.Quotas {
				used[q.Name] = q.Peak
			}
			for _, name := range []string{"connections", "connect-rate", "subscribe-rate", "inbound-publish-rate", "outbound-publish-rate", "connection-publish-rate", "connection-throughput", "payload"} {
				require.Positive(t, used[name], "%s is counted by the socket broker", name)
			}
		})
	}
}

func TestLiveEndsEarly(t *testing.T) {
	sc := load(t, "first-update", scenario.Options{Devices: 6, Sets: small("1.0.0", "1.1.0")})
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var trace bytes.Buffer
	var last report.Progress
	res, err := Run(ctx, sc, Options{Mode: Live, Trace: &trace, Progress: func(p report.Progress) { last = p }})
	require.NoError(t, err)
	require.Equal(t, report.VerdictInterrupted, res.Verdict)
	require.Equal(t, 6, res.Fleet.Devices)
	require.Contains(t, trace.String(), "boot: Loaded app from partition at offset 0x20000")
	require.Equal(t, 6, last.Devices)
	require.Positive(t, last.Events)

	require.Equal(t, report.VerdictInconclusive, run(t, sc, Options{Mode: Live, Timeout: 100 * time.Millisecond}).Verdict)
	res = run(t, sc, Options{Mode: Live, Until: 5 * time.Second})
	require.Equal(t, report.VerdictInconclusive, res.Verdict)
	require.InDelta(t, 5, res.VirtualSeconds, 0.001)
}

// Every network fault on the sockets, the links of the file below them: nobody is lost.
func TestLiveNetworkFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes the wall's time")
	}
	t.Parallel()
	res := run(t, load(t, "faults/network", scenario.Options{Devices: 12}), Options{Mode: Live})
	require.Equal(t, report.VerdictPass, res.Verdict, "%+v %v", res.Assertions, res.Notes)
	struck := 0
	for _, f := range res.Faults {
		struck += f.Injected
		require.Equal(t, f.Injected, f.Recovered, f.Name)
	}
	require.Greater(t, struck, 20)
	require.Greater(t, res.Traffic.Connects, uint64(3*12), "connections broke")
}
