package flashcrypt

import (
	"fmt"

	"github.com/otasim/otasim/flashmodel"
)

// Err is a return code of the flash driver (esp_err_t).
type Err int32

const (
	ErrInvalidArg  Err = 0x102 // the address is not a multiple of the granularity
	ErrInvalidSize Err = 0x104 // the length is not a multiple of the granularity
)

func (e Err) Error() string {
	switch e {
	case ErrInvalidArg:
		return "ESP_ERR_INVALID_ARG"
	case ErrInvalidSize:
		return "ESP_ERR_INVALID_SIZE"
	}
	return fmt.Sprintf("esp_err_t 0x%x", uint32(e))
}

// NOR is a view of a chip through its flash encryption: Read decrypts, Program
// encrypts. Addresses are those of the chip, which the ciphers depend on.
type NOR struct {
	Flash       flashmodel.NOR
	Cipher      Cipher
	Granularity uint32 // of Program: 16 in the application (0 means that), 32 in the bootloader
	Key         string // names the key: what was found in the same ciphertext with the same key is remembered
}

// Under is the chip and the name of the key. A chip is nil that is none itself.
func (n *NOR) Under() (*flashmodel.Flash, string) {
	f, _ := n.Flash.(*flashmodel.Flash)
	return f, n.Key
}

var _ flashmodel.NOR = (*NOR)(nil)

// Read reads decrypted bytes, of any address and length. Erased flash is noise.
func (n *NOR) Read(addr uint32, dst []byte) error {
	var row [1024]byte
	for len(dst) > 0 {
		skip := addr % BlockSize
		want := min(uint32(len(row)), (skip+uint32(min(len(dst), len(row)))+BlockSize-1)&^(BlockSize-1))
		part := row[:want]
		if err := n.Flash.Read(addr-skip, part); err != nil {
			return err
		}
		n.Cipher.Decrypt(addr-skip, part)
		done := copy(dst, part[skip:])
		dst, addr = dst[done:], addr+uint32(done)
	}
	return nil
}

// Program encrypts and programs src row by row, as the driver does: what is
// before and behind it in a row of the ESP32 is read first, decrypted, and
// programmed again, which gives the bytes that are there. Errors are Err, or
// those of the chip.
//
// Source: espressif/esp-idf v5.5 components/spi_flash/esp_flash_api.c,
// esp_flash_write_encrypted.
func (n *NOR) Program(addr uint32, src []byte) error {
	step := max(n.Granularity, BlockSize)
	switch {
	case addr%step != 0:
		return fmt.Errorf("encrypted program at 0x%x: %w", addr, ErrInvalidArg)
	case len(src) == 0:
		return nil
	case uint32(len(src))%step != 0:
		return fmt.Errorf("encrypted program of %d bytes at 0x%x: %w", len(src), addr, ErrInvalidSize)
	}
	if n.Cipher.Row() != RowSize {
		return n.programUnits(addr, src)
	}
	var before, behind [BlockSize]byte
	end := addr + uint32(len(src))
	if addr%RowSize != 0 {
		if err := n.Read(addr-BlockSize, before[:]); err != nil {
			return err
		}
	}
	if end%RowSize != 0 {
		if err := n.Read(end, behind[:]); err != nil {
			return err
		}
	}
	for row := addr &^ (RowSize - 1); row < end; row += RowSize {
		var b [RowSize]byte
		half := b[:]
		if row < addr {
			half = b[copy(b[:], before[:]):]
		}
		if done := copy(half, src); done < len(half) {
			copy(half[done:], behind[:])
			src = nil
		} else {
			src = src[done:]
		}
		if err := n.programRow(row, b[:]); err != nil {
			return err
		}
	}
	return nil
}

// programUnits programs 64, 32 or 16 bytes at once, as alignment allows.
func (n *NOR) programUnits(addr uint32, src []byte) error {
	for len(src) > 0 {
		size := n.Cipher.Row()
		for addr%uint32(size) != 0 || len(src) < size {
			size /= 2
		}
		var b [UnitSize]byte
		if err := n.programRow(addr, b[:copy(b[:size], src)]); err != nil {
			return err
		}
		src, addr = src[size:], addr+uint32(size)
	}
	return nil
}

func (n *NOR) programRow(addr uint32, b []byte) error {
	n.Cipher.Encrypt(addr, b)
	return n.Flash.Program(addr, b)
}

// Erase erases whole sectors; they read as noise afterwards.
func (n *NOR) Erase(addr, size uint32) error { return n.Flash.Erase(addr, size) }
