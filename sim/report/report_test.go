package report

import (
	"bytes"
	"encoding/xml"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

func ptr[T any](v T) *T { return &v }

// sample is a run in which everything happened.
func sample() *Result {
	return &Result{
		Scenario: "canary-1000-power-cuts", Seed: 42, Mode: "virtual", Workers: 2, Version: "0.1.0",
		VirtualSeconds: 11527, WallSeconds: 4.12, Events: 1_284_511, TraceHash: strings.Repeat("5d0c", 16),
		Fleet: Fleet{Devices: 1000, Powered: 999, OnVersion: map[string]int{"1.5.0": 991, "1.4.0": 9}, RolledBack: 4,
			ImageState: map[string]int{"ESP_OTA_IMG_VALID": 996, "ESP_OTA_IMG_UNDEFINED": 4}},
		Jobs: []Job{
			{ID: "AFR_OTA-fw-1-5-0-canary", Status: "COMPLETED", CreatedAt: ptr(300.0), CompletedAt: ptr(1204.5), Executions: map[string]int{"SUCCEEDED": 50}},
			{ID: "AFR_OTA-fw-1-5-0-main", Status: "CANCELED", CreatedAt: ptr(1204.5), Executions: map[string]int{"SUCCEEDED": 941, "FAILED": 9, "QUEUED": 0},
				AbortReason: ptr("ABORT: ALL 5 % of 50")},
		},
		Updates:       Updates{Started: 1000, Succeeded: 991, Failed: 9, TimeTo50: ptr(4011.0), TimeTo90: ptr(9000.0)},
		ExecutionTime: &Quantiles{401, 1082, 1880, 6728, 8444},
		Resets:        map[string]int{"ESP_RST_SW": 991, "ESP_RST_BROWNOUT": 103},
		Traffic:       Traffic{MQTTMessagesIn: 12_410, MQTTMessagesOut: 418_220, MQTTBytesOut: 1 << 30, Connects: 2103, Throttled: 311},
		Flash:         Flash{BytesProgrammed: 1 << 30, SectorsErased: 270_000, PowerCuts: 103, MaxWear: 3},
		Memory:        Memory{BytesPerDevice: 9_800},
		Thresholds: []Threshold{
			{Metric: "job_execution_duration", Expr: "p(50) < 10m", Holds: true, Actual: "6m41s"},
			{Metric: "job_execution_duration{group:canary}", Expr: "p(99) < 90m", Actual: "1h52m08s"},
		},
		Assertions: []Assertion{
			{Name: "no device is bricked, ever", Kind: "always", Expr: "fleet.bricked == 0", Holds: true, Actual: "1,284,511 checks"},
			{Name: "at least 99 % run 1.5.0", Kind: "atEnd", Expr: `fleet.on_version["1.5.0"] >= 0.995 * fleet.devices`, Actual: `fleet.on_version["1.5.0"] 991, fleet.devices 1000`},
			{Name: "the hard case did happen", Kind: "sometimes", Expr: `faults["mains unplugged"].phases["otadata"] > 10`, Actual: "never in 1,284,511 checks", Severity: "warning"},
		},
		Faults:  []Fault{{Name: "mains unplugged", Injected: 103, Recovered: 103, Phases: map[string]int{"download": 61, "otadata": 9, "verify": 33}}},
		Attacks: []Attack{{Name: "replay", Fired: true, Launched: 200, Executed: 100, Committed: 0, StoppedAt: map[string]int{"bootloader": 100, "version": 100}}},
		Invariants: []Invariant{
			{ID: "bootable", Checked: 8000},
			{ID: "secure-version", Checked: 8000, Violations: []Violation{{Thing: "esp32-main-00417", At: 4000, Detail: "runs secure version 1, eFuse 3"}}},
		},
		Variants: []Variant{{Name: "defence off", Verdict: "safety", Expected: "safety", Holds: true}},
		Notes:    []string{`update fw-1-5-0-late was not created: jobs["fw-1-5-0-main"].failed == 0 did not hold`},
	}
}

func golden(t *testing.T, path string, got []byte) {
	if *update {
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "run: go test ./sim/report -update")
}

func TestSummary(t *testing.T) {
	r := sample()
	r.Conclude(false)
	require.Equal(t, VerdictSafety, r.Verdict)
	var buf bytes.Buffer
	r.WriteSummary(&buf, Style{Again: "otasim run canary.yaml --seed 42", Files: []string{"result.xml"}})
	golden(t, "testdata/summary.txt", buf.Bytes())

	buf.Reset()
	early := &Result{Verdict: VerdictInterrupted, Assertions: []Assertion{{Name: "x", Kind: "atEnd"}, {Name: "y", Kind: "always"}}}
	early.WriteSummary(&buf, Style{})
	require.Contains(t, buf.String(), "? x   not judged")
	require.Contains(t, buf.String(), "✗ y")

	buf.Reset()
	r.WriteSummary(&buf, Style{ASCII: true})
	for _, b := range buf.Bytes() {
		require.Less(t, b, byte(0x80), "ASCII style: %q", buf.String())
	}
}

func TestJSON(t *testing.T) {
	var buf bytes.Buffer
	require.NoError(t, WriteJSON(&buf, []*Result{sample()}))
	golden(t, "testdata/result.json", buf.Bytes())
}

func TestCSV(t *testing.T) {
	var buf bytes.Buffer
	require.NoError(t, WriteCSV(&buf, []*Result{sample()}))
	for _, row := range []string{
		"canary-1000-power-cuts,42,fleet.on_version.1.5.0,991\n",
		"canary-1000-power-cuts,42,jobs.AFR_OTA-fw-1-5-0-canary.executions.SUCCEEDED,50\n",
		"canary-1000-power-cuts,42,faults.mains unplugged.injected,103\n",
	} {
		require.Contains(t, buf.String(), row)
	}
}

func TestJUnit(t *testing.T) {
	var buf bytes.Buffer
	passed := &Result{Scenario: "fine", Verdict: VerdictPass, Assertions: []Assertion{{Name: "a & b", Kind: "atEnd", Holds: true}}}
	broken := &Result{Scenario: "broken", Verdict: VerdictError, Error: "no memory"}
	failed := sample()
	failed.Conclude(false)
	require.NoError(t, WriteJUnit(&buf, []*Result{failed, passed, broken}))
	var doc junitSuites
	require.NoError(t, xml.Unmarshal(buf.Bytes(), &doc))
	require.Len(t, doc.Suites, 3)
	require.Equal(t, 3, doc.Suites[0].Failures, "an assertion, a threshold and an invariant; a warning does not count")
	require.Equal(t, 8, doc.Suites[0].Tests)
	require.Zero(t, doc.Suites[1].Failures+doc.Suites[1].Errors)
	require.Equal(t, 1, doc.Suites[2].Errors)
	require.Equal(t, 3, doc.Failures)
}

func TestVerdict(t *testing.T) {
	bad := []Assertion{{Kind: "atEnd"}}
	for _, c := range []struct {
		name   string
		r      Result
		scaled bool
		want   string
		exit   int
	}{
		{"nothing to complain", Result{}, false, VerdictPass, 0},
		{"assertion", Result{Assertions: bad}, false, VerdictAssertion, 99},
		{"only a warning", Result{Assertions: []Assertion{{Kind: "atEnd", Severity: "warning"}}}, false, VerdictPass, 0},
		{"threshold", Result{Thresholds: []Threshold{{}}}, false, VerdictThreshold, 99},
		{"assertion before threshold", Result{Assertions: bad, Thresholds: []Threshold{{}}}, false, VerdictAssertion, 99},
		{"invariant before assertion", Result{Assertions: bad, Invariants: []Invariant{{Violations: []Violation{{}}}}}, false, VerdictSafety, 99},
		{"a fault that never struck", Result{Faults: []Fault{{Name: "x"}}}, false, VerdictAssertion, 99},
		{"in a scaled fleet", Result{Faults: []Fault{{Name: "x"}}}, true, VerdictPass, 0},
		{"ended early", Result{Verdict: VerdictInconclusive, Assertions: bad, Faults: []Fault{{}}, Thresholds: []Threshold{{}}}, false, VerdictInconclusive, 97},
		{"ended early, but broken for certain", Result{Verdict: VerdictInconclusive, Assertions: []Assertion{{Kind: "always"}}}, false, VerdictAssertion, 99},
		{"interrupted", Result{Verdict: VerdictInterrupted, Assertions: bad}, false, VerdictInterrupted, 130},
		{"error", Result{Verdict: VerdictError}, false, VerdictError, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.r.Conclude(c.scaled)
			require.Equal(t, c.want, c.r.Verdict)
			require.Equal(t, c.exit, ExitStatus(c.r.Verdict))
		})
	}
}

