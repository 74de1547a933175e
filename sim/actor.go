package sim

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/sim/check"
	"github.com/otasim/otasim/sim/fault"
	"github.com/otasim/otasim/sim/kernel"
	"github.com/otasim/otasim/sim/network"
	"github.com/otasim/otasim/sim/trace"
)

// msg is what actors send each other and themselves.
type msg struct {
	kind  msgKind
	gen   uint32 // connection of the sender's or receiver's MQTT client
	frame protocol.Frame
}

// waiting is a frame that the device has not seen yet.
type waiting struct {
	msg
	arrived time.Duration
}

type msgKind uint8

const (
	msgWake     msgKind = iota // own timer
	msgFrame                   // a frame on the connection gen
	msgHTTP                    // live mode: an event of the HTTP connection gen
	msgInbox                   // own timer: the CPU is free for the frames in the inbox
	msgPowerOn                 // mains power arrives
	msgCut                     // mains power fails now, if still planned for now
	msgPowerOff                // mains power is switched off; nothing switches it on again by itself
	msgRise                    // a sleeper's window begins
	msgSleep                   // and ends
	msgMake                    // the factory delivers: frame.Head is the thing name, frame.Body the NVS partition
	msgHeld                    // a msgFrame that a fault has held back
	msgStrike                  // a fault begins: gen is the index of the strike
	msgStrikeBy                // an attack begins at the device: gen is its index
	msgTamper                  // somebody has the device in hand: gen is the attack
	msgHeal                    // and its defects of the flash end
	msgPing                    // PINGREQ on an idle link; frame.Kind is not 0 if it takes the word along that more follow
	msgPong                    // PINGRESP on an idle link
	msgUnheard                 // the word is taken back; frame.Head is when the last ping arrives, 8 bytes
	msgBreak                   // the network ends the connection gen; frame.Kind is 0 if the broker is not told
)

// actor is one device in virtual time: the machine, its MQTT client and its half
// of the link. Only its shard touches it.
type actor struct {
	id      int32
	dev     *device.Device
	sess    *session
	client  network.Client
	http    *network.HTTP // nil until the device uses it
	up      network.Direction
	pings   pings
	link    *network.Link
	chain   trace.Chain
	wake    time.Duration     // of the msgWake in the queue, 0: none
	inbox   []waiting         // frames that arrived while the CPU was in a flash command
	drain   time.Duration     // of the msgInbox in the queue, 0: none
	cutAt   time.Duration     // power fails then, 0: not planned
	cutBy   *fault.PowerCut   // the cut under way
	cuts    []*fault.PowerCut // those that wait for their point
	trouble *trouble          // what else goes wrong, nil: nothing
	group   int32
	name    string // thing name
	view    view
	trial   string          // slot of the image on trial, "" if none
	ran     []time.Duration // by firmware image: when it was last started; nil if no attack asks
	hit     []int           // faults that struck and from which it has not yet recovered
	looked  bool            // view must be read again after this step
	started bool            // an application started in this step
	harmed  bool            // a fault has reached it, or its power was switched off
	told    *check.End      // the last end of an execution that it has published, nil: none
	opened  uint16          // times a slot was opened
	boots   uint16
	active  bool // has something in hand, or has lost power for a while
}

// idle reports whether the device has nothing in hand but its timers.
func (a *actor) idle() bool {
	p := a.dev.Phase()
	return p == device.PhaseIdle && !a.dev.Guarded() || p == device.PhaseOff || p == device.PhaseBricked
}

func (a *actor) powered() bool { return a.dev != nil && a.dev.Phase() != device.PhaseOff }

// shard is what the actors of one worker share.
type shard struct {
	w        *world
	k        *kernel.Shard[msg]
	factory  *factory
	leaked   map[leak]bool
	sessions sessions
	roots    network.Roots
	bodies   trace.Bodies
	packet   protocol.Packet
	out      []network.Output
	posts    []network.Output
	inboxes  [][]waiting // empty ones
	tallies  []tally     // by group
	faults   []faultCount
	record   *check.Ledger
	resets   [4]int // by the argument of device.PointBoot
	changed  []changedDevice
	dirty    bool // a view changed since the last barrier
	active   int  // devices with something in hand, or without power for a while
	lines    []traceLine
	fired    map[int]bool  // attacks that have done something to a device
	awaited  time.Duration // the last message that a fault delays or repeats arrives then
	stepping *actor        // whose hooks run

	latencies []int    // of answers to requests for blocks, in the bins of latencyBin; only with a report
	pings     uint64   // that were no events and have reached the broker
	orphans   []orphan // that may have
}

