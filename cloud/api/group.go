package api

import (
	"strings"
	"time"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/registry"
)

var groupOperations = []operation{
	{"PUT", "/thing-groups/addThingToThingGroup", "AddThingToThingGroup", addThingToThingGroup},
	{"PUT", "/thing-groups/removeThingFromThingGroup", "RemoveThingFromThingGroup", removeThingFromThingGroup},
	{"PUT", "/thing-groups/updateThingGroupsForThing", "UpdateThingGroupsForThing", updateThingGroupsForThing},
	{"POST", "/thing-groups/{group}", "CreateThingGroup", createThingGroup},
	{"GET", "/thing-groups/{group}", "DescribeThingGroup", describeThingGroup},
	{"PATCH", "/thing-groups/{group}", "UpdateThingGroup", updateThingGroup},
	{"DELETE", "/thing-groups/{group}", "DeleteThingGroup", deleteThingGroup},
	{"GET", "/thing-groups", "ListThingGroups", listThingGroups},
	{"GET", "/thing-groups/{group}/things", "ListThingsInThingGroup", listThingsInThingGroup},
	{"GET", "/things/{thing}/thing-groups", "ListThingGroupsForThing", listThingGroupsForThing},
}

type groupBody struct {
	ParentGroupName string                        `json:"parentGroupName"`
	Properties      registry.ThingGroupProperties `json:"thingGroupProperties"`
	ExpectedVersion int64                         `json:"expectedVersion"`
}

func createThingGroup(q *request) (any, error) {
	var b groupBody
	if err := q.body(&b); err != nil {
		return nil, err
	}
	r := registry.CreateThingGroupRequest{ThingGroupName: q.params["group"], ParentGroupName: b.ParentGroupName, Description: b.Properties.Description}
	if p := b.Properties.AttributePayload; p != nil {
		r.Attributes = p.Attributes
	}
	return q.created("thinggroup", r.ThingGroupName, func() (any, error) { return q.c.CreateThingGroup(q.now, r) })
}

func describeThingGroup(q *request) (any, error) {
	return q.c.Registry().DescribeThingGroup(q.params["group"])
}

func updateThingGroup(q *request) (any, error) {
	var b groupBody
	if err := q.body(&b); err != nil {
		return nil, err
	}
	version, err := q.c.Registry().UpdateThingGroup(q.params["group"], b.Properties, b.ExpectedVersion)
	return struct {
		Version int64 `json:"version"`
	}{version}, err
}

func deleteThingGroup(q *request) (any, error) {
	return q.deleteGroup(q.c.DeleteThingGroup)
}

// deleteGroup removes a thing group with its tags if its version is the expected
// one.
func (q *request) deleteGroup(remove func(now time.Time, name string) error) (any, error) {
	want, err := q.number("expectedVersion")
	if err != nil {
		return nil, err
	}
	name := q.params["group"]
	if d, err := q.c.Registry().DescribeThingGroup(name); err == nil && want != 0 && want != d.Version {
		return nil, aws.VersionConflict.Because("expectedVersion %d, thing group %s has version %d", want, name, d.Version)
	}
	if err := remove(q.now, name); err != nil {
		return nil, err
	}
	q.c.ForgetTags(q.c.ARN("thinggroup", name))
	return struct{}{}, nil
}

func listThingGroups(q *request) (any, error) {
	recursive, err := q.flag("recursive")
	if err != nil {
		return nil, err
	}
	all, err := q.c.Registry().FindThingGroups(registry.GroupFilter{Parent: q.query.Get("parentGroup"), Prefix: q.query.Get("namePrefixFilter"), Recursive: recursive})
	if err != nil {
		return nil, err
	}
	return groupNames(q, all)
}

func groupNames(q *request, all []string) (any, error) {
	names, next, err := paged(q, all)
	rows := make([]registry.GroupNameARN, len(names))
	for i, n := range names {
		rows[i] = registry.GroupNameARN{GroupName: n, GroupARN: q.c.ARN("thinggroup", n)}
	}
	return struct {
		ThingGroups []registry.GroupNameARN `json:"thingGroups"`
		NextToken   *string                 `json:"nextToken,omitempty"`
	}{rows, next}, err
}

func listThingsInThingGroup(q *request) (any, error) {
	recursive, err := q.flag("recursive")
	if err != nil {
		return nil, err
	}
	all, err := q.c.ListThingsInThingGroup(q.params["group"], recursive)
	if err != nil {
		return nil, err
	}
	return thingNames(q, all)
}

func listThingGroupsForThing(q *request) (any, error) {
	all, err := q.c.Registry().ListThingGroupsForThing(q.params["thing"])
	if err != nil {
		return nil, err
	}
	return groupNames(q, all)
}

// membership reads which thing and which group a body means, by name or ARN.
func (q *request) membership() (thing, group string, err error) {
	var b struct {
		ThingGroupName string `json:"thingGroupName"`
		ThingGroupARN  string `json:"thingGroupArn"`
		ThingName      string `json:"thingName"`
		ThingARN       string `json:"thingArn"`
	}
	if err = q.body(&b); err != nil {
		return "", "", err
	}
	if thing, err = q.named("thing", b.ThingName, b.ThingARN); err != nil {
		return "", "", err
	}
	group, err = q.named("thinggroup", b.ThingGroupName, b.ThingGroupARN)
	return thing, group, err
}

func (q *request) named(kind, name, arn string) (string, error) {
	fromARN, ok := strings.CutPrefix(arn, q.c.ARN(kind, ""))
	switch {
	case arn != "" && !ok:
		return "", aws.InvalidRequest.Because("%.120q is not the ARN of a %s", arn, kind)
	case name == "" && arn == "":
		return "", aws.InvalidRequest.Because("the name or ARN of the %s is required", kind)
	case name != "" && arn != "" && name != fromARN:
		return "", aws.InvalidRequest.Because("name and ARN of the %s differ", kind)
	case name == "":
		return fromARN, nil
	}
	return name, nil
}

func addThingToThingGroup(q *request) (any, error) {
	thing, group, err := q.membership()
	if err != nil {
		return nil, err
	}
	var b struct {
		Override bool `json:"overrideDynamicGroups"`
	}
	if err := q.body(&b); err != nil {
		return nil, err
	}
	if b.Override {
		return struct{}{}, q.c.UpdateThingGroupsForThing(q.now, thing, []string{group}, nil, true)
	}
	return struct{}{}, q.c.AddThingToThingGroup(q.now, thing, group)
}

func removeThingFromThingGroup(q *request) (any, error) {
	thing, group, err := q.membership()
	if err != nil {
		return nil, err
	}
	return struct{}{}, q.c.RemoveThingFromThingGroup(q.now, thing, group)
}

func updateThingGroupsForThing(q *request) (any, error) {
	var b struct {
		ThingName           string   `json:"thingName"`
		ThingGroupsToAdd    []string `json:"thingGroupsToAdd"`
		ThingGroupsToRemove []string `json:"thingGroupsToRemove"`
		Override            bool     `json:"overrideDynamicGroups"`
	}
	if err := q.body(&b); err != nil {
		return nil, err
	}
	return struct{}{}, q.c.UpdateThingGroupsForThing(q.now, b.ThingName, b.ThingGroupsToAdd, b.ThingGroupsToRemove, b.Override)
}
