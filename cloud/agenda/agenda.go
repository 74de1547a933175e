// Package agenda keeps what a service has to do later, in one total order:
// by due time, and by the order of planning among equal times.
//
// It is a binary heap whose entries know their place, so planning, moving and
// dropping an entry cost O(log n), and looking at the next due time costs
// nothing. Times are unix nanoseconds of virtual time.
package agenda

// An Entry is one planned action. It lives inside the object it concerns and
// may be planned again and again. The zero value with Run set is ready.
type Entry struct {
	Run   func(now int64)
	due   int64
	seq   uint64
	index int // place in the heap plus one; 0 = not planned
}

// Planned reports whether the entry waits for its time.
func (e *Entry) Planned() bool { return e.index > 0 }

// Due is the time of a planned entry.
func (e *Entry) Due() int64 { return e.due }

// An Agenda is the heap. The zero value is empty and ready.
type Agenda struct {
	heap []*Entry
	seq  uint64
}

// Plan sets the entry's time. An entry that was planned before moves, and goes
// behind all others of the same time.
func (a *Agenda) Plan(e *Entry, due int64) {
	a.seq++
	e.due, e.seq = due, a.seq
	if e.index == 0 {
		a.heap = append(a.heap, e)
		e.index = len(a.heap)
		a.up(e.index - 1)
		return
	}
	a.fix(e.index - 1)
}

// Drop removes a planned entry; others are left alone.
func (a *Agenda) Drop(e *Entry) {
	if e.index == 0 {
		return
	}
	i, last := e.index-1, len(a.heap)-1
	a.swap(i, last)
	a.heap[last] = nil
	a.heap = a.heap[:last]
	e.index = 0
	if i < last {
		a.fix(i)
	}
}

// Next is the earliest due time.
func (a *Agenda) Next() (due int64, ok bool) {
	if len(a.heap) == 0 {
		return 0, false
	}
	return a.heap[0].due, true
}

// Len is the number of planned entries.
func (a *Agenda) Len() int { return len(a.heap) }

// Run performs everything that is due at now, including what these actions
// plan for now or earlier, and says how many actions that were.
func (a *Agenda) Run(now int64) (n int) {
	for len(a.heap) > 0 && a.heap[0].due <= now {
		e := a.heap[0]
		a.Drop(e)
		e.Run(now)
		n++
	}
	return n
}

func (a *Agenda) less(i, j int) bool {
	x, y := a.heap[i], a.heap[j]
	return x.due < y.due || x.due == y.due && x.seq < y.seq
}

func (a *Agenda) swap(i, j int) {
	h := a.heap
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i+1, j+1
}

func (a *Agenda) fix(i int) {
	if !a.down(i) {
		a.up(i)
	}
}

func (a *Agenda) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !a.less(i, parent) {
			return
		}
		a.swap(i, parent)
		i = parent
	}
}

func (a *Agenda) down(i int) bool {
	start := i
	for {
		c := 2*i + 1
		if c >= len(a.heap) {
			break
		}
		if c+1 < len(a.heap) && a.less(c+1, c) {
			c++
		}
		if !a.less(c, i) {
			break
		}
		a.swap(i, c)
		i = c
	}
	return i > start
}
