// Package file reads the text of a scenario: YAML nodes that know their place, the keys a scenario file may have, and a
// decoder that reports every mistake instead of stopping at the first.
//
//	bytes ── Parse ── Node tree ── Set (--set, variants) ── Decode ── Scenario, []Problem
//
// The struct types of this package are the schema: their json tags are the keys, their doc comments the descriptions, their
// jsonschema tags the limits. The published JSON Schema is made from them by a test.
package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// Source is one text that nodes come from.
type Source struct {
	Name  string   // as shown in messages: path, or --set
	Dir   string   // folder that relative paths in this text start from
	Lines []string // without line ends
}

// Kind is the shape of a node.
type Kind uint8

// The shapes.
const (
	Scalar Kind = iota
	Mapping
	Sequence
	Null
)

func (k Kind) String() string {
	return [...]string{"a value", "a mapping", "a list", "nothing"}[k]
}

// Node is one value of the text. Line and Col count from 1, Col in characters.
type Node struct {
	Src       *Source
	Line, Col int
	Kind      Kind
	Value     string  // of a Scalar, unquoted
	Tag       string  // of a Scalar: !!str, !!int, !!float, !!bool
	Quoted    bool    // written with quotes or as a block
	Block     bool    // written as | or >
	Keys      []*Node // of a Mapping, in the order of the text
	Items     []*Node // values of a Mapping, or items of a Sequence
}

// Get returns the value of a key, nil if a mapping does not have it or the node is no mapping.
func (n *Node) Get(key string) *Node {
	if n == nil || n.Kind != Mapping {
		return nil
	}
	for i, k := range n.Keys {
		if k.Value == key {
			return n.Items[i]
		}
	}
	return nil
}

// Clone copies a node with all it holds.
func (n *Node) Clone() *Node {
	out := *n
	out.Keys, out.Items = make([]*Node, len(n.Keys)), make([]*Node, len(n.Items))
	for i, k := range n.Keys {
		out.Keys[i] = k.Clone()
	}
	for i, item := range n.Items {
		out.Items[i] = item.Clone()
	}
	return &out
}

// Text writes the node on one line.
func (n *Node) Text() string {
	parts := make([]string, 0, len(n.Items))
	for i, item := range n.Items {
		text := item.Text()
		if n.Kind == Mapping {
			text = n.Keys[i].Value + ": " + text
		}
		parts = append(parts, text)
	}
	switch n.Kind {
	case Mapping:
		return "{" + strings.Join(parts, ", ") + "}"
	case Sequence:
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return n.Value
}

// Width is the number of characters a scalar takes on its line, at least 1.
func (n *Node) Width() int {
	if n == nil || n.Line < 1 || n.Line > len(n.Src.Lines) {
		return 1
	}
	if n.Kind != Scalar || n.Block {
		return 1
	}
	line := []rune(n.Src.Lines[n.Line-1])
	w := len([]rune(n.Value))
	if n.Quoted {
		w += 2
	}
	return max(1, min(w, len(line)-n.Col+1))
}

// maxNodes bounds what a file may unfold to with aliases.
const maxNodes = 200_000

// lineEnds are the line breaks of YAML.
var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n")

// Parse reads one YAML document. A file that is not YAML gives one problem and no node.
func Parse(src *Source, text []byte) (*Node, []Problem) {
	src.Lines = strings.Split(lineEnds.Replace(string(text)), "\n")
	if !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0 {
		src.Lines = []string{""}
		return nil, []Problem{{Src: src, Line: 1, Col: 1, Width: 1, Text: "this is not a text file"}}
	}
	loader, err := yaml.NewLoader(bytes.NewReader(text))
	if err != nil {
		return nil, []Problem{syntaxProblem(src, err)}
	}
	var doc, second yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0:
		return nil, []Problem{{Src: src, Line: 1, Col: 1, Width: 1, Text: "the file is empty"}}
	case err != nil:
		return nil, []Problem{syntaxProblem(src, err)}
	}
	p := &parser{src: src}
	switch err := loader.Load(&second); {
	case errors.Is(err, io.EOF):
	case err != nil:
		p.problems = append(p.problems, syntaxProblem(src, err))
	default:
		p.fail(&second, "a scenario file holds one YAML document, this is a second one", "")
	}
	root := p.convert(doc.Content[0], 0)
	return root, p.problems
}

// ParseValue reads the VALUE of --set PATH=VALUE.
func ParseValue(src *Source, text string) (*Node, []Problem) {
	n, ps := Parse(src, []byte(text))
	if n == nil && len(ps) == 1 && strings.TrimSpace(text) == "" {
		return &Node{Src: src, Line: 1, Col: 1, Kind: Scalar, Tag: "!!str"}, nil
	}
	return n, ps
}

type parser struct {
	src      *Source
	count    int
	problems []Problem
}

