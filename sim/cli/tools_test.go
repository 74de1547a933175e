package cli

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// vendorTool finds one of the vendor's host tools, which are not needed for
// anything but these tests.
func vendorTool(t *testing.T, name string) func(args ...string) (string, error) {
	for _, n := range []string{name, name + ".py"} {
		if path, err := exec.LookPath(n); err == nil {
			return func(args ...string) (string, error) {
				out, err := exec.Command(path, args...).CombinedOutput()
				return string(out), err
			}
		}
	}
	t.Skipf("%s is not installed", name)
	return nil
}

// otasim runs a command line in this process and returns its standard output.
func otasim(t *testing.T, args ...string) string {
	t.Helper()
	var out, diag bytes.Buffer
	status := Main(context.Background(), args, Streams{Out: &out, Err: &diag, Env: func(string) string { return "" }}, nil)
	require.Equal(t, ExitOK, status, "%v: %s", args, diag.String())
	return out.String()
}

func TestEsptoolAcceptsBuiltImages(t *testing.T) {
	esptool := vendorTool(t, "esptool")
	dir := t.TempDir()
	for _, chip := range []string{"esp32", "esp32s3", "esp32c3"} {
		for _, size := range []string{"336", "4KiB", "1000KiB"} {
			app := filepath.Join(dir, "app.bin")
			otasim(t, "image", "build", "-o", app, "--chip", chip, "--size", size, "--version", "1.2.3", "--secure-version", "7", "--min-rev", "0.3")
			out, err := esptool("--chip", chip, "image_info", app)
			require.NoError(t, err, out)
			require.Equal(t, 2, strings.Count(out, "(valid)"), "checksum and hash: %s", out)
			require.NotContains(t, out, "invalid")
			if strings.Contains(out, "Application Information") { // version 5, and 4 when asked for
				require.Contains(t, out, "App version: 1.2.3")
				require.Contains(t, out, "Secure version: 7")
				mine := otasim(t, "image", "info", "--chip", chip, app)
				mine, _, _ = strings.Cut(mine, "\nBehind the Image")
				require.Contains(t, out, mine, "the same report")
			}
		}
	}
}

func TestEsptoolMergesTheSameFlash(t *testing.T) {
	esptool := vendorTool(t, "esptool")
	dir := t.TempDir()
	app, table, mine, theirs := filepath.Join(dir, "app.bin"), filepath.Join(dir, "table.bin"), filepath.Join(dir, "mine.bin"), filepath.Join(dir, "theirs.bin")
	boot := filepath.Join(dir, "boot.bin")
	otasim(t, "image", "build", "-o", app, "--size", "100KiB")
	otasim(t, "image", "build", "-o", boot, "--size", "20KiB", "--project", "bootloader", "--flash-size", "2MB")
	otasim(t, "flash", "build", "-o", mine, "--size", "4MB", "--partitions", "partitions_singleapp", "--bootloader", boot, "--app", "factory="+app)
	flash, err := os.ReadFile(mine)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(table, flash[0x8000:0x8C00], 0o644))
	args := []string{"--chip", "esp32", "merge_bin", "-o", theirs, "--flash_size", "4MB", "--pad-to-size", "4MB", "0x1000", boot, "0x8000", table, "0x10000", app}
	out, err := esptool(args...)
	if err != nil {
		args[5], args[7] = "--flash_size", "--fill-flash-size" // version 4
		out, err = esptool(args...)
	}
	require.NoError(t, err, out)
	merged, err := os.ReadFile(theirs)
	require.NoError(t, err)
	require.True(t, bytes.Equal(flash, merged), "the same bytes, the flash size in the bootloader header included")
}

func TestEspsecureAcceptsSignatures(t *testing.T) {
	espsecure := vendorTool(t, "espsecure")
	dir := t.TempDir()
	app, signed, theirs := filepath.Join(dir, "app.bin"), filepath.Join(dir, "signed.bin"), filepath.Join(dir, "theirs.bin")
	otasim(t, "image", "build", "-o", app, "--size", "100KiB")
	for _, c := range []struct{ scheme, version, kind string }{
		{schemeV1, "1", "ecdsa256"}, {schemeV2, "2", "rsa3072"}, {schemeV2, "2", "ecdsa256"}, {schemeV2, "2", "ecdsa192"},
	} {
		t.Run(c.scheme+" "+c.kind, func(t *testing.T) {
			key := filepath.Join(dir, c.scheme+c.kind+".pem")
			out, err := espsecure("generate_signing_key", "--version", c.version, "--scheme", c.kind, key)
			require.NoError(t, err, out)
			otasim(t, "image", "sign", "--scheme", c.scheme, "--key", key, "-o", signed, app)
			out, err = espsecure("verify_signature", "--version", c.version, "--keyfile", key, signed)
			require.NoError(t, err, out)

			out, err = espsecure("sign_data", "--version", c.version, "--keyfile", key, "--output", theirs, app)
			require.NoError(t, err, out)
			require.Contains(t, otasim(t, "image", "verify", "--key", key, theirs), "signature "+c.scheme+": valid")
			if c.scheme == schemeV1 {
				a, err := os.ReadFile(signed)
				require.NoError(t, err)
				b, err := os.ReadFile(theirs)
				require.NoError(t, err)
				require.True(t, bytes.Equal(a, b), "deterministic signatures are the same")
			}

			data, err := os.ReadFile(signed)
			require.NoError(t, err)
			data[0x100] ^= 1
			require.NoError(t, os.WriteFile(signed, data, 0o644))
			out, err = espsecure("verify_signature", "--version", c.version, "--keyfile", key, signed)
			require.Error(t, err, out)
		})
	}
}

// TestRealFirmware builds a flash from files of real builds and boots it.
func TestRealFirmware(t *testing.T) {
	from := os.Getenv("OTASIM_FIRMWARE")
	if from == "" {
		t.Skip("OTASIM_FIRMWARE names no folder with bootloader_esp32_v5_2.bin, esp32-app-template.bin and hello-world-signed.bin")
	}
	flash := filepath.Join(t.TempDir(), "flash.bin")
	otasim(t, "flash", "build", "-o", flash, "--size", "4MB", "--partitions", "partitions_two_ota", "--bootloader", filepath.Join(from, "bootloader_esp32_v5_2.bin"),
		"--app", "factory="+filepath.Join(from, "esp32-app-template.bin"), "--app", "ota_0="+filepath.Join(from, "hello-world-signed.bin"))
	require.Contains(t, otasim(t, "flash", "boot", flash), "\nstarts factory at 0x10000: app-template ")
	out := otasim(t, "flash", "inspect", flash)
	require.Contains(t, out, "ESP-IDF v5.2-dev-254-g1950b15")
	require.Contains(t, out, "hello-world v3.3-beta3")
	require.Contains(t, out, "ECDSA block at 0x13ffb0")
	require.Contains(t, out, "No problems.")
	require.Contains(t, otasim(t, "image", "verify", filepath.Join(from, "hello-world-signed.bin")), "the image verifies")
}
