package check

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim/report"
)

var names = Names{Groups: []string{"canary"}, Updates: []string{"fw"}, Faults: []string{"mains"}, Attacks: []string{"replay"}, Versions: []string{"1.0.0", "1.1.0"}}

func env() *Env {
	return &Env{
		Fleet:   report.Fleet{Devices: 1000, OnVersion: map[string]int{"1.1.0": 991, "1.0.0": 9}, ImageState: map[string]int{"ESP_OTA_IMG_VALID": 1000}},
		Groups:  map[string]report.Fleet{"canary": {Devices: 50}},
		Jobs:    map[string]report.Job{"fw": {Status: "COMPLETED", Executions: map[string]int{"SUCCEEDED": 991}, Failed: 9}},
		Faults:  map[string]report.Fault{"mains": {Injected: 103, Recovered: 103, Phases: map[string]int{"download": 61}}},
		Attacks: map[string]report.Attack{"replay": {Launched: 5, StoppedAt: map[string]int{"bootloader": 5}}},
		Devices: []report.Device{{Thing: "a", OTAState: "ESP_OTA_IMG_VALID"}, {Thing: "b", OTAState: "ESP_OTA_IMG_PENDING_VERIFY"}},
		Now:     time.Hour,
	}
}

func compile(t *testing.T, src string, kind Kind) *Program {
	t.Helper()
	p, err := Compile(src, kind, names, nil)
	require.Nil(t, err)
	return p
}

func TestHolds(t *testing.T) {
	for src, want := range map[string]struct {
		holds  bool
		actual string
	}{
		`fleet.bricked == 0`: {true, "0"},
		`fleet.on_version["1.1.0"] >= 0.99 * fleet.devices`:                                        {true, `fleet.on_version["1.1.0"] 991, fleet.devices 1000`},
		`fleet.on_version["1.1.0"] == fleet.devices`:                                               {false, `fleet.on_version["1.1.0"] 991, fleet.devices 1000`},
		`groups["canary"].devices == 50`:                                                           {true, "50"},
		`jobs["fw"].status == "COMPLETED" and jobs["fw"].executions["SUCCEEDED"] > 0`:              {true, `jobs["fw"].status "COMPLETED", jobs["fw"].executions["SUCCEEDED"] 991`},
		`jobs["fw"].failed == 0`:                                                                   {false, "9"},
		`faults["mains"].injected >= 80 and faults["mains"].recovered == faults["mains"].injected`: {true, `faults["mains"].injected 103, faults["mains"].recovered 103`},
		`faults["mains"].phases["otadata-write"] > 0`:                                              {false, "0"},
		`attacks["replay"].stopped_at["bootloader"] == attacks["replay"].launched`:                 {true, `attacks["replay"].stopped_at["bootloader"] 5, attacks["replay"].launched 5`},
		`none(devices, .otaState == "ESP_OTA_IMG_PENDING_VERIFY")`:                                 {false, "1"},
		`all(devices, .otaState != "ESP_OTA_IMG_ABORTED")`:                                         {true, "2"},
		`count(devices, .bricked) == 0`:                                                            {true, "0"},
		`now < duration("2h")`:                                                                     {true, "1h00m00s"},
	} {
		t.Run(src, func(t *testing.T) {
			p := compile(t, src, AtEnd)
			got, err := p.Holds(env())
			require.NoError(t, err)
			require.Equal(t, want.holds, got)
			require.Equal(t, want.actual, p.Actual(env()))
		})
	}
	empty, err := compile(t, `jobs["fw"].failed == 0 and fleet.on_version["1.0.0"] == 0`, When).Holds(&Env{})
	require.NoError(t, err)
	require.True(t, empty, "what is not there yet reads as zeros")
}

