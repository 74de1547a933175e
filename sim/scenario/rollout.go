package scenario

import (
	"slices"
	"strings"
	"time"

	"github.com/otasim/otasim/flashmodel/partition"
	"github.com/otasim/otasim/sim/check"
	"github.com/otasim/otasim/sim/scenario/file"
)

func (b *builder) groupNames() []string {
	names := make([]string, 0, len(b.f.Fleet.Groups))
	for i := range b.f.Fleet.Groups {
		if n := b.f.Fleet.Groups[i].Name; n.Node != nil {
			names = append(names, n.Value)
		}
	}
	return names
}

func (b *builder) updateIDs() []string {
	ids := make([]string, 0, len(b.f.Updates))
	for i := range b.f.Updates {
		if n := b.f.Updates[i].OTAUpdateID; n.Node != nil {
			ids = append(ids, n.Value)
		}
	}
	return ids
}

// isThing reports whether a name belongs to a device: one that exists from the start, or one made by addThings or
// reprovision.
func (b *builder) isThing(name string) bool {
	for i := range b.f.Events {
		e := &b.f.Events[i]
		if r := e.Reprovision; r != nil {
			if slices.Contains(words(r.NewNames), name) {
				return true
			}
			if base, ok := strings.CutSuffix(name, r.Suffix.Value); ok && r.Suffix.Value != "" && b.isThing(base) {
				return true
			}
		}
	}
	for i := range b.s.Fleet.Groups {
		g := &b.s.Fleet.Groups[i]
		prefix := g.Target + "-" + g.Name + "-"
		digits, ok := strings.CutPrefix(name, prefix)
		if !ok || len(digits) < 5 || strings.Trim(digits, "0123456789") != "" {
			continue
		}
		last := g.Count
		for k := range b.f.Events {
			if a := b.f.Events[k].AddThings; a != nil && a.Group.Value == g.Name {
				last += int(a.Count.Value)
			}
		}
		for n, d := 0, 0; d < len(digits); d++ {
			n = n*10 + int(digits[d]-'0')
			if n > last {
				break
			}
			if d == len(digits)-1 && n >= 1 {
				return true
			}
		}
	}
	return false
}

func (b *builder) thing(n file.String) {
	if n.Node != nil && !b.isThing(n.Value) {
		var help string
		if len(b.s.Fleet.Groups) > 0 {
			help = "things are called " + b.s.Fleet.Groups[0].ThingName(1) + " and so on"
		}
		b.fail(n.Node, help, "unknown thing %q", n.Value)
	}
}

func (b *builder) group(n file.String) {
	if n.Node != nil && b.groups[n.Value] == nil {
		b.unknown(n.Node, "group", n.Value, b.groupNames())
	}
}

// targets checks a list of groups and things.
func (b *builder) targets(list []file.String) []string {
	for _, t := range list {
		if t.Node == nil || b.groups[t.Value] != nil || b.s.DynamicGroup(t.Value) != nil || b.isThing(t.Value) {
			continue
		}
		names := b.groupNames()
		for i := range b.s.Fleet.Dynamic {
			names = append(names, b.s.Fleet.Dynamic[i].Name)
		}
		b.fail(t.Node, file.DidYouMean(t.Value, names), "unknown group or thing %q", t.Value)
	}
	return words(list)
}

func (b *builder) updateID(n file.String) {
	if n.Node != nil && !slices.Contains(b.updateIDs(), n.Value) {
		b.unknown(n.Node, "otaUpdateId", n.Value, b.updateIDs())
	}
}

// trigger reads at, after and when. needed is the entry that must have one of them, nil if t = 0 will do.
func (b *builder) trigger(f *file.Trigger, needed *file.Node) Trigger {
	t := Trigger{At: f.At.Value, HasAt: f.At.Node != nil, When: b.expr(f.When, check.When)}
	if f.After != nil {
		b.updateID(f.After.OTAUpdateID)
		t.After = &After{OTAUpdateID: f.After.OTAUpdateID.Value, JobStatus: f.After.JobStatus.Value, Delay: f.After.Delay.Value}
		if t.HasAt {
			b.fail(f.At.Node, "", "either at or after, not both")
		}
	}
	if t.HasAt && b.s.Duration > 0 && t.At > b.s.Duration {
		b.fail(f.At.Node, "", "this is after the end of the scenario, its duration is %v", b.s.Duration)
	}
	if !t.HasAt && t.After == nil && f.When.Node == nil {
		if needed != nil {
			b.fail(needed, "for example at: 5m", "when does this happen? give at, after or when")
		}
		t.HasAt = true
	}
	return t
}

