package live

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/device"
)

// Limits of the client library, in wall time. They are out of proportion to the
// world's time: on the loopback interface nothing is slow unless the machine is.
const (
	connectTimeout = 30 * time.Second
	writeTimeout   = 5 * time.Second
	quiesce        = 1000 // milliseconds that an orderly DISCONNECT may take
)

// Endpoint is where devices connect, and what they need to know besides what is in
// their flash.
type Endpoint struct {
	Address string   // of the socket
	Host    string   // that the server's certificate must carry
	ALPN    []string // protocols to ask for, nil: none
	Epoch   time.Time
	Clock   *Clock
	Carried *Carried // counts, nil: nobody asks
}

// now is the time by the clock.
func (to *Endpoint) now() time.Time { return to.Epoch.Add(to.Clock.Now()) }

// Carried counts bytes above TLS, in both directions.
type Carried struct{ In, Out atomic.Uint64 }

// A Client is the MQTT side of one device: it turns network operations into calls of
// paho, and what paho calls back into events. Each connection is a new paho client,
// because a reset leaves nothing of the one before.
type Client struct {
	to      Endpoint
	path    Path // nil: nothing but the socket
	flights *Flights
	wall    func() time.Time
	post    func(connection uint32, ev device.Event)
	gen     uint32
	now     *session
	all     context.Context //nolint:containedctx // of all sessions: it is their common end
	end     context.CancelFunc
	running sync.WaitGroup
}

// NewClient returns a client without a connection. post is called from many
// goroutines, must not block, and is told which connection an event belongs to.
func NewClient(to Endpoint, post func(connection uint32, ev device.Event)) *Client {
	c := &Client{to: to, post: post, wall: to.now}
	c.all, c.end = context.WithCancel(context.Background())
	return c
}

// Via puts a path in front of all connections to come. What is on its way on them is
// known to flights.
func (c *Client) Via(path Path, flights *Flights) { c.path, c.flights = path, flights }

// Wall is the device's clock, by which it judges certificates; without it that of the world. It is called from many goroutines.
func (c *Client) Wall(now func() time.Time) { c.wall = now }

// Sever is the network ending the connection, or the attempt at one; told says whether
// the other end learns of it. It does nothing without Via.
func (c *Client) Sever(told bool, why string) {
	s := c.now
	if s == nil || s.path == nil {
		return
	}
	select {
	case <-s.up:
		if raw := s.raw.Load(); raw != nil {
			raw.sever(told)
		}
	default:
		c.gen++
		c.now = nil
		s.abort()
		c.post(c.gen, device.Event{Kind: device.ConnectFailed, Err: why})
	}
}

// Connection numbers the latest connection; events of earlier ones are stale. Like
// all methods it is for the device's own goroutine.
func (c *Client) Connection() uint32 { return c.gen }

// Do carries out an operation of the device, or hands it to the connection that
// will. A call without a connection does nothing: the firmware learns that from
// Disconnected.
func (c *Client) Do(op device.NetOp) {
	if op.Kind == device.OpConnect {
		c.Cut()
		s := &session{to: c.to, connect: op, ready: make(chan struct{}, 1), up: make(chan struct{}), over: make(chan struct{}),
			path: c.path, flights: c.flights, wall: c.wall, all: c.all, running: &c.running}
		var ctx context.Context
		ctx, s.abort = context.WithCancel(c.all)
		gen := c.gen
		s.gen = gen
		s.post = func(ev device.Event) { c.post(gen, ev) }
		c.now = s
		c.running.Go(func() { s.run(ctx) })
		return
	}
	if c.now != nil {
		c.now.push(op)
	}
}

// Cut drops the connection without another byte on the wire, as a reset or a power
// cut does. What was handed over before has left the device, and will arrive.
func (c *Client) Cut() {
	c.gen++
	if c.now != nil {
		c.now.cut()
		c.now = nil
	}
}

// Close drops the connection and waits until nothing of this client runs.
func (c *Client) Close() {
	c.gen++
	c.end()
	c.running.Wait()
}

// leaveTimeout bounds an orderly end, in wall time.
const leaveTimeout = 2 * time.Second

// Leave ends the connection with a DISCONNECT, if there is one, and waits until that
// has left or took too long.
func (c *Client) Leave() {
	s := c.now
	if s == nil {
		return
	}
	c.gen++
	c.now = nil
	select {
	case <-s.up:
	default:
		s.abort()
		return
	}
	s.push(device.NetOp{Kind: device.OpDisconnect})
	t := time.NewTimer(leaveTimeout)
	defer t.Stop()
	select {
	case <-s.over:
	case <-t.C:
	}
}

