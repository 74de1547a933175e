package agent

import "github.com/otasim/otasim/device/defect"

// Config is what a build of the agent fixes. It is shared by devices and never changed. The fields are the library's
// otaconfig values.
type Config struct {
	Profile          *Profile
	Log2Block        uint8      // block size 2^n bytes, 8 to 14
	BlocksPerRequest uint32     // "n" of a stream request
	RequestMs        uint32     // idle time before a request is repeated
	SelfTestMs       uint32     // self-test guard
	MomentumLimit    uint32     // unanswered requests before the job is given up
	StatusEvery      uint32     // blocks between two progress statuses
	QueueLength      int        // event queue
	DataBuffers      int        // for received messages, from their arrival until they are processed; 0 = BlocksPerRequest+1
	HeapBuffers      bool       // the application supplies no buffers
	BitmapBuffer     int        // bytes of the application's bitmap buffer
	PrimaryHTTP      bool       // HTTP is preferred when a job offers both protocols
	WithoutMQTT      bool       // configENABLED_DATA_PROTOCOLS lacks MQTT, or
	WithoutHTTP      bool       // it lacks HTTP
	AllowDowngrade   bool       // skip the version check
	Asserts          bool       // assertions are compiled in
	AnySignature     bool       // the platform layer takes a file whatever its signature
	Defects          defect.Set // planted, to test checkers
}

// DefaultConfig returns the defaults of the profile's release: 4 KiB blocks with the library, 1 KiB in 2018.
func DefaultConfig(p *Profile) Config {
	if p.Task2018 {
		return Config{Profile: p, Log2Block: 10, RequestMs: 2500, SelfTestMs: 16000, MomentumLimit: 32, StatusEvery: 64,
			QueueLength: 6, HeapBuffers: true}
	}
	return Config{Profile: p, Log2Block: 12, BlocksPerRequest: 1, RequestMs: 10000, SelfTestMs: 16000,
		MomentumLimit: 32, StatusEvery: 64, QueueLength: 20, BitmapBuffer: 128}
}

// BlockSize returns the block size in bytes.
func (c *Config) BlockSize() uint32 { return 1 << c.Log2Block }

// Buffers returns the number of buffers for received messages: one more than the blocks of a request, as the ESP32 port has
// it, unless DataBuffers says otherwise.
func (c *Config) Buffers() int {
	if c.DataBuffers > 0 {
		return c.DataBuffers
	}
	return int(c.BlocksPerRequest) + 1
}

type message struct {
	id    EventID
	turn  uint16 // of the file that an event of the agent's own is about
	first uint32 // of an HTTP body: where the range it answers begins
	data  []byte
}

type dataPath uint8

const (
	dataNone dataPath = iota
	dataMQTT
	dataHTTP
)

// Statistics counts block messages since the last file was opened.
type Statistics struct{ Received, Queued, Processed, Dropped uint32 }

// Agent is the OTA agent of one device: a machine that is fed with messages and timer expiries and acts through a
// Port. It holds no reference to the port, the clock or anything shared that changes, so a copy made with Clone is a
// fork.
type Agent struct {
	cfg     *Config
	thing   string
	version uint32 // of the running firmware

	state       State
	image       ImageState
	data        dataPath
	unsubscribe bool // when files are closed and on shutdown
	started     bool // was initialised since boot
	wiped       bool // was shut down, and with it lost the pointers to its port

	job       string // active job, as the fixed buffer holds it
	file      File
	turn      uint16 // counts the files begun and closed
	momentum  uint32
	expected  uint32 // blocks still expected in the current window
	httpBlock uint32 // position of the HTTP data path
	requests  uint32 // get-next requests so far, the client token
	stats     Statistics
	queue     []message
	topic     string // of the next stream request
	tail      []byte // what the decode buffer holds of earlier blocks
	afr       afr

	// Crash says that the agent's program died of a defect: a null pointer, a failed assertion. The device restarts.
	Crash string
}

// New returns an agent that has not been initialised: state Stopped.
func New(cfg *Config, thing string, version uint32) Agent {
	a := Agent{cfg: cfg, thing: thing, version: version, state: Stopped, expected: 1}
	if p := cfg.Profile; p.Task2018 {
		a.state = NotReady
		if len(thing) > p.ThingNameMax {
			a.thing = "" // not stored
		}
		a.file.clear(true)
		return a
	}
	a.wipeBuffers()
	return a
}

