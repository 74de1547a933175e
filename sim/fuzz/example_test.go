package fuzz_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/sim/check"
	"github.com/otasim/otasim/sim/fuzz"
)

// twoSlots is a boot loader with an updater. Its records are 16 bytes at the start of two sectors: sequence number, slot,
// state, CRC. The newer good record decides.
//
//	0  sequence   4  slot   8  state: FFFFFFFF trial, 0000FFFF tried, 00000000 confirmed   12  CRC of the first 8
type twoSlots struct {
	hasty bool // writes the record before the image
}

var errNothing = errors.New("no record and no image")

var target = fuzz.Target{
	New:      func() fuzz.Logic { return &twoSlots{} },
	Slots:    []fuzz.Region{{At: 0x10000, Size: 0x10000}, {At: 0x20000, Size: 0x10000}},
	Data:     fuzz.Region{At: 0x8000, Size: 0x2000},
	Rollback: true,
}

type record struct {
	seq, slot, state uint32
	sector           uint32
	good             bool
}

func read(f flashmodel.NOR) (r [2]record) {
	for i := range r {
		var b [16]byte
		r[i].sector = target.Data.At + uint32(i)*flashmodel.SectorSize
		if f.Read(r[i].sector, b[:]) == nil {
			le := binary.LittleEndian
			r[i].seq, r[i].slot, r[i].state = le.Uint32(b[:]), le.Uint32(b[4:]), le.Uint32(b[8:])
			r[i].good = le.Uint32(b[12:]) == crc32.ChecksumIEEE(b[:8]) && r[i].slot < 2
		}
	}
	return r
}

// best is the index of the record that decides, -1 for none.
func best(r [2]record) int {
	n := -1
	for i := range r {
		tried := r[i].state != 0xffffffff && r[i].state != 0 // its trial is over
		if r[i].good && !tried && (n < 0 || r[i].seq > r[n].seq) {
			n = i
		}
	}
	return n
}

func (l *twoSlots) Boot(f flashmodel.NOR) (int, error) {
	r := read(f)
	i := best(r)
	if i < 0 {
		return 0, nil // as it left the factory
	}
	if r[i].state == 0xffffffff { // its trial begins: with these bits it cannot begin again
		if err := f.Program(r[i].sector+8, []byte{0xff, 0xff, 0, 0}); err != nil {
			return 0, err
		}
	}
	return int(r[i].slot), nil
}

func (l *twoSlots) Install(f flashmodel.NOR, running int, blocks fuzz.Blocks) error {
	other := target.Slots[1-running]
	if l.hasty {
		if err := l.choose(f, 1-running); err != nil {
			return err
		}
	}
	if err := f.Erase(other.At, other.Size); err != nil {
		return err
	}
	for i := 0; i*fuzz.BlockSize < blocks.Size(); i++ {
		b, err := blocks.Block(i)
		if err != nil {
			return err
		}
		if err := f.Program(other.At+uint32(i)*fuzz.BlockSize, b); err != nil {
			return err
		}
	}
	return l.choose(f, 1-running)
}

// choose writes the record of a trial into the sector that does not decide.
func (l *twoSlots) choose(f flashmodel.NOR, slot int) error {
	r := read(f)
	at, seq := r[0].sector, uint32(1)
	if i := best(r); i >= 0 {
		at, seq = r[1-i].sector, r[i].seq+1
	}
	for i := range r {
		if r[i].good {
			seq = max(seq, r[i].seq+1)
		}
	}
	if err := f.Erase(at, flashmodel.SectorSize); err != nil {
		return err
	}
	var b [16]byte
	le := binary.LittleEndian
	le.PutUint32(b[:], seq)
	le.PutUint32(b[4:], uint32(slot))
	le.PutUint32(b[8:], 0xffffffff)
	le.PutUint32(b[12:], crc32.ChecksumIEEE(b[:8]))
	return f.Program(at, b[:])
}

func (l *twoSlots) Confirm(f flashmodel.NOR, running int) error {
	r := read(f)
	for i := range r {
		switch {
		case !r[i].good || r[i].slot != uint32(running) || r[i].state == 0xffffffff:
		case r[i].state == 0:
			return nil // confirmed before power failed
		default:
			return f.Program(r[i].sector+8, []byte{0, 0, 0, 0})
		}
	}
	return errNothing
}

// A boot loader that chooses the new image before it is there starts garbage when power fails in between.
func Example() {
	hasty := target
	hasty.New = func() fuzz.Logic { return &twoSlots{hasty: true} }
	hasty.Sweep(func(_ fuzz.Plan, b *check.Breach) bool {
		fmt.Println(b.Invariant)
		return false
	})
	// Output: verified-bytes
}
