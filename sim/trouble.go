package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/pki"
	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/partition"
	"github.com/otasim/otasim/sim/fault"
	"github.com/otasim/otasim/sim/kernel"
	"github.com/otasim/otasim/sim/network"
	"github.com/otasim/otasim/sim/scenario"
)

// trouble is what goes wrong with one device besides the power cuts that wait for a
// point. Most devices have none.
type trouble struct {
	strikes  []*fault.Strike
	timed    []*fault.PowerCut // power cuts at times, in their order
	hop      fault.Hop
	boot     time.Duration // when the power came last
	messages bool          // some strike is about single messages
	placed   []defect
	hit      []int // faults that struck; whether it recovered is judged at the end
}

// defect is a media fault on the chip that has not yet been felt.
type defect struct {
	strike int
	serial int
	ids    []flashmodel.FaultID
	felt   bool
}

// of is the strike of a fault of the scenario.
func (t *trouble) of(index int) int {
	return slices.IndexFunc(t.strikes, func(s *fault.Strike) bool { return s.Fault == index })
}

// cutAt reports whether a power cut at a time is due now.
func (t *trouble) cutAt(now time.Duration) bool { return len(t.timed) > 0 && t.timed[0].At == now }

// cutDue takes the power cut at a time that is due, unless another one came first.
func (t *trouble) cutDue(now, other time.Duration) *fault.PowerCut {
	if len(t.timed) == 0 || t.timed[0].At > now || other > 0 && other < t.timed[0].At {
		return nil
	}
	c := t.timed[0]
	t.timed = t.timed[1:]
	return c
}

// breakFault is the index of what a link does by itself: no fault of the scenario.
// Below it are attacks.
const breakFault = -1

// strikeOf is the index of what an attack does to a device.
func strikeOf(attack int) int { return breakFault - 1 - attack }

// planFaults draws what happens to whom.
func (w *world) planFaults() error {
	sc := w.sc
	for i := range sc.Faults {
		f := &sc.Faults[i]
		if f.Type == scenario.FaultCloud {
			continue
		}
		targets := fault.Targets(w.seed, f.Name, w.fleet.selected(&f.Select), f.Select.Fraction)
		if f.When != nil {
			w.pending = append(w.pending, whenFault{i, targets})
		}
		for n, times := range fault.Shares(w.seed, f, len(targets)) {
			if times == 0 {
				continue
			}
			w.plan(i, f, targets[n], times)
		}
		if f.Effect == scenario.EffectCaptive && w.portal == nil {
			authority, err := pki.New(aws.Seed(w.seed.Key("captive portal")), w.epoch)
			if err != nil {
				return fmt.Errorf("captive portal: %w", err)
			}
			chain, _, err := authority.Server("portal.local")
			if err != nil {
				return fmt.Errorf("captive portal: %w", err)
			}
			for _, c := range chain {
				w.portal = protocol.AppendCertificate(w.portal, c)
			}
		}
	}
	for t := range w.fleet.things {
		if b := w.fleet.things[t].breaks; b != nil {
			w.add(t, fault.NewStrike(w.seed, breakFault, b, w.fleet.things[t].name, -1))
		}
	}
	for i := range w.devs {
		if t := w.devs[i].trouble; t != nil {
			fault.SortByTime(t.timed)
		}
	}
	return nil
}

// plan draws one fault for one device.
func (w *world) plan(index int, f *scenario.Fault, target, times int) {
	a, name := &w.devs[target], w.fleet.things[target].name
	if f.Type != scenario.FaultPowerCut {
		s := fault.NewStrike(w.seed, index, f, name, times)
		w.add(target, s)
		if s.Timed {
			w.lastStrike = max(w.lastStrike, s.At)
		}
		return
	}
	if f.When != nil {
		return
	}
	if times < 0 {
		times = int(min((w.sc.Duration-f.TimeFrom)/f.Every+1, 1000))
	}
	for _, c := range fault.Plan(w.seed, index, f, name, w.fleet.where(target), times) {
		if c.At == 0 {
			a.cuts = append(a.cuts, c)
			continue
		}
		w.troubleOf(target).timed = append(w.troubleOf(target).timed, c)
		w.lastStrike = max(w.lastStrike, min(c.At, w.sc.Duration))
	}
}

func (w *world) add(target int, s *fault.Strike) {
	t := w.troubleOf(target)
	t.strikes = append(t.strikes, s)
	t.messages = t.messages || s.Spec().Messages()
}

func (w *world) troubleOf(target int) *trouble {
	a := &w.devs[target]
	if a.trouble == nil {
		name := w.fleet.things[target].name
		a.trouble = &trouble{hop: fault.NewHop(w.seed.Stream("trouble/up/"+name), w.seed.Stream("trouble/down/"+name))}
	}
	return a.trouble
}

