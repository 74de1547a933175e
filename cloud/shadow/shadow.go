// Package shadow is the Device Shadow service: for each thing a classic shadow
// and named ones, JSON documents in which a device reports its state and
// others write the state they desire.
//
//	$aws/things/THING/shadow[/name/NAME]/{update,get,delete}      requests
//	                                    .../{accepted,rejected}   answers
//	                                    /update/{delta,documents} what followed
//
// Source: AWS IoT Core Developer Guide, pages device-shadow-mqtt,
// device-shadow-document, device-shadow-error-messages; API model
// iot-data/2015-05-28.
package shadow

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/otasim/otasim/cloud/aws"
)

// Limits of one shadow.
const (
	MaxDocument = 8 << 10 // bytes of desired and reported state
	MaxName     = 64
	maxDepth    = 6
	maxToken    = 64
)

// Service is the state of all shadows of one account. It is not safe for
// concurrent use. The zero value is ready.
type Service struct {
	things map[string]map[string]*document
}

type document struct {
	deleted           bool // only the version is left
	version           int64
	desired, reported tree
	since             map[string]tree // "desired", "reported": when each leaf was set
}

// tree is a JSON object.
type tree = map[string]any

// An Error is a rejection.
type Error struct {
	Code    int // HTTP status
	Message string
}

func (e *Error) Error() string { return e.Message }

func fail(code int, message string) *Error { return &Error{code, message} }

// An Answer is one message that a request leads to: what follows the shadow's
// prefix in its topic, and the payload.
type Answer struct {
	Topic   string
	Payload []byte
}

// Handle answers a request: name is "" for the classic shadow, op one of
// update, get and delete. The first answer is the one to the requester; delta
// and documents follow an update if want says so of their topics. changed
// reports whether the shadow is another one now.
func (s *Service) Handle(now time.Time, thing, name, op string, payload []byte, want func(topic string) bool) (out []Answer, changed bool) {
	var r request
	err := r.parse(payload, op)
	var answer tree
	var before, after tree
	if err == nil {
		switch op {
		case "update":
			if answer, before, err = s.update(now, thing, name, &r, want("update/documents")); err == nil {
				after = s.things[thing][name].full()
			}
		case "get":
			answer, err = s.get(now, thing, name)
		default:
			answer, err = s.remove(now, thing, name)
		}
	}
	if err != nil {
		answer = tree{"code": err.Code, "message": err.Message, "timestamp": now.Unix()}
		r.token(answer)
		return []Answer{{op + "/rejected", encode(answer)}}, false
	}
	r.token(answer)
	out = []Answer{{op + "/accepted", encode(answer)}}
	if op != "update" {
		return out, op == "delete"
	}
	d := s.things[thing][name]
	if state, since := d.delta(); len(state) > 0 && want("update/delta") {
		delta := tree{"version": d.version, "timestamp": now.Unix(), "state": state, "metadata": since}
		r.token(delta)
		out = append(out, Answer{"update/delta", encode(delta)})
	}
	if before != nil {
		documents := tree{"previous": before, "current": after, "timestamp": now.Unix()}
		r.token(documents)
		out = append(out, Answer{"update/documents", encode(documents)})
	}
	return out, true
}

// Request is Handle for a caller over HTTPS: the payload of the answer, or an
// exception.
func (s *Service) Request(now time.Time, thing, name, op string, payload []byte) (answer []byte, changed bool, err error) {
	if !aws.ThingName(thing) {
		return nil, false, aws.InvalidRequest.Because("thingName %.140q: want 1 to 128 of [a-zA-Z0-9:_-]", thing)
	}
	if name != "" && !Name(name) {
		return nil, false, aws.InvalidRequest.Because("name %.70q: want 1 to 64 of [$a-zA-Z0-9:_-]", name)
	}
	out, changed := s.Handle(now, thing, name, op, payload, func(string) bool { return false })
	if strings.HasSuffix(out[0].Topic, "/accepted") {
		return out[0].Payload, changed, nil
	}
	var e Error
	if err := json.Unmarshal(out[0].Payload, &e); err != nil {
		return nil, false, err
	}
	switch e.Code {
	case 404:
		return nil, false, aws.ResourceNotFound.Because("%s", e.Message)
	case 409:
		return nil, false, aws.Conflict.Because("%s", e.Message)
	case 413:
		return nil, false, aws.TooLarge.Because("%s", e.Message)
	}
	return nil, false, aws.InvalidRequest.Because("%s", e.Message)
}

