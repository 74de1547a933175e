package broker

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/otasim/otasim/cloud/broker/rules"
	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/cloud/registry"
)

// entry is the exact subscriptions of one topic.
type entry struct {
	subs []*subscription
	dead bool // removed from the index
}

// node is one level of the wildcard filters.
type node struct {
	children map[string]*node
	subs     []*subscription
}

type retained struct {
	payload []byte
	qos     byte
}

func (b *Broker) index(s *subscription) {
	b.subscriptions++
	if rules.HearsEvents(s.filter) {
		b.watchers++
	}
	if !rules.Wildcard(s.filter) {
		e := b.exact[s.filter]
		if e == nil {
			e = &entry{}
			b.exact[s.filter] = e
		}
		e.subs = append(e.subs, s)
		return
	}
	b.wilds++
	n := &b.wild
	for level := range strings.SplitSeq(s.filter, "/") {
		if n.children == nil {
			n.children = map[string]*node{}
		}
		next := n.children[level]
		if next == nil {
			next = &node{}
			n.children[level] = next
		}
		n = next
	}
	n.subs = append(n.subs, s)
}

func (b *Broker) unindex(s *subscription) {
	b.subscriptions--
	if rules.HearsEvents(s.filter) {
		b.watchers--
	}
	if !rules.Wildcard(s.filter) {
		e := b.exact[s.filter]
		e.subs = slices.DeleteFunc(e.subs, func(x *subscription) bool { return x == s })
		if len(e.subs) == 0 {
			e.dead = true
			delete(b.exact, s.filter)
		}
		return
	}
	b.wilds--
	b.wild.remove(s, s.filter)
}

// remove takes a subscription out and prunes what is empty; true when the node
// itself has become empty.
func (n *node) remove(s *subscription, filter string) bool {
	level, rest, more := strings.Cut(filter, "/")
	next := n.children[level]
	if next == nil {
		return false
	}
	empty := false
	if more {
		empty = next.remove(s, rest)
	} else {
		next.subs = slices.DeleteFunc(next.subs, func(x *subscription) bool { return x == s })
		empty = len(next.subs) == 0 && len(next.children) == 0
	}
	if empty {
		delete(n.children, level)
	}
	return len(n.subs) == 0 && len(n.children) == 0
}

// match appends the subscriptions of all filters below n that match the topic.
func (n *node) match(out []*subscription, topic string, first bool) []*subscription {
	if len(n.children) == 0 {
		return out
	}
	level, rest, more := strings.Cut(topic, "/")
	reserved := first && strings.HasPrefix(topic, "$")
	for _, name := range [3]string{level, "+", "#"} {
		next := n.children[name]
		if next == nil || reserved && name != level {
			continue
		}
		switch {
		case name == "#" || !more:
			out = append(out, next.subs...)
		default:
			out = next.match(out, rest, false)
		}
	}
	return out
}

// publish sends a message to everybody who subscribed to its topic: each client
// once, with the highest QoS it was granted, in the order of the sessions.
func (b *Broker) publish(now int64, topic string, payload []byte, qos byte) {
	e := b.exact[topic]
	if b.wilds == 0 {
		if e != nil {
			for _, s := range e.subs {
				b.deliver(now, s, topic, payload, min(qos, s.qos), false)
			}
		}
		return
	}
	m := b.matches[:0]
	if e != nil {
		m = append(m, e.subs...)
	}
	m = b.wild.match(m, topic, true)
	slices.SortStableFunc(m, func(x, y *subscription) int {
		switch {
		case x.session.order != y.session.order:
			if x.session.order < y.session.order {
				return -1
			}
			return 1
		}
		return int(y.qos) - int(x.qos)
	})
	for i, s := range m {
		if i > 0 && m[i-1].session == s.session {
			continue
		}
		b.deliver(now, s, topic, payload, min(qos, s.qos), false)
	}
	clear(m)
	b.matches = m[:0]
}

