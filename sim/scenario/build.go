package scenario

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/partition"
	"github.com/otasim/otasim/sim/scenario/file"
)

// builder turns what the file says into a Scenario and collects what is wrong with it.
type builder struct {
	f        *file.Scenario
	s        *Scenario
	problems []Problem
	tables   map[string]partition.Table // slots by Device.Partitions
	firmware map[string]*file.Firmware
	groups   map[string]*Group // of the scenario
}

func (b *builder) fail(n *file.Node, help, format string, args ...any) {
	if n != nil {
		b.problems = append(b.problems, file.At(n, fmt.Sprintf(format, args...), help))
	}
}

func (b *builder) warn(n *file.Node, help, format string, args ...any) {
	if n != nil {
		p := file.At(n, fmt.Sprintf(format, args...), help)
		p.Warning = true
		b.problems = append(b.problems, p)
	}
}

// unknown reports a name that nothing in the file defines.
func (b *builder) unknown(n *file.Node, what, word string, known []string) {
	help := file.DidYouMean(word, known)
	if len(known) == 0 {
		help = "the file defines none"
	}
	b.fail(n, help, "unknown %s %q", what, word)
}

func pos(n *file.Node) Pos {
	if n == nil {
		return Pos{}
	}
	return Pos{n.Line, n.Col}
}

// place resolves a path against the folder of the text it stands in.
func place(p file.Path) string {
	if p.Node == nil || filepath.IsAbs(p.Value) {
		return p.Value
	}
	return filepath.Join(p.Src.Dir, p.Value)
}

func words(list []file.String) []string {
	out := make([]string, 0, len(list))
	for _, w := range list {
		if w.Node != nil {
			out = append(out, w.Value)
		}
	}
	return out
}

