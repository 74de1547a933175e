package nvs

import (
	"errors"
	"math"
	"slices"

	"github.com/otasim/otasim/flashmodel"
)

// Options are what Open needs to know beside the place.
type Options struct {
	Keys     *Keys // nil: entries are plain
	ReadOnly bool  // the readonly flag of the partition table: nothing is repaired or written

	// SpareChunks keeps the chunks of an old blob when power failed after the
	// chunks of its new value and before their index, as the library of
	// ESP-IDF v4.2 does. That of v4.4.8, v5.2 and later takes the new chunk for
	// a duplicate of the old one, erases that, and both values are lost.
	SpareChunks bool
}

// Partition is an opened NVS partition: what the library of the device holds
// in RAM. Every flash operation happens in the order of the real code, so that
// after a power cut (a panic with flashmodel.PowerLost, after which this value
// must be dropped) the flash holds what the real one would. It belongs to one
// goroutine.
type Partition struct {
	nor  flashmodel.NOR
	addr uint32
	Options

	pages      []page
	order      []*page // numbered pages, the current one last
	free       []*page // the first one is used next
	seq        uint32  // of the next page
	namespaces []namespace
	taken      [256]bool // namespace indices
}

type namespace struct {
	name  string
	index uint8
}

// Open reads the partition at [addr, addr+size) and repairs what a power cut
// left behind. ErrNoFreePages and ErrNewVersionFound are the two results upon
// which applications erase the partition, and with it the identity of the
// device.
//
// Source: espressif/esp-idf v5.5 components/nvs_flash/src/nvs_storage.cpp,
// nvs_pagemanager.cpp, nvs_page.cpp.
func Open(n flashmodel.NOR, addr, size uint32) (*Partition, Err) {
	return OpenWith(n, addr, size, Options{})
}

// OpenWith is Open with options.
func OpenWith(n flashmodel.NOR, addr, size uint32, o Options) (*Partition, Err) {
	p := &Partition{nor: n, addr: addr, Options: o}
	if last := uint64(addr) + uint64(size) - 1; size == 0 || last > math.MaxUint32 {
		return nil, ErrInvalidArg
	}
	var b [1]byte
	if err := p.readRaw(size-1, b[:]); err != OK {
		return nil, err
	}
	p.pages = make([]page, size/PageSize)
	if err := p.loadPages(); err != OK {
		return nil, err
	}
	if err := p.loadNamespaces(); err != OK {
		return nil, err
	}
	p.dropBrokenBlobs()
	return p, OK
}

// Erase erases the partition (nvs_flash_erase_partition). size is a multiple of
// PageSize.
func Erase(n flashmodel.NOR, addr, size uint32) Err { return errOf(n.Erase(addr, size)) }

func errOf(err error) Err {
	switch {
	case err == nil:
		return OK
	case errors.Is(err, flashmodel.ErrReadOnly):
		return ErrNotAllowed
	}
	return ErrFlashOpFail
}

func (p *Partition) readRaw(at uint32, b []byte) Err { return errOf(p.nor.Read(p.addr+at, b)) }

func (p *Partition) read(at uint32, b []byte) Err {
	err := p.readRaw(at, b)
	if err == OK && p.Keys != nil {
		p.Keys.decrypt(b, at)
	}
	return err
}

func (p *Partition) writeRaw(at uint32, b []byte) Err {
	if p.ReadOnly {
		return ErrNotAllowed
	}
	return errOf(p.nor.Program(p.addr+at, b))
}

func (p *Partition) write(at uint32, b []byte) Err {
	if p.Keys != nil {
		b = slices.Clone(b)
		p.Keys.encrypt(b, at)
	}
	return p.writeRaw(at, b)
}

func (p *Partition) eraseRange(at, n uint32) Err {
	if p.ReadOnly {
		return ErrNotAllowed
	}
	return errOf(p.nor.Erase(p.addr+at, n))
}

func (p *Partition) current() *page { return p.order[len(p.order)-1] }

