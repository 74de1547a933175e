// Package kernel runs actors in virtual time, in one total order.
//
// An actor is a number: a device, or the cloud. Its state is touched only while
// one of its events runs, by the shard it belongs to. Shards run in parallel in
// epochs [n*lookahead, (n+1)*lookahead), lookahead being the smallest latency
// between two actors: what one actor sends another inside an epoch can arrive only
// after it. The order (At, Src, Seq) does not mention shards, so the result is the
// same for any number of workers. Epochs begin where the clock says and not where
// the first event is, so what happens between two of them happens at times that an
// event without consequences cannot move; an epoch without events is left out.
//
// The kernel reads no clock, draws no randomness and iterates over no map.
package kernel

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"
)

// Config describes a world of actors.
type Config[M any] struct {
	Actors    int                                 // actors are numbered 0 .. Actors-1
	Workers   int                                 // shards, each run by one goroutine; at least 1
	ShardOf   func(actor int32) int               // 0 .. Workers-1; nil: actor modulo Workers
	Lookahead time.Duration                       // smallest latency between two actors, at least 1 ns
	Handle    func(*Shard[M], *Event[M])          // runs one event; may only touch the state of e.Dst
	Before    func(end time.Duration)             // before an epoch that ends then, alone; nil: nothing
	Barrier   func(end time.Duration) (stop bool) // after an epoch, alone; nil: never stop
	Parallel  bool                                // every epoch on all workers, short ones too; for tests, as it is slower
}

// A Kernel owns the shards of one run.
type Kernel[M any] struct {
	cfg    Config[M]
	shards []*Shard[M]
	seq    []uint32 // per actor: events sent so far
	shard  []uint16 // per actor
	end    int64    // of the running epoch
	events uint64
	lastN  uint64 // events of the previous epoch

	epoch    atomic.Uint64 // raised to start an epoch
	pending  atomic.Int32  // workers still running it
	patience patience      // of the caller of Run
	idle     atomic.Bool   // the caller of Run sleeps until they are done
	done     chan struct{}
	quit     bool
	wake     []chan struct{}
	parked   []atomic.Bool
	failure  atomic.Pointer[any]
}

// A Shard is one worker's part of the world.
type Shard[M any] struct {
	Index int
	k     *Kernel[M]
	q     queue[M]
	out   [][]Event[M] // per target shard
	now   int64
	cur   int32 // actor whose event runs
	count uint64
	_     [64]byte // shards are written by different cores
}

// New makes a kernel with no events.
func New[M any](cfg Config[M]) *Kernel[M] {
	cfg.Workers = max(cfg.Workers, 1)
	cfg.Lookahead = max(cfg.Lookahead, 1)
	k := &Kernel[M]{cfg: cfg, shards: make([]*Shard[M], cfg.Workers)}
	for i := range k.shards {
		k.shards[i] = &Shard[M]{Index: i, k: k, out: make([][]Event[M], cfg.Workers)}
	}
	k.Grow(cfg.Actors)
	return k
}

// Grow makes room for actors up to n, between runs or inside Barrier.
func (k *Kernel[M]) Grow(n int) {
	for a := len(k.seq); a < n; a++ {
		s := a % k.cfg.Workers
		if k.cfg.ShardOf != nil {
			s = k.cfg.ShardOf(int32(a))
		}
		k.seq, k.shard = append(k.seq, 0), append(k.shard, uint16(s))
	}
}

// Shard returns shard i.
func (k *Kernel[M]) Shard(i int) *Shard[M] { return k.shards[i] }

// ShardOf returns the shard that runs an actor.
func (k *Kernel[M]) ShardOf(actor int32) *Shard[M] { return k.shards[k.shard[actor]] }

// Events is the number of events run so far.
func (k *Kernel[M]) Events() uint64 { return k.events }

// Post schedules an event from outside, between runs or inside Barrier, as if
// actor src had sent it.
func (k *Kernel[M]) Post(src, dst int32, at time.Duration, msg M) {
	s := k.ShardOf(dst)
	s.q.push(Event[M]{At: int64(at), Src: src, Dst: dst, Seq: k.seq[src], Msg: msg})
	k.seq[src]++
}

// Now is the time of the event that runs.
func (s *Shard[M]) Now() time.Duration { return time.Duration(s.now) }

// Send schedules an event for dst, sent by the actor whose event runs. To itself
// an actor may send at any time from now on; to another no earlier than
// Now + Lookahead (anything else is a fault of the simulator and panics).
func (s *Shard[M]) Send(dst int32, at time.Duration, msg M) {
	k := s.k
	if dst == s.cur {
		if int64(at) < s.now {
			panic(fmt.Sprintf("kernel: actor %d schedules itself at %v, now is %v", dst, at, s.Now()))
		}
	} else if int64(at) < k.end {
		panic(fmt.Sprintf("kernel: actor %d sends to %d for %v inside the epoch that ends at %v", s.cur, dst, at, time.Duration(k.end)))
	}
	e := Event[M]{At: int64(at), Src: s.cur, Dst: dst, Seq: k.seq[s.cur], Msg: msg}
	k.seq[s.cur]++
	if t := int(k.shard[dst]); t != s.Index {
		s.out[t] = append(s.out[t], e)
		return
	}
	s.q.push(e)
}

// run executes the shard's events of one epoch.
func (s *Shard[M]) run(end int64) {
	var e Event[M]
	for s.q.pop(end, &e) {
		s.now, s.cur = e.At, e.Dst
		s.count++
		s.k.cfg.Handle(s, &e)
	}
}

