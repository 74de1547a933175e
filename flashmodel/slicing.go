package flashmodel

import "time"

// Slicing is how a driver cuts an operation into commands. It decides what a power cut
// can leave.
//
//	                program command                erase command
//	SliceApp        <= 64 bytes, inside a page     64 KiB where aligned and enough remains, else 4 KiB
//	SliceBootloader <= 32 bytes, inside a page     the same; addresses and sizes must be 4-aligned
//	SliceVectors    <= 256 bytes, inside a page    4 KiB
//
// SliceApp is esp_flash_write and esp_flash_erase_region (esp-idf
// components/spi_flash/esp_flash_api.c), SliceBootloader is bootloader_flash_write and
// bootloader_flash_erase_range; SliceVectors is no driver: it counts operations as
// the boot and OTA test vectors do.
type Slicing uint8

// The values of Slicing.
const (
	SliceApp Slicing = iota
	SliceBootloader
	SliceVectors
)

// width is the longest program command.
func (s Slicing) width() uint32 {
	switch s {
	case SliceBootloader:
		return 32
	case SliceVectors:
		return PageSize
	default:
		return 64
	}
}

// nextProgram is the length of the next program command of n bytes at addr.
func (s Slicing) nextProgram(addr, n uint32) uint32 {
	return min(n, s.width(), PageSize-addr%PageSize)
}

// nextErase is the length of the next erase command of n bytes at addr.
func (s Slicing) nextErase(addr, n uint32) uint32 {
	if s != SliceVectors && addr%BlockSize == 0 && n >= BlockSize {
		return BlockSize
	}
	return SectorSize
}

// programCost is how many commands and how much time n bytes at addr take.
func (f *Flash) programCost(addr, n uint32) (commands uint32, d time.Duration) {
	t, width := &f.chip.Timing, f.slicing.width()
	full, rest := uint32(0), uint32(0) // commands of width bytes; shorter ones are added at once
	partial := func(n uint32) {
		full += n / width
		if r := n % width; r > 0 {
			rest++
			d += t.Program(r)
		}
	}
	if head := min(n, (PageSize-addr%PageSize)%PageSize); head > 0 {
		partial(head)
		n -= head
	}
	full += n / PageSize * (PageSize / width)
	if tail := n % PageSize; tail > 0 {
		partial(tail)
	}
	return full + rest, d + time.Duration(full)*t.Program(width)
}

// eraseCost is how many commands and how much time an erase takes.
func (f *Flash) eraseCost(addr, n uint32) (commands uint32, d time.Duration) {
	blocks := uint32(0)
	if head := -addr % BlockSize; f.slicing != SliceVectors && n >= head {
		blocks = (n - head) / BlockSize
	}
	sectors := (n - blocks*BlockSize) / SectorSize
	t := &f.chip.Timing
	return blocks + sectors, time.Duration(blocks)*t.Block + time.Duration(sectors)*t.Sector
}