// schedule puts what happens at times into the queue of a world in virtual time.
func (w *world) schedule() {
	for n, t := range w.side.troubles.all {
		if t.Timed {
			w.engine.strikeCloud(n, t.At)
		}
	}
	for i := range w.devs {
		t := w.devs[i].trouble
		if t == nil {
			continue
		}
		for _, c := range t.timed {
			w.k.Post(int32(i), int32(i), c.At, msg{kind: msgCut})
		}
		for n, s := range t.strikes {
			if s.Timed {
				w.k.Post(int32(i), int32(i), s.At, msg{kind: msgStrike, gen: uint32(n)})
			}
		}
	}
}

// arm tells a chip when its power will fail next, so that the command in progress is torn.
func (sh *shard) arm(a *actor) {
	t := a.trouble
	now := a.dev.Flash().Clock()
	for len(t.timed) > 0 && t.timed[0].At <= now {
		t.timed = t.timed[1:] // it had no power then
	}
	if len(t.timed) == 0 {
		return
	}
	a.dev.Flash().SetCutSeed(t.timed[0].Seed())
	a.dev.Flash().SetCutAt(t.timed[0].At)
	if sh.w.opt.Mode == Live && a.cutBy == nil {
		a.cutBy, a.cutAt = t.timed[0], t.timed[0].At
		t.timed = t.timed[1:]
	}
}

// troubled lets faults have their say about an event of a device. It reports whether
// that is all there is to the event.
func (sh *shard) troubled(a *actor, now time.Duration, e *kernel.Event[msg]) bool {
	t := a.trouble
	switch e.Msg.kind {
	case msgFrame, msgPong:
		if e.Msg.kind == msgFrame && t.messages && sh.message(a, now, &e.Msg) {
			return true
		}
		n := e.Msg.frame.Len()
		switch {
		case e.Msg.kind == msgPong:
			n = network.PingBytes
		case e.Msg.frame.Kind == protocol.FrameClose:
			n = 0
		}
		at, ok := t.hop.Down(t.strikes, e.Msg.gen, now, n)
		if ok && at <= now {
			return false
		}
		if ok {
			m := e.Msg
			if m.kind == msgPong {
				m.frame = network.Pong
			}
			m.kind = msgHeld
			sh.k.Send(a.id, at, m)
		}
		return true
	case msgHeld:
		e.Msg.kind = msgFrame
	case msgStrike:
		sh.begin(a, now, int(e.Msg.gen))
		sh.after(a, now)
		return true
	case msgHeal:
		sh.heal(a, int(e.Msg.gen))
		return true
	}
	return false
}

// begin puts a strike in force.
func (sh *shard) begin(a *actor, now time.Duration, i int) {
	t := a.trouble
	s := t.strikes[i]
	struck, next := s.Begin(now)
	if next > 0 {
		sh.w.engine.strike(a, i, next)
	}
	if !struck {
		return
	}
	a.chain.Fold(uint64(now)<<8 | 0x30)
	f := s.Spec()
	if a.dev == nil || f.Messages() { // it strikes when its message comes
		return
	}
	switch f.Type {
	case scenario.FaultFlashMedia:
		sh.damage(a, i)
	case scenario.FaultNetwork:
		if breaks, told := s.Breaks(); breaks && sh.k == nil {
			sh.w.engine.sever(a, told, f.Effect)
		} else if breaks && a.client.Alive() {
			m := msg{kind: msgBreak, gen: a.client.Gen}
			if told {
				m.frame.Kind = protocol.FrameClose
			}
			sh.k.Send(a.id, now, m)
		}
		if a.powered() && s.Felt() {
			sh.struck(a, now, s)
		}
	case scenario.FaultClock:
		sh.struck(a, now, s)
	}
}

// struck counts a fault that has reached a device.
func (sh *shard) struck(a *actor, now time.Duration, s *fault.Strike) {
	a.harmed = true
	if s.Fault < breakFault {
		sh.fire(breakFault - 1 - s.Fault)
	}
	if s.Fault < 0 {
		return
	}
	sh.note(a, now, "fault "+s.Spec().Name+": "+s.Phase)
	c := &sh.faults[s.Fault]
	c.injected++
	if p := s.Spec().At; p != nil {
		c.phases[p.Point.String()]++
	} else {
		c.phases[a.dev.Phase().String()]++
	}
	a.trouble.hit = append(a.trouble.hit, s.Fault)
	sh.dirty = true
}

// damage puts a media fault over the cells.
func (sh *shard) damage(a *actor, i int) {
	s := a.trouble.strikes[i]
	region, ok := sh.region(a, s.Spec().Media.Partition)
	if !ok {
		return
	}
	d := defect{strike: i, serial: s.Serial}
	for _, x := range s.Media(region) {
		if id, err := a.dev.Flash().AddFault(x); err == nil {
			d.ids = append(d.ids, id)
		}
	}
	a.trouble.placed = append(a.trouble.placed, d)
	if s.Until != fault.Never {
		sh.w.engine.heal(a, i, s.Until)
	}
}

// heal takes the defects of a strike away.
func (sh *shard) heal(a *actor, i int) {
	sh.feel(a)
	a.trouble.placed = slices.DeleteFunc(a.trouble.placed, func(d defect) bool {
		if d.strike != i {
			return false
		}
		for _, id := range d.ids {
			a.dev.Flash().LiftFault(id)
		}
		return true
	})
}

