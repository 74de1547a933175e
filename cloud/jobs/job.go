package jobs

import (
	"math"
	"slices"
	"time"

	"github.com/otasim/otasim/cloud/agenda"
	"github.com/otasim/otasim/cloud/defect"
)

// job is one job with everything that counts for it.
type job struct {
	newest    bool // planted defects
	miscounts bool

	req     CreateJobRequest // as created, with later UpdateJob changes
	id      string
	wire    []byte // the document as compact JSON
	signed  bool   // the document holds presigned URL placeholders
	status  string
	forced  bool
	reason  string
	comment string
	timeout int // minutes, 0 = none

	createdAt, updatedAt, completedAt int64

	// byThing holds the latest execution of each target, nil for a target that
	// the rollout has not reached.
	byThing    map[string]*execution
	executions []*execution // by creation
	discarded  int          // deleted ones still in executions
	counts     [statuses]int
	ended      [statuses]int // every attempt, retried ones included
	notified   int           // executions ever created
	open       int           // not terminal

	queue []string // what the rollout still has to reach, from next on
	next  int
	rate  rate
	entry agenda.Entry // rollout step, then deletion

	schedule *schedule // nil without schedulingConfig
}

// rate is the pace of a rollout in thousandths of a thing per minute. All of it
// is integer arithmetic, so that every machine gets the same times.
type rate struct {
	now, max  int64
	factor    int64 // thousandths, 0 = constant
	step      int   // things per increase
	succeeded bool  // step counts succeeded instead of notified things
	reached   int   // increases so far
	last, due int64 // ideal times of the last and the next notification
}

func newRate(c *RolloutConfig) rate {
	r := rate{now: defaultRate * 1000, max: defaultRate * 1000}
	if c == nil {
		return r
	}
	if c.MaximumPerMinute > 0 {
		r.now = int64(c.MaximumPerMinute) * 1000
		r.max = r.now
	}
	if x := c.ExponentialRate; x != nil {
		r.now = min(int64(x.BaseRatePerMinute)*1000, r.max)
		r.factor = int64(math.Round(x.IncrementFactor * 1000))
		r.step = x.RateIncreaseCriteria.NumberOfNotifiedThings
		if r.step == 0 {
			r.step, r.succeeded = x.RateIncreaseCriteria.NumberOfSucceededThings, true
		}
	}
	return r
}

// interval is the time between two notifications.
func (r *rate) interval() int64 { return minute * 1000 / r.now }

// grow raises the rate once for every multiple of step that count has passed
// and reports whether it did.
func (r *rate) grow(count int) bool {
	grew := false
	for r.factor > 0 && r.step > 0 && count >= (r.reached+1)*r.step && r.now < r.max {
		r.reached++
		r.now = min(r.now*r.factor/1000, r.max)
		grew = true
	}
	return grew
}

// live reports whether a job is neither finished nor being deleted.
func (j *job) live() bool { return j.status == JobInProgress || j.status == JobScheduled }

// rolling reports whether things still wait for their execution.
func (j *job) rolling() bool { return j.next < len(j.queue) }

// retries reports whether an attempt that has ended is followed by another. Each
// criterion counts the retries that its own kind of failure has had.
func (j *job) retries(e *execution) bool {
	how := e.status
	if j.req.JobExecutionsRetryConfig == nil || how != Failed && how != TimedOut {
		return false
	}
	for _, c := range j.req.JobExecutionsRetryConfig.CriteriaList {
		if c.FailureType != "ALL" && c.FailureType != how.String() {
			continue
		}
		had := 0
		for x := e; x.retry > 0 && x.earlier != nil; x = x.earlier {
			if c.FailureType == "ALL" || x.earlier.status == how {
				had++
			}
		}
		if had < c.NumberOfRetries {
			return true
		}
	}
	return false
}

