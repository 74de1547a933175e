package device

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/flashmodel"
)

const ms = time.Millisecond

// flood works off messages that arrive in pairs of {arrival, work}, and returns which were taken.
func flood(m *mailbox, cfg *agent.Config, messages [][2]time.Duration) (taken []int) {
	free := time.Duration(0)
	for i, message := range messages {
		start := max(free, message[0])
		if ok, _ := m.takes(cfg, message[0]); ok {
			free = start + message[1]
			m.keep(cfg, start, free)
			taken = append(taken, i)
		}
	}
	return taken
}

func TestMailbox(t *testing.T) {
	together := [][2]time.Duration{{1 * ms, 10 * ms}, {2 * ms, 10 * ms}, {3 * ms, 10 * ms}, {4 * ms, 10 * ms}, {12 * ms, 10 * ms}, {60 * ms, ms}}
	library := agent.DefaultConfig(agent.Main)
	require.Equal(t, 2, library.Buffers())
	// Two buffers: one is being worked on, one waits. The fifth message comes when the first one's buffer is free again.
	require.Equal(t, []int{0, 1, 4, 5}, flood(new(mailbox), &library, together))
	library.DataBuffers = 1
	require.Equal(t, []int{0, 4, 5}, flood(new(mailbox), &library, together))
	library.BlocksPerRequest, library.DataBuffers = 8, 0
	require.Equal(t, []int{0, 1, 2, 3, 4, 5}, flood(new(mailbox), &library, together))

	// The queue of 2018 holds six besides the message in hand.
	old := agent.DefaultConfig(agent.AFR140)
	var many [][2]time.Duration
	for i := range time.Duration(10) {
		many = append(many, [2]time.Duration{ms + i, 10 * ms})
	}
	require.Equal(t, []int{0, 1, 2, 3, 4, 5, 6}, flood(new(mailbox), &old, many))
}

// C32: a message for which the queue has no room takes its buffer with it, until there are no more buffers than places.
func TestMailboxLosesBuffers(t *testing.T) {
	for _, c := range []struct {
		profile *agent.Profile
		lost    int
	}{{agent.Main, 3}, {agent.Ideal, 0}} {
		cfg := agent.DefaultConfig(c.profile)
		cfg.DataBuffers = 24
		m := new(mailbox)
		for round := range time.Duration(3) {
			var many [][2]time.Duration
			for i := range time.Duration(30) {
				many = append(many, [2]time.Duration{round*time.Hour + ms + i, 10 * ms})
			}
			require.Len(t, flood(m, &cfg, many), 21, "one in hand, twenty queued")
			require.Equal(t, c.lost, m.lost)
		}
	}
}

// TestFloodedDevice sends blocks faster than they can be programmed. With two buffers two of them get through and the rest
// is asked for again; a device with buffers enough takes them all.
func TestFloodedDevice(t *testing.T) {
	st := flashmodel.NewStore()
	old, next := build(t, "1.0.0", 1, 100_000), build(t, "1.1.0", 2, 150_000)
	for _, c := range []struct {
		buffers, programmed int
	}{{0, 2}, {1, 1}, {5, 5}, {20, 10}} {
		cloud := &testCloud{thing: "lamp-1", job: "AFR_OTA-1", file: next, sig: sign(next), certfile: LabelCodeSigner, status: "QUEUED"}
		b := newBench(t, factory(t, st, cloud.thing, old), cloud, nil, nil)
		b.d.builds[0].DataBuffers = c.buffers
		b.step(Event{Kind: PowerOn})
		for b.d.Phase() != PhaseDownload {
			if len(b.queue) == 0 {
				at, _ := b.d.NextWake()
				b.now = at
				b.step(Event{Kind: Wake})
				continue
			}
			ev := b.queue[0]
			b.queue = b.queue[1:]
			b.step(ev)
		}
		before := b.d.Agent().Remaining
		arrived := b.d.BusyUntil() + ms
		for i := range 10 {
			b.d.Step(arrived, Event{Kind: Message, Topic: "$aws/things/lamp-1/streams/s-1/data/cbor", Payload: cloud.block(i, 4096), Arrived: arrived + time.Duration(i)})
		}
		require.EqualValues(t, c.programmed, before-b.d.Agent().Remaining, "%d buffers", c.buffers)
	}
}

// A second job document that arrives while the slot is erased comes up before the file is open: the library drops it, and the
// transfer begins once. Later it begins the transfer anew.
func TestDocumentDuringErase(t *testing.T) {
	st := flashmodel.NewStore()
	old, next := build(t, "1.0.0", 1, 100_000), build(t, "1.1.0", 2, 150_000)
	for _, late := range []bool{false, true} {
		cloud := &testCloud{thing: "lamp-1", job: "AFR_OTA-1", file: next, sig: sign(next), certfile: LabelCodeSigner, status: "QUEUED"}
		b := newBench(t, factory(t, st, cloud.thing, old), cloud, nil, nil)
		erases, begun := 0, time.Duration(0)
		b.d.hooks = &Hooks{Point: func(_ *Device, now time.Duration, p Point, _ int) {
			if p == PointSlotErase {
				erases++
				begun = now
			}
		}}
		b.d.builds[0].Profile, b.d.builds[0].DataBuffers = agent.Main, 4
		b.step(Event{Kind: PowerOn})
		for erases == 0 {
			if len(b.queue) == 0 {
				at, _ := b.d.NextWake()
				b.now = at
				b.step(Event{Kind: Wake})
				continue
			}
			ev := b.queue[0]
			b.queue = b.queue[1:]
			b.step(ev)
		}
		ev := Event{Kind: Message, Topic: "$aws/things/lamp-1/jobs/notify-next", Payload: cloud.document(), Arrived: begun + ms}
		if late {
			ev.Arrived = 0
		}
		b.step(ev)
		b.run(time.Hour)
		require.Equal(t, late, erases > 1)
		require.True(t, cloud.terminal)
		require.Equal(t, "SUCCEEDED", cloud.status)
	}
}

// A packet that does not fit into the network buffer is gone.
func TestLongPackets(t *testing.T) {
	for _, c := range []struct {
		profile *agent.Profile
		log2    uint8
		size    int
		fits    bool
	}{{agent.Main, 12, 4900, true}, {agent.Main, 12, 5000, false}, {agent.Main, 14, 17000, true}, {agent.AFR140, 10, 2100, true}, {agent.AFR140, 10, 2176, false}} {
		build := agent.DefaultConfig(c.profile)
		build.Log2Block = c.log2
		d := New(Config{Agent: build})
		require.Equal(t, !c.fits, d.tooLong(&Event{Topic: "$aws/things/lamp-1/streams/s-1/data/cbor", Payload: make([]byte, c.size)}))
	}
}
