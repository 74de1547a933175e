package live

import (
	"bytes"
	"strings"
	"testing"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/require"
)

// What goes out in one copy is what mochi would have written.
func TestSendPlain(t *testing.T) {
	b := &Broker{server: mqtt.New(nil)}
	for _, topic := range []string{"t", "$aws/things/lamp-1/streams/s/data/cbor", strings.Repeat("x", 256)} {
		for _, size := range []int{0, 1, 100, 127, 128, 4114, chunk - 1, chunk, 128 << 10} {
			for _, retain := range []bool{false, true} {
				p := &peer{flowing: true} // nobody takes it away
				p.waiting = append(p.waiting, newSegment(p.due, nil, []byte("before")))
				m := Message{Topic: topic, Payload: bytes.Repeat([]byte{0xA5}, size), Retain: retain}
				b.sendPlain(p, &m)
				pk := packets.Packet{ProtocolVersion: 4, FixedHeader: packets.FixedHeader{Type: packets.Publish, Retain: retain}, TopicName: topic, Payload: m.Payload}
				var want bytes.Buffer
				require.NoError(t, pk.PublishEncode(&want))
				var got []byte
				for i := range p.waiting {
					got = append(got, p.waiting[i].b...)
					p.waiting[i].free()
				}
				require.Equal(t, "before"+want.String(), string(got), "%d bytes to %s", size, topic)
				require.Equal(t, want.Len(), p.size)
			}
		}
	}
}

// Deliveries in a row on one topic go to the same sessions, each with its own payload;
// shared subscriptions take turns and are looked up each time.
func TestFollow(t *testing.T) {
	first := outgoing{list: []target{{s: &mailbox{id: "a"}}}, plain: true}
	first.Topic, first.Payload = "t", []byte("one")
	next := func(topic string, qos byte) *outgoing {
		d := &outgoing{}
		d.Topic, d.QoS, d.Payload = topic, qos, []byte("two")
		return d
	}
	d := next("t", 0)
	d.follow(&first)
	require.True(t, d.found)
	require.Equal(t, "two", string(d.list[0].Payload))
	for name, d := range map[string]*outgoing{"another topic": next("u", 0), "another QoS": next("t", 1)} {
		d.follow(&first)
		require.False(t, d.found, name)
	}
	first.plain = false
	d = next("t", 0)
	d.follow(&first)
	require.False(t, d.found)
}
