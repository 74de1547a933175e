package secureboot

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/image"
)

func sha256Of(s string) []byte {
	d := sha256.Sum256([]byte(s))
	return d[:]
}

func class(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return ""
	}
	var refused *ToolError
	require.ErrorAs(t, err, &refused)
	return refused.Class
}

func TestV1Tool(t *testing.T) {
	key, other := ecKey(t, elliptic.P256(), 1), ecKey(t, elliptic.P256(), 2)
	content := bytes.Repeat([]byte("firmware"), 100)
	signed, err := SignV1(content, key)
	require.NoError(t, err)
	require.Len(t, signed, len(content)+V1BlockSize)
	again, err := SignV1(content, key)
	require.NoError(t, err)
	require.Equal(t, signed, again)

	require.NoError(t, VerifyV1(signed, publicPEM(t, key)))
	require.Equal(t, ClassInvalid, class(t, VerifyV1(signed, publicPEM(t, other))))
	require.Equal(t, ClassCrash, class(t, VerifyV1(signed[:67], publicPEM(t, key))))
	require.Equal(t, ClassBadKey, class(t, VerifyV1(signed, []byte("no key"))))
	require.Equal(t, ClassWrongCurve, class(t, VerifyV1(signed, publicPEM(t, ecKey(t, elliptic.P384(), 1)))))
	require.Equal(t, ClassCrash, class(t, VerifyV1(signed, publicPEM(t, rsaKey()))))
	signed[len(content)] = 1
	require.Equal(t, ClassSigVersion, class(t, VerifyV1(signed, publicPEM(t, key))))

	for want, keys := range map[string][]*Key{
		ClassTooManyKeys: {key, other}, ClassWrongCurve: {p192Key(t, 5)}, ClassCrash: {rsaKey()}, ClassBadKey: {{Public: key.Public}},
	} {
		_, err := SignV1(content, keys...)
		require.Equal(t, want, class(t, err))
	}
}

func TestV2Tool(t *testing.T) {
	for name, key := range allKeys(t) {
		t.Run(name, func(t *testing.T) {
			content := bytes.Repeat([]byte("firmware"), 700)
			signed, err := SignV2(content, []*Key{key}, SignOptions{})
			require.NoError(t, err)
			require.Len(t, signed, 8192+V2SectorSize)
			require.Equal(t, bytes.Repeat([]byte{0xFF}, 8192-len(content)), signed[len(content):8192])
			again, err := SignV2(content, []*Key{key}, SignOptions{})
			require.NoError(t, err)
			require.Equal(t, signed, again, "deterministic, salt included")

			require.NoError(t, VerifyV2Key(signed, key, false))
			infos := InfoV2(signed)
			require.Len(t, infos, 1)
			require.True(t, infos[0].DigestOK)
			digest, err := KeyDigest(key.Public)
			require.NoError(t, err)
			require.Equal(t, digest, infos[0].KeyDigest)

			b := DecodeV2(signed[8192:])[0]
			pub, err := b.PublicKey()
			require.NoError(t, err)
			require.Equal(t, key.Public, pub)
			require.NoError(t, b.VerifyWithOwnKey(b.hashOf(signed[:8192])))
			require.ErrorIs(t, b.VerifyWithOwnKey(b.hashOf(signed[:8191])), ErrSignature)

			changed := bytes.Clone(signed)
			changed[5] ^= 1
			require.Equal(t, ClassDigest, class(t, VerifyV2Key(changed, key, false)))
			require.Equal(t, ClassNotAligned, class(t, VerifyV2Key(signed[1:], key, false)))
			require.Equal(t, ClassNotVerified, class(t, VerifyV2Key(signed[:8192], key, false)))
		})
	}
}

func TestV2Append(t *testing.T) {
	keys := []*Key{ecKey(t, elliptic.P256(), 1), ecKey(t, elliptic.P256(), 2), ecKey(t, elliptic.P256(), 3)}
	signed, err := SignV2([]byte("content"), keys[:1], SignOptions{})
	require.NoError(t, err)
	for n := 2; n <= 3; n++ {
		before := bytes.Clone(signed[4096 : 4096+(n-1)*V2BlockSize])
		signed, err = SignV2(signed, keys[n-1:n], SignOptions{Append: true})
		require.NoError(t, err)
		require.Len(t, signed, 8192)
		require.Len(t, InfoV2(signed), n)
		require.Equal(t, before, signed[4096:4096+len(before)], "old blocks stay")
	}
	for _, k := range keys {
		require.NoError(t, VerifyV2(signed, publicPEM(t, k), false))
	}
	_, err = SignV2(signed, keys[:1], SignOptions{Append: true})
	require.Equal(t, ClassTooManyKeys, class(t, err))
	_, err = SignV2(nil, keys[:1], SignOptions{Append: true})
	require.Equal(t, ClassCrash, class(t, err))
	_, err = SignV2([]byte("x"), append(keys, keys[0]), SignOptions{})
	require.Equal(t, ClassTooManyKeys, class(t, err))

	again, err := SignV2(signed, keys[:1], SignOptions{})
	require.NoError(t, err)
	require.Len(t, again, 3*4096, "without append the old sector is content")
	odd, err := SignV2([]byte("odd"), keys[:1], SignOptions{SkipPadding: true})
	require.NoError(t, err)
	require.Len(t, odd, 3+4096)
	require.NoError(t, VerifyV2(odd, publicPEM(t, keys[0]), true))
}

