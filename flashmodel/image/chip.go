package image

import "strings"

// Region is the address range [Low, High).
type Region struct{ Low, High uint32 }

func (r Region) has(a uint32) bool { return a >= r.Low && a < r.High }

// hasAll reports whether the first and the last byte of [lo, hi) are inside.
func (r Region) hasAll(lo, hi uint32) bool { return r.has(lo) && r.has(hi-1) }

func (r Region) overlaps(lo, hi uint32) bool { return r.High > lo && hi > r.Low }

// Memory is a named address range of a chip.
type Memory struct {
	Region
	Name string
}

// Chip is what the image format knows about a chip. The rows of the table are
// shared and must not be changed.
type Chip struct {
	Name             string // "ESP32-S3"
	ID               uint16 // chip id in the header
	BootloaderOffset uint32 // where the ROM looks for the second-stage bootloader
	Memory           []Memory

	loader *loaderMap // nil: images can be read but not verified or built
}

// loaderMap is the address map of the second-stage bootloader. Sources:
// esp-idf components/soc/*/include/soc/soc.h,
// components/esp_hw_support/include/esp_memory_utils.h and
// components/bootloader/subproject/main/ld/*/bootloader.ld.
type loaderMap struct {
	drom, irom Region // mapped through the cache
	dram, iram Region
	dramAlias  Region // the part of dram that is also in iramAlias
	iramAlias  Region
	inverted   bool // word order of the alias is reversed
	oneMMU     bool // drom and irom show the same pages, at the same offsets
	rtc        []Region
	stack      Region // of the bootloader, with headroom below
	data       Region // of the bootloader
	loaderText Region // loader code of the bootloader
}

// loadsTo reports whether the bootloader copies a segment with this address.
func (m *loaderMap) loadsTo(addr uint32, wake bool) bool {
	if m.drom.has(addr) || m.irom.has(addr) || addr < 0x10000000 {
		return false
	}
	return !wake || !m.inRTC(addr, addr+1)
}

func (m *loaderMap) inRTC(lo, hi uint32) bool {
	for _, r := range m.rtc {
		if r.hasAll(lo, hi) {
			return true
		}
	}
	return false
}

// refuses says why the bootloader does not load to [lo, hi), "" if it does.
// RAM with two addresses is looked at from both sides.
func (m *loaderMap) refuses(lo, hi uint32, alias bool) string {
	switch {
	case m.dram.hasAll(lo, hi):
		if m.stack.overlaps(lo, hi) {
			return "overlaps the bootloader stack"
		}
		if m.data.overlaps(lo, hi) {
			return "overlaps bootloader data"
		}
		if !alias && m.dramAlias.overlaps(lo, hi) {
			return m.refusesAlias(lo, hi, m.dramAlias, m.iramAlias)
		}
	case m.iram.hasAll(lo, hi):
		if m.loaderText.overlaps(lo, hi) {
			return "overlaps loader code"
		}
		if !alias && m.iramAlias.overlaps(lo, hi) {
			return m.refusesAlias(lo, hi, m.iramAlias, m.dramAlias)
		}
	case !m.inRTC(lo, hi):
		return "is a bad load address range"
	}
	return ""
}

func (m *loaderMap) refusesAlias(lo, hi uint32, from, to Region) string {
	// the ends are converted as the loader does it, one word off where reversed
	if !from.has(lo) {
		lo = from.Low
	}
	if !from.has(hi - 1) {
		hi = from.High
	}
	if !m.inverted {
		return m.refuses(lo-from.Low+to.Low, hi-from.Low+to.Low, true)
	}
	a, b := to.Low+(from.High-hi)-4, to.Low+(from.High-lo)-4
	return m.refuses(a, b, true)
}

// The chips that can be simulated.
var (
	ESP32   = ChipByName("ESP32")
	ESP32S3 = ChipByName("ESP32-S3")
	ESP32C3 = ChipByName("ESP32-C3")
)

// ChipByName finds a chip, ignoring case, '-', '(' and ')'; nil if unknown.
func ChipByName(name string) *Chip {
	plain := plainName(name)
	for i := range chips {
		if plainName(chips[i].Name) == plain {
			return &chips[i]
		}
	}
	return nil
}

// ChipByID finds the chip with this id in its image header; nil if unknown.
func ChipByID(id uint16) *Chip {
	for i := range chips {
		if chips[i].ID == id && chips[i].Name != esp8266 {
			return &chips[i]
		}
	}
	return nil
}

func plainName(s string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "(", "", ")", "").Replace(s))
}

