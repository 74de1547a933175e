package live

import (
	"bytes"
	"errors"
	"strings"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/storage"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/broker/rules"
)

// hook is what mochi asks for each client. The inline client, which is the cloud
// itself, has no connection and is never refused.
type hook struct {
	mqtt.HookBase
	b *Broker
}

// ID implements mqtt.Hook.
func (h *hook) ID() string { return "cloud" }

// Provides implements mqtt.Hook.
func (h *hook) Provides(what byte) bool {
	return bytes.IndexByte([]byte{mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnSessionEstablish, mqtt.OnSessionEstablished, mqtt.OnACLCheck,
		mqtt.OnSubscribe, mqtt.OnSubscribed, mqtt.OnUnsubscribed, mqtt.OnPublish, mqtt.OnPacketRead, mqtt.OnPacketEncode, mqtt.OnPacketSent, mqtt.OnPacketProcessed,
		mqtt.OnClientExpired, mqtt.StoredClients, mqtt.StoredSubscriptions}, what) >= 0
}

// OnConnect decides on a CONNECT. A client that is connected already with this id
// is cut off first, and forgotten before the new one is known.
func (h *hook) OnConnect(cl *mqtt.Client, pk packets.Packet) error {
	b := h.b
	p, ok := cl.Net.Conn.(*peer)
	if !ok {
		return packets.ErrNotAuthorized
	}
	b.mu.Lock()
	now := b.clock.Now()
	principal, code := cloud.Principal{ClientID: pk.Connect.ClientIdentifier}, rules.Accepted
	switch {
	case !p.plain:
		principal, code = b.cloud.Authenticate(b.epoch.Add(now), p.chain, principal.ClientID)
	case rules.ClientID(principal.ClientID) != nil || strings.ContainsAny(principal.ClientID, "/+#"):
		code = rules.BadClientID
	}
	p.principal = principal
	if code == rules.Accepted && pk.Connect.WillFlag && !h.will(p, &pk.Connect) {
		code = rules.NotAuthorized
	}
	if code != rules.Accepted {
		b.mu.Unlock()
		b.refused.Add(1)
		if cl.Properties.ProtocolVersion == 5 {
			code = rules.ConnackReason(code)
		}
		_ = cl.WritePacket(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connack}, ReasonCode: code})
		return packets.Code{Code: code, Reason: "refused by the cloud"}
	}
	p.since, p.will = now, b.testament(&pk.Connect)
	p.number = b.describe(p, principal)
	before := b.peers[principal.ClientID]
	b.peers[principal.ClientID] = p
	b.limits.see(&b.limits.connections, len(b.peers), false)
	if before != nil {
		b.ended += now - before.since
	}
	b.mu.Unlock()
	if before != nil {
		before.ends(rules.DuplicateClientID)
		b.takeOver(before)
		<-before.done
	}
	asked := cl.State.Keepalive
	cl.State.Keepalive = uint16(rules.KeepAlive(asked).Seconds())
	cl.State.ServerKeepalive = cl.State.Keepalive != asked // and CONNACK of MQTT 5 says so
	cl.Properties.Will = mqtt.Will{}                       // the broker's own has taken it
	b.connects.Add(1)
	return nil
}

// OnSessionEstablish finds the session, before CONNACK.
func (h *hook) OnSessionEstablish(cl *mqtt.Client, pk packets.Packet) {
	if p, ok := cl.Net.Conn.(*peer); ok && h.b.begin(p, cl, &pk) != nil {
		p.cut()
	}
}

// OnSessionEstablished follows CONNACK.
func (h *hook) OnSessionEstablished(cl *mqtt.Client, _ packets.Packet) {
	if p, ok := cl.Net.Conn.(*peer); ok {
		h.b.attach(p)
		h.b.tell(p, (*rules.Peer).Connected)
	}
}

// will reports whether a client may have such a will; mu is held.
func (h *hook) will(p *peer, c *packets.ConnectParams) bool {
	use, _, _, _ := rules.Classify(c.WillTopic)
	return use == rules.Ordinary && c.WillQos <= 1 && h.b.authorizePublish(p, c.WillTopic, len(c.WillPayload), c.WillRetain)
}

// OnConnectAuthenticate implements mqtt.Hook; OnConnect has decided.
func (h *hook) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }

