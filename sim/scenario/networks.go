package scenario

import (
	"slices"
	"time"

	"github.com/otasim/otasim/sim/scenario/file"
)

// defaultLink is a household's Wi-Fi.
var defaultLink = Link{Downlink: 8_000_000, Uplink: 2_000_000, Latency: 25 * time.Millisecond, Jitter: 10 * time.Millisecond}

func (b *builder) networkNames() []string {
	names := make([]string, 0, len(b.f.Networks))
	for _, e := range b.f.Networks {
		names = append(names, e.Name)
	}
	for _, name := range profileNames() {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func (b *builder) buildNetworks() {
	single := map[string]Link{}
	for _, e := range b.f.Networks {
		if !e.Value.Many && len(e.Value.List) == 1 {
			single[e.Name] = b.link(&e.Value.List[0])
		}
	}
	for _, e := range b.f.Networks {
		n := Network{Name: e.Name, Pos: pos(e.Key)}
		if link, ok := single[e.Name]; ok && !e.Value.Many {
			f := &e.Value.List[0]
			b.fail(f.Weight.Node, "a weight belongs to a list of links", "a single link has no weight")
			b.fail(f.Use.Node, "use belongs to a list of links", "a network cannot be another one")
			n.Links = []WeightedLink{{Weight: Million, Link: link}}
		} else if e.Value.Many {
			n.Links = b.mix(e.Key, e.Value.List, single)
		}
		if len(n.Links) == 0 {
			b.fail(e.Key, "", "network %q has no link", e.Name)
		}
		b.s.Networks = append(b.s.Networks, n)
	}
}

func (b *builder) mix(key *file.Node, list []file.Link, single map[string]Link) []WeightedLink {
	var out []WeightedLink
	var sum uint64
	complete := true
	for i := range list {
		f := &list[i]
		w := WeightedLink{Weight: f.Weight.Value, Use: f.Use.Value}
		if f.Weight.Node == nil {
			complete = false
			b.fail(f.Place, "weight: 50%", "a link in a list needs a weight")
		}
		if f.Use.Node != nil {
			link, ok := single[w.Use]
			if p := profile(w.Use); !ok && p != nil {
				link, ok = p.Link, true
			}
			if !ok {
				names := profileNames()
				for _, e := range b.f.Networks {
					if _, is := single[e.Name]; is {
						names = append(names, e.Name)
					}
				}
				b.unknown(f.Use.Node, "network", w.Use, names)
			}
			if f.Downlink.Node != nil || f.Uplink.Node != nil || f.Latency.Node != nil || f.Jitter.Node != nil || f.Loss.Node != nil || f.Disconnect != nil {
				b.fail(f.Use.Node, "", "either use another network, or describe the link here")
			}
			w.Link = link
		} else {
			w.Link = b.link(f)
		}
		sum += w.Weight
		out = append(out, w)
	}
	if complete && sum != Million && len(out) > 0 {
		b.fail(key, "", "the weights of network %q add up to %d.%04d%%, not to 100%%", key.Value, sum/10_000, sum%10_000)
	}
	return out
}

func (b *builder) link(f *file.Link) Link {
	l := Link{Downlink: f.Downlink.Value, Uplink: f.Uplink.Value, Latency: f.Latency.Value, Jitter: f.Jitter.Value, Loss: f.Loss.Value}
	if f.Jitter.Node != nil && l.Jitter > l.Latency {
		b.fail(f.Jitter.Node, "", "the jitter cannot be larger than the latency")
	}
	if l.Loss > Million/2 {
		b.fail(f.Loss.Node, "", "more than 50%% loss is no link any more")
	}
	if d := f.Disconnect; d != nil {
		l.DisconnectEvery, l.DisconnectFrom, l.DisconnectTo = d.Every.Value, d.For.From, d.For.To
		if d.Every.Node != nil && d.Every.Value < time.Second {
			b.fail(d.Every.Node, "", "a link that breaks more often than every second is no link")
		}
	}
	return l
}

// knownNetwork reports whether a network is defined in the file or built in.
func (b *builder) knownNetwork(name string) bool {
	return b.s.NetworkByName(name) != nil || profile(name) != nil
}

// useNetworks adds the built-in networks that something uses and the file does not
// define.
func (b *builder) useNetworks() {
	use := func(name string) {
		if p := profile(name); p != nil && b.s.NetworkByName(name) == nil {
			b.s.Networks = append(b.s.Networks, Network{Name: name, Links: []WeightedLink{{Weight: Million, Link: p.Link}}})
		}
	}
	for _, g := range b.s.Fleet.Groups {
		use(g.Network)
	}
	for i := range b.s.Events {
		if a := b.s.Events[i].AddThings; a != nil {
			use(a.Network)
		}
	}
}
