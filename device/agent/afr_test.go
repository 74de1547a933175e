package agent

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// without returns a row of v1.4.0 with one defect taken out.
func without(defect func(p *Profile)) *Profile {
	p := *AFR140
	p.Name = "afr-v1.4.0 mended"
	defect(&p)
	return &p
}

// desk is a 2018 agent on a fake port.
type desk struct {
	*fake
	a Agent
}

func newDesk(p *Profile, platform PlatformState) *desk {
	d := &desk{fake: &fake{cfg: DefaultConfig(p), platform: platform, written: map[uint32]bool{}}}
	d.cfg.Log2Block = 8
	d.a = New(&d.cfg, "dev", 0x10002)
	d.a.Initialise(d)
	d.signal(Start, nil)
	return d
}

func (d *desk) signal(id EventID, data []byte) {
	d.a.Signal(d, id, data)
	d.a.Process(d, -1)
}

func (d *desk) block(index, size uint32) {
	d.signal(ReceivedFileBlock, blockOf(index, size, int(size)))
}

func blockOf(index, size uint32, payload int) []byte {
	msg := appendInt([]byte{0xa4, 0x61, 'f', 0, 0x61, 'i'}, int32(index))
	msg = appendInt(append(msg, 0x61, 'l'), int32(size))
	return append(appendHead(append(msg, 0x61, 'p'), 2, uint32(payload)), make([]byte, payload)...)
}

func (d *desk) expire(t Timer) {
	if d.armed[t] {
		d.armed[t] = false
		d.a.Expired(d, t)
		d.a.Process(d, -1)
	}
}

