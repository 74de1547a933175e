package live

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/otasim/otasim/device"
)

// httpSilence is how long a device behind a path waits for a response, in the world's time: five times as long as the demo
// does, because a tenth of that is little for a machine with much to do.
const httpSilence = 10 * time.Second

// HTTP is the HTTP side of one device: it turns network operations into requests of net/http, one connection at a time. The
// device knows one root, and judges the server's certificate by its own clock.
type HTTP struct {
	to      Endpoint // Address: instead of the URL's host, "" for that host
	post    func(connection uint32, ev device.Event)
	path    Path // nil: nothing but the socket
	flights *Flights
	wall    func() time.Time
	gen     uint32
	client  *http.Client
	refused error                  // why there is no connection
	raw     atomic.Pointer[shaped] // the latest, behind a path
	all     context.Context        //nolint:containedctx // of all connections: it is their common end
	end     context.CancelFunc
	now     context.Context //nolint:containedctx // of the latest connection
	abort   context.CancelFunc
	running sync.WaitGroup
}

// NewHTTP returns a client without a connection. post is called from many goroutines, must not block, and is told which
// connection an event belongs to.
func NewHTTP(to Endpoint, post func(connection uint32, ev device.Event)) *HTTP {
	h := &HTTP{to: to, post: post, wall: to.now}
	h.all, h.end = context.WithCancel(context.Background())
	return h
}

// Via puts a path in front of all connections to come, as for Client.
func (h *HTTP) Via(path Path, flights *Flights) { h.path, h.flights = path, flights }

// Wall is the device's clock, as for Client.
func (h *HTTP) Wall(now func() time.Time) { h.wall = now }

// Sever is the network ending the connection, as for Client.
func (h *HTTP) Sever(told bool) {
	if raw := h.raw.Load(); raw != nil {
		raw.sever(told)
	}
}

// Connection numbers the latest connection; events of earlier ones are stale. Like all methods it is for the device's
// own goroutine.
func (h *HTTP) Connection() uint32 { return h.gen }

// Do carries out an operation of the device. A connection is opened by its first request.
func (h *HTTP) Do(op device.NetOp) {
	switch op.Kind {
	case device.OpHTTPOpen:
		h.Cut()
		h.open(&op)
	case device.OpHTTPClose:
		h.Cut()
	case device.OpHTTPGet:
		gen, client, ctx := h.gen, h.client, h.now
		if client == nil {
			why := "not connected"
			if h.refused != nil {
				why = h.refused.Error()
			}
			h.post(gen, device.Event{Kind: device.HTTPFailed, ID: op.ID, Err: why})
			return
		}
		h.running.Go(func() {
			ev, err := h.get(ctx, client, op)
			if err != nil {
				ev = device.Event{Kind: device.HTTPFailed, ID: op.ID, Err: err.Error()}
			}
			h.post(gen, ev)
		})
	}
}

// open makes what the first request connects with.
func (h *HTTP) open(op *device.NetOp) {
	roots, err := rootsOf(op.CA)
	if h.refused = err; err != nil {
		return
	}
	h.now, h.abort = context.WithCancel(h.all)
	ctx, gen := h.now, h.gen
	h.client = &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1, TLSHandshakeTimeout: connectTimeout,
		DialContext: func(_ context.Context, network, address string) (net.Conn, error) {
			return h.dial(ctx, network, address, gen)
		},
		TLSClientConfig: &tls.Config{RootCAs: roots, CurvePreferences: []tls.CurveID{tls.CurveP256}, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12,
			Time: h.wall},
	}}
}

// connectionHTTP tells a path the connections of HTTP from those of MQTT.
const connectionHTTP = 1 << 31

func (h *HTTP) dial(ctx context.Context, network, address string, gen uint32) (net.Conn, error) {
	if h.to.Address != "" {
		address = h.to.Address
	}
	if h.path != nil {
		if err := h.path.Dial(ctx); err != nil {
			return nil, err
		}
	}
	limited, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	var d net.Dialer
	raw, err := d.DialContext(limited, network, address)
	if err != nil || h.path == nil {
		return raw, err
	}
	s := shape(h.all, raw, h.path, h.to.Clock, h.flights, connectionHTTP|gen, &h.running)
	h.raw.Store(s)
	context.AfterFunc(ctx, func() { _ = s.Close() })
	return s, nil
}

// get makes one request. Of a response other than 206 only the status matters.
func (h *HTTP) get(ctx context.Context, client *http.Client, op device.NetOp) (device.Event, error) {
	limited, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if h.path != nil {
		h.running.Go(func() {
			if h.to.Clock.Wait(limited, op.At+httpSilence, nil) {
				cancel()
			}
		})
	}
	r, err := http.NewRequestWithContext(limited, http.MethodGet, op.Topic, nil)
	if err != nil {
		return device.Event{}, err
	}
	r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", op.First, op.Last))
	resp, err := client.Do(r)
	if failed := new(url.Error); errors.As(err, &failed) {
		return device.Event{}, failed.Err // without the URL, which is long and secret
	}
	if err != nil {
		return device.Event{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	// One byte more than was asked for shows the agent that the answer is wrong.
	body, err := io.ReadAll(io.LimitReader(resp.Body, int64(op.Last-op.First)+2))
	if err != nil {
		return device.Event{}, err
	}
	return device.Event{Kind: device.HTTPResponse, ID: op.ID, Status: uint16(resp.StatusCode), Payload: body}, nil
}

// Cut drops the connection.
func (h *HTTP) Cut() {
	h.gen++
	if h.client != nil {
		h.abort()
		h.client.CloseIdleConnections()
		h.client, h.now, h.abort = nil, nil, nil
		h.raw.Store(nil)
	}
}

// Close drops the connection and waits until nothing of this client runs.
func (h *HTTP) Close() {
	h.Cut()
	h.end()
	h.running.Wait()
}
