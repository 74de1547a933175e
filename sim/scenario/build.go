package scenario

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/quota"
	"github.com/otasim/otasim/device/firmware"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/partition"
	"github.com/otasim/otasim/sim/cost"
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
	b.buildPlanted()
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
		if k.Scheme == schemeBoot {
			if k.Certificate != "" {
				b.fail(e.Value.Certificate.Node, "", "keys of secure boot V2 have no certificate")
			}
			b.s.BootKeys = append(b.s.BootKeys, k)
			continue
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
			SelfTest: SelfTestPass, SelfTestShare: Million, SelfTestDuration: 2 * time.Second, AllowDowngrade: f.Otaconfig.AllowDowngrade.Value,
			Target: f.Target.Value, Pos: pos(f.Place), Origin: OriginRelease,
		}
		if f.Origin.Node != nil {
			out.Origin = f.Origin.Value
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
		if f.SelfTestShare.Node != nil {
			out.SelfTestShare = f.SelfTestShare.Value
			if out.SelfTest == SelfTestPass {
				b.fail(f.SelfTestShare.Node, "selfTest: fail, crash or hang", "selfTestShare without a selfTest that can go wrong")
			}
		}
		if out.SelfTest == SelfTestSlow {
			out.SelfTestDuration = firmware.SlowTest
		}
		out.WrongWiFi = f.WifiPassword.Value == "wrong"
		out.Telemetry = firmware.Telemetry{Every: f.Telemetry.Every.Value, Size: int(f.Telemetry.Size.Value), QoS: byte(f.Telemetry.QoS.Value)}
		if f.Telemetry.Every.Node != nil && f.Telemetry.Size.Node == nil {
			out.Telemetry.Size = 256
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
		b.signatures(f, &out)
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
	b.s.Cloud.Open = f.Policy.Value == "open"
	b.buildQuotas(f.Quotas)
	b.buildSwitches(f.Switches)
	b.buildPrices(&f.Prices)
}

// buildQuotas reads a profile, or what differs from aws-default.
func (b *builder) buildQuotas(q file.Quotas) {
	if q.Node == nil {
		return
	}
	if q.Kind != file.Mapping {
		if profiles := []string{"aws-default", "unlimited"}; !slices.Contains(profiles, q.Value) {
			b.unknown(q.Node, "value", q.Value, profiles)
			return
		}
		b.s.Cloud.Quotas = q.Value
		return
	}
	names := make([]string, len(quota.Rows))
	for i, r := range quota.Rows {
		names[i] = string(r.Name)
	}
	for i, k := range q.Keys {
		v := q.Items[i]
		switch err := (quota.Limits{}).Set(quota.Name(k.Value), v.Value); {
		case errors.Is(err, quota.ErrUnknown):
			b.unknown(k, "quota", k.Value, names)
		case errors.Is(err, quota.ErrFixed):
			b.fail(k, "", "%v", err)
		case err != nil || v.Kind != file.Scalar:
			b.fail(v, "", "%s: expected a whole number from 1, or unlimited, got %q", k.Value, v.Value)
		default:
			b.s.Cloud.Quotas += "," + k.Value + "=" + v.Value
		}
	}
}

// buildSwitches reads the choices among readings of the documentation.
func (b *builder) buildSwitches(switches file.Map[file.Label]) {
	var names []string
	for i := range cloud.SwitchTable {
		names = append(names, cloud.SwitchTable[i].Name)
	}
	for _, e := range switches {
		i := slices.Index(names, e.Name)
		switch {
		case i < 0:
			b.unknown(e.Key, "switch", e.Name, names)
		case !slices.Contains(cloud.SwitchTable[i].Choices, e.Value.Value):
			b.unknown(e.Value.Node, "choice", e.Value.Value, cloud.SwitchTable[i].Choices)
		default:
			b.s.Cloud.Switches = append(b.s.Cloud.Switches, e.Name+"="+e.Value.Value)
		}
	}
}

// buildPrices reads the prices that replace the shipped ones.
func (b *builder) buildPrices(prices *file.Map[file.Decimal]) {
	for _, e := range *prices {
		if !slices.Contains(cost.Names(), e.Name) {
			b.unknown(e.Key, "price", e.Name, cost.Names())
			continue
		}
		if b.s.Cloud.Prices == nil {
			b.s.Cloud.Prices = map[string]float64{}
		}
		b.s.Cloud.Prices[e.Name] = float64(e.Value.Value) / 1e6
	}
}
