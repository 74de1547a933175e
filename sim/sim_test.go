package sim

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shipped are the scenario files of the repository with a fleet small enough to
// run many times, and an image of a few blocks.
var shipped = []struct {
	file string
	n    int
	sets []string
}{
	{"first-update", 24, small("1.0.0", "1.1.0")},
	{"late-joiner", 12, small("1.0.0", "1.1.0")},
	{"power-cut", 60, small("1.0.0", "1.1.0")},
	{"http-update", 12, nil},
	{"data-partition", 12, []string{"faults.power fails during the copy.select.fraction=50%"}},
	{"bad-self-test", 40, small("1.0.0", "1.1.0")},
	{"rollback-attack", 12, small("1.0.0", "1.1.0")},
	{"tampered-image", 12, append(small("1.0.0", "1.1.0"), "attacks.one byte changed.offset=2000", "assertions.slots were filled before the refusal.sometimes=flash.bytes_programmed > 0")},
}

func small(versions ...string) (sets []string) {
	for _, v := range versions {
		sets = append(sets, "firmware."+v+".size=64KiB")
	}
	return sets
}

func load(t testing.TB, file string, opt scenario.Options) *scenario.Scenario {
	t.Helper()
	sc, problems, err := scenario.Load(filepath.Join("..", "scenarios", file+".yaml"), opt)
	require.NoError(t, err)
	require.NotNil(t, sc, "%v", problems)
	return sc
}

func run(t testing.TB, sc *scenario.Scenario, opt Options) *report.Result {
	t.Helper()
	res, err := Run(context.Background(), sc, opt)
	require.NoError(t, err)
	return res
}

// Same file, same seed: same trace, whatever the workers, with goroutines and
// without, with remembered digests and without. Another seed: another trace.
func TestSameSeedSameTrace(t *testing.T) {
	for _, s := range shipped {
		t.Run(s.file, func(t *testing.T) {
			opt := scenario.Options{Devices: s.n, Sets: s.sets}
			sc := load(t, s.file, opt)
			first := run(t, sc, Options{Workers: 1})
			require.Equal(t, report.VerdictPass, first.Verdict, "%+v %v", first.Assertions, first.Notes)
			for name, o := range map[string]Options{
				"again": {Workers: 1}, "2 workers": {Workers: 2, parallel: true}, "4 workers": {Workers: 4, parallel: true}, "short epochs on one": {Workers: 2},
				"stepped without goroutines": {Workers: 1, direct: true}, "every digest computed": {Workers: 2, noMemo: true, parallel: true}, "with detail": {Workers: 2, Detail: true},
			} {
				got := run(t, sc, o)
				require.Equal(t, first.TraceHash, got.TraceHash, name)
				require.Equal(t, first.Events, got.Events, name)
				require.Equal(t, first.Fleet, got.Fleet, name)
				require.Equal(t, first.Jobs, got.Jobs, name)
			}
			other := sc.Seed + 1000
			opt.Seed = &other
			require.NotEqual(t, first.TraceHash, run(t, load(t, s.file, opt), Options{Workers: 2}).TraceHash, "another seed")
		})
	}
}

func TestTextTraceIsTheSameForAnyWorkers(t *testing.T) {
	sc := load(t, "power-cut", scenario.Options{Devices: 30, Sets: small("1.0.0", "1.1.0")})
	var want bytes.Buffer
	hash := run(t, sc, Options{Workers: 1, Trace: &want}).TraceHash
	require.Contains(t, want.String(), "power lost in phase")
	require.Contains(t, want.String(), "boot: Loaded app from partition at offset 0x1d0000")
	for workers := 2; workers <= 4; workers++ {
		var got bytes.Buffer
		require.Equal(t, hash, run(t, sc, Options{Workers: workers, Trace: &got, parallel: true}).TraceHash)
		require.Equal(t, want.String(), got.String())
	}
	require.Equal(t, hash, run(t, sc, Options{Workers: 2}).TraceHash, "a trace changes nothing")
}

func TestPowerCutsStrikeInEveryPhase(t *testing.T) {
	for _, phase := range []string{"download", "flash-write", "verify", "otadata", "otadata-write", "self-test", "first-boot", "confirm"} {
		for _, torn := range []string{"none", "word", "page", "sector"} {
			t.Run(phase+"/"+torn, func(t *testing.T) {
				sc := load(t, "power-cut", scenario.Options{Devices: 20, Sets: append(small("1.0.0", "1.1.0"),
					"faults.mains unplugged.during=["+phase+"]", "faults.mains unplugged.select.fraction=100%", "faults.mains unplugged.torn="+torn,
					"assertions.the hard case did happen.sometimes=faults[\"mains unplugged\"].injected > 0")})
				res := run(t, sc, Options{Workers: 2})
				require.Equal(t, report.VerdictPass, res.Verdict, "%+v", res.Assertions)
				require.Equal(t, 20, res.Faults[0].Injected)
				require.Equal(t, 20, res.Faults[0].Recovered)
				require.Equal(t, map[string]int{phase: 20}, res.Faults[0].Phases)
				require.Zero(t, res.Fleet.Bricked)
			})
		}
	}
}

