package scenario

import (
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
	Sets    []string // PATH=VALUE, later ones win
	Devices int      // scale the fleet to this many devices, 0: as it is
	Seed    *uint64
	Variant string // apply this variant of the file
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
	b := &builder{f: &f, s: &Scenario{Path: path, opt: opt}}
	b.build()
	problems = append(problems, b.problems...)
	if opt.Seed != nil {
		b.s.Seed = *opt.Seed
	}
	if opt.Devices > 0 && !failed(problems) {
		if err := scale(b.s, opt.Devices); err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrUsage, err)
		}
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

// scale changes the group counts to n devices in all, in proportion, by largest remainder.
func scale(s *Scenario, n int) error {
	groups := s.Fleet.Groups
	if n < len(groups) {
		return fmt.Errorf("--devices %d: there are %d groups, and each keeps at least one device", n, len(groups))
	}
	total := s.Devices()
	if n == total {
		return nil
	}
	s.Scaled = true
	order := make([]int, len(groups))
	remainder := make([]uint64, len(groups))
	left := n
	for i := range groups {
		product := uint64(groups[i].Count) * uint64(n)
		groups[i].Count = int(product / uint64(total))
		remainder[i] = product % uint64(total)
		left -= groups[i].Count
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case remainder[a] > remainder[b]:
			return -1
		case remainder[a] < remainder[b]:
			return 1
		}
		return 0
	})
	for _, i := range order[:left] {
		groups[i].Count++
	}
	// A group that came out empty takes a device from the largest one.
	for i := range groups {
		if groups[i].Count == 0 {
			largest := 0
			for k := range groups {
				if groups[k].Count > groups[largest].Count {
					largest = k
				}
			}
			groups[largest].Count--
			groups[i].Count++
		}
	}
	for _, e := range s.Events {
		if r := e.Reprovision; r != nil && r.Group != "" {
			r.Count = min(r.Count, s.Group(r.Group).Count)
			if len(r.NewNames) > r.Count {
				r.NewNames = r.NewNames[:r.Count]
			}
		}
	}
	return nil
}
