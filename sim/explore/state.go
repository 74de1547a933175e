package explore

import (
	"slices"
	"strings"

	"github.com/otasim/otasim/sim/check"
)

// A State is a situation worth having seen: a name for what a power cut left, and for
// what the boot made of it.
type State uint8

// The named states. A campaign prints which of them it reached.
const (
	RecordsBlank State = iota
	RecordErased
	RecordTorn
	RecordNoName
	BothTorn
	RecordNew
	RecordPending
	RecordValidBoth
	RecordInvalid
	RecordAborted
	RecordUndefined
	RecordUnsteady
	SlotErasing
	SlotUnsteady
	SlotPartly
	SlotWhole
	OtherErasing
	StartsOld
	StartsNew
	StartsNewOnTrial
	StartsNewUnwatched
	StartsFallback
	TrialAborted
	CutInLoader
	CutInApp
	CutInSelfTest
	CutAfterReport
	CutTwice
	FuseAhead
	MessageLost
	MessageTwice
	MessageLate
	ReportLost
	RequestLost
	BlockTwice
	JobTwice
	JobFailed
	JobSucceeded
	Updated
	RolledBack
	states
)

var stateNames = [states]string{
	"records blank", "one record erased", "record torn (bad CRC)", "state without a name", "both records torn", "NEW", "PENDING_VERIFY", "both VALID",
	"INVALID", "ABORTED", "UNDEFINED", "record reads unsteadily", "slot partly erased", "slot reads unsteadily", "slot partly programmed",
	"slot whole, not chosen", "older image partly erased", "starts the old image", "starts the new image", "starts the new image on trial",
	"starts the new image without a trial", "starts another slot than chosen", "trial ended by the boot loader",
	"cut in the boot loader", "cut in the application", "cut during the trial", "cut after confirmation", "second cut", "eFuse above the older image",
	"message lost", "message twice", "message late", "final status lost", "block request lost", "block twice", "job document twice",
	"execution FAILED", "execution SUCCEEDED", "updated in the end", "rolled back in the end",
}

func (s State) String() string { return stateNames[s] }

// Coverage counts how often each named state was reached.
type Coverage [states]uint64

func (c *Coverage) add(o *Coverage) {
	for i, n := range o {
		c[i] += n
	}
}

// Reached is how many of the states were.
func (c *Coverage) Reached() (reached, all int) {
	for _, n := range c {
		if n > 0 {
			reached++
		}
	}
	return reached, int(states)
}

// Missing names the states that were not reached.
func (c *Coverage) Missing() (out []string) {
	for i, n := range c {
		if n == 0 {
			out = append(out, stateNames[i])
		}
	}
	return out
}

// StateNames lists the named states.
func StateNames() []string { return slices.Clone(stateNames[:]) }

// meddled notes what an act did to a message.
func (c *Coverage) meddled(m *meddling) {
	c[map[Kind]State{Drop: MessageLost, Dup: MessageTwice, Late: MessageLate}[m.kind]]++
	stream := strings.HasPrefix(m.topic, "streams/")
	switch {
	case m.kind == Drop && m.final:
		c[ReportLost]++
	case m.kind == Drop && stream && m.up:
		c[RequestLost]++
	case m.kind == Dup && stream && !m.up:
		c[BlockTwice]++
	case m.kind == Dup && !m.up && (strings.HasSuffix(m.topic, "notify-next") || strings.HasSuffix(m.topic, "get/accepted")):
		c[JobTwice]++
	}
}

// records notes what the records are.
func (c *Coverage) records(r *[2]check.Record, steady bool) {
	torn, blank, valid := 0, 0, 0
	for i := range r {
		e := &r[i]
		switch {
		case e.Blank:
			blank++
			continue
		case !e.Good:
			torn++
			continue
		}
		switch e.State {
		case 0:
			c[RecordNew]++
		case 1:
			c[RecordPending]++
		case 2:
			valid++
		case 3:
			c[RecordInvalid]++
		case 4:
			c[RecordAborted]++
		case 0xffffffff:
			c[RecordUndefined]++
		default:
			c[RecordNoName]++
		}
	}
	switch blank {
	case 1:
		c[RecordErased]++
	case 2:
		c[RecordsBlank]++
	}
	switch torn {
	case 1:
		c[RecordTorn]++
	case 2:
		c[BothTorn]++
	}
	if valid == 2 {
		c[RecordValidBoth]++
	}
	if !steady {
		c[RecordUnsteady]++
	}
}
