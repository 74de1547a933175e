package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/flashmodel/partition"
	"github.com/otasim/otasim/sim"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
	"github.com/otasim/otasim/sim/scenario/file"
)

// fleetFlags are the flags of fleet.
type fleetFlags struct {
	sim.FleetOptions
	things                     int
	prefix, names              string
	ramp, duration, timeout    string
	agent, target, size, parts string
	bootloader                 string
	blocks                     int
	updatesGiven               bool
	dumps, out                 []string
	json, quiet                bool
}

func (c *command) fleetCommand() *cobra.Command {
	var f fleetFlags
	cmd := &cobra.Command{
		Use:   "fleet",
		Short: "Run virtual devices against an external endpoint",
		Long: `Run virtual devices against any endpoint that speaks AWS IoT Jobs and streams, AWS itself
or otasim serve: each with its own flash, boot loader and OTA agent, and an MQTT client
with its own certificate, in real time. Whoever runs the endpoint creates the updates.

DIR holds THING.cert.pem and THING.private.key for each thing, as the guides to
aws iot create-keys-and-certificate name them.

Without --duration it ends when every device has ended --updates job executions.
Ctrl-C disconnects the devices in order; the result is then partial.

Exit status: 0 passed, 2 usage, 3 an invalid file, 4 a file that is missing or an endpoint
that cannot be used, 97 --timeout came first, 99 an update failed, 130 interrupted.`,
		Example: `  otasim fleet --endpoint 127.0.0.1:8883 --ca ca.pem --certs certs --signer-cert signer.pem
  otasim fleet --endpoint a1b2c3-ats.iot.eu-west-1.amazonaws.com:443 --ca AmazonRootCA1.pem \
      --certs certs --things 1000 --ramp 50/s --signer-cert signer.pem --json
  otasim fleet --endpoint 127.0.0.1:8883 --ca ca.pem --certs certs --dump lamp-1=lamp-1.bin`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.updatesGiven = cmd.Flags().Changed("updates")
			return c.fleet(cmd.Context(), &f)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.Endpoint, "endpoint", "", "HOST:PORT of MQTT with client certificates; port 443 asks for MQTT by ALPN, as AWS wants it")
	fl.StringVar(&f.CA, "ca", "", "PEM certificate of the authority that the devices trust")
	fl.StringVar(&f.ServerName, "server-name", "", "name that the endpoint's certificate must carry (default: HOST)")
	fl.StringVar(&f.Certs, "certs", "", "directory with THING.cert.pem and THING.private.key")
	fl.IntVar(&f.things, "things", 0, "how many things (default: all that are named or have a certificate)")
	fl.StringVar(&f.prefix, "thing-prefix", "", "only things whose name begins so")
	fl.StringVar(&f.names, "names", "", "file with a thing name on each line (default: all that have a certificate)")
	fl.StringVar(&f.Signer, "signer-cert", "", "PEM certificate that the devices check the signature of images with")
	fl.StringVar(&f.Firmware, "firmware", "", "app image that the devices run (default: one is built, version 1.0.0)")
	fl.StringVar(&f.agent, "agent", "ota-main", "profile of the OTA agent")
	fl.StringVar(&f.target, "target", "esp32", "chip: esp32, esp32s3, esp32c3")
	fl.StringVar(&f.size, "flash-size", "4MB", "size of the flash")
	fl.StringVar(&f.parts, "partitions", "partitions_two_ota_large.csv", "partition table: a built-in name or a CSV file")
	fl.StringVar(&f.bootloader, "bootloader", "afr-2022", "afr-2022, afr-2018, idf-5.5, idf-6.0")
	fl.IntVar(&f.blocks, "blocks", 0, "blocks in a request, MAX_NUM_BLOCKS_REQUEST (default: the agent's)")
	fl.StringVar(&f.ramp, "ramp", "50/s", "devices switched on per second (N/s) or minute (N/m), or all")
	fl.IntVar(&f.Updates, "updates", 1, "job executions that each device ends before the run does, 0: as many as come")
	fl.StringVar(&f.duration, "duration", "", "stay this long, whatever happens")
	fl.StringVar(&f.timeout, "timeout", "", "give up after this long")
	fl.StringArrayVar(&f.dumps, "dump", nil, "write the flash of a device at the end: THING=FILE (repeatable)")
	fl.BoolVar(&f.json, "json", false, "write the result document to standard output")
	fl.StringArrayVar(&f.out, "out", nil, "write KIND=TARGET: json, junit, html, csv, dir; - is standard output (repeatable)")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "no progress, no summary")
	return cmd
}

