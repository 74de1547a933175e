package efuse

import "math/bits"

// Err is a result code of esp-idf components/efuse.
type Err int32

// The codes.
const (
	OK           Err = 0
	Fail         Err = -1
	InvalidArg   Err = 0x102
	InvalidState Err = 0x103
	NotSupported Err = 0x106
	FieldFull    Err = 0x1602 // no free bit left in a counting field
	RepeatedProg Err = 0x1603 // a bit is already 1
	Coding       Err = 0x1604 // range or write not possible in this coding scheme
)

func (e Err) String() string {
	switch e {
	case OK:
		return "ESP_OK"
	case Fail:
		return "ESP_FAIL"
	case InvalidArg:
		return "ESP_ERR_INVALID_ARG"
	case InvalidState:
		return "ESP_ERR_INVALID_STATE"
	case NotSupported:
		return "ESP_ERR_NOT_SUPPORTED"
	case FieldFull:
		return "ESP_ERR_EFUSE_CNT_IS_FULL"
	case RepeatedProg:
		return "ESP_ERR_EFUSE_REPEATED_PROG"
	case Coding:
		return "ESP_ERR_CODING"
	default:
		return "unknown"
	}
}

// Batch collects the bits of one burn: the write registers. Bits add up.
type Batch struct {
	bits [blocks]Words // as software writes them, not coded
}

// Write adds value to the bits to burn in a field. A bit that reads as 1 already is
// refused with RepeatedProg, before anything is burnt.
func (w *Batch) Write(e *EFuse, f Field, value uint64) Err {
	row := fields[f]
	return w.write(e, row.block, row.start, row.length, func(i uint) bool { return value>>i&1 == 1 })
}

// WriteBlock adds bytes to burn in a block, from its first bit on.
func (w *Batch) WriteBlock(e *EFuse, b Block, data []byte) Err {
	if b >= blocks || len(data) > 32 {
		return InvalidArg
	}
	return w.write(e, b, 0, uint(len(data))*8, func(i uint) bool { return data[i/8]>>(i%8)&1 == 1 })
}

func (w *Batch) write(e *EFuse, b Block, start, length uint, bit func(i uint) bool) Err {
	if start+length > e.Scheme().capacity(b) {
		return Coding
	}
	now, next := e.Words(b), w.bits[b]
	for i := range length {
		word, mask := (start+i)/32, uint32(1)<<((start+i)%32)
		if !bit(i) {
			continue
		}
		if now[word]&mask != 0 {
			return RepeatedProg
		}
		next[word] |= mask
	}
	w.bits[b] = next
	return OK
}

// Count adds n free bits of a field, low ones first.
func (w *Batch) Count(e *EFuse, f Field, n int) Err {
	value, now := uint64(0), e.Value(f)
	for i := uint(0); i < fields[f].length && n > 0; i++ {
		if now>>i&1 == 0 {
			value |= 1 << i
			n--
		}
	}
	if n > 0 {
		return FieldFull
	}
	return w.Write(e, f, value)
}

// Commit burns a batch: BLK3, BLK2, BLK1, and BLK0 last. What is write-protected does not
// change, silently; reading back finds that, the result is Fail, and BLK0 is then left
// alone. (Three attempts of the real driver burn the same bits three times.)
func (e *EFuse) Commit(w *Batch) Err {
	coded, err := w.coded(e)
	if err != OK {
		return err
	}
	result := OK
	for b := User; ; b-- {
		if coded[b] != (Words{}) && (b != System || result == OK) {
			e.burn(b, coded[b])
			now := e.Words(b)
			for i, want := range w.bits[b] {
				if now[i]&want != want {
					result = Fail
				}
			}
		}
		if b == System {
			return result
		}
	}
}

// CommitTorn is Commit with the power failing during it: one block of the batch ends with
// a random subset of its bits, blocks before it are complete, blocks after it untouched.
// All chance is from seed. What silicon does is not documented.
func (e *EFuse) CommitTorn(w *Batch, seed uint64) {
	coded, err := w.coded(e)
	if err != OK {
		return
	}
	var order []Block
	for b := User; ; b-- {
		if coded[b] != (Words{}) {
			order = append(order, b)
		}
		if b == System {
			break
		}
	}
	if len(order) == 0 {
		return
	}
	at := mix(seed) % uint64(len(order))
	for _, b := range order[:at] {
		e.burn(b, coded[b])
	}
	b := order[at]
	for i := range coded[b] {
		coded[b][i] &= uint32(mix(seed + 1 + uint64(i)))
	}
	e.burn(b, coded[b])
}

// coded applies the coding scheme. Under 3/4 each group of 6 bytes can be written once.
func (w *Batch) coded(e *EFuse) ([blocks]Words, Err) {
	out := w.bits
	s := e.Scheme()
	for b := FlashKeyBlock; b < blocks; b++ {
		if s == SchemeThreeQuarters {
			want, now := w.bits[b].bytes(), e.Words(b).bytes()
			for g := range 4 {
				if !isZero(want[6*g:6*g+6]) && !isZero(now[6*g:6*g+6]) {
					return out, Coding
				}
			}
		}
		out[b] = code(s, b, w.bits[b])
	}
	return out, OK
}

// burn sets bits that are not write-protected.
func (e *EFuse) burn(b Block, bits Words) {
	off := e.fuse[System][0] & 0xffff
	if b != System && off>>(6+b)&1 != 0 {
		return
	}
	for f, row := range fields {
		if b == System && row.block == System && row.writeDisable != never && off>>row.writeDisable&1 != 0 {
			bits = bits.without(Field(f))
		}
	}
	for i := range bits {
		e.fuse[b][i] |= bits[i]
	}
	if b == System {
		e.fuse[b][7] = 0
	}
}

func isZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// SecureVersion is the number of ones in the low size bits of SECURE_VERSION, size 1 to 32.
func (e *EFuse) SecureVersion(size int) uint32 {
	return uint32(bits.OnesCount64(e.Value(SecureVersionBits) & (1<<fieldSize(size) - 1)))
}

func fieldSize(size int) uint { return uint(min(max(size, 1), 32)) }

// BurnSecureVersion raises the secure version to v as esp_efuse_update_secure_version
// does. The result of the burn itself is ignored there: OK may mean that nothing changed.
//
//	v > size                InvalidArg
//	coding scheme not none  NotSupported
//	version above v         Fail
//	version equal to v      OK, no burn
//	version below v         burns bits [version, v); refused if one of them is 1 already
func (e *EFuse) BurnSecureVersion(v uint32, size int) Err {
	w, err := e.SecureVersionBatch(v, size)
	if err == OK {
		e.Commit(&w)
	}
	return err
}

// SecureVersionBatch is what BurnSecureVersion commits; empty if nothing is to be burnt.
func (e *EFuse) SecureVersionBatch(v uint32, size int) (Batch, Err) {
	var w Batch
	if uint(v) > fieldSize(size) {
		return w, InvalidArg
	}
	if e.Scheme() != SchemeNone {
		return w, NotSupported
	}
	now := e.SecureVersion(size)
	if now > v {
		return w, Fail
	}
	w.Write(e, SecureVersionBits, 1<<v-1<<now)
	return w, OK
}

// Empty reports whether there is nothing to burn.
func (w *Batch) Empty() bool { return *w == Batch{} }

// mix scatters the bits of x: the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
