// Package image reads, builds and verifies ESP32 application and bootloader
// images.
//
//	offset                       size  what
//	0                            24    extended header
//	24                           8+n   segment 0: load address, length, data
//	                             ...   segments 1 to 15
//	end of the last segment      1-16  zeros; the last byte, at 16k+15, is the checksum
//	next                         32    SHA-256 of everything above, if the header says so
//	next                         68    Secure Boot V1 block (package secureboot), or
//	padded with FF to 4096       4096  Secure Boot V2 sector
//
// Extended header, all integers little-endian:
//
//	0   1  magic E9              12  2  chip id
//	1   1  segment count         14  1  min chip revision, legacy, ignored
//	2   1  SPI mode              15  2  min chip revision, major*100+minor
//	3   1  size << 4 | speed     17  2  max chip revision, 0 and FFFF are unset
//	4   4  entry address         19  4  reserved
//	8   1  WP pin, EE disabled   23  1  hash appended, not 0 is yes
//	9   3  pin drive
//
// An application's segment 0 starts with a 256-byte descriptor, at file offset
// 32; a bootloader's with one of 80 bytes (see Descriptor and
// BootloaderDescriptor).
//
// Sources: esp-idf components/bootloader_support/include/esp_app_format.h,
// components/bootloader_support/include/esp_image_format.h; esptool
// esptool/bin_image.py.
package image

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// Sizes and positions of the format, in bytes.
const (
	Magic            = 0xE9 // first byte of every image
	HeaderSize       = 24
	SegmentHeadSize  = 8
	HashSize         = 32
	MaxSegments      = 16
	DescriptorOffset = HeaderSize + SegmentHeadSize // of the descriptor in the file

	checksumSeed  = 0xEF
	sixteenMiB    = 16 << 20
	mappingPage   = 64 << 10
	wpPinDisabled = 0xEE
)

const (
	offMagic    = 0
	offSegments = 1
	offSPIMode  = 2
	offSPISize  = 3
	offEntry    = 4
	offWPPin    = 8
	offDrive    = 9
	offChipID   = 12
	offMinRev   = 14
	offMinFull  = 15
	offMaxFull  = 17
	offHashFlag = 23
)

// Errors of Parse's callers and of the readers in this package.
var (
	ErrNotImage     = errors.New("not an image")
	ErrNoDescriptor = errors.New("no application descriptor")
	ErrTruncated    = errors.New("truncated")
)

// Header is the 24-byte extended header.
type Header struct {
	Magic        byte
	SegmentCount byte
	SPIMode      byte // 0 QIO, 1 QOUT, 2 DIO, 3 DOUT, 4 fast read, 5 slow read
	SPISizeSpeed byte // high nibble log2(size in MiB), low nibble speed
	Entry        uint32
	WPPin        byte
	Drive        [3]byte
	ChipID       uint16
	MinRevision  byte   // legacy
	MinRevFull   uint16 // major*100 + minor
	MaxRevFull   uint16 // 0 and 65535 mean unset
	HashAppended byte   // not 0: a SHA-256 follows the checksum
}

// DecodeHeader reads the header; it needs HeaderSize bytes.
func DecodeHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, fmt.Errorf("image header: %d of %d bytes: %w", len(b), HeaderSize, ErrTruncated)
	}
	return Header{
		Magic:        b[offMagic],
		SegmentCount: b[offSegments],
		SPIMode:      b[offSPIMode],
		SPISizeSpeed: b[offSPISize],
		Entry:        binary.LittleEndian.Uint32(b[offEntry:]),
		WPPin:        b[offWPPin],
		Drive:        [3]byte(b[offDrive:]),
		ChipID:       binary.LittleEndian.Uint16(b[offChipID:]),
		MinRevision:  b[offMinRev],
		MinRevFull:   binary.LittleEndian.Uint16(b[offMinFull:]),
		MaxRevFull:   binary.LittleEndian.Uint16(b[offMaxFull:]),
		HashAppended: b[offHashFlag],
	}, nil
}

// AppendTo appends the 24 bytes of the header.
func (h *Header) AppendTo(b []byte) []byte {
	b = append(b, h.Magic, h.SegmentCount, h.SPIMode, h.SPISizeSpeed)
	b = binary.LittleEndian.AppendUint32(b, h.Entry)
	b = append(b, h.WPPin, h.Drive[0], h.Drive[1], h.Drive[2])
	b = binary.LittleEndian.AppendUint16(b, h.ChipID)
	b = append(b, h.MinRevision)
	b = binary.LittleEndian.AppendUint16(b, h.MinRevFull)
	b = binary.LittleEndian.AppendUint16(b, h.MaxRevFull)
	return append(b, 0, 0, 0, 0, h.HashAppended)
}

// FlashSize is the flash size in bytes that the header names, 0 for the
// nibbles that mean nothing.
func (h *Header) FlashSize() uint32 {
	if n := h.SPISizeSpeed >> 4; n <= 7 {
		return 1 << 20 << n
	}
	return 0
}

// Segment is one segment as the image places it.
type Segment struct {
	LoadAddr   uint32 `json:"loadAddress"`
	Len        uint32 `json:"length"`
	DataOffset uint32 `json:"dataOffset"` // from the start of the image
}

