// Package broker is AWS IoT Core's message broker in virtual time: connections
// as frames in and frames out, with a modelled TLS handshake, MQTT 3.1.1,
// policies, sessions, and the delivery rules of the reserved topics.
//
//	Open -> TLSClient in, TLSServer out -> CONNECT in, CONNACK out -> packets -> DISCONNECT, Drop or keep-alive end
//
// A publish on a reserved topic goes to Services; a direct answer returns on
// the requesting connection alone, subscribed or not, in one copy.
//
// Sources: OASIS MQTT Version 3.1.1; AWS IoT Core Developer Guide, pages mqtt,
// reserved-topics, jobs-mqtt-api, life-cycle-events; AWS General Reference,
// AWS IoT Core quotas. The rules themselves are in package rules.
package broker

import (
	"time"

	"github.com/otasim/otasim/cloud/agenda"
	"github.com/otasim/otasim/cloud/broker/rules"
	"github.com/otasim/otasim/cloud/pki"
	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/cloud/quota"
	"github.com/otasim/otasim/cloud/registry"
	"github.com/otasim/otasim/cloud/streams"
)

// ConnID names a transport connection; the caller chooses it.
type ConnID uint32

// Out is one effect: a frame for a connection, the end of it, or both in that
// order. The frame's memory must not be changed.
type Out struct {
	Conn   ConnID
	Close  bool
	Reason rules.Reason // why it is closed
	Frame  protocol.Frame
}

// Reply is one answer of a service. Topic is what follows
// $aws/things/THING/jobs/ or $aws/things/THING/streams/NAME/.
type Reply = streams.Reply

// Services answers publishes on reserved topics. Replies of Jobs are direct,
// those of Streams need a subscription. A reply without a topic is none.
type Services interface {
	Jobs(now time.Time, thing, rest string, payload []byte) Reply
	Streams(out []Reply, now int64, thing, name, rest string, payload []byte) []Reply
	// Shadow's reply needs a subscription; its Topic follows prefix. name is ""
	// for the classic shadow.
	Shadow(now time.Time, thing, name, op, prefix string, payload []byte) Reply
	// Provision's reply goes to the requester alone if it has subscribed. template
	// is "" for the topics $aws/certificates/OP.
	Provision(now time.Time, template, op string, payload []byte) Reply
}

// Switches choose among readings of the documentation. The zero value is the
// documented default.
type Switches struct {
	// SubackFailure answers a forbidden filter with 0x80 instead of cutting
	// the connection.
	SubackFailure bool
	// DirectStreams delivers stream answers without a subscription.
	DirectStreams bool
	// ConnectCode is the CONNACK code of a connection that no policy allows;
	// 0 is the code 7 that AWS was seen to answer.
	ConnectCode byte
}

// Config is what a Broker is made of; all but Switches is required.
type Config struct {
	Agenda    *agenda.Agenda
	Registry  *registry.Registry
	Authority *pki.Authority
	Chain     [][]byte // the server's certificates, leaf first
	Services  Services
	Limits    quota.Limits
	Switches  Switches
	Epoch     time.Time
}

// Stats counts what crossed the links and what was refused.
type Stats struct {
	MessagesIn, MessagesOut uint64 // MQTT control packets
	BytesIn, BytesOut       uint64 // of those packets
	Metered                 uint64 // in the units that AWS bills
	Connects                uint64 // accepted
	Refused                 uint64 // handshakes and CONNECTs
	Throttled               uint64 // packets dropped and requests refused for a quota
	ConnectedSeconds        float64
}

// Broker is the state of one account's broker. It is not safe for concurrent
// use.
type Broker struct {
	cfg      Config
	server   protocol.Frame
	conns    map[ConnID]*connection
	sessions map[string]*session
	recent   map[string]int64 // client id -> last CONNECT
	exact    map[string]*entry
	wild     node
	wilds    int // wildcard subscriptions
	retained map[string]retained
	out      []Out
	spare    []Out
	replies  []Reply
	packet   protocol.Packet
	matches  []*subscription
	sequence uint64 // of sessions
	watchers int    // subscriptions that may hear lifecycle events
	looks    int    // after connections that had been heard
	numbers  rules.Numbering

	connects, subscribes, inbound, outbound quota.Rate
	rates                                   rules.Rates // of one connection
	uses                                    uses
	perClient                               int64
	maxConnections                          int64
	maxAccount, maxRetained                 int // subscriptions, retained messages
	subscriptions                           int // of all sessions
	maxSubscriptions                        int
	expiry                                  int64

	stats  Stats
	live   int64 // accepted connections now
	starts int64 // sum of their start times, milliseconds after Epoch
	ended  int64 // milliseconds of those that are over
}