// feel counts the media faults that have made a difference.
func (sh *shard) feel(a *actor) {
	for i := range a.trouble.placed {
		d := &a.trouble.placed[i]
		if d.felt {
			continue
		}
		for _, id := range d.ids {
			if a.dev.Flash().FaultHits(id) > 0 && !d.felt {
				d.felt = true
				sh.struck(a, a.dev.Flash().Clock(), a.trouble.strikes[d.strike])
			}
		}
	}
}

// region finds the partition that a media fault names.
func (sh *shard) region(a *actor, label string) (fault.Region, bool) {
	g := &sh.w.fleet.groups[a.group]
	if label == "bootloader" {
		c := sh.w.fleet.things[a.id].config
		from := device.ModelOf(c.Target, c.Flash.Size).Chip.BootloaderOffset
		return fault.Region{Offset: from, Size: g.tableOffset - from}, true
	}
	running := a.view.slot
	if r, ok := a.dev.Running(); ok {
		running = r.Slot.Label
	}
	for _, r := range g.table {
		slot := r.Type == partition.TypeApp && r.Subtype >= 0x10 && r.Subtype < 0x20
		if r.Label == label || label == "running" && r.Label == running || label == "passive" && slot && r.Label != running {
			return fault.Region{Offset: r.Offset, Size: r.Size}, true
		}
	}
	return fault.Region{}, false
}

// armed lets strikes that wait for a point begin there.
func (sh *shard) armed(a *actor, now time.Duration, p device.Point, arg int) {
	for i, s := range a.trouble.strikes {
		if p == device.PointBoot && s.Lasts(now) && s.Felt() {
			sh.struck(a, now, s) // it came while the device had no power
		}
		if !s.Matches(p, arg) {
			continue
		}
		if s.Spec().Type == scenario.FaultNetwork && !s.Spec().Messages() {
			sh.w.engine.strike(a, i, now) // a connection ends between two steps
			continue
		}
		sh.begin(a, now, i)
	}
}

// message lets faults of single messages have their say about a frame that has arrived
// at a device. It reports whether the frame is gone, or comes later.
func (sh *shard) message(a *actor, now time.Duration, m *msg) (gone bool) {
	fate := sh.fate(a, now, false, m.frame)
	held := *m
	held.kind = msgHeld
	if fate.Again > 0 && !fate.Drop {
		sh.k.Send(a.id, now+fate.Late+fate.Again, held)
	}
	if fate.Late > 0 && !fate.Drop {
		sh.k.Send(a.id, now+fate.Late, held)
	}
	return fate.Drop || fate.Late > 0
}

// fate is what faults of single messages make of a frame to or from a device.
func (sh *shard) fate(a *actor, now time.Duration, up bool, f protocol.Frame) (fate fault.Fate) {
	if f.Kind != protocol.FrameMQTT || len(f.Head) == 0 || f.Head[0]>>4 != protocol.Publish {
		return fate
	}
	var p protocol.Packet
	if protocol.Decode(f, &p) != nil {
		return fate
	}
	_, service, rest, _ := protocol.ParseThingTopic(p.Topic)
	below := service + "/" + rest
	for _, s := range a.trouble.strikes {
		if !s.Meets(now, up, below) {
			continue
		}
		fate = s.Add(fate)
		s.Phase = s.Spec().Effect + " " + p.Topic
		sh.struck(a, now, s)
	}
	if !fate.Drop {
		sh.awaited = max(sh.awaited, now+fate.Late+fate.Again)
	}
	return fate
}

// dial lets faults answer an attempt to connect.
func (sh *shard) dial(a *actor, now time.Duration) {
	switch what, why := fault.Dialing(a.trouble.strikes, now); what {
	case fault.DialFails:
		sh.out = a.client.Break(now, why, false, sh.out)
	case fault.DialUnanswered:
		a.client.Unanswered(now)
	case fault.DialPortal:
		a.client.Unanswered(now)
		answer := protocol.Frame{Kind: protocol.FrameTLSServer, Body: sh.w.portal}
		sh.k.Send(a.id, now+2*a.link.Latency, msg{kind: msgHeld, gen: a.client.Gen, frame: answer})
	}
}

// memory is the hook by which devices ask for memory.
func (sh *shard) memory(_ *device.Device, now time.Duration, bytes int) bool {
	a := sh.stepping
	if a == nil || a.trouble == nil {
		return true
	}
	had := true
	for _, s := range a.trouble.strikes {
		if !s.Refuses(now, bytes) {
			continue
		}
		had = false
		if s.Felt() {
			sh.struck(a, now, s)
		}
	}
	return had
}

// recoveries judges at the end of a run which devices are well again.
func (w *world) recoveries() {
	for i := range w.devs {
		a := &w.devs[i]
		if a.trouble == nil || a.dev == nil || a.view.bricked || !a.view.powered || a.view.version == "" {
			continue
		}
		for _, f := range a.trouble.hit {
			w.shards[w.shardOf(a.id)].faults[f].recovered++
		}
		a.trouble.hit = nil
	}
}
