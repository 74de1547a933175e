package jobs

import (
	"bytes"
	"encoding/json"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/otasim/otasim/cloud/aws"
)

// CreateJob accepts a job. The first executions are created by the Wake at
// that same time. Errors: InvalidRequest, ResourceNotFound (a target),
// ResourceAlreadyExists.
func (s *Service) CreateJob(now time.Time, req CreateJobRequest) (JobResponse, error) {
	at := now.UnixNano()
	req.Targets = slices.Clone(req.Targets)
	if !aws.Name(req.JobID, 64, "") {
		return JobResponse{}, aws.InvalidRequest.Because("jobId %q: want 1 to 64 of [a-zA-Z0-9_-]", req.JobID)
	}
	if s.jobs[req.JobID] != nil {
		return JobResponse{}, aws.Exists("Job", req.JobID, s.cfg.Realm.ARN("job", req.JobID))
	}
	if req.TargetSelection == "" {
		req.TargetSelection = Snapshot
	}
	if req.DocumentSource != "" && req.Document == "" {
		if len(req.DocumentSource) > 1350 || s.cfg.Document == nil {
			return JobResponse{}, aws.InvalidRequest.Because("documentSource cannot be read")
		}
		doc, err := s.cfg.Document(req.DocumentSource)
		if err != nil {
			return JobResponse{}, aws.InvalidRequest.Because("documentSource: %v", err)
		}
		req.Document = doc
	} else if req.DocumentSource != "" {
		return JobResponse{}, aws.InvalidRequest.Because("document and documentSource exclude each other")
	}
	if err := check(&req); err != nil {
		return JobResponse{}, err
	}
	if err := s.checkRate(req.JobExecutionsRolloutConfig); err != nil {
		return JobResponse{}, err
	}
	s.uses.created(&req)
	x, err := newSchedule(at, req.SchedulingConfig, req.TargetSelection, s.cfg.Switches.SnapshotWindows)
	if err != nil {
		return JobResponse{}, err
	}
	if err := s.admit(&req, x != nil); err != nil {
		return JobResponse{}, err
	}
	names, err := s.resolve(req.Targets)
	if err != nil {
		return JobResponse{}, err
	}
	var wire bytes.Buffer
	if err := json.Compact(&wire, []byte(req.Document)); err != nil {
		return JobResponse{}, aws.InvalidRequest.Because("document is not JSON: %v", err)
	}
	s.changes++
	j := &job{req: req, id: req.JobID, status: JobInProgress, createdAt: at, updatedAt: at,
		wire: wire.Bytes(), signed: strings.Contains(req.Document, placeholder),
		byThing: make(map[string]*execution, len(names))}
	if req.TimeoutConfig != nil {
		j.timeout = req.TimeoutConfig.InProgressTimeoutInMinutes
	}
	s.jobs[j.id] = j
	s.order = append(s.order, j)
	if req.TargetSelection == Continuous {
		s.watchers = append(s.watchers, j)
	}
	s.latch(at, j, names, false)
	if x == nil {
		s.start(at, j)
		return s.response(j), nil
	}
	s.timed++
	j.schedule, j.status = x, JobScheduled
	x.entry.Run = func(now int64) { s.turn(now, j) }
	s.turn(at, j)
	return s.response(j), nil
}

func (s *Service) response(j *job) JobResponse {
	return JobResponse{JobARN: s.cfg.Realm.ARN("job", j.id), JobID: j.id, Description: j.req.Description}
}

// resolve turns target ARNs into thing names, each once, in target order.
func (s *Service) resolve(targets []string) ([]string, error) {
	var names []string
	for _, arn := range targets {
		switch kind, name, ok := s.cfg.Realm.Split(arn); {
		case !ok || kind != "thing" && kind != "thinggroup":
			return nil, aws.InvalidRequest.Because("target %q is not a thing or thing group of this account and region", arn)
		case kind == "thing":
			if !s.cfg.Directory.Thing(name) {
				return nil, aws.ResourceNotFound.Because("target %s does not exist", arn)
			}
			names = append(names, name)
		default:
			things, ok := s.cfg.Directory.Group(name)
			if !ok {
				return nil, aws.ResourceNotFound.Because("target %s does not exist", arn)
			}
			names = append(names, things...)
		}
	}
	return names, nil
}

