package network

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/device"
)

type clientState uint8

const (
	offline clientState = iota
	dialing             // TCP three-way handshake and the first TLS flights
	handshaking
	connecting // CONNECT sent
	online
)

// pingTimeout is coreMQTT's MQTT_PINGRESP_TIMEOUT_MS as the demos configure it.
const pingTimeout = 5 * time.Second

// connectTimeout bounds TCP, TLS and CONNACK together.
const connectTimeout = 30 * time.Second

// handshakeOverhead is what a mutual TLS 1.2 handshake with ECDSA P-256 puts on
// the wire in each direction besides the certificate chains: hello, key exchange,
// CertificateVerify, ChangeCipherSpec and Finished messages.
const handshakeOverhead = 480

// A Client is the MQTT side of one device: it turns network operations into
// frames and frames into device events. It is a value; all times are given.
type Client struct {
	Gen       uint32 // raised by every connection attempt; frames of older ones are stale
	state     clientState
	nextID    uint16
	keepAlive time.Duration
	lastSent  time.Duration
	due       time.Duration // dialing: send the TLS flight; connecting: give up; online: ping or give up
	pinging   bool
	op        *device.NetOp // the OpConnect being executed, nil once it is
	inflight  []ack
	topic     string // of the last PUBLISH received, to be the next one's
}

type ack struct{ packet, op uint16 }

// An Output is a frame to put on the uplink at a time, or an event for the device.
type Output struct {
	At     time.Duration
	Frame  protocol.Frame
	Bytes  int // on the wire, if more than the frame's
	Event  device.Event
	IsPost bool // Frame is meant, not Event
}

func (c *Client) send(out []Output, at time.Duration, f protocol.Frame) []Output {
	c.lastSent = at
	if c.state == online {
		c.due = at + c.keepAlive
	}
	return append(out, Output{At: at, Frame: f, IsPost: true})
}

// Do executes one operation of the device and appends what comes of it. rtt is
// the link's round trip without queueing.
func (c *Client) Do(op device.NetOp, rtt time.Duration, out []Output) []Output {
	switch op.Kind {
	case device.OpConnect:
		c.reset()
		c.Gen++
		connect := op // only this one outlives the call
		c.state, c.op = dialing, &connect
		// One round trip for SYN and SYN-ACK, one for ClientHello and the server's flight.
		c.due = op.At + 2*rtt
		return out
	case device.OpDisconnect:
		if c.state == online {
			out = c.send(out, op.At, protocol.Encode(&protocol.Packet{Type: protocol.Disconnect}))
		}
		if c.state > dialing {
			out = c.send(out, op.At, protocol.Frame{Kind: protocol.FrameClose})
		}
		c.reset()
		return out
	}
	if c.state != online {
		return out // a call on a dead socket; the firmware learns it from Disconnected
	}
	var id uint16
	if op.Kind != device.OpPublish || op.QoS > 0 {
		id = c.packetID()
		c.inflight = append(c.inflight, ack{id, op.ID})
	}
	switch op.Kind {
	case device.OpSubscribe:
		return c.send(out, op.At, protocol.Encode(&protocol.Packet{Type: protocol.Subscribe, PacketID: id, Filters: []protocol.Filter{{Topic: op.Topic, QoS: op.QoS}}}))
	case device.OpUnsubscribe:
		return c.send(out, op.At, protocol.Encode(&protocol.Packet{Type: protocol.Unsubscribe, PacketID: id, Filters: []protocol.Filter{{Topic: op.Topic}}}))
	default:
		return c.send(out, op.At, protocol.EncodePublish(op.Topic, op.QoS, false, false, id, op.Payload))
	}
}

func (c *Client) packetID() uint16 {
	for {
		c.nextID++
		if c.nextID == 0 {
			continue
		}
		taken := false
		for _, a := range c.inflight {
			taken = taken || a.packet == c.nextID
		}
		if !taken {
			return c.nextID
		}
	}
}

// reset forgets the connection: the device lost power, or gave it up.
func (c *Client) reset() {
	*c = Client{Gen: c.Gen}
}

// PowerOff drops the connection without a byte on the wire, as a reset does.
func (c *Client) PowerOff() { c.reset() }

// Alive reports whether there is a connection, or an attempt at one.
func (c *Client) Alive() bool { return c.state != offline }

// Online reports whether CONNACK has been received.
func (c *Client) Online() bool { return c.state == online }

// Dialing reports whether an attempt to connect has not yet sent its first flight.
func (c *Client) Dialing() bool { return c.state == dialing }

// Unanswered lets an attempt to connect go on without an answer: it gives up when
// its time is over.
func (c *Client) Unanswered(now time.Duration) {
	c.state, c.due = handshaking, now+connectTimeout
}

