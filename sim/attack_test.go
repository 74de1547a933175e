package sim

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// Every attack scenario ends as each of its variants declares, names its threat and
// says its class; one that is prevented or detected also shows the attack succeed
// somewhere, or says in its variants what stays.
func TestAttackScenarios(t *testing.T) {
	files, err := filepath.Glob("../scenarios/attacks/*.yaml")
	require.NoError(t, err)
	require.Greater(t, len(files), 60)
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".yaml")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sc := load(t, "attacks/"+name, scenario.Options{})
			classes := 0
			for _, c := range []string{"prevented", "detected", "documented"} {
				if slices.Contains(sc.Metadata.Tags, c) {
					classes++
				}
			}
			require.Equal(t, 1, classes, "tags: %v", sc.Metadata.Tags)
			id, _, _ := strings.Cut(name, "-")
			require.Contains(t, sc.Metadata.Tags, id)
			for _, a := range sc.Attacks {
				require.Equal(t, strings.TrimRight(id, "bcdef"), a.Threat)
				require.NotEmpty(t, a.Holds, "an attack says what its actor holds")
			}
			res := run(t, sc, Options{Workers: 1})
			for _, v := range res.Variants {
				require.True(t, v.Holds, "variant %q: %s, expected %s: %+v %+v", v.Name, v.Verdict, v.Expected, v.Result.Assertions, v.Result.Notes)
			}
			require.Equal(t, report.VerdictPass, res.Verdict, "%+v %v", res.Assertions, res.Notes)
		})
	}
}

// Attacks draw from the seed alone: the same history for any number of workers.
func TestAttacksAreDeterministic(t *testing.T) {
	for _, name := range []string{"T22b-rollback-by-flash-write", "T58-reports-in-other-names", "T59-client-id-takeover", "T43-blocks-changed-by-the-broker", "T43b-bytes-changed-on-the-path",
		"T23-rollback-by-crashing-the-trial", "T09b-replay-through-the-broker", "T39-wrong-time", "T40b-signed-by-the-attacker",
		"T50-aggressive-revoke-abused"} {
		t.Run(name, func(t *testing.T) {
			sc := load(t, "attacks/"+name, scenario.Options{})
			first := run(t, sc, Options{Workers: 1})
			for workers := 2; workers <= 4; workers++ {
				got := run(t, sc, Options{Workers: workers, parallel: true})
				require.Equal(t, first.TraceHash, got.TraceHash)
				require.Equal(t, first.Attacks, got.Attacks)
				require.Equal(t, first.Invariants, got.Invariants)
				for i := range first.Variants {
					require.Equal(t, first.Variants[i].Result.TraceHash, got.Variants[i].Result.TraceHash, first.Variants[i].Name)
				}
			}
		})
	}
}
