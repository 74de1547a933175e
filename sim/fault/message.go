package fault

import (
	"time"

	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/sim/scenario"
)

// Fate is what becomes of a message. The zero Fate delivers it.
type Fate struct {
	Drop  bool
	Late  time.Duration // it arrives so much later, and what is sent after it may overtake it
	Again time.Duration // it arrives a second time, so much later; 0: once
}

// Meets counts an MQTT PUBLISH that a device sends (up) or is sent at now, and reports
// whether the strike hits it. below is its topic below $aws/things/THING/.
func (s *Strike) Meets(now time.Duration, up bool, below string) bool {
	m := &s.f.Message
	if !s.f.Messages() || m.Up != up || !s.On(now) || m.Topic != "" && !protocol.MatchFilter(m.Topic, below) {
		return false
	}
	s.seen++
	if s.seen < m.Nth || s.left == 0 || !s.chance() {
		return false
	}
	if s.left--; s.left == 0 {
		s.Until = now + m.By + 1 // it is over
	}
	return true
}

// Add is the fate of a message that the strike has hit, after what others have done to it.
func (s *Strike) Add(fate Fate) Fate {
	switch m := &s.f.Message; s.f.Effect {
	case scenario.EffectDropMessage:
		fate.Drop = true
	case scenario.EffectDuplicateMessage:
		fate.Again = max(fate.Again, m.By)
	case scenario.EffectDelayMessage:
		fate.Late += m.By
	}
	return fate
}
