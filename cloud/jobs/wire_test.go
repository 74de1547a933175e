package jobs

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The worked trace of the reference, with its own answers.
func TestTrace(t *testing.T) {
	w := newWorld(t, 1, Switches{})
	w.now = time.Unix(1700000000, 0).UTC()
	w.create("AFR_OTA-demo", func(r *CreateJobRequest) { r.Document = "{\n \"afr_ota\": {}\n}" })
	w.pass(100 * time.Second)
	for _, step := range []struct{ rest, body, want string }{
		{"$next/get", `{"clientToken":"a1"}`,
			`$next/get/accepted {"clientToken":"a1","timestamp":1700000100,"execution":{"jobId":"AFR_OTA-demo","thingName":"t0","status":"QUEUED","queuedAt":1700000000,"lastUpdatedAt":1700000000,"versionNumber":1,"executionNumber":1,"jobDocument":{"afr_ota":{}}}}`},
		{"AFR_OTA-demo/get", `{"includeJobDocument":false}`,
			`AFR_OTA-demo/get/accepted {"timestamp":1700000100,"execution":{"jobId":"AFR_OTA-demo","thingName":"t0","status":"QUEUED","queuedAt":1700000000,"lastUpdatedAt":1700000000,"versionNumber":1,"executionNumber":1}}`},
		{"AFR_OTA-demo/update", `{"status":"IN_PROGRESS","statusDetails":{"receive":"1/20"}}`,
			`AFR_OTA-demo/update/accepted {"timestamp":1700000100}`},
		{"get", ``,
			`get/accepted {"timestamp":1700000100,"inProgressJobs":[{"jobId":"AFR_OTA-demo","queuedAt":1700000000,"startedAt":1700000100,"lastUpdatedAt":1700000100,"versionNumber":2,"executionNumber":1}],"queuedJobs":[]}`},
		{"start-next", `{"statusDetails":{"ignored":"yes"}}`,
			`start-next/accepted {"timestamp":1700000100,"execution":{"jobId":"AFR_OTA-demo","thingName":"t0","status":"IN_PROGRESS","statusDetails":{"receive":"1/20"},"queuedAt":1700000000,"startedAt":1700000100,"lastUpdatedAt":1700000100,"versionNumber":2,"executionNumber":1,"jobDocument":{"afr_ota":{}}}}`},
		{"AFR_OTA-demo/update", `{"status":"SUCCEEDED","expectedVersion":"7","clientToken":"x"}`,
			`AFR_OTA-demo/update/rejected {"code":"VersionMismatch","message":"The expected version 7 does not match the version 2 of the job execution.","clientToken":"x","timestamp":1700000100,"executionState":{"status":"IN_PROGRESS","statusDetails":{"receive":"1/20"},"versionNumber":2}}`},
		{"AFR_OTA-demo/update", `{"status":"SUCCEEDED","expectedVersion":2,"includeJobExecutionState":true,"includeJobDocument":true}`,
			`AFR_OTA-demo/update/accepted {"timestamp":1700000100,"executionState":{"status":"SUCCEEDED","statusDetails":{"receive":"1/20"},"versionNumber":3},"jobDocument":{"afr_ota":{}}}`},
		{"AFR_OTA-demo/update", `{"status":"IN_PROGRESS"}`,
			`AFR_OTA-demo/update/rejected {"code":"InvalidStateTransition","message":"A job execution cannot go from SUCCEEDED to IN_PROGRESS.","timestamp":1700000100,"executionState":{"status":"SUCCEEDED","statusDetails":{"receive":"1/20"},"versionNumber":3}}`},
		{"AFR_OTA-demo/get", `{}`,
			`AFR_OTA-demo/get/rejected {"code":"TerminalStateReached","message":"Job execution AFR_OTA-demo on thing t0 is in the terminal state SUCCEEDED.","timestamp":1700000100}`},
		{"$next/get", `{"clientToken":""}`, `$next/get/accepted {"timestamp":1700000100}`},
		{"start-next", `{}`, `start-next/accepted {"timestamp":1700000100}`},
	} {
		r := w.s.Handle(w.now, "t0", step.rest, []byte(step.body))
		require.Equal(t, step.want, r.Topic+" "+string(r.Payload))
	}
	require.Equal(t, "{\n \"afr_ota\": {}\n}", func() string { d, _ := w.s.GetJobDocument("AFR_OTA-demo"); return d }())
}

