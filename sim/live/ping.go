package live

import (
	"context"
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/otasim/otasim/cloud/protocol"
)

// Behind a path, where connections can be half open, a client pings in the world's
// time, as devices do in virtual time. paho can only ping by the wall's clock, which on
// a busy machine goes faster than the world's, so it is told that there is no keep-alive
// and its CONNECT is corrected on its way.

const (
	pingTimeout = 4 * time.Second  // of the wall's, for the answer
	leastPing   = 2 * time.Second  // of the wall's, between two pings
	mostPing    = 20 * time.Second // of the wall's: the broker knows no other time
)

// pings are those of one connection.
type pings struct {
	clock  *Clock
	every  time.Duration
	alive  uint16        // the keep-alive of CONNECT, seconds of the wall's time
	sent   atomic.Int64  // time of the world of the latest packet to the broker
	heard  atomic.Uint64 // reads that brought something
	silent *time.Timer   // ends the connection; stopped by session.run
}

func (s *session) newPings() *pings {
	alive := time.Duration(s.connect.KeepAlive) * time.Second
	every := alive
	if s.connect.Ping > 0 {
		every = s.connect.Ping
	}
	p := &pings{clock: s.to.Clock, every: max(every, leastPing*s.to.Clock.speed), alive: uint16(max(alive/s.to.Clock.speed, leastPing) / time.Second)}
	p.sent.Store(int64(p.clock.Now()))
	return p
}

// saying notes that something is said, and corrects the keep-alive of a CONNECT:
// fixed header, 00 04 "MQTT", level, flags, keep-alive.
func (p *pings) saying(b []byte) []byte {
	p.sent.Store(int64(p.clock.Now()))
	if len(b) < 2 || b[0]>>4 != protocol.Connect {
		return b
	}
	i := 1
	for i < len(b) && b[i]&0x80 != 0 {
		i++
	}
	if i += 1 + 8; len(b) < i+2 {
		return b
	}
	b = append([]byte(nil), b...)
	binary.BigEndian.PutUint16(b[i:], p.alive)
	return b
}

// hush ends the wait for an answer.
func (s *session) hush() {
	if w := s.line.Load(); w != nil && w.pings.silent != nil {
		w.pings.silent.Stop()
	}
}

// wait returns when there may be something to do for the session, and pings when that
// is due; false when ctx ends.
func (s *session) wait(ctx context.Context) bool {
	w := s.line.Load()
	if w == nil {
		select {
		case <-ctx.Done():
			return false
		case <-s.ready:
			return true
		}
	}
	p := w.pings
	limited, cancel := context.WithTimeout(ctx, mostPing)
	defer cancel()
	p.clock.Wait(limited, time.Duration(p.sent.Load())+p.every, s.ready)
	if ctx.Err() != nil {
		return false
	}
	if limited.Err() == nil && time.Duration(p.sent.Load())+p.every > p.clock.Now() {
		return true
	}
	before := p.heard.Load()
	if _, err := w.Write([]byte{protocol.Pingreq << 4, 0}); err != nil {
		return true // paho's reader finds out, too
	}
	if p.silent != nil {
		p.silent.Stop()
	}
	p.silent = time.AfterFunc(pingTimeout, func() {
		if p.heard.Load() == before {
			_ = w.raw.Close()
		}
	})
	return true
}
