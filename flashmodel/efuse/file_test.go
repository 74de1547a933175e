package efuse

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// sample has something in every block.
func sample(scheme uint64) EFuse {
	var e EFuse
	e.PresetMAC([6]byte{0x24, 0x0a, 0xc4, 0x12, 0x34, 0x56})
	e.Preset(CodingScheme, scheme)
	e.Preset(FlashCryptCount, 1)
	for b := FlashKeyBlock; b < blocks; b++ {
		var w Batch
		w.WriteBlock(&e, b, []byte{byte(b), 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})
		e.Commit(&w)
	}
	return e
}

func TestFilesKeepEverything(t *testing.T) {
	for scheme := range uint64(4) {
		e := sample(scheme)
		v, err := DecodeVirtual(e.EncodeVirtual())
		require.NoError(t, err)
		require.Equal(t, e, v)
		m, err := DecodeEmulator(e.EncodeEmulator())
		require.NoError(t, err)
		require.Equal(t, e, m)
	}
}

// The places of single bits, computed by hand from the two layouts.
func TestFileLayouts(t *testing.T) {
	var e EFuse
	e.Preset(SecureVersionBits, 1) // BLK3, word 4
	e.Preset(AbsDone1, 1)          // BLK0, word 6, bit 5
	e.Preset(WriteDisable, 0x8001) // BLK0, word 0
	virtual := e.EncodeVirtual()
	require.Len(t, virtual, 128)
	require.Equal(t, byte(1), virtual[3*32+16])
	require.Equal(t, byte(0x20), virtual[24])
	require.Equal(t, []byte{0x01, 0x80}, virtual[:2])

	file := e.EncodeEmulator()
	require.Len(t, file, 0x120)
	require.Equal(t, []byte{0, 0, 0, 1}, file[0x120-0x78-16-4:0x120-0x78-16], "BLK3 word 4 at register 0x88")
	require.Equal(t, []byte{0, 0, 0, 0x20}, file[0x120-24-4:0x120-24], "BLK0 word 6 at register 0x18")
	require.Equal(t, []byte{0, 0, 0x80, 1}, file[0x11c:], "BLK0 word 0 at register 0")
	require.Equal(t, 4, 0x120-bytes.Count(file, []byte{0}))
	require.Equal(t, 4, 128-bytes.Count(virtual, []byte{0}))
}

// An espefuse file has zeros where reading is disabled, a virtual partition has all.
func TestFilesAndReadProtection(t *testing.T) {
	var e EFuse
	require.Equal(t, OK, e.BurnKey(FlashEncryptionKey, bytes.Repeat([]byte{7}, 32)))
	m, err := DecodeEmulator(e.EncodeEmulator())
	require.NoError(t, err)
	require.Zero(t, m.FlashKey())
	v, err := DecodeVirtual(e.EncodeVirtual())
	require.NoError(t, err)
	require.Equal(t, e, v)
}

func TestShortFiles(t *testing.T) {
	_, err := DecodeVirtual(make([]byte, VirtualSize-1))
	require.ErrorIs(t, err, ErrSize)
	_, err = DecodeVirtual(make([]byte, 0x2000))
	require.NoError(t, err)
	for _, n := range []int{0, EmulatorSize - 1, EmulatorSize + 1} {
		_, err = DecodeEmulator(make([]byte, n))
		require.ErrorIs(t, err, ErrSize)
	}
}

func FuzzDecodeVirtual(f *testing.F) {
	for scheme := range uint64(3) {
		e := sample(scheme)
		f.Add(e.EncodeVirtual())
	}
	f.Add(bytes.Repeat([]byte{0xff}, VirtualSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeVirtual(b)
		if err != nil {
			return
		}
		again, err := DecodeVirtual(e.EncodeVirtual())
		require.NoError(t, err)
		require.Equal(t, e, again)
		exercise(&e)
	})
}

func FuzzDecodeEmulator(f *testing.F) {
	for scheme := range uint64(3) {
		e := sample(scheme)
		f.Add(e.EncodeEmulator())
	}
	f.Add(bytes.Repeat([]byte{0xff}, EmulatorSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeEmulator(b)
		if err != nil {
			return
		}
		file := e.EncodeEmulator()
		again, err := DecodeEmulator(file)
		require.NoError(t, err)
		require.Equal(t, file, again.EncodeEmulator())
		exercise(&e)
	})
}

// exercise calls what a device calls on any content.
func exercise(e *EFuse) {
	e.SecureVersion(32)
	e.FlashKey()
	e.SecureBootDigest()
	e.MAC()
	for b := range Block(blocks) {
		e.Words(b)
		e.Damaged(b)
	}
	e.BurnSecureVersion(9, 16)
	e.BurnKey(FlashEncryptionKey, make([]byte, 32))
}
