package device

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/device/firmware"
	"github.com/otasim/otasim/device/script"
)

// checked are the invariants that a witness looks at.
var checked = []int{7, 8, 9, 11, 12, 22, 23, 25}

// witness watches the life of a device: what starts, what it says, what it erases. It trusts nothing that the device keeps in
// RAM but which image runs.
type witness struct {
	b       *bench
	broken  []script.Violation
	steps   int
	boots   uint32 // seen so far
	tries   int    // boots of the image on trial since it was activated
	lost    int    // power cuts at the latest start
	started time.Duration
	trial   bool
	version string
	old     string // version that must start next, if any
}

// rollbackTime is the RTC watchdog's 90 s and what comes around it: a handshake that is finished first (1.9 s), a second without
// power, a boot in which the 2022 port erases the refused image (4.8 s).
const rollbackTime = 100 * time.Second

func (w *witness) violate(n int, format string, args ...any) {
	if len(w.broken) < 16 {
		w.broken = append(w.broken, script.Violation{Step: w.steps, Invariant: n, What: fmt.Sprintf(format, args...)})
	}
}

// unexcused are the violations that the profile is not known for.
func (w *witness) unexcused(p *agent.Profile) (bad []script.Violation) {
	for _, v := range w.broken {
		if script.Invariants[v.Invariant-1].Excuse(p) == "" {
			bad = append(bad, v)
		}
	}
	return bad
}

// point is called from inside the device.
func (w *witness) point(d *Device, _ time.Duration, p Point, _ int) {
	switch p {
	case PointOtadataProgram:
		w.tries = 0
	case PointSlotErase:
		if r, ok := d.Running(); ok && r.Trial && !r.Confirmed {
			w.violate(7, "the slot of the older firmware is erased during the trial of %s", r.Version)
		}
	}
}

// stepped is called after each step, with what the device sent.
func (w *witness) stepped(ops []NetOp) {
	w.steps++
	d := w.b.d
	r, ok := d.Running()
	if ok && d.boots != w.boots {
		w.boot(d, r)
	}
	for _, op := range ops {
		if job, update := strings.CutPrefix(op.Topic, "$aws/things/lamp-1/jobs/"); op.Kind == OpPublish && update && strings.HasSuffix(job, "/update") {
			w.status(strings.TrimSuffix(job, "/update"), op.Payload, r)
		}
	}
}

// boot notes which image started.
func (w *witness) boot(d *Device, r Running) {
	if w.trial && w.b.lost == w.lost && w.started+rollbackTime < d.BusyUntil() && !r.Trial && r.Version != w.version {
		w.violate(25, "the rollback from %s took %v", w.version, d.BusyUntil()-w.started)
	}
	if r.Trial {
		if w.tries++; w.tries > 1 {
			w.violate(8, "%s starts for the %d. time on trial", r.Version, w.tries)
		}
	}
	if w.old != "" && r.Version != w.old {
		w.violate(11, "%s was rejected and starts again", r.Version)
	}
	w.boots, w.trial, w.version, w.started, w.lost, w.old = d.boots, r.Trial, r.Version, d.BusyUntil(), w.b.lost, ""
}

// status checks what the device says about a job.
func (w *witness) status(job string, payload []byte, r Running) {
	if job != w.b.cloud.job {
		w.violate(9, "%q: %s", job, payload)
	}
	text := string(payload)
	if _, by, ok := strings.Cut(text, `"self_test":"`); ok {
		_, by, _ = strings.Cut(by, `"updatedBy":"0x`)
		if by = strings.TrimLeft(strings.TrimRight(by, `"}`), "0"); by != fmt.Sprintf("%x", r.Number) {
			w.violate(12, "%s, but %s runs", text, r.Version)
		}
	}
	switch {
	case bytes.HasPrefix(payload, succeeded):
		if r.Trial && !r.Confirmed {
			w.violate(11, "%s while the image is on trial", text)
		}
		_, says, _ := strings.Cut(text, `"accepted `)
		if says, _, _ = strings.Cut(strings.TrimLeft(says, " v"), `"`); says != firmware.VersionText(r.Number) {
			w.violate(12, "%s, but %s runs", text, r.Version)
		}
	case bytes.HasPrefix(payload, failed) && r.Trial && !r.Confirmed && strings.Contains(text, `"rejected: `):
		w.old = "1.0.0"
	}
}

// rest is called when nothing happens any more.
func (w *witness) rest() {
	d := w.b.d
	r, ok := d.Running()
	switch {
	case !ok || d.Phase() == PhaseBricked:
		w.violate(7, "nothing runs: %v", d.Phase())
		return
	case r.Trial && !r.Confirmed:
		w.violate(25, "a trial without end")
	case w.b.cloud.status == "SUCCEEDED" && r.Version != "1.1.0":
		w.violate(11, "SUCCEEDED, and %s runs", r.Version)
	}
	a := d.Agent()
	if a.State == agent.Stopped || a.State == agent.NotReady || d.old() && !d.Connected() {
		return // the demo of 2018 never connects again: no network, no end
	}
	if a.State == agent.CreatingFile || a.State == agent.RequestingFileBlock || a.State == agent.WaitingForFileBlock || a.State == agent.Active {
		w.violate(22, "%v, %d blocks remain", a.State, a.Remaining)
	}
	if !w.b.cloud.terminal {
		w.violate(23, "%s in %v: %v", w.b.cloud.job, a.State, w.b.cloud.history)
	}
}

// The witness sees what no release does: a second trial, a trial without end, a slow rollback.
func TestWitness(t *testing.T) {
	l := newLife(t)
	b := l.play(t, agent.Ideal, firmware.Pass, nil)
	require.Empty(t, b.eyes.broken)
	w, trial := b.eyes, Running{Version: "1.1.0", Trial: true}
	w.tries = 0
	w.boot(b.d, trial)
	require.Empty(t, w.broken)
	w.boot(b.d, trial)
	require.Equal(t, 8, w.broken[0].Invariant)
	b.d.busy += rollbackTime + time.Second
	w.boot(b.d, Running{Version: "1.0.0"})
	require.Equal(t, 25, w.broken[1].Invariant)
	b.d.ram.running.Trial, b.d.ram.running.Confirmed = true, false
	w.rest()
	require.Equal(t, 25, w.broken[2].Invariant)
	w.old = "0.9.0"
	w.boot(b.d, Running{Version: "1.0.0"})
	require.Equal(t, 11, w.broken[len(w.broken)-1].Invariant)
}
