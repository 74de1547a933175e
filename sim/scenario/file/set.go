package file

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// ErrPath says that the PATH of a PATH=VALUE names nothing in the scenario.
var ErrPath = errors.New("no such value in the scenario")

// Set replaces or adds the value at a path: keys joined with dots, entries of lists by their name, version or
// otaUpdateId (or their number from 0). A name may hold dots itself: the longest one that fits is taken.
//
//	firmware.1.1.0.image    fleet.groups.canary.count    updates.fw-1-1-0.targets
func Set(root *Node, path string, value *Node) error {
	if root == nil || root.Kind != Mapping {
		return fmt.Errorf("%q: %w", path, ErrPath)
	}
	return set(root, reflect.TypeFor[Scenario](), path, path, value)
}

func set(n *Node, t reflect.Type, rest, whole string, value *Node) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if Generic(t) == "OneOrMany" {
		list, _ := t.FieldByName("List")
		if n.Kind == Sequence {
			t = list.Type
		} else {
			t = list.Type.Elem()
		}
	}
	switch {
	case t == reflect.TypeFor[Quotas]() && n.Kind == Mapping:
		if i := slices.Index(keysOf(n), rest); i >= 0 {
			n.Items[i] = value
		} else {
			addKey(n, rest, value)
		}
		return nil
	case Generic(t) == "Map":
		entry, _ := t.Elem().FieldByName("Value")
		if n.Kind != Mapping {
			break
		}
		names := keysOf(n)
		if key, after, ok := longest(rest, names); ok {
			return descend(n, slices.Index(names, key), entry.Type, after, whole, value)
		}
		if reflect.PointerTo(entry.Type).Implements(reflect.TypeFor[leaf]()) {
			addKey(n, rest, value)
			return nil
		}
		return unresolved(whole, rest, names)
	case t.Kind() == reflect.Slice:
		if n.Kind != Sequence {
			break
		}
		names := make([]string, len(n.Items))
		for i, item := range n.Items {
			names[i] = identity(item)
		}
		key, after, ok := longest(rest, names)
		i := slices.Index(names, key)
		if !ok {
			first, tail, _ := strings.Cut(rest, ".")
			num, err := strconv.Atoi(first)
			if err != nil || num < 0 || num >= len(n.Items) {
				return unresolved(whole, rest, names)
			}
			i, after = num, tail
		}
		return descend(n, i, t.Elem(), after, whole, value)
	case t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(reflect.TypeFor[leaf]()):
		if n.Kind != Mapping {
			break
		}
		fields := Fields(t)
		names := make([]string, len(fields))
		for i, f := range fields {
			names[i] = f.Key
		}
		key, after, ok := longest(rest, names)
		if !ok {
			return unresolved(whole, rest, names)
		}
		f := find(fields, key)
		if i := slices.Index(keysOf(n), key); i >= 0 {
			return descend(n, i, f.Type, after, whole, value)
		}
		if after == "" {
			addKey(n, key, value)
			return nil
		}
		sub := &Node{Src: value.Src, Line: value.Line, Col: value.Col, Kind: Mapping}
		if err := set(sub, f.Type, after, whole, value); err != nil {
			return err
		}
		addKey(n, key, sub)
		return nil
	}
	return fmt.Errorf("%q: %w: nothing can be below %q", whole, ErrPath, strings.TrimSuffix(strings.TrimSuffix(whole, rest), "."))
}

// descend goes on at the i-th value of n, or replaces it when the path ends here.
func descend(n *Node, i int, t reflect.Type, rest, whole string, value *Node) error {
	if rest == "" {
		n.Items[i] = value
		return nil
	}
	if n.Items[i].Kind == Null {
		n.Items[i] = &Node{Src: value.Src, Line: value.Line, Col: value.Col, Kind: Mapping}
	}
	return set(n.Items[i], t, rest, whole, value)
}

func addKey(n *Node, key string, value *Node) {
	n.Keys = append(n.Keys, &Node{Src: value.Src, Line: value.Line, Col: value.Col, Kind: Scalar, Tag: "!!str", Value: key})
	n.Items = append(n.Items, value)
}

func keysOf(n *Node) []string {
	names := make([]string, len(n.Keys))
	for i, k := range n.Keys {
		names[i] = k.Value
	}
	return names
}

// identity is what a list entry is addressed by.
func identity(n *Node) string {
	for _, key := range []string{"name", "version", "otaUpdateId"} {
		if v := n.Get(key); v != nil && v.Kind == Scalar {
			return v.Value
		}
	}
	return ""
}

// longest finds the longest name that the path starts with, and what follows it.
func longest(path string, names []string) (name, rest string, ok bool) {
	for _, c := range names {
		if c == "" || len(c) <= len(name) && ok {
			continue
		}
		if path == c {
			name, rest, ok = c, "", true
		} else if strings.HasPrefix(path, c+".") {
			name, rest, ok = c, path[len(c)+1:], true
		}
	}
	return name, rest, ok
}

func unresolved(whole, rest string, names []string) error {
	word, _, _ := strings.Cut(rest, ".")
	near := Nearest(rest, names)
	if near == "" {
		near = Nearest(word, names)
	}
	where := strings.TrimSuffix(strings.TrimSuffix(whole, rest), ".")
	if where != "" {
		where = " in " + where
	}
	if near != "" {
		return fmt.Errorf("%q: %w: %q is not known%s, did you mean %q?", whole, ErrPath, word, where, near)
	}
	return fmt.Errorf("%q: %w: %q is not known%s", whole, ErrPath, word, where)
}
