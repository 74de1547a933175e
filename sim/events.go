package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/cloud/ota"
	"github.com/otasim/otasim/cloud/registry"
	"github.com/otasim/otasim/flashmodel/nvs"
	"github.com/otasim/otasim/sim/scenario"
)

// event carries out one event of the scenario.
func (o *operator) event(now time.Duration, e *scenario.Event) error {
	at, c := Epoch.Add(now), o.cloud
	switch {
	case e.CancelJob != nil:
		_, err := c.CancelJob(at, ota.JobID(e.CancelJob.OTAUpdateID), jobs.CancelJobRequest{Force: e.CancelJob.Force})
		return err
	case e.DeleteJob != nil:
		return c.DeleteJob(at, ota.JobID(e.DeleteJob.OTAUpdateID), e.DeleteJob.Force)
	case e.DeleteOTAUpdate != nil:
		d := e.DeleteOTAUpdate
		return c.DeleteOTAUpdate(at, d.OTAUpdateID, d.DeleteStream, d.ForceDeleteAWSJob)
	case e.AssociateTargetsWithJob != nil:
		a := e.AssociateTargetsWithJob
		_, err := c.AssociateTargetsWithJob(at, ota.JobID(a.OTAUpdateID), o.targets(a.Targets), "")
		return err
	case e.CancelJobExecution != nil:
		x := e.CancelJobExecution
		return c.CancelJobExecution(at, x.Thing, ota.JobID(x.OTAUpdateID), jobs.CancelJobExecutionRequest{Force: x.Force})
	case e.AddThings != nil:
		return o.addThings(e.AddThings)
	case e.AddThingToThingGroup != nil:
		return each(e.AddThingToThingGroup.Things, func(t string) error {
			return c.AddThingToThingGroup(at, t, e.AddThingToThingGroup.ThingGroupName)
		})
	case e.RemoveThingFromThingGroup != nil:
		return each(e.RemoveThingFromThingGroup.Things, func(t string) error {
			return c.RemoveThingFromThingGroup(at, t, e.RemoveThingFromThingGroup.ThingGroupName)
		})
	case e.UpdateThing != nil:
		return each(e.UpdateThing.Things, func(t string) error {
			return c.UpdateThing(at, t, registry.ThingUpdate{Attributes: e.UpdateThing.Attributes, Merge: true})
		})
	case e.Reprovision != nil:
		return o.reprovision(e.Reprovision)
	case e.PowerOff != nil:
		return o.switchPower(e.PowerOff, false)
	case e.PowerOn != nil:
		return o.switchPower(e.PowerOn, true)
	}
	return nil
}

func each(names []string, do func(string) error) error {
	for _, n := range names {
		if err := do(n); err != nil {
			return err
		}
	}
	return nil
}

// addThings delivers the next devices of a group that do not exist yet.
func (o *operator) addThings(a *scenario.AddThings) error {
	left := a.Count
	for i := range o.fleet.things {
		t := &o.fleet.things[i]
		if left == 0 || o.names[i] != "" || o.fleet.groups[t.group].name != a.Group {
			continue
		}
		left--
		id, err := o.identity(i, t.name, a.Group)
		if err != nil {
			return err
		}
		if err := o.deliver(i, id); err != nil {
			return err
		}
	}
	return nil
}

func (o *operator) deliver(device int, id nvs.Identity) error {
	nvs, err := o.fleet.nvs(device, id)
	if err != nil {
		return err
	}
	o.world.deliver(device, id.ThingName, nvs)
	return nil
}

// reprovision gives devices a new thing name, certificate and key; their old things
// are deleted.
func (o *operator) reprovision(r *scenario.Reprovision) error {
	var which []int
	for i := range o.fleet.things {
		if o.names[i] == "" {
			continue
		}
		if slices.Contains(r.Things, o.names[i]) || r.Group != "" && len(which) < r.Count && o.fleet.groups[o.fleet.things[i].group].name == r.Group {
			which = append(which, i)
		}
	}
	for n, i := range which {
		old := o.names[i]
		name := old + r.Suffix
		if n < len(r.NewNames) {
			name = r.NewNames[n]
		}
		group := r.ThingGroupName
		if group == "" {
			group = o.fleet.groups[o.fleet.things[i].group].name
		}
		if err := o.retire(i); err != nil {
			return fmt.Errorf("thing %s: %w", old, err)
		}
		id, err := o.identity(i, name, group)
		if err != nil {
			return fmt.Errorf("thing %s: %w", name, err)
		}
		if err := o.deliver(i, id); err != nil {
			return err
		}
	}
	return nil
}

func (o *operator) switchPower(p *scenario.Power, on bool) error {
	for i := range o.fleet.things {
		if o.names[i] == "" {
			continue
		}
		all := len(p.Things) == 0 && len(p.Groups) == 0
		if all || slices.Contains(p.Things, o.names[i]) || slices.Contains(p.Groups, o.fleet.groups[o.fleet.things[i].group].name) {
			o.world.power(i, on)
		}
	}
	return nil
}
