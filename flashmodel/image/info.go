package image

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
	"unicode/utf8"
)

// InfoError is the refusal of a file by Info.
type InfoError struct {
	Class string // one of the Info classes
	Exit  int    // exit status of esptool: 2 refused, 1 its Python code failed
	Msg   string
}

func (e *InfoError) Error() string { return e.Msg }

// Classes of InfoError.
const (
	InfoEmpty            = "empty"
	InfoInvalidMagic     = "invalid_magic"
	InfoHeaderTruncated  = "header_truncated"
	InfoSegmentTruncated = "segment_truncated"
	InfoTooManySegments  = "too_many_segments"
	InfoBadAppendDigest  = "bad_append_digest"
	InfoChecksumMissing  = "checksum_missing"
	InfoNotUTF8          = "app_desc_not_utf8"
	InfoUnknownChip      = "unknown_chip"
)

func refuse(class string, exit int, format string, args ...any) *InfoError {
	return &InfoError{class, exit, fmt.Sprintf(format, args...)}
}

// InfoSegment is a segment as esptool lists it.
type InfoSegment struct {
	Addr       uint32   `json:"addr"`
	Len        int      `json:"len"`       // padded to a multiple of four
	FileOffset int      `json:"file_offs"` // of the segment header
	Memory     []string `json:"mem"`
}

// InfoExtended is what only images after the ESP8266 have.
type InfoExtended struct {
	WPPin        byte    `json:"wp_pin"`
	ChipID       uint16  `json:"chip_id"`
	MinRev       byte    `json:"min_rev"`
	MinRevFull   uint16  `json:"min_rev_full"`
	MaxRevFull   uint16  `json:"max_rev_full"`
	HashAppended bool    `json:"hash_appended"`
	HashStored   *string `json:"hash_stored,omitempty"` // hex, shorter than 32 bytes if the file ends
	HashCalc     *string `json:"hash_calc,omitempty"`
	HashValid    *bool   `json:"hash_valid,omitempty"`
	DataLength   *int    `json:"data_length,omitempty"` // header to checksum
}

// InfoAppDesc is the application descriptor as esptool prints it: texts with
// their NULs removed.
type InfoAppDesc struct {
	Magic         uint32  `json:"magic_word"`
	SecureVersion uint32  `json:"secure_version"`
	Reserved1     string  `json:"reserv1"`
	Version       string  `json:"version"`
	Project       string  `json:"project_name"`
	Time          string  `json:"time"`
	Date          string  `json:"date"`
	IDFVersion    string  `json:"idf_ver"`
	ELFSHA256     string  `json:"app_elf_sha256"`
	MinBlockRev   string  `json:"min_efuse_blk_rev_full"`
	MaxBlockRev   string  `json:"max_efuse_blk_rev_full"`
	MMUPageSize   *string `json:"mmu_page_size"`
	Reserved3     string  `json:"reserv3"`
	Reserved2     string  `json:"reserv2"`
}

// InfoBootDesc is the bootloader descriptor as esptool prints it.
type InfoBootDesc struct {
	Version    uint32 `json:"version"`
	IDFVersion string `json:"idf_ver"`
	DateTime   string `json:"date_time"`
}

// InfoReport is what esptool image-info reads from a file.
type InfoReport struct {
	Chip           string        `json:"chip"` // "esp32s3"
	Entry          uint32        `json:"entry"`
	Segments       []InfoSegment `json:"segments"`
	FlashMode      byte          `json:"flash_mode"`
	FlashSizeFreq  byte          `json:"flash_size_freq"`
	ChecksumStored byte          `json:"checksum_stored"`
	ChecksumCalc   byte          `json:"checksum_calc"`
	ChecksumValid  bool          `json:"checksum_valid"`
	*InfoExtended
	AppDesc  *InfoAppDesc  `json:"app_desc,omitempty"`
	BootDesc *InfoBootDesc `json:"bootloader_desc,omitempty"`
}

// Info reports what "esptool --chip CHIP image-info" does, with its refusals
// (*InfoError). An empty chip name means that the header tells the chip. A
// wrong checksum or hash is no refusal.
//
// Source: esptool esptool/cmds.py (image_info) and esptool/bin_image.py.
func Info(data []byte, chipName string) (*InfoReport, error) {
	if len(data) == 0 {
		return nil, refuse(InfoEmpty, 2, "image is empty")
	}
	anyMagic := data[0] == Magic || data[0] == magic8266V2
	chip := ChipByName(chipName)
	if chipName == "" {
		if !anyMagic {
			return nil, refuse(InfoInvalidMagic, 2, "invalid magic 0x%x", data[0])
		}
		if len(data) <= 8 {
			return nil, refuse(InfoHeaderTruncated, 1, "no extended header in %d bytes", len(data))
		}
		chip = detect(data[8:min(len(data), HeaderSize)])
	}
	if chip == nil {
		return nil, refuse(InfoUnknownChip, 2, "unknown chip %q", chipName)
	}
	p := &infoParser{data: data, chip: chip, sum: checksumSeed, report: &InfoReport{Chip: plainName(chip.Name), Segments: []InfoSegment{}}}
	if err := p.run(); err != nil {
		if !anyMagic {
			err.Exit = 2 // the first byte is looked at before anything can fail otherwise
		}
		return nil, err
	}
	return p.report, nil
}

