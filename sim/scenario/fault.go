package scenario

import (
	"slices"
	"strings"
	"time"

	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/sim/check"
	"github.com/otasim/otasim/sim/scenario/file"
)

// During is a phase as the file wrote it. Name counts in the result, Phase is what it stands for: flash-write is
// device.PhaseDownload inside a flash command, otadata-write is device.PhaseOtadata, first-boot is device.PhaseSelfTest.
type During struct {
	Name    string
	Phase   device.Phase
	InFlash bool // inside a flash program or erase command
}

// Point is a named moment in a device's life: otadata.program, self-test, block(128).programmed (Arg 128).
type Point struct {
	Point device.Point
	Arg   int // -1: any
}

// Torn is what an interrupted flash command leaves.
type Torn string

// The granularities at which a torn program or erase stops.
const (
	TornNone   Torn = "none"   // the command did not start, or was done
	TornWord   Torn = "word"   // 4 bytes
	TornPage   Torn = "page"   // 256 bytes
	TornSector Torn = "sector" // 4096 bytes; an interrupted erase leaves noise
)

// Fault types.
const (
	FaultPowerCut   = "power-cut"
	FaultFlashMedia = "flash-media"
	FaultNetwork    = "network"
	FaultCloud      = "cloud"
	FaultClock      = "clock"
	FaultMemory     = "memory"
)

// Effects by type; a power cut has none.
const (
	EffectBitFlip      = "bit-flip"      // flash-media: bits read inverted until the sector is erased
	EffectStuck        = "stuck"         // bits always read as Value
	EffectDeadSector   = "dead-sector"   // programs and erases of the region do nothing
	EffectProgramFails = "program-fails" // programs do nothing, one in OneIn
	EffectEraseFails   = "erase-fails"   // erases do nothing, one in OneIn
	EffectReadDisturb  = "read-disturb"  // bits flip after Reads reads
	EffectWornOut      = "worn-out"      // erases leave bits at 0

	EffectDisconnect     = "disconnect"      // network: the connection is reset once, at both ends
	EffectReconnectStorm = "reconnect-storm" // the same for all selected devices in the same moment
	EffectOutage         = "outage"          // nothing passes, nobody is told
	EffectAPOutage       = "ap-outage"       // the access point is gone: the device knows, the broker does not
	EffectOneWay         = "one-way"         // nothing passes in Direction
	EffectDegrade        = "degrade"         // more latency, jitter, loss, less bandwidth
	EffectDNS            = "dns"             // names do not resolve: no new connection
	EffectCaptive        = "captive-portal"  // something else answers every connection

	EffectDropMessage      = "drop-message"      // network: one PUBLISH is lost, as by a client or a broker: TCP loses none
	EffectDuplicateMessage = "duplicate-message" // it arrives twice
	EffectDelayMessage     = "delay-message"     // it arrives later, and what is sent after it may overtake it

	EffectError         = "error"          // cloud: 5xx, InternalError
	EffectThrottle      = "throttle"       // 429, RequestThrottled
	EffectLostReply     = "lost-reply"     // done, but the answer is lost
	EffectBrokerRestart = "broker-restart" // every connection is dropped
	EffectSlow          = "slow"           // answers take Latency longer
	EffectIgnoreRange   = "ignore-range"   // the bucket answers 200 with the whole object
	// and EffectOutage: no answer at all

	EffectUnset = "unset" // clock: 1970 after every cold boot, until For has passed
	EffectJump  = "jump"  // set forward or back
	EffectDrift = "drift" // too fast or too slow

	EffectNoBuffer = "no-buffer" // memory: no buffer for a received message
	EffectHeap     = "heap"      // no block larger than Heap
)

// effects of each type, the first of which is the default where there is only one.
var effects = map[string][]string{
	FaultFlashMedia: {EffectBitFlip, EffectStuck, EffectDeadSector, EffectProgramFails, EffectEraseFails, EffectReadDisturb, EffectWornOut},
	FaultNetwork: {EffectDisconnect, EffectReconnectStorm, EffectOutage, EffectAPOutage, EffectOneWay, EffectDegrade, EffectDNS, EffectCaptive,
		EffectDropMessage, EffectDuplicateMessage, EffectDelayMessage},
	FaultCloud:  {EffectError, EffectThrottle, EffectLostReply, EffectBrokerRestart, EffectOutage, EffectSlow, EffectIgnoreRange},
	FaultClock:  {EffectUnset, EffectJump, EffectDrift},
	FaultMemory: {EffectNoBuffer, EffectHeap},
}

