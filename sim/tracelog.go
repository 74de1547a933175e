package sim

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/otasim/otasim/device"
)

// traceLine is one line of the text trace: what one device printed on its console,
// or what happened to it.
type traceLine struct {
	at   time.Duration
	id   int32
	n    int // order among the lines of one device
	text string
}

// console takes a line that a device prints; it is only hooked in when a trace is
// asked for, and changes nothing else.
func (sh *shard) console(_ *device.Device, now time.Duration, line func() string) {
	if a := sh.stepping; a != nil {
		sh.note(a, now, line())
	}
}

// note adds a line to the trace, if there is one.
func (sh *shard) note(a *actor, now time.Duration, text string) {
	if sh.w.opt.Trace != nil {
		sh.lines = append(sh.lines, traceLine{now, a.id, len(sh.lines), a.name + " " + text})
	}
}

// writeTrace writes the lines of an epoch in the order of virtual time, then of
// devices: the same for any number of workers.
func (w *world) writeTrace() {
	var all []traceLine
	for _, sh := range w.shards {
		all = append(all, sh.lines...)
		sh.lines = sh.lines[:0]
	}
	slices.SortFunc(all, func(a, b traceLine) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.id, b.id), cmp.Compare(a.n, b.n))
	})
	for _, l := range all {
		if _, err := fmt.Fprintf(w.opt.Trace, "%14.6f %s\n", l.at.Seconds(), l.text); err != nil && w.traceErr == nil {
			w.traceErr = err
		}
	}
}
