package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/sim/dump"
)

func (c *command) imageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "Show, build, sign and verify app images",
		Example: `  otasim image info app.bin
  otasim image build -o app.bin --version 1.2.0 --project sensor --size 256KiB
  otasim image sign --scheme ota --key key.pem app.bin
  otasim image verify app.bin --key signer.crt --signature app.sig`,
		Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(c.imageInfoCommand(), c.imageBuildCommand(), c.imageSignCommand(), c.imageVerifyCommand())
	return cmd
}

// oneFile is the only argument of a command.
func oneFile(cmd string, args []string) (string, error) {
	if len(args) != 1 {
		return "", usage("%s: which image? One file is expected, got %d", cmd, len(args))
	}
	return args[0], nil
}

func (c *command) imageInfoCommand() *cobra.Command {
	var chip string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "info FILE",
		Short: "Show what esptool image-info shows, and what follows the image",
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := oneFile("image info", args)
			if err != nil {
				return err
			}
			if chip != "" && image.ChipByName(chip) == nil {
				return usage("--chip %s: no such chip", chip)
			}
			data, err := readFile(path)
			if err != nil {
				return err
			}
			info, err := image.Info(data, chip)
			if err != nil {
				e := &exit{status: ExitInvalid, text: fmt.Sprintf("%s: %v", path, err)}
				if _, err := dump.Read(data, dump.Options{}); err == nil {
					e.help = "this is a flash dump: otasim flash inspect " + path
				}
				return e
			}
			r := imageReport{InfoReport: info, File: path, Size: len(data)}
			r.tail(data)
			if asJSON {
				return c.printJSON(&r)
			}
			r.writeText(c.std.Out, chip == "")
			return nil
		},
	}
	cmd.Flags().StringVar(&chip, "chip", "", "chip of the image (default: what its header says)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

func (c *command) imageBuildCommand() *cobra.Command {
	var s image.Spec
	var output, size, flashSize, chip, minRev, maxRev string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "build -o APP.bin",
		Short: "Build an app image that bootloader and esptool accept",
		Long: `Builds an app image with a valid header, descriptor, segments, checksum and hash.
Its content is noise made from the seed: it verifies everywhere, but no chip can run it.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if output == "" {
				return usage("image build: -o FILE is missing")
			}
			var err error
			if s.Chip, err = chipFlag(chip); err != nil {
				return err
			}
			if s.Size, err = addressFlag("--size", size); err != nil {
				return err
			}
			if s.FlashSize, err = addressFlag("--flash-size", flashSize); err != nil {
				return err
			}
			if s.MinRevision, err = revisionFlag("--min-rev", minRev); err != nil {
				return err
			}
			if maxRev != "" {
				if s.MaxRevision, err = revisionFlag("--max-rev", maxRev); err != nil {
					return err
				}
			}
			data, err := image.Build(s)
			if err != nil {
				return usage("%v", err)
			}
			if asJSON {
				return c.writeJSON(&wrote{File: output, Chip: dump.ChipName(s.Chip)}, data)
			}
			if err := c.writeFile(output, data); err != nil || output == "-" {
				return err
			}
			fmt.Fprintf(c.std.Out, "wrote %s: %s %s, %d bytes\n", output, s.Project, s.Version, len(data))
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVarP(&output, "output", "o", "", "file to write, - is standard output")
	f.StringVar(&s.Version, "version", "1.0.0", "version in the descriptor")
	f.StringVar(&s.Project, "project", "app", "project name in the descriptor")
	f.Uint32Var(&s.SecureVersion, "secure-version", 0, "secure version in the descriptor")
	f.StringVar(&s.IDFVersion, "idf-version", "", "ESP-IDF version in the descriptor")
	f.StringVar(&s.Date, "date", "", "compile date in the descriptor")
	f.StringVar(&s.Time, "time", "", "compile time in the descriptor")
	f.StringVar(&size, "size", "256KiB", "size of the file, a multiple of 16")
	f.StringVar(&chip, "chip", "esp32", "esp32, esp32s3 or esp32c3")
	f.StringVar(&minRev, "min-rev", "0.0", "smallest chip revision")
	f.StringVar(&maxRev, "max-rev", "", "largest chip revision (default: any)")
	f.StringVar(&flashSize, "flash-size", "4MB", "flash size in the header")
	f.BoolVar(&asJSON, "json", false, "describe the result as JSON")
	f.Uint64Var(&s.Seed, "seed", 0, "number that the content follows from, with project, version and size")
	return cmd
}
