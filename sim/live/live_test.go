package live

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/broker"
	"github.com/otasim/otasim/cloud/broker/rules"
	"github.com/otasim/otasim/cloud/pki"
	"github.com/otasim/otasim/cloud/streams"
	"github.com/otasim/otasim/device"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// patience is how long a test waits for what must come, in wall time.
const patience = 20 * time.Second

// bench is a cloud behind its broker and its bucket.
type bench struct {
	*testing.T
	cloud  *cloud.Cloud
	clock  *Clock
	broker *Broker
	talks  chan struct{}
}

func newBench(t *testing.T) *bench {
	b := &bench{T: t, clock: NewClock(), talks: make(chan struct{}, 100)}
	bucket := &Bucket{}
	var err error
	b.cloud, err = cloud.New(cloud.Config{Seed: [32]byte{1}, Epoch: epoch, External: true, ServeS3: bucket.Serve,
		Switches: cloud.Switches{Broker: broker.Switches{ConnectCode: rules.NotAuthorized}}})
	require.NoError(t, err)
	_, err = b.cloud.CreatePolicy(epoch, "ota", b.cloud.OTAPolicy())
	require.NoError(t, err)
	b.broker, err = NewBroker(b.cloud, b.clock, epoch, func() { b.talks <- struct{}{} })
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, b.broker.Close())
		bucket.Close()
		b.clock.Close()
	})
	return b
}

// identity is what a device brings to a connection.
type identity struct {
	name           string
	cert, key, ca  []byte
	certificateARN string
	certificateID  string
}

// thing registers a thing with an active certificate and the OTA policy.
func (b *bench) thing(name string) identity {
	id := b.stranger(b.cloud.PKI(), name)
	b.broker.Do(func(now time.Duration) {
		at := epoch.Add(now)
		_, err := b.cloud.CreateThing(at, name, "", nil)
		require.NoError(b, err)
		r, err := b.cloud.RegisterCertificateWithoutCA(at, id.cert, "")
		require.NoError(b, err)
		require.NoError(b, b.cloud.AttachThingPrincipal(name, r.CertificateARN))
		require.NoError(b, b.cloud.AttachPolicy(at, "ota", r.CertificateARN))
		id.certificateARN, id.certificateID = r.CertificateARN, r.CertificateID
	})
	return id
}

// stranger has a certificate of an authority that nobody has registered.
func (b *bench) stranger(a *pki.Authority, name string) identity {
	der, key, err := a.Device(name)
	require.NoError(b, err)
	raw, err := x509.MarshalECPrivateKey(key)
	require.NoError(b, err)
	return identity{name: name, cert: der, key: raw, ca: []byte(pki.PEM(b.cloud.PKI().Certificate().Raw))}
}

// station is a device's client with what it was told.
type station struct {
	b      *bench
	id     identity
	host   string
	client *Client
	mu     sync.Mutex
	events []heard
}

type heard struct {
	connection uint32
	device.Event
}

func (b *bench) station(id identity) *station {
	s := &station{b: b, id: id, host: b.cloud.Host()}
	b.Cleanup(func() { s.client.Close() })
	return s
}

func (s *station) connect() *station {
	if s.client == nil {
		s.client = NewClient(Endpoint{Address: s.b.broker.Address(), Host: s.host, Epoch: epoch, Clock: s.b.clock}, func(c uint32, ev device.Event) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.events = append(s.events, heard{c, ev})
		})
	}
	s.client.Do(device.NetOp{Kind: device.OpConnect, ClientID: s.id.name, Certificate: s.id.cert, Key: s.id.key, CA: s.id.ca, KeepAlive: 60, CleanSession: true})
	return s
}

func (s *station) online() *station {
	s.connect()
	require.Equal(s.b, device.Connected, s.next().Kind)
	return s
}

// next waits for the next event.
func (s *station) next() device.Event {
	s.b.Helper()
	var ev device.Event
	require.Eventually(s.b, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.events) == 0 {
			return false
		}
		ev, s.events = s.events[0].Event, s.events[1:]
		return true
	}, patience, time.Millisecond, "nothing happened")
	return ev
}

