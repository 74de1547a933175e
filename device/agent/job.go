package agent

import (
	"strings"

	"github.com/otasim/otasim/device/defect"
)

// Outcomes of a whole job document, printed in the second field of FAILED.
type jobErr uint32

// bitmapMaxBytes is otaconfigMAX_BLOCK_BITMAP_SIZE.
const bitmapMaxBytes = 128

const (
	jobOK             jobErr = 0
	jobUpdateCurrent  jobErr = 2
	jobZeroFileSize   jobErr = 3
	jobNonConforming  jobErr = 4
	jobBadModelParams jobErr = 5
	jobNoContext      jobErr = 6
	jobNoActive       jobErr = 7
)

func (a *Agent) processJob(p Port, m message) Err {
	a.answered(p)
	file, empty := a.readJob(p, m.data)
	err := ErrNone
	switch {
	case empty:
		err = ErrEmptyJobDocument
	case file == nil && a.image == ImageTesting:
		if !a.Signal(p, StartSelfTest, nil) {
			err = ErrSignalEventFailed
		}
	case file == nil:
		err = ErrJobParserError
	case p.PlatformState() == PlatformPendingCommit:
		// A job without self_test while the image is unconfirmed: go back to the old image.
		p.ResetDevice(&a.file)
	default:
		err = a.chooseData(p)
	}
	p.Callback(a, CallbackProcessed, Info{Document: m.data})
	return err
}

func (a *Agent) chooseData(p Port) Err {
	if data := protocolOf(a.file.Protocols.S, a.cfg); data != dataNone {
		a.data = data
		if !a.Signal(p, CreateFile, nil) {
			return ErrSignalEventFailed
		}
		return ErrNone
	}
	a.setImageState(p, ImageAborted, uint32(ErrInvalidDataProtocol))
	if a.cfg.Profile.StickyProtocol {
		return ErrNone
	}
	a.closeContext(p)
	return ErrInvalidDataProtocol
}

func protocolOf(protocols string, cfg *Config) dataPath {
	http, mqtt := strings.Contains(protocols, `"HTTP"`) && !cfg.WithoutHTTP, strings.Contains(protocols, `"MQTT"`) && !cfg.WithoutMQTT
	switch {
	case http && (cfg.PrimaryHTTP || !mqtt):
		return dataHTTP
	case mqtt:
		return dataMQTT
	}
	return dataNone
}

// readJob parses a document into the file context and opens a new job's file. It returns nil when nothing is to be
// downloaded: no job, a bad one, or one in self-test.
func (a *Agent) readJob(p Port, doc []byte) (file *File, empty bool) {
	same := false
	switch a.parseJob(p, doc) {
	case jobEmpty, jobBusy:
		return nil, true
	case jobRefused, jobSelfTest:
		return nil, false
	case jobSame:
		same = true
	}
	if !a.cfg.Profile.NoOverflowCheck && uint64(a.file.Size) > maxFileSize(a.cfg) {
		a.closeContext(p)
		return nil, false
	}
	keep := same || p.PlatformState() == PlatformPendingCommit
	if keep && a.cfg.Profile.KeepsWithoutBitmap {
		return &a.file, false
	}
	if a.cfg.HeapBuffers && (keep && a.file.bitmap == nil || !keep && !p.Alloc(int((a.blocks()+7)/8))) {
		a.closeContext(p)
		return nil, false
	}
	if keep {
		return &a.file, false
	}
	blocks := a.blocks()
	if a.cfg.Profile.BitmapOverrun && !a.cfg.HeapBuffers && uint64(blocks) > 8*uint64(a.cfg.BitmapBuffer) {
		a.Crash = "bitmap written behind its buffer"
		return nil, false
	}
	a.file.bitmap = wholeBitmap(blocks)
	a.file.Remaining = blocks
	if status := p.CreateFile(&a.file); status.Main() != 0 {
		a.setImageState(p, ImageAborted, uint32(status))
		a.closeContext(p)
		return nil, false
	}
	return &a.file, false
}

// wholeBitmap has a bit for each of so many blocks.
func wholeBitmap(blocks uint32) []byte {
	b := make([]byte, (uint64(blocks)+7)/8)
	for i := range b {
		b[i] = 0xff
	}
	if rest := blocks % 8; rest != 0 {
		b[len(b)-1] = 1<<rest - 1
	}
	return b
}

// jobKind is what a document turned out to be.
type jobKind uint8

const (
	jobRefused jobKind = iota
	jobEmpty
	jobSame
	jobSelfTest
	jobBusy // while the active job is in its self-test
	jobNew
)

