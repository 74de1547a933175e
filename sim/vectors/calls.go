package vectors

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"

	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/device/otaops"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/efuse"
	"github.com/otasim/otasim/flashmodel/partition"
)

type callVector struct {
	start
	Steps []step            `json:"steps"`
	CRC   map[string]string `json:"slot_crc32"`
}

type step struct {
	Do       string            `json:"do"`
	Fn       string            `json:"fn"`
	Args     []json.RawMessage `json:"args"`
	CutAfter *uint64           `json:"cut_after"`
	Exp      struct {
		RC       *int32            `json:"rc"`
		Ret      json.RawMessage   `json:"ret"`
		Handle   *otaops.Handle    `json:"handle"`
		State    *uint32           `json:"state"`
		End      string            `json:"end"`
		Boot     *string           `json:"boot"`
		FlashOps uint64            `json:"flash_ops"`
		OTAData  []string          `json:"otadata"`
		EFuse    *string           `json:"efuse"`
		CRC      map[string]string `json:"slot_crc32"`
	} `json:"exp"`
}

func (s *step) name() string {
	if s.Do == "call" {
		return s.Fn
	}
	return s.Do
}

// outcome is what a step gave.
type outcome struct {
	end    string
	boot   string
	rc     *otaops.Err
	ret    any // nil: none
	handle otaops.Handle
	state  *uint32
}

// device is a chip with an app on it, or without one between boots.
type device struct {
	*chip
	tables *Tables
	labels map[string]*partition.Record
	apps   []partition.Record
	sums   map[string]uint32
	app    *otaops.Ops
}

func replayCalls(kind bootloader.Kind) func(*Tables, json.RawMessage) error {
	return func(t *Tables, line json.RawMessage) error {
		var v callVector
		if err := json.Unmarshal(line, &v); err != nil {
			return err
		}
		c, err := v.chip(t, kind)
		if err != nil {
			return err
		}
		d := &device{chip: c, tables: t, labels: map[string]*partition.Record{}, sums: map[string]uint32{}}
		for i := range v.PT {
			r := partition.Record(v.PT[i])
			d.labels[r.Label] = &r
			if r.Type == partition.TypeApp {
				d.apps = append(d.apps, r)
				d.sums[r.Label] = d.sum(&r)
			}
		}
		for label, want := range v.CRC {
			if err := differ("CRC of "+label+" at the start", fmt.Sprintf("%08x", d.sums[label]), want); err != nil {
				return err
			}
		}
		for i := range v.Steps {
			if err := d.step(&v.Steps[i]); err != nil {
				return fmt.Errorf("step %d %s: %w", i, v.Steps[i].name(), err)
			}
		}
		return nil
	}
}

// sum is the CRC-32 of a partition, remembered by its content.
func (d *device) sum(p *partition.Record) uint32 {
	return flashmodel.Remember(d.flash, "crc32", p.Offset, p.Size, func() uint32 {
		b := make([]byte, p.Size)
		if d.flash.Read(p.Offset, b) != nil {
			return 0
		}
		return crc32.ChecksumIEEE(b)
	})
}

// cutter loses power before the command that follows the first left ones.
type cutter struct{ left uint64 }

func (c *cutter) BeforeOp(flashmodel.Op) flashmodel.Cut {
	if c.left == 0 {
		return flashmodel.Cut{Mode: flashmodel.CutNotStarted}
	}
	c.left--
	return flashmodel.Cut{}
}

func (d *device) step(s *step) error {
	if err := d.look(); err != nil {
		return err
	}
	if s.CutAfter != nil {
		d.flash.SetInjector(&cutter{*s.CutAfter})
		defer d.flash.SetInjector(nil)
	}
	var out outcome
	var err error
	run := func() { out, err = d.call(s) }
	switch s.Do {
	case "boot":
		run = func() { out = d.boot() }
	case "call":
	default:
		return fmt.Errorf("unknown step %q", s.Do)
	}
	if flashmodel.LosesPower(run) {
		out = outcome{end: "cut"}
	}
	if err != nil {
		return err
	}
	if out.end != "" && out.end != "started" {
		d.app = nil
	}
	return errors.Join(d.compare(s, &out), d.compareChip(s))
}

func (d *device) boot() outcome {
	d.app = nil
	v := bootloader.Boot(d.flash, &d.fuse, d.config, bootloader.PowerOn)
	if v.End == bootloader.Started {
		d.app = otaops.New(d.flash, &d.fuse, &d.config, v.Part)
	}
	return outcome{end: v.End.String(), boot: started(v)}
}

func (d *device) compare(s *step, out *outcome) error {
	errs := []error{differ("end", out.end, s.Exp.End)}
	if s.Do == "boot" && out.end == "started" {
		errs = append(errs, differ("started app", out.boot, text(s.Exp.Boot)))
	}
	rc, ret, state := "none", "none", "none"
	if out.rc != nil && out.rc.Returned() {
		rc = strconv.Itoa(int(*out.rc))
	}
	if out.ret != nil {
		b, err := json.Marshal(out.ret)
		if err != nil {
			return err
		}
		ret = string(b)
	}
	if out.state != nil {
		state = fmt.Sprint(*out.state)
	}
	errs = append(errs,
		differ("return code", rc, orNone(s.Exp.RC)),
		differ("returned value", ret, rawOrNone(s.Exp.Ret)),
		differ("state", state, orNone(s.Exp.State)))
	want := otaops.Handle(0)
	if s.Exp.Handle != nil {
		want = *s.Exp.Handle
	}
	if out.end == "" {
		errs = append(errs, differ("handle", out.handle, want))
	}
	return errors.Join(errs...)
}

