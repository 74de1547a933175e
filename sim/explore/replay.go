package explore

import (
	"context"
	"errors"

	"github.com/otasim/otasim/sim/report"
)

// Replay runs a case again with a recorder. changed lets it run on a scenario file that has changed.
func (c *Case) Replay(ctx context.Context, r *Recorder, changed bool) (*Report, error) {
	sc, err := c.Load()
	if err != nil && (sc == nil || !changed || !errors.Is(err, ErrChanged)) {
		return nil, err
	}
	acts, err := ParseActs(c.Acts)
	if err != nil {
		return nil, err
	}
	e, err := newExplorer(ctx, *c, sc)
	if err != nil {
		return nil, err
	}
	return e.Replay(acts, r)
}

// Device is the number of a thing in the run, -1 if there is none.
func (r *Report) Device(thing string) int {
	for i := range r.player.units {
		if r.player.units[i].board.Thing == thing {
			return i
		}
	}
	return -1
}

// Thing is the name of a device.
func (r *Report) Thing(device int) string { return r.player.units[device].board.Thing }

// Known names the known limit that a breach is, "" for none.
func (r *Report) Known(f *Found) string {
	u := &r.player.units[f.Device]
	return known(f.Invariant, f.Detail, u.board.Profile, u.evidence)
}

// Struck says what each act of a case struck, in their order; "" for one that did not take place.
func (r *Report) Struck(acts []Act) []string {
	out := make([]string, len(acts))
	for i := range r.player.units {
		u := &r.player.units[i]
		for j, a := range u.fired {
			for k := range acts {
				if b := acts[k]; out[k] == "" && a.Kind == b.Kind && a.Device == b.Device && a.N == b.N && a.At == b.At && a.Up == b.Up {
					out[k] = u.did[j]
					break
				}
			}
		}
	}
	return out
}

// Failed lists the scenario's own assertions that do not hold.
func (r *Report) Failed() (out []report.Assertion) {
	for _, a := range r.Outcome.Assertions {
		if !a.Holds && a.Severity == "" {
			out = append(out, a)
		}
	}
	return out
}
