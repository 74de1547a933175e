package registry

import (
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/pki"
)

// ID is the certificate's identifier: 64 hexadecimal digits.
func (c *Certificate) ID() string { return hex.EncodeToString(c.fingerprint[:]) }

// CertificateResponse answers RegisterCertificate.
type CertificateResponse struct {
	CertificateARN string `json:"certificateArn"`
	CertificateID  string `json:"certificateId"`
}

// RegisterCertificate registers a certificate by its DER, as
// RegisterCertificateWithoutCA does with PEM. An empty status is ACTIVE.
func (r *Registry) RegisterCertificate(now time.Time, der []byte, fp pki.Fingerprint, status string) (CertificateResponse, error) {
	if status == "" {
		status = Active
	}
	if status != Active && status != Inactive && status != Revoked {
		return CertificateResponse{}, aws.InvalidRequest.Because("status %q: want ACTIVE, INACTIVE or REVOKED", status)
	}
	c := &Certificate{fingerprint: fp, der: der, status: status, created: now.UnixNano()}
	id := c.ID()
	if r.certs[fp] != nil {
		return CertificateResponse{}, aws.Exists("Certificate", id, r.realm.ARN("cert", id))
	}
	r.certs[fp] = c
	return CertificateResponse{r.realm.ARN("cert", id), id}, nil
}

// Certificate finds a certificate by fingerprint, nil when it is unknown.
func (r *Registry) Certificate(fp pki.Fingerprint) *Certificate { return r.certs[fp] }

// Active reports whether the certificate may be used.
func (c *Certificate) Active() bool { return c.status == Active }

// FindCertificate finds a certificate by id or ARN.
func (r *Registry) FindCertificate(id string) (*Certificate, error) {
	if kind, name, ok := r.realm.Split(id); ok && kind == "cert" {
		id = name
	}
	var fp pki.Fingerprint
	if b, err := hex.DecodeString(id); err == nil && len(b) == len(fp) {
		copy(fp[:], b)
		if c := r.certs[fp]; c != nil {
			return c, nil
		}
	}
	return nil, aws.ResourceNotFound.Because("Certificate %.80s cannot be found.", id)
}

// CertificateDescription answers DescribeCertificate.
type CertificateDescription struct {
	CertificateARN  string        `json:"certificateArn"`
	CertificateID   string        `json:"certificateId"`
	Status          string        `json:"status"`
	CertificatePEM  string        `json:"certificatePem"`
	OwnedBy         string        `json:"ownedBy"`
	CreationDate    aws.Timestamp `json:"creationDate"`
	CertificateMode string        `json:"certificateMode"`
}

// DescribeCertificate tells about a certificate, given its id or ARN.
func (r *Registry) DescribeCertificate(id string) (CertificateDescription, error) {
	c, err := r.FindCertificate(id)
	if err != nil {
		return CertificateDescription{}, err
	}
	return CertificateDescription{r.realm.ARN("cert", c.ID()), c.ID(), c.status, pki.PEM(c.der), r.realm.Account, aws.At(c.created), "DEFAULT"}, nil
}

// UpdateCertificate sets a certificate's status.
func (r *Registry) UpdateCertificate(id, status string) error {
	c, err := r.FindCertificate(id)
	if err != nil {
		return err
	}
	if status != Active && status != Inactive && status != Revoked {
		return aws.InvalidRequest.Because("newStatus %q: want ACTIVE, INACTIVE or REVOKED", status)
	}
	c.status = status
	r.epoch++
	return nil
}

// DeleteCertificate removes an inactive certificate that is attached to
// nothing; force removes policies with it.
func (r *Registry) DeleteCertificate(id string, force bool) error {
	c, err := r.FindCertificate(id)
	switch {
	case err != nil:
		return err
	case c.status == Active:
		return aws.CertificateState.Because("Certificate must be deactivated (not ACTIVE) before deletion.")
	case len(c.things) > 0:
		return aws.DeleteConflict.Because("Things must be detached before deletion.")
	case len(c.policies) > 0 && !force:
		return aws.DeleteConflict.Because("Certificate policies must be detached before deletion.")
	}
	for _, p := range c.policies {
		p.attached--
	}
	delete(r.certs, c.fingerprint)
	r.epoch++
	return nil
}

// AttachThingPrincipal binds a certificate to a thing; exclusive reserves the
// certificate for it.
func (r *Registry) AttachThingPrincipal(thing, principal string, exclusive bool) error {
	t, err := r.thing(thing)
	if err != nil {
		return err
	}
	c, err := r.FindCertificate(principal)
	if err != nil {
		return err
	}
	if slices.Contains(c.things, t) {
		return nil
	}
	if len(c.things) > 0 && (c.exclusive || exclusive) {
		return aws.InvalidRequest.Because("The principal is attached to another thing, one of them exclusively.")
	}
	c.things, c.exclusive = append(c.things, t), exclusive
	t.principals = append(t.principals, c)
	r.epoch++
	return nil
}

// DetachThingPrincipal ends the binding.
func (r *Registry) DetachThingPrincipal(thing, principal string) error {
	t, err := r.thing(thing)
	if err != nil {
		return err
	}
	c, err := r.FindCertificate(principal)
	if err != nil {
		return err
	}
	if !slices.Contains(c.things, t) {
		return aws.ResourceNotFound.Because("The principal is not attached to thing %s.", thing)
	}
	c.things = slices.DeleteFunc(c.things, func(x *Thing) bool { return x == t })
	t.principals = slices.DeleteFunc(t.principals, func(x *Certificate) bool { return x == c })
	r.epoch++
	return nil
}

// ListThingPrincipals returns the ARNs of a thing's certificates.
func (r *Registry) ListThingPrincipals(thing string) ([]string, error) {
	t, err := r.thing(thing)
	if err != nil {
		return nil, err
	}
	out := make([]string, 0, len(t.principals))
	for _, c := range t.principals {
		out = append(out, r.realm.ARN("cert", c.ID()))
	}
	return out, nil
}

// target finds what a policy can be attached to.
func (r *Registry) target(arn string) (*[]*policy, error) {
	switch kind, name, _ := r.realm.Split(arn); kind {
	case "cert":
		c, err := r.FindCertificate(name)
		if err != nil {
			return nil, err
		}
		return &c.policies, nil
	case "thinggroup":
		if g := r.groups[name]; g != nil {
			return &g.policies, nil
		}
		return nil, aws.ResourceNotFound.Because("Thing group %s cannot be found.", name)
	}
	return nil, aws.InvalidRequest.Because("target %.80q is neither a certificate nor a thing group", strings.TrimSpace(arn))
}
