package compat

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	iottypes "github.com/aws/aws-sdk-go-v2/service/iot/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/signer"
	signertypes "github.com/aws/aws-sdk-go-v2/service/signer/types"
	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/api"
	"github.com/otasim/otasim/cloud/sigv4"
)

// serve builds otasim and runs otasim serve as anybody would.
func serve(t *testing.T) (ready struct {
	HTTP, MQTTS string
	CAFile      string `json:"ca_file"`
}) {
	dir := t.TempDir()
	build := exec.Command("go", "build", "-C", filepath.Join("..", ".."), "-o", filepath.Join(dir, "otasim"), ".")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	cmd := exec.Command(filepath.Join(dir, "otasim"), "serve", "--http", "127.0.0.1:0", "--mqtts", "127.0.0.1:0", "--data", filepath.Join(dir, "data"),
		"--ready-file", filepath.Join(dir, "ready.json"), "--access-key", keys.AccessKey, "--secret-key", keys.SecretKey)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		_ = cmd.Wait()
		require.Equal(t, 143, cmd.ProcessState.ExitCode(), said.String())
	})
	require.Eventually(t, func() bool {
		b, err := os.ReadFile(filepath.Join(dir, "ready.json"))
		return err == nil && json.Unmarshal(b, &ready) == nil
	}, 20*time.Second, 10*time.Millisecond, said.String())
	return ready
}

// codeSigner makes a certificate for signatures of firmware, and imports it.
func codeSigner(t *testing.T, url string) (arn string, public *ecdsa.PublicKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "signer"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	raw, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	body, err := json.Marshal(map[string][]byte{"Certificate": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), "PrivateKey": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw})})
	require.NoError(t, err)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("X-Amz-Target", "CertificateManager.ImportCertificate")
	sigv4.Sign(r, keys, region, api.ACM, sigv4.Payload(body), time.Now())
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode, string(answer))
	var made struct{ CertificateArn string }
	require.NoError(t, json.Unmarshal(answer, &made))
	return made.CertificateArn, &key.PublicKey
}

