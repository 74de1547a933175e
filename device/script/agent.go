package script

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/otasim/otasim/device/agent"
)

// Agent is the agent of one device on a model platform: one slot, a boot record, an MQTT session, buffers for messages.
// It implements agent.Port and checks what the agent asks of it. Calls never panic on any script.
type Agent struct {
	Violations []Violation // unexcused
	Excused    [len(Invariants) + 1]uint32
	Strict     bool   // nothing is excused
	Crashed    string // the program died of a defect: the profile's own; the script goes on with a restart

	a        agent.Agent
	cfg      agent.Config
	excuses  [len(Invariants) + 1]bool
	readings map[*byte]*agent.File // what documents say by themselves
	step     int

	// Persistent.
	version   uint32 // that runs
	platform  agent.PlatformState
	activated bool // the slot is recorded to start next
	older     uint32

	// RAM of the device, lost with power.
	resetting bool
	held      bool
	failNet   bool
	fail      [faultCount]bool
	armed     [2]bool
	testing   bool // the application has been asked for a verdict
	open      bool
	file      openFile
	verified  bool // the last file that was closed
	subs      []string
	streams   []string // whose blocks may be on their way: subscribed at some time since the start
	delivered []string // job ids
	ended     []string // jobs that got a terminal status
	mail      []mail   // messages with a buffer, the one being worked on first
	working   bool     // on the first one
	offering  bool     // the last one is being handed over
	leaked    int      // buffers that nobody will give back
	requests  uint32   // of blocks, since one was accepted
	last      []byte   // the latest block message
	asked     [2]uint32
	stream    string // that the latest block message came from
	fresh     bool   // the fresh job's file was created
	asks      bool   // a request for blocks went out since the last one
	offered   int    // the latest document, from 1; 0: none yet
}

// mail is a message with what the agent does not get to know.
type mail struct {
	data   []byte
	stream string
	job    string // of a document
	begun  bool
	first  uint32 // of the range that an HTTP body answers
}

type openFile struct {
	size    uint32
	id      uint32
	kind    uint32 // fileType
	stream  string
	written []bool
	count   uint32
	bytes   uint32
}

// Faults that strike once.
const (
	faultCreate = iota
	faultWrite
	faultClose
	faultState
	faultHeap
	faultCount
)

// slotSize of the model platform, trailer included: it takes 1024 blocks and the trailer.
const slotSize = 1024*blockSize + 80

const (
	thing        = "dev"
	firstVersion = 0x10002
)

// NewAgent returns an agent that has been started once, with limits small enough for short scripts to reach.
func NewAgent(p *agent.Profile) *Agent {
	r := &Agent{}
	r.Reset(p)
	return r
}

// Reset makes the agent anew without giving up memory.
func (r *Agent) Reset(p *agent.Profile) {
	known := struct {
		profile  *agent.Profile
		excuses  [len(Invariants) + 1]bool
		readings map[*byte]*agent.File
	}{r.cfg.Profile, r.excuses, r.readings}
	*r = Agent{Violations: r.Violations[:0], subs: r.subs[:0], streams: r.streams[:0], delivered: r.delivered[:0], ended: r.ended[:0], mail: r.mail[:0],
		file: openFile{written: r.file.written[:0]}}
	r.cfg = agent.DefaultConfig(p)
	r.cfg.Log2Block, r.cfg.MomentumLimit, r.cfg.StatusEvery, r.cfg.QueueLength, r.cfg.DataBuffers = blockLog2, 4, 3, 5, 3
	if r.excuses, r.readings = known.excuses, known.readings; known.profile != p {
		r.excuses, r.readings = excused(p), map[*byte]*agent.File{}
	}
	r.version, r.platform = firstVersion, agent.PlatformValid
	r.boot()
}

// Clone returns an independent copy: a fork of the life.
func (r *Agent) Clone() *Agent {
	c := *r
	c.a = r.a.CloneWith(&c.cfg)
	c.Violations, c.subs = slices.Clone(r.Violations), slices.Clone(r.subs)
	c.delivered, c.ended = slices.Clone(r.delivered), slices.Clone(r.ended)
	c.mail, c.streams = slices.Clone(r.mail), slices.Clone(r.streams)
	c.file.written = slices.Clone(r.file.written)
	return &c
}

// Play runs a whole script, and at its end asks for life (see Finish).
func (r *Agent) Play(data []byte) {
	for i := 0; i < len(data); i += 2 {
		r.Step(at(data, i))
	}
	r.Finish()
}

// View is the agent's observable state.
func (r *Agent) View() agent.View { return r.a.View() }

func (r *Agent) violate(n int, format string, args ...any) {
	if r.excuses[n] && !r.Strict {
		r.Excused[n]++
		return
	}
	if len(r.Violations) < 16 {
		r.Violations = append(r.Violations, Violation{r.step, n, fmt.Sprintf(format, args...)})
	}
}

