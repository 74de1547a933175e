package html

import (
	"bytes"
	"flag"
	"html"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim/report"
)

var update = flag.Bool("update", false, "write the golden text anew")

// fixture is a run with something of everything, names that need escaping included.
func fixture() *report.Result {
	t50, t90 := 61.0, 75.5
	created, done := 60.0, 90.0
	n := 30
	limit := int64(20)
	s := report.Series{Executions: map[string][]int{}, Versions: map[string][]int{}}
	for i := range n {
		s.At = append(s.At, float64(60+i))
		s.Executions["SUCCEEDED"] = append(s.Executions["SUCCEEDED"], i/2)
		s.Executions["IN_PROGRESS"] = append(s.Executions["IN_PROGRESS"], min(i, 5))
		s.Executions["FAILED"] = append(s.Executions["FAILED"], i/10)
		s.Versions["1.0.0"] = append(s.Versions["1.0.0"], 30-i/2)
		s.Versions["1.1.0 <&>"] = append(s.Versions["1.1.0 <&>"], i/2)
		s.Powered, s.Bricked, s.RolledBack = append(s.Powered, 30), append(s.Bricked, 0), append(s.RolledBack, i/15)
		s.MessagesIn, s.MessagesOut = append(s.MessagesIn, uint64(i*i)), append(s.MessagesOut, uint64(2*i*i))
		s.BytesIn, s.BytesOut = append(s.BytesIn, uint64(i*100)), append(s.BytesOut, uint64(i*40000))
		s.Connects, s.Throttled = append(s.Connects, uint64(i)), append(s.Throttled, uint64(i/20))
	}
	return &report.Result{
		Schema: report.Schema, Scenario: "a <fixture>", Seed: 7, Mode: "virtual", Workers: 2, Version: "test", Verdict: report.VerdictAssertion,
		VirtualSeconds: 90, WallSeconds: 0.5, Events: 12345, TraceHash: strings.Repeat("ab", 32),
		Fleet:   report.Fleet{Devices: 30, Powered: 30, OnVersion: map[string]int{"1.0.0": 16, "1.1.0 <&>": 14}, ImageState: map[string]int{}, RolledBack: 1},
		Jobs:    []report.Job{{ID: "AFR_OTA-fw", Status: "COMPLETED", CreatedAt: &created, CompletedAt: &done, Executions: map[string]int{"SUCCEEDED": 14, "FAILED": 2}}},
		Updates: report.Updates{Started: 16, Succeeded: 14, Failed: 2, TimeTo50: &t50, TimeTo90: &t90, Curve: []float64{20, 20, 22, 30, 61}},
		Traffic: report.Traffic{MQTTMessagesIn: 841, MQTTMessagesOut: 1682, MQTTBytesIn: 2900, MQTTBytesOut: 1160000, MeteredMessages: 2400, Connects: 29, Throttled: 1},
		Flash:   report.Flash{BytesProgrammed: 7 << 20, SectorsErased: 1800, MaxWear: 3},
		CostUSD: &report.Cost{Messages: 0.0024, Connectivity: 0.0001, JobExecutions: 0.048, Total: 0.0505, PricesAsOf: "2025-01-16", Region: "eu-central-1",
			Prices: []report.Price{{Name: "s3Get", USD: 0.00043, Per: 1000, Unit: "GET requests", Source: "a <list>", Date: "2026", Confirmed: true}, {Name: "s3Egress", USD: 0.09, Per: 1 << 30, Unit: "bytes", Upto: 10 << 40, Source: "recalled"}},
			Usage:  report.Usage{MeteredMessages: 2400, ConnectedMinutes: 45, JobExecutions: 16, S3Requests: 3, S3Gets: 1, S3Puts: 2}},
		Assertions: []report.Assertion{{Name: "no device is bricked", Kind: "always", Expr: "fleet.bricked == 0", Holds: true, Actual: "30 checks"},
			{Name: "all are done", Kind: "atEnd", Expr: `fleet.on_version["1.1.0"] == 30`, Actual: "14"}},
		Thresholds: []report.Threshold{{Metric: "job_execution_duration", Expr: "p(99) < 90m", Holds: true, Actual: "40s"}},
		Faults:     []report.Fault{{Name: "mains unplugged", Injected: 3, Recovered: 3, Phases: map[string]int{"download": 2, "verify": 1}}},
		Attacks:    []report.Attack{{Name: "replay", Threat: "T21", Launched: 4, StoppedAt: map[string]int{"bootloader": 4}}},
		Invariants: []report.Invariant{{ID: "bootable", Checked: 99, Violations: []report.Violation{{Thing: "esp32-1", At: 77, Detail: "no slot verifies", Replay: "r1-abc"}}}},
		Notes:      []string{"update fw-2 was not created"},
		Steps:      []report.Step{{At: 60, Text: "job AFR_OTA-fw IN_PROGRESS"}, {At: 90, Text: "job AFR_OTA-fw COMPLETED"}},
		Resets:     map[string]int{"ESP_RST_SW": 14},
		Detail: &report.Detail{Series: s, Latencies: []report.Bin{{From: 0.01, To: 0.0126, Count: 7}, {From: 0.0126, To: 0.0158, Count: 90}}, Durations: []report.Bin{{From: 20, To: 21, Count: 12}, {From: 21, To: 22, Count: 2}},
			Phases: []report.Phase{{Name: "download", Mean: 12, P95: 14}, {Name: "verify", Mean: 0.5, P95: 0.6}}, Wear: []report.Bin{{From: 1, To: 2, Count: 30}},
			Failures: []report.Cause{{Status: "FAILED", Reason: "reason: rejected: 0x0000000f", Count: 2, Example: "esp32-7"}},
			Timelines: []report.Timeline{{Thing: "esp32-7", Group: "field", Job: "AFR_OTA-fw", Status: "FAILED", Reason: "reason: rejected: 0x0000000f", Seconds: 30, Marks: []report.Step{{At: 60, Text: "job.received"}, {At: 88, Text: "reported"}}},
				{Thing: "esp32-9", Group: "field", Job: "AFR_OTA-fw", Status: "SUCCEEDED", Seconds: 22, QueuedAt: 61, Marks: []report.Step{{At: 61, Text: "job.received"}}}}},
		Quotas: []report.Quota{{Name: "connect-rate", Limit: &limit, Unit: "CONNECT per second and account", Peak: 30, Throttled: 4}, {Name: "payload", Unit: "bytes", Peak: 4300}},
	}
}

