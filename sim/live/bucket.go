package live

import (
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
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, &EnvironmentError{"S3 listener", err}
	}
	b.server = &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	b.transport = &http.Transport{}
	b.done = make(chan struct{})
	go func() {
		defer close(b.done)
		_ = b.server.Serve(l) // always an error: that of Close
	}()
	return "http://" + l.Addr().String(), b.transport, nil
}

// Close ends the listener and all connections.
func (b *Bucket) Close() {
	if b.server == nil {
		return
	}
	b.transport.CloseIdleConnections()
	_ = b.server.Close()
	<-b.done
}
