// Package cloud is an AWS IoT OTA cloud in one value: bucket, signer, registry,
// Jobs, file delivery, OTA updates and the message broker, as pure state
// machines that are driven with the time as an argument.
//
//	operator calls ----+                        +---- S3 requests (Client)
//	                   v                        v
//	frames in -> broker -> jobs, streams    bucket <- signer, ota, streams
//	                   |
//	                   v
//	             Outbox: frames out
//
// Nothing happens by itself: Wake does what is due, NextWake says when that is.
// A Cloud is not safe for concurrent use; a live server guards it with one lock.
//
// Two kinds of caller: the virtual network uses Open, Receive, Drop and Outbox.
// A real MQTT broker uses Authenticate, Authorize, Handle and Deliveries, with
// Config.External set.
package cloud

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/otasim/otasim/cloud/agenda"
	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/broker"
	"github.com/otasim/otasim/cloud/bucket"
	"github.com/otasim/otasim/cloud/defect"
	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/cloud/ota"
	"github.com/otasim/otasim/cloud/pki"
	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/cloud/provisioning"
	"github.com/otasim/otasim/cloud/quota"
	"github.com/otasim/otasim/cloud/registry"
	"github.com/otasim/otasim/cloud/shadow"
	"github.com/otasim/otasim/cloud/signer"
	"github.com/otasim/otasim/cloud/streams"
)

// Names that callers of this package need.
type (
	ConnID    = broker.ConnID
	Out       = broker.Out
	Principal = registry.Principal
)

// Switches gather the disputed points of all services; zero values are the
// documented defaults.
type Switches struct {
	Jobs    jobs.Switches
	Streams streams.Switches
	OTA     ota.Switches
	Broker  broker.Switches
	// JobQuotasOf2019 lowers the quotas of active jobs, where they are not set.
	JobQuotasOf2019 bool
}

// Config is what a Cloud is made of. Zero values have defaults, but for Epoch.
type Config struct {
	Region  string // default us-east-1
	Account string // 12 digits, default 123456789012
	Seed    [32]byte
	Epoch   time.Time    // the time of New; certificates are valid around it
	Quotas  quota.Limits // nil is aws-default; see quota.Named
	// Metered applies the quotas on control plane calls from the start.
	// Otherwise they apply from StartMetering on, so that a fleet can be set up.
	Metered  bool
	Switches Switches
	Defects  defect.Set // planted, to test checkers
	// External says that a real broker carries the messages: notifications go
	// to Deliveries instead of to the virtual connections.
	External bool
	// ServeS3 puts the bucket behind a listener and says how to reach it; nil:
	// requests reach it without a socket.
	ServeS3 func(h http.Handler) (endpoint string, through http.RoundTripper, err error)
	// StepTime, SigningTime, DeletionTime and IndexingTime are the durations of
	// background steps; defaults 1 s, 2 s, 1 s and 1 s.
	StepTime, SigningTime, DeletionTime, IndexingTime time.Duration
	// Presign turns the S3 URL of a placeholder in a job document into one that
	// a device can get until it expires; nil leaves placeholders in place.
	Presign func(now time.Time, url string, expires time.Duration) (string, error)
	// Ended is told when a job execution reaches a terminal status; nil: nobody is.
	Ended func(thing, job string, number int64, status jobs.Status)
	// Fault makes a background step of an OTA update fail.
	Fault func(otaUpdateID string, step ota.Step) error
}

// Cloud is the whole service of one account in one region.
type Cloud struct {
	cfg          Config
	realm        aws.Realm
	agenda       agenda.Agenda
	pki          *pki.Authority
	registry     *registry.Registry
	bucket       *bucket.Service
	signer       *signer.Service
	streams      *streams.Service
	jobs         *jobs.Service
	ota          *ota.Service
	broker       *broker.Broker
	shadows      shadow.Service
	provisioning *provisioning.Service
	indexing     indexing
	chain        [][]byte
	metered      bool
	rates        map[quota.Name]*quota.Rate
	calls        map[string]*quota.Rate // of control plane operations
	pending      []Delivery
	carried      broker.Stats                        // by a real broker
	measured     func(out map[quota.Name]quota.Peak) // by a real broker
	issued       int                                 // certificates that were asked for
	faults       *Faults                             // nil: nothing goes wrong
	events       EventConfigurations
	tags         map[string][]ota.Tag // by ARN
}

