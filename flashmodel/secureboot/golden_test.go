package secureboot

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"crypto/elliptic"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/flashmodel/image"
)

// upstream reads the table of real files from the directory VECTORS.
func upstream(t *testing.T) map[string][]byte {
	t.Helper()
	f, err := os.Open(filepath.Join(os.Getenv("VECTORS"), "flash", "upstream_files.jsonl.gz"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("no real files: %v", err)
	}
	require.NoError(t, err)
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<24)
	files := map[string][]byte{}
	for lines.Scan() {
		var row struct {
			Path string `json:"path"`
			Data []byte `json:"zlib_b64"`
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &row))
		r, err := zlib.NewReader(bytes.NewReader(row.Data))
		require.NoError(t, err)
		files[row.Path], err = io.ReadAll(r)
		require.NoError(t, err)
	}
	require.NoError(t, lines.Err())
	return files
}

// Key and IV are the published test data of esptool, test/secure_images.
func TestBootloaderDigestOfRealFile(t *testing.T) {
	files := upstream(t)
	key, err := hex.DecodeString("e63e5c272ae7e59bc31838258ede071e712bdd3812c0c24c6d2abb4587a299df")
	require.NoError(t, err)
	iv, err := hex.DecodeString("4556387a228c201fbf25dc46ab2bf1786ba5fb290f7ee36bca374a49f5c0473e")
	require.NoError(t, err)
	got, err := BootloaderDigest(key, iv, files["test/secure_images/bootloader.bin"])
	require.NoError(t, err)
	want := files["test/secure_images/bootloader_digested.bin"]
	require.Equal(t, want[:len(got)], got)
}

func TestRealSignedApp(t *testing.T) {
	dir := os.Getenv("OTASIM_FIRMWARE")
	if dir == "" {
		t.Skip("OTASIM_FIRMWARE is not set")
	}
	data, err := os.ReadFile(filepath.Join(dir, "hello-world-signed.bin"))
	require.NoError(t, err)
	p, err := image.Parse(data)
	require.NoError(t, err)
	require.Len(t, p.Trailing, V1BlockSize+12)
	block, err := DecodeV1(p.Trailing)
	require.NoError(t, err)
	require.Zero(t, block.Version)
	require.NotZero(t, block.R)
	// signed by a key that nobody published
	check, err := NewV1(ecKey(t, elliptic.P256(), 1))
	require.NoError(t, err)
	flash := flashWith(0x20000, data)
	md, code := image.Verify(flash, 0x20000, 0x80000, image.VerifyOptions{Signature: check})
	require.Equal(t, image.ErrInvalid, code)
	require.Contains(t, md.Why, "image valid, signature bad")
}
