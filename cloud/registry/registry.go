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
	"crypto/x509"
	"maps"
	"strings"

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
	order    []*Thing     // by creation; nil where one was deleted
	types    []*thingType // by creation
	groups   map[string]*group
	groupIDs []*group // by creation
	certs    map[pki.Fingerprint]*Certificate
	policies map[string]*policy
	epoch    uint64
	dynamics []*group // by creation
	indexing Indexing
	shadows  Shadows
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
	dynamic     *dynamic // nil for a static group
}

// Certificate is one registered device certificate.
type Certificate struct {
	fingerprint pki.Fingerprint
	der         []byte
	status      string
	created     int64
	modified    int64
	version     int64
	things      []*Thing
	exclusive   bool
	policies    []*policy
	own         *policy           // nil but for a claim certificate
	parsed      *x509.Certificate // nil until a policy asks
}

// States of a certificate.
const (
	Active            = "ACTIVE"
	Inactive          = "INACTIVE"
	Revoked           = "REVOKED"
	PendingActivation = "PENDING_ACTIVATION" // made by fleet provisioning, not provisioned yet
)

// New returns an empty registry.
func New(realm aws.Realm, seed aws.Seed) *Registry {
	return &Registry{realm: realm, seed: seed, things: map[string]*Thing{}, groups: map[string]*group{},
		certs: map[pki.Fingerprint]*Certificate{}, policies: map[string]*policy{},
		indexing: Indexing{Things: ThingIndexing{Mode: IndexingOff, Connectivity: "OFF", DeviceDefender: "OFF", NamedShadows: "OFF"}, Groups: GroupIndexing{"OFF"}}}
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
	if err := r.usableType(typeName); err != nil {
		return ThingDescription{}, err
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

// CheckThing reports whether a thing may be defined so.
func (r *Registry) CheckThing(name, typeName string, attributes map[string]string) error {
	if !aws.ThingName(name) {
		return aws.InvalidRequest.Because("thingName %.140q: want 1 to 128 of [a-zA-Z0-9:_-]", name)
	}
	if err := checkAttributes(attributes, typeName != ""); err != nil {
		return err
	}
	return r.usableType(typeName)
}

// DescribeThing tells about a thing.
func (r *Registry) DescribeThing(name string) (ThingDescription, error) {
	t, err := r.thing(name)
	if err != nil {
		return ThingDescription{}, err
	}
	return r.describe(t), nil
}

// ThingUpdate is the body of UpdateThing. Nil attributes and an empty type stay.
type ThingUpdate struct {
	Attributes      map[string]string
	Merge           bool // into the present ones; an empty value removes
	TypeName        string
	RemoveType      bool
	ExpectedVersion int64 // 0 is any
}

// UpdateThing changes a thing and raises its version.
func (r *Registry) UpdateThing(name string, u ThingUpdate) error {
	t, err := r.thing(name)
	if err != nil {
		return err
	}
	if u.ExpectedVersion != 0 && u.ExpectedVersion != t.version {
		return aws.VersionConflict.Because("expectedVersion %d, thing %s has version %d", u.ExpectedVersion, name, t.version)
	}
	typeName := t.typeName
	switch {
	case u.TypeName != "" && u.RemoveType:
		return aws.InvalidRequest.Because("thingTypeName and removeThingType exclude each other")
	case u.TypeName != "":
		if err := r.usableType(u.TypeName); err != nil {
			return err
		}
		typeName = u.TypeName
	case u.RemoveType:
		typeName = ""
	}
	next := map[string]string{}
	if u.Merge || u.Attributes == nil {
		maps.Copy(next, t.attributes)
	}
	for k, v := range u.Attributes {
		if v == "" {
			delete(next, k)
		} else {
			next[k] = v
		}
	}
	if err := checkAttributes(next, typeName != ""); err != nil {
		return err
	}
	t.attributes, t.typeName = next, typeName
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

// ThingFilter selects things; empty members match every thing.
type ThingFilter struct {
	AttributeName, AttributeValue string
	Prefix                        bool // AttributeValue is a prefix
	TypeName                      string
}

// FindThings describes the things that match a filter, by creation.
func (r *Registry) FindThings(f ThingFilter) []ThingDescription {
	var out []ThingDescription
	for _, t := range r.order {
		if t == nil || f.TypeName != "" && t.typeName != f.TypeName {
			continue
		}
		if f.AttributeName != "" {
			v, ok := t.attributes[f.AttributeName]
			if !ok || f.AttributeValue != "" && v != f.AttributeValue && (!f.Prefix || !strings.HasPrefix(v, f.AttributeValue)) {
				continue
			}
		}
		out = append(out, r.describe(t))
	}
	return out
}
