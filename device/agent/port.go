package agent

import "bytes"

// Port is everything the agent calls: MQTT and HTTP, timers, the platform layer and the application. Calls are
// synchronous and their results are part of the agent's input; false means failed.
type Port interface {
	Subscribe(qos byte, topic string) bool
	Unsubscribe(qos byte, topic string) bool
	// Publish hands out payload for good: the agent never changes it afterwards.
	Publish(qos byte, topic string, payload []byte) bool

	HTTPInit(url Text) bool
	HTTPRequest(first, last uint32) bool // byte range, inclusive
	HTTPDeinit()

	StartTimer(t Timer, ms uint32) bool
	StopTimer(t Timer)
	DeleteTimer(t Timer)

	CreateFile(f *File) PALStatus
	// WriteBlock returns the number of bytes written. data is part of an immutable message.
	WriteBlock(f *File, offset uint32, data []byte) int
	CloseFile(f *File) PALStatus
	AbortFile(f *File) PALStatus
	ActivateImage(f *File) PALStatus
	ResetDevice(f *File) PALStatus
	SetPlatformState(f *File, s ImageState) PALStatus
	PlatformState() PlatformState

	// Callback tells the application; the application may call the agent's methods from inside. The result is
	// used for CallbackParseCustomJob only.
	Callback(a *Agent, c Callback, info Info) CustomStatus

	QueueFull(id EventID)
	// Alloc asks for heap memory; used only with Config.HeapBuffers.
	Alloc(bytes int) bool
}

// Status is a job status as the agent numbers them.
type Status uint8

// The job statuses.
const (
	StatusInProgress Status = iota
	StatusFailed
	StatusSucceeded
	StatusRejected
	StatusFailedWithValue
)

// Reasons that go with a status; with StatusFailedWithValue the reason is a code instead.
const (
	ReasonReceiving      = 0
	ReasonSigCheckPassed = 1
	ReasonSelfTestActive = 2
	ReasonAccepted       = 3
	ReasonRejected       = 4
	ReasonAborted        = 5
)

// Info goes with a callback. JobNull says that the application got no job id pointer at all.
type Info struct {
	Job         string
	JobNull     bool
	Status      Status
	Reason, Sub uint32
	FileType    uint32
	Document    []byte // ParseCustomJob: the job's document; Processed: the message that may be released
}

// CustomStatus is the application's answer to ParseCustomJob. Claimed false: not a job of the application's either.
type CustomStatus struct {
	Claimed     bool
	Status      Status
	Reason, Sub uint32
}

// File is the file context of the one transfer the agent can hold. Strings are as the job document had them.
type File struct {
	Path, Cert, Stream, Protocols, URL, AuthScheme Text
	JobID                                          string
	Signature                                      []byte // DER
	Size, ID, Attr, Type                           uint32
	UpdatedBy                                      uint32 // version that published the last status, 0 when absent
	Remaining                                      uint32 // blocks still wanted
	SelfTest                                       bool
	selfTestActive                                 bool
	bitmap                                         []byte // 1 = wanted, LSB first; nil when no transfer holds it
}

// Text is a C string in a buffer of the application's or on the heap, where it may be missing.
type Text struct {
	S    string
	Null bool
}

// clear empties the strings; on the heap nothing is left of them.
func (f *File) clear(heap bool) {
	none := Text{Null: heap}
	f.Path, f.Cert, f.Stream, f.URL, f.AuthScheme = none, none, none, none, none
}

// sameFile reports whether two documents ask for the same bytes from the same stream.
func (f *File) sameFile(g *File) bool {
	return f.Size == g.Size && f.ID == g.ID && f.Type == g.Type && f.Stream == g.Stream && f.Protocols == g.Protocols &&
		f.Cert == g.Cert && bytes.Equal(f.Signature, g.Signature)
}
