package sim

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// Every kind of fault does the same for any number of workers, and passes what its
// file promises; a different seed gives a different history.
func TestFaultsAreDeterministic(t *testing.T) {
	files, err := filepath.Glob("../scenarios/faults/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		name := filepath.Base(f)[:len(filepath.Base(f))-len(".yaml")]
		t.Run(name, func(t *testing.T) {
			sc := load(t, "faults/"+name, scenario.Options{})
			var text bytes.Buffer
			first := run(t, sc, Options{Workers: 1, Trace: &text})
			require.Equal(t, report.VerdictPass, first.Verdict, "%+v %v", first.Assertions, first.Notes)
			for workers := 2; workers <= 4; workers++ {
				got := run(t, sc, Options{Workers: workers, parallel: true})
				require.Equal(t, first.TraceHash, got.TraceHash, "%d workers", workers)
				require.Equal(t, first.Faults, got.Faults, "%d workers", workers)
				require.Equal(t, first.Events, got.Events)
			}
			seed := sc.Seed + 77
			other, _, err := scenario.Load(f, scenario.Options{Seed: &seed})
			require.NoError(t, err)
			require.NotEqual(t, first.TraceHash, run(t, other, Options{Workers: 2}).TraceHash)
		})
	}
}

// A fault that never strikes fails the run, of whatever type it is; in a scaled fleet it is a note.
func TestAFaultThatNeverStruckFailsTheRun(t *testing.T) {
	for _, f := range []string{
		"{name: f, type: network, effect: outage, at: block(999).received}",
		"{name: f, type: cloud, effect: error, service: jobs, operation: start-next, at: 1s, for: 1ms}",
		"{name: f, type: flash-media, effect: bit-flip, at: self-test, partition: ota_1, offset: 0x150000, length: 4KiB}",
		"{name: f, type: memory, effect: heap, heap: 64KiB, at: connected}",
		"{name: f, type: clock, effect: drift, drift: 5, at: block(999).received}",
	} {
		sets := append(small("1.0.0", "1.1.0"), "faults=["+f+"]", "assertions=[{name: nobody is bricked, always: fleet.bricked == 0}]", "fleet.groups.field.count=3")
		res := run(t, load(t, "power-cut", scenario.Options{Sets: sets}), Options{Workers: 2})
		require.Equal(t, report.VerdictAssertion, res.Verdict, "%s: %+v", f, res.Faults)
		require.Contains(t, res.Notes[len(res.Notes)-1], "never struck")
		res = run(t, load(t, "power-cut", scenario.Options{Sets: append(sets, "fleet.groups.field.count=500"), Devices: 3}), Options{Workers: 2})
		require.Equal(t, report.VerdictPass, res.Verdict, f)
	}
}

// Retransmission brings what an outage has held back.
func TestLinksThatBreakNowAndThen(t *testing.T) {
	sets := append(small("1.0.0", "1.1.0"), "networks.home-wifi.disconnect={every: 30s, for: 1s..20s}", "faults=[]",
		`assertions=[{name: everybody, atEnd: 'fleet.on_version["1.1.0"] == fleet.devices'}, {name: they reconnected, atEnd: traffic.connects > 3 * fleet.devices}]`)
	res := run(t, load(t, "power-cut", scenario.Options{Devices: 20, Sets: sets}), Options{Workers: 2})
	require.Equal(t, report.VerdictPass, res.Verdict, "%+v", res.Assertions)
	require.Equal(t, res.TraceHash, run(t, load(t, "power-cut", scenario.Options{Devices: 20, Sets: sets}), Options{Workers: 4, parallel: true}).TraceHash)
}
