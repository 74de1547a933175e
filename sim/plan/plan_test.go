package plan

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

const good = `apiVersion: otasim/v1
kind: Plan
metadata: {name: test plan}
base: ../../scenarios/first-update.yaml
seeds: 3
seed: 10
devices: 100
parameters:
  rate: {path: updates.fw-1-1-0-field.awsJobExecutionsRolloutConfig.maximumPerMinute, values: [100, 200, 400, 800, 1000]}
  block: {path: fleet.defaults.otaconfig.LOG2_FILE_BLOCK_SIZE, range: {from: 10, to: 12, step: 2}}
minimize: [time_to_99, cost]
constraints: ["bricked == 0", "time_to_99 < 20m"]
`

func load(t *testing.T, text string, over Overrides) (*Plan, []scenario.Problem, error) {
	t.Helper()
	dir, err := os.MkdirTemp(".", "plan-test-") // beside the shipped scenarios, so that base is found
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "plan.yaml")
	require.NoError(t, os.WriteFile(path, []byte(strings.ReplaceAll(text, "../../scenarios", "../../../scenarios")), 0o600))
	return Load(path, over)
}

func mustLoad(t *testing.T, over Overrides) *Plan {
	t.Helper()
	p, problems, err := load(t, good, over)
	require.NoError(t, err)
	require.NotNil(t, p, "%v", problems)
	return p
}

// world answers with numbers made from the scenario: the time falls with the rate and
// hardly beyond 400 a minute, small blocks cost more.
func world(_ context.Context, sc *scenario.Scenario, _ time.Duration) (*report.Result, error) {
	rate := float64(sc.Updates[1].Rollout.MaximumPerMinute)
	block := float64(sc.Fleet.Groups[0].Otaconfig.Log2FileBlockSize)
	t99 := 60000/rate + 300 + float64(sc.Seed) + 1500*math.Max(0, 400-rate)/400
	cost := 0.5 + (12-block)*0.2 + rate/10000
	return &report.Result{Verdict: report.VerdictPass, Updates: report.Updates{TimeTo50: &t99, TimeTo90: &t99, TimeTo99: &t99, Curve: []float64{0, t99}}, CostUSD: &report.Cost{Total: cost}}, nil
}

func TestLoad(t *testing.T) {
	p := mustLoad(t, Overrides{})
	require.Len(t, p.Points, 10)
	require.Equal(t, "rate=100 block=10", p.Label(&p.Points[0]))
	require.Equal(t, "rate=1000 block=12", p.Label(&p.Points[9]))
	sc, _, err := p.scenario(&p.Points[3], 42)
	require.NoError(t, err)
	require.Equal(t, 100, sc.Devices())
	require.EqualValues(t, 42, sc.Seed)
	require.Equal(t, []string{"10", "12"}, p.Parameters[1].Labels)

	other := mustLoad(t, Overrides{Minimize: []string{"hurt"}, Seeds: 1, Devices: 60, Constraints: []string{"cost < 3"}})
	require.Equal(t, "hurt", other.Minimize[0].Name)
	require.Len(t, other.Constraints, 3)
	require.NotEqual(t, p.id, other.id, "other devices, other runs")
	same := mustLoad(t, Overrides{Minimize: []string{"hurt"}, Seeds: 9})
	require.Equal(t, p.id, same.id, "what is asked of runs does not change them")
}