// parseDumps reads the values of --dump.
func parseDumps(values []string) (map[string]string, error) {
	files := map[string]string{}
	for _, v := range values {
		thing, path, ok := strings.Cut(v, "=")
		if !ok || thing == "" || path == "" {
			return nil, usage("--dump %s: expected THING=FILE such as lamp-1=lamp-1.bin", v)
		}
		files[thing] = path
	}
	return files, nil
}

// parseRamp reads a rate per second; 0 is all at once.
func parseRamp(text string) (float64, error) {
	number, unit, _ := strings.Cut(text, "/")
	v, err := strconv.ParseFloat(number, 64)
	switch {
	case text == "all":
		return 0, nil
	case err != nil || v <= 0 || unit != "" && unit != "s" && unit != "m":
		return 0, usage("--ramp %s: expected devices per second or minute such as 50/s or 600/m, or all", text)
	case unit == "m":
		v /= 60
	}
	return v, nil
}

// oneOf refuses a word that is not known.
func oneOf(flag, word string, known ...string) error {
	if slices.Contains(known, word) {
		return nil
	}
	return &exit{status: ExitUsage, text: fmt.Sprintf("--%s %s: one of %s", flag, word, strings.Join(known, ", ")), help: file.DidYouMean(word, known)}
}

// check reads the flags that need more than their type, and finds the things.
func (f *fleetFlags) check() (err error) {
	for _, need := range []struct{ name, value, what string }{
		{"endpoint", f.Endpoint, "HOST:PORT"}, {"ca", f.CA, "a PEM file"}, {"certs", f.Certs, "a directory"},
	} {
		if need.value == "" {
			return usage("fleet: --%s is needed: %s", need.name, need.what)
		}
	}
	if host, port, err := net.SplitHostPort(f.Endpoint); err != nil || host == "" || port == "" {
		return usage("--endpoint %s: expected HOST:PORT such as 127.0.0.1:8883", f.Endpoint)
	}
	if f.Ramp, err = parseRamp(f.ramp); err != nil {
		return err
	}
	for _, d := range []struct {
		name, text string
		to         *time.Duration
	}{{"duration", f.duration, &f.Duration}, {"timeout", f.timeout, &f.Timeout}} {
		if d.text == "" {
			continue
		}
		v, ok := parseTime(d.text)
		if !ok || v <= 0 {
			return usage("--%s %s: expected a duration such as 90s or 1h30m", d.name, d.text)
		}
		*d.to = v
	}
	switch {
	case f.things < 0:
		return usage("--things %d: at least 1", f.things)
	case f.Updates < 0:
		return usage("--updates %d: at least 0", f.Updates)
	case f.names != "" && f.prefix != "":
		return usage("--names and --thing-prefix exclude each other")
	case f.blocks < 0 || f.blocks > 128:
		return usage("--blocks %d: 1 to 128", f.blocks)
	}
	if f.Duration > 0 && !f.updatesGiven {
		f.Updates = 0
	}
	if err := f.device(); err != nil {
		return err
	}
	if f.Dumps, err = parseDumps(f.dumps); err != nil {
		return err
	}
	return f.choose()
}

// device reads the flags that say what the devices are.
func (f *fleetFlags) device() error {
	var profiles []string
	for _, p := range agent.Profiles {
		profiles = append(profiles, p.Name)
	}
	for _, word := range []struct {
		flag, value string
		known       []string
	}{
		{"agent", f.agent, profiles}, {"target", f.target, []string{"esp32", "esp32s3", "esp32c3"}},
		{"flash-size", f.size, []string{"2MB", "4MB", "8MB", "16MB"}},
		{"bootloader", f.bootloader, []string{"afr-2022", "afr-2018", "idf-5.5", "idf-6.0"}},
	} {
		if err := oneOf(word.flag, word.value, word.known...); err != nil {
			return err
		}
	}
	d := scenario.DefaultDevice()
	megabytes, _ := strconv.Atoi(strings.TrimSuffix(f.size, "MB")) // one of the four
	d.Agent, d.Target, d.Bootloader, d.Flash.Size = f.agent, f.target, f.bootloader, uint32(megabytes)<<20
	model := device.ModelOf(d.Target, d.Flash.Size)
	if model == nil {
		return usage("--flash-size %s: there is no %s board with that", f.size, f.target)
	}
	d.Sdkconfig.SecVerBits = model.SecureVersionBits
	d.Sdkconfig.PartitionTableMD5 = d.Bootloader != "afr-2018"
	d.Otaconfig.MaxNumBlocksRequest = f.blocks
	d.Partitions = f.parts
	if _, ok := partition.BuiltinCSV(f.parts); !ok {
		if _, err := os.Stat(f.parts); err != nil {
			return &exit{status: ExitUsage, text: fmt.Sprintf("--partitions %s: neither a built-in table nor a file", f.parts), help: "for example partitions_two_ota_large.csv"}
		}
		d.PartitionsFile = true
	}
	f.Device = d
	return nil
}

