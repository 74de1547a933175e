package sim

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/cloud/ota"
	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/sim/report"
)

// detail collects what charts are drawn from, for a run whose report is wanted. It
// sees what happens and changes nothing.
type detail struct {
	next, step time.Duration // of the series
	series     report.Series
	lines      [][]mark // by device
}

// mark is a device at a point of its program.
type mark struct {
	at    time.Duration
	point device.Point
	arg   int32
}

const (
	mostSamples   = 360 // then every second one is dropped
	mostTimelines = 40
	mostMarks     = 256 // of one device
)

func newDetail(devices int) *detail {
	return &detail{step: time.Second, lines: make([][]mark, devices),
		series: report.Series{Executions: map[string][]int{}, Versions: map[string][]int{}}}
}

// reached notes a point of a device. Blocks are too many.
func (d *detail) reached(id int32, now time.Duration, p device.Point, arg int) {
	switch p {
	case device.PointBlockRequested, device.PointBlockReceived, device.PointBlockProgrammed:
		return
	}
	if len(d.lines[id]) < mostMarks {
		d.lines[id] = append(d.lines[id], mark{now, p, int32(arg)})
	}
}

// sample takes a look at the world.
func (d *detail) sample(w *world, now time.Duration) {
	s := &d.series
	if len(s.At) == mostSamples {
		thin(&s.At)
		for _, m := range []map[string][]int{s.Executions, s.Versions} {
			for k, v := range m {
				thin(&v)
				m[k] = v
			}
		}
		for _, v := range []*[]int{&s.Powered, &s.Bricked, &s.RolledBack} {
			thin(v)
		}
		for _, v := range []*[]uint64{&s.MessagesIn, &s.MessagesOut, &s.BytesIn, &s.BytesOut, &s.Connects, &s.Throttled} {
			thin(v)
		}
		d.step *= 2
	}
	fleet, _ := w.count()
	n := len(s.At)
	s.At = append(s.At, now.Seconds())
	counts(s.Executions, w.side.op.executions(), n)
	counts(s.Versions, fleet.OnVersion, n)
	s.Powered, s.Bricked, s.RolledBack = append(s.Powered, fleet.Powered), append(s.Bricked, fleet.Bricked), append(s.RolledBack, fleet.RolledBack)
	t := w.side.op.traffic()
	s.MessagesIn, s.MessagesOut = append(s.MessagesIn, t.MQTTMessagesIn), append(s.MessagesOut, t.MQTTMessagesOut)
	s.BytesIn, s.BytesOut = append(s.BytesIn, t.MQTTBytesIn), append(s.BytesOut, t.MQTTBytesOut)
	s.Connects, s.Throttled = append(s.Connects, t.Connects), append(s.Throttled, t.Throttled)
	d.next = now + d.step
}

// thin drops every second sample.
func thin[T any](v *[]T) {
	kept := (*v)[:0]
	for i := 0; i < len(*v); i += 2 {
		kept = append(kept, (*v)[i])
	}
	*v = kept
}

// counts appends one sample of counts by name after n others.
func counts(to map[string][]int, now map[string]int, n int) {
	for name := range now {
		if to[name] == nil {
			to[name] = make([]int, n, mostSamples)
		}
	}
	for name := range to {
		to[name] = append(to[name], now[name])
	}
}

// phaseEnds are the points that end each phase of an update, in their order.
var phaseEnds = []struct {
	name string
	end  device.Point
}{
	{"queued", device.PointJobReceived}, {"erase", device.PointSlotErase}, {"download", device.PointDownloadComplete}, {"verify", device.PointReady},
	{"boot record", device.PointReset}, {"restart", device.PointStarted}, {"reconnect", device.PointSelfTest}, {"self-test", device.PointConfirm}, {"confirm", device.PointReported},
}

