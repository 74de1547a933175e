package nvs

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const csvHeader = "key,type,encoding,value\nns,namespace,,\n"

func generate(t *testing.T, csv string, o GenerateOptions) *Partition {
	t.Helper()
	b, err := Generate([]byte(csv), o)
	require.NoError(t, err)
	require.Len(t, b, o.Size)
	p, code := Inspect(memory(b), 0, uint32(len(b)), nil)
	require.Equal(t, OK, code)
	return p
}

func TestGeneratedPartitionIsReadable(t *testing.T) {
	csv := "key,type,encoding,value\na,namespace,,\n" +
		"u8,data,u8,255\ni8,data,i8,-128\nu16,data,u16,65535\ni16,data,i16,-32768\nu32,data,u32,4294967295\ni32,data,i32,-2147483648\n" +
		"u64,data,u64,18446744073709551615\ni64,data,i64,-9223372036854775808\n" +
		"\"quoted\",data,string,\"one, \"\"two\"\"\n three\"\n# a comment\nb,namespace,,\nhex,data,hex2bin,00fF\nb64,data,base64,AAEC\nfile,file,binary,x.bin\n"
	content := valueOf(Blob, 9000, 5)
	for _, version := range []int{1, 2} {
		file := content
		if version == 1 {
			file = content[:1984]
		}
		p := generate(t, csv, GenerateOptions{Size: 0x6000, Version: version, File: func(name string) ([]byte, bool) { return file, name == "x.bin" }})
		require.Equal(t, []string{"a", "b"}, p.Namespaces())
		h, err := p.Namespace("a", false)
		must(t, err)
		u8, err := h.GetU8("u8")
		must(t, err)
		i8, err := h.GetI8("i8")
		must(t, err)
		u16, err := h.GetU16("u16")
		must(t, err)
		i16, err := h.GetI16("i16")
		must(t, err)
		u32, err := h.GetU32("u32")
		must(t, err)
		i32, err := h.GetI32("i32")
		must(t, err)
		u64, err := h.GetU64("u64")
		must(t, err)
		i64, err := h.GetI64("i64")
		must(t, err)
		require.Equal(t, []any{uint8(255), int8(-128), uint16(65535), int16(-32768), uint32(4294967295), int32(-2147483648), ^uint64(0), int64(-1 << 63)},
			[]any{u8, i8, u16, i16, u32, i32, u64, i64})
		require.Equal(t, "one, \"two\"\n three", read(h, "quoted"))
		h, err = p.Namespace("b", false)
		must(t, err)
		require.Equal(t, []byte{0, 0xFF}, read(h, "hex"))
		require.Equal(t, []byte{0, 1, 2}, read(h, "b64"))
		require.Equal(t, file, read(h, "file"))
		require.Len(t, p.Items(), 12)
		require.Equal(t, Item{Namespace: "b", Index: 2, Key: "hex", Type: Blob, Size: 2}, p.Items()[9])
	}
}

