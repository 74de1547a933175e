package live

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/storage"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/otasim/otasim/cloud/broker/rules"
	"github.com/otasim/otasim/cloud/protocol"
)

// Bounds of sessions, as in virtual time.
const (
	maxQueued = 1000                   // messages stored for one client
	pace      = 100 * time.Millisecond // between stored messages after the return
)

// mailbox is the session of a client, which outlives its connections: filters, and QoS 1 messages until they are
// acknowledged.
//
//	publish -> queue -> flight -> PUBACK
//
// With a journal, a session that is kept and its messages last: a filter is noted
// before SUBACK, a message before the PUBACK to its publisher.
type mailbox struct {
	id string

	// Guarded by Broker.mu.
	version byte
	keep    uint32 // seconds that it outlives the connection; 0: it is not kept
	away    time.Time
	filters map[string]Filter

	// Guarded by mu; peer is written with Broker.mu held as well.
	mu     sync.Mutex
	peer   *peer // once CONNACK is sent
	window int   // messages in flight, at most
	seq    uint64
	last   uint16
	flight []queued
	queue  []queued
	pacing *time.Timer
}

// queued is a message for one session.
type queued struct {
	Message
	seq uint64 // in the journal, 0 for not there
	id  uint16 // of the packet, 0 for never sent
}

// target is a session that shall get a message.
type target struct {
	s *mailbox
	queued
}

// kept is a session as the journal notes it; Broker.mu is held.
func (s *mailbox) kept() *Session {
	k := &Session{Version: s.version, Keep: s.keep}
	if !s.away.IsZero() {
		k.Away = s.away.Unix()
	}
	for _, f := range slices.Sorted(maps.Keys(s.filters)) {
		k.Filters = append(k.Filters, s.filters[f])
	}
	return k
}

// note has a session that is kept last; mu is held.
func (b *Broker) note(s *mailbox) {
	if b.journal != nil && s.keep > 0 {
		b.journal.Session(s.id, s.kept())
	}
}

// settled forgets a message that a session has no use for any more.
func (b *Broker) settled(s *mailbox, m *queued) {
	if b.journal != nil && m.seq != 0 {
		b.journal.Queued(s.id, m.seq, nil)
	}
}

// restore makes the sessions that the journal has kept. It is for the time before
// anybody connects.
func (b *Broker) restore(k *Kept) {
	now := b.now()
	b.retained = maps.Clone(k.Retained)
	if b.retained == nil {
		b.retained = map[string]Message{}
	}
	for id, saved := range k.Sessions {
		s := &mailbox{id: id, version: saved.Version, keep: saved.Keep, away: time.Unix(saved.Away, 0).UTC(), filters: map[string]Filter{}}
		if saved.Away == 0 {
			s.away = now // it was connected until the end
		}
		for _, f := range saved.Filters {
			s.filters[f.Filter] = f
			b.watch(f.Filter)
		}
		for _, seq := range slices.Sorted(maps.Keys(saved.Queue)) {
			s.queue = append(s.queue, queued{Message: saved.Queue[seq], seq: seq})
			s.seq = seq
		}
		b.sessions[id] = s
	}
}

// stored are the sessions as mochi wants them at its start.
func (b *Broker) stored() (clients []storage.Client, subs []storage.Subscription) {
	for id, s := range b.sessions {
		clients = append(clients, storage.Client{ID: id, ProtocolVersion: s.version,
			Properties: storage.ClientProperties{SessionExpiryInterval: s.keep, SessionExpiryIntervalFlag: true}})
		for _, f := range s.filters {
			subs = append(subs, storage.Subscription{Client: id, Filter: f.Filter, Qos: f.QoS, NoLocal: f.NoLocal, RetainAsPublished: f.AsPublished,
				RetainHandling: f.RetainedWhen, Identifier: f.Identifier})
		}
	}
	return clients, subs
}