func (p *Partition) loadPages() Err {
	for i := range p.pages {
		g := &p.pages[i]
		if err := g.load(p, uint32(i)); err != OK {
			return err
		}
		if !g.numbered() {
			p.free = append(p.free, g)
			continue
		}
		at := slices.IndexFunc(p.order, func(o *page) bool { return o.seq > g.seq })
		if at < 0 {
			at = len(p.order)
		}
		p.order = slices.Insert(p.order, at, g)
	}
	if len(p.order) == 0 {
		return p.activate()
	}
	p.seq = p.current().seq + 1
	if p.ReadOnly {
		return OK
	}
	p.dropDuplicate()
	if err := p.finishFreeing(); err != OK {
		return err
	}
	if len(p.free) == 0 {
		return ErrNoFreePages
	}
	return OK
}

// dropDuplicate erases the older value of the key that was written last: power
// may have failed between writing the new value and erasing the old one.
func (p *Partition) dropDuplicate() {
	newest := p.current()
	var item entry
	found := false
	all := query{ns: anyNamespace, t: anyType, anyKey: true, chunk: anyChunk, first: anyChunk}
	for from := 0; ; {
		at, err := newest.find(all, from, &item)
		if err != OK {
			break
		}
		from, found = at+item.span(), true
	}
	if !found {
		return
	}
	erase := func(t Type) bool {
		q := query{ns: item.namespace(), t: t, key: string(item.keyBytes()), chunk: item.chunk(), first: anyChunk}
		for _, g := range p.order[:len(p.order)-1] {
			if g.state != stateFreeing && g.eraseItem(q) == OK {
				return true
			}
		}
		return false
	}
	if t := item.kind(); !erase(t) && t == blobIndex {
		erase(Blob) // a blob of the old form that became one of the new form
	}
}

// finishFreeing repeats the copying of a page that was being freed.
func (p *Partition) finishFreeing() Err {
	i := slices.IndexFunc(p.order, func(g *page) bool { return g.state == stateFreeing })
	if i < 0 {
		return OK
	}
	victim := p.order[i]
	if last := p.current(); last.state == stateActive {
		if err := last.erase(); err != OK {
			return err
		}
		p.order = p.order[:len(p.order)-1]
		p.free = append(p.free, last)
	}
	return p.move(victim, anyCount)
}

// anyCount lets move copy any number of entries.
const anyCount = -1

// move copies the items of a page, used entries, to a new one and frees it.
func (p *Partition) move(victim *page, used int) Err {
	if err := p.activate(); err != OK {
		return err
	}
	if err := victim.copyTo(p.current()); err != OK && err != ErrNotFound {
		return err
	}
	if err := victim.erase(); err != OK {
		return err
	}
	if used != anyCount && used != int(p.current().used) {
		return ErrFail
	}
	p.order = slices.DeleteFunc(p.order, func(g *page) bool { return g == victim })
	p.free = append(p.free, victim)
	return OK
}

// newPage makes another page the current one: a free one as long as two are
// left, otherwise one that takes the live items of the page with the least.
func (p *Partition) newPage() Err {
	switch len(p.free) {
	case 0:
		return ErrNVSInvalidState
	case 1:
	default:
		return p.activate()
	}
	var victim *page
	most := uint32(0)
	for _, g := range p.order {
		if unused := EntryCount - uint32(g.used); unused > most {
			victim, most = g, unused
		}
	}
	if victim == nil {
		return ErrNotEnoughSpace
	}
	used := victim.used
	if err := victim.markFreeing(); err != OK {
		return err
	}
	return p.move(victim, int(used))
}

// activate takes the first free page. Its header is written with its first item.
func (p *Partition) activate() Err {
	if len(p.free) == 0 {
		return ErrNotEnoughSpace
	}
	g := p.free[0]
	if g.state == stateCorrupt {
		if err := g.erase(); err != OK {
			return err
		}
	}
	p.free = slices.Delete(p.free, 0, 1)
	p.order = append(p.order, g)
	if g.state == stateUninitialized {
		g.seq = p.seq
	}
	p.seq++
	return OK
}

func (p *Partition) loadNamespaces() Err {
	q := query{ns: 0, t: U8, anyKey: true, chunk: anyChunk, first: anyChunk}
	var item entry
	for _, g := range p.order {
		for from := 0; ; {
			at, err := g.find(q, from, &item)
			if err != OK {
				break
			}
			p.namespaces = append(p.namespaces, namespace{string(item.keyBytes()), item[24]})
			p.taken[item[24]] = true
			from = at + item.span()
		}
	}
	p.taken[0], p.taken[255] = true, true
	return OK
}

