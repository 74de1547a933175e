package pki

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"math/rand/v2"

	"github.com/otasim/otasim/cloud/aws"
)

// RSAKey derives the 2048-bit RSA key of the named owner: both primes are the
// first ones after numbers drawn from the seed. One costs about 0.2 s.
func RSAKey(seed aws.Seed, owner string) (*rsa.PrivateKey, error) {
	return RSAKeyOf(2048, seed, owner)
}

// RSAKeyOf is RSAKey with another number of bits, a multiple of 16. One of 3072 bits costs about 0.6 s.
func RSAKeyOf(bits int, seed aws.Seed, owner string) (*rsa.PrivateKey, error) {
	r := seed.Sub("rsa " + owner).Rand()
	e, one := big.NewInt(65537), big.NewInt(1)
	for {
		p, q := prime(r, e, bits/2), prime(r, e, bits/2)
		if p.Cmp(q) == 0 {
			continue
		}
		phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
		key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537}, D: new(big.Int).ModInverse(e, phi), Primes: []*big.Int{p, q}}
		key.Precompute()
		if err := key.Validate(); err != nil {
			return nil, fmt.Errorf("pki: RSA key of %s: %w", owner, err)
		}
		return key, nil
	}
}

// prime finds a prime of so many bits, the upper two set, that e may be used with.
func prime(r *rand.Rand, e *big.Int, bits int) *big.Int {
	raw := make([]byte, bits/8)
	for i := range raw {
		raw[i] = byte(r.Uint32())
	}
	raw[0] |= 0xc0
	raw[len(raw)-1] |= 1
	p, two, one := new(big.Int).SetBytes(raw), big.NewInt(2), big.NewInt(1)
	// ProbablyPrime(0) is the Baillie-PSW test, without a known counterexample.
	for !p.ProbablyPrime(0) || new(big.Int).Mod(new(big.Int).Sub(p, one), e).Sign() == 0 {
		p.Add(p, two)
	}
	return p
}

// Issue signs a certificate for a client's public key. serial names the
// certificate among all that the authority issues.
func (a *Authority) Issue(serial string, subject pkix.Name, pub crypto.PublicKey) (der []byte, err error) {
	tmpl := &x509.Certificate{SerialNumber: a.serial(serial), Subject: subject, NotBefore: a.from, NotAfter: a.to, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if der, err = x509.CreateCertificate(nil, tmpl, a.cert, pub, a.key); err != nil {
		return nil, fmt.Errorf("pki: certificate %s: %w", serial, err)
	}
	return der, nil
}
