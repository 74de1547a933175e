package device

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/device/script"
	"github.com/otasim/otasim/flashmodel"
)

// life is what whole-device scripts begin with: a chip from the factory and a job for it.
type life struct {
	flash     *flashmodel.Flash
	file, sig []byte
	blocks    [][]byte
}

func newLife(t testing.TB) *life {
	old, next := build(t, "1.0.0", 1, 20_000), build(t, "1.1.0", 2, 20_000)
	return &life{flash: factory(t, flashmodel.NewStore(), "lamp-1", old), file: next, sig: sign(next)}
}

// play runs a script against a device with real flash and the model cloud, then leaves it alone under a fair network for two
// hours. Power may fail in any flash command.
func (l *life) play(t testing.TB, p *agent.Profile, data []byte) *bench {
	cloud := &testCloud{thing: "lamp-1", job: "AFR_OTA-1", file: l.file, sig: l.sig, certfile: LabelCodeSigner, status: "QUEUED", blocks: l.blocks}
	b := newBench(t, l.flash.Fork(), cloud, nil, nil)
	b.d.builds[0].Profile = p
	b.d.builds[1].Profile = p
	b.step(Event{Kind: PowerOn})
	for _, s := range script.Decode(data) {
		switch s.Op {
		case script.Doc, script.Check:
			b.queue = append(b.queue, Event{Kind: Message, Topic: "$aws/things/lamp-1/jobs/notify-next", Payload: cloud.document()})
		case script.Foreign:
			b.queue = append(b.queue, Event{Kind: Message, Topic: "$aws/things/lamp-1/streams/s-0/data/cbor", Payload: cloud.block(0, 4096)})
		case script.Block:
			b.queue = append(b.queue, Event{Kind: Message, Topic: "$aws/things/lamp-1/streams/s-1/data/cbor", Payload: cloud.block(int(s.Arg)%5, 4096)})
		case script.Suspend:
			b.queue = nil
			b.step(Event{Kind: Disconnected, Err: "cut"})
		case script.Net:
			cloud.mute = s.Arg&1 != 0
		case script.Fault:
			b.d.Flash().SetCutAt(b.d.Flash().Clock() + 1 + time.Duration(s.Arg)*time.Duration(s.Arg)*100*time.Microsecond)
		case script.Reboot:
			b.d.PowerOff()
			b.queue = nil
			b.now = max(b.now, b.d.BusyUntil()) + time.Second
			b.step(Event{Kind: PowerOn})
		default:
			for range 1 + s.Arg%8 {
				if !b.once() {
					break
				}
			}
		}
	}
	cloud.mute = false
	b.d.Flash().SetCutAt(0)
	b.run(b.now + 2*time.Hour)
	l.blocks = cloud.blocks
	return b
}

// once lets one thing happen: a message arrives or a timer is due.
func (b *bench) once() bool {
	if len(b.queue) > 0 {
		ev := b.queue[0]
		b.queue = b.queue[1:]
		b.now += 20 * time.Millisecond
		b.step(ev)
		return true
	}
	at, ok := b.d.NextWake()
	if ok {
		b.now = max(b.now, at)
		b.step(Event{Kind: Wake})
	}
	return ok
}

// FuzzDevice plays any bytes as the life of a whole device with the ideal agent: it always starts something, ends on an image
// that is confirmed, and says SUCCEEDED only when the new one runs (invariants 7, 8, 11, 25).
func FuzzDevice(f *testing.F) {
	f.Add(script.Encode(script.Step{Op: script.Next, Arg: 7}, script.Step{Op: script.Fault, Arg: 40}, script.Step{Op: script.Timer, Arg: 7}))
	f.Add(script.Encode(script.Step{Op: script.Timer, Arg: 7}, script.Step{Op: script.Reboot}, script.Step{Op: script.Doc}, script.Step{Op: script.Suspend}))
	l := newLife(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 80 {
			data = data[:80]
		}
		l.judge(t, l.play(t, agent.Ideal, data))
	})
}

func (l *life) judge(t testing.TB, b *bench) {
	running, ok := b.d.Running()
	require.True(t, ok, "nothing runs")
	require.NotEqual(t, PhaseBricked, b.d.Phase())
	require.False(t, running.Trial && !running.Confirmed, "a trial without end")
	if b.cloud.status == "SUCCEEDED" {
		require.Equal(t, "1.1.0", running.Version)
	}
}

func TestWholeLives(t *testing.T) {
	l := newLife(t)
	x := uint64(99)
	for range 300 {
		var data [24]byte
		for i := range data {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			data[i] = byte(x >> 32)
		}
		l.judge(t, l.play(t, agent.Ideal, data[:]))
	}
}

// BenchmarkWholeLives reports scripts a second: boot, a script of twelve steps, the update that follows and two more boots.
func BenchmarkWholeLives(b *testing.B) {
	l := newLife(b)
	var data [24]byte
	for n := range b.N {
		for i := range data {
			data[i] = byte(n*31 + i*97)
		}
		l.play(b, agent.Ideal, data[:])
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "scripts/s")
}
