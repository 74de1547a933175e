package report

import (
	"fmt"
	"strings"
)

// Conclude sets the verdict from what was judged; one that is set already (interrupted, inconclusive, error) stays unless
// something failed for certain. A fault that never struck and an attack that never fired fail the run, or, when the fleet
// was scaled, are notes.
func (r *Result) Conclude(scaled bool) {
	unfired := 0
	for _, f := range r.Faults {
		if f.Injected > 0 {
			continue
		}
		if scaled {
			r.Notes = append(r.Notes, fmt.Sprintf("fault %q never struck in this smaller fleet", f.Name))
			continue
		}
		if r.Verdict == "" {
			r.Notes = append(r.Notes, fmt.Sprintf("fault %q never struck: a run that never met it proves nothing", f.Name))
			unfired++
		}
	}
	for _, a := range r.Attacks {
		switch {
		case a.Fired:
		case scaled:
			r.Notes = append(r.Notes, fmt.Sprintf("attack %q never fired in this smaller fleet", a.Name))
		case r.Verdict == "":
			r.Notes = append(r.Notes, fmt.Sprintf("attack %q never fired: a run without it proves nothing", a.Name))
			unfired++
		}
	}
	switch {
	case r.Verdict == VerdictError || r.Verdict == VerdictInterrupted:
	case r.violated(false):
		r.Verdict = VerdictSafety
	case r.assertionFailed(r.Verdict == VerdictInconclusive):
		r.Verdict = VerdictAssertion
	case r.Verdict != "":
	case r.violated(true):
		r.Verdict = VerdictLiveness
	case unfired > 0:
		r.Verdict = VerdictAssertion
	case r.thresholdFailed():
		r.Verdict = VerdictThreshold
	default:
		r.Verdict = VerdictPass
	}
}

// violated reports whether an invariant was broken: one about liveness, or one about safety.
func (r *Result) violated(liveness bool) bool {
	for _, i := range r.Invariants {
		if len(i.Violations) > 0 && strings.HasPrefix(i.ID, "liveness.") == liveness {
			return true
		}
	}
	return false
}

// assertionFailed reports whether a rule of severity error does not hold; in a run that ended early only those count that
// can be judged before the end.
func (r *Result) assertionFailed(early bool) bool {
	for _, a := range r.Assertions {
		if !a.Holds && a.Severity == "" && (!early || a.Kind == "always" || a.Kind == "everyDevice") {
			return true
		}
	}
	return false
}

func (r *Result) thresholdFailed() bool {
	for _, t := range r.Thresholds {
		if !t.Holds {
			return true
		}
	}
	return false
}

// ExitStatus is the exit status of a run with this verdict.
func ExitStatus(verdict string) int {
	switch verdict {
	case VerdictPass:
		return 0
	case VerdictInconclusive:
		return 97
	case VerdictInterrupted:
		return 130
	case VerdictAssertion, VerdictThreshold, VerdictSafety, VerdictLiveness:
		return 99
	}
	return 1
}

// Normalize replaces absent lists and maps by empty ones, so that the document has [] and {} and never null in their place.
func (r *Result) Normalize() {
	if r.Schema == "" {
		r.Schema = Schema
	}
	list(&r.Jobs)
	list(&r.Quotas)
	list(&r.Assertions)
	list(&r.Thresholds)
	list(&r.Faults)
	list(&r.Variants)
	list(&r.Invariants)
	list(&r.Attacks)
	r.Fleet.normalize()
	if r.CostUSD != nil {
		list(&r.CostUSD.Prices)
	}
	mapping(&r.Divergence)
	if r.Groups == nil {
		r.Groups = map[string]Fleet{}
	}
	for name, g := range r.Groups {
		g.normalize()
		r.Groups[name] = g
	}
	for i := range r.Jobs {
		mapping(&r.Jobs[i].Executions)
	}
	for i := range r.Faults {
		mapping(&r.Faults[i].Phases)
	}
	for i := range r.Attacks {
		mapping(&r.Attacks[i].StoppedAt)
	}
	for i := range r.Invariants {
		list(&r.Invariants[i].Violations)
	}
	for i := range r.Variants {
		if r.Variants[i].Result != nil {
			r.Variants[i].Result.Normalize()
		}
	}
}

func (f *Fleet) normalize() {
	mapping(&f.OnVersion)
	mapping(&f.ImageState)
}

func list[T any](l *[]T) {
	if *l == nil {
		*l = []T{}
	}
}

func mapping(m *map[string]int) {
	if *m == nil {
		*m = map[string]int{}
	}
}
