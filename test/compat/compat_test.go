// Package compat lets the AWS SDK for Go, unmodified, walk the whole story of
// an update against the cloud's HTTP handler. It is a module of its own so that
// the SDK is no dependency of the simulator: make compat runs it.
package compat

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
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
	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/api"
	"github.com/otasim/otasim/cloud/sigv4"
)

const region = "us-east-1"

var keys = sigv4.Credentials{AccessKey: "AKIDCOMPAT", SecretKey: "compat-secret"}

// core is a cloud on the wall's clock.
type core struct {
	mu sync.Mutex
	c  *cloud.Cloud
}

func (k *core) Now() time.Time { return time.Now() }

func (k *core) Do(_ *api.Call, f func(now time.Time, c *cloud.Cloud) error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	err := f(time.Now(), k.c)
	k.c.Wake(time.Now())
	return err
}

// world is the handler behind a listener, and clients for it.
type world struct {
	url    string
	core   *core
	iot    *iot.Client
	s3     *s3.Client
	signer *signer.Client
}

func newWorld(t *testing.T) *world {
	server := httptest.NewUnstartedServer(nil)
	url := "http://" + server.Listener.Addr().String()
	opt := api.Options{Region: region, AccessKey: keys.AccessKey, SecretKey: keys.SecretKey, RequireAuth: true, DataEndpoint: "127.0.0.1:8883"}
	c, err := cloud.New(cloud.Config{Region: region, Seed: sha256.Sum256([]byte("compat")), Epoch: time.Now(), External: true, Presign: api.Presigner(url, opt),
		StepTime: 10 * time.Millisecond, SigningTime: 20 * time.Millisecond, DeletionTime: 10 * time.Millisecond})
	require.NoError(t, err)
	k := &core{c: c}
	server.Config.Handler = api.New(k, opt)
	server.Start()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { // background steps
		defer close(done)
		for ctx.Err() == nil {
			k.mu.Lock()
			k.c.Wake(time.Now())
			k.mu.Unlock()
			time.Sleep(5 * time.Millisecond)
		}
	}()
	t.Cleanup(func() { cancel(); <-done; server.Close() })
	cfg := aws.Config{Region: region, BaseEndpoint: &url, Credentials: credentials.NewStaticCredentialsProvider(keys.AccessKey, keys.SecretKey, ""),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported, ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported}
	return &world{url: url, core: k, iot: iot.NewFromConfig(cfg), signer: signer.NewFromConfig(cfg), s3: s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })}
}

func code(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return ""
}

// bucket makes a versioned bucket with two versions of an image and returns the
// version id of the second.
func (w *world) bucket(t *testing.T, image []byte) string {
	ctx := t.Context()
	_, err := w.s3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("firmware")})
	require.NoError(t, err)
	_, err = w.s3.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: aws.String("firmware"),
		VersioningConfiguration: &s3types.VersioningConfiguration{Status: s3types.BucketVersioningStatusEnabled}})
	require.NoError(t, err)
	v, err := w.s3.GetBucketVersioning(ctx, &s3.GetBucketVersioningInput{Bucket: aws.String("firmware")})
	require.NoError(t, err)
	require.Equal(t, s3types.BucketVersioningStatusEnabled, v.Status)
	first, err := w.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("firmware"), Key: aws.String("app.bin"), Body: strings.NewReader("older"), Metadata: map[string]string{"build": "1"}})
	require.NoError(t, err)
	second, err := w.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("firmware"), Key: aws.String("app.bin"), Body: bytes.NewReader(image)})
	require.NoError(t, err)
	require.NotEqual(t, *first.VersionId, *second.VersionId)
	return *second.VersionId
}

