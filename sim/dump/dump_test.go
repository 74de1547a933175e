package dump

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/nvs"
	"github.com/otasim/otasim/flashmodel/otadata"
)

const testTable = `nvs,     data, nvs,     0x9000,  0x6000
otadata, data, ota,     ,        0x2000
factory, app,  factory, 0x20000, 128K
ota_0,   app,  ota_0,   ,        128K
ota_1,   app,  ota_1,   ,        128K
`

func testApp(t testing.TB, version string, secure uint32) []byte {
	app, err := image.Build(image.Spec{Project: "sensor", Version: version, SecureVersion: secure, Size: 8 << 10})
	require.NoError(t, err)
	return app
}

// testFlash is 1 MB with an app in both slots and a trial of the second one ahead.
func testFlash(t testing.TB, change func(*Spec)) []byte {
	s := Spec{
		Size: 1 << 20, Table: []byte(testTable), OTAData: []string{"ota_0:VALID", "ota_1:NEW"},
		Apps: []LabelFile{{Label: "ota_0", Data: testApp(t, "1.0.0", 0)}, {Label: "ota_1", Data: testApp(t, "1.1.0", 1)}},
	}
	if change != nil {
		change(&s)
	}
	built, err := Build(s)
	require.NoError(t, err)
	return built.Data
}

func read(t testing.TB, data []byte) *Dump {
	d, err := Read(data, Options{})
	require.NoError(t, err)
	return d
}

// TestTrialAndFallback boots the same dump as often as a device that never confirms.
func TestTrialAndFallback(t *testing.T) {
	d := read(t, testFlash(t, nil))
	o := BootOptions{Kind: bootloader.IDF60, Rollback: true, Revision: 300}

	first := d.Boot(o)
	require.Equal(t, "started", first.End)
	require.Equal(t, "ota_1", *first.Boot)
	require.Equal(t, "1.1.0", first.App.Version)
	require.Equal(t, []string{"otadata record 1 at 0x10000: NEW becomes PENDING_VERIFY: one boot to confirm itself; any reset before that makes it ABORTED"}, first.Changed)

	second := read(t, d.Bytes()).Boot(o)
	require.Equal(t, "ota_0", *second.Boot)
	require.Equal(t, []string{"otadata record 1 at 0x10000: PENDING_VERIFY becomes ABORTED"}, second.Changed)
	require.NotEqual(t, first.OTAData[1], second.OTAData[1])
	require.Equal(t, first.OTAData[0], second.OTAData[0])
}

// TestBootOfADamagedApp names the step and goes on with the next app.
func TestBootOfADamagedApp(t *testing.T) {
	data := testFlash(t, nil)
	data[0x60000+0x400]++ // of ota_1
	r := read(t, data).Boot(BootOptions{Kind: bootloader.IDF60, Rollback: true, Revision: 300})
	require.Equal(t, "ota_0", *r.Boot)
	require.Equal(t, []string{"ota_1", "ota_0"}, r.Tried)
	require.Len(t, r.Attempts, 2)
	require.Contains(t, r.Attempts[0].Refused, "checksum")
	require.True(t, r.Attempts[1].Loads)
	require.Contains(t, r.Why, "otadata still names ota_1: every boot tries it first")
}

func TestVerdictsAboutTheTable(t *testing.T) {
	for name, c := range map[string]struct {
		change     func(data []byte)
		bootloader string
		app        string
		generator  string
		boots      bool
	}{
		"good":       {func([]byte) {}, accepted, accepted, accepted, true},
		"MD5":        {func(b []byte) { b[0x8000+12] = 'N' }, "record 5: the MD5 does not fit", "the MD5 record does not fit", "md5_mismatch", false},
		"magic":      {func(b []byte) { b[0x8020] = 0 }, "record 1: magic number 0050 is none", "", "bad_magic", false},
		"erased":     {func(b []byte) { fill(b[0x8000:0x9000], 0xFF) }, "record 0: erased", "no MD5 record", "", false},
		"second MD5": {func(b []byte) { copy(b[0x80C0:], b[0x80A0:0x80C0]) }, "record 6: a second MD5 record", accepted, accepted, false},
		"no end": {func(b []byte) {
			for at := 0x80A0; at < 0x8C00; at += 32 {
				copy(b[at:], b[0x8000:0x8020])
			}
		}, "no end marker in 96 records", "no MD5 record", "no_end_marker", false},
		"beyond": {func(b []byte) { b[0x8000+4*32+10] = 0x20; fill(b[0x80A0:0x80C0], 0xFF) }, `record 4: "ota_1" ends at 0x260000, the flash at 0x100000`, "no MD5 record", "", false},
		"no MD5": {func(b []byte) { fill(b[0x80A0:0x80C0], 0xFF) }, accepted, "no MD5 record", accepted, true},
	} {
		t.Run(name, func(t *testing.T) {
			data := testFlash(t, nil)
			c.change(data)
			d := read(t, data)
			got := d.judge()
			require.Contains(t, got.Bootloader, c.bootloader)
			require.Contains(t, got.App, c.app)
			require.Contains(t, got.Generator, c.generator)
			r := d.Boot(BootOptions{Kind: bootloader.IDF55, Revision: 300})
			require.Equal(t, c.boots, r.End == "started", "%v", r.Why)
			if !c.boots {
				require.Contains(t, r.Why[0], "the partition table is refused: "+c.bootloader)
			}
		})
	}
}

