package scenario

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/otasim/otasim/sim/scenario/file"
)

// Options change a scenario while it is loaded.
type Options struct {
	Nodes   []Set    // values from another file, before Sets
	Sets    []string // PATH=VALUE, later ones win
	Devices int      // scale the fleet to this many devices, 0: as it is
	Seed    *uint64
	Variant string // apply this variant of the file
}

// Set is one value of a scenario, addressed as by --set.
type Set struct {
	Path  string
	Place *file.Node // where the path stands
	Value *file.Node
}

// ErrUsage marks mistakes in Options, as opposed to mistakes in the file.
var ErrUsage = errors.New("usage")

// Load reads and checks a scenario file. The error is about the file itself (it cannot be read) or, wrapping ErrUsage, about
// the options; everything else is a Problem. The Scenario is nil if a problem is an error.
func Load(path string, opt Options) (*Scenario, []Problem, error) {
	root, problems, err := file.Read(path, filepath.Dir(path))
	if err != nil {
		return nil, nil, err
	}
	if root == nil {
		return nil, problems, nil
	}
	if k := root.Get("kind"); k != nil && k.Value == "Plan" {
		return nil, append(problems, file.At(k, "this is a plan, not a scenario", "otasim plan "+path)), nil
	}
	for _, set := range opt.Nodes {
		if err := file.Set(root, set.Path, set.Value.Clone()); err != nil {
			problems = append(problems, file.At(set.Place, err.Error(), ""))
		}
	}
	for _, set := range opt.Sets {
		ps, err := applySet(root, set)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: --set %w", ErrUsage, err)
		}
		problems = append(problems, ps...)
	}
	if opt.Variant != "" {
		ps := applyVariant(root, opt.Variant)
		problems = append(problems, ps...)
	}
	var f file.Scenario
	problems = append(problems, file.Decode(root, &f)...)
	b := &builder{f: &f, s: &Scenario{Path: path}}
	if opt.Devices > 0 && !failed(problems) {
		if b.s.Scaled, err = scale(f.Fleet.Groups, opt.Devices); err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrUsage, err)
		}
	}
	b.build()
	problems = append(problems, b.problems...)
	if opt.Seed != nil {
		b.s.Seed = *opt.Seed
	}
	if opt.Variant == "" {
		// Each variant is a scenario of its own and must be as good.
		for i := range f.Variants {
			if name := f.Variants[i].Name.Value; name != "" {
				sub := opt
				sub.Variant = name
				_, ps, err := Load(path, sub)
				if err != nil {
					return nil, nil, err
				}
				problems = append(problems, ps...)
			}
		}
	}
	problems = file.Sort(problems)
	if failed(problems) {
		return nil, problems, nil
	}
	b.s.Warnings, b.s.opt = problems, opt
	return b.s, problems, nil
}

// Variant loads the scenario again with the values of one of its variants, under the same options.
func (s *Scenario) Variant(name string) (*Scenario, error) {
	opt := s.opt
	opt.Variant = name
	v, problems, err := Load(s.Path, opt)
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, fmt.Errorf("variant %s: %s", name, problems[0])
	}
	v.Variants = nil
	return v, nil
}

func failed(ps []Problem) bool {
	return slices.ContainsFunc(ps, func(p Problem) bool { return !p.Warning })
}

func applySet(root *file.Node, set string) ([]Problem, error) {
	path, text, ok := strings.Cut(set, "=")
	if !ok || path == "" {
		return nil, fmt.Errorf("%q: expected PATH=VALUE", set)
	}
	dir, err := os.Getwd()
	if err != nil {
		dir = "."
	}
	value, ps := file.ParseValue(&file.Source{Name: "--set " + path, Dir: dir}, text)
	if value == nil {
		return ps, nil
	}
	return ps, file.Set(root, path, value)
}

// applyVariant sets the values of one variant. A path that names nothing is a mistake in the file.
func applyVariant(root *file.Node, name string) []Problem {
	var problems []Problem
	list := root.Get("variants")
	if list == nil {
		return nil
	}
	for _, v := range list.Items {
		if n := v.Get("name"); n == nil || n.Value != name {
			continue
		}
		sets := v.Get("set")
		if sets == nil {
			continue
		}
		for i, key := range sets.Keys {
			if err := file.Set(root, key.Value, sets.Items[i]); err != nil {
				problems = append(problems, file.At(key, err.Error(), ""))
			}
		}
	}
	return problems
}

// scale changes the group counts to n devices in all. It reports whether that changed any.
func scale(groups []file.Group, n int) (bool, error) {
	counts := make([]int, len(groups))
	for i := range groups {
		counts[i] = int(groups[i].Count.Value)
	}
	scaled, err := spread(counts, n)
	if err != nil {
		return false, err
	}
	for i := range groups {
		groups[i].Count.Value = int64(scaled[i])
	}
	return !slices.Equal(counts, scaled), nil
}

// spread divides n in proportion to counts, by largest remainder; every part is at least one.
func spread(counts []int, n int) ([]int, error) {
	if n < len(counts) {
		return nil, fmt.Errorf("--devices %d: there are %d groups, and each keeps at least one device", n, len(counts))
	}
	total := 0
	for _, c := range counts {
		total += c
	}
	out := make([]int, len(counts))
	order := make([]int, len(counts))
	remainder := make([]uint64, len(counts))
	left := n
	for i, c := range counts {
		product := uint64(c) * uint64(n)
		out[i] = int(product / uint64(total))
		remainder[i] = product % uint64(total)
		left -= out[i]
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(remainder[b], remainder[a]) })
	for _, i := range order[:left] {
		out[i]++
	}
	// A part that came out empty takes one from the largest.
	for i := range out {
		if out[i] == 0 {
			largest := 0
			for k := range out {
				if out[k] > out[largest] {
					largest = k
				}
			}
			out[largest]--
			out[i]++
		}
	}
	return out, nil
}