// find looks through the pages in their order.
func (p *Partition) find(q query, item *entry) (*page, int, Err) {
	for _, g := range p.order {
		if at, err := g.find(q, 0, item); err == OK {
			return g, at, OK
		}
	}
	return nil, 0, ErrNotFound
}

func itemQuery(ns uint8, t Type, key string) query {
	return query{ns: ns, t: t, key: key, chunk: anyChunk, first: anyChunk}
}

// set writes a value and then erases the old one, whatever its type. A value
// that is there already is not written again.
func (p *Partition) set(ns uint8, t Type, key string, data []byte) Err {
	var old entry
	sameType := t
	if t == Blob {
		sameType = blobIndex
	}
	home, at, err := p.find(itemQuery(ns, sameType, key), &old)
	known := err == OK
	if !known {
		home, at, _ = p.find(itemQuery(ns, anyType, key), &old)
	}
	seq := uint32(0)
	if home != nil {
		seq = home.seq
	}
	if t == Blob {
		next := uint8(0)
		if known {
			if p.compareBlob(ns, key, data) == OK {
				return OK
			}
			switch old.firstChunk() {
			case 0:
				next = secondVersion
			case secondVersion:
			default:
				return ErrFail
			}
		}
		switch err := p.writeBlob(ns, key, data, next); err {
		case OK:
		case ErrPageFull:
			return ErrNotEnoughSpace
		default:
			return err
		}
	} else {
		if known && home.compare(itemQuery(ns, t, key), data) == OK {
			return OK
		}
		if err := p.writeItem(ns, t, key, data); err != OK {
			return err
		}
	}
	switch {
	case home == nil:
		return OK
	case old.kind() == blobIndex:
		err = p.eraseBlob(ns, key, old.firstChunk())
	default:
		// Making room may have moved the old value to another page.
		if home.state != stateActive && home.state != stateFull || home.seq != seq {
			if home, at, err = p.find(itemQuery(ns, old.kind(), key), &old); err != OK {
				return err
			}
		}
		err = home.eraseItemAt(at)
	}
	if err == ErrFlashOpFail {
		return ErrRemoveFailed
	}
	return err
}

// writeItem writes an item that fits one page.
func (p *Partition) writeItem(ns uint8, t Type, key string, data []byte) Err {
	g := p.current()
	err := g.writeItem(ns, t, key, data, anyChunk)
	if err != ErrPageFull {
		return err
	}
	if g.state != stateFull {
		if err := g.markFull(); err != OK {
			return err
		}
	}
	if err := p.newPage(); err != OK {
		return err
	}
	if err = p.current().writeItem(ns, t, key, data, anyChunk); err == ErrPageFull {
		return ErrNotEnoughSpace
	}
	return err
}

// size is the number of content bytes of a string or blob.
func (p *Partition) size(ns uint8, t Type, key string) (int, Err) {
	var item entry
	if t == Blob {
		if _, _, err := p.find(itemQuery(ns, blobIndex, key), &item); err == OK {
			return int(item.indexSize()), OK
		}
	}
	if _, _, err := p.find(itemQuery(ns, t, key), &item); err != OK {
		return 0, err
	}
	return item.dataSize(), OK
}

func (p *Partition) get(ns uint8, t Type, key string, dst []byte) Err {
	if t == Blob {
		if err := p.readBlob(ns, key, dst); err != ErrNotFound {
			return err
		}
	}
	var item entry
	g, _, err := p.find(itemQuery(ns, t, key), &item)
	if err != OK {
		return err
	}
	return g.readItem(itemQuery(ns, t, key), dst)
}

func (p *Partition) eraseKey(ns uint8, key string) Err {
	var item entry
	g, at, err := p.find(itemQuery(ns, anyType, key), &item)
	switch {
	case err != OK:
		return err
	case item.kind() == blobIndex:
		return p.eraseBlob(ns, key, item.firstChunk())
	}
	return g.eraseItemAt(at)
}

func (p *Partition) eraseNamespace(ns uint8) Err {
	q := query{ns: ns, t: anyType, anyKey: true, chunk: anyChunk, first: anyChunk}
	for _, g := range p.order {
		for {
			err := g.eraseItem(q)
			if err == ErrNotFound {
				break
			}
			if err != OK {
				return err
			}
		}
	}
	return OK
}
