// Package api answers AWS clients over HTTP: the IoT control plane, the data
// plane of Jobs, IoT data (publish), Signer, Certificate Manager (import) and
// S3, all by one handler.
//
//	request -> which service? -> signature -> route -> Core.Do(operation) -> answer
//	            scope, host, path    Signature Version 4       the cloud, locked
//
// Services are told apart by the scope of the signature, then by the host, then
// by the path. Two paths exist in two services, which is why the scope comes
// first: GET /things/T/jobs and GET /things/T/jobs/J.
//
// Sources: API models iot/2015-05-28, iot-jobs-data/2017-09-29,
// iot-data/2015-05-28, signer/2017-08-25 and acm/2015-12-08 of boto/botocore;
// Amazon S3 API Reference, Error Responses.
package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/bucket"
	"github.com/otasim/otasim/cloud/sigv4"
)

// Core is the cloud behind a handler. Its methods are called by many goroutines.
type Core interface {
	// Now is the cloud's time.
	Now() time.Time
	// Do runs f on the cloud, alone, at the cloud's time. An error of f says
	// that nothing has changed and is returned as it is. The client hears of
	// success only after Do has returned: a core that must not lose what it has
	// acknowledged records call, unless call.Reads, and Replay repeats it.
	Do(call *Call, f func(now time.Time, c *cloud.Cloud) error) error
}

// Call is one operation on the cloud: an HTTP request whose signature has been
// checked and whose body has been read.
type Call struct {
	Service string // one of the signing names below
	Method  string
	Target  string // path and query as sent
	Header  http.Header
	Body    []byte
	// Chain is the client's certificates, leaf first, of a request to a data
	// plane that they speak for instead of a signature.
	Chain [][]byte
}

// Reads reports whether a call changes nothing.
func (c *Call) Reads() bool { return c.Method == http.MethodGet || c.Method == http.MethodHead }

// Signing names of the services.
const (
	IoT      = "iot"
	JobsData = "iot-jobs-data"
	IoTData  = "iotdata"
	Signer   = "signer"
	ACM      = "acm"
	S3       = "s3"
)

// Options are the settings of a handler.
type Options struct {
	Region    string // must be that of the cloud
	AccessKey string
	SecretKey string
	// RequireAuth refuses requests that are not signed with the access key.
	// Without it that holds for S3 and presigned URLs only.
	RequireAuth bool
	// DataEndpoint, JobsEndpoint and CredentialEndpoint are what DescribeEndpoint
	// answers, "host" or "host:port".
	DataEndpoint, JobsEndpoint, CredentialEndpoint string
	// MaxObject bounds the body of an S3 request, in bytes; 0 is 256 MiB.
	MaxObject int64
}

const maxBody = 1 << 20 // of requests other than S3

type handler struct {
	core     Core
	opt      Options
	requests atomic.Uint64
	seed     aws.Seed
}

// New returns the handler.
func New(core Core, opt Options) http.Handler {
	if opt.MaxObject == 0 {
		opt.MaxObject = 256 << 20
	}
	return &handler{core: core, opt: opt, seed: aws.Seed{}.Sub("requests of " + opt.Region)}
}

// Presigner makes the URLs that devices fetch from the S3 of a handler reached
// at endpoint ("http://127.0.0.1:4566"). It fits cloud.Config.Presign.
func Presigner(endpoint string, opt Options) func(now time.Time, u string, expires time.Duration) (string, error) {
	return func(now time.Time, u string, expires time.Duration) (string, error) {
		object, query, _ := strings.Cut(u, "?") // versionId, if a document names one
		b, key, err := bucket.SplitURL(object)
		if err != nil {
			return "", err
		}
		at, err := url.Parse(endpoint + "/" + b + "/" + sigv4.Escape(key, true) + "?" + query)
		if err != nil {
			return "", fmt.Errorf("api: presigned URL: %w", err)
		}
		return sigv4.Presign(http.MethodGet, at, sigv4.Credentials{AccessKey: opt.AccessKey, SecretKey: opt.SecretKey}, opt.Region, S3, now, expires), nil
	}
}