type flat []byte

var errOutside = errors.New("outside")

func (f flat) Read(addr uint32, dst []byte) error {
	if uint64(addr)+uint64(len(dst)) > uint64(len(f)) {
		return errOutside
	}
	copy(dst, f[addr:])
	return nil
}

func flashWith(addr uint32, data []byte) flat {
	f := bytes.Repeat([]byte{0xFF}, 1<<20)
	copy(f[addr:], data)
	return f
}

func build(t *testing.T, size uint32, chip *image.Chip) []byte {
	t.Helper()
	img, err := image.Build(image.Spec{Version: "1.0.0", Project: "signed", Size: size, Chip: chip})
	require.NoError(t, err)
	return img
}

func TestV1OnChip(t *testing.T) {
	key, other := ecKey(t, elliptic.P256(), 1), ecKey(t, elliptic.P256(), 2)
	img := build(t, 20000, nil)
	signed, err := SignV1(img, key)
	require.NoError(t, err)
	check, err := NewV1(key)
	require.NoError(t, err)
	const addr, size = 0x10000, 0x10000
	opt := image.VerifyOptions{Mode: image.BootLoad, Signature: check}

	md, code := image.Verify(flashWith(addr, signed), addr, size, opt)
	require.Equal(t, image.OK, code, md.Why)
	require.EqualValues(t, len(signed), md.ImageLen)
	require.True(t, md.Signed)

	md, code = image.Verify(flashWith(addr, img), addr, size, opt)
	require.Equal(t, image.ErrInvalid, code)
	require.Equal(t, 14, md.FailStep)
	require.Contains(t, md.Why, "image valid, signature bad")

	wrong, err := NewV1(other)
	require.NoError(t, err)
	_, code = image.Verify(flashWith(addr, signed), addr, size, image.VerifyOptions{Signature: wrong})
	require.Equal(t, image.ErrInvalid, code)

	// the block must start right after the image
	late := append(append(bytes.Clone(img), 0xFF), signed[len(img):]...)
	_, code = image.Verify(flashWith(addr, late), addr, size, opt)
	require.Equal(t, image.ErrInvalid, code)

	// an appended hash is signed as well, and no longer compared by itself
	bad := bytes.Clone(img)
	bad[len(bad)-1] ^= 1
	bad, err = SignV1(bad, key)
	require.NoError(t, err)
	_, code = image.Verify(flashWith(addr, bad), addr, size, opt)
	require.Equal(t, image.OK, code)
	bad[len(img)-1] ^= 1
	md, code = image.Verify(flashWith(addr, bad), addr, size, opt)
	require.Equal(t, image.ErrInvalid, code)
	require.Contains(t, md.Why, "image valid, signature bad")

	// 68 bytes more must fit
	big := build(t, 0x10000-64, nil)
	signed, err = SignV1(big, key)
	require.NoError(t, err)
	md, code = image.Verify(flashWith(addr, signed), addr, size, opt)
	require.Equal(t, image.ErrInvalid, code)
	require.Equal(t, 13, md.FailStep)
	_, code = image.Verify(flashWith(addr, signed), addr, size+4096, opt)
	require.Equal(t, image.OK, code)

	_, err = NewV1(p192Key(t, 3))
	require.ErrorIs(t, err, ErrKey)
}

