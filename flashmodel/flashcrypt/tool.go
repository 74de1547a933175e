package flashcrypt

import (
	"fmt"
	"io"
)

// Scheme is a cipher by the name of the host tool's choice.
type Scheme struct {
	XTS    bool
	Config uint8 // FLASH_CRYPT_CONFIG, of the ESP32 scheme only
}

// New returns the cipher of the scheme. The error is *Error.
func (s Scheme) New(key []byte) (Cipher, error) {
	if s.XTS {
		return NewXTS(key)
	}
	return NewESP32(key, s.Config)
}

func (s Scheme) prepare(key []byte, addr uint32, n int) (Cipher, error) {
	c, err := s.New(key)
	switch {
	case err != nil:
		return nil, err
	case addr%BlockSize != 0:
		return nil, refuse(ErrAddressAlignment, "Starting flash address %#x must be a multiple of 16.", addr)
	case s.XTS && n%BlockSize != 0:
		return nil, refuse(ErrDataLength, "Input data length (%d) must be a multiple of 16.", n)
	case s.XTS && n == 0:
		return nil, refuse(ErrDataLength, "Input data must be longer than 0.")
	case s.XTS && uint64(addr)+uint64(n) > 1<<32:
		return nil, refuse(ErrCrash, "%d bytes at %#x leave the address space", n, addr)
	}
	return c, nil
}

// EncryptData encrypts a file for a flash address as espsecure
// encrypt-flash-data does. With the ESP32 scheme a last block that is not full
// is filled from random; the other scheme refuses it.
func (s Scheme) EncryptData(key []byte, addr uint32, data []byte, random io.Reader) ([]byte, error) {
	c, err := s.prepare(key, addr, len(data))
	if err != nil {
		return nil, err
	}
	out := make([]byte, (len(data)+BlockSize-1)/BlockSize*BlockSize)
	if rest := out[copy(out, data):]; len(rest) > 0 {
		if _, err := io.ReadFull(random, rest); err != nil {
			return nil, fmt.Errorf("padding of the last block: %w", err)
		}
	}
	c.Encrypt(addr, out)
	return out, nil
}

// DecryptData is espsecure decrypt-flash-data.
func (s Scheme) DecryptData(key []byte, addr uint32, data []byte) ([]byte, error) {
	c, err := s.prepare(key, addr, len(data))
	if err != nil {
		return nil, err
	}
	if len(data)%BlockSize != 0 {
		return nil, refuse(ErrDataLength, "Data length is not a multiple of 16 bytes.")
	}
	out := append([]byte(nil), data...)
	c.Decrypt(addr, out)
	return out, nil
}
