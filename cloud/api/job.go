package api

import (
	"strings"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/cloud/registry"
)

var jobOperations = []operation{
	{"PUT", "/jobs/{job}", "CreateJob", createJob},
	{"GET", "/jobs/{job}", "DescribeJob", describeJob},
	{"PATCH", "/jobs/{job}", "UpdateJob", updateJob},
	{"PUT", "/jobs/{job}/cancel", "CancelJob", cancelJob},
	{"DELETE", "/jobs/{job}", "DeleteJob", deleteJob},
	{"GET", "/jobs", "ListJobs", listJobs},
	{"GET", "/jobs/{job}/job-document", "GetJobDocument", getJobDocument},
	{"POST", "/jobs/{job}/targets", "AssociateTargetsWithJob", associateTargets},
	{"GET", "/jobs/{job}/things", "ListJobExecutionsForJob", listExecutionsForJob},
	{"GET", "/things/{thing}/jobs", "ListJobExecutionsForThing", listExecutionsForThing},
	{"GET", "/things/{thing}/jobs/{job}", "DescribeJobExecution", describeExecution},
	{"PUT", "/things/{thing}/jobs/{job}/cancel", "CancelJobExecution", cancelExecution},
	{"DELETE", "/things/{thing}/jobs/{job}/executionNumber/{number}", "DeleteJobExecution", deleteExecution},
	{"GET", "/event-configurations", "DescribeEventConfigurations", describeEvents},
	{"PATCH", "/event-configurations", "UpdateEventConfigurations", updateEvents},
}

// unsupported are members of CreateJob whose silent loss would change what a
// job does.
type unsupported struct {
	JobTemplateARN             string            `json:"jobTemplateArn"`
	DocumentParameters         map[string]string `json:"documentParameters"`
	DestinationPackageVersions []string          `json:"destinationPackageVersions"`
	NamespaceID                string            `json:"namespaceId"`
}

func (u *unsupported) check() error {
	for _, m := range []struct {
		name string
		set  bool
	}{
		{"jobTemplateArn", u.JobTemplateARN != ""}, {"documentParameters", len(u.DocumentParameters) > 0},
		{"destinationPackageVersions", len(u.DestinationPackageVersions) > 0}, {"namespaceId", u.NamespaceID != ""},
	} {
		if m.set {
			return aws.InvalidRequest.Because("%s is not supported here.", m.name)
		}
	}
	return nil
}

