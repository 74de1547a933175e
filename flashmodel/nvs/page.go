package nvs

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// noEntry stands for "no such entry"; it is larger than any index.
const noEntry = 1 << 30

// stateInvalid is the state of a page after a refused flash operation.
const stateInvalid uint32 = 0

// Entry states.
const (
	entryErased  = 0
	entryIllegal = 1
	entryWritten = 2
	entryEmpty   = 3
)

const anyNamespace = 0xFF

// page is what the library knows of a page in RAM.
type page struct {
	p       *Partition
	base    uint32 // offset in the partition
	state   uint32
	seq     uint32
	version uint8
	states  [8]uint32 // entry states, 16 a word
	next    int       // first entry that was never written
	first   int       // first written entry
	used    uint16    // written entries; damaged flash can make it wrap
	index   []node    // written items in the order in which they were seen
}

// node finds an item by a hash of namespace, key and chunk number.
type node struct {
	hash uint32
	at   int
}

// query says which item is looked for.
type query struct {
	ns     uint8 // anyNamespace
	t      Type  // anyType
	key    string
	anyKey bool
	chunk  uint8 // anyChunk
	first  uint8 // first chunk number that a blob index must name; anyChunk
}

func (g *page) entryState(i int) int {
	return int(g.states[i/16] >> (i % 16 * 2) & 3)
}

func (g *page) setState(i, state int) {
	shift := i % 16 * 2
	g.states[i/16] = g.states[i/16]&^(3<<shift) | uint32(state)<<shift
}

func (g *page) address(i int) uint32 { return g.base + entriesOffset + uint32(i)*EntrySize }

// fails marks the page unusable after a refused flash operation.
func (g *page) fails(err Err) Err {
	if err != OK {
		g.state = stateInvalid
	}
	return err
}

func (g *page) load(p *Partition, sector uint32) Err {
	*g = page{p: p, base: sector * PageSize, seq: 0xFFFFFFFF, version: version2, next: noEntry, first: noEntry}
	var h [EntrySize]byte
	if err := p.readRaw(g.base, h[:]); err != OK {
		return err
	}
	state := binary.LittleEndian.Uint32(h[:])
	switch {
	case state == stateUninitialized:
		empty, err := g.isErased()
		if err != OK {
			return err
		}
		g.state = stateUninitialized
		if !empty {
			g.state = stateCorrupt
		}
	case binary.LittleEndian.Uint32(h[28:]) != checksum(h[4:28]):
		g.state = stateCorrupt
	default:
		g.state = state
		g.seq = binary.LittleEndian.Uint32(h[4:])
		if h[8] < version2 {
			return ErrNewVersionFound
		}
		g.version = h[8]
	}
	switch g.state {
	case stateUninitialized:
		return OK
	case stateActive:
		if err := g.loadStates(); err != OK {
			return err
		}
		return g.loadActive()
	case stateFull, stateFreeing:
		if err := g.loadStates(); err != OK {
			return err
		}
		return g.loadFull()
	}
	g.state = stateCorrupt
	return OK
}

func (g *page) isErased() (bool, Err) {
	var b [512]byte
	for at := uint32(0); at < PageSize; at += uint32(len(b)) {
		if err := g.p.readRaw(g.base+at, b[:]); err != OK {
			return false, err
		}
		if !bytes.Equal(b[:], erasedPage[:len(b)]) {
			return false, OK
		}
	}
	return true, OK
}

