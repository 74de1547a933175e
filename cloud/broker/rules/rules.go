// Package rules is what AWS IoT Core asks of MQTT beyond the standard, as pure
// functions, so that a virtual broker and a real one decide alike.
//
// Sources: AWS IoT Core Developer Guide, pages mqtt, protocols, topics and
// reserved-topics; AWS General Reference, AWS IoT Core quotas.
package rules

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/protocol"
)

// Limits that no account can raise.
const (
	MaxPayload   = 128 << 10 // bytes of one PUBLISH
	MaxTopic     = 256       // bytes
	MaxSlashes   = 7
	MaxClientID  = 128 // bytes
	MaxFilters   = 8   // of one SUBSCRIBE
	MinKeepAlive = 30 * time.Second
	MaxKeepAlive = 1200 * time.Second

	meteredUnit = 5 << 10
)

// Return codes of CONNACK.
const (
	Accepted          byte = 0
	BadClientID       byte = 2
	ServerUnavailable byte = 3
	NotAuthorized     byte = 5
	Refused           byte = 7 // what AWS was seen to answer in place of 5
)

// ErrRefused is wrapped by every violation; the connection ends.
var ErrRefused = errors.New("refused by AWS IoT Core")

// KeepAlive is the keep-alive in force: 30 to 1200 s, 0 counts as 1200. A
// connection is dead after one and a half times as long without a packet.
func KeepAlive(seconds uint16) time.Duration {
	d := time.Duration(seconds) * time.Second
	if d == 0 || d > MaxKeepAlive {
		return MaxKeepAlive
	}
	return max(d, MinKeepAlive)
}

// ClientID checks a client identifier: 1 to 128 bytes, not beginning with '$'.
func ClientID(id string) error {
	if id == "" || len(id) > MaxClientID || id[0] == '$' {
		return fmt.Errorf("client id %.40q: %w", id, ErrRefused)
	}
	return nil
}

// Topic checks a topic name to publish on.
func Topic(topic string) error {
	if topic == "" || len(topic) > MaxTopic || !utf8.ValidString(topic) || strings.ContainsAny(topic, "+#\x00") {
		return fmt.Errorf("topic %.60q: %w", topic, ErrRefused)
	}
	return slashes(topic)
}

// slashes counts the separators; Basic Ingest's first three levels are free.
func slashes(topic string) error {
	n := strings.Count(topic, "/")
	if strings.HasPrefix(topic, "$aws/rules/") {
		n -= 3
	}
	if n > MaxSlashes {
		return fmt.Errorf("topic %.60q has %d slashes: %w", topic, n, ErrRefused)
	}
	return nil
}

// Filter checks a topic filter to subscribe to.
func Filter(filter string) error {
	if filter == "" || len(filter) > MaxTopic || !utf8.ValidString(filter) || strings.IndexByte(filter, 0) >= 0 {
		return fmt.Errorf("topic filter %.60q: %w", filter, ErrRefused)
	}
	levels := strings.Split(filter, "/")
	for i, l := range levels {
		if l != "+" && strings.Contains(l, "+") || strings.Contains(l, "#") && (l != "#" || i < len(levels)-1) {
			return fmt.Errorf("topic filter %.60q: misplaced wildcard: %w", filter, ErrRefused)
		}
	}
	return slashes(filter)
}

// Wildcard reports whether a filter has wildcards.
func Wildcard(filter string) bool { return strings.ContainsAny(filter, "+#") }

// Payload checks the size of a PUBLISH.
func Payload(n int) error {
	if n > MaxPayload {
		return fmt.Errorf("payload of %d bytes, the limit is %d: %w", n, MaxPayload, ErrRefused)
	}
	return nil
}

// Use is what a publish on a topic means.
type Use uint8

// Uses of a topic by a publishing client.
const (
	Ordinary     Use = iota
	Jobs             // a request to the Jobs service
	Streams          // a request to file delivery
	Shadow           // a request to the Device Shadow service
	Provisioning     // a request to fleet provisioning
	Forbidden        // a reserved topic that clients must not publish on
)

// Classify says what a client's publish on a topic means. For Jobs, rest is
// what follows ".../jobs/"; for Streams, name is the stream and rest what
// follows it; for Shadow, name is the shadow, "" for the classic one, and rest the
// operation; for Provisioning, name is the template, "" for one about certificates,
// and rest operation and format. The parts share the topic's memory.
func Classify(topic string) (use Use, thing, name, rest string) {
	if topic == "" || topic[0] != '$' {
		return Ordinary, "", "", ""
	}
	if name, rest, ok := provisioning(topic); ok {
		return Provisioning, "", name, rest
	}
	thing, service, tail, ok := protocol.ParseThingTopic(topic)
	if !ok {
		return Forbidden, "", "", ""
	}
	switch service {
	case protocol.ServiceJobs:
		last := tail[strings.LastIndexByte(tail, '/')+1:]
		if tail == "notify" || tail == "notify-next" || last == "accepted" || last == "rejected" {
			return Forbidden, "", "", ""
		}
		return Jobs, thing, "", tail
	case protocol.ServiceStreams:
		name, rest, ok := strings.Cut(tail, "/")
		if !ok {
			return Forbidden, "", "", ""
		}
		switch op, _, _ := strings.Cut(rest, "/"); op {
		case "data", "description", "rejected":
			return Forbidden, "", "", ""
		}
		return Streams, thing, name, rest
	case protocol.ServiceShadow:
		if named, ok := strings.CutPrefix(tail, "name/"); ok {
			if name, tail, ok = strings.Cut(named, "/"); !ok || !aws.Name(name, 64, "$:") {
				return Forbidden, "", "", ""
			}
		}
		if tail == "update" || tail == "get" || tail == "delete" {
			return Shadow, thing, name, tail
		}
	}
	return Forbidden, "", "", ""
}

// provisioning takes a topic of fleet provisioning apart.
func provisioning(topic string) (template, rest string, ok bool) {
	if rest, ok := strings.CutPrefix(topic, "$aws/certificates/"); ok {
		switch rest {
		case "create/json", "create/cbor", "create-from-csr/json", "create-from-csr/cbor":
			return "", rest, true
		}
		return "", "", false
	}
	if tail, ok := strings.CutPrefix(topic, "$aws/provisioning-templates/"); ok {
		template, rest, _ := strings.Cut(tail, "/")
		return template, rest, aws.Name(template, 36, "") && (rest == "provision/json" || rest == "provision/cbor")
	}
	return "", "", false
}

// Metered is the number of messages that a message of n bytes (topic and
// payload) is billed as, at least one. Billed are CONNECT (with the bytes of its
// will), SUBSCRIBE, PUBACKs of clients, PUBLISH in both directions, and once more
// what is retained or stored for an absent client; free are CONNACK, SUBACK,
// PUBACKs of the service, UNSUBSCRIBE and its answer, DISCONNECT and pings
// (AWS IoT Core pricing, page "additional metering details").
func Metered(n int) uint64 {
	if n <= meteredUnit {
		return 1
	}
	return uint64((n + meteredUnit - 1) / meteredUnit)
}
