package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/otasim/otasim/sim/serve"
)

func (c *command) serveCommand() *cobra.Command {
	var cfg serve.Config
	var readyFile string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the cloud to real clients",
		Long: `Serve the cloud on real sockets and the wall's clock: AWS IoT, Jobs, Signer and S3 on one
HTTP port, and MQTT with client certificates.

It ends in order on SIGTERM (exit status 143) and Ctrl-C (130). Exit status 2: usage,
3: a data directory that cannot be understood, 4: a port in use, no permission.`,
		Example: `  otasim serve
  otasim serve --data state --ready-file ready.json
  aws --endpoint-url http://127.0.0.1:4566 iot list-things`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.serve(cmd.Context(), cfg, readyFile)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&cfg.HTTP, "http", "127.0.0.1:4566", "address of the HTTP port; port 0 is a free one")
	fl.StringVar(&cfg.MQTTS, "mqtts", "127.0.0.1:8883", "address of MQTT with client certificates")
	fl.StringVar(&cfg.MQTT, "mqtt", "", "address of MQTT without TLS, for debugging: who says so is the device (default: none)")
	fl.StringVar(&cfg.Data, "data", "", "directory in which everything survives (default: memory)")
	fl.StringVar(&readyFile, "ready-file", "", "write addresses as JSON to this file once everything accepts connections")
	fl.StringVar(&cfg.Region, "region", "", "region (default us-east-1)")
	fl.StringVar(&cfg.Account, "account", "", "account, 12 digits (default 123456789012)")
	fl.StringVar(&cfg.Quotas, "quotas", "", "aws-default or unlimited, and NAME=VALUE for what differs, with commas between (default aws-default; otasim explain quotas)")
	fl.StringArrayVar(&cfg.Switches, "switch", nil, "NAME=CHOICE, a reading of a disputed point (otasim explain switches); may be repeated")
	fl.StringVar(&cfg.AccessKey, "access-key", "", "access key that HTTP requests must be signed with (default: any)")
	fl.StringVar(&cfg.SecretKey, "secret-key", "", "secret key of --access-key")
	return cmd
}

// serve listens until ctx ends.
func (c *command) serve(ctx context.Context, cfg serve.Config, readyFile string) (err error) {
	s, err := serve.Start(cfg)
	if err != nil {
		return served(err)
	}
	defer func() { err = errors.Join(err, served(s.Close())) }()
	r := s.Ready()
	fmt.Fprintf(c.std.Out, "http     http://%s\nmqtts    %s\n", r.HTTP, r.MQTTS)
	if r.MQTT != "" {
		fmt.Fprintf(c.std.Out, "mqtt     %s\n", r.MQTT)
	}
	fmt.Fprintf(c.std.Out, "ca       %s\naccount  %s\nregion   %s\n", r.CAFile, r.Account, r.Region)
	if cfg.AccessKey == "" {
		fmt.Fprintf(c.std.Out, "key      %s, secret %s\n", serve.DefaultKey, serve.DefaultKey)
	}
	if readyFile != "" {
		if err := s.WriteReady(readyFile); err != nil {
			return served(err)
		}
	}
	if err := s.Wait(ctx); err != nil {
		return served(err)
	}
	if errors.Is(context.Cause(ctx), ErrTerminated) {
		return &exit{status: ExitTerminated}
	}
	return &exit{status: ExitInterrupted}
}

// served gives an error of the server its exit status.
func served(err error) error {
	if err == nil {
		return nil
	}
	e := &exit{status: ExitInternal, text: "serve: " + err.Error()}
	var environment interface{ Environment() bool }
	switch {
	case errors.Is(err, serve.ErrUsage):
		e.status, e.text = ExitUsage, "serve: "+strings.TrimPrefix(err.Error(), serve.ErrUsage.Error()+": ")
		e.help = "otasim serve --help lists the flags"
	case errors.Is(err, serve.ErrJournal):
		e.status = ExitInvalid
		e.help = "start with another --data; this one needs the version of otasim that wrote it"
	case errors.As(err, &environment):
		e.status = ExitEnvironment
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			e.help = "choose another port, or 0 for a free one: --http 127.0.0.1:0 --mqtts 127.0.0.1:0"
		case errors.Is(err, syscall.EACCES):
			e.help = "choose a port from 1024 on, or a directory that you may write to"
		}
	}
	return e
}