func TestGeneratorRefusals(t *testing.T) {
	long := func(n int) string { return strings.Repeat("z", n) }
	for _, c := range []struct {
		csv   string
		o     GenerateOptions
		class string
		text  string
	}{
		{csv: "", o: GenerateOptions{Size: 0x3100}, class: "SystemExit", text: "Size of partition must be multiple of 4096"},
		{csv: "", o: GenerateOptions{Size: 0x2000}, class: "SystemExit", text: "Minimum NVS partition size needed is 0x3000 bytes."},
		{csv: "", o: GenerateOptions{Size: -4096}, class: "SystemExit"},
		{csv: "", o: GenerateOptions{Size: 1 << 30}, class: "MemoryError"},
		{csv: "key,type\nns,namespace\n", class: "KeyError", text: "KeyError: 'encoding'"},
		{csv: "\nns,namespace\n", class: "KeyError", text: "KeyError: 'key'"},
		{csv: csvHeader + "sixteen_letters_,data,u8,1\n", class: "InputError"},
		{csv: csvHeader + "k,data,f32,1\n", class: "InputError", text: "f32: Unsupported encoding"},
		{csv: csvHeader + "k,data\n", class: "AttributeError"},
		{csv: csvHeader + "k,data,u8\n", class: "TypeError"},
		{csv: csvHeader + "k,data,string\n", class: "TypeError"},
		{csv: csvHeader + "k,data,hex2bin\n", class: "AttributeError"},
		{csv: csvHeader + "k,data,base64\n", class: "TypeError"},
		{csv: csvHeader + "k,data,binary\n", class: "TypeError"},
		{csv: csvHeader + "k,file,binary\n", class: "TypeError"},
		{csv: "type,encoding,value,key\ndata,u8,1\n", class: "TypeError"},
		{csv: csvHeader + "k,data,u8,256\n", class: "struct.error", text: "struct.error: ubyte format requires 0 <= number <= 255"},
		{csv: csvHeader + "k,data,i16,32768\n", class: "struct.error"},
		{csv: csvHeader + "k,data,u64,-1\n", class: "struct.error"},
		{csv: csvHeader + "k,data,i64,9223372036854775808\n", class: "struct.error"},
		{csv: csvHeader + "k,data,u8,0x10\n", class: "ValueError", text: "ValueError: invalid literal for int() with base 10: '0x10'"},
		{csv: csvHeader + "k,data,hex2bin,abc\n", class: "InputError", text: "k: Invalid data length. Should be multiple of 2."},
		{csv: csvHeader + "k,data,hex2bin,zz\n", class: "binascii.Error"},
		{csv: csvHeader + "k,data,hex2bin,\u00e9\u00e9\n", class: "ValueError"},
		{csv: csvHeader + "k,data,base64,\u00e9\n", class: "ValueError"},
		{csv: csvHeader + "k,data,base64,abc\n", class: "binascii.Error", text: "binascii.Error: Incorrect padding"},
		{csv: csvHeader + "k,data,base64,abcde\n", class: "binascii.Error"},
		{csv: csvHeader + "k,data,string," + long(4000) + "\n", class: "InputError"},
		{csv: csvHeader + "k,data,string," + long(3968) + "\n", class: "PageFullError", text: "PageFullError"},
		{csv: csvHeader + "k,data,string," + long(1984) + "\n", o: GenerateOptions{Version: 1}, class: "InputError"},
		{csv: csvHeader + "k,file,binary,x\n", class: "FileNotFoundError", text: "FileNotFoundError: [Errno 2] No such file or directory: '/x'"},
		{csv: csvHeader + "k,data,hex2bin," + long(2), class: "binascii.Error"},
		{csv: csvHeader + "k,data,hex2bin," + strings.Repeat("00", 9000), class: "InsufficientSizeError"},
		{csv: "key,type,encoding,value\n" + strings.Repeat("n,namespace,,\n", 256), o: GenerateOptions{Size: 0x5000}, class: "struct.error"},
		{csv: csvHeader + "k,data,string,\xFF\n", class: "UnicodeDecodeError"},
		{csv: csvHeader + "k,data,string," + long(131073) + "\n", class: "_csv.Error"},
		{csv: csvHeader + "k,data,u8,1\n", o: GenerateOptions{Key: []byte("xyz")}, class: "binascii.Error"},
		{csv: csvHeader + "k,data,u8,1\n", o: GenerateOptions{Key: []byte("abcd")}, class: "ValueError"},
		{csv: csvHeader + "k,data,u8,1\n", o: GenerateOptions{Key: make([]byte, 64)}, class: "ValueError"},
	} {
		if c.o.Size == 0 {
			c.o.Size = 0x3000
		}
		name := c.csv[:min(len(c.csv), 80)]
		got, err := Generate([]byte(c.csv), c.o)
		require.Nil(t, got)
		var e *ToolError
		require.ErrorAs(t, err, &e, name)
		require.ErrorIs(t, err, ErrRefused)
		require.Equal(t, c.class, e.Class, "%s: %v", name, err)
		if c.text != "" {
			require.EqualError(t, err, c.text)
		}
		if c.class == "InputError" {
			require.Equal(t, 254, e.Exit())
			require.Equal(t, "Warning: NVS binary not created...", e.LastLine())
		} else {
			require.Equal(t, 1, e.Exit())
			require.Equal(t, err.Error(), e.LastLine())
		}
	}
}

// Forms that the tool takes though they look wrong.
func TestGeneratorOddities(t *testing.T) {
	for csv, want := range map[string]any{
		"":                                                       nil,
		"key,type,encoding,value\n":                              nil,
		csvHeader + "k,whatever,string,v\n":                      "v",
		csvHeader + "k,data,string,\"v\n":                        "v\n",
		csvHeader + "k,data,string,v,more,x\n":                   "v",
		csvHeader + "k,data,hex2bin, 6162 \n":                    []byte("ab"),
		csvHeader + "k,data,HEX2BIN,6162\n":                      []byte("6162"),
		csvHeader + "k,data,base64,Y-W=I=\n":                     []byte("ab"),
		csvHeader + "k,data,binary,text\n":                       []byte("text"),
		csvHeader + "\n#k,data,string,w\nk,data,string,\"#v\"\n": "#v",
	} {
		p := generate(t, csv, GenerateOptions{Size: 0x3000})
		h, err := p.Namespace("ns", false)
		if want == nil {
			require.Empty(t, p.Items())
			continue
		}
		must(t, err)
		require.Equal(t, want, read(h, "k"), csv)
	}
}

