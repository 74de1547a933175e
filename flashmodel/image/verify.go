package image

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"math"

	"github.com/otasim/otasim/flashmodel"
)

// Err is the return code of the loader (esp_err_t).
type Err int32

// Codes of Verify. ErrAbort is no code of the firmware: the code stops in a
// failed assertion and the chip resets.
const (
	OK            Err = 0
	ErrFail       Err = -1    // flash not readable, wrong chip or revision, secure version too small
	ErrInvalidArg Err = 0x102 // partition larger than 16 MiB
	ErrInvalid    Err = 0x2002
	ErrAbort      Err = math.MinInt32
)

func (e Err) String() string {
	switch e {
	case OK:
		return "ok"
	case ErrFail:
		return "fail"
	case ErrInvalidArg:
		return "invalid argument"
	case ErrInvalid:
		return "image invalid"
	case ErrAbort:
		return "abort"
	}
	return fmt.Sprintf("error 0x%x", int32(e))
}

// Mode says who looks at the image.
type Mode byte

// AppVerify is esp_image_verify in a running app: nothing is loaded.
// BootLoad is the bootloader that loads an app to start it; it also checks the
// load addresses and, with AntiRollback, the secure version.
// BootLoadUnchecked is the bootloader with validation switched off (skip on
// wake-up or by configuration): addresses and lengths only.
const (
	AppVerify Mode = iota
	BootLoad
	BootLoadUnchecked
)

// HeaderChecks says what the firmware knows of the header, which grew with
// ESP-IDF: v3.1 looks at nothing behind the magic but the segment count, v4.0
// to v4.4 at the chip id and the legacy revision byte, later ones at the chip
// id and both full revisions.
type HeaderChecks byte

// The generations of header checks; the newest is the zero value.
const (
	CheckRevisions HeaderChecks = iota
	CheckLegacyRevision
	CheckNoChip
)

// Signature is the signature check that secure boot adds; package secureboot
// implements it.
type Signature interface {
	// ID names scheme and trust anchors; equal IDs give equal verdicts.
	ID() string
	// PadTo is the alignment of the block: 4096 for a V2 sector, 1 for a block
	// right after the image. The filler is signed too.
	PadTo() uint32
	// BlockLen is the length of one block, which counts for the fit check.
	BlockLen() uint32
	// SignsBootloader: the bootloader image carries a block as well.
	SignsBootloader() bool
	// NewHash is the hash that is signed.
	NewHash() hash.Hash
	// Check verifies the block against the hash of everything before it.
	Check(digest, block []byte) error
}

// VerifyOptions describes the code that verifies and the chip it runs on. The
// zero value is a running app on an ESP32 of revision 0.0.
type VerifyOptions struct {
	Mode          Mode
	Chip          *Chip  // nil: ESP32
	Revision      uint16 // of the chip, major*100 + minor
	BlockRevision uint16 // of the eFuse blocks; only chips after the ESP32 look at it
	Header        HeaderChecks
	AntiRollback  bool   // CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK of ESP-IDF v5.2 and later
	SecureVersion uint32 // of the eFuse; BootLoad with AntiRollback refuses smaller ones
	Wake          bool   // woken from deep sleep: RTC segments are not loaded
	Debugger      bool   // a JTAG debugger is attached: no checksum, no hash
	Signature     Signature
}

// Metadata describes a verified image. It is shared between callers and must
// not be changed. Of a failed verification only Why and Start are set.
type Metadata struct {
	Start     uint32 // absolute flash address of the header
	Header    Header
	Segments  []Segment
	ImageLen  uint32         // with hash and one signature block
	BodyLen   uint32         // header to checksum, what SHA256 covers
	SHA256    [HashSize]byte // of header to checksum, computed even if none is appended
	Signed    bool           // a signature was checked
	Why       string         // reason of a failure
	FailStep  int            // step of the loader that failed, 1 to 16
	Described bool           // there is a Descriptor

	Descriptor    Descriptor
	SecureVersion uint32 // of Descriptor, 0 without one
}

// Verify runs the image loader of the bootloader or of an app on the image at
// addr in a partition of size bytes, all steps in their order, and returns its
// code and what it found. Reads go to absolute flash addresses, past the end of
// the partition if the image claims so: the length is compared last.
//
// If r is a *flashmodel.Flash, or a decrypting view of one, verifying the same
// bytes at the same address again costs no work.
//
// Source: esp-idf components/bootloader_support/src/esp_image_format.c
// (image_load) and bootloader_common_loader.c.
func Verify(r flashmodel.Reader, addr, size uint32, opt VerifyOptions) (Metadata, Err) {
	f, ok := r.(*flashmodel.Flash)
	id := ""
	if c, encrypted := r.(interface {
		Under() (*flashmodel.Flash, string)
	}); encrypted {
		f, id = c.Under()
		ok = f != nil
	}
	if !ok || size > sixteenMiB {
		v := verify(r, addr, size, &opt)
		return v.md, v.err
	}
	fresh := false
	v := flashmodel.Remember(f, opt.id()+id, addr, size, func() verdict {
		fresh = true
		return verify(r, addr, size, &opt)
	})
	if v.outside && !fresh {
		// the verdict also hangs on bytes behind the partition
		v = verify(r, addr, size, &opt)
	}
	return v.md, v.err
}

