package flashmodel

// Guard refuses programs and erases that touch a region: what the drivers above the chip
// do for partitions flagged readonly and, in esp-idf components/spi_flash, for the
// bootloader, the partition table and the running application.
type Guard struct {
	Addr, Len uint32
	Dangerous bool // refuse with ErrDangerous instead of ErrReadOnly
}

// SetGuards replaces the guarded regions; nil lifts all. The slice is kept and must not
// change afterwards, so that many chips can share one.
func (f *Flash) SetGuards(guards []Guard) {
	if len(guards) == 0 && f.extra == nil {
		return
	}
	f.extras().guards = guards
}

// check refuses operations that would not reach the chip.
func (f *Flash) check(op OpKind, addr uint32, n uint64) error {
	end := uint64(addr) + n
	if end > uint64(f.chip.Size) {
		return &OpError{op, addr, n, ErrBounds}
	}
	unit := uint32(1)
	switch {
	case op == OpErase:
		unit = SectorSize
	case f.slicing == SliceBootloader:
		unit = 4
	}
	if (addr|uint32(n))&(unit-1) != 0 {
		return &OpError{op, addr, n, ErrAlign}
	}
	if f.extra == nil || n == 0 {
		return nil
	}
	for _, g := range f.extra.guards {
		if uint64(addr) < uint64(g.Addr)+uint64(g.Len) && uint64(g.Addr) < end {
			if g.Dangerous {
				return &OpError{op, addr, n, ErrDangerous}
			}
			return &OpError{op, addr, n, ErrReadOnly}
		}
	}
	return nil
}
