package live

import (
	"errors"
	"net"
	"sync"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/broker/rules"
)

// Bounds of what waits for one client. The longest answer to a request is 128 KiB in
// 512 blocks.
const (
	softBacklog = 512 << 10 // bytes from which messages are queued in the session, or dropped
	hardBacklog = 2 << 20   // bytes from which the connection ends
	chunk       = 16 << 10  // bytes that are written at once
	stalled     = 30 * time.Second
	lastWrite   = 2 * time.Second // for what is left to say when the connection ends
)

var (
	errSlow = errors.New("the client does not read what it is sent")
	errOver = errors.New("the connection is over")
)

// A peer is one client's connection as the broker holds it. Nobody who writes to it
// waits for the client: what is written waits in memory, and a goroutine that lives
// as long as something does hands it to the socket.
//
//	Write -> waiting -> (not before it is due) -> TLS -> socket
type peer struct {
	net.Conn
	raw   net.Conn // below TLS
	plain bool     // there is no TLS
	chain [][]byte
	done  chan struct{} // closed when the broker has forgotten the connection
	gone  chan struct{} // closed when the connection is cut or about to be
	over  sync.Once     // closes gone

	// Guarded by Broker.mu.
	principal cloud.Principal
	since     time.Duration
	session   *mailbox
	cl        *mqtt.Client // once the CONNECT is accepted
	will      *will
	goodbye   bool        // it has said DISCONNECT
	number    *rules.Peer // as lifecycle events describe it, once accepted

	// Of the goroutine that reads from the client.
	granted   []bool // filters of the SUBSCRIBE that is being answered
	known     []bool // which of them are not new
	throttled bool   // it is refused for a rate

	out  sync.Mutex
	idle sync.Cond // not flowing
	// Guarded by out.
	waiting []segment
	size    int // bytes of waiting
	due     time.Time
	flowing bool
	closing bool
	limiter rules.Limiter
	why     rules.Reason // the end, once it is decided
}

// segment is bytes that must not leave before a time.
type segment struct {
	due time.Time
	b   []byte
}

// chunks are the memory of segments that are no longer than a chunk.
var chunks = sync.Pool{New: func() any { return new([chunk]byte) }}

// newSegment copies b, which may be in two parts.
func newSegment(due time.Time, head, b []byte) segment {
	if len(head)+len(b) > chunk {
		return segment{due, append(append(make([]byte, 0, len(head)+len(b)), head...), b...)}
	}
	c := chunks.Get().(*[chunk]byte)
	return segment{due, append(append(c[:0], head...), b...)}
}

// free gives the memory back.
func (s *segment) free() {
	if cap(s.b) == chunk {
		chunks.Put((*[chunk]byte)(s.b[:chunk]))
	}
	s.b = nil
}

func newPeer(conn net.Conn) *peer {
	p := &peer{Conn: conn, raw: conn, done: make(chan struct{}), gone: make(chan struct{})}
	p.idle.L = &p.out
	return p
}

// cut ends the connection without a word.
func (p *peer) cut() {
	p.over.Do(func() { close(p.gone) })
	_ = p.raw.Close()
}

// Close implements net.Conn. What was written before is still sent, for a while.
func (p *peer) Close() error {
	p.over.Do(func() { close(p.gone) })
	p.out.Lock()
	first := !p.closing
	p.closing = true
	flowing := p.flowing
	p.out.Unlock()
	switch {
	case !first:
		return nil
	case flowing:
		return p.Conn.SetWriteDeadline(time.Now().Add(lastWrite)) // and the goroutine closes
	}
	return p.Conn.Close()
}

// ends notes why the connection ends; the first reason counts.
func (p *peer) ends(why rules.Reason) {
	p.out.Lock()
	defer p.out.Unlock()
	if p.why == "" {
		p.why = why
	}
}

// reason is why the connection has ended.
func (p *peer) reason() rules.Reason {
	p.out.Lock()
	defer p.out.Unlock()
	return p.why
}

// finish closes the connection and waits for what is still sent.
func (p *peer) finish() {
	_ = p.Close()
	p.out.Lock()
	defer p.out.Unlock()
	for p.flowing {
		p.idle.Wait()
	}
}

// SetDeadline implements net.Conn. Writing has deadlines of its own.
func (p *peer) SetDeadline(t time.Time) error { return p.SetReadDeadline(t) }

// Write implements net.Conn.
func (p *peer) Write(b []byte) (int, error) { return p.write(nil, b) }

// write writes two parts as one.
func (p *peer) write(head, b []byte) (int, error) {
	p.out.Lock()
	defer p.out.Unlock()
	if p.closing {
		return 0, errOver
	}
	size := len(head) + len(b)
	if p.size+size > hardBacklog {
		p.cut()
		return 0, errSlow
	}
	p.size += size
	if n := len(p.waiting); n > 0 && p.waiting[n-1].due.Equal(p.due) && len(p.waiting[n-1].b)+size <= chunk {
		p.waiting[n-1].b = append(append(p.waiting[n-1].b, head...), b...)
	} else {
		p.waiting = append(p.waiting, newSegment(p.due, head, b))
	}
	if !p.flowing {
		p.flowing = true
		go p.flow()
	}
	return size, nil
}

// backlog is how many bytes wait.
func (p *peer) backlog() int {
	p.out.Lock()
	defer p.out.Unlock()
	return p.size
}

// hold keeps what is written from now on until a time.
func (p *peer) hold(until time.Time) {
	p.out.Lock()
	defer p.out.Unlock()
	if until.After(p.due) {
		p.due = until
	}
}

// flow writes until nothing waits.
func (p *peer) flow() {
	p.out.Lock()
	defer p.out.Unlock()
	for len(p.waiting) > 0 {
		s := p.waiting[0]
		p.waiting[0] = segment{}
		p.waiting = p.waiting[1:]
		closing := p.closing
		p.out.Unlock()
		err := p.send(s, closing)
		p.out.Lock()
		p.size -= len(s.b)
		s.free()
		if err != nil {
			p.waiting, p.size, p.closing = nil, 0, true
			p.cut()
		}
	}
	p.waiting, p.flowing = nil, false
	p.idle.Broadcast()
	if p.closing {
		_ = p.Conn.Close() // after which nothing is written
	}
}

// send writes a segment when it is due. At the end of a connection it is.
func (p *peer) send(s segment, closing bool) error {
	if d := time.Until(s.due); !closing && !s.due.IsZero() && d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-p.gone:
		}
	}
	for b := s.b; len(b) > 0; {
		n := min(len(b), chunk)
		select {
		case <-p.gone:
		default:
			_ = p.Conn.SetWriteDeadline(time.Now().Add(stalled)) // fails only when the connection has
		}
		if _, err := p.Conn.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
