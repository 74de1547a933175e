package serve

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/broker/rules"
)

// The limits of one connection, on sockets.
func TestConnectionLimits(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	defer func() { require.NoError(t, s.Close()) }()
	o := newOperator(t, s.Ready())
	who := o.thing("lamp")

	t.Run("a hundred publishes a second, and the rest gets no PUBACK", func(t *testing.T) {
		d := connect(t, options(t, s.Ready(), "rate", who))
		defer d.Disconnect(0)
		time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(1020 * time.Millisecond))) // the count begins anew each second
		var tokens []paho.Token
		for range 150 {
			tokens = append(tokens, d.Publish("rate", 1, false, "x"))
		}
		for i := range 100 {
			done(t, tokens[i])
		}
		time.Sleep(200 * time.Millisecond)
		for i := range 50 {
			require.False(t, tokens[100+i].WaitTimeout(time.Millisecond), "publish %d", 100+i)
		}
		require.True(t, d.IsConnectionOpen())
		time.Sleep(time.Second)
		done(t, d.Publish("rate", 1, false, "the next second"))
	})
	t.Run("512 KiB a second, and the rest waits", func(t *testing.T) {
		d := connect(t, options(t, s.Ready(), "throughput", who))
		defer d.Disconnect(0)
		begin := time.Now()
		for range 10 { // 1.25 MiB, of which a second's worth goes at once
			done(t, d.Publish("throughput", 1, false, make([]byte, rules.MaxPayload)))
		}
		require.InDelta(t, 1.5, time.Since(begin).Seconds(), 0.4)
	})
	t.Run("50 subscriptions", func(t *testing.T) {
		d := connect(t, options(t, s.Ready(), "many", who))
		for i := range 50 {
			done(t, d.Subscribe(fmt.Sprintf("many/%d", i), 0, nil))
		}
		done(t, d.Subscribe("many/7", 1, nil)) // which is not one more
		d.Subscribe("many/50", 0, nil)
		d.cut(t)
	})
	t.Run("eight filters in a SUBSCRIBE", func(t *testing.T) {
		d := connect(t, options(t, s.Ready(), "filters", who))
		filters := map[string]byte{}
		for i := range 9 {
			filters[fmt.Sprint(i)] = 0
		}
		d.SubscribeMultiple(filters, nil)
		d.cut(t)
	})
	t.Run("one CONNECT a second", func(t *testing.T) {
		connect(t, options(t, s.Ready(), "again", who)).Disconnect(0)
		token := paho.NewClient(options(t, s.Ready(), "again", who)).Connect()
		require.True(t, token.WaitTimeout(10*time.Second))
		require.ErrorContains(t, token.Error(), "server Unavailable")
	})
	t.Run("topics of 256 bytes and seven slashes", func(t *testing.T) {
		for i, topic := range []string{strings.Repeat("x", 257), "a/b/c/d/e/f/g/h/i"} {
			d := connect(t, options(t, s.Ready(), fmt.Sprint("topic", i), who))
			d.Publish(topic, 0, false, "x")
			d.cut(t)
		}
	})
}

// What MQTT 5 adds: values in CONNACK, reasons in DISCONNECT, a window for messages.
func TestMQTT5(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	defer func() { require.NoError(t, s.Close()) }()
	o := newOperator(t, s.Ready())
	who := o.thing("lamp")

	c, ack := newV5(t, s.Ready(), "values", who, true, packets.Properties{})
	require.Equal(t, packets.Properties{ReceiveMaximum: rules.ReceiveMaximum, MaximumQosFlag: true, MaximumQos: 1, RetainAvailableFlag: true, RetainAvailable: 1,
		MaximumPacketSize: rules.MaximumPacketSize, TopicAliasMaximum: rules.TopicAliasMaximum, WildcardSubAvailableFlag: true, WildcardSubAvailable: 1,
		SubIDAvailableFlag: true, SharedSubAvailableFlag: true, SharedSubAvailable: 1}, ack.Properties)

	// A topic alias stands for its topic.
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 1, Filters: packets.Subscriptions{{Filter: "alias", Qos: 0}}})
	require.Equal(t, []byte{0}, c.next(packets.Suback).ReasonCodes)
	for _, topic := range []string{"alias", ""} {
		c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish}, TopicName: topic, Payload: []byte("x"), Properties: packets.Properties{TopicAlias: 1, TopicAliasFlag: true}})
		require.Equal(t, "alias", c.next(packets.Publish).TopicName)
	}

	for name, bad := range map[string]struct {
		pk   packets.Packet
		code byte
	}{
		"a topic that policies forbid": {packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish}, TopicName: "secret/a"}, rules.ReasonNotAuthorized},
		"QoS 2":                        {packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 2}, TopicName: "a", PacketID: 1}, rules.ReasonQoS},
		"an alias beyond the eighth":   {packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish}, TopicName: "a", Properties: packets.Properties{TopicAlias: 9, TopicAliasFlag: true}}, rules.ReasonAliasInvalid},
		"a subscription identifier": {packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 1,
			Properties: packets.Properties{SubscriptionIdentifier: []int{1}}, Filters: packets.Subscriptions{{Filter: "a"}}}, rules.ReasonSubscriptionIDs},
		"a filter that policies forbid": {packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 1, Filters: packets.Subscriptions{{Filter: "secret/a"}}}, rules.ReasonNotAuthorized},
		"8 KiB of user properties": {packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish}, TopicName: "a",
			Properties: packets.Properties{User: []packets.UserProperty{{Key: "k", Val: strings.Repeat("v", 8<<10)}}}}, rules.ReasonTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := newV5(t, s.Ready(), strings.ReplaceAll(name, " ", "-"), who, true, packets.Properties{})
			c.t = t
			c.send(bad.pk)
			require.Equal(t, bad.code, c.next(packets.Disconnect).ReasonCode)
			c.over()
		})
	}
	t.Run("the first client of a name is told", func(t *testing.T) {
		first, _ := newV5(t, s.Ready(), "twice", who, true, packets.Properties{})
		time.Sleep(1100 * time.Millisecond)
		second, _ := newV5(t, s.Ready(), "twice", who, true, packets.Properties{})
		require.Equal(t, rules.ReasonTakenOver, first.next(packets.Disconnect).ReasonCode)
		require.NoError(t, second.Close())
	})
	t.Run("no more in flight than the client takes", func(t *testing.T) {
		c, _ := newV5(t, s.Ready(), "window", who, true, packets.Properties{ReceiveMaximum: 2})
		c.t = t
		c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 1, Filters: packets.Subscriptions{{Filter: "window", Qos: 1}}})
		c.next(packets.Suback)
		for i := range 5 {
			status, _ := o.request("iotdata", "POST", "/topics/window?qos=1", []byte{byte(i)})
			require.Equal(t, 200, status)
		}
		got := []packets.Packet{c.next(packets.Publish), c.next(packets.Publish)}
		require.NoError(t, c.SetReadDeadline(time.Now().Add(300*time.Millisecond)))
		_, err := c.Read(make([]byte, 1))
		require.Error(t, err, "a third message without an acknowledgement")
		for i := range 5 {
			require.Equal(t, []byte{byte(i)}, got[i].Payload)
			c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: got[i].PacketID})
			if len(got) < 5 {
				got = append(got, c.next(packets.Publish))
			}
		}
		require.NoError(t, c.Close())
	})
	require.NoError(t, c.Close())
}

