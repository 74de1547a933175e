package scenario

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/otasim/otasim/sim/scenario/file"
)

// Attack types.
const (
	AttackDowngradeReplay    = "downgrade-replay"    // offers an older, properly signed image by a job of its own
	AttackMaliciousUpdate    = "malicious-update"    // offers any image by a job of its own
	AttackTamperImage        = "tamper-image"        // changes bytes of an update's image in the bucket after it was signed
	AttackReplaceImage       = "replace-image"       // puts another image in its place
	AttackBucketVersion      = "bucket-version"      // puts another version over the object that a stream delivers
	AttackStreamSubstitution = "stream-substitution" // points a stream at another object
	AttackReplayDocument     = "replay-document"     // creates a job with a recorded document
	AttackEditDocument       = "edit-document"       // creates a job with a changed document
	AttackInjectDocument     = "inject-document"     // sends a document past the Jobs service
	AttackForgeBlocks        = "forge-blocks"        // changes blocks on their way
	AttackManInTheMiddle     = "man-in-the-middle"   // changes bytes inside TLS
	AttackSuppress           = "suppress"            // drops messages
	AttackSlow               = "slow"                // lets messages pass slowly
	AttackBlockConfirmation  = "block-confirmation"  // keeps a new image from the broker during its trial
	AttackWrongTime          = "wrong-time"          // sets the devices' clocks
	AttackCancelJob          = "cancel-job"
	AttackDeleteJob          = "delete-job"
	AttackJobSpam            = "job-spam"        // creates many jobs
	AttackCrossThing         = "cross-thing"     // reports for other things with one thing's credentials
	AttackTakeover           = "takeover"        // connects with other things' client ids
	AttackGroupPoisoning     = "group-poisoning" // moves things into a group
	AttackFlashWrite         = "flash-write"     // writes the flash of a device in hand
	AttackFlashRead          = "flash-read"      // reads it, and searches it
	AttackSubscribe          = "subscribe"       // reads topics of other things
	AttackLeakedURL          = "leaked-url"      // uses a presigned URL that is not the attacker's
)

// needs lists the capabilities by which an attack can be carried out: one word of each list.
var needs = map[string][][]string{
	AttackDowngradeReplay:    {{"operator", "iot:CreateOTAUpdate"}},
	AttackMaliciousUpdate:    {{"operator", "iot:CreateOTAUpdate"}, {"bucket", "operator", "s3:PutObject"}},
	AttackTamperImage:        {{"bucket", "s3:PutObject"}},
	AttackReplaceImage:       {{"bucket", "s3:PutObject"}},
	AttackBucketVersion:      {{"bucket", "s3:PutObject"}},
	AttackStreamSubstitution: {{"operator", "iot:UpdateStream"}},
	AttackReplayDocument:     {{"operator", "iot:CreateJob"}},
	AttackEditDocument:       {{"operator", "iot:CreateJob"}},
	AttackInjectDocument:     {{"broker"}},
	AttackForgeBlocks:        {{"broker"}},
	AttackManInTheMiddle:     {{"network"}},
	AttackSuppress:           {{"network", "broker"}},
	AttackSlow:               {{"network", "broker"}},
	AttackBlockConfirmation:  {{"network", "broker"}},
	AttackWrongTime:          {{"time"}},
	AttackCancelJob:          {{"operator", "iot:CancelJob"}},
	AttackDeleteJob:          {{"operator", "iot:DeleteJob"}},
	AttackJobSpam:            {{"operator", "iot:CreateJob"}},
	AttackCrossThing:         {{"device-credentials"}},
	AttackTakeover:           {{"device-credentials"}},
	AttackGroupPoisoning:     {{"operator", "iot:AddThingToThingGroup"}},
	AttackFlashWrite:         {{"flash", "device-access"}},
	AttackFlashRead:          {{"flash", "device-access"}},
	AttackSubscribe:          {{"device-credentials"}},
	AttackLeakedURL:          {{"device-credentials"}},
}

// AttackTypes lists the types of attacks.
func AttackTypes() []string { return slices.Sorted(maps.Keys(needs)) }

// Signatures that can go with an image.
const (
	SignatureOriginal = "original"
	SignatureMatching = "matching"
	SignatureNone     = "none"
	SignatureAttacker = "attacker"
	SignatureStolen   = "stolen"
)

// Attack is what an attacker does with the capabilities they hold.
type Attack struct {
	Name      string
	Type      string
	Threat    string   // id of the threat catalogue, "" if none
	Holds     []string // capabilities
	Lacks     []string
	Trigger            // at t = 0 if the file says nothing
	Targets   []string // groups or things
	Fraction  uint64   // ppm of the targets
	Firmware  string   // the version that is offered, put in place or written
	Signature string
	Update    string // otaUpdateId of the update that is attacked
	Offset    uint32
	Xor       byte // never 0
	Edits     []Edit
	Forge     string
	Traffic   string
	For       time.Duration // 0: to the end
	Rate      uint64        // bits per second
	Jump      time.Duration
	Force     bool
	Count     int
	Every     time.Duration
	As        string
	Report    string
	Group     string
	Partition string
	Write     string
	Find      string
	Topics    []string // with THING in place of a target's name
	Age       time.Duration
	Pos       Pos
}

