package live

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/broker/rules"
	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/cloud/quota"
)

// sessionExpiry is how many seconds a session is kept without its client: the
// account's default.
const sessionExpiry = 3600

// A Broker is mochi-mqtt with the cloud behind it: the cloud decides who may connect,
// publish and subscribe, and answers on reserved topics. One lock guards the cloud.
type Broker struct {
	server   *mqtt.Server
	listener *listener
	plain    *listener // nil without Options.Plain
	journal  Journal   // may be nil
	clock    *Clock
	epoch    time.Time
	talked   func() // a device talked to Jobs

	limits *limits

	mu       sync.Mutex
	cloud    *cloud.Cloud
	sessions map[string]*mailbox
	retained map[string]Message
	wills    map[string]*time.Timer // that wait, by client id
	numbers  rules.Numbering
	watched  bool             // somebody has subscribed to lifecycle events
	peers    map[string]*peer // by client id
	registry uint64           // its epoch when certificates were last looked at
	ended    time.Duration    // sum over connections that are over
	queue    []outgoing
	closed   bool
	filled   sync.Cond // something is in queue, or closed
	drained  chan struct{}
	quit     chan struct{}
	swept    chan struct{}

	in, out       atomic.Uint64 // packets
	metered       atomic.Uint64
	connects      atomic.Uint64
	refused       atomic.Uint64
	dropped       atomic.Uint64
	queued, moved atomic.Uint64 // deliveries planned and carried out
}

// outgoing is a delivery with the connection that asked for it, if it is direct, or
// with the sessions that it is for, if it lasts.
type outgoing struct {
	cloud.Delivery
	to    *peer
	lasts bool
	list  []target
	plain bool // list was found without shared subscriptions, which take turns
	found bool // list is complete
}

// Options are what a server for other people's clients has beyond a run.
type Options struct {
	Address string   // to listen on, "" for a port on the loopback interface
	Plain   string   // to listen on without TLS, for debugging; "" for not at all
	Names   []string // that the server's certificate carries besides the data endpoint's
	Journal Journal  // may be nil
	Kept    Kept     // what the journal has kept
	// Limits are those of the account; nil is for a fleet, whose rates are not bounded.
	Limits quota.Limits
	// Patience bounds TLS, and then CONNECT, of one client; 0 is 30 s.
	Patience time.Duration
}

// A Journal notes what changes the cloud, so that it can last.
type Journal interface {
	// Settle does what has become due. It is called before the cloud is, with the
	// lock held.
	Settle(now time.Time)
	// Published notes a request on a reserved topic and the answers to it, with the
	// lock held.
	Published(now time.Time, clientID, topic string, payload []byte, answers []cloud.Delivery)
	// Planned ends what Settle has begun: it all lasts, or nothing of it. kept says
	// that what came of it was noted for sessions.
	Planned(kept bool)
	// Retained notes the retained message of a topic, Session the session of a client
	// id, and Queued a message with its number in that session; nil for none any more.
	// A session takes its messages with it.
	Retained(topic string, m *Message)
	Session(clientID string, s *Session)
	Queued(clientID string, number uint64, m *Message)
	// Commit waits until all that was noted lasts. Nothing that follows from it leaves
	// the broker before.
	Commit() error
}

// NewBroker starts a broker for a cloud with Config.External, on a loopback port.
// talked is called after each request to Jobs and must not block.
func NewBroker(c *cloud.Cloud, clock *Clock, epoch time.Time, talked func()) (*Broker, error) {
	return Listen(c, clock, epoch, talked, Options{})
}

