package cloud

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/cloud/ota"
	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/cloud/quota"
	"github.com/otasim/otasim/cloud/streams"
)

// probes do what a switch is about and tell what happened; two readings must
// tell the two things that are given.
var probes = map[string]struct {
	first, second string
	do            func(w *world) string
}{
	"notify-in-progress": {"", "notify", func(w *world) string {
		k := w.job(nil)
		k.subscribe("$aws/things/esp-1/jobs/notify")
		k.take()
		k.publish("$aws/things/esp-1/jobs/job/update", `{"status":"IN_PROGRESS"}`)
		return k.heard("notify")
	}},
	"stream-answers": {"", "data/cbor", func(w *world) string {
		k := w.stream()
		k.publish("$aws/things/esp-1/streams/s/get/cbor", getBlocks([]byte{1}, 1))
		return k.heard("data/cbor")
	}},
	"data-cbor": {"bf ff", "a5", func(w *world) string {
		k := w.stream()
		k.subscribe("$aws/things/esp-1/streams/s/data/cbor")
		k.take()
		k.publish("$aws/things/esp-1/streams/s/get/cbor", getBlocks([]byte{4}, 1))
		p := k.next(protocol.Publish).Payload
		require.Equal(w.t, 2, decodeBlock(w.t, p).Index)
		if p[0] == 0xbf {
			return fmt.Sprintf("%x %x", p[0], p[len(p)-1])
		}
		return fmt.Sprintf("%x", p[0])
	}},
	"default-block-count": {"rejected/json", "data/json data/json data/json", func(w *world) string {
		k := w.stream()
		k.subscribe("$aws/things/esp-1/streams/s/+/json")
		k.take()
		k.publish("$aws/things/esp-1/streams/s/get/json", `{"f":0,"l":4096}`)
		return k.heard("data/json", "rejected/json")
	}},
	"data-plane-time": {"1772366400", "1772366400000", func(w *world) string {
		k := w.job(nil)
		k.publish("$aws/things/esp-1/jobs/get", "{}")
		_, rest, _ := strings.Cut(string(k.next(protocol.Publish).Payload), `"timestamp":`)
		return rest[:strings.IndexAny(rest, ",}")]
	}},
	"late-rejected": {"accepted", "rejected", func(w *world) string {
		k := w.job(nil)
		k.publish("$aws/things/esp-1/jobs/job/update", `{"status":"IN_PROGRESS"}`)
		k.take()
		k.publish("$aws/things/esp-1/jobs/job/update", `{"status":"REJECTED"}`)
		return k.heard("accepted", "rejected")
	}},
	"delete-live-update": {"refused", "IN_PROGRESS", func(w *world) string {
		w.thing("esp-1", "fleet")
		_, err := w.c.CreateOTAUpdate(w.now, w.firmware("u", image(4096), w.c.ARN("thinggroup", "fleet")))
		require.NoError(w.t, err)
		w.pass(time.Minute)
		if w.c.DeleteOTAUpdate(w.now, "u", false, false) != nil {
			return "refused"
		}
		w.pass(time.Minute)
		j, err := w.c.DescribeJob(ota.JobID("u"))
		require.NoError(w.t, err)
		return j.Status
	}},
	"abort-minimum": {"IN_PROGRESS", "CANCELED", func(w *world) string {
		w.thing("esp-2", "fleet")
		k := w.job(func(r *jobs.CreateJobRequest) {
			r.AbortConfig = &jobs.AbortConfig{CriteriaList: []jobs.AbortCriterion{{FailureType: "FAILED", Action: "CANCEL", ThresholdPercentage: 50, MinNumberOfExecutedThings: 2}}}
		})
		w.pass(time.Minute)
		k.publish("$aws/things/esp-1/jobs/job/update", `{"status":"FAILED"}`)
		j, err := w.c.DescribeJob("job")
		require.NoError(w.t, err)
		return j.Status
	}},
	"job-quotas": {"200", "100", func(w *world) string {
		w.job(nil)
		n := 1
		for ; n < 200; n++ {
			if _, err := w.c.CreateJob(w.now, jobs.CreateJobRequest{JobID: fmt.Sprintf("job%d", n), Document: "{}", Targets: []string{w.c.ARN("thing", "esp-1")}}); err != nil {
				break
			}
			w.pass(0)
		}
		return fmt.Sprint(n)
	}},
	"snapshot-leavers": {"QUEUED", "REMOVED", func(w *world) string {
		w.job(nil)
		require.NoError(w.t, w.c.RemoveThingFromThingGroup(w.now, "esp-1", "fleet"))
		e, err := w.c.DescribeJobExecution(w.now, "esp-1", "job", 0)
		require.NoError(w.t, err)
		return e.Status.String()
	}},
	"long-update-ids": {"refused", "CREATE_FAILED", func(w *world) string {
		w.thing("esp-1", "fleet")
		id := strings.Repeat("u", 57)
		if _, err := w.c.CreateOTAUpdate(w.now, w.firmware(id, image(4096), w.c.ARN("thinggroup", "fleet"))); err != nil {
			return "refused"
		}
		w.pass(time.Minute)
		u, err := w.c.GetOTAUpdate(w.now, id)
		require.NoError(w.t, err)
		return u.OTAUpdateStatus
	}},
	"snapshot-windows": {"refused", "SCHEDULED", func(w *world) string {
		w.thing("esp-1")
		if _, err := w.c.CreateJob(w.now, jobs.CreateJobRequest{JobID: "job", Document: "{}", Targets: []string{w.c.ARN("thing", "esp-1")},
			SchedulingConfig: &jobs.SchedulingConfig{MaintenanceWindows: []jobs.MaintenanceWindow{{StartTime: "cron(0 2 * * ? *)", DurationInMinutes: 60}}}}); err != nil {
			return "refused"
		}
		j, err := w.c.DescribeJob("job")
		require.NoError(w.t, err)
		return j.Status
	}},
	"list-by-group": {"1 1", "1 0", func(w *world) string {
		w.thing("esp-1", "fleet")
		group := w.c.ARN("thinggroup", "fleet")
		_, err := w.c.CreateJob(w.now, jobs.CreateJobRequest{JobID: "later", Document: "{}", Targets: []string{group},
			SchedulingConfig: &jobs.SchedulingConfig{StartTime: w.now.Add(time.Hour).UTC().Format("2006-01-02 15:04")}})
		require.NoError(w.t, err)
		w.pass(time.Second)
		all, _, err := w.c.FindJobs(jobs.Filter{Status: jobs.JobScheduled}, 10, "")
		require.NoError(w.t, err)
		listed, _, err := w.c.FindJobs(jobs.Filter{Target: group}, 10, "")
		require.NoError(w.t, err)
		return fmt.Sprint(len(all), " ", len(listed))
	}},
	"custom-signature": {"TUFBPQ==", "MAA=", func(w *world) string {
		w.thing("esp-1", "fleet")
		r := w.firmware("u", image(4096), w.c.ARN("thinggroup", "fleet"))
		r.Files[0].CodeSigning = &ota.CodeSigning{CustomCodeSigning: &ota.CustomCodeSigning{Signature: &ota.Blob{InlineDocument: []byte("MAA=")},
			HashAlgorithm: "SHA256", SignatureAlgorithm: "ECDSA", CertificateChain: &ota.CertificateChain{CertificateName: "/c.pem"}}}
		_, err := w.c.CreateOTAUpdate(w.now, r)
		require.NoError(w.t, err)
		w.pass(time.Minute)
		doc, err := w.c.GetJobDocument(ota.JobID("u"))
		require.NoError(w.t, err)
		_, rest, _ := strings.Cut(doc, `"sig-sha256-ecdsa":"`)
		sig, _, _ := strings.Cut(rest, `"`)
		return sig
	}},
	"refused-connect": {"CONNACK 7 present=false", "CONNACK 5 present=false", func(w *world) string {
		w.thing("esp-1")
		return strings.Join(show(w.connect("esp-1", func(p *protocol.Packet) { p.ClientID = "another" }).take()), "")
	}},
	"forbidden-filter": {"AUTH_ERROR", "SUBACK [128]", func(w *world) string {
		w.thing("esp-1")
		k := w.connect("esp-1", nil)
		k.take()
		k.subscribe("private/#")
		return strings.Join(show(k.take()), "") + k.closed
	}},
}

