package image

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/otasim/otasim/flashmodel"
)

// DescriptorSize and BootloaderDescriptorSize are the sizes of the two
// descriptors.
const (
	DescriptorSize           = 256
	BootloaderDescriptorSize = 80

	descriptorMagic           = 0xABCD5432
	bootloaderDescriptorMagic = 0x50
)

const (
	offDescSecure   = 4
	offDescVersion  = 16
	offDescProject  = 48
	offDescTime     = 80
	offDescDate     = 96
	offDescIDF      = 112
	offDescELF      = 144
	offDescMinBlock = 176
	offDescMaxBlock = 178
	offDescMMU      = 180
)

// Descriptor is the application descriptor:
//
//	0   4  magic ABCD5432       112  32  IDF version
//	4   4  secure_version       144  32  SHA-256 of the ELF file
//	8   8  reserved             176   2  min eFuse block revision
//	16  32 version              178   2  max eFuse block revision
//	48  32 project name         180   1  log2(MMU page size), 0 is 64 KiB
//	80  16 time                 181  75  reserved
//	96  16 date
//
// Texts are NUL padded and cut at the first NUL. Source: esp-idf
// components/esp_app_format/include/esp_app_desc.h.
type Descriptor struct {
	SecureVersion  uint32
	Version        string // at most 32 bytes
	Project        string // at most 32 bytes
	Time           string // at most 16 bytes
	Date           string // at most 16 bytes
	IDFVersion     string // at most 32 bytes
	ELFSHA256      [32]byte
	MinBlockRev    uint16 // major*100 + minor
	MaxBlockRev    uint16
	MMUPageSizeLog byte
}

// DecodeDescriptor reads a descriptor at the start of b. The error wraps
// ErrNoDescriptor if the magic is missing and ErrTruncated if b is short.
func DecodeDescriptor(b []byte) (Descriptor, error) {
	if len(b) < DescriptorSize {
		return Descriptor{}, fmt.Errorf("application descriptor: %d of %d bytes: %w", len(b), DescriptorSize, ErrTruncated)
	}
	if magic := binary.LittleEndian.Uint32(b); magic != descriptorMagic {
		return Descriptor{}, fmt.Errorf("magic %08x: %w", magic, ErrNoDescriptor)
	}
	return Descriptor{
		SecureVersion:  binary.LittleEndian.Uint32(b[offDescSecure:]),
		Version:        text(b[offDescVersion:], 32),
		Project:        text(b[offDescProject:], 32),
		Time:           text(b[offDescTime:], 16),
		Date:           text(b[offDescDate:], 16),
		IDFVersion:     text(b[offDescIDF:], 32),
		ELFSHA256:      [32]byte(b[offDescELF:]),
		MinBlockRev:    binary.LittleEndian.Uint16(b[offDescMinBlock:]),
		MaxBlockRev:    binary.LittleEndian.Uint16(b[offDescMaxBlock:]),
		MMUPageSizeLog: b[offDescMMU],
	}, nil
}

// Encode gives the 256 bytes of the descriptor; longer texts are cut.
func (d *Descriptor) Encode() [DescriptorSize]byte {
	var b [DescriptorSize]byte
	binary.LittleEndian.PutUint32(b[:], descriptorMagic)
	binary.LittleEndian.PutUint32(b[offDescSecure:], d.SecureVersion)
	copy(b[offDescVersion:offDescVersion+32], d.Version)
	copy(b[offDescProject:offDescProject+32], d.Project)
	copy(b[offDescTime:offDescTime+16], d.Time)
	copy(b[offDescDate:offDescDate+16], d.Date)
	copy(b[offDescIDF:offDescIDF+32], d.IDFVersion)
	copy(b[offDescELF:], d.ELFSHA256[:])
	binary.LittleEndian.PutUint16(b[offDescMinBlock:], d.MinBlockRev)
	binary.LittleEndian.PutUint16(b[offDescMaxBlock:], d.MaxBlockRev)
	b[offDescMMU] = d.MMUPageSizeLog
	return b
}

// ReadDescriptor reads the application descriptor of the image that starts at
// addr without looking at anything else, as esp_ota_get_partition_description
// does: the 256 bytes at addr+32 count even if the image is broken. The error
// wraps ErrNoDescriptor if there is none.
func ReadDescriptor(r flashmodel.Reader, addr uint32) (Descriptor, error) {
	var b [DescriptorSize]byte
	if err := r.Read(addr+DescriptorOffset, b[:]); err != nil {
		return Descriptor{}, fmt.Errorf("application descriptor at 0x%x: %w", addr+DescriptorOffset, err)
	}
	d, err := DecodeDescriptor(b[:])
	if err != nil {
		return Descriptor{}, fmt.Errorf("application descriptor at 0x%x: %w", addr+DescriptorOffset, err)
	}
	return d, nil
}

// BootloaderDescriptor is the descriptor of a second-stage bootloader:
//
//	0  1  magic 50            8   32  IDF version
//	1  2  reserved            40  24  date and time
//	3  1  secure_version      64  16  reserved
//	4  4  version
//
// Source: esp-idf components/esp_bootloader_format/include/esp_bootloader_desc.h.
type BootloaderDescriptor struct {
	SecureVersion byte
	Version       uint32
	IDFVersion    string
	DateTime      string
}

// DecodeBootloaderDescriptor reads a bootloader descriptor at the start of b.
func DecodeBootloaderDescriptor(b []byte) (BootloaderDescriptor, error) {
	if len(b) < BootloaderDescriptorSize {
		return BootloaderDescriptor{}, fmt.Errorf("bootloader descriptor: %d of %d bytes: %w", len(b), BootloaderDescriptorSize, ErrTruncated)
	}
	if b[0] != bootloaderDescriptorMagic {
		return BootloaderDescriptor{}, fmt.Errorf("bootloader descriptor: magic %02x: %w", b[0], ErrNoDescriptor)
	}
	return BootloaderDescriptor{
		SecureVersion: b[3],
		Version:       binary.LittleEndian.Uint32(b[4:]),
		IDFVersion:    text(b[8:], 32),
		DateTime:      text(b[40:], 24),
	}, nil
}

func text(b []byte, n int) string {
	b = b[:n]
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}
