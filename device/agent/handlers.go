package agent

import "github.com/otasim/otasim/device/defect"

func (a *Agent) start(p Port, _ message) Err {
	if p.PlatformState() == PlatformPendingCommit {
		p.StartTimer(TimerSelfTest, a.cfg.SelfTestMs)
	}
	if !a.Signal(p, RequestJobDocument, nil) {
		return ErrSignalEventFailed
	}
	return ErrNone
}

func (a *Agent) requestJob(p Port, _ message) Err {
	if a.askForJob(p) {
		if a.asksAgain() {
			a.awaitAnswer(p)
			return ErrNone
		}
		p.StopTimer(TimerRequest)
		a.momentum = 0
		return ErrNone
	}
	if a.momentum < a.cfg.MomentumLimit {
		if p.StartTimer(TimerRequest, a.cfg.RequestMs) {
			a.momentum++
		}
		return ErrRequestJobFailed
	}
	if !a.cfg.Profile.MomentumStops {
		p.StartTimer(TimerRequest, a.cfg.RequestMs)
		return ErrRequestJobFailed
	}
	p.StopTimer(TimerRequest)
	a.Signal(p, Shutdown, nil)
	return ErrMomentumAbort
}

func (a *Agent) askForJob(p Port) bool {
	if !p.Subscribe(1, a.notifyTopic()) {
		return false
	}
	token := a.clientToken()
	a.requests++
	return p.Publish(1, a.nextTopic(), token)
}

// pollMs is how long an agent that has nothing to do believes that it would be told of a job.
const pollMs = 3600 * 1000

// asksAgain reports whether the agent misses messages about its job that do not come.
func (a *Agent) asksAgain() bool {
	return !a.cfg.Profile.ForgetsAnswers && !a.cfg.Profile.Task2018
}

// awaitAnswer arms the timer after which the job is asked for again: each time twice as long.
func (a *Agent) awaitAnswer(p Port) {
	p.StartTimer(TimerRequest, min(a.cfg.RequestMs<<min(a.momentum, 16), pollMs))
	a.momentum = min(a.momentum+1, a.cfg.MomentumLimit)
}

// answered says that the cloud has spoken about jobs. An agent that waits for the next one asks now and then all the same.
func (a *Agent) answered(p Port) {
	if a.asksAgain() {
		a.momentum = 0
		p.StartTimer(TimerRequest, pollMs)
	}
}

// ended says that a final status went out: if the cloud says nothing then, the job is asked for, and its status told again.
func (a *Agent) ended(p Port) {
	if a.asksAgain() {
		a.momentum = 0
		a.awaitAnswer(p)
	}
}

func (a *Agent) inSelfTest(p Port, _ message) Err {
	if a.confirmed(p) {
		a.setImageState(p, ImageAccepted, 0)
		return ErrNone
	}
	if s := p.PlatformState(); s != PlatformPendingCommit && (s != PlatformInvalid || a.cfg.Profile.UnnamedRejects) {
		err := a.setImageState(p, ImageRejected, uint32(ErrImageStateMismatch))
		p.ResetDevice(&a.file)
		return err
	}
	p.Callback(a, CallbackStartTest, Info{})
	a.file.SelfTest = false
	if a.cfg.Profile.TimerStopsBeforeTest {
		p.StopTimer(TimerSelfTest)
	}
	return ErrNone
}

func (a *Agent) initFile(p Port, _ message) Err {
	if a.file.bitmap == nil && !a.cfg.Profile.StaleEvents {
		return ErrInitFileTransferFailed // a timer that ran out before the document of a job that is in its self-test
	}
	ok := false
	switch a.data {
	case dataMQTT:
		ok = p.Subscribe(0, a.streamTopic("/data/cbor"))
		a.topic = a.streamTopic("/get/cbor")
	case dataHTTP:
		ok = p.HTTPInit(a.file.URL)
	default:
		a.Crash = "no data interface: call through a null pointer"
		return ErrInitFileTransferFailed
	}
	if ok {
		a.momentum = 0
		a.stats = Statistics{}
		if !a.Signal(p, RequestFileBlock, nil) {
			return ErrSignalEventFailed
		}
		return ErrNone
	}
	if a.momentum < a.cfg.MomentumLimit {
		if p.StartTimer(TimerRequest, a.cfg.RequestMs) {
			a.momentum++
		}
		return ErrInitFileTransferFailed
	}
	p.StopTimer(TimerRequest)
	if a.cfg.Profile.MomentumStops {
		a.Signal(p, Shutdown, nil)
		return ErrMomentumAbort
	}
	return a.giveUp(p)
}

