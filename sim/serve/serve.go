// Package serve is the cloud on real sockets, for clients that others wrote: an HTTP
// port for the control plane and S3, an MQTT port with mutual TLS, and the wall's
// clock.
//
//	HTTP  --> body read --> +------- lock -------+
//	MQTT  --> mochi ------> | cloud   (machine)  | --> answers, messages --> held until durable --> clients
//	timer ----------------> +--------------------+
//	                              | calls that change the cloud
//	                              v
//	                           journal (bbolt, group commit)
//
// With a data directory, every call that may change the cloud is written to the
// journal, with its time, before anything that follows from it leaves the process.
// The cloud is a deterministic machine, so a start repeats the calls and is where it
// was, at whatever instruction the process before was killed.
package serve

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/api"
	"github.com/otasim/otasim/cloud/pki"
	"github.com/otasim/otasim/cloud/quota"
	"github.com/otasim/otasim/sim/live"
)

// ErrUsage is wrapped by what is wrong with a Config.
var ErrUsage = errors.New("usage")

// Limits of HTTP.
const (
	maxHeader      = 64 << 10
	headerTimeout  = 10 * time.Second
	requestTimeout = 10 * time.Minute // from the header of a request to the end of its answer
	stallTimeout   = 30 * time.Second // for the next part of a body, either way
	idleTimeout    = 2 * time.Minute
	closeTimeout   = 5 * time.Second // for requests in progress at the end
)

// Config says what to serve, and where. Port 0 is a free one.
type Config struct {
	HTTP, MQTTS string   // addresses
	MQTT        string   // address without TLS, on the loopback interface; "" for not at all
	Data        string   // directory, "" for memory only
	Region      string   // default us-east-1, or what the directory has
	Account     string   // default 123456789012, or what the directory has
	Quotas      string   // aws-default (the default), unlimited, or what differs; see quota.Parse
	Switches    []string // NAME=CHOICE; see cloud.ParseSwitches
	AccessKey   string   // that every request must be signed with; "": see DefaultKey
	SecretKey   string

	patience time.Duration // with a client that says nothing; 0 is the default
}

// DefaultKey is access key and secret key of a server that was given none. It asks
// for signatures on S3 requests and presigned URLs only.
const DefaultKey = "test"

// Ready is where the server listens: the content of the ready file.
type Ready struct {
	HTTP    string `json:"http"`
	MQTTS   string `json:"mqtts"`
	MQTT    string `json:"mqtt,omitempty"`
	CAFile  string `json:"ca_file"`
	Account string `json:"account"`
	Region  string `json:"region"`
}

// A Server is a cloud that listens.
type Server struct {
	ready   Ready
	machine *machine
	api     http.Handler
	broker  *live.Broker
	clock   *live.Clock
	epoch   time.Time
	journal *journal // nil without a data directory
	metrics *metrics
	http    *http.Server
	kick    chan struct{} // something may have become due earlier
	woke    bool          // something was due, and no record says so
	temp    string        // directory to remove at the end
	stop    context.CancelFunc
	all     sync.WaitGroup
}

