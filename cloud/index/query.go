// Package index is the query language of AWS IoT fleet indexing: what dynamic
// thing groups and SearchIndex select things by.
//
//	query  = and { "OR" and }
//	and    = not { [ "AND" ] not }
//	not    = { "NOT" | "-" } atom
//	atom   = "(" query ")" | field ":" "(" query ")" | [ field ":" ] value | field compare word
//	value  = word | "\"" phrase "\"" | ( "[" | "{" ) word "TO" word ( "]" | "}" ) | compare word
//	compare = ">" | ">=" | "<" | "<="
//
// In a word, * stands for any text, ? for one character, and \ takes the
// meaning from what follows. Fields are case sensitive, values are not. A value
// of several words is found by each of them.
//
// Source: AWS IoT Core Developer Guide, pages query-syntax,
// example-queries and iot-indexing.
package index

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrQuery is wrapped by every error about a query.
var ErrQuery = errors.New("invalid query")

// Limits of one query.
const (
	MaxLength        = 1000 // characters
	maxTerms         = 12
	maxLeadingLength = 100 // characters of a query with a leading wildcard
)

// A Document is what is known of one thing. It visits the values of a field, or
// all values there are when the field is "", until visit returns false.
type Document func(field string, visit func(value string) bool)

// A Query is a compiled query.
type Query struct{ root node }

// Match reports whether a document satisfies the query.
func (q *Query) Match(d Document) bool { return q.root.match(d) }

type node interface{ match(d Document) bool }

type (
	all  []node // AND
	some []node // OR
	not  struct{ of node }
	term struct {
		field string
		test  func(value string) bool
	}
)

func (n all) match(d Document) bool {
	for _, x := range n {
		if !x.match(d) {
			return false
		}
	}
	return true
}

func (n some) match(d Document) bool {
	for _, x := range n {
		if x.match(d) {
			return true
		}
	}
	return false
}

func (n not) match(d Document) bool { return !n.of.match(d) }

func (n *term) match(d Document) (found bool) {
	d(n.field, func(v string) bool {
		found = n.test(v)
		return !found
	})
	return found
}

// Parse compiles a query.
func Parse(text string) (*Query, error) {
	if !utf8.ValidString(text) || utf8.RuneCountInString(text) > MaxLength {
		return nil, fmt.Errorf("index: want UTF-8 of at most %d characters: %w", MaxLength, ErrQuery)
	}
	p := parser{text: text}
	p.next()
	root := p.query("")
	if p.err == nil && p.kind != end {
		p.fail("unexpected %s", p.shown())
	}
	if p.err == nil && p.leading > 1 {
		p.fail("more than one leading wildcard")
	}
	if p.err == nil && p.leading > 0 && utf8.RuneCountInString(text) > maxLeadingLength {
		p.fail("a query with a leading wildcard has at most %d characters", maxLeadingLength)
	}
	if p.err != nil {
		return nil, p.err
	}
	return &Query{root}, nil
}

type kind uint8

const (
	end kind = iota
	word
	phrase
	punctuation // one of ( ) [ ] { } : - > >= < <=
)

// parser reads one token ahead.
type parser struct {
	text    string
	at      int // behind the token
	kind    kind
	from    int  // of the token
	space   bool // white space goes before the token
	token   string
	glob    []piece // of a word
	terms   int
	leading int
	err     error
}

// piece is one character of a word.
type piece struct {
	r    rune
	wild bool // * or ?
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("index: at character %d: "+format+": %w", append(append([]any{utf8.RuneCountInString(p.text[:p.from]) + 1}, args...), ErrQuery)...)
	}
	p.kind, p.at = end, len(p.text)
}

func (p *parser) shown() string {
	if p.kind == end {
		return "end of the query"
	}
	return strconv.Quote(p.token)
}

const (
	special   = `()[]{}:"<>`
	forbidden = "`@#%/';,"
)

