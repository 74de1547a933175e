package network

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/sim/kernel"
)

func TestSendTakesLatencyBandwidthAndTurns(t *testing.T) {
	l := &Link{Latency: 25 * time.Millisecond}
	var d Direction
	// 4114 bytes and a TLS record fill three segments: (4114+22+3*40)*8 bits at 8 Mbit/s.
	require.Equal(t, 25*time.Millisecond+4256*time.Microsecond, d.Send(l, 8_000_000, 0, 4114))
	require.Equal(t, 25*time.Millisecond+2*4256*time.Microsecond, d.Send(l, 8_000_000, 0, 4114), "the second frame waits for the first")
	require.Equal(t, time.Second+25*time.Millisecond, d.Send(l, 0, time.Second, 4114))
}

func TestArrivalsKeepTheirOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &Link{
			Latency: time.Duration(rapid.Int64Range(0, 1e8).Draw(t, "latency")),
			Jitter:  time.Duration(rapid.Int64Range(0, 1e8).Draw(t, "jitter")),
			Loss:    rapid.Uint64Range(0, 300_000).Draw(t, "loss"),
		}
		bw := rapid.Uint64Range(0, 1e7).Draw(t, "bandwidth")
		d := Direction{Rand: kernel.Rand(rapid.Uint64().Draw(t, "seed"))}
		now, last := time.Duration(0), time.Duration(0)
		for range 50 {
			now += time.Duration(rapid.Int64Range(0, 1e8).Draw(t, "gap"))
			at := d.Send(l, bw, now, rapid.IntRange(1, 6000).Draw(t, "bytes"))
			if at < now+l.Floor() || at < last {
				t.Fatalf("sent at %v, floor %v, previous arrival %v: arrives at %v", now, l.Floor(), last, at)
			}
			last = at
		}
	})
}

func TestLossIsSeenAsDelay(t *testing.T) {
	l := &Link{Latency: 10 * time.Millisecond, Loss: 500_000}
	d := Direction{Rand: 7}
	late := 0
	for i := range 1000 {
		now := time.Duration(i) * time.Hour
		if d.Send(l, 0, now, 100)-now > 10*time.Millisecond {
			late++
		}
	}
	require.InDelta(t, 500, late, 60)
}

// authority is a root, a server and a device certificate.
type authority struct{ ca, server, device, key []byte }

func newAuthority(t *testing.T, name string) authority {
	key := func(what string) *ecdsa.PrivateKey {
		h := sha256.Sum256([]byte(name + what))
		k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), h[:])
		require.NoError(t, err)
		return k
	}
	from, to := epoch.AddDate(-1, 0, 0), epoch.AddDate(1, 0, 0)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	rk := key("root")
	ca, err := x509.CreateCertificate(nil, root, root, &rk.PublicKey, rk)
	require.NoError(t, err)
	sk, dk := key("server"), key("device")
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "broker"}, NotBefore: from, NotAfter: to, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	server, err := x509.CreateCertificate(nil, leaf, root, &sk.PublicKey, rk)
	require.NoError(t, err)
	leaf.ExtKeyUsage[0] = x509.ExtKeyUsageClientAuth
	dev, err := x509.CreateCertificate(nil, leaf, root, &dk.PublicKey, rk)
	require.NoError(t, err)
	der, err := x509.MarshalECPrivateKey(dk)
	require.NoError(t, err)
	return authority{ca: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca}), server: server, device: dev, key: der}
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const rtt = 50 * time.Millisecond

// dial drives a client to the point where it has sent its certificate.
func dial(t *testing.T, c *Client, a authority) {
	require.Empty(t, c.Do(device.NetOp{Kind: device.OpConnect, At: time.Second, ClientID: "dev", KeepAlive: 60, CleanSession: true, Certificate: a.device, Key: a.key, CA: a.ca}, rtt, nil))
	at, ok := c.NextWake()
	require.True(t, ok)
	require.Equal(t, time.Second+2*rtt, at)
	out := c.Wake(at, &Roots{}, nil)
	require.Len(t, out, 1)
	require.Equal(t, protocol.FrameTLSClient, out[0].Frame.Kind)
}

