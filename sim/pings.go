package sim

import (
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/sim/fault"
	"github.com/otasim/otasim/sim/kernel"
	"github.com/otasim/otasim/sim/network"
)

// Idle devices ping their broker once a minute, and nothing comes of it. So these pings
// are not events: the first one of a connection is, and takes the device's word along
// that more will follow; from then on both ends hold no timers, and the pings are
// counted when something else happens to the device, or somebody asks for the traffic.
//
//	device   CONNACK ... PINGREQ, more ... PINGRESP | counted | packet | counted | loses power
//	broker                       alarm dropped                                       Unheard: alarm set again
//
// Whatever touches the link or ends the connection takes the word back, and then there
// are events again, at the times they would have had: a ping on its way arrives, the
// client waits for the answer, the broker's alarm counts from the last ping that came.

// pings are those of one device's connection.
type pings struct {
	stream kernel.Rand
	gen    uint32 // of the connection that word is about
	word   word
	quiet  bool          // since the last event, they are counted and are not events
	until  time.Duration // quiet: the ping that is an event
	flight flight        // of the latest ping, unless it is counted
}

type word uint8

const (
	wordNone  word = iota
	wordAsked      // a ping with the word is on its way, or its answer
	wordGiven
)

// flight is one ping; sent 0: none.
type flight struct{ sent, arrives, back time.Duration }

// orphan is a ping whose connection came to an end before it was certain that the
// broker got it.
type orphan struct {
	device  int32
	gen     uint32
	arrives time.Duration
}

const (
	// leastInterval between pings that may be counted: one is over long before the next.
	leastInterval = 30 * time.Second
	// ahead is how many pings of a link that loses packets are looked at in advance.
	ahead = 256
)

// countsPings decides for a whole world: attackers may see each packet.
func (w *world) countsPings() bool { return !w.opt.everyPing && len(w.sc.Attacks) == 0 }

// fly is a device's ping that is sent now.
func (a *actor) fly(now time.Duration) flight {
	f := flight{sent: now, arrives: max(a.link.PingUp(a.pings.stream, now), a.up.Last())}
	f.back = a.link.PingDown(a.pings.stream, f.arrives)
	return f
}

// undisturbed reports whether packets take their usual way.
func (a *actor) undisturbed(now time.Duration) bool {
	return a.trouble == nil || !fault.Touch(a.trouble.strikes, now) && a.trouble.hop.Clear(now)
}

// calm reports whether a ping at a time would have the link for itself.
func (sh *shard) calm(a *actor, now time.Duration) bool {
	return a.idle() && a.client.Interval() >= leastInterval && a.undisturbed(now) && len(sh.w.sc.Attacks) == 0
}

// ping sends one that is an event, if one is due on a calm link.
func (sh *shard) ping(a *actor, now time.Duration) (sent bool) {
	at, ok := a.client.PingDue()
	if !ok || at > now || !sh.calm(a, now) {
		return false
	}
	p, m := &a.pings, msg{kind: msgPing, gen: a.client.Gen}
	if p.word == wordNone && sh.w.counts {
		p.word, p.gen = wordAsked, a.client.Gen
		m.frame.Kind = protocol.FrameMQTT
	}
	f := a.fly(now)
	a.client.Ping(now)
	sh.k.Send(sh.w.cloudID, a.up.Keep(f.arrives), m)
	return true
}

// pong is the answer to one that was an event, or that has become one.
func (sh *shard) pong(a *actor, now time.Duration, gen uint32) {
	a.client.Pong()
	if a.pings.word == wordAsked && a.pings.gen == gen {
		a.pings.word = wordGiven
	}
}

// count catches up with the pings that were sent until now, if they are no events.
func (sh *shard) count(a *actor, now time.Duration) {
	p := &a.pings
	if !p.quiet {
		return
	}
	n, last := a.pinged(min(now, p.until-1))
	if n == 0 {
		return
	}
	sh.pings += uint64(n - 1)
	if p.flight.sent > 0 {
		sh.pings++
	}
	p.flight = a.fly(last)
	a.up.Keep(p.flight.arrives)
	a.client.Pinged(last)
}

// pinged is how many pings a quiet connection has sent until now that are not yet
// caught up with, and when the last one was.
func (a *actor) pinged(now time.Duration) (n int64, last time.Duration) {
	due, _ := a.client.PingDue()
	if due = max(due, a.dev.BusyUntil()); due > now {
		return 0, 0
	}
	k := a.client.Interval()
	n = int64((now - due) / k)
	return n + 1, due + time.Duration(n)*k
}

// hush decides after an event whether the pings to come need be events.
func (sh *shard) hush(a *actor, now time.Duration) {
	p := &a.pings
	p.quiet = false
	if p.word == wordNone {
		return
	}
	if p.gen != a.client.Gen || !a.client.Online() {
		sh.unheard(a, now)
		return
	}
	if !a.undisturbed(now) {
		if f := sh.unheard(a, now); f.back > now {
			a.client.Await(f.sent)
		}
		return
	}
	due, answered := a.client.PingDue()
	if p.word != wordGiven || !answered || !sh.calm(a, now) {
		return
	}
	if due = max(due, a.dev.BusyUntil()); due < a.up.Last() {
		return
	}
	p.quiet, p.until = true, fault.Never
	if a.link.Prompt() {
		return
	}
	for range ahead {
		if f := a.fly(due); !network.Prompt(f.sent, f.back) {
			break
		}
		due += a.client.Interval()
	}
	p.until = due
}

