package registry

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// condition is one key of a statement's Condition. Values are alternatives.
type condition struct {
	key     string
	values  []pattern
	fold    bool // upper and lower case are the same
	negated bool // none of the values may hold
}

// operators of conditions: like takes wildcards.
var operators = map[string]struct{ like, fold, negated, boolean bool }{
	"StringEquals":              {},
	"StringNotEquals":           {negated: true},
	"StringEqualsIgnoreCase":    {fold: true},
	"StringNotEqualsIgnoreCase": {fold: true, negated: true},
	"StringLike":                {like: true},
	"StringNotLike":             {like: true, negated: true},
	"Bool":                      {fold: true, boolean: true},
}

// parseConditions compiles the conditions of a statement. Operators and keys that
// are not known are refused, since nobody could tell whether they hold.
func parseConditions(all map[string]map[string]strings1) (out []condition, err error) {
	for _, op := range slices.Sorted(maps.Keys(all)) {
		o, known := operators[op]
		for _, key := range slices.Sorted(maps.Keys(all[op])) {
			if !known || key != "iot:ClientId" && !strings.HasPrefix(key, "iot:Connection.Thing.") && !strings.HasPrefix(key, "iot:Certificate") {
				return nil, fmt.Errorf("condition %s on %s is not supported: %w", op, key, ErrPolicy)
			}
			c := condition{key: key, fold: o.fold, negated: o.negated}
			for _, v := range all[op][key] {
				if o.boolean && v != "true" && v != "false" {
					return nil, fmt.Errorf("condition %s on %s: %.20q: %w", op, key, v, ErrPolicy)
				}
				if o.fold {
					v = strings.ToLower(v)
				}
				p, err := parsePattern(v)
				if err != nil {
					return nil, fmt.Errorf("condition %s on %s: %w", op, key, err)
				}
				if !o.like {
					p.literally()
				}
				c.values = append(c.values, p)
			}
			if len(c.values) == 0 {
				return nil, fmt.Errorf("condition %s on %s has no value: %w", op, key, ErrPolicy)
			}
			out = append(out, c)
		}
	}
	return out, nil
}

// literally takes the meaning from wildcards.
func (p pattern) literally() {
	for i := range p {
		switch p[i].kind {
		case anyText:
			p[i] = token{literal, "*"}
		case anyChar:
			p[i] = token{literal, "?"}
		}
	}
}

// holds reports whether a condition is true of a principal. Without a value for its
// key only a negated one is.
func (c *condition) holds(p Principal) bool {
	v, ok := p.resolve(c.key)
	if !ok {
		return c.negated
	}
	resolve := p.resolve
	if c.fold {
		v = strings.ToLower(v)
		resolve = func(name string) (string, bool) {
			v, ok := p.resolve(name)
			return strings.ToLower(v), ok
		}
	}
	return slices.ContainsFunc(c.values, func(q pattern) bool { return q.match(v, resolve) }) != c.negated
}

// nameArcs are the parts of a distinguished name, by the last arc of 2.5.4.
var nameArcs = map[string]int{"CommonName": 3, "Surname": 4, "SerialNumber": 5, "Country": 6, "State": 8, "Organization": 10, "OrganizationalUnit": 11, "Title": 12,
	"GivenName": 42, "Initials": 43, "GenerationQualifier": 44, "DistinguishedNameQualifier": 46, "Pseudonym": 65}

// variable is what a policy calls iot:Certificate.NAME.
func (c *Certificate) variable(name string) (string, bool) {
	if name == "Id" {
		return c.ID(), true
	}
	if c.parsed == nil {
		x, err := x509.ParseCertificate(c.der)
		if err != nil {
			return "", false
		}
		c.parsed = x
	}
	first := func(list []string) (string, bool) {
		if len(list) == 0 {
			return "", false
		}
		return list[0], true
	}
	switch name {
	case "SerialNumber":
		return c.parsed.SerialNumber.Text(16), true
	case "Subject.AlternativeName.DNSName":
		return first(c.parsed.DNSNames)
	case "Subject.AlternativeName.RFC822Name":
		return first(c.parsed.EmailAddresses)
	case "Subject.AlternativeName.UniformResourceIdentifier":
		if len(c.parsed.URIs) > 0 {
			return c.parsed.URIs[0].String(), true
		}
		return "", false
	case "Subject.AlternativeName.IPAddress":
		if len(c.parsed.IPAddresses) > 0 {
			return c.parsed.IPAddresses[0].String(), true
		}
		return "", false
	}
	if part, ok := strings.CutPrefix(name, "Subject."); ok {
		return namePart(&c.parsed.Subject, part)
	}
	if part, ok := strings.CutPrefix(name, "Issuer."); ok {
		return namePart(&c.parsed.Issuer, part)
	}
	return "", false
}

// namePart is the first value of a part of a distinguished name.
func namePart(n *pkix.Name, part string) (string, bool) {
	arc, ok := nameArcs[part]
	if !ok {
		return "", false
	}
	for _, a := range n.Names {
		if a.Type.Equal([]int{2, 5, 4, arc}) {
			v, isText := a.Value.(string)
			return v, isText
		}
	}
	return "", false
}
