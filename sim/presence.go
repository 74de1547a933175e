package sim

import (
	"strconv"
	"time"

	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/sim/kernel"
	"github.com/otasim/otasim/sim/scenario"
)

// patience is how long a device that should fall asleep waits to look again whether
// its update is over.
const patience = 5 * time.Second

// presence is when one device is awake. It is made anew each time it is asked for, so
// that a million sleepers need no memory for it.
type presence struct {
	*scenario.Presence
	seed   kernel.Seed
	name   string
	offset time.Duration // of window 0
}

// presence of a device; ok is false for one that is always there.
func (f *fleet) presence(i int) (p presence, ok bool) {
	t := &f.things[i]
	all := t.config.Presence
	if len(all) == 0 {
		return p, false
	}
	r := f.seed.Stream("presence/" + t.name)
	at := r.Below(scenario.Million)
	for k := range all {
		if p.Presence = &all[k]; at < p.Weight {
			break
		}
		at -= min(at, p.Weight)
	}
	p.seed, p.name = f.seed, t.name
	switch {
	case p.Daily:
		zone := time.Duration(p.Timezones[r.Below(uint64(len(p.Timezones)))]) * time.Hour
		p.offset = (p.From - zone) % p.Every
		if p.offset > 0 { // a window that began before t = 0 may still be open
			p.offset -= p.Every
		}
	case p.Every > 0:
		p.offset = time.Duration(r.Below(uint64(p.Every))) - p.Every
	}
	return p, p.Off || p.Every > 0
}

// window is the first one that is still open after now.
func (p *presence) window(now time.Duration) (from, to time.Duration) {
	for n := max(0, int64((now-p.offset)/p.Every)-1); ; n++ {
		from = p.offset + time.Duration(n)*p.Every
		if p.Jitter > 0 {
			r := p.seed.Stream("window/" + p.name + "/" + strconv.FormatInt(n, 10))
			from += time.Duration(r.Below(uint64(2*p.Jitter)+1)) - p.Jitter
		}
		if to = from + p.For; to > now {
			return max(from, now), to
		}
	}
}

// begin is when a device of t = 0 is first switched on; ok is false if it never is.
func (f *fleet) begin(i int) (at time.Duration, ok bool) {
	at = f.start(i)
	p, sleeps := f.presence(i)
	switch {
	case !sleeps:
		return at, true
	case p.Off:
		return 0, false
	}
	at, _ = p.window(at)
	return at, true
}

// asleep reports whether a device is a sleeper outside its window, which mains power
// that comes back does not wake.
func (sh *shard) asleep(a *actor, now time.Duration) bool {
	p, ok := sh.w.fleet.presence(int(a.id))
	if !ok || p.Off {
		return false
	}
	from, _ := p.window(now)
	return from > now
}

// rise switches a device on, a sleeper for its window.
func (sh *shard) rise(a *actor, now time.Duration) {
	if p, ok := sh.w.fleet.presence(int(a.id)); ok && !p.Off {
		_, to := p.window(now)
		sh.k.Send(a.id, to, msg{kind: msgSleep})
	}
	if a.dev != nil && !a.powered() {
		if a.trouble != nil {
			sh.arm(a)
			a.trouble.boot = now
		}
		sh.step(a, now, device.Event{Kind: device.PowerOn})
	}
}

// doze lets a sleeper fall asleep at the end of its window: at once, or when it has
// nothing in hand.
func (sh *shard) doze(a *actor, now time.Duration) {
	p, ok := sh.w.fleet.presence(int(a.id))
	if !ok {
		return
	}
	if a.powered() && !a.idle() && !p.Interrupts {
		sh.k.Send(a.id, now+patience, msg{kind: msgSleep})
		return
	}
	if a.powered() {
		sh.lost(a, now)
	}
	from, _ := p.window(now)
	sh.k.Send(a.id, max(from, now+1), msg{kind: msgRise})
}