func (b *builder) buildUpdates() {
	seen := map[string]bool{}
	for i := range b.f.Updates {
		f := &b.f.Updates[i]
		if f.From.Node != nil {
			b.from(f)
		}
		id := f.OTAUpdateID.Value
		if f.OTAUpdateID.Node == nil {
			b.fail(f.Place, "", "missing key \"otaUpdateId\"")
		}
		b.awsName(f.OTAUpdateID, "an otaUpdateId", 64)
		if seen[id] && f.OTAUpdateID.Node != nil {
			b.fail(f.OTAUpdateID.Node, "", "update %q is defined twice", id)
		}
		seen[id] = true
		u := Update{
			OTAUpdateID: id, Description: f.Description.Value, Trigger: b.trigger(&f.Trigger, nil), Firmware: f.Firmware.Value,
			Targets: b.targets(f.Targets), Protocols: words(f.Protocols), TargetSelection: "SNAPSHOT", From: place(f.From), Pos: pos(f.Place),
		}
		if f.After != nil && f.After.OTAUpdateID.Value == id {
			b.fail(f.After.OTAUpdateID.Node, "", "an update cannot wait for itself")
		}
		if len(u.Protocols) == 0 {
			u.Protocols = []string{"MQTT"}
		}
		if f.TargetSelection.Node != nil {
			u.TargetSelection = f.TargetSelection.Value
		}
		if len(f.Targets) == 0 {
			b.fail(f.Place, "", "an update needs targets: groups or things")
		}
		b.updateFile(f, &u)
		if !u.File.Own() {
			b.updateFirmware(f)
		}
		b.limits(f, &u)
		b.s.Updates = append(b.s.Updates, u)
	}
}

// updateFile reads the file of an update and checks that its partition exists and is large enough on every device.
func (b *builder) updateFile(f *file.Update, u *Update) {
	in := f.File
	if in == nil {
		return
	}
	out := &UpdateFile{FileName: in.FileName.Value, HasName: in.FileName.Node != nil, FileType: int(in.FileType.Value), Path: place(in.Path),
		Size: uint32(in.Size.Value), Partition: in.Partition.Value, Signature: "good"}
	u.File = out
	if in.Signature.Node != nil {
		out.Signature = in.Signature.Value
	}
	if c := in.CustomCodeSigning; c != nil {
		out.Custom = &CustomCodeSigning{c.Signature.Value, c.CertificateName.Value, c.HashAlgorithm.Value, c.SignatureAlgorithm.Value}
		if out.Signature != "good" {
			b.fail(in.Signature.Node, "", "either signature or customCodeSigning, not both")
		}
	}
	size := uint64(in.Size.Value)
	if in.Path.Node != nil {
		size = uint64(len(b.readable(in.Path)))
	}
	switch {
	case in.Path.Node != nil && in.Size.Node != nil:
		b.fail(in.Size.Node, "", "either path or size, not both")
	case out.Own() && f.Firmware.Node != nil:
		b.fail(f.Firmware.Node, "remove it, or path and size of the file", "the update has a file of its own, and a firmware")
	case out.Own() && out.Signature == "corrupt":
		b.fail(in.Signature.Node, "", "only the signature of a firmware can be corrupted")
	}
	if in.Partition.Node == nil {
		return
	}
	switch {
	case in.FileType.Node == nil:
		out.FileType = 1
	case out.FileType == 0:
		b.fail(in.FileType.Node, "any other number will do", "fileType 0 is firmware, which goes into an OTA slot")
	}
	if !out.HasName {
		out.FileName, out.HasName = "/"+out.Partition, true
	}
	for i := range b.s.Fleet.Groups {
		g := &b.s.Fleet.Groups[i]
		table := b.tables[g.tableKey()]
		if !aims(g, u.Targets) || table == nil {
			continue
		}
		var room uint64
		var labels []string
		for _, r := range table {
			if r.Type == partition.TypeData {
				labels = append(labels, r.Label)
			}
			if r.Type == partition.TypeData && r.Label == out.Partition {
				room = uint64(r.Size)
			}
		}
		switch {
		case room == 0:
			b.unknown(in.Partition.Node, "data partition of group "+g.Name, out.Partition, labels)
		case size > room:
			b.fail(in.Partition.Node, "", "partition %s of group %s has %d bytes, the file has %d", out.Partition, g.Name, room, size)
		}
	}
}

