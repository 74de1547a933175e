// Package registry is the AWS IoT registry: things with attributes, nested
// thing groups, device certificates, and the policies that decide what a
// connection may do.
//
//	policy --attached to--> certificate --attached to--> thing --member of--> group --child of--> group
//	policy --attached to--> group
//
// Sources: API model iot/2015-05-28; AWS IoT Core Developer Guide, pages
// thing-groups, iot-policies, thing-policy-variables.
package registry

import (
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/pki"
)

// Limits of the registry that no account can raise.
const (
	maxGroupsPerThing    = 10
	maxPoliciesPerTarget = 10
	maxGroupDepth        = 7
	maxPolicySize        = 2048
	maxAttributes        = 3 // without a thing type
)

// Registry is the state of one account. It is not safe for concurrent use.
type Registry struct {
	realm    aws.Realm
	seed     aws.Seed
	things   map[string]*Thing
	order    []*Thing // by creation; nil where one was deleted
	groups   map[string]*group
	groupIDs []*group // by creation
	certs    map[pki.Fingerprint]*Certificate
	policies map[string]*policy
	epoch    uint64
}

// Thing is one registered device.
type Thing struct {
	name        string
	typeName    string
	attributes  map[string]string
	version     int64
	place       int // in order
	memberships []membership
	principals  []*Certificate
}

type membership struct {
	group *group
	place int // in group.members
}

type group struct {
	name        string
	description string
	attributes  map[string]string
	parent      *group
	children    []*group
	members     []*Thing // by joining; nil where one left
	count       int
	policies    []*policy
	created     int64
	version     int64
}

// Certificate is one registered device certificate.
type Certificate struct {
	fingerprint pki.Fingerprint
	der         []byte
	status      string
	created     int64
	things      []*Thing
	exclusive   bool
	policies    []*policy
}

// States of a certificate.
const (
	Active   = "ACTIVE"
	Inactive = "INACTIVE"
	Revoked  = "REVOKED"
)

// New returns an empty registry.
func New(realm aws.Realm, seed aws.Seed) *Registry {
	return &Registry{realm: realm, seed: seed, things: map[string]*Thing{}, groups: map[string]*group{},
		certs: map[pki.Fingerprint]*Certificate{}, policies: map[string]*policy{}}
}

// Epoch grows with every change that can turn a policy decision. A decision is
// good as long as the epoch stays.
func (r *Registry) Epoch() uint64 { return r.epoch }

// Thing reports whether a thing exists.
func (r *Registry) Thing(name string) bool { return r.things[name] != nil }

// Group returns the things of a group and its sub-groups, each once, in the
// order of joining, a group before its children.
func (r *Registry) Group(name string) ([]string, bool) {
	g := r.groups[name]
	if g == nil {
		return nil, false
	}
	var out []string
	seen := map[*Thing]bool{}
	g.walk(func(g *group) {
		for _, t := range g.members {
			if t != nil && !seen[t] {
				seen[t] = true
				out = append(out, t.name)
			}
		}
	})
	return out, true
}

func (g *group) walk(visit func(*group)) {
	visit(g)
	for _, c := range g.children {
		c.walk(visit)
	}
}

// InGroup reports whether a thing is in a group or one of its sub-groups.
func (r *Registry) InGroup(thing, group string) bool {
	t := r.things[thing]
	if t == nil {
		return false
	}
	for _, m := range t.memberships {
		for g := m.group; g != nil; g = g.parent {
			if g.name == group {
				return true
			}
		}
	}
	return false
}

func (r *Registry) thing(name string) (*Thing, error) {
	if t := r.things[name]; t != nil {
		return t, nil
	}
	return nil, aws.ResourceNotFound.Because("Thing %s cannot be found.", name)
}

// ThingDescription answers CreateThing and DescribeThing.
type ThingDescription struct {
	ThingName       string            `json:"thingName"`
	ThingARN        string            `json:"thingArn"`
	ThingID         string            `json:"thingId"`
	ThingTypeName   string            `json:"thingTypeName,omitempty"`
	Attributes      map[string]string `json:"attributes,omitempty"`
	Version         int64             `json:"version,omitempty"`
	DefaultClientID string            `json:"defaultClientId,omitempty"`
}

func (r *Registry) describe(t *Thing) ThingDescription {
	return ThingDescription{ThingName: t.name, ThingARN: r.realm.ARN("thing", t.name), ThingID: r.seed.UUID("thing " + t.name),
		ThingTypeName: t.typeName, Attributes: maps.Clone(t.attributes), Version: t.version, DefaultClientID: t.name}
}

