package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/sim/dump"
)

// imageReport is the report of esptool image-info and what follows the image.
type imageReport struct {
	*image.InfoReport
	File          string   `json:"file"`
	Size          int      `json:"size"`
	ImageLength   uint32   `json:"image_length"` // with its hash; 0: cut short
	Signature     string   `json:"signature"`    // none, ecdsa or v2
	SignatureAt   uint32   `json:"signature_offset,omitempty"`
	SignatureKeys []string `json:"signature_key_digests,omitempty"`
	After         string   `json:"after"`
	Problems      []string `json:"problems"`

	header *image.Header
}

// tail looks behind the image.
func (r *imageReport) tail(data []byte) {
	r.Problems, r.Signature = []string{}, dump.SignedNone
	p, err := image.Parse(data)
	if err != nil {
		return
	}
	d := dump.DescribeImage(p, 0)
	r.ImageLength, r.Signature, r.SignatureAt, r.SignatureKeys, r.After, r.Problems = d.Length, d.Signature, d.SignatureAt, d.SignatureKeys, d.After, d.Problems
	r.header = &p.Header
}

// writeText prints what esptool image-info prints, and a part more.
func (r *imageReport) writeText(w io.Writer, detected bool) {
	chip := image.ChipByName(r.Chip)
	section := func(title string) {
		fmt.Fprintf(w, "\n%s\n%s\n", title, strings.Repeat("=", len(title)))
	}
	fmt.Fprintf(w, "Image size: %d bytes\n", r.Size)
	if detected {
		fmt.Fprintf(w, "Detected image type: %s\n", chip.Name)
	}
	section(chip.Name + " Image Header")
	fmt.Fprintln(w, "Image version: 1")
	if r.Entry != 0 {
		fmt.Fprintf(w, "Entry point: %#8x\n", r.Entry)
	} else {
		fmt.Fprintln(w, "Entry point not set")
	}
	fmt.Fprintf(w, "Segments: %d\n", len(r.Segments))
	if x := r.InfoExtended; x != nil && r.header != nil {
		r.writeExtended(w, chip, section)
	}
	section("Segments Information")
	fmt.Fprintf(w, "%7s  %7s  %10s  %10s  %-10s\n", "Segment", "Length", "Load addr", "File offs", "Memory types")
	fmt.Fprintln(w, "-------  -------  ----------  ----------  ------------")
	for i, s := range r.Segments {
		fmt.Fprintf(w, "%7d  0x%05x  0x%08x  0x%08x  %s\n", i, s.Len, s.Addr, s.FileOffset, strings.Join(s.Memory, ", "))
	}
	section(chip.Name + " Image Footer")
	if r.ChecksumValid {
		fmt.Fprintf(w, "Checksum: 0x%02x (valid)\n", r.ChecksumStored)
	} else {
		fmt.Fprintf(w, "Checksum: 0x%02x (invalid - calculated 0x%02x)\n", r.ChecksumStored, r.ChecksumCalc)
	}
	if x := r.InfoExtended; x != nil && x.HashCalc != nil {
		verdict := "invalid"
		if *x.HashValid {
			verdict = "valid"
		}
		fmt.Fprintf(w, "Validation hash: %s (%s)\n", *x.HashCalc, verdict)
	}
	r.writeDescriptor(w, section)
	if r.After != "" {
		section("Behind the Image")
		fmt.Fprintf(w, "Image length: %d bytes\n", r.ImageLength)
		switch r.Signature {
		case dump.SignedECDSA:
			fmt.Fprintf(w, "ECDSA block at 0x%x: Secure Boot V1 or FreeRTOS trailer\n", r.SignatureAt)
		case dump.SignedV2:
			fmt.Fprintf(w, "Secure Boot V2 sector at 0x%x\n", r.SignatureAt)
			for i, k := range r.SignatureKeys {
				fmt.Fprintf(w, "  block %d, key digest %s\n", i, k)
			}
		}
		fmt.Fprintf(w, "Then: %s\n", r.After)
	}
}

func (r *imageReport) writeExtended(w io.Writer, chip *image.Chip, section func(string)) {
	h := r.header
	size := fmt.Sprintf("%dMB", h.FlashSize()>>20)
	if h.FlashSize() == 0 {
		size = fmt.Sprintf("invalid (0x%x)", h.SPISizeSpeed>>4)
	}
	fmt.Fprintf(w, "Flash size: %s\nFlash freq: %s\nFlash mode: %s\n", size, dump.FlashFreq(h), dump.FlashMode(h))
	section(chip.Name + " Extended Image Header")
	fmt.Fprintf(w, "WP pin: 0x%x", h.WPPin)
	if h.WPPin == 0xEE {
		fmt.Fprint(w, " (disabled)")
	}
	d := h.Drive
	fmt.Fprintf(w, "\nFlash pins drive settings: clk_drv: 0x%x, q_drv: 0x%x, d_drv: 0x%x, cs0_drv: 0x%x, hd_drv: 0x%x, wp_drv: 0x%x\n",
		d[0]&15, d[0]>>4, d[1]&15, d[1]>>4, d[2]&15, d[2]>>4)
	name := "Unknown ID"
	if c := image.ChipByID(h.ChipID); c != nil {
		name = c.Name
	}
	fmt.Fprintf(w, "Chip ID: %d (%s)\n", h.ChipID, name)
	fmt.Fprintf(w, "Minimal chip revision: v%d.%d, (legacy min_rev = %d)\n", h.MinRevFull/100, h.MinRevFull%100, h.MinRevision)
	fmt.Fprintf(w, "Maximal chip revision: v%d.%d\n", h.MaxRevFull/100, h.MaxRevFull%100)
}

func (r *imageReport) writeDescriptor(w io.Writer, section func(string)) {
	switch {
	case r.AppDesc != nil:
		d := r.AppDesc
		section("Application Information")
		fmt.Fprintf(w, "Project name: %s\nApp version: %s\nCompile time: %s %s\nELF file SHA256: %s\nESP-IDF: %s\n",
			d.Project, d.Version, d.Date, d.Time, d.ELFSHA256, d.IDFVersion)
		fmt.Fprintf(w, "Minimal eFuse block revision: %s\nMaximal eFuse block revision: %s\n", d.MinBlockRev, d.MaxBlockRev)
		if d.MMUPageSize != nil {
			fmt.Fprintf(w, "MMU page size: %s\n", *d.MMUPageSize)
		}
		fmt.Fprintf(w, "Secure version: %d\n", d.SecureVersion)
	case r.BootDesc != nil:
		d := r.BootDesc
		section("Bootloader Information")
		fmt.Fprintf(w, "Bootloader version: %d\nESP-IDF: %s\nCompile time: %s\n", d.Version, d.IDFVersion, d.DateTime)
	}
}
