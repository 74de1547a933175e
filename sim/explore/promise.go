package explore

import (
	"fmt"
	"slices"
	"strings"

	"github.com/otasim/otasim/cloud/jobs"
)

// promised are the states that this campaign must reach if it is not interrupted: those that its parts and the boards bring with them,
// and those that were asked for. A search that misses one has not looked where it says.
func (c *campaign) promised(e *Explorer, ref *Reference, devices []int) ([]State, error) {
	var want [states]bool
	for _, d := range devices {
		e.promises(&want, ref, d, c)
	}
	for _, name := range c.plan.Reach {
		i := slices.Index(stateNames[:], name)
		if i < 0 {
			return nil, fmt.Errorf("%w: no named state %q: one of %s", ErrPlan, name, strings.Join(stateNames[:], ", "))
		}
		want[i] = true
	}
	var out []State
	for i, w := range want {
		if w {
			out = append(out, State(i))
		}
	}
	return out, nil
}

// promises notes what one device must bring.
func (e *Explorer) promises(want *[states]bool, ref *Reference, d int, c *campaign) {
	b := &e.boards[d]
	if len(ref.Data[d]) == 0 {
		return // it writes no record: there is no update for it
	}
	is := func(yes bool, list ...State) {
		for _, s := range list {
			want[s] = want[s] || yes
		}
	}
	succeeds, fails, rises := false, false, false
	secure := e.secureOf(e.first(&unit{board: b}))
	for _, x := range ref.Outcome.Executions {
		if x.Thing != b.Thing {
			continue
		}
		good := e.passes(x.Version)
		succeeds = succeeds || x.Status == jobs.Succeeded
		fails = fails || x.Status == jobs.Failed && !good
		rises = rises || x.Status == jobs.Succeeded && e.secureOf(x.Version) > secure
	}
	if c.wants(PartCuts) {
		is(true, RecordsBlank, RecordErased, RecordTorn, RecordUnsteady, SlotErasing, SlotUnsteady, SlotPartly, SlotWhole, StartsOld, CutInLoader, CutInApp, RolledBack)
		is(succeeds, StartsNew, JobSucceeded, Updated, CutInSelfTest)
		is(succeeds && b.Rollback, RecordNew, RecordPending, RecordValidBoth, StartsNewOnTrial, TrialAborted, StartsFallback, JobFailed)
		is(succeeds && b.Rollback && c.plan.Seeds > 1, RecordNoName, StartsNewUnwatched)
		is(succeeds && b.Bootloader == "afr-2022", OtherErasing, CutAfterReport)
		is(rises && b.AntiRollback, FuseAhead)
		is(!b.Rollback, RecordUndefined)
	}
	if c.wants(PartDoubles) {
		is(true, CutTwice)
		is(succeeds && b.Rollback, RecordAborted)
		is(fails && b.Rollback, RecordInvalid)
	}
	if c.wants(PartMessages) {
		is(true, MessageLost, MessageTwice, MessageLate, ReportLost, JobTwice)
		streams := slices.ContainsFunc(ref.Messages, func(m Message) bool { return m.Device == d && !m.isControl() })
		is(streams, RequestLost, BlockTwice)
	}
}

// secureOf and passes are what the scenario says about a version.
func (e *Explorer) secureOf(version string) uint32 {
	for i := range e.sc.Firmware {
		if f := &e.sc.Firmware[i]; f.Version == version {
			return f.SecureVersion
		}
	}
	return 0
}

func (e *Explorer) passes(version string) bool {
	for _, i := range e.trusted {
		if i.Version == version {
			return i.Passes
		}
	}
	return true
}
