package explore

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/sim"
	"github.com/otasim/otasim/sim/check"
)

// player is the probe of a run: it carries acts out and watches every device.
type player struct {
	units []unit
	only  int                                           // the device to follow, -1: all
	log   func(now time.Duration, dev int, text string) // nil: nobody reads

	// command is called before every flash command of a device, nil: not.
	command func(u *unit, op flashmodel.Op)
	frame   func(u *unit, up bool, now time.Duration, f *protocol.Frame)  // a frame is sent, nil: not
	stepped func(u *unit, now time.Duration, ev *device.Event, lost bool) // nil: not
}

// unit is one device of the run.
type unit struct {
	p        *player
	index    int
	board    *sim.Board
	dev      *device.Device // since its first step
	watch    *check.Watch
	inner    flashmodel.Injector // of a fault of the scenario
	cuts     []Act
	offs     []Act
	frames   []Act
	sent     [2]uint64 // PUBLISHes down and up
	away     bool      // without power by an act
	cut      bool      // power fails in the command that runs
	off      time.Duration
	point    device.Point // the last one
	fired    []Act
	spots    []Spot          // where they did, as a scenario file says it
	did      []string        // and for a reader
	lost     []time.Duration // when power failed by the acts at a time
	anchor   Spot            // the last point, and commands since
	seen     map[Spot]int    // how often each was reached
	struck   string          // where the last of them did
	meddled  []meddling      // what they did to messages
	harmless bool            // all acts so far only repeat messages, or delay or drop blocks
	slot     uint32          // flash address of the running slot, 0: none
	asked    bool            // since the boot, the cloud sent a document that asks for a self-test
	evidence Evidence
	old      string // version that the device would keep if the update failed
	secure   uint32 // secure version of the image it came with
}

func newPlayer(boards []sim.Board, chip func(*sim.Board) check.Chip, acts []Act) (*player, []sim.Off, error) {
	p := &player{units: make([]unit, len(boards)), only: -1}
	for i := range p.units {
		u := &p.units[i]
		u.harmless = true
		u.p, u.index, u.board = p, i, &boards[i]
		u.watch = &check.Watch{Chip: chip(&boards[i])}
	}
	sorted := append([]Act(nil), acts...)
	sortActs(sorted)
	var offs []sim.Off
	for _, a := range sorted {
		if a.Device >= len(p.units) {
			return nil, nil, fmt.Errorf("%w: %q: there are %d devices", ErrAct, a, len(p.units))
		}
		u := &p.units[a.Device]
		switch a.Kind {
		case Cut:
			u.cuts = append(u.cuts, a)
		case Off:
			u.offs = append(u.offs, a)
			offs = append(offs, sim.Off{Device: a.Device, At: a.At})
		default:
			u.frames = append(u.frames, a)
		}
	}
	return p, offs, nil
}

func (p *player) note(now time.Duration, dev int, format string, args ...any) {
	if p.log != nil {
		p.log(now, dev, fmt.Sprintf(format, args...))
	}
}

// Step implements sim.Probe.
func (p *player) Step(i int, d *device.Device, _ time.Duration, _ *device.Event) {
	u := &p.units[i]
	if p.only >= 0 && i != p.only {
		u.dev = d
		return
	}
	if u.dev != d {
		u.dev = d
		u.watch = check.NewWatch(u.watch.Chip, d.Flash(), u.board.Otadata, u.efuse())
	}
	if in := d.Flash().Injector(); in != flashmodel.Injector(u) {
		u.inner = in // a fault of the scenario waits for its command
	}
	d.Flash().SetInjector(u)
}

func (u *unit) efuse() uint32 {
	e := u.dev.EFuse()
	return e.SecureVersion(max(u.board.SecVerBits, 1))
}

// BeforeOp implements flashmodel.Injector.
func (u *unit) BeforeOp(op flashmodel.Op) flashmodel.Cut {
	u.watch.Op(u.dev.Flash(), op)
	if u.p.command != nil {
		u.p.command(u, op)
	}
	u.anchor.Skip++
	if u.inner != nil {
		return u.inner.BeforeOp(op)
	}
	if len(u.cuts) == 0 || op.Index < u.cuts[0].N {
		return flashmodel.Cut{}
	}
	a := u.cuts[0]
	u.cuts = u.cuts[1:]
	if op.Index > a.N {
		return flashmodel.Cut{} // the command was passed while another cut was under way
	}
	a.fit(op.Kind)
	u.cut, u.off, u.harmless = true, a.By, false
	u.fired, u.spots = append(u.fired, a), append(u.spots, u.anchor)
	u.struck = where(u, &op, op.Addr >= u.board.Otadata && op.Addr < u.board.Otadata+2*flashmodel.SectorSize)
	u.did = append(u.did, fmt.Sprintf("%s of 0x%x+%d after %s", op.Kind, op.Addr, op.Len, pointText(u.anchor.Point, u.anchor.Arg)))
	u.p.note(op.Start, u.index, "power fails in flash command %d, %s of 0x%x+%d: %s", op.Index, op.Kind, op.Addr, op.Len, modeText(a))
	return flashmodel.Cut{Mode: a.Mode, Keep: a.Keep, Seed: a.Seed}
}

