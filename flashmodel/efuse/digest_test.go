package efuse

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDigestsOfTheESP32(t *testing.T) {
	var e EFuse
	require.Equal(t, OK, e.BurnDigest(0, [32]byte{1}))
	require.Equal(t, InvalidState, e.BurnDigest(0, [32]byte{2}), "one slot, written once")
	require.Equal(t, InvalidArg, e.BurnDigest(1, [32]byte{2}))
	require.Equal(t, NotSupported, e.Revoke(0))
	require.False(t, e.SecureBootV2())
	e.EnableSecureBootV2(true)
	require.True(t, e.SecureBootV2())
	require.EqualValues(t, 1, e.Value(AbsDone1))
	require.False(t, e.AggressiveRevoke())
	require.Equal(t, [DigestSlots]Digest{{Sum: [32]byte{1}, Set: true}}, e.Digests())
}

func TestDigestsOfLaterChips(t *testing.T) {
	var e EFuse
	e.Later()
	require.Equal(t, OK, e.BurnDigest(1, [32]byte{1}))
	require.Equal(t, InvalidState, e.BurnDigest(1, [32]byte{2}))
	before := e
	require.Equal(t, OK, e.Revoke(1))
	require.Equal(t, OK, e.Revoke(2))
	require.Equal(t, InvalidState, e.BurnDigest(2, [32]byte{3}), "a revoked slot takes no key")
	require.Equal(t, OK, e.BurnDigest(0, [32]byte{3}))
	require.Equal(t, [DigestSlots]Digest{{Sum: [32]byte{3}, Set: true}, {Sum: [32]byte{1}, Set: true, Revoked: true}, {Revoked: true}}, e.Digests())
	require.EqualValues(t, 6, e.RevokedSlots())
	require.EqualValues(t, 0, before.RevokedSlots(), "a copy stays as it was")
	e.EnableSecureBootV2(true)
	require.True(t, e.SecureBootV2() && e.AggressiveRevoke())
	require.EqualValues(t, 0, e.Value(AbsDone1))
}

func TestEnableFlashEncryption(t *testing.T) {
	key := [32]byte{1, 2, 3}
	for _, later := range []bool{false, true} {
		for _, release := range []bool{false, true} {
			var e EFuse
			if later {
				e.Later()
			}
			require.Equal(t, OK, e.EnableFlashEncryption(key, release))
			require.True(t, e.FlashEncryption())
			require.Equal(t, key, e.FlashKey())
		}
	}
}

func TestKeyBlocksRunOut(t *testing.T) {
	var e EFuse
	e.Later()
	for range 6 {
		require.Equal(t, OK, e.burnBlock(PurposeUser, [32]byte{1}))
	}
	require.Equal(t, FieldFull, e.BurnDigest(0, [32]byte{1}))
}
