package image

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestHeaderRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOfN(rapid.Byte(), HeaderSize, HeaderSize).Draw(t, "raw")
		copy(raw[19:23], []byte{0, 0, 0, 0}) // reserved
		h, err := DecodeHeader(raw)
		require.NoError(t, err)
		require.Equal(t, raw, h.AppendTo(nil))
	})
}

func TestDescriptorRoundTrip(t *testing.T) {
	d := Descriptor{
		SecureVersion: 5, Version: "1.2.3", Project: "a project with a name of 32 byte", Time: "10:00:00", Date: "Nov 11 2025",
		IDFVersion: "v5.5.5", ELFSHA256: [32]byte{1, 2}, MinBlockRev: 3, MaxBlockRev: 199, MMUPageSizeLog: 15,
	}
	raw := d.Encode()
	got, err := DecodeDescriptor(raw[:])
	require.NoError(t, err)
	require.Equal(t, d, got)

	_, err = DecodeDescriptor(raw[:255])
	require.ErrorIs(t, err, ErrTruncated)
	raw[0] = 0
	_, err = DecodeDescriptor(raw[:])
	require.ErrorIs(t, err, ErrNoDescriptor)
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		data []byte
		why  string
	}{
		{nil, "empty"},
		{bytes.Repeat([]byte{0xFF}, 100), "erased"},
		{[]byte("hello, this is a text file, isn't it"), "first byte is 68"},
		{[]byte{Magic, 1, 2}, "3 bytes"},
	} {
		_, err := Parse(c.data)
		require.ErrorIs(t, err, ErrNotImage)
		require.ErrorContains(t, err, c.why)
	}
}

func TestParseProblems(t *testing.T) {
	img, err := Build(Spec{Version: "1", Project: "p", Size: 4096})
	require.NoError(t, err)
	for _, c := range []struct {
		name     string
		change   func(b []byte) []byte
		why      string
		complete bool
	}{
		{"flipped bit", func(b []byte) []byte { b[1000] ^= 1; return b }, "checksum is", true},
		{"flipped twice", func(b []byte) []byte { b[1000] ^= 1; b[1001] ^= 1; return b }, "SHA-256 is", true},
		{"cut in the hash", func(b []byte) []byte { return b[:4090] }, "hash at 0xfe0 is cut short", false},
		{"cut before the checksum", func(b []byte) []byte { return b[:4096-33] }, "checksum byte at 0xfdf", false},
		{"cut in a segment", func(b []byte) []byte { return b[:2000] }, "the file has", false},
		{"cut in a segment header", func(b []byte) []byte { return b[:28] }, "header at 0x18 is cut short", false},
		{"too many segments", func(b []byte) []byte { b[1] = 200; return b }, "200 segments", false},
		{"odd length", func(b []byte) []byte { b[28]++; return b }, "not a multiple of 4", false},
	} {
		p, err := Parse(c.change(bytes.Clone(img)))
		require.NoError(t, err, c.name)
		require.False(t, p.Valid(), c.name)
		require.Contains(t, join(p.Problems), c.why, c.name)
		require.Equal(t, c.complete, p.Complete(), c.name)
	}
	p, err := Parse(append(bytes.Clone(img), 1, 2, 3))
	require.NoError(t, err)
	require.True(t, p.Valid())
	require.Equal(t, []byte{1, 2, 3}, p.Trailing)
}

func join(lines []string) string {
	var b bytes.Buffer
	for _, l := range lines {
		b.WriteString(l + "\n")
	}
	return b.String()
}

func TestFlashSize(t *testing.T) {
	for nibble, want := range map[byte]uint32{0: 1 << 20, 2: 4 << 20, 4: 16 << 20, 7: 128 << 20, 8: 0, 15: 0} {
		h := Header{SPISizeSpeed: nibble<<4 | 0xF}
		require.Equal(t, want, h.FlashSize())
	}
}

func TestXorBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOf(rapid.Byte()).Draw(t, "b")
		want := byte(checksumSeed)
		for _, c := range b {
			want ^= c
		}
		require.Equal(t, want, xorBytes(checksumSeed, b))
	})
}

// Load addresses of segments that the bootloader copies, as it judges them.
func TestLoadAddresses(t *testing.T) {
	for _, c := range []struct {
		lo, size uint32
		why      string
	}{
		{0x3FFB0000, 0x2000, ""},
		{0x40080000, 0x20000, ""},
		{0x400C0000, 0x2000, ""},
		{0x50000000, 0x2000, ""},
		{0x3FF80000, 0x10, ""},
		{0x50000000, 0x2004, "bad load address"},
		{0x3FFE0000, 0x40, "bootloader stack"},
		{0x3FFF0000, 0x40, "bootloader data"},
		{0x3FFF5FFC, 4, "bootloader data"},
		{0x3FFF6000, 0x100, ""},                 // seen as 400A9EFC, IRAM
		{0x3FFE8000, 0x100, "bad load address"}, // seen as 400B7EFC, no IRAM
		{0x400A0000, 0x100, ""},                 // seen as 3FFFFEFC, free
		{0x400A9F00, 0x200, "bad load address"}, // leaves IRAM
		{0x40078000, 0x40, "bad load address"},  // cache of the other core
		{0x3FFFFFF0, 0x40, "bad load address"},  // leaves DRAM
		{0x60000000, 0x40, "bad load address"},  // peripherals
		{0xFFFFFFF0, 0x0F, "bad load address"},
	} {
		why := loaderESP32.refuses(c.lo, c.lo+c.size, false)
		if c.why == "" {
			require.Empty(t, why, "%08x", c.lo)
		} else {
			require.Contains(t, why, c.why, "%08x", c.lo)
		}
	}
	require.True(t, loaderESP32.loadsTo(0x50000000, false))
	require.False(t, loaderESP32.loadsTo(0x50000000, true), "RTC memory survives deep sleep")
	require.False(t, loaderESP32.loadsTo(0, false), "padding")
	require.False(t, loaderESP32.loadsTo(0x3F400020, false), "mapped")
}

func TestChips(t *testing.T) {
	require.Equal(t, "ESP32-S3", ChipByName("esp32s3").Name)
	require.Same(t, ESP32C3, ChipByName("ESP32-C3"))
	require.Same(t, ESP32, ChipByID(0))
	require.Same(t, ESP32S3, ChipByID(9))
	require.Nil(t, ChipByName("esp9000"))
	require.Nil(t, ChipByID(99))
	require.EqualValues(t, 0x1000, ESP32.BootloaderOffset)
	require.EqualValues(t, 0, ESP32S3.BootloaderOffset)
}
