// Package sigv4 signs HTTP requests the way AWS clients do, Signature Version 4,
// and verifies the signatures of others: in the Authorization header, in the
// query of a presigned URL, and of every chunk of a streamed body.
//
//	canonical request = method \n path \n query \n headers \n signed names \n SHA-256 of the body
//	string to sign    = AWS4-HMAC-SHA256 \n time \n date/region/service/aws4_request \n SHA-256 of the above
//	key               = HMAC(HMAC(HMAC(HMAC("AWS4"+secret, date), region), service), "aws4_request")
//	signature         = hex(HMAC(key, string to sign))
//
// Every service but S3 encodes the path of the request line once more and
// removes its dot segments; S3 takes it as the key of an object.
//
// Sources: AWS General Reference, pages on Signature Version 4; Amazon S3 API
// Reference, pages sig-v4-header-based-auth, sigv4-query-string-auth and
// sigv4-streaming, whose examples are the test vectors.
package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Values of X-Amz-Content-Sha256 that are no digest.
const (
	UnsignedPayload          = "UNSIGNED-PAYLOAD"
	StreamingUnsignedTrailer = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
	StreamingSigned          = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	StreamingSignedTrailer   = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	timeLayout = "20060102T150405Z"
	terminator = "aws4_request"
	// MaxExpires is the longest life of a presigned URL.
	MaxExpires = 7 * 24 * time.Hour
	// Skew is how far a client's clock may be off.
	Skew = 15 * time.Minute
)

// Why a signature is refused.
var (
	ErrMissing   = errors.New("the request is not signed")
	ErrMalformed = errors.New("malformed signature")
	ErrKey       = errors.New("unknown access key")
	ErrSkew      = errors.New("the time of the request is too far from the server's")
	ErrExpired   = errors.New("the presigned URL has expired")
	ErrNotYet    = errors.New("the presigned URL is not valid yet")
	ErrUnsigned  = errors.New("a header that must be signed is not")
	ErrMismatch  = errors.New("the signature does not match")
)

// Credentials are one access key with its secret.
type Credentials struct{ AccessKey, SecretKey string }

// Scope is whom a signature is for.
type Scope struct{ AccessKey, Date, Region, Service string }

func (s Scope) text() string {
	return s.Date + "/" + s.Region + "/" + s.Service + "/" + terminator
}

// Signature is what a request says about its signature.
type Signature struct {
	Scope
	Time      time.Time
	Presigned bool
	Expires   time.Duration // of a presigned one
	Headers   []string      // signed names, lower case, in the order given
	Payload   string        // X-Amz-Content-Sha256, or "" when there is none
	Hex       string        // 64 hexadecimal digits
}

// Parse reads the signature of a request without checking it. Errors wrap
// ErrMissing or ErrMalformed.
func Parse(r *http.Request) (Signature, error) {
	if auth := r.Header.Get("Authorization"); auth != "" {
		return parseHeader(r, auth)
	}
	q := query(r)
	if q.get("X-Amz-Algorithm") == "" && q.get("X-Amz-Signature") == "" && q.get("X-Amz-Credential") == "" {
		return Signature{}, ErrMissing
	}
	return parseQuery(r, q)
}

func parseHeader(r *http.Request, auth string) (Signature, error) {
	rest, ok := strings.CutPrefix(auth, algorithm+" ")
	if !ok {
		return Signature{}, fmt.Errorf("%w: Authorization does not begin with %s", ErrMalformed, algorithm)
	}
	var credential, signed string
	s := Signature{Payload: r.Header.Get("X-Amz-Content-Sha256")}
	for _, part := range strings.Split(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "Credential":
			credential = value
		case "SignedHeaders":
			signed = value
		case "Signature":
			s.Hex = value
		}
	}
	date := r.Header.Get("X-Amz-Date")
	if date == "" {
		if t, err := http.ParseTime(r.Header.Get("Date")); err == nil {
			date = t.UTC().Format(timeLayout)
		}
	}
	return s, s.fill(credential, signed, date)
}

func parseQuery(r *http.Request, q pairs) (Signature, error) {
	s := Signature{Presigned: true, Hex: q.get("X-Amz-Signature"), Payload: q.get("X-Amz-Content-Sha256")}
	if s.Payload == "" {
		s.Payload = r.Header.Get("X-Amz-Content-Sha256")
	}
	if a := q.get("X-Amz-Algorithm"); a != algorithm {
		return Signature{}, fmt.Errorf("%w: X-Amz-Algorithm %.40q, want %s", ErrMalformed, a, algorithm)
	}
	n, err := strconv.Atoi(q.get("X-Amz-Expires"))
	if err != nil || n < 1 || time.Duration(n)*time.Second > MaxExpires {
		return Signature{}, fmt.Errorf("%w: X-Amz-Expires %.20q, want 1 to %d", ErrMalformed, q.get("X-Amz-Expires"), int(MaxExpires.Seconds()))
	}
	s.Expires = time.Duration(n) * time.Second
	return s, s.fill(q.get("X-Amz-Credential"), q.get("X-Amz-SignedHeaders"), q.get("X-Amz-Date"))
}

