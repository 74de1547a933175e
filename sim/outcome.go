package sim

import (
	"slices"
	"time"

	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/cloud/ota"
	"github.com/otasim/otasim/cloud/quota"
	"github.com/otasim/otasim/sim/check"
	"github.com/otasim/otasim/sim/cost"
	"github.com/otasim/otasim/sim/network"
	"github.com/otasim/otasim/sim/report"
)

// list is every execution of a rollout's job, page by page.
func (o *operator) list(id string) []jobs.ExecutionForJob {
	var all []jobs.ExecutionForJob
	for token := ""; ; {
		rows, next, err := o.cloud.ListJobExecutionsForJob(ota.JobID(id), "", 250, token)
		if err != nil {
			return all
		}
		all = append(all, rows...)
		if token = next; token == "" {
			return all
		}
	}
}

// jobOf is the job of a rollout as the result document has it.
func (o *operator) jobOf(r *rollout) report.Job {
	d := &r.lastSeen.JobProcessDetails
	j := report.Job{ID: ota.JobID(r.id), OTAUpdateID: r.id, Status: r.status,
		Queued: d.NumberOfQueuedThings, InProgress: d.NumberOfInProgressThings, Succeeded: d.NumberOfSucceededThings, Failed: d.NumberOfFailedThings,
		TimedOut: d.NumberOfTimedOutThings, Rejected: d.NumberOfRejectedThings, Removed: d.NumberOfRemovedThings, Canceled: d.NumberOfCanceledThings}
	switch {
	case r.deleted:
		j.Status = "DELETED"
	case r.failed:
		j.Status = ota.CreateFailed
	case j.Status == "":
		j.Status = ota.CreatePending
	}
	j.Executions = map[string]int{}
	for name, n := range map[string]int{"QUEUED": j.Queued, "IN_PROGRESS": j.InProgress, "SUCCEEDED": j.Succeeded, "FAILED": j.Failed,
		"TIMED_OUT": j.TimedOut, "REJECTED": j.Rejected, "REMOVED": j.Removed, "CANCELED": j.Canceled} {
		if n > 0 {
			j.Executions[name] = n
		}
	}
	if t := r.lastSeen.CreatedAt; !t.IsZero() {
		j.CreatedAt = virtual(t.Time)
	}
	if t := r.lastSeen.CompletedAt; !t.IsZero() {
		j.CompletedAt = virtual(t.Time)
	}
	if reason := r.lastSeen.ReasonCode; r.status == jobs.JobCanceled && reason != "" {
		j.AbortReason = &reason
	}
	return j
}

func virtual(t time.Time) *float64 {
	s := t.Sub(Epoch).Seconds()
	return &s
}

// jobs are all jobs by otaUpdateId, for expressions.
func (o *operator) jobs() map[string]report.Job {
	out := make(map[string]report.Job, len(o.runs))
	for _, r := range o.runs {
		out[r.id] = o.jobOf(r)
	}
	return out
}

// jobList are all jobs in the order of their creation.
func (o *operator) jobList() []report.Job {
	out := make([]report.Job, 0, len(o.runs))
	for _, r := range o.runs {
		out = append(out, o.jobOf(r))
	}
	return out
}

// executions counts the executions of all jobs by status, for progress.
func (o *operator) executions() map[string]int {
	out := map[string]int{}
	for _, r := range o.runs {
		for s, n := range o.jobOf(r).Executions {
			out[s] += n
		}
	}
	return out
}

// news are the steps that nobody was told yet.
func (o *operator) news() []report.Step {
	s := o.steps[o.told:]
	o.told = len(o.steps)
	return s
}

// counted adds up what became of the operator's own updates.
func (o *operator) counted() (u report.Updates) {
	for _, r := range o.runs {
		d := &r.lastSeen.JobProcessDetails
		u.Succeeded += d.NumberOfSucceededThings
		u.Failed += d.NumberOfFailedThings + d.NumberOfRejectedThings + d.NumberOfTimedOutThings
		u.Started += d.NumberOfInProgressThings
	}
	u.Started += u.Succeeded + u.Failed
	return u
}

// measured fills in the times and the samples that thresholds are judged by, and
// names the things with a failed execution.
func (o *operator) measured(u *report.Updates) (*check.Samples, map[string]bool) {
	s, failed := check.NewSamples(), map[string]bool{}
	var ends []time.Duration
	first, targeted := time.Duration(-1), 0
	group := map[string]string{}
	for i, n := range o.names {
		if n != "" {
			group[n] = o.fleet.groups[o.fleet.things[i].group].name
		}
	}
	for _, r := range o.runs {
		if o.attackOf(r) >= 0 {
			continue
		}
		if at := r.lastSeen.CreatedAt; !at.IsZero() {
			if t := at.Sub(Epoch); first < 0 || t < first {
				first = t
			}
			if done := r.lastSeen.CompletedAt; !done.IsZero() && r.status == jobs.JobCompleted {
				s.Duration(check.MetricJobDuration, "", done.Sub(at.Time))
			}
		}
		for _, e := range o.list(r.id) {
			targeted++
			thing := thingOf(e.ThingARN)
			x := &e.JobExecutionSummary
			if x.Status == jobs.Succeeded {
				ends = append(ends, x.LastUpdatedAt.Sub(Epoch))
				s.Duration(check.MetricJobExecutionDuration, group[thing], x.LastUpdatedAt.Sub(x.QueuedAt.Time))
			}
			if x.Status.Terminal() {
				s.Rate(check.MetricJobExecutionFailed, group[thing], x.Status != jobs.Succeeded)
				if x.Status != jobs.Succeeded && x.Status != jobs.Canceled && x.Status != jobs.Removed {
					failed[thing] = true
				}
			}
		}
	}
	slices.Sort(ends)
	for i := range ends {
		ends[i] -= first
	}
	u.TimeTo50, u.TimeTo90, u.TimeTo99 = share(ends, targeted, 50), share(ends, targeted, 90), share(ends, targeted, 99)
	for percent := 0; percent <= 100 && len(ends) > 0; percent += 2 {
		if t := share(ends, targeted, percent); t != nil {
			u.Curve = append(u.Curve, *t)
		}
	}
	return s, failed
}

