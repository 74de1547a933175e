package otaops

import (
	"encoding/binary"

	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/device/defect"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/otadata"
	"github.com/otasim/otasim/flashmodel/partition"
)

// Sizes with a meaning of their own.
const (
	SizeUnknown      = 0xFFFFFFFF // Begin erases the whole partition
	SequentialWrites = 0xFFFFFFFE // Write erases as it goes
)

// v4 reports the code of ESP-IDF v4.2 and older.
func (o *Ops) v4() bool {
	return o.cfg.Kind == bootloader.AFR2022 || o.cfg.Kind == bootloader.AFR2018
}

// Begin is esp_ota_begin: it opens an update of p and erases what size needs,
// from the partition's start. From v5 on the handle is given before the
// erase and stays open if that fails.
func (o *Ops) Begin(p *partition.Record, size uint32) (Handle, Err) {
	i, err := o.target(p)
	if err != OK {
		return 0, err
	}
	target := o.record(i)
	if target.Type == partition.TypeApp || o.v4() {
		if !isOTA(target) || (o.cfg.Kind == bootloader.AFR2018 && target.Subtype > partition.SubtypeOTA+1) {
			return 0, InvalidArg
		}
		running := o.runningIndex()
		if i == running {
			return 0, PartitionConflict
		}
		if o.cfg.Rollback && o.cfg.Kind != bootloader.AFR2018 {
			state, err := o.GetState(o.record(running))
			if !err.Returned() {
				return 0, err
			}
			if err == OK && state == otadata.PendingVerify {
				return 0, RollbackBadState
			}
		}
	}
	u := update{staging: int16(i), final: int16(i), lazy: size == SequentialWrites && o.cfg.Kind != bootloader.AFR2018}
	if o.v4() {
		if err := o.eraseFor(target, size, u.lazy); err != OK {
			return 0, err
		}
		return o.open(u), OK
	}
	h := o.open(u)
	if err := o.eraseFor(target, size, u.lazy); err != OK {
		return h, err
	}
	if o.cfg.Rollback && isOTA(target) {
		if err := o.dropLastBoot(false); !err.Returned() {
			return h, err
		}
	}
	return h, OK
}

// target is the index of the table's record that equals p.
func (o *Ops) target(p *partition.Record) (int, Err) {
	if p == nil {
		return -1, InvalidArg
	}
	i := o.find(p)
	if i < 0 {
		return -1, NotFound
	}
	return i, OK
}

func (o *Ops) eraseFor(p *partition.Record, size uint32, lazy bool) Err {
	switch {
	case o.cfg.Defects.Has(defect.SkipSlotErase):
		return OK
	case o.cfg.Defects.Has(defect.WrongTarget):
		return o.erase(o.record(o.runningIndex()), 0, p.Size)
	case lazy:
		return OK
	case size == 0 || size == SizeUnknown:
		size = p.Size
	case o.cfg.Kind == bootloader.AFR2018:
		size = (size/flashmodel.SectorSize + 1) * flashmodel.SectorSize
	default:
		size = (size + flashmodel.SectorSize - 1) &^ (flashmodel.SectorSize - 1)
	}
	return o.erase(p, 0, size)
}

// Resume is esp_ota_resume (v5.5 on): it opens an update that continues at
// offset. Nothing is erased unless erase is SequentialWrites.
func (o *Ops) Resume(p *partition.Record, erase, offset uint32) (Handle, Err) {
	if p == nil || offset > p.Size {
		return 0, InvalidArg
	}
	i, err := o.target(p)
	if err != OK {
		return 0, err
	}
	if target := o.record(i); target.Type == partition.TypeApp && !isOTA(target) {
		return 0, InvalidArg
	}
	if i == o.runningIndex() {
		return 0, PartitionConflict
	}
	return o.open(update{staging: int16(i), final: int16(i), lazy: erase == SequentialWrites, resumed: true, wrote: offset}), OK
}

// SetFinalPartition is esp_ota_set_final_partition (v5.5 on): the image is
// written to the partition of Begin and meant for final, to which End copies
// it if copying is set.
func (o *Ops) SetFinalPartition(h Handle, final *partition.Record, copying bool) Err {
	if final == nil {
		return InvalidArg
	}
	u, ok := o.State.find(h)
	if !ok {
		return NotFound
	}
	if !u.resumed && u.wrote != 0 {
		return InvalidState
	}
	if *final == *o.record(int(u.staging)) {
		return OK
	}
	i, err := o.target(final)
	if err != OK {
		return err
	}
	u.final, u.copying = int16(i), copying
	o.set(u)
	return OK
}

// Write is esp_ota_write: data follows what was written before. nil is a null
// pointer; data must not change afterwards, whole sectors of it are shared.
func (o *Ops) Write(h Handle, data []byte) Err {
	if data == nil {
		return InvalidArg
	}
	if len(data) == 0 && !o.v4() {
		return OK
	}
	u, ok := o.State.find(h)
	if !ok {
		return InvalidArg
	}
	if u.lazy {
		if err := o.eraseAhead(&u, uint32(len(data))); err != OK {
			return err
		}
	}
	if u.wrote == 0 && u.partial == 0 && len(data) > 0 && !o.startsWell(&u, data) {
		return ValidateFailed
	}
	if !o.plain() {
		return o.writeUnits(u, data)
	}
	if err := o.programShared(o.record(int(u.staging)), u.wrote, data); err != OK {
		return err
	}
	u.wrote += uint32(len(data))
	o.set(u)
	return OK
}

