package image

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
)

// ErrSpec is wrapped by the errors of Build.
var ErrSpec = errors.New("image cannot be built")

// MinBuildSize is the smallest image that Build makes, in bytes: one segment
// with nothing but the descriptor.
const MinBuildSize = 336

// Limits of the RAM segments of a built image, in bytes.
const (
	maxBuiltDRAM = 32 << 10
	maxBuiltIRAM = 96 << 10
)

// Spec describes an application image to build. Equal specs give equal bytes.
type Spec struct {
	Version       string // at most 32 bytes
	Project       string // at most 32 bytes
	SecureVersion uint32
	Size          uint32 // of the file with its hash, in bytes; a multiple of 16
	Chip          *Chip  // nil: ESP32
	MinRevision   uint16 // major*100 + minor
	MaxRevision   uint16 // 0 and 65535: any
	Entry         uint32 // 0: start of the code in IRAM
	FlashSize     uint32 // in bytes, a power of two from 1 to 128 MiB; 0: 4 MiB
	Time          string // at most 16 bytes, "" is "00:00:00"
	Date          string // at most 16 bytes, "" is "Jan  1 2024"
	IDFVersion    string // at most 32 bytes, "" is "v5.5.5"
	Seed          uint64
	RAM           bool // one segment, in RAM: verifies at any address, as a second-stage boot loader does
}

func (s Spec) withDefaults() Spec {
	if s.Chip == nil {
		s.Chip = ESP32
	}
	if s.FlashSize == 0 {
		s.FlashSize = 4 << 20
	}
	if s.Time == "" {
		s.Time = "00:00:00"
	}
	if s.Date == "" {
		s.Date = "Jan  1 2024"
	}
	if s.IDFVersion == "" {
		s.IDFVersion = "v5.5.5"
	}
	return s
}

func (s *Spec) check() error {
	for _, f := range []struct {
		name, text string
		max        int
	}{
		{"version", s.Version, 32}, {"project", s.Project, 32}, {"IDF version", s.IDFVersion, 32},
		{"time", s.Time, 16}, {"date", s.Date, 16},
	} {
		if len(f.text) > f.max {
			return fmt.Errorf("%w: %s %q has %d bytes, at most %d", ErrSpec, f.name, f.text, len(f.text), f.max)
		}
	}
	switch {
	case s.Chip.loader == nil:
		return fmt.Errorf("%w: chip %s is not supported", ErrSpec, s.Chip.Name)
	case s.Size%16 != 0:
		return fmt.Errorf("%w: size %d is not a multiple of 16", ErrSpec, s.Size)
	case s.Size < MinBuildSize:
		return fmt.Errorf("%w: size %d is smaller than %d", ErrSpec, s.Size, MinBuildSize)
	case s.Size > sixteenMiB:
		return fmt.Errorf("%w: size %d is larger than 16 MiB", ErrSpec, s.Size)
	case s.FlashSize&(s.FlashSize-1) != 0 || s.FlashSize < 1<<20 || s.FlashSize > 128<<20:
		return fmt.Errorf("%w: flash size %d is no power of two from 1 to 128 MiB", ErrSpec, s.FlashSize)
	}
	return nil
}

// Build makes an application image of exactly Size bytes that every check of
// the bootloader, the app and esptool accepts: header, up to four segments
// (DROM with the descriptor, IROM, DRAM, IRAM), checksum and appended SHA-256.
// The content is incompressible and a function of Project, Version, Size and
// Seed. The image boots in any partition that starts at a multiple of 64 KiB.
// The error wraps ErrSpec.
func Build(s Spec) ([]byte, error) {
	s = s.withDefaults()
	if err := s.check(); err != nil {
		return nil, err
	}
	segs, err := s.layout()
	if err != nil {
		return nil, err
	}
	seed := sha256.Sum256(fmt.Appendf(nil, "%q %q %d %d", s.Project, s.Version, s.Size, s.Seed))
	noise := rand.NewChaCha8(seed)
	out := make([]byte, s.Size)
	h := Header{
		Magic: Magic, SegmentCount: byte(len(segs)), SPIMode: 2,
		SPISizeSpeed: byte(bits.TrailingZeros32(s.FlashSize)-20) << 4,
		Entry:        s.Entry, WPPin: wpPinDisabled, ChipID: s.Chip.ID,
		MinRevision: byte(s.MinRevision / 100), MinRevFull: s.MinRevision, MaxRevFull: s.MaxRevision,
		HashAppended: 1,
	}
	if h.Entry == 0 {
		h.Entry = s.Chip.loader.codeStart()
	}
	h.AppendTo(out[:0])
	sum := byte(checksumSeed)
	for i, seg := range segs {
		head := out[seg.DataOffset-SegmentHeadSize:]
		binary.LittleEndian.PutUint32(head, seg.LoadAddr)
		binary.LittleEndian.PutUint32(head[4:], seg.Len)
		data := out[seg.DataOffset:][:seg.Len]
		if i == 0 {
			d := s.descriptor(seed)
			data = data[copy(data, d[:]):]
		}
		_, _ = noise.Read(data) // never fails
		sum = xorBytes(sum, out[seg.DataOffset:][:seg.Len])
	}
	body := out[:s.Size-HashSize]
	body[len(body)-1] = sum
	digest := sha256.Sum256(body)
	copy(out[len(body):], digest[:])
	return out, nil
}

