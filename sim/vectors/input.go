package vectors

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
)

const maxInflated = 16 << 20 // no vector holds more than a flash chip does

// input is a file as the vectors spell it.
type input struct {
	Kind    string              `json:"kind"`
	Image   string              `json:"image"`   // table, mutate
	File    string              `json:"file"`    // upstream, upstream_mutate
	Content string              `json:"content"` // upstream, by path
	Hex     string              `json:"hex"`
	Data    string              `json:"data"`
	Sector  string              `json:"sector_zlib_b64"` // appended to the upstream bytes
	Ops     [][]json.RawMessage `json:"ops"`
}

func (in *input) bytes(t *Tables) ([]byte, error) {
	switch in.Kind {
	case "hex":
		return hex.DecodeString(in.Hex)
	case "zlib_b64":
		return inflate(in.Data)
	case "table", "mutate":
		row, ok := t.Images[in.Image]
		if !ok {
			return nil, fmt.Errorf("%w: no image %q", ErrSkip, in.Image)
		}
		return in.mutate(bytes.Clone(row.Data))
	case "upstream", "upstream_mutate":
		b, err := t.upstream(in.File + in.Content)
		if err != nil {
			return nil, err
		}
		if in.Sector != "" {
			sector, err := inflate(in.Sector)
			if err != nil {
				return nil, err
			}
			b = append(b, sector...)
		}
		return in.mutate(b)
	}
	return nil, fmt.Errorf("unknown input kind %q", in.Kind)
}

func (t *Tables) upstream(id string) ([]byte, error) {
	raw, ok := t.Upstream[id]
	if !ok {
		return nil, fmt.Errorf("%w: no file %q", ErrSkip, id)
	}
	var row struct {
		Data string `json:"zlib_b64"`
	}
	if err := json.Unmarshal(raw, &row); err != nil {
		return nil, err
	}
	return inflate(row.Data)
}

func (in *input) mutate(b []byte) ([]byte, error) {
	for _, op := range in.Ops {
		var err error
		if b, err = applyOp(b, op); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// applyOp does ["set",offset,hex], ["truncate",length] or ["append",hex].
func applyOp(b []byte, op []json.RawMessage) ([]byte, error) {
	var name, text string
	var n int
	switch len(op) {
	case 3:
		if err := json.Unmarshal(op[2], &text); err != nil {
			return nil, err
		}
		fallthrough
	case 2:
		if err := json.Unmarshal(op[0], &name); err != nil {
			return nil, err
		}
		target := any(&n)
		if name == "append" {
			target = &text
		}
		if err := json.Unmarshal(op[1], target); err != nil {
			return nil, err
		}
	}
	data, err := hex.DecodeString(text)
	switch {
	case err != nil:
		return nil, err
	case name == "append":
		return append(b, data...), nil
	case name == "truncate" && n >= 0 && n <= len(b):
		return b[:n], nil
	case name == "set" && n >= 0 && n+len(data) <= len(b):
		copy(b[n:], data)
		return b, nil
	}
	return nil, fmt.Errorf("cannot apply %q %d to %d bytes", name, n, len(b))
}

func inflate(b64 string) ([]byte, error) {
	packed, err := base64.StdEncoding.DecodeString(b64)
	if err != nil {
		return nil, err
	}
	z, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(z, maxInflated))
}
