package sim

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/cloud/ota"
	"github.com/otasim/otasim/cloud/pki"
	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/cloud/quota"
	"github.com/otasim/otasim/cloud/registry"
	"github.com/otasim/otasim/cloud/signer"
	"github.com/otasim/otasim/cloud/streams"
	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/flashmodel/nvs"
	"github.com/otasim/otasim/flashmodel/secureboot"
	"github.com/otasim/otasim/sim/kernel"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// operator is the person at the console: it prepares the account, and carries out
// the updates, events and attacks of a scenario when their time comes, by the
// calls that a person would make. It runs where the cloud runs.
type operator struct {
	sc    *scenario.Scenario
	fleet *fleet
	cloud *cloud.Cloud
	world devices
	now   time.Duration

	root       []byte            // PEM of the authority that devices trust
	signer     []byte            // PEM of the code-signing certificate that devices carry
	keys       map[string]string // signing profile by name of the key
	signed     map[string]string // signing job by firmware version
	names      []string          // current thing name by device number
	certs      []string          // current certificate id by device number
	todo       []*task
	runs       []*rollout // updates and attacks that have been created, in order
	notes      []string
	seen       uint64 // JobChanges when the jobs were last looked at
	steps      []report.Step
	told       int // steps that progress has shown
	tampered   []tampered
	struck     map[int]map[string]time.Duration // by attack: the things it has got to, and when
	leaked     map[leak]bool                    // by attack and thing
	fired      map[int]bool                     // attacks that were carried out
	taps       []*tap
	through    map[int]int                  // by attack: messages that were accepted
	private    map[string]*ecdsa.PrivateKey // signing keys by name
	forger     *ecdsa.PrivateKey            // the attacker's own
	forgerCert []byte                       // PEM
	ends       ends
	fetched    fetched
	pings      func(now time.Duration) uint64 // that reached the cloud and were answered without its knowing; nil: none
}

// devices is what an operator can do to devices by hand.
type devices interface {
	// deliver gives a device an identity and switches it on: a new device, or one
	// that comes back from the factory.
	deliver(device int, name string, nvs []byte)
	// power switches a device on or off.
	power(device int, on bool)
	// tamper lets an attack have its way with a device in hand.
	tamper(device, attack int)
	// strike puts an attack's fault in force at a device.
	strikeBy(device, attack int)
	// linger keeps the run going until then: an attack has not shown its effect yet.
	linger(until time.Duration)
	// dial opens a connection to the broker that belongs to no device.
	dial() cloud.ConnID
	// replies are the frames that came back on it since.
	replies(cloud.ConnID) []protocol.Frame
	// listen has what comes back on it from now on read at once.
	listen(conn cloud.ConnID, read func(protocol.Frame))
	// fetch is a GET of a URL of the bucket by nobody in particular.
	fetch(now time.Duration, url string) (status int, body []byte)
}

const (
	firmwareBucket = "firmware"
	role           = "role/ota-service"
	platform       = "AmazonFreeRTOS-Default"
	defaultKey     = "ota"
	policyName     = "device-ota"
)

// newOperator makes the cloud and its operator. change may alter the cloud's
// configuration; nil: no.
func newOperator(sc *scenario.Scenario, seed kernel.Seed, f *fleet, w devices, change func(*cloud.Config)) (*operator, error) {
	o := &operator{sc: sc, fleet: f, world: w, keys: map[string]string{}, private: map[string]*ecdsa.PrivateKey{}, signed: map[string]string{}, names: make([]string, len(f.things)), certs: make([]string, len(f.things))}
	limits, err := quota.Parse(sc.Cloud.Quotas)
	if err != nil {
		return nil, fmt.Errorf("cloud: %w", err)
	}
	o.ends = ends{once: map[endKey]jobs.Status{}, now: func() time.Duration { return o.now }}
	switches, err := cloud.ParseSwitches(sc.Cloud.Switches)
	if err != nil {
		return nil, fmt.Errorf("cloud: %w", err)
	}
	config := cloud.Config{Region: sc.Cloud.Region, Account: sc.Cloud.Account, Seed: seed.Key("cloud"), Epoch: Epoch, Quotas: limits, Switches: switches, Ended: o.ends.ended}
	if change != nil {
		change(&config)
	}
	if o.cloud, err = cloud.New(config); err != nil {
		return nil, fmt.Errorf("cloud: %w", err)
	}
	if err := o.prepare(); err != nil {
		return nil, fmt.Errorf("cloud: %w", err)
	}
	o.plan()
	return o, nil
}

