package otaops

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/otadata"
	"github.com/otasim/otasim/flashmodel/partition"
)

var stock = []bootloader.Kind{bootloader.AFR2022, bootloader.IDF55, bootloader.IDF60}

func TestSetBootToTheActiveSlot(t *testing.T) {
	for _, c := range []struct {
		kind   bootloader.Kind
		e0, e1 otadata.Entry
		label  string
		want   [2]otadata.Entry
	}{
		// v5: the same number again, in the other record; record 0 wins the tie.
		{bootloader.IDF55, otadata.Make(1, otadata.Valid), otadata.Empty(), "ota_0", [2]otadata.Entry{otadata.Make(1, otadata.Valid), otadata.Make(1, otadata.New)}},
		{bootloader.IDF55, otadata.Make(1, otadata.Valid), otadata.Make(2, otadata.Valid), "ota_1", [2]otadata.Entry{otadata.Make(2, otadata.New), otadata.Make(2, otadata.Valid)}},
		// v6: the active record in place.
		{bootloader.IDF60, otadata.Make(1, otadata.Valid), otadata.Empty(), "ota_0", [2]otadata.Entry{otadata.Make(1, otadata.New), otadata.Empty()}},
		{bootloader.IDF60, otadata.Make(1, otadata.Valid), otadata.Make(2, otadata.Valid), "ota_1", [2]otadata.Entry{otadata.Make(1, otadata.Valid), otadata.Make(2, otadata.New)}},
		// the other slot
		{bootloader.IDF60, otadata.Make(3, otadata.Valid), otadata.Make(2, otadata.Valid), "ota_1", [2]otadata.Entry{otadata.Make(3, otadata.Valid), otadata.Make(4, otadata.New)}},
		{bootloader.AFR2018, otadata.Make(3, otadata.Valid), otadata.Make(2, otadata.Aborted), "ota_1", [2]otadata.Entry{otadata.Make(3, otadata.Valid), otadata.Make(4, otadata.New)}},
	} {
		b := newBoard(t, c.kind)
		b.records(c.e0, c.e1)
		b.ops = New(b.flash, b.fuse, b.cfg, *b.part("ota_0"))
		require.Equal(t, OK, b.ops.SetBoot(b.part(c.label)))
		require.Equal(t, c.want, [2]otadata.Entry{b.record(0), b.record(1)}, "%s %s", c.kind, c.label)
	}
}

func TestSetBootKeepsTheLabel(t *testing.T) {
	b := newBoard(t, bootloader.IDF55)
	e := otadata.Make(2, otadata.Aborted)
	e.Label[5] = 'x'
	b.records(otadata.Make(3, otadata.Valid), e)
	b.boot()
	require.Equal(t, OK, b.ops.SetBoot(b.part("ota_1")))
	require.Equal(t, byte('x'), b.record(1).Label[5])
}

func TestSetBootOfOtherPartitions(t *testing.T) {
	test := partition.Record{Type: partition.TypeApp, Subtype: partition.SubtypeTest, Offset: 0x80000, Size: slotSize, Label: "test"}
	b := newBoard(t, bootloader.IDF55, factoryRow, test)
	b.records(otadata.Make(2, otadata.Valid))
	b.boot()
	require.Equal(t, InvalidArg, b.ops.SetBoot(nil))
	require.Equal(t, ValidateFailed, b.ops.SetBoot(b.part("nvs")))
	require.Equal(t, OK, b.ops.SetBoot(b.part("test")), "the test app selects ota_0")
	require.Equal(t, otadata.Make(3, otadata.New), b.record(1))
	require.Equal(t, OK, b.ops.SetBoot(b.part("factory")))
	require.Equal(t, [2]otadata.Entry{otadata.Empty(), otadata.Empty()}, [2]otadata.Entry{b.record(0), b.record(1)})
	require.Equal(t, "factory", b.boot().Boot)
}

