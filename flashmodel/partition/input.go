package partition

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/otasim/otasim/flashmodel/internal/pytext"
)

func (g *generator) read(input []byte, isBinary bool) ([]*row, error) {
	if isBinary {
		return g.readBinary(input)
	}
	text, ok := decodeText(input)
	if !ok {
		return nil, refuse(Crash, "the text is not valid in its encoding")
	}
	return g.readCSV(text)
}

func (g *generator) readBinary(b []byte) ([]*row, error) {
	sum := md5.New()
	var rows []*row
	for at := 0; at < len(b); at += RecordSize {
		if len(b)-at < RecordSize {
			return nil, refuse(LengthNot32, "Partition table length must be a multiple of 32 bytes")
		}
		data := (*[RecordSize]byte)(b[at:])
		if bytes.Count(data[:], []byte{0xFF}) == RecordSize {
			return rows, nil
		}
		if !g.DisableMD5 && [2]byte{data[0], data[1]} == md5Magic {
			if digest := sum.Sum(nil); !bytes.Equal(digest, data[16:]) {
				return nil, refuse(MD5Mismatch, "MD5 checksums don't match! (computed: 0x%x, parsed: 0xb'%x')", digest, data[16:])
			}
			continue
		}
		sum.Write(data[:])
		r := DecodeRecord(data)
		if !utf8.ValidString(r.Label) {
			return nil, refuse(Crash, "record at 0x%x: the label is not UTF-8", at)
		}
		if [2]byte{data[0], data[1]} != recordMagic {
			return nil, refuse(BadMagic, "Invalid magic bytes (%s) for partition definition", pytext.ReprBytes(data[:2]))
		}
		if unknown := r.Flags &^ (FlagEncrypted | FlagReadOnly); unknown != 0 {
			g.warn("Partition definition had unknown flag(s) 0x%08x. Newer binary format?", unknown)
			r.Flags &^= unknown
		}
		rows = append(rows, rowsOf(Table{r})...)
	}
	return nil, refuse(NoEndMarker, "Partition table is missing an end-of-table marker")
}

// decodeText decodes by the byte order mark, without one as UTF-8. The mark of
// UTF-32LE begins with that of UTF-16LE and is taken for it.
func decodeText(b []byte) (string, bool) {
	switch {
	case bytes.HasPrefix(b, []byte{0xEF, 0xBB, 0xBF}):
		return string(b[3:]), utf8.Valid(b[3:])
	case bytes.HasPrefix(b, []byte{0xFF, 0xFE}):
		return decodeUTF16(b[2:], binary.LittleEndian)
	case bytes.HasPrefix(b, []byte{0xFE, 0xFF}):
		return decodeUTF16(b[2:], binary.BigEndian)
	case bytes.HasPrefix(b, []byte{0, 0, 0xFE, 0xFF}):
		return decodeUTF32BE(b[4:])
	}
	return string(b), utf8.Valid(b)
}

func decodeUTF16(b []byte, order binary.ByteOrder) (string, bool) {
	if len(b)%2 != 0 {
		return "", false
	}
	var s strings.Builder
	for i := 0; i < len(b); i += 2 {
		r := rune(order.Uint16(b[i:]))
		if utf16.IsSurrogate(r) {
			if i += 2; i >= len(b) {
				return "", false
			}
			if r = utf16.DecodeRune(r, rune(order.Uint16(b[i:]))); r == utf8.RuneError {
				return "", false
			}
		}
		s.WriteRune(r)
	}
	return s.String(), true
}

func decodeUTF32BE(b []byte) (string, bool) {
	if len(b)%4 != 0 {
		return "", false
	}
	var s strings.Builder
	for i := 0; i < len(b); i += 4 {
		r := binary.BigEndian.Uint32(b[i:])
		if r > utf8.MaxRune || !utf8.ValidRune(rune(r)) {
			return "", false
		}
		s.WriteRune(rune(r))
	}
	return s.String(), true
}

var (
	variable       = regexp.MustCompile(`\$(\w+|\{[^}]*\})`)
	leadingUnknown = regexp.MustCompile(`^\$([A-Za-z_][A-Za-z0-9_]*)`)
)

