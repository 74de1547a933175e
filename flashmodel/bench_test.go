package flashmodel

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// everlasting is a chip that benchmarks cannot wear out.
func everlasting(b testing.TB) *Chip {
	c := *chipOf(b, "4MB")
	c.Endurance = 1<<32 - 1
	return &c
}

// image is size bytes of incompressible content, as slices of one sector.
func image(size int, seed uint64) [][]byte {
	all := make([]byte, size)
	noise(all, seed)
	var sectors [][]byte
	for i := 0; i < size; i += SectorSize {
		sectors = append(sectors, all[i:i+SectorSize:i+SectorSize])
	}
	return sectors
}

// One received block after another into an erased slot of 1 MiB.
func BenchmarkProgramShared(b *testing.B) {
	f, sectors := New(NewStore(), everlasting(b)), image(1<<20, 1)
	b.ReportAllocs()
	for i := 0; i < b.N; {
		b.StopTimer()
		require.NoError(b, f.Erase(0x110000, 1<<20))
		b.StartTimer()
		for k := 0; k < len(sectors) && i < b.N; k++ {
			if err := f.ProgramShared(0x110000+uint32(k)*SectorSize, sectors[k]); err != nil {
				b.Fatal(err)
			}
			i++
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mprograms/s")
}

// The same block on chip after chip, as a fleet receives it.
func BenchmarkProgramSharedFleet(b *testing.B) {
	const fleet = 10_000
	st, sectors := NewStore(), image(1<<20, 1)
	chips := make([]*Flash, fleet)
	for i := range chips {
		chips[i] = New(st, everlasting(b))
	}
	b.ReportAllocs()
	b.ResetTimer()
	k := 0
	for i := range b.N {
		at := i % fleet
		if at == 0 {
			k = i / fleet % len(sectors)
			if k == 0 && i > 0 {
				b.StopTimer()
				for _, f := range chips {
					require.NoError(b, f.Erase(0x110000, 1<<20))
				}
				b.StartTimer()
			}
		}
		if err := chips[at].ProgramShared(0x110000+uint32(k)*SectorSize, sectors[k]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mprograms/s")
}

// Blocks in equal content but always other memory: found by content.
func BenchmarkProgramSharedByContent(b *testing.B) {
	f, sectors := New(NewStore(), everlasting(b)), image(1<<20, 1)
	var copies [][][]byte
	for range 64 {
		copies = append(copies, image(1<<20, 1))
	}
	for k, s := range sectors {
		require.NoError(b, f.ProgramShared(uint32(k)*SectorSize, s))
	}
	b.ResetTimer()
	for i := 0; i < b.N; {
		b.StopTimer()
		require.NoError(b, f.Erase(0, 1<<20))
		b.StartTimer()
		for k := 0; k < len(sectors) && i < b.N; k++ {
			if err := f.ProgramShared(uint32(k)*SectorSize, copies[i/256%64][k]); err != nil {
				b.Fatal(err)
			}
			i++
		}
	}
}

// A record of 32 bytes appended to a page that only this chip has.
func BenchmarkProgramPrivate(b *testing.B) {
	f := New(NewStore(), everlasting(b))
	record := make([]byte, 32)
	b.ReportAllocs()
	for i := range b.N {
		at := uint32(i) % (SectorSize / 32) * 32
		if at == 0 {
			b.StopTimer()
			require.NoError(b, f.Erase(0x9000, SectorSize))
			b.StartTimer()
		}
		noise(record, uint64(i)*32)
		if err := f.Program(0x9000+at, record); err != nil {
			b.Fatal(err)
		}
	}
}

// The otadata life of a fleet: erase one sector, write one record.
func BenchmarkOtadataRewrite(b *testing.B) {
	f := New(NewStore(), everlasting(b))
	record := make([]byte, 32)
	b.ReportAllocs()
	for i := range b.N {
		at := 0xd000 + uint32(i&1)*SectorSize
		record[0] = byte(i)
		if err := f.Erase(at, SectorSize); err != nil {
			b.Fatal(err)
		}
		if err := f.Program(at, record); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEraseSlot(b *testing.B) {
	f := New(NewStore(), everlasting(b))
	for range b.N {
		if err := f.Erase(0x110000, 1<<20); err != nil {
			b.Fatal(err)
		}
	}
}

// used is a chip after one update: two images, otadata, four NVS pages of its own.
func used(b testing.TB, st *Store) *Flash {
	f := New(st, chipOf(b, "4MB"))
	for i, seed := range []uint64{1, 2} {
		base := 0x10000 + uint32(i)<<20
		require.NoError(b, f.Erase(base, 1<<20))
		for k, s := range image(1<<20, seed) {
			require.NoError(b, f.ProgramShared(base+uint32(k)*SectorSize, s))
		}
	}
	page := make([]byte, 1024)
	for k := range uint32(4) {
		noise(page, uint64(k)+99)
		require.NoError(b, f.Program(0x9000+k*SectorSize, page))
	}
	return f
}

func BenchmarkFork(b *testing.B) {
	f := used(b, NewStore())
	b.ReportAllocs()
	for range b.N {
		f.Fork()
	}
}

func BenchmarkRead4K(b *testing.B) {
	f, dst := used(b, NewStore()), make([]byte, SectorSize)
	b.SetBytes(SectorSize)
	for i := range b.N {
		if err := f.Read(0x10000+uint32(i%256)*SectorSize, dst); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkKey1MiB(b *testing.B) {
	for _, c := range []struct {
		name string
		addr uint32
	}{{"slot at 64 KiB", 0x10000}, {"slot at 1152 KiB", 0x120000}} {
		b.Run(c.name, func(b *testing.B) {
			f := used(b, NewStore())
			b.ReportAllocs()
			for range b.N {
				if _, ok := f.Key(c.addr, 1<<20); !ok {
					b.Fatal("no key")
				}
			}
		})
	}
}

func BenchmarkRemember(b *testing.B) {
	f := used(b, NewStore())
	b.ReportAllocs()
	for range b.N {
		Remember(f, "answer", 0x10000, 1<<20, func() int { return 42 })
	}
}

// BenchmarkFleetMemory holds 100,000 chips that were updated from one image to another.
// B/chip is all live memory, the Store included, over the number of chips.
func BenchmarkFleetMemory(b *testing.B) {
	const fleet = 100_000
	for range b.N {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		st := NewStore()
		template := New(st, chipOf(b, "4MB"))
		for k, s := range image(1<<20, 1) {
			require.NoError(b, template.Load(0x10000+uint32(k)*SectorSize, s))
		}
		next := image(1<<20, 2)
		chips := make([]*Flash, fleet)
		for i := range chips {
			chips[i] = template.Fork()
		}
		for _, f := range chips {
			require.NoError(b, f.Erase(0x110000, 1<<20))
		}
		for k, s := range next {
			for _, f := range chips {
				if err := f.ProgramShared(0x110000+uint32(k)*SectorSize, s); err != nil {
					b.Fatal(err)
				}
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/fleet, "B/chip")
		runtime.KeepAlive(chips)
	}
}

// A new chip of 4 MiB costs its 32 leaf ids and little more.
func TestNewChipIsSmall(t *testing.T) {
	const fleet = 10_000
	st, chip := NewStore(), chipOf(t, "4MB")
	chips := make([]*Flash, fleet)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range chips {
		chips[i] = New(st, chip)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.LessOrEqual(t, (after.HeapAlloc-before.HeapAlloc)/fleet, uint64(260))
	runtime.KeepAlive(chips)
}
