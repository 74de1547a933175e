package broker

import (
	"time"

	"github.com/otasim/otasim/cloud/agenda"
	"github.com/otasim/otasim/cloud/protocol"
)

// held is what waits because a connection has exceeded its throughput. Each
// direction keeps its order.
type held struct {
	in      []func(now int64) // the first has had its turn in the limiter
	out     []later
	inward  agenda.Entry
	outward agenda.Entry
}

type later struct {
	due   int64
	frame protocol.Frame
}

func (b *Broker) holding(c *connection) *held {
	if c.held == nil {
		h := &held{}
		h.inward.Run = func(now int64) { b.admit(now, c) }
		h.outward.Run = func(now int64) { b.release(now, c) }
		c.held = h
	}
	return c.held
}

// hold puts off what a client's packet does, and all packets that follow.
func (b *Broker) hold(now int64, c *connection, wait time.Duration, do func(now int64)) {
	h := b.holding(c)
	h.in = append(h.in, do)
	b.cfg.Agenda.Plan(&h.inward, now+int64(wait))
}

// admit does what hold has put off, until something has to wait again.
func (b *Broker) admit(now int64, c *connection) {
	h := c.held
	list := h.in
	h.in = nil
	for i, do := range list {
		do(now)
		if c.closed {
			return
		}
		if h.in != nil {
			h.in = append(h.in, list[i+1:]...)
			return
		}
	}
}

// emitLater sends a frame behind those that wait already.
func (b *Broker) emitLater(now int64, c *connection, f protocol.Frame, wait time.Duration) {
	if wait == 0 && (c.held == nil || len(c.held.out) == 0) {
		b.emit(c, f)
		return
	}
	h := b.holding(c)
	h.out = append(h.out, later{now + int64(wait), f})
	if len(h.out) == 1 {
		b.cfg.Agenda.Plan(&h.outward, h.out[0].due)
	}
}

func (b *Broker) release(now int64, c *connection) {
	h := c.held
	for len(h.out) > 0 && h.out[0].due <= now {
		b.emit(c, h.out[0].frame)
		h.out = h.out[1:]
	}
	if len(h.out) == 0 {
		h.out = nil
		return
	}
	b.cfg.Agenda.Plan(&h.outward, h.out[0].due)
}

// unhold drops what waits for a connection that is over.
func (b *Broker) unhold(c *connection) {
	if c.held != nil {
		b.cfg.Agenda.Drop(&c.held.inward)
		b.cfg.Agenda.Drop(&c.held.outward)
		c.held = nil
	}
}
