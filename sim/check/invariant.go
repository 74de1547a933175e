package check

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/sim/report"
)

// ID names a rule that always applies, whatever the scenario says.
type ID int

// The rules. What they check they read a second time, with code that shares nothing
// with the device and the services.
const (
	RuleBootable      ID = iota // a device always has an image that verifies, and starts one
	RuleVerified                // what starts has the right magic, checksum and SHA-256
	RuleAuthentic               // and is, byte for byte, an image of a release
	RuleSecureVersion           // and not older than the eFuse says, where anti-rollback is configured
	RuleClears                  // a program only clears bits
	RuleInSlot                  // an application writes to OTA slots, otadata and NVS, and a write stays in one of them
	RuleRunningSlot             // the slot that runs is not touched
	RuleWear                    // the sectors of a device are not erased more often than its updates and boots explain
	RuleOneExecution            // a thing has one execution of a job with a number
	RuleTerminalOnce            // an execution ends once
	RuleReportedOnce            // and a device that nothing has harmed does not tell two ends of it
	RuleCloudTruth              // what the cloud believes is what the flash says, unless a fault or an attack explains it
	RuleTraffic                 // the fleet moves no more bytes than its updates and their repetitions explain
	RuleSettled                 // once faults have stopped every execution of a device with power ends
	idCount
)

var idNames = [idCount]string{"flash.bootable", "boot.verified", "boot.authentic", "boot.secure-version", "flash.program-clears", "flash.in-slot",
	"flash.running-slot", "flash.wear", "jobs.one-execution", "jobs.terminal-once", "jobs.reported-once", "cloud.truth", "traffic.bounded", "liveness.settled"}

func (i ID) String() string { return idNames[i] }

// IDs are the names of all rules, in the order of the result.
func IDs() []string { return idNames[:] }

// mostViolations is how many violations of a rule a result tells of.
const mostViolations = 20

// Violation is one breach.
type Violation struct {
	ID     ID
	Thing  string
	At     time.Duration
	Detail string
}

// Ledger counts checks and collects violations, on one shard.
type Ledger struct {
	checked [idCount]uint64
	found   []Violation
	counts  [idCount]int
}

// Check notes that a rule was checked, and whether it held. detail is asked when it did not.
func (r *Ledger) Check(id ID, ok bool, thing string, at time.Duration, detail func() string) {
	r.checked[id]++
	if ok {
		return
	}
	// Each shard keeps as many as the result shows: whatever the number of shards, the earliest are among them.
	if r.counts[id]++; r.counts[id] <= mostViolations {
		r.found = append(r.found, Violation{id, thing, at, detail()})
	}
}

// Found is how many violations there are so far.
func (r *Ledger) Found() int { return len(r.found) }

// Invariants is what the result says of all records together. replay tells how to see a violation again.
func Invariants(records []*Ledger, replay func(v *Violation) string) []report.Invariant {
	out := make([]report.Invariant, idCount)
	var all []Violation
	for i := range out {
		out[i] = report.Invariant{ID: ID(i).String(), Violations: []report.Violation{}}
		for _, r := range records {
			out[i].Checked += r.checked[i]
		}
	}
	for _, r := range records {
		all = append(all, r.found...)
	}
	slices.SortStableFunc(all, func(a, b Violation) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Thing, b.Thing)) })
	for i := range all {
		v := &all[i]
		inv := &out[v.ID]
		if len(inv.Violations) < mostViolations {
			inv.Violations = append(inv.Violations, report.Violation{Thing: v.Thing, At: v.At.Seconds(), Detail: v.Detail, Replay: replay(v)})
		}
	}
	return out
}

// Range is a range of flash addresses.
type Range struct{ Offset, Size uint32 }

func (r Range) holds(addr, n uint32) bool { return addr >= r.Offset && addr-r.Offset+n <= r.Size }

func (r Range) touches(addr, n uint32) bool {
	return uint64(addr) < uint64(r.Offset)+uint64(r.Size) && uint64(r.Offset) < uint64(addr)+uint64(n)
}

// Layout is where the application of a group of devices may write.
type Layout struct {
	Writable []Range // OTA slots, otadata, NVS
	Otadata  Range
}

// Writer is the device whose flash is written, as a Guard wants to know it.
type Writer struct {
	Thing   string
	Layout  *Layout
	Running Range // the slot that runs, empty while the boot loader does
	Faulty  bool  // its chip has defects: what a command leaves is anybody's guess
}

// Guard looks at every program and erase of the chips of one store. Who tells whose
// step runs; ok is false for chips that nobody answers for.
type Guard struct {
	*Ledger
	Who func() (w Writer, ok bool)

	sampled bool
	before  [flashmodel.SectorSize]byte
}

// Before implements flashmodel.Watcher.
func (w *Guard) Before(f *flashmodel.Flash, kind flashmodel.OpKind, addr, n uint32) {
	w.sampled = false
	by, ok := w.Who()
	if !ok {
		return
	}
	if by.Running.Size > 0 {
		w.Check(RuleRunningSlot, !by.Running.touches(addr, n), by.Thing, f.Clock(), func() string { return fmt.Sprintf("%v of %d bytes at 0x%x, in the slot that runs", kind, n, addr) })
		inside := false
		for _, r := range by.Layout.Writable {
			inside = inside || r.holds(addr, n)
		}
		w.Check(RuleInSlot, inside, by.Thing, f.Clock(), func() string {
			return fmt.Sprintf("%v of %d bytes at 0x%x, in no partition for updates", kind, n, addr)
		})
	}
	// Cells are compared for every program of otadata and for one sector in 64 of the rest.
	if kind == flashmodel.OpProgram && !by.Faulty && n <= flashmodel.SectorSize && (by.Layout.Otadata.holds(addr, n) || addr/flashmodel.SectorSize*0x9e3779b1>>26 == 0) {
		w.sampled = f.Read(addr, w.before[:n]) == nil
	}
}

// After implements flashmodel.Watcher.
func (w *Guard) After(f *flashmodel.Flash, _ flashmodel.OpKind, addr uint32, src []byte) {
	if !w.sampled {
		return
	}
	w.sampled = false
	var after [flashmodel.SectorSize]byte
	if f.Read(addr, after[:len(src)]) != nil {
		return
	}
	bad := -1
	for i := range src {
		if after[i] != w.before[i]&src[i] {
			bad = i
			break
		}
	}
	by, _ := w.Who()
	w.Check(RuleClears, bad < 0, by.Thing, f.Clock(), func() string {
		return fmt.Sprintf("0x%x: cell %02x, programmed %02x, reads %02x", addr+uint32(bad), w.before[bad], src[bad], after[bad])
	})
}