// unheard takes the word back: the broker listens again from the last ping on. An answer
// on its way still comes.
func (sh *shard) unheard(a *actor, now time.Duration) flight {
	p := &a.pings
	f := p.flight
	if f.sent > 0 {
		sh.orphans = append(sh.orphans, orphan{a.id, p.gen, f.arrives})
		if f.back > now {
			sh.k.Send(a.id, f.back, msg{kind: msgPong, gen: p.gen})
		}
	}
	at := max(sh.k.Now()+sh.w.lookahead, f.arrives, a.up.Last())
	sh.k.Send(sh.w.cloudID, at, msg{kind: msgUnheard, gen: p.gen, frame: protocol.Frame{Head: binary.LittleEndian.AppendUint64(nil, uint64(f.arrives))}})
	p.word, p.flight = wordNone, flight{}
	return f
}

// closed tells when the broker closed the connection whose end the device learns now:
// what it has sent since did not arrive.
func (sh *shard) closed(a *actor, gen uint32, at time.Duration) {
	p := &a.pings
	if p.gen != gen || p.word == wordNone {
		return
	}
	if p.flight.sent > 0 && p.flight.arrives <= at {
		sh.pings++
		if p.flight.back > sh.k.Now() {
			sh.k.Send(a.id, p.flight.back, msg{kind: msgPong, gen: gen})
		}
	}
	p.flight, p.word, p.quiet = flight{}, wordNone, false
}

// takePing handles a PINGREQ on an idle link.
func (c *cloudside) takePing(sh *shard, now time.Duration, at time.Time, device int32, m *msg) {
	id := c.connOf(device, m.gen)
	if id == 0 || !c.peers[id].open {
		return
	}
	c.cloud.Ping(at, id, m.frame.Kind != 0)
	a := &sh.w.devs[device]
	sh.k.Send(device, a.link.PingDown(a.pings.stream, now), msg{kind: msgPong, gen: m.gen})
}

// listen lets the broker wait for a device that no longer pings for sure.
func (c *cloudside) listen(sh *shard, now time.Duration, device int32, m *msg) {
	if id := c.connOf(device, m.gen); id != 0 && c.peers[id].open {
		c.cloud.Unheard(id, sh.w.epoch.Add(time.Duration(binary.LittleEndian.Uint64(m.frame.Head))))
		c.sleep(sh, now)
	}
}

// connOf finds a device's connection. Almost always it is the latest; a RST that answers
// a late delivery comes on an older one.
func (c *cloudside) connOf(device int32, gen uint32) cloud.ConnID {
	id := c.conn[device]
	for id != 0 && c.peers[id].gen != gen {
		id = c.peers[id].before
	}
	return id
}

// arrived reports whether a ping got to the broker before it closed the connection.
func (c *cloudside) arrived(device int32, gen uint32, at time.Duration) bool {
	id := c.connOf(device, gen)
	return id != 0 && (c.peers[id].open || at <= c.peers[id].end)
}

// counted is how many pings have reached the broker before asOf without being events.
// No device runs when it is called.
func (w *world) counted(asOf time.Duration) (n uint64) {
	for _, sh := range w.shards {
		n += sh.pings
		for _, o := range sh.orphans {
			if o.arrives < asOf && w.side.arrived(o.device, o.gen, o.arrives) {
				n++
			}
		}
	}
	for i := range w.devs {
		a := &w.devs[i]
		p := &a.pings
		if p.flight.sent > 0 && p.flight.arrives < asOf && w.side.arrived(a.id, p.gen, p.flight.arrives) {
			n++
		}
		if !p.quiet {
			continue
		}
		limit := asOf
		if id := w.side.connOf(a.id, p.gen); id == 0 {
			continue
		} else if !w.side.peers[id].open {
			limit = min(limit, w.side.peers[id].end+1)
		}
		if k, last := a.pinged(min(limit, p.until) - 1); k > 0 {
			n += uint64(k)
			if a.fly(last).arrives >= limit {
				n--
			}
		}
	}
	return n
}

// adopt counts the pings of connections that are over.
func (w *world) adopt(asOf time.Duration) {
	for _, sh := range w.shards {
		if len(sh.orphans) == 0 {
			continue
		}
		sh.orphans = slices.DeleteFunc(sh.orphans, func(o orphan) bool {
			if o.arrives >= asOf {
				return false
			}
			if w.side.arrived(o.device, o.gen, o.arrives) {
				sh.pings++
			}
			return true
		})
	}
}

// quietly reports whether some device pings without events.
func (w *world) quietly() bool {
	for i := range w.devs {
		if w.devs[i].pings.quiet {
			return true
		}
	}
	return false
}

// asks reports whether an expression of the scenario is about a name.
func (w *world) asks(name string) bool {
	sources := make([]string, 0, 8)
	for _, r := range w.sc.Rules() {
		sources = append(sources, r.Program.Source)
	}
	for i := range w.sc.Faults {
		if p := w.sc.Faults[i].When; p != nil {
			sources = append(sources, p.Source)
		}
	}
	for _, t := range w.side.op.todo {
		if t.When != nil {
			sources = append(sources, t.When.Source)
		}
	}
	return slices.ContainsFunc(sources, func(s string) bool { return strings.Contains(s, name) })
}
