package cloud

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/cloud/ota"
	"github.com/otasim/otasim/cloud/signer"
	"github.com/otasim/otasim/cloud/streams"
)

// settle lets an update's background steps run and returns it.
func (w *world) settle(id string) ota.Info {
	w.t.Helper()
	w.pass(30 * time.Second)
	info, err := w.c.GetOTAUpdate(w.now, id)
	require.NoError(w.t, err)
	return info
}

func (w *world) document(id string) (raw string, doc jobDocument) {
	w.t.Helper()
	raw, err := w.c.GetJobDocument(ota.JobID(id))
	require.NoError(w.t, err)
	require.NoError(w.t, json.Unmarshal([]byte(raw), &doc))
	return raw, doc
}

// The signed object is JSON, the raw image a newer version of the same key, and
// the stream points at that version.
func TestSignedObjectHasTwoVersions(t *testing.T) {
	w := newWorld(t, nil)
	w.thing("t1")
	img := image(9000)
	_, err := w.c.CreateOTAUpdate(w.now, w.firmware("u", img, w.c.ARN("thing", "t1")))
	require.NoError(t, err)
	require.Equal(t, ota.CreateComplete, w.settle("u").OTAUpdateStatus)
	_, doc := w.document("u")
	info, err := w.c.DescribeStream(doc.AFR.StreamName)
	require.NoError(t, err)
	loc := info.Files[0].S3Location
	require.True(t, strings.HasPrefix(loc.Key, "signed/"))
	newest, err := w.c.bucket.Get(loc.Bucket, loc.Key, "")
	require.NoError(t, err)
	require.Equal(t, loc.Version, newest.VersionID)
	require.Equal(t, img, newest.Data)

	client, endpoint := w.c.S3()
	resp, err := client.Get(endpoint + "/" + loc.Bucket + "?versions")
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	body := new(strings.Builder)
	buf := make([]byte, 64<<10)
	n, _ := resp.Body.Read(buf)
	body.Write(buf[:n])
	require.Equal(t, 2, strings.Count(body.String(), "<Key>"+loc.Key+"</Key>"))
	older := ""
	for _, part := range strings.Split(body.String(), "<Version>")[1:] {
		id, _, _ := strings.Cut(strings.SplitN(part, "<VersionId>", 2)[1], "</VersionId>")
		if strings.Contains(part, "<Key>"+loc.Key+"</Key>") && id != loc.Version {
			older = id
		}
	}
	envelope, err := w.c.bucket.Get(loc.Bucket, loc.Key, older)
	require.NoError(t, err)
	var e signer.Envelope
	require.NoError(t, json.Unmarshal(envelope.Data, &e))
	require.Equal(t, 9000, e.RawPayloadSize)
	require.Equal(t, "SHA256withECDSA", e.SignatureAlgorithm)
	payload, err := base64.StdEncoding.DecodeString(e.Payload)
	require.NoError(t, err)
	require.Equal(t, img, payload)
	require.Equal(t, doc.AFR.Files[0].Signature, e.Signature)
}