// Next is the time of the earliest event of all; ok is false when there is none.
func (k *Kernel[M]) Next() (at time.Duration, ok bool) {
	t := int64(noEvent)
	for _, s := range k.shards {
		t = min(t, s.q.next())
	}
	return time.Duration(t), t != noEvent
}

// fewEvents is where an epoch is too short to pay for a second core: the
// measured break-even of the barrier is about 15 events.
const fewEvents = 24

// Run executes epochs until Barrier says stop, no event is left, or the next
// event lies at or after until. It reports whether the world ran dry.
func (k *Kernel[M]) Run(until time.Duration) (dry bool) {
	if k.cfg.Workers > 1 {
		k.start()
		defer k.stop()
	}
	for {
		t, ok := k.Next()
		if !ok {
			return true
		}
		if t >= until {
			return false
		}
		k.end = min((int64(t)/int64(k.cfg.Lookahead)+1)*int64(k.cfg.Lookahead), int64(until))
		if k.cfg.Before != nil {
			k.cfg.Before(time.Duration(k.end))
		}
		before := k.count()
		if k.cfg.Workers == 1 || k.lastN < fewEvents && !k.cfg.Parallel {
			for _, s := range k.shards {
				s.run(k.end)
			}
		} else {
			k.parallel()
		}
		k.events = k.count()
		k.lastN = k.events - before
		for _, from := range k.shards {
			for to, evs := range from.out {
				for i := range evs {
					k.shards[to].q.push(evs[i])
				}
				clear(evs)
				from.out[to] = evs[:0]
			}
		}
		if k.cfg.Barrier != nil && k.cfg.Barrier(time.Duration(k.end)) {
			return false
		}
	}
}

func (k *Kernel[M]) count() (n uint64) {
	for _, s := range k.shards {
		n += s.count
	}
	return n
}

// parallel runs one epoch with every worker; shard 0 runs here.
func (k *Kernel[M]) parallel() {
	k.pending.Store(int32(len(k.shards) - 1))
	k.epoch.Add(1)
	for i := range k.wake {
		if k.parked[i].Swap(false) {
			k.wake[i] <- struct{}{}
		}
	}
	k.runGuarded(k.shards[0])
	k.await()
	if p := k.failure.Load(); p != nil {
		panic(*p)
	}
}

// await returns when every other worker is done with the epoch.
func (k *Kernel[M]) await() {
	if k.patience.spin(func() bool { return k.pending.Load() == 0 }) {
		return
	}
	// A worker that was stopped inside finish at the end of an earlier epoch may wake us for that one.
	for k.pending.Load() > 0 {
		k.idle.Store(true)
		if k.pending.Load() > 0 || !k.idle.Swap(false) {
			<-k.done
		}
	}
}

// finish reports a worker's end of the epoch.
func (k *Kernel[M]) finish() {
	if k.pending.Add(-1) == 0 && k.idle.Swap(false) {
		k.done <- struct{}{}
	}
}

// patience is how often a waiting worker looks before it sleeps. Waking it takes
// longer than most epochs, so it looks for some milliseconds; but where a
// neighbour has taken the core of the one it waits for, looking only makes things
// worse, so each time in vain halves the patience, and with more workers than
// cores there is none.
type patience struct{ looks, least, most int }

func newPatience(workers int) patience {
	if workers > runtime.GOMAXPROCS(0) {
		return patience{}
	}
	return patience{looks: 10_000_000, least: 20_000, most: 10_000_000}
}

// spin looks until it is so, or patience has ended.
func (p *patience) spin(so func() bool) bool {
	for range p.looks {
		if so() {
			p.looks = min(2*p.looks, p.most)
			return true
		}
	}
	p.looks = max(p.looks/2, p.least)
	return false
}

func (k *Kernel[M]) start() {
	n := len(k.shards) - 1
	k.quit, k.done, k.patience = false, make(chan struct{}, 1), newPatience(n+1)
	k.wake, k.parked = make([]chan struct{}, n), make([]atomic.Bool, n)
	for i := range n {
		k.wake[i] = make(chan struct{}, 1)
		go k.work(i, k.epoch.Load())
	}
}

func (k *Kernel[M]) stop() {
	k.quit = true
	k.pending.Store(int32(len(k.wake)))
	k.epoch.Add(1)
	for i := range k.wake {
		if k.parked[i].Swap(false) {
			k.wake[i] <- struct{}{}
		}
	}
	k.await()
}

func (k *Kernel[M]) work(i int, seen uint64) {
	p := newPatience(len(k.shards))
	for {
		if !p.spin(func() bool { return k.epoch.Load() != seen }) {
			k.park(i, seen)
		}
		seen++
		if k.quit {
			k.finish()
			return
		}
		k.runGuarded(k.shards[i+1])
		k.finish()
	}
}

// park returns when an epoch after the one seen has begun. The caller of Run, if it was stopped between raising the epoch and
// looking here, may wake us for one that we have run already.
func (k *Kernel[M]) park(i int, seen uint64) {
	for k.epoch.Load() == seen {
		k.parked[i].Store(true)
		// Raised in between, nobody will wake us.
		if k.epoch.Load() == seen || !k.parked[i].Swap(false) {
			<-k.wake[i]
		}
	}
}

// runGuarded carries a panic of the simulator to the goroutine that called Run.
func (k *Kernel[M]) runGuarded(s *Shard[M]) {
	defer func() {
		if r := recover(); r != nil {
			buf := make([]byte, 16<<10)
			var p any = fmt.Sprintf("%v\n\nworker %d:\n%s", r, s.Index, buf[:runtime.Stack(buf, false)])
			k.failure.CompareAndSwap(nil, &p)
		}
	}()
	s.run(k.end)
}