func (s *Service) job(id string) (*job, error) {
	if j := s.jobs[id]; j != nil {
		return j, nil
	}
	return nil, aws.ResourceNotFound.Because("Job %s cannot be found.", id)
}

// DescribeJob tells everything about a job.
func (s *Service) DescribeJob(id string) (Job, error) {
	j, err := s.job(id)
	if err != nil {
		return Job{}, err
	}
	out := Job{JobARN: s.cfg.Realm.ARN("job", id), JobID: id, TargetSelection: j.req.TargetSelection, Status: j.status,
		ForceCanceled: j.forced, ReasonCode: j.reason, Comment: j.comment, Targets: slices.Clone(j.req.Targets), Description: j.req.Description,
		PresignedURLConfig: j.req.PresignedURLConfig, JobExecutionsRolloutConfig: j.req.JobExecutionsRolloutConfig,
		AbortConfig: j.req.AbortConfig, TimeoutConfig: j.req.TimeoutConfig, JobExecutionsRetryConfig: j.req.JobExecutionsRetryConfig,
		SchedulingConfig: j.req.SchedulingConfig,
		CreatedAt:        aws.At(j.createdAt), LastUpdatedAt: aws.At(j.updatedAt), CompletedAt: aws.At(j.completedAt),
		IsConcurrent: j.status == JobInProgress && j.rolling(),
		JobProcessDetails: ProcessDetails{
			NumberOfCanceledThings: j.counts[Canceled], NumberOfSucceededThings: j.counts[Succeeded], NumberOfFailedThings: j.counts[Failed],
			NumberOfRejectedThings: j.counts[Rejected], NumberOfQueuedThings: j.counts[Queued], NumberOfInProgressThings: j.counts[InProgress],
			NumberOfRemovedThings: j.counts[Removed], NumberOfTimedOutThings: j.counts[TimedOut]}}
	if out.IsConcurrent {
		out.JobProcessDetails.ProcessingTargets = out.Targets
	}
	return out, nil
}

// ScheduledJobRollouts lists the beginnings to come of a job with a schedule,
// seven at most; DescribeJob has no time to tell them by.
func (s *Service) ScheduledJobRollouts(now time.Time, id string) []ScheduledRollout {
	if j := s.jobs[id]; j != nil && j.schedule != nil && j.live() {
		return j.schedule.rollouts(now.UnixNano())
	}
	return nil
}

// GetJobDocument returns the document as stored, placeholders included.
func (s *Service) GetJobDocument(id string) (string, error) {
	j, err := s.job(id)
	if err != nil {
		return "", err
	}
	return j.req.Document, nil
}

// DocumentSource returns where a job's document came from, "" when it came with
// the request or there is no such job.
func (s *Service) DocumentSource(id string) string {
	if j := s.jobs[id]; j != nil {
		return j.req.DocumentSource
	}
	return ""
}

// UpdateJobRequest changes a job; nil members stay. A new timeout concerns
// executions that start later, and retries may only be set to 0.
type UpdateJobRequest struct {
	Description                *string             `json:"description,omitempty"`
	PresignedURLConfig         *PresignedURLConfig `json:"presignedUrlConfig,omitempty"`
	JobExecutionsRolloutConfig *RolloutConfig      `json:"jobExecutionsRolloutConfig,omitempty"`
	AbortConfig                *AbortConfig        `json:"abortConfig,omitempty"`
	TimeoutConfig              *TimeoutConfig      `json:"timeoutConfig,omitempty"`
	JobExecutionsRetryConfig   *RetryConfig        `json:"jobExecutionsRetryConfig,omitempty"`
}

