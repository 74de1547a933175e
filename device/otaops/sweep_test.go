package otaops

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/otadata"
)

// The sweep cuts power in every command of an update, of its confirmation and
// of its rollback, in every way a cut can go, and looks at what the next boot
// does. Whatever differs from both "the step did not happen" and "the step is
// complete" must be in this list. Every entry is something that the real chip
// does as well.
var knownOutcomes = map[string]string{
	"record lost":               "4.5: a rewrite erases the record first; the other record or the default decides",
	"trial skipped":             "4.5: NEW or PENDING_VERIFY is torn to a value without a name: the new image starts, and no trial watches it",
	"trial ends at once":        "4.5: NEW is torn to PENDING_VERIFY: the next boot ends the trial before it began",
	"confirmed by chance":       "4.5, 11.4: NEW is torn to VALID: the new image counts as confirmed, and the FreeRTOS bootloaders erase the other one",
	"refused by chance":         "4.5: NEW, PENDING_VERIFY or VALID is torn to INVALID or ABORTED: the previous image starts",
	"refused image returns":     "4.5: ABORTED or INVALID is torn to a bootable value, or an interrupted erase leaves such a one: the image that failed starts again",
	"confirmed image forgotten": "4.4, 4.5: the record is lost while VALID is written over it: the previous image starts",
	"state without a name":      "4.5: VALID, INVALID or ABORTED is torn to a value without a name, which decides like UNDEFINED",
	"marginal record":           "1.3: after an erase that only looks done, or noise, a record may read differently from one read to the next",
}

// sweepStep is one step of an update. It needs nothing but flash, eFuse and
// the state of the calls.
type sweepStep struct {
	name string
	data bool // nearly all of its commands are alike
	run  func(b *board)
}

func updateSteps(img []byte, target string, confirm bool) (steps []sweepStep) {
	add := func(name string, data bool, run func(b *board) Err) {
		steps = append(steps, sweepStep{name, data, func(b *board) { require.Equal(b.t, OK, run(b)) }})
	}
	boot := func(b *board) Err {
		if b.boot().End != bootloader.Started {
			return Fail
		}
		return OK
	}
	add("begin", true, func(b *board) Err {
		h, err := b.ops.Begin(b.part(target), SizeUnknown)
		require.Equal(b.t, Handle(1), h)
		return err
	})
	for at := 0; at < len(img); at += 4096 {
		block := img[at:min(at+4096, len(img))]
		add("write", true, func(b *board) Err { return b.ops.Write(1, block) })
	}
	add("end", false, func(b *board) Err { return b.ops.End(1) })
	add("set_boot", false, func(b *board) Err { return b.ops.SetBoot(b.part(target)) })
	add("boot new", false, boot)
	if confirm {
		add("mark_valid", false, markValid)
		add("boot confirmed", false, boot)
	} else {
		add("boot rolled back", false, boot)
	}
	return steps
}

// markValid confirms as the firmware of the kind does.
func markValid(b *board) Err {
	if k := b.cfg.Kind; k == bootloader.AFR2018 || k == bootloader.AFR2022 {
		return b.ops.SetBootFlags(otadata.Valid, true)
	}
	return b.ops.MarkValid()
}

// sweepCutter cuts the k-th command and remembers it.
type sweepCutter struct {
	k   uint64
	cut flashmodel.Cut
	op  flashmodel.Op
}

func (c *sweepCutter) BeforeOp(op flashmodel.Op) flashmodel.Cut {
	if c.k > 0 {
		c.k--
		return flashmodel.Cut{}
	}
	c.k, c.op = ^uint64(0), op
	return c.cut
}

func commands(f *flashmodel.Flash) uint64 {
	s := f.Stats()
	return s.Programs + s.Erases
}

// cuts are the ways to cut one command, with seeds for the random ones.
func cuts(kind flashmodel.OpKind, n uint32, seeds uint64) []flashmodel.Cut {
	out := []flashmodel.Cut{{Mode: flashmodel.CutNotStarted}, {Mode: flashmodel.CutDone}}
	if kind == flashmodel.OpErase {
		out = append(out, flashmodel.Cut{Mode: flashmodel.CutEraseZeroed})
	} else {
		for _, keep := range []uint32{1, 4, n / 2, n - 4, n - 1} {
			out = append(out, flashmodel.Cut{Mode: flashmodel.CutPrefix, Keep: keep})
		}
	}
	for seed := range seeds {
		if kind == flashmodel.OpErase {
			out = append(out, flashmodel.Cut{Mode: flashmodel.CutEraseNoise, Seed: seed}, flashmodel.Cut{Mode: flashmodel.CutEraseLooksDone, Seed: seed})
		} else {
			out = append(out, flashmodel.Cut{Mode: flashmodel.CutSubset, Seed: seed})
		}
	}
	return out
}