// giveUp fails the active job and closes its file.
func (a *Agent) giveUp(p Port) Err {
	a.setImageState(p, ImageAborted, uint32(ErrMomentumAbort))
	a.closeContext(p)
	a.momentum = 0
	a.enter(WaitingForJob)
	return ErrMomentumAbort
}

func (a *Agent) requestData(p Port, _ message) Err {
	if a.file.Remaining == 0 {
		return ErrNone
	}
	if p.StartTimer(TimerRequest, a.cfg.RequestMs) && a.momentum < a.cfg.MomentumLimit {
		a.momentum++
		if !a.requestBlocks(p) {
			return ErrRequestFileBlockFailed
		}
		return ErrNone
	}
	p.StopTimer(TimerRequest)
	if !a.cfg.Profile.MomentumStops {
		return a.giveUp(p)
	}
	a.setImageState(p, ImageAborted, 0)
	a.Signal(p, Shutdown, nil)
	a.momentum = 0
	return ErrMomentumAbort
}

func (a *Agent) requestBlocks(p Port) bool {
	if a.data == dataHTTP {
		counts := a.cfg.Profile.HTTPCounts
		first := a.httpPosition() << a.cfg.Log2Block
		last := first + a.cfg.BlockSize() - 1
		if counts && a.file.Remaining == 1 || !counts && last >= a.file.Size {
			last = a.file.Size - 1
		}
		return p.HTTPRequest(first, last)
	}
	if a.topic == "" {
		a.topic = a.streamTopic("/get/cbor")
	}
	a.expected = a.cfg.BlocksPerRequest
	if a.blocks() > requestBufferSize*8 {
		return false
	}
	msg := AppendStreamRequest(make([]byte, 0, 32+len(a.file.bitmap)), "rdy", int32(a.file.ID), int32(a.cfg.BlockSize()), 0,
		a.bitmap(), int64(a.cfg.BlocksPerRequest))
	if len(msg) > requestBufferSize {
		return false
	}
	return p.Publish(0, a.topic, msg)
}

// bitmap returns the part of the bitmap that the file's size calls for.
func (a *Agent) bitmap() []byte {
	n := int((a.blocks() + 7) / 8)
	if n <= len(a.file.bitmap) {
		return a.file.bitmap[:n]
	}
	whole := make([]byte, n)
	copy(whole, a.file.bitmap)
	return whole
}

// blocks is the number of blocks of the file; it wraps around like the library's 32-bit sum.
func (a *Agent) blocks() uint32 { return blocksOf(a.file.Size, a.cfg) }

func blocksOf(size uint32, cfg *Config) uint32 { return (size + cfg.BlockSize() - 1) >> cfg.Log2Block }

func (a *Agent) jobNotification(p Port, m message) Err {
	if !a.cfg.Profile.NotificationLosesBuffer {
		p.Callback(a, CallbackProcessed, Info{Document: m.data})
	}
	p.StopTimer(TimerRequest)
	p.SetPlatformState(&a.file, ImageAborted)
	a.closeContext(p)
	a.job = ""
	if !a.Signal(p, RequestJobDocument, nil) {
		return ErrSignalEventFailed
	}
	return ErrNone
}

func (a *Agent) closeFile(p Port, _ message) Err {
	a.closeContext(p)
	return ErrNone
}

// closeContext releases the data path, the file and its buffers.
func (a *Agent) closeContext(p Port) {
	a.turn++
	a.cleanData(p)
	p.AbortFile(&a.file)
	a.wipeBuffers()
}

func (a *Agent) cleanData(p Port) {
	switch a.data {
	case dataMQTT:
		if a.unsubscribe {
			p.Unsubscribe(1, a.streamTopic("/data/cbor"))
		}
	case dataHTTP:
		p.HTTPDeinit()
		a.httpBlock = 0
	}
}

func (a *Agent) wipeBuffers() {
	a.file.clear(a.cfg.HeapBuffers)
	if a.cfg.HeapBuffers || !a.cfg.Profile.ReadsIntoTransfer {
		a.file.bitmap = nil
	} else {
		a.file.bitmap = make([]byte, len(a.file.bitmap))
	}
	a.topic = ""
}

