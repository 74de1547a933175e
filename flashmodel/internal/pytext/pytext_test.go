package pytext

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestInt(t *testing.T) {
	for _, c := range []struct {
		in   string
		base int
		want string // "" = refused
	}{
		{"0x9000", 0, "36864"}, {" 12\t", 0, "12"}, {"-0x10", 0, "-16"}, {"+5", 0, "5"},
		{"010", 0, ""}, {"00", 0, "0"}, {"0_0", 0, "0"}, {"010", 10, "10"}, {"1_000", 0, "1000"},
		{"1__0", 0, ""}, {"_1", 0, ""}, {"1_", 0, ""}, {"0x_1f", 0, "31"}, {"0x", 0, ""},
		{"0b11", 0, "3"}, {"0o17", 0, "15"}, {"0b2", 0, ""}, {"- 1", 0, ""}, {"--1", 0, ""},
		{"", 0, ""}, {"1.0", 0, ""}, {"0x55", 16, "85"}, {"55", 16, "85"}, {"0b1", 16, "177"},
		{"0x10", 10, ""}, {"\uff11\uff12", 0, "12"}, {"\u0661", 10, "1"},
		{"99999999999999999999", 0, "99999999999999999999"},
	} {
		n, err := Int(c.in, c.base)
		if c.want == "" {
			require.ErrorIs(t, err, ErrLiteral, c.in)
			continue
		}
		require.NoError(t, err, c.in)
		require.Equal(t, c.want, n.String(), c.in)
	}
	_, err := Int("it's", 10)
	require.EqualError(t, err, `ValueError: invalid literal for int() with base 10: "it's"`)
}

func TestSplitLines(t *testing.T) {
	require.Equal(t, []string{"a", "", "b", "c", "d"}, SplitLines("a\n\nb\r\nc\u2028d\r"))
	require.Empty(t, SplitLines(""))
}

func TestRepr(t *testing.T) {
	require.Equal(t, `'a\n\x00\u200b\\'`, Repr("a\n\x00\u200b\\"))
	require.Equal(t, "b\"\\xabP'\"", ReprBytes([]byte{0xAB, 'P', '\''}))
}
