package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// ErrCBOR is wrapped by every decoding error.
var ErrCBOR = errors.New("agent: bad block message")

// requestBufferSize is the library's buffer for an encoded stream request.
const requestBufferSize = 384

// maxBlockMessageDepth bounds nesting while a value is skipped.
const maxBlockMessageDepth = 16

func appendHead(dst []byte, major byte, v uint32) []byte {
	switch {
	case v < 24:
		return append(dst, major<<5|byte(v))
	case v < 1<<8:
		return append(dst, major<<5|24, byte(v))
	case v < 1<<16:
		return append(dst, major<<5|25, byte(v>>8), byte(v))
	default:
		return append(dst, major<<5|26, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
	}
}

// appendInt encodes a signed 32-bit number: the library hands the fields of a request over as int.
func appendInt(dst []byte, v int32) []byte {
	if v < 0 {
		return appendHead(dst, 1, ^uint32(v))
	}
	return appendHead(dst, 0, uint32(v))
}

// AppendStreamRequest encodes a stream request:
//
//	a6 "c":token "f":file "l":blockSize "o":offset "b":bitmap "n":blocks       (a5 without "n" when blocks < 0)
//
// tinyCBOR's shortest heads, fixed order. Source: aws/ota-for-aws-iot-embedded-sdk source/ota_cbor.c.
func AppendStreamRequest(dst []byte, token string, file, blockSize, offset int32, bitmap []byte, blocks int64) []byte {
	entries := byte(6)
	if blocks < 0 {
		entries = 5
	}
	dst = append(dst, 0xa0|entries, 0x61, 'c')
	dst = append(appendHead(dst, 3, uint32(len(token))), token...)
	dst = appendInt(append(dst, 0x61, 'f'), file)
	dst = appendInt(append(dst, 0x61, 'l'), blockSize)
	dst = appendInt(append(dst, 0x61, 'o'), offset)
	dst = append(appendHead(append(dst, 0x61, 'b'), 2, uint32(len(bitmap))), bitmap...)
	if blocks >= 0 {
		dst = appendInt(append(dst, 0x61, 'n'), int32(uint32(blocks)))
	}
	return dst
}

// Block is a decoded stream data message. Payload lies inside the message unless the sender chunked it.
type Block struct {
	File, Index, Size int32
	Payload           []byte
}

// DecodeBlock reads a stream data message: a map with "f", "i", "l" integers and "p" byte string, in any order and
// with anything else besides. Integers are cut to 32 bits. A payload of more than capacity bytes is an error.
// Source: source/ota_cbor.c on tinyCBOR 0.5.4.
func DecodeBlock(msg []byte, capacity int) (Block, error) { return decodeBlock(msg, capacity, true) }

// DecodeBlock2018 reads a stream data message as the 2018 agent does: with a payload of any size, and without looking
// at what follows the last key it needs, such as entries that the map announces and does not have.
func DecodeBlock2018(msg []byte) (Block, error) { return decodeBlock(msg, len(msg), false) }

func decodeBlock(msg []byte, capacity int, whole bool) (Block, error) {
	var b Block
	if len(msg) == 0 || msg[0]>>5 != 5 {
		return b, fmt.Errorf("%w: not a map", ErrCBOR)
	}
	if whole {
		return decodeWhole(msg, capacity)
	}
	f, err := findKey(msg, 'f')
	if err != nil {
		return b, err
	}
	if b.File, err = readInt(msg, f, 'f'); err != nil {
		return b, err
	}
	i, err := findKey(msg, 'i')
	if err != nil {
		return b, err
	}
	if b.Index, err = readInt(msg, i, 'i'); err != nil {
		return b, err
	}
	l, err := findKey(msg, 'l')
	if err != nil {
		return b, err
	}
	if b.Size, err = readInt(msg, l, 'l'); err != nil {
		return b, err
	}
	p, err := findKey(msg, 'p')
	if err != nil {
		return b, err
	}
	b.Payload, err = readBytes(msg, p, capacity)
	return b, err
}

// decodeWhole is decodeBlock for a reader that refuses a message which is not well formed to its end. It passes over
// the message once, since a fleet decodes little else.
func decodeWhole(msg []byte, capacity int) (b Block, err error) {
	_, n, off, indefinite, err := head(msg, 0)
	if err != nil {
		return b, err
	}
	if n > uint64(len(msg)) {
		return b, fmt.Errorf("%w: map too large", ErrCBOR)
	}
	const keys = "filp"
	var at [len(keys)]int // of the value under each key, the first one that matches; 0: none
	for ; indefinite || n > 0; n-- {
		if off >= len(msg) {
			return b, fmt.Errorf("%w: map ends at %d", ErrCBOR, off)
		}
		if indefinite && msg[off] == breakByte {
			break
		}
		key := off
		if msg[off] == oneLetter && off+1 < len(msg) {
			if i := strings.IndexByte(keys, msg[off+1]); i >= 0 && at[i] == 0 {
				at[i] = off + 2
			}
			off += 2
		} else if off, err = skip(msg, off, 1); err != nil {
			return b, err
		} else if msg[key]>>5 == 3 {
			for i := range keys {
				if at[i] != 0 {
					continue
				}
				match, err := textEquals(msg, key, keys[i])
				if err != nil {
					return b, err
				}
				if match {
					at[i] = off
					break
				}
			}
		}
		if indefinite && off < len(msg) && msg[off] == breakByte {
			break // a key without a value
		}
		if off, err = skip(msg, off, 1); err != nil {
			return b, err
		}
	}
	for i := range keys {
		if at[i] == 0 {
			return b, fmt.Errorf("%w: no key %q", ErrCBOR, keys[i])
		}
	}
	if b.File, err = readInt(msg, at[0], 'f'); err != nil {
		return b, err
	}
	if b.Index, err = readInt(msg, at[1], 'i'); err != nil {
		return b, err
	}
	if b.Size, err = readInt(msg, at[2], 'l'); err != nil {
		return b, err
	}
	b.Payload, err = readBytes(msg, at[3], capacity)
	return b, err
}

// head reads one item head at off. indefinite is true for additional information 31.
func head(msg []byte, off int) (major byte, arg uint64, next int, indefinite bool, err error) {
	if off >= len(msg) {
		return 0, 0, 0, false, fmt.Errorf("%w: ends at %d", ErrCBOR, off)
	}
	major, info := msg[off]>>5, msg[off]&31
	off++
	switch {
	case info < 24:
		return major, uint64(info), off, false, nil
	case info <= 27:
		n := 1 << (info - 24)
		if len(msg)-off < n {
			return 0, 0, 0, false, fmt.Errorf("%w: number cut at %d", ErrCBOR, off)
		}
		switch n {
		case 1:
			arg = uint64(msg[off])
		case 2:
			arg = uint64(binary.BigEndian.Uint16(msg[off:]))
		case 4:
			arg = uint64(binary.BigEndian.Uint32(msg[off:]))
		default:
			arg = binary.BigEndian.Uint64(msg[off:])
		}
		return major, arg, off + n, false, nil
	case info == 31 && major >= 2 && major <= 5:
		return major, 0, off, true, nil
	case info == 31 && major == 7:
		return major, 0, off, true, nil
	}
	return 0, 0, 0, false, fmt.Errorf("%w: reserved head at %d", ErrCBOR, off-1)
}

const (
	oneLetter = 0x61 // head of a text of one byte
	breakByte = 0xff
)

// findKey returns the offset of the value under the one-letter text key, the first one that matches.
func findKey(msg []byte, key byte) (int, error) {
	_, n, off, indefinite, err := head(msg, 0)
	if err != nil {
		return 0, err
	}
	for ; indefinite || n > 0; n-- {
		if off >= len(msg) {
			return 0, fmt.Errorf("%w: map ends at %d", ErrCBOR, off)
		}
		if indefinite && msg[off] == breakByte {
			break
		}
		match := false
		if msg[off]>>5 == 3 {
			if match, err = textEquals(msg, off, key); err != nil {
				return 0, err
			}
		}
		if off, err = skip(msg, off, 0); err != nil {
			return 0, err
		}
		if match {
			return off, nil
		}
		if off, err = skip(msg, off, 0); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("%w: no key %q", ErrCBOR, key)
}

func textEquals(msg []byte, off int, key byte) (bool, error) {
	_, n, next, indefinite, err := head(msg, off)
	if err != nil {
		return false, err
	}
	if !indefinite {
		return n == 1 && next < len(msg) && msg[next] == key, nil
	}
	got, count := byte(0), 0
	for next < len(msg) && msg[next] != breakByte {
		major, n, data, chunked, err := head(msg, next)
		if err != nil || chunked || major != 3 || n > uint64(len(msg)-data) {
			return false, fmt.Errorf("%w: bad text chunk at %d", ErrCBOR, next)
		}
		if n > 0 {
			got = msg[data]
		}
		count += int(n)
		next = data + int(n)
	}
	return count == 1 && got == key, nil
}

// skip returns the offset after the item at off.
func skip(msg []byte, off, depth int) (int, error) {
	if depth > maxBlockMessageDepth {
		return 0, fmt.Errorf("%w: nested too deeply at %d", ErrCBOR, off)
	}
	major, n, next, indefinite, err := head(msg, off)
	if err != nil {
		return 0, err
	}
	switch major {
	case 2, 3:
		if indefinite {
			for {
				if next >= len(msg) {
					return 0, fmt.Errorf("%w: string ends at %d", ErrCBOR, next)
				}
				if msg[next] == breakByte {
					return next + 1, nil
				}
				chunk, n, data, nested, err := head(msg, next)
				if err != nil || nested || chunk != major || n > uint64(len(msg)-data) {
					return 0, fmt.Errorf("%w: bad chunk at %d", ErrCBOR, next)
				}
				next = data + int(n)
			}
		}
		if n > uint64(len(msg)-next) {
			return 0, fmt.Errorf("%w: string cut at %d", ErrCBOR, next)
		}
		return next + int(n), nil
	case 4, 5:
		if major == 5 {
			if n > uint64(len(msg)) {
				return 0, fmt.Errorf("%w: map too large at %d", ErrCBOR, off)
			}
			n *= 2
		}
		for ; indefinite || n > 0; n-- {
			if next >= len(msg) {
				return 0, fmt.Errorf("%w: container ends at %d", ErrCBOR, next)
			}
			if indefinite && msg[next] == breakByte {
				return next + 1, nil
			}
			if next, err = skip(msg, next, depth+1); err != nil {
				return 0, err
			}
		}
		return next, nil
	case 6:
		return skip(msg, next, depth+1)
	case 7:
		if indefinite {
			return 0, fmt.Errorf("%w: stray break at %d", ErrCBOR, off)
		}
	}
	return next, nil
}

func readInt(msg []byte, off int, key byte) (int32, error) {
	major, v, _, _, err := head(msg, off)
	if err != nil {
		return 0, err
	}
	switch major {
	case 0:
		return int32(uint32(v)), nil
	case 1:
		return int32(^uint32(v)), nil
	}
	return 0, fmt.Errorf("%w: %q is not an integer", ErrCBOR, key)
}

func readBytes(msg []byte, off, capacity int) ([]byte, error) {
	major, n, next, indefinite, err := head(msg, off)
	if err != nil {
		return nil, err
	}
	if major != 2 {
		return nil, fmt.Errorf("%w: 'p' is not a byte string", ErrCBOR)
	}
	if !indefinite {
		if n > uint64(len(msg)-next) {
			return nil, fmt.Errorf("%w: payload cut at %d", ErrCBOR, len(msg))
		}
		if n > uint64(capacity) {
			return nil, fmt.Errorf("%w: payload of %d bytes", ErrCBOR, n)
		}
		return msg[next : next+int(n) : next+int(n)], nil
	}
	if _, err := skip(msg, off, 0); err != nil {
		return nil, err
	}
	var joined []byte
	for msg[next] != breakByte {
		_, n, data, _, _ := head(msg, next)
		joined = append(joined, msg[data:data+int(n)]...)
		next = data + int(n)
	}
	if len(joined) > capacity {
		return nil, fmt.Errorf("%w: payload of %d bytes", ErrCBOR, len(joined))
	}
	return joined, nil
}
