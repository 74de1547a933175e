package bucket

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Request is an S3 request as a fault sees it. Key is empty for a request on a
// bucket, Version for the latest version.
type Request struct{ Method, Bucket, Key, Version string }

// Fault is what happens to a request; the zero value is nothing.
type Fault struct {
	// Status, 500 or 503, is answered and nothing is done.
	Status int
	// Delay is how long the answer takes. It is told, not waited for: see Delay
	// and Waited.
	Delay time.Duration
	// Stale lets GET and HEAD of the latest version find the version before it,
	// if there is one.
	Stale bool
	// Whole answers 200 with the whole object, whatever range was asked for.
	Whole bool
}

// SetFaults makes decide say what happens to each request; nil: nothing. It is
// called in the goroutine of the request.
func (s *Service) SetFaults(decide func(now time.Time, r Request) Fault) {
	if decide == nil {
		s.faults.Store(nil)
		return
	}
	s.faults.Store(&decide)
}

const delayHeader = "X-Otasim-Delay"

// Delay is how long the answer to a request should have taken. It takes the note of it out of the header.
func Delay(h http.Header) time.Duration {
	text := h.Get(delayHeader)
	if text == "" {
		return 0
	}
	h.Del(delayHeader)
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0
	}
	return d
}

// Waited is how long the answers to this service's own requests since the last
// call of Waited should have taken together.
func (s *Service) Waited() time.Duration {
	d := s.waited
	s.waited = 0
	return d
}

// Probe asks what would happen to a GET without doing it; its delay counts for
// Waited.
func (s *Service) Probe(bucket, key, version string) error {
	decide := s.faults.Load()
	if decide == nil {
		return nil
	}
	f := (*decide)(clock{s}.Now(), Request{http.MethodGet, bucket, key, version})
	s.waited += f.Delay
	if f.Status != 0 {
		return f.refusal()
	}
	return nil
}

func (f Fault) refusal() *Error {
	if f.Status == http.StatusServiceUnavailable {
		return &Error{f.Status, "SlowDown", "Please reduce your request rate."}
	}
	return &Error{f.Status, "InternalError", "We encountered an internal error. Please try again."}
}

// guarded puts rates and faults in front of the store.
func (s *Service) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		if !s.limiter.allow(s.now.Load(), r.Method, b, key) {
			refuse(w, r, Fault{Status: http.StatusServiceUnavailable}.refusal())
			return
		}
		decide := s.faults.Load()
		if decide == nil {
			next.ServeHTTP(w, r)
			return
		}
		version := r.URL.Query().Get("versionId")
		f := (*decide)(clock{s}.Now(), Request{r.Method, b, key, version})
		if f.Delay > 0 {
			w.Header().Set(delayHeader, f.Delay.String())
		}
		if f.Status != 0 {
			refuse(w, r, f.refusal())
			return
		}
		if read := r.Method == http.MethodGet || r.Method == http.MethodHead; f.Stale && read && key != "" && version == "" && r.URL.RawQuery == "" {
			if older := before(next, b, key); older != "" {
				r = r.Clone(r.Context())
				r.URL.RawQuery = versionQuery(older)
				r.RequestURI = r.URL.RequestURI()
			}
		}
		if f.Whole && r.Header.Get("Range") != "" {
			r = r.Clone(r.Context())
			r.Header.Del("Range")
		}
		next.ServeHTTP(w, r)
	})
}

func refuse(w http.ResponseWriter, r *http.Request, e *Error) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(e.Status)
	if r.Method != http.MethodHead {
		_, _ = fmt.Fprintf(w, "%s<Error><Code>%s</Code><Message>%s</Message></Error>", xml.Header, e.Code, e.Detail) // the client may have gone
	}
}

// before finds the version of an object that precedes the latest, "" without one.
func before(store http.Handler, bucket, key string) string {
	w := &response{header: http.Header{}, status: http.StatusOK}
	u := "/" + url.PathEscape(bucket) + "?versions&prefix=" + url.QueryEscape(key)
	r, err := http.NewRequest(http.MethodGet, u, http.NoBody)
	if err != nil {
		return ""
	}
	r.RequestURI = u
	store.ServeHTTP(w, r)
	var list struct {
		Version []struct {
			Key, VersionId string //nolint:revive // as S3 spells it
			IsLatest       bool
		}
	}
	if xml.Unmarshal(w.body.Bytes(), &list) != nil {
		return ""
	}
	older := ""
	for _, v := range list.Version { // the store lists the oldest first
		if v.Key == key && !v.IsLatest {
			older = v.VersionId
		}
	}
	return older
}
