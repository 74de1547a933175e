package jobs

import (
	"math"
	"slices"
	"strings"

	"github.com/otasim/otasim/cloud/aws"
)

// check validates what a CreateJob or a changed job asks for.
func check(r *CreateJobRequest) error {
	bad := aws.InvalidRequest.Because
	switch {
	case len(r.Targets) == 0:
		return bad("targets: at least one is required")
	case len(r.Targets) > maxTargets:
		return aws.LimitExceeded.Because("targets: %d, the limit is %d", len(r.Targets), maxTargets)
	case r.TargetSelection != Snapshot && r.TargetSelection != Continuous:
		return bad("targetSelection %q: want SNAPSHOT or CONTINUOUS", r.TargetSelection)
	case r.Document == "":
		return bad("document or documentSource is required")
	case len(r.Document) > maxDocument:
		return bad("document: %d bytes, the limit is %d", len(r.Document), maxDocument)
	case strings.Count(r.Document, placeholder) > 10:
		return bad("document: more than 10 presigned URL placeholders")
	case len(r.Description) > maxDescription:
		return bad("description: %d characters, the limit is %d", len(r.Description), maxDescription)
	}
	if c := r.PresignedURLConfig; c != nil && c.ExpiresInSec != 0 && (c.ExpiresInSec < 60 || c.ExpiresInSec > 3600) {
		return bad("presignedUrlConfig.expiresInSec %d: want 60 to 3600", c.ExpiresInSec)
	}
	if err := checkRollout(r.JobExecutionsRolloutConfig); err != nil {
		return err
	}
	if err := checkAbort(r.AbortConfig); err != nil {
		return err
	}
	if c := r.TimeoutConfig; c != nil && (c.InProgressTimeoutInMinutes < 0 || c.InProgressTimeoutInMinutes > maxMinutes) {
		return bad("timeoutConfig.inProgressTimeoutInMinutes %d: want 1 to %d", c.InProgressTimeoutInMinutes, maxMinutes)
	}
	return checkRetry(r.JobExecutionsRetryConfig, r.TimeoutConfig)
}

func checkRollout(c *RolloutConfig) error {
	bad := aws.InvalidRequest.Because
	if c == nil {
		return nil
	}
	if c.MaximumPerMinute < 0 {
		return bad("maximumPerMinute %d: want at least 1", c.MaximumPerMinute)
	}
	x := c.ExponentialRate
	if x == nil {
		return nil
	}
	if x.BaseRatePerMinute < 1 || x.BaseRatePerMinute > 1000 {
		return bad("baseRatePerMinute %d: want 1 to 1000", x.BaseRatePerMinute)
	}
	if !(x.IncrementFactor >= 1.1 && x.IncrementFactor <= 5) {
		return bad("incrementFactor %v: want 1.1 to 5", x.IncrementFactor)
	}
	k := x.RateIncreaseCriteria
	if k == nil || k.NumberOfNotifiedThings < 0 || k.NumberOfSucceededThings < 0 ||
		(k.NumberOfNotifiedThings > 0) == (k.NumberOfSucceededThings > 0) {
		return bad("rateIncreaseCriteria: want exactly one of numberOfNotifiedThings and numberOfSucceededThings")
	}
	return nil
}

func checkAbort(c *AbortConfig) error {
	bad := aws.InvalidRequest.Because
	if c == nil {
		return nil
	}
	if len(c.CriteriaList) == 0 {
		return bad("criteriaList: at least one criterion is required")
	}
	for _, k := range c.CriteriaList {
		switch {
		case !slices.Contains([]string{"FAILED", "REJECTED", "TIMED_OUT", "ALL"}, k.FailureType):
			return bad("failureType %q: want FAILED, REJECTED, TIMED_OUT or ALL", k.FailureType)
		case k.Action != "CANCEL":
			return bad("action %q: want CANCEL", k.Action)
		case !(k.ThresholdPercentage > 0 && k.ThresholdPercentage <= 100):
			return bad("thresholdPercentage %v: want more than 0, up to 100", k.ThresholdPercentage)
		case math.Abs(math.Round(k.ThresholdPercentage*100)-k.ThresholdPercentage*100) > 1e-6:
			return bad("thresholdPercentage %v: want at most two decimals", k.ThresholdPercentage)
		case k.MinNumberOfExecutedThings < 1:
			return bad("minNumberOfExecutedThings %d: want at least 1", k.MinNumberOfExecutedThings)
		}
	}
	return nil
}

func checkRetry(c *RetryConfig, t *TimeoutConfig) error {
	bad := aws.InvalidRequest.Because
	if c == nil {
		return nil
	}
	if len(c.CriteriaList) < 1 || len(c.CriteriaList) > 2 {
		return bad("jobExecutionsRetryConfig.criteriaList: want 1 or 2 criteria")
	}
	total := 0
	for i, k := range c.CriteriaList {
		switch {
		case k.FailureType != "FAILED" && k.FailureType != "TIMED_OUT" && k.FailureType != "ALL":
			return bad("failureType %q: want FAILED, TIMED_OUT or ALL", k.FailureType)
		case k.NumberOfRetries < 0 || k.NumberOfRetries > 10:
			return bad("numberOfRetries %d: want 0 to 10", k.NumberOfRetries)
		case k.FailureType == "TIMED_OUT" && k.NumberOfRetries > 0 && (t == nil || t.InProgressTimeoutInMinutes == 0):
			return bad("retries of TIMED_OUT need a timeoutConfig")
		case i == 1 && (k.FailureType == c.CriteriaList[0].FailureType || k.FailureType == "ALL" || c.CriteriaList[0].FailureType == "ALL"):
			return bad("the two retry criteria overlap")
		}
		total += k.NumberOfRetries
	}
	if total > 10 {
		return bad("numberOfRetries: %d altogether, the limit is 10", total)
	}
	return nil
}
