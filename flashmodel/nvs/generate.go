package nvs

import (
	"errors"
	"fmt"
	"math/big"
	"strings"
	"unicode/utf8"

	"github.com/otasim/otasim/flashmodel/internal/pytext"
)

// ErrRefused is wrapped by every ToolError.
var ErrRefused = errors.New("NVS description refused")

// maxGenerated bounds the partition that Generate makes; no chip is larger.
const maxGenerated = 128 << 20

// ToolError is the generator's refusal. Class is the Python exception that
// ends the tool, "SystemExit" for its own messages about the size and
// "InputError" for those about a row.
type ToolError struct {
	Class   string
	Message string
}

func (e *ToolError) Error() string {
	switch {
	case e.Class == "SystemExit" || e.Class == "InputError":
		return e.Message
	case e.Message == "":
		return e.Class
	}
	return e.Class + ": " + e.Message
}

func (e *ToolError) Unwrap() error { return ErrRefused }

// Exit is the exit status of the tool: 254 for a refused row, 1 otherwise.
func (e *ToolError) Exit() int {
	if e.Class == "InputError" {
		return 254
	}
	return 1
}

// LastLine is the last line that the tool prints.
func (e *ToolError) LastLine() string {
	if e.Class == "InputError" {
		return "Warning: NVS binary not created..."
	}
	return e.Error()
}

func fail(class, message string) error { return &ToolError{class, message} }

func refuse(message string) error { return &ToolError{"InputError", message} }

// GenerateOptions are the inputs of the generator beside the CSV text.
type GenerateOptions struct {
	Size    int                              // of the partition in bytes: a multiple of 4096, at least 0x3000
	Version int                              // 1: no multi-page blobs; 2 or 0: with them
	Key     []byte                           // what the tool reads of the key file (up to 64 bytes); nil: not encrypted
	File    func(name string) ([]byte, bool) // contents for rows of type file; nil: no files
}

// Generate makes a partition from CSV text (columns key, type, encoding,
// value) exactly as nvs_partition_gen.py does. Errors are *ToolError.
func Generate(text []byte, o GenerateOptions) ([]byte, error) {
	switch {
	case o.Size%PageSize != 0:
		return nil, fail("SystemExit", "Size of partition must be multiple of 4096")
	case o.Size < MinPages*PageSize:
		return nil, fail("SystemExit", "Minimum NVS partition size needed is 0x3000 bytes.")
	case o.Size > maxGenerated:
		return nil, fail("MemoryError", "")
	}
	if i := invalidUTF8(text); i >= 0 {
		return nil, fail("UnicodeDecodeError", fmt.Sprintf("'utf-8' codec can't decode byte 0x%02x in position %d", text[i], i))
	}
	rows, err := readCSV(string(text))
	if err != nil && len(rows) == 0 {
		return nil, err
	}
	version := uint8(version2)
	if o.Version == 1 {
		version = version1
	}
	g := generator{builder: newBuilder(o.Size, version), file: o.File}
	if o.Key != nil {
		g.crypt = toolCipher(o.Key)
	}
	var header []string
	if len(rows) > 0 {
		header, rows = rows[0], rows[1:]
	}
	for _, cells := range rows {
		if len(cells) == 0 {
			continue
		}
		if err := g.row(header, cells); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, err
	}
	return g.finish(), nil
}

// toolCipher encrypts with a key file as the tool does. A file of other than
// 64 bytes is taken for hexadecimal digits and never has a usable length.
func toolCipher(key []byte) func([]byte, uint32) error {
	if len(key) != KeysSize {
		return func([]byte, uint32) error {
			if strings.Trim(string(key), "0123456789abcdefABCDEF") != "" || len(key)%2 != 0 {
				return fail("binascii.Error", "decoding with 'hex' codec failed")
			}
			return fail("ValueError", fmt.Sprintf("Invalid key size (%d) for AES.", len(key)*4))
		}
	}
	if string(key[:32]) == string(key[32:]) {
		return func([]byte, uint32) error { return fail("ValueError", "In XTS mode duplicated keys are not allowed") }
	}
	k := NewKeys([KeysSize]byte(key))
	return func(b []byte, at uint32) error {
		k.encrypt(b, at)
		return nil
	}
}

