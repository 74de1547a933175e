package pki

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/aws"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func authority(t testing.TB, seed byte) *Authority {
	a, err := New(aws.Seed{seed}, epoch)
	require.NoError(t, err)
	return a
}

func TestDeviceCertificatesAreRealAndRepeatable(t *testing.T) {
	a, b := authority(t, 1), authority(t, 1)
	der, key, err := a.Device("esp32-00001")
	require.NoError(t, err)
	again, _, err := b.Device("esp32-00001")
	require.NoError(t, err)
	require.Equal(t, der, again)

	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	require.NoError(t, c.CheckSignatureFrom(a.Certificate()))
	require.Equal(t, "esp32-00001", c.Subject.CommonName)
	require.True(t, key.PublicKey.Equal(c.PublicKey))
	require.Equal(t, x509.KeyUsageDigitalSignature, c.KeyUsage)
	require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, c.ExtKeyUsage)
	require.True(t, c.BasicConstraintsValid && !c.IsCA)
	require.Equal(t, a.Certificate().SubjectKeyId, c.AuthorityKeyId)

	other, _, err := a.Device("esp32-00002")
	require.NoError(t, err)
	require.NotEqual(t, der, other)
}

func TestServerAndCodeSigner(t *testing.T) {
	a := authority(t, 1)
	chain, _, err := a.Server("data.iot.example")
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(chain[0])
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(a.Certificate())
	_, err = leaf.Verify(x509.VerifyOptions{DNSName: "data.iot.example", Roots: roots, CurrentTime: epoch})
	require.NoError(t, err)

	der, key, err := a.CodeSigner("signer", nil)
	require.NoError(t, err)
	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	require.Equal(t, x509.KeyUsageDigitalSignature, c.KeyUsage)
	require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, c.ExtKeyUsage)
	require.True(t, key.PublicKey.Equal(c.PublicKey))
}

func TestVerify(t *testing.T) {
	a, fresh, stranger := authority(t, 1), authority(t, 1), authority(t, 2)
	der, _, err := a.Device("d")
	require.NoError(t, err)
	foreign, _, err := stranger.Device("d")
	require.NoError(t, err)
	for range 2 { // the second time from memory
		_, err = fresh.Verify(epoch, [][]byte{der})
		require.NoError(t, err)
		_, err = fresh.Verify(epoch, [][]byte{foreign})
		require.ErrorIs(t, err, ErrUnknownAuthority)
		_, err = fresh.Verify(epoch.AddDate(-1, 0, 0), [][]byte{der})
		require.ErrorIs(t, err, ErrNotYetOrNoMore)
		_, err = fresh.Verify(epoch.AddDate(40, 0, 0), [][]byte{der})
		require.ErrorIs(t, err, ErrNotYetOrNoMore)
	}
	bad := append([]byte(nil), der...)
	bad[len(bad)-5] ^= 1
	_, err = fresh.Verify(epoch, [][]byte{bad})
	require.Error(t, err)
	_, err = fresh.Verify(epoch, nil)
	require.ErrorIs(t, err, ErrMalformed)
	_, err = fresh.Verify(epoch, [][]byte{{1, 2, 3}})
	require.ErrorIs(t, err, ErrMalformed)
}

func TestPEM(t *testing.T) {
	a := authority(t, 1)
	der, err := ParsePEM(PEM(a.Certificate().Raw))
	require.NoError(t, err)
	require.Equal(t, a.Certificate().Raw, der)
	_, err = ParsePEM("nothing")
	require.ErrorIs(t, err, ErrMalformed)
	_, err = ParseKeyPEM("nothing")
	require.ErrorIs(t, err, ErrMalformed)
}

func BenchmarkDevice(b *testing.B) {
	a := authority(b, 1)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := a.Device("esp32-field-00001"); err != nil {
			b.Fatal(err)
		}
	}
}