func (p *parser) next() {
	if p.err != nil {
		return
	}
	rest := strings.TrimLeftFunc(p.text[p.at:], unicode.IsSpace)
	p.space = len(rest) < len(p.text)-p.at
	p.from = len(p.text) - len(rest)
	p.token, p.glob = "", nil
	if rest == "" {
		p.kind, p.at = end, p.from
		return
	}
	switch c := rest[0]; {
	case c == '"':
		p.quoted(rest)
		return
	case strings.IndexByte("()[]{}:", c) >= 0:
		p.kind, p.token = punctuation, rest[:1]
	case c == '<' || c == '>':
		p.kind, p.token = punctuation, rest[:1]
		if strings.HasPrefix(rest[1:], "=") {
			p.token = rest[:2]
		}
	case c == '-' && len(rest) > 1 && !unicode.IsSpace(rune(rest[1])) && p.negates():
		p.kind, p.token = punctuation, "-"
	default:
		p.bare(rest)
		return
	}
	p.at = p.from + len(p.token)
}

// negates reports whether a hyphen stands where a condition begins; behind ":"
// or a comparison it belongs to a number.
func (p *parser) negates() bool {
	before := strings.TrimRightFunc(p.text[:p.from], unicode.IsSpace)
	return before == "" || p.space && before[len(before)-1] != ':' || strings.HasSuffix(before, "(")
}

func (p *parser) quoted(rest string) {
	var b strings.Builder
	for i := 1; i < len(rest); i++ {
		switch rest[i] {
		case '"':
			p.kind, p.token, p.at = phrase, b.String(), p.from+i+1
			return
		case '\\':
			if i++; i < len(rest) {
				b.WriteByte(rest[i])
			}
		default:
			b.WriteByte(rest[i])
		}
	}
	p.fail("unclosed quotation mark")
}

func (p *parser) bare(rest string) {
	var b strings.Builder
	escaped, size := false, len(rest)
	for i, r := range rest {
		if !escaped {
			if unicode.IsSpace(r) || strings.ContainsRune(special, r) {
				size = i
				break
			}
			if strings.ContainsRune(forbidden, r) {
				p.fail("%q must be escaped", r)
				return
			}
			if r == '\\' {
				escaped = true
				continue
			}
		}
		p.glob = append(p.glob, piece{r, !escaped && (r == '*' || r == '?')})
		b.WriteRune(r)
		escaped = false
	}
	if escaped {
		p.fail("nothing follows the backslash")
		return
	}
	p.kind, p.token, p.at = word, b.String(), p.from+size
}

func (p *parser) is(text string) bool { return p.kind == punctuation && p.token == text }

func (p *parser) keyword(text string) bool {
	return p.kind == word && p.token == text && p.text[p.from:p.at] == text
}

func (p *parser) expect(text string) {
	if !p.is(text) {
		p.fail("%s, want %q", p.shown(), text)
	}
	p.next()
}

// query parses conditions; field is that of a field group, "" outside.
func (p *parser) query(field string) node {
	list := some{p.and(field)}
	for p.err == nil && p.keyword("OR") {
		p.next()
		list = append(list, p.and(field))
	}
	if len(list) == 1 {
		return list[0]
	}
	return list
}

func (p *parser) and(field string) node {
	list := all{p.not(field)}
	for p.err == nil && p.kind != end && !p.is(")") && !p.keyword("OR") {
		if p.keyword("AND") {
			p.next()
		}
		list = append(list, p.not(field))
	}
	if len(list) == 1 {
		return list[0]
	}
	return list
}

func (p *parser) not(field string) node {
	if p.keyword("NOT") || p.is("-") {
		p.next()
		return not{p.not(field)}
	}
	return p.atom(field)
}

func (p *parser) atom(field string) node {
	if p.is("(") {
		p.next()
		n := p.query(field)
		p.expect(")")
		return n
	}
	if p.kind != word || p.keyword("AND") || p.keyword("OR") {
		return p.value(field)
	}
	name, glob, from := p.token, p.glob, p.from
	p.next()
	switch {
	case p.is(":"):
		p.name(field, name, glob)
		p.next()
		if p.is("(") {
			p.next()
			n := p.query(name)
			p.expect(")")
			return n
		}
		return p.value(name)
	case p.kind == punctuation && strings.ContainsAny(p.token, "<>"):
		p.name(field, name, glob)
		return p.value(name)
	}
	return p.word(field, glob, from)
}

// name checks what stands before a colon.
func (p *parser) name(outer, name string, glob []piece) {
	if outer != "" {
		p.fail("field %q within the field group %q", name, outer)
	}
	for _, g := range glob {
		if g.wild {
			p.fail("field %q has a wildcard", name)
		}
	}
}