// Edit is one key of a job document; a Value of nil removes it.
type Edit struct {
	Key   string
	Value json.RawMessage
}

// capabilities are what an attacker can hold.
var (
	capabilities = []string{"network", "bucket", "broker", "operator", "signing-key", "device-credentials", "device-access", "flash", "time", "uart-download-mode"}
	action       = regexp.MustCompile(`^(iot|s3|signer|iam|kms):[A-Za-z*]+$`)
	threat       = regexp.MustCompile(`^[A-Z]+-?[0-9]+[a-z]?$`)
)

func (b *builder) capabilities(list []file.String) []string {
	var out []string
	for _, c := range list {
		if c.Node == nil {
			continue
		}
		name := c.Value
		if !action.MatchString(name) {
			if name = strings.ReplaceAll(name, "_", "-"); !slices.Contains(capabilities, name) {
				b.fail(c.Node, file.DidYouMean(c.Value, capabilities), "unknown capability %q", c.Value)
			}
		}
		out = append(out, name)
	}
	return out
}

func (b *builder) buildAttacks() {
	seen := map[string]bool{}
	for i := range b.f.Attacks {
		f := &b.f.Attacks[i]
		if seen[f.Name.Value] && f.Name.Node != nil {
			b.fail(f.Name.Node, "", "attack %q is defined twice", f.Name.Value)
		}
		seen[f.Name.Value] = true
		a := Attack{
			Name: f.Name.Value, Type: f.Type.Value, Threat: f.Threat.Value, Holds: b.capabilities(f.Actor.Holds), Lacks: b.capabilities(f.Actor.Lacks),
			Trigger: b.trigger(&f.Trigger, nil), Targets: b.targets(f.Targets), Fraction: b.fraction(f.Fraction),
			Firmware: f.Image.Value, Signature: f.Signature.Value, Update: f.Update.Value, Offset: uint32(min(f.Offset.Value, 1<<31)), Xor: byte(f.Xor.Value),
			Forge: f.Forge.Value, Traffic: f.Traffic.Value, For: f.For.Value, Rate: f.Rate.Value, Jump: f.Ahead.Value - f.Behind.Value, Force: f.Force.Value,
			Count: 1, Every: f.Every.Value, As: f.As.Value, Report: f.Report.Value, Group: f.Group.Value, Partition: f.Partition.Value, Write: f.Write.Value, Find: f.Find.Value, Topics: words(f.Topics), Age: f.Age.Value, Pos: pos(f.Place),
		}
		if f.Count.Node != nil {
			a.Count = int(f.Count.Value)
		}
		if f.Xor.Node == nil {
			a.Xor = 0xFF
		}
		if f.Threat.Node != nil && !threat.MatchString(f.Threat.Value) {
			b.fail(f.Threat.Node, "", "expected the id of a threat such as T21, got %q", f.Threat.Value)
		}
		if len(a.Targets) == 0 {
			a.Targets = b.groupNames()
		}
		for _, e := range f.Edit {
			a.Edits = append(a.Edits, Edit{e.Name, jsonOf(e.Value.Node)})
		}
		b.capable(f, &a)
		b.attackSettings(f, &a)
		b.s.Attacks = append(b.s.Attacks, a)
	}
}

// capable refuses an attack whose actor lacks what it takes.
func (b *builder) capable(f *file.Attack, a *Attack) {
	lists := needs[a.Type]
	fw := b.s.FirmwareByVersion(a.Firmware)
	stolen := fw != nil && fw.Origin == OriginAttacker && slices.ContainsFunc(fw.BootSign, func(k string) bool { return k != AttackerKey })
	if a.Signature == SignatureStolen || stolen {
		lists = append(slices.Clone(lists), []string{"signing-key"})
	}
	if f.Type.Node != nil && len(lists) > 0 && len(a.Holds) == 0 {
		var words []string
		for _, list := range lists {
			words = append(words, strings.ReplaceAll(list[0], "-", "_"))
		}
		b.fail(f.Type.Node, "actor: {holds: ["+strings.Join(words, ", ")+"]}", "who carries out %s, and what do they hold? an attack has an actor", a.Type)
		return
	}
	for _, list := range lists {
		lacks := !slices.ContainsFunc(list, func(c string) bool { return slices.Contains(a.Holds, c) })
		for _, c := range list {
			lacks = lacks || len(list) == 1 && slices.Contains(a.Lacks, c)
		}
		if lacks {
			b.fail(f.Type.Node, "actor: {holds: ["+list[0]+"]}", "%s takes %s, which its actor does not hold", a.Type, strings.Join(list, " or "))
		}
	}
}

