// Package network models the way between a device and the cloud in virtual time:
// a TCP connection with latency, jitter, bandwidth and loss, and the MQTT client
// that the device's firmware would link against.
//
// All arithmetic is on integers, so a run is the same on every architecture.
package network

import (
	"math/bits"
	"time"

	"github.com/otasim/otasim/sim/kernel"
)

// Link describes both directions between one device and the cloud.
type Link struct {
	Latency  time.Duration // one way
	Jitter   time.Duration // uniform in [-Jitter, +Jitter] around Latency
	Downlink uint64        // bits per second towards the device, 0: unlimited
	Uplink   uint64        // bits per second from the device, 0: unlimited
	Loss     uint64        // parts per million of the TCP segments
}

// MinDelay is the least time a frame can take on any link: the kernel's
// lookahead rests on it.
const MinDelay = time.Microsecond

// Floor is the smallest delay this link can have.
func (l *Link) Floor() time.Duration { return max(l.Latency-l.Jitter, MinDelay) }

// What a frame costs on the wire besides itself: a TLS 1.3 record (5 byte header,
// 1 byte content type, 16 byte tag) and an IPv4 + TCP header for each segment.
const (
	recordOverhead  = 22
	segmentOverhead = 40
	segmentSize     = 1460
)

// retransmit is TCP's initial retransmission timeout floor (RFC 6298 allows 1 s;
// common stacks use 200 ms), doubled for each further loss of the same segment.
const retransmit = 200 * time.Millisecond

// A Direction is one half of a link: what is sent arrives in order.
type Direction struct {
	Rand kernel.Rand
	free time.Duration // the sender's interface is busy until then
	last time.Duration // the latest arrival so far
}

// Send returns when n bytes handed to TCP at now have arrived at the other end.
func (d *Direction) Send(l *Link, bitsPerSecond uint64, now time.Duration, n int) time.Duration {
	segments := (n + recordOverhead + segmentSize - 1) / segmentSize
	start := max(now, d.free) + onWire(bitsPerSecond, n, segments)
	d.free = start
	d.last = max(d.last, start+l.delay(&d.Rand, segments))
	return d.last
}

// onWire is how long the sender's interface is busy with n bytes.
func onWire(bitsPerSecond uint64, n, segments int) time.Duration {
	if bitsPerSecond == 0 {
		return 0
	}
	wire := uint64(n + recordOverhead + segments*segmentOverhead)
	hi, lo := bits.Mul64(wire*8, uint64(time.Second))
	q, _ := bits.Div64(hi, lo, bitsPerSecond)
	return time.Duration(q)
}

// delay draws what latency, jitter and loss make of some segments.
func (l *Link) delay(r *kernel.Rand, segments int) time.Duration {
	delay := l.Latency
	if l.Jitter > 0 {
		delay += time.Duration(r.Below(uint64(2*l.Jitter)+1)) - l.Jitter
	}
	delay = max(delay, MinDelay)
	if l.Loss > 0 {
		for range segments {
			for rto := retransmit; rto <= 64*retransmit && r.Below(1_000_000) < l.Loss; rto *= 2 {
				delay += rto + 2*l.Latency
			}
		}
	}
	return delay
}

// Last is the latest arrival so far.
func (d *Direction) Last() time.Duration { return d.last }

// Keep is at, or the latest arrival so far: what is sent arrives in order.
func (d *Direction) Keep(at time.Duration) time.Duration {
	d.last = max(d.last, at)
	return d.last
}
