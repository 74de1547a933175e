package device

import (
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
