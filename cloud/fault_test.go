package cloud

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/broker/rules"
	"github.com/otasim/otasim/cloud/bucket"
	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/cloud/ota"
	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/cloud/streams"
)

func TestFaultsOfCalls(t *testing.T) {
	w := newWorld(t, nil)
	for _, f := range []struct {
		err  error
		want *aws.Exception
	}{{Throttled, aws.Throttling}, {Failure, aws.InternalFailure}, {Unavailable, aws.ServiceUnavailable}} {
		asked := ""
		w.c.SetFaults(&Faults{Call: func(_ time.Time, op string) error { asked = op; return f.err }})
		_, err := w.c.CreateThing(w.now, "esp-1", "", nil)
		require.ErrorIs(t, err, f.want)
		require.Equal(t, "CreateThing", asked)
	}
	require.False(t, w.c.Registry().Thing("esp-1"), "a call that fails does nothing")
	w.c.SetFaults(nil)
	_, err := w.c.CreateThing(w.now, "esp-1", "", nil)
	require.NoError(t, err)
}

func TestFatesOfJobsRequests(t *testing.T) {
	var fate Fate
	w := newWorld(t, unlimited)
	w.thing("esp-1", "fleet")
	k := w.connect("esp-1", nil)
	w.c.SetFaults(&Faults{Jobs: func(_ time.Time, thing, rest string) Fate {
		require.Equal(t, "esp-1", thing)
		require.Equal(t, "job/update", rest)
		return fate
	}})
	_, err := w.c.CreateJob(w.now, jobs.CreateJobRequest{JobID: "job", Document: "{}", Targets: []string{arnOf(w, "thinggroup", "fleet")}})
	require.NoError(t, err)
	w.pass(0)
	status := func() string {
		e, err := w.c.DescribeJobExecution(w.now, "esp-1", "job", 0)
		require.NoError(t, err)
		return e.Status.String()
	}
	const topic = "$aws/things/esp-1/jobs/job/update"
	say := func(f Fate) []protocol.Packet {
		fate = f
		k.take()
		k.publish(topic, `{"status":"IN_PROGRESS","clientToken":"x"}`)
		return k.in
	}
	require.Empty(t, say(Fate{What: Ignored}))
	require.Equal(t, "QUEUED", status())
	for what, code := range map[What]string{Throttle: "RequestThrottled", Fail: "InternalError"} {
		got := say(Fate{What: what})
		require.Len(t, got, 1)
		require.Equal(t, topic+"/rejected", got[0].Topic)
		require.Contains(t, string(got[0].Payload), `"code":"`+code+`"`)
		require.Contains(t, string(got[0].Payload), `"clientToken":"x"`)
	}
	require.Equal(t, "QUEUED", status())
	require.Empty(t, say(Fate{What: ReplyLost}))
	require.Equal(t, "IN_PROGRESS", status(), "only the reply is lost")
	require.Empty(t, say(Fate{Delay: 5 * time.Second}))
	w.pass(5*time.Second - 1)
	require.Empty(t, k.in)
	w.pass(1)
	require.Len(t, k.in, 1)
	require.Equal(t, topic+"/accepted", k.in[0].Topic)
	_, err = w.c.JobsRequest(w.now, "esp-1", "job/update", []byte(`{"status":"IN_PROGRESS"}`))
	require.NoError(t, err)
	fate.What = Ignored
	_, err = w.c.JobsRequest(w.now, "esp-1", "job/update", []byte(`{"status":"IN_PROGRESS"}`))
	require.ErrorIs(t, err, aws.ServiceUnavailable)
}

