package network

import (
	"time"

	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/sim/kernel"
)

// The keep-alive pings of an idle connection:
//
//	sent:       s, s+K, s+2K, ...    K after the latest packet that the client sent
//	at broker:  Ping(up, sent)       PINGREQ, 2 bytes
//	answered:   Ping(down, at broker)
//
// What a ping draws depends on the link's stream and on the time when it is sent, on
// nothing else: it moves no other packet, and can be found out without the others.

// PingBytes is the length of PINGREQ and of PINGRESP.
const PingBytes = 2

// Pong is PINGRESP as it crosses a link.
var Pong = protocol.Frame{Kind: protocol.FrameMQTT, Head: []byte{protocol.Pingresp << 4, 0}}

// PingUp is when a PINGREQ that is sent now on an idle uplink reaches the broker.
func (l *Link) PingUp(stream kernel.Rand, now time.Duration) time.Duration {
	return l.ping(stream, l.Uplink, now)
}

// PingDown is when a PINGRESP that is sent now on an idle downlink reaches the device.
func (l *Link) PingDown(stream kernel.Rand, now time.Duration) time.Duration {
	return l.ping(^stream, l.Downlink, now)
}

func (l *Link) ping(stream kernel.Rand, bitsPerSecond uint64, now time.Duration) time.Duration {
	at := now + onWire(bitsPerSecond, PingBytes, 1)
	if l.Jitter == 0 && l.Loss == 0 {
		return at + max(l.Latency, MinDelay)
	}
	r := stream ^ kernel.Rand(now)
	r = kernel.Rand(r.Uint64())
	return at + l.delay(&r, 1)
}

// Prompt reports whether every ping of this link is answered before the client gives up.
func (l *Link) Prompt() bool {
	return l.Loss == 0 && onWire(l.Uplink, PingBytes, 1)+onWire(l.Downlink, PingBytes, 1)+2*max(l.Latency+l.Jitter, MinDelay) < pingTimeout
}

// Prompt reports whether one ping is answered before the client gives up.
func Prompt(sent, answered time.Duration) bool { return answered-sent < pingTimeout }

// Interval is how long the client is silent before it pings.
func (c *Client) Interval() time.Duration { return c.keepAlive }

// PingDue is when the client, with its last ping answered, sends the next one if it
// sends nothing before. ok is false when it waits for something else.
func (c *Client) PingDue() (at time.Duration, ok bool) {
	return c.due, c.state == online && !c.pinging
}

// Ping is PINGREQ: the caller puts it on the link.
func (c *Client) Ping(now time.Duration) {
	c.lastSent, c.pinging, c.due = now, true, now+pingTimeout
}

// Pong is PINGRESP.
func (c *Client) Pong() {
	c.pinging, c.due = false, c.lastSent+c.keepAlive
}

// Pinged tells that pings have been sent up to last, and answered.
func (c *Client) Pinged(last time.Duration) { c.lastSent, c.due = last, last+c.keepAlive }

// Await makes the client wait for the answer to a ping sent before.
func (c *Client) Await(sent time.Duration) {
	c.pinging = true
	if c.lastSent == sent {
		c.due = sent + pingTimeout
	}
}
