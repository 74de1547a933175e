package vectors

import (
	"bytes"
	"compress/zlib"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/otasim/otasim/flashmodel/nvs"
)

type nvsVector struct {
	CSV       string            `json:"csv"`
	Files     map[string][]byte `json:"files"`
	Size      string            `json:"size"`
	Version   string            `json:"version"`
	KeyHex    string            `json:"key_file_hex"`
	Encrypted bool              `json:"encrypted"`
	Exit      int               `json:"exit"`
	Message   string            `json:"message"`
	OutLen    int               `json:"out_len"`
	OutZlib   []byte            `json:"out_zlib_b64"`
}

func replayNVS(_ *Tables, line json.RawMessage) error {
	var v nvsVector
	if err := json.Unmarshal(line, &v); err != nil {
		return err
	}
	size, err := strconv.ParseInt(v.Size, 0, 32)
	if err != nil {
		if v.Exit != 0 || v.OutZlib != nil {
			return fmt.Errorf("size %q: %w", v.Size, err)
		}
		return nil // the tool prints why, writes nothing and ends with 0
	}
	version, err := strconv.Atoi(v.Version)
	if err != nil {
		return err
	}
	opt := nvs.GenerateOptions{Size: int(size), Version: version}
	opt.File = func(name string) ([]byte, bool) { b, ok := v.Files[name]; return b, ok }
	if v.Encrypted {
		key, err := hex.DecodeString(v.KeyHex)
		if err != nil {
			return err
		}
		opt.Key = key[:min(len(key), nvs.KeysSize)]
	}
	got, err := nvs.Generate([]byte(v.CSV), opt)
	if err != nil || v.Exit != 0 {
		return sameNVSRefusal(err, &v)
	}
	z, err := zlib.NewReader(bytes.NewReader(v.OutZlib))
	if err != nil {
		return err
	}
	want, err := io.ReadAll(z)
	if err != nil {
		return err
	}
	if len(got) != v.OutLen || len(want) != v.OutLen {
		return fmt.Errorf("%d bytes, want %d", len(got), v.OutLen)
	}
	for i := range got {
		if got[i] != want[i] {
			return fmt.Errorf("byte 0x%x is %02x, want %02x", i, got[i], want[i])
		}
	}
	return nil
}

// sameNVSRefusal compares the exit status and the last line printed. Of a
// Python exception only its class counts: the text depends on the version of
// the interpreter.
func sameNVSRefusal(err error, v *nvsVector) error {
	var got *nvs.ToolError
	switch {
	case err == nil:
		return fmt.Errorf("accepted, want exit %d %q", v.Exit, v.Message)
	case !errors.As(err, &got):
		return fmt.Errorf("error of another kind: %w", err)
	case got.Exit() != v.Exit:
		return fmt.Errorf("exit %d (%w), want %d %q", got.Exit(), err, v.Exit, v.Message)
	case got.LastLine() == v.Message:
		return nil
	}
	class, _, _ := strings.Cut(v.Message, ":")
	if got.Class != class {
		return fmt.Errorf("message %q, want %q", got.LastLine(), v.Message)
	}
	return nil
}
