// Package signer is AWS Signer as OTA updates use it: signing profiles bound to
// a code-signing certificate, and signing jobs that read a version of an object,
// sign it and store a signed object.
//
//	signature = base64(DER(ECDSA-P256(SHA-256(raw image))))      deterministic, RFC 6979
//	envelope  = {"rawPayloadSize": n, "signature": "...", "signatureAlgorithm": "SHA256withECDSA", "payload": "..."}
//
// The embedded envelope carries the image as payload, the detached one names
// where it is. Key of the signed object: prefix and a GUID.
//
// Sources: API model signer/2017-08-25; FreeRTOS User Guide, pages
// ota-code-sign-cert and dg-ota-bucket; AWS IoT Developer Guide, page
// manage-job-cli (code signing).
package signer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/otasim/otasim/cloud/agenda"
	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/pki"
	"github.com/otasim/otasim/cloud/quota"
)

// Platform is what a profile signs for.
type Platform struct {
	ID         string
	Name       string // for people
	Format     string // JSONEmbedded or JSONDetached
	MaxSize    int    // bytes
	Encryption string // RSA or ECDSA
	Hash       string
}

// usable reports whether the platform signs with ECDSA and SHA-256, the only
// algorithm here.
func (p Platform) usable() bool { return p.Encryption == "ECDSA" && p.Hash == "SHA256" }

// Platforms of the service, by id. RSA/SHA-1 and SHA-384 platforms exist at AWS
// and are refused here.
var Platforms = []Platform{
	{"AmazonFreeRTOS-Default", "Amazon FreeRTOS - Default", formatEmbedded, 16 << 20, "ECDSA", "SHA256"},
	{"AWSIoTDeviceManagement-SHA256-ECDSA", "AWS IoT Device Management SHA256-ECDSA", formatDetached, 2048 << 20, "ECDSA", "SHA256"},
	{"AmazonFreeRTOS-TI-CC3220SF", "Amazon FreeRTOS - Texas Instruments CC3220SF", formatEmbedded, 16 << 20, "RSA", "SHA1"},
	{"AWSLambda-SHA384-ECDSA", "AWS Lambda SHA384-ECDSA", formatDetached, 250 << 20, "ECDSA", "SHA384"},
}

// Formats of a signed object.
const (
	formatEmbedded = "JSONEmbedded"
	formatDetached = "JSONDetached"
)

// Algorithm is the signature algorithm of every envelope made here.
const Algorithm = "SHA256withECDSA"

// Objects is where signing jobs read and write.
type Objects interface {
	Read(bucket, key, version string) ([]byte, error)
	Write(bucket, key string, data []byte) (version string, err error)
}

// Material is the certificate of a profile, by ARN.
type Material struct {
	CertificateARN string `json:"certificateArn"`
}

// Profile is a signing profile.
type Profile struct {
	ProfileName       string            `json:"profileName"`
	PlatformID        string            `json:"platformId"`
	SigningMaterial   Material          `json:"signingMaterial"`
	SigningParameters map[string]string `json:"signingParameters,omitempty"` // "certname": path on the device
	Overrides         *Overrides        `json:"overrides,omitempty"`
	Validity          *Validity         `json:"signatureValidityPeriod,omitempty"`
	Tags              map[string]string `json:"tags,omitempty"`
	Status            string            `json:"status"`
	ProfileVersion    string            `json:"profileVersion"`
	ARN               string            `json:"arn"`
	ProfileVersionARN string            `json:"profileVersionArn"`
}

// Overrides replace a platform's defaults; members that are absent stay.
type Overrides struct {
	SigningConfiguration *SigningConfiguration `json:"signingConfiguration,omitempty"`
	SigningImageFormat   string                `json:"signingImageFormat,omitempty"`
}

// SigningConfiguration names the algorithms.
type SigningConfiguration struct {
	EncryptionAlgorithm string `json:"encryptionAlgorithm,omitempty"`
	HashAlgorithm       string `json:"hashAlgorithm,omitempty"`
}

// Validity is how long a signature is good. It is kept and told, not enforced.
type Validity struct {
	Value int    `json:"value"`
	Type  string `json:"type"` // DAYS, MONTHS, YEARS
}

// check refuses what cannot be signed here.
func (o *Overrides) check() error {
	if o == nil {
		return nil
	}
	if f := o.SigningImageFormat; f != "" && f != formatEmbedded && f != formatDetached {
		return aws.Validation.Because("overrides.signingImageFormat %q: want %s or %s", f, formatEmbedded, formatDetached)
	}
	if c := o.SigningConfiguration; c != nil && (c.EncryptionAlgorithm != "" && c.EncryptionAlgorithm != "ECDSA" || c.HashAlgorithm != "" && c.HashAlgorithm != "SHA256") {
		return aws.Validation.Because("overrides.signingConfiguration: want ECDSA and SHA256")
	}
	return nil
}

