package cloud

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/broker/rules"
	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/cloud/quota"
	"github.com/otasim/otasim/cloud/registry"
	"github.com/otasim/otasim/cloud/signer"
	"github.com/otasim/otasim/cloud/streams"
)

// attempts use something that a quota limits, the i-th time, and say whether it
// was granted. They are made at one moment.
var attempts = map[quota.Name]func(w *world) func(i int) bool{
	quota.Connections: connecting, quota.ConnectRate: connecting,
	quota.ConnectRatePerClient: func(w *world) func(int) bool {
		w.thing("t")
		return func(int) bool { return w.connect("t", nil).next(protocol.Connack).ReturnCode == rules.Accepted }
	},
	quota.AccountSubscriptions: subscribing, quota.SubscribeRate: subscribing, quota.Subscriptions: subscribing,
	quota.InboundPublishRate: publishing, quota.ConnectionPublishes: publishing,
	quota.OutboundPublishRate: func(w *world) func(int) bool {
		k := w.opened("t")
		k.subscribe("out/#")
		k.take()
		return func(i int) bool {
			require.NoError(w.t, w.c.Publish(w.now, fmt.Sprintf("out/%d", i), nil, 0))
			w.pump()
			return len(k.take()) == 1
		}
	},
	quota.RetainedMessages: func(w *world) func(int) bool {
		k := w.opened("t")
		return func(i int) bool {
			topic := fmt.Sprintf("kept/%d", i)
			k.send(&protocol.Packet{Type: protocol.Publish, Topic: topic, Payload: []byte("x"), Retain: true})
			k.subscribe(topic)
			return len(k.take()) == 2 // SUBACK and the message
		}
	},
	quota.ChildGroups: func(w *world) func(int) bool {
		group := func(name, parent string) bool {
			_, err := w.c.CreateThingGroup(w.now, registry.CreateThingGroupRequest{ThingGroupName: name, ParentGroupName: parent})
			return err == nil
		}
		require.True(w.t, group("parent", ""))
		return func(i int) bool { return group(fmt.Sprintf("child%d", i), "parent") }
	},
	quota.DynamicGroups: func(w *world) func(int) bool {
		require.NoError(w.t, w.c.UpdateIndexingConfiguration(w.now, &registry.ThingIndexing{Mode: "REGISTRY"}, nil))
		return func(i int) bool {
			_, err := w.c.CreateDynamicThingGroup(w.now, registry.CreateDynamicThingGroupRequest{ThingGroupName: fmt.Sprintf("d%d", i), Query: registry.Query{QueryString: "attributes.a:b"}})
			return err == nil
		}
	},
	quota.JobsReads:  jobsRequests("get", "{}"),
	quota.JobsWrites: jobsRequests("job/update", `{"status":"IN_PROGRESS"}`),
	quota.RolloutRate: func(w *world) func(int) bool {
		w.thing("t")
		return func(i int) bool {
			return w.rollout(fmt.Sprintf("job%d", i), func(r *jobs.CreateJobRequest) { r.JobExecutionsRolloutConfig.MaximumPerMinute = i + 1 })
		}
	},
	quota.ActiveSnapshotJobs: func(w *world) func(int) bool {
		w.thing("t")
		return func(i int) bool { return w.rollout(fmt.Sprintf("job%d", i), nil) }
	},
	quota.ActiveContinuousJobs: func(w *world) func(int) bool {
		w.thing("t")
		return func(i int) bool {
			return w.rollout(fmt.Sprintf("job%d", i), func(r *jobs.CreateJobRequest) { r.TargetSelection = jobs.Continuous })
		}
	},
	quota.ConcurrentJobs: func(w *world) func(int) bool {
		w.thing("t")
		w.thing("u")
		return func(i int) bool {
			return w.rollout(fmt.Sprintf("job%d", i), func(r *jobs.CreateJobRequest) {
				r.Targets = []string{w.c.ARN("thing", "t"), w.c.ARN("thing", "u")}
				r.JobExecutionsRolloutConfig.MaximumPerMinute = 1
			})
		}
	},
	quota.DeletingJobs: func(w *world) func(int) bool {
		w.thing("t")
		for i := range 10 {
			require.True(w.t, w.rollout(fmt.Sprintf("job%d", i), nil))
		}
		return func(i int) bool { return w.c.DeleteJob(w.now, fmt.Sprintf("job%d", i), true) == nil }
	},
	quota.Streams: func(w *world) func(int) bool {
		f := w.file()
		return func(i int) bool {
			_, err := w.c.CreateStream(w.now, streams.CreateRequest{StreamID: fmt.Sprintf("s%d", i), RoleARN: role, Files: []streams.File{f}})
			return err == nil
		}
	},
	quota.FilesPerStream: func(w *world) func(int) bool {
		var files []streams.File
		f := w.file()
		return func(i int) bool {
			f.FileID = i
			files = append(files, f)
			_, err := w.c.CreateStream(w.now, streams.CreateRequest{StreamID: fmt.Sprintf("s%d", i), RoleARN: role, Files: files})
			return err == nil
		}
	},
	quota.S3Puts: func(w *world) func(int) bool {
		require.NoError(w.t, w.c.CreateBucket(w.now, "firmware"))
		return func(i int) bool {
			_, err := w.c.PutObject(w.now, "firmware", fmt.Sprintf("p/%d", i), nil)
			return err == nil
		}
	},
	quota.S3Gets: func(w *world) func(int) bool {
		f := w.file().S3Location
		w.now = w.now.Add(time.Minute)
		w.c.SetTime(w.now)
		return func(int) bool { _, err := objects{w.c.bucket}.Read(f.Bucket, f.Key, ""); return err == nil }
	},
}

