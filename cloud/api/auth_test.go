package api

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/sigv4"
)

func TestSignatures(t *testing.T) {
	sign := func(c sigv4.Credentials, region, service, body string, at time.Duration) func(*http.Request) {
		return func(r *http.Request) { sigv4.Sign(r, c, region, service, sigv4.Payload([]byte(body)), epoch.Add(at)) }
	}
	for _, tc := range []struct {
		name   string
		sign   func(*http.Request)
		status int
		code   string
	}{
		{"good", sign(keys, region, IoT, "{}", 0), 200, ""},
		{"a little late", sign(keys, region, IoT, "{}", -sigv4.Skew), 200, ""},
		{"none", func(*http.Request) {}, 403, "MissingAuthenticationTokenException"},
		{"another scheme", func(r *http.Request) { r.Header.Set("Authorization", "Basic x") }, 400, "IncompleteSignatureException"},
		{"unknown key", sign(sigv4.Credentials{AccessKey: "AKIDOTHER", SecretKey: "secret"}, region, IoT, "{}", 0), 403, "UnrecognizedClientException"},
		{"wrong secret", sign(sigv4.Credentials{AccessKey: keys.AccessKey, SecretKey: "guess"}, region, IoT, "{}", 0), 403, "InvalidSignatureException"},
		{"another region", sign(keys, "eu-west-1", IoT, "{}", 0), 403, "InvalidSignatureException"},
		{"another body", sign(keys, region, IoT, "{ }", 0), 403, "InvalidSignatureException"},
		{"too old", sign(keys, region, IoT, "{}", -sigv4.Skew-time.Second), 403, "InvalidSignatureException"},
		{"from the future", sign(keys, region, IoT, "{}", sigv4.Skew+time.Second), 403, "InvalidSignatureException"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, strict := range []bool{true, false} {
				f := newFixture(t, func(o *Options) { o.RequireAuth = strict })
				r := f.request("POST", "/things/t1", "{}")
				tc.sign(r)
				resp := f.do(r)
				if !strict { // on the loopback interface everybody is welcome
					require.Equal(t, 200, resp.StatusCode)
					continue
				}
				require.Equal(t, tc.status, resp.StatusCode)
				require.Equal(t, tc.code, resp.Header.Get("X-Amzn-ErrorType"))
				require.NotEmpty(t, resp.Header.Get("X-Amzn-Requestid"))
				if tc.status != 200 {
					require.Contains(t, text(t, resp), `"__type":"`+tc.code+`"`)
					require.Empty(t, f.core.c.ListThings())
				}
			}
		})
	}
}

// The two paths that two services share are told apart by the scope, without
// one by the host.
func TestServicesAreToldApart(t *testing.T) {
	f := newFixture(t, func(o *Options) { o.RequireAuth = false })
	require.Equal(t, 200, f.signed(IoT, "POST", "/things/t1", "").StatusCode)
	for _, tc := range []struct{ service, host, want string }{
		{IoT, host, "executionSummaries"},
		{JobsData, host, "queuedJobs"},
		{"execute-api", "iot.us-east-1.amazonaws.com", "executionSummaries"},
		{"execute-api", "data.jobs.iot.us-east-1.amazonaws.com", "queuedJobs"},
		{"", "data.jobs.iot.us-east-1.amazonaws.com:443", "queuedJobs"},
		{"", host, "executionSummaries"},
	} {
		r := f.request("GET", "/things/t1/jobs", "")
		r.Host = tc.host
		if tc.service != "" {
			sigv4.Sign(r, keys, region, tc.service, sigv4.EmptyPayload, epoch)
		}
		resp := f.do(r)
		require.Equal(t, 200, resp.StatusCode, tc)
		require.Contains(t, text(t, resp), tc.want, tc)
	}
	for target, host := range map[string]string{"/signing-platforms": host, "/topics/a": host, "/things": "iot.us-east-1.amazonaws.com",
		"/": "acm.us-east-1.amazonaws.com", "/x": "data-ats.iot.us-east-1.amazonaws.com", "/y": "signer.us-east-1.amazonaws.com"} {
		r := f.request("PURGE", target, "")
		r.Host = host
		resp := f.do(r)
		require.Contains(t, []int{404, 405}, resp.StatusCode, target)
		require.NotEmpty(t, resp.Header.Get("X-Amzn-ErrorType"), target)
	}
}

