package aws

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestExceptionsCompareByName(t *testing.T) {
	err := fmt.Errorf("outer: %w", ResourceNotFound.Because("Job %s", "x"))
	require.ErrorIs(t, err, ResourceNotFound)
	require.NotErrorIs(t, err, InvalidRequest)
	var e *Exception
	require.True(t, errors.As(err, &e))
	require.Equal(t, 404, e.Status)
	require.Equal(t, "ResourceNotFoundException: Job x", e.Error())
	require.Empty(t, ResourceNotFound.Message)
}

func TestARNs(t *testing.T) {
	r := Realm{"eu-central-1", "123456789012"}
	kind, name, ok := r.Split(r.ARN("thinggroup", "a:b"))
	require.True(t, ok)
	require.Equal(t, []string{"thinggroup", "a:b"}, []string{kind, name})
	for _, bad := range []string{"", "arn:aws:iot:eu-west-1:123456789012:thing/x", "arn:aws:iot:eu-central-1:1:thing/x", "arn:aws:iot:eu-central-1:123456789012:thing", "arn:aws:iot:eu-central-1:123456789012:thing/"} {
		_, _, ok := r.Split(bad)
		require.False(t, ok, bad)
	}
}

func TestTimestamps(t *testing.T) {
	for ns, want := range map[int64]string{1_700_000_000e9: "1700000000", 1_700_000_000e9 + 250e6: "1700000000.250", 0: "null"} {
		b, err := json.Marshal(At(ns))
		require.NoError(t, err)
		require.Equal(t, want, string(b))
		var back Timestamp
		require.NoError(t, json.Unmarshal(b, &back))
		require.Equal(t, ns == 0, back.IsZero())
		if ns != 0 {
			require.WithinDuration(t, time.Unix(0, ns), back.Time, time.Millisecond)
		}
	}
	var ts Timestamp
	require.Error(t, json.Unmarshal([]byte(`"soon"`), &ts))
	require.Error(t, json.Unmarshal([]byte(`1e300`), &ts))
}

func TestSeeds(t *testing.T) {
	s := Seed{1}
	require.Equal(t, s.UUID("a"), s.UUID("a"))
	require.NotEqual(t, s.UUID("a"), s.UUID("b"))
	require.Regexp(t, regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`), s.UUID("a"))
	require.Regexp(t, `^[A-Z0-9]{10}$`, s.Token("a", 10))
	require.Equal(t, s.Sub("x").Rand().Uint64(), s.Sub("x").Rand().Uint64())
}