func connecting(w *world) func(int) bool {
	for i := range 10 {
		w.thing(fmt.Sprintf("t%d", i))
	}
	return func(i int) bool {
		return w.connect(fmt.Sprintf("t%d", i), nil).next(protocol.Connack).ReturnCode == rules.Accepted
	}
}

func subscribing(w *world) func(int) bool {
	k := w.opened("t")
	return func(i int) bool {
		k.subscribe(fmt.Sprintf("topic/%d", i))
		in := k.take()
		return len(in) == 1 && in[0].Codes[0] == 0
	}
}

func publishing(w *world) func(int) bool {
	k := w.opened("t")
	return func(i int) bool {
		k.send(&protocol.Packet{Type: protocol.Publish, QoS: 1, PacketID: uint16(i + 1), Topic: "in"})
		return len(k.take()) == 1
	}
}

// jobsRequests have a connection each, so that its own rate leaves them alone.
func jobsRequests(rest, body string) func(w *world) func(int) bool {
	return func(w *world) func(int) bool {
		for i := range 10 {
			w.thing(fmt.Sprintf("t%d", i))
			require.True(w.t, w.rollout(fmt.Sprintf("job%d", i), func(r *jobs.CreateJobRequest) { r.Targets = []string{w.c.ARN("thing", fmt.Sprintf("t%d", i))} }))
		}
		w.pass(time.Minute)
		return func(i int) bool {
			_, err := w.c.JobsRequest(w.now, fmt.Sprintf("t%d", i), strings.Replace(rest, "job/", fmt.Sprintf("job%d/", i), 1), []byte(body))
			return err == nil
		}
	}
}

// opened is a thing that may do everything, connected.
func (w *world) opened(name string) *client {
	openPolicy(w)
	w.thing(name, "open")
	k := w.connect(name, nil)
	k.take()
	return k
}

// rollout makes a job for thing t, whose rollout begins at once.
func (w *world) rollout(id string, change func(*jobs.CreateJobRequest)) bool {
	r := jobs.CreateJobRequest{JobID: id, Document: "{}", Targets: []string{w.c.ARN("thing", "t")}, JobExecutionsRolloutConfig: &jobs.RolloutConfig{MaximumPerMinute: 1000}}
	if r.TargetSelection = jobs.Snapshot; change != nil {
		change(&r)
	}
	_, err := w.c.CreateJob(w.now, r)
	w.c.Wake(w.now)
	return err == nil
}

// file stores an object.
func (w *world) file() streams.File {
	require.NoError(w.t, w.c.CreateBucket(w.now, "firmware"))
	_, err := w.c.PutObject(w.now, "firmware", "p/file", image(1000))
	require.NoError(w.t, err)
	return streams.File{S3Location: streams.Location{Bucket: "firmware", Key: "p/file"}}
}

// shown names the tests of the rows that no table here has.
var shown = map[quota.Name]string{
	quota.ConnectionThroughput: "cloud.TestThroughputOfAConnection", quota.Inflight: "cloud.TestInflightLimit",
	quota.KeepAliveMin: "rules.TestKeepAlive", quota.KeepAliveMax: "rules.TestKeepAlive", quota.SessionExpiry: "cloud.TestPersistentSession",
	quota.PendingListed: "jobs.TestPendingListGrowsBesideSchedules", quota.DataPerRequest: "streams.TestBudgetOfOneRequest",
	quota.ExecutionHistory: "not enforced: two years are beyond every run",
}

