package partition

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// Class names what the generator has against a table.
type Class string

// Classes of ToolError. Crash means that the tool itself ends with a Python
// exception instead of a message.
const (
	BelowTable                Class = "below_table"
	OverlapTable              Class = "overlap_table"
	OverlapPrevious           Class = "overlap_previous"
	UnalignedOffset           Class = "unaligned_offset"
	UnalignedSize             Class = "unaligned_size"
	DuplicateName             Class = "duplicate_name"
	TypeEmpty                 Class = "type_empty"
	AppSubtypeEmpty           Class = "app_subtype_empty"
	SizeEmpty                 Class = "size_empty"
	UnknownFlag               Class = "unknown_flag"
	UnknownVariable           Class = "unknown_variable"
	BadKeyword                Class = "bad_keyword"
	BadNumber                 Class = "bad_number"
	MultipleOTAData           Class = "multiple_otadata"
	OTADataSize               Class = "otadata_size"
	MultipleTEEOTAData        Class = "multiple_tee_otadata"
	TEEOTADataSize            Class = "tee_otadata_size"
	ReadOnlyNotAllowed        Class = "readonly_not_allowed"
	NVSTooSmall               Class = "nvs_too_small"
	TableTooLong              Class = "table_too_long"
	FlashSize                 Class = "flash_size"
	MD5Mismatch               Class = "md5_mismatch"
	NoEndMarker               Class = "no_end_marker"
	LengthNot32               Class = "length_not_32"
	BadMagic                  Class = "bad_magic"
	PrimaryBootloaderMissing  Class = "primary_bootloader_offset_missing"
	RecoveryBootloaderMissing Class = "recovery_bootloader_offset_missing"
	BootloaderNotBelowTable   Class = "bootloader_not_below_table"
	BadExtraSubtype           Class = "bad_extra_subtype"
	Usage                     Class = "usage"
	Crash                     Class = "tool_crash"
)

const (
	minReadWriteNVS = 0x3000
	otaDataSize     = 0x2000
	alignApp        = 0x10000
	alignOther      = 0x1000
)

// ErrRefused is wrapped by every ToolError.
var ErrRefused = errors.New("partition table refused")

// ToolError is the generator's refusal of a table. Message is what the tool
// prints, without the hint about extra subtypes; for a Crash it says why.
type ToolError struct {
	Class   Class
	Message string
}

func (e *ToolError) Error() string { return e.Message }

func (e *ToolError) Unwrap() error { return ErrRefused }

// Exit is the exit status of the tool: 2 refused, 1 crashed.
func (e *ToolError) Exit() int {
	if e.Class == Crash {
		return 1
	}
	return 2
}

func refuse(c Class, format string, args ...any) error {
	return &ToolError{Class: c, Message: fmt.Sprintf(format, args...)}
}

// Options are the options of the generator. The zero value is its default.
type Options struct {
	TableOffset        *int64                           // --offset; nil: DefaultOffset
	PrimaryBootloader  *int64                           // --primary-bootloader-offset; nil: not given
	RecoveryBootloader *int64                           // --recovery-bootloader-offset; nil: not given
	FlashSize          int64                            // --flash-size in bytes; 0: not checked
	DisableMD5         bool                             // --disable-md5sum
	NoVerify           bool                             // --no-verify
	Secure             string                           // --secure: "", "v1" or "v2"
	ExtraSubtypes      []string                         // --extra-partition-subtypes: "type, name, hexadecimal value"
	Lookup             func(name string) (string, bool) // environment for $NAME and ${NAME}; nil: empty
}

// Conversion is the result of Convert. Warnings are filled in even when the
// table is refused.
type Conversion struct {
	FromBinary bool   // the input was a binary table and Output is CSV text
	Table      Table  // as in the binary: labels cut to 16 bytes
	Output     []byte // binary table (TableSize bytes) or CSV text
	Warnings   []string
}

// Convert does what gen_esp32part.py 1.5 does with a file: a binary table (it
// starts with AA 50) becomes CSV text, everything else is read as CSV text and
// becomes a binary table. Errors are *ToolError.
//
// Source: espressif/esp-idf v6.0 components/partition_table/gen_esp32part.py.
func Convert(input []byte, o Options) (Conversion, error) {
	g, err := newGenerator(o)
	if err != nil {
		return Conversion{}, err
	}
	c := Conversion{FromBinary: len(input) >= 2 && [2]byte(input) == recordMagic}
	err = g.convert(input, &c)
	c.Warnings = g.warnings
	if err != nil {
		c.Table, c.Output = nil, nil
	}
	return c, err
}