// aims reports whether a group is meant, by name or by one of its things.
func aims(g *Group, targets []string) bool {
	return slices.ContainsFunc(targets, func(t string) bool {
		return t == g.Name || strings.HasPrefix(t, g.Target+"-"+g.Name+"-")
	})
}

// updateFirmware checks that the version exists and fits every device it is sent to.
func (b *builder) updateFirmware(f *file.Update) {
	if f.Firmware.Node == nil {
		b.fail(f.Place, "", "missing key \"firmware\": which version is rolled out?")
		return
	}
	fw := b.s.FirmwareByVersion(f.Firmware.Value)
	if fw == nil {
		b.unknown(f.Firmware.Node, "firmware", f.Firmware.Value, b.versions())
		return
	}
	b.fitsTargets(f.Firmware.Node, fw, words(f.Targets))
}

// fitsTargets checks an image against every group that is meant, by name or by one of its things.
func (b *builder) fitsTargets(n *file.Node, fw *Firmware, targets []string) {
	for i := range b.s.Fleet.Groups {
		g := &b.s.Fleet.Groups[i]
		if table := b.tables[g.tableKey()]; aims(g, targets) && len(table.AppSlots()) >= 2 {
			b.fits(n, fw, table, &g.Device)
		}
	}
}

func (b *builder) limits(f *file.Update, u *Update) {
	if r := f.Rollout; r != nil {
		u.Rollout = &Rollout{MaximumPerMinute: int(r.MaximumPerMinute.Value)}
		if e := r.ExponentialRate; e != nil {
			inc := e.RateIncreaseCriteria
			u.Rollout.Exponential = &ExponentialRate{
				BaseRatePerMinute: int(e.BaseRatePerMinute.Value), IncrementFactor: e.IncrementFactor.Value,
				NumberOfNotifiedThings: int(inc.NumberOfNotifiedThings.Value), NumberOfSucceededThings: int(inc.NumberOfSucceededThings.Value),
			}
			if v := e.IncrementFactor; v.Node != nil && (v.Value < 1_100_000 || v.Value > 5_000_000) {
				b.fail(v.Node, "it must be from 1.1 to 5", "incrementFactor %s is out of range", v.Node.Value)
			}
			if inc.Place != nil && (inc.NumberOfNotifiedThings.Node == nil) == (inc.NumberOfSucceededThings.Node == nil) {
				b.fail(inc.Place, "", "exactly one of numberOfNotifiedThings and numberOfSucceededThings is needed")
			}
		}
	}
	if a := f.Abort; a != nil {
		for _, c := range a.AbortCriteriaList {
			if v := c.ThresholdPercentage; v.Node != nil && (v.Value == 0 || v.Value > 100*Million) {
				b.fail(v.Node, "a number above 0 and up to 100", "thresholdPercentage %s is out of range", v.Node.Value)
			}
			u.Abort = append(u.Abort, AbortCriteria{
				FailureType: c.FailureType.Value, Action: c.Action.Value, ThresholdPercentage: c.ThresholdPercentage.Value / 100,
				MinNumberOfExecutedThings: int(c.MinNumberOfExecutedThings.Value),
			})
		}
	}
	if f.Timeout != nil {
		u.InProgressTimeout = time.Duration(f.Timeout.InProgressTimeoutInMinutes.Value) * time.Minute
	}
	if f.Presigned != nil {
		u.PresignedExpires = time.Duration(f.Presigned.ExpiresInSec.Value) * time.Second
	}
	b.warn(anyNode(f.Files), "", "files is not used: the image is that of the firmware row")
	b.warn(anyNode(f.AdditionalParameters), "", "additionalParameters is not used")
	b.warn(anyNode(f.Tags), "", "tags is not used")
}