// Clone returns an independent copy.
func (a *Agent) Clone() Agent {
	c := *a
	c.queue = append([]message(nil), a.queue...)
	c.file.bitmap = append([]byte(nil), a.file.bitmap...)
	if a.file.bitmap == nil {
		c.file.bitmap = nil
	}
	return c
}

// View is what can be seen of an agent from outside.
type View struct {
	State               State
	Image               ImageState
	Job                 string
	Remaining, Momentum uint32
	Expected            uint32
	Queued              int
	Stats               Statistics
}

// View returns the agent's observable state.
func (a *Agent) View() View {
	return View{a.state, a.image, a.job, a.file.Remaining, a.momentum, a.expected, len(a.queue), a.stats}
}

// enter is the one place that writes the state.
func (a *Agent) enter(s State) { a.state = s }

// Initialise prepares a stopped agent; while it runs only the statistics are cleared.
func (a *Agent) Initialise(p Port) Err {
	if a.cfg.Profile.Task2018 {
		return ErrNone // the 2018 agent prepares itself when its task starts
	}
	if a.state != Stopped {
		a.stats = Statistics{}
		return ErrNone
	}
	if len(a.thing) > a.cfg.Profile.ThingNameMax || a.thing == "" {
		return ErrUninitialized
	}
	if !a.cfg.Profile.ShutdownWipes {
		for _, m := range a.queue {
			a.unexpected(p, m)
		}
	}
	a.queue, a.wiped = a.queue[:0], false
	if !a.started || !a.cfg.Profile.UnsubscribeFlagSticks {
		a.unsubscribe = true
	}
	a.started = true
	a.enter(Init)
	return ErrNone
}

// Signal posts an event. It fails when the agent is stopped or its queue is full; the data of a message is then not the agent's.
func (a *Agent) Signal(p Port, id EventID, data []byte) bool {
	if a.cfg.Profile.Task2018 {
		return a.signal2018(p, id, data)
	}
	return a.post(p, message{id: id, data: data})
}

func (a *Agent) post(p Port, m message) bool {
	if a.state == Stopped {
		if !a.cfg.Profile.ShutdownWipes {
			a.refuse(p, m)
			return false
		}
		if a.wiped {
			a.Crash = "event for a stopped agent: call through a null pointer"
			return false
		}
	}
	m.turn = a.turn
	ok := len(a.queue) < a.cfg.QueueLength
	if ok {
		a.queue = append(a.queue, m)
	} else {
		p.QueueFull(m.id)
		a.refuse(p, m)
	}
	if m.id == ReceivedFileBlock {
		a.stats.Received++
		if ok {
			a.stats.Queued++
		} else {
			a.stats.Dropped++
		}
	}
	return ok
}

// refuse gives back the buffer of a message that is not taken.
func (a *Agent) refuse(p Port, m message) {
	if m.data != nil && !a.cfg.Profile.LosesBuffer {
		p.Callback(a, CallbackProcessed, Info{Document: m.data})
	}
}

// Process handles up to limit queued events, all of them when limit is negative.
func (a *Agent) Process(p Port, limit int) {
	if a.cfg.Profile.Task2018 {
		for limit != 0 && a.Pending() {
			a.step2018(p)
			limit--
		}
		return
	}
	for a.state != Stopped && limit != 0 && a.Crash == "" {
		if len(a.queue) == 0 {
			return
		}
		if a.state == Init {
			a.enter(Ready)
		}
		a.dispatch(p, a.pop())
		limit--
	}
}

// Pending reports whether there is something to process.
func (a *Agent) Pending() bool {
	if a.cfg.Profile.Task2018 {
		return a.afr.bits != 0 || a.afr.draining
	}
	return len(a.queue) > 0 && a.state != Stopped && a.Crash == ""
}

func (a *Agent) pop() message {
	m := a.queue[0]
	n := copy(a.queue, a.queue[1:])
	a.queue[n] = message{}
	a.queue = a.queue[:n]
	return m
}

func (a *Agent) dispatch(p Port, m message) {
	row := a.cfg.Profile.table()[a.state][m.id]
	if m.turn != a.turn && m.id.ofFile() && !a.cfg.Profile.StaleEvents {
		return
	}
	if row == nil {
		a.unexpected(p, m)
		return
	}
	if row.run(a, p, m) == ErrNone && a.Crash == "" {
		a.enter(row.next)
	}
}

