package agent_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/device/script"
)

// noise is the n-th of many scripts of 30 random steps.
func noise(n uint64, data []byte) []byte {
	x := n*0x9e3779b97f4a7c15 + 1
	for i := range data {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		data[i] = byte(x >> 32)
	}
	return data
}

// TestScripts is a small part of what FuzzAgent and longer runs do: random lives of every release.
func TestScripts(t *testing.T) {
	var data [60]byte
	for _, p := range agent.Profiles {
		r := script.NewAgent(p)
		for n := range uint64(1500) {
			r.Reset(p)
			r.Play(noise(n, data[:]))
			require.Empty(t, r.Violations, "%s: %v", p.Name, script.Decode(data[:]))
		}
	}
}

// A switch breaks the invariants that name it and no other: otherwise the list would excuse too little, or the model
// would have a defect nobody has named.
func TestSwitchesBreakWhatTheyAreKnownFor(t *testing.T) {
	var data [60]byte
	for i := range agent.Behaviours {
		b := &agent.Behaviours[i]
		if !b.In(agent.Ideal) {
			continue
		}
		p, err := agent.Ideal.With(map[string]bool{b.Name: true})
		require.NoError(t, err)
		r := script.NewAgent(p)
		for n := range uint64(150) {
			r.Reset(p)
			r.Play(noise(n, data[:]))
			require.Empty(t, r.Violations, "%s: %v", b.Name, script.Decode(data[:]))
		}
	}
}

func TestDecodeIsTotal(t *testing.T) {
	require.Empty(t, script.Decode(nil))
	require.Equal(t, []script.Step{{Op: script.Doc}}, script.Decode([]byte{0}))
	for op := range 256 {
		steps := script.Decode([]byte{byte(op), 7, 255})
		require.Len(t, steps, 2)
		require.NotEmpty(t, steps[0].String())
		require.Equal(t, steps, script.Decode(script.Encode(steps...)))
	}
}

// A clone goes its own way.
func TestClone(t *testing.T) {
	var data [60]byte
	for _, p := range agent.Profiles {
		for n := range uint64(200) {
			steps := script.Decode(noise(n, data[:]))
			whole, fork := script.NewAgent(p), script.NewAgent(p)
			for _, s := range steps[:15] {
				whole.Step(s)
				fork.Step(s)
			}
			c := fork.Clone()
			for _, s := range steps[:15] { // disturb the original
				fork.Step(s)
			}
			for _, s := range steps[15:] {
				whole.Step(s)
				c.Step(s)
				require.Equal(t, whole.View(), c.View())
			}
			require.Equal(t, whole.Violations, c.Violations)
		}
	}
}

// BenchmarkScripts plays random scripts and reports steps and scripts a second, checks included.
func BenchmarkScripts(b *testing.B) {
	var scripts [256][60]byte
	for n := range scripts {
		noise(uint64(n), scripts[n][:])
	}
	for _, p := range []*agent.Profile{agent.Ideal, agent.Main, agent.AFR140} {
		b.Run(p.Name, func(b *testing.B) {
			r := script.NewAgent(p)
			b.ReportAllocs()
			for n := range b.N {
				r.Reset(p)
				r.Play(scripts[n%256][:])
			}
			b.ReportMetric(float64(b.N)*30/b.Elapsed().Seconds(), "steps/s")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "scripts/s")
		})
	}
}

// Where a release is known to break what a script asks for at its end, it is seen to.
func TestEndsAreSeen(t *testing.T) {
	for invariant, p := range map[int]*agent.Profile{12: agent.V341, 21: agent.Main, 22: agent.AFR140, 23: agent.Main} {
		var data [60]byte
		r := script.NewAgent(p)
		for n := uint64(0); r.Excused[invariant] == 0; n++ {
			require.Less(t, n, uint64(500), "invariant %d in %s", invariant, p.Name)
			r.Reset(p)
			r.Play(noise(n, data[:]))
		}
	}
}
