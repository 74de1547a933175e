package sim

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/otasim/otasim/cloud/broker/rules"
	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/sim/check"
	"github.com/otasim/otasim/sim/report"
)

// logbook is what can be known of jobs and traffic from the devices' side: every
// message that a device sends or gets passes here. It may be used from many goroutines.
type logbook struct {
	in, out, metered, connects, failed, blocks atomic.Uint64

	mu       sync.Mutex
	devices  []deviceLog
	joined   int // devices that were ever connected
	jobs     []*jobLog
	failures map[string]int // connects that failed, by the reason
	rejected map[string]int // updates of executions that the service did not take, by its answer
	steps    []report.Step
	told     int // of them
}

type deviceLog struct {
	joined bool
	ended  uint16 // executions
	good   uint16 // of them SUCCEEDED
}

// jobLog is one job as the devices saw it.
type jobLog struct {
	id         string
	first      time.Duration
	executions map[int32]*execution // by device
}

// execution is one device's part in a job.
type execution struct {
	status     jobs.Status
	seen, last time.Duration
}

func (b *logbook) start(devices int) {
	b.devices = make([]deviceLog, devices)
	b.failures, b.rejected = map[string]int{}, map[string]int{}
}

// maxReasons bounds how many different texts a logbook keeps.
const maxReasons = 16

func note(m map[string]int, why string) {
	if _, known := m[why]; known || len(m) < maxReasons {
		m[why]++
	}
}

// said notes an operation of a device.
func (b *logbook) said(u *unit, op *device.NetOp, now time.Duration) {
	b.in.Add(1)
	if op.Kind != device.OpPublish {
		if op.Kind == device.OpConnect || op.Kind == device.OpSubscribe {
			b.metered.Add(1)
		}
		return
	}
	b.metered.Add(rules.Metered(len(op.Topic) + len(op.Payload)))
	_, rest, ok := strings.Cut(op.Topic, "/jobs/")
	if !ok {
		return
	}
	id, ok := strings.CutSuffix(rest, "/update")
	var doc struct {
		Status *jobs.Status `json:"status"`
	}
	if !ok || json.Unmarshal(op.Payload, &doc) != nil || doc.Status == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.note(u.a.id, id, *doc.Status, now)
}

// heard notes an event of a device's connection.
func (b *logbook) heard(u *unit, ev *device.Event, now time.Duration) {
	switch ev.Kind {
	case device.Message:
		b.out.Add(1)
		b.metered.Add(rules.Metered(len(ev.Topic) + len(ev.Payload)))
		if strings.HasSuffix(ev.Topic, "/data/cbor") {
			b.blocks.Add(1)
			return
		}
	case device.Connected:
		b.out.Add(1)
		b.connects.Add(1)
		b.mu.Lock()
		defer b.mu.Unlock()
		if d := &b.devices[u.a.id]; !d.joined {
			d.joined = true
			b.joined++
		}
		return
	case device.ConnectFailed:
		b.failed.Add(1)
		b.mu.Lock()
		defer b.mu.Unlock()
		note(b.failures, ev.Err)
		return
	default:
		b.out.Add(1)
		return
	}
	b.message(u.a.id, ev, now)
}

// message notes what Jobs tells a device.
func (b *logbook) message(id int32, ev *device.Event, now time.Duration) {
	_, rest, ok := strings.Cut(ev.Topic, "/jobs/")
	switch {
	case !ok:
	case rest == "notify-next" || rest == "$next/get/accepted":
		var doc struct {
			Execution struct {
				JobID  string      `json:"jobId"`
				Status jobs.Status `json:"status"`
			} `json:"execution"`
		}
		if json.Unmarshal(ev.Payload, &doc) == nil && doc.Execution.JobID != "" {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.note(id, doc.Execution.JobID, doc.Execution.Status, now)
		}
	case strings.HasSuffix(rest, "/update/rejected"):
		var doc struct {
			Code string `json:"code"`
		}
		_ = json.Unmarshal(ev.Payload, &doc) // without a code it is "", which is noted as well
		b.mu.Lock()
		defer b.mu.Unlock()
		note(b.rejected, doc.Code)
	}
}