func write(t testing.TB, results ...*report.Result) string {
	t.Helper()
	var buf bytes.Buffer
	require.NoError(t, Write(&buf, results, []string{"otasim run a.yaml --seed 7"}))
	return buf.String()
}

// What a reader reads is in testdata/report.txt, tags, style, script and pictures
// left out.
func TestText(t *testing.T) {
	text := write(t, fixture())
	for _, what := range []string{`(?s)<style>.*?</style>`, `(?s)<script>.*?</script>`, `(?s)<svg.*?</svg>`} {
		text = regexp.MustCompile(what).ReplaceAllString(text, "")
	}
	text = regexp.MustCompile(`</(td|th|small|span|b)>`).ReplaceAllString(text, " | ")
	text = html.UnescapeString(regexp.MustCompile(`<[^>]*>`).ReplaceAllString(text, " "))
	var lines []string
	for _, l := range strings.Split(text, "\n") {
		if l = strings.Join(strings.Fields(l), " "); l != "" {
			lines = append(lines, l)
		}
	}
	got := strings.Join(lines, "\n") + "\n"
	golden := filepath.Join("testdata", "report.txt")
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(got), 0o600))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// Several seeds of one scenario are one section: a row each, the curve with its band, and all else about the worst one.
func TestSeeds(t *testing.T) {
	group := make([]*report.Result, 5)
	for i := range group {
		r := fixture()
		r.Seed = uint64(7 + i)
		if i != 3 {
			r.Verdict = report.VerdictPass
		}
		for k := range r.Updates.Curve {
			r.Updates.Curve[k] += float64(10 * i)
		}
		group[i] = r
	}
	other := fixture()
	other.Scenario = "another"
	text := write(t, append(group, other)...)
	require.Equal(t, 2, strings.Count(text, `<main id="run`))
	require.Contains(t, text, "seed 10 of several")
	require.Contains(t, text, "Median of 5 seeds, and the band from the 5th to the 95th percentile.")
	require.Contains(t, text, "fill-opacity:.22", "the band")
	require.Equal(t, 5, strings.Count(text, "<td>$0.05</td></tr>")-4, "a row for each seed, beside two bills")

	at := curveTimes([][]float64{{20, 20, 40}, {30, 40}})
	require.Len(t, at, curveSteps+1)
	l := curveLine([]float64{0, 25, 30, 35, 99}, [][]float64{{20, 20, 40}, {30, 40}})
	require.InDeltaSlice(t, []float64{0, 1.25, 1.5, 2.25, 3}, l.Y, 1e-9, "medians of straight lines; the second ends at 2 %")
	require.InDelta(t, 0.05*2.5, l.Lo[1], 1e-9)
}

