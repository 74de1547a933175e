// Package flashcrypt is the flash encryption of ESP32 chips: the two ciphers,
// and a view of a chip that reads decrypted and writes encrypted.
//
//	ESP32: rows of 32 bytes, two AES-256 blocks with one row key
//	         0               16              32
//	    row +---------------+---------------+
//	        | block 0       | block 1       |    row key = key XOR address bits
//	        +---------------+---------------+    each block: bytes reversed, AES run backwards
//
//	ESP32-S2 and later: units of 128 bytes, XTS-AES with the address of the unit
//	as tweak, the bytes of the unit reversed
//
// Flash holds ciphertext. An erased sector therefore reads as noise, and a
// program that a power cut tears destroys whole blocks of 16 bytes.
//
// Sources: espressif/esptool espsecure/__init__.py; espressif/esp-idf
// components/spi_flash/esp_flash_api.c.
package flashcrypt

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	mathbits "math/bits"
	"slices"

	"golang.org/x/crypto/xts"
)

const (
	BlockSize = 16  // of AES: the unit in which data can be written at all
	RowSize   = 32  // of the ESP32
	UnitSize  = 128 // of XTS
)

// What an *Error wraps.
var (
	ErrKeyLength        = errors.New("key_length")
	ErrAddressAlignment = errors.New("address_alignment")
	ErrDataLength       = errors.New("data_length")
	ErrCrash            = errors.New("tool_crash") // equal halves of an XTS key, a range beyond 4 GiB
)

// Error is a refused key, address or length, with the message of the host tool.
type Error struct {
	Class   error // ErrKeyLength, ErrAddressAlignment, ErrDataLength or ErrCrash
	Message string
}

func (e *Error) Error() string { return e.Message }

func (e *Error) Unwrap() error { return e.Class }

// Exit is the exit status of the host tool.
func (e *Error) Exit() int {
	if e.Class == ErrCrash {
		return 1
	}
	return 2
}

func refuse(class error, format string, args ...any) *Error {
	return &Error{class, fmt.Sprintf(format, args...)}
}

// Cipher encrypts and decrypts flash in place. Address and length are multiples
// of BlockSize; other bytes of a row or unit need not be there.
type Cipher interface {
	Encrypt(addr uint32, b []byte)
	Decrypt(addr uint32, b []byte)
	// Row is the number of bytes that the driver programs at once where address
	// and length allow.
	Row() int
}

func checkKeyLength(key []byte) *Error {
	switch len(key) {
	case 16, 24, 32, 64:
		return nil
	}
	return refuse(ErrKeyLength, "Key file contains wrong length (%d bytes), 16, 24, 32 or 64 expected.", len(key))
}

// esp32 is the scheme of the ESP32.
type esp32 struct {
	key    bits
	ranges bits // the key bits that FLASH_CRYPT_CONFIG lets the address change
}

// bits are 256 bits as a number, least significant word first.
type bits [4]uint64

// Groups of key bits, the most significant first. Groups of 19 bits take the
// address bits 23 to 5, the others as many from bit 5 up.
var groups = [16]int{19, 19, 19, 10, 19, 19, 19, 8, 19, 19, 19, 6, 19, 19, 19, 4}

// The lowest bits of the groups of 19, those of the others, and all bits of the
// others.
var wholeGroups, shortGroups, shortMask = func() (whole, short, mask bits) {
	at := 256
	for _, n := range groups {
		at -= n
		if n == 19 {
			whole.set(at)
			continue
		}
		short.set(at)
		for i := range n {
			mask.set(at + i)
		}
	}
	return whole, short, mask
}()

func (b *bits) set(i int) { b[i/64] |= 1 << (i % 64) }

// times is the product modulo 2 to the 256th.
func (b bits) times(n uint64) bits {
	var out bits
	var carry uint64
	for i, w := range b {
		hi, lo := mathbits.Mul64(w, n)
		var c uint64
		out[i], c = mathbits.Add64(lo, carry, 0)
		carry = hi + c
	}
	return out
}

// NewESP32 takes a key of 32 bytes, or of 24 (3/4 coding scheme), and the four
// bits of FLASH_CRYPT_CONFIG, each of which turns on the address for a quarter
// of the key. The error is *Error.
func NewESP32(key []byte, config uint8) (Cipher, error) {
	if err := checkKeyLength(key); err != nil {
		return nil, err
	}
	switch len(key) {
	case 32:
	case 24:
		key = slices.Concat(key, key[8:16])
	default:
		return nil, refuse(ErrKeyLength, "ESP32 supports only 192 and 256-bit keys. Provided key is %d bits. "+
			"Use --aes_xts for other chips.", len(key)*8)
	}
	c := &esp32{}
	for i := range c.key {
		c.key[3-i] = binary.BigEndian.Uint64(key[8*i:])
	}
	for i := range 256 {
		if config>>quarter(i)&1 != 0 {
			c.ranges.set(255 - i)
		}
	}
	return c, nil
}

