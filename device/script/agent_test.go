package script

import (
	"slices"
	"testing"

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
		if !slices.Equal(r.ended, []string{"AFR_OTA-4"}) || r.platform != agent.PlatformInvalid || len(r.Violations) > 0 {
			t.Errorf("%s: ended %q, platform %v, %v", p.Name, r.ended, r.platform, r.Violations)
		}
	}
}

// SUCCEEDED of an image that is not confirmed is still seen.
func TestReportBeforeConfirm(t *testing.T) {
	r := NewAgent(agent.Main)
	r.cfg.Defects = defect.Of(defect.ReportBeforeConfirm)
	for _, s := range append(abandoned[:5:5], Step{Op: Verdict}) {
		r.Step(s)
	}
	if len(r.Violations) != 1 || r.Violations[0].Invariant != 11 {
		t.Error(r.Violations)
	}
}
