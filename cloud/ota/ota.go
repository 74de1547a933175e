// Package ota is AWS IoT's OTA update manager: one request turns an image in a
// bucket into a signed object, a stream, a job document and a job.
//
//	CREATE_PENDING -> CREATE_IN_PROGRESS: sign each file -> raw image to the signed key
//	               -> stream AFR_OTA-<uuid> -> document -> job AFR_OTA-<id> -> CREATE_COMPLETE
//	any failure    -> CREATE_FAILED with errorInfo; the id stays taken
//	DELETE_IN_PROGRESS -> gone, or DELETE_FAILED
//
// Steps run in the background: each is planned on the agenda.
//
// Sources: FreeRTOS User Guide, pages ota-manager, ota-cli-workflow and
// ota-create-failure; API model iot/2015-05-28; the job document as
// aws/ota-for-aws-iot-embedded-sdk (source/ota.c) parses it.
package ota

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/otasim/otasim/cloud/agenda"
	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/defect"
	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/cloud/signer"
	"github.com/otasim/otasim/cloud/streams"
)

// Prefix begins the ids of jobs and streams that belong to OTA updates.
const Prefix = "AFR_OTA-"

// JobID is the id of an update's job.
func JobID(otaUpdateID string) string { return Prefix + otaUpdateID }

// Step names a background step, for Config.Fault.
type Step string

// Background steps, in order.
const (
	StepSign   Step = "sign"
	StepStream Step = "stream"
	StepJob    Step = "job"
)

// Switches choose among readings of the documentation. The zero value is the
// documented default.
type Switches struct {
	// KeepLiveJob lets DeleteOTAUpdate without force leave a live job in place
	// instead of refusing the deletion.
	KeepLiveJob bool
	// DecodeSignature decodes a custom signature from base64 until it is DER.
	DecodeSignature bool
	// AcceptLongIDs lets an update whose job id would be too long fail when the
	// job is made instead of at once.
	AcceptLongIDs bool
}

// Config is what a Service is made of; all but Fault is required.
type Config struct {
	Defects  defect.Set // planted, to test checkers
	Realm    aws.Realm
	Seed     aws.Seed
	Agenda   *agenda.Agenda
	Signer   *signer.Service
	Streams  *streams.Service
	Jobs     *jobs.Service
	Objects  signer.Objects
	Switches Switches
	StepTime time.Duration // from acceptance to the first step, and between deletion checks
	// Fault makes a background step fail with the error it returns.
	Fault func(otaUpdateID string, step Step) error
}

type update struct {
	req       CreateRequest
	status    string
	err       *ErrorInfo
	created   int64
	modified  int64
	waiting   int // signing jobs that run
	files     []ready
	streamID  string // in the document
	ownStream string // made here
	jobID     string
	dropOwn   bool // deleteStream of the deletion
	entry     agenda.Entry
}

// ready is a file that is signed and in place.
type ready struct {
	jobID     string // signing job, "" for custom signing
	signature string // base64
	algorithm string
	certfile  string
	size      int
	object    streams.Location
	fileID    int
}

// Service is the state of all OTA updates of one account. It is not safe for
// concurrent use.
type Service struct {
	cfg     Config
	updates map[string]*update
	order   []*update
}

// New returns a service without updates.
func New(cfg Config) *Service {
	if cfg.StepTime <= 0 {
		cfg.StepTime = time.Second
	}
	return &Service{cfg: cfg, updates: map[string]*update{}}
}