// silent checks that nothing comes any more.
func (s *station) silent() {
	s.b.Helper()
	time.Sleep(50 * time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Empty(s.b, s.events)
}

func (s *station) subscribe(topic string, qos byte) {
	s.b.Helper()
	s.client.Do(device.NetOp{Kind: device.OpSubscribe, ID: 7, Topic: topic, QoS: qos})
	require.Equal(s.b, device.Event{Kind: device.Acked, ID: 7}, s.next())
}

func (s *station) publish(topic, payload string) {
	s.client.Do(device.NetOp{Kind: device.OpPublish, Topic: topic, Payload: []byte(payload)})
}

func TestRefusedConnections(t *testing.T) {
	b := newBench(t)
	other, err := pki.New([32]byte{9}, epoch)
	require.NoError(t, err)
	good := b.thing("dev-1")
	foreignCA, wrongKey, wrongName := good, good, good
	foreignCA.ca = []byte(pki.PEM(other.Certificate().Raw))
	wrongKey.key = b.stranger(b.cloud.PKI(), "another").key
	wrongName.name = "dev-2"
	garbage := good
	garbage.ca = []byte("no certificate")
	inactive := b.thing("dev-3")
	b.broker.Do(func(now time.Duration) {
		require.NoError(t, b.cloud.UpdateCertificate(epoch.Add(now), inactive.certificateID, "INACTIVE"))
	})
	for name, c := range map[string]struct {
		id   identity
		host string
		why  string
	}{
		"certificate of another authority":  {b.stranger(other, "dev-1"), "", "bad certificate"},
		"certificate that is not known":     {b.stranger(b.cloud.PKI(), "nobody"), "", "bad certificate"},
		"certificate that is not active":    {inactive, "", "bad certificate"},
		"client id that is not the thing":   {wrongName, "", "not Authorized"},
		"key that is not the certificate's": {wrongKey, "", "private key does not match"},
		"server of another authority":       {foreignCA, "", "unknown authority"},
		"server of another name":            {good, "data.example.com", "not data.example.com"},
		"root that is not a certificate":    {garbage, "", "root certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			s := b.station(c.id)
			if c.host != "" {
				s.host = c.host
			}
			ev := s.connect().next()
			require.Equal(t, device.ConnectFailed, ev.Kind)
			require.Contains(t, strings.ToLower(ev.Err), strings.ToLower(c.why))
			s.silent()
		})
	}
	b.station(good).online().silent()
	b.broker.Do(func(now time.Duration) {
		st := b.cloud.Stats(epoch.Add(now))
		require.EqualValues(t, 1, st.Connects)
		require.EqualValues(t, 4, st.Refused)
	})
}

func TestJobsAnswersWhoAsked(t *testing.T) {
	b := newBench(t)
	one, two := b.station(b.thing("dev-1")).online(), b.station(b.thing("dev-2")).online()
	for _, subscribed := range []bool{false, true} {
		if subscribed {
			one.subscribe("$aws/things/dev-1/jobs/$next/get/accepted", 1)
		}
		one.publish("$aws/things/dev-1/jobs/$next/get", `{"clientToken":"t"}`)
		ev := one.next()
		require.Equal(t, device.Message, ev.Kind)
		require.Equal(t, "$aws/things/dev-1/jobs/$next/get/accepted", ev.Topic)
		require.Contains(t, string(ev.Payload), `"clientToken":"t"`)
		one.silent()
		two.silent()
	}
	require.Len(t, b.talks, 2)
}

