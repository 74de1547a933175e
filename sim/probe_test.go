package sim

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/sim/scenario"
)

// BenchmarkRerun measures one more run of one device's update of 512 KiB, cloud and all.
func BenchmarkRerun(b *testing.B) {
	sc := load(b, "power-cut", scenario.Options{Devices: 1, Sets: []string{"faults=[]", "assertions=[]"}})
	bench, err := NewBench(sc)
	require.NoError(b, err)
	for b.Loop() {
		r, err := bench.Run(b.Context(), Options{})
		require.NoError(b, err)
		require.True(b, r.Quiet)
	}
}
