package api

import (
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/aws"
)

// operation is one operation of an API: where it is and what it does. In path,
// {x} stands for one segment and {x+} for all that follow.
type operation struct {
	method, path string
	name         string
	do           func(q *request) (any, error)
}

// operations of the REST services by signing name.
var operations = map[string][]operation{
	IoT: slices.Concat(thingOperations, thingTypeOperations, groupOperations, indexOperations, certificateOperations, policyOperations, provisioningOperations,
		jobOperations, streamOperations, otaOperations, tagOperations),
	JobsData: jobsDataOperations,
	IoTData:  slices.Concat(dataOperations, shadowOperations),
	Signer:   signerOperations,
}

// request is a call that has found its operation.
type request struct {
	now    time.Time
	c      *cloud.Cloud
	opt    *Options
	call   *Call
	params map[string]string
	query  url.Values
}

// operate finds the operation of a call and runs it.
func (h *handler) operate(now time.Time, c *cloud.Cloud, call *Call) (any, error) {
	q := &request{now: now, c: c, opt: &h.opt, call: call}
	if call.Service == ACM {
		out, err := q.acm()
		return out, rename(ACM, err)
	}
	path, rawQuery, _ := strings.Cut(call.Target, "?")
	var err error
	if q.query, err = url.ParseQuery(rawQuery); err != nil {
		return nil, aws.InvalidRequest.Because("query: %v", err)
	}
	segments := strings.Split(strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/"), "/")
	var allowed []string
	for _, o := range operations[call.Service] {
		params, ok := match(o.path, segments)
		if !ok {
			continue
		}
		if o.method != call.Method {
			allowed = append(allowed, o.method)
			continue
		}
		q.params = params
		if call.Chain != nil {
			if err := o.permitted(q); err != nil {
				return nil, err
			}
		}
		if call.Service == IoT {
			if err := c.Admit(now, o.name); err != nil {
				return nil, err
			}
		}
		out, err := o.do(q)
		return out, rename(call.Service, err)
	}
	if allowed != nil {
		return nil, errWrongMethod.Because("%s %s: the path takes %s.", call.Method, path, strings.Join(allowed, ", "))
	}
	return nil, errUnknown.Because("%s has no operation %s %s.", call.Service, call.Method, path)
}

// rename gives an exception the name it has in the models of Signer and
// Certificate Manager.
func rename(service string, err error) error {
	if e := (*aws.Exception)(nil); (service == Signer || service == ACM) && errors.As(err, &e) && e.Name == aws.InvalidRequest.Name {
		return aws.Validation.Because("%s", e.Message)
	}
	return err
}

// match compares a pattern with the raw segments of a path.
func match(pattern string, segments []string) (map[string]string, bool) {
	params := map[string]string{}
	want := strings.Split(pattern[1:], "/")
	for i, w := range want {
		if i >= len(segments) {
			return nil, false
		}
		name, isParam := strings.CutPrefix(w, "{")
		if rest, ok := strings.CutSuffix(name, "+}"); isParam && ok {
			v, err := url.PathUnescape(strings.Join(segments[i:], "/"))
			params[rest] = v
			return params, err == nil && v != ""
		}
		v, err := url.PathUnescape(segments[i])
		switch {
		case err != nil || v == "":
			return nil, false
		case isParam:
			params[strings.TrimSuffix(name, "}")] = v
		case v != w:
			return nil, false
		}
	}
	return params, len(want) == len(segments)
}

func (q *request) body(v any) error { return decode(q.call.Body, v) }

// flag reads a boolean member of the query.
func (q *request) flag(name string) (bool, error) {
	v := q.query.Get(name)
	if v == "" || v == "false" {
		return false, nil
	}
	if v == "true" {
		return true, nil
	}
	return false, aws.InvalidRequest.Because("%s %.40q: want true or false", name, v)
}

// number reads a whole number of the query, 0 when it is absent.
func (q *request) number(name string) (int64, error) {
	v := q.query.Get(name)
	if v == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return 0, aws.InvalidRequest.Because("%s %.40q: want a whole number", name, v)
	}
	return n, nil
}

// page reads the two members of the query that page a listing.
func (q *request) page() (maxResults int, nextToken string, err error) {
	n, err := q.number("maxResults")
	if err == nil && q.query.Has("maxResults") && (n < 1 || n > 250) {
		err = aws.InvalidRequest.Because("maxResults %d: want 1 to 250", n)
	}
	return int(n), q.query.Get("nextToken"), err
}

// paged cuts one page out of a listing.
func paged[T any](q *request, rows []T) (page []T, next *string, err error) {
	n, token, err := q.page()
	if err != nil {
		return nil, nil, err
	}
	return cut(rows, n, token)
}

func cut[T any](rows []T, n int, token string) (page []T, next *string, err error) {
	if n == 0 {
		n = 250
	}
	from := 0
	if token != "" {
		if from, err = strconv.Atoi(token); err != nil || from < 0 {
			return nil, nil, aws.InvalidRequest.Because("nextToken %.40q is not valid", token)
		}
	}
	from = min(from, len(rows))
	to := min(from+n, len(rows))
	if to < len(rows) {
		s := strconv.Itoa(to)
		next = &s
	}
	return append([]T{}, rows[from:to]...), next, nil
}