// memories names the ranges that contain addr, in table order.
func (c *Chip) memories(addr uint32) []string {
	names := []string{}
	for _, m := range c.Memory {
		if m.has(addr) {
			names = append(names, m.Name)
		}
	}
	return names
}

const esp8266 = "ESP8266" // no chip id: its images have an 8-byte header

// chips is the chip table. Memory ranges are those that esptool prints;
// source: esptool esptool/targets/*.py.
var chips = []Chip{
	{Name: "ESP32", ID: 0, BootloaderOffset: 0x1000, loader: &loaderESP32, Memory: []Memory{
		{Region{0x00000000, 0x00010000}, "PADDING"},
		{Region{0x3F400000, 0x3F800000}, "DROM"},
		{Region{0x3F800000, 0x3FC00000}, "EXTRAM_DATA"},
		{Region{0x3FF80000, 0x3FF82000}, "RTC_DRAM"},
		{Region{0x3FF90000, 0x40000000}, "BYTE_ACCESSIBLE"},
		{Region{0x3FFAE000, 0x40000000}, "DRAM"},
		{Region{0x3FFE0000, 0x3FFFFFFC}, "DIRAM_DRAM"},
		{Region{0x40000000, 0x40070000}, "IROM"},
		{Region{0x40070000, 0x40078000}, "CACHE_PRO"},
		{Region{0x40078000, 0x40080000}, "CACHE_APP"},
		{Region{0x40080000, 0x400A0000}, "IRAM"},
		{Region{0x400A0000, 0x400BFFFC}, "DIRAM_IRAM"},
		{Region{0x400C0000, 0x400C2000}, "RTC_IRAM"},
		{Region{0x400D0000, 0x40400000}, "IROM"},
		{Region{0x50000000, 0x50002000}, "RTC_DATA"},
	}},
	{Name: "ESP32-S2", ID: 2, BootloaderOffset: 0x1000, Memory: []Memory{
		{Region{0x00000000, 0x00010000}, "PADDING"},
		{Region{0x3F000000, 0x3FF80000}, "DROM"},
		{Region{0x3F500000, 0x3FF80000}, "EXTRAM_DATA"},
		{Region{0x3FF9E000, 0x3FFA0000}, "RTC_DRAM"},
		{Region{0x3FF9E000, 0x40000000}, "BYTE_ACCESSIBLE"},
		{Region{0x3FF9E000, 0x40072000}, "MEM_INTERNAL"},
		{Region{0x3FFB0000, 0x40000000}, "DRAM"},
		{Region{0x40000000, 0x4001A100}, "IROM_MASK"},
		{Region{0x40020000, 0x40070000}, "IRAM"},
		{Region{0x40070000, 0x40072000}, "RTC_IRAM"},
		{Region{0x40080000, 0x40800000}, "IROM"},
		{Region{0x50000000, 0x50002000}, "RTC_DATA"},
	}},
	{Name: "ESP32-S3", ID: 9, BootloaderOffset: 0, loader: &loaderESP32S3, Memory: []Memory{
		{Region{0x00000000, 0x00010000}, "PADDING"},
		{Region{0x3C000000, 0x3D000000}, "DROM"},
		{Region{0x3D000000, 0x3E000000}, "EXTRAM_DATA"},
		{Region{0x600FE000, 0x60100000}, "RTC_DRAM"},
		{Region{0x3FC88000, 0x3FD00000}, "BYTE_ACCESSIBLE"},
		{Region{0x3FC88000, 0x403E2000}, "MEM_INTERNAL"},
		{Region{0x3FC88000, 0x3FD00000}, "DRAM"},
		{Region{0x40000000, 0x4001A100}, "IROM_MASK"},
		{Region{0x40370000, 0x403E0000}, "IRAM"},
		{Region{0x600FE000, 0x60100000}, "RTC_IRAM"},
		{Region{0x42000000, 0x42800000}, "IROM"},
		{Region{0x50000000, 0x50002000}, "RTC_DATA"},
	}},
	{Name: "ESP32-C3", ID: 5, BootloaderOffset: 0, loader: &loaderESP32C3, Memory: []Memory{
		{Region{0x00000000, 0x00010000}, "PADDING"},
		{Region{0x3C000000, 0x3C800000}, "DROM"},
		{Region{0x3FC80000, 0x3FCE0000}, "DRAM"},
		{Region{0x3FC88000, 0x3FD00000}, "BYTE_ACCESSIBLE"},
		{Region{0x3FF00000, 0x3FF20000}, "DROM_MASK"},
		{Region{0x40000000, 0x40060000}, "IROM_MASK"},
		{Region{0x42000000, 0x42800000}, "IROM"},
		{Region{0x4037C000, 0x403E0000}, "IRAM"},
		{Region{0x50000000, 0x50002000}, "RTC_IRAM"},
		{Region{0x50000000, 0x50002000}, "RTC_DRAM"},
		{Region{0x600FE000, 0x60100000}, "MEM_INTERNAL2"},
	}},
	{Name: "ESP32-C2", ID: 12, BootloaderOffset: 0, Memory: []Memory{
		{Region{0x00000000, 0x00010000}, "PADDING"},
		{Region{0x3C000000, 0x3C400000}, "DROM"},
		{Region{0x3FCA0000, 0x3FCE0000}, "DRAM"},
		{Region{0x3FC88000, 0x3FD00000}, "BYTE_ACCESSIBLE"},
		{Region{0x3FF00000, 0x3FF50000}, "DROM_MASK"},
		{Region{0x40000000, 0x40090000}, "IROM_MASK"},
		{Region{0x42000000, 0x42400000}, "IROM"},
		{Region{0x4037C000, 0x403C0000}, "IRAM"},
	}},
	{Name: "ESP32-C6", ID: 13, BootloaderOffset: 0, Memory: memoryC6},
	{Name: "ESP32-H2", ID: 16, BootloaderOffset: 0, Memory: memoryC6},
	{Name: "ESP32-H21", ID: 25, BootloaderOffset: 0, Memory: memoryC6},
	{Name: "ESP32-C61", ID: 20, BootloaderOffset: 0, Memory: []Memory{
		{Region{0x00000000, 0x00010000}, "PADDING"},
		{Region{0x42000000, 0x44000000}, "DROM"},
		{Region{0x40800000, 0x40860000}, "DRAM"},
		{Region{0x40800000, 0x40860000}, "BYTE_ACCESSIBLE"},
		{Region{0x4004AC00, 0x40050000}, "DROM_MASK"},
		{Region{0x40000000, 0x4004AC00}, "IROM_MASK"},
		{Region{0x42000000, 0x44000000}, "IROM"},
		{Region{0x40800000, 0x40860000}, "IRAM"},
		{Region{0x50000000, 0x50004000}, "RTC_IRAM"},
		{Region{0x50000000, 0x50004000}, "RTC_DRAM"},
		{Region{0x600FE000, 0x60100000}, "MEM_INTERNAL2"},
	}},
	{Name: "ESP32-C5", ID: 23, BootloaderOffset: 0x2000, Memory: []Memory{
		{Region{0x00000000, 0x00010000}, "PADDING"},
		{Region{0x42000000, 0x44000000}, "DROM"},
		{Region{0x40800000, 0x40860000}, "DRAM"},
		{Region{0x40800000, 0x40860000}, "BYTE_ACCESSIBLE"},
		{Region{0x4003A000, 0x40040000}, "DROM_MASK"},
		{Region{0x40000000, 0x4003A000}, "IROM_MASK"},
		{Region{0x42000000, 0x44000000}, "IROM"},
		{Region{0x40800000, 0x40860000}, "IRAM"},
		{Region{0x50000000, 0x50004000}, "RTC_IRAM"},
		{Region{0x50000000, 0x50004000}, "RTC_DRAM"},
		{Region{0x600FE000, 0x60100000}, "MEM_INTERNAL2"},
	}},
	{Name: "ESP32-H4", ID: 28, BootloaderOffset: 0x2000, Memory: []Memory{
		{Region{0x00000000, 0x00010000}, "PADDING"},
		{Region{0x42000000, 0x44000000}, "DROM"},
		{Region{0x40810000, 0x40860000}, "DRAM"},
		{Region{0x40810000, 0x40860000}, "BYTE_ACCESSIBLE"},
		{Region{0x40000000, 0x40050000}, "DROM_MASK"},
		{Region{0x40000000, 0x40050000}, "IROM_MASK"},
		{Region{0x42000000, 0x44000000}, "IROM"},
		{Region{0x40810000, 0x40860000}, "IRAM"},
		{Region{0x50000000, 0x50004000}, "RTC_IRAM"},
		{Region{0x50000000, 0x50004000}, "RTC_DRAM"},
		{Region{0x60000000, 0x60100000}, "MEM_INTERNAL2"},
	}},
	{Name: "ESP32-P4", ID: 18, BootloaderOffset: 0x2000, Memory: []Memory{
		{Region{0x00000000, 0x00010000}, "PADDING"},
		{Region{0x40000000, 0x4C000000}, "DROM"},
		{Region{0x4FF00000, 0x4FFA0000}, "DRAM"},
		{Region{0x4FF00000, 0x4FFA0000}, "BYTE_ACCESSIBLE"},
		{Region{0x4FC00000, 0x4FC20000}, "DROM_MASK"},
		{Region{0x4FC00000, 0x4FC20000}, "IROM_MASK"},
		{Region{0x40000000, 0x4C000000}, "IROM"},
		{Region{0x4FF00000, 0x4FFA0000}, "IRAM"},
		{Region{0x50108000, 0x50110000}, "RTC_IRAM"},
		{Region{0x50108000, 0x50110000}, "RTC_DRAM"},
		{Region{0x600FE000, 0x60100000}, "MEM_INTERNAL2"},
	}},
	{Name: esp8266, BootloaderOffset: 0, Memory: []Memory{
		{Region{0x3FF00000, 0x3FF00010}, "DPORT"},
		{Region{0x3FFE8000, 0x40000000}, "DRAM"},
		{Region{0x40100000, 0x40108000}, "IRAM"},
		{Region{0x40201010, 0x402E1010}, "IROM"},
	}},
}

