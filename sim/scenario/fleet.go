package scenario

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/otasim/otasim/cloud/index"
	"github.com/otasim/otasim/cloud/quota"
	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/flashmodel/partition"
	"github.com/otasim/otasim/sim/scenario/file"
)

func (b *builder) buildFleet() {
	b.tables, b.groups = map[string]partition.Table{}, map[string]*Group{}
	defaults := b.f.Fleet.Defaults
	b.s.Fleet.Defaults = b.device(&defaults, nil)
	seen := map[string]bool{}
	b.s.Fleet.Groups = make([]Group, 0, len(b.f.Fleet.Groups))
	for i := range b.f.Fleet.Groups {
		g := &b.f.Fleet.Groups[i]
		merged := g.Device
		inherit(reflect.ValueOf(&merged).Elem(), reflect.ValueOf(&defaults).Elem())
		name := g.Name.Value
		b.awsName(g.Name, "the name of a thing group", 100)
		if g.Name.Node != nil && seen[name] {
			b.fail(g.Name.Node, "", "group %q is defined twice", name)
		}
		seen[name] = true
		out := Group{Name: name, Count: int(g.Count.Value), Attributes: b.attributes(g.Attributes), Device: b.device(&merged, g), Pos: pos(g.Place)}
		out.Mix = b.shares(g, &merged, &out.Device)
		if len(out.ThingName(out.Count)) > 64 && g.Name.Node != nil {
			b.fail(g.Name.Node, "", "thing names such as %s have more than 64 characters", out.ThingName(out.Count))
		}
		b.s.Fleet.Groups = append(b.s.Fleet.Groups, out)
	}
	for i := range b.s.Fleet.Groups {
		b.groups[b.s.Fleet.Groups[i].Name] = &b.s.Fleet.Groups[i]
	}
	for i := range b.f.Fleet.DynamicGroups {
		d := &b.f.Fleet.DynamicGroups[i]
		name := d.Name.Value
		b.awsName(d.Name, "the name of a thing group", 100)
		if d.Name.Node != nil && seen[name] {
			b.fail(d.Name.Node, "", "group %q is defined twice", name)
		}
		seen[name] = true
		if _, err := index.Parse(d.Query.Value); err != nil && d.Query.Node != nil {
			b.fail(d.Query.Node, `for example "attributes.site:lab"`, "%v", err)
		}
		b.s.Fleet.Dynamic = append(b.s.Fleet.Dynamic, DynamicGroup{name, d.Query.Value})
	}
}

// attributes reads what the registry knows of things, which may have three attributes without a thing type.
func (b *builder) attributes(list file.Map[file.Label]) map[string]string {
	out := make(map[string]string, len(list))
	for i, e := range list {
		if i == int(quota.Default(quota.AttributesWithoutType)) {
			b.fail(e.Key, "", "a thing without a thing type has at most %d attributes", i)
		}
		b.awsName(file.String{Node: e.Key, Value: e.Name}, "the name of an attribute", 128)
		out[e.Name] = e.Value.Value
	}
	return out
}

// shares builds the shares of a group that are built otherwise.
func (b *builder) shares(g *file.Group, whole *file.Device, of *Device) (out []Build) {
	sum := uint64(0)
	for i := range g.Mix {
		f := &g.Mix[i]
		one := file.Device{Bootloader: f.Bootloader, Sdkconfig: f.Sdkconfig, SecureBoot: f.SecureBoot, EfuseSecureVersion: f.EfuseSecureVersion}
		inherit(reflect.ValueOf(&one).Elem(), reflect.ValueOf(whole).Elem())
		d := b.device(&one, g)
		if d.Sdkconfig.PartitionTableOffset != of.Sdkconfig.PartitionTableOffset {
			b.fail(f.Sdkconfig.TableOffset.Node, "a group of its own", "the devices of a group have their partition table at the same place")
		}
		out = append(out, Build{Weight: f.Weight.Value, Device: d})
		sum += f.Weight.Value
	}
	if sum > Million {
		b.fail(g.Mix[0].Place, "", "the shares of group %q add up to more than 100%%", g.Name.Value)
	}
	return out
}