// CreateThing registers a thing. Repeating it with the same definition succeeds.
func (r *Registry) CreateThing(name, typeName string, attributes map[string]string) (ThingDescription, error) {
	if !aws.ThingName(name) {
		return ThingDescription{}, aws.InvalidRequest.Because("thingName %q: want 1 to 128 of [a-zA-Z0-9:_-]", name)
	}
	if err := checkAttributes(attributes, typeName != ""); err != nil {
		return ThingDescription{}, err
	}
	if t := r.things[name]; t != nil {
		if t.typeName == typeName && maps.Equal(t.attributes, attributes) {
			return r.describe(t), nil
		}
		return ThingDescription{}, aws.Exists("Thing", name, r.realm.ARN("thing", name))
	}
	t := &Thing{name: name, typeName: typeName, version: 1, place: len(r.order)}
	if len(attributes) > 0 {
		t.attributes = maps.Clone(attributes)
	}
	r.things[name] = t
	r.order = append(r.order, t)
	return r.describe(t), nil
}

func checkAttributes(attributes map[string]string, typed bool) error {
	limit := maxAttributes
	if typed {
		limit = 50
	}
	if len(attributes) > limit {
		return aws.InvalidRequest.Because("%d attributes, the limit is %d", len(attributes), limit)
	}
	for k, v := range attributes {
		if !aws.Name(k, 128, ".,@/:#") || len(v) > 800 {
			return aws.InvalidRequest.Because("an attribute name or value does not satisfy its constraint")
		}
	}
	return nil
}

// DescribeThing tells about a thing.
func (r *Registry) DescribeThing(name string) (ThingDescription, error) {
	t, err := r.thing(name)
	if err != nil {
		return ThingDescription{}, err
	}
	return r.describe(t), nil
}

// UpdateThing sets attributes: merged into the present ones, where an empty
// value removes, or in their place.
func (r *Registry) UpdateThing(name string, attributes map[string]string, merge bool, expectedVersion int64) error {
	t, err := r.thing(name)
	if err != nil {
		return err
	}
	if expectedVersion != 0 && expectedVersion != t.version {
		return aws.VersionConflict.Because("expectedVersion %d, thing %s has version %d", expectedVersion, name, t.version)
	}
	next := map[string]string{}
	if merge {
		maps.Copy(next, t.attributes)
	}
	for k, v := range attributes {
		if v == "" {
			delete(next, k)
		} else {
			next[k] = v
		}
	}
	if err := checkAttributes(next, t.typeName != ""); err != nil {
		return err
	}
	t.attributes = next
	t.version++
	r.epoch++
	return nil
}

// DeleteThing removes a thing; deleting an absent one succeeds. A thing with
// principals attached is refused.
func (r *Registry) DeleteThing(name string) error {
	t := r.things[name]
	if t == nil {
		return nil
	}
	if len(t.principals) > 0 {
		return aws.InvalidRequest.Because("Cannot delete. Thing %s is still attached to one or more principals", name)
	}
	for len(t.memberships) > 0 {
		r.drop(t, 0)
	}
	delete(r.things, name)
	r.order[t.place] = nil
	r.epoch++
	return nil
}

// ListThings returns the names of all things by creation.
func (r *Registry) ListThings() []string {
	out := make([]string, 0, len(r.things))
	for _, t := range r.order {
		if t != nil {
			out = append(out, t.name)
		}
	}
	return out
}

// CreateThingGroupRequest is the body of CreateThingGroup.
type CreateThingGroupRequest struct {
	ThingGroupName  string            `json:"thingGroupName"`
	ParentGroupName string            `json:"parentGroupName,omitempty"`
	Description     string            `json:"thingGroupDescription,omitempty"`
	Attributes      map[string]string `json:"attributes,omitempty"`
}

// ThingGroupResponse answers CreateThingGroup.
type ThingGroupResponse struct {
	ThingGroupName string `json:"thingGroupName"`
	ThingGroupARN  string `json:"thingGroupArn"`
	ThingGroupID   string `json:"thingGroupId"`
}

// CreateThingGroup makes a group, at the top or under a parent. Repeating it
// with the same definition succeeds.
func (r *Registry) CreateThingGroup(now time.Time, req CreateThingGroupRequest) (ThingGroupResponse, error) {
	name := req.ThingGroupName
	if !aws.ThingName(name) {
		return ThingGroupResponse{}, aws.InvalidRequest.Because("thingGroupName %q: want 1 to 128 of [a-zA-Z0-9:_-]", name)
	}
	var parent *group
	if req.ParentGroupName != "" {
		if parent = r.groups[req.ParentGroupName]; parent == nil {
			return ThingGroupResponse{}, aws.ResourceNotFound.Because("Thing group %s cannot be found.", req.ParentGroupName)
		}
		depth := 1
		for g := parent; g != nil; g = g.parent {
			depth++
		}
		if depth > maxGroupDepth {
			return ThingGroupResponse{}, aws.InvalidRequest.Because("groups nest at most %d deep", maxGroupDepth)
		}
		if len(parent.children) >= 100 {
			return ThingGroupResponse{}, aws.InvalidRequest.Because("a group has at most 100 child groups")
		}
	}
	out := ThingGroupResponse{name, r.realm.ARN("thinggroup", name), r.seed.UUID("group " + name)}
	if g := r.groups[name]; g != nil {
		if g.parent == parent && g.description == req.Description && maps.Equal(g.attributes, req.Attributes) {
			return out, nil
		}
		return ThingGroupResponse{}, aws.Exists("Thing group", name, out.ThingGroupARN)
	}
	g := &group{name: name, description: req.Description, attributes: maps.Clone(req.Attributes), parent: parent, created: now.UnixNano(), version: 1}
	r.groups[name] = g
	r.groupIDs = append(r.groupIDs, g)
	if parent != nil {
		parent.children = append(parent.children, g)
	}
	return out, nil
}

