package sim

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/partition"
	"github.com/otasim/otasim/flashmodel/secureboot"
	"github.com/otasim/otasim/sim/check"
	"github.com/otasim/otasim/sim/fault"
	"github.com/otasim/otasim/sim/kernel"
	"github.com/otasim/otasim/sim/network"
	"github.com/otasim/otasim/sim/scenario"
)

// fleet is what a scenario says about devices, resolved: which things there will
// ever be, on which links, with which partition table and images. It does not
// change during a run, so every shard may read it.
type fleet struct {
	sc     *scenario.Scenario
	seed   kernel.Seed
	groups []group
	things []thing // those of t = 0 first, group after group, then those that events add
	images []firmwareImage
	files  []dataFile                   // of updates with bytes of their own
	labels map[[sha256.Size]byte]string // of an image file, to its version label
	links  map[network.Link]*network.Link
	boot   map[string]*secureboot.Key // of secure boot V2
}

type group struct {
	name        string
	table       partition.Table
	tableOffset uint32
	otadata     uint32 // flash address
	slotSize    uint32 // of the first OTA slot
	layout      *check.Layout
}

type thing struct {
	name   string
	group  int32
	number int              // in its group, from 1
	config *scenario.Device // of its group, or of the event that adds it
	link   *network.Link
	breaks *scenario.Fault // how its link fails now and then, nil: it does not
}

// firmwareImage is one row of firmware with its bytes.
type firmwareImage struct {
	*scenario.Firmware
	data  []byte            // the file that is delivered
	plain int               // length of the image in it, without a signature sector of secure boot V2
	sum   [sha256.Size]byte // of that
	draw  uint64            // by which devices draw whether its self-test goes wrong
}

func newFleetPlan(sc *scenario.Scenario, seed kernel.Seed) (*fleet, error) {
	f := &fleet{sc: sc, seed: seed, labels: map[[sha256.Size]byte]string{}, links: map[network.Link]*network.Link{}}
	if err := f.bootKeys(); err != nil {
		return nil, err
	}
	for i := range sc.Firmware {
		img, err := f.firmware(&sc.Firmware[i])
		if err != nil {
			return nil, err
		}
		f.images = append(f.images, img)
		f.labels[img.sum] = img.Version
	}
	var err error
	if f.files, err = dataFiles(sc, seed); err != nil {
		return nil, err
	}
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		one, err := newGroup(g, f.files)
		if err != nil {
			return nil, err
		}
		f.groups = append(f.groups, one)
		kinds := buildsOf(g, nil)
		for n := 1; n <= g.Count; n++ {
			f.add(int32(i), n, kinds)
		}
	}
	next := make([]int, len(f.groups))
	for i := range next {
		next[i] = sc.Fleet.Groups[i].Count
	}
	for i := range sc.Events {
		a := sc.Events[i].AddThings
		if a == nil {
			continue
		}
		g := slices.IndexFunc(sc.Fleet.Groups, func(g scenario.Group) bool { return g.Name == a.Group })
		kinds := buildsOf(&sc.Fleet.Groups[g], func(config *scenario.Device) {
			if a.Firmware != "" {
				config.Firmware = a.Firmware
			}
			if a.Network != "" {
				config.Network = a.Network
			}
		})
		for range a.Count {
			next[g]++
			f.add(int32(g), next[g], kinds)
		}
	}
	return f, nil
}

// builds are the kinds of devices in a group: what its mix says, and the group's own for the rest.
type builds struct {
	weights []uint64 // ppm, of the mix
	configs []*scenario.Device
	rest    *scenario.Device
}

// buildsOf takes them from a group, or copies of them that change alters.
func buildsOf(g *scenario.Group, change func(*scenario.Device)) builds {
	pick := func(d *scenario.Device) *scenario.Device {
		if change == nil {
			return d
		}
		own := *d
		change(&own)
		return &own
	}
	k := builds{rest: pick(&g.Device)}
	for i := range g.Mix {
		k.weights, k.configs = append(k.weights, g.Mix[i].Weight), append(k.configs, pick(&g.Mix[i].Device))
	}
	return k
}

// of is the kind of one device, drawn if there is a choice.
func (k *builds) of(seed kernel.Seed, name string) *scenario.Device {
	if len(k.weights) == 0 {
		return k.rest
	}
	r := seed.Stream("mix/" + name)
	at := r.Below(scenario.Million)
	for i, w := range k.weights {
		if at < w {
			return k.configs[i]
		}
		at -= w
	}
	return k.rest
}

func (f *fleet) add(g int32, number int, kinds builds) {
	name := f.sc.Fleet.Groups[g].ThingName(number)
	config := kinds.of(f.seed, name)
	link, breaks := f.link(name, config.Network)
	f.things = append(f.things, thing{name: name, group: g, number: number, config: config, link: link, breaks: breaks})
}

// link draws a device's link from its network.
func (f *fleet) link(thing, name string) (*network.Link, *scenario.Fault) {
	n := f.sc.NetworkByName(name)
	r := f.seed.Stream("network/" + thing)
	at, pick := r.Below(scenario.Million), &n.Links[len(n.Links)-1]
	for i := range n.Links {
		if at < n.Links[i].Weight {
			pick = &n.Links[i]
			break
		}
		at -= n.Links[i].Weight
	}
	l := pick.Link
	shared := network.Link{Latency: l.Latency, Jitter: l.Jitter, Downlink: l.Downlink, Uplink: l.Uplink, Loss: l.Loss}
	if f.links[shared] == nil {
		f.links[shared] = &shared
	}
	var breaks *scenario.Fault
	if l.DisconnectEvery > 0 {
		breaks = &scenario.Fault{Name: "link", Type: scenario.FaultNetwork, Effect: scenario.EffectAPOutage, HasTime: true, TimeTo: l.DisconnectEvery, Every: l.DisconnectEvery,
			Irregular: true, Probability: scenario.Million, ForFrom: l.DisconnectFrom, ForTo: max(l.DisconnectTo, 1), Link: scenario.Degraded{Up: true, Down: true}}
	}
	return f.links[shared], breaks
}

