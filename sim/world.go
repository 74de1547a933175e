package sim

import (
	"cmp"
	"context"
	"fmt"
	"runtime/metrics"
	"slices"
	"strings"
	"time"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/api"
	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/device/firmware"
	"github.com/otasim/otasim/flashmodel/nvs"
	"github.com/otasim/otasim/sim/check"
	"github.com/otasim/otasim/sim/fault"
	"github.com/otasim/otasim/sim/kernel"
	"github.com/otasim/otasim/sim/network"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// Epoch is the wall-clock time of t = 0 in every world: certificates are valid
// around it, and job timestamps count from it.
var Epoch = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// world is one run. In virtual time it is its own engine; live mode has another.
type world struct {
	sc     *scenario.Scenario
	opt    Options
	seed   kernel.Seed
	epoch  time.Time
	engine engine

	fleet     *fleet
	k         *kernel.Kernel[msg]
	shardOf   func(actor int32) int
	shards    []*shard
	devs      []actor
	cloudID   int32 // the last actor
	lookahead time.Duration
	side      cloudside

	detail      *detail // nil: no report is wanted
	judge       *check.Judge
	asksFlash   bool // some rule is about flash, which must be added up over all devices
	asksTraffic bool // the same
	counts      bool // idle pings are counted, not made
	env         check.Env
	changed     []changedDevice
	pending     []whenFault
	portal      []byte        // certificate chain of the captive portal
	lastStrike  time.Duration // when the last fault at a time strikes for the first time
	stopped     stop
	now         time.Duration // when the run ended

	ctx      context.Context //nolint:containedctx // of the run; barrier has no other way to it
	started  time.Time
	shown    time.Time // when progress was last reported
	barriers int
	traceErr error  // the first one
	baseline uint64 // heap and stacks before the fleet
	peak     uint64
}

// engine makes time pass in a world: the events of a kernel, or goroutines and a
// clock.
type engine interface {
	// events counts what has happened so far.
	events() uint64
	// wakeCloud has the operator look at its list. No device runs when it is called.
	wakeCloud(now time.Duration)
	// cut takes a device's power away at its cutAt.
	cut(a *actor)
	// restore gives it back at a time.
	restore(a *actor, at time.Duration)
	// sever has the network end a device's connection on sockets; told says whether the
	// broker learns of it.
	sever(a *actor, told bool, why string)
	// hangUp ends a device's connection without a byte, as a reset does.
	hangUp(a *actor)
	// strike has the i-th of a device's strikes begin at a time, or at once.
	strike(a *actor, i int, at time.Duration)
	// heal has its defects of the flash end then.
	heal(a *actor, i int, at time.Duration)
	// strikeCloud has the i-th of the cloud's faults begin at a time.
	strikeCloud(i int, at time.Duration)
}

// stop says why a run ended.
type stop int

const (
	stopNot      stop = iota
	stopQuiet         // nothing left to happen
	stopDuration      // the scenario's duration is over
	stopUntil
	stopTimeout
	stopInterrupted
	stopAbort // a rule with abortOnFail failed
)

// whenFault waits for its condition.
type whenFault struct {
	index   int
	targets []int
}

// emptyWorld is a world whose fleet is planned, but not made.
func emptyWorld(sc *scenario.Scenario, opt Options) (*world, error) {
	opt.Defects.Device |= sc.Planted.Device
	opt.Defects.Cloud |= sc.Planted.Cloud
	w := &world{sc: sc, opt: opt, seed: kernel.Seed(sc.Seed), epoch: Epoch}
	w.started = time.Now() //nolint:forbidigo // for --timeout and the summary, not for the trace
	w.baseline = memoryInUse()
	var err error
	if w.fleet = opt.kept.fleetOf(sc); w.fleet == nil {
		if w.fleet, err = newFleetPlan(sc, w.seed); err != nil {
			return nil, err
		}
	}
	if err := w.fleet.hasThings(opt.Dumps); err != nil {
		return nil, err
	}
	w.devs = make([]actor, len(w.fleet.things))
	if opt.Detail {
		w.detail = newDetail(len(w.devs))
	}
	w.shardOf = shardOf(len(w.devs), opt.Workers)
	for range opt.Workers {
		sh := &shard{w: w, tallies: make([]tally, len(w.fleet.groups)), faults: make([]faultCount, len(sc.Faults)), record: &check.Ledger{}}
		sh.sessions.direct = opt.direct
		if opt.Detail {
			sh.latencies = make([]int, latencyBins)
		}
		for f := range sh.faults {
			sh.faults[f].phases = map[string]int{}
		}
		w.shards = append(w.shards, sh)
	}
	return w, nil
}

// newWorld is a world in virtual time, ready to run.
func newWorld(sc *scenario.Scenario, opt Options) (*world, error) {
	w, err := emptyWorld(sc, opt)
	if err != nil {
		return nil, err
	}
	n := len(w.devs)
	w.engine, w.cloudID, w.lookahead = w, int32(n), w.fleet.lookahead()
	w.k = kernel.New(kernel.Config[msg]{
		Actors: n + 1, Workers: opt.Workers, ShardOf: w.shardOf,
		Lookahead: w.lookahead, Handle: w.handle, Before: w.before, Barrier: w.barrier, Parallel: opt.parallel,
	})
	for i, sh := range w.shards {
		sh.k = w.k.Shard(i)
	}
	w.side.down, w.side.conn, w.side.peers = make([]network.Direction, n), make([]cloud.ConnID, n), make([]peer, 1)
	for i := range w.side.down {
		w.side.down[i].Rand = w.seed.Stream("downlink/" + w.fleet.things[i].name)
	}
	s3 := s3Options(sc.Cloud.Region, w.seed)
	if w.side.op, err = newOperator(sc, w.seed, w.fleet, w, func(c *cloud.Config) {
		c.Defects = w.opt.Defects.Cloud
		c.Presign = api.Presigner("https://"+s3Host(s3.Region), s3)
	}); err != nil {
		return nil, err
	}
	if w.side.store, err = newStorefront(w.side.op.cloud, s3, &w.side.op.fetched); err != nil {
		return nil, err
	}
	if w.counts = w.countsPings(); w.counts {
		w.side.op.pings = w.counted
	}
	if err := w.furnish(); err != nil {
		return nil, err
	}
	for i := range sc.Devices() {
		if at, ok := w.fleet.begin(i); ok {
			w.k.Post(int32(i), int32(i), at, msg{kind: msgRise})
		}
	}
	w.schedule()
	w.k.Post(w.cloudID, w.cloudID, 1, msg{kind: msgWake})
	w.side.wake = 1
	return w, nil
}

// furnish makes the devices of t = 0, plans what goes wrong with them, and appoints
// the judge.
func (w *world) furnish() error {
	w.side.cloud = w.side.op.cloud
	w.side.troubles.plan(w)
	w.side.cloud.SetFaults(w.side.troubles.faults())
	identities, err := w.side.op.enroll(w.sc.Devices())
	if err != nil {
		return err
	}
	catalogue, err := w.opt.kept.behaviours(w.fleet.images, w.fleet.boot, w.side.op.signer)
	if err != nil {
		return err
	}
	if err := w.planFaults(); err != nil {
		return err
	}
	if err := w.populate(identities, catalogue); err != nil {
		return err
	}
	w.judge = check.NewJudge(w.sc.Rules(), w.sc.Scaled)
	for _, r := range w.sc.Rules() {
		w.asksFlash = w.asksFlash || strings.Contains(r.Program.Source, "flash.")
	}
	w.asksTraffic = w.asks("traffic.")
	return nil
}

// shardOf spreads devices over the workers. The cloud, always on shard 0, costs
// measured nearly half as much as all devices together, so shard 0 gets fewer of them.
func shardOf(devices, workers int) func(int32) int {
	return func(actor int32) int {
		if int(actor) == devices || workers == 1 {
			return 0
		}
		slot := int(actor) % (workers*cloudShare - cloudShare + 1)
		return (slot + cloudShare - 1) / cloudShare
	}
}

// cloudShare is how many devices another shard gets for each one of shard 0.
const cloudShare = 2

// populate makes the devices that have an identity, each shard its own.
func (w *world) populate(identities []nvs.Identity, catalogue *firmware.Catalogue) (err error) {
	for _, sh := range w.shards {
		store := w.opt.kept.storeOf()
		store.DisableMemo, store.FreshSlices = w.opt.noMemo, w.opt.Mode == Live
		store.Watch = &check.Guard{Ledger: sh.record, Who: sh.writer}
		hooks := &device.Hooks{Point: sh.reached}
		if w.opt.Trace != nil {
			hooks.Trace = sh.console
		}
		if slices.ContainsFunc(w.sc.Faults, func(f scenario.Fault) bool { return f.Type == scenario.FaultMemory }) {
			hooks.Memory = sh.memory
		}
		sh.factory = newFactory(w.fleet, store, catalogue, hooks)
		if op := w.side.op; op != nil {
			sh.factory.signer, sh.factory.trailer = op.publicKey(), op.trailer
		}
		sh.factory.defects = w.opt.Defects.Device
	}
	done := make(chan error, len(w.shards))
	for s, sh := range w.shards {
		go func() {
			for i := range identities {
				if w.shardOf(int32(i)) != s {
					continue
				}
				nvs, err := w.fleet.nvs(i, identities[i])
				if err == nil {
					err = sh.make(int32(i), identities[i].ThingName, nvs)
				}
				if err != nil {
					done <- fmt.Errorf("device %s: %w", identities[i].ThingName, err)
					return
				}
			}
			done <- nil
		}()
	}
	for range w.shards {
		err = cmp.Or(err, <-done)
	}
	return err
}

// make is the factory: it programs a chip and puts it into a device, or programs a
// new identity into one that came back.
func (sh *shard) make(id int32, name string, nvs []byte) error {
	w := sh.w
	a := &w.devs[id]
	t := &w.fleet.things[id]
	if a.dev != nil {
		a.name = name
		return sh.factory.renew(t, a.dev, nvs)
	}
	dev, err := sh.factory.make(t, nvs)
	if err != nil {
		return err
	}
	a.id, a.dev, a.name, a.group, a.link = id, dev, name, t.group, t.link
	a.up.Rand = w.seed.Stream("uplink/" + t.name)
	if t.link.Jitter > 0 || t.link.Loss > 0 {
		a.pings.stream = w.seed.Stream("pings/" + t.name)
	}
	if a.trouble != nil {
		sh.arm(a)
	}
	if len(w.sc.Attacks) > 0 {
		a.ran = make([]time.Duration, len(w.fleet.images))
	}
	sh.look(a, 0)
	return nil
}

// deliver has the factory make a device, or give it a new identity, and switches
// it on. It is called while the cloud's event runs.
func (w *world) deliver(id int, name string, nvs []byte) {
	w.send(int32(id), msg{kind: msgMake, frame: protocol.Frame{Head: []byte(name), Body: nvs}})
}

// power switches a device on or off. It is called while the cloud's event runs.
func (w *world) power(id int, on bool) {
	kind := msgPowerOff
	if on {
		kind = msgPowerOn
	}
	w.send(int32(id), msg{kind: kind})
}

// tamper lets an attack have its way with a device in hand.
func (w *world) tamper(id, attack int) {
	w.send(int32(id), msg{kind: msgTamper, gen: uint32(attack)})
}

// strikeBy puts an attack's fault in force at a device.
func (w *world) strikeBy(id, attack int) {
	w.send(int32(id), msg{kind: msgStrikeBy, gen: uint32(attack)})
}

// linger is called while the cloud's event runs.
func (w *world) linger(until time.Duration) {
	w.lastStrike = max(w.lastStrike, min(until, w.sc.Duration))
}

// dial and replies are an attacker's connection to the broker.
func (w *world) dial() cloud.ConnID { return w.side.dial() }

func (w *world) listen(conn cloud.ConnID, read func(protocol.Frame)) {
	if w.side.spies == nil {
		w.side.spies = map[cloud.ConnID]func(protocol.Frame){}
	}
	w.side.spies[conn] = read
}

func (w *world) fetch(now time.Duration, url string) (status int, body []byte) {
	return w.side.store.fetch(w.epoch.Add(now), url)
}

func (w *world) replies(conn cloud.ConnID) []protocol.Frame {
	for _, o := range w.side.cloud.Outbox() {
		if o.Conn == conn {
			w.side.collect(&o)
		} else {
			w.side.held = append(w.side.held, o)
		}
	}
	out := w.side.loot
	w.side.loot = nil
	return out
}

// events, wakeCloud, cut, restore and hangUp make the kernel an engine.
func (w *world) events() uint64 { return w.k.Events() }

func (w *world) wakeCloud(now time.Duration) {
	if w.side.wake != now {
		w.side.wake = now
		w.k.Post(w.cloudID, w.cloudID, now, msg{kind: msgWake})
	}
}

func (w *world) cut(a *actor) {
	if ks := w.k.ShardOf(a.id); w.shards[ks.Index].stepping == a {
		ks.Send(a.id, a.cutAt, msg{kind: msgCut})
	} else {
		w.k.Post(a.id, a.id, a.cutAt, msg{kind: msgCut})
	}
}

func (w *world) restore(a *actor, at time.Duration) {
	w.k.ShardOf(a.id).Send(a.id, at, msg{kind: msgPowerOn})
}

func (w *world) sever(*actor, bool, string) {} // a message of the device to itself does that

func (w *world) hangUp(a *actor) {
	a.client.PowerOff()
	if a.http != nil {
		a.http.PowerOff()
	}
}

func (w *world) heal(a *actor, i int, at time.Duration) {
	w.shards[w.shardOf(a.id)].k.Send(a.id, at, msg{kind: msgHeal, gen: uint32(i)})
}

func (w *world) strikeCloud(i int, at time.Duration) {
	w.k.Post(w.cloudID, w.cloudID, at, msg{kind: msgStrike, gen: uint32(i)})
}

func (w *world) strike(a *actor, i int, at time.Duration) {
	m := msg{kind: msgStrike, gen: uint32(i)}
	if ks := w.k.ShardOf(a.id); w.shards[ks.Index].stepping == a {
		ks.Send(a.id, at, m)
	} else {
		w.k.Post(a.id, a.id, at, m)
	}
}

func (w *world) send(id int32, m msg) {
	ks := w.k.ShardOf(w.cloudID)
	ks.Send(id, ks.Now()+w.lookahead, m)
}

func (w *world) handle(ks *kernel.Shard[msg], e *kernel.Event[msg]) {
	sh := w.shards[ks.Index]
	if e.Dst == w.cloudID {
		w.side.actor(sh, e)
		return
	}
	sh.device(e)
}

// run executes the world until something ends it.
func (w *world) run(ctx context.Context) (*report.Result, error) {
	w.ctx = ctx
	end := w.sc.Duration
	why := stopDuration
	if w.opt.Until > 0 && w.opt.Until < end {
		end, why = w.opt.Until, stopUntil
	}
	w.now = end
	switch dry := w.k.Run(end); {
	case dry && !w.quietly():
		w.stopped = stopQuiet
	case w.stopped == stopNot:
		w.stopped = why
	}
	w.before(w.now)
	if w.opt.Trace != nil {
		w.writeTrace()
	}
	w.shown = time.Time{}
	w.show(time.Now(), w.now) //nolint:forbidigo // the last steps, to whoever looks on
	return w.result(), nil
}

// before runs before an epoch that ends then: nothing has happened since the last one,
// and nothing will before this one.
func (w *world) before(end time.Duration) {
	for w.detail != nil && w.detail.next < end {
		w.detail.sample(w, w.detail.next/w.lookahead*w.lookahead)
	}
}

// barrier runs between two epochs, when no actor does.
func (w *world) barrier(end time.Duration) bool {
	changed := false
	if w.opt.Trace != nil {
		w.writeTrace()
	}
	for _, sh := range w.shards {
		changed = changed || sh.dirty
		sh.dirty = false
	}
	abort := w.judgeDevices()
	if w.side.changed {
		changed, w.side.changed = true, false
		w.env.Jobs = w.side.op.jobs()
	}
	w.adopt(end)
	if changed && (w.judge.Live() || len(w.pending) > 0 || w.side.op.conditional()) {
		w.look(end)
		abort = w.judge.After(&w.env) || abort
		w.conditions(end)
	}
	switch {
	case abort:
		w.stopped = stopAbort
	case w.quiet(end):
		w.stopped = stopQuiet
	default:
		w.outside(end)
	}
	if w.stopped != stopNot {
		w.now = end
	}
	return w.stopped != stopNot
}

// judgeDevices judges the rules about single devices, in the order in which the
// devices changed.
func (w *world) judgeDevices() (abort bool) {
	w.changed = w.changed[:0]
	for _, sh := range w.shards {
		w.changed = append(w.changed, sh.changed...)
		sh.changed = sh.changed[:0]
	}
	slices.SortFunc(w.changed, func(a, b changedDevice) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.id, b.id))
	})
	for i := range w.changed {
		abort = w.judge.Device(w.changed[i].at, &w.changed[i].device) || abort
	}
	return abort
}

