package jobs

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func queued(w *world, id string) int {
	d := w.job(id).JobProcessDetails
	return d.NumberOfQueuedThings
}

func TestConstantRate(t *testing.T) {
	w := newWorld(t, 100, Switches{})
	w.create("job", func(r *CreateJobRequest) { r.JobExecutionsRolloutConfig = &RolloutConfig{MaximumPerMinute: 30} })
	require.Equal(t, 1, queued(w, "job"))
	require.True(t, w.job("job").IsConcurrent)
	for minute := 1; minute <= 3; minute++ {
		w.pass(time.Minute)
		require.Equal(t, 30*minute+1, queued(w, "job"), "after %d minutes", minute)
	}
	w.pass(time.Minute)
	require.Equal(t, 100, queued(w, "job"))
	require.False(t, w.job("job").IsConcurrent)
}

// The guide's table for base 50, factor 2, step 1000.
func TestExponentialRate(t *testing.T) {
	w := newWorld(t, 4500, Switches{})
	w.create("job", func(r *CreateJobRequest) {
		r.JobExecutionsRolloutConfig = &RolloutConfig{MaximumPerMinute: 1000, ExponentialRate: &ExponentialRate{
			BaseRatePerMinute: 50, IncrementFactor: 2, RateIncreaseCriteria: &RateIncreaseCriteria{NumberOfNotifiedThings: 1000}}}
	})
	w.pass(2 * time.Hour)
	all := w.s.jobs["job"].executions
	require.Len(t, all, 4500)
	for i := 1; i < len(all); i++ {
		rate := []int64{50, 100, 200, 400, 800}[i/1000] // after i notifications
		require.Equal(t, int64(time.Minute)/rate, all[i].queuedAt-all[i-1].queuedAt, "notification %d", i+1)
	}
	require.EqualValues(t, 800_000, w.s.jobs["job"].rate.now)
}

func TestRateFollowsSuccess(t *testing.T) {
	w := newWorld(t, 200, Switches{})
	w.create("job", func(r *CreateJobRequest) {
		r.JobExecutionsRolloutConfig = &RolloutConfig{MaximumPerMinute: 100, ExponentialRate: &ExponentialRate{
			BaseRatePerMinute: 10, IncrementFactor: 5, RateIncreaseCriteria: &RateIncreaseCriteria{NumberOfSucceededThings: 5}}}
	})
	w.pass(5 * time.Minute)
	require.Equal(t, 51, queued(w, "job"), "no success, no increase")
	done := 0
	for _, e := range w.s.jobs["job"].executions[:10] {
		require.Equal(t, "accepted", w.update(e.thing.name, "job", "SUCCEEDED"))
		done++
		if done == 5 {
			require.EqualValues(t, 50_000, w.s.jobs["job"].rate.now)
		}
	}
	require.EqualValues(t, 100_000, w.s.jobs["job"].rate.now, "capped")
	w.pass(time.Minute)
	require.InDelta(t, 51-10+100, queued(w, "job"), 2)
}

func TestOrderComesFromTheSeed(t *testing.T) {
	order := func(seed byte) (out []string) {
		w := newWorld(t, 50, Switches{})
		w.s.cfg.Seed[0] = seed
		w.create("job", nil)
		w.pass(time.Hour)
		for _, e := range w.s.jobs["job"].executions {
			out = append(out, e.thing.name)
		}
		return out
	}
	require.Equal(t, order(1), order(1))
	require.NotEqual(t, order(1), order(2))
	require.ElementsMatch(t, order(1), order(2))
}

func TestJoinersAreNotRateLimited(t *testing.T) {
	w := newWorld(t, 100, Switches{})
	w.create("job", func(r *CreateJobRequest) {
		r.TargetSelection = Continuous
		r.JobExecutionsRolloutConfig = &RolloutConfig{MaximumPerMinute: 1}
	})
	w.dir.things["late"] = true
	w.dir.groups["fleet"] = append(w.dir.groups["fleet"], "late")
	w.s.MembershipChanged(w.now, "late")
	require.Equal(t, "QUEUED", w.status("late", "job"))
	require.Equal(t, 2, queued(w, "job"))
}