func (g *page) loadStates() Err {
	var b [EntrySize]byte
	if err := g.fails(g.p.readRaw(g.base+statesOffset, b[:])); err != OK {
		return err
	}
	for i := range g.states {
		g.states[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	for i := range EntryCount {
		if g.entryState(i) == entryWritten {
			g.first = min(g.first, i)
			g.used++
		}
	}
	return OK
}

// loadActive finds the end of the written entries, drops what a power cut left
// half done and removes the older of two values of one key.
func (g *page) loadActive() Err {
	for i := range EntryCount {
		if g.entryState(i) == entryEmpty {
			g.next = i
			break
		}
	}
	// Power may have failed between an entry and its state bits.
	for g.next < EntryCount {
		var head [4]byte
		if err := g.fails(g.p.readRaw(g.address(g.next), head[:])); err != OK {
			return err
		}
		if binary.LittleEndian.Uint32(head[:]) == 0xFFFFFFFF {
			break
		}
		was := g.entryState(g.next)
		if err := g.fails(g.alter(g.next, entryErased)); err != OK {
			return err
		}
		g.next++
		if was == entryWritten {
			g.used--
		}
	}
	var item entry
	last := noEntry
	for i, span := 0, 1; i < min(g.next, EntryCount); i += span {
		span = 1
		switch g.entryState(i) {
		case entryErased:
			last = noEntry
			continue
		case entryIllegal:
			last = noEntry
			if err := g.fails(g.eraseItemAt(i)); err != OK {
				return err
			}
			continue
		}
		last = i
		if err := g.fails(g.readEntry(i, &item)); err != OK {
			return err
		}
		if !item.consistent(i) {
			if err := g.fails(g.eraseItemAt(i)); err != OK {
				return err
			}
			continue
		}
		g.insert(&item, i)
		older := g.lookup(0, item.hash())
		if item.kind().variable() {
			span = item.span()
			if !g.allWritten(i, span) {
				last = noEntry
				g.eraseItemAt(i)
				continue
			}
		}
		if older < i {
			g.eraseItemAt(older)
		}
	}
	if last == noEntry || g.p.SpareChunks && item.kind() == blobData {
		return OK
	}
	var dup entry
	q := query{ns: item.namespace(), t: item.kind(), key: string(item.keyBytes()), chunk: anyChunk, first: anyChunk}
	if at, err := g.find(q, 0, &dup); err == OK && at < last {
		return g.fails(g.eraseItemAt(at))
	}
	return OK
}

func (g *page) loadFull() Err {
	var item entry
	for i := g.first; i < EntryCount; i++ {
		if g.entryState(i) != entryWritten {
			continue
		}
		if err := g.fails(g.readEntry(i, &item)); err != OK {
			return err
		}
		if !item.consistent(i) {
			if err := g.fails(g.eraseItemAt(i)); err != OK {
				return err
			}
			continue
		}
		g.insert(&item, i)
		span := item.span()
		if item.kind().variable() && !g.allWritten(i+1, span-1) {
			g.eraseItemAt(i)
		}
		i += span - 1
	}
	return OK
}

func (g *page) allWritten(from, n int) bool {
	for i := from; i < from+n; i++ {
		if g.entryState(i) != entryWritten {
			return false
		}
	}
	return true
}

func (g *page) insert(e *entry, at int) { g.index = append(g.index, node{e.hash(), at}) }

func (g *page) forget(at int) {
	if i := slices.IndexFunc(g.index, func(n node) bool { return n.at == at }); i >= 0 {
		g.index = slices.Delete(g.index, i, i+1)
	}
}

// lookup returns the first item from start on with the hash, or noEntry.
func (g *page) lookup(start int, hash uint32) int {
	for _, n := range g.index {
		if n.at >= start && n.hash == hash {
			return n.at
		}
	}
	return noEntry
}

// consistent reports whether the entry at index i can be what it says.
func (e *entry) consistent(i int) bool {
	if e.storedCRC() != e.crc() {
		return false
	}
	switch e.kind() {
	case U8, I8, U16, I16, U32, I32, U64, I64:
		return e.span() == 1
	case blobIndex:
		const maxBlob = 127 * MaxChunk
		return e.span() == 1 && e.chunk() == anyChunk && e.indexSize() <= maxBlob
	case String, Blob, blobData:
		if e.kind() == blobData && e.chunk() == anyChunk {
			return false
		}
		return e.span() <= EntryCount-i && e.span() == entriesFor(e.dataSize())+1
	}
	return false
}

func (g *page) readEntry(i int, e *entry) Err {
	if i >= EntryCount {
		return ErrFail
	}
	return g.p.read(g.address(i), e[:])
}

// alter changes the state of one entry.
func (g *page) alter(i, state int) Err {
	if i >= EntryCount {
		return ErrFail
	}
	g.setState(i, state)
	return g.fails(g.writeStates(i / 16))
}

// alterRange changes the states of entries, the last ones first, word by word.
func (g *page) alterRange(from, to, state int) Err {
	for i := to - 1; i >= from; i-- {
		g.setState(i, state)
		if i == from || i/16 != (i-1)/16 {
			if err := g.writeStates(i / 16); err != OK {
				return err
			}
		}
	}
	return OK
}

func (g *page) writeStates(word int) Err {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], g.states[word])
	return g.p.writeRaw(g.base+statesOffset+uint32(word)*4, b[:])
}

