package jobs

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/aws"
)

// into takes a fresh execution of t0 into a state.
func (w *world) into(id string, st Status) {
	w.create(id, func(r *CreateJobRequest) {
		r.Targets = []string{realm.ARN("thing", "t0")}
		r.TargetSelection = Continuous
	})
	switch st {
	case Queued:
	case Canceled:
		require.NoError(w.t, w.s.CancelJobExecution(w.now, "t0", id, CancelJobExecutionRequest{}))
	case Removed:
		w.s.jobs[id].req.Targets = []string{realm.ARN("thing", "nobody")}
		w.s.MembershipChanged(w.now, "t0")
	case TimedOut:
		w.say("t0", id+"/update", `{"status":"IN_PROGRESS","stepTimeoutInMinutes":1}`)
		w.pass(time.Minute)
	default:
		require.Equal(w.t, "accepted", w.update("t0", id, st.String()))
	}
	require.Equal(w.t, st.String(), w.status("t0", id))
	w.notes = nil
}

func TestDeviceTransitions(t *testing.T) {
	all := []Status{Queued, InProgress, Succeeded, Failed, TimedOut, Rejected, Removed, Canceled}
	for _, from := range all {
		for _, to := range all {
			w := newWorld(t, 1, Switches{})
			w.into("job", from)
			want := "accepted"
			switch to {
			case Queued, TimedOut, Removed, Canceled:
				want = InvalidRequest
			default:
				if from.Terminal() {
					want = InvalidStateTransition
				}
			}
			require.Equal(t, want, w.update("t0", "job", to.String()), "%s to %s", from, to)
			if want == "accepted" {
				require.Equal(t, to.String(), w.status("t0", "job"))
			} else {
				require.Equal(t, from.String(), w.status("t0", "job"))
			}
		}
	}
	w := newWorld(t, 1, Switches{RefuseLateRejected: true})
	w.into("job", InProgress)
	require.Equal(t, InvalidStateTransition, w.update("t0", "job", "REJECTED"))
	w = newWorld(t, 1, Switches{RefuseLateRejected: true})
	w.into("job", Queued)
	require.Equal(t, "accepted", w.update("t0", "job", "REJECTED"))
}

func TestCancelMatrix(t *testing.T) {
	conflict := aws.InvalidStateTransition
	for _, c := range []struct {
		name                       string
		call                       func(w *world) error
		queued, inProgress, failed string
		errors                     [3]error
	}{
		{"CancelJob", func(w *world) error { _, err := w.s.CancelJob(w.now, "job", CancelJobRequest{}); return err },
			"CANCELED", "IN_PROGRESS", "FAILED", [3]error{}},
		{"CancelJob force", func(w *world) error { _, err := w.s.CancelJob(w.now, "job", CancelJobRequest{Force: true}); return err },
			"CANCELED", "CANCELED", "FAILED", [3]error{}},
		{"CancelJobExecution", func(w *world) error { return w.s.CancelJobExecution(w.now, "t0", "job", CancelJobExecutionRequest{}) },
			"CANCELED", "IN_PROGRESS", "FAILED", [3]error{nil, conflict, conflict}},
		{"CancelJobExecution force", func(w *world) error {
			return w.s.CancelJobExecution(w.now, "t0", "job", CancelJobExecutionRequest{Force: true})
		}, "CANCELED", "CANCELED", "FAILED", [3]error{nil, nil, conflict}},
		{"DeleteJob force", func(w *world) error {
			err := w.s.DeleteJob(w.now, "job", true)
			w.pass(time.Second)
			return err
		}, "gone", "gone", "gone", [3]error{}},
	} {
		for i, from := range []Status{Queued, InProgress, Failed} {
			w := newWorld(t, 1, Switches{})
			w.into("job", from)
			err := c.call(w)
			if c.errors[i] != nil {
				require.ErrorIs(t, err, c.errors[i], "%s from %s", c.name, from)
			} else {
				require.NoError(t, err, "%s from %s", c.name, from)
			}
			require.Equal(t, []string{c.queued, c.inProgress, c.failed}[i], w.status("t0", "job"), "%s from %s", c.name, from)
			if from == InProgress && w.status("t0", "job") == "CANCELED" {
				e, err := w.s.DescribeJobExecution(w.now, "t0", "job", 0)
				require.NoError(t, err)
				require.True(t, e.ForceCanceled)
				require.Equal(t, InvalidStateTransition, w.update("t0", "job", "SUCCEEDED"))
			}
		}
	}
}

func TestDetailsReplaceOrStay(t *testing.T) {
	w := newWorld(t, 1, Switches{})
	w.create("job", nil)
	details := func() map[string]string {
		e, err := w.s.DescribeJobExecution(w.now, "t0", "job", 0)
		require.NoError(t, err)
		return e.StatusDetails.DetailsMap
	}
	w.say("t0", "job/update", `{"status":"IN_PROGRESS","statusDetails":{"receive":"1/20","x":"y"}}`)
	require.Equal(t, map[string]string{"receive": "1/20", "x": "y"}, details())
	w.say("t0", "job/update", `{"status":"IN_PROGRESS"}`)
	w.say("t0", "job/update", `{"status":"IN_PROGRESS","statusDetails":null}`)
	require.Equal(t, map[string]string{"receive": "1/20", "x": "y"}, details())
	w.say("t0", "job/update", `{"status":"IN_PROGRESS","statusDetails":{"self_test":"ready"}}`)
	require.Equal(t, map[string]string{"self_test": "ready"}, details())
	w.say("t0", "job/update", `{"status":"SUCCEEDED","statusDetails":{}}`)
	require.Empty(t, details())
}

