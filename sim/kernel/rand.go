package kernel

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// Seed is the seed of a run.
type Seed uint64

// Stream returns the random stream of one named part of the world. Parts do not
// disturb each other: one more draw in "uplink/dev-3" moves nothing in "flash/dev-1".
func (s Seed) Stream(part string) Rand {
	k := s.Key(part)
	return Rand(binary.LittleEndian.Uint64(k[:]))
}

// Key is 32 bytes for one named part of the world.
func (s Seed) Key(part string) [32]byte {
	return sha256.Sum256(append(binary.LittleEndian.AppendUint64(nil, uint64(s)), part...))
}

// Rand is a random stream: SplitMix64 (Steele, Lea and Flood, 2014), eight bytes
// of state, so that a million links can have two each. The zero value is a valid
// stream.
type Rand uint64

// Uint64 draws 64 bits.
func (r *Rand) Uint64() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Below draws from [0, n); the bias is below n/2^64. n = 0 gives 0.
func (r *Rand) Below(n uint64) uint64 {
	hi, _ := bits.Mul64(r.Uint64(), n)
	return hi
}

// Shuffle permutes n things by swapping pairs.
func (r *Rand) Shuffle(n int, swap func(i, j int)) {
	for i := n - 1; i > 0; i-- {
		swap(i, int(r.Below(uint64(i+1))))
	}
}
