// Package pki issues the X.509 certificates of a cloud from its seed: a root
// authority, the server's certificate, one certificate per device and those
// that sign code. Equal seeds give equal keys and equal certificates, byte for
// byte: keys are derived (HKDF, then a raw P-256 scalar), signatures follow
// RFC 6979.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha1" //nolint:gosec // a key identifier by RFC 5280, section 4.2.1.2, not a protection
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/otasim/otasim/cloud/aws"
)

// Why a chain of certificates is refused.
var (
	ErrUnknownAuthority = errors.New("certificate signed by an unknown authority")
	ErrNotYetOrNoMore   = errors.New("certificate outside its validity")
	ErrMalformed        = errors.New("malformed certificate")
)

// Fingerprint is the SHA-256 of a certificate's DER.
type Fingerprint [sha256.Size]byte

// Key derives the P-256 key of the named owner.
func Key(seed aws.Seed, owner string) (*ecdsa.PrivateKey, error) {
	for n := byte(0); ; n++ {
		raw, err := hkdf.Key(sha256.New, seed[:], nil, "p256 "+owner+string(rune('0'+n)), 32)
		if err != nil {
			return nil, fmt.Errorf("pki: key of %s: %w", owner, err)
		}
		// A scalar of 0 or beyond the group order has a chance of 2^-32.
		if key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw); err == nil {
			return key, nil
		} else if n == 9 {
			return nil, fmt.Errorf("pki: key of %s: %w", owner, err)
		}
	}
}

// Authority is a root certificate with its key.
type Authority struct {
	seed      aws.Seed
	cert      *x509.Certificate
	key       *ecdsa.PrivateKey
	keyID     []byte
	from, to  time.Time
	issuer    asn1.RawValue
	validity  asn1.RawValue
	exts      asn1.RawValue
	roots     *x509.CertPool
	confirmed map[Fingerprint]validity // signed by this authority: checked or made here
}

type validity struct{ from, to int64 }

var sigECDSAWithSHA256 = pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}}

// New makes the authority of a seed. Certificates are valid from one day
// before epoch to the end of 2049, or for 25 years when that is later.
func New(seed aws.Seed, epoch time.Time) (*Authority, error) {
	a := &Authority{seed: seed, from: epoch.UTC().Add(-24 * time.Hour).Truncate(time.Second),
		to: time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC), confirmed: map[Fingerprint]validity{}}
	if later := epoch.UTC().AddDate(25, 0, 0).Truncate(time.Second); later.After(a.to) {
		a.to = later
	}
	var err error
	if a.key, err = Key(seed, "root"); err != nil {
		return nil, err
	}
	if a.keyID, err = keyID(&a.key.PublicKey); err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{SerialNumber: a.serial("root"), Subject: pkix.Name{Country: []string{"US"}, Organization: []string{"Simulated"}, CommonName: "Simulated Root CA 1"},
		NotBefore: a.from, NotAfter: a.to, IsCA: true, BasicConstraintsValid: true, SubjectKeyId: a.keyID,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(nil, tmpl, tmpl, &a.key.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("pki: root: %w", err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("pki: root: %w", err)
	}
	a.roots = x509.NewCertPool()
	a.roots.AddCert(a.cert)
	return a, a.prepare()
}

// prepare encodes what all device certificates have in common.
func (a *Authority) prepare() error {
	a.issuer = asn1.RawValue{FullBytes: a.cert.RawSubject}
	v, err := asn1.Marshal(struct{ From, To time.Time }{a.from, a.to})
	if err != nil {
		return fmt.Errorf("pki: validity: %w", err)
	}
	a.validity = asn1.RawValue{FullBytes: v}
	authority, err := asn1.Marshal(struct {
		ID []byte `asn1:"tag:0"`
	}{a.keyID})
	if err != nil {
		return fmt.Errorf("pki: authority key id: %w", err)
	}
	e, err := asn1.Marshal([]pkix.Extension{
		{Id: asn1.ObjectIdentifier{2, 5, 29, 35}, Value: authority},
		{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 0}},                            // basicConstraints: no CA
		{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Critical: true, Value: []byte{0x03, 0x02, 0x07, 0x80}},             // keyUsage: digitalSignature
		{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: []byte("\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x02")}, // EKU: clientAuth
	})
	if err != nil {
		return fmt.Errorf("pki: extensions: %w", err)
	}
	a.exts = asn1.RawValue{FullBytes: append([]byte{0xa3}, append(derLength(len(e)), e...)...)}
	return nil
}

func derLength(n int) []byte {
	if n < 0x80 {
		return []byte{byte(n)}
	}
	if n < 0x100 {
		return []byte{0x81, byte(n)}
	}
	return []byte{0x82, byte(n >> 8), byte(n)}
}

func keyID(pub *ecdsa.PublicKey) ([]byte, error) {
	point, err := pub.Bytes()
	if err != nil {
		return nil, fmt.Errorf("pki: public key: %w", err)
	}
	sum := sha1.Sum(point) //nolint:gosec // see the import
	return sum[:], nil
}

func (a *Authority) serial(owner string) *big.Int {
	s := a.seed.Sub("serial " + owner)
	s[0] = s[0]&0x3f | 0x40 // positive, 16 bytes
	return new(big.Int).SetBytes(s[:16])
}