// publicKey is the key that devices trust, in PEM.
func (o *operator) publicKey() []byte {
	name := defaultKey
	if len(o.sc.Keys) > 0 {
		name = o.sc.Keys[0].Name
	}
	der, err := x509.MarshalPKIXPublicKey(&o.private[name].PublicKey)
	if err != nil {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: secureboot.LabelPublic, Bytes: der})
}

// trailer is what the platform layer appends to an image, which is also the signature
// block of secure boot V1: 00000000 r s, and FF up to 80 bytes.
func (o *operator) trailer(img *firmwareImage, signature string) []byte {
	key := o.private[o.keyOf(img)]
	if signature == scenario.SignatureAttacker {
		key = o.forger
	}
	digest := sha256.Sum256(img.data)
	der, err := key.Sign(nil, digest[:], crypto.SHA256)
	if err != nil || signature == scenario.SignatureNone {
		return nil
	}
	t, err := secureboot.TrailerFromDER(der)
	if err != nil {
		return nil
	}
	b := t.Encode()
	return b[:]
}

// prepare sets up what exists at t = 0: thing groups, the policy, signing profiles
// and the versioned bucket.
func (o *operator) prepare() error {
	c := o.cloud
	for i := range o.fleet.groups {
		if _, err := c.CreateThingGroup(Epoch, registry.CreateThingGroupRequest{ThingGroupName: o.fleet.groups[i].name}); err != nil {
			return err
		}
	}
	if len(o.sc.Fleet.Dynamic) > 0 {
		if err := c.UpdateIndexingConfiguration(Epoch, &registry.ThingIndexing{Mode: registry.IndexingRegistry}, nil); err != nil {
			return err
		}
	}
	for _, d := range o.sc.Fleet.Dynamic {
		if _, err := c.CreateDynamicThingGroup(Epoch, registry.CreateDynamicThingGroupRequest{ThingGroupName: d.Name, Query: registry.Query{QueryString: d.Query}}); err != nil {
			return fmt.Errorf("dynamic group %s: %w", d.Name, err)
		}
	}
	policy := o.policy()
	if o.sc.Cloud.Open {
		policy = openPolicy
	}
	if _, err := c.CreatePolicy(Epoch, policyName, policy); err != nil {
		return err
	}
	o.root = []byte(pki.PEM(c.PKI().Certificate().Raw))
	if err := c.CreateBucket(Epoch, firmwareBucket); err != nil {
		return err
	}
	der, forger, err := c.PKI().CodeSigner("attacker", nil)
	if err != nil {
		return err
	}
	o.forger, o.forgerCert = forger, []byte(pki.PEM(der))
	keys := o.sc.Keys
	if len(keys) == 0 {
		keys = []scenario.Key{{Name: defaultKey}}
	}
	for i := range keys {
		if err := o.profile(&keys[i]); err != nil {
			return fmt.Errorf("key %s: %w", keys[i].Name, err)
		}
	}
	return nil
}

