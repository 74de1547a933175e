package sim

import (
	"net/http"
	"sync"
	"time"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/api"
	"github.com/otasim/otasim/cloud/bucket"
)

// window is where devices fetch files in live mode: the S3 of real clients behind a listener of its own.
type window struct {
	world   *liveWorld
	options api.Options
	once    sync.Once
	handler http.Handler
}

// Now and Do make it the core of an api handler.
func (s *window) Now() time.Time { return s.world.epoch.Add(s.world.clock.Now()) }

func (s *window) Do(_ *api.Call, f func(now time.Time, c *cloud.Cloud) error) (err error) {
	s.world.broker.Do(func(now time.Duration) { err = f(s.world.epoch.Add(now), s.world.side.cloud) })
	return err
}

// ServeHTTP is not called before a device has got a URL, which is long after the world is complete.
func (s *window) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.once.Do(func() { s.handler = api.New(s, s.options) })
	n := &counter{ResponseWriter: w, wait: func(d time.Duration) {
		clock := s.world.clock
		clock.Wait(r.Context(), clock.Now()+d, nil)
	}}
	s.handler.ServeHTTP(n, r)
	s.world.side.op.fetched.count(n.status, n.bytes)
}

// counter counts the bytes of a body, and remembers the status.
type counter struct {
	http.ResponseWriter
	wait          func(time.Duration) // for a slow bucket
	status, bytes int
}

func (c *counter) WriteHeader(status int) {
	if d := bucket.Delay(c.Header()); d > 0 {
		c.wait(d)
	}
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

func (c *counter) Write(b []byte) (int, error) {
	if c.status == 0 {
		c.WriteHeader(http.StatusOK)
	}
	n, err := c.ResponseWriter.Write(b)
	c.bytes += n
	return n, err
}
