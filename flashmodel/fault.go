package flashmodel

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// FaultKind is a kind of defect of the medium.
type FaultKind uint8

// The values of FaultKind. Faults lie over the cells: lifting one shows the cells as they
// are. Those that act on reads change no cell; those that act on commands change what the
// command does.
const (
	FaultStuck        FaultKind = iota // bits read as Value whatever the cell holds
	FaultBitRot                        // bits read inverted, until their sector is erased
	FaultReadDisturb                   // as FaultBitRot, but only after Reads reads of the sector
	FaultProgramFails                  // program commands do nothing, silently
	FaultEraseFails                    // sectors do not erase, silently
	FaultWornOut                       // erases leave Bits cells of the sector at 0
)

var faultNames = [...]string{"stuck", "bit-rot", "read-disturb", "program-fails", "erase-fails", "worn-out"}

func (k FaultKind) String() string {
	if int(k) < len(faultNames) {
		return faultNames[k]
	}
	return "unknown"
}

// ErrFault is wrapped by errors about a fault that makes no sense.
var ErrFault = errors.New("invalid fault")

// MaxFaultBits is the largest Fault.Bits.
const MaxFaultBits = 1 << 16

// Fault is one defect. Which bits it affects: those of Mask in every byte of the region
// or, if Bits is not 0, so many bits of the region chosen by Seed.
type Fault struct {
	Kind      FaultKind
	Addr, Len uint32 // region in bytes, not empty
	Mask      byte   // FaultStuck, FaultBitRot, FaultReadDisturb
	Bits      uint32 // the same, and per sector for FaultWornOut; at most MaxFaultBits
	Value     byte   // FaultStuck: what the affected bits of a byte read as
	Reads     uint32 // FaultReadDisturb
	OneIn     uint32 // FaultProgramFails, FaultEraseFails: one command (sector) in so many, by Seed; 0 means every
	Seed      uint64
}

// FaultID names a fault of one chip.
type FaultID uint32

// fault is a Fault on a chip.
type fault struct {
	Fault
	id     FaultID
	chosen []faultBit        // by address; nil: Mask
	healed map[uint32]bool   // sectors erased since
	reads  map[uint32]uint32 // by sector, since its last erase
	hits   uint32            // times it changed an answer or what a command did
}

type faultBit struct {
	addr uint32
	mask byte
}

// AddFault puts a fault over the cells.
func (f *Flash) AddFault(x Fault) (FaultID, error) {
	reads := x.Kind == FaultStuck || x.Kind == FaultBitRot || x.Kind == FaultReadDisturb
	switch {
	case x.Kind > FaultWornOut:
		return 0, fmt.Errorf("flash: %w: unknown kind %d", ErrFault, x.Kind)
	case x.Len == 0 || uint64(x.Addr)+uint64(x.Len) > uint64(f.chip.Size):
		return 0, fmt.Errorf("flash: %w: %s: %d bytes at 0x%x do not fit", ErrFault, x.Kind, x.Len, x.Addr)
	case x.Bits > MaxFaultBits:
		return 0, fmt.Errorf("flash: %w: %s: %d bits", ErrFault, x.Kind, x.Bits)
	case x.Bits == 0 && (reads && x.Mask == 0 || x.Kind == FaultWornOut):
		return 0, fmt.Errorf("flash: %w: %s affects no bit", ErrFault, x.Kind)
	}
	n := &fault{Fault: x, healed: map[uint32]bool{}, reads: map[uint32]uint32{}}
	if reads && x.Bits > 0 {
		n.chosen = chooseBits(x)
	}
	e := f.extras()
	e.lastID++
	n.id = e.lastID
	e.faults = append(e.faults, n)
	f.recheck()
	return n.id, nil
}

// FaultHits is how often a fault has changed what a read answered or what a command did.
func (f *Flash) FaultHits(id FaultID) uint32 {
	if f.extra == nil {
		return 0
	}
	for _, x := range f.extra.faults {
		if x.id == id {
			return x.hits
		}
	}
	return 0
}

// LiftFault takes a fault away and reports whether it was there.
func (f *Flash) LiftFault(id FaultID) bool {
	if f.extra == nil {
		return false
	}
	n := len(f.extra.faults)
	f.extra.faults = slices.DeleteFunc(f.extra.faults, func(x *fault) bool { return x.id == id })
	f.recheck()
	return len(f.extra.faults) < n
}

func chooseBits(x Fault) []faultBit {
	var chosen []faultBit
	for i := range uint64(x.Bits) {
		at := mix(x.Seed+i) % (uint64(x.Len) * 8)
		chosen = append(chosen, faultBit{x.Addr + uint32(at/8), 1 << (at % 8)})
	}
	slices.SortFunc(chosen, func(a, b faultBit) int { return int(a.addr) - int(b.addr) })
	merged := chosen[:0]
	for _, b := range chosen {
		if n := len(merged); n > 0 && merged[n-1].addr == b.addr {
			merged[n-1].mask |= b.mask
		} else {
			merged = append(merged, b)
		}
	}
	return merged
}

func (x *fault) clone() *fault {
	c := *x
	c.healed, c.reads = maps.Clone(x.healed), maps.Clone(x.reads)
	return &c
}

// overlap is the part of [addr, addr+n) inside the region.
func (x *Fault) overlap(addr, n uint32) (lo, hi uint32) {
	return max(addr, x.Addr), min(addr+n, x.Addr+x.Len)
}

