package live

import (
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// A Message is a PUBLISH that is kept: for those who subscribe later, or for a client
// that is away.
type Message struct {
	Topic   string `cbor:"1,keyasint"`
	Payload []byte `cbor:"2,keyasint,omitempty"`
	QoS     byte   `cbor:"3,keyasint,omitempty"`
	Retain  bool   `cbor:"4,keyasint,omitempty"` // it is sent as a retained one
	Expires int64  `cbor:"5,keyasint,omitempty"` // unix seconds, 0 for never

	// Properties of MQTT 5.
	Text        bool        `cbor:"6,keyasint,omitempty"` // the payload is UTF-8
	ContentType string      `cbor:"7,keyasint,omitempty"`
	Response    string      `cbor:"8,keyasint,omitempty"` // topic
	Correlation []byte      `cbor:"9,keyasint,omitempty"`
	User        [][2]string `cbor:"10,keyasint,omitempty"`
	Identifiers []int       `cbor:"11,keyasint,omitempty"` // of subscriptions
}

// A Session is what a client that is away finds again, besides its messages.
type Session struct {
	Version byte     `cbor:"1,keyasint"`           // of MQTT: 4 or 5
	Keep    uint32   `cbor:"2,keyasint"`           // seconds after the end of the connection
	Away    int64    `cbor:"3,keyasint,omitempty"` // unix seconds, 0 while it is connected
	Filters []Filter `cbor:"4,keyasint,omitempty"`
}

// A Filter is a subscription of a session.
type Filter struct {
	Filter       string `cbor:"1,keyasint"`
	QoS          byte   `cbor:"2,keyasint,omitempty"`
	NoLocal      bool   `cbor:"3,keyasint,omitempty"`
	AsPublished  bool   `cbor:"4,keyasint,omitempty"` // of the retain flag
	RetainedWhen byte   `cbor:"5,keyasint,omitempty"`
	Identifier   int    `cbor:"6,keyasint,omitempty"`
}

// Kept is what a broker starts with.
type Kept struct {
	Retained map[string]Message
	Sessions map[string]KeptSession // by client id
}

// KeptSession is a session with the messages that wait for its client, by number.
type KeptSession struct {
	Session
	Queue map[uint64]Message
}

// message is what is kept of a PUBLISH.
func message(pk *packets.Packet, now time.Time, longest int64) Message {
	pr := &pk.Properties
	m := Message{Topic: pk.TopicName, Payload: pk.Payload, QoS: pk.FixedHeader.Qos, Retain: pk.FixedHeader.Retain,
		Text: pr.PayloadFormatFlag && pr.PayloadFormat == 1, ContentType: pr.ContentType, Response: pr.ResponseTopic, Correlation: pr.CorrelationData}
	if pr.MessageExpiryInterval > 0 {
		m.Expires = now.Unix() + min(int64(pr.MessageExpiryInterval), longest)
	}
	for _, u := range pr.User {
		m.User = append(m.User, [2]string{u.Key, u.Val})
	}
	return m
}

// packet is the message as it is sent.
func (m *Message) packet(now time.Time) packets.Packet {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: m.QoS, Retain: m.Retain}, TopicName: m.Topic, Payload: m.Payload, Created: now.Unix(),
		Properties: packets.Properties{ContentType: m.ContentType, ResponseTopic: m.Response, CorrelationData: m.Correlation, SubscriptionIdentifier: m.Identifiers}}
	if m.Text {
		pk.Properties.PayloadFormat, pk.Properties.PayloadFormatFlag = 1, true
	}
	if m.Expires != 0 {
		pk.Properties.MessageExpiryInterval = uint32(max(1, m.Expires-now.Unix()))
	}
	for _, u := range m.User {
		pk.Properties.User = append(pk.Properties.User, packets.UserProperty{Key: u[0], Val: u[1]})
	}
	return pk
}

// over reports whether nobody shall have the message any more.
func (m *Message) over(now time.Time) bool { return m.Expires != 0 && m.Expires <= now.Unix() }

// filter is a subscription as it is kept.
func filter(s *packets.Subscription) Filter {
	return Filter{Filter: s.Filter, QoS: s.Qos, NoLocal: s.NoLocal, AsPublished: s.RetainAsPublished, RetainedWhen: s.RetainHandling, Identifier: s.Identifier}
}
