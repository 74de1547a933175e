package partition

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func at(n int64) *int64 { return &n }

func TestRefusals(t *testing.T) {
	rows := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "p%d,data,fat,,4K\n", i)
		}
		return b.String()
	}
	for _, c := range []struct {
		csv   string
		opt   Options
		class Class // "" = accepted
		text  string
	}{
		{csv: "f,app,factory,,1M\n"},
		{csv: "f,APP,Factory,,1m\n"},
		{csv: "f,app,0x10,,0x100000,encrypted:readonly"},
		{csv: "nvs,data,nvs,0x8000,0x4000", class: OverlapTable, text: "CSV Error at line 1: Partitions overlap. Partition sets offset 0x8000. But partition table occupies the whole sector 0x8000. Use a free offset 0x9000 or higher."},
		{csv: "a,data,fat,0x9000,4K\nb,data,fat,0x9000,4K", class: OverlapPrevious, text: "CSV Error at line 2: Partitions overlap. Partition sets offset 0x9000. Previous partition ends 0xa000"},
		// a row equal to the first is taken for the first
		{csv: "a,data,fat,0x9000,4K\na,data,fat,0x9000,4K", class: OverlapTable},
		{csv: "a,data,fat,0x9001,4K", class: UnalignedOffset},
		{csv: "a,app,ota_0,0x1F000,4K", class: UnalignedOffset},
		{csv: "a,app,ota_0,,0x1800", class: UnalignedSize},
		{csv: "a,data,fat,,0x1801"},
		{csv: "a,app,ota_0,,0x11000", opt: Options{Secure: "v1"}, class: UnalignedSize},
		{csv: "a,app,ota_0,,0x11000", opt: Options{Secure: "v2"}},
		{csv: "a,data,fat,,4K\na,data,fat,,4K", class: DuplicateName, text: "Partition names must be unique"},
		{csv: "seventeen_letters,data,fat,,4K\nseventeen_letterz,data,fat,,4K"},
		{csv: "a,,fat,,4K", class: TypeEmpty},
		{csv: "a,app,,,4K", class: AppSubtypeEmpty},
		{csv: "a,data,,,", class: SizeEmpty},
		{csv: "a,data,fat,,4K,secret", class: UnknownFlag},
		{csv: "\n$NONE\n", class: UnknownVariable, text: "unknown variable 'NONE'"},
		{csv: "${NONE},data,fat,,4K"},
		{csv: "a,disk,fat,,4K", class: BadKeyword, text: "Error at line 1: Value 'dis' is not valid. Known keywords: bootloader, partition_table, app, data"},
		{csv: "a,data,fatt,,4K", class: BadKeyword},
		{csv: "a,0x41,fat,,4K", class: BadNumber, text: "Error at line 1: Invalid field value fat"},
		{csv: "a,data,fat,,4Q", class: BadNumber},
		{csv: "a,data,fat,,010", class: BadNumber},
		{csv: "a,data,fat,,1KK"},
		{csv: "a,data,fat,," + strings.Repeat("K", 5000), class: Crash},
		{csv: "a,data,ota,,8K\nb,data,ota,,8K", class: MultipleOTAData},
		{csv: "a,data,ota,,12K", class: OTADataSize},
		{csv: "a,data,tee_ota,,8K\nb,data,tee_ota,,8K", class: MultipleTEEOTAData},
		{csv: "a,data,tee_ota,,12K", class: TEEOTADataSize, text: "TEE otadata partition must have size = 0x2000"},
		{csv: "a,data,tee_ota,,8K,readonly"},
		{csv: "a,data,coredump,,8K,readonly", class: ReadOnlyNotAllowed},
		{csv: "a,data,nvs,,8K", class: NVSTooSmall, text: "Partition a invalid: 'a' partition of type 1 and subtype 2 of this size (0x2000) must be flagged as 'readonly' (the size of read/write NVS has to be at least 0x3000)"},
		{csv: "a,data,nvs,,8K,readonly"},
		{csv: rows(94)},
		{csv: rows(95), class: TableTooLong},
		{csv: rows(95), opt: Options{DisableMD5: true}},
		{csv: rows(96), opt: Options{DisableMD5: true}, class: TableTooLong, text: "Binary partition table length (3072) longer than max"},
		{csv: "f,app,factory,,1M", opt: Options{FlashSize: 1 << 20}, class: FlashSize},
		{csv: "f,app,factory,,960K", opt: Options{FlashSize: 1 << 20}},
		{csv: "b,bootloader,primary,,", class: PrimaryBootloaderMissing},
		{csv: "b,bootloader,primary,,\nt,partition_table,primary,,", opt: Options{PrimaryBootloader: at(0x1000)}},
		{csv: "b,bootloader,recovery,,", opt: Options{PrimaryBootloader: at(0x1000)}, class: RecoveryBootloaderMissing},
		{csv: "", opt: Options{PrimaryBootloader: at(0x8000)}, class: BootloaderNotBelowTable,
			text: "Unsupported configuration. Primary bootloader must be below partition table. Check --primary-bootloader-offset=0x8000 and --offset=0x8000"},
		{csv: "", opt: Options{ExtraSubtypes: []string{"data, x"}}, class: Crash},
		{csv: "", opt: Options{ExtraSubtypes: []string{"data, x, 81"}}, class: Crash},
		{csv: "", opt: Options{ExtraSubtypes: []string{"disk, x, 81"}}, class: BadExtraSubtype},
		{csv: "a,256,,,4K", class: Crash},
		{csv: "a,-1,,,4K", class: Crash},
		{csv: "a,data,-1,,4K", class: Crash},
		{csv: "a,99999999999999999999,,,4K", class: Crash},
		{csv: "a,data,fat,,4096M", class: Crash},
		{csv: "a,data,fat,,-4K", class: Crash},
		{csv: "a,data,nvs,,-4K", class: NVSTooSmall, text: "Partition a invalid: 'a' partition of type 1 and subtype 2 of this size (0x-8000) must be flagged as 'readonly' (the size of read/write NVS has to be at least 0x3000)"},
		{csv: "\xFFabc", class: Crash},
	} {
		got, err := Convert([]byte(c.csv), c.opt)
		if c.class == "" {
			require.NoError(t, err, c.csv)
			require.Len(t, got.Output, TableSize)
			continue
		}
		var e *ToolError
		require.ErrorAs(t, err, &e, c.csv)
		require.ErrorIs(t, err, ErrRefused)
		require.Equal(t, c.class, e.Class, "%q: %v", c.csv, err)
		if c.text != "" {
			require.Equal(t, c.text, e.Message)
		}
		require.Nil(t, got.Output)
	}
}

