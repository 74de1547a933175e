package sim

import (
	"fmt"
	"os"
	"slices"

	"github.com/otasim/otasim/cloud/pki"
	"github.com/otasim/otasim/flashmodel/efuse"
	"github.com/otasim/otasim/flashmodel/secureboot"
	"github.com/otasim/otasim/sim/scenario"
)

// bootKeys are the keys of secure boot V2 that a scenario uses, by name. Those without a file are made from the seed,
// which takes most of a second each; a scenario without secure boot V2 has none.
func (f *fleet) bootKeys() error {
	f.boot = map[string]*secureboot.Key{}
	var names []string
	for i := range f.sc.Firmware {
		names = append(names, f.sc.Firmware[i].BootSign...)
		names = append(names, f.sc.Firmware[i].Revokes...)
	}
	for i := range f.sc.Fleet.Groups {
		names = append(names, f.sc.Fleet.Groups[i].BootKeys...)
		names = append(names, f.sc.Fleet.Groups[i].LoaderSign...)
		for _, m := range f.sc.Fleet.Groups[i].Mix {
			names = append(append(names, m.Device.BootKeys...), m.Device.LoaderSign...)
		}
	}
	if slices.ContainsFunc(f.sc.Attacks, func(a scenario.Attack) bool { return a.Write == "key" }) {
		names = append(names, scenario.AttackerKey)
	}
	for _, name := range names {
		if f.boot[name] != nil {
			continue
		}
		key, err := f.bootKey(name)
		if err != nil {
			return fmt.Errorf("key %s: %w", name, err)
		}
		f.boot[name] = key
	}
	return nil
}

func (f *fleet) bootKey(name string) (*secureboot.Key, error) {
	i := slices.IndexFunc(f.sc.BootKeys, func(k scenario.Key) bool { return k.Name == name })
	if i >= 0 && f.sc.BootKeys[i].File != "" {
		text, err := os.ReadFile(f.sc.BootKeys[i].File)
		if err != nil {
			return nil, err
		}
		return secureboot.ParseKey(text)
	}
	private, err := pki.RSAKeyOf(3072, f.seed.Key("secure boot"), name)
	if err != nil {
		return nil, err
	}
	return &secureboot.Key{Label: secureboot.LabelRSA, Public: &private.PublicKey, Private: private}, nil
}

// signedBy is an image file with the signature sector of secure boot V2 behind it. A file that has one already stays as
// it is.
func (f *fleet) signedBy(data []byte, names []string) ([]byte, error) {
	if n := len(data) - secureboot.V2SectorSize; n > 0 && n%secureboot.V2SectorSize == 0 && len(secureboot.DecodeV2(data[n:])) > 0 {
		return data, nil
	}
	keys := make([]*secureboot.Key, len(names))
	for i, name := range names {
		keys[i] = f.boot[name]
	}
	return secureboot.SignV2(data, keys, secureboot.SignOptions{})
}

// digest is what the eFuses hold of a key.
func (f *fleet) digest(name string) ([32]byte, error) {
	return secureboot.KeyDigest(f.boot[name].Public)
}

// burnBootKeys is what the factory burns for secure boot V2: the digests, what becomes of the slots without one, and
// the fuse that switches it on.
func (f *fleet) burnBootKeys(fuse *efuse.EFuse, c *scenario.Device) error {
	for slot, name := range c.BootKeys {
		sum, err := f.digest(name)
		if err != nil {
			return err
		}
		if e := fuse.BurnDigest(slot, sum); e != efuse.OK {
			return fmt.Errorf("eFuse digest %d: %v", slot, e)
		}
	}
	if c.Target != "esp32" && !c.Sdkconfig.UnusedDigestSlots {
		for slot := len(c.BootKeys); slot < efuse.DigestSlots; slot++ {
			fuse.Revoke(slot)
		}
	}
	fuse.EnableSecureBootV2(c.Sdkconfig.AggressiveRevoke)
	return nil
}
