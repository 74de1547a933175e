// Package jobs is the AWS IoT Jobs service as a state machine: jobs with their
// targets, one execution per thing, the rollout that creates executions at a
// limited rate, abort criteria, timeouts, retries, and the notifications that
// devices listen to.
//
// A Service reads no clock and starts nothing: every call carries the time,
// Wake does what has become due, and NextWake says when that is. What things
// must be told is collected and handed out by Notifications.
//
//	            CreateJob                   Wake: rollout            device, timer, operator
//	targets -----------------> rollout queue ---------> QUEUED -> IN_PROGRESS -> SUCCEEDED
//	           seeded shuffle   n per minute               |           |         FAILED, TIMED_OUT -> retry
//	                                                       +-----------+-------> REJECTED, CANCELED, REMOVED
//
// It stands alone: a Directory is all that it asks of its surroundings, and a
// program that imports it gets nothing of the rest of the cloud but exceptions,
// names and the agenda.
//
//	s := jobs.New(jobs.Config{Realm: realm, Directory: fleet})
//	s.CreateJob(now, jobs.CreateJobRequest{...})
//	for next, ok := s.NextWake(); ok; next, ok = s.NextWake() {
//		s.Wake(next)                         // rollout, timeouts, windows, deletions
//		for _, n := range s.Notifications() { // to $aws/things/THING/jobs/notify...
//			...
//		}
//	}
//	s.Handle(now, thing, "JOB/update", body) // what a thing publishes, and its answer
//
// A job may start later, stop at an end and pause between maintenance windows
// (SchedulingConfig), abort itself (AbortConfig), give up on what takes too long
// (TimeoutConfig) and try again (RetryConfig). SetEvents and Events tell an
// operator what has happened.
//
// Errors of the control plane are exceptions of package aws, to be compared with
// errors.Is; the data plane answers with the codes below (DataError).
//
// Sources: AWS IoT Core Developer Guide, pages iot-jobs-lifecycle, events-jobs,
// jobs-configurations-details, jobs-comm-notifications, jobs-mqtt-api; API
// models iot/2015-05-28 and iot-jobs-data/2017-09-29.
package jobs

import (
	"time"

	"github.com/otasim/otasim/cloud/agenda"
	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/defect"
)

// Directory tells the service which things exist and who is in which group.
type Directory interface {
	// Thing reports whether a thing of that name exists.
	Thing(name string) bool
	// Group returns the things of a group and of its sub-groups, each once, in
	// an order that depends on nothing but the group's history.
	Group(name string) (things []string, ok bool)
	// InGroup reports whether a thing is in a group or one of its sub-groups.
	InGroup(thing, group string) bool
}

// Switches choose among readings of the documentation. The zero value is the
// documented default.
type Switches struct {
	// NotifyInProgress publishes notify also when an execution enters
	// IN_PROGRESS, as the criteria list of the guide says and its examples deny.
	NotifyInProgress bool
	// Milliseconds makes data plane timestamps 13 digits long.
	Milliseconds bool
	// RefuseLateRejected refuses REJECTED from IN_PROGRESS.
	RefuseLateRejected bool
	// AbortOnNotified lets minNumberOfExecutedThings count notified executions
	// instead of finished ones.
	AbortOnNotified bool
	// RemoveSnapshotLeavers makes a thing that leaves the group of a SNAPSHOT
	// job lose its pending execution.
	RemoveSnapshotLeavers bool
	// SnapshotWindows lets SNAPSHOT jobs have maintenance windows.
	SnapshotWindows bool
	// HideScheduled leaves SCHEDULED jobs out when jobs are listed by a thing group.
	HideScheduled bool
}

// Config is what a Service is made of. Directory is required.
type Config struct {
	Realm     aws.Realm
	Seed      aws.Seed // shuffles each rollout
	Directory Directory
	Switches  Switches
	// Agenda may be shared with other services; nil makes a private one.
	Agenda *agenda.Agenda
	// Listening says whether anybody hears a notification; nil means always.
	Listening func(thing string, kind NotifyKind) bool
	// Presign replaces ${aws:iot:s3-presigned-url:URL} whenever a device is
	// given a document; nil leaves the placeholder in place.
	Presign func(now time.Time, url string, expires time.Duration) (string, error)
	// Document fetches a documentSource when a job is created; nil refuses it.
	Document func(url string) (string, error)
	// DeletionTime is how long a job stays DELETION_IN_PROGRESS.
	DeletionTime time.Duration
	// Ended is told when an execution reaches a terminal status; nil: nobody is.
	Ended   func(thing, job string, number int64, status Status)
	Limits  Limits
	Defects defect.Set // planted, to test checkers
}

