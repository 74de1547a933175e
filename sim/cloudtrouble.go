package sim

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/bucket"
	"github.com/otasim/otasim/sim/fault"
	"github.com/otasim/otasim/sim/kernel"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// cloudTrouble is one fault of the cloud: in force as its strike says, it hits the
// requests that it names, each by its probability. It lives where the cloud runs.
type cloudTrouble struct {
	*fault.Strike
	spec     *scenario.Fault
	things   map[string]bool // nil: requests of everybody, the operator and the services included
	rand     kernel.Rand
	injected int
	restored int // of these, those after which a request was answered again
	phases   map[string]int
}

// cloudTroubles are the cloud's faults of a scenario.
type cloudTroubles struct {
	mu      sync.Mutex // in live mode the bucket answers in goroutines of its own
	all     []*cloudTrouble
	epoch   time.Time
	restart func(now time.Time) // the broker
}

// plan draws the cloud's faults. things are the names of the devices.
func (c *cloudTroubles) plan(w *world) {
	c.epoch, c.restart = w.epoch, w.side.cloud.RestartBroker
	for i := range w.sc.Faults {
		f := &w.sc.Faults[i]
		if f.Type != scenario.FaultCloud {
			continue
		}
		// Each request draws by itself whether it is hit; when the window opens is certain.
		window := *f
		if f.Effect != scenario.EffectBrokerRestart {
			window.Probability = scenario.Million
		}
		times := f.Times
		if times == 0 {
			times = -1
		}
		t := &cloudTrouble{Strike: fault.NewStrike(w.seed, i, &window, "cloud", times), spec: f, rand: w.seed.Stream("fault/" + f.Name), phases: map[string]int{}}
		if s := &f.Select; len(s.Groups)+len(s.Things)+len(s.Networks) > 0 || s.Fraction < scenario.Million {
			t.things = map[string]bool{}
			for _, n := range fault.Targets(w.seed, f.Name, w.fleet.selected(s), s.Fraction) {
				t.things[w.fleet.things[n].name] = true
			}
		}
		c.all = append(c.all, t)
		if f.When != nil {
			w.pending = append(w.pending, whenFault{index: i})
		} else {
			w.lastStrike = max(w.lastStrike, t.At)
		}
	}
}

// of is the number of a fault of the scenario among the cloud's.
func (c *cloudTroubles) of(index int) int {
	return slices.IndexFunc(c.all, func(t *cloudTrouble) bool { return t.Fault == index })
}

// begin puts a fault in force; next is when it comes again, 0: not by itself.
func (c *cloudTroubles) begin(now time.Duration, i int) (next time.Duration) {
	c.mu.Lock()
	t := c.all[i]
	struck, next := t.Begin(now)
	if struck = struck && t.spec.Effect == scenario.EffectBrokerRestart; struck {
		t.hit("broker")
	}
	c.mu.Unlock()
	if struck {
		c.restart(c.epoch.Add(now))
	}
	return next
}

func (t *cloudTrouble) hit(phase string) {
	t.injected++
	t.phases[phase]++
}

// strikes reports whether the fault hits a request of thing ("" for none) to a
// service, and counts it.
func (t *cloudTrouble) strikes(now time.Duration, service, operation, thing string) bool {
	f := t.spec
	if f.Effect == scenario.EffectBrokerRestart {
		t.restored = t.injected // somebody is back
		return false
	}
	if f.Cloud.Service != "" && f.Cloud.Service != service || f.Cloud.Operation != "" && f.Cloud.Operation != operation ||
		t.things != nil && !t.things[thing] {
		return false
	}
	if !t.On(now) || f.Budget > 0 && t.injected >= f.Budget || t.rand.Below(scenario.Million) >= f.Probability {
		t.restored = t.injected
		return false
	}
	t.hit(service)
	return true
}

// fate is what becomes of a request to a data plane.
func (c *cloudTroubles) fate(at time.Time, service, operation, thing string) (fate cloud.Fate) {
	now := at.Sub(c.epoch)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.all {
		if t.spec.Effect == scenario.EffectIgnoreRange || fate.What != cloud.Served || !t.strikes(now, service, operation, thing) {
			continue
		}
		switch t.spec.Effect {
		case scenario.EffectError:
			fate.What = cloud.Fail
		case scenario.EffectThrottle:
			fate.What = cloud.Throttle
		case scenario.EffectLostReply:
			fate.What = cloud.ReplyLost
		case scenario.EffectOutage:
			fate.What = cloud.Ignored
		case scenario.EffectSlow:
			fate.Delay += t.spec.Cloud.Latency
		}
	}
	return fate
}

// faults are the decisions for the cloud; nil if nothing can go wrong there.
func (c *cloudTroubles) faults() *cloud.Faults {
	if len(c.all) == 0 {
		return nil
	}
	return &cloud.Faults{
		Call: func(now time.Time, operation string) error {
			switch c.fate(now, "control-plane", operation, "").What {
			case cloud.Throttle:
				return cloud.Throttled
			case cloud.Fail, cloud.ReplyLost:
				return cloud.Failure
			case cloud.Ignored:
				return cloud.Unavailable
			}
			return nil
		},
		Jobs: func(now time.Time, thing, rest string) cloud.Fate {
			return c.fate(now, "jobs", rest[strings.LastIndexByte(rest, '/')+1:], thing)
		},
		Streams: func(now time.Time, thing, _, rest string) cloud.Fate {
			operation, _, _ := strings.Cut(rest, "/")
			return c.fate(now, "streams", operation, thing)
		},
		Bucket: func(now time.Time, r bucket.Request) (f bucket.Fault) {
			fate := c.fate(now, "s3", strings.ToLower(r.Method), "")
			switch fate.What {
			case cloud.Throttle, cloud.Ignored:
				f.Status = 503
			case cloud.Fail, cloud.ReplyLost:
				f.Status = 500
			}
			f.Delay = fate.Delay
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, t := range c.all {
				if t.spec.Effect == scenario.EffectIgnoreRange && f.Status == 0 && t.strikes(now.Sub(c.epoch), "s3", strings.ToLower(r.Method), "") {
					f.Whole = true
				}
			}
			return f
		},
	}
}

// count adds what the cloud's faults did.
func (c *cloudTroubles) count(out map[string]report.Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.all {
		f := report.Fault{Name: t.spec.Name, Injected: t.injected, Recovered: t.restored, Phases: map[string]int{}}
		for p, n := range t.phases {
			f.Phases[p] = n
		}
		out[f.Name] = f
	}
}