// detect tells the chip from what there is of the extended header.
func detect(ext []byte) *Chip {
	var id byte
	if len(ext) > 4 {
		id = ext[4] // esptool looks at the low byte
	}
	if c := ChipByID(uint16(id)); c != nil && ext[len(ext)-1] <= 1 {
		return c
	}
	return ChipByName(esp8266)
}

const magic8266V2 = 0xEA

type infoParser struct {
	data   []byte
	at     int
	chip   *Chip
	sum    byte
	report *InfoReport

	app, boot []byte // segments that start with a descriptor
	hasApp    bool
}

// take gives the next n bytes, fewer at the end of the file.
func (p *infoParser) take(n int) []byte {
	if p.at >= len(p.data) {
		return nil
	}
	b := p.data[p.at:min(len(p.data), p.at+n)]
	p.at += len(b)
	return b
}

func (p *infoParser) run() *InfoError {
	var err *InfoError
	switch {
	case p.chip.Name != esp8266:
		err = p.image32()
	case p.data[0] == Magic:
		err = p.plain()
	case p.data[0] == magic8266V2:
		err = p.image8266V2()
	default:
		return refuse(InfoInvalidMagic, 2, "invalid magic 0x%x", p.data[0])
	}
	if err == nil && len(p.report.Segments) > MaxSegments {
		err = refuse(InfoTooManySegments, 2, "%d segments, at most %d", len(p.report.Segments), MaxSegments)
	}
	if err != nil {
		return err
	}
	p.report.ChecksumCalc = p.sum
	p.report.ChecksumValid = p.report.ChecksumStored == p.sum
	return p.descriptors()
}

// common reads the first 8 bytes and returns the segment count.
func (p *infoParser) common(magic byte) (int, *InfoError) {
	b := p.take(8)
	if len(b) < 8 {
		return 0, refuse(InfoHeaderTruncated, 1, "header has %d of 8 bytes", len(b))
	}
	if b[offMagic] != magic {
		return 0, refuse(InfoInvalidMagic, 2, "invalid magic 0x%x", b[offMagic])
	}
	p.report.FlashMode = b[offSPIMode]
	p.report.FlashSizeFreq = b[offSPISize]
	p.report.Entry = binary.LittleEndian.Uint32(b[offEntry:])
	return int(b[offSegments]), nil
}

// plain reads an image without extended header.
func (p *infoParser) plain() *InfoError {
	n, err := p.common(Magic)
	if err != nil {
		return err
	}
	return p.segments(n)
}

func (p *infoParser) image32() *InfoError {
	n, err := p.common(Magic)
	if err != nil {
		return err
	}
	b := p.take(HeaderSize - 8)
	if len(b) < HeaderSize-8 {
		return refuse(InfoHeaderTruncated, 1, "extended header has %d of 16 bytes", len(b))
	}
	h, _ := DecodeHeader(p.data)
	if h.HashAppended > 1 {
		return refuse(InfoBadAppendDigest, 1, "append digest field is %d, not 0 or 1", h.HashAppended)
	}
	x := &InfoExtended{
		WPPin: h.WPPin, ChipID: h.ChipID, MinRev: h.MinRevision, MinRevFull: h.MinRevFull, MaxRevFull: h.MaxRevFull,
		HashAppended: h.HashAppended == 1,
	}
	p.report.InfoExtended = x
	if err := p.segments(n); err != nil {
		return err
	}
	if x.HashAppended {
		end := p.at
		stored, digest := p.take(HashSize), sha256.Sum256(p.data[:end])
		storedHex, calcHex := hex.EncodeToString(stored), hex.EncodeToString(digest[:])
		valid := storedHex == calcHex
		x.HashStored, x.HashCalc, x.HashValid, x.DataLength = &storedHex, &calcHex, &valid, &end
	}
	return nil
}

// image8266V2 reads an ESP8266 image with a segment before the real header.
func (p *infoParser) image8266V2() *InfoError {
	if _, err := p.common(magic8266V2); err != nil {
		return err
	}
	if err := p.segment(); err != nil {
		return err
	}
	p.report.Segments[0].Addr = 0
	p.report.Segments[0].Memory = p.chip.memories(0)
	p.sum = checksumSeed // the first segment does not count
	p.app, p.boot, p.hasApp = nil, nil, false
	return p.plain()
}