// boot starts the program after a reset or a power cut. An image that was started once and not confirmed is given up.
func (r *Agent) boot() {
	switch {
	case r.activated:
		r.older, r.version = r.version, r.version+1
		r.activated, r.platform = false, agent.PlatformPendingCommit
	case r.platform == agent.PlatformPendingCommit || r.platform == agent.PlatformInvalid:
		r.version, r.platform = r.older, agent.PlatformValid
	}
	r.resetting, r.held, r.failNet, r.testing, r.open, r.verified = false, false, false, false, false, false
	r.fail, r.armed = [faultCount]bool{}, [2]bool{}
	r.subs, r.delivered, r.ended, r.mail, r.requests, r.leaked, r.streams = r.subs[:0], r.delivered[:0], r.ended[:0], r.mail[:0], 0, 0, r.streams[:0]
	r.file = openFile{written: r.file.written[:0]}
	r.last, r.Crashed = nil, ""
	r.a = agent.New(&r.cfg, thing, r.version)
	r.a.Initialise(r)
	r.a.Signal(r, agent.Start, nil)
	r.process()
}

func (r *Agent) process() {
	for !r.held && !r.resetting && r.a.Crash == "" && r.a.Pending() {
		r.working = r.a.NextIsMessage()
		n := len(r.mail)
		r.a.Process(r, 1)
		if r.working && len(r.mail) == n && n > 0 && !r.resetting {
			r.mail = slices.Delete(r.mail, 0, 1) // it was not given back
			r.leaked++
		}
	}
	r.working = false
	if r.a.Crash != "" {
		r.Crashed, r.resetting = r.a.Crash, true
	}
}

// Step does one step. A device that is restarting starts first.
func (r *Agent) Step(s Step) {
	if r.resetting {
		r.boot()
	}
	r.do(s)
	r.process()
	r.check()
	r.step++
}

func (r *Agent) do(s Step) {
	switch s.Op {
	case Doc:
		i := int(s.Arg) % len(Documents)
		r.offered = i + 1
		r.document(Documents[i], jobOf[i])
	case Next, Block:
		t := r.a.Transfer()
		index := t.Lowest + uint32(s.Arg)%4
		if s.Op == Block {
			index = uint32(s.Arg) % (min(t.Blocks, 1024) + 1)
		}
		r.stream = t.Stream
		r.block(t.File, index, t.Size)
	case Foreign:
		t := r.a.Transfer()
		if r.stream = t.Stream; s.Arg&1 != 0 {
			t.File++
		} else if len(r.streams) > 0 {
			r.stream = r.streams[int(s.Arg/2)%len(r.streams)]
		}
		r.block(t.File, t.Lowest, t.Size)
	case Damaged:
		t := r.a.Transfer()
		r.stream = t.Stream
		r.deliver(agent.ReceivedFileBlock, damaged(int(s.Arg)%len(Damages), t.File), "")
	case Again:
		if r.last != nil {
			r.deliver(agent.ReceivedFileBlock, r.last, "")
		}
	case Body:
		r.body(int(s.Arg) % 5)
	case Timer, Guard:
		if t := agent.Timer(s.Op - Timer); r.armed[t] {
			r.armed[t] = false
			r.a.Expired(r, t)
		}
	case Suspend:
		r.subs = r.subs[:0]
		r.a.SuspendAgent(r)
	case Resume:
		r.a.ResumeAgent(r)
	case Net:
		if r.failNet = s.Arg&1 != 0; r.failNet {
			r.subs = r.subs[:0] // the session is gone
		}
	case Fault:
		r.fail[int(s.Arg)%faultCount] = true
	case Verdict:
		if r.testing {
			r.testing = false
			r.a.SetImageState(r, agent.ImageAccepted+agent.ImageState(s.Arg&1))
		}
	case Abort:
		r.a.SetImageState(r, agent.ImageAborted)
	case Check:
		r.a.CheckForUpdate(r)
	case Shutdown:
		if st := r.a.View().State; st == agent.Stopped || st == agent.NotReady {
			r.a.Initialise(r)
			r.a.Signal(r, agent.Start, nil)
		} else {
			r.a.ShutdownAgent(r, s.Arg&1 != 0)
		}
	case Hold:
		r.held = s.Arg&1 != 0
	case Reboot:
		r.boot()
	}
}

func (r *Agent) document(doc []byte, job string) {
	if job != "" {
		if !slices.Contains(r.delivered, job) {
			r.delivered = append(r.delivered, job)
		}
	}
	r.deliver(agent.ReceivedJobDocument, doc, job)
}

// begins notes that the document in hand offers its job anew.
func (r *Agent) begins(m *mail) {
	if i := slices.Index(r.ended, m.job); i >= 0 && !m.begun {
		r.ended = slices.Delete(r.ended, i, i+1)
	}
	m.begun = true
}

func (r *Agent) block(id, index, size uint32) {
	if index < 1024 && (index+1)*blockSize <= size {
		r.last = wholeBlock(id, index)
	} else {
		rest := uint32(0)
		if index < 1<<20 && index*blockSize < size {
			rest = min(size-index*blockSize, blockSize)
		}
		r.last = blockMessage(id, index, rest, content(id, index, rest))
	}
	r.deliver(agent.ReceivedFileBlock, r.last, "")
}

