package live

import (
	"context"
	"math"
	"sync"
	"time"
)

// Speed is how much faster than the wall's the time of the world runs, on a machine
// that keeps up.
const Speed = 10

// The clock of a run advances by ticks of a goroutine that waits its turn among all others,
// and by no more than a slice for each. So it slows down when the machine is busy:
// what takes a message ten turns on its way takes it ten slices of the world's time
// at most, 0.5 s, and no device gives up waiting because the host was slow.
const (
	tick  = 2 * time.Millisecond
	slice = 5 * time.Millisecond
)

// Never is a time that does not come.
const Never = time.Duration(math.MaxInt64)

// A Clock is the time of the world since its start.
type Clock struct {
	speed      time.Duration
	slice      time.Duration // most that passes on the wall's clock between two ticks
	quit, over chan struct{} // nil: nothing ticks

	mu   sync.Mutex
	at   time.Duration // when last ticked
	last time.Time     // the wall's clock then
	leap chan struct{} // closed by the next Skip
}

// NewClock returns a clock that starts now. It must be closed.
func NewClock() *Clock {
	c := &Clock{speed: Speed, slice: slice, quit: make(chan struct{}), over: make(chan struct{}), last: time.Now(), leap: make(chan struct{})}
	go c.run()
	return c
}

// NewWallClock returns a clock that goes like the wall's, whatever the machine does,
// and stands at a time now. It need not be closed.
func NewWallClock(at time.Duration) *Clock { return NewSteadyClock(at, 1) }

// NewSteadyClock is NewWallClock, but faster than the wall's.
func NewSteadyClock(at time.Duration, speed int) *Clock {
	return &Clock{speed: time.Duration(speed), slice: Never, at: at, last: time.Now(), leap: make(chan struct{})}
}

func (c *Clock) run() {
	defer close(c.over)
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			c.mu.Lock()
			c.tick()
			c.mu.Unlock()
		case <-c.quit:
			return
		}
	}
}

// tick is called with mu held.
func (c *Clock) tick() {
	now := time.Now()
	c.at += min(now.Sub(c.last), c.slice) * c.speed
	c.last = now
}

// Close stops the clock.
func (c *Clock) Close() {
	close(c.quit)
	<-c.over
}

// Now is the time of the world.
func (c *Clock) Now() time.Duration {
	now, _ := c.read()
	return now
}

func (c *Clock) read() (now time.Duration, leap <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at + min(time.Since(c.last), c.slice)*c.speed, c.leap
}

// Skip leaps to a time, unless it is over already. Everybody who waits looks again.
func (c *Clock) Skip(to time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tick()
	if to > c.at {
		c.at = to
		close(c.leap)
		c.leap = make(chan struct{})
	}
}

// Wait waits for a time of the world. It returns early, with false, when ctx ends or
// when there is something in wake.
func (c *Clock) Wait(ctx context.Context, at time.Duration, wake <-chan struct{}) bool {
	for {
		now, leap := c.read()
		if now >= at {
			return ctx.Err() == nil
		}
		if !c.pause(ctx, at, now, leap, wake) {
			return false
		}
	}
}

// after calls f in its own goroutine once d of the world's time is over, or somewhat
// earlier when the clock slows down.
func (c *Clock) after(d time.Duration, f func()) *time.Timer { return time.AfterFunc(d/c.speed, f) }

// pause sleeps until the clock may have reached a time.
func (c *Clock) pause(ctx context.Context, at, now time.Duration, leap, wake <-chan struct{}) bool {
	var due <-chan time.Time
	if at != Never {
		t := time.NewTimer((at-now)/c.speed + time.Microsecond)
		defer t.Stop()
		due = t.C
	}
	select {
	case <-due:
	case <-leap:
	case <-wake:
		return false
	case <-ctx.Done():
		return false
	}
	return true
}
