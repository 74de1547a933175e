package sim

import (
	"iter"
	"time"

	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/flashmodel"
)

// A session is the goroutine that a device runs on while it has something in
// hand. In virtual time the kernel resumes exactly one goroutine of a shard at a
// time; a session parks in this file, two frames deep, and nothing that must
// survive a park is on its stack: the device's RAM is one value that Step works
// on. So an idle device gives its session back, and losing power is a panic that
// unwinds Step and goes no further than run.
type session struct {
	next func() (struct{}, bool)
	stop func()

	// What the next resumption is about; set by the shard, used by the session.
	dev  *device.Device
	now  time.Duration
	ev   device.Event
	lost bool
}

func newSession() *session {
	s := &session{}
	s.next, s.stop = iter.Pull(s.run)
	return s
}

// run is the goroutine: step, park, step, park.
func (s *session) run(park func(struct{}) bool) {
	for {
		s.lost = flashmodel.LosesPower(s.step)
		if !park(struct{}{}) {
			return
		}
	}
}

func (s *session) step() { s.dev.Step(s.now, s.ev) }

// sessions is one shard's pool of parked goroutines.
type sessions struct {
	free []*session
	all  []*session
	// direct steps devices without a goroutine, as exploration does; the trace
	// must not change (TestStepsWithoutGoroutines).
	direct bool
}

func (p *sessions) get() *session {
	if n := len(p.free); n > 0 {
		s := p.free[n-1]
		p.free = p.free[:n-1]
		return s
	}
	s := newSession()
	p.all = append(p.all, s)
	return s
}

func (p *sessions) put(s *session) {
	s.dev, s.ev = nil, device.Event{}
	p.free = append(p.free, s)
}

// close ends every goroutine of the pool.
func (p *sessions) close() {
	for _, s := range p.all {
		s.stop()
	}
	p.all, p.free = nil, nil
}

// step runs one event of a device on its session, and reports whether the device
// lost power while it ran.
func (p *sessions) step(a *actor, now time.Duration, ev device.Event) (lost bool) {
	if p.direct {
		return flashmodel.LosesPower(func() { a.dev.Step(now, ev) })
	}
	if a.sess == nil {
		a.sess = p.get()
	}
	s := a.sess
	s.dev, s.now, s.ev = a.dev, now, ev
	s.next()
	return s.lost
}

// park gives the session back when the device has nothing in hand.
func (p *sessions) park(a *actor) {
	if a.sess != nil {
		p.put(a.sess)
		a.sess = nil
	}
}
