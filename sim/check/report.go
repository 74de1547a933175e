package check

import (
	"bytes"
	"strings"
)

// End is the end of an execution that a device has told: the topic, in which the job is named, and the status.
type End struct {
	Topic  string
	Status string
}

var ends = []string{"SUCCEEDED", "FAILED", "REJECTED"}

// Told reads what a device publishes: ok if it is an UpdateJobExecution with a terminal status. It reads the bytes by
// itself: $aws/things/THING/jobs/JOB/update and the member "status" of the payload.
func Told(topic string, payload []byte) (e End, ok bool) {
	if !strings.HasSuffix(topic, "/update") || !strings.Contains(topic, "/jobs/") {
		return e, false
	}
	_, rest, found := bytes.Cut(payload, []byte(`"status"`))
	if !found {
		return e, false
	}
	rest = bytes.TrimLeft(rest, ": \t\r\n")
	for _, s := range ends {
		if bytes.HasPrefix(rest, []byte(`"`+s+`"`)) {
			return End{topic, s}, true
		}
	}
	return e, false
}

// Contradicts reports whether two ends are of one job and differ.
func (e End) Contradicts(before End) bool {
	return e.Topic == before.Topic && e.Status != before.Status
}
