package image

import (
	"errors"
	"testing"
)

func seeds(f *testing.F) {
	f.Helper()
	for _, s := range []Spec{
		{Size: MinBuildSize}, {Version: "1.0", Project: "p", Size: 608, SecureVersion: 3}, {Size: 2048, Chip: ESP32C3},
	} {
		img, err := Build(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(img)
		f.Add(img[:len(img)-40])
	}
	head := Header{Magic: Magic, SegmentCount: 255}
	f.Add(head.AppendTo(nil))
	f.Add([]byte{Magic})
	f.Add([]byte{magic8266V2, 4, 0, 0, 0, 0, 0, 0})
}

func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse(data)
		if err != nil {
			if !errors.Is(err, ErrNotImage) {
				t.Fatal(err)
			}
			return
		}
		if len(p.Segments) > 255 || int(p.Length) > len(data) || p.Complete() != (p.Length > 0) {
			t.Fatalf("%d segments, length %d of %d", len(p.Segments), p.Length, len(data))
		}
		if p.Complete() && len(p.Trailing) != len(data)-int(p.Length) {
			t.Fatal("trailing bytes lost")
		}
		if p.Descriptor != nil {
			raw := p.Descriptor.Encode()
			again, err := DecodeDescriptor(raw[:])
			if err != nil || again != *p.Descriptor {
				t.Fatal("descriptor does not survive encoding")
			}
		}
	})
}

func FuzzInfo(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, chip := range []string{"", "esp32", "esp32c3", "esp8266"} {
			report, err := Info(data, chip)
			var refused *InfoError
			if err != nil && (!errors.As(err, &refused) || refused.Exit < 1 || refused.Exit > 2) {
				t.Fatal(err)
			}
			if err == nil && len(report.Segments) > MaxSegments {
				t.Fatal("too many segments accepted")
			}
		}
	})
}

// FuzzVerify compares the loader with Parse: both find the same images valid.
func FuzzVerify(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 64<<10 {
			t.Skip()
		}
		const addr, size = 0x10000, 0x10000
		flash := erased(addr+size+0x1000, addr, data)
		for _, mode := range []Mode{AppVerify, BootLoad, BootLoadUnchecked} {
			md, code := Verify(flash, addr, size, VerifyOptions{Mode: mode, Revision: 300, AntiRollback: mode == BootLoad})
			switch code {
			case OK, ErrFail, ErrInvalid, ErrAbort:
			default:
				t.Fatalf("code %v", code)
			}
			if (code == OK) != (md.Why == "") {
				t.Fatalf("%v: %q", code, md.Why)
			}
			if code != OK || mode == BootLoadUnchecked {
				continue
			}
			if md.ImageLen > size {
				t.Fatalf("length %d", md.ImageLen)
			}
			// erased flash behind the file may complete it
			p, err := Parse(flash[addr : addr+size])
			if err != nil || !p.Valid() || p.Length != md.ImageLen || p.WantHash != md.SHA256 {
				t.Fatalf("verified, but parsed as %+v, %v", p, err)
			}
		}
	})
}