func TestS3(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	image := bytes.Repeat([]byte{0xe9, 1, 2, 3}, 50000)
	version := w.bucket(t, image)

	list, err := w.s3.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: aws.String("firmware")})
	require.NoError(t, err)
	require.Len(t, list.Versions, 2)
	got, err := w.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("firmware"), Key: aws.String("app.bin"), VersionId: &version, Range: aws.String("bytes=4-7")})
	require.NoError(t, err)
	body, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	require.Equal(t, image[4:8], body)
	head, err := w.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String("firmware"), Key: aws.String("app.bin"), VersionId: &version})
	require.NoError(t, err)
	require.EqualValues(t, len(image), *head.ContentLength)
	_, err = w.s3.CopyObject(ctx, &s3.CopyObjectInput{Bucket: aws.String("firmware"), Key: aws.String("dir/copy of app"), CopySource: aws.String("firmware/app.bin?versionId=" + version)})
	require.NoError(t, err)
	_, err = w.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("firmware"), Key: aws.String("dir/copy of app")})
	require.NoError(t, err)
	buckets, err := w.s3.ListBuckets(ctx, &s3.ListBucketsInput{})
	require.NoError(t, err)
	require.Len(t, buckets.Buckets, 1)
	where, err := w.s3.GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: aws.String("firmware")})
	require.NoError(t, err)
	require.Empty(t, where.LocationConstraint)
	_, err = w.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("firmware"), Key: aws.String("none")})
	require.Equal(t, "NoSuchKey", code(err))

	presigned, err := s3.NewPresignClient(w.s3).PresignGetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("firmware"), Key: aws.String("app.bin"), VersionId: &version}, s3.WithPresignExpires(time.Minute))
	require.NoError(t, err)
	status, data := w.get(t, presigned.URL, "")
	require.Equal(t, 200, status)
	require.Equal(t, image, data)
	status, data = w.get(t, strings.Replace(presigned.URL, "app.bin", "all.bin", 1), "")
	require.Equal(t, 403, status)
	require.Contains(t, string(data), "SignatureDoesNotMatch")

	_, err = w.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("firmware"), Key: aws.String("sums"), Body: bytes.NewReader(image), ChecksumAlgorithm: s3types.ChecksumAlgorithmCrc64nvme})
	require.NoError(t, err)

	thief := s3.NewFromConfig(aws.Config{Region: region, BaseEndpoint: &w.url, Credentials: credentials.NewStaticCredentialsProvider(keys.AccessKey, "guess", "")})
	_, err = thief.ListBuckets(ctx, &s3.ListBucketsInput{})
	require.Equal(t, "SignatureDoesNotMatch", code(err))
	guess := iot.NewFromConfig(aws.Config{Region: region, BaseEndpoint: &w.url, Credentials: credentials.NewStaticCredentialsProvider("AKIDOTHER", "guess", "")})
	_, err = guess.ListThings(ctx, &iot.ListThingsInput{})
	require.Equal(t, "UnrecognizedClientException", code(err))
}

// Over TLS the SDK streams what it cannot rewind: unsigned chunks with the
// checksum behind them.
func TestStreamedUpload(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	w.bucket(t, []byte("image"))
	var framing string
	h := api.New(w.core, api.Options{Region: region, AccessKey: keys.AccessKey, SecretKey: keys.SecretKey})
	server := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			framing = r.Header.Get("X-Amz-Content-Sha256")
		}
		h.ServeHTTP(rw, r)
	}))
	defer server.Close()
	client := s3.NewFromConfig(aws.Config{Region: region, BaseEndpoint: &server.URL, HTTPClient: server.Client(),
		Credentials:                credentials.NewStaticCredentialsProvider(keys.AccessKey, keys.SecretKey, ""),
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported, ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported}, func(o *s3.Options) { o.UsePathStyle = true })
	data := bytes.Repeat([]byte("0123456789"), 30000)
	_, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("firmware"), Key: aws.String("streamed"), Body: io.MultiReader(bytes.NewReader(data)), ContentLength: aws.Int64(int64(len(data)))})
	require.NoError(t, err)
	require.Equal(t, sigv4.StreamingUnsignedTrailer, framing)
	got, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("firmware"), Key: aws.String("streamed")})
	require.NoError(t, err)
	body, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	require.Equal(t, data, body)
}

func (w *world) get(t *testing.T, url, span string) (int, []byte) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	if span != "" {
		r.Header.Set("Range", span)
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, data
}

