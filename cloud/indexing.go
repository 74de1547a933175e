package cloud

import (
	"time"

	"github.com/otasim/otasim/cloud/agenda"
	"github.com/otasim/otasim/cloud/quota"
	"github.com/otasim/otasim/cloud/registry"
)

// indexing is what the index has not seen yet. It follows the registry and the
// shadows Config.IndexingTime behind.
type indexing struct {
	things []string // that have changed, once each
	seen   map[string]bool
	alarm  agenda.Entry
}

// touched notes that the index has to look at a thing again. It costs nothing
// without dynamic groups.
func (c *Cloud) touched(now time.Time, thing string) {
	if c.registry.DynamicGroups() == 0 || c.indexing.seen[thing] {
		return
	}
	if c.indexing.seen == nil {
		c.indexing.seen = map[string]bool{}
	}
	c.indexing.seen[thing] = true
	c.indexing.things = append(c.indexing.things, thing)
	c.reindex(now)
}

// Indexing reports whether the index is behind: things may still join dynamic groups.
func (c *Cloud) Indexing() bool { return c.indexing.alarm.Planned() }

func (c *Cloud) reindex(now time.Time) {
	if !c.indexing.alarm.Planned() {
		c.indexing.alarm.Run = c.index
		c.agenda.Plan(&c.indexing.alarm, now.Add(c.cfg.IndexingTime).UnixNano())
	}
}

// index puts things into the dynamic groups they belong to. CONTINUOUS jobs
// notice.
func (c *Cloud) index(at int64) {
	things := c.indexing.things
	c.indexing.things, c.indexing.seen = nil, nil
	for _, thing := range c.registry.Reindex(things) {
		c.jobs.MembershipChanged(time.Unix(0, at).UTC(), thing)
	}
}

// CreateDynamicThingGroup makes a thing group of what matches a query. Its things
// join in a later Wake.
func (c *Cloud) CreateDynamicThingGroup(now time.Time, r registry.CreateDynamicThingGroupRequest) (registry.DynamicThingGroupResponse, error) {
	if err := c.admit(now, "CreateDynamicThingGroup"); err != nil {
		return registry.DynamicThingGroupResponse{}, err
	}
	r.Limit = c.cfg.Quotas[quota.DynamicGroups]
	out, err := c.registry.CreateDynamicThingGroup(now, r)
	if err == nil && c.registry.Building() {
		c.reindex(now)
	}
	return out, err
}

// UpdateDynamicThingGroup changes a dynamic group and returns its version.
func (c *Cloud) UpdateDynamicThingGroup(now time.Time, name string, p registry.ThingGroupProperties, q registry.Query, expectedVersion int64) (int64, error) {
	version, err := c.registry.UpdateDynamicThingGroup(name, p, q, expectedVersion)
	if err == nil && c.registry.Building() {
		c.reindex(now)
	}
	return version, err
}

// DeleteDynamicThingGroup removes a dynamic group; its things leave it.
func (c *Cloud) DeleteDynamicThingGroup(now time.Time, name string) error {
	left, err := c.registry.DeleteDynamicThingGroup(name)
	for _, thing := range left {
		c.jobs.MembershipChanged(now, thing)
	}
	c.flush(now)
	return err
}

// UpdateIndexingConfiguration sets what is indexed; nil stays.
func (c *Cloud) UpdateIndexingConfiguration(now time.Time, things *registry.ThingIndexing, groups *registry.GroupIndexing) error {
	err := c.registry.UpdateIndexingConfiguration(things, groups)
	if err == nil && c.registry.Building() {
		c.reindex(now)
	}
	return err
}

// ShadowRequest answers a shadow request over HTTPS: name is "" for the classic
// shadow, op one of update, get and delete.
func (c *Cloud) ShadowRequest(now time.Time, thing, name, op string, payload []byte) ([]byte, error) {
	answer, changed, err := c.shadows.Request(now, thing, name, op, payload)
	if changed {
		c.touched(now, thing)
	}
	return answer, err
}

// NamedShadows lists the named shadows of a thing.
func (c *Cloud) NamedShadows(thing string) []string { return c.shadows.Names(thing) }
