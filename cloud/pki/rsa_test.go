package pki

import (
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/aws"
)

func TestRSAKeyComesFromTheSeed(t *testing.T) {
	a, err := RSAKey(aws.Seed{1}, "device")
	require.NoError(t, err)
	b, err := RSAKey(aws.Seed{1}, "device")
	require.NoError(t, err)
	require.True(t, a.Equal(b))
	require.Equal(t, 2048, a.N.BitLen())
	c, err := RSAKey(aws.Seed{1}, "another")
	require.NoError(t, err)
	require.False(t, a.Equal(c))
}

func TestIssuedCertificate(t *testing.T) {
	epoch := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	a, err := New(aws.Seed{1}, epoch)
	require.NoError(t, err)
	key, err := RSAKey(aws.Seed{1}, "device")
	require.NoError(t, err)
	der, err := a.Issue("1", pkix.Name{CommonName: "AWS IoT Certificate"}, &key.PublicKey)
	require.NoError(t, err)
	again, err := a.Issue("1", pkix.Name{CommonName: "AWS IoT Certificate"}, &key.PublicKey)
	require.NoError(t, err)
	require.Equal(t, der, again)
	_, err = a.Verify(epoch, [][]byte{der})
	require.NoError(t, err)
	c, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	require.True(t, key.PublicKey.Equal(c.PublicKey.(*rsa.PublicKey)))
	_, err = a.Issue("2", pkix.Name{}, "no key")
	require.Error(t, err)
}
