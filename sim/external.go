package sim

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/device/firmware"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/nvs"
	"github.com/otasim/otasim/sim/live"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// FleetOptions are devices and the endpoint they connect to.
type FleetOptions struct {
	Endpoint   string // HOST:PORT of MQTT over TLS
	ServerName string // that the endpoint's certificate must carry; "": HOST
	CA         string // file with the PEM certificate of the authority that devices trust
	Certs      string // directory with a certificate and a key for each thing
	Things     []string
	Signer     string // file with the PEM certificate that devices check images against; "": none
	Firmware   string // file of the app image that devices run; "": one is built
	Device     scenario.Device

	Ramp     float64       // devices switched on a second, 0: all at once
	Updates  int           // that each device ends before the run does, 0: no end but that of Duration
	Duration time.Duration // how long to stay, 0: until the updates are done
	Timeout  time.Duration // when to give up, 0: never

	Version  string
	Progress func(report.Progress)
	Dumps    map[string]string // file by thing: its flash at the end

	speed int // of the devices' time, 0: that of the wall's (tests)
}

// amazonPort is where AWS IoT tells MQTT from HTTPS by the protocol that the client
// asks for; amazonALPN is that of MQTT with client certificates.
const (
	amazonPort = "443"
	amazonALPN = "x-amzn-mqtt-ca"
)

// probeTimeout bounds the first look at an endpoint.
const probeTimeout = 15 * time.Second

// external is a fleet on sockets whose cloud is elsewhere, in real time.
type external struct {
	*liveWorld
	cfg     FleetOptions
	to      live.Endpoint
	carried live.Carried
	book    logbook
	ended   time.Duration
}

// RunFleet runs devices against an endpoint that is not part of the simulation. When
// ctx ends they disconnect in order, and the result is what there is so far.
func RunFleet(ctx context.Context, cfg FleetOptions) (*report.Result, error) {
	w, err := newExternal(cfg)
	if err != nil {
		return nil, err
	}
	if err := w.probe(ctx); err != nil {
		return nil, err
	}
	w.run(ctx)
	res := w.result()
	return res, w.dump(cfg.Dumps)
}

