package bootloader

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/otadata"
)

func afrBoard(t testing.TB, kind Kind) *board {
	b := newBoard(t, false)
	b.cfg.Kind = kind
	b.storeTable(kind != AFR2018)
	return b
}

// A good update, then a failed one, as the FreeRTOS ports see them.
func TestFreeRTOSUpdate(t *testing.T) {
	for _, kind := range []Kind{AFR2022, AFR2018} {
		b := afrBoard(t, kind)
		watchdog := map[Kind]time.Duration{AFR2022: 90 * time.Second, AFR2018: 60 * time.Second}[kind]
		b.records(otadata.Make(1, otadata.Valid), otadata.Make(2, otadata.New))
		v := b.boot()
		require.Equal(t, "ota_1", v.Boot)
		require.Equal(t, watchdog, v.Watchdog)
		require.Equal(t, otadata.Make(2, otadata.PendingVerify), b.record(1))

		good := &board{t: t, flash: b.flash.Fork(), cfg: b.cfg, table: b.table}
		good.records(otadata.Make(1, otadata.Valid), otadata.Make(2, otadata.Valid))
		v = good.boot()
		require.Equal(t, "ota_1", v.Boot)
		require.Zero(t, v.Watchdog)
		require.Equal(t, otadata.Empty(), good.record(0), "%s: the record of the replaced image goes", kind)
		require.True(t, good.erased("ota_0"), "%s: and so does the image", kind)

		v = b.boot() // the trial ended without confirmation
		require.Equal(t, "ota_0", v.Boot)
		require.Equal(t, otadata.Empty(), b.record(1))
		require.True(t, b.erased("ota_1"), "%s: the old record is the active VALID one, so the new image is erased", kind)
	}
}

func TestAFR2022ErasesBeforeItVerifies(t *testing.T) {
	b := afrBoard(t, AFR2022)
	b.records(otadata.Make(1, otadata.Valid), otadata.Make(2, otadata.Valid))
	b.spoil("ota_1")
	require.Equal(t, Reset, b.boot().End, "the only good copy is gone")

	b = afrBoard(t, AFR2018)
	b.records(otadata.Make(1, otadata.Valid), otadata.Make(2, otadata.Valid))
	b.spoil("ota_1")
	require.Equal(t, "ota_0", b.boot().Boot)
	require.False(t, b.erased("ota_0"))
}

func TestAFR2022RewritesThePassiveRecordAfterItsErase(t *testing.T) {
	b := afrBoard(t, AFR2022)
	b.records(otadata.Make(1, otadata.Valid), otadata.Make(2, otadata.Valid))
	var w writes
	b.flash.SetInjector(&w)
	b.boot()
	require.Equal(t, writes{"erase 0", "program 0"}, w)

	b = afrBoard(t, AFR2018)
	b.records(otadata.Make(1, otadata.Valid), otadata.Make(2, otadata.Valid))
	w = nil
	b.flash.SetInjector(&w)
	b.boot()
	require.Equal(t, writes{"erase 0"}, w)
}

func TestTwoRecordsForOneSlotEraseTheImageThatIsToRun(t *testing.T) {
	b := afrBoard(t, AFR2022)
	b.records(otadata.Make(1, otadata.Valid), otadata.Make(3, otadata.Valid))
	v := b.boot()
	require.True(t, b.erased("ota_0"))
	require.Equal(t, "ota_1", v.Boot, "only the fallback is left")

	b = afrBoard(t, AFR2018)
	b.records(otadata.Make(1, otadata.Valid), otadata.Make(3, otadata.Valid))
	require.Equal(t, "ota_0", b.boot().Boot, "it was loaded before")
	require.True(t, b.erased("ota_0"))
}

func TestKeepPassive(t *testing.T) {
	for _, kind := range []Kind{AFR2022, AFR2018} {
		b := afrBoard(t, kind)
		b.cfg.KeepPassive = true
		b.records(otadata.Make(1, otadata.Valid), otadata.Make(2, otadata.Valid))
		require.Equal(t, "ota_1", b.boot().Boot)
		require.False(t, b.erased("ota_0"))
	}
}

