package api

import (
	"strings"

	"github.com/otasim/otasim/cloud/registry"
)

var thingTypeOperations = []operation{
	{"POST", "/thing-types/{type}", "CreateThingType", createThingType},
	{"GET", "/thing-types/{type}", "DescribeThingType", describeThingType},
	{"GET", "/thing-types", "ListThingTypes", listThingTypes},
	{"POST", "/thing-types/{type}/deprecate", "DeprecateThingType", deprecateThingType},
	{"DELETE", "/thing-types/{type}", "DeleteThingType", deleteThingType},
}

func createThingType(q *request) (any, error) {
	var b struct {
		Properties registry.ThingTypeProperties `json:"thingTypeProperties"`
	}
	if err := q.body(&b); err != nil {
		return nil, err
	}
	return q.created("thingtype", q.params["type"], func() (any, error) {
		d, err := q.c.Registry().CreateThingType(q.now, q.params["type"], b.Properties)
		return struct {
			ThingTypeName string `json:"thingTypeName"`
			ThingTypeARN  string `json:"thingTypeArn"`
			ThingTypeID   string `json:"thingTypeId"`
		}{d.ThingTypeName, d.ThingTypeARN, d.ThingTypeID}, err
	})
}

func describeThingType(q *request) (any, error) {
	return q.c.Registry().DescribeThingType(q.params["type"])
}

func listThingTypes(q *request) (any, error) {
	all := q.c.Registry().ListThingTypes()
	if name := q.query.Get("thingTypeName"); name != "" {
		kept := all[:0]
		for _, d := range all {
			if strings.HasPrefix(d.ThingTypeName, name) {
				kept = append(kept, d)
			}
		}
		all = kept
	}
	rows, next, err := paged(q, all)
	return struct {
		ThingTypes []registry.ThingTypeDescription `json:"thingTypes"`
		NextToken  *string                         `json:"nextToken,omitempty"`
	}{rows, next}, err
}

func deprecateThingType(q *request) (any, error) {
	var b struct {
		Undo bool `json:"undoDeprecate"`
	}
	if err := q.body(&b); err != nil {
		return nil, err
	}
	return struct{}{}, q.c.Registry().DeprecateThingType(q.now, q.params["type"], b.Undo)
}

func deleteThingType(q *request) (any, error) {
	if err := q.c.Registry().DeleteThingType(q.now, q.params["type"]); err != nil {
		return nil, err
	}
	q.c.ForgetTags(q.c.ARN("thingtype", q.params["type"]))
	return struct{}{}, nil
}