func (g *page) alterPage(state uint32) Err {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], state)
	if err := g.fails(g.p.writeRaw(g.base, b[:])); err != OK {
		return err
	}
	g.state = state
	return OK
}

func (g *page) markFull() Err {
	if g.state != stateActive {
		return ErrNVSInvalidState
	}
	return g.alterPage(stateFull)
}

func (g *page) markFreeing() Err {
	if g.state != stateFull && g.state != stateActive {
		return ErrNVSInvalidState
	}
	return g.alterPage(stateFreeing)
}

// initialize writes the header of an erased page.
func (g *page) initialize() Err {
	g.state = stateActive
	var h [EntrySize]byte
	putHeader(h[:], stateActive, g.seq, g.version)
	if err := g.fails(g.p.writeRaw(g.base, h[:])); err != OK {
		return err
	}
	g.next = 0
	for i := range g.states {
		g.states[i] = 0xFFFFFFFF
	}
	return OK
}

func (g *page) erase() Err {
	if err := g.fails(g.p.eraseRange(g.base, PageSize)); err != OK {
		return err
	}
	g.used = 0
	g.first, g.next = noEntry, noEntry
	g.state = stateUninitialized
	g.index = g.index[:0]
	return OK
}

// numbered reports whether the page takes part in the order of pages.
func (g *page) numbered() bool {
	return g.state != stateUninitialized && g.state != stateInvalid && g.state != stateCorrupt
}

// tailroom is the content that a blob chunk could have on this page.
func (g *page) tailroom() int {
	switch {
	case g.state == stateUninitialized:
		return MaxChunk
	case g.state == stateFull || g.next >= EntryCount-1:
		return 0
	}
	return (EntryCount - g.next - 1) * EntrySize
}

// writeEntry writes one entry, then its state.
func (g *page) writeEntry(e *entry) Err {
	if g.next >= EntryCount {
		return ErrFail
	}
	if err := g.fails(g.p.write(g.address(g.next), e[:])); err != OK {
		return err
	}
	if err := g.alter(g.next, entryWritten); err != OK {
		return err
	}
	if g.first == noEntry {
		g.first = g.next
	}
	g.used++
	g.next++
	return OK
}

// writeContent writes whole entries of content, then their states.
func (g *page) writeContent(b []byte) Err {
	n := len(b) / EntrySize
	if err := g.fails(g.p.write(g.address(g.next), b)); err != OK {
		return err
	}
	if err := g.alterRange(g.next, g.next+n, entryWritten); err != OK {
		return err
	}
	g.used += uint16(n)
	g.next += n
	return OK
}

