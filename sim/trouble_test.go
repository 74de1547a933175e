package sim

import (
	"bytes"
	"path/filepath"
	"strings"
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

// A single message that is lost, doubled or late makes the difference that it should.
func TestSingleMessages(t *testing.T) {
	one := func(fault string) *report.Result {
		t.Helper()
		sets := append(small("1.0.0", "1.1.0"), "faults=["+fault+"]", "fleet.groups.field.count=1", "assertions=[{name: a bootable image, always: fleet.bricked == 0}]")
		res := run(t, load(t, "power-cut", scenario.Options{Sets: sets}), Options{Workers: 1})
		require.Equal(t, fault == "" || strings.Contains(fault, "nth: 7777"), len(res.Faults) == 0 || res.Faults[0].Injected == 0, fault)
		return res
	}
	plain := one("")
	require.Equal(t, 1, plain.Jobs[0].Succeeded)

	lost := one("{name: f, type: network, effect: drop-message, direction: up, topic: jobs/+/update, at: confirm, times: 1000}")
	require.Equal(t, 0, lost.Jobs[0].Succeeded, "the final status never arrives")
	require.Equal(t, 1, lost.Fleet.OnVersion["1.1.0"])
	require.Equal(t, 1, lost.Divergence["unreported"])

	block := one("{name: f, type: network, effect: drop-message, direction: down, topic: streams/+/data/cbor, nth: 2}")
	require.Equal(t, 1, block.Jobs[0].Succeeded)
	require.Equal(t, plain.Traffic.MQTTMessagesOut+1, block.Traffic.MQTTMessagesOut, "one block is sent again")

	twice := one("{name: f, type: network, effect: duplicate-message, direction: up, topic: streams/+/get/cbor, latency: 1s}")
	require.Equal(t, 1, twice.Jobs[0].Succeeded)
	require.Equal(t, plain.Traffic.MQTTMessagesIn+1, twice.Traffic.MQTTMessagesIn)
	require.Greater(t, twice.Traffic.MQTTMessagesOut, plain.Traffic.MQTTMessagesOut, "and answered again")

	late := one("{name: f, type: network, effect: delay-message, direction: down, topic: streams/+/data/cbor, nth: 3, latency: 1500ms}")
	require.Equal(t, 1, late.Jobs[0].Succeeded)
	require.Greater(t, *late.Updates.TimeTo99, *plain.Updates.TimeTo99+1)

	late = one("{name: f, type: network, effect: delay-message, direction: up, topic: jobs/$next/get, latency: 700ms, at: connected}")
	require.Equal(t, 1, late.Faults[0].Phases["connected"])
	require.Equal(t, 1, late.Jobs[0].Succeeded)

	never := one("{name: f, type: network, effect: drop-message, direction: down, nth: 7777}")
	require.Equal(t, report.VerdictAssertion, never.Verdict)
}

// A fault that waits for a condition meets no more devices than its budget says.
func TestConditionAndBudget(t *testing.T) {
	sets := append(small("1.0.0", "1.1.0"), "faults=[{name: f, type: network, effect: disconnect, when: 'updates.started > 0', budget: 2}]", "fleet.groups.field.count=6",
		"assertions=[{name: a bootable image, always: fleet.bricked == 0}]")
	res := run(t, load(t, "power-cut", scenario.Options{Sets: sets}), Options{Workers: 2})
	require.Equal(t, 2, res.Faults[0].Injected)
}