// quarter is the bit of FLASH_CRYPT_CONFIG that rules a key bit, counted from
// the first bit of the first byte.
func quarter(bit int) int {
	switch {
	case bit < 67:
		return 0
	case bit < 132:
		return 1
	case bit < 195:
		return 2
	}
	return 3
}

// row returns the cipher of the row at an address. Beyond 16 MiB, where no
// ESP32 has flash, the address bits run over into the next groups, as they do
// in the host tool.
func (c *esp32) row(addr uint64) cipher.Block {
	whole, short := wholeGroups.times(addr/RowSize), shortGroups.times(addr/RowSize)
	var key [32]byte
	for i := range whole {
		tweak := (whole[i] | short[i]&shortMask[i]) & c.ranges[i]
		binary.BigEndian.PutUint64(key[24-8*i:], c.key[i]^tweak)
	}
	b, err := aes.NewCipher(key[:])
	if err != nil {
		panic("flashcrypt: a key of 32 bytes is always accepted: " + err.Error())
	}
	return b
}

// each calls fn for every block with the cipher of its row.
func (c *esp32) each(addr uint32, b []byte, fn func(cipher.Block, []byte)) {
	var row cipher.Block
	for at := 0; at < len(b); at += BlockSize {
		if block := uint64(addr) + uint64(at); row == nil || block%RowSize == 0 {
			row = c.row(block)
		}
		part := b[at : at+BlockSize]
		slices.Reverse(part)
		fn(row, part)
		slices.Reverse(part)
	}
}

func (c *esp32) Encrypt(addr uint32, b []byte) {
	c.each(addr, b, func(k cipher.Block, part []byte) { k.Decrypt(part, part) })
}

func (c *esp32) Decrypt(addr uint32, b []byte) {
	c.each(addr, b, func(k cipher.Block, part []byte) { k.Encrypt(part, part) })
}

func (c *esp32) Row() int { return RowSize }

// xtsCipher is the scheme of the ESP32-S2 and later chips.
type xtsCipher struct{ c *xts.Cipher }

// NewXTS takes the two halves of an XTS key, 32 bytes (AES-128) or 64
// (AES-256); a key of 16 bytes is extended with SHA-256. The error is *Error.
func NewXTS(key []byte) (Cipher, error) {
	if err := checkKeyLength(key); err != nil {
		return nil, err
	}
	switch len(key) {
	case 24:
		return nil, refuse(ErrKeyLength, "AES_XTS supports only 128, 256, and 512-bit keys. Provided key is %d bits.", len(key)*8)
	case 16:
		sum := sha256.Sum256(key)
		key = sum[:]
	}
	if half := len(key) / 2; slices.Equal(key[:half], key[half:]) {
		return nil, refuse(ErrCrash, "In XTS mode duplicated keys are not allowed")
	}
	c, err := xts.NewCipher(aes.NewCipher, key)
	if err != nil {
		panic("flashcrypt: a key of 32 or 64 bytes is always accepted: " + err.Error())
	}
	return &xtsCipher{c}, nil
}

// each runs over the units that b touches, with the missing bytes as zero: the
// blocks of a unit do not depend on each other.
func (c *xtsCipher) each(addr uint32, b []byte, fn func(dst, src []byte, tweak uint64)) {
	var unit [UnitSize]byte
	for len(b) > 0 {
		from := addr % UnitSize
		n := min(len(b), UnitSize-int(from))
		clear(unit[:])
		copy(unit[from:], b[:n])
		slices.Reverse(unit[:])
		fn(unit[:], unit[:], uint64(addr-from))
		slices.Reverse(unit[:])
		copy(b, unit[from:int(from)+n])
		b, addr = b[n:], addr+uint32(n)
	}
}

func (c *xtsCipher) Encrypt(addr uint32, b []byte) { c.each(addr, b, c.c.Encrypt) }

func (c *xtsCipher) Decrypt(addr uint32, b []byte) { c.each(addr, b, c.c.Decrypt) }

func (c *xtsCipher) Row() int { return 64 }
