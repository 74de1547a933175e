package explore

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/sim"
	"github.com/otasim/otasim/sim/check"
)

func caseOf(t testing.TB, name string, devices int, sets ...string) Case {
	t.Helper()
	path := "../../scenarios/" + name + ".yaml"
	hash, err := FileHash(path)
	require.NoError(t, err)
	return Case{File: path, Hash: hash, Seed: 1, Devices: devices, Sets: sets, Bare: true}
}

// small makes images of 16 KiB out of a scenario's.
var small = []string{"firmware.1.0.0.size=16KiB", "firmware.1.1.0.size=16KiB"}

func search(t testing.TB, c Case, p Plan) *Findings {
	t.Helper()
	f, err := Campaign(t.Context(), c, p)
	require.NoError(t, err)
	return f
}

// TestNothingBreaks searches a small update completely with single cuts: what it finds is a known limit.
func TestNothingBreaks(t *testing.T) {
	f := search(t, caseOf(t, "power-cut", 1, small...), Plan{Only: []string{PartCuts}, Seeds: 2, Workers: 2})
	require.Greater(t, f.Tally.Cases, uint64(4000))
	require.Greater(t, f.Tally.Recoveries, uint64(50))
	require.Zero(t, f.Broken(), f.Failures)
	names := map[string]bool{}
	for _, x := range f.Failures {
		names[x.Known] = true
	}
	require.Equal(t, map[string]bool{"confirmed-but-failed": true, "unnamed-but-failed": true}, names)
	for _, s := range []State{RecordErased, RecordTorn, RecordNoName, SlotPartly, StartsOld, StartsNewOnTrial, CutInLoader, CutInSelfTest, JobFailed, Updated, RolledBack} {
		require.NotZero(t, f.Tally.Coverage[s], s.String())
	}
}

// TestSurvivors holds the shortcut of a sweep, which tears a command on a fork, against whole runs with the same cut.
func TestSurvivors(t *testing.T) {
	c := caseOf(t, "power-cut", 1, small...)
	e, err := New(t.Context(), c)
	require.NoError(t, err)
	type left struct {
		sum     uint32 // of all cells, if they read steadily
		records [2]check.Record
	}
	var acts []Act
	var want []left
	key := func(f *flashmodel.Flash) left {
		sum := uint32(0)
		if _, steady := f.Key(0, f.Size()); steady {
			cells := make([]byte, f.Size())
			require.NoError(t, f.Read(0, cells))
			sum = crc32.ChecksumIEEE(cells)
		}
		return left{sum, check.Records(f, e.boards[0].Otadata)}
	}
	_, err = e.Run(nil, func(p *player) {
		p.command = func(u *unit, op flashmodel.Op) {
			if op.Index%37 != 0 && op.Addr >= 0x20000 {
				return
			}
			for _, cut := range modes(nil, &op, 1, false) {
				tear := tearer{cut}
				s := tear.survivor(u.dev, &op)
				acts = append(acts, Act{Kind: Cut, N: op.Index, Mode: cut.Mode, Keep: cut.Keep, Seed: cut.Seed, By: DefaultOff})
				want = append(want, key(s.Flash()))
			}
		}
	})
	require.NoError(t, err)
	require.Greater(t, len(acts), 60)
	for i, a := range acts {
		seen := false
		_, err := e.Run([]Act{a}, func(p *player) {
			p.stepped = func(u *unit, _ time.Duration, _ *device.Event, lost bool) {
				if lost && !seen {
					seen = true
					got := key(u.dev.Flash())
					require.Equal(t, want[i], got, a.String())
				}
			}
		})
		require.NoError(t, err)
		require.True(t, seen, a.String())
	}
}

// TestWorkers: what a campaign finds does not depend on who does the work.
func TestWorkers(t *testing.T) {
	c := caseOf(t, "power-cut", 1, small...)
	var docs []string
	for _, workers := range []int{1, 3} {
		f := search(t, c, Plan{Seeds: 1, Workers: workers, Swarm: 8, Only: []string{PartCuts, PartSwarm}})
		docs = append(docs, fmt.Sprintf("%+v %+v", f.Tally, f.Failures))
	}
	require.Equal(t, docs[0], docs[1])
}