// begin finds or makes the session of a connection that is accepted, and returns once
// that lasts.
func (b *Broker) begin(p *peer, cl *mqtt.Client, pk *packets.Packet) error {
	keep := uint32(0)
	switch {
	case cl.Properties.ProtocolVersion == 5:
		keep = min(pk.Properties.SessionExpiryInterval, b.limits.expiry)
	case !pk.Connect.Clean:
		keep = b.limits.expiry
	}
	b.mu.Lock()
	if t := b.wills[cl.ID]; t != nil {
		t.Stop()
		delete(b.wills, cl.ID)
	}
	s := b.sessions[cl.ID]
	lasts := keep > 0 || s != nil && s.keep > 0
	if s != nil && pk.Connect.Clean {
		b.drop(s)
		s = nil
	}
	if s == nil {
		s = &mailbox{id: cl.ID, filters: map[string]Filter{}}
		b.sessions[cl.ID] = s
	}
	if s.keep > 0 && keep == 0 && b.journal != nil {
		b.journal.Session(s.id, nil) // what is left of it ends with this connection
	}
	s.version, s.keep, s.away = cl.Properties.ProtocolVersion, keep, time.Time{}
	s.mu.Lock()
	s.window = b.window(&pk.Properties)
	s.mu.Unlock()
	p.session, p.cl = s, cl
	b.note(s)
	b.mu.Unlock()
	if !lasts {
		return nil
	}
	return b.commit()
}

// attach lets messages through to a client, once CONNACK is on its way.
func (b *Broker) attach(p *peer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := p.session
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peer = p
	b.paced(s)
}

// detach keeps a session for its client's return, or ends it; mu is held.
func (b *Broker) detach(p *peer) {
	s := p.session
	if s == nil || b.sessions[s.id] != s {
		return
	}
	s.mu.Lock()
	s.peer = nil
	s.queue = append(s.flight, s.queue...)
	s.flight = nil
	if s.pacing != nil {
		s.pacing.Stop()
		s.pacing = nil
	}
	s.mu.Unlock()
	if s.keep == 0 {
		b.drop(s)
		return
	}
	s.away = b.now()
	b.note(s)
}

// drop ends a session; mu is held.
func (b *Broker) drop(s *mailbox) {
	delete(b.sessions, s.id)
	if b.journal != nil && s.keep > 0 {
		b.journal.Session(s.id, nil)
	}
}

// expire ends the sessions whose time is over.
func (b *Broker) expire() {
	var over []*mailbox
	b.mu.Lock()
	now := b.now()
	for _, s := range b.sessions {
		if !s.away.IsZero() && !now.Before(s.away.Add(time.Duration(s.keep)*time.Second)) {
			b.drop(s)
			over = append(over, s)
		}
	}
	b.mu.Unlock()
	for _, s := range over {
		if b.server == nil {
			continue // before the start
		}
		if cl, ok := b.server.Clients.Get(s.id); ok && cl.Closed() {
			b.server.UnsubscribeClient(cl)
			b.server.Clients.Delete(s.id)
		}
	}
}

// targets finds the sessions that shall get a message, each once, and has it last for
// those that are kept if lasting says so; mu is held.
func (b *Broker) targets(subs *mqtt.Subscribers, m *Message, origin string, lasting bool) (out []target, noted bool) {
	for id, sub := range subs.Subscriptions {
		s := b.sessions[id]
		if s == nil || sub.NoLocal && origin == id || !s.hears(&sub, m.Topic) || s.peer != nil && !b.authorize(s.peer, "iot:Receive", "topic/"+m.Topic) {
			continue
		}
		t := target{s: s, queued: queued{Message: *m}}
		t.QoS = min(m.QoS, sub.Qos, 1)
		t.Retain = m.Retain && sub.RetainAsPublished && s.version == 5
		for _, n := range sub.Identifiers {
			if n > 0 {
				t.Identifiers = append(t.Identifiers, n)
			}
		}
		slices.Sort(t.Identifiers)
		if lasting && t.QoS > 0 && s.keep > 0 && b.journal != nil {
			s.mu.Lock()
			s.seq++
			t.seq = s.seq
			b.journal.Queued(id, t.seq, &t.Message)
			s.mu.Unlock()
			noted = true
		}
		out = append(out, t)
	}
	slices.SortFunc(out, func(x, y target) int { return cmp.Compare(x.s.id, y.s.id) })
	return out, noted
}

// hears reports whether a subscription means a topic, which it does by the standard:
// for AWS "a/#" does not match "a".
func (s *mailbox) hears(sub *packets.Subscription, topic string) bool {
	if len(sub.Filter) != len(topic)+2 || !strings.HasSuffix(sub.Filter, "/#") {
		return true
	}
	for f := range s.filters {
		if protocol.MatchFilter(f, topic) {
			return true
		}
	}
	return false
}

