package explore

import (
	"strings"

	"github.com/otasim/otasim/sim/check"
)

// Limit is something that the modelled system does as well, on real boards: a breach that is no
// defect of this build. What matches is reported under its name and does not fail a campaign.
type Limit struct {
	Name      string
	Invariant string
	Detail    string   // in the detail of the breach
	After     []string // the case was struck at one of these places
	Why       string
}

// Limits lists the known limits.
func Limits() []Limit { return limits }

var limits = []Limit{
	{
		Name: "failed-but-running", Invariant: check.JobTruth, Detail: "is FAILED, but its version",
		After: []string{"otadata.program,", "reset,", "boot,", "passive.erase,", "started,", "connect", "self-test,", "confirm,", "report", "power off in", "drop ", "late "},
		Why: "the new image runs and is not on trial when its agent asks for the job again: it was confirmed and lost power before the final status arrived, " +
			"or a torn record skipped its trial. The agent finds a self-test to do and no trial, and rejects (OtaErrImageStateMismatch, or the version check).",
	},
}

// known names the limit that a failure is, "" for none.
func known(f *Failure) string {
	for i := range limits {
		l := &limits[i]
		if f.Invariant != l.Invariant || !strings.Contains(f.Detail, l.Detail) || len(f.Acts) == 0 {
			continue
		}
		for _, at := range l.After {
			if strings.HasPrefix(f.Where, at) {
				return l.Name
			}
		}
	}
	return ""
}
