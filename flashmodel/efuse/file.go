package efuse

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Sizes of the two file formats in bytes.
const (
	VirtualSize  = blocks * 32
	EmulatorSize = 0x120
)

// ErrSize is wrapped when a file is shorter than its format.
var ErrSize = errors.New("wrong size")

// DecodeVirtual reads the content of an ESP-IDF virtual eFuse partition (type data,
// subtype efuse): 4 blocks of 8 little-endian words, decoded. Bytes after the first
// VirtualSize are ignored: the partition is larger.
func DecodeVirtual(b []byte) (EFuse, error) {
	if len(b) < VirtualSize {
		return EFuse{}, fmt.Errorf("virtual eFuse partition of %d bytes, needs %d: %w", len(b), VirtualSize, ErrSize)
	}
	var data [blocks]Words
	for i := range data {
		data[i] = wordsOf(b[32*i:])
	}
	return fromData(data), nil
}

// EncodeVirtual writes that format: read protection is not honoured there.
func (e *EFuse) EncodeVirtual() []byte {
	out := make([]byte, 0, VirtualSize)
	for b := range Block(blocks) {
		w := e.data(b).bytes()
		out = append(out, w[:]...)
	}
	return out
}

// readRegister is the offset of the first read register of each block.
var readRegister = [blocks]int{0x00, 0x38, 0x58, 0x78}

// DecodeEmulator reads the file that espefuse keeps for a virtual chip (--virt
// --path-efuse-file): a register file, mirrored. The register at offset o is stored
// big-endian at [0x120-o-4, 0x120-o). Only the read registers count.
func DecodeEmulator(b []byte) (EFuse, error) {
	if len(b) != EmulatorSize {
		return EFuse{}, fmt.Errorf("espefuse file of %d bytes, needs %d: %w", len(b), EmulatorSize, ErrSize)
	}
	var data [blocks]Words
	for i, base := range readRegister {
		for j := range words(i) {
			data[i][j] = binary.BigEndian.Uint32(b[EmulatorSize-base-4*j-4:])
		}
	}
	return fromData(data), nil
}

// EncodeEmulator writes that format. Blocks that must not be read are 0 in it.
func (e *EFuse) EncodeEmulator() []byte {
	out := make([]byte, EmulatorSize)
	for i, base := range readRegister {
		w := e.Words(Block(i))
		for j := range words(i) {
			binary.BigEndian.PutUint32(out[EmulatorSize-base-4*j-4:], w[j])
		}
	}
	return out
}

// words is the number of registers of a block.
func words(block int) int {
	if block == int(System) {
		return 7
	}
	return 8
}

func fromData(data [blocks]Words) EFuse {
	e := EFuse{fuse: data}
	e.fuse[System][7] = 0
	if schemeOf(data[System][6]) == SchemeThreeQuarters {
		for b := FlashKeyBlock; b < blocks; b++ {
			e.fuse[b] = encode34(data[b])
		}
	}
	return e
}
