package sim

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	clouddefect "github.com/otasim/otasim/cloud/defect"
	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/device/agent"
	planted "github.com/otasim/otasim/device/defect"
	"github.com/otasim/otasim/device/firmware"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/secureboot"
	"github.com/otasim/otasim/sim/kernel"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// Defects are the wrong variants planted in a run, to test checkers.
type Defects struct {
	Device planted.Set
	Cloud  clouddefect.Set
}

// ParseDefects reads names separated by commas.
func ParseDefects(names string) (d Defects, err error) {
	for name := range strings.SplitSeq(names, ",") {
		if strings.TrimSpace(name) == "" {
			continue
		}
		if one, err := planted.Parse(name); err == nil {
			d.Device |= one
			continue
		}
		one, err := clouddefect.Parse(name)
		if err != nil {
			return d, err
		}
		d.Cloud |= one
	}
	return d, nil
}

// Probe takes part in a run: it sees every step of every device and every frame,
// and may take power away and meddle with frames. What it decides must follow
// from what it has seen; then the run is as reproducible as without it. Devices
// are numbers in the order of the scenario's fleet.
type Probe interface {
	// Step comes before a device's step. It may set an injector on the device's flash.
	Step(device int, d *device.Device, now time.Duration, ev *device.Event)
	// Stepped comes after it. lost says that power failed in it; flash is as the cut left it.
	Stepped(device int, d *device.Device, now time.Duration, ev *device.Event, lost bool)
	// Point is called at the named points of a device's program, inside its step.
	Point(device int, d *device.Device, now time.Duration, p device.Point, arg int)
	// Lost is called when a device loses power, before its RAM is gone. It says for how
	// long; 0 leaves that to whoever took the power away.
	Lost(device int, d *device.Device, now time.Duration) (off time.Duration)
	// Frame is asked about every frame, but for the pings of idle devices, that a device
	// (up) or the cloud sends at now and that would arrive at at.
	Frame(device int, up bool, now, at time.Duration, f *protocol.Frame) Fate
	// Busy reports that there is more to come: the run does not end for being quiet.
	Busy() bool
}

// Fate is what becomes of a frame. The zero Fate delivers it.
type Fate struct {
	Drop  bool
	Late  time.Duration // arrives so much later; frames sent after it may overtake it
	Again time.Duration // arrives a second time, so much later; 0: once
}

// meddle puts a frame on its link as the probe says.
func (sh *shard) meddle(a *actor, up bool, now, at time.Duration, gen uint32, f protocol.Frame) {
	fate := sh.w.opt.Probe.Frame(int(a.id), up, now, at, &f)
	dst := a.id
	if up {
		dst = sh.w.cloudID
	}
	m := msg{kind: msgFrame, gen: gen, frame: f}
	if !fate.Drop {
		sh.k.Send(dst, at+fate.Late, m)
	}
	if fate.Again > 0 {
		sh.k.Send(dst, at+fate.Late+fate.Again, m)
	}
}

// kept is what runs of one scenario with one seed can share: nothing in it can
// reach a trace. It belongs to one goroutine.
type kept struct {
	fleet     *fleet
	store     *flashmodel.Store
	signer    []byte
	catalogue *firmware.Catalogue
}

func (k *kept) fleetOf(sc *scenario.Scenario) *fleet {
	if k == nil || k.fleet.sc != sc {
		return nil
	}
	return k.fleet
}

func (k *kept) storeOf() *flashmodel.Store {
	if k == nil {
		return flashmodel.NewStore()
	}
	return k.store
}

func (k *kept) behaviours(images []firmwareImage, boot map[string]*secureboot.Key, signer []byte) (*firmware.Catalogue, error) {
	if k == nil {
		return behaviours(images, boot, signer)
	}
	if k.catalogue == nil || !bytes.Equal(k.signer, signer) {
		c, err := behaviours(images, boot, signer)
		if err != nil {
			return nil, err
		}
		k.signer, k.catalogue = bytes.Clone(signer), c
	}
	return k.catalogue, nil
}

