package rules

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const start = int64(1_700_000_000e9)

func TestPublishesOfOneSecond(t *testing.T) {
	var l Limiter
	for i := range 100 {
		require.Equal(t, Verdict{}, l.Publish(&AWS, start+int64(i)*1e6, 100), "%d", i)
	}
	require.Equal(t, Verdict{Drop: true}, l.Publish(&AWS, start+999e6, 100))
	require.Equal(t, Verdict{}, l.Publish(&AWS, start+1e9, 100))
	var free Limiter
	for range 1000 {
		require.Equal(t, Verdict{}, free.Publish(&Rates{}, start, 1<<20))
	}
}

func TestThroughputWaits(t *testing.T) {
	var l Limiter
	for range 4 {
		require.Equal(t, Verdict{}, l.Publish(&AWS, start, 128<<10), "512 KiB go at once")
	}
	require.Equal(t, Verdict{Wait: 250 * time.Millisecond}, l.Publish(&AWS, start, 128<<10))
	require.Equal(t, Verdict{Wait: 300 * time.Millisecond}, l.Publish(&AWS, start+200e6, 128<<10), "behind the one before")
	require.Equal(t, Verdict{}, l.Publish(&AWS, start+5e9, 512<<10))
}

// Whatever is published, no second passes more than two seconds' worth of bytes:
// the bucket and what flows into it.
func TestThroughputIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l Limiter
		r := Rates{Throughput: 1000}
		now, last := start, int64(0)
		passed := map[int64]int{}
		for range rapid.IntRange(1, 200).Draw(t, "publishes") {
			now += rapid.Int64Range(0, 5e8).Draw(t, "pause")
			n := rapid.IntRange(0, 900).Draw(t, "bytes")
			v := l.Publish(&r, now, n)
			at := now + int64(v.Wait)
			if v.Drop || at < last {
				t.Fatalf("%+v at %d, one before goes at %d", v, now, last)
			}
			last = at
			passed[at/1e9] += n
		}
		for second, n := range passed {
			if n > 2000+900 {
				t.Fatalf("%d bytes in second %d", n, second)
			}
		}
	})
}

func TestInflight(t *testing.T) {
	require.False(t, AWS.Full(99))
	require.True(t, AWS.Full(100))
	require.False(t, (&Rates{}).Full(1000))
	require.Equal(t, 100, InflightToClient(0))
	require.Equal(t, 20, InflightToClient(20))
	require.Equal(t, 100, InflightToClient(65535))
}

func TestMQTT5(t *testing.T) {
	require.EqualValues(t, 0, SessionExpiry(0, 3600))
	require.EqualValues(t, 3600, SessionExpiry(0xffffffff, 3600))
	require.EqualValues(t, 604800, SessionExpiry(0xffffffff, 1e9))
	require.EqualValues(t, 0, SessionExpiry(60, -1))
	for code, want := range map[byte]byte{Accepted: 0, BadClientID: 0x85, ServerUnavailable: 0x97, NotAuthorized: 0x87, Refused: 0x87, 99: 0x80} {
		require.Equal(t, want, ConnackReason(code), "%d", code)
	}
	for why, want := range map[Reason]byte{DuplicateClientID: 0x8e, KeepAliveTimeout: 0x8d, AuthError: 0x87, ForbiddenAccess: 0x87, Throttled: 0x97, ClientError: 0x82,
		ServerInitiated: 0x8b, APIInitiated: 0x98, ClientInitiated: 0, ConnectionLost: 0x80, ServerError: 0x80} {
		require.Equal(t, want, DisconnectReason(why), why)
		require.Equal(t, why != ClientInitiated, why.SendsWill())
	}
}

func TestEvents(t *testing.T) {
	p := Peer{ClientID: "c1", Session: "s", Principal: "abc", IP: "10.0.0.1", Version: 0}
	at := time.UnixMilli(1573002340451)
	for topic, e := range map[string]Event{
		`$aws/events/presence/connected/c1 {"clientId":"c1","timestamp":1573002340451,"eventType":"connected","sessionIdentifier":"s","principalIdentifier":"abc","ipAddress":"10.0.0.1","versionNumber":0}`:                                                       p.Connected(at),
		`$aws/events/presence/disconnected/c1 {"clientId":"c1","timestamp":1573002340451,"eventType":"disconnected","sessionIdentifier":"s","principalIdentifier":"abc","clientInitiatedDisconnect":false,"disconnectReason":"CONNECTION_LOST","versionNumber":0}`: p.Disconnected(at, ConnectionLost),
		`$aws/events/subscriptions/subscribed/c1 {"clientId":"c1","timestamp":1573002340451,"eventType":"subscribed","sessionIdentifier":"s","principalIdentifier":"abc","topics":["a/b"]}`:                                                                        p.Subscribed(at, []string{"a/b"}),
		`$aws/events/subscriptions/unsubscribed/c1 {"clientId":"c1","timestamp":1573002340451,"eventType":"unsubscribed","sessionIdentifier":"s","principalIdentifier":"abc","topics":["a/b"]}`:                                                                    p.Unsubscribed(at, []string{"a/b"}),
	} {
		require.Equal(t, topic, e.Topic+" "+string(e.Payload))
		require.True(t, json.Valid(e.Payload))
	}
	require.True(t, (&Peer{ClientID: "a+b"}).Silent())
	require.False(t, p.Silent())
	for filter, want := range map[string]bool{"$aws/events/presence/connected/+": true, "$aws/#": true, "$aws/+/presence/#": true, "$aws/things/x/jobs/#": false, "#": false, "+/events/#": false} {
		require.Equal(t, want, HearsEvents(filter), filter)
	}
}

func TestNumbering(t *testing.T) {
	var n Numbering
	n.Disconnect(start, "x", 0)
	require.EqualValues(t, 0, n.Connect(start, "a"))
	require.EqualValues(t, 1, n.Connect(start+10*numberingKept, "a"), "connected all the while")
	n.Disconnect(start+10*numberingKept, "a", 0) // the one taken over
	n.Disconnect(start+11*numberingKept, "a", 1)
	require.EqualValues(t, 2, n.Connect(start+12*numberingKept, "a"))
	n.Disconnect(start+12*numberingKept, "a", 2)
	require.EqualValues(t, 0, n.Connect(start+13*numberingKept+1, "a"))
}
