package secureboot

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"math/big"
)

// P192PublicKey is a key on NIST P-192, which Secure Boot V2 allows and Go's
// library does not have. The arithmetic takes no care of timing: it signs test
// images, on hosts.
type P192PublicKey struct{ x, y *big.Int }

// P192PrivateKey is a private key on NIST P-192.
type P192PrivateKey struct {
	P192PublicKey
	d *big.Int
}

const p192Len = 24

var (
	p192P  = hexInt("fffffffffffffffffffffffffffffffeffffffffffffffff")
	p192N  = hexInt("ffffffffffffffffffffffff99def836146bc9b1b4d22831")
	p192B  = hexInt("64210519e59c80e70fa7e9ab72243049feb8deecc146b9b1")
	p192Gx = hexInt("188da80eb03090f67cbf20eb43a18800f4ff0afd82ff1012")
	p192Gy = hexInt("07192b95ffc8da78631011ed6b24cdd573f977a11e794811")

	oidEC   = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidP192 = asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 1}
)

var errP192 = errors.New("not a P-192 key")

func hexInt(s string) *big.Int {
	n, _ := new(big.Int).SetString(s, 16)
	return n
}

func (p *P192PublicKey) bytes() []byte {
	b := make([]byte, 2*p192Len)
	p.x.FillBytes(b[:p192Len])
	p.y.FillBytes(b[p192Len:])
	return b
}

type ecAlgorithm struct {
	Algorithm asn1.ObjectIdentifier
	Curve     asn1.ObjectIdentifier
}

func (a ecAlgorithm) isP192() bool { return a.Algorithm.Equal(oidEC) && a.Curve.Equal(oidP192) }

func parseP192Public(der []byte) (*P192PublicKey, error) {
	var spki struct {
		Algorithm ecAlgorithm
		Point     asn1.BitString
	}
	if rest, err := asn1.Unmarshal(der, &spki); err != nil || len(rest) > 0 || !spki.Algorithm.isP192() {
		return nil, errP192
	}
	return p192Point(spki.Point.Bytes)
}

func p192Point(b []byte) (*P192PublicKey, error) {
	if len(b) != 1+2*p192Len || b[0] != 4 {
		return nil, errP192
	}
	p := &P192PublicKey{new(big.Int).SetBytes(b[1 : 1+p192Len]), new(big.Int).SetBytes(b[1+p192Len:])}
	// y² = x³ - 3x + b
	y2 := new(big.Int).Mul(p.y, p.y)
	x3 := new(big.Int).Mul(p.x, p.x)
	x3.Sub(x3, big.NewInt(3)).Mul(x3, p.x).Add(x3, p192B).Sub(x3, y2)
	if p.x.Cmp(p192P) >= 0 || p.y.Cmp(p192P) >= 0 || x3.Mod(x3, p192P).Sign() != 0 {
		return nil, errP192
	}
	return p, nil
}

// sec1 is the private key of SEC 1, alone or inside PKCS #8.
type sec1 struct {
	Version int
	D       []byte
	Curve   asn1.ObjectIdentifier `asn1:"optional,explicit,tag:0"`
	Point   asn1.BitString        `asn1:"optional,explicit,tag:1"`
}

func parseP192Private(der []byte) (*P192PrivateKey, error) {
	var pkcs8 struct {
		Version   int
		Algorithm ecAlgorithm
		Key       []byte
	}
	var key sec1
	if _, err := asn1.Unmarshal(der, &pkcs8); err == nil && pkcs8.Algorithm.isP192() {
		if _, err := asn1.Unmarshal(pkcs8.Key, &key); err != nil {
			return nil, errP192
		}
	} else if _, err := asn1.Unmarshal(der, &key); err != nil || !key.Curve.Equal(oidP192) {
		return nil, errP192
	}
	d := new(big.Int).SetBytes(key.D)
	if d.Sign() == 0 || d.Cmp(p192N) >= 0 {
		return nil, errP192
	}
	x, y := p192Mul(p192Gx, p192Gy, d)
	return &P192PrivateKey{P192PublicKey{x, y}, d}, nil
}

