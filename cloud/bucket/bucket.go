// Package bucket is the S3 side of the cloud: versioned buckets in memory,
// reached by S3 requests only. Inside the process the requests go through
// Client, whose transport calls the handler without a socket; or a listener
// serves Handler, and Reach makes Client go there.
//
// The store is gofakes3 with its memory backend. Version ids come from the
// seed and dates from the service's own clock, so that equal histories give
// equal answers.
package bucket

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/otasim/otasim/cloud/aws"
)

// Service is all buckets of one account. It is not safe for concurrent use, but
// for Handler.
type Service struct {
	now      atomic.Int64 // unix nanoseconds; Handler may run in other goroutines
	handler  http.Handler
	client   *http.Client
	endpoint string
	stats    Stats
	faults   atomic.Pointer[func(now time.Time, r Request) Fault]
	waited   time.Duration // see Waited
	limiter  limiter
}

// Stats counts what went through Client.
type Stats struct {
	Requests uint64
	Bytes    uint64 // bodies, both ways
	Metered  Metered
}

// Metered are requests as S3 bills them, by their two prices. DELETE is free, and so is
// what S3 answers with an error of its own (status 5xx).
type Metered struct {
	Puts uint64 // PUT, COPY (a PUT too), POST and LIST: a GET of the service, or of a bucket without a subresource or with its versions or uploads
	Gets uint64 // everything else
}

// Count adds a request that was answered.
func (m *Metered) Count(r *http.Request, status int) {
	switch _, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); {
	case status >= http.StatusInternalServerError || r.Method == http.MethodDelete:
	case r.Method == http.MethodPut || r.Method == http.MethodPost || r.Method == http.MethodGet && key == "" && lists(r.URL.Query()):
		m.Puts++
	default:
		m.Gets++
	}
}

// lists reports whether a GET of a bucket lists what is in it: without a subresource
// (API Reference, ListObjects, ListObjectsV2), or versions and uploads.
func lists(query url.Values) bool {
	if query.Has("versions") || query.Has("uploads") {
		return true
	}
	for _, sub := range []string{"versioning", "location", "policy", "acl", "lifecycle", "encryption", "tagging", "cors", "logging", "notification", "object-lock"} {
		if query.Has(sub) {
			return false
		}
	}
	return true
}

// clock is the service's time as gofakes3 asks for it.
type clock struct{ s *Service }

func (c clock) Now() time.Time                  { return time.Unix(0, c.s.now.Load()).UTC() }
func (c clock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// New returns a service without buckets. now is the time until SetTime.
func New(realm aws.Realm, seed aws.Seed, now time.Time) *Service {
	s := &Service{endpoint: "https://s3." + realm.Region + ".amazonaws.com"}
	s.SetTime(now)
	c := clock{s}
	store := backend{s3mem.New(s3mem.WithVersionSeed(int64(seed.Sub("versions").Uint64())), s3mem.WithTimeSource(c)), c}
	s.handler = s.guarded(headVersion(gofakes3.New(store, gofakes3.WithTimeSource(c), gofakes3.WithTimeSkewLimit(0)).Server()))
	s.client = &http.Client{Transport: counted{s, transport{s}}}
	return s
}

// SetTime sets the clock that dates objects.
func (s *Service) SetTime(now time.Time) { s.now.Store(now.UnixNano()) }

// Handler answers S3 requests, path style. It is safe for concurrent use.
func (s *Service) Handler() http.Handler { return s.handler }

// Reach makes Client, and with it this service, send its requests to a listener
// that serves Handler.
func (s *Service) Reach(endpoint string, through http.RoundTripper) {
	s.endpoint, s.client = endpoint, &http.Client{Transport: counted{s, through}}
}

// Client reaches the handler: without a socket and whatever the host, until Reach.
func (s *Service) Client() *http.Client { return s.client }

// Endpoint is the URL to put in front of /bucket/key.
func (s *Service) Endpoint() string { return s.endpoint }

// Stats returns what Client has carried.
func (s *Service) Stats() Stats { return s.stats }

// headVersion makes HEAD honour versionId, which gofakes3 ignores there: it
// asks for the object and drops the body.
func headVersion(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead && r.URL.Query().Get("versionId") != "" {
			get := r.Clone(r.Context())
			get.Method = http.MethodGet
			next.ServeHTTP(bodiless{w}, get)
			return
		}
		next.ServeHTTP(w, r)
	})
}

type bodiless struct{ http.ResponseWriter }

func (bodiless) Write(b []byte) (int, error) { return len(b), nil }

// counted counts what goes through Client.
type counted struct {
	s       *Service
	through http.RoundTripper
}

func (c counted) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.through.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	c.s.stats.Requests++
	c.s.stats.Metered.Count(r, resp.StatusCode)
	c.s.stats.Bytes += uint64(max(r.ContentLength, 0))
	if r.Method != http.MethodHead {
		c.s.stats.Bytes += uint64(max(resp.ContentLength, 0))
	}
	return resp, nil
}

// transport calls the handler in the caller's goroutine.
type transport struct{ s *Service }

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.RequestURI = r.URL.RequestURI()
	in.Host = r.URL.Host
	in.RemoteAddr = "127.0.0.1:0"
	if in.Body == nil {
		in.Body = http.NoBody
	}
	if r.ContentLength >= 0 {
		in.Header.Set("Content-Length", strconv.FormatInt(r.ContentLength, 10))
	}
	w := &response{header: http.Header{}, status: http.StatusOK}
	t.s.handler.ServeHTTP(w, in)
	if r.Body != nil {
		if err := r.Body.Close(); err != nil {
			return nil, fmt.Errorf("bucket: request body: %w", err)
		}
	}
	length := int64(w.body.Len())
	if v := w.header.Get("Content-Length"); v != "" && r.Method == http.MethodHead {
		if n, err := strconv.ParseInt(v, 10, 64); err == nil {
			length = n
		}
	}
	return &http.Response{StatusCode: w.status, Status: strconv.Itoa(w.status) + " " + http.StatusText(w.status),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: w.header, Body: io.NopCloser(&w.body), ContentLength: length, Request: r}, nil
}

