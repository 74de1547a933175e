package script

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/otasim/otasim/device/agent"
)

// Subscribe implements agent.Port.
func (r *Agent) Subscribe(_ byte, topic string) bool {
	if r.failNet || r.resetting {
		return false
	}
	if !slices.Contains(r.subs, topic) {
		r.subs = append(r.subs, topic)
	}
	if stream, ok := strings.CutPrefix(topicRest(topic), "streams/"); ok {
		r.requests = 0 // the cloud offered the job once more: the transfer starts or goes on
		if stream = strings.TrimSuffix(stream, "/data/cbor"); !slices.Contains(r.streams, stream) {
			r.streams = append(r.streams, stream)
		}
	}
	return true
}

// Unsubscribe implements agent.Port.
func (r *Agent) Unsubscribe(_ byte, topic string) bool {
	if r.failNet || r.resetting {
		return false
	}
	if i := slices.Index(r.subs, topic); i >= 0 {
		r.subs = slices.Delete(r.subs, i, i+1)
	}
	return true
}

// Publish implements agent.Port.
func (r *Agent) Publish(_ byte, topic string, payload []byte) bool {
	if r.resetting {
		return false
	}
	rest := topicRest(topic)
	if job, ok := strings.CutPrefix(rest, "jobs/"); ok && strings.HasSuffix(rest, "/update") {
		r.status(job[:len(job)-len("/update")], payload)
	} else if strings.HasSuffix(rest, "/get/cbor") {
		r.request()
		r.asks = r.asks || !r.failNet
		if len(payload) > 384 {
			r.violate(20, "%d bytes", len(payload))
		}
	}
	return !r.failNet
}

func (r *Agent) request() {
	if r.requests++; r.requests > r.cfg.MomentumLimit+1 {
		r.violate(13, "%d requests without a block", r.requests)
	}
}

var statusStart = `{"status":"`

// status checks a job status update.
func (r *Agent) status(job string, payload []byte) {
	if !slices.Contains(r.delivered, job) {
		r.violate(9, "%q: %s", job, payload)
		return
	}
	if len(payload) <= len(statusStart) {
		return
	}
	if r.working && len(r.mail) > 0 && r.mail[0].job == job {
		r.begins(&r.mail[0])
	}
	r.versions(payload)
	switch payload[len(statusStart)] {
	case 'S', 'F':
		if slices.Contains(r.ended, job) {
			r.violate(10, "%s once more: %s", job, payload)
		} else if !r.failNet {
			r.ended = append(r.ended, job)
		}
		if payload[len(statusStart)] == 'S' && r.platform != agent.PlatformValid && !r.aboutFile() {
			r.violate(11, "%s while the image is not confirmed", payload)
		}
	default:
		if slices.Contains(r.ended, job) {
			r.violate(10, "%s ended and goes on: %s", job, payload)
		}
	}
}

// aboutFile reports whether SUCCEEDED now means a file that is no firmware: it was verified, and no image is started for it.
func (r *Agent) aboutFile() bool { return r.file.kind != 0 && r.verified }

// versions checks what a status says of the version that runs: the updatedBy of self_test, and the version of an accepted
// image. A file that is no firmware is accepted with its type in the place of a version.
func (r *Agent) versions(payload []byte) {
	if payload[len(statusStart)] == 'I' {
		_, rest, ok := bytes.Cut(payload, selfTestBy)
		if !ok {
			return // progress
		}
		text, _, _ := bytes.Cut(rest, quote)
		if v, err := strconv.ParseUint(string(text), 0, 32); err != nil || uint32(v) != r.version {
			r.violate(12, "%s, but %#x runs", payload, r.version)
		}
		return
	}
	if _, rest, ok := bytes.Cut(payload, accepted); ok && !r.aboutFile() {
		text, _, _ := bytes.Cut(bytes.TrimLeft(rest, " v"), quote)
		var room [16]byte
		want := strconv.AppendUint(room[:0], uint64(r.version>>24), 10)
		want = strconv.AppendUint(append(want, '.'), uint64(r.version>>16&0xff), 10)
		want = strconv.AppendUint(append(want, '.'), uint64(r.version&0xffff), 10)
		if !bytes.Equal(text, want) {
			r.violate(12, "%s, but %s runs", payload, want)
		}
	}
}