// check finds what is wrong with the settings alone.
func (cfg *Config) check() error {
	if (cfg.AccessKey == "") != (cfg.SecretKey == "") {
		return fmt.Errorf("%w: an access key and a secret key belong together", ErrUsage)
	}
	if cfg.Account != "" && (len(cfg.Account) != 12 || strings.Trim(cfg.Account, "0123456789") != "") {
		return fmt.Errorf("%w: account %q: want 12 digits", ErrUsage, cfg.Account)
	}
	if strings.Trim(cfg.Region, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || len(cfg.Region) > 40 {
		return fmt.Errorf("%w: region %q: want a name such as us-east-1", ErrUsage, cfg.Region)
	}
	if _, err := quota.Parse(cfg.Quotas); err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	if _, err := cloud.ParseSwitches(cfg.Switches); err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	for _, a := range []struct{ name, address string }{{"HTTP", cfg.HTTP}, {"MQTT with TLS", cfg.MQTTS}, {"MQTT", cfg.MQTT}} {
		if a.address == "" && a.name == "MQTT" {
			continue
		}
		host, _, err := net.SplitHostPort(a.address)
		if err != nil {
			return fmt.Errorf("%w: address for %s: %w", ErrUsage, a.name, err)
		}
		local := host == "localhost" || net.ParseIP(host).IsLoopback()
		switch {
		case local:
		case a.name == "MQTT":
			return fmt.Errorf("%w: MQTT without TLS at %s: everybody could be any device; it is for a loopback address only", ErrUsage, a.address)
		case cfg.AccessKey == "":
			return fmt.Errorf("%w: %s at %s: beyond the loopback interface requests must be signed; set an access key and a secret key", ErrUsage, a.name, a.address)
		}
	}
	return nil
}

// Start listens. Everything accepts connections when it returns.
func Start(cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &Server{kick: make(chan struct{}, 1)}
	if err := s.start(&cfg); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) start(cfg *Config) error {
	id, err := s.open(cfg)
	if err != nil {
		return err
	}
	s.epoch = time.Unix(0, id.Epoch).UTC()
	limits, err := quota.Parse(id.Quotas)
	if err != nil {
		return err
	}
	switches, err := cloud.ParseSwitches(id.Switches)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", cfg.HTTP)
	if err != nil {
		return &live.EnvironmentError{What: "HTTP listener", Err: err}
	}
	options := api.Options{Region: id.Region, AccessKey: cfg.AccessKey, SecretKey: cfg.SecretKey, RequireAuth: cfg.AccessKey != ""}
	if !options.RequireAuth {
		options.AccessKey, options.SecretKey = DefaultKey, DefaultKey
	}
	c, err := cloud.New(cloud.Config{Region: id.Region, Account: id.Account, Seed: [32]byte(id.Seed), Epoch: s.epoch, Quotas: limits, Switches: switches, Metered: true, External: true,
		Presign: api.Presigner("http://"+reachable(l.Addr().String()), options)})
	if err != nil {
		_ = l.Close()
		return err
	}
	header, stall := headerTimeout, stallTimeout
	if cfg.patience != 0 {
		header, stall = cfg.patience, cfg.patience
	}
	s.http = &http.Server{Handler: s.mux(stall), ReadHeaderTimeout: header, ReadTimeout: requestTimeout, WriteTimeout: requestTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: log.New(io.Discard, "", 0)}
	s.ready = Ready{HTTP: l.Addr().String(), Account: id.Account, Region: id.Region}
	s.machine = &machine{cloud: c, options: options, last: s.epoch}
	kept, err := s.restore()
	if err != nil {
		_ = l.Close()
		return err
	}
	s.clock = live.NewWallClock(max(time.Since(s.epoch), s.machine.last.Sub(s.epoch)))
	opt := live.Options{Address: cfg.MQTTS, Plain: cfg.MQTT, Names: names(cfg.MQTTS), Journal: s, Kept: kept, Limits: limits, Patience: cfg.patience}
	if s.broker, err = live.Listen(c, s.clock, s.epoch, s.wake, opt); err != nil {
		_ = l.Close()
		return err
	}
	s.ready.MQTTS, s.ready.MQTT = s.broker.Address(), s.broker.PlainAddress()
	options.DataEndpoint = reachable(s.ready.MQTTS)
	options.JobsEndpoint, options.CredentialEndpoint = reachable(s.ready.HTTP), reachable(s.ready.HTTP)
	s.api = api.New(s, options)
	s.metrics = newMetrics(s)
	if err := s.writeCA(cfg.Data); err != nil {
		_ = l.Close()
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.all.Go(func() { s.tick(ctx) })
	s.all.Go(func() { _ = s.http.Serve(l) }) // always an error: that of Close
	return nil
}

// names are those under which a server at this address is reached.
func names(address string) []string {
	out := []string{"localhost", "127.0.0.1", "::1"}
	host, _, _ := net.SplitHostPort(address)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		if name, err := os.Hostname(); err == nil {
			out = append(out, name)
		}
		addrs, err := net.InterfaceAddrs()
		if err != nil {
			return out
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
				out = append(out, n.IP.String())
			}
		}
	} else if host != "localhost" && !ip.IsLoopback() {
		out = append(out, host)
	}
	return out
}

// reachable is the address that others use for one to listen on.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsUnspecified() {
		return address
	}
	all := names(address)[3:] // without the loopback's
	i := max(0, slices.IndexFunc(all, func(name string) bool { return net.ParseIP(name).To4() != nil }))
	return net.JoinHostPort(append(all, "localhost")[i], port)
}