// openPolicy lets everybody do everything.
const openPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}`

// policy is the OTA policy, with the topic of telemetry if a firmware has any.
func (o *operator) policy() string {
	doc := o.cloud.OTAPolicy()
	for i := range o.sc.Firmware {
		if o.sc.Firmware[i].Telemetry.Every > 0 {
			topic := o.cloud.ARN("topic", device.TelemetryTopic("${iot:Connection.Thing.ThingName}"))
			return strings.TrimSuffix(doc, "]}") + `,{"Effect":"Allow","Action":["iot:Publish"],"Resource":["` + topic + `"]}]}`
		}
	}
	return doc
}

// profile imports a signing key and makes a signing profile for it. The first key
// is the one whose certificate devices carry.
func (o *operator) profile(k *scenario.Key) error {
	var key *ecdsa.PrivateKey
	if k.File != "" {
		text, err := os.ReadFile(k.File)
		if err != nil {
			return err
		}
		if key, err = pki.ParseKeyPEM(string(text)); err != nil {
			return err
		}
	}
	der, key, err := o.cloud.PKI().CodeSigner(k.Name, key)
	if err != nil {
		return err
	}
	if k.Certificate != "" {
		text, err := os.ReadFile(k.Certificate)
		if err != nil {
			return err
		}
		if der, err = pki.ParsePEM(string(text)); err != nil {
			return err
		}
	}
	o.private[k.Name] = key
	if o.signer == nil {
		o.signer = []byte(pki.PEM(der))
	}
	arn, err := o.cloud.ImportCertificate(der, key)
	if err != nil {
		return err
	}
	name := "profile_" + identifier(k.Name)
	_, err = o.cloud.PutSigningProfile(signer.Profile{ProfileName: name, PlatformID: platform, SigningMaterial: signer.Material{CertificateARN: arn},
		SigningParameters: map[string]string{signer.CertName: device.LabelCodeSigner}})
	o.keys[k.Name] = name
	return err
}

// identifier makes a name that AWS accepts anywhere.
func identifier(s string) string {
	b := []byte(s)
	for i, c := range b {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			b[i] = '_'
		}
	}
	return string(b[:min(len(b), 48)])
}

// enroll registers the first n devices and returns their identities.
func (o *operator) enroll(n int) ([]nvs.Identity, error) {
	ids := make([]nvs.Identity, n)
	for i := range ids {
		var err error
		t := &o.fleet.things[i]
		if ids[i], err = o.identity(i, t.name, o.fleet.groups[t.group].name); err != nil {
			return nil, fmt.Errorf("thing %s: %w", t.name, err)
		}
	}
	return ids, nil
}

// attributes are what the registry knows of the things of a group.
func (o *operator) attributes(group string) map[string]string {
	if g := o.sc.Group(group); g != nil {
		return g.Attributes
	}
	return nil
}

// identity makes a thing with its certificate, and what goes into the device.
func (o *operator) identity(device int, name, group string) (nvs.Identity, error) {
	now, c := Epoch.Add(o.now), o.cloud
	der, key, err := c.PKI().Device(name)
	if err != nil {
		return nvs.Identity{}, err
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nvs.Identity{}, err
	}
	if _, err := c.CreateThing(now, name, "", o.attributes(group)); err != nil {
		return nvs.Identity{}, err
	}
	cert, err := c.RegisterCertificateWithoutCA(now, der, registry.Active)
	if err != nil {
		return nvs.Identity{}, err
	}
	o.certs[device] = cert.CertificateID
	if err := c.AttachThingPrincipal(name, cert.CertificateARN); err != nil {
		return nvs.Identity{}, err
	}
	if err := c.AttachPolicy(now, policyName, cert.CertificateARN); err != nil {
		return nvs.Identity{}, err
	}
	if err := c.AddThingToThingGroup(now, name, group); err != nil {
		return nvs.Identity{}, err
	}
	o.names[device] = name
	return nvs.Identity{ThingName: name, Certificate: der, Key: raw, CA: o.root, CodeSigner: o.signer}, nil
}

// retire ends a thing: its certificate is revoked and both are deleted.
func (o *operator) retire(device int) error {
	now, c, name, cert := Epoch.Add(o.now), o.cloud, o.names[device], o.certs[device]
	if err := c.UpdateCertificate(now, cert, registry.Revoked); err != nil {
		return err
	}
	if err := c.DetachThingPrincipal(name, c.ARN("cert", cert)); err != nil {
		return err
	}
	if err := c.DeleteThing(now, name); err != nil {
		return err
	}
	return c.DeleteCertificate(cert, true)
}

// release puts every firmware into the bucket and has it signed, as a release
// process does long before a rollout. Each update gets a signing job of its own,
// because the OTA service replaces the signed object by the raw image it streams.
func (o *operator) release(now time.Duration) error {
	for i := range o.fleet.images {
		img := &o.fleet.images[i]
		if img.Origin == scenario.OriginAttacker {
			continue
		}
		key := objectKey(img.Version)
		object, err := o.cloud.PutObject(Epoch.Add(now), firmwareBucket, key, img.data)
		if err != nil {
			return err
		}
		for _, use := range o.uses(img.Version) {
			if o.signed[use], err = o.cloud.StartSigningJob(Epoch.Add(now), signer.StartRequest{
				Source:      signer.S3Source{BucketName: firmwareBucket, Key: key, Version: object},
				Destination: signer.S3Destination{BucketName: firmwareBucket, Prefix: "signed/"}, ProfileName: o.profileOf(img), ClientRequestToken: use,
			}); err != nil {
				return fmt.Errorf("signing %s: %w", img.Version, err)
			}
		}
	}
	return nil
}

// uses are the otaUpdateIds that will offer a version.
func (o *operator) uses(version string) (ids []string) {
	for i := range o.sc.Updates {
		if o.sc.Updates[i].Firmware == version {
			ids = append(ids, o.sc.Updates[i].OTAUpdateID)
		}
	}
	for i := range o.sc.Attacks {
		if o.sc.Attacks[i].Firmware == version && o.sc.Attacks[i].Type == scenario.AttackDowngradeReplay {
			ids = append(ids, attackID(&o.sc.Attacks[i]))
		}
	}
	return ids
}

// profileOf is the signing profile of a firmware: that of its last key, or of the
// first key there is.
func (o *operator) profileOf(img *firmwareImage) string { return o.keys[o.keyOf(img)] }

// keyOf is the name of the key that signs a firmware.
func (o *operator) keyOf(img *firmwareImage) string {
	switch {
	case len(img.Sign) > 0:
		return img.Sign[len(img.Sign)-1]
	case len(o.sc.Keys) > 0:
		return o.sc.Keys[0].Name
	}
	return defaultKey
}

func objectKey(version string) string { return "firmware-" + version + ".bin" }

// create is CreateOTAUpdate for one update of the scenario.
func (o *operator) create(now time.Duration, u *scenario.Update) error {
	req := ota.CreateRequest{OTAUpdateID: u.OTAUpdateID, Description: u.Description, Targets: o.targets(u.Targets), Protocols: u.Protocols,
		TargetSelection: u.TargetSelection}
	if r := u.Rollout; r != nil {
		req.AWSJobExecutionsRolloutConfig = &jobs.RolloutConfig{MaximumPerMinute: r.MaximumPerMinute}
		if x := r.Exponential; x != nil {
			req.AWSJobExecutionsRolloutConfig.ExponentialRate = &jobs.ExponentialRate{BaseRatePerMinute: x.BaseRatePerMinute,
				IncrementFactor:      float64(x.IncrementFactor) / scenario.Million,
				RateIncreaseCriteria: &jobs.RateIncreaseCriteria{NumberOfNotifiedThings: x.NumberOfNotifiedThings, NumberOfSucceededThings: x.NumberOfSucceededThings}}
		}
	}
	if len(u.Abort) > 0 {
		req.AWSJobAbortConfig = &ota.AbortConfig{}
		for _, a := range u.Abort {
			req.AWSJobAbortConfig.AbortCriteriaList = append(req.AWSJobAbortConfig.AbortCriteriaList, jobs.AbortCriterion{FailureType: a.FailureType,
				Action: a.Action, ThresholdPercentage: float64(a.ThresholdPercentage) / (scenario.Million / 100), MinNumberOfExecutedThings: a.MinNumberOfExecutedThings})
		}
	}
	if u.InProgressTimeout > 0 {
		req.AWSJobTimeoutConfig = &jobs.TimeoutConfig{InProgressTimeoutInMinutes: int(u.InProgressTimeout / time.Minute)}
	}
	if u.PresignedExpires > 0 {
		req.AWSJobPresignedURLConfig = &jobs.PresignedURLConfig{ExpiresInSec: int64(u.PresignedExpires / time.Second)}
	}
	if u.File != nil {
		f, err := o.file(now, u)
		if err != nil {
			return err
		}
		req.Files = []ota.File{f}
	}
	return o.createUpdate(now, req, u.Firmware, -1, u)
}

// createUpdate asks for an update to a signed firmware.
func (o *operator) createUpdate(now time.Duration, req ota.CreateRequest, version string, attack int, row *scenario.Update) error {
	req.RoleARN = "arn:aws:iam::" + o.sc.Cloud.Account + ":" + role
	if req.Files == nil {
		req.Files = []ota.File{{FileName: "/" + objectKey(version), FileVersion: version,
			FileLocation: &ota.FileLocation{S3Location: &streams.Location{Bucket: firmwareBucket, Key: objectKey(version)}},
			CodeSigning:  &ota.CodeSigning{AWSSignerJobID: o.signed[req.OTAUpdateID]}}}
	}
	if _, err := o.cloud.CreateOTAUpdate(Epoch.Add(now), req); err != nil {
		return err
	}
	o.runs = append(o.runs, &rollout{id: req.OTAUpdateID, version: version, created: now, attack: attack, row: row})
	o.step("update %s created", req.OTAUpdateID)
	return nil
}

// targets turns group and thing names into ARNs.
func (o *operator) targets(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		kind := "thing"
		if o.sc.Group(n) != nil || o.sc.DynamicGroup(n) != nil {
			kind = "thinggroup"
		}
		out[i] = o.cloud.ARN(kind, n)
	}
	return out
}