// job makes a job for the group fleet with esp-1 in it, and connects esp-1.
func (w *world) job(change func(*jobs.CreateJobRequest)) *client {
	w.thing("esp-1", "fleet")
	r := jobs.CreateJobRequest{JobID: "job", Document: "{}", Targets: []string{w.c.ARN("thinggroup", "fleet")}}
	if change != nil {
		change(&r)
	}
	_, err := w.c.CreateJob(w.now, r)
	require.NoError(w.t, err)
	w.pass(0)
	k := w.connect("esp-1", nil)
	k.take()
	return k
}

// stream makes a stream of 12,000 bytes and connects esp-1.
func (w *world) stream() *client {
	require.NoError(w.t, w.c.CreateBucket(w.now, "firmware"))
	_, err := w.c.PutObject(w.now, "firmware", "app.bin", image(12_000))
	require.NoError(w.t, err)
	_, err = w.c.CreateStream(w.now, streams.CreateRequest{StreamID: "s", RoleARN: role, Files: []streams.File{{S3Location: streams.Location{Bucket: "firmware", Key: "app.bin"}}}})
	require.NoError(w.t, err)
	w.thing("esp-1")
	k := w.connect("esp-1", nil)
	k.take()
	return k
}

// heard takes what has arrived and names the topics that end so.
func (k *client) heard(suffixes ...string) string {
	var out []string
	for _, p := range k.take() {
		for _, s := range suffixes {
			if strings.HasSuffix(p.Topic, "/"+s) {
				out = append(out, s)
			}
		}
	}
	return strings.Join(out, " ")
}

