package broker

import (
	"time"

	"github.com/otasim/otasim/cloud/broker/rules"
)

// A connection that is silent for one and a half keep-alives ends. The alarm of one
// that has been heard is not moved each time: when it rings, the broker looks again.

// watch ends a silent connection, or looks again when it would be silent.
func (b *Broker) watch(now int64, c *connection) {
	if due := c.seen + c.patience; due > now {
		b.looks++
		b.cfg.Agenda.Plan(&c.alarm, due)
		return
	}
	b.end(now, c, rules.KeepAliveTimeout, true)
}

// Looks is how often the broker has looked again after a connection.
func (b *Broker) Looks() int { return b.looks }

// Ping takes a PINGREQ of a client, and counts the PINGRESP that the caller puts on
// the link. more is the caller's word that the client goes on to ping within its
// keep-alive, though the broker is not told of each ping; the word holds until
// Unheard, and the caller counts these pings.
func (b *Broker) Ping(now time.Time, id ConnID, more bool) {
	c := b.conns[id]
	if c == nil || c.session == nil {
		return
	}
	c.seen = now.UnixNano()
	b.stats.MessagesIn++
	b.stats.BytesIn += uint64(len(pingresp))
	b.stats.MessagesOut++
	b.stats.BytesOut += uint64(len(pingresp))
	if more {
		c.pings = true
		b.cfg.Agenda.Drop(&c.alarm)
	}
}

// Unheard takes back the word that a client pings: the last ping came at seen.
func (b *Broker) Unheard(id ConnID, seen time.Time) {
	c := b.conns[id]
	if c == nil || !c.pings {
		return
	}
	c.pings = false
	c.seen = max(c.seen, seen.UnixNano())
	b.cfg.Agenda.Plan(&c.alarm, c.seen+c.patience)
}
