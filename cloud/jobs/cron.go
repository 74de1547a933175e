package jobs

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// cron is an expression cron(minute hour day-of-month month day-of-week year) in
// UTC, each field a set. Known are numbers, names of months and days, * ? , - and
// /; L, W and # are not.
type cron struct {
	minute, hour, day, month, weekday uint64 // bit n: value n; weekday 0 is Sunday
	years                             [4]uint64
}

const (
	firstYear = 1970
	lastYear  = 2199
)

var (
	monthNames = []string{"", "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}
	dayNames   = []string{"", "SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}
)

// parseCron reads an expression.
func parseCron(text string) (c cron, err error) {
	inner, begins := strings.CutPrefix(text, "cron(")
	inner, ends := strings.CutSuffix(inner, ")")
	if !begins || !ends {
		return c, fmt.Errorf("%.80q: want cron(minute hour day-of-month month day-of-week year)", text)
	}
	f := strings.Fields(inner)
	if len(f) != 6 {
		return c, fmt.Errorf("%.80q: %d fields, want minute, hour, day of month, month, day of week, year", text, len(f))
	}
	if (f[2] == "?") == (f[4] == "?") {
		return c, fmt.Errorf("%.80q: exactly one of day of month and day of week is ?", text)
	}
	small := func(to *uint64) func(int) { return func(v int) { *to |= 1 << v } }
	for i, field := range []struct {
		min, max int
		names    []string
		set      func(int)
	}{
		{0, 59, nil, small(&c.minute)}, {0, 23, nil, small(&c.hour)}, {1, 31, nil, small(&c.day)}, {1, 12, monthNames, small(&c.month)},
		{1, 7, dayNames, func(v int) { c.weekday |= 1 << (v - 1) }},
		{firstYear, lastYear, nil, func(v int) { c.years[(v-firstYear)/64] |= 1 << ((v - firstYear) % 64) }},
	} {
		if err := cronField(f[i], field.min, field.max, field.names, i == 2 || i == 4, field.set); err != nil {
			return c, fmt.Errorf("%.80q: %w", text, err)
		}
	}
	return c, nil
}

// cronField reads one field and sets each of its values.
func cronField(text string, low, high int, names []string, question bool, set func(int)) error {
	number := func(s string) (int, error) {
		for v, n := range names {
			if n != "" && strings.EqualFold(n, s) {
				return v, nil
			}
		}
		v, err := strconv.Atoi(s)
		if err != nil || v < low || v > high {
			return 0, fmt.Errorf("%.20q: want %d to %d", s, low, high)
		}
		return v, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		span, by, stepped := strings.Cut(part, "/")
		from, to, step := low, high, 1
		var err error
		switch a, b, ranged := strings.Cut(span, "-"); {
		case span == "*" || span == "?" && question && text == "?":
		case ranged:
			if from, err = number(a); err == nil {
				to, err = number(b)
			}
			if err == nil && from > to {
				err = fmt.Errorf("%.20q runs backwards", span)
			}
		default:
			if from, err = number(span); err == nil && !stepped {
				to = from
			}
		}
		if err == nil && stepped {
			if step, err = strconv.Atoi(by); err != nil || step < 1 || step > high {
				err = fmt.Errorf("%.20q: want a step from 1 to %d", by, high)
			}
		}
		if err != nil {
			return err
		}
		for v := from; v <= to; v += step {
			set(v)
		}
	}
	return nil
}

// next is the first time of the expression after t, false when there is none.
func (c *cron) next(t time.Time) (time.Time, bool) {
	t = t.UTC().Truncate(time.Minute).Add(time.Minute)
	day := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	from := t.Hour()*60 + t.Minute()
	for day.Year() <= lastYear {
		y := day.Year() - firstYear
		switch {
		case y < 0:
			day = time.Date(firstYear, 1, 1, 0, 0, 0, 0, time.UTC)
		case c.years[y/64]>>(y%64)&1 == 0:
			day = time.Date(day.Year()+1, 1, 1, 0, 0, 0, 0, time.UTC)
		case c.month>>day.Month()&1 == 0:
			day = time.Date(day.Year(), day.Month()+1, 1, 0, 0, 0, 0, time.UTC)
		default:
			if c.day>>day.Day()&1 == 1 && c.weekday>>day.Weekday()&1 == 1 {
				if m := c.minuteOfDay(from); m >= 0 {
					return day.Add(time.Duration(m) * time.Minute), true
				}
			}
			day = day.AddDate(0, 0, 1)
		}
		from = 0
	}
	return time.Time{}, false
}

// minuteOfDay is the first minute of a day from one on, -1 without.
func (c *cron) minuteOfDay(from int) int {
	for h := from / 60; h < 24; h++ {
		if c.hour>>h&1 == 0 {
			continue
		}
		minutes := c.minute
		if h == from/60 {
			minutes = minutes >> (from % 60) << (from % 60)
		}
		if minutes != 0 {
			return 60*h + bits.TrailingZeros64(minutes)
		}
	}
	return -1
}
