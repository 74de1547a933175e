package agent

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
)

func fill(n int) []byte { return bytes.Repeat([]byte{0xff}, n) }

func TestStreamRequestBytes(t *testing.T) {
	for _, c := range []struct {
		name   string
		file   int32
		block  int32
		bitmap []byte
		n      int64
		head   string
		size   int
	}{
		{"one block of 4 KiB", 0, 4096, []byte{1}, 1, "a6616363726479616600616c191000616f0061624101616e01", 25},
		{"nine blocks", 0, 4096, []byte{0xff, 1}, 1, "a6616363726479616600616c191000616f00616242ff01616e01", 26},
		{"1 MiB in 4 KiB blocks", 0, 4096, fill(32), 1, "a6616363726479616600616c191000616f0061625820ff", 57},
		{"4 MiB in 4 KiB blocks", 0, 4096, fill(128), 1, "a6616363726479616600616c191000616f0061625880ff", 153},
		{"2018 agent, 1 MiB in 1 KiB blocks", 0, 1024, fill(128), -1, "a5616363726479616600616c190400616f0061625880ff", 150},
		{"2018 agent, 4 KiB", 0, 1024, []byte{15}, -1, "a5616363726479616600616c190400616f006162410f", 22},
		{"large file id, eight blocks", 70000, 1024, []byte{0xff, 0xff, 0x0f}, 4, "a661636372647961661a00011170616c190400616f00616243ffff0f616e04", 31},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := AppendStreamRequest(nil, "rdy", c.file, c.block, 0, c.bitmap, c.n)
			require.Len(t, got, c.size)
			require.Equal(t, c.head, hex.EncodeToString(got)[:len(c.head)])
		})
	}
}

func TestDecodeBlock(t *testing.T) {
	for _, c := range []struct {
		name, msg string
		want      Block
		ok        bool
	}{
		{"canonical", "a4616600616901616c05617045e7074345ff", Block{0, 1, 5, []byte{0xe7, 7, 0x43, 0x45, 0xff}}, true},
		{"any order, extra key", "a56170417f6178f6616c016169026166182a", Block{42, 2, 1, []byte{0x7f}}, true},
		{"indefinite map", "bf616600616900616c01617041aaff", Block{0, 0, 1, []byte{0xaa}}, true},
		{"64-bit index is cut", "a461660061691b0000000100000001616c01617041aa", Block{0, 1, 1, []byte{0xaa}}, true},
		{"chunked payload", "a4616600616900616c0261705f41aa41bbff", Block{0, 0, 2, []byte{0xaa, 0xbb}}, true},
		{"no payload", "a3616600616900616c01", Block{}, false},
		{"text for a number", "a46166616161690061 6c01617041aa", Block{}, false},
		{"payload cut", "a4616600616900616c0561704501", Block{}, false},
		{"not a map", "80", Block{}, false},
		{"empty", "", Block{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			msg, _ := hex.DecodeString(c.msg)
			got, err := DecodeBlock(msg, 4096)
			if !c.ok {
				require.ErrorIs(t, err, ErrCBOR)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want.Payload, []byte(append([]byte{}, got.Payload...)))
			got.Payload, c.want.Payload = nil, nil
			require.Equal(t, c.want, got)
		})
	}
	_, err := DecodeBlock([]byte("\xa4\x61f\x00\x61i\x00\x61l\x05\x61p\x45abcde"), 4)
	require.ErrorIs(t, err, ErrCBOR, "payload longer than the buffer")
}

func FuzzDecodeBlock(f *testing.F) {
	for _, seed := range []string{"a4616600616901616c05617045e7074345ff", "bf616600616900616c01617041aaff", "a4616600616900616c0261705f41aa41bbff", "9f", ""} {
		msg, _ := hex.DecodeString(seed)
		f.Add(msg, 4096)
	}
	f.Fuzz(func(t *testing.T, msg []byte, capacity int) {
		b, err := DecodeBlock(msg, capacity)
		if err != nil {
			return
		}
		if len(b.Payload) > capacity {
			t.Fatalf("payload of %d bytes for a buffer of %d", len(b.Payload), capacity)
		}
		again := appendInt([]byte{0xa4, 0x61, 'f'}, b.File)
		again = appendInt(append(again, 0x61, 'i'), b.Index)
		again = appendInt(append(again, 0x61, 'l'), b.Size)
		again = append(appendHead(append(again, 0x61, 'p'), 2, uint32(len(b.Payload))), b.Payload...)
		c, err := DecodeBlock(again, capacity)
		if err != nil || c.File != b.File || c.Index != b.Index || c.Size != b.Size || !bytes.Equal(c.Payload, b.Payload) {
			t.Fatalf("%x decodes to %+v, encoded again to %+v %v", msg, b, c, err)
		}
	})
}