// The bounds of keep-alive are told to clients that can hear it.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	defer func() { require.NoError(t, s.Close()) }()
	who := newOperator(t, s.Ready()).thing("lamp")
	for asked, want := range map[uint16]uint16{5: 30, 0: 1200, 30: 0, 60000: 1200} {
		c := dialV5(t, s.Ready(), who)
		c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect}, Connect: packets.ConnectParams{ProtocolName: []byte("MQTT"),
			ClientIdentifier: fmt.Sprint("k", asked), Keepalive: asked, Clean: true}})
		ack := c.next(packets.Connack)
		require.Equal(t, want, ack.Properties.ServerKeepAlive, "%d", asked)
		require.NoError(t, c.Close())
	}
}

// Lifecycle events tell who came and why they went.
func TestLifecycleEvents(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	defer func() { require.NoError(t, s.Close()) }()
	o := newOperator(t, s.Ready())
	who := o.thing("lamp")
	d := connect(t, options(t, s.Ready(), "watcher", who))
	defer d.Disconnect(100)
	done(t, d.SubscribeMultiple(map[string]byte{"$aws/events/presence/+/lamp": 1, "$aws/events/subscriptions/+/lamp": 1}, nil))
	type event struct {
		ClientID, EventType, DisconnectReason, PrincipalIdentifier, IPAddress string
		ClientInitiatedDisconnect                                             bool
		VersionNumber                                                         *uint64
		Topics                                                                []string
	}
	hear := func(topic string) (e event) {
		require.NoError(t, json.Unmarshal(d.hear(t, "$aws/events/"+topic+"/lamp"), &e))
		return e
	}
	first := connect(t, options(t, s.Ready(), "lamp", who))
	e := hear("presence/connected")
	require.Equal(t, who.id, e.PrincipalIdentifier)
	require.Equal(t, "127.0.0.1", e.IPAddress)
	require.EqualValues(t, 0, *e.VersionNumber)
	done(t, first.Subscribe("a", 1, nil))
	require.Equal(t, []string{"a"}, hear("subscriptions/subscribed").Topics)
	done(t, first.Unsubscribe("a"))
	require.Equal(t, []string{"a"}, hear("subscriptions/unsubscribed").Topics)
	time.Sleep(1100 * time.Millisecond)
	second := connect(t, options(t, s.Ready(), "lamp", who))
	require.Equal(t, "DUPLICATE_CLIENTID", hear("presence/disconnected").DisconnectReason)
	require.EqualValues(t, 1, *hear("presence/connected").VersionNumber)
	second.Disconnect(100)
	e = hear("presence/disconnected")
	require.True(t, e.ClientInitiatedDisconnect)
	require.Equal(t, "CLIENT_INITIATED_DISCONNECT", e.DisconnectReason)
	time.Sleep(1100 * time.Millisecond)
	third := connect(t, options(t, s.Ready(), "lamp", who))
	third.Publish("secret/a", 0, false, "x")
	require.Equal(t, "AUTH_ERROR", hear("presence/disconnected").DisconnectReason)
	time.Sleep(1100 * time.Millisecond)
	v, _ := newV5(t, s.Ready(), "lamp", who, true, packets.Properties{})
	require.NoError(t, v.Close())
	require.Equal(t, "CONNECTION_LOST", hear("presence/disconnected").DisconnectReason)
}