var memoryC6 = []Memory{
	{Region{0x00000000, 0x00010000}, "PADDING"},
	{Region{0x42000000, 0x43000000}, "DROM"},
	{Region{0x40800000, 0x40880000}, "DRAM"},
	{Region{0x40800000, 0x40880000}, "BYTE_ACCESSIBLE"},
	{Region{0x4004AC00, 0x40050000}, "DROM_MASK"},
	{Region{0x40000000, 0x4004AC00}, "IROM_MASK"},
	{Region{0x42000000, 0x43000000}, "IROM"},
	{Region{0x40800000, 0x40880000}, "IRAM"},
	{Region{0x50000000, 0x50004000}, "RTC_IRAM"},
	{Region{0x50000000, 0x50004000}, "RTC_DRAM"},
	{Region{0x600FE000, 0x60100000}, "MEM_INTERNAL2"},
}

// stackHeadroom is what the bootloader keeps free below its stack pointer, and
// stackUse roughly what its stack holds when it checks a load address.
const (
	stackHeadroom = 32 << 10
	stackUse      = 0x320
)

func stackBelow(top uint32) Region { return Region{top - stackUse - stackHeadroom, top} }

var loaderESP32 = loaderMap{
	drom: Region{0x3F400000, 0x3F800000}, irom: Region{0x400D0000, 0x40400000},
	dram: Region{0x3FFAE000, 0x40000000}, iram: Region{0x40080000, 0x400AA000},
	dramAlias: Region{0x3FFE0000, 0x40000000}, iramAlias: Region{0x400A0000, 0x400C0000}, inverted: true,
	rtc:        []Region{{0x400C0000, 0x400C2000}, {0x3FF80000, 0x3FF82000}, {0x50000000, 0x50002000}},
	stack:      stackBelow(0x3FFE3F20),
	data:       Region{0x3FFF0000, 0x3FFF6000},
	loaderText: Region{0x40078000, 0x40080000},
}

