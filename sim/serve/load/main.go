// Command load holds a cloud under the load of many devices and says what it costs.
// make bench-live runs it.
//
//	this process                            another process
//	paho clients  == TLS, MQTT 3.1.1 ==>    otasim serve --data, or mochi-mqtt alone
//	  connect, $next/get, IN_PROGRESS, blocks of a stream, SUCCEEDED
//
// It runs twice: against the cloud, and against the bare broker with canned answers of
// the same topics and sizes, so that the difference is what the cloud costs.
//
// Exit statuses: 0, 1 when a device or a transition was lost, 4 when the machine does
// not give enough file descriptors.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"
)

// settings of a run.
type settings struct {
	clients int
	image   int // bytes
	block   int // bytes
	window  int // blocks in a request
	abreast int // handshakes at a time
	bare    bool
	memory  bool // without --data
}

// childEnv says in the environment of a child what it shall serve.
const childEnv = "OTASIM_LOAD_CHILD"

var errDescriptors = errors.New("too few file descriptors")

func main() {
	if what := os.Getenv(childEnv); what != "" {
		os.Exit(child(what))
	}
	var set settings
	flag.IntVar(&set.clients, "clients", 5000, "devices")
	flag.IntVar(&set.image, "image", 1<<20, "bytes of the image")
	flag.IntVar(&set.block, "block", 4096, "bytes of a block")
	flag.IntVar(&set.window, "window", 4, "blocks in a request")
	flag.IntVar(&set.abreast, "abreast", 64, "handshakes at a time")
	flag.BoolVar(&set.memory, "memory", false, "serve without a data directory")
	compare := flag.Bool("compare", true, "the same against mochi-mqtt alone")
	flag.Parse()
	os.Exit(status(run(set, *compare, os.Stdout)))
}

// status is the exit status for an error.
func status(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errDescriptors):
		fmt.Fprintln(os.Stderr, "load:", err)
		return 4
	}
	fmt.Fprintln(os.Stderr, "load:", err)
	return 1
}

// descriptors checks that the machine gives a process enough of them.
func descriptors(clients int) error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	need := uint64(clients + clients/20 + 200)
	if l.Cur >= need {
		return nil
	}
	return fmt.Errorf("%w: a process may have %d, %d clients need %d; run: ulimit -n %d (as root first: ulimit -Hn %d), or BENCH_LIVE_CLIENTS=%d make bench-live",
		errDescriptors, l.Cur, clients, need, need, need, max(1, int(l.Cur)-200)*20/21)
}

func run(set settings, compare bool, out io.Writer) error {
	if err := descriptors(set.clients); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	fmt.Fprintf(out, "%d clients, each a %d KiB image in blocks of %d bytes, %d blocks a request; %d cores, %s\n",
		set.clients, set.image>>10, set.block, set.window, runtime.NumCPU(), runtime.Version())
	cloud, err := measure(ctx, set)
	if cloud != nil {
		cloud.print(out)
	}
	if err != nil || !compare {
		return err
	}
	set.bare = true
	bare, err := measure(ctx, set)
	if bare == nil || err != nil {
		return err
	}
	bare.print(out)
	fmt.Fprintf(out, "\nwhat is the cloud's: %.1f µs of CPU a block beyond mochi's %.1f µs; %.1f KiB of memory a client beyond mochi's %.1f KiB\n",
		cloud.perBlock()-bare.perBlock(), bare.perBlock(), cloud.perClient()-bare.perClient(), bare.perClient())
	return nil
}
