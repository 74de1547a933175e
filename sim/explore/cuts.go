package explore

import (
	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/flashmodel"
)

// modes are the ways to cut one command: every named mode, the random ones with so many seeds, and prefixes
// at both ends and in the middle.
func modes(dst []flashmodel.Cut, op *flashmodel.Op, seeds int, dense bool) []flashmodel.Cut {
	dst = append(dst, flashmodel.Cut{Mode: flashmodel.CutNotStarted})
	if op.Kind == flashmodel.OpErase {
		dst = append(dst, flashmodel.Cut{Mode: flashmodel.CutEraseZeroed})
		if op.Len > flashmodel.SectorSize {
			dst = append(dst, flashmodel.Cut{Mode: flashmodel.CutPrefix, Keep: op.Len / 2})
		}
	} else {
		last := uint32(0)
		if dense {
			for last = 1; last < op.Len; last++ {
				dst = append(dst, flashmodel.Cut{Mode: flashmodel.CutPrefix, Keep: last})
			}
		}
		for _, keep := range [...]uint32{1, 4, op.Len / 2, op.Len - min(op.Len, 4), op.Len - 1} {
			if keep > last && keep < op.Len {
				dst = append(dst, flashmodel.Cut{Mode: flashmodel.CutPrefix, Keep: keep})
				last = keep
			}
		}
	}
	for seed := range uint64(seeds) {
		if op.Kind == flashmodel.OpErase {
			dst = append(dst, flashmodel.Cut{Mode: flashmodel.CutEraseNoise, Seed: seed}, flashmodel.Cut{Mode: flashmodel.CutEraseLooksDone, Seed: seed})
		} else {
			dst = append(dst, flashmodel.Cut{Mode: flashmodel.CutSubset, Seed: seed})
		}
	}
	return append(dst, flashmodel.Cut{Mode: flashmodel.CutDone})
}

// tearer is an injector that tears the first command it is asked about.
type tearer struct{ cut flashmodel.Cut }

func (t *tearer) BeforeOp(flashmodel.Op) flashmodel.Cut { return t.cut }

// survivor is what is left of a device whose power fails in a command that is about to
// be executed: an independent device without power. Called from an injector.
func (t *tearer) survivor(d *device.Device, op *flashmodel.Op) *device.Device {
	s := d.Survivor(nil)
	f := s.Flash()
	f.SetInjector(t)
	flashmodel.LosesPower(func() {
		if op.Kind == flashmodel.OpErase {
			_ = f.Erase(op.Addr, op.Len) // the command was accepted when the device gave it
		} else {
			_ = f.Program(op.Addr, op.Data)
		}
	})
	f.SetInjector(nil)
	return s
}