// OnSubscribe ends the connection of a client that asks for what it may not hear.
func (h *hook) OnSubscribe(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	p, ok := cl.Net.Conn.(*peer)
	if !ok {
		return pk
	}
	b := h.b
	p.throttled = !b.limits.allow(&b.limits.subscribes, b.now())
	why, code := rules.Reason(""), byte(0)
	b.mu.Lock()
	p.known = p.known[:0]
	total := len(p.session.filters)
	for _, f := range pk.Filters {
		_, known := p.session.filters[f.Filter]
		p.known = append(p.known, known)
		if !known {
			total++
		}
		switch {
		case rules.Filter(f.Filter) != nil:
			why, code = rules.ClientError, rules.ReasonFilterInvalid
		case f.Qos > rules.MaximumQoS:
			why, code = rules.ClientError, rules.ReasonQoS
		case f.Identifier > 0 && !rules.SubscriptionIDsKnown:
			why, code = rules.ClientError, rules.ReasonSubscriptionIDs
		case !b.authorize(p, "iot:Subscribe", "topicfilter/"+f.Filter):
			why, code = rules.AuthError, rules.ReasonNotAuthorized
		}
	}
	b.mu.Unlock()
	tooMany := b.limits.subscriptions > 0 && total > b.limits.subscriptions
	b.limits.see(&b.limits.filters, len(pk.Filters), len(pk.Filters) > rules.MaxFilters)
	b.limits.see(&b.limits.perConnection, total, tooMany)
	if len(pk.Filters) > rules.MaxFilters || tooMany {
		why, code = rules.ClientError, rules.ReasonQuotaExceeded
	}
	if p.throttled {
		b.dropped.Add(1)
	}
	if why != "" {
		pk.Filters = nil
		b.refuse(cl, p, why, code)
	}
	return pk
}

// OnSubscribed follows OnSubscribe. What was granted lasts before SUBACK is sent.
func (h *hook) OnSubscribed(cl *mqtt.Client, pk packets.Packet, codes []byte) {
	p, ok := cl.Net.Conn.(*peer)
	if !ok {
		return
	}
	h.b.mu.Lock()
	p.granted = p.granted[:0]
	s, changed := p.session, false
	var filters []string
	for i := range pk.Filters {
		granted := codes[i] <= 1
		p.granted = append(p.granted, granted)
		if granted {
			filters = append(filters, pk.Filters[i].Filter)
		} else if p.throttled && cl.Properties.ProtocolVersion == 5 {
			codes[i] = rules.ReasonQuotaExceeded // the answer's own memory
		}
		if f := filter(&pk.Filters[i]); granted && s.filters[f.Filter] != f {
			s.filters[f.Filter] = f
			changed = true
		}
	}
	h.b.watch(filters...)
	h.last(p, changed)
	if len(filters) > 0 {
		h.b.tell(p, func(who *rules.Peer, now time.Time) rules.Event { return who.Subscribed(now, filters) })
	}
}

// OnUnsubscribed is also called at the end of a session.
func (h *hook) OnUnsubscribed(cl *mqtt.Client, pk packets.Packet) {
	p, ok := cl.Net.Conn.(*peer)
	if !ok {
		return
	}
	h.b.mu.Lock()
	s, before := p.session, len(p.session.filters)
	var filters []string
	for _, f := range pk.Filters {
		delete(s.filters, f.Filter)
		filters = append(filters, f.Filter)
	}
	h.last(p, len(s.filters) != before)
	if !cl.Closed() && len(filters) > 0 {
		h.b.tell(p, func(who *rules.Peer, now time.Time) rules.Event { return who.Unsubscribed(now, filters) })
	}
}

// last has the filters of a session last, if it is kept. Broker.mu is held, and
// released.
func (h *hook) last(p *peer, changed bool) {
	s := p.session
	lasts := changed && s.keep > 0 && h.b.sessions[s.id] == s
	if lasts {
		h.b.note(s)
	}
	h.b.mu.Unlock()
	if lasts && h.b.commit() != nil {
		p.cut()
	}
}

// OnACLCheck is asked for what OnPublish and OnSubscribe have decided or will.
func (h *hook) OnACLCheck(cl *mqtt.Client, _ string, write bool) bool {
	p, ok := cl.Net.Conn.(*peer)
	return !ok || write || !p.throttled
}