func TestKeyPartition(t *testing.T) {
	k := NewKeys([KeysSize]byte(valueOf(Blob, 64, 1)))
	b := k.Partition()
	require.Len(t, b, PageSize)
	back, err := ParseKeys(b)
	require.NoError(t, err)
	require.Equal(t, b, back.Partition())
	b[3] ^= 1
	_, err = ParseKeys(b)
	require.ErrorIs(t, err, ErrCorruptKeyPart)
	_, err = ParseKeys(b[:67])
	require.ErrorIs(t, err, ErrCorruptKeyPart)
	_, err = ParseKeys(erasedPage)
	require.ErrorIs(t, err, ErrKeysNotInitialized)
}

func TestIdentity(t *testing.T) {
	id := Identity{
		ThingName: "thing-000001", Certificate: valueOf(Blob, 1200, 1), Key: valueOf(Blob, 240, 2),
		CA: valueOf(Blob, 1190, 3), CodeSigner: valueOf(Blob, 700, 4),
	}
	b, err := id.Generate(0x4000)
	require.NoError(t, err)
	m := memory(b)
	got, code := ReadIdentity(m, 0, uint32(len(m)))
	must(t, code)
	require.Equal(t, id, got)

	twin := id
	twin.ThingName, twin.Key = "thing-000002", valueOf(Blob, 240, 5)
	other, err := twin.Generate(0x4000)
	require.NoError(t, err)
	fresh, err := id.Generate(0x4000)
	require.NoError(t, err)
	require.True(t, bytes.Equal(fresh[:PageSize], other[:PageSize]), "the first page is the same in a fleet")
	require.False(t, bytes.Equal(fresh, other))

	p, code := Open(erasedMemory(4), 0, 4*PageSize)
	must(t, code)
	must(t, id.Store(p))
	got, code = p.Identity()
	must(t, code)
	require.Equal(t, id, got)

	_, code = ReadIdentity(erasedMemory(3), 0, 3*PageSize)
	require.Equal(t, ErrNotFound, code)
	part := Identity{Key: []byte{1}}
	b, err = part.Generate(0x3000)
	require.NoError(t, err)
	got, code = ReadIdentity(memory(b), 0, 0x3000)
	must(t, code)
	require.Equal(t, part, got)
	_, err = part.Generate(0x2000)
	require.ErrorIs(t, err, ErrRefused)
	_, err = (&Identity{CA: make([]byte, 9000)}).Generate(0x3000)
	require.ErrorIs(t, err, ErrRefused)
}

func FuzzGenerate(f *testing.F) {
	f.Add([]byte(csvHeader+"k,data,u8,1\ns,data,string,\"a\nb\"\nb,data,base64,AAEC\n"), 2, false)
	f.Add([]byte("key,type,encoding,value\n\u00e9,data,string,\u00e9\u00e9\n"), 1, true)
	f.Add([]byte("#\n\n\"\"\"key\",type"), 2, false)
	f.Fuzz(func(t *testing.T, csv []byte, version int, encrypted bool) {
		o := GenerateOptions{Size: 0x4000, Version: version, File: func(name string) ([]byte, bool) { return []byte(name), true }}
		if encrypted {
			o.Key = valueOf(Blob, 64, 1)
		}
		b, err := Generate(csv, o)
		if err != nil {
			var e *ToolError
			require.True(t, errors.As(err, &e), err)
			return
		}
		require.GreaterOrEqual(t, len(b), o.Size)
		require.Less(t, len(b), o.Size+64*(len(csv)+64))
	})
}

func FuzzKeys(f *testing.F) {
	f.Add(NewKeys([KeysSize]byte{1}).Partition())
	f.Add(erasedPage)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseKeys(b)
		if err != nil {
			return
		}
		require.Equal(t, b[:KeysSize+4], k.Partition()[:KeysSize+4])
	})
}

func BenchmarkIdentityGenerate(b *testing.B) {
	id := Identity{
		ThingName: "thing-000001", Certificate: valueOf(Blob, 1200, 1), Key: valueOf(Blob, 240, 2),
		CA: valueOf(Blob, 1190, 3), CodeSigner: valueOf(Blob, 700, 4),
	}
	for _, size := range []int{0x3000, 0x10000} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := id.Generate(size); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkReadIdentity(b *testing.B) {
	id := Identity{
		ThingName: "thing-000001", Certificate: valueOf(Blob, 1200, 1), Key: valueOf(Blob, 240, 2),
		CA: valueOf(Blob, 1190, 3), CodeSigner: valueOf(Blob, 700, 4),
	}
	image, err := id.Generate(0x10000)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadIdentity(memory(image), 0, uint32(len(image))); err != OK {
			b.Fatal(err)
		}
	}
}
