package nvs

import (
	"bytes"
	"slices"
)

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
	var step int
	for i := start; i < min(g.next, EntryCount); i += step {
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
		if verdict := q.matches(item); verdict != ErrNotFound {
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
		var err Err
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
