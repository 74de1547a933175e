package explore

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim"
)

// TestMutants plants the defects that a whole run shows; make mutants plants all.
func TestMutants(t *testing.T) {
	all := Mutants()
	require.GreaterOrEqual(t, len(all), 30)
	quick := map[string]string{ // and the checker that must notice
		"erase-wrong-slot": "running-slot", "burn-efuse-early": "fuse-after-test", "mark-valid-before-self-test": "self-test-first", "confirm-not-written": "job-truth",
		"never-restarts": "assertion", "erases-chosen": "bootable", "last-block-shifted": "blank-cells", "skip-signature": "verified-bytes",
		"secure-version-ignored": "secure-version", "expected-version-ignored": "status-once", "crc-ignored": "bootable", "abort-counts-wrong": "assertion",
	}
	for _, m := range all {
		_, err := sim.ParseDefects(m.Name)
		require.NoError(t, err)
		want, ok := quick[m.Name]
		if !ok && os.Getenv("OTASIM_LONG") == "" {
			continue
		}
		c, err := Hunt(t.Context(), "trials", m)
		require.NoError(t, err)
		require.True(t, c.Caught, m.Name)
		if ok {
			require.Equal(t, want, c.Checker, m.Name)
		}
	}
	_, err := sim.ParseDefects("no-such")
	require.Error(t, err)
}

// TestRounds explores one of the rounds of make explore-long with fewer cases. The correct system raises no alarm, and each of
// the rounds loads.
func TestRounds(t *testing.T) {
	rounds, err := Rounds("trials")
	require.NoError(t, err)
	for _, r := range rounds {
		_, err := r.Case.Load()
		require.NoError(t, err, r.Name)
	}
	one := rounds[0]
	one.Plan.Seeds, one.Plan.Swarm, one.Plan.Only = 1, 8, []string{PartCuts, PartSwarm}
	var b strings.Builder
	cases, alarms, err := Million(t.Context(), []Round{one}, 2, t.TempDir(), &b, func(string) {})
	require.NoError(t, err)
	require.Zero(t, alarms, b.String())
	require.Greater(t, cases, uint64(4000))
	require.Contains(t, b.String(), "power cuts and messages")
}
