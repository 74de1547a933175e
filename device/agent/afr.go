package agent

// The agent of Amazon FreeRTOS 2018 (aws/amazon-freertos lib/ota/aws_ota_agent.c at v1.4.0 and v1.4.2): one task that
// sleeps on event bits and works off a queue of six messages whenever the message bit is set.
//
//	NotReady --Start--> Ready --job--> Active --last block, abort, bad block, any job message--> Ready
//
// What its states decide is a table like the library's, read with the file context instead of the state: the task
// returns to Ready only at the end of a wake-up.

// wake is the event bits; bits that are set again while set are lost.
type wake uint8

const (
	wakeMessage wake = 1 << iota
	wakeShutdown
	wakeTimer
	wakeAbort
	wakeStart // the task was created and has not run
)

// afr is what only the 2018 agent keeps in RAM.
type afr struct {
	bits     wake
	draining bool    // works off the message queue
	open     bool    // a file context is in use
	hasJob   bool    // a job is active, even one whose id is empty
	guard    bool    // latched at task start: the image is on trial
	asking   bool    // waits for the answer to get-next
	timers   [2]bool // created
	token    []byte  // text from the client token on, of the last document that had one
}

// afrSignatureCheckFailed is the platform layer's main code of 2018 that the agent looks for.
const afrSignatureCheckFailed PALStatus = 0x01 << 24

// Error codes of the 2018 agent: what FAILED prints and the application gets.
const (
	afrPublishFailed       Err = 0x08 << 24
	afrBadImageState       Err = 0x09 << 24
	afrNoActiveJob         Err = 0x0a << 24
	afrMomentumAbort       Err = 0x21 << 24
	afrDowngradeNotAllowed Err = 0x22 << 24
	afrSameFirmwareVersion Err = 0x23 << 24
	afrJobParserError      Err = 0x24 << 24
	afrFailedToEncodeCBOR  Err = 0x25 << 24
	afrImageStateMismatch  Err = 0x26 << 24
	afrGenericIngestError  Err = 0x27 << 24
	afrUserAbort           Err = 0x28 << 24
	afrTopicTooLarge       Err = 0x2a << 24
)

// Job-level outcomes of the 2018 agent, printed in the second field of FAILED.
const (
	afrBusyWithExistingJob = 1
	afrBusyWithSameJob     = 3
	afrZeroFileSize        = 4
	afrNonConformingJobDoc = 5
)

// afrTransitions is the 2018 agent's table. Next is entered when the handler returns no error.
var afrTransitions = []transition{
	{NotReady, Start, (*Agent).startTask, Ready},
	{Ready, ReceivedJobDocument, (*Agent).takeJob2018, Active},
	{Ready, RequestTimer, (*Agent).askAgain, Ready},
	{Ready, Shutdown, (*Agent).endTask, NotReady},
	{Active, ReceivedJobDocument, (*Agent).replaceJob, Active},
	{Active, ReceivedFileBlock, (*Agent).takeBlock, Active},
	{Active, RequestTimer, (*Agent).requestStream, Active},
	{Active, UserAbort, (*Agent).abortTransfer, Active},
	{Active, Shutdown, (*Agent).endTask, NotReady},
}

var afrLookup = newLookup(afrTransitions)

// signal2018 sets a bit or queues a message.
func (a *Agent) signal2018(p Port, id EventID, data []byte) bool {
	if id == Start {
		if a.state == NotReady {
			a.afr.bits |= wakeStart
		}
		return a.state == NotReady
	}
	if a.state == NotReady {
		return false
	}
	switch id {
	case RequestTimer:
		a.afr.bits |= wakeTimer
	case UserAbort:
		a.afr.bits |= wakeAbort
	case Shutdown:
		a.afr.bits |= wakeShutdown
	case ReceivedJobDocument, ReceivedFileBlock:
		a.stats.Received++
		if len(a.queue) >= a.cfg.QueueLength {
			a.stats.Dropped++
			p.QueueFull(id)
			return false
		}
		a.stats.Queued++
		a.queue = append(a.queue, message{id: id, data: data})
		a.afr.bits |= wakeMessage
	default:
		return false
	}
	return true
}

