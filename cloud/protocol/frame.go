// Package protocol is what devices and the cloud put on the wire, and the only
// package both may import: link frames, MQTT 3.1.1 control packets and the
// reserved topics of AWS IoT Core.
//
// A link carries frames. One frame is one MQTT control packet, or one flight of
// the modelled TLS handshake:
//
//	FrameTLSClient  body: client certificate chain    FrameTLSServer  body: server certificate chain
//	FrameTLSAlert   body: one byte, the TLS alert     FrameMQTT       head+body: one MQTT control packet
//	FrameClose      nothing: FIN or RST of the transport
//
// The connection on which a device gets files by HTTPS is another one, so its frames have kinds of their own:
//
//	FrameHTTPSClient  head: host name (SNI)           FrameHTTPSServer  body: server certificate chain
//	FrameHTTP         head: request, or status line and header fields, each up to the empty line; body: of the response
//	FrameHTTPClose    nothing: FIN or RST
//
// A certificate chain is a run of { length u32 big-endian, DER[length] }, leaf first.
package protocol

import (
	"encoding/binary"
	"fmt"
)

// FrameKind says what a frame carries.
type FrameKind uint8

// Kinds of frames.
const (
	FrameTLSClient FrameKind = iota + 1
	FrameTLSServer
	FrameTLSAlert
	FrameMQTT
	FrameClose
	FrameHTTPSClient
	FrameHTTPSServer
	FrameHTTP
	FrameHTTPClose
)

var frameNames = [...]string{"none", "tls-client", "tls-server", "tls-alert", "mqtt", "close", "https-client", "https-server", "http", "http-close"}

func (k FrameKind) String() string {
	if int(k) < len(frameNames) {
		return frameNames[k]
	}
	return fmt.Sprintf("frame(%d)", uint8(k))
}

// A Frame is what travels on a link in one piece: Head then Body. Both are
// immutable from the moment the frame is sent; Body may be shared by many
// frames (a file block is encoded once and referred to by every delivery).
type Frame struct {
	Kind FrameKind
	Head []byte
	Body []byte
}

// Len is the number of MQTT or handshake bytes of the frame.
func (f Frame) Len() int { return len(f.Head) + len(f.Body) }

// TLS alert descriptions (RFC 8446, section 6.2) that a handshake can end with.
const (
	AlertBadCertificate     = 42
	AlertCertificateRevoked = 44
	AlertCertificateExpired = 45
	AlertCertificateUnknown = 46
	AlertUnknownCA          = 48
	AlertAccessDenied       = 49
)

// AppendCertificate appends one DER certificate to a chain.
func AppendCertificate(chain, der []byte) []byte {
	chain = binary.BigEndian.AppendUint32(chain, uint32(len(der)))
	return append(chain, der...)
}

// Certificates splits a chain. The slices share the chain's memory.
func Certificates(chain []byte) ([][]byte, error) {
	var out [][]byte
	for off := 0; off < len(chain); {
		if len(chain)-off < 4 {
			return nil, fmt.Errorf("protocol: certificate chain: %d stray bytes at offset %d: %w", len(chain)-off, off, ErrMalformed)
		}
		n := int(binary.BigEndian.Uint32(chain[off:]))
		off += 4
		if n <= 0 || n > len(chain)-off {
			return nil, fmt.Errorf("protocol: certificate chain: length %d at offset %d, %d bytes left: %w", n, off-4, len(chain)-off, ErrMalformed)
		}
		out = append(out, chain[off:off+n])
		off += n
	}
	return out, nil
}
