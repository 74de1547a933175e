package jobs

import (
	"github.com/otasim/otasim/cloud/agenda"
	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/defect"
)

// Detail is one pair of statusDetails.
type Detail struct{ Key, Value string }

// execution is one attempt of one thing at one job.
type execution struct {
	job     *job
	thing   *thing
	earlier *execution // the attempt before this one
	details []Detail   // sorted by key
	timer   *timer     // nil until a timeout applies
	seq     uint64
	version int64
	number  int32
	retry   int32
	status  Status
	forced  bool
	gone    bool // deleted
	listed  bool // in the pending list
	left    bool // its thing left the job's targets after the end

	queuedAt, startedAt, updatedAt int64
}

// timer carries the two time limits of a running execution; 0 is none.
type timer struct {
	entry      agenda.Entry
	inProgress int64
	step       int64
}

func (t *timer) due() int64 {
	switch {
	case t == nil:
		return 0
	case t.inProgress == 0 || t.step != 0 && t.step < t.inProgress:
		return t.step
	}
	return t.inProgress
}

// enqueue creates the next execution of a thing, QUEUED. The caller announces.
func (s *Service) enqueue(now int64, j *job, t *thing, retry int32) *execution {
	s.seq++
	s.changes++
	j.newest = s.cfg.Defects.Has(defect.NewestFirst)
	e := &execution{job: j, thing: t, seq: s.seq, number: 1, version: 1, retry: retry, queuedAt: now, updatedAt: now}
	if old := j.byThing[t.name]; old != nil {
		e.earlier, e.number = old, old.number+1
		j.counts[old.status]--
	}
	j.byThing[t.name] = e
	j.executions = append(j.executions, e)
	j.counts[Queued]++
	j.open++
	j.notified++
	t.all = append(t.all, e)
	t.insert(e)
	e.listed = true
	return e
}

// move takes an execution to another state and does what follows for its
// thing: the pending list, the timers, the retry, the notifications. What
// follows for the job is left to s.settle.
func (s *Service) move(now int64, e *execution, to Status) {
	head, j := e.thing.head(), e.job
	from := e.status
	if from != to {
		s.changes++
	}
	e.status, e.updatedAt = to, now
	e.version++
	if j.byThing[e.thing.name] == e {
		j.counts[from]--
		j.counts[to]++
	}
	changed := from != to && to == InProgress && s.cfg.Switches.NotifyInProgress
	switch {
	case to == InProgress && from == Queued:
		e.startedAt = now
		if j.timeout > 0 {
			e.limit().inProgress = now + int64(j.timeout)*minute
		}
		s.plan(e)
		e.thing.remove(e)
		e.thing.insert(e)
	case to.Terminal():
		if e.timer != nil {
			s.agenda.Drop(&e.timer.entry)
			e.timer = nil
		}
		e.thing.remove(e)
		e.listed = false
		j.open--
		j.ended[to]++
		changed = true
		if s.cfg.Ended != nil {
			s.cfg.Ended(e.thing.name, e.job.id, int64(e.number), e.status)
		}
		s.tellExecution(now, e, false)
		if j.live() && (j.schedule == nil || !j.schedule.over) && j.retries(e) {
			s.enqueue(now, j, e.thing, e.retry+1)
		}
	}
	s.announce(now, e.thing, head, changed)
}

func (e *execution) limit() *timer {
	if e.timer == nil {
		e.timer = &timer{}
	}
	return e.timer
}

// plan arms the timer of an execution at the nearer of its two limits.
func (s *Service) plan(e *execution) {
	due := e.timer.due()
	if due == 0 || s.cfg.Defects.Has(defect.TimeoutIgnored) {
		if e.timer != nil {
			s.agenda.Drop(&e.timer.entry)
		}
		return
	}
	if e.timer.entry.Run == nil {
		e.timer.entry.Run = func(now int64) {
			s.move(now, e, TimedOut)
			s.settle(now, e.job, TimedOut)
		}
	}
	if !e.timer.entry.Planned() || e.timer.entry.Due() != due {
		s.agenda.Plan(&e.timer.entry, due)
	}
}

// setStep applies stepTimeoutInMinutes: 0 leaves the step timer alone, -1 stops it.
func (s *Service) setStep(now int64, e *execution, minutes int64) {
	switch {
	case minutes == 0 || e.status != InProgress:
		return
	case minutes < 0:
		if e.timer != nil {
			e.timer.step = 0
		}
	default:
		e.limit().step = now + minutes*minute
	}
	s.plan(e)
}

// discard removes every trace of an execution; true when it was pending.
func (s *Service) discard(e *execution) (pending bool) {
	if e.gone {
		return false
	}
	e.gone = true
	if e.timer != nil {
		s.agenda.Drop(&e.timer.entry)
		e.timer = nil
	}
	j := e.job
	if e.status.Terminal() {
		j.ended[e.status]--
	} else {
		j.open--
	}
	j.discarded++
	for i, x := range e.thing.all {
		if x == e {
			e.thing.all = append(e.thing.all[:i], e.thing.all[i+1:]...)
			break
		}
	}
	s.changes++
	if j.byThing[e.thing.name] == e {
		j.counts[e.status]--
		older := e.earlier
		for older != nil && older.gone {
			older = older.earlier
		}
		if older != nil {
			j.byThing[e.thing.name] = older
			j.counts[older.status]++
		} else {
			delete(j.byThing, e.thing.name)
		}
	}
	pending = e.listed
	if pending {
		e.thing.remove(e)
		e.listed = false
	}
	return pending
}

func (s *Service) describe(now int64, e *execution) Execution {
	out := Execution{JobID: e.job.id, Status: e.status, ForceCanceled: e.forced,
		ThingARN: s.cfg.Realm.ARN("thing", e.thing.name),
		QueuedAt: aws.At(e.queuedAt), StartedAt: aws.At(e.startedAt), LastUpdatedAt: aws.At(e.updatedAt),
		ExecutionNumber: int64(e.number), VersionNumber: e.version, ApproximateSecondsBeforeTimedOut: e.secondsLeft(now)}
	if len(e.details) > 0 {
		out.StatusDetails.DetailsMap = make(map[string]string, len(e.details))
		for _, d := range e.details {
			out.StatusDetails.DetailsMap[d.Key] = d.Value
		}
	}
	return out
}

func (e *execution) summary() ExecutionSummary {
	return ExecutionSummary{Status: e.status, QueuedAt: aws.At(e.queuedAt), StartedAt: aws.At(e.startedAt),
		LastUpdatedAt: aws.At(e.updatedAt), ExecutionNumber: int64(e.number), RetryAttempt: int(e.retry)}
}

// secondsLeft is 0 when no timer runs and at least 1 when one does.
func (e *execution) secondsLeft(now int64) int64 {
	due := e.timer.due()
	if due == 0 || e.status != InProgress {
		return 0
	}
	return max(1, (due-now)/1e9)
}
