package agent

import "math/bits"

// Transfer is what the agent holds of the file in hand, for those who check it.
type Transfer struct {
	Job       string
	File      uint32 // id
	Size      uint32
	Stream    string
	Blocks    uint32
	Remaining uint32
	Wanted    uint32 // bits set
	Stray     bool   // bits behind the last block are set
	Held      bool   // there is a bitmap
	Lowest    uint32 // wanted block, if any
	HTTP      bool
	Guarded   bool // the 2018 agent only pretends to have a file: its image is on trial
	Testing   bool // a self-test is going on
}

// NextIsMessage reports whether what Process handles next is a message, not an event of the agent's own.
func (a *Agent) NextIsMessage() bool {
	if a.cfg.Profile.Task2018 {
		return a.afr.draining && len(a.queue) > 0
	}
	return len(a.queue) > 0 && a.queue[0].data != nil
}

// Transfer describes the file in hand.
func (a *Agent) Transfer() Transfer {
	f := &a.file
	t := Transfer{Job: a.job, File: f.ID, Size: f.Size, Stream: f.Stream.S, Blocks: a.blocks(), Remaining: f.Remaining,
		Held: f.bitmap != nil, HTTP: a.data == dataHTTP, Guarded: a.afr.guard, Testing: a.image == ImageTesting}
	for i := len(f.bitmap) - 1; i >= 0; i-- {
		if b := f.bitmap[i]; b != 0 {
			t.Wanted += uint32(bits.OnesCount8(b))
			t.Lowest = uint32(i*8 + bits.TrailingZeros8(b))
			t.Stray = t.Stray || uint32(i*8+bits.Len8(b)) > t.Blocks
		}
	}
	return t
}

// CloneWith is Clone with a copy of the configuration: the clone does not share it.
func (a *Agent) CloneWith(cfg *Config) Agent {
	c := a.Clone()
	c.cfg = cfg
	return c
}
