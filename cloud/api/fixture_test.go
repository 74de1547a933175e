package api

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/sigv4"
)

const (
	region = "us-east-1"
	host   = "127.0.0.1:4566"
)

var (
	epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	keys  = sigv4.Credentials{AccessKey: "AKIDTEST", SecretKey: "secret"}
)

// core is a cloud with a clock that only pass moves. It keeps the calls that
// changed something.
type core struct {
	mu    sync.Mutex
	now   time.Time
	c     *cloud.Cloud
	calls []recorded
}

type recorded struct {
	at   time.Time
	call Call
}

func (k *core) Now() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now
}

func (k *core) Do(call *Call, f func(now time.Time, c *cloud.Cloud) error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	err := f(k.now, k.c)
	if err == nil && !call.Reads() {
		k.calls = append(k.calls, recorded{k.now, *call})
	}
	k.c.Wake(k.now)
	return err
}

// pass lets time go by, doing what is due at its time.
func (k *core) pass(d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for until := k.now.Add(d); ; {
		next, ok := k.c.NextWake()
		if !ok || next.After(until) {
			k.now = until
			return
		}
		k.now = next
		k.c.Wake(next)
	}
}

type fixture struct {
	t    testing.TB
	core *core
	opt  Options
	h    http.Handler
}

func newCloud(t testing.TB, opt Options) *cloud.Cloud {
	c, err := cloud.New(cloud.Config{Region: region, Seed: [32]byte{1}, Epoch: epoch, External: true, Presign: Presigner("http://"+host, opt)})
	require.NoError(t, err)
	return c
}

func newFixture(t testing.TB, change func(*Options)) *fixture {
	opt := Options{Region: region, AccessKey: keys.AccessKey, SecretKey: keys.SecretKey, RequireAuth: true, DataEndpoint: "127.0.0.1:8883", JobsEndpoint: host, MaxObject: 1 << 20}
	if change != nil {
		change(&opt)
	}
	k := &core{now: epoch, c: newCloud(t, opt)}
	return &fixture{t: t, core: k, opt: opt, h: New(k, opt)}
}

func (f *fixture) request(method, target, body string, header ...string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = host
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

func (f *fixture) do(r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	f.h.ServeHTTP(w, r)
	return w.Result()
}

// signed does a request signed for a service.
func (f *fixture) signed(service, method, target, body string, header ...string) *http.Response {
	r := f.request(method, target, body, header...)
	sigv4.Sign(r, keys, region, service, sigv4.Payload([]byte(body)), f.core.Now())
	return f.do(r)
}

func text(t testing.TB, resp *http.Response) string {
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(b)
}

// shape is a JSON answer with long texts cut.
func shape(t testing.TB, resp *http.Response) string {
	raw := text(t, resp)
	if raw == "" {
		return ""
	}
	var v any
	require.NoError(t, json.Unmarshal([]byte(raw), &v), raw)
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	require.NoError(t, e.Encode(shorten(v)))
	return strings.TrimSpace(b.String())
}

func shorten(v any) any {
	switch v := v.(type) {
	case string:
		if strings.HasPrefix(v, "-----BEGIN") {
			return strings.SplitN(v, "\n", 2)[0] + "..."
		}
	case []any:
		for i := range v {
			v[i] = shorten(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = shorten(v[k])
		}
	}
	return v
}
