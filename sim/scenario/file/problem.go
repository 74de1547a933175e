package file

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
)

// Problem is one mistake in a text.
type Problem struct {
	Src       *Source
	Line, Col int    // from 1, Col in characters
	Width     int    // characters to underline
	Warning   bool   // does not keep the scenario from running
	Text      string // what is wrong
	Help      string // what to do, "" if nothing is known
}

// At is a problem at a node.
func At(n *Node, text, help string) Problem {
	return Problem{Src: n.Src, Line: n.Line, Col: n.Col, Width: n.Width(), Text: text, Help: help}
}

// Level is the word in the message.
func (p Problem) Level() string {
	if p.Warning {
		return "warning"
	}
	return "error"
}

// String is the first line of the message.
func (p Problem) String() string {
	return fmt.Sprintf("%s:%d:%d: %s: %s", p.Src.Name, p.Line, p.Col, p.Level(), p.Text)
}

// Write prints the message, the line it is about with carets under the words, and the help.
//
//	bad.yaml:8:5: error: unknown key "rat"
//	    8 |     rat: 0.1
//	      |     ^^^
//	      = help: did you mean "rate"?
func (p Problem) Write(w io.Writer, color bool) {
	bold, red, blue, off := "", "", "", ""
	if color {
		bold, red, blue, off = "\x1b[1m", "\x1b[1;31m", "\x1b[1;34m", "\x1b[0m"
		if p.Warning {
			red = "\x1b[1;33m"
		}
	}
	fmt.Fprintf(w, "%s%s:%d:%d: %s%s:%s %s%s%s\n", bold, p.Src.Name, p.Line, p.Col, red, p.Level(), off, bold, p.Text, off)
	if p.Line >= 1 && p.Line <= len(p.Src.Lines) && p.Src.Lines[p.Line-1] != "" {
		line, shift := excerpt(p.Src.Lines[p.Line-1], p.Col)
		number := fmt.Sprintf("%5d", p.Line)
		fmt.Fprintf(w, "%s%s |%s %s\n", blue, number, off, line)
		fmt.Fprintf(w, "%s      |%s %s%s%s%s\n", blue, off, strings.Repeat(" ", max(0, p.Col-1-shift)), red, strings.Repeat("^", min(max(1, p.Width), 160)), off)
	}
	if p.Help != "" {
		fmt.Fprintf(w, "%s      =%s help: %s\n", blue, off, p.Help)
	}
}

// excerpt is a line as it can be shown: without control characters, and cut around the column if it is long. shift is the
// number of characters cut off in front.
func excerpt(line string, col int) (text string, shift int) {
	const longest = 160
	runes := []rune(line)
	for i, r := range runes {
		if !unicode.IsPrint(r) {
			runes[i] = ' '
		}
	}
	if len(runes) > longest {
		shift = min(max(0, col-longest/2), len(runes)-longest)
		runes = runes[shift : shift+longest]
	}
	return string(runes), shift
}

// Sort orders problems by file and place and drops what is said twice.
func Sort(ps []Problem) []Problem {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Src.Name, b.Src.Name), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col), cmp.Compare(a.Text, b.Text))
	})
	return slices.CompactFunc(ps, func(a, b Problem) bool {
		return a.Src.Name == b.Src.Name && a.Line == b.Line && a.Col == b.Col && a.Text == b.Text
	})
}

// Nearest is the candidate that a typing mistake turns into word, "" if none is near: at most a third of the letters, and
// at least one, may differ.
func Nearest(word string, candidates []string) string {
	best, bestDist := "", max(1, len(word)/3)+1
	for _, c := range candidates {
		d := distance(strings.ToLower(word), strings.ToLower(c))
		if d < bestDist {
			best, bestDist = c, d
		}
	}
	return best
}

// DidYouMean is the help for an unknown word: the nearest candidate, else all of them if they are few.
func DidYouMean(word string, candidates []string) string {
	if near := Nearest(word, candidates); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if len(candidates) > 0 && len(candidates) <= 12 {
		return "one of " + strings.Join(candidates, ", ")
	}
	return ""
}

// distance is the number of letters to insert, delete, change or swap with the neighbour to make b of a.
func distance(a, b string) int {
	ra, rb := []rune(a), []rune(b)
	if len(ra) > 64 || len(rb) > 64 {
		return 64
	}
	d := make([][]int, len(ra)+1)
	for i := range d {
		d[i] = make([]int, len(rb)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(ra); i++ {
		for j := 1; j <= len(rb); j++ {
			cost := 1
			if ra[i-1] == rb[j-1] {
				cost = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+cost)
			if i > 1 && j > 1 && ra[i-1] == rb[j-2] && ra[i-2] == rb[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(ra)][len(rb)]
}
