// Package flashmodel is the SPI NOR flash chip of a device: cells, commands, time,
// wear, power cuts and media faults.
//
//	erased cell       1; a sector after an erase reads FF FF ... FF
//	program           new = old AND data, at most one 256-byte page a command
//	erase             4 KiB sector (20h) or 64 KiB block (D8h), everything back to FF
//
//	chip of 4 MiB     leaf 0           leaf 1        ...  leaf 31       32 ids of 4 bytes
//	leaf, 128 KiB     page 0  page 1   ...                page 31       32 ids, shared in the Store
//	page, 4 KiB       content without its trailing FF bytes             shared in the Store, or private
//
// A chip is 32 leaf ids plus what is its own: the pages that no other chip holds, and
// its wear. Everything else lives once in a Store, found by content, so that a hundred
// thousand devices with the same image hold it once and two regions can be compared by
// comparing ids.
//
// A Store and all chips made from it belong to one goroutine.
//
// The rules of the real drivers (how an operation is sliced into commands) are those of
// esp-idf components/spi_flash and components/bootloader_support/bootloader_flash.
package flashmodel

import (
	"time"
)

// Geometry in bytes. Every supported chip has these.
const (
	SectorSize = 4096  // smallest erase
	BlockSize  = 65536 // large erase
	PageSize   = 256   // a program command never crosses this boundary
)

// Reader is a readable address space of bytes, from 0 to the size of a chip or of a
// partition. A range that does not fit is an error wrapping ErrBounds.
type Reader interface {
	Read(addr uint32, dst []byte) error
}

// NOR is what firmware can do to a chip. Program only clears bits; Erase takes whole
// sectors. Errors are *OpError: they tell of refused calls, never of bad cells.
type NOR interface {
	Reader
	Program(addr uint32, src []byte) error
	Erase(addr, n uint32) error
}

// Flash is one chip. Its zero value is of no use: make it with New or Fork.
type Flash struct {
	st     *Store
	chip   *Chip
	leaves []uint32 // leaf ids; leafPrivate marks an index into extra.leaves

	clock time.Duration
	cutAt time.Duration // 0: power stays
	seed  uint64        // of cuts by time and worn cells

	programs uint64 // commands
	bytes    uint64
	erases   uint32 // commands
	sectors  uint32
	cuts     uint32

	slicing Slicing
	slow    bool // an injector, a fault or an unstable sector: go command by command

	own   *own
	extra *extra
}

// own is what almost every used chip has for itself.
type own struct {
	private []private // by sector
	wear    wear
}

// extra is what few chips have.
type extra struct {
	injector Injector
	faults   []*fault
	lastID   FaultID
	observed bool       // reads are an observer's
	unstable []unstable // by sector
	guards   []Guard
	leaves   []*[leafPages]uint32 // private leaves: the Store was full
}

// New returns an erased chip without wear whose contents live in st.
func New(st *Store, chip *Chip) *Flash {
	return &Flash{st: st, chip: chip, leaves: make([]uint32, (chip.Size+leafSpan-1)/leafSpan)}
}

// Size is the size of the chip in bytes.
func (f *Flash) Size() uint32 { return f.chip.Size }

// Chip is the row of the chip table this chip was made from.
func (f *Flash) Chip() *Chip { return f.chip }

// Clock is the owner's virtual time cursor: every command adds its duration.
func (f *Flash) Clock() time.Duration { return f.clock }

// SetClock moves the cursor, usually forward to the time of the next event.
func (f *Flash) SetClock(t time.Duration) { f.clock = t }

// SetSlicing says how operations become commands from now on.
func (f *Flash) SetSlicing(s Slicing) { f.slicing = s }

// Stats are counters since New, power cuts included. A fork continues its parent's.
type Stats struct {
	Programs        uint64 // program commands, torn ones included
	Erases          uint64 // erase commands, torn ones included
	BytesProgrammed uint64
	SectorsErased   uint64 // a 64 KiB erase counts 16
	PowerCuts       uint64
	MaxWear         uint32 // erase cycles of the most worn sector
}

// Stats returns the counters.
func (f *Flash) Stats() Stats {
	return Stats{
		Programs: f.programs, Erases: uint64(f.erases), BytesProgrammed: f.bytes,
		SectorsErased: uint64(f.sectors), PowerCuts: uint64(f.cuts), MaxWear: f.MaxWear(),
	}
}