// Parsed is what Parse found. Slices point into the parsed data.
type Parsed struct {
	Header   Header
	Segments []Segment // whose header is complete; the last may be cut short
	Length   uint32    // of the image with its hash, 0 if it is cut short

	Checksum     byte // stored
	WantChecksum byte // computed
	Hash         []byte
	WantHash     [HashSize]byte // of header to checksum

	Descriptor *Descriptor
	Bootloader *BootloaderDescriptor
	Trailing   []byte   // everything after Length
	Problems   []string // what is wrong, in file order; empty for a sound image
}

// Complete reports whether the image ends inside the data.
func (p *Parsed) Complete() bool { return p.Length != 0 }

// Valid reports whether the image is complete and its checksum and hash hold.
func (p *Parsed) Valid() bool { return p.Complete() && len(p.Problems) == 0 }

func (p *Parsed) problem(format string, args ...any) {
	p.Problems = append(p.Problems, fmt.Sprintf(format, args...))
}

// Parse takes a file apart. It reports whatever is there and refuses only
// data without an image header (ErrNotImage); memory does not depend on the
// lengths the data claims.
func Parse(data []byte) (*Parsed, error) {
	h, err := DecodeHeader(data)
	if err != nil || h.Magic != Magic {
		return nil, fmt.Errorf("%w: %s", ErrNotImage, describeStart(data))
	}
	p := &Parsed{Header: h}
	if h.SegmentCount > MaxSegments {
		p.problem("%d segments, the loader takes at most %d", h.SegmentCount, MaxSegments)
	}
	end, ok := p.parseSegments(data)
	p.findDescriptors(data)
	if !ok {
		return p, nil
	}
	sumAt := uint64(end) | 15
	if sumAt >= uint64(len(data)) {
		p.problem("checksum byte at 0x%x is past the end of the file", sumAt)
		return p, nil
	}
	p.Checksum = data[sumAt]
	if p.Checksum != p.WantChecksum {
		p.problem("checksum is %02x, the data gives %02x", p.Checksum, p.WantChecksum)
	}
	body := data[:sumAt+1]
	p.WantHash = sha256.Sum256(body)
	length := len(body)
	if h.HashAppended != 0 {
		if len(data) < length+HashSize {
			p.problem("hash at 0x%x is cut short", length)
			return p, nil
		}
		p.Hash = data[length : length+HashSize]
		length += HashSize
		if !bytes.Equal(p.Hash, p.WantHash[:]) {
			p.problem("SHA-256 is %x, the data gives %x", p.Hash, p.WantHash)
		}
	}
	p.Length = uint32(length)
	p.Trailing = data[length:]
	return p, nil
}

func (p *Parsed) parseSegments(data []byte) (end int, ok bool) {
	at, sum := HeaderSize, byte(checksumSeed)
	for i := range int(p.Header.SegmentCount) {
		if len(data)-at < SegmentHeadSize {
			p.problem("segment %d: header at 0x%x is cut short", i, at)
			return at, false
		}
		s := Segment{
			LoadAddr:   binary.LittleEndian.Uint32(data[at:]),
			Len:        binary.LittleEndian.Uint32(data[at+4:]),
			DataOffset: uint32(at + SegmentHeadSize),
		}
		at += SegmentHeadSize
		p.Segments = append(p.Segments, s)
		if s.Len%4 != 0 || s.Len >= sixteenMiB {
			p.problem("segment %d: length 0x%x is not a multiple of 4 below 16 MiB", i, s.Len)
		}
		if uint64(s.Len) > uint64(len(data)-at) {
			p.problem("segment %d: 0x%x bytes at 0x%x, the file has 0x%x", i, s.Len, at, len(data)-at)
			return at, false
		}
		sum = xorBytes(sum, data[at:at+int(s.Len)])
		at += int(s.Len)
	}
	p.WantChecksum = sum
	return at, true
}

func (p *Parsed) findDescriptors(data []byte) {
	if len(p.Segments) == 0 || len(data) < DescriptorOffset {
		return
	}
	rest := data[DescriptorOffset:]
	if d, err := DecodeDescriptor(rest); err == nil {
		p.Descriptor = &d
	} else if d, err := DecodeBootloaderDescriptor(rest); err == nil {
		p.Bootloader = &d
	}
}

func describeStart(data []byte) string {
	switch {
	case len(data) == 0:
		return "the file is empty"
	case data[0] == Magic:
		return fmt.Sprintf("%d bytes, the header alone has %d", len(data), HeaderSize)
	case bytes.Count(data, []byte{0xff}) == len(data):
		return "nothing but FF, erased flash"
	default:
		return fmt.Sprintf("first byte is %02X, not E9", data[0])
	}
}

// xorBytes folds b into the checksum, eight bytes at a time.
func xorBytes(sum byte, b []byte) byte {
	var w uint64
	for len(b) >= 8 {
		w ^= binary.LittleEndian.Uint64(b)
		b = b[8:]
	}
	for _, c := range b {
		sum ^= c
	}
	w ^= w >> 32
	w ^= w >> 16
	return sum ^ byte(w) ^ byte(w>>8)
}
