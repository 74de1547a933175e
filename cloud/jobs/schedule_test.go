package jobs

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/aws"
)

func clock(d time.Duration) string { return epoch.Add(d).Format("2006-01-02 15:04") }

func TestScheduledStart(t *testing.T) {
	w := newWorld(t, 3, Switches{})
	w.create("job", func(r *CreateJobRequest) { r.SchedulingConfig = &SchedulingConfig{StartTime: clock(time.Hour)} })
	require.Equal(t, JobScheduled, w.job("job").Status)
	require.Equal(t, []ScheduledRollout{{clock(time.Hour)}}, w.s.ScheduledJobRollouts(w.now, "job"))
	require.Equal(t, &SchedulingConfig{StartTime: clock(time.Hour)}, w.job("job").SchedulingConfig)
	w.pass(time.Hour - 1)
	require.Equal(t, "gone", w.status("t0", "job"), "nothing is rolled out before the start")
	w.pass(1)
	require.Equal(t, JobInProgress, w.job("job").Status)
	require.Empty(t, w.s.ScheduledJobRollouts(w.now, "job"))
	w.pass(time.Minute)
	for i := range 3 {
		require.Equal(t, "accepted", w.update(fmt.Sprintf("t%d", i), "job", "SUCCEEDED"))
	}
	require.Equal(t, JobCompleted, w.job("job").Status)
	_, ok := w.s.NextWake()
	require.False(t, ok)
}

func TestScheduledJobsCanBeCanceledAndDeleted(t *testing.T) {
	w := newWorld(t, 1, Switches{})
	scheduled := func(r *CreateJobRequest) { r.SchedulingConfig = &SchedulingConfig{StartTime: clock(time.Hour)} }
	w.create("a", scheduled)
	w.create("b", scheduled)
	_, err := w.s.CancelJob(w.now, "a", CancelJobRequest{})
	require.NoError(t, err)
	require.Equal(t, JobCanceled, w.job("a").Status)
	require.ErrorIs(t, w.s.DeleteJob(w.now, "b", false), aws.InvalidStateTransition)
	require.NoError(t, w.s.DeleteJob(w.now, "b", true))
	w.pass(2 * time.Hour)
	require.Equal(t, "gone", w.status("t0", "a"))
	require.Equal(t, "gone", w.status("t0", "b"))
	_, ok := w.s.NextWake()
	require.False(t, ok, "the timetable ends with the job")
}

func TestEndBehavior(t *testing.T) {
	for _, c := range []struct{ behavior, queued, running string }{
		{"", "QUEUED", "IN_PROGRESS"}, {StopRollout, "QUEUED", "IN_PROGRESS"}, {EndCancel, "CANCELED", "IN_PROGRESS"}, {ForceCancel, "CANCELED", "CANCELED"},
	} {
		t.Run(c.behavior, func(t *testing.T) {
			w := newWorld(t, 10, Switches{})
			w.create("job", func(r *CreateJobRequest) {
				r.TargetSelection = Continuous
				r.SchedulingConfig = &SchedulingConfig{EndTime: clock(40 * time.Minute), EndBehavior: c.behavior}
				r.JobExecutionsRolloutConfig = &RolloutConfig{MaximumPerMinute: 1}
				r.Targets = []string{realm.ARN("thing", "t0"), realm.ARN("thing", "t1"), realm.ARN("thinggroup", "other")}
			})
			require.Equal(t, JobInProgress, w.job("job").Status, "a job without startTime starts at once")
			w.pass(30 * time.Minute)
			w.update("t0", "job", "IN_PROGRESS")
			w.pass(10 * time.Minute)
			require.Equal(t, c.running, w.status("t0", "job"))
			require.Equal(t, c.queued, w.status("t1", "job"))
			w.dir.groups["other"] = []string{"t2"}
			w.s.MembershipChanged(w.now, "t2")
			require.Equal(t, "gone", w.status("t2", "job"), "nobody joins after the end")
			if c.behavior == ForceCancel {
				require.Equal(t, JobCompleted, w.job("job").Status)
				return
			}
			require.Equal(t, JobInProgress, w.job("job").Status)
			w.update("t0", "job", "SUCCEEDED")
			if c.queued == "QUEUED" {
				require.Equal(t, JobInProgress, w.job("job").Status)
				w.update("t1", "job", "FAILED")
			}
			require.Equal(t, JobCompleted, w.job("job").Status, "a CONTINUOUS job whose end has passed completes")
		})
	}
}

