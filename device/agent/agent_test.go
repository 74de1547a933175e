package agent

import (
	"fmt"
	"math/bits"
	"strings"
	"testing"
)

// fake is a port whose calls all succeed, with a small file system: one slot that remembers which blocks were written.
type fake struct {
	cfg       Config
	platform  PlatformState
	failNet   bool
	failPAL   bool
	refuse    bool // the signature
	open      bool
	size      uint32
	written   map[uint32]bool
	armed     [2]bool
	log       []string
	testing   bool
	resets    int
	activated int
	closed    int
	verdicts  []string // terminal statuses by job since boot
	problems  []string
	unsubs    []string
	processed int
}

func (p *fake) say(format string, args ...any) { p.log = append(p.log, fmt.Sprintf(format, args...)) }
func (p *fake) problem(format string, args ...any) {
	p.problems = append(p.problems, fmt.Sprintf(format, args...))
}
func (p *fake) Subscribe(byte, string) bool { return !p.failNet }
func (p *fake) Unsubscribe(_ byte, topic string) bool {
	p.unsubs = append(p.unsubs, topic)
	return !p.failNet
}
func (p *fake) Publish(qos byte, topic string, payload []byte) bool {
	if strings.Contains(topic, "/jobs/") && strings.HasSuffix(topic, "/update") {
		job := strings.TrimSuffix(topic[strings.Index(topic, "/jobs/")+6:], "/update")
		text := string(payload)
		if job == "" {
			p.problem("status for an empty job id: %s", text)
		}
		terminal := strings.Contains(text, "SUCCEEDED") || strings.Contains(text, "FAILED")
		for _, ended := range p.verdicts {
			if ended == job && strings.Contains(text, `"receive"`) {
				p.problem("progress of job %s after its end: %s", job, text)
			}
		}
		if terminal && !p.failNet {
			p.verdicts = append(p.verdicts, job)
		}
		p.say("status %s %s", job, text)
	}
	if strings.HasSuffix(topic, "/get/cbor") && len(payload) > requestBufferSize {
		p.problem("request of %d bytes", len(payload))
	}
	return !p.failNet
}
func (p *fake) HTTPInit(Text) bool              { return !p.failNet }
func (p *fake) HTTPRequest(uint32, uint32) bool { return !p.failNet }
func (p *fake) HTTPDeinit()                     {}
func (p *fake) StartTimer(t Timer, _ uint32) bool {
	p.armed[t] = true
	return true
}
func (p *fake) StopTimer(t Timer)   { p.armed[t] = false }
func (p *fake) DeleteTimer(t Timer) { p.armed[t] = false }
func (p *fake) CreateFile(f *File) PALStatus {
	if p.failPAL {
		return PALFileCreate
	}
	p.open, p.size, p.written = true, f.Size, map[uint32]bool{}
	p.verdicts = nil // the next execution may be of the same job
	return 0
}
func (p *fake) WriteBlock(_ *File, offset uint32, data []byte) int {
	switch {
	case !p.open:
		p.problem("write without a file")
	case p.written[offset]:
		p.problem("block at %d written twice", offset)
	case offset+uint32(len(data)) > p.size:
		p.problem("write behind the end: %d+%d of %d", offset, len(data), p.size)
	}
	if p.failPAL {
		return -1
	}
	p.written[offset] = true
	return len(data)
}
func (p *fake) CloseFile(f *File) PALStatus {
	if want := blocksOf(p.size, &p.cfg); uint32(len(p.written)) != want || f.Size != p.size {
		p.problem("file of %d blocks closed with %d", want, len(p.written))
	}
	p.closed++
	if p.failPAL || p.refuse {
		return PALSignature
	}
	return 0
}
func (p *fake) AbortFile(*File) PALStatus { p.open = false; return 0 }
func (p *fake) ActivateImage(*File) PALStatus {
	if p.closed == 0 {
		p.problem("activated without a verified file")
	}
	p.activated++
	return 0
}
func (p *fake) ResetDevice(*File) PALStatus { p.resets++; return 0 }
func (p *fake) SetPlatformState(_ *File, s ImageState) PALStatus {
	if p.failPAL {
		return PALCommitFailed
	}
	if p.platform == PlatformPendingCommit && s != ImageTesting {
		p.platform = PlatformValid
		if s != ImageAccepted {
			p.platform = PlatformInvalid
		}
	}
	return 0
}
func (p *fake) PlatformState() PlatformState { return p.platform }
func (p *fake) Callback(a *Agent, c Callback, _ Info) CustomStatus {
	switch c {
	case CallbackActivate:
		a.Activate(p)
	case CallbackStartTest:
		p.testing = true
	case CallbackProcessed:
		p.processed++
	}
	return CustomStatus{}
}
func (p *fake) QueueFull(EventID) {}
func (p *fake) Alloc(n int) bool  { return n <= 96<<10 }

