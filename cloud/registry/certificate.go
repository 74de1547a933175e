package registry

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"encoding/hex"
	"maps"
	"slices"
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
	if status != Active && status != Inactive && status != Revoked && status != PendingActivation {
		return CertificateResponse{}, aws.InvalidRequest.Because("status %q: want ACTIVE, INACTIVE or REVOKED", status)
	}
	c := &Certificate{fingerprint: fp, der: der, status: status, created: now.UnixNano(), modified: now.UnixNano(), version: 1}
	id := c.ID()
	if r.certs[fp] != nil {
		return CertificateResponse{}, aws.Exists("Certificate", id, r.realm.ARN("cert", id))
	}
	r.certs[fp] = c
	return CertificateResponse{r.realm.ARN("cert", id), id}, nil
}

// Allow gives a certificate a policy of its own, besides those attached to it.
func (c *Certificate) Allow(document string) error {
	list, err := ParsePolicy(document)
	if err == nil {
		c.own = &policy{inForce: &policyVersion{document: document, statements: list}}
	}
	return err
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
	CertificateARN   string        `json:"certificateArn"`
	CertificateID    string        `json:"certificateId"`
	Status           string        `json:"status"`
	CertificatePEM   string        `json:"certificatePem"`
	OwnedBy          string        `json:"ownedBy"`
	CreationDate     aws.Timestamp `json:"creationDate"`
	LastModifiedDate aws.Timestamp `json:"lastModifiedDate"`
	CustomerVersion  int64         `json:"customerVersion"`
	Validity         Validity      `json:"validity,omitzero"`
	CertificateMode  string        `json:"certificateMode"`
}

// Validity is when a certificate is good.
type Validity struct {
	NotBefore aws.Timestamp `json:"notBefore"`
	NotAfter  aws.Timestamp `json:"notAfter"`
}

// CertificateSummary is one row of ListCertificates.
type CertificateSummary struct {
	CertificateARN  string        `json:"certificateArn"`
	CertificateID   string        `json:"certificateId"`
	Status          string        `json:"status"`
	CertificateMode string        `json:"certificateMode"`
	CreationDate    aws.Timestamp `json:"creationDate"`
}

// ListCertificates lists all certificates, oldest first.
func (r *Registry) ListCertificates() []CertificateSummary {
	all := slices.SortedFunc(maps.Values(r.certs), func(a, b *Certificate) int {
		return cmp.Or(cmp.Compare(a.created, b.created), bytes.Compare(a.fingerprint[:], b.fingerprint[:]))
	})
	out := make([]CertificateSummary, len(all))
	for i, c := range all {
		out[i] = CertificateSummary{r.realm.ARN("cert", c.ID()), c.ID(), c.status, "DEFAULT", aws.At(c.created)}
	}
	return out
}

// ListPrincipalThings returns the names of the things a certificate is attached to.
func (r *Registry) ListPrincipalThings(principal string) ([]string, error) {
	c, err := r.FindCertificate(principal)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(c.things))
	for i, t := range c.things {
		out[i] = t.name
	}
	return out, nil
}

// DescribeCertificate tells about a certificate, given its id or ARN.
func (r *Registry) DescribeCertificate(id string) (CertificateDescription, error) {
	c, err := r.FindCertificate(id)
	if err != nil {
		return CertificateDescription{}, err
	}
	d := CertificateDescription{CertificateARN: r.realm.ARN("cert", c.ID()), CertificateID: c.ID(), Status: c.status, CertificatePEM: pki.PEM(c.der),
		OwnedBy: r.realm.Account, CreationDate: aws.At(c.created), LastModifiedDate: aws.At(c.modified), CustomerVersion: c.version, CertificateMode: "DEFAULT"}
	if x, err := x509.ParseCertificate(c.der); err == nil {
		d.Validity = Validity{aws.Timestamp{Time: x.NotBefore}, aws.Timestamp{Time: x.NotAfter}}
	}
	return d, nil
}

// UpdateCertificate sets a certificate's status.
func (r *Registry) UpdateCertificate(now time.Time, id, status string) error {
	c, err := r.FindCertificate(id)
	if err != nil {
		return err
	}
	if status != Active && status != Inactive && status != Revoked {
		return aws.InvalidRequest.Because("newStatus %q: want ACTIVE, INACTIVE or REVOKED", status)
	}
	c.status, c.modified = status, now.UnixNano()
	c.version++
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
