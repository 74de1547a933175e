package registry

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/otasim/otasim/cloud/aws"
)

// PolicyResponse answers CreatePolicy and GetPolicy.
type PolicyResponse struct {
	PolicyName      string `json:"policyName"`
	PolicyARN       string `json:"policyArn"`
	PolicyDocument  string `json:"policyDocument"`
	PolicyVersionID string `json:"policyVersionId"`
}

func (r *Registry) policyResponse(p *policy) PolicyResponse {
	return PolicyResponse{p.name, r.realm.ARN("policy", p.name), p.inForce.document, strconv.Itoa(p.inForce.id)}
}

// CreatePolicy stores a policy. Errors: MalformedPolicy, ResourceAlreadyExists.
func (r *Registry) CreatePolicy(now time.Time, name, document string) (PolicyResponse, error) {
	if !aws.Name(name, 128, "+=,.@") {
		return PolicyResponse{}, aws.InvalidRequest.Because("policyName %q: want 1 to 128 of [a-zA-Z0-9+=,.@_-]", name)
	}
	if r.policies[name] != nil {
		return PolicyResponse{}, aws.Exists("Policy", name, r.realm.ARN("policy", name))
	}
	v, err := compile(now, 1, document)
	if err != nil {
		return PolicyResponse{}, err
	}
	p := &policy{name: name, versions: []*policyVersion{v}, inForce: v, made: 1}
	r.policies[name] = p
	return r.policyResponse(p), nil
}

// PolicyDescription answers GetPolicy.
type PolicyDescription struct {
	PolicyName       string        `json:"policyName"`
	PolicyARN        string        `json:"policyArn"`
	PolicyDocument   string        `json:"policyDocument"`
	DefaultVersionID string        `json:"defaultVersionId"`
	CreationDate     aws.Timestamp `json:"creationDate"`
	LastModifiedDate aws.Timestamp `json:"lastModifiedDate"`
	GenerationID     string        `json:"generationId"`
}

// GetPolicy returns a policy.
func (r *Registry) GetPolicy(name string) (PolicyDescription, error) {
	p, err := r.policy(name)
	if err != nil {
		return PolicyDescription{}, err
	}
	return PolicyDescription{p.name, r.realm.ARN("policy", p.name), p.inForce.document, strconv.Itoa(p.inForce.id), aws.At(p.versions[0].created), aws.At(p.versions[len(p.versions)-1].created), r.seed.UUID("policy " + name)}, nil
}

// PolicyNameARN is one row of the policy listings.
type PolicyNameARN struct {
	PolicyName string `json:"policyName"`
	PolicyARN  string `json:"policyArn"`
}

// ListPolicies lists all policies by name.
func (r *Registry) ListPolicies() []PolicyNameARN {
	out := make([]PolicyNameARN, 0, len(r.policies))
	for _, name := range slices.Sorted(maps.Keys(r.policies)) {
		out = append(out, PolicyNameARN{name, r.realm.ARN("policy", name)})
	}
	return out
}

// DeletePolicy removes a policy that is attached to nothing and has one version.
func (r *Registry) DeletePolicy(name string) error {
	p, err := r.policy(name)
	if err != nil {
		return err
	}
	switch {
	case p.attached > 0:
		return aws.DeleteConflict.Because("Policy %s is attached to %d targets.", name, p.attached)
	case len(p.versions) > 1:
		return aws.DeleteConflict.Because("Policy %s has %d versions; the others must be deleted first.", name, len(p.versions))
	}
	delete(r.policies, name)
	return nil
}

// AttachPolicy attaches a policy to a certificate or a group; once is enough.
func (r *Registry) AttachPolicy(name, targetARN string) error {
	p, err := r.policy(name)
	if err != nil {
		return err
	}
	list, err := r.target(targetARN)
	if err != nil {
		return err
	}
	if slices.Contains(*list, p) {
		return nil
	}
	if len(*list) >= maxPoliciesPerTarget {
		return aws.LimitExceeded.Because("%d policies are attached already.", len(*list))
	}
	*list = append(*list, p)
	p.attached++
	r.epoch++
	return nil
}

// DetachPolicy ends an attachment; an absent one is fine.
func (r *Registry) DetachPolicy(name, targetARN string) error {
	p, err := r.policy(name)
	if err != nil {
		return err
	}
	list, err := r.target(targetARN)
	if err != nil {
		return err
	}
	if i := slices.Index(*list, p); i >= 0 {
		*list = slices.Delete(*list, i, i+1)
		p.attached--
		r.epoch++
	}
	return nil
}

// ListAttachedPolicies lists the policies of a target, in the order of
// attachment. recursive adds those of the groups above a group.
func (r *Registry) ListAttachedPolicies(targetARN string, recursive bool) ([]PolicyNameARN, error) {
	list, err := r.target(targetARN)
	if err != nil {
		return nil, err
	}
	all := slices.Clone(*list)
	if kind, name, _ := r.realm.Split(targetARN); kind == "thinggroup" && recursive {
		for g := r.groups[name].parent; g != nil; g = g.parent {
			all = append(all, g.policies...)
		}
	}
	out := make([]PolicyNameARN, 0, len(all))
	for i, p := range all {
		if !slices.Contains(all[:i], p) {
			out = append(out, PolicyNameARN{p.name, r.realm.ARN("policy", p.name)})
		}
	}
	return out, nil
}

// ListTargetsForPolicy returns the ARNs a policy is attached to: certificates,
// then groups.
func (r *Registry) ListTargetsForPolicy(name string) ([]string, error) {
	p, err := r.policy(name)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, c := range r.ListCertificates() {
		x, err := r.FindCertificate(c.CertificateID)
		if err != nil {
			return nil, err
		}
		if slices.Contains(x.policies, p) {
			out = append(out, c.CertificateARN)
		}
	}
	for _, g := range r.groupIDs {
		if slices.Contains(g.policies, p) {
			out = append(out, r.realm.ARN("thinggroup", g.name))
		}
	}
	return out, nil
}

// target finds what a policy can be attached to.
func (r *Registry) target(arn string) (*[]*policy, error) {
	switch kind, name, _ := r.realm.Split(arn); kind {
	case "cert":
		c, err := r.FindCertificate(name)
		if err != nil {
			return nil, err
		}
		return &c.policies, nil
	case "thinggroup":
		if g := r.groups[name]; g != nil {
			if g.dynamic != nil {
				return nil, errDynamic(name)
			}
			return &g.policies, nil
		}
		return nil, aws.ResourceNotFound.Because("Thing group %s cannot be found.", name)
	}
	return nil, aws.InvalidRequest.Because("target %.80q is neither a certificate nor a thing group", strings.TrimSpace(arn))
}
