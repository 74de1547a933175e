package network

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otasim/otasim/sim/kernel"
)

// A ping takes as long as any other packet of its size, and its draws are those of its
// time alone.
func TestPingsDrawForThemselves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &Link{Latency: time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "latency")), Jitter: time.Duration(rapid.Int64Range(0, 1e8).Draw(t, "jitter")),
			Loss: rapid.Uint64Range(0, 200_000).Draw(t, "loss"), Uplink: rapid.Uint64Range(0, 1e6).Draw(t, "uplink"), Downlink: 1000}
		stream := kernel.Rand(rapid.Uint64().Draw(t, "stream"))
		now := time.Duration(rapid.Int64Range(0, 1e15).Draw(t, "now"))
		at := l.PingUp(stream, now)
		require.Equal(t, at, l.PingUp(stream, now))
		require.GreaterOrEqual(t, at, now+l.Floor())
		if l.Jitter == 0 && l.Loss == 0 {
			require.Equal(t, (&Direction{}).Send(l, l.Uplink, now, PingBytes), at)
		}
		if l.Prompt() {
			require.True(t, Prompt(now, l.PingDown(stream, at)))
		}
	})
	l := &Link{Latency: 50 * time.Millisecond, Jitter: 40 * time.Millisecond, Loss: 100_000}
	seen, late := map[time.Duration]bool{}, 0
	for i := range 1000 {
		now := time.Duration(i) * time.Minute
		d := l.PingUp(7, now) - now
		if seen[d] = true; d > 90*time.Millisecond {
			late++
		}
	}
	require.Greater(t, len(seen), 990)
	require.InDelta(t, 100, late, 40)
}

// Pings that were counted leave the client as if it had sent them.
func TestClientCountsPings(t *testing.T) {
	made := Client{state: online, keepAlive: time.Minute, due: 70 * time.Second, lastSent: 9 * time.Second}
	counted := made.Clone()
	for at := 70 * time.Second; at <= 250*time.Second; at += time.Minute {
		due, ok := made.PingDue()
		require.True(t, ok)
		require.Equal(t, at, due)
		require.Len(t, made.Wake(at, nil, nil), 1)
		_, ok = made.PingDue()
		require.False(t, ok, "it waits for the answer")
		made.Pong()
	}
	counted.Pinged(250 * time.Second)
	require.Equal(t, made, counted)
	made.Ping(310 * time.Second)
	counted.Pinged(310 * time.Second)
	counted.Await(310 * time.Second)
	require.Equal(t, made, counted)
}
