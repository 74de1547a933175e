package sim

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim/scenario"
)

// What fails in the outage of the reconnect-storm plan was on trial when it began, or could not report any more: no
// execution fails for the storm.
func TestOutageFailsTrialsOnly(t *testing.T) {
	r := run(t, load(t, "plans/base/outage", scenario.Options{}), Options{Workers: 2, Detail: true})
	require.Positive(t, r.Updates.Failed, "the case occurs")
	require.Len(t, r.Detail.Failures, 1)
	require.Equal(t, "reason: rejected: 0x00000010 (OtaErrSameFirmwareVersion)", r.Detail.Failures[0].Reason)
	const began = 4 * 60.0
	confirmed := 0
	for _, line := range r.Detail.Timelines {
		if line.Status != "FAILED" {
			continue
		}
		trial, watchdog, confirm := -1.0, false, false
		for _, m := range line.Marks {
			switch {
			case m.Text == "started (ota_1)" && trial < 0:
				trial = m.At
			case strings.HasPrefix(m.Text, "boot (watchdog"):
				watchdog = true
				require.InDelta(t, 90, m.At-trial, 2, "the watchdog of a trial")
			case m.Text == "confirm":
				confirm = true
			}
		}
		require.InDelta(t, began, trial, 20, "%s was on trial when the outage began", line.Thing)
		require.NotEqual(t, watchdog, confirm, line.Thing)
		if confirm {
			confirmed++
		}
	}
	require.Equal(t, r.Updates.Failed, r.Fleet.RolledBack+confirmed)
	require.Equal(t, confirmed, r.Fleet.Mismatched, "only a confirmed image that is FAILED for the cloud")
}
