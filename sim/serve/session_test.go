package serve

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/require"
)

// killed kills a server and starts it again.
func killed(t *testing.T, p *serverProcess, dir string) {
	require.NoError(t, p.cmd.Process.Kill())
	_ = p.cmd.Wait()
	p.cmd, p.ready = process(t, dir)
}

// returning connects a client that keeps its session, and tells whether there was one.
func returning(t *testing.T, r Ready, id string, with deviceIdentity) (*device, bool) {
	d := &device{heard: make(chan paho.Message, 1000), lost: make(chan error, 1)}
	o := options(t, r, id, with).SetCleanSession(false)
	o.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { d.heard <- m })
	o.SetConnectionLostHandler(func(_ paho.Client, err error) { d.lost <- err })
	d.Client = paho.NewClient(o)
	token := d.Connect()
	done(t, token)
	return d, token.(*paho.ConnectToken).SessionPresent()
}

// A session that is kept survives kill -9: its filters, the messages that wait, and
// that those that were acknowledged do not.
func TestSessionsSurvive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := &serverProcess{}
	p.cmd, p.ready = process(t, dir)
	defer func() { _ = p.cmd.Process.Kill(); _ = p.cmd.Wait() }()
	o := newOperator(t, p.ready)
	who := o.thing("lamp")
	d, present := returning(t, p.ready, "lamp", who)
	require.False(t, present)
	done(t, d.Subscribe("news/#", 1, nil))
	done(t, d.Subscribe("gone", 1, nil))
	done(t, d.Subscribe("$aws/things/lamp/jobs/notify-next", 1, nil))
	done(t, d.Unsubscribe("gone"))
	killed(t, p, dir) // while it is connected

	// The session is there, although nobody has come back yet.
	o = newOperator(t, p.ready)
	writer := connect(t, options(t, p.ready, "writer", who))
	for i := range 5 {
		done(t, writer.Publish("news/"+strconv.Itoa(i), 1, false, strconv.Itoa(i)))
	}
	done(t, writer.Publish("news/lost", 0, false, "nobody keeps QoS 0"))
	done(t, writer.Publish("gone", 1, false, "unsubscribed"))
	o.job("j1", "lamp")
	killed(t, p, dir)

	d, present = returning(t, p.ready, "lamp", who)
	require.True(t, present)
	for i := range 5 {
		require.Equal(t, strconv.Itoa(i), string(d.hear(t, "news/"+strconv.Itoa(i))))
	}
	require.Contains(t, string(d.hear(t, "$aws/things/lamp/jobs/notify-next")), `"jobId":"j1"`)
	done(t, d.Publish("news/own", 1, false, "live")) // after the acknowledgements
	require.Equal(t, "live", string(d.hear(t, "news/own")))
	done(t, d.Publish("barrier", 1, true, "x")) // and this waits until all of them last
	killed(t, p, dir)

	d, present = returning(t, p.ready, "lamp", who)
	require.True(t, present)
	time.Sleep(300 * time.Millisecond)
	require.Empty(t, d.heard, "acknowledged messages come again")
	d.Disconnect(100)

	// A clean session ends the one before, for good.
	d = connect(t, options(t, p.ready, "lamp", who))
	d.Disconnect(100)
	time.Sleep(1100 * time.Millisecond) // one CONNECT a second, were there quotas
	killed(t, p, dir)
	d, present = returning(t, p.ready, "lamp", who)
	require.False(t, present)
	d.Disconnect(100)
}

// v5 is as much of an MQTT 5 client as the tests need.
type v5 struct {
	t testing.TB
	net.Conn
}

// dialV5 opens TLS.
func dialV5(t testing.TB, r Ready, with deviceIdentity) *v5 {
	ca, err := os.ReadFile(r.CAFile)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(ca))
	conn, err := tls.Dial("tcp", r.MQTTS, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{with.tls}, MinVersion: tls.VersionTLS12})
	require.NoError(t, err)
	return &v5{t, conn}
}

// newV5 connects, with properties.
func newV5(t testing.TB, r Ready, id string, with deviceIdentity, clean bool, pr packets.Properties) (*v5, packets.Packet) {
	c := dialV5(t, r, with)
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect}, Properties: pr,
		Connect: packets.ConnectParams{ProtocolName: []byte("MQTT"), ClientIdentifier: id, Keepalive: 60, Clean: clean}})
	return c, c.next(packets.Connack)
}

func (c *v5) send(pk packets.Packet) {
	var b bytes.Buffer
	pk.ProtocolVersion = 5
	pk.Mods.AllowResponseInfo = true
	var err error
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectEncode(&b)
	case packets.Publish:
		err = pk.PublishEncode(&b)
	case packets.Subscribe:
		pk.FixedHeader.Qos = 1
		err = pk.SubscribeEncode(&b)
	case packets.Puback:
		err = pk.PubackEncode(&b)
	case packets.Disconnect:
		err = pk.DisconnectEncode(&b)
	}
	require.NoError(c.t, err)
	_, err = c.Write(b.Bytes())
	require.NoError(c.t, err)
}