// OnPublish ends the connection of a client that publishes what it may not, and has
// the cloud answer on reserved topics.
func (h *hook) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	p, ok := cl.Net.Conn.(*peer)
	if !ok {
		return pk, nil
	}
	b := h.b
	b.mu.Lock()
	if !b.authorizePublish(p, pk.TopicName, len(pk.Payload), pk.FixedHeader.Retain) {
		b.mu.Unlock()
		b.refuse(cl, p, rules.AuthError, rules.ReasonNotAuthorized)
		return pk, packets.ErrRejectPacket
	}
	b.mu.Unlock()
	if !b.received(p, len(pk.TopicName)+len(pk.Payload)) {
		return pk, packets.ErrRejectPacket
	}
	b.mu.Lock()
	now := b.now()
	b.settle(now)
	answers, reserved := b.cloud.Handle(now, cl.ID, pk.TopicName, pk.Payload)
	if reserved && b.journal != nil {
		b.journal.Published(now, cl.ID, pk.TopicName, pk.Payload, answers)
	}
	b.plan(p, answers)
	m := message(&pk, now, rules.MaxMessageExpiry)
	if pk.FixedHeader.Retain {
		b.keepRetained(m)
	}
	b.mu.Unlock()
	var err error
	if !reserved {
		err = b.publish(&m, cl.ID)
	}
	if reserved || pk.FixedHeader.Retain {
		err = errors.Join(err, b.commit())
	}
	if err != nil {
		b.refuse(cl, p, rules.ServerError, rules.ReasonUnspecified)
		return pk, packets.ErrRejectPacket
	}
	if len(answers) > 0 && answers[0].Direct {
		b.talked()
	}
	return pk, packets.CodeSuccessIgnore // acknowledged, and mochi routes it to nobody
}

// OnPacketRead counts, and ends the connection of a client that uses QoS 2.
func (h *hook) OnPacketRead(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	h.b.in.Add(1)
	p, ok := cl.Net.Conn.(*peer)
	if !ok {
		return pk, nil
	}
	if tooMuch(&pk.Properties) {
		h.b.refuse(cl, p, rules.ClientError, rules.ReasonTooLarge)
		return pk, packets.ErrRejectPacket
	}
	switch pk.FixedHeader.Type {
	case packets.Publish:
		h.b.metered.Add(rules.Metered(len(pk.TopicName) + len(pk.Payload)))
		if pk.FixedHeader.Qos > rules.MaximumQoS {
			h.b.refuse(cl, p, rules.ClientError, rules.ReasonQoS)
			return pk, packets.ErrRejectPacket
		}
	case packets.Connect:
		h.b.metered.Add(rules.Metered(len(pk.Connect.WillTopic) + len(pk.Connect.WillPayload)))
	case packets.Subscribe:
		h.b.metered.Add(1)
	case packets.Unsubscribe:
		if !h.b.limits.allow(&h.b.limits.subscribes, h.b.now()) {
			h.b.dropped.Add(1)
		}
	case packets.Puback:
		h.b.metered.Add(1)
		h.b.acked(p.session, pk.PacketID)
	case packets.Disconnect:
		h.b.mu.Lock()
		p.ends(rules.ClientInitiated)
		p.goodbye = pk.ReasonCode != packets.CodeDisconnectWillMessage.Code
		if pk.Properties.SessionExpiryIntervalFlag && p.session.keep > 0 {
			p.session.keep = min(pk.Properties.SessionExpiryInterval, h.b.limits.expiry)
			pk.Properties.SessionExpiryInterval = p.session.keep
			if p.session.keep == 0 && h.b.journal != nil {
				h.b.journal.Session(p.session.id, nil)
			}
		}
		h.b.mu.Unlock()
	}
	return pk, nil
}

// OnPacketEncode says in CONNACK of MQTT 5 what AWS can do.
func (h *hook) OnPacketEncode(cl *mqtt.Client, pk packets.Packet) packets.Packet {
	if pk.FixedHeader.Type == packets.Connack && cl.Properties.ProtocolVersion == 5 {
		announce(&pk.Properties)
	}
	return pk
}

// OnPacketProcessed sends retained messages after SUBACK.
func (h *hook) OnPacketProcessed(cl *mqtt.Client, pk packets.Packet, err error) {
	if p, ok := cl.Net.Conn.(*peer); ok && err == nil && pk.FixedHeader.Type == packets.Subscribe {
		h.b.remind(p, pk.Filters)
	}
}

// OnPacketSent counts.
func (h *hook) OnPacketSent(_ *mqtt.Client, pk packets.Packet, _ []byte) {
	if pk.FixedHeader.Type == packets.Publish {
		h.b.counted(len(pk.TopicName) + len(pk.Payload))
	} else {
		h.b.out.Add(1)
	}
}

// OnClientExpired ends a session that mochi has ended.
func (h *hook) OnClientExpired(cl *mqtt.Client) {
	b := h.b
	b.mu.Lock()
	if s := b.sessions[cl.ID]; s != nil && !s.away.IsZero() {
		b.drop(s)
	}
	b.mu.Unlock()
	b.server.UnsubscribeClient(cl)
}

// StoredClients implements mqtt.Hook.
func (h *hook) StoredClients() ([]storage.Client, error) {
	clients, _ := h.b.stored()
	return clients, nil
}

// StoredSubscriptions implements mqtt.Hook.
func (h *hook) StoredSubscriptions() ([]storage.Subscription, error) {
	_, subs := h.b.stored()
	return subs, nil
}