type response struct {
	header http.Header
	body   bytes.Buffer
	status int
	sent   bool
}

func (w *response) Header() http.Header { return w.header }

func (w *response) WriteHeader(status int) {
	if !w.sent {
		w.status, w.sent = status, true
	}
}

func (w *response) Write(b []byte) (int, error) {
	w.sent = true
	return w.body.Write(b)
}

// ReadFrom lets a whole object arrive in one buffer of its size.
func (w *response) ReadFrom(r io.Reader) (int64, error) {
	w.sent = true
	if n, err := strconv.Atoi(w.header.Get("Content-Length")); err == nil && n > 0 {
		w.body.Grow(n + bytes.MinRead)
	}
	return w.body.ReadFrom(r)
}

// Error is an S3 answer other than success.
type Error struct {
	Status       int
	Code, Detail string
}

func (e *Error) Error() string { return fmt.Sprintf("s3: %d %s: %s", e.Status, e.Code, e.Detail) }

// Object is one version of an object.
type Object struct {
	Data      []byte
	ETag      string
	VersionID string
}

func (s *Service) do(method, bucket, key, query string, body []byte, header map[string]string) (*http.Response, []byte, error) {
	u := s.Endpoint() + "/" + url.PathEscape(bucket)
	if key != "" {
		segments := strings.Split(key, "/")
		for i := range segments {
			segments[i] = url.PathEscape(segments[i])
		}
		u += "/" + strings.Join(segments, "/")
	}
	if query != "" {
		u += "?" + query
	}
	var rd io.Reader
	if body != nil {
		rd = bytes.NewReader(body)
	}
	req, err := http.NewRequest(method, u, rd)
	if err != nil {
		return nil, nil, fmt.Errorf("bucket: %w", err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, nil, fmt.Errorf("bucket: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	s.waited += Delay(resp.Header)
	data, err := readAll(resp)
	if err != nil {
		return nil, nil, fmt.Errorf("bucket: %w", err)
	}
	if resp.StatusCode >= 300 {
		return resp, nil, &Error{resp.StatusCode, between(data, "Code"), between(data, "Message")}
	}
	return resp, data, nil
}

// readAll reads a body into one slice of its size.
func readAll(resp *http.Response) ([]byte, error) {
	if resp.Request.Method == http.MethodHead || resp.ContentLength <= 0 {
		return io.ReadAll(resp.Body)
	}
	data := make([]byte, resp.ContentLength)
	_, err := io.ReadFull(resp.Body, data)
	return data, err
}

// between returns the text of the first XML element of that name.
func between(xml []byte, tag string) string {
	_, rest, ok := strings.Cut(string(xml), "<"+tag+">")
	if !ok {
		return ""
	}
	text, _, _ := strings.Cut(rest, "</"+tag+">")
	return text
}

// CreateBucket makes a bucket with versioning switched on.
func (s *Service) CreateBucket(name string) error {
	if _, _, err := s.do(http.MethodPut, name, "", "", nil, nil); err != nil {
		return err
	}
	_, _, err := s.do(http.MethodPut, name, "", "versioning",
		[]byte(`<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>`), nil)
	return err
}

// Versioned reports whether versioning is switched on.
func (s *Service) Versioned(name string) (bool, error) {
	_, data, err := s.do(http.MethodGet, name, "", "versioning", nil, nil)
	return between(data, "Status") == "Enabled", err
}

// Put stores an object and returns its version id.
func (s *Service) Put(bucket, key string, data []byte) (versionID string, err error) {
	if data == nil {
		data = []byte{}
	}
	resp, _, err := s.do(http.MethodPut, bucket, key, "", data, nil)
	if err != nil {
		return "", err
	}
	return resp.Header.Get("x-amz-version-id"), nil
}

// Get reads an object; an empty version is the latest.
func (s *Service) Get(bucket, key, version string) (Object, error) {
	resp, data, err := s.do(http.MethodGet, bucket, key, versionQuery(version), nil, nil)
	if err != nil {
		return Object{}, err
	}
	return Object{data, resp.Header.Get("ETag"), resp.Header.Get("x-amz-version-id")}, nil
}

// Head returns size and ETag of an object; an empty version is the latest.
func (s *Service) Head(bucket, key, version string) (size int64, etag string, err error) {
	resp, _, err := s.do(http.MethodHead, bucket, key, versionQuery(version), nil, nil)
	if err != nil {
		return 0, "", err
	}
	return resp.ContentLength, resp.Header.Get("ETag"), nil
}

// SplitURL takes an https URL of an object apart, path style or with the bucket
// in front of the host.
func SplitURL(u string) (bucket, key string, err error) {
	rest, ok := strings.CutPrefix(u, "https://")
	host, path, _ := strings.Cut(rest, "/")
	bucket, key, _ = strings.Cut(path, "/")
	if name, _, front := strings.Cut(host, ".s3"); front && name != "" {
		bucket, key = name, path
	}
	if !ok || bucket == "" || key == "" {
		return "", "", fmt.Errorf("%.120q is not the https URL of an object", u)
	}
	return bucket, key, nil
}

func versionQuery(version string) string {
	if version == "" {
		return ""
	}
	return "versionId=" + url.QueryEscape(version)
}
