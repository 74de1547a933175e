package explore

import (
	"slices"
	"strings"

	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/sim/check"
)

// Limit is something that a release of the agent is known to do wrong on real boards as well: a breach that is no defect of
// this build. A breach is one if the invariant and its detail match, the device's agent has the switch, and the run shows the
// evidence. It is reported under the name and does not fail a campaign. The profile ideal has no switch, and so no limit.
type Limit struct {
	Name      string
	Invariant string
	Detail    string // in the detail of the breach
	Switch    string // of the agent, see docs/agent-bugs.md
	Evidence  Evidence
	Why       string
}

// Evidence is what a device went through in a run, as a set.
type Evidence uint8

// The pieces of evidence.
const (
	ToldConfirmed Evidence = 1 << iota // a job document came while the image that runs was VALID, not on trial
	ToldUnnamed                        // or while the state in its record had no name
	ToldTwice                          // an act doubled a job document, or the request for one
	ToldDuring                         // a document came while a file was being fetched
	Untold                             // an act lost or delayed a message about a job
)

// Limits lists the known limits.
func Limits() []Limit { return slices.Clone(limits) }

var limits = []Limit{
	{
		Name: "confirmed-but-failed", Invariant: check.JobTruth, Detail: "is FAILED, but its version", Switch: "confirmLost", Evidence: ToldConfirmed,
		Why: "the image was confirmed, and its final status did not arrive: power failed before, or the message was lost. The agent asks for the job again, " +
			"finds a self-test to do and no trial, and rejects it: OtaErrImageStateMismatch, or OtaErrSameFirmwareVersion.",
	},
	{
		Name: "unnamed-but-failed", Invariant: check.JobTruth, Detail: "is FAILED, but its version", Switch: "unnamedRejects", Evidence: ToldUnnamed,
		Why: "power failed while a state was written. The boot loader starts the image of the torn record without a trial; the platform layer takes the state for a refusal.",
	},
	{
		Name: "twice-told", Invariant: check.Tolerance, Detail: "is FAILED", Switch: "confirmLost", Evidence: ToldConfirmed | ToldTwice,
		Why: "the document of a job in its self-test comes again after the image was confirmed: the agent begins the test anew, finds no trial and rejects it.",
	},
	{
		Name: "asked-once", Invariant: check.Liveness, Detail: "the execution of", Switch: "forgetsAnswers", Evidence: Untold,
		Why: "a message about the job is lost while its connection stays. The agent asks for its job once per connection, hears of a new one once, and " +
			"repeats no status. The execution goes on with the next connection or notification.",
	},
	{
		Name: "asked-once", Invariant: check.Liveness, Detail: "the execution of", Switch: "asksOnce", Evidence: Untold,
		Why: "as above, in the agent of 2018.",
	},
	{
		Name: "told-closes", Invariant: check.Liveness, Detail: "the execution of", Switch: "jobMessageCloses", Evidence: ToldTwice,
		Why: "the agent of 2018 ends a transfer for any message about a job. The same job then counts as running and is never taken again.",
	},
	{
		Name: "buffer-lost", Invariant: check.Liveness, Detail: "the execution of", Switch: "notificationLosesBuffer", Evidence: ToldTwice | ToldDuring,
		Why: "a document that ends a transfer keeps its buffer: with two buffers the answer to get-next, or the next block, finds none.",
	},
	{Name: "buffer-lost", Invariant: check.Tolerance, Detail: "the execution of", Switch: "notificationLosesBuffer", Evidence: ToldTwice | ToldDuring, Why: "as above."},
	{Name: "told-closes", Invariant: check.Tolerance, Detail: "the execution of", Switch: "jobMessageCloses", Evidence: ToldTwice, Why: "as above."},
}

// known names the limit that a breach is, "" for none.
func known(invariant, detail string, p *agent.Profile, seen Evidence) string {
	for i := range limits {
		l := &limits[i]
		if l.Invariant == invariant && strings.Contains(detail, l.Detail) && agent.BehaviourByName(l.Switch).On(p) && seen&l.Evidence == l.Evidence {
			return l.Name
		}
	}
	return ""
}
