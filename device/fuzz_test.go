package device

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/device/firmware"
	"github.com/otasim/otasim/device/script"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/partition"
)

// life is what whole-device scripts begin with: chips from the factory, one of each generation, and a job for them. Every
// script of a release is a fork of the same first boot.
type life struct {
	model     *Model
	chips     [2]*flashmodel.Flash // of today, of 2018
	file, sig []byte
	blocks    [2][][]byte
	images    [4]*firmware.Catalogue // by what the new image's self-test does
	jobs      string                 // the end of every job document
	booted    map[*agent.Profile]*bench
	playing   *bench
}

func newLife(t testing.TB) *life {
	old, next := build(t, "1.0.0", 1, 20_000), build(t, "1.1.0", 2, 20_000)
	l := &life{model: DefaultModel(), file: next, sig: sign(next), booted: map[*agent.Profile]*bench{}}
	st := flashmodel.NewStore()
	for i := range l.chips {
		l.chips[i] = factory(t, st, "lamp-1", old)
	}
	table, err := partition.Builtin(testTable)
	require.NoError(t, err)
	raw, err := table.Encode(false)
	require.NoError(t, err)
	require.NoError(t, l.chips[1].Load(partition.DefaultOffset, raw))
	for i := range l.images {
		l.images[i] = &firmware.Catalogue{}
		require.NoError(t, l.images[i].Add(next, firmware.Behaviour{SelfTest: firmware.SelfTest(i), Duration: time.Duration(i) * time.Second}))
	}
	for kind, log2 := range []uint32{12, 10} {
		c := l.cloud()
		for i := range (len(c.file) + 1<<log2 - 1) >> log2 {
			l.blocks[kind] = append(l.blocks[kind], c.block(i, 1<<log2))
		}
		l.jobs = c.files()
	}
	return l
}

func (l *life) cloud() *testCloud {
	return &testCloud{thing: "lamp-1", job: "AFR_OTA-1", file: l.file, sig: l.sig, certfile: LabelCodeSigner, status: "QUEUED", tail: l.jobs}
}

// boot returns a device of a release that has just been given power, with a cloud and a witness of its own.
func (l *life) boot(t testing.TB, p *agent.Profile, test firmware.SelfTest) *bench {
	first := l.booted[p]
	if first == nil {
		kind, boot := 0, bootloader.Config{Kind: bootloader.AFR2022, Rollback: true, AntiRollback: true, FlashSize: 4 << 20}
		if p.Task2018 {
			kind, boot.Kind = 1, bootloader.AFR2018
		}
		first = &bench{cloud: l.cloud(), off: 10 * time.Second}
		first.cloud.blocks = l.blocks[kind]
		first.eyes = &witness{b: first}
		first.d = New(Config{Thing: first.cloud.thing, Model: l.model, Flash: l.chips[kind].Fork(), Agent: agent.DefaultConfig(p), Bootloader: boot,
			Catalogue: l.images[0], Hooks: &Hooks{Point: func(d *Device, now time.Duration, p Point, arg int) { l.playing.eyes.point(d, now, p, arg) }}})
		l.playing = first
		first.step(Event{Kind: PowerOn})
		require.Empty(t, first.queue)
		l.booted[p] = first
	}
	b, cloud, eyes := *first, *first.cloud, *first.eyes
	b.t, b.d, b.cloud, b.eyes = t, first.d.Clone(), &cloud, &eyes
	b.d.catalogue = l.images[test]
	eyes.b, l.playing = &b, &b
	return &b
}