// Fault is something that goes wrong. Exactly one of At, HasTime, During and When says where it strikes.
type Fault struct {
	Name             string
	Type             string
	Effect           string
	Select           Select
	At               *Point         // strikes at this point, or
	HasTime          bool           // at a time, drawn per device from
	TimeFrom, TimeTo time.Duration  // this range, or
	During           []During       // in one of these phases, drawn per device, or
	When             *check.Program // when this becomes true
	Every            time.Duration  // with a time: again so much later, 0: not again
	Irregular        bool           // Every is a mean: each pause is drawn between half and one and a half of it
	Times            int            // per device, at least 1; 0 with Every: without end
	Budget           int            // of all devices together, 0: no limit
	Probability      uint64         // ppm, at each opportunity
	ForFrom, ForTo   time.Duration  // how long it lasts; ForTo 0: to the end

	PowerCut PowerCut
	Media    Media
	Link     Degraded
	Message  Message
	Cloud    CloudFault
	Clock    ClockFault
	Heap     uint32 // EffectHeap: largest block that can be had
	Pos      Pos
}

// PowerCut is how the power fails.
type PowerCut struct {
	OffFrom, OffTo time.Duration // time without power, drawn uniformly
	Torn           Torn
	Keep           uint32 // bytes of the interrupted program that reach the cells, with HasKeep
	HasKeep        bool
	Copy           int    // otadata copy the interrupted command works on, -1: anywhere
	Command        string // program, erase, any: of the command that is interrupted; "": the moment of the point itself
	Skip           int    // commands of that kind that still pass
	Nth            int    // times that the point passes before
	Leaves         string // name of a flashmodel.CutMode, "": as Torn and Keep say
	Seed           uint64 // of what is left to chance, with HasSeed
	HasSeed        bool
}

// Media is a defect of the flash.
type Media struct {
	Partition string // label, running or passive
	Offset    uint32
	HasOffset bool
	Length    uint32 // 0: the rest
	Bits      uint32
	Value     byte // 0 or 1
	Reads     uint32
	OneIn     uint32
}

// Degraded is what a network fault does to a link.
type Degraded struct {
	Up, Down         bool // nothing passes in that direction: EffectOneWay, EffectOutage
	Latency, Jitter  time.Duration
	Loss             uint64 // ppm
	Downlink, Uplink uint64 // bits per second, 0: as it was
}

// Message is which PUBLISHes of a connection are hit, and what becomes of them.
type Message struct {
	Up    bool          // from the device
	Topic string        // filter below $aws/things/THING/, "": all
	Nth   int           // the first one, counted from 1 when the fault comes into force
	By    time.Duration // how much later it, or its copy, arrives
}

// Messages reports whether the fault is about single messages.
func (f *Fault) Messages() bool {
	return f.Effect == EffectDropMessage || f.Effect == EffectDuplicateMessage || f.Effect == EffectDelayMessage
}

// CloudFault is a failing service.
type CloudFault struct {
	Service   string // "": all
	Operation string // "": all
	Latency   time.Duration
}

// ClockFault is what is wrong with a device's clock.
type ClockFault struct {
	Jump  time.Duration
	Drift int64 // ppm
}

// phases are the words of during: the phase each stands for, and whether it is only hit inside a flash command.
var phases = map[string]During{
	"download":      {Phase: device.PhaseDownload},
	"flash-write":   {Phase: device.PhaseDownload, InFlash: true},
	"verify":        {Phase: device.PhaseVerify},
	"otadata":       {Phase: device.PhaseOtadata},
	"otadata-write": {Phase: device.PhaseOtadata, InFlash: true},
	"self-test":     {Phase: device.PhaseSelfTest},
	"first-boot":    {Phase: device.PhaseSelfTest},
	"confirm":       {Phase: device.PhaseConfirm},
}

func (b *builder) buildFaults() {
	seen := map[string]bool{}
	for i := range b.f.Faults {
		f := &b.f.Faults[i]
		if seen[f.Name.Value] && f.Name.Node != nil {
			b.fail(f.Name.Node, "", "fault %q is defined twice", f.Name.Value)
		}
		seen[f.Name.Value] = true
		b.s.Faults = append(b.s.Faults, b.fault(f))
	}
}

