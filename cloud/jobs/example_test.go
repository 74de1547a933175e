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
