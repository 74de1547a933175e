package flashmodel

// RegionKey identifies the content of a region within its Store: equal keys mean equal
// bytes and equal lengths. Unequal keys mean nothing. Comparable.
type RegionKey struct {
	seq uint64
	off uint32 // of the region in its first sector
	n   uint32
}

// sequence is a sequence of ids one longer than another.
type sequence struct {
	before uint64
	id     uint32
	leaf   bool // id is a leaf, else a page
}

// question is what an answer belongs to.
type question struct {
	what string
	addr uint32
	key  RegionKey
}

// Key is the identity of the n bytes at addr. It is not available while reads of the
// region could answer anything but its cells (unstable sectors, read faults), or while a
// sector of it is private and the Store has no room to share it.
func (f *Flash) Key(addr, n uint32) (RegionKey, bool) { return f.key(addr, n, true) }

// key is Key; without promote a private sector has none.
func (f *Flash) key(addr, n uint32, promote bool) (RegionKey, bool) {
	if uint64(addr)+uint64(n) > uint64(f.chip.Size) || n == 0 {
		return RegionKey{}, false
	}
	if f.slow && f.unsafe(addr, n) {
		return RegionKey{}, false
	}
	key := RegionKey{off: addr % SectorSize, n: n}
	last := (addr + n - 1) / SectorSize
	for s := addr / SectorSize; s <= last; {
		l := f.leaves[s/leafPages]
		if s%leafPages == 0 && last-s >= leafPages-1 && l&leafPrivate == 0 && !f.st.leaves[l].private {
			key.seq = f.st.longer(sequence{key.seq, l, true})
			s += leafPages
			continue
		}
		id := f.pageID(s)
		if id == pagePrivate {
			if !promote {
				return RegionKey{}, false
			}
			var ok bool
			if id, ok = f.promote(s); !ok {
				return RegionKey{}, false
			}
		}
		key.seq = f.st.longer(sequence{key.seq, id, false})
		s++
	}
	return key, true
}

// unsafe reports whether reads of the region may differ from its cells.
func (f *Flash) unsafe(addr, n uint32) bool {
	e := f.extra
	i, _ := f.searchUnstable(addr / SectorSize)
	if i < len(e.unstable) && e.unstable[i].sector <= (addr+n-1)/SectorSize {
		return true
	}
	for _, x := range e.faults {
		if x.touches(addr, n) {
			return true
		}
	}
	return false
}

// promote moves a private page to the Store.
func (f *Flash) promote(sector uint32) (uint32, bool) {
	p := &f.own.private[f.own.find(sector)]
	id, crc, ok := f.st.find(p.data)
	if !ok {
		id, ok = f.st.admit(p.data, crc, f.st.limits.copiedPages)
	}
	if ok {
		f.setPage(sector, id)
	}
	return id, ok
}

// longer numbers sequences. Numbers are never used again, so the table can be emptied.
func (st *Store) longer(s sequence) uint64 {
	if id, ok := st.sequences[s]; ok {
		return id
	}
	if len(st.sequences) >= st.limits.sequences {
		clear(st.sequences)
		clear(st.answers)
	}
	st.lastSeq++
	st.sequences[s] = st.lastSeq
	return st.lastSeq
}

// Remember returns compute(), or what it returned for the same what, addr, n and the same
// bytes on any chip of the Store. The answer must follow from these alone and must not be
// changed by whoever gets it; what must name everything else that matters, and the type.
func Remember[T any](f *Flash, what string, addr, n uint32, compute func() T) T {
	return remember(f, what, addr, n, true, compute)
}

// RememberShared is Remember for what hardly two chips have in common: a region with a sector that is the chip's own is
// not made known to others, and the answer is computed.
func RememberShared[T any](f *Flash, what string, addr, n uint32, compute func() T) T {
	return remember(f, what, addr, n, false, compute)
}

func remember[T any](f *Flash, what string, addr, n uint32, promote bool, compute func() T) T {
	if f.st.DisableMemo {
		return compute()
	}
	key, ok := f.key(addr, n, promote)
	if !ok {
		return compute()
	}
	q := question{what, addr, key}
	if answer, ok := f.st.answers[q].(T); ok {
		return answer
	}
	answer := compute()
	if len(f.st.answers) >= f.st.limits.answers {
		clear(f.st.answers)
	}
	f.st.answers[q] = answer
	return answer
}
