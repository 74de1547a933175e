package sim

import (
	"testing"

	"github.com/stretchr/testify/require"

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
