package image

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestBuildVerifies(t *testing.T) {
	for _, chip := range []*Chip{ESP32, ESP32S3, ESP32C3} {
		for _, size := range []uint32{MinBuildSize, 352, 608, 4096, 64 << 10, 600 << 10, 1 << 20, 1536 << 10, 5 << 20} {
			t.Run(fmt.Sprintf("%s %d", chip.Name, size), func(t *testing.T) {
				img, err := Build(Spec{
					Version: "2.1.0", Project: "door", SecureVersion: 7, Size: size, Chip: chip,
					MinRevision: 100, MaxRevision: 399, Seed: 3,
				})
				require.NoError(t, err)
				require.Len(t, img, int(size))
				for _, addr := range []uint32{0x20000, 0x1D0000} {
					flash := erased(8<<20, addr, img)
					for _, mode := range []Mode{AppVerify, BootLoad, BootLoadUnchecked} {
						opt := VerifyOptions{Mode: mode, Chip: chip, Revision: 300, AntiRollback: true, SecureVersion: 7}
						if mode == BootLoadUnchecked {
							opt.AntiRollback = false
						}
						md, code := Verify(flash, addr, (size+0xFFF)&^0xFFF, opt)
						require.Equal(t, OK, code, md.Why)
						require.Equal(t, size, md.ImageLen)
						require.Equal(t, uint32(7), md.SecureVersion)
						require.Equal(t, "2.1.0", md.Descriptor.Version)
						require.Equal(t, img[len(img)-32:], md.SHA256[:])
					}
					opt := VerifyOptions{Mode: BootLoad, Chip: chip, Revision: 300, AntiRollback: true, SecureVersion: 8}
					md, code := Verify(flash, addr, size, opt)
					require.Equal(t, ErrFail, code)
					require.Equal(t, 16, md.FailStep)
				}
				p, err := Parse(img)
				require.NoError(t, err)
				require.True(t, p.Valid(), p.Problems)
				require.Equal(t, "door", p.Descriptor.Project)
				report, err := Info(img, "")
				require.NoError(t, err)
				require.Equal(t, plainName(chip.Name), report.Chip)
				require.True(t, report.ChecksumValid && *report.HashValid)
				require.Equal(t, "2.1.0", report.AppDesc.Version)
				for _, s := range report.Segments {
					require.NotEmpty(t, s.Memory, "%08x", s.Addr)
				}
			})
		}
	}
}

func TestBuildContent(t *testing.T) {
	spec := Spec{Version: "1", Project: "p", Size: 256 << 10}
	img, err := Build(spec)
	require.NoError(t, err)
	same, err := Build(spec)
	require.NoError(t, err)
	require.Equal(t, img, same)

	seen := map[string]bool{string(img): true}
	for _, change := range []func(*Spec){
		func(s *Spec) { s.Version = "2" },
		func(s *Spec) { s.Project = "q" },
		func(s *Spec) { s.Seed = 1 },
		func(s *Spec) { s.Size += 16 },
	} {
		s := spec
		change(&s)
		other, err := Build(s)
		require.NoError(t, err)
		require.False(t, seen[string(other)])
		seen[string(other)] = true
		require.NotEqual(t, img[0x8000:0x8100], other[0x8000:0x8100])
	}

	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, 9)
	require.NoError(t, err)
	_, err = w.Write(img)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	require.Greater(t, packed.Len(), len(img)*99/100, "incompressible")

	ff := bytes.Repeat([]byte{0xFF}, 4096)
	for at := 0; at < len(img); at += 4096 {
		require.False(t, bytes.Equal(img[at:at+4096], ff))
	}
}

func TestBuildRefuses(t *testing.T) {
	for _, s := range []Spec{
		{Size: 0}, {Size: MinBuildSize - 16}, {Size: 1000}, {Size: 1<<20 + 8}, {Size: 16<<20 + 16}, {Size: 16 << 20},
		{Size: 4096, Version: "0123456789012345678901234567890123"},
		{Size: 4096, Chip: ChipByName("ESP32-P4")},
		{Size: 4096, FlashSize: 3 << 20},
	} {
		_, err := Build(s)
		require.ErrorIs(t, err, ErrSpec)
	}
}

func TestBuildAnySize(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := 16 * rapid.Uint32Range(MinBuildSize/16, 40000).Draw(t, "size/16")
		chip := rapid.SampledFrom([]*Chip{ESP32, ESP32S3, ESP32C3}).Draw(t, "chip")
		img, err := Build(Spec{Size: size, Chip: chip, Seed: rapid.Uint64().Draw(t, "seed")})
		require.NoError(t, err)
		md, code := Verify(flat(img), 0, size, VerifyOptions{Chip: chip})
		if chip.BootloaderOffset == 0 {
			// at 0 it would be taken for the bootloader
			md, code = Verify(erased(1<<20, 0x10000, img), 0x10000, size, VerifyOptions{Chip: chip, Mode: BootLoad})
		}
		require.Equal(t, OK, code, md.Why)
		require.Equal(t, size, md.ImageLen)
	})
}

func BenchmarkBuild1MiB(b *testing.B) {
	b.SetBytes(1 << 20)
	for b.Loop() {
		img, err := Build(Spec{Version: "1", Project: "p", Size: 1 << 20})
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Discard.Write(img)
	}
}

func BenchmarkVerify1MiB(b *testing.B) {
	img, err := Build(Spec{Version: "1", Project: "p", Size: 1 << 20})
	require.NoError(b, err)
	f := newFlash(b)
	require.NoError(b, f.Load(0x20000, img))
	b.Run("first", func(b *testing.B) {
		b.SetBytes(1 << 20)
		flash := erased(2<<20, 0x20000, img)
		for b.Loop() {
			if _, code := Verify(flash, 0x20000, 0x180000, VerifyOptions{}); code != OK {
				b.Fatal(code)
			}
		}
	})
	b.Run("again", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, code := Verify(f, 0x20000, 0x180000, VerifyOptions{}); code != OK {
				b.Fatal(code)
			}
		}
	})
}
