package sim

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/api"
	"github.com/otasim/otasim/cloud/pki"
	"github.com/otasim/otasim/cloud/sigv4"
	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/sim/dump"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
	"github.com/otasim/otasim/sim/serve"
)

// console is somebody who prepares an account and an update over HTTP.
type console struct {
	t      testing.TB
	server *serve.Server
	dir    string // certificates
	signer string // file of the certificate that signs images
}

const anARN = "arn:aws:iot:us-east-1:123456789012:"

func newConsole(t testing.TB) *console {
	s, err := serve.Start(serve.Config{HTTP: "127.0.0.1:0", MQTTS: "127.0.0.1:0", Quotas: "unlimited"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	c := &console{t: t, server: s, dir: t.TempDir()}
	c.signer = filepath.Join(c.dir, "signer.pem")
	return c
}

// call sends a signed request and decodes the answer.
func (c *console) call(service, method, path string, in any, header ...string) (map[string]any, http.Header) {
	body, ok := in.([]byte)
	if !ok && in != nil {
		var err error
		body, err = json.Marshal(in)
		require.NoError(c.t, err)
	}
	r, err := http.NewRequest(method, "http://"+c.server.Ready().HTTP+path, bytes.NewReader(body))
	require.NoError(c.t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	sigv4.Sign(r, sigv4.Credentials{AccessKey: serve.DefaultKey, SecretKey: serve.DefaultKey}, "us-east-1", service, sigv4.Payload(body), time.Now())
	resp, err := http.DefaultClient.Do(r)
	require.NoError(c.t, err)
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	require.Less(c.t, resp.StatusCode, 300, "%s %s: %s", method, path, out)
	m := map[string]any{}
	if len(out) > 0 && out[0] == '{' {
		require.NoError(c.t, json.Unmarshal(out, &m))
	}
	return m, resp.Header
}

func (c *console) write(name string, data []byte) {
	require.NoError(c.t, os.WriteFile(filepath.Join(c.dir, name), data, 0o600))
}

func ecKey(t testing.TB) (*ecdsa.PrivateKey, []byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	return key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

// prepare makes things with certificates in a group, and a signing profile. The first
// thing has the RSA key that AWS makes.
func (c *console) prepare(things ...string) {
	policy := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`
	c.call(api.IoT, "POST", "/policies/all", map[string]string{"policyDocument": policy})
	c.call(api.IoT, "POST", "/thing-groups/lamps", map[string]any{})
	for i, name := range things {
		c.call(api.IoT, "POST", "/things/"+name, map[string]any{})
		c.call(api.IoT, "PUT", "/thing-groups/addThingToThingGroup", map[string]string{"thingName": name, "thingGroupName": "lamps"})
		var made map[string]any
		if i == 0 {
			made, _ = c.call(api.IoT, "POST", "/keys-and-certificate?setAsActive=true", nil)
			c.write(name+".private.key", []byte(made["keyPair"].(map[string]any)["PrivateKey"].(string)))
		} else {
			key, text := ecKey(c.t)
			csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
			require.NoError(c.t, err)
			made, _ = c.call(api.IoT, "POST", "/certificates?setAsActive=true", map[string]string{
				"certificateSigningRequest": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))})
			c.write(name+".private.key", text)
		}
		c.write(name+".cert.pem", []byte(made["certificatePem"].(string)))
		arn := made["certificateArn"].(string)
		c.call(api.IoT, "PUT", "/target-policies/all", map[string]string{"target": arn})
		c.call(api.IoT, "PUT", "/things/"+name+"/principals", nil, "x-amzn-principal", arn)
	}
	authority, err := pki.New([32]byte{7}, time.Now())
	require.NoError(c.t, err)
	der, key, err := authority.CodeSigner("mine", nil)
	require.NoError(c.t, err)
	raw, err := x509.MarshalECPrivateKey(key)
	require.NoError(c.t, err)
	c.write("signer.pem", []byte(pki.PEM(der)))
	imported, _ := c.call("acm", "POST", "/", map[string][]byte{"Certificate": []byte(pki.PEM(der)),
		"PrivateKey": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw})}, "X-Amz-Target", "CertificateManager.ImportCertificate")
	c.call(api.Signer, "PUT", "/signing-profiles/esp32", map[string]any{"platformId": "AmazonFreeRTOS-Default",
		"signingMaterial": map[string]any{"certificateArn": imported["CertificateArn"]}, "signingParameters": map[string]string{"certname": "/certs/signer.pem"}})
	c.call(api.S3, "PUT", "/firmware", nil)
	c.call(api.S3, "PUT", "/firmware?versioning", []byte(`<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>`))
}

// update offers an image to the group.
func (c *console) update(id string, app []byte) {
	_, head := c.call(api.S3, "PUT", "/firmware/"+id+".bin", app)
	c.call(api.IoT, "POST", "/otaUpdates/"+id, map[string]any{"targets": []string{anARN + "thinggroup/lamps"}, "protocols": []string{"MQTT"},
		"targetSelection": "SNAPSHOT", "roleArn": "arn:aws:iam::123456789012:role/ota", "files": []any{map[string]any{"fileName": "/app.bin",
			"fileLocation": map[string]any{"s3Location": map[string]string{"bucket": "firmware", "key": id + ".bin", "version": head.Get("X-Amz-Version-Id")}},
			"codeSigning": map[string]any{"startSigningJobParameter": map[string]any{"signingProfileName": "esp32",
				"destination": map[string]any{"s3Destination": map[string]string{"bucket": "firmware", "prefix": "signed/"}}}}}}})
}

// options are those of a fleet against this server.
func (c *console) options(things ...string) FleetOptions {
	r := c.server.Ready()
	return FleetOptions{Endpoint: r.MQTTS, CA: r.CAFile, Certs: c.dir, Signer: c.signer, Things: things, Device: scenario.DefaultDevice(), Updates: 1, speed: 5}
}

func anImage(t testing.TB, version string, size int) []byte {
	app, err := image.Build(image.Spec{Version: version, Project: "lamp", Size: uint32(size), Chip: image.ESP32, FlashSize: 4 << 20})
	require.NoError(t, err)
	return app
}

// Devices against a cloud that knows nothing of them but their certificates: the
// update that somebody creates over HTTP is in the flash of each, and boots.
func TestFleet(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes the wall's time")
	}
	c := newConsole(t)
	c.prepare("lamp-1", "lamp-2", "lamp-3", "lamp-4")
	app := anImage(t, "2.0.0", 100_000)
	c.update("v2", app)
	things, err := ThingsOf(c.dir, "lamp-")
	require.NoError(t, err)
	require.Equal(t, []string{"lamp-1", "lamp-2", "lamp-3", "lamp-4"}, things)

	opt := c.options(things...)
	opt.Ramp, opt.Timeout = 8, 5*time.Minute
	opt.Dumps = map[string]string{"lamp-1": filepath.Join(c.dir, "lamp-1.bin")}
	var last report.Progress
	opt.Progress = func(p report.Progress) { last = p }
	res, err := RunFleet(context.Background(), opt)
	require.NoError(t, err)
	require.Equal(t, report.VerdictPass, res.Verdict, "%+v %v", res.Assertions, res.Notes)
	require.Equal(t, map[string]int{"2.0.0": 4}, res.Fleet.OnVersion)
	require.Equal(t, map[string]int{"ESP_OTA_IMG_VALID": 4}, res.Fleet.ImageState)
	require.Zero(t, res.Fleet.Mismatched)
	require.Len(t, res.Jobs, 1)
	require.Equal(t, "AFR_OTA-v2", res.Jobs[0].ID)
	require.Equal(t, map[string]int{"SUCCEEDED": 4}, res.Jobs[0].Executions)
	require.Equal(t, 4, res.Updates.Succeeded)
	require.NotNil(t, res.Updates.TimeTo99)
	require.GreaterOrEqual(t, res.Traffic.MQTTBytesOut, uint64(4*len(app)))
	require.EqualValues(t, 12, res.Traffic.Connects, "at first, after the update, and after its confirmation")
	require.Equal(t, 4, last.Connected)

	job, _ := c.call(api.IoT, "GET", "/jobs/AFR_OTA-v2", nil)
	require.Equal(t, "COMPLETED", job["job"].(map[string]any)["status"])

	flash, err := os.ReadFile(opt.Dumps["lamp-1"])
	require.NoError(t, err)
	require.Len(t, flash, 4<<20)
	d, err := dump.Read(flash, dump.Options{})
	require.NoError(t, err)
	booted := d.Boot(dump.BootOptions{Kind: bootloader.AFR2022, Rollback: true})
	require.Equal(t, "started", booted.End)
	require.Equal(t, "ota_1", *booted.Boot)
	require.Equal(t, app, flash[0x1d0000:0x1d0000+len(app)])
	t.Run("esptool", func(t *testing.T) { espTool(t, c.dir, flash[0x1d0000:0x1d0000+len(app)]) })
}

// espTool has Espressif's tool read an image out of a dump.
func espTool(t *testing.T, dir string, app []byte) {
	tool, err := exec.LookPath("esptool")
	if err != nil {
		t.Skip("esptool is not installed (pip install esptool): the dump was read by otasim's own code only")
	}
	file := filepath.Join(dir, "app.bin")
	require.NoError(t, os.WriteFile(file, app, 0o600))
	out, err := exec.Command(tool, "--chip", "esp32", "image-info", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "App version: 2.0.0")
	require.Regexp(t, `Checksum: 0x[0-9a-f]+ \(valid\)`, string(out))
	require.Regexp(t, `Validation hash: [0-9a-f]+ \(valid\)`, string(out))
}

// What is wrong for the whole fleet is said once, with the remedy.
func TestFleetRefused(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.prepare("lamp-1", "lamp-2")
	run := func(change func(*FleetOptions)) string {
		opt := c.options("lamp-1")
		opt.Timeout = 20 * time.Second
		change(&opt)
		_, err := RunFleet(context.Background(), opt)
		var e *SetupError
		require.ErrorAs(t, err, &e)
		return fmt.Sprintf("%v; %s", err, e.Remedy)
	}
	require.Contains(t, run(func(o *FleetOptions) { o.Things = []string{"lamp-1", "lamp-9"} }), "thing lamp-9: no certificate at "+filepath.Join(c.dir, "lamp-9.cert.pem"))
	require.Contains(t, run(func(o *FleetOptions) { o.CA = filepath.Join(c.dir, "lamp-1.cert.pem") }), "did not sign its certificate")
	require.Contains(t, run(func(o *FleetOptions) { o.CA = "none.pem" }), "none.pem")
	require.Contains(t, run(func(o *FleetOptions) { o.Signer = filepath.Join(c.dir, "lamp-1.private.key") }), "code signer")
	require.Contains(t, run(func(o *FleetOptions) { o.ServerName = "elsewhere.example" }), "--server-name")
	require.Contains(t, run(func(o *FleetOptions) { o.Endpoint = "127.0.0.1:1" }), "endpoint 127.0.0.1:1: ")
	// A certificate that the server does not know.
	key, text := ecKey(t)
	stranger, err := pki.New([32]byte{9}, time.Now())
	require.NoError(t, err)
	der, err := stranger.Issue("x", stranger.Certificate().Subject, &key.PublicKey)
	require.NoError(t, err)
	c.write("lamp-3.cert.pem", []byte(pki.PEM(der)))
	c.write("lamp-3.private.key", text)
	require.Contains(t, run(func(o *FleetOptions) { o.Things = []string{"lamp-3"} }), "handshake as thing lamp-3")
	c.write("lamp-2.private.key", text)
	wrong := run(func(o *FleetOptions) { o.Things = []string{"lamp-2"} })
	require.Contains(t, wrong, filepath.Join(c.dir, "lamp-2.cert.pem")+" and "+filepath.Join(c.dir, "lamp-2.private.key"))
	require.Contains(t, wrong, "same answer")
	require.Contains(t, run(func(o *FleetOptions) { o.Certs = filepath.Join(c.dir, "none") }), "expected THING.cert.pem")

	// Some things of a directory are not complete: it says which.
	c.write("lamp-4.cert.pem", []byte(pki.PEM(der)))
	c.write("lamp-5.cert.pem", []byte("no certificate"))
	things, err := ThingsOf(c.dir, "lamp-")
	require.NoError(t, err)
	some := run(func(o *FleetOptions) { o.Things = things })
	require.Contains(t, some, "thing lamp-2: ")
	require.Contains(t, some, "3 of 5 things in "+c.dir+" are not complete: also lamp-4, lamp-5")
	require.Contains(t, run(func(o *FleetOptions) { o.Things = []string{"lamp-1", "lamp-4"} }), "thing lamp-4: no private key at "+filepath.Join(c.dir, "lamp-4.private.key"))
	require.Contains(t, run(func(o *FleetOptions) { o.Things = []string{"lamp-5"} }), "lamp-5.cert.pem is not PEM")
}

// Somebody stops a fleet: devices say goodbye, and the result is what there is.
func TestFleetInterrupted(t *testing.T) {
	t.Parallel()
	c := newConsole(t)
	c.prepare("lamp-1", "lamp-2")
	opt := c.options("lamp-1", "lamp-2")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	opt.Progress = func(p report.Progress) {
		if p.Connected == 2 {
			cancel()
		}
	}
	opt.Dumps = map[string]string{"lamp-2": filepath.Join(c.dir, "lamp-2.bin")}
	res, err := RunFleet(ctx, opt)
	require.NoError(t, err)
	require.Equal(t, report.VerdictInterrupted, res.Verdict)
	require.Equal(t, 2, res.Fleet.Devices)
	require.FileExists(t, opt.Dumps["lamp-2"])
}