func TestRejections(t *testing.T) {
	long := strings.Repeat("x", 65)
	eleven := make([]string, 11)
	for i := range eleven {
		eleven[i] = fmt.Sprintf(`"k%d":"v"`, i)
	}
	for _, c := range []struct{ rest, body, code string }{
		{"job/update", `{"status":"IN_PROGRESS"`, InvalidJSON},
		{"job/update", "{\"status\":\"\xff\"}", InvalidJSON},
		{"job/update", `[]`, InvalidRequest},
		{"job/update", `{}`, InvalidRequest},
		{"job/update", `{"status":null}`, InvalidRequest},
		{"job/update", `{"status":"DONE"}`, InvalidRequest},
		{"job/update", `{"status":7}`, InvalidRequest},
		{"job/update", `{"Status":"IN_PROGRESS"}`, InvalidRequest},
		{"job/update", `{"status":"IN_PROGRESS","expectedVersion":"x"}`, InvalidRequest},
		{"job/update", `{"status":"IN_PROGRESS","stepTimeoutInMinutes":0}`, InvalidRequest},
		{"job/update", `{"status":"IN_PROGRESS","stepTimeoutInMinutes":10081}`, InvalidRequest},
		{"job/update", `{"status":"IN_PROGRESS","stepTimeoutInMinutes":-2}`, InvalidRequest},
		{"job/update", `{"status":"IN_PROGRESS","statusDetails":"x"}`, InvalidRequest},
		{"job/update", `{"status":"IN_PROGRESS","statusDetails":{"a":1}}`, InvalidRequest},
		{"job/update", `{"status":"IN_PROGRESS","statusDetails":{"a b":"1"}}`, InvalidRequest},
		{"job/update", `{"status":"IN_PROGRESS","statusDetails":{"a":""}}`, InvalidRequest},
		{"job/update", `{"status":"IN_PROGRESS","statusDetails":{"a":"\n"}}`, InvalidRequest},
		{"job/update", `{"status":"IN_PROGRESS","statusDetails":{"a":"` + strings.Repeat("v", 1025) + `"}}`, InvalidRequest},
		{"job/update", `{"status":"IN_PROGRESS","statusDetails":{` + strings.Join(eleven, ",") + `}}`, InvalidRequest},
		{"job/update", `{"status":"IN_PROGRESS","clientToken":"` + long + `"}`, InvalidRequest},
		{"job/update", `{"status":"IN_PROGRESS","executionNumber":9}`, ResourceNotFound},
		{"other/update", `{"status":"IN_PROGRESS"}`, ResourceNotFound},
		{"other/get", `{}`, ResourceNotFound},
		{"/update", `{"status":"IN_PROGRESS"}`, InvalidTopic},
		{"$next/update", `{"status":"IN_PROGRESS"}`, InvalidTopic},
		{"job/delete", `{}`, InvalidTopic},
		{"job", `{}`, InvalidTopic},
		{"job/get/more", `{}`, InvalidTopic},
	} {
		w := newWorld(t, 1, Switches{})
		w.create("job", nil)
		how, body := w.say("t0", c.rest, c.body)
		require.Equal(t, "rejected", how, "%s %s", c.rest, c.body)
		var e struct{ Code, Message string }
		require.NoError(t, json.Unmarshal([]byte(body), &e), body)
		require.Equal(t, c.code, e.Code, "%s %s: %s", c.rest, c.body, e.Message)
		require.NotEmpty(t, e.Message)
		require.Equal(t, "QUEUED", w.status("t0", "job"))
	}
	w := newWorld(t, 1, Switches{})
	_, body := w.say("nobody", "get", "")
	require.Contains(t, body, ResourceNotFound)
}