// lookahead is the least time in which one actor can reach another.
func (f *fleet) lookahead() time.Duration {
	least := time.Second
	for i := range f.things {
		least = min(least, f.things[i].link.Floor())
	}
	return least
}

func newGroup(g *scenario.Group, files []dataFile) (group, error) {
	text, builtin := partition.BuiltinCSV(g.Partitions)
	if !builtin {
		b, err := os.ReadFile(g.Partitions)
		if err != nil {
			return group{}, fmt.Errorf("group %s: %w", g.Name, err)
		}
		text = string(b)
	}
	offset := int64(g.Sdkconfig.PartitionTableOffset)
	table, err := partition.Parse([]byte(text), partition.Options{TableOffset: &offset, DisableMD5: !g.Sdkconfig.PartitionTableMD5})
	if err != nil {
		return group{}, fmt.Errorf("group %s: partition table %s: %w", g.Name, g.Partitions, err)
	}
	one := group{name: g.Name, table: table, tableOffset: uint32(offset), layout: layoutOf(table, files)}
	for _, r := range table {
		switch {
		case r.Type == 1 && r.Subtype == 0:
			one.otadata = r.Offset
		case r.Type == 0 && r.Subtype == 0x10:
			one.slotSize = r.Size
		}
	}
	return one, nil
}

// firmware reads or builds the bytes of one row.
func (f *fleet) firmware(row *scenario.Firmware) (firmwareImage, error) {
	var data []byte
	var err error
	if row.Image != "" {
		data, err = os.ReadFile(row.Image)
	} else {
		target := row.Target
		if target == "" {
			target = f.sc.Fleet.Groups[0].Target
		}
		data, err = image.Build(image.Spec{Version: row.Version, Project: row.Project, SecureVersion: row.SecureVersion, Size: row.Size,
			Chip: image.ChipByName(target), FlashSize: f.sc.Fleet.Groups[0].Flash.Size, Seed: f.sc.Seed})
	}
	if err != nil {
		return firmwareImage{}, fmt.Errorf("firmware %s: %w", row.Version, err)
	}
	draw := f.seed.Key("self-test/" + row.Version)
	plain, sum := len(data), sha256.Sum256(data)
	if len(row.BootSign) > 0 {
		if data, err = f.signedBy(data, row.BootSign); err != nil {
			return firmwareImage{}, fmt.Errorf("firmware %s: %w", row.Version, err)
		}
	}
	return firmwareImage{Firmware: row, data: data, plain: plain, sum: sum, draw: binary.LittleEndian.Uint64(draw[:])}, nil
}

func (f *fleet) imageOf(version string) *firmwareImage {
	for i := range f.images {
		if f.images[i].Version == version {
			return &f.images[i]
		}
	}
	return nil
}

// label names the image in a slot: the version of the row whose bytes it has, else
// what its descriptor says.
func (f *fleet) label(s *check.Slot) string {
	if v, ok := f.labels[s.SHA256]; ok {
		return v
	}
	return s.Version
}

// start is when a device of t = 0 is switched on.
func (f *fleet) start(i int) time.Duration {
	t := &f.things[i]
	r := f.seed.Stream("start/" + t.name)
	return t.config.StartFrom + time.Duration(r.Below(uint64(t.config.StartTo-t.config.StartFrom)+1))
}

// selected lists the devices of t = 0 that a fault or an attack names.
func (f *fleet) selected(s *scenario.Select) []int {
	var out []int
	for i := range f.things[:f.sc.Devices()] {
		t := &f.things[i]
		all := len(s.Groups) == 0 && len(s.Things) == 0 && len(s.Networks) == 0
		if all || slices.Contains(s.Networks, t.config.Network) || slices.Contains(s.Groups, f.groups[t.group].name) || slices.Contains(s.Things, t.name) {
			out = append(out, i)
		}
	}
	return out
}

// where says what a power cut planned for this device aims at: the largest image
// that any update or attack offers decides how many blocks there are.
func (f *fleet) where(i int) fault.Where {
	t := &f.things[i]
	size := uint32(0)
	for j := range f.sc.Updates {
		if img := f.imageOf(f.sc.Updates[j].Firmware); img != nil {
			size = max(size, uint32(len(img.data)))
		}
	}
	for j := range f.files {
		size = max(size, uint32(len(f.files[j].data)))
	}
	g := &f.groups[t.group]
	chip, _ := flashmodel.ChipOfSize(t.config.Flash.Size)
	model := device.ModelOf(t.config.Target, t.config.Flash.Size)
	build := agentConfig(t.config)
	block := build.BlockSize()
	test := time.Duration(0)
	for j := range f.images {
		test = max(test, f.images[j].SelfTestDuration)
	}
	return fault.Where{
		Blocks: int((size + block - 1) / block), Otadata: g.otadata, SelfTest: test,
		SlotErase:    time.Duration(g.slotSize/flashmodel.BlockSize) * chip.Timing.Block,
		BlockProgram: time.Duration(block/flashmodel.PageSize) * chip.Timing.Page,
		Verify:       time.Duration(size)*time.Second/time.Duration(model.HashRate) + model.Verify,
	}
}
