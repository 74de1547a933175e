package serve

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/pki"
)

// child is the process that is killed: it serves until then.
func child() int {
	s, err := Start(Config{HTTP: "127.0.0.1:0", MQTTS: "127.0.0.1:0", Data: os.Getenv("OTASIM_SERVE_CHILD"), Quotas: "unlimited"})
	if err == nil {
		err = s.WriteReady(os.Getenv("OTASIM_SERVE_READY"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	select {}
}

// serverProcess is a child that serves, and where.
type serverProcess struct {
	cmd   *exec.Cmd
	ready Ready
}

// process starts a child and waits until it is ready.
func process(t *testing.T, dir string) (*exec.Cmd, Ready) {
	ready := filepath.Join(t.TempDir(), "ready.json")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "OTASIM_SERVE_CHILD="+dir, "OTASIM_SERVE_READY="+ready)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	require.NoError(t, cmd.Start())
	var r Ready
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if b, err := os.ReadFile(ready); err == nil {
			require.NoError(t, json.Unmarshal(b, &r))
			return cmd, r
		}
		if time.Since(begin) > 20*time.Second || cmd.ProcessState != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			require.FailNow(t, "the server did not start", complaint.String())
		}
	}
}

// promised is what clients were told has happened.
type promised struct {
	sync.Mutex
	things  []string
	objects map[string][32]byte // by path with its version
	jobs    []string
	updates int // the last one that the device's job execution took
	state   int // the last one that the device's retained message took
	letters int // the last one for a client that is away
}

