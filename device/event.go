package device

import "time"

// EventKind says what reached the device.
type EventKind uint8

// The kinds of events a device can be stepped with.
const (
	PowerOn       EventKind = iota // mains power arrives: cold boot
	Wake                           // the earliest armed timer (NextWake) is due
	Connected                      // the broker accepted the connection asked for by OpConnect
	ConnectFailed                  // it did not; Err says why
	Disconnected                   // an established connection is gone; Err says why
	Message                        // a PUBLISH arrived: Topic, Payload
	Acked                          // PUBACK, SUBACK or UNSUBACK for the operation with this ID
	HTTPResponse                   // the response to the OpHTTPGet with this ID: Status, Payload is the body
	HTTPFailed                     // the OpHTTPGet with this ID got no response, or (ID 0) OpHTTPOpen failed; Err says why
)

// Event is one input of the device. Payload is immutable from here on and may be shared by many devices.
type Event struct {
	Kind    EventKind
	Topic   string
	Payload []byte
	ID      uint16
	Status  uint16 // of HTTP
	Err     string
	// Arrived is when a message reached the device, if that was before the step: the CPU was busy. 0 is the time of the
	// step.
	Arrived time.Duration
}

// OpKind is what the device asks its network for.
type OpKind uint8

// The network operations.
const (
	OpConnect OpKind = iota
	OpSubscribe
	OpUnsubscribe
	OpPublish
	OpDisconnect
	OpHTTPOpen
	OpHTTPGet
	OpHTTPClose
)

// NetOp is one network operation, in the order the firmware issued it.
//
//	OpConnect      ClientID, Certificate, Key, CA, KeepAlive (s), Ping, CleanSession
//	OpSubscribe    ID, Topic (filter), QoS
//	OpUnsubscribe  ID, Topic
//	OpPublish      ID (0 at QoS 0), Topic, QoS, Payload
//	OpHTTPOpen     Topic (the URL whose host is meant), CA; an earlier connection is closed first
//	OpHTTPGet      ID, Topic (the URL), First, Last (byte range, inclusive), on the connection opened last
//	OpHTTPClose    nothing
//
// At is the device's time when its program reached the call: it lies after the step's event by the flash and CPU
// work done before. Payload is never changed after it was handed out.
type NetOp struct {
	Kind         OpKind
	QoS          byte
	CleanSession bool
	ID           uint16
	KeepAlive    uint16
	Ping         time.Duration // of silence before a PINGREQ; 0: the keep-alive
	At           time.Duration
	ClientID     string
	Topic        string
	Payload      []byte
	Certificate  []byte // DER, the device certificate from NVS
	Key          []byte // as stored in NVS, PEM or DER
	CA           []byte // PEM of the trusted root, as stored in NVS
	First, Last  uint32
}

// Phase is the part of an update the device is in.
type Phase uint8

// The phases, in the order of a good update.
const (
	PhaseOff      Phase = iota // no power
	PhaseBoot                  // bootloader, and the application until it is connected
	PhaseIdle                  // no update in hand
	PhaseDownload              // slot erase and blocks
	PhaseVerify                // read back, digest, signature, image check
	PhaseOtadata               // the boot record is being rewritten
	PhaseReset                 // waiting for the restart that follows activation or rejection
	PhaseSelfTest              // the new image runs and is not confirmed
	PhaseConfirm               // otadata VALID, eFuse, final status
	PhaseBricked               // no image starts: the boot loop was cut off, see Model.BootBudget
)

var phaseNames = [...]string{"off", "boot", "idle", "download", "verify", "otadata", "reset", "self-test", "confirm", "bricked"}

func (p Phase) String() string { return phaseNames[p] }

// Point names a place in the device's program where a fault may be planned. Points with an argument are written
// with it, as in block(128).programmed.
type Point uint8

// The points, in the order of a good update.
const (
	PointBoot             Point = iota // power or reset released the chip; arg 0 cold, 1 software, 2 panic, 3 watchdog
	PointPassiveErase                  // the bootloader is about to run with a confirmed slot and an older record: it may erase it
	PointStarted                       // the application runs; arg is the slot
	PointConnect                       // CONNECT goes out
	PointConnected                     // CONNACK came in
	PointJobReceived                   // a job document arrived
	PointSlotErase                     // esp_ota_begin is about to erase the slot
	PointBlockRequested                // a stream request goes out
	PointBlockReceived                 // arg is the block index
	PointBlockProgrammed               // the block is in flash; arg is the block index
	PointDownloadComplete              // the last block is in flash
	PointVerify                        // read back, digest and signature begin
	PointReady                         // status self_test ready is about to go out
	PointOtadataProgram                // the boot record is about to be rewritten
	PointReset                         // the restart delay begins
	PointSelfTest                      // the self-test begins
	PointConfirm                       // the image is about to be marked VALID
	PointReport                        // a final status is about to go out
	PointReported                      // and was acknowledged
	PointDataProgram                   // a data partition is about to be erased and programmed
	pointCount
)

var pointNames = [pointCount]string{
	"boot", "passive.erase", "started", "connect", "connected", "job.received", "slot.erase", "block.requested",
	"block.received", "block.programmed", "download.complete", "verify", "ready", "otadata.program", "reset",
	"self-test", "confirm", "report", "reported", "data.program",
}

func (p Point) String() string { return pointNames[p] }

// Points lists every point in program order.
func Points() []Point {
	all := make([]Point, pointCount)
	for i := range all {
		all[i] = Point(i)
	}
	return all
}
