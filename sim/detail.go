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
	lines      [][]mark        // by device
	asked      []time.Duration // by device: when it asked for the blocks that it waits for, 0: for none
}

// mark is a device at a point of its program. Attempts to connect that follow each other are one mark.
type mark struct {
	at, last time.Duration
	times    int32
	arg      int32
	point    device.Point
}

const (
	mostSamples   = 360 // then every second one is dropped
	mostTimelines = 40  // half of them for what went wrong
	mostMarks     = 256 // of one device
	latencyBins   = 61  // ten for each power of ten, from a millisecond to a thousand seconds
)

func newDetail(devices int) *detail {
	return &detail{step: time.Second, lines: make([][]mark, devices), asked: make([]time.Duration, devices),
		series: report.Series{Executions: map[string][]int{}, Versions: map[string][]int{}}}
}

// reached notes a point of a device. Blocks are too many: of them only how long the first one of a request took is kept.
func (d *detail) reached(sh *shard, id int32, now time.Duration, p device.Point, arg int) {
	switch p {
	case device.PointBlockRequested:
		d.asked[id] = now
		return
	case device.PointBlockReceived:
		if d.asked[id] > 0 {
			sh.latencies[latencyBin(now-d.asked[id])]++
			d.asked[id] = 0
		}
		return
	case device.PointBlockProgrammed:
		return
	}
	line := d.lines[id]
	if n := len(line); n > 0 && p == device.PointConnect && line[n-1].point == p {
		line[n-1].times++
		line[n-1].last = now
	} else if n < mostMarks {
		d.lines[id] = append(line, mark{now, now, 1, int32(arg), p})
	}
}

// latencyBin is floor(10 log10(d / 1 ms)), within the bins.
func latencyBin(d time.Duration) int {
	if d <= time.Millisecond {
		return 0
	}
	return min(latencyBins-1, int(10*math.Log10(d.Seconds()*1000)))
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
		for _, v := range []*[]uint64{&s.MessagesIn, &s.MessagesOut, &s.BytesIn, &s.BytesOut, &s.HTTPBytes, &s.Connects, &s.Throttled} {
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
	t := w.side.op.traffic(now)
	s.MessagesIn, s.MessagesOut = append(s.MessagesIn, t.MQTTMessagesIn), append(s.MessagesOut, t.MQTTMessagesOut)
	s.BytesIn, s.BytesOut = append(s.BytesIn, t.MQTTBytesIn), append(s.BytesOut, t.MQTTBytesOut)
	s.HTTPBytes = append(s.HTTPBytes, w.side.op.fetched.bytes.Load())
	s.Connects, s.Throttled = append(s.Connects, t.Connects), append(s.Throttled, t.Throttled)
	d.next += d.step
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
	{"queued", device.PointJobReceived}, {"erase, download", device.PointDownloadComplete}, {"verify", device.PointReady},
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
	// Failures first, then what is unfinished, then the slowest; half of the places are for those that came to an end.
	slices.SortStableFunc(out.Timelines, func(a, b report.Timeline) int {
		return cmp.Or(cmp.Compare(rank(a.Status), rank(b.Status)), cmp.Compare(b.Seconds, a.Seconds), cmp.Compare(a.Thing, b.Thing))
	})
	ended := slices.IndexFunc(out.Timelines, func(t report.Timeline) bool { return rank(t.Status) == 2 })
	if ended < 0 {
		ended = len(out.Timelines)
	}
	if room := max(mostTimelines/2, mostTimelines-(len(out.Timelines)-ended)); ended > room {
		out.Timelines = slices.Delete(out.Timelines, room, ended)
	}
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
	out.Durations, out.Latencies = bins(durations, 40), w.latencies()
	var wear []float64
	for i := range w.devs {
		if w.devs[i].dev != nil {
			wear = append(wear, float64(w.devs[i].dev.Flash().Stats().MaxWear))
		}
	}
	out.Wear = bins(wear, 20)
	return out
}

// latencies adds up the shards' bins, without the empty ones at both ends.
func (w *world) latencies() (out []report.Bin) {
	sum := make([]int, latencyBins)
	first, last := latencyBins, -1
	for _, sh := range w.shards {
		for i, n := range sh.latencies {
			if sum[i] += n; n > 0 {
				first, last = min(first, i), max(last, i)
			}
		}
	}
	for i := first; i <= last; i++ {
		out = append(out, report.Bin{From: math.Pow(10, float64(i)/10-3), To: math.Pow(10, float64(i+1)/10-3), Count: sum[i]})
	}
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

// codes are the names of what agents give as their reason, by its last eight digits: ota.h of the library, aws_iot_ota_agent.h
// of the 2018 agent.
var codes = map[string]string{
	"0000000e": "OtaErrMomentumAbort", "0000000f": "OtaErrDowngradeNotAllowed", "00000010": "OtaErrSameFirmwareVersion",
	"00000011": "OtaErrImageStateMismatch", "00000013": "OtaErrUserAbort",
	"22000000": "kOTA_Err_DowngradeNotAllowed", "23000000": "kOTA_Err_SameFirmwareVersion",
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
			if name := codes[v[max(0, len(v)-8):]]; name != "" {
				v += " (" + name + ")"
			}
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
		case m.times > 1:
			text += fmt.Sprintf(" (%d attempts until %s)", m.times, report.Clock(m.last.Round(time.Millisecond)))
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
