package live

import (
	"bytes"
	"slices"
	"strings"

	mqtt "github.com/mochi-mqtt/server/v2"
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
	return bytes.IndexByte([]byte{mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnSubscribe, mqtt.OnSubscribed, mqtt.OnPublish,
		mqtt.OnPacketRead, mqtt.OnPacketSent, mqtt.OnPublishDropped, mqtt.OnRetainMessage,
		mqtt.OnClientExpired}, what) >= 0
}

// refuse ends a connection; MQTT 3.1.1 has no other way to say no.
func (p *peer) refuse(cl *mqtt.Client) {
	p.cut()
	cl.Stop(packets.ErrNotAuthorized)
}

// reasonCodes are what a CONNACK of MQTT 5 says in place of a return code.
var reasonCodes = map[byte]byte{
	rules.BadClientID:       packets.ErrClientIdentifierNotValid.Code,
	rules.ServerUnavailable: packets.ErrServerUnavailable.Code,
	rules.NotAuthorized:     packets.ErrNotAuthorized.Code,
	rules.Refused:           packets.ErrNotAuthorized.Code,
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
			code = reasonCodes[code]
		}
		_ = cl.WritePacket(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connack}, ReasonCode: code})
		return packets.Code{Code: code, Reason: "refused by the cloud"}
	}
	p.since = now
	before := b.peers[principal.ClientID]
	b.peers[principal.ClientID] = p
	if before != nil {
		b.ended += now - before.since
	}
	b.mu.Unlock()
	if before != nil {
		before.cut()
		<-before.done
	}
	cl.State.Keepalive = uint16(rules.KeepAlive(pk.Connect.Keepalive).Seconds())
	b.connects.Add(1)
	return nil
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
	h.b.mu.Lock()
	defer h.b.mu.Unlock()
	allowed := len(pk.Filters) <= rules.MaxFilters
	p.asking = p.asking[:0]
	for _, f := range pk.Filters {
		allowed = allowed && rules.Filter(f.Filter) == nil && f.Qos <= 1 && h.b.authorize(p, "iot:Subscribe", "topicfilter/"+f.Filter)
		p.asking = append(p.asking, f.Filter)
	}
	if !allowed {
		pk.Filters, p.asking = nil, nil
		p.refuse(cl)
	}
	return pk
}

// OnSubscribed follows OnSubscribe.
func (h *hook) OnSubscribed(cl *mqtt.Client, _ packets.Packet, _ []byte) {
	if p, ok := cl.Net.Conn.(*peer); ok {
		h.b.mu.Lock()
		p.asking = nil
		h.b.mu.Unlock()
	}
}

// OnACLCheck is asked for publishes, which OnPublish decides on; for the filters
// that OnSubscribe has allowed; and for each message that a client is to receive.
func (h *hook) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool {
	p, ok := cl.Net.Conn.(*peer)
	if !ok || write {
		return true
	}
	h.b.mu.Lock()
	defer h.b.mu.Unlock()
	return slices.Contains(p.asking, topic) || h.b.authorize(p, "iot:Receive", "topic/"+topic)
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
		p.refuse(cl)
		return pk, packets.ErrRejectPacket
	}
	now := b.now()
	b.settle(now)
	answers, reserved := b.cloud.Handle(now, cl.ID, pk.TopicName, pk.Payload)
	if reserved && b.journal != nil {
		b.journal.Published(now, cl.ID, pk.TopicName, pk.Payload, answers)
	}
	b.plan(cl, answers)
	b.mu.Unlock()
	if !reserved {
		return pk, nil
	}
	if b.commit() != nil {
		p.refuse(cl)
		return pk, packets.ErrRejectPacket
	}
	if len(answers) > 0 && answers[0].Direct {
		b.talked()
	}
	return pk, packets.CodeSuccessIgnore // acknowledged, but routed to nobody
}

// OnPacketRead counts, and ends the connection of a client that uses QoS 2.
func (h *hook) OnPacketRead(_ *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	h.b.in.Add(1)
	switch pk.FixedHeader.Type {
	case packets.Publish:
		h.b.metered.Add(rules.Metered(len(pk.TopicName) + len(pk.Payload)))
		if pk.FixedHeader.Qos > 1 {
			return pk, packets.ErrRejectPacket
		}
	case packets.Connect, packets.Subscribe, packets.Unsubscribe, packets.Puback:
		h.b.metered.Add(1)
	}
	return pk, nil
}

// OnPacketSent counts.
func (h *hook) OnPacketSent(_ *mqtt.Client, pk packets.Packet, _ []byte) {
	h.b.out.Add(1)
	if pk.FixedHeader.Type == packets.Publish {
		h.b.metered.Add(rules.Metered(len(pk.TopicName) + len(pk.Payload)))
	}
}

// OnRetainMessage has a retained message last before it is acknowledged.
func (h *hook) OnRetainMessage(cl *mqtt.Client, pk packets.Packet, _ int64) {
	b := h.b
	if b.journal == nil {
		return
	}
	b.mu.Lock()
	b.journal.Retained(b.now(), Retained{Topic: pk.TopicName, Payload: pk.Payload, QoS: pk.FixedHeader.Qos})
	b.mu.Unlock()
	if b.commit() != nil {
		cl.Stop(packets.ErrServerUnavailable)
	}
}

// OnClientExpired ends the subscriptions of a session, which mochi would keep.
func (h *hook) OnClientExpired(cl *mqtt.Client) { h.b.server.UnsubscribeClient(cl) }

// OnPublishDropped counts what a client was too slow for.
func (h *hook) OnPublishDropped(*mqtt.Client, packets.Packet) { h.b.dropped.Add(1) }