func newExternal(cfg FleetOptions) (*external, error) {
	host, port, err := net.SplitHostPort(cfg.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	if need, limit := uint64(len(cfg.Things)+64), openFiles(); limit < need {
		return nil, lacks(fmt.Sprintf("raise it (ulimit -n %d), or take fewer things", need), "fleet: %d devices need %d open files, the limit is %d", len(cfg.Things), need, limit)
	}
	ca, err := certificateIn(cfg.CA, "authority", "for AWS: https://www.amazontrust.com/repository/AmazonRootCA1.pem; for otasim serve: ca_file of its ready file")
	if err != nil {
		return nil, err
	}
	var signer []byte
	if cfg.Signer != "" {
		if signer, err = certificateIn(cfg.Signer, "code signer", "the certificate that the signing profile was made with"); err != nil {
			return nil, err
		}
	}
	identities, err := identitiesOf(cfg.Certs, cfg.Things)
	if err != nil {
		return nil, err
	}
	for i := range identities {
		identities[i].CA, identities[i].CodeSigner = ca, signer
	}
	now := time.Now() //nolint:forbidigo // the devices' clock starts with the wall's
	to := live.Endpoint{Address: cfg.Endpoint, Host: cmp.Or(cfg.ServerName, host), Epoch: now, Clock: live.NewSteadyClock(0, max(cfg.speed, 1))}
	if port == amazonPort {
		to.ALPN = []string{amazonALPN}
	}
	return newFleetAt(to, cfg, identities)
}

// newFleetAt makes devices that have an identity, for an endpoint.
func newFleetAt(to live.Endpoint, cfg FleetOptions, identities []nvs.Identity) (*external, error) {
	sc, err := fleetScenario(&cfg)
	if err != nil {
		return nil, err
	}
	base, err := emptyWorld(sc, Options{Mode: Live, Workers: liveWorkers, Version: cfg.Version})
	if err != nil {
		return nil, err
	}
	if room := base.fleet.groups[0].slotSize; uint32(len(base.fleet.images[0].data)) > room {
		return nil, fmt.Errorf("%w: %s has %d bytes, a slot of %s %d", ErrFirmware, cfg.Firmware, len(base.fleet.images[0].data), cfg.Device.Partitions, room)
	}
	base.epoch = to.Epoch
	for i, name := range cfg.Things {
		base.fleet.things[i].name = name
	}
	signer := identities[0].CodeSigner
	catalogue, err := behaviours(base.fleet.images, base.fleet.boot, signer)
	if err != nil {
		return nil, err
	}
	catalogue.Others = &firmware.Behaviour{Signer: signer}
	w := &external{cfg: cfg, to: to, liveWorld: &liveWorld{world: base, locks: make([]sync.Mutex, len(base.shards)), news: make(chan struct{}, 1)}}
	base.engine = w.liveWorld
	if err := w.populate(identities, catalogue); err != nil {
		return nil, err
	}
	w.clock, w.to.Carried = to.Clock, &w.carried
	if err := base.fleet.hasThings(cfg.Dumps); err != nil {
		return nil, err
	}
	w.book.start(len(w.devs))
	for i := range w.devs {
		s := w.shardOf(int32(i))
		u := &unit{w: w.liveWorld, a: &w.devs[i], sh: w.shards[s], lock: &w.locks[s], watch: w}
		u.client = live.NewClient(w.to, u.event)
		u.http = live.NewHTTP(live.Endpoint{Epoch: w.to.Epoch, Clock: w.to.Clock}, u.fetched)
		u.box.ready = make(chan struct{}, 1)
		if cfg.Ramp > 0 {
			u.returns = time.Duration(float64(i) / cfg.Ramp * float64(time.Second))
		}
		w.units = append(w.units, u)
	}
	return w, nil
}

// liveWorkers is how many locks a live fleet is spread over.
const liveWorkers = 4

// ErrFirmware is wrapped by errors about the image that devices are to run.
var ErrFirmware = errors.New("firmware")

// fleetScenario is a scenario that has only the devices.
func fleetScenario(cfg *FleetOptions) (*scenario.Scenario, error) {
	d := cfg.Device
	d.Firmware, d.Network = "1.0.0", scenario.DefaultNetwork
	if cfg.Firmware != "" {
		file, err := os.ReadFile(cfg.Firmware)
		if err != nil {
			return nil, lacks("an app image, as idf.py build or otasim image build makes it", "firmware: %w", err)
		}
		if len(file) < image.DescriptorOffset {
			return nil, fmt.Errorf("%w: %s is no app image", ErrFirmware, cfg.Firmware)
		}
		app, err := image.DecodeDescriptor(file[image.DescriptorOffset:])
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrFirmware, cfg.Firmware, err)
		}
		d.Firmware = app.Version
	}
	row := scenario.Firmware{Version: d.Firmware, Image: cfg.Firmware, Size: 256 << 10, SelfTest: scenario.SelfTestPass, Target: d.Target}
	return &scenario.Scenario{
		Metadata: scenario.Metadata{Name: "fleet"}, Seed: 1, Firmware: []scenario.Firmware{row},
		Fleet:    scenario.Fleet{Groups: []scenario.Group{{Name: "fleet", Count: len(cfg.Things), Device: d}}},
		Networks: []scenario.Network{{Name: scenario.DefaultNetwork, Links: []scenario.WeightedLink{{Weight: scenario.Million}}}},
	}, nil
}

// probe connects once as the first device does, so that what is wrong for all is
// said once and at the start.
func (w *external) probe(ctx context.Context) error {
	id, err := identityOf(w.cfg.Certs, w.cfg.Things[0])
	if err != nil {
		return err
	}
	ca, err := certificateIn(w.cfg.CA, "authority", "")
	if err != nil {
		return err
	}
	config, err := w.to.TLS(&device.NetOp{CA: ca, Certificate: id.Certificate, Key: id.Key})
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var d net.Dialer
	raw, err := d.DialContext(limited, "tcp", w.to.Address)
	if err != nil {
		if ctx.Err() != nil {
			return nil // run says so
		}
		return lacks("is the endpoint up, and the port right? AWS: aws iot describe-endpoint --endpoint-type iot:Data-ATS, port 8883 or 443", "endpoint %s: %w", w.to.Address, err)
	}
	defer raw.Close()
	conn := tls.Client(raw, config)
	err = conn.HandshakeContext(limited)
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	switch {
	case err == nil || ctx.Err() != nil:
		return nil
	case errors.As(err, &unknown):
		return lacks("--ca must name the authority that issued the endpoint's certificate", "endpoint %s: %s did not sign its certificate: %w", w.to.Address, w.cfg.CA, err)
	case errors.As(err, &name):
		return lacks("--server-name NAME, one that the certificate carries", "endpoint %s: %w", w.to.Address, err)
	}
	return lacks("it speaks TLS and knows the certificate? That must be ACTIVE and registered there", "endpoint %s: handshake as thing %s: %w", w.to.Address, w.cfg.Things[0], err)
}

// run lets the devices go until they are done or somebody wants an end.
func (w *external) run(ctx context.Context) {
	until, cancel := context.WithCancel(context.Background())
	defer cancel()
	var all sync.WaitGroup
	for i := range w.units {
		all.Go(func() { w.units[i].run(until) })
	}
	for w.stopped == stopNot {
		w.see(ctx)
		if w.stopped == stopNot {
			w.clock.Wait(ctx, w.clock.Now()+silence*time.Duration(max(w.cfg.speed, 1)), nil)
		}
	}
	w.ended = w.clock.Now()
	cancel()
	all.Wait()
}

