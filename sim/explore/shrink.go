package explore

import (
	"slices"
	"time"

	"github.com/otasim/otasim/flashmodel"
)

// maxShrink bounds the runs that a failure is worth.
const maxShrink = 120

// Shrink looks for fewer and simpler acts that break the same invariant in a whole run. A failure that was seen at a
// boot after a cut keeps its acts if the whole run breaks nothing.
func (e *Explorer) Shrink(f Failure) (Failure, error) {
	runs := 0
	breaks := func(acts []Act) (Failure, bool, error) {
		if runs++; runs > maxShrink {
			return f, false, nil
		}
		return e.breaks(f, acts)
	}
	best := f
	for changed := true; changed; {
		changed = false
		for _, acts := range simpler(best.Acts) {
			g, ok, err := breaks(acts)
			if err != nil {
				return f, err
			}
			if ok {
				best, changed = g, true
				break
			}
		}
	}
	return best, nil
}

// breaks runs a case and reports whether it is the same failure.
func (e *Explorer) breaks(f Failure, acts []Act) (Failure, bool, error) {
	r, err := e.Run(acts, nil)
	if err != nil {
		return f, false, err
	}
	for _, b := range r.Found {
		if b.Invariant == f.Invariant && b.Device == f.Device {
			g := r.failure(&b, acts)
			g.Count, g.Sets, g.Seed = f.Count, f.Sets, f.Seed
			return g, g.Known == f.Known, nil
		}
	}
	return f, false, nil
}

// simpler are the lists next to acts that are simpler: one act less, or one act made plainer.
func simpler(acts []Act) (out [][]Act) {
	for i := range acts {
		out = append(out, slices.Delete(slices.Clone(acts), i, i+1))
	}
	with := func(i int, a Act) {
		if a != acts[i] {
			l := slices.Clone(acts)
			l[i] = a
			out = append(out, l)
		}
	}
	for i, a := range acts {
		switch a.Kind {
		case Cut, Off:
			if a.By != DefaultOff {
				b := a
				b.By = DefaultOff
				with(i, b)
			}
			if a.Kind == Cut && a.Mode != flashmodel.CutDone && a.Mode != flashmodel.CutNotStarted {
				for _, m := range []flashmodel.CutMode{flashmodel.CutDone, flashmodel.CutNotStarted} {
					with(i, Act{Kind: Cut, Device: a.Device, N: a.N, Mode: m, By: a.By})
				}
				if a.Seed > 0 {
					b := a
					b.Seed = 0
					with(i, b)
				}
			}
		case Dup, Late:
			b := a
			b.Kind, b.By = Drop, 0
			with(i, b)
			for _, by := range []time.Duration{time.Second, 10 * time.Second} {
				if by < a.By {
					b := a
					b.By = by
					with(i, b)
				}
			}
		}
	}
	return out
}
