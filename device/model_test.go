package device

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestModels(t *testing.T) {
	seen := map[string]bool{}
	for _, m := range Models() {
		require.False(t, seen[m.Name], m.Name)
		seen[m.Name] = true
		require.Same(t, m.Chip, ModelOf(m.Target, m.FlashSize).Chip)
		require.Positive(t, m.Boot)
		require.Positive(t, m.HashRate)
	}
	for name, want := range map[string]struct {
		id     uint16
		offset uint32
		bits   int
	}{"esp32-2MB": {0, 0x1000, 32}, "esp32-16MB": {0, 0x1000, 32}, "esp32s3-8MB": {9, 0, 16}, "esp32c3-4MB": {5, 0, 16}} {
		require.True(t, seen[name], name)
		for _, m := range Models() {
			if m.Name == name {
				require.Equal(t, want.id, m.Chip.ID)
				require.Equal(t, want.offset, m.Chip.BootloaderOffset)
				require.Equal(t, want.bits, m.SecureVersionBits)
			}
		}
	}
	require.Nil(t, ModelOf("esp32", 3<<20))
	require.Equal(t, "esp32-4MB", DefaultModel().Name)
}
