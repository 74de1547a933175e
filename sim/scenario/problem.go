package scenario

import "sort"

// Level says how bad a Problem is.
type Level string

// The levels of a Problem; only an error keeps a scenario from running.
const (
	LevelError   Level = "error"
	LevelWarning Level = "warning"
)

// Problem is one mistake in a scenario file.
type Problem struct {
	Path  string // file, or "--set" for a value of the command line
	Pos   Pos
	Width int    // characters to underline, at least 1
	Level Level  // error or warning
	Text  string // what is wrong
	Help  string // what to do, "" if nothing is known
	Line  string // the source line, without its end
}

// sortProblems orders by place, then text, and drops what is said twice.
func sortProblems(ps []Problem) []Problem {
	sort.SliceStable(ps, func(i, j int) bool {
		a, b := ps[i], ps[j]
		if a.Pos != b.Pos {
			return a.Pos.Line < b.Pos.Line || a.Pos.Line == b.Pos.Line && a.Pos.Col < b.Pos.Col
		}
		return a.Text < b.Text
	})
	out := ps[:0]
	for i, p := range ps {
		if i > 0 && p == ps[i-1] {
			continue
		}
		out = append(out, p)
	}
	return out
}
