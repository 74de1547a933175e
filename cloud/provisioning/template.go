package provisioning

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// ErrTemplate is wrapped by every error about a template body.
var ErrTemplate = errors.New("invalid provisioning template")

// A Plan is what a template makes of one device.
type Plan struct {
	CertificateID string
	Status        string // of the certificate
	Exclusive     bool   // the certificate belongs to this thing alone

	ThingName  string // "" for no thing
	TypeName   string
	Attributes map[string]string
	Groups     []string
	// What becomes of an existing thing that is defined otherwise: DO_NOTHING,
	// REPLACE, FAIL or, but for the type, MERGE.
	OnAttributes, OnType, OnGroups string

	Policies      []Policy
	Configuration map[string]string // for the device
}

// Policy is one policy to attach: an existing one by name, or a document.
type Policy struct{ Name, Document string }

// document is a template body.
type document struct {
	Parameters map[string]struct {
		Type    string
		Default *string
	}
	Mappings            map[string]any
	Resources           map[string]resource
	DeviceConfiguration map[string]any
}

type resource struct {
	Type             string
	Properties       map[string]any
	OverrideSettings map[string]string
}

// Types of resources.
const (
	thingType       = "AWS::IoT::Thing"
	certificateType = "AWS::IoT::Certificate"
	policyType      = "AWS::IoT::Policy"
)

const certificateParameter = "AWS::IoT::Certificate::Id"

var properties = map[string][]string{
	thingType:       {"ThingName", "AttributePayload", "ThingTypeName", "ThingGroups"},
	certificateType: {"CertificateId", "Status", "ThingPrincipalType"},
	policyType:      {"PolicyName", "PolicyDocument"},
}

func parse(body string) (*document, error) {
	if len(body) > maxBody {
		return nil, fmt.Errorf("%d characters, the limit is %d: %w", len(body), maxBody, ErrTemplate)
	}
	d := json.NewDecoder(strings.NewReader(body))
	d.UseNumber()
	d.DisallowUnknownFields()
	t := &document{}
	if err := d.Decode(t); err != nil || d.More() {
		return nil, fmt.Errorf("not a template in JSON (%v): %w", err, ErrTemplate)
	}
	if len(t.Mappings) > 0 {
		return nil, fmt.Errorf("mappings are not known here: %w", ErrTemplate)
	}
	for _, name := range slices.Sorted(maps.Keys(t.Parameters)) {
		if t.Parameters[name].Type != "String" {
			return nil, fmt.Errorf("parameter %q has the type %q, want String: %w", name, t.Parameters[name].Type, ErrTemplate)
		}
	}
	count := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(t.Resources)) {
		r := t.Resources[name]
		known, ok := properties[r.Type]
		if !ok {
			return nil, fmt.Errorf("resource %q has the unknown type %q: %w", name, r.Type, ErrTemplate)
		}
		count[r.Type]++
		for _, p := range slices.Sorted(maps.Keys(r.Properties)) {
			if !slices.Contains(known, p) {
				return nil, fmt.Errorf("resource %q has the unknown property %q: %w", name, p, ErrTemplate)
			}
		}
		for _, k := range slices.Sorted(maps.Keys(r.OverrideSettings)) {
			v := r.OverrideSettings[k]
			merges := v == "MERGE" && k != "ThingTypeName"
			if r.Type != thingType || !slices.Contains([]string{"AttributePayload", "ThingTypeName", "ThingGroups"}, k) || v != "DO_NOTHING" && v != "REPLACE" && v != "FAIL" && !merges {
				return nil, fmt.Errorf("resource %q: OverrideSettings %s: %.40q: %w", name, k, v, ErrTemplate)
			}
		}
		if _, named := r.Properties["PolicyName"]; r.Type == policyType && named == (r.Properties["PolicyDocument"] != nil) {
			return nil, fmt.Errorf("resource %q: want PolicyName or PolicyDocument: %w", name, ErrTemplate)
		}
		if r.Type == thingType && r.Properties["ThingName"] == nil {
			return nil, fmt.Errorf("resource %q has no ThingName: %w", name, ErrTemplate)
		}
	}
	if count[certificateType] != 1 || count[thingType] > 1 {
		return nil, fmt.Errorf("%d certificates and %d things, want one certificate and at most one thing: %w", count[certificateType], count[thingType], ErrTemplate)
	}
	// Expanding it with some value for each parameter finds expressions that nothing
	// can make sense of.
	sample := map[string]string{}
	for name := range t.Parameters {
		sample[name] = "x"
	}
	if _, err := t.expand("0", sample); err != nil && !errors.Is(err, errValue) {
		return nil, err
	}
	return t, nil
}

