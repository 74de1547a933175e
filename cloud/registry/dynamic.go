package registry

import (
	"maps"
	"slices"
	"time"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/index"
)

// A dynamic group has the things that match its query. The index follows the
// registry and the shadows behind: whoever keeps a Registry calls Reindex for the
// things that have changed, some time after.
//
//	BUILDING --Reindex--> ACTIVE --another query, another indexing--> REBUILDING --Reindex--> ACTIVE
type dynamic struct {
	Query
	compiled *index.Query
	status   string
}

// States of a dynamic group.
const (
	groupActive     = "ACTIVE"
	groupBuilding   = "BUILDING"
	groupRebuilding = "REBUILDING"
)

const (
	thingsIndex         = "AWS_Things"
	defaultQueryVersion = "2017-09-30"
)

// Query is what a dynamic group selects by.
type Query struct {
	IndexName    string `json:"indexName,omitempty"`    // "" is AWS_Things, the only one
	QueryString  string `json:"queryString,omitempty"`  // see package index
	QueryVersion string `json:"queryVersion,omitempty"` // "" is 2017-09-30, the only one
}

// CreateDynamicThingGroupRequest is the body of CreateDynamicThingGroup.
type CreateDynamicThingGroupRequest struct {
	ThingGroupName string
	Properties     ThingGroupProperties
	Query
	Limit int64 // of dynamic groups, 0 for none
}

// DynamicThingGroupResponse answers CreateDynamicThingGroup.
type DynamicThingGroupResponse struct {
	ThingGroupResponse
	Query
}

func errDynamic(name string) error {
	return aws.InvalidRequest.Because("Thing group %s is dynamic.", name)
}

// compile checks a query and fills in defaults. It asks for an index.
func (r *Registry) compile(q *Query) (*index.Query, error) {
	if q.IndexName == "" {
		q.IndexName = thingsIndex
	}
	if q.QueryVersion == "" {
		q.QueryVersion = defaultQueryVersion
	}
	switch {
	case q.IndexName != thingsIndex:
		return nil, aws.ResourceNotFound.Because("Index %.130s cannot be found.", q.IndexName)
	case q.QueryVersion != defaultQueryVersion:
		return nil, aws.InvalidQuery.Because("queryVersion %.40q: want %s", q.QueryVersion, defaultQueryVersion)
	case r.indexing.Things.Mode == IndexingOff:
		return nil, aws.InvalidRequest.Because("Thing indexing is switched off.")
	}
	c, err := index.Parse(q.QueryString)
	if err != nil {
		return nil, aws.InvalidQuery.Because("queryString: %v", err)
	}
	return c, nil
}

// CreateDynamicThingGroup makes a group of the things that match a query. It is
// empty until the next Reindex. Repeating it with the same definition succeeds.
func (r *Registry) CreateDynamicThingGroup(now time.Time, req CreateDynamicThingGroupRequest) (DynamicThingGroupResponse, error) {
	name := req.ThingGroupName
	if !aws.ThingName(name) {
		return DynamicThingGroupResponse{}, aws.InvalidRequest.Because("thingGroupName %q: want 1 to 128 of [a-zA-Z0-9:_-]", name)
	}
	q, err := r.compile(&req.Query)
	if err != nil {
		return DynamicThingGroupResponse{}, err
	}
	var attributes map[string]string
	if p := req.Properties.AttributePayload; p != nil {
		attributes = p.Attributes
	}
	out := DynamicThingGroupResponse{ThingGroupResponse{name, r.realm.ARN("thinggroup", name), r.seed.UUID("group " + name)}, req.Query}
	if g := r.groups[name]; g != nil {
		if g.dynamic != nil && g.dynamic.Query == req.Query && g.description == req.Properties.Description && maps.Equal(g.attributes, attributes) {
			return out, nil
		}
		return DynamicThingGroupResponse{}, aws.Exists("Thing group", name, out.ThingGroupARN)
	}
	if req.Limit > 0 && int64(r.DynamicGroups()) >= req.Limit {
		return DynamicThingGroupResponse{}, aws.LimitExceeded.Because("an account has at most %d dynamic thing groups", req.Limit)
	}
	g := &group{name: name, description: req.Properties.Description, attributes: maps.Clone(attributes), created: now.UnixNano(), version: 1,
		dynamic: &dynamic{req.Query, q, groupBuilding}}
	r.groups[name] = g
	r.groupIDs = append(r.groupIDs, g)
	r.dynamics = append(r.dynamics, g)
	return out, nil
}

