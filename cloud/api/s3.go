package api

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/sigv4"
)

// refusal is an error of S3: a status and what the XML body says.
type refusal struct {
	status        int
	code, message string
}

func (e *refusal) Error() string { return e.code + ": " + e.message }

// stored is what S3 answered to a change.
type stored struct {
	status int
	header http.Header
	body   []byte
}

// declined is an answer that says that nothing has changed.
type declined struct{ stored }

func (e *declined) Error() string { return "S3 answered " + strconv.Itoa(e.status) }

// serveS3 checks a request's signature and lets the bucket answer: reads
// outside of the core's lock, changes as a call.
func (h *handler) serveS3(w http.ResponseWriter, r *http.Request, id string, sig sigv4.Signature, err error) {
	if err := h.admit(r, sig, err); err != nil {
		refuse(w, r, id, err)
		return
	}
	r = pathStyle(r)
	call := &Call{Service: S3, Method: r.Method, Target: target(r), Header: r.Header}
	if call.Reads() {
		var bucket http.Handler
		if err := h.core.Do(call, func(_ time.Time, c *cloud.Cloud) error { bucket = c.S3Handler(); return nil }); err != nil {
			refuse(w, r, id, err)
			return
		}
		bucket.ServeHTTP(w, r)
		return
	}
	if call.Body, err = h.payload(w, r, sig); err != nil {
		refuse(w, r, id, err)
		return
	}
	call.Header = storedHeader(r.Header, len(call.Body))
	var out stored
	err = h.core.Do(call, func(now time.Time, c *cloud.Cloud) (err error) {
		out, err = h.store(now, c, call)
		return err
	})
	var no *declined
	if errors.As(err, &no) {
		out, err = no.stored, nil
	}
	if err != nil {
		refuse(w, r, id, err)
		return
	}
	for k, v := range out.header {
		w.Header()[k] = v
	}
	w.WriteHeader(out.status)
	_, _ = w.Write(out.body) // the client may have gone
}

// admit checks the signature, which S3 always asks for.
func (h *handler) admit(r *http.Request, sig sigv4.Signature, err error) error {
	if err == nil {
		switch {
		case sig.AccessKey != h.opt.AccessKey:
			err = sigv4.ErrKey
		case sig.Region != h.opt.Region:
			err = fmt.Errorf("%w: the region %q is wrong; expecting %q", sigv4.ErrMalformed, sig.Region, h.opt.Region)
		case !sig.Presigned && sig.Payload == "":
			return &refusal{400, "MissingSecurityHeader", "Missing required header for this request: x-amz-content-sha256"}
		default:
			err = sig.Verify(r, h.opt.SecretKey, h.core.Now())
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sigv4.ErrMissing):
		return &refusal{403, "AccessDenied", "Access Denied"}
	case errors.Is(err, sigv4.ErrMalformed) && r.Header.Get("Authorization") == "":
		return &refusal{400, "AuthorizationQueryParametersError", err.Error()}
	case errors.Is(err, sigv4.ErrMalformed):
		return &refusal{400, "AuthorizationHeaderMalformed", err.Error()}
	case errors.Is(err, sigv4.ErrKey):
		return &refusal{403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records."}
	case errors.Is(err, sigv4.ErrSkew):
		return &refusal{403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."}
	case errors.Is(err, sigv4.ErrExpired):
		return &refusal{403, "AccessDenied", "Request has expired"}
	case errors.Is(err, sigv4.ErrNotYet):
		return &refusal{403, "AccessDenied", "Request is not yet valid"}
	case errors.Is(err, sigv4.ErrUnsigned):
		return &refusal{403, "AccessDenied", "There were headers present in the request which were not signed"}
	}
	return &refusal{403, "SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided. Check your key and signing method."}
}

// refuse writes an error in the shape of S3.
func refuse(w http.ResponseWriter, r *http.Request, id string, err error) {
	var e *refusal
	if !errors.As(err, &e) {
		e = &refusal{500, "InternalError", err.Error()}
	}
	body, merr := xml.Marshal(struct {
		XMLName   xml.Name `xml:"Error"`
		Code      string
		Message   string
		Resource  string
		RequestID string `xml:"RequestId"`
	}{Code: e.code, Message: e.message, Resource: r.URL.Path, RequestID: id})
	if merr != nil {
		body = nil
	}
	w.Header().Set("X-Amz-Request-Id", id)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(e.status)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, xml.Header+string(body)) // the client may have gone
	}
}

// pathStyle puts the bucket of a host like BUCKET.s3.REGION.amazonaws.com in
// front of the path.
func pathStyle(r *http.Request) *http.Request {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	name, _, ok := strings.Cut(host, ".s3.")
	if !ok || name == "" {
		return r
	}
	r = r.Clone(r.Context())
	t := "/" + name + sigv4.RawPath(r)
	r.RequestURI = t
	if r.URL.RawQuery != "" {
		r.RequestURI += "?" + r.URL.RawQuery
	}
	r.URL.Path, r.URL.RawPath = "/"+name+r.URL.Path, t
	return r
}

