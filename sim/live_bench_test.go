//go:build unix

package sim

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud"
	"github.com/otasim/otasim/cloud/broker"
	"github.com/otasim/otasim/cloud/broker/rules"
	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/flashmodel/nvs"
	"github.com/otasim/otasim/sim/kernel"
	"github.com/otasim/otasim/sim/live"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// What the benchmark of live fleets updates: 256 KiB in blocks of 4 KiB, four in a
// request.
const (
	benchImage    = 256 << 10
	benchBlock    = 4 << 10
	benchRequests = 4
)

// BenchmarkLiveFleet updates OTASIM_BENCH_DEVICES paho devices (200) over mutual TLS
// by 256 KiB against the embedded broker, and has as many bare paho clients exchange
// the same messages with a bare mochi. Boards take ten times as little time as real
// ones and wait as long, so that it is this machine that limits both.
//
//	blocks/s, bare-blocks/s   from the first block until the last one
//	ratio                     of the two
//	cpu-us/block              processor time of everything in that time, by blocks
//	KiB/device                heap and stacks of device, client and session at most
//	handshakes/s              until all devices were connected for the first time
func BenchmarkLiveFleet(b *testing.B) {
	n := 200
	if v := os.Getenv("OTASIM_BENCH_DEVICES"); v != "" {
		var err error
		n, err = strconv.Atoi(v)
		require.NoError(b, err)
	}
	if need := uint64(2*n + 64); openFiles() < need {
		b.Fatalf("%d devices need %d open files, the limit is %d: raise it (ulimit -n)", n, need, openFiles())
	}
	for b.Loop() {
		ours := newBenchFleet(b, n)
		rate, memory, handshakes := ours.run(b)
		b.ReportMetric(float64(n), "devices")
		b.ReportMetric(rate, "blocks/s")
		b.ReportMetric(memory/1024, "KiB/device")
		b.ReportMetric(handshakes, "handshakes/s")
		bare, bareMemory, bareHandshakes := ours.bare(b)
		b.ReportMetric(bare, "bare-blocks/s")
		b.ReportMetric(bareMemory/1024, "bare-KiB/device")
		b.ReportMetric(bareHandshakes, "bare-handshakes/s")
		b.ReportMetric(rate/bare, "ratio")
		b.ReportMetric(float64(ours.meter.cpu.Microseconds())/float64(ours.meter.total), "cpu-us/block")
		b.ReportMetric(float64(ours.bareMeter.cpu.Microseconds())/float64(ours.bareMeter.total), "bare-cpu-us/block")
	}
}

// benchFleet is a fleet, the cloud in the same process, and the messages that are
// measured.
type benchFleet struct {
	n          int
	w          *external
	op         *operator
	broker     *live.Broker
	identities []nvs.Identity
	meter      meter
	bareMeter  meter
	sample     struct {
		sync.Mutex
		request, block []byte
	}
}

// meter counts blocks that arrive, and notes when the first and the last did.
type meter struct {
	blocks      atomic.Int64
	first, last atomic.Int64
	start       time.Time
	cpu0, cpu   time.Duration // of the process at the first block, and from then to the last one
	total       int64
}

func (m *meter) block() {
	now := int64(time.Since(m.start))
	n := m.blocks.Add(1)
	if n == 1 {
		m.first.Store(now)
		m.cpu0 = cpuTime()
	}
	m.last.Store(now)
	if n == m.total {
		m.cpu = cpuTime() - m.cpu0
	}
}

// cpuTime is what the process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (m *meter) rate() float64 {
	return float64(m.blocks.Load()-1) / time.Duration(m.last.Load()-m.first.Load()).Seconds()
}

// said and heard make it a watcher.
func (f *benchFleet) said(u *unit, op *device.NetOp) {
	if op.Kind == device.OpPublish && strings.HasSuffix(op.Topic, "/get/cbor") && f.meter.blocks.Load() == 0 {
		f.sample.Lock()
		f.sample.request = op.Payload
		f.sample.Unlock()
	}
	f.w.said(u, op)
}

func (f *benchFleet) heard(u *unit, ev *device.Event) {
	if ev.Kind == device.Message && strings.HasSuffix(ev.Topic, "/data/cbor") {
		if f.meter.block(); len(f.sample.block) == 0 {
			f.sample.Lock()
			f.sample.block = ev.Payload
			f.sample.Unlock()
		}
	}
	f.w.heard(u, ev)
}

