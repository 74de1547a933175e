package vectors

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/otasim/otasim/flashmodel/secureboot"
)

func (t *Tables) key(id string) (*secureboot.Key, error) {
	raw, ok := t.Keys[id]
	if !ok {
		return nil, fmt.Errorf("%w: no key %q", ErrSkip, id)
	}
	var row struct {
		Label   string `json:"pem_label"`
		Private []byte `json:"private_pkcs8_der_b64"`
		Public  []byte `json:"public_spki_der_b64"`
		Digest  string `json:"sbv2_public_key_digest"`
	}
	if err := json.Unmarshal(raw, &row); err != nil {
		return nil, err
	}
	der := row.Private
	if der == nil {
		der = row.Public
	}
	key, err := secureboot.ParseDER(row.Label, der)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", id, err)
	}
	digest, err := secureboot.KeyDigest(key.Public)
	if err == nil && hex.EncodeToString(digest[:]) != row.Digest {
		return nil, fmt.Errorf("key %s: digest %x, want %s", id, digest, row.Digest)
	}
	return key, err
}

// sameTool compares an answer with exit status and error class of the tool.
// Classes that the tool's documentation of the vectors does not list are
// compared by exit status alone.
func sameTool(err error, exit int, class *string) error {
	got, gotClass := 0, ""
	if err != nil {
		var refused *secureboot.ToolError
		if !errors.As(err, &refused) {
			return err
		}
		got, gotClass = refused.Exit, refused.Class
	}
	want := ""
	if class != nil {
		want = *class
	}
	if got != exit || gotClass != want && (want == "" || knownClass[want]) {
		return fmt.Errorf("exit %d %q (%v), want %d %q", got, gotClass, err, exit, want)
	}
	return nil
}

var knownClass = map[string]bool{
	secureboot.ClassInvalid: true, secureboot.ClassSigVersion: true, secureboot.ClassWrongCurve: true,
	secureboot.ClassBadKey: true, secureboot.ClassNotAligned: true, secureboot.ClassDigest: true,
	secureboot.ClassNotVerified: true, secureboot.ClassCrash: true, secureboot.ClassTooManyKeys: true,
}

type signVector struct {
	Scheme      string   `json:"scheme"`
	Keys        []string `json:"keys"`
	Input       input    `json:"input"`
	Exit        int      `json:"exit"`
	Error       *string  `json:"error"`
	Append      bool     `json:"append_signatures"`
	SkipPadding bool     `json:"skip_padding"`
	AppendedHex string   `json:"appended_hex"`
	OutputLen   int      `json:"output_len"`
	PadFF       int      `json:"content_pad_ff"`
	Replaced    bool     `json:"input_trailing_sector_replaced"`
	Sector      string   `json:"sector_zlib_b64"`
	Blocks      []struct {
		Version byte   `json:"version"`
		CRC     uint32 `json:"crc"`
		Digest  string `json:"digest"`
		Curve   byte   `json:"curve_id"`
		Key     string `json:"pubkey_digest"`
	} `json:"blocks"`
}

// replaySign compares secureboot.SignV1 and SignV2 with espsecure sign-data.
func replaySign(t *Tables, line json.RawMessage) error {
	var v signVector
	if err := json.Unmarshal(line, &v); err != nil {
		return err
	}
	content, err := v.Input.bytes(t)
	if err != nil {
		return err
	}
	var keys []*secureboot.Key
	for _, id := range v.Keys {
		key, err := t.key(id)
		if err != nil {
			return err
		}
		keys = append(keys, key)
	}
	var out []byte
	if v.Scheme == "v1" {
		out, err = secureboot.SignV1(content, keys...)
	} else {
		out, err = secureboot.SignV2(content, keys, secureboot.SignOptions{Append: v.Append, SkipPadding: v.SkipPadding})
	}
	if diff := sameTool(err, v.Exit, v.Error); diff != nil || err != nil {
		return diff
	}
	if v.Scheme == "v1" {
		if got := hex.EncodeToString(out[len(content):]); got != v.AppendedHex || !bytes.Equal(out[:len(content)], content) {
			return fmt.Errorf("appended %s, want %s", got, v.AppendedHex)
		}
		return nil
	}
	return v.sameSector(content, out, keys)
}

