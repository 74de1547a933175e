package device

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/flashmodel"
)

// downloading is a device of the ideal release, changed, in the middle of a file.
func downloading(t *testing.T, change func(c *agent.Config), on ...string) *bench {
	b := newBench(t, factory(t, flashmodel.NewStore(), "lamp-1", build(t, "1.0.0", 1, 100_000)), offer(t), nil, nil)
	switches := map[string]bool{}
	for _, name := range on {
		switches[name] = true
	}
	p, err := agent.Ideal.With(switches)
	require.NoError(t, err)
	cfg := agent.DefaultConfig(p)
	change(&cfg)
	b.d = New(Config{Thing: "lamp-1", Flash: b.d.flash, Agent: cfg, Bootloader: *b.d.boot})
	b.step(Event{Kind: PowerOn})
	b.until(func() bool { return b.d.Phase() == PhaseDownload && b.d.Agent().Remaining < 30 })
	return b
}

// unacked is a device of the ideal release with a switch that has asked for its job and got it; the acknowledgement of its
// request was held up.
func unacked(t *testing.T, on ...string) (b *bench, ack Event) {
	b = newBench(t, factory(t, flashmodel.NewStore(), "lamp-1", build(t, "1.0.0", 1, 100_000)), offer(t), nil, nil)
	switches := map[string]bool{}
	for _, name := range on {
		switches[name] = true
	}
	p, err := agent.Ideal.With(switches)
	require.NoError(t, err)
	b.d = New(Config{Thing: "lamp-1", Flash: b.d.flash, Agent: agent.DefaultConfig(p), Bootloader: *b.d.boot})
	b.step(Event{Kind: PowerOn})
	b.until(func() bool {
		return slices.ContainsFunc(b.queue, func(ev Event) bool { return strings.HasSuffix(ev.Topic, "/get/accepted") })
	})
	i := slices.IndexFunc(b.queue, func(ev Event) bool { return strings.HasSuffix(ev.Topic, "/get/accepted") }) - 1
	require.Equal(t, Acked, b.queue[i].Kind)
	ack = b.queue[i]
	b.queue = slices.Delete(b.queue, i, i+1)
	return b, ack
}

// C29: an acknowledgement that is late by more than the demo waits for it costs the device its RAM, and with it the transfer.
func TestLateAck(t *testing.T) {
	for on, died := range map[string]bool{"lateAckKills": true, "": false} {
		var switches []string
		if on != "" {
			switches = []string{on}
		}
		b, ack := unacked(t, switches...)
		b.until(func() bool { return b.d.Phase() == PhaseDownload && b.d.Agent().Remaining < 30 })
		b.now += 6 * time.Second
		boots := b.d.boots
		b.step(ack)
		if died {
			b.until(func() bool { return b.d.boots > boots })
		}
		b.run(b.now + time.Minute)
		require.Equal(t, "SUCCEEDED", b.cloud.status)
		require.Equal(t, died, b.d.boots == boots+3, "%d boots", b.d.boots-boots) // with the two of the update
	}
}

// C30: an acknowledgement that never comes makes the agent deaf for more than an hour.
func TestLostAck(t *testing.T) {
	for on, deaf := range map[string]bool{"awaitsAcks": true, "": false} {
		var switches []string
		if on != "" {
			switches = []string{on}
		}
		b, _ := unacked(t, switches...)
		b.run(b.now + time.Hour)
		require.Equal(t, deaf, b.cloud.status == "QUEUED", b.cloud.status)
		b.run(b.now + 5000*time.Second)
		require.Equal(t, "SUCCEEDED", b.cloud.status)
	}
}

// C28: the filter of the SDK's demo matches every topic of a stream. A request that the service rejects fails the job.
func TestWildcardStreams(t *testing.T) {
	rejected := Event{Kind: Message, Topic: "$aws/things/lamp-1/streams/s-1/rejected/cbor", Payload: []byte("\xa1\x61e\x6eInternalError!")}
	b := downloading(t, func(*agent.Config) {}, "wildcardStreams")
	b.queue = nil
	b.step(rejected)
	require.Equal(t, `FAILED {"reason":"0x000000e0: 0x00000000"}`, b.cloud.history[len(b.cloud.history)-1])
	b = downloading(t, func(*agent.Config) {})
	b.step(rejected)
	b.run(time.Hour)
	require.Equal(t, "SUCCEEDED", b.cloud.status)
}

// C33: a port whose timers count whole seconds never repeats a request that is to be repeated after less.
func TestWholeSeconds(t *testing.T) {
	for on, want := range map[string]string{"timersWholeSeconds": "IN_PROGRESS", "": "SUCCEEDED"} {
		var switches []string
		if on != "" {
			switches = []string{on}
		}
		b := downloading(t, func(c *agent.Config) { c.RequestMs = 900 }, switches...)
		b.queue = nil // a block is lost
		b.run(b.now + time.Hour)
		require.Equal(t, want, b.cloud.status, on)
	}
}
