package firmware

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/otasim/otasim/flashmodel"
)

// Identity is what makes a device this device. It lives in the NVS partition, namespace "creds":
//
//	ThingName  string
//	P11_Cert   blob, device certificate, DER
//	P11_Key    blob, private key of the certificate
//	RootCA     blob, PEM of the trusted root
//	P11_CSK    blob, code-signing certificate, PEM or DER
//
// The P11 names are those of the FreeRTOS port (vendors/espressif/boards/esp32/ports/pkcs11); there the thing name
// and the root are compiled in.
type Identity struct {
	Thing       string
	Certificate []byte
	Key         []byte
	CA          []byte
	CodeSigner  []byte
}

// Namespace is the NVS namespace of the identity.
const Namespace = "creds"

// The NVS keys of the identity.
const (
	KeyThing       = "ThingName"
	KeyCertificate = "P11_Cert"
	KeyPrivateKey  = "P11_Key"
	KeyCA          = "RootCA"
	KeyCodeSigner  = "P11_CSK"
)

// LabelCodeSigner is the PKCS#11 label by which a job's certfile names the code-signing certificate in P11_CSK.
const LabelCodeSigner = "Code Verify Key"

// ErrIdentity is wrapped by errors about an identity that cannot be stored or found.
var ErrIdentity = errors.New("firmware: device identity")

// ReadIdentity reads the identity from an NVS partition. Missing parts are left empty.
func ReadIdentity(r flashmodel.Reader, offset, size uint32) (id Identity, err error) {
	var page [nvsPage]byte
	space := byte(0)
	for at := uint32(0); at+nvsPage <= size; at += nvsPage {
		if err := r.Read(offset+at, page[:]); err != nil {
			return id, fmt.Errorf("%w: %w", ErrIdentity, err)
		}
		walk(page[:], func(ns, kind, span byte, key string, entry []byte) {
			switch {
			case ns == 0 && key == Namespace:
				space = entry[24]
			case ns != space || ns == 0 || kind != 0x21 && kind != 0x42:
				return
			}
			n := int(binary.LittleEndian.Uint16(entry[24:]))
			if 32+n > int(span)*32 {
				return
			}
			data := append([]byte(nil), entry[32:32+n]...)
			switch key {
			case KeyThing:
				id.Thing = strings.TrimRight(string(data), "\x00")
			case KeyCertificate:
				id.Certificate = data
			case KeyPrivateKey:
				id.Key = data
			case KeyCA:
				id.CA = data
			case KeyCodeSigner:
				id.CodeSigner = data
			}
		})
	}
	if id.Thing == "" {
		return id, fmt.Errorf("%w: no thing name", ErrIdentity)
	}
	return id, nil
}

const nvsPage = 4096

// walk visits the written entries of a page.
func walk(page []byte, visit func(ns, kind, span byte, key string, entry []byte)) {
	if binary.LittleEndian.Uint32(page) == 0xffffffff {
		return
	}
	for i := 0; i < 126; {
		entry := page[64+32*i:]
		span := entry[2]
		if page[32+i/4]>>(i%4*2)&3 != 2 || span == 0 || i+int(span) > 126 {
			i++
			continue
		}
		visit(entry[0], entry[1], span, strings.TrimRight(string(entry[8:24]), "\x00"), entry)
		i += int(span)
	}
}