// TestResume interrupts a campaign again and again; its state file brings it to the same end.
func TestResume(t *testing.T) {
	c := caseOf(t, "power-cut", 1, small...)
	whole := search(t, c, Plan{Seeds: 1, Workers: 1, Only: []string{PartCuts}})
	state := t.TempDir() + "/state.json"
	var last *Findings
	for range 100 {
		ctx, stop := context.WithCancel(t.Context())
		calls := 0
		f, err := Campaign(ctx, c, Plan{Seeds: 1, Workers: 1, Only: []string{PartCuts}, State: state, Progress: func(p Progress) {
			if calls++; calls > 700 {
				stop()
			}
		}})
		stop()
		require.NoError(t, err)
		if last = f; f.Done {
			break
		}
		// As if it had been killed in the middle of a line.
		file, err := os.OpenFile(state, os.O_APPEND|os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = file.WriteString(`{"ID":"cuts/3","Part":"cuts","Tally":{"Ca`)
		require.NoError(t, err)
		require.NoError(t, file.Close())
	}
	require.True(t, last.Done)
	require.Equal(t, whole.Tally, last.Tally)
	require.Equal(t, whole.Failures, last.Failures)
	require.Equal(t, whole.PerPart[PartCuts].Cases, last.PerPart[PartCuts].Cases)
	_, err := Campaign(t.Context(), c, Plan{Seeds: 2, Workers: 1, State: state})
	require.ErrorIs(t, err, ErrPlan)
}

// TestPromises: a campaign that does not get where it must fails, an interrupted one promises nothing.
func TestPromises(t *testing.T) {
	c := caseOf(t, "power-cut", 1, append([]string{"fleet.groups.field.agent=ideal"}, small...)...)
	f := search(t, c, Plan{Only: []string{PartCuts}, Seeds: 2, Workers: 2, Reach: []string{"both records torn"}})
	require.Equal(t, []State{BothTorn}, f.Missed())
	require.Greater(t, len(f.Promised), 20)
	require.NotContains(t, f.Promised, MessageLost)
	require.Empty(t, f.Failures)
	f.Done = false
	require.Empty(t, f.Missed())
	_, err := Campaign(t.Context(), c, Plan{Only: []string{PartSwarm}, Reach: []string{"no such state"}})
	require.ErrorIs(t, err, ErrPlan)
}

// TestTokens replays each of the tokens of a campaign and of drawn cases a hundred times.
func TestTokens(t *testing.T) {
	c := caseOf(t, "power-cut", 1, small...)
	f := search(t, c, Plan{Seeds: 1, Workers: 2, Only: []string{PartCuts}})
	require.NotEmpty(t, f.Failures)
	e, err := New(t.Context(), c)
	require.NoError(t, err)
	ref, err := e.Reference()
	require.NoError(t, err)
	tokens := []string{f.Failures[0].Token}
	k, acts := Draw(c, groupsOf(e), ref, []int{0}, 3)
	one, err := New(t.Context(), k)
	require.NoError(t, err)
	token, err := one.Token(k, acts)
	require.NoError(t, err)
	tokens = append(tokens, token)
	for _, token := range tokens {
		k, err := ParseToken(token)
		require.NoError(t, err)
		acts, err := ParseActs(k.Acts)
		require.NoError(t, err)
		for i := range 100 {
			if i%25 == 0 { // and with nothing remembered
				e, err = New(t.Context(), *k)
				require.NoError(t, err)
			}
			r, err := e.Replay(acts, &Recorder{Console: i%2 == 0})
			require.NoError(t, err)
			require.Equal(t, k.Trace, r.Outcome.TraceHash[:16])
		}
	}
}

// TestTimeline: a reader sees what happened, who sent what, the records before and after, and the invariant that broke.
func TestTimeline(t *testing.T) {
	c := caseOf(t, "power-cut", 1, append([]string{"fleet.groups.field.agent=ota-main"}, small...)...)
	c.Acts = "cut 300 done; drop up 9999"
	r := &Recorder{Flash: true}
	rep, err := c.Replay(t.Context(), r, false)
	require.NoError(t, err)
	var b bytes.Buffer
	r.Print(&b, 0)
	at := 0
	for _, want := range []string{
		"record 0 is seq 1 VALID", "mqtt     cloud -> device  PUBLISH jobs/notify-next  {", "-- slot.erase", "mqtt     device -> cloud  PUBLISH streams/get/cbor",
		"record 1: erased -> seq 2 NEW", "record 1: seq 2 NEW -> seq 2 PENDING_VERIFY", "power fails in flash command 300", "flash    program 0x010000",
		"record 1: seq 2 PENDING_VERIFY -> seq 2 VALID", `PUBLISH jobs/JOB/update  {"status":"FAILED"`, "BREACH   job-truth: fw-1-1-0 is FAILED, but its version 1.1.0 runs",
	} {
		i := strings.Index(b.String()[at:], want)
		require.GreaterOrEqual(t, i, 0, "%s\n%s", want, b.String())
		at += i
	}
	acts, err := ParseActs(c.Acts)
	require.NoError(t, err)
	require.Equal(t, []string{"program of 0x10000+32 after confirm", ""}, rep.Struck(acts))
	require.Equal(t, "confirmed-but-failed", rep.Known(&rep.Found[0]))
}

func BenchmarkSingleCuts(b *testing.B) {
	c := caseOf(b, "power-cut", 1, "firmware.1.0.0.size=1MiB", "firmware.1.1.0.size=1MiB")
	e, err := New(b.Context(), c)
	require.NoError(b, err)
	cases := uint64(0)
	for b.Loop() {
		t, err := e.Sweep(Sweep{Seeds: 3}, nil)
		require.NoError(b, err)
		cases += t.Cases
	}
	b.ReportMetric(float64(cases)/b.Elapsed().Seconds(), "cuts/s")
}

// TestRunAndReplay: the token of a run has the trace of the run, faults and attacks included.
func TestRunAndReplay(t *testing.T) {
	for _, name := range []string{"power-cut", "rollback-attack"} {
		c := caseOf(t, name, 10)
		c.Bare = false
		sc, err := c.Load()
		require.NoError(t, err)
		res, err := sim.Run(t.Context(), sc, sim.Options{Workers: 2})
		require.NoError(t, err)
		rep, err := c.Replay(t.Context(), &Recorder{Flash: true, Console: true}, false)
		require.NoError(t, err)
		require.Equal(t, res.TraceHash, rep.Outcome.TraceHash, name)
	}
}

// BenchmarkDoubleCuts cuts twice over otadata and confirmation of a 1 MiB update, with one worker per core.
func BenchmarkDoubleCuts(b *testing.B) {
	c := caseOf(b, "power-cut", 1, "firmware.1.0.0.size=1MiB", "firmware.1.1.0.size=1MiB")
	cases := uint64(0)
	for b.Loop() {
		cases += search(b, c, Plan{Only: []string{PartDoubles}}).Tally.Cases
	}
	b.ReportMetric(float64(cases)/float64(b.N), "cuts/op")
}

// BenchmarkRecovery runs one cut of each kind of a 1 MiB update to the end of its job.
func BenchmarkRecovery(b *testing.B) {
	c := caseOf(b, "power-cut", 1, "firmware.1.0.0.size=1MiB", "firmware.1.1.0.size=1MiB")
	e, err := New(b.Context(), c)
	require.NoError(b, err)
	t, err := e.Sweep(Sweep{Seeds: 1}, nil)
	require.NoError(b, err)
	works := kindWorks(t.Kinds)
	runs := uint64(0)
	for b.Loop() {
		one, err := works[0].run(e, func(uint64) bool { return true })
		require.NoError(b, err)
		runs += one.Recoveries
	}
	b.ReportMetric(float64(runs)/b.Elapsed().Seconds(), "recoveries/s")
}
