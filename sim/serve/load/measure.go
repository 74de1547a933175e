package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/otasim/otasim/sim/serve"
)

// result is what one run has cost.
type result struct {
	set                       settings
	prepared, handshakes, all time.Duration
	counts                    *counts
	server, clients           [2]usage // before and after the updates
	idle                      [2]int64 // resident bytes of the server and of the clients, without connections
	full                      [2]int64 // with all connected
	peak                      [2]int64
	shares                    []share
	lost                      int64 // connections, before the end
}

// usage is CPU time.
type usage time.Duration

// share is a part of the server's CPU time.
type share struct {
	what    string
	percent float64
}

// measure runs a server and the devices.
func measure(ctx context.Context, set settings) (*result, error) {
	dir, err := os.MkdirTemp("", "otasim-load-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	o := order{Bare: set.bare, Dir: dir, Image: set.image, Block: set.block, Stream: "load", Clients: set.clients}
	if !set.memory {
		o.Data = filepath.Join(dir, "data")
	}
	cmd, ready, err := o.spawn()
	if err != nil {
		return nil, err
	}
	defer func() { _ = cmd.Process.Kill() }() // unless it has ended in order
	r := &result{set: set, counts: &counts{}}
	if err := r.load(ctx, cmd.Process.Pid, ready); err != nil {
		return r, err
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return r, err
	}
	if err := cmd.Wait(); err != nil {
		return r, fmt.Errorf("server: %w", err)
	}
	r.shares = profile(filepath.Join(dir, "cpu.pprof"))
	return r, nil
}

// spawn starts the server.
func (o *order) spawn() (*exec.Cmd, serve.Ready, error) {
	var ready serve.Ready
	what, err := json.Marshal(o)
	if err != nil {
		return nil, ready, err
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(what))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, ready, err
	}
	for begin := time.Now(); time.Since(begin) < time.Minute; time.Sleep(5 * time.Millisecond) {
		if b, err := os.ReadFile(filepath.Join(o.Dir, "ready.json")); err == nil && json.Unmarshal(b, &ready) == nil {
			return cmd, ready, nil
		}
	}
	_ = cmd.Process.Kill()
	return nil, ready, errors.New("the server did not start")
}

func (r *result) load(ctx context.Context, server int, ready serve.Ready) error {
	ca, err := os.ReadFile(ready.CAFile)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return errors.New("no CA certificate")
	}
	devices := make([]*device, r.set.clients)
	for i := range devices {
		devices[i] = &device{name: fmt.Sprintf("dev-%05d", i), counts: r.counts}
	}
	begin := time.Now()
	op := newOperator(ready)
	if r.set.bare { // certificates of another cloud do, it looks at none
		err = strangers(devices, roots)
	} else {
		err = op.prepare(r.set, devices, roots)
	}
	if err != nil {
		return fmt.Errorf("preparation: %w", err)
	}
	r.prepared = time.Since(begin)

	debug.FreeOSMemory()
	r.idle = [2]int64{resident(server), resident(os.Getpid())}
	begin = time.Now()
	defer func() {
		for _, d := range devices {
			if d.client != nil {
				d.client.Disconnect(0)
			}
		}
	}()
	if err := each(len(devices), r.set.abreast, func(i int) error { return devices[i].connect(ctx, ready.MQTTS) }); err != nil {
		return err
	}
	r.handshakes = time.Since(begin)
	r.full = [2]int64{resident(server), resident(os.Getpid())}

	if !r.set.bare {
		if err := op.start(r.set.clients); err != nil {
			return err
		}
	}
	if err := syscall.Kill(server, syscall.SIGUSR1); err != nil { // the profile begins
		return err
	}
	sum := sha256.Sum256(content(r.set.image))
	r.server[0], r.clients[0] = cpu(server), cpu(os.Getpid())
	begin = time.Now()
	quit := make(chan struct{})
	watched := make(chan struct{})
	go r.watch(server, begin, quit, watched)
	err = each(len(devices), len(devices), func(i int) error { return devices[i].update(ctx, r.set, sum) })
	r.all = time.Since(begin)
	close(quit)
	<-watched
	r.server[1], r.clients[1] = cpu(server), cpu(os.Getpid())
	if err != nil {
		return err
	}
	if r.lost = r.counts.lost.Load(); r.lost > 0 {
		return fmt.Errorf("%d connections were lost", r.lost)
	}
	if r.set.bare {
		return nil
	}
	return op.verify(r.set.clients)
}

// strangers gives the devices keys with certificates of their own.
func strangers(devices []*device, roots *x509.CertPool) error {
	return each(len(devices), 8, func(i int) (err error) {
		devices[i].config, err = selfSigned(devices[i].name, roots)
		return err
	})
}