// report writes it down.
func (d *detail) report(w *world) *report.Detail {
	out := &report.Detail{Series: d.series}
	op := w.side.op
	number := map[string]int{}
	for i, n := range op.names {
		if n != "" {
			number[n] = i
		}
	}
	var durations []float64
	spent := make([][]float64, len(phaseEnds))
	causes := map[[2]string]*report.Cause{}
	for _, r := range op.runs {
		for _, e := range op.list(r.id) {
			x := &e.JobExecutionSummary
			if x.QueuedAt.IsZero() {
				continue
			}
			thing := thingOf(e.ThingARN)
			id, known := number[thing]
			t := report.Timeline{Thing: thing, Job: ota.JobID(r.id), Status: x.Status.String(), QueuedAt: x.QueuedAt.Sub(Epoch).Seconds(), Seconds: x.LastUpdatedAt.Sub(x.QueuedAt.Time).Seconds()}
			if known {
				t.Group = op.fleet.groups[op.fleet.things[id].group].name
			}
			switch {
			case x.Status == jobs.Succeeded:
				durations = append(durations, t.Seconds)
				if known {
					for i, s := range phases(d.lines[id], x.QueuedAt.Sub(Epoch)) {
						spent[i] = append(spent[i], s.Seconds())
					}
				}
			case x.Status.Terminal() && x.Status != jobs.Canceled && x.Status != jobs.Removed:
				t.Reason = op.reason(thing, r.id, x)
				key := [2]string{t.Status, t.Reason}
				if causes[key] == nil {
					causes[key] = &report.Cause{Status: t.Status, Reason: t.Reason, Example: thing}
				}
				causes[key].Count++
			}
			out.Timelines = append(out.Timelines, t)
		}
	}
	for _, c := range causes {
		out.Failures = append(out.Failures, *c)
	}
	slices.SortFunc(out.Failures, func(a, b report.Cause) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Status, b.Status), cmp.Compare(a.Reason, b.Reason))
	})
	// Failures first, then the slowest.
	slices.SortStableFunc(out.Timelines, func(a, b report.Timeline) int {
		return cmp.Or(cmp.Compare(rank(a.Status), rank(b.Status)), cmp.Compare(b.Seconds, a.Seconds), cmp.Compare(a.Thing, b.Thing))
	})
	out.Timelines = out.Timelines[:min(len(out.Timelines), mostTimelines)]
	for i := range out.Timelines {
		t := &out.Timelines[i]
		if id, ok := number[t.Thing]; ok {
			t.Marks = steps(d.lines[id])
		}
	}
	for i, v := range spent {
		if len(v) > 0 {
			slices.Sort(v)
			sum := 0.0
			for _, x := range v {
				sum += x
			}
			out.Phases = append(out.Phases, report.Phase{Name: phaseEnds[i].name, Mean: sum / float64(len(v)), P95: v[len(v)*95/100]})
		}
	}
	out.Durations = bins(durations, 40)
	var wear []float64
	for i := range w.devs {
		if w.devs[i].dev != nil {
			wear = append(wear, float64(w.devs[i].dev.Flash().Stats().MaxWear))
		}
	}
	out.Wear = bins(wear, 20)
	return out
}

// rank puts failures before what is unfinished before what went well.
func rank(status string) int {
	switch s, _ := jobs.ParseStatus(status); s {
	case jobs.Failed, jobs.Rejected, jobs.TimedOut:
		return 0
	case jobs.Queued, jobs.InProgress:
		return 1
	}
	return 2
}

// reason is why an execution failed: what the device said, or the service's own.
func (o *operator) reason(thing, id string, x *jobs.ExecutionSummary) string {
	if x.Status == jobs.TimedOut {
		return "no final status in time"
	}
	e, err := o.cloud.DescribeJobExecution(Epoch.Add(o.now), thing, ota.JobID(id), x.ExecutionNumber)
	if err != nil {
		return err.Error()
	}
	details := e.StatusDetails.DetailsMap
	for _, key := range []string{"reason", "self_test"} {
		if v := details[key]; v != "" {
			return key + ": " + v
		}
	}
	return "no reason given"
}

// phases are the times an update spent in each phase, from the points that its
// device passed after it was queued; a phase that it left out takes none.
func phases(line []mark, queued time.Duration) []time.Duration {
	out, from, at := make([]time.Duration, len(phaseEnds)), queued, 0
	for at < len(line) && line[at].at < queued {
		at++
	}
	for i, p := range phaseEnds {
		for j := at; j < len(line); j++ {
			if line[j].point == p.end {
				out[i], from, at = line[j].at-from, line[j].at, j+1
				break
			}
		}
	}
	return out
}

// steps are the marks of a device in words.
func steps(line []mark) []report.Step {
	boots := [...]string{"cold", "software", "panic", "watchdog"}
	out := make([]report.Step, 0, len(line))
	for _, m := range line {
		text := m.point.String()
		switch {
		case m.point == device.PointBoot && int(m.arg) < len(boots) && m.arg >= 0:
			text += " (" + boots[m.arg] + ")"
		case m.point == device.PointStarted:
			text += fmt.Sprintf(" (ota_%d)", m.arg)
		}
		out = append(out, report.Step{At: m.at.Seconds(), Text: text})
	}
	return out
}

// bins is a histogram of at most n equal bins.
func bins(values []float64, n int) []report.Bin {
	if len(values) == 0 {
		return nil
	}
	low, high := slices.Min(values), slices.Max(values)
	low = math.Floor(low)
	width := math.Max(1, math.Ceil((high-low+1)/float64(n)))
	out := make([]report.Bin, int((high-low)/width)+1)
	for i := range out {
		out[i].From, out[i].To = low+float64(i)*width, low+float64(i+1)*width
	}
	for _, v := range values {
		out[int((v-low)/width)].Count++
	}
	return out
}