func TestUpdateOnEveryKind(t *testing.T) {
	img := buildImage(t, "new", 0x8000)
	for _, kind := range append([]bootloader.Kind{bootloader.AFR2018}, stock...) {
		b := newBoard(t, kind)
		b.records(otadata.Make(1, otadata.Valid))
		require.Equal(t, "ota_0", b.boot().Boot)
		p, err := b.ops.NextUpdate(nil)
		require.Equal(t, OK, err)
		require.Equal(t, "ota_1", p.Label)
		h, err := b.ops.Begin(p, SizeUnknown)
		require.Equal(t, OK, err)
		for at := uint32(0); at < uint32(len(img)); at += 4096 {
			require.Equal(t, OK, b.ops.WriteWithOffset(h, img[at:at+4096], at))
		}
		require.Equal(t, OK, b.ops.End(h))
		require.Equal(t, OK, b.ops.SetBoot(p))
		require.Equal(t, "ota_1", b.boot().Boot)
		state, err := b.ops.GetState(p)
		require.Equal(t, OK, err)
		require.Equal(t, otadata.PendingVerify, state)
		if kind == bootloader.AFR2018 || kind == bootloader.AFR2022 {
			state, err = b.ops.BootFlags(true)
			require.Equal(t, OK, err)
			require.Equal(t, otadata.PendingVerify, state)
			require.Equal(t, OK, b.ops.SetBootFlags(otadata.Valid, true))
		} else {
			require.Equal(t, OK, b.ops.MarkValid())
		}
		require.Equal(t, otadata.Make(2, otadata.Valid), b.record(1))
		require.Equal(t, "ota_1", b.boot().Boot)
		require.Equal(t, "new", b.version("ota_1"))
	}
}

func TestBeginErasesTheInactiveRecordFromV5On(t *testing.T) {
	for _, kind := range stock {
		b := newBoard(t, kind)
		b.cfg.KeepPassive = true
		b.records(otadata.Make(3, otadata.Valid), otadata.Make(2, otadata.Valid))
		b.boot()
		_, err := b.ops.Begin(b.part("ota_1"), 0x1001)
		require.Equal(t, OK, err)
		require.Equal(t, kind != bootloader.AFR2022, b.record(1) == otadata.Empty(), "%s", kind)
		var head [1]byte
		require.NoError(t, b.flash.Read(b.part("ota_1").Offset+0x1FFF, head[:]))
		require.Equal(t, byte(0xFF), head[0])
	}
}

func TestBeginRefuses(t *testing.T) {
	for _, kind := range stock {
		b := newBoard(t, kind, factoryRow)
		b.records(otadata.Make(1, otadata.Valid))
		b.boot()
		other := *b.part("ota_1")
		other.Size--
		for _, c := range []struct {
			p    *partition.Record
			want Err
		}{
			{nil, InvalidArg}, {&other, NotFound}, {b.part("factory"), InvalidArg}, {b.part("ota_0"), PartitionConflict},
		} {
			h, err := b.ops.Begin(c.p, SizeUnknown)
			require.Equal(t, c.want, err)
			require.Zero(t, h)
		}
		h, err := b.ops.Begin(b.part("ota_1"), slotSize+1)
		require.Equal(t, InvalidSize, err)
		require.Equal(t, kind != bootloader.AFR2022, h != 0, "v5 gives the handle before the erase fails")
		b.records(otadata.Make(1, otadata.PendingVerify))
		_, err = b.ops.Begin(b.part("ota_1"), SizeUnknown)
		require.Equal(t, RollbackBadState, err)
	}
}

func TestLazyErase(t *testing.T) {
	img := buildImage(t, "new", 0x8000)
	b := newBoard(t, bootloader.IDF55)
	b.records(otadata.Make(1, otadata.Valid))
	b.boot()
	h, err := b.ops.Begin(b.part("ota_1"), SequentialWrites)
	require.Equal(t, OK, err)
	require.Equal(t, "old ota_1", b.version("ota_1"))
	require.Equal(t, Abort, b.ops.WriteWithOffset(h, img[:16], 0), "assertion")
	require.Equal(t, ValidateFailed, b.ops.Write(h, []byte{0}))
	require.NotEqual(t, "old ota_1", b.version("ota_1"), "a bad first byte has already cost the first sector")
	for at := 0; at < len(img); at += 1000 {
		require.Equal(t, OK, b.ops.Write(h, img[at:min(at+1000, len(img))]))
	}
	require.Equal(t, OK, b.ops.End(h))
	require.Equal(t, NotFound, b.ops.End(h))
}

