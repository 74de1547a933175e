package secureboot

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"math/big"
	"slices"
)

// Sizes of Secure Boot V2, in bytes.
const (
	V2BlockSize  = 1216
	V2SectorSize = 4096
	V2MaxBlocks  = 3

	v2Magic     = 0xE7
	versionRSA  = 2
	versionECC  = 3
	rsaLen      = 384
	rsaSaltLen  = 32
	eccPointLen = 64 // of P-192 and P-256 in the block
)

// Places in a V2 block. The fields of a P-384 block move because its digest
// has 48 bytes.
const (
	offDigest  = 4
	offKey     = 36
	offE       = offKey + rsaLen
	offRInv    = offE + 4
	offM       = offRInv + rsaLen
	offRSASig  = offM + 4
	offCRC     = 1196
	offKey384  = 52
	rsaKeyArea = offRSASig - offKey
)

const (
	curveP192 = 1
	curveP256 = 2
	curveP384 = 3

	sha256ID = 0
	sha384ID = 1
)

// V2Block is one block of a Secure Boot V2 signature sector. The sector
// follows the image at the next multiple of 4096 and holds up to three blocks;
// the rest is FF.
//
//	RSA-3072, version 2                ECDSA, version 3
//	0     1   magic E7                 0     1   magic E7
//	1     1   version                  1     1   version
//	2     2   0                        2     1   hash: 0 SHA-256, 1 SHA-384
//	4     32  SHA-256 of the image     4     32  digest of the image (48 for P-384,
//	36    384 n, little-endian                   everything below moves by 16)
//	420   4   e                        36    1   curve: 1 P-192, 2 P-256, 3 P-384
//	424   384 2^6144 mod n             37    64  X‖Y, each little-endian (96)
//	808   4   -1/n mod 2^32            101   64  r‖s, each little-endian (96)
//	812   384 signature                165       0
//	1196  4   CRC-32 of bytes 0 to 1195
//	1200  16  0
//
// Source: esptool espsecure/__init__.py; esp-idf
// components/esp_rom/*/include/esp32*/rom/secure_boot.h.
type V2Block struct{ raw [V2BlockSize]byte }

// DecodeV2 reads the blocks of a signature sector: those with magic, known
// version and right CRC, up to the first that has not.
func DecodeV2(sector []byte) []V2Block {
	var blocks []V2Block
	for i := range V2MaxBlocks {
		b, ok := validBlock(sector, i)
		if !ok {
			break
		}
		blocks = append(blocks, b)
	}
	return blocks
}

// validBlock takes block i if it is well-formed.
func validBlock(sector []byte, i int) (V2Block, bool) {
	if len(sector) < (i+1)*V2BlockSize {
		return V2Block{}, false
	}
	b := V2Block{[V2BlockSize]byte(sector[i*V2BlockSize:])}
	ok := b.raw[0] == v2Magic && (b.raw[1] == versionRSA || b.raw[1] == versionECC) && b.CRC() == crc32.ChecksumIEEE(b.raw[:offCRC])
	return b, ok
}

// Bytes are the 1216 bytes of the block.
func (b *V2Block) Bytes() []byte { return b.raw[:] }

// Version is 2 for RSA and 3 for ECDSA.
func (b *V2Block) Version() byte { return b.raw[1] }

// CRC is the stored CRC-32.
func (b *V2Block) CRC() uint32 { return binary.LittleEndian.Uint32(b.raw[offCRC:]) }

// Curve is 1 for P-192, 2 for P-256, 3 for P-384 and 0 for RSA. Blocks of
// others may claim any number.
func (b *V2Block) Curve() byte {
	if b.Version() == versionRSA {
		return 0
	}
	return b.raw[b.keyAt()]
}

// HashID is 1 if the image is hashed with SHA-384, as ECDSA P-384 does.
func (b *V2Block) HashID() byte {
	if b.Version() == versionRSA {
		return sha256ID
	}
	return b.raw[2]
}

func (b *V2Block) keyAt() int {
	if b.HashID() == sha384ID {
		return offKey384
	}
	return offKey
}

// Digest is the digest of the signed bytes: 32 bytes, or 48 with SHA-384.
func (b *V2Block) Digest() []byte {
	return b.raw[offDigest:b.keyAt()]
}

