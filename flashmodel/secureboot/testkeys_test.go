package secureboot

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// rsaKey is a key made for these tests.
var rsaKey = sync.OnceValue(func() *Key {
	primes := make([]*big.Int, 2)
	for i, text := range []string{
		"17wgayzn37lx2mo3epw7ehkoneldz7t8em4kxy0zs7t2dbu4ewm0wwuk9eg572wd5twagi2k4794578zh41rc0d6rfshrlj2epw4" +
			"le7ln1ysuxp8ty0dr1q7q0oixw1z6e5lr4arhd0pf0smnilt2ycwxbom83sup7g8y3za65xwrkwcuoi2vdj8qy2cp5eon2k0hfa8" +
			"bhh3cg1axu5auuszic0ueh6qmilft1anwmmpuwh8sv4mfsf9048fhzb6k7oso60cuhk3xev5toau41r6tgte5h1c0x7z4akirz",
		"1dsvx0u4tx7mf34x39hf4uws4xq075ujaam6mp3d7tgke8n2353saxiy7zvgtfb4w6xbpwf51qghd19edy3gbgifwk4to7hv9q9x" +
			"odb6frz8o76isljao9y1tim2o0hudm0efat1qezy8stq8jvvbq9ox8mtdtbokfroo6m3zbd8zjbldzf5f56w57bpc1dq9mlpm7ab" +
			"psqkvhrahliz3tf251aht3139kfkripqzm094ytcoslexpb9ce68sbmo33c5fxhfo5wc1n4rum6zualel1296p9xj5923wj2zd",
	} {
		primes[i], _ = new(big.Int).SetString(text, 36)
	}
	n := new(big.Int).Mul(primes[0], primes[1])
	one := big.NewInt(1)
	phi := new(big.Int).Mul(new(big.Int).Sub(primes[0], one), new(big.Int).Sub(primes[1], one))
	k := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n, E: 65537}, Primes: primes}
	k.D = new(big.Int).ModInverse(big.NewInt(65537), phi)
	k.Precompute()
	return &Key{Label: LabelRSA, Private: k, Public: &k.PublicKey}
})

func ecKey(t testing.TB, c elliptic.Curve, n byte) *Key {
	t.Helper()
	raw := make([]byte, (c.Params().BitSize+7)/8)
	raw[len(raw)-1], raw[5] = n, 0x77
	k, err := ecdsa.ParseRawPrivateKey(c, raw)
	require.NoError(t, err)
	return &Key{Label: LabelEC, Private: k, Public: &k.PublicKey}
}

func p192Key(t testing.TB, n int64) *Key {
	t.Helper()
	der, err := asn1.Marshal(sec1{Version: 1, D: big.NewInt(n).FillBytes(make([]byte, p192Len)), Curve: oidP192})
	require.NoError(t, err)
	k, err := ParseDER(LabelEC, der)
	require.NoError(t, err)
	return k
}

func allKeys(t testing.TB) map[string]*Key {
	return map[string]*Key{
		"P-192": p192Key(t, 0x123456789), "P-256": ecKey(t, elliptic.P256(), 1), "P-384": ecKey(t, elliptic.P384(), 2), "RSA": rsaKey(),
	}
}

func publicPEM(t testing.TB, k *Key) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(k.Public)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: LabelPublic, Bytes: der})
}

func TestParseKey(t *testing.T) {
	ec := ecKey(t, elliptic.P256(), 9)
	sec1DER, err := x509.MarshalECPrivateKey(ec.Private.(*ecdsa.PrivateKey))
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(ec.Private)
	require.NoError(t, err)
	params := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{1}})
	for label, der := range map[string][]byte{LabelEC: sec1DER, LabelPrivate: pkcs8} {
		k, err := ParseKey(append(params, pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der})...))
		require.NoError(t, err)
		require.Equal(t, label, k.Label)
		require.Equal(t, ec.Private, k.Private)
	}
	k, err := ParseKey(publicPEM(t, ec))
	require.NoError(t, err)
	require.Nil(t, k.Private)
	require.Equal(t, ec.Public, k.Public)

	xy, err := point(ec.Public)
	require.NoError(t, err)
	k, err = ParseKey(xy)
	require.NoError(t, err)
	require.Equal(t, ec.Public, k.Public)

	xy[40] ^= 1
	for _, bad := range [][]byte{nil, xy, xy[:63], []byte("-----BEGIN PUBLIC KEY-----"), params} {
		_, err = ParseKey(bad)
		require.ErrorIs(t, err, ErrKey)
	}
	small, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(&small.PublicKey)
	require.NoError(t, err)
	_, err = ParseDER(LabelPublic, der)
	require.ErrorIs(t, err, ErrKey)
}

// The example of RFC 6979, appendix A.2.3: P-192, SHA-256, message "sample".
func TestP192KnownAnswer(t *testing.T) {
	d, _ := new(big.Int).SetString("6FAB034934E4C0FC9AE67F5B5659A9D7D1FEFD187EE09FD4", 16)
	der, err := asn1.Marshal(sec1{Version: 1, D: d.Bytes(), Curve: oidP192})
	require.NoError(t, err)
	k, err := ParseDER(LabelEC, der)
	require.NoError(t, err)
	pub := k.Public.(*P192PublicKey)
	require.Equal(t, hexInt("AC2C77F529F91689FEA0EA5EFEC7F210D8EEA0B9E047ED56"), pub.x)
	require.Equal(t, hexInt("3BC723E57670BD4887EBC732C523063D0A7C957BC97C1C43"), pub.y)
	digest := sha256Of("sample")
	sig := k.Private.(*P192PrivateKey).sign(digest)
	require.Equal(t, hexInt("4B0B8CE98A92866A2820E20AA6B75B56382E0F9BFD5ECB55"), sig.R)
	require.Equal(t, hexInt("CCDB006926EA9565CBADC840829D8C384E06DE1F1E381B85"), sig.S)
	require.True(t, pub.verify(digest, sig))
	require.False(t, pub.verify(sha256Of("simple"), sig))
	require.False(t, pub.verify(digest, ecdsaSignature{sig.S, sig.R}))
	require.False(t, pub.verify(digest, ecdsaSignature{new(big.Int), sig.S}))
}