// payload reads the body of a change and checks what the client says about it.
func (h *handler) payload(w http.ResponseWriter, r *http.Request, sig sigv4.Signature) ([]byte, error) {
	body, err := read(w, r, h.opt.MaxObject)
	switch {
	case errors.Is(err, errTooLarge):
		return nil, &refusal{400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size."}
	case err != nil:
		return nil, &refusal{400, "IncompleteBody", err.Error()}
	}
	sums := map[string]string{}
	for name, v := range r.Header {
		sums[strings.ToLower(name)] = v[0]
	}
	switch {
	case sigv4.Streaming(sig.Payload):
		var trailer map[string]string
		body, trailer, err = sig.Unchunk(body, h.opt.SecretKey)
		switch {
		case errors.Is(err, sigv4.ErrMismatch):
			return nil, &refusal{403, "SignatureDoesNotMatch", err.Error()}
		case err != nil:
			return nil, &refusal{400, "IncompleteBody", err.Error()}
		}
		if n, err := strconv.Atoi(r.Header.Get("X-Amz-Decoded-Content-Length")); err != nil || n != len(body) {
			return nil, &refusal{400, "IncompleteBody", fmt.Sprintf("x-amz-decoded-content-length is %.20q, the chunks have %d bytes", r.Header.Get("X-Amz-Decoded-Content-Length"), len(body))}
		}
		for name, v := range trailer {
			sums[name] = v
		}
	case sig.Payload != sigv4.UnsignedPayload && sig.Payload != "" && sig.Payload != sigv4.Payload(body):
		return nil, &refusal{400, "XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match what was computed."}
	}
	return body, verifyChecksums(sums, body)
}

// storedHeader is what of a request's header concerns the object: without
// signature, framing and checksums.
func storedHeader(in http.Header, size int) http.Header {
	out := http.Header{}
	for name, v := range in {
		switch n := strings.ToLower(name); {
		case n == "authorization" || n == "x-amz-date" || n == "x-amz-content-sha256" || n == "x-amz-security-token" ||
			n == "x-amz-decoded-content-length" || n == "x-amz-trailer" || n == "x-amz-sdk-checksum-algorithm" ||
			strings.HasPrefix(n, "x-amz-checksum-") || n == "expect" || n == "connection" || n == "te" || n == "trailer":
		case n == "content-encoding":
			var keep []string
			for _, e := range strings.Split(strings.Join(v, ","), ",") {
				if e = strings.TrimSpace(e); e != "" && e != "aws-chunked" {
					keep = append(keep, e)
				}
			}
			if keep != nil {
				out.Set(name, strings.Join(keep, ","))
			}
		default:
			out[name] = v
		}
	}
	out.Set("Content-Length", strconv.Itoa(size))
	return out
}

// store carries out a change.
func (h *handler) store(now time.Time, c *cloud.Cloud, call *Call) (stored, error) {
	c.SetTime(now)
	var out stored
	var err error
	if source := call.Header.Get("X-Amz-Copy-Source"); source != "" && call.Method == http.MethodPut {
		out, err = copyObject(now, c, call, source)
	} else {
		out, err = forward(c, call.Method, call.Target, call.Header, call.Body)
	}
	if err == nil && out.status >= 300 {
		return stored{}, &declined{out}
	}
	return out, err
}

// forward sends a request to the bucket.
func forward(c *cloud.Cloud, method, target string, header http.Header, body []byte) (stored, error) {
	client, endpoint := c.S3()
	req, err := http.NewRequest(method, endpoint+target, bytes.NewReader(body))
	if err != nil {
		return stored{}, &refusal{400, "InvalidURI", err.Error()}
	}
	req.Header = header.Clone()
	resp, err := client.Transport.RoundTrip(req)
	if err != nil {
		return stored{}, fmt.Errorf("api: bucket: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return stored{}, fmt.Errorf("api: bucket: %w", err)
	}
	return stored{resp.StatusCode, resp.Header, data}, nil
}

// copyObject copies one version of an object, the latest unless source says so,
// to another object or into a part of an upload.
func copyObject(now time.Time, c *cloud.Cloud, call *Call, source string) (stored, error) {
	path, version, _ := strings.Cut(source, "?versionId=")
	plain, err := url.PathUnescape(path)
	if err != nil || !strings.Contains(strings.Trim(plain, "/"), "/") {
		return stored{}, &refusal{400, "InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey"}
	}
	from := "/" + sigv4.Escape(strings.TrimPrefix(plain, "/"), true)
	if version != "" {
		from += "?versionId=" + version
	}
	part, span := strings.Contains(call.Target, "uploadId="), http.Header{}
	if r := call.Header.Get("X-Amz-Copy-Source-Range"); r != "" {
		span.Set("Range", r)
	}
	got, err := forward(c, http.MethodGet, from, span, nil)
	if err != nil || got.status >= 300 {
		return got, err
	}
	header := call.Header.Clone()
	if !part && call.Header.Get("X-Amz-Metadata-Directive") != "REPLACE" {
		for name, v := range got.header {
			if n := strings.ToLower(name); strings.HasPrefix(n, "x-amz-meta-") || n == "content-type" {
				header[name] = v
			}
		}
	}
	header.Del("X-Amz-Copy-Source")
	header.Del("X-Amz-Copy-Source-Range")
	header.Del("X-Amz-Metadata-Directive")
	header.Set("Content-Length", strconv.Itoa(len(got.body)))
	put, err := forward(c, http.MethodPut, call.Target, header, got.body)
	if err != nil || put.status >= 300 {
		return put, err
	}
	result := xml.Name{Space: "http://s3.amazonaws.com/doc/2006-03-01/", Local: "CopyObjectResult"}
	if part {
		result.Local = "CopyPartResult"
	}
	body, err := xml.Marshal(struct {
		XMLName      xml.Name
		LastModified string
		ETag         string
	}{XMLName: result, LastModified: now.UTC().Format("2006-01-02T15:04:05.000Z"), ETag: put.header.Get("ETag")})
	if err != nil {
		return stored{}, fmt.Errorf("api: %w", err)
	}
	put.body = append([]byte(xml.Header), body...)
	put.header.Del("Content-Length")
	put.header.Set("Content-Type", "application/xml")
	if v := got.header.Get("X-Amz-Version-Id"); v != "" {
		put.header.Set("X-Amz-Copy-Source-Version-Id", v)
	}
	return put, nil
}
