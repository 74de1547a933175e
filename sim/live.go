package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/api"
	"github.com/otasim/otasim/cloud/broker/rules"
	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/sim/live"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// liveWorld is the engine of a world on sockets: a goroutine for each device, the
// cloud behind a real broker, and a director that does what barriers do in virtual
// time. Locks are taken in the order broker, shards.
type liveWorld struct {
	*world
	clock  *live.Clock
	bucket live.Bucket
	shop   live.Bucket // the same objects for devices: presigned URLs only
	broker *live.Broker
	locks  []sync.Mutex // by shard: its devices with their flash, and what it counts
	units  []*unit      // by device
	news   chan struct{}
	steps  atomic.Uint64

	flights live.Flights
	cloudy  []dueStrike // faults of the cloud at times; the director's, and so guarded by the broker

	dialsMu sync.Mutex
	dials   map[*livePath]time.Duration // attempts that nobody answers, until then

	// The director's.
	end     time.Duration
	ending  stop // why the run ends at end
	heard   uint64
	silence time.Time // since when nothing has happened
}

// Silence is how long nothing must have happened, in wall time, before the clock
// leaps to what is planned next; and before it does so although executions are
// pending, on devices that do not answer.
const (
	silence     = 100 * time.Millisecond
	deepSilence = 2 * time.Second
)

func runLive(ctx context.Context, sc *scenario.Scenario, opt Options) (*report.Result, error) {
	if slices.ContainsFunc(sc.Fleet.Groups, func(g scenario.Group) bool { return len(g.Presence) > 0 }) {
		return nil, &live.EnvironmentError{What: "live mode", Err: errors.New("presence is for virtual time: a sleeper's hours are too long for sockets")}
	}
	if err := enoughFiles(sc); err != nil {
		return nil, err
	}
	w, err := newLiveWorld(sc, opt)
	if w != nil {
		defer w.close()
	}
	if err != nil {
		return nil, err
	}
	w.ctx = ctx
	res, err := w.run(ctx)
	if err != nil {
		return res, err
	}
	return res, w.dump(opt.Dumps)
}

// enoughFiles refuses a fleet whose sockets would exceed the limit of the process.
func enoughFiles(sc *scenario.Scenario) error {
	need := uint64(2*sc.Devices() + 64) // both ends of each connection are here
	for i := range sc.Events {
		if a := sc.Events[i].AddThings; a != nil {
			need += uint64(2 * a.Count)
		}
	}
	if limit := openFiles(); limit < need {
		return &live.EnvironmentError{What: "live mode", Err: fmt.Errorf("%d devices need %d open files, the limit is %d: raise it (ulimit -n) or use --devices",
			sc.Devices(), need, limit)}
	}
	return nil
}

