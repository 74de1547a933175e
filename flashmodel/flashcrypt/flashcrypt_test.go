package flashcrypt

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/otasim/otasim/flashmodel"
)

// pattern is n bytes that depend on a seed.
func pattern(seed string, n int) []byte {
	var out []byte
	for i := 0; len(out) < n; i++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", seed, i))
		out = append(out, sum[:]...)
	}
	return out[:n]
}

func ciphers(t require.TestingT) map[string]Cipher {
	m := map[string]Cipher{}
	add := func(name string, c Cipher, err error) {
		require.NoError(t, err)
		m[name] = c
	}
	for _, config := range []uint8{0, 5, 15} {
		c, err := NewESP32(pattern("key", 32), config)
		add(fmt.Sprintf("ESP32 %d", config), c, err)
	}
	c, err := NewESP32(pattern("key", 24), 15)
	add("ESP32 192 bits", c, err)
	for _, n := range []int{16, 32, 64} {
		c, err := NewXTS(pattern("key", n))
		add(fmt.Sprintf("XTS %d", n*8), c, err)
	}
	return m
}

// One block of each scheme, computed with espsecure 5.3.1.
func TestKnownBlocks(t *testing.T) {
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(i)
	}
	for _, c := range []struct {
		scheme Scheme
		want   string
	}{
		{Scheme{Config: 15}, "3677024d5d4d3399f6ef61cd82270b1a"},
		{Scheme{XTS: true}, "e65c03dacd645d5c2cec12bf40bd4443"},
	} {
		got, err := c.scheme.EncryptData(key, 0x10010, []byte("sixteen letters!"), nil)
		require.NoError(t, err)
		require.Equal(t, c.want, hex.EncodeToString(got))
		back, err := c.scheme.DecryptData(key, 0x10010, got)
		require.NoError(t, err)
		require.Equal(t, "sixteen letters!", string(back))
	}
}

func TestPiecesEqualWhole(t *testing.T) {
	all := ciphers(t)
	rapid.Check(t, func(t *rapid.T) {
		for name, c := range all {
			addr := rapid.Uint32Range(0, 1<<20).Draw(t, "address") * BlockSize
			n := rapid.IntRange(1, 40).Draw(t, "blocks")
			cut := rapid.IntRange(0, n).Draw(t, "cut") * BlockSize
			plain := pattern("data", n*BlockSize)

			whole := bytes.Clone(plain)
			c.Encrypt(addr, whole)
			pieces := bytes.Clone(plain)
			c.Encrypt(addr, pieces[:cut])
			c.Encrypt(addr+uint32(cut), pieces[cut:])
			require.Equal(t, whole, pieces, name)
			c.Decrypt(addr, whole)
			require.Equal(t, plain, whole, name)
		}
	})
}

func TestRefusedKeys(t *testing.T) {
	for _, c := range []struct {
		s     Scheme
		key   int
		class error
	}{
		{Scheme{}, 0, ErrKeyLength}, {Scheme{}, 16, ErrKeyLength}, {Scheme{}, 64, ErrKeyLength}, {Scheme{}, 33, ErrKeyLength},
		{Scheme{XTS: true}, 24, ErrKeyLength}, {Scheme{XTS: true}, 31, ErrKeyLength},
		{Scheme{}, 24, nil}, {Scheme{}, 32, nil}, {Scheme{XTS: true}, 16, nil}, {Scheme{XTS: true}, 64, nil},
	} {
		_, err := c.s.New(pattern("key", c.key))
		require.ErrorIs(t, err, c.class)
	}
	_, err := NewXTS(make([]byte, 32))
	require.ErrorIs(t, err, ErrCrash)
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, 1, e.Exit())
}

