package registry

import (
	"strings"

	"github.com/otasim/otasim/cloud/quota"
)

// Uses adds what is used of the registry's quotas now: the most of any thing, group,
// certificate and policy.
func (r *Registry) Uses(out map[quota.Name]quota.Peak) {
	see := func(n quota.Name, used int) {
		p := out[n]
		p.See(int64(used))
		out[n] = p
	}
	for _, t := range r.order {
		if t == nil {
			continue
		}
		see(quota.GroupsPerThing, len(t.memberships))
		attributes := quota.AttributesWithType
		if t.typeName == "" {
			attributes = quota.AttributesWithoutType
		}
		see(attributes, len(t.attributes))
	}
	for _, g := range r.groupIDs {
		if g == nil {
			continue
		}
		depth := 1
		for up := g.parent; up != nil; up = up.parent {
			depth++
		}
		see(quota.GroupDepth, depth)
		see(quota.ChildGroups, len(g.children))
		see(quota.PoliciesPerTarget, len(g.policies))
	}
	for _, c := range r.certs { // a maximum: the order does not matter
		see(quota.PoliciesPerTarget, len(c.policies))
	}
	for _, p := range r.policies {
		see(quota.PolicyVersions, len(p.versions))
		for _, v := range p.versions {
			see(quota.PolicySize, len(strings.Join(strings.Fields(v.document), "")))
		}
	}
	see(quota.DynamicGroups, len(r.dynamics))
}