// expand replaces $NAME and ${NAME}. A variable that is not set stays as it
// is and only matters at the very start of a line.
func (g *generator) expand(line string) (string, error) {
	line = variable.ReplaceAllStringFunc(line, func(m string) string {
		name := m[1:]
		if strings.HasPrefix(name, "{") {
			name = name[1 : len(name)-1]
		}
		if g.Lookup != nil {
			if value, ok := g.Lookup(name); ok {
				return value
			}
		}
		return m
	})
	if m := leadingUnknown.FindStringSubmatch(line); m != nil {
		return "", refuse(UnknownVariable, "unknown variable '%s'", m[1])
	}
	return line, nil
}

func (g *generator) readCSV(text string) ([]*row, error) {
	var rows []*row
	for i, line := range pytext.SplitLines(text) {
		line, err := g.expand(line)
		if err != nil {
			return nil, err
		}
		line = pytext.Strip(line)
		if line == "" || line[0] == '#' {
			continue
		}
		r, err := g.readLine(line)
		if e, ok := err.(*ToolError); ok {
			if e.Class != Crash {
				e.Message = fmt.Sprintf("Error at line %d: %s", i+1, e.Message)
			}
			return nil, e
		}
		r.line = i + 1
		rows = append(rows, r)
	}
	return rows, g.place(rows)
}

func (g *generator) readLine(line string) (*row, error) {
	fields := strings.Split(line+",,,,,", ",")
	for i, f := range fields {
		fields[i] = pytext.Strip(f)
	}
	r := &row{name: fields[0]}
	if fields[1] == "" {
		return nil, refuse(TypeEmpty, "Field 'type' can't be left empty.")
	}
	typ, err := number(fields[1], typeKeywords, 0)
	if err != nil {
		return nil, err
	}
	r.typ = saturate(typ)
	switch {
	case fields[2] != "":
		subtype, err := number(fields[2], g.subtypes[r.typ], 0)
		if err != nil {
			return nil, err
		}
		r.subtype = saturate(subtype)
	case r.typ == TypeApp:
		return nil, refuse(AppSubtypeEmpty, "App partition cannot have an empty subtype")
	default:
		r.subtype = SubtypeUndefined
	}
	if r.offset, err = g.readOffset(fields[3], r); err != nil {
		return nil, err
	}
	if r.size, err = g.readSize(fields[4], r); err != nil {
		return nil, err
	}
	for _, flag := range strings.Split(fields[5], ":") {
		switch flag {
		case "encrypted":
			r.flags |= FlagEncrypted
		case "readonly":
			r.flags |= FlagReadOnly
		case "":
		default:
			return nil, refuse(UnknownFlag, "CSV flag column contains unknown flag '%s'", flag)
		}
	}
	return r, nil
}

func (g *generator) readOffset(s string, r *row) (*big.Int, error) {
	switch {
	case r.typ == TypeBootloader && r.subtype == SubtypePrimary:
		if g.PrimaryBootloader == nil {
			return nil, refusePrimary()
		}
		return big.NewInt(*g.PrimaryBootloader), nil
	case r.typ == TypeBootloader && r.subtype == SubtypeRecovery:
		if g.RecoveryBootloader == nil {
			return nil, refuse(RecoveryBootloaderMissing, "Recovery bootloader offset is not defined. Please use --recovery-bootloader-offset")
		}
		return big.NewInt(*g.RecoveryBootloader), nil
	case r.typ == TypePartitionTable && r.subtype == SubtypePrimary:
		return new(big.Int).Set(g.table), nil
	case s == "":
		return nil, nil
	}
	return number(s, nil, 0)
}

func (g *generator) readSize(s string, r *row) (*big.Int, error) {
	switch {
	case r.typ == TypeBootloader:
		if g.PrimaryBootloader == nil {
			return nil, refusePrimary()
		}
		return new(big.Int).Sub(g.table, big.NewInt(*g.PrimaryBootloader)), nil
	case r.typ == TypePartitionTable:
		return big.NewInt(SectorSize), nil
	case s == "":
		return nil, refuse(SizeEmpty, "Size field can't be empty")
	}
	return number(s, nil, 0)
}

