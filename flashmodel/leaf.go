package flashmodel

const (
	leafPages   = 32
	leafSpan    = leafPages * SectorSize
	leafPrivate = 1 << 31 // flag in Flash.leaves
)

// leaf is the page ids of 128 KiB. Its hash is the XOR of one hash per place, so the hash
// of a changed leaf follows from the change.
type leaf struct {
	hash    uint64
	page    [leafPages]uint32
	private bool // some page is pagePrivate
	open    bool // some page is erased
}

// transition remembers what one leaf becomes when one page changes.
type transition struct {
	leaf, page, index, next uint32
}

var emptyLeafHash = hashLeaf(new([leafPages]uint32))

func hashLeaf(p *[leafPages]uint32) (h uint64) {
	for i, id := range p {
		h ^= placeHash(uint32(i), id)
	}
	return h
}

func placeHash(index, id uint32) uint64 { return mix(uint64(index)<<32 | uint64(id)) }

// mix scatters the bits of x: the finalizer of splitmix64. Zero is not a fixed point.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// with is the leaf that l becomes when pages lo to hi-1 become id.
func (st *Store) with(l, lo, hi, id uint32) (uint32, bool) {
	if hi-lo != 1 {
		return st.compute(l, lo, hi, id)
	}
	t := &st.memo[uint32(mix(uint64(l)<<32|uint64(id))^uint64(lo))%uint32(len(st.memo))]
	if t.leaf == l && t.page == id && t.index == lo && t.next != 0 {
		return t.next - 1, true
	}
	next, ok := st.compute(l, lo, hi, id)
	if ok {
		*t = transition{leaf: l, page: id, index: lo, next: next + 1}
	}
	return next, ok
}

func (st *Store) compute(l, lo, hi, id uint32) (uint32, bool) {
	changed := st.leaves[l].page
	h := st.leaves[l].hash
	for i := lo; i < hi; i++ {
		h ^= placeHash(i, changed[i]) ^ placeHash(i, id)
		changed[i] = id
	}
	return st.leafOf(&changed, h)
}

// leafOf is the leaf with these pages, a new one if there is room.
func (st *Store) leafOf(p *[leafPages]uint32, h uint64) (uint32, bool) {
	mask := uint64(len(st.byHash) - 1)
	i := h & mask
	for ; st.byHash[i] != 0; i = (i + 1) & mask {
		if l := st.byHash[i] - 1; st.leaves[l].hash == h && st.leaves[l].page == *p {
			return l, true
		}
	}
	n := leaf{hash: h, page: *p}
	for _, id := range p {
		n.private = n.private || id == pagePrivate
		n.open = n.open || id == pageErased
	}
	if len(st.leaves) >= st.limits.leaves || n.open && len(st.leaves) >= st.limits.openLeaves {
		return 0, false
	}
	st.leaves = append(st.leaves, n)
	l := uint32(len(st.leaves) - 1)
	if 2*len(st.leaves) > len(st.byHash) {
		st.byHash = make([]uint32, 2*len(st.byHash))
		for l := range st.leaves {
			st.index(uint32(l))
		}
		return l, true
	}
	st.byHash[i] = l + 1
	return l, true
}

// index enters a leaf that is not in the table.
func (st *Store) index(l uint32) {
	mask := uint64(len(st.byHash) - 1)
	i := st.leaves[l].hash & mask
	for st.byHash[i] != 0 {
		i = (i + 1) & mask
	}
	st.byHash[i] = l + 1
}

// pageID is the page of a sector.
func (f *Flash) pageID(sector uint32) uint32 {
	l := f.leaves[sector/leafPages]
	if l&leafPrivate != 0 {
		return f.extra.leaves[l&^leafPrivate][sector%leafPages]
	}
	return f.st.leaves[l].page[sector%leafPages]
}

// setPages makes n sectors hold page id. Private pages among them are the caller's care.
func (f *Flash) setPages(sector, n, id uint32) {
	for n > 0 {
		lo := sector % leafPages
		k := min(n, leafPages-lo)
		f.setLeaf(sector/leafPages, lo, lo+k, id)
		sector, n = sector+k, n-k
	}
}

func (f *Flash) setLeaf(i, lo, hi, id uint32) {
	l := f.leaves[i]
	if l&leafPrivate == 0 {
		next, ok := f.st.with(l, lo, hi, id)
		if ok {
			f.leaves[i] = next
			return
		}
		own := f.st.leaves[l].page
		l = f.extras().addLeaf(&own)
		f.leaves[i] = l
	}
	own := f.extra.leaves[l&^leafPrivate]
	for j := lo; j < hi; j++ {
		own[j] = id
	}
	if next, ok := f.st.leafOf(own, hashLeaf(own)); ok {
		f.leaves[i] = next
		f.extra.leaves[l&^leafPrivate] = nil
	}
}

func (e *extra) addLeaf(p *[leafPages]uint32) uint32 {
	for i, l := range e.leaves {
		if l == nil {
			e.leaves[i] = p
			return uint32(i) | leafPrivate
		}
	}
	e.leaves = append(e.leaves, p)
	return uint32(len(e.leaves)-1) | leafPrivate
}
