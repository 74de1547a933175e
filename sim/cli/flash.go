package cli

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/partition"
	"github.com/otasim/otasim/sim/dump"
	"github.com/otasim/otasim/sim/scenario/file"
)

// kinds are the bootloaders by the value of --idf.
var kinds = map[string]bootloader.Kind{
	"5.5": bootloader.IDF55, "6.0": bootloader.IDF60, "afr-2018": bootloader.AFR2018, "afr-2022": bootloader.AFR2022,
}

func (c *command) flashCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "flash",
		Short: "Inspect, boot and build flash dumps",
		Long: `A dump is what "esptool read-flash 0 ALL dump.bin" reads from a board, or what
"otasim flash build" writes: the content of a whole flash chip.`,
		Example: `  otasim flash inspect dump.bin
  otasim flash boot dump.bin --rollback --out after.bin
  otasim flash build -o flash.bin --partitions partitions_two_ota_large --app ota_0=app.bin --otadata ota_0:VALID`,
		Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(c.inspectCommand(), c.bootCommand(), c.flashBuildCommand())
	return cmd
}

// subcommand refuses arguments of a command that only has commands below it.
func subcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range cmd.Commands() {
		names = append(names, sub.Name())
	}
	e := &exit{status: ExitUsage, text: fmt.Sprintf("%s: unknown command %q", cmd.Name(), args[0]), help: "one of " + strings.Join(names, ", ")}
	if near := file.Nearest(args[0], names); near != "" {
		e.help = fmt.Sprintf("did you mean %q?", near)
	}
	return e
}

// dumpFlags are the flags of every command that reads a dump.
type dumpFlags struct {
	chip, tableOffset string
	partial, json     bool
}

func (f *dumpFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.chip, "chip", "", "esp32, esp32s3 or esp32c3 (default: what the bootloader header says)")
	cmd.Flags().StringVar(&f.tableOffset, "table-offset", "0x8000", "address of the partition table")
	cmd.Flags().BoolVar(&f.partial, "partial", false, "the file holds only the first part of the flash")
	cmd.Flags().BoolVar(&f.json, "json", false, "as JSON")
}

func (f *dumpFlags) read(cmd string, args []string) (*dump.Dump, error) {
	if len(args) != 1 {
		return nil, usage("%s: which dump? One file is expected, got %d", cmd, len(args))
	}
	o := dump.Options{Partial: f.partial}
	var err error
	if o.Chip, err = chipFlag(f.chip); err != nil {
		return nil, err
	}
	if o.TableOffset, err = addressFlag("--table-offset", f.tableOffset); err != nil {
		return nil, err
	}
	data, err := readFile(args[0])
	if err != nil {
		return nil, err
	}
	d, err := dump.Read(data, o)
	return d, invalid(args[0], err)
}

// invalid makes an error of one line about the content of a file.
func invalid(path string, err error) error {
	if err == nil {
		return nil
	}
	var d *dump.Error
	if errors.As(err, &d) {
		text := path + ": " + d.Reason
		if d.Help != "" {
			text += "; " + d.Help
		}
		return &exit{status: ExitInvalid, text: text}
	}
	return &exit{status: ExitInvalid, text: fmt.Sprintf("%s: %v", path, err)}
}

// readFile reads a file that may be as large as a flash chip.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &exit{status: ExitInvalid, text: path + ": no such file", help: nearby(path)}
	}
	if err != nil {
		return nil, &exit{status: ExitInvalid, text: err.Error()}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 2*dump.MaxSize))
	if err != nil {
		return nil, &exit{status: ExitInvalid, text: err.Error()}
	}
	return data, nil
}

// writeFile writes a file, - is standard output.
func (c *command) writeFile(path string, data []byte) error {
	var err error
	if path == "-" {
		_, err = c.std.Out.Write(data)
	} else {
		err = os.WriteFile(path, data, 0o644)
	}
	if err != nil {
		return &exit{status: ExitEnvironment, text: err.Error()}
	}
	return nil
}