// compare finds devices about which the cloud and the flash disagree: the latest
// execution SUCCEEDED, but another image runs; or it FAILED, and that image runs.
func (o *operator) compare(devices []report.Device, groups map[string]report.Fleet) (mismatched int) {
	version, file := map[string]string{}, map[string]string{}
	for _, r := range o.runs {
		version[ota.JobID(r.id)] = r.version
		if r.row != nil && r.row.File.Own() {
			file[ota.JobID(r.id)] = r.id
		}
	}
	for i := range devices {
		d := &devices[i]
		rows, _, err := o.cloud.ListJobExecutionsForThing(d.Thing, "", "", 10, "")
		if err != nil {
			continue
		}
		for _, e := range rows {
			st, same := e.JobExecutionSummary.Status, version[e.JobID] == d.Version
			if id := file[e.JobID]; id != "" {
				same = slices.Contains(d.Files, id)
			}
			if !st.Terminal() || st == jobs.Canceled || st == jobs.Removed {
				continue
			}
			if (st == jobs.Succeeded) != same {
				mismatched++
				g := groups[d.Group]
				g.Mismatched++
				groups[d.Group] = g
			}
			break
		}
	}
	return mismatched
}

// traffic is what the cloud counted until now.
func (o *operator) traffic(now time.Duration) report.Traffic {
	s := o.cloud.Stats(Epoch.Add(o.now))
	if o.pings != nil {
		n := o.pings(now)
		s.MessagesIn, s.MessagesOut = s.MessagesIn+n, s.MessagesOut+n
		s.BytesIn, s.BytesOut = s.BytesIn+n*network.PingBytes, s.BytesOut+n*network.PingBytes
	}
	return report.Traffic{MQTTMessagesIn: s.MessagesIn, MQTTMessagesOut: s.MessagesOut, MQTTBytesIn: s.BytesIn, MQTTBytesOut: s.BytesOut,
		MeteredMessages: s.Metered, HTTPRequests: s.HTTPRequests + o.fetched.requests.Load(), HTTPBytes: s.HTTPBytes + o.fetched.bytes.Load(), Connects: s.Connects, Throttled: s.Throttled}
}

// quotas are what was used of each.
func (o *operator) quotas() (out []report.Quota) {
	for _, u := range o.cloud.Uses() {
		q := report.Quota{Name: string(u.Name), Unit: u.Unit, Peak: u.Most, Throttled: u.Refused, Static: u.Fixed || u.Name == quota.FilesPerStream || u.Name == quota.ChildGroups}
		if u.Limit > 0 {
			q.Limit = &u.Limit
		}
		out = append(out, q)
	}
	return out
}

// bill prices what the run used until now.
func (o *operator) bill(now time.Duration, all []report.Job) *report.Cost {
	table, err := cost.Prices(o.sc.Cloud.Region, o.sc.Cloud.Prices)
	if err != nil {
		return nil // the scenario was checked
	}
	s := o.cloud.Stats(Epoch.Add(now))
	u := report.Usage{MeteredMessages: s.Metered, ConnectedMinutes: s.ConnectedSeconds / 60,
		S3Requests: s.HTTPRequests + o.fetched.requests.Load(), S3Gets: s.S3.Gets + o.fetched.gets.Load(), S3Puts: s.S3.Puts, S3EgressBytes: o.fetched.bytes.Load()}
	for i := range all {
		for _, e := range o.list(all[i].OTAUpdateID) {
			u.JobExecutions += uint64(1 + e.JobExecutionSummary.RetryAttempt)
		}
	}
	b := table.Bill(cost.Usage{Messages: float64(u.MeteredMessages), ConnectedMinutes: u.ConnectedMinutes, JobExecutions: float64(u.JobExecutions),
		S3Gets: float64(u.S3Gets), S3Puts: float64(u.S3Puts), S3EgressBytes: float64(u.S3EgressBytes)})
	out := &report.Cost{Messages: b.Messages, Connectivity: b.Connectivity, JobExecutions: b.JobExecutions, S3: b.S3(), S3Transfer: b.S3Transfer, Total: b.Total(), PricesAsOf: table.AsOf, Region: o.sc.Cloud.Region, Usage: u}
	for _, p := range table.Rows {
		out.Prices = append(out.Prices, report.Price{Name: p.Name, USD: p.USD, Per: p.Per, Unit: p.Unit, Upto: p.Upto, Source: p.Source, Date: p.Date, Confirmed: p.Sure})
	}
	return out
}
