package calibrate

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

// prompt is how soon an execution of a device that is always there starts: the
// rollout's notification, the reply, and some room.
const prompt = time.Minute

// A Field is what the executions say about the devices.
type Field struct {
	Executions int
	Always     int // started within a minute of being queued
	Sleepers   int // started later
	Never      int // not started
	Succeeded  int
	Failed     int
	Waits      []float64 // seconds from queued to started, of the sleepers
	Times      []float64 // seconds from started to ended, of those that succeeded
	WaitFits   []Fit     // the best first; none with too few
	TimeFits   []Fit
	Image      int64 // bytes of the update
	Fixed      time.Duration
	Every      time.Duration // between two wakings of a sleeper
	Links      []Link
}

// A Link is a speed and the share of the devices that have it.
type Link struct {
	Share    float64
	Downlink float64 // bits per second
}

// links is how many speeds stand for all.
const links = 5

// Analyse derives the field. image is the size of the update in bytes; fixed the part
// of an update's time that is not download: verification, restart, self-test.
func Analyse(all []Execution, image int64, fixed time.Duration) *Field {
	f := &Field{Executions: len(all), Image: image, Fixed: fixed}
	for i := range all {
		e := &all[i]
		switch {
		case e.Started.IsZero():
			f.Never++
		case e.Started.Sub(e.Queued) <= prompt:
			f.Always++
		default:
			f.Sleepers++
			f.Waits = append(f.Waits, e.Started.Sub(e.Queued).Seconds())
		}
		switch e.Status {
		case "SUCCEEDED":
			f.Succeeded++
			if !e.Started.IsZero() && e.Ended.After(e.Started) {
				f.Times = append(f.Times, e.Ended.Sub(e.Started).Seconds())
			}
		case "FAILED", "REJECTED", "TIMED_OUT":
			f.Failed++
		}
	}
	f.WaitFits, f.TimeFits = Fits(f.Waits), Fits(f.Times)
	if len(f.Waits) > 0 {
		// A sleeper with a phase of its own waits half its period on average.
		sum := 0.0
		for _, w := range f.Waits {
			sum += w
		}
		f.Every = time.Duration(2 * sum / float64(len(f.Waits)) * float64(time.Second)).Round(time.Minute)
	}
	times := slices.Sorted(slices.Values(f.Times))
	for i := range links {
		part := times[len(times)*i/links : len(times)*(i+1)/links]
		if len(part) == 0 {
			continue
		}
		median := part[len(part)/2]
		load := max(median-fixed.Seconds(), median/10, 1e-3)
		f.Links = append(f.Links, Link{float64(len(part)) / float64(len(times)), float64(8*image) / load})
	}
	return f
}

// WriteSummary says what was found.
func (f *Field) WriteSummary(w io.Writer) {
	share := func(n int) string { return fmt.Sprintf("%d (%.1f %%)", n, 100*float64(n)/float64(f.Executions)) }
	fmt.Fprintf(w, "  executions ........: %d\n  always there ......: %s started within %s\n  sleepers ..........: %s started later\n  never there .......: %s\n  succeeded .........: %s   failed %s\n",
		f.Executions, share(f.Always), prompt, share(f.Sleepers), share(f.Never), share(f.Succeeded), share(f.Failed))
	for _, part := range []struct {
		name   string
		values []float64
		fits   []Fit
	}{{"wait of sleepers", f.Waits, f.WaitFits}, {"update time", f.Times, f.TimeFits}} {
		if len(part.fits) == 0 {
			fmt.Fprintf(w, "\n  %s: too few different values for a fit\n", part.name)
			continue
		}
		v := slices.Sorted(slices.Values(part.values))
		fmt.Fprintf(w, "\n  %s: p50 %s   p90 %s   p99 %s   of %d\n", part.name, span(v[len(v)/2]), span(v[len(v)*9/10]), span(v[len(v)*99/100]), len(v))
		for _, fit := range part.fits {
			fmt.Fprintf(w, "    %-12s distance %.3f   p %.3f   p50 %s   p90 %s   p99 %s\n", fit.Name, fit.KS, fit.P, span(fit.Quantile(0.5)), span(fit.Quantile(0.9)), span(fit.Quantile(0.99)))
		}
	}
}

func span(s float64) string {
	d := time.Duration(s * float64(time.Second))
	if d < time.Minute {
		return d.Round(100 * time.Millisecond).String()
	}
	return strings.TrimSuffix(d.Round(time.Second).String(), "0s")
}

// WriteYAML writes the part of a scenario that makes such devices.
func (f *Field) WriteYAML(w io.Writer) {
	fmt.Fprintf(w, "# Fitted to %d job executions of an update of %d bytes.\nfleet:\n  defaults:\n    network: fitted\n", f.Executions, f.Image)
	n := float64(f.Executions)
	type pattern struct {
		share int64 // ppm
		text  string
	}
	var presence []pattern
	add := func(count int, text string) {
		if count > 0 {
			presence = append(presence, pattern{int64(math.Round(1e6 * float64(count) / n)), text})
		}
	}
	add(f.Always, "")
	if f.Every > 2*time.Minute {
		add(f.Sleepers, fmt.Sprintf(", wake: {every: %s, for: %s}", f.Every, max(time.Minute, f.Every/24).Round(time.Second)))
	} else {
		add(f.Sleepers, "")
	}
	add(f.Never, ", off: true")
	if len(presence) > 1 {
		fmt.Fprintln(w, "    presence:")
		left := int64(1e6)
		for i, p := range presence {
			if i == len(presence)-1 {
				p.share = left
			}
			left -= p.share
			fmt.Fprintf(w, "      - {weight: %.4f%%%s}\n", float64(p.share)/1e4, p.text)
		}
	}
	if len(f.Links) > 0 {
		fmt.Fprint(w, "networks:\n  fitted:\n")
		left := int64(1e6)
		for i, l := range f.Links {
			share := int64(math.Round(l.Share * 1e6))
			if i == len(f.Links)-1 {
				share = left
			}
			left -= share
			fmt.Fprintf(w, "    - {weight: %.4f%%, downlink: %.0fbps, uplink: %.0fbps, latency: 50ms, jitter: 20ms}\n", float64(share)/1e4, l.Downlink, max(9600, l.Downlink/4))
		}
	} else {
		fmt.Fprint(w, "networks:\n  fitted: {downlink: 8Mbps, uplink: 2Mbps, latency: 50ms, jitter: 20ms}   # no execution succeeded: a guess\n")
	}
}