// New makes a cloud at the time cfg.Epoch.
func New(cfg Config) (*Cloud, error) {
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if cfg.Account == "" {
		cfg.Account = "123456789012"
	}
	if cfg.Quotas == nil {
		l, err := quota.Named("aws-default")
		if err != nil {
			return nil, err
		}
		cfg.Quotas = l
	}
	for n := range cfg.Quotas {
		if !quota.Known(n) {
			return nil, fmt.Errorf("cloud: unknown quota %q", n)
		}
	}
	if cfg.Switches.JobQuotasOf2019 {
		cfg.Quotas = maps.Clone(cfg.Quotas)
		for _, n := range []quota.Name{quota.ActiveSnapshotJobs, quota.ActiveContinuousJobs} {
			if d := quota.Default(n); cfg.Quotas[n] == d {
				cfg.Quotas[n] = min(d, 100)
			}
		}
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&cfg.StepTime, time.Second)
	def(&cfg.SigningTime, 2*time.Second)
	def(&cfg.DeletionTime, time.Second)
	def(&cfg.IndexingTime, time.Second)
	seed := aws.Seed(cfg.Seed)
	c := &Cloud{cfg: cfg, realm: aws.Realm{Region: cfg.Region, Account: cfg.Account}, metered: cfg.Metered, rates: map[quota.Name]*quota.Rate{}, calls: map[string]*quota.Rate{}}
	var err error
	if c.pki, err = pki.New(seed.Sub("pki"), cfg.Epoch); err != nil {
		return nil, err
	}
	if c.chain, _, err = c.pki.Server(c.Host()); err != nil {
		return nil, err
	}
	c.registry = registry.New(c.realm, seed.Sub("registry"))
	c.provisioning = provisioning.New(c.realm, seed.Sub("provisioning"))
	c.registry.IndexShadows(&c.shadows)
	c.bucket = bucket.New(c.realm, seed.Sub("bucket"), cfg.Epoch)
	if cfg.ServeS3 != nil {
		endpoint, through, err := cfg.ServeS3(c.bucket.Handler())
		if err != nil {
			return nil, fmt.Errorf("cloud: S3: %w", err)
		}
		c.bucket.Reach(endpoint, through)
	}
	objects := objects{c.bucket}
	c.signer = signer.New(signer.Config{Realm: c.realm, Seed: seed.Sub("signer"), Objects: objects, Agenda: &c.agenda, SigningTime: cfg.SigningTime,
		Waited: c.bucket.Waited})
	c.bucket.Limit(cfg.Quotas[quota.S3Puts], cfg.Quotas[quota.S3Gets])
	c.streams = streams.New(c.realm, objects, cfg.Switches.Streams)
	c.streams.Plant(cfg.Defects)
	c.streams.Limit(int(cfg.Quotas[quota.Streams]), int(cfg.Quotas[quota.FilesPerStream]))
	c.jobs = jobs.New(jobs.Config{Realm: c.realm, Seed: seed.Sub("jobs"), Directory: c.registry, Switches: cfg.Switches.Jobs, Agenda: &c.agenda,
		Listening: c.listening, DeletionTime: cfg.DeletionTime, Document: objects.document, Presign: cfg.Presign, Ended: cfg.Ended, Limits: jobLimits(cfg.Quotas), Defects: cfg.Defects})
	c.ota = ota.New(ota.Config{Realm: c.realm, Seed: seed.Sub("ota"), Agenda: &c.agenda, Signer: c.signer, Streams: c.streams, Jobs: c.jobs,
		Objects: objects, Switches: cfg.Switches.OTA, StepTime: cfg.StepTime, Fault: cfg.Fault, Defects: cfg.Defects})
	c.broker = broker.New(broker.Config{Agenda: &c.agenda, Registry: c.registry, Authority: c.pki, Chain: c.chain, Services: services{c},
		Limits: cfg.Quotas, Switches: cfg.Switches.Broker, Epoch: cfg.Epoch})
	return c, nil
}

