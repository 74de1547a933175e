package live

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/otasim/otasim/device"
)

// HTTP is the HTTP side of one device: it turns network operations into requests of net/http, one connection at a time.
type HTTP struct {
	post    func(connection uint32, ev device.Event)
	gen     uint32
	client  *http.Client
	all     context.Context //nolint:containedctx // of all connections: it is their common end
	end     context.CancelFunc
	now     context.Context //nolint:containedctx // of the latest connection
	abort   context.CancelFunc
	running sync.WaitGroup
}

// NewHTTP returns a client without a connection. post is called from many goroutines, must not block, and is told which
// connection an event belongs to.
func NewHTTP(post func(connection uint32, ev device.Event)) *HTTP {
	h := &HTTP{post: post}
	h.all, h.end = context.WithCancel(context.Background())
	return h
}

// Connection numbers the latest connection; events of earlier ones are stale. Like all methods it is for the device's
// own goroutine.
func (h *HTTP) Connection() uint32 { return h.gen }

// Do carries out an operation of the device. A connection is opened by its first request.
func (h *HTTP) Do(op device.NetOp) {
	switch op.Kind {
	case device.OpHTTPOpen:
		h.Cut()
		h.now, h.abort = context.WithCancel(h.all)
		h.client = &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	case device.OpHTTPClose:
		h.Cut()
	case device.OpHTTPGet:
		gen, client, ctx := h.gen, h.client, h.now
		if client == nil {
			h.post(gen, device.Event{Kind: device.HTTPFailed, ID: op.ID, Err: "not connected"})
			return
		}
		h.running.Go(func() {
			ev, err := get(ctx, client, op)
			if err != nil {
				ev = device.Event{Kind: device.HTTPFailed, ID: op.ID, Err: err.Error()}
			}
			h.post(gen, ev)
		})
	}
}

// get makes one request. Of a response other than 206 only the status matters.
func get(ctx context.Context, client *http.Client, op device.NetOp) (device.Event, error) {
	limited, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(limited, http.MethodGet, op.Topic, nil)
	if err != nil {
		return device.Event{}, err
	}
	r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", op.First, op.Last))
	resp, err := client.Do(r)
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
	}
}

// Close drops the connection and waits until nothing of this client runs.
func (h *HTTP) Close() {
	h.Cut()
	h.end()
	h.running.Wait()
}