// inherit copies every leaf that is not given in v from d: so sdkconfig and otaconfig are merged key by key.
func inherit(v, d reflect.Value) {
	for i := range v.NumField() {
		f := v.Field(i)
		if file.Generic(f.Type()) == "Map" {
			inheritKeys(f, d.Field(i))
		}
		if f.Kind() == reflect.Slice && f.Len() == 0 {
			f.Set(d.Field(i))
		}
		if f.Kind() != reflect.Struct {
			continue
		}
		if file.Generic(f.Type()) == "OneOrMany" {
			if f.FieldByName("List").Len() == 0 {
				f.Set(d.Field(i))
			}
			continue
		}
		if n := f.FieldByName("Node"); n.IsValid() {
			if n.IsNil() {
				f.Set(d.Field(i))
			}
			continue
		}
		inherit(f, d.Field(i))
	}
}

// inheritKeys adds the entries of d whose names v does not have.
func inheritKeys(v, d reflect.Value) {
	own := v.Len()
	for i := range d.Len() {
		known := false
		for j := range own {
			known = known || v.Index(j).FieldByName("Name").String() == d.Index(i).FieldByName("Name").String()
		}
		if !known {
			v.Set(reflect.Append(v, d.Index(i)))
		}
	}
}

// flashSizes are esptool's names.
var flashSizes = map[string]uint32{"2MB": 2 << 20, "4MB": 4 << 20, "8MB": 8 << 20, "16MB": 16 << 20}

// DefaultDevice is a device about which nothing is said; it has no firmware yet.
func DefaultDevice() Device {
	return Device{
		Target: "esp32", Flash: Flash{Size: 4 << 20, Mode: "dio", Freq: "40m"}, Partitions: "partitions_two_ota_large.csv",
		Bootloader: "afr-2022", Network: DefaultNetwork, Agent: "ota-main",
		Sdkconfig: Sdkconfig{Rollback: true, SecVerBits: 32, PartitionTableOffset: partition.DefaultOffset, PartitionTableMD5: true},
	}
}

// device builds the settings of one group; g is nil for fleet.defaults, which may be incomplete.
func (b *builder) device(f *file.Device, g *file.Group) Device {
	d := DefaultDevice()
	d.Firmware, d.EFuseSecureVersion, d.EFuseVersionSet = f.Firmware.Value, uint32(f.EfuseSecureVersion.Value), f.EfuseSecureVersion.Node != nil
	d.StartFrom, d.StartTo = f.Start.From, f.Start.To
	d.Presence = b.presence(&f.Presence)
	set := func(to *string, from file.String) {
		if from.Node != nil {
			*to = from.Value
		}
	}
	set(&d.Target, f.Target)
	set(&d.Flash.Mode, f.Flash.Mode)
	set(&d.Bootloader, f.Bootloader)
	set(&d.Agent, f.Agent)
	set(&d.Network, f.Network)
	if f.Flash.Freq.Node != nil {
		d.Flash.Freq = f.Flash.Freq.Value
	}
	if size, ok := flashSizes[f.Flash.Size.Value]; ok {
		d.Flash.Size = size
	}
	d.CodeSigningOff = f.CodeSigning.Value == "off"
	b.sdkconfig(&d, &f.Sdkconfig)
	b.secureBootV2(&d, f)
	d.Otaconfig = otaconfig(&f.Otaconfig)
	d.Reconnect = device.Glue{Base: f.Reconnect.Base.Value, Max: f.Reconnect.Max.Value, Attempts: int(f.Reconnect.Attempts.Value), Never: f.Reconnect.Never.Value}
	b.agentDefects(&d, f, g)
	if f.Partitions.Node != nil {
		d.Partitions = f.Partitions.Value
	}
	if g == nil {
		return d
	}
	if device.ModelOf(d.Target, d.Flash.Size) == nil {
		b.fail(f.Flash.Size.Node, "boards are "+boards(), "there is no %s board with %d MB of flash", d.Target, d.Flash.Size>>20)
	}
	b.deviceNames(f, g, &d)
	b.deviceSlots(f, g, &d)
	return d
}

