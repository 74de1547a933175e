package jobs

import "strconv"

// Event tells an operator about a job or an execution. Topic is
// $aws/events/job/JOB/WHAT or $aws/events/jobExecution/JOB/WHAT.
//
// Source: AWS IoT Core Developer Guide, page events-jobs. Its examples give
// timestamp in seconds and the other times in milliseconds.
type Event struct {
	Topic   string
	Payload []byte
}

// SetEvents says whether events of jobs and of executions are told; at first
// neither is.
func (s *Service) SetEvents(job, execution bool) { s.jobEvents, s.executionEvents = job, execution }

// Events hands out what has happened since the last call, in order.
func (s *Service) Events() []Event {
	out := s.events
	s.events = nil
	return out
}

func (s *Service) event(now int64, topic, kind, operation, jobID string) []byte {
	s.told++
	b := append(make([]byte, 0, 512), `{"eventType":"`...)
	b = append(b, kind...)
	b = append(append(b, `","eventId":"`...), s.cfg.Seed.UUID("event "+strconv.FormatUint(s.told, 10))...)
	b = strconv.AppendInt(append(b, `","timestamp":`...), now/1e9, 10)
	b = append(append(b, `,"operation":"`...), operation...)
	b = append(appendString(append(b, `","jobId":`...), jobID), ',')
	s.events = append(s.events, Event{Topic: "$aws/events/" + topic + "/" + jobID + "/" + operation})
	return b
}

// tellJob announces what has become of a job; status is that of the event.
func (s *Service) tellJob(now int64, j *job, operation, status string) {
	if !s.jobEvents {
		return
	}
	b := s.event(now, "job", "JOB", operation, j.id)
	b = append(append(b, `"status":"`...), status...)
	b = append(append(b, `","targetSelection":"`...), j.req.TargetSelection...)
	b = append(b, `","targets":[`...)
	for i, t := range j.req.Targets {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, t)
	}
	b = append(b, ']')
	if j.req.Description != "" {
		b = appendString(append(b, `,"description":`...), j.req.Description)
	}
	if j.completedAt != 0 {
		b = strconv.AppendInt(append(b, `,"completedAt":`...), j.completedAt/1e6, 10)
	}
	b = strconv.AppendInt(append(b, `,"createdAt":`...), j.createdAt/1e6, 10)
	b = strconv.AppendInt(append(b, `,"lastUpdatedAt":`...), j.updatedAt/1e6, 10)
	if operation == "completed" {
		b = append(b, `,"jobProcessDetails":{`...)
		for i, n := range []struct {
			name  string
			count int
		}{
			{"Canceled", j.counts[Canceled]}, {"Rejected", j.counts[Rejected]}, {"Failed", j.counts[Failed]}, {"Removed", j.counts[Removed]},
			{"Succeeded", j.counts[Succeeded]}, {"TimedOut", j.counts[TimedOut]},
		} {
			if i > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendInt(append(b, `"numberOf`+n.name+`Things":`...), int64(n.count), 10)
		}
		b = append(b, '}')
	} else if j.comment != "" {
		b = appendString(append(b, `,"comment":`...), j.comment)
	}
	s.events[len(s.events)-1].Payload = append(b, '}')
}

var executionOperations = [statuses]string{Succeeded: "succeeded", Failed: "failed", TimedOut: "timed_out", Rejected: "rejected", Removed: "removed", Canceled: "canceled"}

// tellExecution announces the end of an execution, or its deletion.
func (s *Service) tellExecution(now int64, e *execution, deleted bool) {
	if !s.executionEvents {
		return
	}
	operation, status := executionOperations[e.status], e.status.String()
	if deleted {
		operation, status = "deleted", "DELETED"
	}
	b := s.event(now, "jobExecution", "JOB_EXECUTION", operation, e.job.id)
	b = appendString(append(b, `"thingArn":`...), s.cfg.Realm.ARN("thing", e.thing.name))
	b = append(append(append(b, `,"status":"`...), status...), '"')
	if len(e.details) > 0 {
		b = appendDetails(append(b, `,"statusDetails":`...), e.details)
	}
	s.events[len(s.events)-1].Payload = append(b, '}')
}
