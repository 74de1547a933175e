package jobs

import (
	"strings"
	"time"

	"github.com/otasim/otasim/cloud/agenda"
	"github.com/otasim/otasim/cloud/aws"
)

// What becomes of executions when a job's endTime comes.
const (
	StopRollout = "STOP_ROLLOUT" // no more are created
	EndCancel   = "CANCEL"       // and those that are QUEUED are canceled
	ForceCancel = "FORCE_CANCEL" // and those that are IN_PROGRESS too
)

// SchedulingConfig says when a job rolls out. Times are UTC, "2026-03-01 12:30"
// or "2026-03-01T12:30".
type SchedulingConfig struct {
	StartTime          string              `json:"startTime,omitempty"`          // 30 minutes to a year ahead
	EndTime            string              `json:"endTime,omitempty"`            // 30 minutes after the start, at most two years ahead
	EndBehavior        string              `json:"endBehavior,omitempty"`        // default STOP_ROLLOUT
	MaintenanceWindows []MaintenanceWindow `json:"maintenanceWindows,omitempty"` // of CONTINUOUS jobs
}

// MaintenanceWindow is a time in which the rollout goes on, again and again.
type MaintenanceWindow struct {
	StartTime         string `json:"startTime"`         // cron(minute hour day-of-month month day-of-week year)
	DurationInMinutes int    `json:"durationInMinutes"` // 1-1430
}

// ScheduledRollout is the beginning of a rollout to come.
type ScheduledRollout struct {
	StartTime string `json:"startTime"`
}

// schedule is the timetable of one job.
//
//	created -> SCHEDULED -- startTime, a window opens --> IN_PROGRESS -- endTime --> stops, then COMPLETED
//	               ^----------- the window closes ------------'
type schedule struct {
	start, end int64 // 0 = at once, never
	windows    []window
	entry      agenda.Entry // the next change
	began      bool         // the rollout has started
	over       bool         // endTime has passed
}

type window struct {
	cron   cron
	length int64
}

const maxWindows = 10

func parseTime(name, text string) (int64, error) {
	for _, layout := range []string{"2006-01-02 15:04", "2006-01-02T15:04"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UnixNano(), nil
		}
	}
	return 0, aws.InvalidRequest.Because("schedulingConfig.%s %.40q: want YYYY-MM-DD HH:MM", name, text)
}

// newSchedule checks a configuration; nil without one.
func newSchedule(now int64, c *SchedulingConfig, selection string, anySelection bool) (*schedule, error) {
	bad := aws.InvalidRequest.Because
	if c == nil {
		return nil, nil
	}
	x, at, err := &schedule{}, time.Unix(0, now).UTC(), error(nil)
	if c.StartTime != "" {
		if x.start, err = parseTime("startTime", c.StartTime); err != nil {
			return nil, err
		}
		// The format has no seconds: the minute in which the half hour ends will do.
		if x.start < at.Add(30*time.Minute).Truncate(time.Minute).UnixNano() || x.start > at.AddDate(1, 0, 0).UnixNano() {
			return nil, bad("schedulingConfig.startTime %s: want 30 minutes to one year from now", c.StartTime)
		}
	}
	if c.EndTime != "" {
		if x.end, err = parseTime("endTime", c.EndTime); err != nil {
			return nil, err
		}
		switch {
		case x.end > at.AddDate(2, 0, 0).UnixNano():
			return nil, bad("schedulingConfig.endTime %s: want at most two years from now", c.EndTime)
		case x.end < max(x.start, at.Truncate(time.Minute).UnixNano())+30*minute:
			return nil, bad("schedulingConfig.endTime %s: want at least 30 minutes after the start", c.EndTime)
		}
	}
	switch c.EndBehavior {
	case StopRollout, EndCancel, ForceCancel, "":
	default:
		return nil, bad("schedulingConfig.endBehavior %.40q: want STOP_ROLLOUT, CANCEL or FORCE_CANCEL", c.EndBehavior)
	}
	if c.EndBehavior != "" && c.EndTime == "" {
		return nil, bad("schedulingConfig.endBehavior needs an endTime")
	}
	switch n := len(c.MaintenanceWindows); {
	case n > maxWindows:
		return nil, bad("schedulingConfig.maintenanceWindows: %d, the limit is %d", n, maxWindows)
	case n > 0 && selection != Continuous && !anySelection:
		return nil, bad("schedulingConfig.maintenanceWindows: only a CONTINUOUS job has them")
	}
	for _, w := range c.MaintenanceWindows {
		k, err := parseCron(w.StartTime)
		if err != nil {
			return nil, bad("schedulingConfig.maintenanceWindows: startTime %v", err)
		}
		if w.DurationInMinutes < 1 || w.DurationInMinutes > 1430 {
			return nil, bad("schedulingConfig.maintenanceWindows: durationInMinutes %d: want 1 to 1430", w.DurationInMinutes)
		}
		x.windows = append(x.windows, window{k, int64(w.DurationInMinutes) * minute})
	}
	return x, nil
}

