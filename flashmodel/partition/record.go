// Package partition is the partition table of an ESP32: the 3072 bytes of
// records that the bootloader and the application read from flash, the CSV
// text that people write, and the rules by which each of the three readers
// (generator, bootloader, application) accepts or refuses a table.
//
//	table sector (default 0x8000)
//	0x000  +----------------------------------+
//	       | record 0, 32 bytes               |
//	0x020  | record 1                         |
//	       | ...                              |
//	       | MD5 record (EB EB ...), optional |
//	       | terminator, 32 x FF              |
//	0xC00  +----------------------------------+  at most 96 records in all
//	       | free; 2018: table signature      |
//	0x1000 +----------------------------------+
//
//	record, little endian
//	 0      2     3        4         8         12                    28        32
//	+------+-----+--------+---------+---------+---------------------+---------+
//	|AA 50 |type |subtype | offset  | size    | label (16, NUL pad) | flags   |
//	+------+-----+--------+---------+---------+---------------------+---------+
//
//	MD5 record
//	 0      2                         16                                     32
//	+------+-------------------------+----------------------------------------+
//	|EB EB | FF x 14                 | MD5 of all records before this one     |
//	+------+-------------------------+----------------------------------------+
//
// Sources: espressif/esp-idf components/partition_table/gen_esp32part.py,
// components/bootloader_support/src/flash_partitions.c,
// components/bootloader_support/src/bootloader_utility.c and
// components/esp_partition/partition.c.
package partition

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	RecordSize    = 32
	TableSize     = 0xC00  // bytes of records, terminator and filling
	SectorSize    = 0x1000 // flash that belongs to the table
	MaxRecords    = TableSize / RecordSize
	DefaultOffset = 0x8000
	LabelSize     = 16
)

// Types of a record. 0x40 to 0xFE are free for applications.
const (
	TypeApp            = 0x00
	TypeData           = 0x01
	TypeBootloader     = 0x02
	TypePartitionTable = 0x03
)

// Subtypes that the bootloader or the application treat specially.
const (
	SubtypeFactory   = 0x00 // of app
	SubtypeOTA       = 0x10 // of app: ota_0; ota_15 is 0x1F
	SubtypeTest      = 0x20 // of app
	SubtypeOTAData   = 0x00 // of data
	SubtypePHY       = 0x01 // of data
	SubtypeNVS       = 0x02 // of data
	SubtypeCoredump  = 0x03 // of data
	SubtypeNVSKeys   = 0x04 // of data
	SubtypeEFuse     = 0x05 // of data
	SubtypeUndefined = 0x06 // of data
	SubtypeTEEOTA    = 0x90 // of data
	SubtypePrimary   = 0x00 // of bootloader and partition_table
	SubtypeRecovery  = 0x02 // of bootloader

	MaxOTASlots = 16
)

// Flags of a record; firmware ignores the other bits.
const (
	FlagEncrypted = 1 << 0
	FlagReadOnly  = 1 << 1
)

var (
	recordMagic = [2]byte{0xAA, 0x50}
	md5Magic    = [2]byte{0xEB, 0xEB}
)

// ErrTooLong means that the records and the MD5 record do not leave room for
// a terminator in TableSize bytes.
var ErrTooLong = errors.New("partition table too long")

// Record is one partition. Offset is an absolute flash address. Label has at
// most 16 bytes; longer ones are cut when encoded, as the generator does.
type Record struct {
	Type    uint8
	Subtype uint8
	Offset  uint32
	Size    uint32
	Label   string
	Flags   uint32
}

// Table is the list of records in the order of the table, without MD5 record
// and terminator.
type Table []Record

