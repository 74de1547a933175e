package check

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"

	"github.com/otasim/otasim/flashmodel"
)

// Truth is what a device's flash holds, read by code that shares nothing with
// the device: the partition table at tableOffset, both otadata records and every
// app slot are decoded here a second time, from the layouts in ESP-IDF's
// esp_flash_partitions.h, esp_app_format.h and esp_app_desc.h.
type Truth struct {
	Slots  []Slot
	Active int    // index into Slots of what otadata selects; -1 if it selects none
	State  string // ESP_OTA_IMG_... of the active record, "" without one
}

// Slot is one app partition and the image in it.
type Slot struct {
	Label         string
	Subtype       byte
	Offset, Size  uint32
	Bootable      bool // magic, segments, checksum and appended SHA-256 all hold
	Version       string
	SecureVersion uint32
	SHA256        [32]byte // of the whole image file, appended hash included; only if Bootable
}

// Bootable reports whether any slot holds an image that verifies.
func (t *Truth) Bootable() bool {
	for i := range t.Slots {
		if t.Slots[i].Bootable {
			return true
		}
	}
	return false
}

// Slot finds a slot by its label, nil if there is none.
func (t *Truth) Slot(label string) *Slot {
	for i := range t.Slots {
		if t.Slots[i].Label == label {
			return &t.Slots[i]
		}
	}
	return nil
}

// stateNames are the values of esp_ota_img_states_t.
var stateNames = map[uint32]string{0: "ESP_OTA_IMG_NEW", 1: "ESP_OTA_IMG_PENDING_VERIFY", 2: "ESP_OTA_IMG_VALID",
	3: "ESP_OTA_IMG_INVALID", 4: "ESP_OTA_IMG_ABORTED", 0xffffffff: "ESP_OTA_IMG_UNDEFINED"}

// ReadTruth decodes a chip. It never fails: what cannot be read is not there.
func ReadTruth(f *flashmodel.Flash, tableOffset uint32) Truth {
	return ReadTruthOf(f, f, "", tableOffset)
}

// ReadTruthOf is ReadTruth for a chip with flash encryption: r is a decrypting view of it, key names the key.
func ReadTruthOf(f *flashmodel.Flash, r flashmodel.Reader, key string, tableOffset uint32) Truth {
	t := Truth{Active: -1}
	var table [0xc00]byte
	if r.Read(tableOffset, table[:]) != nil {
		return t
	}
	le := binary.LittleEndian
	var data uint32
	for row := table[:]; len(row) >= 32 && le.Uint16(row) == 0x50aa; row = row[32:] {
		kind, sub, off, size := row[2], row[3], le.Uint32(row[4:]), le.Uint32(row[8:])
		switch {
		case kind == 0:
			label, _, _ := bytes.Cut(row[12:28], []byte{0})
			s := flashmodel.Remember(f, "check.slot"+key, off, size, func() Slot { return readSlot(r, off, size) })
			s.Label, s.Subtype, s.Offset, s.Size = string(label), sub, off, size
			t.Slots = append(t.Slots, s)
		case kind == 1 && sub == 0:
			data = off
		}
	}
	if data == 0 {
		return t
	}
	var ota []int // slot index by ota number
	for n := byte(0x10); n < 0x20; n++ {
		for i := range t.Slots {
			if t.Slots[i].Subtype == n {
				ota = append(ota, i)
			}
		}
	}
	best := uint32(0)
	for i := range 2 {
		var e [32]byte
		if r.Read(data+uint32(i)*flashmodel.SectorSize, e[:]) != nil {
			continue
		}
		seq, state := le.Uint32(e[0:]), le.Uint32(e[24:])
		if seq == 0xffffffff || state == 3 || state == 4 || le.Uint32(e[28:]) != crc32.Update(0xffffffff, crc32.IEEETable, e[:4]) {
			continue
		}
		if len(ota) > 0 && (t.Active < 0 || seq > best) {
			best, t.Active = seq, ota[(seq-1)%uint32(len(ota))]
			if t.State = stateNames[state]; t.State == "" {
				t.State = "ESP_OTA_IMG_UNDEFINED"
			}
		}
	}
	return t
}

// readSlot judges one image by itself: a straight reading of the format, slower
// than the boot loader's and independent of it.
func readSlot(r flashmodel.Reader, off, size uint32) (s Slot) {
	b := make([]byte, size)
	if r.Read(off, b) != nil || size < 32 || b[0] != 0xe9 {
		return s
	}
	le := binary.LittleEndian
	sum, at := byte(0xef), uint32(24)
	for range b[1] {
		if at+8 > size {
			return s
		}
		n := le.Uint32(b[at+4:])
		at += 8
		if n > size-at {
			return s
		}
		for _, v := range b[at : at+n] {
			sum ^= v
		}
		at += n
	}
	end := (at + 16) &^ 15
	if end > size || b[end-1] != sum {
		return s
	}
	if b[23] != 0 {
		h := sha256.Sum256(b[:end])
		if end+32 > size || !bytes.Equal(h[:], b[end:end+32]) {
			return s
		}
		end += 32
	}
	s.Bootable, s.SHA256 = true, sha256.Sum256(b[:end])
	if size >= 0x120 && le.Uint32(b[32:]) == 0xabcd5432 {
		v, _, _ := bytes.Cut(b[48:80], []byte{0})
		s.Version, s.SecureVersion = string(v), le.Uint32(b[36:])
	}
	return s
}
