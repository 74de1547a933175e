package explore

import (
	"os"
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
		"never-restarts": "liveness", "erases-chosen": "bootable", "last-block-shifted": "blank-cells", "skip-signature": "verified-bytes",
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

// TestMillion explores a million cases of the correct system: updates over every boot loader, with and without
// anti-rollback.
func TestMillion(t *testing.T) {
	if os.Getenv("OTASIM_LONG") == "" {
		t.Skip("set OTASIM_LONG=1: a million cases take minutes")
	}
	cases := uint64(0)
	for _, loader := range []string{"afr-2022", "idf-5.5", "idf-6.0"} {
		for _, size := range []string{"64KiB", "512KiB", "1MiB"} {
			c := caseOf(t, "power-cut", 1, "firmware.1.0.0.size="+size, "firmware.1.1.0.size="+size, "fleet.groups.field.bootloader="+loader, "fleet.groups.field.agent=ideal")
			parts := []string{PartCuts, PartDoubles}
			if size == "64KiB" {
				parts = Parts()
			}
			f := search(t, c, Plan{Only: parts, Seeds: 6, Swarm: 128})
			cases += f.Tally.Cases + f.Tally.Recoveries
			t.Logf("%s %s: %d cut points, %d whole runs, %d failures", loader, size, f.Tally.Cases, f.Tally.Recoveries, f.Broken())
			for _, x := range f.Failures {
				if x.Known == "" {
					t.Errorf("%s: %s (%s)\n\totasim replay %s", x.Invariant, x.Detail, FormatActs(x.Acts), x.Token)
				}
			}
		}
	}
	t.Logf("%d cases", cases)
	require.GreaterOrEqual(t, cases, uint64(1_000_000))
}