// scriptDocs are the documents a script can deliver.
var scriptDocs = [][]byte{
	document(), document("AFR_OTA-1", "other"), document("300", "40000"), document("300", "0"), document("300", "4294967295"),
	document(`["MQTT"]`, `["XYZ"]`), document(`["MQTT"]`, `["HTTP"]`), document(`"status":"QUEUED"`, `"statusDetails":{"self_test":"ready","updatedBy":"0x1"}`),
	document(`"status":"QUEUED"`, `"statusDetails":{"self_test":"active","updatedBy":"0x10002"}`),
	document("Bg==", "Bh=="), []byte(`{"clientToken":"1","timestamp":1}`), []byte(`{"timestamp":1}`), []byte(`{"execution":{"jobId":"x","jobDocument":{}}}`),
	document("AFR_OTA-1", strings.Repeat("J", 73)), document("300", "20000", "s-1", "s-2"), []byte("garbage"),
}

// play turns bytes into an event script, two bytes a step; every input is a script. It returns what went wrong.
func play(profile *Profile, script []byte) []string {
	p := &fake{cfg: DefaultConfig(profile), platform: PlatformValid, written: map[uint32]bool{}}
	p.cfg.MomentumLimit, p.cfg.StatusEvery, p.cfg.QueueLength = 4, 3, 5
	a := New(&p.cfg, "dev", 0x10002)
	a.Initialise(p)
	a.Signal(p, Start, nil)
	for i := 0; i+1 < len(script) && a.Crash == ""; i += 2 {
		arg := script[i+1]
		if p.resets > 0 && script[i]%16 != 15 {
			continue // the chip is restarting
		}
		switch script[i] % 16 {
		case 0, 1, 2:
			a.Signal(p, ReceivedJobDocument, scriptDocs[int(arg)%len(scriptDocs)])
		case 3, 4, 5, 6:
			if a.state != WaitingForFileBlock && !a.afr.open || len(a.file.bitmap) == 0 {
				a.Signal(p, ReceivedFileBlock, []byte{0xa0})
				break
			}
			index := uint32(arg) % (blocksOf(a.file.Size, &p.cfg) + 1)
			size := min(p.cfg.BlockSize(), a.file.Size-min(a.file.Size, index*p.cfg.BlockSize()))
			msg := appendInt([]byte{0xa4, 0x61, 'f', 0, 0x61, 'i'}, int32(index))
			msg = appendInt(append(msg, 0x61, 'l'), int32(size))
			a.Signal(p, ReceivedFileBlock, append(appendHead(append(msg, 0x61, 'p'), 2, size), make([]byte, size)...))
		case 7, 8:
			if p.armed[TimerRequest] {
				p.armed[TimerRequest] = false
				a.Expired(p, TimerRequest)
			}
		case 9:
			if p.armed[TimerSelfTest] {
				p.armed[TimerSelfTest] = false
				a.Expired(p, TimerSelfTest)
			}
		case 10:
			a.SuspendAgent(p)
		case 11:
			a.ResumeAgent(p)
		case 12:
			p.failNet = arg&1 != 0
			p.failPAL = arg&6 == 6
		case 13:
			if p.testing {
				p.testing = false
				a.SetImageState(p, ImageAccepted+ImageState(arg&1))
			}
		case 14:
			a.SetImageState(p, ImageAborted)
		case 15:
			p.platform = PlatformState(arg&1) + PlatformPendingCommit
			p.resets, p.verdicts, p.closed, p.testing, p.open, p.armed = 0, nil, 0, false, false, [2]bool{}
			a = New(&p.cfg, "dev", 0x10002)
			a.Initialise(p)
			a.Signal(p, Start, nil)
		}
		limit := -1
		if arg > 250 {
			limit = 0
		}
		a.Process(p, limit)
		p.invariants(&a)
	}
	return p.problems
}