var (
	selfTestBy = []byte(`","updatedBy":"`)
	accepted   = []byte(`"reason":"accepted `)
	quote      = []byte(`"`)
)

// HTTPInit implements agent.Port.
func (r *Agent) HTTPInit(agent.Text) bool {
	r.requests = 0
	return !r.failNet && !r.resetting
}

// HTTPRequest implements agent.Port.
func (r *Agent) HTTPRequest(first, last uint32) bool {
	r.request()
	r.asked = [2]uint32{first, last}
	return !r.failNet && !r.resetting
}

// HTTPDeinit implements agent.Port.
func (r *Agent) HTTPDeinit() { r.asked = [2]uint32{1, 0} }

// StartTimer implements agent.Port.
func (r *Agent) StartTimer(t agent.Timer, _ uint32) bool {
	r.armed[t] = true
	return true
}

// StopTimer implements agent.Port.
func (r *Agent) StopTimer(t agent.Timer) { r.armed[t] = false }

// DeleteTimer implements agent.Port.
func (r *Agent) DeleteTimer(t agent.Timer) { r.armed[t] = false }

// fails reports whether a planned fault strikes.
func (r *Agent) fails(fault int) bool {
	strikes := r.fail[fault]
	r.fail[fault] = false
	return strikes
}

func (r *Agent) code(s agent.PALStatus) agent.PALStatus {
	if r.cfg.Profile.Task2018 {
		return s.Of2018()
	}
	return s
}

// CreateFile implements agent.Port.
func (r *Agent) CreateFile(f *agent.File) agent.PALStatus {
	if r.resetting {
		return r.code(agent.PALFileCreate)
	}
	if r.platform == agent.PlatformPendingCommit {
		r.violate(7, "the slot of the older firmware is erased during the trial")
	}
	tooLarge := uint64(f.Size)+80 > slotSize
	if r.fails(faultCreate) || tooLarge && !r.cfg.Profile.TrailerOverflows {
		return r.code(agent.PALFileTooLarge)
	}
	if tooLarge {
		r.violate(3, "%d bytes for a slot of %d", f.Size, slotSize)
	}
	r.same(f)
	r.open, r.verified, r.requests = true, false, 0
	blocks := min((int(min(f.Size, slotSize))+blockSize-1)/blockSize, slotSize/blockSize+1)
	r.file = openFile{size: f.Size, id: f.ID, kind: f.Type, stream: f.Stream.S, written: grow(r.file.written, blocks)}
	r.fresh = r.fresh || f.JobID == freshJob
	return 0
}

// same compares the file with what its document says by itself.
func (r *Agent) same(f *agent.File) {
	if r.cfg.Profile.Task2018 || !r.working || len(r.mail) == 0 {
		return
	}
	doc := r.mail[0].data
	if len(doc) == 0 {
		return
	}
	g := r.readings[&doc[0]]
	if g == nil {
		reading := agent.ReadDocument(doc, r.cfg.Profile)
		g = &reading.File
		r.readings[&doc[0]] = g
	}
	if f.Type != g.Type || f.Attr != g.Attr || f.UpdatedBy != g.UpdatedBy || f.SelfTest != g.SelfTest || f.Size != g.Size ||
		!sameBytes(f.Signature, g.Signature) {
		r.violate(19, "type %d, attr %d, updatedBy %x, self-test %v", f.Type, f.Attr, f.UpdatedBy, f.SelfTest)
	}
}

func grow(b []bool, n int) []bool {
	if cap(b) < n {
		return make([]bool, n)
	}
	b = b[:n]
	clear(b)
	return b
}

// WriteBlock implements agent.Port.
func (r *Agent) WriteBlock(_ *agent.File, offset uint32, data []byte) int {
	if r.resetting {
		return -1
	}
	f := &r.file
	index := int(offset / blockSize)
	var m mail
	if len(r.mail) > 0 {
		m = r.mail[0]
	}
	http := r.a.Transfer().HTTP
	switch {
	case !r.open:
		r.violate(14, "block at %d without a file", offset)
		return -1
	case r.fails(faultWrite), uint64(offset)+uint64(len(data)) > slotSize:
		return -1
	case index >= len(f.written) || uint64(offset)+uint64(len(data)) > uint64(f.size):
		r.violate(3, "%d bytes at %d of %d", len(data), offset, f.size)
		return len(data)
	case f.written[index]:
		r.violate(3, "block %d is written again", index)
	}
	if http {
		if offset != m.first {
			r.violate(6, "the range at %d is written at %d", m.first, offset)
		}
	} else if b, err := agent.DecodeBlock2018(m.data); err == nil {
		if m.stream != f.stream {
			r.violate(4, "block of stream %q, the file's is %q", m.stream, f.stream)
		}
		if uint32(b.File) != f.id {
			r.violate(4, "block of file %d, the job's is %d", b.File, f.id)
		}
		if !sameBytes(b.Payload, data) {
			r.violate(5, "%d bytes written, %d received", len(data), len(b.Payload))
		}
	}
	if !f.written[index] {
		f.written[index] = true
		f.count++
		f.bytes += uint32(len(data))
	}
	r.requests, r.asks = 0, false
	return len(data)
}