func TestWarnings(t *testing.T) {
	for csv, want := range map[string]int{
		"app,app,ota_0,,1M\n":                 0,
		"app,data,fat,,4K\n":                  1, // name of a type
		"spiffs,data,fat,,4K\n":               1, // name of a subtype
		"ota_1,app,ota_1,,1M\n":               0,
		"ota,bootloader,ota,0x9000,\n":        0,
		"primary,data,fat,,4K\n":              1,
		"data,0x40,1,,4K\nfat,app,test,,4K\n": 2,
	} {
		got, err := Convert([]byte(csv), Options{PrimaryBootloader: at(0x1000)})
		require.NoError(t, err, csv)
		require.Len(t, got.Warnings, want, csv)
	}
	table := Table{{Type: 1, Subtype: 0x81, Offset: 0x9000, Size: 0x1000, Label: "nvs"}}
	warnings, err := table.Verify(Options{})
	require.NoError(t, err)
	require.Len(t, warnings, 1)
}

func TestEncodings(t *testing.T) {
	const text = "nvs,data,nvs,,0x4000\n"
	wide := func(order ...int) (b []byte) {
		for _, c := range []byte(text) {
			u := make([]byte, len(order))
			for i, o := range order {
				if o == 1 {
					u[i] = c
				}
			}
			b = append(b, u...)
		}
		return b
	}
	plain, err := Convert([]byte(text), Options{})
	require.NoError(t, err)
	for name, b := range map[string][]byte{
		"UTF-8":    append([]byte{0xEF, 0xBB, 0xBF}, text...),
		"UTF-16LE": append([]byte{0xFF, 0xFE}, wide(1, 0)...),
		"UTF-16BE": append([]byte{0xFE, 0xFF}, wide(0, 1)...),
		"UTF-32BE": append([]byte{0, 0, 0xFE, 0xFF}, wide(0, 0, 0, 1)...),
	} {
		got, err := Convert(b, Options{})
		require.NoError(t, err, name)
		require.Equal(t, plain.Output, got.Output, name)
		_, err = Convert(b[:len(b)-1], Options{})
		if name != "UTF-8" {
			require.ErrorIs(t, err, ErrRefused, name)
		}
	}
}

