package device

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/otadata"
	"github.com/otasim/otasim/flashmodel/partition"
)

func offer(t testing.TB) *testCloud {
	next := build(t, "1.1.0", 2, 150_000)
	return &testCloud{thing: "lamp-1", job: "AFR_OTA-1", file: next, sig: sign(next), certfile: LabelCodeSigner, status: "QUEUED"}
}

func part(t testing.TB, typ, subtype uint8) partition.Record {
	table, err := partition.Builtin(testTable)
	require.NoError(t, err)
	r, ok := table.FindFirst(typ, subtype)
	require.True(t, ok)
	return r
}

func TestBrickedUntilPowerCycle(t *testing.T) {
	flash := factory(t, flashmodel.NewStore(), "lamp-1", make([]byte, 5000))
	b := newBench(t, flash, offer(t), nil, nil)
	boots := 0
	b.d.hooks = &Hooks{Point: func(_ *Device, _ time.Duration, p Point, _ int) {
		if p == PointBoot {
			boots++
		}
	}}
	b.step(Event{Kind: PowerOn})
	b.run(time.Hour)
	require.Equal(t, PhaseBricked, b.d.Phase())
	require.Equal(t, DefaultModel().BootBudget, boots)
	_, ok := b.d.Running()
	require.False(t, ok)
	// A repaired slot starts at the next power cycle.
	slot := part(t, partition.TypeApp, partition.SubtypeOTA)
	require.NoError(t, flash.Load(slot.Offset, build(t, "1.0.0", 1, 100_000)))
	b.d.PowerOff()
	b.step(Event{Kind: PowerOn})
	_, ok = b.d.Running()
	require.True(t, ok)
}

func TestLostIdentity(t *testing.T) {
	flash := factory(t, flashmodel.NewStore(), "lamp-1", build(t, "1.0.0", 1, 100_000))
	store := part(t, partition.TypeData, partition.SubtypeNVS)
	require.NoError(t, flash.Erase(store.Offset, store.Size))
	b := newBench(t, flash, offer(t), nil, nil)
	b.step(Event{Kind: PowerOn})
	b.run(time.Hour)
	_, ok := b.d.Running()
	require.True(t, ok, "it runs")
	require.False(t, b.d.Connected(), "but cannot connect")
	require.Empty(t, b.cloud.history)
}

// TestRepairedIdentity: what one chip remembers of its NVS another one with the same content may use, but the repair of
// what a power cut left behind each does for itself.
func TestRepairedIdentity(t *testing.T) {
	template := factory(t, flashmodel.NewStore(), "lamp-1", build(t, "1.0.0", 1, 100_000))
	store := part(t, partition.TypeData, partition.SubtypeNVS)
	cells := make([]byte, store.Size)
	require.NoError(t, template.Read(store.Offset, cells))
	end := len(bytes.TrimRight(cells, "\xff")) // in the active page
	free := uint32(end+31) &^ 31
	require.NoError(t, template.Load(store.Offset+free, []byte{0, 1, 2, 3})) // an entry without its state bits
	var chips [2]*Device
	for i := range chips {
		b := newBench(t, template.Fork(), &testCloud{thing: "lamp-1"}, nil, nil)
		before := b.d.Flash().Commands()
		b.step(Event{Kind: PowerOn})
		require.Equal(t, before+1, b.d.Flash().Commands(), "the entry's state was written")
		b.run(time.Minute)
		chips[i] = b.d
	}
	require.True(t, dump(t, chips[0].Flash()) == dump(t, chips[1].Flash()), "the same cells")
	require.Equal(t, chips[0].Flash().Stats(), chips[1].Flash().Stats())
}

func TestBackOff(t *testing.T) {
	b := newBench(t, factory(t, flashmodel.NewStore(), "lamp-1", build(t, "1.0.0", 1, 100_000)), offer(t), nil, nil)
	b.cloud.refuse = true
	var attempts []time.Duration
	b.d.hooks = &Hooks{Point: func(_ *Device, now time.Duration, p Point, _ int) {
		if p == PointConnect {
			attempts = append(attempts, now)
		}
	}}
	b.step(Event{Kind: PowerOn})
	b.run(2 * time.Minute)
	require.Greater(t, len(attempts), 15)
	model := DefaultModel()
	for i := 1; i < len(attempts); i++ {
		pause := attempts[i] - attempts[i-1] - model.TLS - 20*time.Millisecond
		require.GreaterOrEqual(t, pause, time.Duration(0))
		require.LessOrEqual(t, pause, min(model.BackoffMax, model.BackoffBase<<(i-1)), "attempt %d", i)
	}
	b.cloud.refuse = false
	b.run(b.now + time.Hour)
	require.Equal(t, "SUCCEEDED", b.cloud.status)
}