func anyNode(a file.Any) *file.Node { return a.Node }

// from fills what the entry does not say itself from the JSON of create-ota-update. Targets are ARNs there; what stands
// behind the last slash is the name.
func (b *builder) from(f *file.Update) {
	if b.readable(f.From) == nil {
		return
	}
	root, problems, err := file.Read(place(f.From), f.From.Src.Dir)
	b.problems = append(b.problems, problems...)
	if err != nil || root == nil {
		return
	}
	var in file.Update
	b.problems = append(b.problems, file.Decode(root, &in)...)
	for i := range in.Targets {
		t := &in.Targets[i]
		if slash := strings.LastIndexByte(t.Value, '/'); slash >= 0 && strings.HasPrefix(t.Value, "arn:") {
			t.Value = t.Value[slash+1:]
		}
	}
	if f.OTAUpdateID.Node == nil {
		f.OTAUpdateID = in.OTAUpdateID
	}
	if f.Description.Node == nil {
		f.Description = in.Description
	}
	if f.Targets == nil {
		f.Targets = in.Targets
	}
	if f.Protocols == nil {
		f.Protocols = in.Protocols
	}
	if f.TargetSelection.Node == nil {
		f.TargetSelection = in.TargetSelection
	}
	if f.Firmware.Node == nil {
		f.Firmware = in.Firmware
	}
	if f.Rollout == nil {
		f.Rollout = in.Rollout
	}
	if f.Abort == nil {
		f.Abort = in.Abort
	}
	if f.Timeout == nil {
		f.Timeout = in.Timeout
	}
	if f.Presigned == nil {
		f.Presigned = in.Presigned
	}
	if f.Files.Node == nil {
		f.Files = in.Files
	}
}

func (b *builder) buildEvents() {
	for i := range b.f.Events {
		f := &b.f.Events[i]
		e := Event{Name: f.Name.Value, Trigger: b.trigger(&f.Trigger, f.Place), Pos: pos(f.Place)}
		count := b.actions(f, &e)
		if count != 1 {
			b.fail(f.Place, "one of cancelJob, deleteJob, deleteOTAUpdate, associateTargetsWithJob, cancelJobExecution, addThings, addThingToThingGroup, removeThingFromThingGroup, updateThing, reprovision, powerOff, powerOn",
				"an event has exactly one action, this one has %d", count)
		}
		b.s.Events = append(b.s.Events, e)
	}
}

func (b *builder) actions(f *file.Event, e *Event) (count int) {
	if a := f.CancelJob; a != nil {
		count++
		b.updateID(a.OTAUpdateID)
		e.CancelJob = &CancelJob{a.OTAUpdateID.Value, a.Force.Value}
	}
	if a := f.DeleteJob; a != nil {
		count++
		b.updateID(a.OTAUpdateID)
		e.DeleteJob = &DeleteJob{a.OTAUpdateID.Value, a.Force.Value}
	}
	if a := f.DeleteOTAUpdate; a != nil {
		count++
		b.updateID(a.OTAUpdateID)
		e.DeleteOTAUpdate = &DeleteOTAUpdate{a.OTAUpdateID.Value, a.DeleteStream.Value, a.ForceDeleteAWSJob.Value}
	}
	if a := f.AssociateTargetsWithJob; a != nil {
		count++
		b.updateID(a.OTAUpdateID)
		e.AssociateTargetsWithJob = &AssociateTargetsWithJob{a.OTAUpdateID.Value, b.targets(a.Targets)}
		for i := range b.f.Updates {
			u := &b.f.Updates[i]
			if u.OTAUpdateID.Value == a.OTAUpdateID.Value && u.TargetSelection.Value != "CONTINUOUS" {
				b.fail(a.OTAUpdateID.Node, "give it targetSelection: CONTINUOUS", "targets can only be added to a CONTINUOUS job, %s is a SNAPSHOT", a.OTAUpdateID.Value)
			}
		}
	}
	if a := f.CancelJobExecution; a != nil {
		count++
		b.updateID(a.OTAUpdateID)
		b.thing(a.Thing)
		e.CancelJobExecution = &CancelJobExecution{a.OTAUpdateID.Value, a.Thing.Value, a.Force.Value}
	}
	if a := f.AddThings; a != nil {
		count++
		e.AddThings = b.addThings(a)
	}
	if a := f.AddThingToThingGroup; a != nil {
		count++
		e.AddThingToThingGroup = b.groupChange(a)
	}
	if a := f.RemoveThingFromThingGroup; a != nil {
		count++
		e.RemoveThingFromThingGroup = b.groupChange(a)
	}
	if a := f.UpdateThing; a != nil {
		count++
		for _, t := range a.Things {
			b.thing(t)
		}
		e.UpdateThing = &UpdateThing{words(a.Things), b.attributes(a.Attributes)}
	}
	if a := f.Reprovision; a != nil {
		count++
		e.Reprovision = b.reprovision(a)
	}
	if a := f.PowerOff; a != nil {
		count++
		e.PowerOff = b.power(a)
	}
	if a := f.PowerOn; a != nil {
		count++
		e.PowerOn = b.power(a)
	}
	return count
}