// session is one connection: an attempt, then operations in order, until it ends.
type session struct {
	to      Endpoint
	post    func(device.Event)
	abort   context.CancelFunc // resets the socket
	connect device.NetOp
	up      chan struct{} // closed when Connected was posted
	over    chan struct{} // closed when nothing of the session runs
	acks    sync.WaitGroup
	mute    atomic.Bool // the device is gone: no DISCONNECT

	path    Path
	flights *Flights
	wall    func() time.Time
	gen     uint32
	all     context.Context //nolint:containedctx // of the client
	running *sync.WaitGroup // of the client
	raw     atomic.Pointer[shaped]
	line    atomic.Pointer[wire] // behind a path

	mu    sync.Mutex
	ops   []device.NetOp
	ready chan struct{} // something is in ops, or it is time to end
}

func (s *session) push(op device.NetOp) {
	s.mu.Lock()
	s.ops = append(s.ops, op)
	s.mu.Unlock()
	s.poke()
}

func (s *session) poke() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

func (s *session) take() []device.NetOp {
	s.mu.Lock()
	defer s.mu.Unlock()
	ops := s.ops
	s.ops = nil
	return ops
}

// cut ends the session after what was pushed before.
func (s *session) cut() {
	s.mute.Store(true)
	s.poke()
	select {
	case <-s.up:
	default:
		s.abort()
	}
}

func (s *session) run(ctx context.Context) {
	defer close(s.over)
	defer s.abort()
	defer s.hush()
	config, err := s.tls()
	if err != nil {
		s.post(device.Event{Kind: device.ConnectFailed, Err: err.Error()})
		return
	}
	client := paho.NewClient(s.options(ctx, config))
	if t := client.Connect(); t.Wait() && t.Error() != nil {
		if ctx.Err() == nil {
			s.post(device.Event{Kind: device.ConnectFailed, Err: t.Error().Error()})
		}
		return
	}
	s.post(device.Event{Kind: device.Connected})
	close(s.up)
	for ctx.Err() == nil {
		if !s.wait(ctx) {
			continue
		}
		last := s.mute.Load()
		for _, op := range s.take() {
			s.do(ctx, client, op)
		}
		if last {
			break
		}
	}
	client.Disconnect(quiesce)
	s.acks.Wait()
}

// options are those of paho: no reconnecting by itself, no session kept.
func (s *session) options(ctx context.Context, config *tls.Config) *paho.ClientOptions {
	op := &s.connect
	o := paho.NewClientOptions().AddBroker("tls://" + s.to.Address)
	o.SetClientID(op.ClientID).SetCleanSession(op.CleanSession).SetProtocolVersion(4)
	o.SetAutoReconnect(false).SetConnectRetry(false).SetOrderMatters(true)
	o.SetKeepAlive(time.Duration(op.KeepAlive) * time.Second).SetConnectTimeout(connectTimeout).SetWriteTimeout(writeTimeout)
	if s.path != nil {
		o.SetKeepAlive(0) // it would ping in the wall's time, and late
	}
	o.SetCustomOpenConnectionFn(func(*url.URL, paho.ClientOptions) (net.Conn, error) { return s.dial(ctx, config) })
	o.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) {
		s.post(device.Event{Kind: device.Message, Topic: m.Topic(), Payload: m.Payload()})
	})
	o.SetConnectionLostHandler(func(_ paho.Client, err error) {
		select {
		case <-s.up:
			s.post(device.Event{Kind: device.Disconnected, Err: err.Error()})
		case <-ctx.Done():
		}
		s.abort()
	})
	return o
}

// dial opens TCP and TLS. When ctx ends the socket is reset.
func (s *session) dial(ctx context.Context, config *tls.Config) (net.Conn, error) {
	limited, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if s.path != nil {
		if err := s.path.Dial(ctx); err != nil {
			return nil, err
		}
	}
	var d net.Dialer
	raw, err := d.DialContext(limited, "tcp", s.to.Address)
	if err != nil {
		return nil, err
	}
	if s.path != nil {
		return s.shape(ctx, limited, raw, config)
	}
	context.AfterFunc(ctx, func() {
		if tcp, ok := raw.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = raw.Close()
	})
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(limited); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return &wire{Conn: conn, raw: raw, mute: &s.mute, carried: s.to.Carried}, nil
}

