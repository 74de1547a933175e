package device

import (
	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/nvs"
	"github.com/otasim/otasim/flashmodel/otadata"
	"github.com/otasim/otasim/flashmodel/partition"
)

// flashLayout is where the device finds what it needs, remembered by the content of the table sector.
type flashLayout struct {
	nvs     partition.Record
	otadata partition.Record
	table   partition.Table
	ok      bool
}

func (d *Device) layout() flashLayout {
	at := d.boot.TableOffset
	if at == 0 {
		at = partition.DefaultOffset
	}
	mem := d.Memory()
	load := func() (l flashLayout) {
		table, err := partition.LoadBootloader(mem, at, d.flash.Size())
		if err != partition.OK {
			return l
		}
		l.table = table
		l.nvs, l.ok = table.FindFirst(partition.TypeData, partition.SubtypeNVS)
		l.otadata, _ = table.FindFirst(partition.TypeData, partition.SubtypeOTAData)
		return l
	}
	if mem != flashmodel.NOR(d.flash) {
		return load()
	}
	return flashmodel.Remember(d.flash, "device layout", at, partition.SectorSize, load)
}

// Memory is the flash as the chip's firmware sees it: decrypted where flash encryption is on.
func (d *Device) Memory() flashmodel.NOR {
	return bootloader.Memory(d.flash, &d.fuse, d.boot.Image.Chip, bootloader.AppGranularity)
}

// credentials is the identity from NVS. RAM keeps it from the start of the application until it is connected, not while
// the device idles.
func (d *Device) credentials() nvs.Identity {
	if d.ram.identity != nil {
		return *d.ram.identity
	}
	s := d.readIdentity()
	if s.err != nvs.OK {
		d.log('E', "nvs", "identity: %v", s.err)
	}
	return s.id
}

// storedIdentity is what the NVS library finds.
type storedIdentity struct {
	id       nvs.Identity
	err      nvs.Err
	repaired bool // it wrote to flash on the way
}

// readIdentity opens the partition, remembered by its content unless opening repairs something, which every chip does for itself.
func (d *Device) readIdentity() storedIdentity {
	part := d.ram.nvs
	read := func() (s storedIdentity) {
		before := d.flash.Commands()
		s.id, s.err = nvs.ReadIdentity(d.flash, part.Offset, part.Size)
		s.repaired = d.flash.Commands() != before
		return s
	}
	fresh := false
	s := flashmodel.RememberShared(d.flash, "identity", part.Offset, part.Size, func() storedIdentity {
		fresh = true
		return read()
	})
	if s.repaired && !fresh {
		return read()
	}
	return s
}

// loadIdentity finds the device's own name. Without name, certificate and key it cannot connect.
func (d *Device) loadIdentity() bool {
	l := d.layout()
	if !l.ok {
		return false
	}
	d.ram.nvs = l.nvs
	id := d.credentials()
	if id.ThingName == "" || len(id.Certificate) == 0 || len(id.Key) == 0 {
		return false
	}
	d.ram.thing, d.ram.identity = id.ThingName, &id
	return true
}

// Names under which a job's certfile finds the code-signing certificate of the device: its PKCS #11 label, its key in
// NVS. Source: aws/amazon-freertos libraries/abstractions/pkcs11.
const (
	LabelCodeSigner = "Code Verify Key"
	keyCodeSigner   = "P11_CSK"
)

// signer returns the certificate a job's certfile names: the object in NVS with that label, else the one compiled in.
func (d *Device) signer(label string) []byte {
	if label == LabelCodeSigner || label == keyCodeSigner {
		if cert := d.credentials().CodeSigner; len(cert) > 0 {
			return cert
		}
	}
	return d.ram.behaviour.Signer
}

// passiveErasePoint tells the hooks that the boot loader is going to erase the older firmware.
func (d *Device) passiveErasePoint() {
	if d.hooks == nil || d.hooks.Point == nil || !d.erasesPassive() {
		return
	}
	l := d.layout()
	var e [2]otadata.Entry
	mem := d.Memory()
	for i := range e {
		var raw [otadata.EntrySize]byte
		if mem.Read(l.otadata.Offset+uint32(i)*otadata.SectorSize, raw[:]) != nil {
			return
		}
		e[i], _ = otadata.Decode(raw[:])
	}
	if active := otadata.Active(e); active >= 0 && e[active].State == otadata.Valid && e[1-active].CRCGood() {
		d.point(PointPassiveErase, 0)
	}
}

// erasesPassive reports whether this boot loader drops the older firmware once the newer one is confirmed.
func (d *Device) erasesPassive() bool {
	switch d.boot.Kind {
	case bootloader.AFR2022:
		return d.boot.Rollback && !d.boot.KeepPassive
	case bootloader.AFR2018:
		return !d.boot.KeepPassive
	}
	return false
}