func (b *builder) sdkconfig(d *Device, f *file.Sdkconfig) {
	c := &d.Sdkconfig
	if m := device.ModelOf(d.Target, d.Flash.Size); m != nil {
		c.SecVerBits = m.SecureVersionBits
	}
	if f.Rollback.Node != nil {
		c.Rollback = f.Rollback.Value
	}
	c.AntiRollback = f.AntiRollback.Value
	c.SecureBootV1, c.SignedApps = f.SecureBootV1.Value, f.SignedApps.Value
	if (c.SecureBootV1 || c.SignedApps) && d.Target != "esp32" {
		b.fail(f.SecureBootV1.Node, "CONFIG_SECURE_BOOT_V2_ENABLED", "secure boot V1 is of the esp32 only")
		b.fail(f.SignedApps.Node, "", "apps signed for secure boot V1 are of the esp32 only")
	}
	if c.SecureBootV1 && c.SignedApps {
		b.fail(f.SignedApps.Node, "", "CONFIG_SECURE_SIGNED_APPS_NO_SECURE_BOOT contradicts CONFIG_SECURE_BOOT_V1_ENABLED")
	}
	if f.SecVerBits.Node != nil {
		if f.SecVerBits.Value > int64(c.SecVerBits) {
			b.fail(f.SecVerBits.Node, "", "the %s has %d eFuse bits for the secure version", d.Target, c.SecVerBits)
		}
		c.SecVerBits = int(f.SecVerBits.Value)
	}
	if f.TableOffset.Node != nil {
		c.PartitionTableOffset = uint32(f.TableOffset.Value)
		if c.PartitionTableOffset%4096 != 0 {
			b.fail(f.TableOffset.Node, "", "the partition table starts at a multiple of 0x1000")
		}
	}
	// The 2018 bootloader knows no MD5 record and refuses a table that has one.
	c.PartitionTableMD5 = d.Bootloader != "afr-2018"
	if f.TableMD5.Node != nil {
		if c.PartitionTableMD5 = f.TableMD5.Value; c.PartitionTableMD5 && d.Bootloader == "afr-2018" {
			b.warn(f.TableMD5.Node, "remove it: without it this bootloader gets a table without MD5", "bootloader afr-2018 refuses a partition table with an MD5 record")
		}
	}
	if c.AntiRollback && f.Rollback.Node != nil && !c.Rollback {
		b.fail(f.Rollback.Node, "", "CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK needs CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE")
	}
}

func otaconfig(f *file.Otaconfig) Otaconfig {
	return Otaconfig{
		Log2FileBlockSize:    int(f.Log2FileBlockSize.Value),
		MaxNumBlocksRequest:  int(f.MaxNumBlocksRequest.Value),
		FileRequestWait:      time.Duration(f.FileRequestWaitMS.Value) * time.Millisecond,
		SelfTestResponseWait: time.Duration(f.SelfTestResponseWaitMS.Value) * time.Millisecond,
		StatusFrequency:      int(f.StatusFrequency.Value),
		MaxRequestMomentum:   int(f.MaxRequestMomentum.Value),
		MaxNumDataBuffers:    int(f.MaxNumDataBuffers.Value),
		EnabledDataProtocols: f.EnabledDataProtocols.Value,
		PrimaryDataProtocol:  f.PrimaryDataProtocol.Value,
	}
}