func (p *parser) fail(y *yaml.Node, text, help string) {
	n := p.at(y)
	p.problems = append(p.problems, Problem{Src: p.src, Line: n.Line, Col: n.Col, Width: max(1, len([]rune(y.Value))), Text: text, Help: help})
}

// at is a node at the place of y. A YAML parser may count lines in its own way, or not at all for what is not written.
func (p *parser) at(y *yaml.Node) *Node {
	return &Node{Src: p.src, Line: min(max(y.Line, 1), len(p.src.Lines)), Col: max(y.Column, 1)}
}

func (p *parser) convert(y *yaml.Node, depth int) *Node {
	n := p.at(y)
	if p.count++; p.count > maxNodes || depth > 100 {
		if p.count <= maxNodes+1 || depth == 101 {
			p.fail(y, "the file is too deep or too large", "")
		}
		n.Kind = Null
		return n
	}
	switch y.Kind {
	case yaml.AliasNode:
		if y.Alias == nil {
			n.Kind = Null
			return n
		}
		return p.convert(y.Alias, depth+1)
	case yaml.MappingNode:
		n.Kind = Mapping
		seen := map[string]int{}
		for i := 0; i+1 < len(y.Content); i += 2 {
			k := y.Content[i]
			if k.Kind != yaml.ScalarNode {
				p.fail(k, "a key must be a plain word", "")
				continue
			}
			if k.Value == "<<" && k.Tag == "!!merge" {
				p.fail(k, "merge keys (<<) are not supported", "put what groups share under fleet.defaults")
				continue
			}
			if line, dup := seen[k.Value]; dup {
				p.fail(k, fmt.Sprintf("duplicate key %q", k.Value), fmt.Sprintf("it is already given on line %d", line))
				continue
			}
			seen[k.Value] = k.Line
			n.Keys = append(n.Keys, p.scalar(k))
			n.Items = append(n.Items, p.convert(y.Content[i+1], depth+1))
		}
	case yaml.SequenceNode:
		n.Kind = Sequence
		for _, c := range y.Content {
			n.Items = append(n.Items, p.convert(c, depth+1))
		}
	default:
		return p.scalar(y)
	}
	return n
}

func (p *parser) scalar(y *yaml.Node) *Node {
	n := p.at(y)
	n.Value, n.Tag = y.Value, y.ShortTag()
	n.Block = y.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0
	n.Quoted = y.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0
	if n.Tag == "!!null" {
		n.Kind = Null
	}
	return n
}

// syntaxProblem finds the place in a YAML error. A syntax error inside {...} is most often an expression with quotes or
// brackets of its own.
func syntaxProblem(src *Source, err error) Problem {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	pr := Problem{Src: src, Line: 1, Col: 1, Width: 1}
	var le *yaml.LoadError
	if errors.As(err, &le) {
		pr.Line, pr.Col = le.Mark.Line, le.Mark.Column
		text = le.Message
	}
	pr.Line = min(max(pr.Line, 1), len(src.Lines))
	pr.Col = max(pr.Col, 1)
	pr.Text = "this is not YAML: " + text
	for _, key := range []string{"always:", "atEnd:", "sometimes:", "everyDevice:", "when:"} {
		if line := src.Lines[pr.Line-1]; strings.Contains(line, "{") && strings.Contains(line, key) {
			pr.Help = "an expression cannot stand inside {...}: write " + strings.TrimSuffix(key, ":") + " on its own line"
		}
	}
	if strings.Contains(src.Lines[pr.Line-1], "\t") {
		pr.Help = "YAML is indented with spaces, not tabs"
	}
	return pr
}

// Read parses a file from disk.
func Read(path, dir string) (*Node, []Problem, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	if len(text) > 8<<20 {
		return nil, nil, fmt.Errorf("%s: larger than 8 MiB", path)
	}
	n, ps := Parse(&Source{Name: path, Dir: dir}, text)
	return n, ps, nil
}

// Locate finds the place of the i-th character of a scalar's value in the text; not for values with
// escapes.
func (n *Node) Locate(i int) (line, col int, ok bool) {
	if n.Line < 1 || n.Line > len(n.Src.Lines) {
		return 0, 0, false
	}
	if n.Block {
		// A line end counts as one character, whether it was kept (|) or folded into a space (>).
		for line = n.Line + 1; line <= len(n.Src.Lines); line++ {
			text := n.Src.Lines[line-1]
			trimmed := strings.TrimLeft(text, " ")
			size := len([]rune(trimmed))
			if i <= size {
				return line, len(text) - len(trimmed) + i + 1, true
			}
			i -= size + 1
		}
		return 0, 0, false
	}
	start := n.Col - 1
	if n.Quoted {
		start++
	}
	text := []rune(n.Src.Lines[n.Line-1])
	value := []rune(n.Value)
	if start+len(value) > len(text) || string(text[start:start+len(value)]) != n.Value {
		return 0, 0, false
	}
	return n.Line, start + i + 1, true
}