// parseJob reads the document and decides what it is.
func (a *Agent) parseJob(p Port, doc []byte) jobKind {
	profile, old := a.cfg.Profile, a.file.Stream
	if profile.StaleSizeGuard && a.file.Remaining > bitmapMaxBytes {
		return jobRefused
	}
	f := a.readingFile()
	r := parseDocument(doc, f, a.cfg, p.Alloc)
	if r.err == ParseEmptyJobDoc {
		p.Callback(a, CallbackNoActiveJob, Info{})
		if profile.EmptyDocUnsubscribes {
			a.cleanData(p)
		}
		return jobEmpty
	}
	if r.err != ParseOK {
		a.customJob(p, doc)
		return jobRefused
	}
	if a.tooLarge(f) {
		if !profile.SilentBadSize {
			a.failJob(p, f.JobID, uint32(ErrJobParserError), uint32(jobBadModelParams))
		}
		return jobRefused
	}
	if !profile.ReadsIntoTransfer {
		if kind := a.adopt(p, f); kind != jobNew {
			return kind
		}
	} else if a.inTest() && f.JobID != a.job && !profile.TestYieldsToJob {
		return jobBusy
	} else if err := a.takeJob(p, old); err == jobUpdateCurrent {
		return jobSame
	} else if err != jobOK {
		if a.job != "" {
			a.job = a.file.JobID
		}
		if a.job == "" && !a.cfg.Profile.SilentBadSize {
			a.job = a.file.JobID
		}
		a.refuseJob(p, err)
		return jobRefused
	}
	kind := jobNew
	if a.file.SelfTest {
		a.selfTestJob(p)
		kind = jobSelfTest
	}
	p.Callback(a, CallbackReceivedJob, Info{Job: a.job, FileType: a.file.Type})
	return kind
}

// readingFile is where a document is read to: the live context, or one of its own. Unless what the document does not
// mention is to stay as the job before left it, it begins empty.
func (a *Agent) readingFile() *File {
	f := &a.file
	if !a.cfg.Profile.ReadsIntoTransfer {
		f = new(File)
		if a.cfg.Profile.KeepsOptionals {
			*f = a.file
			f.bitmap, f.Remaining = nil, 0
		} else {
			f.clear(a.cfg.HeapBuffers)
		}
	} else if !a.cfg.Profile.KeepsOptionals {
		f.UpdatedBy, f.Type, f.Attr, f.Signature, f.SelfTest, f.selfTestActive = 0, 0, 0, nil, false, false
	}
	return f
}

// tooLarge reports whether the file has more blocks than the bitmap.
func (a *Agent) tooLarge(f *File) bool {
	limit := a.cfg.Profile.BitmapMax
	return limit > 0 && blocksOf(f.Size, a.cfg) > uint32(limit)*8
}

// adopt makes the document's job the active one without touching the active one until the document is known to be
// good. The result is jobNew if there is a new job to begin.
func (a *Agent) adopt(p Port, f *File) jobKind {
	switch {
	case f.Size == 0:
		a.failJob(p, f.JobID, uint32(ErrJobParserError), uint32(jobZeroFileSize))
		return jobRefused
	case uint64(f.Size) > maxFileSize(a.cfg):
		a.failJob(p, f.JobID, uint32(ErrJobParserError), uint32(jobBadModelParams))
		return jobRefused
	case protocolOf(f.Protocols.S, a.cfg) == dataNone && !f.SelfTest && !a.cfg.Profile.StickyProtocol:
		a.failJob(p, f.JobID, uint32(ErrInvalidDataProtocol), 0)
		return jobRefused
	case a.inTest() && f.JobID != a.job && a.cfg.Profile.TestYieldsToJob:
		a.dropJob(p, f)
	case a.inTest() && a.file.SelfTest:
		return jobSelfTest // it has not begun: something came in between
	case a.inTest():
		return jobBusy
	case a.job == f.JobID && a.file.bitmap != nil && a.file.sameFile(f):
		a.file.URL = f.URL
		return jobSame
	case a.job != "":
		a.dropJob(p, f)
	}
	a.copyJobID(f.JobID, a.cfg.Profile.JobIDSplice)
	a.file, a.topic = *f, ""
	a.turn++
	return jobNew
}

// inTest reports whether the active job's image is in its self-test.
func (a *Agent) inTest() bool { return a.job != "" && a.image == ImageTesting }

// dropJob gives the active job up for another one.
func (a *Agent) dropJob(p Port, next *File) {
	p.SetPlatformState(&a.file, ImageAborted)
	if a.cfg.Profile.SwitchLeavesStream {
		a.file.Stream = next.Stream
	}
	a.closeContext(p)
}

// failJob reports a job as failed that is not, and will not be, the active one.
func (a *Agent) failJob(p Port, job string, reason, sub uint32) {
	if active := a.job; job != active {
		a.job = job
		a.updateStatus(p, StatusFailedWithValue, reason, sub)
		a.job = active
		return
	}
	a.updateStatus(p, StatusFailedWithValue, reason, sub)
	a.closeContext(p)
	a.job = ""
}

// maxFileSize is the largest size whose block count does not overflow.
func maxFileSize(cfg *Config) uint64 { return 1<<32 - uint64(cfg.BlockSize()) }

