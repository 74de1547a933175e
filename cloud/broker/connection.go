package broker

import (
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/otasim/otasim/cloud/agenda"
	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/broker/rules"
	"github.com/otasim/otasim/cloud/pki"
	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/cloud/registry"
)

// connection is one transport connection, from its opening to its end.
type connection struct {
	id        ConnID
	closed    bool
	limiter   rules.Limiter
	held      *held  // nil unless the throughput was exceeded
	number    uint64 // in lifecycle events
	seen      int64  // last packet
	patience  int64  // one and a half keep-alives
	start     int64  // milliseconds after Epoch
	principal registry.Principal
	session   *session     // nil until CONNACK
	route     *streamRoute // latest stream request topic
	alarm     agenda.Entry
	will      *will
	pings     bool // for sure, until Unheard says otherwise
}

type will struct {
	topic   string
	payload []byte
	qos     byte
	retain  bool
}

// session is what outlives a connection: subscriptions and QoS 1 messages.
type session struct {
	clientID string
	order    uint64
	conn     *connection // nil while the client is away
	clean    bool
	lastID   uint16
	subs     []*subscription
	inflight []message
	queue    []message
	alarm    agenda.Entry // expiry while away, paced sending after the return
	pacing   bool
}

type message struct {
	id      uint16
	topic   string
	payload []byte
}

// subscription is one filter of one session.
type subscription struct {
	session *session
	filter  string
	qos     byte
	heard   decision // latest iot:Receive decision
}

// decision remembers what the policies said about a topic.
type decision struct {
	topic   string
	epoch   uint64
	valid   bool
	allowed bool
}

const (
	maxQueued = 1000 // messages stored for one absent client
	pace      = int64(time.Second / 10)
)

// Verify checks a client's chain, leaf first: signed by the authority and in
// its validity, registered and active. alert is the TLS alert of a refusal.
func (b *Broker) Verify(now time.Time, chain [][]byte) (cert *registry.Certificate, alert byte) {
	fp, err := b.cfg.Authority.Verify(now, chain)
	switch {
	case errors.Is(err, pki.ErrUnknownAuthority) && b.cfg.Registry.Certificate(fp) != nil:
		// Registered without a CA: the registration counts, and the validity.
		if leaf, err := x509.ParseCertificate(chain[0]); err != nil || now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
			return nil, protocol.AlertCertificateExpired
		}
	case errors.Is(err, pki.ErrUnknownAuthority):
		return nil, protocol.AlertUnknownCA
	case errors.Is(err, pki.ErrNotYetOrNoMore):
		return nil, protocol.AlertCertificateExpired
	case err != nil:
		return nil, protocol.AlertBadCertificate
	}
	cert, err = b.cfg.Registry.Authenticate(fp)
	switch {
	case errors.Is(err, aws.CertificateState):
		return nil, protocol.AlertCertificateRevoked
	case err != nil:
		return nil, protocol.AlertCertificateUnknown
	}
	return cert, 0
}

// Admit decides on a CONNECT: the code of the CONNACK, 0 when it is welcome.
func (b *Broker) Admit(now time.Time, p registry.Principal) byte {
	at := now.UnixNano()
	if rules.ClientID(p.ClientID) != nil {
		return rules.BadClientID
	}
	if last, ok := b.recent[p.ClientID]; b.perClient > 0 {
		if ok && at-last < int64(time.Second)/b.perClient {
			b.uses.perClient.See(b.perClient + 1)
			b.uses.perClient.Refused++
			b.stats.Throttled++
			return rules.ServerUnavailable
		}
		b.remember(at, p.ClientID)
	}
	if s := b.sessions[p.ClientID]; b.maxConnections > 0 && b.live >= b.maxConnections && (s == nil || s.conn == nil) {
		b.uses.connections.Refused++
		b.stats.Throttled++
		return rules.ServerUnavailable
	}
	if !b.connects.Allow(at) {
		b.stats.Throttled++
		return rules.ServerUnavailable
	}
	if !b.cfg.Registry.Authorize(p, "iot:Connect", "client", p.ClientID) {
		if b.cfg.Switches.ConnectCode != 0 {
			return b.cfg.Switches.ConnectCode
		}
		return rules.Refused
	}
	return rules.Accepted
}

// remember notes a CONNECT, and forgets all that are older than a second once
// there are many.
func (b *Broker) remember(now int64, clientID string) {
	if len(b.recent) >= 1024 && len(b.recent) >= 2*len(b.sessions) {
		for id, at := range b.recent {
			if now-at >= int64(time.Second) {
				delete(b.recent, id)
			}
		}
	}
	b.recent[clientID] = now
}

