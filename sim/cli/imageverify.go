package cli

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
	"strings"

	"github.com/spf13/cobra"

	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/secureboot"
	"github.com/otasim/otasim/sim/dump"
)

// loaderSteps are the steps of the image loader by number; what has no name
// cannot fail here.
var loaderSteps = []struct {
	n    int
	name string
}{
	{3, "header"}, {4, "magic byte"}, {5, "chip id"}, {6, "chip revision"}, {7, "segment count"}, {8, "segment lengths and mapping"}, {9, "load addresses"},
	{10, "segment data"}, {11, "end address"}, {12, "checksum"}, {13, "image length"}, {14, "signature"}, {15, "SHA-256"}, {16, "secure version"},
}

// Results of a step.
const (
	stepOK         = "ok"
	stepFailed     = "failed"
	stepNotReached = "not reached"
	stepNotChecked = "not checked"
)

// verifyReport is the verdict about an image.
type verifyReport struct {
	File      string           `json:"file"`
	Chip      string           `json:"chip"`
	Valid     bool             `json:"valid"`
	Reason    string           `json:"reason"` // of the first failure, "" if valid
	Steps     []verifyStep     `json:"steps"`
	Signature *verifySignature `json:"signature"` // null: none was looked at
	SHA256    string           `json:"sha256"`    // of the file
}

type verifyStep struct {
	Step   int    `json:"step"`
	Name   string `json:"name"`
	Result string `json:"result"` // ok, failed, not reached or not checked
	Detail string `json:"detail,omitempty"`
}

type verifySignature struct {
	Scheme string `json:"scheme"`
	Valid  bool   `json:"valid"`
	Detail string `json:"detail"`
}

type imageVerify struct {
	scheme, key, signature, chip, revision, at string
	secureVersion                              int64
	json                                       bool
}

func (c *command) imageVerifyCommand() *cobra.Command {
	var v imageVerify
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check an image as the loader does, step by step, and its signature",
		Long: `Runs every step of the image loader and names the one that fails. With --key the
signature is checked too: a Secure Boot V1 block, a V2 sector, or the signature of a
FreeRTOS OTA job (from --signature or from the trailer). Exit status 3 if the image
does not verify.`,
		Example: `  otasim image verify app.bin
  otasim image verify signed.bin --key public.pem
  otasim image verify app.bin --key signer.crt --signature app.sig`,
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := oneFile("image verify", args)
			if err != nil {
				return err
			}
			r, err := v.run(path)
			if err != nil {
				return err
			}
			if v.json {
				err = c.printJSON(r)
			} else {
				r.writeText(c.std.Out)
			}
			if err == nil && !r.Valid {
				err = &exit{status: ExitInvalid, text: path + ": " + r.Reason}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&v.key, "key", "", "public key, private key or certificate in PEM")
	f.StringVar(&v.scheme, "scheme", "", "v1, v2 or ota (default: what the file carries)")
	f.StringVar(&v.signature, "signature", "", "detached signature of an OTA job, base64 or DER")
	f.StringVar(&v.chip, "chip", "", "esp32, esp32s3 or esp32c3 (default: what the header says)")
	f.StringVar(&v.revision, "revision", "", "chip revision such as 3.0 (default: a current one)")
	f.StringVar(&v.at, "address", "", "flash address of the image (default: 0x10000, the bootloader's for a bootloader)")
	f.Int64Var(&v.secureVersion, "efuse-version", -1, "check anti-rollback against this secure version")
	f.BoolVar(&v.json, "json", false, "as JSON")
	return cmd
}