func jobLimits(l quota.Limits) jobs.Limits {
	return jobs.Limits{RolloutRate: int(l[quota.RolloutRate]), ActiveSnapshot: int(l[quota.ActiveSnapshotJobs]), ActiveContinuous: int(l[quota.ActiveContinuousJobs]),
		Concurrent: int(l[quota.ConcurrentJobs]), Deleting: int(l[quota.DeletingJobs])}
}

// Host is the name of the data endpoint, which its certificate carries.
func (c *Cloud) Host() string { return "data-ats.iot." + c.cfg.Region + ".amazonaws.com" }

// PKI issues the cloud's certificates and verifies those of devices.
func (c *Cloud) PKI() *pki.Authority { return c.pki }

// StartMetering applies the control plane quotas from now on.
func (c *Cloud) StartMetering() { c.metered = true }

// Open makes a transport connection known.
func (c *Cloud) Open(now time.Time, conn ConnID) { c.broker.Open(conn) }

// Receive takes one frame from a connection. Its effects are in Outbox.
func (c *Cloud) Receive(now time.Time, conn ConnID, f protocol.Frame) {
	c.bucket.SetTime(now)
	c.broker.Receive(now, conn, f)
	c.flush(now)
}

// Ping takes a PINGREQ and counts its answer, see Broker.Ping.
func (c *Cloud) Ping(now time.Time, conn ConnID, more bool) { c.broker.Ping(now, conn, more) }

// Unheard takes a word back that Ping was given, see Broker.Unheard.
func (c *Cloud) Unheard(conn ConnID, seen time.Time) { c.broker.Unheard(conn, seen) }

// Drop tells that a transport is gone without DISCONNECT.
func (c *Cloud) Drop(now time.Time, conn ConnID) { c.broker.Drop(now, conn) }

// Outbox hands out frames and closings since the last call, in order. The slice
// is good until the next call of Outbox.
func (c *Cloud) Outbox() []Out { return c.broker.Outbox() }

// NextWake is when something is due next. It is exact but for keep-alives,
// which look again when the connection has been heard meanwhile.
func (c *Cloud) NextWake() (time.Time, bool) {
	due, ok := c.agenda.Next()
	if !ok {
		return time.Time{}, false
	}
	return time.Unix(0, due).UTC(), true
}

// Wake does everything that is due at now: rollouts, timeouts, keep-alives,
// session expiry, signing, the steps of OTA updates, deletions. It reports whether
// there was anything but to look again after connections that have been heard.
func (c *Cloud) Wake(now time.Time) bool {
	c.bucket.SetTime(now)
	before := c.broker.Looks()
	n := c.agenda.Run(now.UnixNano())
	c.flush(now)
	return n > c.broker.Looks()-before
}

// flush publishes what the Jobs service has announced.
func (c *Cloud) flush(now time.Time) {
	for _, e := range c.jobs.Events() {
		c.send(now, e.Topic, e.Payload)
	}
	for _, n := range c.jobs.Notifications() {
		c.send(now, notification(n.Thing, n.Kind), n.Payload)
	}
}

// Inject publishes a message on any topic, as somebody can who has the broker in hand.
func (c *Cloud) Inject(now time.Time, topic string, payload []byte) (heard bool) {
	heard = c.cfg.External || c.broker.Listening(topic)
	c.send(now, topic, payload)
	return heard
}

// send publishes a message of the cloud to its subscribers.
func (c *Cloud) send(now time.Time, topic string, payload []byte) {
	if c.cfg.External {
		c.pending = append(c.pending, Delivery{Topic: topic, Payload: payload, QoS: 1})
	} else {
		c.broker.Publish(now.UnixNano(), topic, payload)
	}
}