// Mistakes are told with their place; none of them is found only when its run begins.
func TestMistakes(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"kind: Plan", "kind: Plans", "unknown value"},
		{"first-update.yaml", "no-such.yaml", "cannot read the base scenario"},
		{"values: [100,", "values: [0,", "too small"},
		{"updates.fw-1-1-0-field.", "updates.fw-9.", "fw-9"},
		{"range: {from: 10, to: 12, step: 2}", "range: {from: 12, to: 10}", "empty or endless range"},
		{"range: {from: 10, to: 12, step: 2}", "values: []", "has no values"},
		{"range: {from: 10, to: 12, step: 2}", "values: [10, 10]", "twice"},
		{"path: fleet.defaults.otaconfig.LOG2_FILE_BLOCK_SIZE, ", "", "has no path"},
		{"range: {from: 10, to: 12, step: 2}", "values: [10], range: {from: 1, to: 2}", "has 2 of values, range, choices"},
		{"range: {from: 10, to: 12, step: 2}", "range: {from: 0, to: 9000000000}", "endless"},
		{"minimize: [time_to_99, cost]", "minimize: [time_to_98]", "unknown metric"},
		{`"bricked == 0"`, `"bricked = 0"`, "expected a limit"},
		{`"bricked == 0"`, `"brickd == 0"`, "bricked"},
		{`"bricked == 0"`, `"bricked < 0"`, `no run can keep "bricked < 0"`},
		{`"bricked == 0"`, `"time_to_99 > 1h"`, `no run can keep "time_to_99 > 1h" and "time_to_99 < 20m"`},
		{"time_to_99 < 20m", "time_to_99 < 20", "is a time"},
		{"seeds: 3", "seeds: 0", "too small"},
		{"seeds: 3", "sedes: 3", `did you mean "seeds"`},
	} {
		require.Contains(t, good, c.old)
		p, problems, err := load(t, strings.Replace(good, c.old, c.new, 1), Overrides{})
		require.NoError(t, err, c.new)
		require.Nil(t, p, c.new)
		var text bytes.Buffer
		for _, q := range problems {
			q.Write(&text, false)
		}
		require.Contains(t, text.String(), c.want, c.new)
		require.Contains(t, text.String(), "yaml:", c.new)
	}
	for _, o := range []Overrides{{Minimize: []string{"speed"}}, {Constraints: []string{"time_to_99"}}} {
		_, _, err := load(t, good, o)
		require.ErrorIs(t, err, ErrUsage)
	}
}

func TestImpossibleConstraints(t *testing.T) {
	for text, want := range map[string]bool{
		"cost < 0": true, "cost <= 0": false, "cost == -1": true, "cost < 5;cost > 5": true, "cost <= 5;cost >= 5": false, "cost < 5;cost >= 5": true,
		"cost == 3;cost == 4": true, "cost == 3;cost < 3": true, "cost == 3;cost != 3": false, "hurt < 5;cost > 9": false, "cost > 1;cost < 0.5": true, "hurt > 3": false,
	} {
		var all []Constraint
		for one := range strings.SplitSeq(text, ";") {
			c, err := ParseConstraint(one)
			require.NoError(t, err)
			all = append(all, c)
		}
		require.Equal(t, want, impossible(all) != "", text)
	}
	_, _, err := load(t, good, Overrides{Constraints: []string{"time_to_99 > 2h"}})
	require.ErrorContains(t, err, "no run can keep")
	require.NotErrorIs(t, err, ErrUsage)
}

// A circumstance is not a choice: the recommendation is for its first value, and what hurts is looked for under the others.
func TestGiven(t *testing.T) {
	text := strings.Replace(good, "  block: {path: fleet.defaults.otaconfig.LOG2_FILE_BLOCK_SIZE, range: {from: 10, to: 12, step: 2}}",
		"  build: {given: true, choices: {good: {}, bad: {firmware.1.1.0.selfTest: crash}}}", 1)
	p, problems, err := load(t, text, Overrides{Minimize: []string{"time_to_99", "cost", "hurt"}, Seeds: 1})
	require.NoError(t, err)
	require.NotNil(t, p, "%v", problems)
	j := carry(t, p, Execution{Parallel: 2, Run: func(ctx context.Context, sc *scenario.Scenario, d time.Duration) (*report.Result, error) {
		r, err := world(ctx, sc, d)
		if sc.Firmware[1].SelfTest == "crash" {
			r.CostUSD.Total, r.Updates.Hurt = 0.1, int(sc.Updates[1].Rollout.MaximumPerMinute)
		}
		return r, err
	}})
	require.Equal(t, "rate=1000 build=good", p.Label(j.Best.Point))
	said := strings.Join(j.Text, "\n")
	require.Contains(t, said, "the single change that helps time_to_99 most is to row 9 (rate=1000 build=good)")
	require.Contains(t, said, "no single change makes cost much smaller", "a bad build is no way to save money")
	require.Contains(t, said, "Where there is most of it, row 2 (rate=100 build=bad), no single change makes hurt much smaller than 100.")
	require.True(t, j.Rows[5].Pareto, "rows under other circumstances do not beat it")
}

func TestRandomSearch(t *testing.T) {
	a, _, err := load(t, good+"search: {random: 4}\n", Overrides{})
	require.NoError(t, err)
	b, _, err := load(t, good+"search: {random: 4}\n", Overrides{})
	require.NoError(t, err)
	require.Len(t, a.Points, 4)
	require.Equal(t, a.Points, b.Points)
}

