// Package efuse models the one-time programmable bits of an ESP32.
//
//	block  bits  holds
//	BLK0    224  system: protection, counters, switches, MAC (always uncoded)
//	BLK1    256  flash encryption key
//	BLK2    256  secure boot V1 key, or the digest of the V2 public key
//	BLK3    256  user data and, in bits 128 to 159, SECURE_VERSION
//
//	coding scheme of BLK1 to BLK3          software sees
//	none     256 bits as they are          8 words
//	3/4      4 x (6 data, 1 XOR, 1 count)  24 bytes: 6 words
//	repeat   128 bits, stored twice        4 words
//
// A bit goes from 0 to 1 and never back. Sources: esp-idf components/efuse (src and
// esp32), esptool espefuse/efuse/esp32.
package efuse

import (
	"encoding/binary"
	"math/bits"
)

// Block is one of the four eFuse blocks.
type Block uint8

// The blocks, by use.
const (
	System Block = iota
	FlashKeyBlock
	SecureBootBlock
	User

	blocks = 4
)

// Words is the content of a block, low word first. The last word of System is unused.
type Words [8]uint32

// EFuse is the eFuses of one chip: a small value, copied as one. The zero value is an
// ESP32 with nothing burnt, not even a MAC; Later gives it the key blocks of later chips.
type EFuse struct {
	fuse  [blocks]Words // as burnt, that is, coded
	later *keyBlocks    // of chips after the ESP32; nil on the ESP32
}

// Scheme is the coding scheme of BLK1 to BLK3.
type Scheme uint8

// The values of Scheme as stored in CODING_SCHEME; 3 works like none.
const (
	SchemeNone Scheme = iota
	SchemeThreeQuarters
	SchemeRepeat
)

// capacity is the number of bits software can use in a block.
func (s Scheme) capacity(b Block) uint {
	switch {
	case b == System:
		return 224
	case s == SchemeThreeQuarters:
		return 192
	case s == SchemeRepeat:
		return 128
	default:
		return 256
	}
}

func schemeOf(word6 uint32) Scheme {
	if s := Scheme(word6 & 3); s != 3 {
		return s
	}
	return SchemeNone
}

// Scheme is the coding scheme software reads.
func (e *EFuse) Scheme() Scheme { return schemeOf(e.Words(System)[6]) }

// Words is what software reads from a block: decoded, and 0 where reading is disabled.
func (e *EFuse) Words(b Block) Words {
	w := e.data(b)
	off := e.fuse[System][0] >> 16 & 0xf
	switch {
	case b != System && off>>(b-1)&1 != 0:
		return Words{}
	case b == System && off>>3 != 0:
		for f, row := range fields {
			if row.readDisable == 3 {
				w = w.without(Field(f))
			}
		}
	}
	return w
}

// data is the content of a block as the hardware uses it, read protection or not.
func (e *EFuse) data(b Block) Words {
	if b != System && schemeOf(e.fuse[System][6]) == SchemeThreeQuarters {
		w, _ := decode34(e.fuse[b])
		return w
	}
	return e.fuse[b]
}

func (w Words) without(f Field) Words {
	for i := range fields[f].length {
		bit := fields[f].start + i
		w[bit/32] &^= 1 << (bit % 32)
	}
	return w
}

// Value is what software reads from a field, low bit first.
func (e *EFuse) Value(f Field) uint64 {
	row, w := fields[f], e.Words(fields[f].block)
	v := uint64(0)
	for i := range row.length {
		bit := row.start + i
		v |= uint64(w[bit/32]>>(bit%32)&1) << i
	}
	return v
}

// Preset puts a field to value in the factory: past coding, protection and one-way bits.
func (e *EFuse) Preset(f Field, value uint64) {
	row := fields[f]
	w := e.data(row.block).without(f)
	for i := range row.length {
		bit := row.start + i
		w[bit/32] |= uint32(value>>i&1) << (bit % 32)
	}
	e.fuse[row.block] = code(schemeOf(e.fuse[System][6]), row.block, w)
}

// FlashEncryption reports whether flash encryption is on: FLASH_CRYPT_CNT (on later chips
// SPI_BOOT_CRYPT_CNT) has an odd number of ones.
func (e *EFuse) FlashEncryption() bool {
	if e.later != nil {
		return e.later.cryptCount%2 == 1 // 1 or 7: one or three ones
	}
	return bits.OnesCount64(e.Value(FlashCryptCount))%2 == 1
}

// SecureBootV1 reports whether ABS_DONE_0 is burnt.
func (e *EFuse) SecureBootV1() bool { return e.Value(AbsDone0) == 1 }

// SecureBootV2 reports whether ABS_DONE_1 is burnt, or SECURE_BOOT_EN on later chips.
func (e *EFuse) SecureBootV2() bool {
	if e.later != nil {
		return e.later.secureBoot
	}
	return e.Value(AbsDone1) == 1
}

// Revision is the chip revision, 100 times major plus minor. syscon is the third
// revision bit, which no eFuse holds: set from revision 3 on.
func (e *EFuse) Revision(syscon bool) int {
	major := int(e.Value(ChipVerRev1))
	if major == 1 && e.Value(ChipVerRev2) == 1 {
		major = 2
		if syscon {
			major = 3
		}
	}
	return major*100 + int(e.Value(WaferVersionMinor))
}

// MAC is the factory address and whether its check byte fits.
func (e *EFuse) MAC() (mac [6]byte, ok bool) {
	v := e.Value(MAC)
	for i := range mac {
		mac[i] = byte(v >> (8 * (5 - i)))
	}
	return mac, crc8(mac[:]) == byte(e.Value(MACCRC))
}

// PresetMAC writes the factory address and its check byte.
func (e *EFuse) PresetMAC(mac [6]byte) {
	v := uint64(0)
	for _, b := range mac {
		v = v<<8 | uint64(b)
	}
	e.Preset(MAC, v)
	e.Preset(MACCRC, uint64(crc8(mac[:])))
}

// crc8 is the CRC with the reflected polynomial 8C.
func crc8(b []byte) byte {
	crc := byte(0)
	for _, x := range b {
		crc ^= x
		for range 8 {
			crc = crc>>1 ^ crc&1*0x8c
		}
	}
	return crc
}

// bytes is the block as bytes in memory order.
func (w Words) bytes() (b [32]byte) {
	for i, x := range w {
		binary.LittleEndian.PutUint32(b[4*i:], x)
	}
	return b
}

func wordsOf(b []byte) (w Words) {
	for i := range w {
		w[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return w
}