// wrote is what --json says about a file that was written.
type wrote struct {
	File   string   `json:"file"`
	Size   int      `json:"size"`
	SHA256 string   `json:"sha256"`
	Chip   string   `json:"chip,omitempty"`
	Pieces []piece  `json:"pieces,omitempty"`
	Notes  []string `json:"notes"`
}

// piece is a part of a flash image.
type piece struct {
	Offset uint32 `json:"offset"`
	Size   int    `json:"size"`
	Name   string `json:"name"`
}

// writeJSON writes a file and describes it on standard output.
func (c *command) writeJSON(w *wrote, data []byte) error {
	if w.File == "-" {
		return usage("--json and -o - both want standard output")
	}
	if err := c.writeFile(w.File, data); err != nil {
		return err
	}
	w.Size, w.SHA256 = len(data), fmt.Sprintf("%x", sha256.Sum256(data))
	if w.Notes == nil {
		w.Notes = []string{}
	}
	return c.printJSON(w)
}

// printJSON prints one document.
func (c *command) printJSON(v any) error {
	enc := json.NewEncoder(c.std.Out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func chipFlag(name string) (*image.Chip, error) {
	if name == "" {
		return nil, nil
	}
	c, ok := dump.ChipByName(name)
	if !ok {
		return nil, usage("--chip %s: one of esp32, esp32s3, esp32c3", name)
	}
	return c, nil
}

func addressFlag(flag, text string) (uint32, error) {
	n, ok := file.ParseSize(text)
	if !ok || n > dump.MaxSize {
		return 0, usage("%s %s: expected a number such as 0x8000", flag, text)
	}
	return uint32(n), nil
}

func (c *command) inspectCommand() *cobra.Command {
	var f dumpFlags
	cmd := &cobra.Command{
		Use:   "inspect DUMP.bin",
		Short: "Show what is in a flash dump: bootloader, table, otadata, apps, NVS",
		RunE: func(_ *cobra.Command, args []string) error {
			d, err := f.read("flash inspect", args)
			if err != nil {
				return err
			}
			r := d.Inspect(args[0])
			if f.json {
				return c.printJSON(r)
			}
			r.WriteText(c.std.Out)
			return nil
		},
	}
	f.add(cmd)
	return cmd
}

func (c *command) bootCommand() *cobra.Command {
	var f dumpFlags
	var o dump.BootOptions
	var idf, out, revision string
	cmd := &cobra.Command{
		Use:   "boot DUMP.bin",
		Short: "Show what the bootloader does with a flash dump, and why",
		Long: `Lets the second-stage bootloader run from power-on. Whether it knows app rollback
and anti-rollback is decided when it is built and cannot be read from the dump.`,
		Example: `  otasim flash boot dump.bin --rollback
  otasim flash boot dump.bin --rollback --anti-rollback --efuse-version 3 --json
  otasim flash boot dump.bin --rollback --out after.bin && otasim flash boot after.bin --rollback`,
		RunE: func(_ *cobra.Command, args []string) error {
			kind, ok := kinds[idf]
			if !ok {
				return usage("--idf %s: one of %s", idf, strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
			}
			if out == "-" && f.json {
				return usage("--json and --out - both want standard output")
			}
			o.Kind = kind
			d, err := f.read("flash boot", args)
			if err != nil {
				return err
			}
			if bits := dump.SecureVersionBits(d.Chip); o.EFuseVersion > uint32(bits) {
				return usage("--efuse-version %d: an %s counts up to %d", o.EFuseVersion, d.Chip.Name, bits)
			}
			o.Revision = dump.Revision(d.Chip)
			if revision != "" {
				if o.Revision, err = revisionFlag("--revision", revision); err != nil {
					return err
				}
			}
			r := d.Boot(o)
			if out != "" {
				if err := c.writeFile(out, d.Bytes()); err != nil {
					return err
				}
			}
			switch {
			case out == "-":
				return nil
			case f.json:
				return c.printJSON(r)
			}
			r.WriteText(c.std.Out)
			return nil
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&o.Rollback, "rollback", false, "CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE")
	cmd.Flags().BoolVar(&o.AntiRollback, "anti-rollback", false, "CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK")
	cmd.Flags().Uint32Var(&o.EFuseVersion, "efuse-version", 0, "secure version in the eFuses")
	cmd.Flags().StringVar(&idf, "idf", "6.0", "bootloader: 5.5, 6.0, afr-2018 or afr-2022 (Amazon FreeRTOS)")
	cmd.Flags().StringVar(&revision, "revision", "", "chip revision such as 3.0 (default: a current one)")
	cmd.Flags().StringVar(&out, "out", "", "write the dump as it is after the boot, - is standard output")
	return cmd
}

// revisionFlag reads a chip revision MAJOR.MINOR, with or without v.
func revisionFlag(flag, text string) (uint16, error) {
	major, minor, ok := strings.Cut(strings.TrimPrefix(text, "v"), ".")
	a, err := strconv.ParseUint(major, 10, 8)
	b, err2 := strconv.ParseUint(minor, 10, 8)
	if !ok || err != nil || err2 != nil || b > 99 {
		return 0, usage("%s %s: expected a chip revision such as 3.0", flag, text)
	}
	return uint16(a*100 + b), nil
}

func (c *command) flashBuildCommand() *cobra.Command {
	var b flashBuild
	cmd := &cobra.Command{
		Use:   "build -o FLASH.bin [ADDRESS FILE]...",
		Short: "Build a flash image from a table, apps and data",
		Long: `Builds the content of a whole flash chip, as "esptool merge-bin --pad-to-size" does,
with partitions by name and otadata records by state. "esptool write-flash 0 FLASH.bin"
puts it on a board.`,
		Example: `  otasim flash build -o flash.bin --partitions partitions.csv --bootloader bootloader.bin --app factory=app.bin
  otasim flash build -o flash.bin --size 4MB --partitions partitions_two_ota_large \
    --app ota_0=old.bin --app ota_1=new.bin --otadata ota_0:VALID --otadata ota_1:NEW --nvs nvs.csv
  otasim flash build -o flash.bin 0x1000 bootloader.bin 0x8000 table.bin 0x10000 app.bin`,
		RunE: func(_ *cobra.Command, args []string) error { return c.buildFlash(&b, args) },
	}
	cmd.Flags().StringVarP(&b.output, "output", "o", "", "file to write, - is standard output")
	cmd.Flags().StringVar(&b.size, "size", "", "flash size such as 4MB (default: what the bootloader header says, or 4MB)")
	cmd.Flags().StringVar(&b.chip, "chip", "", "esp32, esp32s3 or esp32c3 (default: that of the bootloader, or esp32)")
	cmd.Flags().StringVar(&b.partitions, "partitions", "", "partition table: a CSV or binary file, or one of "+strings.Join(names(), ", "))
	cmd.Flags().StringVar(&b.tableOffset, "table-offset", "0x8000", "address of the partition table")
	cmd.Flags().BoolVar(&b.disableMD5, "disable-md5sum", false, "leave out the MD5 record, for bootloaders before ESP-IDF v3.1")
	cmd.Flags().StringVar(&b.bootloader, "bootloader", "", "second-stage bootloader (default: a stand-in that only otasim boots)")
	cmd.Flags().StringArrayVar(&b.apps, "app", nil, "app image for a partition: LABEL=FILE (repeatable)")
	cmd.Flags().StringArrayVar(&b.nvs, "nvs", nil, "NVS content as CSV or binary: FILE or LABEL=FILE (repeatable)")
	cmd.Flags().BoolVar(&b.json, "json", false, "describe the result as JSON")
	cmd.Flags().StringArrayVar(&b.otadata, "otadata", nil, "otadata record: LABEL:STATE or LABEL:STATE:SEQ or empty (twice at most)")
	return cmd
}

// names are the built-in partition tables.
func names() []string {
	var out []string
	for _, n := range partition.Names() {
		out = append(out, strings.TrimSuffix(n, ".csv"))
	}
	return out
}
