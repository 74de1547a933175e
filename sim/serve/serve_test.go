package serve

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/api"
	"github.com/otasim/otasim/cloud/sigv4"
)

// start serves on free ports.
func start(t testing.TB, change func(*Config)) *Server {
	cfg := Config{HTTP: "127.0.0.1:0", MQTTS: "127.0.0.1:0"}
	if change != nil {
		change(&cfg)
	}
	s, err := Start(cfg)
	require.NoError(t, err)
	return s
}

// operator calls the control plane.
type operator struct {
	t      testing.TB
	http   string
	client *http.Client
}

func newOperator(t testing.TB, s Ready) *operator {
	o := &operator{t: t, http: "http://" + s.HTTP, client: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(o.client.CloseIdleConnections)
	return o
}

// try sends a request; an error is one of the transport.
func (o *operator) try(method, path string, in any, header ...string) (status int, out []byte, err error) {
	body, ok := in.([]byte)
	if !ok && in != nil {
		body, err = json.Marshal(in)
		require.NoError(o.t, err)
	}
	r, err := http.NewRequest(method, o.http+path, bytes.NewReader(body))
	require.NoError(o.t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if strings.HasPrefix(path, "/images") {
		sigv4.Sign(r, sigv4.Credentials{AccessKey: DefaultKey, SecretKey: DefaultKey}, "us-east-1", api.S3, sigv4.Payload(body), time.Now())
	}
	resp, err := o.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	out, err = io.ReadAll(resp.Body)
	return resp.StatusCode, out, err
}

func (o *operator) call(method, path string, in any, header ...string) map[string]any {
	status, out, err := o.try(method, path, in, header...)
	require.NoError(o.t, err)
	require.Equal(o.t, http.StatusOK, status, "%s %s: %s", method, path, out)
	m := map[string]any{}
	if len(out) > 0 && out[0] == '{' {
		require.NoError(o.t, json.Unmarshal(out, &m))
	}
	return m
}

const everything = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Action":"iot:Connect","Resource":"*"},
	{"Effect":"Allow","Action":["iot:Publish","iot:Subscribe","iot:Receive","iot:RetainPublish"],"Resource":"*"},
	{"Effect":"Deny","Action":["iot:Publish","iot:Subscribe"],"Resource":["arn:aws:iot:us-east-1:123456789012:topic/secret/*","arn:aws:iot:us-east-1:123456789012:topicfilter/secret/*"]}]}`

// identity of a device: its certificate and key.
type deviceIdentity struct {
	tls tls.Certificate
	id  string // of the certificate
	arn string
}

// thing makes a thing with a certificate that may do everything but secrets.
func (o *operator) thing(name string) deviceIdentity {
	if status, _, _ := o.try(http.MethodPost, "/policies/all", map[string]string{"policyDocument": everything}); status != http.StatusOK {
		require.NotZero(o.t, status)
	}
	o.call(http.MethodPost, "/things/"+name, map[string]any{})
	made := o.call(http.MethodPost, "/keys-and-certificate?setAsActive=true", nil)
	arn := made["certificateArn"].(string)
	o.call(http.MethodPut, "/target-policies/all", map[string]string{"target": arn})
	o.call(http.MethodPut, "/things/"+name+"/principals", nil, "x-amzn-principal", arn)
	pair, err := tls.X509KeyPair([]byte(made["certificatePem"].(string)), []byte(made["keyPair"].(map[string]any)["PrivateKey"].(string)))
	require.NoError(o.t, err)
	return deviceIdentity{pair, made["certificateId"].(string), arn}
}

func (o *operator) job(id string, things ...string) {
	var targets []string
	for _, n := range things {
		targets = append(targets, "arn:aws:iot:us-east-1:123456789012:thing/"+n)
	}
	o.call(http.MethodPut, "/jobs/"+id, map[string]any{"targets": targets, "document": `{"do":"it"}`})
}

func (o *operator) jobStatus(id string) string {
	return o.call(http.MethodGet, "/jobs/"+id, nil)["job"].(map[string]any)["status"].(string)
}

// device is a paho client and what it has heard.
type device struct {
	paho.Client
	heard chan paho.Message
	lost  chan error
}

func options(t testing.TB, r Ready, id string, with deviceIdentity) *paho.ClientOptions {
	ca, err := os.ReadFile(r.CAFile)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(ca))
	return paho.NewClientOptions().AddBroker("tls://" + r.MQTTS).SetClientID(id).SetAutoReconnect(false).SetConnectTimeout(10 * time.Second).
		SetTLSConfig(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{with.tls}, MinVersion: tls.VersionTLS12})
}

func connect(t testing.TB, o *paho.ClientOptions) *device {
	d := &device{heard: make(chan paho.Message, 1000), lost: make(chan error, 1)}
	o.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { d.heard <- m })
	o.SetConnectionLostHandler(func(_ paho.Client, err error) { d.lost <- err })
	d.Client = paho.NewClient(o)
	done(t, d.Connect())
	return d
}

func done(t testing.TB, token paho.Token) {
	require.True(t, token.WaitTimeout(10*time.Second), "no answer")
	require.NoError(t, token.Error())
}

func (d *device) hear(t testing.TB, topic string) []byte {
	for {
		select {
		case m := <-d.heard:
			if m.Topic() == topic {
				return m.Payload()
			}
		case <-time.After(10 * time.Second):
			require.FailNow(t, "nothing heard on "+topic)
		}
	}
}

func (d *device) cut(t testing.TB) {
	select {
	case <-d.lost:
	case <-time.After(10 * time.Second):
		require.FailNow(t, "the connection is still there")
	}
}

func TestMain(m *testing.M) {
	if os.Getenv("OTASIM_SERVE_CHILD") != "" {
		os.Exit(child())
	}
	goleak.VerifyTestMain(m)
}

func TestDeviceStory(t *testing.T) {
	s := start(t, nil)
	defer func() { require.NoError(t, s.Close()) }()
	o := newOperator(t, s.Ready())
	who := o.thing("lamp")
	d := connect(t, options(t, s.Ready(), "lamp", who))
	defer d.Disconnect(100)
	done(t, d.Subscribe("$aws/things/lamp/jobs/notify-next", 1, nil))

	o.job("j1", "lamp")
	require.Contains(t, string(d.hear(t, "$aws/things/lamp/jobs/notify-next")), `"jobId":"j1"`)

	// Answers of Jobs come without a subscription.
	done(t, d.Publish("$aws/things/lamp/jobs/$next/get", 0, false, `{"clientToken":"a"}`))
	require.Contains(t, string(d.hear(t, "$aws/things/lamp/jobs/$next/get/accepted")), `"status":"QUEUED"`)
	done(t, d.Publish("$aws/things/lamp/jobs/j1/update", 1, false, `{"status":"IN_PROGRESS","clientToken":"b"}`))
	require.Contains(t, string(d.hear(t, "$aws/things/lamp/jobs/j1/update/accepted")), `"clientToken":"b"`)

	done(t, d.Subscribe("news/#", 1, nil))
	status, out := o.request(api.IoTData, http.MethodPost, "/topics/news/today?qos=1", []byte("published over HTTP"))
	require.Equal(t, http.StatusOK, status, "%s", out)
	require.Equal(t, "published over HTTP", string(d.hear(t, "news/today")))

	image := bytes.Repeat([]byte("firmware"), 1024)
	o.call(http.MethodPut, "/images", nil)
	o.call(http.MethodPut, "/images/app.bin", image)
	o.call(http.MethodPost, "/streams/s1", map[string]any{"roleArn": "arn:aws:iam::123456789012:role/r", "files": []any{
		map[string]any{"fileId": 1, "s3Location": map[string]string{"bucket": "images", "key": "app.bin"}}}})
	done(t, d.Subscribe("$aws/things/lamp/streams/s1/data/json", 0, nil))
	done(t, d.Publish("$aws/things/lamp/streams/s1/get/json", 0, false, `{"f":1,"l":4096,"o":0,"n":2}`))
	for i := range 2 {
		var block struct {
			Index int    `json:"i"`
			Data  []byte `json:"p"`
		}
		require.NoError(t, json.Unmarshal(d.hear(t, "$aws/things/lamp/streams/s1/data/json"), &block))
		require.Equal(t, i, block.Index)
		require.Equal(t, image[i*4096:(i+1)*4096], block.Data)
	}

	done(t, d.Publish("$aws/things/lamp/jobs/j1/update", 1, false, `{"status":"SUCCEEDED"}`))
	d.hear(t, "$aws/things/lamp/jobs/j1/update/accepted")
	require.Equal(t, "COMPLETED", o.jobStatus("j1"))

	// Attaching policies is allowed 15 times a second, all within one second's budget.
	var refused int
	for range 200 {
		if status, out, err := o.try(http.MethodPut, "/target-policies/all", map[string]string{"target": who.arn}); err == nil && status != http.StatusOK {
			require.Contains(t, string(out), "ThrottlingException")
			refused++
			break
		}
	}
	require.Equal(t, 1, refused)

	resp, err := o.client.Get(o.http + "/metrics")
	require.NoError(t, err)
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	for _, line := range []string{"otasim_mqtt_connections 1", `otasim_jobs{status="COMPLETED"} 1`, `otasim_job_executions{status="SUCCEEDED"} 1`, "otasim_things 1",
		`otasim_http_requests_total{method="PUT",status="200"}`, "otasim_http_throttled_total 1"} {
		require.Contains(t, string(text), line)
	}
	status, text, err = o.try(http.MethodGet, "/healthz", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	require.JSONEq(t, `{"status":"ok"}`, string(text))
}

func TestPolicyAndTakeover(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	defer func() { require.NoError(t, s.Close()) }()
	o := newOperator(t, s.Ready())
	who := o.thing("lamp")
	t.Run("a forbidden subscription ends the connection", func(t *testing.T) {
		d := connect(t, options(t, s.Ready(), "one", who))
		d.Subscribe("secret/a", 1, nil)
		d.cut(t)
	})
	t.Run("a forbidden publish ends the connection", func(t *testing.T) {
		d := connect(t, options(t, s.Ready(), "two", who))
		d.Publish("secret/a", 1, false, "x")
		d.cut(t)
	})
	t.Run("a reserved topic ends the connection", func(t *testing.T) {
		d := connect(t, options(t, s.Ready(), "three", who))
		d.Publish("$aws/things/lamp/jobs/notify-next", 1, false, "x")
		d.cut(t)
	})
	t.Run("a payload beyond 128 KiB ends the connection", func(t *testing.T) {
		d := connect(t, options(t, s.Ready(), "four", who))
		d.Publish("a", 1, false, make([]byte, 128<<10+1))
		d.cut(t)
	})
	t.Run("the second client of a name replaces the first", func(t *testing.T) {
		first := connect(t, options(t, s.Ready(), "five", who))
		time.Sleep(1100 * time.Millisecond) // one CONNECT a second and client id
		second := connect(t, options(t, s.Ready(), "five", who))
		first.cut(t)
		done(t, second.Subscribe("a", 1, nil))
		done(t, second.Publish("a", 1, false, "x"))
		require.Equal(t, "x", string(second.hear(t, "a")))
		second.Disconnect(100)
	})
	t.Run("a certificate that is switched off ends the connection, and the next handshake", func(t *testing.T) {
		d := connect(t, options(t, s.Ready(), "six", who))
		o.call(http.MethodPut, "/certificates/"+who.id+"?newStatus=INACTIVE", nil)
		d.cut(t)
		again := paho.NewClient(options(t, s.Ready(), "six", who))
		token := again.Connect()
		require.True(t, token.WaitTimeout(10*time.Second))
		require.Error(t, token.Error())
	})
}

func TestPlainMQTT(t *testing.T) {
	s := start(t, func(c *Config) { c.MQTT = "127.0.0.1:0" })
	defer func() { require.NoError(t, s.Close()) }()
	o := newOperator(t, s.Ready())
	o.thing("lamp")
	o.thing("door")
	o.job("j1", "lamp")
	plain := func(id string) *device {
		return connect(t, paho.NewClientOptions().AddBroker("tcp://"+s.Ready().MQTT).SetClientID(id).SetAutoReconnect(false))
	}
	d := plain("lamp")
	defer d.Disconnect(100)
	done(t, d.Publish("$aws/things/lamp/jobs/j1/get", 0, false, ""))
	require.Contains(t, string(d.hear(t, "$aws/things/lamp/jobs/j1/get/accepted")), `"jobId":"j1"`)
	other := plain("door")
	other.Publish("$aws/things/lamp/jobs/j1/get", 1, false, "")
	other.cut(t)
}

func TestConfig(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"HTTP for all without a key":  func(c *Config) { c.HTTP = "0.0.0.0:0" },
		"MQTTS for all without a key": func(c *Config) { c.MQTTS = ":0" },
		"plain MQTT for all":          func(c *Config) { c.MQTT, c.AccessKey, c.SecretKey = "0.0.0.0:0", "AK", "SK" },
		"half a key":                  func(c *Config) { c.AccessKey = "AK" },
		"no port":                     func(c *Config) { c.HTTP = "localhost" },
		"account":                     func(c *Config) { c.Account = "12" },
		"region":                      func(c *Config) { c.Region = "US East" },
		"quotas":                      func(c *Config) { c.Quotas = "mine" },
		"a quota":                     func(c *Config) { c.Quotas = "jobs-data-write=5" },
		"a switch":                    func(c *Config) { c.Switches = []string{"stream-answers=all"} },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{HTTP: "127.0.0.1:0", MQTTS: "127.0.0.1:0"}
			change(&cfg)
			_, err := Start(cfg)
			require.ErrorIs(t, err, ErrUsage)
		})
	}
	t.Run("a port in use", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		for _, cfg := range []Config{{HTTP: l.Addr().String(), MQTTS: "127.0.0.1:0"}, {HTTP: "127.0.0.1:0", MQTTS: l.Addr().String()},
			{HTTP: "127.0.0.1:0", MQTTS: "127.0.0.1:0", MQTT: l.Addr().String()}} {
			_, err := Start(cfg)
			var environment interface{ Environment() bool }
			require.ErrorAs(t, err, &environment)
		}
	})
	t.Run("a data directory of another account", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, start(t, func(c *Config) { c.Data = dir }).Close())
		_, err := Start(Config{HTTP: "127.0.0.1:0", MQTTS: "127.0.0.1:0", Data: dir, Account: "999999999999"})
		require.ErrorIs(t, err, ErrUsage)
	})
	t.Run("a data directory of other quotas and switches", func(t *testing.T) {
		dir := t.TempDir()
		mine := func(c *Config) {
			c.Data, c.Quotas, c.Switches = dir, "streams=1,create-thing=unlimited", []string{"refused-connect=5"}
		}
		require.NoError(t, start(t, mine).Close())
		for _, change := range []func(c *Config){func(c *Config) { c.Quotas = "streams=2" }, func(c *Config) { c.Switches = []string{"refused-connect=7"} }} {
			cfg := Config{HTTP: "127.0.0.1:0", MQTTS: "127.0.0.1:0"}
			mine(&cfg)
			change(&cfg)
			_, err := Start(cfg)
			require.ErrorIs(t, err, ErrUsage)
		}
		s := start(t, func(c *Config) { c.Data = dir }) // keeps what it was made with
		defer s.Close()
		for i := range 30 {
			resp, err := http.Post(fmt.Sprintf("http://%s/things/t%d", s.Ready().HTTP, i), "application/json", strings.NewReader("{}"))
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, http.StatusOK, resp.StatusCode, "create-thing is unlimited")
		}
	})
	t.Run("a data directory in use", func(t *testing.T) {
		dir := t.TempDir()
		s := start(t, func(c *Config) { c.Data = dir })
		defer s.Close()
		_, err := Start(Config{HTTP: "127.0.0.1:0", MQTTS: "127.0.0.1:0", Data: dir})
		require.ErrorContains(t, err, "another process uses it")
	})
	t.Run("a database that is none", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "otasim.db"), bytes.Repeat([]byte("x"), 1<<16), 0o600))
		_, err := Start(Config{HTTP: "127.0.0.1:0", MQTTS: "127.0.0.1:0", Data: dir})
		require.ErrorIs(t, err, ErrJournal)
	})
}

func TestReadyFile(t *testing.T) {
	s := start(t, nil)
	defer func() { require.NoError(t, s.Close()) }()
	path := filepath.Join(t.TempDir(), "ready.json")
	require.NoError(t, s.WriteReady(path))
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	var r Ready
	require.NoError(t, json.Unmarshal(b, &r))
	require.Equal(t, s.Ready(), r)
	require.NotContains(t, string(b), `"mqtt":`)
}

func TestChanges(t *testing.T) {
	for topic, want := range map[string]bool{"$aws/things/t/jobs/j/update": true, "$aws/things/t/jobs/start-next": true,
		"$aws/things/t/jobs/get": false, "$aws/things/t/jobs/j/get": false, "$aws/things/t/streams/s/get/cbor": false,
		"$aws/things/t/shadow/update": true, "$aws/things/t/shadow/name/n/delete": true, "$aws/things/t/shadow/get": false} {
		require.Equal(t, want, cloud.Changes(topic, []cloud.Delivery{{Topic: topic + "/accepted"}}), topic)
		require.False(t, cloud.Changes(topic, []cloud.Delivery{{Topic: topic + "/rejected"}}), topic)
	}
}

func TestSigned(t *testing.T) {
	dir := t.TempDir()
	for _, key := range []string{"first", "second"} { // another key understands what an earlier one signed
		s := start(t, func(c *Config) { c.Data, c.HTTP, c.AccessKey, c.SecretKey = dir, "0.0.0.0:0", key, "secret of "+key })
		o := newOperator(t, s.Ready())
		signed := func(method, path, secret string) int {
			r, err := http.NewRequest(method, o.http+path, nil)
			require.NoError(t, err)
			sigv4.Sign(r, sigv4.Credentials{AccessKey: key, SecretKey: secret}, "us-east-1", api.IoT, sigv4.Payload(nil), time.Now())
			resp, err := o.client.Do(r)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			return resp.StatusCode
		}
		status, _, err := o.try(http.MethodPost, "/things/unsigned", nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusForbidden, status)
		require.Equal(t, http.StatusForbidden, signed(http.MethodPost, "/things/forged", "no"))
		require.Equal(t, http.StatusOK, signed(http.MethodPost, "/things/of-"+key, "secret of "+key))
		require.Equal(t, http.StatusOK, signed(http.MethodGet, "/things/of-first", "secret of "+key))
		require.Equal(t, http.StatusNotFound, signed(http.MethodGet, "/things/forged", "secret of "+key))
		status, _, err = o.try(http.MethodGet, "/healthz", nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
		o.client.CloseIdleConnections()
		require.NoError(t, s.Close())
	}
}

// What cannot be made to last is not acknowledged, and the server ends.
func TestDiskFails(t *testing.T) {
	s := start(t, func(c *Config) { c.Data = t.TempDir() })
	o := newOperator(t, s.Ready())
	who := o.thing("lamp")
	o.job("j1", "lamp")
	d := connect(t, options(t, s.Ready(), "lamp", who))
	require.NoError(t, s.journal.db.Close())
	token := d.Publish("$aws/things/lamp/jobs/j1/update", 1, false, `{"status":"SUCCEEDED"}`)
	d.cut(t)
	token.WaitTimeout(time.Second)
	require.Error(t, token.Error())
	require.Empty(t, d.heard)
	status, _, err := o.try(http.MethodPost, "/things/door", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusInternalServerError, status)
	status, _, err = o.try(http.MethodGet, "/healthz", nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusServiceUnavailable, status)
	var environment interface{ Environment() bool }
	require.ErrorAs(t, s.Wait(t.Context()), &environment)
	o.client.CloseIdleConnections()
	require.Error(t, s.Close())
}
