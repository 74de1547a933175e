package cli

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim/vectors"
)

// bootVector is a chip and what the real bootloader did with it.
type bootVector struct {
	ID      string
	PTHex   string             `json:"pt_hex"`
	PT      [][]any            `json:"pt"`
	OTAData []string           `json:"otadata"`
	Images  map[string]*string `json:"img"`
	EFuse   string             `json:"efuse"`
	Exp     struct {
		End        string   `json:"end"`
		Boot       *string  `json:"boot"`
		OTAData    []string `json:"otadata"`
		EFuse      string   `json:"efuse"`
		StartIndex *int     `json:"start_index"`
		Tried      []string `json:"tried"`
	} `json:"exp"`
}

// dump lays the vector out as esptool would read it from a board of 4 MB.
func (v *bootVector) dump(t *testing.T, tables *vectors.Tables) []byte {
	flash := bytes.Repeat([]byte{0xFF}, 4<<20)
	put := func(at float64, text string) {
		b, err := hex.DecodeString(text)
		require.NoError(t, err)
		copy(flash[int(at):], b)
	}
	put(0x8000, v.PTHex)
	for _, r := range v.PT {
		label, typ, subtype, at := r[0].(string), r[1].(float64), r[2].(float64), r[3].(float64)
		if id := v.Images[label]; id != nil {
			copy(flash[int(at):], tables.Images[*id].Data)
		}
		if typ == 1 && subtype == 0 && v.OTAData != nil {
			put(at, v.OTAData[0])
			put(at+0x1000, v.OTAData[1])
		}
	}
	return flash
}

// TestBootAgreesWithVectors boots dumps through the command line.
func TestBootAgreesWithVectors(t *testing.T) {
	dir := os.Getenv("VECTORS")
	if dir == "" {
		dir = filepath.Join("..", "..", "testdata", "vectors")
	}
	tables, err := vectors.LoadTables(dir)
	require.NoError(t, err)
	if tables.Images == nil {
		t.Skipf("no vectors in %s", dir)
	}
	for rollback := range 2 {
		for anti := range 2 {
			name := fmt.Sprintf("boot_rb%d_ar%d", rollback, anti)
			t.Run(name, func(t *testing.T) {
				args := []string{"--json"}
				if rollback == 1 {
					args = append(args, "--rollback")
				}
				if anti == 1 {
					args = append(args, "--anti-rollback")
				}
				replayThroughCommand(t, tables, filepath.Join(dir, "flash", name+".jsonl.gz"), args)
			})
		}
	}
}

func replayThroughCommand(t *testing.T, tables *vectors.Tables, path string, args []string) {
	every := 83
	if os.Getenv("OTASIM_LONG") != "" {
		every = 1
	}
	f, err := os.Open(path)
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 16<<20)
	file := filepath.Join(t.TempDir(), "dump.bin")
	ran := 0
	for n := 0; lines.Scan(); n++ {
		if n%every != 0 {
			continue
		}
		var v bootVector
		require.NoError(t, json.Unmarshal(lines.Bytes(), &v))
		field, err := strconv.ParseUint(v.EFuse, 16, 32)
		require.NoError(t, err)
		if field&(field+1) != 0 {
			continue // burnt with gaps, which a version number cannot say
		}
		data := v.dump(t, tables)
		if v.PTHex == "" && len(bytes.ReplaceAll(data, []byte{0xFF}, nil)) == 0 {
			continue
		}
		require.NoError(t, os.WriteFile(file, data, 0o644))
		var out, diag bytes.Buffer
		status := Main(context.Background(), append([]string{"flash", "boot", file, "--efuse-version", strconv.Itoa(bits.OnesCount64(field))}, args...),
			Streams{Out: &out, Err: &diag, Env: func(string) string { return "" }}, nil)
		if status == ExitInvalid && v.PTHex == "" {
			require.Equal(t, "reset", v.Exp.End, "%s: %s", v.ID, diag.String())
			continue // nothing in it that could be recognized
		}
		require.Equal(t, ExitOK, status, "%s: %s", v.ID, diag.String())
		var got struct {
			End     string   `json:"end"`
			Boot    *string  `json:"boot"`
			Tried   []string `json:"tried"`
			OTAData []string `json:"otadata"`
			Version int      `json:"efuse_version"`
			Start   *int     `json:"start_index"`
		}
		require.NoError(t, json.Unmarshal(out.Bytes(), &got), v.ID)
		burnt, err := strconv.ParseUint(v.Exp.EFuse, 16, 32)
		require.NoError(t, err)
		require.Equal(t, v.Exp.End, got.End, v.ID)
		require.Equal(t, v.Exp.Boot, got.Boot, v.ID)
		require.Equal(t, v.Exp.StartIndex, got.Start, v.ID)
		require.Equal(t, append([]string{}, v.Exp.Tried...), got.Tried, v.ID)
		require.Equal(t, bits.OnesCount64(burnt), got.Version, v.ID)
		if v.PTHex != "" {
			require.Equal(t, v.Exp.OTAData, got.OTAData, v.ID)
		}
		ran++
	}
	require.NoError(t, lines.Err())
	require.NotZero(t, ran)
	t.Logf("%d vectors", ran)
}
