package cloud

import (
	"maps"
	"slices"
	"time"

	"github.com/otasim/otasim/cloud/aws"
)

// EventTypes are the kinds of registry and job events that an account may
// switch on, in the order of the API model.
var EventTypes = []string{"THING", "THING_GROUP", "THING_TYPE", "THING_GROUP_MEMBERSHIP", "THING_GROUP_HIERARCHY", "THING_TYPE_ASSOCIATION",
	"JOB", "JOB_EXECUTION", "POLICY", "CERTIFICATE", "CA_CERTIFICATE"}

// EventConfigurations is what DescribeEventConfigurations tells.
type EventConfigurations struct {
	Enabled           map[string]bool
	Created, Modified time.Time // zero before the first change
}

// toldEvents are the event types that this cloud tells.
var toldEvents = []string{"JOB", "JOB_EXECUTION"}

// UpdateEventConfigurations switches events on and off; types that are not named
// stay. Events cost nothing while they are off.
func (c *Cloud) UpdateEventConfigurations(now time.Time, enabled map[string]bool) error {
	for _, t := range slices.Sorted(maps.Keys(enabled)) {
		switch on := enabled[t]; {
		case !slices.Contains(EventTypes, t):
			return aws.InvalidRequest.Because("eventConfigurations: %.40q is no event type", t)
		case on && !slices.Contains(toldEvents, t):
			return aws.InvalidRequest.Because("Events of type %s are not supported here.", t)
		}
	}
	e := &c.events
	if e.Enabled == nil {
		e.Enabled = map[string]bool{}
		e.Created = now
	}
	maps.Copy(e.Enabled, enabled)
	e.Modified = now
	c.jobs.SetEvents(e.Enabled["JOB"], e.Enabled["JOB_EXECUTION"])
	return nil
}

// DescribeEventConfigurations tells which events are on; types that are not in
// Enabled are off.
func (c *Cloud) DescribeEventConfigurations() EventConfigurations { return c.events }
