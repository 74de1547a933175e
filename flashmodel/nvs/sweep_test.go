package nvs

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/flashmodel"
)

const (
	base  = 0x9000
	pages = 4
	size  = pages * PageSize
)

// cutter tears one command.
type cutter struct {
	at, n uint64
	cut   flashmodel.Cut
}

func (c *cutter) BeforeOp(flashmodel.Op) flashmodel.Cut {
	c.n++
	if c.n-1 == c.at {
		return c.cut
	}
	return flashmodel.Cut{}
}

var cuts = func() []flashmodel.Cut {
	c := []flashmodel.Cut{{Mode: flashmodel.CutNotStarted}, {Mode: flashmodel.CutEraseZeroed}, {Mode: flashmodel.CutEraseNoise, Seed: 9}, {Mode: flashmodel.CutDone}}
	for _, keep := range []uint32{1, 4, 32, 63} {
		c = append(c, flashmodel.Cut{Mode: flashmodel.CutPrefix, Keep: keep})
	}
	for seed := range uint64(2) {
		c = append(c, flashmodel.Cut{Mode: flashmodel.CutSubset, Seed: seed})
	}
	return c
}()

// change is one call whose flash commands are cut one after the other. After
// each cut the key has its old or its new value and every other key its own.
type change struct {
	name     string
	samePage bool // a chunk of the new value is on the page of a chunk of the old one
	prepare  func(t *testing.T, h Handle)
	run      func(h Handle) Err
	key      string
	old, new any // string, []byte or nil
}

func must(t *testing.T, err Err) { t.Helper(); require.Equal(t, OK, err) }

func read(h Handle, key string) any {
	if s, err := h.GetString(key); err == OK {
		return s
	}
	if b, err := h.GetBlob(key); err == OK {
		return b
	}
	return nil
}

var (
	short    = valueOf(Blob, 300, 1)
	other    = valueOf(Blob, 300, 2)
	large    = valueOf(Blob, 5000, 3)
	largeNew = valueOf(Blob, 5200, 4)
)

var changes = []change{
	{name: "new string", run: func(h Handle) Err { return h.SetString("k", "value") }, key: "k", old: nil, new: "value"},
	{
		name: "other string",
		prepare: func(t *testing.T, h Handle) {
			must(t, h.SetString("k", "before, quite a bit longer than one entry holds"))
		},
		run: func(h Handle) Err { return h.SetString("k", "after") }, key: "k",
		old: "before, quite a bit longer than one entry holds", new: "after",
	},
	{
		name: "other blob", samePage: true,
		prepare: func(t *testing.T, h Handle) { must(t, h.SetBlob("k", short)) },
		run:     func(h Handle) Err { return h.SetBlob("k", other) }, key: "k", old: short, new: other,
	},
	{
		name: "blob over two pages", samePage: true,
		prepare: func(t *testing.T, h Handle) { must(t, h.SetBlob("k", large)) },
		run:     func(h Handle) Err { return h.SetBlob("k", largeNew) }, key: "k", old: large, new: largeNew,
	},
	{
		name: "garbage collection",
		prepare: func(t *testing.T, h Handle) {
			must(t, h.SetBlob("k", short))
			for i := 0; len(h.p.free) > 1 || h.p.current().next < EntryCount-12; i++ {
				key := "filler"
				if i%3 == 0 && i < 60 {
					key = fmt.Sprintf("live%d", i)
				}
				must(t, h.SetBlob(key, valueOf(Blob, 250, 100+i)))
			}
		},
		run: func(h Handle) Err { return h.SetBlob("k", other) }, key: "k", old: short, new: other,
	},
	{
		name:    "erase",
		prepare: func(t *testing.T, h Handle) { must(t, h.SetBlob("k", large)) },
		run:     func(h Handle) Err { return h.EraseKey("k") }, key: "k", old: large, new: nil,
	},
}

func TestPowerCuts(t *testing.T) {
	for _, o := range []Options{{SpareChunks: true}, {SpareChunks: true, Keys: NewKeys([KeysSize]byte{1, 2, 3})}, {}} {
		for _, c := range changes {
			t.Run(fmt.Sprintf("%s, encrypted %v, spare %v", c.name, o.Keys != nil, o.SpareChunks), func(t *testing.T) {
				lost := sweep(t, c, o)
				require.Equal(t, c.samePage && !o.SpareChunks, lost > 0, "cuts that cost both values: %d", lost)
			})
		}
	}
}

// sweep returns how many cuts cost both values.
func sweep(t *testing.T, c change, o Options) (lost int) {
	open := func(f *flashmodel.Flash) *Partition {
		p, err := OpenWith(f, base, size, o)
		must(t, err)
		return p
	}
	handle := func(p *Partition) Handle {
		h, err := p.Namespace("n", true)
		must(t, err)
		return h
	}
	before := flashmodel.New(flashmodel.NewStore(), flashmodel.Chips()[0])
	h := handle(open(before))
	must(t, h.SetString("bystander", "stays"))
	if c.prepare != nil {
		c.prepare(t, h)
	}
	whole := before.Fork()
	count := &cutter{at: 1 << 60}
	h = handle(open(whole))
	whole.SetInjector(count)
	must(t, c.run(h))
	require.Equal(t, c.new, read(h, c.key))
	if c.name == "garbage collection" {
		require.Greater(t, count.n, uint64(60), "the pages were not full")
	}

	// OTASIM_LONG=1 cuts at every command; otherwise long changes are sampled.
	stride := uint64(1)
	if os.Getenv("OTASIM_LONG") == "" {
		stride += count.n / 30
	}
	for at := uint64(0); at < count.n; at += stride {
		for _, cut := range cuts {
			f := before.Fork()
			h := handle(open(f))
			f.SetInjector(&cutter{at: at, cut: cut})
			require.True(t, flashmodel.LosesPower(func() { c.run(h) }))
			f.SetInjector(nil)

			where := fmt.Sprintf("command %d of %d, %v keep %d seed %d", at, count.n, cut.Mode, cut.Keep, cut.Seed)
			h = handle(open(f))
			switch got := read(h, c.key); {
			case equal(got, c.old), equal(got, c.new):
			case got == nil:
				lost++
			default:
				t.Fatalf("%s: neither value: %v", where, got)
			}
			require.Equal(t, "stays", read(h, "bystander"), where)
			if cut.Mode == flashmodel.CutSubset || cut.Mode == flashmodel.CutEraseNoise || cut.Mode == flashmodel.CutEraseZeroed {
				// Programs tear bit by bit in these modes. A torn entry whose first four bytes are still FF passes for an
				// empty one, and the next value is written onto it.
				continue
			}
			if err := c.run(h); err != OK {
				require.True(t, c.new == nil && err == ErrNotFound, "%s, again: %v", where, err)
			}
			require.Equal(t, c.new, read(h, c.key), where)
		}
	}
	return lost
}

func equal(a, b any) bool { return fmt.Sprint(a) == fmt.Sprint(b) }
