package api

import (
	"errors"
	"net"
	"net/http"
	"strings"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/sigv4"
)

// Refusals that come before any operation.
var (
	errMissingToken = &aws.Exception{Name: "MissingAuthenticationTokenException", Status: 403}
	errIncomplete   = &aws.Exception{Name: "IncompleteSignatureException", Status: 400}
	errUnrecognized = &aws.Exception{Name: "UnrecognizedClientException", Status: 403}
	errBadSignature = &aws.Exception{Name: "InvalidSignatureException", Status: 403}
	errUnknown      = &aws.Exception{Name: "UnknownOperationException", Status: 404}
	errWrongMethod  = &aws.Exception{Name: "MethodNotAllowedException", Status: 405}
)

// identify says which service a request is for.
func identify(r *http.Request, sig sigv4.Signature) string {
	switch sig.Service {
	case IoT, JobsData, IoTData, Signer, ACM, S3:
		return sig.Service
	case "iotdevicegateway":
		return IoTData
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	switch {
	case strings.HasPrefix(host, "data.jobs.iot."):
		return JobsData
	case strings.HasPrefix(host, "data-ats.iot.") || strings.HasPrefix(host, "data.iot.") || strings.Contains(host, "-ats.iot."):
		return IoTData
	case strings.HasPrefix(host, "iot."):
		return IoT
	case strings.HasPrefix(host, "signer."):
		return Signer
	case strings.HasPrefix(host, "acm."):
		return ACM
	case strings.HasPrefix(host, "s3.") || strings.Contains(host, ".s3."):
		return S3
	}
	if r.Header.Get("X-Amz-Target") != "" {
		return ACM
	}
	if _, ok := match("/things/{thing}/shadow", strings.Split(strings.TrimPrefix(sigv4.RawPath(r), "/"), "/")); ok {
		return IoTData
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(sigv4.RawPath(r), "/"), "/")
	if service, ok := owner[first]; ok {
		return service
	}
	return S3
}

// owner maps the first segment of a path to its service; the rest is S3.
var owner = func() map[string]string {
	m := map[string]string{}
	for _, service := range []string{IoTData, Signer, IoT} {
		for _, o := range operations[service] {
			first, _, _ := strings.Cut(o.path[1:], "/")
			m[first] = service
		}
	}
	return m
}()

// byCertificate reports whether a client certificate stands for a signature.
func byCertificate(r *http.Request, service string, err error) bool {
	return errors.Is(err, sigv4.ErrMissing) && (service == JobsData || service == IoTData) && r.TLS != nil && len(r.TLS.PeerCertificates) > 0
}

// permitted asks the policies of the client's certificate.
func (o *operation) permitted(q *request) error {
	if topic, ok := q.params["topic"]; ok {
		return q.c.AuthorizeCertificate(q.now, q.call.Chain, "", "iot:Publish", "topic", topic)
	}
	thing := q.params["thing"]
	if o.isShadow() {
		resource := thing
		if name := q.query.Get("name"); name != "" {
			resource += "/" + name
		}
		return q.c.AuthorizeCertificate(q.now, q.call.Chain, thing, "iot:"+o.name, "thing", resource)
	}
	return q.c.AuthorizeCertificate(q.now, q.call.Chain, thing, "iotjobsdata:"+o.name, "thing", thing)
}

// authenticate checks the signature of a request to a service other than S3.
func (h *handler) authenticate(r *http.Request, sig sigv4.Signature, err error, body []byte) error {
	if err == nil {
		if sig.Payload == "" {
			sig.Payload = sigv4.Payload(body)
		}
		switch {
		case sig.AccessKey != h.opt.AccessKey:
			err = sigv4.ErrKey
		case sig.Region != h.opt.Region:
			err = errBadSignature.Because("Credential should be scoped to region %s.", h.opt.Region)
		case sig.Payload != sigv4.UnsignedPayload && sig.Payload != sigv4.Payload(body):
			err = sigv4.ErrMismatch
		default:
			err = sig.Verify(r, h.opt.SecretKey, h.core.Now())
		}
	}
	// Without RequireAuth a bad signature passes, but a presigned URL is a promise.
	if err == nil || !h.opt.RequireAuth && !sig.Presigned {
		return nil
	}
	switch {
	case errors.Is(err, sigv4.ErrMissing):
		return errMissingToken.Because("Missing Authentication Token")
	case errors.Is(err, sigv4.ErrMalformed):
		return errIncomplete.Because("%v", err)
	case errors.Is(err, sigv4.ErrKey):
		return errUnrecognized.Because("The security token included in the request is invalid.")
	case errors.Is(err, errBadSignature):
		return err
	}
	return errBadSignature.Because("%v", err)
}
