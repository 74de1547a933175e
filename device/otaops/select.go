package otaops

import (
	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/device/defect"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/otadata"
	"github.com/otasim/otasim/flashmodel/partition"
)

// SetBoot is esp_ota_set_boot_partition: it verifies the image in p and
// writes otadata so that p boots next. The factory app is chosen by erasing
// otadata. An app older than the eFuse allows is erased.
func (o *Ops) SetBoot(p *partition.Record) Err {
	if p == nil {
		return InvalidArg
	}
	if err := o.verify(p); err != OK {
		return err
	}
	if p.Type != partition.TypeApp {
		return InvalidArg
	}
	data := o.record(o.app.otadata)
	if p.Subtype == partition.SubtypeFactory {
		switch {
		case o.cfg.Kind == bootloader.AFR2018:
			return InvalidArg
		case data == nil:
			return NotFound
		}
		return o.erase(data, 0, data.Size)
	}
	if o.antiRollback() {
		d, err := o.Description(p)
		if err != OK {
			return err
		}
		if !o.newEnough(d.SecureVersion) {
			if err := o.erase(p, 0, p.Size); err != OK {
				return err
			}
			return SmallSecVer
		}
	}
	return o.choose(uint32(p.Subtype & 0x0F))
}

// choose is esp_rewrite_ota_data: it writes the record that makes the
// bootloader take the slot. The label of the overwritten record stays.
func (o *Ops) choose(slot uint32) Err {
	e, ok := o.records()
	if !ok {
		return NotFound
	}
	n, ok := o.count()
	if !ok {
		return Abort
	}
	if slot >= n {
		return InvalidArg
	}
	target, seq := 0, slot+1
	if active := o.active(e); active >= 0 {
		if o.cfg.Kind == bootloader.IDF60 && e[active].Slot(n) == slot {
			target, seq = active, e[active].Seq
		} else {
			target = 1 - active
			if seq, ok = otadata.NextSeq(e[active].Seq, slot, n); !ok {
				return Hang
			}
		}
	}
	if o.cfg.Defects.Has(defect.StaleSequence) && seq > 1 {
		seq--
	}
	r := e[target]
	r.Seq, r.State = seq, otadata.Undefined
	if o.cfg.Rollback || o.cfg.Kind == bootloader.AFR2018 {
		r.State = otadata.New
	}
	if o.cfg.Defects.Has(defect.TrialUnrecorded) {
		r.State = otadata.Valid
	}
	if o.cfg.Defects.Has(defect.SetBootBurns) {
		if d, err := o.Description(o.slot(slot)); err == OK {
			o.fuse.BurnSecureVersion(d.SecureVersion, o.secVerBits())
		}
	}
	return o.rewrite(r, target)
}

// active is the record that decides, by the rules of the app.
func (o *Ops) active(e [2]otadata.Entry) int {
	if o.cfg.Kind == bootloader.AFR2018 {
		return otadata.Select(e, [2]bool{e[0].UsableToPort2018(), e[1].UsableToPort2018()})
	}
	return otadata.Active(e)
}

// GetBoot is esp_ota_get_boot_partition: what the bootloader would begin
// with. nil without otadata or any app.
func (o *Ops) GetBoot() (*partition.Record, Err) {
	e, ok := o.records()
	if !ok {
		return nil, OK
	}
	n, ok := o.count()
	if !ok {
		return nil, Abort
	}
	active := otadata.Active(e)
	if n == 0 || active < 0 {
		return o.defaultBoot(), OK
	}
	return o.slot(e[active].Slot(n)), OK
}

// defaultBoot is factory, the lowest OTA slot or the test app.
func (o *Ops) defaultBoot() *partition.Record {
	if r, ok := o.app.records.FindFirst(partition.TypeApp, partition.SubtypeFactory); ok {
		return &r
	}
	for _, i := range o.app.ota {
		if i >= 0 {
			return o.record(i)
		}
	}
	if r, ok := o.app.records.FindFirst(partition.TypeApp, partition.SubtypeTest); ok {
		return &r
	}
	return nil
}

// Running is esp_ota_get_running_partition; Abort if no app partition holds
// the running code.
func (o *Ops) Running() (*partition.Record, Err) {
	i := o.runningIndex()
	if i < 0 {
		return nil, Abort
	}
	return o.record(i), OK
}

// NextUpdate is esp_ota_get_next_update_partition: the OTA slot after from
// (nil: the running one), then the first one.
func (o *Ops) NextUpdate(from *partition.Record) (*partition.Record, Err) {
	start := o.runningIndex()
	if from != nil {
		start = o.find(from)
	}
	if start < 0 {
		return nil, Abort
	}
	slots := o.app.ota[:]
	if o.cfg.Kind == bootloader.AFR2018 {
		slots = slots[:2]
	}
	first, passed := -1, false
	for _, i := range slots {
		switch {
		case i < 0:
			continue
		case passed:
			return o.record(i), OK
		}
		if first < 0 {
			first = i
		}
		passed = i == start
	}
	return o.record(first), OK
}

// AppCount is esp_ota_get_app_partition_count: consecutive slots from ota_0.
func (o *Ops) AppCount() (uint32, Err) {
	n, ok := o.count()
	if !ok {
		return 0, Abort
	}
	return n, OK
}

// Description is esp_ota_get_partition_description. Nothing but the
// descriptor's magic is checked.
func (o *Ops) Description(p *partition.Record) (image.Descriptor, Err) {
	switch {
	case p == nil:
		return image.Descriptor{}, InvalidArg
	case p.Type != partition.TypeApp:
		return image.Descriptor{}, NotSupported
	case image.DescriptorOffset > p.Size:
		return image.Descriptor{}, InvalidArg
	case image.DescriptorOffset+image.DescriptorSize > p.Size:
		return image.Descriptor{}, InvalidSize
	}
	d, err := image.ReadDescriptor(o.of(p), p.Offset)
	if err != nil {
		return image.Descriptor{}, NotFound
	}
	return d, OK
}
