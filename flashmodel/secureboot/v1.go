package secureboot

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math/big"
)

// ErrSignature is wrapped by every error about a signature that does not hold.
var ErrSignature = errors.New("bad signature")

// V1BlockSize is the size of a Secure Boot V1 signature block.
const V1BlockSize = 68

// V1Block is a Secure Boot V1 signature block:
//
//	0   4  version, 0
//	4   32 r, big-endian
//	36  32 s, big-endian
//
// Source: esp-idf components/bootloader_support/include/esp_secure_boot.h.
type V1Block struct {
	Version uint32
	R, S    [32]byte
}

// DecodeV1 reads the first 68 bytes of b.
func DecodeV1(b []byte) (V1Block, error) {
	if len(b) < V1BlockSize {
		return V1Block{}, fmt.Errorf("%w: block has %d of %d bytes", ErrSignature, len(b), V1BlockSize)
	}
	return V1Block{binary.LittleEndian.Uint32(b), [32]byte(b[4:]), [32]byte(b[36:])}, nil
}

// AppendTo appends the 68 bytes of the block.
func (b *V1Block) AppendTo(to []byte) []byte {
	to = binary.LittleEndian.AppendUint32(to, b.Version)
	to = append(to, b.R[:]...)
	return append(to, b.S[:]...)
}

func (b *V1Block) signature() ecdsaSignature {
	return ecdsaSignature{new(big.Int).SetBytes(b.R[:]), new(big.Int).SetBytes(b.S[:])}
}

// V1 is the check of Secure Boot V1, and of apps signed in its format without
// hardware secure boot: one ECDSA P-256 key, compiled in. It is an
// image.Signature; the bootloader image carries no block.
type V1 struct {
	key *ecdsa.PublicKey
	id  string
}

// NewV1 is the check against a P-256 key.
func NewV1(key *Key) (*V1, error) {
	pub, ok := key.Public.(*ecdsa.PublicKey)
	if !ok || curveID(pub) != curveP256 {
		return nil, fmt.Errorf("%w: V1 takes ECDSA P-256 only", ErrKey)
	}
	xy, err := point(pub)
	if err != nil {
		return nil, err
	}
	return &V1{pub, "v1 " + string(xy)}, nil
}

// ID names the key.
func (v *V1) ID() string { return v.id }

// PadTo is 1: the block follows the image at once.
func (v *V1) PadTo() uint32 { return 1 }

// BlockLen is 68.
func (v *V1) BlockLen() uint32 { return V1BlockSize }

// SignsBootloader is false: the ROM checks a digest in sector 0 instead.
func (v *V1) SignsBootloader() bool { return false }

// NewHash is SHA-256.
func (v *V1) NewHash() hash.Hash { return sha256.New() }

// Check verifies a block. The error wraps ErrSignature.
func (v *V1) Check(digest, block []byte) error {
	b, err := DecodeV1(block)
	if err != nil {
		return err
	}
	if b.Version != 0 {
		return fmt.Errorf("%w: block has version %d, not 0", ErrSignature, b.Version)
	}
	if !verifyECDSA(v.key, digest, b.signature()) {
		return fmt.Errorf("%w: not by this key", ErrSignature)
	}
	return nil
}