// Listen starts a broker as NewBroker does, with options.
func Listen(c *cloud.Cloud, clock *Clock, epoch time.Time, talked func(), opt Options) (*Broker, error) {
	b := &Broker{cloud: c, journal: opt.Journal, clock: clock, epoch: epoch, talked: talked, peers: map[string]*peer{}, drained: make(chan struct{}),
		quit: make(chan struct{}), swept: make(chan struct{}),
		limits: newLimits(opt.Limits), sessions: map[string]*mailbox{}, wills: map[string]*time.Timer{}}
	b.filled.L = &b.mu
	c.Measure(b.limits.uses)
	b.restore(&opt.Kept)
	b.expire()
	if opt.Patience == 0 {
		opt.Patience = handshakeTimeout
	}
	chain, key, err := c.PKI().Server(c.Host(), opt.Names...)
	if err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	config := &tls.Config{
		Certificates:     []tls.Certificate{{Certificate: chain, PrivateKey: key}},
		ClientAuth:       tls.RequireAnyClientCert, // and handshake decides
		CurvePreferences: []tls.CurveID{tls.CurveP256},
		MinVersion:       tls.VersionTLS12, SessionTicketsDisabled: true,
		Time: b.now,
		VerifyConnection: func(s tls.ConnectionState) error {
			return b.handshake(s)
		},
	}
	if b.listener, err = newListener("mqtts", opt.Address, config, opt.Patience, b.forget); err != nil {
		return nil, err
	}
	if opt.Plain != "" {
		if b.plain, err = newListener("mqtt", opt.Plain, nil, opt.Patience, b.forget); err != nil {
			_ = b.listener.tcp.Close()
			return nil, err
		}
	}
	caps := mqtt.NewDefaultServerCapabilities()
	caps.MaximumClientWritesPending = 1   // messages do not go that way
	caps.MaximumMessageExpiryInterval = 0 // they expire in their session
	caps.ReceiveMaximum = rules.ReceiveMaximum
	caps.Compatibilities.NoInheritedPropertiesOnAck = true
	caps.MaximumPacketSize = rules.MaxPayload + rules.MaxTopic + 16
	caps.MaximumQos = rules.MaximumQoS
	caps.TopicAliasMaximum = rules.TopicAliasMaximum
	caps.MaximumSessionExpiryInterval = b.limits.expiry
	b.server = mqtt.New(&mqtt.Options{Capabilities: caps, InlineClient: true, Logger: slog.New(slog.DiscardHandler),
		ClientNetWriteBufferSize: 1024, ClientNetReadBufferSize: 1024, SysTopicResendInterval: 1 << 30})
	if err := b.server.AddHook(&hook{b: b}, nil); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	if err := b.server.AddListener(b.listener); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	if b.plain != nil {
		if err := b.server.AddListener(b.plain); err != nil {
			return nil, fmt.Errorf("broker: %w", err)
		}
	}
	if err := b.server.Serve(); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	for topic := range b.server.Topics.Retained.GetAll() { // about mochi itself
		b.server.Topics.RetainMessage(packets.Packet{TopicName: topic})
	}
	go b.deliver()
	go b.sweep()
	return b, nil
}

// Address is where clients connect.
func (b *Broker) Address() string { return b.listener.Address() }

// PlainAddress is where clients connect without TLS, "" for nowhere.
func (b *Broker) PlainAddress() string {
	if b.plain == nil {
		return ""
	}
	return b.plain.Address()
}

// Connections is how many clients are connected.
func (b *Broker) Connections() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.peers)
}

// Sessions is how many sessions there are, with and without a connection.
func (b *Broker) Sessions() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.sessions)
}

func (b *Broker) now() time.Time { return b.epoch.Add(b.clock.Now()) }

// Do runs fn on the cloud, and sends out what comes of it.
func (b *Broker) Do(fn func(now time.Duration)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cloud.Carry(b.carried())
	now := b.clock.Now()
	b.settle(b.epoch.Add(now))
	fn(now)
	b.plan(nil, nil)
	if e := b.cloud.Registry().Epoch(); e != b.registry {
		b.registry = e
		for _, p := range b.peers {
			if !p.plain && !p.principal.Certificate.Active() {
				p.ends(rules.ForbiddenAccess)
				p.cut()
			}
		}
	}
}

// Restart ends every connection, as a broker that restarts does. Sessions that last stay. It is for the function given to Do.
func (b *Broker) Restart() {
	for _, p := range b.peers {
		p.ends(rules.ServerInitiated)
		p.cut()
	}
	b.listener.drop()
}

// Quiet reports whether all that the cloud had to say has been said.
func (b *Broker) Quiet() bool { return b.queued.Load() == b.moved.Load() }

// Events counts packets, both ways.
func (b *Broker) Events() uint64 { return b.in.Load() + b.out.Load() }

