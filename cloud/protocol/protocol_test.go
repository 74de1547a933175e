package protocol

import (
	"bytes"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/require"
)

var samples = []Packet{
	{Type: Connect, ClientID: "esp32-field-00001", CleanSession: true, KeepAlive: 60},
	{Type: Connect, ClientID: "c", KeepAlive: 1200, Will: true, WillTopic: "w/t", WillPayload: []byte("bye"), WillQoS: 1, Username: "u", Password: []byte("p")},
	{Type: Connack, SessionPresent: true},
	{Type: Connack, ReturnCode: 5},
	{Type: Publish, Topic: "$aws/things/t/streams/s/get/cbor", Payload: []byte{0xa6, 1, 2}},
	{Type: Publish, Topic: "$aws/things/t/jobs/$next/get", QoS: 1, PacketID: 7, Payload: bytes.Repeat([]byte("x"), 5000), Dup: true},
	{Type: Publish, Topic: "t", Retain: true},
	{Type: Puback, PacketID: 7},
	{Type: Subscribe, PacketID: 9, Filters: []Filter{{"$aws/things/t/jobs/notify-next", 1}, {"a/+/#", 0}}},
	{Type: Suback, PacketID: 9, Codes: []byte{1, 0x80}},
	{Type: Unsubscribe, PacketID: 10, Filters: []Filter{{Topic: "a/b"}}},
	{Type: Unsuback, PacketID: 10},
	{Type: Pingreq}, {Type: Pingresp}, {Type: Disconnect},
}

func flat(f Frame) []byte { return append(append([]byte(nil), f.Head...), f.Body...) }

func TestEncodeDecode(t *testing.T) {
	for _, want := range samples {
		var got Packet
		f := Encode(&want)
		require.NoError(t, Decode(f, &got), PacketName(want.Type))
		require.Equal(t, flat(f), flat(Encode(&got)), PacketName(want.Type))
		var whole Packet
		require.NoError(t, Decode(Frame{Kind: FrameMQTT, Head: flat(f)}, &whole))
		require.Equal(t, flat(f), flat(Encode(&whole)))
	}
}

// A codec that somebody else wrote must read what we write.
func TestAgainstMochi(t *testing.T) {
	for _, p := range samples {
		b := flat(Encode(&p))
		var fh packets.FixedHeader
		require.NoError(t, fh.Decode(b[0]))
		n, used, err := packets.DecodeLength(bytes.NewReader(b[1:]))
		require.NoError(t, err)
		require.Equal(t, len(b), 1+used+n)
		fh.Remaining = n
		pk := packets.Packet{FixedHeader: fh, ProtocolVersion: 4}
		rest := b[1+used:]
		switch p.Type {
		case Connect:
			require.NoError(t, pk.ConnectDecode(rest))
			require.Equal(t, p.ClientID, pk.Connect.ClientIdentifier)
			require.Equal(t, p.KeepAlive, pk.Connect.Keepalive)
			require.Equal(t, p.WillTopic, pk.Connect.WillTopic)
		case Publish:
			require.NoError(t, pk.PublishDecode(rest))
			require.Equal(t, p.Topic, pk.TopicName)
			require.Equal(t, len(p.Payload), len(pk.Payload))
			require.Equal(t, p.PacketID, pk.PacketID)
		case Subscribe:
			require.NoError(t, pk.SubscribeDecode(rest))
			require.Len(t, pk.Filters, len(p.Filters))
		case Suback:
			require.NoError(t, pk.SubackDecode(rest))
			require.Equal(t, p.Codes, pk.ReasonCodes)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty":            {},
		"short":            {0x30, 0x05, 0, 1},
		"QoS 2":            {0x34, 0x05, 0, 1, 't', 0, 1},
		"QoS 1 without id": {0x32, 0x05, 0, 1, 't', 0, 0},
		"reserved type":    {0xf0, 0},
		"subscribe flags":  {0x80, 0x06, 0, 1, 0, 1, 'a', 0},
		"no filter":        {0x82, 0x02, 0, 1},
		"long length":      {0x30, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"NUL in topic":     {0x30, 0x03, 0, 1, 0},
	} {
		var p Packet
		require.ErrorIs(t, Decode(Frame{Kind: FrameMQTT, Head: b}, &p), ErrMalformed, name)
	}
}

func TestMatchFilter(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"a/b", "a/b", true}, {"a/+", "a/b", true}, {"a/#", "a/b/c", true}, {"a/#", "a", false}, {"#", "a", true},
		{"#", "$aws/x", false}, {"+/x", "$aws/x", false}, {"$aws/things/+/jobs/#", "$aws/things/t/jobs/notify-next", true},
		{"a/+", "a", false}, {"a/+", "a/b/c", false}, {"a", "a/b", false}, {"+/+", "a/b", true}, {"a/#/b", "a/x/b", false},
	} {
		require.Equal(t, c.want, MatchFilter(c.filter, c.topic), "%s ~ %s", c.filter, c.topic)
	}
}

func TestParseThingTopic(t *testing.T) {
	thing, service, rest, ok := ParseThingTopic(StreamGet("esp32:1", "AFR_OTA-x", "cbor"))
	require.True(t, ok)
	require.Equal(t, []string{"esp32:1", "streams", "AFR_OTA-x/get/cbor"}, []string{thing, service, rest})
	for _, bad := range []string{"", "$aws/things/", "$aws/things/t", "$aws/things/t/jobs", "$aws/things/t/jobs/", "$aws/things//jobs/x", "a/b/c"} {
		_, _, _, ok := ParseThingTopic(bad)
		require.False(t, ok, bad)
	}
}

func TestCertificates(t *testing.T) {
	chain := AppendCertificate(AppendCertificate(nil, []byte("leaf")), []byte("root!"))
	got, err := Certificates(chain)
	require.NoError(t, err)
	require.Equal(t, [][]byte{[]byte("leaf"), []byte("root!")}, got)
	for _, bad := range [][]byte{{0}, {0, 0, 0, 0}, {0, 0, 0, 9, 1}, {255, 255, 255, 255, 1}} {
		_, err := Certificates(bad)
		require.ErrorIs(t, err, ErrMalformed)
	}
}

func FuzzDecode(f *testing.F) {
	for _, p := range samples {
		f.Add(flat(Encode(&p)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var p, again Packet
		if Decode(Frame{Kind: FrameMQTT, Head: b}, &p) != nil {
			return
		}
		e := Encode(&p)
		if err := Decode(e, &again); err != nil {
			t.Fatalf("%x decodes, its encoding %x does not: %v", b, flat(e), err)
		}
		if !bytes.Equal(flat(e), flat(Encode(&again))) {
			t.Fatalf("encoding is not stable: %x", b)
		}
	})
}

func FuzzCertificates(f *testing.F) {
	f.Add(AppendCertificate(nil, []byte("leaf")))
	f.Fuzz(func(t *testing.T, b []byte) {
		certs, err := Certificates(b)
		if err != nil {
			return
		}
		var again []byte
		for _, c := range certs {
			again = AppendCertificate(again, c)
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

func BenchmarkEncodeDecodeBlock(b *testing.B) {
	payload := make([]byte, 4114)
	var p Packet
	b.ReportAllocs()
	for b.Loop() {
		f := EncodePublish("$aws/things/esp32-field-00001/streams/AFR_OTA-00000000-0000-0000-0000-000000000000/data/cbor", 0, false, false, 0, payload)
		if err := Decode(f, &p); err != nil {
			b.Fatal(err)
		}
	}
}