func TestPassiveEraseIsIdempotentUnderPowerCuts(t *testing.T) {
	for _, kind := range []Kind{AFR2022, AFR2018} {
		b := afrBoard(t, kind)
		b.records(otadata.Make(1, otadata.Valid), otadata.Make(2, otadata.Valid))
		for k := uint64(0); ; k++ {
			c := &board{t: t, flash: b.flash.Fork(), cfg: b.cfg, table: b.table}
			c.flash.SetInjector(&cutAt{k: k, mode: flashmodel.CutEraseNoise, seed: k})
			lost := flashmodel.LosesPower(func() { c.boot() })
			c.flash.SetInjector(nil)
			require.Equal(t, "ota_1", c.boot().Boot)
			require.Equal(t, "ota_1", c.boot().Boot)
			require.True(t, c.record(0).Initial())
			if !lost {
				break
			}
		}
	}
}

func TestRulesOf2018(t *testing.T) {
	b := afrBoard(t, AFR2018)
	b.storeTable(true)
	require.Equal(t, Hang, b.boot().End, "a table with MD5 record is refused")

	b = afrBoard(t, AFR2018)
	b.records(otadata.Make(2, otadata.Valid), otadata.Make(2, otadata.New))
	require.Equal(t, 1, b.boot().Record, "a tie goes to record 1")

	b = afrBoard(t, AFR2018)
	b.records(otadata.Make(1, otadata.Valid), otadata.Make(2, otadata.New))
	b.spoil("ota_1")
	for range 3 {
		v := b.boot()
		require.Equal(t, "ota_0", v.Boot)
		require.Equal(t, []string{"ota_1", "ota_0"}, v.Tried)
		require.Equal(t, otadata.New, b.record(1).State, "a corrupt new image is tried on every boot")
	}

	b = afrBoard(t, AFR2018)
	b.records(otadata.Make(1, otadata.Valid), otadata.Make(2, otadata.PendingVerify))
	b.cfg.KeepPassive = true
	require.Equal(t, "ota_0", b.boot().Boot)
	require.Equal(t, otadata.PendingVerify, b.record(1).State, "PENDING stays as it is")
}

func TestInitialContentsOf2018(t *testing.T) {
	b := afrBoard(t, AFR2018)
	b.spoil("ota_0")
	odd := otadata.Empty()
	odd.Label[3], odd.State = 7, 9
	b.records(odd)
	v := b.boot()
	require.Equal(t, "ota_1", v.Boot)
	want := otadata.Make(1, otadata.Valid)
	want.Label[3] = 7
	require.Equal(t, want, b.record(0), "written before slot 0 was looked at, label kept")
}

// cutAt loses power at command number k, counted from 0.
type cutAt struct {
	k    uint64
	mode flashmodel.CutMode
	keep uint32
	seed uint64
}

func (c *cutAt) BeforeOp(flashmodel.Op) flashmodel.Cut {
	if c.k > 0 {
		c.k--
		return flashmodel.Cut{}
	}
	c.k = ^uint64(0)
	return flashmodel.Cut{Mode: c.mode, Keep: c.keep, Seed: c.seed}
}

func BenchmarkBoot(b *testing.B) {
	for _, c := range []struct {
		name string
		cfg  func(*Config)
	}{
		{"stock", func(*Config) {}},
		{"anti-rollback", func(c *Config) { c.AntiRollback = true }},
	} {
		b.Run(c.name, func(b *testing.B) {
			board := newBoard(b, false)
			c.cfg(&board.cfg)
			board.put("ota_1", image.Spec{Size: 0x18000, SecureVersion: 1})
			board.records(otadata.Make(1, otadata.Valid), otadata.Make(2, otadata.Valid))
			board.boot()
			b.ReportAllocs()
			for b.Loop() {
				if board.boot().End != Started {
					b.Fatal("not started")
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "boots/s")
		})
	}
}

// A cut point is a fork of the chip, a command that is torn, and the boot
// that follows.
func BenchmarkCutPoint(b *testing.B) {
	board := newBoard(b, false)
	board.records(otadata.Make(1, otadata.Valid), otadata.Make(2, otadata.New))
	board.flash.Fork()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		f := board.flash.Fork()
		fuse := board.fuse
		f.SetInjector(&cutAt{k: uint64(i % 2), mode: flashmodel.CutSubset, seed: uint64(i)})
		if !flashmodel.LosesPower(func() { Boot(f, &fuse, board.cfg, PowerOn) }) {
			b.Fatal("power stayed")
		}
		f.SetInjector(nil)
		if Boot(f, &fuse, board.cfg, PowerOn).End != Started {
			b.Fatal("not started")
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "cuts/s")
}
