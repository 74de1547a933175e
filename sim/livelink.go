package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/otasim/otasim/sim/fault"
	"github.com/otasim/otasim/sim/live"
	"github.com/otasim/otasim/sim/network"
)

// livePath is a device's link and the faults on it, for its sockets. What virtual time
// does to frames it does to what TLS writes and reads.
type livePath struct {
	u        *unit
	up, down network.Direction
}

// severed is the end of a connection that a fault wants.
type severed struct {
	told bool
	why  string
}

// dialTimeout is after how long a device gives up an attempt that nobody answers.
const dialTimeout = 30 * time.Second

// path is what the sockets of a device go through, nil if nothing is in their way.
func (w *liveWorld) path(u *unit, device int) live.Path {
	t := &w.fleet.things[device]
	if *t.link == (network.Link{}) && (u.a.trouble == nil || len(u.a.trouble.strikes) == 0) {
		return nil
	}
	return &livePath{u: u, up: network.Direction{Rand: w.seed.Stream("uplink/" + t.name)}, down: network.Direction{Rand: w.seed.Stream("downlink/" + t.name)}}
}

func (p *livePath) link() *network.Link { return p.u.a.link }

// Up implements live.Path.
func (p *livePath) Up(connection uint32, now time.Duration, n int) (time.Duration, bool) {
	p.u.lock.Lock()
	defer p.u.lock.Unlock()
	l := p.link()
	at := p.up.Send(l, l.Uplink, now, n)
	if t := p.u.a.trouble; t != nil {
		return t.hop.Up(t.strikes, connection, now, at, n)
	}
	return at, true
}

// Down implements live.Path.
func (p *livePath) Down(connection uint32, now time.Duration, n int) (time.Duration, bool) {
	p.u.lock.Lock()
	defer p.u.lock.Unlock()
	l := p.link()
	at := p.down.Send(l, l.Downlink, now, n)
	if t := p.u.a.trouble; t != nil {
		after, ok := t.hop.Down(t.strikes, connection, at, n)
		return max(at, after), ok
	}
	return at, true
}

var errNoAnswer = errors.New("no answer")

// Dial implements live.Path.
func (p *livePath) Dial(ctx context.Context) error {
	clock := p.u.w.clock
	what, why := fault.DialGoes, ""
	p.u.lock.Lock()
	now := clock.Now()
	if t := p.u.a.trouble; t != nil {
		what, why = fault.Dialing(t.strikes, now)
	}
	p.u.lock.Unlock()
	switch what {
	case fault.DialFails:
		return errors.New(why)
	case fault.DialPortal:
		return fmt.Errorf("x509: certificate signed by unknown authority: %s", "portal.local")
	case fault.DialUnanswered:
		p.u.w.waiting(p, now+dialTimeout)
		defer p.u.w.waiting(p, live.Never)
		clock.Wait(ctx, now+dialTimeout, nil)
		return errNoAnswer
	}
	return nil
}

// waiting notes until when an attempt to connect waits.
func (w *liveWorld) waiting(p *livePath, until time.Duration) {
	w.dialsMu.Lock()
	defer w.dialsMu.Unlock()
	if w.dials == nil {
		w.dials = map[*livePath]time.Duration{}
	}
	if w.dials[p] = until; until == live.Never {
		delete(w.dials, p)
	}
}

// onTheWay is when the next thing arrives that is on its way, live.Never if nothing is.
func (w *liveWorld) onTheWay() time.Duration {
	next := w.flights.Next()
	w.dialsMu.Lock()
	defer w.dialsMu.Unlock()
	for _, at := range w.dials {
		next = min(next, at)
	}
	return next
}

// sever has the network end a device's connection, once the step is over. The shard is
// locked.
func (w *liveWorld) sever(a *actor, told bool, why string) {
	w.units[a.id].severed = &severed{told, why}
}