// Bench runs one scenario again and again, with a probe each time. Images, flash
// contents and verdicts found once stay. A Bench belongs to one goroutine.
type Bench struct {
	sc   *scenario.Scenario
	kept *kept
}

// NewBench prepares runs of a scenario, without its variants.
func NewBench(sc *scenario.Scenario) (*Bench, error) {
	f, err := newFleetPlan(sc, kernel.Seed(sc.Seed))
	if err != nil {
		return nil, err
	}
	return &Bench{sc: sc, kept: &kept{fleet: f, store: flashmodel.NewStore()}}, nil
}

// Board is what a checker must know about a device to read its flash.
type Board struct {
	Thing         string
	Group         string
	TableOffset   uint32
	Otadata       uint32 // flash address
	AntiRollback  bool
	Rollback      bool
	SecVerBits    int
	Bootloader    string // as in the scenario
	Agent         string
	Profile       *agent.Profile // what the agent does, switches included
	FileBlockSize uint32
}

// Boards are the devices of t = 0 in order.
func (b *Bench) Boards() []Board {
	f := b.kept.fleet
	out := make([]Board, b.sc.Devices())
	for i := range out {
		t := &f.things[i]
		g, c := &f.groups[t.group], agentConfig(t.config)
		out[i] = Board{Thing: t.name, Group: g.name, TableOffset: g.tableOffset, Otadata: g.otadata, Bootloader: t.config.Bootloader, Agent: t.config.Agent, Profile: c.Profile,
			AntiRollback: t.config.Sdkconfig.AntiRollback, Rollback: t.config.Sdkconfig.Rollback, SecVerBits: t.config.Sdkconfig.SecVerBits, FileBlockSize: c.BlockSize()}
	}
	return out
}

// Images are the firmware rows of the scenario: label and bytes, without signatures of secure boot V2.
func (b *Bench) Images() (labels []string, data [][]byte) {
	for i := range b.kept.fleet.images {
		labels, data = append(labels, b.kept.fleet.images[i].Version), append(data, b.kept.fleet.images[i].data[:b.kept.fleet.images[i].plain])
	}
	return labels, data
}

// Lead is how long an event of the scenario takes to reach a device.
func (b *Bench) Lead() time.Duration { return b.kept.fleet.lookahead() }

// Store is where the flash contents of all runs live.
func (b *Bench) Store() *flashmodel.Store { return b.kept.store }

// Off takes power away from a device at a virtual time.
type Off struct {
	Device int
	At     time.Duration
}

// Execution is one job execution at the end of a run.
type Execution struct {
	Thing, Job, Version string
	Status              jobs.Status
}

// Outcome is what a run of a Bench came to.
type Outcome struct {
	*report.Result
	Executions []Execution
	Quiet      bool                // nothing was left to happen
	Flash      []*flashmodel.Flash // by device
}

// Run runs the scenario once.
func (b *Bench) Run(ctx context.Context, opt Options, offs ...Off) (*Outcome, error) {
	opt.Mode, opt.Workers, opt.direct, opt.kept = Virtual, 1, true, b.kept
	w, err := newWorld(b.sc, opt)
	if err != nil {
		return nil, err
	}
	defer w.close()
	for _, o := range offs {
		if o.Device < 0 || o.Device >= len(w.devs) {
			return nil, fmt.Errorf("sim: no device %d", o.Device)
		}
		w.k.Post(int32(o.Device), int32(o.Device), max(o.At, 1), msg{kind: msgPowerOff})
	}
	res, err := w.run(ctx)
	if err != nil {
		return nil, err
	}
	out := &Outcome{Result: res, Quiet: w.stopped == stopQuiet}
	for _, r := range w.side.op.runs {
		for _, e := range w.side.op.list(r.id) {
			out.Executions = append(out.Executions, Execution{Thing: thingOf(e.ThingARN), Job: r.id, Status: e.JobExecutionSummary.Status, Version: r.version})
		}
	}
	for i := range w.devs {
		if d := w.devs[i].dev; d != nil {
			out.Flash = append(out.Flash, d.Flash())
		} else {
			out.Flash = append(out.Flash, nil)
		}
	}
	return out, nil
}