// device runs one event of a device.
func (sh *shard) device(e *kernel.Event[msg]) {
	a := &sh.w.devs[e.Dst]
	now := time.Duration(e.At)
	sh.count(a, now)
	if e.Msg.kind == msgStrikeBy {
		sh.attacked(a, now, int(e.Msg.gen))
		sh.after(a, now)
		return
	}
	if a.trouble != nil && sh.troubled(a, now, e) {
		return
	}
	if a.dev != nil && e.Msg.kind != msgCut && a.dev.BusyUntil() > now {
		sh.later(a, now, e.Msg)
		return
	}
	switch e.Msg.kind {
	case msgWake:
		if now != a.wake {
			return // another one was set for an earlier time
		}
		sh.woken(a, now)
	case msgFrame, msgPong:
		if len(a.inbox) > 0 {
			a.inbox = append(a.inbox, waiting{e.Msg, now}) // behind those that wait for this very moment
			return
		}
		sh.frame(a, now, now, &e.Msg)
	case msgInbox:
		if a.wake == now {
			sh.woken(a, now) // timers come first, whenever they were set
		}
		a.drain = 0
		for n := 0; ; n++ {
			if n >= len(a.inbox) {
				sh.empty(a)
				break
			}
			if until := a.dev.BusyUntil(); until > now {
				a.inbox = slices.Delete(a.inbox, 0, n)
				a.drain = until
				sh.k.Send(a.id, until, msg{kind: msgInbox})
				break
			}
			m := a.inbox[n] // losing power empties the inbox
			sh.frame(a, now, m.arrived, &m.msg)
		}
	case msgBreak:
		if a.powered() && a.client.Gen == e.Msg.gen {
			sh.out = a.client.Break(now, "connection reset", e.Msg.frame.Kind != 0, sh.out[:0])
			sh.flush(a)
		}
	case msgRise:
		sh.rise(a, now)
	case msgSleep:
		sh.doze(a, now)
	case msgPowerOn:
		if a.dev != nil && !a.powered() && !sh.asleep(a, now) {
			if a.trouble != nil {
				sh.arm(a)
				a.trouble.boot = now
			}
			sh.step(a, now, device.Event{Kind: device.PowerOn})
		}
	case msgCut:
		if a.cutAt == now || a.trouble != nil && a.trouble.cutAt(now) && a.powered() {
			sh.lost(a, now)
		}
	case msgPowerOff:
		if a.powered() {
			sh.lost(a, now)
		}
	case msgTamper:
		if a.dev != nil {
			sh.tampered(a, now, int(e.Msg.gen))
		}
	case msgMake:
		a.chain.Bytes(e.Msg.frame.Body)
		if a.powered() {
			sh.lost(a, now)
		}
		if err := sh.make(e.Dst, string(e.Msg.frame.Head), e.Msg.frame.Body); err != nil {
			panic(fmt.Sprintf("sim: device %d, of a kind that was made before: %v", e.Dst, err))
		}
		sh.step(a, now, device.Event{Kind: device.PowerOn})
		if p, ok := sh.w.fleet.presence(int(a.id)); ok && !p.Off {
			sh.k.Send(a.id, now+p.For, msg{kind: msgSleep})
		}
	}
	sh.after(a, now)
}

// woken runs the timers of the MQTT client, the HTTP client and the device.
func (sh *shard) woken(a *actor, now time.Duration) {
	a.wake = 0
	if !a.powered() {
		return
	}
	sh.out = sh.out[:0]
	if a.trouble != nil && a.client.Dialing() {
		sh.dial(a, now)
	}
	if !sh.ping(a, now) {
		sh.out = a.client.Wake(now, &sh.roots, sh.out)
	}
	sh.flush(a)
	if a.http != nil {
		sh.serveHTTP(a, a.http.Wake(now, nil))
	}
	if at, ok := a.dev.NextWake(); ok && at <= now && a.powered() {
		sh.step(a, now, device.Event{Kind: device.Wake})
	}
}

