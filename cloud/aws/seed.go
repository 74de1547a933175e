package aws

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
)

// Seed is the root of everything random in a cloud. Each use draws from a
// stream of its own name, so that one more draw in one place moves nothing
// elsewhere.
type Seed [32]byte

// Sub returns the seed of the named part.
func (s Seed) Sub(name string) Seed {
	h := sha256.New()
	h.Write(s[:])
	h.Write([]byte(name))
	var out Seed
	h.Sum(out[:0])
	return out
}

// Rand returns a generator over the seed.
func (s Seed) Rand() *rand.Rand { return rand.New(rand.NewChaCha8(s)) }

// Uint64 returns the first eight bytes of the seed as a number.
func (s Seed) Uint64() uint64 { return binary.BigEndian.Uint64(s[:8]) }

// UUID returns a random-looking (version 4) UUID for the named thing.
func (s Seed) UUID(name string) string {
	u := s.Sub(name)
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	var b [36]byte
	hex.Encode(b[0:8], u[0:4])
	hex.Encode(b[9:13], u[4:6])
	hex.Encode(b[14:18], u[6:8])
	hex.Encode(b[19:23], u[8:10])
	hex.Encode(b[24:36], u[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// Token returns n characters of [A-Z0-9] for the named thing.
func (s Seed) Token(name string, n int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	r := s.Sub(name).Rand()
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(b)
}