// writeItem writes an item with its content: first the entry that describes
// it, then whole entries of content, then the rest.
func (g *page) writeItem(ns uint8, t Type, key string, data []byte, chunk uint8) Err {
	if g.state == stateInvalid {
		return ErrNVSInvalidState
	}
	if g.state == stateUninitialized {
		if err := g.initialize(); err != OK {
			return err
		}
	}
	switch {
	case g.state == stateFull:
		return ErrPageFull
	case len(key) > MaxKey:
		return ErrKeyTooLong
	case len(data) > MaxChunk:
		return ErrValueTooLong
	}
	span := 1
	if t.variable() {
		span += entriesFor(len(data))
	}
	if g.next == noEntry || g.next+span > EntryCount {
		return ErrPageFull
	}
	e := newEntry(ns, t, uint8(span), key, chunk)
	g.insert(&e, g.next)
	if !t.variable() {
		copy(e[24:], data)
		e.seal()
		return g.writeEntry(&e)
	}
	e.setContent(data)
	e.seal()
	if err := g.writeEntry(&e); err != OK {
		return err
	}
	whole := len(data) &^ (EntrySize - 1)
	if whole > 0 {
		if err := g.writeContent(data[:whole]); err != OK {
			return err
		}
	}
	if whole == len(data) {
		return OK
	}
	copy(e[:], erasedPage)
	copy(e[:], data[whole:])
	return g.writeEntry(&e)
}

// find returns the index of the first item from the index from on that the
// query describes, and the item. A wrong type is told from no item at all. The
// item is overwritten by every entry that is read on the way. What cannot be an
// item is erased.
func (g *page) find(q query, from int, item *entry) (int, Err) {
	if !g.numbered() || from >= EntryCount {
		return 0, ErrNotFound
	}
	start := g.first
	if from > g.first {
		start = from
	}
	if q.ns != anyNamespace && !q.anyKey && (q.t != blobData || q.chunk != anyChunk) {
		like := newEntry(q.ns, q.t, 0, q.key, q.chunk)
		if start = g.lookup(start, like.hash()); start >= EntryCount {
			return 0, ErrNotFound
		}
	}
	for i, step := start, 1; i < min(g.next, EntryCount); i += step {
		step = 1
		if g.entryState(i) != entryWritten {
			continue
		}
		if err := g.fails(g.readEntry(i, item)); err != OK {
			return 0, err
		}
		if !item.consistent(i) {
			if err := g.fails(g.eraseItemAt(i)); err != OK {
				return 0, err
			}
			continue
		}
		if item.kind().variable() {
			step = item.span()
		}
		switch verdict := q.matches(item); verdict {
		case ErrNotFound:
		default:
			return i, verdict
		}
	}
	return 0, ErrNotFound
}

// matches says OK, ErrTypeMismatch, or ErrNotFound if the search goes on.
func (q query) matches(e *entry) Err {
	k := e.kind()
	switch {
	case q.ns != anyNamespace && e.namespace() != q.ns,
		!q.anyKey && !sameKey(q.key, e),
		q.t == blobData && q.chunk != anyChunk && e.chunk() != q.chunk,
		q.t == blobData && q.chunk == anyChunk && k != blobData:
		return ErrNotFound
	case q.t == Blob && q.chunk == anyChunk && k == blobIndex:
		return ErrTypeMismatch
	case q.t == Blob && q.chunk == anyChunk && k == blobData,
		q.t == blobIndex && e.chunk() != anyChunk,
		q.t == blobIndex && q.first != anyChunk && e.firstChunk() != q.first:
		return ErrNotFound
	case q.t == anyType || k == q.t:
		return OK
	case q.anyKey && q.ns == anyNamespace && q.chunk == anyChunk:
		return ErrNotFound
	}
	return ErrTypeMismatch
}

// sameKey compares as many bytes as a key can have.
func sameKey(key string, e *entry) bool {
	k := e.keyBytes()
	return string(k[:min(len(k), MaxKey)]) == key[:min(len(key), MaxKey)]
}

// readContent reads the content of the item at index i into dst. An item whose
// content is damaged is erased.
func (g *page) readContent(e *entry, i int, dst []byte) Err {
	if g.state == stateInvalid {
		return ErrNVSInvalidState
	}
	left := dst[:e.dataSize()]
	var part entry
	for k := i + 1; k < i+e.span(); k++ {
		if err := g.readEntry(k, &part); err != OK {
			return err
		}
		left = left[copy(left, part[:]):]
	}
	if checksum(dst[:e.dataSize()]) == e.dataCRC() {
		return OK
	}
	if err := g.eraseItemAt(i); err != OK {
		return err
	}
	return ErrNotFound
}

