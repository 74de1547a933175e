package network

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/device"
)

// httpSilence is how long the device waits for a response that does not come: otaexampleHTTPS_TRANSPORT_SEND_RECV_TIMEOUT_MS of
// aws/amazon-freertos demos/ota/ota_demo_core_http.
const httpSilence = 2 * time.Second

// serverOnlyOverhead is what a TLS 1.2 handshake without a client certificate puts on the uplink: hello, key exchange,
// ChangeCipherSpec and Finished.
const serverOnlyOverhead = 390

// HTTP is the HTTPS side of one device: one connection, one request at a time. It is a value; all times are given.
type HTTP struct {
	Gen   uint32 // raised by every connection; frames of older ones are stale
	state clientState
	due   time.Duration
	host  string
	ca    []byte
	get   device.NetOp // waits for the connection, or for its response
	asked bool         // get is set
}

// Alive reports whether there is a connection, or an attempt at one.
func (h *HTTP) Alive() bool { return h.state != offline }

// NextWake is when the client must be woken; ok is false when it waits for nothing.
func (h *HTTP) NextWake() (at time.Duration, ok bool) {
	return h.due, h.state == dialing || h.state == handshaking || h.asked
}

// PowerOff drops the connection without a byte on the wire, as a reset does.
func (h *HTTP) PowerOff() { *h = HTTP{Gen: h.Gen} }

// Do executes one operation of the device and appends the frames that come of it. rtt is the link's round trip without queueing,
// transfer what the body of the response takes on it.
func (h *HTTP) Do(op device.NetOp, rtt, transfer time.Duration, out []Output) []Output {
	switch op.Kind {
	case device.OpHTTPOpen:
		out = h.close(out, op.At)
		h.Gen++
		_, rest, _ := strings.Cut(op.Topic, "://")
		h.host, _, _ = strings.Cut(rest, "/")
		// One round trip for SYN and SYN-ACK, one for ClientHello and the server's flight.
		h.state, h.ca, h.due = dialing, op.CA, op.At+2*rtt
	case device.OpHTTPGet:
		h.get, h.asked = op, true
		switch h.state {
		case offline:
			h.due = op.At // fails when woken
		case online:
			out = h.request(op.At, out)
			h.due = op.At + httpSilence + 2*rtt + transfer
		}
	case device.OpHTTPClose:
		out = h.close(out, op.At)
	}
	return out
}

func (h *HTTP) close(out []Output, at time.Duration) []Output {
	if h.state > dialing {
		out = append(out, Output{At: at, Frame: protocol.Frame{Kind: protocol.FrameHTTPClose}, IsPost: true})
	}
	h.PowerOff()
	return out
}

// request puts the request of coreHTTP on the wire.
func (h *HTTP) request(at time.Duration, out []Output) []Output {
	target := "/"
	_, rest, _ := strings.Cut(h.get.Topic, "://")
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		target = rest[i:]
	}
	b := make([]byte, 0, len(target)+len(h.host)+128)
	b = append(append(b, "GET "...), target...)
	b = append(append(b, " HTTP/1.1\r\nUser-Agent: my-platform-name\r\nHost: "...), h.host...)
	b = append(b, "\r\nConnection: keep-alive\r\nRange: bytes="...)
	b = strconv.AppendUint(b, uint64(h.get.First), 10)
	b = strconv.AppendUint(append(b, '-'), uint64(h.get.Last), 10)
	b = append(b, "\r\n\r\n"...)
	return append(out, Output{At: at, Frame: protocol.Frame{Kind: protocol.FrameHTTP, Head: b}, IsPost: true})
}

// Wake handles the client's own time: sending the TLS flight after the dial, and giving up.
func (h *HTTP) Wake(now time.Duration, out []Output) []Output {
	if at, ok := h.NextWake(); !ok || now < at {
		return out
	}
	if h.state == dialing {
		h.state, h.due = handshaking, now+connectTimeout
		return append(out, Output{At: now, Frame: protocol.Frame{Kind: protocol.FrameHTTPSClient, Head: []byte(h.host)}, Bytes: serverOnlyOverhead, IsPost: true})
	}
	if h.state == offline {
		return h.fail(out, now, "not connected")
	}
	return h.fail(append(out, Output{At: now, Frame: protocol.Frame{Kind: protocol.FrameHTTPClose}, IsPost: true}), now, "timeout")
}

func (h *HTTP) fail(out []Output, now time.Duration, why string) []Output {
	ev := device.Event{Kind: device.HTTPFailed, Err: why}
	if h.asked {
		ev.ID = h.get.ID
	}
	h.PowerOff()
	return append(out, Output{At: now, Event: ev})
}

// Receive handles a frame of connection Gen. at is the time by the device's clock, that certificates are judged by.
func (h *HTTP) Receive(now time.Duration, at time.Time, f protocol.Frame, roots *Roots, out []Output) []Output {
	switch {
	case h.state == offline:
	case f.Kind == protocol.FrameHTTPClose:
		return h.fail(out, now, "connection closed by the server")
	case f.Kind == protocol.FrameHTTPSServer && h.state == handshaking:
		if err := roots.Verify(h.ca, f.Body, at); err != nil {
			return h.fail(append(out, Output{At: now, Frame: protocol.Frame{Kind: protocol.FrameHTTPClose}, IsPost: true}), now, err.Error())
		}
		h.state = online
		if h.asked {
			out = h.request(now, out)
			h.due = now + connectTimeout
		}
	case f.Kind == protocol.FrameHTTP && h.state == online && h.asked:
		status, err := responseStatus(f.Head)
		if err != nil {
			return h.fail(out, now, err.Error())
		}
		h.asked = false
		return append(out, Output{At: now, Event: device.Event{Kind: device.HTTPResponse, ID: h.get.ID, Status: status, Payload: f.Body}})
	}
	return out
}

// responseStatus reads "HTTP/1.1 206 Partial Content".
func responseStatus(head []byte) (uint16, error) {
	const version = "HTTP/1.1 "
	if len(head) >= len(version)+3 && string(head[:len(version)]) == version {
		if n, err := strconv.ParseUint(string(head[len(version):len(version)+3]), 10, 16); err == nil {
			return uint16(n), nil
		}
	}
	return 0, fmt.Errorf("malformed response %.20q", head)
}
