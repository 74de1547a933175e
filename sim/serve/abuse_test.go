package serve

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/api"
	"github.com/otasim/otasim/cloud/sigv4"
)

// quiet is how many goroutines run once what has been ended is over.
func quiet() int {
	time.Sleep(200 * time.Millisecond)
	return runtime.NumGoroutine()
}

// settled waits until no more goroutines run than before.
func settled(t *testing.T, before int) {
	for begin := time.Now(); runtime.NumGoroutine() > before; time.Sleep(20 * time.Millisecond) {
		if time.Since(begin) > 20*time.Second {
			stacks := make([]byte, 1<<20)
			require.FailNow(t, "goroutines are left", "%d before, %d now\n%s", before, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// healthy is a device that gets on with its work whatever others do.
func healthy(t *testing.T, s *Server) (work func(job string), end func()) {
	o := newOperator(t, s.Ready())
	d := connect(t, options(t, s.Ready(), "lamp", o.thing("lamp")))
	work = func(job string) {
		begin := time.Now()
		o.job(job, "lamp")
		for _, status := range []string{"IN_PROGRESS", "SUCCEEDED"} {
			done(t, d.Publish("$aws/things/lamp/jobs/"+job+"/update", 1, false, `{"status":"`+status+`"}`))
			d.hear(t, "$aws/things/lamp/jobs/"+job+"/update/accepted")
		}
		require.Equal(t, "COMPLETED", o.jobStatus(job))
		require.Less(t, time.Since(begin), 10*time.Second)
		o.client.CloseIdleConnections() // they have goroutines of their own
	}
	return work, func() { d.Disconnect(100) }
}

// TestGarbageConnections opens 10,000 connections that say nothing, or nothing that
// makes sense.
func TestGarbageConnections(t *testing.T) {
	s := start(t, func(c *Config) { c.MQTT, c.Quotas = "127.0.0.1:0", "unlimited" })
	defer func() { require.NoError(t, s.Close()) }()
	work, end := healthy(t, s)
	defer end()
	work("before")
	before := quiet()
	chance := rand.New(rand.NewPCG(1, 2))
	const waves, wave = 20, 500
	for w := range waves {
		var open []net.Conn
		for i := range wave {
			conn, err := net.Dial("tcp", []string{s.Ready().MQTTS, s.Ready().MQTT, s.Ready().HTTP}[i%3])
			require.NoError(t, err)
			noise := make([]byte, chance.IntN(600))
			for k := range noise {
				noise[k] = byte(chance.Uint32())
			}
			switch i % 7 {
			case 1: // a CONNECT whose length lies
				noise = append([]byte{0x10, 0xff, 0xff, 0xff, 0x7f, 0, 4, 'M', 'Q', 'T', 'T'}, noise...)
			case 2:
				noise = append([]byte("PUT /"+strings.Repeat("%", i%100)+" HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n"), noise...)
			case 3:
				noise = nil // never says a word
			case 4: // a TLS record, and noise for a handshake
				noise = append([]byte{22, 3, 1, 2, 0, 1}, noise...)
			case 5: // a CONNECT that is right, and noise after it
				noise = append([]byte{0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 2, 'n', byte('a' + i%26)}, noise...)
			case 6: // a CONNECT of MQTT 5 with noise for properties
				noise = append([]byte{0x10, 80, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 60, 60}, noise...)
			}
			_, _ = conn.Write(noise)
			open = append(open, conn)
		}
		if w%5 == 2 {
			work(fmt.Sprint("during-", w))
		}
		for _, conn := range open {
			_ = conn.Close()
		}
	}
	work("after")
	settled(t, before)
	require.Equal(t, 1, s.broker.Connections())
}

// Those who open connections and then take their time are cut off.
func TestSlowClients(t *testing.T) {
	s := start(t, func(c *Config) { c.MQTT, c.Quotas, c.patience = "127.0.0.1:0", "unlimited", 700*time.Millisecond })
	defer func() { require.NoError(t, s.Close()) }()
	work, end := healthy(t, s)
	defer end()
	work("before")
	before := quiet()
	object := "/images/slow.bin"
	r, err := http.NewRequest(http.MethodPut, "http://"+s.Ready().HTTP+object, nil)
	require.NoError(t, err)
	sigv4.Sign(r, sigv4.Credentials{AccessKey: DefaultKey, SecretKey: DefaultKey}, "us-east-1", api.S3, "UNSIGNED-PAYLOAD", time.Now())
	signed := "PUT " + object + " HTTP/1.1\r\nHost: " + s.Ready().HTTP + "\r\nContent-Length: 1000000\r\n"
	for k := range r.Header {
		signed += k + ": " + r.Header.Get(k) + "\r\n"
	}
	slow := map[string]struct {
		address string
		begin   []byte
		drip    bool
	}{
		"TLS":                   {s.Ready().MQTTS, []byte{22, 3, 1}, true},
		"nothing on MQTTS":      {s.Ready().MQTTS, nil, false},
		"CONNECT":               {s.Ready().MQTT, []byte{0x10, 200, 1}, true},
		"nothing on MQTT":       {s.Ready().MQTT, nil, false},
		"header of a request":   {s.Ready().HTTP, []byte("GET / HTTP/1.1\r\nX-"), true},
		"nothing on HTTP":       {s.Ready().HTTP, nil, false},
		"body of a thing":       {s.Ready().HTTP, []byte("POST /things/slow HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"), false},
		"body of an object":     {s.Ready().HTTP, []byte(signed + "\r\nxxx"), false},
		"body in chunks":        {s.Ready().HTTP, []byte("POST /things/slow HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"), false},
		"half of a first frame": {s.Ready().MQTT, []byte{0x10}, false},
	}
	var all sync.WaitGroup
	for name, c := range slow {
		for range 5 {
			all.Go(func() {
				conn, err := net.Dial("tcp", c.address)
				if !check(t, err == nil, name) {
					return
				}
				defer conn.Close()
				_, _ = conn.Write(c.begin)
				begin := time.Now()
				if c.drip {
					go func() { // one byte after the other does not help
						for time.Since(begin) < 5*time.Second {
							time.Sleep(50 * time.Millisecond)
							if _, err := conn.Write([]byte{'a'}); err != nil {
								return
							}
						}
					}()
				}
				_ = conn.SetReadDeadline(begin.Add(10 * time.Second))
				_, err = io.Copy(io.Discard, conn)
				check(t, !errors.Is(err, os.ErrDeadlineExceeded), name+": the connection is still there")
			})
		}
	}
	work("during")
	all.Wait()
	work("after")
	settled(t, before)
}

func check(t *testing.T, ok bool, what string) bool {
	if !ok {
		t.Error(what)
	}
	return ok
}

// A client that subscribes and never reads costs a bounded amount of memory, and
// nobody waits for it.
func TestClientsThatDoNotRead(t *testing.T) {
	s := start(t, func(c *Config) { c.Quotas = "unlimited" })
	defer func() { require.NoError(t, s.Close()) }()
	work, end := healthy(t, s)
	defer end()
	o := newOperator(t, s.Ready())
	who := o.thing("deaf")
	reader := connect(t, options(t, s.Ready(), "reader", who))
	done(t, reader.Subscribe("flood", 1, nil))
	o.client.CloseIdleConnections()
	before := quiet()
	var deaf []*v5
	for i := range 8 {
		c, _ := newV5(t, s.Ready(), fmt.Sprint("deaf-", i), who, true, packets.Properties{})
		c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 1, Filters: packets.Subscriptions{{Filter: "flood", Qos: byte(i % 2)}}})
		c.next(packets.Suback)
		deaf = append(deaf, c)
	}
	payload := make([]byte, 100<<10)
	for i := range 200 { // 20 MB for each of them
		status, _ := o.request(api.IoTData, http.MethodPost, "/topics/flood?qos=1", payload)
		require.Equal(t, http.StatusOK, status)
		require.Len(t, reader.hear(t, "flood"), len(payload), "message %d", i)
		if i%100 == 50 {
			work(fmt.Sprint("during-", i))
		}
	}
	require.NotZero(t, s.broker.Dropped())
	work("after")
	for _, c := range deaf {
		require.NoError(t, c.Close())
	}
	o.client.CloseIdleConnections()
	settled(t, before)
	reader.Disconnect(100)
}

// What makes no sense over HTTP gets an error in the shape that AWS gives it.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) { c.AccessKey, c.SecretKey = "AK", "SK" })
	defer func() { require.NoError(t, s.Close()) }()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	at := "http://" + s.Ready().HTTP
	send := func(service, method, path string, body []byte, change func(*http.Request)) (int, http.Header, []byte) {
		r, err := http.NewRequest(method, at+path, bytes.NewReader(body))
		require.NoError(t, err)
		if service != "" {
			sigv4.Sign(r, sigv4.Credentials{AccessKey: "AK", SecretKey: "SK"}, "us-east-1", service, sigv4.Payload(body), time.Now())
		}
		if change != nil {
			change(r)
		}
		resp, err := client.Do(r)
		require.NoError(t, err)
		defer resp.Body.Close()
		out, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, resp.Header, out
	}
	forge := func(r *http.Request) {
		r.Header.Set("Authorization", r.Header.Get("Authorization")[:len(r.Header.Get("Authorization"))-4]+"0000")
	}
	for name, c := range map[string]struct {
		service, method, path string
		body                  []byte
		change                func(*http.Request)
		status                int
		code                  string // exception or code of S3
	}{
		"JSON that is none":     {api.IoT, "POST", "/things/a", []byte(`{"attr`), nil, 400, "InvalidRequestException"},
		"JSON that is an array": {api.IoT, "POST", "/things/a", []byte(`[1]`), nil, 400, "InvalidRequestException"},
		"JSON of another type":  {api.IoT, "PUT", "/jobs/j", []byte(`{"targets":7}`), nil, 400, "InvalidRequestException"},
		"a megabyte and more":   {api.IoT, "POST", "/things/a", make([]byte, 1<<20+1), nil, 413, "RequestEntityTooLargeException"},
		"no signature":          {"", "GET", "/things/a", nil, nil, 403, "MissingAuthenticationTokenException"},
		"a forged signature":    {api.IoT, "GET", "/things/a", nil, forge, 403, ""},
		"a body that was not hashed": {api.IoT, "POST", "/things/a", []byte(`{}`), func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(`{ }`)), 3
		}, 403, ""},
		"a thing that is not there":  {api.IoT, "GET", "/things/none", nil, nil, 404, "ResourceNotFoundException"},
		"a name that is none":        {api.IoT, "POST", "/things/a%20b", []byte(`{}`), nil, 400, "InvalidRequestException"},
		"an object forged":           {api.S3, "GET", "/b/k", nil, forge, 403, "SignatureDoesNotMatch"},
		"an object unsigned":         {"", "PUT", "/bucket/key", []byte("x"), nil, 403, ""},
		"a bucket that is not there": {api.S3, "GET", "/none/key", nil, nil, 404, "NoSuchBucket"},
		"a target that is none":      {api.ACM, "POST", "/", []byte(`{}`), nil, 404, "UnknownOperationException"},
	} {
		t.Run(name, func(t *testing.T) {
			status, header, out := send(c.service, c.method, c.path, c.body, c.change)
			require.Equal(t, c.status, status, "%s", out)
			if c.service == api.S3 || c.path == "/bucket/key" && bytes.HasPrefix(out, []byte("<")) {
				require.Contains(t, string(out), "<Code>"+c.code)
				return
			}
			require.Contains(t, header.Get("X-Amzn-ErrorType"), c.code)
			require.NotEmpty(t, header.Get("X-Amzn-ErrorType"))
			var e struct {
				Type    string `json:"__type"`
				Message string `json:"message"`
			}
			require.NoError(t, json.Unmarshal(out, &e), "%s", out)
			require.NotEmpty(t, e.Type)
			require.NotEmpty(t, e.Message)
		})
	}
}

