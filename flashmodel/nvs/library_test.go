package nvs

import (
	"bufio"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// testdata/library.txt.gz holds calls and what espressif/esp-idf v5.5.5
// components/nvs_flash answered, one a line, "call = code checksum [size
// checksum]". The first checksum is that of the whole partition after the
// call, the second that of the value read.
//
//	N pages              new erased partition
//	O                    open
//	K n keep             power fails in the n-th flash operation from now on, after keep bytes of it
//	X offset byte        bits of one byte decay: AND
//	Y offset byte        one byte changes
//	H ns key type n seed set a value of n bytes; key - is the empty key
//	G ns key type        get
//	E ns key             erase a key
//	A ns                 erase a namespace
//
// The codes -98 and -99 stand for "power failed" and "not open".
const library = "testdata/library.txt.gz"

const (
	powerFailed = -98
	notOpen     = -99
)

// failing is memory in which power can fail.
type failing struct {
	memory
	left, keep int // left < 0: power stays
}

type powerFailure struct{}

func (f *failing) fails() bool {
	if f.left < 0 {
		return false
	}
	f.left--
	return f.left < 0
}

func (f *failing) Program(addr uint32, src []byte) error {
	if f.fails() {
		_ = f.memory.Program(addr, src[:min(len(src), f.keep)])
		panic(powerFailure{})
	}
	return f.memory.Program(addr, src)
}

func (f *failing) Erase(addr, n uint32) error {
	if f.fails() {
		_ = f.memory.Erase(addr, min(n, uint32(f.keep)))
		panic(powerFailure{})
	}
	return f.memory.Erase(addr, n)
}

func erasedMemory(pages int) memory {
	m := make(memory, pages*PageSize)
	_ = m.Erase(0, uint32(len(m)))
	return m
}

// valueOf is the value that the recorded calls name by size and seed.
func valueOf(t Type, n, seed int) []byte {
	var b []byte
	for i := 0; len(b) < n; i++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "%d %d", seed, i))
		b = append(b, sum[:]...)
	}
	b = b[:n]
	if t != String {
		return b
	}
	for i := range b {
		b[i] = max(b[i], 1)
	}
	b[n-1] = 0
	return b
}

// replayer runs recorded calls.
type replayer struct {
	flash failing
	p     *Partition
}

func (r *replayer) call(line string) (answer string) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case powerFailure:
			r.p, r.flash.left = nil, -1
			answer = fmt.Sprintf("%d %08x", powerFailed, checksum(r.flash.memory))
		default:
			panic(p)
		}
	}()
	code, read := r.run(strings.Fields(line))
	answer = fmt.Sprintf("%d %08x", code, checksum(r.flash.memory))
	if read != nil {
		answer += fmt.Sprintf(" %d %08x", len(read), checksum(read))
	}
	return answer
}

func (r *replayer) run(f []string) (Err, []byte) {
	n := func(i int) int { v, _ := strconv.Atoi(f[i]); return v }
	switch f[0] {
	case "N":
		*r = replayer{flash: failing{memory: erasedMemory(n(1)), left: -1}}
		return OK, nil
	case "X":
		r.flash.memory[n(1)] &= byte(n(2))
		return OK, nil
	case "Y":
		r.flash.memory[n(1)] = byte(n(2))
		return OK, nil
	case "K":
		r.flash.left, r.flash.keep = n(1), n(2)
		return OK, nil
	case "O":
		p, err := Open(&r.flash, 0, uint32(len(r.flash.memory)))
		r.p = p
		return err, nil
	}
	if r.p == nil {
		return notOpen, nil
	}
	h, err := r.p.Namespace(f[1], f[0] == "H")
	if err != OK {
		return err, nil
	}
	h.write = true
	if f[0] == "A" {
		return h.EraseAll(), nil
	}
	key := strings.TrimPrefix(f[2], "-")
	switch f[0] {
	case "E":
		return h.EraseKey(key), nil
	case "H":
		t := Type(n(3))
		return h.set(t, key, valueOf(t, n(4), n(5))), nil
	}
	t := Type(n(3))
	size := t.width()
	if t == String || t == Blob {
		if size, err = r.p.size(h.index, t, key); err != OK {
			return err, nil
		}
	}
	b := make([]byte, size)
	if err := r.p.get(h.index, t, key, b); err != OK {
		return err, nil
	}
	return OK, b
}

func TestLibraryAnswers(t *testing.T) {
	f, err := os.Open(library)
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	lines := bufio.NewScanner(z)
	var r replayer
	n := 0
	for lines.Scan() {
		call, want, ok := strings.Cut(lines.Text(), " = ")
		require.True(t, ok)
		n++
		require.Equal(t, want, r.call(call), "line %d: %s", n, call)
	}
	require.NoError(t, lines.Err())
	require.Greater(t, n, 5000)
}