// note sets the status of an execution, unless it has ended; mu is held.
func (b *logbook) note(device int32, id string, status jobs.Status, now time.Duration) {
	i := slices.IndexFunc(b.jobs, func(j *jobLog) bool { return j.id == id })
	if i < 0 {
		i = len(b.jobs)
		b.jobs = append(b.jobs, &jobLog{id: id, first: now, executions: map[int32]*execution{}})
		b.steps = append(b.steps, report.Step{At: now.Seconds(), Text: "job " + id + " is here"})
	}
	j := b.jobs[i]
	x := j.executions[device]
	if x == nil {
		x = &execution{seen: now}
		j.executions[device] = x
	}
	if x.status.Terminal() {
		return
	}
	x.status, x.last = status, now
	if status.Terminal() {
		b.devices[device].ended++
		if status == jobs.Succeeded {
			b.devices[device].good++
		}
	}
}

// progress counts executions by status, and devices that have ended at least some
// number of them.
func (b *logbook) progress(updates int) (executions map[string]int, done int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	executions = map[string]int{}
	for _, j := range b.jobs {
		for s, n := range j.counts() {
			executions[s] += n
		}
	}
	for i := range b.devices {
		if int(b.devices[i].ended) >= updates {
			done++
		}
	}
	return executions, done
}

func (j *jobLog) counts() map[string]int {
	out := map[string]int{}
	for _, x := range j.executions {
		out[x.status.String()]++
	}
	return out
}

// news are the steps since the last look.
func (b *logbook) news() []report.Step {
	b.mu.Lock()
	defer b.mu.Unlock()
	fresh := b.steps[b.told:]
	b.told = len(b.steps)
	return fresh
}

// otaJob is how the OTA service names the job of an update.
const otaJob = "AFR_OTA-"

// report writes jobs, updates, times, traffic and what went wrong into a result. The
// status of a job and when it was created only the service knows.
func (b *logbook) report(r *report.Result) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r.Steps = b.steps
	samples := check.NewSamples()
	var ends []time.Duration
	targeted := 0
	for _, j := range b.jobs {
		update, _ := strings.CutPrefix(j.id, otaJob)
		r.Jobs = append(r.Jobs, report.Job{ID: j.id, OTAUpdateID: update, Executions: j.counts()})
		targeted += len(j.executions)
		for _, x := range j.executions {
			switch {
			case x.status == jobs.Succeeded:
				r.Updates.Succeeded++
				ends = append(ends, x.last-b.jobs[0].first)
				samples.Duration(check.MetricJobExecutionDuration, "", x.last-x.seen)
			case x.status.Terminal():
				r.Updates.Failed++
			case x.status == jobs.InProgress:
				r.Updates.Started++
			}
		}
	}
	r.Updates.Started += r.Updates.Succeeded + r.Updates.Failed
	slices.Sort(ends)
	r.Updates.TimeTo50, r.Updates.TimeTo90, r.Updates.TimeTo99 = share(ends, targeted, 50), share(ends, targeted, 90), share(ends, targeted, 99)
	r.ExecutionTime = samples.Quantiles(check.MetricJobExecutionDuration)
	r.Traffic = report.Traffic{MQTTMessagesIn: b.in.Load(), MQTTMessagesOut: b.out.Load(), MeteredMessages: b.metered.Load(), Connects: b.connects.Load()}
	for _, why := range slices.Sorted(maps.Keys(b.failures)) {
		r.Notes = append(r.Notes, fmt.Sprintf("%d connects failed: %s", b.failures[why], why))
	}
	for _, code := range slices.Sorted(maps.Keys(b.rejected)) {
		r.Notes = append(r.Notes, fmt.Sprintf("%d updates of job executions were rejected: %s", b.rejected[code], code))
	}
}

// share is when some percent of all that were targeted had succeeded, in seconds, nil
// if they never had. ends is sorted.
func share(ends []time.Duration, targeted, percent int) *float64 {
	need := (targeted*percent + 99) / 100
	if targeted == 0 || need > len(ends) {
		return nil
	}
	t := ends[max(need, 1)-1].Seconds()
	return &t
}