// step2018 is one turn of the task: the signals of a wake-up, or one message of it.
func (a *Agent) step2018(p Port) {
	if !a.afr.draining {
		bits := a.afr.bits
		a.afr.bits = 0
		for _, s := range [...]struct {
			bit wake
			id  EventID
		}{{wakeStart, Start}, {wakeShutdown, Shutdown}, {wakeAbort, UserAbort}, {wakeTimer, RequestTimer}} {
			if bits&s.bit != 0 {
				a.dispatch2018(p, message{id: s.id})
			}
			if a.state == NotReady {
				return
			}
		}
		a.afr.draining = bits&wakeMessage != 0
	} else if len(a.queue) > 0 {
		m := a.pop()
		a.dispatch2018(p, m)
		a.stats.Processed++
		p.Callback(a, CallbackProcessed, Info{Document: m.data})
	}
	if a.afr.draining = a.afr.draining && len(a.queue) > 0; !a.afr.draining && !a.afr.open {
		a.enter(Ready)
	}
}

func (a *Agent) dispatch2018(p Port, m message) {
	state := a.state
	if state != NotReady {
		if state = Ready; a.afr.open {
			state = Active
		}
	}
	if row := a.cfg.Profile.table()[state][m.id]; row != nil && row.run(a, p, m) == ErrNone {
		a.enter(row.next)
	}
}

func (a *Agent) arm(p Port, t Timer, ms uint32) {
	a.afr.timers[t] = true
	p.StartTimer(t, ms)
}

func (a *Agent) startTask(p Port, _ message) Err {
	if !p.Subscribe(1, a.topicOf("/jobs/$next/get/accepted")) || !p.Subscribe(1, a.notifyTopic()) {
		return ErrUninitialized
	}
	if p.PlatformState() == PlatformPendingCommit {
		a.arm(p, TimerSelfTest, a.cfg.SelfTestMs)
		a.afr.guard = !a.cfg.Profile.TrialOverwrites
	}
	a.askOnce(p)
	if !a.cfg.Profile.AsksOnce {
		a.afr.asking = true
		p.StartTimer(TimerRequest, a.cfg.RequestMs)
	}
	return ErrNone
}

// askOnce publishes get-next.
func (a *Agent) askOnce(p Port) bool {
	token := a.clientToken()
	a.requests++
	return p.Publish(1, a.nextTopic(), token)
}

// askAgain repeats a get-next that was not answered.
func (a *Agent) askAgain(p Port, _ message) Err {
	if !a.afr.asking {
		return ErrRequestJobFailed
	}
	a.askOnce(p)
	p.StartTimer(TimerRequest, a.cfg.RequestMs)
	return ErrNone
}

func (a *Agent) endTask(p Port, _ message) Err {
	if a.afr.timers[TimerSelfTest] {
		p.StopTimer(TimerSelfTest)
		p.DeleteTimer(TimerSelfTest)
		a.afr.timers[TimerSelfTest] = false
	}
	if a.afr.asking {
		a.afr.asking = false
		p.StopTimer(TimerRequest)
	}
	p.Unsubscribe(0, a.notifyTopic())
	p.Unsubscribe(0, a.topicOf("/jobs/$next/get/accepted"))
	a.close2018(p)
	a.job, a.afr.hasJob, a.image = "", false, ImageUnknown
	a.queue, a.stats = a.queue[:0], Statistics{}
	a.afr.bits, a.afr.draining = 0, false
	return ErrNone
}

// close2018 releases the file context and everything that hangs on it.
func (a *Agent) close2018(p Port) {
	if a.afr.timers[TimerRequest] {
		p.StopTimer(TimerRequest)
		p.DeleteTimer(TimerRequest)
		a.afr.timers[TimerRequest] = false
	}
	if topic := a.streamTopic("/data/cbor"); !a.file.Stream.Null && a.fits(topic) {
		p.Unsubscribe(0, topic)
	}
	p.AbortFile(&a.file)
	a.file = File{}
	a.file.clear(true)
	a.momentum, a.afr.open = 0, false
}

// fits reports whether the agent's buffer takes the topic.
func (a *Agent) fits(topic string) bool {
	limit := a.cfg.Profile.TopicMax
	return limit == 0 || len(topic) <= limit
}

// replaceJob ends the transfer for whatever document arrives. With the defect absent the document is left alone.
func (a *Agent) replaceJob(p Port, m message) Err {
	if !a.cfg.Profile.JobMessageCloses {
		return ErrNone
	}
	a.close2018(p)
	return a.takeJob2018(p, m)
}