func (a *Agent) unexpected(p Port, m message) {
	switch m.id {
	case ReceivedJobDocument:
		p.Callback(a, CallbackProcessed, Info{Document: m.data})
	case ReceivedFileBlock:
		p.Callback(a, CallbackProcessed, Info{Document: m.data})
		a.stats.Dropped++
	}
}

// Expired reports that a timer ran out.
func (a *Agent) Expired(p Port, t Timer) {
	if t == TimerSelfTest {
		p.ResetDevice(&a.file)
		return
	}
	if a.cfg.Defects.Has(defect.NeverAsksAgain) {
		return
	}
	if !a.Signal(p, RequestTimer, nil) && !a.cfg.Profile.QueueLosesTimer && !a.cfg.Profile.Task2018 && a.state != Stopped {
		p.StartTimer(TimerRequest, a.cfg.RequestMs)
	}
}

// SuspendAgent asks the agent to stop reacting until ResumeAgent.
func (a *Agent) SuspendAgent(p Port) Err {
	if a.state == Stopped || a.cfg.Profile.Task2018 {
		return ErrAgentStopped
	}
	if a.cfg.Profile.SuspendStopsEarly {
		a.stopForSuspend(p)
	}
	if !a.Signal(p, Suspend, nil) {
		return ErrSignalEventFailed
	}
	return ErrNone
}

func (a *Agent) stopForSuspend(p Port) {
	p.StopTimer(TimerRequest)
	if !a.cfg.Profile.TimersOutlive {
		p.StopTimer(TimerSelfTest)
	}
}

// ResumeAgent asks a suspended agent to fetch its job again.
func (a *Agent) ResumeAgent(p Port) Err {
	if a.state == Stopped || a.cfg.Profile.Task2018 {
		return ErrAgentStopped
	}
	if !a.cfg.Profile.TimersOutlive {
		if a.cfg.Profile.ResumeArmsSelfTest || p.PlatformState() == PlatformPendingCommit {
			p.StartTimer(TimerSelfTest, a.cfg.SelfTestMs)
		}
		if a.cfg.Profile.ResumeArmsEarly {
			p.StartTimer(TimerRequest, a.cfg.RequestMs)
		}
	}
	if a.cfg.Defects.Has(defect.ForgetsOnReconnect) {
		return ErrNone
	}
	if !a.Signal(p, Resume, nil) {
		return ErrSignalEventFailed
	}
	return ErrNone
}

// CheckForUpdate asks for the next job.
func (a *Agent) CheckForUpdate(p Port) Err {
	if a.cfg.Profile.Task2018 {
		if !a.askOnce(p) {
			return afrPublishFailed
		}
		return ErrNone
	}
	if !a.Signal(p, RequestJobDocument, nil) {
		return ErrSignalEventFailed
	}
	return ErrNone
}

// Activate starts the new image; on a device it does not return.
func (a *Agent) Activate(p Port) Err {
	status := p.ActivateImage(&a.file)
	switch {
	case a.cfg.Profile.Task2018:
		return Err(status)
	case status.Main() != 0:
		return ErrActivateFailed
	}
	return ErrNone
}

// ShutdownAgent asks the agent to stop for good.
func (a *Agent) ShutdownAgent(p Port, unsubscribe bool) {
	if a.cfg.Profile.Task2018 {
		a.signal2018(p, Shutdown, nil)
		return
	}
	if a.state != Stopped && a.state != ShuttingDown {
		if a.cfg.Profile.ShutdownStopsEarly {
			deleteTimers(p)
		}
		a.unsubscribe = unsubscribe
		a.Signal(p, Shutdown, nil)
	}
}

// SetImageState is the application's verdict: accepted, rejected, or aborted by the user.
func (a *Agent) SetImageState(p Port, s ImageState) Err {
	if a.cfg.Profile.Task2018 {
		return a.setVerdict2018(p, s)
	}
	switch s {
	case ImageAborted:
		if !a.Signal(p, UserAbort, nil) {
			return ErrSignalEventFailed
		}
		return ErrNone
	case ImageAccepted, ImageRejected:
		err := a.setImageState(p, s, 0)
		if a.state == Suspended && a.asksAgain() {
			p.StopTimer(TimerRequest) // it asks when it is resumed
		}
		return err
	}
	return ErrInvalidArg
}
