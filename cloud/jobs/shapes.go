package jobs

import (
	"fmt"

	"github.com/otasim/otasim/cloud/aws"
)

// Status is the state of a job execution.
type Status uint8

// States of a job execution; from SUCCEEDED on they are terminal.
const (
	Queued Status = iota
	InProgress
	Succeeded
	Failed
	TimedOut
	Rejected
	Removed
	Canceled
	statuses // their number
)

var statusNames = [statuses]string{"QUEUED", "IN_PROGRESS", "SUCCEEDED", "FAILED", "TIMED_OUT", "REJECTED", "REMOVED", "CANCELED"}

// Terminal reports whether no update can leave the state.
func (s Status) Terminal() bool { return s >= Succeeded }

func (s Status) String() string {
	if s < statuses {
		return statusNames[s]
	}
	return fmt.Sprintf("Status(%d)", uint8(s))
}

// ParseStatus is the inverse of String.
func ParseStatus(name string) (Status, bool) {
	for s, n := range statusNames {
		if n == name {
			return Status(s), true
		}
	}
	return 0, false
}

// MarshalText writes the name.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the name.
func (s *Status) UnmarshalText(b []byte) error {
	v, ok := ParseStatus(string(b))
	if !ok {
		return fmt.Errorf("jobs: %q is not an execution status", b)
	}
	*s = v
	return nil
}

// States of a job and choices of its target selection, as the API spells them.
const (
	JobScheduled          = "SCHEDULED"
	JobInProgress         = "IN_PROGRESS"
	JobCanceled           = "CANCELED"
	JobCompleted          = "COMPLETED"
	JobDeletionInProgress = "DELETION_IN_PROGRESS"

	Snapshot   = "SNAPSHOT"
	Continuous = "CONTINUOUS"
)

// CreateJobRequest is the body of CreateJob (PUT /jobs/{jobId}).
type CreateJobRequest struct {
	JobID                      string              `json:"jobId"`
	Targets                    []string            `json:"targets"`
	Document                   string              `json:"document,omitempty"`
	DocumentSource             string              `json:"documentSource,omitempty"`
	Description                string              `json:"description,omitempty"`
	TargetSelection            string              `json:"targetSelection,omitempty"`
	PresignedURLConfig         *PresignedURLConfig `json:"presignedUrlConfig,omitempty"`
	JobExecutionsRolloutConfig *RolloutConfig      `json:"jobExecutionsRolloutConfig,omitempty"`
	AbortConfig                *AbortConfig        `json:"abortConfig,omitempty"`
	TimeoutConfig              *TimeoutConfig      `json:"timeoutConfig,omitempty"`
	JobExecutionsRetryConfig   *RetryConfig        `json:"jobExecutionsRetryConfig,omitempty"`
	SchedulingConfig           *SchedulingConfig   `json:"schedulingConfig,omitempty"`
}

// JobResponse answers CreateJob, CancelJob and AssociateTargetsWithJob.
type JobResponse struct {
	JobARN      string `json:"jobArn"`
	JobID       string `json:"jobId"`
	Description string `json:"description,omitempty"`
}

// PresignedURLConfig says how long a presigned URL in a document is good.
type PresignedURLConfig struct {
	RoleARN      string `json:"roleArn,omitempty"`
	ExpiresInSec int64  `json:"expiresInSec,omitempty"` // 60-3600, default 3600
}

// RolloutConfig limits how many things are notified per minute.
type RolloutConfig struct {
	MaximumPerMinute int              `json:"maximumPerMinute,omitempty"` // default 1000
	ExponentialRate  *ExponentialRate `json:"exponentialRate,omitempty"`
}

// ExponentialRate lets a rollout begin slowly and grow.
type ExponentialRate struct {
	BaseRatePerMinute    int                   `json:"baseRatePerMinute"` // 1-1000
	IncrementFactor      float64               `json:"incrementFactor"`   // 1.1-5
	RateIncreaseCriteria *RateIncreaseCriteria `json:"rateIncreaseCriteria"`
}

// RateIncreaseCriteria has exactly one member set: each time the number passes
// another multiple of it, the rate grows.
type RateIncreaseCriteria struct {
	NumberOfNotifiedThings  int `json:"numberOfNotifiedThings,omitempty"`
	NumberOfSucceededThings int `json:"numberOfSucceededThings,omitempty"`
}

// AbortConfig says when a job cancels itself.
type AbortConfig struct {
	CriteriaList []AbortCriterion `json:"criteriaList"`
}

// AbortCriterion is met when at least MinNumberOfExecutedThings executions are
// finished and ThresholdPercentage of them ended as FailureType says.
type AbortCriterion struct {
	FailureType               string  `json:"failureType"` // FAILED, REJECTED, TIMED_OUT, ALL
	Action                    string  `json:"action"`      // CANCEL
	ThresholdPercentage       float64 `json:"thresholdPercentage"`
	MinNumberOfExecutedThings int     `json:"minNumberOfExecutedThings"`
}

// TimeoutConfig bounds the time an execution may stay IN_PROGRESS.
type TimeoutConfig struct {
	InProgressTimeoutInMinutes int `json:"inProgressTimeoutInMinutes,omitempty"` // 1-10080
}

// RetryConfig says which failures are tried again.
type RetryConfig struct {
	CriteriaList []RetryCriterion `json:"criteriaList"`
}

