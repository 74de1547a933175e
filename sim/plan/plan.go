// Package plan answers what a rollout will take before it is rolled out: it runs a
// scenario at every point of a grid, several seeds each, and says which point is best.
package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/otasim/otasim/sim/scenario"
	"github.com/otasim/otasim/sim/scenario/file"
)

// A Plan is a checked plan file.
type Plan struct {
	Path        string
	Name        string
	Description string
	Base        string // path of the scenario
	Seed        uint64
	Seeds       int
	Devices     int
	Parameters  []Parameter
	Minimize    []*Metric
	Constraints []Constraint
	Until       time.Duration
	Points      []Point

	fixed []scenario.Set
	id    string
}

// A Parameter is what is varied, with its values as labels.
type Parameter struct {
	Name   string
	Given  bool // a circumstance, not a choice
	Labels []string
	sets   [][]scenario.Set // by label
}

// Value is the label of a value.
func (p Parameter) Value(i int) string { return p.Labels[i] }

// A Point is one combination.
type Point struct {
	Index  int
	Choice []int // by parameter: the index of its value
}

// MaxPoints is how many combinations a plan may have.
const MaxPoints = 100_000

// Overrides are what the command line changes in a plan.
type Overrides struct {
	Minimize    []string
	Constraints []string
	Seeds       int
	Devices     int
}

// Folder is where the finished runs of the plan are kept unless something else is asked for.
func (p *Plan) Folder() string {
	return filepath.Join(".otasim", "plans", strings.Map(func(r rune) rune {
		if r == filepath.Separator || r == '/' || r == ' ' || r == ':' {
			return '-'
		}
		return r
	}, p.Name)+"-"+p.id)
}

// ErrUsage marks mistakes in Overrides, as opposed to mistakes in the file.
var ErrUsage = errors.New("usage")

// Load reads and checks a plan and the scenario at each of its points. The error is
// about the file itself or, wrapping ErrUsage, about the overrides; everything else is
// a Problem, and then there is no plan.
func Load(path string, over Overrides) (*Plan, []scenario.Problem, error) {
	root, problems, err := file.Read(path, filepath.Dir(path))
	if err != nil || root == nil {
		return nil, problems, err
	}
	if k := root.Get("kind"); k != nil && k.Value == "Scenario" {
		return nil, append(problems, file.At(k, "this is a scenario, not a plan", "a plan has it as its base; otasim run "+path+" runs it once")), nil
	}
	var f file.Plan
	problems = append(problems, file.Decode(root, &f)...)
	p := &Plan{Path: path, Name: f.Metadata.Name.Value, Description: f.Metadata.Description.Value, Seed: 1, Seeds: 1, Until: f.Until.Value}
	l := &loader{p: p, f: &f, problems: problems}
	l.load(root)
	if err := l.override(over); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUsage, err)
	}
	if text := impossible(p.Constraints); text != "" && !l.failed() {
		return nil, nil, errors.New(text)
	}
	if !l.failed() {
		l.tryAll()
	}
	l.problems = file.Sort(l.problems)
	if l.failed() {
		return nil, l.problems, nil
	}
	p.id, err = p.identity()
	return p, l.problems, err
}

type loader struct {
	p        *Plan
	f        *file.Plan
	problems []scenario.Problem
}

func (l *loader) fail(n *file.Node, help, format string, args ...any) {
	l.problems = append(l.problems, file.At(n, fmt.Sprintf(format, args...), help))
}

func (l *loader) failed() bool {
	return slices.ContainsFunc(l.problems, func(p scenario.Problem) bool { return !p.Warning })
}