// CreateOTAUpdate accepts an update; what follows happens in the background.
// Errors: InvalidRequest, ResourceAlreadyExists.
func (s *Service) CreateOTAUpdate(now time.Time, req CreateRequest) (CreateResponse, error) {
	id := req.OTAUpdateID
	switch {
	case !aws.Name(id, 128, ""):
		return CreateResponse{}, aws.InvalidRequest.Because("otaUpdateId %q: want 1 to 128 of [a-zA-Z0-9_-]", id)
	case len(JobID(id)) > 64 && !s.cfg.Switches.AcceptLongIDs:
		return CreateResponse{}, aws.InvalidRequest.Because("otaUpdateId %q: its job id %s would be longer than 64 characters", id, JobID(id))
	case s.updates[id] != nil:
		return CreateResponse{}, aws.Exists("OTA update", id, s.cfg.Realm.ARN("otaupdate", id))
	}
	if len(req.Protocols) == 0 {
		req.Protocols = []string{"MQTT"}
	}
	if req.TargetSelection == "" {
		req.TargetSelection = jobs.Snapshot
	}
	if err := check(&req); err != nil {
		return CreateResponse{}, err
	}
	at := now.UnixNano()
	u := &update{req: req, status: CreatePending, created: at, modified: at}
	s.updates[id] = u
	s.order = append(s.order, u)
	u.entry.Run = func(at int64) { s.begin(at, u) }
	s.cfg.Agenda.Plan(&u.entry, now.Add(s.cfg.StepTime).UnixNano())
	return CreateResponse{id, s.cfg.Realm.ARN("otaupdate", id), u.status}, nil
}

func check(r *CreateRequest) error {
	bad := aws.InvalidRequest.Because
	switch {
	case len(r.Targets) == 0:
		return bad("targets: at least one is required")
	case len(r.Files) == 0:
		return bad("files: at least one is required")
	case len(r.RoleARN) < 20 || len(r.RoleARN) > 2048:
		return bad("roleArn: want 20 to 2048 characters")
	case len(r.Description) > 2028:
		return bad("description: %d characters, the limit is 2028", len(r.Description))
	case r.TargetSelection != jobs.Snapshot && r.TargetSelection != jobs.Continuous:
		return bad("targetSelection %q: want SNAPSHOT or CONTINUOUS", r.TargetSelection)
	case len(r.Protocols) > 2:
		return bad("protocols: want one or two of MQTT and HTTP")
	}
	for i, p := range r.Protocols {
		if p != "MQTT" && p != "HTTP" || slices.Contains(r.Protocols[:i], p) {
			return bad("protocols: %q: want MQTT and HTTP, each once", p)
		}
	}
	if c := r.AWSJobExecutionsRolloutConfig; c != nil && c.MaximumPerMinute > 1000 {
		return bad("awsJobExecutionsRolloutConfig.maximumPerMinute %d: want 1 to 1000", c.MaximumPerMinute)
	}
	for i, f := range r.Files {
		if f.FileType < 0 || f.FileType > 255 {
			return bad("files[%d].fileType %d: want 0 to 255", i, f.FileType)
		}
		l := f.FileLocation
		if l == nil || (l.Stream == nil) == (l.S3Location == nil) {
			return bad("files[%d].fileLocation: want exactly one of stream and s3Location", i)
		}
		if l.S3Location != nil && (l.S3Location.Bucket == "" || l.S3Location.Key == "") {
			return bad("files[%d].fileLocation.s3Location: bucket and key are required", i)
		}
		c, n := f.CodeSigning, 0
		if c != nil {
			for _, set := range []bool{c.AWSSignerJobID != "", c.StartSigningJobParameter != nil, c.CustomCodeSigning != nil} {
				if set {
					n++
				}
			}
		}
		if c == nil {
			continue // an unsigned file: the service does not mind, devices do
		}
		if n != 1 {
			return bad("files[%d].codeSigning: want exactly one of awsSignerJobId, startSigningJobParameter and customCodeSigning", i)
		}
		if k := c.CustomCodeSigning; k != nil && (k.Signature == nil || len(k.Signature.InlineDocument) == 0 || k.SignatureAlgorithm == "" || k.HashAlgorithm == "") {
			return bad("files[%d].codeSigning.customCodeSigning: signature, hashAlgorithm and signatureAlgorithm are required", i)
		}
		if p := c.StartSigningJobParameter; p != nil && p.SigningProfileName == "" && p.SigningProfileParameter == nil {
			return bad("files[%d].codeSigning.startSigningJobParameter: a profile name or parameter is required", i)
		}
	}
	return nil
}

func (s *Service) fault(u *update, step Step) error {
	if s.cfg.Fault == nil {
		return nil
	}
	return s.cfg.Fault(u.req.OTAUpdateID, step)
}

// fail ends the creation.
func (s *Service) fail(now int64, u *update, service string, err error) {
	code := "InternalFailureException"
	var e *aws.Exception
	if errors.As(err, &e) {
		code = e.Name
	}
	u.status, u.modified = CreateFailed, now
	u.err = &ErrorInfo{code, fmt.Sprintf("%s (Service: %s)", err.Error(), service)}
}