// open finds out which cloud to serve: that of the data directory, or a new one.
func (s *Server) open(cfg *Config) (identity, error) {
	fresh := func() (identity, error) {
		id := identity{Format: format, Region: cfg.Region, Account: cfg.Account, Quotas: cfg.Quotas, Switches: cfg.Switches, Seed: make([]byte, 32), Epoch: time.Now().UnixNano()}
		for _, d := range []struct {
			value *string
			def   string
		}{{&id.Region, "us-east-1"}, {&id.Account, "123456789012"}, {&id.Quotas, "aws-default"}} {
			if *d.value == "" {
				*d.value = d.def
			}
		}
		_, err := rand.Read(id.Seed)
		return id, err
	}
	if cfg.Data == "" {
		return fresh()
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return identity{}, &live.EnvironmentError{What: "data directory", Err: err}
	}
	j, id, err := openJournal(filepath.Join(cfg.Data, "otasim.db"), fresh)
	if err != nil {
		return identity{}, &live.EnvironmentError{What: "data directory", Err: err}
	}
	s.journal = j
	for _, f := range []struct{ name, want, has string }{{"region", cfg.Region, id.Region}, {"account", cfg.Account, id.Account}, {"quotas", cfg.Quotas, id.Quotas},
		{"switches", strings.Join(cfg.Switches, ","), strings.Join(id.Switches, ",")}} {
		if f.want != "" && f.want != f.has {
			return id, fmt.Errorf("%w: %s %s: the data directory %s was made for %s", ErrUsage, f.name, f.want, cfg.Data, f.has)
		}
	}
	if len(id.Seed) != 32 {
		return id, fmt.Errorf("%w: its seed has %d bytes", ErrJournal, len(id.Seed))
	}
	return id, nil
}

// restore repeats what the journal holds, and hands out what it keeps.
func (s *Server) restore() (live.Kept, error) {
	if s.journal == nil {
		return live.Kept{}, nil
	}
	err := s.journal.replay(func(number uint64, r *record) error {
		if err := s.machine.replay(r); err != nil {
			return fmt.Errorf("record %d: %w", number, err)
		}
		return nil
	})
	if err != nil {
		return live.Kept{}, err
	}
	return s.journal.kept()
}

// writeCA writes the certificate that clients must trust.
func (s *Server) writeCA(dir string) error {
	if dir == "" {
		var err error
		if s.temp, err = os.MkdirTemp("", "otasim-serve-"); err != nil {
			return &live.EnvironmentError{What: "temporary directory", Err: err}
		}
		dir = s.temp
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return &live.EnvironmentError{What: "CA certificate", Err: err}
	}
	s.ready.CAFile = filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(s.ready.CAFile, []byte(pki.PEM(s.machine.cloud.PKI().Certificate().Raw)), 0o644); err != nil { //nolint:gosec // a certificate is public
		return &live.EnvironmentError{What: "CA certificate", Err: err}
	}
	return nil
}

// Ready tells where the server listens.
func (s *Server) Ready() Ready { return s.ready }

// WriteReady writes the ready file at once: a reader sees all of it or none.
func (s *Server) WriteReady(path string) error {
	b, err := json.Marshal(s.ready)
	if err != nil {
		return err
	}
	temp := path + ".tmp"
	if err := os.WriteFile(temp, append(b, '\n'), 0o644); err != nil { //nolint:gosec // it holds no secret
		return &live.EnvironmentError{What: "ready file", Err: err}
	}
	if err := os.Rename(temp, path); err != nil {
		return &live.EnvironmentError{What: "ready file", Err: err}
	}
	return nil
}

// Wait returns when ctx ends, with nil, or with what made the server useless.
func (s *Server) Wait(ctx context.Context) error {
	var failed chan struct{}
	if s.journal != nil {
		failed = s.journal.failed
	}
	select {
	case <-ctx.Done():
		return nil
	case <-failed:
		return &live.EnvironmentError{What: "data directory", Err: s.journal.err}
	}
}

// Close answers the requests in progress, ends all connections and waits until
// nothing of the server runs.
func (s *Server) Close() error {
	var errs []error
	if s.http != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		if err := s.http.Shutdown(ctx); err != nil {
			errs = append(errs, s.http.Close())
		}
		cancel()
	}
	if s.stop != nil {
		s.stop()
	}
	s.all.Wait()
	if s.broker != nil {
		errs = append(errs, s.broker.Close())
	}
	if s.journal != nil {
		errs = append(errs, s.journal.close())
	}
	if s.temp != "" {
		errs = append(errs, os.RemoveAll(s.temp))
	}
	return errors.Join(errs...)
}