// takeJob2018 reads a document and begins its job. A document that begins none makes an agent whose image is in its test
// begin that again.
func (a *Agent) takeJob2018(p Port, m message) Err {
	if a.afr.asking {
		a.afr.asking = false
		p.StopTimer(TimerRequest)
	}
	err := a.beginJob(p, m.data)
	if err != ErrNone {
		a.close2018(p)
		if a.image == ImageTesting {
			a.startTest2018(p)
		}
	}
	return err
}

func (a *Agent) beginJob(p Port, doc []byte) Err {
	if !a.parse2018(p, doc) {
		return ErrJobParserError
	}
	if a.afr.guard && !a.cfg.Profile.GuardPretends {
		a.job, a.afr.hasJob = "", false
		return ErrInitFileTransferFailed
	}
	a.afr.open = true
	if a.afr.guard {
		return ErrNone // the slot of the older firmware stays as it is
	}
	blocks := a.blocks()
	if !p.Alloc(int((uint64(blocks)+7)/8)) || !a.subscribe2018(p) {
		if !a.cfg.Profile.KeepsFailedJob {
			a.job, a.afr.hasJob = "", false
		}
		return ErrInitFileTransferFailed
	}
	a.file.Remaining, a.file.bitmap = blocks, wholeBitmap(blocks)
	a.arm(p, TimerRequest, a.cfg.RequestMs)
	if status := p.CreateFile(&a.file); status.Main() != 0 {
		a.setImageState2018(p, ImageAborted, Err(status))
		return ErrInitFileTransferFailed
	}
	return ErrNone
}

func (a *Agent) subscribe2018(p Port) bool {
	topic := a.streamTopic("/data/cbor")
	return a.fits(topic) && p.Subscribe(0, topic)
}

// startTest2018 has the application test the image.
func (a *Agent) startTest2018(p Port) {
	if p.PlatformState() == PlatformPendingCommit {
		a.arm(p, TimerSelfTest, a.cfg.SelfTestMs)
		p.Callback(a, CallbackStartTest, Info{})
		return
	}
	a.setImageState2018(p, ImageRejected, afrImageStateMismatch)
	p.ResetDevice(&a.file)
}

// requestStream asks for all missing blocks.
func (a *Agent) requestStream(p Port, _ message) Err {
	if a.file.Remaining == 0 {
		return ErrNone
	}
	if err := a.requestBitmap(p); err != ErrNone {
		a.setImageState2018(p, ImageAborted, err)
		a.close2018(p)
		return err
	}
	return ErrNone
}

func (a *Agent) requestBitmap(p Port) Err {
	if a.momentum >= a.cfg.MomentumLimit {
		return afrMomentumAbort | Err(a.cfg.MomentumLimit)
	}
	if len(a.file.bitmap) > requestBufferSize {
		return afrFailedToEncodeCBOR
	}
	msg := AppendStreamRequest(make([]byte, 0, 32+len(a.file.bitmap)), "rdy", int32(a.file.ID), int32(a.cfg.BlockSize()), 0,
		a.file.bitmap, -1)
	if len(msg) > requestBufferSize {
		return afrFailedToEncodeCBOR
	}
	a.momentum++
	topic := a.streamTopic("/get/cbor")
	if !a.fits(topic) {
		return afrTopicTooLarge
	}
	if p.Publish(0, topic, msg) || !a.cfg.Profile.StallsOnLostRequest {
		a.arm(p, TimerRequest, a.cfg.RequestMs)
	}
	return ErrNone
}

func (a *Agent) abortTransfer(p Port, _ message) Err {
	a.setImageState2018(p, ImageAborted, afrUserAbort)
	a.close2018(p)
	return ErrNone
}