func TestEndVerifiesWhatIsThere(t *testing.T) {
	b := newBoard(t, bootloader.IDF55)
	b.records(otadata.Make(1, otadata.Valid))
	b.boot()
	h, err := b.ops.Resume(b.part("ota_1"), 0, 0)
	require.Equal(t, OK, err)
	require.Equal(t, InvalidArg, b.ops.End(h), "nothing written")
	h, err = b.ops.Resume(b.part("ota_1"), 0, 0x1000)
	require.Equal(t, OK, err)
	require.Equal(t, OK, b.ops.End(h), "the old image is still good")
}

func TestFinalPartition(t *testing.T) {
	b := newBoard(t, bootloader.IDF55, factoryRow)
	b.records(otadata.Make(1, otadata.Valid))
	b.boot()
	img := buildImage(t, "new", 0x4000)
	h, err := b.ops.Begin(b.part("ota_1"), SizeUnknown)
	require.Equal(t, OK, err)
	require.Equal(t, InvalidArg, b.ops.SetFinalPartition(h, nil, true))
	require.Equal(t, NotFound, b.ops.SetFinalPartition(99, b.part("factory"), true))
	require.Equal(t, OK, b.ops.SetFinalPartition(h, b.part("factory"), true))
	require.Equal(t, OK, b.ops.Write(h, img))
	require.Equal(t, InvalidState, b.ops.SetFinalPartition(h, b.part("factory"), true))
	require.Equal(t, OK, b.ops.End(h))
	require.Equal(t, "new", b.version("factory"))
}

func TestMarkValidConfirmsTheRecordNotTheRunningImage(t *testing.T) {
	b := newBoard(t, bootloader.IDF55)
	b.records(otadata.Make(1, otadata.Valid), otadata.Make(2, otadata.New))
	require.NoError(t, b.flash.Load(b.part("ota_1").Offset+0x1000, []byte{1, 2, 3}))
	require.Equal(t, "ota_0", b.boot().Boot)
	require.Equal(t, OK, b.ops.MarkValid())
	require.Equal(t, otadata.Make(2, otadata.Valid), b.record(1))
}

func TestAntiRollback(t *testing.T) {
	b := newBoard(t, bootloader.IDF55)
	b.cfg.AntiRollback = true
	raw, err := image.Build(image.Spec{Version: "v3", Size: 0x4000, SecureVersion: 3})
	require.NoError(t, err)
	b.put("ota_1", raw)
	b.records(otadata.Make(1, otadata.Valid), otadata.Make(2, otadata.New))
	require.Equal(t, "ota_1", b.boot().Boot)
	require.Equal(t, uint32(0), b.fuse.SecureVersion(32))
	require.Equal(t, OK, b.ops.MarkValid())
	require.Equal(t, uint32(3), b.fuse.SecureVersion(32))
	possible, code := b.ops.RollbackPossible()
	require.Equal(t, OK, code)
	require.False(t, possible)
	require.Equal(t, SmallSecVer, b.ops.SetBoot(b.part("ota_0")))
	require.NotEqual(t, "old ota_0", b.version("ota_0"), "the old app was erased")
}

func TestSixteenSlotsAndATestApp(t *testing.T) {
	var extra []partition.Record
	for i := range uint32(14) {
		extra = append(extra, partition.Record{Type: partition.TypeApp, Subtype: uint8(partition.SubtypeOTA + 2 + i), Offset: 0x80000 + i*slotSize, Size: slotSize, Label: "n" + string(rune('a'+i))})
	}
	b := newBoard(t, bootloader.IDF55, extra...)
	b.records(otadata.Make(1, otadata.Valid))
	b.boot()
	n, err := b.ops.AppCount()
	require.Equal(t, OK, err)
	require.Equal(t, uint32(16), n)
	b.records(otadata.Make(0xFFFFFFFE, otadata.Valid))
	require.Equal(t, Hang, b.ops.SetBoot(b.part("ota_0")))

	test := partition.Record{Type: partition.TypeApp, Subtype: partition.SubtypeTest, Offset: 0x300000, Size: slotSize, Label: "test"}
	b = newBoard(t, bootloader.IDF55, append(extra, test)...)
	b.boot()
	_, err = b.ops.AppCount()
	require.Equal(t, Abort, err)
	require.False(t, err.Returned())
	_, err = b.ops.GetBoot()
	require.Equal(t, Abort, err)
}