// subscribers of a topic, one for each shared subscription.
func (b *Broker) subscribers(topic string) *mqtt.Subscribers {
	subs := b.server.Topics.Subscribers(topic)
	if len(subs.Shared) > 0 {
		subs.SelectShared()
		subs.MergeSharedSelected()
	}
	return subs
}

// publish hands a message to all who subscribed, and returns once it lasts for those
// whose sessions are kept.
func (b *Broker) publish(m *Message, origin string) error {
	subs := b.subscribers(m.Topic)
	if len(subs.Subscriptions) == 0 {
		return nil
	}
	b.mu.Lock()
	list, noted := b.targets(subs, m, origin, true)
	b.mu.Unlock()
	if noted {
		if err := b.commit(); err != nil {
			return err
		}
	}
	b.hand(list)
	return nil
}

// hand gives each session its message.
func (b *Broker) hand(list []target) {
	for i := range list {
		t := &list[i]
		t.s.mu.Lock()
		b.offer(t.s, t.queued)
		t.s.mu.Unlock()
	}
}

// offer sends a message to a client that is there, or stores it; s.mu is held.
func (b *Broker) offer(s *mailbox, m queued) {
	switch p := s.peer; {
	case m.QoS == 0 && p == nil:
	case m.QoS == 0 && p.backlog() > softBacklog:
		b.dropped.Add(1)
	case p != nil && !b.sent(p, len(m.Topic)+len(m.Payload)):
		b.settled(s, &m)
	case m.QoS == 0:
		b.send(s, m)
	case p == nil || s.pacing != nil || len(s.queue) > 0 || len(s.flight) >= s.window || p.backlog() > softBacklog:
		if len(s.queue) >= maxQueued {
			b.dropped.Add(1)
			b.settled(s, &s.queue[0])
			s.queue = s.queue[1:]
		}
		s.queue = append(s.queue, m)
		if p != nil && len(s.flight) == 0 && s.pacing == nil {
			b.paced(s)
		}
	default:
		b.send(s, m)
	}
}

// send writes a PUBLISH; s.mu is held. One that was sent before keeps its packet
// identifier and is marked as a duplicate.
func (b *Broker) send(s *mailbox, m queued) {
	now := b.now()
	if m.over(now) {
		b.settled(s, &m)
		return
	}
	if m.QoS == 0 && s.peer.cl.Properties.ProtocolVersion == 4 && !s.peer.cl.Closed() {
		b.sendPlain(s.peer, &m.Message)
		return
	}
	pk := m.packet(now)
	if m.QoS > 0 {
		if pk.FixedHeader.Dup = m.id != 0; !pk.FixedHeader.Dup {
			m.id = s.freeID()
		}
		pk.PacketID = m.id
		s.flight = append(s.flight, m)
	}
	_ = s.peer.cl.WritePacket(pk) // fails only with the connection
}

// sendPlain is what mochi's WritePacket does for MQTT 3.1.1 and QoS 0, with one copy of
// the payload instead of three: blocks of firmware go this way.
func (b *Broker) sendPlain(p *peer, m *Message) {
	var room [160]byte
	flags := byte(packets.Publish << 4)
	if m.Retain {
		flags |= 1
	}
	head := append(room[:0], flags)
	head = binary.AppendUvarint(head, uint64(2+len(m.Topic)+len(m.Payload))) // the same code as MQTT's
	head = append(binary.BigEndian.AppendUint16(head, uint16(len(m.Topic))), m.Topic...)
	n, err := p.write(head, m.Payload)
	if err != nil {
		return
	}
	atomic.AddInt64(&b.server.Info.BytesSent, int64(n))
	atomic.AddInt64(&b.server.Info.PacketsSent, 1)
	atomic.AddInt64(&b.server.Info.MessagesSent, 1)
	b.counted(len(m.Topic) + len(m.Payload))
}

// counted counts a PUBLISH that was sent.
func (b *Broker) counted(n int) {
	b.out.Add(1)
	b.metered.Add(rules.Metered(n))
}

// freeID is a packet identifier that no message of the session has.
func (s *mailbox) freeID() uint16 {
	taken := func(m queued) bool { return m.id == s.last }
	for {
		s.last++
		if s.last != 0 && !slices.ContainsFunc(s.flight, taken) && !slices.ContainsFunc(s.queue, taken) {
			return s.last
		}
	}
}