// Commands is the number of program and erase commands so far: cheap enough to ask
// after every step.
func (f *Flash) Commands() uint64 { return f.programs + uint64(f.erases) }

// Read copies len(dst) cells from addr on, as the chip would answer now: through read
// faults and unstable cells. It takes no time: the owner charges what its driver needs.
func (f *Flash) Read(addr uint32, dst []byte) error {
	if uint64(addr)+uint64(len(dst)) > uint64(f.chip.Size) {
		return &OpError{OpRead, addr, uint64(len(dst)), ErrBounds}
	}
	for len(dst) > 0 {
		sector, off := addr/SectorSize, addr%SectorSize
		n := min(uint32(len(dst)), SectorSize-off)
		f.readCells(sector, off, dst[:n])
		if f.slow {
			f.disturb(addr, dst[:n])
		}
		addr, dst = addr+n, dst[n:]
	}
	return nil
}

// readCells copies the cells of one sector as they are.
func (f *Flash) readCells(sector, off uint32, dst []byte) {
	n := 0
	if data := f.content(sector); off < uint32(len(data)) {
		n = copy(dst, data[off:])
	}
	fill(dst[n:])
}

// content is the content of a sector without its trailing FF bytes.
func (f *Flash) content(sector uint32) []byte {
	id := f.pageID(sector)
	if id == pagePrivate {
		return f.own.private[f.own.find(sector)].data
	}
	return f.st.pages[id].data
}

// Load sets cells as a factory programmer does: bytes become what data says, whatever
// they were, without time, wear, command or fault. The bytes are copied, and kept
// where other chips with the same content find them.
func (f *Flash) Load(addr uint32, data []byte) error { return f.load(addr, data, true) }

// LoadOwn is Load for content that hardly another chip has, such as an identity: the
// chip keeps it until a second one turns up.
func (f *Flash) LoadOwn(addr uint32, data []byte) error { return f.load(addr, data, false) }

func (f *Flash) load(addr uint32, data []byte, admit bool) error {
	if uint64(addr)+uint64(len(data)) > uint64(f.chip.Size) {
		return &OpError{OpProgram, addr, uint64(len(data)), ErrBounds}
	}
	buf := f.st.buf[:]
	for len(data) > 0 {
		sector, off := addr/SectorSize, addr%SectorSize
		n := min(uint32(len(data)), SectorSize-off)
		f.readCells(sector, 0, buf)
		copy(buf[off:], data[:n])
		f.settle(sector)
		f.setContent(sector, buf, admit)
		addr, data = addr+n, data[n:]
	}
	return nil
}

// Fork returns an independent chip with the same cells, clock, counters, wear, faults
// and armed power cut, but without an injector. It copies ids, not bytes.
func (f *Flash) Fork() *Flash {
	c := *f
	c.leaves = append(make([]uint32, 0, len(f.leaves)), f.leaves...)
	if f.own != nil {
		c.own = f.own.fork()
	}
	if f.extra != nil {
		c.extra = f.extra.fork()
		c.recheck()
	}
	return &c
}

func (o *own) fork() *own {
	c := &own{wear: append(wear(nil), o.wear...)}
	for i := range o.private {
		o.private[i].borrowed = true // whoever writes next, on either side, copies first
	}
	c.private = append(c.private, o.private...)
	return c
}

func (e *extra) fork() *extra {
	c := *e
	c.injector = nil
	c.faults, c.unstable, c.leaves = nil, append([]unstable(nil), e.unstable...), nil
	for _, x := range e.faults {
		c.faults = append(c.faults, x.clone())
	}
	for _, l := range e.leaves {
		if l != nil {
			own := *l
			l = &own
		}
		c.leaves = append(c.leaves, l)
	}
	return &c
}

// recheck finds out whether commands must be executed one by one.
func (f *Flash) recheck() {
	e := f.extra
	f.slow = e != nil && (e.injector != nil || len(e.faults) > 0 || len(e.unstable) > 0)
}

func (f *Flash) owned() *own {
	if f.own == nil {
		f.own = &own{}
	}
	return f.own
}

func (f *Flash) extras() *extra {
	if f.extra == nil {
		f.extra = &extra{}
	}
	return f.extra
}

// fill erases.
func fill(b []byte) {
	const block = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff" +
		"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
	for n := copy(b, block); n < len(b); n *= 2 {
		copy(b[n:], b[:n])
	}
}
