package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/otasim/otasim/flashmodel/partition"
	"github.com/otasim/otasim/sim/dump"
	"github.com/otasim/otasim/sim/scenario/file"
)

// flashBuild is what the flags of flash build say.
type flashBuild struct {
	output, size, chip, partitions, tableOffset, bootloader string
	disableMD5, json                                        bool
	apps, nvs, otadata                                      []string
}

func (c *command) buildFlash(b *flashBuild, args []string) error {
	if b.output == "" {
		return usage("flash build: -o FILE is missing")
	}
	s, err := b.spec(args)
	if err != nil {
		return err
	}
	s.Lookup = func(name string) (string, bool) { v := c.std.Env(name); return v, v != "" }
	built, err := dump.Build(*s)
	if err != nil {
		return invalid("flash build", err)
	}
	if b.json {
		w := wrote{File: b.output, Chip: dump.ChipName(built.Chip), Notes: built.Notes}
		for _, p := range built.Pieces {
			w.Pieces = append(w.Pieces, piece{p.Addr, len(p.Data), p.Name})
		}
		return c.writeJSON(&w, built.Data)
	}
	if err := c.writeFile(b.output, built.Data); err != nil {
		return err
	}
	for _, n := range built.Notes {
		fmt.Fprintf(c.std.Err, "note: %s\n", n)
	}
	if b.output == "-" {
		return nil
	}
	for _, p := range built.Pieces {
		fmt.Fprintf(c.std.Out, "0x%06x  %8d  %s\n", p.Addr, len(p.Data), p.Name)
	}
	fmt.Fprintf(c.std.Out, "wrote %s: %dMB for %s\n", b.output, len(built.Data)>>20, dump.ChipName(built.Chip))
	return nil
}

func (b *flashBuild) spec(args []string) (*dump.Spec, error) {
	s := &dump.Spec{DisableMD5: b.disableMD5, OTAData: b.otadata}
	var err error
	if s.Chip, err = chipFlag(b.chip); err != nil {
		return nil, err
	}
	if s.TableOffset, err = addressFlag("--table-offset", b.tableOffset); err != nil {
		return nil, err
	}
	if b.size != "" {
		if s.Size, err = addressFlag("--size", b.size); err != nil {
			return nil, usage("--size %s: expected a flash size such as 4MB, at most 16MB", b.size)
		}
	}
	if s.Table, err = readTable(b.partitions); err != nil {
		return nil, err
	}
	if b.bootloader != "" {
		if s.Bootloader, err = readFile(b.bootloader); err != nil {
			return nil, err
		}
	}
	if s.Apps, err = labelFiles("--app", b.apps, true); err != nil {
		return nil, err
	}
	if s.NVS, err = labelFiles("--nvs", b.nvs, false); err != nil {
		return nil, err
	}
	if len(s.NVS) > 0 {
		// rows of type file are relative to the CSV, as for a person who wrote both
		dir := filepath.Dir(s.NVS[0].Name)
		s.File = func(name string) ([]byte, bool) {
			if !filepath.IsAbs(name) {
				name = filepath.Join(dir, name)
			}
			data, err := os.ReadFile(name)
			return data, err == nil
		}
	}
	if len(args)%2 != 0 {
		return nil, usage("flash build: %s has no file: pairs of ADDRESS FILE are expected", args[len(args)-1])
	}
	for i := 0; i < len(args); i += 2 {
		p := dump.Piece{Name: args[i+1]}
		if p.Addr, err = addressFlag("address", args[i]); err != nil {
			return nil, err
		}
		if p.Data, err = readFile(args[i+1]); err != nil {
			return nil, err
		}
		s.Pieces = append(s.Pieces, p)
	}
	return s, nil
}

// readTable reads a partition table from a file, or else one that is built in.
func readTable(name string) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		text, ok := partition.BuiltinCSV(name)
		if ok {
			return []byte(text), nil
		}
		if !strings.ContainsAny(name, `./\`) {
			return nil, &exit{status: ExitInvalid, text: fmt.Sprintf("--partitions %s: neither a file nor a built-in table", name), help: file.DidYouMean(name, names())}
		}
	}
	return readFile(name)
}

// labelFiles reads LABEL=FILE.
func labelFiles(flag string, values []string, labelled bool) ([]dump.LabelFile, error) {
	var out []dump.LabelFile
	for _, v := range values {
		label, path, ok := strings.Cut(v, "=")
		if !ok {
			if labelled {
				return nil, usage("%s %s: expected LABEL=FILE such as ota_0=app.bin", flag, v)
			}
			label, path = "", v
		}
		data, err := readFile(path)
		if err != nil {
			return nil, err
		}
		out = append(out, dump.LabelFile{Label: label, Name: path, Data: data})
	}
	return out, nil
}
