package device

import (
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/flashmodel"
)

// TestSizes keeps devices small: a fleet of a million must fit.
func TestSizes(t *testing.T) {
	idle := unsafe.Sizeof(Device{}) + unsafe.Sizeof(ram{})
	t.Logf("Device %d, ram %d (agent %d) bytes", unsafe.Sizeof(Device{}), unsafe.Sizeof(ram{}), unsafe.Sizeof(agent.Agent{}))
	require.LessOrEqual(t, idle, uintptr(1536))
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkMemory reports heap bytes of idle and of downloading devices, flash included.
func BenchmarkMemory(b *testing.B) {
	st := flashmodel.NewStore()
	old, next := build(b, "1.0.0", 1, 100_000), build(b, "1.1.0", 2, 1<<20)
	sig := sign(next)
	const n = 1000
	for range b.N {
		template := factory(b, st, "lamp-1", old)
		before := heap()
		devices := make([]*bench, n)
		for i := range devices {
			cloud := &testCloud{thing: "lamp-1"}
			devices[i] = newBench(b, template.Fork(), cloud, nil, nil)
			devices[i].step(Event{Kind: PowerOn})
			devices[i].run(time.Hour)
		}
		b.ReportMetric(float64(heap()-before)/n, "B/idle")
		shared := testCloud{file: next}
		for i := range 256 {
			shared.blocks = append(shared.blocks, shared.block(i, 4096))
		}
		for _, d := range devices {
			d.cloud.job, d.cloud.file, d.cloud.sig, d.cloud.certfile, d.cloud.status = "j", next, sig, LabelCodeSigner, "QUEUED"
			d.cloud.blocks = shared.blocks
			d.queue = append(d.queue, Event{Kind: Message, Topic: "$aws/things/lamp-1/jobs/notify-next", Payload: d.cloud.document()})
			for range 100 {
				ev := d.queue[0]
				d.queue = d.queue[1:]
				d.step(ev)
			}
			d.queue = nil
		}
		b.ReportMetric(float64(heap()-before)/n, "B/downloading")
		runtime.KeepAlive(devices)
	}
}

// BenchmarkBlock measures one block through a device: message in, programmed, next request out.
func BenchmarkBlock(b *testing.B) {
	st := flashmodel.NewStore()
	old, next := build(b, "1.0.0", 1, 100_000), build(b, "1.1.0", 2, 1<<20)
	cloud := &testCloud{thing: "lamp-1", job: "j", file: next, sig: sign(next), certfile: LabelCodeSigner, status: "QUEUED"}
	template := factory(b, st, "lamp-1", old)
	blocks := make([]Event, 256)
	for i := range blocks {
		blocks[i] = Event{Kind: Message, Topic: "$aws/things/lamp-1/streams/s-1/data/cbor", Payload: cloud.block(i, 4096)}
	}
	open := newBench(b, template, cloud, nil, nil)
	open.step(Event{Kind: PowerOn})
	for open.d.Phase() != PhaseDownload {
		if len(open.queue) > 0 {
			ev := open.queue[0]
			open.queue = open.queue[1:]
			open.step(ev)
			continue
		}
		at, _ := open.d.NextWake()
		open.now = at
		open.step(Event{Kind: Wake})
	}
	b.ReportAllocs()
	b.ResetTimer()
	var d *Device
	for i := range b.N {
		if i%255 == 0 {
			b.StopTimer()
			d = open.d.Clone()
			b.StartTimer()
		}
		d.Step(d.BusyUntil(), blocks[i%255])
		if len(d.Ops()) == 0 {
			b.Fatal("no request")
		}
	}
}

// BenchmarkUpdate measures a whole update of 1 MiB, three boots included.
func BenchmarkUpdate(b *testing.B) {
	st := flashmodel.NewStore()
	old, next := build(b, "1.0.0", 1, 100_000), build(b, "1.1.0", 2, 1<<20)
	sig := sign(next)
	template := factory(b, st, "lamp-1", old)
	shared := testCloud{file: next}
	for i := range 256 {
		shared.blocks = append(shared.blocks, shared.block(i, 4096))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		cloud := &testCloud{blocks: shared.blocks, thing: "lamp-1", job: "j", file: next, sig: sig, certfile: LabelCodeSigner, status: "QUEUED"}
		x := newBench(b, template.Fork(), cloud, nil, nil)
		x.step(Event{Kind: PowerOn})
		x.run(time.Hour)
		if cloud.status != "SUCCEEDED" {
			b.Fatal(cloud.history)
		}
	}
}