func (b *Broker) connect(now int64, c *connection, p *protocol.Packet) {
	if c.session != nil || c.principal.Certificate == nil {
		b.end(now, c, rules.ClientError, true)
		return
	}
	c.principal.ClientID = p.ClientID
	b.stats.Metered += rules.Metered(len(p.WillTopic) + len(p.WillPayload))
	if code := b.Admit(time.Unix(0, now).UTC(), c.principal); code != rules.Accepted {
		b.stats.Refused++
		b.emit(c, protocol.Encode(&protocol.Packet{Type: protocol.Connack, ReturnCode: code}))
		b.end(now, c, rules.AuthError, true)
		return
	}
	if p.Will {
		if p.WillQoS > 1 || rules.Payload(len(p.WillPayload)) != nil {
			b.end(now, c, rules.ClientError, true)
			return
		}
		c.will = &will{p.WillTopic, p.WillPayload, p.WillQoS, p.WillRetain}
	}
	s := b.sessions[p.ClientID]
	if s != nil && s.conn != nil {
		b.end(now, s.conn, rules.DuplicateClientID, true)
		s = b.sessions[p.ClientID]
	}
	if s != nil && (p.CleanSession || s.clean) {
		b.forget(s)
		s = nil
	}
	present := s != nil
	if s == nil {
		b.sequence++
		s = &session{clientID: p.ClientID, order: b.sequence}
		b.sessions[p.ClientID] = s
	}
	b.cfg.Agenda.Drop(&s.alarm)
	s.conn, s.clean = c, p.CleanSession
	c.session, c.start = s, b.millis(now)
	b.live++
	b.uses.connections.See(b.live)
	b.uses.clientID.See(int64(len(p.ClientID)))
	b.starts += c.start
	b.stats.Connects++
	c.patience = int64(rules.KeepAlive(p.KeepAlive)) * 3 / 2
	c.alarm.Run = func(now int64) { b.watch(now, c) }
	b.cfg.Agenda.Plan(&c.alarm, now+c.patience)
	b.emit(c, protocol.Encode(&protocol.Packet{Type: protocol.Connack, SessionPresent: present}))
	b.connected(now, c)
	for _, sub := range s.subs {
		sub.heard = decision{} // this principal may be another one
	}
	if present {
		b.resume(now, s)
	}
}

// park keeps a session for an absent client until it expires.
func (s *session) park(b *Broker, now int64) {
	s.pacing = false
	if b.expiry <= 0 {
		return
	}
	s.alarm.Run = func(int64) { b.forget(s) }
	b.cfg.Agenda.Plan(&s.alarm, now+b.expiry)
}

// forget removes a session and its subscriptions.
func (b *Broker) forget(s *session) {
	b.cfg.Agenda.Drop(&s.alarm)
	for _, sub := range s.subs {
		b.unindex(sub)
	}
	s.subs = nil
	if b.sessions[s.clientID] == s {
		delete(b.sessions, s.clientID)
	}
}

// resume sends again what the client had not acknowledged, then what came while
// it was away, ten messages a second.
func (b *Broker) resume(now int64, s *session) {
	s.queue = append(slices.Clone(s.inflight), s.queue...)
	s.inflight = nil
	if len(s.queue) == 0 {
		return
	}
	s.pacing = true
	s.alarm.Run = func(now int64) { b.paced(now, s) }
	b.cfg.Agenda.Plan(&s.alarm, now)
}

func (b *Broker) paced(now int64, s *session) {
	if s.conn == nil || len(s.queue) == 0 {
		s.pacing = false
		return
	}
	if !b.rates.Full(len(s.inflight)) {
		m := s.queue[0]
		s.queue = s.queue[1:]
		b.send(now, s, m, 0)
	}
	if len(s.queue) == 0 {
		s.pacing, s.queue = false, nil
		return
	}
	b.cfg.Agenda.Plan(&s.alarm, now+pace)
}

// send puts a QoS 1 message on the wire. One that was sent before keeps its
// packet identifier and is marked as a duplicate.
func (b *Broker) send(now int64, s *session, m message, wait time.Duration) {
	dup := m.id != 0
	if !dup {
		m.id = s.freeID()
	}
	s.inflight = append(s.inflight, m)
	b.uses.inflight.See(int64(len(s.inflight)))
	b.stats.Metered += rules.Metered(len(m.topic) + len(m.payload))
	b.emitLater(now, s.conn, protocol.EncodePublish(m.topic, 1, false, dup, m.id, m.payload), wait)
}

