package secureboot

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"io"
)

// ToolError is a refusal of SignV1, VerifyV1, SignV2 or VerifyV2.
type ToolError struct {
	Class string // one of the classes below
	Exit  int    // exit status of espsecure: 2 refused, 1 its Python code failed
	Msg   string
}

func (e *ToolError) Error() string { return e.Msg }

// Classes of ToolError.
const (
	ClassInvalid      = "invalid"
	ClassSigVersion   = "sig_version"
	ClassWrongCurve   = "wrong_curve"
	ClassBadKey       = "bad_key"
	ClassNotAligned   = "not_sector_aligned"
	ClassDigest       = "digest_mismatch"
	ClassNotVerified  = "not_verified"
	ClassCrash        = "tool_crash"
	ClassTooManyKeys  = "too_many_keys"
	exitRefused       = 2
	exitCrash         = 1
	crashAppendedNone = "no room for a signature sector in an empty file"
)

func refuse(class, format string, args ...any) error {
	return &ToolError{class, exitRefused, fmt.Sprintf(format, args...)}
}

func crash(format string, args ...any) error {
	return &ToolError{ClassCrash, exitCrash, fmt.Sprintf(format, args...)}
}

// SignV1 returns content and the 68-byte V1 block of an ECDSA P-256 key, as
// "espsecure sign-data --version 1" writes them. Signing again gives the same
// bytes. The error is a *ToolError.
//
// Source: esptool espsecure/__init__.py (sign_secure_boot_v1).
func SignV1(content []byte, keys ...*Key) ([]byte, error) {
	if len(keys) != 1 {
		return nil, refuse(ClassTooManyKeys, "%d keys, V1 takes one", len(keys))
	}
	key := keys[0]
	if key.Private == nil {
		return nil, refuse(ClassBadKey, "not a private key")
	}
	if _, ok := key.Private.(*rsa.PrivateKey); ok {
		return nil, crash("RSA keys have no curve")
	}
	if curveID(key.Public) != curveP256 {
		return nil, refuse(ClassWrongCurve, "V1 takes ECDSA P-256 only")
	}
	digest := sha256.Sum256(content)
	sig, err := signECDSA(key.Private, digest[:], crypto.SHA256)
	if err != nil {
		return nil, crash("%v", err)
	}
	var b V1Block
	sig.R.FillBytes(b.R[:])
	sig.S.FillBytes(b.S[:])
	return b.AppendTo(bytes.Clone(content)), nil
}

// VerifyV1 checks a file that ends with a V1 block, as "espsecure
// verify-signature --version 1" does. keyFile is the key file, PEM or 64 raw
// bytes. The error is a *ToolError.
func VerifyV1(file, keyFile []byte) error {
	key, err := ParseKey(keyFile)
	if err != nil {
		if len(keyFile) == 64 {
			return crash("%v", err)
		}
		return refuse(ClassBadKey, "%v", err)
	}
	return VerifyV1Key(file, key)
}

// VerifyV1Key is VerifyV1 with a key that is parsed already.
func VerifyV1Key(file []byte, key *Key) error {
	switch key.Label {
	case "", LabelEC, LabelPublic:
	default:
		return refuse(ClassBadKey, "a %s is not looked at for V1", key.Label)
	}
	if _, ok := key.Public.(*rsa.PublicKey); ok {
		return crash("RSA keys have no curve")
	}
	pub, ok := key.Public.(*ecdsa.PublicKey)
	if !ok || curveID(pub) != curveP256 {
		return refuse(ClassWrongCurve, "V1 takes ECDSA P-256 only")
	}
	if len(file) < V1BlockSize {
		return crash("%d bytes hold no signature block", len(file))
	}
	split := len(file) - V1BlockSize
	b, err := DecodeV1(file[split:])
	if err != nil {
		return crash("%v", err)
	}
	if b.Version != 0 {
		return refuse(ClassSigVersion, "signature block has version %d, not 0", b.Version)
	}
	digest := sha256.Sum256(file[:split])
	if !verifyECDSA(pub, digest[:], b.signature()) {
		return refuse(ClassInvalid, "signature is not valid")
	}
	return nil
}

// SignOptions are options of SignV2.
type SignOptions struct {
	Append      bool      // keep the valid blocks of a signed file and add to them
	SkipPadding bool      // do not pad the content to a multiple of 4096
	Salt        io.Reader // for RSA-PSS, 32 bytes a key; nil derives it from content and key
}

