package agent

import (
	"math/rand/v2"
	"testing"
)

// decodeTwice is the slow way to read a message: is it well formed, then a search from the start for each key.
func decodeTwice(msg []byte, capacity int) (Block, error) {
	if len(msg) == 0 || msg[0]>>5 != 5 {
		return Block{}, ErrCBOR
	}
	if _, err := skip(msg, 0, 0); err != nil {
		return Block{}, err
	}
	return decodeBlock(msg, capacity, false)
}

func compareDecoders(t *testing.T, msg []byte) {
	got, err := DecodeBlock(msg, 64)
	want, wantErr := decodeTwice(msg, 64)
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%x: %v, searching key by key: %v", msg, err, wantErr)
	}
	if err == nil && (got.File != want.File || got.Index != want.Index || got.Size != want.Size || string(got.Payload) != string(want.Payload)) {
		t.Fatalf("%x: %+v, searching key by key: %+v", msg, got, want)
	}
}

var blockMessages = []string{
	"\xa4\x61f\x00\x61i\x01\x61l\x04\x61p\x44abcd",
	"\xbf\x61c\x63rdy\x61f\x00\x61l\x04\x61i\x18\x19\x61p\x44abcd\xff",
	"\xbf\x61f\x00\x61i\x01\x61l\x04\x61p\x5f\x42ab\x42cd\xff\x61x\xff",
	"\xa5\x7f\x61f\xff\x00\x61i\x01\x61f\x05\x61l\x04\x61p\x44abcd",
	"\xa5\x82\x01\x02\xa1\x01\x02\x61f\x00\x61i\x01\x61l\x04\x61p\x44abcd",
}

func TestOnePassReadsAsKeyByKey(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, m := range blockMessages {
		compareDecoders(t, []byte(m))
		for range 20_000 {
			b := []byte(m)
			for range 1 + r.IntN(3) {
				switch i := r.IntN(len(b)); r.IntN(3) {
				case 0:
					b[i] = byte(r.Uint32())
				case 1:
					b = b[:max(i, 1)]
				default:
					b = append(b[:i:i], append([]byte{"\x61\xff\xbf\x7f\xa1fil"[r.IntN(8)]}, b[i:]...)...)
				}
			}
			compareDecoders(t, b)
		}
	}
}

func FuzzOnePass(f *testing.F) {
	for _, m := range blockMessages {
		f.Add([]byte(m))
	}
	f.Fuzz(compareDecoders)
}