func TestForbiddenTopicsEndTheConnection(t *testing.T) {
	b := newBench(t)
	for _, op := range []device.NetOp{
		{Kind: device.OpPublish, Topic: "$aws/things/dev-2/jobs/$next/get", Payload: []byte("{}")},
		{Kind: device.OpPublish, Topic: "$aws/things/dev-1/jobs/notify-next", QoS: 1, ID: 3, Payload: []byte("{}")},
		{Kind: device.OpPublish, Topic: "anything", Payload: []byte("{}")},
		{Kind: device.OpSubscribe, Topic: "$aws/things/dev-2/jobs/notify-next", ID: 3},
		{Kind: device.OpSubscribe, Topic: "#", ID: 3},
	} {
		t.Run(op.Topic, func(t *testing.T) {
			id := b.thing("dev-" + strings.NewReplacer("/", "-", "$", "", "#", "all").Replace(op.Topic))
			op.Topic = strings.Replace(op.Topic, "dev-1", id.name, 1)
			s := b.station(id).online()
			s.client.Do(op)
			require.Equal(t, device.Disconnected, s.next().Kind)
			s.silent()
		})
	}
}

func TestTakeover(t *testing.T) {
	b := newBench(t)
	id := b.thing("dev-1")
	first := b.station(id).online()
	first.subscribe("$aws/things/dev-1/jobs/notify-next", 1)
	for range 10 {
		b.clock.Skip(b.clock.Now() + 2*time.Second) // one CONNECT a second and client id
		second := b.station(id).online()
		require.Equal(t, device.Disconnected, first.next().Kind)
		second.publish("$aws/things/dev-1/jobs/$next/get", `{}`)
		require.Equal(t, device.Message, second.next().Kind)
		first = second
	}
}

func TestRevocationEndsTheConnection(t *testing.T) {
	b := newBench(t)
	id := b.thing("dev-1")
	s, other := b.station(id).online(), b.station(b.thing("dev-2")).online()
	b.broker.Do(func(now time.Duration) {
		require.NoError(t, b.cloud.UpdateCertificate(epoch.Add(now), id.certificateID, "REVOKED"))
	})
	require.Equal(t, device.Disconnected, s.next().Kind)
	s.connect()
	require.Equal(t, device.ConnectFailed, s.next().Kind)
	other.silent()
}

// What a device has sent arrives, though its power fails at once; what is sent to it
// afterwards does not.
func TestCut(t *testing.T) {
	b := newBench(t)
	s := b.station(b.thing("dev-1"))
	for n := range 10 {
		b.clock.Skip(b.clock.Now() + 2*time.Second)
		s.connect()
		for s.next().Kind != device.Connected { // answers that came before the cut
		}
		connection := s.client.Connection()
		for range 5 {
			s.publish("$aws/things/dev-1/jobs/$next/get", fmt.Sprintf(`{"clientToken":"%d"}`, n))
		}
		s.client.Cut()
		require.NotEqual(t, connection, s.client.Connection())
		for range 5 {
			select {
			case <-b.talks:
			case <-time.After(patience):
				require.Fail(t, "a request was lost")
			}
		}
	}
	s.mu.Lock()
	s.events = nil // answers that came before the cut, as nobody looks any more
	s.mu.Unlock()
	s.client.Do(device.NetOp{Kind: device.OpPublish, Topic: "$aws/things/dev-1/jobs/$next/get"}) // no connection: nothing happens
	s.silent()
}

func TestDisconnect(t *testing.T) {
	b := newBench(t)
	s := b.station(b.thing("dev-1")).online()
	s.client.Do(device.NetOp{Kind: device.OpDisconnect})
	require.Eventually(t, func() bool { return b.broker.Connections() == 0 }, patience, time.Millisecond)
	s.silent()
}

