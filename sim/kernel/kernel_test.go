package kernel

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// twin is the dumb queue the radix heap is held against.
type twin []Event[int]

func (t twin) Len() int           { return len(t) }
func (t twin) Less(i, j int) bool { return t[i].before(&t[j]) }
func (t twin) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }
func (t *twin) Push(x any)        { *t = append(*t, x.(Event[int])) }
func (t *twin) Pop() any {
	old := *t
	x := old[len(old)-1]
	*t = old[:len(old)-1]
	return x
}

func TestQueueAgainstHeap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue[int]
		var h twin
		var seq uint32
		floor := int64(0) // nothing may be pushed before the last limit asked for
		for range rapid.IntRange(1, 300).Draw(t, "ops") {
			if rapid.Bool().Draw(t, "push") {
				at := floor + rapid.SampledFrom([]int64{0, 0, 1, 2, 7, 63, 64, 1000, 1 << 20, 1 << 40}).Draw(t, "delta")
				e := Event[int]{At: at, Src: int32(rapid.IntRange(0, 3).Draw(t, "src")), Seq: seq, Msg: int(seq)}
				seq++
				q.push(e)
				heap.Push(&h, e)
				continue
			}
			limit := floor + rapid.SampledFrom([]int64{0, 1, 3, 100, 1 << 21, 1 << 41}).Draw(t, "limit")
			for {
				var got Event[int]
				ok := q.pop(limit, &got)
				if want := len(h) > 0 && h[0].At < limit; want != ok {
					t.Fatalf("pop below %d: %v, want %v", limit, ok, want)
				}
				if !ok {
					break
				}
				if want := heap.Pop(&h).(Event[int]); want != got {
					t.Fatalf("pop: %+v, want %+v", got, want)
				}
			}
			floor = max(floor, limit)
			if len(h) > 0 && q.next() != h[0].At || len(h) == 0 && q.next() != noEvent {
				t.Fatalf("next %d", q.next())
			}
		}
	})
}

// storm is a world in which every actor talks to others, to itself and to one
// busy actor; its digest depends on the order in which each actor sees events.
func storm(actors, workers int, until time.Duration) (string, uint64) {
	const lookahead = 5 * time.Millisecond
	type state struct {
		h uint64
		r *rand.Rand
	}
	st := make([]state, actors)
	for i := range st {
		st[i].r = rand.New(rand.NewPCG(1, uint64(i)))
	}
	k := New(Config[uint64]{Actors: actors, Workers: workers, Lookahead: lookahead, Handle: func(s *Shard[uint64], e *Event[uint64]) {
		a := &st[e.Dst]
		a.h = a.h*1099511628211 ^ uint64(e.At) ^ uint64(e.Src)<<40 ^ e.Msg
		if e.Msg > 6 {
			return
		}
		n := time.Duration(a.r.IntN(3)) * time.Millisecond
		s.Send(e.Dst, s.Now()+n, e.Msg+1) // a timer, perhaps at once
		s.Send(int32(a.r.IntN(actors)), s.Now()+lookahead+n, e.Msg+1)
		s.Send(0, s.Now()+lookahead+n, e.Msg+2)
	}})
	for i := range actors {
		k.Post(int32(i), int32(i), time.Duration(i%7)*time.Millisecond, 0)
	}
	k.Run(until)
	sum := fnv.New64()
	for i := range st {
		fmt.Fprintf(sum, "%d %x\n", i, st[i].h)
	}
	return fmt.Sprintf("%x", sum.Sum(nil)), k.Events()
}

func TestSameOrderForAnyWorkers(t *testing.T) {
	want, n := storm(60, 1, time.Minute)
	require.Greater(t, n, uint64(10_000))
	for workers := 2; workers <= 5; workers++ {
		got, m := storm(60, workers, time.Minute)
		require.Equal(t, want, got, "%d workers", workers)
		require.Equal(t, n, m)
	}
	other, _ := storm(61, 2, time.Minute)
	require.NotEqual(t, want, other)
}

func TestRunStopsAtUntilAndGoesOn(t *testing.T) {
	var seen []int64
	k := New(Config[int]{Actors: 1, Handle: func(s *Shard[int], e *Event[int]) {
		seen = append(seen, e.At)
		s.Send(0, s.Now()+time.Second, 0)
	}})
	k.Post(0, 0, 0, 0)
	require.False(t, k.Run(3*time.Second))
	require.Len(t, seen, 3)
	require.False(t, k.Run(5*time.Second))
	require.Len(t, seen, 5)
}

func TestSendIntoTheEpochPanics(t *testing.T) {
	for _, workers := range []int{1, 2} {
		k := New(Config[int]{Actors: 200, Workers: workers, Lookahead: time.Millisecond, Handle: func(s *Shard[int], e *Event[int]) {
			if e.Msg == 1 && e.Dst == 101 {
				s.Send(0, s.Now(), 0)
			}
			if e.Msg == 0 {
				s.Send(e.Dst, s.Now()+time.Second, 1)
			}
		}})
		for i := range 200 {
			k.Post(int32(i), int32(i), 0, 0)
		}
		require.Panics(t, func() { k.Run(time.Minute) })
	}
}

// BenchmarkHold is the hold model: every event schedules one more.
func BenchmarkHold(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("actors=%d", n), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			left := b.N
			k := New(Config[[56]byte]{Actors: n, Lookahead: 5 * time.Millisecond, Handle: func(s *Shard[[56]byte], e *Event[[56]byte]) {
				s.Send(e.Dst, s.Now()+time.Duration(r.ExpFloat64()*50e6), e.Msg)
				left--
			}, Barrier: func(time.Duration) bool { return left <= 0 }})
			for i := range n {
				k.Post(int32(i), int32(i), time.Duration(r.ExpFloat64()*50e6), [56]byte{})
			}
			b.ResetTimer()
			k.Run(1 << 60)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// A late wake-up, sent by one that was stopped at the end of the epoch before, ends neither wait.
func TestLateWakeUps(t *testing.T) {
	k := New(Config[int]{Actors: 2, Workers: 2, Handle: func(*Shard[int], *Event[int]) {}})
	k.done, k.wake, k.parked = make(chan struct{}, 1), []chan struct{}{make(chan struct{}, 1)}, make([]atomic.Bool, 1)
	k.pending.Store(1)
	left := make(chan int32, 1)
	go func() { k.await(); left <- k.pending.Load() }()
	wait(t, left, &k.idle)
	require.True(t, k.idle.Swap(false))
	k.done <- struct{}{}
	wait(t, left, &k.idle)
	k.finish()
	require.Zero(t, <-left)

	begun := make(chan int32, 1)
	go func() { k.park(0, 0); begun <- int32(k.epoch.Load()) }()
	wait(t, begun, &k.parked[0])
	require.True(t, k.parked[0].Swap(false))
	k.wake[0] <- struct{}{}
	wait(t, begun, &k.parked[0])
	k.epoch.Add(1)
	require.True(t, k.parked[0].Swap(false))
	k.wake[0] <- struct{}{}
	require.Equal(t, int32(1), <-begun)
}

// wait returns when the other goroutine sleeps; if it went on instead, the test fails.
func wait(t *testing.T, went <-chan int32, asleep *atomic.Bool) {
	t.Helper()
	for !asleep.Load() {
		select {
		case n := <-went:
			require.Fail(t, "went on", "%d", n)
		default:
			runtime.Gosched()
		}
	}
}
