package cli

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"github.com/otasim/otasim/flashmodel/secureboot"
)

const makeKeys = "openssl ecparam -name prime256v1 -genkey -noout -out key.pem makes an ECDSA P-256 key, openssl genrsa -out key.pem 3072 one for v2"

// readKey reads a private key, a public key or a certificate, PEM or 64 raw bytes.
func readKey(path string, private bool) (*secureboot.Key, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	fail := func(help, format string, args ...any) (*secureboot.Key, error) {
		return nil, &exit{status: ExitInvalid, text: path + ": " + fmt.Sprintf(format, args...), help: help}
	}
	if bytes.Contains(data, []byte("ENCRYPTED")) {
		return fail("openssl pkey -in "+path+" -out plain.pem", "the key is protected by a passphrase")
	}
	key, err := certificateKey(data)
	if key == nil && err == nil {
		key, err = secureboot.ParseKey(data)
	}
	switch {
	case err != nil:
		return fail(makeKeys, "%v", err)
	case private && key.Private == nil:
		return fail("signing needs the private key; "+makeKeys, "no private key in it")
	}
	return key, nil
}

// certificateKey gives the public key of a PEM certificate; nil if there is none.
func certificateKey(data []byte) (*secureboot.Key, error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return &secureboot.Key{Label: secureboot.LabelPublic, Public: cert.PublicKey}, nil
	}
	return nil, nil
}

// p256 gives the key if it is on P-256.
func p256(k *secureboot.Key) (*ecdsa.PublicKey, bool) {
	p, ok := k.Public.(*ecdsa.PublicKey)
	return p, ok && p.Curve == elliptic.P256()
}
