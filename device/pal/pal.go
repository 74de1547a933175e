// Package pal is the platform layer of the OTA agent on an ESP32: files are OTA slots, states are otadata records.
//
//	slot   | image, size bytes of the job | 00 00 00 00 | r 32 | s 32 | FF x 12 | FF ...
//	                                        \_____ 80-byte signature trailer ____/
//
// It acts through device/otaops and the flash model only. Source: aws/amazon-freertos
// vendors/espressif/boards/ports/ota_pal_for_aws, and lib/ota/portable/espressif of 2018, which differs in what Ops does.
package pal

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"time"

	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/device/defect"
	"github.com/otasim/otasim/device/otaops"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/otadata"
	"github.com/otasim/otasim/flashmodel/partition"
)

// TrailerSize is the length of the signature trailer behind an image.
const TrailerSize = 80

// Costs is what verification costs the CPU.
type Costs struct {
	HashRate uint32        // bytes a second, read from flash and hashed
	Verify   time.Duration // of one ECDSA P-256 signature
}

// PAL is the platform layer's RAM: a value. Ops and Flash belong to the device.
type PAL struct {
	Ops   *otaops.Ops
	Flash *flashmodel.Flash
	Costs Costs
	// KeepsTrailerRoom refuses a file that leaves no room for the trailer before the slot is erased. The ports do not.
	KeepsTrailerRoom bool
	// ChecksTrailer refuses a signature that cannot be laid out as the trailer. The ports take the image for valid; that of
	// 2018 at least reports the failure, where the other one's status has no main code.
	ChecksTrailer, Of2018 bool
	// AnySignature takes a file whatever its signature: code signing is switched off.
	AnySignature bool
	// TestsUnnamed lets the running image be accepted or refused although the state in its record has no name. The ports
	// only decide a trial.
	TestsUnnamed bool
	Defects      defect.Set // planted, to test checkers

	slot    partition.Record
	handle  otaops.Handle
	written uint32 // sum of the lengths of all writes since boot, the trailer included
	open    bool
	valid   bool
}

// Create erases the next slot and opens it. It is refused while the running image is on trial.
func (p *PAL) Create(f *agent.File) agent.PALStatus {
	slot, err := p.Ops.NextUpdate(nil)
	if err != otaops.OK || slot == nil || f.Path.Null {
		return agent.PALFileCreate
	}
	if p.KeepsTrailerRoom && uint64(f.Size)+TrailerSize > uint64(slot.Size) {
		return agent.PALFileTooLarge
	}
	handle, err := p.Ops.Begin(slot, otaops.SizeUnknown)
	if err != otaops.OK {
		return agent.PALFileCreate
	}
	p.slot, p.handle, p.written, p.open, p.valid = *slot, handle, 0, true, false
	return 0
}

// Slot returns the slot that was opened last.
func (p *PAL) Slot() partition.Record { return p.slot }

// Write programs a block of the file; data never changes afterwards. It returns the length, or -1.
func (p *PAL) Write(offset uint32, data []byte) int {
	if !p.open || p.Ops.WriteWithOffset(p.handle, data, offset) != otaops.OK {
		return -1
	}
	p.written += uint32(len(data))
	return len(data)
}

// Close authenticates what was written and appends the signature. signer is a certificate, PEM or DER.
func (p *PAL) Close(f *agent.File, signer []byte) agent.PALStatus {
	if !p.open {
		return agent.PALFileClose
	}
	if len(f.Signature) == 0 || p.written == 0 {
		p.open = false
		return agent.PALSignature
	}
	if p.Defects.Has(defect.RecordBeforeVerify) {
		_ = p.Ops.SetBoot(&p.slot) // this defect does not look
	}
	if !p.AnySignature && !p.authentic(f.Signature, signer) && !p.Defects.Has(defect.SkipSignature) {
		p.open = false
		p.eraseSlot()
		return agent.PALSignature
	}
	t, whole, ok := trailer(f.Signature)
	switch {
	case !whole && p.ChecksTrailer:
		p.open = false
		p.eraseSlot()
		return agent.PALSignature
	case !ok && p.Of2018:
		p.valid = true
		return agent.PALBadSignerCert
	case !ok:
		p.valid = true
		return agent.PALStatus(agent.PALBadSignerCert.Main())
	}
	if p.Ops.WriteWithOffset(p.handle, t, p.written) != otaops.OK {
		return agent.PALFileClose
	}
	p.written += TrailerSize
	p.valid = true
	return 0
}

// authentic reads the slot back and checks the signature over its digest. Digest and verdict are remembered by content.
func (p *PAL) authentic(signature, signer []byte) bool {
	n := p.written
	if p.Costs.HashRate > 0 {
		p.Flash.Advance(time.Duration(uint64(n) * uint64(time.Second) / uint64(p.Costs.HashRate)))
	}
	p.Flash.Advance(p.Costs.Verify)
	key := sha256.New()
	key.Write(signature)
	key.Write(signer)
	what := string(key.Sum([]byte("ota signature ")))
	if p.Ops.View(&p.slot) != flashmodel.NOR(p.Flash) { // every chip has a key of its own, and other cells for the same bytes
		return verify(p.digest(n), signature, signer)
	}
	return flashmodel.Remember(p.Flash, what, p.slot.Offset, n, func() bool {
		digest := flashmodel.Remember(p.Flash, "sha256", p.slot.Offset, n, func() [32]byte { return p.digest(n) })
		return verify(digest, signature, signer)
	})
}

