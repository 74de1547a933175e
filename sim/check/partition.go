package check

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"

	"github.com/otasim/otasim/flashmodel"
)

// PartitionSum is the SHA-256 of the first n bytes of a data partition, of the whole of it for n = 0, read by code that
// shares nothing with the device; ok is false if there is no such partition.
func PartitionSum(f *flashmodel.Flash, tableOffset uint32, label string, n uint32) (sum [sha256.Size]byte, ok bool) {
	var table [0xc00]byte
	if f.Read(tableOffset, table[:]) != nil {
		return sum, false
	}
	le := binary.LittleEndian
	for r := table[:]; len(r) >= 32 && le.Uint16(r) == 0x50aa; r = r[32:] {
		name, _, _ := bytes.Cut(r[12:28], []byte{0})
		off, size := le.Uint32(r[4:]), le.Uint32(r[8:])
		if r[2] != 1 || string(name) != label || n > size || uint64(off)+uint64(size) > uint64(f.Size()) {
			continue
		}
		if n == 0 {
			n = size
		}
		return flashmodel.Remember(f, "check.partition", off, n, func() (sum [sha256.Size]byte) {
			b := make([]byte, n)
			if f.Read(off, b) == nil {
				sum = sha256.Sum256(b)
			}
			return sum
		}), true
	}
	return sum, false
}
