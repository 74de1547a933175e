package image

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// firmware reads a real image from the directory OTASIM_FIRMWARE.
func firmware(t testing.TB, name string) []byte {
	t.Helper()
	dir := os.Getenv("OTASIM_FIRMWARE")
	if dir == "" {
		t.Skip("OTASIM_FIRMWARE is not set")
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	return data
}

func TestRealApp(t *testing.T) {
	data := firmware(t, "esp32-app-template.bin")
	p, err := Parse(data)
	require.NoError(t, err)
	require.True(t, p.Valid(), p.Problems)
	require.Len(t, p.Segments, 5)
	require.Equal(t, "app-template", p.Descriptor.Project)
	require.Equal(t, "1cd5752", p.Descriptor.Version)
	require.Empty(t, p.Trailing)
	for _, addr := range []uint32{0x20000, 0x1D0000} {
		for _, mode := range []Mode{AppVerify, BootLoad} {
			md, code := Verify(erased(4<<20, addr, data), addr, 0x1B0000, VerifyOptions{Mode: mode, Revision: 100, AntiRollback: true})
			require.Equal(t, OK, code, md.Why)
			require.EqualValues(t, len(data), md.ImageLen)
			require.Equal(t, data[len(data)-32:], md.SHA256[:])
		}
	}
	// mapped segments need the right place in a 64 KiB page
	md, code := Verify(erased(4<<20, 0x21000, data), 0x21000, 0x1B0000, VerifyOptions{Revision: 100})
	require.Equal(t, ErrInvalid, code)
	require.Equal(t, 8, md.FailStep)

	report, err := Info(data, "esp32")
	require.NoError(t, err)
	require.True(t, *report.HashValid)
	require.Equal(t, []string{"DROM"}, report.Segments[0].Memory)
}

func TestRealSignedApp(t *testing.T) {
	data := firmware(t, "hello-world-signed.bin")
	p, err := Parse(data)
	require.NoError(t, err)
	require.True(t, p.Valid(), p.Problems)
	require.EqualValues(t, 0x2FFB0, p.Length)
	require.Len(t, p.Segments, 7)
	require.Equal(t, "v3.3-beta3", p.Descriptor.IDFVersion[:10])
	require.Len(t, p.Trailing, 68+12, "V1 block and 12 bytes")
	md, code := Verify(erased(1<<20, 0x20000, data), 0x20000, 0x100000-0x20000, VerifyOptions{Mode: BootLoad})
	require.Equal(t, OK, code, md.Why)
	require.EqualValues(t, 0x2FFB0, md.ImageLen, "the block is no part of an unsigned image")
}

func TestRealZephyr(t *testing.T) {
	data := firmware(t, "esp32-zephyr.bin")
	p, err := Parse(data)
	require.NoError(t, err)
	require.True(t, p.Valid(), p.Problems)
	require.Nil(t, p.Descriptor)
	flash := erased(1<<20, 0x10000, data)
	_, err = ReadDescriptor(flash, 0x10000)
	require.ErrorIs(t, err, ErrNoDescriptor)
	md, code := Verify(flash, 0x10000, 0x100000-0x10000, VerifyOptions{})
	require.Equal(t, OK, code, md.Why)
	require.False(t, md.Described)
	_, code = Verify(flash, 0x10000, 0x100000-0x10000, VerifyOptions{AntiRollback: true})
	require.Equal(t, ErrAbort, code)
}

func TestRealBootloader(t *testing.T) {
	data := firmware(t, "bootloader_esp32_v5_2.bin")
	p, err := Parse(data)
	require.NoError(t, err)
	require.True(t, p.Valid(), p.Problems)
	require.EqualValues(t, 399, p.Header.MaxRevFull)
	require.Nil(t, p.Descriptor)
	require.NotNil(t, p.Bootloader)
	require.Equal(t, "v5.2", p.Bootloader.IDFVersion[:4])

	flash := erased(1<<20, 0x1000, data)
	md, code := Verify(flash, 0x1000, 0x7000, VerifyOptions{Revision: 300, AntiRollback: true})
	require.Equal(t, OK, code, md.Why)
	// tools rewrite the header in flash, so its hash does not count at 0x1000
	flash[0x1003] ^= 0x10
	_, code = Verify(flash, 0x1000, 0x7000, VerifyOptions{Revision: 300})
	require.Equal(t, OK, code)
	_, code = Verify(flash, 0x1000, 0x7000, VerifyOptions{Revision: 400})
	require.Equal(t, ErrFail, code)

	report, err := Info(data, "")
	require.NoError(t, err)
	require.Equal(t, "esp32", report.Chip)
	require.NotNil(t, report.BootDesc)
}