func (s *Spec) descriptor(seed [32]byte) [DescriptorSize]byte {
	d := Descriptor{
		SecureVersion: s.SecureVersion,
		Version:       s.Version,
		Project:       s.Project,
		Time:          s.Time,
		Date:          s.Date,
		IDFVersion:    s.IDFVersion,
		ELFSHA256:     sha256.Sum256(seed[:]),
		MaxBlockRev:   99,
		// log2 of the 64 KiB that every supported chip uses
		MMUPageSizeLog: 16,
	}
	return d.Encode()
}

// codeStart is where the code of a built image starts: behind the vectors.
func (m *loaderMap) codeStart() uint32 { return m.iramBase() + 0x400 }

func (m *loaderMap) iramBase() uint32 {
	if m.inverted {
		return m.iram.Low
	}
	return m.iramAlias.Low // below it some chips keep their instruction cache
}

func (m *loaderMap) dramBase() uint32 {
	if m.inverted {
		return 0x3FFB0000 // below it the ROM and Bluetooth keep their data
	}
	return m.dramAlias.Low + maxBuiltIRAM
}

// layout splits the content: RAM gets an eighth at most, constants about a
// quarter, code the rest.
func (s *Spec) layout() ([]Segment, error) {
	m := s.Chip.loader
	// the checksum takes the last byte, the filler before it keeps the rest of
	// the lengths multiples of four
	room := s.Size - HashSize - HeaderSize - 4
	if s.RAM {
		return []Segment{{LoadAddr: m.iramBase(), Len: room - SegmentHeadSize, DataOffset: HeaderSize + SegmentHeadSize}}, nil
	}
	var lens [4]uint32 // DROM, IROM, DRAM, IRAM
	if room < 4*SegmentHeadSize+DescriptorSize+64 {
		lens[0] = room - SegmentHeadSize
	} else {
		room -= 4 * SegmentHeadSize
		lens[2] = min(room/32, maxBuiltDRAM) &^ 3
		lens[3] = min(room/12, maxBuiltIRAM) &^ 3
		rest := room - lens[2] - lens[3]
		lens[0] = max(DescriptorSize, rest/4&^3)
		// a segment must end inside its window, which starts on a 64 KiB page
		window := m.irom.High - m.irom.Low - 2*mappingPage
		if code := rest - lens[0]; code > window {
			lens[0] += code - window
		}
		lens[1] = rest - lens[0]
	}
	bases := [4]uint32{m.drom.Low, m.irom.Low, m.dramBase(), m.iramBase()}
	limit := m.drom.High - m.drom.Low - mappingPage
	if m.oneMMU {
		pages := (DescriptorOffset + lens[0] + mappingPage - 1) &^ (mappingPage - 1)
		bases[1] += pages
		limit = m.irom.High - m.irom.Low - min(lens[1]+2*mappingPage, m.irom.High-m.irom.Low)
	}
	if lens[0] > limit {
		return nil, fmt.Errorf("%w: size %d is more than an %s can map", ErrSpec, s.Size, s.Chip.Name)
	}
	segs, at := []Segment{}, uint32(HeaderSize)
	for i, n := range lens {
		if n == 0 {
			continue
		}
		at += SegmentHeadSize
		seg := Segment{LoadAddr: bases[i], Len: n, DataOffset: at}
		if i < 2 {
			seg.LoadAddr += at % mappingPage
		}
		segs = append(segs, seg)
		at += n
	}
	return segs, nil
}
