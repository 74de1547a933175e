package efuse

import (
	"bytes"
	"fmt"
	"math/bits"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The whole rule: the version is a number of ones, the burn a range of bits, and what the
// burn does is not asked.
func TestBurnSecureVersion(t *testing.T) {
	for _, c := range []struct {
		before uint64
		v      uint32
		size   int
		want   Err
		after  uint64
	}{
		{0, 0, 32, OK, 0},
		{0, 1, 32, OK, 1},
		{0, 32, 32, OK, 0xffffffff},
		{0b111, 3, 32, OK, 0b111},
		{0b111, 5, 32, OK, 0b11111},
		{0b111, 2, 32, Fail, 0b111},
		{0, 33, 32, InvalidArg, 0},
		{0, 0xffffffff, 32, InvalidArg, 0},
		{0, 17, 16, InvalidArg, 0},
		{0xffff0000, 4, 16, OK, 0xffff000f}, // bits above the field do not count
		{0xffff, 16, 16, OK, 0xffff},
		{1 << 5, 3, 32, OK, 0b100110},  // not contiguous: 1 one, bits 1 and 2 are burnt
		{1 << 5, 6, 32, OK, 0b100000},  // not contiguous: bit 5 again, refused, and still OK
		{1 << 31, 1, 32, OK, 1 << 31},  // version 1 already
		{1 << 31, 32, 32, OK, 1 << 31}, // can never be reached
		{0, 5, 0, InvalidArg, 0},       // a size outside 1 to 32 is the nearest inside
		{0, 1, 0, OK, 1},
	} {
		t.Run(fmt.Sprintf("%b to %d of %d", c.before, c.v, c.size), func(t *testing.T) {
			var e EFuse
			e.Preset(SecureVersionBits, c.before)
			require.Equal(t, c.want, e.BurnSecureVersion(c.v, c.size))
			require.Equal(t, c.after, e.Value(SecureVersionBits))
			mask := uint64(1)<<fieldSize(c.size) - 1
			require.Equal(t, uint32(bits.OnesCount64(c.after&mask)), e.SecureVersion(c.size))
		})
	}
}

func TestSecureVersionUnderProtectionAndCoding(t *testing.T) {
	var e EFuse
	e.Preset(SecureVersionBits, 0b11)
	e.Preset(WriteDisable, 1<<9)
	require.Equal(t, OK, e.BurnSecureVersion(4, 32), "the failed burn is not noticed")
	require.Equal(t, uint32(2), e.SecureVersion(32))

	e.Preset(ReadDisable, 1<<2)
	require.Zero(t, e.SecureVersion(32), "unreadable is version 0")

	for scheme, want := range map[uint64]Err{0: OK, 1: NotSupported, 2: NotSupported, 3: OK} {
		var e EFuse
		e.Preset(CodingScheme, scheme)
		require.Equal(t, want, e.BurnSecureVersion(1, 32), scheme)
	}
}

func TestFlashEncryptionIsParity(t *testing.T) {
	var e EFuse
	for n := range 7 {
		require.Equal(t, n%2 == 1, e.FlashEncryption())
		var w Batch
		require.Equal(t, OK, w.Count(&e, FlashCryptCount, 1))
		require.Equal(t, OK, e.Commit(&w))
	}
	require.True(t, e.FlashEncryption())
	var w Batch
	require.Equal(t, FieldFull, w.Count(&e, FlashCryptCount, 1))
	require.True(t, w.Empty())
}

func TestBitsOnlyGoUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var e EFuse
		e.Preset(CodingScheme, rapid.Uint64Range(0, 2).Draw(t, "scheme"))
		for range rapid.IntRange(1, 10).Draw(t, "burns") {
			before := e
			var w Batch
			for range rapid.IntRange(1, 3).Draw(t, "fields") {
				f := Field(rapid.IntRange(0, len(fields)-1).Draw(t, "field"))
				if f != CodingScheme { // it is burnt before the blocks are used
					w.Write(&e, f, rapid.Uint64().Draw(t, "value"))
				}
			}
			w.WriteBlock(&e, Block(rapid.IntRange(1, 3).Draw(t, "block")), rapid.SliceOfN(rapid.Byte(), 0, 32).Draw(t, "data"))
			torn := before
			torn.CommitTorn(&w, rapid.Uint64().Draw(t, "seed"))
			err := e.Commit(&w)
			for b := range e.fuse {
				for i := range e.fuse[b] {
					require.Zero(t, before.fuse[b][i]&^e.fuse[b][i], "a bit went back")
					require.Zero(t, before.fuse[b][i]&^torn.fuse[b][i], "a bit went back")
					if err == OK {
						require.Zero(t, torn.fuse[b][i]&^e.fuse[b][i], "a bit nobody asked for")
					}
				}
			}
			if err == Coding {
				require.Equal(t, before, e)
			}
		}
	})
}