// sweep is one start state with one kind of firmware.
type sweep struct {
	t        *testing.T
	target   string
	old, img []byte // what may run: the image that runs first, and the new one
	oldAt    string
	stride   uint64 // of data commands
	seeds    uint64 // for commands on otadata; fewer for the others
	points   int
	seen     map[string]map[string]bool // outcome: in which steps
}

// reference is what a boot does from a state without any cut.
type reference struct {
	boot    string
	records [2]otadata.Entry
}

func (s *sweep) reference(from *board) reference {
	b := from.fork()
	v := b.boot()
	return reference{v.Boot, [2]otadata.Entry{b.record(0), b.record(1)}}
}

// stage is a step with the chip before it and after it.
type stage struct {
	sweepStep
	before        *board
	intended      [2]otadata.Entry // records after the step
	asBefore, end reference
}

func (s *sweep) run(b *board, steps []sweepStep) {
	for _, step := range steps {
		after := b.fork()
		step.run(after)
		st := &stage{step, b, [2]otadata.Entry{after.record(0), after.record(1)}, s.reference(b), s.reference(after)}
		n, stride := commands(after.flash)-commands(b.flash), uint64(1)
		if step.data {
			stride = s.stride
		}
		for k := uint64(0); k < n; k += stride {
			s.command(st, k)
		}
		b = after
	}
}

// command cuts the k-th command of a step in every way.
func (s *sweep) command(st *stage, k uint64) {
	probe := &sweepCutter{k: k, cut: flashmodel.Cut{Mode: flashmodel.CutNotStarted}}
	b := st.before.fork()
	b.flash.SetInjector(probe)
	require.True(s.t, flashmodel.LosesPower(func() { st.run(b) }))
	seeds := min(s.seeds, 8)
	if inOTAData(probe.op) {
		seeds = s.seeds
	}
	for _, cut := range cuts(probe.op.Kind, probe.op.Len, seeds) {
		b := st.before.fork()
		c := &sweepCutter{k: k, cut: cut}
		b.flash.SetInjector(c)
		where := fmt.Sprintf("%s %s, command %d (%s 0x%x+%d), %s seed %d", b.cfg.Kind, st.name, k, probe.op.Kind, probe.op.Addr, probe.op.Len, cut.Mode, cut.Seed)
		require.True(s.t, flashmodel.LosesPower(func() { st.run(b) }), where)
		b.flash.SetInjector(nil)
		s.recover(st, b, where, inOTAData(c.op) || k%16 == 0)
	}
	if inOTAData(probe.op) && probe.op.Kind == flashmodel.OpProgram {
		s.tornStates(st, k, probe.op)
	}
}

func inOTAData(op flashmodel.Op) bool { return op.Addr >= otadataAt && op.Addr < otadataAt+0x2000 }

// tornStates are the cuts of a record's program in which everything but some
// bits of the state was programmed: too rare for seeds, too important to miss.
func (s *sweep) tornStates(st *stage, k uint64, op flashmodel.Op) {
	for _, left := range []uint32{1, 2, 3, 4, 5, 6, 7, 8, 0x100, 0x80000000, 0xFFFF0000, 0xFFFFFFFF} {
		b := st.before.fork()
		c := &sweepCutter{k: k, cut: flashmodel.Cut{Mode: flashmodel.CutDone}}
		b.flash.SetInjector(c)
		require.True(s.t, flashmodel.LosesPower(func() { st.run(b) }))
		b.flash.SetInjector(nil)
		i := int(op.Addr-otadataAt) / otadata.SectorSize
		e := b.record(i)
		e.State |= otadata.ImageState(left)
		raw := e.Encode()
		require.NoError(s.t, b.flash.Load(op.Addr, raw[:]))
		s.recover(st, b, fmt.Sprintf("%s %s, state torn to %s", b.cfg.Kind, st.name, e.State), true)
	}
}

// recover boots after a cut, judges, and finishes the update from there.
func (s *sweep) recover(st *stage, b *board, where string, finish bool) {
	s.points++
	torn := [2]otadata.Entry{b.record(0), b.record(1)}
	_, steady := b.flash.Key(otadataAt, 0x2000)
	v := b.boot()
	require.Equal(s.t, bootloader.Started, v.End, where)
	s.startsWell(b, v, where)
	if name := s.judge(st, b, v, torn, steady); name != "" {
		require.Contains(s.t, knownOutcomes, name, where)
		if s.seen[name] == nil {
			s.seen[name] = map[string]bool{}
		}
		s.seen[name][fmt.Sprintf("%s: %s", b.cfg.Kind, st.name)] = true
	}
	if finish {
		s.finish(b, where)
	}
}

func (s *sweep) slot(b *board, label string, n int) []byte {
	raw := make([]byte, n)
	require.NoError(b.t, b.flash.Read(b.part(label).Offset, raw))
	return raw
}

