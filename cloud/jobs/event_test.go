package jobs

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func jsonInto(text string, v any) error { return json.Unmarshal([]byte(text), v) }

// happened returns the events so far: the topic without its first levels and,
// for one of them, the payload.
func (w *world) happened() (topics []string, last map[string]any) {
	for _, e := range w.s.Events() {
		topics = append(topics, strings.TrimPrefix(e.Topic, "$aws/events/"))
		last = map[string]any{}
		require.NoError(w.t, json.Unmarshal(e.Payload, &last), "%s", e.Payload)
	}
	return topics, last
}

func TestEventsAreOffAtFirst(t *testing.T) {
	w := newWorld(t, 1, Switches{})
	w.create("job", nil)
	w.update("t0", "job", "SUCCEEDED")
	require.Nil(t, w.s.events)
	w.s.SetEvents(true, false)
	w.create("job2", nil)
	w.update("t0", "job2", "SUCCEEDED")
	topics, _ := w.happened()
	require.Equal(t, []string{"job/job2/completed"}, topics)
	w.s.SetEvents(false, true)
	w.create("job3", nil)
	w.update("t0", "job3", "SUCCEEDED")
	topics, _ = w.happened()
	require.Equal(t, []string{"jobExecution/job3/succeeded"}, topics)
}

func TestJobEvents(t *testing.T) {
	w := newWorld(t, 1, Switches{})
	w.s.SetEvents(true, true)
	w.create("done", func(r *CreateJobRequest) { r.Description = "a \"job\"" })
	w.pass(time.Second)
	w.update("t0", "done", "SUCCEEDED")
	topics, last := w.happened()
	require.Equal(t, []string{"jobExecution/done/succeeded", "job/done/completed"}, topics)
	id, _ := last["eventId"].(string)
	require.Len(t, id, 36)
	delete(last, "eventId")
	require.Equal(t, map[string]any{"eventType": "JOB", "timestamp": 1772366401.0, "operation": "completed", "jobId": "done", "status": "COMPLETED",
		"targetSelection": "SNAPSHOT", "targets": []any{realm.ARN("thinggroup", "fleet")}, "description": "a \"job\"",
		"createdAt": 1772366400000.0, "lastUpdatedAt": 1772366401000.0, "completedAt": 1772366401000.0,
		"jobProcessDetails": map[string]any{"numberOfCanceledThings": 0.0, "numberOfRejectedThings": 0.0, "numberOfFailedThings": 0.0,
			"numberOfRemovedThings": 0.0, "numberOfSucceededThings": 1.0, "numberOfTimedOutThings": 0.0}}, last)

	w.create("stopped", nil)
	_, err := w.s.CancelJob(w.now, "stopped", CancelJobRequest{Comment: "enough"})
	require.NoError(t, err)
	topics, last = w.happened()
	require.Equal(t, []string{"job/stopped/cancellation_in_progress", "jobExecution/stopped/canceled", "job/stopped/canceled"}, topics)
	require.Equal(t, "CANCELED", last["status"])
	require.Equal(t, "enough", last["comment"])

	require.NoError(t, w.s.DeleteJob(w.now, "stopped", false))
	topics, last = w.happened()
	require.Equal(t, []string{"job/stopped/deletion_in_progress"}, topics)
	require.Equal(t, "DELETION_IN_PROGRESS", last["status"])
	w.pass(time.Second)
	topics, last = w.happened()
	require.Equal(t, []string{"jobExecution/stopped/deleted", "job/stopped/deleted"}, topics)
	require.Equal(t, "DELETED", last["status"])
}

func TestExecutionEvents(t *testing.T) {
	w := newWorld(t, 1, Switches{})
	w.s.SetEvents(false, true)
	arn := realm.ARN("thing", "t0")
	w.dir.groups["other"] = []string{"t0"}
	for _, c := range []struct {
		operation, status string
		do                func()
	}{
		{"failed", "FAILED", func() { w.say("t0", "job/update", `{"status":"FAILED","statusDetails":{"reason":"0x10"}}`) }},
		{"rejected", "REJECTED", func() { w.update("t0", "job", "REJECTED") }},
		{"timed_out", "TIMED_OUT", func() { w.update("t0", "job", "IN_PROGRESS"); w.pass(time.Minute) }},
		{"canceled", "CANCELED", func() { require.NoError(t, w.s.CancelJobExecution(w.now, "t0", "job", CancelJobExecutionRequest{})) }},
		{"removed", "REMOVED", func() {
			w.dir.groups["other"] = nil
			w.s.MembershipChanged(w.now, "t0")
			w.dir.groups["other"] = []string{"t0"}
		}},
		{"deleted", "DELETED", func() { require.NoError(t, w.s.DeleteJobExecution(w.now, "t0", "job", 1, true)) }},
	} {
		w.create("job", func(r *CreateJobRequest) {
			r.Targets, r.TargetSelection = []string{realm.ARN("thinggroup", "other")}, Continuous
			r.TimeoutConfig = &TimeoutConfig{InProgressTimeoutInMinutes: 1}
		})
		topics, _ := w.happened()
		require.Empty(t, topics, "no event of QUEUED")
		c.do()
		topics, last := w.happened()
		require.Equal(t, []string{"jobExecution/job/" + c.operation}, topics)
		delete(last, "eventId")
		delete(last, "timestamp")
		want := map[string]any{"eventType": "JOB_EXECUTION", "operation": c.operation, "jobId": "job", "thingArn": arn, "status": c.status}
		if c.status == "FAILED" {
			want["statusDetails"] = map[string]any{"reason": "0x10"}
		}
		require.Equal(t, want, last)
		require.NoError(t, w.s.DeleteJob(w.now, "job", true))
		w.pass(time.Second)
		w.happened()
	}
}
