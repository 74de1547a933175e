package rules

import "time"

// Rates bound one connection. A zero value is no bound.
type Rates struct {
	Publishes  int64 // a second, in and out together; more are dropped
	Throughput int64 // bytes of topics and payloads a second, in and out together; more wait
	Inflight   int   // QoS 1 publishes that await their acknowledgement, in each direction
}

// AWS are the rates of every account.
var AWS = Rates{Publishes: 100, Throughput: 512 << 10, Inflight: 100}

// Verdict is what becomes of one PUBLISH. The zero value lets it through.
type Verdict struct {
	// Drop discards it. One of QoS 1 gets no acknowledgement, so its sender
	// sends it again.
	Drop bool
	// Wait is how long to hold it back, and all that follows it in its
	// direction.
	Wait time.Duration
}

// A Limiter is what one connection has used of its rates. The zero value has
// used nothing.
//
//	publishes:   a count that begins anew with each second of the clock
//	bytes:       another, for those who want to know
//	throughput:  a bucket of one second's worth; what does not fit waits until it does
type Limiter struct {
	second    int64
	publishes int64
	bytes     int64
	busy      int64 // until when the bytes of the past occupy the connection, unix nanoseconds
}

// Publish asks for one PUBLISH of n bytes, topic and payload, at the time now
// in unix nanoseconds. Either direction counts.
func (l *Limiter) Publish(r *Rates, now int64, n int) Verdict {
	if s := now / int64(time.Second); s != l.second {
		l.second, l.publishes, l.bytes = s, 0, 0
	}
	l.publishes++
	l.bytes += int64(n)
	if r.Publishes > 0 && l.publishes > r.Publishes {
		return Verdict{Drop: true}
	}
	if r.Throughput <= 0 {
		return Verdict{}
	}
	l.busy = max(l.busy, now) + int64(n)*int64(time.Second)/r.Throughput
	return Verdict{Wait: time.Duration(max(0, l.busy-now-int64(time.Second)))}
}

// Asked is what was asked for in the second of the clock of the latest PUBLISH,
// dropped or not.
func (l *Limiter) Asked() (publishes, bytes int64) { return l.publishes, l.bytes }

// Full reports whether n unacknowledged publishes are as many as may be.
func (r *Rates) Full(n int) bool { return r.Inflight > 0 && n >= r.Inflight }
