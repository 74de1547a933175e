package check

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"github.com/otasim/otasim/sim/report"
)

// Program is a compiled expression. It is immutable; Holds may be called from several goroutines.
type Program struct {
	Source string
	Kind   Kind
	main   *vm.Program
	parts  []part
}

// part is a piece of an expression whose value explains the outcome.
type part struct {
	label string
	prog  *vm.Program
}

// Compile checks and compiles an expression of one kind. near proposes a name for a misspelt one; it may be nil.
func Compile(source string, kind Kind, names Names, near func(word string, candidates []string) string) (*Program, *Error) {
	if near == nil {
		near = func(string, []string) string { return "" }
	}
	var env any = &Env{}
	if kind == EveryDevice {
		env = &report.Device{}
	}
	tree, err := parser.ParseWithConfig(source, conf.CreateNew())
	if err != nil {
		return nil, compileError(source, err, env, near)
	}
	w := &walker{kind: kind, names: names, near: near}
	w.walk(tree.Node, 0)
	if w.err != nil {
		return nil, w.err
	}
	main, err := expr.Compile(source, expr.Env(env), expr.AsBool(), expr.MaxNodes(2000))
	if err != nil {
		return nil, compileError(source, err, env, near)
	}
	p := &Program{Source: source, Kind: kind, main: main}
	for _, src := range w.parts {
		if prog, err := expr.Compile(src.text, expr.Env(env)); err == nil && !slices.ContainsFunc(p.parts, func(o part) bool { return o.label == src.label }) {
			p.parts = append(p.parts, part{src.label, prog})
		}
	}
	return p, nil
}

// Holds evaluates a program of any kind but everyDevice.
func (p *Program) Holds(env *Env) (bool, error) { return run(&vm.VM{}, p.main, env) }

// HoldsFor evaluates an everyDevice program.
func (p *Program) HoldsFor(dev *report.Device) (bool, error) { return run(&vm.VM{}, p.main, dev) }

func run(machine *vm.VM, prog *vm.Program, env any) (bool, error) {
	v, err := machine.Run(prog, env)
	if err != nil {
		return false, err
	}
	b, _ := v.(bool)
	return b, nil
}

// Actual says what the parts of an expression are now: one value if there is one part, else name and value of each.
func (p *Program) Actual(env any) string {
	var out []string
	for _, part := range p.parts {
		v, err := vm.Run(part.prog, env)
		if err != nil {
			continue
		}
		out = append(out, part.label+" "+format(v))
	}
	if len(p.parts) == 1 && len(out) == 1 {
		return strings.TrimPrefix(out[0], p.parts[0].label+" ")
	}
	return strings.Join(out, ", ")
}

func format(v any) string {
	switch v := v.(type) {
	case float64:
		return strconv.FormatFloat(v, 'g', 6, 64)
	case time.Duration:
		return report.Clock(v)
	case string:
		return strconv.Quote(v)
	}
	return fmt.Sprint(v)
}

// walker checks names that are map keys, refuses devices where they cannot be used, and collects the parts.
type walker struct {
	kind  Kind
	names Names
	near  func(string, []string) string
	parts []source
	err   *Error
}

type source struct{ label, text string }

var (
	imageStates = []string{"ESP_OTA_IMG_NEW", "ESP_OTA_IMG_PENDING_VERIFY", "ESP_OTA_IMG_VALID", "ESP_OTA_IMG_INVALID", "ESP_OTA_IMG_ABORTED", "ESP_OTA_IMG_UNDEFINED"}
	statuses    = []string{"QUEUED", "IN_PROGRESS", "SUCCEEDED", "FAILED", "TIMED_OUT", "REJECTED", "REMOVED", "CANCELED"}
)

func (w *walker) fail(n ast.Node, width int, text, help string) {
	loc := n.Location()
	if w.err == nil || loc.From < w.err.From {
		w.err = &Error{From: loc.From, To: max(loc.To, loc.From+width), Text: text, Help: help}
	}
}