func (b *builder) fault(f *file.Fault) Fault {
	out := Fault{
		Name: f.Name.Value, Type: f.Type.Value, Effect: f.Effect.Value, Select: b.selection(&f.Select), When: b.expr(f.When, check.When), Times: 1,
		Every: f.Every.Value, Budget: int(f.Budget.Value), Probability: Million, ForFrom: f.For.From, ForTo: f.For.To, Heap: uint32(min(f.Heap.Value, 1<<31)), Pos: pos(f.Place),
	}
	b.faultWhere(f, &out)
	b.faultEffect(f, &out)
	b.faultKeys(f, &out)
	b.powerCut(f, &out)
	out.Media = Media{Partition: "passive", Offset: uint32(min(f.Offset.Value, 1<<31)), HasOffset: f.Offset.Node != nil, Length: uint32(min(f.Length.Value, 1<<31)),
		Bits: 1, Value: byte(f.Value.Value), Reads: uint32(f.Reads.Value), OneIn: uint32(f.OneIn.Value)}
	if f.Partition.Node != nil {
		out.Media.Partition = f.Partition.Value
	}
	if f.Bits.Node != nil {
		out.Media.Bits = uint32(f.Bits.Value)
	}
	out.Link = Degraded{Latency: f.Latency.Value, Jitter: f.Jitter.Value, Loss: f.Loss.Value, Downlink: f.Downlink.Value, Uplink: f.Uplink.Value}
	switch out.Effect {
	case EffectOutage, EffectAPOutage, EffectCaptive:
		out.Link.Up, out.Link.Down = true, true
	case EffectOneWay:
		out.Link.Up, out.Link.Down = f.Direction.Value == "up", f.Direction.Value == "down"
		if f.Direction.Node == nil {
			b.fail(f.Place, "direction: up, or direction: down", "in which direction does nothing pass?")
		}
	case EffectDegrade:
		if out.Link == (Degraded{}) {
			b.fail(f.Place, "give latency, jitter, loss, downlink or uplink", "what gets worse?")
		}
		if out.Link.Jitter > 0 && out.Link.Jitter > out.Link.Latency {
			b.fail(f.Jitter.Node, "", "the jitter cannot be larger than the latency")
		}
		if out.Link.Loss > Million/2 {
			b.fail(f.Loss.Node, "an outage passes nothing", "more than 50%% loss is no link any more")
		}
	case EffectDropMessage, EffectDuplicateMessage, EffectDelayMessage:
		b.message(f, &out)
	case EffectReadDisturb:
		if f.Reads.Node == nil {
			b.fail(f.Place, "for example reads: 1000", "after how many reads of a sector do its bits flip?")
		}
	case EffectSlow:
		if f.Latency.Node == nil {
			b.fail(f.Place, "for example latency: 5s", "how slow does the service become?")
		}
	case EffectIgnoreRange:
		if f.Service.Value != "s3" {
			b.fail(f.Place, "give service: s3", "only the bucket knows ranges")
		}
	case EffectJump:
		if (f.Ahead.Node == nil) == (f.Behind.Node == nil) {
			b.fail(f.Place, "give ahead or behind", "by how much does the clock jump?")
		}
	case EffectDrift:
		if f.Drift.Value == 0 {
			b.fail(f.Place, "for example drift: 200", "by how many parts per million does the clock drift?")
		}
	}
	out.Cloud = CloudFault{Service: f.Service.Value, Operation: f.Operation.Value, Latency: f.Latency.Value}
	out.Clock = ClockFault{Jump: f.Ahead.Value - f.Behind.Value, Drift: f.Drift.Value}
	return out
}

// message reads which messages a fault hits.
func (b *builder) message(f *file.Fault, out *Fault) {
	out.Message = Message{Up: f.Direction.Value == "up", Topic: f.Topic.Value, Nth: max(1, int(f.Nth.Value)), By: f.Latency.Value}
	out.Link = Degraded{}
	if f.Direction.Node == nil {
		b.fail(f.Place, "direction: up (from the device), or direction: down", "messages of which direction?")
	}
	if strings.HasPrefix(f.Topic.Value, "$") {
		b.fail(f.Topic.Node, "for example jobs/+/update", "topic is what follows $aws/things/THING/")
	}
	if (out.Effect == EffectDropMessage) == (out.Message.By > 0) {
		if out.Effect == EffectDropMessage {
			b.fail(f.Latency.Node, "", "a message that is lost has no latency")
		} else {
			b.fail(f.Place, "for example latency: 2s", "how much later does the message arrive?")
		}
	}
	if out.Every > 0 {
		b.fail(f.Every.Node, "times says how many messages in a row are hit", "every belongs to faults that last")
	}
}