func newBenchFleet(b *testing.B, n int) *benchFleet {
	f := &benchFleet{n: n}
	cfg := FleetOptions{Device: scenario.DefaultDevice(), Updates: 1, Timeout: live.Speed * 20 * time.Minute, speed: live.Speed}
	cfg.Device.Otaconfig = scenario.Otaconfig{MaxNumBlocksRequest: benchRequests, FileRequestWait: live.Speed * 30 * time.Second, SelfTestResponseWait: live.Speed * 30 * time.Second}
	cfg.Things = make([]string, n)
	sc, err := fleetScenario(&cfg)
	require.NoError(b, err)
	sc.Cloud = scenario.Cloud{Region: "us-east-1", Account: "123456789012", Quotas: "unlimited"}
	sc.Firmware = append(sc.Firmware, scenario.Firmware{Version: "1.1.0", Size: benchImage, SelfTest: scenario.SelfTestPass, Target: "esp32"})
	sc.Updates = []scenario.Update{{OTAUpdateID: "v2", Firmware: "1.1.0", Targets: []string{"fleet"}, Protocols: []string{"MQTT"}, TargetSelection: "SNAPSHOT",
		Trigger: scenario.Trigger{HasAt: true, At: 1 << 62}}}
	seed := kernel.Seed(1)
	plan, err := newFleetPlan(sc, seed)
	require.NoError(b, err)
	for i := range cfg.Things {
		cfg.Things[i] = plan.things[i].name
	}
	f.op, err = newOperator(sc, seed, plan, nil, func(c *cloud.Config) {
		c.External, c.Switches.Broker = true, broker.Switches{ConnectCode: rules.NotAuthorized}
	})
	require.NoError(b, err)
	f.identities, err = f.op.enroll(n)
	require.NoError(b, err)
	clock := live.NewClock()
	b.Cleanup(clock.Close)
	runtime.GC()
	baseline := memoryInUse()
	f.broker, err = live.NewBroker(f.op.cloud, clock, Epoch, func() {})
	require.NoError(b, err)
	f.w, err = newFleetAt(live.Endpoint{Address: f.broker.Address(), Host: f.op.cloud.Host(), Epoch: Epoch, Clock: clock}, cfg, f.identities)
	require.NoError(b, err)
	f.w.baseline = baseline
	for _, u := range f.w.units {
		u.watch = f
	}
	return f
}

