package sim

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// Every field report ends in each of its variants as its file says, and names its source. Each shows the damage and its
// absence: a report that always passes, or never, would show nothing.
func TestFieldReports(t *testing.T) {
	files, err := filepath.Glob("../scenarios/field/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	table, err := os.ReadFile("../docs/field-reports.md")
	require.NoError(t, err)
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".yaml")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(f)
			require.NoError(t, err)
			require.Contains(t, string(text), "# Reported: ")
			require.Contains(t, string(text), "# Shown: ")
			require.Contains(t, string(table), "field/"+name+".yaml", "docs/field-reports.md has no row of this file")
			sc := load(t, "field/"+name, scenario.Options{})
			verdicts := map[bool]int{}
			for _, v := range sc.Variants {
				verdicts[v.Verdict == report.VerdictPass]++
			}
			require.NotZero(t, verdicts[true], "no variant passes")
			require.NotZero(t, verdicts[false], "no variant shows the damage")
			for _, v := range run(t, sc, Options{Workers: 2}).Variants {
				require.True(t, v.Holds, "%s ended %s, expected %s: %+v %+v", v.Name, v.Verdict, v.Expected, v.Result.Assertions, v.Result.Invariants)
			}
		})
	}
}
