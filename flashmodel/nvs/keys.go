package nvs

import (
	"bytes"
	"crypto/aes"
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/xts"
)

// KeysSize is the number of bytes of the keys in a key partition: data key,
// tweak key. A CRC of 4 bytes follows.
const KeysSize = 64

// Keys encrypt the entries of a partition, but not its page headers and entry
// states. Each entry is one XTS unit of AES-256; the tweak is the offset of the
// entry in the partition.
//
//	key partition
//	0      32      64    68
//	+------+-------+-----+----------
//	| data | tweak | crc | FF ...
//	+------+-------+-----+----------
type Keys struct {
	raw    [KeysSize]byte
	cipher *xts.Cipher
}

// NewKeys takes the data key and the tweak key.
func NewKeys(raw [KeysSize]byte) *Keys {
	c, err := xts.NewCipher(aes.NewCipher, raw[:])
	if err != nil {
		panic("nvs: a key of 64 bytes is always accepted: " + err.Error())
	}
	return &Keys{raw: raw, cipher: c}
}

// ParseKeys reads the start of a key partition, at least 68 bytes.
func ParseKeys(b []byte) (*Keys, error) {
	if len(b) < KeysSize+4 {
		return nil, fmt.Errorf("%w: %d bytes, at least %d are needed", ErrCorruptKeyPart, len(b), KeysSize+4)
	}
	if bytes.Count(b[:KeysSize+4], []byte{0xFF}) == KeysSize+4 {
		return nil, ErrKeysNotInitialized
	}
	if binary.LittleEndian.Uint32(b[KeysSize:]) != checksum(b[:KeysSize]) {
		return nil, fmt.Errorf("%w: checksum differs", ErrCorruptKeyPart)
	}
	return NewKeys([KeysSize]byte(b)), nil
}

// Partition returns the content of a key partition of one sector.
func (k *Keys) Partition() []byte {
	b := bytes.Repeat([]byte{0xFF}, PageSize)
	copy(b, k.raw[:])
	binary.LittleEndian.PutUint32(b[KeysSize:], checksum(k.raw[:]))
	return b
}

// encrypt encrypts whole entries in place; at is the offset of the first one
// in the partition.
func (k *Keys) encrypt(b []byte, at uint32) {
	for i := 0; i < len(b); i += EntrySize {
		k.cipher.Encrypt(b[i:i+EntrySize], b[i:i+EntrySize], uint64(at)+uint64(i))
	}
}

func (k *Keys) decrypt(b []byte, at uint32) {
	for i := 0; i < len(b); i += EntrySize {
		k.cipher.Decrypt(b[i:i+EntrySize], b[i:i+EntrySize], uint64(at)+uint64(i))
	}
}
