package vectors

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/otasim/otasim/flashmodel/partition"
)

type partitionVector struct {
	Dir      string            `json:"dir"`
	Args     []string          `json:"args"`
	Env      map[string]string `json:"env"`
	CSV      *string           `json:"csv"`
	InputHex string            `json:"input_hex"`
	BinHex   string            `json:"bin_hex"`
	BinLen   int               `json:"bin_len"`
	BinSHA   string            `json:"bin_sha256"`
	Table    []tableRow        `json:"table"`
	Exit     int               `json:"exit"`
	Error    *string           `json:"error"`
	Message  string            `json:"message"`
	Warnings int               `json:"warnings"`
}

// tableRow is [label, type, subtype, offset, size, flags].
type tableRow struct{ partition.Record }

func (r *tableRow) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&r.Label, &r.Type, &r.Subtype, &r.Offset, &r.Size, &r.Flags})
}

// input is the file that the tool was given.
func (v *partitionVector) input() ([]byte, error) {
	if v.Dir == "csv_to_bin" {
		if v.CSV != nil {
			return []byte(*v.CSV), nil
		}
		return hex.DecodeString(v.InputHex)
	}
	b, err := hex.DecodeString(v.BinHex)
	if err != nil || len(b) > v.BinLen {
		return nil, fmt.Errorf("bin_hex does not fit bin_len: %w", err)
	}
	return append(b, bytes.Repeat([]byte{0xFF}, v.BinLen-len(b))...), nil
}

func replayPartitionTable(_ *Tables, line json.RawMessage) error {
	var v partitionVector
	if err := json.Unmarshal(line, &v); err != nil {
		return err
	}
	input, err := v.input()
	if err != nil {
		return err
	}
	opt, err := partition.ParseArgs(v.Args)
	var got partition.Conversion
	if err == nil {
		opt.Lookup = func(name string) (string, bool) { s, ok := v.Env[name]; return s, ok }
		got, err = partition.Convert(input, opt)
	}
	if len(got.Warnings) != v.Warnings {
		return fmt.Errorf("%d warnings %q, want %d", len(got.Warnings), got.Warnings, v.Warnings)
	}
	if err != nil || v.Exit != 0 {
		return sameRefusal(err, &v)
	}
	if got.FromBinary != (v.Dir == "bin_to_csv") {
		return errors.New("the input was taken for the other form")
	}
	if got.FromBinary {
		if string(got.Output) != *v.CSV {
			return fmt.Errorf("CSV %q, want %q", got.Output, *v.CSV)
		}
		return nil
	}
	if sum := sha256.Sum256(got.Output); len(got.Output) != v.BinLen || hex.EncodeToString(sum[:]) != v.BinSHA {
		return fmt.Errorf("%d bytes %x, want %d bytes %s", len(got.Output), sum, v.BinLen, v.BinSHA)
	}
	if len(got.Table) != len(v.Table) {
		return fmt.Errorf("%d rows, want %d", len(got.Table), len(v.Table))
	}
	for i, want := range v.Table {
		if got.Table[i] != want.Record {
			return fmt.Errorf("row %d is %+v, want %+v", i, got.Table[i], want.Record)
		}
	}
	return nil
}

func sameRefusal(err error, v *partitionVector) error {
	var got *partition.ToolError
	switch {
	case err == nil:
		return fmt.Errorf("accepted, want exit %d", v.Exit)
	case !errors.As(err, &got):
		return fmt.Errorf("error of another kind: %w", err)
	case v.Error == nil:
		return fmt.Errorf("refused: %w", err)
	case got.Exit() != v.Exit || string(got.Class) != *v.Error:
		return fmt.Errorf("exit %d class %s (%w), want exit %d class %s", got.Exit(), got.Class, err, v.Exit, *v.Error)
	case got.Class != partition.Crash && strings.TrimSpace(got.Message) != strings.TrimSpace(v.Message):
		return fmt.Errorf("message %q, want %q", got.Message, v.Message)
	}
	return nil
}
