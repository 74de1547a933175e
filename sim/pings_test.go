package sim

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// idleFleet waits for six hours, takes an update, and waits again.
const idleFleet = `
apiVersion: otasim/v1
kind: Scenario
metadata: {name: idle}
seed: 5
duration: 10h
firmware:
  - {version: 1.0.0, size: 64KiB}
  - {version: 1.1.0, size: 64KiB}
fleet:
  defaults:
    target: esp32
    flash: {size: 4MB}
    partitions: partitions_two_ota_large.csv
    sdkconfig: {CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE: y}
    firmware: 1.0.0
    start: 0s..50s
    network: NETWORK
    MORE
  groups:
    - {name: field, count: 20}
networks:
  plain: {downlink: 8Mbps, uplink: 2Mbps, latency: 25ms}
  shaky: {downlink: 2Mbps, uplink: 1Mbps, latency: 60ms, jitter: 45ms}
  breaking: {downlink: 2Mbps, uplink: 1Mbps, latency: 60ms, jitter: 5ms, loss: 1%, disconnect: {every: 40m, for: 5s..3m}}
  bad: {downlink: 100kbps, uplink: 50kbps, latency: 400ms, jitter: 200ms, loss: 10%}
updates:
  - {otaUpdateId: fw, at: 6h, firmware: 1.1.0, targets: [field]}
REST
`

// The pings of idle devices are counted and not made; whoever makes each of them an
// event sees the same: each number, each time, each line of the trace.
func TestPingsThatAreCounted(t *testing.T) {
	for _, c := range []struct{ name, network, more, rest string }{
		{name: "idle", network: "plain"},
		{name: "jitter", network: "shaky"},
		{name: "loss that ends connections", network: "bad"},
		{name: "links that break", network: "breaking"},
		{name: "narrow band", network: "nb-iot"},
		{name: "crowded", network: "wifi-crowded"},
		{name: "the port of 2018", network: "plain", more: "agent: afr-v1.4.0"},
		{name: "telemetry", network: "shaky", more: "TELEMETRY"},
		{name: "sleepers", network: "shaky", more: "presence: {wake: {every: 2h, for: 31m, jitter: 5m}, interrupts: true}"},
		{name: "office hours", network: "plain", more: "presence: {hours: {from: 1h, for: 6h, jitter: 10m, timezones: [0, 1, 2]}}"},
		{name: "outages", network: "shaky", rest: "faults:\n  - {name: f, type: network, effect: outage, at: 1h..90m, for: 1s..10m, every: 20m, times: 12}"},
		{name: "half open to the cloud", network: "plain", rest: "faults:\n  - {name: f, type: network, effect: one-way, direction: up, at: 1h..2h, for: 20s..5m}"},
		{name: "half open to the device", network: "plain", rest: "faults:\n  - {name: f, type: network, effect: one-way, direction: down, at: 1h..2h, for: 20s..5m, every: 37m}"},
		{name: "half open to the end", network: "shaky", rest: "faults:\n  - {name: f, type: network, effect: one-way, direction: up, select: {fraction: 30%}, at: 7h..8h}"},
		{name: "access point", network: "shaky", rest: "faults:\n  - {name: f, type: network, effect: ap-outage, at: 2h..2h1m, for: 5s..5m}"},
		{name: "congestion", network: "plain", rest: "faults:\n  - {name: f, type: network, effect: degrade, latency: 1500ms, jitter: 900ms, loss: 5%, at: 1h..2h, for: 30m}"},
		{name: "disconnect and storm", network: "shaky", rest: "faults:\n  - {name: f, type: network, effect: disconnect, at: 1h..2h, times: 3, every: 17m}\n  - {name: g, type: network, effect: reconnect-storm, at: 4h}"},
		{name: "broker restarts", network: "shaky", rest: "faults:\n  - {name: f, type: cloud, effect: broker-restart, at: 1h, every: 33m, times: 9}"},
		{name: "broker restarts in an outage", network: "shaky", rest: "faults:\n  - {name: f, type: cloud, effect: broker-restart, at: 1h}\n  - {name: g, type: network, effect: outage, at: 1h..3600100ms, for: 1s..3m}"},
		{name: "power", network: "shaky", rest: "faults:\n  - {name: f, type: power-cut, at: 1h..2h, every: 1h, times: 8, off: 1s..4m}"},
		{name: "power, short", network: "bad", rest: "faults:\n  - {name: f, type: power-cut, at: 1h..2h, every: 10m, times: 30, off: 10ms..1s}"},
		{name: "conditions", network: "shaky", rest: "faults:\n  - {name: f, type: network, effect: outage, when: traffic.mqtt_messages_in > 4115, for: 3m}\nassertions:\n  - {name: messages, always: traffic.mqtt_messages_in < 6000}"},
		{name: "wrong clocks", network: "plain", rest: "faults:\n  - {name: f, type: clock, effect: jump, ahead: 48h, at: 1h..2h, for: 1h}"},
		{name: "hands", network: "plain", rest: "events:\n  - {at: 2h, reprovision: {group: field, count: 7, suffix: -b}}\n  - {at: 3h, powerOff: {things: [esp32-field-00003, esp32-field-00019]}}\n  - {at: 4h, powerOn: {groups: [field]}}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(idleFleet, "NETWORK", c.network), "REST", c.rest), "MORE", c.more)
			if c.more == "TELEMETRY" {
				text = strings.ReplaceAll(strings.Replace(text, "64KiB}", "64KiB, telemetry: {every: 7m, size: 200B}}", 1), "TELEMETRY", "")
			}
			file := filepath.Join(t.TempDir(), "idle.yaml")
			require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
			seeds := uint64(1)
			if os.Getenv("OTASIM_LONG") != "" {
				seeds = 25
			}
			for seed := range seeds {
				sc, problems, err := scenario.Load(file, scenario.Options{Seed: &seed})
				require.NoError(t, err)
				require.NotNil(t, sc, "%v", problems)
				samePings(t, sc)
			}
		})
	}
	for _, s := range shipped {
		t.Run(s.file, func(t *testing.T) {
			samePings(t, load(t, s.file, scenario.Options{Devices: s.n, Sets: s.sets}))
		})
	}
	for _, name := range []string{"network", "cloud", "clock"} {
		t.Run(name, func(t *testing.T) { samePings(t, load(t, "faults/"+name, scenario.Options{})) })
	}
}