// invariants holds at every point where the agent rests.
func (p *fake) invariants(a *Agent) {
	wanted := 0
	for _, b := range a.file.bitmap {
		wanted += bits.OnesCount8(b)
	}
	switch {
	case a.file.bitmap != nil && a.file.Remaining > 0 && uint32(wanted) != a.file.Remaining:
		p.problem("%d bits wanted, %d blocks remaining", wanted, a.file.Remaining)
	case a.momentum > a.cfg.MomentumLimit:
		p.problem("momentum %d", a.momentum)
	case len(a.queue) > a.cfg.QueueLength:
		p.problem("%d events queued", len(a.queue))
	case a.state == WaitingForFileBlock && a.job == "" && len(a.queue) == 0:
		p.problem("a transfer without a job")
	case a.state == Suspended && p.armed[TimerRequest] && len(a.queue) == 0:
		p.problem("request timer armed while suspended")
	}
}

// FuzzScript drives every profile through any sequence of events. None may break the machine; the ideal profile has to
// keep every invariant as well.
func FuzzScript(f *testing.F) {
	f.Add([]byte{0, 0, 3, 0, 13, 0})
	f.Add([]byte{15, 0, 0, 7, 13, 0, 0, 8})
	f.Add([]byte{0, 2, 3, 0, 3, 1, 10, 0, 11, 0, 0, 2, 3, 2, 7, 0, 7, 0, 7, 0, 7, 0, 7, 0})
	f.Add([]byte{12, 1, 11, 0, 7, 0, 7, 0, 7, 0, 7, 0, 7, 0, 12, 0, 7, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 200 {
			script = script[:200]
		}
		for _, profile := range Profiles {
			problems := play(profile, script)
			if profile == Ideal && len(problems) > 0 {
				t.Fatalf("%x: %v", script, problems)
			}
		}
	})
}

// BenchmarkSteps measures the agent alone: events processed a second, one block and one request each.
func BenchmarkSteps(b *testing.B) {
	p := &quiet{fake{cfg: DefaultConfig(Ideal), platform: PlatformValid}}
	msg := appendInt([]byte{0xa4, 0x61, 'f', 0, 0x61, 'i'}, 0)
	msg = appendInt(append(msg, 0x61, 'l'), 4096)
	msg = append(appendHead(append(msg, 0x61, 'p'), 2, 4096), make([]byte, 4096)...)
	doc := document("300", "4000000")
	a := New(&p.cfg, "dev", 1)
	a.Initialise(p)
	a.Signal(p, Start, nil)
	a.Process(p, -1)
	a.Signal(p, ReceivedJobDocument, doc)
	a.Process(p, -1)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N / 2 {
		// The same block again and again: it stays wanted.
		a.file.bitmap[0] |= 1
		a.file.Remaining = 900
		a.Signal(p, ReceivedFileBlock, msg)
		a.Process(p, -1) // the block, then the request it triggers
	}
	if a.state != WaitingForFileBlock {
		b.Fatal(a.state)
	}
}

// quiet is a port that does nothing.
type quiet struct{ fake }

func (p *quiet) Publish(byte, string, []byte) bool             { return true }
func (p *quiet) WriteBlock(_ *File, _ uint32, data []byte) int { return len(data) }
func (p *quiet) Callback(*Agent, Callback, Info) CustomStatus  { return CustomStatus{} }
