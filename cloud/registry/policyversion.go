package registry

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/otasim/otasim/cloud/aws"
)

const maxPolicyVersions = 5

// policyVersion is one document of a policy.
type policyVersion struct {
	id         int // from 1
	document   string
	statements []Statement
	created    int64
}

// compile checks a policy document.
func compile(now time.Time, id int, document string) (*policyVersion, error) {
	if n := len(strings.Join(strings.Fields(document), "")); n > maxPolicySize {
		return nil, aws.MalformedPolicy.Because("%d characters, the limit is %d", n, maxPolicySize)
	}
	statements, err := ParsePolicy(document)
	if err != nil {
		return nil, aws.MalformedPolicy.Because("%v", err)
	}
	return &policyVersion{id, document, statements, now.UnixNano()}, nil
}

// PolicyVersion is a row of ListPolicyVersions.
type PolicyVersion struct {
	VersionID        string        `json:"versionId"`
	IsDefaultVersion bool          `json:"isDefaultVersion"`
	CreateDate       aws.Timestamp `json:"createDate"`
}

// PolicyVersionDescription answers CreatePolicyVersion and GetPolicyVersion.
type PolicyVersionDescription struct {
	PolicyARN        string        `json:"policyArn"`
	PolicyName       string        `json:"policyName"`
	PolicyDocument   string        `json:"policyDocument"`
	PolicyVersionID  string        `json:"policyVersionId"`
	IsDefaultVersion bool          `json:"isDefaultVersion"`
	CreationDate     aws.Timestamp `json:"creationDate"`
	LastModifiedDate aws.Timestamp `json:"lastModifiedDate"`
}

func (r *Registry) policy(name string) (*policy, error) {
	if p := r.policies[name]; p != nil {
		return p, nil
	}
	return nil, aws.ResourceNotFound.Because("Policy %s cannot be found.", name)
}

func (r *Registry) policyVersion(name, id string) (*policy, *policyVersion, error) {
	p, err := r.policy(name)
	if err != nil {
		return nil, nil, err
	}
	for _, v := range p.versions {
		if strconv.Itoa(v.id) == id {
			return p, v, nil
		}
	}
	return nil, nil, aws.ResourceNotFound.Because("Policy %s has no version %.20s.", name, id)
}

func (r *Registry) describeVersion(p *policy, v *policyVersion) PolicyVersionDescription {
	return PolicyVersionDescription{r.realm.ARN("policy", p.name), p.name, v.document, strconv.Itoa(v.id), v == p.inForce, aws.At(v.created), aws.At(v.created)}
}

// CreatePolicyVersion adds a document to a policy, up to five altogether.
func (r *Registry) CreatePolicyVersion(now time.Time, name, document string, setAsDefault bool) (PolicyVersionDescription, error) {
	p, err := r.policy(name)
	if err != nil {
		return PolicyVersionDescription{}, err
	}
	if len(p.versions) >= maxPolicyVersions {
		return PolicyVersionDescription{}, aws.VersionsLimitExceeded.Because("Policy %s has %d versions already.", name, len(p.versions))
	}
	v, err := compile(now, p.made+1, document)
	if err != nil {
		return PolicyVersionDescription{}, err
	}
	p.made++
	p.versions = append(p.versions, v)
	if setAsDefault {
		p.inForce = v
		r.epoch++
	}
	return r.describeVersion(p, v), nil
}

// GetPolicyVersion returns one version of a policy.
func (r *Registry) GetPolicyVersion(name, id string) (PolicyVersionDescription, error) {
	p, v, err := r.policyVersion(name, id)
	if err != nil {
		return PolicyVersionDescription{}, err
	}
	return r.describeVersion(p, v), nil
}

// ListPolicyVersions lists the versions of a policy, newest first.
func (r *Registry) ListPolicyVersions(name string) ([]PolicyVersion, error) {
	p, err := r.policy(name)
	if err != nil {
		return nil, err
	}
	out := []PolicyVersion{}
	for _, v := range slices.Backward(p.versions) {
		out = append(out, PolicyVersion{strconv.Itoa(v.id), v == p.inForce, aws.At(v.created)})
	}
	return out, nil
}

// SetDefaultPolicyVersion puts a version in force, on all connections at once.
func (r *Registry) SetDefaultPolicyVersion(name, id string) error {
	p, v, err := r.policyVersion(name, id)
	if err != nil {
		return err
	}
	p.inForce = v
	r.epoch++
	return nil
}

// DeletePolicyVersion removes a version that is not in force.
func (r *Registry) DeletePolicyVersion(name, id string) error {
	p, v, err := r.policyVersion(name, id)
	if err != nil {
		return err
	}
	if v == p.inForce {
		return aws.DeleteConflict.Because("Version %s is the default version of policy %s.", id, name)
	}
	p.versions = slices.DeleteFunc(p.versions, func(x *policyVersion) bool { return x == v })
	return nil
}
