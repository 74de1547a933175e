package file

import (
	"fmt"
	"math"
	"math/bits"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Million is the whole in parts per million.
const Million = 1_000_000

// ParseDuration reads 90s, 1h30m, 250ms or 2d; a bare 0 is allowed.
func ParseDuration(s string) (time.Duration, bool) {
	s = strings.ReplaceAll(s, " ", "")
	if s == "0" {
		return 0, true
	}
	var days int64
	if i := strings.IndexByte(s, 'd'); i > 0 {
		n, err := strconv.ParseInt(s[:i], 10, 64)
		if err != nil || n < 0 || n > 36500 {
			return 0, false
		}
		days, s = n, s[i+1:]
		if s == "" {
			return time.Duration(days) * 24 * time.Hour, true
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > 40000*24*time.Hour {
		return 0, false
	}
	return time.Duration(days)*24*time.Hour + d, true
}

var sizePattern = regexp.MustCompile(`^(\d[\d_]*)(?:\.(\d+))? ?([A-Za-z]*)$`)

// ParseSize reads 4096, 4KiB, 1180 KiB, 1 MiB. KB, MB and a bare K or M count as 1024, as esptool does.
func ParseSize(s string) (uint64, bool) {
	if strings.HasPrefix(s, "0x") {
		v, err := strconv.ParseUint(s, 0, 64)
		return v, err == nil
	}
	m := sizePattern.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	unit := map[string]uint64{"": 1, "b": 1, "k": 1 << 10, "kb": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mb": 1 << 20, "mib": 1 << 20, "gib": 1 << 30, "gb": 1 << 30}
	u, ok := unit[strings.ToLower(m[3])]
	if !ok {
		return 0, false
	}
	return scaled(strings.ReplaceAll(m[1], "_", ""), m[2], u)
}

var ratePattern = regexp.MustCompile(`^(\d[\d_]*)(?:\.(\d+))? ?([kKMG]?)(bps|bit/s)$`)

// ParseRate reads 400kbps or 8Mbps, in bits per second; k is 1000.
func ParseRate(s string) (uint64, bool) {
	m := ratePattern.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	u := map[string]uint64{"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}[m[3]]
	return scaled(strings.ReplaceAll(m[1], "_", ""), m[2], u)
}

var decimalPattern = regexp.MustCompile(`^(\d+)(?:\.(\d+))?$`)

// ParseDecimal reads a number with at most six digits after the point, in millionths.
func ParseDecimal(s string) (uint64, bool) {
	m := decimalPattern.FindStringSubmatch(s)
	if m == nil || len(m[2]) > 6 {
		return 0, false
	}
	return scaled(m[1], m[2], Million)
}

// ParseShare reads 10% or 0.5%, in parts per million.
func ParseShare(s string) (uint64, bool) {
	num, ok := strings.CutSuffix(s, "%")
	if !ok {
		return 0, false
	}
	m := decimalPattern.FindStringSubmatch(strings.TrimSpace(num))
	if m == nil || len(m[2]) > 4 {
		return 0, false
	}
	v, ok := scaled(m[1], m[2], Million/100)
	return v, ok && v <= Million
}

// scaled is whole.frac times unit in integers; what is smaller than one is cut off.
func scaled(whole, frac string, unit uint64) (uint64, bool) {
	w, err := strconv.ParseUint(whole, 10, 63)
	if err != nil {
		return 0, false
	}
	hi, v := bits.Mul64(w, unit)
	if hi != 0 || v > math.MaxInt64 {
		return 0, false
	}
	if frac != "" {
		if len(frac) > 9 {
			return 0, false
		}
		f, err := strconv.ParseUint(frac, 10, 63)
		if err != nil {
			return 0, false
		}
		div := uint64(1)
		for range frac {
			div *= 10
		}
		fhi, flo := bits.Mul64(f, unit)
		q, _ := bits.Div64(fhi, flo, div)
		v += q
	}
	return v, true
}

// FormatSize prints bytes as they are written in scenario files.
func FormatSize(n uint64) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}
