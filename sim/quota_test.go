package sim

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// Quotas and switches of a scenario reach the cloud: of devices that all connect
// at once, a lower rate lets fewer in at first.
func TestQuotasOfAScenario(t *testing.T) {
	base := []string{"firmware.1.0.0.size=64KiB", "firmware.1.1.0.size=64KiB", "fleet.defaults.start=0s"}
	throttled := func(more ...string) uint64 {
		sc := load(t, "first-update", scenario.Options{Devices: 20, Sets: append(more, base...)})
		return run(t, sc, Options{Workers: 1}).Traffic.Throttled
	}
	require.Zero(t, throttled())
	require.Positive(t, throttled("cloud.quotas={connect-rate: 2}"))
	require.Zero(t, throttled("cloud.quotas={connect-rate: unlimited, connections: 1000}", "cloud.switches={data-cbor: definite}"))
}

// The result says how near each quota was.
func TestHeadroom(t *testing.T) {
	sc := load(t, "first-update", scenario.Options{Devices: 60, Sets: append(small("1.0.0", "1.1.0"), "cloud.quotas={jobs-data-writes: 5, connections: unlimited}")})
	r := run(t, sc, Options{Workers: 2})
	of := map[string]report.Quota{}
	for _, q := range r.Quotas {
		of[q.Name] = q
	}
	writes := of["jobs-data-writes"]
	require.EqualValues(t, 5, *writes.Limit)
	require.Greater(t, writes.Peak, int64(5))
	require.Positive(t, writes.Throttled)
	require.Nil(t, of["connections"].Limit)
	require.EqualValues(t, 60, of["connections"].Peak)
	require.Zero(t, of["connections"].Throttled)
	require.Positive(t, of["inbound-publish-rate"].Peak)
	require.Less(t, of["inbound-publish-rate"].Peak, int64(20000))
	require.Equal(t, writes.Throttled, r.Traffic.Throttled, "what Jobs refuses counts as throttled")
	require.Equal(t, "jobs-data-writes", r.Tightest().Name)
	require.NotContains(t, of, "create-thing", "setting a fleet up is free")
}
