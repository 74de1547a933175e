package flashmodel

// Program clears the cells from addr on that are 0 in src: new = old AND src. The bytes
// are copied.
func (f *Flash) Program(addr uint32, src []byte) error {
	return f.program(addr, src, false)
}

// ProgramShared is Program for a src that never changes afterwards. A sector's worth of
// it that meets an erased sector is not copied but referred to: found by the identity of
// the slice, else by its content after full comparison.
func (f *Flash) ProgramShared(addr uint32, src []byte) error {
	return f.program(addr, src, true)
}

func (f *Flash) program(addr uint32, src []byte, shared bool) error {
	if err := f.check(OpProgram, addr, uint64(len(src))); err != nil {
		return err
	}
	if len(src) == 0 {
		return nil
	}
	if f.st.Watch == nil {
		f.programRange(addr, src, shared)
		return nil
	}
	f.st.Watch.Before(f, OpProgram, addr, uint32(len(src)))
	f.programRange(addr, src, shared)
	f.st.Watch.After(f, OpProgram, addr, src)
	return nil
}

func (f *Flash) programRange(addr uint32, src []byte, shared bool) {
	if !f.slow || f.uneventful(addr, uint32(len(src))) {
		commands, d := f.programCost(addr, uint32(len(src)))
		if f.cutAt == 0 || f.clock+d <= f.cutAt {
			f.clock += d
			f.programs += uint64(commands)
			f.bytes += uint64(len(src))
			f.programCells(addr, src, shared)
			return
		}
	}
	first := addr / SectorSize
	for len(src) > 0 {
		n := f.slicing.nextProgram(addr, uint32(len(src)))
		f.programCommand(addr, src[:n])
		addr, src = addr+n, src[n:]
	}
	for s := first; s <= (addr-1)/SectorSize; s++ {
		f.share(s)
	}
}

// uneventful reports whether nobody interferes with program commands in the range.
func (f *Flash) uneventful(addr, n uint32) bool {
	if f.extra.injector != nil {
		return false
	}
	for _, x := range f.extra.faults {
		if lo, hi := x.overlap(addr, n); x.Kind == FaultProgramFails && lo < hi {
			return false
		}
	}
	return true
}

func (f *Flash) programCells(addr uint32, src []byte, shared bool) {
	for len(src) > 0 {
		sector, off := addr/SectorSize, addr%SectorSize
		n := min(uint32(len(src)), SectorSize-off)
		f.and(sector, off, src[:n], shared)
		addr, src = addr+n, src[n:]
	}
}

// programCommand executes one command of at most one page.
func (f *Flash) programCommand(addr uint32, src []byte) {
	op := Op{
		Index: f.programs + uint64(f.erases), Kind: OpProgram, Addr: addr, Len: uint32(len(src)),
		Start: f.clock, Dur: f.chip.Timing.Program(uint32(len(src))), Data: src,
	}
	t := f.decide(op)
	if t.mode == CutNotStarted {
		f.loseAt(t)
	}
	f.programs++
	f.bytes += uint64(len(src))
	var buf [PageSize]byte
	eff := buf[:copy(buf[:], src)]
	switch t.mode {
	case CutPrefix:
		eff = eff[:min(uint32(len(eff)), t.keep)]
	case CutSubset:
		spare(eff, t.progress, t.seed)
	}
	f.failProgram(op, eff)
	f.andPart(addr/SectorSize, addr%SectorSize, eff)
	if t.mode != CutNone {
		f.loseAt(t)
	}
	f.clock = op.Start + op.Dur
}

// spare sets bits of src to 1, so that programming src only clears the others: each bit
// happens with probability progress/65536.
func spare(src []byte, progress uint32, seed uint64) {
	for i := range src {
		r := seed + 3*uint64(i)
		lo, hi := mix(r), mix(r+1)
		for bit := range 4 {
			if uint32(lo>>(16*bit)&0xffff) >= progress {
				src[i] |= 1 << bit
			}
			if uint32(hi>>(16*bit)&0xffff) >= progress {
				src[i] |= 16 << bit
			}
		}
	}
}