func (b *builder) build() {
	f, s := b.f, b.s
	s.APIVersion, s.Kind = f.APIVersion.Value, f.Kind.Value
	s.Metadata = Metadata{f.Metadata.Name.Value, f.Metadata.Description.Value, words(f.Metadata.Tags)}
	s.Seed = 1
	if f.Seed.Node != nil {
		s.Seed = uint64(f.Seed.Value)
	}
	s.Duration = f.Duration.Value
	if f.Duration.Node != nil && s.Duration == 0 {
		b.fail(f.Duration.Node, "", "the duration must be longer than 0")
	}
	b.buildKeys()
	b.buildNetworks()
	b.buildFirmware()
	b.buildFleet()
	b.buildCloud()
	b.buildUpdates()
	b.buildEvents()
	b.buildFaults()
	b.buildAttacks()
	b.buildRules()
	b.useNetworks()
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9:_-]+$`)

// awsName judges a name that becomes the name of a thing group, update or thing.
func (b *builder) awsName(n file.String, what string, longest int) {
	if n.Node != nil && (!namePattern.MatchString(n.Value) || len(n.Value) > longest) {
		b.fail(n.Node, "", "%s: letters, digits, '-', '_' and ':' only, at most %d of them", what, longest)
	}
}

func (b *builder) buildKeys() {
	for _, e := range b.f.Keys {
		k := Key{Name: e.Name, Scheme: e.Value.Scheme.Value, File: place(e.Value.File), Certificate: place(e.Value.Certificate), Pos: pos(e.Key)}
		b.readable(e.Value.File)
		b.readable(e.Value.Certificate)
		if (k.File == "") != (k.Certificate == "") && k.Certificate != "" {
			b.fail(e.Value.Certificate.Node, "give the private key with file:", "a certificate without its key")
		}
		b.s.Keys = append(b.s.Keys, k)
	}
}

// readable reports a file that is not there.
func (b *builder) readable(p file.Path) []byte {
	if p.Node == nil {
		return nil
	}
	data, err := os.ReadFile(place(p))
	if err != nil {
		reason := err.Error()
		if os.IsNotExist(err) {
			reason = "no such file"
		} else if i := strings.LastIndex(reason, ": "); i >= 0 {
			reason = reason[i+2:]
		}
		b.fail(p.Node, nearFile(place(p)), "cannot read %q: %s", place(p), reason)
	}
	return data
}

// nearFile proposes a file of the same folder.
func nearFile(path string) string {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return fmt.Sprintf("there is no folder %q; paths start at the folder of the scenario file, those of --set at the working directory", filepath.Dir(path))
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if near := file.Nearest(filepath.Base(path), names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "paths start at the folder of the scenario file, those of --set at the working directory"
}

// Sizes of built images.
const (
	defaultImageSize = 1 << 20
	trailerSize      = 80 // bytes the FreeRTOS port writes behind an image, inside its slot
)

func (b *builder) buildFirmware() {
	b.firmware = map[string]*file.Firmware{}
	for i := range b.f.Firmware {
		f := &b.f.Firmware[i]
		v := f.Version.Value
		if v == "" {
			continue
		}
		if _, twice := b.firmware[v]; twice {
			b.fail(f.Version.Node, "", "firmware %q is defined twice", v)
			continue
		}
		b.firmware[v] = f
		if len(v) > 31 {
			b.fail(f.Version.Node, "", "a version has at most 31 characters")
		}
		out := Firmware{
			Version: v, Project: "otasim", Size: defaultImageSize, SecureVersion: uint32(f.SecureVersion.Value),
			SelfTest: SelfTestPass, SelfTestDuration: 2 * time.Second, AllowDowngrade: f.Otaconfig.AllowDowngrade.Value,
			Sign: words(f.Sign), Target: f.Target.Value, Pos: pos(f.Place),
		}
		if f.Project.Node != nil {
			out.Project = f.Project.Value
			if len(out.Project) > 31 {
				b.fail(f.Project.Node, "", "a project name has at most 31 characters")
			}
		}
		if f.SelfTest.Node != nil {
			out.SelfTest = SelfTest(f.SelfTest.Value)
		}
		if f.SelfTestDuration.Node != nil {
			out.SelfTestDuration = f.SelfTestDuration.Value
		}
		if f.Size.Node != nil {
			out.Size = uint32(min(f.Size.Value, 1<<31))
			if f.Size.Value%16 != 0 {
				b.fail(f.Size.Node, fmt.Sprintf("%d is the next smaller one", f.Size.Value&^15), "the size of an app image is a multiple of 16 bytes, got %d", f.Size.Value)
			}
		}
		if f.Image.Node != nil {
			b.realImage(f, &out)
		}
		for _, k := range f.Sign {
			if k.Node != nil && !slices.ContainsFunc(b.s.Keys, func(have Key) bool { return have.Name == k.Value }) {
				b.unknown(k.Node, "key", k.Value, b.keyNames())
			}
		}
		b.s.Firmware = append(b.s.Firmware, out)
	}
}

func (b *builder) keyNames() []string {
	names := make([]string, len(b.s.Keys))
	for i, k := range b.s.Keys {
		names[i] = k.Name
	}
	return names
}

// realImage takes size, secure version and chip from a .bin; keys that describe a built image contradict it.
func (b *builder) realImage(f *file.Firmware, out *Firmware) {
	out.Image = place(f.Image)
	// A value given with --set image= beside a row that was made to be built is not a contradiction.
	sameText := func(n *file.Node) bool { return n != nil && n.Src == f.Image.Src }
	for key, n := range map[string]*file.Node{"size": f.Size.Node, "secureVersion": f.SecureVersion.Node, "project": f.Project.Node} {
		if sameText(n) {
			b.fail(n, "remove it, or remove image", "%s describes an image that is built, but this row takes a real one", key)
		}
	}
	data := b.readable(f.Image)
	if data == nil {
		return
	}
	parsed, err := image.Parse(data)
	if err != nil {
		b.fail(f.Image.Node, "", "%q is not an ESP32 app image: %v", place(f.Image), err)
		return
	}
	out.Size = uint32(len(data))
	if !parsed.Valid() {
		b.fail(f.Image.Node, "", "%q is damaged: %s", place(f.Image), strings.Join(append(parsed.Problems, "it is incomplete")[:1], ""))
		return
	}
	if parsed.Descriptor == nil {
		b.fail(f.Image.Node, "only apps of ESP-IDF v4 and later have one", "%q has no app descriptor, so it has no version and no secure version", place(f.Image))
		return
	}
	out.SecureVersion, out.Project = parsed.Descriptor.SecureVersion, parsed.Descriptor.Project
	if chip := image.ChipByID(parsed.Header.ChipID); chip != nil {
		out.Target = plainChip(chip.Name)
	}
}

func plainChip(name string) string {
	return strings.ToLower(strings.ReplaceAll(name, "-", ""))
}

func (b *builder) versions() []string {
	return slices.Sorted(maps.Keys(b.firmware))
}

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
		out := Group{Name: name, Count: int(g.Count.Value), Device: b.device(&merged, g), Pos: pos(g.Place)}
		if len(out.ThingName(out.Count)) > 64 && g.Name.Node != nil {
			b.fail(g.Name.Node, "", "thing names such as %s have more than 64 characters", out.ThingName(out.Count))
		}
		b.s.Fleet.Groups = append(b.s.Fleet.Groups, out)
	}
	for i := range b.s.Fleet.Groups {
		b.groups[b.s.Fleet.Groups[i].Name] = &b.s.Fleet.Groups[i]
	}
}

// inherit copies every leaf that is not given in v from d: so sdkconfig and otaconfig are merged key by key.
func inherit(v, d reflect.Value) {
	for i := range v.NumField() {
		f := v.Field(i)
		if f.Kind() != reflect.Struct {
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

// flashSizes are esptool's names.
var flashSizes = map[string]uint32{"2MB": 2 << 20, "4MB": 4 << 20, "8MB": 8 << 20, "16MB": 16 << 20}

// device builds the settings of one group; g is nil for fleet.defaults, which may be incomplete.
func (b *builder) device(f *file.Device, g *file.Group) Device {
	d := Device{
		Target: "esp32", Flash: Flash{Size: 4 << 20, Mode: "dio", Freq: "40m"}, Partitions: "partitions_two_ota_large.csv",
		Bootloader: "afr-2022", Network: DefaultNetwork, Agent: "ota-main",
		Sdkconfig: Sdkconfig{Rollback: true, SecVerBits: 32, PartitionTableOffset: partition.DefaultOffset, PartitionTableMD5: true},
		Firmware:  f.Firmware.Value, EFuseSecureVersion: uint32(f.EfuseSecureVersion.Value), EFuseVersionSet: f.EfuseSecureVersion.Node != nil,
		StartFrom: f.Start.From, StartTo: f.Start.To,
	}
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
	b.sdkconfig(&d, &f.Sdkconfig)
	d.Otaconfig = otaconfig(&f.Otaconfig)
	if f.Partitions.Node != nil {
		d.Partitions = f.Partitions.Value
	}
	if g == nil {
		return d
	}
	b.deviceNames(f, g, &d)
	b.deviceSlots(f, g, &d)
	return d
}

func (b *builder) sdkconfig(d *Device, f *file.Sdkconfig) {
	c := &d.Sdkconfig
	if d.Target != "esp32" {
		c.SecVerBits = 16
	}
	if f.Rollback.Node != nil {
		c.Rollback = f.Rollback.Value
	}
	c.AntiRollback = f.AntiRollback.Value
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
	if f.TableMD5.Node != nil {
		c.PartitionTableMD5 = f.TableMD5.Value
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
	}
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
	if f.Network.Node != nil && b.s.NetworkByName(d.Network) == nil && d.Network != DefaultNetwork {
		b.unknown(f.Network.Node, "network", d.Network, b.networkNames())
	}
	if f.Agent.Node != nil && agent.ProfileByName(d.Agent) == nil {
		var known []string
		for _, p := range agent.Profiles {
			known = append(known, p.Name)
		}
		if slices.Contains([]string{"afr-v1.4.0", "afr-v1.4.2"}, d.Agent) {
			b.fail(f.Agent.Node, "one of "+strings.Join(known, ", "), "agent %q is not supported by this version", d.Agent)
		} else {
			b.unknown(f.Agent.Node, "agent", d.Agent, known)
		}
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
	if uint64(fw.Size)+trailerSize <= uint64(smallest.Size) {
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
	b.fail(at, help, "firmware %s has %d bytes and %d of trailer, slot %s of %s has %d", fw.Version, fw.Size, trailerSize, smallest.Label, filepath.Base(d.Partitions), smallest.Size)
}

var regionPattern = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-\d$`)

func (b *builder) buildCloud() {
	f := &b.f.Cloud
	b.s.Cloud = Cloud{Region: "eu-central-1", Account: "123456789012", Quotas: "aws-default"}
	if f.Region.Node != nil {
		b.s.Cloud.Region = f.Region.Value
		if !regionPattern.MatchString(f.Region.Value) {
			b.fail(f.Region.Node, "", "expected a region such as eu-central-1, got %q", f.Region.Value)
		}
	}
	if f.Account.Node != nil {
		b.s.Cloud.Account = f.Account.Value
		if len(f.Account.Value) != 12 || strings.Trim(f.Account.Value, "0123456789") != "" {
			b.fail(f.Account.Node, "", "an account has twelve digits, got %q", f.Account.Value)
		}
	}
	if f.Quotas.Node != nil {
		b.s.Cloud.Quotas = f.Quotas.Value
	}
}