func TestMalformedRequests(t *testing.T) {
	f := newFixture(t, nil)
	for _, tc := range []struct {
		service, method, target, body string
		status                        int
		code                          string
	}{
		{IoT, "POST", "/things/t", "{", 400, "InvalidRequestException"},
		{IoT, "POST", "/things/t", "[]", 400, "InvalidRequestException"},
		{IoT, "POST", "/things/t", `{"attributePayload":7}`, 400, "InvalidRequestException"},
		{IoT, "POST", "/things/t", `{"attributePayload":{"attributes":{"a":1}}}`, 400, "InvalidRequestException"},
		{IoT, "POST", "/things/t", strings.Repeat(" ", maxBody+1), 413, "RequestEntityTooLargeException"},
		{IoT, "POST", "/otaUpdates/u", `{"files":[{"codeSigning":{"customCodeSigning":{"signature":{"inlineDocument":"%%"}}}}]}`, 400, "InvalidRequestException"},
		{IoT, "POST", "/streams/s", `{"files":[{"fileId":"x"}]}`, 400, "InvalidRequestException"},
		{IoT, "PUT", "/jobs/j", `{"targets":["nonsense"],"document":"{}"}`, 400, "InvalidRequestException"},
		{IoT, "GET", "/nothing/here", "", 404, "UnknownOperationException"},
		{IoT, "TRACE", "/things/t", "", 405, "MethodNotAllowedException"},
		{IoT, "GET", "/jobs?maxResults=1e9", "", 400, "InvalidRequestException"},
		{IoT, "GET", "/certificates?pageSize=251", "", 400, "InvalidRequestException"},
		{IoT, "GET", "/jobs?nextToken=-4", "", 400, "InvalidRequestException"},
		{Signer, "PUT", "/signing-profiles/p", "{", 400, "ValidationException"},
		{JobsData, "POST", "/things/t/jobs/j", "{", 400, "InvalidRequestException"},
		{JobsData, "POST", "/things/t/jobs/a%2Fb", "{}", 400, "InvalidRequestException"},
		{ACM, "POST", "/", "{}", 404, "UnknownOperationException"},
	} {
		name := tc.service + " " + tc.method + " " + tc.target
		resp := f.signed(tc.service, tc.method, tc.target, tc.body)
		require.Equal(t, tc.status, resp.StatusCode, name)
		require.Equal(t, tc.code, resp.Header.Get("X-Amzn-ErrorType"), name)
		require.Contains(t, text(t, resp), `"message":"`, name)
	}
	require.Empty(t, f.core.calls, "nothing that failed is recorded")
}

