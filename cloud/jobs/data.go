package jobs

import (
	"fmt"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/defect"
)

// Codes of rejected data plane requests.
const (
	InvalidTopic           = "InvalidTopic"
	InvalidJSON            = "InvalidJson"
	InvalidRequest         = "InvalidRequest"
	InvalidStateTransition = "InvalidStateTransition"
	ResourceNotFound       = "ResourceNotFound"
	VersionMismatch        = "VersionMismatch"
	InternalError          = "InternalError"
	RequestThrottled       = "RequestThrottled"
	TerminalStateReached   = "TerminalStateReached"
)

// nextJob addresses the head of a thing's pending list.
const nextJob = "$next"

// DataError is why a data plane request was rejected.
type DataError struct {
	Code    string
	Message string
	// State is set for InvalidStateTransition and VersionMismatch.
	State *ExecutionState
}

// ExecutionState is what a rejected update left as it was.
type ExecutionState struct {
	Status        Status
	VersionNumber int64
	details       []Detail
}

func (e *DataError) Error() string { return e.Code + ": " + e.Message }

// Unwrap is the exception that the same refusal is in the HTTP form of the API.
func (e *DataError) Unwrap() error {
	switch e.Code {
	case ResourceNotFound:
		return aws.ResourceNotFound.Because("%s", e.Message)
	case InvalidStateTransition, VersionMismatch:
		return aws.InvalidStateTransition.Because("%s", e.Message)
	case TerminalStateReached:
		return aws.TerminalState.Because("%s", e.Message)
	case RequestThrottled:
		return aws.ThrottlingDataPlane.Because("%s", e.Message)
	case InternalError:
		return aws.InternalFailure.Because("%s", e.Message)
	}
	return aws.InvalidRequest.Because("%s", e.Message)
}

func invalid(format string, args ...any) *DataError {
	return &DataError{Code: InvalidRequest, Message: fmt.Sprintf(format, args...)}
}

func missing(format string, args ...any) *DataError {
	return &DataError{Code: ResourceNotFound, Message: fmt.Sprintf(format, args...)}
}

func (e *execution) state() *ExecutionState {
	return &ExecutionState{Status: e.status, VersionNumber: e.version, details: e.details}
}

// update is a validated UpdateJobExecution.
type update struct {
	status   Status
	details  *[]Detail // nil leaves the stored map alone
	expected *int64
	number   *int64
	step     int64
}

// pending returns a thing's state, nil when it never had an execution.
func (s *Service) pending(name string) (*thing, *DataError) {
	if !s.cfg.Directory.Thing(name) {
		return nil, missing("Thing %s does not exist.", name)
	}
	return s.things[name], nil
}

// lookup finds an execution. A nil execution without an error means that $next
// was asked and nothing is pending.
func (s *Service) lookup(thing, jobID string, number *int64, live bool) (*execution, *DataError) {
	t, derr := s.pending(thing)
	if derr != nil {
		return nil, derr
	}
	if jobID == nextJob {
		return t.head(), nil
	}
	e := s.find(thing, jobID, number)
	if e == nil {
		return nil, missing("Job execution %s on thing %s does not exist.", jobID, thing)
	}
	if live && e.status.Terminal() {
		return nil, &DataError{Code: TerminalStateReached, Message: fmt.Sprintf("Job execution %s on thing %s is in the terminal state %s.", jobID, thing, e.status)}
	}
	return e, nil
}

func (s *Service) find(thing, jobID string, number *int64) *execution {
	j := s.jobs[jobID]
	if j == nil {
		return nil
	}
	e := j.byThing[thing]
	if number != nil {
		for e != nil && int64(e.number) != *number {
			e = e.earlier
		}
	}
	if e == nil || e.gone {
		return nil
	}
	return e
}

// startNext begins the head of the queue, or returns the one that runs.
func (s *Service) startNext(now int64, thing string, details *[]Detail, step int64) (*execution, *DataError) {
	t, derr := s.pending(thing)
	if derr != nil {
		return nil, derr
	}
	e := t.head()
	if e == nil {
		return nil, nil
	}
	if e.status == Queued {
		if details != nil {
			e.details = *details
		}
		s.move(now, e, InProgress)
	}
	s.setStep(now, e, step)
	return e, nil
}

// update applies what a device reports.
func (s *Service) update(now int64, thing, jobID string, u update) (*execution, *DataError) {
	e, derr := s.lookup(thing, jobID, u.number, false)
	if derr != nil {
		return nil, derr
	}
	if u.expected != nil && *u.expected != e.version && !s.cfg.Defects.Has(defect.ExpectedVersionIgnored) {
		return nil, &DataError{Code: VersionMismatch, State: e.state(),
			Message: fmt.Sprintf("The expected version %d does not match the version %d of the job execution.", *u.expected, e.version)}
	}
	if e.status.Terminal() && !s.cfg.Defects.Has(defect.TerminalReopens) || u.status == Rejected && e.status == InProgress && s.cfg.Switches.RefuseLateRejected {
		return nil, &DataError{Code: InvalidStateTransition, State: e.state(),
			Message: fmt.Sprintf("A job execution cannot go from %s to %s.", e.status, u.status)}
	}
	if u.details != nil {
		e.details = *u.details
		s.uses.reported(e.details)
	}
	s.move(now, e, u.status)
	if u.status == InProgress {
		s.setStep(now, e, u.step)
	}
	s.settle(now, e.job, u.status)
	return e, nil
}

func checkDetails(details []Detail) *DataError {
	if len(details) > maxDetails {
		return invalid("Value at 'statusDetails' failed to satisfy constraint: Map must have length less than or equal to %d", maxDetails)
	}
	for _, d := range details {
		if !aws.Name(d.Key, maxDetailKey, ":") {
			return invalid("Key '%.40s' at 'statusDetails' failed to satisfy constraint: 1 to 128 of [a-zA-Z0-9:_-]", d.Key)
		}
		if d.Value == "" || len(d.Value) > maxDetailValue {
			return invalid("Value of '%s' at 'statusDetails' failed to satisfy constraint: 1 to %d characters", d.Key, maxDetailValue)
		}
		for i := 0; i < len(d.Value); i++ {
			if d.Value[i] < 0x20 || d.Value[i] == 0x7f {
				return invalid("Value of '%s' at 'statusDetails' must not contain control characters", d.Key)
			}
		}
	}
	return nil
}