func TestClientConnectsSubscribesAndPings(t *testing.T) {
	a := newAuthority(t, "a")
	var c Client
	var roots Roots
	var p protocol.Packet
	now := 2 * time.Second
	receive := func(f protocol.Frame) []Output {
		return c.Receive(now, now, epoch, f, &roots, &p, nil)
	}
	dial(t, &c, a)
	out := receive(protocol.Frame{Kind: protocol.FrameTLSServer, Body: protocol.AppendCertificate(nil, a.server)})
	require.Len(t, out, 1)
	require.NoError(t, protocol.Decode(out[0].Frame, &p))
	require.Equal(t, protocol.Connect, p.Type)
	require.Equal(t, "dev", p.ClientID)
	out = receive(protocol.Encode(&protocol.Packet{Type: protocol.Connack}))
	require.Equal(t, device.Connected, out[0].Event.Kind)

	out = c.Do(device.NetOp{Kind: device.OpSubscribe, ID: 77, Topic: "a/b", QoS: 1, At: now}, rtt, nil)
	require.NoError(t, protocol.Decode(out[0].Frame, &p))
	id := p.PacketID
	out = receive(protocol.Encode(&protocol.Packet{Type: protocol.Suback, PacketID: id, Codes: []byte{1}}))
	require.Equal(t, device.Event{Kind: device.Acked, ID: 77}, out[0].Event)
	require.Empty(t, receive(protocol.Encode(&protocol.Packet{Type: protocol.Suback, PacketID: id, Codes: []byte{1}})), "an acknowledgement counts once")

	out = receive(protocol.EncodePublish("a/b", 1, false, false, 9, []byte("hi")))
	require.Len(t, out, 2, "PUBACK and the message")
	require.Equal(t, "hi", string(out[1].Event.Payload))

	at, _ := c.NextWake()
	require.Equal(t, now+time.Minute, at, "60 s after the last packet sent")
	out = c.Wake(at, &roots, nil)
	require.NoError(t, protocol.Decode(out[0].Frame, &p))
	require.Equal(t, protocol.Pingreq, p.Type)
	at, _ = c.NextWake()
	out = c.Wake(at, &roots, nil)
	require.Equal(t, device.Disconnected, out[1].Event.Kind, "no PINGRESP")
}

// A client may ping more often than its keep-alive asks for.
func TestClientPingsInItsOwnTime(t *testing.T) {
	a := newAuthority(t, "a")
	var c Client
	var roots Roots
	var p protocol.Packet
	require.Empty(t, c.Do(device.NetOp{Kind: device.OpConnect, ClientID: "dev", KeepAlive: 1200, Ping: 300 * time.Second, Certificate: a.device, Key: a.key, CA: a.ca}, rtt, nil))
	at, _ := c.NextWake()
	c.Wake(at, &roots, nil)
	out := c.Receive(at, at, epoch, protocol.Frame{Kind: protocol.FrameTLSServer, Body: protocol.AppendCertificate(nil, a.server)}, &roots, &p, nil)
	require.NoError(t, protocol.Decode(out[0].Frame, &p))
	require.EqualValues(t, 1200, p.KeepAlive)
	c.Receive(at, at, epoch, protocol.Encode(&protocol.Packet{Type: protocol.Connack}), &roots, &p, nil)
	ping, _ := c.NextWake()
	require.Equal(t, at+300*time.Second, ping)
}

func TestClientRefusesAStrangersServer(t *testing.T) {
	a, b := newAuthority(t, "a"), newAuthority(t, "b")
	var c Client
	var roots Roots
	var p protocol.Packet
	dial(t, &c, a)
	out := c.Receive(2*time.Second, 0, epoch, protocol.Frame{Kind: protocol.FrameTLSServer, Body: protocol.AppendCertificate(nil, b.server)}, &roots, &p, nil)
	require.Equal(t, device.ConnectFailed, out[1].Event.Kind)

	dial(t, &c, a)
	out = c.Receive(2*time.Second, 0, epoch.AddDate(-50, 0, 0), protocol.Frame{Kind: protocol.FrameTLSServer, Body: protocol.AppendCertificate(nil, a.server)}, &roots, &p, nil)
	require.Equal(t, device.ConnectFailed, out[1].Event.Kind, "a clock of 1976")
}

func TestClientNeedsItsOwnKey(t *testing.T) {
	a, b := newAuthority(t, "a"), newAuthority(t, "b")
	var c Client
	c.Do(device.NetOp{Kind: device.OpConnect, Certificate: a.device, Key: b.key, CA: a.ca}, rtt, nil)
	out := c.Wake(2*rtt, &Roots{}, nil)
	require.Equal(t, device.ConnectFailed, out[0].Event.Kind)
}

func FuzzReceive(f *testing.F) {
	f.Add(byte(protocol.FrameMQTT), []byte{0x20, 2, 0, 0})
	f.Add(byte(protocol.FrameTLSServer), []byte{0, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		for _, st := range []clientState{offline, dialing, handshaking, connecting, online} {
			c := Client{state: st, keepAlive: time.Minute, op: &device.NetOp{}}
			var roots Roots
			var p protocol.Packet
			c.Receive(time.Second, 0, epoch, protocol.Frame{Kind: protocol.FrameKind(kind), Head: b}, &roots, &p, nil)
			c.Receive(time.Second, 0, epoch, protocol.Frame{Kind: protocol.FrameKind(kind), Body: b}, &roots, &p, nil)
		}
	})
}