func TestCompileErrors(t *testing.T) {
	near := func(word string, candidates []string) string {
		for _, c := range candidates {
			if c != "" && c[0] == word[0] && c[len(c)-1] == word[len(word)-1] {
				return "did you mean " + c
			}
		}
		return ""
	}
	for src, want := range map[string]struct {
		kind       Kind
		word, text string
		help       string
	}{
		`fleet.brickd == 0`:               {Always, "brickd", "unknown field brickd", "did you mean bricked"},
		`flet.bricked == 0`:               {Always, "flet", "unknown name flet", "did you mean fleet"},
		`none(devices, .bricked)`:         {Always, "devices", "devices cannot be used here", "use a sum"},
		`any(devices, .bricked) `:         {Sometimes, "devices", "devices cannot be used here", ""},
		`len(devices) > 0`:                {When, "devices", "devices cannot be used here", ""},
		`jobs["fv"].failed == 0`:          {AtEnd, `"fv"`, `unknown otaUpdateId "fv"`, ""},
		`fleet.on_version["1.2.0"] > 1`:   {AtEnd, `"1.2.0"`, `unknown firmware version`, "did you mean 1.0.0"},
		`fleet.image_state["VALID"] > 1`:  {AtEnd, `"VALID"`, `unknown image state`, ""},
		`jobs["fw"].executions["DONE"]>1`: {AtEnd, `"DONE"`, `unknown job execution status`, ""},
		`jobs["fw"].status == "DONE"`:     {AtEnd, `"DONE"`, `unknown job status`, ""},
		`faults["x"].injected > 0`:        {AtEnd, `"x"`, `unknown fault "x"`, ""},
		`fleet.bricked`:                   {AtEnd, `fleet.bricked`, `must be true or false, it is of type int`, "compare it"},
		`fleet.bricked == "none"`:         {AtEnd, ``, `mismatched types int and string`, ""},
		`fleet.bricked == 0 and`:          {AtEnd, ``, `ends too early`, ""},
		`now > 3600`:                      {AtEnd, ``, `mismatched types`, `duration(`},
		`runing.slot == "ota_0"`:          {EveryDevice, "runing", "unknown name runing", "did you mean running"},
		`running.slto == "ota_0"`:         {EveryDevice, "slto", "unknown field slto", ""},
		`otaState == "VALID"`:             {EveryDevice, `"VALID"`, "unknown image state", ""},
		`fleet.bricked == 0 `:             {EveryDevice, "fleet", "unknown name fleet", ""},
	} {
		t.Run(src, func(t *testing.T) {
			_, err := Compile(src, want.kind, names, near)
			require.NotNil(t, err)
			require.Contains(t, err.Text, want.text)
			require.Contains(t, err.Help, want.help)
			if want.word != "" {
				require.Equal(t, want.word, string([]rune(src)[err.From:err.To]))
			}
		})
	}
}

func TestJudge(t *testing.T) {
	rule := func(name, src string, kind Kind, groups ...string) Rule {
		return Rule{Name: name, Program: compile(t, src, kind), Groups: groups, AbortOnFail: name == "abort"}
	}
	j := NewJudge([]Rule{
		rule("abort", "fleet.bricked == 0", Always),
		rule("always", "fleet.devices > 0", Always),
		rule("met", "fleet.rolled_back > 0", Sometimes),
		rule("never", "fleet.rolled_back > 7", Sometimes),
		rule("each", "not bricked", EveryDevice, "canary"),
		rule("end", "fleet.devices == 1000", AtEnd),
	}, true)
	e := env()
	require.False(t, j.After(e))
	e.Fleet.RolledBack, e.Now = 3, time.Minute
	require.False(t, j.After(e))
	e.Fleet.RolledBack = 0
	require.False(t, j.After(e))
	e.Fleet.Bricked = 1
	require.True(t, j.After(e), "abortOnFail")
	e.Fleet.Bricked = 0
	require.False(t, j.After(e), "only the first violation counts")
	require.False(t, j.Device(0, &report.Device{Thing: "x", Group: "field", Bricked: true}), "of another group")
	require.False(t, j.Device(time.Second, &report.Device{Thing: "y", Group: "canary", Bricked: true}))
	j.End(e)
	got := map[string]report.Assertion{}
	for _, a := range j.Assertions() {
		got[a.Name] = a
	}
	require.Equal(t, report.Assertion{Name: "abort", Kind: "always", Expr: "fleet.bricked == 0", Actual: "1 at 1m00s"}, got["abort"])
	require.True(t, got["always"].Holds)
	require.Equal(t, "5 checks", got["always"].Actual)
	require.True(t, got["met"].Holds)
	require.Equal(t, "3 at 1m00s", got["met"].Actual)
	require.False(t, got["never"].Holds)
	require.Equal(t, "warning", got["never"].Severity, "the fleet was scaled")
	require.False(t, got["each"].Holds)
	require.Contains(t, got["each"].Actual, "y: ")
	require.True(t, got["end"].Holds)
}