func TestTheRolloutStopsAtTheEnd(t *testing.T) {
	w := newWorld(t, 100, Switches{})
	w.create("job", func(r *CreateJobRequest) {
		r.SchedulingConfig = &SchedulingConfig{EndTime: clock(30 * time.Minute)}
		r.JobExecutionsRolloutConfig = &RolloutConfig{MaximumPerMinute: 1}
	})
	w.pass(24 * time.Hour)
	require.Equal(t, 30, w.job("job").JobProcessDetails.NumberOfQueuedThings)
	require.False(t, w.job("job").IsConcurrent)
}

func TestMaintenanceWindows(t *testing.T) {
	w := newWorld(t, 40, Switches{}) // it is 12:00
	w.create("job", func(r *CreateJobRequest) {
		r.TargetSelection = Continuous
		r.SchedulingConfig = &SchedulingConfig{MaintenanceWindows: []MaintenanceWindow{{"cron(30 12 * * ? *)", 15}}}
		r.JobExecutionsRolloutConfig = &RolloutConfig{MaximumPerMinute: 1}
	})
	queued := func() int { return w.job("job").JobProcessDetails.NumberOfQueuedThings }
	require.Equal(t, JobScheduled, w.job("job").Status)
	require.Len(t, w.s.ScheduledJobRollouts(w.now, "job"), 7)
	require.Equal(t, ScheduledRollout{"2026-03-02 12:30"}, w.s.ScheduledJobRollouts(w.now, "job")[1])
	w.pass(30 * time.Minute)
	require.Equal(t, JobInProgress, w.job("job").Status)
	require.Equal(t, 1, queued())
	w.pass(15*time.Minute - 1)
	require.Equal(t, 15, queued())
	w.pass(1)
	require.Equal(t, JobScheduled, w.job("job").Status, "the window closes")
	w.dir.things["new"] = true
	w.dir.groups["fleet"] = append(w.dir.groups["fleet"], "new")
	w.s.MembershipChanged(w.now, "new")
	w.pass(23 * time.Hour)
	require.Equal(t, 15, queued())
	require.Equal(t, "gone", w.status("new", "job"), "a thing that joins waits for the window")
	require.Equal(t, "accepted", w.update("t0", "job", "SUCCEEDED"), "devices go on")
	w.pass(time.Hour)
	require.Equal(t, JobScheduled, w.job("job").Status)
	require.Equal(t, 29, queued())
	w.pass(24 * time.Hour)
	require.Equal(t, 40, queued())
	require.Equal(t, "QUEUED", w.status("new", "job"))
}

func TestWindowsOfASnapshot(t *testing.T) {
	for _, on := range []bool{false, true} {
		w := newWorld(t, 3, Switches{SnapshotWindows: on})
		_, err := w.s.CreateJob(w.now, CreateJobRequest{JobID: "job", Document: "{}", Targets: []string{realm.ARN("thinggroup", "fleet")},
			SchedulingConfig: &SchedulingConfig{MaintenanceWindows: []MaintenanceWindow{{"cron(30 12 * * ? *)", 15}}}})
		if !on {
			require.ErrorIs(t, err, aws.InvalidRequest)
			continue
		}
		require.NoError(t, err)
		w.pass(45 * time.Minute)
		require.Equal(t, JobScheduled, w.job("job").Status)
		for i := range 3 {
			w.update(fmt.Sprintf("t%d", i), "job", "SUCCEEDED")
		}
		require.Equal(t, JobCompleted, w.job("job").Status)
	}
}

