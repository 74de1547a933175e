package sim

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/api"
	"github.com/otasim/otasim/cloud/bucket"
	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/sim/kernel"
	"github.com/otasim/otasim/sim/network"
)

// storefront is S3 as devices see it: presigned URLs, answered by the handler that serves real clients.
type storefront struct {
	cloud   *cloud.Cloud
	now     time.Time
	handler http.Handler
	chain   []byte // certificate chain of the S3 host
	pages   map[page][]byte
	reader  bytes.Reader
	lines   *bufio.Reader
	fetched *fetched
}

// fetched counts the HTTP requests of devices, those of them that are billed, and the bytes of the bodies they got.
type fetched struct{ requests, gets, bytes atomic.Uint64 }

// count adds a response. Devices only read.
func (f *fetched) count(status, body int) {
	f.requests.Add(1)
	f.bytes.Add(uint64(body))
	if status < http.StatusInternalServerError {
		f.gets.Add(1)
	}
}

// page is a range of an object. A body equal to the one before is replaced by it, so that a block which many devices ask
// for is in memory once.
type page struct{ path, bytes string }

// s3Keys are the credentials the service signs URLs with.
func s3Options(region string, seed kernel.Seed) api.Options {
	key := seed.Key("s3 signing key")
	return api.Options{Region: region, AccessKey: "AKIAIOTASIMSERVICE00", SecretKey: fmt.Sprintf("%x", key[:20])}
}

func s3Host(region string) string { return "s3." + region + ".amazonaws.com" }

func newStorefront(c *cloud.Cloud, opt api.Options, count *fetched) (*storefront, error) {
	s := &storefront{cloud: c, fetched: count, pages: map[page][]byte{}}
	s.handler = api.New(s, opt)
	s.lines = bufio.NewReader(&s.reader)
	certs, _, err := c.PKI().Server(s3Host(opt.Region))
	if err != nil {
		return nil, fmt.Errorf("S3: %w", err)
	}
	for _, der := range certs {
		s.chain = protocol.AppendCertificate(s.chain, der)
	}
	return s, nil
}

// Now and Do make it the core of an api handler.
func (s *storefront) Now() time.Time { return s.now }

func (s *storefront) Do(_ *api.Call, f func(now time.Time, c *cloud.Cloud) error) error {
	return f(s.now, s.cloud)
}

// answer is the response to one request of a device; ok is false if the connection ends instead,
// and delay how long a slow bucket takes.
func (s *storefront) answer(now time.Time, request []byte) (response protocol.Frame, delay time.Duration, ok bool) {
	s.now = now
	s.reader.Reset(request)
	s.lines.Reset(&s.reader)
	r, err := http.ReadRequest(s.lines)
	if err != nil {
		return protocol.Frame{}, 0, false
	}
	r.RemoteAddr = "127.0.0.1:0"
	w := &responseWriter{header: http.Header{}}
	s.handler.ServeHTTP(w, r)
	delay = bucket.Delay(w.header)
	s.fetched.count(w.status, len(w.body))
	if w.status == http.StatusPartialContent {
		key := page{r.URL.Path, r.Header.Get("Range")}
		if last, ok := s.pages[key]; ok && bytes.Equal(last, w.body) {
			w.body = last
		} else {
			s.pages[key] = w.body
		}
	}
	return w.frame(), delay, true
}

// responseWriter collects a response.
type responseWriter struct {
	header http.Header
	status int
	body   []byte
}

func (w *responseWriter) Header() http.Header { return w.header }

func (w *responseWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *responseWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	w.body = append(w.body, b...)
	return len(b), nil
}

// ReadFrom takes a body in one piece of its length.
func (w *responseWriter) ReadFrom(r io.Reader) (int64, error) {
	w.WriteHeader(http.StatusOK)
	n, err := strconv.Atoi(w.header.Get("Content-Length"))
	if err != nil || w.body != nil {
		return io.Copy(struct{ io.Writer }{w}, r)
	}
	w.body = make([]byte, n)
	got, err := io.ReadFull(r, w.body)
	w.body = w.body[:got]
	return int64(got), err
}