func TestSigningVariants(t *testing.T) {
	w := newWorld(t, nil)
	w.thing("t1")
	r := w.firmware("by-parameter", image(5000), w.c.ARN("thing", "t1"))
	profile, err := w.c.signer.GetSigningProfile("esp32")
	require.NoError(t, err)
	r.Files[0].CodeSigning = &ota.CodeSigning{StartSigningJobParameter: &ota.StartSigningJobParameter{SigningProfileParameter: &ota.SigningProfileParameter{
		CertificateARN: profile.SigningMaterial.CertificateARN, Platform: "AWSIoTDeviceManagement-SHA256-ECDSA", CertificatePathOnDevice: "/other.pem"}}}
	_, err = w.c.CreateOTAUpdate(w.now, r)
	require.NoError(t, err)
	require.Equal(t, ota.CreateComplete, w.settle(r.OTAUpdateID).OTAUpdateStatus)
	_, made := w.document(r.OTAUpdateID)
	require.Equal(t, "/other.pem", made.AFR.Files[0].CertFile)

	source := r.Files[0].FileLocation.S3Location
	jobID, err := w.c.StartSigningJob(w.now, signer.StartRequest{ProfileName: "esp32", ClientRequestToken: "x",
		Source: signer.S3Source{BucketName: source.Bucket, Key: source.Key, Version: source.Version}, Destination: signer.S3Destination{BucketName: "firmware"}})
	require.NoError(t, err)
	again, err := w.c.StartSigningJob(w.now, signer.StartRequest{ProfileName: "esp32", ClientRequestToken: "x",
		Source: signer.S3Source{BucketName: source.Bucket, Key: source.Key, Version: source.Version}, Destination: signer.S3Destination{BucketName: "firmware"}})
	require.NoError(t, err)
	require.Equal(t, jobID, again, "idempotent on the request token")
	w.pass(5 * time.Second)
	job, err := w.c.DescribeSigningJob(jobID)
	require.NoError(t, err)
	require.Equal(t, signer.Succeeded, job.Status)
	r.OTAUpdateID, r.Files[0].CodeSigning = "by-job", &ota.CodeSigning{AWSSignerJobID: jobID}
	_, err = w.c.CreateOTAUpdate(w.now, r)
	require.NoError(t, err)
	require.Equal(t, ota.CreateComplete, w.settle("by-job").OTAUpdateStatus)
	_, byJob := w.document("by-job")
	require.Equal(t, made.AFR.Files[0].Signature, byJob.AFR.Files[0].Signature, "RFC 6979: equal images, equal signatures")

	sig, err := base64.StdEncoding.DecodeString(byJob.AFR.Files[0].Signature)
	require.NoError(t, err)
	require.Equal(t, byte(0x30), sig[0])
	r.OTAUpdateID, r.Files[0].CodeSigning = "custom", &ota.CodeSigning{CustomCodeSigning: &ota.CustomCodeSigning{Signature: &ota.Blob{InlineDocument: sig},
		HashAlgorithm: "SHA256", SignatureAlgorithm: "ECDSA", CertificateChain: &ota.CertificateChain{CertificateName: "/c.pem"}}}
	_, err = w.c.CreateOTAUpdate(w.now, r)
	require.NoError(t, err)
	require.Equal(t, ota.CreateComplete, w.settle("custom").OTAUpdateStatus)
	_, custom := w.document("custom")
	require.Equal(t, byJob.AFR.Files[0].Signature, custom.AFR.Files[0].Signature)
	require.Equal(t, "/c.pem", custom.AFR.Files[0].CertFile)
	require.Equal(t, 5000, custom.AFR.Files[0].FileSize)
}

// A signature that arrives in base64 twice is taken as it is, or decoded.
func TestDoublyEncodedSignature(t *testing.T) {
	for lenient, want := range map[bool]string{false: "TUFBPQ==", true: "MAA="} {
		w := newWorld(t, func(c *Config) { c.Switches.OTA.DecodeSignature = lenient })
		w.thing("t1")
		r := w.firmware("u", image(100), w.c.ARN("thing", "t1"))
		r.Files[0].CodeSigning = &ota.CodeSigning{CustomCodeSigning: &ota.CustomCodeSigning{Signature: &ota.Blob{InlineDocument: []byte("MAA=")},
			HashAlgorithm: "SHA256", SignatureAlgorithm: "ECDSA"}}
		_, err := w.c.CreateOTAUpdate(w.now, r)
		require.NoError(t, err)
		w.settle("u")
		_, doc := w.document("u")
		require.Equal(t, want, doc.AFR.Files[0].Signature)
	}
}

func TestHTTPDocument(t *testing.T) {
	w := newWorld(t, nil)
	w.thing("t1")
	r := w.firmware("u", image(100), w.c.ARN("thing", "t1"))
	r.Protocols = []string{"HTTP", "MQTT"}
	_, err := w.c.CreateOTAUpdate(w.now, r)
	require.NoError(t, err)
	require.Equal(t, ota.CreateComplete, w.settle("u").OTAUpdateStatus)
	raw, doc := w.document("u")
	require.Equal(t, []string{"MQTT", "HTTP"}, doc.AFR.Protocols, "MQTT first")
	require.Contains(t, raw, `"update_data_url":"${aws:iot:s3-presigned-url:https://s3.eu-central-1.amazonaws.com/firmware/signed/`)
	require.Contains(t, raw, `"auth_scheme":"aws.s3.presigned"`)

	r.OTAUpdateID, r.Protocols = "http", []string{"HTTP"}
	_, err = w.c.CreateOTAUpdate(w.now, r)
	require.NoError(t, err)
	w.settle("http")
	raw, _ = w.document("http")
	require.NotContains(t, raw, "streamname")
}