// TestKill kills the server under load again and again, and finds after each start
// all that it had acknowledged.
func TestKill(t *testing.T) {
	t.Parallel()
	rounds := 4
	if os.Getenv("OTASIM_LONG") != "" {
		rounds = 200
	}
	dir := t.TempDir()
	cmd, r := process(t, dir)
	o := newOperator(t, r)
	who := o.thing("lamp")
	o.job("story", "lamp")
	o.signer()
	reader := connect(t, options(t, r, "reader", who).SetCleanSession(false))
	done(t, reader.Subscribe("letters/+", 1, nil))
	reader.Disconnect(100)
	p := &promised{objects: map[string][32]byte{}}
	chance := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	for round := range rounds {
		var load sync.WaitGroup
		stop := make(chan struct{})
		over := func() bool {
			select {
			case <-stop:
				return true
			default:
				return false
			}
		}
		d := connect(t, options(t, r, "lamp", who))
		for w := range 4 {
			load.Go(func() {
				for i := 0; !over(); i++ {
					name := fmt.Sprintf("t-%d-%d-%d", round, w, i)
					if status, _, err := o.try(http.MethodPost, "/things/"+name, map[string]any{}); err == nil && status == http.StatusOK {
						p.Lock()
						p.things = append(p.things, name)
						p.Unlock()
					}
					if i%8 == 0 {
						job := map[string]any{"targets": []string{"arn:aws:iot:us-east-1:123456789012:thing/" + name}, "document": "{}"}
						if status, _, err := o.try(http.MethodPut, "/jobs/"+name, job); err == nil && status == http.StatusOK {
							p.Lock()
							p.jobs = append(p.jobs, name)
							p.Unlock()
						}
					}
				}
			})
		}
		load.Go(func() {
			for i := 0; !over(); i++ {
				content := bytes.Repeat([]byte(fmt.Sprintf("image %d %d ", round, i)), 1000+i%7*1000)
				path := fmt.Sprintf("/images/%d-%d.bin", round, i)
				if status, _, err := o.try(http.MethodPut, path, content); err == nil && status == http.StatusOK {
					p.Lock()
					p.objects[path] = sha256.Sum256(content)
					p.Unlock()
				}
			}
		})
		load.Go(func() {
			defer d.Disconnect(0)
			for !over() {
				next := p.updates + 1
				d.Publish("$aws/things/lamp/jobs/story/update", 1, false,
					fmt.Sprintf(`{"status":"IN_PROGRESS","statusDetails":{"n":"%d"},"clientToken":"%d"}`, next, next))
				for waiting := true; waiting; {
					select {
					case m := <-d.heard:
						if strings.HasSuffix(m.Topic(), "/update/accepted") && bytes.Contains(m.Payload(), []byte(fmt.Sprintf(`"clientToken":"%d"`, next))) {
							p.updates, waiting = next, false
						}
					case <-d.lost:
						return
					case <-stop:
						return
					}
				}
				kept := d.Publish("state/lamp", 1, true, strconv.Itoa(next))
				select {
				case <-kept.Done():
					if kept.Error() == nil {
						p.state = next
					}
				case <-stop:
					return
				}
			}
		})
		load.Go(func() {
			writer := connect(t, options(t, r, "writer", who))
			defer writer.Disconnect(0)
			for !over() {
				next := p.letters + 1
				token := writer.Publish("letters/a", 1, false, strconv.Itoa(next))
				select {
				case <-token.Done():
					if token.Error() == nil {
						p.letters = next
					}
				case <-stop:
					return
				}
				time.Sleep(30 * time.Millisecond)
			}
		})
		o.update(fmt.Sprintf("u%d", round))
		time.Sleep(time.Duration(50+chance.IntN(400)) * time.Millisecond)
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait() // it was killed
		close(stop)
		load.Wait()
		o.client.CloseIdleConnections()

		begin := time.Now()
		cmd, r = process(t, dir)
		t.Logf("round %d: %d things, %d objects, %d jobs, %d updates acknowledged; ready after %v", round, len(p.things), len(p.objects), len(p.jobs), p.updates,
			time.Since(begin).Round(time.Millisecond))
		o = newOperator(t, r)
		p.check(t, o, r, who)
	}

	// The client that was away has a session, and everything that was published meanwhile.
	reader = connect(t, options(t, r, "reader", who).SetCleanSession(false))
	require.NotZero(t, p.letters)
	for next := 1; next <= p.letters; {
		n, err := strconv.Atoi(string(reader.hear(t, "letters/a")))
		require.NoError(t, err)
		require.LessOrEqual(t, n, next, "letter %d is lost", next)
		if n == next {
			next++
		}
	}
	reader.Disconnect(100)

	// What happens by itself happens at the same time and in the same way after a start:
	// the steps of updates write signed objects, streams and jobs.
	last := fmt.Sprintf("/otaUpdates/u%d", rounds-1)
	require.Eventually(t, func() bool {
		return o.call(http.MethodGet, last, nil)["otaUpdateInfo"].(map[string]any)["otaUpdateStatus"] == "CREATE_COMPLETE"
	}, 20*time.Second, 20*time.Millisecond)
	before := o.snapshot(rounds)
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	o.client.CloseIdleConnections()
	cmd, r = process(t, dir)
	o = newOperator(t, r)
	require.Equal(t, before, o.snapshot(rounds))
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	require.NotZero(t, p.updates)
	require.NotEmpty(t, p.things)
	require.NotEmpty(t, p.objects)
	require.NotEmpty(t, p.jobs)
}

// signer makes a bucket with an image, and a signing profile.
func (o *operator) signer() {
	o.call(http.MethodPut, "/images", nil)
	o.call(http.MethodPut, "/images?versioning",
		[]byte(`<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>`))
	o.call(http.MethodPut, "/images/app.bin", bytes.Repeat([]byte("firmware"), 4096))
	authority, err := pki.New(aws.Seed{1}, time.Now())
	require.NoError(o.t, err)
	der, key, err := authority.CodeSigner("signer", nil)
	require.NoError(o.t, err)
	raw, err := x509.MarshalECPrivateKey(key)
	require.NoError(o.t, err)
	imported := o.call(http.MethodPost, "/", map[string]any{"Certificate": []byte(pki.PEM(der)),
		"PrivateKey": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw})}, "x-amz-target", "CertificateManager.ImportCertificate")
	o.call(http.MethodPut, "/signing-profiles/esp32", map[string]any{"platformId": "AmazonFreeRTOS-Default",
		"signingMaterial": map[string]any{"certificateArn": imported["CertificateArn"]}, "signingParameters": map[string]string{"certname": "/certs/signer.pem"}})
}