func TestRefusedData(t *testing.T) {
	key := pattern("key", 32)
	esp32, xts := Scheme{Config: 15}, Scheme{XTS: true}
	_, err := esp32.EncryptData(key, 8, make([]byte, 16), nil)
	require.ErrorIs(t, err, ErrAddressAlignment)
	_, err = xts.DecryptData(key, 8, make([]byte, 16))
	require.ErrorIs(t, err, ErrAddressAlignment)
	_, err = xts.EncryptData(key, 0, make([]byte, 20), nil)
	require.ErrorIs(t, err, ErrDataLength)
	_, err = xts.EncryptData(key, 0, nil, nil)
	require.ErrorIs(t, err, ErrDataLength)
	_, err = xts.EncryptData(key, 0xFFFFFFF0, make([]byte, 32), nil)
	require.ErrorIs(t, err, ErrCrash)
	_, err = esp32.DecryptData(key, 0, make([]byte, 20))
	require.ErrorIs(t, err, ErrDataLength)
	got, err := esp32.EncryptData(key, 0, nil, nil)
	require.NoError(t, err)
	require.Empty(t, got)

	padded, err := esp32.EncryptData(key, 0, make([]byte, 20), bytes.NewReader(bytes.Repeat([]byte{7}, 12)))
	require.NoError(t, err)
	back, err := esp32.DecryptData(key, 0, padded)
	require.NoError(t, err)
	require.Equal(t, append(make([]byte, 20), bytes.Repeat([]byte{7}, 12)...), back)
	_, err = esp32.EncryptData(key, 0, make([]byte, 20), bytes.NewReader(nil))
	require.ErrorContains(t, err, "padding")
}

func newChip() *flashmodel.Flash {
	return flashmodel.New(flashmodel.NewStore(), flashmodel.Chips()[0])
}

// counter counts commands and can tear one of them.
type counter struct {
	ops   []flashmodel.Op
	tear  int // index of the command to tear; -1 none
	given flashmodel.Cut
}

func (c *counter) BeforeOp(op flashmodel.Op) flashmodel.Cut {
	c.ops = append(c.ops, op)
	if len(c.ops)-1 == c.tear {
		return c.given
	}
	return flashmodel.Cut{}
}

func TestNORReadsWhatWasWritten(t *testing.T) {
	for name, c := range ciphers(t) {
		f := newChip()
		n := &NOR{Flash: f, Cipher: c}
		data := pattern("data", 8192)
		require.NoError(t, n.Program(0x10010, data))
		for _, at := range []int{0, 1, 15, 16, 31, 33, 1000} {
			for _, size := range []int{0, 1, 15, 17, 1024, 1500, 4000} {
				got := make([]byte, size)
				require.NoError(t, n.Read(uint32(0x10010+at), got))
				require.Equal(t, data[at:at+size], got, "%s %d %d", name, at, size)
			}
		}
		raw := make([]byte, len(data))
		require.NoError(t, f.Read(0x10010, raw))
		require.NotEqual(t, data, raw)
		want := bytes.Clone(data)
		c.Encrypt(0x10010, want)
		require.Equal(t, want, raw, name)
	}
}

func TestErasedFlashIsNoise(t *testing.T) {
	for name, c := range ciphers(t) {
		n := &NOR{Flash: newChip(), Cipher: c}
		got := make([]byte, 64)
		require.NoError(t, n.Read(0x8000, got))
		require.NotEqual(t, bytes.Repeat([]byte{0xFF}, 64), got, name)
		require.NoError(t, n.Program(0x8000, make([]byte, 64)))
		require.NoError(t, n.Erase(0x8000, 4096))
		again := make([]byte, 64)
		require.NoError(t, n.Read(0x8000, again))
		require.Equal(t, got, again, name)
	}
}

// Half a row of the ESP32 is written with the other half as it is, so that the
// other half stays, erased or not.
func TestHalfRow(t *testing.T) {
	c := ciphers(t)["ESP32 15"]
	for _, second := range []bool{false, true} {
		f := newChip()
		n := &NOR{Flash: f, Cipher: c}
		at, other := uint32(0x9000), uint32(0x9010)
		if second {
			at, other = other, at
		}
		half := pattern("half", 16)
		ops := &counter{tear: -1}
		f.SetInjector(ops)
		require.NoError(t, n.Program(at, half))
		require.Len(t, ops.ops, 1)
		require.Equal(t, [2]uint32{0x9000, 32}, [2]uint32{ops.ops[0].Addr, ops.ops[0].Len})

		raw := make([]byte, 16)
		require.NoError(t, f.Read(other, raw))
		require.Equal(t, bytes.Repeat([]byte{0xFF}, 16), raw, "still erased")
		rest := pattern("rest", 16)
		require.NoError(t, n.Program(other, rest))
		got := make([]byte, 16)
		require.NoError(t, n.Read(at, got))
		require.Equal(t, half, got)
		require.NoError(t, n.Read(other, got))
		require.Equal(t, rest, got)
	}
}