func (a *Agent) suspend(p Port, _ message) Err {
	if !a.cfg.Profile.SuspendStopsEarly {
		a.stopForSuspend(p)
	}
	return ErrNone
}

func (a *Agent) resume(p Port, _ message) Err {
	if !a.cfg.Profile.ResumeArmsEarly && !a.cfg.Profile.TimersOutlive {
		p.StartTimer(TimerRequest, a.cfg.RequestMs)
	}
	if !a.Signal(p, RequestJobDocument, nil) {
		return ErrSignalEventFailed
	}
	return ErrNone
}

func (a *Agent) userAbort(p Port, _ message) Err {
	if a.job == "" {
		return ErrNoActiveJob
	}
	if !a.cfg.Profile.AbortLeavesTimer {
		p.StopTimer(TimerRequest)
	}
	err := a.setImageState(p, ImageAborted, uint32(ErrUserAbort))
	if err != ErrNone && a.cfg.Profile.AbortNeedsPublish {
		return err
	}
	a.closeContext(p)
	return ErrNone
}

func (a *Agent) shutdown(p Port, _ message) Err {
	a.enter(ShuttingDown)
	if !a.cfg.Profile.TimersOutlive && !a.cfg.Profile.ShutdownStopsEarly {
		deleteTimers(p)
	}
	if a.unsubscribe {
		p.Unsubscribe(0, a.notifyTopic())
	}
	a.cleanData(p)
	a.closeContext(p)
	if !a.cfg.Profile.LosesBuffer {
		for _, m := range a.queue {
			a.refuse(p, m)
		}
		a.queue = a.queue[:0]
	}
	*a = Agent{cfg: a.cfg, thing: a.thing, version: a.version, data: a.data, state: a.state, started: a.started, wiped: true,
		queue: a.queue, requests: a.requests, tail: a.tail, file: File{Signature: a.file.Signature}}
	return ErrNone
}

func deleteTimers(p Port) {
	p.StopTimer(TimerRequest)
	p.DeleteTimer(TimerRequest)
	p.StopTimer(TimerSelfTest)
	p.DeleteTimer(TimerSelfTest)
}

// setImageState tells the platform, then the cloud. A platform that refuses turns anything but Aborted into Rejected.
func (a *Agent) setImageState(p Port, s ImageState, reason uint32) Err {
	if s != ImageTesting && !a.cfg.Profile.TimerStopsBeforeTest {
		p.StopTimer(TimerSelfTest)
	}
	if a.cfg.Defects.Has(defect.FailureIsSuccess) && s == ImageRejected {
		p.SetPlatformState(&a.file, s)
		a.updateStatus(p, StatusSucceeded, ReasonAccepted, a.version)
		return ErrNone
	}
	if a.cfg.Defects.Has(defect.ReportBeforeConfirm) && s == ImageAccepted && a.job != "" {
		a.updateStatus(p, StatusSucceeded, ReasonAccepted, a.version)
		a.image, a.job = s, ""
		return ErrNone
	}
	status := p.SetPlatformState(&a.file, s)
	if status.Main() != 0 && !a.cfg.Profile.TimerStopsBeforeTest && p.PlatformState() == PlatformPendingCommit {
		p.StartTimer(TimerSelfTest, a.cfg.SelfTestMs) // the image is still on trial
	}
	if status.Main() != 0 && s != ImageAborted {
		s = ImageRejected
		if reason == 0 {
			reason = uint32(status)
		}
	}
	a.image = s
	if a.job == "" {
		return ErrNoActiveJob
	}
	ok := false
	switch s {
	case ImageTesting:
		ok = a.updateStatus(p, StatusInProgress, ReasonSelfTestActive, 0)
	case ImageAccepted:
		ok = a.updateStatus(p, StatusSucceeded, ReasonAccepted, a.version)
	case ImageRejected:
		ok = a.updateStatus(p, StatusFailed, ReasonRejected, reason)
	default:
		ok = a.updateStatus(p, StatusFailed, ReasonAborted, reason)
	}
	if s != ImageTesting {
		a.job = ""
	}
	if !ok {
		return ErrUpdateJobStatusFailed
	}
	return ErrNone
}