func TestAbort(t *testing.T) {
	criteria := func(c ...AbortCriterion) func(*CreateJobRequest) {
		return func(r *CreateJobRequest) {
			r.AbortConfig = &AbortConfig{c}
			r.JobExecutionsRolloutConfig = &RolloutConfig{MaximumPerMinute: 1000}
		}
	}
	run := func(w *world, results ...string) {
		w.pass(time.Minute)
		for i, e := range w.s.jobs["job"].executions {
			if i == len(results) {
				break
			}
			if results[i] != "" {
				w.update(e.thing.name, "job", results[i])
			}
		}
	}
	w := newWorld(t, 10, Switches{})
	w.create("job", criteria(AbortCriterion{"FAILED", "CANCEL", 50, 4}))
	run(w, "FAILED", "FAILED", "FAILED")
	require.Equal(t, JobInProgress, w.job("job").Status, "three of at least four")
	run(w, "", "", "", "IN_PROGRESS", "SUCCEEDED")
	j := w.job("job")
	require.Equal(t, JobCanceled, j.Status)
	require.NotEmpty(t, j.ReasonCode)
	require.Equal(t, 5, j.JobProcessDetails.NumberOfCanceledThings, "QUEUED ones")
	require.Equal(t, 1, j.JobProcessDetails.NumberOfInProgressThings, "goes on")

	w = newWorld(t, 10, Switches{})
	w.create("job", criteria(AbortCriterion{"FAILED", "CANCEL", 33.34, 3}))
	run(w, "FAILED", "SUCCEEDED", "SUCCEEDED")
	require.Equal(t, JobInProgress, w.job("job").Status, "33.33 is less than 33.34 percent")

	w = newWorld(t, 10, Switches{})
	w.create("job", criteria(AbortCriterion{"FAILED", "CANCEL", 33.33, 3}))
	run(w, "FAILED", "SUCCEEDED", "SUCCEEDED")
	require.Equal(t, JobCanceled, w.job("job").Status)

	w = newWorld(t, 10, Switches{})
	w.create("job", criteria(AbortCriterion{"TIMED_OUT", "CANCEL", 10, 1}, AbortCriterion{"ALL", "CANCEL", 60, 3}))
	run(w, "FAILED", "SUCCEEDED", "REJECTED")
	require.Equal(t, JobCanceled, w.job("job").Status, "ALL counts FAILED and REJECTED")

	w = newWorld(t, 10, Switches{})
	w.create("job", func(r *CreateJobRequest) {
		criteria(AbortCriterion{"FAILED", "CANCEL", 100, 2})(r)
		r.JobExecutionsRetryConfig = &RetryConfig{[]RetryCriterion{{"ALL", 3}}}
	})
	run(w, "FAILED")
	first := w.s.jobs["job"].executions[0].thing.name
	w.update(first, "job", "FAILED")
	require.Equal(t, JobCanceled, w.job("job").Status, "retries count as executions of their own")
	require.Equal(t, "CANCELED", w.status(first, "job"), "the retry is cancelled")
}