func TestBinaryInput(t *testing.T) {
	full := func(parts ...any) []byte {
		return append(records(parts...), []byte(strings.Repeat("\xFF", 32))...)
	}
	bad := func(label string) Record { r := factory; r.Label = label; return r }
	badMD5 := full(factory, "md5")
	badMD5[63] ^= 1
	low := factory
	low.Offset = 0
	for _, c := range []struct {
		name  string
		in    []byte
		opt   Options
		class Class
	}{
		{"accepted", full(factory, "md5"), Options{}, ""},
		{"trailing bytes", append(full(factory), 1, 2, 3), Options{}, ""},
		{"records behind MD5", full(factory, "md5", otadata), Options{}, ""},
		{"wrong MD5", badMD5, Options{}, MD5Mismatch},
		{"MD5 taken for a partition", full(factory, "md5"), Options{DisableMD5: true}, Crash},
		{"label is not text", full(bad("\xFE")), Options{}, Crash},
		{"no end", full(factory)[:32], Options{}, NoEndMarker},
		{"cut", full(factory)[:40], Options{}, LengthNot32},
		{"magic", full(factory, make([]byte, 32)), Options{}, BadMagic},
		{"below the table", full(low), Options{}, BelowTable},
		{"overlap", full(otadata, Record{Type: 1, Subtype: 0x81, Offset: 0xE000, Size: 0x1000, Label: "x"}), Options{}, OverlapPrevious},
		{"overlap unseen", full(otadata, Record{Type: 1, Subtype: 0x81, Offset: 0xE000, Size: 0x1000, Label: "x"}), Options{NoVerify: true}, ""},
	} {
		got, err := Convert(c.in, c.opt)
		require.True(t, got.FromBinary, c.name)
		if c.class == "" {
			require.NoError(t, err, c.name)
			require.Equal(t, got.Table.CSV(), string(got.Output))
			continue
		}
		var e *ToolError
		require.ErrorAs(t, err, &e, c.name)
		require.Equal(t, c.class, e.Class, c.name)
	}
}

func TestVariables(t *testing.T) {
	env := map[string]string{"SZ": "0x4000", "ROW": "nvs,data,nvs,,$SZ", "a b": "4K"}
	lookup := func(n string) (string, bool) { s, ok := env[n]; return s, ok }
	for csv, class := range map[string]Class{
		"nvs,data,nvs,,$SZ\n":        "",
		"nvs,data,nvs,,${SZ}\n":      "",
		"x,data,fat,,${a b}\n":       "",
		"$ROW\n":                     BadNumber, // not expanded twice
		"nvs,data,nvs,,$SZx\n":       BadNumber,
		"  $SZ0,data,nvs,,0x4000\n":  "",
		"# $UNSET is only a comment": "",
	} {
		_, err := Convert([]byte(csv), Options{Lookup: lookup})
		if class == "" {
			require.NoError(t, err, csv)
			continue
		}
		var e *ToolError
		require.ErrorAs(t, err, &e, csv)
		require.Equal(t, class, e.Class)
	}
}

