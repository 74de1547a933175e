package efuse

import "math/bits"

// code turns what software wants a block to hold into the bits that are burnt.
func code(s Scheme, b Block, data Words) Words {
	switch {
	case b == System || s == SchemeNone:
		return data
	case s == SchemeThreeQuarters:
		return encode34(data)
	default:
		for i := range 4 {
			data[i+4] = data[i]
		}
		return data
	}
}

// encode34 stores each 6 bytes as 8: the bytes, their XOR, and the sum of their numbers
// of ones, each times its place from 1 to 6. Words 6 and 7 of data do not fit.
func encode34(data Words) Words {
	in := data.bytes()
	var out [32]byte
	for g := range 4 {
		copy(out[8*g:], in[6*g:6*g+6])
		out[8*g+6], out[8*g+7] = check34(in[6*g:])
	}
	return wordsOf(out[:])
}

// decode34 drops the check bytes; bad has a bit per group whose check bytes do not fit.
// The hardware corrects nothing that software could rely on, so neither does this.
func decode34(fuse Words) (data Words, bad uint8) {
	in := fuse.bytes()
	var out [32]byte
	for g := range 4 {
		copy(out[6*g:], in[8*g:8*g+6])
		if xor, sum := check34(in[8*g:]); xor != in[8*g+6] || sum != in[8*g+7] {
			bad |= 1 << g
		}
	}
	return wordsOf(out[:]), bad
}

func check34(group []byte) (xor, sum byte) {
	for i, b := range group[:6] {
		xor ^= b
		sum += byte(i+1) * byte(bits.OnesCount8(b))
	}
	return xor, sum
}

// Damaged has a bit for each 6-byte group of a 3/4 coded block whose check bytes do not
// fit, as an interrupted burn leaves them; 0 under other schemes.
func (e *EFuse) Damaged(b Block) uint8 {
	if b == System || schemeOf(e.fuse[System][6]) != SchemeThreeQuarters {
		return 0
	}
	_, bad := decode34(e.fuse[b])
	return bad
}
