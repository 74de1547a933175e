package check

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/otasim/otasim/flashmodel"
)

// Invariants of a single device, judged from flash commands and flash contents by
// code that shares nothing with the device.
const (
	Bootable      = "bootable"        // there is always an image that starts
	VerifiedBytes = "verified-bytes"  // only images of the scenario, whole, are executed
	SecureVersion = "secure-version"  // never below the version in the eFuses
	RunningSlot   = "running-slot"    // the slot that runs is neither erased nor programmed
	OwnSlot       = "own-slot"        // commands stay in otadata and in the slots of applications
	BlankCells    = "blank-cells"     // what is programmed can be read back: no bit is asked to rise
	SelfTestFirst = "self-test-first" // an image on trial is confirmed after its self-test passed, not before
	BootChoice    = "boot-choice"     // the boot loader starts what the records choose
	FuseAfterTest = "fuse-after-test" // the eFuse rises for confirmed images only
	JobTruth      = "job-truth"       // a terminal status says what the flash says
	StatusOnce    = "status-once"     // a terminal status is accepted at most once for an execution
	Liveness      = "liveness"        // once faults have stopped, every execution ends
	Tolerance     = "tolerance"       // an update that succeeds also does when a message comes twice, or a block late or not at all
)

// Breach is one invariant that does not hold.
type Breach struct {
	Invariant string
	Detail    string
}

func (b *Breach) Error() string { return b.Invariant + ": " + b.Detail }

func breach(id, format string, args ...any) *Breach {
	return &Breach{id, fmt.Sprintf(format, args...)}
}

// Trusted is what may run: images by the SHA-256 of their file.
type Trusted map[[32]byte]Image

// Image is what the scenario says about an image.
type Image struct {
	Version  string
	Passes   bool          // its self-test passes
	SelfTest time.Duration // how long that takes
}

// Chip is what must be known about a board to judge it.
type Chip struct {
	TableOffset  uint32
	AntiRollback bool
	Rollback     bool
	Trusted      Trusted
}

// Started judges the start of the application in the slot at an address. efuse is the
// secure version in the eFuses.
func (c *Chip) Started(f *flashmodel.Flash, at, size, efuse uint32) (Image, *Breach) {
	s := readSlotOnce(f, at, size)
	if !s.Bootable {
		return Image{}, breach(VerifiedBytes, "the image that starts at 0x%x is not whole", at)
	}
	i, ok := c.Trusted[s.SHA256]
	if !ok {
		return i, breach(VerifiedBytes, "the image that starts at 0x%x (version %q) is none of the scenario's", at, s.Version)
	}
	if c.AntiRollback && s.SecureVersion < efuse {
		return i, breach(SecureVersion, "version %q with secure_version %d runs, the eFuses say %d", s.Version, s.SecureVersion, efuse)
	}
	return i, nil
}

// Stopped judges a device on which nothing starts: that must not be.
func (c *Chip) Stopped(f *flashmodel.Flash, why string) *Breach {
	t := ReadTruth(f, c.TableOffset)
	if t.Bootable() {
		return breach(Bootable, "%s, although a slot holds an image that verifies", why)
	}
	return breach(Bootable, "%s, and no slot holds an image that verifies", why)
}

// Record is one otadata record.
type Record struct {
	Seq, State, CRC uint32
	Good            bool // the CRC is that of Seq
	Blank           bool // nothing was ever written
}

// StateName is the record's state as esp_ota_img_states_t has it.
func (r Record) StateName() string {
	if n, ok := stateNames[r.State]; ok {
		return n[len("ESP_OTA_IMG_"):]
	}
	return fmt.Sprintf("0x%08x", r.State)
}

func (r Record) String() string {
	switch {
	case r.Blank:
		return "erased"
	case !r.Good:
		return fmt.Sprintf("seq %d %s (bad CRC)", r.Seq, r.StateName())
	}
	return fmt.Sprintf("seq %d %s", r.Seq, r.StateName())
}

// DecodeRecord reads the 32 bytes of a record.
func DecodeRecord(b []byte) Record {
	le := binary.LittleEndian
	r := Record{Seq: le.Uint32(b), State: le.Uint32(b[24:]), CRC: le.Uint32(b[28:])}
	r.Good = r.CRC == recordCRC(b[:4]) && r.Seq != 0xffffffff
	r.Blank = true
	for _, v := range b[:32] {
		r.Blank = r.Blank && v == 0xff
	}
	return r
}