// Replay repeats a recorded call at the time it was made.
func Replay(now time.Time, c *cloud.Cloud, opt Options, call *Call) error {
	h := &handler{opt: opt}
	if call.Service == S3 {
		_, err := h.store(now, c, call)
		return err
	}
	_, err := h.operate(now, c, call)
	return err
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := h.seed.UUID(strconv.FormatUint(h.requests.Add(1), 10))
	sig, err := sigv4.Parse(r)
	service := identify(r, sig)
	if service == S3 {
		h.serveS3(w, r, id, sig, err)
		return
	}
	w.Header().Set("X-Amzn-RequestId", id)
	body, tooLarge := read(w, r, maxBody)
	if tooLarge != nil {
		fail(w, service, tooLarge)
		return
	}
	call := &Call{Service: service, Method: r.Method, Target: target(r), Header: r.Header.Clone(), Body: body}
	call.Header.Del("Authorization")
	if byCertificate(r, service, err) {
		for _, c := range r.TLS.PeerCertificates {
			call.Chain = append(call.Chain, c.Raw)
		}
	} else if err := h.authenticate(r, sig, err, body); err != nil {
		fail(w, service, err)
		return
	}
	var out any
	err = h.core.Do(call, func(now time.Time, c *cloud.Cloud) (err error) {
		out, err = h.operate(now, c, call)
		return err
	})
	if err != nil {
		fail(w, service, err)
		return
	}
	answer(w, service, out)
}

// target is path and query as the request line spells them.
func target(r *http.Request) string {
	t := sigv4.RawPath(r)
	if r.URL.RawQuery != "" {
		t += "?" + r.URL.RawQuery
	}
	return t
}

var errTooLarge = &aws.Exception{Name: "RequestEntityTooLargeException", Status: http.StatusRequestEntityTooLarge}

func read(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	if r.ContentLength > limit {
		return nil, errTooLarge.Because("%d bytes, the limit is %d", r.ContentLength, limit)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, errTooLarge.Because("The limit is %d bytes.", limit)
	case err != nil:
		return nil, aws.InvalidRequest.Because("request body: %v", err)
	}
	return body, nil
}

// answer writes what an operation returned.
func answer(w http.ResponseWriter, service string, out any) {
	if out == nil {
		w.WriteHeader(http.StatusOK)
		return
	}
	body, err := json.Marshal(out)
	if err != nil {
		fail(w, service, err)
		return
	}
	w.Header().Set("Content-Type", contentType(service))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body) // the client may have gone
}

func contentType(service string) string {
	if service == ACM {
		return "application/x-amz-json-1.1"
	}
	return "application/json"
}

// fail writes an error in the shape of the AWS JSON protocols.
func fail(w http.ResponseWriter, service string, err error) {
	var e *aws.Exception
	if !errors.As(err, &e) {
		e = aws.InternalFailure.Because("%v", err)
	}
	body, merr := json.Marshal(struct {
		Type        string `json:"__type"`
		Message     string `json:"message"`
		ResourceID  string `json:"resourceId,omitempty"`
		ResourceARN string `json:"resourceArn,omitempty"`
	}{e.Name, e.Message, e.ResourceID, e.ResourceARN})
	if merr != nil {
		body = []byte("{}")
	}
	w.Header().Set("X-Amzn-ErrorType", e.Name)
	w.Header().Set("Content-Type", contentType(service))
	w.WriteHeader(e.Status)
	_, _ = w.Write(body) // the client may have gone
}

// decode reads a JSON object; an empty body is {}.
func decode(body []byte, v any) error {
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return nil
	}
	if body[0] != '{' {
		return aws.InvalidRequest.Because("The request body is not a JSON object.")
	}
	if err := json.Unmarshal(body, v); err != nil {
		return aws.InvalidRequest.Because("The request body is not valid: %v", err)
	}
	return nil
}