// startsWell checks the started image without the bootloader's code: it is one
// of the two, whole, and verifies.
func (s *sweep) startsWell(b *board, v bootloader.Verdict, where string) {
	want := s.old
	if v.Boot == s.target {
		want = s.img
	}
	require.Contains(s.t, []string{s.oldAt, s.target}, v.Boot, where)
	require.True(s.t, bytes.Equal(want, s.slot(b, v.Boot, len(want))), "%s: %s does not hold its image", where, v.Boot)
	_, err := image.Verify(b.flash, v.Part.Offset, v.Part.Size, b.cfg.Image)
	require.Equal(s.t, image.OK, err, where)
}

// judge names what the boot did if it is neither what a boot before the step
// nor what a boot after it does.
func (s *sweep) judge(st *stage, b *board, v bootloader.Verdict, torn [2]otadata.Entry, steady bool) string {
	got := reference{v.Boot, [2]otadata.Entry{b.record(0), b.record(1)}}
	switch {
	case got == st.asBefore || got == st.end:
		return ""
	case !steady:
		return "marginal record"
	}
	k := -1
	for i := range torn {
		if torn[i] != st.before.record(i) && torn[i] != st.intended[i] {
			k = i
		}
	}
	if k < 0 {
		return "no record is torn"
	}
	e, aim := torn[k], st.intended[k].State
	back := v.Boot != s.target
	switch {
	case e.Initial() && aim == otadata.Valid && back:
		return "confirmed image forgotten"
	case e.Initial():
		return "record lost"
	case e.Unusable():
		return "refused by chance"
	case aim == otadata.Aborted && !back:
		return "refused image returns"
	case aim == otadata.Valid || aim == otadata.Aborted:
		return "state without a name"
	case e.State == otadata.PendingVerify:
		return "trial ends at once"
	case e.State == otadata.Valid:
		return "confirmed by chance"
	}
	return "trial skipped"
}

// finish completes the update from wherever the device is, and checks that the
// new image ends up running and confirmed.
func (s *sweep) finish(b *board, where string) {
	for range 4 {
		running, err := b.ops.Running()
		require.Equal(s.t, OK, err, where)
		if running.Label == s.target {
			require.Equal(s.t, OK, markValid(b), where)
			require.Equal(s.t, bootloader.Started, b.boot().End, where)
			running, _ = b.ops.Running()
			require.Equal(s.t, s.target, running.Label, where)
			return
		}
		h, err := b.ops.Begin(b.part(s.target), SizeUnknown)
		require.Equal(s.t, OK, err, where)
		require.Equal(s.t, OK, b.ops.Write(h, s.img), where)
		require.Equal(s.t, OK, b.ops.End(h), where)
		require.Equal(s.t, OK, b.ops.SetBoot(b.part(s.target)), where)
		require.Equal(s.t, bootloader.Started, b.boot().End, where)
	}
	s.t.Fatalf("%s: the update does not come to an end", where)
}

func TestPowerCutSweep(t *testing.T) {
	size, stride, seeds := uint32(0x4000), uint64(97), uint64(12)
	if os.Getenv("OTASIM_LONG") != "" {
		size, stride, seeds = 0x10000, 1, 256
	}
	img := buildImage(t, "new", size)
	seen := map[string]map[string]bool{}
	points, began := 0, time.Now()
	for _, kind := range []bootloader.Kind{bootloader.AFR2022, bootloader.IDF55, bootloader.IDF60, bootloader.AFR2018} {
		for _, c := range []struct {
			name    string
			factory bool
			e       []otadata.Entry
			old     string
			target  string
		}{
			{"second update", false, []otadata.Entry{otadata.Make(3, otadata.Valid), otadata.Make(2, otadata.Valid)}, "ota_0", "ota_1"},
			{"update after a first boot", false, []otadata.Entry{otadata.Make(1, otadata.Valid)}, "ota_0", "ota_1"},
			{"update back to ota_0", false, []otadata.Entry{otadata.Empty(), otadata.Make(2, otadata.Valid)}, "ota_1", "ota_0"},
			{"first update from factory", true, nil, "factory", "ota_0"},
		} {
			t.Run(fmt.Sprintf("%s/%s", kind, c.name), func(t *testing.T) {
				b := newBoard(t, kind)
				if c.factory {
					b = newBoard(t, kind, factoryRow)
				}
				b.records(c.e...)
				old := buildImage(t, "old "+c.old, 0x4000)
				require.Equal(t, c.old, b.boot().Boot)
				s := &sweep{t: t, target: c.target, oldAt: c.old, old: old, img: img, stride: stride, seeds: seeds, seen: seen}
				s.run(b.fork(), updateSteps(img, c.target, true))
				s.run(b, updateSteps(img, c.target, false))
				points += s.points
			})
		}
	}
	t.Logf("%d power cuts, %.0f/s with recovery", points, float64(points)/time.Since(began).Seconds())
	var names []string
	for name := range seen {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		var where []string
		for w := range seen[name] {
			where = append(where, w)
		}
		slices.Sort(where)
		t.Logf("%s (%s)\n\t%s", name, knownOutcomes[name], strings.Join(where, "\n\t"))
	}
}