func notification(thing string, kind jobs.NotifyKind) string {
	if kind == jobs.NotifyNext {
		return protocol.JobsNotifyNext(thing)
	}
	return protocol.JobsNotify(thing)
}

func (c *Cloud) listening(thing string, kind jobs.NotifyKind) bool {
	return c.cfg.External || c.broker.Listening(notification(thing, kind))
}

// services connects the broker with Jobs and file delivery.
type services struct{ c *Cloud }

func (s services) Jobs(now time.Time, thing, rest string, payload []byte) broker.Reply {
	name := quota.JobsReads
	if rest == "start-next" || strings.HasSuffix(rest, "/update") {
		name = quota.JobsWrites
	}
	if !s.c.rate(name).Allow(now.UnixNano()) {
		r := s.c.jobs.Refuse(now, rest, payload, jobs.RequestThrottled, "The request rate of the account is exceeded.")
		return broker.Reply{Topic: r.Topic, Payload: r.Payload}
	}
	if f := s.c.faults; f != nil && f.Jobs != nil {
		return s.troubled(now, thing, rest, payload)
	}
	r := s.c.jobs.Handle(now, thing, rest, payload)
	return broker.Reply{Topic: r.Topic, Payload: r.Payload}
}

func (s services) Streams(out []broker.Reply, now int64, thing, name, rest string, payload []byte) []broker.Reply {
	if f := s.c.faults; f != nil && (f.Streams != nil || f.Bucket != nil) {
		return s.troubledStreams(out, time.Unix(0, now).UTC(), thing, name, rest, payload)
	}
	return s.c.streams.Handle(out, name, rest, payload)
}

// Shadow answers a shadow request and announces what followed from it. The
// answer is the first reply.
func (s services) Shadow(now time.Time, thing, name, op, prefix string, payload []byte) broker.Reply {
	out, changed := s.c.shadows.Handle(now, thing, name, op, payload, func(topic string) bool {
		return s.c.cfg.External || s.c.broker.Listening(prefix+topic)
	})
	if changed {
		s.c.touched(now, thing)
	}
	for _, a := range out[1:] {
		s.c.send(now, prefix+a.Topic, a.Payload)
	}
	return broker.Reply{Topic: out[0].Topic, Payload: out[0].Payload}
}

// rate is the token bucket of a quota.
func (c *Cloud) rate(n quota.Name) *quota.Rate {
	r := c.rates[n]
	if r == nil {
		r = &quota.Rate{PerSecond: c.cfg.Quotas[n]}
		c.rates[n] = r
	}
	return r
}

// admit lets a control plane call pass, or refuses it for its rate or a fault.
func (c *Cloud) admit(now time.Time, operation string) error {
	if err := c.failing(now, operation); err != nil {
		return err
	}
	if !c.metered {
		return nil
	}
	n, limited := quota.Operations[operation]
	if !limited || c.cfg.Quotas[n] <= 0 {
		return nil
	}
	r := c.calls[operation]
	if r == nil {
		r = &quota.Rate{PerSecond: c.cfg.Quotas[n]}
		c.calls[operation] = r
	}
	if !r.Allow(now.UnixNano()) {
		return aws.Throttling.Because("Rate exceeded")
	}
	return nil
}

// admitted are the operations whose methods refuse by themselves.
var admitted = map[string]bool{
	"CreateThing": true, "DescribeThing": true, "UpdateThing": true, "CreateThingGroup": true, "CreateDynamicThingGroup": true, "AddThingToThingGroup": true,
	"UpdateThingGroupsForThing": true, "AttachPolicy": true, "CreateJob": true, "CreateOTAUpdate": true, "GetOTAUpdate": true, "DeleteOTAUpdate": true,
}

// Admit lets a control plane call pass, or refuses it for its rate or a fault.
// Calls that methods of this package decide on by themselves pass here: it is
// for those that have no time or no method.
func (c *Cloud) Admit(now time.Time, operation string) error {
	if admitted[operation] {
		return nil
	}
	return c.admit(now, operation)
}

