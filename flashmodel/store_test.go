package flashmodel

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// One content, from one chip or many, from the same memory or other, is one page.
func TestEqualContentIsOnePage(t *testing.T) {
	st, chip := NewStore(), chipOf(t, "1MB")
	a, b, c := New(st, chip), New(st, chip), New(st, chip)
	src := make([]byte, SectorSize)
	noise(src, 1)
	require.NoError(t, a.ProgramShared(0x1000, src))
	require.NoError(t, a.ProgramShared(0x2000, src))
	require.NoError(t, b.ProgramShared(0x1000, bytes.Clone(src)))
	require.NoError(t, c.Program(0x1000, src))
	require.Equal(t, 1, st.Stats().Pages)
	require.Nil(t, c.own, "known content is not private")
	for _, f := range []*Flash{a, b, c} {
		require.Equal(t, src, cells(t, f, 0x1000, SectorSize))
	}
	ka, ok := a.Key(0x1000, SectorSize)
	require.True(t, ok)
	kc, ok := c.Key(0x1000, SectorSize)
	require.True(t, ok)
	require.Equal(t, ka, kc)
}

// Contents that only one chip has never reach the Store; a second chip makes them shared.
func TestUniqueContentStaysPrivate(t *testing.T) {
	st, chip := NewStore(), chipOf(t, "1MB")
	record := make([]byte, 32)
	for i := range 1000 {
		f := New(st, chip)
		noise(record, uint64(i))
		require.NoError(t, f.Program(0x9000, record))
	}
	require.Zero(t, st.Stats().Pages)
	for range 3 {
		require.NoError(t, New(st, chip).Program(0x9000, record))
	}
	require.Equal(t, 1, st.Stats().Pages)
	require.Equal(t, 32, st.Stats().PageBytes, "trailing FF costs nothing")
}

// What single commands leave on the way through an operation does not fill the Store.
func TestPartsOfAnOperationStayOutside(t *testing.T) {
	st, chip := NewStore(), chipOf(t, "1MB")
	src := make([]byte, SectorSize)
	noise(src, 1)
	for range 5 {
		f := New(st, chip)
		f.SetInjector(&opLog{})
		require.NoError(t, f.Program(0x10000, src))
	}
	require.Equal(t, 1, st.Stats().Pages)
}

func TestForksAreIndependent(t *testing.T) {
	a := New(NewStore(), chipOf(t, "1MB"))
	require.NoError(t, a.Program(0x1000, []byte{0xf0, 0x0f}))
	b := a.Fork()
	require.NoError(t, b.Program(0x1001, []byte{0}))
	require.NoError(t, a.Program(0x1000, []byte{0x3f}))
	c := b.Fork()
	require.NoError(t, b.Erase(0x1000, SectorSize))
	require.Equal(t, []byte{0x30, 0x0f}, cells(t, a, 0x1000, 2))
	require.Equal(t, []byte{0xff, 0xff}, cells(t, b, 0x1000, 2))
	require.Equal(t, []byte{0xf0, 0x00}, cells(t, c, 0x1000, 2))
	require.Equal(t, uint32(1), b.MaxWear())
	require.Zero(t, c.MaxWear())
}

// A key stands for bytes, wherever they are, and for no others.
func TestKeyIsTheContent(t *testing.T) {
	f := New(NewStore(), chipOf(t, "1MB"))
	src := make([]byte, SectorSize)
	noise(src, 1)
	for _, addr := range []uint32{0x1000, 0x42000} {
		require.NoError(t, f.Load(addr, src))
	}
	key := func(addr, n uint32) RegionKey {
		k, ok := f.Key(addr, n)
		require.True(t, ok)
		return k
	}
	require.Equal(t, key(0x1000, SectorSize), key(0x42000, SectorSize))
	require.NotEqual(t, key(0x1000, 100), key(0x1064, 100))
	require.NotEqual(t, key(0x1000, 100), key(0x1000, 101))
	require.Equal(t, key(0x20000, 0x20000), key(0x60000, 0x20000))
	require.NotEqual(t, key(0x20000, 0x20000), key(0x40000, 0x20000))
	_, ok := f.Key(0, 0)
	require.False(t, ok)
}