// begin starts the signing of every file.
func (s *Service) begin(now int64, u *update) {
	if u.status != CreatePending {
		return
	}
	u.status, u.modified = CreateInProgress, now
	u.files = make([]ready, len(u.req.Files))
	for i := range u.req.Files {
		if err := s.sign(now, u, i); err != nil {
			s.fail(now, u, "Signer", err)
			return
		}
	}
	if u.waiting == 0 {
		s.finish(now, u)
	}
}

// object is where a file of the request is now.
func (s *Service) object(f *File) (streams.Location, error) {
	if f.FileLocation.S3Location != nil {
		return *f.FileLocation.S3Location, nil
	}
	l := f.FileLocation.Stream
	info, err := s.cfg.Streams.DescribeStream(l.StreamID)
	if err != nil {
		return streams.Location{}, err
	}
	for _, sf := range info.Files {
		if sf.FileID == l.FileID {
			return sf.S3Location, nil
		}
	}
	return streams.Location{}, aws.ResourceNotFound.Because("Stream %s has no file %d.", l.StreamID, l.FileID)
}

func (s *Service) sign(now int64, u *update, i int) error {
	f, out := &u.req.Files[i], &u.files[i]
	if err := s.fault(u, StepSign); err != nil {
		return err
	}
	src, err := s.object(f)
	if err != nil {
		return err
	}
	out.object = src
	switch c := f.CodeSigning; {
	case c == nil:
		data, err := s.cfg.Objects.Read(src.Bucket, src.Key, src.Version)
		out.size = len(data)
		return err
	case c.AWSSignerJobID != "":
		out.jobID = c.AWSSignerJobID
	case c.CustomCodeSigning != nil:
		return s.custom(out, c.CustomCodeSigning)
	default:
		name, err := s.profile(u, i, c.StartSigningJobParameter)
		if err != nil {
			return err
		}
		dest := signer.S3Destination{BucketName: src.Bucket}
		if d := c.StartSigningJobParameter.Destination; d != nil && d.S3Destination != nil {
			dest = signer.S3Destination{BucketName: d.S3Destination.Bucket, Prefix: d.S3Destination.Prefix}
		}
		u.waiting++
		out.jobID, err = s.cfg.Signer.StartSigningJob(time.Unix(0, now).UTC(), signer.StartRequest{
			Source:      signer.S3Source{BucketName: src.Bucket, Key: src.Key, Version: src.Version},
			Destination: dest, ProfileName: name, ClientRequestToken: fmt.Sprintf("ota %s %d %d", u.req.OTAUpdateID, u.created, i),
		}, func(at int64) {
			u.waiting--
			if u.waiting == 0 && u.status == CreateInProgress {
				s.finish(at, u)
			}
		})
		return err
	}
	return nil
}

// custom takes over a signature made elsewhere.
func (s *Service) custom(out *ready, c *CustomCodeSigning) error {
	sig := c.Signature.InlineDocument
	if s.cfg.Switches.DecodeSignature {
		for n := 0; n < 3 && len(sig) > 0 && sig[0] != 0x30; n++ {
			plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(sig)))
			if err != nil {
				break
			}
			sig = plain
		}
	}
	out.signature = base64.StdEncoding.EncodeToString(sig)
	out.algorithm = c.HashAlgorithm + "with" + c.SignatureAlgorithm
	if c.CertificateChain != nil {
		out.certfile = c.CertificateChain.CertificateName
	}
	data, err := s.cfg.Objects.Read(out.object.Bucket, out.object.Key, out.object.Version)
	out.size = len(data)
	return err
}

// profile finds the signing profile, or makes it.
func (s *Service) profile(u *update, i int, p *StartSigningJobParameter) (string, error) {
	q := p.SigningProfileParameter
	if q == nil {
		return p.SigningProfileName, nil
	}
	name := p.SigningProfileName
	if name == "" {
		name = "AFR_OTA_" + s.cfg.Seed.Token(fmt.Sprintf("profile %s %d", u.req.OTAUpdateID, i), 20)
	}
	_, err := s.cfg.Signer.PutSigningProfile(signer.Profile{ProfileName: name, PlatformID: q.Platform,
		SigningMaterial: signer.Material{CertificateARN: q.CertificateARN}, SigningParameters: map[string]string{signer.CertName: q.CertificatePathOnDevice}})
	return name, err
}