// later keeps an event for when the CPU is through with its flash command or digest.
func (sh *shard) later(a *actor, now time.Duration, m msg) {
	until := a.dev.BusyUntil()
	switch m.kind {
	case msgWake:
		if now != a.wake {
			return
		}
		a.wake = until
	case msgFrame, msgPong:
		if n := len(sh.inboxes); a.inbox == nil && n > 0 {
			a.inbox, sh.inboxes = sh.inboxes[n-1], sh.inboxes[:n-1]
		}
		a.inbox = append(a.inbox, waiting{m, now})
		if a.drain != 0 {
			return
		}
		a.drain, m = until, msg{kind: msgInbox}
	case msgInbox:
		a.drain = until
	}
	sh.k.Send(a.id, until, m)
}

// empty takes the inbox away from a device; another one will need its memory.
func (sh *shard) empty(a *actor) {
	if a.inbox != nil {
		clear(a.inbox)
		sh.inboxes = append(sh.inboxes, a.inbox[:0])
		a.inbox = nil
	}
}

// frame hands a frame from the downlink to the device's MQTT client; it arrived now or while the CPU was busy.
func (sh *shard) frame(a *actor, now, arrived time.Duration, m *msg) {
	if !a.powered() {
		return
	}
	if isHTTP(m.frame.Kind) {
		sh.httpFrame(a, now, m)
		return
	}
	if m.gen != a.client.Gen || !a.client.Alive() {
		// A segment for a connection this TCP stack does not know: it answers RST.
		if m.frame.Kind != protocol.FrameClose {
			sh.transmit(a, now, m.gen, protocol.Frame{Kind: protocol.FrameClose}, 0)
		}
		return
	}
	if m.kind == msgPong {
		sh.pong(a, now, m.gen)
		return
	}
	if m.frame.Kind == protocol.FrameClose && len(m.frame.Head) == 8 {
		sh.closed(a, m.gen, time.Duration(binary.LittleEndian.Uint64(m.frame.Head)))
		m.frame.Head = nil
	}
	// Its bytes are in the history of the sender, and cannot change on the way.
	a.chain.Fold(uint64(now)<<8 | uint64(m.frame.Kind))
	a.chain.Fold(uint64(m.frame.Len()))
	sh.out = a.client.Receive(now, sh.wall(a, now), sh.w.epoch, m.frame, &sh.roots, &sh.packet, sh.out[:0])
	for i := range sh.out {
		if !sh.out[i].IsPost {
			sh.out[i].Event.Arrived = arrived
		}
	}
	sh.flush(a)
}

// wall is what a device's clock shows, counted from the epoch of the world.
func (sh *shard) wall(a *actor, now time.Duration) time.Duration {
	if a.trouble == nil {
		return now
	}
	return fault.Clock(a.trouble.strikes, now, a.trouble.boot, sh.w.epoch.Unix())
}

// after looks at a device whose event is over.
func (sh *shard) after(a *actor, now time.Duration) {
	if a.dev == nil {
		return
	}
	sh.settle(a, now)
	if a.sess != nil && a.idle() {
		sh.sessions.park(a)
	}
	sh.hush(a, now)
	next, ok := a.dev.NextWake()
	at, alive := a.client.NextWake()
	if a.pings.quiet {
		at, alive = a.pings.until, a.pings.until != fault.Never
	}
	if alive && (!ok || at < next) {
		next, ok = at, true
	}
	if a.http != nil {
		if at, waits := a.http.NextWake(); waits && (!ok || at < next) {
			next, ok = at, true
		}
	}
	if !ok || !a.powered() {
		return
	}
	if next = max(next, now, a.dev.BusyUntil()); a.wake == 0 || next < a.wake {
		a.wake = next
		sh.k.Send(a.id, next, msg{kind: msgWake})
	}
}