// open reports whether the rollout may go on at now.
func (x *schedule) open(now int64) bool {
	if now < x.start {
		return false
	}
	for _, w := range x.windows {
		if begin, ok := w.cron.next(time.Unix(0, now-w.length)); ok && begin.UnixNano() <= now {
			return true
		}
	}
	return len(x.windows) == 0
}

// due is the next time after now at which something changes, 0 for never.
func (x *schedule) due(now int64) int64 {
	best := int64(0)
	near := func(at int64) {
		if at > now && (best == 0 || at < best) {
			best = at
		}
	}
	near(x.start)
	if !x.over {
		near(x.end)
		for _, w := range x.windows {
			if begin, ok := w.cron.next(time.Unix(0, now)); ok {
				near(begin.UnixNano())
			}
			if begin, ok := w.cron.next(time.Unix(0, now-w.length)); ok {
				near(begin.UnixNano() + w.length)
			}
		}
	}
	return best
}

// rollouts lists the beginnings to come, seven at most.
func (x *schedule) rollouts(now int64) (out []ScheduledRollout) {
	add := func(at int64) {
		out = append(out, ScheduledRollout{time.Unix(0, at).UTC().Format("2006-01-02 15:04")})
	}
	if len(x.windows) == 0 {
		if x.start > now {
			add(x.start)
		}
		return out
	}
	for at := max(now, x.start-1); len(out) < 7 && !x.over; {
		first := int64(0)
		for _, w := range x.windows {
			if begin, ok := w.cron.next(time.Unix(0, at)); ok && (first == 0 || begin.UnixNano() < first) {
				first = begin.UnixNano()
			}
		}
		if first == 0 || x.end != 0 && first >= x.end {
			break
		}
		add(first)
		at = first
	}
	return out
}

// turn brings a job with a timetable to where it should be at now.
func (s *Service) turn(now int64, j *job) {
	x := j.schedule
	if x.end != 0 && now >= x.end && !x.over {
		x.over = true
		s.finishSchedule(now, j)
		if !j.live() {
			return
		}
	}
	if !x.over {
		switch open := x.open(now); {
		case open && j.status == JobScheduled:
			s.open(now, j)
		case !open && j.status == JobInProgress:
			s.changes++
			j.status, j.updatedAt = JobScheduled, now
			s.agenda.Drop(&j.entry)
		}
	}
	if due := x.due(now); due != 0 && j.live() {
		s.agenda.Plan(&x.entry, due)
	}
}

// open begins the rollout of a SCHEDULED job, or goes on with it. A job that
// would be one too many is canceled.
func (s *Service) open(now int64, j *job) {
	x := j.schedule
	if n := s.cfg.Limits.Concurrent; n > 0 && s.concurrent() >= n {
		j.reason, j.comment = "CONCURRENT_JOBS_LIMIT_EXCEEDED", "The job was canceled because too many jobs are being rolled out."
		s.cancel(now, j, false)
		return
	}
	s.changes++
	j.status, j.updatedAt = JobInProgress, now
	if !x.began {
		x.began = true
		s.start(now, j)
		return
	}
	if j.rolling() {
		j.rate.due = max(now, j.rate.due)
		s.agenda.Plan(&j.entry, j.rate.due)
	}
}