func (v *imageVerify) run(path string) (*verifyReport, error) {
	switch v.scheme {
	case "", schemeV1, schemeV2, schemeOTA:
	default:
		return nil, usage("--scheme %s: one of v1, v2, ota", v.scheme)
	}
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	p, err := image.Parse(data)
	if err != nil {
		return nil, invalid(path, err)
	}
	opt := image.VerifyOptions{Mode: image.BootLoad}
	if opt.Chip, err = v.chipOf(path, p); err != nil {
		return nil, err
	}
	opt.Revision = dump.Revision(opt.Chip)
	if v.revision != "" {
		if opt.Revision, err = revisionFlag("--revision", v.revision); err != nil {
			return nil, err
		}
	}
	if v.secureVersion >= 0 {
		opt.AntiRollback, opt.SecureVersion = true, uint32(min(v.secureVersion, 32))
	}
	at := uint32(0x10000)
	if p.Bootloader != nil {
		at, opt.Mode = opt.Chip.BootloaderOffset, image.AppVerify // the ROM loads it, not itself
	}
	if v.at != "" {
		if at, err = addressFlag("--address", v.at); err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256(data)
	r := &verifyReport{File: path, Chip: dump.ChipName(opt.Chip), SHA256: hex.EncodeToString(sum[:])}
	if err := v.checkSignature(r, data, p, &opt); err != nil {
		return nil, err
	}
	md, code := image.Verify(dump.FileAt{Addr: at, Data: data}, at, dump.MaxSize, opt)
	r.steps(&md, code, &opt, p)
	switch n := len(p.Problems); {
	case n > 0 && r.Reason == "":
		r.Reason = p.Problems[n-1] // the hash of a bootloader, which nobody compares on the chip
	case n > 0 && !p.Complete():
		r.Reason += " (" + p.Problems[n-1] + ")"
	}
	if s := r.Signature; s != nil && opt.Signature != nil {
		s.Valid, s.Detail = md.Signed, s.Detail+"; see step 14"
	} else if s != nil && !s.Valid && r.Reason == "" {
		r.Reason = s.Detail
	}
	r.Valid = r.Reason == ""
	return r, nil
}

func (v *imageVerify) chipOf(path string, p *image.Parsed) (*image.Chip, error) {
	if v.chip != "" {
		return chipFlag(v.chip)
	}
	for _, c := range dump.Chips() {
		if c.ID == p.Header.ChipID {
			return c, nil
		}
	}
	return nil, &exit{status: ExitInvalid, text: fmt.Sprintf("%s: chip id %d is none of esp32, esp32s3, esp32c3", path, p.Header.ChipID), help: "--chip decides"}
}

// checkSignature finds the signature and prepares the loader to check it, or checks it.
func (v *imageVerify) checkSignature(r *verifyReport, data []byte, p *image.Parsed, opt *image.VerifyOptions) error {
	scheme := v.scheme
	if scheme == "" {
		scheme = v.detect(data, p)
	}
	if v.key == "" {
		if v.scheme != "" || v.signature != "" {
			return usage("image verify: --key is missing")
		}
		return nil
	}
	key, err := readKey(v.key, false)
	if err != nil {
		return err
	}
	r.Signature = &verifySignature{Scheme: scheme}
	switch scheme {
	case schemeV1:
		s, err := secureboot.NewV1(key)
		if err != nil {
			return invalid(v.key, err)
		}
		opt.Signature, r.Signature.Detail = s, "ECDSA P-256 block"
	case schemeV2:
		keys, err := secureboot.TrustKeys(key)
		if err != nil {
			return invalid(v.key, err)
		}
		kind := schemeOf(key)
		opt.Signature = secureboot.NewV2(secureboot.V2Config{Chip: opt.Chip, Scheme: kind, Keys: keys})
		r.Signature.Detail = fmt.Sprintf("%s, key digest %x", kind, keys[0].Digest)
		if opt.Chip == image.ESP32 && kind != secureboot.RSA3072 {
			r.Signature.Detail += ", but firmware of an ESP32 takes RSA-3072 only"
		}
	case schemeOTA:
		return v.checkOTA(r.Signature, data, key)
	default:
		r.Signature.Detail = "the file has no signature; a detached one is given by --signature"
	}
	return nil
}

// detect tells the scheme from what follows the image. A V1 block that is
// filled up to 80 bytes at the end of the file is a FreeRTOS trailer.
func (v *imageVerify) detect(data []byte, p *image.Parsed) string {
	switch d := dump.DescribeImage(p, 0); {
	case v.signature != "":
		return schemeOTA
	case d.Signature == dump.SignedV2:
		return schemeV2
	case d.Signature == dump.SignedECDSA && len(p.Trailing) != secureboot.TrailerSize:
		return schemeV1
	}
	if len(data) > secureboot.TrailerSize {
		if _, err := secureboot.DecodeTrailer(data[len(data)-secureboot.TrailerSize:]); err == nil {
			return schemeOTA
		}
	}
	return "none"
}

func schemeOf(k *secureboot.Key) secureboot.Scheme {
	switch pub := k.Public.(type) {
	case *rsa.PublicKey:
		return secureboot.RSA3072
	case *secureboot.P192PublicKey:
		return secureboot.ECDSA192
	case *ecdsa.PublicKey:
		if _, ok := p256(k); !ok && pub.Params().BitSize == 384 {
			return secureboot.ECDSA384
		}
	}
	return secureboot.ECDSA256
}

// checkOTA checks the signature of an OTA job over the file without its trailer.
func (v *imageVerify) checkOTA(s *verifySignature, data []byte, key *secureboot.Key) error {
	pub, ok := p256(key)
	if !ok {
		return invalid(v.key, fmt.Errorf("OTA jobs are signed with ECDSA P-256"))
	}
	var der []byte
	if v.signature != "" {
		text, err := readFile(v.signature)
		if err != nil {
			return err
		}
		der, s.Detail = text, "detached signature"
		if raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(text)), "")); err == nil {
			der = raw
		}
	} else {
		split := len(data) - secureboot.TrailerSize
		if split < 0 {
			split = 0
		}
		t, err := secureboot.DecodeTrailer(data[split:])
		if err != nil {
			s.Detail = "the file ends with no FreeRTOS trailer; a detached signature is given by --signature"
			return nil
		}
		data, s.Detail = data[:split], "FreeRTOS trailer"
		if der, err = asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(t.R[:]), new(big.Int).SetBytes(t.S[:])}); err != nil {
			return err
		}
	}
	digest := sha256.Sum256(data)
	if s.Valid = ecdsa.VerifyASN1(pub, digest[:], der); !s.Valid {
		s.Detail += ": not a signature of these bytes by this key"
	}
	return nil
}