// The guide's example: a bound of 20 minutes from 12:00.
func TestStepAndInProgressTimers(t *testing.T) {
	w := newWorld(t, 1, Switches{})
	w.create("job", func(r *CreateJobRequest) { r.TimeoutConfig = &TimeoutConfig{20} })
	at := func(m int) { w.pass(epoch.Add(time.Duration(m) * time.Minute).Sub(w.now)) }
	step := func(m string) { w.say("t0", "job/update", `{"status":"IN_PROGRESS","stepTimeoutInMinutes":`+m+`}`) }
	due := func() int {
		next, ok := w.s.NextWake()
		require.True(t, ok)
		return int(next.Sub(epoch) / time.Minute)
	}
	w.update("t0", "job", "IN_PROGRESS")
	require.Equal(t, 20, due())
	at(5)
	step("7")
	require.Equal(t, 12, due())
	at(10)
	step("5")
	require.Equal(t, 15, due())
	at(13)
	step("9")
	require.Equal(t, 20, due(), "never beyond the in-progress bound")
	step("1")
	step("-1")
	require.Equal(t, 20, due())
	w.update("t0", "job", "IN_PROGRESS")
	at(19)
	_, body := w.say("t0", "$next/get", "")
	require.Contains(t, body, `"approximateSecondsBeforeTimedOut":60`)
	require.Equal(t, "IN_PROGRESS", w.status("t0", "job"))
	at(20)
	require.Equal(t, "TIMED_OUT", w.status("t0", "job"))
	require.Equal(t, JobCompleted, w.job("job").Status)
	_, ok := w.s.NextWake()
	require.False(t, ok)
}

func TestTimersStopAtTheEnd(t *testing.T) {
	w := newWorld(t, 1, Switches{})
	w.create("job", func(r *CreateJobRequest) { r.TimeoutConfig = &TimeoutConfig{20} })
	w.say("t0", "start-next", `{"stepTimeoutInMinutes":3}`)
	w.update("t0", "job", "SUCCEEDED")
	_, ok := w.s.NextWake()
	require.False(t, ok)
	w.create("queued", func(r *CreateJobRequest) { r.TimeoutConfig = &TimeoutConfig{1} })
	w.pass(time.Hour)
	require.Equal(t, "QUEUED", w.status("t0", "queued"), "QUEUED never times out")
}

func TestRetries(t *testing.T) {
	w := newWorld(t, 1, Switches{})
	w.create("job", func(r *CreateJobRequest) {
		r.TimeoutConfig = &TimeoutConfig{1}
		r.JobExecutionsRetryConfig = &RetryConfig{[]RetryCriterion{{"FAILED", 1}, {"TIMED_OUT", 2}}}
	})
	w.update("t0", "job", "IN_PROGRESS")
	w.pass(time.Minute)
	e, err := w.s.DescribeJobExecution(w.now, "t0", "job", 0)
	require.NoError(t, err)
	require.Equal(t, Queued, e.Status)
	require.EqualValues(t, 2, e.ExecutionNumber)
	require.EqualValues(t, 1, e.VersionNumber)
	first, err := w.s.DescribeJobExecution(w.now, "t0", "job", 1)
	require.NoError(t, err)
	require.Equal(t, TimedOut, first.Status)
	w.update("t0", "job", "FAILED")
	require.Equal(t, "QUEUED", w.status("t0", "job"), "each kind has its own retries")
	w.update("t0", "job", "IN_PROGRESS")
	w.pass(time.Minute)
	require.Equal(t, "QUEUED", w.status("t0", "job"), "the second of two for TIMED_OUT")
	w.update("t0", "job", "FAILED")
	require.Equal(t, "FAILED", w.status("t0", "job"), "the one for FAILED is spent")
	d := w.job("job").JobProcessDetails
	require.Equal(t, 1, d.NumberOfFailedThings)
	require.Zero(t, d.NumberOfTimedOutThings, "things count by their latest execution")
	rows, _, err := w.s.ListJobExecutionsForJob("job", "", 0, "")
	require.NoError(t, err)
	require.Len(t, rows, 4)
	require.Equal(t, 1, rows[1].JobExecutionSummary.RetryAttempt)

	for _, how := range []string{"REJECTED", "SUCCEEDED"} {
		w := newWorld(t, 1, Switches{})
		w.create("job", func(r *CreateJobRequest) { r.JobExecutionsRetryConfig = &RetryConfig{[]RetryCriterion{{"ALL", 5}}} })
		w.update("t0", "job", how)
		require.Equal(t, how, w.status("t0", "job"), "never retried")
	}
}