func TestParseArgs(t *testing.T) {
	o, err := ParseArgs([]string{"-q", "--offset=0x9000", "--flash-size", "4MB", "--secure", "--no-verify",
		"--extra-partition-subtypes", "data, a, 1", "data, b, 2", "--disable-md5sum", "--primary-bootloader-offset", "0x1000",
		"--recovery-bootloader-offset", "0x200000", "-v"})
	require.NoError(t, err)
	require.Equal(t, Options{
		TableOffset: at(0x9000), PrimaryBootloader: at(0x1000), RecoveryBootloader: at(0x200000), FlashSize: 4 << 20,
		DisableMD5: true, NoVerify: true, Secure: "v1", ExtraSubtypes: []string{"data, a, 1", "data, b, 2"},
	}, o)
	for arg, class := range map[string]Class{
		"--offset=x": Crash, "--flash-size=3MB": Usage, "--secure=v3": Usage, "--nonsense": Usage, "--flash-size=04MB": Usage,
	} {
		_, err := ParseArgs([]string{arg})
		var e *ToolError
		require.True(t, errors.As(err, &e), arg)
		require.Equal(t, class, e.Class, arg)
	}
}

// What the generator accepts survives both directions.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var table Table
		next := uint32(0x10000)
		for i := range rapid.IntRange(0, 94).Draw(t, "rows") {
			r := Record{
				Type:    rapid.SampledFrom([]uint8{TypeApp, TypeData, 0x40, 0xFE}).Draw(t, "type"),
				Subtype: rapid.SampledFrom([]uint8{0x10, 0x20, 0x81, 0x33}).Draw(t, "subtype"),
				Offset:  next,
				Size:    rapid.Uint32Range(0, 16).Draw(t, "pages") * 0x1000,
				Label:   fmt.Sprintf("p%d", i),
				Flags:   rapid.Uint32Range(0, 3).Draw(t, "flags"),
			}
			next += 0x10000
			table = append(table, r)
		}
		b, err := table.Encode(true)
		require.NoError(t, err)
		toCSV, err := Convert(b, Options{})
		if len(table) == 0 {
			require.Equal(t, byte(0xEB), b[0]) // starts with its MD5 record and is not taken for a table
			return
		}
		require.NoError(t, err)
		require.True(t, toCSV.FromBinary)
		toBinary, err := Convert(toCSV.Output, Options{})
		require.NoError(t, err)
		require.Equal(t, b, toBinary.Output)
		require.Equal(t, table, toBinary.Table)
	})
}

func FuzzConvert(f *testing.F) {
	for _, name := range Names() {
		text, _ := BuiltinCSV(name)
		f.Add([]byte(text), false)
		table, _ := Builtin(name)
		b, _ := table.Encode(true)
		f.Add(b, true)
	}
	f.Add([]byte("\xFE\xFF\x00a\x00,"), false)
	f.Add([]byte("a,data,fat,-1,-0x9kM,:::"), true)
	f.Fuzz(func(t *testing.T, in []byte, noVerify bool) {
		if len(in) > 1<<16 {
			return
		}
		c, err := Convert(in, Options{NoVerify: noVerify, FlashSize: 4 << 20})
		if err != nil {
			require.ErrorIs(t, err, ErrRefused)
			return
		}
		if c.FromBinary || len(c.Table) == 0 {
			return
		}
		// a binary table that the generator wrote reads back as itself
		back, err := Convert(c.Output, Options{NoVerify: true})
		var e *ToolError
		if errors.As(err, &e) && e.Class == Crash {
			return // a label cut inside a letter
		}
		require.NoError(t, err)
		for i := range c.Table {
			c.Table[i].Label, _, _ = strings.Cut(c.Table[i].Label, "\x00")
		}
		require.Equal(t, c.Table, back.Table)
	})
}