// Parse reads a table, binary or CSV text, with all checks of the generator.
func Parse(input []byte, o Options) (Table, error) {
	c, err := Convert(input, o)
	return c.Table, err
}

// Verify applies the generator's checks to a table and returns its warnings.
func (t Table) Verify(o Options) ([]string, error) {
	g, err := newGenerator(o)
	if err != nil {
		return nil, err
	}
	err = g.verify(rowsOf(t))
	return g.warnings, err
}

// CSV returns the table as the generator prints it.
func (t Table) CSV() string {
	g, _ := newGenerator(Options{})
	return g.csv(rowsOf(t))
}

// TypeName returns the keyword of a type, or its decimal number.
func TypeName(typ uint8) string { return nameOf(typeKeywords, int64(typ)) }

// SubtypeName returns the keyword of a subtype, or its decimal number.
func SubtypeName(typ, subtype uint8) string {
	return nameOf(subtypeKeywords(int64(typ)), int64(subtype))
}

// keyword is a name of a type or subtype; their order shows in messages.
type keyword struct {
	name  string
	value int64
}

var typeKeywords = []keyword{
	{"bootloader", TypeBootloader}, {"partition_table", TypePartitionTable}, {"app", TypeApp}, {"data", TypeData},
}

func subtypeKeywords(typ int64) []keyword {
	switch typ {
	case TypeBootloader:
		return []keyword{{"primary", 0}, {"ota", 1}, {"recovery", 2}}
	case TypePartitionTable:
		return []keyword{{"primary", 0}, {"ota", 1}}
	case TypeData:
		return []keyword{
			{"ota", 0}, {"phy", 1}, {"nvs", 2}, {"coredump", 3}, {"nvs_keys", 4}, {"efuse", 5}, {"undefined", 6},
			{"esphttpd", 0x80}, {"fat", 0x81}, {"spiffs", 0x82}, {"littlefs", 0x83}, {"tee_ota", 0x90},
		}
	case TypeApp:
		k := []keyword{{"factory", 0}, {"test", 0x20}}
		for i := range int64(MaxOTASlots) {
			k = append(k, keyword{fmt.Sprintf("ota_%d", i), SubtypeOTA + i})
		}
		return append(k, keyword{"tee_0", 0x30}, keyword{"tee_1", 0x31})
	}
	return nil
}

func nameOf(keywords []keyword, value int64) string {
	for _, k := range keywords {
		if k.value == value {
			return k.name
		}
	}
	return fmt.Sprint(value)
}

// row is a partition before it is known to fit the binary form: numbers may be
// negative or of any size.
type row struct {
	name         string
	line         int
	typ, subtype int64 // saturated; anything outside 0..255 cannot be packed
	offset, size *big.Int
	flags        uint32
}

func (r *row) equal(s *row) bool {
	return r.name == s.name && r.typ == s.typ && r.subtype == s.subtype &&
		r.offset != nil && s.offset != nil && r.offset.Cmp(s.offset) == 0 && r.size.Cmp(s.size) == 0
}

func (r *row) end() *big.Int { return new(big.Int).Add(r.offset, r.size) }

// isPrimary reports whether the row describes the bootloader or the table
// itself, which lie outside the area for partitions.
func (r *row) isPrimary() bool {
	return (r.typ == TypeBootloader || r.typ == TypePartitionTable) && r.subtype == SubtypePrimary
}

func rowsOf(t Table) []*row {
	rows := make([]*row, len(t))
	for i, r := range t {
		rows[i] = &row{
			name: r.Label, typ: int64(r.Type), subtype: int64(r.Subtype), flags: r.Flags,
			offset: big.NewInt(int64(r.Offset)), size: big.NewInt(int64(r.Size)),
		}
	}
	return rows
}

type generator struct {
	Options
	table    *big.Int
	subtypes map[int64][]keyword
	warnings []string
}

func newGenerator(o Options) (*generator, error) {
	g := &generator{Options: o, table: big.NewInt(DefaultOffset), subtypes: map[int64][]keyword{}}
	if o.TableOffset != nil {
		g.table.SetInt64(*o.TableOffset)
	}
	for _, t := range typeKeywords {
		g.subtypes[t.value] = subtypeKeywords(t.value)
	}
	if p := o.PrimaryBootloader; p != nil && big.NewInt(*p).Cmp(g.table) >= 0 {
		return nil, refuse(BootloaderNotBelowTable, "Unsupported configuration. Primary bootloader must be below partition table. "+
			"Check --primary-bootloader-offset=%#x and --offset=%#x", *p, g.table)
	}
	for _, x := range o.ExtraSubtypes {
		if err := g.addSubtype(x); err != nil {
			return nil, err
		}
	}
	return g, nil
}

