package jobs

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// invariants recounts everything the service counts as it goes.
func (w *world) invariants() {
	open := map[*job]int{}
	for _, j := range w.s.order {
		var counts, ended [statuses]int
		for _, e := range j.executions {
			if e.gone {
				continue
			}
			if j.byThing[e.thing.name] == e {
				counts[e.status]++
			}
			if e.status.Terminal() {
				ended[e.status]++
			} else {
				open[j]++
			}
			require.Equal(w.t, !e.status.Terminal(), e.listed, "%s on %s", j.id, e.thing.name)
			if e.timer != nil {
				require.Equal(w.t, InProgress, e.status)
			}
		}
		require.Equal(w.t, counts, j.counts, j.id)
		require.Equal(w.t, ended, j.ended, j.id)
		require.Equal(w.t, open[j], j.open, j.id)
		if j.status == JobCompleted {
			require.Zero(w.t, j.open)
			require.False(w.t, j.rolling())
		}
		if j.status == JobCanceled {
			require.Zero(w.t, counts[Queued])
		}
	}
	for _, t := range w.s.things {
		for i, e := range t.pending {
			require.False(w.t, e.gone || e.status.Terminal())
			if i > 0 {
				require.True(w.t, before(t.pending[i-1], e))
			}
		}
	}
}

// Random histories keep the counts right, announce exactly the changes of the
// pending lists, and repeat byte for byte.
func TestRandomHistories(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type step struct{ op, thing, job, arg int }
		var steps []step
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			steps = append(steps, step{rapid.IntRange(0, 10).Draw(t, "op"), rapid.IntRange(0, 3).Draw(t, "thing"),
				rapid.IntRange(0, 2).Draw(t, "job"), rapid.IntRange(0, 5).Draw(t, "arg")})
		}
		run := func() (transcript string) {
			w := newWorld(t, 4, Switches{})
			heads := map[string]*execution{}
			for i, s := range steps {
				thing, id := fmt.Sprintf("t%d", s.thing), fmt.Sprintf("job%d", s.job)
				switch s.op {
				case 0, 1:
					_, _ = w.s.CreateJob(w.now, CreateJobRequest{JobID: id, Document: "{}", Targets: []string{realm.ARN("thinggroup", "fleet")},
						TargetSelection:            []string{Snapshot, Continuous}[s.arg%2],
						JobExecutionsRolloutConfig: &RolloutConfig{MaximumPerMinute: 1 + 60*(s.arg%3)},
						AbortConfig:                &AbortConfig{[]AbortCriterion{{"ALL", "CANCEL", 60, 3}}},
						TimeoutConfig:              &TimeoutConfig{1 + s.arg},
						JobExecutionsRetryConfig:   &RetryConfig{[]RetryCriterion{{"ALL", s.arg % 3}}}})
				case 2, 3, 4, 5:
					status := []string{"IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED", "IN_PROGRESS", "IN_PROGRESS"}[s.arg]
					r := w.s.Handle(w.now, thing, id+"/update", []byte(fmt.Sprintf(`{"status":"%s","stepTimeoutInMinutes":%d}`, status, 1+s.arg)))
					transcript += string(r.Payload)
				case 6:
					_ = w.s.CancelJobExecution(w.now, thing, id, CancelJobExecutionRequest{Force: s.arg%2 == 0})
				case 7:
					_, _ = w.s.CancelJob(w.now, id, CancelJobRequest{Force: s.arg%2 == 0})
				case 8:
					_ = w.s.DeleteJob(w.now, id, s.arg > 3)
				case 9:
					g := w.dir.groups["fleet"]
					if len(g) > 2 && s.arg%2 == 0 {
						gone := g[0]
						w.dir.groups["fleet"] = g[1:]
						w.s.MembershipChanged(w.now, gone)
					} else {
						name := fmt.Sprintf("t%d", i+10)
						w.dir.things[name] = true
						w.dir.groups["fleet"] = append(append([]string(nil), g...), name)
						w.s.MembershipChanged(w.now, name)
					}
				default:
					w.now = w.now.Add(time.Duration(s.arg*17) * time.Second)
					w.s.Wake(w.now)
				}
				told := map[string]int{}
				for _, n := range w.s.Notifications() {
					transcript += fmt.Sprintf("%s %d %s\n", n.Thing, n.Kind, n.Payload)
					if n.Kind == NotifyNext {
						told[n.Thing]++
					}
				}
				for name, th := range w.s.things {
					if th.head() != heads[name] {
						require.NotZero(w.t, told[name], "the head of %s changed unannounced at step %d", name, i)
					}
					heads[name] = th.head()
				}
				w.invariants()
			}
			return transcript
		}
		require.Equal(t, run(), run())
	})
}