// run updates the fleet.
func (f *benchFleet) run(b *testing.B) (rate, memory, handshakes float64) {
	f.meter.start, f.meter.total = time.Now(), int64(f.n*benchImage/benchBlock)
	var connected, offered time.Duration
	f.w.cfg.Progress = func(p report.Progress) {
		if connected == 0 && p.Connected == f.n {
			connected = time.Since(f.meter.start)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var director sync.WaitGroup
	director.Go(func() {
		for ctx.Err() == nil {
			all := f.broker.Connections() == f.n
			f.broker.Do(func(now time.Duration) {
				f.op.cloud.Wake(Epoch.Add(now))
				f.op.run(now)
				if offered == 0 && all {
					offered = now
					require.NoError(b, f.op.create(now, &f.op.sc.Updates[0]))
				}
			})
			time.Sleep(10 * time.Millisecond)
		}
	})
	f.w.run(context.Background())
	cancel()
	director.Wait()
	res := f.w.result()
	require.NoError(b, f.broker.Close())
	require.Equal(b, report.VerdictPass, res.Verdict, "%+v %v", res.Assertions, res.Notes)
	require.Equal(b, map[string]int{"1.1.0": f.n}, res.Fleet.OnVersion)
	require.EqualValues(b, f.n*benchImage/benchBlock, f.meter.blocks.Load(), "a block was sent twice: somebody waited too long")
	require.Zero(b, f.broker.Dropped())
	b.Logf("all of it took %.1f s, %d connects", res.WallSeconds, res.Traffic.Connects)
	return f.meter.rate(), float64(res.Memory.BytesPerDevice), float64(f.n) / connected.Seconds()
}

// bareHook answers requests for blocks and lets everybody do everything.
type bareHook struct {
	mqtt.HookBase
	server *mqtt.Server
	block  []byte
}

func (h *bareHook) ID() string { return "bare" }

func (h *bareHook) Provides(what byte) bool {
	return what == mqtt.OnConnectAuthenticate || what == mqtt.OnACLCheck || what == mqtt.OnPublish
}

func (h *bareHook) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }
func (h *bareHook) OnACLCheck(*mqtt.Client, string, bool) bool              { return true }

func (h *bareHook) OnPublish(_ *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if topic, ok := strings.CutSuffix(pk.TopicName, "/get/cbor"); ok {
		for range benchRequests {
			if err := h.server.Publish(topic+"/data/cbor", h.block, false, 0); err != nil {
				return pk, err
			}
		}
	}
	return pk, nil
}

// bare has clients without devices exchange the same messages with a broker without a
// cloud.
func (f *benchFleet) bare(b *testing.B) (rate, memory, handshakes float64) {
	f.w = nil
	runtime.GC()
	baseline := memoryInUse()
	c := f.op.cloud
	chain, key, err := c.PKI().Server(c.Host())
	require.NoError(b, err)
	caps := mqtt.NewDefaultServerCapabilities()
	caps.MaximumClientWritesPending = 1024 // as the embedded broker
	server := mqtt.New(&mqtt.Options{Capabilities: caps, InlineClient: true, Logger: slog.New(slog.DiscardHandler), ClientNetWriteBufferSize: 1024, ClientNetReadBufferSize: 1024})
	require.NoError(b, server.AddHook(&bareHook{server: server, block: f.sample.block}, nil))
	listener := listeners.NewTCP(listeners.Config{ID: "bare", Address: "127.0.0.1:0", TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{{Certificate: chain, PrivateKey: key}}, ClientAuth: tls.RequireAnyClientCert,
		CurvePreferences: []tls.CurveID{tls.CurveP256}, MinVersion: tls.VersionTLS12, SessionTicketsDisabled: true}})
	require.NoError(b, server.AddListener(listener))
	require.NoError(b, server.Serve())
	defer func() { require.NoError(b, server.Close()) }()

	roots := x509.NewCertPool()
	require.True(b, roots.AppendCertsFromPEM(f.op.root))
	m := &f.bareMeter
	m.start, m.total = time.Now(), int64(f.n*benchImage/benchBlock)
	var up, done sync.WaitGroup
	begin := make(chan struct{})
	for i := range f.n {
		id := &f.identities[i]
		up.Add(1)
		done.Go(func() {
			c := bareClient{f: f, address: listener.Address(), roots: roots, id: id, meter: m, left: benchImage / benchBlock, all: make(chan struct{})}
			client, err := c.connect()
			if err != nil {
				b.Error(err)
			}
			up.Done()
			<-begin
			client.Publish(c.topic("/get/cbor"), 0, false, f.sample.request)
			<-c.all
			for range 2 { // as a device that starts its update, and again when it has confirmed it
				client.Disconnect(100)
				if client, err = c.connect(); err != nil {
					b.Error(err)
				}
			}
			client.Disconnect(100)
		})
	}
	up.Wait()
	connected := time.Since(m.start)
	close(begin)
	peak := memoryInUse()
	over := make(chan struct{})
	go func() { done.Wait(); close(over) }()
	for ended := false; !ended; {
		select {
		case <-over:
			ended = true
		case <-time.After(50 * time.Millisecond):
			peak = max(peak, memoryInUse())
		}
	}
	require.EqualValues(b, f.n*benchImage/benchBlock, m.blocks.Load())
	return m.rate(), float64(peak-baseline) / float64(f.n), float64(f.n) / connected.Seconds()
}

// bareClient is one client without a device.
type bareClient struct {
	f       *benchFleet
	address string
	roots   *x509.CertPool
	id      *nvs.Identity
	meter   *meter
	left    int
	all     chan struct{} // closed when every block was here
}

func (c *bareClient) topic(end string) string { return "streams/" + c.id.ThingName + end }

func (c *bareClient) connect() (paho.Client, error) {
	pair, err := tls.X509KeyPair(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.id.Certificate}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: c.id.Key}))
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: c.roots, Certificates: []tls.Certificate{pair}, ServerName: c.f.op.cloud.Host(), CurvePreferences: []tls.CurveID{tls.CurveP256},
		MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, Time: func() time.Time { return Epoch }}
	o := paho.NewClientOptions().AddBroker("tls://" + c.address).SetClientID(c.id.ThingName).SetProtocolVersion(4).SetAutoReconnect(false).
		SetKeepAlive(time.Minute).SetConnectTimeout(time.Minute)
	o.SetCustomOpenConnectionFn(func(*url.URL, paho.ClientOptions) (net.Conn, error) { return tls.Dial("tcp", c.address, config) })
	client := paho.NewClient(o)
	if err := wait(client.Connect()); err != nil {
		return nil, err
	}
	return client, wait(client.Subscribe(c.topic("/data/cbor"), 0, func(client paho.Client, _ paho.Message) {
		c.meter.block()
		if c.left--; c.left == 0 {
			close(c.all)
		} else if c.left%benchRequests == 0 {
			client.Publish(c.topic("/get/cbor"), 0, false, c.f.sample.request)
		}
	}))
}

func wait(t paho.Token) error {
	if !t.WaitTimeout(5 * time.Minute) {
		return errors.New("no answer")
	}
	return t.Error()
}