func TestChoices(t *testing.T) {
	text := strings.Replace(good, "  block: {path: fleet.defaults.otaconfig.LOG2_FILE_BLOCK_SIZE, range: {from: 10, to: 12, step: 2}}",
		"  shape:\n    choices:\n      small: {fleet.defaults.otaconfig.LOG2_FILE_BLOCK_SIZE: 10, fleet.defaults.otaconfig.MAX_NUM_BLOCKS_REQUEST: 8}\n      large: {fleet.defaults.otaconfig.LOG2_FILE_BLOCK_SIZE: 12}", 1)
	p, problems, err := load(t, text, Overrides{})
	require.NoError(t, err)
	require.NotNil(t, p, "%v", problems)
	sc, _, err := p.scenario(&p.Points[0], 1)
	require.NoError(t, err)
	require.EqualValues(t, 10, sc.Fleet.Groups[0].Otaconfig.Log2FileBlockSize)
	require.EqualValues(t, 8, sc.Fleet.Groups[0].Otaconfig.MaxNumBlocksRequest)
	require.Equal(t, "rate=100 shape=small", p.Label(&p.Points[0]))
}

func carry(t *testing.T, p *Plan, e Execution) *Judgement {
	t.Helper()
	if e.Run == nil {
		e.Run = world
	}
	runs, err := p.Carry(context.Background(), e)
	require.NoError(t, err)
	return p.Judge(runs)
}

func TestJudgement(t *testing.T) {
	p := mustLoad(t, Overrides{})
	j := carry(t, p, Execution{Parallel: 3})
	require.Zero(t, j.Missing)
	require.NotNil(t, j.Best)
	require.Equal(t, "rate=1000 block=12", p.Label(j.Best.Point))
	require.Equal(t, []string{"time_to_99 < 20m"}, j.Rows[0].Broken)
	s := j.Best.Spreads["time_to_99"]
	require.InDelta(t, 60+300+11, s.P50, 1e-9, "the median of seeds 10, 11, 12")
	require.InDelta(t, 60+300+10.1, s.P5, 1e-9)
	require.InDelta(t, 60+300+11.9, s.P95, 1e-9)
	var front []int
	for _, r := range j.Rows {
		if r.Pareto {
			front = append(front, r.Number)
		}
	}
	require.Equal(t, []int{6, 8, 10}, front, "faster is dearer; small blocks are never better")
	require.Len(t, j.Responses, 2)
	require.Equal(t, "rate=400", label(p, j.Responses[0].Parameter, j.Responses[0].Rows[j.Responses[0].Knee]))
	text := strings.Join(j.Text, "\n")
	require.Contains(t, text, "Take row 10 (rate=1000 block=12): time_to_99 6m11s (6m10s to 6m12s), cost $0.60.")
	require.Contains(t, text, "as 6 of 10 rows do")
	require.Contains(t, text, "the single change that helps time_to_99 most is to row 9 (rate=1000 block=10)")
	require.Contains(t, text, "Beyond rate=400 in row 6")
	require.Contains(t, text, "Rows 6, 8, 10 are the choices between time_to_99 and cost")

	var table bytes.Buffer
	j.WriteTable(&table, 0)
	require.Contains(t, table.String(), "breaks time_to_99 < 20m")
	var lines bytes.Buffer
	require.NoError(t, j.WriteCSV(&lines))
	require.Equal(t, 11, strings.Count(lines.String(), "\n"))
	lines.Reset()
	require.NoError(t, j.WriteJSONLines(&lines))
	require.Equal(t, 30, strings.Count(lines.String(), "\n"))
	require.Equal(t, 10, *j.Document().Best)
}

func TestImpossible(t *testing.T) {
	p := mustLoad(t, Overrides{Constraints: []string{"time_to_99 < 1s", "cost < 0.62"}})
	j := carry(t, p, Execution{Parallel: 1})
	require.Nil(t, j.Best)
	text := strings.Join(j.Text, "\n")
	require.Contains(t, text, "No row keeps every constraint.")
	require.Contains(t, text, `"time_to_99 < 1s" is kept by none; the nearest is row 9`)
	require.Contains(t, text, `"cost < 0.62" is kept by`)
}

