package trace

import (
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/stretchr/testify/require"
)

func chain(vs ...uint64) Chain {
	var c Chain
	for _, v := range vs {
		c.Fold(v)
	}
	return c
}

func TestChainTellsHistoriesApart(t *testing.T) {
	require.NotEqual(t, chain(1, 2), chain(2, 1))
	require.NotEqual(t, chain(), chain(0))
	require.NotEqual(t, chain(0), chain(0, 0))
	seen := map[Chain]bool{}
	for i := range uint64(100_000) {
		c := chain(7, i)
		require.False(t, seen[c])
		seen[c] = true
	}
}

func TestSumDependsOnOrderOfActors(t *testing.T) {
	a, b := chain(1), chain(2)
	require.Len(t, Sum([]Chain{a, b}), 64)
	require.NotEqual(t, Sum([]Chain{a, b}), Sum([]Chain{b, a}))
}

func TestBodiesRemembersByIdentity(t *testing.T) {
	var s Bodies
	b := make([]byte, 4096)
	for i := range b {
		b[i] = byte(i)
	}
	want := xxhash.Sum64(b)
	require.Equal(t, want, s.Sum(b))
	require.Equal(t, want, s.Sum(b))
	require.Equal(t, xxhash.Sum64(b[:600]), s.Sum(b[:600]), "same address, other length")
	for i := range maxBodies + 10 {
		c := make([]byte, sharedSize)
		c[0] = byte(i)
		require.Equal(t, xxhash.Sum64(c), s.Sum(c))
	}
	require.Equal(t, want, s.Sum(b))
}
