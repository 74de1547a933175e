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
	"errors"
	"fmt"
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
	ErrKey              = errors.New("tool_crash") // equal halves of an XTS key
)

// Error is a refused key, address or length, with the message of the host tool.
type Error struct {
	Class   error // ErrKeyLength, ErrAddressAlignment, ErrDataLength or ErrKey
	Message string
}

func (e *Error) Error() string { return e.Message }

func (e *Error) Unwrap() error { return e.Class }

// Exit is the exit status of the host tool.
func (e *Error) Exit() int {
	if e.Class == ErrKey {
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
	key [32]byte
	// taps are the key bits that each address bit, from bit 5 to bit 23, turns over.
	taps [19][32]byte
}

// NewESP32 takes a key of 32 bytes, or of 24 (3/4 coding scheme), and the four
// bits of FLASH_CRYPT_CONFIG, each of which turns on the address for a quarter
// of the key. The error is *Error.
func NewESP32(key []byte, config uint8) (Cipher, error) {
	if err := checkKeyLength(key); err != nil {
		return nil, err
	}
	c := &esp32{}
	switch len(key) {
	case 32:
		copy(c.key[:], key)
	case 24:
		copy(c.key[copy(c.key[:], key):], key[8:16])
	default:
		return nil, refuse(ErrKeyLength, "ESP32 supports only 192 and 256-bit keys. Provided key is %d bits. "+
			"Use --aes_xts for other chips.", len(key)*8)
	}
	bit := 0
	for _, last := range [4]int{14, 12, 10, 8} {
		for _, from := range [4]int{23, 23, 23, last} {
			for a := from; a >= 5; a-- {
				if config>>quarter(bit)&1 != 0 {
					c.taps[a-5][bit/8] |= 0x80 >> (bit % 8)
				}
				bit++
			}
		}
	}
	return c, nil
}

// quarter is the bit of FLASH_CRYPT_CONFIG that rules a key bit.
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

func (c *esp32) row(addr uint32) cipher.Block {
	key := c.key
	for i, tap := range &c.taps {
		if addr>>(5+i)&1 != 0 {
			for k := range key {
				key[k] ^= tap[k]
			}
		}
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
		if row == nil || (addr+uint32(at))%RowSize == 0 {
			row = c.row(addr + uint32(at))
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
		return nil, refuse(ErrKey, "In XTS mode duplicated keys are not allowed")
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