// steps fills in how far the loader came.
func (r *verifyReport) steps(md *image.Metadata, code image.Err, opt *image.VerifyOptions, p *image.Parsed) {
	for _, s := range loaderSteps {
		step := verifyStep{Step: s.n, Name: s.name, Result: stepOK}
		switch {
		case code != image.OK && s.n == md.FailStep:
			step.Result, step.Detail = stepFailed, md.Why
			r.Reason = fmt.Sprintf("step %d, %s: %s", s.n, s.name, md.Why)
		case code != image.OK && s.n > md.FailStep:
			step.Result = stepNotReached
		case s.n == 9 && opt.Mode != image.BootLoad,
			s.n == 14 && !md.Signed,
			s.n == 15 && (md.Signed || p.Header.HashAppended == 0 || p.Bootloader != nil),
			s.n == 16 && !opt.AntiRollback:
			step.Result = stepNotChecked
		}
		r.Steps = append(r.Steps, step)
	}
	if code != image.OK && r.Reason == "" {
		r.Reason = md.Why
	}
}

func (r *verifyReport) writeText(w io.Writer) {
	fmt.Fprintf(w, "%s for %s\n", r.File, r.Chip)
	for _, s := range r.Steps {
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%4d  %-28s %-12s %s", s.Step, s.Name, s.Result, s.Detail), " "))
	}
	if s := r.Signature; s != nil {
		verdict := "invalid"
		if s.Valid {
			verdict = "valid"
		}
		fmt.Fprintf(w, "signature %s: %s, %s\n", s.Scheme, verdict, s.Detail)
	}
	if r.Valid {
		fmt.Fprintln(w, "the image verifies")
	} else {
		fmt.Fprintf(w, "the image does not verify: %s\n", r.Reason)
	}
}
