package agent

import "github.com/otasim/otasim/device/defect"

// Results of taking in one block.
type ingestResult int32

const (
	ingestAccepted         ingestResult = 0
	ingestDuplicate        ingestResult = 1
	ingestForeign          ingestResult = 2 // of another file
	ingestFileComplete     ingestResult = -1
	ingestSigCheckFail     ingestResult = -2
	ingestFileCloseFail    ingestResult = -3
	ingestNullInput        ingestResult = -4
	ingestBadFileHandle    ingestResult = -5
	ingestUnexpectedBlock  ingestResult = -6
	ingestBlockOutOfRange  ingestResult = -7
	ingestBadData          ingestResult = -8
	ingestWriteBlockFailed ingestResult = -9
	ingestNoDecodeMemory   ingestResult = -10
)

func (a *Agent) processData(p Port, m message) Err {
	result, status := a.ingest(p, m)
	if a.Crash != "" {
		return ErrNone
	}
	err := ErrNone
	switch {
	case result == ingestUnexpectedBlock && !a.cfg.Profile.LateBlockFails:
	case result == ingestFileComplete:
		a.fileComplete(p)
	case result < 0:
		a.fileFailed(p, result, status)
	case result == ingestForeign:
	case result == ingestDuplicate && !a.cfg.Profile.DuplicateRequests:
	default:
		err = a.blockTaken(p, result)
	}
	p.Callback(a, CallbackProcessed, Info{Document: m.data})
	if a.state == WaitingForJob && err == ErrNone {
		err = errEnded
	}
	return err
}

// errEnded keeps the state that a handler entered by itself at the end of a transfer.
const errEnded Err = 0xff

func (a *Agent) blockTaken(p Port, result ingestResult) Err {
	if result == ingestAccepted {
		a.stats.Processed++
		a.momentum = 0
		a.updateStatus(p, StatusInProgress, ReasonReceiving, 0)
	}
	if a.expected > 1 {
		a.expected--
		return ErrNone
	}
	p.StartTimer(TimerRequest, a.cfg.RequestMs)
	if !a.Signal(p, RequestFileBlock, nil) {
		return ErrSignalEventFailed
	}
	return ErrNone
}

func (a *Agent) fileComplete(p Port) {
	a.stats.Processed++
	info := Info{FileType: a.file.Type}
	callback := CallbackActivate
	if a.file.Type == 0 {
		a.updateStatus(p, StatusInProgress, ReasonSigCheckPassed, 0)
		info.Reason = ReasonSigCheckPassed
	} else {
		a.updateStatus(p, StatusSucceeded, ReasonAccepted, a.file.Type)
		info.Status, info.Reason = StatusSucceeded, ReasonAccepted
		info.Sub = a.file.Type
		callback = CallbackUpdateComplete
	}
	a.endTransfer(p)
	info.Job = a.endedJob()
	p.Callback(a, callback, info)
	a.job = ""
}

func (a *Agent) fileFailed(p Port, result ingestResult, status PALStatus) {
	p.SetPlatformState(&a.file, ImageRejected)
	main, sub := status.Main(), status.Sub()
	if a.cfg.Profile.FailedWholeWord {
		main, sub = uint32(status), uint32(result)
	}
	a.updateStatus(p, StatusFailedWithValue, main, sub)
	a.endTransfer(p)
	fileType := a.file.Type
	p.Callback(a, CallbackFail, Info{Job: a.endedJob(), Status: StatusFailedWithValue, Reason: main, Sub: sub, FileType: fileType})
	a.job = ""
}

// endedJob is the id that the application is told at the end of a transfer.
func (a *Agent) endedJob() string {
	if a.cfg.Profile.EndedJobInfoEmpty {
		return ""
	}
	return a.job
}

func (a *Agent) endTransfer(p Port) {
	p.StopTimer(TimerRequest)
	a.ended(p)
	if a.cfg.Profile.LateBlockFails {
		a.Signal(p, CloseFile, nil)
		return
	}
	a.closeContext(p)
	a.enter(WaitingForJob)
}

