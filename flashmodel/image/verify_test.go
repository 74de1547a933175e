package image

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/flashmodel"
)

// flat is flash of any size, for readers that are no chip.
type flat []byte

var errOutside = errors.New("outside")

func (f flat) Read(addr uint32, dst []byte) error {
	if uint64(addr)+uint64(len(dst)) > uint64(len(f)) {
		return errOutside
	}
	copy(dst, f[addr:])
	return nil
}

// erased is erased flash of n bytes with data at addr.
func erased(n int, addr uint32, data []byte) flat {
	f := make(flat, n)
	for i := range f {
		f[i] = 0xFF
	}
	copy(f[addr:], data)
	return f
}

// vectorFile finds a vector file or skips the test.
func vectorFile(t testing.TB, name string) *os.File {
	t.Helper()
	dir := os.Getenv("VECTORS")
	if dir == "" {
		dir = "../../testdata/vectors"
	}
	f, err := os.Open(filepath.Join(dir, "flash", name))
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("no vectors: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

type tableImage struct {
	ID            string  `json:"id"`
	Note          string  `json:"note"`
	SecureVersion *uint32 `json:"secure_version"`
	Data          string  `json:"data_b64"`
	Boots         struct {
		Plain        bool `json:"plain"`
		AntiRollback bool `json:"anti_rollback"`
	} `json:"boots"`
	AppCheck struct {
		Plain        string `json:"plain"`
		AntiRollback string `json:"anti_rollback"`
	} `json:"app_check"`
}

func TestImageTable(t *testing.T) {
	lines := bufio.NewScanner(vectorFile(t, "images.jsonl"))
	count := 0
	for ; lines.Scan(); count++ {
		var row tableImage
		require.NoError(t, json.Unmarshal(lines.Bytes(), &row))
		data, err := base64.StdEncoding.DecodeString(row.Data)
		require.NoError(t, err)
		const addr, size = 0x10000, 0x10000
		flash := erased(1<<20, addr, data)
		t.Run(row.ID, func(t *testing.T) {
			for _, anti := range []bool{false, true} {
				want, wantApp := row.Boots.Plain, row.AppCheck.Plain
				if anti {
					want, wantApp = row.Boots.AntiRollback, row.AppCheck.AntiRollback
				}
				_, noDesc := ReadDescriptor(flash, addr)
				md, code := Verify(flash, addr, size, VerifyOptions{Mode: BootLoad, Revision: 300, AntiRollback: anti})
				boots := code == OK
				if anti && noDesc != nil {
					boots = false // the bootloader asks for the descriptor first
				}
				require.Equal(t, want, boots, "%s: boots, anti-rollback %v: %s", row.Note, anti, md.Why)

				md, code = Verify(flash, addr, size, VerifyOptions{Revision: 300, AntiRollback: anti})
				app := "rejected"
				switch {
				case code == ErrAbort:
					app = "abort"
				case code == OK && anti && noDesc != nil:
					app = "no_app_descriptor"
				case code == OK:
					app = "accepted"
				}
				require.Equal(t, wantApp, app, "%s: app check, anti-rollback %v: %s", row.Note, anti, md.Why)
				if code == OK && row.SecureVersion != nil {
					require.True(t, md.Described)
					require.Equal(t, *row.SecureVersion, md.SecureVersion)
				}
			}
		})
	}
	require.Equal(t, 74, count)
}

func newFlash(t testing.TB) *flashmodel.Flash {
	t.Helper()
	chip, ok := flashmodel.ChipByName("4MB")
	require.True(t, ok)
	return flashmodel.New(flashmodel.NewStore(), chip)
}

func TestVerifyOnFlash(t *testing.T) {
	img, err := Build(Spec{Version: "1.0.0", Project: "app", Size: 256 << 10})
	require.NoError(t, err)
	const addr, size = 0x20000, 0x100000
	f := newFlash(t)
	require.NoError(t, f.Load(addr, img))
	f.SetClock(time.Second)
	md, code := Verify(f, addr, size, VerifyOptions{})
	require.Equal(t, OK, code, md.Why)
	again, code := Verify(f, addr, size, VerifyOptions{})
	require.Equal(t, OK, code)
	require.Equal(t, md, again)
	require.Same(t, &md.Segments[0], &again.Segments[0], "the second answer is the first one")
	require.Equal(t, time.Second, f.Clock(), "looking takes no time, remembered or not")

	// one bit of the content: another answer; and the first one still holds elsewhere
	twin := f.Fork()
	require.NoError(t, twin.Program(addr+0x8000, []byte{0}))
	_, code = Verify(twin, addr, size, VerifyOptions{})
	require.Equal(t, ErrInvalid, code)
	_, code = Verify(f, addr, size, VerifyOptions{})
	require.Equal(t, OK, code)

	// other options are another question
	md, code = Verify(f, addr, size, VerifyOptions{Chip: ESP32C3})
	require.Equal(t, ErrFail, code)
	require.Equal(t, 5, md.FailStep)
}

// An image that reaches past its partition hangs on its neighbour's bytes,
// which no memory keyed by the partition may hide.
func TestVerifyNeighbour(t *testing.T) {
	const addr, size = 0x10000, 0x10000
	head := Header{Magic: Magic, SegmentCount: 2}
	img := head.AppendTo(nil)
	img = append(img, 0, 0, 0, 0)
	img = binary.LittleEndian.AppendUint32(img, 0x10000-HeaderSize-SegmentHeadSize)
	f := newFlash(t)
	require.NoError(t, f.Load(addr, img))
	md, code := Verify(f, addr, size, VerifyOptions{})
	require.Equal(t, ErrInvalid, code)
	require.Equal(t, 8, md.FailStep, "the neighbour's FFs are a segment header: %s", md.Why)

	require.NoError(t, f.Load(addr+size, []byte{0, 0, 0, 0, 0, 0, 0xFF, 0}))
	md, code = Verify(f, addr, size, VerifyOptions{})
	require.Equal(t, ErrFail, code)
	require.Equal(t, 10, md.FailStep, "0xFF0000 bytes are more than the flash has: %s", md.Why)
}

func TestHeaderGenerations(t *testing.T) {
	img, err := Build(Spec{Size: 4096, MinRevision: 301, MaxRevision: 399})
	require.NoError(t, err)
	c3, err := Build(Spec{Size: 4096, Chip: ESP32C3})
	require.NoError(t, err)
	for _, c := range []struct {
		img      []byte
		header   HeaderChecks
		revision uint16
		want     Err
		step     int
	}{
		{img, CheckRevisions, 301, OK, 0},
		{img, CheckRevisions, 300, ErrFail, 6},
		{img, CheckRevisions, 400, ErrFail, 6},
		{img, CheckLegacyRevision, 300, OK, 0},
		{img, CheckLegacyRevision, 400, OK, 0},
		{img, CheckLegacyRevision, 199, ErrFail, 6},
		{img, CheckNoChip, 0, OK, 0},
		{c3, CheckLegacyRevision, 300, ErrFail, 5},
	} {
		md, code := Verify(erased(1<<20, 0x10000, c.img), 0x10000, 0x10000, VerifyOptions{Header: c.header, Revision: c.revision})
		require.Equal(t, c.want, code, "%+v: %s", c.header, md.Why)
		require.Equal(t, c.step, md.FailStep)
	}
	// what passes the chip check of v3.1 may still lie elsewhere in memory
	md, code := Verify(erased(1<<20, 0x10000, c3), 0x10000, 0x10000, VerifyOptions{Header: CheckNoChip})
	require.Equal(t, ErrInvalid, code)
	require.Equal(t, 8, md.FailStep, "RAM of the ESP32-C3 is flash to the ESP32")
}

func TestDebuggerAndBootloaderOffset(t *testing.T) {
	img, err := Build(Spec{Size: 4096})
	require.NoError(t, err)
	img[2000] ^= 1
	flash := erased(1<<20, 0x10000, img)
	_, code := Verify(flash, 0x10000, 0x10000, VerifyOptions{})
	require.Equal(t, ErrInvalid, code)
	_, code = Verify(flash, 0x10000, 0x10000, VerifyOptions{Debugger: true})
	require.Equal(t, OK, code)
	md, code := Verify(flash, 0x10000, 16<<20+1, VerifyOptions{})
	require.Equal(t, ErrInvalidArg, code)
	require.Equal(t, 2, md.FailStep)
	_, code = Verify(flash, 1<<20-8, 0x1000, VerifyOptions{})
	require.Equal(t, ErrFail, code, "header outside the flash")
}
