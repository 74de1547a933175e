package nvs

import "github.com/otasim/otasim/flashmodel"

// IdentityNamespace holds the identity of a device of Amazon FreeRTOS on
// ESP32: the labels are those of its PKCS #11 port, the thing name is ours,
// because the port compiles it in.
//
// Source: aws/amazon-freertos vendors/espressif/boards/esp32/ports/pkcs11/.
const IdentityNamespace = "creds"

// Identity is what tells one device from another. Nil and empty fields are not
// stored.
type Identity struct {
	ThingName   string
	Certificate []byte
	Key         []byte
	CA          []byte
	CodeSigner  []byte // certificate that signs images
}

// blobs are the blobs with their keys in the order in which they are stored.
func (id *Identity) blobs() [4]struct {
	key   string
	value *[]byte
} {
	return [4]struct {
		key   string
		value *[]byte
	}{{"P11_Cert", &id.Certificate}, {"P11_Key", &id.Key}, {"P11_CSK", &id.CodeSigner}, {"P11_CA", &id.CA}}
}

const thingNameKey = "thing_name"

// Generate makes a partition of size bytes with the identity, as the host tool
// makes one from a CSV text with these rows, but for one thing: what a fleet has in
// common (the certificates that devices trust) comes first and fills a page of its
// own, so that the chips of a fleet share it. Errors are *ToolError.
func (id *Identity) Generate(size int) ([]byte, error) {
	switch {
	case size%PageSize != 0:
		return nil, fail("SystemExit", "Size of partition must be multiple of 4096")
	case size < MinPages*PageSize || size > maxGenerated:
		return nil, fail("SystemExit", "Minimum NVS partition size needed is 0x3000 bytes.")
	}
	b := newBuilder(size, version2)
	if err := b.namespace(IdentityNamespace); err != nil {
		return nil, err
	}
	blob := func(key string, v []byte) error {
		if len(v) == 0 {
			return nil
		}
		return b.retry(func() error { return b.content(key, value{b: string(v)}, Blob) })
	}
	own := id.blobs()
	for _, f := range own[2:] {
		if err := blob(f.key, *f.value); err != nil {
			return nil, err
		}
	}
	if err := b.newPage(); err != nil {
		return nil, err
	}
	if id.ThingName != "" {
		v := value{text: true, b: id.ThingName + "\x00"}
		if err := b.retry(func() error { return b.content(thingNameKey, v, String) }); err != nil {
			return nil, err
		}
	}
	for _, f := range own[:2] {
		if err := blob(f.key, *f.value); err != nil {
			return nil, err
		}
	}
	return b.finish(), nil
}

// Store writes the identity through the library, as a device does that is
// provisioned over its own port.
func (id *Identity) Store(p *Partition) Err {
	h, err := p.Namespace(IdentityNamespace, true)
	if err != OK {
		return err
	}
	if id.ThingName != "" {
		if err := h.SetString(thingNameKey, id.ThingName); err != OK {
			return err
		}
	}
	for _, f := range id.blobs() {
		if len(*f.value) == 0 {
			continue
		}
		if err := h.SetBlob(f.key, *f.value); err != OK {
			return err
		}
	}
	return OK
}

// ReadIdentity opens the partition as a starting device does and reads the
// identity. Missing keys leave their fields empty; a missing namespace gives
// ErrNotFound.
func ReadIdentity(n flashmodel.NOR, addr, size uint32) (Identity, Err) {
	p, err := Open(n, addr, size)
	if err != OK {
		return Identity{}, err
	}
	return p.Identity()
}

// Identity reads the identity from an opened partition.
func (p *Partition) Identity() (Identity, Err) {
	h, err := p.Namespace(IdentityNamespace, false)
	if err != OK {
		return Identity{}, err
	}
	var id Identity
	if id.ThingName, err = h.GetString(thingNameKey); err != OK && err != ErrNotFound {
		return Identity{}, err
	}
	for _, f := range id.blobs() {
		if *f.value, err = h.GetBlob(f.key); err != OK && err != ErrNotFound {
			return Identity{}, err
		}
	}
	return id, OK
}
