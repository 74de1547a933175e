package flashmodel

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// private is the content of a sector that no other chip shares, without trailing FF.
type private struct {
	data     []byte
	sector   uint32
	borrowed bool // data may be in use by another chip: copy before writing
}

func (o *own) search(sector uint32) (int, bool) {
	return slices.BinarySearchFunc(o.private, sector, func(p private, s uint32) int { return int(p.sector) - int(s) })
}

// find is the index of a sector that is known to be private.
func (o *own) find(sector uint32) int {
	i, _ := o.search(sector)
	return i
}

// drop forgets the private pages of n sectors.
func (o *own) drop(sector, n uint32) {
	lo, _ := o.search(sector)
	hi, _ := o.search(sector + n)
	o.private = slices.Delete(o.private, lo, hi)
	if len(o.private) == 0 {
		o.private = nil
	}
}

// setPage makes one sector hold a page of the Store.
func (f *Flash) setPage(sector, id uint32) {
	if f.own != nil && len(f.own.private) > 0 {
		f.own.drop(sector, 1)
	}
	f.setPages(sector, 1, id)
}

// setContent makes one sector hold a content; buf stays the caller's. With admit, a
// content that the Store does not know becomes a page of it at once.
func (f *Flash) setContent(sector uint32, buf []byte, admit bool) {
	content := trim(buf)
	id, crc, ok := f.st.find(content)
	if !ok && (f.st.metBefore(crc) || admit) {
		id, ok = f.st.admit(bytes.Clone(content), crc, f.st.limits.copiedPages)
	}
	if ok {
		f.setPage(sector, id)
		return
	}
	o := f.owned()
	i, found := o.search(sector)
	if found {
		o.private[i] = private{data: bytes.Clone(content), sector: sector}
		return
	}
	o.private = slices.Insert(o.private, i, private{data: bytes.Clone(content), sector: sector})
	f.setPages(sector, 1, pagePrivate)
}

// and programs src into a sector: new = old AND src. With shared, src never changes.
func (f *Flash) and(sector, off uint32, src []byte, shared bool) {
	id := f.pageID(sector)
	if id == pageErased && off == 0 && shared {
		if id, ok := f.st.shared(src); ok {
			f.setPages(sector, 1, id)
			return
		}
	}
	src = trim(src)
	if len(src) == 0 {
		return
	}
	if id != pagePrivate {
		var buf [SectorSize]byte
		old := f.st.pages[id].data
		n := max(len(old), int(off)+len(src))
		fill(buf[copy(buf[:], old):n])
		andBytes(buf[off:], src)
		f.setContent(sector, buf[:n], false)
		return
	}
	p := &f.own.private[f.own.find(sector)]
	p.grow(int(off) + len(src))
	andBytes(p.data[off:], src)
	p.data = trim(p.data)
	if id, crc, ok := f.st.find(p.data); ok {
		f.setPage(sector, id)
	} else if f.st.metBefore(crc) {
		if id, ok := f.st.admit(p.data, crc, f.st.limits.copiedPages); ok {
			f.setPage(sector, id)
		}
	}
}

// grow makes data writable and at least n bytes long.
func (p *private) grow(n int) {
	n = max(n, len(p.data))
	if p.borrowed || n > cap(p.data) {
		const step = 256
		room := n
		if len(p.data) > 0 {
			room = min((n+step-1)/step*step, SectorSize) // written a little at a time
		}
		p.data = append(make([]byte, 0, room), p.data...)
		p.borrowed = false
	}
	old := len(p.data)
	p.data = p.data[:n]
	fill(p.data[old:])
}

// andBytes clears the bits of dst that are 0 in src.
func andBytes(dst, src []byte) {
	le := binary.LittleEndian
	for len(src) >= 8 {
		le.PutUint64(dst, le.Uint64(dst)&le.Uint64(src))
		dst, src = dst[8:], src[8:]
	}
	for i, b := range src {
		dst[i] &= b
	}
}
