package jobs_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/jobs"
)

// fleet is the smallest directory: one group.
type fleet []string

func (f fleet) Thing(name string) bool             { return slices.Contains(f, name) }
func (f fleet) Group(name string) ([]string, bool) { return f, name == "fleet" }
func (f fleet) InGroup(thing, group string) bool   { return f.Thing(thing) && group == "fleet" }

// A rollout that gives up: it begins with ten things a minute, twice as many once
// ten have succeeded, and it cancels itself as soon as at least twenty things have
// finished and a quarter of them have failed. Every third thing fails.
func ExampleAbortConfig() {
	things := make(fleet, 1000)
	for i := range things {
		things[i] = fmt.Sprintf("esp32-%03d", i)
	}
	realm := aws.Realm{Region: "eu-central-1", Account: "123456789012"}
	s := jobs.New(jobs.Config{Realm: realm, Directory: things})
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	_, err := s.CreateJob(start, jobs.CreateJobRequest{
		JobID: "fw-1-1-0", Document: `{"operation":"update"}`, Targets: []string{realm.ARN("thinggroup", "fleet")},
		JobExecutionsRolloutConfig: &jobs.RolloutConfig{MaximumPerMinute: 100, ExponentialRate: &jobs.ExponentialRate{
			BaseRatePerMinute: 10, IncrementFactor: 2, RateIncreaseCriteria: &jobs.RateIncreaseCriteria{NumberOfSucceededThings: 10}}},
		AbortConfig: &jobs.AbortConfig{CriteriaList: []jobs.AbortCriterion{
			{FailureType: "FAILED", Action: "CANCEL", ThresholdPercentage: 25, MinNumberOfExecutedThings: 20}}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	reported, now := 0, start
	for next, ok := s.NextWake(); ok; next, ok = s.NextWake() {
		now = next
		s.Wake(now)
		for _, n := range s.Notifications() {
			if n.Kind != jobs.NotifyNext {
				continue
			}
			status := "SUCCEEDED"
			if reported++; reported%3 == 0 {
				status = "FAILED"
			}
			s.Handle(now, n.Thing, "fw-1-1-0/update", []byte(`{"status":"`+status+`"}`))
		}
		s.Notifications() // what the reports have announced
	}
	job, err := s.DescribeJob("fw-1-1-0")
	d := job.JobProcessDetails
	fmt.Println(job.Status, job.ReasonCode, err)
	fmt.Println(d.NumberOfSucceededThings, "succeeded,", d.NumberOfFailedThings, "failed, after", now.Sub(start))
	// Output:
	// CANCELED ABORT_CRITERIA_MET <nil>
	// 14 succeeded, 6 failed, after 1m36s
}

// A job that rolls out in the night only.
func ExampleSchedulingConfig() {
	realm := aws.Realm{Region: "eu-central-1", Account: "123456789012"}
	s := jobs.New(jobs.Config{Realm: realm, Directory: fleet{"red", "green", "blue"}})
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	_, err := s.CreateJob(now, jobs.CreateJobRequest{
		JobID: "night", Document: "{}", Targets: []string{realm.ARN("thinggroup", "fleet")}, TargetSelection: jobs.Continuous,
		SchedulingConfig: &jobs.SchedulingConfig{EndTime: "2026-01-03 12:00", EndBehavior: jobs.ForceCancel,
			MaintenanceWindows: []jobs.MaintenanceWindow{{StartTime: "cron(0 2 * * ? *)", DurationInMinutes: 2}}},
		JobExecutionsRolloutConfig: &jobs.RolloutConfig{MaximumPerMinute: 1},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for next, ok := s.NextWake(); ok; next, ok = s.NextWake() {
		s.Wake(next)
		job, err := s.DescribeJob("night")
		if err != nil {
			fmt.Println(err)
			return
		}
		d := job.JobProcessDetails
		fmt.Println(next.Format("Jan 2 15:04"), job.Status, d.NumberOfQueuedThings, "queued", d.NumberOfCanceledThings, "canceled")
	}
	// Output:
	// Jan 2 02:00 IN_PROGRESS 1 queued 0 canceled
	// Jan 2 02:01 IN_PROGRESS 2 queued 0 canceled
	// Jan 2 02:02 SCHEDULED 2 queued 0 canceled
	// Jan 3 02:00 IN_PROGRESS 3 queued 0 canceled
	// Jan 3 02:02 SCHEDULED 3 queued 0 canceled
	// Jan 3 12:00 COMPLETED 0 queued 3 canceled
}

// Events for an operator, off until they are asked for.
func ExampleService_SetEvents() {
	realm := aws.Realm{Region: "eu-central-1", Account: "123456789012"}
	s := jobs.New(jobs.Config{Realm: realm, Directory: fleet{"red"}})
	s.SetEvents(true, true)
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	_, err := s.CreateJob(now, jobs.CreateJobRequest{JobID: "reboot", Document: "{}", Targets: []string{realm.ARN("thing", "red")}})
	s.Wake(now)
	s.Handle(now, "red", "reboot/update", []byte(`{"status":"FAILED","statusDetails":{"reason":"no power"}}`))
	for _, e := range s.Events() {
		fmt.Println(e.Topic)
	}
	fmt.Println(err)
	// Output:
	// $aws/events/jobExecution/reboot/failed
	// $aws/events/job/reboot/completed
	// <nil>
}

// A rollout of one execution a minute over three things, in virtual time.
func Example() {
	realm := aws.Realm{Region: "eu-central-1", Account: "123456789012"}
	s := jobs.New(jobs.Config{Realm: realm, Directory: fleet{"red", "green", "blue"}, DeletionTime: time.Second})
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	_, err := s.CreateJob(now, jobs.CreateJobRequest{
		JobID: "reboot", Document: `{"action":"reboot"}`, Targets: []string{realm.ARN("thinggroup", "fleet")},
		JobExecutionsRolloutConfig: &jobs.RolloutConfig{MaximumPerMinute: 1},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for {
		next, ok := s.NextWake()
		if !ok {
			break
		}
		s.Wake(next)
		for _, n := range s.Notifications() {
			if n.Kind != jobs.NotifyNext {
				continue
			}
			// The thing does what it was asked, and reports.
			r := s.Handle(next, n.Thing, "reboot/update", []byte(`{"status":"SUCCEEDED"}`))
			fmt.Println(next.Sub(now), r.Topic)
		}
		s.Notifications()
	}
	job, err := s.DescribeJob("reboot")
	fmt.Println(job.Status, job.JobProcessDetails.NumberOfSucceededThings, err)
	// Output:
	// 0s reboot/update/accepted
	// 1m0s reboot/update/accepted
	// 2m0s reboot/update/accepted
	// COMPLETED 3 <nil>
}