func TestEveryQuota(t *testing.T) {
	for _, r := range quota.Rows {
		attempt := attempts[r.Name]
		if attempt == nil {
			continue
		}
		t.Run(string(r.Name), func(t *testing.T) {
			limit := 3
			if r.Name == quota.ConnectRatePerClient {
				limit = 1
			}
			for _, choice := range []string{fmt.Sprintf("unlimited,%s=%d", r.Name, limit), "unlimited"} {
				l, err := quota.Parse(choice)
				require.NoError(t, err)
				w := newWorld(t, func(c *Config) { c.Quotas = l })
				try := attempt(w)
				for i := range limit + 2 {
					require.Equal(t, i < limit || choice == "unlimited", try(i), "%s: number %d", choice, i+1)
				}
			}
		})
	}
}

// Constants that pure functions check are the values of the table.
func TestQuotaConstants(t *testing.T) {
	for n, v := range map[quota.Name]int64{
		quota.Payload: rules.MaxPayload, quota.TopicLength: rules.MaxTopic, quota.TopicSlashes: rules.MaxSlashes, quota.ClientIDLength: rules.MaxClientID,
		quota.FiltersPerSubscribe: rules.MaxFilters, quota.KeepAliveMin: int64(rules.MinKeepAlive / time.Second), quota.KeepAliveMax: int64(rules.MaxKeepAlive / time.Second),
		quota.ConnectionPublishes: rules.AWS.Publishes, quota.ConnectionThroughput: rules.AWS.Throughput, quota.Inflight: int64(rules.AWS.Inflight),
		quota.StreamFile: streams.MaxFile, quota.BlockSizeMin: streams.MinBlock, quota.BlockSizeMax: streams.MaxBlock, quota.BlockOffset: streams.MaxOffset,
		quota.BlockCount: streams.MaxOffset, quota.BlockBitmap: streams.MaxBitmap, quota.DataPerRequest: streams.MaxPerRequest,
		quota.SignerInput: int64(signer.Platforms[0].MaxSize),
	} {
		require.Equal(t, v, quota.Default(n), n)
	}
}

// The tables of docs/quotas.md; UPDATE=1 writes them anew.
func TestQuotasAndSwitchesAreDocumented(t *testing.T) {
	var b strings.Builder
	rates := map[quota.Name]bool{}
	for _, n := range quota.Operations {
		rates[n] = true
	}
	fmt.Fprintf(&b, "| name | value | AWS raises it | settable | unit | source | shown by |\n|---|---|---|---|---|---|---|\n")
	yes := map[bool]string{true: "yes", false: "no"}
	for _, r := range quota.Rows {
		by := shown[r.Name]
		switch {
		case attempts[r.Name] != nil:
			by = "cloud.TestEveryQuota"
		case bounds[r.Name] != nil:
			by = "cloud.TestFixedQuotas"
		case rates[r.Name]:
			by = "api.TestRatesOfOperations"
		}
		require.NotEmpty(t, by, r.Name)
		if !strings.HasPrefix(by, "not enforced") {
			by = "`" + by + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %d | %s | %s | %s | %s (%s) | %s |\n", r.Name, r.Value, yes[r.Adjustable], yes[!r.Fixed], r.Unit, r.Source, r.Date, by)
	}
	table := b.String()
	b.Reset()
	fmt.Fprintf(&b, "| switch | question | choices, the default first | source |\n|---|---|---|---|\n")
	for _, s := range SwitchTable {
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s |\n", s.Name, s.Question, strings.Join(s.Choices, "`, `"), s.Source)
	}
	const path = "../docs/quotas.md"
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	if os.Getenv("UPDATE") != "" {
		quotas := regexp.MustCompile(`(?m)^\| name \|(.*\n)(\|.*\n)+`)
		switches := regexp.MustCompile(`(?m)^\| switch \|(.*\n)(\|.*\n)+`)
		raw = quotas.ReplaceAllLiteral(raw, []byte(table))
		raw = switches.ReplaceAllLiteral(raw, []byte(b.String()))
		require.NoError(t, os.WriteFile(path, raw, 0o600))
	}
	require.Contains(t, string(raw), table, "UPDATE=1 writes it")
	require.Contains(t, string(raw), b.String(), "UPDATE=1 writes it")

	// Every test that is named exists.
	packages := map[string]string{"cloud": ".", "rules": "broker/rules", "registry": "registry", "jobs": "jobs", "streams": "streams", "signer": "signer", "api": "api"}
	for _, m := range regexp.MustCompile("`([a-z]+)\\.(Test[A-Za-z]+)`").FindAllStringSubmatch(string(raw), -1) {
		files, err := os.ReadDir(packages[m[1]])
		require.NoError(t, err)
		require.True(t, slices.ContainsFunc(files, func(f os.DirEntry) bool {
			if !strings.HasSuffix(f.Name(), "_test.go") {
				return false
			}
			text, err := os.ReadFile(packages[m[1]] + "/" + f.Name())
			require.NoError(t, err)
			return strings.Contains(string(text), "func "+m[2]+"(")
		}), m[0])
	}
}
