package fault

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/sim/kernel"
	"github.com/otasim/otasim/sim/scenario"
)

func TestBudgetIsKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := &scenario.Fault{Name: "f", Times: rapid.IntRange(0, 5).Draw(t, "times"), Budget: rapid.IntRange(1, 200).Draw(t, "budget")}
		n := rapid.IntRange(1, 40).Draw(t, "devices")
		sum := 0
		for _, k := range Shares(kernel.Seed(rapid.Uint64().Draw(t, "seed")), f, n) {
			require.GreaterOrEqual(t, k, 0)
			if f.Times > 0 {
				require.LessOrEqual(t, k, f.Times)
			}
			sum += k
		}
		most := f.Budget
		if f.Times > 0 {
			most = min(most, n*f.Times)
		}
		require.Equal(t, most, sum)
	})
}

func TestAnOutageHoldsBackInOrder(t *testing.T) {
	spec := &scenario.Fault{Type: scenario.FaultNetwork, Effect: scenario.EffectOutage, HasTime: true, TimeFrom: time.Second, TimeTo: time.Second, Times: 1,
		Probability: scenario.Million, ForFrom: 10 * time.Second, ForTo: 10 * time.Second, Link: scenario.Degraded{Up: true, Down: true}}
	s := NewStrike(1, 0, spec, "x", 1)
	require.Equal(t, time.Second, s.At)
	all := []*Strike{s}
	h := NewHop(1, 2)
	at, ok := h.Up(all, 1, 500*time.Millisecond, 520*time.Millisecond, 100)
	require.True(t, ok)
	require.Equal(t, 520*time.Millisecond, at, "before it begins nothing is held")
	struck, next := s.Begin(time.Second)
	require.True(t, struck)
	require.Zero(t, next)
	// 0.2, 0.6, 1.4, 3.0, 6.2, 12.6 seconds after 2 s: the sixth gets through.
	at, ok = h.Up(all, 1, 2*time.Second, 2020*time.Millisecond, 100)
	require.True(t, ok)
	require.Equal(t, 14600*time.Millisecond, at)
	at, _ = h.Up(all, 1, 11500*time.Millisecond, 11520*time.Millisecond, 100)
	require.Equal(t, 14600*time.Millisecond, at, "not before what was sent before")
	at, _ = h.Up(all, 2, 11500*time.Millisecond, 11520*time.Millisecond, 100)
	require.Equal(t, 11520*time.Millisecond, at, "another connection does not wait for it")
	spec.ForTo = 0
	s = NewStrike(1, 0, spec, "x", 1)
	s.Begin(time.Second)
	_, ok = h.Down([]*Strike{s}, 1, 2*time.Second, 10)
	require.False(t, ok, "an outage without end")
}

func TestClocks(t *testing.T) {
	clock := func(effect string, until time.Duration, spec scenario.ClockFault) *Strike {
		s := NewStrike(1, 0, &scenario.Fault{Type: scenario.FaultClock, Effect: effect, Probability: scenario.Million, ForFrom: until, ForTo: until, Clock: spec}, "x", 1)
		s.Begin(10 * time.Second)
		return s
	}
	const unix = 1_767_225_600
	unset := clock(scenario.EffectUnset, 5*time.Minute, scenario.ClockFault{})
	require.Equal(t, 20*time.Second-unix*time.Second, Clock([]*Strike{unset}, 30*time.Second, 10*time.Second, unix), "1970 and 20 s")
	require.Equal(t, 6*time.Minute, Clock([]*Strike{unset}, 6*time.Minute, 10*time.Second, unix), "SNTP has answered")
	require.Negative(t, Clock([]*Strike{unset}, 6*time.Minute, 2*time.Minute, unix), "a later cold boot waits again")
	jump := clock(scenario.EffectJump, time.Minute, scenario.ClockFault{Jump: -time.Hour})
	require.Equal(t, 30*time.Second-time.Hour, Clock([]*Strike{jump}, 30*time.Second, 0, unix))
	require.Equal(t, 80*time.Second, Clock([]*Strike{jump}, 80*time.Second, 0, unix))
	drift := clock(scenario.EffectDrift, 0, scenario.ClockFault{Drift: 100})
	require.Equal(t, 1000010*time.Second+100*time.Second, Clock([]*Strike{drift}, 1000010*time.Second, 0, unix))
}

