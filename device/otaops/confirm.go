package otaops

import (
	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/flashmodel/otadata"
	"github.com/otasim/otasim/flashmodel/partition"
)

// MarkValid is esp_ota_mark_app_valid_cancel_rollback: the record that
// otadata calls active becomes VALID, in place, whichever image is running.
// With anti-rollback the eFuse then rises to the running app's version.
func (o *Ops) MarkValid() Err {
	e, active, err := o.current()
	if err != OK {
		return err
	}
	if e[active].State == otadata.Valid {
		return OK
	}
	e[active].State = otadata.Valid
	if err := o.rewrite(e[active], active); err != OK || !o.antiRollback() {
		return err
	}
	return o.burnRunning()
}

// burnRunning raises the eFuse to the secure version of the running app.
func (o *Ops) burnRunning() Err {
	p, err := o.Running()
	if err != OK {
		return err
	}
	d, err := o.Description(p)
	if err != OK {
		return err
	}
	return Err(o.fuse.BurnSecureVersion(d.SecureVersion, o.secVerBits()))
}

// MarkInvalid is esp_ota_mark_app_invalid_rollback: the active record becomes
// INVALID, in place, if there is another image to go back to.
func (o *Ops) MarkInvalid() Err {
	e, active, err := o.current()
	if err != OK {
		return err
	}
	possible, err := o.RollbackPossible()
	switch {
	case err != OK:
		return err
	case !possible:
		return RollbackFailed
	}
	e[active].State = otadata.Invalid
	return o.rewrite(e[active], active)
}

// MarkInvalidAndReboot is esp_ota_mark_app_invalid_rollback_and_reboot. After
// success it is Restart.
func (o *Ops) MarkInvalidAndReboot() Err {
	if err := o.MarkInvalid(); err != OK {
		return err
	}
	return Restart
}

// current is the record that the running app is about.
func (o *Ops) current() (e [2]otadata.Entry, active int, err Err) {
	e, ok := o.records()
	if !ok {
		return e, -1, NotFound
	}
	if active = otadata.Active(e); active < 0 {
		return e, -1, Fail
	}
	n, ok := o.count()
	switch {
	case !ok:
		return e, -1, Abort
	case n == 0:
		return e, -1, Fail
	}
	return e, active, OK
}

// RollbackPossible is esp_ota_check_rollback_is_possible: the slot of the
// other record, or else the factory app, holds an image that verifies.
func (o *Ops) RollbackPossible() (bool, Err) {
	e, ok := o.records()
	if !ok {
		return false, OK
	}
	n, ok := o.count()
	if !ok {
		return false, Abort
	}
	active := otadata.Active(e)
	if n == 0 || active < 0 {
		return false, OK
	}
	other := e[1-active]
	if !other.Usable() {
		if o.antiRollback() {
			return false, OK
		}
		p, ok := o.app.records.FindFirst(partition.TypeApp, partition.SubtypeFactory)
		if !ok {
			return false, OK
		}
		return o.verifies(&p)
	}
	p := o.slot(other.Slot(n))
	if p == nil {
		return false, OK
	}
	good, err := o.verifies(p)
	if !good || !o.antiRollback() {
		return good, err
	}
	d, err := o.Description(p)
	return err == OK && o.newEnough(d.SecureVersion), OK
}

func (o *Ops) verifies(p *partition.Record) (bool, Err) {
	err := o.verify(p)
	if !err.Returned() {
		return false, err
	}
	return err == OK, OK
}

// LastInvalid is esp_ota_get_last_invalid_partition: of the refused records
// the one with the lower number, if its slot still verifies.
func (o *Ops) LastInvalid() (*partition.Record, Err) {
	e, ok := o.records()
	if !ok {
		return nil, OK
	}
	var refused [2]bool
	for i, r := range e {
		refused[i] = r.Seq != otadata.EmptySeq && r.CRCGood() && r.Unusable()
	}
	n, ok := o.count()
	if !ok {
		return nil, Abort
	}
	i := otadata.SelectLowest(e, refused)
	if n == 0 || i < 0 {
		return nil, OK
	}
	p := o.slot(e[i].Slot(n))
	if p == nil {
		return nil, OK
	}
	if good, err := o.verifies(p); !good {
		return nil, err
	}
	return p, OK
}

