package cloud

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/broker/rules"
	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/cloud/ota"
	"github.com/otasim/otasim/cloud/pki"
	"github.com/otasim/otasim/cloud/provisioning"
	"github.com/otasim/otasim/cloud/quota"
	"github.com/otasim/otasim/cloud/registry"
	"github.com/otasim/otasim/cloud/signer"
	"github.com/otasim/otasim/cloud/streams"
)

// What follows is the operator's side: AWS operation names, AWS shapes, and
// *aws.Exception errors. Every call carries the time it happens at.

// Account is the account's 12 digits.
func (c *Cloud) Account() string { return c.cfg.Account }

// ARN is the resource name of a thing, thinggroup, cert, policy, job, stream or
// otaupdate.
func (c *Cloud) ARN(kind, name string) string { return c.realm.ARN(kind, name) }

// CreateThing registers a thing.
func (c *Cloud) CreateThing(now time.Time, name, typeName string, attributes map[string]string) (registry.ThingDescription, error) {
	if err := c.admit(now, "CreateThing"); err != nil {
		return registry.ThingDescription{}, err
	}
	d, err := c.registry.CreateThing(name, typeName, attributes)
	if err == nil {
		c.touched(now, name)
	}
	return d, err
}

// DescribeThing tells about a thing.
func (c *Cloud) DescribeThing(now time.Time, name string) (registry.ThingDescription, error) {
	if err := c.admit(now, "DescribeThing"); err != nil {
		return registry.ThingDescription{}, err
	}
	return c.registry.DescribeThing(name)
}

// UpdateThing changes a thing's attributes and type.
func (c *Cloud) UpdateThing(now time.Time, name string, u registry.ThingUpdate) error {
	if err := c.admit(now, "UpdateThing"); err != nil {
		return err
	}
	err := c.registry.UpdateThing(name, u)
	if err == nil {
		c.touched(now, name)
	}
	return err
}

// DeleteThing removes a thing without principals; its executions are REMOVED.
func (c *Cloud) DeleteThing(now time.Time, name string) error {
	existed := c.registry.Thing(name)
	if err := c.registry.DeleteThing(name); err != nil || !existed {
		return err
	}
	c.jobs.ThingDeleted(now, name)
	c.flush(now)
	return nil
}

// ListThings returns the names of all things, oldest first.
func (c *Cloud) ListThings() []string { return c.registry.ListThings() }

// CreateThingGroup makes a thing group.
func (c *Cloud) CreateThingGroup(now time.Time, r registry.CreateThingGroupRequest) (registry.ThingGroupResponse, error) {
	if err := c.admit(now, "CreateThingGroup"); err != nil {
		return registry.ThingGroupResponse{}, err
	}
	if limit := c.cfg.Quotas[quota.ChildGroups]; limit > 0 && r.ParentGroupName != "" {
		children, err := c.registry.FindThingGroups(registry.GroupFilter{Parent: r.ParentGroupName})
		if err == nil && int64(len(children)) >= limit {
			return registry.ThingGroupResponse{}, aws.InvalidRequest.Because("Thing group %s has %d child groups already.", r.ParentGroupName, len(children))
		}
	}
	return c.registry.CreateThingGroup(now, r)
}

// DeleteThingGroup removes a thing group; its things leave it.
func (c *Cloud) DeleteThingGroup(now time.Time, name string) error {
	left, err := c.registry.DeleteThingGroup(name)
	for _, thing := range left {
		c.touched(now, thing)
		c.jobs.MembershipChanged(now, thing)
	}
	c.flush(now)
	return err
}

// AddThingToThingGroup puts a thing into a group. CONTINUOUS jobs notice.
func (c *Cloud) AddThingToThingGroup(now time.Time, thing, group string) error {
	if err := c.admit(now, "AddThingToThingGroup"); err != nil {
		return err
	}
	if err := c.registry.AddThingToThingGroup(thing, group); err != nil {
		return err
	}
	c.touched(now, thing)
	c.jobs.MembershipChanged(now, thing)
	c.flush(now)
	return nil
}