// errValue marks errors that other parameters may not have.
var errValue = errors.New("value")

// scope is what expressions refer to.
type scope map[string]string

func (t *document) expand(certificate string, parameters map[string]string) (*Plan, error) {
	s := scope{certificateParameter: certificate}
	for _, name := range slices.Sorted(maps.Keys(t.Parameters)) {
		v, given := parameters[name]
		switch p := t.Parameters[name]; {
		case name == certificateParameter:
		case given:
			s[name] = v
		case p.Default != nil:
			s[name] = *p.Default
		default:
			return nil, fmt.Errorf("parameter %q is missing: %w: %w", name, errValue, ErrTemplate)
		}
	}
	p := &Plan{Status: "ACTIVE", OnAttributes: "FAIL", OnType: "FAIL", OnGroups: "MERGE"}
	var err error
	for _, name := range slices.Sorted(maps.Keys(t.Resources)) {
		r := t.Resources[name]
		switch r.Type {
		case thingType:
			err = s.thing(p, &r)
		case certificateType:
			err = s.certificate(p, &r)
		case policyType:
			err = s.policy(p, &r)
		}
		if err != nil {
			return nil, fmt.Errorf("resource %q: %w", name, err)
		}
	}
	if p.Configuration, err = s.texts(t.DeviceConfiguration); err != nil {
		return nil, fmt.Errorf("DeviceConfiguration: %w", err)
	}
	return p, nil
}

func (s scope) thing(p *Plan, r *resource) (err error) {
	if p.ThingName, err = s.text(r.Properties["ThingName"]); err != nil {
		return err
	}
	if v, ok := r.Properties["ThingTypeName"]; ok {
		if p.TypeName, err = s.text(v); err != nil {
			return err
		}
	}
	if v, ok := r.Properties["AttributePayload"]; ok {
		m, isObject := v.(map[string]any)
		if !isObject {
			return fmt.Errorf("AttributePayload is not an object: %w", ErrTemplate)
		}
		if p.Attributes, err = s.texts(m); err != nil {
			return err
		}
	}
	if v, ok := r.Properties["ThingGroups"]; ok {
		if p.Groups, err = s.list(v); err != nil {
			return err
		}
	}
	for k, on := range map[string]*string{"AttributePayload": &p.OnAttributes, "ThingTypeName": &p.OnType, "ThingGroups": &p.OnGroups} {
		if v, ok := r.OverrideSettings[k]; ok {
			*on = v
		}
	}
	return nil
}

func (s scope) certificate(p *Plan, r *resource) error {
	id, err := s.text(r.Properties["CertificateId"])
	if err != nil {
		return fmt.Errorf("CertificateId: %w", err)
	}
	if id != s[certificateParameter] {
		return fmt.Errorf("CertificateId is not that of the request: %w", ErrTemplate)
	}
	if v, ok := r.Properties["Status"]; ok {
		if p.Status, err = s.text(v); err != nil {
			return err
		}
		if p.Status = strings.ToUpper(p.Status); p.Status != "ACTIVE" && p.Status != "INACTIVE" {
			return fmt.Errorf("status %.40q: want ACTIVE or INACTIVE: %w: %w", p.Status, errValue, ErrTemplate)
		}
	}
	if v, ok := r.Properties["ThingPrincipalType"]; ok {
		kind, err := s.text(v)
		if err != nil {
			return err
		}
		if p.Exclusive = kind == "EXCLUSIVE_THING"; !p.Exclusive && kind != "NON_EXCLUSIVE_THING" {
			return fmt.Errorf("ThingPrincipalType %.40q: %w: %w", kind, errValue, ErrTemplate)
		}
	}
	return nil
}

func (s scope) policy(p *Plan, r *resource) (err error) {
	var q Policy
	if v, ok := r.Properties["PolicyName"]; ok {
		q.Name, err = s.text(v)
	} else if m, isObject := r.Properties["PolicyDocument"].(map[string]any); isObject && m["Statement"] != nil {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		err = e.Encode(m)
		q.Document = strings.TrimSpace(b.String())
	} else {
		q.Document, err = s.text(r.Properties["PolicyDocument"])
	}
	p.Policies = append(p.Policies, q)
	return err
}

