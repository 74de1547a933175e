package serve

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sort"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/api"
	"github.com/otasim/otasim/cloud/sigv4"
)

// request sends a signed request for one of the services.
func (o *operator) request(service, method, path string, body []byte, header ...string) (int, []byte) {
	r, err := http.NewRequest(method, o.http+path, bytes.NewReader(body))
	require.NoError(o.t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	sigv4.Sign(r, sigv4.Credentials{AccessKey: DefaultKey, SecretKey: DefaultKey}, "us-east-1", service, sigv4.Payload(body), time.Now())
	resp, err := o.client.Do(r)
	require.NoError(o.t, err)
	defer resp.Body.Close()
	var out bytes.Buffer
	_, err = out.ReadFrom(resp.Body)
	require.NoError(o.t, err)
	return resp.StatusCode, out.Bytes()
}

const arnPrefix = "arn:aws:iot:us-east-1:123456789012:"

// step does something at random with a few names, so that much of it is refused.
func (o *operator) step(chance *rand.Rand, certificates *[]string) int {
	pick := func(names ...string) string { return names[chance.IntN(len(names))] }
	thing, group, job := pick("a", "b", "c", "d"), pick("g", "h"), pick("j1", "j2", "j3")
	cert := "none"
	if len(*certificates) > 0 {
		cert = (*certificates)[chance.IntN(len(*certificates))]
	}
	text := func(format string, args ...any) []byte { return []byte(fmt.Sprintf(format, args...)) }
	var status int
	var out []byte
	switch chance.IntN(27) {
	case 0, 1, 2:
		status, out = o.request(api.IoT, "POST", "/things/"+thing, text(`{"attributePayload":{"attributes":{"n":"%d"}}}`, chance.IntN(9)))
	case 3:
		status, out = o.request(api.IoT, "DELETE", "/things/"+thing, nil)
	case 4:
		status, out = o.request(api.IoT, "PATCH", "/things/"+thing, text(`{"attributePayload":{"attributes":{"n":"%d"}},"expectedVersion":%d}`, chance.IntN(9), 1+chance.IntN(2)))
	case 5:
		status, out = o.request(api.IoT, "POST", "/thing-groups/"+group, text(`{}`))
	case 6:
		status, out = o.request(api.IoT, "DELETE", "/thing-groups/"+group, nil)
	case 7, 8:
		status, out = o.request(api.IoT, "PUT", "/thing-groups/addThingToThingGroup", text(`{"thingName":%q,"thingGroupName":%q}`, thing, group))
	case 9:
		status, out = o.request(api.IoT, "PUT", "/thing-groups/removeThingFromThingGroup", text(`{"thingName":%q,"thingGroupName":%q}`, thing, group))
	case 10:
		if status, out = o.request(api.IoT, "POST", "/certificate/register-no-ca", text(`{"certificatePem":"no"}`)); len(*certificates) < 3 {
			made := o.call(http.MethodPost, "/keys-and-certificate?setAsActive=true", nil)
			*certificates = append(*certificates, made["certificateArn"].(string))
		}
	case 11:
		status, out = o.request(api.IoT, "POST", "/policies/p", text(`{"policyDocument":%q}`, everything))
	case 12:
		status, out = o.request(api.IoT, "PUT", "/target-policies/p", text(`{"target":%q}`, cert))
	case 13:
		status, out = o.request(api.IoT, "PUT", "/things/"+thing+"/principals", nil, "x-amzn-principal", cert)
	case 14:
		status, out = o.request(api.IoT, "DELETE", "/things/"+thing+"/principals", nil, "x-amzn-principal", cert)
	case 15, 16:
		status, out = o.request(api.IoT, "PUT", "/jobs/"+job, text(`{"targets":["%sthinggroup/%s","%sthing/%s"],"document":"{}","targetSelection":%q}`,
			arnPrefix, group, arnPrefix, thing, pick("SNAPSHOT", "CONTINUOUS", "NEITHER")))
	case 17:
		status, out = o.request(api.IoT, "PUT", "/jobs/"+job+"/cancel?force="+pick("true", "false"), text(`{}`))
	case 18:
		status, out = o.request(api.IoT, "DELETE", "/jobs/"+job+"?force="+pick("true", "false"), nil)
	case 19, 20:
		status, out = o.request(api.JobsData, "PUT", "/things/"+thing+"/jobs/$next", text(`{}`))
	case 21, 22:
		status, out = o.request(api.JobsData, "POST", "/things/"+thing+"/jobs/"+job, text(`{"status":%q,"statusDetails":{"n":"%d"}}`,
			pick("IN_PROGRESS", "SUCCEEDED", "FAILED", "QUEUED"), chance.IntN(9)))
	case 23:
		status, out = o.request(api.S3, "PUT", pick("/images", "/missing", "/no")+"/"+pick("app.bin", "b"), bytes.Repeat([]byte{byte(chance.IntN(256))}, chance.IntN(9000)))
	case 24:
		status, out = o.request(api.S3, "DELETE", "/images/"+pick("app.bin", "b"), nil)
	case 25:
		status, out = o.request(api.IoT, "POST", "/streams/"+pick("s", "t"), text(`{"roleArn":"arn:aws:iam::123456789012:role/r","files":[{"fileId":1,"s3Location":{"bucket":"images","key":%q}}]}`, pick("app.bin", "b")))
	case 26:
		status, out = o.request(api.IoT, "POST", "/otaUpdates/"+pick("u", "v", "w"), text(`{"targets":["%sthing/%s"],"roleArn":"arn:aws:iam::123456789012:role/r",
			"files":[{"fileName":"f","fileLocation":{"s3Location":{"bucket":"images","key":"app.bin"}},"codeSigning":{"customCodeSigning":{
			"signature":{"inlineDocument":%q},"certificateChain":{"certificateName":"c"},"hashAlgorithm":"SHA256","signatureAlgorithm":"ECDSA"}}}]}`,
			arnPrefix, thing, base64.StdEncoding.EncodeToString([]byte("signature"))))
	}
	require.Less(o.t, status, 500, "%s", out)
	return status
}

// view is all that an operator can list and describe.
func (o *operator) view() map[string]string {
	seen := map[string]string{}
	read := func(service string, paths ...string) {
		for _, path := range paths {
			status, out := o.request(service, "GET", path, nil)
			if status >= 400 {
				out = nil // S3 numbers its refusals
			}
			seen[service+" "+path] = fmt.Sprint(status, " ", string(out))
		}
	}
	read(api.IoT, "/things", "/thing-groups", "/certificates", "/policies", "/jobs", "/streams", "/otaUpdates", "/streams/s", "/streams/t")
	read(api.S3, "/", "/images?versions", "/images/app.bin", "/images/b")
	for _, n := range []string{"a", "b", "c", "d"} {
		read(api.IoT, "/things/"+n, "/things/"+n+"/principals", "/things/"+n+"/thing-groups", "/things/"+n+"/jobs")
		read(api.JobsData, "/things/"+n+"/jobs/$next")
	}
	for _, n := range []string{"g", "h"} {
		read(api.IoT, "/thing-groups/"+n, "/thing-groups/"+n+"/things")
	}
	for _, n := range []string{"j1", "j2", "j3", "AFR_OTA-u", "AFR_OTA-v", "AFR_OTA-w"} {
		read(api.IoT, "/jobs/"+n, "/jobs/"+n+"/things", "/jobs/"+n+"/job-document")
	}
	read(api.IoT, "/otaUpdates/u", "/otaUpdates/v", "/otaUpdates/w")
	return seen
}

// Calls at random, many of them refused, some throttled: a start that repeats those
// that were recorded ends where the calls did, or a server that reads in between.
func TestReplay(t *testing.T) {
	t.Parallel()
	rounds := 1
	if os.Getenv("OTASIM_LONG") != "" {
		rounds = 20
	}
	dir := t.TempDir()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	chance := rand.New(rand.NewPCG(seed, 0))
	var certificates []string
	statuses := map[int]int{}
	for round := range rounds {
		s := start(t, func(c *Config) { c.Data = dir })
		o := newOperator(t, s.Ready())
		if round == 0 {
			o.call(http.MethodPut, "/images", nil)
			o.call(http.MethodPut, "/images?versioning",
				[]byte(`<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>`))
		}
		for range 300 {
			statuses[o.step(chance, &certificates)]++
		}
		require.Eventually(t, func() (quiet bool) { // deletions and the steps of updates are over
			s.broker.Do(func(now time.Duration) {
				due, ok := s.machine.cloud.NextWake()
				quiet = !ok || due.Sub(s.epoch) > now+2*time.Second
			})
			return quiet
		}, time.Minute, 20*time.Millisecond)
		before := o.view()
		o.client.CloseIdleConnections()
		require.NoError(t, s.Close())

		s = start(t, func(c *Config) { c.Data = dir })
		o = newOperator(t, s.Ready())
		after := o.view()
		o.client.CloseIdleConnections()
		require.NoError(t, s.Close())
		var paths []string
		for path := range before {
			paths = append(paths, path)
		}
		sort.Strings(paths)
		for _, path := range paths {
			require.Equal(t, before[path], after[path], path)
		}
	}
	t.Logf("answers by status: %v", statuses)
	require.Greater(t, statuses[200], 50)
	require.Greater(t, statuses[404], 50)
}

// A record can say anything; repeating it never panics.
func FuzzReplay(f *testing.F) {
	for _, r := range []record{
		{Time: 1, Client: "c", Topic: "$aws/things/t/jobs/j/update", Body: []byte(`{"status":"IN_PROGRESS"}`)},
		{Time: 1},
		{Time: 1, Service: api.IoT, Method: "POST", Target: "/things/t", Body: []byte(`{}`)},
		{Time: 1, Service: api.S3, Method: "PUT", Target: "/bucket/key", Header: map[string][]string{"Content-Length": {"3"}}, Body: []byte("abc")},
		{Time: 1, Service: api.S3, Method: "POST", Target: "no path"},
		{Time: 1, Service: api.S3, Method: "PUT", Target: "/bucket", Header: map[string][]string{"X-Amz-Copy-Source": {"/bucket/key"}}},
		{Time: 1, Service: api.ACM, Method: "POST", Target: "/", Header: map[string][]string{"X-Amz-Target": {"CertificateManager.ImportCertificate"}}},
		{Time: 1, Service: api.Signer, Method: "PUT", Target: "/signing-profiles/p", Body: []byte(`{}`)},
	} {
		b, err := cbor.Marshal(r)
		require.NoError(f, err)
		f.Add(b)
	}
	c, err := cloud.New(cloud.Config{Epoch: time.Unix(0, 0), External: true})
	require.NoError(f, err)
	m := &machine{cloud: c, options: api.Options{Region: "us-east-1", AccessKey: DefaultKey, SecretKey: DefaultKey}}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r record
		if cbor.Unmarshal(b, &r) != nil {
			return
		}
		r.Time = max(m.last.UnixNano(), min(r.Time, m.last.UnixNano()+int64(time.Hour)))
		if err := m.replay(&r); err != nil {
			require.ErrorIs(t, err, ErrJournal)
		}
	})
}
