package sim

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim/plan"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// Each example plan loads at every point, and runs at its first and its last one with
// a small fleet.
func TestExamplePlans(t *testing.T) {
	files, err := filepath.Glob("../scenarios/plans/*.yaml")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(files), 5)
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			p, problems, err := plan.Load(f, plan.Overrides{Devices: 12, Seeds: 1})
			require.NoError(t, err)
			require.NotNil(t, p, "%v", problems)
			require.Empty(t, problems)
			require.NotEmpty(t, p.Description)
			first, last := p.Points[0], p.Points[len(p.Points)-1]
			p.Points = []plan.Point{first, last}
			runs, err := p.Carry(context.Background(), plan.Execution{Parallel: 1, Run: func(ctx context.Context, sc *scenario.Scenario, _ time.Duration) (*report.Result, error) {
				return Run(ctx, sc, Options{Workers: 1})
			}})
			require.NoError(t, err)
			j := p.Judge(runs)
			require.Zero(t, j.Missing)
			require.NotEmpty(t, j.Text)
			for _, r := range runs {
				require.Positive(t, r[0].Values["succeeded"]+r[0].Values["failed"]+r[0].Values["cost"])
				require.NotContains(t, []string{report.VerdictError, report.VerdictSafety}, r[0].Verdict, r[0].Error)
			}
		})
	}
}