// UpdateJob changes the settings of a job.
func (s *Service) UpdateJob(now time.Time, id string, u UpdateJobRequest) error {
	j, err := s.job(id)
	if err != nil {
		return err
	}
	r := j.req
	if u.Description != nil {
		r.Description = *u.Description
	}
	if u.PresignedURLConfig != nil {
		r.PresignedURLConfig = u.PresignedURLConfig
	}
	if u.JobExecutionsRolloutConfig != nil {
		r.JobExecutionsRolloutConfig = u.JobExecutionsRolloutConfig
	}
	if u.AbortConfig != nil {
		r.AbortConfig = u.AbortConfig
	}
	if u.TimeoutConfig != nil {
		r.TimeoutConfig = u.TimeoutConfig
	}
	if u.JobExecutionsRetryConfig != nil {
		for _, c := range u.JobExecutionsRetryConfig.CriteriaList {
			if c.NumberOfRetries != 0 {
				return aws.InvalidRequest.Because("numberOfRetries of an existing job can only be set to 0")
			}
		}
		r.JobExecutionsRetryConfig = u.JobExecutionsRetryConfig
	}
	if err := check(&r); err != nil {
		return err
	}
	if err := s.checkRate(u.JobExecutionsRolloutConfig); err != nil {
		return err
	}
	j.req, j.updatedAt = r, now.UnixNano()
	if u.TimeoutConfig != nil {
		j.timeout = u.TimeoutConfig.InProgressTimeoutInMinutes
	}
	if u.JobExecutionsRolloutConfig != nil && j.rolling() {
		last, due := j.rate.last, j.rate.due
		j.rate = newRate(r.JobExecutionsRolloutConfig)
		j.rate.last, j.rate.due = last, max(now.UnixNano(), min(due, last+j.rate.interval()))
		if j.status == JobInProgress {
			s.agenda.Plan(&j.entry, j.rate.due)
		}
	}
	return nil
}

// CancelJobRequest is the body of CancelJob.
type CancelJobRequest struct {
	ReasonCode string `json:"reasonCode,omitempty"`
	Comment    string `json:"comment,omitempty"`
	Force      bool   `json:"-"` // query member: IN_PROGRESS executions too
}

// CancelJob cancels a job and its QUEUED executions.
func (s *Service) CancelJob(now time.Time, id string, r CancelJobRequest) (JobResponse, error) {
	j, err := s.job(id)
	if err != nil {
		return JobResponse{}, err
	}
	if !j.live() {
		return JobResponse{}, aws.InvalidRequest.Because("Job %s is %s and cannot be canceled.", id, j.status)
	}
	j.reason, j.comment = r.ReasonCode, r.Comment
	s.cancel(now.UnixNano(), j, r.Force)
	return s.response(j), nil
}

// DeleteJob removes a finished job, with force any job. Executions go with it
// once the deletion is through.
func (s *Service) DeleteJob(now time.Time, id string, force bool) error {
	j, err := s.job(id)
	if err != nil {
		return err
	}
	switch {
	case j.status == JobDeletionInProgress:
		return aws.InvalidStateTransition.Because("Job %s is being deleted.", id)
	case j.live() && !force:
		return aws.InvalidStateTransition.Because("Job %s is %s and can only be deleted with force.", id, j.status)
	}
	deleting := 0
	for _, x := range s.order {
		if x.status == JobDeletionInProgress {
			deleting++
		}
	}
	s.uses.Deleting.see(deleting + 1)
	if s.cfg.Limits.Deleting > 0 && deleting >= s.cfg.Limits.Deleting {
		s.uses.Deleting.Refused++
		return aws.LimitExceeded.Because("%d jobs are being deleted already.", deleting)
	}
	s.changes++
	j.status, j.updatedAt = JobDeletionInProgress, now.UnixNano()
	j.queue, j.next = nil, 0
	s.unwatch(j)
	s.retire(j)
	s.tellJob(now.UnixNano(), j, "deletion_in_progress", JobDeletionInProgress)
	j.entry.Run = func(at int64) { s.delete(at, j) }
	s.agenda.Plan(&j.entry, now.Add(s.cfg.DeletionTime).UnixNano())
	return nil
}

func (s *Service) delete(now int64, j *job) {
	for _, e := range j.executions {
		if e.gone {
			continue
		}
		head := e.thing.head()
		pending := s.discard(e)
		s.tellExecution(now, e, true)
		s.announce(now, e.thing, head, pending)
	}
	s.changes++
	if j.schedule != nil {
		s.timed--
	}
	s.tellJob(now, j, "deleted", "DELETED")
	delete(s.jobs, j.id)
	if i := slices.Index(s.order, j); i >= 0 {
		s.order = slices.Delete(s.order, i, i+1)
	}
}