// fit gives a drawn act a mode that the command can be torn in.
func (a *Act) fit(k flashmodel.OpKind) {
	switch {
	case k == flashmodel.OpErase && a.Mode == flashmodel.CutSubset:
		a.Mode = flashmodel.CutEraseNoise
	case k != flashmodel.OpErase && (a.Mode == flashmodel.CutEraseZeroed || a.Mode == flashmodel.CutEraseNoise || a.Mode == flashmodel.CutEraseLooksDone):
		a.Mode = flashmodel.CutSubset
	}
}

func modeText(a Act) string {
	switch {
	case a.Mode == flashmodel.CutPrefix:
		return fmt.Sprintf("the first %d bytes are programmed", a.Keep)
	case Random(a.Mode):
		return fmt.Sprintf("%s, seed %d", a.Mode, a.Seed)
	}
	return a.Mode.String()
}

// Stepped implements sim.Probe.
func (p *player) Stepped(i int, d *device.Device, now time.Duration, ev *device.Event, lost bool) {
	u := &p.units[i]
	if p.only >= 0 && i != p.only {
		return
	}
	if d.Flash().Injector() == flashmodel.Injector(u) {
		d.Flash().SetInjector(u.inner)
	}
	u.watch.Fuse(d.Flash().Clock(), u.efuse())
	if d.Phase() == device.PhaseBricked {
		u.watch.Dead(d.Flash().Clock(), d.Flash())
	}
	if p.stepped != nil {
		p.stepped(u, now, ev, lost)
	}
}

// Point implements sim.Probe.
func (p *player) Point(i int, d *device.Device, now time.Duration, pt device.Point, arg int) {
	u := &p.units[i]
	if p.only >= 0 && i != p.only {
		return
	}
	u.point = pt
	spot := Spot{Point: pt, Arg: -1}
	if pt == device.PointBlockReceived || pt == device.PointBlockProgrammed {
		spot.Arg = arg
	}
	if u.seen == nil {
		u.seen = map[Spot]int{}
	}
	u.seen[spot]++
	u.anchor = spot
	u.anchor.Nth = u.seen[spot]
	switch pt {
	case device.PointBoot:
		u.watch.Booting()
		u.slot, u.asked = 0, false
	case device.PointJobReceived:
		if d.Phase() == device.PhaseDownload {
			u.evidence |= ToldDuring
		}
		u.told()
	case device.PointSlotErase:
		u.old = u.watch.Version()
	case device.PointStarted:
		if r, ok := d.Running(); ok {
			u.watch.Start(now, d.Flash(), r.Slot.Offset, u.efuse())
			u.slot = r.Slot.Offset
		}
	case device.PointSelfTest:
		u.watch.SelfTest(now)
	}
	if p.log != nil && pt != device.PointBlockRequested && pt != device.PointBlockReceived && (pt != device.PointBlockProgrammed || arg%64 == 0) {
		p.note(now, i, "-- %s", pointText(pt, arg))
	}
}

// Spot is a flash command by the program: the Skip-th one, counted from 1, after a point was reached for the
// Nth time.
type Spot struct {
	Point device.Point
	Arg   int // of a block, else -1
	Nth   int
	Skip  int
}

// pointText is a point as a scenario file names it.
func pointText(p device.Point, arg int) string {
	switch p {
	case device.PointBlockReceived, device.PointBlockProgrammed:
		return fmt.Sprintf("block(%d)%s", arg, p.String()[len("block"):])
	}
	return p.String()
}

// Lost implements sim.Probe.
func (p *player) Lost(i int, d *device.Device, now time.Duration) time.Duration {
	u := &p.units[i]
	u.watch.Booting()
	u.inner = nil
	off := time.Duration(0)
	for len(u.offs) > 1 && now >= u.offs[1].At {
		u.offs = u.offs[1:] // it had no power then
	}
	switch {
	case u.cut:
		u.cut, off = false, u.off
	case len(u.offs) > 0 && now >= u.offs[0].At:
		off = u.offs[0].By
		u.fired, u.spots = append(u.fired, u.offs[0]), append(u.spots, Spot{})
		u.harmless = false
		u.struck = "power off in " + d.Phase().String()
		u.did = append(u.did, u.struck)
		u.lost = append(u.lost, now)
		u.offs = u.offs[1:]
		p.note(now, i, "power fails in phase %s", d.Phase())
	}
	u.away = off > 0
	return off
}