// A cut in a named copy of otadata lets other commands pass, and leaves what the file says.
func TestPowerCutInOneCopyOfOtadata(t *testing.T) {
	spec := &scenario.Fault{Name: "torn", Type: scenario.FaultPowerCut, At: &scenario.Point{Point: device.PointOtadataProgram, Arg: -1}, Times: 1, Probability: scenario.Million,
		PowerCut: scenario.PowerCut{Copy: 1, Command: "program", Keep: 12, HasKeep: true, Torn: scenario.TornSector}}
	c := Plan(1, 0, spec, "x", Where{Otadata: 0xd000}, 1)[0]
	require.True(t, c.Matches(device.PointOtadataProgram, 0))
	require.False(t, c.Matches(device.PointConfirm, 0))
	require.Zero(t, c.BeforeOp(flashmodel.Op{Kind: flashmodel.OpProgram, Addr: 0xd000, Len: 32}), "the other copy")
	require.Zero(t, c.BeforeOp(flashmodel.Op{Kind: flashmodel.OpErase, Addr: 0xe000, Len: 4096}), "an erase")
	cut := c.BeforeOp(flashmodel.Op{Kind: flashmodel.OpProgram, Addr: 0xe000, Len: 32})
	require.Equal(t, flashmodel.CutPrefix, cut.Mode)
	require.EqualValues(t, 12, cut.Keep)

	spec.PowerCut = scenario.PowerCut{Copy: -1, Command: "erase", Skip: 1, Leaves: "erase-noise", Seed: 42, HasSeed: true}
	c = Plan(1, 0, spec, "x", Where{}, 1)[0]
	require.Zero(t, c.BeforeOp(flashmodel.Op{Kind: flashmodel.OpErase, Addr: 0xe000, Len: 4096}), "skipped")
	require.Equal(t, flashmodel.Cut{Mode: flashmodel.CutEraseNoise, Seed: 42}, c.BeforeOp(flashmodel.Op{Kind: flashmodel.OpErase, Addr: 0xe000, Len: 4096}))
}

func TestMessagesAreCountedByKind(t *testing.T) {
	spec := &scenario.Fault{Name: "m", Type: scenario.FaultNetwork, Effect: scenario.EffectDropMessage, HasTime: true, Times: 2, Probability: scenario.Million,
		Message: scenario.Message{Up: true, Topic: "jobs/+/update", Nth: 2}}
	s := NewStrike(1, 0, spec, "x", 2)
	require.False(t, s.Meets(0, true, "jobs/a/update"), "not yet in force")
	s.Begin(time.Second)
	var hit []int
	for i := range 6 {
		require.False(t, s.Meets(2*time.Second, false, "jobs/a/update"), "the other direction")
		require.False(t, s.Meets(2*time.Second, true, "jobs/$next/get"), "another topic")
		if s.Meets(2*time.Second, true, "jobs/a/update") {
			hit = append(hit, i)
		}
	}
	require.Equal(t, []int{1, 2}, hit)
	require.False(t, s.On(3*time.Second), "it is over")
	require.Equal(t, Fate{Drop: true}, s.Add(Fate{}))
	spec.Effect, spec.Message.By = scenario.EffectDelayMessage, time.Second
	require.Equal(t, Fate{Late: 3 * time.Second}, s.Add(Fate{Late: 2 * time.Second}))
	spec.Effect = scenario.EffectDuplicateMessage
	require.Equal(t, Fate{Again: time.Second}, s.Add(Fate{}))
}