func TestMembershipOfContinuousAndSnapshot(t *testing.T) {
	join := func(w *world, name string) {
		w.dir.things[name] = true
		w.dir.groups["fleet"] = append(w.dir.groups["fleet"], name)
		w.s.MembershipChanged(w.now, name)
	}
	leave := func(w *world, name string) {
		g := w.dir.groups["fleet"]
		for i := range g {
			if g[i] == name {
				w.dir.groups["fleet"] = append(append([]string(nil), g[:i]...), g[i+1:]...)
			}
		}
		w.s.MembershipChanged(w.now, name)
	}
	w := newWorld(t, 2, Switches{})
	w.create("cont", func(r *CreateJobRequest) { r.TargetSelection = Continuous })
	w.create("snap", nil)
	w.pass(time.Minute)

	join(w, "late")
	require.Equal(t, "QUEUED", w.status("late", "cont"))
	require.Equal(t, "gone", w.status("late", "snap"))
	leave(w, "late")
	require.Equal(t, "REMOVED", w.status("late", "cont"))
	join(w, "late")
	require.Equal(t, "QUEUED", w.status("late", "cont"))
	e, err := w.s.DescribeJobExecution(w.now, "late", "cont", 0)
	require.NoError(t, err)
	require.EqualValues(t, 2, e.ExecutionNumber)
	w.update("late", "cont", "SUCCEEDED")
	leave(w, "late")
	require.Equal(t, "SUCCEEDED", w.status("late", "cont"), "finished ones stay")
	w.s.MembershipChanged(w.now, "late")
	join(w, "late")
	require.Equal(t, "QUEUED", w.status("late", "cont"), "a rejoin is a new execution")

	leave(w, "t0")
	require.Equal(t, "REMOVED", w.status("t0", "cont"))
	require.Equal(t, "QUEUED", w.status("t0", "snap"), "a latched target stays")

	w.dir.things["t1"] = false
	w.s.ThingDeleted(w.now, "t1")
	require.Equal(t, "REMOVED", w.status("t1", "snap"))
	require.Equal(t, 1, w.job("snap").JobProcessDetails.NumberOfRemovedThings)
	require.Equal(t, JobInProgress, w.job("snap").Status)
	w.update("t0", "snap", "SUCCEEDED")
	require.Equal(t, JobCompleted, w.job("snap").Status)
	require.Equal(t, JobInProgress, w.job("cont").Status, "CONTINUOUS never completes by itself")

	w = newWorld(t, 1, Switches{RemoveSnapshotLeavers: true})
	w.create("snap", nil)
	leave(w, "t0")
	require.Equal(t, "REMOVED", w.status("t0", "snap"))
}

func TestAssociateTargets(t *testing.T) {
	w := newWorld(t, 1, Switches{})
	w.dir.things["x"] = true
	w.dir.groups["other"] = []string{"x"}
	w.create("snap", nil)
	w.create("cont", func(r *CreateJobRequest) { r.TargetSelection = Continuous })
	other := []string{realm.ARN("thinggroup", "other")}
	_, err := w.s.AssociateTargetsWithJob(w.now, "snap", other, "")
	require.ErrorIs(t, err, aws.InvalidRequest)
	_, err = w.s.AssociateTargetsWithJob(w.now, "cont", other, "more")
	require.NoError(t, err)
	require.Equal(t, "QUEUED", w.status("x", "cont"))
	require.Len(t, w.job("cont").Targets, 2)
}

func TestEmptyGroupCompletesAtOnce(t *testing.T) {
	w := newWorld(t, 0, Switches{})
	w.create("job", nil)
	require.Equal(t, JobCompleted, w.job("job").Status)
	require.False(t, w.job("job").CompletedAt.IsZero())
}

func TestDeletion(t *testing.T) {
	w := newWorld(t, 1, Switches{})
	w.create("job", nil)
	require.ErrorIs(t, w.s.DeleteJob(w.now, "job", false), aws.InvalidStateTransition)
	require.NoError(t, w.s.DeleteJob(w.now, "job", true))
	require.Equal(t, JobDeletionInProgress, w.job("job").Status)
	require.ErrorIs(t, w.s.DeleteJob(w.now, "job", true), aws.InvalidStateTransition)
	_, err := w.s.CancelJob(w.now, "job", CancelJobRequest{})
	require.ErrorIs(t, err, aws.InvalidRequest)
	w.notes = nil
	w.pass(time.Second)
	_, err = w.s.DescribeJob("job")
	require.ErrorIs(t, err, aws.ResourceNotFound)
	require.Equal(t, []string{"notify", "next:-"}, w.heard("t0"))

	for i := range 11 {
		id := string(rune('a' + i))
		w.create(id, nil)
		err = w.s.DeleteJob(w.now, id, true)
	}
	require.ErrorIs(t, err, aws.LimitExceeded)
}