// finishSchedule does what endBehavior says.
func (s *Service) finishSchedule(now int64, j *job) {
	s.changes++
	j.status, j.updatedAt = JobInProgress, now
	j.queue, j.next = nil, 0
	s.agenda.Drop(&j.entry)
	s.unwatch(j)
	if how := j.req.SchedulingConfig.EndBehavior; how == EndCancel || how == ForceCancel {
		s.cancelExecutions(now, j, how == ForceCancel)
	}
	s.complete(now, j)
}

// concurrent counts the jobs that are being rolled out.
func (s *Service) concurrent() int {
	n := 0
	for _, j := range s.order {
		if j.status == JobInProgress && j.rolling() {
			n++
		}
	}
	return n
}

// admit refuses a job that would be one too many of its kind.
func (s *Service) admit(r *CreateJobRequest, scheduled bool) error {
	l, active := s.cfg.Limits, 0
	limit := l.ActiveSnapshot
	if r.TargetSelection == Continuous {
		limit = l.ActiveContinuous
	}
	for _, j := range s.order {
		if j.live() && j.req.TargetSelection == r.TargetSelection {
			active++
		}
	}
	use := &s.uses.Snapshot
	if r.TargetSelection == Continuous {
		use = &s.uses.Continuous
	}
	running := s.concurrent()
	switch {
	case limit > 0 && active >= limit:
		use.Refused++
		return aws.LimitExceeded.Because("%d %s jobs are active already.", active, strings.ToUpper(r.TargetSelection))
	case !scheduled && l.Concurrent > 0 && running >= l.Concurrent:
		s.uses.Concurrent.Refused++
		return aws.LimitExceeded.Because("%d jobs are being rolled out already.", running)
	}
	use.see(active + 1)
	if !scheduled {
		s.uses.Concurrent.see(running + 1)
	}
	return nil
}

// Use is the most that there was of something limited, and how often a limit refused.
type Use struct {
	Most    int64
	Refused uint64
}

func (u *Use) see(n int) { u.Most = max(u.Most, int64(n)) }

// Uses is what was used of Limits. Of the rollout rate that is the fastest pace of a
// job, or all of its things if they are fewer.
type Uses struct {
	Snapshot, Continuous, Concurrent, RolloutRate, Deleting Use
	Document, Targets, Substitutions, Retries, Timeout      Use // of one job
	Details, DetailKey, DetailValue                         Use // of one report
}

// created notes what a job asks for.
func (u *Uses) created(r *CreateJobRequest) {
	u.Document.see(len(r.Document))
	u.Targets.see(len(r.Targets))
	u.Substitutions.see(strings.Count(r.Document, placeholder))
	if r.TimeoutConfig != nil {
		u.Timeout.see(r.TimeoutConfig.InProgressTimeoutInMinutes)
	}
	if r.JobExecutionsRetryConfig != nil {
		n := 0
		for _, c := range r.JobExecutionsRetryConfig.CriteriaList {
			n += max(0, c.NumberOfRetries)
		}
		u.Retries.see(n)
	}
}

// reported notes the details of a report.
func (u *Uses) reported(details []Detail) {
	u.Details.see(len(details))
	for _, d := range details {
		u.DetailKey.see(len(d.Key))
		u.DetailValue.see(len(d.Value))
	}
}

// Uses says what was used of the limits so far.
func (s *Service) Uses() Uses {
	u := s.uses
	for _, j := range s.order {
		u.RolloutRate.see(min(int(j.rate.now/1000), j.notified))
	}
	return u
}

func (s *Service) checkRate(c *RolloutConfig) error {
	if n := s.cfg.Limits.RolloutRate; n > 0 && c != nil && c.MaximumPerMinute > n {
		s.uses.RolloutRate.Refused++
		return aws.InvalidRequest.Because("maximumPerMinute %d: want 1 to %d", c.MaximumPerMinute, n)
	}
	return nil
}
