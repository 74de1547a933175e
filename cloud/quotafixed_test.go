package cloud

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/broker/rules"
	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/cloud/ota"
	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/cloud/quota"
	"github.com/otasim/otasim/cloud/registry"
	"github.com/otasim/otasim/cloud/streams"
)

// bounds ask for n of what a fixed quota limits, and say whether it was granted.
var bounds = map[quota.Name]func(w *world, n int) bool{
	quota.FiltersPerSubscribe: func(w *world, n int) bool {
		k := w.opened("t")
		var filters []string
		for i := range n {
			filters = append(filters, fmt.Sprintf("topic/%d", i))
		}
		k.subscribe(filters...)
		return k.closed == ""
	},
	quota.Payload: func(w *world, n int) bool {
		k := w.opened("t")
		k.publish("topic", strings.Repeat("x", n))
		return k.closed == ""
	},
	quota.TopicLength: func(w *world, n int) bool {
		k := w.opened("t")
		k.publish(strings.Repeat("x", n), "")
		return k.closed == ""
	},
	quota.TopicSlashes: func(w *world, n int) bool {
		k := w.opened("t")
		k.publish("x"+strings.Repeat("/x", n), "")
		return k.closed == ""
	},
	quota.ClientIDLength: func(w *world, n int) bool {
		w.opened("t")
		id := strings.Repeat("x", n)
		return w.connect("t", func(p *protocol.Packet) { p.ClientID = id }).next(protocol.Connack).ReturnCode != rules.BadClientID
	},
	quota.AttributesWithoutType: func(w *world, n int) bool { return w.attributes("", n) },
	quota.AttributesWithType: func(w *world, n int) bool {
		_, err := w.c.Registry().CreateThingType(w.now, "type", registry.ThingTypeProperties{})
		require.NoError(w.t, err)
		return w.attributes("type", n)
	},
	quota.GroupsPerThing: func(w *world, n int) bool {
		w.thing("t")
		var err error
		for i := range n {
			_, err = w.c.CreateThingGroup(w.now, registry.CreateThingGroupRequest{ThingGroupName: fmt.Sprintf("g%d", i)})
			require.NoError(w.t, err)
			err = w.c.AddThingToThingGroup(w.now, "t", fmt.Sprintf("g%d", i))
		}
		return err == nil
	},
	quota.GroupDepth: func(w *world, n int) bool {
		var err error
		for i := range n {
			r := registry.CreateThingGroupRequest{ThingGroupName: fmt.Sprintf("g%d", i)}
			if i > 0 {
				r.ParentGroupName = fmt.Sprintf("g%d", i-1)
			}
			_, err = w.c.CreateThingGroup(w.now, r)
		}
		return err == nil
	},
	quota.PoliciesPerTarget: func(w *world, n int) bool {
		_, err := w.c.CreateThingGroup(w.now, registry.CreateThingGroupRequest{ThingGroupName: "g"})
		require.NoError(w.t, err)
		for i := range n {
			_, err = w.c.CreatePolicy(w.now, fmt.Sprintf("p%d", i), w.c.OTAPolicy())
			require.NoError(w.t, err)
			err = w.c.AttachPolicy(w.now, fmt.Sprintf("p%d", i), w.c.ARN("thinggroup", "g"))
		}
		return err == nil
	},
	quota.PolicyVersions: func(w *world, n int) bool {
		_, err := w.c.CreatePolicy(w.now, "p", w.c.OTAPolicy())
		for range n - 1 {
			_, err = w.c.Registry().CreatePolicyVersion(w.now, "p", w.c.OTAPolicy(), false)
		}
		return err == nil
	},
	quota.PolicySize: func(w *world, n int) bool {
		doc := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:Publish","Resource":"%s"}}`
		_, err := w.c.CreatePolicy(w.now, "p", fmt.Sprintf(doc, strings.Repeat("x", n-len(doc)+2))+"\n ")
		return err == nil
	},
	quota.JobDocument: func(w *world, n int) bool {
		w.thing("t")
		return w.rollout("job", func(r *jobs.CreateJobRequest) { r.Document = `"` + strings.Repeat("x", n-2) + `"` })
	},
	quota.JobTargets: func(w *world, n int) bool {
		return w.rollout("job", func(r *jobs.CreateJobRequest) {
			r.Targets = nil
			for i := range n {
				w.thing(fmt.Sprintf("t%d", i))
				r.Targets = append(r.Targets, w.c.ARN("thing", fmt.Sprintf("t%d", i)))
			}
		})
	},
	quota.Substitutions: func(w *world, n int) bool {
		w.thing("t")
		return w.rollout("job", func(r *jobs.CreateJobRequest) {
			r.Document = `"` + strings.Repeat("${aws:iot:s3-presigned-url:https://s3.eu-central-1.amazonaws.com/b/k}", n) + `"`
		})
	},
	quota.JobRetries: func(w *world, n int) bool {
		w.thing("t")
		return w.rollout("job", func(r *jobs.CreateJobRequest) {
			r.TimeoutConfig = &jobs.TimeoutConfig{InProgressTimeoutInMinutes: 5}
			r.JobExecutionsRetryConfig = &jobs.RetryConfig{CriteriaList: []jobs.RetryCriterion{{FailureType: "FAILED", NumberOfRetries: 4}, {FailureType: "TIMED_OUT", NumberOfRetries: n - 4}}}
		})
	},
	quota.JobTimeoutMax: func(w *world, n int) bool {
		w.thing("t")
		return w.rollout("job", func(r *jobs.CreateJobRequest) { r.TimeoutConfig = &jobs.TimeoutConfig{InProgressTimeoutInMinutes: n} })
	},
	quota.JobTimeoutMin:     func(w *world, n int) bool { return w.reports(fmt.Sprintf(`"stepTimeoutInMinutes":%d`, n)) },
	quota.StatusDetailKey:   func(w *world, n int) bool { return w.reports(`"statusDetails":{"` + strings.Repeat("k", n) + `":"v"}`) },
	quota.StatusDetailValue: func(w *world, n int) bool { return w.reports(`"statusDetails":{"k":"` + strings.Repeat("v", n) + `"}`) },
	quota.StatusDetails: func(w *world, n int) bool {
		var pairs []string
		for i := range n {
			pairs = append(pairs, fmt.Sprintf(`"k%d":"v"`, i))
		}
		return w.reports(`"statusDetails":{` + strings.Join(pairs, ",") + `}`)
	},
	quota.StreamFile: func(w *world, n int) bool {
		require.NoError(w.t, w.c.CreateBucket(w.now, "firmware"))
		_, err := w.c.PutObject(w.now, "firmware", "file", make([]byte, n))
		require.NoError(w.t, err)
		_, err = w.c.CreateStream(w.now, streams.CreateRequest{StreamID: "s", RoleARN: role, Files: []streams.File{{S3Location: streams.Location{Bucket: "firmware", Key: "file"}}}})
		return err == nil
	},
	quota.SignerInput: func(w *world, n int) bool {
		w.thing("t")
		_, err := w.c.CreateOTAUpdate(w.now, w.firmware("u", make([]byte, n), w.c.ARN("thing", "t")))
		require.NoError(w.t, err)
		w.pass(time.Minute)
		u, err := w.c.GetOTAUpdate(w.now, "u")
		require.NoError(w.t, err)
		return u.OTAUpdateStatus == ota.CreateComplete
	},
	quota.BlockSizeMin: func(w *world, n int) bool { return w.asks(fmt.Sprintf(`"l":%d,"n":1`, n)) },
	quota.BlockSizeMax: func(w *world, n int) bool { return w.asks(fmt.Sprintf(`"l":%d,"n":1`, n)) },
	quota.BlockOffset:  func(w *world, n int) bool { return w.asks(fmt.Sprintf(`"l":256,"n":1,"o":%d`, n)) },
	quota.BlockCount:   func(w *world, n int) bool { return w.asks(fmt.Sprintf(`"l":256,"n":%d`, n)) },
	quota.BlockBitmap: func(w *world, n int) bool {
		return w.asks(fmt.Sprintf(`"l":256,"n":1,"b":"%s"`, strings.Repeat("ff", n)))
	},
}

