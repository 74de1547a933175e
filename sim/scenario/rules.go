package scenario

import (
	"regexp"
	"slices"
	"strings"

	"github.com/otasim/otasim/sim/check"
	"github.com/otasim/otasim/sim/scenario/file"
)

// names are what expressions may ask for.
func (b *builder) names() check.Names {
	n := check.Names{Groups: b.groupNames(), Updates: b.updateIDs(), Versions: b.versions(), Faults: []string{}, Attacks: []string{}}
	for i := range b.f.Faults {
		n.Faults = append(n.Faults, b.f.Faults[i].Name.Value)
	}
	for i := range b.f.Attacks {
		n.Attacks = append(n.Attacks, b.f.Attacks[i].Name.Value)
	}
	return n
}

// expr compiles an expression; mistakes are placed at the word.
func (b *builder) expr(e file.Expr, kind check.Kind) *check.Program {
	if e.Node == nil {
		return nil
	}
	p, err := check.Compile(e.Value, kind, b.names(), file.DidYouMean)
	if err == nil {
		return p
	}
	pr := file.At(e.Node, "in "+string(kind)+": "+err.Text, err.Help)
	line, col, ok := e.Node.Locate(err.From)
	if ok {
		pr.Line, pr.Col, pr.Width = line, col, max(1, err.To-err.From)
		if end := len([]rune(e.Src.Lines[line-1])); col+pr.Width-1 > end {
			pr.Width = max(1, end-col+1)
		}
	}
	b.problems = append(b.problems, pr)
	return nil
}

func (b *builder) buildRules() {
	for i := range b.f.Assertions {
		b.assertion(&b.f.Assertions[i])
	}
	for _, e := range b.f.Thresholds {
		for _, text := range e.Value.List {
			b.threshold(e.Key, e.Name, text)
		}
	}
	rules := make([]string, 0, len(b.s.Assertions))
	for _, a := range b.s.Assertions {
		rules = append(rules, a.Name)
	}
	seen := map[string]bool{}
	for i := range b.f.Variants {
		f := &b.f.Variants[i]
		if f.Name.Node != nil && seen[f.Name.Value] {
			b.fail(f.Name.Node, "", "variant %q is defined twice", f.Name.Value)
		}
		seen[f.Name.Value] = true
		for _, v := range f.Expect.Violates {
			if v.Node != nil && !slices.Contains(rules, v.Value) && !invariantID.MatchString(v.Value) {
				b.unknown(v.Node, "rule", v.Value, rules)
			}
		}
		b.s.Variants = append(b.s.Variants, Variant{Name: f.Name.Value, Verdict: f.Expect.Verdict.Value, Violates: words(f.Expect.Violates), Pos: pos(f.Place)})
	}
}

// invariantID is the form of the ids of rules that always apply.
var invariantID = regexp.MustCompile(`^[a-z0-9]+([._-][a-z0-9]+)*$`)

func (b *builder) assertion(f *file.Assertion) {
	a := Assertion{Name: f.Name.Value, Groups: words(f.Groups), AbortOnFail: f.AbortOnFail.Value, Severity: SeverityError, Pos: pos(f.Place)}
	if f.Severity.Node != nil {
		a.Severity = Severity(f.Severity.Value)
	}
	count := 0
	for _, k := range []struct {
		kind check.Kind
		expr file.Expr
	}{{check.Always, f.Always}, {check.AtEnd, f.AtEnd}, {check.Sometimes, f.Sometimes}, {check.EveryDevice, f.EveryDevice}} {
		if k.expr.Node != nil {
			count++
			a.Kind, a.Expr, a.Program = k.kind, k.expr.Value, b.expr(k.expr, k.kind)
		}
	}
	if count != 1 {
		b.fail(f.Place, "", "an assertion has exactly one of always, atEnd, sometimes, everyDevice; this one has %d", count)
	}
	for _, g := range f.Groups {
		b.group(g)
		if a.Kind != check.EveryDevice && a.Kind != "" {
			b.fail(g.Node, `groups["`+g.Value+`"] stands for it in an expression`, "groups belongs to everyDevice")
		}
	}
	if a.AbortOnFail && a.Kind != check.Always && a.Kind != check.EveryDevice && a.Kind != "" {
		b.fail(f.AbortOnFail.Node, "", "abortOnFail belongs to always and everyDevice")
	}
	if slices.ContainsFunc(b.s.Assertions, func(o Assertion) bool { return o.Name == a.Name }) && f.Name.Node != nil {
		b.fail(f.Name.Node, "", "assertion %q is given twice", a.Name)
	}
	b.s.Assertions = append(b.s.Assertions, a)
}

func (b *builder) threshold(key *file.Node, metric string, text file.Expr) {
	if text.Node == nil {
		return
	}
	t, err := check.ParseThreshold(metric, text.Value, file.ParseDuration, file.ParseShare)
	if t.Metric == "" && err != nil {
		b.fail(key, "", "%v", err)
		return
	}
	if !slices.Contains(check.Metrics(), t.Metric) {
		b.unknown(key, "metric", t.Metric, check.Metrics())
		return
	}
	if err != nil {
		b.fail(text.Node, "", "%v", err)
		return
	}
	if t.Group != "" && b.groups[t.Group] == nil {
		b.unknown(key, "group", strings.TrimSpace(t.Group), b.groupNames())
		return
	}
	b.s.Thresholds = append(b.s.Thresholds, Threshold{Threshold: t, Pos: pos(text.Node)})
}

// Rules are the assertions in the form a judge takes.
func (s *Scenario) Rules() []check.Rule {
	out := make([]check.Rule, len(s.Assertions))
	for i, a := range s.Assertions {
		out[i] = check.Rule{Name: a.Name, Program: a.Program, Groups: a.Groups, AbortOnFail: a.AbortOnFail, Severity: string(a.Severity)}
	}
	return out
}

// Limits are the thresholds in the form samples are judged by.
func (s *Scenario) Limits() []check.Threshold {
	out := make([]check.Threshold, len(s.Thresholds))
	for i, t := range s.Thresholds {
		out[i] = t.Threshold
	}
	return out
}
