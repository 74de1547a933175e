package script

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/device/defect"
)

// abandoned is an update whose image is on trial when another job arrives, for a file that is no firmware: the image is given
// up, and the file ends well.
var abandoned = []Step{{Op: Doc}, {Op: Next}, {Op: Next}, {Op: Next}, {Op: Doc, Arg: 4}, {Op: Doc, Arg: 9}, {Op: Next}}

// SUCCEEDED of a file that is no firmware says nothing about the image that runs.
func TestFileDuringAbandonedTrial(t *testing.T) {
	for _, p := range []*agent.Profile{agent.Main, agent.V341, agent.B36DB646, agent.V300} {
		r := NewAgent(p)
		for _, s := range abandoned {
			r.Step(s)
		}
		require.Equal(t, []string{"AFR_OTA-4"}, r.ended, p.Name)
		require.Equal(t, agent.PlatformInvalid, r.platform, p.Name)
		require.Empty(t, r.Violations, p.Name)
	}
}

// SUCCEEDED of an image that is not confirmed is still seen.
func TestReportBeforeConfirm(t *testing.T) {
	r := NewAgent(agent.Main)
	r.cfg.Defects = defect.Of(defect.ReportBeforeConfirm)
	for _, s := range append(abandoned[:5:5], Step{Op: Verdict}) {
		r.Step(s)
	}
	require.Len(t, r.Violations, 1)
	require.Equal(t, 11, r.Violations[0].Invariant)
}