// Whatever the number of runs at a time, the answer is the same.
func TestParallelDoesNotMatter(t *testing.T) {
	p := mustLoad(t, Overrides{})
	var first string
	for _, n := range []int{1, 2, 7} {
		var out bytes.Buffer
		require.NoError(t, carry(t, p, Execution{Parallel: n}).WriteJSONLines(&out))
		if first == "" {
			first = out.String()
		}
		require.Equal(t, first, out.String())
	}
}

// A plan that was killed, even in the middle of a line, goes on where it was.
func TestResume(t *testing.T) {
	p := mustLoad(t, Overrides{})
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	var made atomic.Int32
	counting := func(ctx context.Context, sc *scenario.Scenario, until time.Duration) (*report.Result, error) {
		made.Add(1)
		return world(ctx, sc, until)
	}
	runs, err := p.Carry(ctx, Execution{Dir: dir, Parallel: 1, Run: counting, Progress: func(done, _ int, _ *Run) {
		if done == 7 {
			cancel()
		}
	}})
	require.ErrorIs(t, err, context.Canceled)
	j := p.Judge(runs)
	require.Equal(t, 23, j.Missing)
	require.Contains(t, j.Text[0], "7 of 30 runs were made")

	name := filepath.Join(dir, "runs.jsonl")
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(name, append(text, text[:len(text)/20]...), 0o600)) // half a line more
	made.Store(0)
	again := carry(t, p, Execution{Dir: dir, Parallel: 2, Run: counting})
	require.EqualValues(t, 23, made.Load())
	made.Store(0)
	third := carry(t, p, Execution{Dir: dir, Parallel: 2, Run: counting})
	require.Zero(t, made.Load())
	var a, b, c bytes.Buffer
	require.NoError(t, again.WriteJSONLines(&a))
	require.NoError(t, third.WriteJSONLines(&b))
	require.NoError(t, carry(t, p, Execution{Parallel: 1}).WriteJSONLines(&c))
	require.Equal(t, c.String(), a.String())
	require.Equal(t, c.String(), b.String())

	other := mustLoad(t, Overrides{Devices: 60})
	_, err = other.Carry(context.Background(), Execution{Dir: dir, Parallel: 1, Run: world})
	require.ErrorIs(t, err, ErrOtherPlan)
	require.NoError(t, os.WriteFile(name, []byte("{nonsense}\n"), 0o600))
	_, err = p.Carry(context.Background(), Execution{Dir: dir, Parallel: 1, Run: world})
	require.ErrorContains(t, err, "runs.jsonl:1:")
}

func TestErrorsEndThePlan(t *testing.T) {
	p := mustLoad(t, Overrides{})
	broken := errors.New("broken")
	_, err := p.Carry(context.Background(), Execution{Parallel: 2, Run: func(context.Context, *scenario.Scenario, time.Duration) (*report.Result, error) { return nil, broken }})
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "rate=100 block=10")
}

// Never is worse than any time, keeps no upper limit, and is no number in any output.
func TestNever(t *testing.T) {
	p := mustLoad(t, Overrides{})
	j := carry(t, p, Execution{Parallel: 1, Run: func(ctx context.Context, sc *scenario.Scenario, until time.Duration) (*report.Result, error) {
		r, err := world(ctx, sc, until)
		if sc.Updates[1].Rollout.MaximumPerMinute < 1000 {
			r.Updates.TimeTo99 = nil
		}
		return r, err
	}})
	require.Equal(t, "rate=1000 block=12", p.Label(j.Best.Point))
	var out bytes.Buffer
	require.NoError(t, j.WriteCSV(&out))
	require.NotContains(t, out.String(), "Inf")
	require.Nil(t, j.Document().Rows[0].Metrics["time_to_99"][1])
	require.Equal(t, "never", j.Cell(j.Rows[0], metric("time_to_99")))
}

func FuzzParseConstraint(f *testing.F) {
	for _, s := range []string{"time_to_99 < 6h", "bricked == 0", "cost <= $20", "hurt>=1e3", "x < ", "cost < NaN"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseConstraint(text)
		if err != nil {
			return
		}
		if c.Metric == nil || math.IsNaN(c.Limit) || math.IsInf(c.Limit, 0) {
			t.Fatalf("%q: %+v", text, c)
		}
		c.Holds(0)
		c.Metric.Write(c.Limit)
	})
}