// walk visits a node; depth counts the predicates around it, whose parts have no value of their own.
func (w *walker) walk(n ast.Node, depth int) {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		if n.Value == "devices" && w.kind != AtEnd && w.kind != EveryDevice {
			w.fail(n, len("devices"), "devices cannot be used here: it would visit every device in every epoch",
				"use a sum such as fleet.bricked, or everyDevice for a rule about each device")
		}
		w.part(n, depth)
	case *ast.MemberNode:
		w.key(n)
		if chain(n) {
			w.part(n, depth)
			return
		}
		w.walk(n.Node, depth)
		w.walk(n.Property, depth)
	case *ast.ChainNode:
		w.walk(n.Node, depth)
	case *ast.UnaryNode:
		w.walk(n.Node, depth)
	case *ast.BinaryNode:
		w.compared(n)
		w.walk(n.Left, depth)
		w.walk(n.Right, depth)
	case *ast.ConditionalNode:
		w.walk(n.Cond, depth)
		w.walk(n.Exp1, depth)
		w.walk(n.Exp2, depth)
	case *ast.BuiltinNode:
		if len(n.Arguments) == 2 && depth == 0 && slices.Contains([]string{"none", "all", "any", "one"}, n.Name) {
			inner := n.Arguments[1].String()
			over := n.Arguments[0].String()
			text := "count(" + over + ", " + inner + ")"
			w.parts = append(w.parts, source{label: text, text: text})
		} else if depth == 0 && (n.Name == "count" || n.Name == "len") {
			w.parts = append(w.parts, source{label: n.String(), text: n.String()})
		}
		for _, a := range n.Arguments {
			w.walk(a, depth+1)
		}
	case *ast.CallNode:
		for _, a := range n.Arguments {
			w.walk(a, depth+1)
		}
	case *ast.PredicateNode:
		w.walk(n.Node, depth+1)
	case *ast.ArrayNode:
		for _, a := range n.Nodes {
			w.walk(a, depth+1)
		}
	case *ast.SequenceNode:
		for _, a := range n.Nodes {
			w.walk(a, depth+1)
		}
	case *ast.VariableDeclaratorNode:
		w.walk(n.Value, depth+1)
		w.walk(n.Expr, depth+1)
	case *ast.SliceNode:
		w.walk(n.Node, depth+1)
	}
}

func (w *walker) part(n ast.Node, depth int) {
	if depth == 0 && n.String() != "devices" {
		w.parts = append(w.parts, source{label: written(n), text: written(n)})
	}
}

// maps are the names whose keys are written in brackets.
var maps = []string{"groups", "jobs", "faults", "attacks", "on_version", "image_state", "executions", "phases", "stopped_at", "on_file", "partitions"}

// written spells a chain as an author does: jobs["fw"].failed.
func written(n ast.Node) string {
	m, ok := n.(*ast.MemberNode)
	if !ok {
		return n.String()
	}
	key := lastName(m)
	if slices.Contains(maps, lastName(m.Node)) {
		return written(m.Node) + "[" + strconv.Quote(key) + "]"
	}
	return written(m.Node) + "." + key
}

// chain reports whether n is a name followed by constant keys only.
func chain(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return true
	case *ast.MemberNode:
		_, constant := n.Property.(*ast.StringNode)
		return constant && chain(n.Node)
	}
	return false
}

// key judges a constant key: jobs["x"], on_version["1.1.0"], executions["SUCCEEDED"].
func (w *walker) key(n *ast.MemberNode) {
	if inner, ok := n.Node.(*ast.MemberNode); ok {
		w.key(inner)
	}
	prop, ok := n.Property.(*ast.StringNode)
	if !ok {
		return
	}
	var what string
	var known []string
	switch last := lastName(n.Node); {
	case isName(n.Node, "groups"):
		what, known = "group", w.names.Groups
	case isName(n.Node, "jobs"):
		what, known = "otaUpdateId", w.names.Updates
	case isName(n.Node, "faults"):
		what, known = "fault", w.names.Faults
	case isName(n.Node, "attacks"):
		what, known = "attack", w.names.Attacks
	case last == "on_version":
		what, known = "firmware version", w.names.Versions
	case last == "image_state":
		what, known = "image state", imageStates
	case last == "executions":
		what, known = "job execution status", statuses
	default:
		return
	}
	w.known(prop, what, prop.Value, known)
}

