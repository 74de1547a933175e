package sim

import (
	"errors"
	"fmt"
	"time"

	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/device/bootloader"
	planted "github.com/otasim/otasim/device/defect"
	"github.com/otasim/otasim/device/firmware"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/efuse"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/nvs"
	"github.com/otasim/otasim/flashmodel/partition"
	"github.com/otasim/otasim/flashmodel/secureboot"
	"github.com/otasim/otasim/sim/scenario"
)

// line is a production line: it makes devices of one kind for one shard. Chips of
// the same kind are forks of one template, so what they have in common is stored
// once; only the identity page is a device's own.
type line struct {
	first *device.Device // made on this line, never powered; the others are its siblings
	fuse  efuse.EFuse
	nvs   partition.Record
	parts []part // flash encryption: what each chip has encrypted with its own key
}

// lineKey tells kinds apart.
type lineKey struct {
	group  int32
	config *scenario.Device
}

// factory makes the devices of one shard.
type factory struct {
	fleet     *fleet
	store     *flashmodel.Store
	hooks     *device.Hooks
	catalogue *firmware.Catalogue
	lines     map[lineKey]*line
	defects   planted.Set // planted, to test checkers

	// For secure boot: the public key in PEM, and what it has signed.
	signer  []byte
	trailer func(img *firmwareImage, signature string) []byte
}

func newFactory(f *fleet, st *flashmodel.Store, c *firmware.Catalogue, hooks *device.Hooks) *factory {
	return &factory{fleet: f, store: st, hooks: hooks, catalogue: c, lines: map[lineKey]*line{}}
}

// make builds one device whose identity is in nvs, the contents of its NVS
// partition.
func (m *factory) make(t *thing, nvs []byte) (*device.Device, error) {
	key := lineKey{t.group, t.config}
	l := m.lines[key]
	if l == nil {
		var err error
		if l, err = m.line(t); err != nil {
			return nil, err
		}
		m.lines[key] = l
	}
	f := l.first.Flash().Fork()
	if err := f.LoadOwn(l.nvs.Offset, trim(nvs)); err != nil {
		return nil, fmt.Errorf("NVS: %w", err)
	}
	if t.config.Sdkconfig.FlashEncryption {
		fuse, err := m.encrypt(t, f, l)
		if err != nil {
			return nil, err
		}
		return l.first.Sibling(t.name, f, fuse), nil
	}
	return l.first.Sibling(t.name, f, l.fuse), nil
}

// nvs is the NVS partition of device i with an identity in it.
func (f *fleet) nvs(i int, id nvs.Identity) ([]byte, error) {
	part, ok := f.groups[f.things[i].group].table.FindFirst(partition.TypeData, partition.SubtypeNVS)
	if !ok {
		return nil, errors.New("the partition table has no NVS partition for the identity")
	}
	return id.Generate(int(part.Size))
}

// renew gives a device the identity in nvs, as a factory does that programs the
// NVS partition again and leaves everything else alone.
func (m *factory) renew(t *thing, d *device.Device, nvs []byte) error {
	l := m.lines[lineKey{t.group, t.config}]
	blank := make([]byte, l.nvs.Size)
	for i := range blank {
		blank[i] = 0xff
	}
	copy(blank, nvs)
	return d.Flash().LoadOwn(l.nvs.Offset, blank)
}

// trim drops whole erased sectors from the end.
func trim(nvs []byte) []byte {
	for n := len(nvs); n >= flashmodel.SectorSize; n -= flashmodel.SectorSize {
		for _, b := range nvs[n-flashmodel.SectorSize : n] {
			if b != 0xff {
				return nvs[:n]
			}
		}
	}
	return nil
}