// deliver hands one message to one subscriber.
func (b *Broker) deliver(now int64, s *subscription, topic string, payload []byte, qos byte, retain bool) {
	se := s.session
	c := se.conn
	if c == nil {
		if qos == 1 && !se.clean {
			b.stats.Metered += rules.Metered(len(topic) + len(payload)) // storing is billed
			se.store(message{topic: topic, payload: payload})
		}
		return
	}
	if !s.hears(b, c, topic) {
		return
	}
	wait, ok := b.budget(now, c, &b.outbound, topic, len(payload))
	if !ok {
		return
	}
	if qos == 1 {
		m := message{topic: topic, payload: payload}
		if se.pacing || len(se.queue) > 0 || b.rates.Full(len(se.inflight)) {
			if b.rates.Full(len(se.inflight)) {
				b.uses.inflight.Refused++
			}
			se.store(m)
			return
		}
		b.send(now, se, m, wait)
		return
	}
	b.stats.Metered += rules.Metered(len(topic) + len(payload))
	b.emitLater(now, c, protocol.EncodePublish(topic, 0, retain, false, 0, payload), wait)
}

// hears reports whether the subscriber's policies let it receive the topic.
func (s *subscription) hears(b *Broker, c *connection, topic string) bool {
	epoch := b.cfg.Registry.Epoch()
	if d := &s.heard; !d.valid || d.epoch != epoch || d.topic != topic {
		*d = decision{topic, epoch, true, b.cfg.Registry.Authorize(c.principal, "iot:Receive", "topic", topic)}
	}
	return s.heard.allowed
}

// direct answers on the requesting connection, subscribed or not: with the QoS
// of a subscription that matches, else QoS 0, one copy.
func (b *Broker) direct(now int64, c *connection, topic string, payload []byte) {
	if c.closed || !b.cfg.Registry.Authorize(c.principal, "iot:Receive", "topic", topic) {
		return
	}
	wait, ok := b.budget(now, c, &b.outbound, topic, len(payload))
	if !ok {
		return
	}
	qos := byte(0)
	for _, s := range c.session.subs {
		if protocol.MatchFilter(s.filter, topic) {
			qos = max(qos, s.qos)
		}
	}
	if qos == 1 {
		b.send(now, c.session, message{topic: topic, payload: payload}, wait)
		return
	}
	b.stats.Metered += rules.Metered(len(topic) + len(payload))
	b.emitLater(now, c, protocol.EncodePublish(topic, 0, false, false, 0, payload), wait)
}

func (b *Broker) retain(p registry.Principal, topic string, payload []byte, qos byte) {
	if !b.cfg.Registry.Authorize(p, "iot:RetainPublish", "topic", topic) {
		return
	}
	if len(payload) == 0 {
		delete(b.retained, topic)
		return
	}
	if _, ok := b.retained[topic]; !ok && b.maxRetained > 0 && len(b.retained) >= b.maxRetained {
		b.uses.retained.Refused++
		b.stats.Throttled++
		return
	}
	b.stats.Metered += rules.Metered(len(topic) + len(payload)) // besides the publish
	b.retained[topic] = retained{payload, qos}
	b.uses.retained.See(int64(len(b.retained)))
}

// Publish sends a message of the cloud to its subscribers.
func (b *Broker) Publish(now int64, topic string, payload []byte) {
	b.publish(now, topic, payload, 1)
}

// Listening reports whether anybody subscribes to a topic, present or not.
func (b *Broker) Listening(topic string) bool {
	if b.exact[topic] != nil {
		return true
	}
	if b.wilds == 0 {
		return false
	}
	m := b.wild.match(b.matches[:0], topic, true)
	n := len(m)
	clear(m)
	return n > 0
}

// streamRoute is where a connection's latest stream request went. A device sends its
// block requests on one topic, and gets its blocks on one: both are looked up
// and checked once, until the registry changes.
type streamRoute struct {
	topic  string
	thing  string
	name   string
	rest   string
	prefix string // of the answers' topics
	epoch  uint64
	answer target // latest answer topic
}

// target is an answer topic with its subscribers and the PUBLISH head that
// precedes a payload of a certain length.
type target struct {
	rest  string
	topic string
	entry *entry
	head  []byte
	size  int
}

