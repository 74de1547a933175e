package secureboot

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
)

// TrailerSize is the size of a FreeRTOS trailer in bytes.
const TrailerSize = 80

// ErrTrailer is wrapped by the errors about trailers.
var ErrTrailer = errors.New("no FreeRTOS signature trailer")

// Trailer is what the FreeRTOS OTA port programs after a verified image:
//
//	0   4   00
//	4   32  r, big-endian
//	36  32  s, big-endian
//	68  12  FF
//
// The first 68 bytes are a Secure Boot V1 block, the rest pads to 16.
//
// Source: amazon-freertos
// vendors/espressif/boards/ports/ota_pal_for_aws/aws_esp_ota_ops.c.
type Trailer struct{ R, S [32]byte }

// TrailerFromDER takes r and s from a DER signature. Like the port it does so
// even for numbers it cannot hold: then the error wraps ErrTrailer and the
// trailer has zeros in their place.
func TrailerFromDER(der []byte) (Trailer, error) {
	var t Trailer
	var sig ecdsaSignature
	if _, err := asn1.Unmarshal(der, &sig); err != nil {
		return t, fmt.Errorf("%w: %v", ErrTrailer, err)
	}
	for _, f := range []struct {
		n  *big.Int
		to []byte
	}{{sig.R, t.R[:]}, {sig.S, t.S[:]}} {
		if f.n.Sign() < 0 || f.n.BitLen() > 256 {
			return t, fmt.Errorf("%w: number of %d bits", ErrTrailer, f.n.BitLen())
		}
		f.n.FillBytes(f.to)
	}
	return t, nil
}

// Encode gives the 80 bytes.
func (t *Trailer) Encode() [TrailerSize]byte {
	var b [TrailerSize]byte
	block := V1Block{R: t.R, S: t.S}
	n := copy(b[:], block.AppendTo(nil))
	for i := n; i < len(b); i++ {
		b[i] = 0xFF
	}
	return b
}

// DecodeTrailer reads the first 80 bytes of b.
func DecodeTrailer(b []byte) (Trailer, error) {
	block, err := DecodeV1(b)
	if err != nil || len(b) < TrailerSize || block.Version != 0 || !bytes.Equal(b[V1BlockSize:TrailerSize], bytes.Repeat([]byte{0xFF}, 12)) {
		return Trailer{}, ErrTrailer
	}
	return Trailer{block.R, block.S}, nil
}
