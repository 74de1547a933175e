package nvs

import (
	"bytes"
	"encoding/binary"
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
// half done and removes the older of two values of one key. Like the original
// it goes on when some of the erasing fails.
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
	var span int
	for i := 0; i < min(g.next, EntryCount); i += span {
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
				_ = g.eraseItemAt(i)
				continue
			}
		}
		if older < i {
			_ = g.eraseItemAt(older)
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
			_ = g.eraseItemAt(i)
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
