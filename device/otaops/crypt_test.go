package otaops

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/efuse"
	"github.com/otasim/otasim/flashmodel/otadata"
	"github.com/otasim/otasim/flashmodel/partition"
)

// encrypt turns the board into one that has been through its first boot with
// flash encryption: table, otadata and images are ciphertext.
func (b *board) encrypt() {
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(i*7 + 1)
	}
	require.Equal(b.t, efuse.OK, b.fuse.BurnKey(efuse.FlashEncryptionKey, key))
	b.fuse.Preset(efuse.FlashCryptConfig, 15)
	b.fuse.Preset(efuse.FlashCryptCount, 1)
	mem := bootloader.Memory(b.flash, b.fuse, nil, bootloader.AppGranularity)
	regions := partition.Table{{Offset: partition.DefaultOffset, Size: partition.SectorSize}}
	for _, r := range append(regions, b.table...) {
		if r.Label == "nvs" {
			continue
		}
		raw := make([]byte, r.Size)
		require.NoError(b.t, b.flash.Read(r.Offset, raw))
		require.NoError(b.t, b.flash.Erase(r.Offset, r.Size))
		require.NoError(b.t, mem.Program(r.Offset, raw))
	}
}

func (b *board) decrypted(i int) otadata.Entry {
	var raw [otadata.EntrySize]byte
	mem := bootloader.Memory(b.flash, b.fuse, nil, bootloader.AppGranularity)
	require.NoError(b.t, mem.Read(otadataAt+uint32(i)*otadata.SectorSize, raw[:]))
	e, err := otadata.Decode(raw[:])
	require.NoError(b.t, err)
	return e
}

func TestUpdateThroughFlashEncryption(t *testing.T) {
	img := buildImage(t, "new", 0x4000)
	b := newBoard(t, bootloader.IDF55)
	b.records(otadata.Make(1, otadata.Valid))
	b.encrypt()
	require.NotEqual(t, otadata.Make(1, otadata.Valid), b.record(0), "ciphertext")
	require.Equal(t, "ota_0", b.boot().Boot)
	h, err := b.ops.Begin(b.part("ota_1"), SizeUnknown)
	require.Equal(t, OK, err)
	require.Equal(t, InvalidArg, b.ops.WriteWithOffset(h, img[:17], 0))
	require.Equal(t, InvalidArg, b.ops.WriteWithOffset(h, img[:16], 8), "not a multiple of 16")
	for at, n := 0, 1; at < len(img); n = n%97 + 1 {
		end := min(at+n, len(img))
		require.Equal(t, OK, b.ops.Write(h, img[at:end]))
		at = end
	}
	require.Equal(t, OK, b.ops.End(h))
	require.Equal(t, OK, b.ops.SetBoot(b.part("ota_1")))
	require.Equal(t, "ota_1", b.boot().Boot)
	require.Equal(t, otadata.Make(2, otadata.PendingVerify), b.decrypted(1))
	require.Equal(t, OK, b.ops.MarkValid())
	require.Equal(t, otadata.Make(2, otadata.Valid), b.decrypted(1))
}

func TestErasedOTADataIsNoiseUnderFlashEncryption(t *testing.T) {
	b := newBoard(t, bootloader.IDF55)
	b.encrypt()
	c := b.fork()
	require.Equal(t, "ota_0", c.boot().Boot)
	require.Equal(t, otadata.Make(1, otadata.Valid), c.decrypted(0), "encrypted FF reads as FF: initial contents")
	require.NoError(t, b.flash.Erase(otadataAt, 0x2000))
	for range 2 {
		v := b.boot()
		require.Equal(t, "ota_0", v.Boot)
		require.Equal(t, bootloader.IndexFactory, v.StartIndex)
		require.NotEqual(t, otadata.Make(1, otadata.Valid), b.decrypted(0), "nothing is ever written")
	}
}

func TestTornRecordUnderFlashEncryption(t *testing.T) {
	b := newBoard(t, bootloader.IDF55)
	b.records(otadata.Make(1, otadata.Valid))
	b.encrypt()
	b.boot()
	for keep := range uint32(32) {
		c := b.fork()
		c.flash.SetInjector(&sweepCutter{k: 1, cut: flashmodel.Cut{Mode: flashmodel.CutPrefix, Keep: keep}})
		require.True(t, flashmodel.LosesPower(func() { c.ops.SetBoot(c.part("ota_1")) }))
		c.flash.SetInjector(nil)
		require.False(t, c.decrypted(1).Usable(), "%d bytes", keep)
		require.Equal(t, "ota_0", c.boot().Boot)
	}
}
