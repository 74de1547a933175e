package explore

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// runFile writes the scenario file of a finding and runs it as otasim run does.
func runFile(t *testing.T, c Case, f *Finding) (*report.Result, string) {
	t.Helper()
	text, err := os.ReadFile(c.File)
	require.NoError(t, err)
	made, ok, err := ScenarioFile(t.Context(), text, f)
	require.NoError(t, err)
	require.True(t, ok)
	path := t.TempDir() + "/found.yaml"
	require.NoError(t, os.WriteFile(path, made, 0o600))
	sc, problems, err := scenario.Load(path, scenario.Options{})
	require.NoError(t, err)
	require.NotNil(t, sc, "%v\n%s", problems, made)
	res, err := sim.Run(t.Context(), sc, sim.Options{Workers: 1})
	require.NoError(t, err)
	require.NotEqual(t, "pass", res.Verdict, string(made))
	return res.Variants[0].Result, string(made)
}

// TestScenarioFiles: the file made of a failure shows the failure when it is run, whatever was done to the run.
func TestScenarioFiles(t *testing.T) {
	c := caseOf(t, "power-cut", 1, append([]string{"fleet.groups.field.agent=ota-main"}, small...)...)
	found := search(t, c, Plan{Seeds: 1, Swarm: 24, Only: []string{PartCuts, PartSwarm}}).Failures
	e, err := New(t.Context(), c)
	require.NoError(t, err)
	for _, text := range []string{"drop down 2", "drop up 10", "dup down 9 by=20ms", "cut 295 not-started; drop up 8", "dup up 8 by=5s; drop up 10", "late down 2 by=10h"} {
		acts, err := ParseActs(text)
		require.NoError(t, err)
		tally, err := e.Whole(acts)
		require.NoError(t, err)
		require.NotEmpty(t, tally.Failures, text)
		token, err := e.Token(c, acts)
		require.NoError(t, err)
		found = append(found, Finding{Failure: tally.Failures[0], Token: token})
	}
	broken := map[string]bool{}
	for i := range found {
		x := &found[i]
		res, made := runFile(t, c, x)
		broken[x.Invariant] = true
		for _, fault := range res.Faults {
			require.Equal(t, 1, fault.Injected, made)
		}
		var fails []string
		for _, a := range res.Assertions {
			if !a.Holds {
				fails = append(fails, a.Name)
			}
		}
		for _, v := range res.Invariants {
			if len(v.Violations) > 0 {
				fails = append(fails, v.ID)
			}
		}
		want := map[string]string{"job-truth": "the cloud says what the flash says", "liveness": "ends for", "tolerance": "succeeds as often"}[x.Invariant]
		require.NotEmpty(t, want, x.Invariant)
		require.True(t, slices.ContainsFunc(fails, func(s string) bool { return strings.Contains(s, want) }), "%s: %v\n%s", x.Invariant, fails, made)
	}
	require.Equal(t, map[string]bool{"job-truth": true, "liveness": true, "tolerance": true}, broken)
}

// TestFilesAreTheRun: a file does to the run what the acts of the token do: jobs end at the same nanosecond, and flash takes the
// same commands.
func TestFilesAreTheRun(t *testing.T) {
	c := caseOf(t, "power-cut", 1, append([]string{"fleet.groups.field.agent=ota-main"}, small...)...)
	e, err := New(t.Context(), c)
	require.NoError(t, err)
	ref, err := e.Reference()
	require.NoError(t, err)
	type run struct {
		c    Case
		acts []Act
	}
	var runs []run
	for _, text := range []string{
		"cut 150 prefix 17", "cut 20 erase-noise seed=3", "cut 295 erase-looks-done seed=1", "cut 300 subset seed=43 off=1m4s", // one cut
		"cut 296 done; cut 298 prefix 9", "cut 297 not-started; cut 298 subset seed=2", "cut 299 done; cut 300 done; cut 301 done", // in trial, loader, confirmation
		"off 63.25s", "off 70s off=16s; cut 300 done",
		"drop down 2", "dup down 9 by=20ms", "late up 10 by=40s", "drop up 8; late down 3 by=2s", "cut 298 done; dup up 9 by=5s; drop up 12",
	} {
		acts, err := ParseActs(text)
		require.NoError(t, err)
		runs = append(runs, run{c, acts})
	}
	for n := range uint64(24) {
		k, acts := Draw(c, groupsOf(e), ref, []int{0}, n)
		runs = append(runs, run{k, acts})
	}
	tried := 0
	for _, r := range runs {
		one, err := New(t.Context(), r.c)
		require.NoError(t, err)
		rep, err := one.Run(r.acts, nil)
		require.NoError(t, err)
		if len(rep.Fired) == 0 {
			continue
		}
		tried++
		token, err := one.Token(r.c, r.acts)
		require.NoError(t, err)
		f := &Finding{Failure: Failure{Invariant: "none", Acts: r.acts}, Token: token}
		text, err := os.ReadFile(c.File)
		require.NoError(t, err)
		made, ok, err := ScenarioFile(t.Context(), text, f)
		require.NoError(t, err)
		require.True(t, ok)
		path := t.TempDir() + "/found.yaml"
		require.NoError(t, os.WriteFile(path, made, 0o600))
		sc, problems, err := scenario.Load(path, scenario.Options{})
		require.NoError(t, err)
		require.NotNil(t, sc, "%v\n%s", problems, made)
		res, err := sim.Run(t.Context(), sc, sim.Options{Workers: 1})
		require.NoError(t, err)
		got := res.Variants[0].Result
		require.Equal(t, rep.Outcome.Jobs, got.Jobs, "%s\n%s", FormatActs(r.acts), made)
		require.Equal(t, rep.Outcome.Fleet, got.Fleet, "%s\n%s", FormatActs(r.acts), made)
		require.Equal(t, rep.Outcome.Result.Flash, got.Flash, "%s\n%s", FormatActs(r.acts), made)
		for _, fault := range got.Faults {
			require.Equal(t, 1, fault.Injected, "%s of %s\n%s", fault.Name, FormatActs(r.acts), made)
		}
	}
	require.Greater(t, tried, 20)
}