// A device may come with its certificate instead of a signature: to the data
// planes only, and as far as its policies go.
func TestClientCertificate(t *testing.T) {
	f := newFixture(t, nil)
	require.Equal(t, 200, f.signed(IoT, "POST", "/things/t1", "").StatusCode)
	issue := func(name string) *x509.Certificate {
		der, _, err := f.core.c.PKI().Device(name)
		require.NoError(t, err)
		cert, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		return cert
	}
	known := issue("t1")
	registered, err := f.core.c.RegisterCertificateWithoutCA(epoch, known.Raw, "ACTIVE")
	require.NoError(t, err)
	_, err = f.core.c.CreatePolicy(epoch, "p", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iotjobsdata:GetPendingJobExecutions","iot:Publish"],
		"Resource":["arn:aws:iot:us-east-1:123456789012:thing/t1","arn:aws:iot:us-east-1:123456789012:topic/mine/*"]}]}`)
	require.NoError(t, err)
	require.NoError(t, f.core.c.AttachPolicy(epoch, "p", registered.CertificateARN))
	for _, tc := range []struct {
		name, method, target, host string
		cert                       *x509.Certificate
		status                     int
	}{
		{"allowed", "GET", "/things/t1/jobs", "data.jobs.iot.us-east-1.amazonaws.com", known, 200},
		{"another thing", "GET", "/things/t2/jobs", "data.jobs.iot.us-east-1.amazonaws.com", known, 403},
		{"another action", "PUT", "/things/t1/jobs/$next", "data.jobs.iot.us-east-1.amazonaws.com", known, 403},
		{"publish", "POST", "/topics/mine/a?qos=1", "data-ats.iot.us-east-1.amazonaws.com", known, 200},
		{"publish elsewhere", "POST", "/topics/yours/a", "data-ats.iot.us-east-1.amazonaws.com", known, 403},
		{"not registered", "GET", "/things/t1/jobs", "data.jobs.iot.us-east-1.amazonaws.com", issue("t2"), 400},
		{"control plane", "GET", "/things/t1", "iot.us-east-1.amazonaws.com", known, 403},
		{"no certificate", "GET", "/things/t1/jobs", "data.jobs.iot.us-east-1.amazonaws.com", nil, 403},
	} {
		r := f.request(tc.method, tc.target, "")
		r.Host = tc.host
		r.TLS = &tls.ConnectionState{}
		if tc.cert != nil {
			r.TLS.PeerCertificates = []*x509.Certificate{tc.cert}
		}
		require.Equal(t, tc.status, f.do(r).StatusCode, tc.name)
	}
	d := f.core.c.Deliveries()
	require.Len(t, d, 1)
	require.Equal(t, "mine/a", d[0].Topic)
}

// Devices reach their shadows over HTTPS as their policies allow; the path tells
// the service.
func TestShadowByCertificate(t *testing.T) {
	f := newFixture(t, nil)
	der, _, err := f.core.c.PKI().Device("t1")
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	registered, err := f.core.c.RegisterCertificateWithoutCA(epoch, der, "ACTIVE")
	require.NoError(t, err)
	_, err = f.core.c.CreatePolicy(epoch, "p", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iot:GetThingShadow","iot:UpdateThingShadow"],
		"Resource":["arn:aws:iot:us-east-1:123456789012:thing/t1","arn:aws:iot:us-east-1:123456789012:thing/t1/fw"]}]}`)
	require.NoError(t, err)
	require.NoError(t, f.core.c.AttachPolicy(epoch, "p", registered.CertificateARN))
	for _, tc := range []struct {
		method, target string
		status         int
	}{
		{"POST", "/things/t1/shadow", 200}, {"GET", "/things/t1/shadow", 200}, {"DELETE", "/things/t1/shadow", 403}, {"POST", "/things/t1/shadow?name=fw", 200},
		{"POST", "/things/t1/shadow?name=other", 403}, {"GET", "/things/t2/shadow", 403}, {"GET", "/api/things/shadow/ListNamedShadowsForThing/t1", 403},
	} {
		body := ""
		if tc.method == "POST" {
			body = `{"state":{"reported":{"v":1}}}`
		}
		r := f.request(tc.method, tc.target, body)
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
		require.Equal(t, tc.status, f.do(r).StatusCode, "%s %s", tc.method, tc.target)
	}
}

func FuzzHandler(f *testing.F) {
	for service, list := range operations {
		for _, o := range list {
			f.Add(service, o.method, strings.NewReplacer("{", "", "}", "", "+", "").Replace(o.path), `{"thingName":"a"}`)
		}
	}
	f.Add(S3, "PUT", "/b/k?versionId=%00", "x")
	f.Add(S3, "POST", "/b?delete", "<Delete/>")
	f.Add(ACM, "POST", "/", "{")
	x := newFixture(f, func(o *Options) { o.RequireAuth = false })
	f.Fuzz(func(t *testing.T, service, method, target, body string) {
		r, err := http.NewRequest(method, "http://"+host+"/"+strings.TrimPrefix(target, "/"), strings.NewReader(body))
		if err != nil || r.URL.Host != host {
			t.Skip()
		}
		sigv4.Sign(r, keys, region, service, sigv4.Payload([]byte(body)), x.core.Now())
		resp := x.do(r)
		if resp.StatusCode < 200 || resp.StatusCode > 503 {
			t.Fatalf("%s %s %s: %d", service, method, target, resp.StatusCode)
		}
	})
}