// settle notes what an event has made of a device.
func (sh *shard) settle(a *actor, now time.Duration) {
	if a.trouble != nil {
		sh.feel(a)
	}
	if a.looked {
		a.looked = false
		sh.look(a, now)
	}
	if active := !a.idle() || len(a.hit) > 0 && !a.powered(); active != a.active {
		a.active = active
		if active {
			sh.active++
		} else {
			sh.active--
		}
	}
}

// flush carries out what the MQTT client put out: frames for the link, events for
// the device.
func (sh *shard) flush(a *actor) {
	for i := range sh.out {
		if o := &sh.out[i]; o.IsPost {
			sh.transmit(a, o.At, a.client.Gen, o.Frame, o.Bytes)
		} else if a.powered() {
			sh.step(a, o.At, o.Event)
		}
	}
	clear(sh.out)
}

// step runs one event of the machine and puts its network operations on the link.
func (sh *shard) step(a *actor, now time.Duration, ev device.Event) {
	a.chain.Fold(uint64(now)<<8 | uint64(ev.Kind) | 0x80)
	sh.stepping = a
	var lost bool
	if p := sh.w.opt.Probe; p != nil {
		shown := ev // only this copy is on the heap
		p.Step(int(a.id), a.dev, now, &shown)
		lost = sh.sessions.step(a, now, shown)
		p.Stepped(int(a.id), a.dev, now, &shown, lost)
	} else {
		lost = sh.sessions.step(a, now, ev)
	}
	sh.stepping = nil
	f := a.dev.Flash()
	a.chain.Fold(uint64(f.Clock()))
	a.chain.Fold(f.Commands())
	if lost {
		sh.parting(a)
		sh.lost(a, f.Clock())
		return
	}
	rtt := 2 * a.link.Latency
	for _, op := range a.dev.Ops() {
		if op.Kind >= device.OpHTTPOpen {
			sh.fetch(a, op, rtt)
			continue
		}
		sh.tells(a, now, &op)
		sh.posts = a.client.Do(op, rtt, sh.posts[:0])
		for i := range sh.posts {
			sh.transmit(a, sh.posts[i].At, a.client.Gen, sh.posts[i].Frame, sh.posts[i].Bytes)
		}
	}
	clear(sh.posts)
}

// tells watches what a device publishes: it may not tell two ends of one execution. Whoever was harmed may have lost
// what it knew.
func (sh *shard) tells(a *actor, now time.Duration, op *device.NetOp) {
	if op.Kind != device.OpPublish {
		return
	}
	if e, ok := check.Told(op.Topic, op.Payload); ok {
		sh.told(a, now, e)
	}
}

func (sh *shard) told(a *actor, now time.Duration, e check.End) {
	excused := a.harmed || len(sh.w.sc.Attacks) > 0 || len(sh.w.side.troubles.all) > 0
	sh.record.Check(check.RuleReportedOnce, excused || a.told == nil || !e.Contradicts(*a.told), a.name, now, func() string {
		return fmt.Sprintf("%s is told on %s, it was %s", e.Status, e.Topic, a.told.Status)
	})
	a.told = &e
}

// parting sends what a device had published in the step that ended with the loss of power: the agent waits for the
// acknowledgement of a status before it goes on, so the message had left long before.
func (sh *shard) parting(a *actor) {
	for _, op := range a.dev.Ops() {
		if op.Kind != device.OpPublish {
			continue
		}
		for _, post := range a.client.Do(op, 2*a.link.Latency, nil) {
			sh.transmit(a, post.At, a.client.Gen, post.Frame, post.Bytes)
		}
	}
}

// transmit puts a frame on the uplink.
func (sh *shard) transmit(a *actor, now time.Duration, gen uint32, f protocol.Frame, n int) {
	a.chain.Fold(uint64(now)<<8 | uint64(f.Kind) | 0x40)
	a.chain.Bytes(f.Head)
	a.chain.Fold(sh.bodies.Sum(f.Body))
	n = max(n, f.Len())
	at := a.up.Send(a.link, a.link.Uplink, now, n)
	if a.trouble != nil {
		var ok bool
		if at, ok = a.trouble.hop.Up(a.trouble.strikes, gen, now, at, n); !ok {
			return
		}
		if a.trouble.messages {
			fate := sh.fate(a, now, true, f)
			if fate.Drop {
				return
			}
			at += fate.Late
			if fate.Again > 0 {
				sh.k.Send(sh.w.cloudID, at+fate.Again, msg{kind: msgFrame, gen: gen, frame: f})
			}
		}
	}
	if sh.w.opt.Probe != nil {
		sh.meddle(a, true, now, at, gen, f)
		return
	}
	sh.k.Send(sh.w.cloudID, at, msg{kind: msgFrame, gen: gen, frame: f})
}

