package cloud

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/otasim/otasim/cloud/agenda"
	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/broker"
	"github.com/otasim/otasim/cloud/provisioning"
	"github.com/otasim/otasim/cloud/registry"
)

// Provisioning is the templates, for what has no operation of its own here.
func (c *Cloud) Provisioning() *provisioning.Service { return c.provisioning }

// deterministic writes the members of CBOR maps in one order.
var deterministic = func() cbor.EncMode {
	m, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err) // the options are the library's own
	}
	return m
}()

// Provision answers a request of fleet provisioning; op is what follows
// $aws/certificates/ or $aws/provisioning-templates/TEMPLATE/. The answer is for the
// requester alone, who must have subscribed.
func (s services) Provision(now time.Time, template, op string, payload []byte) broker.Reply {
	kind, format, _ := strings.Cut(op, "/")
	encode, decode := json.Marshal, json.Unmarshal
	if format == "cbor" {
		encode, decode = deterministic.Marshal, cbor.Unmarshal
	}
	var body struct {
		CSR        string            `json:"certificateSigningRequest"`
		Token      string            `json:"certificateOwnershipToken"`
		Parameters map[string]string `json:"parameters"`
	}
	var out any
	var err error
	if len(payload) > 0 && decode(payload, &body) != nil {
		err = aws.InvalidRequest.Because("The payload is not what is expected, in %s.", format)
	} else {
		switch kind {
		case "create":
			out, err = s.c.claimKeys(now)
		case "create-from-csr":
			out, err = s.c.claimCSR(now, body.CSR)
		default:
			out, err = s.c.registerThing(now, template, body.Token, body.Parameters)
		}
	}
	suffix := "/accepted"
	if err != nil {
		e := aws.InternalFailure
		errors.As(err, &e)
		suffix, out = "/rejected", map[string]any{"statusCode": e.Status, "errorCode": strings.TrimSuffix(e.Name, "Exception"), "errorMessage": e.Message}
	}
	b, err := encode(out)
	if err != nil {
		return broker.Reply{}
	}
	return broker.Reply{Topic: op + suffix, Payload: b}
}

// claimed is a certificate that waits for its device.
func (c *Cloud) claimed(now time.Time, made IssuedCertificate) map[string]any {
	out := map[string]any{"certificateId": made.CertificateID, "certificatePem": made.CertificatePEM,
		"certificateOwnershipToken": c.provisioning.Grant(now, made.CertificateID)}
	if made.KeyPair != nil {
		out["privateKey"] = made.KeyPair.PrivateKey
	}
	c.plan(now, provisioning.TokenLife, func(time.Time) {
		if d, err := c.registry.DescribeCertificate(made.CertificateID); err == nil && d.Status == registry.PendingActivation {
			_ = c.registry.DeleteCertificate(made.CertificateID, true) // refused once it is attached to a thing
		}
	})
	return out
}

// plan has something done after a while.
func (c *Cloud) plan(now time.Time, after time.Duration, do func(now time.Time)) {
	c.agenda.Plan(&agenda.Entry{Run: func(at int64) { do(time.Unix(0, at).UTC()) }}, now.Add(after).UnixNano())
}

func (c *Cloud) claimKeys(now time.Time) (any, error) {
	if err := c.admit(now, "CreateKeysAndCertificate"); err != nil {
		return nil, err
	}
	made, err := c.keysAndCertificate(now, registry.PendingActivation)
	if err != nil {
		return nil, err
	}
	return c.claimed(now, made), nil
}

func (c *Cloud) claimCSR(now time.Time, csr string) (any, error) {
	if err := c.admit(now, "CreateCertificateFromCsr"); err != nil {
		return nil, err
	}
	made, err := c.certificateFromCSR(now, csr, registry.PendingActivation)
	if err != nil {
		return nil, err
	}
	return c.claimed(now, made), nil
}

// registerThing does what a template says, all of it or, with an error, nothing.
func (c *Cloud) registerThing(now time.Time, template, token string, parameters map[string]string) (any, error) {
	p, err := c.provisioning.Expand(now, template, token, parameters)
	if err != nil {
		return nil, err
	}
	if cert, err := c.registry.DescribeCertificate(p.CertificateID); err != nil || cert.Status != registry.PendingActivation {
		return nil, provisioning.ErrToken.Because("The certificate of the token is not waiting for a device any more.")
	}
	var do []func() error
	step := func(f func() error) { do = append(do, f) }
	if p.ThingName != "" {
		if err := c.planThing(now, p, step); err != nil {
			return nil, err
		}
		step(func() error { return c.registry.AttachThingPrincipal(p.ThingName, p.CertificateID, p.Exclusive) })
	}
	arn := c.ARN("cert", p.CertificateID)
	names := map[string]bool{}
	for _, q := range p.Policies {
		name := q.Name
		if q.Document == "" {
			if _, err := c.registry.GetPolicy(name); err != nil {
				return nil, err
			}
		} else {
			sum := sha256.Sum256([]byte(q.Document))
			name = hex.EncodeToString(sum[:])
			if _, err := registry.ParsePolicy(q.Document); err != nil {
				return nil, aws.MalformedPolicy.Because("%v", err)
			}
			if _, err := c.registry.GetPolicy(name); err != nil && !names[name] {
				step(func() error { _, err := c.registry.CreatePolicy(now, name, q.Document); return err })
			}
		}
		names[name] = true
		step(func() error { return c.registry.AttachPolicy(name, arn) })
	}
	if len(names) > 10 {
		return nil, aws.LimitExceeded.Because("%d policies, a certificate has at most 10", len(names))
	}
	step(func() error { return c.registry.UpdateCertificate(now, p.CertificateID, p.Status) })
	for _, f := range do {
		if err := f(); err != nil {
			return nil, err
		}
	}
	c.provisioning.Spend(token)
	if p.ThingName != "" {
		c.touched(now, p.ThingName)
		c.jobs.MembershipChanged(now, p.ThingName)
		c.flush(now)
	}
	if p.Configuration == nil {
		p.Configuration = map[string]string{}
	}
	return map[string]any{"deviceConfiguration": p.Configuration, "thingName": p.ThingName}, nil
}

