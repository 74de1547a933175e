package sim

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// Every fault that a scenario can name makes the difference that docs/faults.md says, against the same run without it.
func TestEveryFaultHasItsEffect(t *testing.T) {
	with := func(faults string, sets ...string) *report.Result {
		t.Helper()
		sets = append(append(small("1.0.0", "1.1.0"), "faults=["+faults+"]", "fleet.groups.field.count=4", "assertions=[{name: counted, atEnd: fleet.devices > 0}]"), sets...)
		return run(t, load(t, "power-cut", scenario.Options{Sets: sets}), Options{Workers: 1})
	}
	plain := with("")
	require.Equal(t, 4, plain.Jobs[0].Succeeded)
	slower := func(seconds float64) func(*report.Result) bool {
		return func(r *report.Result) bool {
			return r.Jobs[0].Succeeded == 4 && *r.Updates.TimeTo99 >= *plain.Updates.TimeTo99+seconds
		}
	}
	connects := func(more uint64) func(*report.Result) bool {
		return func(r *report.Result) bool {
			return r.Jobs[0].Succeeded == 4 && r.Traffic.Connects >= plain.Traffic.Connects+more
		}
	}
	fails := func(r *report.Result) bool { return r.Jobs[0].Failed == 4 && r.Fleet.OnVersion["1.0.0"] == 4 }
	cuts := func(n uint64) func(*report.Result) bool {
		return func(r *report.Result) bool { return r.Flash.PowerCuts == n && r.Fleet.Bricked == 0 }
	}
	restarts := func(n int) func(*report.Result) bool {
		return func(r *report.Result) bool { return r.Resets["ESP_RST_POWERON"] == n && r.Fleet.Bricked == 0 }
	}
	hit := func(n int) func(*report.Result) bool {
		return func(r *report.Result) bool { return r.Faults[0].Injected == n }
	}
	for _, c := range []struct {
		fault  string
		effect func(*report.Result) bool
		sets   []string
	}{
		{"type: network, effect: degrade, latency: 2s, at: job.received", slower(2), nil},
		{"type: network, effect: degrade, latency: 1s, jitter: 1s, at: job.received", slower(1), nil},
		{"type: network, effect: degrade, loss: 40%, at: job.received", slower(0.5), nil},
		{"type: network, effect: degrade, downlink: 32kbps, at: job.received", slower(10), nil},
		{"type: network, effect: degrade, uplink: 1kbps, at: job.received", slower(3), nil},
		{"type: network, effect: one-way, direction: down, at: block(3).received, for: 60s", slower(40), nil},
		{"type: network, effect: one-way, direction: up, at: block(3).received, for: 60s", slower(5), nil},
		{"type: network, effect: outage, at: block(3).received, for: 2m", slower(60), nil},
		{"type: network, effect: ap-outage, select: {networks: [home-wifi]}, at: 62s, for: 2m", slower(100), nil},
		{"type: network, effect: disconnect, at: block(3).received", connects(4), nil},
		{"type: network, effect: reconnect-storm, at: 62s", connects(4), nil},
		{"type: network, effect: disconnect, at: block(3).received, select: {fraction: 50%}", hit(2), nil},
		{"type: network, effect: disconnect, at: block(3).received, select: {groups: [field]}, budget: 3", hit(3), nil},
		{"type: network, effect: disconnect, at: block(3).received, times: 1, select: {things: [esp32-field-00002]}", hit(1), nil},
		{"type: network, effect: disconnect, at: 20s..40s, every: 15s, times: 2", hit(8), nil},
		{"type: network, effect: dns, at: 1s, for: 5m", slower(200), nil},
		{"type: network, effect: captive-portal, at: 1s, for: 5m", slower(200), nil},
		{"type: cloud, effect: error, service: streams, at: 61s, for: 1m", slower(20), nil},
		{"type: cloud, effect: throttle, service: streams, at: 61s, for: 1m", slower(20), nil},
		{"type: cloud, effect: outage, service: streams, at: 61s, for: 1m", slower(20), nil},
		{"type: cloud, effect: lost-reply, service: streams, operation: get, at: 61s, for: 1m", slower(20), nil},
		{"type: cloud, effect: slow, service: streams, latency: 4s, at: 61s, for: 5m", slower(4), nil},
		{"type: cloud, effect: outage, service: jobs, at: 62s, for: 1m", func(r *report.Result) bool { return r.Jobs[0].Succeeded == 0 }, nil},
		{"type: cloud, effect: broker-restart, at: 63s", connects(4), nil},
		{"type: cloud, effect: slow, service: s3, latency: 1s, at: 61s, for: 10m", slower(4), []string{"updates.0.protocols=[HTTP]"}},
		{"type: flash-media, effect: bit-flip, partition: passive, length: 4KiB, at: verify", fails, nil},
		{"type: flash-media, effect: stuck, partition: passive, length: 4KiB, bits: 64, value: 1, at: job.received", fails, nil},
		{"type: flash-media, effect: dead-sector, offset: 0x1000, at: slot.erase", fails, nil},
		{"type: flash-media, effect: program-fails, length: 8KiB, oneIn: 2, at: slot.erase", fails, nil},
		{"type: flash-media, effect: worn-out, length: 8KiB, bits: 200, at: job.received", fails, nil},
		{"type: clock, effect: unset, for: 5m, at: 1ms", slower(200), nil},
		{"type: clock, effect: jump, ahead: 20000d, for: 5m, at: 1ms", slower(200), nil},
		{"type: memory, effect: no-buffer, at: block(3).received, for: 30s", slower(10), nil},
		{"type: memory, effect: heap, heap: 16B, at: job.received, for: 30s", func(r *report.Result) bool { return r.Jobs[0].Succeeded == 0 },
			[]string{"fleet.defaults.agent=afr-v1.4.2", "fleet.defaults.bootloader=afr-2018"}},
		{"type: power-cut, at: otadata.program, copy: 1, keep: 12B", cuts(4), nil},
		{"type: power-cut, at: block(9).programmed", restarts(8), nil},
		{"type: power-cut, at: self-test", restarts(8), nil},
		{"type: power-cut, during: [download, otadata], times: 2", restarts(11), nil},
		{"type: power-cut, at: 62s..65s, select: {fraction: 25%}", cuts(1), nil},
	} {
		res := with("{name: f, "+c.fault+"}", c.sets...)
		at := float64(0)
		if res.Updates.TimeTo99 != nil {
			at = *res.Updates.TimeTo99
		}
		assert.NotZero(t, res.Faults[0].Injected, c.fault)
		assert.True(t, c.effect(res), "%s: %+v, %v s (plain %v s), %d connects (%d), %v, %d cuts", c.fault, res.Jobs[0].Executions, at, *plain.Updates.TimeTo99, res.Traffic.Connects,
			plain.Traffic.Connects, res.Faults[0], res.Flash.PowerCuts)
	}
}