func invalidUTF8(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

type generator struct {
	*builder
	file func(string) ([]byte, bool)
}

// cell is a column of a row: absent when the row is too short for it.
type cell struct {
	value
	absent bool
}

// column finds a column by its name; of columns with one name the last counts.
func column(header, cells []string, name string) (cell, error) {
	for i := len(header) - 1; i >= 0; i-- {
		if header[i] != name {
			continue
		}
		if i < len(cells) {
			return cell{value: value{text: true, b: cells[i]}}, nil
		}
		return cell{absent: true}, nil
	}
	return cell{}, fail("KeyError", pytext.Repr(name))
}

func (g *generator) row(header, cells []string) error {
	key, err := column(header, cells, "key")
	if err != nil {
		return err
	}
	if key.absent {
		return fail("TypeError", "object of type 'NoneType' has no len()")
	}
	if key.len() > MaxKey {
		return refuse(fmt.Sprintf("Length of key `%s` should be <= 15 characters.", key.b))
	}
	kind, err := column(header, cells, "type")
	if err != nil {
		return err
	}
	encoding, err := column(header, cells, "encoding")
	if err != nil {
		return err
	}
	v, err := column(header, cells, "value")
	if err != nil {
		return err
	}
	if !kind.absent && kind.b == "file" {
		if v, err = g.read(v); err != nil {
			return err
		}
	}
	if !kind.absent && kind.b == "namespace" {
		return g.namespace(key.b)
	}
	return g.entry(key.b, v, encoding)
}

func (g *generator) read(name cell) (cell, error) {
	if name.absent {
		return cell{}, fail("TypeError", "expected str, bytes or os.PathLike object, not NoneType")
	}
	if g.file != nil {
		if b, ok := g.file(name.b); ok {
			return cell{value: value{b: string(b)}}, nil
		}
	}
	return cell{}, fail("FileNotFoundError", fmt.Sprintf("[Errno 2] No such file or directory: %s",
		pytext.Repr("/"+strings.TrimPrefix(name.b, "/"))))
}

var numberTypes = map[string]Type{"u8": U8, "i8": I8, "u16": U16, "i16": I16, "u32": U32, "i32": I32, "u64": U64, "i64": I64}

// entry writes a key with its value. The special encodings are told by their
// exact names, the rest without regard to case: "HEX2BIN" is stored as it
// stands.
func (g *generator) entry(key string, v cell, encoding cell) error {
	var err error
	if !encoding.absent {
		switch encoding.b {
		case "hex2bin":
			v.value, err = fromHex(key, v)
		case "base64":
			v.value, err = fromBase64(v)
		case "string":
			v.value, err = terminated(v)
		}
	}
	if err != nil {
		return err
	}
	if encoding.absent {
		return fail("AttributeError", "'NoneType' object has no attribute 'lower'")
	}
	name := pytext.Lower(encoding.b)
	var t Type
	switch name {
	case "string":
		t = String
	case "binary", "hex2bin", "base64":
		t = Blob
	default:
		t, ok := numberTypes[name]
		if !ok {
			return refuse(fmt.Sprintf("%s: Unsupported encoding", name))
		}
		n, err := integer(v)
		if err != nil {
			return err
		}
		return g.retry(func() error {
			if g.next >= EntryCount {
				return errPageFull
			}
			if g.ns > 0xFF {
				return fail("ValueError", "byte must be in range(0, 256)")
			}
			if err := inRange(n, t); err != nil {
				return err
			}
			return g.number(g.ns, key, t, low64(n))
		})
	}
	if v.absent {
		return fail("TypeError", "object of type 'NoneType' has no len()")
	}
	return g.retry(func() error { return g.content(key, v.value, t) })
}

func low64(n *big.Int) uint64 {
	if n.Sign() < 0 {
		return uint64(n.Int64())
	}
	return n.Uint64()
}

// inRange refuses what does not fit the type.
func inRange(n *big.Int, t Type) error {
	bits := uint(8 * t.width())
	lo, hi := new(big.Int), new(big.Int).Lsh(big.NewInt(1), bits)
	if t&0x10 != 0 {
		hi.Rsh(hi, 1)
		lo.Neg(hi)
	}
	hi.Sub(hi, big.NewInt(1))
	if n.Cmp(lo) >= 0 && n.Cmp(hi) <= 0 {
		return nil
	}
	name := map[Type]string{U8: "ubyte", I8: "byte", U16: "ushort", I16: "short", U32: "'I'", I32: "'i'"}[t]
	if name == "" || !n.IsInt64() || t&0x10 == 0 && t != U8 && t != U16 && n.Sign() < 0 {
		return fail("struct.error", "argument out of range")
	}
	return fail("struct.error", fmt.Sprintf("%s format requires %d <= number <= %d", name, lo, hi))
}

func integer(v cell) (*big.Int, error) {
	if v.absent {
		return nil, fail("TypeError", "int() argument must be a string, a bytes-like object or a real number, not 'NoneType'")
	}
	n, err := pytext.Int(v.b, 10)
	if err == nil && (v.text || isASCII(v.b)) {
		return n, nil
	}
	if v.text {
		_, message, _ := strings.Cut(err.Error(), ": ")
		return nil, fail("ValueError", message)
	}
	return nil, fail("ValueError", "invalid literal for int() with base 10: "+pytext.Shorten(pytext.ReprBytes([]byte(v.b))))
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// terminated is a string with its NUL.
func terminated(v cell) (value, error) {
	if v.absent {
		return value{}, fail("TypeError", "unsupported operand type(s) for +=: 'NoneType' and 'str'")
	}
	if i := invalidUTF8([]byte(v.b)); i >= 0 {
		return value{}, fail("UnicodeDecodeError", fmt.Sprintf("'utf-8' codec can't decode byte 0x%02x in position %d", v.b[i], i))
	}
	return value{text: true, b: v.b + "\x00"}, nil
}

func fromHex(key string, v cell) (value, error) {
	if v.absent {
		return value{}, fail("AttributeError", "'NoneType' object has no attribute 'strip'")
	}
	s := v.value
	if s.text {
		s.b = pytext.Strip(s.b)
	} else {
		s.b = strings.Trim(s.b, " \t\n\r\v\f")
	}
	if s.len()%2 != 0 {
		return value{}, refuse(fmt.Sprintf("%s: Invalid data length. Should be multiple of 2.", key))
	}
	if s.text && !isASCII(s.b) {
		return value{}, fail("ValueError", "string argument should contain only ASCII characters")
	}
	b := make([]byte, len(s.b)/2)
	for i := range b {
		hi, lo := hexDigit(s.b[2*i]), hexDigit(s.b[2*i+1])
		if hi < 0 || lo < 0 {
			return value{}, fail("binascii.Error", "Non-hexadecimal digit found")
		}
		b[i] = byte(hi<<4 | lo)
	}
	return value{b: string(b)}, nil
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// fromBase64 skips what is no base64 digit and stops at complete padding.
func fromBase64(v cell) (value, error) {
	if v.absent {
		return value{}, fail("TypeError", "argument should be bytes, buffer or ASCII string, not 'NoneType'")
	}
	if v.text && !isASCII(v.b) {
		return value{}, fail("ValueError", "string argument should contain only ASCII characters")
	}
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	var out []byte
	acc, quad, pads := 0, 0, 0
	for i := range len(v.b) {
		if v.b[i] == '=' {
			if quad >= 2 {
				if pads++; quad+pads >= 4 {
					return value{b: string(out)}, nil
				}
			}
			continue
		}
		d := strings.IndexByte(digits, v.b[i])
		if d < 0 {
			continue
		}
		pads = 0
		acc = acc<<6 | d
		if quad++; quad > 1 {
			out = append(out, byte(acc>>(2*(4-quad))))
		}
		quad %= 4
	}
	switch quad {
	case 0:
		return value{b: string(out)}, nil
	case 1:
		return value{}, fail("binascii.Error", fmt.Sprintf("Invalid base64-encoded string: number of data characters (%d) "+
			"cannot be 1 more than a multiple of 4", len(out)/3*4+1))
	}
	return value{}, fail("binascii.Error", "Incorrect padding")
}
