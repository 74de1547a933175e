package api

import (
	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/registry"
)

// Dynamic thing groups and the index that they are built from.
var indexOperations = []operation{
	{"POST", "/dynamic-thing-groups/{group}", "CreateDynamicThingGroup", createDynamicThingGroup},
	{"PATCH", "/dynamic-thing-groups/{group}", "UpdateDynamicThingGroup", updateDynamicThingGroup},
	{"DELETE", "/dynamic-thing-groups/{group}", "DeleteDynamicThingGroup", deleteDynamicThingGroup},
	{"GET", "/indexing/config", "GetIndexingConfiguration", getIndexingConfiguration},
	{"POST", "/indexing/config", "UpdateIndexingConfiguration", updateIndexingConfiguration},
	{"POST", "/indices/search", "SearchIndex", searchIndex},
	{"GET", "/indices", "ListIndices", listIndices},
	{"GET", "/indices/{index}", "DescribeIndex", describeIndex},
}

type dynamicBody struct {
	Properties      registry.ThingGroupProperties `json:"thingGroupProperties"`
	ExpectedVersion int64                         `json:"expectedVersion"`
	registry.Query
}

func createDynamicThingGroup(q *request) (any, error) {
	var b dynamicBody
	if err := q.body(&b); err != nil {
		return nil, err
	}
	r := registry.CreateDynamicThingGroupRequest{ThingGroupName: q.params["group"], Properties: b.Properties, Query: b.Query}
	return q.created("thinggroup", r.ThingGroupName, func() (any, error) { return q.c.CreateDynamicThingGroup(q.now, r) })
}

func updateDynamicThingGroup(q *request) (any, error) {
	var b dynamicBody
	if err := q.body(&b); err != nil {
		return nil, err
	}
	version, err := q.c.UpdateDynamicThingGroup(q.now, q.params["group"], b.Properties, b.Query, b.ExpectedVersion)
	return struct {
		Version int64 `json:"version"`
	}{version}, err
}

func deleteDynamicThingGroup(q *request) (any, error) {
	return q.deleteGroup(q.c.DeleteDynamicThingGroup)
}

func getIndexingConfiguration(q *request) (any, error) {
	return q.c.Registry().IndexingConfiguration(), nil
}

func updateIndexingConfiguration(q *request) (any, error) {
	var b struct {
		Things *registry.ThingIndexing `json:"thingIndexingConfiguration"`
		Groups *registry.GroupIndexing `json:"thingGroupIndexingConfiguration"`
	}
	if err := q.body(&b); err != nil {
		return nil, err
	}
	return struct{}{}, q.c.UpdateIndexingConfiguration(q.now, b.Things, b.Groups)
}

func searchIndex(q *request) (any, error) {
	var b struct {
		registry.Query
		MaxResults *int   `json:"maxResults"`
		NextToken  string `json:"nextToken"`
	}
	if err := q.body(&b); err != nil {
		return nil, err
	}
	n := 100
	if b.MaxResults != nil {
		if n = *b.MaxResults; n < 1 || n > 500 {
			return nil, aws.InvalidRequest.Because("maxResults %d: want 1 to 500", n)
		}
	}
	all, err := q.c.Registry().SearchIndex(b.Query)
	if err != nil {
		return nil, err
	}
	rows, next, err := cut(all, n, b.NextToken)
	return struct {
		NextToken *string          `json:"nextToken,omitempty"`
		Things    []registry.Found `json:"things"`
	}{next, rows}, err
}

func listIndices(q *request) (any, error) {
	rows, next, err := paged(q, q.c.Registry().Indices())
	return struct {
		IndexNames []string `json:"indexNames"`
		NextToken  *string  `json:"nextToken,omitempty"`
	}{rows, next}, err
}

func describeIndex(q *request) (any, error) {
	status, schema, err := q.c.Registry().DescribeIndex(q.params["index"])
	return struct {
		IndexName   string `json:"indexName"`
		IndexStatus string `json:"indexStatus"`
		Schema      string `json:"schema"`
	}{q.params["index"], status, schema}, err
}
