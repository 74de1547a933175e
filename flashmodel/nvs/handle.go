package nvs

import (
	"encoding/binary"
	"strings"

	"github.com/otasim/otasim/flashmodel"
)

// Handle is an opened namespace. Keys are 1 to 15 bytes; longer ones give
// ErrKeyTooLong. The getters give ErrNotFound for a key that has another type.
type Handle struct {
	p     *Partition
	index uint8
	write bool
}

// Namespace opens a namespace by name. With write set, one that is missing is
// created, which writes to flash; otherwise it gives ErrNotFound.
func (p *Partition) Namespace(name string, write bool) (Handle, Err) {
	if write && p.ReadOnly {
		return Handle{}, ErrNotAllowed
	}
	short := name[:min(len(name), MaxKey)]
	for _, n := range p.namespaces {
		if n.name[:min(len(n.name), MaxKey)] == short {
			return Handle{p, n.index, write}, OK
		}
	}
	if !write {
		return Handle{}, ErrNotFound
	}
	index := 1
	for index < 255 && p.taken[index] {
		index++
	}
	if index == 255 {
		return Handle{}, ErrNotEnoughSpace
	}
	if err := p.set(0, U8, name, []byte{uint8(index)}); err != OK {
		return Handle{}, err
	}
	p.taken[index] = true
	p.namespaces = append(p.namespaces, namespace{name, uint8(index)})
	return Handle{p, uint8(index), true}, OK
}

func (h Handle) set(t Type, key string, data []byte) Err {
	if !h.write {
		return ErrReadOnly
	}
	return h.p.set(h.index, t, key, data)
}

func (h Handle) number(t Type, key string) (uint64, Err) {
	var b [8]byte
	err := h.p.get(h.index, t, key, b[:])
	return binary.LittleEndian.Uint64(b[:]), err
}

func (h Handle) setNumber(t Type, key string, v uint64) Err {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], v)
	return h.set(t, key, b[:t.width()])
}

// SetString stores s and a NUL; up to 3999 bytes without NUL.
func (h Handle) SetString(key, s string) Err {
	s, _, _ = strings.Cut(s, "\x00")
	return h.set(String, key, append([]byte(s), 0))
}

// GetString returns a string without its NUL.
func (h Handle) GetString(key string) (string, Err) {
	n, err := h.p.size(h.index, String, key)
	if err != OK {
		return "", err
	}
	b := make([]byte, n)
	if err := h.p.get(h.index, String, key, b); err != OK {
		return "", err
	}
	s, _, _ := strings.Cut(string(b), "\x00")
	return s, OK
}

// SetBlob stores bytes; as much as all pages but one hold.
func (h Handle) SetBlob(key string, b []byte) Err { return h.set(Blob, key, b) }

// GetBlob returns stored bytes.
func (h Handle) GetBlob(key string) ([]byte, Err) {
	n, err := h.p.size(h.index, Blob, key)
	if err != OK {
		return nil, err
	}
	b := make([]byte, n)
	if err := h.p.get(h.index, Blob, key, b); err != OK {
		return nil, err
	}
	return b, OK
}

func (h Handle) SetU8(key string, v uint8) Err   { return h.setNumber(U8, key, uint64(v)) }
func (h Handle) SetI8(key string, v int8) Err    { return h.setNumber(I8, key, uint64(v)) }
func (h Handle) SetU16(key string, v uint16) Err { return h.setNumber(U16, key, uint64(v)) }
func (h Handle) SetI16(key string, v int16) Err  { return h.setNumber(I16, key, uint64(v)) }
func (h Handle) SetU32(key string, v uint32) Err { return h.setNumber(U32, key, uint64(v)) }
func (h Handle) SetI32(key string, v int32) Err  { return h.setNumber(I32, key, uint64(v)) }
func (h Handle) SetU64(key string, v uint64) Err { return h.setNumber(U64, key, v) }
func (h Handle) SetI64(key string, v int64) Err  { return h.setNumber(I64, key, uint64(v)) }

