package cloud

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/broker/rules"
	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/cloud/quota"
	"github.com/otasim/otasim/cloud/registry"
)

// open lets every thing do everything, so that a test sees the broker alone.
func openPolicy(w *world) {
	_, err := w.c.CreatePolicy(w.now, "open", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"iot:*","Resource":"*"}}`)
	require.NoError(w.t, err)
	_, err = w.c.CreateThingGroup(w.now, registry.CreateThingGroupRequest{ThingGroupName: "open"})
	require.NoError(w.t, err)
	require.NoError(w.t, w.c.AttachPolicy(w.now, "open", w.c.ARN("thinggroup", "open")))
}

func TestHandshake(t *testing.T) {
	w := newWorld(t, nil)
	w.thing("good")
	w.thing("inactive")
	cert, err := w.c.Registry().ListThingPrincipals("inactive")
	require.NoError(t, err)
	require.NoError(t, w.c.UpdateCertificate(w.now, cert[0], registry.Inactive))
	unregistered, _, err := w.c.PKI().Device("nobody")
	require.NoError(t, err)
	other, err := New(Config{Region: "eu-central-1", Seed: [32]byte{2}, Epoch: epoch})
	require.NoError(t, err)
	foreign, _, err := other.PKI().Device("good")
	require.NoError(t, err)

	k := w.dial(w.cert["good"])
	require.Equal(t, protocol.FrameTLSServer, k.tls.Kind)
	chain, err := protocol.Certificates(k.tls.Body)
	require.NoError(t, err)
	require.Len(t, chain, 2)
	require.Equal(t, w.c.PKI().Certificate().Raw, chain[1])

	for name, c := range map[string]struct {
		der   []byte
		alert byte
	}{
		"foreign":      {foreign, protocol.AlertUnknownCA},
		"inactive":     {w.cert["inactive"], protocol.AlertCertificateRevoked},
		"unregistered": {unregistered, protocol.AlertCertificateUnknown},
		"garbage":      {[]byte("not a certificate"), protocol.AlertBadCertificate},
	} {
		k := w.dial(c.der)
		require.Equal(t, protocol.FrameTLSAlert, k.tls.Kind, name)
		require.Equal(t, []byte{c.alert}, k.tls.Body, name)
		require.Equal(t, "AUTH_ERROR", k.closed, name)
	}
	w.now = w.now.AddDate(30, 0, 0)
	require.Equal(t, []byte{protocol.AlertCertificateExpired}, w.dial(w.cert["good"]).tls.Body)
}

func TestConnectCodes(t *testing.T) {
	w := newWorld(t, nil)
	w.thing("t1")
	for id, want := range map[string]string{
		"t1":                     "CONNACK 0 present=false",
		"t2":                     "CONNACK 7 present=false",
		"":                       "CONNACK 2 present=false",
		"$t1":                    "CONNACK 2 present=false",
		strings.Repeat("x", 129): "CONNACK 2 present=false",
	} {
		k := w.connect("t1", func(p *protocol.Packet) { p.ClientID = id })
		require.Equal(t, []string{want}, show(k.take()), id)
		require.Equal(t, id != "t1", k.closed != "", id)
	}
	k := w.dial(w.cert["t1"])
	k.send(&protocol.Packet{Type: protocol.Pingreq})
	require.Equal(t, "CLIENT_ERROR", k.closed, "no packet before CONNACK")
	w.conns++
	bare := &client{w: w, id: w.conns}
	w.open[bare.id] = bare
	w.c.Open(w.now, bare.id)
	bare.send(&protocol.Packet{Type: protocol.Connect, ClientID: "t1", KeepAlive: 30})
	require.Equal(t, "CLIENT_ERROR", bare.closed, "no CONNECT before the handshake")
}

func TestTakeover(t *testing.T) {
	w := newWorld(t, nil)
	w.thing("t1")
	first := w.connect("t1", nil)
	second := w.connect("t1", nil)
	require.Equal(t, []string{"CONNACK 3 present=false"}, show(second.take()), "one CONNECT a second and client id")
	require.Empty(t, first.closed)
	w.pass(time.Second)
	third := w.connect("t1", nil)
	require.Equal(t, "DUPLICATE_CLIENTID", first.closed)
	require.Equal(t, []string{"CONNACK 0 present=false"}, show(third.take()))
	s := w.c.Stats(w.now)
	require.EqualValues(t, 2, s.Connects)
	require.EqualValues(t, 1, s.Refused)
	require.EqualValues(t, 1, s.Throttled)
}

func TestKeepAlive(t *testing.T) {
	for asked, dead := range map[uint16]time.Duration{0: 1800 * time.Second, 1: 45 * time.Second, 60: 90 * time.Second, 5000: 1800 * time.Second} {
		w := newWorld(t, nil)
		w.thing("t1")
		k := w.connect("t1", func(p *protocol.Packet) { p.KeepAlive = asked })
		w.pass(dead - time.Second)
		k.take()
		k.send(&protocol.Packet{Type: protocol.Pingreq})
		require.Equal(t, []string{"PINGRESP"}, show(k.take()))
		w.pass(dead - time.Millisecond)
		require.Empty(t, k.closed, "%d", asked)
		w.pass(time.Millisecond)
		require.Equal(t, "MQTT_KEEP_ALIVE_TIMEOUT", k.closed, "%d", asked)
	}
}

// A client of which somebody knows that it pings is not listened for, until nobody
// knows any more: then the last ping counts.
func TestPingsOutOfHearing(t *testing.T) {
	w := newWorld(t, nil)
	w.thing("t1")
	k := w.connect("t1", func(p *protocol.Packet) { p.KeepAlive = 60 })
	w.pass(time.Minute)
	before := w.c.Stats(w.now)
	w.c.Ping(w.now, k.id, true)
	after := w.c.Stats(w.now)
	require.Equal(t, []uint64{1, 1, 2, 2}, []uint64{after.MessagesIn - before.MessagesIn, after.MessagesOut - before.MessagesOut, after.BytesIn - before.BytesIn, after.BytesOut - before.BytesOut})
	w.pass(24 * time.Hour)
	require.Empty(t, k.closed)
	last := w.now.Add(-20 * time.Second)
	w.c.Unheard(k.id, last)
	w.pass(70*time.Second - time.Millisecond)
	require.Empty(t, k.closed)
	w.pass(time.Millisecond)
	require.Equal(t, "MQTT_KEEP_ALIVE_TIMEOUT", k.closed)
	w.c.Unheard(k.id, last)
	w.c.Ping(w.now, k.id, true)
	require.Equal(t, after.MessagesIn, w.c.Stats(w.now).MessagesIn, "the connection is over")
}

func TestPersistentSession(t *testing.T) {
	w := newWorld(t, nil)
	w.thing("t1", "fleet")
	persistent := func(p *protocol.Packet) { p.CleanSession = false }
	k := w.connect("t1", persistent)
	k.subscribe("$aws/things/t1/jobs/notify-next@1", "$aws/things/t1/jobs/notify")
	w.c.Drop(w.now, k.id)
	for i := range 3 {
		_, err := w.c.CreateJob(w.now, jobs.CreateJobRequest{JobID: fmt.Sprintf("job%d", i), Document: "{}", Targets: []string{w.c.ARN("thing", "t1")}})
		require.NoError(t, err)
		w.pass(time.Second)
		require.NoError(t, w.c.CancelJobExecution(w.now, "t1", fmt.Sprintf("job%d", i), jobs.CancelJobExecutionRequest{}))
	}
	k = w.connect("t1", persistent)
	require.Equal(t, []string{"CONNACK 0 present=true"}, show(k.take()))
	w.pass(time.Second)
	in := k.take()
	require.Len(t, in, 6, "the QoS 1 copies, not the QoS 0 ones: %v", show(in))
	for _, p := range in {
		require.Equal(t, "$aws/things/t1/jobs/notify-next", p.Topic)
		require.Equal(t, byte(1), p.QoS)
		require.False(t, p.Dup)
	}
	for _, p := range in[:4] {
		k.send(&protocol.Packet{Type: protocol.Puback, PacketID: p.PacketID})
	}
	k.send(&protocol.Packet{Type: protocol.Disconnect})
	w.pass(time.Minute)
	k = w.connect("t1", persistent)
	w.pass(time.Second)
	again := k.take()[1:]
	require.Len(t, again, 2, "what was not acknowledged")
	require.True(t, again[0].Dup)
	require.Equal(t, in[4].PacketID, again[0].PacketID)

	k.send(&protocol.Packet{Type: protocol.Disconnect})
	w.pass(time.Hour)
	k = w.connect("t1", persistent)
	require.Equal(t, []string{"CONNACK 0 present=false"}, show(k.take()), "expired after an hour")
	w.c.Drop(w.now, k.id)
	w.pass(time.Second)
	k = w.connect("t1", nil)
	require.Equal(t, []string{"CONNACK 0 present=false"}, show(k.take()), "a clean session forgets")
}

func TestStoredMessagesArePaced(t *testing.T) {
	w := newWorld(t, unlimited)
	openPolicy(w)
	w.thing("t1", "open")
	w.thing("t2", "open")
	k := w.connect("t1", func(p *protocol.Packet) { p.CleanSession = false })
	k.subscribe("a/b@1")
	w.c.Drop(w.now, k.id)
	sender := w.connect("t2", nil)
	for i := range 25 {
		sender.send(&protocol.Packet{Type: protocol.Publish, QoS: 1, PacketID: 1, Topic: "a/b", Payload: []byte(fmt.Sprint(i))})
	}
	k = w.connect("t1", func(p *protocol.Packet) { p.CleanSession = false })
	k.take()
	w.pass(950 * time.Millisecond)
	require.Len(t, k.in, 10)
	sender.send(&protocol.Packet{Type: protocol.Publish, QoS: 1, PacketID: 1, Topic: "a/b", Payload: []byte("new")})
	require.Len(t, k.in, 10, "the new one waits behind the stored ones")
	w.pass(5 * time.Second)
	in := k.take()
	require.Len(t, in, 26)
	require.Equal(t, "new", string(in[25].Payload))
}

func TestInflightLimit(t *testing.T) {
	w := newWorld(t, unlimited)
	openPolicy(w)
	w.thing("t1", "open")
	w.thing("t2", "open")
	k, sender := w.connect("t1", nil), w.connect("t2", nil)
	k.subscribe("a@1")
	k.take()
	for i := range 150 {
		sender.send(&protocol.Packet{Type: protocol.Publish, QoS: 1, PacketID: 1, Topic: "a", Payload: []byte(fmt.Sprint(i))})
	}
	in := k.take()
	require.Len(t, in, 100)
	k.send(&protocol.Packet{Type: protocol.Puback, PacketID: in[7].PacketID})
	require.Equal(t, "100", string(k.next(protocol.Publish).Payload))
	k.send(&protocol.Packet{Type: protocol.Puback, PacketID: in[7].PacketID})
	require.Empty(t, k.take(), "acknowledged already")
}

func TestSubscribe(t *testing.T) {
	w := newWorld(t, nil)
	openPolicy(w)
	w.thing("t1", "open")
	k := w.connect("t1", nil)
	k.take()
	k.subscribe("a", "b/+@1", "b/#")
	require.Equal(t, []string{"SUBACK [0 1 0]"}, show(k.take()))
	k.send(&protocol.Packet{Type: protocol.Publish, QoS: 1, PacketID: 9, Topic: "b/c", Payload: []byte("x")})
	require.Equal(t, []string{"PUBACK", "PUBLISH q1 b/c x"}, show(k.take()), "one copy, at the highest QoS")
	k.publish("b", "x")
	require.Empty(t, k.take(), "b/# does not match b")
	k.send(&protocol.Packet{Type: protocol.Unsubscribe, PacketID: 2, Filters: []protocol.Filter{{Topic: "b/+"}, {Topic: "b/#"}}})
	k.take()
	k.publish("b/c", "x")
	require.Empty(t, k.take())

	for name, filters := range map[string][]string{
		"nine filters":   {"1", "2", "3", "4", "5", "6", "7", "8", "9"},
		"bad wildcard":   {"a/b#"},
		"eight slashes":  {"a/b/c/d/e/f/g/h/i"},
		"257 bytes long": {strings.Repeat("x", 257)},
	} {
		w.pass(time.Second)
		k := w.connect("t1", nil)
		k.subscribe(filters...)
		require.Equal(t, "CLIENT_ERROR", k.closed, name)
	}
	w.pass(time.Second)
	k = w.connect("t1", nil)
	k.send(&protocol.Packet{Type: protocol.Subscribe, PacketID: 1, Filters: []protocol.Filter{{Topic: "a", QoS: 2}}})
	require.Equal(t, "CLIENT_ERROR", k.closed, "QoS 2")
	w.pass(time.Second)
	k = w.connect("t1", nil)
	for i := range 51 {
		require.Empty(t, k.closed)
		k.subscribe(fmt.Sprint("f/", i))
		w.pass(10 * time.Millisecond)
	}
	require.Equal(t, "CLIENT_ERROR", k.closed, "50 subscriptions")
}

func TestPoliciesOnTheWire(t *testing.T) {
	w := newWorld(t, nil)
	w.thing("t1")
	w.thing("t2")
	k := w.connect("t1", nil)
	k.subscribe("$aws/things/t2/jobs/notify-next")
	require.Equal(t, "AUTH_ERROR", k.closed, "a forbidden filter cuts the connection")
	w.pass(time.Second)
	k = w.connect("t1", nil)
	k.send(&protocol.Packet{Type: protocol.Publish, QoS: 1, PacketID: 5, Topic: "$aws/things/t2/jobs/$next/get"})
	require.Equal(t, []string{"CONNACK 0 present=false"}, show(k.take()), "no PUBACK")
	require.Equal(t, "AUTH_ERROR", k.closed)

	w = newWorld(t, func(c *Config) { c.Switches.Broker.SubackFailure = true })
	w.thing("t1")
	k = w.connect("t1", nil)
	k.take()
	k.subscribe("$aws/things/t1/jobs/notify-next@1", "x/y")
	require.Equal(t, []string{"SUBACK [1 128]"}, show(k.take()))
	require.Empty(t, k.closed)
}

func TestReceivePermissionIsAskedForEveryDelivery(t *testing.T) {
	w := newWorld(t, nil)
	w.thing("t1")
	k := w.connect("t1", nil)
	k.subscribe("$aws/things/t1/jobs/notify@0")
	k.take()
	_, err := w.c.CreatePolicy(w.now, "mute", fmt.Sprintf(`{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"iot:Receive","Resource":%q}}`,
		w.c.ARN("topic", "$aws/things/t1/jobs/*")))
	require.NoError(t, err)
	cert, err := w.c.Registry().ListThingPrincipals("t1")
	require.NoError(t, err)
	k.publish("$aws/things/t1/jobs/get", "")
	require.Len(t, k.take(), 1)
	require.NoError(t, w.c.AttachPolicy(w.now, "mute", cert[0]))
	k.publish("$aws/things/t1/jobs/get", "")
	require.Empty(t, k.take(), "a direct answer is a delivery too")
	require.NoError(t, w.c.DetachPolicy("mute", cert[0]))
	k.publish("$aws/things/t1/jobs/get", "")
	require.Len(t, k.take(), 1)
}

func TestDirectAnswers(t *testing.T) {
	w := newWorld(t, nil)
	w.thing("t1")
	k := w.connect("t1", nil)
	k.take()
	k.publish("$aws/things/t1/jobs/get", "")
	require.Len(t, k.take(), 1, "without a subscription")
	k.subscribe("$aws/things/t1/jobs/get/accepted@1", "$aws/things/t1/jobs/#")
	k.take()
	k.publish("$aws/things/t1/jobs/get", "")
	p := k.next(protocol.Publish)
	require.Equal(t, byte(1), p.QoS, "one copy, with the subscriber's QoS")

	k.publish("$aws/things/t1/jobs//update", "")
	require.Contains(t, string(k.next(protocol.Publish).Payload), "InvalidTopic")
	require.Empty(t, k.closed)
	for _, topic := range []string{"$aws/things/t1/jobs/notify", "$aws/things/t1/jobs/notify-next", "$aws/things/t1/jobs/get/accepted",
		"$aws/things/t1/streams/s/data/cbor", "$aws/things/t1/streams/s"} {
		w.pass(time.Second)
		k := w.connect("t1", nil)
		k.publish(topic, "{}")
		require.Equal(t, "AUTH_ERROR", k.closed, topic)
	}
}

// Another connection, allowed to speak for the thing, gets its own answers.
func TestAnswersGoToTheRequesterAlone(t *testing.T) {
	w := newWorld(t, nil)
	openPolicy(w)
	w.thing("t1", "open")
	w.thing("t2", "open")
	one, two := w.connect("t1", nil), w.connect("t2", nil)
	one.subscribe("$aws/things/t1/jobs/get/accepted")
	one.take()
	two.take()
	two.publish("$aws/things/t1/jobs/get", `{"clientToken":"mine"}`)
	require.Len(t, two.take(), 1)
	require.Empty(t, one.take())
}

func TestStreamsNeedASubscription(t *testing.T) {
	for _, direct := range []bool{false, true} {
		w := newWorld(t, func(c *Config) { c.Switches.Broker.DirectStreams = direct })
		w.thing("t1")
		k := w.connect("t1", nil)
		k.take()
		k.publish("$aws/things/t1/streams/s/get/cbor", "\xa0")
		if direct {
			require.Equal(t, "$aws/things/t1/streams/s/rejected/cbor", k.next(protocol.Publish).Topic)
			continue
		}
		require.Empty(t, k.take(), "a refusal looks like silence")
		k.subscribe("$aws/things/t1/streams/s/rejected/cbor@1", "$aws/things/t1/streams/+/rejected/json")
		k.take()
		k.publish("$aws/things/t1/streams/s/get/cbor", "\xa0")
		require.Equal(t, byte(1), k.next(protocol.Publish).QoS)
		k.publish("$aws/things/t1/streams/s/get/json", "{}")
		require.Equal(t, "$aws/things/t1/streams/s/rejected/json", k.next(protocol.Publish).Topic)
	}
}

func TestWill(t *testing.T) {
	w := newWorld(t, nil)
	openPolicy(w)
	w.thing("t1", "open")
	w.thing("watcher", "open")
	watcher := w.connect("watcher", nil)
	watcher.subscribe("will/t1")
	watcher.take()
	dying := func() *client {
		w.pass(2 * time.Second)
		return w.connect("t1", func(p *protocol.Packet) {
			p.Will, p.WillTopic, p.WillPayload = true, "will/t1", []byte("gone")
		})
	}
	k := dying()
	w.c.Drop(w.now, k.id)
	w.pump()
	require.Equal(t, []string{"PUBLISH q0 will/t1 gone"}, show(watcher.take()))
	k = dying()
	k.send(&protocol.Packet{Type: protocol.Disconnect})
	require.Equal(t, "CLIENT_INITIATED_DISCONNECT", k.closed)
	require.Empty(t, watcher.take())
	dying()
	dying()
	require.Equal(t, []string{"PUBLISH q0 will/t1 gone"}, show(watcher.take()), "takeover")
}

func TestRetained(t *testing.T) {
	w := newWorld(t, nil)
	openPolicy(w)
	w.thing("t1", "open")
	k := w.connect("t1", nil)
	k.send(&protocol.Packet{Type: protocol.Publish, Topic: "r/1", Payload: []byte("kept"), Retain: true})
	k.take()
	k.subscribe("r/+")
	require.Equal(t, []string{"SUBACK [0]"}, show(k.take()), "not for wildcards")
	k.subscribe("r/1")
	require.Equal(t, []string{"SUBACK [0]", "PUBLISH q0 r/1 kept"}, show(k.take()))
	k.send(&protocol.Packet{Type: protocol.Publish, Topic: "r/1", Retain: true})
	k.take()
	k.subscribe("r/1")
	require.Equal(t, []string{"SUBACK [0]"}, show(k.take()), "an empty payload deletes")
}

func TestSizesAndRates(t *testing.T) {
	w := newWorld(t, nil)
	openPolicy(w)
	w.thing("t1", "open")
	k := w.connect("t1", nil)
	k.publish("a", strings.Repeat("x", 128<<10))
	require.Empty(t, k.closed)
	k.publish("a", strings.Repeat("x", 128<<10+1))
	require.NotEmpty(t, k.closed)
	w.pass(time.Second)
	k = w.connect("t1", nil)
	k.publish("1/2/3/4/5/6/7/8/9", "x")
	require.NotEmpty(t, k.closed)

	w.pass(time.Second)
	k = w.connect("t1", nil)
	k.take()
	for range 150 {
		k.send(&protocol.Packet{Type: protocol.Publish, QoS: 1, PacketID: 1, Topic: "a", Payload: []byte("x")})
	}
	require.Len(t, k.take(), 100, "PUBACKs of the publishes within the rate")
	require.EqualValues(t, 50, w.c.Stats(w.now).Throttled)
	w.pass(time.Second)
	k.send(&protocol.Packet{Type: protocol.Publish, QoS: 1, PacketID: 1, Topic: "a", Payload: []byte("x")})
	require.Len(t, k.take(), 1)
}

func TestConnectStorm(t *testing.T) {
	w := newWorld(t, nil)
	welcome := func() (n int) {
		for i := range 600 {
			name := fmt.Sprintf("t%d", i)
			if w.cert[name] == nil {
				w.thing(name)
			}
			k := w.connect(name, nil)
			if k.closed == "" {
				n++
			}
		}
		return n
	}
	require.Equal(t, 500, welcome(), "500 CONNECT a second and account")
}

func TestJobsDataPlaneRate(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 5 {
		w.thing(fmt.Sprint("t", i))
	}
	throttled := 0
	for i := range 5 {
		k := w.connect(fmt.Sprint("t", i), nil)
		k.take()
		for range 45 {
			k.publish(fmt.Sprintf("$aws/things/t%d/jobs/get", i), `{"clientToken":"x"}`)
			if p := k.next(protocol.Publish); strings.HasSuffix(p.Topic, "/rejected") {
				require.Contains(t, string(p.Payload), `"code":"RequestThrottled"`)
				require.Contains(t, string(p.Payload), `"clientToken":"x"`)
				throttled++
			}
		}
	}
	require.Equal(t, 25, throttled, "200 reads a second and account")
}

func TestDeactivationCutsConnections(t *testing.T) {
	w := newWorld(t, nil)
	w.thing("t1")
	k := w.connect("t1", nil)
	cert, err := w.c.Registry().ListThingPrincipals("t1")
	require.NoError(t, err)
	require.NoError(t, w.c.UpdateCertificate(w.now, cert[0], registry.Revoked))
	w.pump()
	require.Equal(t, "FORBIDDEN_ACCESS", k.closed)
}

func TestControlPlaneRates(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 100 {
		_, err := w.c.CreateThing(w.now, fmt.Sprint("free", i), "", nil)
		require.NoError(t, err, "the starting fleet is outside the quotas")
	}
	w.c.StartMetering()
	refused := 0
	for i := range 20 {
		if _, err := w.c.CreateThing(w.now, fmt.Sprint("t", i), "", nil); err != nil {
			require.True(t, IsThrottled(err))
			refused++
		}
	}
	require.Equal(t, 5, refused)
	require.EqualValues(t, 15, func() int64 { l, _ := quota.Named("aws-default"); return l[quota.CreateThing] }())
}

// Frames of connections that are closed, or never were, are ignored.
func TestLateFrames(t *testing.T) {
	w := newWorld(t, nil)
	w.thing("t1")
	k := w.connect("t1", nil)
	k.send(&protocol.Packet{Type: protocol.Disconnect})
	k.take()
	k.send(&protocol.Packet{Type: protocol.Pingreq})
	require.Empty(t, k.take())
	w.c.Receive(w.now, 999, protocol.Encode(&protocol.Packet{Type: protocol.Pingreq}))
	w.c.Drop(w.now, 999)
	require.Empty(t, w.c.Outbox())
}

// The same decisions without the virtual broker.
func TestExternalBroker(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.External = true })
	w.thing("t1")
	p, code := w.c.Authenticate(w.now, [][]byte{w.cert["t1"]}, "t1")
	require.Zero(t, code)
	_, code = w.c.Authenticate(w.now, [][]byte{w.cert["t1"]}, "t2")
	require.Equal(t, rules.Refused, code)
	_, code = w.c.Authenticate(w.now, nil, "t1")
	require.Equal(t, rules.NotAuthorized, code)
	require.True(t, w.c.Authorize(p, "iot:Subscribe", "topicfilter/$aws/things/t1/jobs/notify-next"))
	require.False(t, w.c.Authorize(p, "iot:Subscribe", "topicfilter/#"))
	require.True(t, w.c.AuthorizePublish(p, "$aws/things/t1/jobs/get", 2, false))
	require.False(t, w.c.AuthorizePublish(p, "$aws/things/t1/jobs/notify", 2, false))

	_, err := w.c.CreateJob(w.now, jobs.CreateJobRequest{JobID: "job", Document: "{}", Targets: []string{w.c.ARN("thing", "t1")}})
	require.NoError(t, err)
	w.pass(0)
	notes := w.c.Deliveries()
	require.Len(t, notes, 2)
	require.Equal(t, "$aws/things/t1/jobs/notify-next", notes[1].Topic)
	require.False(t, notes[1].Direct)
	out, ok := w.c.Handle(w.now, "t1", "$aws/things/t1/jobs/job/update", []byte(`{"status":"SUCCEEDED"}`))
	require.True(t, ok)
	require.Len(t, out, 1)
	require.True(t, out[0].Direct)
	require.Equal(t, "t1", out[0].ClientID)
	require.Equal(t, "$aws/things/t1/jobs/job/update/accepted", out[0].Topic)
	require.Len(t, w.c.Deliveries(), 2)
	out, ok = w.c.Handle(w.now, "t1", "$aws/things/t1/streams/s/get/cbor", []byte{0xa0})
	require.True(t, ok)
	require.Equal(t, "$aws/things/t1/streams/s/rejected/cbor", out[0].Topic)
	_, ok = w.c.Handle(w.now, "t1", "a/b", nil)
	require.False(t, ok)
}

// FuzzReceive throws packets at a connection: nothing panics, closed
// connections stay silent, and every frame out is one well-formed packet.
func FuzzReceive(f *testing.F) {
	for _, p := range []protocol.Packet{
		{Type: protocol.Publish, Topic: "$aws/things/t1/jobs/$next/get", Payload: []byte("{}")},
		{Type: protocol.Publish, Topic: "$aws/things/t1/streams/s/get/cbor", Payload: []byte("\xa0"), QoS: 1, PacketID: 1},
		{Type: protocol.Publish, Topic: "a", Retain: true, Payload: []byte("x")},
		{Type: protocol.Subscribe, PacketID: 1, Filters: []protocol.Filter{{Topic: "$aws/things/t1/jobs/#", QoS: 1}, {Topic: "+/a"}}},
		{Type: protocol.Unsubscribe, PacketID: 1, Filters: []protocol.Filter{{Topic: "+/a"}}},
		{Type: protocol.Puback, PacketID: 1},
		{Type: protocol.Connect, ClientID: "t1"},
		{Type: protocol.Disconnect},
	} {
		e := protocol.Encode(&p)
		f.Add(append(append([]byte(nil), e.Head...), e.Body...))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		w := newWorld(t, nil)
		openPolicy(w)
		w.thing("t1", "open")
		k := w.connect("t1", func(p *protocol.Packet) { p.CleanSession = false })
		k.subscribe("$aws/things/t1/streams/+/rejected/cbor@1", "a@1")
		for range 2 {
			k.frame(protocol.Frame{Kind: protocol.FrameMQTT, Head: raw})
		}
		if half := len(raw) / 2; half > 0 {
			k.frame(protocol.Frame{Kind: protocol.FrameMQTT, Head: raw[:half], Body: raw[half:]})
		}
		if k.closed != "" {
			k.take()
			k.publish("a", "x")
			require.Empty(t, k.take())
		}
		k.frame(protocol.Frame{Kind: protocol.FrameTLSClient, Body: raw})
		w.pass(time.Second)
	})
}

// Billed and free packets, as the pricing page lists them.
func TestMetering(t *testing.T) {
	w := newWorld(t, unlimited)
	openPolicy(w)
	w.thing("meter", "open")
	metered := func() uint64 { return w.c.Stats(w.now).Metered }
	long := strings.Repeat("x", 12_000)
	k := w.connect("meter", func(p *protocol.Packet) {
		p.Will, p.WillTopic, p.WillPayload = true, "last", []byte(long)
	})
	require.EqualValues(t, 3, metered(), "CONNECT with a will of 12,004 bytes")
	for _, c := range []struct {
		what string
		do   func()
		want uint64
	}{
		{"SUBSCRIBE; SUBACK is free", func() { k.subscribe("a", "b") }, 1},
		{"PINGREQ and PINGRESP", func() { k.send(&protocol.Packet{Type: protocol.Pingreq}) }, 0},
		{"PUBLISH to nobody", func() { k.publish("nobody", "x") }, 1},
		{"PUBLISH in and out, PUBACKs of the service", func() { k.publish("a", "x") }, 2},
		{"PUBACK of the client", func() { k.send(&protocol.Packet{Type: protocol.Puback, PacketID: 1}) }, 1},
		{"5,120 bytes of topic and payload", func() { k.publish("nobody", long[:5120-6]) }, 1},
		{"one more", func() { k.publish("nobody", long[:5120-5]) }, 2},
		{"12,000 bytes in and out", func() { k.publish("b", long) }, 6},
		{"a retained PUBLISH", func() {
			k.send(&protocol.Packet{Type: protocol.Publish, Topic: "nobody", Payload: []byte("x"), Retain: true})
		}, 2},
		{"UNSUBSCRIBE", func() {
			k.send(&protocol.Packet{Type: protocol.Unsubscribe, PacketID: 9, Filters: []protocol.Filter{{Topic: "a"}}})
		}, 0},
		{"DISCONNECT", func() { k.send(&protocol.Packet{Type: protocol.Disconnect}) }, 0},
	} {
		before := metered()
		c.do()
		w.pump()
		require.Equal(t, c.want, metered()-before, c.what)
		k.take()
	}
}