func TestRepeatedProgramming(t *testing.T) {
	var e EFuse
	var w Batch
	require.Equal(t, OK, w.Write(&e, AbsDone1, 1))
	require.Equal(t, OK, w.Write(&e, AbsDone1, 1), "twice in a batch is one burn")
	require.Equal(t, OK, e.Commit(&w))
	require.True(t, e.SecureBootV2())
	require.False(t, e.SecureBootV1())
	w = Batch{}
	require.Equal(t, RepeatedProg, w.Write(&e, AbsDone1, 1))
	require.True(t, w.Empty())
}

// BLK0 is last: protection burnt in the same batch comes too late to stop its own block,
// and a block that fails keeps BLK0 from being burnt.
func TestCommitOrder(t *testing.T) {
	var e EFuse
	var w Batch
	require.Equal(t, OK, w.WriteBlock(&e, User, []byte{1}))
	require.Equal(t, OK, w.Write(&e, WriteDisable, 1<<9))
	require.Equal(t, OK, e.Commit(&w))
	require.Equal(t, uint32(1), e.Words(User)[0])

	w = Batch{}
	require.Equal(t, OK, w.WriteBlock(&e, User, []byte{2}))
	require.Equal(t, OK, w.Write(&e, AbsDone0, 1))
	require.Equal(t, Fail, e.Commit(&w))
	require.Equal(t, uint32(1), e.Words(User)[0], "writes to a protected block vanish")
	require.False(t, e.SecureBootV1())

	for f, row := range fields {
		if row.writeDisable == never || Field(f) == WriteDisable {
			continue
		}
		var e EFuse
		e.Preset(WriteDisable, 1<<row.writeDisable)
		var w Batch
		require.Equal(t, OK, w.Write(&e, Field(f), 1))
		require.Equal(t, Fail, e.Commit(&w), row.name)
		require.Zero(t, e.Value(Field(f)), row.name)
	}
}

// The power fails during a batch of two blocks: BLK3 first, then BLK0, never the other way.
func TestCommitTorn(t *testing.T) {
	partial := map[bool]int{}
	for seed := range uint64(200) {
		var e, again EFuse
		var w Batch
		require.Equal(t, OK, w.WriteBlock(&e, User, bytes.Repeat([]byte{0xff}, 32)))
		require.Equal(t, OK, w.Write(&e, MAC, 1<<48-1))
		e.CommitTorn(&w, seed)
		again.CommitTorn(&w, seed)
		require.Equal(t, e, again)
		user := e.Words(User).bytes()
		whole := bytes.Equal(user[:], bytes.Repeat([]byte{0xff}, 32))
		if e.Value(MAC) != 0 {
			require.True(t, whole)
			require.NotEqual(t, uint64(1<<48-1), e.Value(MAC))
		}
		partial[whole]++
	}
	require.Greater(t, partial[true], 50)
	require.Greater(t, partial[false], 50)
}

func TestThreeQuartersCoding(t *testing.T) {
	var e EFuse
	e.Preset(CodingScheme, 1)
	var w Batch
	require.Equal(t, Coding, w.WriteBlock(&e, User, make([]byte, 25)), "192 bits")
	require.Equal(t, OK, w.WriteBlock(&e, User, []byte{1, 2, 3, 4, 5, 0xff}))
	require.Equal(t, OK, e.Commit(&w))
	// XOR 01^02^03^04^05^ff = fe; ones 1*1+2*1+3*2+4*1+5*2+6*8 = 71.
	require.Equal(t, Words{0x04030201, 71<<24 | 0xfe<<16 | 0xff05}, e.fuse[User])
	require.Equal(t, Words{0x04030201, 0xff05}, e.Words(User))
	require.Zero(t, e.Damaged(User))

	w = Batch{}
	require.Equal(t, OK, w.WriteBlock(&e, User, []byte{0x80}))
	require.Equal(t, Coding, e.Commit(&w), "a group is written once")
	w = Batch{}
	require.Equal(t, OK, w.WriteBlock(&e, User, []byte{0, 0, 0, 0, 0, 0, 7}))
	require.Equal(t, OK, e.Commit(&w))
	require.Equal(t, Words{0x04030201, 0x7ff05}, e.Words(User))

	damaged := false
	for seed := range uint64(20) {
		var torn EFuse
		torn.Preset(CodingScheme, 1)
		var w Batch
		require.Equal(t, OK, w.WriteBlock(&torn, User, bytes.Repeat([]byte{0xa5}, 24)))
		torn.CommitTorn(&w, seed)
		damaged = damaged || torn.Damaged(User) != 0
	}
	require.True(t, damaged, "a torn burn shows in the check bytes")
}