// RemoveThingFromThingGroup takes a thing out of a group.
func (c *Cloud) RemoveThingFromThingGroup(now time.Time, thing, group string) error {
	if err := c.registry.RemoveThingFromThingGroup(thing, group); err != nil {
		return err
	}
	c.touched(now, thing)
	c.jobs.MembershipChanged(now, thing)
	c.flush(now)
	return nil
}

// UpdateThingGroupsForThing takes a thing out of groups and puts it into others:
// all of it or, with an error, nothing. With override it leaves dynamic groups if
// it would be in too many.
func (c *Cloud) UpdateThingGroupsForThing(now time.Time, thing string, add, remove []string, override bool) error {
	if err := c.admit(now, "UpdateThingGroupsForThing"); err != nil {
		return err
	}
	if err := c.registry.UpdateThingGroupsForThing(thing, add, remove, override); err != nil {
		return err
	}
	c.touched(now, thing)
	c.jobs.MembershipChanged(now, thing)
	c.flush(now)
	return nil
}

// ListThingsInThingGroup returns the things of a group, with recursive those of
// its sub-groups too.
func (c *Cloud) ListThingsInThingGroup(group string, recursive bool) ([]string, error) {
	return c.registry.ListThingsInThingGroup(group, recursive)
}

// RegisterCertificateWithoutCA registers a device certificate by its DER. An
// empty status is ACTIVE.
func (c *Cloud) RegisterCertificateWithoutCA(now time.Time, der []byte, status string) (registry.CertificateResponse, error) {
	if status == registry.PendingActivation {
		return registry.CertificateResponse{}, aws.InvalidRequest.Because("status %q is that of fleet provisioning", status)
	}
	return c.registry.RegisterCertificate(now, der, sha256.Sum256(der), status)
}

// IssuedCertificate answers CreateKeysAndCertificate and CreateCertificateFromCsr.
type IssuedCertificate struct {
	registry.CertificateResponse
	CertificatePEM string   `json:"certificatePem"`
	KeyPair        *KeyPair `json:"keyPair,omitempty"`
}

// KeyPair is an RSA key in PEM.
type KeyPair struct {
	PublicKey  string
	PrivateKey string
}

// CreateKeysAndCertificate makes an RSA key and a certificate for it.
func (c *Cloud) CreateKeysAndCertificate(now time.Time, setAsActive bool) (IssuedCertificate, error) {
	return c.keysAndCertificate(now, state(setAsActive))
}

// state is that of a new certificate.
func state(active bool) string {
	if active {
		return registry.Active
	}
	return registry.Inactive
}

func (c *Cloud) keysAndCertificate(now time.Time, status string) (IssuedCertificate, error) {
	key, err := pki.RSAKey(aws.Seed(c.cfg.Seed).Sub("certificate keys"), strconv.Itoa(c.issued))
	if err != nil {
		return IssuedCertificate{}, err
	}
	pub, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return IssuedCertificate{}, fmt.Errorf("cloud: public key: %w", err)
	}
	out, err := c.issue(now, pkix.Name{CommonName: "AWS IoT Certificate"}, &key.PublicKey, status)
	out.KeyPair = &KeyPair{PublicKey: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub})),
		PrivateKey: string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))}
	return out, err
}

// CreateCertificateFromCSR makes a certificate for the key of a signing request
// in PEM.
func (c *Cloud) CreateCertificateFromCSR(now time.Time, csr string, setAsActive bool) (IssuedCertificate, error) {
	return c.certificateFromCSR(now, csr, state(setAsActive))
}

func (c *Cloud) certificateFromCSR(now time.Time, csr, status string) (IssuedCertificate, error) {
	block, _ := pem.Decode([]byte(csr))
	if block == nil {
		return IssuedCertificate{}, aws.InvalidRequest.Because("certificateSigningRequest is not PEM")
	}
	r, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = r.CheckSignature()
	}
	if err != nil {
		return IssuedCertificate{}, aws.InvalidRequest.Because("certificateSigningRequest: %v", err)
	}
	switch k := r.PublicKey.(type) {
	case *ecdsa.PublicKey:
	case *rsa.PublicKey:
		if k.Size() < 256 {
			return IssuedCertificate{}, aws.InvalidRequest.Because("certificateSigningRequest: an RSA key has at least 2048 bits")
		}
	default:
		return IssuedCertificate{}, aws.InvalidRequest.Because("certificateSigningRequest: want an RSA or an ECDSA key")
	}
	return c.issue(now, r.Subject, r.PublicKey, status)
}

