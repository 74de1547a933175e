package live

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A Path is what lies between a device and the cloud on a real socket: a link, and the
// faults on it. It is asked from many goroutines.
type Path interface {
	// Up is when n bytes that the device sends at now on a connection arrive; ok is
	// false if they never do.
	Up(connection uint32, now time.Duration, n int) (at time.Duration, ok bool)
	// Down is the same for what the cloud sends.
	Down(connection uint32, now time.Duration, n int) (at time.Duration, ok bool)
	// Dial lets an attempt to connect wait or fail.
	Dial(ctx context.Context) error
}

// Flights knows when what is on its way arrives, so that a clock can leap there and no
// further.
type Flights struct {
	mu  sync.Mutex
	due map[*flow]time.Duration
}

// Next is the earliest arrival, Never if nothing is on its way.
func (f *Flights) Next() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	next := Never
	for _, at := range f.due {
		next = min(next, at)
	}
	return next
}

func (f *Flights) set(w *flow, at time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.due == nil {
		f.due = map[*flow]time.Duration{}
	}
	if f.due[w] = at; at == Never {
		delete(f.due, w)
	}
}

// piece is bytes that arrive at a time, or the end of the stream.
type piece struct {
	at  time.Duration
	b   []byte
	err error
}

// flow is one direction of a connection: pieces in their order, each in its time.
type flow struct {
	s     *shaped
	queue chan piece
}

// maxPieces bounds what may be on its way; who sends more waits.
const maxPieces = 64

func (w *flow) push(p piece) bool {
	select {
	case w.queue <- p:
		return true
	case <-w.s.ctx.Done():
		return false
	}
}

// pull waits for the next piece and until it has arrived.
func (w *flow) pull(ctx context.Context) (piece, bool) {
	select {
	case p := <-w.queue:
		w.s.flights.set(w, p.at)
		defer w.s.flights.set(w, Never)
		return p, w.s.clock.Wait(ctx, p.at, nil)
	case <-ctx.Done():
		return piece{}, false
	}
}

var errBroken = errors.New("connection lost")

// shaped is a TCP connection behind a path.
//
//	Write -> up -> (its time) -> raw
//	Read  <- (its time) <- down <- raw
type shaped struct {
	net.Conn         // raw
	path             Path
	clock            *Clock
	flights          *Flights
	connection       uint32
	up, down         flow
	rest             []byte          // of Read
	ctx              context.Context //nolint:containedctx // of the connection
	end              context.CancelFunc
	device           context.Context //nolint:containedctx // of the device's end of it
	leave            context.CancelFunc
	closed, stranded atomic.Bool
	broken           atomic.Bool
	latestUp         time.Duration
	mu               sync.Mutex // of latestUp and the order of up
}

// shape puts a path in front of a connection. All ends at the latest with ctx; running
// counts the goroutines.
func shape(ctx context.Context, raw net.Conn, path Path, clock *Clock, flights *Flights, connection uint32, running *sync.WaitGroup) *shaped {
	s := &shaped{Conn: raw, path: path, clock: clock, flights: flights, connection: connection}
	s.ctx, s.end = context.WithCancel(ctx)
	s.device, s.leave = context.WithCancel(s.ctx)
	s.up, s.down = flow{s, make(chan piece, maxPieces)}, flow{s, make(chan piece, maxPieces)}
	running.Go(s.send)
	running.Go(s.receive)
	context.AfterFunc(s.ctx, func() { _ = raw.Close() })
	return s
}

// send carries what the device wrote to the socket.
func (s *shaped) send() {
	defer s.end()
	for {
		p, ok := s.up.pull(s.ctx)
		if !ok {
			return
		}
		if p.err != nil {
			return // closed, after all that was written
		}
		if s.stranded.Load() {
			continue
		}
		if _, err := s.Conn.Write(p.b); err != nil {
			return
		}
	}
}

// receive takes what the socket brings.
func (s *shaped) receive() {
	for {
		b := make([]byte, 16<<10)
		n, err := s.Conn.Read(b)
		now := s.clock.Now()
		if n > 0 && !s.stranded.Load() {
			at, ok := s.path.Down(s.connection, now, n)
			if ok && !s.down.push(piece{at: at, b: b[:n]}) {
				return
			}
		}
		if err != nil {
			if s.stranded.Load() {
				s.end()
				return
			}
			at, ok := s.path.Down(s.connection, now, 0)
			if ok {
				s.down.push(piece{at: at, err: err})
			}
			return
		}
	}
}

func (s *shaped) Read(b []byte) (int, error) {
	for len(s.rest) == 0 {
		p, ok := s.down.pull(s.device)
		switch {
		case s.broken.Load():
			return 0, errBroken
		case !ok:
			return 0, io.ErrClosedPipe
		case p.err != nil:
			return 0, p.err
		}
		s.rest = p.b
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *shaped) Write(b []byte) (int, error) {
	if s.broken.Load() {
		return 0, errBroken
	}
	if s.closed.Load() {
		return 0, io.ErrClosedPipe
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.path.Up(s.connection, s.clock.Now(), len(b))
	if !ok {
		return len(b), nil // on its way for ever
	}
	s.latestUp = max(s.latestUp, at)
	if !s.up.push(piece{at: at, b: append([]byte(nil), b...)}) {
		return 0, io.ErrClosedPipe
	}
	return len(b), nil
}

// Close ends the connection when what was written has left.
func (s *shaped) Close() error {
	if s.closed.Swap(true) || s.stranded.Load() {
		return nil
	}
	s.leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.up.push(piece{at: s.latestUp, err: io.EOF})
	return nil
}

// sever is the network ending the connection: for both ends, or so that only the
// device knows.
func (s *shaped) sever(told bool) {
	s.broken.Store(true)
	if !told {
		s.stranded.Store(true)
	}
	_ = s.Close()
	s.leave()
}

// Deadlines are not kept: what waits here ends with the connection.
func (s *shaped) SetDeadline(time.Time) error      { return nil }
func (s *shaped) SetReadDeadline(time.Time) error  { return nil }
func (s *shaped) SetWriteDeadline(time.Time) error { return nil }
