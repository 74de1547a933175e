package cloud

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/ota"
	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/cloud/quota"
	"github.com/otasim/otasim/cloud/registry"
	"github.com/otasim/otasim/cloud/signer"
	"github.com/otasim/otasim/cloud/streams"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const role = "arn:aws:iam::123456789012:role/ota-service"

// world is a cloud with a virtual clock and hand-made clients.
type world struct {
	t     testing.TB
	c     *Cloud
	now   time.Time
	conns ConnID
	open  map[ConnID]*client
	cert  map[string][]byte // by thing
	other []Out             // of connections nobody holds
}

// client is one hand-made MQTT client: it writes frames and keeps what came.
type client struct {
	w      *world
	id     ConnID
	in     []protocol.Packet
	tls    protocol.Frame
	closed string // reason
}

func newWorld(t testing.TB, change func(*Config)) *world {
	cfg := Config{Region: "eu-central-1", Seed: [32]byte{1}, Epoch: epoch}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	require.NoError(t, err)
	w := &world{t: t, c: c, now: epoch, open: map[ConnID]*client{}, cert: map[string][]byte{}}
	_, err = c.CreatePolicy(w.now, "ota", c.OTAPolicy())
	require.NoError(t, err)
	return w
}

func unlimited(cfg *Config) { cfg.Quotas, _ = quota.Named("unlimited") }

// thing registers a thing with an active certificate and the OTA policy.
func (w *world) thing(name string, groups ...string) {
	_, err := w.c.CreateThing(w.now, name, "", nil)
	require.NoError(w.t, err)
	der, _, err := w.c.PKI().Device(name)
	require.NoError(w.t, err)
	w.cert[name] = der
	cert, err := w.c.RegisterCertificateWithoutCA(w.now, der, "")
	require.NoError(w.t, err)
	require.NoError(w.t, w.c.AttachThingPrincipal(name, cert.CertificateARN))
	require.NoError(w.t, w.c.AttachPolicy(w.now, "ota", cert.CertificateARN))
	for _, g := range groups {
		if _, err := w.c.ListThingsInThingGroup(g, false); err != nil {
			_, err := w.c.CreateThingGroup(w.now, registry.CreateThingGroupRequest{ThingGroupName: g})
			require.NoError(w.t, err)
		}
		require.NoError(w.t, w.c.AddThingToThingGroup(w.now, name, g))
	}
}

// firmware stores an image and makes a signing profile; it returns the request
// of an update to the given targets.
func (w *world) firmware(id string, image []byte, targets ...string) ota.CreateRequest {
	require.NoError(w.t, w.c.CreateBucket(w.now, "firmware"))
	version, err := w.c.PutObject(w.now, "firmware", "app.bin", image)
	require.NoError(w.t, err)
	der, key, err := w.c.PKI().CodeSigner("firmware signer", nil)
	require.NoError(w.t, err)
	arn, err := w.c.ImportCertificate(der, key)
	require.NoError(w.t, err)
	_, err = w.c.PutSigningProfile(signer.Profile{ProfileName: "esp32", PlatformID: "AmazonFreeRTOS-Default",
		SigningMaterial: signer.Material{CertificateARN: arn}, SigningParameters: map[string]string{signer.CertName: "/certs/signer.pem"}})
	require.NoError(w.t, err)
	return ota.CreateRequest{OTAUpdateID: id, Targets: targets, RoleARN: role, Files: []ota.File{{FileName: "/device/app.bin",
		FileLocation: &ota.FileLocation{S3Location: &streams.Location{Bucket: "firmware", Key: "app.bin", Version: version}},
		CodeSigning: &ota.CodeSigning{StartSigningJobParameter: &ota.StartSigningJobParameter{SigningProfileName: "esp32",
			Destination: &ota.Destination{S3Destination: &ota.S3Destination{Bucket: "firmware", Prefix: "signed/"}}}}}}}
}

// pump takes the outbox apart.
func (w *world) pump() {
	for _, o := range w.c.Outbox() {
		k := w.open[o.Conn]
		if k == nil {
			w.other = append(w.other, o)
			continue
		}
		switch o.Frame.Kind {
		case protocol.FrameMQTT:
			var p protocol.Packet
			require.NoError(w.t, protocol.Decode(o.Frame, &p))
			k.in = append(k.in, p)
		case protocol.FrameTLSServer, protocol.FrameTLSAlert:
			k.tls = o.Frame
		}
		if o.Close {
			k.closed = string(o.Reason)
			delete(w.open, o.Conn)
		}
	}
}

