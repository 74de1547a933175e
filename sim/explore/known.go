package explore

import (
	"slices"
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
	{
		Name: "twice-told", Invariant: check.Tolerance, Detail: "is FAILED",
		After: []string{"dup jobs/$next/get"},
		Why: "the document of a job in its self-test comes twice: the agent of the libraries begins the test again, finds the image confirmed and " +
			"rejects it. The ideal agent does not.",
	},
	{
		Name: "asked-once", Invariant: check.Liveness, Detail: "the execution of",
		After: []string{"drop jobs/", "late jobs/"},
		Why: "a message about the job is lost while its connection stays. The agent asks for its job once per connection and hears of a new one once; " +
			"it repeats no status. The execution goes on with the next connection or notification.",
	},
}

// known names the limit that a failure is, "" for none.
func known(f *Failure) string {
	for i := range limits {
		l := &limits[i]
		if f.Invariant != l.Invariant || !strings.Contains(f.Detail, l.Detail) || len(f.Acts) == 0 {
			continue
		}
		places := f.places
		if places == nil {
			places = []string{f.Where}
		}
		for _, at := range l.After {
			if slices.ContainsFunc(places, func(p string) bool { return strings.HasPrefix(p, at) }) {
				return l.Name
			}
		}
	}
	return ""
}
