package agent

// decodeBase64 decodes as the library does (source/ota_base64.c): newlines anywhere, spaces only at the end, at most
// two pads, which may be missing; bits that pad out the last byte must be zero.
func decodeBase64(src []byte) ([]byte, bool) {
	if len(src) == 0 {
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
			if pads > 2 {
				return nil, false
			}
			spaces = false
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
			return nil, false
		}
		acc = acc<<6 | v
		if count++; count == 4 {
			dst = append(dst, byte(acc>>16), byte(acc>>8), byte(acc))
			acc, count = 0, 0
		}
	}
	switch count {
	case 1:
		return nil, false
	case 2:
		if acc&0xf != 0 {
			return nil, false
		}
		dst = append(dst, byte(acc>>4))
	case 3:
		if acc&3 != 0 {
			return nil, false
		}
		dst = append(dst, byte(acc>>10), byte(acc>>2))
	}
	return dst, true
}
