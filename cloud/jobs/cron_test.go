package jobs

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCron(t *testing.T) {
	const layout = "2006-01-02 15:04"
	for _, c := range []struct{ text, after, want string }{
		{"cron(0 12 * * ? *)", "2026-03-01 11:59", "2026-03-01 12:00"},
		{"cron(0 12 * * ? *)", "2026-03-01 12:00", "2026-03-02 12:00"},
		{"cron(15 10 ? * 6L *)", "", ""},
		{"cron(15 10 ? * MON-FRI *)", "2026-03-06 10:15", "2026-03-09 10:15"}, // Friday, Monday
		{"cron(0 0 1 JAN ? 2028)", "2026-03-01 00:00", "2028-01-01 00:00"},
		{"cron(0 0 1 1 ? 2020)", "2026-03-01 00:00", "never"},
		{"cron(0 0 29 2 ? *)", "2026-03-01 00:00", "2028-02-29 00:00"},
		{"cron(0 0 31 4 ? *)", "2026-03-01 00:00", "never"},
		{"cron(0/20 * * * ? *)", "2026-03-01 12:40", "2026-03-01 13:00"},
		{"cron(5,50 22-23 ? * 1 *)", "2026-02-28 00:00", "2026-03-01 22:05"}, // 1 is Sunday
		{"cron(59 23 31 12 ? *)", "2026-12-31 23:59", "2027-12-31 23:59"},
	} {
		k, err := parseCron(c.text)
		if c.after == "" {
			require.Error(t, err, c.text)
			continue
		}
		require.NoError(t, err, c.text)
		after, err := time.Parse(layout, c.after)
		require.NoError(t, err)
		got := "never"
		if at, ok := k.next(after); ok {
			got = at.Format(layout)
		}
		require.Equal(t, c.want, got, c.text)
	}
	for _, bad := range []string{"", "0 12 * * ? *", "cron()", "cron(0 12 * * *)", "cron(0 12 * * * *)", "cron(0 12 ? * ? *)", "cron(60 12 * * ? *)",
		"cron(0 24 * * ? *)", "cron(0 12 0 * ? *)", "cron(0 12 * 13 ? *)", "cron(0 12 ? * 8 *)", "cron(0 12 * * ? 1969)", "cron(0 12 * * ? 2200)",
		"cron(5-1 12 * * ? *)", "cron(*/0 12 * * ? *)", "cron(1, 12 * * ? *)", "cron(? 12 * * ? *)", "cron(0 12 L * ? *)"} {
		_, err := parseCron(bad)
		require.Error(t, err, bad)
	}
}

func FuzzCron(f *testing.F) {
	f.Add("cron(0 12 * * ? *)", int64(1_770_000_000))
	f.Add("cron(0/15 1-3,5 ? JAN,DEC SUN 2026-2030)", int64(0))
	f.Fuzz(func(t *testing.T, text string, unix int64) {
		k, err := parseCron(text)
		if err != nil || unix < -1<<33 || unix > 1<<33 {
			return
		}
		at := time.Unix(unix, 0).UTC()
		next, ok := k.next(at)
		if !ok {
			return
		}
		if !next.After(at) {
			t.Fatalf("%q: %v is not after %v", text, next, at)
		}
		if again, ok := k.next(next.Add(-time.Minute)); !ok || !again.Equal(next) {
			t.Fatalf("%q: %v, but a minute before it %v", text, next, again)
		}
	})
}