// Dropped counts messages that a client was too slow for.
func (b *Broker) Dropped() uint64 { return b.dropped.Load() }

// Close ends all connections and waits until nothing of the broker runs.
func (b *Broker) Close() error {
	err := b.server.Close()
	b.mu.Lock()
	b.closed = true
	b.filled.Broadcast()
	for _, t := range b.wills {
		t.Stop()
	}
	b.mu.Unlock()
	close(b.quit)
	<-b.drained
	<-b.swept
	return err
}

// settle is called with mu held.
func (b *Broker) settle(now time.Time) {
	if b.journal != nil {
		b.journal.Settle(now)
	}
}

// commit waits until what was noted lasts; mu is not held.
func (b *Broker) commit() error {
	if b.journal == nil {
		return nil
	}
	return b.journal.Commit()
}

// carried is called with mu held.
func (b *Broker) carried() cloud.Carried {
	s := cloud.Carried{MessagesIn: b.in.Load(), BytesIn: uint64(atomic.LoadInt64(&b.server.Info.BytesReceived)), MessagesOut: b.out.Load(), BytesOut: uint64(atomic.LoadInt64(&b.server.Info.BytesSent)),
		Metered: b.metered.Load(), Connects: b.connects.Load(), Refused: b.refused.Load(), Throttled: b.dropped.Load()}
	connected, now := b.ended, b.clock.Now()
	for _, p := range b.peers {
		connected += now - p.since
	}
	s.ConnectedSeconds = connected.Seconds()
	return s
}

// handshake decides on a client's certificates.
func (b *Broker) handshake(s tls.ConnectionState) error {
	var chain [][]byte
	for _, c := range s.PeerCertificates {
		chain = append(chain, c.Raw)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if alert := b.cloud.Handshake(b.now(), chain); alert != 0 {
		b.refused.Add(1)
		return fmt.Errorf("client certificate refused: TLS alert %d", alert)
	}
	return nil
}

// forget is called when a connection is over.
func (b *Broker) forget(p *peer) {
	b.mu.Lock()
	if id := p.principal.ClientID; b.peers[id] == p {
		delete(b.peers, id)
		b.ended += b.clock.Now() - p.since
	}
	b.detach(p)
	rest := b.execute(p)
	if p.number != nil {
		b.numbers.Disconnect(b.now().UnixNano(), p.principal.ClientID, p.number.Version)
	}
	b.mu.Unlock()
	if p.session != nil {
		b.tell(p, func(who *rules.Peer, now time.Time) rules.Event { return who.Disconnected(now, p.reason()) })
	}
	if rest != nil {
		rest()
	}
}

// describe makes what lifecycle events say about a connection; mu is held.
func (b *Broker) describe(p *peer, who cloud.Principal) *rules.Peer {
	now := b.now().UnixNano()
	d := &rules.Peer{ClientID: who.ClientID, Version: b.numbers.Connect(now, who.ClientID),
		Session: aws.Seed{}.UUID("connection " + who.ClientID + " " + strconv.FormatInt(now, 10))}
	if who.Certificate != nil {
		d.Principal = who.Certificate.ID()
	}
	d.IP, _, _ = net.SplitHostPort(p.raw.RemoteAddr().String())
	return d
}

// takeOver ends a connection for another of the same client.
func (b *Broker) takeOver(p *peer) {
	b.mu.Lock()
	cl := p.cl
	b.mu.Unlock()
	if cl != nil && cl.Properties.ProtocolVersion == 5 {
		b.refuse(cl, p, rules.DuplicateClientID, rules.ReasonTakenOver)
	} else {
		p.cut()
	}
}

// sweep ends sessions that nobody came back for.
func (b *Broker) sweep() {
	defer close(b.swept)
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			b.expire()
		case <-b.quit:
			return
		}
	}
}

