package registry

import (
	"slices"
	"time"

	"github.com/otasim/otasim/cloud/aws"
)

// undeprecated is how long a type must have been deprecated to be deleted.
const undeprecated = 5 * time.Minute

type thingType struct {
	name       string
	properties ThingTypeProperties
	created    int64
	deprecated int64 // when, 0 = not
}

// ThingTypeProperties are what an operator says about a thing type.
type ThingTypeProperties struct {
	Description          string   `json:"thingTypeDescription,omitempty"`
	SearchableAttributes []string `json:"searchableAttributes,omitempty"` // up to 3
}

// ThingTypeMetadata tells when a type was made and whether it may be used.
type ThingTypeMetadata struct {
	Deprecated      bool          `json:"deprecated"`
	DeprecationDate aws.Timestamp `json:"deprecationDate,omitzero"`
	CreationDate    aws.Timestamp `json:"creationDate"`
}

// ThingTypeDescription answers DescribeThingType.
type ThingTypeDescription struct {
	ThingTypeName string              `json:"thingTypeName"`
	ThingTypeID   string              `json:"thingTypeId"`
	ThingTypeARN  string              `json:"thingTypeArn"`
	Properties    ThingTypeProperties `json:"thingTypeProperties"`
	Metadata      ThingTypeMetadata   `json:"thingTypeMetadata"`
}

// CreateThingType makes a thing type. Repeating it with the same definition
// succeeds.
func (r *Registry) CreateThingType(now time.Time, name string, p ThingTypeProperties) (ThingTypeDescription, error) {
	if !aws.ThingName(name) {
		return ThingTypeDescription{}, aws.InvalidRequest.Because("thingTypeName %q: want 1 to 128 of [a-zA-Z0-9:_-]", name)
	}
	if len(p.SearchableAttributes) > 3 || len(p.Description) > 2028 {
		return ThingTypeDescription{}, aws.InvalidRequest.Because("thingTypeProperties: at most 3 searchable attributes and a description of 2028 characters")
	}
	for _, a := range p.SearchableAttributes {
		if !aws.Name(a, 128, ".,@/:#") {
			return ThingTypeDescription{}, aws.InvalidRequest.Because("searchableAttributes: %.80q is not the name of an attribute", a)
		}
	}
	if t := r.thingType(name); t != nil {
		if t.properties.Description == p.Description && slices.Equal(t.properties.SearchableAttributes, p.SearchableAttributes) {
			return r.describeType(t), nil
		}
		return ThingTypeDescription{}, aws.Exists("Thing type", name, r.realm.ARN("thingtype", name))
	}
	p.SearchableAttributes = slices.Clone(p.SearchableAttributes)
	t := &thingType{name: name, properties: p, created: now.UnixNano()}
	r.types = append(r.types, t)
	return r.describeType(t), nil
}

func (r *Registry) thingType(name string) *thingType {
	if i := slices.IndexFunc(r.types, func(t *thingType) bool { return t.name == name }); i >= 0 {
		return r.types[i]
	}
	return nil
}

// usableType checks the type of a thing that is made or changed; "" is none.
func (r *Registry) usableType(name string) error {
	switch t := r.thingType(name); {
	case name == "":
	case t == nil:
		return aws.ResourceNotFound.Because("Thing type %.130s cannot be found.", name)
	case t.deprecated != 0:
		return aws.InvalidRequest.Because("Thing type %s is deprecated.", name)
	}
	return nil
}

func (r *Registry) describeType(t *thingType) ThingTypeDescription {
	p := t.properties
	p.SearchableAttributes = slices.Clone(p.SearchableAttributes)
	return ThingTypeDescription{t.name, r.seed.UUID("thing type " + t.name), r.realm.ARN("thingtype", t.name), p,
		ThingTypeMetadata{t.deprecated != 0, aws.At(t.deprecated), aws.At(t.created)}}
}

// DescribeThingType tells about a thing type.
func (r *Registry) DescribeThingType(name string) (ThingTypeDescription, error) {
	if t := r.thingType(name); t != nil {
		return r.describeType(t), nil
	}
	return ThingTypeDescription{}, aws.ResourceNotFound.Because("Thing type %s cannot be found.", name)
}

// ListThingTypes lists all thing types, oldest first.
func (r *Registry) ListThingTypes() []ThingTypeDescription {
	out := make([]ThingTypeDescription, len(r.types))
	for i, t := range r.types {
		out[i] = r.describeType(t)
	}
	return out
}

// DeprecateThingType lets no new thing have the type, or with undo lets it again.
func (r *Registry) DeprecateThingType(now time.Time, name string, undo bool) error {
	t := r.thingType(name)
	switch {
	case t == nil:
		return aws.ResourceNotFound.Because("Thing type %s cannot be found.", name)
	case undo:
		t.deprecated = 0
	case t.deprecated == 0:
		t.deprecated = now.UnixNano()
	}
	return nil
}

// DeleteThingType removes a type that has been deprecated for five minutes and
// that no thing has.
func (r *Registry) DeleteThingType(now time.Time, name string) error {
	t := r.thingType(name)
	switch {
	case t == nil:
		return aws.ResourceNotFound.Because("Thing type %s cannot be found.", name)
	case t.deprecated == 0 || now.UnixNano()-t.deprecated < int64(undeprecated):
		return aws.InvalidRequest.Because("Thing type %s must have been deprecated for %v.", name, undeprecated)
	case slices.ContainsFunc(r.order, func(x *Thing) bool { return x != nil && x.typeName == name }):
		return aws.InvalidRequest.Because("Things have type %s.", name)
	}
	r.types = slices.DeleteFunc(r.types, func(x *thingType) bool { return x == t })
	return nil
}