// acked takes a PUBACK.
func (b *Broker) acked(s *mailbox, id uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.flight, func(m queued) bool { return m.id == id })
	if i < 0 {
		return
	}
	b.settled(s, &s.flight[i])
	if s.flight = slices.Delete(s.flight, i, i+1); len(s.flight) == 0 {
		s.flight = nil
	}
	if s.pacing == nil && s.peer != nil {
		b.next(s)
	}
}

// next sends the oldest message that waits, if it may; s.mu is held.
func (b *Broker) next(s *mailbox) {
	if len(s.queue) == 0 || len(s.flight) >= s.window || s.peer.backlog() > softBacklog {
		return
	}
	m := s.queue[0]
	if s.queue = s.queue[1:]; len(s.queue) == 0 {
		s.queue = nil
	}
	b.send(s, m)
}

// paced sends what was stored, ten messages a second; s.mu is held.
func (b *Broker) paced(s *mailbox) {
	s.pacing = nil
	if s.peer == nil || len(s.queue) == 0 {
		return
	}
	b.next(s)
	if len(s.queue) == 0 {
		return
	}
	p := s.peer
	s.pacing = b.clock.after(pace, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.peer == p {
			b.paced(s)
		}
	})
}

// remind sends the retained messages of the filters that a SUBSCRIBE was granted,
// except to wildcards.
func (b *Broker) remind(p *peer, filters packets.Subscriptions) {
	for i := range filters {
		f := &filters[i]
		if i >= len(p.granted) || !p.granted[i] || f.RetainHandling == 2 || f.RetainHandling == 1 && p.known[i] || rules.Wildcard(f.Filter) {
			continue
		}
		b.mu.Lock()
		m, ok := b.retained[f.Filter]
		ok = ok && !m.over(b.now()) && b.authorize(p, "iot:Receive", "topic/"+f.Filter)
		b.mu.Unlock()
		if !ok {
			continue
		}
		t := target{s: p.session, queued: queued{Message: m}}
		t.QoS, t.Retain = min(m.QoS, f.Qos, 1), true
		if f.Identifier > 0 {
			t.Identifiers = []int{f.Identifier}
		}
		b.hand([]target{t})
	}
}

// will is what is published when a connection ends without DISCONNECT.
type will struct {
	Message
	delay time.Duration
}

// testament is the will of a CONNECT, nil for none.
func (b *Broker) testament(c *packets.ConnectParams) *will {
	if !c.WillFlag {
		return nil
	}
	pk := packets.Packet{TopicName: c.WillTopic, Payload: c.WillPayload, Properties: c.WillProperties,
		FixedHeader: packets.FixedHeader{Qos: c.WillQos, Retain: c.WillRetain}}
	w := &will{Message: message(&pk, b.now(), rules.MaxMessageExpiry), delay: time.Duration(c.WillProperties.WillDelayInterval) * time.Second}
	return w
}

// execute is what is left to do about a will: nil, or a function to call without mu,
// which is held.
func (b *Broker) execute(p *peer) func() {
	w, id := p.will, p.principal.ClientID
	if w == nil || p.goodbye || !b.authorizePublish(p, w.Topic, len(w.Payload), w.Retain) {
		return nil
	}
	publish := func() {
		if w.Retain {
			b.mu.Lock()
			b.keepRetained(w.Message)
			b.mu.Unlock()
		}
		_ = b.publish(&w.Message, id) // nobody waits for it to last
	}
	delay := w.delay
	if s := p.session; s != nil {
		delay = min(delay, time.Duration(s.keep)*time.Second)
	}
	if delay == 0 {
		return publish
	}
	var t *time.Timer
	t = b.clock.after(delay, func() {
		b.mu.Lock()
		due := b.wills[id] == t && !b.closed
		if due {
			delete(b.wills, id)
		}
		b.mu.Unlock()
		if due {
			publish()
		}
	})
	b.wills[id] = t
	return nil
}

// keepRetained keeps a message for those who subscribe later; mu is held.
func (b *Broker) keepRetained(m Message) {
	if len(m.Payload) == 0 {
		delete(b.retained, m.Topic)
		if b.journal != nil {
			b.journal.Retained(m.Topic, nil)
		}
		return
	}
	b.metered.Add(rules.Metered(len(m.Topic) + len(m.Payload)))
	b.retained[m.Topic] = m
	if b.journal != nil {
		b.journal.Retained(m.Topic, &m)
	}
}