// Frame implements sim.Probe.
func (p *player) Frame(i int, up bool, now, _ time.Duration, f *protocol.Frame) (fate sim.Fate) {
	u := &p.units[i]
	if p.frame != nil {
		p.frame(u, up, now, f)
	}
	if f.Kind != protocol.FrameMQTT || len(f.Head) == 0 || f.Head[0]>>4 != publish {
		return fate
	}
	u.asked = u.asked || !up && asksForTest(payload(f))
	dir := 0
	if up {
		dir = 1
	}
	u.sent[dir]++
	for k, a := range u.frames {
		if a.Up != up || a.N != u.sent[dir] {
			continue
		}
		switch a.Kind {
		case Drop:
			fate.Drop = true
		case Dup:
			fate.Again = a.By
		case Late:
			fate.Late = a.By
		}
		u.fired, u.spots = append(u.fired, a), append(u.spots, Spot{})
		topic := topicOf(f)
		u.struck = fmt.Sprintf("%s %s", a.Kind, topic)
		u.did = append(u.did, fmt.Sprintf("%s at %.6f s", topic, now.Seconds()))
		u.meddle(meddling{a.Kind, up, topic, final(payload(f))})
		u.frames = append(u.frames[:k:k], u.frames[k+1:]...)
		p.note(now, i, "%s: %s", a, topic)
		break
	}
	return fate
}

// meddling is what an act did to a message.
type meddling struct {
	kind  Kind
	up    bool
	topic string
	final bool // of a status: a terminal one
}

func (u *unit) meddle(m meddling) {
	u.meddled = append(u.meddled, m)
	stream := strings.HasPrefix(m.topic, "streams/")
	u.harmless = u.harmless && (m.kind == Dup || stream)
	switch {
	case m.kind == Dup && !stream && (!m.up || strings.HasSuffix(m.topic, "$next/get")):
		u.evidence |= ToldTwice
	case m.kind != Dup && !stream:
		u.evidence |= Untold
	}
}

// told notes what a document about a job finds on the device.
func (u *unit) told() {
	if !u.asked {
		return
	}
	r := check.Records(u.dev.Flash(), u.board.Otadata)
	best := -1
	for i := range r {
		if r[i].Good && (best < 0 || r[i].Seq > r[best].Seq) {
			best = i
		}
	}
	switch {
	case best < 0:
	case r[best].State == 2:
		u.evidence |= ToldConfirmed
	case r[best].State > 4 && r[best].State != 0xffffffff:
		u.evidence |= ToldUnnamed
	}
}

// publish is the type of an MQTT PUBLISH in the high bits of its first byte.
const publish = 3

// Busy implements sim.Probe: a device that an act left without power comes back.
func (p *player) Busy() bool {
	for i := range p.units {
		u := &p.units[i]
		if u.away && u.dev.Phase() == device.PhaseOff {
			return true
		}
		u.away = false
	}
	return false
}

// topicOf is what the topic of a PUBLISH ends with: the operation.
func topicOf(f *protocol.Frame) string {
	topic := string(f.Head)
	for _, cut := range []string{"/jobs/", "/streams/"} {
		if i := strings.LastIndex(topic, cut); i >= 0 {
			parts := strings.SplitN(topic[i+1:], "/", 3)
			if len(parts) == 3 && parts[0] == "streams" {
				return "streams/" + clean(parts[2])
			}
			return clean(topic[i+1:])
		}
	}
	return "message"
}

// clean drops what follows the topic in the header, and the name of the job.
func clean(s string) string {
	if i := strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
		s = s[:i]
	}
	parts := strings.Split(s, "/")
	for i := range parts {
		if strings.HasPrefix(parts[i], "AFR_OTA-") {
			parts[i] = "JOB"
		}
	}
	return strings.Join(parts, "/")
}

// asksForTest reports whether a document from the cloud is of a job in its self-test.
func asksForTest(text []byte) bool {
	return len(text) > 0 && text[0] == '{' && bytes.Contains(text, []byte(`"self_test"`))
}

// final reports whether the payload of a status is a terminal one.
func final(text []byte) bool {
	return bytes.HasPrefix(text, []byte(`{"status":"SUCCEEDED"`)) || bytes.HasPrefix(text, []byte(`{"status":"FAILED"`)) || bytes.HasPrefix(text, []byte(`{"status":"REJECTED"`))
}
