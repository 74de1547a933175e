package sim

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// A build that crashes on a share of the devices: drawn per device from the seed, the
// same for any workers.
func TestSelfTestShare(t *testing.T) {
	bad := func(seed uint64, workers int, share string) *report.Result {
		sets := append(small("1.0.0", "1.1.0"), "firmware.1.1.0.selfTest=crash", "updates.fw-1-1-0.awsJobAbortConfig={abortCriteriaList: [{failureType: REJECTED, action: CANCEL, thresholdPercentage: 100, minNumberOfExecutedThings: 1000}]}",
			"updates.fw-1-1-0.awsJobExecutionsRolloutConfig={maximumPerMinute: 1000}")
		if share != "" {
			sets = append(sets, "firmware.1.1.0.selfTestShare="+share)
		}
		return run(t, load(t, "bad-self-test", scenario.Options{Devices: 200, Seed: &seed, Sets: sets}), Options{Workers: workers})
	}
	quarter := bad(1, 1, "25%")
	require.InDelta(t, 50, quarter.Updates.Hurt, 25, "four standard deviations")
	require.Equal(t, 200-quarter.Updates.Hurt, quarter.Fleet.OnVersion["1.1.0"], "the others run it")
	require.Equal(t, quarter.Fleet.RolledBack, quarter.Updates.Hurt)
	require.Equal(t, quarter.TraceHash, bad(1, 2, "25%").TraceHash)
	require.NotEqual(t, quarter.Fleet.RolledBack, bad(2, 1, "25%").Fleet.RolledBack)
	require.Zero(t, bad(1, 2, "0%").Updates.Hurt)
	require.Equal(t, 200, bad(1, 2, "100%").Updates.Hurt)
	require.Equal(t, 200, bad(1, 2, "").Updates.Hurt)
	_, problems, err := scenario.Load("../scenarios/first-update.yaml", scenario.Options{Sets: []string{"firmware.1.1.0.selfTestShare=10%"}})
	require.NoError(t, err)
	require.Contains(t, problems[0].String(), "selfTestShare without a selfTest")
}