func TestThresholds(t *testing.T) {
	parse := func(metric, expr string) (Threshold, error) {
		return ParseThreshold(metric, expr,
			func(s string) (time.Duration, bool) { d, err := time.ParseDuration(s); return d, err == nil },
			func(s string) (uint64, bool) {
				return map[string]uint64{"2%": 20_000, "50%": 500_000}[s], s[len(s)-1] == '%'
			})
	}
	s := NewSamples()
	for i := range 1000 {
		group := "field"
		if i < 100 {
			group = "canary"
		}
		s.Duration(MetricJobExecutionDuration, group, time.Duration(i+1)*time.Second)
		s.Rate(MetricMQTTConnectFailed, group, i%50 == 0)
	}
	for _, c := range []struct {
		metric, expr string
		holds        bool
		actual       string
	}{
		{"job_execution_duration", "p(50) < 10m", true, "8m20s"},
		{"job_execution_duration", "p(99) <= 16m", false, "16m30s"},
		{"job_execution_duration", "max < 16m", false, "16m40s"},
		{"job_execution_duration", "avg > 500s", true, "8m21s"},
		{"job_execution_duration", "min >= 1s", true, "1.0s"},
		{"job_execution_duration", "count > 999", true, "1000"},
		{"job_execution_duration{group:canary}", "max < 101s", true, "1m40s"},
		{"job_execution_duration{group:nobody}", "max < 101s", false, "no samples"},
		{"mqtt_connect_failed", "rate <= 2%", true, "2%"},
		{"mqtt_connect_failed", "rate < 2%", false, "2%"},
	} {
		limit, err := parse(c.metric, c.expr)
		require.NoError(t, err)
		got := s.Judge([]Threshold{limit})[0]
		require.Equal(t, report.Threshold{Metric: c.metric, Expr: c.expr, Holds: c.holds, Actual: c.actual}, got)
	}
	for _, bad := range [][2]string{{"a b", "max < 1s"}, {"job_duration", "max"}, {"job_duration", "p(0) < 1s"}, {"job_duration", "p(101) < 1s"}, {"job_duration", "rate < 2%"},
		{"job_duration", "max < 5"}, {"mqtt_connect_failed", "max < 1s"}, {"mqtt_connect_failed", "rate < 1s"}, {"job_duration", "count < many"}} {
		_, err := parse(bad[0], bad[1])
		require.Error(t, err, "%v", bad)
	}
	q := s.Quantiles(MetricJobExecutionDuration)
	require.InDelta(t, 500, q.P50, 1)
	require.InDelta(t, 1000, q.Max, 1)
	require.Nil(t, s.Quantiles(MetricJobDuration))
}

// FuzzCompile: no text breaks the compiler, and an error has a place in the text.
func FuzzCompile(f *testing.F) {
	for _, s := range []string{`fleet.bricked == 0`, `none(devices, .bricked)`, `jobs["fw"].executions["SUCCEEDED"] > 0 and`, `a?.b ?? c`, `[1,2][now]`, "\"\n", `let x = 1; x == 1`, `{a: 1}`, `1..9`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, src string) {
		for _, kind := range []Kind{Always, AtEnd, EveryDevice} {
			p, err := Compile(src, kind, names, nil)
			if err != nil {
				if err.From < 0 || err.To < err.From {
					t.Fatalf("%q: %d..%d", src, err.From, err.To)
				}
				continue
			}
			if len(src) > 200 {
				continue // what an author writes can take long, but that is no fault
			}
			p.Actual(&Env{})
		}
	})
}

func BenchmarkAlways(b *testing.B) {
	p, err := Compile("fleet.bricked == 0", Always, names, nil)
	if err != nil {
		b.Fatal(err)
	}
	j, e := NewJudge([]Rule{{Program: p, AbortOnFail: true}}, false), env()
	for b.Loop() {
		if j.After(e) {
			b.Fatal("violated")
		}
	}
}

func BenchmarkEveryDevice(b *testing.B) {
	p, err := Compile("running.secureVersion >= efuse.secureVersion", EveryDevice, names, nil)
	if err != nil {
		b.Fatal(err)
	}
	j, d := NewJudge([]Rule{{Program: p, AbortOnFail: true}}, false), &report.Device{}
	for b.Loop() {
		if j.Device(0, d) {
			b.Fatal("violated")
		}
	}
}
