// Package fault turns the faults of a scenario into things that happen to
// devices, each drawn from its own random stream.
//
//	scenario.Fault ── Targets, Shares ── per device ──┬── PowerCut   power-cut
//	                                                  └── Strike     everything else that happens at a device
//
// A Strike has its moment (a point of the device's program, times, or now) and how
// long it lasts. What it does then is done by the world: Hop for a link, Media for
// a flash chip, Clock for a clock.
package fault

import (
	"fmt"
	"time"

	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/sim/kernel"
	"github.com/otasim/otasim/sim/scenario"
)

// Never is the end of what lasts to the end of the run.
const Never = time.Duration(1<<63 - 1)

// Targets draws the devices a fault meets: candidates are device numbers in order.
// At least one is drawn where the fraction is not zero.
func Targets(seed kernel.Seed, what string, candidates []int, fraction uint64) []int {
	n := int((uint64(len(candidates))*fraction + scenario.Million/2) / scenario.Million)
	if n == 0 && fraction > 0 && len(candidates) > 0 {
		n = 1
	}
	r := seed.Stream("targets/" + what)
	picked := append([]int(nil), candidates...)
	r.Shuffle(len(picked), func(i, j int) { picked[i], picked[j] = picked[j], picked[i] })
	return picked[:n]
}

// Shares says how often a fault may strike each of n targets: as often as times says
// (-1: without end) or, with a budget, a share of it drawn from the seed.
func Shares(seed kernel.Seed, f *scenario.Fault, n int) []int {
	out := make([]int, n)
	for i := range out {
		if out[i] = f.Times; f.Times == 0 {
			out[i] = -1
		}
	}
	if f.Budget == 0 {
		return out
	}
	r := seed.Stream("budget/" + f.Name)
	if f.Times == 0 {
		clear(out)
		for range f.Budget {
			out[r.Below(uint64(n))]++
		}
		return out
	}
	tickets := make([]int, n*f.Times)
	for i := range tickets {
		tickets[i] = i % n
	}
	r.Shuffle(len(tickets), func(i, j int) { tickets[i], tickets[j] = tickets[j], tickets[i] })
	clear(out)
	for _, t := range tickets[:min(f.Budget, len(tickets))] {
		out[t]++
	}
	return out
}

// A Strike is a fault as one device will meet it.
type Strike struct {
	Fault  int    // index in the scenario
	Phase  string // what the result counts
	At     time.Duration
	Timed  bool          // it strikes at At
	Until  time.Duration // it is in force before that
	Begun  time.Duration // when it struck last, -1: not yet
	Serial int           // how often it has struck

	f    *scenario.Fault
	left int // times it may still strike, -1: without end
	seen int // messages of its kind since it is in force
	felt int // Serial when Felt was last asked
	rand kernel.Rand
}

// NewStrike plans a fault for a device; left is how often it may strike.
func NewStrike(seed kernel.Seed, index int, f *scenario.Fault, thing string, left int) *Strike {
	s := &Strike{Fault: index, Phase: f.Effect, Begun: -1, f: f, left: left, rand: seed.Stream(fmt.Sprintf("fault/%s/%s", f.Name, thing))}
	if f.HasTime {
		s.Timed, s.At = true, max(f.TimeFrom+upTo(&s.rand, f.TimeTo-f.TimeFrom+1), 1)
	}
	return s
}

// Spec is the fault as the scenario has it.
func (s *Strike) Spec() *scenario.Fault { return s.f }

// Matches reports whether the strike waits for this point and happens there.
func (s *Strike) Matches(p device.Point, arg int) bool {
	at := s.f.At
	if at == nil || s.left == 0 || at.Point != p || at.Arg >= 0 && at.Arg != arg {
		return false
	}
	if s.f.Messages() {
		return s.Begun < 0 // it waits once for its point, and then counts messages
	}
	return s.chance()
}

func (s *Strike) chance() bool {
	return s.f.Probability == scenario.Million || s.rand.Below(scenario.Million) < s.f.Probability
}

// Begin puts the strike in force at now, and reports whether it does anything: a
// timed one may miss its chance. next is when it strikes again, 0: not by itself.
func (s *Strike) Begin(now time.Duration) (struck bool, next time.Duration) {
	if s.left == 0 {
		return false, 0
	}
	if s.f.Messages() {
		s.begin(now)
		return true, 0
	}
	if s.Timed && s.f.Every > 0 && s.left != 1 {
		next = now + s.f.Every
		if s.f.Irregular {
			next = now + s.f.Every/2 + upTo(&s.rand, s.f.Every+1)
		}
	}
	if s.Timed && !s.chance() {
		return false, next
	}
	if s.left > 0 {
		s.left--
	}
	s.begin(now)
	return true, next
}

func (s *Strike) begin(now time.Duration) {
	s.Begun, s.Until = now, Never
	s.Serial++
	if s.f.ForTo > 0 {
		s.Until = now + s.f.ForFrom + upTo(&s.rand, s.f.ForTo-s.f.ForFrom+1)
	}
}

// Felt notes that the strike has made a difference, and reports whether that is new.
func (s *Strike) Felt() bool {
	fresh := s.felt != s.Serial
	s.felt = s.Serial
	return fresh
}

// Lasts reports whether it is in force on a network: what ends a connection once is over.
func (s *Strike) Lasts(now time.Duration) bool {
	breaks, told := s.Breaks()
	return s.f.Type == scenario.FaultNetwork && !s.f.Messages() && !(breaks && told) && s.On(now)
}

// On reports whether it is in force.
func (s *Strike) On(now time.Duration) bool { return s.Begun >= 0 && s.Begun <= now && now < s.Until }