func fill(b []byte, c byte) {
	for i := range b {
		b[i] = c
	}
}

func TestChipFromTheBootloader(t *testing.T) {
	for _, chip := range Chips() {
		d := read(t, testFlash(t, func(s *Spec) { s.Chip, s.Apps, s.OTAData = chip, nil, nil }))
		require.Equal(t, chip, d.Chip)
		require.True(t, d.Bootloader)
	}
	data := testFlash(t, nil)
	data[0x1000+12] = 2 // ESP32-S2
	_, err := Read(data, Options{})
	require.ErrorIs(t, err, ErrInvalid)
	require.ErrorContains(t, err, "the dump is of an ESP32-S2")
	_, err = Read(data, Options{Chip: image.ESP32})
	require.NoError(t, err)

	fill(data[0x1000:0x8000], 0xFF)
	d := read(t, data)
	require.False(t, d.Bootloader)
	r := d.Boot(BootOptions{Kind: bootloader.IDF60, Revision: 300})
	require.Equal(t, "started", r.End)
	require.Contains(t, r.Notes[0], "no bootloader image at 0x1000")
}

func TestBootloaderHeaderFollowsTheSize(t *testing.T) {
	loader, err := image.Build(image.Spec{Project: "bootloader", Size: 4 << 10, FlashSize: 2 << 20})
	require.NoError(t, err)
	data := testFlash(t, func(s *Spec) { s.Bootloader = loader })
	p, err := image.Parse(data[0x1000:0x2000])
	require.NoError(t, err)
	require.True(t, p.Valid(), "%v", p.Problems)
	require.EqualValues(t, 1<<20, p.Header.FlashSize())
}

// TestSecretsStayHidden stores keys and passwords in every form.
func TestSecretsStayHidden(t *testing.T) {
	const key = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----\n"
	csv := "key,type,encoding,value\nns,namespace,,\nserial,data,string,\"" + key + "\"\nsta.pswd,data,string,hunter22\nmy_key,data,hex2bin,c0ffee\nsmall,data,hex2bin,c0ffee\n" +
		"long,data,string," + strings.Repeat("x", 100) + "\nn,data,i64,-5\nu,data,u64,18446744073709551615\n"
	r := read(t, testFlash(t, func(s *Spec) { s.NVS = []LabelFile{{Data: []byte(csv)}} })).Inspect("f")
	require.NotNil(t, r.Partitions[0].NVS)
	require.Len(t, r.Partitions[0].NVS.Namespaces, 1)
	values := map[string]NVSKey{}
	for _, k := range r.Partitions[0].NVS.Namespaces[0].Keys {
		values[k.Key] = k
	}
	require.Equal(t, "private key (not shown)", values["serial"].Note)
	require.Empty(t, values["serial"].Value)
	require.Equal(t, "(not shown)", values["sta.pswd"].Note)
	require.Empty(t, values["my_key"].Value)
	require.Equal(t, "c0ffee", values["small"].Value)
	require.Empty(t, values["long"].Value)
	require.Equal(t, "-5", values["n"].Value)
	require.Equal(t, "18446744073709551615", values["u"].Value)
	raw, err := json.Marshal(r)
	require.NoError(t, err)
	require.NotContains(t, string(raw), "hunter22")
	require.NotContains(t, string(raw), "MHcCAQEE")
}

// TestEncryptedNVS reads a partition with the keys beside it.
func TestEncryptedNVS(t *testing.T) {
	var raw [nvs.KeysSize]byte
	for i := range raw {
		raw[i] = byte(i * 7)
	}
	plain := "key,type,encoding,value\nns,namespace,,\nname,data,string,sensor-7\n"
	secret, err := nvs.Generate([]byte(plain), nvs.GenerateOptions{Size: 0x6000, Key: raw[:]})
	require.NoError(t, err)
	r := read(t, testFlash(t, func(s *Spec) {
		s.Table = []byte(testTable + "keys, data, nvs_keys, , 4K, encrypted\n")
		s.NVS = []LabelFile{{Data: secret}}
		s.Pieces = []Piece{{Addr: 0x80000, Name: "keys", Data: nvs.NewKeys(raw).Partition()}}
	})).Inspect("f")
	require.True(t, r.Partitions[0].NVS.Encrypted)
	require.Equal(t, `"sensor-7"`, r.Partitions[0].NVS.Namespaces[0].Keys[0].Value)
}