func (c *Cloud) issue(now time.Time, subject pkix.Name, pub crypto.PublicKey, status string) (IssuedCertificate, error) {
	der, err := c.pki.Issue("issued "+strconv.Itoa(c.issued), subject, pub)
	if err != nil {
		return IssuedCertificate{}, err
	}
	c.issued++
	r, err := c.registry.RegisterCertificate(now, der, sha256.Sum256(der), status)
	return IssuedCertificate{CertificateResponse: r, CertificatePEM: pki.PEM(der)}, err
}

// Publish sends a message to the subscribers of a topic that is not reserved.
func (c *Cloud) Publish(now time.Time, topic string, payload []byte, qos byte) error {
	if use, _, _, _ := rules.Classify(topic); use != rules.Ordinary {
		return aws.InvalidRequest.Because("topic %.80q is reserved", topic)
	}
	if err := errors.Join(rules.Topic(topic), rules.Payload(len(payload))); err != nil {
		return aws.InvalidRequest.Because("%v", err)
	}
	if c.cfg.External {
		c.pending = append(c.pending, Delivery{Topic: topic, Payload: payload, QoS: qos})
	} else {
		c.broker.Publish(now.UnixNano(), topic, payload)
	}
	return nil
}

// UpdateCertificate sets a certificate's status. Connections that use one that
// is no longer ACTIVE end.
func (c *Cloud) UpdateCertificate(now time.Time, id, status string) error {
	if err := c.registry.UpdateCertificate(now, id, status); err != nil {
		return err
	}
	if status != registry.Active {
		cert, err := c.registry.FindCertificate(id)
		if err != nil {
			return err
		}
		c.broker.Cut(now, cert)
	}
	return nil
}

// DescribeCertificate tells about a certificate.
func (c *Cloud) DescribeCertificate(id string) (registry.CertificateDescription, error) {
	return c.registry.DescribeCertificate(id)
}

// DeleteCertificate removes a certificate that is not ACTIVE.
func (c *Cloud) DeleteCertificate(id string, force bool) error {
	return c.registry.DeleteCertificate(id, force)
}

// AttachThingPrincipal binds a certificate, by ARN or id, to a thing.
func (c *Cloud) AttachThingPrincipal(thing, principal string) error {
	return c.registry.AttachThingPrincipal(thing, principal, false)
}

// DetachThingPrincipal ends the binding.
func (c *Cloud) DetachThingPrincipal(thing, principal string) error {
	return c.registry.DetachThingPrincipal(thing, principal)
}

// CreatePolicy stores a policy document.
func (c *Cloud) CreatePolicy(now time.Time, name, document string) (registry.PolicyResponse, error) {
	return c.registry.CreatePolicy(now, name, document)
}

// OTAPolicy is the standard policy document of devices that take updates.
func (c *Cloud) OTAPolicy() string { return registry.OTAPolicy(c.realm) }

// ClaimPolicy is what a claim certificate may do: all that it takes to provision devices by a template, and nothing else.
func (c *Cloud) ClaimPolicy(template string) string {
	return provisioning.ClaimPolicy(c.realm, template)
}

// AttachPolicy attaches a policy to a certificate or a thing group.
func (c *Cloud) AttachPolicy(now time.Time, name, targetARN string) error {
	if err := c.admit(now, "AttachPolicy"); err != nil {
		return err
	}
	return c.registry.AttachPolicy(name, targetARN)
}

// DetachPolicy ends an attachment.
func (c *Cloud) DetachPolicy(name, targetARN string) error {
	return c.registry.DetachPolicy(name, targetARN)
}

// Registry is the registry itself, for what has no operation of its own here.
// Changes of membership and certificates must go through the operations above.
func (c *Cloud) Registry() *registry.Registry { return c.registry }

