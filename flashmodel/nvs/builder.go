package nvs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"unicode/utf8"
)

// builder writes pages as the generator does: one after the other, all marked
// full in the end, the last one left erased.
//
// The generator counts text in letters but stores it in bytes. Keys and values
// outside ASCII therefore come out damaged in a definite way: a longer entry
// pushes its own tail, and a page may grow beyond 4096 bytes. The builder does
// the same.
type builder struct {
	out     []byte
	start   int // offset of the current page in out
	left    int // bytes of the partition that are not yet pages
	page    uint32
	next    int // next free entry of the page
	version uint8
	ns      int // index of the current namespace
	crypt   func(b []byte, at uint32) error
}

// value is what a CSV cell or a file holds. The tool measures and cuts text in
// letters.
type value struct {
	text bool
	b    string
}

func (v value) len() int {
	if v.text {
		return utf8.RuneCountInString(v.b)
	}
	return len(v.b)
}

func (v value) slice(from, to int) string {
	if !v.text {
		return v.b[from:to]
	}
	letters := []rune(v.b)
	return string(letters[from:to])
}

var (
	erasedPage = bytes.Repeat([]byte{0xFF}, PageSize)

	// errPageFull asks for another try on a new page.
	errPageFull = fail("PageFullError", "")
)

// newBuilder begins a partition of size bytes, the reserved last page included.
func newBuilder(size int, version uint8) *builder {
	b := &builder{out: make([]byte, 0, size), left: size - PageSize, version: version}
	b.begin(0)
	return b
}

func (b *builder) begin(page uint32) {
	b.page, b.start, b.next = page, len(b.out), 0
	b.left -= PageSize
	b.out = append(b.out, erasedPage...)
	putHeader(b.out[b.start:], stateActive, page, b.version)
}

func (b *builder) markFull() { binary.LittleEndian.PutUint32(b.out[b.start:], stateFull) }

func (b *builder) newPage() error {
	b.markFull()
	if b.left == 0 {
		return fail("InsufficientSizeError", "Error: Size parameter is less than the size of data in csv.Please increase size.")
	}
	b.begin(b.page + 1)
	return nil
}

// finish returns the partition.
func (b *builder) finish() []byte {
	for b.left > 0 {
		b.markFull()
		b.begin(b.page + 1)
	}
	b.markFull()
	return append(b.out, erasedPage...)
}

// put writes data to the next n entries and marks them written.
func (b *builder) put(data []byte, n int) error {
	at := entriesOffset + b.next*EntrySize
	if b.crypt != nil {
		whole := bytes.Repeat([]byte{0xFF}, n*EntrySize)
		copy(whole, data)
		if err := b.crypt(whole, b.page*PageSize+uint32(at)); err != nil {
			return err
		}
		data = whole
	}
	if over := b.start + at + len(data) - len(b.out); over > 0 {
		b.out = append(b.out, make([]byte, over)...)
	}
	copy(b.out[b.start+at:], data)
	for range n {
		b.out[b.start+statesOffset+b.next/4] &^= 1 << (b.next % 4 * 2)
		b.next++
	}
	return nil
}

// toolEntry is an entry under construction; a key outside ASCII makes it
// longer than 32 bytes.
type toolEntry []byte

func (b *builder) newEntry(ns int, t Type, key string) (toolEntry, error) {
	if ns > 0xFF {
		return nil, fail("ValueError", "byte must be in range(0, 256)")
	}
	e := newEntry(uint8(ns), t, 1, "", anyChunk)
	n := utf8.RuneCountInString(key)
	return slices.Concat(e[:8], []byte(key), e[8+n:]), nil
}

func (e toolEntry) seal() {
	var first entry
	copy(first[:], e)
	first.seal()
	copy(e[4:8], first[4:8])
}

func (e toolEntry) setContent(size int, content string) {
	binary.LittleEndian.PutUint16(e[24:], uint16(size))
	binary.LittleEndian.PutUint32(e[28:], checksum([]byte(content)))
}

// namespace begins a namespace; the tool gives a repeated name a new index.
func (b *builder) namespace(name string) error {
	b.ns++
	return b.retry(func() error {
		if b.next < EntryCount && b.ns > 0xFF {
			return fail("struct.error", "ubyte format requires 0 <= number <= 255")
		}
		return b.number(0, name, U8, uint64(b.ns))
	})
}

// retry runs write again on a new page if the current one is full.
func (b *builder) retry(write func() error) error {
	err := write()
	if err != errPageFull {
		return err
	}
	if err := b.newPage(); err != nil {
		return err
	}
	return write()
}

func (b *builder) number(ns int, key string, t Type, v uint64) error {
	if b.next >= EntryCount {
		return errPageFull
	}
	e, err := b.newEntry(ns, t, key)
	if err != nil {
		return err
	}
	for i := range t.width() {
		e[24+i] = uint8(v >> (8 * i))
	}
	e.seal()
	return b.put(e, 1)
}

// content writes a string, or a blob in the form of the version.
func (b *builder) content(key string, v value, t Type) error {
	size := v.len()
	limit := map[uint8]int{version1: 1984, version2: 4000}[b.version]
	if size > limit && (b.version == version1 || t == String) {
		return refuse(fmt.Sprintf(" Input File: Size (%d) exceeds max allowed length `%d` bytes for key `%s`.", size, limit, key))
	}
	chunked := b.version == version2 && t == Blob
	n := entriesFor(size)
	if b.next >= EntryCount || b.next+n+1 >= EntryCount && !chunked {
		return errPageFull
	}
	e, err := b.newEntry(b.ns, t, key)
	if err != nil {
		return err
	}
	if chunked {
		return b.chunks(e, v, size)
	}
	e[2] = uint8(n + 1)
	e.setContent(size, v.b)
	e.seal()
	if err := b.put(e, 1); err != nil {
		return err
	}
	return b.put([]byte(v.b), n)
}

// chunks writes a blob over as many pages as it needs, then its index.
func (b *builder) chunks(e toolEntry, v value, size int) error {
	e[1] = uint8(blobData)
	done, chunk := 0, 0
	for {
		room := (EntryCount - b.next - 1) * EntrySize
		n := min(room, size-done)
		if chunk > 0xFF {
			return fail("ValueError", "byte must be in range(0, 256)")
		}
		part := v.slice(done, done+n)
		e[2], e[3] = uint8(entriesFor(n)+1), uint8(chunk)
		e.setContent(n, part)
		e.seal()
		if err := b.put(e, 1); err != nil {
			return err
		}
		if err := b.put([]byte(part), entriesFor(n)); err != nil {
			return err
		}
		done += n
		chunk++
		if done < size || room-n < EntrySize {
			if err := b.newPage(); err != nil {
				return err
			}
		}
		if done == size {
			break
		}
	}
	e[1], e[2], e[3] = uint8(blobIndex), 1, anyChunk
	copy(e[24:32], erasedPage)
	binary.LittleEndian.PutUint32(e[24:], uint32(size))
	if chunk > 0xFF {
		return fail("ValueError", "byte must be in range(0, 256)")
	}
	e[28], e[29] = uint8(chunk), 0
	e.seal()
	return b.put(e, 1)
}
