package cloud

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/cloud/registry"
)

func (w *world) indexed() {
	require.NoError(w.t, w.c.UpdateIndexingConfiguration(w.now, &registry.ThingIndexing{Mode: registry.IndexingShadow}, nil))
}

func (w *world) dynamic(name, query string) {
	_, err := w.c.CreateDynamicThingGroup(w.now, registry.CreateDynamicThingGroupRequest{ThingGroupName: name, Query: registry.Query{QueryString: query}})
	require.NoError(w.t, err)
}

func (w *world) executions(job string) (out []string) {
	list, _, err := w.c.ListJobExecutionsForJob(job, "", 0, "")
	require.NoError(w.t, err)
	for _, e := range list {
		out = append(out, e.ThingARN[len(arnOf(w, "thing", "")):]+" "+e.JobExecutionSummary.Status.String())
	}
	return out
}

// The group "firmware older than X" with a CONTINUOUS job drains itself: who has
// the update reports so and leaves; who reports something old joins.
func TestDynamicGroupDrivesAJob(t *testing.T) {
	w := newWorld(t, nil)
	openPolicy(w)
	w.indexed()
	var devices [3]*client
	for i := range devices {
		name := fmt.Sprintf("d%d", i)
		w.thing(name, "open")
		devices[i] = w.connect(name, nil)
		devices[i].subscribe("$aws/things/" + name + "/jobs/notify-next")
		devices[i].publish("$aws/things/"+name+"/shadow/update", `{"state":{"reported":{"version":"1.0"}}}`)
	}
	w.dynamic("old", "shadow.reported.version<2.0 AND thingName:d*")
	_, err := w.c.CreateJob(w.now, jobs.CreateJobRequest{JobID: "up", Document: "{}", Targets: []string{w.c.ARN("thinggroup", "old")}, TargetSelection: jobs.Continuous})
	require.NoError(t, err)
	w.pass(2 * time.Second)
	require.Equal(t, []string{"d0 QUEUED", "d1 QUEUED", "d2 QUEUED"}, w.executions("up"))

	// d0 finishes and reports; d1 reports before it has finished.
	devices[0].publish("$aws/things/d0/jobs/up/update", `{"status":"SUCCEEDED"}`)
	devices[0].publish("$aws/things/d0/shadow/update", `{"state":{"reported":{"version":"2.0"}}}`)
	devices[1].publish("$aws/things/d1/shadow/update", `{"state":{"reported":{"version":"2.0"}}}`)
	for _, d := range devices {
		d.take()
	}
	w.pass(time.Second)
	require.Equal(t, []string{"d0 SUCCEEDED", "d1 REMOVED", "d2 QUEUED"}, w.executions("up"))
	require.Contains(t, devices[1].next(protocol.Publish).Topic, "notify-next", "its job is gone")
	members, err := w.c.ListThingsInThingGroup("old", false)
	require.NoError(t, err)
	require.Equal(t, []string{"d2"}, members)

	// A factory reset brings d0 back; a new thing joins as well.
	devices[0].publish("$aws/things/d0/shadow/update", `{"state":{"reported":{"version":"1.0"}}}`)
	w.thing("d3", "open")
	w.connect("d3", nil).publish("$aws/things/d3/shadow/update", `{"state":{"reported":{"version":"0.9"}}}`)
	w.pass(time.Second)
	list, _, err := w.c.ListJobExecutionsForJob("up", "QUEUED", 0, "")
	require.NoError(t, err)
	require.Equal(t, 3, len(list), "d0 again, d2, d3")

	// Without an index nothing moves any more; with it again the group is built anew.
	require.NoError(t, w.c.UpdateIndexingConfiguration(w.now, &registry.ThingIndexing{Mode: registry.IndexingOff}, nil))
	devices[2].publish("$aws/things/d2/shadow/update", `{"state":{"reported":{"version":"2.0"}}}`)
	w.pass(10 * time.Second)
	require.True(t, w.c.Registry().InGroup("d2", "old"))
	w.indexed()
	w.pass(time.Second)
	require.False(t, w.c.Registry().InGroup("d2", "old"))
	require.NoError(t, w.c.DeleteDynamicThingGroup(w.now, "old"))
	list, _, err = w.c.ListJobExecutionsForJob("up", "QUEUED", 0, "")
	require.NoError(t, err)
	require.Empty(t, list)
}

func TestShadowOverMQTT(t *testing.T) {
	w := newWorld(t, nil)
	openPolicy(w)
	w.thing("t1", "open")
	w.thing("app", "open")
	d, app := w.connect("t1", nil), w.connect("app", nil)
	d.take()
	d.publish("$aws/things/t1/shadow/get", "")
	require.Empty(t, d.take(), "answers need a subscription")
	d.subscribe("$aws/things/t1/shadow/get/+", "$aws/things/t1/shadow/update/+")
	app.subscribe("$aws/things/t1/shadow/name/n/update/+")
	d.take()
	app.take()
	d.publish("$aws/things/t1/shadow/get", "")
	require.Equal(t, []string{`PUBLISH q0 $aws/things/t1/shadow/get/rejected {"code":404,"message":"No shadow exists with name: 't1'","timestamp":1772366400}`}, show(d.take()))
	app.publish("$aws/things/t1/shadow/update", `{"state":{"desired":{"led":1}}}`)
	var topics []string
	for _, p := range d.take() {
		topics = append(topics, p.Topic[len("$aws/things/t1/shadow/update/"):])
	}
	require.ElementsMatch(t, []string{"accepted", "delta", "documents"}, topics)
	require.Empty(t, app.take(), "another shadow")
	d.publish("$aws/things/t1/shadow/name/n/update", `{"state":{"reported":{"v":1}}}`)
	require.Len(t, app.take(), 2)
	d.publish("$aws/things/t1/shadow/update/accepted", `{}`)
	require.Equal(t, "AUTH_ERROR", d.closed, "answers are the service's")

	// A policy that does not know of shadows keeps a device out of them.
	w.thing("t2")
	k := w.connect("t2", nil)
	k.publish("$aws/things/t2/shadow/update", `{}`)
	require.Equal(t, "AUTH_ERROR", k.closed)
}
