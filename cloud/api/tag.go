package api

import (
	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/ota"
)

var tagOperations = []operation{
	{"POST", "/tags", "TagResource", tagResource},
	{"POST", "/untag", "UntagResource", untagResource},
	{"GET", "/tags", "ListTagsForResource", listTags},
}

// created reads the tags of a request that creates a resource, carries the
// request out and keeps the tags.
func (q *request) created(kind, name string, create func() (any, error)) (any, error) {
	var b struct {
		Tags []ota.Tag `json:"tags"`
	}
	if err := q.body(&b); err != nil {
		return nil, err
	}
	if err := cloud.CheckTags(b.Tags); err != nil {
		return nil, err
	}
	out, err := create()
	if err != nil || len(b.Tags) == 0 {
		return out, err
	}
	return out, q.c.TagResource(q.c.ARN(kind, name), b.Tags)
}

func tagResource(q *request) (any, error) {
	var b struct {
		ResourceARN string    `json:"resourceArn"`
		Tags        []ota.Tag `json:"tags"`
	}
	if err := q.body(&b); err != nil {
		return nil, err
	}
	return struct{}{}, q.c.TagResource(b.ResourceARN, b.Tags)
}

func untagResource(q *request) (any, error) {
	var b struct {
		ResourceARN string   `json:"resourceArn"`
		TagKeys     []string `json:"tagKeys"`
	}
	if err := q.body(&b); err != nil {
		return nil, err
	}
	return struct{}{}, q.c.UntagResource(b.ResourceARN, b.TagKeys)
}

func listTags(q *request) (any, error) {
	list, err := q.c.ListTagsForResource(q.query.Get("resourceArn"))
	return struct {
		Tags []ota.Tag `json:"tags"`
	}{append([]ota.Tag{}, list...)}, err
}
