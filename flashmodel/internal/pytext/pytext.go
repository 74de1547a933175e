// Package pytext reads text the way Python does: integers, lines, blank space
// and quoted forms. Espressif's host tools are written in Python, and what
// they accept or say depends on it.
package pytext

import (
	"errors"
	"fmt"
	"math/big"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxDecimal is the number of digits from which Python refuses to convert.
const maxDecimal = 4300

// ErrLiteral is wrapped by the errors of Int; the text is Python's.
var ErrLiteral = errors.New("ValueError")

// IsSpace is str.isspace for one character.
func IsSpace(r rune) bool { return unicode.IsSpace(r) || 0x1C <= r && r <= 0x1F }

// Strip is str.strip without arguments.
func Strip(s string) string { return strings.TrimFunc(s, IsSpace) }

// Lower is str.lower as far as it matters for ASCII keywords: no other letter
// than the Kelvin sign becomes an ASCII one.
func Lower(s string) string {
	return strings.ToLower(strings.ReplaceAll(s, "\u0130", "i\u0307"))
}

// SplitLines is str.splitlines: no line for what follows the last line end.
func SplitLines(s string) []string {
	var lines []string
	start := 0
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch r {
		case '\n', '\r', '\v', '\f', 0x1C, 0x1D, 0x1E, 0x85, 0x2028, 0x2029:
			lines = append(lines, s[start:i])
			if r == '\r' && strings.HasPrefix(s[i+1:], "\n") {
				n++
			}
			start = i + n
		}
		i += n
	}
	if start < len(s) {
		lines = append(lines, s[start:])
	}
	return lines
}

// Int is int(s, base) for base 0, 10 and 16. Base 0 takes the prefixes 0x, 0o
// and 0b and refuses a decimal number with a leading zero.
func Int(s string, base int) (*big.Int, error) {
	bad := func() error {
		return fmt.Errorf("%w: invalid literal for int() with base %d: %s", ErrLiteral, base, Shorten(Repr(s)))
	}
	t := asciiDigits(Strip(s))
	negative := strings.HasPrefix(t, "-")
	if negative || strings.HasPrefix(t, "+") {
		t = t[1:]
	}
	radix := base
	if radix == 0 {
		radix = 10
	}
	prefixed := false
	if len(t) >= 2 && t[0] == '0' {
		p := map[byte]int{'x': 16, 'X': 16, 'o': 8, 'O': 8, 'b': 2, 'B': 2}[t[1]]
		if p != 0 && (base == 0 || base == p) {
			radix, t, prefixed = p, t[2:], true
		}
	}
	if prefixed {
		t = strings.TrimPrefix(t, "_")
	}
	if t == "" || t[0] == '_' || t[len(t)-1] == '_' || strings.Contains(t, "__") {
		return nil, bad()
	}
	t = strings.ReplaceAll(t, "_", "")
	for _, c := range t {
		if !isDigit(c, radix) {
			return nil, bad()
		}
	}
	if base == 0 && !prefixed && t[0] == '0' && strings.Trim(t, "0") != "" {
		return nil, bad()
	}
	if radix == 10 && len(t) > maxDecimal {
		return nil, fmt.Errorf("%w: Exceeds the limit (%d digits) for integer string conversion: value has %d digits; "+
			"use sys.set_int_max_str_digits() to increase the limit", ErrLiteral, maxDecimal, len(t))
	}
	n, ok := new(big.Int).SetString(t, radix)
	if !ok {
		return nil, bad()
	}
	if negative {
		n.Neg(n)
	}
	return n, nil
}

func isDigit(c rune, radix int) bool {
	switch {
	case '0' <= c && c <= '9':
		return int(c-'0') < radix
	case 'a' <= c && c <= 'f', 'A' <= c && c <= 'F':
		return radix == 16
	}
	return false
}

// asciiDigits replaces the decimal digits of other scripts, which Python
// accepts in numbers.
func asciiDigits(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r < utf8.RuneSelf {
			return r
		}
		for _, t := range unicode.Nd.R16 {
			if rune(t.Lo) <= r && r <= rune(t.Hi) {
				return '0' + (r-rune(t.Lo))%10
			}
		}
		for _, t := range unicode.Nd.R32 {
			if rune(t.Lo) <= r && r <= rune(t.Hi) {
				return '0' + (r-rune(t.Lo))%10
			}
		}
		return r
	}, s)
}

// Shorten cuts a quoted form to the 200 letters that Python's messages have
// room for.
func Shorten(quoted string) string {
	letters := []rune(quoted)
	return string(letters[:min(len(letters), 200)])
}

// Repr is repr(s) of a string.
func Repr(s string) string {
	quote := '\''
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	var b strings.Builder
	b.WriteRune(quote)
	for _, r := range s {
		switch {
		case r == quote || r == '\\':
			b.WriteRune('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xFF:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r <= 0xFFFF:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteRune(quote)
	return b.String()
}

// ReprBytes is repr(b) of a bytes object.
func ReprBytes(s []byte) string {
	quote := byte('\'')
	if strings.Contains(string(s), "'") && !strings.Contains(string(s), `"`) {
		quote = '"'
	}
	var b strings.Builder
	b.WriteByte('b')
	b.WriteByte(quote)
	for _, c := range s {
		switch {
		case c == quote || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case 0x20 <= c && c < 0x7F:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	b.WriteByte(quote)
	return b.String()
}