func (l *loader) load(root *file.Node) {
	f, p := l.f, l.p
	if f.Base.Node != nil {
		p.Base = f.Base.Value
		if !filepath.IsAbs(p.Base) {
			p.Base = filepath.Join(f.Base.Src.Dir, p.Base)
		}
		if _, err := os.Stat(p.Base); err != nil {
			l.fail(f.Base.Node, "the path is relative to this file", "cannot read the base scenario %q", f.Base.Value)
		}
	}
	if f.Seed.Node != nil {
		p.Seed = uint64(f.Seed.Value)
	}
	if f.Seeds.Node != nil {
		p.Seeds = int(f.Seeds.Value)
	}
	p.Devices = int(f.Devices.Value)
	for _, e := range f.Set {
		p.fixed = append(p.fixed, scenario.Set{Path: e.Name, Place: e.Key, Value: e.Value.Node})
	}
	for i := range f.Parameters {
		l.parameter(&f.Parameters[i])
	}
	if len(f.Parameters) == 0 && f.APIVersion.Node != nil {
		l.fail(root, "parameters: {rate: {path: ..., values: [...]}}", "nothing is varied")
	}
	for _, s := range f.Minimize {
		m := metric(s.Value)
		if m == nil {
			l.fail(s.Node, file.DidYouMean(s.Value, metricNames()), "unknown metric %q", s.Value)
			continue
		}
		p.Minimize = append(p.Minimize, m)
	}
	for _, s := range f.Constraints {
		c, err := ParseConstraint(s.Value)
		if err != nil {
			l.fail(s.Node, "", "%v", err)
			continue
		}
		p.Constraints = append(p.Constraints, c)
		if text := impossible(p.Constraints); text != "" {
			l.fail(s.Node, "", "%s", text)
			return
		}
	}
}

func (l *loader) override(o Overrides) error {
	p := l.p
	if len(o.Minimize) > 0 {
		p.Minimize = nil
	}
	for _, name := range o.Minimize {
		m := metric(name)
		if m == nil {
			return fmt.Errorf("--objective %s: unknown metric: one of %s", name, strings.Join(metricNames(), ", "))
		}
		p.Minimize = append(p.Minimize, m)
	}
	for _, text := range o.Constraints {
		c, err := ParseConstraint(text)
		if err != nil {
			return fmt.Errorf("--constraint: %w", err)
		}
		p.Constraints = append(p.Constraints, c)
	}
	if o.Seeds > 0 {
		p.Seeds = o.Seeds
	}
	if o.Devices > 0 {
		p.Devices = o.Devices
	}
	if len(p.Minimize) == 0 {
		p.Minimize = []*Metric{metric("time_to_99"), metric("cost"), metric("hurt")}
	}
	return nil
}

func (l *loader) parameter(e *file.Entry[file.Parameter]) {
	v := &e.Value
	q := Parameter{Name: e.Name, Given: v.Given.Value}
	add := func(label string, sets ...scenario.Set) {
		if slices.Contains(q.Labels, label) {
			l.fail(e.Key, "", "parameter %s has the value %s twice", e.Name, label)
			return
		}
		q.Labels, q.sets = append(q.Labels, label), append(q.sets, sets)
	}
	ways := 0
	for _, has := range []bool{v.Values != nil, v.Range != nil, v.Choices != nil} {
		if has {
			ways++
		}
	}
	switch {
	case ways != 1:
		l.fail(e.Key, "path: P with values: [...] or range: {from, to, step}; or choices: {name: {path: value}}", "parameter %s has %d of values, range, choices", e.Name, ways)
		return
	case v.Choices != nil:
		for _, c := range v.Choices {
			sets := make([]scenario.Set, 0, len(c.Value))
			for _, s := range c.Value {
				sets = append(sets, scenario.Set{Path: s.Name, Place: s.Key, Value: s.Value.Node})
			}
			add(c.Name, sets...)
		}
	case v.Path.Node == nil:
		l.fail(e.Key, "path: the value of the scenario that is varied", "parameter %s has no path", e.Name)
		return
	case v.Range != nil:
		r := v.Range
		step := max(1, r.Step.Value)
		if r.From.Value > r.To.Value || (r.To.Value-r.From.Value)/step >= MaxPoints {
			l.fail(r.From.Node, "", "an empty or endless range: from %d to %d in steps of %d", r.From.Value, r.To.Value, step)
			return
		}
		for n := r.From.Value; n <= r.To.Value; n += step {
			node := *r.From.Node
			node.Value = strconv.FormatInt(n, 10)
			add(node.Value, scenario.Set{Path: v.Path.Value, Place: v.Path.Node, Value: &node})
		}
	default:
		for _, n := range v.Values {
			add(n.Text(), scenario.Set{Path: v.Path.Value, Place: v.Path.Node, Value: n.Node})
		}
	}
	if len(q.Labels) == 0 {
		l.fail(e.Key, "", "parameter %s has no values", e.Name)
	}
	l.p.Parameters = append(l.p.Parameters, q)
}