// CertName is the signing parameter that becomes certfile in the job document.
const CertName = "certname"

// S3Source is the object version a job signs.
type S3Source struct {
	BucketName string `json:"bucketName"`
	Key        string `json:"key"`
	Version    string `json:"version"`
}

// S3Destination is where a signed object goes.
type S3Destination struct {
	BucketName string `json:"bucketName"`
	Prefix     string `json:"prefix,omitempty"`
}

// S3Object is a signed object.
type S3Object struct {
	BucketName string `json:"bucketName"`
	Key        string `json:"key"`
}

// StartRequest is the body of StartSigningJob.
type StartRequest struct {
	Source             S3Source
	Destination        S3Destination
	ProfileName        string
	ClientRequestToken string
}

// States of a signing job.
const (
	InProgress = "InProgress"
	Succeeded  = "Succeeded"
	Failed     = "Failed"
)

// Job is what DescribeSigningJob tells.
type Job struct {
	JobID             string            `json:"jobId"`
	Source            S3Source          `json:"source"`
	SigningMaterial   Material          `json:"signingMaterial"`
	PlatformID        string            `json:"platformId"`
	ProfileName       string            `json:"profileName"`
	ProfileVersion    string            `json:"profileVersion"`
	Overrides         *Overrides        `json:"overrides,omitempty"`
	SigningParameters map[string]string `json:"signingParameters,omitempty"`
	CreatedAt         aws.Timestamp     `json:"createdAt"`
	CompletedAt       aws.Timestamp     `json:"completedAt,omitzero"`
	Status            string            `json:"status"`
	StatusReason      string            `json:"statusReason,omitempty"`
	SignedObject      S3Object          `json:"signedObject,omitzero"`
}

// Envelope is a signed object.
type Envelope struct {
	RawPayloadSize     int              `json:"rawPayloadSize"`
	Signature          string           `json:"signature"`
	SignatureAlgorithm string           `json:"signatureAlgorithm"`
	Payload            string           `json:"payload,omitempty"`
	PayloadLocation    *PayloadLocation `json:"payloadLocation,omitempty"`
}

// PayloadLocation is where a detached payload is.
type PayloadLocation struct {
	S3 S3Source `json:"s3"`
}

// Config is what a Service is made of.
type Config struct {
	Realm   aws.Realm
	Seed    aws.Seed
	Objects Objects
	Agenda  *agenda.Agenda
	// SigningTime is how long a signing job takes.
	SigningTime time.Duration
	// Waited is how long Objects should have taken since it was last asked, which
	// a signing job takes longer; nil is never.
	Waited func() time.Duration
}

type material struct {
	der []byte
	key *ecdsa.PrivateKey
	to  time.Time
}

type job struct {
	Job
	dest  S3Destination
	token string
	entry agenda.Entry
	done  []func(now int64)
}

// Service is the signer of one account. It is not safe for concurrent use.
type Service struct {
	cfg      Config
	certs    map[string]*material // by certificate ARN
	profiles map[string]*Profile
	names    []string // of profiles, by creation
	versions int
	jobs     map[string]*job
	order    []*job
	input    quota.Peak
}

// Uses adds what was used of the quota of the images to sign.
func (s *Service) Uses(out map[quota.Name]quota.Peak) { out[quota.SignerInput] = s.input }

// New returns a signer without profiles.
func New(cfg Config) *Service {
	return &Service{cfg: cfg, certs: map[string]*material{}, profiles: map[string]*Profile{}, jobs: map[string]*job{}}
}

// ImportCertificate makes a code-signing certificate and its key known under an
// ARN, as an import into AWS Certificate Manager does, and returns the ARN. The
// certificate must be for ECDSA P-256 with keyUsage digitalSignature and
// extended key usage codeSigning, and belong to the key.
func (s *Service) ImportCertificate(der []byte, key *ecdsa.PrivateKey) (arn string, err error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return "", aws.Validation.Because("certificate: %v", err)
	}
	if key == nil || !key.PublicKey.Equal(c.PublicKey) {
		return "", aws.Validation.Because("The private key does not belong to the certificate.")
	}
	if c.KeyUsage&x509.KeyUsageDigitalSignature == 0 || !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageCodeSigning) {
		return "", aws.Validation.Because("The certificate is not for code signing.")
	}
	sum := sha256.Sum256(der)
	id := s.cfg.Seed.UUID("acm " + string(sum[:]))
	arn = "arn:aws:acm:" + s.cfg.Realm.Region + ":" + s.cfg.Realm.Account + ":certificate/" + id
	s.certs[arn] = &material{der: der, key: key, to: c.NotAfter}
	return arn, nil
}