// UpdateDynamicThingGroup changes a dynamic group and returns its version. A new
// query holds from the next Reindex on.
func (r *Registry) UpdateDynamicThingGroup(name string, p ThingGroupProperties, q Query, expectedVersion int64) (version int64, err error) {
	g, err := r.dynamicGroup(name)
	if err != nil {
		return 0, err
	}
	next := g.dynamic.Query
	for _, x := range []struct{ from, to *string }{{&q.IndexName, &next.IndexName}, {&q.QueryString, &next.QueryString}, {&q.QueryVersion, &next.QueryVersion}} {
		if *x.from != "" {
			*x.to = *x.from
		}
	}
	compiled, err := r.compile(&next)
	if err != nil {
		return 0, err
	}
	if version, err = r.updateGroup(g, p, expectedVersion); err != nil {
		return 0, err
	}
	if next != g.dynamic.Query {
		g.dynamic = &dynamic{next, compiled, groupRebuilding}
	}
	return version, nil
}

// DeleteDynamicThingGroup removes a dynamic group; an absent one is fine.
func (r *Registry) DeleteDynamicThingGroup(name string) (left []string, err error) {
	g := r.groups[name]
	if g == nil {
		return nil, nil
	}
	if g.dynamic == nil {
		return nil, aws.InvalidRequest.Because("Thing group %s is not dynamic.", name)
	}
	left, err = r.deleteGroup(g)
	r.dynamics = slices.DeleteFunc(r.dynamics, func(x *group) bool { return x == g })
	return left, err
}

func (r *Registry) dynamicGroup(name string) (*group, error) {
	g, err := r.group(name)
	if err == nil && g.dynamic == nil {
		err = aws.InvalidRequest.Because("Thing group %s is not dynamic.", name)
	}
	return g, err
}

// DynamicGroups is how many dynamic groups there are.
func (r *Registry) DynamicGroups() int { return len(r.dynamics) }

// Building reports whether a dynamic group waits for its things.
func (r *Registry) Building() bool {
	return slices.ContainsFunc(r.dynamics, func(g *group) bool { return g.dynamic.status != groupActive })
}

// Reindex looks again which dynamic groups the given things belong to: all
// things, if a group waits for them. Older groups go first; a thing in ten groups
// joins no more. It returns the things that have joined or left a group.
func (r *Registry) Reindex(things []string) (changed []string) {
	if r.indexing.Things.Mode == IndexingOff {
		return nil
	}
	if r.Building() {
		for _, g := range r.dynamics {
			g.dynamic.status = groupActive
		}
		for _, t := range r.order {
			if t != nil && r.sort(t) {
				changed = append(changed, t.name)
			}
		}
		return changed
	}
	for _, name := range things {
		if t := r.things[name]; t != nil && r.sort(t) {
			changed = append(changed, name)
		}
	}
	return changed
}

// sort puts one thing into the dynamic groups that it belongs to.
func (r *Registry) sort(t *Thing) (changed bool) {
	d := r.document(t)
	for _, g := range r.dynamics {
		i := t.in(g)
		switch is := g.dynamic.compiled.Match(d); {
		case is && i < 0 && len(t.memberships) < maxGroupsPerThing:
			t.join(g)
			changed = true
		case !is && i >= 0:
			r.drop(t, i)
			changed = true
		}
	}
	return changed
}

// Shadows is where the index finds the shadows of a thing; see package shadow.
type Shadows interface {
	Values(thing, field string, named func(name string) bool, visit func(value string) bool) bool
	Indexed(thing string, named func(name string) bool) string
}

// IndexShadows makes the shadows known to the index.
func (r *Registry) IndexShadows(s Shadows) { r.shadows = s }

