package cloud

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/cloud/registry"
)

// watcher is a client that may do everything, subscribed to filters.
func (w *world) watcher(filters ...string) *client {
	openPolicy(w)
	w.thing("watcher", "open")
	k := w.connect("watcher", nil)
	k.subscribe(filters...)
	k.take()
	return k
}

// told takes the lifecycle events that have arrived, without what differs from
// run to run.
func told(t *testing.T, k *client) (out []string) {
	for _, p := range k.take() {
		if p.Type != protocol.Publish {
			continue
		}
		var e map[string]any
		require.NoError(t, json.Unmarshal(p.Payload, &e))
		require.Len(t, e["principalIdentifier"], 64)
		require.Len(t, e["sessionIdentifier"], 36)
		require.EqualValues(t, k.w.now.UnixMilli(), e["timestamp"])
		require.Equal(t, "$aws/events/"+strings.TrimPrefix(p.Topic, "$aws/events/"), p.Topic)
		text := strings.TrimPrefix(p.Topic, "$aws/events/")
		for _, name := range []string{"disconnectReason", "clientInitiatedDisconnect", "versionNumber", "topics", "ipAddress"} {
			if v, ok := e[name]; ok {
				b, err := json.Marshal(v)
				require.NoError(t, err)
				text += " " + string(b)
			}
		}
		out = append(out, text)
	}
	return out
}

func TestLifecycleEvents(t *testing.T) {
	w := newWorld(t, nil)
	w.thing("t1")
	k := w.watcher("$aws/events/#")
	persistent := func(p *protocol.Packet) { p.CleanSession = false }

	d := w.connect("t1", persistent)
	require.Equal(t, []string{`presence/connected/t1 0 "10.0.0.2"`}, told(t, k))
	d.subscribe("$aws/things/t1/jobs/notify", "$aws/things/t1/jobs/notify-next")
	require.Equal(t, []string{`subscriptions/subscribed/t1 ["$aws/things/t1/jobs/notify","$aws/things/t1/jobs/notify-next"]`}, told(t, k))
	d.send(&protocol.Packet{Type: protocol.Unsubscribe, PacketID: 2, Filters: []protocol.Filter{{Topic: "$aws/things/t1/jobs/notify"}}})
	require.Equal(t, []string{`subscriptions/unsubscribed/t1 ["$aws/things/t1/jobs/notify"]`}, told(t, k))
	d.send(&protocol.Packet{Type: protocol.Disconnect})
	require.Equal(t, []string{`presence/disconnected/t1 "CLIENT_INITIATED_DISCONNECT" true 0`}, told(t, k))

	// Each connection has the next number, and its end the same one.
	w.pass(time.Second)
	w.connect("t1", persistent)
	w.pass(time.Second)
	k.take()
	taker := w.connect("t1", persistent)
	require.Equal(t, []string{`presence/disconnected/t1 "DUPLICATE_CLIENTID" false 1`, `presence/connected/t1 2 "10.0.0.4"`}, told(t, k))
	taker.publish("a/b", "not allowed")
	require.Equal(t, []string{`presence/disconnected/t1 "AUTH_ERROR" false 2`}, told(t, k))

	for why, end := range map[string]func(*client){
		"CONNECTION_LOST": func(d *client) { w.c.Drop(w.now, d.id); w.pump() },
		"CLIENT_ERROR":    func(d *client) { d.publish(strings.Repeat("x/", 9), "too deep") },
		"FORBIDDEN_ACCESS": func(*client) {
			cert, err := w.c.Registry().ListThingPrincipals("t1")
			require.NoError(t, err)
			require.NoError(t, w.c.UpdateCertificate(w.now, cert[0], registry.Inactive))
			w.pump()
			require.NoError(t, w.c.UpdateCertificate(w.now, cert[0], registry.Active))
		},
	} {
		w.pass(time.Second)
		d := w.connect("t1", nil)
		k.take()
		end(d)
		got := told(t, k)
		require.Len(t, got, 1, why)
		require.Contains(t, got[0], `presence/disconnected/t1 "`+why+`" false`)
	}

	// Silence: the watcher keeps alive, the device does not.
	w.pass(time.Second)
	w.connect("t1", nil)
	k.take()
	for range 3 {
		w.pass(30 * time.Second)
		if got := told(t, k); len(got) > 0 {
			require.Contains(t, got[0], "MQTT_KEEP_ALIVE_TIMEOUT")
			return
		}
		k.send(&protocol.Packet{Type: protocol.Pingreq})
		k.take()
	}
	require.Fail(t, "the silent connection did not end")
}

// 512 KiB a second and connection: what is more arrives late, in order, and
// nothing is lost.
func TestThroughputOfAConnection(t *testing.T) {
	w := newWorld(t, nil)
	k := w.watcher("data")
	w.thing("sender", "open")
	s := w.connect("sender", nil)
	s.take()
	big := strings.Repeat("x", 100_000)
	for i := range 10 { // of 1,000,040 bytes 524,288 pass at once
		s.publish("data", string(rune('0'+i))+big)
	}
	require.Equal(t, 5, len(k.take()))
	s.publish("data", "last")
	s.send(&protocol.Packet{Type: protocol.Pingreq})
	require.Empty(t, s.take(), "even a PINGREQ waits behind")
	w.pass(500 * time.Millisecond)
	require.Equal(t, 2, len(k.take()))
	w.pass(time.Second)
	in := k.take()
	require.Equal(t, 4, len(in))
	require.Equal(t, "last", string(in[3].Payload))
	require.Equal(t, []string{"PINGRESP"}, show(s.take()))

	// A connection that ends takes with it what waits.
	for range 12 {
		s.publish("data", big)
	}
	w.c.Drop(w.now, s.id)
	k.take()
	w.pass(10 * time.Second)
	require.Zero(t, len(k.take()))
}