func TestProgramSizes(t *testing.T) {
	for _, c := range []struct {
		cipher string
		addr   uint32
		n      int
		want   string
	}{
		{"ESP32 15", 0x1000, 96, "1000+32 1020+32 1040+32 "},
		{"ESP32 15", 0x1010, 64, "1000+32 1020+32 1040+32 "},
		{"ESP32 15", 0x1010, 16, "1000+32 "},
		{"XTS 512", 0x1000, 128, "1000+64 1040+64 "},
		{"XTS 512", 0x1010, 128, "1010+16 1020+32 1040+64 1080+16 "},
	} {
		f := newChip()
		ops := &counter{tear: -1}
		f.SetInjector(ops)
		require.NoError(t, (&NOR{Flash: f, Cipher: ciphers(t)[c.cipher]}).Program(c.addr, pattern("data", c.n)))
		got := ""
		for _, op := range ops.ops {
			got += fmt.Sprintf("%x+%d ", op.Addr, op.Len)
		}
		require.Equal(t, c.want, got)
	}
}

func TestGranularity(t *testing.T) {
	c := ciphers(t)["ESP32 15"]
	app := &NOR{Flash: newChip(), Cipher: c}
	require.ErrorIs(t, app.Program(8, make([]byte, 16)), ErrInvalidArg)
	require.ErrorIs(t, app.Program(0, make([]byte, 8)), ErrInvalidSize)
	require.NoError(t, app.Program(16, nil))
	require.NoError(t, app.Program(16, make([]byte, 16)))
	boot := &NOR{Flash: newChip(), Cipher: c, Granularity: 32}
	require.ErrorIs(t, boot.Program(16, make([]byte, 32)), ErrInvalidArg)
	require.ErrorIs(t, boot.Program(0, make([]byte, 16)), ErrInvalidSize)
	require.NoError(t, boot.Program(0, make([]byte, 32)))
	require.ErrorIs(t, app.Read(app.Flash.(*flashmodel.Flash).Size(), make([]byte, 1)), flashmodel.ErrBounds)
}

// A power cut inside a row leaves whole blocks of 16 bytes destroyed.
func TestTornRow(t *testing.T) {
	c := ciphers(t)["ESP32 15"]
	for keep := uint32(1); keep < 32; keep++ {
		f := newChip()
		n := &NOR{Flash: f, Cipher: c}
		data := pattern("data", 64)
		f.SetInjector(&counter{tear: 1, given: flashmodel.Cut{Mode: flashmodel.CutPrefix, Keep: keep}})
		require.True(t, flashmodel.LosesPower(func() { _ = n.Program(0x2000, data) }))
		f.SetInjector(nil)
		got := make([]byte, 64)
		require.NoError(t, n.Read(0x2000, got))
		require.Equal(t, data[:32], got[:32])
		for block := 32; block < 64; block += 16 {
			whole := int(keep) >= block-16
			require.Equal(t, whole, bytes.Equal(data[block:block+16], got[block:block+16]), "keep %d block %d", keep, block)
		}
	}
}

func FuzzCipher(f *testing.F) {
	f.Add(pattern("key", 32), uint32(0x10010), pattern("data", 80), uint8(15), false)
	f.Add(pattern("key", 64), uint32(0xFFFFFFF0), pattern("data", 48), uint8(0), true)
	f.Add([]byte{}, uint32(3), []byte{1}, uint8(0), true)
	f.Fuzz(func(t *testing.T, key []byte, addr uint32, data []byte, config uint8, xts bool) {
		s := Scheme{XTS: xts, Config: config}
		got, err := s.EncryptData(key, addr, data, bytes.NewReader(make([]byte, 16)))
		if err != nil {
			var e *Error
			require.True(t, errors.As(err, &e), err)
			return
		}
		back, err := s.DecryptData(key, addr, got)
		require.NoError(t, err)
		require.True(t, bytes.HasPrefix(back, data))
		require.Less(t, len(back)-len(data), 16)
	})
}

func BenchmarkESP32(b *testing.B) { benchmark(b, "ESP32 15") }
func BenchmarkXTS(b *testing.B)   { benchmark(b, "XTS 512") }

func benchmark(b *testing.B, name string) {
	c := ciphers(b)[name]
	data := pattern("data", 4096)
	b.SetBytes(4096)
	for b.Loop() {
		c.Encrypt(0x10000, data)
	}
}
