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

func TestPeak(t *testing.T) {
	r := Rate{PerSecond: 10}
	now := 1_700_000_000*second + second/2
	for range 12 {
		r.Allow(now)
	}
	now += second
	for range 3 {
		r.Allow(now)
	}
	require.Equal(t, Peak{12, 2}, r.Peak, "asked for in one second, and refused")
	free := Rate{}
	free.Allow(now)
	free.Allow(now + second/4)
	free.Allow(now + second)
	require.Equal(t, Peak{2, 0}, free.Peak, "counted without a limit too")
	require.Equal(t, []Use{{Rows[1], 500, Peak{12, 2}}}, Uses(Limits{ConnectRate: 500}, map[Name]Peak{ConnectRate: r.Peak, Streams: {}}))
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

func TestParse(t *testing.T) {
	for choice, want := range map[string]int64{
		"": 200, "aws-default": 200, "unlimited": 0, "jobs-data-writes=7": 7, "aws-default,jobs-data-writes=7": 7, "unlimited, connect-rate=1,jobs-data-writes=7": 7,
		"jobs-data-writes=unlimited": 0,
	} {
		l, err := Parse(choice)
		require.NoError(t, err, choice)
		require.Equal(t, want, l[JobsWrites], choice)
	}
	for choice, want := range map[string]error{
		"jobs-data-write=7": ErrUnknown, "jobs-data-writes": nil, "payload=7": ErrFixed, "jobs-data-writes=0": ErrValue, "jobs-data-writes=-1": ErrValue, "jobs-data-writes=many": ErrValue,
		"nonsense,jobs-data-writes=7": nil,
	} {
		_, err := Parse(choice)
		require.Error(t, err, choice)
		if want != nil {
			require.ErrorIs(t, err, want, choice)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("unlimited,connect-rate=1")
	f.Add("jobs-data-writes=unlimited")
	f.Fuzz(func(t *testing.T, choice string) {
		l, err := Parse(choice)
		if err != nil {
			return
		}
		for n, v := range l {
			if !Known(n) || v < 1 {
				t.Fatalf("%q: %s=%d", choice, n, v)
			}
		}
	})
}