func (p *infoParser) segments(n int) *InfoError {
	for range n {
		if err := p.segment(); err != nil {
			return err
		}
	}
	p.at |= 15
	b := p.take(1)
	if len(b) == 0 {
		return refuse(InfoChecksumMissing, 1, "no checksum at 0x%x", p.at)
	}
	p.report.ChecksumStored = b[0]
	return nil
}

func (p *infoParser) segment() *InfoError {
	offset := p.at
	head := p.take(SegmentHeadSize)
	if len(head) < SegmentHeadSize {
		return refuse(InfoHeaderTruncated, 1, "segment header has %d of 8 bytes", len(head))
	}
	addr, size := binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint32(head[4:])
	b := p.take(int(size))
	if uint32(len(b)) < size {
		return refuse(InfoSegmentTruncated, 2, "segment at 0x%x has %d of %d bytes", addr, len(b), size)
	}
	p.sum = xorBytes(p.sum, b)
	if pad := -len(b) & 3; addr != 0 && pad > 0 {
		b = append(b[:len(b):len(b)], make([]byte, pad)...)
	}
	seg := InfoSegment{Addr: addr, Len: len(b), FileOffset: offset, Memory: p.chip.memories(addr)}
	p.report.Segments = append(p.report.Segments, seg)
	p.note(seg.Memory, b)
	return nil
}

// note keeps the first DROM segment and the last DRAM segment, where the
// descriptors are.
func (p *infoParser) note(memory []string, b []byte) {
	drom, dram := false, false
	for _, m := range memory {
		drom = drom || m == "DROM"
		dram = dram || m == "DRAM"
	}
	if drom && !p.hasApp {
		p.app, p.hasApp = b, true
	} else if dram && len(b) >= BootloaderDescriptorSize {
		p.boot = b
	}
}

func (p *infoParser) descriptors() *InfoError {
	switch {
	case len(p.app) > 0:
		return p.appDescriptor(p.app)
	case len(p.boot) > 0 && p.boot[0] == bootloaderDescriptorMagic:
		d := InfoBootDesc{Version: binary.LittleEndian.Uint32(p.boot[4:])}
		if err := texts(p.boot, field{&d.IDFVersion, 8, 32}, field{&d.DateTime, 40, 24}); err != nil {
			return err
		}
		p.report.BootDesc = &d
	}
	return nil
}

func (p *infoParser) appDescriptor(b []byte) *InfoError {
	if len(b) < DescriptorSize {
		return refuse(InfoHeaderTruncated, 1, "application descriptor has %d of 256 bytes", len(b))
	}
	d, err := DecodeDescriptor(b)
	if err != nil {
		return nil // a segment that starts with something else
	}
	out := InfoAppDesc{
		Magic: descriptorMagic, SecureVersion: d.SecureVersion,
		Reserved1:   hex.EncodeToString(b[8:16]),
		ELFSHA256:   hex.EncodeToString(d.ELFSHA256[:]),
		MinBlockRev: fmt.Sprintf("%d.%d", d.MinBlockRev/100, d.MinBlockRev%100),
		MaxBlockRev: fmt.Sprintf("%d.%d", d.MaxBlockRev/100, d.MaxBlockRev%100),
		Reserved3:   hex.EncodeToString(b[offDescMMU+1 : offDescMMU+4]),
		Reserved2:   hex.EncodeToString(b[offDescMMU+4 : DescriptorSize]),
	}
	if d.MMUPageSizeLog != 0 {
		size := new(big.Int).Lsh(big.NewInt(1), uint(d.MMUPageSizeLog))
		text := size.Rsh(size, 10).String() + " KB"
		out.MMUPageSize = &text
	}
	if err := texts(b, field{&out.Version, offDescVersion, 32}, field{&out.Project, offDescProject, 32},
		field{&out.Time, offDescTime, 16}, field{&out.Date, offDescDate, 16}, field{&out.IDFVersion, offDescIDF, 32}); err != nil {
		return err
	}
	p.report.AppDesc = &out
	return nil
}

type field struct {
	to    *string
	at, n int
}

// texts reads text fields; esptool fails on bytes that are not UTF-8.
func texts(b []byte, fields ...field) *InfoError {
	for _, f := range fields {
		raw := b[f.at : f.at+f.n]
		if !utf8.Valid(raw) {
			return refuse(InfoNotUTF8, 1, "descriptor text at 0x%x is not UTF-8", f.at)
		}
		*f.to = strings.ReplaceAll(string(raw), "\x00", "")
	}
	return nil
}