// faultWhere reads where and how often a fault strikes.
func (b *builder) faultWhere(f *file.Fault, out *Fault) {
	if f.At.Node != nil {
		if from, to, ok := timeRange(f.At.Value); ok {
			out.HasTime, out.TimeFrom, out.TimeTo = true, from, to
			if b.s.Duration > 0 && from > b.s.Duration {
				b.fail(f.At.Node, "", "this is after the end of the scenario, its duration is %v", b.s.Duration)
			}
		} else {
			out.At = b.point(f.At)
		}
	}
	for _, d := range f.During {
		if p, ok := phases[d.Value]; ok && d.Node != nil {
			p.Name = d.Value
			out.During = append(out.During, p)
		}
	}
	if f.Probability.Node != nil {
		out.Probability = b.fraction(f.Probability)
	}
	where := 0
	for _, given := range []bool{f.At.Node != nil, len(f.During) > 0, f.When.Node != nil} {
		if given {
			where++
		}
	}
	if where == 0 && out.Messages() {
		out.HasTime, where = true, 1 // from the start; nth says which one
	}
	if where != 1 {
		b.fail(f.Place, "", "where does the fault strike? give one of at (a point or a time), during (phases), when (a condition)")
	}
	if out.Every > 0 && !out.HasTime {
		b.fail(f.Every.Node, "for example at: 10m", "every belongs to a fault that strikes at a time")
	}
	if out.Every > 0 && f.Times.Node == nil {
		out.Times = 0
	}
	if f.Times.Node != nil {
		out.Times = int(f.Times.Value)
		if out.Times > 1 && out.HasTime && out.Every == 0 && !out.Messages() {
			b.fail(f.Times.Node, "give every", "a time comes only once")
		}
	}
	if len(out.During) > 0 && f.Type.Value != FaultPowerCut && f.Type.Node != nil {
		b.fail(f.During[0].Node, "give at: a point or a time", "during belongs to faults of type power-cut")
	}
	if f.Type.Value == FaultCloud && out.At != nil {
		b.fail(f.At.Node, "give a time or when", "the cloud has no point of a device's life")
	}
}

// timeRange reads 30m or 5m..2h.
func timeRange(s string) (from, to time.Duration, ok bool) {
	a, b, isRange := strings.Cut(s, "..")
	from, ok = file.ParseDuration(strings.TrimSpace(a))
	if !isRange || !ok {
		return from, from, ok
	}
	to, ok = file.ParseDuration(strings.TrimSpace(b))
	return from, to, ok && from <= to
}

// faultEffect checks that the effect is one of the type's.
func (b *builder) faultEffect(f *file.Fault, out *Fault) {
	known := effects[out.Type]
	switch {
	case f.Type.Node == nil || len(known) == 0 && out.Type != FaultPowerCut:
	case out.Type == FaultPowerCut:
		b.fail(f.Effect.Node, "", "a power cut has no effect but that the power is gone")
	case f.Effect.Node == nil:
		b.fail(f.Place, "one of "+strings.Join(known, ", "), "what does the %s fault do? give effect", out.Type)
	case !slices.Contains(known, out.Effect):
		b.fail(f.Effect.Node, "one of "+strings.Join(known, ", "), "%s is no effect of a fault of type %s", out.Effect, out.Type)
	}
}