// Certificate returns the PEM text of an imported certificate.
func (s *Service) Certificate(arn string) (string, error) {
	m := s.certs[arn]
	if m == nil {
		return "", aws.ResourceNotFound.Because("Certificate %s cannot be found.", arn)
	}
	return pki.PEM(m.der), nil
}

func platform(id string) (Platform, bool) {
	i := slices.IndexFunc(Platforms, func(p Platform) bool { return p.ID == id })
	if i < 0 {
		return Platform{}, false
	}
	return Platforms[i], true
}

// PutSigningProfile creates a profile, or a new version of it.
func (s *Service) PutSigningProfile(p Profile) (Profile, error) {
	switch pf, ok := platform(p.PlatformID); {
	case len(p.ProfileName) < 2 || !aws.Name(p.ProfileName, 64, "") || slices.Contains([]byte(p.ProfileName), '-'):
		return Profile{}, aws.Validation.Because("profileName %q: want 2 to 64 of [a-zA-Z0-9_]", p.ProfileName)
	case !ok:
		return Profile{}, aws.ResourceNotFound.Because("Platform %s cannot be found.", p.PlatformID)
	case !pf.usable():
		return Profile{}, aws.Validation.Because("Platform %s needs an algorithm other than ECDSA with SHA-256.", p.PlatformID)
	case s.certs[p.SigningMaterial.CertificateARN] == nil:
		return Profile{}, aws.ResourceNotFound.Because("Certificate %s cannot be found.", p.SigningMaterial.CertificateARN)
	}
	if err := p.Overrides.check(); err != nil {
		return Profile{}, err
	}
	s.versions++
	p.Status = "Active"
	p.ProfileVersion = s.cfg.Seed.Token("profile version "+strconv.Itoa(s.versions), 10)
	p.ARN = "arn:aws:signer:" + s.cfg.Realm.Region + ":" + s.cfg.Realm.Account + ":/signing-profiles/" + p.ProfileName
	p.ProfileVersionARN = p.ARN + "/" + p.ProfileVersion
	if s.profiles[p.ProfileName] == nil {
		s.names = append(s.names, p.ProfileName)
	}
	s.profiles[p.ProfileName] = &p
	return p, nil
}

// GetSigningProfile returns a profile.
func (s *Service) GetSigningProfile(name string) (Profile, error) {
	if p := s.profiles[name]; p != nil {
		return *p, nil
	}
	return Profile{}, aws.ResourceNotFound.Because("Signing profile %s cannot be found.", name)
}

// CancelSigningProfile takes a profile out of use.
func (s *Service) CancelSigningProfile(name string) error {
	p := s.profiles[name]
	if p == nil {
		return aws.ResourceNotFound.Because("Signing profile %s cannot be found.", name)
	}
	p.Status = "Canceled"
	return nil
}

// ListSigningProfiles lists profiles, oldest first; an empty platform matches
// every one.
func (s *Service) ListSigningProfiles(canceled bool, platformID string) []Profile {
	var out []Profile
	for _, n := range s.names {
		if p := s.profiles[n]; (canceled || p.Status == "Active") && (platformID == "" || p.PlatformID == platformID) {
			out = append(out, *p)
		}
	}
	return out
}

// StartSigningJob begins a signing job. The same request token gives the same
// job. done, when not nil, is called once the job has ended.
func (s *Service) StartSigningJob(now time.Time, r StartRequest, done func(now int64)) (jobID string, err error) {
	p := s.profiles[r.ProfileName]
	switch {
	case p == nil || p.Status != "Active":
		return "", aws.ResourceNotFound.Because("Signing profile %s cannot be found.", r.ProfileName)
	case r.Source.BucketName == "" || r.Source.Key == "" || r.Source.Version == "":
		return "", aws.Validation.Because("source.s3: bucketName, key and version are required; the bucket must have versioning enabled")
	case r.Destination.BucketName == "":
		return "", aws.Validation.Because("destination.s3.bucketName is required")
	}
	for _, j := range s.order {
		if r.ClientRequestToken != "" && j.token == r.ClientRequestToken {
			return j.JobID, nil
		}
	}
	id := s.cfg.Seed.UUID("signing job " + strconv.Itoa(len(s.order)))
	j := &job{dest: r.Destination, token: r.ClientRequestToken, Job: Job{JobID: id, Source: r.Source, SigningMaterial: p.SigningMaterial,
		PlatformID: p.PlatformID, ProfileName: p.ProfileName, ProfileVersion: p.ProfileVersion, Overrides: p.Overrides, SigningParameters: p.SigningParameters,
		CreatedAt: aws.At(now.UnixNano()), Status: InProgress}}
	if done != nil {
		j.done = append(j.done, done)
	}
	s.jobs[id] = j
	s.order = append(s.order, j)
	j.entry.Run = func(at int64) { s.finish(at, j) }
	s.cfg.Agenda.Plan(&j.entry, now.Add(s.cfg.SigningTime).UnixNano())
	return id, nil
}