// aborts reports whether a criterion is met, in list order.
func (j *job) aborts(onNotified bool) bool {
	if j.req.AbortConfig == nil {
		return false
	}
	finished := j.ended[Succeeded] + j.ended[Failed] + j.ended[Rejected] + j.ended[TimedOut]
	if finished == 0 {
		return false
	}
	for _, c := range j.req.AbortConfig.CriteriaList {
		bad := j.ended[Failed] + j.ended[Rejected] + j.ended[TimedOut]
		if j.miscounts {
			bad = j.ended[Succeeded]
		} else if s, ok := ParseStatus(c.FailureType); ok {
			bad = j.ended[s]
		}
		base := finished
		if onNotified {
			base = j.notified
		}
		hundredths := int64(math.Round(c.ThresholdPercentage * 100))
		if base >= c.MinNumberOfExecutedThings && bad > 0 && int64(bad)*10000 >= hundredths*int64(finished) {
			return true
		}
	}
	return false
}

// settle does what an execution's new state means for its job: a faster
// rollout, an abort, completion.
func (s *Service) settle(now int64, j *job, how Status) {
	if !j.live() {
		return
	}
	if how == Succeeded && j.rate.succeeded && j.rate.grow(j.counts[Succeeded]) && j.rolling() {
		j.rate.due = max(now, j.rate.last+j.rate.interval())
		if j.status == JobInProgress {
			s.agenda.Plan(&j.entry, j.rate.due)
		}
	}
	j.miscounts = s.cfg.Defects.Has(defect.AbortCountsWrong)
	if how.Terminal() && !s.cfg.Defects.Has(defect.AbortIgnored) && j.aborts(s.cfg.Switches.AbortOnNotified) {
		j.reason, j.comment = "ABORT_CRITERIA_MET", "The job was canceled because an abort criterion was met."
		s.cancel(now, j, false)
		return
	}
	s.complete(now, j)
}

// complete ends a job that has nothing left to do: a SNAPSHOT that is rolled
// out, a CONTINUOUS whose end has come.
func (s *Service) complete(now int64, j *job) {
	if !j.live() || j.rolling() || j.open > 0 || s.cfg.Defects.Has(defect.NeverCompletes) {
		return
	}
	x := j.schedule
	if j.req.TargetSelection == Snapshot && (x == nil || x.began || x.over) || x != nil && x.over {
		s.changes++
		j.status, j.updatedAt, j.completedAt = JobCompleted, now, now
		s.retire(j)
		s.tellJob(now, j, "completed", JobCompleted)
	}
}

// retire ends the timetable of a job that is no longer live.
func (s *Service) retire(j *job) {
	if j.schedule != nil {
		s.agenda.Drop(&j.schedule.entry)
	}
}

// cancel ends a job: QUEUED executions, with force IN_PROGRESS ones too.
func (s *Service) cancel(now int64, j *job, force bool) {
	s.changes++
	s.tellJob(now, j, "cancellation_in_progress", "CANCELLATION_IN_PROGRESS")
	j.status, j.forced, j.updatedAt, j.completedAt = JobCanceled, force, now, now
	j.queue, j.next = nil, 0
	s.agenda.Drop(&j.entry)
	s.retire(j)
	s.unwatch(j)
	s.cancelExecutions(now, j, force)
	s.tellJob(now, j, "canceled", JobCanceled)
}

// cancelExecutions ends what is QUEUED, with force what is IN_PROGRESS too.
func (s *Service) cancelExecutions(now int64, j *job, force bool) {
	for _, e := range j.executions {
		if s.cfg.Defects.Has(defect.CancelForgets) {
			break
		}
		if e.gone || e.status.Terminal() || e.status == InProgress && !force {
			continue
		}
		e.forced = force && e.status == InProgress
		s.move(now, e, Canceled)
	}
}

// rollout gives executions to the things whose turn it is.
func (s *Service) rollout(now int64, j *job) {
	for j.rolling() && (j.rate.due <= now || s.cfg.Defects.Has(defect.RateIgnored)) {
		name := j.queue[j.next]
		j.queue[j.next] = ""
		j.next++
		if e, target := j.byThing[name]; !target || e != nil && e.status != Removed && !e.left {
			continue // left, or came back and was served at once
		}
		if !s.cfg.Directory.Thing(name) {
			delete(j.byThing, name)
			continue
		}
		s.give(now, j, name)
		if !j.rate.succeeded {
			j.rate.grow(j.notified)
		}
		j.rate.last = j.rate.due
		j.rate.due += j.rate.interval()
	}
	if j.rolling() {
		s.agenda.Plan(&j.entry, j.rate.due)
		return
	}
	j.queue, j.next = nil, 0
	j.updatedAt = now
	s.complete(now, j)
}

