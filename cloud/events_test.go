package cloud

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/jobs"
)

func TestJobEventsArePublished(t *testing.T) {
	w := newWorld(t, unlimited)
	openPolicy(w)
	w.thing("esp-1", "open")
	k := w.connect("esp-1", nil)
	k.subscribe("$aws/events/job/+/completed", "$aws/events/jobExecution/#")
	k.take()
	round := func(id string) []string {
		_, err := w.c.CreateJob(w.now, jobs.CreateJobRequest{JobID: id, Document: "{}", Targets: []string{w.c.ARN("thing", "esp-1")}})
		require.NoError(t, err)
		w.pass(0)
		k.publish("$aws/things/esp-1/jobs/"+id+"/update", `{"status":"SUCCEEDED"}`)
		var topics []string
		for _, p := range k.take() {
			topics = append(topics, p.Topic)
		}
		return topics
	}
	answer := func(id string) string { return "$aws/things/esp-1/jobs/" + id + "/update/accepted" }
	require.Equal(t, []string{answer("a")}, round("a"), "off at first")
	require.NoError(t, w.c.UpdateEventConfigurations(w.now, map[string]bool{"JOB": true, "JOB_EXECUTION": true}))
	require.Equal(t, []string{answer("b"), "$aws/events/jobExecution/b/succeeded", "$aws/events/job/b/completed"}, round("b"))
	require.NoError(t, w.c.UpdateEventConfigurations(w.now, map[string]bool{"JOB": false}))
	require.Equal(t, []string{answer("c"), "$aws/events/jobExecution/c/succeeded"}, round("c"), "what is not named stays")
	require.ErrorIs(t, w.c.UpdateEventConfigurations(w.now, map[string]bool{"CA_CERTIFICATE": true}), aws.InvalidRequest)
	k.subscribe("$aws/events/job/#")
	k.publish("$aws/events/job/b/completed", "{}")
	require.NotEmpty(t, k.closed, "nobody else publishes events")
}