func TestRepeatCoding(t *testing.T) {
	var e EFuse
	e.Preset(CodingScheme, 2)
	var w Batch
	require.Equal(t, Coding, w.WriteBlock(&e, User, make([]byte, 17)), "128 bits")
	require.Equal(t, Coding, w.Write(&e, SecureVersionBits, 1))
	require.Equal(t, OK, w.WriteBlock(&e, User, []byte{1, 2, 3, 4}))
	require.Equal(t, OK, e.Commit(&w))
	require.Equal(t, Words{0: 0x04030201, 4: 0x04030201}, e.Words(User))
}

func TestKeys(t *testing.T) {
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(i + 1)
	}
	var e EFuse
	require.Equal(t, InvalidArg, e.BurnKey(FlashEncryptionKey, key[:24]))
	require.Equal(t, OK, e.BurnKey(FlashEncryptionKey, key))
	require.Equal(t, Words{}, e.Words(FlashKeyBlock), "unreadable")
	require.Equal(t, [32]byte(key), e.FlashKey(), "but the hardware has it")
	require.Equal(t, byte(32), e.fuse[FlashKeyBlock].bytes()[0], "stored reversed")
	require.Equal(t, InvalidState, e.BurnKey(FlashEncryptionKey, key))

	require.Equal(t, OK, e.BurnKey(SecureBootV2Digest, key))
	require.Equal(t, [32]byte(key), e.SecureBootDigest())
	require.Equal(t, InvalidState, e.BurnKey(SecureBootV1Key, key), "one block for both")
	require.Equal(t, uint64(1<<7|1<<8), e.Value(WriteDisable))
	require.Equal(t, uint64(1), e.Value(ReadDisable))

	var short EFuse
	short.Preset(CodingScheme, 1)
	require.Equal(t, InvalidArg, short.BurnKey(FlashEncryptionKey, key))
	require.Equal(t, NotSupported, short.BurnKey(SecureBootV2Digest, key[:24]))
	require.Equal(t, OK, short.BurnKey(FlashEncryptionKey, key[:24]))
	want := append(bytes.Clone(key[:24]), key[8:16]...)
	require.Equal(t, [32]byte(want), short.FlashKey())

	var v1 EFuse
	require.Equal(t, OK, v1.BurnKey(SecureBootV1Key, key))
	require.Equal(t, [32]byte(key), v1.SecureBootV1Key())
	require.Equal(t, [32]byte{}, v1.SecureBootDigest())
}

func TestMACAndRevision(t *testing.T) {
	var e EFuse
	_, ok := e.MAC()
	require.True(t, ok, "all zero checks")
	mac := [6]byte{0x24, 0x0a, 0xc4, 0x00, 0x01, 0x02}
	e.PresetMAC(mac)
	got, ok := e.MAC()
	require.True(t, ok)
	require.Equal(t, mac, got)
	e.Preset(MACCRC, e.Value(MACCRC)^1)
	_, ok = e.MAC()
	require.False(t, ok)

	for _, c := range []struct {
		rev1, rev2, minor uint64
		syscon            bool
		want              int
	}{{0, 0, 0, false, 0}, {1, 0, 1, false, 101}, {1, 1, 0, false, 200}, {1, 1, 1, true, 301}, {0, 1, 0, true, 0}} {
		var e EFuse
		e.Preset(ChipVerRev1, c.rev1)
		e.Preset(ChipVerRev2, c.rev2)
		e.Preset(WaferVersionMinor, c.minor)
		require.Equal(t, c.want, e.Revision(c.syscon))
	}
}

// Reading of FLASH_CRYPT_CONFIG and CODING_SCHEME can be disabled; they still act.
func TestReadDisableOfSystemFields(t *testing.T) {
	var e EFuse
	e.Preset(FlashCryptConfig, 0xf)
	e.Preset(CodingScheme, 1)
	e.Preset(AbsDone0, 1)
	e.Preset(ReadDisable, 1<<3)
	require.Zero(t, e.Value(FlashCryptConfig))
	require.Equal(t, SchemeNone, e.Scheme())
	require.True(t, e.SecureBootV1())
}

func TestFieldsDoNotOverlap(t *testing.T) {
	var used [blocks]Words
	for _, f := range Fields() {
		row := fields[f]
		require.NotEqual(t, "unknown", f.String())
		for i := range row.length {
			bit := row.start + i
			require.Zero(t, used[row.block][bit/32]>>(bit%32)&1, f)
			used[row.block][bit/32] |= 1 << (bit % 32)
		}
	}
	require.Equal(t, "unknown", Field(200).String())
}