// faultKeys refuses settings of another type.
func (b *builder) faultKeys(f *file.Fault, out *Fault) {
	for _, k := range []struct {
		key   string
		node  *file.Node
		types string
	}{
		{"off", f.Off.Node, FaultPowerCut}, {"torn", f.Torn.Node, FaultPowerCut}, {"keep", f.Keep.Node, FaultPowerCut}, {"copy", f.Copy.Node, FaultPowerCut},
		{"command", f.Command.Node, FaultPowerCut}, {"skip", f.Skip.Node, FaultPowerCut}, {"leaves", f.Leaves.Node, FaultPowerCut}, {"tornSeed", f.TornSeed.Node, FaultPowerCut},
		{"partition", f.Partition.Node, FaultFlashMedia}, {"offset", f.Offset.Node, FaultFlashMedia}, {"length", f.Length.Node, FaultFlashMedia},
		{"bits", f.Bits.Node, FaultFlashMedia}, {"value", f.Value.Node, FaultFlashMedia}, {"reads", f.Reads.Node, FaultFlashMedia}, {"oneIn", f.OneIn.Node, FaultFlashMedia},
		{"direction", f.Direction.Node, FaultNetwork}, {"jitter", f.Jitter.Node, FaultNetwork}, {"loss", f.Loss.Node, FaultNetwork},
		{"downlink", f.Downlink.Node, FaultNetwork}, {"uplink", f.Uplink.Node, FaultNetwork}, {"latency", f.Latency.Node, FaultNetwork + " " + FaultCloud},
		{"topic", f.Topic.Node, FaultNetwork}, {"nth", f.Nth.Node, FaultNetwork + " " + FaultPowerCut},
		{"service", f.Service.Node, FaultCloud}, {"operation", f.Operation.Node, FaultCloud},
		{"ahead", f.Ahead.Node, FaultClock}, {"behind", f.Behind.Node, FaultClock}, {"drift", f.Drift.Node, FaultClock}, {"heap", f.Heap.Node, FaultMemory},
	} {
		if k.node != nil && f.Type.Node != nil && !slices.Contains(strings.Fields(k.types), f.Type.Value) {
			b.fail(k.node, "", "%s belongs to faults of type %s", k.key, strings.ReplaceAll(k.types, " ", " and "))
		}
	}
	if !out.Messages() && f.Type.Value == FaultNetwork {
		b.fail(f.Topic.Node, "effect: drop-message, duplicate-message or delay-message", "topic belongs to faults of single messages")
		b.fail(f.Nth.Node, "effect: drop-message, duplicate-message or delay-message", "nth belongs to faults of single messages")
	}
	if f.Type.Value == FaultPowerCut {
		b.fail(f.For.Node, "off says how long the power stays away", "for belongs to the other types of faults")
	}
}

func (b *builder) powerCut(f *file.Fault, out *Fault) {
	c := PowerCut{OffFrom: 5 * time.Second, OffTo: 60 * time.Second, Torn: TornSector, Keep: uint32(min(f.Keep.Value, 1<<31)), HasKeep: f.Keep.Node != nil,
		Copy: -1, Command: f.Command.Value, Skip: int(f.Skip.Value), Nth: max(1, int(f.Nth.Value)) - 1, Leaves: f.Leaves.Value, Seed: f.TornSeed.Value, HasSeed: f.TornSeed.Node != nil}
	if f.Off.Node != nil {
		c.OffFrom, c.OffTo = f.Off.From, f.Off.To
	}
	if f.Torn.Node != nil {
		c.Torn = Torn(f.Torn.Value)
	}
	if c.HasKeep && c.Torn == TornNone {
		b.fail(f.Keep.Node, "", "keep tells what a torn command leaves, but torn is none")
	}
	if f.Keep.Value > flashmodel.BlockSize {
		b.fail(f.Keep.Node, "", "no flash command is longer than 64 KiB")
	}
	if f.Copy.Node != nil {
		c.Copy = int(f.Copy.Value)
	}
	inCommand := f.Keep.Node != nil || f.Copy.Node != nil || f.Skip.Node != nil || f.Leaves.Node != nil
	if c.Command == "" && inCommand && out.At != nil {
		c.Command = "program"
		if strings.HasPrefix(c.Leaves, "erase-") {
			c.Command = "erase"
		}
	}
	if out.At == nil && f.Type.Value == FaultPowerCut {
		b.fail(f.Nth.Node, "give at: a point", "nth counts how often a named point is reached")
	}
	if c.Command != "" && out.At == nil {
		b.fail(f.Command.Node, "give at: a point", "which command is meant follows from a named point")
		b.fail(f.Copy.Node, "give at: a point", "which copy is meant follows from a named point")
	}
	if c.HasKeep && c.Leaves != "" && c.Leaves != "prefix" {
		b.fail(f.Keep.Node, "", "keep belongs to leaves: prefix")
	}
	out.PowerCut = c
}

func (b *builder) point(f file.String) *Point {
	p, arg, err := device.ParsePoint(f.Value)
	if err != nil {
		names := []string{"block(128).programmed"}
		for _, p := range device.Points() {
			names = append(names, p.String())
		}
		help := "points are " + strings.Join(names, ", ") + "; a time is written 30m, a range of times 5m..2h"
		if near := file.Nearest(f.Value, names); near != "" {
			help = "did you mean " + near + "?"
		}
		b.fail(f.Node, help, "unknown point %q", f.Value)
		return nil
	}
	return &Point{Point: p, Arg: arg}
}
