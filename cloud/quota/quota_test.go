package quota

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRate(t *testing.T) {
	r := Rate{PerSecond: 10}
	now := int64(1_700_000_000_000_000_000)
	passed := func(n int, step int64) (ok int) {
		for range n {
			if r.Allow(now) {
				ok++
			}
			now += step
		}
		return ok
	}
	require.Equal(t, 10, passed(100, 0), "a full bucket holds one second")
	now += 100_000_000
	require.Equal(t, 1, passed(5, 0), "a tenth of a second is one of ten")
	now += 3600 * second
	require.Equal(t, 10, passed(100, 0), "it never holds more")
	now += second
	require.Equal(t, 100, passed(100, 100_000_000), "exactly at the rate nothing is refused")
	none := Rate{}
	for range 1000 {
		require.True(t, none.Allow(now))
	}
}

func TestProfiles(t *testing.T) {
	l, err := Named("aws-default")
	require.NoError(t, err)
	require.Len(t, l, len(Rows))
	require.EqualValues(t, 100, l[ConnectionPublishes])
	l, err = Named("unlimited")
	require.NoError(t, err)
	require.Zero(t, l[ConnectRate])
	_, err = Named("nonsense")
	require.Error(t, err)
	for _, r := range Rows {
		require.True(t, Known(r.Name))
		require.NotEmpty(t, r.Source)
	}
}
