//go:build unix

package cloud

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/cloud/streams"
)

// cpu is the processor time of this process in seconds, garbage collection and
// all: the machine may be shared.
func cpu(b *testing.B) float64 {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

// BenchmarkGetStream is one block request of a fleet that downloads 1 MiB in
// 256 blocks of 4 KiB: frame in, policy, rate, CBOR, block, frame out.
func BenchmarkGetStream(b *testing.B) {
	const devices = 1000
	w := newWorld(b, unlimited)
	require.NoError(b, w.c.CreateBucket(w.now, "firmware"))
	version, err := w.c.PutObject(w.now, "firmware", "app.bin", image(1<<20))
	require.NoError(b, err)
	_, err = w.c.CreateStream(w.now, streams.CreateRequest{StreamID: "AFR_OTA-11111111-2222-3333-4444-555555555555", RoleARN: role,
		Files: []streams.File{{S3Location: streams.Location{Bucket: "firmware", Key: "app.bin", Version: version}}}})
	require.NoError(b, err)
	clients, topics := make([]*client, devices), make([]string, devices)
	for i := range clients {
		name := fmt.Sprintf("esp32-field-%05d", i)
		w.thing(name)
		clients[i] = w.connect(name, nil)
		prefix := "$aws/things/" + name + "/streams/AFR_OTA-11111111-2222-3333-4444-555555555555/"
		clients[i].subscribe(prefix + "data/cbor")
		topics[i] = prefix + "get/cbor"
	}
	requests := make([][]byte, 256)
	missing := make([]byte, 32)
	for i := range missing {
		missing[i] = 0xff
	}
	for i := range requests {
		requests[i] = []byte(getBlocks(missing, 1))
		missing[i/8] &^= 1 << (i % 8)
	}
	heads := make([][]byte, devices)
	for i := range heads {
		heads[i] = protocol.EncodePublish(topics[i], 0, false, false, 0, requests[0]).Head
	}
	b.ReportAllocs()
	start := cpu(b)
	n, out := 0, 0
	for b.Loop() {
		d, block := n%devices, n/devices%256
		w.now = w.now.Add(time.Microsecond)
		w.c.Receive(w.now, clients[d].id, protocol.Frame{Kind: protocol.FrameMQTT, Head: heads[d], Body: requests[block]})
		out += len(w.c.Outbox())
		n++
	}
	require.Equal(b, n, out)
	b.ReportMetric(float64(n)/(cpu(b)-start), "requests/cpu-s")
}

// BenchmarkJobTransitions is one execution's way: queued by the rollout,
// IN_PROGRESS, one progress report, SUCCEEDED; 100,000 of them a job.
func BenchmarkJobTransitions(b *testing.B) {
	const things = 100_000
	w := newWorld(b, unlimited)
	names := make([]string, things)
	w.thing("esp32-field-000000", "fleet")
	names[0] = "esp32-field-000000"
	for i := 1; i < things; i++ {
		names[i] = fmt.Sprintf("esp32-field-%06d", i)
		_, err := w.c.CreateThing(w.now, names[i], "", nil)
		require.NoError(b, err)
		require.NoError(b, w.c.AddThingToThingGroup(w.now, names[i], "fleet"))
	}
	progress := []byte(`{"status":"IN_PROGRESS","statusDetails":{"receive":"64/256"}}`)
	done := []byte(`{"status":"SUCCEEDED","statusDetails":{"reason":"accepted v1.1.0","updatedBy":"v1.0.0"}}`)
	b.ReportAllocs()
	start := cpu(b)
	moved, round := 0, 0
	for b.Loop() {
		round++
		id := fmt.Sprintf("job-%d", round)
		_, err := w.c.CreateJob(w.now, jobs.CreateJobRequest{JobID: id, Document: `{"afr_ota":{}}`, Targets: []string{arnOf(w, "thinggroup", "fleet")},
			JobExecutionsRolloutConfig: &jobs.RolloutConfig{MaximumPerMinute: 60_000}, TimeoutConfig: &jobs.TimeoutConfig{InProgressTimeoutInMinutes: 60}})
		require.NoError(b, err)
		w.pass(time.Duration(things) * time.Millisecond)
		for _, body := range [][]byte{progress, progress, done} {
			for _, name := range names {
				w.c.jobs.Handle(w.now, name, id+"/update", body)
			}
		}
		moved += 4 * things
		job, err := w.c.DescribeJob(id)
		require.NoError(b, err)
		require.Equal(b, jobs.JobCompleted, job.Status)
		require.NoError(b, w.c.DeleteJob(w.now, id, true))
		w.pass(2 * time.Second)
	}
	b.ReportMetric(float64(moved)/(cpu(b)-start), "transitions/cpu-s")
}

// BenchmarkIdleThing measures the memory of a thing that is registered,
// connected, subscribed and has one pending execution.
func BenchmarkIdleThing(b *testing.B) {
	const things = 20_000
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for b.Loop() {
		w := newWorld(b, unlimited)
		before := heap()
		for i := range things {
			name := fmt.Sprintf("esp32-field-%05d", i)
			w.thing(name, "fleet")
		}
		certs := heap()
		for i := range things {
			k := w.connect(fmt.Sprintf("esp32-field-%05d", i), nil)
			k.subscribe("$aws/things/esp32-field-" + fmt.Sprintf("%05d", i) + "/jobs/notify-next@1")
			delete(w.open, k.id) // the client's own memory does not count
		}
		_, err := w.c.CreateJob(w.now, jobs.CreateJobRequest{JobID: "job", Document: `{"afr_ota":{}}`, Targets: []string{arnOf(w, "thinggroup", "fleet")},
			JobExecutionsRolloutConfig: &jobs.RolloutConfig{MaximumPerMinute: 600_000}})
		require.NoError(b, err)
		w.c.Wake(w.now)
		for {
			next, ok := w.c.NextWake()
			if !ok || next.After(epoch.Add(30*time.Second)) {
				break
			}
			w.c.Wake(next)
			for _, o := range w.c.Outbox() {
				var p protocol.Packet
				require.NoError(b, protocol.Decode(o.Frame, &p))
				w.c.Receive(next, o.Conn, protocol.Encode(&protocol.Packet{Type: protocol.Puback, PacketID: p.PacketID}))
			}
		}
		w.other, w.open = nil, nil
		after := heap()
		job, err := w.c.DescribeJob("job")
		require.NoError(b, err)
		require.Equal(b, things, job.JobProcessDetails.NumberOfQueuedThings)
		b.ReportMetric(float64(certs-before)/things, "B/registered")
		b.ReportMetric(float64(after-before)/things, "B/thing")
		runtime.KeepAlive(w)
	}
}