func (m *factory) line(t *thing) (*line, error) {
	g, c := &m.fleet.groups[t.group], t.config
	chip, ok := flashmodel.ChipOfSize(c.Flash.Size)
	model := device.ModelOf(c.Target, c.Flash.Size)
	if !ok || model == nil {
		return nil, fmt.Errorf("no %s board with %d bytes of flash", c.Target, c.Flash.Size)
	}
	target := model.Chip
	app := m.fleet.imageOf(c.Firmware)
	l := &line{}
	template := flashmodel.New(m.store, chip)
	boot := bootloader.Config{Kind: bootloaderKinds[c.Bootloader], Rollback: c.Sdkconfig.Rollback, AntiRollback: c.Sdkconfig.AntiRollback,
		SecVerBits: c.Sdkconfig.SecVerBits, TableOffset: g.tableOffset, TableWithoutMD5: !c.Sdkconfig.PartitionTableMD5,
		ImageOffset: target.BootloaderOffset, Image: image.VerifyOptions{Chip: target, Revision: 300}, Defects: m.defects}

	if target != image.ESP32 {
		l.fuse.Later()
	}
	if boot.SecureBootV2 = c.Sdkconfig.SecureBootV2; boot.SecureBootV2 {
		if err := m.fleet.burnBootKeys(&l.fuse, c); err != nil {
			return nil, fmt.Errorf("secure boot: %w", err)
		}
	}
	var block []byte // behind the application
	if c.Sdkconfig.SecureBootV1 || c.Sdkconfig.SignedApps {
		key, err := secureboot.ParseKey(m.signer)
		if err != nil {
			return nil, fmt.Errorf("secure boot: %w", err)
		}
		check, err := secureboot.NewV1(key)
		if err != nil {
			return nil, fmt.Errorf("secure boot: %w", err)
		}
		boot.Image.Signature, boot.SignedOnUpdate = check, c.Sdkconfig.SignedApps
		block = m.trailer(app, scenario.SignatureMatching)
	}

	// The second-stage boot loader's own header tells the size of the flash; its
	// code is device/bootloader.
	first, err := image.Build(image.Spec{Project: "bootloader", Version: c.Bootloader, Size: 16 << 10, Chip: target, FlashSize: c.Flash.Size, RAM: c.Sdkconfig.SecureBootV2})
	if err != nil {
		return nil, fmt.Errorf("boot loader: %w", err)
	}
	if boot.SecureBootV2 {
		if first, err = m.fleet.signedBy(first, c.LoaderSign); err != nil {
			return nil, fmt.Errorf("boot loader: %w", err)
		}
	}
	table, err := g.table.Encode(c.Sdkconfig.PartitionTableMD5)
	if err != nil {
		return nil, fmt.Errorf("partition table: %w", err)
	}
	var slot partition.Record
	for _, r := range g.table {
		switch {
		case r.Type == partition.TypeData && r.Subtype == partition.SubtypeNVS && l.nvs.Size == 0:
			l.nvs = r
		case r.Type == partition.TypeApp && r.Subtype == partition.SubtypeFactory:
			slot = r // where idf.py flash puts the app if there is one
		case r.Type == partition.TypeApp && r.Subtype == 0x10 && slot.Size == 0:
			slot = r
		}
	}
	if l.nvs.Size == 0 || slot.Size == 0 {
		return nil, fmt.Errorf("partition table %s needs an NVS partition and an app partition", c.Partitions)
	}
	parts := []part{{target.BootloaderOffset, first}, {g.tableOffset, table}, {slot.Offset, app.data}, {slot.Offset + uint32(len(app.data)), block}}
	if c.Sdkconfig.FlashEncryption {
		l.parts, parts = append(parts, part{g.otadata, freshOtadata}), nil
	}
	for _, p := range parts {
		if err := template.Load(p.at, p.data); err != nil {
			return nil, fmt.Errorf("at %#x: %w", p.at, err)
		}
	}

	burnt := c.EFuseSecureVersion
	if !c.EFuseVersionSet && c.Sdkconfig.AntiRollback {
		burnt = app.SecureVersion
	}
	if e := l.fuse.BurnSecureVersion(burnt, max(c.Sdkconfig.SecVerBits, 1)); e != 0 {
		return nil, fmt.Errorf("eFuse secure version %d: %v", burnt, e)
	}
	build := agentConfig(c)
	build.Defects = m.defects
	l.first = device.New(device.Config{Thing: t.name, Model: model, Flash: template, EFuse: l.fuse, Bootloader: boot, Agent: build,
		Catalogue: m.catalogue, Hooks: m.hooks, Glue: c.Reconnect})
	return l, nil
}

var bootloaderKinds = map[string]bootloader.Kind{
	"afr-2022": bootloader.AFR2022, "afr-2018": bootloader.AFR2018, "idf-5.5": bootloader.IDF55, "idf-6.0": bootloader.IDF60,
}

// agentConfig is the profile's own configuration with the scenario's otaconfig on top.
func agentConfig(d *scenario.Device) agent.Config {
	c := agent.DefaultConfig(d.AgentProfile())
	o := &d.Otaconfig
	if o.Log2FileBlockSize > 0 {
		c.Log2Block = uint8(o.Log2FileBlockSize)
	}
	if o.MaxNumBlocksRequest > 0 {
		c.BlocksPerRequest = uint32(o.MaxNumBlocksRequest)
	}
	if o.FileRequestWait > 0 {
		c.RequestMs = uint32(o.FileRequestWait / time.Millisecond)
	}
	if o.SelfTestResponseWait > 0 {
		c.SelfTestMs = uint32(o.SelfTestResponseWait / time.Millisecond)
	}
	if o.StatusFrequency > 0 {
		c.StatusEvery = uint32(o.StatusFrequency)
	}
	if o.MaxRequestMomentum > 0 {
		c.MomentumLimit = uint32(o.MaxRequestMomentum)
	}
	c.AnySignature = d.CodeSigningOff
	c.DataBuffers = o.MaxNumDataBuffers
	c.WithoutMQTT, c.WithoutHTTP = o.EnabledDataProtocols == "HTTP", o.EnabledDataProtocols == "MQTT"
	c.PrimaryHTTP = o.PrimaryDataProtocol == "HTTP"
	return c
}

// behaviours is what the images of a scenario do once they run.
func behaviours(images []firmwareImage, boot map[string]*secureboot.Key, signer []byte) (*firmware.Catalogue, error) {
	var c firmware.Catalogue
	for i := range images {
		img := &images[i]
		outcome, err := firmware.ParseSelfTest(string(img.SelfTest))
		if err != nil {
			return nil, err
		}
		share := uint32(img.SelfTestShare)
		switch share {
		case scenario.Million:
			share = 0 // all, without a draw
		case 0:
			outcome = firmware.Pass
		}
		var revokes [][32]byte
		for _, name := range img.Revokes {
			sum, err := secureboot.KeyDigest(boot[name].Public)
			if err != nil {
				return nil, fmt.Errorf("firmware %s: %w", img.Version, err)
			}
			revokes = append(revokes, sum)
		}
		if err := c.Add(img.data, firmware.Behaviour{Version: img.Version, SelfTest: outcome, Share: share, Draw: img.draw, Duration: img.SelfTestDuration,
			AllowDowngrade: img.AllowDowngrade, Signer: signer, Revokes: revokes, RevokeAtStart: img.RevokeAtStart,
			NoWiFi: img.WrongWiFi, Telemetry: img.Telemetry}); err != nil {
			return nil, fmt.Errorf("firmware %s: %w", img.Version, err)
		}
	}
	return &c, nil
}