// document is a thing in the index.
func (r *Registry) document(t *Thing) index.Document {
	return func(field string, visit func(string) bool) {
		if field == "" {
			if !visit(t.name) || !visit(t.typeName) {
				return
			}
			for _, k := range slices.Sorted(maps.Keys(t.attributes)) {
				if !visit(t.attributes[k]) {
					return
				}
			}
			if !r.groupNames(t, visit) {
				return
			}
		}
		switch field {
		case "thingName":
			visit(t.name)
		case "thingId":
			visit(r.seed.UUID("thing " + t.name))
		case "thingTypeName", "registry.thingTypeName":
			if t.typeName != "" {
				visit(t.typeName)
			}
		case "thingGroupNames", "registry.thingGroupNames":
			r.groupNames(t, visit)
		default:
			const attributes = "attributes."
			if len(field) > len(attributes) && field[:len(attributes)] == attributes {
				if v, ok := t.attributes[field[len(attributes):]]; ok {
					visit(v)
				}
			} else if r.shadows != nil && r.indexing.Things.Mode == IndexingShadow {
				r.shadows.Values(t.name, field, r.indexing.named, visit)
			}
		}
	}
}

// groupNames visits the static groups of a thing, each with those above it. The
// dynamic ones are not in the index, so that no query depends on another's answer.
func (r *Registry) groupNames(t *Thing, visit func(string) bool) bool {
	for _, m := range t.memberships {
		for g := m.group; g != nil && g.dynamic == nil; g = g.parent {
			if !visit(g.name) {
				return false
			}
		}
	}
	return true
}

// Found is one thing of SearchIndex.
type Found struct {
	ThingName       string            `json:"thingName"`
	ThingID         string            `json:"thingId"`
	ThingTypeName   string            `json:"thingTypeName,omitempty"`
	ThingGroupNames []string          `json:"thingGroupNames,omitempty"`
	Attributes      map[string]string `json:"attributes,omitempty"`
	Shadow          string            `json:"shadow,omitempty"` // JSON
}

// SearchIndex returns the things that match a query, by creation.
func (r *Registry) SearchIndex(q Query) ([]Found, error) {
	if r.indexing.Things.Mode == IndexingOff {
		return nil, aws.ResourceNotFound.Because("Index %s cannot be found.", thingsIndex)
	}
	compiled, err := r.compile(&q)
	if err != nil {
		return nil, err
	}
	out := []Found{}
	for _, t := range r.order {
		if t == nil || !compiled.Match(r.document(t)) {
			continue
		}
		f := Found{ThingName: t.name, ThingID: r.seed.UUID("thing " + t.name), ThingTypeName: t.typeName, Attributes: maps.Clone(t.attributes)}
		r.groupNames(t, func(name string) bool {
			if !slices.Contains(f.ThingGroupNames, name) {
				f.ThingGroupNames = append(f.ThingGroupNames, name)
			}
			return true
		})
		if r.shadows != nil && r.indexing.Things.Mode == IndexingShadow {
			f.Shadow = r.shadows.Indexed(t.name, r.indexing.named)
		}
		out = append(out, f)
	}
	return out, nil
}

// Modes of thing indexing.
const (
	IndexingOff      = "OFF"
	IndexingRegistry = "REGISTRY"
	IndexingShadow   = "REGISTRY_AND_SHADOW"
)

// Indexing is the body of UpdateIndexingConfiguration.
type Indexing struct {
	Things ThingIndexing `json:"thingIndexingConfiguration"`
	Groups GroupIndexing `json:"thingGroupIndexingConfiguration"`
}

// ThingIndexing says what of things is indexed.
type ThingIndexing struct {
	Mode           string          `json:"thingIndexingMode"`
	Connectivity   string          `json:"thingConnectivityIndexingMode,omitempty"`
	DeviceDefender string          `json:"deviceDefenderIndexingMode,omitempty"`
	NamedShadows   string          `json:"namedShadowIndexingMode,omitempty"`
	ManagedFields  []Field         `json:"managedFields,omitempty"`
	CustomFields   []Field         `json:"customFields,omitempty"`
	Filter         *IndexingFilter `json:"filter,omitempty"`
}

// GroupIndexing says what of thing groups is indexed.
type GroupIndexing struct {
	Mode string `json:"thingGroupIndexingMode"`
}

// Field is a field of the index with its type: Number, String or Boolean.
type Field struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// IndexingFilter names the named shadows to index.
type IndexingFilter struct {
	NamedShadowNames []string `json:"namedShadowNames,omitempty"`
}

