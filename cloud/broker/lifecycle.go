package broker

import (
	"fmt"
	"strconv"
	"time"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/broker/rules"
	"github.com/otasim/otasim/cloud/protocol"
)

// Lifecycle events are worded only while somebody may hear them. The numbers of
// connections count from then on.

// peer describes a connection; virtual links have no address, so it gets one of
// its own out of 10.0.0.0/8.
func (b *Broker) peer(c *connection, clientID string) rules.Peer {
	return rules.Peer{ClientID: clientID, Principal: c.principal.Certificate.ID(), Version: c.number,
		Session: aws.Seed{}.UUID("connection " + clientID + " " + strconv.FormatInt(c.start, 10) + " " + strconv.FormatUint(uint64(c.id), 10)),
		IP:      fmt.Sprintf("10.%d.%d.%d", byte(c.id>>16), byte(c.id>>8), byte(c.id))}
}

func (b *Broker) tell(now int64, e rules.Event) { b.publish(now, e.Topic, e.Payload, 1) }

func (b *Broker) connected(now int64, c *connection) {
	if b.watchers == 0 {
		return
	}
	c.number = b.numbers.Connect(now, c.session.clientID)
	if p := b.peer(c, c.session.clientID); !p.Silent() {
		b.tell(now, p.Connected(time.Unix(0, now)))
	}
}

func (b *Broker) disconnected(now int64, c *connection, clientID string, why rules.Reason) {
	b.numbers.Disconnect(now, clientID, c.number)
	if b.watchers == 0 {
		return
	}
	if p := b.peer(c, clientID); !p.Silent() {
		b.tell(now, p.Disconnected(time.Unix(0, now), why))
	}
}

func (b *Broker) subscribed(now int64, c *connection, p *protocol.Packet, codes []byte) {
	if b.watchers == 0 {
		return
	}
	var granted []string
	for i, f := range p.Filters {
		if codes[i] != protocol.SubackFailure {
			granted = append(granted, f.Topic)
		}
	}
	if who := b.peer(c, c.session.clientID); len(granted) > 0 && !who.Silent() {
		b.tell(now, who.Subscribed(time.Unix(0, now), granted))
	}
}

func (b *Broker) unsubscribed(now int64, c *connection, p *protocol.Packet) {
	if b.watchers == 0 {
		return
	}
	filters := make([]string, len(p.Filters))
	for i, f := range p.Filters {
		filters[i] = f.Topic
	}
	if who := b.peer(c, c.session.clientID); !who.Silent() {
		b.tell(now, who.Unsubscribed(time.Unix(0, now), filters))
	}
}
