package dump

import (
	"encoding/hex"
	"fmt"

	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/secureboot"
)

// Signatures that can follow an image.
const (
	SignedNone  = "none"
	SignedECDSA = "ecdsa" // 68 bytes: Secure Boot V1, or the FreeRTOS trailer, which fills up with FF
	SignedV2    = "v2"    // a Secure Boot V2 sector
)

// DescribeImage describes a parsed image; at is where it starts in the flash or file.
func DescribeImage(p *image.Parsed, at uint32) Image {
	h := &p.Header
	out := Image{
		Length: p.Length, Segments: len(p.Segments), Checksum: "missing", Hash: "none",
		MinRevision: revision(h.MinRevFull), MaxRevision: maxRevision(h.MaxRevFull),
		Problems: append([]string{}, p.Problems...), Signature: SignedNone,
	}
	if p.WantHash != [image.HashSize]byte{} { // the file reaches to the checksum
		out.Checksum = verdict(p.Checksum == p.WantChecksum)
		out.SHA256 = hex.EncodeToString(p.WantHash[:])
	}
	if h.HashAppended != 0 {
		out.Hash = "missing"
		if p.Hash != nil {
			out.Hash = verdict([image.HashSize]byte(p.Hash) == p.WantHash)
		}
	}
	if p.Complete() {
		describeTail(&out, p, at)
	}
	return out
}

func verdict(ok bool) string {
	if ok {
		return "valid"
	}
	return "invalid"
}

func revision(v uint16) string { return fmt.Sprintf("v%d.%d", v/100, v%100) }

func maxRevision(v uint16) string {
	if v == 0 || v == 0xFFFF {
		return "any"
	}
	return revision(v)
}

// describeTail tells what is behind a complete image.
func describeTail(out *Image, p *image.Parsed, at uint32) {
	rest := p.Trailing
	from := p.Length // of rest, in the image
	if pad := -p.Length & (secureboot.V2SectorSize - 1); int(pad)+secureboot.V2SectorSize <= len(rest) && filled(rest[:pad], 0xFF) {
		if blocks := secureboot.DecodeV2(rest[pad:][:secureboot.V2SectorSize]); len(blocks) > 0 {
			out.Signature, out.SignatureAt = SignedV2, at+p.Length+pad
			for i := range blocks {
				digest := blocks[i].KeyDigest()
				out.SignatureKeys = append(out.SignatureKeys, hex.EncodeToString(digest[:]))
			}
			from += pad + secureboot.V2SectorSize
		}
	}
	if out.Signature == SignedNone && hasECDSABlock(rest) {
		out.Signature, out.SignatureAt = SignedECDSA, at+p.Length
		from += secureboot.V1BlockSize
	}
	rest = rest[from-p.Length:]
	switch {
	case len(rest) == 0:
		out.After = "nothing"
	case filled(rest, 0xFF):
		out.After = "erased"
	default:
		n := used(rest)
		first := 0
		for rest[first] == 0xFF {
			first++
		}
		out.After = fmt.Sprintf("%d bytes of other data, from 0x%x to 0x%x", n-first, at+from+uint32(first), at+from+uint32(n))
	}
}

// hasECDSABlock reports whether b starts with a version 0 block whose numbers
// are neither 0 nor erased.
func hasECDSABlock(b []byte) bool {
	v1, err := secureboot.DecodeV1(b)
	if err != nil || v1.Version != 0 {
		return false
	}
	for _, n := range [][]byte{v1.R[:], v1.S[:]} {
		if filled(n, 0) || filled(n, 0xFF) {
			return false
		}
	}
	return true
}

// used is the number of bytes up to the last one that is not FF.
func used(b []byte) int {
	n := len(b)
	for n > 0 && b[n-1] == 0xFF {
		n--
	}
	return n
}

// Header values of SPI flash by their official names.
var (
	flashModes = map[byte]string{0: "QIO", 1: "QOUT", 2: "DIO", 3: "DOUT", 4: "FAST_READ", 5: "SLOW_READ"}
	flashFreqs = map[byte]string{0: "40m", 1: "26m", 2: "20m", 15: "80m"}
)

// FlashMode names the SPI mode of a header.
func FlashMode(h *image.Header) string { return named(flashModes, h.SPIMode) }

// FlashFreq names the SPI frequency of a header of the supported chips.
func FlashFreq(h *image.Header) string { return named(flashFreqs, h.SPISizeSpeed&15) }

func named(names map[byte]string, v byte) string {
	if n, ok := names[v]; ok {
		return n
	}
	return fmt.Sprintf("0x%x", v)
}

// FileAt is a flash that holds one file at an address and nothing else.
type FileAt struct {
	Addr uint32
	Data []byte
}

// Read reads the file, FF around it.
func (f FileAt) Read(addr uint32, dst []byte) error {
	for i := range dst {
		dst[i] = 0xFF
	}
	if at := int64(addr) - int64(f.Addr); at < 0 {
		if skip := -at; skip < int64(len(dst)) {
			copy(dst[skip:], f.Data)
		}
	} else if at < int64(len(f.Data)) {
		copy(dst, f.Data[at:])
	}
	return nil
}