func (p *PAL) digest(n uint32) (sum [32]byte) {
	h, view := sha256.New(), p.Ops.View(&p.slot)
	var buf [flashmodel.SectorSize]byte
	for at := uint32(0); at < n; at += flashmodel.SectorSize {
		part := buf[:min(flashmodel.SectorSize, n-at)]
		if view.Read(p.slot.Offset+at, part) != nil {
			return sum
		}
		h.Write(part)
	}
	h.Sum(sum[:0])
	return sum
}

func verify(digest [32]byte, signature, signer []byte) bool {
	der := signer
	if block, _ := pem.Decode(signer); block != nil {
		der = block.Bytes
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return false
	}
	key, ok := cert.PublicKey.(*ecdsa.PublicKey)
	return ok && key.Curve == elliptic.P256() && ecdsa.VerifyASN1(key, digest[:], signature)
}

// trailer lays the signature out as secure boot V1 wants it. whole says that it is DER and nothing else. What follows the DER
// goes unnoticed in the ports, which then write whatever their memory held, here zeros; ok is false where they notice.
func trailer(signature []byte) (t []byte, whole, ok bool) {
	t = make([]byte, TrailerSize)
	for i := 68; i < TrailerSize; i++ {
		t[i] = 0xff
	}
	var rs struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(signature, &rs)
	switch {
	case err != nil || rs.R.Sign() < 0 || rs.S.Sign() < 0 || rs.S.BitLen() > 256:
		return t, false, false
	case len(rest) > 0:
		return t, false, true
	case rs.R.BitLen() > 256: // only what became of s is looked at
		rs.S.FillBytes(t[36:68])
		return t, false, true
	}
	rs.R.FillBytes(t[4:36])
	rs.S.FillBytes(t[36:68])
	return t, true, true
}

// Install copies size bytes from the start of the slot to another partition, erased before from end to end.
func (p *PAL) Install(to partition.Record, size uint32) bool {
	if size > to.Size || p.Flash.Erase(to.Offset, to.Size) != nil {
		return false
	}
	from, into := p.Ops.View(&p.slot), p.Ops.View(&to)
	encrypted := into != flashmodel.NOR(p.Flash)
	var buf [flashmodel.SectorSize]byte
	for at := uint32(0); at < size; at += flashmodel.SectorSize {
		part := buf[:min(flashmodel.SectorSize, size-at)]
		if from.Read(p.slot.Offset+at, part) != nil {
			return false
		}
		for encrypted && len(part)%16 != 0 { // whole units only
			part = append(part, 0xff)
		}
		if into.Program(to.Offset+at, part) != nil {
			return false
		}
	}
	return true
}

// Abort forgets the open file. Flash is not touched and the count of written bytes stays, so that later state changes
// go to the passive record.
func (p *PAL) Abort() agent.PALStatus {
	p.open = false
	return 0
}

// Activate verifies the new image as the boot loader will and makes it the one to boot. The device restarts whatever
// the result; a slot that does not pass is erased.
func (p *PAL) Activate(beforeRecord func()) {
	if p.handle == 0 || p.written == 0 {
		return
	}
	if p.Ops.End(p.handle) != otaops.OK {
		p.eraseSlot()
		return
	}
	beforeRecord()
	if p.Ops.SetBoot(&p.slot) != otaops.OK {
		p.eraseSlot()
	}
}

func (p *PAL) eraseSlot() {
	// A range of the partition table is always erasable; only the cells can fail, and they say nothing.
	_ = p.Flash.Erase(p.slot.Offset, p.slot.Size)
}

var recordStates = map[agent.ImageState]otadata.ImageState{
	agent.ImageAccepted: otadata.Valid, agent.ImageRejected: otadata.Invalid, agent.ImageAborted: otadata.Aborted,
}

// SetState records the agent's verdict. Without a transfer since boot it is about the running image, and only a trial
// can be decided; decided is then true and the trial's watchdog is off. After a transfer it is about the other record.
func (p *PAL) SetState(s agent.ImageState) (status agent.PALStatus, decided bool) {
	if s == agent.ImageTesting {
		return 0, false
	}
	state, ok := recordStates[s]
	if !ok {
		return agent.PALBadImageState, false
	}
	active, err := p.Ops.BootFlags(true)
	if err != otaops.OK {
		return agent.PALCommitFailed, false
	}
	if p.TestsUnnamed && p.Ops.Unnamed() {
		active = otadata.PendingVerify // power failed while it was written
	}
	if !p.open && p.written == 0 {
		switch active {
		case otadata.PendingVerify:
			if s == agent.ImageAccepted && p.Defects.Has(defect.ConfirmNotWritten) {
				return 0, true
			}
			if p.Ops.SetBootFlags(state, true) != otaops.OK {
				return agent.PALCommitFailed, false
			}
			return 0, true
		case otadata.Valid:
			return 0, false
		}
		return agent.PALCommitFailed, false
	}
	if s == agent.ImageAccepted && !p.valid || active != otadata.Valid || p.Ops.SetBootFlags(state, false) != otaops.OK {
		return agent.PALCommitFailed, false
	}
	return 0, false
}

// State reads the boot record as the agent wants to know it.
func (p *PAL) State() agent.PlatformState {
	if p.open && p.written > 0 {
		if p.valid {
			return agent.PlatformValid
		}
		return agent.PlatformInvalid
	}
	flags, err := p.Ops.BootFlags(true)
	switch {
	case err != otaops.OK:
		return agent.PlatformInvalid
	case flags == otadata.PendingVerify:
		return agent.PlatformPendingCommit
	case flags == otadata.Valid || flags == otadata.New:
		return agent.PlatformValid
	}
	return agent.PlatformInvalid
}
