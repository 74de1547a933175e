package device

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/device/bootloader"
	"github.com/otasim/otasim/device/firmware"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/nvs"
	"github.com/otasim/otasim/flashmodel/otadata"
	"github.com/otasim/otasim/flashmodel/partition"
)

const testTable = "partitions_two_ota_large.csv"

var signingKey, signingCert = newSigner()

func newSigner() (*ecdsa.PrivateKey, []byte) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "signer"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return key, der
}

func sign(file []byte) []byte {
	sum := sha256.Sum256(file)
	sig, err := signingKey.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		panic(err)
	}
	return sig
}

func build(t testing.TB, version string, secure, size uint32) []byte {
	file, err := image.Build(image.Spec{Version: version, Project: "lamp", SecureVersion: secure, Size: size, Seed: 7})
	require.NoError(t, err)
	return file
}

// factory makes a chip as it leaves production: table, one confirmed image in ota_0, identity.
func factory(t testing.TB, st *flashmodel.Store, thing string, app []byte) *flashmodel.Flash {
	chip, _ := flashmodel.ChipByName("4MB")
	f := flashmodel.New(st, chip)
	table, err := partition.Builtin(testTable)
	require.NoError(t, err)
	raw, err := table.Encode(true)
	require.NoError(t, err)
	require.NoError(t, f.Load(partition.DefaultOffset, raw))
	slot, ok := table.FindFirst(partition.TypeApp, partition.SubtypeOTA)
	require.True(t, ok)
	require.NoError(t, f.Load(slot.Offset, app))
	data, ok := table.FindFirst(partition.TypeData, partition.SubtypeOTAData)
	require.True(t, ok)
	record := otadata.Make(1, otadata.Valid).Encode()
	require.NoError(t, f.Load(data.Offset, record[:]))
	store, ok := table.FindFirst(partition.TypeData, partition.SubtypeNVS)
	require.True(t, ok)
	id := nvs.Identity{ThingName: thing, Certificate: []byte("certificate"), Key: []byte("key"), CA: []byte("root"), CodeSigner: signingCert}
	cells, err := id.Generate(int(store.Size))
	require.NoError(t, err)
	require.NoError(t, f.Load(store.Offset, cells))
	return f
}

// testCloud is the other side, as plain functions: one job for one device.
type testCloud struct {
	thing    string
	job      string // "" when there is none
	file     []byte
	sig      []byte
	certfile string
	status   string
	details  string // statusDetails as the device last wrote them
	terminal bool
	blocks   [][]byte // encoded once, as the stream service does
	history  []string
	refuse   bool // connects are refused
	mute     bool // nothing is answered, connects time out
	path     string
	fileType int
	tail     string // the end of the documents, once one was made
}

func (c *testCloud) document() []byte {
	if c.job == "" || c.terminal {
		return []byte(`{"clientToken":"0:x","timestamp":1}`)
	}
	if c.tail == "" {
		c.tail = c.files()
	}
	doc := append(make([]byte, 0, 128+len(c.job)+len(c.details)+len(c.tail)), `{"clientToken":"0:x","timestamp":1,"execution":{"jobId":"`...)
	doc = append(append(append(append(doc, c.job...), `","status":"`...), c.status...), `",`...)
	if c.details != "" {
		doc = append(append(append(doc, `"statusDetails":`...), c.details...), ',')
	}
	return append(doc, c.tail...)
}

// files is the part of a document that does not change with the job's status.
func (c *testCloud) files() string {
	return fmt.Sprintf(`"jobDocument":{"afr_ota":{"protocols":["MQTT"],"streamname":"s-1","files":[{"filepath":"/%s","fileType":%d,"filesize":%d,"fileid":0,"certfile":%q,"sig-sha256-ecdsa":%q}]}}}}`,
		strings.TrimPrefix(c.path, "/"), c.fileType, len(c.file), c.certfile, base64.StdEncoding.EncodeToString(c.sig))
}

func appendCBOR(b []byte, major byte, v int) []byte {
	switch {
	case v < 24:
		return append(b, major<<5|byte(v))
	case v < 256:
		return append(b, major<<5|24, byte(v))
	default:
		return append(b, major<<5|25, byte(v>>8), byte(v))
	}
}

