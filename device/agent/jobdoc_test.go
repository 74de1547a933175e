package agent

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/bits"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

const goodSignature = "MEQCIF2QDvww1G/kpRGZ8FYvQrok1bSZvXjXefRk7sqNcyPTAiB4dvGt8fozIY5NC0vUDJ2MY42ZERYEcrbwA4n6q7vrBg=="

func document(edit ...string) []byte {
	doc := `{"clientToken":"0:dev","timestamp":1602795143,"execution":{"jobId":"AFR_OTA-1","status":"QUEUED","jobDocument":{"afr_ota":{"protocols":["MQTT"],"streamname":"s-1","files":[{"filepath":"fw.bin","filesize":300,"fileid":0,"certfile":"/cert.pem","sig-sha256-ecdsa":"` + goodSignature + `"}]}}}}`
	return []byte(strings.NewReplacer(edit...).Replace(doc))
}

func TestParseDocument(t *testing.T) {
	ideal, main := DefaultConfig(Ideal), DefaultConfig(Main)
	for _, c := range []struct {
		name  string
		doc   []byte
		err   ParseErr
		ideal ParseErr // when it differs
		check func(f *File) bool
	}{
		{name: "whole", doc: document(), check: func(f *File) bool {
			return f.JobID == "AFR_OTA-1" && f.Size == 300 && f.Stream.S == "s-1" && f.Cert.S == "/cert.pem" && len(f.Signature) == 70 && !f.SelfTest
		}},
		{name: "size as string", doc: document(`300,`, `"300",`), check: func(f *File) bool { return f.Size == 300 }},
		{name: "size in hex", doc: document(`300,`, `"0x1000",`), check: func(f *File) bool { return f.Size == 4096 }},
		{name: "size in octal", doc: document(`300,`, `"010",`), check: func(f *File) bool { return f.Size == 8 }},
		{name: "size -1", doc: document(`300,`, `-1,`), check: func(f *File) bool { return f.Size == 0xffffffff }},
		{name: "size 1e6", doc: document(`300,`, `1e6,`), err: ParseInvalidNumber},
		{name: "size too large", doc: document(`300,`, `4294967296,`), err: ParseInvalidNumber},
		{name: "size missing", doc: document(`"filesize":300,`, ``), err: ParseMalformed},
		{name: "duplicate size: first wins", doc: document(`300,`, `300,"filesize":600,`), check: func(f *File) bool { return f.Size == 300 }},
		{name: "root shadows", doc: document(`{"clientToken"`, `{"filesize":7,"clientToken"`), check: func(f *File) bool { return f.Size == 7 }},
		{name: "no files", doc: []byte(strings.Split(string(document()), `[{"filepath"`)[0] + `[]}}}}`), err: ParseMalformed},
		{name: "protocols too long", doc: document(`["MQTT"]`, `["MQTT","HTTP","XX"]`), err: ParseUserBufferInsufficient},
		{name: "base64 with a third pad", doc: document(`Bg==`, `Bg===`), err: ParseBase64},
		{name: "base64 pad bits", doc: document(`Bg==`, `Bh==`), err: ParseBase64},
		{name: "base64 without pads", doc: document(`Bg==`, `Bg`), check: func(f *File) bool { return len(f.Signature) == 70 }},
		{name: "base64 of one character", doc: document(goodSignature, `A`), err: ParseBase64},
		{name: "base64 of one pad", doc: document(goodSignature, `=`), err: ParseBase64},
		{name: "base64 of one space", doc: document(goodSignature, ` `), err: ParseBase64},
		{name: "base64 of nothing but pads", doc: document(goodSignature, `==`), check: func(f *File) bool { return len(f.Signature) == 0 }},
		{name: "base64 with a space before a pad", doc: document(`Bg==`, `Bg =`), err: ParseBase64},
		{name: "base64 with a space behind", doc: document(`Bg==`, `Bg== `), check: func(f *File) bool { return len(f.Signature) == 70 }},
		{name: "garbage behind, and nothing stored before the files", doc: append(document(`"jobId"`, `"id"`, `"protocols"`, `"ways"`, `"streamname"`, `"stream"`), "xx"...), err: ParseInvalidJSON},
		{name: "self test by presence", doc: document(`"status":"QUEUED"`, `"statusDetails":{"self_test":false,"updatedBy":"0x00010002"}`),
			check: func(f *File) bool { return f.SelfTest && f.UpdatedBy == 0x10002 }},
		{name: "garbage behind", doc: append(document(), "xx"...), err: ParseOK, ideal: ParseInvalidJSON},
		{name: "token and timestamp", doc: []byte(`{"clientToken":"1","timestamp":1}`), err: ParseEmptyJobDoc, ideal: ParseMalformed},
		{name: "timestamp", doc: []byte(`{"timestamp":1}`), err: ParseMalformed},
		{name: "truncated", doc: document()[:300], err: ParseInvalidJSON},
		{name: "nothing", doc: nil, err: ParseInvalidJSON},
	} {
		t.Run(c.name, func(t *testing.T) {
			var f File
			require.Equal(t, c.err, parseDocument(c.doc, &f, &main, nil).err)
			if c.check != nil {
				require.True(t, c.check(&f), "%+v", f)
			}
			want := c.err
			if c.ideal != 0 {
				want = c.ideal
			}
			require.Equal(t, want, parseDocument(c.doc, new(File), &ideal, nil).err)
		})
	}
}