// choose finds the things.
func (f *fleetFlags) choose() (err error) {
	from := f.names
	if f.names != "" {
		f.Things, err = sim.ReadNames(f.names)
	} else {
		from = f.Certs
		f.Things, err = sim.ThingsOf(f.Certs, f.prefix)
	}
	if err != nil {
		return fleetError(err)
	}
	if len(f.Things) == 0 && f.things == 0 {
		text := "fleet: no certificates in " + f.Certs
		switch {
		case f.names != "":
			text = "fleet: no names in " + f.names
		case f.prefix != "":
			text += " for things " + f.prefix + "*"
		}
		return &exit{status: ExitNothing, text: text, help: "THING.cert.pem and THING.private.key for each thing"}
	}
	if f.things > len(f.Things) {
		return &exit{status: ExitEnvironment, text: fmt.Sprintf("fleet: %s for %d things, %s has %s", "--things asks", f.things, from, count(len(f.Things), "thing")),
			help: "aws iot create-keys-and-certificate makes more, or take fewer"}
	}
	if f.things > 0 {
		f.Things = f.Things[:f.things]
	}
	return nil
}

// fleet runs the devices and prints what they showed.
func (c *command) fleet(ctx context.Context, f *fleetFlags) error {
	if err := f.check(); err != nil {
		return err
	}
	outs, err := parseOutputs(f.out, f.json)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(outs, func(o output) bool { return o.kind == "trace" }) {
		return usage("--out trace: a fleet writes no trace")
	}
	if _, err := c.prepare(outs); err != nil {
		return err
	}
	if f.json {
		outs = append(outs, output{"json", "-"})
	}
	f.Version = Version
	if !f.quiet && !f.json {
		shown := &report.Live{W: c.std.Err, Terminal: c.std.ErrTTY && c.std.Env("CI") == "" && c.std.Env("TERM") != "dumb",
			Width: c.std.Width, Now: time.Now, Name: "fleet", Seed: 1}
		f.Progress = shown.Show
		defer shown.Done()
	}
	r, failed := sim.RunFleet(ctx, f.FleetOptions)
	if r == nil {
		return fleetError(failed)
	}
	results := []*report.Result{r}
	names, err := c.write(outs, results, nil)
	for _, thing := range f.dumps {
		if _, path, _ := strings.Cut(thing, "="); failed == nil {
			names = append(names, path)
		}
	}
	if !f.quiet && !f.json {
		w, tty := c.std.Out, c.std.OutTTY
		if takesStdout(outs) {
			w, tty = c.std.Err, c.std.ErrTTY
		}
		r.WriteSummary(w, report.Style{Color: c.colored(tty), ASCII: c.ascii(), Files: names})
	}
	if failed != nil {
		return fleetError(failed)
	}
	if err != nil {
		return err
	}
	return c.status(ctx, results, nil, f.quiet || f.json)
}

// fleetError gives an error of a fleet its exit status.
func fleetError(err error) error {
	e := &exit{status: ExitInternal, text: err.Error()}
	var environment interface{ Environment() bool }
	var helps interface{ Help() string }
	switch {
	case errors.Is(err, sim.ErrThing):
		e.status = ExitUsage
	case errors.Is(err, sim.ErrFirmware):
		e.status = ExitInvalid
	case errors.As(err, &environment):
		e.status = ExitEnvironment
	}
	if errors.As(err, &helps) {
		e.help = helps.Help()
	}
	return e
}