func TestEverySwitchHasTwoReadings(t *testing.T) {
	for _, x := range SwitchTable {
		t.Run(x.Name, func(t *testing.T) {
			p, ok := probes[x.Name]
			require.True(t, ok, "no probe")
			require.Len(t, x.Choices, 2)
			require.NotEmpty(t, x.Question)
			require.NotEmpty(t, x.Source)
			require.Equal(t, x.Choices[0], x.Default())
			for i, want := range []string{p.first, p.second} {
				sw, err := ParseSwitches([]string{x.Name + "=" + x.Choices[i]})
				require.NoError(t, err)
				if i == 0 {
					require.Zero(t, sw, "the zero value is the default")
				}
				w := newWorld(t, func(c *Config) { c.Switches = sw })
				require.Equal(t, want, p.do(w), x.Choices[i])
			}
		})
	}
	require.Len(t, probes, len(SwitchTable))
}

func TestSwitchMistakes(t *testing.T) {
	_, err := ParseSwitches([]string{"stream-answer=requester"})
	require.ErrorIs(t, err, ErrSwitch)
	_, err = ParseSwitches([]string{"stream-answers=nobody"})
	require.ErrorIs(t, err, ErrChoice)
	require.ErrorContains(t, err, "subscribers or requester")
	_, err = ParseSwitches([]string{"stream-answers"})
	require.ErrorIs(t, err, ErrChoice)
	l, err := quota.Parse("active-snapshot-jobs=5000")
	require.NoError(t, err)
	sw, err := ParseSwitches([]string{"job-quotas=2019", "job-quotas=raised", "job-quotas=2019"})
	require.NoError(t, err)
	c, err := New(Config{Epoch: epoch, Quotas: l, Switches: sw})
	require.NoError(t, err)
	require.EqualValues(t, 5000, c.cfg.Quotas[quota.ActiveSnapshotJobs], "what is set stays")
	require.EqualValues(t, 100, c.cfg.Quotas[quota.ActiveContinuousJobs])
}