// agentDefects takes the switches of the agent's behaviours. Those of fleet.defaults may be for some groups only until a
// group has them.
func (b *builder) agentDefects(d *Device, f *file.Device, g *file.Group) {
	profile := agent.ProfileByName(d.Agent)
	for _, e := range f.AgentDefects {
		row := agent.BehaviourByName(e.Name)
		switch {
		case row == nil && b.reported(e.Key): // in fleet.defaults
		case row == nil:
			var names []string
			for i := range agent.Behaviours {
				names = append(names, agent.Behaviours[i].Name)
			}
			b.fail(e.Key, cmp.Or(file.DidYouMean(e.Name, names), "otasim explain agents lists them"), "unknown behaviour %q of the OTA agent", e.Name)
		case g != nil && profile != nil && !row.In(profile):
			b.fail(e.Key, "otasim explain agents lists what each release can have", "agent %s has no behaviour %q", d.Agent, e.Name)
		default:
			if d.AgentDefects == nil {
				d.AgentDefects = map[string]bool{}
			}
			d.AgentDefects[e.Name] = e.Value.Value
		}
	}
}

// reported reports whether something was wrong at this place before.
func (b *builder) reported(n *file.Node) bool {
	return slices.ContainsFunc(b.problems, func(p Problem) bool { return p.Line == n.Line && p.Col == n.Col })
}

// deviceNames checks what a group refers to.
func (b *builder) deviceNames(f *file.Device, g *file.Group, d *Device) {
	if f.Firmware.Node == nil {
		if g.Place != nil {
			b.fail(g.Place, "give firmware here or in fleet.defaults", "group %q has no firmware to start with", g.Name.Value)
		}
	} else if _, ok := b.firmware[d.Firmware]; !ok {
		b.unknown(f.Firmware.Node, "firmware", d.Firmware, b.versions())
	}
	if f.Network.Node != nil && !b.knownNetwork(d.Network) {
		b.unknown(f.Network.Node, "network", d.Network, b.networkNames())
	}
	if f.Agent.Node != nil && agent.ProfileByName(d.Agent) == nil {
		var known []string
		for _, p := range agent.Profiles {
			known = append(known, p.Name)
		}
		b.unknown(f.Agent.Node, "agent", d.Agent, known)
	}
	if f.Otaconfig.Log2FileBlockSize.Node != nil && f.Otaconfig.MaxNumDataBuffers.Node != nil &&
		f.Otaconfig.MaxNumBlocksRequest.Value > 4*f.Otaconfig.MaxNumDataBuffers.Value {
		b.warn(f.Otaconfig.MaxNumBlocksRequest.Node, "", "more blocks are asked for than there are buffers for")
	}
}

// deviceSlots checks the partition table and that the group's firmware fits into its slots.
func (b *builder) deviceSlots(f *file.Device, g *file.Group, d *Device) {
	table := b.table(f, d)
	if table == nil {
		return
	}
	where := f.Partitions.Node
	if where == nil {
		where = g.Place
	}
	slots := table.AppSlots()
	if len(slots) < 2 {
		b.fail(where, "for example partitions_two_ota_large.csv", "partition table %q has %d OTA slots, an update needs two", d.Partitions, len(slots))
		return
	}
	if _, ok := table.FindFirst(partition.TypeData, partition.SubtypeOTAData); !ok {
		b.fail(where, "", "partition table %q has no otadata partition", d.Partitions)
	}
	if _, ok := table.FindFirst(partition.TypeData, partition.SubtypeNVS); !ok {
		b.fail(where, "", "partition table %q has no nvs partition for the device's identity", d.Partitions)
	}
	for _, r := range table {
		if r.End() > uint64(d.Flash.Size) {
			b.fail(where, "", "partition %s ends at 0x%x, behind the end of the flash of %s", r.Label, r.End(), file.FormatSize(uint64(d.Flash.Size)))
			break
		}
	}
	if _, factory := table.FindFirst(partition.TypeApp, partition.SubtypeFactory); factory && d.Sdkconfig.AntiRollback {
		b.warn(where, "partitions_two_ota_large.csv has none", "anti-rollback with a factory partition: the factory app can be older than the eFuse allows, and then nothing boots")
	}
	fw := b.s.FirmwareByVersion(d.Firmware)
	if fw == nil {
		return
	}
	b.fits(f.Firmware.Node, fw, table, d)
	b.startsSigned(f, fw, d)
	if d.Sdkconfig.AntiRollback && d.EFuseVersionSet && d.EFuseSecureVersion > fw.SecureVersion {
		b.fail(f.EfuseSecureVersion.Node, "", "firmware %s has secure version %d: a device with eFuse version %d would not boot it", fw.Version, fw.SecureVersion, d.EFuseSecureVersion)
	}
	if d.EFuseSecureVersion > uint32(d.Sdkconfig.SecVerBits) {
		b.fail(f.EfuseSecureVersion.Node, "", "the eFuse has %d bits for the secure version", d.Sdkconfig.SecVerBits)
	}
}