func (g *generator) warn(format string, args ...any) {
	g.warnings = append(g.warnings, fmt.Sprintf("WARNING: "+format, args...))
}

// first is the first address behind the sector of the table.
func (g *generator) first() *big.Int { return new(big.Int).Add(g.table, big.NewInt(SectorSize)) }

func (g *generator) convert(input []byte, c *Conversion) error {
	rows, err := g.read(input, c.FromBinary)
	if err != nil {
		return err
	}
	if !g.NoVerify {
		if err := g.verify(rows); err != nil {
			return err
		}
	}
	if err := g.fitsFlash(rows); err != nil {
		return err
	}
	if c.FromBinary {
		c.Output = []byte(g.csv(rows))
		c.Table, err = pack(rows)
		return err
	}
	if c.Table, err = pack(rows); err != nil {
		return err
	}
	if c.Output, err = c.Table.Encode(!g.DisableMD5); err != nil {
		n := len(c.Table) * RecordSize
		if !g.DisableMD5 {
			n += RecordSize
		}
		return refuse(TableTooLong, "Binary partition table length (%d) longer than max", n)
	}
	return nil
}

// pack converts rows to records; what does not fit makes the tool crash.
func pack(rows []*row) (Table, error) {
	t := make(Table, 0, len(rows))
	for _, r := range rows {
		if r.typ != int64(uint8(r.typ)) || r.subtype != int64(uint8(r.subtype)) || !fits32(r.offset) || !fits32(r.size) {
			return nil, refuse(Crash, "partition %s: a value does not fit its field", r.name)
		}
		t = append(t, Record{
			Type: uint8(r.typ), Subtype: uint8(r.subtype), Flags: r.flags,
			Offset: uint32(r.offset.Uint64()), Size: uint32(r.size.Uint64()),
			Label: r.name[:min(len(r.name), LabelSize)],
		})
	}
	return t, nil
}

func fits32(n *big.Int) bool { return n.Sign() >= 0 && n.BitLen() <= 32 }

func aligned(n *big.Int, align int64) bool {
	return new(big.Int).Mod(n, big.NewInt(align)).Sign() == 0
}

func offsetAlignment(typ int64) int64 {
	if typ == TypeApp {
		return alignApp
	}
	return alignOther
}

func (g *generator) verify(rows []*row) error {
	for _, r := range rows {
		if err := g.verifyRow(r); err != nil {
			return err
		}
	}
	names := map[string]bool{}
	for _, r := range rows {
		if names[r.name] {
			return refuse(DuplicateName, "Partition names must be unique")
		}
		names[r.name] = true
	}
	sorted := slices.Clone(rows)
	slices.SortStableFunc(sorted, func(a, b *row) int { return a.offset.Cmp(b.offset) })
	for i, r := range sorted {
		if r.offset.Cmp(g.first()) < 0 && !r.isPrimary() {
			return refuse(BelowTable, "Partition offset 0x%x is below 0x%x", r.offset, g.first())
		}
		if i == 0 {
			continue
		}
		if last := sorted[i-1]; r.offset.Cmp(last.end()) < 0 {
			return refuse(OverlapPrevious, "Partition at 0x%x overlaps 0x%x-0x%x", r.offset, last.offset,
				new(big.Int).Sub(last.end(), big.NewInt(1)))
		}
	}
	if err := verifyOTAData(rows, SubtypeOTAData, MultipleOTAData, OTADataSize, "", `subtype="ota"(0)`); err != nil {
		return err
	}
	return verifyOTAData(rows, SubtypeTEEOTA, MultipleTEEOTAData, TEEOTADataSize, "TEE ", `subtype="tee_ota"(0x90)`)
}