// pass lets virtual time go by, doing what is due at its time.
func (w *world) pass(d time.Duration) {
	until := w.now.Add(d)
	for {
		next, ok := w.c.NextWake()
		if !ok || next.After(until) {
			break
		}
		if next.After(w.now) {
			w.now = next
		}
		w.c.Wake(w.now)
		w.pump()
	}
	w.now = until
}

func (w *world) dial(der []byte) *client {
	w.conns++
	k := &client{w: w, id: w.conns}
	w.open[k.id] = k
	w.c.Open(w.now, k.id)
	k.frame(protocol.Frame{Kind: protocol.FrameTLSClient, Body: protocol.AppendCertificate(nil, der)})
	return k
}

// connect dials and sends CONNECT as the thing of that name.
func (w *world) connect(name string, change func(*protocol.Packet)) *client {
	k := w.dial(w.cert[name])
	p := &protocol.Packet{Type: protocol.Connect, ClientID: name, KeepAlive: 60, CleanSession: true}
	if change != nil {
		change(p)
	}
	k.send(p)
	return k
}

func (k *client) frame(f protocol.Frame) {
	k.w.c.Receive(k.w.now, k.id, f)
	k.w.pump()
}

func (k *client) send(p *protocol.Packet) { k.frame(protocol.Encode(p)) }

func (k *client) subscribe(filters ...string) {
	p := &protocol.Packet{Type: protocol.Subscribe, PacketID: 1}
	for _, f := range filters {
		qos := byte(0)
		if strings.HasSuffix(f, "@1") {
			f, qos = f[:len(f)-2], 1
		}
		p.Filters = append(p.Filters, protocol.Filter{Topic: f, QoS: qos})
	}
	k.send(p)
}

func (k *client) publish(topic, payload string) {
	k.send(&protocol.Packet{Type: protocol.Publish, Topic: topic, Payload: []byte(payload)})
}

// take returns what has arrived and forgets it.
func (k *client) take() []protocol.Packet {
	in := k.in
	k.in = nil
	return in
}

// next takes the only packet that has arrived, of the given type.
func (k *client) next(kind byte) protocol.Packet {
	k.w.t.Helper()
	in := k.take()
	require.Len(k.w.t, in, 1, "%v", in)
	require.Equal(k.w.t, protocol.PacketName(kind), protocol.PacketName(in[0].Type))
	return in[0]
}

func show(in []protocol.Packet) (out []string) {
	for _, p := range in {
		switch p.Type {
		case protocol.Publish:
			out = append(out, fmt.Sprintf("PUBLISH q%d %s %s", p.QoS, p.Topic, p.Payload))
		case protocol.Connack:
			out = append(out, fmt.Sprintf("CONNACK %d present=%v", p.ReturnCode, p.SessionPresent))
		case protocol.Suback:
			out = append(out, fmt.Sprintf("SUBACK %v", p.Codes))
		default:
			out = append(out, protocol.PacketName(p.Type))
		}
	}
	return out
}

// getBlocks asks for the blocks of a bitmap in the words of the C agent.
func getBlocks(bitmap []byte, n byte) string {
	b := []byte("\xa6\x61c\x63rdy\x61f\x00\x61l\x19\x10\x00\x61o\x00\x61b")
	if len(bitmap) < 24 {
		b = append(b, 0x40|byte(len(bitmap)))
	} else {
		b = append(b, 0x58, byte(len(bitmap)))
	}
	b = append(append(b, bitmap...), 0x61, 'n', n)
	return string(b)
}

type block struct {
	Token string `cbor:"c"`
	File  int    `cbor:"f"`
	Size  int    `cbor:"l"`
	Index int    `cbor:"i"`
	Data  []byte `cbor:"p"`
}

func decodeBlock(t testing.TB, payload []byte) block {
	var b block
	require.NoError(t, cbor.Unmarshal(payload, &b))
	return b
}

func image(n int) []byte {
	out := make([]byte, 0, n+32)
	for seed := sha256.Sum256([]byte("image")); len(out) < n; seed = sha256.Sum256(seed[:]) {
		out = append(out, seed[:]...)
	}
	return out[:n]
}

func arnOf(w *world, kind, name string) string {
	return aws.Realm{Region: "eu-central-1", Account: "123456789012"}.ARN(kind, name)
}
