package device

import (
	"fmt"
	"time"

	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/device/defect"
	"github.com/otasim/otasim/device/firmware"
	"github.com/otasim/otasim/device/otaops"
	"github.com/otasim/otasim/device/pal"
	"github.com/otasim/otasim/flashmodel/nvs"
	"github.com/otasim/otasim/flashmodel/partition"
)

// Running is the application that runs.
type Running struct {
	Slot      partition.Record
	SHA256    [32]byte // of the image, header to checksum
	Version   string   // catalogue label, else of the descriptor
	Number    uint32   // the version as the agent compares it
	Trial     bool     // started as PENDING_VERIFY
	Confirmed bool     // its trial ended well in this boot
}

// stage is how far the chip has come since reset.
type stage uint8

const (
	stageHalted  stage = iota // bricked, or hanging in the boot loader until a watchdog bites
	stageApp                  // the application starts or has no connection
	stageHung                 // the application hangs
	stageRestart              // the restart delay runs; nothing else is done
)

// timer is one of the device's timers.
type timer uint8

const (
	timerAgentRequest timer = iota
	timerAgentSelfTest
	timerWatchdog
	timerRestart
	timerConnect
	timerVerdict
	timerTelemetry
	timerAck
	timerCount
)

const unarmed = time.Duration(-1)

// ram is everything that a reset or a power cut loses.
type ram struct {
	stage     stage
	phase     Phase
	connected bool
	joined    bool // was connected since boot
	reported  bool // a final status waits for its acknowledgement
	restart   bool // the acknowledgement is followed by a restart
	reportID  uint16
	nextID    uint16
	attempts  uint16 // to connect, since the last success
	since     time.Duration
	timers    [timerCount]time.Duration
	reason    bootloader.ResetReason

	running   Running
	behaviour *firmware.Behaviour
	nvs       partition.Record
	thing     string        // from NVS; "" when the identity is lost
	identity  *nvs.Identity // until the first connection; never changed
	agent     agent.Agent
	mail      mailbox
	deaf      [2]time.Duration // the last slot erase, from and to
	pal       pal.PAL
	acks      []pendingAck // for profiles that wait for them
	fetch     *fetch       // the HTTP connection of a transfer, nil without one
}

func (r *ram) clone(d *Device) *ram {
	c := *r
	c.agent = r.agent.Clone()
	c.mail = r.mail.clone()
	c.acks = append([]pendingAck(nil), r.acks...)
	if r.fetch != nil {
		f := *r.fetch
		c.fetch = &f
	}
	c.pal.Flash = d.flash
	if r.pal.Ops != nil {
		c.pal.Ops = r.pal.Ops.On(d.flash, &d.fuse)
	}
	return &c
}

func (r *ram) nextTimer() (timer, time.Duration, bool) {
	which, at := timer(0), unarmed
	for t, due := range r.timers {
		if due != unarmed && r.runs(timer(t)) && (at == unarmed || due < at) {
			which, at = timer(t), due
		}
	}
	return which, at, at != unarmed
}

// runs reports whether a timer can still do something: a hung CPU leaves only the watchdog, a pending restart nothing.
func (r *ram) runs(t timer) bool {
	switch r.stage {
	case stageRestart:
		return t == timerRestart
	case stageHung, stageHalted:
		return t == timerWatchdog
	}
	return true
}

func (d *Device) powerOn() {
	d.start(bootloader.PowerOn)
}

// reset drops RAM and boots again.
func (d *Device) reset(reason bootloader.ResetReason) {
	d.start(reason)
}

var bootArg = map[bootloader.ResetReason]int{bootloader.PowerOn: 0, bootloader.SoftwareCPU: 1, bootloader.SoftwareSystem: 1,
	bootloader.ProCPU: 2, bootloader.RTCWatchdogChip: 3}

// start runs the boot loader until an application starts. A boot loader that finds nothing resets at once and finds
// the same again; after Model.BootBudget times the device counts as bricked.
func (d *Device) start(reason bootloader.ResetReason) {
	if v, ok := d.load(reason); ok {
		d.startApp(&v)
	}
}

// Verdict gives a device without power its power back at now and lets the boot loader run, again and again as the chip
// does, until it starts an application, but not that application: step the device no further. ok is false when no
// image starts; the verdict is the last one then.
func (d *Device) Verdict(now time.Duration) (v bootloader.Verdict, ok bool) {
	d.flash.SetClock(max(now, d.busy))
	return d.load(bootloader.PowerOn)
}