// planThing checks what a template makes of a thing, new or existing, and plans it.
func (c *Cloud) planThing(now time.Time, p *provisioning.Plan, step func(func() error)) error {
	for _, g := range p.Groups {
		d, err := c.registry.DescribeThingGroup(g)
		if err != nil {
			return err
		}
		if d.Query != nil {
			return aws.InvalidRequest.Because("Thing group %s is dynamic.", g)
		}
	}
	groups := slices.Compact(slices.Sorted(slices.Values(p.Groups)))
	is, err := c.registry.DescribeThing(p.ThingName)
	if err != nil {
		// Making the thing is the only step that can fail, so it goes first.
		if len(groups) > 10 {
			return aws.InvalidRequest.Because("a thing is in at most 10 groups")
		}
		if err := c.registry.CheckThing(p.ThingName, p.TypeName, p.Attributes); err != nil {
			return err
		}
		step(func() error { _, err := c.registry.CreateThing(p.ThingName, p.TypeName, p.Attributes); return err })
		step(func() error { return c.registry.UpdateThingGroupsForThing(p.ThingName, p.Groups, nil, true) })
		return nil
	}
	u := registry.ThingUpdate{}
	attributes := maps.Clone(is.Attributes)
	if attributes == nil {
		attributes = map[string]string{}
	}
	differ := false
	for k, v := range p.Attributes {
		differ = differ || attributes[k] != v
	}
	switch {
	case p.OnAttributes == "FAIL" && differ:
		return provisioning.ErrConflict.Because("Thing %s exists with other attributes.", p.ThingName)
	case p.OnAttributes == "MERGE" && differ:
		maps.Copy(attributes, p.Attributes)
		u.Attributes = attributes
	case p.OnAttributes == "REPLACE" && !maps.Equal(attributes, p.Attributes):
		if attributes = p.Attributes; attributes == nil {
			attributes = map[string]string{}
		}
		u.Attributes = attributes
	}
	typeName := is.ThingTypeName
	if p.TypeName != "" && p.TypeName != typeName {
		switch p.OnType {
		case "FAIL":
			return provisioning.ErrConflict.Because("Thing %s exists with another type.", p.ThingName)
		case "REPLACE":
			typeName, u.TypeName = p.TypeName, p.TypeName
		}
	}
	if u.Attributes != nil || u.TypeName != "" {
		if err := c.registry.CheckThing(p.ThingName, typeName, attributes); err != nil {
			return err
		}
		step(func() error { return c.registry.UpdateThing(p.ThingName, u) })
	}
	return c.planGroups(p, groups, step)
}

func (c *Cloud) planGroups(p *provisioning.Plan, groups []string, step func(func() error)) error {
	in, err := c.registry.ListThingGroupsForThing(p.ThingName)
	if err != nil {
		return err
	}
	var static []string
	for _, g := range in {
		if d, err := c.registry.DescribeThingGroup(g); err == nil && d.Query == nil {
			static = append(static, g)
		}
	}
	missing := slices.DeleteFunc(slices.Clone(groups), func(g string) bool { return slices.Contains(static, g) })
	if len(missing) == 0 && p.OnGroups != "REPLACE" {
		return nil
	}
	var remove []string
	switch p.OnGroups {
	case "FAIL":
		return provisioning.ErrConflict.Because("Thing %s exists in other thing groups.", p.ThingName)
	case "DO_NOTHING":
		return nil
	case "REPLACE":
		remove = slices.DeleteFunc(slices.Clone(static), func(g string) bool { return slices.Contains(groups, g) })
	}
	if len(static)-len(remove)+len(missing) > 10 {
		return aws.InvalidRequest.Because("a thing is in at most 10 groups")
	}
	step(func() error { return c.registry.UpdateThingGroupsForThing(p.ThingName, missing, remove, true) })
	return nil
}

// Claim answers CreateProvisioningClaim.
type Claim struct {
	CertificateID  string        `json:"certificateId"`
	CertificatePEM string        `json:"certificatePem"`
	KeyPair        *KeyPair      `json:"keyPair"`
	Expiration     aws.Timestamp `json:"expiration"`
}

// CreateProvisioningClaim makes a certificate that is good for five minutes, to
// provision a device with.
func (c *Cloud) CreateProvisioningClaim(now time.Time, template string) (Claim, error) {
	if _, err := c.provisioning.DescribeTemplate(template); err != nil {
		return Claim{}, err
	}
	made, err := c.keysAndCertificate(now, registry.Active)
	if err != nil {
		return Claim{}, err
	}
	cert, err := c.registry.FindCertificate(made.CertificateID)
	if err != nil {
		return Claim{}, err
	}
	if err := cert.Allow(provisioning.ClaimPolicy(c.realm, template)); err != nil {
		return Claim{}, err
	}
	c.plan(now, provisioning.ClaimLife, func(now time.Time) {
		if c.UpdateCertificate(now, made.CertificateID, registry.Revoked) == nil {
			_ = c.registry.DeleteCertificate(made.CertificateID, true) // refused if someone has attached it to a thing
		}
	})
	return Claim{made.CertificateID, made.CertificatePEM, made.KeyPair, aws.At(now.Add(provisioning.ClaimLife).UnixNano())}, nil
}