func TestFailures(t *testing.T) {
	for name, c := range map[string]struct {
		change func(w *world, r *ota.CreateRequest)
		config func(*Config)
		code   string
	}{
		"no such version": {change: func(_ *world, r *ota.CreateRequest) { r.Files[0].FileLocation.S3Location.Version = "3/none" }, code: "InvalidRequestException"},
		"no version":      {change: func(_ *world, r *ota.CreateRequest) { r.Files[0].FileLocation.S3Location.Version = "" }, code: "ValidationException"},
		"no profile": {change: func(_ *world, r *ota.CreateRequest) {
			r.Files[0].CodeSigning.StartSigningJobParameter.SigningProfileName = "none"
		}, code: "ResourceNotFoundException"},
		"no target": {change: func(w *world, r *ota.CreateRequest) { r.Targets = []string{w.c.ARN("thing", "none")} }, code: "ResourceNotFoundException"},
		"too large": {change: func(w *world, r *ota.CreateRequest) {
			v, err := w.c.PutObject(w.now, "firmware", "big", make([]byte, 16<<20+1))
			require.NoError(w.t, err)
			r.Files[0].FileLocation.S3Location = &streams.Location{Bucket: "firmware", Key: "big", Version: v}
		}, code: "InvalidRequestException"},
		"injected": {config: func(c *Config) {
			c.Fault = func(id string, step ota.Step) error {
				if step == ota.StepStream {
					return aws.LimitExceeded.Because("stream quota")
				}
				return nil
			}
		}, code: "LimitExceededException"},
		"internal": {config: func(c *Config) {
			c.Fault = func(string, ota.Step) error { return errors.New("power failure in the data centre") }
		}, code: "InternalFailureException"},
	} {
		w := newWorld(t, c.config)
		w.thing("t1")
		r := w.firmware("u", image(100), w.c.ARN("thing", "t1"))
		if c.change != nil {
			c.change(w, &r)
		}
		_, err := w.c.CreateOTAUpdate(w.now, r)
		require.NoError(t, err, name)
		info := w.settle("u")
		require.Equal(t, ota.CreateFailed, info.OTAUpdateStatus, name)
		require.Equal(t, c.code, info.ErrorInfo.Code, "%s: %s", name, info.ErrorInfo.Message)
		require.Contains(t, info.ErrorInfo.Message, "(Service: ")
		_, err = w.c.DescribeJob(ota.JobID("u"))
		require.ErrorIs(t, err, aws.ResourceNotFound, "no job is left behind")
		_, err = w.c.CreateOTAUpdate(w.now, r)
		require.ErrorIs(t, err, aws.ResourceAlreadyExists, "the id stays taken")
		require.NoError(t, w.c.DeleteOTAUpdate(w.now, "u", true, false))
		w.pass(5 * time.Second)
		_, err = w.c.CreateOTAUpdate(w.now, r)
		require.NoError(t, err)
	}
}

func TestInvalidRequests(t *testing.T) {
	w := newWorld(t, nil)
	w.thing("t1")
	good := w.firmware("u", image(100), w.c.ARN("thing", "t1"))
	for name, change := range map[string]func(*ota.CreateRequest){
		"id":       func(r *ota.CreateRequest) { r.OTAUpdateID = "a b" },
		"long id":  func(r *ota.CreateRequest) { r.OTAUpdateID = strings.Repeat("x", 57) },
		"targets":  func(r *ota.CreateRequest) { r.Targets = nil },
		"files":    func(r *ota.CreateRequest) { r.Files = nil },
		"role":     func(r *ota.CreateRequest) { r.RoleARN = "x" },
		"protocol": func(r *ota.CreateRequest) { r.Protocols = []string{"FTP"} },
		"rate": func(r *ota.CreateRequest) {
			r.AWSJobExecutionsRolloutConfig = &jobs.RolloutConfig{MaximumPerMinute: 1001}
		},
		"two signings":  func(r *ota.CreateRequest) { r.Files[0].CodeSigning.AWSSignerJobID = "x" },
		"no location":   func(r *ota.CreateRequest) { r.Files[0].FileLocation = nil },
		"file type":     func(r *ota.CreateRequest) { r.Files[0].FileType = 256 },
		"two locations": func(r *ota.CreateRequest) { r.Files[0].FileLocation.Stream = &ota.StreamLocation{} },
	} {
		body, err := json.Marshal(good)
		require.NoError(t, err)
		var r ota.CreateRequest
		require.NoError(t, json.Unmarshal(body, &r))
		change(&r)
		_, err = w.c.CreateOTAUpdate(w.now, r)
		require.ErrorIs(t, err, aws.InvalidRequest, name)
	}
}