// load is the boot loader with its retries.
func (d *Device) load(reason bootloader.ResetReason) (v bootloader.Verdict, ok bool) {
	r := &ram{stage: stageHalted, phase: PhaseBoot, reason: reason, since: d.flash.Clock()}
	for t := range r.timers {
		r.timers[t] = unarmed
	}
	d.ram = r
	d.boots++
	for range d.model.BootBudget {
		d.point(PointBoot, bootArg[reason])
		d.passiveErasePoint()
		v = bootloader.Boot(d.flash, &d.fuse, *d.boot, reason)
		d.console(v.Log)
		switch v.End {
		case bootloader.Started:
			return v, true
		case bootloader.Hang:
			if v.Watchdog > 0 {
				d.flash.Advance(v.Watchdog)
			}
			reason = bootloader.RTCWatchdogChip
		default:
			d.flash.Advance(time.Millisecond)
			reason = bootloader.SoftwareSystem
		}
		r.since = d.flash.Clock()
	}
	r.phase = PhaseBricked
	return v, false
}

func (d *Device) startApp(v *bootloader.Verdict) {
	r := d.ram
	r.stage = stageApp
	r.behaviour = d.catalogue.Lookup(v.Image.SHA256)
	r.running = Running{Slot: v.Part, SHA256: v.Image.SHA256, Version: r.behaviour.Version}
	if r.running.Version == "" {
		r.running.Version = v.Image.Descriptor.Version
	}
	r.running.Number = firmware.Version(r.running.Version)
	if v.Watchdog > 0 {
		r.timers[timerWatchdog] = d.flash.Clock() + v.Watchdog
	}
	d.point(PointStarted, v.Index)
	d.flash.Advance(d.model.AppStart)
	r.pal = pal.PAL{Ops: otaops.New(d.flash, &d.fuse, d.app, v.Part), Flash: d.flash, KeepsTrailerRoom: !d.builds[0].Profile.TrailerOverflows, AnySignature: d.builds[0].AnySignature, ChecksTrailer: !d.builds[0].Profile.TrailerUnchecked, Of2018: d.builds[0].Profile.Task2018, TestsUnnamed: !d.builds[0].Profile.UnnamedRejects, Defects: d.boot.Defects,
		Costs: pal.Costs{HashRate: d.model.HashRate, Verify: d.model.Verify}}
	r.running.Trial = r.pal.State() == agent.PlatformPendingCommit
	if r.running.Trial && d.boot.Defects.Has(defect.ConfirmBeforeTest) {
		r.pal.SetState(agent.ImageAccepted)
	}
	d.log('I', "app", "%s version %s in %s", "firmware", r.running.Version, v.Part.Label)
	if !r.running.Trial || r.behaviour.RevokeAtStart {
		d.revokeKeys()
	}
	if !d.loadIdentity() {
		d.log('E', "app", "no device identity in NVS")
		return
	}
	build := &d.builds[0]
	if r.behaviour.AllowDowngrade {
		build = &d.builds[1]
	}
	r.agent = agent.New(build, r.thing, r.running.Number)
	if r.behaviour.NoWiFi {
		d.log('E', "wifi", "authentication failed: the password is wrong")
		return
	}
	r.timers[timerConnect] = d.flash.Clock() + d.model.WiFi
}

// revokeKeys is the application's part in the revocation of keys: those that its image says, wherever the chip has them.
func (d *Device) revokeKeys() {
	r := d.ram
	for _, sum := range r.behaviour.Revokes {
		for slot, have := range d.fuse.Digests() {
			if !have.Set || have.Revoked || have.Sum != sum {
				continue
			}
			if err := r.pal.Ops.RevokeKey(slot); err != otaops.OK {
				d.log('E', "app", "key %d is not revoked: %s", slot, err)
				continue
			}
			d.log('W', "app", "key %d is revoked", slot)
		}
	}
}

// log writes a line of the console.
func (d *Device) log(level byte, tag, format string, args ...any) {
	if d.hooks == nil || d.hooks.Trace == nil {
		return
	}
	now := d.flash.Clock()
	ms := (now - d.ram.since).Milliseconds()
	d.hooks.Trace(d, now, func() string { return fmt.Sprintf("%c (%d) %s: %s", level, ms, tag, fmt.Sprintf(format, args...)) })
}

func (d *Device) console(lines []bootloader.Line) {
	if d.hooks == nil || d.hooks.Trace == nil {
		return
	}
	for _, line := range lines {
		d.hooks.Trace(d, d.ram.since+line.At, line.String)
	}
}
