package check

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"

	"github.com/otasim/otasim/flashmodel"
)

// PartitionSum is the SHA-256 of the first n bytes of a data partition, of the whole of it for n = 0, read by code that
// shares nothing with the device: the table from r, which decrypts where that is needed, the bytes as they are; ok is false if there is no such partition.
func PartitionSum(f *flashmodel.Flash, r flashmodel.Reader, tableOffset uint32, label string, n uint32) (sum [sha256.Size]byte, ok bool) {
	var table [0xc00]byte
	if r.Read(tableOffset, table[:]) != nil {
		return sum, false
	}
	le := binary.LittleEndian
	for row := table[:]; len(row) >= 32 && le.Uint16(row) == 0x50aa; row = row[32:] {
		name, _, _ := bytes.Cut(row[12:28], []byte{0})
		off, size := le.Uint32(row[4:]), le.Uint32(row[8:])
		if row[2] != 1 || string(name) != label || n > size || uint64(off)+uint64(size) > uint64(f.Size()) {
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
