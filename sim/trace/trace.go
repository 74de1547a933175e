// Package trace condenses what every actor of a run saw and did into one hash.
//
// Each actor folds its own history, in its own order, into a Chain; the run's
// hash is SHA-256 over the chains in actor order, the cloud's last. So it needs
// no global order of events, and it is the same for any number of workers.
package trace

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/cespare/xxhash/v2"
)

// Chain is the rolling digest of one actor's history.
type Chain uint64

// Fold adds one number.
func (c *Chain) Fold(v uint64) {
	h := (uint64(*c) ^ v) * 0x9fb21c651e98df25
	h ^= h>>29 ^ h>>47
	*c = Chain(h*0x9e3779b97f4a7c15 + 1)
}

// Bytes adds a byte string.
func (c *Chain) Bytes(b []byte) { c.Fold(xxhash.Sum64(b) ^ uint64(len(b))<<48) }

// String adds a string.
func (c *Chain) String(s string) { c.Fold(xxhash.Sum64String(s) ^ uint64(len(s))<<48) }

// Sum is the hash of a run: hex SHA-256 over the chains in order.
func Sum(chains []Chain) string {
	h := sha256.New()
	var b [8]byte
	for _, c := range chains {
		binary.LittleEndian.PutUint64(b[:], uint64(c))
		h.Write(b[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Bodies remembers the digests of byte slices that many frames share, by
// identity: the slice is kept, so that its address cannot mean other bytes. A
// Bodies belongs to one goroutine.
type Bodies struct{ known map[*byte]body }

type body struct {
	keep []byte
	sum  uint64
}

const (
	sharedSize = 512  // shorter slices are hashed each time
	maxBodies  = 8192 // then the table starts afresh
)

// Sum is the digest of b.
func (t *Bodies) Sum(b []byte) uint64 {
	if len(b) < sharedSize {
		return xxhash.Sum64(b)
	}
	if k, ok := t.known[&b[0]]; ok && len(k.keep) == len(b) {
		return k.sum
	}
	if t.known == nil || len(t.known) >= maxBodies {
		t.known = make(map[*byte]body)
	}
	sum := xxhash.Sum64(b)
	t.known[&b[0]] = body{b, sum}
	return sum
}
