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
	if !ok && (admit || f.st.metBefore(crc)) {
		id, ok = f.st.admit(bytes.Clone(content), crc, f.st.limits.copiedPages)
	}
	if ok {
		f.setPage(sector, id)
	} else {
		f.setPrivate(sector, bytes.Clone(content))
	}
}

// setPrivate makes one sector hold a content that this chip owns.
func (f *Flash) setPrivate(sector uint32, content []byte) {
	o := f.owned()
	p := private{data: content, sector: sector}
	if i, found := o.search(sector); found {
		o.private[i] = p
	} else {
		o.private = slices.Insert(o.private, i, p)
		f.setPages(sector, 1, pagePrivate)
	}
}

// share gives a private page up if another chip has met the same content.
func (f *Flash) share(sector uint32) {
	if f.pageID(sector) != pagePrivate {
		return
	}
	data := f.own.private[f.own.find(sector)].data
	id, crc, ok := f.st.find(data)
	if !ok && f.st.metBefore(crc) {
		id, ok = f.st.admit(data, crc, f.st.limits.copiedPages)
	}
	if ok {
		f.setPage(sector, id)
	}
}

// and programs src into a sector, new = old AND src, and shares the result. With shared,
// src never changes.
func (f *Flash) and(sector, off uint32, src []byte, shared bool) {
	id := f.pageID(sector)
	if id == pageErased && off == 0 && shared {
		if id, ok := f.st.shared(src); ok {
			f.setPages(sector, 1, id)
			return
		}
	}
	src = trim(src)
	switch {
	case len(src) == 0:
	case id == pagePrivate:
		f.andPrivate(sector, off, src)
		f.share(sector)
	default:
		f.setContent(sector, andInto(f.st.buf[:], f.st.pages[id].data, off, src), false)
	}
}

// andPart is and without sharing, for a part of an operation: what it leaves is met by
// every chip, but does not last.
func (f *Flash) andPart(sector, off uint32, src []byte) {
	src = trim(src)
	switch id := f.pageID(sector); {
	case len(src) == 0:
	case id == pagePrivate:
		f.andPrivate(sector, off, src)
	default:
		f.setPrivate(sector, bytes.Clone(trim(andInto(f.st.buf[:], f.st.pages[id].data, off, src))))
	}
}

func (f *Flash) andPrivate(sector, off uint32, src []byte) {
	p := &f.own.private[f.own.find(sector)]
	p.grow(int(off) + len(src))
	andBytes(p.data[off:], src) // neither ends with FF, so the result does not
}

// andInto makes the content old AND src in buf.
func andInto(buf, old []byte, off uint32, src []byte) []byte {
	n := max(len(old), int(off)+len(src))
	fill(buf[copy(buf, old):n])
	andBytes(buf[off:], src)
	return buf[:n]
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