func (x *Indexing) named(name string) bool {
	return x.Things.NamedShadows == "ON" && x.Things.Filter != nil && slices.Contains(x.Things.Filter.NamedShadowNames, name)
}

// IndexingConfiguration answers GetIndexingConfiguration.
func (r *Registry) IndexingConfiguration() Indexing {
	out := r.indexing
	if out.Things.Mode != IndexingOff {
		out.Things.ManagedFields = []Field{{"thingId", "String"}, {"thingName", "String"}, {"registry.version", "Number"}, {"registry.thingTypeName", "String"},
			{"registry.thingGroupNames", "String"}}
		if out.Things.Mode == IndexingShadow {
			out.Things.ManagedFields = append(out.Things.ManagedFields, Field{"shadow.version", "Number"}, Field{"shadow.hasDelta", "Boolean"})
		}
	}
	return out
}

// UpdateIndexingConfiguration sets what is indexed; a part left out (nil) stays.
// Dynamic groups are built again if that is something else. Connectivity, Device
// Defender and thing groups cannot be indexed here.
func (r *Registry) UpdateIndexingConfiguration(things *ThingIndexing, groups *GroupIndexing) error {
	if groups != nil && groups.Mode != "OFF" {
		return aws.InvalidRequest.Because("thingGroupIndexingMode %.20q: thing groups cannot be indexed here", groups.Mode)
	}
	if things == nil {
		return nil
	}
	next := *things
	def := func(v *string) {
		if *v == "" {
			*v = "OFF"
		}
	}
	def(&next.Connectivity)
	def(&next.DeviceDefender)
	def(&next.NamedShadows)
	next.ManagedFields = nil
	switch {
	case next.Mode != IndexingOff && next.Mode != IndexingRegistry && next.Mode != IndexingShadow:
		return aws.InvalidRequest.Because("thingIndexingMode %.30q: want OFF, REGISTRY or REGISTRY_AND_SHADOW", next.Mode)
	case next.Connectivity != "OFF":
		return aws.InvalidRequest.Because("thingConnectivityIndexingMode %.20q: connectivity cannot be indexed here", next.Connectivity)
	case next.DeviceDefender != "OFF":
		return aws.InvalidRequest.Because("deviceDefenderIndexingMode %.20q: violations cannot be indexed here", next.DeviceDefender)
	case next.NamedShadows != "OFF" && next.NamedShadows != "ON":
		return aws.InvalidRequest.Because("namedShadowIndexingMode %.20q: want OFF or ON", next.NamedShadows)
	}
	if f := next.Filter; f != nil {
		if len(f.NamedShadowNames) > 10 {
			return aws.InvalidRequest.Because("%d named shadows, the limit is 10", len(f.NamedShadowNames))
		}
		for _, name := range f.NamedShadowNames {
			if !aws.Name(name, 64, "$:") {
				return aws.InvalidRequest.Because("namedShadowNames %.70q: want 1 to 64 of [$a-zA-Z0-9:_-]", name)
			}
		}
	}
	for _, f := range next.CustomFields {
		if f.Name == "" || f.Type != "Number" && f.Type != "String" && f.Type != "Boolean" {
			return aws.InvalidRequest.Because("custom field %.80q of type %.20q", f.Name, f.Type)
		}
	}
	r.indexing.Things = next
	for _, g := range r.dynamics {
		g.dynamic.status = groupRebuilding
	}
	return nil
}

// DescribeIndex tells whether the index of things can be searched, and with
// what.
func (r *Registry) DescribeIndex(name string) (status, schema string, err error) {
	if name != thingsIndex || r.indexing.Things.Mode == IndexingOff {
		return "", "", aws.ResourceNotFound.Because("Index %.130s cannot be found.", name)
	}
	if r.indexing.Things.NamedShadows == "ON" {
		return groupActive, "MULTI_INDEXING_MODE", nil
	}
	return groupActive, r.indexing.Things.Mode, nil
}

// Indices lists the indices there are.
func (r *Registry) Indices() []string {
	if r.indexing.Things.Mode == IndexingOff {
		return []string{}
	}
	return []string{thingsIndex}
}