// A signature that cannot be decoded leaves its beginning over the one before it, which the next job may use.
func TestSignatureHalfDecoded(t *testing.T) {
	cfg := DefaultConfig(Main)
	var f File
	require.Equal(t, ParseOK, parseDocument(document(goodSignature, "AAAAAAAA"), &f, &cfg, nil).err)
	require.Equal(t, ParseBase64, parseDocument(document(goodSignature, "/////!"), &f, &cfg, nil).err)
	require.Equal(t, ParseOK, parseDocument(document(`"sig-sha256-ecdsa"`, `"signature"`), &f, &cfg, nil).err)
	require.Equal(t, []byte{0xff, 0xff, 0xff, 0, 0, 0}, f.Signature)
}

func FuzzParseDocument(f *testing.F) {
	f.Add(document())
	f.Add(document(`300,`, `"0x10000",`))
	f.Add([]byte(`{"clientToken":"1","timestamp":1}`))
	f.Add([]byte(`{"a":[{"b":"\ud834\udd1e"}]`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		for _, profile := range Profiles {
			if profile.Task2018 {
				continue // FuzzDocument2018
			}
			cfg := DefaultConfig(profile)
			var file, again File
			first := parseDocument(doc, &file, &cfg, nil)
			second := parseDocument(doc, &again, &cfg, nil)
			if first != second || !reflect.DeepEqual(file, again) {
				t.Fatal("two readings differ")
			}
			if len(file.JobID) >= jobIDBuffer || len(file.Signature) > profile.SignatureMax || bits.Len32(first.received) > paramCount {
				t.Fatalf("over a limit: %+v", file)
			}
		}
		compareLookUps(t, doc)
		// The reader takes some texts that are no JSON, but must not refuse what is.
		plain := utf8.Valid(doc) && !bytes.ContainsRune(doc, '\\') && bytes.Count(doc, []byte("["))+bytes.Count(doc, []byte("{")) < jsonMaxDepth
		if plain && json.Valid(doc) && !jsonText(doc).valid() {
			t.Fatalf("JSON refused: %q", doc)
		}
	})
}

// compareLookUps holds the search that knows of a text that it is valid against the one that does not.
func compareLookUps(t *testing.T, doc []byte) {
	if jsonText(doc).valid() && !reflect.DeepEqual(lookUp(doc, true), lookUp(doc, false)) {
		t.Fatalf("%q reads otherwise when it is known to be valid", doc)
	}
}

func TestLookUpOfValidText(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	valid := 0
	for range 60_000 {
		doc := document()
		for range 1 + r.IntN(3) {
			i := r.IntN(len(doc))
			insert := []string{"{", "}", "[", "]", "[]", "{}", `"a"`, `\\"`, `\\\\`, `,"x":"\\\""`, `{"filesize":1}`, `:`, `,`, " ", "1", `"files":"[{}]",`}[r.IntN(16)]
			doc = append(doc[:i:i], append([]byte(insert), doc[i+r.IntN(2):]...)...)
		}
		if compareLookUps(t, doc); jsonText(doc).valid() {
			valid++
		}
	}
	require.Greater(t, valid, 1000)
	for _, doc := range []string{`{{}}`, `{"execution":{}{}}`, `[{}{}]`, `{"execution":1{}}`, `{"files":"[{"}`, string(document(`"files":[`, `"files":"[`))} {
		compareLookUps(t, []byte(doc))
	}
}

// The eight characters at a time are the ones that need no look at each.
func TestPlain8(t *testing.T) {
	for c := range 256 {
		for at := range 8 {
			b := []byte("abcdefgh")
			b[at] = byte(c)
			want := c >= ' ' && c < 0x80 && c != '"' && c != '\\'
			require.Equal(t, want, plain8(binary.LittleEndian.Uint64(b)), "%q", b)
		}
	}
}