func TestNamedPoints(t *testing.T) {
	for _, point := range []string{"block(7).programmed", "slot.erase", "ready", "otadata.program", "reset", "self-test", "confirm", "report", "passive.erase"} {
		t.Run(point, func(t *testing.T) {
			sc := load(t, "power-cut", scenario.Options{Devices: 3, Sets: append(small("1.0.0", "1.1.0"),
				"faults.mains unplugged.during=null", "faults.mains unplugged.at="+point, "faults.mains unplugged.select.fraction=100%",
				"assertions.the hard case did happen.sometimes=faults[\"mains unplugged\"].injected > 0")})
			res := run(t, sc, Options{Workers: 1})
			require.Equal(t, report.VerdictPass, res.Verdict, "%+v", res.Assertions)
			require.Equal(t, 3, res.Faults[0].Injected)
		})
	}
}

func TestUntilTimeoutAndInterruptGiveAPartialResult(t *testing.T) {
	sc := load(t, "first-update", scenario.Options{Devices: 4})
	res := run(t, sc, Options{Until: 70 * time.Second})
	require.Equal(t, report.VerdictInconclusive, res.Verdict)
	require.InDelta(t, 70, res.VirtualSeconds, 0.001)

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	res, err := Run(ctx, sc, Options{})
	require.NoError(t, err)
	require.Equal(t, report.VerdictInterrupted, res.Verdict)
	require.Equal(t, 4, res.Fleet.Devices)

	res = run(t, sc, Options{Timeout: time.Nanosecond})
	require.Equal(t, report.VerdictInconclusive, res.Verdict)
}

func TestOperatorEvents(t *testing.T) {
	for _, c := range []struct {
		name, events string
		check        func(t *testing.T, r *report.Result)
	}{
		{"cancelJob", "[{at: 70s, cancelJob: {otaUpdateId: fw-1-1-0-canary}}]", func(t *testing.T, r *report.Result) {
			require.Equal(t, "CANCELED", r.Jobs[0].Status)
			require.Less(t, r.Fleet.OnVersion["1.1.0"], 10)
			require.Positive(t, r.Jobs[0].Executions["CANCELED"]+r.Jobs[0].Executions["SUCCEEDED"])
		}},
		{"deleteJob", "[{at: 70s, deleteJob: {otaUpdateId: fw-1-1-0-canary, force: true}}]", func(t *testing.T, r *report.Result) {
			require.Equal(t, "DELETED", r.Jobs[0].Status)
		}},
		{"cancelJobExecution", "[{at: 65s, cancelJobExecution: {otaUpdateId: fw-1-1-0-canary, thing: esp32-canary-00001, force: true}}]", func(t *testing.T, r *report.Result) {
			require.Equal(t, "COMPLETED", r.Jobs[0].Status, "%v", r.Notes)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			sc := load(t, "first-update", scenario.Options{Devices: 40, Sets: append(small("1.0.0", "1.1.0"), "fleet.groups.canary.count=10",
				"updates.fw-1-1-0-canary.awsJobExecutionsRolloutConfig.maximumPerMinute=10", "events="+c.events)})
			c.check(t, run(t, sc, Options{}))
		})
	}
}

// A real Wi-Fi application takes the whole way, byte for byte.
func TestRealImageGoesThroughUnchanged(t *testing.T) {
	dir := firmwareDir(t)
	sc := load(t, "first-update", scenario.Options{Devices: 6, Sets: []string{"firmware.1.1.0.image=" + filepath.Join(dir, "esp32-app-template.bin")}})
	res := run(t, sc, Options{})
	require.Equal(t, report.VerdictPass, res.Verdict, "%+v %v", res.Assertions, res.Notes)
	require.Equal(t, map[string]int{"1.1.0": 6}, res.Fleet.OnVersion)
}

// A device costs the same in a large fleet as in a small one. Events a device are
// counted, so the test says nothing about the machine's speed.
func TestEventsPerDeviceDoNotGrow(t *testing.T) {
	per := func(n int) float64 {
		sc := load(t, "first-update", scenario.Options{Devices: n, Sets: small("1.0.0", "1.1.0")})
		return float64(run(t, sc, Options{}).Events) / float64(n)
	}
	few, many := per(20), per(200)
	require.Less(t, many, few*1.2)
}

func firmwareDir(t *testing.T) string {
	dir := os.Getenv("OTASIM_FIRMWARE")
	if dir == "" {
		t.Skip("OTASIM_FIRMWARE is not set: no real images to try")
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join("..", dir)
	}
	return dir
}

func ExampleRun() {
	sc, _, err := scenario.Load("../scenarios/first-update.yaml", scenario.Options{Devices: 10, Sets: []string{"firmware.1.0.0.size=64KiB", "firmware.1.1.0.size=64KiB"}})
	if err != nil || sc == nil {
		fmt.Println("the file has mistakes")
		return
	}
	res, err := Run(context.Background(), sc, Options{Workers: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(res.Verdict, res.Fleet.OnVersion, strings.ToUpper(res.Jobs[0].Status))
	// Output: pass map[1.1.0:10] COMPLETED
}
