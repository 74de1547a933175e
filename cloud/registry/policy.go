package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/pki"
)

// ErrPolicy is wrapped by every error about a policy document.
var ErrPolicy = errors.New("malformed policy document")

type policy struct {
	name     string
	versions []*policyVersion // by creation
	inForce  *policyVersion
	made     int // versions, deleted ones too
	attached int
}

// Statement is one compiled statement of a policy document.
type Statement struct {
	deny       bool
	actions    []pattern // lower case
	resources  []pattern
	conditions []condition
}

// pattern is a resource with its wildcards and variables.
type pattern []token

type token struct {
	kind tokenKind
	text string // literal text, or the variable's name
}

type tokenKind uint8

const (
	literal tokenKind = iota
	anyText           // *
	anyChar           // ?
	variable
)

// ParsePolicy compiles a policy document. Conditions that are not known are refused
// rather than ignored.
func ParsePolicy(document string) ([]Statement, error) {
	var doc struct {
		Version   string
		ID        string `json:"Id"`
		Statement json.RawMessage
	}
	if !utf8.ValidString(document) {
		return nil, fmt.Errorf("registry: policy is not UTF-8: %w", ErrPolicy)
	}
	if err := json.Unmarshal([]byte(document), &doc); err != nil {
		return nil, fmt.Errorf("registry: %w: %w", ErrPolicy, err)
	}
	if doc.Version != "2012-10-17" && doc.Version != "2008-10-17" {
		return nil, fmt.Errorf("registry: Version %q: %w", doc.Version, ErrPolicy)
	}
	type statement struct {
		Sid              string
		Effect           string
		Action, Resource strings1
		NotAction        json.RawMessage
		NotResource      json.RawMessage
		Condition        map[string]map[string]strings1
	}
	var list []statement
	if err := json.Unmarshal(doc.Statement, &list); err != nil {
		var one statement
		if err := json.Unmarshal(doc.Statement, &one); err != nil {
			return nil, fmt.Errorf("registry: Statement: %w: %w", ErrPolicy, err)
		}
		list = []statement{one}
	}
	out := make([]Statement, 0, len(list))
	for i, s := range list {
		if s.Effect != "Allow" && s.Effect != "Deny" {
			return nil, fmt.Errorf("registry: Statement[%d].Effect %q: %w", i, s.Effect, ErrPolicy)
		}
		if len(s.Action) == 0 || len(s.Resource) == 0 || s.NotAction != nil || s.NotResource != nil {
			return nil, fmt.Errorf("registry: Statement[%d] needs Action and Resource: %w", i, ErrPolicy)
		}
		c := Statement{deny: s.Effect == "Deny"}
		for _, a := range s.Action {
			p, err := parsePattern(strings.ToLower(a))
			if err != nil {
				return nil, fmt.Errorf("registry: Statement[%d].Action %q: %w", i, a, err)
			}
			c.actions = append(c.actions, p)
		}
		for _, res := range s.Resource {
			p, err := parsePattern(res)
			if err != nil {
				return nil, fmt.Errorf("registry: Statement[%d].Resource %q: %w", i, res, err)
			}
			c.resources = append(c.resources, p)
		}
		conditions, err := parseConditions(s.Condition)
		if err != nil {
			return nil, fmt.Errorf("registry: Statement[%d]: %w", i, err)
		}
		c.conditions = conditions
		out = append(out, c)
	}
	return out, nil
}

// strings1 is a JSON string, a bool, or a list of strings.
type strings1 []string

func (s *strings1) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]string)(s))
	}
	if string(b) == "true" || string(b) == "false" {
		*s = strings1{string(b)}
		return nil
	}
	var one string
	if err := json.Unmarshal(b, &one); err != nil {
		return err
	}
	*s = strings1{one}
	return nil
}

func parsePattern(s string) (pattern, error) {
	var p pattern
	text := func(t string) {
		if n := len(p); n > 0 && p[n-1].kind == literal {
			p[n-1].text += t
		} else {
			p = append(p, token{literal, t})
		}
	}
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '*':
			if n := len(p); n == 0 || p[n-1].kind != anyText {
				p = append(p, token{kind: anyText})
			}
		case s[i] == '?':
			p = append(p, token{kind: anyChar})
		case strings.HasPrefix(s[i:], "${"):
			end := strings.IndexByte(s[i:], '}')
			if end < 0 {
				return nil, fmt.Errorf("unclosed variable: %w", ErrPolicy)
			}
			switch name := s[i+2 : i+end]; name {
			case "*", "?", "$": // escapes
				text(name)
			case "":
				return nil, fmt.Errorf("empty variable: %w", ErrPolicy)
			default:
				p = append(p, token{variable, name})
			}
			i += end
		default:
			text(s[i : i+1])
		}
	}
	return p, nil
}

// match reports whether the pattern covers the whole of s. Text that comes out
// of a variable is literal; an unresolved variable matches nothing.
//
// A failure goes back to the latest * only, so the cost is len(p) * len(s).
func (p pattern) match(s string, resolve func(string) (string, bool)) bool {
	i, star, mark := 0, -1, ""
	for {
		if i < len(p) {
			t := p[i]
			if t.kind == anyText {
				star, mark = i, s
				i++
				continue
			}
			if n, ok := t.width(s, resolve); ok {
				s = s[n:]
				i++
				continue
			}
		} else if s == "" {
			return true
		}
		if star < 0 || mark == "" {
			return false
		}
		_, n := utf8.DecodeRuneInString(mark)
		mark = mark[n:]
		s, i = mark, star+1
	}
}

