package fuzz_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/sim/check"
	"github.com/otasim/otasim/sim/fuzz"
)

func TestTwoSlots(t *testing.T) { fuzz.Run(t, target) }

func FuzzTwoSlots(f *testing.F) { fuzz.Add(f, target) }

// wrong is twoSlots with something wrong.
type wrong struct {
	twoSlots
	boot    func(flashmodel.NOR) (int, error)
	install func(flashmodel.NOR, int, fuzz.Blocks) error
	confirm func(flashmodel.NOR, int) error
}

func (w *wrong) Boot(f flashmodel.NOR) (int, error) {
	if w.boot != nil {
		return w.boot(f)
	}
	return w.twoSlots.Boot(f)
}

func (w *wrong) Install(f flashmodel.NOR, running int, b fuzz.Blocks) error {
	if w.install != nil {
		return w.install(f, running, b)
	}
	return w.twoSlots.Install(f, running, b)
}

func (w *wrong) Confirm(f flashmodel.NOR, running int) error {
	if w.confirm != nil {
		return w.confirm(f, running)
	}
	return w.twoSlots.Confirm(f, running)
}

// TestTeeth breaks the example in one way for each invariant.
func TestTeeth(t *testing.T) {
	for id, w := range map[string]wrong{
		check.RunningSlot: {install: func(f flashmodel.NOR, running int, _ fuzz.Blocks) error {
			return f.Erase(target.Slots[running].At, flashmodel.SectorSize)
		}},
		check.OwnSlot: {confirm: func(f flashmodel.NOR, _ int) error { return f.Erase(0, flashmodel.SectorSize) }},
		check.BlankCells: {install: func(f flashmodel.NOR, running int, b fuzz.Blocks) error {
			data, err := b.Block(0)
			if err != nil {
				return err
			}
			at := target.Slots[1-running].At
			if err := f.Program(at, make([]byte, 16)); err != nil {
				return err
			}
			return f.Program(at, data)
		}},
		check.Bootable:      {boot: func(flashmodel.NOR) (int, error) { return 0, errNothing }},
		check.VerifiedBytes: {boot: func(flashmodel.NOR) (int, error) { return 1, nil }},
		check.Liveness:      {install: func(flashmodel.NOR, int, fuzz.Blocks) error { return nil }},
		check.SelfTestFirst: {boot: func(f flashmodel.NOR) (int, error) {
			r := read(f)
			for _, x := range r {
				if x.good {
					return int(x.slot), nil
				}
			}
			return 0, nil
		}, confirm: func(flashmodel.NOR, int) error { return errNothing }},
	} {
		broken := target
		broken.New = func() fuzz.Logic { return &w }
		var got string
		broken.Sweep(func(_ fuzz.Plan, b *check.Breach) bool {
			got = b.Invariant
			return false
		})
		require.Equal(t, id, got)
	}
}

func TestDecode(t *testing.T) {
	require.Empty(t, fuzz.Decode(nil).Cuts)
	p := fuzz.Decode([]byte{3, 10, 1, 2, 7, 9, 0, 0, 255, 1, 1})
	require.Equal(t, fuzz.Plan{Lost: 3, Cuts: []fuzz.Cut{{N: 266, Mode: flashmodel.CutSubset, Keep: 7, Seed: 9}, {N: 267, Mode: p.Cuts[1].Mode, Keep: 1, Seed: 1}}}, p)
}

// TestPlanIsGo: what a failing test prints is the case in Go.
func TestPlanIsGo(t *testing.T) {
	p := fuzz.Plan{Cuts: []fuzz.Cut{{N: 3, Mode: flashmodel.CutSubset, Seed: 2}, {N: 9, Mode: flashmodel.CutPrefix, Keep: 4}}, Lost: 5}
	require.Equal(t, "fuzz.Plan{Cuts: []fuzz.Cut{{N: 3, Mode: flashmodel.CutSubset, Seed: 2}, {N: 9, Mode: flashmodel.CutPrefix, Keep: 4}}, Lost: 0x5}", p.String())
	require.Equal(t, "fuzz.Plan{}", fuzz.Plan{}.String())
	hasty := target
	hasty.New = func() fuzz.Logic { return &twoSlots{hasty: true} }
	hasty.Sweep(func(p fuzz.Plan, b *check.Breach) bool {
		require.Equal(t, b, hasty.Check(p))
		return false
	})
}