func (s *session) freeID() uint16 {
	for {
		s.lastID++
		if s.lastID != 0 && !slices.ContainsFunc(s.inflight, func(m message) bool { return m.id == s.lastID }) &&
			!slices.ContainsFunc(s.queue, func(m message) bool { return m.id == s.lastID }) {
			return s.lastID
		}
	}
}

func (b *Broker) puback(now int64, s *session, id uint16) {
	i := slices.IndexFunc(s.inflight, func(m message) bool { return m.id == id })
	if i < 0 {
		return
	}
	s.inflight = slices.Delete(s.inflight, i, i+1)
	if len(s.inflight) == 0 {
		s.inflight = nil
	}
	if !s.pacing && len(s.queue) > 0 {
		m := s.queue[0]
		if s.queue = s.queue[1:]; len(s.queue) == 0 {
			s.queue = nil
		}
		b.send(now, s, m, 0)
	}
}

// store queues a message for later, dropping the oldest of too many.
func (s *session) store(m message) {
	if len(s.queue) >= maxQueued {
		s.queue = s.queue[1:]
	}
	s.queue = append(s.queue, m)
}

func sortByID(list []*connection) {
	slices.SortFunc(list, func(a, b *connection) int { return int(int64(a.id) - int64(b.id)) })
}

func (b *Broker) subscribe(now int64, c *connection, p *protocol.Packet) {
	s := c.session
	b.stats.Metered++
	if len(p.Filters) > rules.MaxFilters {
		b.end(now, c, rules.ClientError, true)
		return
	}
	b.uses.filters.See(int64(len(p.Filters)))
	codes := make([]byte, len(p.Filters))
	throttled := !b.subscribes.Allow(now)
	if throttled {
		b.stats.Throttled++
	}
	fresh := make([]*subscription, 0, len(p.Filters))
	for i, f := range p.Filters {
		if rules.Filter(f.Topic) != nil || f.QoS > 1 {
			b.end(now, c, rules.ClientError, true)
			return
		}
		if throttled {
			codes[i] = protocol.SubackFailure
			continue
		}
		if !b.cfg.Registry.Authorize(c.principal, "iot:Subscribe", "topicfilter", f.Topic) {
			if !b.cfg.Switches.SubackFailure {
				b.end(now, c, rules.AuthError, true)
				return
			}
			codes[i] = protocol.SubackFailure
			continue
		}
		codes[i] = f.QoS
		if j := slices.IndexFunc(s.subs, func(x *subscription) bool { return x.filter == f.Topic }); j >= 0 {
			s.subs[j].qos = f.QoS
			fresh = append(fresh, s.subs[j])
			continue
		}
		if b.maxSubscriptions > 0 && len(s.subs) >= b.maxSubscriptions {
			b.uses.subscriptions.Refused++
			b.end(now, c, rules.ClientError, true)
			return
		}
		if b.maxAccount > 0 && b.subscriptions >= b.maxAccount {
			b.uses.account.Refused++
			b.stats.Throttled++
			codes[i] = protocol.SubackFailure
			continue
		}
		sub := &subscription{session: s, filter: f.Topic, qos: f.QoS}
		s.subs = append(s.subs, sub)
		b.index(sub)
		b.uses.subscriptions.See(int64(len(s.subs)))
		b.uses.account.See(int64(b.subscriptions))
		fresh = append(fresh, sub)
	}
	b.emit(c, protocol.Encode(&protocol.Packet{Type: protocol.Suback, PacketID: p.PacketID, Codes: codes}))
	b.subscribed(now, c, p, codes)
	for _, sub := range fresh {
		if r, ok := b.retained[sub.filter]; ok {
			b.deliver(now, sub, sub.filter, r.payload, min(r.qos, sub.qos), true)
		}
	}
}

func (b *Broker) unsubscribe(now int64, c *connection, p *protocol.Packet) {
	if !b.subscribes.Allow(now) {
		b.stats.Throttled++
	}
	s := c.session
	for _, f := range p.Filters {
		if j := slices.IndexFunc(s.subs, func(x *subscription) bool { return x.filter == f.Topic }); j >= 0 {
			b.unindex(s.subs[j])
			s.subs = slices.Delete(s.subs, j, j+1)
		}
	}
	b.emit(c, protocol.Encode(&protocol.Packet{Type: protocol.Unsuback, PacketID: p.PacketID}))
	b.unsubscribed(now, c, p)
}

