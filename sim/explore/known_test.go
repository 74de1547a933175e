package explore

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/sim/check"
)

// struck runs the update with these acts and returns the breaches, each with its name among the known limits.
func struck(t *testing.T, profile, defects, acts string, sets ...string) (out []string) {
	t.Helper()
	c := caseOf(t, "power-cut", 1, append([]string{"fleet.groups.field.agent=" + profile}, append(slices.Clone(small), sets...)...)...)
	c.Defects = defects
	e, err := New(context.Background(), c)
	require.NoError(t, err)
	list, err := ParseActs(acts)
	require.NoError(t, err)
	tally, err := e.Whole(list)
	require.NoError(t, err)
	for _, f := range tally.Failures {
		out = append(out, f.Invariant+" "+f.Known)
	}
	return out
}

// TestKnownLimits shows for each known limit a release that has it, that release with the switch off, and ideal; and that the
// same breach is reported without a name when the release does not have the switch or the evidence is missing.
func TestKnownLimits(t *testing.T) {
	// Of ota-main: cut 300 is the confirmation, up 10 the final status, down 2 the notification, down 9 the document of the trial.
	for _, c := range []struct{ profile, acts, breach, without string }{
		{"ota-main", "cut 300 done", "job-truth confirmed-but-failed", "confirmLost"},
		{"ota-main", "cut 300 subset seed=43", "job-truth unnamed-but-failed", "unnamedRejects"},
		{"ota-main", "dup down 9 by=20ms", "tolerance twice-told", "confirmLost"},
		{"ota-main", "drop down 2", "liveness asked-once", "forgetsAnswers"},
		{"ota-main", "drop up 10", "liveness asked-once", "forgetsAnswers"},
		{"afr-v1.4.0", "drop down 2", "liveness asked-once", ""},
		{"afr-v1.4.0", "dup down 2 by=20ms", "liveness told-closes", ""},
	} {
		name := c.profile + ", " + c.acts
		require.Contains(t, struck(t, c.profile, "", c.acts), c.breach, name)
		require.Empty(t, struck(t, "ideal", "", c.acts), "ideal, %s", c.acts)
		if c.without != "" {
			for _, b := range struck(t, c.profile, "", c.acts, fmt.Sprintf("fleet.groups.field.agentDefects.%s=n", c.without)) {
				require.NotEqual(t, c.breach, b, "%s without %s", name, c.without)
			}
		}
	}
	for _, l := range Limits() {
		b := agent.BehaviourByName(l.Switch)
		require.NotNil(t, b, l.Name)
		require.NotZero(t, l.Evidence, l.Name)
		detail := "the execution of fw is FAILED, but its version runs"
		require.Empty(t, known(l.Invariant, detail, agent.Ideal, 0xff), "%s in ideal", l.Name)
		for _, p := range agent.Profiles {
			if b.On(p) {
				require.Equal(t, l.Name, known(l.Invariant, detail, p, l.Evidence), "%s in %s", l.Name, p.Name)
				require.Empty(t, known(l.Invariant, detail, p, 0), "%s in %s without evidence", l.Name, p.Name)
				require.Empty(t, known(check.Bootable, detail, p, 0xff))
			}
		}
	}
}

// TestBufferLost: a document that comes twice ends a transfer and takes a buffer with it, unless the switch is off.
func TestBufferLost(t *testing.T) {
	for set, want := range map[string][]string{
		"agent=ota-main": {"tolerance buffer-lost", "liveness buffer-lost"}, "agentDefects.notificationLosesBuffer=n": nil, "agent=ideal": nil,
	} {
		c := caseOf(t, "power-cut", 1, "firmware.1.0.0.size=64KiB", "firmware.1.1.0.size=64KiB", "fleet.groups.field."+set)
		c.Seed = 3
		e, err := New(t.Context(), c)
		require.NoError(t, err)
		acts, err := ParseActs("dup up 3 by=5s; dup down 23 by=5s")
		require.NoError(t, err)
		tally, err := e.Whole(acts)
		require.NoError(t, err)
		var got []string
		for _, f := range tally.Failures {
			got = append(got, f.Invariant+" "+f.Known)
		}
		require.ElementsMatch(t, want, got, set)
	}
}

// TestIdealIsReported plants in ideal what the releases are excused for: it is reported, and no name hides it.
func TestIdealIsReported(t *testing.T) {
	require.Equal(t, []string{"liveness "}, struck(t, "ideal", "never-asks-again", "drop down 2"))
	require.Equal(t, []string{"liveness "}, struck(t, "ideal", "never-asks-again", "drop up 10"))
	require.Equal(t, []string{"job-truth "}, struck(t, "ideal", "confirmed-refused", "cut 300 done"))
	require.Equal(t, []string{"job-truth "}, struck(t, "ideal", "confirmed-refused", "dup up 8 by=5s; drop up 10"))
}
