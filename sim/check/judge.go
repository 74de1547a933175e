package check

import (
	"fmt"
	"slices"
	"time"

	"github.com/expr-lang/expr/vm"

	"github.com/otasim/otasim/sim/report"
)

// Rule is one assertion to be judged.
type Rule struct {
	Name        string
	Program     *Program
	Groups      []string // everyDevice: only devices of these groups; empty: all
	AbortOnFail bool
	Severity    string // error, warning, info; "" is error
}

// Judge follows a run and judges its rules. It is not safe for several goroutines.
type Judge struct {
	rules []judged
	live  bool // some rule must see every event
	vm    vm.VM
}

type judged struct {
	Rule
	holds   bool
	settled bool // nothing can change the outcome any more
	checks  uint64
	actual  string
}

// NewJudge makes a judge of rules. relaxed is for a fleet that --devices scaled: a sometimes that was never met is then a
// warning.
func NewJudge(rules []Rule, relaxed bool) *Judge {
	j := &Judge{rules: make([]judged, len(rules))}
	for i, r := range rules {
		if r.Severity == "" {
			r.Severity = "error"
		}
		if relaxed && r.Program.Kind == Sometimes && r.Severity == "error" {
			r.Severity = "warning"
		}
		j.rules[i] = judged{Rule: r, holds: r.Program.Kind == Always || r.Program.Kind == EveryDevice}
		j.live = j.live || r.Program.Kind == Always || r.Program.Kind == Sometimes
	}
	return j
}

// Live reports whether a rule must see every event: else After need not be called.
func (j *Judge) Live() bool { return j.live }

// After judges always and sometimes after an event. It reports whether a rule with abortOnFail was violated.
func (j *Judge) After(env *Env) (abort bool) {
	for i := range j.rules {
		r := &j.rules[i]
		if r.settled || r.Program.Kind != Always && r.Program.Kind != Sometimes {
			continue
		}
		ok, err := run(&j.vm, r.Program.main, env)
		r.checks++
		if r.Program.Kind == Sometimes {
			if ok {
				r.holds, r.settled = true, true
				r.actual = fmt.Sprintf("%s at %s", r.Program.Actual(env), report.Clock(env.Now))
			}
			continue
		}
		if !ok {
			r.violated(env, env.Now, "", err)
			abort = abort || r.AbortOnFail
		}
	}
	return abort
}

// Device judges everyDevice for a device that changed. It reports whether a rule with abortOnFail was violated.
func (j *Judge) Device(now time.Duration, dev *report.Device) (abort bool) {
	for i := range j.rules {
		r := &j.rules[i]
		if r.settled || r.Program.Kind != EveryDevice || len(r.Groups) > 0 && !slices.Contains(r.Groups, dev.Group) {
			continue
		}
		ok, err := run(&j.vm, r.Program.main, dev)
		r.checks++
		if !ok {
			r.violated(dev, now, dev.Thing, err)
			abort = abort || r.AbortOnFail
		}
	}
	return abort
}

func (r *judged) violated(env any, now time.Duration, thing string, err error) {
	r.holds, r.settled = false, true
	r.actual = r.Program.Actual(env) + " at " + report.Clock(now)
	if err != nil {
		r.actual = err.Error() + " at " + report.Clock(now)
	}
	if thing != "" {
		r.actual = thing + ": " + r.actual
	}
}

// End judges atEnd when the run is over, and the rest for the last time: call After with the final Env before it.
func (j *Judge) End(env *Env) {
	for i := range j.rules {
		r := &j.rules[i]
		switch r.Program.Kind {
		case AtEnd:
			ok, err := r.Program.Holds(env)
			r.holds, r.settled, r.actual = ok, true, r.Program.Actual(env)
			if err != nil {
				r.actual = err.Error()
			}
		case Sometimes:
			if !r.settled {
				r.actual = fmt.Sprintf("never in %s checks, at the end %s", report.Thousands(r.checks), r.Program.Actual(env))
			}
		case Always, EveryDevice:
			if !r.settled {
				r.actual = report.Thousands(r.checks) + " checks"
			}
		}
	}
}

// Assertions are the outcomes in the order of the rules.
func (j *Judge) Assertions() []report.Assertion {
	out := make([]report.Assertion, len(j.rules))
	for i := range j.rules {
		r := &j.rules[i]
		out[i] = report.Assertion{Name: r.Name, Kind: string(r.Program.Kind), Expr: r.Program.Source, Holds: r.holds, Actual: r.actual}
		if r.Severity != "error" {
			out[i].Severity = r.Severity
		}
	}
	return out
}