// width is how much of s one token other than * takes.
func (t token) width(s string, resolve func(string) (string, bool)) (int, bool) {
	switch t.kind {
	case anyChar:
		_, n := utf8.DecodeRuneInString(s)
		return n, n > 0
	case variable:
		text, ok := resolve(t.text)
		return len(text), ok && strings.HasPrefix(s, text)
	}
	return len(t.text), strings.HasPrefix(s, t.text)
}

// Principal is who a connection is: its certificate and its client id.
type Principal struct {
	Certificate *Certificate
	ClientID    string
}

// thing is the registered thing that thing variables speak of: the attached one
// whose name is the client id, or the only one of an exclusive certificate.
func (p Principal) thing() *Thing {
	for _, t := range p.Certificate.things {
		if t.name == p.ClientID || p.Certificate.exclusive {
			return t
		}
	}
	return nil
}

func (p Principal) resolve(name string) (string, bool) {
	const prefix = "iot:Connection.Thing."
	switch {
	case name == "iot:ClientId":
		return p.ClientID, p.ClientID != ""
	case name == "iot:CertificateId":
		return p.Certificate.ID(), true
	case strings.HasPrefix(name, "iot:Certificate."):
		return p.Certificate.variable(name[len("iot:Certificate."):])
	case name == prefix+"IsAttached":
		return fmt.Sprint(p.thing() != nil), true
	case !strings.HasPrefix(name, prefix):
		return "", false
	}
	t := p.thing()
	if t == nil {
		return "", false
	}
	switch name = name[len(prefix):]; {
	case name == "ThingName":
		return t.name, true
	case name == "ThingTypeName":
		return t.typeName, t.typeName != ""
	case strings.HasPrefix(name, "Attributes[") && strings.HasSuffix(name, "]"):
		v, ok := t.attributes[name[len("Attributes["):len(name)-1]]
		return v, ok
	}
	return "", false
}

// Authorize decides whether a principal may do an action ("iot:Publish") on a
// resource, given by kind and name ("topic", "a/b"). A matching Deny wins;
// nothing is allowed that no statement allows.
func (r *Registry) Authorize(p Principal, action, kind, name string) bool {
	if p.Certificate == nil || !p.Certificate.Active() {
		return false
	}
	resource := r.realm.ARN(kind, name)
	action = strings.ToLower(action)
	allowed := false
	judge := func(list []*policy) (denied bool) {
		for _, pol := range list {
			for i := range pol.inForce.statements {
				s := &pol.inForce.statements[i]
				if !s.deny && allowed || !s.applies(p, action, resource) {
					continue
				}
				if s.deny {
					return true
				}
				allowed = true
			}
		}
		return false
	}
	if judge(p.Certificate.policies) || p.Certificate.own != nil && judge([]*policy{p.Certificate.own}) {
		return false
	}
	if t := p.thing(); t != nil {
		for _, m := range t.memberships {
			for g := m.group; g != nil; g = g.parent {
				if judge(g.policies) {
					return false
				}
			}
		}
	}
	return allowed
}

func (s *Statement) applies(p Principal, action, resource string) bool {
	for i := range s.conditions {
		if !s.conditions[i].holds(p) {
			return false
		}
	}
	if !slices.ContainsFunc(s.actions, func(a pattern) bool { return a.match(action, p.resolve) }) {
		return false
	}
	return slices.ContainsFunc(s.resources, func(q pattern) bool { return q.match(resource, p.resolve) })
}

// Authenticate finds the registered certificate of a verified chain.
func (r *Registry) Authenticate(fp pki.Fingerprint) (*Certificate, error) {
	c := r.certs[fp]
	if c == nil {
		return nil, aws.ResourceNotFound.Because("The certificate is not registered.")
	}
	if !c.Active() {
		return nil, aws.CertificateState.Because("The certificate is %s.", c.status)
	}
	return c, nil
}

// OTAPolicy is the standard policy of a device that takes updates over MQTT.
// It speaks of the thing through variables, so that one serves a fleet.
func OTAPolicy(realm aws.Realm) string {
	arn := func(kind, name string) string { return realm.ARN(kind, name) }
	const thing = "${iot:Connection.Thing.ThingName}"
	type statement struct {
		Effect   string
		Action   []string
		Resource []string
	}
	topics := func(kind string) []string {
		return []string{arn(kind, "$aws/things/"+thing+"/streams/*"), arn(kind, "$aws/things/"+thing+"/jobs/*")}
	}
	b, err := json.Marshal(struct {
		Version   string
		Statement []statement
	}{"2012-10-17", []statement{
		{"Allow", []string{"iot:Connect"}, []string{arn("client", thing)}},
		{"Allow", []string{"iot:Subscribe"}, topics("topicfilter")},
		{"Allow", []string{"iot:Publish", "iot:Receive"}, topics("topic")},
	}})
	if err != nil {
		panic(err) // a document of strings always encodes
	}
	return string(b)
}
