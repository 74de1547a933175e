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

// Bounds on single requests and documents are in the list too, and are not what binds.
func TestHeadroomOfRequests(t *testing.T) {
	sc := load(t, "first-update", scenario.Options{Devices: 5, Sets: append(small("1.0.0", "1.1.0"), "updates.fw-1-1-0-field.awsJobTimeoutConfig={inProgressTimeoutInMinutes: 60}")})
	r := run(t, sc, Options{Workers: 1})
	of := map[string]report.Quota{}
	for _, q := range r.Quotas {
		of[q.Name] = q
	}
	block := int64(1) << 12
	for name, c := range map[string]struct{ limit, least, most int64 }{
		"block-size-max": {131072, block, block}, "block-count": {98304, 1, 4}, "data-per-request": {131072, block, 131072}, "block-bitmap": {12288, 2, 2},
		"files-per-stream": {50, 1, 1}, "streams": {10000, 2, 2}, "stream-file": {25165824, 64 << 10, 64 << 10}, "signer-input": {16777216, 64 << 10, 64 << 10},
		"payload": {131072, block, block + 200}, "topic": {256, 40, 120}, "topic-slashes": {7, 5, 7}, "client-id": {128, 10, 30}, "filters-per-subscribe": {8, 1, 1},
		"job-document": {32768, 300, 2000}, "job-targets": {100, 1, 1}, "job-timeout-max": {10080, 60, 60}, "status-details": {10, 1, 3}, "status-detail-value": {1024, 5, 40},
		"groups-per-thing": {10, 1, 1}, "group-depth": {7, 1, 1}, "policies-per-target": {10, 1, 1}, "policy-versions": {5, 1, 1}, "policy-size": {2048, 200, 2048},
	} {
		q, ok := of[name]
		require.True(t, ok, name)
		require.Equal(t, name != "streams", q.Static, name)
		require.Equal(t, c.limit, *q.Limit, name)
		require.GreaterOrEqual(t, q.Peak, c.least, name)
		require.LessOrEqual(t, q.Peak, c.most, name)
		require.Zero(t, q.Throttled, name)
	}
	require.False(t, r.Tightest().Static)
}