// update creates an OTA update for the lamp.
func (o *operator) update(id string) {
	info := map[string]string{}
	status, out, err := o.try(http.MethodGet, "/images?versions&prefix=app.bin", nil)
	require.NoError(o.t, err)
	require.Equal(o.t, http.StatusOK, status, string(out))
	_, rest, _ := strings.Cut(string(out), "<VersionId>")
	info["version"], _, _ = strings.Cut(rest, "</VersionId>")
	info["bucket"], info["key"] = "images", "app.bin"
	o.call(http.MethodPost, "/otaUpdates/"+id, map[string]any{"targets": []string{"arn:aws:iot:us-east-1:123456789012:thing/lamp"},
		"roleArn": "arn:aws:iam::123456789012:role/r", "files": []any{map[string]any{"fileName": "/device/app.bin",
			"fileLocation": map[string]any{"s3Location": info},
			"codeSigning": map[string]any{"startSigningJobParameter": map[string]any{"signingProfileName": "esp32",
				"destination": map[string]any{"s3Destination": map[string]string{"bucket": "images", "prefix": "signed/"}}}}}}})
}

// snapshot is much of what an operator can see.
func (o *operator) snapshot(updates int) map[string]string {
	seen := map[string]string{}
	paths := []string{"/images?versions", "/jobs?maxResults=250", "/streams", "/policies", "/certificates", "/signing-profiles", "/jobs/story", "/things/lamp", "/things/lamp/jobs"}
	for i := range updates {
		paths = append(paths, fmt.Sprintf("/otaUpdates/u%d", i), fmt.Sprintf("/jobs/AFR_OTA-u%d", i), fmt.Sprintf("/jobs/AFR_OTA-u%d/job-document", i))
	}
	for _, path := range paths {
		status, out, err := o.try(http.MethodGet, path, nil)
		require.NoError(o.t, err)
		require.Equal(o.t, http.StatusOK, status, "%s: %s", path, out)
		seen[path] = string(out)
	}
	return seen
}

// check finds everything that was promised.
func (p *promised) check(t *testing.T, o *operator, r Ready, who deviceIdentity) {
	known := map[string]bool{}
	for page := ""; ; {
		got := o.call(http.MethodGet, "/things?maxResults=250"+page, nil)
		for _, thing := range got["things"].([]any) {
			known[thing.(map[string]any)["thingName"].(string)] = true
		}
		next, ok := got["nextToken"].(string)
		if !ok || next == "" {
			break
		}
		page = "&nextToken=" + url.QueryEscape(next)
	}
	for _, name := range p.things {
		require.True(t, known[name], "thing %s is lost", name)
	}
	for path, sum := range p.objects {
		status, body, err := o.try(http.MethodGet, path, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status, path)
		require.Equal(t, sum, sha256.Sum256(body), path)
	}
	for _, id := range p.jobs {
		require.Equal(t, "IN_PROGRESS", o.jobStatus(id), id)
	}
	d := connect(t, options(t, r, "lamp", who))
	defer d.Disconnect(100)
	done(t, d.Publish("$aws/things/lamp/jobs/story/get", 0, false, "{}"))
	var got struct {
		Execution struct{ StatusDetails map[string]string }
	}
	require.NoError(t, json.Unmarshal(d.hear(t, "$aws/things/lamp/jobs/story/get/accepted"), &got))
	n, err := strconv.Atoi(got.Execution.StatusDetails["n"])
	require.NoError(t, err)
	require.GreaterOrEqual(t, n, p.updates, "an accepted update is lost")
	require.LessOrEqual(t, n, p.updates+1, "an update that nobody sent")
	p.updates = n
	if p.state == 0 {
		return
	}
	done(t, d.Subscribe("state/lamp", 1, nil))
	state, err := strconv.Atoi(string(d.hear(t, "state/lamp")))
	require.NoError(t, err)
	require.GreaterOrEqual(t, state, p.state, "a retained message is lost")
}
