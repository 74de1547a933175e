package registry

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/otasim/otasim/cloud/aws"
)

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
		if parent.dynamic != nil {
			return ThingGroupResponse{}, aws.InvalidRequest.Because("Thing group %s is dynamic and cannot have child groups.", parent.name)
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
		if g.dynamic == nil && g.parent == parent && g.description == req.Description && maps.Equal(g.attributes, req.Attributes) {
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
	if g.dynamic != nil {
		return nil, errDynamic(name)
	}
	return r.deleteGroup(g)
}

func (r *Registry) deleteGroup(g *group) (left []string, err error) {
	name := g.name
	if len(g.children) > 0 {
		return nil, aws.InvalidRequest.Because("Thing group %s has child groups.", name)
	}
	if len(g.policies) > 0 {
		return nil, aws.InvalidRequest.Because("Thing group %s has policies attached.", name)
	}
	for _, t := range g.members {
		if t != nil {
			left = append(left, t.name)
			r.drop(t, t.in(g))
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

// GroupFilter selects groups; empty members match every group.
type GroupFilter struct {
	Parent    string
	Prefix    string
	Recursive bool // with Parent: children of children too
}

// FindThingGroups returns the names of the groups that match a filter, by creation.
func (r *Registry) FindThingGroups(f GroupFilter) ([]string, error) {
	if f.Parent != "" && r.groups[f.Parent] == nil {
		return nil, aws.ResourceNotFound.Because("Thing group %s cannot be found.", f.Parent)
	}
	out := []string{}
	for _, g := range r.groupIDs {
		if strings.HasPrefix(g.name, f.Prefix) && g.under(f.Parent, f.Recursive) {
			out = append(out, g.name)
		}
	}
	return out, nil
}

// under reports whether the group is a child of the named one; every group is
// under "".
func (g *group) under(parent string, recursive bool) bool {
	if parent == "" {
		return true
	}
	for p := g.parent; p != nil; p = p.parent {
		if p.name == parent {
			return true
		}
		if !recursive {
			return false
		}
	}
	return false
}

// ThingGroupDescription answers DescribeThingGroup.
type ThingGroupDescription struct {
	ThingGroupResponse
	Version    int64                `json:"version"`
	Properties ThingGroupProperties `json:"thingGroupProperties"`
	Metadata   ThingGroupMetadata   `json:"thingGroupMetadata"`
	*Query                          // of a dynamic group
	Status     string               `json:"status,omitempty"` // of a dynamic group
}

// ThingGroupProperties are what an operator says about a group.
type ThingGroupProperties struct {
	Description      string            `json:"thingGroupDescription,omitempty"`
	AttributePayload *AttributePayload `json:"attributePayload,omitempty"`
}

// AttributePayload carries attributes; Merge says that those not named stay.
type AttributePayload struct {
	Attributes map[string]string `json:"attributes,omitempty"`
	Merge      bool              `json:"merge,omitempty"`
}

// ThingGroupMetadata is where a group is in the hierarchy.
type ThingGroupMetadata struct {
	ParentGroupName         string         `json:"parentGroupName,omitempty"`
	RootToParentThingGroups []GroupNameARN `json:"rootToParentThingGroups,omitempty"`
	CreationDate            aws.Timestamp  `json:"creationDate"`
}

// GroupNameARN is one row of the group listings.
type GroupNameARN struct {
	GroupName string `json:"groupName"`
	GroupARN  string `json:"groupArn"`
}

// DescribeThingGroup tells about a group.
func (r *Registry) DescribeThingGroup(name string) (ThingGroupDescription, error) {
	g, err := r.group(name)
	if err != nil {
		return ThingGroupDescription{}, err
	}
	d := ThingGroupDescription{ThingGroupResponse: ThingGroupResponse{name, r.realm.ARN("thinggroup", name), r.seed.UUID("group " + name)},
		Version: g.version, Properties: ThingGroupProperties{Description: g.description}, Metadata: ThingGroupMetadata{CreationDate: aws.At(g.created)}}
	if len(g.attributes) > 0 {
		d.Properties.AttributePayload = &AttributePayload{Attributes: maps.Clone(g.attributes)}
	}
	if g.dynamic != nil {
		d.Query, d.Status = &g.dynamic.Query, g.dynamic.status
	}
	for p := g.parent; p != nil; p = p.parent {
		if p == g.parent {
			d.Metadata.ParentGroupName = p.name
		}
		d.Metadata.RootToParentThingGroups = append(d.Metadata.RootToParentThingGroups, GroupNameARN{p.name, r.realm.ARN("thinggroup", p.name)})
	}
	slices.Reverse(d.Metadata.RootToParentThingGroups)
	return d, nil
}

func (r *Registry) group(name string) (*group, error) {
	if g := r.groups[name]; g != nil {
		return g, nil
	}
	return nil, aws.ResourceNotFound.Because("Thing group %s cannot be found.", name)
}

// UpdateThingGroup sets what a group says about itself and returns its version.
func (r *Registry) UpdateThingGroup(name string, p ThingGroupProperties, expectedVersion int64) (version int64, err error) {
	g, err := r.group(name)
	if err != nil {
		return 0, err
	}
	if g.dynamic != nil {
		return 0, errDynamic(name)
	}
	return r.updateGroup(g, p, expectedVersion)
}

func (r *Registry) updateGroup(g *group, p ThingGroupProperties, expectedVersion int64) (version int64, err error) {
	if expectedVersion != 0 && expectedVersion != g.version {
		return 0, aws.VersionConflict.Because("expectedVersion %d, thing group %s has version %d", expectedVersion, g.name, g.version)
	}
	g.description = p.Description
	if a := p.AttributePayload; a != nil {
		next := map[string]string{}
		if a.Merge {
			maps.Copy(next, g.attributes)
		}
		for k, v := range a.Attributes {
			if v == "" {
				delete(next, k)
			} else {
				next[k] = v
			}
		}
		g.attributes = next
	}
	g.version++
	return g.version, nil
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

// AddThingToThingGroup puts a thing into a static group; once is enough.
func (r *Registry) AddThingToThingGroup(thing, groupName string) error {
	t, err := r.thing(thing)
	if err != nil {
		return err
	}
	g, err := r.static(groupName)
	if err != nil {
		return err
	}
	if t.in(g) >= 0 {
		return nil
	}
	if len(t.memberships) >= maxGroupsPerThing {
		return aws.InvalidRequest.Because("a thing is in at most %d groups", maxGroupsPerThing)
	}
	t.join(g)
	r.epoch++
	return nil
}

// static finds a group that things are put into by hand.
func (r *Registry) static(name string) (*group, error) {
	g, err := r.group(name)
	if err == nil && g.dynamic != nil {
		err = errDynamic(name)
	}
	return g, err
}

// in is the place of a group among the thing's memberships, -1 without one.
func (t *Thing) in(g *group) int {
	return slices.IndexFunc(t.memberships, func(m membership) bool { return m.group == g })
}

func (t *Thing) join(g *group) {
	t.memberships = append(t.memberships, membership{g, len(g.members)})
	g.members = append(g.members, t)
	g.count++
}

// UpdateThingGroupsForThing takes a thing out of groups and puts it into others:
// all of it or, with an error, nothing. With override a thing that would be in
// too many groups leaves its latest dynamic ones.
func (r *Registry) UpdateThingGroupsForThing(thing string, add, remove []string, override bool) error {
	t, err := r.thing(thing)
	if err != nil {
		return err
	}
	in := map[string]bool{}
	for _, m := range t.memberships {
		in[m.group.name] = true
	}
	for _, name := range slices.Concat(remove, add) {
		if _, err := r.static(name); err != nil {
			return err
		}
	}
	for _, name := range remove {
		delete(in, name)
	}
	for _, name := range add {
		in[name] = true
	}
	dynamic := 0
	for _, m := range t.memberships {
		if m.group.dynamic != nil {
			dynamic++
		}
	}
	over := len(in) - maxGroupsPerThing
	if over > 0 && (!override || over > dynamic) {
		return aws.InvalidRequest.Because("a thing is in at most %d groups", maxGroupsPerThing)
	}
	for i := len(t.memberships) - 1; i >= 0 && over > 0; i-- {
		if t.memberships[i].group.dynamic != nil {
			r.drop(t, i)
			over--
		}
	}
	for _, name := range remove {
		err = errors.Join(err, r.RemoveThingFromThingGroup(thing, name))
	}
	for _, name := range add {
		err = errors.Join(err, r.AddThingToThingGroup(thing, name))
	}
	return err
}

// RemoveThingFromThingGroup takes a thing out of a static group; a thing that
// is not in it is fine.
func (r *Registry) RemoveThingFromThingGroup(thing, groupName string) error {
	t, err := r.thing(thing)
	if err != nil {
		return err
	}
	g, err := r.static(groupName)
	if err != nil {
		return err
	}
	if i := t.in(g); i >= 0 {
		r.drop(t, i)
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
	if m.group.dynamic == nil { // no policy hangs on a dynamic group
		r.epoch++
	}
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
