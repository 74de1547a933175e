package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/cloud/ota"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// rollout is one OTA update that was asked for, by the operator or an attacker.
type rollout struct {
	id       string // otaUpdateId
	version  string
	created  time.Duration
	attack   int // index of the attack that made it or spoilt it, -1: none
	row      *scenario.Update
	status   string // of its job when last looked at
	deleted  bool
	failed   bool // CREATE_FAILED was noted
	lastSeen jobs.Job
}

// settled reports whether a rollout has reached its end: the job has ended, or it is
// CONTINUOUS and everybody has.
func (r *rollout) settled() bool {
	if r.deleted || r.failed {
		return true
	}
	d := &r.lastSeen.JobProcessDetails
	pending := d.NumberOfQueuedThings + d.NumberOfInProgressThings
	switch r.status {
	case jobs.JobCompleted, jobs.JobCanceled:
		return pending == 0
	case jobs.JobInProgress:
		return r.lastSeen.TargetSelection == jobs.Continuous && !r.lastSeen.IsConcurrent && pending == 0
	}
	return false
}

// observe looks at every job, as an operator's console does, if there is anything
// new to see.
func (o *operator) observe() (changed bool) {
	n := o.cloud.JobChanges()
	if n == o.seen && !slices.ContainsFunc(o.runs, func(r *rollout) bool { return r.status == "" && !r.failed }) {
		return false
	}
	o.seen = n
	for _, r := range o.runs {
		if r.deleted || r.failed {
			continue
		}
		j, err := o.cloud.DescribeJob(ota.JobID(r.id))
		if err != nil {
			info, gone := o.cloud.GetOTAUpdate(Epoch.Add(o.now), r.id)
			switch {
			case r.status != "":
				r.deleted, changed = true, true
				o.step("job %s DELETED", ota.JobID(r.id))
			case gone == nil && info.OTAUpdateStatus == ota.CreateFailed:
				r.failed, changed = true, true
				o.notes = append(o.notes, fmt.Sprintf("update %s: CREATE_FAILED: %s: %s", r.id, info.ErrorInfo.Code, info.ErrorInfo.Message))
			}
			continue
		}
		if j.Status != r.status {
			o.step("job %s %s", j.JobID, j.Status)
		}
		changed = changed || j.Status != r.status || !sameCounts(&j.JobProcessDetails, &r.lastSeen.JobProcessDetails)
		r.status, r.lastSeen = j.Status, j
	}
	return changed
}

func sameCounts(a, b *jobs.ProcessDetails) bool {
	return a.NumberOfCanceledThings == b.NumberOfCanceledThings && a.NumberOfSucceededThings == b.NumberOfSucceededThings &&
		a.NumberOfFailedThings == b.NumberOfFailedThings && a.NumberOfRejectedThings == b.NumberOfRejectedThings &&
		a.NumberOfQueuedThings == b.NumberOfQueuedThings && a.NumberOfInProgressThings == b.NumberOfInProgressThings &&
		a.NumberOfRemovedThings == b.NumberOfRemovedThings && a.NumberOfTimedOutThings == b.NumberOfTimedOutThings
}

func (o *operator) step(format string, args ...any) {
	o.steps = append(o.steps, report.Step{At: o.now.Seconds(), Text: fmt.Sprintf(format, args...)})
}

func (o *operator) reached(a *scenario.After) bool {
	r := o.rollout(a.OTAUpdateID)
	return r != nil && r.status == a.JobStatus
}

func (o *operator) rollout(id string) *rollout {
	for _, r := range o.runs {
		if r.id == id {
			return r
		}
	}
	return nil
}