func (b *Broker) newRoute(topic, thing, name, rest string) *streamRoute {
	return &streamRoute{topic: topic, thing: thing, name: name, rest: rest, prefix: topic[:len(topic)-len(rest)], epoch: b.cfg.Registry.Epoch()}
}

// repeated reports whether a frame is a QoS 0 PUBLISH on the route's topic that
// was authorized under the same registry epoch, and returns its payload.
func (c *connection) repeated(f protocol.Frame, epoch uint64) ([]byte, bool) {
	r := c.route
	if r == nil || r.epoch != epoch || len(f.Head) < 4 || f.Head[0] != protocol.Publish<<4 {
		return nil, false
	}
	length, i := 0, 1
	for shift := 0; ; shift += 7 {
		if i >= len(f.Head) || shift > 21 {
			return nil, false
		}
		d := f.Head[i]
		i++
		length |= int(d&0x7f) << shift
		if d&0x80 == 0 {
			break
		}
	}
	rest := f.Head[i:]
	if length != len(rest)+len(f.Body) || len(rest) < 2 {
		return nil, false
	}
	n := int(binary.BigEndian.Uint16(rest))
	if n != len(r.topic) || len(rest) < 2+n || string(rest[2:2+n]) != r.topic {
		return nil, false
	}
	rest = rest[2+n:]
	switch {
	case len(rest) == 0:
		rest = f.Body
	case len(f.Body) > 0:
		return nil, false
	}
	return rest, len(rest) <= rules.MaxPayload
}

// stream handles a repeated stream request.
func (b *Broker) stream(now int64, c *connection, r *streamRoute, payload []byte) {
	n := len(r.topic) + len(payload)
	b.stats.Metered += rules.Metered(n)
	wait, ok := b.budget(now, c, &b.inbound, r.topic, len(payload))
	switch {
	case !ok:
	case wait > 0:
		b.hold(now, c, wait, func(now int64) { b.answer(now, c, r, payload) })
	default:
		b.answer(now, c, r, payload)
	}
}

// answer asks file delivery and publishes what it says.
func (b *Broker) answer(now int64, c *connection, r *streamRoute, payload []byte) {
	b.replies = b.cfg.Services.Streams(b.replies[:0], now, r.thing, r.name, r.rest, payload)
	for i := range b.replies {
		p := &b.replies[i]
		t := &r.answer
		if t.rest != p.Topic {
			*t = target{rest: p.Topic, topic: r.prefix + p.Topic}
		}
		switch {
		case p.Delay > 0:
			topic, payload := r.prefix+p.Topic, p.Payload
			b.later(now, p.Delay, c, func(at int64) {
				if b.cfg.Switches.DirectStreams {
					b.direct(at, c, topic, payload)
				} else {
					b.publish(at, topic, payload, 1)
				}
			})
		case b.cfg.Switches.DirectStreams:
			b.direct(now, c, t.topic, p.Payload)
		case b.wilds > 0:
			b.publish(now, t.topic, p.Payload, 1)
		default:
			b.toTarget(now, t, p.Payload)
		}
		p.Payload = nil
	}
}

// toTarget is publish for a topic that is looked up already and has no wildcard
// subscribers.
func (b *Broker) toTarget(now int64, t *target, payload []byte) {
	if t.entry == nil || t.entry.dead {
		if t.entry = b.exact[t.topic]; t.entry == nil {
			return
		}
	}
	for _, s := range t.entry.subs {
		c := s.session.conn
		if s.qos != 0 || c == nil {
			b.deliver(now, s, t.topic, payload, s.qos, false)
			continue
		}
		if !s.hears(b, c, t.topic) {
			continue
		}
		wait, ok := b.budget(now, c, &b.outbound, t.topic, len(payload))
		if !ok {
			continue
		}
		if t.size != len(payload) || t.head == nil {
			t.head, t.size = protocol.EncodePublish(t.topic, 0, false, false, 0, payload).Head, len(payload)
		}
		b.stats.Metered += rules.Metered(len(t.topic) + len(payload))
		b.emitLater(now, c, protocol.Frame{Kind: protocol.FrameMQTT, Head: t.head, Body: payload}, wait)
	}
}