// DecodeRecord reads the fields of a 32-byte record whatever its magic is.
func DecodeRecord(b *[RecordSize]byte) Record {
	label := b[12:28]
	if i := bytes.IndexByte(label, 0); i >= 0 {
		label = label[:i]
	}
	return Record{
		Type:    b[2],
		Subtype: b[3],
		Offset:  binary.LittleEndian.Uint32(b[4:]),
		Size:    binary.LittleEndian.Uint32(b[8:]),
		Label:   string(label),
		Flags:   binary.LittleEndian.Uint32(b[28:]),
	}
}

// AppendTo appends the 32 bytes of the record to dst.
func (r Record) AppendTo(dst []byte) []byte {
	var b [RecordSize]byte
	copy(b[:], recordMagic[:])
	b[2], b[3] = r.Type, r.Subtype
	binary.LittleEndian.PutUint32(b[4:], r.Offset)
	binary.LittleEndian.PutUint32(b[8:], r.Size)
	copy(b[12:28], r.Label)
	binary.LittleEndian.PutUint32(b[28:], r.Flags)
	return append(dst, b[:]...)
}

// End is the first flash address behind the partition; it may exceed 32 bits.
func (r Record) End() uint64 { return uint64(r.Offset) + uint64(r.Size) }

// OTASlot returns the number of the OTA slot that the record describes.
func (r Record) OTASlot() (slot int, ok bool) {
	if r.Type == TypeApp && r.Subtype&^0x0F == SubtypeOTA {
		return int(r.Subtype & 0x0F), true
	}
	return 0, false
}

// EncryptedBy reports whether the application treats the partition as
// encrypted when flash encryption is on: apps, bootloaders, tables, otadata
// and key partitions always are, others by their flag.
func (r Record) EncryptedBy(flashEncryption bool) bool {
	switch {
	case !flashEncryption:
		return false
	case r.Type == TypeApp, r.Type == TypeBootloader, r.Type == TypePartitionTable:
		return true
	case r.Type == TypeData && (r.Subtype == SubtypeOTAData || r.Subtype == SubtypeTEEOTA || r.Subtype == SubtypeNVSKeys):
		return true
	}
	return r.Flags&FlagEncrypted != 0
}

func (r Record) String() string {
	return fmt.Sprintf("%s %s/%s 0x%x+0x%x", r.Label, TypeName(r.Type), SubtypeName(r.Type, r.Subtype), r.Offset, r.Size)
}

// Encode returns the TableSize bytes of the table: records, MD5 record unless
// withMD5 is false, FF. It checks only that they fit; Verify checks the rest.
func (t Table) Encode(withMD5 bool) ([]byte, error) {
	out := make([]byte, 0, TableSize)
	for _, r := range t {
		out = r.AppendTo(out)
	}
	if withMD5 {
		sum := md5.Sum(out)
		out = append(out, md5Magic[:]...)
		out = append(out, bytes.Repeat([]byte{0xFF}, 14)...)
		out = append(out, sum[:]...)
	}
	if len(out) >= TableSize {
		return nil, fmt.Errorf("%w: %d bytes of at most %d", ErrTooLong, len(out), TableSize-RecordSize)
	}
	return append(out, bytes.Repeat([]byte{0xFF}, TableSize-len(out))...), nil
}

// FindFirst returns the first record of the type and subtype, as the
// application does.
func (t Table) FindFirst(typ, subtype uint8) (Record, bool) {
	for _, r := range t {
		if r.Type == typ && r.Subtype == subtype {
			return r, true
		}
	}
	return Record{}, false
}

// FindLabel returns the first record with the label.
func (t Table) FindLabel(label string) (Record, bool) {
	for _, r := range t {
		if r.Label == label {
			return r, true
		}
	}
	return Record{}, false
}

// AppSlots returns the OTA slots as the application counts them: the first
// ota_0, the first ota_1 and so on until one is missing.
func (t Table) AppSlots() []Record {
	var slots []Record
	for i := range MaxOTASlots {
		r, ok := t.FindFirst(TypeApp, uint8(SubtypeOTA+i))
		if !ok {
			break
		}
		slots = append(slots, r)
	}
	return slots
}
