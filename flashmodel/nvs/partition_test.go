package nvs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func opened(t require.TestingT, m memory) *Partition {
	p, err := Open(m, 0, uint32(len(m)))
	require.Equal(t, OK, err)
	return p
}

func TestOpenRefusals(t *testing.T) {
	full := func() memory {
		m := erasedMemory(3)
		h, err := opened(t, m).Namespace("n", true)
		must(t, err)
		must(t, h.SetBlob("b", valueOf(Blob, 6000, 1)))
		return m
	}
	m := full()
	_, err := Open(m, 0, 2*PageSize)
	require.Equal(t, ErrNoFreePages, err, "a partition that was cut short")

	m = full()
	m[8] = 0xFD
	binary.LittleEndian.PutUint32(m[28:], checksum(m[4:28]))
	_, err = Open(m, 0, uint32(len(m)))
	require.Equal(t, ErrNewVersionFound, err)
	must(t, Erase(m, 0, uint32(len(m))))
	require.Empty(t, opened(t, m).Items())

	_, err = Open(m, 0, 4*PageSize)
	require.Equal(t, ErrFlashOpFail, err, "beyond the chip")
	_, err = Open(m, 0, 0)
	require.Equal(t, ErrInvalidArg, err)
	_, err = Open(m, 0xFFFFF000, 0x3000)
	require.Equal(t, ErrInvalidArg, err)
	_, err = Open(m, 0, 100)
	require.Equal(t, ErrNotEnoughSpace, err)
}

func TestCorruptPageIsErasedWhenNeeded(t *testing.T) {
	m := erasedMemory(3)
	h, err := opened(t, m).Namespace("n", true)
	must(t, err)
	must(t, h.SetString("k", "v"))
	m[PageSize+100] = 0 // an uninitialised page that is not empty
	p := opened(t, m)
	require.Equal(t, byte(0), m[PageSize+100], "opening leaves it")
	h, err = p.Namespace("n", true)
	must(t, err)
	for i := range 20 {
		must(t, h.SetBlob("b", valueOf(Blob, 300, i)))
	}
	require.Equal(t, "v", read(h, "k"))
	m[5] ^= 1 // the header of the first page: its contents are gone
	require.Empty(t, opened(t, m).Namespaces())
}

func TestHandleRules(t *testing.T) {
	p := opened(t, erasedMemory(3))
	_, err := p.Namespace("missing", false)
	require.Equal(t, ErrNotFound, err)
	h, err := p.Namespace("n", true)
	must(t, err)
	must(t, h.SetU8("k", 7))
	again, err := p.Namespace("n", false)
	must(t, err)
	v, err := again.GetU8("k")
	must(t, err)
	require.Equal(t, uint8(7), v)
	require.Equal(t, ErrReadOnly, again.SetU8("k", 8))
	require.Equal(t, ErrReadOnly, again.EraseKey("k"))
	require.Equal(t, ErrReadOnly, again.EraseAll())
	_, err = h.GetString("k")
	require.Equal(t, ErrNotFound, err, "another type")
	require.Equal(t, ErrKeyTooLong, h.SetU8("sixteen_letters_", 1))
	require.Equal(t, ErrValueTooLong, h.SetString("s", string(make([]byte, 0))+string(bytes.Repeat([]byte{'a'}, 4000))))
	require.Equal(t, ErrValueTooLong, h.SetBlob("b", make([]byte, 2*MaxChunk+1)))
	require.Equal(t, ErrNotFound, h.EraseKey("none"))

	must(t, h.SetString("k", "now a string")) // replaces the number
	_, err = h.GetU8("k")
	require.Equal(t, ErrNotFound, err)
	require.Len(t, p.Items(), 1)
	must(t, h.EraseAll())
	require.Empty(t, p.Items())
	require.Equal(t, []string{"n"}, p.Namespaces())
}

func TestNamespacesRunOut(t *testing.T) {
	p := opened(t, erasedMemory(5))
	for i := range MaxNamespace {
		_, err := p.Namespace(fmt.Sprintf("n%d", i), true)
		must(t, err)
	}
	_, err := p.Namespace("one more", true)
	require.Equal(t, ErrNotEnoughSpace, err)
	require.Equal(t, MaxNamespace, p.Stats().Namespaces)
}

