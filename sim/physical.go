package sim

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
	"time"

	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/efuse"
	"github.com/otasim/otasim/flashmodel/nvs"
	"github.com/otasim/otasim/flashmodel/secureboot"
	"github.com/otasim/otasim/sim/fault"
	"github.com/otasim/otasim/sim/scenario"
)

// strikeVictims has an attack on the way to the devices begin at each of them.
func (o *operator) strikeVictims(now time.Duration, index int) {
	for _, v := range o.victims(index) {
		o.reach(index, o.names[v], now)
		o.world.strikeBy(v, index)
	}
}

// attackFault is the fault that an attack on a link or a clock amounts to.
func attackFault(a *scenario.Attack) *scenario.Fault {
	f := &scenario.Fault{Name: a.Name, Type: scenario.FaultNetwork, Times: 1, Probability: scenario.Million, ForFrom: a.For, ForTo: a.For}
	switch a.Type {
	case scenario.AttackSlow:
		f.Effect = scenario.EffectDegrade
		f.Link = scenario.Degraded{Latency: time.Millisecond, Downlink: a.Rate, Uplink: a.Rate}
	case scenario.AttackWrongTime:
		f.Type, f.Effect = scenario.FaultClock, scenario.EffectJump
		f.Clock = scenario.ClockFault{Jump: a.Jump}
	case scenario.AttackBlockConfirmation:
		f.Effect = scenario.EffectOutage
		f.Link = scenario.Degraded{Up: true, Down: true}
		f.At = &scenario.Point{Point: device.PointReset, Arg: -1}
		f.Times = 0
	default:
		f.Effect = scenario.EffectOutage
		f.Link = scenario.Degraded{Up: true, Down: true}
	}
	return f
}

// attacked puts an attack in force at a device, or arms it for its point.
func (sh *shard) attacked(a *actor, now time.Duration, index int) {
	w := sh.w
	f := attackFault(&w.sc.Attacks[index])
	t := a.trouble
	if t == nil {
		name := w.fleet.things[a.id].name
		t = &trouble{hop: fault.NewHop(w.seed.Stream("trouble/up/"+name), w.seed.Stream("trouble/down/"+name))}
		a.trouble = t
	}
	left := 1
	if f.At != nil {
		left = -1
	}
	t.strikes = append(t.strikes, fault.NewStrike(w.seed, strikeOf(index), f, a.name, left))
	if f.At == nil {
		sh.begin(a, now, len(t.strikes)-1)
	}
}

// tampered is what somebody with the board in hand and a programmer does: power off,
// write, power on.
func (sh *shard) tampered(a *actor, now time.Duration, index int) {
	w, attack := sh.w, &sh.w.sc.Attacks[index]
	on := a.powered()
	if on {
		sh.lost(a, now)
	}
	a.harmed = true
	f := a.dev.Flash()
	region, ok := sh.region(a, attack.Partition)
	if attack.Type == scenario.AttackFlashRead {
		ok = true
		sh.readFlash(a, index)
	}
	switch attack.Write {
	case "image":
		img := w.fleet.imageOf(attack.Firmware)
		if ok = ok && img != nil; ok {
			_ = f.Load(region.Offset, blank(region.Size)) // a programmer cannot fail
			sh.programmer(a, region.Offset, append(slices.Clone(img.data), w.side.op.trailer(img, attack.Signature)...))
		}
	case "erase":
		if ok {
			_ = f.Load(region.Offset, blank(region.Size))
		}
	case "flip":
		var b [1]byte
		if ok = ok && f.Read(region.Offset+attack.Offset, b[:]) == nil; ok {
			b[0] ^= attack.Xor
			_ = f.Load(region.Offset+attack.Offset, b[:])
		}
	case "select", "forget":
		ok = true
		sh.rewriteOtadata(a, attack.Write == "select")
	case "signer":
		ok = sh.replaceSigner(a)
	case "sign":
		ok = sh.spoilSignature(a)
	case "key":
		ok = sh.burnKey(a)
	}
	if ok {
		sh.fire(index)
	}
	a.looked = true
	if on {
		sh.step(a, now, device.Event{Kind: device.PowerOn})
	}
}

// fire notes that an attack has done something to a device.
func (sh *shard) fire(attack int) {
	if sh.fired == nil {
		sh.fired = map[int]bool{}
	}
	sh.fired[attack] = true
}

func blank(n uint32) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 0xff
	}
	return b
}

// rewriteOtadata erases both records, or writes one that chooses the slot that did not
// run: VALID, with a number higher than any other, as esp_ota_select_entry_t has it.
func (sh *shard) rewriteOtadata(a *actor, choose bool) {
	f, at := a.dev.Flash(), sh.w.fleet.groups[a.group].otadata
	mem := a.dev.Memory() // what release mode keeps from everybody is a number that can be guessed
	le := binary.LittleEndian
	highest := uint32(0)
	for i := range uint32(2) {
		var e [4]byte
		if mem.Read(at+i*flashmodel.SectorSize, e[:]) == nil {
			if seq := le.Uint32(e[:]); seq != 0xffffffff {
				highest = max(highest, seq)
			}
		}
	}
	_ = f.Load(at, blank(2*flashmodel.SectorSize))
	if !choose {
		return
	}
	e := blank(32)
	le.PutUint32(e, highest+1) // the other one of two slots
	le.PutUint32(e[24:], 2)
	le.PutUint32(e[28:], crc32.Update(0xffffffff, crc32.IEEETable, e[:4]))
	sh.programmer(a, at, e)
}

// spoilSignature flips a byte of the first signature on the boot loader, and back when it is done again. The block stays
// well-formed: only its signature is bad.
func (sh *shard) spoilSignature(a *actor) (done bool) {
	region, ok := sh.region(a, "bootloader")
	b := make([]byte, region.Size)
	if !ok || a.dev.Flash().Read(region.Offset, b) != nil {
		return false
	}
	for at := 0; at+secureboot.V2BlockSize <= len(b); at += secureboot.V2SectorSize {
		blocks := secureboot.DecodeV2(b[at:])
		if len(blocks) == 0 {
			continue
		}
		block := blocks[0].Bytes()
		from, _ := blocks[0].SignatureRange()
		block[from] ^= 0xff
		_ = a.dev.Flash().Load(region.Offset+uint32(at), secureboot.Reseal(block))
		return true
	}
	return false
}

// burnKey puts the digest of the attacker's key of secure boot V2 into the first slot that takes it: that is tried
// whether one does or not.
func (sh *shard) burnKey(a *actor) (done bool) {
	sum, err := sh.w.fleet.digest(scenario.AttackerKey)
	if err != nil {
		return false
	}
	a.dev.Burn(func(fuse *efuse.EFuse) {
		for slot := range efuse.DigestSlots {
			if fuse.BurnDigest(slot, sum) == efuse.OK {
				return
			}
		}
	})
	return true
}

// replaceSigner puts the attacker's certificate where the device keeps that of the code signer.
func (sh *shard) replaceSigner(a *actor) (done bool) {
	region, ok := sh.region(a, "nvs")
	if !ok {
		return false
	}
	id, code := nvs.ReadIdentity(a.dev.Flash(), region.Offset, region.Size)
	if code != nvs.OK {
		return false
	}
	id.CodeSigner = sh.w.side.op.forgerCert
	data, err := id.Generate(int(region.Size))
	if err != nil {
		return false
	}
	_ = a.dev.Flash().LoadOwn(region.Offset, blank(region.Size))
	_ = a.dev.Flash().LoadOwn(region.Offset, data)
	return true
}