// GetState is esp_ota_get_state_partition: the state of the first record with
// a good CRC that names the slot.
func (o *Ops) GetState(p *partition.Record) (otadata.ImageState, Err) {
	if p == nil {
		return 0, InvalidArg
	}
	slot, ok := p.OTASlot()
	if !ok {
		return 0, NotSupported
	}
	n, ok := o.count()
	if !ok {
		return 0, Abort
	}
	e, ok := o.records()
	if !ok || n == 0 {
		return 0, NotFound
	}
	for _, r := range e {
		if r.Slot(n) == uint32(slot) && r.CRCGood() {
			return r.State, OK
		}
	}
	return 0, NotFound
}

// EraseLastBootApp is esp_ota_erase_last_boot_app_partition: it erases the
// slot of the record that is not active, then that record.
func (o *Ops) EraseLastBootApp() Err { return o.dropLastBoot(true) }

// InvalidateInactive is esp_ota_invalidate_inactive_ota_data_slot (v5.5 on):
// it erases the record that is not active.
func (o *Ops) InvalidateInactive() Err { return o.dropLastBoot(false) }

func (o *Ops) dropLastBoot(app bool) Err {
	e, ok := o.records()
	if !ok {
		return Fail
	}
	n, ok := o.count()
	if !ok {
		return Abort
	}
	active := otadata.Active(e)
	if active < 0 || n == 0 {
		return Fail
	}
	other := e[1-active]
	if other.Initial() {
		return Fail
	}
	p := o.slot(other.Slot(n))
	running := o.runningIndex()
	switch {
	case p == nil:
		return Fail
	case running < 0:
		return Abort
	case p == o.record(running):
		return Fail
	}
	if app {
		if err := o.erase(p, 0, p.Size); err != OK {
			return err
		}
	}
	return o.erase(o.record(o.app.otadata), uint32(1-active)*otadata.SectorSize, otadata.SectorSize)
}

// BootFlags is aws_esp_ota_get_boot_flags of the FreeRTOS ports: the state of
// the active or the passive record as the port sees them.
func (o *Ops) BootFlags(active bool) (otadata.ImageState, Err) {
	e, ok := o.records()
	if !ok {
		return otadata.Invalid, Fail
	}
	return e[otadata.PortRecord(e, o.portUsable(e), active)].State, OK
}

// Unnamed reports whether the active record is a good one with a state that has no name: power failed while it was written,
// and the boot loader starts its image without a trial.
func (o *Ops) Unnamed() bool {
	e, ok := o.records()
	if !ok {
		return false
	}
	usable := o.portUsable(e)
	i := otadata.PortRecord(e, usable, true)
	return usable[i] && e[i].State > otadata.Aborted && e[i].State != otadata.Undefined
}

// SetBootFlags is aws_esp_ota_set_boot_flags: it rewrites that record in
// place with another state and its other bytes as they are, CRC included.
func (o *Ops) SetBootFlags(state otadata.ImageState, active bool) Err {
	e, ok := o.records()
	if !ok {
		return Fail
	}
	i := otadata.PortRecord(e, o.portUsable(e), active)
	e[i].State = state
	p, at := o.record(o.app.otadata), uint32(i)*otadata.SectorSize
	if err := o.erase(p, at, otadata.SectorSize); err != OK {
		return err
	}
	raw := e[i].Encode()
	if err := o.program(p, at, raw[:]); err != OK || !o.antiRollback() || state != otadata.Valid {
		return err
	}
	return o.burnRunning()
}

func (o *Ops) portUsable(e [2]otadata.Entry) [2]bool {
	if o.cfg.Kind == bootloader.AFR2018 {
		return [2]bool{e[0].UsableToPort2018(), e[1].UsableToPort2018()}
	}
	return [2]bool{e[0].Usable(), e[1].Usable()}
}