// tick lets things happen when they are due.
func (s *Server) tick(ctx context.Context) {
	for ctx.Err() == nil {
		next := live.Never
		s.broker.Do(func(time.Duration) {
			if due, ok := s.machine.cloud.NextWake(); ok {
				next = due.Sub(s.epoch)
			}
		})
		s.clock.Wait(ctx, next, s.kick)
	}
}

// wake makes tick look again.
func (s *Server) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// Settle implements live.Journal.
func (s *Server) Settle(now time.Time) {
	if s.journal != nil {
		s.journal.hold(true)
	}
	if s.machine.settle(now) {
		s.woke = true
	}
}

// Published implements live.Journal.
func (s *Server) Published(now time.Time, clientID, topic string, payload []byte, answers []cloud.Delivery) {
	if cloud.Changes(topic, answers) {
		s.note(&record{Time: now.UnixNano(), Client: clientID, Topic: topic, Body: payload})
	}
}

// Planned implements live.Journal. What was due, and whose consequences are kept in
// sessions, is noted as done: a start does not send them again.
func (s *Server) Planned(kept bool) {
	if kept && s.woke {
		s.note(&record{Time: s.machine.last.UnixNano()})
	}
	if s.journal != nil {
		s.journal.hold(false)
	}
}

// Retained implements live.Journal.
func (s *Server) Retained(topic string, m *live.Message) { keep(s, retainedBucket, topic, m) }

// Session implements live.Journal.
func (s *Server) Session(clientID string, k *live.Session) { keep(s, sessionsBucket, clientID, k) }

// Queued implements live.Journal.
func (s *Server) Queued(clientID string, number uint64, m *live.Message) {
	keep(s, queuesBucket, string(binary.BigEndian.AppendUint64(append([]byte(clientID), 0), number)), m)
}

// keep notes a value, or that there is none.
func keep[V any](s *Server, bucket []byte, key string, v *V) {
	switch {
	case s.journal == nil:
	case v == nil:
		s.journal.put(bucket, key, nil)
	default:
		s.journal.put(bucket, key, v)
	}
}

// Commit implements live.Journal.
func (s *Server) Commit() error {
	if s.journal == nil {
		return nil
	}
	return s.journal.commit()
}

// mux tells the requests about the server itself from those to the cloud. Those to
// the cloud are signed, so a bucket may have any name. stall is how long a client may
// take for a part of a body.
func (s *Server) mux(stall time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && r.Header.Get("Authorization") == "" && r.URL.RawQuery == "" {
			switch r.URL.Path {
			case "/healthz":
				s.health(w)
				return
			case "/metrics":
				s.metrics.handler().ServeHTTP(w, r)
				return
			}
		}
		begin := time.Now()
		c := &conversation{ReadCloser: r.Body, control: http.NewResponseController(w), stall: stall, end: begin.Add(requestTimeout)}
		a := &answer{ResponseWriter: w, conversation: c, status: http.StatusOK}
		r.Body = c
		s.api.ServeHTTP(a, r)
		s.metrics.observe(r.Method, a, time.Since(begin))
	})
}

// health answers 200 as long as what happens lasts.
func (s *Server) health(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	status := "ok"
	if s.journal != nil {
		select {
		case <-s.journal.failed:
			status = "the data directory cannot be written"
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]string{"status": status}) // the client is gone, or it has the answer
}

// Now implements api.Core.
func (s *Server) Now() time.Time { return s.epoch.Add(s.clock.Now()) }

// Do implements api.Core.
func (s *Server) Do(call *api.Call, f func(now time.Time, c *cloud.Cloud) error) error {
	var err error
	s.broker.Do(func(at time.Duration) {
		now := s.epoch.Add(at)
		s.machine.cloud.SetTime(now)
		if err = f(now, s.machine.cloud); err != nil || call.Reads() {
			return
		}
		s.note(&record{Time: now.UnixNano(), Service: call.Service, Method: call.Method, Target: call.Target, Header: call.Header, Body: call.Body})
	})
	s.wake()
	if lost := s.Commit(); lost != nil {
		return lost
	}
	return err
}

// note records a call that may have changed the cloud; the broker's lock is held.
func (s *Server) note(r *record) {
	s.machine.last = time.Unix(0, r.Time).UTC()
	s.woke = false
	if s.journal != nil {
		s.journal.append(*r)
	}
}
