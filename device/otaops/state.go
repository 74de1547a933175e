package otaops

// Handle names an update in progress: 1, 2, ... since the boot; 0 is never
// one.
type Handle uint32

// State is the RAM of the interface: the open handles. A copy is independent.
type State struct {
	last  Handle
	first [2]update // the usual case; a free place has handle 0
	more  []update  // never changed in place
}

// update is one open handle.
type update struct {
	handle  Handle
	staging int16 // index in the table: where the image is written
	final   int16 // what it is meant for
	copying bool  // end copies staging to final
	lazy    bool  // sectors are erased as the writes reach them
	resumed bool
	partial uint8 // bytes of an unfinished 16-byte unit, flash encryption only
	unit    [16]byte
	wrote   uint32
}

// open adds an update and numbers it.
func (s *State) open(u update) Handle {
	s.last++
	u.handle = s.last
	for i := range s.first {
		if s.first[i].handle == 0 {
			s.first[i] = u
			return u.handle
		}
	}
	s.more = append(s.more[:len(s.more):len(s.more)], u)
	return u.handle
}

// find copies the update of a handle.
func (s *State) find(h Handle) (update, bool) {
	if h == 0 {
		return update{}, false
	}
	for _, u := range s.first {
		if u.handle == h {
			return u, true
		}
	}
	for _, u := range s.more {
		if u.handle == h {
			return u, true
		}
	}
	return update{}, false
}

// set stores an update that is open.
func (s *State) set(u update) {
	for i := range s.first {
		if s.first[i].handle == u.handle {
			s.first[i] = u
			return
		}
	}
	more := append([]update(nil), s.more...)
	for i := range more {
		if more[i].handle == u.handle {
			more[i] = u
		}
	}
	s.more = more
}

// close forgets a handle.
func (s *State) close(h Handle) {
	for i := range s.first {
		if s.first[i].handle == h {
			s.first[i] = update{}
			return
		}
	}
	var more []update
	for _, u := range s.more {
		if u.handle != h {
			more = append(more, u)
		}
	}
	s.more = more
}
