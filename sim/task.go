package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/otasim/otasim/sim/check"
	"github.com/otasim/otasim/sim/scenario"
)

// task is something that the scenario says happens.
type task struct {
	scenario.Trigger
	what    string
	do      func(now time.Duration) error
	reached time.Duration // when After's status was reached, -1: not yet
	due     bool          // only its condition is left to be judged
	waiting error         // what it needs is not there yet: it is tried again whenever something happens in the cloud
	done    bool
}

// notYet is wrapped by errors about what is not there yet, but may come.
var notYet = errors.New("not yet") //nolint:errname,staticcheck // reads as a state

// plan lists what will happen, in the order of the file: first the release of every
// firmware, then updates, events and attacks.
func (o *operator) plan() {
	start := scenario.Trigger{HasAt: true}
	o.task(start, "release", o.release)
	for i := range o.sc.Updates {
		u := &o.sc.Updates[i]
		o.task(u.Trigger, "update "+u.OTAUpdateID, func(now time.Duration) error { return o.create(now, u) })
	}
	for i := range o.sc.Events {
		e := &o.sc.Events[i]
		o.task(e.Trigger, "event "+e.Action(), func(now time.Duration) error { return o.event(now, e) })
	}
	for i := range o.sc.Attacks {
		a := &o.sc.Attacks[i]
		o.task(a.Trigger, "attack "+a.Name, func(now time.Duration) error { return o.attack(now, i, a) })
	}
}

func (o *operator) task(t scenario.Trigger, what string, do func(time.Duration) error) {
	if !t.HasAt && t.After == nil && t.When == nil {
		t.HasAt = true
	}
	o.todo = append(o.todo, &task{Trigger: t, what: what, do: do, reached: -1})
}

// run does what is due, and reports whether anything about the jobs has changed.
func (o *operator) run(now time.Duration) (changed bool) {
	o.now = now
	changed = o.observe()
	for _, t := range o.todo {
		if t.done || t.due {
			continue
		}
		if t.After != nil && t.reached < 0 && o.reached(t.After) {
			t.reached = now
		}
		switch {
		case t.HasAt && now < t.At, t.After != nil && (t.reached < 0 || now < t.reached+t.After.Delay):
			continue
		case t.When != nil:
			t.due = true // judged at the next barrier, when the whole fleet can be seen
			continue
		}
		o.perform(t, now)
		changed = changed || t.waiting == nil
	}
	return o.observe() || changed
}

func (o *operator) perform(t *task, now time.Duration) {
	t.done, t.due = true, false
	err := t.do(now)
	if t.waiting = nil; errors.Is(err, notYet) {
		t.done, t.waiting = false, err
		return
	}
	if err != nil {
		o.notes = append(o.notes, fmt.Sprintf("%s: %v", t.what, err))
	}
}

// conditional reports whether a condition waits to be judged.
func (o *operator) conditional() bool {
	return slices.ContainsFunc(o.todo, func(t *task) bool { return !t.done && (t.due || t.When != nil && !t.HasAt && t.After == nil) })
}

// judge evaluates conditions. What is due and holds is done at the next run; it
// reports whether there is such a thing.
func (o *operator) judge(env *check.Env) (ready bool) {
	for _, t := range o.todo {
		alone := t.When != nil && !t.HasAt && t.After == nil
		if t.done || !t.due && !alone {
			continue
		}
		ok, err := t.When.Holds(env)
		switch {
		case err == nil && ok:
			t.When, t.due, t.HasAt, t.At, t.After = nil, false, true, 0, nil
			ready = true
		case !alone:
			t.done = true
			o.notes = append(o.notes, fmt.Sprintf("%s: not done, %s does not hold: %s", t.what, t.When.Source, t.When.Actual(env)))
		}
	}
	return ready
}

// next is when run must be called again.
func (o *operator) next() (at time.Duration, ok bool) {
	for _, t := range o.todo {
		due := t.At
		switch {
		case t.done || t.due || t.waiting != nil:
			continue
		case t.After != nil && t.reached >= 0:
			due = t.reached + t.After.Delay
		case !t.HasAt:
			continue
		}
		if !ok || due < at {
			at, ok = due, true
		}
	}
	return at, ok
}

// due reports whether run must be called now.
func (o *operator) due(now time.Duration) bool {
	at, ok := o.next()
	return ok && at <= now
}

// done reports whether nothing that is planned can still happen by itself.
func (o *operator) done() bool {
	if _, waiting := o.next(); waiting || slices.ContainsFunc(o.todo, func(t *task) bool { return t.due }) {
		return false
	}
	return !o.cloud.Indexing() && !slices.ContainsFunc(o.runs, func(r *rollout) bool { return !r.settled() })
}