// Certificate is the root certificate.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// Device issues the certificate of a device and derives its key. The subject's
// common name is the owner's name. One costs about 50 us.
func (a *Authority) Device(owner string) (der []byte, key *ecdsa.PrivateKey, err error) {
	if key, err = Key(a.seed, "device "+owner); err != nil {
		return nil, nil, err
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		return nil, nil, fmt.Errorf("pki: %s: %w", owner, err)
	}
	tbs := struct {
		Version   int `asn1:"explicit,tag:0"`
		Serial    *big.Int
		Algorithm pkix.AlgorithmIdentifier
		Issuer    asn1.RawValue
		Validity  asn1.RawValue
		Subject   pkix.RDNSequence
		PublicKey struct {
			Algorithm pkix.AlgorithmIdentifier
			Key       asn1.BitString
		}
		Extensions asn1.RawValue
	}{Version: 2, Serial: a.serial("device " + owner), Algorithm: sigECDSAWithSHA256, Issuer: a.issuer, Validity: a.validity,
		Subject: pkix.Name{CommonName: owner}.ToRDNSequence(), Extensions: a.exts}
	tbs.PublicKey.Algorithm = pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1},
		Parameters: asn1.RawValue{FullBytes: []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}}} // prime256v1
	tbs.PublicKey.Key = asn1.BitString{Bytes: point, BitLength: 8 * len(point)}
	body, err := asn1.Marshal(tbs)
	if err != nil {
		return nil, nil, fmt.Errorf("pki: %s: %w", owner, err)
	}
	digest := sha256.Sum256(body)
	sig, err := a.key.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return nil, nil, fmt.Errorf("pki: %s: %w", owner, err)
	}
	der, err = asn1.Marshal(struct {
		TBS       asn1.RawValue
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{asn1.RawValue{FullBytes: body}, sigECDSAWithSHA256, asn1.BitString{Bytes: sig, BitLength: 8 * len(sig)}})
	if err != nil {
		return nil, nil, fmt.Errorf("pki: %s: %w", owner, err)
	}
	a.confirmed[sha256.Sum256(der)] = validity{a.from.UnixNano(), a.to.UnixNano()}
	return der, key, nil
}

// Server issues the certificate of an endpoint: leaf first, then the root.
func (a *Authority) Server(host string) (chain [][]byte, key *ecdsa.PrivateKey, err error) {
	if key, err = Key(a.seed, "server "+host); err != nil {
		return nil, nil, err
	}
	tmpl := &x509.Certificate{SerialNumber: a.serial("server " + host), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: a.from, NotAfter: a.to, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(nil, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("pki: server %s: %w", host, err)
	}
	return [][]byte{der, a.cert.Raw}, key, nil
}

// CodeSigner makes a self-signed certificate for a code-signing key, as a
// device carries it to check firmware: keyUsage digitalSignature, extended key
// usage codeSigning. A nil key is derived from the name.
func (a *Authority) CodeSigner(name string, key *ecdsa.PrivateKey) (der []byte, k *ecdsa.PrivateKey, err error) {
	if key == nil {
		if key, err = Key(a.seed, "code signer "+name); err != nil {
			return nil, nil, err
		}
	}
	tmpl := &x509.Certificate{SerialNumber: a.serial("code signer " + name), Subject: pkix.Name{CommonName: name},
		NotBefore: a.from, NotAfter: a.to, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}
	if der, err = x509.CreateCertificate(nil, tmpl, tmpl, &key.PublicKey, key); err != nil {
		return nil, nil, fmt.Errorf("pki: code signer %s: %w", name, err)
	}
	return der, key, nil
}

// Verify checks that a client certificate chain (leaf first) ends in this
// authority at the given time. A certificate that was checked or made here
// before is remembered by its content.
func (a *Authority) Verify(now time.Time, chain [][]byte) (Fingerprint, error) {
	if len(chain) == 0 {
		return Fingerprint{}, fmt.Errorf("pki: no certificate: %w", ErrMalformed)
	}
	fp := Fingerprint(sha256.Sum256(chain[0]))
	v, ok := a.confirmed[fp]
	if !ok {
		leaf, err := x509.ParseCertificate(chain[0])
		if err != nil {
			return fp, fmt.Errorf("pki: %w: %w", ErrMalformed, err)
		}
		between := x509.NewCertPool()
		for _, der := range chain[1:] {
			if c, err := x509.ParseCertificate(der); err == nil {
				between.AddCert(c)
			}
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: a.roots, Intermediates: between, CurrentTime: leaf.NotBefore.Add(time.Second),
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
			return fp, fmt.Errorf("pki: %w: %w", ErrUnknownAuthority, err)
		}
		v = validity{leaf.NotBefore.UnixNano(), leaf.NotAfter.UnixNano()}
		a.confirmed[fp] = v
	}
	if at := now.UnixNano(); at < v.from || at > v.to {
		return fp, fmt.Errorf("pki: %w", ErrNotYetOrNoMore)
	}
	return fp, nil
}

// PEM encodes a certificate.
func PEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// ParsePEM returns the DER of the first certificate in a text.
func ParsePEM(text string) ([]byte, error) {
	for rest := []byte(text); ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return nil, fmt.Errorf("pki: no CERTIFICATE block in the PEM text: %w", ErrMalformed)
		}
		if b.Type == "CERTIFICATE" {
			if _, err := x509.ParseCertificate(b.Bytes); err != nil {
				return nil, fmt.Errorf("pki: %w: %w", ErrMalformed, err)
			}
			return b.Bytes, nil
		}
	}
}

// ParseKeyPEM reads an ECDSA P-256 private key, SEC 1 or PKCS #8.
func ParseKeyPEM(text string) (*ecdsa.PrivateKey, error) {
	for rest := []byte(text); ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return nil, fmt.Errorf("pki: no private key in the PEM text: %w", ErrMalformed)
		}
		var key any
		var err error
		switch b.Type {
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(b.Bytes)
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("pki: private key: %w", err)
		}
		if k, ok := key.(*ecdsa.PrivateKey); ok && k.Curve == elliptic.P256() {
			return k, nil
		}
		return nil, fmt.Errorf("pki: private key is not ECDSA P-256: %w", ErrMalformed)
	}
}
