package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/cloud/ota"
	"github.com/otasim/otasim/flashmodel/partition"
	"github.com/otasim/otasim/sim/check"
	"github.com/otasim/otasim/sim/fault"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// healing is how long after the last fault executions may still be open.
const healing = time.Hour

// layoutOf is where an application with this partition table may write.
func layoutOf(t partition.Table, files []dataFile) *check.Layout {
	l := &check.Layout{}
	for _, r := range t {
		where := check.Range{Offset: r.Offset, Size: r.Size}
		target := slices.ContainsFunc(files, func(f dataFile) bool { return f.partition == r.Label })
		switch {
		case r.Type == 0 && r.Subtype >= 0x10 && r.Subtype < 0x20, r.Type == 1 && (r.Subtype == 0 || r.Subtype == 2 || target):
			l.Writable = append(l.Writable, where)
		}
		if r.Type == 1 && r.Subtype == 0 {
			l.Otadata = where
		}
	}
	return l
}

// writer is the device whose step runs.
func (sh *shard) writer() (w check.Writer, ok bool) {
	a := sh.stepping
	if a == nil {
		return w, false
	}
	w = check.Writer{Thing: a.name, Layout: sh.w.fleet.groups[a.group].layout, Faulty: a.trouble != nil && len(a.trouble.placed) > 0}
	if r, running := a.dev.Running(); running {
		w.Running = check.Range{Offset: r.Slot.Offset, Size: r.Slot.Size}
	}
	return w, true
}

// examine judges what was just read from a device: old is what was there before.
func (sh *shard) examine(a *actor, now time.Duration, old, v *view, s *check.Slot) {
	r := sh.record
	r.Check(check.RuleBootable, !v.bricked || old.bricked, a.name, now, func() string {
		return "no image is left that starts"
	})
	if !a.started {
		return
	}
	r.Check(check.RuleVerified, s != nil && s.Bootable, a.name, now, func() string {
		return fmt.Sprintf("what starts in %s is no valid image", v.slot)
	})
	if s != nil && s.Bootable && sh.w.side.op != nil {
		r.Check(check.RuleAuthentic, sh.w.fleet.released(s), a.name, now, func() string {
			return fmt.Sprintf("%s starts an image that calls itself %q and was never released", v.slot, s.Version)
		})
	}
	if sh.w.fleet.things[a.id].config.Sdkconfig.AntiRollback {
		r.Check(check.RuleSecureVersion, v.secure >= v.efuse, a.name, now, func() string {
			return fmt.Sprintf("%s starts %s with secure version %d, the eFuse says %d", v.slot, v.version, v.secure, v.efuse)
		})
	}
}

// released reports whether an image is one that the operator has built.
func (f *fleet) released(s *check.Slot) bool {
	version, ok := f.labels[s.SHA256]
	if !ok {
		return false
	}
	img := f.imageOf(version)
	return img != nil && img.Origin != scenario.OriginAttacker
}

// ends remembers which executions have ended.
type ends struct {
	once   map[endKey]jobs.Status
	record check.Ledger
	now    func() time.Duration
}

type endKey struct {
	thing, job string
	number     int64
}

// ended is told by the Jobs service.
func (e *ends) ended(thing, job string, number int64, status jobs.Status) {
	key := endKey{thing, job, number}
	before, twice := e.once[key]
	e.record.Check(check.RuleTerminalOnce, !twice, thing, e.now(), func() string {
		return fmt.Sprintf("execution %d of %s ends as %v, it had ended as %v", number, job, status, before)
	})
	e.once[key] = status
}

// invariants judges at the end of a run what can only be judged then.
func (w *world) invariants() ([]report.Invariant, map[string]int) {
	end := &check.Ledger{}
	records := []*check.Ledger{end}
	for _, sh := range w.shards {
		records = append(records, sh.record)
	}
	classes := map[string]int{}
	if op := w.side.op; op != nil {
		records = append(records, &op.ends.record)
		w.judgeExecutions(end, classes)
		w.judgeTraffic(end)
	}
	w.judgeWear(end)
	return check.Invariants(records, func(v *check.Violation) string {
		return fmt.Sprintf("otasim run %s --seed %d", w.sc.Path, w.sc.Seed)
	}), classes
}