// fill takes apart what both forms have.
func (s *Signature) fill(credential, signed, date string) error {
	c := strings.Split(credential, "/")
	n := len(c)
	if n < 5 || c[n-1] != terminator || c[n-2] == "" || c[n-3] == "" {
		return fmt.Errorf("%w: Credential %.80q, want KEY/DATE/REGION/SERVICE/%s", ErrMalformed, credential, terminator)
	}
	s.Scope = Scope{strings.Join(c[:n-4], "/"), c[n-4], c[n-3], c[n-2]}
	t, err := time.Parse(timeLayout, date)
	switch {
	case err != nil:
		return fmt.Errorf("%w: X-Amz-Date %.40q, want YYYYMMDDTHHMMSSZ", ErrMalformed, date)
	case date[:8] != s.Date:
		return fmt.Errorf("%w: date %.20q of the credential is not that of X-Amz-Date %s", ErrMalformed, s.Date, date)
	case signed == "":
		return fmt.Errorf("%w: SignedHeaders is empty", ErrMalformed)
	}
	s.Time, s.Headers = t, strings.Split(signed, ";")
	if raw, err := hex.DecodeString(s.Hex); err != nil || len(raw) != sha256.Size {
		return fmt.Errorf("%w: Signature %.80q, want 64 hexadecimal digits", ErrMalformed, s.Hex)
	}
	return nil
}

// Verify checks the signature of a request at the time now. The body is not
// read: a Payload that is a digest must be compared by the caller. Errors wrap
// one of the values above.
func (s Signature) Verify(r *http.Request, secret string, now time.Time) error {
	switch {
	case s.Presigned && now.After(s.Time.Add(s.Expires)):
		return fmt.Errorf("%w: at %s", ErrExpired, s.Time.Add(s.Expires).Format(time.RFC3339))
	case s.Presigned && now.Before(s.Time.Add(-Skew)):
		return fmt.Errorf("%w: it begins at %s", ErrNotYet, s.Time.Format(time.RFC3339))
	case !s.Presigned && now.Sub(s.Time).Abs() > Skew:
		return fmt.Errorf("%w: %s, here it is %s", ErrSkew, s.Time.Format(timeLayout), now.UTC().Format(timeLayout))
	}
	if err := s.covers(r); err != nil {
		return err
	}
	want := s.sign(secret, canonical(r, s))
	if !hmac.Equal([]byte(want), []byte(strings.ToLower(s.Hex))) {
		return ErrMismatch
	}
	return nil
}

// covers reports whether the headers that matter are signed.
func (s Signature) covers(r *http.Request) error {
	signed := map[string]bool{}
	for _, h := range s.Headers {
		signed[h] = true
	}
	if !signed["host"] {
		return fmt.Errorf("%w: host", ErrUnsigned)
	}
	for name := range r.Header {
		if n := strings.ToLower(name); strings.HasPrefix(n, "x-amz-") && !signed[n] && n != "x-amz-content-sha256" {
			return fmt.Errorf("%w: %s", ErrUnsigned, n)
		}
	}
	return nil
}

func (s Signature) sign(secret, request string) string {
	sum := sha256.Sum256([]byte(request))
	text := algorithm + "\n" + s.Time.Format(timeLayout) + "\n" + s.text() + "\n" + hex.EncodeToString(sum[:])
	return hex.EncodeToString(mac(Key(secret, s.Scope), text))
}

// Key derives the signing key of a scope.
func Key(secret string, s Scope) []byte {
	return mac(mac(mac(mac([]byte("AWS4"+secret), s.Date), s.Region), s.Service), terminator)
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// Sign puts an Authorization header on a request. payload is the hexadecimal
// SHA-256 of its body or one of the constants above; for S3 it is sent, too.
func Sign(r *http.Request, c Credentials, region, service, payload string, now time.Time) {
	now = now.UTC()
	r.Header.Set("X-Amz-Date", now.Format(timeLayout))
	if service == "s3" {
		r.Header.Set("X-Amz-Content-Sha256", payload)
	}
	s := Signature{Scope: Scope{c.AccessKey, now.Format("20060102"), region, service}, Time: now, Payload: payload, Headers: []string{"host"}}
	for name := range r.Header {
		if n := strings.ToLower(name); n == "content-type" || n == "range" || strings.HasPrefix(n, "x-amz-") {
			s.Headers = append(s.Headers, n)
		}
	}
	sort.Strings(s.Headers)
	r.Header.Set("Authorization", algorithm+" Credential="+c.AccessKey+"/"+s.text()+", SignedHeaders="+strings.Join(s.Headers, ";")+
		", Signature="+s.sign(c.SecretKey, canonical(r, s)))
}

// Presign returns a URL that lets anybody do one request without a body until
// now plus expires. Its host must be the one the request will be sent to.
func Presign(method string, u *url.URL, c Credentials, region, service string, now time.Time, expires time.Duration) string {
	now = now.UTC()
	s := Signature{Scope: Scope{c.AccessKey, now.Format("20060102"), region, service}, Time: now, Presigned: true, Payload: UnsignedPayload, Headers: []string{"host"}}
	out := *u
	q := "X-Amz-Algorithm=" + algorithm + "&X-Amz-Credential=" + Escape(c.AccessKey+"/"+s.text(), false) + "&X-Amz-Date=" + now.Format(timeLayout) +
		"&X-Amz-Expires=" + strconv.Itoa(int(expires.Seconds())) + "&X-Amz-SignedHeaders=host"
	if out.RawQuery != "" {
		q = out.RawQuery + "&" + q
	}
	out.RawQuery = q
	r := &http.Request{Method: method, URL: &out, Host: u.Host, Header: http.Header{}}
	out.RawQuery += "&X-Amz-Signature=" + s.sign(c.SecretKey, canonical(r, s))
	return out.String()
}