// table reads the partition table of a device; nil if it cannot.
func (b *builder) table(f *file.Device, d *Device) partition.Table {
	var csv []byte
	text, builtin := partition.BuiltinCSV(d.Partitions)
	if builtin {
		csv = []byte(text)
	} else {
		if !strings.ContainsAny(d.Partitions, "/.") || !fileExists(place(f.Partitions)) {
			names := partition.Names()
			help := fmt.Sprintf("a CSV file, or one of the built-in tables, such as %s", strings.Join(names[:min(len(names), 6)], ", "))
			if near := file.Nearest(d.Partitions, names); near != "" {
				help = fmt.Sprintf("did you mean %q?", near)
			}
			b.fail(f.Partitions.Node, help, "no partition table %q", d.Partitions)
			return nil
		}
		if csv = b.readable(f.Partitions); csv == nil {
			return nil
		}
		d.Partitions, d.PartitionsFile = place(f.Partitions), true
	}
	key := d.tableKey()
	if t, ok := b.tables[key]; ok {
		return t
	}
	offset := int64(d.Sdkconfig.PartitionTableOffset)
	t, err := partition.Parse(csv, partition.Options{TableOffset: &offset, DisableMD5: !d.Sdkconfig.PartitionTableMD5})
	if err != nil {
		b.fail(f.Partitions.Node, "", "partition table %q: %v", d.Partitions, err)
		return nil
	}
	b.tables[key] = t
	return t
}

// tableKey names a parsed partition table.
func (d *Device) tableKey() string {
	return fmt.Sprintf("%s@%x", d.Partitions, d.Sdkconfig.PartitionTableOffset)
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// fits reports an image that is larger than the smallest OTA slot, or for another chip.
func (b *builder) fits(n *file.Node, fw *Firmware, table partition.Table, d *Device) {
	if fw.Target != "" && fw.Target != d.Target {
		b.fail(n, "", "firmware %s is for the %s, the devices are of the %s", fw.Version, fw.Target, d.Target)
	}
	slots := table.AppSlots()
	smallest := slots[0]
	for _, s := range slots {
		if s.Size < smallest.Size {
			smallest = s
		}
	}
	if fw.FileSize()+trailerSize <= uint64(smallest.Size) {
		return
	}
	at := n
	if src := b.firmware[fw.Version]; src != nil {
		at = src.Size.Node
		if src.Image.Node != nil {
			at = src.Image.Node
		}
		if at == nil {
			at = src.Version.Node
		}
	}
	help := ""
	if d.Partitions == "partitions_two_ota.csv" {
		help = "partitions_two_ota_large.csv has slots of 1700 KiB"
	}
	b.fail(at, help, "firmware %s has %d bytes and %d of trailer, slot %s of %s has %d", fw.Version, fw.FileSize(), trailerSize, smallest.Label, filepath.Base(d.Partitions), smallest.Size)
}

// boards lists the models by name.
func boards() string {
	var names []string
	for _, m := range device.Models() {
		names = append(names, m.Name)
	}
	return strings.Join(names, ", ")
}