// look refreshes what expressions see.
func (w *world) look(now time.Duration) {
	w.env.Now = now
	w.env.Fleet, w.env.Groups = w.count()
	w.env.Faults = w.faultCounts()
	if w.asksFlash {
		w.env.Flash = w.flash()
	}
	if w.asksTraffic {
		w.env.Traffic = w.side.op.traffic(now)
	}
	w.env.Updates = w.side.op.counted()
}

// conditions starts what waits for a condition: updates and events at the
// operator, power cuts at the devices.
func (w *world) conditions(now time.Duration) {
	if w.side.op.judge(&w.env) {
		w.engine.wakeCloud(now)
	}
	w.pending = slices.DeleteFunc(w.pending, func(p whenFault) bool {
		f := &w.sc.Faults[p.index]
		if ok, err := f.When.Holds(&w.env); err != nil || !ok {
			return false
		}
		if f.Type == scenario.FaultCloud {
			w.engine.strikeCloud(w.side.troubles.of(p.index), now)
			return true
		}
		for _, t := range p.targets {
			a := &w.devs[t]
			if f.Type != scenario.FaultPowerCut {
				if a.trouble != nil && a.trouble.of(p.index) >= 0 { // the budget may leave it out
					w.engine.strike(a, a.trouble.of(p.index), now)
				}
				continue
			}
			c := fault.Now(w.seed, p.index, f, w.fleet.things[t].name)
			if a.dev == nil || a.cutBy != nil || !a.powered() {
				continue
			}
			a.cutBy, a.cutAt = c, max(now, a.dev.BusyUntil())
			w.engine.cut(a)
		}
		return true
	})
}

