package kernel

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBelowIsUniform(t *testing.T) {
	var r Rand
	var n [7]int
	for range 70_000 {
		n[r.Below(7)]++
	}
	for _, k := range n {
		require.InDelta(t, 10_000, k, 500)
	}
	require.Zero(t, r.Below(0))
}

func TestStreamsDifferByPartAndSeed(t *testing.T) {
	a, b, c := Seed(1).Stream("a"), Seed(1).Stream("b"), Seed(2).Stream("a")
	require.NotEqual(t, a, b)
	require.NotEqual(t, a, c)
	require.Equal(t, a, Seed(1).Stream("a"))
}

func TestShuffleReachesEveryOrder(t *testing.T) {
	r := Seed(1).Stream("shuffle")
	seen := map[[3]int]int{}
	for range 6000 {
		p := [3]int{0, 1, 2}
		r.Shuffle(3, func(i, j int) { p[i], p[j] = p[j], p[i] })
		seen[p]++
	}
	require.Len(t, seen, 6)
	for _, n := range seen {
		require.InDelta(t, 1000, n, 150)
	}
}