func createJob(q *request) (any, error) {
	var b struct {
		jobs.CreateJobRequest
		unsupported
	}
	if err := q.body(&b); err != nil {
		return nil, err
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	b.JobID = q.params["job"]
	return q.created("job", b.JobID, func() (any, error) { return q.c.CreateJob(q.now, b.CreateJobRequest) })
}

func describeJob(q *request) (any, error) {
	j, err := q.c.DescribeJob(q.params["job"])
	j.ScheduledJobRollouts = q.c.ScheduledJobRollouts(q.now, q.params["job"])
	return struct {
		DocumentSource string   `json:"documentSource,omitempty"`
		Job            jobs.Job `json:"job"`
	}{q.c.DocumentSource(q.params["job"]), j}, err
}

func updateJob(q *request) (any, error) {
	var b jobs.UpdateJobRequest
	if err := q.body(&b); err != nil {
		return nil, err
	}
	return nil, q.c.UpdateJob(q.now, q.params["job"], b)
}

func cancelJob(q *request) (any, error) {
	var b jobs.CancelJobRequest
	err := q.body(&b)
	if err == nil {
		b.Force, err = q.flag("force")
	}
	if err != nil {
		return nil, err
	}
	return q.c.CancelJob(q.now, q.params["job"], b)
}

func deleteJob(q *request) (any, error) {
	force, err := q.flag("force")
	if err != nil {
		return nil, err
	}
	if err := q.c.DeleteJob(q.now, q.params["job"], force); err != nil {
		return nil, err
	}
	q.c.ForgetTags(q.c.ARN("job", q.params["job"]))
	return nil, nil
}

func listJobs(q *request) (any, error) {
	n, token, err := q.page()
	if err != nil {
		return nil, err
	}
	var group string
	if name := q.query.Get("thingGroupName"); name != "" {
		group = q.c.ARN("thinggroup", name)
	}
	if id := q.query.Get("thingGroupId"); id != "" {
		if group, err = q.groupByID(id); err != nil {
			return nil, err
		}
	}
	rows, next, err := q.c.FindJobs(jobs.Filter{Status: q.query.Get("status"), TargetSelection: q.query.Get("targetSelection"), Target: group}, n, token)
	return struct {
		Jobs      []jobs.JobSummary `json:"jobs"`
		NextToken string            `json:"nextToken,omitempty"`
	}{append([]jobs.JobSummary{}, rows...), next}, err
}

// groupByID finds the ARN of a group by its id.
func (q *request) groupByID(id string) (string, error) {
	names, err := q.c.Registry().FindThingGroups(registry.GroupFilter{})
	if err != nil {
		return "", err
	}
	for _, name := range names {
		if d, err := q.c.Registry().DescribeThingGroup(name); err == nil && d.ThingGroupID == id {
			return d.ThingGroupARN, nil
		}
	}
	return "", aws.ResourceNotFound.Because("Thing group %.80s cannot be found.", id)
}

func getJobDocument(q *request) (any, error) {
	doc, err := q.c.GetJobDocument(q.params["job"])
	return struct {
		Document string `json:"document"`
	}{doc}, err
}

func associateTargets(q *request) (any, error) {
	var b struct {
		Targets []string `json:"targets"`
		Comment string   `json:"comment"`
	}
	if err := q.body(&b); err != nil {
		return nil, err
	}
	return q.c.AssociateTargetsWithJob(q.now, q.params["job"], b.Targets, b.Comment)
}

func listExecutionsForJob(q *request) (any, error) {
	n, token, err := q.page()
	if err != nil {
		return nil, err
	}
	rows, next, err := q.c.ListJobExecutionsForJob(q.params["job"], q.query.Get("status"), n, token)
	return struct {
		ExecutionSummaries []jobs.ExecutionForJob `json:"executionSummaries"`
		NextToken          string                 `json:"nextToken,omitempty"`
	}{rows, next}, err
}

func listExecutionsForThing(q *request) (any, error) {
	n, token, err := q.page()
	if err != nil {
		return nil, err
	}
	rows, next, err := q.c.ListJobExecutionsForThing(q.params["thing"], q.query.Get("status"), q.query.Get("jobId"), n, token)
	return struct {
		ExecutionSummaries []jobs.ExecutionForThing `json:"executionSummaries"`
		NextToken          string                   `json:"nextToken,omitempty"`
	}{rows, next}, err
}

func describeExecution(q *request) (any, error) {
	n, err := q.number("executionNumber")
	if err != nil {
		return nil, err
	}
	e, err := q.c.DescribeJobExecution(q.now, q.params["thing"], q.params["job"], n)
	return struct {
		Execution jobs.Execution `json:"execution"`
	}{e}, err
}

func cancelExecution(q *request) (any, error) {
	var b jobs.CancelJobExecutionRequest
	err := q.body(&b)
	if err == nil {
		b.Force, err = q.flag("force")
	}
	if err != nil {
		return nil, err
	}
	return nil, q.c.CancelJobExecution(q.now, q.params["thing"], q.params["job"], b)
}

func deleteExecution(q *request) (any, error) {
	force, err := q.flag("force")
	if err != nil {
		return nil, err
	}
	q.query.Set("executionNumber", q.params["number"])
	n, err := q.number("executionNumber")
	if err != nil || n < 1 || strings.HasPrefix(q.params["number"], "+") {
		return nil, aws.InvalidRequest.Because("executionNumber %.40q: want a number from 1", q.params["number"])
	}
	return nil, q.c.DeleteJobExecution(q.now, q.params["thing"], q.params["job"], n, force)
}
