package check

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/flashmodel"
)

// watched is a chip under a watch: an application runs in the first of two slots.
func watched(t *testing.T) (*flashmodel.Flash, *Guard) {
	t.Helper()
	st := flashmodel.NewStore()
	chip, ok := flashmodel.ChipOfSize(4 << 20)
	require.True(t, ok)
	layout := &Layout{Writable: []Range{{0x10000, 0x100000}, {0x110000, 0x100000}, {0xd000, 0x2000}}, Otadata: Range{0xd000, 0x2000}}
	w := &Guard{Ledger: &Ledger{}, Who: func() (Writer, bool) {
		return Writer{Thing: "esp32-a-00001", Layout: layout, Running: Range{0x10000, 0x100000}}, true
	}}
	st.Watch = w
	return flashmodel.New(st, chip), w
}

func TestWatchSeesWritesThatMustNotBe(t *testing.T) {
	data := make([]byte, 4096)
	for _, c := range []struct {
		name string
		do   func(f *flashmodel.Flash) error
		want []ID
	}{
		{"a block in the passive slot", func(f *flashmodel.Flash) error { return f.Program(0x110000, data) }, nil},
		{"otadata", func(f *flashmodel.Flash) error { return f.Erase(0xe000, 4096) }, nil},
		{"erase of the running slot", func(f *flashmodel.Flash) error { return f.Erase(0x20000, 4096) }, []ID{RuleRunningSlot}},
		{"erase that goes on into the running slot", func(f *flashmodel.Flash) error { return f.Erase(0xf000, 0x2000) }, []ID{RuleRunningSlot, RuleInSlot}},
		{"program past the end of the slot", func(f *flashmodel.Flash) error { return f.Program(0x20ff00, data) }, []ID{RuleInSlot}},
		{"the partition table", func(f *flashmodel.Flash) error { return f.Program(0x8000, data) }, []ID{RuleInSlot}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, w := watched(t)
			require.NoError(t, c.do(f))
			var got []ID
			for _, v := range w.found {
				got = append(got, v.ID)
				require.Equal(t, "esp32-a-00001", v.Thing)
			}
			require.Equal(t, c.want, got)
			require.NotZero(t, w.checked[RuleRunningSlot])
		})
	}
}

// A chip whose cells do not do what programs say is seen, in otadata at every program.
func TestWatchComparesCells(t *testing.T) {
	f, w := watched(t)
	require.NoError(t, f.Program(0xd000, []byte{0xf0, 0x0f}))
	require.NoError(t, f.Program(0xd000, []byte{0x3f, 0xff}))
	require.Zero(t, w.Found())
	require.EqualValues(t, 2, w.checked[RuleClears])
	_, err := f.AddFault(flashmodel.Fault{Kind: flashmodel.FaultProgramFails, Addr: 0xd000, Len: 4096})
	require.NoError(t, err)
	require.NoError(t, f.Program(0xd000, []byte{0x00, 0x00}))
	require.Equal(t, 1, w.Found())
	require.Equal(t, RuleClears, w.found[0].ID)
}

func TestInvariantsAreTheSameForAnyNumberOfRecords(t *testing.T) {
	one, split := &Ledger{}, []*Ledger{{}, {}, {}}
	for i := range 90 {
		thing := string(rune('a' + i%26))
		at := time.Duration(i*7919%97) * time.Second
		detail := func() string { return "seen" }
		one.Check(RuleBootable, i%2 == 0, thing, at, detail)
		split[i%3].Check(RuleBootable, i%2 == 0, thing, at, detail)
	}
	replay := func(*Violation) string { return "" }
	// A record keeps what came first to it; on a shard that is the order of time.
	first := Invariants([]*Ledger{one}, replay)
	require.EqualValues(t, 90, first[RuleBootable].Checked)
	require.Len(t, first[RuleBootable].Violations, mostViolations)
	require.EqualValues(t, 90, Invariants(split, replay)[RuleBootable].Checked)
	require.Len(t, first, len(IDs()))
	require.Empty(t, first[RuleVerified].Violations)
}