func (g *generator) verifyRow(r *row) error {
	invalid := func(c Class, format string, args ...any) error {
		return refuse(c, "Partition %s invalid: %s", r.name, fmt.Sprintf(format, args...))
	}
	if align := offsetAlignment(r.typ); !aligned(r.offset, align) {
		return invalid(UnalignedOffset, "Offset 0x%x is not aligned to 0x%x", r.offset, align)
	}
	if r.typ == TypeApp {
		align := int64(alignOther)
		if g.Secure == "v1" {
			align = alignApp
		}
		if !aligned(r.size, align) {
			return invalid(UnalignedSize, "Size 0x%x is not aligned to 0x%x", r.size, align)
		}
	}
	g.warnNames(r)
	readOnly := r.flags&FlagReadOnly != 0
	if r.typ == TypeData && (r.subtype == SubtypeOTAData || r.subtype == SubtypeCoredump) && readOnly {
		return invalid(ReadOnlyNotAllowed, "'%s' partition of type %d and subtype %d is always read-write and cannot be read-only",
			r.name, r.typ, r.subtype)
	}
	if r.typ == TypeData && r.subtype == SubtypeNVS && r.size.Cmp(big.NewInt(minReadWriteNVS)) < 0 && !readOnly {
		return invalid(NVSTooSmall, "'%s' partition of type %d and subtype %d of this size (0x%x) must be flagged as 'readonly' "+
			"(the size of read/write NVS has to be at least 0x%x)", r.name, r.typ, r.subtype, r.size, minReadWriteNVS)
	}
	return nil
}

func (g *generator) warnNames(r *row) {
	for _, t := range typeKeywords {
		if t.name == r.name && t.value != r.typ {
			g.warn("Partition has name '%s' which is a partition type, but does not match this partition's type (0x%x). "+
				"Mistake in partition table?", r.name, r.typ)
		}
	}
	named := func(k keyword) bool { return k.name == r.name }
	if i := slices.IndexFunc(g.subtypes[r.typ], named); i >= 0 && g.subtypes[r.typ][i].value == r.subtype {
		return
	}
	for _, t := range typeKeywords {
		if slices.ContainsFunc(g.subtypes[t.value], named) {
			g.warn("Partition has name '%s' which is a partition subtype, but this partition has non-matching type 0x%x "+
				"and subtype 0x%x. Mistake in partition table?", r.name, r.typ, r.subtype)
			return
		}
	}
}

func verifyOTAData(rows []*row, subtype int64, many, size Class, tee, what string) error {
	var found []*row
	for _, r := range rows {
		if r.typ == TypeData && r.subtype == subtype {
			found = append(found, r)
		}
	}
	switch {
	case len(found) > 1:
		return refuse(many, `Found multiple %sotadata partitions. Only one partition can be defined with type="data"(1) and %s.`, tee, what)
	case len(found) == 1 && found[0].size.Cmp(big.NewInt(otaDataSize)) != 0:
		return refuse(size, "%sotadata partition must have size = 0x%x", tee, otaDataSize)
	}
	return nil
}

func (g *generator) fitsFlash(rows []*row) error {
	if g.FlashSize == 0 {
		return nil
	}
	used := new(big.Int)
	var last *row
	for _, r := range rows {
		if last == nil || r.offset.Cmp(last.offset) > 0 {
			last = r
			used = r.end()
		}
	}
	if used.Cmp(big.NewInt(g.FlashSize)) <= 0 {
		return nil
	}
	const mebi = 1 << 20
	mb, _ := new(big.Rat).SetFrac(used, big.NewInt(mebi)).Float64()
	return refuse(FlashSize, "Partitions tables occupies %.1fMB of flash (%d bytes) which does not fit in configured flash size %dMB. "+
		"Change the flash size in menuconfig under the 'Serial Flasher Config' menu.", mb, used, g.FlashSize/mebi)
}

func (g *generator) csv(rows []*row) string {
	var b strings.Builder
	b.WriteString("# ESP-IDF Partition Table\n# Name, Type, SubType, Offset, Size, Flags\n")
	for _, r := range rows {
		var flags []string
		if r.flags&FlagEncrypted != 0 {
			flags = append(flags, "encrypted")
		}
		if r.flags&FlagReadOnly != 0 {
			flags = append(flags, "readonly")
		}
		fmt.Fprintf(&b, "%s,%s,%s,0x%x,%s,%s\n", r.name, nameOf(typeKeywords, r.typ), nameOf(g.subtypes[r.typ], r.subtype),
			r.offset, sizeText(r.size), strings.Join(flags, ":"))
	}
	return b.String()
}

func sizeText(n *big.Int) string {
	switch {
	case aligned(n, 1<<20):
		return new(big.Int).Rsh(n, 20).String() + "M"
	case aligned(n, 1<<10):
		return new(big.Int).Rsh(n, 10).String() + "K"
	}
	return fmt.Sprintf("0x%x", n)
}