// Name reports whether a shadow may have a name.
func Name(s string) bool { return aws.Name(s, MaxName, "$:") }

// Names lists the named shadows of a thing by name.
func (s *Service) Names(thing string) []string {
	out := []string{}
	for _, name := range slices.Sorted(maps.Keys(s.things[thing])) {
		if name != "" && !s.things[thing][name].deleted {
			out = append(out, name)
		}
	}
	return out
}

// request is the body of an update.
type request struct {
	State       *tree
	ClientToken *string
	Version     *json.Number
}

func (r *request) token(answer tree) {
	if r.ClientToken != nil {
		answer["clientToken"] = *r.ClientToken
	}
}

func (r *request) parse(payload []byte, op string) *Error {
	if len(bytes.TrimSpace(payload)) == 0 && op != "update" {
		return nil
	}
	if !utf8.Valid(payload) {
		return fail(415, "Unsupported documented encoding; supported encoding is UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	var body any
	if err := d.Decode(&body); err != nil || d.More() {
		return fail(400, "Invalid JSON")
	}
	top, ok := body.(tree)
	if !ok {
		if op != "update" {
			return nil
		}
		return fail(400, "Missing required node: state")
	}
	if v, ok := top["clientToken"]; ok {
		text, ok := v.(string)
		if !ok || len(text) > maxToken {
			return fail(400, "Invalid clientToken")
		}
		r.ClientToken = &text
	}
	if op != "update" {
		return nil
	}
	if v, ok := top["version"]; ok && v != nil {
		n, ok := v.(json.Number)
		if !ok {
			return fail(400, "Invalid version")
		}
		r.Version = &n
	}
	state, ok := top["state"]
	if !ok {
		return fail(400, "Missing required node: state")
	}
	object, ok := state.(tree)
	if !ok {
		return fail(400, "State node must be an object")
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		v := object[name]
		if name != "desired" && name != "reported" {
			return fail(400, "State contains an invalid node")
		}
		if _, isObject := v.(tree); v != nil && !isObject {
			return fail(400, strings.ToUpper(name[:1])+name[1:]+" node must be an object")
		}
	}
	for _, name := range []string{"desired", "reported"} {
		if depth(object[name]) > maxDepth {
			return fail(400, "JSON contains too many levels of nesting; maximum is 6")
		}
	}
	r.State = &object
	return nil
}

func depth(v any) int {
	deepest := 0
	switch v := v.(type) {
	case tree:
		for _, x := range v {
			deepest = max(deepest, depth(x))
		}
	case []any:
		for _, x := range v {
			deepest = max(deepest, depth(x))
		}
	default:
		return 0
	}
	return deepest + 1
}

func (s *Service) update(now time.Time, thing, name string, r *request, wantBefore bool) (answer, before tree, err *Error) {
	old := s.things[thing][name]
	if old == nil {
		old = &document{deleted: true}
	}
	if r.Version != nil {
		if want, err := r.Version.Int64(); err != nil {
			return nil, nil, fail(400, "Invalid version")
		} else if want != old.version {
			return nil, nil, fail(409, "Version conflict")
		}
	}
	next := &document{version: old.version + 1, desired: old.desired, reported: old.reported, since: map[string]tree{}}
	maps.Copy(next.since, old.since)
	since := tree{}
	for _, section := range []string{"desired", "reported"} {
		v, ok := (*r.State)[section]
		if !ok {
			continue
		}
		state := &next.desired
		if section == "reported" {
			state = &next.reported
		}
		if v == nil {
			*state = nil
			delete(next.since, section)
			continue
		}
		part, _ := v.(tree)
		*state = merged(*state, part)
		next.since[section] = stamped(next.since[section], part, now.Unix())
		since[section] = stamped(nil, part, now.Unix())
	}
	if len(encode(tree{"desired": next.desired, "reported": next.reported})) > MaxDocument+len(`{"desired":,"reported":}`) {
		return nil, nil, fail(413, "The payload exceeds the maximum size allowed")
	}
	if wantBefore {
		before = old.full()
	}
	if s.things == nil {
		s.things = map[string]map[string]*document{}
	}
	if s.things[thing] == nil {
		s.things[thing] = map[string]*document{}
	}
	s.things[thing][name] = next
	return tree{"state": *r.State, "metadata": since, "version": next.version, "timestamp": now.Unix()}, before, nil
}

func (s *Service) find(thing, name string) (*document, *Error) {
	if d := s.things[thing][name]; d != nil && !d.deleted {
		return d, nil
	}
	if name == "" {
		name = thing
	}
	return nil, fail(404, "No shadow exists with name: '"+name+"'")
}

func (s *Service) get(now time.Time, thing, name string) (tree, *Error) {
	d, err := s.find(thing, name)
	if err != nil {
		return nil, err
	}
	out := d.full()
	if delta, _ := d.delta(); len(delta) > 0 {
		out["state"].(tree)["delta"] = delta
	}
	out["timestamp"] = now.Unix()
	return out, nil
}

// remove deletes a shadow; its version lives on.
func (s *Service) remove(now time.Time, thing, name string) (tree, *Error) {
	d, err := s.find(thing, name)
	if err != nil {
		return nil, err
	}
	s.things[thing][name] = &document{deleted: true, version: d.version}
	return tree{"version": d.version, "timestamp": now.Unix()}, nil
}

// full is state, metadata and version.
func (d *document) full() tree {
	state, since := tree{}, tree{}
	for _, x := range []struct {
		name string
		t    tree
	}{{"desired", d.desired}, {"reported", d.reported}} {
		if len(x.t) > 0 {
			state[x.name], since[x.name] = x.t, d.since[x.name]
		}
	}
	return tree{"state": state, "metadata": since, "version": d.version}
}

// delta is what is desired and not reported, and since when.
func (d *document) delta() (state, since tree) {
	return different(d.desired, d.reported, d.since["desired"])
}

func different(desired, reported, stamps tree) (state, since tree) {
	state, since = tree{}, tree{}
	for k, want := range desired {
		is, ok := reported[k]
		if !ok {
			state[k], since[k] = want, stamps[k]
			continue
		}
		x, isTree := want.(tree)
		y, alsoTree := is.(tree)
		if isTree && alsoTree {
			stamp, _ := stamps[k].(tree)
			if inner, when := different(x, y, stamp); len(inner) > 0 {
				state[k], since[k] = inner, when
			}
		} else if !bytes.Equal(encode(want), encode(is)) {
			state[k], since[k] = want, stamps[k]
		}
	}
	return state, since
}

// merged lays an update over a state: null removes, objects merge, anything
// else replaces. Neither argument changes.
func merged(state, update tree) tree {
	out := maps.Clone(state)
	if out == nil {
		out = tree{}
	}
	for k, v := range update {
		switch v := v.(type) {
		case nil:
			delete(out, k)
		case tree:
			inner, _ := out[k].(tree)
			if inner = merged(inner, v); len(inner) > 0 {
				out[k] = inner
			} else {
				delete(out, k)
			}
		default:
			out[k] = v
		}
	}
	return out
}

// stamped is merged for the times at which the leaves were set.
func stamped(stamps, update tree, now int64) tree {
	out := maps.Clone(stamps)
	if out == nil {
		out = tree{}
	}
	for k, v := range update {
		switch v := v.(type) {
		case nil:
			delete(out, k)
		case tree:
			inner, _ := out[k].(tree)
			if _, isLeaf := inner["timestamp"].(int64); isLeaf {
				inner = nil
			}
			if inner = stamped(inner, v, now); len(inner) > 0 {
				out[k] = inner
			} else {
				delete(out, k)
			}
		default:
			out[k] = stamp(v, now)
		}
	}
	return out
}

func stamp(v any, now int64) any {
	switch v := v.(type) {
	case []any:
		list := make([]any, len(v))
		for i, x := range v {
			list[i] = stamp(x, now)
		}
		return list
	case tree:
		return stamped(nil, v, now)
	}
	return tree{"timestamp": now}
}

func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil {
		return []byte("{}") // unreachable: it came out of JSON
	}
	return bytes.TrimSpace(b.Bytes())
}

// Values visits the values of a field for fleet indexing, named as its queries
// do: "shadow.reported.a.b", "shadow.name.NAME.desired.c", "shadow.hasDelta"; with
// "" all values of all shadows. It reports whether visit wanted more.
func (s *Service) Values(thing, field string, named func(name string) bool, visit func(value string) bool) bool {
	if field == "" {
		for _, name := range slices.Sorted(maps.Keys(s.things[thing])) {
			d := s.things[thing][name]
			if name != "" && !named(name) {
				continue
			}
			if !leaves(d.desired, visit) || !leaves(d.reported, visit) {
				return false
			}
		}
		return true
	}
	rest, ok := strings.CutPrefix(field, "shadow.")
	if !ok {
		return true
	}
	name := ""
	if tail, ok := strings.CutPrefix(rest, "name."); ok {
		if name, rest, ok = strings.Cut(tail, "."); !ok || !named(name) {
			return true
		}
	}
	d := s.things[thing][name]
	if d == nil || d.deleted {
		return true
	}
	if rest == "hasDelta" {
		delta, _ := d.delta()
		return visit(strconv.FormatBool(len(delta) > 0))
	}
	section, path, _ := strings.Cut(rest, ".")
	var root tree
	switch section {
	case "desired":
		root = d.desired
	case "reported":
		root = d.reported
	case "delta":
		root, _ = d.delta()
	}
	return lookup(root, path, visit)
}

// lookup follows a path whose members may have dots of their own.
func lookup(t tree, path string, visit func(string) bool) bool {
	for i := 0; i <= len(path); i++ {
		if i < len(path) && path[i] != '.' {
			continue
		}
		v, ok := t[path[:i]]
		if !ok {
			continue
		}
		if i == len(path) {
			if !leaves(v, visit) {
				return false
			}
		} else if inner, ok := v.(tree); ok && !lookup(inner, path[i+1:], visit) {
			return false
		}
	}
	return true
}

func leaves(v any, visit func(string) bool) bool {
	switch v := v.(type) {
	case tree:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if !leaves(v[k], visit) {
				return false
			}
		}
	case []any:
		for _, x := range v {
			if !leaves(x, visit) {
				return false
			}
		}
	case string:
		return visit(v)
	case json.Number:
		return visit(v.String())
	case bool:
		return visit(strconv.FormatBool(v))
	}
	return true
}

// Indexed is the JSON that SearchIndex shows of a thing's shadows, "" without
// any.
func (s *Service) Indexed(thing string, named func(name string) bool) string {
	out, names := tree{}, tree{}
	for name, d := range s.things[thing] {
		if d.deleted || name != "" && !named(name) {
			continue
		}
		one := d.full()
		delta, _ := d.delta()
		shown := tree{"metadata": one["metadata"], "version": d.version, "hasDelta": len(delta) > 0}
		for k, v := range one["state"].(tree) {
			shown[k] = v
		}
		if name == "" {
			out = shown
		} else {
			names[name] = shown
		}
	}
	if len(names) > 0 {
		out["name"] = names
	}
	if len(out) == 0 {
		return ""
	}
	return string(encode(out))
}