// see looks how far the devices are.
func (w *external) see(ctx context.Context) {
	now := w.clock.Now()
	connected, settled := 0, 0
	for i := range w.locks {
		w.locks[i].Lock()
	}
	for _, u := range w.units {
		if u.a.dev.Connected() {
			connected++
			if u.a.idle() && u.box.empty() {
				settled++
			}
		}
	}
	for _, sh := range w.shards {
		sh.changed, sh.dirty = sh.changed[:0], false
	}
	fleet, _ := w.count()
	for i := range w.locks {
		w.locks[i].Unlock()
	}
	w.measure()
	executions, done := w.book.progress(w.cfg.Updates)
	switch {
	case ctx.Err() != nil:
		w.stopped = stopInterrupted
	case w.cfg.Duration > 0 && now >= w.cfg.Duration:
		w.stopped = stopDuration
	case w.cfg.Timeout > 0 && now >= w.cfg.Timeout:
		w.stopped = stopTimeout
	case w.cfg.Duration == 0 && w.cfg.Updates > 0 && done == len(w.units) && settled == len(w.units):
		w.stopped = stopQuiet
	}
	if w.cfg.Progress != nil {
		w.cfg.Progress(report.Progress{Virtual: now, Limit: cmp.Or(w.cfg.Duration, w.cfg.Timeout), Events: w.steps.Load(), Devices: fleet.Devices, Powered: fleet.Powered,
			Connected: connected, Executions: executions, RolledBack: fleet.RolledBack, Bricked: fleet.Bricked, Steps: w.book.news()})
	}
}

// result writes down what the devices saw. The cloud's side of it is the operator's
// to ask for.
func (w *external) result() *report.Result {
	w.now = w.ended
	r := &report.Result{Schema: report.Schema, Scenario: w.sc.Metadata.Name, Seed: w.sc.Seed, Mode: w.opt.Mode, Workers: w.opt.Workers, Version: w.opt.Version,
		VirtualSeconds: w.ended.Seconds(), Events: w.steps.Load()}
	for i := range w.devs {
		w.shards[w.shardOf(int32(i))].look(&w.devs[i], w.now)
	}
	r.Fleet, r.Groups = w.count()
	r.Fleet.Mismatched = w.mismatched()
	r.Flash, r.Resets, r.Memory = w.flash(), w.resets(), w.memory()
	w.book.report(r)
	r.Traffic.MQTTBytesIn, r.Traffic.MQTTBytesOut = w.carried.In.Load(), w.carried.Out.Load()
	rule := func(name, kind, expr string, holds bool, actual string) {
		r.Assertions = append(r.Assertions, report.Assertion{Name: name, Kind: kind, Expr: expr, Holds: holds, Actual: actual})
	}
	rule("no device is bricked", "always", "fleet.bricked == 0", r.Fleet.Bricked == 0, fmt.Sprintf("%d", r.Fleet.Bricked))
	joined := w.book.joined
	rule("every device was connected", "atEnd", "connected == fleet.devices", joined == len(w.units), fmt.Sprintf("%d of %d", joined, len(w.units)))
	rule("no update failed", "atEnd", "updates.failed == 0", r.Updates.Failed == 0, fmt.Sprintf("%d", r.Updates.Failed))
	if n := w.cfg.Updates; n > 0 {
		_, done := w.book.progress(n)
		rule(fmt.Sprintf("every device ended %d update(s)", n), "atEnd", "ended == fleet.devices", done == len(w.units), fmt.Sprintf("%d of %d", done, len(w.units)))
	}
	switch w.stopped {
	case stopTimeout:
		r.Verdict = report.VerdictInconclusive
	case stopInterrupted:
		r.Verdict = report.VerdictInterrupted
	}
	r.Conclude(false)
	r.Normalize()
	r.WallSeconds = time.Since(w.started).Seconds() //nolint:forbidigo // for the reader
	return r
}

// mismatched counts devices whose execution SUCCEEDED but that run the firmware they
// came with.
func (w *external) mismatched() (n int) {
	first := w.fleet.images[0].Version
	for i := range w.devs {
		if d := w.book.devices[i]; d.good > 0 && w.devs[i].view.version == first {
			n++
		}
	}
	return n
}

// said and heard make it a watcher.
func (w *external) said(u *unit, op *device.NetOp) { w.book.said(u, op, w.clock.Now()) }

func (w *external) heard(u *unit, ev *device.Event) { w.book.heard(u, ev, w.clock.Now()) }

var _ watcher = (*external)(nil)