// Limits bound what an account may have; 0 is no bound.
type Limits struct {
	RolloutRate      int // things per minute and job
	ActiveSnapshot   int // SNAPSHOT jobs SCHEDULED or IN_PROGRESS
	ActiveContinuous int // CONTINUOUS ones
	Concurrent       int // jobs whose rollout runs
	Deleting         int // jobs in DELETION_IN_PROGRESS
}

// Limits of the Jobs service that no account can raise.
const (
	maxTargets      = 100
	maxDocument     = 32768
	maxDescription  = 2028
	maxPendingShown = 10 // 15 beside jobs with a schedule
	maxDetails      = 10
	maxDetailKey    = 128
	maxDetailValue  = 1024
	maxToken        = 64
	maxMinutes      = 10080
	defaultRate     = 1000
)

const minute = int64(time.Minute)

// Service is the state of all jobs of one account. It is not safe for
// concurrent use.
type Service struct {
	cfg     Config
	agenda  *agenda.Agenda
	jobs    map[string]*job
	order   []*job // by creation
	things  map[string]*thing
	seq     uint64 // of executions
	changes uint64 // of job and execution states
	timed   int    // jobs with a schedulingConfig
	told    uint64 // events
	uses    Uses

	jobEvents, executionEvents bool
	events                     []Event

	notes    []Notification
	spare    []Notification // the slice handed out last
	watchers []*job         // CONTINUOUS and IN_PROGRESS, by creation
}

// thing is what the service knows about one thing: its executions.
type thing struct {
	name    string
	pending []*execution // IN_PROGRESS first, then by creation; [0] is $next
	all     []*execution // by creation
}

// New returns a service without jobs.
func New(cfg Config) *Service {
	s := &Service{cfg: cfg, agenda: cfg.Agenda, jobs: map[string]*job{}, things: map[string]*thing{}}
	if s.agenda == nil {
		s.agenda = &agenda.Agenda{}
	}
	return s
}

// Changes counts the changes of job and execution states so far, so that a caller
// who polls need not describe every job to learn that nothing has happened.
func (s *Service) Changes() uint64 { return s.changes }

// NextWake is the time of the next rollout step, timeout or deletion.
func (s *Service) NextWake() (time.Time, bool) {
	due, ok := s.agenda.Next()
	if !ok {
		return time.Time{}, false
	}
	return time.Unix(0, due).UTC(), true
}

// Wake does everything that is due at now.
func (s *Service) Wake(now time.Time) { s.agenda.Run(now.UnixNano()) }

// shown is how many pending executions an answer lists at most.
func (s *Service) shown() int {
	if s.timed > 0 {
		return maxPendingShown + 5
	}
	return maxPendingShown
}

// head is $next, nil when nothing is pending.
func (t *thing) head() *execution {
	if t == nil || len(t.pending) == 0 {
		return nil
	}
	return t.pending[0]
}

func (t *thing) insert(e *execution) {
	t.pending = append(t.pending, e)
	if e.job.newest && e.status == Queued {
		copy(t.pending[1:], t.pending)
		t.pending[0] = e
		return
	}
	for i := len(t.pending) - 1; i > 0 && before(e, t.pending[i-1]); i-- {
		t.pending[i], t.pending[i-1] = t.pending[i-1], t.pending[i]
	}
}

func (t *thing) remove(e *execution) {
	for i, p := range t.pending {
		if p == e {
			t.pending = append(t.pending[:i], t.pending[i+1:]...)
			return
		}
	}
}

func before(a, b *execution) bool {
	if (a.status == InProgress) != (b.status == InProgress) {
		return a.status == InProgress
	}
	return a.seq < b.seq
}

func (s *Service) thing(name string) *thing {
	t := s.things[name]
	if t == nil {
		t = &thing{name: name}
		s.things[name] = t
	}
	return t
}