// give creates a first or renewed execution and announces it.
func (s *Service) give(now int64, j *job, name string) {
	t := s.thing(name)
	head := t.head()
	s.enqueue(now, j, t, 0)
	s.announce(now, t, head, true)
}

// latch adds targets to a job: to the rollout queue, or served at once.
func (s *Service) latch(now int64, j *job, names []string, atOnce bool) {
	for _, name := range names {
		if _, known := j.byThing[name]; known {
			continue
		}
		j.byThing[name] = nil
		if atOnce {
			s.give(now, j, name)
		} else {
			j.queue = append(j.queue, name)
		}
	}
}

func (s *Service) start(now int64, j *job) {
	r := s.cfg.Seed.Sub("rollout " + j.id).Rand()
	r.Shuffle(len(j.queue), func(a, b int) { j.queue[a], j.queue[b] = j.queue[b], j.queue[a] })
	j.rate = newRate(j.req.JobExecutionsRolloutConfig)
	j.rate.last, j.rate.due = now, now
	j.entry.Run = func(now int64) { s.rollout(now, j) }
	s.agenda.Plan(&j.entry, now)
}

func (s *Service) unwatch(j *job) {
	if i := slices.Index(s.watchers, j); i >= 0 {
		s.watchers = slices.Delete(s.watchers, i, i+1)
	}
}

// targeted reports whether a thing belongs to a job by name or by group now.
func (s *Service) targeted(j *job, thing string) bool {
	for _, arn := range j.req.Targets {
		switch kind, name, _ := s.cfg.Realm.Split(arn); kind {
		case "thing":
			if name == thing {
				return true
			}
		case "thinggroup":
			if s.cfg.Directory.InGroup(thing, name) {
				return true
			}
		}
	}
	return false
}

// MembershipChanged tells the service that a thing has joined or left groups.
// CONTINUOUS jobs give it an execution at once or take its pending one away.
func (s *Service) MembershipChanged(now time.Time, thing string) {
	at := now.UnixNano()
	for _, j := range slices.Clone(s.watchers) {
		e, member := j.byThing[thing]
		member = member && (e == nil || e.status != Removed && !e.left)
		switch is := s.targeted(j, thing); {
		case is && !member:
			switch {
			case e == nil:
				s.latch(at, j, []string{thing}, j.status == JobInProgress)
			case j.status == JobScheduled: // its turn comes when the window opens
				j.queue = append(j.queue, thing)
			default:
				s.give(at, j, thing)
			}
		case !is && member:
			s.leave(at, j, thing, e)
		}
	}
	if s.cfg.Switches.RemoveSnapshotLeavers && s.things[thing] != nil {
		for _, e := range slices.Clone(s.things[thing].pending) {
			if e.job.req.TargetSelection == Snapshot && !s.targeted(e.job, thing) {
				s.leave(at, e.job, thing, e)
			}
		}
	}
}

func (s *Service) leave(now int64, j *job, thing string, e *execution) {
	switch {
	case e == nil:
		delete(j.byThing, thing)
	case !e.status.Terminal():
		s.move(now, e, Removed)
		s.settle(now, j, Removed)
	default:
		e.left = true // finished executions stay; a return counts as a join
	}
}

// ThingDeleted removes what is pending for a thing that no longer exists.
func (s *Service) ThingDeleted(now time.Time, thing string) {
	at := now.UnixNano()
	if t := s.things[thing]; t != nil {
		for _, e := range slices.Clone(t.pending) {
			s.move(at, e, Removed)
			s.settle(at, e.job, Removed)
		}
		for _, e := range t.all {
			e.left = true
		}
		delete(s.things, thing)
	}
	for _, j := range s.order {
		if e, target := j.byThing[thing]; target && e == nil {
			delete(j.byThing, thing)
		}
	}
}
