package api

import (
	"strconv"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/provisioning"
)

var provisioningOperations = []operation{
	{"POST", "/provisioning-templates", "CreateProvisioningTemplate", createProvisioningTemplate},
	{"GET", "/provisioning-templates", "ListProvisioningTemplates", listProvisioningTemplates},
	{"GET", "/provisioning-templates/{template}", "DescribeProvisioningTemplate", describeProvisioningTemplate},
	{"PATCH", "/provisioning-templates/{template}", "UpdateProvisioningTemplate", updateProvisioningTemplate},
	{"DELETE", "/provisioning-templates/{template}", "DeleteProvisioningTemplate", deleteProvisioningTemplate},
	{"POST", "/provisioning-templates/{template}/versions", "CreateProvisioningTemplateVersion", createProvisioningTemplateVersion},
	{"GET", "/provisioning-templates/{template}/versions", "ListProvisioningTemplateVersions", listProvisioningTemplateVersions},
	{"GET", "/provisioning-templates/{template}/versions/{version}", "DescribeProvisioningTemplateVersion", describeProvisioningTemplateVersion},
	{"DELETE", "/provisioning-templates/{template}/versions/{version}", "DeleteProvisioningTemplateVersion", deleteProvisioningTemplateVersion},
	{"POST", "/provisioning-templates/{template}/provisioning-claim", "CreateProvisioningClaim", createProvisioningClaim},
}

func createProvisioningTemplate(q *request) (any, error) {
	var b provisioning.CreateTemplateRequest
	if err := q.body(&b); err != nil {
		return nil, err
	}
	return q.created("provisioningtemplate", b.TemplateName, func() (any, error) { return q.c.Provisioning().CreateTemplate(q.now, b) })
}

func listProvisioningTemplates(q *request) (any, error) {
	rows, next, err := paged(q, q.c.Provisioning().ListTemplates())
	return struct {
		Templates []provisioning.Summary `json:"templates"`
		NextToken *string                `json:"nextToken,omitempty"`
	}{rows, next}, err
}

func describeProvisioningTemplate(q *request) (any, error) {
	return q.c.Provisioning().DescribeTemplate(q.params["template"])
}

func updateProvisioningTemplate(q *request) (any, error) {
	var b provisioning.UpdateTemplateRequest
	if err := q.body(&b); err != nil {
		return nil, err
	}
	return struct{}{}, q.c.Provisioning().UpdateTemplate(q.now, q.params["template"], b)
}

func deleteProvisioningTemplate(q *request) (any, error) {
	name := q.params["template"]
	if err := q.c.Provisioning().DeleteTemplate(name); err != nil {
		return nil, err
	}
	q.c.ForgetTags(q.c.ARN("provisioningtemplate", name))
	return struct{}{}, nil
}

func createProvisioningTemplateVersion(q *request) (any, error) {
	var b struct {
		TemplateBody string `json:"templateBody"`
	}
	if err := q.body(&b); err != nil {
		return nil, err
	}
	setAsDefault, err := q.flag("setAsDefault")
	if err != nil {
		return nil, err
	}
	return q.c.Provisioning().CreateVersion(q.now, q.params["template"], b.TemplateBody, setAsDefault)
}

func listProvisioningTemplateVersions(q *request) (any, error) {
	all, err := q.c.Provisioning().ListVersions(q.params["template"])
	if err != nil {
		return nil, err
	}
	rows, next, err := paged(q, all)
	return struct {
		Versions  []provisioning.VersionSummary `json:"versions"`
		NextToken *string                       `json:"nextToken,omitempty"`
	}{rows, next}, err
}

// version reads the version in the path.
func (q *request) version() (int, error) {
	n, err := strconv.Atoi(q.params["version"])
	if err != nil {
		return 0, aws.InvalidRequest.Because("versionId %.40q: want a whole number", q.params["version"])
	}
	return n, nil
}

func describeProvisioningTemplateVersion(q *request) (any, error) {
	n, err := q.version()
	if err != nil {
		return nil, err
	}
	return q.c.Provisioning().DescribeVersion(q.params["template"], n)
}

func deleteProvisioningTemplateVersion(q *request) (any, error) {
	n, err := q.version()
	if err != nil {
		return nil, err
	}
	return struct{}{}, q.c.Provisioning().DeleteVersion(q.params["template"], n)
}

func createProvisioningClaim(q *request) (any, error) {
	return q.c.CreateProvisioningClaim(q.now, q.params["template"])
}
