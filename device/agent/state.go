package agent

// State is the agent's state, numbered as the library numbers them.
type State uint8

// The states of the v3 library, then those that only the 2018 agent has besides Ready.
const (
	Init State = iota
	Ready
	RequestingJob
	WaitingForJob
	CreatingFile
	RequestingFileBlock
	WaitingForFileBlock
	ClosingFile
	Suspended
	ShuttingDown
	Stopped
	NotReady // of the 2018 agent: its task does not run
	Active   // of the 2018 agent: a file is open
	anyState
)

var stateNames = [...]string{"Init", "Ready", "RequestingJob", "WaitingForJob", "CreatingFile", "RequestingFileBlock",
	"WaitingForFileBlock", "ClosingFile", "Suspended", "ShuttingDown", "Stopped", "NotReady", "Active", "All"}

func (s State) String() string { return stateNames[s] }

// Number2018 is the number of a state in the 2018 agent.
func (s State) Number2018() int {
	switch s {
	case Ready:
		return 1
	case Active:
		return 2
	}
	return 0
}

// EventID names what the agent is asked to process.
type EventID uint8

// The events.
const (
	Start EventID = iota
	StartSelfTest
	RequestJobDocument
	ReceivedJobDocument
	CreateFile
	RequestFileBlock
	ReceivedFileBlock
	RequestTimer
	CloseFile
	Suspend
	Resume
	UserAbort
	Shutdown
	eventCount
)

var eventNames = [eventCount]string{"Start", "StartSelfTest", "RequestJobDocument", "ReceivedJobDocument", "CreateFile",
	"RequestFileBlock", "ReceivedFileBlock", "RequestTimer", "CloseFile", "Suspend", "Resume", "UserAbort", "Shutdown"}

func (e EventID) String() string { return eventNames[e] }

// ofFile reports whether the agent posts the event to itself to go on with the file in hand.
func (e EventID) ofFile() bool {
	return e == CreateFile || e == RequestFileBlock || e == CloseFile || e == StartSelfTest
}

// ImageState is the agent's view of the image that runs or is being received.
type ImageState uint8

// The image states.
const (
	ImageUnknown ImageState = iota
	ImageTesting
	ImageAccepted
	ImageRejected
	ImageAborted
)

// PlatformState is what the platform layer reads from the boot record.
type PlatformState uint8

// The platform states.
const (
	PlatformUnknown PlatformState = iota
	PlatformPendingCommit
	PlatformValid
	PlatformInvalid
)

// Timer is one of the agent's two one-shot timers.
type Timer uint8

// The timers.
const (
	TimerRequest Timer = iota
	TimerSelfTest
)

// Callback is an event the agent tells the application.
type Callback uint8

// The application callbacks, numbered as in the library.
const (
	CallbackActivate Callback = iota
	CallbackFail
	CallbackStartTest
	CallbackProcessed
	CallbackSelfTestFailed
	CallbackParseCustomJob
	CallbackReceivedJob
	CallbackUpdateComplete
	CallbackNoActiveJob
)

var callbackNames = [...]string{"Activate", "Fail", "StartTest", "Processed", "SelfTestFailed", "ParseCustomJob",
	"ReceivedJob", "UpdateComplete", "NoActiveJob"}

func (c Callback) String() string { return callbackNames[c] }

// Err is an agent error code; it is printed in FAILED statuses.
type Err uint32

// Agent error codes.
const (
	ErrNone                   Err = 0x00
	ErrUninitialized          Err = 0x01
	ErrInvalidArg             Err = 0x03
	ErrAgentStopped           Err = 0x04
	ErrSignalEventFailed      Err = 0x05
	ErrRequestJobFailed       Err = 0x06
	ErrInitFileTransferFailed Err = 0x07
	ErrRequestFileBlockFailed Err = 0x08
	ErrUpdateJobStatusFailed  Err = 0x0b
	ErrJobParserError         Err = 0x0c
	ErrInvalidDataProtocol    Err = 0x0d
	ErrMomentumAbort          Err = 0x0e
	ErrDowngradeNotAllowed    Err = 0x0f
	ErrSameFirmwareVersion    Err = 0x10
	ErrImageStateMismatch     Err = 0x11
	ErrNoActiveJob            Err = 0x12
	ErrUserAbort              Err = 0x13
	ErrFailedToEncodeCBOR     Err = 0x14
	ErrActivateFailed         Err = 0x16
	ErrEmptyJobDocument       Err = 0x18
)

// PALStatus is a platform layer result: main code in the top byte, sub code below. 0 in the top byte is success.
type PALStatus uint32

// Platform layer main codes.
const (
	PALUninitialized  PALStatus = 0xe0 << 24
	PALSignature      PALStatus = 0xe3 << 24
	PALFileCreate     PALStatus = 0xe4 << 24
	PALFileTooLarge   PALStatus = 0xe5 << 24
	PALBadSignerCert  PALStatus = 0xe7 << 24
	PALBadImageState  PALStatus = 0xe8 << 24
	PALCommitFailed   PALStatus = 0xeb << 24
	PALActivateFailed PALStatus = 0xec << 24
	PALFileAbort      PALStatus = 0xed << 24
	PALFileClose      PALStatus = 0xee << 24
)

// codes2018 are the main codes of 2018.
var codes2018 = map[PALStatus]PALStatus{
	PALSignature: 0x01 << 24, PALBadSignerCert: 0x02 << 24, PALActivateFailed: 0x04 << 24, PALCommitFailed: 0x05 << 24,
	PALBadImageState: 0x09 << 24, PALFileAbort: 0x10 << 24, PALFileClose: 0x11 << 24, PALFileCreate: 0x12 << 24, PALFileTooLarge: 0x14 << 24,
	PALUninitialized: 0xff << 24,
}

// Of2018 is the same result as the platform layer of 2018 numbers it.
func (s PALStatus) Of2018() PALStatus { return codes2018[s&^0xffffff] | s&0xffffff }

// Main returns the main code, 0 for success.
func (s PALStatus) Main() uint32 { return uint32(s >> 24) }

// Sub returns the 24-bit sub code.
func (s PALStatus) Sub() uint32 { return uint32(s & 0xffffff) }