// watch says how far it is, and finds the peak of memory.
func (r *result) watch(server int, begin time.Time, quit, over chan struct{}) {
	defer close(over)
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for n := 1; ; n++ {
		select {
		case <-quit:
			return
		case <-t.C:
			r.peak[0], r.peak[1] = max(r.peak[0], resident(server)), max(r.peak[1], resident(os.Getpid()))
			if n%10 == 0 {
				fmt.Fprintf(os.Stderr, "%4.0f s: %d of %d done, %d blocks\n", time.Since(begin).Seconds(), r.counts.done.Load(), r.set.clients, r.counts.blocks.Load())
			}
		}
	}
}

// resident is the memory of a process in bytes.
func resident(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	n, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return 0
	}
	return n * int64(os.Getpagesize())
}

// cpu is the time that a process has spent, in steps of 10 ms.
func cpu(pid int) usage {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(b, []byte(") "))
	f := strings.Fields(string(rest))
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0
	}
	return usage(time.Duration(user+system) * 10 * time.Millisecond)
}

// groups of packages in a profile, the first that matches counts.
var groups = []struct{ what, prefix string }{
	{"otasim", "github.com/otasim/otasim/"},
	{"mochi-mqtt", "github.com/mochi-mqtt/"},
	{"TLS and other cryptography", "crypto/"},
	{"TLS and other cryptography", "internal/bytealg.crypto"},
	{"bbolt", "go.etcd.io/bbolt"},
	{"CBOR and JSON", "github.com/fxamacker/cbor"},
	{"CBOR and JSON", "encoding/json"},
	{"system calls and sockets", "syscall."},
	{"system calls and sockets", "internal/runtime/syscall"},
	{"system calls and sockets", "internal/poll"},
	{"system calls and sockets", "net."},
	{"Go's runtime: scheduler, memory", "runtime"},
	{"Go's runtime: scheduler, memory", "internal/runtime"},
}

// profile splits CPU time by package, with Go's own tool; nil without it.
func profile(path string) []share {
	out, err := exec.Command("go", "tool", "pprof", "-top", "-nodecount=100000", "-nodefraction=0", path).Output()
	if err != nil {
		return nil
	}
	sum := map[string]float64{}
	for line := range strings.SplitSeq(string(out), "\n") {
		f := strings.Fields(line)
		if len(f) < 6 || !strings.HasSuffix(f[1], "%") || f[0] == "flat" {
			continue
		}
		percent, err := strconv.ParseFloat(strings.TrimSuffix(f[1], "%"), 64)
		if err != nil {
			continue
		}
		what := "other packages"
		if !strings.Contains(f[5], ".") { // written in assembly
			what = "Go's runtime: scheduler, memory"
		}
		for _, g := range groups {
			if strings.HasPrefix(f[5], g.prefix) {
				what = g.what
				break
			}
		}
		sum[what] += percent
	}
	var shares []share
	for what, percent := range sum {
		shares = append(shares, share{what, percent})
	}
	slices.SortFunc(shares, func(a, b share) int { return int(1000 * (b.percent - a.percent)) })
	return shares
}

// perBlock is microseconds of the server's CPU.
func (r *result) perBlock() float64 {
	return float64(r.server[1]-r.server[0]) / 1e3 / float64(max(1, r.counts.blocks.Load()))
}

// perClient is KiB of the server's memory.
func (r *result) perClient() float64 {
	return float64(r.full[0]-r.idle[0]) / 1024 / float64(r.set.clients)
}

func (r *result) print(out io.Writer) {
	what := "otasim serve --data"
	switch {
	case r.set.bare:
		what = "mochi-mqtt alone, with canned answers"
	case r.set.memory:
		what = "otasim serve"
	}
	c, n := r.counts, float64(r.set.clients)
	fmt.Fprintf(out, "\n%s\n", what)
	fmt.Fprintf(out, "  prepared           %.1f s\n", r.prepared.Seconds())
	fmt.Fprintf(out, "  handshakes         %.0f/s, %d in %.1f s\n", n/r.handshakes.Seconds(), c.connected.Load(), r.handshakes.Seconds())
	fmt.Fprintf(out, "  blocks             %.0f/s, %d in %.1f s; asked again %d times\n", float64(c.blocks.Load())/r.all.Seconds(), c.blocks.Load(), r.all.Seconds(), c.again.Load())
	fmt.Fprintf(out, "  updates            %d of %d done, %d transitions acknowledged, %d connections lost\n", c.done.Load(), r.set.clients, c.transitions.Load(), r.lost)
	fmt.Fprintf(out, "  memory a client    server %.1f KiB, client %.1f KiB, resident while idle; peak %d MiB and %d MiB in all\n",
		r.perClient(), float64(r.full[1]-r.idle[1])/1024/n, r.peak[0]>>20, r.peak[1]>>20)
	fmt.Fprintf(out, "  CPU time           server %.1f s (%.1f µs a block), clients %.1f s\n", time.Duration(r.server[1]-r.server[0]).Seconds(), r.perBlock(),
		time.Duration(r.clients[1]-r.clients[0]).Seconds())
	for _, s := range r.shares {
		fmt.Fprintf(out, "    %5.1f %%          %s\n", s.percent, s.what)
	}
}
