package agent

import (
	"bytes"
	"encoding/binary"
)

// The device's JSON reader: validation and search by dotted path over the raw text, without a tree. It follows the
// library's reader (FreeRTOS/coreJSON source/core_json.c), whose habits decide which damaged documents still count:
// a value is found as soon as it is complete, whatever follows it; the first of duplicate keys wins.

const jsonMaxDepth = 32

type jsonText []byte

func (b jsonText) space(i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// comma skips space and one comma unless a bracket closes right after it.
func (b jsonText) comma(i int) (int, bool) {
	i = b.space(i)
	if i < len(b) && b[i] == ',' {
		if j := b.space(i + 1); j < len(b) && b[j] != '}' && b[j] != ']' {
			return j, true
		}
	}
	return i, false
}

// str returns the offset after the string that starts at i.
func (b jsonText) str(i int) (int, bool) {
	if i >= len(b) || b[i] != '"' {
		return i, false
	}
	for j := i + 1; j < len(b); {
		if len(b)-j >= 8 && plain8(binary.LittleEndian.Uint64(b[j:])) {
			j += 8
			continue
		}
		switch c := b[j]; {
		case c == '"':
			return j + 1, true
		case c == '\\':
			k, ok := b.escape(j)
			if !ok {
				return i, false
			}
			j = k
		case c < ' ':
			return i, false
		case c < 0x80:
			j++
		default:
			k, ok := b.utf8(j)
			if !ok {
				return i, false
			}
			j = k
		}
	}
	return i, false
}

// plain8 reports whether all of eight characters are printable ASCII, and neither quote nor backslash. No borrow crosses a
// byte unless one is not.
func plain8(v uint64) bool {
	const each, high = 0x0101010101010101, 0x8080808080808080
	return (v|(v-' '*each)|((v^'"'*each)-each)|((v^'\\'*each)-each))&high == 0
}

func (b jsonText) escape(i int) (int, bool) {
	if i+1 >= len(b) {
		return i, false
	}
	switch c := b[i+1]; c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return i + 2, true
	case 'u':
		v, ok := b.hex4(i)
		if !ok || v == 0 || v >= 0xdc00 && v < 0xe000 {
			return i, false
		}
		if v >= 0xd800 && v < 0xdc00 {
			low, ok := b.hex4(i + 6)
			return i + 12, ok && low >= 0xdc00 && low < 0xe000
		}
		return i + 6, true
	default:
		return i + 2, c > 0 && c < ' '
	}
}

func (b jsonText) hex4(i int) (uint32, bool) {
	if i+6 > len(b) || b[i] != '\\' || b[i+1] != 'u' {
		return 0, false
	}
	v := uint32(0)
	for _, c := range b[i+2 : i+6] {
		d, ok := hexDigit(c)
		if !ok {
			return 0, false
		}
		v = v<<4 | d
	}
	return v, true
}

func hexDigit(c byte) (uint32, bool) {
	switch {
	case c >= '0' && c <= '9':
		return uint32(c - '0'), true
	case c >= 'a' && c <= 'f':
		return uint32(c-'a') + 10, true
	case c >= 'A' && c <= 'F':
		return uint32(c-'A') + 10, true
	}
	return 0, false
}

// utf8 skips one multi-byte character in its shortest form, surrogates excluded.
func (b jsonText) utf8(i int) (int, bool) {
	c := b[i]
	n, v, least := 0, uint32(0), uint32(0)
	switch {
	case c >= 0xc2 && c <= 0xdf:
		n, v, least = 1, uint32(c&0x1f), 0x80
	case c >= 0xe0 && c <= 0xef:
		n, v, least = 2, uint32(c&0x0f), 0x800
	case c >= 0xf0 && c <= 0xf4:
		n, v, least = 3, uint32(c&0x07), 0x10000
	default:
		return i, false
	}
	for k := 1; k <= n; k++ {
		if i+k >= len(b) || b[i+k]&0xc0 != 0x80 {
			return i, false
		}
		v = v<<6 | uint32(b[i+k]&0x3f)
	}
	return i + n + 1, v >= least && v <= 0x10ffff && (v < 0xd800 || v > 0xdfff)
}

func (b jsonText) digits(i int) (int, bool) {
	j := i
	for j < len(b) && b[j] >= '0' && b[j] <= '9' {
		j++
	}
	return j, j > i
}

func (b jsonText) number(i int) (int, bool) {
	j := i
	if j < len(b) && b[j] == '-' {
		j++
	}
	if j >= len(b) {
		return i, false
	}
	if b[j] == '0' {
		j++
	} else {
		k, ok := b.digits(j)
		if !ok {
			return i, false
		}
		j = k
	}
	if j < len(b) && b[j] == '.' {
		if k, ok := b.digits(j + 1); ok {
			j = k
		}
	}
	if j < len(b) && (b[j] == 'e' || b[j] == 'E') {
		k := j + 1
		if k < len(b) && (b[k] == '+' || b[k] == '-') {
			k++
		}
		if k, ok := b.digits(k); ok {
			j = k
		}
	}
	return j, true
}

func (b jsonText) scalar(i int) (int, bool) {
	if i >= len(b) {
		return i, false
	}
	word := ""
	switch b[i] {
	case '"':
		return b.str(i)
	case 't':
		word = "true"
	case 'f':
		word = "false"
	case 'n':
		word = "null"
	default:
		return b.number(i)
	}
	if len(b)-i >= len(word) && string(b[i:i+len(word)]) == word {
		return i + len(word), true
	}
	return i, false
}