func newLiveWorld(sc *scenario.Scenario, opt Options) (*liveWorld, error) {
	for i := range sc.Attacks {
		switch t := sc.Attacks[i].Type; t {
		case scenario.AttackDowngradeReplay, scenario.AttackMaliciousUpdate, scenario.AttackTamperImage, scenario.AttackReplaceImage, scenario.AttackBucketVersion,
			scenario.AttackStreamSubstitution, scenario.AttackReplayDocument, scenario.AttackEditDocument, scenario.AttackInjectDocument, scenario.AttackCancelJob,
			scenario.AttackDeleteJob, scenario.AttackJobSpam, scenario.AttackGroupPoisoning:
		default:
			return nil, &live.EnvironmentError{What: "live mode", Err: fmt.Errorf("attacks of type %s are not supported on sockets (%s)", t, sc.Attacks[i].Name)}
		}
	}
	for i := range sc.Faults {
		if f := &sc.Faults[i]; f.Messages() {
			return nil, &live.EnvironmentError{What: "live mode", Err: fmt.Errorf("faults of single messages are for virtual time: nobody can take one out of TLS (%s)", f.Name)}
		}
	}
	base, err := emptyWorld(sc, opt)
	if err != nil {
		return nil, err
	}
	w := &liveWorld{world: base, locks: make([]sync.Mutex, len(base.shards)), news: make(chan struct{}, 1)}
	base.engine = w
	s3 := s3Options(sc.Cloud.Region, w.seed)
	base.side.op, err = newOperator(sc, w.seed, w.fleet, w, func(c *cloud.Config) {
		c.External, c.ServeS3, c.Defects = true, w.bucket.Serve, w.opt.Defects.Cloud
		c.Presign = api.Presigner("https://"+s3Host(s3.Region), s3)
		// The client library takes a return code that MQTT does not know for a welcome.
		c.Switches.Broker.ConnectCode = rules.NotAuthorized
	})
	if err != nil {
		return w, err
	}
	if err := w.furnish(); err != nil {
		return w, err
	}
	w.clock = live.NewClock()
	if w.broker, err = live.NewBroker(w.side.cloud, w.clock, w.epoch, w.tell); err != nil {
		return w, err
	}
	w.side.troubles.restart = func(time.Time) { w.broker.Restart() }
	for n, t := range w.side.troubles.all {
		if t.Timed {
			w.strikeCloud(n, t.At)
		}
	}
	chain, key, err := w.side.cloud.PKI().Server(s3Host(s3.Region))
	if err != nil {
		return w, fmt.Errorf("S3: %w", err)
	}
	shop := live.Endpoint{Epoch: w.epoch, Clock: w.clock}
	if shop.Address, err = w.shop.ServeTLS(&window{world: w, options: s3}, chain, key); err != nil {
		return w, err
	}
	to := live.Endpoint{Address: w.broker.Address(), Host: w.side.cloud.Host(), Epoch: w.epoch, Clock: w.clock}
	for i := range w.devs {
		s := w.shardOf(int32(i))
		u := &unit{w: w, a: &w.devs[i], sh: w.shards[s], lock: &w.locks[s], returns: live.Never}
		u.client = live.NewClient(to, u.event)
		u.http = live.NewHTTP(shop, u.fetched)
		if path := w.path(u, i); path != nil {
			u.client.Via(path, &w.flights)
			u.http.Via(path, &w.flights)
		}
		if u.a.trouble != nil {
			u.client.Wall(u.wall)
			u.http.Wall(u.wall)
		}
		u.box.ready = make(chan struct{}, 1)
		if i < sc.Devices() {
			u.returns = w.fleet.start(i)
		}
		if t := u.a.trouble; t != nil {
			for n, s := range t.strikes {
				if s.Timed {
					u.strikes = append(u.strikes, dueStrike{i: n, at: s.At})
				}
			}
		}
		w.units = append(w.units, u)
	}
	return w, nil
}

// close ends what newLiveWorld has started.
func (w *liveWorld) close() {
	if w.clock != nil {
		w.clock.Close()
	}
	w.bucket.Close()
	w.shop.Close()
}

// run lets the devices go, directs, and ends everything.
func (w *liveWorld) run(ctx context.Context) (*report.Result, error) {
	w.end, w.ending = w.sc.Duration, stopDuration
	if w.opt.Until > 0 && w.opt.Until < w.end {
		w.end, w.ending = w.opt.Until, stopUntil
	}
	until, cancel := context.WithCancel(context.Background())
	defer cancel()
	var all sync.WaitGroup
	for i := range w.units {
		all.Go(func() { w.units[i].run(until) })
	}
	for w.stopped == stopNot {
		next := w.direct(ctx)
		if w.stopped == stopNot {
			w.clock.Wait(ctx, min(next, w.clock.Now()+silence*live.Speed), w.news)
		}
	}
	cancel()
	all.Wait()
	w.broker.Do(func(time.Duration) {}) // counts
	if err := w.broker.Close(); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	if n := w.broker.Dropped(); n > 0 {
		w.side.op.notes = append(w.side.op.notes, fmt.Sprintf("the broker dropped %d messages for clients that did not keep up", n))
	}
	return w.result(), nil
}