// ImportCertificate imports a code-signing certificate with its key and returns
// its ARN, as AWS Certificate Manager does.
func (c *Cloud) ImportCertificate(der []byte, key *ecdsa.PrivateKey) (arn string, err error) {
	return c.signer.ImportCertificate(der, key)
}

// PutSigningProfile creates a signing profile.
func (c *Cloud) PutSigningProfile(p signer.Profile) (signer.Profile, error) {
	return c.signer.PutSigningProfile(p)
}

// StartSigningJob begins a signing job of its own; it ends in a later Wake.
func (c *Cloud) StartSigningJob(now time.Time, r signer.StartRequest) (jobID string, err error) {
	return c.signer.StartSigningJob(now, r, nil)
}

// Signer is the signer itself, for what has no operation of its own here.
func (c *Cloud) Signer() *signer.Service { return c.signer }

// ListStreams returns the ids of all streams, oldest first.
func (c *Cloud) ListStreams() []string { return c.streams.ListStreams() }

// DescribeSigningJob tells about a signing job.
func (c *Cloud) DescribeSigningJob(id string) (signer.Job, error) {
	return c.signer.DescribeSigningJob(id)
}

// CreateStream makes a stream.
func (c *Cloud) CreateStream(now time.Time, r streams.CreateRequest) (streams.Response, error) {
	c.bucket.SetTime(now)
	return c.streams.CreateStream(now, r)
}

// UpdateStream changes a stream and raises its version.
func (c *Cloud) UpdateStream(now time.Time, r streams.CreateRequest) (streams.Response, error) {
	c.bucket.SetTime(now)
	return c.streams.UpdateStream(now, r)
}

// DescribeStream tells about a stream.
func (c *Cloud) DescribeStream(id string) (streams.Info, error) { return c.streams.DescribeStream(id) }

// DeleteStream removes a stream.
func (c *Cloud) DeleteStream(id string) error { return c.streams.DeleteStream(id) }

// CreateOTAUpdate accepts an OTA update; signing, stream and job follow in
// later Wakes.
func (c *Cloud) CreateOTAUpdate(now time.Time, r ota.CreateRequest) (ota.CreateResponse, error) {
	if err := c.admit(now, "CreateOTAUpdate"); err != nil {
		return ota.CreateResponse{}, err
	}
	return c.ota.CreateOTAUpdate(now, r)
}

// GetOTAUpdate tells about an OTA update.
func (c *Cloud) GetOTAUpdate(now time.Time, id string) (ota.Info, error) {
	if err := c.admit(now, "GetOTAUpdate"); err != nil {
		return ota.Info{}, err
	}
	return c.ota.GetOTAUpdate(id)
}

// ListOTAUpdates lists OTA updates.
func (c *Cloud) ListOTAUpdates(status string) []ota.Summary { return c.ota.ListOTAUpdates(status) }

// DeleteOTAUpdate removes an OTA update.
func (c *Cloud) DeleteOTAUpdate(now time.Time, id string, deleteStream, forceDeleteAWSJob bool) error {
	if err := c.admit(now, "DeleteOTAUpdate"); err != nil {
		return err
	}
	defer c.flush(now)
	return c.ota.DeleteOTAUpdate(now, id, deleteStream, forceDeleteAWSJob)
}

// CreateJob accepts a job; its first executions are created by the next Wake.
func (c *Cloud) CreateJob(now time.Time, r jobs.CreateJobRequest) (jobs.JobResponse, error) {
	if err := c.admit(now, "CreateJob"); err != nil {
		return jobs.JobResponse{}, err
	}
	c.bucket.SetTime(now)
	defer c.flush(now) // a job with a schedule may end at once
	return c.jobs.CreateJob(now, r)
}

// JobChanges counts changes of job and execution states; see jobs.Service.Changes.
func (c *Cloud) JobChanges() uint64 { return c.jobs.Changes() }

// DescribeJob tells about a job.
func (c *Cloud) DescribeJob(id string) (jobs.Job, error) { return c.jobs.DescribeJob(id) }

// ScheduledJobRollouts lists the beginnings to come of a job with a schedule.
func (c *Cloud) ScheduledJobRollouts(now time.Time, id string) []jobs.ScheduledRollout {
	return c.jobs.ScheduledJobRollouts(now, id)
}