// KeyDigest is the SHA-256 that eFuse holds of the block's key.
func (b *V2Block) KeyDigest() [32]byte {
	switch {
	case b.Version() == versionRSA:
		return sha256.Sum256(b.raw[offKey : offKey+rsaKeyArea])
	case b.HashID() == sha384ID:
		return sha256.Sum256(b.raw[offKey384 : offKey384+1+96])
	}
	return sha256.Sum256(b.raw[offKey : offKey+1+eccPointLen])
}

// KeyDigest is the SHA-256 of a public key in the form of its block, which is
// what eFuse holds.
func KeyDigest(pub crypto.PublicKey) ([32]byte, error) {
	var b V2Block
	if err := b.putKey(pub); err != nil {
		return [32]byte{}, err
	}
	return b.KeyDigest(), nil
}

// putKey writes everything that follows from the key.
func (b *V2Block) putKey(pub crypto.PublicKey) error {
	b.raw[0] = v2Magic
	if k, ok := pub.(*rsa.PublicKey); ok {
		return b.putRSA(k)
	}
	xy, err := point(pub)
	if err != nil {
		return err
	}
	b.raw[1] = versionECC
	if len(xy) == 96 {
		b.raw[2] = sha384ID
	}
	at := b.keyAt()
	b.raw[at] = curveID(pub)
	putPair(b.raw[at+1:], xy)
	return nil
}

func (b *V2Block) putRSA(k *rsa.PublicKey) error {
	if k.N.BitLen() != 8*rsaLen {
		return fmt.Errorf("%w: RSA key has %d bits, not 3072", ErrKey, k.N.BitLen())
	}
	b.raw[1] = versionRSA
	putLittle(b.raw[offKey:offE], k.N)
	binary.LittleEndian.PutUint32(b.raw[offE:], uint32(k.E))
	rr := new(big.Int).Lsh(big.NewInt(1), 2*8*rsaLen)
	putLittle(b.raw[offRInv:offM], rr.Mod(rr, k.N))
	word := new(big.Int).Lsh(big.NewInt(1), 32)
	m := new(big.Int).ModInverse(k.N, word)
	if m == nil {
		return fmt.Errorf("%w: even RSA modulus", ErrKey)
	}
	binary.LittleEndian.PutUint32(b.raw[offM:], -uint32(m.Uint64()))
	return nil
}

func putLittle(b []byte, n *big.Int) {
	n.FillBytes(b)
	slices.Reverse(b)
}

// putPair writes two numbers of the same length, each little-endian.
func putPair(b, pair []byte) {
	n := copy(b, pair)
	slices.Reverse(b[:n/2])
	slices.Reverse(b[n/2 : n])
}

func little(b []byte) *big.Int {
	b = slices.Clone(b)
	slices.Reverse(b)
	return new(big.Int).SetBytes(b)
}

// SignV2Block makes the block of one key for content, which must already be
// padded. ECDSA signatures are deterministic; the salt of RSA-PSS comes from
// salt (32 bytes a block), or from content and key if salt is nil.
func SignV2Block(content []byte, key *Key, salt io.Reader) (*V2Block, error) {
	b := &V2Block{}
	if key.Private == nil {
		return nil, fmt.Errorf("%w: no private key", ErrKey)
	}
	if err := b.putKey(key.Public); err != nil {
		return nil, err
	}
	digest := b.hashOf(content)
	copy(b.raw[offDigest:], digest)
	if private, ok := key.Private.(*rsa.PrivateKey); ok {
		if salt == nil {
			seed := sha256.Sum256(append(slices.Clone(digest), b.raw[offKey:offE]...))
			salt = bytes.NewReader(seed[:])
		}
		sig, err := rsa.SignPSS(salt, private, crypto.SHA256, digest, &rsa.PSSOptions{SaltLength: rsaSaltLen})
		if err != nil {
			return nil, fmt.Errorf("%w: %v", ErrKey, err)
		}
		copy(b.raw[offRSASig:], sig)
		slices.Reverse(b.raw[offRSASig : offRSASig+rsaLen])
	} else {
		h := crypto.SHA256
		if b.HashID() == sha384ID {
			h = crypto.SHA384
		}
		sig, err := signECDSA(key.Private, digest, h)
		if err != nil {
			return nil, err
		}
		n := numberLen(b.Curve())
		pair := make([]byte, 2*n)
		sig.R.FillBytes(pair[:n])
		sig.S.FillBytes(pair[n:])
		putPair(b.raw[b.signatureAt():], pair)
	}
	binary.LittleEndian.PutUint32(b.raw[offCRC:], crc32.ChecksumIEEE(b.raw[:offCRC]))
	return b, nil
}

