package sigv4

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Streaming reports whether a payload value says that the body comes in chunks.
func Streaming(payload string) bool {
	return payload == StreamingUnsignedTrailer || payload == StreamingSigned || payload == StreamingSignedTrailer
}

// Unchunk strips the aws-chunked framing of a body and checks the signatures of
// its chunks, if they have any:
//
//	hex size [;chunk-signature=64 hex digits] CRLF
//	bytes CRLF
//	...
//	0 [;chunk-signature=...] CRLF
//	[name:value CRLF]... [x-amz-trailer-signature:... CRLF]
//	CRLF
//
// trailer has the trailing headers, names in lower case. Errors wrap
// ErrMalformed or ErrMismatch.
func (s Signature) Unchunk(body []byte, secret string) (data []byte, trailer map[string]string, err error) {
	var key []byte
	if s.Payload != StreamingUnsignedTrailer {
		key = Key(secret, s.Scope)
	}
	previous := s.Hex
	data = make([]byte, 0, len(body))
	for {
		line, rest, ok := bytes.Cut(body, []byte("\r\n"))
		if !ok {
			return nil, nil, fmt.Errorf("%w: chunk header without end", ErrMalformed)
		}
		digits, ext, _ := strings.Cut(string(line), ";")
		n, err := strconv.ParseUint(digits, 16, 31)
		if err != nil || int(n) > len(rest) {
			return nil, nil, fmt.Errorf("%w: chunk size %.20q", ErrMalformed, digits)
		}
		chunk := rest[:n]
		if key != nil {
			signature, _ := strings.CutPrefix(ext, "chunk-signature=")
			sum := sha256.Sum256(chunk)
			text := algorithm + "-PAYLOAD\n" + s.Time.Format(timeLayout) + "\n" + s.text() + "\n" + previous + "\n" + EmptyPayload + "\n" + hex.EncodeToString(sum[:])
			want := hex.EncodeToString(mac(key, text))
			if !hmac.Equal([]byte(want), []byte(signature)) {
				return nil, nil, fmt.Errorf("%w: chunk at byte %d of the data", ErrMismatch, len(data))
			}
			previous = want
		}
		body = rest[n:]
		if n == 0 {
			break
		}
		data = append(data, chunk...)
		if body, ok = bytes.CutPrefix(body, []byte("\r\n")); !ok {
			return nil, nil, fmt.Errorf("%w: chunk without end", ErrMalformed)
		}
	}
	trailer, err = s.trailer(body, key, previous)
	return data, trailer, err
}

func (s Signature) trailer(body, key []byte, previous string) (map[string]string, error) {
	out := map[string]string{}
	signed := ""
	for _, line := range strings.Split(string(body), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("%w: trailer %.40q", ErrMalformed, line)
		}
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)
		if name == "x-amz-trailer-signature" {
			sum := sha256.Sum256([]byte(signed))
			text := algorithm + "-TRAILER\n" + s.Time.Format(timeLayout) + "\n" + s.text() + "\n" + previous + "\n" + hex.EncodeToString(sum[:])
			if key == nil || !hmac.Equal(mac(key, text), unhex(value)) {
				return nil, fmt.Errorf("%w: trailer", ErrMismatch)
			}
			signed = ""
			continue
		}
		signed += name + ":" + value + "\n"
		out[name] = value
	}
	if signed != "" && s.Payload == StreamingSignedTrailer {
		return nil, fmt.Errorf("%w: trailer without signature", ErrMismatch)
	}
	return out, nil
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		return nil
	}
	return b
}
