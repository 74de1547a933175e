package flashmodel

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// Page ids with a meaning of their own.
const (
	pageErased  = 0 // 4096 times FF
	pagePrivate = 1 // the content belongs to the chip, see own.private
	firstPage   = 2
)

// limits bound a Store. Past them chips keep what is new for themselves, so that neither
// a fleet of unique contents nor blocks arriving in random order make it grow for ever.
type limits struct {
	sharedPages int // pages received as immutable slices
	copiedPages int // past this many pages only those
	aliases     int // further slices known to hold a page; they keep memory alive
	openLeaves  int // leaves with erased pages
	leaves      int
	sequences   int
	answers     int
}

var usualLimits = limits{
	sharedPages: 1 << 16, copiedPages: 1 << 15, aliases: 1 << 13,
	openLeaves: 1 << 17, leaves: 1 << 18, sequences: 1 << 17, answers: 1 << 16,
}

// maxChain is how many pages may have the same CRC-32: hostile contents stay private.
const maxChain = 8

// Store holds page and leaf contents shared by many chips, and answers remembered about
// them. Equal contents have equal ids. Ids depend on the order of events and never show:
// no answer of a Flash depends on them.
//
// A Store belongs to one goroutine, together with all its chips.
type Store struct {
	DisableMemo bool // Remember computes every time: same answers, more work
	// Watch is told of every program and erase on the chips of the store; nil: nobody is.
	Watch       Watcher
	FreshSlices bool // no slice comes twice, as blocks from sockets do not: none is kept alive for its identity

	limits limits

	pages   []page
	byCRC   map[uint32]uint32 // CRC-32 of the content: first page of the chain
	ident   map[slice]uint32
	aliases int
	seen    []uint32 // CRC-32s of contents met once, a cache

	leaves    []leaf
	byHash    []uint32 // open addressing, leaf id + 1
	memo      []transition
	sequences map[sequence]uint64
	lastSeq   uint64
	answers   map[question]any

	buf [SectorSize]byte // where a chip builds a content before it is looked up
}

// Watcher looks on while chips are written. It may read them, not write. After is not
// called when the power fails on the way; src is nil for an erase.
type Watcher interface {
	Before(f *Flash, kind OpKind, addr, n uint32)
	After(f *Flash, kind OpKind, addr uint32, src []byte)
}

// page is a content without its trailing FF bytes.
type page struct {
	data  []byte
	crc   uint32
	next  uint32 // page of equal CRC-32
	alias slice  // the immutable slice that data is part of, if any
}

// slice identifies immutable memory. A slice in the table is kept alive by it, so its
// address cannot come back with other bytes.
type slice struct {
	first *byte
	n     int
}

// NewStore returns an empty store.
func NewStore() *Store {
	st := &Store{
		limits: usualLimits,
		pages:  make([]page, firstPage, 64),
		byCRC:  map[uint32]uint32{},
		ident:  map[slice]uint32{},
		seen:   make([]uint32, 1<<12),
		leaves: make([]leaf, 1, 64),
		byHash: make([]uint32, 1<<8),
		memo:   make([]transition, 1<<12),

		sequences: map[sequence]uint64{},
		answers:   map[question]any{},
	}
	st.leaves[0].hash = emptyLeafHash
	st.index(0)
	return st
}

// StoreStats is the population of a Store.
type StoreStats struct {
	Pages, Leaves int
	PageBytes     int // contents without trailing FF
}

// Stats counts what the Store holds.
func (st *Store) Stats() StoreStats {
	s := StoreStats{Pages: len(st.pages) - firstPage, Leaves: len(st.leaves)}
	for i := range st.pages {
		s.PageBytes += len(st.pages[i].data)
	}
	return s
}

// trim cuts trailing FF bytes off.
func trim(b []byte) []byte {
	n := len(b)
	for n >= 8 && binary.LittleEndian.Uint64(b[n-8:]) == ^uint64(0) {
		n -= 8
	}
	for n > 0 && b[n-1] == 0xff {
		n--
	}
	return b[:n]
}

// find looks a trimmed content up.
func (st *Store) find(content []byte) (id, crc uint32, ok bool) {
	if len(content) == 0 {
		return pageErased, 0, true
	}
	crc = crc32.ChecksumIEEE(content)
	for id = st.byCRC[crc]; id != 0; id = st.pages[id].next {
		if bytes.Equal(st.pages[id].data, content) {
			return id, crc, true
		}
	}
	return 0, crc, false
}

// admit makes content, which nobody will change, a page.
func (st *Store) admit(content []byte, crc uint32, limit int) (uint32, bool) {
	if len(st.pages) >= limit {
		return 0, false
	}
	depth := 0
	for id := st.byCRC[crc]; id != 0; id = st.pages[id].next {
		depth++
	}
	if depth >= maxChain {
		return 0, false
	}
	id := uint32(len(st.pages))
	st.pages = append(st.pages, page{data: content, crc: crc, next: st.byCRC[crc]})
	st.byCRC[crc] = id
	return id, true
}

// metBefore tells a content that a second chip reaches from one that is unique.
func (st *Store) metBefore(crc uint32) bool {
	slot := &st.seen[crc%uint32(len(st.seen))]
	if *slot == crc {
		return true
	}
	*slot = crc
	return false
}

// shared is the page that holds an immutable slice of at most SectorSize bytes.
func (st *Store) shared(src []byte) (uint32, bool) {
	key := slice{&src[0], len(src)}
	if id, ok := st.ident[key]; ok {
		return id, true
	}
	content := trim(src)
	id, crc, ok := st.find(content)
	if ok && st.FreshSlices {
		return id, true
	}
	if ok {
		st.makeRoom(key)
		st.ident[key] = id
		return id, true
	}
	if id, ok = st.admit(content, crc, st.limits.sharedPages); ok {
		st.pages[id].alias = key
		st.ident[key] = id
	}
	return id, ok
}

// makeRoom counts one more alias; past the limit it forgets all others.
func (st *Store) makeRoom(key slice) {
	if st.aliases < st.limits.aliases {
		st.aliases++
		return
	}
	clear(st.ident)
	st.aliases = 1
	for id := range st.pages {
		if a := st.pages[id].alias; a.first != nil && a != key {
			st.ident[a] = uint32(id)
		}
	}
}