// SignV2 returns content, FF up to a multiple of 4096, and a signature sector
// with a block for each key (RSA-3072, ECDSA P-192, P-256 or P-384), as
// "espsecure sign-data --version 2" writes them. The error is a *ToolError.
//
// Source: esptool espsecure/__init__.py (sign_secure_boot_v2).
func SignV2(content []byte, keys []*Key, opt SignOptions) ([]byte, error) {
	content = bytes.Clone(content)
	var blocks [][]byte
	switch over := len(content) % V2SectorSize; {
	case over != 0 && !opt.SkipPadding:
		content = append(content, bytes.Repeat([]byte{0xFF}, V2SectorSize-over)...)
	case over == 0 && opt.Append:
		if len(content) == 0 {
			return nil, crash(crashAppendedNone)
		}
		end := len(content) - V2SectorSize
		for _, b := range DecodeV2(content[end:]) {
			blocks = append(blocks, bytes.Clone(b.Bytes()))
		}
		if len(blocks) > 0 {
			content = content[:end]
		}
	}
	if free := V2MaxBlocks - len(blocks); len(keys) > free {
		return nil, refuse(ClassTooManyKeys, "%d keys, %d free signature blocks", len(keys), free)
	}
	if len(keys) == 0 {
		return nil, refuse(ClassBadKey, "no key")
	}
	for _, key := range keys {
		if key.Private == nil {
			return nil, crash("not a private key")
		}
		if k, ok := key.Public.(*rsa.PublicKey); ok && k.N.BitLen() != 8*rsaLen {
			return nil, refuse(ClassBadKey, "RSA key has %d bits, not 3072", k.N.BitLen())
		}
		b, err := SignV2Block(content, key, opt.Salt)
		if err != nil {
			return nil, crash("%v", err)
		}
		blocks = append(blocks, b.Bytes())
	}
	sector := bytes.Join(blocks, nil)
	sector = append(sector, bytes.Repeat([]byte{0xFF}, V2SectorSize-len(sector))...)
	return append(content, sector...), nil
}

// VerifyV2 checks a file that ends with a signature sector, as "espsecure
// verify-signature --version 2" does: some block must verify with the key in
// the key file, and none may have another digest. The error is a *ToolError.
//
// Source: esptool espsecure/__init__.py (verify_signature_v2).
func VerifyV2(file, keyFile []byte, skipPadding bool) error {
	key, err := ParseKey(keyFile)
	if err != nil || key.Label == "" {
		return refuse(ClassBadKey, "not a PEM file with a key for V2")
	}
	return VerifyV2Key(file, key, skipPadding)
}

// VerifyV2Key is VerifyV2 with a key that is parsed already.
func VerifyV2Key(file []byte, key *Key, skipPadding bool) error {
	if key.Label == "" {
		return refuse(ClassBadKey, "V2 takes PEM keys only")
	}
	if k, ok := key.Public.(*rsa.PublicKey); ok && k.N.BitLen() != 8*rsaLen {
		return refuse(ClassBadKey, "RSA key has %d bits, not 3072", k.N.BitLen())
	}
	if len(file) < V2SectorSize || !skipPadding && len(file)%V2SectorSize != 0 {
		return refuse(ClassNotAligned, "size %d is not a multiple of 4096 above 0", len(file))
	}
	split := len(file) - V2SectorSize
	v := toolVerifier{key: key, content: file[:split]}
	valid := false
	for i := range V2MaxBlocks {
		b, ok := validBlock(file[split:], i)
		if !ok {
			continue
		}
		ok, err := v.block(&b)
		if err != nil {
			return err
		}
		valid = valid || ok
	}
	if !valid {
		return refuse(ClassNotVerified, "no block verifies with this key")
	}
	return nil
}

// toolVerifier checks blocks with one key. Curve and signature of the last
// ECDSA block stay: the tool forgets to reset them.
type toolVerifier struct {
	key     *Key
	content []byte
	seen    bool
	curve   byte
	pair    []byte
}

func (v *toolVerifier) block(b *V2Block) (bool, error) {
	digest := b.hashOf(v.content)
	if !bytes.Equal(digest, b.Digest()) {
		return false, refuse(ClassDigest, "digest of the file is %x, the block has %x", digest, b.Digest())
	}
	if pub, ok := v.key.Public.(*rsa.PublicKey); ok {
		if len(digest) != sha256.Size {
			return false, crash("a digest of %d bytes is none of SHA-256", len(digest))
		}
		return b.rsaVerifies(pub, digest), nil
	}
	// the fields of an ECDSA block are read from whatever block this is
	switch raw := b.Bytes(); raw[2] {
	case sha256ID:
		v.seen, v.curve, v.pair = true, raw[offKey], raw[offKey+1+64:][:64]
	case sha384ID:
		v.seen, v.curve, v.pair = true, raw[offKey384], raw[offKey384+1+96:][:96]
	}
	n := numberLen(v.curve)
	if !v.seen || n == 0 {
		return false, crash("curve %d does not exist", v.curve)
	}
	want := sha256.Size
	if v.curve == curveP384 {
		want = 48
	}
	if len(digest) != want {
		return false, crash("a digest of %d bytes does not go with curve %d", len(digest), v.curve)
	}
	sig := ecdsaSignature{little(v.pair[:n]), little(v.pair[n : 2*n])}
	return verifyECDSA(v.key.Public, digest, sig), nil
}

// BlockInfo is what "espsecure signature-info-v2" tells of a block.
type BlockInfo struct {
	Version   byte     `json:"version"`         // 2 RSA-3072, 3 ECDSA
	Curve     byte     `json:"curve,omitempty"` // 1 P-192, 2 P-256, 3 P-384
	KeyDigest [32]byte `json:"-"`
	DigestOK  bool     `json:"digestOk"` // of the content before the sector
}

// InfoV2 lists the valid blocks of a signed file; nil if there is none.
func InfoV2(file []byte) []BlockInfo {
	if len(file) < V2SectorSize {
		return nil
	}
	split := len(file) - V2SectorSize
	var infos []BlockInfo
	for _, b := range DecodeV2(file[split:]) {
		infos = append(infos, BlockInfo{
			Version: b.Version(), Curve: b.Curve(), KeyDigest: b.KeyDigest(),
			DigestOK: bytes.Equal(b.hashOf(file[:split]), b.Digest()),
		})
	}
	return infos
}