func (d *desk) count(text string) int {
	n := 0
	for _, line := range d.log {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// The tables of 2018, as their documentation of behaviour has them: what an agent does in a state with an input, and the state
// it is in then. The job is AFR_OTA-1, its file has three blocks and none is here; the image that runs is confirmed unless the
// input is on trial. Requests are repeated after four in vain. What is not listed changes nothing: the state stays, and of a
// message only the buffer is given back.
const table2018 = `
NotReady | Start                   | Ready    | sub jobs/$next/get/accepted, sub jobs/notify-next, pub jobs/$next/get
NotReady | Start without network   | NotReady | sub jobs/$next/get/accepted
NotReady | Start on trial          | Ready    | sub jobs/$next/get/accepted, sub jobs/notify-next, start self-test, pub jobs/$next/get
Ready    | job                     | Active   | sub streams/s-1/data/cbor, start request, create
Ready    | job, no slot            | Ready    | sub streams/s-1/data/cbor, start request, create, image aborted, pub FAILED, stop request, unsub streams/s-1/data/cbor, abort file
Ready    | job of the older image on trial | Ready | image testing, pub IN_PROGRESS, unsub streams/s-1/data/cbor, abort file, start self-test, tell StartTest
Ready    | job of the older image  | Ready    | image testing, pub IN_PROGRESS, unsub streams/s-1/data/cbor, abort file, image rejected, pub FAILED, reset
Ready    | job of a newer image    | Ready    | image rejected, pub FAILED, reset, unsub streams/s-1/data/cbor, abort file
Ready    | bad document with a job | Ready    | pub FAILED, abort file
Ready    | bad document            | Ready    | abort file
Ready    | no job                  | Ready    | abort file
Ready    | Shutdown                | NotReady | unsub jobs/notify-next, unsub jobs/$next/get/accepted, abort file
Active   | job                     | Ready    | stop request, unsub streams/s-1/data/cbor, abort file, unsub streams/s-1/data/cbor, abort file
Active   | another job             | Ready    | stop request, unsub streams/s-1/data/cbor, abort file, pub FAILED, unsub streams/s-1/data/cbor, abort file
Active   | no job                  | Ready    | stop request, unsub streams/s-1/data/cbor, abort file, abort file
Active   | bad document            | Ready    | stop request, unsub streams/s-1/data/cbor, abort file, abort file
Active   | block                   | Active   | start request, write, pub IN_PROGRESS
Active   | last block              | Ready    | start request, write, stop request, pub IN_PROGRESS, stop request, unsub streams/s-1/data/cbor, abort file, tell Activate
Active   | last block, bad signature | Ready  | start request, write, stop request, image rejected, pub FAILED, stop request, unsub streams/s-1/data/cbor, abort file, tell Fail
Active   | bad block               | Ready    | start request, image rejected, pub FAILED, stop request, unsub streams/s-1/data/cbor, abort file, tell Fail
Active   | RequestTimer            | Active   | pub streams/s-1/get/cbor, start request
Active   | RequestTimer without network | Active | pub streams/s-1/get/cbor
Active   | RequestTimer, the fifth | Ready    | image aborted, pub FAILED, stop request, unsub streams/s-1/data/cbor, abort file
Active   | UserAbort               | Ready    | image aborted, pub FAILED, stop request, unsub streams/s-1/data/cbor, abort file
Active   | Shutdown                | NotReady | unsub jobs/notify-next, unsub jobs/$next/get/accepted, stop request, unsub streams/s-1/data/cbor, abort file
`

// inputs2018 makes the inputs of the table that are more than an event.
var inputs2018 = map[string]func(p *scribe, a *Agent) message{
	"Start":                        func(*scribe, *Agent) message { return message{id: Start} },
	"Start without network":        func(p *scribe, _ *Agent) message { p.failNet = true; return message{id: Start} },
	"Start on trial":               func(p *scribe, _ *Agent) message { p.platform = PlatformPendingCommit; return message{id: Start} },
	"Shutdown":                     func(*scribe, *Agent) message { return message{id: Shutdown} },
	"UserAbort":                    func(*scribe, *Agent) message { return message{id: UserAbort} },
	"RequestTimer":                 func(*scribe, *Agent) message { return message{id: RequestTimer} },
	"RequestTimer without network": func(p *scribe, _ *Agent) message { p.failNet = true; return message{id: RequestTimer} },
	"RequestTimer, the fifth":      func(_ *scribe, a *Agent) message { a.momentum = 4; return message{id: RequestTimer} },
	"job":                          func(*scribe, *Agent) message { return jobMessage(document("300", "600")) },
	"job, no slot":                 func(p *scribe, _ *Agent) message { p.failPAL = true; return jobMessage(document("300", "600")) },
	"another job":                  func(*scribe, *Agent) message { return jobMessage(document("AFR_OTA-1", "AFR_OTA-2")) },
	"no job":                       func(*scribe, *Agent) message { return jobMessage([]byte(`{"clientToken":"0:dev","timestamp":1}`)) },
	"bad document":                 func(*scribe, *Agent) message { return jobMessage([]byte("{}")) },
	"bad document with a job": func(*scribe, *Agent) message {
		return jobMessage([]byte(`{"execution":{"jobId":"x","jobDocument":{"reboot":true}}}`))
	},
	"job of the older image on trial": func(p *scribe, _ *Agent) message {
		p.platform = PlatformPendingCommit
		return jobMessage(document(`"status":"QUEUED"`, `"statusDetails":{"self_test":"ready","updatedBy":"0x10001"}`))
	},
	"job of the older image": func(*scribe, *Agent) message {
		return jobMessage(document(`"status":"QUEUED"`, `"statusDetails":{"self_test":"ready","updatedBy":"0x10001"}`))
	},
	"job of a newer image": func(*scribe, *Agent) message {
		return jobMessage(document(`"status":"QUEUED"`, `"statusDetails":{"self_test":"ready","updatedBy":"0x10003"}`))
	},
	"block":     func(*scribe, *Agent) message { return message{id: ReceivedFileBlock, data: blockOf(0, 256, 256)} },
	"bad block": func(*scribe, *Agent) message { return message{id: ReceivedFileBlock, data: []byte{0x80}} },
	"last block": func(p *scribe, a *Agent) message {
		p.written, a.file.bitmap[0], a.file.Remaining = map[uint32]bool{256: true, 512: true}, 1, 1
		return message{id: ReceivedFileBlock, data: blockOf(0, 256, 256)}
	},
	"last block, bad signature": func(p *scribe, a *Agent) message {
		p.written, p.refuse, a.file.bitmap[0], a.file.Remaining = map[uint32]bool{256: true, 512: true}, true, 1, 1
		return message{id: ReceivedFileBlock, data: blockOf(0, 256, 256)}
	},
}

func jobMessage(doc []byte) message { return message{id: ReceivedJobDocument, data: doc} }

// at2018 is an agent in a state.
func at2018(profile *Profile, s State) (*scribe, *Agent) {
	p := &scribe{fake: fake{cfg: DefaultConfig(profile), platform: PlatformValid, written: map[uint32]bool{}}}
	p.cfg.Log2Block, p.cfg.MomentumLimit, p.cfg.StatusEvery = 8, 4, 1
	a := New(&p.cfg, "dev", 0x10002)
	a.Initialise(p)
	if s != NotReady {
		a.Signal(p, Start, nil)
		a.Process(p, -1)
	}
	if s == Active {
		a.Signal(p, ReceivedJobDocument, document("300", "600"))
		a.Process(p, -1)
	}
	p.did = nil
	return p, &a
}

func play2018(p *scribe, a *Agent, m message) outcome {
	a.Signal(p, m.id, m.data)
	a.Process(p, -1)
	return outcome{a.state.String(), strings.Join(p.did, ", ")}
}

// TestTable2018 holds both releases of 2018 against the table, and walks every pair of state and event that it does not list.
func TestTable2018(t *testing.T) {
	for _, profile := range []*Profile{AFR140, AFR142} {
		listed := map[string]bool{}
		for line := range strings.SplitSeq(strings.TrimSpace(table2018), "\n") {
			c := cut(line)
			state := map[string]State{"NotReady": NotReady, "Ready": Ready, "Active": Active}[c[0]]
			p, a := at2018(profile, state)
			require.Equal(t, state, a.state)
			m := inputs2018[c[1]](p, a)
			listed[c[0]+"/"+m.id.String()] = true
			want := outcome{c[2], c[3]}
			if m.data != nil {
				want.did += ", tell Processed"
			}
			require.Equal(t, want, play2018(p, a, m), "%s %s", profile.Name, line)
		}
		for _, s := range []State{NotReady, Ready, Active} {
			for e := range eventCount {
				if listed[s.String()+"/"+e.String()] {
					continue
				}
				p, a := at2018(profile, s)
				m, want := message{id: e}, outcome{next: s.String()}
				if e == ReceivedJobDocument || e == ReceivedFileBlock {
					if m.data = blockOf(0, 256, 256); s != NotReady {
						want.did = "tell Processed"
					}
				}
				before := a.View()
				require.Equal(t, want, play2018(p, a, m), "%s %v %v", profile.Name, s, e)
				after := a.View()
				before.Stats, after.Stats = Statistics{}, Statistics{}
				require.Equal(t, before, after, "%s %v %v", profile.Name, s, e)
			}
		}
	}
}

// TestKnownBugs2018 shows each defect of v1.4.0, its absence in a row without it, and in the ideal profile.
func TestKnownBugs2018(t *testing.T) {
	other := document("AFR_OTA-1", "AFR_OTA-2")
	accepts := func(d *desk, doc []byte) bool {
		d.signal(ReceivedJobDocument, doc)
		return d.open
	}
	for _, c := range []struct {
		name   string
		mended *Profile
		// damage reports whether the agent of a profile came to harm.
		damage func(p *Profile) bool
	}{
		{"B1 a repeated job message ends the transfer for good", without(func(p *Profile) { p.JobMessageCloses = false }), func(p *Profile) bool {
			d := newDesk(p, PlatformValid)
			for range 3 {
				d.signal(ReceivedJobDocument, document())
			}
			return !d.open // even though it was offered once more
		}},
		{"B2 a lost stream request stops the transfer", without(func(p *Profile) { p.StallsOnLostRequest = false }), func(p *Profile) bool {
			d := newDesk(p, PlatformValid)
			d.signal(ReceivedJobDocument, document())
			d.failNet = true
			d.expire(TimerRequest)
			return !d.armed[TimerRequest]
		}},
		{"B3 a failed subscription leaves the job active and other jobs unwanted", without(func(p *Profile) { p.KeepsFailedJob = false }), func(p *Profile) bool {
			d := newDesk(p, PlatformValid)
			d.failNet = true
			d.signal(ReceivedJobDocument, document())
			d.failNet = false
			if d.a.View().State == CreatingFile {
				d.expire(TimerRequest)
				return d.a.View().State != WaitingForFileBlock
			}
			return !accepts(d, other)
		}},
		{"B4 a job during the trial erases the older firmware", AFR142, func(p *Profile) bool {
			d := newDesk(p, PlatformPendingCommit)
			d.signal(ReceivedJobDocument, document())
			return d.open && d.resets == 0
		}},
		{"B5 a duplicate block repeats the progress", without(func(p *Profile) { p.DuplicateProgress = false }), func(p *Profile) bool {
			d := newDesk(p, PlatformValid)
			d.cfg.StatusEvery = 1
			d.signal(ReceivedJobDocument, document("300", "600"))
			d.block(0, 256)
			n := d.count(`"receive":"1/3"`)
			d.block(0, 256)
			return d.count(`"receive":"1/3"`) > n
		}},
		{"B6 the client token of an earlier document decides", without(func(p *Profile) { p.TokenDangles = false }), func(p *Profile) bool {
			d := newDesk(p, PlatformValid)
			d.signal(ReceivedJobDocument, []byte(`{"clientToken":"5:dev","execution":{}}`))
			d.signal(ReceivedJobDocument, document(`"clientToken":"0:dev",`, ``, `"status":"QUEUED"`, `"statusDetails":{"self_test":"ready","updatedBy":"0x10002"}`))
			return d.resets > 0 && d.count("rejected") == 0
		}},
		{"B7 a lost get-next is not repeated", without(func(p *Profile) { p.AsksOnce = false }), func(p *Profile) bool {
			d := &desk{fake: &fake{cfg: DefaultConfig(p), platform: PlatformValid, written: map[uint32]bool{}}}
			d.a = New(&d.cfg, "dev", 1)
			d.a.Initialise(d)
			if p.Task2018 {
				d.signal(Start, nil) // the answer gets lost
			} else {
				d.failNet = true
				d.signal(Start, nil)
				d.failNet = false
			}
			asked := d.a.requests
			d.expire(TimerRequest)
			return d.a.requests == asked
		}},
		{"B10 a job of another kind is FAILED", without(func(p *Profile) { p.FailsForeignJobs = false }), func(p *Profile) bool {
			d := newDesk(p, PlatformValid)
			d.signal(ReceivedJobDocument, []byte(`{"execution":{"jobId":"x","jobDocument":{"reboot":true}}}`))
			return d.count("FAILED") > 0
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.True(t, c.damage(AFR140), "afr-v1.4.0")
			require.False(t, c.damage(c.mended), "without the defect")
			require.False(t, c.damage(Ideal), "ideal")
		})
	}
}

// In v1.4.2 the trial's guard holds until the image is accepted: blocks and jobs do nothing, then the timer resets.
func TestGuard142(t *testing.T) {
	d := newDesk(AFR142, PlatformPendingCommit)
	d.signal(ReceivedJobDocument, document())
	require.Equal(t, Active, d.a.View().State)
	require.False(t, d.open)
	d.block(0, 256)
	d.expire(TimerRequest)
	require.Empty(t, d.written)
	d.expire(TimerSelfTest)
	require.Equal(t, 1, d.resets)

	d = newDesk(AFR142, PlatformPendingCommit)
	d.signal(ReceivedJobDocument, document(`"status":"QUEUED"`, `"statusDetails":{"self_test":"ready","updatedBy":"0x10001"}`))
	require.True(t, d.testing)
	require.Equal(t, ErrNone, d.a.SetImageState(d, ImageAccepted))
	require.Equal(t, 1, d.count("SUCCEEDED"))
	require.False(t, d.armed[TimerSelfTest])
	d.signal(ReceivedJobDocument, document())
	require.True(t, d.open)

	// A verdict that comes after such a job leaves the agent busy with nothing.
	honest, err := AFR142.With(map[string]bool{"guardPretends": false})
	require.NoError(t, err)
	for p, want := range map[*Profile]State{AFR142: Active, honest: Ready} {
		d = newDesk(p, PlatformPendingCommit)
		d.signal(ReceivedJobDocument, document())
		require.False(t, d.open)
		d.a.SetImageState(d, ImageAccepted)
		require.Equal(t, want, d.a.View().State)
		d.signal(ReceivedJobDocument, document("AFR_OTA-1", "AFR_OTA-2"))
		require.True(t, d.open, "the next job ends that")
	}
}

// A whole update with the texts of v1.4.0.
func TestUpdate2018(t *testing.T) {
	d := newDesk(AFR140, PlatformValid)
	d.signal(ReceivedJobDocument, document("300", "600"))
	d.expire(TimerRequest)
	for i, size := range []uint32{256, 256, 88} {
		d.block(uint32(i), size)
	}
	require.Equal(t, 1, d.activated)
	require.Equal(t, `status AFR_OTA-1 {"status":"IN_PROGRESS","statusDetails":{"self_test":"ready","updatedBy":"0x10002"}}`, d.log[len(d.log)-1])
	require.Equal(t, Ready, d.a.View().State)
	require.Empty(t, d.a.View().Job)
	require.Empty(t, d.problems)
}

func TestPlatformCodes2018(t *testing.T) {
	require.Equal(t, PALStatus(0x14000007), (PALFileTooLarge | 7).Of2018())
	require.Equal(t, afrSignatureCheckFailed, PALSignature.Of2018())
	for s := range codes2018 {
		require.NotZero(t, s.Of2018().Main())
	}
}

// The message queue holds six; bits that are set twice count once.
func TestQueueAndBits2018(t *testing.T) {
	d := newDesk(AFR140, PlatformValid)
	d.signal(ReceivedJobDocument, document("300", "20000"))
	for i := range uint32(8) {
		require.Equal(t, i < 6, d.a.Signal(d, ReceivedFileBlock, blockOf(i, 256, 256)))
	}
	require.Equal(t, 6, d.a.View().Queued)
	d.a.Process(d, -1)
	require.Equal(t, Statistics{Received: 9, Queued: 7, Processed: 7, Dropped: 2}, d.a.View().Stats)
	require.Len(t, d.written, 6)
	d.a.Signal(d, RequestTimer, nil)
	d.a.Signal(d, RequestTimer, nil)
	d.a.Process(d, -1)
	require.EqualValues(t, 1, d.a.View().Momentum)
	// Abort comes before the blocks that were queued before it.
	d.a.Signal(d, ReceivedFileBlock, blockOf(9, 256, 256))
	d.a.SetImageState(d, ImageAborted)
	d.a.Process(d, -1)
	require.Len(t, d.written, 6)
	require.Equal(t, Ready, d.a.View().State)
}

// A silent cloud is given up after 32 requests; the agent goes on.
func TestMomentum2018(t *testing.T) {
	d := newDesk(AFR140, PlatformValid)
	d.signal(ReceivedJobDocument, document())
	for range 32 {
		d.expire(TimerRequest)
		require.Equal(t, Active, d.a.View().State)
	}
	d.expire(TimerRequest)
	require.Equal(t, 1, d.count(`"FAILED","statusDetails":{"reason":"aborted: 0x21000020"}`))
	require.Equal(t, Ready, d.a.View().State)
	d.signal(ReceivedJobDocument, document("AFR_OTA-1", "AFR_OTA-2"))
	require.Equal(t, Active, d.a.View().State)
}

func TestTokenize(t *testing.T) {
	for _, c := range []struct {
		text string
		want string // kind and text of each token, or "bad"
	}{
		{`{"a":1,"b":[true,"x"],"c":{}}`, `{{"a":1,"b":[true,"x"],"c":{}} "a -1 "b [[true,"x"] -true "x "c {{}`},
		{``, ``},
		{`{"a":"\u00e9\n"}`, `{{"a":"\u00e9\n"} "a "\u00e9\n`},
		{`{"a":"\x"}`, "bad"},
		{`{"a":"\u00g0"}`, "bad"},
		{`{"a":1`, "bad"},
		{`{"a":[1}`, "bad"},
		{`}`, "bad"},
		{`{1:2}`, "bad"},
		{`{"a":1 2}`, "bad"},
		{`{"a":x}`, "bad"},
		{`12`, "bad"},
		{`{"a":1}` + "\x00garbage", `{{"a":1} "a -1`},
	} {
		tokens, ok := tokenize(nil, []byte(c.text), maxTokens)
		got := "bad"
		if ok {
			var words []string
			for _, k := range tokens {
				words = append(words, string(`?{["-`[k.kind])+c.text[k.start:k.end])
			}
			got = strings.Join(words, " ")
		}
		require.Equal(t, c.want, got, c.text)
	}
	many := "[" + strings.Repeat("1,", maxTokens-1) + "1]"
	_, ok := tokenize(nil, []byte(many), maxTokens)
	require.False(t, ok, "65 tokens")
	_, ok = tokenize(nil, []byte(strings.Replace(many, "1,", "", 1)), maxTokens)
	require.True(t, ok, "64 tokens")
}

func TestBase64Blocks(t *testing.T) {
	for _, c := range []struct {
		in, out string
		ok      bool
	}{
		{"Zm9vYmFy", "foobar", true}, {"Zm9vYmE=", "fooba", true}, {"Zm9vYg==", "foob", true}, {"Zm9vYg", "foo", true},
		{"", "", true}, {"Zm9v\r\nYmFy", "foobar", true}, {"Zm9vYmFy  ", "foobar", true}, {"Zm9v YmFy", "", false},
		{"=AAA", "", false}, {"A===", "", false}, {"Zm9v-_-_", "", false}, {"Zm9v\rYmFy", "", false},
	} {
		out, ok := decodeBase64Blocks([]byte(c.in), 256)
		require.Equal(t, c.ok, ok, c.in)
		require.Equal(t, c.out, string(out), c.in)
	}
	_, ok := decodeBase64Blocks([]byte(strings.Repeat("AAAA", 86)), 256)
	require.False(t, ok, "258 bytes")
}

func FuzzDocument2018(f *testing.F) {
	f.Add(document())
	f.Add(document(`300,`, `"0x10000",`))
	f.Add([]byte(`{"clientToken":"1","timestamp":1}`))
	f.Add([]byte(`{"jobId":"files","files":[{"filesize":5}]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		tokens, ok := tokenize(nil, doc, maxTokens)
		if ok && len(tokens) > maxTokens {
			t.Fatal("too many tokens")
		}
		for i, k := range tokens {
			if k.start < 0 || k.end < k.start || k.end > len(doc) || k.parent >= i {
				t.Fatalf("token %d: %+v", i, k)
			}
		}
		if len(doc) > 4096 {
			return
		}
		d := newDesk(AFR140, PlatformValid)
		d.signal(ReceivedJobDocument, doc)
		if d.a.afr.open && !d.a.afr.hasJob || len(d.a.file.Signature) > 256 {
			t.Fatalf("%+v", d.a.View())
		}
	})
}