// compareChip compares flash and eFuse, also where nothing was to change.
func (d *device) compareChip(s *step) error {
	errs := []error{differ("number of flash operations", d.count()-d.ops, s.Exp.FlashOps)}
	after, err := d.records()
	if err != nil {
		return err
	}
	want := d.shown
	copy(want[:], s.Exp.OTAData)
	errs = append(errs, differ("otadata", after, want))
	fuse := fmt.Sprintf("%08x", d.burnt)
	if s.Exp.EFuse != nil {
		fuse = *s.Exp.EFuse
	}
	errs = append(errs, differ("eFuse", fmt.Sprintf("%08x", d.fuse.Value(efuse.SecureVersionBits)), fuse))
	for i := range d.apps {
		p := &d.apps[i]
		sum := d.sum(p)
		want := fmt.Sprintf("%08x", d.sums[p.Label])
		if changed, ok := s.Exp.CRC[p.Label]; ok {
			want = changed
		}
		errs = append(errs, differ("CRC of "+p.Label, fmt.Sprintf("%08x", sum), want))
		d.sums[p.Label] = sum
	}
	return errors.Join(errs...)
}

func orNone[T any](v *T) string {
	if v == nil {
		return "none"
	}
	return fmt.Sprint(*v)
}

func rawOrNone(v json.RawMessage) string {
	if v == nil {
		return "none"
	}
	return string(v)
}

// call lets the running app make one call.
func (d *device) call(s *step) (outcome, error) {
	if d.app == nil {
		return outcome{}, errors.New("no app is running")
	}
	a := args{d: d, list: s.Args}
	code := func(e otaops.Err) outcome { return outcome{rc: &e, end: endOf(e)} }
	value := func(v any, e otaops.Err) outcome {
		if !e.Returned() {
			return outcome{end: endOf(e)}
		}
		return outcome{ret: v}
	}
	part := func(p *partition.Record, e otaops.Err) outcome {
		if p == nil {
			return value(json.RawMessage("null"), e)
		}
		return value(p.Label, e)
	}
	var out outcome
	switch o := d.app; s.Fn {
	case "esp_ota_begin":
		p, size := a.part(), a.number()
		h, e := o.Begin(p, size)
		out = code(e)
		out.handle = h
	case "esp_ota_write":
		h := otaops.Handle(a.number())
		out = code(o.Write(h, a.data()))
	case "esp_ota_write_with_offset":
		h, data := otaops.Handle(a.number()), a.data()
		out = code(o.WriteWithOffset(h, data, a.number()))
	case "esp_ota_end":
		out = code(o.End(otaops.Handle(a.number())))
	case "esp_ota_abort":
		out = code(o.Abort(otaops.Handle(a.number())))
	case "esp_ota_set_boot_partition":
		out = code(o.SetBoot(a.part()))
	case "esp_ota_get_boot_partition":
		out = part(o.GetBoot())
	case "esp_ota_get_running_partition":
		out = part(o.Running())
	case "esp_ota_get_next_update_partition":
		out = part(o.NextUpdate(a.part()))
	case "esp_ota_get_last_invalid_partition":
		out = part(o.LastInvalid())
	case "esp_ota_get_app_partition_count":
		out = value(o.AppCount())
	case "esp_ota_check_rollback_is_possible":
		out = value(o.RollbackPossible())
	case "esp_ota_get_state_partition":
		state, e := o.GetState(a.part())
		out = code(e)
		if e == otaops.OK {
			n := uint32(state)
			out.state = &n
		}
	case "esp_ota_mark_app_valid_cancel_rollback":
		out = code(o.MarkValid())
	case "esp_ota_mark_app_invalid_rollback":
		out = code(o.MarkInvalid())
	case "esp_ota_mark_app_invalid_rollback_and_reboot":
		out = code(o.MarkInvalidAndReboot())
	case "esp_ota_erase_last_boot_app_partition":
		out = code(o.EraseLastBootApp())
	case "esp_ota_invalidate_inactive_ota_data_slot":
		out = code(o.InvalidateInactive())
	default:
		return outcome{}, fmt.Errorf("unknown function %q", s.Fn)
	}
	return out, a.err
}

func endOf(e otaops.Err) string {
	if e.Returned() {
		return ""
	}
	return e.Error()
}

// args takes the arguments of a call one after the other.
type args struct {
	d    *device
	list []json.RawMessage
	err  error
}

func (a *args) next(into any) {
	if a.err != nil {
		return
	}
	if len(a.list) == 0 {
		a.err = errors.New("too few arguments")
		return
	}
	a.err = json.Unmarshal(a.list[0], into)
	a.list = a.list[1:]
}

func (a *args) number() (n uint32) {
	a.next(&n)
	return n
}

func (a *args) part() *partition.Record {
	var label *string
	a.next(&label)
	if label == nil || a.err != nil {
		return nil
	}
	p, ok := a.d.labels[*label]
	if !ok {
		a.err = fmt.Errorf("no partition %q", *label)
	}
	return p
}

// data is a slice of an image, nil for a null pointer.
func (a *args) data() []byte {
	var ref *struct {
		Image    string `json:"image"`
		Off, Len int
	}
	a.next(&ref)
	if ref == nil || a.err != nil {
		return nil
	}
	img, ok := a.d.tables.Images[ref.Image]
	if !ok || ref.Off < 0 || ref.Len < 0 || ref.Off+ref.Len > len(img.Data) {
		a.err = fmt.Errorf("no bytes %d+%d in image %q", ref.Off, ref.Len, ref.Image)
		return nil
	}
	return img.Data[ref.Off : ref.Off+ref.Len]
}
