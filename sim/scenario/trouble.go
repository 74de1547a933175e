package scenario

import (
	"github.com/otasim/otasim/sim/scenario/file"
)

func (b *builder) selection(f *file.Select) Select {
	for _, g := range f.Groups {
		b.group(g)
	}
	for _, t := range f.Things {
		b.thing(t)
	}
	for _, n := range f.Networks {
		if n.Node != nil && b.s.NetworkByName(n.Value) == nil && n.Value != DefaultNetwork {
			b.unknown(n.Node, "network", n.Value, b.networkNames())
		}
	}
	return Select{Groups: words(f.Groups), Things: words(f.Things), Networks: words(f.Networks), Fraction: b.fraction(f.Fraction)}
}

func (b *builder) fraction(f file.Share) uint64 {
	if f.Node == nil {
		return Million
	}
	if f.Value == 0 {
		b.fail(f.Node, "", "a fraction of nothing meets nobody")
	}
	return f.Value
}
