// Package defect lists the wrong variants of the cloud that a search must find. Each is one switch in one place. No
// scenario reaches them: they are planted by name, to test the checkers.
package defect

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ID is one defect.
type ID uint8

// The defects.
const (
	NotifyNextLost ID = iota
	RateIgnored
	AbortCountsWrong
	AbortIgnored
	ExpectedVersionIgnored
	TerminalReopens
	TimeoutIgnored
	NeverCompletes
	CancelForgets
	NewestFirst
	BitmapIgnored
	ShortBlock
	WrongSize
	count
)

// Row describes a defect.
type Row struct {
	ID    ID
	Name  string
	Where string // file and function
	What  string
}

// Table is every defect, in the order of the IDs.
var Table = [count]Row{
	{NotifyNextLost, "notify-next-lost", "cloud/jobs announce", "nobody is told of a new head of the queue"},
	{RateIgnored, "rollout-rate-ignored", "cloud/jobs rollout", "a rollout serves all its targets at once"},
	{AbortCountsWrong, "abort-counts-wrong", "cloud/jobs aborts", "the threshold counts what did not fail"},
	{AbortIgnored, "abort-ignored", "cloud/jobs aborts", "no criterion is ever met"},
	{ExpectedVersionIgnored, "expected-version-ignored", "cloud/jobs update", "an update with an old expectedVersion is taken"},
	{TerminalReopens, "terminal-reopens", "cloud/jobs update", "an execution that has ended takes another status"},
	{TimeoutIgnored, "timeout-ignored", "cloud/jobs plan", "executions never time out"},
	{NeverCompletes, "never-completes", "cloud/jobs complete", "a job with nothing left to do stays IN_PROGRESS"},
	{CancelForgets, "cancel-forgets", "cloud/jobs cancelExecutions", "executions of a cancelled job stay QUEUED"},
	{NewestFirst, "newest-first", "cloud/jobs insert", "$next is the newest execution, not the oldest"},
	{BitmapIgnored, "stream-bitmap-ignored", "cloud/streams get", "blocks are sent from the first one on, whatever was asked"},
	{ShortBlock, "short-block", "cloud/streams message", "the last byte of every block is missing"},
	{WrongSize, "wrong-size", "cloud/ota document", "the document gives the size of the file 4096 bytes too small"},
}

// Set is the defects that are planted. The zero Set is the correct cloud.
type Set uint64

// Has reports whether a defect is planted.
func (s Set) Has(d ID) bool { return s>>d&1 == 1 }

// Of is a set of one.
func Of(d ID) Set { return 1 << d }

// ErrUnknown is wrapped by errors about a name.
var ErrUnknown = errors.New("no such defect")

// Parse finds a defect by its name.
func Parse(name string) (Set, error) {
	i := slices.IndexFunc(Table[:], func(r Row) bool { return r.Name == strings.TrimSpace(name) })
	if i < 0 {
		return 0, fmt.Errorf("%w: %q", ErrUnknown, name)
	}
	return Of(Table[i].ID), nil
}