func TestTolerance(t *testing.T) {
	w := newWorld(t, 1, Switches{})
	w.create("job", nil)
	how, body := w.say("t0", "job/update", ` { "unknown" : {"a":[1,{"b":"}"}]} , "status" : "IN_\u0050ROGRESS", "statusDetails": {"k" : "a\"b\\\u00e9"}, "clientToken":"" } `)
	require.Equal(t, "accepted", how, body)
	e, err := w.s.DescribeJobExecution(w.now, "t0", "job", 0)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"k": "a\"b\\\u00e9"}, e.StatusDetails.DetailsMap)
	_, body = w.say("t0", "$next/get", "  ")
	require.True(t, json.Valid([]byte(body)), body)
	require.Contains(t, body, `"statusDetails":{"k":"a\"b\\é"}`)
}

func TestTenPendingAreShown(t *testing.T) {
	w := newWorld(t, 1, Switches{})
	for i := range 12 {
		w.create(fmt.Sprintf("job-%02d", i), nil)
	}
	_, body := w.say("t0", "get", "{}")
	require.Equal(t, 10, strings.Count(body, `"jobId"`))
	require.NotContains(t, body, "job-10")
}

func TestMillisecondsSwitch(t *testing.T) {
	w := newWorld(t, 1, Switches{Milliseconds: true})
	_, body := w.say("t0", "get", "{}")
	require.Contains(t, body, `"timestamp":1772366400000`)
}

func TestPresignedURLsAreFreshPerFetch(t *testing.T) {
	w := newWorld(t, 1, Switches{})
	n := 0
	w.s.cfg.Presign = func(now time.Time, url string, expires time.Duration) (string, error) {
		n++
		return fmt.Sprintf("%s?n=%d&expires=%v", url, n, expires), nil
	}
	w.create("job", func(r *CreateJobRequest) {
		r.Document = `{"url":"${aws:iot:s3-presigned-url:https://s3.eu-central-1.amazonaws.com/b/k}","x":1}`
		r.PresignedURLConfig = &PresignedURLConfig{ExpiresInSec: 60}
	})
	n = 0
	for i := 1; i <= 2; i++ {
		_, body := w.say("t0", "$next/get", "")
		require.Contains(t, body, fmt.Sprintf(`"jobDocument":{"url":"https://s3.eu-central-1.amazonaws.com/b/k?n=%d&expires=1m0s","x":1}`, i))
	}
	doc, err := w.s.GetJobDocument("job")
	require.NoError(t, err)
	require.Contains(t, doc, "${aws:iot:s3-presigned-url:")
}

// FuzzHandle throws topics and bodies at the data plane: every answer is JSON
// that names its topic, and the service's counts stay consistent.
func FuzzHandle(f *testing.F) {
	f.Add("$next/get", []byte(`{"clientToken":"a"}`))
	f.Add("get", []byte(``))
	f.Add("start-next", []byte(`{"stepTimeoutInMinutes":5,"statusDetails":{"a":"b"}}`))
	f.Add("job/update", []byte(`{"status":"IN_PROGRESS","statusDetails":{"receive":"1/2"},"expectedVersion":"1"}`))
	f.Add("job/update", []byte(`{"status":"FAILED","includeJobDocument":true,"includeJobExecutionState":true,"executionNumber":1}`))
	f.Add("job/get", []byte(`{"executionNumber":2,"includeJobDocument":false,"x":[{"y":"\"]"}]}`))
	f.Fuzz(func(t *testing.T, rest string, body []byte) {
		w := newWorld(t, 1, Switches{})
		w.create("job", func(r *CreateJobRequest) {
			r.TimeoutConfig = &TimeoutConfig{5}
			r.JobExecutionsRetryConfig = &RetryConfig{[]RetryCriterion{{"ALL", 1}}}
		})
		for range 3 {
			r := w.s.Handle(w.now, "t0", rest, body)
			if !strings.HasPrefix(r.Topic, rest+"/") || !json.Valid(r.Payload) {
				t.Fatalf("%q %q: %q %q", rest, body, r.Topic, r.Payload)
			}
			for _, n := range w.s.Notifications() {
				if !json.Valid(n.Payload) {
					t.Fatalf("%q", n.Payload)
				}
			}
		}
		w.pass(24 * time.Hour)
		w.invariants()
	})
}