// TestDisconnect loses the connection in the middle of the file: the transfer goes on with the blocks it has.
func TestDisconnect(t *testing.T) {
	b := newBench(t, factory(t, flashmodel.NewStore(), "lamp-1", build(t, "1.0.0", 1, 100_000)), offer(t), nil, nil)
	programmed, erased := map[int]int{}, 0
	b.d.hooks = &Hooks{Point: func(_ *Device, _ time.Duration, p Point, arg int) {
		switch p {
		case PointBlockProgrammed:
			programmed[arg]++
			if arg == 10 && programmed[10] == 1 {
				b.queue = []Event{{Kind: Disconnected, Err: "reset by peer"}}
			}
		case PointSlotErase:
			erased++
		}
	}}
	b.step(Event{Kind: PowerOn})
	b.run(time.Hour)
	require.Equal(t, "SUCCEEDED", b.cloud.status)
	require.Equal(t, 1, erased)
	require.Len(t, programmed, 37)
	for i, n := range programmed {
		require.Equal(t, 1, n, "block %d", i)
	}
}

// TestSilentStream: a cloud that stops answering costs the job, not the device.
func TestSilentStream(t *testing.T) {
	b := newBench(t, factory(t, flashmodel.NewStore(), "lamp-1", build(t, "1.0.0", 1, 100_000)), offer(t), nil, nil)
	b.step(Event{Kind: PowerOn})
	for b.d.Phase() != PhaseDownload {
		if len(b.queue) > 0 {
			ev := b.queue[0]
			b.queue = b.queue[1:]
			b.step(ev)
			continue
		}
		at, ok := b.d.NextWake()
		require.True(t, ok)
		b.now = max(b.now, at)
		b.step(Event{Kind: Wake})
	}
	job := b.cloud.job
	b.cloud.mute, b.queue = true, nil
	since := b.now
	var last NetOp
	for range 40 {
		at, ok := b.d.NextWake()
		if !ok {
			break
		}
		b.now = at
		b.d.Step(b.now, Event{Kind: Wake})
		for _, op := range b.d.Ops() {
			if op.Kind == OpPublish {
				last = op
			}
		}
		if b.d.Agent().State == agent.WaitingForJob {
			break
		}
	}
	require.Equal(t, "$aws/things/lamp-1/jobs/"+job+"/update", last.Topic)
	require.Contains(t, string(last.Payload), `"aborted: 0x0000000e"`)
	require.InDelta(t, 320, (last.At - since).Seconds(), 11)
	require.Equal(t, agent.WaitingForJob, b.d.Agent().State)
}

// TestWatchdog: an image on trial that never gets a connection is reset by the RTC watchdog and rolled back.
func TestWatchdog(t *testing.T) {
	cloud := offer(t)
	b := newBench(t, factory(t, flashmodel.NewStore(), "lamp-1", build(t, "1.0.0", 1, 100_000)), cloud, nil, nil)
	var started []string
	var at []time.Duration
	b.d.hooks = &Hooks{Point: func(d *Device, now time.Duration, p Point, arg int) {
		if p == PointStarted {
			started = append(started, fmt.Sprintf("ota_%d", arg))
			at = append(at, now)
			cloud.refuse = arg == 1
		}
	}}
	b.step(Event{Kind: PowerOn})
	b.run(time.Hour)
	require.Equal(t, []string{"ota_0", "ota_1", "ota_0"}, started[:3])
	require.InDelta(t, 90, (at[2] - at[1]).Seconds(), 7) // a handshake that has begun is finished first, then comes the boot
	require.Equal(t, "FAILED", cloud.status)
}

