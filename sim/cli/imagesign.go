package cli

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/otasim/otasim/flashmodel/secureboot"
)

// Signature schemes of the image commands.
const (
	schemeV1  = "v1"
	schemeV2  = "v2"
	schemeOTA = "ota"
)

type imageSign struct {
	scheme, output  string
	keys            []string
	trailer, append bool
	json            bool
}

func (c *command) imageSignCommand() *cobra.Command {
	var s imageSign
	cmd := &cobra.Command{
		Use:   "sign --scheme v1|v2|ota --key KEY.pem FILE",
		Short: "Sign an image for Secure Boot or for a FreeRTOS OTA job",
		Long: `v1   ECDSA P-256 block of 68 bytes behind the file, as espsecure sign-data --version 1
v2   signature sector of 4096 bytes, as espsecure sign-data --version 2;
     RSA-3072 or ECDSA keys, up to three
ota  the detached signature that a FreeRTOS OTA job carries: ECDSA P-256 over the
     SHA-256 of the file, DER in base64; with --trailer the file and the 80 bytes
     that the device writes behind it

ECDSA signatures are deterministic. The salt of RSA signatures follows from file
and key, so signing again gives the same bytes.`,
		Example: `  otasim image sign --scheme v1 --key key.pem -o signed.bin app.bin
  otasim image sign --scheme v2 --key rsa.pem -o signed.bin app.bin
  otasim image sign --scheme ota --key key.pem app.bin > app.sig`,
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := oneFile("image sign", args)
			if err != nil {
				return err
			}
			return c.signImage(&s, path)
		},
	}
	cmd.Flags().StringVar(&s.scheme, "scheme", "", "v1, v2 or ota")
	cmd.Flags().StringArrayVar(&s.keys, "key", nil, "private key in PEM (v2: up to three times)")
	cmd.Flags().StringVarP(&s.output, "output", "o", "", "file to write, - is standard output (ota: the default)")
	cmd.Flags().BoolVar(&s.trailer, "trailer", false, "ota: write the file with its 80-byte trailer instead of the signature")
	cmd.Flags().BoolVar(&s.json, "json", false, "describe the result as JSON")
	cmd.Flags().BoolVar(&s.append, "append-signatures", false, "v2: keep the signatures that the file has")
	return cmd
}

func (s *imageSign) check() error {
	switch s.scheme {
	case schemeV1, schemeV2, schemeOTA:
	case "":
		return usage("image sign: --scheme is missing: v1, v2 or ota")
	default:
		return usage("--scheme %s: one of v1, v2, ota", s.scheme)
	}
	switch {
	case len(s.keys) == 0:
		return usage("image sign: --key is missing")
	case len(s.keys) > 1 && s.scheme != schemeV2:
		return usage("--scheme %s takes one --key, got %d", s.scheme, len(s.keys))
	case s.trailer && s.scheme != schemeOTA:
		return usage("--trailer belongs to --scheme ota")
	case s.append && s.scheme != schemeV2:
		return usage("--append-signatures belongs to --scheme v2")
	case s.output == "" && (s.scheme != schemeOTA || s.trailer):
		return usage("image sign: -o FILE is missing")
	case s.output == "":
		s.output = "-"
	}
	return nil
}

func (c *command) signImage(s *imageSign, path string) error {
	if err := s.check(); err != nil {
		return err
	}
	data, err := readFile(path)
	if err != nil {
		return err
	}
	if len(data) == 0 {
		return &exit{status: ExitInvalid, text: path + ": the file is empty"}
	}
	var keys []*secureboot.Key
	for _, name := range s.keys {
		k, err := readKey(name, true)
		if err != nil {
			return err
		}
		keys = append(keys, k)
	}
	var out []byte
	switch s.scheme {
	case schemeV1:
		out, err = secureboot.SignV1(data, keys[0])
	case schemeV2:
		out, err = secureboot.SignV2(data, keys, secureboot.SignOptions{Append: s.append})
	default:
		out, err = signOTA(data, keys[0], s.trailer)
	}
	if err != nil {
		return &exit{status: ExitInvalid, text: fmt.Sprintf("%s: %v", s.keys[0], err), help: makeKeys}
	}
	if s.json {
		return c.writeJSON(&wrote{File: s.output}, out)
	}
	if err := c.writeFile(s.output, out); err != nil || s.output == "-" {
		return err
	}
	fmt.Fprintf(c.std.Out, "wrote %s: %d bytes, scheme %s\n", s.output, len(out), s.scheme)
	return nil
}

// signOTA is the signature of an OTA job, or the file with its trailer.
func signOTA(data []byte, key *secureboot.Key, trailer bool) ([]byte, error) {
	private, ok := key.Private.(*ecdsa.PrivateKey)
	if _, curve := p256(key); !ok || !curve {
		return nil, fmt.Errorf("scheme ota takes ECDSA P-256 only")
	}
	digest := sha256.Sum256(data)
	der, err := private.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	if !trailer {
		return append([]byte(base64.StdEncoding.EncodeToString(der)), '\n'), nil
	}
	t, err := secureboot.TrailerFromDER(der)
	if err != nil {
		return nil, err
	}
	raw := t.Encode()
	return append(data, raw[:]...), nil
}
