package flashmodel

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestChipTable(t *testing.T) {
	sizes := map[string]uint32{
		"1MB": 1 << 20, "2MB": 2 << 20, "4MB": 4 << 20, "8MB": 8 << 20, "16MB": 16 << 20,
		"W25Q32JV": 4 << 20, "GD25Q32C": 4 << 20,
	}
	require.Len(t, Chips(), len(sizes))
	for name, size := range sizes {
		c, ok := ChipByName(name)
		require.True(t, ok, name)
		require.Equal(t, size, c.Size)
		require.Zero(t, c.Size%leafSpan)
		require.Equal(t, uint32(100_000), c.Endurance)
		require.Equal(t, size, New(NewStore(), c).Size())
	}
	c, ok := ChipOfSize(4 << 20)
	require.True(t, ok)
	require.Equal(t, "4MB", c.Name)
	_, ok = ChipOfSize(3 << 20)
	require.False(t, ok)
	_, ok = ChipByName("5MB")
	require.False(t, ok)
}

// Erasing a slot of 1 MiB: about 2.4 s by blocks, about 11.5 s by sectors.
func TestSlotEraseTime(t *testing.T) {
	f := New(NewStore(), chipOf(t, "W25Q32JV"))
	require.NoError(t, f.Erase(0x10000, 1<<20))
	require.Equal(t, 2400*time.Millisecond, f.Clock())
	f.SetClock(0)
	f.SetSlicing(SliceVectors)
	require.NoError(t, f.Erase(0x10000, 1<<20))
	require.Equal(t, 11520*time.Millisecond, f.Clock())
}