// The longest answer there is, 128 KiB in blocks of the smallest size, arrives whole
// and in order.
func TestManyBlocksAtOnce(t *testing.T) {
	b := newBench(t)
	const blocks, size = 512, 256
	image := make([]byte, blocks*size)
	for i := range image {
		image[i] = byte(i / size)
	}
	s := b.station(b.thing("dev-1")).online()
	b.broker.Do(func(now time.Duration) {
		at := epoch.Add(now)
		require.NoError(t, b.cloud.CreateBucket(at, "firmware"))
		version, err := b.cloud.PutObject(at, "firmware", "app.bin", image)
		require.NoError(t, err)
		_, err = b.cloud.CreateStream(at, streams.CreateRequest{StreamID: "update", RoleARN: "arn:aws:iam::123456789012:role/r",
			Files: []streams.File{{FileID: 0, S3Location: streams.Location{Bucket: "firmware", Key: "app.bin", Version: version}}}})
		require.NoError(t, err)
	})
	s.subscribe("$aws/things/dev-1/streams/update/data/cbor", 0)
	s.subscribe("$aws/things/dev-1/streams/update/rejected/cbor", 0)
	all := make([]byte, blocks/8)
	for i := range all {
		all[i] = 0xff
	}
	request, err := cbor.Marshal(map[string]any{"c": "rdy", "f": 0, "l": size, "o": 0, "b": all, "n": blocks})
	require.NoError(t, err)
	s.publish("$aws/things/dev-1/streams/update/get/cbor", string(request))
	for i := range blocks {
		ev := s.next()
		require.Equal(t, "$aws/things/dev-1/streams/update/data/cbor", ev.Topic, "%q", ev.Payload)
		var block struct {
			Index int    `cbor:"i"`
			Data  []byte `cbor:"p"`
		}
		require.NoError(t, cbor.Unmarshal(ev.Payload, &block))
		require.Equal(t, i, block.Index)
		require.Equal(t, image[i*size:(i+1)*size], block.Data)
	}
	require.Zero(t, b.broker.Dropped())
	require.True(t, b.broker.Quiet())
	b.broker.Do(func(now time.Duration) {
		st := b.cloud.Stats(epoch.Add(now))
		require.Greater(t, st.BytesOut, uint64(blocks*size))
		require.GreaterOrEqual(t, st.Metered, uint64(blocks))
		require.Greater(t, st.HTTPBytes, uint64(blocks*size))
	})
}

// A listener that somebody leaves hanging does not keep the broker from closing.
func TestCloseWithOpenSockets(t *testing.T) {
	b := newBench(t)
	raw, err := net.Dial("tcp", b.broker.Address())
	require.NoError(t, err)
	defer func() { _ = raw.Close() }()
	b.station(b.thing("dev-1")).online()
}

func TestClock(t *testing.T) {
	c := NewClock()
	defer c.Close()
	before := c.Now()
	require.True(t, c.Wait(context.Background(), before+100*time.Millisecond, nil))
	require.GreaterOrEqual(t, c.Now(), before+100*time.Millisecond)

	// A leap wakes who waits for what it passes, and nobody else.
	woken := make(chan bool)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { woken <- c.Wait(ctx, time.Hour, nil) }()
	go func() { woken <- c.Wait(ctx, Never, nil) }()
	c.Skip(time.Hour)
	require.True(t, <-woken)
	require.GreaterOrEqual(t, c.Now(), time.Hour)
	c.Skip(time.Minute) // never back
	require.GreaterOrEqual(t, c.Now(), time.Hour)
	cancel()
	require.False(t, <-woken)

	wake := make(chan struct{}, 1)
	wake <- struct{}{}
	require.False(t, c.Wait(context.Background(), Never, wake))
}

// However late its turn comes, the clock has advanced by no more than a slice.
func TestClockDoesNotOutrunTheMachine(t *testing.T) {
	c := NewClock()
	c.Close() // so it never has a turn
	before := c.Now()
	time.Sleep(10 * slice)
	require.LessOrEqual(t, c.Now()-before, slice*Speed)

	wall := NewWallClock(time.Hour)
	time.Sleep(10 * slice)
	require.GreaterOrEqual(t, wall.Now(), time.Hour+10*slice)
}

func TestEnvironmentError(t *testing.T) {
	b := newBench(t)
	_, err := Listen(b.cloud, b.clock, epoch, nil, Options{Address: b.broker.Address()})
	var env *EnvironmentError
	require.ErrorAs(t, err, &env)
	require.True(t, env.Environment())
	require.Contains(t, err.Error(), "MQTT listener: ")
}