// takeBlock takes in one block message.
func (a *Agent) takeBlock(p Port, m message) Err {
	if a.afr.guard {
		return ErrNone
	}
	result, status := a.ingest2018(p, m.data)
	switch {
	case result == ingestDuplicate:
		if a.cfg.Profile.DuplicateResets {
			a.momentum = 0
		}
		if a.cfg.Profile.DuplicateProgress {
			a.updateStatus(p, StatusInProgress, ReasonReceiving, 0)
		}
		return ErrNone
	case result == ingestForeign:
		return ErrNone
	case result >= 0:
		a.momentum = 0
		a.updateStatus(p, StatusInProgress, ReasonReceiving, 0)
		return ErrNone
	}
	callback := CallbackFail
	if result == ingestFileComplete {
		a.updateStatus(p, StatusInProgress, ReasonSigCheckPassed, 0)
		callback = CallbackActivate
	} else {
		p.SetPlatformState(&a.file, ImageRejected)
		a.updateStatus(p, StatusFailedWithValue, uint32(status), uint32(result))
	}
	a.close2018(p)
	p.Callback(a, callback, Info{Job: a.job})
	a.job, a.afr.hasJob = "", false
	return ErrNone
}

// ingest2018 checks and writes one block and closes the file after the last one. status goes with a failure.
func (a *Agent) ingest2018(p Port, msg []byte) (ingestResult, Err) {
	f := &a.file
	if f.bitmap == nil || f.Remaining == 0 {
		return ingestUnexpectedBlock, afrGenericIngestError
	}
	a.arm(p, TimerRequest, a.cfg.RequestMs)
	b, err := DecodeBlock2018(msg)
	if err != nil || !p.Alloc(len(b.Payload)) {
		return ingestBadData, afrGenericIngestError
	}
	if uint32(b.File) != f.ID && !a.cfg.Profile.AnyFileID {
		return ingestForeign, 0
	}
	index, size := uint32(b.Index), uint32(b.Size)
	last := a.blocks() - 1
	if (index >= last || size != a.cfg.BlockSize()) && (index != last || size != f.Size-last*a.cfg.BlockSize()) {
		return ingestBlockOutOfRange, afrGenericIngestError
	}
	if f.bitmap[index/8]&(1<<(index%8)) == 0 {
		return ingestDuplicate, 0
	}
	payload := b.Payload
	if len(payload) < int(size) {
		if !a.cfg.Profile.StaleTail {
			return ingestBadData, afrGenericIngestError
		}
		payload = append(make([]byte, 0, size), payload...)[:size] // reads on behind the heap block
	}
	if p.WriteBlock(f, index<<a.cfg.Log2Block, payload[:size]) < 0 {
		return ingestWriteBlockFailed, afrGenericIngestError
	}
	f.bitmap[index/8] &^= 1 << (index % 8)
	if f.Remaining--; f.Remaining > 0 {
		return ingestAccepted, 0
	}
	p.StopTimer(TimerRequest)
	f.bitmap = nil
	switch status := p.CloseFile(f); status.Main() {
	case 0:
		return ingestFileComplete, 0
	case afrSignatureCheckFailed.Main():
		return ingestSigCheckFail, Err(status)
	default:
		return ingestFileCloseFail, Err(status)
	}
}

// setImageState2018 tells the platform, then the cloud.
func (a *Agent) setImageState2018(p Port, s ImageState, reason Err) Err {
	status := p.SetPlatformState(&a.file, s)
	if status.Main() != 0 && s != ImageAborted {
		s = ImageRejected
		if reason == ErrNone {
			reason = Err(status)
		}
	}
	a.image = s
	if s == ImageAccepted {
		a.afr.guard = false
	}
	if !a.afr.hasJob {
		return afrNoActiveJob
	}
	switch s {
	case ImageTesting:
		a.updateStatus(p, StatusInProgress, ReasonSelfTestActive, 0)
		return ErrNone
	case ImageAccepted:
		if a.afr.timers[TimerSelfTest] {
			p.StopTimer(TimerSelfTest)
		}
		a.updateStatus(p, StatusSucceeded, ReasonAccepted, a.version)
	case ImageRejected:
		a.updateStatus(p, StatusFailed, ReasonRejected, uint32(reason))
	default:
		a.updateStatus(p, StatusFailed, ReasonAborted, uint32(reason))
	}
	a.job, a.afr.hasJob = "", false
	return ErrNone
}

// setVerdict2018 is the application's verdict.
func (a *Agent) setVerdict2018(p Port, s ImageState) Err {
	switch s {
	case ImageAborted:
		a.signal2018(p, UserAbort, nil)
		return ErrNone
	case ImageAccepted, ImageRejected:
		if !a.cfg.Profile.RejectLeavesTimer {
			p.StopTimer(TimerSelfTest)
		}
		return a.setImageState2018(p, s, 0)
	}
	return afrBadImageState
}