// mqtt handles one control packet.
func (b *Broker) mqtt(now int64, c *connection, f protocol.Frame) {
	p := &b.packet
	if err := protocol.Decode(f, p); err != nil {
		b.end(now, c, rules.ClientError, true)
		return
	}
	if p.Type == protocol.Connect {
		b.connect(now, c, p)
		return
	}
	if c.session == nil { // no packet before CONNACK
		b.end(now, c, rules.ClientError, true)
		return
	}
	switch p.Type {
	case protocol.Publish:
		b.received(now, c, p)
	case protocol.Puback:
		b.stats.Metered++
		b.puback(now, c.session, p.PacketID)
	case protocol.Subscribe:
		b.subscribe(now, c, p)
	case protocol.Unsubscribe:
		b.unsubscribe(now, c, p)
	case protocol.Pingreq:
		b.emit(c, protocol.Frame{Kind: protocol.FrameMQTT, Head: pingresp})
	case protocol.Disconnect:
		c.will = nil
		b.end(now, c, rules.ClientInitiated, true)
	default:
		b.end(now, c, rules.ClientError, true)
	}
}

var pingresp = []byte{protocol.Pingresp << 4, 0}

// Check decides on a client's publish by topic, payload and policy; an error
// means that the connection ends for the reason given.
func (b *Broker) Check(p registry.Principal, topic string, payload int, retain bool) (why rules.Reason, err error) {
	if err := rules.Topic(topic); err != nil {
		return rules.ClientError, err
	}
	if err := rules.Payload(payload); err != nil {
		return rules.ClientError, err
	}
	use, _, _, _ := rules.Classify(topic)
	if use == rules.Forbidden || retain && use != rules.Ordinary {
		return rules.AuthError, rules.ErrRefused
	}
	if !b.cfg.Registry.Authorize(p, "iot:Publish", "topic", topic) ||
		retain && !b.cfg.Registry.Authorize(p, "iot:RetainPublish", "topic", topic) {
		return rules.AuthError, rules.ErrRefused
	}
	return "", nil
}

// received handles a client's PUBLISH.
func (b *Broker) received(now int64, c *connection, p *protocol.Packet) {
	n := len(p.Topic) + len(p.Payload)
	b.stats.Metered += rules.Metered(n)
	if why, err := b.Check(c.principal, p.Topic, len(p.Payload), p.Retain); err != nil {
		b.end(now, c, why, true)
		return
	}
	b.uses.slashes.See(int64(strings.Count(p.Topic, "/")))
	wait, ok := b.budget(now, c, &b.inbound, p.Topic, len(p.Payload))
	switch {
	case !ok: // no PUBACK: the client sends it again
	case wait > 0:
		q := *p
		b.hold(now, c, wait, func(now int64) { b.route(now, c, &q) })
	default:
		b.route(now, c, p)
	}
}

// route carries an allowed PUBLISH to where it belongs.
func (b *Broker) route(now int64, c *connection, p *protocol.Packet) {
	if p.QoS == 1 {
		b.emit(c, protocol.Encode(&protocol.Packet{Type: protocol.Puback, PacketID: p.PacketID}))
	}
	use, thing, name, rest := rules.Classify(p.Topic)
	switch use {
	case rules.Jobs:
		r := b.cfg.Services.Jobs(time.Unix(0, now).UTC(), thing, rest, p.Payload)
		topic := p.Topic[:len(p.Topic)-len(rest)] + r.Topic
		switch {
		case r.Topic == "":
		case r.Delay > 0:
			b.later(now, r.Delay, c, func(at int64) { b.direct(at, c, topic, r.Payload) })
		default:
			b.direct(now, c, topic, r.Payload)
		}
	case rules.Streams:
		r := b.newRoute(p.Topic, thing, name, rest)
		if p.QoS == 0 {
			c.route = r
		}
		b.answer(now, c, r, p.Payload)
	case rules.Provisioning:
		r := b.cfg.Services.Provision(time.Unix(0, now).UTC(), name, rest, p.Payload)
		topic := p.Topic[:len(p.Topic)-len(rest)] + r.Topic
		if !c.closed && slices.ContainsFunc(c.session.subs, func(s *subscription) bool { return protocol.MatchFilter(s.filter, topic) }) {
			b.direct(now, c, topic, r.Payload)
		}
	case rules.Shadow:
		prefix := p.Topic[:len(p.Topic)-len(rest)]
		r := b.cfg.Services.Shadow(time.Unix(0, now).UTC(), thing, name, rest, prefix, p.Payload)
		b.publish(now, prefix+r.Topic, r.Payload, 1)
	default:
		if p.Retain {
			b.retain(c.principal, p.Topic, p.Payload, p.QoS)
		}
		b.publish(now, p.Topic, p.Payload, p.QoS)
	}
}
