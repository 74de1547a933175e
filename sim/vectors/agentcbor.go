package vectors

import (
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/otasim/otasim/device/agent"
)

// replayCBOR encodes a stream request or decodes a stream data message, as the library and as the 2018 agent.
func replayCBOR(_ *Tables, line json.RawMessage) error {
	var v struct {
		Kind, Token, Bitmap, Hex string
		FileID                   int64 `json:"file_id"`
		BlockSize                int64 `json:"block_size"`
		Offset, N                int64
		Buffer, Cap              int
		Out                      map[string]json.RawMessage
	}
	if err := json.Unmarshal(line, &v); err != nil {
		return err
	}
	for _, generation := range []string{"v3", "afr-v1.4.0"} {
		answer, ok := v.Out[generation]
		if !ok {
			continue
		}
		old := generation != "v3"
		switch v.Kind {
		case "encode":
			bitmap, err := hex.DecodeString(v.Bitmap)
			if err != nil {
				return err
			}
			n := int64(uint32(v.N))
			if old {
				n = -1
			}
			var want *string
			if err := json.Unmarshal(answer, &want); err != nil {
				return err
			}
			got := agent.AppendStreamRequest(nil, v.Token, int32(v.FileID), int32(v.BlockSize), int32(v.Offset), bitmap, n)
			fits := len(got) <= v.Buffer
			if fits != (want != nil) || fits && *want != hex.EncodeToString(got) {
				return fmt.Errorf("%w: %s encodes %x in %d of %d bytes, want %s", errOutput, generation, got, len(got), v.Buffer, answer)
			}
		case "decode":
			msg, err := hex.DecodeString(v.Hex)
			if err != nil {
				return err
			}
			if err := compareBlock(msg, v.Cap, old, answer); err != nil {
				return fmt.Errorf("%s: %w", generation, err)
			}
		default:
			return fmt.Errorf("unknown kind %q", v.Kind)
		}
	}
	return nil
}

func compareBlock(msg []byte, capacity int, old bool, answer json.RawMessage) error {
	var want struct {
		OK      int
		F, I, L int32
		P       string
	}
	if err := json.Unmarshal(answer, &want); err != nil {
		return err
	}
	b, err := agent.DecodeBlock(msg, capacity)
	if old {
		b, err = agent.DecodeBlock2018(msg)
	}
	got := want
	if got.OK = 0; err == nil {
		got.OK, got.F, got.I, got.L, got.P = 1, b.File, b.Index, b.Size, hex.EncodeToString(b.Payload)
	}
	if got != want {
		return fmt.Errorf("%w: decodes %+v (%v), want %+v", errOutput, got, err, want)
	}
	return nil
}
