package agent

import (
	"math/bits"
	"strings"
)

// Receives reports whether a message on the topic is a block of the open file. The releases of the library do not look
// (C4); the 2018 agent's MQTT client does, by subscription.
func (a *Agent) Receives(topic string) bool {
	profile := a.cfg.Profile
	if profile.Task2018 {
		return !a.afr.open || a.isStream(topic)
	}
	return profile.WildcardStreams || profile.SwitchLeavesStream || a.file.bitmap == nil || a.isStream(topic)
}

// TakesForBlock reports whether the application hands a message on the topic to the agent as a block.
func (p *Profile) TakesForBlock(topic string) bool {
	return strings.HasSuffix(topic, "/data/cbor") || p.WildcardStreams && strings.Contains(topic, "/streams/")
}

// isStream reports whether the topic carries the data of the file's stream.
func (a *Agent) isStream(topic string) bool {
	rest, ok := strings.CutPrefix(topic, "$aws/things/")
	if ok {
		rest, ok = strings.CutPrefix(rest, a.thing)
	}
	if ok {
		rest, ok = strings.CutPrefix(rest, "/streams/")
	}
	if ok {
		rest, ok = strings.CutPrefix(rest, a.file.Stream.S)
	}
	return ok && rest == "/data/cbor" && !a.file.Stream.Null
}

// HTTP status codes that the data path knows.
const (
	httpPartialContent = 206
	httpBadRequest     = 400
	httpForbidden      = 403
	httpNotFound       = 404
)

// HTTPResponse delivers the response to the request for the byte range that begins at first (Port.HTTPRequest):
//
//	206            the body is taken in as a block
//	400, 403, 404  the URL is no longer good: the job document is asked for again and the transfer goes on from there
//	anything else  a failed request; the request timer repeats it
//
// A response that never comes is repeated by the request timer too; the connection is the port's to renew. On a device
// request and response are one blocking call, so the port must deliver the response before anything else that arrives
// later. The result is false when the agent could not take the event (see Signal).
// Source: aws/amazon-freertos demos/ota/ota_demo_core_http/ota_demo_core_http.c, handleHttpResponse.
func (a *Agent) HTTPResponse(p Port, status int, first uint32, body []byte) bool {
	switch {
	case a.cfg.Profile.Task2018:
		return false
	case status == httpPartialContent:
		return a.post(p, message{id: ReceivedFileBlock, first: first, data: body})
	case status == httpBadRequest || status == httpForbidden || status == httpNotFound:
		return a.post(p, message{id: RequestJobDocument})
	}
	return true
}

// httpPosition is the block that the next HTTP request asks for: with the defect (C9) a counter of bodies, else the first
// block that is wanted.
func (a *Agent) httpPosition() uint32 {
	if a.cfg.Profile.HTTPCounts {
		return a.httpBlock
	}
	for i, b := range a.file.bitmap {
		if b != 0 {
			return uint32(i*8 + bits.TrailingZeros8(b))
		}
	}
	return 0
}