var loaderESP32S3 = loaderMap{
	drom: Region{0x3C000000, 0x3E000000}, irom: Region{0x42000000, 0x44000000},
	dram: Region{0x3FC88000, 0x3FD00000}, iram: Region{0x40370000, 0x403E0000},
	dramAlias: Region{0x3FC88000, 0x3FCF0000}, iramAlias: Region{0x40378000, 0x403E0000}, oneMMU: true,
	rtc:        []Region{{0x600FE000, 0x60100000}, {0x50000000, 0x50002000}},
	stack:      stackBelow(0x3FCEB710),
	data:       Region{0x3FCE2700, 0x3FCE7700},
	loaderText: Region{0x403CB700, 0x403D2700},
}

var loaderESP32C3 = loaderMap{
	drom: Region{0x3C000000, 0x3C800000}, irom: Region{0x42000000, 0x42800000},
	dram: Region{0x3FC80000, 0x3FCE0000}, iram: Region{0x4037C000, 0x403E0000},
	dramAlias: Region{0x3FC80000, 0x3FCE0000}, iramAlias: Region{0x40380000, 0x403E0000}, oneMMU: true,
	rtc:        []Region{{0x50000000, 0x50002000}},
	stack:      stackBelow(0x3FCDE710),
	data:       Region{0x3FCD5710, 0x3FCDA710},
	loaderText: Region{0x403CE710, 0x403D5710},
}