// compared judges a constant that a name is compared with: .otaState == "ESP_OTA_IMG_VALID", .status == "COMPLETED".
func (w *walker) compared(n *ast.BinaryNode) {
	if n.Operator != "==" && n.Operator != "!=" {
		return
	}
	for _, side := range [][2]ast.Node{{n.Left, n.Right}, {n.Right, n.Left}} {
		s, ok := side[1].(*ast.StringNode)
		if !ok {
			continue
		}
		switch lastName(side[0]) {
		case "otaState":
			w.known(s, "image state", s.Value, imageStates)
		case "status":
			w.known(s, "job status", s.Value, []string{"", "IN_PROGRESS", "COMPLETED", "CANCELED", "DELETION_IN_PROGRESS", "DELETED"})
		}
	}
}

func (w *walker) known(at ast.Node, what, word string, known []string) {
	if known == nil && what != "fault" && what != "attack" || slices.Contains(known, word) {
		return
	}
	help := w.near(word, known)
	w.fail(at, len([]rune(word))+2, fmt.Sprintf("unknown %s %q", what, word), help)
}

func isName(n ast.Node, name string) bool {
	id, ok := n.(*ast.IdentifierNode)
	return ok && id.Value == name
}

func lastName(n ast.Node) string {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return n.Value
	case *ast.MemberNode:
		if s, ok := n.Property.(*ast.StringNode); ok {
			return s.Value
		}
	}
	return ""
}

var (
	unknownName  = regexp.MustCompile(`^unknown name (\S+)`)
	unknownField = regexp.MustCompile(`^type (\S+) has no field (\S+)`)
	word         = regexp.MustCompile(`^[\pL_][\pL\d_]*`)
)

// compileError puts a place and a proposal to what the expression compiler says.
func compileError(src string, err error, env any, near func(string, []string) string) *Error {
	var fe *file.Error
	if !errors.As(err, &fe) {
		text := err.Error()
		if kind, ok := strings.CutPrefix(text, "expected bool, but got "); ok {
			text = "the expression must be true or false, it is of type " + kind
		}
		return &Error{Text: text, To: len([]rune(src)), Help: "compare it, as in fleet.bricked == 0"}
	}
	e := &Error{From: fe.From, To: fe.To, Text: fe.Message}
	switch {
	case strings.Contains(e.Text, "unexpected token EOF"):
		e.Text = "the expression ends too early"
	case strings.Contains(e.Text, "mismatched types time.Duration"), strings.Contains(e.Text, "and time.Duration)"):
		e.Help = `a time is written duration("1h30m")`
	}
	runes := []rune(src)
	e.From = min(max(e.From, 0), len(runes))
	if m := unknownName.FindStringSubmatch(fe.Message); m != nil {
		names := fieldsOf(reflect.TypeOf(env).Elem())
		if e.Help = near(m[1], append(names, fieldsOf(reflect.TypeFor[report.Fleet]())...)); !strings.HasPrefix(e.Help, "did you mean") {
			e.Help = near(m[1], names)
		}
		for _, f := range fieldsOf(reflect.TypeFor[report.Fleet]()) {
			if e.Help == near(f, []string{f}) && !slices.Contains(names, f) {
				e.Help = strings.Replace(e.Help, f, "fleet."+f, 1)
			}
		}
	} else if m := unknownField.FindStringSubmatch(fe.Message); m != nil {
		if t, ok := structs()[m[1]]; ok {
			e.Text = "unknown field " + m[2]
			e.Help = near(m[2], fieldsOf(t))
		}
		if i := strings.Index(string(runes[e.From:]), m[2]); i >= 0 {
			e.From += len([]rune(string(runes[e.From:])[:i]))
			e.To = e.From + len([]rune(m[2]))
		}
	}
	if w := word.FindString(string(runes[e.From:])); w != "" && e.To < e.From+len([]rune(w)) {
		e.To = e.From + len([]rune(w))
	}
	if e.To <= e.From {
		e.To = e.From + 1
	}
	return e
}

// structs maps the type names in compiler messages to types.
func structs() map[string]reflect.Type {
	out := map[string]reflect.Type{}
	var add func(t reflect.Type)
	add = func(t reflect.Type) {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Map || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct || out[t.String()] != nil {
			return
		}
		out[t.String()] = t
		for i := range t.NumField() {
			add(t.Field(i).Type)
		}
	}
	add(reflect.TypeFor[Env]())
	add(reflect.TypeFor[report.Device]())
	return out
}

// fieldsOf lists the names an expression can use of a struct.
func fieldsOf(t reflect.Type) []string {
	var out []string
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("expr"); name != "" && name != "-" {
			out = append(out, name)
		}
	}
	return out
}