// UpdateJob changes the settings of a job.
func (c *Cloud) UpdateJob(now time.Time, id string, r jobs.UpdateJobRequest) error {
	return c.jobs.UpdateJob(now, id, r)
}

// GetJobDocument returns a job's document as stored.
func (c *Cloud) GetJobDocument(id string) (string, error) { return c.jobs.GetJobDocument(id) }

// CancelJob cancels a job.
func (c *Cloud) CancelJob(now time.Time, id string, r jobs.CancelJobRequest) (jobs.JobResponse, error) {
	defer c.flush(now)
	return c.jobs.CancelJob(now, id, r)
}

// DeleteJob deletes a job; it is gone after a later Wake.
func (c *Cloud) DeleteJob(now time.Time, id string, force bool) error {
	defer c.flush(now)
	return c.jobs.DeleteJob(now, id, force)
}

// AssociateTargetsWithJob adds targets to a CONTINUOUS job.
func (c *Cloud) AssociateTargetsWithJob(now time.Time, id string, targets []string, comment string) (jobs.JobResponse, error) {
	defer c.flush(now)
	return c.jobs.AssociateTargetsWithJob(now, id, targets, comment)
}

// ListJobs lists jobs, newest first.
func (c *Cloud) ListJobs(status, targetSelection string, maxResults int, nextToken string) ([]jobs.JobSummary, string, error) {
	return c.FindJobs(jobs.Filter{Status: status, TargetSelection: targetSelection}, maxResults, nextToken)
}

// FindJobs lists the jobs that match a filter, newest first.
func (c *Cloud) FindJobs(f jobs.Filter, maxResults int, nextToken string) ([]jobs.JobSummary, string, error) {
	return c.jobs.ListJobs(f, maxResults, nextToken)
}

// DocumentSource returns the documentSource of a job, "" without one.
func (c *Cloud) DocumentSource(id string) string { return c.jobs.DocumentSource(id) }

// ListJobExecutionsForJob lists a job's executions, oldest first.
func (c *Cloud) ListJobExecutionsForJob(id, status string, maxResults int, nextToken string) ([]jobs.ExecutionForJob, string, error) {
	return c.jobs.ListJobExecutionsForJob(id, status, maxResults, nextToken)
}

// ListJobExecutionsForThing lists a thing's executions, newest first.
func (c *Cloud) ListJobExecutionsForThing(thing, status, jobID string, maxResults int, nextToken string) ([]jobs.ExecutionForThing, string, error) {
	return c.jobs.ListJobExecutionsForThing(thing, status, jobID, maxResults, nextToken)
}

// DescribeJobExecution tells about one execution; number 0 is the latest.
func (c *Cloud) DescribeJobExecution(now time.Time, thing, jobID string, number int64) (jobs.Execution, error) {
	return c.jobs.DescribeJobExecution(now, thing, jobID, number)
}

// CancelJobExecution cancels one execution.
func (c *Cloud) CancelJobExecution(now time.Time, thing, jobID string, r jobs.CancelJobExecutionRequest) error {
	defer c.flush(now)
	return c.jobs.CancelJobExecution(now, thing, jobID, r)
}

// DeleteJobExecution removes one attempt.
func (c *Cloud) DeleteJobExecution(now time.Time, thing, jobID string, number int64, force bool) error {
	defer c.flush(now)
	return c.jobs.DeleteJobExecution(now, thing, jobID, number, force)
}

// CreateBucket makes a bucket with versioning, by S3 requests.
func (c *Cloud) CreateBucket(now time.Time, name string) error {
	c.bucket.SetTime(now)
	return c.bucket.CreateBucket(name)
}

// PutObject stores an object by an S3 request and returns its version id.
func (c *Cloud) PutObject(now time.Time, bucket, key string, data []byte) (versionID string, err error) {
	c.bucket.SetTime(now)
	return c.bucket.Put(bucket, key, data)
}

// IsThrottled reports whether an error is a rate refusal, to be tried again.
func IsThrottled(err error) bool {
	e, ok := err.(*aws.Exception)
	return ok && e.Name == aws.Throttling.Name
}