// play runs a script against a device with real flash and the model cloud, then leaves it alone under a fair network for two
// hours, with a connection that ends once. Power may fail in any flash command.
func (l *life) play(t testing.TB, p *agent.Profile, test firmware.SelfTest, data []byte) *bench {
	b := l.boot(t, p, test)
	cloud := b.cloud
	for _, s := range script.Decode(data) {
		switch s.Op {
		case script.Doc, script.Check:
			b.queue = append(b.queue, Event{Kind: Message, Topic: "$aws/things/lamp-1/jobs/notify-next", Payload: cloud.document()})
		case script.Foreign:
			b.queue = append(b.queue, Event{Kind: Message, Topic: "$aws/things/lamp-1/streams/s-0/data/cbor", Payload: l.blocks[0][0]})
		case script.Block:
			b.queue = append(b.queue, Event{Kind: Message, Topic: "$aws/things/lamp-1/streams/s-1/data/cbor", Payload: l.blocks[0][int(s.Arg)%5]})
		case script.Suspend:
			connecting := slices.ContainsFunc(b.queue, func(ev Event) bool { return ev.Kind == Connected || ev.Kind == ConnectFailed })
			if b.queue = nil; connecting {
				b.queue = []Event{{Kind: ConnectFailed, Err: "cut"}}
				continue
			}
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
	b.run(b.now + time.Hour)
	// What the cloud did not answer is asked again with the next connection; the demo of 2018 has no other.
	if p.Task2018 {
		b.queue = append(b.queue, Event{Kind: Message, Topic: "$aws/things/lamp-1/jobs/notify-next", Payload: cloud.document()})
	} else if b.d.Connected() {
		b.step(Event{Kind: Disconnected, Err: "cut"})
	}
	b.run(b.now + time.Hour)
	b.eyes.rest()
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

// FuzzDevice plays any bytes as the life of a whole device: the first one chooses the release and what the new image's
// self-test does. It always starts something and ends on an image that is confirmed, and breaks no invariant but by what
// the release is known for.
func FuzzDevice(f *testing.F) {
	for p := range agent.Profiles {
		for test := range 4 {
			choice := byte(p + test*len(agent.Profiles))
			f.Add(append([]byte{choice}, script.Encode(script.Step{Op: script.Next, Arg: 7}, script.Step{Op: script.Fault, Arg: 40}, script.Step{Op: script.Timer, Arg: 7})...))
			f.Add(append([]byte{choice}, script.Encode(script.Step{Op: script.Timer, Arg: 7}, script.Step{Op: script.Reboot}, script.Step{Op: script.Doc}, script.Step{Op: script.Suspend})...))
		}
	}
	l := newLife(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 {
			return
		}
		n := len(agent.Profiles)
		p, test := agent.Profiles[int(data[0])%n], firmware.SelfTest(int(data[0])/n%4)
		b := l.play(t, p, test, data[1:min(len(data), 81)])
		if bad := b.eyes.unexcused(p); len(bad) > 0 {
			t.Fatalf("%s, self-test %v: %v\n%v", p.Name, test, bad, script.Decode(data[1:]))
		}
	})
}

// lives calls play with random scripts, in turn with every outcome of the self-test.
func lives(n int, play func(test firmware.SelfTest, data []byte)) {
	x := uint64(99)
	for i := range n {
		var data [24]byte
		for i := range data {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			data[i] = byte(x >> 32)
		}
		play(firmware.SelfTest(i%4), data[:])
	}
}

func TestWholeLives(t *testing.T) {
	l := newLife(t)
	for _, p := range agent.Profiles {
		lives(200, func(test firmware.SelfTest, data []byte) {
			require.Empty(t, l.play(t, p, test, data).eyes.unexcused(p), "%s, self-test %v: %v", p.Name, test, script.Decode(data))
		})
	}
}

// With the switches mended that a release may break an invariant by, it keeps it.
func TestMendedLives(t *testing.T) {
	l := newLife(t)
	for _, p := range agent.Profiles {
		for _, n := range checked {
			in, mended := &script.Invariants[n-1], map[string]bool{}
			for _, name := range in.Broken {
				if agent.BehaviourByName(name).On(p) {
					mended[name] = false
				}
			}
			if len(mended) == 0 {
				continue // TestWholeLives
			}
			q, err := p.With(mended)
			require.NoError(t, err)
			lives(100, func(test firmware.SelfTest, data []byte) {
				for _, v := range l.play(t, q, test, data).eyes.broken {
					require.NotEqual(t, n, v.Invariant, "%s, self-test %v: %v\n%v", p.Name, test, v, script.Decode(data))
				}
			})
		}
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
		l.play(b, agent.Ideal, firmware.Pass, data[:])
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "scripts/s")
}
