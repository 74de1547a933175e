package agent

const (
	base64Pad = 64
	base64Bad = 255
)

// base64Value returns the six bits of a character, base64Pad or base64Bad.
func base64Value(c byte) uint32 {
	switch {
	case c >= 'A' && c <= 'Z':
		return uint32(c - 'A')
	case c >= 'a' && c <= 'z':
		return uint32(c-'a') + 26
	case c >= '0' && c <= '9':
		return uint32(c-'0') + 52
	case c == '+':
		return 62
	case c == '/':
		return 63
	case c == '=':
		return base64Pad
	}
	return base64Bad
}

// decodeBase64Blocks decodes as mbed TLS does: at most two pads and only at the end, spaces before a newline or at the
// end, and whole groups of four characters only; what is left over at the end is dropped without a word.
func decodeBase64Blocks(src []byte, limit int) ([]byte, bool) {
	digits, pads := 0, 0
	for i := 0; i < len(src); i++ {
		spaces := i
		for i < len(src) && src[i] == ' ' {
			i++
		}
		if i == len(src) {
			break
		}
		if src[i] == '\n' || src[i] == '\r' && i+1 < len(src) && src[i+1] == '\n' {
			continue
		}
		v := base64Value(src[i])
		if v == base64Pad {
			pads++
		}
		if spaces != i || v == base64Bad || pads > 2 || v < base64Pad && pads > 0 {
			return nil, false
		}
		digits++
	}
	if (digits*6+7)/8-pads > limit {
		return nil, false
	}
	var dst []byte
	acc, n, keep := uint32(0), 0, 3
	for _, c := range src {
		v := base64Value(c)
		if v == base64Bad {
			continue // space
		}
		if v == base64Pad {
			keep--
		}
		acc = acc<<6 | v&0x3f
		if n++; n == 4 {
			group := [...]byte{byte(acc >> 16), byte(acc >> 8), byte(acc)}
			dst = append(dst, group[:max(keep, 0)]...)
			acc, n = 0, 0
		}
	}
	return dst, true
}

// decodeBase64 decodes as the library does (source/ota_base64.c): newlines anywhere, spaces only at the end, at most
// two pads, which may be missing; bits that pad out the last byte must be zero. At a mistake it returns what it had decoded.
func decodeBase64(src []byte) ([]byte, bool) {
	if len(src) < 2 {
		return nil, false
	}
	dst := make([]byte, 0, len(src)/4*3+3)
	acc, count, pads, spaces := uint32(0), 0, 0, false
	for _, c := range src {
		v, ok := uint32(0), true
		switch {
		case c == '\n' || c == '\r':
			continue
		case c == ' ':
			spaces = true
			continue
		case c == '=':
			pads++
			if pads > 2 || spaces {
				return dst, false
			}
			continue
		case c >= 'A' && c <= 'Z':
			v = uint32(c - 'A')
		case c >= 'a' && c <= 'z':
			v = uint32(c-'a') + 26
		case c >= '0' && c <= '9':
			v = uint32(c-'0') + 52
		case c == '+':
			v = 62
		case c == '/':
			v = 63
		default:
			ok = false
		}
		if !ok || pads > 0 || spaces {
			return dst, false
		}
		acc = acc<<6 | v
		if count++; count == 4 {
			dst = append(dst, byte(acc>>16), byte(acc>>8), byte(acc))
			acc, count = 0, 0
		}
	}
	switch count {
	case 1:
		return dst, false
	case 2:
		if acc&0xf != 0 {
			return dst, false
		}
		dst = append(dst, byte(acc>>4))
	case 3:
		if acc&3 != 0 {
			return dst, false
		}
		dst = append(dst, byte(acc>>10), byte(acc>>2))
	}
	return dst, true
}