func (c *testCloud) block(index, size int) []byte {
	data := c.file[index*size : min((index+1)*size, len(c.file))]
	b := appendCBOR([]byte{0xa4, 0x61, 'f', 0, 0x61, 'i'}, 0, index)
	b = appendCBOR(append(b, 0x61, 'l'), 0, len(data))
	return append(appendCBOR(append(b, 0x61, 'p'), 2, len(data)), data...)
}

// answer appends what comes back for an operation.
func (c *testCloud) answer(out []Event, op NetOp) []Event {
	if c.mute {
		if op.Kind == OpConnect {
			out = append(out, Event{Kind: ConnectFailed, Err: "timeout"})
		}
		return out
	}
	switch op.Kind {
	case OpConnect:
		if c.refuse {
			return append(out, Event{Kind: ConnectFailed, Err: "refused"})
		}
		return append(out, Event{Kind: Connected})
	case OpSubscribe, OpUnsubscribe:
		return append(out, Event{Kind: Acked, ID: op.ID})
	case OpPublish:
		if op.QoS > 0 {
			out = append(out, Event{Kind: Acked, ID: op.ID})
		}
		base := "$aws/things/" + c.thing
		if !strings.HasPrefix(op.Topic, base) {
			return out
		}
		switch topic := op.Topic[len(base):]; {
		case topic == "/jobs/$next/get":
			out = append(out, Event{Kind: Message, Topic: base + "/jobs/$next/get/accepted", Payload: c.document()})
		case topic == "/streams/s-1/get/cbor":
			data := base + "/streams/s-1/data/cbor"
			l := op.Payload[bytes.Index(op.Payload, []byte("\x61l"))+3:]
			if size := int(l[0])<<8 | int(l[1]); c.blocks == nil {
				for i := range (len(c.file) + size - 1) / size {
					c.blocks = append(c.blocks, c.block(i, size))
				}
			}
			one := bytes.Contains(op.Payload, []byte("\x61n\x01"))
			for i, block := range c.blocks {
				if requested(op.Payload, i) {
					out = append(out, Event{Kind: Message, Topic: data, Payload: block})
					if one {
						break
					}
				}
			}
		case !c.terminal && strings.TrimSuffix(strings.TrimPrefix(topic, "/jobs/"), "/update") == c.job && strings.HasSuffix(topic, "/update"):
			text := string(op.Payload)
			status, _, _ := strings.Cut(strings.TrimPrefix(text, `{"status":"`), `"`)
			c.status = status
			c.details = text[strings.Index(text, `"statusDetails":`)+16 : len(text)-1]
			c.terminal = status == "SUCCEEDED" || status == "FAILED"
			c.history = append(c.history, status+" "+c.details)
		}
	}
	return out
}

// requested reads the bitmap of a stream request.
func requested(request []byte, index int) bool {
	at := bytes.Index(request, []byte("\x61b")) + 2
	n, head := int(request[at]&31), 1
	if n == 24 {
		n, head = int(request[at+1]), 2
	}
	bitmap := request[at+head : at+head+n]
	return bitmap[index/8]&(1<<(index%8)) != 0
}

// bench drives one device against the cloud until nothing happens any more.
type bench struct {
	t     testing.TB
	d     *Device
	cloud *testCloud
	now   time.Duration
	queue []Event
	lost  int
	off   time.Duration // how long power stays off after a cut
	eyes  *witness      // nil: nobody looks
}

func (b *bench) step(ev Event) {
	b.now = max(b.now, b.d.BusyUntil())
	if flashmodel.LosesPower(func() { b.d.Step(b.now, ev) }) {
		b.lost++
		for _, op := range b.d.Ops() {
			if op.Kind == OpPublish {
				b.cloud.answer(nil, op) // it had left before
			}
		}
		b.d.PowerOff()
		b.queue = nil
		b.d.Flash().SetCutAt(0)
		b.now = b.d.BusyUntil() + b.off
		b.step(Event{Kind: PowerOn})
		return
	}
	ops := b.d.Ops()
	if b.eyes != nil {
		b.eyes.stepped(ops)
	}
	for _, op := range ops {
		if op.Kind == OpConnect {
			b.queue = nil
		}
		b.queue = b.cloud.answer(b.queue, op)
	}
}