func TestV2OnChip(t *testing.T) {
	const addr, size = 0x10000, 0x10000
	for name, c := range map[string]struct {
		key    *Key
		scheme Scheme
		chip   *image.Chip
		length uint32
	}{
		"ESP32 RSA":      {rsaKey(), RSA3072, image.ESP32, 20480 + V2BlockSize},
		"ESP32-S3 RSA":   {rsaKey(), RSA3072, image.ESP32S3, 20480 + V2SectorSize},
		"ESP32-C3 P-192": {p192Key(t, 7), ECDSA192, image.ESP32C3, 20480 + V2SectorSize},
		"ESP32-C3 P-256": {ecKey(t, elliptic.P256(), 1), ECDSA256, image.ESP32C3, 20480 + V2SectorSize},
		"ESP32-C3 P-384": {ecKey(t, elliptic.P384(), 1), ECDSA384, image.ESP32C3, 20480 + V2SectorSize},
	} {
		t.Run(name, func(t *testing.T) {
			img := build(t, 20000, c.chip)
			signed, err := SignV2(img, []*Key{c.key}, SignOptions{})
			require.NoError(t, err)
			keys, err := TrustKeys(c.key)
			require.NoError(t, err)
			verify := func(file []byte, cfg V2Config) (image.Metadata, image.Err) {
				cfg.Chip, cfg.Scheme = c.chip, c.scheme
				opt := image.VerifyOptions{Mode: image.BootLoad, Chip: c.chip, Revision: 300, Signature: NewV2(cfg)}
				return image.Verify(flashWith(addr, file), addr, size, opt)
			}
			md, code := verify(signed, V2Config{Keys: keys})
			require.Equal(t, image.OK, code, md.Why)
			require.Equal(t, c.length, md.ImageLen)

			_, code = verify(signed, V2Config{FirstBoot: true})
			require.Equal(t, image.OK, code)
			revoked := keys
			revoked[0].Revoked = true
			for _, cfg := range []V2Config{{}, {Keys: revoked}} {
				md, code = verify(signed, cfg)
				require.Equal(t, image.ErrInvalid, code)
				require.Contains(t, md.Why, "no trusted key")
			}
			other := keys
			other[0].Digest[0] ^= 1
			md, code = verify(signed, V2Config{Keys: other})
			require.Equal(t, image.ErrInvalid, code)
			require.Contains(t, md.Why, "is not trusted")

			for _, at := range []int{len(img) + 10, 20480 + 4, 20480 + 812, 20480 + 110} {
				bad := bytes.Clone(signed)
				bad[at] ^= 1
				md, code = verify(bad, V2Config{Keys: keys})
				require.Equal(t, image.ErrInvalid, code, "byte %d", at)
				require.Equal(t, 14, md.FailStep)
			}

			got, err := RunningKeys(flashWith(addr, signed), &md)
			require.ErrorIs(t, err, ErrNoTrust, "failed metadata has no place")
			require.False(t, got.Any())
			md, _ = verify(signed, V2Config{Keys: keys})
			got, err = RunningKeys(flashWith(addr, signed), &md)
			require.NoError(t, err)
			require.Equal(t, keys, got)
			md, code = verify(signed, V2Config{Keys: got, NoHardware: true})
			require.Equal(t, image.OK, code, md.Why)
		})
	}
}

// Later chips take any of three blocks with any of three keys.
func TestV2ManyKeys(t *testing.T) {
	keys := []*Key{ecKey(t, elliptic.P256(), 1), ecKey(t, elliptic.P256(), 2), ecKey(t, elliptic.P256(), 3)}
	content := bytes.Repeat([]byte{1}, 4096)
	signed, err := SignV2(content, keys[:2], SignOptions{})
	require.NoError(t, err)
	sector, digest := signed[4096:], sha256.Sum256(content)
	trusted, err := TrustKeys(keys[2], keys[1])
	require.NoError(t, err)

	cfg := V2Config{Chip: image.ESP32C3, Scheme: ECDSA256, Keys: trusted}
	require.NoError(t, NewV2(cfg).Check(digest[:], sector), "second block, second key")
	cfg.NoHardware = true
	require.Error(t, NewV2(cfg).Check(digest[:], sector), "without hardware the first block counts alone")
	cfg.NoHardware = false
	cfg.Chip = image.ESP32
	require.Error(t, NewV2(cfg).Check(digest[:], sector), "the ESP32 looks at the first block")
	cfg.Scheme = RSA3072
	cfg.Chip = image.ESP32C3
	require.ErrorContains(t, NewV2(cfg).Check(digest[:], sector), "not RSA-3072")
	require.NotEqual(t, NewV2(cfg).ID(), NewV2(V2Config{Keys: trusted}).ID())

	_, err = TrustKeys(keys[0], keys[0], keys[0], keys[0])
	require.ErrorIs(t, err, ErrKey)
}

