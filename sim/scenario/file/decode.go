package file

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Map is a mapping whose keys the author chooses, in the order of the text.
type Map[T any] []Entry[T]

// Entry is one key of a Map.
type Entry[T any] struct {
	Name  string
	Key   *Node
	Value T
}

// OneOrMany is a value or a list of them.
type OneOrMany[T any] struct {
	Many bool // a list was given
	List []T
}

// Decode fills a *struct of this package from a node and returns every mistake.
func Decode(n *Node, into any) []Problem {
	d := &decoder{}
	d.value(n, reflect.ValueOf(into).Elem(), "")
	return d.problems
}

type decoder struct{ problems []Problem }

func (d *decoder) fail(n *Node, text, help string) {
	d.problems = append(d.problems, At(n, text, help))
}

// value decodes n into v. limits is the jsonschema tag of the field v is.
func (d *decoder) value(n *Node, v reflect.Value, limits string) {
	if l, ok := v.Addr().Interface().(leaf); ok {
		if want := l.take(n); want != "" {
			d.fail(n, fmt.Sprintf("expected %s, got %s", want, got(n)), "")
			return
		}
		d.limits(n, v, limits)
		return
	}
	switch {
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(n, v.Elem(), limits)
	case Generic(v.Type()) == "Map":
		d.mapping(n, v)
	case Generic(v.Type()) == "OneOrMany":
		list := v.FieldByName("List")
		if n.Kind == Sequence {
			v.FieldByName("Many").SetBool(true)
			d.list(n, list, limits)
			return
		}
		list.Set(reflect.MakeSlice(list.Type(), 1, 1))
		d.value(n, list.Index(0), limits)
	case v.Kind() == reflect.Slice:
		d.list(n, v, limits)
	case v.Kind() == reflect.Struct:
		d.fields(n, v)
	}
}

// Generic is the name of a generic type without its parameter: Map or OneOrMany, "" for any other type.
func Generic(t reflect.Type) string {
	name, _, is := strings.Cut(t.Name(), "[")
	if !is {
		return ""
	}
	return name
}

func (d *decoder) list(n *Node, v reflect.Value, limits string) {
	if n.Kind == Null {
		return
	}
	if n.Kind != Sequence {
		d.fail(n, fmt.Sprintf("expected a list, got %s", got(n)), "write [...] or lines that start with -")
		return
	}
	if len(n.Items) == 0 && hasLimit(limits, "minItems=1") {
		d.fail(n, "expected at least one entry", "")
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Items), len(n.Items)))
	for i, item := range n.Items {
		d.value(item, v.Index(i), limits)
	}
}

func (d *decoder) mapping(n *Node, v reflect.Value) {
	if n.Kind == Null {
		return
	}
	if n.Kind != Mapping {
		d.fail(n, fmt.Sprintf("expected a mapping, got %s", got(n)), "")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Keys), len(n.Keys)))
	for i, k := range n.Keys {
		e := v.Index(i)
		e.FieldByName("Name").SetString(k.Value)
		e.FieldByName("Key").Set(reflect.ValueOf(k))
		d.value(n.Items[i], e.FieldByName("Value"), "")
	}
}

// Field is one key that a struct of this package knows.
type Field struct {
	Key   string
	Index []int
	Tag   reflect.StructTag
	Type  reflect.Type
}

// Fields lists the keys of a struct type, embedded structs included.
func Fields(t reflect.Type) []Field {
	var out []Field
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct {
			for _, sub := range Fields(f.Type) {
				sub.Index = append([]int{i}, sub.Index...)
				out = append(out, sub)
			}
			continue
		}
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if key != "" && key != "-" {
			out = append(out, Field{Key: key, Index: []int{i}, Tag: f.Tag, Type: f.Type})
		}
	}
	return out
}

func (d *decoder) fields(n *Node, v reflect.Value) {
	if at := v.FieldByName("Place"); at.IsValid() {
		at.Set(reflect.ValueOf(n))
	}
	if n.Kind == Null {
		n = &Node{Src: n.Src, Line: n.Line, Col: n.Col, Kind: Mapping}
	}
	if n.Kind != Mapping {
		d.fail(n, fmt.Sprintf("expected a mapping with keys, got %s", got(n)), "")
		return
	}
	fields := Fields(v.Type())
	known := make([]string, 0, len(fields))
	for _, f := range fields {
		known = append(known, f.Key)
	}
	for i, k := range n.Keys {
		f := find(fields, k.Value)
		if f == nil {
			d.fail(k, fmt.Sprintf("unknown key %q", k.Value), DidYouMean(k.Value, known))
			continue
		}
		before := len(d.problems)
		d.value(n.Items[i], v.FieldByIndex(f.Index), f.Tag.Get("jsonschema"))
		if what := f.Tag.Get("later"); what != "" && len(d.problems) == before && !isFalse(n.Items[i]) {
			d.fail(k, fmt.Sprintf("%q is not supported by this version", k.Value), "")
		}
	}
	for _, f := range fields {
		if hasLimit(f.Tag.Get("jsonschema"), "required") && n.Get(f.Key) == nil {
			d.fail(n, fmt.Sprintf("missing key %q", f.Key), "")
		}
	}
}

// isFalse tells a setting that is switched off from one that is used.
func isFalse(n *Node) bool {
	var b Bool
	return n.Kind == Scalar && !n.Quoted && b.take(n) == "" && !b.Value
}

func find(fields []Field, key string) *Field {
	for i := range fields {
		if fields[i].Key == key {
			return &fields[i]
		}
	}
	return nil
}

func hasLimit(limits, name string) bool {
	for part := range strings.SplitSeq(limits, ",") {
		if part == name {
			return true
		}
	}
	return false
}

// limits judges a value by the words of its jsonschema tag: minimum, maximum, enum, later. A value marked
// later= is one of the format that this version cannot execute.
func (d *decoder) limits(n *Node, v reflect.Value, limits string) {
	if limits == "" || n.Kind != Scalar {
		return
	}
	var enum, later []string
	for part := range strings.SplitSeq(limits, ",") {
		name, arg, _ := strings.Cut(part, "=")
		switch name {
		case "enum":
			enum = append(enum, arg)
		case "later":
			later = append(later, arg)
		case "minimum", "maximum":
			bound, err := strconv.ParseInt(arg, 10, 64)
			val, isInt := intOf(v)
			if err != nil || !isInt {
				continue
			}
			if name == "minimum" && val < bound {
				d.fail(n, fmt.Sprintf("%s is too small", n.Value), fmt.Sprintf("it must be at least %d", bound))
			}
			if name == "maximum" && val > bound {
				d.fail(n, fmt.Sprintf("%s is too large", n.Value), fmt.Sprintf("it must be at most %d", bound))
			}
		}
	}
	for _, e := range later {
		if n.Value == e {
			d.fail(n, fmt.Sprintf("%q is not supported by this version", e), "one of "+strings.Join(enum, ", "))
			return
		}
	}
	if len(enum) == 0 {
		return
	}
	for _, e := range enum {
		if n.Value == e {
			return
		}
	}
	help := DidYouMean(n.Value, append(append([]string(nil), enum...), later...))
	d.fail(n, fmt.Sprintf("unknown value %q", n.Value), help)
}

func intOf(v reflect.Value) (int64, bool) {
	f := v.FieldByName("Value")
	switch {
	case !f.IsValid():
		return 0, false
	case f.CanInt():
		return f.Int(), true
	case f.CanUint():
		return int64(f.Uint()), true
	}
	return 0, false
}