// takeJob makes the document's job the active one; old is the stream of the one before.
func (a *Agent) takeJob(p Port, old Text) jobErr {
	switch {
	case a.file.Size == 0:
		return jobZeroFileSize
	case a.job == "":
		a.job = a.file.JobID
	case a.job == a.file.JobID:
		if a.cfg.HeapBuffers && a.cfg.Profile.RepeatLosesURL {
			a.file.URL = Text{Null: true}
		}
		return jobUpdateCurrent
	default:
		p.SetPlatformState(&a.file, ImageAborted)
		p.AbortFile(&a.file)
		if stream := a.file.Stream; a.cfg.Profile.SwitchLeavesStream {
			a.cleanData(p)
		} else {
			a.file.Stream = old
			a.cleanData(p)
			a.file.Stream = stream
		}
		a.copyJobID(a.file.JobID, a.cfg.Profile.JobIDSplice)
	}
	return jobOK
}

// copyJobID replaces the active job's id; spliced copies a shorter id over a longer one without ending it.
func (a *Agent) copyJobID(id string, spliced bool) {
	if spliced && len(id) < len(a.job) {
		id += a.job[len(id):]
	}
	a.job = id
}

func (a *Agent) refuseJob(p Port, err jobErr) {
	if a.job == "" {
		return
	}
	a.updateStatus(p, StatusFailedWithValue, uint32(ErrJobParserError), uint32(err))
	a.closeContext(p)
	a.job = ""
}

// customJob offers a document that is no update job to the application.
func (a *Agent) customJob(p Port, doc []byte) {
	text := jsonText(doc)
	id, hasID := text.search("execution", "jobId")
	body, hasBody := text.search("execution", "jobDocument")
	if !hasID || !hasBody {
		if !a.cfg.Profile.NoActiveJobSilent {
			p.Callback(a, CallbackNoActiveJob, Info{})
		}
		return
	}
	if len(id) >= jobIDBuffer {
		if a.cfg.Profile.LongJobIDCustom {
			verdict := p.Callback(a, CallbackParseCustomJob, Info{JobNull: true, Document: body})
			if verdict.Claimed && a.job == "" {
				a.job = string(id)
				a.endCustomJob(p, verdict)
				return
			}
		}
		if !a.cfg.Profile.SilentBadSize {
			a.failJob(p, string(id), uint32(ErrJobParserError), uint32(jobNonConforming))
			return
		}
		a.refuseJob(p, jobNonConforming)
		return
	}
	verdict := p.Callback(a, CallbackParseCustomJob, Info{Job: string(id), JobNull: a.cfg.Profile.CustomJobNull, Document: body})
	if _, ours := body.search("afr_ota"); !ours && !verdict.Claimed && !a.cfg.Profile.FailsForeignJobs {
		return
	}
	a.copyJobID(string(id), verdict.Claimed && a.cfg.Profile.JobIDSplice)
	if verdict.Claimed {
		a.endCustomJob(p, verdict)
		return
	}
	a.refuseJob(p, jobNonConforming)
}

func (a *Agent) endCustomJob(p Port, verdict CustomStatus) {
	a.updateStatus(p, verdict.Status, verdict.Reason, verdict.Sub)
	a.job = ""
	p.Callback(a, CallbackReceivedJob, Info{FileType: a.file.Type})
}

// selfTestJob decides whether the running image may be tested.
func (a *Agent) selfTestJob(p Port) {
	err := ErrNone
	if a.file.ID == 0 && a.file.Type == 0 && !a.cfg.AllowDowngrade {
		switch {
		case a.version < a.file.UpdatedBy:
			err = ErrDowngradeNotAllowed
		case a.version == a.file.UpdatedBy:
			err = ErrSameFirmwareVersion
		}
	}
	if err == ErrNone {
		a.setImageState(p, ImageTesting, 0)
		return
	}
	if err == ErrSameFirmwareVersion && !a.losesConfirm() && a.file.selfTestActive {
		switch s := p.PlatformState(); {
		case s == PlatformValid:
			a.setImageState(p, ImageAccepted, 0)
			return
		case s == PlatformInvalid && !a.cfg.Profile.UnnamedRejects: // power failed when it was to be confirmed
			a.setImageState(p, ImageTesting, 0)
			return
		}
	}
	a.setImageState(p, ImageRejected, uint32(err))
	p.Callback(a, CallbackSelfTestFailed, Info{})
	p.ResetDevice(&a.file)
}

func (a *Agent) losesConfirm() bool {
	return a.cfg.Profile.ConfirmLost || a.cfg.Defects.Has(defect.ConfirmedRefused)
}

// confirmed reports whether the image that a job wants to be tested has passed before: its final status was lost.
func (a *Agent) confirmed(p Port) bool {
	f := &a.file
	return !a.losesConfirm() && f.ID == 0 && f.Type == 0 && f.UpdatedBy != 0 && a.version > f.UpdatedBy && p.PlatformState() == PlatformValid
}