// Reseal returns the 1216 bytes of a block with the checksum that belongs to them.
func Reseal(block []byte) []byte {
	b := slices.Clone(block[:V2BlockSize])
	binary.LittleEndian.PutUint32(b[offCRC:], crc32.ChecksumIEEE(b[:offCRC]))
	return b
}

// numberLen is the length of one coordinate on a curve.
func numberLen(curve byte) int {
	switch curve {
	case curveP192:
		return 24
	case curveP256:
		return 32
	case curveP384:
		return 48
	}
	return 0
}

func (b *V2Block) signatureAt() int {
	switch {
	case b.Version() == versionRSA:
		return offRSASig
	case b.HashID() == sha384ID:
		return offKey384 + 1 + 96
	}
	return offKey + 1 + eccPointLen
}

// SignatureRange is where the signature is in the block, 0 bytes if the block
// names no curve.
func (b *V2Block) SignatureRange() (at, n int) {
	if b.Version() == versionRSA {
		return offRSASig, rsaLen
	}
	return b.signatureAt(), 2 * numberLen(b.Curve())
}

func (b *V2Block) newHash() hash.Hash {
	if b.HashID() == sha384ID {
		return sha512.New384()
	}
	return sha256.New()
}

func (b *V2Block) hashOf(content []byte) []byte {
	h := b.newHash()
	h.Write(content)
	return h.Sum(nil)
}

// rsaVerifies checks the bytes of an RSA signature in the block.
func (b *V2Block) rsaVerifies(pub *rsa.PublicKey, digest []byte) bool {
	sig := slices.Clone(b.raw[offRSASig : offRSASig+rsaLen])
	slices.Reverse(sig)
	return rsa.VerifyPSS(pub, crypto.SHA256, digest, sig, &rsa.PSSOptions{SaltLength: rsaSaltLen}) == nil
}

// pair reads r and s, each n bytes at at.
func (b *V2Block) pair(at, n int) ecdsaSignature {
	return ecdsaSignature{little(b.raw[at : at+n]), little(b.raw[at+n : at+2*n])}
}

// VerifyWithOwnKey checks the signature with the key in the block itself,
// which proves nothing unless the key is trusted.
func (b *V2Block) VerifyWithOwnKey(digest []byte) error {
	if !bytes.Equal(digest, b.Digest()) {
		return fmt.Errorf("%w: digest of the image is %x, the block has %x", ErrSignature, digest, b.Digest())
	}
	pub, err := b.PublicKey()
	if err != nil {
		return fmt.Errorf("%w: %v", ErrSignature, err)
	}
	ok := false
	if k, isRSA := pub.(*rsa.PublicKey); isRSA {
		ok = b.rsaVerifies(k, digest)
	} else {
		ok = verifyECDSA(pub, digest, b.pair(b.signatureAt(), numberLen(b.Curve())))
	}
	if !ok {
		return fmt.Errorf("%w: does not match the key in the block", ErrSignature)
	}
	return nil
}

// PublicKey is the key in the block. The error wraps ErrKey.
func (b *V2Block) PublicKey() (crypto.PublicKey, error) {
	if b.Version() == versionRSA {
		n := little(b.raw[offKey:offE])
		e := binary.LittleEndian.Uint32(b.raw[offE:])
		if n.BitLen() != 8*rsaLen || n.Bit(0) == 0 || e < 3 || e%2 == 0 || e > 1<<31-1 {
			return nil, fmt.Errorf("%w: no RSA-3072 key in the block", ErrKey)
		}
		return &rsa.PublicKey{N: n, E: int(e)}, nil
	}
	n := numberLen(b.Curve())
	if n == 0 || (b.HashID() == sha384ID) != (n == 48) {
		return nil, fmt.Errorf("%w: curve %d with hash %d", ErrKey, b.Curve(), b.HashID())
	}
	at := b.keyAt() + 1
	xy := make([]byte, 2*n)
	putPair(xy, b.raw[at:at+2*n])
	return pointKey(b.Curve(), xy)
}
