package flashmodel

import (
	"errors"
	"fmt"
)

// What a refused call wraps. The chip itself never answers with an error: physics shows
// in the bytes that are read later.
var (
	ErrBounds    = errors.New("outside the chip")
	ErrAlign     = errors.New("address or length not aligned")
	ErrReadOnly  = errors.New("region is read-only")
	ErrDangerous = errors.New("region must not be written while this application runs")
)

// OpKind is a kind of operation on the chip.
type OpKind uint8

// The values of OpKind. Injectors see only programs and erases.
const (
	OpProgram OpKind = iota
	OpErase
	OpRead
)

func (k OpKind) String() string {
	switch k {
	case OpProgram:
		return "program"
	case OpErase:
		return "erase"
	default:
		return "read"
	}
}

// OpError is a refused call. Nothing was changed.
type OpError struct {
	Op   OpKind
	Addr uint32
	Len  uint64
	Err  error // ErrBounds, ErrAlign, ErrReadOnly or ErrDangerous
}

func (e *OpError) Error() string {
	return fmt.Sprintf("flash %s of %d bytes at 0x%x: %v", e.Op, e.Len, e.Addr, e.Err)
}

func (e *OpError) Unwrap() error { return e.Err }