// ingest takes in one block message and closes the file after the last one. status is the platform's word about a
// failed close; agent-side failures carry "uninitialised".
func (a *Agent) ingest(p Port, m message) (ingestResult, PALStatus) {
	f := &a.file
	status := PALUninitialized
	if f.bitmap == nil || f.Remaining == 0 {
		return ingestUnexpectedBlock, status
	}
	p.StartTimer(TimerRequest, a.cfg.RequestMs)
	if a.cfg.HeapBuffers && !p.Alloc(int(a.cfg.BlockSize())) {
		return ingestNoDecodeMemory, status
	}
	index, size, payload, result := a.decode(m)
	if result != ingestAccepted {
		return result, status
	}
	blockSize := a.cfg.BlockSize()
	last := a.blocks() - 1
	if (index >= last || size != blockSize) && (index != last || size != f.Size-last*blockSize) {
		return ingestBlockOutOfRange, status
	}
	if int(index/8) >= len(f.bitmap) || f.bitmap[index/8]&(1<<(index%8)) == 0 {
		if !a.cfg.Defects.Has(defect.DuplicateCounts) || f.Remaining == 1 {
			return ingestDuplicate, status
		}
	}
	if index == last && a.cfg.Defects.Has(defect.LastBlockShifted) && index > 0 {
		p.WriteBlock(f, index<<a.cfg.Log2Block-16, payload)
		payload = nil
		size = 0
	}
	written := p.WriteBlock(f, index<<a.cfg.Log2Block, payload)
	if written != int(size) && (!a.cfg.Profile.WriteAnyResult || written < 0) {
		return ingestWriteBlockFailed, status
	}
	f.bitmap[index/8] &^= 1 << (index % 8)
	f.Remaining--
	if a.cfg.Defects.Has(defect.VerifyBeforeLast) && f.Remaining == 1 {
		f.Remaining = 0
	}
	if f.Remaining > 0 {
		if a.cfg.Asserts && a.cfg.Profile.ShortBlockAsserts && size != blockSize {
			a.Crash = "assertion failed: a short block before the last one"
		}
		return ingestAccepted, 0
	}
	p.StopTimer(TimerRequest)
	if a.cfg.HeapBuffers || !a.cfg.Profile.ReadsIntoTransfer {
		f.bitmap = nil
	}
	status = p.CloseFile(f)
	switch {
	case status.Main() == 0:
		return ingestFileComplete, status
	case status.Main() == PALSignature.Main():
		return ingestSigCheckFail, status
	}
	return ingestFileCloseFail, status
}

// decode takes a message apart; result says whether it is a block of the file.
func (a *Agent) decode(m message) (index, size uint32, payload []byte, result ingestResult) {
	capacity := int(a.cfg.BlockSize())
	if a.data == dataHTTP {
		if len(m.data) > capacity {
			return 0, 0, nil, ingestBadData
		}
		index = m.first >> a.cfg.Log2Block
		if a.cfg.Profile.HTTPCounts {
			index = a.httpBlock
			a.httpBlock++
		}
		return index, uint32(len(m.data)), a.remember(m.data, len(m.data)), ingestAccepted
	}
	b, err := DecodeBlock(m.data, capacity)
	if err != nil {
		return 0, 0, nil, ingestBadData
	}
	if !a.cfg.Profile.AnyFileID && uint32(b.File) != a.file.ID {
		return 0, 0, nil, ingestForeign
	}
	if len(b.Payload) != int(b.Size) && !a.cfg.Profile.StaleTail {
		return 0, 0, nil, ingestBadData
	}
	// A size no block can have is caught by the range check.
	return uint32(b.Index), uint32(b.Size), a.remember(b.Payload, int(min(uint32(b.Size), uint32(capacity)))), ingestAccepted
}

// remember puts a payload into the decode buffer, whose end keeps what longer blocks before it left there, and returns
// the bytes that stand for the block: a payload shorter than the size it claims is completed from the buffer.
func (a *Agent) remember(payload []byte, size int) []byte {
	if !a.cfg.Profile.StaleTail {
		return payload
	}
	need := max(len(payload), size)
	if need <= len(payload) && (a.cfg.HeapBuffers || len(a.tail) <= len(payload)) {
		a.tail = payload
		return payload[:size]
	}
	buffer := make([]byte, max(need, len(a.tail)))
	if !a.cfg.HeapBuffers {
		copy(buffer, a.tail)
	}
	copy(buffer, payload)
	a.tail = buffer
	return buffer[:size]
}