// next is the next packet, which is of a type.
func (c *v5) next(want byte) packets.Packet {
	require.NoError(c.t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	var first [1]byte
	_, err := io.ReadFull(c, first[:])
	require.NoError(c.t, err)
	pk := packets.Packet{ProtocolVersion: 5}
	require.NoError(c.t, pk.FixedHeader.Decode(first[0]))
	n, shift := 0, 0
	for {
		_, err = io.ReadFull(c, first[:])
		require.NoError(c.t, err)
		n |= int(first[0]&0x7f) << shift
		if shift += 7; first[0] < 0x80 {
			break
		}
	}
	pk.FixedHeader.Remaining = n
	body := make([]byte, n)
	_, err = io.ReadFull(c, body)
	require.NoError(c.t, err)
	require.Equal(c.t, want, pk.FixedHeader.Type)
	switch want {
	case packets.Connack:
		err = pk.ConnackDecode(body)
	case packets.Publish:
		err = pk.PublishDecode(body)
	case packets.Suback:
		err = pk.SubackDecode(body)
	case packets.Puback:
		err = pk.PubackDecode(body)
	case packets.Disconnect:
		err = pk.DisconnectDecode(body)
	}
	require.NoError(c.t, err)
	return pk
}

// over waits for the end of the connection.
func (c *v5) over() {
	require.NoError(c.t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err := io.Copy(io.Discard, c)
	require.NoError(c.t, err)
}

// Retained messages survive kill -9 with their properties of MQTT 5.
func TestRetainedSurvive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := &serverProcess{}
	p.cmd, p.ready = process(t, dir)
	defer func() { _ = p.cmd.Process.Kill(); _ = p.cmd.Wait() }()
	who := newOperator(t, p.ready).thing("lamp")
	c, _ := newV5(t, p.ready, "lamp", who, true, packets.Properties{})
	properties := packets.Properties{ContentType: "text/plain", PayloadFormat: 1, PayloadFormatFlag: true, ResponseTopic: "answers", CorrelationData: []byte{1, 2},
		MessageExpiryInterval: 600, User: []packets.UserProperty{{Key: "a", Val: "b"}, {Key: "a", Val: "c"}}}
	for i, topic := range []string{"state/a", "state/b", "state/b"} {
		pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: 1, Retain: true}, TopicName: topic, PacketID: uint16(i + 1), Payload: []byte("on"), Properties: properties}
		if i == 2 {
			pk.Payload = nil // which removes it
		}
		c.send(pk)
		require.EqualValues(t, i+1, c.next(packets.Puback).PacketID)
	}
	killed(t, p, dir)

	c, _ = newV5(t, p.ready, "lamp", who, true, packets.Properties{})
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 1, Filters: packets.Subscriptions{{Filter: "state/+", Qos: 1}, {Filter: "state/b", Qos: 1}, {Filter: "state/a", Qos: 1}}})
	c.next(packets.Suback)
	got := c.next(packets.Publish) // the wildcard gets none, and b is removed
	require.Equal(t, "state/a", got.TopicName)
	require.Equal(t, "on", string(got.Payload))
	require.True(t, got.FixedHeader.Retain)
	require.InDelta(t, 600, got.Properties.MessageExpiryInterval, 30)
	got.Properties.MessageExpiryInterval = 600
	require.Equal(t, properties, got.Properties)
	require.NoError(t, c.Close())
}

// The session of an MQTT 5 client lasts as long as it has asked for, within the quota.
func TestSessionExpiry(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, func(c *Config) { c.Data, c.Quotas = dir, "unlimited" })
	who := newOperator(t, s.Ready()).thing("lamp")
	connect := func(clean bool, seconds uint32) (*v5, packets.Packet) {
		return newV5(t, s.Ready(), "lamp", who, clean, packets.Properties{SessionExpiryInterval: seconds, SessionExpiryIntervalFlag: true})
	}
	c, ack := connect(true, 7200)
	require.False(t, ack.SessionPresent)
	require.EqualValues(t, 3600, ack.Properties.SessionExpiryInterval)
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}, Properties: packets.Properties{SessionExpiryInterval: 2, SessionExpiryIntervalFlag: true}})
	c.over()
	c, ack = connect(false, 2)
	require.True(t, ack.SessionPresent)
	require.NoError(t, c.Close())
	require.Eventually(t, func() bool { return s.broker.Sessions() == 0 }, 10*time.Second, 20*time.Millisecond)
	c, ack = connect(false, 2)
	require.False(t, ack.SessionPresent)
	require.NoError(t, c.Close())
	require.NoError(t, s.Close())

	time.Sleep(2100 * time.Millisecond) // it expires while the server is down
	s = start(t, func(c *Config) { c.Data = dir })
	require.Zero(t, s.broker.Sessions())
	require.NoError(t, s.Close())
	http.DefaultClient.CloseIdleConnections()
}