// Records reads both records of the otadata partition at an address.
func Records(f *flashmodel.Flash, at uint32) (r [2]Record) {
	for i := range r {
		var b [32]byte
		if f.Read(at+uint32(i)*flashmodel.SectorSize, b[:]) == nil {
			r[i] = DecodeRecord(b[:])
		}
	}
	return r
}

// Watch follows one device through a run: every flash command, every start.
type Watch struct {
	Chip
	slots   []Slot
	otadata uint32

	running  *Slot // nil: the boot loader is at work
	image    Image
	secure   uint32 // of the running image
	trial    bool
	tested   bool
	testDone time.Duration
	fuse     uint32
	Breaches []*Breach
	When     []time.Duration
}

// NewWatch begins to follow a device as it left the factory.
func NewWatch(c Chip, f *flashmodel.Flash, otadata, efuse uint32) *Watch {
	t := ReadTruth(f, c.TableOffset)
	return &Watch{Chip: c, slots: t.Slots, otadata: otadata, fuse: efuse}
}

func (w *Watch) add(now time.Duration, b *Breach) {
	if b == nil {
		return
	}
	for _, have := range w.Breaches {
		if have.Invariant == b.Invariant {
			return // the first of each kind tells
		}
	}
	w.Breaches, w.When = append(w.Breaches, b), append(w.When, now)
}

// Booting says that the chip was reset: no application runs.
func (w *Watch) Booting() { w.running, w.trial, w.tested = nil, false, false }

// Start judges the start of the application in the slot at an address.
func (w *Watch) Start(now time.Duration, f *flashmodel.Flash, at, efuse uint32) {
	w.running = nil
	for i := range w.slots {
		if w.slots[i].Offset == at {
			w.running = &w.slots[i]
		}
	}
	if w.running == nil {
		w.add(now, breach(VerifiedBytes, "code runs at 0x%x, which is no slot", at))
		return
	}
	i, b := w.Started(f, at, w.running.Size, efuse)
	w.add(now, b)
	w.image, w.secure = i, readSlotOnce(f, at, w.running.Size).SecureVersion
	t := ReadTruth(f, w.TableOffset)
	w.trial = t.Active >= 0 && t.Slots[t.Active].Offset == at && (t.State == "ESP_OTA_IMG_PENDING_VERIFY" || t.State == "ESP_OTA_IMG_NEW")
	w.tested = false
}

// Version is that of the image that runs, "" in the boot loader.
func (w *Watch) Version() string {
	if w.running == nil {
		return ""
	}
	return w.image.Version
}

// recordCRC is the checksum of a record: CRC-32 of its sequence number, as bootloader_common_ota_select_crc computes it.
func recordCRC(seq []byte) uint32 { return crc32.Update(0xffffffff, crc32.IEEETable, seq) }

func readSlotOnce(f *flashmodel.Flash, at, size uint32) Slot {
	return flashmodel.Remember(f, "check.slot", at, size, func() Slot { return readSlot(f, at, size) })
}

// Dead says that the device has given up: no image starts.
func (w *Watch) Dead(now time.Duration, f *flashmodel.Flash) {
	w.add(now, w.Stopped(f, "no image starts"))
}

// SelfTest says that the running application began its self-test.
func (w *Watch) SelfTest(now time.Duration) { w.tested, w.testDone = true, now+w.image.SelfTest }

// Fuse judges the secure version in the eFuses after a step.
func (w *Watch) Fuse(now time.Duration, efuse uint32) {
	if efuse > w.fuse && w.trial && !w.passed(now) {
		w.add(now, breach(FuseAfterTest, "the eFuses rise from %d to %d while version %s is on trial", w.fuse, efuse, w.image.Version))
	}
	if efuse > w.fuse && w.running != nil && efuse > w.secure {
		w.add(now, breach(FuseAfterTest, "the eFuses rise from %d to %d, above the secure version %d of the image that runs", w.fuse, efuse, w.secure))
	}
	w.fuse = max(w.fuse, efuse)
}

func (w *Watch) passed(now time.Duration) bool {
	return w.tested && w.image.Passes && now >= w.testDone
}