// given says what an attack of a type must be told.
var given = map[string][]string{
	AttackDowngradeReplay: {"image"}, AttackMaliciousUpdate: {"image", "signature"}, AttackTamperImage: {"update"}, AttackReplaceImage: {"update", "image", "signature"},
	AttackBucketVersion: {"update", "image"}, AttackStreamSubstitution: {"update", "image"}, AttackReplayDocument: {"update"}, AttackEditDocument: {"update", "edit"},
	AttackInjectDocument: {"update"}, AttackForgeBlocks: {"forge"}, AttackSlow: {"rate"}, AttackCancelJob: {"update"}, AttackDeleteJob: {"update"},
	AttackJobSpam: {"update", "count"}, AttackCrossThing: {"update", "report"}, AttackGroupPoisoning: {"group"}, AttackFlashWrite: {"write"}, AttackFlashRead: {"find"}, AttackSubscribe: {"topics"}, AttackLeakedURL: {"update"},
}

func (b *builder) attackSettings(f *file.Attack, a *Attack) {
	keys := map[string]*file.Node{"image": f.Image.Node, "signature": f.Signature.Node, "update": f.Update.Node, "forge": f.Forge.Node, "rate": f.Rate.Node,
		"count": f.Count.Node, "report": f.Report.Node, "group": f.Group.Node, "write": f.Write.Node, "find": f.Find.Node}
	if len(f.Edit) > 0 {
		keys["edit"] = f.Edit[0].Key
	}
	if len(f.Topics) > 0 {
		keys["topics"] = f.Topics[0].Node
	}
	for _, k := range given[a.Type] {
		if keys[k] == nil && f.Type.Node != nil {
			b.fail(f.Place, "give "+k, "an attack of type %s needs %s", a.Type, k)
		}
	}
	b.updateID(f.Update)
	fw := b.s.FirmwareByVersion(a.Firmware)
	if f.Image.Node != nil && fw == nil {
		b.unknown(f.Image.Node, "firmware", a.Firmware, b.versions())
	}
	if f.Group.Node != nil {
		b.group(f.Group)
	}
	if f.As.Node != nil {
		b.thing(f.As)
	}
	switch a.Type {
	case AttackDowngradeReplay:
		if fw != nil {
			b.fitsTargets(f.Image.Node, fw, a.Targets)
		}
	case AttackMaliciousUpdate:
		if a.Signature == SignatureNone || a.Signature == SignatureOriginal {
			b.fail(f.Signature.Node, "matching, attacker or stolen", "the service makes no update without a signature of its own")
		}
	case AttackTamperImage:
		for i := range b.s.Updates {
			if b.s.Updates[i].OTAUpdateID != a.Update {
				continue
			}
			if fw := b.s.FirmwareByVersion(b.s.Updates[i].Firmware); fw != nil && f.Offset.Node != nil && f.Offset.Value >= uint64(fw.Size) {
				b.fail(f.Offset.Node, "", "the image has %d bytes", fw.Size)
			}
		}
	case AttackSuppress:
		if a.Traffic == "" {
			a.Traffic = "all"
		}
		if a.Traffic != "all" && !slices.Contains(a.Holds, "broker") {
			b.fail(f.Traffic.Node, "traffic: all", "who has only the network cannot tell messages inside TLS apart")
		}
	case AttackWrongTime:
		if (f.Ahead.Node == nil) == (f.Behind.Node == nil) {
			b.fail(f.Place, "give ahead or behind", "which time does the attacker set?")
		}
	case AttackFlashRead:
		if a.Find == "image" && f.Image.Node == nil {
			b.fail(f.Place, "give image", "which image is the dump searched for?")
		}
	case AttackFlashWrite:
		if a.Partition == "" {
			a.Partition = "passive"
		}
		if a.Write == "image" && f.Image.Node == nil {
			b.fail(f.Place, "give image", "which image is written?")
		}
	}
	if (a.Type == AttackTakeover || a.Type == AttackJobSpam) && a.Every == 0 {
		a.Every = 10 * time.Second
	}
}

// jsonOf is a YAML value as JSON; nil for null.
func jsonOf(n *file.Node) json.RawMessage {
	switch {
	case n == nil || n.Kind == file.Null:
		return nil
	case n.Kind == file.Sequence:
		list := make([]json.RawMessage, len(n.Items))
		for i, item := range n.Items {
			list[i] = jsonOf(item)
		}
		out, _ := json.Marshal(list)
		return out
	case n.Kind == file.Scalar && !n.Quoted:
		if i, err := strconv.ParseInt(n.Value, 10, 64); err == nil {
			return strconv.AppendInt(nil, i, 10)
		}
	}
	out, _ := json.Marshal(n.Value)
	return out
}