func TestReadOnlyPartition(t *testing.T) {
	m := erasedMemory(3)
	h, err := opened(t, m).Namespace("n", true)
	must(t, err)
	must(t, h.SetU32("k", 5))
	before := bytes.Clone(m)
	p, err := OpenWith(m, 0, PageSize, Options{ReadOnly: true}) // one page is enough
	must(t, err)
	_, err = p.Namespace("n", true)
	require.Equal(t, ErrNotAllowed, err)
	h, err = p.Namespace("n", false)
	must(t, err)
	v, err := h.GetU32("k")
	must(t, err)
	require.Equal(t, uint32(5), v)
	require.Equal(t, before, []byte(m))
}

func TestDamagedContentIsNotFound(t *testing.T) {
	m := erasedMemory(3)
	h, err := opened(t, m).Namespace("n", true)
	must(t, err)
	must(t, h.SetString("s", "a string of more than thirty-two bytes"))
	m[entriesOffset+2*EntrySize+4] &= 0x40
	_, err = h.GetString("s")
	require.Equal(t, ErrNotFound, err)
	require.Empty(t, opened(t, m).Items(), "and it was erased")
}

func TestFullPartition(t *testing.T) {
	p := opened(t, erasedMemory(3))
	h, err := p.Namespace("n", true)
	must(t, err)
	n := 0
	for ; ; n++ {
		if err = h.SetU32(fmt.Sprintf("k%d", n), uint32(n)); err != OK {
			break
		}
	}
	require.Equal(t, ErrNotEnoughSpace, err)
	require.Equal(t, 2*EntryCount-1, n, "one page stays free")
	require.Equal(t, Stats{Total: 378, Used: 252, Free: 126, Available: 0, Namespaces: 1}, p.Stats())
	for i := range n {
		v, err := h.GetU32(fmt.Sprintf("k%d", i))
		must(t, err)
		require.Equal(t, uint32(i), v)
	}
	must(t, h.EraseKey("k0"))
	must(t, h.SetU32("k", 1))
}

// Whatever happens to the partition, the library answers as a map does, opened
// again at any time.
func TestLikeAMap(t *testing.T) {
	keys := []*Keys{nil, NewKeys([KeysSize]byte(valueOf(Blob, 64, 9)))}
	rapid.Check(t, func(t *rapid.T) {
		m := erasedMemory(4)
		o := Options{Keys: rapid.SampledFrom(keys).Draw(t, "keys")}
		open := func() Handle {
			p, err := OpenWith(m, 0, uint32(len(m)), o)
			require.Equal(t, OK, err)
			h, err := p.Namespace("n", true)
			require.Equal(t, OK, err)
			return h
		}
		h := open()
		want := map[string]any{}
		for i := range rapid.IntRange(1, 60).Draw(t, "calls") {
			key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key")
			n := rapid.IntRange(1, 2500).Draw(t, "size")
			switch rapid.IntRange(0, 3).Draw(t, "call") {
			case 0:
				s := valueOf(String, n, i)
				require.Equal(t, OK, h.SetString(key, string(s[:n-1])))
				want[key] = string(s[:n-1])
			case 1:
				b := valueOf(Blob, n, i)
				require.Equal(t, OK, h.SetBlob(key, b))
				want[key] = b
			case 2:
				err := h.EraseKey(key)
				require.Equal(t, want[key] == nil, err == ErrNotFound)
				delete(want, key)
			case 3:
				h = open()
			}
			for _, k := range []string{"a", "b", "c"} {
				require.Equal(t, want[k], read(h, k))
			}
		}
	})
}

func FuzzOpen(f *testing.F) {
	m := erasedMemory(3)
	h, _ := opened(f, m).Namespace("n", true)
	h.SetString("s", "value")
	h.SetBlob("b", valueOf(Blob, 5000, 1))
	f.Add([]byte(m[:2*PageSize]), uint16(0), byte(0xFF))
	id, _ := (&Identity{ThingName: "t", Key: []byte{1}}).Generate(0x3000)
	f.Add(id[:PageSize], uint16(70), byte(3))
	f.Add([]byte{0xFE, 0xFF, 0xFF, 0xFF}, uint16(0), byte(0))
	f.Fuzz(func(t *testing.T, b []byte, at uint16, mask byte) {
		m := erasedMemory(3)
		copy(m, b)
		m[int(at)%len(m)] &= mask
		p, err := Open(m, 0, uint32(len(m)))
		if err != OK {
			return
		}
		for _, i := range p.Items() {
			h := Handle{p: p, index: i.Index, write: true}
			h.GetString(i.Key)
			h.GetBlob(i.Key)
			h.GetU64(i.Key)
		}
		h, err := p.Namespace("fuzz", true)
		if err != OK {
			return
		}
		for n := range byte(6) { // through every page
			h.SetBlob("b", bytes.Repeat([]byte{n}, 2500))
		}
		h.EraseAll()
		p.Stats()
	})
}