func refusePrimary() error {
	return refuse(PrimaryBootloaderMissing, "Primary bootloader offset is not defined. Please use --primary-bootloader-offset")
}

// place fills in missing offsets and turns negative sizes, which name the end
// of a partition, into sizes.
func (g *generator) place(rows []*row) error {
	end := g.first()
	for _, r := range rows {
		if r.isPrimary() {
			continue
		}
		if r.offset != nil && r.offset.Cmp(end) < 0 {
			if r.equal(rows[0]) {
				return refuse(OverlapTable, "CSV Error at line %d: Partitions overlap. Partition sets offset 0x%x. But partition table "+
					"occupies the whole sector 0x%x. Use a free offset 0x%x or higher.", r.line, r.offset, g.table, end)
			}
			return refuse(OverlapPrevious, "CSV Error at line %d: Partitions overlap. Partition sets offset 0x%x. Previous partition ends 0x%x",
				r.line, r.offset, end)
		}
		if r.offset == nil {
			align := big.NewInt(offsetAlignment(r.typ))
			if rest := new(big.Int).Mod(end, align); rest.Sign() != 0 {
				end.Add(end, align.Sub(align, rest))
			}
			r.offset = new(big.Int).Set(end)
		}
		if r.size.Sign() < 0 {
			r.size.Neg(r.size)
			r.size.Sub(r.size, r.offset)
		}
		end = r.end()
	}
	return nil
}

// maxSuffixes is the number of K and M endings at which the tool, which takes
// them off one call at a time, runs out of stack.
const maxSuffixes = 990

// number reads an integer with endings K and M, or else a keyword. The endings
// are taken off first, so "disk" is looked up as "dis".
func number(s string, keywords []keyword, depth int) (*big.Int, error) {
	if depth > maxSuffixes {
		return nil, refuse(Crash, "too many K and M endings")
	}
	lower := pytext.Lower(s)
	for _, suffix := range []struct {
		letter string
		shift  uint
	}{{"k", 10}, {"m", 20}} {
		if strings.HasSuffix(lower, suffix.letter) {
			_, n := utf8.DecodeLastRuneInString(s)
			v, err := number(s[:len(s)-n], keywords, depth+1)
			if err != nil {
				return nil, err
			}
			return v.Lsh(v, suffix.shift), nil
		}
	}
	if v, err := pytext.Int(s, 0); err == nil {
		return v, nil
	}
	if len(keywords) == 0 {
		return nil, refuse(BadNumber, "Invalid field value %s", s)
	}
	names := make([]string, len(keywords))
	for i, k := range keywords {
		if k.name == lower {
			return big.NewInt(k.value), nil
		}
		names[i] = k.name
	}
	return nil, refuse(BadKeyword, "Value '%s' is not valid. Known keywords: %s", s, strings.Join(names, ", "))
}

func saturate(n *big.Int) int64 {
	if n.IsInt64() {
		return n.Int64()
	}
	return math.MaxInt64
}

// addSubtype adds one "type, name, hexadecimal value".
func (g *generator) addSubtype(text string) error {
	crash := func(why string) error { return refuse(Crash, "extra subtype %q: %s", text, why) }
	fields := strings.Split(text, ",")
	if len(fields) < 3 {
		return crash("three fields are needed")
	}
	for i, f := range fields {
		fields[i] = pytext.Strip(f)
	}
	n, err := pytext.Int(fields[2], 16)
	if err != nil {
		return crash(err.Error())
	}
	value, typ := saturate(n), int64(-1)
	for _, t := range typeKeywords {
		if t.name == fields[0] {
			typ = t.value
		}
	}
	for _, t := range typeKeywords {
		for _, k := range g.subtypes[t.value] {
			switch {
			case k.value != value:
			case typ < 0:
				return refuse(BadExtraSubtype, "Error parsing custom subtypes: Invalid partition type")
			case typ == t.value:
				return crash("the value is taken")
			}
		}
	}
	if typ < 0 {
		return crash("unknown type")
	}
	for i, k := range g.subtypes[typ] {
		if k.name == fields[1] {
			g.subtypes[typ][i].value = value
			return nil
		}
	}
	g.subtypes[typ] = append(g.subtypes[typ], keyword{fields[1], value})
	return nil
}