// collect takes over what a signing job has made: the raw image goes to the
// signed object's key as a newer version, and the stream will refer to that.
func (s *Service) collect(r *ready) error {
	j, err := s.cfg.Signer.DescribeSigningJob(r.jobID)
	if err != nil {
		return err
	}
	if j.Status != signer.Succeeded {
		return aws.InvalidRequest.Because("Signing job %s is %s: %s", r.jobID, j.Status, j.StatusReason)
	}
	e, raw, err := s.cfg.Signer.SignedObject(r.jobID)
	if err != nil {
		return err
	}
	version, err := s.cfg.Objects.Write(j.SignedObject.BucketName, j.SignedObject.Key, raw)
	if err != nil {
		return err
	}
	r.signature, r.algorithm, r.size = e.Signature, e.SignatureAlgorithm, e.RawPayloadSize
	r.certfile = j.SigningParameters[signer.CertName]
	r.object = streams.Location{Bucket: j.SignedObject.BucketName, Key: j.SignedObject.Key, Version: version}
	return nil
}

// finish makes stream, document and job.
func (s *Service) finish(now int64, u *update) {
	at := time.Unix(0, now).UTC()
	for i := range u.files {
		if r := &u.files[i]; r.jobID != "" {
			if err := s.collect(r); err != nil {
				s.fail(now, u, "Signer", err)
				return
			}
		}
	}
	if slices.Contains(u.req.Protocols, "MQTT") {
		if err := s.stream(at, u); err != nil {
			s.fail(now, u, "AWSIot", err)
			return
		}
	}
	doc, err := s.document(u)
	if err == nil {
		err = s.fault(u, StepJob)
	}
	if err == nil {
		err = s.job(at, u, doc)
	}
	if err != nil {
		s.fail(now, u, "AWSIot", err)
		return
	}
	u.status, u.modified = CreateComplete, now
}

func (s *Service) stream(now time.Time, u *update) error {
	if err := s.fault(u, StepStream); err != nil {
		return err
	}
	if l := u.req.Files[0].FileLocation.Stream; l != nil {
		u.streamID = l.StreamID
		for i := range u.files {
			if sl := u.req.Files[i].FileLocation.Stream; sl != nil {
				u.files[i].fileID = sl.FileID
			}
		}
		return nil
	}
	req := streams.CreateRequest{StreamID: Prefix + s.cfg.Seed.UUID(fmt.Sprintf("stream %s %d", u.req.OTAUpdateID, u.created)), RoleARN: u.req.RoleARN,
		Description: "Stream of OTA update " + u.req.OTAUpdateID}
	for i := range u.files {
		u.files[i].fileID = i
		req.Files = append(req.Files, streams.File{FileID: i, S3Location: u.files[i].object})
	}
	if _, err := s.cfg.Streams.CreateStream(now, req); err != nil {
		return err
	}
	u.streamID, u.ownStream = req.StreamID, req.StreamID
	return nil
}

func (s *Service) job(now time.Time, u *update, doc string) error {
	req := jobs.CreateJobRequest{JobID: JobID(u.req.OTAUpdateID), Targets: u.req.Targets, Document: doc,
		Description: "OTA update " + u.req.OTAUpdateID, TargetSelection: u.req.TargetSelection,
		JobExecutionsRolloutConfig: u.req.AWSJobExecutionsRolloutConfig, TimeoutConfig: u.req.AWSJobTimeoutConfig}
	if c := u.req.AWSJobAbortConfig; c != nil {
		req.AbortConfig = &jobs.AbortConfig{CriteriaList: c.AbortCriteriaList}
	}
	if slices.Contains(u.req.Protocols, "HTTP") {
		expires := int64(1800)
		if c := u.req.AWSJobPresignedURLConfig; c != nil && c.ExpiresInSec != 0 {
			expires = c.ExpiresInSec
		}
		req.PresignedURLConfig = &jobs.PresignedURLConfig{RoleARN: u.req.RoleARN, ExpiresInSec: expires}
	}
	r, err := s.cfg.Jobs.CreateJob(now, req)
	if err != nil {
		return err
	}
	u.jobID = r.JobID
	return nil
}

