package fault

import (
	"time"

	"github.com/otasim/otasim/sim/kernel"
	"github.com/otasim/otasim/sim/network"
	"github.com/otasim/otasim/sim/scenario"
)

// A Hop is the part of a device's link that faults act on: behind the link on the
// way up, before the device on the way down. TCP sends again what an outage has
// swallowed, so nothing is lost but time, unless the outage has no end or somebody
// gives the connection up.
type Hop struct {
	up, down half
}

type half struct {
	network.Direction
	gen uint32 // of the connection: only within one do bytes keep their order
}

// NewHop makes a hop; the two streams draw jitter and loss.
func NewHop(up, down kernel.Rand) Hop {
	return Hop{half{network.Direction{Rand: up}, 0}, half{network.Direction{Rand: down}, 0}}
}

// The retransmission timer of TCP: RFC 6298 with the floor of common stacks.
const (
	firstRTO = 200 * time.Millisecond
	lastRTO  = time.Minute
)

// resent is when a segment that was sent at from arrives on a path that passes
// nothing before until: at the first retransmission after that.
func resent(from, until time.Duration) time.Duration {
	for rto := firstRTO; from < until; rto = min(2*rto, lastRTO) {
		from += rto
	}
	return from
}

// Up is when n bytes that the device sent on connection gen at now, and that the link
// would bring at at, arrive under the strikes; ok is false if they never do.
func (h *Hop) Up(strikes []*Strike, gen uint32, now, at time.Duration, n int) (time.Duration, bool) {
	return h.up.pass(strikes, gen, now, at, n, true)
}

// Down is when n bytes that the link brought at now reach the device.
func (h *Hop) Down(strikes []*Strike, gen uint32, now time.Duration, n int) (time.Duration, bool) {
	return h.down.pass(strikes, gen, now, now, n, false)
}

func (d *half) pass(strikes []*Strike, gen uint32, now, at time.Duration, n int, up bool) (time.Duration, bool) {
	if d.gen != gen {
		d.gen, d.Direction = gen, network.Direction{Rand: d.Rand}
	}
	for _, s := range strikes {
		if s.f.Type != scenario.FaultNetwork || !s.On(now) {
			continue
		}
		l := &s.f.Link
		if up && l.Up || !up && l.Down {
			if s.Until == Never {
				return 0, false
			}
			at = max(at, resent(now, s.Until))
		}
		if s.f.Effect == scenario.EffectDegrade {
			link := network.Link{Latency: l.Latency, Jitter: l.Jitter, Downlink: l.Downlink, Uplink: l.Uplink, Loss: l.Loss}
			rate := l.Uplink
			if !up {
				rate = l.Downlink
			}
			at = d.Send(&link, rate, at, n)
		}
	}
	return d.Keep(at), true
}

// Clear reports whether nothing is held back any more.
func (h *Hop) Clear(now time.Duration) bool { return h.up.Last() <= now && h.down.Last() <= now }

// Touch reports whether a strike in force holds back, loses or delays packets.
func Touch(strikes []*Strike, now time.Duration) bool {
	for _, s := range strikes {
		if s.f.Type == scenario.FaultNetwork && (s.f.Link.Up || s.f.Link.Down || s.f.Effect == scenario.EffectDegrade) && s.On(now) {
			return true
		}
	}
	return false
}

// Dial says what a new connection meets.
type Dial int

// The values of Dial.
const (
	DialGoes       Dial = iota
	DialUnanswered      // until the client gives up
	DialFails           // at once: no access point, or no name
	DialPortal          // something else answers
)

// Dialing is what a device's attempt to connect meets at now, and why.
func Dialing(strikes []*Strike, now time.Duration) (Dial, string) {
	for _, s := range strikes {
		if s.f.Type != scenario.FaultNetwork || !s.On(now) {
			continue
		}
		switch s.f.Effect {
		case scenario.EffectAPOutage:
			return DialFails, "no access point"
		case scenario.EffectDNS:
			return DialFails, "couldn't get hostname"
		case scenario.EffectCaptive:
			return DialPortal, ""
		case scenario.EffectOutage, scenario.EffectOneWay:
			return DialUnanswered, ""
		}
	}
	return DialGoes, ""
}

// Breaks says whether the strike ends the connection the moment it begins, and
// whether the broker is told.
func (s *Strike) Breaks() (breaks, told bool) {
	switch s.f.Effect {
	case scenario.EffectDisconnect, scenario.EffectReconnectStorm:
		return true, true
	case scenario.EffectAPOutage:
		return true, false
	}
	return false, false
}
