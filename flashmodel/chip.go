package flashmodel

import "time"

// Chip is one kind of flash chip. Rows of the table are shared: do not modify them.
type Chip struct {
	Name      string
	JEDEC     uint32 // manufacturer, type, capacity as read by command 9Fh; 0 if the row is no real part
	Size      uint32 // bytes, a multiple of SectorSize
	Timing    Timing
	Endurance uint32 // erase cycles a sector is good for
}

// Timing is how long commands take, typical values.
type Timing struct {
	FirstByte time.Duration // a program command of one byte
	NextByte  time.Duration // each further byte
	Page      time.Duration // a whole 256-byte page, also the limit for shorter programs
	Sector    time.Duration // erase of 4 KiB
	Block     time.Duration // erase of 64 KiB
}

// Values of the W25Q32JV and GD25Q32C data sheets; typical is what a chip of unknown
// make gets. GD25Q32C publishes no byte times, it gets the usual ones.
const (
	firstByte = 30 * time.Microsecond
	nextByte  = 2500 * time.Nanosecond
	endurance = 100_000
)

var typical = Timing{firstByte, nextByte, 600 * time.Microsecond, 45 * time.Millisecond, 150 * time.Millisecond}

var chips = [...]Chip{
	{Name: "1MB", Size: 1 << 20, Timing: typical, Endurance: endurance},
	{Name: "2MB", Size: 2 << 20, Timing: typical, Endurance: endurance},
	{Name: "4MB", Size: 4 << 20, Timing: typical, Endurance: endurance},
	{Name: "8MB", Size: 8 << 20, Timing: typical, Endurance: endurance},
	{Name: "16MB", Size: 16 << 20, Timing: typical, Endurance: endurance},
	{
		Name: "W25Q32JV", JEDEC: 0xEF4016, Size: 4 << 20, Endurance: endurance,
		Timing: Timing{firstByte, nextByte, 400 * time.Microsecond, 45 * time.Millisecond, 150 * time.Millisecond},
	},
	{
		Name: "GD25Q32C", JEDEC: 0xC84016, Size: 4 << 20, Endurance: endurance,
		Timing: Timing{firstByte, nextByte, 600 * time.Microsecond, 50 * time.Millisecond, 250 * time.Millisecond},
	},
}

// Chips are all rows of the table: chips of unknown make by size ("4MB"), then parts.
func Chips() []*Chip {
	rows := make([]*Chip, len(chips))
	for i := range chips {
		rows[i] = &chips[i]
	}
	return rows
}

// ChipByName finds a row: "1MB", "2MB", "4MB", "8MB", "16MB", "W25Q32JV", "GD25Q32C".
func ChipByName(name string) (*Chip, bool) {
	for i := range chips {
		if chips[i].Name == name {
			return &chips[i], true
		}
	}
	return nil, false
}

// ChipOfSize is the row of unknown make that has size bytes, 1 MiB to 16 MiB.
func ChipOfSize(size uint32) (*Chip, bool) {
	for i := range chips {
		if chips[i].Size == size && chips[i].JEDEC == 0 {
			return &chips[i], true
		}
	}
	return nil, false
}

// Program is the duration of one program command of n bytes, 1 to 256.
func (t *Timing) Program(n uint32) time.Duration {
	return min(t.FirstByte+time.Duration(n-1)*t.NextByte, t.Page)
}

// Erase is the duration of one erase command of n bytes, SectorSize or BlockSize.
func (t *Timing) Erase(n uint32) time.Duration {
	if n == BlockSize {
		return t.Block
	}
	return t.Sector
}
