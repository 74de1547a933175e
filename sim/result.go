package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/otasim/otasim/sim/check"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/trace"
)

// faultCount counts what one fault did on one shard.
type faultCount struct {
	injected, recovered int
	phases              map[string]int
}

// count adds up the shards' tallies: the whole fleet, and each group.
func (w *world) count() (report.Fleet, map[string]report.Fleet) {
	all, groups := newFleet(), make(map[string]report.Fleet, len(w.fleet.groups))
	for g := range w.fleet.groups {
		one := newFleet()
		for _, sh := range w.shards {
			for _, f := range []*report.Fleet{&one, &all} {
				sh.tallies[g].into(f)
				for i, n := range sh.tallies[g].files {
					f.OnFile[w.fleet.files[i].update] += n
				}
			}
		}
		groups[w.fleet.groups[g].name] = one
	}
	return all, groups
}

func (w *world) faultCounts() map[string]report.Fault {
	out := make(map[string]report.Fault, len(w.sc.Faults))
	for i := range w.sc.Faults {
		f := report.Fault{Name: w.sc.Faults[i].Name, Phases: map[string]int{}}
		for _, sh := range w.shards {
			c := &sh.faults[i]
			f.Injected += c.injected
			f.Recovered += c.recovered
			for p, n := range c.phases {
				f.Phases[p] += n
			}
		}
		out[f.Name] = f
	}
	w.side.troubles.count(out)
	return out
}

// flash adds up the flash statistics of the fleet.
func (w *world) flash() (f report.Flash) {
	for i := range w.devs {
		if w.devs[i].dev == nil {
			continue
		}
		st := w.devs[i].dev.Flash().Stats()
		f.BytesProgrammed += st.BytesProgrammed
		f.SectorsErased += st.SectorsErased
		f.PowerCuts += st.PowerCuts
		f.MaxWear = max(f.MaxWear, st.MaxWear)
	}
	return f
}

// resetNames are the esp_reset_reason_t of the arguments of device.PointBoot.
var resetNames = [...]string{"ESP_RST_POWERON", "ESP_RST_SW", "ESP_RST_PANIC", "ESP_RST_WDT"}

// result judges the run and writes it down.
func (w *world) result() *report.Result {
	op := w.side.op
	r := &report.Result{
		Schema: report.Schema, Scenario: w.sc.Metadata.Name, Seed: w.sc.Seed, Mode: w.opt.Mode, Workers: w.opt.Workers, Version: w.opt.Version,
		VirtualSeconds: w.now.Seconds(), Events: w.engine.events(),
	}
	for i := range w.devs {
		if w.devs[i].dev != nil {
			w.shards[w.shardOf(int32(i))].look(&w.devs[i], w.now)
		}
	}
	w.recoveries()
	op.observe()
	w.env.Jobs = op.jobs()
	w.asksFlash, w.asksTraffic = true, true
	w.look(w.now)
	w.env.Devices = make([]report.Device, 0, len(w.devs))
	for i := range w.devs {
		if w.devs[i].view.exists {
			w.env.Devices = append(w.env.Devices, w.reportDevice(&w.devs[i]))
		}
	}
	for _, sh := range w.shards {
		for i := range sh.fired {
			op.fire(i)
		}
	}
	w.env.Attacks = op.attackCounts(w.env.Devices, w.ran)
	for index, n := range w.leaks() {
		a := w.env.Attacks[w.sc.Attacks[index].Name]
		a.Leaked = n
		w.env.Attacks[a.Name] = a
	}
	w.env.Fleet.Mismatched = op.compare(w.env.Devices, w.env.Groups)
	w.judge.After(&w.env)
	w.judge.End(&w.env)

	r.Fleet, r.Groups = w.env.Fleet, w.env.Groups
	r.Jobs = op.jobList()
	r.Updates, r.Traffic, r.Flash = w.env.Updates, w.env.Traffic, w.env.Flash
	r.Assertions = w.judge.Assertions()
	samples, failed := op.measured(&r.Updates)
	for i := range w.env.Devices {
		if d := &w.env.Devices[i]; d.Bricked || d.RolledBack || failed[d.Thing] {
			r.Updates.Hurt++
		}
	}
	r.Thresholds = samples.Judge(w.sc.Limits())
	r.ExecutionTime = samples.Quantiles(check.MetricJobExecutionDuration)
	for i := range w.sc.Faults {
		r.Faults = append(r.Faults, w.env.Faults[w.sc.Faults[i].Name])
	}
	for i := range w.sc.Attacks {
		r.Attacks = append(r.Attacks, w.env.Attacks[w.sc.Attacks[i].Name])
	}
	r.Resets = w.resets()
	r.Invariants, r.Divergence = w.invariants()
	if p := w.sc.Planted.Names; len(p) > 0 {
		op.notes = append(op.notes, fmt.Sprintf("planted, this is not the system: %s", strings.Join(p, ", ")))
	}
	for _, t := range op.todo {
		if t.waiting != nil {
			op.notes = append(op.notes, fmt.Sprintf("%s: %v", t.what, t.waiting))
		}
	}
	r.Notes, r.Steps = op.notes, op.steps
	if w.traceErr != nil {
		r.Notes = append(r.Notes, "the trace is incomplete: "+w.traceErr.Error())
	}
	r.CostUSD, r.Quotas = op.bill(w.now, r.Jobs), op.quotas()
	if w.detail != nil {
		w.detail.sample(w, w.now)
		r.Detail = w.detail.report(w)
	}
	if w.opt.Mode != Live { // what happens on sockets happens once
		r.TraceHash = w.traceHash()
	}
	r.Memory = w.memory()
	switch w.stopped {
	case stopUntil, stopTimeout:
		r.Verdict = report.VerdictInconclusive
	case stopInterrupted:
		r.Verdict = report.VerdictInterrupted
	}
	r.Conclude(w.sc.Scaled)
	r.Normalize()
	r.WallSeconds = time.Since(w.started).Seconds() //nolint:forbidigo // for the reader, not for the trace
	return r
}

// resets counts the resets of all devices by their reason.
func (w *world) resets() map[string]int {
	out := map[string]int{}
	for _, sh := range w.shards {
		for i, n := range sh.resets {
			if n > 0 {
				out[resetNames[i]] += n
			}
		}
	}
	return out
}

// memory is what the process has used.
func (w *world) memory() report.Memory {
	w.measure()
	m := report.Memory{PeakRSSBytes: peakRSS()}
	if n := uint64(len(w.devs)); n > 0 && w.peak > w.baseline {
		m.BytesPerDevice = (w.peak - w.baseline) / n
	}
	return m
}

// ran is when a device last started an image of a version.
func (w *world) ran(device int, version string) (time.Duration, bool) {
	for i := range w.fleet.images {
		if a := &w.devs[device]; w.fleet.images[i].Version == version && a.ran != nil && a.ran[i] > 0 {
			return a.ran[i], true
		}
	}
	return 0, false
}

// traceHash condenses the histories of all actors, the cloud's last.
func (w *world) traceHash() string {
	chains := make([]trace.Chain, 0, len(w.devs)+1)
	for i := range w.devs {
		chains = append(chains, w.devs[i].chain)
	}
	return trace.Sum(append(chains, w.side.chain))
}