func (p *parser) value(field string) node {
	switch {
	case p.kind == word && !p.keyword("AND") && !p.keyword("OR") && !p.keyword("NOT"):
		glob, from := p.glob, p.from
		p.next()
		return p.word(field, glob, from)
	case p.kind == phrase:
		want := strings.Fields(fold(p.token))
		p.count()
		p.next()
		return &term{field, func(v string) bool { return contains(strings.Fields(fold(v)), want) }}
	case p.is("[") || p.is("{"):
		return p.between(field)
	case p.kind == punctuation && strings.ContainsAny(p.token, "<>"):
		compare := p.token
		p.next()
		than := p.bound()
		return &term{field, func(v string) bool {
			switch c := order(v, than); compare {
			case ">":
				return c > 0
			case ">=":
				return c >= 0
			case "<":
				return c < 0
			default:
				return c <= 0
			}
		}}
	}
	p.fail("%s, want a value", p.shown())
	return all{}
}

// bound reads one end of a range.
func (p *parser) bound() string {
	if p.kind != word && p.kind != phrase {
		p.fail("%s, want the end of a range", p.shown())
	}
	text := p.token
	p.count()
	p.next()
	return text
}

func (p *parser) between(field string) node {
	above := p.token == "["
	p.next()
	low := p.bound()
	p.terms-- // a range is one term
	if !p.keyword("TO") {
		p.fail("%s, want TO", p.shown())
	}
	p.next()
	high := p.bound()
	below := p.is("]")
	if !below && !p.is("}") {
		p.fail("%s, want ] or }", p.shown())
	}
	p.next()
	return &term{field, func(v string) bool {
		l, h := 1, -1
		if low != "*" {
			l = order(v, low)
		}
		if high != "*" {
			h = order(v, high)
		}
		return (l > 0 || above && l == 0) && (h < 0 || below && h == 0)
	}}
}

// word makes the condition that a value, or one of its words, has the shape of
// a word of the query.
func (p *parser) word(field string, glob []piece, from int) node {
	p.count()
	if len(glob) > 1 && glob[0].wild {
		p.leading++
	}
	if len(glob) == 0 {
		p.from = from
		p.fail("empty word")
	}
	for i := range glob {
		glob[i].r = unicode.ToLower(glob[i].r)
	}
	return &term{field, func(v string) bool {
		v = fold(v)
		if like(glob, v) {
			return true
		}
		if !strings.ContainsFunc(v, unicode.IsSpace) {
			return false
		}
		for w := range strings.FieldsSeq(v) {
			if like(glob, w) {
				return true
			}
		}
		return false
	}}
}

func (p *parser) count() {
	if p.terms++; p.terms > maxTerms {
		p.fail("more than %d terms", maxTerms)
	}
}

func fold(s string) string { return strings.Map(unicode.ToLower, s) }

// contains reports whether the words follow one another in text.
func contains(text, words []string) bool {
	for i := 0; i+len(words) <= len(text); i++ {
		same := true
		for j, w := range words {
			same = same && text[i+j] == w
		}
		if same {
			return true
		}
	}
	return false
}

// like matches a word with wildcards. A failure goes back to the latest * only.
func like(glob []piece, s string) bool {
	i, star, mark := 0, -1, ""
	for {
		if i < len(glob) && glob[i].wild && glob[i].r == '*' {
			star, mark = i, s
			i++
			continue
		}
		if s == "" && i == len(glob) {
			return true
		}
		if r, n := utf8.DecodeRuneInString(s); i < len(glob) && n > 0 && (glob[i].wild || glob[i].r == r) {
			s = s[n:]
			i++
			continue
		}
		if star < 0 || mark == "" {
			return false
		}
		_, n := utf8.DecodeRuneInString(mark)
		mark = mark[n:]
		s, i = mark, star+1
	}
}

// order compares a value with a bound: as numbers if both are, else as text.
func order(v, bound string) int {
	x, errX := strconv.ParseFloat(v, 64)
	y, errY := strconv.ParseFloat(bound, 64)
	if errX == nil && errY == nil {
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	}
	return strings.Compare(fold(v), fold(bound))
}