// shape is dial behind a path.
func (s *session) shape(ctx, limited context.Context, tcp net.Conn, config *tls.Config) (net.Conn, error) {
	raw := shape(s.all, tcp, s.path, s.to.Clock, s.flights, s.gen, s.running)
	s.raw.Store(raw)
	context.AfterFunc(ctx, func() { _ = raw.Close() })
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(limited); err != nil {
		_ = raw.Close()
		return nil, err
	}
	w := &wire{Conn: conn, raw: raw, mute: &s.mute, carried: s.to.Carried, pings: s.newPings()}
	s.line.Store(w)
	return w, nil
}

// wire is a connection as paho sees it. Once its device is gone it sends no
// farewell, neither MQTT's nor that of TLS.
type wire struct {
	*tls.Conn
	raw     net.Conn
	mute    *atomic.Bool
	carried *Carried
	pings   *pings // nil: paho does it
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if w.pings != nil && n > 0 {
		w.pings.heard.Add(1)
	}
	if w.carried != nil {
		w.carried.Out.Add(uint64(n))
	}
	return n, err
}

func (w *wire) Write(b []byte) (int, error) {
	if w.mute.Load() && len(b) > 0 && b[0]>>4 == protocol.Disconnect {
		return len(b), nil
	}
	if w.pings != nil {
		b = w.pings.saying(b)
	}
	n, err := w.Conn.Write(b)
	if w.carried != nil {
		w.carried.In.Add(uint64(n))
	}
	return n, err
}

func (w *wire) Close() error {
	if w.mute.Load() {
		return w.raw.Close()
	}
	return w.Conn.Close()
}

// do calls paho, which may wait for the socket.
func (s *session) do(ctx context.Context, client paho.Client, op device.NetOp) {
	var t paho.Token
	switch op.Kind {
	case device.OpSubscribe:
		t = client.Subscribe(op.Topic, op.QoS, nil)
	case device.OpUnsubscribe:
		t = client.Unsubscribe(op.Topic)
	case device.OpPublish:
		t = client.Publish(op.Topic, op.QoS, false, op.Payload)
		if op.QoS == 0 {
			return
		}
	case device.OpDisconnect:
		client.Disconnect(quiesce)
		s.abort()
		return
	default:
		return
	}
	s.acks.Go(func() {
		<-t.Done()
		if t.Error() != nil || ctx.Err() != nil {
			return // Disconnected says so
		}
		ev := device.Event{Kind: device.Acked, ID: op.ID}
		if sub, ok := t.(*paho.SubscribeToken); ok && sub.Result()[op.Topic] > 2 {
			ev.Err = "subscription refused"
		}
		s.post(ev)
	})
}

func (s *session) tls() (*tls.Config, error) {
	config, err := s.to.TLS(&s.connect)
	if err == nil {
		config.Time = s.wall
	}
	return config, err
}

// TLS makes the configuration of the handshake from what the device read from its
// flash for OpConnect.
func (to *Endpoint) TLS(op *device.NetOp) (*tls.Config, error) {
	roots, err := rootsOf(op.CA)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(encoded(op.Certificate, "CERTIFICATE"), encoded(op.Key, "EC PRIVATE KEY"))
	if err != nil {
		return nil, fmt.Errorf("device certificate and key in flash: %w", err)
	}
	return &tls.Config{
		RootCAs: roots, Certificates: []tls.Certificate{pair}, ServerName: to.Host, NextProtos: to.ALPN,
		CurvePreferences: []tls.CurveID{tls.CurveP256},
		MinVersion:       tls.VersionTLS12, MaxVersion: tls.VersionTLS12, // what the TLS stack of the firmware speaks
		Time: to.now,
	}, nil
}

// pools are the sets of roots that devices had in flash: the same for many.
var pools struct {
	sync.Mutex
	last string // what one is made of
	pool *x509.CertPool
}

// rootsOf is the set of a root certificate in flash, which is not to be changed.
func rootsOf(ca []byte) (*x509.CertPool, error) {
	pools.Lock()
	defer pools.Unlock()
	if pools.pool != nil && string(ca) == pools.last {
		return pools.pool, nil
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(encoded(ca, "CERTIFICATE")) {
		return nil, errors.New("root certificate in flash: malformed")
	}
	pools.last, pools.pool = string(ca), roots
	return roots, nil
}

// encoded wraps DER in PEM. NVS holds either; strings there end in a zero.
func encoded(b []byte, kind string) []byte {
	if p, _ := pem.Decode(bytes.TrimRight(b, "\x00")); p != nil {
		return b
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b})
}