// TestStory is an update against the running program: the SDK on the operator's side,
// paho with an X.509 identity on the device's, every step by hand.
func TestStory(t *testing.T) {
	ready, ctx := serve(t), t.Context()
	url := "http://" + ready.HTTP
	cfg := aws.Config{Region: region, BaseEndpoint: &url, Credentials: credentials.NewStaticCredentialsProvider(keys.AccessKey, keys.SecretKey, "")}
	things, signing := iot.NewFromConfig(cfg), signer.NewFromConfig(cfg)
	objects := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })

	// Bucket.
	image := make([]byte, 70_001)
	_, _ = rand.Read(image)
	_, err := objects.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("firmware")})
	require.NoError(t, err)
	_, err = objects.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: aws.String("firmware"),
		VersioningConfiguration: &s3types.VersioningConfiguration{Status: s3types.BucketVersioningStatusEnabled}})
	require.NoError(t, err)
	put, err := objects.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("firmware"), Key: aws.String("app.bin"), Body: bytes.NewReader(image)})
	require.NoError(t, err)

	// Certificate, thing, group, policy.
	cert, err := things.CreateKeysAndCertificate(ctx, &iot.CreateKeysAndCertificateInput{SetAsActive: true})
	require.NoError(t, err)
	thing, err := things.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("lamp")})
	require.NoError(t, err)
	_, err = things.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: aws.String("lamp"), Principal: cert.CertificateArn})
	require.NoError(t, err)
	group, err := things.CreateThingGroup(ctx, &iot.CreateThingGroupInput{ThingGroupName: aws.String("lamps")})
	require.NoError(t, err)
	_, err = things.AddThingToThingGroup(ctx, &iot.AddThingToThingGroupInput{ThingArn: thing.ThingArn, ThingGroupArn: group.ThingGroupArn})
	require.NoError(t, err)
	const prefix = "arn:aws:iot:us-east-1:123456789012:"
	_, err = things.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: aws.String("device"), PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"iot:Connect","Resource":"` + prefix + `client/${iot:Connection.Thing.ThingName}"},
		{"Effect":"Allow","Action":"iot:Subscribe","Resource":"` + prefix + `topicfilter/$aws/things/${iot:Connection.Thing.ThingName}/*"},
		{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":"` + prefix + `topic/$aws/things/${iot:Connection.Thing.ThingName}/*"}]}`)})
	require.NoError(t, err)
	_, err = things.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: aws.String("device"), Target: cert.CertificateArn})
	require.NoError(t, err)

	// Signing profile.
	acm, public := codeSigner(t, url)
	_, err = signing.PutSigningProfile(ctx, &signer.PutSigningProfileInput{ProfileName: aws.String("esp32"), PlatformId: aws.String("AmazonFreeRTOS-Default"),
		SigningMaterial: &signertypes.SigningMaterial{CertificateArn: &acm}, SigningParameters: map[string]string{"certname": "/certs/signer.pem"}})
	require.NoError(t, err)

	// The device is there before the update is.
	ca, err := os.ReadFile(ready.CAFile)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(ca))
	pair, err := tls.X509KeyPair([]byte(*cert.CertificatePem), []byte(*cert.KeyPair.PrivateKey))
	require.NoError(t, err)
	heard := make(chan paho.Message, 100)
	device := paho.NewClient(paho.NewClientOptions().AddBroker("tls://" + ready.MQTTS).SetClientID("lamp").SetAutoReconnect(false).
		SetTLSConfig(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}).
		SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { heard <- m }))
	done := func(token paho.Token) {
		t.Helper()
		require.True(t, token.WaitTimeout(10*time.Second))
		require.NoError(t, token.Error())
	}
	hear := func(topic string) []byte {
		t.Helper()
		for {
			select {
			case m := <-heard:
				if m.Topic() == topic {
					return m.Payload()
				}
			case <-time.After(20 * time.Second):
				require.FailNow(t, "nothing on "+topic)
			}
		}
	}
	done(device.Connect())
	defer device.Disconnect(100)
	const jobs = "$aws/things/lamp/jobs/"
	done(device.Subscribe(jobs+"notify-next", 1, nil))

	// OTA update.
	_, err = things.CreateOTAUpdate(ctx, &iot.CreateOTAUpdateInput{OtaUpdateId: aws.String("v2"), Targets: []string{*group.ThingGroupArn}, RoleArn: aws.String("arn:aws:iam::123456789012:role/ota"),
		Protocols: []iottypes.Protocol{iottypes.ProtocolMqtt}, Files: []iottypes.OTAUpdateFile{{FileName: aws.String("/device/app.bin"),
			FileLocation: &iottypes.FileLocation{S3Location: &iottypes.S3Location{Bucket: aws.String("firmware"), Key: aws.String("app.bin"), Version: put.VersionId}},
			CodeSigning: &iottypes.CodeSigning{StartSigningJobParameter: &iottypes.StartSigningJobParameter{SigningProfileName: aws.String("esp32"),
				Destination: &iottypes.Destination{S3Destination: &iottypes.S3Destination{Bucket: aws.String("firmware"), Prefix: aws.String("signed/")}}}}}}})
	require.NoError(t, err)

	// The device learns of it, and does what the job says.
	var next struct {
		Execution struct {
			JobID    string `json:"jobId"`
			Document struct {
				AFR struct {
					Stream string `json:"streamname"`
					Files  []struct {
						ID        int    `json:"fileid"`
						Size      int    `json:"filesize"`
						Signature []byte `json:"sig-sha256-ecdsa"`
					} `json:"files"`
				} `json:"afr_ota"`
			} `json:"jobDocument"`
		} `json:"execution"`
	}
	require.NoError(t, json.Unmarshal(hear(jobs+"notify-next"), &next))
	job := next.Execution.JobID
	require.Equal(t, "AFR_OTA-v2", job)
	next.Execution.JobID = ""
	done(device.Publish(jobs+"$next/get", 1, false, `{"clientToken":"1"}`))
	require.NoError(t, json.Unmarshal(hear(jobs+"$next/get/accepted"), &next))
	require.Equal(t, job, next.Execution.JobID)
	update := func(status string) {
		t.Helper()
		done(device.Publish(jobs+job+"/update", 1, false, `{"status":"`+status+`"}`))
		hear(jobs + job + "/update/accepted")
	}
	update("IN_PROGRESS")
	file := next.Execution.Document.AFR.Files[0]
	require.Equal(t, len(image), file.Size)
	stream := "$aws/things/lamp/streams/" + next.Execution.Document.AFR.Stream
	done(device.Subscribe(stream+"/data/cbor", 0, nil))
	got := make([]byte, file.Size)
	for at := 0; at*4096 < file.Size; at++ {
		ask, err := cbor.Marshal(map[string]any{"c": "lamp", "f": file.ID, "l": 4096, "o": at, "n": 1})
		require.NoError(t, err)
		done(device.Publish(stream+"/get/cbor", 0, false, ask))
		var block struct {
			Index int    `cbor:"i"`
			Data  []byte `cbor:"p"`
		}
		require.NoError(t, cbor.Unmarshal(hear(stream+"/data/cbor"), &block))
		require.Equal(t, at, block.Index)
		copy(got[at*4096:], block.Data)
	}
	require.Equal(t, image, got)
	sum := sha256.Sum256(got)
	require.True(t, ecdsa.VerifyASN1(public, sum[:], file.Signature), "the signature of the job document")
	update("SUCCEEDED")

	// The operator sees it.
	described, err := things.DescribeJob(ctx, &iot.DescribeJobInput{JobId: &job})
	require.NoError(t, err)
	require.Equal(t, iottypes.JobStatusCompleted, described.Job.Status, fmt.Sprint(described.Job.JobProcessDetails))
	execution, err := things.DescribeJobExecution(ctx, &iot.DescribeJobExecutionInput{JobId: &job, ThingName: aws.String("lamp")})
	require.NoError(t, err)
	require.Equal(t, iottypes.JobExecutionStatusSucceeded, execution.Execution.Status)
	require.EqualValues(t, 3, execution.Execution.VersionNumber)
}