// AssociateTargetsWithJob adds targets to a CONTINUOUS job that is IN_PROGRESS.
func (s *Service) AssociateTargetsWithJob(now time.Time, id string, targets []string, comment string) (JobResponse, error) {
	j, err := s.job(id)
	if err != nil {
		return JobResponse{}, err
	}
	switch {
	case j.req.TargetSelection != Continuous || j.status != JobInProgress:
		return JobResponse{}, aws.InvalidRequest.Because("Job %s is %s and %s; targets can be added to CONTINUOUS jobs IN_PROGRESS.", id, j.req.TargetSelection, j.status)
	case len(targets) == 0:
		return JobResponse{}, aws.InvalidRequest.Because("targets: at least one is required")
	case len(j.req.Targets)+len(targets) > maxTargets:
		return JobResponse{}, aws.LimitExceeded.Because("targets: %d altogether, the limit is %d", len(j.req.Targets)+len(targets), maxTargets)
	}
	names, err := s.resolve(targets)
	if err != nil {
		return JobResponse{}, err
	}
	at := now.UnixNano()
	j.req.Targets, j.updatedAt = append(j.req.Targets, targets...), at
	s.uses.Targets.see(len(j.req.Targets))
	if comment != "" {
		j.comment = comment
	}
	s.latch(at, j, names, true)
	return s.response(j), nil
}

// page cuts the rows [from, from+max) out of n and names the next token.
func page(n, max int, token string) (from, to int, next string, err error) {
	if max == 0 {
		max = 250
	}
	if max < 1 || max > 250 {
		return 0, 0, "", aws.InvalidRequest.Because("maxResults %d: want 1 to 250", max)
	}
	if token != "" {
		if from, err = strconv.Atoi(token); err != nil || from < 0 {
			return 0, 0, "", aws.InvalidRequest.Because("nextToken %q is not valid", token)
		}
	}
	from = min(from, n)
	if to = min(from+max, n); to < n {
		next = strconv.Itoa(to)
	}
	return from, to, next, nil
}

// Filter selects jobs; empty members match every job.
type Filter struct {
	Status, TargetSelection string
	Target                  string // ARN among the job's targets
}

// ListJobs lists jobs, newest first.
func (s *Service) ListJobs(f Filter, maxResults int, token string) ([]JobSummary, string, error) {
	var rows []JobSummary
	for _, j := range slices.Backward(s.order) {
		if f.Status != "" && j.status != f.Status || f.TargetSelection != "" && j.req.TargetSelection != f.TargetSelection ||
			f.Target != "" && !slices.Contains(j.req.Targets, f.Target) ||
			s.cfg.Switches.HideScheduled && j.status == JobScheduled && strings.Contains(f.Target, ":thinggroup/") {
			continue
		}
		rows = append(rows, JobSummary{JobARN: s.cfg.Realm.ARN("job", j.id), JobID: j.id, TargetSelection: j.req.TargetSelection,
			Status: j.status, CreatedAt: aws.At(j.createdAt), LastUpdatedAt: aws.At(j.updatedAt), CompletedAt: aws.At(j.completedAt),
			IsConcurrent: j.status == JobInProgress && j.rolling()})
	}
	from, to, next, err := page(len(rows), maxResults, token)
	if err != nil {
		return nil, "", err
	}
	return rows[from:to], next, nil
}

// ListJobExecutionsForJob lists created executions, oldest first.
func (s *Service) ListJobExecutionsForJob(id, status string, maxResults int, token string) ([]ExecutionForJob, string, error) {
	j, err := s.job(id)
	if err != nil {
		return nil, "", err
	}
	if _, ok := ParseStatus(status); status != "" && !ok {
		return nil, "", aws.InvalidRequest.Because("status %q is not an execution status", status)
	}
	found := j.executions
	if status != "" || j.discarded > 0 {
		found = nil
		for _, e := range j.executions {
			if !e.gone && (status == "" || e.status.String() == status) {
				found = append(found, e)
			}
		}
	}
	from, to, next, err := page(len(found), maxResults, token)
	if err != nil {
		return nil, "", err
	}
	rows := make([]ExecutionForJob, 0, to-from)
	for _, e := range found[from:to] {
		rows = append(rows, ExecutionForJob{s.cfg.Realm.ARN("thing", e.thing.name), e.summary()})
	}
	return rows, next, nil
}