// Break ends the connection, or the attempt at one, as the network does; told says
// whether the other end learns of it, too.
func (c *Client) Break(now time.Duration, why string, told bool, out []Output) []Output {
	if c.state == offline {
		return out
	}
	if told && c.state > dialing {
		out = append(out, Output{At: now, Frame: protocol.Frame{Kind: protocol.FrameClose}, IsPost: true})
	}
	return c.fail(out, now, why)
}

// NextWake is when the client must be woken; ok is false when it waits for nothing.
func (c *Client) NextWake() (at time.Duration, ok bool) { return c.due, c.state != offline }

// Wake handles the client's own time: sending the TLS flight after the dial,
// keep-alive pings, and giving up.
func (c *Client) Wake(now time.Duration, roots *Roots, out []Output) []Output {
	if c.state == offline || now < c.due {
		return out
	}
	switch c.state {
	case dialing:
		if err := roots.identity(c.op.Certificate, c.op.Key); err != nil {
			return c.fail(out, now, err.Error())
		}
		c.state = handshaking
		c.due = now + connectTimeout
		chain := protocol.AppendCertificate(nil, c.op.Certificate)
		out = append(out, Output{At: now, Frame: protocol.Frame{Kind: protocol.FrameTLSClient, Body: chain}, Bytes: len(chain) + handshakeOverhead, IsPost: true})
		return out
	case handshaking, connecting:
		out = append(out, Output{At: now, Frame: protocol.Frame{Kind: protocol.FrameClose}, IsPost: true})
		return c.fail(out, now, "timeout")
	}
	if c.pinging {
		return c.fail(append(out, Output{At: now, Frame: protocol.Frame{Kind: protocol.FrameClose}, IsPost: true}), now, "no PINGRESP")
	}
	out = c.send(out, now, protocol.Encode(&protocol.Packet{Type: protocol.Pingreq}))
	c.pinging, c.due = true, now+pingTimeout
	return out
}

func (c *Client) fail(out []Output, now time.Duration, why string) []Output {
	kind := device.ConnectFailed
	if c.state == online {
		kind = device.Disconnected
	}
	c.reset()
	return append(out, Output{At: now, Event: device.Event{Kind: kind, Err: why}})
}

// Receive handles a frame of connection Gen. roots remembers verified chains.
func (c *Client) Receive(now, wall time.Duration, epoch time.Time, f protocol.Frame, roots *Roots, p *protocol.Packet, out []Output) []Output {
	switch {
	case f.Kind == protocol.FrameClose:
		if c.state == offline {
			return out
		}
		return c.fail(out, now, "connection closed by the broker")
	case f.Kind == protocol.FrameTLSAlert && c.state == handshaking:
		code := -1
		if len(f.Body) == 1 {
			code = int(f.Body[0])
		}
		return c.fail(out, now, fmt.Sprintf("TLS alert %d", code))
	case f.Kind == protocol.FrameTLSServer && c.state == handshaking:
		if err := roots.Verify(c.op.CA, f.Body, epoch.Add(wall)); err != nil {
			return c.fail(append(out, Output{At: now, Frame: protocol.Frame{Kind: protocol.FrameClose}, IsPost: true}), now, err.Error())
		}
		c.state = connecting
		c.keepAlive = time.Duration(c.op.KeepAlive) * time.Second
		if c.op.Ping > 0 {
			c.keepAlive = c.op.Ping
		}
		return c.send(out, now, protocol.Encode(&protocol.Packet{Type: protocol.Connect, ClientID: c.op.ClientID, CleanSession: c.op.CleanSession, KeepAlive: c.op.KeepAlive}))
	case f.Kind != protocol.FrameMQTT || c.state < connecting:
		return out
	}
	p.Topic = c.topic
	if err := protocol.Decode(f, p); err != nil {
		return c.fail(append(out, Output{At: now, Frame: protocol.Frame{Kind: protocol.FrameClose}, IsPost: true}), now, err.Error())
	}
	if c.state == connecting {
		if p.Type != protocol.Connack || p.ReturnCode != 0 {
			return c.fail(append(out, Output{At: now, Frame: protocol.Frame{Kind: protocol.FrameClose}, IsPost: true}), now, fmt.Sprintf("CONNACK return code %d", p.ReturnCode))
		}
		c.state = online
		c.due = now + c.keepAlive
		c.op = nil
		return append(out, Output{At: now, Event: device.Event{Kind: device.Connected}})
	}
	switch p.Type {
	case protocol.Publish:
		c.topic = p.Topic
		if p.QoS > 0 {
			out = c.send(out, now, protocol.Encode(&protocol.Packet{Type: protocol.Puback, PacketID: p.PacketID}))
		}
		return append(out, Output{At: now, Event: device.Event{Kind: device.Message, Topic: p.Topic, Payload: p.Payload}})
	case protocol.Puback, protocol.Suback, protocol.Unsuback:
		for i, a := range c.inflight {
			if a.packet != p.PacketID {
				continue
			}
			c.inflight = append(c.inflight[:i], c.inflight[i+1:]...)
			why := ""
			if p.Type == protocol.Suback && len(p.Codes) > 0 && p.Codes[0] == protocol.SubackFailure {
				why = "subscription refused"
			}
			return append(out, Output{At: now, Event: device.Event{Kind: device.Acked, ID: a.op, Err: why}})
		}
	case protocol.Pingresp:
		c.Pong()
	}
	return out
}