func TestFatesOfStreamRequests(t *testing.T) {
	w := newWorld(t, unlimited)
	require.NoError(t, w.c.CreateBucket(w.now, "firmware"))
	_, err := w.c.PutObject(w.now, "firmware", "app.bin", image(4096))
	require.NoError(t, err)
	version, err := w.c.PutObject(w.now, "firmware", "app.bin", image(8192))
	require.NoError(t, err)
	stream := func(id, version string) {
		_, err := w.c.CreateStream(w.now, streams.CreateRequest{StreamID: id, RoleARN: role,
			Files: []streams.File{{S3Location: streams.Location{Bucket: "firmware", Key: "app.bin", Version: version}}}})
		require.NoError(t, err)
	}
	stream("fixed", version)
	stream("latest", "")
	w.thing("esp-1")
	k := w.connect("esp-1", nil)
	for _, s := range []string{"fixed", "latest"} {
		k.subscribe("$aws/things/esp-1/streams/"+s+"/data/cbor", "$aws/things/esp-1/streams/"+s+"/rejected/cbor")
	}
	get := func(s string) string {
		k.take()
		k.publish("$aws/things/esp-1/streams/"+s+"/get/cbor", getBlocks([]byte{1}, 1))
		if len(k.in) == 0 {
			return ""
		}
		require.Len(t, k.in, 1)
		topic := strings.TrimPrefix(k.in[0].Topic, "$aws/things/esp-1/streams/"+s+"/")
		for _, code := range []string{streams.InternalError, streams.ETagMismatch} {
			if strings.Contains(string(k.in[0].Payload), code) {
				return topic + " " + code
			}
		}
		return topic
	}
	require.Equal(t, "data/cbor", get("fixed"))
	for what, want := range map[What]string{Ignored: "", ReplyLost: "", Throttle: "rejected/cbor InternalError", Fail: "rejected/cbor InternalError"} {
		w.c.SetFaults(&Faults{Streams: func(_ time.Time, thing, stream, rest string) Fate {
			require.Equal(t, []string{"esp-1", "fixed", "get/cbor"}, []string{thing, stream, rest})
			return Fate{What: what}
		}})
		require.Equal(t, want, get("fixed"))
	}
	var of []bucket.Request
	fault := bucket.Fault{Status: 503}
	w.c.SetFaults(&Faults{Bucket: func(_ time.Time, r bucket.Request) bucket.Fault { of = append(of, r); return fault }})
	require.Equal(t, "rejected/cbor InternalError", get("fixed"), "a bucket that fails")
	require.Equal(t, []bucket.Request{{Method: http.MethodGet, Bucket: "firmware", Key: "app.bin", Version: version}}, of)
	fault = bucket.Fault{Delay: 3 * time.Second}
	require.Empty(t, get("fixed"), "a slow bucket")
	w.pass(3 * time.Second)
	require.Len(t, k.in, 1)
	require.Equal(t, "$aws/things/esp-1/streams/fixed/data/cbor", k.in[0].Topic)
	fault = bucket.Fault{Stale: true}
	require.Equal(t, "data/cbor", get("fixed"), "a version stays what it is")
	require.Equal(t, "rejected/cbor ETagMismatch", get("latest"), "a stale bucket")
	w.c.SetFaults(nil)
	require.Equal(t, "data/cbor", get("latest"))
	require.Equal(t, "data/cbor", get("fixed"))
}

func TestBucketFaultsReachTheSigner(t *testing.T) {
	w := newWorld(t, unlimited)
	w.thing("esp-1", "fleet")
	r := w.firmware("slow", image(4096), arnOf(w, "thinggroup", "fleet"))
	status := func(id string) string {
		u, err := w.c.GetOTAUpdate(w.now, id)
		require.NoError(t, err)
		if u.ErrorInfo != nil {
			return u.OTAUpdateStatus + " " + u.ErrorInfo.Message
		}
		return u.OTAUpdateStatus
	}
	w.c.SetFaults(&Faults{Bucket: func(time.Time, bucket.Request) bucket.Fault { return bucket.Fault{Delay: time.Minute} }})
	_, err := w.c.CreateOTAUpdate(w.now, r)
	require.NoError(t, err)
	w.pass(time.Minute)
	require.Equal(t, ota.CreateInProgress, status("slow"))
	w.pass(2 * time.Minute)
	require.Equal(t, ota.CreateComplete, status("slow"))
	w.c.SetFaults(&Faults{Bucket: func(_ time.Time, r bucket.Request) bucket.Fault {
		if r.Method == http.MethodGet {
			return bucket.Fault{Status: 500}
		}
		return bucket.Fault{}
	}})
	r.OTAUpdateID = "broken"
	_, err = w.c.CreateOTAUpdate(w.now, r)
	require.NoError(t, err)
	w.pass(time.Minute)
	require.Contains(t, status("broken"), ota.CreateFailed)
	require.Contains(t, status("broken"), "InternalError")
}

func TestRestartBroker(t *testing.T) {
	w := newWorld(t, unlimited)
	w.thing("esp-1")
	w.thing("esp-2")
	persistent := func(p *protocol.Packet) { p.CleanSession = false }
	a, b := w.connect("esp-1", persistent), w.connect("esp-2", nil)
	a.subscribe("$aws/things/esp-1/jobs/notify@1")
	w.c.RestartBroker(w.now)
	var closed []ConnID
	for _, o := range w.c.Outbox() {
		require.True(t, o.Close)
		require.Equal(t, rules.ServerInitiated, o.Reason)
		closed = append(closed, o.Conn)
	}
	require.Equal(t, []ConnID{a.id, b.id}, closed)
	w.pass(2 * time.Second)
	require.Equal(t, []string{"CONNACK 0 present=true"}, show(w.connect("esp-1", persistent).take()))
	require.Equal(t, []string{"CONNACK 0 present=false"}, show(w.connect("esp-2", nil).take()))
}