func (v *signVector) sameSector(content, out []byte, keys []*secureboot.Key) error {
	if v.Replaced {
		content = content[:len(content)-secureboot.V2SectorSize]
	}
	content = append(bytes.Clone(content), bytes.Repeat([]byte{0xFF}, v.PadFF)...)
	split := len(out) - secureboot.V2SectorSize
	if len(out) != v.OutputLen || !bytes.Equal(out[:split], content) {
		return fmt.Errorf("content has %d bytes, want %d", split, len(content))
	}
	sector, err := inflate(v.Sector)
	if err != nil {
		return err
	}
	got, want := secureboot.DecodeV2(out[split:]), secureboot.DecodeV2(sector)
	if len(got) != len(v.Blocks) || len(want) != len(v.Blocks) {
		return fmt.Errorf("%d blocks, want %d", len(got), len(v.Blocks))
	}
	kept := len(got) - len(keys)
	for i, b := range v.Blocks {
		if got[i].Version() != b.Version || got[i].Curve() != b.Curve || want[i].CRC() != b.CRC || hex.EncodeToString(got[i].Digest()) != b.Digest {
			return fmt.Errorf("block %d: another head", i)
		}
		if digest := got[i].KeyDigest(); b.Key != "" && hex.EncodeToString(digest[:]) != b.Key {
			return fmt.Errorf("block %d: key digest %x, want %s", i, digest, b.Key)
		}
		if i < kept && !bytes.Equal(got[i].Bytes(), want[i].Bytes()) {
			return fmt.Errorf("block %d was not kept", i)
		}
		if !bytes.Equal(unsigned(&got[i]), unsigned(&want[i])) {
			return fmt.Errorf("block %d: other bytes than the signature differ", i)
		}
		for _, block := range []secureboot.V2Block{got[i], want[i]} {
			if err := block.VerifyWithOwnKey(got[i].Digest()); err != nil {
				return fmt.Errorf("block %d: %w", i, err)
			}
		}
	}
	if !bytes.Equal(out[split+len(got)*secureboot.V2BlockSize:], sector[len(got)*secureboot.V2BlockSize:]) {
		return errors.New("the rest of the sector differs")
	}
	return nil
}

// unsigned is a block without its signature and its CRC: for V2 the recorded
// tool drew a random salt for RSA-PSS and a random nonce for ECDSA, so these
// bytes are no function of the input. Both signatures are verified instead.
func unsigned(block *secureboot.V2Block) []byte {
	b := bytes.Clone(block.Bytes())
	at, n := block.SignatureRange()
	clear(b[at : at+n])
	clear(b[secureboot.V2BlockSize-20 : secureboot.V2BlockSize-16])
	return b
}

type verifyVector struct {
	Scheme      string  `json:"scheme"`
	Key         string  `json:"key"`
	KeyRaw      *string `json:"key_raw_hex"`
	File        input   `json:"file"`
	SHA         string  `json:"file_sha256"`
	Exit        int     `json:"exit"`
	Valid       bool    `json:"valid"`
	Error       *string `json:"error"`
	SkipPadding bool    `json:"skip_padding"`
}

// replayVerify compares secureboot.VerifyV1 and VerifyV2 with espsecure
// verify-signature.
func replayVerify(t *Tables, line json.RawMessage) error {
	var v verifyVector
	if err := json.Unmarshal(line, &v); err != nil {
		return err
	}
	file, err := v.File.bytes(t)
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(file); hex.EncodeToString(sum[:]) != v.SHA {
		return errors.New("the file is not the one that was recorded")
	}
	err = v.verify(t, file)
	if errors.Is(err, ErrSkip) {
		return err
	}
	if (err == nil) != v.Valid {
		return fmt.Errorf("valid %t (%v), want %t", err == nil, err, v.Valid)
	}
	return sameTool(err, v.Exit, v.Error)
}

func (v *verifyVector) verify(t *Tables, file []byte) error {
	if v.KeyRaw != nil {
		raw, err := hex.DecodeString(*v.KeyRaw)
		if err != nil {
			return err
		}
		if v.Scheme == "v1" {
			return secureboot.VerifyV1(file, raw)
		}
		return secureboot.VerifyV2(file, raw, v.SkipPadding)
	}
	key, err := t.key(v.Key)
	if err != nil {
		return err
	}
	if v.Scheme == "v1" {
		return secureboot.VerifyV1Key(file, key)
	}
	return secureboot.VerifyV2Key(file, key, v.SkipPadding)
}
