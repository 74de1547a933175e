package vectors

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/efuse"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/otadata"
	"github.com/otasim/otasim/flashmodel/partition"
)

// start is what the boot vectors and the call vectors have in common: a chip
// and the switches of its firmware.
type start struct {
	Cfg struct {
		Rollback     bool `json:"rollback"`
		AntiRollback bool `json:"anti_rollback"`
	} `json:"cfg"`
	PTHex   string             `json:"pt_hex"`
	PT      []row              `json:"pt"`
	OTAData []string           `json:"otadata"`
	Images  map[string]*string `json:"img"`
	EFuse   string             `json:"efuse"`
}

// row is one partition as [label, type, subtype, offset, size, flags].
type row partition.Record

func (r *row) UnmarshalJSON(b []byte) error {
	f := []any{&r.Label, &r.Type, &r.Subtype, &r.Offset, &r.Size, &r.Flags}
	return json.Unmarshal(b, &f)
}

// chip is a simulated ESP32 of revision 3.0 with 4 MB of flash.
type chip struct {
	flash  *flashmodel.Flash
	fuse   efuse.EFuse
	config bootloader.Config
	at     int64 // flash address of otadata, -1 if there is none
	shown  [2]string
	burnt  uint64
	ops    uint64
}

func (s *start) chip(t *Tables, kind bootloader.Kind) (*chip, error) {
	model, ok := flashmodel.ChipByName("4MB")
	if !ok {
		return nil, fmt.Errorf("no 4 MB chip")
	}
	c := &chip{flash: flashmodel.New(flashmodel.NewStore(), model), at: -1}
	c.flash.SetSlicing(flashmodel.SliceVectors)
	c.config = bootloader.Config{
		Kind: kind, Rollback: s.Cfg.Rollback, AntiRollback: s.Cfg.AntiRollback,
		FlashSize: model.Size, Image: image.VerifyOptions{Revision: 300}, VectorSlicing: true,
	}
	if err := c.load(partition.DefaultOffset, s.PTHex); err != nil {
		return nil, err
	}
	for _, r := range s.PT {
		if r.Type == partition.TypeData && r.Subtype == partition.SubtypeOTAData && s.OTAData != nil {
			c.at = int64(r.Offset)
		}
		id := s.Images[r.Label]
		if id == nil {
			continue
		}
		img, ok := t.Images[*id]
		if !ok {
			return nil, fmt.Errorf("no image %s", *id)
		}
		if err := c.flash.Load(r.Offset, img.Data); err != nil {
			return nil, err
		}
	}
	for i, e := range s.OTAData {
		if err := c.load(uint32(c.at)+uint32(i)*otadata.SectorSize, e); err != nil {
			return nil, err
		}
	}
	field, err := strconv.ParseUint(s.EFuse, 16, 32)
	if err != nil {
		return nil, err
	}
	c.fuse.Preset(efuse.SecureVersionBits, field)
	return c, c.look()
}

func (c *chip) load(at uint32, data string) error {
	b, err := hex.DecodeString(data)
	if err != nil {
		return err
	}
	return c.flash.Load(at, b)
}

// look remembers what the chip holds now, for changes.
func (c *chip) look() error {
	var err error
	c.shown, err = c.records()
	c.burnt = c.fuse.Value(efuse.SecureVersionBits)
	c.ops = c.count()
	return err
}

func (c *chip) count() uint64 {
	s := c.flash.Stats()
	return s.Programs + s.Erases
}

// records are the two otadata records in hex.
func (c *chip) records() (out [2]string, err error) {
	if c.at < 0 {
		return out, nil
	}
	for i := range out {
		var b [otadata.EntrySize]byte
		if err := c.flash.Read(uint32(c.at)+uint32(i)*otadata.SectorSize, b[:]); err != nil {
			return out, err
		}
		out[i] = hex.EncodeToString(b[:])
	}
	return out, nil
}

// rest checks that nothing but the records is in the otadata sectors.
func (c *chip) rest() error {
	if c.at < 0 {
		return nil
	}
	for i := range uint32(2) {
		b := make([]byte, otadata.SectorSize-otadata.EntrySize)
		if err := c.flash.Read(uint32(c.at)+i*otadata.SectorSize+otadata.EntrySize, b); err != nil {
			return err
		}
		if bytes.Count(b, []byte{0xff}) != len(b) {
			return fmt.Errorf("otadata sector %d holds more than a record", i)
		}
	}
	return nil
}

// differ reports the first value that is not the recorded one.
func differ[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s is %v, recorded is %v", what, got, want)
	}
	return nil
}

// text shows a label that may be absent.
func text(s *string) string {
	if s == nil {
		return "null"
	}
	return strconv.Quote(*s)
}