// deliver hands a message over if there is a buffer, and if it is a block only of a stream the agent listens to.
func (r *Agent) deliver(id agent.EventID, data []byte, job string) {
	if data == nil {
		data = []byte{}
	}
	if len(r.mail)+r.leaked >= r.cfg.Buffers()+r.cfg.QueueLength {
		return
	}
	if id == agent.ReceivedFileBlock && (!slices.Contains(r.streams, r.stream) || !r.a.Receives(streamTopic(r.stream))) {
		return // the broker never sent it, or the device is not interested
	}
	r.mail = append(r.mail, mail{data: data, stream: r.stream, job: job})
	r.offering = true
	r.refused(len(r.mail), r.a.Signal(r, id, data))
}

// refused takes back the message behind the first n-1 if the agent did not take it; ok is what it said.
func (r *Agent) refused(n int, ok bool) {
	r.offering = false
	if ok || len(r.mail) < n {
		return // taken, or given back at once
	}
	r.mail = r.mail[:n-1]
	if !r.cfg.Profile.Task2018 {
		r.leaked++ // the MQTT client of 2018 keeps what the agent refuses
	}
}

// body answers the latest HTTP request.
func (r *Agent) body(kind int) {
	t := r.a.Transfer()
	if !t.HTTP || r.asked[1] < r.asked[0] || r.asked[1]-r.asked[0] >= blockSize {
		return
	}
	first, status, data := r.asked[0], 206, content(t.File, r.asked[0]/blockSize, r.asked[1]-r.asked[0]+1)
	switch kind {
	case 1:
		first, data = 0, content(t.File, 0, blockSize) // an answer that comes twice
	case 2:
		data = append(data, make([]byte, blockSize)...)
	case 3:
		status = 403
	case 4:
		status = 500
	}
	if status != 206 {
		r.a.HTTPResponse(r, status, first, nil)
		return
	}
	r.mail = append(r.mail, mail{data: data, stream: t.Stream, first: first})
	r.offering = true
	r.refused(len(r.mail), r.a.HTTPResponse(r, status, first, data))
}

// check holds the agent's state against the invariants. Those that allow for events under way wait until there are none.
func (r *Agent) check() {
	t, v := r.a.Transfer(), r.a.View()
	if t.Held && (t.Wanted != t.Remaining || t.Stray) && t.Remaining > 0 {
		r.violate(2, "%d bits, %d remaining, stray %v", t.Wanted, t.Remaining, t.Stray)
	}
	if v.Momentum > r.cfg.MomentumLimit {
		r.violate(13, "%d requests", v.Momentum)
	}
	if len(r.subs) > 4 {
		r.violate(24, "%v", r.subs)
	}
	if r.held || r.resetting || r.a.Pending() {
		return
	}
	if v.State == agent.NotReady {
		r.mail = r.mail[:0] // the MQTT client's buffers end with the task
	}
	if len(r.mail)+r.leaked != 0 {
		r.violate(16, "%d buffers are held, %d lost", len(r.mail), r.leaked)
		r.mail, r.leaked = r.mail[:0], 0
	}
	transfer := v.State == agent.WaitingForFileBlock || v.State == agent.Active && !t.Guarded
	if transfer && (v.Job == "" || !r.open || !t.Held && t.Remaining > 0) {
		r.violate(14, "job %q, file %v, bitmap %v", v.Job, r.open, t.Held)
	}
	if idle := v.State == agent.WaitingForJob || v.State == agent.Ready; idle && v.Job != "" && !r.open && !t.Testing {
		r.violate(15, "%v with job %q", v.State, v.Job)
	}
	request := r.armed[agent.TimerRequest]
	switch {
	case transfer && t.Remaining > 0 && !request:
		r.violate(17, "not armed in %v", v.State)
	case v.State == agent.RequestingJob && !request:
		r.violate(17, "not armed in %v", v.State)
	case request && (v.State == agent.Suspended || v.State == agent.Stopped || v.State == agent.NotReady || v.State == agent.WaitingForJob && r.cfg.Profile.DeafWhileWaiting && r.cfg.Profile.ForgetsAnswers):
		r.violate(17, "armed in %v", v.State)
	}
	guard, pending := r.armed[agent.TimerSelfTest], r.platform == agent.PlatformPendingCommit
	runs := v.State != agent.Suspended && v.State != agent.Stopped && v.State != agent.NotReady && v.State != agent.Init
	if guard && !pending || pending && runs && !guard {
		r.violate(18, "armed %v in %v, image pending %v", guard, v.State, pending)
	}
}

// streamTopic is where the blocks of a stream arrive.
func streamTopic(stream string) string {
	if topic, ok := streamTopics[stream]; ok {
		return topic
	}
	return "$aws/things/dev/streams/" + stream + "/data/cbor"
}

var streamTopics = map[string]string{}

func init() {
	for _, s := range []string{"", "s-1", "s-2", "s-3", "s-9", "s-fresh"} {
		streamTopics[s] = "$aws/things/dev/streams/" + s + "/data/cbor"
	}
}

func topicRest(topic string) string { return strings.TrimPrefix(topic, "$aws/things/dev/") }

func sameBytes(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || bytes.Equal(a, b))
}