func samePings(t *testing.T, sc *scenario.Scenario) {
	t.Helper()
	var texts [3]bytes.Buffer
	var docs [3]*report.Result
	for i, o := range []Options{{Workers: 1, everyPing: true}, {Workers: 1}, {Workers: 3, parallel: true}} {
		o.Detail, o.Trace = true, &texts[i]
		docs[i] = run(t, sc, o)
	}
	t.Logf("%d messages; %d events, and %d", docs[0].Traffic.MQTTMessagesIn, docs[0].Events, docs[1].Events)
	require.Equal(t, docs[1].Events, docs[2].Events)
	if docs[0].VirtualSeconds > 6*3600 {
		require.Less(t, 2*docs[1].Events, docs[0].Events)
	}
	for i := 1; i < 3; i++ {
		require.Equal(t, texts[0].String(), texts[i].String())
		require.Equal(t, plain(t, docs[0]), plain(t, docs[i]))
	}
}

// plain is a result without what it cost to get it.
func plain(t *testing.T, r *report.Result) string {
	t.Helper()
	c := *r
	c.Events, c.WallSeconds, c.Workers, c.Memory = 0, 0, 0, report.Memory{}
	b, err := json.MarshalIndent(&c, "", " ")
	require.NoError(t, err)
	detail, err := json.MarshalIndent(r.Detail, "", " ")
	require.NoError(t, err)
	return string(b) + string(detail)
}
