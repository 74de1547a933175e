package scenario

import (
	"slices"

	"github.com/otasim/otasim/flashmodel/efuse"
	"github.com/otasim/otasim/sim/scenario/file"
)

// schemeBoot is the scheme of keys of secure boot V2.
const schemeBoot = "secure-boot-v2-rsa3072"

// usesBootV2 reports whether any device of the file has secure boot V2. Firmware is built before the fleet.
func (b *builder) usesBootV2() bool {
	return b.f.Fleet.Defaults.Sdkconfig.SecureBootV2.Value || slices.ContainsFunc(b.f.Fleet.Groups, func(g file.Group) bool {
		return g.Sdkconfig.SecureBootV2.Value || slices.ContainsFunc(g.Mix, func(m file.Build) bool { return m.Sdkconfig.SecureBootV2.Value })
	})
}

// bootKey finds a key of secure boot V2.
func (b *builder) bootKey(name string) bool {
	return slices.ContainsFunc(b.s.BootKeys, func(k Key) bool { return k.Name == name })
}

func (b *builder) bootKeyNames() (names []string) {
	for i := range b.s.BootKeys {
		names = append(names, b.s.BootKeys[i].Name)
	}
	return names
}

// bootKeys reads a list of names of such keys.
func (b *builder) bootKeys(list []file.String) (names []string) {
	for _, k := range list {
		switch {
		case k.Node == nil:
		case !b.bootKey(k.Value):
			b.unknown(k.Node, "key of secure boot V2", k.Value, b.bootKeyNames())
		case slices.Contains(names, k.Value):
			b.fail(k.Node, "", "key %q is named twice", k.Value)
		case len(names) == efuse.DigestSlots:
			b.fail(k.Node, "", "secure boot V2 has at most %d keys", efuse.DigestSlots)
		default:
			names = append(names, k.Value)
		}
	}
	return names
}

// defaultBootKey is the first key of secure boot V2.
func (b *builder) defaultBootKey() string {
	if len(b.s.BootKeys) > 0 {
		return b.s.BootKeys[0].Name
	}
	return DefaultBootKey
}

// signatures says by which keys a firmware is signed.
func (b *builder) signatures(f *file.Firmware, out *Firmware) {
	for _, k := range f.Sign {
		switch {
		case k.Node == nil:
		case b.bootKey(k.Value):
			out.BootSign = append(out.BootSign, k.Value)
			if len(out.BootSign) > efuse.DigestSlots {
				b.fail(k.Node, "", "an image has at most %d signatures of secure boot V2", efuse.DigestSlots)
			}
		case !slices.ContainsFunc(b.s.Keys, func(have Key) bool { return have.Name == k.Value }):
			b.unknown(k.Node, "key", k.Value, append(b.keyNames(), b.bootKeyNames()...))
		default:
			out.Sign = append(out.Sign, k.Value)
		}
	}
	if len(f.Sign) == 0 && b.usesBootV2() {
		out.BootSign = []string{b.defaultBootKey()}
		if out.Origin == OriginAttacker {
			out.BootSign = []string{AttackerKey}
		}
	}
	out.Revokes, out.RevokeAtStart = b.bootKeys(f.Revokes), f.RevokeAt.Value == "start"
}

// secureBootV2 reads the keys of a device and refuses what its chip cannot do.
func (b *builder) secureBootV2(d *Device, f *file.Device) {
	s, c := &f.Sdkconfig, &d.Sdkconfig
	c.SecureBootV2, c.AggressiveRevoke, c.UnusedDigestSlots = s.SecureBootV2.Value, s.AggressiveRevoke.Value, s.UnusedDigestSlots.Value
	c.FlashEncryption, c.FlashRelease = s.FlashEncryption.Value, s.FlashRelease.Value
	if c.FlashRelease && !c.FlashEncryption {
		b.fail(s.FlashRelease.Node, "CONFIG_SECURE_FLASH_ENC_ENABLED: y", "CONFIG_SECURE_FLASH_ENCRYPTION_MODE_RELEASE without flash encryption")
	}
	if c.FlashEncryption && d.Bootloader == "afr-2018" {
		b.fail(s.FlashEncryption.Node, "another bootloader", "flash encryption with bootloader afr-2018 is not modelled")
	}
	keys, signers := b.bootKeys(f.SecureBoot.Keys), b.bootKeys(f.SecureBoot.BootloaderSign)
	if !c.SecureBootV2 {
		return
	}
	if keys == nil {
		keys = []string{b.defaultBootKey()}
	}
	if signers == nil {
		signers = keys
	}
	d.BootKeys, d.LoaderSign = keys, signers
	if c.SecureBootV1 || c.SignedApps {
		b.fail(s.SecureBootV2.Node, "", "CONFIG_SECURE_BOOT_V2_ENABLED contradicts secure boot V1 and CONFIG_SECURE_SIGNED_APPS_NO_SECURE_BOOT")
	}
	if d.Bootloader == "afr-2018" {
		b.fail(s.SecureBootV2.Node, "another bootloader", "bootloader afr-2018 knows secure boot V1 only")
	}
	if d.Target == "esp32" {
		if len(keys) > 1 {
			b.fail(f.SecureBoot.Keys[1].Node, "esp32s3 and esp32c3 have three slots", "the esp32 has room for the digest of one key")
		}
		if c.AggressiveRevoke {
			b.fail(s.AggressiveRevoke.Node, "", "the esp32 cannot revoke keys")
		}
	}
}

// startsSigned refuses a device that would not start the firmware that it leaves the factory with.
func (b *builder) startsSigned(f *file.Device, fw *Firmware, d *Device) {
	switch {
	case d.Sdkconfig.SecureBootV2 && !slices.ContainsFunc(fw.BootSign, func(k string) bool { return slices.Contains(d.BootKeys, k) }):
		b.fail(f.Firmware.Node, "sign: [a key of secureBoot.keys]", "firmware %s has no signature that secure boot V2 of the devices accepts", fw.Version)
	case (d.Sdkconfig.SecureBootV1 || d.Sdkconfig.SignedApps) && len(fw.BootSign) > 0:
		b.fail(f.Firmware.Node, "sign: [a key for the platform layer] alone", "firmware %s has a signature sector of secure boot V2, where secure boot V1 looks for its block", fw.Version)
	}
}
