package scenario

import (
	"time"

	"github.com/otasim/otasim/sim/scenario/file"
)

// presence reads the patterns of a device and their weights.
func (b *builder) presence(f *file.OneOrMany[file.Presence]) []Presence {
	out := make([]Presence, 0, len(f.List))
	var sum uint64
	complete := true
	for i := range f.List {
		v := &f.List[i]
		p := b.pattern(v)
		switch {
		case f.Many && v.Weight.Node == nil:
			complete = false
			b.fail(v.Place, "weight: 50%", "a pattern in a list needs a weight")
		case !f.Many:
			b.fail(v.Weight.Node, "a weight belongs to a list of patterns", "a single pattern has no weight")
			p.Weight = Million
		}
		sum += p.Weight
		out = append(out, p)
	}
	if f.Many && complete && sum != Million && len(out) > 0 {
		b.fail(f.List[0].Place, "", "the weights of presence add up to %d.%04d%%, not to 100%%", sum/10_000, sum%10_000)
	}
	return out
}

func (b *builder) pattern(v *file.Presence) Presence {
	p := Presence{Weight: v.Weight.Value, Off: v.Off.Value, Interrupts: v.Interrupts.Value}
	ways := 0
	for _, has := range []bool{v.Wake != nil, v.Hours != nil, v.Off.Value} {
		if has {
			ways++
		}
	}
	if ways > 1 {
		b.fail(v.Place, "", "only one of wake, hours and off")
		return p
	}
	switch {
	case v.Wake != nil:
		p.Every, p.For, p.Jitter = v.Wake.Every.Value, v.Wake.For.Value, v.Wake.Jitter.Value
		if p.Every <= 0 && v.Wake.Every.Node != nil {
			b.fail(v.Wake.Every.Node, "", "every must be longer than 0")
		}
		b.awake(v.Wake.For.Node, v.Wake.Jitter.Node, &p)
	case v.Hours != nil:
		h := v.Hours
		p.Daily, p.Every, p.From, p.For, p.Jitter = true, 24*time.Hour, h.From.Value, h.For.Value, h.Jitter.Value
		if p.From >= 24*time.Hour {
			b.fail(h.From.Node, "8h30m is half past eight", "a day has 24 hours")
		}
		b.awake(h.For.Node, h.Jitter.Node, &p)
		for _, z := range h.Timezones {
			p.Timezones = append(p.Timezones, int(z.Value))
		}
		if len(p.Timezones) == 0 {
			p.Timezones = []int{0}
		}
	}
	return p
}

// awake checks that one window ends before the next one begins.
func (b *builder) awake(length, jitter *file.Node, p *Presence) {
	switch {
	case p.For <= 0:
		b.fail(length, "off: true is a device that is never there", "for must be longer than 0")
	case p.For+2*p.Jitter >= p.Every && jitter != nil:
		b.fail(jitter, "", "with this jitter a window can reach the next one")
	case p.For >= p.Every:
		b.fail(length, "leave presence out for a device that is always there", "a window of %s every %s never ends", p.For, p.Every)
	}
}