// The whole story of an update.
func TestUpdate(t *testing.T) {
	w, ctx := newWorld(t), t.Context()
	image := bytes.Repeat([]byte{0xe9, 9, 8, 7}, 10000)
	version := w.bucket(t, image)

	thing, err := w.iot.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("sensor:1"), AttributePayload: &iottypes.AttributePayload{Attributes: map[string]string{"hw": "b"}}})
	require.NoError(t, err)
	_, err = w.iot.CreateThing(ctx, &iot.CreateThingInput{ThingName: aws.String("sensor:1")})
	require.Equal(t, "ResourceAlreadyExistsException", code(err))
	var exists *iottypes.ResourceAlreadyExistsException
	require.ErrorAs(t, err, &exists)
	require.Equal(t, *thing.ThingArn, *exists.ResourceArn)
	group, err := w.iot.CreateThingGroup(ctx, &iot.CreateThingGroupInput{ThingGroupName: aws.String("fleet"), Tags: []iottypes.Tag{{Key: aws.String("k"), Value: aws.String("v")}}})
	require.NoError(t, err)
	_, err = w.iot.AddThingToThingGroup(ctx, &iot.AddThingToThingGroupInput{ThingArn: thing.ThingArn, ThingGroupArn: group.ThingGroupArn})
	require.NoError(t, err)
	things := iot.NewListThingsInThingGroupPaginator(w.iot, &iot.ListThingsInThingGroupInput{ThingGroupName: aws.String("fleet"), MaxResults: aws.Int32(1)})
	page, err := things.NextPage(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"sensor:1"}, page.Things)

	cert, err := w.iot.CreateKeysAndCertificate(ctx, &iot.CreateKeysAndCertificateInput{SetAsActive: true})
	require.NoError(t, err)
	block, _ := pem.Decode([]byte(*cert.CertificatePem))
	_, err = x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	_, err = w.iot.CreatePolicy(ctx, &iot.CreatePolicyInput{PolicyName: aws.String("ota"), PolicyDocument: aws.String(w.core.c.OTAPolicy())})
	require.NoError(t, err)
	_, err = w.iot.AttachPolicy(ctx, &iot.AttachPolicyInput{PolicyName: aws.String("ota"), Target: cert.CertificateArn})
	require.NoError(t, err)
	attached, err := w.iot.ListAttachedPolicies(ctx, &iot.ListAttachedPoliciesInput{Target: cert.CertificateArn})
	require.NoError(t, err)
	require.Len(t, attached.Policies, 1)
	_, err = w.iot.AttachThingPrincipal(ctx, &iot.AttachThingPrincipalInput{ThingName: aws.String("sensor:1"), Principal: cert.CertificateArn})
	require.NoError(t, err)
	principals, err := w.iot.ListThingPrincipals(ctx, &iot.ListThingPrincipalsInput{ThingName: aws.String("sensor:1")})
	require.NoError(t, err)
	require.Equal(t, []string{*cert.CertificateArn}, principals.Principals)
	described, err := w.iot.DescribeCertificate(ctx, &iot.DescribeCertificateInput{CertificateId: cert.CertificateId})
	require.NoError(t, err)
	require.Equal(t, iottypes.CertificateStatusActive, described.CertificateDescription.Status)
	require.WithinDuration(t, time.Now(), *described.CertificateDescription.CreationDate, time.Minute)

	der, key, err := w.core.c.PKI().CodeSigner("compat", nil)
	require.NoError(t, err)
	acm, err := w.core.c.ImportCertificate(der, key)
	require.NoError(t, err)
	_, err = w.signer.PutSigningProfile(ctx, &signer.PutSigningProfileInput{ProfileName: aws.String("esp32"), PlatformId: aws.String("AmazonFreeRTOS-Default"),
		SigningMaterial: &signertypes.SigningMaterial{CertificateArn: &acm}, SigningParameters: map[string]string{"certname": "/certs/signer.pem"}})
	require.NoError(t, err)
	profile, err := w.signer.GetSigningProfile(ctx, &signer.GetSigningProfileInput{ProfileName: aws.String("esp32")})
	require.NoError(t, err)
	require.Equal(t, signertypes.SigningProfileStatusActive, profile.Status)
	_, err = w.signer.GetSigningProfile(ctx, &signer.GetSigningProfileInput{ProfileName: aws.String("none")})
	require.Equal(t, "ResourceNotFoundException", code(err))
	platforms, err := w.signer.ListSigningPlatforms(ctx, &signer.ListSigningPlatformsInput{})
	require.NoError(t, err)
	require.NotEmpty(t, platforms.Platforms)
	byHand, err := w.signer.StartSigningJob(ctx, &signer.StartSigningJobInput{ProfileName: aws.String("esp32"), ClientRequestToken: aws.String("1"),
		Source:      &signertypes.Source{S3: &signertypes.S3Source{BucketName: aws.String("firmware"), Key: aws.String("app.bin"), Version: &version}},
		Destination: &signertypes.Destination{S3: &signertypes.S3Destination{BucketName: aws.String("firmware"), Prefix: aws.String("by-hand/")}}})
	require.NoError(t, err)
	signed, err := signer.NewSuccessfulSigningJobWaiter(w.signer, func(o *signer.SuccessfulSigningJobWaiterOptions) {
		o.MinDelay, o.MaxDelay = 10*time.Millisecond, 50*time.Millisecond
	}).
		WaitForOutput(ctx, &signer.DescribeSigningJobInput{JobId: byHand.JobId}, 10*time.Second)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(*signed.SignedObject.S3.Key, "by-hand/"))

	const role = "arn:aws:iam::123456789012:role/ota-service"
	_, err = w.iot.CreateOTAUpdate(ctx, &iot.CreateOTAUpdateInput{OtaUpdateId: aws.String("v2"), Targets: []string{*group.ThingGroupArn}, RoleArn: aws.String(role),
		Protocols: []iottypes.Protocol{iottypes.ProtocolHttp, iottypes.ProtocolMqtt}, AwsJobPresignedUrlConfig: &iottypes.AwsJobPresignedUrlConfig{ExpiresInSec: aws.Int64(60)},
		Files: []iottypes.OTAUpdateFile{{FileName: aws.String("/device/app.bin"),
			FileLocation: &iottypes.FileLocation{S3Location: &iottypes.S3Location{Bucket: aws.String("firmware"), Key: aws.String("app.bin"), Version: &version}},
			CodeSigning: &iottypes.CodeSigning{StartSigningJobParameter: &iottypes.StartSigningJobParameter{SigningProfileName: aws.String("esp32"),
				Destination: &iottypes.Destination{S3Destination: &iottypes.S3Destination{Bucket: aws.String("firmware"), Prefix: aws.String("signed/")}}}}}}})
	require.NoError(t, err)
	var update *iottypes.OTAUpdateInfo
	require.Eventually(t, func() bool {
		got, err := w.iot.GetOTAUpdate(ctx, &iot.GetOTAUpdateInput{OtaUpdateId: aws.String("v2")})
		require.NoError(t, err)
		update = got.OtaUpdateInfo
		return update.OtaUpdateStatus == iottypes.OTAUpdateStatusCreateComplete
	}, 10*time.Second, 20*time.Millisecond)
	job, err := w.iot.DescribeJob(ctx, &iot.DescribeJobInput{JobId: update.AwsIotJobId})
	require.NoError(t, err)
	require.Equal(t, iottypes.JobStatusInProgress, job.Job.Status)
	var executions *iot.ListJobExecutionsForJobOutput
	require.Eventually(t, func() bool {
		executions, err = w.iot.ListJobExecutionsForJob(ctx, &iot.ListJobExecutionsForJobInput{JobId: update.AwsIotJobId})
		require.NoError(t, err)
		return len(executions.ExecutionSummaries) == 1
	}, 10*time.Second, 20*time.Millisecond)
	require.Equal(t, *thing.ThingArn, *executions.ExecutionSummaries[0].ThingArn)
	require.Equal(t, iottypes.JobExecutionStatusQueued, executions.ExecutionSummaries[0].JobExecutionSummary.Status)
	streams, err := w.iot.ListStreams(ctx, &iot.ListStreamsInput{})
	require.NoError(t, err)
	stream, err := w.iot.DescribeStream(ctx, &iot.DescribeStreamInput{StreamId: streams.Streams[0].StreamId})
	require.NoError(t, err)
	require.Len(t, stream.StreamInfo.Files, 1)

	// The device's side: the SDK has no module for it, so by signed requests.
	document := w.device(t, http.MethodGet, "/things/sensor%3A1/jobs/%24next", "")
	var doc struct {
		AFR struct {
			Files []struct {
				URL string `json:"update_data_url"`
			} `json:"files"`
		} `json:"afr_ota"`
	}
	require.NoError(t, json.Unmarshal([]byte(document.Execution.JobDocument), &doc))
	status, data := w.get(t, doc.AFR.Files[0].URL, "bytes=0-4095")
	require.Equal(t, http.StatusPartialContent, status)
	require.Equal(t, image[:4096], data)
	w.device(t, http.MethodPost, "/things/sensor%3A1/jobs/"+*update.AwsIotJobId, `{"status":"SUCCEEDED"}`)
	job, err = w.iot.DescribeJob(ctx, &iot.DescribeJobInput{JobId: update.AwsIotJobId})
	require.NoError(t, err)
	require.Equal(t, iottypes.JobStatusCompleted, job.Job.Status)
	require.EqualValues(t, 1, *job.Job.JobProcessDetails.NumberOfSucceededThings)
	execution, err := w.iot.DescribeJobExecution(ctx, &iot.DescribeJobExecutionInput{JobId: update.AwsIotJobId, ThingName: aws.String("sensor:1")})
	require.NoError(t, err)
	require.Equal(t, iottypes.JobExecutionStatusSucceeded, execution.Execution.Status)

	_, err = w.iot.DeleteOTAUpdate(ctx, &iot.DeleteOTAUpdateInput{OtaUpdateId: aws.String("v2"), DeleteStream: true})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := w.iot.GetOTAUpdate(ctx, &iot.GetOTAUpdateInput{OtaUpdateId: aws.String("v2")})
		return code(err) == "ResourceNotFoundException"
	}, 10*time.Second, 20*time.Millisecond)
}

type answer struct {
	Execution struct {
		JobDocument string `json:"jobDocument"`
	} `json:"execution"`
}

// device does a request to the Jobs data plane.
func (w *world) device(t *testing.T, method, path, body string) (out answer) {
	r, err := http.NewRequestWithContext(t.Context(), method, w.url+path, strings.NewReader(body))
	require.NoError(t, err)
	sigv4.Sign(r, keys, region, api.JobsData, sigv4.Payload([]byte(body)), time.Now())
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&out))
	return out
}
