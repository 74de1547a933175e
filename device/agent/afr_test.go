package agent

import (
	"fmt"
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

// TestTable2018 walks every pair of state and event of the 2018 profiles. A listed pair ends in its next state, in
// Ready once the file is closed, or where it was; any other pair changes nothing.
func TestTable2018(t *testing.T) {
	listed := 0
	for _, profile := range []*Profile{AFR140, AFR142} {
		for _, s := range []State{NotReady, Ready, Active} {
			for e := range eventCount {
				t.Run(fmt.Sprintf("%s/%v/%v", profile.Name, s, e), func(t *testing.T) {
					d := newDesk(profile, PlatformValid)
					switch s {
					case NotReady:
						d.a = New(&d.cfg, "dev", 0x10002)
					case Active:
						d.signal(ReceivedJobDocument, document())
					}
					require.Equal(t, s, d.a.View().State)
					d.log = nil
					before := d.a.View()
					row := profile.table()[s][e]
					d.signal(e, []byte("{}"))
					after := d.a.View()
					if row == nil {
						before.Stats, after.Stats = Statistics{}, Statistics{}
						require.Equal(t, before, after)
						require.Empty(t, d.log)
						return
					}
					listed++
					require.Contains(t, []State{s, row.next, Ready}, after.State)
					require.Equal(t, d.a.afr.open, after.State == Active)
					require.Zero(t, after.Queued)
				})
			}
		}
	}
	require.Equal(t, 2*len(afrTransitions), listed)
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
