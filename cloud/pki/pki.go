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
	"net"
	"strings"
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
	issuer    []byte // DER
	validity  []byte
	exts      []byte
	roots     *x509.CertPool
	confirmed map[Fingerprint]validity // signed by this authority: checked or made here
}

type validity struct{ from, to int64 }

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

// DER of what all device certificates have in common (RFC 5280, section 4.1;
// RFC 5480 for the key, RFC 5758 for the signature).
var (
	version3        = []byte{0xa0, 3, 0x02, 1, 2}
	ecdsaWithSHA256 = tlv(0x30, []byte{0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02})
	p256PublicKey   = tlv(0x30, []byte{0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01}, []byte{0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07})
	oidCommonName   = []byte{0x06, 3, 0x55, 4, 3}
)

// tlv encodes one DER element of less than 64 KiB.
func tlv(tag byte, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	out := append(make([]byte, 0, n+4), tag)
	switch {
	case n < 0x80:
		out = append(out, byte(n))
	case n < 0x100:
		out = append(out, 0x81, byte(n))
	default:
		out = append(out, 0x82, byte(n>>8), byte(n))
	}
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// prepare encodes issuer, validity and extensions of device certificates.
func (a *Authority) prepare() error {
	a.issuer = a.cert.RawSubject
	var err error
	if a.validity, err = asn1.Marshal(struct{ From, To time.Time }{a.from, a.to}); err != nil {
		return fmt.Errorf("pki: validity: %w", err)
	}
	extension := func(id byte, critical bool, value []byte) []byte {
		oid := []byte{0x06, 3, 0x55, 0x1d, id}
		if critical {
			return tlv(0x30, oid, []byte{0x01, 1, 0xff}, tlv(0x04, value))
		}
		return tlv(0x30, oid, tlv(0x04, value))
	}
	a.exts = tlv(0xa3, tlv(0x30,
		extension(35, false, tlv(0x30, tlv(0x80, a.keyID))),                          // authority key identifier
		extension(19, true, tlv(0x30)),                                               // basic constraints: no CA
		extension(15, true, []byte{0x03, 2, 7, 0x80}),                                // key usage: digitalSignature
		extension(37, false, tlv(0x30, []byte{0x06, 8, 0x2b, 6, 1, 5, 5, 7, 3, 2})))) // extended: clientAuth
	return nil
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
	name := tlv(0x30, tlv(0x31, tlv(0x30, oidCommonName, tlv(0x0c, []byte(owner)))))
	body := tlv(0x30, version3, tlv(0x02, a.serial("device "+owner).Bytes()), ecdsaWithSHA256, a.issuer, a.validity, name,
		tlv(0x30, p256PublicKey, tlv(0x03, []byte{0}, point)), a.exts)
	digest := sha256.Sum256(body)
	sig, err := a.key.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return nil, nil, fmt.Errorf("pki: %s: %w", owner, err)
	}
	der = tlv(0x30, body, ecdsaWithSHA256, tlv(0x03, []byte{0}, sig))
	a.confirmed[sha256.Sum256(der)] = validity{a.from.UnixNano(), a.to.UnixNano()}
	return der, key, nil
}

// Server issues the certificate of an endpoint: leaf first, then the root. The
// other names are DNS names or IP addresses that reach it too.
func (a *Authority) Server(host string, others ...string) (chain [][]byte, key *ecdsa.PrivateKey, err error) {
	if key, err = Key(a.seed, "server "+host); err != nil {
		return nil, nil, err
	}
	tmpl := &x509.Certificate{SerialNumber: a.serial("server " + strings.Join(append([]string{host}, others...), " ")), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: a.from, NotAfter: a.to, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, name := range others {
		if ip := net.ParseIP(name); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, name)
		}
	}
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
