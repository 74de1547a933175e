package sim

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/sim/live"
)

// lead is how far the clock of a device may be ahead of the world's. What its flash
// and CPU are busy with for less does not put its goroutine to sleep: a block of 4 KiB
// takes some 10 ms. Over a longer time a device is no faster than its board.
const lead = 100 * time.Millisecond

// unit is the goroutine around one device on sockets. It steps the device when mail
// or a timer calls for it, and sleeps as long as the device's flash and CPU are
// busy, but for the lead.
type unit struct {
	w      *liveWorld
	a      *actor
	sh     *shard
	lock   *sync.Mutex // of the shard
	client *live.Client
	http   *live.HTTP
	box    mailbox
	watch  watcher // nil: nobody

	// Guarded by lock.
	returns time.Duration // when mains power returns
	next    time.Duration // when something is due while it rests
	resting bool
	strikes []dueStrike // faults at times
	severed *severed    // the end of the connection that one wants, nil: none
}

// dueStrike is the i-th strike of a device, at its time, or the end of the defects that it has put over the flash.
type dueStrike struct {
	i     int
	at    time.Duration
	heals bool
}

// plan has a strike begin at a time. The shard is locked.
func (u *unit) plan(s dueStrike) {
	u.strikes = append(u.strikes, s)
	u.box.poke()
}

// strike begins what is due. The shard is locked.
func (u *unit) strike(now time.Duration) {
	for i := 0; i < len(u.strikes); i++ {
		if s := u.strikes[i]; s.at <= now {
			u.strikes = slices.Delete(u.strikes, i, i+1)
			i--
			if s.heals {
				u.sh.heal(u.a, s.i)
			} else {
				u.sh.begin(u.a, now, s.i)
			}
		}
	}
}

// watcher is told what a device says and hears on its connection, on the device's
// goroutine.
type watcher interface {
	said(u *unit, op *device.NetOp)
	heard(u *unit, ev *device.Event)
}

// mail is what comes to a device from outside.
type mail struct {
	kind       msgKind
	connection uint32 // of a msgFrame or msgHTTP: stale when there is a newer one
	event      device.Event
	name       string // of a msgMake
	nvs        []byte
}

// mailbox never blocks who puts something in.
type mailbox struct {
	mu    sync.Mutex
	queue []mail
	ready chan struct{} // there is mail, or something else to look at
}

func (b *mailbox) put(m mail) {
	b.mu.Lock()
	b.queue = append(b.queue, m)
	b.mu.Unlock()
	b.poke()
}

func (b *mailbox) poke() {
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

func (b *mailbox) take() (m mail, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		b.queue = nil
		return m, false
	}
	m = b.queue[0]
	b.queue[0] = mail{}
	b.queue = b.queue[1:]
	return m, true
}

func (b *mailbox) empty() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.queue) == 0
}

// event is called by the MQTT client.
func (u *unit) event(connection uint32, ev device.Event) {
	u.box.put(mail{kind: msgFrame, connection: connection, event: ev})
}

// fetched is called by the HTTP client.
func (u *unit) fetched(connection uint32, ev device.Event) {
	u.box.put(mail{kind: msgHTTP, connection: connection, event: ev})
}

// rests reports whether the device can do nothing before next. Its shard is locked.
func (u *unit) rests(now time.Duration) bool {
	return u.resting && u.next > now && u.box.empty() && (u.a.dev == nil || u.a.idle())
}

func (u *unit) run(ctx context.Context) {
	defer u.client.Close()
	if u.watch != nil {
		defer u.client.Leave()
	}
	defer u.http.Close()
	for ctx.Err() == nil {
		if ahead := u.busyUntil() - lead; u.w.clock.Now() < ahead {
			u.w.clock.Wait(ctx, ahead, nil)
			continue
		}
		if m, ok := u.box.take(); ok {
			if u.watch != nil && m.kind == msgFrame {
				u.watch.heard(u, &m.event)
			}
			u.mail(ctx, m)
			continue
		}
		if u.w.clock.Wait(ctx, u.rest(), u.box.ready) {
			u.alarm(ctx)
		}
		u.rise()
	}
}

// wall is the device's clock. It is asked from goroutines of its connections.
func (u *unit) wall() time.Time {
	u.lock.Lock()
	defer u.lock.Unlock()
	return u.w.epoch.Add(u.sh.wall(u.a, u.w.clock.Now()))
}

