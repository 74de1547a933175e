package file

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Every leaf keeps the node it was read from; a nil Node means that the file does not have the key.
type (
	// String is text.
	String struct {
		Value string
		*Node
	}
	// Label is text that may look like a number, such as the version 1.4: it is taken as written.
	Label struct {
		Value string
		*Node
	}
	// Path names a file; relative paths start at the folder of the text they stand in.
	Path struct {
		Value string // as written
		*Node
	}
	// Int is a whole number.
	Int struct {
		Value int64
		*Node
	}
	// Hex is a whole number, also as 0x....
	Hex struct {
		Value uint64
		*Node
	}
	// Bool is true or false; y and n too, as in an sdkconfig.
	Bool struct {
		Value bool
		*Node
	}
	// Duration is a time such as 90s.
	Duration struct {
		Value time.Duration
		*Node
	}
	// DurationRange is one duration or two: 5s..10m.
	DurationRange struct {
		From, To time.Duration
		*Node
	}
	// Size is a number of bytes such as 4KiB.
	Size struct {
		Value uint64
		*Node
	}
	// Rate is a link speed such as 8Mbps, in bits per second.
	Rate struct {
		Value uint64
		*Node
	}
	// Share is a percentage such as 10%, in parts per million.
	Share struct {
		Value uint64
		*Node
	}
	// Decimal is a plain number with a fraction, in millionths.
	Decimal struct {
		Value uint64
		*Node
	}
	// Expr is an expression.
	Expr struct {
		Value string
		*Node
	}
	// Quotas is the name of a profile, or a mapping of names of quotas to values; the mapping is in the Node.
	Quotas struct {
		Value string // the profile
		*Node
	}
	// Any is kept as it is.
	Any struct{ *Node }
)

// leaf is what every leaf type can do: take a scalar, or say what it expected.
type leaf interface {
	take(n *Node) (expected string)
	node() *Node
}

// node makes the embedded Node reachable for the decoder, nil included.
func (n *Node) node() *Node { return n }

const (
	wantDuration = "a duration such as 90s or 1h30m"
	wantSize     = "a size such as 4KiB or 1180 KiB"
	wantRate     = "a link speed such as 400kbps or 8Mbps"
	wantShare    = "a share such as 10% or 0.5%"
)

func isScalar(n *Node) bool { return n.Kind == Scalar }

func (v *String) take(n *Node) string {
	if !isScalar(n) || n.Tag != "!!str" && !n.Quoted {
		return "text"
	}
	v.Value, v.Node = n.Value, n
	return ""
}

func (v *Label) take(n *Node) string {
	if !isScalar(n) || n.Value == "" {
		return "text"
	}
	v.Value, v.Node = n.Value, n
	return ""
}

func (v *Path) take(n *Node) string {
	if !isScalar(n) || n.Value == "" {
		return "the path of a file"
	}
	v.Value, v.Node = n.Value, n
	return ""
}

func (v *Int) take(n *Node) string {
	i, err := strconv.ParseInt(strings.ReplaceAll(n.Value, "_", ""), 10, 64)
	if !isScalar(n) || n.Quoted || err != nil {
		return "a whole number"
	}
	v.Value, v.Node = i, n
	return ""
}

func (v *Hex) take(n *Node) string {
	i, err := strconv.ParseUint(n.Value, 0, 63)
	if !isScalar(n) || err != nil {
		return "a number such as 42 or 0x2a"
	}
	v.Value, v.Node = i, n
	return ""
}

func (v *Bool) take(n *Node) string {
	if isScalar(n) {
		switch strings.ToLower(n.Value) {
		case "true", "y", "yes", "1":
			v.Value, v.Node = true, n
			return ""
		case "false", "n", "no", "0":
			v.Value, v.Node = false, n
			return ""
		}
	}
	return "true or false"
}

func (v *Duration) take(n *Node) string {
	d, ok := ParseDuration(n.Value)
	if !isScalar(n) || !ok {
		return wantDuration
	}
	v.Value, v.Node = d, n
	return ""
}

func (v *DurationRange) take(n *Node) string {
	const want = "a duration such as 90s, or a range such as 5s..10m"
	if !isScalar(n) {
		return want
	}
	from, to, isRange := strings.Cut(n.Value, "..")
	if !isRange {
		to = from
	}
	a, okA := ParseDuration(strings.TrimSpace(from))
	b, okB := ParseDuration(strings.TrimSpace(to))
	if !okA || !okB {
		return want
	}
	if a > b {
		return "a range whose first end is the smaller one"
	}
	v.From, v.To, v.Node = a, b, n
	return ""
}

func (v *Size) take(n *Node) string {
	s, ok := ParseSize(n.Value)
	if !isScalar(n) || !ok {
		return wantSize
	}
	v.Value, v.Node = s, n
	return ""
}

func (v *Rate) take(n *Node) string {
	r, ok := ParseRate(n.Value)
	if !isScalar(n) || !ok || r == 0 {
		return wantRate
	}
	v.Value, v.Node = r, n
	return ""
}

func (v *Share) take(n *Node) string {
	s, ok := ParseShare(n.Value)
	if !isScalar(n) || !ok {
		return wantShare
	}
	v.Value, v.Node = s, n
	return ""
}

func (v *Decimal) take(n *Node) string {
	d, ok := ParseDecimal(n.Value)
	if !isScalar(n) || !ok {
		return "a number such as 1.5"
	}
	v.Value, v.Node = d, n
	return ""
}

func (v *Expr) take(n *Node) string {
	if !isScalar(n) || strings.TrimSpace(n.Value) == "" {
		return "an expression such as fleet.bricked == 0"
	}
	v.Value, v.Node = n.Value, n
	return ""
}

func (v *Quotas) take(n *Node) string {
	switch {
	case n.Kind == Mapping:
	case isScalar(n) && (n.Tag == "!!str" || n.Quoted):
		v.Value = n.Value
	default:
		return "aws-default, unlimited or a mapping of quotas to values"
	}
	v.Node = n
	return ""
}

func (v *Any) take(n *Node) string {
	v.Node = n
	return ""
}

// got describes a node that was not expected.
func got(n *Node) string {
	if n.Kind != Scalar {
		return n.Kind.String()
	}
	return fmt.Sprintf("%q", n.Value)
}
