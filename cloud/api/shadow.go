package api

import (
	"encoding/json"
	"slices"

	"github.com/otasim/otasim/cloud/aws"
)

var shadowOperations = []operation{
	{"GET", "/things/{thing}/shadow", "GetThingShadow", func(q *request) (any, error) { return q.shadow("get") }},
	{"POST", "/things/{thing}/shadow", "UpdateThingShadow", func(q *request) (any, error) { return q.shadow("update") }},
	{"DELETE", "/things/{thing}/shadow", "DeleteThingShadow", func(q *request) (any, error) { return q.shadow("delete") }},
	{"GET", "/api/things/shadow/ListNamedShadowsForThing/{thing}", "ListNamedShadowsForThing", listNamedShadows},
}

func (q *request) shadow(op string) (any, error) {
	answer, err := q.c.ShadowRequest(q.now, q.params["thing"], q.query.Get("name"), op, q.call.Body)
	return json.RawMessage(answer), err
}

func listNamedShadows(q *request) (any, error) {
	n, err := q.number("pageSize")
	if err == nil && q.query.Has("pageSize") && (n < 1 || n > 100) {
		err = aws.InvalidRequest.Because("pageSize %d: want 1 to 100", n)
	}
	if err != nil {
		return nil, err
	}
	if n == 0 {
		n = 25
	}
	rows, next, err := cut(q.c.NamedShadows(q.params["thing"]), int(n), q.query.Get("nextToken"))
	return struct {
		Results   []string `json:"results"`
		NextToken *string  `json:"nextToken,omitempty"`
		Timestamp int64    `json:"timestamp"`
	}{rows, next, q.now.Unix()}, err
}

// isShadow reports whether an operation is one on the shadow of a thing.
func (o *operation) isShadow() bool {
	return slices.ContainsFunc(shadowOperations, func(x operation) bool { return x.name == o.name })
}