// DeleteThingGroup removes a group without children; absent ones are fine.
func (r *Registry) DeleteThingGroup(name string) (left []string, err error) {
	g := r.groups[name]
	if g == nil {
		return nil, nil
	}
	if len(g.children) > 0 {
		return nil, aws.InvalidRequest.Because("Thing group %s has child groups.", name)
	}
	if len(g.policies) > 0 {
		return nil, aws.InvalidRequest.Because("Thing group %s has policies attached.", name)
	}
	for _, t := range g.members {
		if t != nil {
			left = append(left, t.name)
			r.drop(t, slices.IndexFunc(t.memberships, func(m membership) bool { return m.group == g }))
		}
	}
	if g.parent != nil {
		g.parent.children = slices.DeleteFunc(g.parent.children, func(c *group) bool { return c == g })
	}
	delete(r.groups, name)
	r.groupIDs = slices.DeleteFunc(r.groupIDs, func(c *group) bool { return c == g })
	r.epoch++
	return left, nil
}

// ListThingsInThingGroup returns the things of a group by joining, with
// recursive those of its sub-groups too.
func (r *Registry) ListThingsInThingGroup(name string, recursive bool) ([]string, error) {
	g := r.groups[name]
	if g == nil {
		return nil, aws.ResourceNotFound.Because("Thing group %s cannot be found.", name)
	}
	if recursive {
		out, _ := r.Group(name)
		return out, nil
	}
	out := make([]string, 0, g.count)
	for _, t := range g.members {
		if t != nil {
			out = append(out, t.name)
		}
	}
	return out, nil
}

// ListThingGroups returns the names of all groups by creation.
func (r *Registry) ListThingGroups() []string {
	out := make([]string, 0, len(r.groupIDs))
	for _, g := range r.groupIDs {
		out = append(out, g.name)
	}
	return out
}

// ListThingGroupsForThing returns the groups a thing was put into, by joining.
func (r *Registry) ListThingGroupsForThing(thing string) ([]string, error) {
	t, err := r.thing(thing)
	if err != nil {
		return nil, err
	}
	out := make([]string, 0, len(t.memberships))
	for _, m := range t.memberships {
		out = append(out, m.group.name)
	}
	return out, nil
}

// AddThingToThingGroup puts a thing into a group; once is enough.
func (r *Registry) AddThingToThingGroup(thing, groupName string) error {
	t, err := r.thing(thing)
	if err != nil {
		return err
	}
	g := r.groups[groupName]
	if g == nil {
		return aws.ResourceNotFound.Because("Thing group %s cannot be found.", groupName)
	}
	for _, m := range t.memberships {
		if m.group == g {
			return nil
		}
	}
	if len(t.memberships) >= maxGroupsPerThing {
		return aws.InvalidRequest.Because("a thing is in at most %d groups", maxGroupsPerThing)
	}
	t.memberships = append(t.memberships, membership{g, len(g.members)})
	g.members = append(g.members, t)
	g.count++
	r.epoch++
	return nil
}

// RemoveThingFromThingGroup takes a thing out of a group; a thing that is not
// in it is fine.
func (r *Registry) RemoveThingFromThingGroup(thing, groupName string) error {
	t, err := r.thing(thing)
	if err != nil {
		return err
	}
	if r.groups[groupName] == nil {
		return aws.ResourceNotFound.Because("Thing group %s cannot be found.", groupName)
	}
	for i, m := range t.memberships {
		if m.group.name == groupName {
			r.drop(t, i)
			return nil
		}
	}
	return nil
}

// drop ends a thing's i-th membership.
func (r *Registry) drop(t *Thing, i int) {
	m := t.memberships[i]
	m.group.members[m.place] = nil
	m.group.count--
	t.memberships = slices.Delete(t.memberships, i, i+1)
	if g := m.group; len(g.members) > 32 && g.count < len(g.members)/2 {
		g.compact()
	}
	r.epoch++
}

// compact closes the gaps that leaving things made.
func (g *group) compact() {
	kept := g.members[:0]
	for _, t := range g.members {
		if t == nil {
			continue
		}
		for i := range t.memberships {
			if t.memberships[i].group == g {
				t.memberships[i].place = len(kept)
			}
		}
		kept = append(kept, t)
	}
	clear(g.members[len(kept):])
	g.members = kept
}

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
