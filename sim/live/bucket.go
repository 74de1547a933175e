package live

import (
	"crypto/ecdsa"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// A Bucket is S3 behind a listener on the loopback interface.
type Bucket struct {
	server    *http.Server
	transport *http.Transport
	done      chan struct{}
}

// Serve puts a handler behind a listener and says how to reach it. It fits
// cloud.Config.ServeS3.
func (b *Bucket) Serve(h http.Handler) (endpoint string, through http.RoundTripper, err error) {
	l, err := b.listen(h)
	if err != nil {
		return "", nil, err
	}
	b.transport = &http.Transport{}
	b.start(l)
	return "http://" + l.Addr().String(), b.transport, nil
}

// ServeTLS puts a handler behind a listener with a certificate, and says where it listens.
func (b *Bucket) ServeTLS(h http.Handler, chain [][]byte, key *ecdsa.PrivateKey) (address string, err error) {
	l, err := b.listen(h)
	if err != nil {
		return "", err
	}
	b.start(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{{Certificate: chain, PrivateKey: key}},
		CurvePreferences: []tls.CurveID{tls.CurveP256}, MinVersion: tls.VersionTLS12, SessionTicketsDisabled: true}))
	return l.Addr().String(), nil
}

func (b *Bucket) listen(h http.Handler) (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, &EnvironmentError{"S3 listener", err}
	}
	b.server = &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	return l, nil
}

func (b *Bucket) start(l net.Listener) {
	b.done = make(chan struct{})
	go func() {
		defer close(b.done)
		_ = b.server.Serve(l) // always an error: that of Close
	}()
}

// Close ends the listener and all connections.
func (b *Bucket) Close() {
	if b.server == nil {
		return
	}
	if b.transport != nil {
		b.transport.CloseIdleConnections()
	}
	_ = b.server.Close()
	<-b.done
}
