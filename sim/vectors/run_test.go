package vectors

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// dir is the committed copy, or the set that VECTORS names.
func dir(t *testing.T) string {
	d := os.Getenv("VECTORS")
	if d == "" {
		d = filepath.Join("..", "..", "testdata", "vectors")
	}
	if _, err := os.Stat(filepath.Join(d, "flash")); err != nil {
		t.Skipf("no vectors in %s", d)
	}
	return d
}

func TestVectors(t *testing.T) {
	d := dir(t)
	var out, diag bytes.Buffer
	err := Run(d, &out, &diag)
	t.Logf("\n%s%s", &out, &diag)
	require.NoError(t, err)
	require.Contains(t, out.String(), "flash/boot_rb0_ar0 ")
	require.Contains(t, out.String(), "flash/ota_ops_idf5_rb1_ar1 ")
	require.Contains(t, out.String(), "agent/traces-afr-v1.4.0 ")
	require.Contains(t, out.String(), "agent/jobdocs ")
	for line := range strings.Lines(out.String()) {
		require.Regexp(t, `^(flash|agent)/[^ ]+ (\d+)/\d+\n$`, line)
	}
}

func TestNothingToRun(t *testing.T) {
	var out, diag bytes.Buffer
	require.ErrorIs(t, Run(filepath.Join(t.TempDir(), "absent"), &out, &diag), ErrNoVectors)
	require.ErrorIs(t, Run(t.TempDir(), &out, &diag), ErrNoVectors)
	require.Empty(t, out.String())
	require.Contains(t, diag.String(), "skip flash/partition_table: file is absent")
	require.Contains(t, diag.String(), "skip flash/boot_rb0_ar0: table images is absent")
}

// A copy of some files, one of them altered: the altered vector fails, the
// others still run.
func TestAlteredVectorFails(t *testing.T) {
	d, copied := dir(t), t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(copied, "flash"), 0o755))
	source, err := filepath.Abs(d)
	require.NoError(t, err)
	for _, f := range []string{"flash/images.jsonl", "flash/boot_rb1_ar0.jsonl.gz"} {
		require.NoError(t, os.Symlink(filepath.Join(source, f), filepath.Join(copied, f)))
	}
	n := 0
	var altered bytes.Buffer
	require.NoError(t, eachLine(d, "flash/ota_ops_rb1_ar0", func(line []byte) error {
		if n++; n > 20 {
			return nil
		}
		if n == 3 {
			line = bytes.Replace(line, []byte(`"flash_ops":`), []byte(`"flash_ops":1`), 1)
			if bytes.Contains(line, []byte(`"flash_ops": `)) {
				line = bytes.Replace(line, []byte(`"flash_ops": `), []byte(`"flash_ops": 1`), 1)
			}
		}
		altered.Write(append(line, '\n'))
		return nil
	}))
	require.NoError(t, os.WriteFile(filepath.Join(copied, "flash", "ota_ops_rb1_ar0.jsonl"), altered.Bytes(), 0o644))
	var out, diag bytes.Buffer
	require.ErrorIs(t, Run(copied, &out, &diag), ErrFailed)
	require.Regexp(t, `(?m)^flash/boot_rb1_ar0 (\d+)/\d+$`, out.String())
	require.Regexp(t, `(?m)^flash/ota_ops_rb1_ar0 19/20$`, out.String())
	require.Contains(t, diag.String(), "fail flash/ota_ops_rb1_ar0 seq-rb1ar0-")
	require.Equal(t, 2, strings.Count(out.String(), "\n"), "tables print no line")
}

func TestSkippedVectorsAndPanics(t *testing.T) {
	d := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(d, "flash"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(d, "flash", "x.jsonl"), []byte("{\"id\":\"a\"}\n\n{\"id\":\"b\"}\n{\"id\":\"c\"}\n{}\n"), 0o644))
	s := Suite{File: "flash/x", Replay: func(_ *Tables, line json.RawMessage) error {
		switch {
		case bytes.Contains(line, []byte(`"a"`)):
			return ErrSkip
		case bytes.Contains(line, []byte(`"b"`)):
			panic("boom")
		case bytes.Contains(line, []byte(`"c"`)):
			return errors.New("one\ntwo")
		}
		return nil
	}}
	r, err := s.Run(d, &Tables{})
	require.NoError(t, err)
	require.Equal(t, Result{File: "flash/x", Passed: 1, Total: 3, Skipped: 1, Failed: []string{"b: panic: boom", "c: one; two"}}, r)
	require.Equal(t, "flash/x 1/3", r.String())
}

func TestBrokenFiles(t *testing.T) {
	d := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(d, "flash"), 0o755))
	path := filepath.Join(d, "flash", "images.jsonl")
	require.NoError(t, os.WriteFile(path, []byte("{\n"), 0o644))
	_, err := LoadTables(d)
	require.ErrorContains(t, err, "line 1")
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.WriteFile(path+".gz", []byte("not gzip"), 0o644))
	_, err = LoadTables(d)
	require.ErrorContains(t, err, "images.jsonl.gz")
}
