package kernel

import (
	"math"
	"math/bits"
	"slices"
	"sort"
)

// An Event is delivered to actor Dst at virtual time At. Events run in the total
// order (At, Src, Seq); Seq counts what Src has sent, so no two events are equal.
type Event[M any] struct {
	At  int64 // virtual nanoseconds since the world began
	Src int32
	Dst int32
	Seq uint32
	Msg M
}

func (e *Event[M]) before(o *Event[M]) bool {
	if e.At != o.At {
		return e.At < o.At
	}
	if e.Src != o.Src {
		return e.Src < o.Src
	}
	return e.Seq < o.Seq
}

// noEvent is later than every event.
const noEvent = math.MaxInt64

// queue is a radix heap: monotone (nothing is pushed before the time last
// popped), no tuning, 40-60 ns for a push and a pop whatever its size. Bucket b
// holds the events whose time first differs from last in bit b-1; bucket 0 holds
// the events of time last, kept sorted by (Src, Seq).
type queue[M any] struct {
	last   int64
	head   int // of bucket 0
	n      int
	bucket [64][]Event[M]
	min    [64]int64 // earliest time in each bucket above 0 that is not empty
	used   uint64    // bit b: bucket b is not empty
}

func (q *queue[M]) push(e Event[M]) {
	if e.At < q.last {
		panic("kernel: an event in the past")
	}
	q.n++
	b := bits.Len64(uint64(e.At ^ q.last))
	if b == 0 {
		rest := q.bucket[0][q.head:]
		i := sort.Search(len(rest), func(i int) bool { return e.before(&rest[i]) })
		q.bucket[0] = slices.Insert(q.bucket[0], q.head+i, e)
		return
	}
	if q.used&(1<<b) == 0 || e.At < q.min[b] {
		q.min[b] = e.At
	}
	q.used |= 1 << b
	q.bucket[b] = append(q.bucket[b], e)
}

// next is the time of the earliest event, or noEvent.
func (q *queue[M]) next() int64 {
	if q.head < len(q.bucket[0]) {
		return q.last
	}
	if q.used == 0 {
		return noEvent
	}
	return q.min[bits.TrailingZeros64(q.used)]
}

// pop removes the earliest event if it is earlier than limit. Only then may the
// heap's origin move: later pushes may still be as early as limit.
func (q *queue[M]) pop(limit int64, e *Event[M]) bool {
	if q.head == len(q.bucket[0]) && !q.advance(limit) {
		return false
	}
	if q.last >= limit {
		return false
	}
	*e = q.bucket[0][q.head]
	q.bucket[0][q.head] = Event[M]{} // the message may hold memory
	q.head++
	q.n--
	return true
}

// advance moves the origin to the earliest event and spreads its bucket.
func (q *queue[M]) advance(limit int64) bool {
	if q.used == 0 {
		return false
	}
	b := bits.TrailingZeros64(q.used)
	if q.min[b] >= limit {
		return false
	}
	q.last, q.head, q.bucket[0] = q.min[b], 0, q.bucket[0][:0]
	from := q.bucket[b]
	q.used &^= 1 << b
	for i := range from {
		nb := bits.Len64(uint64(from[i].At ^ q.last))
		if nb > 0 {
			if q.used&(1<<nb) == 0 || from[i].At < q.min[nb] {
				q.min[nb] = from[i].At
			}
			q.used |= 1 << nb
		}
		q.bucket[nb] = append(q.bucket[nb], from[i])
	}
	clear(from)
	q.bucket[b] = from[:0]
	if cap(from) > 4096 && q.n < cap(from)/8 {
		q.bucket[b] = nil // a burst is over: give its memory back
	}
	if zero := q.bucket[0]; len(zero) > 1 {
		slices.SortFunc(zero, func(x, y Event[M]) int {
			if x.before(&y) {
				return -1
			}
			return 1
		})
	}
	return true
}