func TestNothingIsFetchedAndEverythingEscaped(t *testing.T) {
	text := write(t, fixture())
	require.NotContains(t, text, "a <fixture>")
	require.NotContains(t, text, "1.1.0 <&>")
	require.NotRegexp(t, `(?i)(src|href)="?https?:`, text)
	require.NotContains(t, text, "@import")
	require.NotContains(t, text, "#0A00", "every colour is the page's")
	require.NotContains(t, text, "Liberation")
	require.Equal(t, text, write(t, fixture()), "equal runs, equal pages")
}

// A run without charts, and runs with numbers that no chart can draw, still make a page.
func TestOddRuns(t *testing.T) {
	bare := &report.Result{Schema: report.Schema, Scenario: "bare", Verdict: report.VerdictError, Error: "it broke"}
	require.Contains(t, write(t, bare), "it broke")
	odd := fixture()
	odd.Detail.Series.At[3] = math.NaN()
	odd.Detail.Phases[0].Mean = math.Inf(1)
	write(t, odd)
	empty := fixture()
	empty.Detail = &report.Detail{}
	write(t, empty, fixture())
	one := fixture()
	one.Detail.Series = report.Series{At: []float64{5}, Executions: map[string][]int{"QUEUED": {0}}, Powered: []int{30}, Bricked: []int{0}, RolledBack: []int{0},
		MessagesIn: []uint64{0}, MessagesOut: []uint64{0}, BytesIn: []uint64{0}, BytesOut: []uint64{0}, Connects: []uint64{0}, Throttled: []uint64{0}}
	write(t, one)
}

func TestTicks(t *testing.T) {
	for _, c := range []struct{ lo, hi float64 }{{0, 1}, {0, 7}, {0, 1e9}, {3, 3.001}, {0, 259200}} {
		n := len(ticks(c.lo, c.hi, 5, short))
		require.LessOrEqual(t, n, 6, "%v", c)
		require.Positive(t, n, "%v", c)
		require.LessOrEqual(t, len(clockTicks(c.lo, c.hi+1, 8)), 10)
	}
	require.Equal(t, "1d 2:03", clock(86400+2*3600+180))
	require.Equal(t, "0:01:05", clock(65))
}

// probe uses the page as a reader does, and writes down what it shows.
const probe = `<script>
const seen = [];
const svg = [...document.querySelectorAll("figure svg")].find((s) => s.getBoundingClientRect().width > 0), box = () => svg.getBoundingClientRect();
const send = (type, f, more) => svg.dispatchEvent(new PointerEvent(type, { clientX: box().left + f * box().width, clientY: box().top + 50, pointerType: "mouse", bubbles: true, ...more }));
send("pointermove", 0.5);
seen.push("tip " + svg.parentElement.querySelector(".tip").textContent);
send("pointerdown", 0.4, { buttons: 1 }); send("pointermove", 0.6, { buttons: 1 }); send("pointerup", 0.6);
seen.push("zoom " + svg.classList.contains("zoomed") + " " + svg.querySelectorAll(".newtick").length + " hidden " + svg.querySelectorAll(".tx").length);
svg.dispatchEvent(new MouseEvent("dblclick"));
seen.push("whole " + !svg.classList.contains("zoomed"));
const filter = document.querySelector("[data-filter]");
filter.value = "good"; filter.dispatchEvent(new Event("change"));
seen.push("filtered " + document.querySelector(".timelines details").hidden);
seen.push("error " + document.documentElement.dataset.error + " ready " + document.documentElement.dataset.ready);
document.title = seen.join("; ");
</script>`

// A real browser opens the page from a file, hovers, zooms and filters.
func TestBrowser(t *testing.T) {
	browser := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			browser = p
			break
		}
	}
	if browser == "" {
		t.Skip("no Chromium on this machine")
	}
	file := filepath.Join(t.TempDir(), "report.html")
	require.NoError(t, os.WriteFile(file, []byte(write(t, fixture())+probe), 0o600))
	for _, c := range []struct{ size, labels string }{{"1000,3000", "6"}, {"500,3000", "3"}} { // a desk, a phone
		cmd := exec.Command(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", //nolint:gosec // found above
			"--disable-component-update", "--disable-sync", "--user-data-dir="+t.TempDir(), "--window-size="+c.size, "--virtual-time-budget=3000", "--dump-dom", "file://"+file)
		out, err := cmd.Output()
		if err != nil {
			t.Skipf("Chromium does not run here: %v", err)
		}
		title := regexp.MustCompile(`<title>(.*?)</title>`).FindStringSubmatch(string(out))
		require.NotNil(t, title)
		got := html.UnescapeString(title[1])
		require.Regexp(t, `^tip 0:00:(29|30|31)succeeded: \d+`, got)
		require.Contains(t, got, "; zoom true "+c.labels+" hidden ")
		require.NotContains(t, got, "hidden 0;")
		require.Contains(t, got, "; whole true; filtered true; error undefined ready ")
	}
}