// scalars skips the scalar members of an array or object up to the first bracket or mistake.
func (b jsonText) scalars(i int, mode byte) int {
	i = b.space(i)
	for i < len(b) {
		if mode == '{' {
			j, ok := b.str(i)
			if !ok {
				return i
			}
			j = b.space(j)
			if j < len(b) && b[j] != ':' {
				return i
			}
			j = b.space(j + 1)
			if j < len(b) && (b[j] == '{' || b[j] == '[') {
				return j
			}
			if i, ok = b.scalar(j); !ok {
				return i
			}
		} else {
			j, ok := b.scalar(i)
			if !ok {
				return i
			}
			i = j
		}
		j, more := b.comma(i)
		i = j
		if !more {
			return i
		}
	}
	return i
}

// collection returns the offset after the object or array at i.
func (b jsonText) collection(i int) (int, bool) {
	var stack [jsonMaxDepth]byte
	depth := -1
	for i < len(b) {
		c := b[i]
		i++
		switch c {
		case '{', '[':
			depth++
			if depth == jsonMaxDepth {
				return i, false
			}
			stack[depth] = c
			i = b.scalars(i, c)
		case '}', ']':
			if depth < 0 || stack[depth]+2 != c {
				return i, false
			}
			if depth == 0 {
				return i, true
			}
			depth--
			j, more := b.comma(i)
			i = j
			if more {
				i = b.scalars(i, stack[depth])
			}
		default:
			return i, false
		}
	}
	return i, false
}

func (b jsonText) value(i int) (int, bool) {
	if j, ok := b.scalar(i); ok {
		return j, true
	}
	return b.collection(i)
}

// valid reports whether the text is one value with nothing after it.
func (b jsonText) valid() bool {
	i, ok := b.value(b.space(0))
	return ok && b.space(i) == len(b)
}

// member finds a key of the object the text starts with.
func (b jsonText) member(key string) (jsonText, bool) {
	i := b.space(0)
	if i >= len(b) || b[i] != '{' {
		return nil, false
	}
	i = b.space(i + 1)
	for i < len(b) {
		j, ok := b.str(i)
		if !ok {
			return nil, false
		}
		name := b[i+1 : j-1]
		j = b.space(j)
		if j >= len(b) || b[j] != ':' {
			return nil, false
		}
		start := b.space(j + 1)
		end, ok := b.value(start)
		if !ok {
			return nil, false
		}
		if string(name) == key {
			return b[start:end], true
		}
		var more bool
		if i, more = b.comma(end); !more {
			return nil, false
		}
	}
	return nil, false
}

// members finds several keys of the object the text starts with in one pass: of each the first value, nil without one. A
// mistake ends the pass; valid says that there is none.
func (b jsonText) members(keys []string, values []jsonText, valid bool) {
	i := b.space(0)
	if i >= len(b) || b[i] != '{' {
		return
	}
	i = b.space(i + 1)
	for i < len(b) {
		j := 0
		if valid && b[i] == '"' {
			j = b.skipString(i)
		} else if k, ok := b.str(i); ok {
			j = k
		} else {
			return
		}
		name := b[i+1 : j-1]
		j = b.space(j)
		if j >= len(b) || b[j] != ':' {
			return
		}
		start := b.space(j + 1)
		end := 0
		if valid {
			end = b.skip(start)
		} else if k, ok := b.value(start); ok {
			end = k
		} else {
			return
		}
		for k, key := range keys {
			if string(name) == key {
				if values[k] == nil {
					values[k] = b[start:end]
				}
				break
			}
		}
		var more bool
		if i, more = b.comma(end); !more {
			return
		}
	}
}

// skipString returns the offset after the string at i of a valid text.
func (b jsonText) skipString(i int) int {
	for i++; ; i++ {
		i += bytes.IndexByte(b[i:], '"')
		escapes := 0
		for b[i-1-escapes] == '\\' {
			escapes++
		}
		if escapes%2 == 0 {
			return i + 1
		}
	}
}

// skip returns the offset after the value at i of a valid text.
func (b jsonText) skip(i int) int {
	switch b[i] {
	case '"':
		return b.skipString(i)
	case '{', '[':
	default:
		j, _ := b.scalar(i)
		return j
	}
	for depth := 0; ; {
		switch marks[b[i]] {
		case markQuote:
			i = b.skipString(i)
			continue
		case markOpen:
			depth++
		case markClose:
			depth--
			if depth == 0 {
				return i + 1
			}
		}
		i++
	}
}

// What gives a valid text its structure.
const (
	markQuote = 1 + iota
	markOpen
	markClose
)

var marks = [256]uint8{'"': markQuote, '{': markOpen, '[': markOpen, '}': markClose, ']': markClose}

// search follows a dotted path and returns the value's text; the quotes of a string are taken off.
func (b jsonText) search(path ...string) (jsonText, bool) {
	for _, key := range path {
		var ok bool
		if b, ok = b.member(key); !ok {
			return nil, false
		}
	}
	return b.unquoted(), true
}

// unquoted takes the quotes off a string.
func (b jsonText) unquoted() jsonText {
	if len(b) > 0 && b[0] == '"' {
		return b[1 : len(b)-1]
	}
	return b
}