// frame is the response on the wire. Dates are left out: nothing reads them.
func (w *responseWriter) frame() protocol.Frame {
	w.WriteHeader(http.StatusOK)
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", w.status, http.StatusText(w.status))
	names := make([]string, 0, len(w.header))
	for name := range w.header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range w.header[name] {
			b.WriteString(name + ": " + v + "\r\n")
		}
	}
	b.WriteString("\r\n")
	return protocol.Frame{Kind: protocol.FrameHTTP, Head: []byte(b.String()), Body: w.body}
}

// https handles a frame of a device's HTTPS connection.
func (c *cloudside) https(sh *shard, now time.Duration, id int32, gen uint32, f protocol.Frame) {
	switch f.Kind {
	case protocol.FrameHTTPSClient:
		c.reply(sh, now, 0, id, gen, protocol.Frame{Kind: protocol.FrameHTTPSServer, Body: c.store.chain})
	case protocol.FrameHTTP:
		response, delay, ok := c.store.answer(sh.w.epoch.Add(now), f.Head)
		if !ok {
			response = protocol.Frame{Kind: protocol.FrameHTTPClose}
		}
		c.reply(sh, now, delay, id, gen, response)
	}
}

// reply sends a frame that leaves now and is on its way longer than others by delay.
func (c *cloudside) reply(sh *shard, now, delay time.Duration, id int32, gen uint32, f protocol.Frame) {
	c.chain.Fold(uint64(now)<<8 | uint64(f.Kind) | 0x80)
	c.chain.Fold(uint64(id)<<32 | uint64(gen))
	c.chain.Bytes(f.Head)
	c.chain.Fold(sh.bodies.Sum(f.Body))
	l := sh.w.devs[id].link
	sh.k.Send(id, c.down[id].Send(l, l.Downlink, now, f.Len())+delay, msg{kind: msgFrame, gen: gen, frame: f})
}

// isHTTP reports whether a frame belongs to the HTTPS connection.
func isHTTP(k protocol.FrameKind) bool { return k >= protocol.FrameHTTPSClient }

// fetch carries out an HTTP operation of a device.
func (sh *shard) fetch(a *actor, op device.NetOp, rtt time.Duration) {
	if a.http == nil {
		a.http = &network.HTTP{Gen: 1 << 31} // apart from the MQTT connection's
	}
	transfer := time.Duration(0)
	if rate := a.link.Downlink; rate > 0 && op.Kind == device.OpHTTPGet {
		transfer = time.Duration(uint64(op.Last-op.First+1) * 8 * uint64(time.Second) / rate)
	}
	sh.serveHTTP(a, a.http.Do(op, rtt, transfer, nil))
}

// httpFrame hands a frame of the HTTPS connection to the device's client.
func (sh *shard) httpFrame(a *actor, now time.Duration, m *msg) {
	if a.http == nil || m.gen != a.http.Gen || !a.http.Alive() {
		return // a connection that this TCP stack does not know
	}
	a.chain.Fold(uint64(now)<<8 | uint64(m.frame.Kind))
	a.chain.Fold(uint64(m.frame.Len()))
	sh.serveHTTP(a, a.http.Receive(now, sh.w.epoch.Add(sh.wall(a, now)), m.frame, &sh.roots, nil))
}

// serveHTTP carries out what the HTTP client put out. Events come to the device later, at the earliest when it is done
// with the step it is in.
func (sh *shard) serveHTTP(a *actor, out []network.Output) {
	for i := range out {
		if o := &out[i]; o.IsPost {
			sh.transmit(a, o.At, a.http.Gen, o.Frame, o.Bytes)
		} else if a.powered() {
			sh.step(a, o.At, o.Event)
		}
	}
}
