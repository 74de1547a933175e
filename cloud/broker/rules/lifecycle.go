package rules

import (
	"encoding/json"
	"strings"
	"time"
)

// Reason is why a connection ended, in the words of the lifecycle events.
type Reason string

// Reasons of the end of a connection.
const (
	AuthError         Reason = "AUTH_ERROR"
	ClientInitiated   Reason = "CLIENT_INITIATED_DISCONNECT"
	ClientError       Reason = "CLIENT_ERROR"
	ConnectionLost    Reason = "CONNECTION_LOST"
	DuplicateClientID Reason = "DUPLICATE_CLIENTID"
	ForbiddenAccess   Reason = "FORBIDDEN_ACCESS"
	KeepAliveTimeout  Reason = "MQTT_KEEP_ALIVE_TIMEOUT"
	ServerError       Reason = "SERVER_ERROR"
	ServerInitiated   Reason = "SERVER_INITIATED_DISCONNECT"
	Throttled         Reason = "THROTTLED"
	APIInitiated      Reason = "API_INITIATED_DISCONNECT"
)

// SendsWill reports whether the last will of a connection is published when it
// ends.
func (r Reason) SendsWill() bool { return r != ClientInitiated }

// eventPrefix is what topics of lifecycle events begin with.
const eventPrefix = "$aws/events/"

// HearsEvents reports whether a topic filter may match lifecycle events.
func HearsEvents(filter string) bool {
	return strings.HasPrefix(filter, eventPrefix) || filter == "$aws/#" || strings.HasPrefix(filter, "$aws/+/")
}

// A Peer is a connection as lifecycle events describe it.
type Peer struct {
	ClientID  string
	Session   string // an identifier of this connection
	Principal string // the certificate's id
	IP        string
	Version   uint64 // see Numbering
}

// An Event is a message on a reserved topic.
type Event struct {
	Topic   string
	Payload []byte
}

// Silent reports whether the client is one of those that AWS tells nothing
// about.
func (p *Peer) Silent() bool { return strings.ContainsAny(p.ClientID, "+#") }

type event struct {
	ClientID        string   `json:"clientId"`
	Timestamp       int64    `json:"timestamp"` // milliseconds
	EventType       string   `json:"eventType"`
	Session         string   `json:"sessionIdentifier"`
	Principal       string   `json:"principalIdentifier"`
	IP              string   `json:"ipAddress,omitempty"`
	ClientInitiated *bool    `json:"clientInitiatedDisconnect,omitempty"`
	Reason          Reason   `json:"disconnectReason,omitempty"`
	Version         *uint64  `json:"versionNumber,omitempty"`
	Topics          []string `json:"topics,omitempty"`
}

func (p *Peer) event(now time.Time, kind string) event {
	return event{ClientID: p.ClientID, Timestamp: now.UnixMilli(), EventType: kind, Session: p.Session, Principal: p.Principal}
}

func (e *event) message(family string) Event {
	b, err := json.Marshal(e)
	if err != nil {
		b = nil // unreachable: strings and numbers encode
	}
	return Event{eventPrefix + family + "/" + e.EventType + "/" + e.ClientID, b}
}

// Connected tells that the connection was accepted.
func (p *Peer) Connected(now time.Time) Event {
	e := p.event(now, "connected")
	e.IP, e.Version = p.IP, &p.Version
	return e.message("presence")
}

// Disconnected tells that the connection ended.
func (p *Peer) Disconnected(now time.Time, why Reason) Event {
	e := p.event(now, "disconnected")
	initiated := why == ClientInitiated
	e.ClientInitiated, e.Reason, e.Version = &initiated, why, &p.Version
	return e.message("presence")
}

// Subscribed tells of the filters of a SUBSCRIBE that were granted.
func (p *Peer) Subscribed(now time.Time, filters []string) Event {
	e := p.event(now, "subscribed")
	e.Topics = filters
	return e.message("subscriptions")
}

// Unsubscribed tells of the filters of an UNSUBSCRIBE.
func (p *Peer) Unsubscribed(now time.Time, filters []string) Event {
	e := p.event(now, "unsubscribed")
	e.Topics = filters
	return e.message("subscriptions")
}

// Numbering counts the connections of each client id, from 0. A client that is
// away for an hour begins anew. The zero value is ready.
type Numbering struct{ of map[string]numbered }

type numbered struct {
	next  uint64
	ended int64 // unix nanoseconds, 0 while it is connected
}

const numberingKept = int64(time.Hour)

// Connect is the number of a connection that begins.
func (n *Numbering) Connect(now int64, clientID string) uint64 {
	old := func(v numbered) bool { return v.ended != 0 && now-v.ended > numberingKept }
	if len(n.of) >= 1024 && len(n.of)&(len(n.of)-1) == 0 {
		for id, v := range n.of {
			if old(v) {
				delete(n.of, id)
			}
		}
	}
	v := n.of[clientID]
	if old(v) {
		v.next = 0
	}
	if n.of == nil {
		n.of = map[string]numbered{}
	}
	n.of[clientID] = numbered{next: v.next + 1}
	return v.next
}

// Disconnect notes that the connection of that number has ended.
func (n *Numbering) Disconnect(now int64, clientID string, number uint64) {
	if v, ok := n.of[clientID]; ok && v.next == number+1 {
		n.of[clientID] = numbered{v.next, now}
	}
}
