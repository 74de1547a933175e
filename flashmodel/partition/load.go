package partition

import (
	"bytes"
	"crypto/md5"
	"fmt"

	"github.com/otasim/otasim/flashmodel"
)

// Err is a return code of the firmware (esp_err_t).
type Err int32

const (
	OK              Err = 0
	ErrFail         Err = -1    // the flash could not be read
	ErrInvalidState Err = 0x103 // bad magic, MD5 or missing terminator
	ErrInvalidSize  Err = 0x104 // a partition ends beyond the flash
	ErrNotFound     Err = 0x105 // no MD5 record where one is required
)

func (e Err) Error() string {
	switch e {
	case OK:
		return "ESP_OK"
	case ErrFail:
		return "ESP_FAIL"
	case ErrInvalidState:
		return "ESP_ERR_INVALID_STATE"
	case ErrInvalidSize:
		return "ESP_ERR_INVALID_SIZE"
	case ErrNotFound:
		return "ESP_ERR_NOT_FOUND"
	}
	return fmt.Sprintf("esp_err_t 0x%x", uint32(e))
}

// LoadBootloader reads the table as the second-stage bootloader does.
// sizeLimit is the flash size in the header of the bootloader image, which
// need not be the size of the chip.
//
// The MD5 record is optional and covers only what is before it. The walk over
// an accepted table takes as many records as there are partitions, starting at
// the first: a table that goes on behind its MD5 record therefore yields the
// MD5 record as a partition of type and subtype FF and loses its last one.
// offset + size wraps in 32 bits, as in the code.
//
// Source: espressif/esp-idf v5.5 components/bootloader_support/src/
// flash_partitions.c, bootloader_utility.c.
func LoadBootloader(r flashmodel.Reader, tableOffset, sizeLimit uint32) (Table, Err) {
	var raw [TableSize]byte
	if r.Read(tableOffset, raw[:]) != nil {
		return nil, ErrFail
	}
	return walkBootloader(&raw, sizeLimit, true)
}

// LoadBootloader2018 is LoadBootloader by the rules of the bootloader that the
// 2018 Amazon FreeRTOS port carries: an MD5 record is an unknown magic number,
// and a table whose first record is erased is accepted as empty.
//
// Source: aws/amazon-freertos v1.4.2 lib/third_party/mcu_vendor/espressif/
// esp-idf/components/bootloader_support/src/flash_partitions.c.
func LoadBootloader2018(r flashmodel.Reader, tableOffset, sizeLimit uint32) (Table, Err) {
	var raw [TableSize]byte
	if r.Read(tableOffset, raw[:]) != nil {
		return nil, ErrFail
	}
	return walkBootloader(&raw, sizeLimit, false)
}

func walkBootloader(raw *[TableSize]byte, sizeLimit uint32, knowsMD5 bool) (Table, Err) {
	seenMD5 := 0
	for i := range MaxRecords {
		b := (*[RecordSize]byte)(raw[i*RecordSize:])
		switch magic := [2]byte{b[0], b[1]}; {
		case magic == recordMagic:
			r := DecodeRecord(b)
			if r.Offset > sizeLimit || r.Offset+r.Size > sizeLimit {
				return nil, ErrInvalidSize
			}
		case magic == md5Magic && knowsMD5:
			sum := md5.Sum(raw[:i*RecordSize])
			if seenMD5 != 0 || !bytes.Equal(sum[:], b[16:]) {
				return nil, ErrInvalidState
			}
			seenMD5 = 1
		case magic == [2]byte{0xFF, 0xFF} && b[2] == 0xFF && b[3] == 0xFF && (i != 0 || !knowsMD5):
			t := make(Table, i-seenMD5)
			for k := range t {
				t[k] = DecodeRecord((*[RecordSize]byte)(raw[k*RecordSize:]))
			}
			return t, OK
		default:
			return nil, ErrInvalidState
		}
	}
	return nil, ErrInvalidState
}

// LoadApp reads the table as the application does at its first use. It stops
// at the MD5 record, or else at the first record without the partition magic,
// and checks neither sizes nor a terminator. requireMD5 is
// CONFIG_PARTITION_TABLE_MD5 (default yes); without it an MD5 record only ends
// the table.
//
// Source: espressif/esp-idf v5.5 components/esp_partition/partition.c.
func LoadApp(r flashmodel.Reader, tableOffset uint32, requireMD5 bool) (Table, Err) {
	var raw [SectorSize]byte
	if r.Read(tableOffset, raw[:]) != nil {
		return nil, ErrFail
	}
	var t Table
	for at := 0; at < len(raw); at += RecordSize {
		b := (*[RecordSize]byte)(raw[at:])
		if [2]byte{b[0], b[1]} == md5Magic && requireMD5 {
			if sum := md5.Sum(raw[:at]); !bytes.Equal(sum[:], b[16:]) {
				return nil, ErrInvalidState
			}
			return t, OK
		}
		if [2]byte{b[0], b[1]} != recordMagic {
			break
		}
		t = append(t, DecodeRecord(b))
	}
	if requireMD5 {
		return nil, ErrNotFound
	}
	return t, OK
}

// BootSlots is what the bootloader keeps of a table: of duplicates the last
// one. A slot that no record describes has size 0.
type BootSlots struct {
	OTAData  Record
	Factory  Record
	Test     Record
	OTA      [MaxOTASlots]Record
	AppCount int // number of ota records, duplicates counted; only slots with a smaller index are used
}

// BootSlots walks the table as the bootloader does.
func (t Table) BootSlots() BootSlots {
	var s BootSlots
	for _, r := range t {
		switch {
		case r.Type == TypeApp && r.Subtype == SubtypeFactory:
			s.Factory = r
		case r.Type == TypeApp && r.Subtype == SubtypeTest:
			s.Test = r
		case r.Type == TypeApp && r.Subtype&^0x0F == SubtypeOTA:
			s.OTA[r.Subtype&0x0F] = r
			s.AppCount++
		case r.Type == TypeData && r.Subtype == SubtypeOTAData:
			s.OTAData = r
		}
	}
	return s
}

// Slot returns the record of an OTA slot index; a record of size 0 when the
// index is not usable.
func (s *BootSlots) Slot(index int) Record {
	if index < 0 || index >= MaxOTASlots || index >= s.AppCount {
		return Record{}
	}
	return s.OTA[index]
}
