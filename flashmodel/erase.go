package flashmodel

// Erase makes n bytes at addr FF; both are multiples of SectorSize.
func (f *Flash) Erase(addr, n uint32) error {
	if err := f.check(OpErase, addr, uint64(n)); err != nil {
		return err
	}
	if n == 0 {
		return nil
	}
	if f.st.Watch == nil {
		f.eraseRange(addr, n)
		return nil
	}
	f.st.Watch.Before(f, OpErase, addr, n)
	f.eraseRange(addr, n)
	f.st.Watch.After(f, OpErase, addr, nil)
	return nil
}

func (f *Flash) eraseRange(addr, n uint32) {
	if !f.slow {
		commands, d := f.eraseCost(addr, n)
		if f.cutAt == 0 || f.clock+d <= f.cutAt {
			f.clock += d
			f.erases += commands
			f.eraseCells(addr/SectorSize, n/SectorSize)
			return
		}
	}
	for n > 0 {
		k := f.slicing.nextErase(addr, n)
		f.eraseCommand(addr, k)
		addr, n = addr+k, n-k
	}
}

// eraseCells erases n sectors completely.
func (f *Flash) eraseCells(sector, n uint32) {
	f.sectors += n
	o := f.owned()
	worn := o.wear.add(sector, n) > f.chip.Endurance
	if len(o.private) > 0 {
		o.drop(sector, n)
	}
	f.setPages(sector, n, pageErased)
	if worn {
		for s := sector; s < sector+n; s++ {
			f.wearOut(s)
		}
	}
}

// eraseCommand executes one command of SectorSize or BlockSize.
func (f *Flash) eraseCommand(addr, n uint32) {
	op := Op{
		Index: f.programs + uint64(f.erases), Kind: OpErase, Addr: addr, Len: n,
		Start: f.clock, Dur: f.chip.Timing.Erase(n),
	}
	t := f.decide(op)
	if t.mode == CutNotStarted {
		f.loseAt(t)
	}
	f.erases++
	last := addr/SectorSize + n/SectorSize
	for s := addr / SectorSize; s < last; s++ {
		if f.eraseFails(op, s) {
			f.sectors++
			f.owned().wear.add(s, 1)
			continue
		}
		if t.mode == CutPrefix && (s+1)*SectorSize-addr > t.keep {
			break
		}
		f.settle(s)
		f.eraseCells(s, 1)
		switch t.mode {
		case CutEraseZeroed, CutEraseNoise, CutEraseLooksDone:
			f.tearErase(s, t)
		}
		f.wornFault(s)
	}
	if t.mode != CutNone {
		f.loseAt(t)
	}
	f.clock = op.Start + op.Dur
}

// tearErase leaves an erased sector as an interrupted erase does.
func (f *Flash) tearErase(sector uint32, t tear) {
	if t.mode == CutEraseLooksDone {
		f.setUnstable(sector, t.seed)
		return
	}
	buf := f.st.buf[:]
	clear(buf)
	if t.mode == CutEraseNoise {
		noise(buf, mix(t.seed)+uint64(sector)<<32)
		f.setUnstable(sector, t.seed)
	}
	f.setContent(sector, buf, false)
}
