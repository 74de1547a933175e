package live

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/otasim/otasim/cloud/broker/rules"
)

// handshakeTimeout bounds TLS, and then CONNECT, of one client, in wall time.
const handshakeTimeout = 30 * time.Second

// listener hands connections to the broker once TLS has accepted them, and knows
// when the broker is done with each.
type listener struct {
	id     string
	tcp    net.Listener
	config *tls.Config // nil: no TLS
	ended  func(*peer)
	all    sync.WaitGroup // Serve and every connection
	// patience bounds TLS and CONNECT of one client.
	patience time.Duration

	mu     sync.Mutex
	open   map[net.Conn]struct{}
	closed bool
}

func newListener(id, address string, config *tls.Config, patience time.Duration, ended func(*peer)) (*listener, error) {
	if address == "" {
		address = "127.0.0.1:0"
	}
	tcp, err := net.Listen("tcp", address)
	if err != nil {
		return nil, &EnvironmentError{"MQTT listener", err}
	}
	l := &listener{id: id, tcp: tcp, config: config, ended: ended, patience: patience, open: map[net.Conn]struct{}{}}
	l.all.Add(1) // for Serve
	return l, nil
}

func (l *listener) Init(*slog.Logger) error { return nil }
func (l *listener) ID() string              { return l.id }
func (l *listener) Address() string         { return l.tcp.Addr().String() }
func (l *listener) Protocol() string        { return l.id }

// Serve accepts until Close.
func (l *listener) Serve(establish listeners.EstablishFn) {
	defer l.all.Done()
	for {
		conn, err := l.tcp.Accept()
		if err != nil {
			if l.over() {
				return
			}
			time.Sleep(10 * time.Millisecond) // out of file descriptors: others will close theirs
			continue
		}
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			_ = conn.Close()
			return
		}
		l.open[conn] = struct{}{}
		l.mu.Unlock()
		l.all.Add(1)
		go l.serve(conn, establish)
	}
}

func (l *listener) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// serve is one connection from the handshake to its end.
func (l *listener) serve(conn net.Conn, establish listeners.EstablishFn) {
	defer l.all.Done()
	defer func() {
		_ = conn.Close()
		l.mu.Lock()
		delete(l.open, conn)
		l.mu.Unlock()
	}()
	p := newPeer(conn)
	p.plain = l.config == nil
	if !p.plain {
		secure := tls.Server(conn, l.config)
		ctx, cancel := context.WithTimeout(context.Background(), l.patience)
		err := secure.HandshakeContext(ctx)
		cancel()
		if err != nil {
			return
		}
		for _, c := range secure.ConnectionState().PeerCertificates {
			p.chain = append(p.chain, c.Raw)
		}
		p.Conn = secure
	}
	_ = p.SetDeadline(time.Now().Add(l.patience)) // until CONNECT sets the keep-alive's
	switch err := establish(l.ID(), p); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		p.ends(rules.KeepAliveTimeout)
	case l.over():
		p.ends(rules.ServerInitiated)
	case errors.As(err, new(packets.Code)):
		p.ends(rules.ClientError)
	default:
		p.ends(rules.ConnectionLost)
	}
	l.ended(p)
	p.finish()
	close(p.done)
}

// drop ends every connection.
func (l *listener) drop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.open {
		_ = conn.Close()
	}
}

// Close ends the listener and every connection, and waits until the broker has
// forgotten them.
func (l *listener) Close(listeners.CloseFn) {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.drop()
	_ = l.tcp.Close()
	l.all.Wait()
}