func TestWhyARecordDecides(t *testing.T) {
	good, torn := otadata.Make(1, otadata.Valid), otadata.Make(2, otadata.New)
	torn.CRC++
	for _, c := range []struct {
		e       [2]otadata.Entry
		factory bool
		want    string
	}{
		{[2]otadata.Entry{good, otadata.Make(2, otadata.New)}, false, "both records are usable, record 1 has the higher ota_seq 2"},
		{[2]otadata.Entry{good, good}, false, "both records are usable with the same ota_seq 1: record 0 decides"},
		{[2]otadata.Entry{good, torn}, false, "record 0 with ota_seq 1 is the only usable one; record 1 is torn (CRC 55f63775, ota_seq 2 needs 55f63774)"},
		{[2]otadata.Entry{otadata.Empty(), otadata.Empty()}, true, "record 0 is empty, record 1 is empty: the factory app"},
		{[2]otadata.Entry{otadata.Make(1, otadata.Aborted), otadata.Empty()}, false, "record 0 is ABORTED, record 1 is empty: slot 0, there is no factory app"},
		{[2]otadata.Entry{torn, otadata.Empty()}, true, "record 0 is torn (CRC 55f63775, ota_seq 2 needs 55f63774), record 1 is empty: otadata counts as invalid, the factory app"},
	} {
		require.Equal(t, c.want, whyActive(c.e, otadata.Active(c.e), c.factory))
	}
}

// FuzzDump puts hostile bytes where each reader of a dump looks.
func FuzzDump(f *testing.F) {
	flash := testFlash(f, func(s *Spec) {
		s.NVS = []LabelFile{{Data: []byte("key,type,encoding,value\nns,namespace,,\nname,data,string,sensor-7\n")}}
		s.Apps[0].Data, s.Apps = s.Apps[0].Data[:512], s.Apps[:1]
	})
	part := func(at, n int) []byte { return bytes.Clone(flash[at : at+n]) }
	f.Add(part(0x1000, 64), part(0x8000, 0x100), part(0x9000, 0x100), part(0xF000, 32), part(0x10000, 32), part(0x40000, 512), byte(4))
	f.Add(part(0, 1), part(0x8000, 0x100), part(0, 1), part(0xF000, 32), part(0x10000, 32), part(0x40000, 512), byte(0xEE))
	f.Fuzz(func(t *testing.T, loader, table, nvs, record0, record1, app []byte, options byte) {
		data := bytes.Repeat([]byte{0xFF}, 1<<20)
		for _, p := range []struct {
			at, room int
			b        []byte
		}{{0x1000, 0x7000, loader}, {0x8000, 0x1000, table}, {0x9000, 0x6000, nvs}, {0xF000, 0x1000, record0}, {0x10000, 0x1000, record1}, {0x40000, 0x20000, app}} {
			copy(data[p.at:p.at+p.room], p.b)
		}
		d, err := Read(data, Options{})
		if err != nil {
			require.ErrorIs(t, err, ErrInvalid)
			require.NotContains(t, err.Error(), "\n")
			return
		}
		d.Inspect("fuzz").WriteText(new(bytes.Buffer))
		kinds := []bootloader.Kind{bootloader.AFR2022, bootloader.IDF55, bootloader.IDF60, bootloader.AFR2018}
		r := d.Boot(BootOptions{Kind: kinds[options&3], Rollback: options&4 != 0, AntiRollback: options&8 != 0, EFuseVersion: uint32(options >> 5), Revision: 300})
		require.Equal(t, len(r.Tried), len(r.Attempts))
		r.WriteText(new(bytes.Buffer))
	})
}

// FuzzRead gives any file to Read.
func FuzzRead(f *testing.F) {
	f.Add([]byte("text"), uint32(0), true)
	f.Add(testApp(f, "1.0.0", 1), uint32(0x1000), true)
	f.Add([]byte{0xE9, 0xFF}, uint32(0xFFFFF000), false)
	f.Fuzz(func(t *testing.T, data []byte, at uint32, partial bool) {
		if d, err := Read(data, Options{TableOffset: at, Partial: partial}); err == nil {
			d.Inspect("fuzz").WriteText(new(bytes.Buffer))
		} else {
			require.ErrorIs(t, err, ErrInvalid)
		}
	})
}

// FuzzBuild gives every text of a person to Build; what it builds can be read.
func FuzzBuild(f *testing.F) {
	f.Add(testTable, "ota_0:VALID", "key,type,encoding,value\nns,namespace,,\n", uint32(0x60000))
	f.Add("", "ota_0", "", uint32(0))
	f.Add("a,app,ota_0,,1M\n", "a:NEW:3", "x", uint32(0xFFFFFFFF))
	f.Fuzz(func(t *testing.T, table, record, csv string, addr uint32) {
		built, err := Build(Spec{Size: 1 << 20, Table: []byte(table), OTAData: []string{record}, NVS: []LabelFile{{Data: []byte(csv)}}, Pieces: []Piece{{Addr: addr, Data: []byte(csv)}}})
		if err != nil {
			require.ErrorIs(t, err, ErrInvalid)
			return
		}
		require.Len(t, built.Data, 1<<20)
		_, err = Read(built.Data, Options{})
		require.NoError(t, err)
	})
}