// CloseFile implements agent.Port.
func (r *Agent) CloseFile(*agent.File) agent.PALStatus {
	if r.resetting {
		return r.code(agent.PALFileClose)
	}
	r.open = false
	if r.fails(faultClose) {
		return r.code(agent.PALSignature)
	}
	if r.file.size+80 > slotSize {
		return r.code(agent.PALFileClose)
	}
	if r.file.bytes != r.file.size {
		r.violate(1, "%d of %d bytes are verified", r.file.bytes, r.file.size)
	}
	r.verified = true
	return 0
}

// AbortFile implements agent.Port.
func (r *Agent) AbortFile(*agent.File) agent.PALStatus {
	r.open = false
	return 0
}

// ActivateImage implements agent.Port.
func (r *Agent) ActivateImage(*agent.File) agent.PALStatus {
	if r.resetting {
		return 0
	}
	if !r.verified {
		r.violate(1, "activated without a verified file")
	} else {
		r.activated = true
	}
	r.resetting = true
	return 0
}

// ResetDevice implements agent.Port.
func (r *Agent) ResetDevice(*agent.File) agent.PALStatus {
	r.resetting = true
	return 0
}

// SetPlatformState implements agent.Port.
func (r *Agent) SetPlatformState(_ *agent.File, s agent.ImageState) agent.PALStatus {
	if s == agent.ImageAborted && r.cfg.Profile.MomentumStops && r.a.View().Momentum >= r.cfg.MomentumLimit {
		r.requests = 0 // the count starts anew, and requests that wait in the queue before the shutdown still go out
	}
	if r.resetting || r.fails(faultState) {
		return r.code(agent.PALCommitFailed)
	}
	if r.platform == agent.PlatformInvalid && s != agent.ImageTesting {
		return r.code(agent.PALCommitFailed) // the record is neither PENDING nor VALID: nothing is decided any more
	}
	if r.platform == agent.PlatformPendingCommit {
		switch s {
		case agent.ImageAccepted:
			r.platform = agent.PlatformValid
		case agent.ImageRejected, agent.ImageAborted:
			r.platform = agent.PlatformInvalid
		}
	}
	return 0
}

// PlatformState implements agent.Port.
func (r *Agent) PlatformState() agent.PlatformState { return r.platform }

// Callback implements agent.Port: the application of the demos, which takes its time for the verdict.
func (r *Agent) Callback(a *agent.Agent, c agent.Callback, info agent.Info) agent.CustomStatus {
	switch c {
	case agent.CallbackActivate:
		a.Activate(r)
	case agent.CallbackStartTest:
		r.testing = true
	case agent.CallbackProcessed:
		r.released(info.Document)
	}
	return agent.CustomStatus{}
}

// released takes a buffer back: of the message being worked on, else of one that was refused.
func (r *Agent) released(data []byte) {
	if n := len(r.mail) - 1; r.offering && n >= 0 {
		r.mail = r.mail[:n]
		return
	}
	for i := range r.mail {
		if m := r.mail[i].data; len(m) == len(data) && (len(m) == 0 || &m[0] == &data[0]) {
			if r.mail[i].job != "" {
				r.begins(&r.mail[i])
			}
			r.mail = slices.Delete(r.mail, i, i+1)
			return
		}
	}
	r.violate(16, "a buffer is given back twice")
}

// QueueFull implements agent.Port.
func (r *Agent) QueueFull(agent.EventID) {}

// Alloc implements agent.Port.
func (r *Agent) Alloc(n int) bool { return n <= 96<<10 && !r.fails(faultHeap) }
