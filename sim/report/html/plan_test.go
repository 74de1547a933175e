package html

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim/plan"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

func judged(t *testing.T, run plan.Runner) *plan.Judgement {
	t.Helper()
	base, err := filepath.Abs("../../../scenarios/first-update.yaml")
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "plan.yaml")
	require.NoError(t, os.WriteFile(path, []byte(`apiVersion: otasim/v1
kind: Plan
metadata: {name: "a <plan>"}
base: `+base+`
seeds: 4
devices: 20
parameters:
  rate: {path: updates.fw-1-1-0-field.awsJobExecutionsRolloutConfig.maximumPerMinute, values: [10, 50, 400]}
  kind: {choices: {plain: {fleet.defaults.otaconfig.MAX_NUM_BLOCKS_REQUEST: 1}, "many <blocks>": {fleet.defaults.otaconfig.MAX_NUM_BLOCKS_REQUEST: 8}}}
`), 0o600))
	p, problems, err := plan.Load(path, plan.Overrides{})
	require.NoError(t, err)
	require.NotNil(t, p, "%v", problems)
	runs, err := p.Carry(context.Background(), plan.Execution{Parallel: 1, Run: run})
	require.NoError(t, err)
	return p.Judge(runs)
}

func TestPlanPage(t *testing.T) {
	j := judged(t, func(_ context.Context, sc *scenario.Scenario, _ time.Duration) (*report.Result, error) {
		t99 := 6000/float64(sc.Updates[1].Rollout.MaximumPerMinute) + float64(sc.Seed)
		return &report.Result{Verdict: report.VerdictPass, CostUSD: &report.Cost{Total: 1 / t99, Messages: 0.6 / t99, S3: 0.4 / t99, S3Transfer: 0.3 / t99},
			Updates: report.Updates{TimeTo50: &t99, TimeTo90: &t99, TimeTo99: &t99, Curve: []float64{0, t99 / 2, t99}}}, nil
	})
	var page bytes.Buffer
	require.NoError(t, WritePlan(&page, j))
	text := page.String()
	require.NotContains(t, text, "a <plan>")
	require.NotContains(t, text, "many <blocks>")
	require.NotContains(t, text, "#0A00")
	require.Equal(t, 6, strings.Count(text, `id="row-`))
	for _, id := range []string{"curves", "front-time_to_99-cost", "response-rate-time_to_99", "response-kind-cost", "cost-parts"} {
		require.Contains(t, text, `id="`+id+`"`)
	}
	require.Contains(t, text, "Take row")
}

// Nothing ever arrives: still a page, without pictures of what is not there.
func TestPlanPageOfNothing(t *testing.T) {
	j := judged(t, func(context.Context, *scenario.Scenario, time.Duration) (*report.Result, error) {
		return &report.Result{Verdict: report.VerdictInconclusive}, nil
	})
	var page bytes.Buffer
	require.NoError(t, WritePlan(&page, j))
	require.False(t, strings.Contains(page.String(), `"NaN"`))
}
