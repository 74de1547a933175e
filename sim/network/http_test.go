package network

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/device"
)

const httpURL = "https://s3.test/firmware/app.bin?X-Amz-Signature=1"

// httpOnline is a client whose connection is up, at 1 s.
func httpOnline(t *testing.T) (*HTTP, *Roots) {
	h, roots := &HTTP{}, &Roots{verdicts: map[rootKey]error{{"root", "chain", 0}: nil}}
	require.Empty(t, h.Do(device.NetOp{Kind: device.OpHTTPOpen, Topic: httpURL, CA: []byte("root")}, 100*time.Millisecond, 0, nil))
	at, ok := h.NextWake()
	require.True(t, ok)
	require.Equal(t, 200*time.Millisecond, at)
	out := h.Wake(at, nil)
	require.Len(t, out, 1)
	require.Equal(t, protocol.FrameHTTPSClient, out[0].Frame.Kind)
	require.Equal(t, "s3.test", string(out[0].Frame.Head))
	require.Empty(t, h.Receive(time.Second, time.Unix(0, 0), protocol.Frame{Kind: protocol.FrameHTTPSServer, Body: []byte("chain")}, roots, nil))
	require.True(t, h.Alive())
	return h, roots
}

func TestHTTPGet(t *testing.T) {
	h, roots := httpOnline(t)
	get := device.NetOp{Kind: device.OpHTTPGet, ID: 7, At: time.Second, Topic: httpURL, First: 4096, Last: 8191}
	out := h.Do(get, 100*time.Millisecond, 50*time.Millisecond, nil)
	require.Len(t, out, 1)
	require.Equal(t, "GET /firmware/app.bin?X-Amz-Signature=1 HTTP/1.1\r\nUser-Agent: my-platform-name\r\nHost: s3.test\r\nConnection: keep-alive\r\nRange: bytes=4096-8191\r\n\r\n",
		string(out[0].Frame.Head))
	out = h.Receive(1100*time.Millisecond, time.Unix(1, 0), protocol.Frame{Kind: protocol.FrameHTTP, Head: []byte("HTTP/1.1 206 Partial Content\r\n\r\n"), Body: []byte("body")}, roots, nil)
	require.Len(t, out, 1)
	require.Equal(t, device.Event{Kind: device.HTTPResponse, ID: 7, Status: 206, Payload: []byte("body")}, out[0].Event)
	_, waits := h.NextWake()
	require.False(t, waits)

	// Silence: the connection ends, and the next request finds none.
	h.Do(get, 100*time.Millisecond, 50*time.Millisecond, nil)
	at, ok := h.NextWake()
	require.True(t, ok)
	require.Equal(t, time.Second+httpSilence+250*time.Millisecond, at)
	out = h.Wake(at, nil)
	require.Equal(t, protocol.FrameHTTPClose, out[0].Frame.Kind)
	require.Equal(t, device.Event{Kind: device.HTTPFailed, ID: 7, Err: "timeout"}, out[1].Event)
	require.False(t, h.Alive())
	get.At, get.ID = 5*time.Second, 8
	require.Empty(t, h.Do(get, 0, 0, nil))
	out = h.Wake(5*time.Second, nil)
	require.Equal(t, device.Event{Kind: device.HTTPFailed, ID: 8, Err: "not connected"}, out[0].Event)
}

func TestHTTPRefusesServer(t *testing.T) {
	h, roots := httpOnline(t)
	gen := h.Gen
	h.Do(device.NetOp{Kind: device.OpHTTPOpen, Topic: httpURL, CA: []byte("root")}, 0, 0, nil)
	require.Equal(t, gen+1, h.Gen, "another connection")
	h.Wake(0, nil)
	h.Do(device.NetOp{Kind: device.OpHTTPGet, ID: 1, Topic: httpURL, Last: 1}, 0, 0, nil)
	out := h.Receive(0, time.Unix(0, 0), protocol.Frame{Kind: protocol.FrameHTTPSServer, Body: []byte("other")}, roots, nil)
	require.Equal(t, protocol.FrameHTTPClose, out[0].Frame.Kind)
	require.Equal(t, device.HTTPFailed, out[1].Event.Kind)
	require.EqualValues(t, 1, out[1].Event.ID)
}

func FuzzResponseStatus(f *testing.F) {
	f.Add([]byte("HTTP/1.1 206 Partial Content"))
	f.Add([]byte("HTTP/1.1 2"))
	f.Fuzz(func(t *testing.T, head []byte) {
		if status, err := responseStatus(head); err == nil && status > 999 {
			t.Fatal(status)
		}
	})
}