// TestClone steps a device and its fork alike and apart.
func TestClone(t *testing.T) {
	b := newBench(t, factory(t, flashmodel.NewStore(), "lamp-1", build(t, "1.0.0", 1, 100_000)), offer(t), nil, nil)
	var forks []*bench
	b.d.hooks = &Hooks{Point: func(d *Device, _ time.Duration, p Point, arg int) {}}
	b.step(Event{Kind: PowerOn})
	for n := 0; len(forks) < 8; n++ {
		if n%6 == 0 {
			fork, cloud := *b, *b.cloud
			cloud.history = append([]string(nil), b.cloud.history...)
			fork.d, fork.cloud = b.d.Clone(), &cloud
			fork.queue = append([]Event(nil), b.queue...)
			forks = append(forks, &fork)
		}
		if len(b.queue) > 0 {
			ev := b.queue[0]
			b.queue = b.queue[1:]
			b.now += 20 * time.Millisecond
			b.step(ev)
			continue
		}
		at, ok := b.d.NextWake()
		require.True(t, ok)
		b.now = max(b.now, at)
		b.step(Event{Kind: Wake})
	}
	b.run(time.Hour)
	want := dump(t, b.d.Flash())
	for i, fork := range forks {
		if i%2 == 0 {
			// This one loses power first: what the others do must not show here, nor the other way round.
			fork.d.PowerOff()
			fork.queue = nil
			fork.step(Event{Kind: PowerOn})
		}
		fork.run(2 * time.Hour)
		require.Equal(t, "SUCCEEDED", fork.cloud.status)
		require.Equal(t, want, dump(t, fork.d.Flash()), "fork %d", i)
		if i%2 == 1 {
			require.Equal(t, b.cloud.history, fork.cloud.history)
			require.Equal(t, b.d.Flash().Stats(), fork.d.Flash().Stats())
		}
	}
}

func dump(t *testing.T, f *flashmodel.Flash) string {
	cells := make([]byte, f.Size())
	require.NoError(t, f.Read(0, cells))
	return string(cells)
}

