package sim

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

const liveFaults = `
apiVersion: otasim/v1
kind: Scenario
metadata: {name: live-faults, description: Faults on sockets.}
seed: 5
duration: 2h
firmware:
  - {version: 1.0.0, size: 64KiB, secureVersion: 1}
  - {version: 1.1.0, size: 64KiB, secureVersion: 1}
fleet:
  defaults:
    target: esp32
    flash: {size: 4MB}
    partitions: partitions_two_ota_large.csv
    sdkconfig: {CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE: y}
    firmware: 1.0.0
    agent: ideal
    start: 0s..5s
  groups:
    - {name: http, count: 4, otaconfig: {PRIMARY_DATA_PROTOCOL: HTTP}}
    - {name: mqtt, count: 4}
updates:
  - {otaUpdateId: fw, at: 1m, firmware: 1.1.0, targets: [http, mqtt], protocols: [MQTT, HTTP]}
faults:
FAULTS
assertions:
  - {name: nobody is bricked, always: fleet.bricked == 0}
`

// faulty runs the scenario with faults: what they did by name, the result, and the errors on the consoles.
func faulty(t *testing.T, faults ...string) (faultsOf map[string]report.Fault, res *report.Result, errors string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "live-faults.yaml")
	text := strings.Replace(liveFaults, "FAULTS", "  - "+strings.Join(faults, "\n  - "), 1)
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	sc, problems, err := scenario.Load(file, scenario.Options{})
	require.NoError(t, err)
	require.NotNil(t, sc, "%v", problems)
	var out bytes.Buffer
	res = run(t, sc, Options{Mode: Live, Trace: &out})
	require.Equal(t, report.VerdictPass, res.Verdict, "%+v %+v %v", res.Assertions, res.Faults, res.Notes)
	faultsOf = map[string]report.Fault{}
	for _, f := range res.Faults {
		require.Positive(t, f.Injected, f.Name)
		faultsOf[f.Name] = f
	}
	var wrong []string
	for line := range strings.SplitSeq(out.String(), "\n") {
		if strings.Contains(line, " E (") {
			wrong = append(wrong, line)
		}
	}
	return faultsOf, res, strings.Join(wrong, "\n")
}

// The services fail on sockets as in virtual time: errors, throttling, answers that get lost or come late, a bucket that is
// slow, and a broker that restarts.
func TestLiveCloudFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes the wall's time")
	}
	t.Parallel()
	f, res, errors := faulty(t,
		"{name: errors, type: cloud, effect: error, service: jobs, operation: update, at: 1m, for: 1h, probability: 50%, budget: 3}",
		"{name: throttled, type: cloud, effect: throttle, service: jobs, at: 1m, for: 1h, probability: 20%, budget: 3}",
		"{name: lost, type: cloud, effect: lost-reply, service: streams, at: 1m, for: 1h, probability: 10%, budget: 3}",
		"{name: late, type: cloud, effect: slow, service: streams, latency: 3s, at: 1m, for: 1h, probability: 10%, budget: 3}",
		"{name: slow bucket, type: cloud, effect: slow, service: s3, latency: 4s, at: 64s, for: 1h, probability: 30%, budget: 6}",
		"{name: bucket fails, type: cloud, effect: error, service: s3, operation: get, at: 64s, for: 1h, probability: 20%, budget: 30}",
		"{name: restart, type: cloud, effect: broker-restart, at: 20s}",
		`{name: when, type: cloud, effect: broker-restart, when: 'jobs["fw"].queued < 8'}`,
	)
	require.Equal(t, 1, f["restart"].Injected)
	require.Equal(t, 1, f["when"].Injected)
	require.GreaterOrEqual(t, res.Traffic.Connects, uint64(8*4), "start, two restarts of the broker, and the new image")
	require.Contains(t, errors, "http: status 500")
	require.GreaterOrEqual(t, res.Fleet.OnVersion["1.1.0"], 4, "where the service forgets that an image is on trial, its update fails")
}

// A device's clock decides on certificates: of the broker and of S3.
func TestLiveClockFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes the wall's time")
	}
	t.Parallel()
	f, res, errors := faulty(t,
		"{name: SNTP comes late, type: clock, effect: unset, select: {groups: [mqtt]}, at: 0s, for: 20s}",
		"{name: into the future, type: clock, effect: jump, ahead: 20000d, select: {groups: [http]}, at: slot.erase, for: 25s, times: 1}")
	require.Equal(t, map[string]int{"1.1.0": 8}, res.Fleet.OnVersion)
	require.Equal(t, 4, f["SNTP comes late"].Injected)
	require.Equal(t, 4, f["into the future"].Injected)
	require.Contains(t, errors, "mqtt: connect failed: network Error : tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 1970-01-01")
	require.Contains(t, errors, "http: tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2080-")
}

// What lies between a device and the cloud lies in the way of HTTPS too.
func TestLiveHTTPFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes the wall's time")
	}
	t.Parallel()
	_, res, errors := faulty(t,
		"{name: access point, type: network, effect: ap-outage, select: {groups: [http], fraction: 50%}, at: block(3).received, for: 20s, times: 1}",
		"{name: nothing passes, type: network, effect: outage, select: {groups: [http], fraction: 50%}, at: block(6).received, for: 30s, times: 1}",
		"{name: bad line, type: network, effect: degrade, latency: 200ms, downlink: 64kbps, uplink: 64kbps, select: {groups: [http]}, at: 30s, for: 2m}")
	require.Equal(t, map[string]int{"1.1.0": 8}, res.Fleet.OnVersion)
	require.Greater(t, res.Traffic.HTTPBytes, uint64(4*64<<10))
	require.Contains(t, errors, "http: no access point")
	require.Contains(t, errors, "http: context canceled", "silence ends a request")
}
