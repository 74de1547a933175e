package device

import (
	"time"

	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/device/firmware"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/efuse"
)

// Config is one device. Everything a pointer leads to is shared and never changed, the flash excepted.
type Config struct {
	Thing      string // names the device in traces; what it calls itself it reads from its NVS
	Model      *Model // nil: DefaultModel
	Flash      *flashmodel.Flash
	EFuse      efuse.EFuse
	Bootloader bootloader.Config
	Agent      agent.Config
	Catalogue  *firmware.Catalogue
	Hooks      *Hooks // nil: none
	Glue       Glue
}

// Glue is how the firmware's connection task behaves; the zero value is the model's back-off without an end. What the demo
// of 2018 does is a matter of the agent's profile.
type Glue struct {
	Base, Max time.Duration // pauses of the back-off, 0: those of the model
	Attempts  int           // in a row, after which the demos assert and the chip resets; 0: no limit
	Never     bool          // a connection that ends is not replaced
}

// Hooks are called from inside Step. They may look at the device, set faults and plan cuts on its flash, but not step it.
type Hooks struct {
	// Point is called at the named points, before what the point names happens unless its name says otherwise.
	Point func(d *Device, now time.Duration, p Point, arg int)
	// Trace gets the console of the device, line by line as ESP-IDF prints it; line makes the text.
	Trace func(d *Device, now time.Duration, line func() string)
	// Memory says whether a block of so many bytes can be had; 0 asks for a buffer for a received message. nil: it can.
	Memory func(d *Device, now time.Duration, bytes int) bool
}

// Device is one ESP32.
type Device struct {
	thing     string
	model     *Model
	flash     *flashmodel.Flash
	fuse      efuse.EFuse
	boot      *bootloader.Config
	app       *bootloader.Config // as the application's esp_ota_ops sees it
	builds    *[2]agent.Config   // without and with AllowDowngrade
	catalogue *firmware.Catalogue
	hooks     *Hooks
	glue      Glue

	ram   *ram // nil: no power
	ops   []NetOp
	busy  time.Duration
	boots uint32 // since manufacture, for the jitter of reconnects
}

// New returns a device without power. Its flash and eFuses hold what the factory put there.
func New(cfg Config) *Device {
	model := cfg.Model
	if model == nil {
		model = DefaultModel()
	}
	boot := cfg.Bootloader
	if boot.StartTime == 0 {
		boot.StartTime = model.Boot
	}
	if boot.ReadRate == 0 {
		boot.ReadRate = model.HashRate
	}
	if cfg.Hooks != nil && cfg.Hooks.Trace != nil {
		boot.KeepLog = true
	}
	app := &boot
	if p := cfg.Agent.Profile; p != nil && p.Task2018 && boot.Kind != bootloader.AFR2018 {
		old := boot
		old.Kind, app = bootloader.AFR2018, &old
	}
	plain, lenient := cfg.Agent, cfg.Agent
	lenient.AllowDowngrade = true
	return &Device{thing: cfg.Thing, model: model, flash: cfg.Flash, fuse: cfg.EFuse, boot: &boot, app: app,
		builds: &[2]agent.Config{plain, lenient}, catalogue: cfg.Catalogue, hooks: cfg.Hooks, glue: cfg.Glue}
}

// Sibling returns a device without power of the same build and board as d, as it left
// the factory: with its own name, flash and eFuses, sharing all else.
func (d *Device) Sibling(thing string, flash *flashmodel.Flash, fuse efuse.EFuse) *Device {
	return &Device{thing: thing, model: d.model, flash: flash, fuse: fuse, boot: d.boot, app: d.app, builds: d.builds, catalogue: d.catalogue, hooks: d.hooks, glue: d.glue}
}

// Clone returns an independent device in the same state, with a fork of the flash. Hooks are shared.
func (d *Device) Clone() *Device {
	c := *d
	c.flash = d.flash.Fork()
	c.ops = append([]NetOp(nil), d.ops...)
	if d.ram != nil {
		c.ram = d.ram.clone(&c)
	}
	return &c
}

// Survivor returns what a power cut at this very moment would leave: an independent device without power, with a fork of
// the flash. It may be called from inside Step, by hooks and by injectors.
func (d *Device) Survivor(hooks *Hooks) *Device {
	c := *d
	c.flash, c.hooks, c.ram, c.ops = d.flash.Fork(), hooks, nil, nil
	c.flash.SetCutAt(0)
	return &c
}

// Thing returns the name the device goes by in traces.
func (d *Device) Thing() string { return d.thing }

// Flash returns the device's flash.
func (d *Device) Flash() *flashmodel.Flash { return d.flash }

// Burn lets somebody with the board in hand and espefuse work on the eFuses.
func (d *Device) Burn(change func(fuse *efuse.EFuse)) { change(&d.fuse) }

// EFuse returns a copy of the device's eFuses.
func (d *Device) EFuse() efuse.EFuse { return d.fuse }

// Phase returns the part of an update the device is in.
func (d *Device) Phase() Phase {
	if d.ram == nil {
		return PhaseOff
	}
	return d.ram.phase
}

// Guarded reports whether a guard of the trial runs: a timer or watchdog that resets the device unless it is stopped.
func (d *Device) Guarded() bool {
	return d.ram != nil && (d.ram.timers[timerAgentSelfTest] != unarmed || d.ram.timers[timerWatchdog] != unarmed)
}

// Connected reports whether the device has an MQTT session. Messages that arrive without one are dropped.
func (d *Device) Connected() bool { return d.ram != nil && d.ram.connected }

// Running describes the application that runs; ok is false while none does.
func (d *Device) Running() (r Running, ok bool) {
	if d.ram == nil || d.ram.stage < stageApp {
		return r, false
	}
	return d.ram.running, true
}

// Agent returns the observable state of the OTA agent; zero while no application runs.
func (d *Device) Agent() agent.View {
	if d.ram == nil || d.ram.stage < stageApp {
		return agent.View{State: agent.Stopped}
	}
	return d.ram.agent.View()
}

// Ops returns the network operations since the last call, in order. The slice is valid until the next Step.
func (d *Device) Ops() []NetOp {
	ops := d.ops
	d.ops = nil
	if d.ram != nil && d.ram.phase == PhaseDownload {
		d.ops = ops[:0]
	}
	return ops
}

// BusyUntil returns when the device is done with what it has been given. Events that arrive earlier wait until then.
func (d *Device) BusyUntil() time.Duration { return d.busy }

// NextWake returns the earliest armed timer. It may lie before BusyUntil.
func (d *Device) NextWake() (time.Duration, bool) {
	if d.ram == nil {
		return 0, false
	}
	_, at, ok := d.ram.nextTimer()
	return at, ok
}

// PowerOff drops everything in RAM. Flash and eFuses stay as they are.
func (d *Device) PowerOff() {
	d.ram, d.ops = nil, nil
	d.busy = d.flash.Clock()
}

// Step gives the device one event at the given time, or when it is no longer busy, and runs to completion: flash
// commands and CPU work move the flash clock on. It panics with flashmodel.PowerLost when the power fails on the way;
// the caller then calls PowerOff.
func (d *Device) Step(now time.Duration, ev Event) {
	d.flash.SetClock(max(now, d.busy))
	if ev.Kind == PowerOn {
		if d.ram == nil {
			d.powerOn()
		}
	} else if d.ram != nil {
		d.ram.step(d, ev)
	}
	d.busy = d.flash.Clock()
}

func (d *Device) point(p Point, arg int) {
	if d.hooks != nil && d.hooks.Point != nil {
		d.hooks.Point(d, d.flash.Clock(), p, arg)
	}
}