// tell wakes the director.
func (w *liveWorld) tell() {
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// direct does what is due: the cloud's work, the operator's, and the judge's, who
// sees every device standing still. It returns when something is due next.
func (w *liveWorld) direct(ctx context.Context) (next time.Duration) {
	w.broker.Do(func(now time.Duration) {
		c, op := w.side.cloud, w.side.op
		next = min(w.end, w.strikeDue(now))
		c.Wake(w.epoch.Add(now))
		w.side.changed = op.run(now) || w.side.changed
		if at, ok := op.next(); ok {
			next = min(next, at)
		}
		if at, ok := c.NextWake(); ok {
			next = min(next, at.Sub(w.epoch))
		}
		for i := range w.locks {
			w.locks[i].Lock()
			defer w.locks[i].Unlock()
		}
		wall := time.Now()
		switch {
		case w.barrier(now):
			return
		case ctx.Err() != nil:
			w.stopped, w.now = stopInterrupted, now
			return
		case w.opt.Timeout > 0 && wall.Sub(w.started) > w.opt.Timeout:
			w.stopped, w.now = stopTimeout, now
			return
		case now >= w.end:
			w.stopped, w.now = w.ending, w.end
			return
		}
		w.show(wall, now)
		w.shorten(wall, now, next)
	})
	return next
}

// strikeDue begins the faults of the cloud that are due, and says when the next one is.
func (w *liveWorld) strikeDue(now time.Duration) (next time.Duration) {
	next = live.Never
	for i := 0; i < len(w.cloudy); i++ {
		s := w.cloudy[i]
		if s.at > now {
			next = min(next, s.at)
			continue
		}
		w.cloudy = slices.Delete(w.cloudy, i, i+1)
		i--
		if again := w.side.troubles.begin(now, s.i); again > 0 {
			w.strikeCloud(s.i, again)
		}
		w.side.changed = true
	}
	return next
}

// shorten leaps to the next thing that is planned when nothing else can happen
// before: all devices rest, and no message is on its way.
func (w *liveWorld) shorten(wall time.Time, now, next time.Duration) {
	if heard := w.events(); heard != w.heard || !w.broker.Quiet() {
		w.heard, w.silence = heard, wall
		return
	}
	way := w.onTheWay()
	if way <= now {
		w.silence = wall
		return
	}
	next = min(next, way)
	quiet := wall.Sub(w.silence)
	if quiet < silence || quiet < deepSilence && w.side.op.pending() {
		return
	}
	for _, u := range w.units {
		if !u.rests(now) {
			return
		}
		next = min(next, u.next)
	}
	switch {
	case next < w.end:
		w.clock.Skip(next)
	case quiet >= deepSilence: // nothing is planned at all
		w.stopped, w.now = stopQuiet, w.end
	}
	w.silence = wall
}

// pending reports whether an execution waits for a device.
func (o *operator) pending() bool {
	for _, r := range o.runs {
		if d := &r.lastSeen.JobProcessDetails; !r.deleted && d.NumberOfQueuedThings+d.NumberOfInProgressThings > 0 {
			return true
		}
	}
	return false
}

// events, wakeCloud, cut, restore and hangUp make it an engine.
func (w *liveWorld) events() uint64                     { return w.steps.Load() + w.broker.Events() }
func (w *liveWorld) wakeCloud(time.Duration)            { w.tell() }
func (w *liveWorld) cut(a *actor)                       { w.units[a.id].box.poke() }
func (w *liveWorld) restore(a *actor, at time.Duration) { w.units[a.id].returns = at }

// What newLiveWorld refuses.
func (w *liveWorld) tamper(int, int)                           {}
func (w *liveWorld) strikeBy(int, int)                         {}
func (w *liveWorld) dial() cloud.ConnID                        { return 0 }
func (w *liveWorld) replies(cloud.ConnID) []protocol.Frame     { return nil }
func (w *liveWorld) listen(cloud.ConnID, func(protocol.Frame)) {}
func (w *liveWorld) fetch(time.Duration, string) (int, []byte) { return 0, nil }
func (w *liveWorld) strike(a *actor, i int, at time.Duration) {
	w.units[a.id].plan(dueStrike{i: i, at: at})
}

func (w *liveWorld) heal(a *actor, i int, at time.Duration) {
	w.units[a.id].plan(dueStrike{i: i, at: at, heals: true})
}

func (w *liveWorld) strikeCloud(i int, at time.Duration) {
	w.cloudy = append(w.cloudy, dueStrike{i: i, at: at})
	w.tell()
}

func (w *liveWorld) hangUp(a *actor) {
	w.units[a.id].client.Cut()
	w.units[a.id].http.Cut()
}

// deliver and power are what the operator does to devices by hand.
func (w *liveWorld) deliver(device int, name string, nvs []byte) {
	w.units[device].box.put(mail{kind: msgMake, name: name, nvs: nvs})
}

func (w *liveWorld) power(device int, on bool) {
	kind := msgPowerOff
	if on {
		kind = msgPowerOn
	}
	w.units[device].box.put(mail{kind: kind})
}