// eraseAhead erases the sectors that the next n bytes enter.
func (o *Ops) eraseAhead(u *update, n uint32) Err {
	first, last := u.wrote/flashmodel.SectorSize, (u.wrote+n)/flashmodel.SectorSize
	if !o.v4() {
		last = (u.wrote + n - 1) / flashmodel.SectorSize
	}
	p := o.record(int(u.staging))
	switch {
	case u.wrote%flashmodel.SectorSize == 0:
		return o.erase(p, u.wrote, (last-first+1)*flashmodel.SectorSize)
	case first != last:
		return o.erase(p, (first+1)*flashmodel.SectorSize, (last-first)*flashmodel.SectorSize)
	}
	return OK
}

// startsWell looks at the first bytes of an update.
func (o *Ops) startsWell(u *update, data []byte) bool {
	switch o.record(int(u.final)).Type {
	case partition.TypeApp, partition.TypeBootloader:
		return data[0] == image.Magic
	case partition.TypePartitionTable:
		return len(data) > 1 && binary.LittleEndian.Uint16(data) == 0x50AA
	}
	return true
}

// writeUnits gathers bytes until a 16-byte unit is full: flash encryption takes
// whole units.
func (o *Ops) writeUnits(u update, data []byte) Err {
	p := o.record(int(u.staging))
	if u.partial != 0 {
		n := copy(u.unit[u.partial:], data)
		u.partial += uint8(n)
		if u.partial != uint8(len(u.unit)) {
			o.set(u)
			return OK
		}
		if err := o.program(p, u.wrote, u.unit[:]); err != OK {
			o.set(u)
			return err
		}
		u.partial = 0
		for i := range u.unit {
			u.unit[i] = 0xFF
		}
		u.wrote += uint32(len(u.unit))
		data = data[n:]
	}
	whole := len(data) &^ (len(u.unit) - 1)
	u.partial = uint8(copy(u.unit[:], data[whole:]))
	err := o.programShared(p, u.wrote, data[:whole])
	if err == OK {
		u.wrote += uint32(whole)
	}
	o.set(u)
	return err
}

// WriteWithOffset is esp_ota_write_with_offset: data goes to offset, in any
// order, without a look at its first byte. data must not change afterwards.
func (o *Ops) WriteWithOffset(h Handle, data []byte, offset uint32) Err {
	if data == nil {
		return InvalidArg
	}
	u, ok := o.State.find(h)
	if !ok {
		return InvalidArg
	}
	if u.lazy {
		return Abort
	}
	if !o.plain() && len(data)%len(u.unit) != 0 {
		return InvalidArg
	}
	if o.cfg.Defects.Has(defect.WritesTooHigh) {
		offset += flashmodel.BlockSize
	}
	if err := o.programShared(o.record(int(u.staging)), offset, data); err != OK {
		return err
	}
	u.wrote += uint32(len(data))
	o.set(u)
	return OK
}

// End is esp_ota_end: it verifies what is in the partition, whoever wrote it,
// and closes the handle in every case.
func (o *Ops) End(h Handle) Err {
	u, ok := o.State.find(h)
	if !ok {
		return NotFound
	}
	err := o.finish(&u)
	if err.Returned() {
		o.close(h)
	}
	return err
}

func (o *Ops) finish(u *update) Err {
	if u.wrote == 0 {
		return InvalidArg
	}
	staging, final := o.record(int(u.staging)), o.record(int(u.final))
	if u.partial > 0 {
		if o.program(staging, u.wrote, u.unit[:]) != OK {
			return InvalidState
		}
	}
	switch final.Type {
	case partition.TypeApp, partition.TypeBootloader:
		if err := o.verify(staging); err != OK {
			return err
		}
	case partition.TypePartitionTable:
		limit := o.cfg.FlashSize
		if limit == 0 {
			limit = o.flash.Size()
		}
		if _, err := partition.LoadBootloader(o.mem, staging.Offset, limit); err != partition.OK {
			return ValidateFailed
		}
	}
	if u.copying {
		return o.copyPartition(final, staging)
	}
	return OK
}

// copyPartition is esp_partition_copy of as much as fits in dst.
func (o *Ops) copyPartition(dst, src *partition.Record) Err {
	if dst.Size > src.Size {
		return InvalidSize
	}
	if err := o.erase(dst, 0, dst.Size); err != OK {
		return err
	}
	buf := make([]byte, flashmodel.SectorSize)
	for at := uint32(0); at < dst.Size; {
		b := buf[:min(dst.Size-at, uint32(len(buf)))]
		if err := fromFlash(o.of(src).Read(src.Offset+at, b)); err != OK {
			return err
		}
		if err := o.program(dst, at, b); err != OK {
			return err
		}
		at += uint32(len(b))
	}
	return OK
}

// Abort is esp_ota_abort: it forgets the handle and leaves the flash as it is.
func (o *Ops) Abort(h Handle) Err {
	if _, ok := o.State.find(h); !ok {
		return NotFound
	}
	o.close(h)
	return OK
}
