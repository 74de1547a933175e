package api

import (
	"encoding/json"
	"strings"

	"github.com/otasim/otasim/cloud/aws"
)

// The Jobs data plane over HTTPS: the requests and answers that MQTT carries,
// but for two things. The job document is a string with JSON in it, and token
// and timestamp are left out.
var jobsDataOperations = []operation{
	{"GET", "/things/{thing}/jobs", "GetPendingJobExecutions", getPendingExecutions},
	{"PUT", "/things/{thing}/jobs/$next", "StartNextPendingJobExecution", startNextExecution},
	{"GET", "/things/{thing}/jobs/{job}", "DescribeJobExecution", describeDeviceExecution},
	{"POST", "/things/{thing}/jobs/{job}", "UpdateJobExecution", updateExecution},
}

func getPendingExecutions(q *request) (any, error) { return q.jobs("get", nil) }

func startNextExecution(q *request) (any, error) {
	return q.jobs("start-next", q.call.Body)
}

func describeDeviceExecution(q *request) (any, error) {
	n, err := q.number("executionNumber")
	if err != nil {
		return nil, err
	}
	b := struct {
		Document *bool  `json:"includeJobDocument,omitempty"`
		Number   *int64 `json:"executionNumber,omitempty"`
	}{}
	if q.query.Get("includeJobDocument") != "" {
		include, err := q.flag("includeJobDocument")
		if err != nil {
			return nil, err
		}
		b.Document = &include
	}
	if n != 0 {
		b.Number = &n
	}
	body, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	return q.jobs(q.params["job"]+"/get", body)
}

func updateExecution(q *request) (any, error) { return q.jobs(q.params["job"]+"/update", q.call.Body) }

// jobs asks the Jobs service as MQTT does and rewrites its answer.
func (q *request) jobs(rest string, body []byte) (any, error) {
	if strings.Count(rest, "/") > 1 {
		return nil, aws.InvalidRequest.Because("jobId %.80q: want 1 to 64 of [a-zA-Z0-9_-]", q.params["job"])
	}
	raw, err := q.c.JobsRequest(q.now, q.params["thing"], rest, body)
	if err != nil {
		return nil, err
	}
	out := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, err
	}
	delete(out, "timestamp")
	delete(out, "clientToken")
	if err := quoteDocument(out); err != nil {
		return nil, err
	}
	if e, ok := out["execution"]; ok {
		execution := map[string]json.RawMessage{}
		if err := json.Unmarshal(e, &execution); err != nil {
			return nil, err
		}
		if err := quoteDocument(execution); err != nil {
			return nil, err
		}
		if out["execution"], err = json.Marshal(execution); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// quoteDocument turns the member jobDocument into a string.
func quoteDocument(m map[string]json.RawMessage) (err error) {
	if doc, ok := m["jobDocument"]; ok {
		m["jobDocument"], err = json.Marshal(string(doc))
	}
	return err
}

var dataOperations = []operation{{"POST", "/topics/{topic+}", "Publish", publish}}

func publish(q *request) (any, error) {
	qos, err := q.number("qos")
	if err != nil || qos < 0 || qos > 1 {
		return nil, aws.InvalidRequest.Because("qos %.20q: want 0 or 1", q.query.Get("qos"))
	}
	if q.query.Get("retain") == "true" {
		return nil, aws.InvalidRequest.Because("Retained messages cannot be published over HTTPS here.")
	}
	return nil, q.c.Publish(q.now, q.params["topic"], q.call.Body, byte(qos))
}