// RetryCriterion allows a number of retries after one kind of failure.
type RetryCriterion struct {
	FailureType     string `json:"failureType"` // FAILED, TIMED_OUT, ALL
	NumberOfRetries int    `json:"numberOfRetries"`
}

// Job is what DescribeJob tells.
type Job struct {
	JobARN                     string              `json:"jobArn"`
	JobID                      string              `json:"jobId"`
	TargetSelection            string              `json:"targetSelection"`
	Status                     string              `json:"status"`
	ForceCanceled              bool                `json:"forceCanceled,omitempty"`
	ReasonCode                 string              `json:"reasonCode,omitempty"`
	Comment                    string              `json:"comment,omitempty"`
	Targets                    []string            `json:"targets"`
	Description                string              `json:"description,omitempty"`
	PresignedURLConfig         *PresignedURLConfig `json:"presignedUrlConfig,omitempty"`
	JobExecutionsRolloutConfig *RolloutConfig      `json:"jobExecutionsRolloutConfig,omitempty"`
	AbortConfig                *AbortConfig        `json:"abortConfig,omitempty"`
	TimeoutConfig              *TimeoutConfig      `json:"timeoutConfig,omitempty"`
	JobExecutionsRetryConfig   *RetryConfig        `json:"jobExecutionsRetryConfig,omitempty"`
	SchedulingConfig           *SchedulingConfig   `json:"schedulingConfig,omitempty"`
	ScheduledJobRollouts       []ScheduledRollout  `json:"scheduledJobRollouts,omitempty"`
	CreatedAt                  aws.Timestamp       `json:"createdAt"`
	LastUpdatedAt              aws.Timestamp       `json:"lastUpdatedAt"`
	CompletedAt                aws.Timestamp       `json:"completedAt,omitzero"`
	IsConcurrent               bool                `json:"isConcurrent"`
	JobProcessDetails          ProcessDetails      `json:"jobProcessDetails"`
}

// ProcessDetails counts the things of a job by the state of their latest
// execution. Things that the rollout has not reached are in none of them.
type ProcessDetails struct {
	ProcessingTargets        []string `json:"processingTargets,omitempty"`
	NumberOfCanceledThings   int      `json:"numberOfCanceledThings"`
	NumberOfSucceededThings  int      `json:"numberOfSucceededThings"`
	NumberOfFailedThings     int      `json:"numberOfFailedThings"`
	NumberOfRejectedThings   int      `json:"numberOfRejectedThings"`
	NumberOfQueuedThings     int      `json:"numberOfQueuedThings"`
	NumberOfInProgressThings int      `json:"numberOfInProgressThings"`
	NumberOfRemovedThings    int      `json:"numberOfRemovedThings"`
	NumberOfTimedOutThings   int      `json:"numberOfTimedOutThings"`
}

// JobSummary is one row of ListJobs.
type JobSummary struct {
	JobARN          string        `json:"jobArn"`
	JobID           string        `json:"jobId"`
	TargetSelection string        `json:"targetSelection"`
	Status          string        `json:"status"`
	CreatedAt       aws.Timestamp `json:"createdAt"`
	LastUpdatedAt   aws.Timestamp `json:"lastUpdatedAt"`
	CompletedAt     aws.Timestamp `json:"completedAt,omitzero"`
	IsConcurrent    bool          `json:"isConcurrent"`
}

// Execution is what the control plane's DescribeJobExecution tells.
type Execution struct {
	JobID                            string        `json:"jobId"`
	Status                           Status        `json:"status"`
	ForceCanceled                    bool          `json:"forceCanceled,omitempty"`
	StatusDetails                    StatusDetails `json:"statusDetails,omitzero"`
	ThingARN                         string        `json:"thingArn"`
	QueuedAt                         aws.Timestamp `json:"queuedAt"`
	StartedAt                        aws.Timestamp `json:"startedAt,omitzero"`
	LastUpdatedAt                    aws.Timestamp `json:"lastUpdatedAt"`
	ExecutionNumber                  int64         `json:"executionNumber"`
	VersionNumber                    int64         `json:"versionNumber"`
	ApproximateSecondsBeforeTimedOut int64         `json:"approximateSecondsBeforeTimedOut,omitempty"`
}

// StatusDetails wraps the map, as the control plane does and MQTT does not.
type StatusDetails struct {
	DetailsMap map[string]string `json:"detailsMap,omitempty"`
}

// IsZero lets omitzero drop an empty map.
func (d StatusDetails) IsZero() bool { return len(d.DetailsMap) == 0 }

// ExecutionSummary is one row of the two execution listings.
type ExecutionSummary struct {
	Status          Status        `json:"status"`
	QueuedAt        aws.Timestamp `json:"queuedAt"`
	StartedAt       aws.Timestamp `json:"startedAt,omitzero"`
	LastUpdatedAt   aws.Timestamp `json:"lastUpdatedAt"`
	ExecutionNumber int64         `json:"executionNumber"`
	RetryAttempt    int           `json:"retryAttempt"`
}

// ExecutionForJob is a row of ListJobExecutionsForJob.
type ExecutionForJob struct {
	ThingARN            string           `json:"thingArn"`
	JobExecutionSummary ExecutionSummary `json:"jobExecutionSummary"`
}

// ExecutionForThing is a row of ListJobExecutionsForThing.
type ExecutionForThing struct {
	JobID               string           `json:"jobId"`
	JobExecutionSummary ExecutionSummary `json:"jobExecutionSummary"`
}
