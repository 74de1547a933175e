package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/device"
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

// Every rule that looks at the end of a run, or at devices in it, catches a run in which something is wrong with the
// system; the other rules about flash commands have TestWatchSeesWritesThatMustNotBe.
func TestEveryCheckerCatches(t *testing.T) {
	for _, c := range []struct{ rule, verdict, file, planted, detail string }{
		{"flash.bootable", report.VerdictSafety, "", "record-before-verify", "no image is left"},
		{"flash.running-slot", report.VerdictSafety, "T40-arbitrary-software", "erase-wrong-slot", "in the slot that runs"},
		{"boot.authentic", report.VerdictSafety, "T40-arbitrary-software", "skip-signature", "was never released"},
		{"boot.verified", report.VerdictSafety, "T72-bit-rot-in-the-active-slot", "image-unchecked", "no valid image"},
		{"boot.secure-version", report.VerdictSafety, "T22b-rollback-by-flash-write", "secure-version-ignored", "the eFuse says"},
		{"cloud.truth", report.VerdictSafety, "", "confirm-not-written", "false-success"},
		{"cloud.truth", report.VerdictSafety, "", "trial-unrecorded", "false-failure"},
		{"cloud.truth", report.VerdictSafety, "", "erases-chosen", "bricked"},
		{"liveness.settled", report.VerdictLiveness, "", "notify-next-lost", "QUEUED although nothing has been wrong"},
		{"liveness.settled", report.VerdictLiveness, "", "never-restarts", "IN_PROGRESS although nothing has been wrong"},
	} {
		sets := []string{"variants=[]", "assertions=[{name: counted, atEnd: fleet.devices > 0}]", "plantedDefects=[" + c.planted + "]"}
		if c.file == "" {
			c.file, sets = "T40-arbitrary-software", append(sets, "attacks=[]")
		}
		res := run(t, load(t, "attacks/"+c.file, scenario.Options{Sets: sets}), Options{Workers: 1})
		require.Equal(t, c.verdict, res.Verdict, "%s: %s", c.rule, c.planted)
		found := ""
		for _, i := range res.Invariants {
			if i.ID == c.rule {
				for _, v := range i.Violations {
					found += v.Detail + "\n"
				}
			}
		}
		require.Contains(t, found, c.detail, "%s: %s", c.rule, c.planted)
	}
}

// What devices publish is looked at by itself: two ends of one job are a contradiction, unless something was done to the device.
func TestADeviceMustNotTellTwoEnds(t *testing.T) {
	sh := &shard{w: &world{sc: &scenario.Scenario{}}, record: &check.Ledger{}}
	tell := func(a *actor, job, status string) {
		sh.tells(a, time.Second, &device.NetOp{Kind: device.OpPublish, Topic: "$aws/things/a/jobs/" + job + "/update", Payload: []byte(`{"status":"` + status + `"}`)})
	}
	a := &actor{name: "a"}
	for _, told := range [][2]string{{"j", "IN_PROGRESS"}, {"j", "SUCCEEDED"}, {"j", "SUCCEEDED"}, {"k", "FAILED"}} {
		tell(a, told[0], told[1])
	}
	require.Zero(t, sh.record.Found())
	tell(a, "k", "SUCCEEDED")
	require.Equal(t, 1, sh.record.Found())
	b := &actor{name: "b", harmed: true}
	tell(b, "j", "SUCCEEDED")
	tell(b, "j", "FAILED")
	require.Equal(t, 1, sh.record.Found(), "it has lost what it knew")
}

// Bytes and erases that nothing explains.
func TestTrafficAndWearAreBounded(t *testing.T) {
	w, err := newWorld(load(t, "attacks/T40-arbitrary-software", scenario.Options{Sets: []string{"variants=[]", "attacks=[]", "assertions=[{name: counted, atEnd: fleet.devices > 0}]"}}), Options{Workers: 1})
	require.NoError(t, err)
	defer w.close()
	res, err := w.run(t.Context())
	require.NoError(t, err)
	require.Equal(t, report.VerdictPass, res.Verdict)
	for range 40 {
		require.NoError(t, w.devs[1].dev.Flash().Erase(0x1c9000, 4096))
	}
	for i := range w.fleet.images {
		w.fleet.images[i].data = nil // as if nothing had been worth fetching
	}
	l := &check.Ledger{}
	w.judgeWear(l)
	require.Equal(t, 1, l.Found())
	w.judgeTraffic(l)
	require.Equal(t, 2, l.Found())
}

// A run that promises a rare state and does not reach it fails; in a smaller fleet it is told.
func TestSometimesMustHappen(t *testing.T) {
	sets := append(small("1.0.0", "1.1.0"), "assertions=[{name: two thirds rolled back, sometimes: fleet.rolled_back * 3 > fleet.devices * 2}]", "faults=[]")
	res := run(t, load(t, "power-cut", scenario.Options{Sets: append(sets, "fleet.groups.field.count=4")}), Options{Workers: 2})
	require.Equal(t, report.VerdictAssertion, res.Verdict)
	require.Contains(t, res.Assertions[0].Actual, "never")
	res = run(t, load(t, "power-cut", scenario.Options{Sets: append(sets, "fleet.groups.field.count=400"), Devices: 4}), Options{Workers: 2})
	require.Equal(t, report.VerdictPass, res.Verdict)
}
