package cloud

import (
	"fmt"
	"time"

	"github.com/otasim/otasim/cloud/agenda"
	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/broker"
	"github.com/otasim/otasim/cloud/bucket"
	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/cloud/streams"
)

// Faults decides what goes wrong inside the cloud. Each member is asked once for
// each request, with the virtual time; nil: nothing goes wrong there. What a
// member answers should depend on nothing but its arguments, its own state and a
// seed, so that equal runs fail alike.
type Faults struct {
	// Call decides on a control plane call by its operation ("CreateJob"). An
	// error is answered in place of the call: Throttled, Failure, Unavailable.
	Call func(now time.Time, operation string) error
	// Jobs decides on a request to the Jobs data plane; rest is get, start-next,
	// JOB/get or JOB/update.
	Jobs func(now time.Time, thing, rest string) Fate
	// Streams decides on a request to file delivery; rest is get/cbor and so on.
	Streams func(now time.Time, thing, stream, rest string) Fate
	// Bucket decides on an S3 request, those of the signer, of file delivery and
	// of OTA updates included. File delivery asks for each block request as if it
	// read the object anew.
	Bucket func(now time.Time, r bucket.Request) bucket.Fault
}

// Fate is what becomes of a data plane request; the zero value is its answer.
type Fate struct {
	What  What
	Delay time.Duration // until the answer
}

// What happens to a data plane request.
type What uint8

// Fates of a request.
const (
	Served    What = iota
	Ignored        // it gets lost: nothing changes and nobody answers
	ReplyLost      // it is carried out, but nobody answers
	Throttle       // refused for its rate; file delivery says InternalError
	Fail           // refused with InternalError
)

// Errors for Faults.Call.
var (
	Throttled   error = aws.Throttling.Because("Rate exceeded")
	Failure     error = aws.InternalFailure.Because("An unexpected error has occurred.")
	Unavailable error = aws.ServiceUnavailable.Because("The service is temporarily unavailable.")
)

// SetFaults makes f decide from now on; nil ends all faults.
func (c *Cloud) SetFaults(f *Faults) {
	c.faults = f
	if f == nil || f.Bucket == nil {
		c.bucket.SetFaults(nil)
		c.streams.SetProbe(nil)
		return
	}
	c.bucket.SetFaults(f.Bucket)
	c.streams.SetProbe(func(l streams.Location) error { return c.bucket.Probe(l.Bucket, l.Key, l.Version) })
}

// RestartBroker cuts every connection, oldest first, as SERVER_INITIATED_DISCONNECT.
// Persistent sessions stay.
func (c *Cloud) RestartBroker(now time.Time) { c.broker.Restart(now) }

// failing is the error of a control plane call that a fault hits.
func (c *Cloud) failing(now time.Time, operation string) error {
	if c.faults == nil || c.faults.Call == nil {
		return nil
	}
	return c.faults.Call(now, operation)
}

// troubled is Jobs under faults. Without an answer the reply has no topic.
func (s services) troubled(now time.Time, thing, rest string, payload []byte) broker.Reply {
	fate := s.c.faults.Jobs(now, thing, rest)
	var r jobs.Reply
	switch fate.What {
	case Ignored:
		return broker.Reply{}
	case Throttle:
		r = s.c.jobs.Refuse(now, rest, payload, jobs.RequestThrottled, "The request rate of the account is exceeded.")
	case Fail:
		r = s.c.jobs.Refuse(now, rest, payload, jobs.InternalError, "An internal error has occurred.")
	case ReplyLost:
		s.c.jobs.Handle(now, thing, rest, payload)
		return broker.Reply{}
	default:
		r = s.c.jobs.Handle(now, thing, rest, payload)
	}
	return broker.Reply{Topic: r.Topic, Payload: r.Payload, Delay: fate.Delay}
}

// troubledStreams is Streams under faults.
func (s services) troubledStreams(out []broker.Reply, now time.Time, thing, name, rest string, payload []byte) []broker.Reply {
	var fate Fate
	if decide := s.c.faults.Streams; decide != nil {
		fate = decide(now, thing, name, rest)
	}
	from := len(out)
	s.c.bucket.Waited()
	switch fate.What {
	case Ignored:
		return out
	case Throttle, Fail:
		out = s.c.streams.Refuse(out, rest, payload, streams.InternalError, "An internal error has occurred.")
	default:
		out = s.c.streams.Handle(out, name, rest, payload)
		if fate.What == ReplyLost {
			clear(out[from:])
			return out[:from]
		}
	}
	if delay := fate.Delay + s.c.bucket.Waited(); delay > 0 {
		for i := range out[from:] {
			out[from+i].Delay = delay
		}
	}
	return out
}

// later hands a message to the real broker after a delay.
func (c *Cloud) later(now time.Time, delay time.Duration, d Delivery) {
	e := &agenda.Entry{Run: func(int64) { c.pending = append(c.pending, d) }}
	c.agenda.Plan(e, now.Add(delay).UnixNano())
}

// errUnanswered is what a client over HTTPS gets in place of silence.
var errUnanswered = fmt.Errorf("cloud: no answer: %w", aws.ServiceUnavailable.Because("The service did not answer."))
