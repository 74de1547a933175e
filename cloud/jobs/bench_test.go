//go:build unix

package jobs

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/aws"
)

// cpu is the processor time of this process in seconds, garbage collection and
// all: the machine may be shared.
func cpu(b *testing.B) float64 {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

// BenchmarkTransitions is 100,000 executions of one job with the rollout engine,
// an abort criterion and a timeout: QUEUED by the rollout, IN_PROGRESS, a report,
// SUCCEEDED, each by its JSON request and with its JSON answer.
func BenchmarkTransitions(b *testing.B) {
	const things = 100_000
	dir := &directory{things: make(map[string]bool, things), groups: map[string][]string{}}
	names := make([]string, things)
	for i := range names {
		names[i] = fmt.Sprintf("esp32-field-%06d", i)
		dir.things[names[i]] = true
	}
	dir.groups["fleet"] = names
	begin := []byte(`{"status":"IN_PROGRESS","statusDetails":{"receive":"1/256"}}`)
	progress := []byte(`{"status":"IN_PROGRESS","statusDetails":{"receive":"64/256"}}`)
	done := []byte(`{"status":"SUCCEEDED","statusDetails":{"reason":"accepted v1.1.0","updatedBy":"v1.0.0"}}`)
	b.ReportAllocs()
	start := cpu(b)
	for b.Loop() {
		s := New(Config{Realm: realm, Seed: aws.Seed{1}, Directory: dir, Listening: func(string, NotifyKind) bool { return false }})
		now := epoch
		_, err := s.CreateJob(now, CreateJobRequest{JobID: "job", Document: `{"afr_ota":{}}`, Targets: []string{realm.ARN("thinggroup", "fleet")},
			JobExecutionsRolloutConfig: &RolloutConfig{MaximumPerMinute: 60_000},
			AbortConfig:                &AbortConfig{CriteriaList: []AbortCriterion{{FailureType: "ALL", Action: "CANCEL", ThresholdPercentage: 10, MinNumberOfExecutedThings: 100}}},
			TimeoutConfig:              &TimeoutConfig{InProgressTimeoutInMinutes: 60}})
		require.NoError(b, err)
		for now.Before(epoch.Add(things * time.Millisecond)) {
			now = now.Add(time.Second)
			s.Wake(now)
		}
		for _, body := range [][]byte{begin, progress, done} {
			for _, name := range names {
				s.Handle(now, name, "job/update", body)
			}
		}
		j, err := s.DescribeJob("job")
		require.NoError(b, err)
		require.Equal(b, JobCompleted, j.Status)
		require.Equal(b, things, j.JobProcessDetails.NumberOfSucceededThings)
	}
	b.ReportMetric(4*things*float64(b.N)/(cpu(b)-start), "transitions/cpu-s")
	b.ReportMetric(4*things*float64(b.N)/b.Elapsed().Seconds(), "transitions/s")
}
