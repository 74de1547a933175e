package secureboot

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
)

// ErrKey is wrapped by the errors of ParseKey.
var ErrKey = errors.New("not a key for secure boot")

// PEM labels that make a difference to the tools.
const (
	LabelEC      = "EC PRIVATE KEY"
	LabelRSA     = "RSA PRIVATE KEY"
	LabelPrivate = "PRIVATE KEY"
	LabelPublic  = "PUBLIC KEY"
)

// Key is the content of a key file.
type Key struct {
	Label   string            // of the PEM block, "" for 64 raw bytes X‖Y of a P-256 key
	Public  crypto.PublicKey  // *rsa.PublicKey, *ecdsa.PublicKey (P-256, P-384), *P192PublicKey
	Private crypto.PrivateKey // the same with Private; nil in files of public keys
}

// ParseKey reads a key file: PEM, or 64 raw bytes. The error wraps ErrKey.
func ParseKey(file []byte) (*Key, error) {
	if len(file) == 2*32 && !bytes.Contains(file, []byte("-----BEGIN")) {
		pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, file...))
		if err != nil {
			return nil, fmt.Errorf("%w: raw key: %v", ErrKey, err)
		}
		return &Key{Public: pub}, nil
	}
	for block, rest := pem.Decode(file); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case LabelEC, LabelRSA, LabelPrivate, LabelPublic:
			return ParseDER(block.Type, block.Bytes)
		}
	}
	return nil, fmt.Errorf("%w: no PEM block with a key in %d bytes", ErrKey, len(file))
}

// ParseDER reads the content of a PEM block with this label; every private
// label may hold any of SEC 1, PKCS #1 and PKCS #8. The error wraps ErrKey.
func ParseDER(label string, der []byte) (*Key, error) {
	k := &Key{Label: label}
	var err error
	if label == LabelPublic {
		k.Public, err = parsePublic(der)
	} else {
		k.Private, err = parsePrivate(der)
		if err == nil {
			k.Public, err = publicOf(k.Private)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %v", ErrKey, label, err)
	}
	return k, nil
}

func publicOf(private crypto.PrivateKey) (crypto.PublicKey, error) {
	switch p := private.(type) {
	case *rsa.PrivateKey:
		return &p.PublicKey, nil
	case *ecdsa.PrivateKey:
		return &p.PublicKey, nil
	case *P192PrivateKey:
		return &p.P192PublicKey, nil
	}
	return nil, fmt.Errorf("unsupported key %T", private)
}

func parsePublic(der []byte) (crypto.PublicKey, error) {
	if p, err := parseP192Public(der); err == nil {
		return p, nil
	}
	pub, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, err
	}
	return supported(pub)
}

func parsePrivate(der []byte) (crypto.PrivateKey, error) {
	if p, err := parseP192Private(der); err == nil {
		return p, nil
	}
	var private any
	var err error
	if private, err = x509.ParsePKCS8PrivateKey(der); err != nil {
		if private, err = x509.ParsePKCS1PrivateKey(der); err != nil {
			private, err = x509.ParseECPrivateKey(der)
		}
	}
	if err != nil {
		return nil, err
	}
	pub, err := publicOf(private)
	if err != nil {
		return nil, err
	}
	if _, err := supported(pub); err != nil {
		return nil, err
	}
	return private, nil
}

func supported(pub crypto.PublicKey) (crypto.PublicKey, error) {
	switch p := pub.(type) {
	case *rsa.PublicKey:
		return p, nil
	case *ecdsa.PublicKey:
		if p.Curve == elliptic.P256() || p.Curve == elliptic.P384() {
			return p, nil
		}
		return nil, fmt.Errorf("unsupported curve %s", p.Params().Name)
	}
	return nil, fmt.Errorf("unsupported key %T", pub)
}

// curveID is the number of a key's curve in a V2 block, 0 for RSA.
func curveID(pub crypto.PublicKey) byte {
	switch p := pub.(type) {
	case *P192PublicKey:
		return curveP192
	case *ecdsa.PublicKey:
		if p.Curve == elliptic.P384() {
			return curveP384
		}
		return curveP256
	}
	return 0
}

// point gives X‖Y of an elliptic curve key, big-endian.
func point(pub crypto.PublicKey) ([]byte, error) {
	switch p := pub.(type) {
	case *P192PublicKey:
		return p.bytes(), nil
	case *ecdsa.PublicKey:
		b, err := p.Bytes()
		if err != nil {
			return nil, fmt.Errorf("%w: %v", ErrKey, err)
		}
		return b[1:], nil
	}
	return nil, fmt.Errorf("%w: %T has no point", ErrKey, pub)
}

type ecdsaSignature struct{ R, S *big.Int }

// signECDSA signs deterministically (RFC 6979).
func signECDSA(private crypto.PrivateKey, digest []byte, h crypto.Hash) (sig ecdsaSignature, err error) {
	switch p := private.(type) {
	case *P192PrivateKey:
		return p.sign(digest), nil
	case *ecdsa.PrivateKey:
		der, err := p.Sign(nil, digest, h)
		if err != nil {
			return sig, fmt.Errorf("%w: %v", ErrKey, err)
		}
		_, err = asn1.Unmarshal(der, &sig)
		return sig, err
	}
	return sig, fmt.Errorf("%w: %T signs no ECDSA", ErrKey, private)
}

func verifyECDSA(pub crypto.PublicKey, digest []byte, sig ecdsaSignature) bool {
	switch p := pub.(type) {
	case *P192PublicKey:
		return p.verify(digest, sig)
	case *ecdsa.PublicKey:
		der, err := asn1.Marshal(sig)
		return err == nil && ecdsa.VerifyASN1(p, digest, der)
	}
	return false
}

// pointKey makes a key of X‖Y, big-endian.
func pointKey(curve byte, xy []byte) (crypto.PublicKey, error) {
	raw := append([]byte{4}, xy...)
	if curve == curveP192 {
		p, err := p192Point(raw)
		if err != nil {
			return nil, fmt.Errorf("%w: %v", ErrKey, err)
		}
		return p, nil
	}
	c := elliptic.P256()
	if curve == curveP384 {
		c = elliptic.P384()
	}
	p, err := ecdsa.ParseUncompressedPublicKey(c, raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrKey, err)
	}
	return p, nil
}