func (w *world) attributes(kind string, n int) bool {
	set := map[string]string{}
	for i := range n {
		set[fmt.Sprintf("a%d", i)] = "v"
	}
	_, err := w.c.CreateThing(w.now, "t", kind, set)
	return err == nil
}

// reports is an update of a job execution with some more members.
func (w *world) reports(members string) bool {
	w.thing("t")
	require.True(w.t, w.rollout("job", nil))
	_, err := w.c.JobsRequest(w.now, "t", "job/update", []byte(`{"status":"IN_PROGRESS",`+members+`}`))
	return err == nil
}

// asks is a block request; a refusal for the range of the file counts as granted.
func (w *world) asks(members string) bool {
	k := w.stream()
	k.subscribe("$aws/things/esp-1/streams/s/+/json")
	k.take()
	k.publish("$aws/things/esp-1/streams/s/get/json", `{"f":0,`+members+`}`)
	answer := string(k.next(protocol.Publish).Payload)
	return !strings.Contains(answer, "OutOfBounds") && !strings.Contains(answer, "LimitExceeded")
}

func TestFixedQuotas(t *testing.T) {
	lowest := map[quota.Name]bool{quota.JobTimeoutMin: true, quota.BlockSizeMin: true}
	for _, r := range quota.Rows {
		ask := bounds[r.Name]
		if ask == nil {
			continue
		}
		t.Run(string(r.Name), func(t *testing.T) {
			require.True(t, r.Fixed)
			beyond := int(r.Value) + 1
			if lowest[r.Name] {
				beyond = int(r.Value) - 1
			}
			require.True(t, ask(newWorld(t, unlimited), int(r.Value)), "%d", r.Value)
			require.False(t, ask(newWorld(t, unlimited), beyond), "%d", beyond)
		})
	}
}