type verdict struct {
	md      Metadata
	err     Err
	outside bool // the image reached past the partition
}

// id tells apart everything in the options that can change a verdict.
func (o *VerifyOptions) id() string {
	b := make([]byte, 0, 64)
	b = append(b, "image.Verify "...)
	b = append(b, o.chip().Name...)
	b = append(b, byte(o.Mode), byte(o.Header), flag(o.AntiRollback)|flag(o.Wake)<<1|flag(o.Debugger)<<2)
	b = binary.LittleEndian.AppendUint16(b, o.Revision)
	b = binary.LittleEndian.AppendUint16(b, o.BlockRevision)
	b = binary.LittleEndian.AppendUint32(b, o.SecureVersion)
	if o.Signature != nil {
		b = append(b, o.Signature.ID()...)
	}
	return string(b)
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func (o *VerifyOptions) chip() *Chip {
	if o.Chip == nil {
		return ESP32
	}
	return o.Chip
}

// loader is one run of image_load.
type loader struct {
	r    flashmodel.Reader
	opt  *VerifyOptions
	chip *Chip
	addr uint32
	size uint32

	verifies  bool      // checks checksum and hash
	loads     bool      // copies segments to RAM
	hashes    bool      // feeds the hash that is compared
	signature Signature // nil: no signature is checked
	sum       byte
	sha       hash.Hash // SHA-256 of the image
	signed    hash.Hash // what the signature covers, nil without
	secure    uint32    // secure version read while loading
	high      uint64    // highest address touched
	buf       []byte
	md        Metadata
}

type failure struct {
	step int
	err  Err
	why  string
}

func fail(step int, err Err, format string, args ...any) *failure {
	return &failure{step, err, fmt.Sprintf(format, args...)}
}

func verify(r flashmodel.Reader, addr, size uint32, opt *VerifyOptions) verdict {
	l := &loader{r: r, opt: opt, chip: opt.chip(), addr: addr, size: size, sum: checksumSeed, sha: sha256.New()}
	l.loads = opt.Mode == BootLoad || opt.Mode == BootLoadUnchecked
	l.verifies = opt.Mode != BootLoadUnchecked
	bootloader := addr == l.chip.BootloaderOffset
	if l.verifies && opt.Signature != nil && (!bootloader || opt.Signature.SignsBootloader()) {
		l.signature = opt.Signature
		l.signed = opt.Signature.NewHash()
	}
	l.hashes = l.verifies && (!bootloader || l.signature != nil)
	f := l.run()
	out := verdict{md: l.md, outside: l.high > uint64(addr)+uint64(size)}
	if f != nil {
		out.err = f.err
		out.md = Metadata{Start: addr, Why: f.why, FailStep: f.step}
	}
	return out
}

func (l *loader) run() *failure {
	if l.size > sixteenMiB {
		return fail(2, ErrInvalidArg, "partition size 0x%x is larger than 16 MiB", l.size)
	}
	if l.chip.loader == nil {
		return fail(1, ErrInvalidArg, "images of %s cannot be verified", l.chip.Name)
	}
	l.buf = make([]byte, 8192)
	if f := l.header(); f != nil {
		return f
	}
	at := uint64(l.addr) + HeaderSize
	for i := range int(l.md.Header.SegmentCount) {
		next, f := l.segment(i, at)
		if f != nil {
			return f
		}
		at = next
	}
	if at > math.MaxUint32 {
		return fail(11, ErrInvalid, "image wraps around the address space")
	}
	if f := l.checksum(uint32(at) - l.addr); f != nil {
		return f
	}
	if f := l.length(); f != nil {
		return f
	}
	if l.opt.Mode == BootLoad && l.opt.AntiRollback && l.secure < l.opt.SecureVersion {
		return fail(16, ErrFail, "secure version %d is smaller than %d in eFuse", l.secure, l.opt.SecureVersion)
	}
	return nil
}

// read fills b and feeds the hashes.
func (l *loader) read(at uint64, b []byte, step int, what string) *failure {
	if f := l.peek(at, b, step, what); f != nil {
		return f
	}
	l.sha.Write(b)
	if l.signed != nil {
		l.signed.Write(b)
	}
	return nil
}

func (l *loader) peek(at uint64, b []byte, step int, what string) *failure {
	l.high = max(l.high, at+uint64(len(b)))
	if at+uint64(len(b)) > math.MaxUint32 {
		return fail(step, ErrFail, "%s at 0x%x is outside the flash", what, at)
	}
	if err := l.r.Read(uint32(at), b); err != nil {
		return fail(step, ErrFail, "%s at 0x%x: %v", what, at, err)
	}
	return nil
}

func (l *loader) header() *failure {
	b := l.buf[:HeaderSize]
	if f := l.read(uint64(l.addr), b, 3, "header"); f != nil {
		return f
	}
	h, err := DecodeHeader(b)
	if err != nil {
		return fail(3, ErrFail, "%v", err)
	}
	l.md.Start, l.md.Header = l.addr, h
	if !l.verifies {
		return nil
	}
	if h.Magic != Magic {
		return fail(4, ErrInvalid, "magic byte %02X at 0x%x, nothing flashed here", h.Magic, l.addr)
	}
	if f := l.chipChecks(&h); f != nil {
		return f
	}
	if h.SegmentCount > MaxSegments {
		return fail(7, ErrInvalid, "%d segments, at most %d", h.SegmentCount, MaxSegments)
	}
	return nil
}

func (l *loader) chipChecks(h *Header) *failure {
	if l.opt.Header == CheckNoChip {
		return nil
	}
	if h.ChipID != l.chip.ID {
		return fail(5, ErrFail, "image is for chip id %d, this is an %s with %d", h.ChipID, l.chip.Name, l.chip.ID)
	}
	rev, lo, hi := l.opt.Revision, h.MinRevFull, h.MaxRevFull
	if l.opt.Header == CheckLegacyRevision {
		rev, lo, hi = rev/100*100, 100*uint16(h.MinRevision), 0
	}
	if rev < lo {
		return fail(6, ErrFail, "image needs chip revision v%d.%d, this is v%d.%d", lo/100, lo%100, rev/100, rev%100)
	}
	if hi != 0 && hi != 0xFFFF && rev > hi {
		return fail(6, ErrFail, "image allows chip revision up to v%d.%d, this is v%d.%d", hi/100, hi%100, rev/100, rev%100)
	}
	return nil
}

// segment processes segment i, whose header is at the absolute address at.
func (l *loader) segment(i int, at uint64) (next uint64, f *failure) {
	head := l.buf[:SegmentHeadSize]
	if f := l.read(at, head, 8, "segment header"); f != nil {
		return 0, f
	}
	at += SegmentHeadSize
	s := Segment{
		LoadAddr:   binary.LittleEndian.Uint32(head),
		Len:        binary.LittleEndian.Uint32(head[4:]),
		DataOffset: uint32(at - uint64(l.addr)),
	}
	l.md.Segments = append(l.md.Segments, s)
	if s.Len%4 != 0 || s.Len >= sixteenMiB {
		return 0, fail(8, ErrInvalid, "segment %d: invalid length 0x%x", i, s.Len)
	}
	m := l.chip.loader
	mapped := m.drom.has(s.LoadAddr) || m.irom.has(s.LoadAddr)
	if mapped && uint32(at)%mappingPage != s.LoadAddr%mappingPage {
		return 0, fail(8, ErrInvalid, "segment %d: load address 0x%08x does not match flash address 0x%x", i, s.LoadAddr, at)
	}
	if l.loads && s.Len > 0 && m.loadsTo(s.LoadAddr, l.opt.Wake) {
		if s.LoadAddr < 1<<31 && s.LoadAddr+s.Len >= 1<<31 {
			// addresses are compared as signed numbers, the end must be larger
			return 0, fail(9, ErrAbort, "segment %d: 0x%08x + 0x%x leaves the address space", i, s.LoadAddr, s.Len)
		}
		if why := m.refuses(s.LoadAddr, s.LoadAddr+s.Len, false); why != "" {
			return 0, fail(9, ErrInvalid, "segment %d: 0x%08x-0x%08x %s", i, s.LoadAddr, s.LoadAddr+s.Len, why)
		}
	}
	return at + uint64(s.Len), l.data(i, at, s.Len)
}

func (l *loader) data(i int, at uint64, n uint32) *failure {
	for done := uint32(0); done < n; {
		b := l.buf[:min(n-done, uint32(len(l.buf)))]
		if f := l.read(at+uint64(done), b, 10, "segment data"); f != nil {
			return f
		}
		if i == 0 && done == 0 {
			if f := l.firstData(at, b); f != nil {
				return f
			}
		}
		l.sum = xorBytes(l.sum, b)
		done += uint32(len(b))
	}
	return nil
}

// firstData looks at the start of segment 0 the way the loader does.
func (l *loader) firstData(at uint64, b []byte) *failure {
	if d, err := ReadDescriptor(l.r, l.addr); err == nil {
		// whole even if the segment is shorter, as its readers take it
		l.high = max(l.high, at+DescriptorSize)
		l.md.Descriptor, l.md.Described = d, true
		l.md.SecureVersion = d.SecureVersion
	}
	if l.addr == l.chip.BootloaderOffset || !l.verifies {
		return nil
	}
	if l.chip != ESP32 {
		if f := l.blockRevision(at); f != nil {
			return f
		}
	}
	if !l.opt.AntiRollback {
		return nil
	}
	if len(b) < 8 || binary.LittleEndian.Uint32(b) != descriptorMagic {
		return fail(10, ErrAbort, "segment 0 does not start with an application descriptor")
	}
	l.secure = binary.LittleEndian.Uint32(b[offDescSecure:])
	return nil
}

// blockRevision compares the eFuse block revision with the descriptor, whose
// magic is not looked at.
func (l *loader) blockRevision(at uint64) *failure {
	var d [4]byte
	if f := l.peek(at+offDescMinBlock, d[:], 10, "application descriptor"); f != nil {
		return f
	}
	lo, hi := binary.LittleEndian.Uint16(d[:]), binary.LittleEndian.Uint16(d[2:])
	set := func(v uint16) bool { return v != 0 && v != 0xFFFF }
	rev := l.opt.BlockRevision
	if set(lo) && rev < lo || set(hi) && rev > hi {
		return fail(10, ErrFail, "image needs eFuse block revision v%d.%d to v%d.%d, this is v%d.%d", lo/100, lo%100, hi/100, hi%100, rev/100, rev%100)
	}
	return nil
}

// checksum reads the filler behind the last segment, n bytes into the image.
func (l *loader) checksum(n uint32) *failure {
	pad := l.buf[:16-n%16]
	if f := l.read(uint64(l.addr)+uint64(n), pad, 12, "checksum"); f != nil {
		return f
	}
	stored := pad[len(pad)-1]
	if l.verifies && !l.opt.Debugger && stored != l.sum {
		return fail(12, ErrInvalid, "checksum is %02x, the data gives %02x", stored, l.sum)
	}
	l.md.BodyLen = n + uint32(len(pad))
	l.sha.Sum(l.md.SHA256[:0])
	return nil
}

// length is everything behind the checksum: hash, fit and signature.
func (l *loader) length() *failure {
	var appended []byte
	end := l.md.BodyLen
	if l.md.Header.HashAppended != 0 {
		appended = l.buf[:HashSize]
		if f := l.peek(uint64(l.addr)+uint64(end), appended, 13, "appended hash"); f != nil {
			return f
		}
		end += HashSize
	}
	l.md.ImageLen = end
	full := uint64(end)
	if sig := l.opt.Signature; sig != nil && (l.addr != l.chip.BootloaderOffset || sig.SignsBootloader()) {
		full = alignUp(full, uint64(sig.PadTo())) + uint64(sig.BlockLen())
	}
	if full > uint64(l.size) {
		return fail(13, ErrInvalid, "image length %d does not fit in partition length %d", full, l.size)
	}
	switch {
	case l.signature != nil:
		return l.checkSignature(appended, end, uint32(full))
	case l.hashes && appended != nil && !l.opt.Debugger && !bytes.Equal(appended, l.md.SHA256[:]):
		return fail(15, ErrInvalid, "SHA-256 is %x, the data gives %x", appended, l.md.SHA256)
	}
	return nil
}

func (l *loader) checkSignature(appended []byte, end, full uint32) *failure {
	sig := l.signature
	l.signed.Write(appended)
	hashOK := appended == nil || bytes.Equal(appended, l.md.SHA256[:])
	at := uint64(l.addr) + uint64(end)
	blockAt := uint64(l.addr) + uint64(full-sig.BlockLen())
	filler := make([]byte, blockAt-at)
	if f := l.peek(at, filler, 14, "filler before the signature"); f != nil {
		return f
	}
	l.signed.Write(filler)
	block := make([]byte, sig.BlockLen())
	if f := l.peek(blockAt, block, 14, "signature"); f != nil {
		return f
	}
	if err := sig.Check(l.signed.Sum(nil), block); err != nil {
		note := "image valid, signature bad"
		if !hashOK {
			note = "image corrupted on flash"
		}
		return fail(14, ErrInvalid, "signature at 0x%x: %v (%s)", blockAt, err, note)
	}
	l.md.Signed = true
	l.md.ImageLen = full
	return nil
}

func alignUp(n, a uint64) uint64 { return (n + a - 1) / a * a }

// End is where the image itself ends, with its appended hash and without
// signature, in bytes from Start.
func (m *Metadata) End() uint32 {
	if m.Header.HashAppended != 0 {
		return m.BodyLen + HashSize
	}
	return m.BodyLen
}