// tryAll makes the points, and loads the scenario at each of them: a plan with a
// mistake in its last point would otherwise fail hours later.
func (l *loader) tryAll() {
	p := l.p
	total := 1
	for i := range p.Parameters {
		if total *= len(p.Parameters[i].Labels); total > MaxPoints {
			l.fail(l.f.APIVersion.Node, "fewer values, or search: {random: N} over fewer parameters", "more than %d combinations", MaxPoints)
			return
		}
	}
	chosen := make([]int, total)
	for i := range chosen {
		chosen[i] = i
	}
	if n := int(l.f.Search.Random.Value); n > 0 && n < total {
		rng := rand.New(rand.NewPCG(p.Seed, 0x706c616e))
		rng.Shuffle(total, func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
		chosen = chosen[:n]
		slices.Sort(chosen)
	}
	for index, c := range chosen {
		pt := Point{Index: index, Choice: make([]int, len(p.Parameters))}
		for k := len(p.Parameters) - 1; k >= 0; k-- {
			n := len(p.Parameters[k].Labels)
			pt.Choice[k], c = c%n, c/n
		}
		p.Points = append(p.Points, pt)
	}
	seen := map[string]bool{}
	for i := range p.Points {
		sc, problems, err := p.scenario(&p.Points[i], p.Seed)
		if err != nil {
			l.fail(l.f.Base.Node, "", "point %s: %v", p.Label(&p.Points[i]), err)
			return
		}
		for _, q := range problems {
			if key := q.String(); !seen[key] && (sc == nil || !q.Warning) {
				seen[key] = true
				l.problems = append(l.problems, q)
			}
		}
		if l.failed() {
			return
		}
		if len(sc.Variants) > 0 {
			l.fail(l.f.Base.Node, "take the scenario of one variant", "a scenario with variants cannot be planned with")
			return
		}
	}
}

// scenario loads the base with the values of a point.
func (p *Plan) scenario(pt *Point, seed uint64) (*scenario.Scenario, []scenario.Problem, error) {
	opt := scenario.Options{Nodes: slices.Clone(p.fixed), Devices: p.Devices, Seed: &seed}
	for k, c := range pt.Choice {
		opt.Nodes = append(opt.Nodes, p.Parameters[k].sets[c]...)
	}
	return scenario.Load(p.Base, opt)
}

// Label names a point: "rate=100 block=12".
func (p *Plan) Label(pt *Point) string {
	words := make([]string, len(pt.Choice))
	for k, c := range pt.Choice {
		words[k] = p.Parameters[k].Name + "=" + p.Parameters[k].Labels[c]
	}
	return strings.Join(words, " ")
}

// identity is what finished runs of this plan are kept under: everything that can
// change a run.
func (p *Plan) identity() (string, error) {
	text, err := os.ReadFile(p.Base)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%x\n%d\n%v\n", sha256.Sum256(text), p.Devices, p.Until)
	for _, s := range p.fixed {
		fmt.Fprintf(h, "%s=%s\n", s.Path, s.Value.Text())
	}
	for i := range p.Parameters {
		fmt.Fprintf(h, "%s\n", p.Parameters[i].Name)
		for k, label := range p.Parameters[i].Labels {
			fmt.Fprintf(h, "%s\n", label)
			for _, s := range p.Parameters[i].sets[k] {
				fmt.Fprintf(h, "%s=%s\n", s.Path, s.Value.Text())
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}