// New returns a broker without connections.
func New(cfg Config) *Broker {
	l := cfg.Limits
	b := &Broker{cfg: cfg, conns: map[ConnID]*connection{}, sessions: map[string]*session{}, recent: map[string]int64{},
		exact: map[string]*entry{}, retained: map[string]retained{},
		connects: quota.Rate{PerSecond: l[quota.ConnectRate]}, subscribes: quota.Rate{PerSecond: l[quota.SubscribeRate]},
		inbound: quota.Rate{PerSecond: l[quota.InboundPublishRate]}, outbound: quota.Rate{PerSecond: l[quota.OutboundPublishRate]},
		rates:          rules.Rates{Publishes: l[quota.ConnectionPublishes], Throughput: l[quota.ConnectionThroughput], Inflight: int(l[quota.Inflight])},
		perClient:      l[quota.ConnectRatePerClient],
		maxConnections: l[quota.Connections], maxAccount: int(l[quota.AccountSubscriptions]), maxRetained: int(l[quota.RetainedMessages]),
		maxSubscriptions: int(l[quota.Subscriptions]), expiry: l[quota.SessionExpiry] * int64(time.Second)}
	var chain []byte
	for _, der := range cfg.Chain {
		chain = protocol.AppendCertificate(chain, der)
	}
	b.server = protocol.Frame{Kind: protocol.FrameTLSServer, Body: chain}
	return b
}

// Outbox hands out the effects since the last call, in order. The slice is
// good until the next call of Outbox.
func (b *Broker) Outbox() []Out {
	out := b.out
	clear(b.spare) // lets go of the payloads handed out before
	b.out, b.spare = b.spare[:0], out
	return out
}

// Stats returns the counters as of now.
func (b *Broker) Stats(now time.Time) Stats {
	s := b.stats
	s.ConnectedSeconds = float64(b.ended+b.live*b.millis(now.UnixNano())-b.starts) / 1000
	return s
}

func (b *Broker) millis(now int64) int64 { return (now - b.cfg.Epoch.UnixNano()) / 1e6 }

// Open makes a transport connection known.
func (b *Broker) Open(id ConnID) {
	if old := b.conns[id]; old == nil {
		b.conns[id] = &connection{id: id}
	}
}

// Drop tells that a transport connection is gone without DISCONNECT.
func (b *Broker) Drop(now time.Time, id ConnID) {
	if c := b.conns[id]; c != nil {
		b.end(now.UnixNano(), c, rules.ConnectionLost, false)
	}
}

// Receive takes one frame from a connection. Frames of unknown or closed
// connections are ignored, as bytes are that cross a close on their way.
func (b *Broker) Receive(now time.Time, id ConnID, f protocol.Frame) {
	c := b.conns[id]
	if c == nil {
		return
	}
	at := now.UnixNano()
	c.seen = at
	switch f.Kind {
	case protocol.FrameMQTT:
		b.stats.MessagesIn++
		b.stats.BytesIn += uint64(f.Len())
		if c.held != nil && c.held.in != nil {
			c.held.in = append(c.held.in, func(now int64) { b.frame(now, c, f) })
			return
		}
		b.frame(at, c, f)
	case protocol.FrameTLSClient:
		b.handshake(now, c, f)
	case protocol.FrameClose, protocol.FrameTLSAlert:
		b.end(at, c, rules.ConnectionLost, false)
	default:
		b.end(at, c, rules.ClientError, true)
	}
}

// frame handles one control packet.
func (b *Broker) frame(now int64, c *connection, f protocol.Frame) {
	if payload, ok := c.repeated(f, b.cfg.Registry.Epoch()); ok {
		b.stream(now, c, c.route, payload)
		return
	}
	b.mqtt(now, c, f)
}