// touches reports whether the fault can change what a read of [addr, addr+n) answers.
func (x *fault) touches(addr, n uint32) bool {
	lo, hi := x.overlap(addr, n)
	return lo < hi && x.Kind <= FaultReadDisturb
}

// disturb turns the cells of one sector into what a read answers.
func (f *Flash) disturb(addr uint32, dst []byte) {
	e := f.extra
	if i, found := f.searchUnstable(addr / SectorSize); found {
		e.unstable[i].waver(addr, dst)
	}
	for _, x := range e.faults {
		x.read(addr, dst, e.observed)
	}
}

// Observe runs fn, whose reads answer as the chip would but leave no trace in it: they
// neither count as reads that disturb nor for FaultHits.
func (f *Flash) Observe(fn func()) {
	if f.extra == nil {
		fn()
		return
	}
	f.extra.observed = true
	defer func() { f.extra.observed = false }()
	fn()
}

// read applies the fault to a read within one sector.
func (x *fault) read(addr uint32, dst []byte, observed bool) {
	n := uint32(len(dst))
	lo, hi := x.overlap(addr, n)
	if lo >= hi || x.Kind > FaultReadDisturb {
		return
	}
	sector := addr / SectorSize
	switch x.Kind {
	case FaultBitRot:
		if x.healed[sector] {
			return
		}
	case FaultReadDisturb:
		if x.reads[sector] < x.Reads {
			if !observed {
				x.reads[sector]++
			}
			return
		}
	}
	if observed {
		defer func(hits uint32) { x.hits = hits }(x.hits)
	}
	if x.chosen == nil {
		for a := lo; a < hi; a++ {
			x.apply(&dst[a-addr], x.Mask)
		}
		return
	}
	i, _ := slices.BinarySearchFunc(x.chosen, lo, func(b faultBit, a uint32) int { return int(b.addr) - int(a) })
	for ; i < len(x.chosen) && x.chosen[i].addr < hi; i++ {
		x.apply(&dst[x.chosen[i].addr-addr], x.chosen[i].mask)
	}
}

func (x *fault) apply(b *byte, mask byte) {
	old := *b
	if x.Kind == FaultStuck {
		*b = *b&^mask | x.Value&mask
	} else {
		*b ^= mask
	}
	x.hit(*b != old)
}

func (x *fault) hit(changed bool) {
	if changed && x.hits < ^uint32(0) {
		x.hits++
	}
}

// heal is what an erase of the sector does for the fault.
func (x *fault) heal(sector uint32) {
	switch x.Kind {
	case FaultBitRot:
		if lo, hi := x.overlap(sector*SectorSize, SectorSize); lo < hi {
			x.healed[sector] = true
		}
	case FaultReadDisturb:
		delete(x.reads, sector)
	}
}

// strikes reports whether a command fault hits the command, or one sector of an erase.
func (x *fault) strikes(op Op, salt uint32) bool {
	return x.OneIn <= 1 || mix(mix(x.Seed+op.Index)+uint64(salt))%uint64(x.OneIn) == 0
}

// failProgram takes the effect from the bytes of src that a fault swallows.
func (f *Flash) failProgram(op Op, src []byte) {
	if f.extra == nil {
		return
	}
	for _, x := range f.extra.faults {
		lo, hi := x.overlap(op.Addr, uint32(len(src)))
		if x.Kind == FaultProgramFails && lo < hi && x.strikes(op, 0) {
			x.hit(true)
			fill(src[lo-op.Addr : hi-op.Addr])
		}
	}
}

// eraseFails reports whether a fault keeps a sector from being erased.
func (f *Flash) eraseFails(op Op, sector uint32) bool {
	if f.extra == nil {
		return false
	}
	for _, x := range f.extra.faults {
		lo, hi := x.overlap(sector*SectorSize, SectorSize)
		if x.Kind == FaultEraseFails && lo < hi && x.strikes(op, sector) {
			x.hit(true)
			return true
		}
	}
	return false
}

// wornFault leaves what sectors under FaultWornOut keep of an erase.
func (f *Flash) wornFault(sector uint32) {
	if f.extra == nil {
		return
	}
	for _, x := range f.extra.faults {
		lo, hi := x.overlap(sector*SectorSize, SectorSize)
		if x.Kind == FaultWornOut && lo < hi {
			x.hit(true)
			f.leave(sector, x.Bits, x.Seed)
		}
	}
}

// wearOut leaves what a sector past its endurance keeps of an erase: one more cell at 0
// for every hundredth of the rated life.
func (f *Flash) wearOut(sector uint32) {
	cycles, rated := f.own.wear.at(sector), f.chip.Endurance
	if cycles <= rated {
		return
	}
	bits := 1 + uint64(cycles-rated)*100/uint64(max(rated, 1))
	f.leave(sector, uint32(min(bits, MaxFaultBits)), f.seed)
}

// leave puts bits cells of a sector to 0, always the same ones for a seed.
func (f *Flash) leave(sector, bits uint32, seed uint64) {
	var buf [SectorSize]byte
	fill(buf[:])
	seed = mix(mix(seed) + uint64(sector))
	for i := range uint64(bits) {
		at := mix(seed+i) % (SectorSize * 8)
		buf[at/8] &^= 1 << (at % 8)
	}
	f.and(sector, 0, buf[:], false)
}
