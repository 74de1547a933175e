package scenario

import (
	"regexp"
	"slices"

	"github.com/otasim/otasim/sim/scenario/file"
)

func (b *builder) selection(f *file.Select) Select {
	for _, g := range f.Groups {
		b.group(g)
	}
	for _, t := range f.Things {
		b.thing(t)
	}
	for _, n := range f.Networks {
		if n.Node != nil && b.s.NetworkByName(n.Value) == nil && n.Value != DefaultNetwork {
			b.unknown(n.Node, "network", n.Value, b.networkNames())
		}
	}
	return Select{Groups: words(f.Groups), Things: words(f.Things), Networks: words(f.Networks), Fraction: b.fraction(f.Fraction)}
}

func (b *builder) fraction(f file.Share) uint64 {
	if f.Node == nil {
		return Million
	}
	if f.Value == 0 {
		b.fail(f.Node, "", "a fraction of nothing meets nobody")
	}
	return f.Value
}

// capabilities are what an attacker can hold.
var (
	capabilities = []string{"network", "bucket", "broker", "operator", "signing-key", "device-credentials", "device-access", "flash", "time", "uart-download-mode"}
	action       = regexp.MustCompile(`^(iot|s3|signer|iam|kms):[A-Za-z*]+$`)
	threat       = regexp.MustCompile(`^[A-Z]+-?[0-9]+[a-z]?$`)
)

func (b *builder) capabilities(list []file.String) []string {
	for _, c := range list {
		if c.Node != nil && !action.MatchString(c.Value) && !slices.Contains(capabilities, c.Value) && !slices.Contains(capabilities, underscored(c.Value)) {
			help := file.DidYouMean(c.Value, capabilities)
			b.fail(c.Node, help, "unknown capability %q", c.Value)
		}
	}
	return words(list)
}

// underscored spells signing_key as signing-key.
func underscored(s string) string {
	out := []byte(s)
	for i, c := range out {
		if c == '_' {
			out[i] = '-'
		}
	}
	return string(out)
}

func (b *builder) buildAttacks() {
	seen := map[string]bool{}
	for i := range b.f.Attacks {
		f := &b.f.Attacks[i]
		if seen[f.Name.Value] && f.Name.Node != nil {
			b.fail(f.Name.Node, "", "attack %q is defined twice", f.Name.Value)
		}
		seen[f.Name.Value] = true
		a := Attack{
			Name: f.Name.Value, Type: f.Type.Value, Threat: f.Threat.Value, Holds: b.capabilities(f.Actor.Holds), Lacks: b.capabilities(f.Actor.Lacks),
			Trigger: b.trigger(&f.Trigger, nil), Targets: b.targets(f.Targets), Fraction: b.fraction(f.Fraction),
			Firmware: f.Image.Value, Update: f.Update.Value, Offset: uint32(min(f.Offset.Value, 1<<31)), Xor: byte(f.Xor.Value), Pos: pos(f.Place),
		}
		if f.Threat.Node != nil && !threat.MatchString(f.Threat.Value) {
			b.fail(f.Threat.Node, "", "expected the id of a threat such as R1, got %q", f.Threat.Value)
		}
		if len(a.Targets) == 0 {
			a.Targets = b.groupNames()
		}
		b.attackSettings(f, &a)
		b.s.Attacks = append(b.s.Attacks, a)
	}
}

func (b *builder) attackSettings(f *file.Attack, a *Attack) {
	only := func(n *file.Node, key, typ string) {
		if a.Type != typ {
			b.fail(n, "", "%s belongs to an attack of type %s", key, typ)
		}
	}
	only(f.Image.Node, "image", AttackDowngradeReplay)
	only(f.Update.Node, "update", AttackTamperImage)
	only(f.Offset.Node, "offset", AttackTamperImage)
	only(f.Xor.Node, "xor", AttackTamperImage)
	switch a.Type {
	case AttackDowngradeReplay:
		if f.Image.Node == nil {
			b.fail(f.Place, "", "which version is replayed? give image")
		} else if fw := b.s.FirmwareByVersion(a.Firmware); fw == nil {
			b.unknown(f.Image.Node, "firmware", a.Firmware, b.versions())
		} else {
			b.fitsTargets(f.Image.Node, fw, a.Targets)
		}
	case AttackTamperImage:
		if f.Xor.Node == nil {
			a.Xor = 0xFF
		}
		if f.Update.Node == nil {
			b.fail(f.Place, "", "whose image is changed? give update: an otaUpdateId")
			return
		}
		b.updateID(f.Update)
		for i := range b.s.Updates {
			if b.s.Updates[i].OTAUpdateID != a.Update {
				continue
			}
			if fw := b.s.FirmwareByVersion(b.s.Updates[i].Firmware); fw != nil && f.Offset.Node != nil && f.Offset.Value >= uint64(fw.Size) {
				b.fail(f.Offset.Node, "", "the image has %d bytes", fw.Size)
			}
		}
	}
}