func TestGuards(t *testing.T) {
	b := newBoard(t, bootloader.IDF55)
	b.table[3].Flags = partition.FlagReadOnly
	raw, err := b.table.Encode(true)
	require.NoError(t, err)
	require.NoError(t, b.flash.Load(partition.DefaultOffset, raw))
	b.boot()
	_, code := b.ops.Begin(b.part("ota_1"), SizeUnknown)
	require.Equal(t, NotAllowed, code)

	b = newBoard(t, bootloader.IDF55)
	b.boot()
	b.flash.SetGuards([]flashmodel.Guard{{Addr: b.part("ota_1").Offset, Len: slotSize, Dangerous: true}})
	_, code = b.ops.Begin(b.part("ota_1"), SizeUnknown)
	require.Equal(t, Abort, code)
}

func TestPortFlagsAfterAFailedTrial(t *testing.T) {
	// The port of 2018 sees the failed record as the active one while the
	// previous image runs, and marks it VALID.
	b := newBoard(t, bootloader.AFR2018)
	b.cfg.KeepPassive = true
	b.records(otadata.Make(1, otadata.Valid), otadata.Make(2, otadata.PendingVerify))
	require.Equal(t, "ota_0", b.boot().Boot)
	state, err := b.ops.BootFlags(true)
	require.Equal(t, OK, err)
	require.Equal(t, otadata.PendingVerify, state)
	require.Equal(t, OK, b.ops.SetBootFlags(otadata.Valid, true))
	require.Equal(t, otadata.Make(2, otadata.Valid), b.record(1))
	// Nothing written: state goes into an otherwise empty record.
	b.records(otadata.Empty(), otadata.Empty())
	require.Equal(t, OK, b.ops.SetBootFlags(otadata.Valid, false))
	want := otadata.Empty()
	want.State = otadata.Valid
	require.Equal(t, want, b.record(0))
}

func TestStateIsAValue(t *testing.T) {
	b := newBoard(t, bootloader.IDF55)
	b.boot()
	var handles []Handle
	for range 5 {
		h, err := b.ops.Begin(b.part("ota_1"), SequentialWrites)
		require.Equal(t, OK, err)
		handles = append(handles, h)
	}
	require.Equal(t, []Handle{1, 2, 3, 4, 5}, handles)
	c := b.fork()
	for _, h := range []Handle{2, 4} {
		require.Equal(t, OK, c.ops.Abort(h))
		require.Equal(t, NotFound, c.ops.Abort(h))
	}
	require.Equal(t, OK, b.ops.Write(5, []byte{image.Magic, 0, 0, 0}))
	require.Equal(t, ValidateFailed, c.ops.Write(5, []byte{1}), "still the first byte in the copy")
	for _, h := range handles {
		require.Equal(t, OK, b.ops.Abort(h))
	}
	h, err := c.ops.Begin(c.part("ota_1"), SequentialWrites)
	require.Equal(t, OK, err)
	require.Equal(t, Handle(6), h)
	require.Equal(t, NotFound, b.ops.Abort(0))
}

func TestErrNames(t *testing.T) {
	require.Equal(t, "ESP_ERR_OTA_VALIDATE_FAILED", ValidateFailed.Error())
	require.Equal(t, "esp_err_t 0x777", Err(0x777).Error())
	for _, e := range []Err{Abort, Hang, Restart} {
		require.False(t, e.Returned())
	}
	for _, e := range []Err{OK, Fail, RollbackBadState} {
		require.True(t, e.Returned())
	}
}
