// Package otadata is the boot selection record of an ESP32: two 32-byte
// entries, one at the start of each of the two sectors of the otadata
// partition (type data, subtype ota, 0x2000 bytes). The rest of both sectors
// stays erased.
//
//	otadata partition
//	0x0000  +------------------------------+  sector 0
//	        | entry 0, 32 bytes            |
//	0x0020  | FF ...                       |
//	0x1000  +------------------------------+  sector 1
//	        | entry 1, 32 bytes            |
//	0x1020  | FF ...                       |
//	0x2000  +------------------------------+
//
//	entry, little endian
//	 0              4                              24             28           32
//	+--------------+------------------------------+--------------+--------------+
//	| ota_seq      | seq_label (unused, 20 bytes) | ota_state    | crc          |
//	+--------------+------------------------------+--------------+--------------+
//	  FFFFFFFF = empty, else the slot is (ota_seq-1) mod number of slots
//
// The CRC covers the four bytes of ota_seq only, so a damaged state or label
// goes unnoticed.
//
// Sources: espressif/esp-idf
// components/bootloader_support/include/esp_flash_partitions.h and
// components/bootloader_support/src/bootloader_common.c; for the 2018 rules
// aws/amazon-freertos v1.4.2 lib/third_party/mcu_vendor/espressif/esp-idf/
// components/bootloader/subproject/main/bootloader_start.c.
package otadata

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

const (
	EntrySize     = 32     // bytes of one record
	SectorSize    = 0x1000 // distance of the two records
	PartitionSize = 0x2000 // smallest partition the bootloader and the app accept
	EmptySeq      = 0xFFFFFFFF
)

// ImageState is the ota_state word of an entry. A value that has no name here
// behaves like Undefined: bootable, without a trial.
type ImageState uint32

const (
	New           ImageState = 0          // chosen by the app, not started yet
	PendingVerify ImageState = 1          // the bootloader has given it its one trial boot
	Valid         ImageState = 2          // confirmed by the app
	Invalid       ImageState = 3          // the app declared itself bad
	Aborted       ImageState = 4          // the trial boot ended without confirmation
	Undefined     ImageState = 0xFFFFFFFF // written when app rollback is off
)

func (s ImageState) String() string {
	switch s {
	case New:
		return "NEW"
	case PendingVerify:
		return "PENDING_VERIFY"
	case Valid:
		return "VALID"
	case Invalid:
		return "INVALID"
	case Aborted:
		return "ABORTED"
	case Undefined:
		return "UNDEFINED"
	}
	return fmt.Sprintf("0x%08x", uint32(s))
}

// ErrShort reports fewer bytes than one entry needs.
var ErrShort = errors.New("otadata entry is shorter than 32 bytes")

// Entry is one record as it lies in flash.
type Entry struct {
	Seq   uint32
	Label [20]byte
	State ImageState
	CRC   uint32
}

// Empty is the record of an erased sector.
func Empty() Entry {
	e := Entry{Seq: EmptySeq, State: Undefined, CRC: 0xFFFFFFFF}
	for i := range e.Label {
		e.Label[i] = 0xFF
	}
	return e
}

// Make is a record with an erased label and the right CRC.
func Make(seq uint32, state ImageState) Entry {
	e := Empty()
	e.Seq, e.State, e.CRC = seq, state, CRC(seq)
	return e
}

// Decode reads the record at the start of b; bytes after the 32nd are ignored.
// Every pattern of 32 bytes is a record.
func Decode(b []byte) (Entry, error) {
	if len(b) < EntrySize {
		return Entry{}, fmt.Errorf("%d bytes: %w", len(b), ErrShort)
	}
	e := Entry{
		Seq:   binary.LittleEndian.Uint32(b),
		State: ImageState(binary.LittleEndian.Uint32(b[24:])),
		CRC:   binary.LittleEndian.Uint32(b[28:]),
	}
	copy(e.Label[:], b[4:24])
	return e, nil
}

// Encode gives the 32 bytes to program.
func (e Entry) Encode() [EntrySize]byte {
	var b [EntrySize]byte
	binary.LittleEndian.PutUint32(b[:], e.Seq)
	copy(b[4:24], e.Label[:])
	binary.LittleEndian.PutUint32(b[24:], uint32(e.State))
	binary.LittleEndian.PutUint32(b[28:], e.CRC)
	return b
}

// CRC is the checksum of a sequence number: CRC-32 (IEEE, reflected) of its
// four bytes with the start value 0xFFFFFFFF in zlib's terms.
func CRC(seq uint32) uint32 {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], seq)
	return crc32.Update(0xFFFFFFFF, crc32.IEEETable, b[:])
}

// CRCGood reports whether the checksum fits the sequence number.
func (e Entry) CRCGood() bool { return e.CRC == CRC(e.Seq) }

// Unusable reports a record that is empty or was refused (INVALID, ABORTED).
// The CRC plays no part: this is bootloader_common_ota_select_invalid.
func (e Entry) Unusable() bool {
	return e.Seq == EmptySeq || e.State == Invalid || e.State == Aborted
}

// Usable reports a record that may be selected: not unusable and with a good
// CRC (bootloader_common_ota_select_valid).
func (e Entry) Usable() bool { return !e.Unusable() && e.CRCGood() }

// Initial reports a record that was never written: empty or with a bad CRC,
// whatever its state.
func (e Entry) Initial() bool { return e.Seq == EmptySeq || !e.CRCGood() }

// Slot is the index of the OTA slot the record names among n slots. n must not
// be 0.
func (e Entry) Slot(n uint32) uint32 { return (e.Seq - 1) % n }

// Active is the index of the record that decides: of two usable ones the one
// with the higher sequence number, entry 0 in a tie; -1 if none is usable.
func Active(e [2]Entry) int {
	return Select(e, [2]bool{e[0].Usable(), e[1].Usable()})
}

// Select is Active with the caller's idea of which records count.
func Select(e [2]Entry, usable [2]bool) int {
	switch {
	case usable[0] && usable[1]:
		if e[0].Seq >= e[1].Seq {
			return 0
		}
		return 1
	case usable[0]:
		return 0
	case usable[1]:
		return 1
	}
	return -1
}

// SelectLowest is Select for the lower sequence number, entry 0 in a tie.
func SelectLowest(e [2]Entry, usable [2]bool) int {
	if usable[0] && usable[1] && e[1].Seq < e[0].Seq {
		return 1
	}
	return Select([2]Entry{{}, {}}, usable)
}

// NextSeq is the sequence number that esp_rewrite_ota_data picks for the slot
// among n (1 to 16) when the active record has number current: the first of
// b, b+n, b+2n ... that is not below current, where b = (slot+1) mod n. The C
// loop counts in 32 bits and so may pass 2^32; ok is false when it never ends.
func NextSeq(current, slot, n uint32) (seq uint32, ok bool) {
	v := (slot + 1) % n
	// Each pass over the number circle that misses [current, 2^32) starts the
	// next one with another remainder mod n, of which there are at most n.
	for range n + 1 {
		if v >= current {
			return v, true
		}
		steps := (uint64(current) - uint64(v) + uint64(n) - 1) / uint64(n)
		next := uint64(v) + steps*uint64(n)
		v = uint32(next)
		if next < 1<<32 {
			return v, true
		}
	}
	return 0, false
}
