package jobs

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The table of AWS IoT Developer Guide, jobs-comm-notifications.
func TestNotifications(t *testing.T) {
	w := newWorld(t, 1, Switches{})
	one := func(id string) { w.create(id, nil) }
	for _, step := range []struct {
		name string
		do   func()
		want []string
	}{
		{"job1 queued on an empty queue", func() { one("job1") }, []string{"notify", "next:job1"}},
		{"job2 queued behind job1", func() { one("job2") }, []string{"notify"}},
		{"job1 QUEUED to IN_PROGRESS, already head", func() { w.update("t0", "job1", "IN_PROGRESS") }, nil},
		{"details of the head change", func() { w.say("t0", "job1/update", `{"status":"IN_PROGRESS","statusDetails":{"receive":"1/2"}}`) }, nil},
		{"job3 queued while job1 runs", func() { one("job3") }, []string{"notify"}},
		{"job1 SUCCEEDED", func() { w.update("t0", "job1", "SUCCEEDED") }, []string{"notify", "next:job2"}},
		{"job3 to IN_PROGRESS while job2 is a queued head", func() { w.update("t0", "job3", "IN_PROGRESS") }, []string{"next:job3"}},
		{"job2 REJECTED, job3 stays head", func() { w.update("t0", "job2", "REJECTED") }, []string{"notify"}},
		{"job3 force-deleted, queue empty", func() {
			require.NoError(t, w.s.DeleteJobExecution(w.now, "t0", "job3", 1, true))
			w.collect()
		}, []string{"notify", "next:-"}},
	} {
		step.do()
		require.Equal(t, step.want, w.heard("t0"), step.name)
	}
}

func TestNotifyInProgressSwitch(t *testing.T) {
	w := newWorld(t, 1, Switches{NotifyInProgress: true})
	w.create("job1", nil)
	w.heard("t0")
	w.update("t0", "job1", "IN_PROGRESS")
	require.Equal(t, []string{"notify"}, w.heard("t0"))
	w.update("t0", "job1", "IN_PROGRESS")
	require.Nil(t, w.heard("t0"))
}

func TestRetryIsAnnouncedOnce(t *testing.T) {
	w := newWorld(t, 1, Switches{})
	w.create("job1", func(r *CreateJobRequest) {
		r.JobExecutionsRetryConfig = &RetryConfig{[]RetryCriterion{{"FAILED", 1}}}
	})
	w.heard("t0")
	w.update("t0", "job1", "FAILED")
	require.Equal(t, []string{"notify", "next:job1"}, w.heard("t0"))
	w.update("t0", "job1", "FAILED")
	require.Equal(t, []string{"notify", "next:-"}, w.heard("t0"))
}

func TestNotifyPayloads(t *testing.T) {
	w := newWorld(t, 1, Switches{})
	w.create("a", nil)
	w.create("b", nil)
	w.notes = nil
	w.update("t0", "b", "IN_PROGRESS")
	w.create("c", nil)
	require.Len(t, w.notes, 2)
	require.JSONEq(t, `{"timestamp":1772366400,"execution":{"jobId":"b","thingName":"t0","status":"IN_PROGRESS","queuedAt":1772366400,
		"startedAt":1772366400,"lastUpdatedAt":1772366400,"versionNumber":2,"executionNumber":1,"jobDocument":{"n":1}}}`, string(w.notes[0].Payload))
	require.JSONEq(t, `{"timestamp":1772366400,"jobs":{
		"IN_PROGRESS":[{"jobId":"b","queuedAt":1772366400,"startedAt":1772366400,"lastUpdatedAt":1772366400,"versionNumber":2,"executionNumber":1}],
		"QUEUED":[{"jobId":"a","queuedAt":1772366400,"lastUpdatedAt":1772366400,"versionNumber":1,"executionNumber":1},
			{"jobId":"c","queuedAt":1772366400,"lastUpdatedAt":1772366400,"versionNumber":1,"executionNumber":1}]}}`, string(w.notes[1].Payload))
	w.notes = nil
	w.update("t0", "b", "FAILED")
	w.update("t0", "a", "FAILED")
	w.notes = nil
	w.update("t0", "c", "FAILED")
	require.Equal(t, `{"timestamp":1772366400,"jobs":{}}`, string(w.notes[0].Payload))
	require.Equal(t, `{"timestamp":1772366400}`, string(w.notes[1].Payload))
}

func TestListeningSparesTheRendering(t *testing.T) {
	w := newWorld(t, 2, Switches{})
	w.s.cfg.Listening = func(thing string, kind NotifyKind) bool { return thing == "t1" && kind == NotifyNext }
	w.create("job", nil)
	w.pass(60e9)
	require.Nil(t, w.heard("t0"))
	w.notes = nil
	w.update("t1", "job", "SUCCEEDED")
	require.Equal(t, []string{"next:-"}, w.heard("t1"))
}