// Op judges a command that is about to be executed.
func (w *Watch) Op(f *flashmodel.Flash, op flashmodel.Op) {
	end := op.Addr + op.Len
	switch {
	case op.Addr >= w.otadata && end <= w.otadata+2*flashmodel.SectorSize:
		w.record(op)
	default:
		inside := false
		for i := range w.slots {
			s := &w.slots[i]
			if op.Addr < s.Offset || op.Addr >= s.Offset+s.Size {
				continue
			}
			inside = end <= s.Offset+s.Size
			if w.running != nil && w.running.Offset == s.Offset {
				w.add(op.Start, breach(RunningSlot, "%s of 0x%x+%d in %s, which runs", op.Kind, op.Addr, op.Len, s.Label))
			}
		}
		if !inside {
			w.add(op.Start, breach(OwnSlot, "%s of 0x%x+%d, outside otadata and the slots", op.Kind, op.Addr, op.Len))
		}
	}
	if op.Kind == flashmodel.OpProgram && op.Data != nil {
		var buf [flashmodel.PageSize]byte
		old := buf[:min(len(op.Data), len(buf))]
		if f.Read(op.Addr, old) == nil {
			for i := range old {
				if op.Data[i]&^old[i] != 0 {
					w.add(op.Start, breach(BlankCells, "program of 0x%x+%d asks bits of a cell to rise from 0 to 1 (0x%x holds %02x, wanted %02x)", op.Addr, op.Len, op.Addr+uint32(i), old[i], op.Data[i]))
					break
				}
			}
		}
	}
}

// record judges a record that is about to be programmed.
func (w *Watch) record(op flashmodel.Op) {
	if op.Kind != flashmodel.OpProgram || len(op.Data) < 32 || w.running == nil || !w.trial {
		return
	}
	r := DecodeRecord(op.Data)
	if r.State == 2 && !w.passed(op.Start) {
		w.add(op.Start, breach(SelfTestFirst, "%s is confirmed (VALID) before its self-test passed", w.image.Version))
	}
}

// Chosen holds a boot against the records before it: if one of them must be followed, and its slot holds an image that
// may start, the image at an address must be that one. n is the number of OTA slots.
func (c *Chip) Chosen(f *flashmodel.Flash, before [2]Record, at, efuse uint32) *Breach {
	best := -1
	for i, r := range before {
		if !r.Good || r.State == 3 || r.State == 4 || c.Rollback && r.State == 1 {
			continue
		}
		if best < 0 || r.Seq > before[best].Seq {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	t := ReadTruth(f, c.TableOffset)
	var ota []*Slot
	for sub := byte(0x10); sub < 0x20; sub++ {
		for i := range t.Slots {
			if t.Slots[i].Subtype == sub {
				ota = append(ota, &t.Slots[i])
			}
		}
	}
	if len(ota) == 0 {
		return nil
	}
	s := ota[(before[best].Seq-1)%uint32(len(ota))]
	if !s.Bootable || c.AntiRollback && s.SecureVersion < efuse || s.Offset == at {
		return nil
	}
	return breach(BootChoice, "record %d (%s) chooses %s, whose image verifies, but the image at 0x%x starts", best, before[best], s.Label, at)
}

// Digest is the key of an image file in Trusted.
func Digest(file []byte) [32]byte { return sha256.Sum256(file) }

// Tolerates compares the end of an execution with its end in a run in which no message was disturbed.
func Tolerates(job, status, undisturbed string) *Breach {
	if status == undisturbed {
		return nil
	}
	return breach(Tolerance, "the execution of %s is %s; with every message delivered once and in order it is %s", job, status, undisturbed)
}

// Settled compares the latest execution of a device at the end of a run, when faults have stopped for long, with the
// version of the image that runs. broken says that something else is wrong with the device already.
func Settled(job, status string, ended bool, offered, running string, broken bool) *Breach {
	switch {
	case broken:
		return nil
	case !ended:
		return breach(Liveness, "the execution of %s is still %s", job, status)
	case status == "SUCCEEDED" && running != offered:
		return breach(JobTruth, "%s is SUCCEEDED with version %s, but %s runs", job, offered, running)
	case status == "FAILED" && running == offered:
		return breach(JobTruth, "%s is FAILED, but its version %s runs", job, offered)
	}
	return nil
}
