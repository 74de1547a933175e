package api

import (
	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/registry"
)

var policyOperations = []operation{
	{"POST", "/policies/{policy}", "CreatePolicy", createPolicy},
	{"GET", "/policies/{policy}", "GetPolicy", getPolicy},
	{"DELETE", "/policies/{policy}", "DeletePolicy", deletePolicy},
	{"GET", "/policies", "ListPolicies", listPolicies},
	{"POST", "/policies/{policy}/version", "CreatePolicyVersion", createPolicyVersion},
	{"GET", "/policies/{policy}/version", "ListPolicyVersions", listPolicyVersions},
	{"GET", "/policies/{policy}/version/{version}", "GetPolicyVersion", getPolicyVersion},
	{"PATCH", "/policies/{policy}/version/{version}", "SetDefaultPolicyVersion", setDefaultPolicyVersion},
	{"DELETE", "/policies/{policy}/version/{version}", "DeletePolicyVersion", deletePolicyVersion},
	{"PUT", "/target-policies/{policy}", "AttachPolicy", attachPolicy},
	{"POST", "/target-policies/{policy}", "DetachPolicy", detachPolicy},
	{"POST", "/attached-policies/{target+}", "ListAttachedPolicies", listAttachedPolicies},
	{"POST", "/policy-targets/{policy}", "ListTargetsForPolicy", listTargetsForPolicy},
	{"PUT", "/principal-policies/{policy}", "AttachPrincipalPolicy", attachPrincipalPolicy},
	{"DELETE", "/principal-policies/{policy}", "DetachPrincipalPolicy", detachPrincipalPolicy},
}

func createPolicy(q *request) (any, error) {
	var b struct {
		PolicyDocument string `json:"policyDocument"`
	}
	if err := q.body(&b); err != nil {
		return nil, err
	}
	return q.created("policy", q.params["policy"], func() (any, error) { return q.c.CreatePolicy(q.now, q.params["policy"], b.PolicyDocument) })
}

func createPolicyVersion(q *request) (any, error) {
	inForce, err := q.flag("setAsDefault")
	if err != nil {
		return nil, err
	}
	var b struct {
		PolicyDocument string `json:"policyDocument"`
	}
	if err := q.body(&b); err != nil {
		return nil, err
	}
	return q.c.Registry().CreatePolicyVersion(q.now, q.params["policy"], b.PolicyDocument, inForce)
}

func listPolicyVersions(q *request) (any, error) {
	list, err := q.c.Registry().ListPolicyVersions(q.params["policy"])
	return struct {
		PolicyVersions []registry.PolicyVersion `json:"policyVersions"`
	}{list}, err
}

func getPolicyVersion(q *request) (any, error) {
	return q.c.Registry().GetPolicyVersion(q.params["policy"], q.params["version"])
}

func setDefaultPolicyVersion(q *request) (any, error) {
	return nil, q.c.Registry().SetDefaultPolicyVersion(q.params["policy"], q.params["version"])
}

func deletePolicyVersion(q *request) (any, error) {
	return nil, q.c.Registry().DeletePolicyVersion(q.params["policy"], q.params["version"])
}

func getPolicy(q *request) (any, error) { return q.c.Registry().GetPolicy(q.params["policy"]) }

func deletePolicy(q *request) (any, error) {
	if err := q.c.Registry().DeletePolicy(q.params["policy"]); err != nil {
		return nil, err
	}
	q.c.ForgetTags(q.c.ARN("policy", q.params["policy"]))
	return nil, nil
}

func listPolicies(q *request) (any, error) {
	return policies(q, q.c.Registry().ListPolicies())
}

func policies(q *request, all []registry.PolicyNameARN) (any, error) {
	n, marker, err := q.markers()
	if err != nil {
		return nil, err
	}
	rows, next, err := cut(all, n, marker)
	return struct {
		Policies   []registry.PolicyNameARN `json:"policies"`
		NextMarker *string                  `json:"nextMarker,omitempty"`
	}{rows, next}, err
}

// policyTarget is what a body says a policy is to be attached to.
func (q *request) policyTarget() (string, error) {
	var b struct {
		Target string `json:"target"`
	}
	if err := q.body(&b); err != nil {
		return "", err
	}
	if b.Target == "" {
		return "", aws.InvalidRequest.Because("target is required")
	}
	return b.Target, nil
}

func attachPolicy(q *request) (any, error) {
	target, err := q.policyTarget()
	if err != nil {
		return nil, err
	}
	return nil, q.c.AttachPolicy(q.now, q.params["policy"], target)
}

func detachPolicy(q *request) (any, error) {
	target, err := q.policyTarget()
	if err != nil {
		return nil, err
	}
	return nil, q.c.DetachPolicy(q.params["policy"], target)
}

func listAttachedPolicies(q *request) (any, error) {
	recursive, err := q.flag("recursive")
	if err != nil {
		return nil, err
	}
	all, err := q.c.Registry().ListAttachedPolicies(q.params["target"], recursive)
	if err != nil {
		return nil, err
	}
	return policies(q, all)
}

func listTargetsForPolicy(q *request) (any, error) {
	all, err := q.c.Registry().ListTargetsForPolicy(q.params["policy"])
	if err != nil {
		return nil, err
	}
	n, marker, err := q.markers()
	if err != nil {
		return nil, err
	}
	rows, next, err := cut(all, n, marker)
	return struct {
		Targets    []string `json:"targets"`
		NextMarker *string  `json:"nextMarker,omitempty"`
	}{rows, next}, err
}

func attachPrincipalPolicy(q *request) (any, error) {
	return nil, q.c.AttachPolicy(q.now, q.params["policy"], q.call.Header.Get("X-Amzn-Iot-Principal"))
}

func detachPrincipalPolicy(q *request) (any, error) {
	return nil, q.c.DetachPolicy(q.params["policy"], q.call.Header.Get("X-Amzn-Iot-Principal"))
}