func TestClock(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 1500 * time.Microsecond: "1.5ms", 4200 * time.Millisecond: "4.2s", 59 * time.Second: "59s",
		401 * time.Second: "6m41s", 6728 * time.Second: "1h52m08s", 76 * time.Hour: "3d04h00m", -time.Minute: "-1m00s",
	} {
		require.Equal(t, want, Clock(d))
	}
	require.Equal(t, "-1,234,567", Thousands(-1234567))
	require.Equal(t, "999", Thousands(999))
}

// TestLive: off a terminal one line a step or per ten seconds; on one a block that is redrawn and removed.
func TestLive(t *testing.T) {
	now := time.Unix(0, 0)
	var buf bytes.Buffer
	l := &Live{W: &buf, Now: func() time.Time { return now }, Name: "x", Seed: 1}
	p := Progress{Virtual: time.Minute, Limit: time.Hour, Devices: 10, Executions: map[string]int{"QUEUED": 4, "SUCCEEDED": 6}}
	l.Show(p)
	now = now.Add(9 * time.Second)
	l.Show(p)
	require.Empty(t, buf.String())
	now = now.Add(time.Second)
	l.Show(p)
	p.Steps = []Step{{At: 61, Text: "job fw COMPLETED"}}
	l.Show(p)
	l.Done()
	require.Equal(t, "     1m00s  10 devices   SUCCEEDED 6   QUEUED 4\n     1m01s  job fw COMPLETED\n", buf.String())

	buf.Reset()
	l = &Live{W: &buf, Now: func() time.Time { return now }, Name: "x", Seed: 1, Terminal: true, Width: 60}
	l.Show(p)
	require.Equal(t, 3, strings.Count(buf.String(), "\n"))
	for _, line := range strings.Split(buf.String(), "\n") {
		require.Less(t, len([]rune(line)), 60)
	}
	require.Contains(t, buf.String(), " 60 %")
	l.Show(p)
	require.Equal(t, 3, strings.Count(buf.String(), "\n"), "at most ten times a second")
	now = now.Add(time.Second)
	l.Show(p)
	require.Contains(t, buf.String(), "\x1b[3A\x1b[J")
	l.Done()
	require.True(t, strings.HasSuffix(buf.String(), "\x1b[5A\x1b[J"), "%q", buf.String())
}
