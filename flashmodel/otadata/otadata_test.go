package otadata

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCRCOfGoldenSequenceNumbers(t *testing.T) {
	for seq, want := range map[uint32]uint32{
		0: 0xFFFFFFFF, 1: 0x4743989A, 2: 0x55F63774, 3: 0xED4A5011, 4: 0x709D68A8,
		5: 0xC8210FCD, 6: 0xDA94A023, 7: 0x6228C746, 8: 0x3A4BD710, 0xFFFFFFFF: 0x2144DF1C,
	} {
		require.Equal(t, want, CRC(seq), "seq %d", seq)
	}
}

func TestGoldenRecords(t *testing.T) {
	ff := strings.Repeat("ff", 20)
	for _, c := range []struct {
		hex   string
		entry Entry
	}{
		{"01000000" + ff + "ffffffff" + "9a984347", Make(1, Undefined)},
		{"01000000" + ff + "02000000" + "9a984347", Make(1, Valid)},
		{"02000000" + ff + "00000000" + "7437f655", Make(2, New)},
		{"03000000" + ff + "01000000" + "11504aed", Make(3, PendingVerify)},
		{strings.Repeat("ff", 32), Empty()},
	} {
		raw, err := hex.DecodeString(c.hex)
		require.NoError(t, err)
		got, err := Decode(raw)
		require.NoError(t, err)
		require.Equal(t, c.entry, got)
		enc := got.Encode()
		require.Equal(t, raw, enc[:])
	}
	_, err := Decode(make([]byte, 31))
	require.ErrorIs(t, err, ErrShort)
}

func TestActive(t *testing.T) {
	torn := Make(9, New)
	torn.CRC = 0xFFFFFFFF
	for _, c := range []struct {
		name string
		e    [2]Entry
		want int
	}{
		{"erased", [2]Entry{Empty(), Empty()}, -1},
		{"one", [2]Entry{Make(1, Valid), Empty()}, 0},
		{"newer second", [2]Entry{Make(1, Valid), Make(2, New)}, 1},
		{"newer first", [2]Entry{Make(3, Valid), Make(2, Valid)}, 0},
		{"tie", [2]Entry{Make(2, Valid), Make(2, New)}, 0},
		{"torn", [2]Entry{Make(1, Valid), torn}, 0},
		{"aborted", [2]Entry{Make(1, Valid), Make(2, Aborted)}, 0},
		{"both refused", [2]Entry{Make(1, Invalid), Make(2, Aborted)}, -1},
		{"unknown state", [2]Entry{Make(1, Valid), Make(2, 0x80000004)}, 1},
		{"compared unsigned", [2]Entry{Make(0x7FFFFFFF, Valid), Make(0x80000000, Valid)}, 1},
	} {
		require.Equal(t, c.want, Active(c.e), c.name)
	}
}

func TestRulesOf2018(t *testing.T) {
	pending := [2]Entry{Make(1, Valid), Make(2, PendingVerify)}
	require.Equal(t, 0, Active2018(pending, true))
	require.Equal(t, 1, Active2018(pending, false))
	tie := [2]Entry{Make(2, Valid), Make(2, New)}
	require.Equal(t, 1, Active2018(tie, true))
	require.Equal(t, -1, Active2018([2]Entry{Empty(), Empty()}, true))
}

func TestPortRecord(t *testing.T) {
	old := func(e [2]Entry) [2]bool { return [2]bool{e[0].UsableToPort2018(), e[1].UsableToPort2018()} }
	now := func(e [2]Entry) [2]bool { return [2]bool{e[0].Usable(), e[1].Usable()} }
	for _, c := range []struct {
		name            string
		e               [2]Entry
		usable          func([2]Entry) [2]bool
		active, passive int
	}{
		{"newer second", [2]Entry{Make(1, Valid), Make(2, PendingVerify)}, old, 1, 0},
		{"a refused record counts in 2018", [2]Entry{Make(1, Valid), Make(2, Aborted)}, old, 1, 0},
		{"and not in 2022", [2]Entry{Make(1, Valid), Make(2, Aborted)}, now, 0, 1},
		{"tie", [2]Entry{Make(2, Valid), Make(2, New)}, now, 0, 1},
		{"nothing written", [2]Entry{Empty(), Empty()}, now, 0, 0},
		{"sequence number 0 counts as nothing", [2]Entry{Empty(), Make(0, Valid)}, now, 0, 0},
	} {
		require.Equal(t, c.active, PortRecord(c.e, c.usable(c.e), true), c.name)
		require.Equal(t, c.passive, PortRecord(c.e, c.usable(c.e), false), c.name)
	}
}