// TestFlashAfterUpdate looks at the bytes a good update leaves: the file and its trailer, one VALID record, the older slot erased.
func TestFlashAfterUpdate(t *testing.T) {
	cloud := offer(t)
	b := newBench(t, factory(t, flashmodel.NewStore(), "lamp-1", build(t, "1.0.0", 1, 100_000)), cloud, nil, nil)
	b.step(Event{Kind: PowerOn})
	b.run(time.Hour)
	one := part(t, partition.TypeApp, partition.SubtypeOTA+1)
	slot := make([]byte, one.Size)
	require.NoError(t, b.d.Flash().Read(one.Offset, slot))
	require.Equal(t, cloud.file, slot[:len(cloud.file)])
	tail := slot[len(cloud.file) : len(cloud.file)+80]
	require.Equal(t, []byte{0, 0, 0, 0}, tail[:4])
	require.Equal(t, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", string(tail[68:]))
	zero := part(t, partition.TypeApp, partition.SubtypeOTA)
	older := make([]byte, zero.Size)
	require.NoError(t, b.d.Flash().Read(zero.Offset, older))
	for i, c := range older {
		require.Equal(t, byte(0xff), c, "ota_0 at %#x", i)
	}
	data := part(t, partition.TypeData, partition.SubtypeOTAData)
	var raw [otadata.EntrySize]byte
	require.NoError(t, b.d.Flash().Read(data.Offset+otadata.SectorSize, raw[:]))
	entry, err := otadata.Decode(raw[:])
	require.NoError(t, err)
	require.Equal(t, otadata.Make(2, otadata.Valid), entry)
	fuse := b.d.EFuse()
	require.EqualValues(t, 2, fuse.SecureVersion(32))
}

// TestKeepOlderFirmware: without the restart the older firmware stays until the next boot.
func TestKeepOlderFirmware(t *testing.T) {
	model := DefaultModel()
	model.RestartAfterConfirm = false
	b := newBench(t, factory(t, flashmodel.NewStore(), "lamp-1", build(t, "1.0.0", 1, 100_000)), offer(t), nil, nil)
	b.d.model = model
	b.step(Event{Kind: PowerOn})
	b.run(time.Hour)
	zero := part(t, partition.TypeApp, partition.SubtypeOTA)
	var first [1]byte
	require.NoError(t, b.d.Flash().Read(zero.Offset, first[:]))
	require.Equal(t, byte(0xe9), first[0])
	b.d.PowerOff()
	b.step(Event{Kind: PowerOn})
	require.NoError(t, b.d.Flash().Read(zero.Offset, first[:]))
	require.Equal(t, byte(0xff), first[0])
}

func TestPointNames(t *testing.T) {
	for _, p := range Points() {
		got, arg, err := ParsePoint(p.String())
		require.NoError(t, err)
		require.Equal(t, p, got)
		require.Equal(t, -1, arg)
	}
	p, arg, err := ParsePoint("block(128).programmed")
	require.NoError(t, err)
	require.Equal(t, PointBlockProgrammed, p)
	require.Equal(t, 128, arg)
	for _, bad := range []string{"", "block(x).programmed", "block)(", "nowhere", "block(-1).programmed"} {
		_, _, err := ParsePoint(bad)
		require.Error(t, err, bad)
	}
	phase, err := ParsePhase("self-test")
	require.NoError(t, err)
	require.Equal(t, PhaseSelfTest, phase)
}

// TestReleases: every release of the agent completes an update.
func TestReleases(t *testing.T) {
	for _, profile := range agent.Profiles {
		t.Run(profile.Name, func(t *testing.T) {
			cloud := offer(t)
			b := newBench(t, factory(t, flashmodel.NewStore(), "lamp-1", build(t, "1.0.0", 1, 100_000)), cloud, nil, nil)
			reconfigure(t, b, profile)
			b.step(Event{Kind: PowerOn})
			b.run(time.Hour)
			require.Equal(t, "SUCCEEDED", cloud.status, "%v", cloud.history)
		})
	}
}

// TestWrongSigner: a file signed by another key, with a signature that is none, or for a signer the device does not know, is
// refused by every release in its own words, and the older firmware runs on.
func TestWrongSigner(t *testing.T) {
	_, other := newSigner()
	for _, profile := range agent.Profiles {
		want := "0x000000e3: 0x00000000"
		switch {
		case profile.Task2018:
			want = "0x01000000: 0xfffffffe"
		case profile == agent.V300:
			want = "0xe3000000: 0xfffffffe"
		}
		for name, spoil := range map[string]func(c *testCloud){
			"another key's file": func(c *testCloud) { c.file = append([]byte(nil), c.file...); c.file[9000] ^= 1 },
			"no DER":             func(c *testCloud) { c.sig = bytes.Repeat([]byte{0x30}, 200) },
			"a certificate":      func(c *testCloud) { c.sig = other[:256] },
			"unknown signer":     func(c *testCloud) { c.certfile = "nobody" },
		} {
			cloud := offer(t)
			spoil(cloud)
			b := newBench(t, factory(t, flashmodel.NewStore(), "lamp-1", build(t, "1.0.0", 1, 100_000)), cloud, nil, nil)
			reconfigure(t, b, profile)
			b.step(Event{Kind: PowerOn})
			b.run(time.Hour)
			require.NotEmpty(t, cloud.history, "%s %s", profile.Name, name)
			require.Equal(t, `FAILED {"reason":"`+want+`"}`, cloud.history[len(cloud.history)-1], "%s %s", profile.Name, name)
			r, ok := b.d.Running()
			require.True(t, ok)
			require.Equal(t, "1.0.0", r.Version)
		}
	}
}

// reconfigure gives a factory-new device another release of the agent, and the boot loader and table of its time.
func reconfigure(t *testing.T, b *bench, profile *agent.Profile) {
	boot := *b.d.boot
	if profile.Task2018 {
		boot.Kind = bootloader.AFR2018
		table, err := partition.Builtin(testTable)
		require.NoError(t, err)
		raw, err := table.Encode(false)
		require.NoError(t, err)
		require.NoError(t, b.d.flash.Load(partition.DefaultOffset, raw))
	}
	b.d = New(Config{Thing: b.cloud.thing, Flash: b.d.flash, Agent: agent.DefaultConfig(profile), Bootloader: boot, Catalogue: b.d.catalogue, Hooks: b.d.hooks})
}

// TestDemo2018: the demo of 2018 connects with its own times, and the end of its connection goes unnoticed.
func TestDemo2018(t *testing.T) {
	cloud := offer(t)
	b := newBench(t, factory(t, flashmodel.NewStore(), "lamp-1", build(t, "1.0.0", 1, 100_000)), cloud, nil, nil)
	reconfigure(t, b, agent.AFR140)
	cloud.refuse = true
	b.step(Event{Kind: PowerOn})
	first, _ := b.d.NextWake()
	b.now = first
	b.d.Step(b.now, Event{Kind: Wake})
	ops := b.d.Ops()
	require.Len(t, ops, 1)
	require.EqualValues(t, 1200, ops[0].KeepAlive)
	require.Equal(t, 300*time.Second, ops[0].Ping)
	for range 3 { // every second, without growing
		b.step(Event{Kind: ConnectFailed, Err: "refused"})
		at, ok := b.d.NextWake()
		require.True(t, ok)
		require.Equal(t, b.d.BusyUntil()+time.Second, at)
		b.now = at
		b.d.Step(b.now, Event{Kind: Wake})
		b.d.Ops()
	}
	cloud.refuse = false
	b.step(Event{Kind: Connected})
	require.Equal(t, agent.Ready, b.d.Agent().State)
	b.queue = nil
	b.step(Event{Kind: Message, Topic: "$aws/things/lamp-1/jobs/notify-next", Payload: cloud.document()})
	require.Equal(t, agent.Active, b.d.Agent().State)
	require.Equal(t, PhaseDownload, b.d.Phase())
	b.step(Event{Kind: Disconnected, Err: "cut"})
	require.Equal(t, agent.Active, b.d.Agent().State, "nobody tells the agent")
	b.run(time.Hour)
	_, armed := b.d.NextWake()
	require.False(t, armed, "B2: the stream request fails once and nothing happens any more")
	require.Equal(t, agent.Active, b.d.Agent().State)
	require.False(t, b.d.Connected())
}

// until steps as run does, as far as done.
func (b *bench) until(done func() bool) {
	for steps := 0; !done(); steps++ {
		require.Less(b.t, steps, 10_000, "endless")
		ev := Event{Kind: Wake}
		if len(b.queue) > 0 {
			ev, b.queue = b.queue[0], b.queue[1:]
		} else {
			at, ok := b.d.NextWake()
			require.True(b.t, ok)
			b.now = max(b.now, at)
		}
		b.step(ev)
	}
}

// TestJobDuringTrial is B4: while a new image is on trial, a job of another kind arrives. v1.4.0 erases the firmware that
// the device would return to, and the image on trial starts again; v1.4.2 waits for its timer and returns to it, the ideal profile returns to it at once.
func TestJobDuringTrial(t *testing.T) {
	for _, c := range []struct {
		profile *agent.Profile
		kept    bool
	}{{agent.AFR140, false}, {agent.AFR142, true}, {agent.Ideal, true}} {
		t.Run(c.profile.Name, func(t *testing.T) {
			cloud := offer(t)
			b := newBench(t, factory(t, flashmodel.NewStore(), "lamp-1", build(t, "1.0.0", 1, 100_000)), cloud, nil, nil)
			reconfigure(t, b, c.profile)
			b.step(Event{Kind: PowerOn})
			b.until(func() bool {
				r, ok := b.d.Running()
				return ok && r.Trial && b.d.Connected()
			})
			cloud.mute, cloud.job, cloud.details, b.queue = true, "AFR_OTA-2", "", nil
			b.step(Event{Kind: Message, Topic: "$aws/things/lamp-1/jobs/notify-next", Payload: cloud.document()})
			var first [1]byte
			require.NoError(t, b.d.Flash().Read(part(t, partition.TypeApp, partition.SubtypeOTA).Offset, first[:]))
			require.Equal(t, c.kept, first[0] == 0xe9)
			boots := b.d.boots
			b.until(func() bool { return b.d.boots > boots })
			r, ok := b.d.Running()
			require.True(t, ok)
			if c.kept {
				require.Equal(t, "1.0.0", r.Version)
			} else {
				require.Equal(t, "1.1.0", r.Version, "the image that was never confirmed is the only one left")
			}
		})
	}
}

// TestBuffer2018: an MQTT packet that is longer than the buffer is not received.
func TestBuffer2018(t *testing.T) {
	cloud := offer(t)
	b := newBench(t, factory(t, flashmodel.NewStore(), "lamp-1", build(t, "1.0.0", 1, 100_000)), cloud, nil, nil)
	reconfigure(t, b, agent.AFR140)
	b.step(Event{Kind: PowerOn})
	cloud.job = ""
	b.run(time.Minute)
	cloud.job = "fw-1"
	topic := "$aws/things/lamp-1/jobs/notify-next"
	doc := cloud.document()
	long := append(append([]byte(nil), doc...), bytes.Repeat([]byte{' '}, 2176-7-len(topic)-len(doc)+1)...)
	b.d.Step(b.now, Event{Kind: Message, Topic: topic, Payload: long})
	require.Equal(t, agent.Ready, b.d.Agent().State)
	b.d.Step(b.now, Event{Kind: Message, Topic: topic, Payload: long[:len(long)-1]})
	require.Equal(t, agent.Active, b.d.Agent().State)
}

func FuzzParsePoint(f *testing.F) {
	f.Add("block(128).programmed")
	f.Add("verify")
	f.Add(")(")
	f.Fuzz(func(t *testing.T, s string) {
		if p, arg, err := ParsePoint(s); err == nil && (int(p) >= len(Points()) || arg < -1) {
			t.Fatal(p, arg)
		}
	})
}
