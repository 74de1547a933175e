package secureboot

import (
	"bytes"
	"crypto/aes"
	"crypto/sha512"
	"errors"
	"fmt"
	"slices"

	"github.com/otasim/otasim/flashmodel/image"
)

// ErrDigest is wrapped by the errors of BootloaderDigest.
var ErrDigest = errors.New("no bootloader digest")

// Sizes of the Secure Boot V1 bootloader digest in bytes.
const (
	V1IVSize     = 128
	V1DigestSize = V1IVSize + sha512.Size // at the start of sector 0
	v1Chunk      = 128
)

// BootloaderDigest computes what Secure Boot V1 keeps in sector 0 of the flash
// and its ROM compares on every boot:
//
//	0    128  IV, chosen at random by the chip
//	128  64   digest
//
// key is the 32-byte eFuse key (24 and 16 bytes are extended by the caller's
// tool), iv has 128 bytes, or fewer, as the tool takes them.
//
// The stream IV, image, FF up to a multiple of 128 goes through AES-256-ECB and
// SHA-512; bytes and words are reversed on the way as the hardware does. An
// appended hash counts only if it shares the last 128 bytes with the image.
//
// Source: esptool espsecure/__init__.py (digest_secure_bootloader).
func BootloaderDigest(key, iv, bootloader []byte) ([]byte, error) {
	if len(key) != 32 {
		return nil, fmt.Errorf("%w: key has %d bytes, not 32", ErrDigest, len(key))
	}
	if len(iv) > V1IVSize || len(iv)%aes.BlockSize != 0 {
		return nil, fmt.Errorf("%w: IV has %d bytes, not %d", ErrDigest, len(iv), V1IVSize)
	}
	h, err := image.DecodeHeader(bootloader)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDigest, err)
	}
	if over := len(bootloader) % v1Chunk; h.HashAppended == 1 && over <= image.HashSize {
		bootloader = bootloader[:len(bootloader)-over]
	}
	stream := slices.Concat(iv, bootloader)
	if over := len(bootloader) % v1Chunk; over != 0 {
		stream = append(stream, bytes.Repeat([]byte{0xFF}, v1Chunk-over)...)
	}
	c, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDigest, err)
	}
	for at := 0; at < len(stream); at += aes.BlockSize {
		b := stream[at : at+aes.BlockSize]
		slices.Reverse(b)
		c.Encrypt(b, b)
		slices.Reverse(b)
		reverseWords(b)
	}
	sum := sha512.Sum512(stream)
	reverseWords(sum[:])
	return append(bytes.Clone(iv), sum[:]...), nil
}

// reverseWords reverses the bytes of every 4-byte word.
func reverseWords(b []byte) {
	for ; len(b) >= 4; b = b[4:] {
		slices.Reverse(b[:4])
	}
}
