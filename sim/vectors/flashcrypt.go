package vectors

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/otasim/otasim/flashmodel/flashcrypt"
)

type cryptVector struct {
	Scheme     string  `json:"scheme"`
	Op         string  `json:"op"`
	Config     uint8   `json:"flash_crypt_conf"`
	Key        string  `json:"key_hex"`
	Address    uint32  `json:"address"`
	Input      string  `json:"input_hex"`
	Output     string  `json:"output_hex"`
	Prefix     *string `json:"output_prefix_hex"`
	OutputLen  int     `json:"output_len"`
	RandomTail bool    `json:"random_tail"`
	Exit       int     `json:"exit"`
	Error      string  `json:"error"`
	Message    string  `json:"message"`
}

func replayFlashEncrypt(_ *Tables, line json.RawMessage) error {
	var v cryptVector
	if err := json.Unmarshal(line, &v); err != nil {
		return err
	}
	key, err := hex.DecodeString(v.Key)
	if err != nil {
		return err
	}
	input, err := hex.DecodeString(v.Input)
	if err != nil {
		return err
	}
	s := flashcrypt.Scheme{XTS: v.Scheme == "xts", Config: v.Config}
	var got []byte
	if v.Op == "encrypt" {
		got, err = s.EncryptData(key, v.Address, input, zeros{})
	} else {
		got, err = s.DecryptData(key, v.Address, input)
	}
	if err != nil || v.Exit != 0 {
		return sameCryptRefusal(err, &v)
	}
	text := v.Output
	if v.RandomTail {
		if v.Prefix == nil || len(got) != v.OutputLen {
			return fmt.Errorf("%d bytes, want %d", len(got), v.OutputLen)
		}
		text = *v.Prefix
	}
	want, err := hex.DecodeString(text)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(got, want) || !v.RandomTail && len(got) != len(want) {
		return fmt.Errorf("%x, want %x", got, want)
	}
	return nil
}

func sameCryptRefusal(err error, v *cryptVector) error {
	var got *flashcrypt.Error
	switch {
	case err == nil:
		return fmt.Errorf("accepted, want exit %d %s", v.Exit, v.Error)
	case !errors.As(err, &got):
		return fmt.Errorf("error of another kind: %w", err)
	case got.Exit() != v.Exit || got.Class.Error() != v.Error || got.Message != v.Message:
		return fmt.Errorf("exit %d %v %q, want %d %s %q", got.Exit(), got.Class, got.Message, v.Exit, v.Error, v.Message)
	}
	return nil
}

// zeros pads where the tool pads with random bytes.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