func TestRemember(t *testing.T) {
	st, chip := NewStore(), chipOf(t, "1MB")
	a, b := New(st, chip), New(st, chip)
	calls := 0
	ask := func(f *Flash, what string, addr, n uint32) {
		Remember(f, what, addr, n, func() int { calls++; return calls })
	}
	src := make([]byte, SectorSize)
	noise(src, 1)
	for _, f := range []*Flash{a, b} {
		require.NoError(t, f.Load(0x10000, src))
	}
	for _, c := range []struct {
		name string
		ask  func()
		want int
	}{
		{"first", func() { ask(a, "x", 0x10000, 0x40000) }, 1},
		{"again", func() { ask(a, "x", 0x10000, 0x40000) }, 1},
		{"equal chip", func() { ask(b, "x", 0x10000, 0x40000) }, 1},
		{"other question", func() { ask(a, "y", 0x10000, 0x40000) }, 2},
		{"other address", func() { ask(a, "x", 0x11000, 0x3f000) }, 3},
		{"other length", func() { ask(a, "x", 0x10000, 0x3f000) }, 4},
		{"changed outside", func() { require.NoError(t, a.Program(0x9000, []byte{1})); ask(a, "x", 0x10000, 0x40000) }, 4},
		{"changed inside", func() { require.NoError(t, a.Program(0x4f000, []byte{1})); ask(a, "x", 0x10000, 0x40000) }, 5},
		{"unsafe", func() { a.setUnstable(0x20, 1); ask(a, "x", 0x10000, 0x40000) }, 6},
		{"still unsafe", func() { ask(a, "x", 0x10000, 0x40000) }, 7},
		{"other type", func() { Remember(b, "x", 0x10000, 0x40000, func() string { calls++; return "" }) }, 8},
		{"outside the chip", func() { ask(b, "x", 0xff000, 0x2000) }, 9},
		{"switched off", func() { st.DisableMemo = true; ask(b, "y", 0x10000, 0x40000) }, 10},
	} {
		c.ask()
		require.Equal(t, c.want, calls, c.name)
	}
}

// Blocks in random order make many leaves; full tables make private ones; a slot that is
// complete is shared again.
func TestRandomOrderIsBounded(t *testing.T) {
	st, chip := NewStore(), chipOf(t, "1MB")
	st.limits.openLeaves, st.limits.leaves = 1000, 2000
	sectors := image(leafSpan, 3)
	for i := range 500 {
		f := New(st, chip)
		order := make([]int, len(sectors))
		for k := range order {
			j := int(mix(uint64(i)<<8|uint64(k)) % uint64(k+1))
			order[k] = order[j]
			order[j] = k
		}
		for _, k := range order {
			require.NoError(t, f.ProgramShared(uint32(k)*SectorSize, sectors[k]))
		}
		require.Equal(t, bytes.Join(sectors, nil), cells(t, f, 0, leafSpan))
		require.Zero(t, f.leaves[0]&leafPrivate)
	}
	require.LessOrEqual(t, st.Stats().Leaves, 1001)
}

// Aliases of known pages keep memory alive, so there is an end to them.
func TestAliasesAreBounded(t *testing.T) {
	st, chip := NewStore(), chipOf(t, "1MB")
	st.limits.aliases = 10
	src := make([]byte, SectorSize)
	noise(src, 1)
	f := New(st, chip)
	require.NoError(t, f.ProgramShared(0, src))
	for range 100 {
		require.NoError(t, f.Erase(0, SectorSize))
		require.NoError(t, f.ProgramShared(0, bytes.Clone(src)))
		require.Contains(t, st.ident, slice{&src[0], len(src)})
		require.LessOrEqual(t, len(st.ident), 11)
	}
	require.Equal(t, 1, st.Stats().Pages)
}

// Where every block is a slice of its own, only the first of each content is kept.
func TestFreshSlicesAreNotKept(t *testing.T) {
	st, chip := NewStore(), chipOf(t, "1MB")
	st.FreshSlices = true
	src := make([]byte, SectorSize)
	noise(src, 1)
	f := New(st, chip)
	for k := range uint32(100) {
		require.NoError(t, f.ProgramShared(k*SectorSize, bytes.Clone(src)))
		require.Equal(t, src, cells(t, f, k*SectorSize, SectorSize))
	}
	require.Len(t, st.ident, 1)
	require.Equal(t, 1, st.Stats().Pages)
}

// Contents with equal CRC-32 are told apart, and too many of them stay outside.
func TestEqualChecksums(t *testing.T) {
	st, chip := NewStore(), chipOf(t, "1MB")
	f := New(st, chip)
	for i := range uint32(200) {
		require.NoError(t, f.ProgramShared(i*SectorSize, collide(i)))
	}
	require.Equal(t, maxChain, st.Stats().Pages)
	for i := range uint32(200) {
		require.Equal(t, collide(i), cells(t, f, i*SectorSize, 16))
	}
}

// collide is 16 bytes that start with i and have a CRC-32 of 0.
func collide(i uint32) []byte {
	b := []byte{byte(i), byte(i >> 8), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 0, 0, 0}
	const reflected = 0xedb88320
	crc := ^uint32(0)
	for _, x := range b[:12] {
		crc ^= uint32(x)
		for range 8 {
			crc = crc>>1 ^ crc&1*reflected
		}
	}
	// The last four bytes that leave the register at FFFFFFFF, whose complement is 0.
	want := ^uint32(0)
	for range 32 {
		if want>>31 == 1 {
			want = (want^reflected)<<1 | 1
		} else {
			want <<= 1
		}
	}
	for k, x := range []uint32{0, 8, 16, 24} {
		b[12+k] = byte((crc ^ want) >> x)
	}
	return b
}
