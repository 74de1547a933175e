// Package nvs is the key-value store in flash that ESP32 firmware keeps its
// settings and its identity in: the generator of the host tools and the library
// of the device, both byte for byte.
//
//	partition, at least 3 pages for read and write; one page always stays free
//	+--------+--------+--------+-----
//	| page 0 | page 1 | page 2 | ...      page = 4096 bytes = one flash sector
//	+--------+--------+--------+-----
//
//	page
//	0x000  header, 32 bytes
//	0x020  entry states, 2 bits each: 11 empty, 10 written, 00 erased
//	0x040  126 entries of 32 bytes
//	0x1000
//
//	page header, little endian
//	 0         4         8         9                        28        32
//	+---------+---------+---------+------------------------+---------+
//	| state   | seq     | version | FF x 19                | crc     |  crc covers 4..27
//	+---------+---------+---------+------------------------+---------+
//	state: FFFFFFFF uninitialised, ..FE active, ..FC full, ..F8 freeing
//	version: FE, or FF for partitions without multi-page blobs
//
//	entry
//	 0    1      2      3       4       8                   24             32
//	+----+------+------+-------+-------+-------------------+--------------+
//	| ns | type | span | chunk | crc   | key (16, NUL pad) | data (8)     |  crc covers 0..3, 8..31
//	+----+------+------+-------+-------+-------------------+--------------+
//	data of a number: the value, FF behind it
//	data of a string or chunk: size u16, FFFF, crc of the content; the content
//	fills the next entries, span counts them and this one
//	data of a blob index: total size u32, chunk count u8, first chunk u8 (00 or 80), FFFF
//
// All CRCs are CRC-32 with the start value 0xFFFFFFFF as zlib takes it.
//
// Sources: espressif/esp-idf v5.5 components/nvs_flash/src/ and v5.2
// components/nvs_flash/nvs_partition_generator/nvs_partition_gen.py.
package nvs

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

const (
	PageSize     = 4096
	EntrySize    = 32
	EntryCount   = 126                          // entries of a page
	MaxKey       = 15                           // bytes of a key or namespace name
	MaxNamespace = 254                          // largest namespace index
	MaxChunk     = EntrySize * (EntryCount - 1) // bytes of content in one page
	MinPages     = 3                            // smallest partition that can be written

	statesOffset  = 32
	entriesOffset = 64
	anyChunk      = 0xFF
	secondVersion = 0x80 // chunk numbers of every other value of a blob begin here
)

// Page states. Each step clears one bit.
const (
	stateUninitialized uint32 = 0xFFFFFFFF
	stateActive        uint32 = 0xFFFFFFFE
	stateFull          uint32 = 0xFFFFFFFC
	stateFreeing       uint32 = 0xFFFFFFF8
	stateCorrupt       uint32 = 0xFFFFFFF0
)

// Versions of the page format.
const (
	version1 = 0xFF
	version2 = 0xFE
)

// Type is the type of an entry.
type Type uint8

const (
	U8        Type = 0x01
	I8        Type = 0x11
	U16       Type = 0x02
	I16       Type = 0x12
	U32       Type = 0x04
	I32       Type = 0x14
	U64       Type = 0x08
	I64       Type = 0x18
	String    Type = 0x21
	Blob      Type = 0x41 // whole blob in one page, as written before blobs could span pages
	blobData  Type = 0x42 // one chunk of a blob
	blobIndex Type = 0x48 // its index
	anyType   Type = 0xFF
)

func (t Type) String() string {
	switch t {
	case U8:
		return "u8"
	case I8:
		return "i8"
	case U16:
		return "u16"
	case I16:
		return "i16"
	case U32:
		return "u32"
	case I32:
		return "i32"
	case U64:
		return "u64"
	case I64:
		return "i64"
	case String:
		return "string"
	case Blob:
		return "blob"
	case blobData:
		return "blob data"
	case blobIndex:
		return "blob index"
	}
	return "unknown"
}

// variable reports whether content follows the entry.
func (t Type) variable() bool { return t == String || t == Blob || t == blobData }

// width is the number of bytes of a number.
func (t Type) width() int { return int(t & 0x0F) }

func checksum(b []byte) uint32 { return crc32.Update(0xFFFFFFFF, crc32.IEEETable, b) }

// entry is one 32-byte entry.
type entry [EntrySize]byte

func newEntry(ns uint8, t Type, span uint8, key string, chunk uint8) entry {
	var e entry
	for i := range e {
		e[i] = 0xFF
	}
	e[0], e[1], e[2], e[3] = ns, uint8(t), span, chunk
	clear(e[8:24])
	copy(e[8:8+MaxKey], key)
	return e
}

func (e *entry) namespace() uint8  { return e[0] }
func (e *entry) kind() Type        { return Type(e[1]) }
func (e *entry) span() int         { return int(e[2]) }
func (e *entry) chunk() uint8      { return e[3] }
func (e *entry) storedCRC() uint32 { return binary.LittleEndian.Uint32(e[4:]) }
func (e *entry) dataSize() int     { return int(binary.LittleEndian.Uint16(e[24:])) }
func (e *entry) dataCRC() uint32   { return binary.LittleEndian.Uint32(e[28:]) }
func (e *entry) indexSize() uint32 { return binary.LittleEndian.Uint32(e[24:]) }
func (e *entry) chunkCount() int   { return int(e[28]) }
func (e *entry) firstChunk() uint8 { return e[29] }
func (e *entry) keyBytes() []byte  { k, _, _ := bytes.Cut(e[8:24], []byte{0}); return k }
func (e *entry) setContent(b []byte) {
	binary.LittleEndian.PutUint16(e[24:], uint16(len(b)))
	binary.LittleEndian.PutUint32(e[28:], checksum(b))
}

func (e *entry) setIndex(size, chunks int, first uint8) {
	binary.LittleEndian.PutUint32(e[24:], uint32(size))
	e[28], e[29] = uint8(chunks), first
}

func (e *entry) seal() { binary.LittleEndian.PutUint32(e[4:], e.crc()) }

func (e *entry) crc() uint32 {
	return crc32.Update(checksum(e[:4]), crc32.IEEETable, e[8:])
}

// hash is what the library finds an entry by.
func (e *entry) hash() uint32 {
	h := crc32.Update(checksum(e[:1]), crc32.IEEETable, e[8:24])
	return crc32.Update(h, crc32.IEEETable, e[3:4]) & 0xFFFFFF
}

// entriesFor is the number of entries that content of n bytes fills.
func entriesFor(n int) int { return (n + EntrySize - 1) / EntrySize }

// putHeader writes the 32 header bytes of a page.
func putHeader(b []byte, state, seq uint32, version uint8) {
	for i := range b[:EntrySize] {
		b[i] = 0xFF
	}
	binary.LittleEndian.PutUint32(b, state)
	binary.LittleEndian.PutUint32(b[4:], seq)
	b[8] = version
	binary.LittleEndian.PutUint32(b[28:], checksum(b[4:28]))
}