// Stats is what the cloud has carried and refused.
type Stats struct {
	broker.Stats
	HTTPRequests, HTTPBytes uint64
	S3                      bucket.Metered // of those requests
}

// Stats returns the counters as of now.
func (c *Cloud) Stats(now time.Time) Stats {
	s, b := c.bucket.Stats(), c.broker.Stats(now)
	if c.cfg.External {
		throttled := b.Throttled
		b = c.carried
		b.Throttled += throttled
	}
	for _, r := range c.rates {
		b.Throttled += r.Refused
	}
	for _, r := range c.calls {
		b.Throttled += r.Refused
	}
	return Stats{b, s.Requests, s.Bytes, s.Metered}
}

// Uses says what was used of each quota so far.
func (c *Cloud) Uses() []quota.Use {
	peaks := map[quota.Name]quota.Peak{}
	c.broker.Uses(peaks)
	if c.measured != nil {
		c.measured(peaks)
	}
	j := c.jobs.Uses()
	peaks[quota.ActiveSnapshotJobs], peaks[quota.ActiveContinuousJobs] = quota.Peak(j.Snapshot), quota.Peak(j.Continuous)
	peaks[quota.ConcurrentJobs], peaks[quota.RolloutRate] = quota.Peak(j.Concurrent), quota.Peak(j.RolloutRate)
	for n, u := range map[quota.Name]jobs.Use{
		quota.DeletingJobs: j.Deleting, quota.JobDocument: j.Document, quota.JobTargets: j.Targets, quota.Substitutions: j.Substitutions, quota.JobRetries: j.Retries,
		quota.JobTimeoutMax: j.Timeout, quota.StatusDetails: j.Details, quota.StatusDetailKey: j.DetailKey, quota.StatusDetailValue: j.DetailValue,
	} {
		peaks[n] = quota.Peak(u)
	}
	c.bucket.Uses(peaks)
	c.streams.Uses(peaks)
	c.signer.Uses(peaks)
	c.registry.Uses(peaks)
	for n, r := range c.rates {
		peaks[n] = peaks[n].And(r.Peak)
	}
	for operation, r := range c.calls {
		n := quota.Operations[operation]
		peaks[n] = peaks[n].And(r.Peak)
	}
	return quota.Uses(c.cfg.Quotas, peaks)
}

// S3 returns a client whose requests reach the bucket, without a socket unless
// ServeS3 is set, and the endpoint to put in front of /bucket/key.
func (c *Cloud) S3() (client *http.Client, endpoint string) {
	return c.bucket.Client(), c.bucket.Endpoint()
}

// S3Handler answers S3 requests behind a listener. SetTime dates what they write.
func (c *Cloud) S3Handler() http.Handler { return c.bucket.Handler() }

// SetTime sets the bucket's clock for requests that come through S3.
func (c *Cloud) SetTime(now time.Time) { c.bucket.SetTime(now) }

// objects lets the services reach the bucket by S3 requests.
type objects struct{ b *bucket.Service }

func (o objects) Get(b, key, version string) (streams.Object, error) {
	obj, err := o.b.Get(b, key, version)
	return streams.Object{Data: obj.Data, ETag: obj.ETag}, err
}

func (o objects) Head(b, key, version string) (int64, string, error) {
	return o.b.Head(b, key, version)
}

func (o objects) Read(b, key, version string) ([]byte, error) {
	obj, err := o.b.Get(b, key, version)
	return obj.Data, err
}

func (o objects) Write(b, key string, data []byte) (string, error) { return o.b.Put(b, key, data) }

// document reads a documentSource.
func (o objects) document(url string) (string, error) {
	b, key, err := bucket.SplitURL(url)
	if err != nil {
		return "", fmt.Errorf("cloud: documentSource: %w", err)
	}
	obj, err := o.b.Get(b, key, "")
	return string(obj.Data), err
}