// powerOn gives the device power.
func (u *unit) powerOn(now time.Duration) bool {
	if t := u.a.trouble; t != nil {
		t.boot = now
		if u.a.cutBy == nil {
			u.sh.arm(u.a)
		}
	}
	return u.step(now, device.Event{Kind: device.PowerOn})
}

func (u *unit) busyUntil() time.Duration {
	u.lock.Lock()
	defer u.lock.Unlock()
	if u.a.dev == nil {
		return 0
	}
	return u.a.dev.BusyUntil()
}

// rest returns when something is due.
func (u *unit) rest() time.Duration {
	u.lock.Lock()
	defer u.lock.Unlock()
	u.resting, u.next = true, u.returns
	if u.a.powered() {
		u.next = live.Never
		if at, ok := u.a.dev.NextWake(); ok {
			u.next = at
		}
		if u.a.cutAt > 0 {
			u.next = min(u.next, u.a.cutAt)
		}
	}
	for _, s := range u.strikes {
		u.next = min(u.next, s.at)
	}
	return u.next
}

func (u *unit) rise() {
	u.lock.Lock()
	defer u.lock.Unlock()
	u.resting = false
}

// alarm does what is due.
func (u *unit) alarm(ctx context.Context) {
	u.do(ctx, func(now time.Duration) bool {
		a := u.a
		if !a.powered() {
			if u.returns > now {
				return false
			}
			u.returns = live.Never
			return u.powerOn(now)
		}
		at, ok := a.dev.NextWake()
		return ok && at <= now && u.step(now, device.Event{Kind: device.Wake})
	})
}

// mail handles one piece of it.
func (u *unit) mail(ctx context.Context, m mail) {
	u.do(ctx, func(now time.Duration) bool {
		a := u.a
		switch m.kind {
		case msgFrame:
			return a.powered() && m.connection == u.client.Connection() && u.step(now, m.event)
		case msgHTTP:
			return a.powered() && m.connection == u.http.Connection() && u.step(now, m.event)
		case msgPowerOn:
			return a.dev != nil && !a.powered() && u.powerOn(now)
		case msgPowerOff:
			if a.powered() {
				u.sh.lost(a, now)
			}
		case msgMake:
			if a.powered() {
				u.sh.lost(a, now)
			}
			if err := u.sh.make(int32(u.index()), m.name, m.nvs); err != nil {
				panic(fmt.Sprintf("sim: device %s, of a kind that was made before: %v", m.name, err))
			}
			return u.powerOn(now)
		}
		return false
	})
}

// index is the device's number; the actor of a device that was not made yet has none.
func (u *unit) index() int { return slices.Index(u.w.units, u) }

// do lets fn work on the device, after a power cut that is due, and then carries out
// the network operations of the step, each in its time.
func (u *unit) do(ctx context.Context, fn func(now time.Duration) (stepped bool)) {
	u.lock.Lock()
	now := u.w.clock.Now()
	var ops []device.NetOp
	u.strike(now)
	if a := u.a; a.cutAt > 0 && a.cutAt <= now {
		u.sh.lost(a, a.cutAt)
	} else if fn(now) {
		ops = slices.Clone(a.dev.Ops())
		for i := range ops {
			u.sh.tells(a, now, &ops[i])
		}
	}
	if u.a.dev != nil {
		u.sh.settle(u.a, now)
	}
	changed := u.sh.dirty
	end := u.severed
	u.severed = nil
	u.lock.Unlock()
	if end != nil {
		u.client.Sever(end.told, end.why)
		if !end.told { // it is the access point, not the broker's connection
			u.http.Sever(false)
		}
	}
	u.w.steps.Add(1)
	if changed {
		u.w.tell()
	}
	for i := range ops {
		if !u.w.clock.Wait(ctx, ops[i].At-lead, nil) {
			return
		}
		if ops[i].Kind >= device.OpHTTPOpen {
			u.http.Do(ops[i])
			continue
		}
		if u.watch != nil {
			u.watch.said(u, &ops[i])
		}
		u.client.Do(ops[i])
	}
}

// step runs one event of the machine.
func (u *unit) step(now time.Duration, ev device.Event) bool {
	u.sh.stepping = u.a
	lost := flashmodel.LosesPower(func() { u.a.dev.Step(now, ev) })
	u.sh.stepping = nil
	if lost {
		for _, op := range u.a.dev.Ops() {
			if op.Kind == device.OpPublish {
				u.client.Do(op) // it had left long before, see parting
			}
		}
		u.sh.lost(u.a, u.a.dev.Flash().Clock())
	}
	return !lost
}