func TestDeleteOTAUpdate(t *testing.T) {
	w := newWorld(t, nil)
	w.thing("t1")
	r := w.firmware("u", image(100), w.c.ARN("thing", "t1"))
	_, err := w.c.CreateOTAUpdate(w.now, r)
	require.NoError(t, err)
	require.ErrorIs(t, w.c.DeleteOTAUpdate(w.now, "u", false, false), aws.InvalidRequest, "still being created")
	w.settle("u")
	_, doc := w.document("u")
	require.ErrorIs(t, w.c.DeleteOTAUpdate(w.now, "u", true, false), aws.InvalidRequest, "a live job needs force")
	require.NoError(t, w.c.DeleteOTAUpdate(w.now, "u", true, true))
	info, err := w.c.GetOTAUpdate(w.now, "u")
	require.NoError(t, err)
	require.Equal(t, ota.DeleteInProgress, info.OTAUpdateStatus)
	w.pass(5 * time.Second)
	_, err = w.c.GetOTAUpdate(w.now, "u")
	require.ErrorIs(t, err, aws.ResourceNotFound)
	_, err = w.c.DescribeJob(ota.JobID("u"))
	require.ErrorIs(t, err, aws.ResourceNotFound)
	_, err = w.c.DescribeStream(doc.AFR.StreamName)
	require.ErrorIs(t, err, aws.ResourceNotFound)

	w = newWorld(t, func(c *Config) { c.Switches.OTA.KeepLiveJob = true })
	w.thing("t1")
	_, err = w.c.CreateOTAUpdate(w.now, w.firmware("u", image(100), w.c.ARN("thing", "t1")))
	require.NoError(t, err)
	w.settle("u")
	require.NoError(t, w.c.DeleteOTAUpdate(w.now, "u", false, false))
	w.pass(5 * time.Second)
	_, err = w.c.DescribeJob(ota.JobID("u"))
	require.NoError(t, err, "the job stays behind")
}

// The shapes are AWS's own: what the CLI takes as --cli-input-json works here.
func TestRequestInTheSpellingOfTheCLI(t *testing.T) {
	w := newWorld(t, nil)
	w.thing("t1", "fleet")
	base := w.firmware("u", image(100), "x")
	body := `{"otaUpdateId":"u","targets":["` + w.c.ARN("thinggroup", "fleet") + `"],"protocols":["MQTT"],"targetSelection":"CONTINUOUS",
		"awsJobExecutionsRolloutConfig":{"maximumPerMinute":100,"exponentialRate":{"baseRatePerMinute":10,"incrementFactor":1.5,"rateIncreaseCriteria":{"numberOfSucceededThings":5}}},
		"awsJobAbortConfig":{"abortCriteriaList":[{"failureType":"FAILED","action":"CANCEL","thresholdPercentage":12.5,"minNumberOfExecutedThings":8}]},
		"awsJobTimeoutConfig":{"inProgressTimeoutInMinutes":30},"roleArn":"` + role + `","additionalParameters":{"k":"v"},
		"files":[{"fileName":"/fw.bin","fileType":0,"fileVersion":"2","fileLocation":{"s3Location":{"bucket":"firmware","key":"app.bin","version":"` +
		base.Files[0].FileLocation.S3Location.Version + `"}},"codeSigning":{"startSigningJobParameter":{"signingProfileName":"esp32","destination":{"s3Destination":{"bucket":"firmware","prefix":"s/"}}}}}]}`
	var r ota.CreateRequest
	d := json.NewDecoder(strings.NewReader(body))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&r))
	_, err := w.c.CreateOTAUpdate(w.now, r)
	require.NoError(t, err)
	require.Equal(t, ota.CreateComplete, w.settle("u").OTAUpdateStatus)
	job, err := w.c.DescribeJob(ota.JobID("u"))
	require.NoError(t, err)
	require.Equal(t, jobs.Continuous, job.TargetSelection)
	require.Equal(t, 30, job.TimeoutConfig.InProgressTimeoutInMinutes)
	require.Equal(t, 12.5, job.AbortConfig.CriteriaList[0].ThresholdPercentage)
	require.Equal(t, 5, job.JobExecutionsRolloutConfig.ExponentialRate.RateIncreaseCriteria.NumberOfSucceededThings)
}

func TestDocumentSource(t *testing.T) {
	w := newWorld(t, nil)
	w.thing("t1")
	require.NoError(t, w.c.CreateBucket(w.now, "docs"))
	_, err := w.c.PutObject(w.now, "docs", "a/job.json", []byte(`{"from":"s3"}`))
	require.NoError(t, err)
	for i, url := range []string{"https://s3.eu-central-1.amazonaws.com/docs/a/job.json", "https://docs.s3.eu-central-1.amazonaws.com/a/job.json"} {
		id := string(rune('a' + i))
		_, err = w.c.CreateJob(w.now, jobs.CreateJobRequest{JobID: id, DocumentSource: url, Targets: []string{w.c.ARN("thing", "t1")}})
		require.NoError(t, err)
		doc, err := w.c.GetJobDocument(id)
		require.NoError(t, err)
		require.Equal(t, `{"from":"s3"}`, doc)
	}
	_, err = w.c.CreateJob(w.now, jobs.CreateJobRequest{JobID: "c", DocumentSource: "https://docs.s3.eu-central-1.amazonaws.com/none", Targets: []string{w.c.ARN("thing", "t1")}})
	require.ErrorIs(t, err, aws.InvalidRequest)
}