func (s scope) texts(m map[string]any) (map[string]string, error) {
	if len(m) == 0 {
		return nil, nil
	}
	out := map[string]string{}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		v, err := s.text(m[k])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k, err)
		}
		out[k] = v
	}
	return out, nil
}

// text evaluates an expression: a literal, Ref, Fn::Join, Fn::Select or Fn::Sub.
func (s scope) text(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	case bool:
		return strconv.FormatBool(v), nil
	case map[string]any:
		name, arg, err := function(v)
		if err != nil {
			return "", err
		}
		switch name {
		case "Ref":
			if parameter, ok := arg.(string); ok {
				return s.parameter(parameter)
			}
		case "Fn::Join":
			if delimiter, list, ok := pair(arg); ok {
				words, err := s.list(list)
				return strings.Join(words, delimiter), err
			}
		case "Fn::Select":
			if at, list, ok := pair(arg); ok {
				words, err := s.list(list)
				i, bad := strconv.Atoi(at)
				if err == nil && (bad != nil || i < 0 || i >= len(words)) {
					err = fmt.Errorf("Fn::Select has no element %.20q: %w: %w", at, errValue, ErrTemplate)
				}
				if err != nil {
					return "", err
				}
				return words[i], nil
			}
		case "Fn::Sub":
			return s.sub(arg)
		}
		return "", fmt.Errorf("%s: unknown, or not what it takes: %w", name, ErrTemplate)
	}
	return "", fmt.Errorf("want a text, a number or a function: %w", ErrTemplate)
}

func function(m map[string]any) (name string, arg any, err error) {
	if len(m) != 1 {
		return "", nil, fmt.Errorf("a function is an object with one member: %w", ErrTemplate)
	}
	for name, arg = range m {
		break
	}
	return name, arg, nil
}

// pair takes an argument of two apart, of which the first is text or a number.
func pair(arg any) (first string, second any, ok bool) {
	list, ok := arg.([]any)
	if !ok || len(list) != 2 {
		return "", nil, false
	}
	switch x := list[0].(type) {
	case string:
		return x, list[1], true
	case json.Number:
		return x.String(), list[1], true
	}
	return "", nil, false
}

// list evaluates a list, written out or made by Fn::Split.
func (s scope) list(v any) ([]string, error) {
	switch v := v.(type) {
	case []any:
		out := []string{}
		for _, x := range v {
			w, err := s.text(x)
			if err != nil {
				return nil, err
			}
			out = append(out, w)
		}
		return out, nil
	case map[string]any:
		name, arg, err := function(v)
		if err != nil {
			return nil, err
		}
		if delimiter, source, ok := pair(arg); ok && name == "Fn::Split" && delimiter != "" {
			w, err := s.text(source)
			return strings.Split(w, delimiter), err
		}
	}
	return nil, fmt.Errorf("want a list or Fn::Split: %w", ErrTemplate)
}

func (s scope) parameter(name string) (string, error) {
	if v, ok := s[name]; ok {
		return v, nil
	}
	return "", fmt.Errorf("there is no parameter %.80q: %w", name, ErrTemplate)
}

// sub puts values in the place of ${NAME}; ${!NAME} stands for ${NAME}.
func (s scope) sub(arg any) (string, error) {
	text, ok := arg.(string)
	local := scope{}
	if list, isList := arg.([]any); isList && len(list) == 2 {
		m, isObject := list[1].(map[string]any)
		if text, ok = list[0].(string); !isObject {
			ok = false
		}
		values, err := s.texts(m)
		if err != nil {
			return "", err
		}
		local = values
	}
	if !ok {
		return "", fmt.Errorf("Fn::Sub takes a text, or a text and an object: %w", ErrTemplate)
	}
	var b strings.Builder
	for {
		before, rest, more := strings.Cut(text, "${")
		b.WriteString(before)
		if !more {
			return b.String(), nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return "", fmt.Errorf("Fn::Sub: unclosed ${: %w", ErrTemplate)
		}
		text = after
		if plain, literal := strings.CutPrefix(name, "!"); literal {
			b.WriteString("${" + plain + "}")
			continue
		}
		v, ok := local[name]
		if !ok {
			var err error
			if v, err = s.parameter(name); err != nil {
				return "", err
			}
		}
		b.WriteString(v)
	}
}
