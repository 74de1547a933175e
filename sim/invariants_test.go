package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/sim/check"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// A good run has looked, and found nothing.
func TestInvariantsOfAGoodRun(t *testing.T) {
	res := run(t, load(t, "power-cut", scenario.Options{Devices: 30, Sets: small("1.0.0", "1.1.0")}), Options{Workers: 2})
	require.Equal(t, report.VerdictPass, res.Verdict)
	require.Len(t, res.Invariants, len(check.IDs()))
	checked := map[string]uint64{}
	for _, i := range res.Invariants {
		require.Empty(t, i.Violations, i.ID)
		checked[i.ID] = i.Checked
	}
	for _, id := range []string{"flash.bootable", "boot.verified", "boot.authentic", "flash.in-slot", "flash.running-slot", "flash.program-clears", "flash.wear", "jobs.terminal-once", "jobs.one-execution", "cloud.truth", "traffic.bounded"} {
		require.NotZero(t, checked[id], id)
	}
	again := run(t, load(t, "power-cut", scenario.Options{Devices: 30, Sets: small("1.0.0", "1.1.0")}), Options{Workers: 4, parallel: true})
	require.Equal(t, res.Invariants, again.Invariants, "for any number of workers")
}

// An execution that ends twice, and every way in which the cloud can be wrong about a device.
func TestWhatTheCloudMustNotSay(t *testing.T) {
	e := ends{once: map[endKey]jobs.Status{}, now: func() time.Duration { return time.Minute }}
	e.ended("a", "job", 1, jobs.Failed)
	e.ended("a", "job", 2, jobs.Succeeded)
	e.ended("b", "job", 1, jobs.Succeeded)
	require.Zero(t, e.record.Found())
	e.ended("a", "job", 1, jobs.Succeeded)
	require.Equal(t, 1, e.record.Found())

	for _, c := range []struct {
		status        jobs.Status
		runs, bricked bool
		want          string
	}{
		{jobs.Succeeded, true, false, ""}, {jobs.Succeeded, false, false, "false-success"}, {jobs.Failed, true, false, "false-failure"}, {jobs.TimedOut, true, false, "false-failure"},
		{jobs.Failed, false, false, ""}, {jobs.InProgress, true, false, "unreported"}, {jobs.Queued, false, false, ""}, {jobs.Succeeded, true, true, "bricked"},
	} {
		require.Equal(t, c.want, divergence(c.status, c.runs, c.bricked))
	}
}

// Executions that stay open although nothing has been wrong for an hour fail the run, by themselves.
func TestLivenessIsAskedAfterHealing(t *testing.T) {
	sets := append(small("1.0.0", "1.1.0"), "assertions=[{name: nobody is bricked, always: fleet.bricked == 0}]",
		"faults=[{name: no answer, type: cloud, effect: outage, service: jobs, at: 1s, for: 10m}]")
	res := run(t, load(t, "power-cut", scenario.Options{Devices: 6, Sets: sets}), Options{Workers: 2})
	require.Equal(t, report.VerdictLiveness, res.Verdict, "%v", res.Jobs)
	sets[len(sets)-1] = "faults=[{name: no answer, type: cloud, effect: outage, service: jobs, at: 1s}]"
	res = run(t, load(t, "power-cut", scenario.Options{Devices: 6, Sets: sets}), Options{Workers: 2})
	require.Equal(t, report.VerdictPass, res.Verdict, "it never healed")
}