// DescribeSigningJob tells about a signing job.
func (s *Service) DescribeSigningJob(id string) (Job, error) {
	if j := s.jobs[id]; j != nil {
		return j.Job, nil
	}
	return Job{}, aws.ResourceNotFound.Because("Signing job %s cannot be found.", id)
}

// ListSigningJobs lists jobs, newest first; empty filters match everything.
func (s *Service) ListSigningJobs(status, platformID string) []Job {
	var out []Job
	for _, j := range slices.Backward(s.order) {
		if (status == "" || j.Status == status) && (platformID == "" || j.PlatformID == platformID) {
			out = append(out, j.Job)
		}
	}
	return out
}

func (s *Service) finish(now int64, j *job) {
	if s.cfg.Waited != nil {
		s.cfg.Waited() // of others
	}
	err := s.sign(now, j)
	if s.cfg.Waited != nil {
		if d := s.cfg.Waited(); d > 0 {
			j.entry.Run = func(at int64) { s.complete(at, j, err) }
			s.cfg.Agenda.Plan(&j.entry, now+int64(d))
			return
		}
	}
	s.complete(now, j, err)
}

func (s *Service) complete(now int64, j *job, err error) {
	if err != nil {
		j.Status, j.StatusReason = Failed, err.Error()
	} else {
		j.Status = Succeeded
	}
	j.CompletedAt = aws.At(now)
	for _, f := range j.done {
		f(now)
	}
}

func (s *Service) sign(now int64, j *job) error {
	m := s.certs[j.SigningMaterial.CertificateARN]
	if m == nil {
		return fmt.Errorf("certificate %s cannot be found", j.SigningMaterial.CertificateARN)
	}
	if time.Unix(0, now).After(m.to) {
		return fmt.Errorf("certificate %s has expired", j.SigningMaterial.CertificateARN)
	}
	raw, err := s.cfg.Objects.Read(j.Source.BucketName, j.Source.Key, j.Source.Version)
	if err != nil {
		return fmt.Errorf("source object: %w", err)
	}
	pf, _ := platform(j.PlatformID)
	s.input.See(int64(len(raw)))
	if len(raw) > pf.MaxSize {
		s.input.Refused++
		return fmt.Errorf("source object has %d bytes, platform %s takes %d", len(raw), pf.ID, pf.MaxSize)
	}
	sig, err := Sign(m.key, raw)
	if err != nil {
		return err
	}
	e := Envelope{RawPayloadSize: len(raw), Signature: base64.StdEncoding.EncodeToString(sig), SignatureAlgorithm: Algorithm}
	format := pf.Format
	if o := j.Overrides; o != nil && o.SigningImageFormat != "" {
		format = o.SigningImageFormat
	}
	if format == formatEmbedded {
		e.Payload = base64.StdEncoding.EncodeToString(raw)
	} else {
		e.PayloadLocation = &PayloadLocation{j.Source}
	}
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("envelope: %w", err)
	}
	key := j.dest.Prefix + s.cfg.Seed.UUID("signed object of "+j.JobID)
	if _, err := s.cfg.Objects.Write(j.dest.BucketName, key, body); err != nil {
		return fmt.Errorf("destination object: %w", err)
	}
	j.SignedObject = S3Object{j.dest.BucketName, key}
	return nil
}

// Sign returns the DER signature of an image. Equal inputs give equal bytes.
func Sign(key *ecdsa.PrivateKey, image []byte) ([]byte, error) {
	digest := sha256.Sum256(image)
	sig, err := key.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("signer: %w", err)
	}
	return sig, nil
}

// SignedObject reads the envelope of a finished job and returns it with the
// signature's bytes and the raw image.
func (s *Service) SignedObject(id string) (Envelope, []byte, error) {
	j := s.jobs[id]
	if j == nil || j.Status != Succeeded {
		return Envelope{}, nil, aws.ResourceNotFound.Because("Signing job %s has no signed object.", id)
	}
	body, err := s.cfg.Objects.Read(j.SignedObject.BucketName, j.SignedObject.Key, "")
	if err != nil {
		return Envelope{}, nil, err
	}
	var e Envelope
	if err := json.Unmarshal(body, &e); err != nil {
		return Envelope{}, nil, aws.Validation.Because("signed object: %v", err)
	}
	if e.PayloadLocation != nil {
		l := e.PayloadLocation.S3
		raw, err := s.cfg.Objects.Read(l.BucketName, l.Key, l.Version)
		return e, raw, err
	}
	raw, err := base64.StdEncoding.DecodeString(e.Payload)
	if err != nil {
		return Envelope{}, nil, aws.Validation.Because("signed object: payload: %v", err)
	}
	return e, raw, nil
}
