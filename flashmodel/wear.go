package flashmodel

import "slices"

// wear counts erase cycles. A step holds for all sectors from its own to the next step's;
// sectors before the first step have none. Slots are erased in one go, so few steps tell
// the history of most chips.
type wear []wearStep

type wearStep struct{ sector, cycles uint32 }

func (w wear) at(sector uint32) uint32 {
	i, found := w.search(sector)
	if found {
		return w[i].cycles
	}
	if i == 0 {
		return 0
	}
	return w[i-1].cycles
}

func (w wear) search(sector uint32) (int, bool) {
	return slices.BinarySearchFunc(w, sector, func(s wearStep, t uint32) int { return int(s.sector) - int(t) })
}

// split makes a step begin at sector and returns its index.
func (w *wear) split(sector uint32) int {
	i, found := w.search(sector)
	if !found {
		*w = slices.Insert(*w, i, wearStep{sector, w.at(sector)})
	}
	return i
}

// add counts one cycle for n sectors and returns the highest count among them.
func (w *wear) add(sector, n uint32) uint32 {
	return w.update(sector, n, func(cycles uint32) uint32 {
		if cycles == ^uint32(0) {
			return cycles
		}
		return cycles + 1
	})
}

func (w *wear) update(sector, n uint32, next func(uint32) uint32) (highest uint32) {
	lo := w.split(sector)
	hi := w.split(sector + n)
	for i := lo; i < hi; i++ {
		(*w)[i].cycles = next((*w)[i].cycles)
		highest = max(highest, (*w)[i].cycles)
	}
	// Only the two ends can have become equal to their neighbours, or, after a set, all between.
	before := uint32(0)
	if lo > 0 {
		before = (*w)[lo-1].cycles
	}
	keep := (*w)[:lo]
	for i := lo; i < len(*w); i++ {
		s := (*w)[i]
		if i <= hi && s.cycles == before {
			continue
		}
		keep, before = append(keep, s), s.cycles
	}
	*w = keep
	return highest
}

// Wear is the number of erase cycles of the sector that holds addr; 0 outside the chip.
func (f *Flash) Wear(addr uint32) uint32 {
	if f.own == nil || addr >= f.chip.Size {
		return 0
	}
	return f.own.wear.at(addr / SectorSize)
}

// MaxWear is the number of erase cycles of the most worn sector.
func (f *Flash) MaxWear() uint32 {
	highest := uint32(0)
	if f.own != nil {
		for _, s := range f.own.wear {
			highest = max(highest, s.cycles)
		}
	}
	return highest
}

// SetWear ages the sectors that [addr, addr+n) touches, as if they had been erased that often.
func (f *Flash) SetWear(addr, n, cycles uint32) error {
	end := uint64(addr) + uint64(n)
	if end > uint64(f.chip.Size) {
		return &OpError{OpErase, addr, uint64(n), ErrBounds}
	}
	if n > 0 {
		first, last := addr/SectorSize, uint32(end-1)/SectorSize
		f.owned().wear.update(first, last-first+1, func(uint32) uint32 { return cycles })
	}
	return nil
}
