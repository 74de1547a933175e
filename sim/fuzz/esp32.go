package fuzz

import (
	"errors"
	"fmt"
	"strings"

	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/device/otaops"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/efuse"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/partition"
)

// Reference is the update logic of ESP-IDF on an ESP32 with two OTA slots and rollback, as this repository models it: the
// second-stage boot loader, and an application that uses esp_ota_ops. Embed it and replace what is yours: an agent of your own runs over the
// real boot loader, a boot loader of your own under an application that is right.
//
//	type mine struct{ fuzz.Reference }
//
//	func (m *mine) Install(flash flashmodel.NOR, running int, blocks fuzz.Blocks) error { ... }
//
//	target, err := fuzz.ESP32("idf-5.5")
//	reference := target.New
//	target.New = func() fuzz.Logic { return &mine{*reference().(*fuzz.Reference)} }
//	fuzz.Run(t, target)
type Reference struct {
	cfg   *bootloader.Config
	slots []partition.Record
}

// ErrKind says that there is no such boot loader.
var ErrKind = errors.New("no such boot loader")

// errNothing says that the boot loader starts nothing.
var errNothing = errors.New("the boot loader starts nothing")

// ESP32 is a Target whose Logic is the Reference with the boot loader of a release: idf-5.5, idf-6.0 or afr-2022. Its images are images
// that these boot loaders verify; the partition table is at 0x8000.
func ESP32(bootLoader string) (Target, error) {
	kind, ok := bootloader.KindByName(strings.ReplaceAll(bootLoader, "-", ""))
	if !ok || kind == bootloader.AFR2018 {
		return Target{}, fmt.Errorf("%w: %q: one of idf-5.5, idf-6.0, afr-2022", ErrKind, bootLoader)
	}
	table, err := partition.Builtin("partitions_two_ota_large.csv")
	if err != nil {
		return Target{}, err
	}
	raw, err := table.Encode(true)
	if err != nil {
		return Target{}, err
	}
	t := Target{Rollback: true}
	r := Reference{cfg: &bootloader.Config{Kind: kind, Rollback: true, FlashSize: 4 << 20}}
	for i := range table {
		p := &table[i]
		switch {
		case p.Type == partition.TypeApp:
			r.slots = append(r.slots, *p)
			t.Slots = append(t.Slots, Region{p.Offset, p.Size})
		case p.Type == partition.TypeData && p.Subtype == partition.SubtypeOTAData:
			t.Data = Region{p.Offset, p.Size}
		}
	}
	for i, to := range []*[]byte{&t.Old, &t.Newer} {
		if *to, err = image.Build(image.Spec{Version: fmt.Sprintf("1.%d.0", i), Project: "fuzz", Size: 16 << 10, Seed: uint64(i + 1)}); err != nil {
			return Target{}, err
		}
	}
	t.Factory = func(f *flashmodel.Flash, older []byte) error {
		return errors.Join(f.Load(partition.DefaultOffset, raw), f.Load(t.Slots[0].At, older))
	}
	t.New = func() Logic { c := r; return &c }
	return t, nil
}

// Ops are the calls of esp_ota_ops in the application of a slot, for an Install of your own. Secure versions are not used, so every
// boot has eFuses of its own.
func (r *Reference) Ops(flash flashmodel.NOR, running int) *otaops.Ops {
	return otaops.New(flash.(*flashmodel.Flash), new(efuse.EFuse), r.cfg, r.slots[running])
}

// Boot implements Logic. flash is the one that Run and Add hand out.
func (r *Reference) Boot(flash flashmodel.NOR) (int, error) {
	v := bootloader.Boot(flash.(*flashmodel.Flash), new(efuse.EFuse), *r.cfg, bootloader.PowerOn)
	for i := range r.slots {
		if v.Boot != "" && v.Part.Offset == r.slots[i].Offset {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%w: %s", errNothing, v.Reason)
}

// Install implements Logic: esp_ota_begin, esp_ota_write, esp_ota_end, esp_ota_set_boot_partition.
func (r *Reference) Install(flash flashmodel.NOR, running int, blocks Blocks) error {
	o := r.Ops(flash, running)
	slot, code := o.NextUpdate(nil)
	if code != otaops.OK {
		return code
	}
	h, code := o.Begin(slot, uint32(blocks.Size()))
	if code != otaops.OK {
		return code
	}
	for i := 0; i*BlockSize < blocks.Size(); i++ {
		b, err := blocks.Block(i)
		if err != nil {
			_ = o.Abort(h) // the handle is gone with the reset in any case
			return err
		}
		if code := o.Write(h, b); code != otaops.OK {
			return code
		}
	}
	if code := o.End(h); code != otaops.OK {
		return code
	}
	if code := o.SetBoot(slot); code != otaops.OK {
		return code
	}
	return nil
}

// Confirm implements Logic: esp_ota_mark_app_valid_cancel_rollback.
func (r *Reference) Confirm(flash flashmodel.NOR, running int) error {
	if code := r.Ops(flash, running).MarkValid(); code != otaops.OK {
		return code
	}
	return nil
}