func TestInvalidSchedules(t *testing.T) {
	w := newWorld(t, 1, Switches{})
	hour, year := time.Hour, 365*24*time.Hour
	for i, c := range []SchedulingConfig{
		{StartTime: clock(29 * time.Minute)}, {StartTime: clock(year + 24*hour)}, {StartTime: "tomorrow"}, {StartTime: "2026-03-01"},
		{EndTime: clock(29 * time.Minute)}, {StartTime: clock(hour), EndTime: clock(hour + 29*time.Minute)}, {EndTime: clock(2*year + 48*hour)},
		{EndBehavior: EndCancel}, {EndTime: clock(hour), EndBehavior: "EXPLODE"},
		{MaintenanceWindows: []MaintenanceWindow{{"cron(0 12 * * ? *)", 0}}}, {MaintenanceWindows: []MaintenanceWindow{{"cron(0 12 * * ? *)", 1431}}},
		{MaintenanceWindows: []MaintenanceWindow{{"noon", 30}}}, {MaintenanceWindows: make([]MaintenanceWindow, 11)},
	} {
		_, err := w.s.CreateJob(w.now, CreateJobRequest{JobID: "job", Document: "{}", Targets: []string{realm.ARN("thing", "t0")},
			TargetSelection: Continuous, SchedulingConfig: &c})
		require.ErrorIs(t, err, aws.InvalidRequest, "%d: %+v", i, c)
	}
}

func TestPendingListGrowsBesideSchedules(t *testing.T) {
	w := newWorld(t, 1, Switches{})
	for i := range 20 {
		w.create(fmt.Sprintf("job%d", i), nil)
	}
	count := func() int {
		var body struct{ QueuedJobs []any }
		_, raw := w.say("t0", "get", "{}")
		require.NoError(t, jsonInto(raw, &body))
		return len(body.QueuedJobs)
	}
	require.Equal(t, 10, count())
	w.create("later", func(r *CreateJobRequest) { r.SchedulingConfig = &SchedulingConfig{StartTime: clock(time.Hour)} })
	require.Equal(t, 15, count())
}

func TestLimits(t *testing.T) {
	w := newWorld(t, 10, Switches{})
	w.s.cfg.Limits = Limits{RolloutRate: 1000, ActiveSnapshot: 3, ActiveContinuous: 1, Concurrent: 2}
	slow := &RolloutConfig{MaximumPerMinute: 1}
	create := func(id, selection string, c *RolloutConfig, x *SchedulingConfig) error {
		_, err := w.s.CreateJob(w.now, CreateJobRequest{JobID: id, Document: "{}", Targets: []string{realm.ARN("thinggroup", "fleet")},
			TargetSelection: selection, JobExecutionsRolloutConfig: c, SchedulingConfig: x})
		w.pass(0)
		return err
	}
	require.ErrorIs(t, create("fast", Snapshot, &RolloutConfig{MaximumPerMinute: 1001}, nil), aws.InvalidRequest)
	require.NoError(t, create("a", Snapshot, slow, nil))
	require.NoError(t, create("later", Snapshot, slow, &SchedulingConfig{StartTime: clock(time.Hour)}))
	require.NoError(t, create("b", Snapshot, &RolloutConfig{MaximumPerMinute: 1}, nil))
	require.ErrorIs(t, create("c", Snapshot, nil, nil), aws.LimitExceeded, "three SNAPSHOT jobs are active")
	require.ErrorIs(t, create("d", Continuous, slow, nil), aws.LimitExceeded, "two rollouts run")
	w.pass(10 * time.Minute)
	require.NoError(t, create("d", Continuous, slow, nil))
	require.ErrorIs(t, create("e", Continuous, nil, nil), aws.LimitExceeded)
	_, err := w.s.CancelJob(w.now, "a", CancelJobRequest{})
	require.NoError(t, err)
	w.pass(45 * time.Minute)
	w.dir.groups["fleet"] = []string{"t0", "t1"}
	require.NoError(t, create("f", Snapshot, &RolloutConfig{MaximumPerMinute: 1}, nil))
	_, err = w.s.CancelJob(w.now, "d", CancelJobRequest{})
	require.NoError(t, err)
	w.s.cfg.Limits.Concurrent = 1
	w.pass(4*time.Minute + 59*time.Second)
	require.NoError(t, create("g", Continuous, slow, nil))
	w.pass(time.Second)
	require.Equal(t, JobCanceled, w.job("later").Status, "one rollout too many at the start")
	require.Equal(t, "CONCURRENT_JOBS_LIMIT_EXCEEDED", w.job("later").ReasonCode)
}
