package secureboot

import (
	"bytes"
	"crypto/elliptic"
	"encoding/binary"
	"hash/crc32"
	"testing"

	"github.com/otasim/otasim/flashmodel/image"
)

// fixCRC makes a changed block well-formed again.
func fixCRC(block []byte) {
	binary.LittleEndian.PutUint32(block[offCRC:], crc32.ChecksumIEEE(block[:offCRC]))
}

func FuzzV2Sector(f *testing.F) {
	key := ecKey(f, elliptic.P256(), 1)
	for _, k := range []*Key{key, ecKey(f, elliptic.P384(), 1), p192Key(f, 9), rsaKey()} {
		signed, err := SignV2([]byte("x"), []*Key{k}, SignOptions{})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(signed[4096 : 4096+V2BlockSize])
	}
	f.Add(bytes.Repeat([]byte{0xFF}, 100))
	keys, err := TrustKeys(key, rsaKey())
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file := make([]byte, 2*V2SectorSize)
		n := copy(file[V2SectorSize:], data)
		for i := range min(n/V2BlockSize, V2MaxBlocks) {
			fixCRC(file[V2SectorSize+i*V2BlockSize:])
		}
		for _, b := range DecodeV2(file[V2SectorSize:]) {
			if len(b.Digest()) != len(b.hashOf(nil)) {
				t.Fatal("digest length")
			}
			if pub, err := b.PublicKey(); err == nil {
				var again V2Block
				if err := again.putKey(pub); err != nil {
					t.Fatal(err)
				}
				at, m := b.keyAt()+1, 2*numberLen(b.Curve())
				if b.Version() == versionECC && !bytes.Equal(again.raw[at:at+m], b.raw[at:at+m]) {
					t.Fatal("key does not survive encoding")
				}
			}
		}
		for _, k := range []*Key{key, rsaKey()} {
			_ = VerifyV2Key(file, k, false)
		}
		digest := make([]byte, 32)
		sector := file[V2SectorSize:]
		scheme := Scheme(sector[offKey] % 4)
		v := NewV2(V2Config{Chip: image.ESP32C3, Scheme: scheme, Keys: keys, FirstBoot: len(data)%2 == 0})
		_, err := v.VerifyBootloader(digest, sector, true)
		if (err == nil) != (v.Check(digest, sector) == nil) {
			t.Fatal("ROM and bootloader disagree")
		}
	})
}

func FuzzParseKey(f *testing.F) {
	f.Add(publicPEM(f, ecKey(f, elliptic.P256(), 1)))
	f.Add(publicPEM(f, rsaKey()))
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := ParseKey(data)
		if err != nil {
			return
		}
		if _, err := KeyDigest(k.Public); err != nil && curveID(k.Public) != 0 {
			t.Fatal(err)
		}
		_ = VerifyV1Key(make([]byte, 100), k)
		_ = VerifyV2Key(make([]byte, 8192), k, false)
	})
}

func FuzzTrailer(f *testing.F) {
	tr := Trailer{R: [32]byte{1}, S: [32]byte{2}}
	raw := tr.Encode()
	f.Add(raw[:])
	f.Add([]byte{0x30, 6, 2, 1, 1, 2, 1, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = TrailerFromDER(data)
		tr, err := DecodeTrailer(data)
		if err != nil {
			return
		}
		if again := tr.Encode(); !bytes.Equal(again[:], data[:TrailerSize]) {
			t.Fatal("trailer does not survive encoding")
		}
	})
}