// lost is what happens when mains power fails: RAM is gone, the connection ends
// without a byte, and if a fault did it, power returns later.
func (sh *shard) lost(a *actor, now time.Duration) {
	a.chain.Fold(uint64(now)<<8 | 0x20)
	sh.note(a, now, "power lost in phase "+a.dev.Phase().String())
	by, phase := a.cutBy, a.dev.Phase()
	if p := sh.w.opt.Probe; p != nil {
		if off := p.Lost(int(a.id), a.dev, now); off > 0 {
			sh.w.engine.restore(a, now+off)
		}
	}
	a.dev.PowerOff()
	sh.w.engine.hangUp(a)
	f := a.dev.Flash()
	f.SetCutAt(0)
	f.SetInjector(nil)
	if a.trouble != nil {
		if t := a.trouble.cutDue(now, a.cutAt); t != nil {
			by = t
		}
	}
	sh.empty(a)
	a.cutAt, a.cutBy, a.wake = 0, nil, 0
	a.looked, a.harmed = true, true
	if by == nil {
		return
	}
	c := &sh.faults[by.Fault]
	c.injected++
	if by.Phase != "" {
		c.phases[by.Phase]++
	} else {
		c.phases[phase.String()]++
	}
	a.hit = append(a.hit, by.Fault)
	sh.w.engine.restore(a, now+by.Off)
}

// reached is the hook that every device calls at the named points of its program.
func (sh *shard) reached(d *device.Device, now time.Duration, p device.Point, arg int) {
	a := sh.stepping
	if sh.w.detail != nil {
		sh.w.detail.reached(sh, a.id, now, p, arg)
	}
	a.chain.Fold(uint64(now)<<16 ^ uint64(p)<<8 ^ uint64(uint32(arg))<<24 ^ 0x10)
	switch p {
	case device.PointBoot:
		sh.w.engine.hangUp(a) // TCP state was in RAM
		a.boots++
		if arg >= 0 && arg < len(sh.resets) {
			sh.resets[arg]++
		}
		a.looked = true
	case device.PointStarted:
		for _, i := range a.hit {
			sh.faults[i].recovered++
		}
		a.hit = a.hit[:0]
		a.looked = true
		a.started = true
	case device.PointConfirm, device.PointReport, device.PointReported, device.PointPassiveErase:
		a.looked = true
	}
	if probe := sh.w.opt.Probe; probe != nil {
		probe.Point(int(a.id), d, now, p, arg)
	}
	if p == device.PointSlotErase {
		a.opened++
	}
	if a.trouble != nil {
		sh.armed(a, now, p, arg)
	}
	sh.plan(a, d.Flash(), p, arg)
}

// plan lets the first power cut that waits for this point take its course. One is
// under way at a time.
func (sh *shard) plan(a *actor, f *flashmodel.Flash, p device.Point, arg int) {
	next := -1
	for i, c := range a.cuts {
		if !c.Pass(p, arg) && next < 0 && a.cutBy == nil && c.Matches(p, arg) {
			next = i
		}
	}
	if next < 0 {
		return
	}
	c := a.cuts[next]
	a.cuts = slices.Delete(a.cuts, next, next+1)
	a.cutBy = c
	if at, later := c.Strike(f); later {
		a.cutAt = at
		f.SetCutSeed(c.Seed())
		f.SetCutAt(at)
		if a.trouble != nil && len(a.trouble.timed) > 0 && a.trouble.timed[0].At < at {
			f.SetCutAt(a.trouble.timed[0].At)
		}
		sh.w.engine.cut(a)
	}
}
