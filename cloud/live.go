package cloud

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/broker"
	"github.com/otasim/otasim/cloud/broker/rules"
	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/cloud/quota"
)

// Delivery is a message that a real broker carries out: to one client directly,
// subscribed or not, or to all subscribers of a topic.
type Delivery struct {
	Direct   bool
	ClientID string // of a direct one
	// Subscribed says that a direct one must be dropped unless the client has
	// subscribed to its topic.
	Subscribed bool
	Topic      string
	Payload    []byte
	QoS        byte
}

// Carried is what a real broker has counted.
type Carried = broker.Stats

// Carry notes what a real broker has counted so far, for Stats.
func (c *Cloud) Carry(s Carried) { c.carried = s }

// Measure has Uses ask a real broker what it has used of the quotas that it counts.
func (c *Cloud) Measure(uses func(out map[quota.Name]quota.Peak)) { c.measured = uses }

// Handshake decides on the certificates that a client shows in a TLS handshake,
// leaf first. alert is the TLS alert of a refusal, 0 for welcome.
func (c *Cloud) Handshake(now time.Time, chain [][]byte) (alert byte) {
	_, alert = c.broker.Verify(now, chain)
	return alert
}

// Authenticate decides on a CONNECT over a verified TLS connection: the chain
// must be the authority's, registered and active, the policies must allow the
// client id. code is that of the CONNACK, 0 for welcome; the principal belongs
// to the connection.
func (c *Cloud) Authenticate(now time.Time, chain [][]byte, clientID string) (p Principal, code byte) {
	cert, alert := c.broker.Verify(now, chain)
	if cert == nil || alert != 0 {
		return Principal{}, rules.NotAuthorized
	}
	p = Principal{Certificate: cert, ClientID: clientID}
	return p, c.broker.Admit(now, p)
}

// Authorize decides on an action ("iot:Subscribe") on a resource without its
// ARN prefix ("topicfilter/a/b").
func (c *Cloud) Authorize(p Principal, action, resource string) bool {
	kind, name, ok := strings.Cut(resource, "/")
	return ok && c.registry.Authorize(p, action, kind, name)
}

// AuthorizeCertificate decides on a request of a device over HTTPS: its chain as
// in Authenticate, its policies with clientID in the place of an MQTT client's.
func (c *Cloud) AuthorizeCertificate(now time.Time, chain [][]byte, clientID, action, kind, name string) error {
	cert, alert := c.broker.Verify(now, chain)
	if cert == nil || alert != 0 {
		return aws.CertificateValidation.Because("The certificate is not accepted.")
	}
	if !c.registry.Authorize(Principal{Certificate: cert, ClientID: clientID}, action, kind, name) {
		return aws.AccessDenied.Because("The policies do not allow %s on %s/%s.", action, kind, name)
	}
	return nil
}

// JobsRequest answers a request to the Jobs data plane that comes over HTTPS:
// rest and payload as on the MQTT topic $aws/things/THING/jobs/REST, the answer
// as on .../accepted, a rejection as an exception.
func (c *Cloud) JobsRequest(now time.Time, thing, rest string, payload []byte) ([]byte, error) {
	r := services{c}.Jobs(now, thing, rest, payload)
	c.flush(now)
	if r.Topic == "" {
		return nil, errUnanswered
	}
	if !strings.HasSuffix(r.Topic, "/rejected") {
		return r.Payload, nil
	}
	var e struct{ Code, Message string }
	if err := json.Unmarshal(r.Payload, &e); err != nil {
		return nil, fmt.Errorf("cloud: rejected job request: %w", err)
	}
	return nil, (&jobs.DataError{Code: e.Code, Message: e.Message}).Unwrap()
}

// AuthorizePublish decides on a client's PUBLISH: topic rules, payload limit,
// reserved topics, policies. A refusal ends the connection.
func (c *Cloud) AuthorizePublish(p Principal, topic string, payload int, retain bool) bool {
	_, err := c.broker.Check(p, topic, payload, retain)
	return err == nil
}

// Handle takes an authorized publish. One on a reserved topic is answered by
// Jobs or file delivery; ok is false for an ordinary topic, which the broker
// routes by itself. Notifications that follow are in Deliveries.
func (c *Cloud) Handle(now time.Time, clientID, topic string, payload []byte) (out []Delivery, ok bool) {
	c.bucket.SetTime(now)
	use, thing, name, rest := rules.Classify(topic)
	prefix := topic[:len(topic)-len(rest)]
	switch use {
	case rules.Jobs:
		r := services{c}.Jobs(now, thing, rest, payload)
		if r.Topic == "" {
			break
		}
		d := Delivery{Direct: true, ClientID: clientID, Topic: prefix + r.Topic, Payload: r.Payload}
		if r.Delay > 0 {
			c.later(now, r.Delay, d)
			break
		}
		out = append(out, d)
	case rules.Streams:
		for _, r := range (services{c}).Streams(nil, now.UnixNano(), thing, name, rest, payload) {
			d := Delivery{Topic: prefix + r.Topic, Payload: r.Payload, QoS: 1}
			if r.Delay > 0 {
				c.later(now, r.Delay, d)
				continue
			}
			out = append(out, d)
		}
	case rules.Provisioning:
		r := services{c}.Provision(now, name, rest, payload)
		out = append(out, Delivery{Direct: true, Subscribed: true, ClientID: clientID, Topic: prefix + r.Topic, Payload: r.Payload})
	case rules.Shadow:
		r := services{c}.Shadow(now, thing, name, rest, prefix, payload)
		out = append(out, Delivery{Topic: prefix + r.Topic, Payload: r.Payload, QoS: 1})
	default:
		return nil, use == rules.Forbidden
	}
	c.flush(now)
	return out, true
}

// Changes reports whether a client's message on a reserved topic has changed the
// cloud, given the answers of Handle.
func Changes(topic string, answers []Delivery) bool {
	if len(answers) != 1 || !strings.HasSuffix(answers[0].Topic, "/accepted") {
		return false
	}
	switch use, _, _, rest := rules.Classify(topic); use {
	case rules.Jobs:
		return rest == "start-next" || strings.HasSuffix(rest, "/update")
	case rules.Shadow:
		return rest != "get"
	case rules.Provisioning:
		return true
	}
	return false
}

// Deliveries hands out the notifications since the last call, in order.
func (c *Cloud) Deliveries() []Delivery {
	out := c.pending
	c.pending = nil
	return out
}