// p192Add adds two points; x nil is the point at infinity.
func p192Add(x1, y1, x2, y2 *big.Int) (x, y *big.Int) {
	switch {
	case x1 == nil:
		return x2, y2
	case x2 == nil:
		return x1, y1
	}
	var slope, below *big.Int
	if x1.Cmp(x2) == 0 {
		below = new(big.Int).Add(y1, y2)
		if below.Mod(below, p192P).Sign() == 0 {
			return nil, nil
		}
		slope = new(big.Int).Mul(x1, x1)
		slope.Mul(slope, big.NewInt(3)).Sub(slope, big.NewInt(3))
	} else {
		slope = new(big.Int).Sub(y2, y1)
		below = new(big.Int).Sub(x2, x1)
		below.Mod(below, p192P)
	}
	slope.Mul(slope, below.ModInverse(below, p192P)).Mod(slope, p192P)
	x = new(big.Int).Mul(slope, slope)
	x.Sub(x, x1).Sub(x, x2).Mod(x, p192P)
	y = new(big.Int).Sub(x1, x)
	y.Mul(y, slope).Sub(y, y1).Mod(y, p192P)
	return x, y
}

func p192Mul(x, y, k *big.Int) (rx, ry *big.Int) {
	for i := k.BitLen() - 1; i >= 0; i-- {
		rx, ry = p192Add(rx, ry, rx, ry)
		if k.Bit(i) == 1 {
			rx, ry = p192Add(rx, ry, x, y)
		}
	}
	return rx, ry
}

// p192Int is the leftmost 192 bits of a digest.
func p192Int(digest []byte) *big.Int {
	return new(big.Int).SetBytes(digest[:min(len(digest), p192Len)])
}

func (p *P192PublicKey) verify(digest []byte, sig ecdsaSignature) bool {
	for _, v := range []*big.Int{sig.R, sig.S} {
		if v.Sign() <= 0 || v.Cmp(p192N) >= 0 {
			return false
		}
	}
	w := new(big.Int).ModInverse(sig.S, p192N)
	u1 := new(big.Int).Mul(p192Int(digest), w)
	u2 := new(big.Int).Mul(sig.R, w)
	x1, y1 := p192Mul(p192Gx, p192Gy, u1.Mod(u1, p192N))
	x2, y2 := p192Mul(p.x, p.y, u2.Mod(u2, p192N))
	x, _ := p192Add(x1, y1, x2, y2)
	return x != nil && x.Mod(x, p192N).Cmp(sig.R) == 0
}

// sign makes the deterministic signature of RFC 6979 with SHA-256.
func (p *P192PrivateKey) sign(digest []byte) ecdsaSignature {
	z := p192Int(digest)
	reduced := new(big.Int).Mod(z, p192N)
	seed := append(p.d.FillBytes(make([]byte, p192Len)), reduced.FillBytes(make([]byte, p192Len))...)
	v, k := bytes.Repeat([]byte{1}, sha256.Size), make([]byte, sha256.Size)
	mac := func(key []byte, parts ...[]byte) []byte {
		h := hmac.New(sha256.New, key)
		for _, b := range parts {
			h.Write(b)
		}
		return h.Sum(nil)
	}
	for _, step := range []byte{0, 1} {
		k = mac(k, v, []byte{step}, seed)
		v = mac(k, v)
	}
	for {
		v = mac(k, v)
		nonce := p192Int(v)
		if nonce.Sign() > 0 && nonce.Cmp(p192N) < 0 {
			r, _ := p192Mul(p192Gx, p192Gy, nonce)
			r.Mod(r, p192N)
			s := new(big.Int).Mul(r, p.d)
			s.Add(s, z).Mul(s, nonce.ModInverse(nonce, p192N)).Mod(s, p192N)
			if r.Sign() > 0 && s.Sign() > 0 {
				return ecdsaSignature{r, s}
			}
		}
		k = mac(k, v, []byte{0})
		v = mac(k, v)
	}
}
