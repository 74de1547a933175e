package device

import (
	"fmt"
	"strconv"
	"strings"
)

// ParsePoint reads a point as scenario files write it: "otadata.program", "block(128).programmed". The argument is
// -1 where none is written, which stands for any.
func ParsePoint(s string) (Point, int, error) {
	name, arg := s, -1
	if open := strings.IndexByte(s, '('); open >= 0 {
		end := strings.IndexByte(s, ')')
		if end < open {
			return 0, 0, fmt.Errorf("device: point %q: missing )", s)
		}
		n, err := strconv.Atoi(s[open+1 : end])
		if err != nil || n < 0 {
			return 0, 0, fmt.Errorf("device: point %q: %q is not an index", s, s[open+1:end])
		}
		name, arg = s[:open]+s[end+1:], n
	}
	for i, known := range pointNames {
		if known == name {
			return Point(i), arg, nil
		}
	}
	return 0, 0, fmt.Errorf("device: unknown point %q", s)
}

// ParsePhase reads a phase by its name.
func ParsePhase(s string) (Phase, error) {
	for i, known := range phaseNames {
		if known == s {
			return Phase(i), nil
		}
	}
	return 0, fmt.Errorf("device: unknown phase %q", s)
}