// What makes no sense on a reserved topic is rejected on the topic for that, and the
// connection stays.
func TestBadMessages(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) { c.Quotas = "unlimited" })
	defer func() { require.NoError(t, s.Close()) }()
	o := newOperator(t, s.Ready())
	d := connect(t, options(t, s.Ready(), "lamp", o.thing("lamp")))
	defer d.Disconnect(100)
	o.job("j", "lamp")
	prefix := "$aws/things/lamp/"
	for _, c := range []struct{ topic, payload, code string }{
		{"jobs/get", `{"clientToken":`, "InvalidJson"},
		{"jobs/j/update", `[]`, "Invalid"},
		{"jobs/j/update", `{"status":"PERHAPS"}`, "InvalidRequest"},
		{"jobs/none/get", `{}`, "ResourceNotFound"},
		{"jobs/j/update", `{"status":"IN_PROGRESS","expectedVersion":99}`, "VersionMismatch"},
		{"jobs/nothing-that-exists", `{}`, "InvalidTopic"},
	} {
		done(t, d.Publish(prefix+c.topic, 1, false, c.payload))
		require.Contains(t, string(d.hear(t, prefix+c.topic+"/rejected")), c.code, c.topic)
	}
	done(t, d.Subscribe(prefix+"streams/s/rejected/json", 0, nil))
	done(t, d.Subscribe(prefix+"streams/s/rejected/cbor", 0, nil))
	chance := rand.New(rand.NewPCG(3, 4))
	for _, format := range []string{"json", "cbor"} {
		for range 50 {
			noise := make([]byte, chance.IntN(100))
			for k := range noise {
				noise[k] = byte(chance.Uint32())
			}
			done(t, d.Publish(prefix+"streams/s/get/"+format, 1, false, noise))
			require.NotEmpty(t, d.hear(t, prefix+"streams/s/rejected/"+format))
		}
	}
	bomb, err := cbor.Marshal(map[string]any{"f": 1, "l": 1 << 40, "o": -5, "n": 1 << 50, "b": make([]byte, 100000)})
	require.NoError(t, err)
	done(t, d.Publish(prefix+"streams/s/get/cbor", 1, false, bomb))
	require.NotEmpty(t, d.hear(t, prefix+"streams/s/rejected/cbor"))
	require.True(t, d.IsConnectionOpen())
}

// A certificate of somebody else, or none, ends in the handshake.
func TestBadHandshakes(t *testing.T) {
	t.Parallel()
	s := start(t, nil)
	defer func() { require.NoError(t, s.Close()) }()
	before := s.broker.Connections()
	for range 50 {
		conn, err := tls.Dial("tcp", s.Ready().MQTTS, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the server is to refuse
		if err == nil {
			_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			_, err = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
		require.Error(t, err)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	}
	require.Equal(t, before, s.broker.Connections())
}