// readItem reads an item into dst, which is large enough or the item is left.
func (g *page) readItem(q query, dst []byte) Err {
	if g.state == stateInvalid {
		return ErrNVSInvalidState
	}
	var e entry
	i, err := g.find(q, 0, &e)
	if err != OK {
		return err
	}
	if !q.t.variable() {
		copy(dst, e[24:24+q.t.width()])
		return OK
	}
	if len(dst) < e.dataSize() {
		return ErrInvalidLength
	}
	return g.readContent(&e, i, dst)
}

// compare reports by OK that the stored item equals data.
func (g *page) compare(q query, data []byte) Err {
	if g.state == stateInvalid {
		return ErrNVSInvalidState
	}
	var e entry
	i, err := g.find(q, 0, &e)
	if err != OK {
		return err
	}
	if !q.t.variable() {
		if !bytes.Equal(data, e[24:24+q.t.width()]) {
			return ErrContentDiffers
		}
		return OK
	}
	if len(data) < e.dataSize() {
		return ErrInvalidLength
	}
	data = data[:e.dataSize()]
	// Empty content always counts as different: the original compares a
	// checksum that it has not computed.
	if len(data) == 0 || checksum(data) != e.dataCRC() {
		return ErrContentDiffers
	}
	var part entry
	for k := i + 1; k < i+e.span(); k++ {
		if err := g.readEntry(k, &part); err != OK {
			return err
		}
		n := min(len(data), EntrySize)
		if !bytes.Equal(data[:n], part[:n]) {
			return ErrContentDiffers
		}
		data = data[n:]
	}
	return OK
}

func (g *page) eraseItem(q query) Err {
	var e entry
	i, err := g.find(q, 0, &e)
	if err != OK {
		return err
	}
	return g.eraseItemAt(i)
}

// eraseItemAt marks the item at an index erased: all its entries if it can be
// trusted, else only this one.
func (g *page) eraseItemAt(i int) Err {
	span := 1
	if g.entryState(i) != entryWritten {
		if err := g.alter(i, entryErased); err != OK {
			return err
		}
	} else {
		var e entry
		if err := g.readEntry(i, &e); err != OK {
			return err
		}
		g.forget(i)
		if e.consistent(i) {
			span = e.span()
		}
		for k := i; k < i+span; k++ {
			if g.entryState(k) == entryWritten {
				g.used--
			}
		}
		err := OK
		if span == 1 {
			err = g.alter(i, entryErased)
		} else {
			err = g.alterRange(i, i+span, entryErased)
		}
		if err != OK {
			return err
		}
	}
	if i == g.first {
		g.first = noEntry
		for k := i + span; k < min(g.next, EntryCount); k++ {
			if g.entryState(k) == entryWritten {
				g.first = k
				break
			}
		}
	}
	if i+span > g.next {
		g.next = i + span
	}
	return OK
}

// copyTo copies all items to another page, entry by entry.
func (g *page) copyTo(other *page) Err {
	if g.first == noEntry {
		return ErrNotFound
	}
	if other.state == stateUninitialized {
		if err := other.initialize(); err != OK {
			return err
		}
	}
	var e entry
	for i := g.first; i < EntryCount; {
		if g.entryState(i) != entryWritten {
			i++
			continue
		}
		if err := g.readEntry(i, &e); err != OK {
			return err
		}
		other.insert(&e, other.next)
		if err := other.writeEntry(&e); err != OK {
			return err
		}
		end := i + e.span()
		if end > EntryCount {
			return ErrFail
		}
		for k := i + 1; k < end; k++ {
			if err := g.readEntry(k, &e); err != OK {
				return err
			}
			if err := other.writeEntry(&e); err != OK {
				return err
			}
		}
		i = end
	}
	return OK
}