// GetOTAUpdate tells about an update.
func (s *Service) GetOTAUpdate(id string) (Info, error) {
	u := s.updates[id]
	if u == nil {
		return Info{}, aws.ResourceNotFound.Because("OTA update %s cannot be found.", id)
	}
	out := Info{OTAUpdateID: id, OTAUpdateARN: s.cfg.Realm.ARN("otaupdate", id), CreationDate: aws.At(u.created), LastModifiedDate: aws.At(u.modified),
		Description: u.req.Description, Targets: slices.Clone(u.req.Targets), Protocols: slices.Clone(u.req.Protocols), TargetSelection: u.req.TargetSelection,
		AWSJobExecutionsRolloutConfig: u.req.AWSJobExecutionsRolloutConfig, AWSJobPresignedURLConfig: u.req.AWSJobPresignedURLConfig,
		OTAUpdateFiles: slices.Clone(u.req.Files), OTAUpdateStatus: u.status, ErrorInfo: u.err, AdditionalParameters: u.req.AdditionalParameters}
	if u.jobID != "" {
		out.AWSIoTJobID, out.AWSIoTJobARN = u.jobID, s.cfg.Realm.ARN("job", u.jobID)
	}
	return out, nil
}

// ListOTAUpdates lists updates, oldest first; an empty status matches all.
func (s *Service) ListOTAUpdates(status string) []Summary {
	out := make([]Summary, 0, len(s.order))
	for _, u := range s.order {
		if status == "" || u.status == status {
			id := u.req.OTAUpdateID
			out = append(out, Summary{id, s.cfg.Realm.ARN("otaupdate", id), aws.At(u.created)})
		}
	}
	return out
}

// DeleteOTAUpdate removes an update with its job, and with deleteStream the
// stream that was made for it. A live job needs force.
func (s *Service) DeleteOTAUpdate(now time.Time, id string, deleteStream, force bool) error {
	u := s.updates[id]
	if u == nil {
		return aws.ResourceNotFound.Because("OTA update %s cannot be found.", id)
	}
	if u.status == CreatePending || u.status == CreateInProgress || u.status == DeleteInProgress {
		return aws.InvalidRequest.Because("OTA update %s is %s.", id, u.status)
	}
	if u.jobID != "" {
		j, err := s.cfg.Jobs.DescribeJob(u.jobID)
		live := err == nil && j.Status == jobs.JobInProgress
		switch {
		case err != nil || j.Status == jobs.JobDeletionInProgress:
		case live && !force && !s.cfg.Switches.KeepLiveJob:
			return aws.InvalidRequest.Because("Job %s of OTA update %s is IN_PROGRESS; forceDeleteAWSJob deletes it.", u.jobID, id)
		case live && !force:
			u.jobID = "" // the job stays behind
		default:
			if err := s.cfg.Jobs.DeleteJob(now, u.jobID, force); err != nil {
				u.status, u.modified = DeleteFailed, now.UnixNano()
				u.err = &ErrorInfo{"LimitExceededException", err.Error()}
				return nil
			}
		}
	}
	u.status, u.modified, u.dropOwn = DeleteInProgress, now.UnixNano(), deleteStream
	u.entry.Run = func(at int64) { s.delete(at, u) }
	s.cfg.Agenda.Plan(&u.entry, now.Add(s.cfg.StepTime).UnixNano())
	return nil
}

func (s *Service) delete(now int64, u *update) {
	if u.jobID != "" {
		if _, err := s.cfg.Jobs.DescribeJob(u.jobID); err == nil {
			s.cfg.Agenda.Plan(&u.entry, now+int64(s.cfg.StepTime))
			return
		}
	}
	if u.dropOwn && u.ownStream != "" {
		if err := s.cfg.Streams.DeleteStream(u.ownStream); err != nil && !errors.Is(err, aws.ResourceNotFound) {
			u.status, u.modified = DeleteFailed, now
			u.err = &ErrorInfo{"InternalFailureException", err.Error()}
			return
		}
	}
	delete(s.updates, u.req.OTAUpdateID)
	s.order = slices.DeleteFunc(s.order, func(x *update) bool { return x == u })
}