func TestRevocation(t *testing.T) {
	keys := []*Key{ecKey(t, elliptic.P256(), 1), ecKey(t, elliptic.P256(), 2)}
	content := bytes.Repeat([]byte{1}, 4096)
	digest := sha256.Sum256(content)
	signed, err := SignV2(content, keys, SignOptions{})
	require.NoError(t, err)
	sector := signed[4096:]
	trusted, err := TrustKeys(keys...)
	require.NoError(t, err)
	// damage the signature of the first block
	b := DecodeV2(sector)[0]
	at, n := b.SignatureRange()
	require.Equal(t, 64, n)
	sector[at+3] ^= 1
	fixCRC(sector[:V2BlockSize])

	v := NewV2(V2Config{Chip: image.ESP32C3, Scheme: ECDSA256, Keys: trusted})
	after, err := v.VerifyBootloader(digest[:], sector, false)
	require.NoError(t, err)
	require.Equal(t, trusted, after, "conservative")

	after, err = v.VerifyBootloader(digest[:], sector, true)
	require.NoError(t, err, "the second key still holds")
	require.True(t, after[0].Revoked)
	require.False(t, after[1].Revoked)

	v = NewV2(V2Config{Chip: image.ESP32C3, Scheme: ECDSA256, Keys: after})
	good, err := SignV2(content, keys[:1], SignOptions{})
	require.NoError(t, err)
	_, err = v.VerifyBootloader(digest[:], good[4096:], true)
	require.ErrorIs(t, err, ErrSignature, "a revoked key verifies nothing")
}

func TestTrailer(t *testing.T) {
	key := ecKey(t, elliptic.P256(), 1)
	sig, err := signECDSA(key.Private, sha256Of("file"), crypto.SHA256)
	require.NoError(t, err)
	der, err := asn1.Marshal(sig)
	require.NoError(t, err)
	tr, err := TrailerFromDER(der)
	require.NoError(t, err)
	raw := tr.Encode()
	signed, err := SignV1([]byte("file"), key)
	require.NoError(t, err)
	require.Equal(t, signed[4:], raw[:V1BlockSize], "a V1 block")
	require.Equal(t, bytes.Repeat([]byte{0xFF}, 12), raw[V1BlockSize:])
	got, err := DecodeTrailer(raw[:])
	require.NoError(t, err)
	require.Equal(t, tr, got)
	raw[79] = 0
	_, err = DecodeTrailer(raw[:])
	require.ErrorIs(t, err, ErrTrailer)
	_, err = DecodeTrailer(raw[:79])
	require.ErrorIs(t, err, ErrTrailer)
	for _, bad := range []string{"", "30060201ff020101", "3003020101"} {
		b, err := hex.DecodeString(bad)
		require.NoError(t, err)
		_, err = TrailerFromDER(b)
		require.ErrorIs(t, err, ErrTrailer)
	}
}

// A slot that FreeRTOS filled verifies as a Secure Boot V1 image.
func TestTrailerIsV1(t *testing.T) {
	key := ecKey(t, elliptic.P256(), 1)
	img := build(t, 20000, nil)
	digest := sha256.Sum256(img)
	sig, err := signECDSA(key.Private, digest[:], crypto.SHA256)
	require.NoError(t, err)
	der, err := asn1.Marshal(sig)
	require.NoError(t, err)
	tr, err := TrailerFromDER(der)
	require.NoError(t, err)
	raw := tr.Encode()
	chip, ok := flashmodel.ChipByName("4MB")
	require.True(t, ok)
	f := flashmodel.New(flashmodel.NewStore(), chip)
	require.NoError(t, f.Load(0x20000, append(bytes.Clone(img), raw[:]...)))
	check, err := NewV1(key)
	require.NoError(t, err)
	for range 2 {
		md, code := image.Verify(f, 0x20000, 0x10000, image.VerifyOptions{Signature: check})
		require.Equal(t, image.OK, code, md.Why)
	}
	other, err := NewV1(ecKey(t, elliptic.P256(), 2))
	require.NoError(t, err)
	_, code := image.Verify(f, 0x20000, 0x10000, image.VerifyOptions{Signature: other})
	require.Equal(t, image.ErrInvalid, code, "another key is another question to the memory")
}

func TestBootloaderDigestRefuses(t *testing.T) {
	img := build(t, 4096, nil)
	for _, c := range [][3][]byte{
		{make([]byte, 31), make([]byte, 128), img},
		{make([]byte, 32), make([]byte, 129), img},
		{make([]byte, 32), make([]byte, 127), img},
		{make([]byte, 32), make([]byte, 128), img[:10]},
	} {
		_, err := BootloaderDigest(c[0], c[1], c[2])
		require.ErrorIs(t, err, ErrDigest)
	}
	sector, err := BootloaderDigest(make([]byte, 32), make([]byte, 128), img)
	require.NoError(t, err)
	require.Len(t, sector, V1DigestSize)
	require.Equal(t, make([]byte, 128), sector[:128])
}