func (h Handle) GetU8(key string) (uint8, Err)   { v, err := h.number(U8, key); return uint8(v), err }
func (h Handle) GetI8(key string) (int8, Err)    { v, err := h.number(I8, key); return int8(v), err }
func (h Handle) GetU16(key string) (uint16, Err) { v, err := h.number(U16, key); return uint16(v), err }
func (h Handle) GetI16(key string) (int16, Err)  { v, err := h.number(I16, key); return int16(v), err }
func (h Handle) GetU32(key string) (uint32, Err) { v, err := h.number(U32, key); return uint32(v), err }
func (h Handle) GetI32(key string) (int32, Err)  { v, err := h.number(I32, key); return int32(v), err }
func (h Handle) GetU64(key string) (uint64, Err) { return h.number(U64, key) }
func (h Handle) GetI64(key string) (int64, Err)  { v, err := h.number(I64, key); return int64(v), err }

// EraseKey erases a key of any type.
func (h Handle) EraseKey(key string) Err {
	if !h.write {
		return ErrReadOnly
	}
	return h.p.eraseKey(h.index, key)
}

// EraseAll erases all keys of the namespace; its name stays.
func (h Handle) EraseAll() Err {
	if !h.write {
		return ErrReadOnly
	}
	return h.p.eraseNamespace(h.index)
}

// Stats are counts of entries of 32 bytes.
type Stats struct {
	Total, Used, Free int
	Available         int // Free without the page that always stays free
	Namespaces        int
}

// Stats counts entries as the library does: erased ones count as free.
func (p *Partition) Stats() Stats {
	s := Stats{Total: len(p.pages) * EntryCount, Namespaces: len(p.namespaces)}
	for _, g := range p.order {
		if g.state == stateActive || g.state == stateFull {
			s.Used += int(g.used)
		}
	}
	s.Free = s.Total - s.Used
	s.Available = max(0, s.Free-EntryCount)
	return s
}

// Item is one key of a listing.
type Item struct {
	Namespace string // "" if no name is stored for the index
	Index     uint8  // of the namespace
	Key       string
	Type      Type // Blob for blobs of either form
	Size      int  // bytes of content; of a string with its NUL
}

// Items lists all keys in the order of pages and entries.
func (p *Partition) Items() []Item {
	var items []Item
	p.each(anyType, func(_ *page, e *entry) {
		if e.namespace() == 0 || e.kind() == blobData {
			return
		}
		i := Item{Index: e.namespace(), Key: string(e.keyBytes()), Type: e.kind(), Size: e.kind().width()}
		switch {
		case i.Type == blobIndex:
			i.Type, i.Size = Blob, int(e.indexSize())
		case i.Type.variable():
			i.Size = e.dataSize()
		}
		for _, n := range p.namespaces {
			if n.index == i.Index {
				i.Namespace = n.name
				break
			}
		}
		items = append(items, i)
	})
	return items
}

// Namespaces lists the names of the namespaces in the order of their entries.
func (p *Partition) Namespaces() []string {
	names := make([]string, len(p.namespaces))
	for i, n := range p.namespaces {
		names[i] = n.name
	}
	return names
}

// Inspect opens a copy of a partition in memory: what the device would find in
// it, without the repairs reaching the original.
func Inspect(r flashmodel.Reader, addr, size uint32, keys *Keys) (*Partition, Err) {
	const largest = 128 << 20
	if size > largest {
		return nil, ErrInvalidArg
	}
	m := make(memory, size)
	if err := errOf(r.Read(addr, m)); err != OK {
		return nil, err
	}
	return OpenWith(m, 0, size, Options{Keys: keys})
}

// memory is NOR flash in RAM.
type memory []byte

func (m memory) window(addr uint32, n int) ([]byte, error) {
	if uint64(addr)+uint64(n) > uint64(len(m)) {
		return nil, flashmodel.ErrBounds
	}
	return m[addr:][:n], nil
}

func (m memory) Read(addr uint32, dst []byte) error {
	b, err := m.window(addr, len(dst))
	copy(dst, b)
	return err
}

func (m memory) Program(addr uint32, src []byte) error {
	b, err := m.window(addr, len(src))
	for i := range b {
		b[i] &= src[i]
	}
	return err
}

func (m memory) Erase(addr, n uint32) error {
	b, err := m.window(addr, int(n))
	for i := range b {
		b[i] = 0xFF
	}
	return err
}
