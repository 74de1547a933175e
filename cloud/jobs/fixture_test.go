package jobs

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/aws"
)

var (
	epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	realm = aws.Realm{Region: "eu-central-1", Account: "123456789012"}
)

// directory is a registry of two maps.
type directory struct {
	things map[string]bool
	groups map[string][]string
}

func (d *directory) Thing(name string) bool { return d.things[name] }

func (d *directory) Group(name string) ([]string, bool) {
	g, ok := d.groups[name]
	return g, ok
}

func (d *directory) InGroup(thing, group string) bool { return slices.Contains(d.groups[group], thing) }

// reporter is a *testing.T or a *rapid.T.
type reporter interface {
	require.TestingT
	Helper()
}

// world is a service with a clock, and what it has announced.
type world struct {
	t     reporter
	s     *Service
	dir   *directory
	now   time.Time
	notes []Notification
}

// newWorld makes n things t0, t1, ... in group "fleet".
func newWorld(t reporter, n int, sw Switches) *world {
	w := &world{t: t, now: epoch, dir: &directory{things: map[string]bool{}, groups: map[string][]string{"fleet": {}, "other": {}}}}
	for i := range n {
		name := fmt.Sprintf("t%d", i)
		w.dir.things[name] = true
		w.dir.groups["fleet"] = append(w.dir.groups["fleet"], name)
	}
	w.s = New(Config{Realm: realm, Seed: aws.Seed{1}, Directory: w.dir, Switches: sw, DeletionTime: time.Second, Limits: Limits{Deleting: 10}})
	return w
}

// create makes a job, for the fleet unless change says otherwise, and wakes.
func (w *world) create(id string, change func(*CreateJobRequest)) {
	w.t.Helper()
	r := CreateJobRequest{JobID: id, Document: `{"n": 1}`, Targets: []string{realm.ARN("thinggroup", "fleet")}}
	if change != nil {
		change(&r)
	}
	_, err := w.s.CreateJob(w.now, r)
	require.NoError(w.t, err)
	w.pass(0)
}

func (w *world) pass(d time.Duration) {
	until := w.now.Add(d)
	for {
		next, ok := w.s.NextWake()
		if !ok || next.After(until) {
			break
		}
		if next.After(w.now) {
			w.now = next
		}
		w.s.Wake(w.now)
	}
	w.now = until
	w.collect()
}

func (w *world) collect() { w.notes = append(w.notes, w.s.Notifications()...) }

// say sends a data plane request and returns the answer's last topic segment
// and its body.
func (w *world) say(thing, rest, body string) (string, string) {
	r := w.s.Handle(w.now, thing, rest, []byte(body))
	w.collect()
	return r.Topic[strings.LastIndexByte(r.Topic, '/')+1:], string(r.Payload)
}

func (w *world) update(thing, job, status string) string {
	how, body := w.say(thing, job+"/update", `{"status":"`+status+`"}`)
	if how == "accepted" {
		return how
	}
	var e struct{ Code string }
	require.NoError(w.t, json.Unmarshal([]byte(body), &e))
	return e.Code
}

// heard returns and forgets what a thing was told: "notify" and "next:JOB".
func (w *world) heard(thing string) (out []string) {
	for _, n := range w.notes {
		if n.Thing != thing {
			continue
		}
		require.True(w.t, json.Valid(n.Payload), "%s", n.Payload)
		if n.Kind == Notify {
			out = append(out, "notify")
			continue
		}
		var p struct {
			Timestamp int64
			Execution *struct{ JobID string }
		}
		require.NoError(w.t, json.Unmarshal(n.Payload, &p))
		if p.Execution == nil {
			out = append(out, "next:-")
		} else {
			out = append(out, "next:"+p.Execution.JobID)
		}
	}
	w.notes = nil
	return out
}

func (w *world) status(thing, job string) string {
	e, err := w.s.DescribeJobExecution(w.now, thing, job, 0)
	if err != nil {
		return "gone"
	}
	return e.Status.String()
}

func (w *world) job(id string) Job {
	w.t.Helper()
	j, err := w.s.DescribeJob(id)
	require.NoError(w.t, err)
	return j
}