// handshake checks the client's chain: issued by the authority, registered,
// active.
func (b *Broker) handshake(now time.Time, c *connection, f protocol.Frame) {
	alert := func(code byte) {
		b.stats.Refused++
		b.out = append(b.out, Out{Conn: c.id, Close: true, Reason: rules.AuthError, Frame: protocol.Frame{Kind: protocol.FrameTLSAlert, Body: []byte{code}}})
		delete(b.conns, c.id)
	}
	if c.principal.Certificate != nil {
		b.end(now.UnixNano(), c, rules.ClientError, true)
		return
	}
	cert, code := b.Certificate(now, f)
	if cert == nil {
		alert(code)
		return
	}
	c.principal.Certificate = cert
	b.out = append(b.out, Out{Conn: c.id, Frame: b.server})
}

// Certificate finds the registered certificate of a handshake's chain, or the
// TLS alert that refuses it.
func (b *Broker) Certificate(now time.Time, f protocol.Frame) (cert *registry.Certificate, alert byte) {
	chain, err := protocol.Certificates(append(append([]byte(nil), f.Head...), f.Body...))
	if err != nil || len(chain) == 0 {
		return nil, protocol.AlertBadCertificate
	}
	return b.Verify(now, chain)
}

// emit sends a frame to a connection.
func (b *Broker) emit(c *connection, f protocol.Frame) {
	b.stats.MessagesOut++
	b.stats.BytesOut += uint64(f.Len())
	b.out = append(b.out, Out{Conn: c.id, Frame: f})
}

// budget takes one publish with a payload of n bytes out of a connection's and the
// account's rates: whether it may go, and how long it waits before it does.
func (b *Broker) budget(now int64, c *connection, account *quota.Rate, topic string, n int) (wait time.Duration, ok bool) {
	b.uses.topic.See(int64(len(topic)))
	b.uses.payload.See(int64(n))
	v := c.limiter.Publish(&b.rates, now, len(topic)+n)
	b.uses.publish(&c.limiter, v)
	if v.Drop || !account.Allow(now) {
		b.stats.Throttled++
		return 0, false
	}
	return v.Wait, true
}

// end closes a connection. active says that the broker closes it; otherwise
// the transport is gone already.
func (b *Broker) end(now int64, c *connection, reason rules.Reason, active bool) {
	delete(b.conns, c.id)
	c.closed = true
	b.cfg.Agenda.Drop(&c.alarm)
	b.unhold(c)
	if active {
		b.out = append(b.out, Out{Conn: c.id, Close: true, Reason: reason})
	}
	s := c.session
	if s == nil {
		return
	}
	b.live--
	b.starts -= c.start
	b.ended += b.millis(now) - c.start
	c.session, s.conn = nil, nil
	b.cfg.Agenda.Drop(&s.alarm)
	if s.clean {
		b.forget(s)
	} else {
		s.park(b, now)
	}
	b.disconnected(now, c, s.clientID, reason)
	if c.will != nil && reason.SendsWill() {
		w := c.will
		if b.cfg.Registry.Authorize(c.principal, "iot:Publish", "topic", w.topic) && rules.Topic(w.topic) == nil {
			if use, _, _, _ := rules.Classify(w.topic); use == rules.Ordinary {
				b.publish(now, w.topic, w.payload, w.qos)
				if w.retain {
					b.retain(c.principal, w.topic, w.payload, w.qos)
				}
			}
		}
	}
}

// Restart cuts every connection, oldest first, as when the broker is replaced;
// persistent sessions stay.
func (b *Broker) Restart(now time.Time) {
	all := make([]*connection, 0, len(b.conns))
	for _, c := range b.conns {
		all = append(all, c)
	}
	sortByID(all)
	for _, c := range all {
		b.end(now.UnixNano(), c, rules.ServerInitiated, true)
	}
}

// later does something after a delay, unless the connection is over by then.
func (b *Broker) later(now int64, delay time.Duration, c *connection, do func(now int64)) {
	e := &agenda.Entry{Run: func(at int64) {
		if !c.closed {
			do(at)
		}
	}}
	b.cfg.Agenda.Plan(e, now+int64(delay))
}

// Cut ends the live connections of a certificate, as happens when it is
// deactivated.
func (b *Broker) Cut(now time.Time, cert *registry.Certificate) {
	if cert == nil {
		return
	}
	var hit []*connection
	for _, c := range b.conns {
		if c.principal.Certificate == cert {
			hit = append(hit, c)
		}
	}
	sortByID(hit)
	for _, c := range hit {
		b.end(now.UnixNano(), c, rules.ForbiddenAccess, true)
	}
}