func (b *builder) addThings(a *file.AddThings) *AddThings {
	b.group(a.Group)
	if v := a.Firmware; v.Node != nil {
		if fw := b.s.FirmwareByVersion(v.Value); fw == nil {
			b.unknown(v.Node, "firmware", v.Value, b.versions())
		} else {
			b.fitsTargets(v.Node, fw, []string{a.Group.Value})
		}
	}
	if n := a.Network; n.Node != nil && !b.knownNetwork(n.Value) {
		b.unknown(n.Node, "network", n.Value, b.networkNames())
	}
	return &AddThings{Group: a.Group.Value, Count: int(a.Count.Value), Firmware: a.Firmware.Value, Network: a.Network.Value}
}

func (b *builder) groupChange(a *file.GroupChange) *GroupChange {
	for _, t := range a.Things {
		b.thing(t)
	}
	b.group(a.ThingGroupName)
	return &GroupChange{Things: words(a.Things), ThingGroupName: a.ThingGroupName.Value}
}

func (b *builder) reprovision(a *file.Reprovision) *Reprovision {
	r := &Reprovision{
		Things: words(a.Things), Group: a.Group.Value, Count: int(a.Count.Value), ThingGroupName: a.ThingGroupName.Value,
		Suffix: a.Suffix.Value, NewNames: words(a.NewNames),
	}
	for _, t := range a.Things {
		b.thing(t)
	}
	b.group(a.Group)
	b.group(a.ThingGroupName)
	n := len(r.Things)
	switch {
	case (len(r.Things) > 0) == (r.Group != ""):
		b.fail(a.Place, "", "reprovision needs either things, or group and count")
	case r.Group != "":
		if a.Count.Node == nil {
			b.fail(a.Group.Node, "", "how many devices of the group? give count")
		}
		if g := b.groups[r.Group]; g != nil && r.Count > g.Count && b.s.Scaled {
			r.Count = g.Count
			r.NewNames = r.NewNames[:min(len(r.NewNames), r.Count)]
		} else if g != nil && r.Count > g.Count {
			b.fail(a.Count.Node, "", "group %s has %d devices", g.Name, g.Count)
		}
		n = r.Count
	}
	if (r.Suffix != "") == (len(r.NewNames) > 0) {
		b.fail(a.Place, "suffix: -b adds it to the old name", "reprovision needs either suffix or newNames")
	} else if len(r.NewNames) > 0 && len(r.NewNames) != n {
		b.fail(a.NewNames[0].Node, "", "%d new names for %d devices", len(r.NewNames), n)
	}
	b.awsName(a.Suffix, "a suffix of thing names", 28)
	for _, name := range a.NewNames {
		b.awsName(name, "a thing name", 64)
	}
	return r
}

func (b *builder) power(a *file.Power) *Power {
	for _, t := range a.Things {
		b.thing(t)
	}
	for _, g := range a.Groups {
		b.group(g)
	}
	if len(a.Things)+len(a.Groups) == 0 {
		b.fail(a.Place, "", "which devices? give things or groups")
	}
	return &Power{Things: words(a.Things), Groups: words(a.Groups)}
}