func TestSelectLowest(t *testing.T) {
	both := [2]bool{true, true}
	require.Equal(t, 1, SelectLowest([2]Entry{Make(3, Aborted), Make(2, Aborted)}, both))
	require.Equal(t, 0, SelectLowest([2]Entry{Make(2, Aborted), Make(3, Aborted)}, both))
	require.Equal(t, 0, SelectLowest([2]Entry{Make(2, Aborted), Make(2, Aborted)}, both))
	require.Equal(t, 1, SelectLowest([2]Entry{Make(2, Aborted), Make(3, Aborted)}, [2]bool{false, true}))
	require.Equal(t, -1, SelectLowest([2]Entry{}, [2]bool{}))
}

func TestNextSeq(t *testing.T) {
	for _, c := range []struct {
		n, current uint32
		want       []uint32
	}{
		{1, 7, []uint32{7}},
		{2, 1, []uint32{1, 2}}, {2, 2, []uint32{3, 2}}, {2, 3, []uint32{3, 4}}, {2, 4, []uint32{5, 4}},
		{3, 1, []uint32{1, 2, 3}}, {3, 2, []uint32{4, 2, 3}}, {3, 3, []uint32{4, 5, 3}}, {3, 4, []uint32{4, 5, 6}},
		{4, 4, []uint32{5, 6, 7, 4}}, {4, 5, []uint32{5, 6, 7, 8}}, {4, 6, []uint32{9, 6, 7, 8}},
	} {
		for slot, want := range c.want {
			got, ok := NextSeq(c.current, uint32(slot), c.n)
			require.True(t, ok)
			require.Equal(t, want, got, "n %d seq %d slot %d", c.n, c.current, slot)
		}
	}
	_, ok := NextSeq(0xFFFFFFFE, 0, 16)
	require.False(t, ok, "no number of slot 0 lies between FFFFFFFE and 2^32, on any pass")
	got, ok := NextSeq(0xFFFFFFFF, 2, 3)
	require.True(t, ok)
	require.Equal(t, uint32(0xFFFFFFFF), got)
	// 2^32 mod 3 = 1: 1, 4, ... FFFFFFFD, then 0, 3, ... FFFFFFFF on the next pass.
	got, ok = NextSeq(0xFFFFFFFF, 0, 3)
	require.True(t, ok)
	require.Equal(t, uint32(0xFFFFFFFF), got)
}

// The loop of the C code on a number circle of 2^8, compared with the closed
// form on the same circle scaled up, would not be the same function; so the
// property is checked where the loop is short.
func TestNextSeqIsTheFirstNotBelow(t *testing.T) {
	for n := uint32(1); n <= 16; n++ {
		for current := uint32(0); current < 70; current++ {
			for slot := range n {
				want := (slot + 1) % n
				for want < current {
					want += n
				}
				got, ok := NextSeq(current, slot, n)
				require.True(t, ok)
				require.Equal(t, want, got)
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, e := range []Entry{Empty(), Make(1, Valid), Make(2, New), Make(0, 0x80000004)} {
		b := e.Encode()
		f.Add(b[:])
	}
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Decode(b)
		if err != nil {
			require.Less(t, len(b), EntrySize)
			return
		}
		enc := e.Encode()
		require.Equal(t, b[:EntrySize], enc[:])
		require.False(t, e.Usable() && e.Initial())
	})
}
