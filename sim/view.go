package sim

import (
	"time"

	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/flashmodel/flashcrypt"
	"github.com/otasim/otasim/sim/check"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// view is what the checkers last read from one device's flash, and what its
// program counter shows. It never comes from what the device reports.
type view struct {
	exists     bool
	powered    bool
	bricked    bool
	rolledBack bool
	revoked    uint8  // SECURE_BOOT_KEY_REVOKE
	slot       string // label of the running slot, "" if no app runs
	version    string // label of the running image
	state      string // ESP_OTA_IMG_... of the running slot's record
	secure     uint32 // secure_version of the running image
	efuse      uint32
	files      uint64 // see fleet.holds
}

// tally counts views. Each shard has one per group; a barrier adds them up.
type tally struct {
	devices, powered, bricked, rolledBack int
	versions, states                      map[string]int
	files                                 []int // by file of the fleet
}

func (t *tally) add(v *view, n int) {
	if !v.exists {
		return
	}
	if t.versions == nil {
		t.versions, t.states = map[string]int{}, map[string]int{}
	}
	t.devices += n
	if v.powered {
		t.powered += n
	}
	if v.bricked {
		t.bricked += n
	}
	if v.rolledBack {
		t.rolledBack += n
	}
	if v.version != "" {
		t.versions[v.version] += n
	}
	if v.state != "" {
		t.states[v.state] += n
	}
	for i := 0; v.files>>i != 0; i++ {
		if i >= len(t.files) {
			t.files = append(t.files, 0)
		}
		t.files[i] += int(v.files>>i&1) * n
	}
}

// into adds the tally to a fleet of the result document.
func (t *tally) into(f *report.Fleet) {
	f.Devices += t.devices
	f.Powered += t.powered
	f.Bricked += t.bricked
	f.RolledBack += t.rolledBack
	for v, n := range t.versions {
		if n != 0 {
			f.OnVersion[v] += n
		}
	}
	for s, n := range t.states {
		if n != 0 {
			f.ImageState[s] += n
		}
	}
}

func newFleet() report.Fleet {
	return report.Fleet{OnVersion: map[string]int{}, ImageState: map[string]int{}, OnFile: map[string]int{}}
}

// look reads a device again after something about it may have changed.
func (sh *shard) look(a *actor, now time.Duration) {
	f := a.dev.Flash()
	old := a.view
	v := view{exists: true, powered: a.powered(), rolledBack: old.rolledBack}
	fuse := a.dev.EFuse()
	v.efuse = fuse.SecureVersion(sh.w.fleet.things[a.id].config.Sdkconfig.SecVerBits)
	v.revoked = fuse.RevokedSlots()
	var truth check.Truth
	f.Observe(func() {
		if c, encrypted := a.dev.Memory().(*flashcrypt.NOR); encrypted {
			truth = check.ReadTruthOf(f, c, c.Key, sh.w.fleet.groups[a.group].tableOffset)
		} else {
			truth = check.ReadTruth(f, sh.w.fleet.groups[a.group].tableOffset)
		}
		if len(sh.w.fleet.files) > 0 {
			v.files = sh.w.fleet.holds(a)
		}
	})
	v.bricked = a.dev.Phase() == device.PhaseBricked || !truth.Bootable()
	v.slot = old.slot // between two boots: still the image that ran
	if r, ok := a.dev.Running(); ok {
		v.slot = r.Slot.Label
	}
	s := truth.Slot(v.slot)
	if s != nil && s.Bootable {
		v.secure = s.SecureVersion
		v.version = sh.w.fleet.label(s)
		if truth.Active >= 0 && truth.Slots[truth.Active].Label == v.slot {
			v.state = truth.State
		}
	}
	if a.started && a.ran != nil {
		for i := range sh.w.fleet.images {
			if sh.w.fleet.images[i].Version == v.version {
				a.ran[i] = now
			}
		}
	}
	sh.examine(a, now, &old, &v, s)
	a.started = false
	switch {
	case v.state == "ESP_OTA_IMG_PENDING_VERIFY":
		a.trial, v.rolledBack = v.slot, false
	case a.trial != "" && v.slot != a.trial:
		a.trial, v.rolledBack = "", true
	case a.trial != "" && v.state == "ESP_OTA_IMG_VALID":
		a.trial = ""
	}
	if v == old {
		return
	}
	t := &sh.tallies[a.group]
	t.add(&old, -1)
	t.add(&v, 1)
	a.view = v
	sh.dirty = true
	if v.slot != "" && v.powered {
		sh.changed = append(sh.changed, changedDevice{now, a.id, sh.w.reportDevice(a)})
	}
}

// changedDevice is a device as it was when something about it changed.
type changedDevice struct {
	at     time.Duration
	id     int32
	device report.Device
}

// buildOf is what a device was built with, as rules see it.
func buildOf(c *scenario.Device) report.Build {
	b := report.Build{Bootloader: c.Bootloader, AntiRollback: c.Sdkconfig.AntiRollback, FlashEncryption: c.Sdkconfig.FlashEncryption}
	switch {
	case c.Sdkconfig.SecureBootV1:
		b.SecureBoot = 1
	case c.Sdkconfig.SecureBootV2:
		b.SecureBoot = 2
	}
	return b
}

// reportDevice is a device as rules see it.
func (w *world) reportDevice(a *actor) report.Device {
	v := &a.view
	return report.Device{
		Thing: a.name, Group: w.fleet.groups[a.group].name, Version: v.version,
		Running: report.Running{Version: v.version, SecureVersion: int(v.secure), Slot: v.slot},
		EFuse:   report.EFuse{SecureVersion: int(v.efuse), KeyRevoke: int(v.revoked)},
		Files:   w.fleet.held(v.files), Partitions: w.partitions(a),
		Build:    buildOf(w.fleet.things[a.id].config),
		OTAState: v.state, Bricked: v.bricked, RolledBack: v.rolledBack, Powered: v.powered,
	}
}
