package serve

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// conversation is one HTTP request whose client must not stall: each part of a body
// has a deadline of its own, either way, and the whole has one.
type conversation struct {
	io.ReadCloser
	control *http.ResponseController
	stall   time.Duration
	end     time.Time
}

// next is the deadline of the next part.
func (c *conversation) next() time.Time {
	if t := time.Now().Add(c.stall); t.Before(c.end) {
		return t
	}
	return c.end
}

// Read implements io.Reader.
func (c *conversation) Read(b []byte) (int, error) {
	if err := c.control.SetReadDeadline(c.next()); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	n, err := c.ReadCloser.Read(b)
	if errors.Is(err, io.EOF) {
		_ = c.control.SetReadDeadline(c.end) // fails only with the connection
	}
	return n, err
}

// answer remembers its status.
type answer struct {
	http.ResponseWriter
	*conversation
	status int
}

// part is how much of an answer is written at once.
const part = 64 << 10

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (a *answer) Write(b []byte) (n int, err error) {
	for first := true; first || err == nil && n < len(b); first = false {
		if err = a.control.SetWriteDeadline(a.next()); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return n, err
		}
		var m int
		m, err = a.ResponseWriter.Write(b[n:min(len(b), n+part)])
		n += m
	}
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