// judgeExecutions compares the cloud with the flash, execution by execution.
func (w *world) judgeExecutions(end *check.Ledger, classes map[string]int) {
	op := w.side.op
	device := map[string]*actor{}
	for i, n := range op.names {
		if n != "" {
			device[n] = &w.devs[i]
		}
	}
	asked, troubled := w.healed(), len(w.sc.Attacks) > 0 || w.stopped != stopDuration && w.stopped != stopQuiet
	for _, t := range w.side.troubles.all {
		troubled = troubled || t.injected > 0
	}
	latest := map[string]*rollout{} // by thing: of its latest execution that is not canceled
	status := map[string]jobs.Status{}
	for _, r := range op.runs {
		seen := map[string]bool{}
		for _, e := range op.list(r.id) {
			thing, st := thingOf(e.ThingARN), e.JobExecutionSummary.Status
			key := fmt.Sprintf("%s %d", thing, e.JobExecutionSummary.ExecutionNumber)
			end.Check(check.RuleOneExecution, !seen[key], thing, w.now, func() string {
				return fmt.Sprintf("two executions %d of %s", e.JobExecutionSummary.ExecutionNumber, ota.JobID(r.id))
			})
			seen[key] = true
			if st == jobs.Canceled || st == jobs.Removed {
				continue
			}
			latest[thing], status[thing] = r, st
			a := device[thing]
			if asked && r.attack < 0 && r.status == jobs.JobInProgress && a != nil && a.view.powered && !a.view.bricked {
				end.Check(check.RuleSettled, st.Terminal(), thing, w.now, func() string {
					return fmt.Sprintf("execution of %s is %v although nothing has been wrong for %v", ota.JobID(r.id), st, healing)
				})
			}
		}
	}
	for _, name := range op.names {
		r, a := latest[name], device[name]
		if r == nil || a == nil || !a.view.exists {
			continue
		}
		runs := a.view.version == r.version
		if r.row != nil && r.row.File.Own() {
			runs = slices.Contains(w.fleet.held(a.view.files), r.id) // what the update is about is in a data partition
		}
		class := divergence(status[name], runs, a.view.bricked)
		if class == "false-failure" && w.fleet.things[a.id].config.Firmware == r.version {
			class = "" // it was offered what it has run from the start
		}
		if class != "" {
			classes[class]++
		}
		explained := class == "" || a.harmed || troubled
		end.Check(check.RuleCloudTruth, explained, name, w.now, func() string {
			return fmt.Sprintf("%s: %s is %v, the flash runs %s; no fault and no attack explains it", class, ota.JobID(r.id), status[name], a.view.version)
		})
	}
}

// divergence names how the cloud's view of an execution differs from the flash; "" if it does not.
func divergence(status jobs.Status, runs, bricked bool) string {
	switch {
	case bricked:
		return "bricked"
	case status == jobs.Succeeded && !runs:
		return "false-success"
	case status.Terminal() && status != jobs.Succeeded && runs:
		return "false-failure"
	case !status.Terminal() && runs:
		return "unreported"
	}
	return ""
}

// healed reports whether the run went on long enough after the last fault, so that
// everything should have come to its end.
func (w *world) healed() bool {
	if w.stopped != stopDuration && w.stopped != stopQuiet {
		return false
	}
	last := time.Duration(0)
	for i := range w.devs {
		if t := w.devs[i].trouble; t != nil {
			for _, s := range t.strikes {
				last = max(last, faultEnd(s, w.now))
			}
		}
	}
	if w.side.op != nil {
		for _, t := range w.side.op.taps {
			if t.until == 0 {
				return false
			}
			last = max(last, t.until)
		}
	}
	for _, t := range w.side.troubles.all {
		last = max(last, faultEnd(t.Strike, w.now))
	}
	return w.now-last >= healing
}

// faultEnd is when a strike is over; never, if it comes again and again.
func faultEnd(s *fault.Strike, now time.Duration) time.Duration {
	switch {
	case s.Begun < 0:
		return 0
	case s.Spec().Every > 0 && s.Spec().Times == 0:
		return now
	case s.Until == fault.Never:
		if s.Spec().ForTo == 0 && (s.Spec().Effect == scenario.EffectDisconnect || s.Spec().Effect == scenario.EffectReconnectStorm || s.Spec().Effect == scenario.EffectBrokerRestart) {
			return s.Begun
		}
		return now
	}
	return s.Until
}

// judgeTraffic bounds what a fleet moves: each execution may fetch its image a few
// times, each power cut and each fault once more.
func (w *world) judgeTraffic(end *check.Ledger) {
	op := w.side.op
	size := uint64(0)
	for i := range w.fleet.images {
		size = max(size, uint64(len(w.fleet.images[i].data)))
	}
	tries := uint64(0)
	for _, r := range op.runs {
		tries += uint64(len(op.list(r.id)))
	}
	for i := range w.devs {
		if d := w.devs[i].dev; d != nil {
			tries += d.Flash().Stats().PowerCuts
		}
	}
	for i := range w.sc.Faults {
		tries += uint64(w.env.Faults[w.sc.Faults[i].Name].Injected)
	}
	hours := uint64(w.now/time.Hour) + 1
	limit := 4*tries*size + uint64(len(w.devs))*(64<<10)*hours
	got := op.traffic(w.now).MQTTBytesOut
	end.Check(check.RuleTraffic, got <= limit || len(w.sc.Attacks) > 0, "", w.now, func() string {
		return fmt.Sprintf("%d bytes to the devices; %d downloads and %d device hours explain %d", got, tries, uint64(len(w.devs))*hours, limit)
	})
}

// judgeWear bounds the erases of a sector: two for each time a slot is opened, and four for each boot.
func (w *world) judgeWear(end *check.Ledger) {
	for i := range w.devs {
		a := &w.devs[i]
		if a.dev == nil {
			continue
		}
		wear, limit := a.dev.Flash().MaxWear(), 4*(uint32(a.opened)+uint32(a.boots))+8
		end.Check(check.RuleWear, wear <= limit, a.name, w.now, func() string {
			return fmt.Sprintf("a sector was erased %d times; %d downloads and %d boots explain %d", wear, a.opened, a.boots, limit)
		})
	}
}