// plan queues answers to a request and the notifications that followed from it. It
// is called with mu held, so that what was decided first is sent first. Notifications
// last for the sessions that are kept; answers of file delivery do not, because a
// device asks again.
func (b *Broker) plan(to *peer, answers []cloud.Delivery) {
	before := len(b.queue)
	for _, d := range answers {
		b.queue = append(b.queue, outgoing{Delivery: d, to: to})
	}
	kept := false
	for _, d := range b.cloud.Deliveries() {
		out := outgoing{Delivery: d}
		switch {
		case d.Direct: // an answer that came late
			if out.to = b.peers[d.ClientID]; out.to == nil {
				continue
			}
		case b.journal != nil && d.QoS > 0:
			var noted bool
			out.lasts = true
			out.list, noted = b.targets(b.subscribers(d.Topic), &Message{Topic: d.Topic, Payload: d.Payload, QoS: d.QoS}, "", true)
			kept = kept || noted
		}
		b.queue = append(b.queue, out)
	}
	if b.journal != nil {
		b.journal.Planned(kept)
	}
	if n := len(b.queue) - before; n > 0 {
		b.queued.Add(uint64(n))
		b.filled.Signal()
	}
}

// deliver carries out what plan has queued.
func (b *Broker) deliver() {
	defer close(b.drained)
	var batch []outgoing
	for {
		b.mu.Lock()
		for len(b.queue) == 0 && !b.closed {
			b.filled.Wait()
		}
		if b.closed {
			b.mu.Unlock()
			return
		}
		batch, b.queue = b.queue, batch[:0]
		b.mu.Unlock()
		err := b.commit()
		for i := range batch {
			d := &batch[i]
			if err != nil {
				b.dropped.Add(1) // it is not certain to have happened
			} else {
				if i > 0 {
					d.follow(&batch[i-1])
				}
				b.carry(d)
			}
			b.moved.Add(1)
		}
		clear(batch)
	}
}

// follow takes those that a delivery is for from the one before, if that was on the same
// topic: the blocks of an answer.
func (d *outgoing) follow(before *outgoing) {
	if d.Direct || d.lasts || !before.plain || d.Topic != before.Topic || d.QoS != before.QoS {
		return
	}
	d.list, d.plain, d.found = before.list, true, true
	for i := range d.list {
		d.list[i].Payload = d.Payload
	}
}

// carry hands a delivery to those it is for.
func (b *Broker) carry(d *outgoing) {
	m := &Message{Topic: d.Topic, Payload: d.Payload, QoS: d.QoS}
	switch {
	case d.Direct:
		b.direct(d.to, m, d.Subscribed)
	case !d.lasts && !d.found:
		subs := b.subscribers(d.Topic)
		b.mu.Lock()
		d.list, _ = b.targets(subs, m, "", false)
		d.plain = len(subs.Shared) == 0
		b.mu.Unlock()
		fallthrough
	default:
		b.hand(d.list)
	}
}

// direct answers the client that asked, in one copy, with the QoS of a subscription
// that matches, else QoS 0, or with subscribed set not at all.
func (b *Broker) direct(p *peer, m *Message, subscribed bool) {
	b.mu.Lock()
	s := p.session
	may := b.authorize(p, "iot:Receive", "topic/"+m.Topic)
	for name, f := range s.filters {
		if (subscribed || f.QoS > m.QoS) && protocol.MatchFilter(name, m.Topic) {
			m.QoS, subscribed = max(m.QoS, f.QoS), false
		}
	}
	may = may && !subscribed
	b.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if may && s.peer == p {
		b.offer(s, queued{Message: *m})
	}
}

// authorize decides as the cloud does; mu is held. Who comes without TLS may do what
// its client id is a thing's name for, and everything outside the reserved topics.
func (b *Broker) authorize(p *peer, action, resource string) bool {
	if !p.plain {
		return b.cloud.Authorize(p.principal, action, resource)
	}
	_, topic, _ := strings.Cut(resource, "/")
	return !strings.HasPrefix(topic, "$") || strings.HasPrefix(topic, "$aws/things/"+p.principal.ClientID+"/")
}

// authorizePublish decides on a PUBLISH; mu is held.
func (b *Broker) authorizePublish(p *peer, topic string, payload int, retain bool) bool {
	if !p.plain {
		return b.cloud.AuthorizePublish(p.principal, topic, payload, retain)
	}
	use, _, _, _ := rules.Classify(topic)
	return rules.Topic(topic) == nil && rules.Payload(payload) == nil && use != rules.Forbidden && (use == rules.Ordinary || !retain) &&
		b.authorize(p, "iot:Publish", "topic/"+topic)
}