// ListJobExecutionsForThing lists a thing's executions, newest first; empty
// filters match everything.
func (s *Service) ListJobExecutionsForThing(name, status, jobID string, maxResults int, token string) ([]ExecutionForThing, string, error) {
	t, derr := s.pending(name)
	if derr != nil {
		return nil, "", derr.Unwrap()
	}
	var found []*execution
	if t != nil {
		for _, e := range slices.Backward(t.all) {
			if (status == "" || e.status.String() == status) && (jobID == "" || e.job.id == jobID) {
				found = append(found, e)
			}
		}
	}
	from, to, next, err := page(len(found), maxResults, token)
	if err != nil {
		return nil, "", err
	}
	rows := make([]ExecutionForThing, 0, to-from)
	for _, e := range found[from:to] {
		rows = append(rows, ExecutionForThing{e.job.id, e.summary()})
	}
	return rows, next, nil
}

// DescribeJobExecution tells about one execution; number 0 is the latest.
func (s *Service) DescribeJobExecution(now time.Time, thing, jobID string, number int64) (Execution, error) {
	e, err := s.execution(thing, jobID, number)
	if err != nil {
		return Execution{}, err
	}
	return s.describe(now.UnixNano(), e), nil
}

func (s *Service) execution(thing, jobID string, number int64) (*execution, error) {
	var n *int64
	if number != 0 {
		n = &number
	}
	if e := s.find(thing, jobID, n); e != nil {
		return e, nil
	}
	return nil, aws.ResourceNotFound.Because("Job execution of job %s on thing %s cannot be found.", jobID, thing)
}

// CancelJobExecutionRequest is the body of CancelJobExecution.
type CancelJobExecutionRequest struct {
	ExpectedVersion int64             `json:"expectedVersion,omitempty"`
	StatusDetails   map[string]string `json:"statusDetails,omitempty"`
	Force           bool              `json:"-"` // query member: IN_PROGRESS too
}

// CancelJobExecution cancels one execution that is QUEUED, with force also one
// that is IN_PROGRESS.
func (s *Service) CancelJobExecution(now time.Time, thing, jobID string, r CancelJobExecutionRequest) error {
	e, err := s.execution(thing, jobID, 0)
	if err != nil {
		return err
	}
	switch {
	case r.ExpectedVersion != 0 && r.ExpectedVersion != e.version:
		return aws.VersionConflict.Because("expectedVersion %d, the job execution has version %d", r.ExpectedVersion, e.version)
	case e.status.Terminal() || e.status == InProgress && !r.Force:
		return aws.InvalidStateTransition.Because("A job execution that is %s cannot be canceled this way.", e.status)
	}
	if r.StatusDetails != nil {
		details := make([]Detail, 0, len(r.StatusDetails))
		for k, v := range r.StatusDetails {
			details = append(details, Detail{k, v})
		}
		sort.Slice(details, func(a, b int) bool { return details[a].Key < details[b].Key })
		if derr := checkDetails(details); derr != nil {
			return derr.Unwrap()
		}
		e.details = details
	}
	e.forced = r.Force && e.status == InProgress
	s.move(now.UnixNano(), e, Canceled)
	s.settle(now.UnixNano(), e.job, Canceled)
	return nil
}

// DeleteJobExecution removes one attempt that is finished, with force any.
func (s *Service) DeleteJobExecution(now time.Time, thing, jobID string, number int64, force bool) error {
	e, err := s.execution(thing, jobID, number)
	if err != nil {
		return err
	}
	if !e.status.Terminal() && !force {
		return aws.InvalidStateTransition.Because("A job execution that is %s can only be deleted with force.", e.status)
	}
	at, head := now.UnixNano(), e.thing.head()
	pending := s.discard(e)
	s.tellExecution(at, e, true)
	s.announce(at, e.thing, head, pending)
	s.settle(at, e.job, Removed)
	return nil
}