// Clone returns an independent copy.
func (c *Client) Clone() Client {
	d := *c
	d.inflight = append([]ack(nil), c.inflight...)
	return d
}

// Roots verifies server chains against a root certificate from a device's flash.
// Verdicts are remembered by content, never by name, within one day of virtual
// time. A Roots belongs to one goroutine.
type Roots struct {
	verdicts map[rootKey]error
	own      map[[sha256.Size]byte]struct{} // certificates and keys that belong together
}

type rootKey struct {
	ca, chain string
	day       int64
}

// maxVerdicts bounds the memory that hostile chains can take.
const maxVerdicts = 4096

// maxIdentities bounds what is remembered of devices' own pairs.
const maxIdentities = 1 << 20

// Verify checks that chain, leaf first, leads to the root in ca (PEM or DER) at
// that time.
func (r *Roots) Verify(ca, chain []byte, at time.Time) error {
	key := rootKey{string(ca), string(chain), at.Unix() / 86400}
	if err, ok := r.verdicts[key]; ok {
		return err
	}
	err := verifyServer(ca, chain, at)
	if r.verdicts == nil || len(r.verdicts) >= maxVerdicts {
		r.verdicts = map[rootKey]error{}
	}
	r.verdicts[key] = err
	return err
}

// identity is checkIdentity, with good pairs remembered by content.
func (r *Roots) identity(cert, key []byte) error {
	c, k := sha256.Sum256(cert), sha256.Sum256(key)
	sum := sha256.Sum256(append(c[:], k[:]...))
	if _, ok := r.own[sum]; ok {
		return nil
	}
	err := checkIdentity(cert, key)
	if err == nil {
		if r.own == nil || len(r.own) >= maxIdentities {
			r.own = map[[sha256.Size]byte]struct{}{}
		}
		r.own[sum] = struct{}{}
	}
	return err
}

func verifyServer(ca, chain []byte, at time.Time) error {
	root, err := x509.ParseCertificate(der(ca))
	if err != nil {
		return fmt.Errorf("root certificate in flash: %w", err)
	}
	certs, err := protocol.Certificates(chain)
	if err != nil || len(certs) == 0 {
		return errors.New("server sent no certificate")
	}
	leaf, err := x509.ParseCertificate(certs[0])
	if err != nil {
		return fmt.Errorf("server certificate: %w", err)
	}
	opts := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	opts.Roots.AddCert(root)
	for _, c := range certs[1:] {
		if ic, err := x509.ParseCertificate(c); err == nil {
			opts.Intermediates.AddCert(ic)
		}
	}
	_, err = leaf.Verify(opts)
	if invalid := (x509.CertificateInvalidError{}); errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		err = errors.New("x509: certificate has expired or is not yet valid") // without the time of whoever asked first that day
	}
	if err != nil {
		return fmt.Errorf("server certificate: %w", err)
	}
	return nil
}

// der unwraps PEM if it is PEM.
func der(b []byte) []byte {
	if block, _ := pem.Decode(bytes.TrimRight(b, "\x00")); block != nil {
		return block.Bytes
	}
	return b
}

// checkIdentity is what the TLS stack does before it offers a client
// certificate: the private key must belong to it.
func checkIdentity(cert, key []byte) error {
	c, err := x509.ParseCertificate(der(cert))
	if err != nil {
		return fmt.Errorf("device certificate in flash: %w", err)
	}
	raw := der(key)
	var priv crypto.PrivateKey
	if priv, err = x509.ParseECPrivateKey(raw); err != nil {
		if priv, err = x509.ParsePKCS8PrivateKey(raw); err != nil {
			return fmt.Errorf("device key in flash: %w", err)
		}
	}
	k, ok := priv.(*ecdsa.PrivateKey)
	if !ok || !k.PublicKey.Equal(c.PublicKey) {
		return errors.New("device key in flash does not belong to its certificate")
	}
	return nil
}
