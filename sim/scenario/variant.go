package scenario

import "fmt"

// Variant loads the same file once more, with the settings of one of its variants
// applied on top of the options it was loaded with.
func (s *Scenario) Variant(name string) (*Scenario, error) {
	opt := s.opt
	opt.Variant = name
	v, problems, err := Load(s.Path, opt)
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, fmt.Errorf("scenario: variant %s: %d mistakes, the first: %s", name, len(problems), problems[0].Text)
	}
	v.Variants = nil
	return v, nil
}