// run steps until the deadline or until quiet: idle, nothing queued, no timer.
func (b *bench) run(limit time.Duration) {
	for steps := 0; ; steps++ {
		if steps > 100_000 {
			require.Fail(b.t, "endless")
		}
		if len(b.queue) > 0 {
			ev := b.queue[0]
			b.queue = b.queue[1:]
			b.now += 20 * time.Millisecond
			b.step(ev)
			continue
		}
		at, ok := b.d.NextWake()
		if !ok || at > limit {
			return
		}
		b.now = max(b.now, at)
		b.step(Event{Kind: Wake})
	}
}

func newBench(t testing.TB, flash *flashmodel.Flash, cloud *testCloud, catalogue *firmware.Catalogue, hooks *Hooks) *bench {
	cfg := Config{Thing: cloud.thing, Flash: flash, Agent: agent.DefaultConfig(agent.Ideal), Catalogue: catalogue, Hooks: hooks,
		Bootloader: bootloader.Config{Kind: bootloader.AFR2022, Rollback: true, AntiRollback: true, FlashSize: 4 << 20}}
	return &bench{t: t, d: New(cfg), cloud: cloud, off: 10 * time.Second}
}

// golden compares with a file in testdata; UPDATE=1 writes it.
func golden(t *testing.T, name, got string) {
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") != "" {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

func TestWholeUpdate(t *testing.T) {
	st := flashmodel.NewStore()
	old, next := build(t, "1.0.0", 1, 100_000), build(t, "1.1.0", 2, 150_000)
	cloud := &testCloud{thing: "lamp-1", job: "AFR_OTA-1", file: next, sig: sign(next), certfile: LabelCodeSigner, status: "QUEUED"}
	var lines []string
	hooks := &Hooks{Trace: func(_ *Device, _ time.Duration, line func() string) { lines = append(lines, line()) }}
	b := newBench(t, factory(t, st, cloud.thing, old), cloud, nil, hooks)
	b.step(Event{Kind: PowerOn})
	b.run(time.Hour)
	golden(t, "update.log", strings.Join(lines, "\n")+"\n")
	running, ok := b.d.Running()
	require.True(t, ok)
	require.Equal(t, "1.1.0", running.Version)
	require.Equal(t, "ota_1", running.Slot.Label)
	require.Equal(t, PhaseIdle, b.d.Phase())
	require.Equal(t, []string{
		`IN_PROGRESS {"receive":"1/37"}`,
		`IN_PROGRESS {"self_test":"ready","updatedBy":"0x01000000"}`,
		`IN_PROGRESS {"self_test":"active","updatedBy":"0x01010000"}`,
		`SUCCEEDED {"reason":"accepted  v1.1.0","updatedBy":"  v1.0.0"}`,
	}, cloud.history)
}

// TestUnconfirmed walks through every way in which a new image does not make it.
func TestUnconfirmed(t *testing.T) {
	for _, c := range []struct {
		name     string
		test     firmware.SelfTest
		duration time.Duration
		edit     func(cloud *testCloud)
		version  string
		history  []string // last entries
		bricked  bool
	}{
		{name: "fail", test: firmware.Fail, duration: 5 * time.Second, history: []string{`FAILED {"reason":"rejected: 0x00000000"}`}},
		{name: "fail at once", test: firmware.Fail, history: []string{`FAILED {"reason":"rejected: 0x00000000"}`}},
		{name: "crash", test: firmware.Crash, duration: time.Second, history: []string{
			`IN_PROGRESS {"self_test":"active","updatedBy":"0x01010000"}`, `FAILED {"reason":"rejected: 0x0000000f"}`}},
		{name: "hang", test: firmware.Hang, duration: time.Second, history: []string{
			`IN_PROGRESS {"self_test":"active","updatedBy":"0x01010000"}`, `FAILED {"reason":"rejected: 0x0000000f"}`}},
		{name: "too slow for the guard", test: firmware.Pass, duration: 17 * time.Second, history: []string{
			`FAILED {"reason":"rejected: 0x0000000f"}`}},
		{name: "same version", edit: func(c *testCloud) { c.file = build(t, "1.0.0", 2, 150_000); c.sig = sign(c.file) },
			history: []string{`FAILED {"reason":"rejected: 0x00000010"}`}},
		{name: "byte changed after signing", edit: func(c *testCloud) { c.file = append([]byte(nil), c.file...); c.file[5000] ^= 1 },
			history: []string{`FAILED {"reason":"0x000000e3: 0x00000000"}`}},
		{name: "no signature", edit: func(c *testCloud) { c.sig = []byte{1} }, history: []string{`FAILED {"reason":"0x000000e3: 0x00000000"}`}},
		{name: "signer unknown and none compiled in", edit: func(c *testCloud) { c.certfile = "other" },
			history: []string{`FAILED {"reason":"0x000000e3: 0x00000000"}`}},
		{name: "signed but no image", edit: func(c *testCloud) { c.file = make([]byte, 9000); c.sig = sign(c.file) },
			history: []string{`IN_PROGRESS {"self_test":"ready","updatedBy":"0x01000000"}`, `FAILED {"reason":"rejected: 0x00000010"}`}},
		{name: "older secure version", edit: func(c *testCloud) { c.file = build(t, "1.2.0", 0, 150_000); c.sig = sign(c.file) },
			history: []string{`FAILED {"reason":"rejected: 0x00000010"}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := flashmodel.NewStore()
			old, next := build(t, "1.0.0", 1, 100_000), build(t, "1.1.0", 2, 150_000)
			cloud := &testCloud{thing: "lamp-1", job: "AFR_OTA-1", file: next, sig: sign(next), certfile: LabelCodeSigner, status: "QUEUED"}
			catalogue := &firmware.Catalogue{}
			require.NoError(t, catalogue.Add(next, firmware.Behaviour{SelfTest: c.test, Duration: c.duration}))
			if c.edit != nil {
				c.edit(cloud)
			}
			b := newBench(t, factory(t, st, cloud.thing, old), cloud, catalogue, nil)
			// The old image has been confirmed under secure version 1.
			fuse := b.d.EFuse()
			fuse.BurnSecureVersion(1, 32)
			b.d.fuse = fuse
			b.step(Event{Kind: PowerOn})
			b.run(time.Hour)
			running, ok := b.d.Running()
			require.True(t, ok)
			require.Equal(t, "1.0.0", running.Version)
			require.Equal(t, "ota_0", running.Slot.Label)
			require.Equal(t, PhaseIdle, b.d.Phase())
			require.GreaterOrEqual(t, len(cloud.history), len(c.history))
			require.Equal(t, c.history, cloud.history[len(cloud.history)-len(c.history):])
			require.EqualValues(t, 1, func() uint32 { e := b.d.EFuse(); return e.SecureVersion(32) }())
		})
	}
}

// TestPowerCutsAtEveryPoint loses power at each named point, before it and in the flash command that follows, and once
// more in the middle of what comes next. Whatever is left must start, and the fleet must end with a terminal status
// that names what runs.
func TestPowerCutsAtEveryPoint(t *testing.T) {
	st := flashmodel.NewStore()
	old, next := build(t, "1.0.0", 1, 100_000), build(t, "1.1.0", 2, 150_000)
	sig := sign(next)
	for _, p := range Points() {
		if p == PointDataProgram {
			continue // not a point of a firmware update: TestPowerCutInData
		}
		for _, delay := range []time.Duration{0, time.Microsecond, 40 * time.Millisecond, 300 * time.Millisecond, 2 * time.Second} {
			t.Run(fmt.Sprintf("%v+%v", p, delay), func(t *testing.T) {
				cloud := &testCloud{thing: "lamp-1", job: "AFR_OTA-1", file: next, sig: sig, certfile: LabelCodeSigner, status: "QUEUED"}
				cut := false
				seen := 0
				hooks := &Hooks{Point: func(d *Device, now time.Duration, at Point, arg int) {
					if seen++; at == p && !cut && (seen > 3 || p != PointBoot) {
						cut = true
						d.Flash().SetCutAt(max(now+delay, 1))
					}
				}}
				b := newBench(t, factory(t, st, cloud.thing, old), cloud, nil, hooks)
				b.step(Event{Kind: PowerOn})
				b.run(time.Hour)
				require.True(t, cut, "the point was never reached")
				require.Equal(t, 1, b.lost)
				running, ok := b.d.Running()
				require.True(t, ok, "nothing runs")
				require.True(t, cloud.terminal, "history %v", cloud.history)
				require.NotEqual(t, PhaseBricked, b.d.Phase())
				if cloud.status == "SUCCEEDED" {
					require.Equal(t, "1.1.0", running.Version, "%v", cloud.history)
				} else {
					require.Equal(t, "1.0.0", running.Version, "%v", cloud.history)
				}
			})
		}
	}
}