// quiet reports whether nothing is left that could change the outcome: the operator
// is done, every execution has ended, and every device is idle or dead.
func (w *world) quiet(now time.Duration) bool {
	if w.opt.Probe != nil && w.opt.Probe.Busy() {
		return false
	}
	if len(w.pending) > 0 || now < w.lastStrike {
		return false
	}
	for _, sh := range w.shards {
		if sh.active > 0 || now < sh.awaited {
			return false
		}
	}
	return w.side.op.done()
}

// outside asks the world around the simulation: does somebody want it to stop, or
// to see how far it is. Nothing here can reach the trace.
func (w *world) outside(now time.Duration) {
	if w.barriers++; w.barriers%32 != 0 {
		return
	}
	wall := time.Now() //nolint:forbidigo // decides when to report and when to give up, nothing else
	switch {
	case w.ctx.Err() != nil:
		w.stopped = stopInterrupted
	case w.opt.Timeout > 0 && wall.Sub(w.started) > w.opt.Timeout:
		w.stopped = stopTimeout
	}
	w.show(wall, now)
}

// show reports progress, ten times a second.
func (w *world) show(wall time.Time, now time.Duration) {
	if wall.Sub(w.shown) < 100*time.Millisecond {
		return
	}
	w.shown = wall
	w.measure()
	if w.opt.Progress != nil {
		fleet, _ := w.count()
		w.opt.Progress(report.Progress{Virtual: now, Limit: w.sc.Duration, Events: w.engine.events(), Devices: fleet.Devices, Powered: fleet.Powered,
			Executions: w.side.op.executions(), RolledBack: fleet.RolledBack, Bricked: fleet.Bricked, Steps: w.side.op.news()})
	}
}

// measure notes the most memory seen.
func (w *world) measure() { w.peak = max(w.peak, memoryInUse()) }

// memoryInUse is heap and stacks as the runtime accounts them.
func memoryInUse() uint64 {
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(samples)
	n := uint64(0)
	for _, s := range samples {
		n += s.Value.Uint64()
	}
	return n
}

// close ends the goroutines of the devices.
func (w *world) close() {
	for _, sh := range w.shards {
		sh.sessions.close()
	}
}
