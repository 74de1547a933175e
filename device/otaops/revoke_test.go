package otaops

import (
	"crypto/rand"
	"crypto/rsa"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/flashmodel/efuse"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/otadata"
	"github.com/otasim/otasim/flashmodel/secureboot"
)

// bootKeys are two keys made for these tests.
var bootKeys = sync.OnceValue(func() (keys [2]*secureboot.Key) {
	for i := range keys {
		private, err := rsa.GenerateKey(rand.Reader, 3072)
		if err != nil {
			panic(err)
		}
		keys[i] = &secureboot.Key{Label: secureboot.LabelRSA, Private: private, Public: &private.PublicKey}
	}
	return keys
})

// signedBoard is an ESP32-C3 with secure boot V2 that trusts both keys. loader and app are the keys that sign.
func signedBoard(t *testing.T, kind bootloader.Kind, aggressive bool, loader, app []int) *board {
	b := newBoard(t, kind)
	b.cfg.SecureBootV2, b.cfg.Image.Chip = true, image.ESP32C3
	b.fuse.Later()
	for slot, k := range bootKeys() {
		sum, err := secureboot.KeyDigest(k.Public)
		require.NoError(t, err)
		require.Equal(t, efuse.OK, b.fuse.BurnDigest(slot, sum))
	}
	b.fuse.EnableSecureBootV2(aggressive)
	put := func(at uint32, spec image.Spec, by []int) {
		spec.Chip = image.ESP32C3
		raw, err := image.Build(spec)
		require.NoError(t, err)
		var keys []*secureboot.Key
		for _, i := range by {
			keys = append(keys, bootKeys()[i])
		}
		raw, err = secureboot.SignV2(raw, keys, secureboot.SignOptions{})
		require.NoError(t, err)
		require.NoError(t, b.flash.Load(at, raw))
	}
	put(0, image.Spec{Project: "bootloader", Size: 0x4000, RAM: true}, loader)
	put(b.part("ota_0").Offset, image.Spec{Version: "1", Size: 0x4000, SecureVersion: 1}, app)
	put(b.part("ota_1").Offset, image.Spec{Version: "2", Size: 0x4000, SecureVersion: 1}, app)
	b.records(otadata.Make(1, otadata.Valid))
	return b
}

func TestSecureBootV2Starts(t *testing.T) {
	b := signedBoard(t, bootloader.IDF55, false, []int{0}, []int{1})
	require.Equal(t, bootloader.Started, b.boot().End, "loader and app may be signed by different keys")
	require.Equal(t, OK, b.ops.SetBoot(b.part("ota_1")))

	require.Equal(t, efuse.OK, b.fuse.Revoke(1))
	require.Equal(t, ValidateFailed, b.ops.SetBoot(b.part("ota_1")), "the running application looks at the eFuses")
	v := b.boot()
	require.Equal(t, bootloader.Reset, v.End)
	require.Equal(t, "no bootable app", v.Reason)

	require.Equal(t, efuse.OK, b.fuse.Revoke(0))
	require.Contains(t, b.boot().Reason, "the ROM refuses the boot loader")
}

func TestRevokeKey(t *testing.T) {
	for _, c := range []struct {
		name        string
		kind        bootloader.Kind
		loader, app []int
		state       otadata.ImageState
		want        Err
	}{
		{"both know the other key", bootloader.IDF55, []int{0, 1}, []int{1}, otadata.Valid, OK},
		{"the loader does not", bootloader.IDF55, []int{0}, []int{1}, otadata.Valid, Fail},
		{"the application does not", bootloader.IDF55, []int{0, 1}, []int{0}, otadata.Valid, Fail},
		{"on trial", bootloader.IDF55, []int{0, 1}, []int{1}, otadata.PendingVerify, Fail},
		{"an older release does not look", bootloader.AFR2022, []int{0}, []int{0}, otadata.PendingVerify, OK},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := signedBoard(t, c.kind, false, c.loader, c.app)
			require.Equal(t, bootloader.Started, b.boot().End)
			b.records(otadata.Make(1, c.state))
			require.Equal(t, c.want, b.ops.RevokeKey(0))
			require.Equal(t, c.want == OK, b.fuse.Digests()[0].Revoked)
		})
	}
	b := newBoard(t, bootloader.IDF55)
	require.Equal(t, bootloader.Started, b.boot().End)
	require.Equal(t, Fail, b.ops.RevokeKey(0), "no secure boot")
}

func TestAggressiveRevocation(t *testing.T) {
	for _, aggressive := range []bool{false, true} {
		b := signedBoard(t, bootloader.IDF55, aggressive, []int{0, 1}, []int{0, 1})
		block := make([]byte, secureboot.V2BlockSize)
		require.NoError(t, b.flash.Read(0x4000, block))
		blocks := secureboot.DecodeV2(block)
		require.Len(t, blocks, 1)
		wrong, err := secureboot.SignV2Block(make([]byte, 0x4000), bootKeys()[0], nil)
		require.NoError(t, err)
		at, n := wrong.SignatureRange()
		bad := blocks[0].Bytes()
		copy(bad[at:at+n], wrong.Bytes()[at:at+n]) // a signature of something else by the same key
		require.NoError(t, b.flash.Load(0x4000, secureboot.Reseal(bad)))
		require.Equal(t, bootloader.Started, b.boot().End, "the second signature is good")
		require.Equal(t, aggressive, b.fuse.Digests()[0].Revoked)
		require.False(t, b.fuse.Digests()[1].Revoked)
	}
}
