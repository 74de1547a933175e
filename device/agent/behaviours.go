package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Behaviour is one switch of a Profile: a known defect of a release, or a difference between releases. ID is the number
// under which docs/agent-bugs.md describes a known defect, "" for the rest. Generation says whose code has the place.
type Behaviour struct {
	ID, Name   string
	Generation Generation
	What       string // what a profile with the switch on does
	Source     string // file, and where known the change that brought or ended it
	field      func(*Profile) *bool
}

// Generation names the agents that can have a behaviour.
type Generation uint8

// The generations of agents.
const (
	Library      Generation = 1 << iota // aws/ota-for-aws-iot-embedded-sdk
	FreeRTOS2018                        // aws/amazon-freertos lib/ota
	Both         = Library | FreeRTOS2018
)

const (
	fromAFR  = "amazon-freertos lib/ota/aws_ota_agent.c v1.4.0"
	fromOTA  = "ota-for-aws-iot-embedded-sdk source/ota.c"
	fromMQTT = "ota-for-aws-iot-embedded-sdk source/ota_mqtt.c"
	fromHTTP = "ota-for-aws-iot-embedded-sdk source/ota_http.c"
)

// Behaviours lists every switch: the known defects by number, then the differences.
var Behaviours = []Behaviour{
	{"B1", "jobMessageCloses", FreeRTOS2018, "any job message ends the transfer; the same job then counts as running and is never taken again", fromAFR + "; fixed 201910.00 (348f0b03d)", func(p *Profile) *bool { return &p.JobMessageCloses }},
	{"B2", "stallsOnLostRequest", FreeRTOS2018, "a stream request that cannot be sent is not repeated: the transfer stands still", fromAFR + "; fixed 201908.00 (bfe27c65a)", func(p *Profile) *bool { return &p.StallsOnLostRequest }},
	{"B3", "keepsFailedJob", FreeRTOS2018, "a job whose stream or bitmap cannot be had stays the active one without a file", fromAFR, func(p *Profile) *bool { return &p.KeepsFailedJob }},
	{"B4", "trialOverwrites", FreeRTOS2018, "a job during the trial of a new image erases the slot of the older firmware", fromAFR + "; fixed v1.4.2", func(p *Profile) *bool { return &p.TrialOverwrites }},
	{"B5", "duplicateProgress", FreeRTOS2018, "a duplicate block repeats the progress status", fromAFR + "; fixed 201908.00 (e083990d1)", func(p *Profile) *bool { return &p.DuplicateProgress }},
	{"B6", "tokenDangles", FreeRTOS2018, "a document without client token has that of an earlier one", fromAFR, func(p *Profile) *bool { return &p.TokenDangles }},
	{"B7", "asksOnce", FreeRTOS2018, "get-next is sent once and its loss not noticed", fromAFR, func(p *Profile) *bool { return &p.AsksOnce }},
	{"B8", "trailerOverflows", Both, "a file that leaves its slot no room for the 80-byte trailer is fetched all the same, and fails at its end", "amazon-freertos lib/ota/portable/espressif/.../aws_ota_pal.c; vendors/espressif/boards/ports/ota_pal_for_aws", func(p *Profile) *bool { return &p.TrailerOverflows }},
	{"B9", "trailerUnchecked", Both, "an image counts as valid although its signature could not be laid out as the trailer; the library's port reports success", "amazon-freertos vendors/espressif/boards/ports/ota_pal_for_aws/ota_pal.c asn1_to_raw_ecdsa; lib/ota/portable/espressif/.../aws_ota_pal.c", func(p *Profile) *bool { return &p.TrailerUnchecked }},
	{"B10", "failsForeignJobs", Both, "a job of another kind that the application does not claim is FAILED", fromAFR + ", " + fromOTA, func(p *Profile) *bool { return &p.FailsForeignJobs }},
	{"C1", "tokenLosesDigit", Library, "the client token loses the last digit of its number", fromMQTT + " since e5c5fb4a", func(p *Profile) *bool { return &p.TokenLosesDigit }},
	{"C2", "versionZeroEmpty", Library, "a zero in a version prints as nothing", fromMQTT + " to v3.4.1", func(p *Profile) *bool { return &p.VersionZeroEmpty }},
	{"C3", "jobIDSplice", Library, "a shorter job id is copied over a longer one without an end; all status goes to a job that does not exist", fromOTA, func(p *Profile) *bool { return &p.JobIDSplice }},
	{"C4", "switchLeavesStream", Library, "when a job replaces another the new stream is unsubscribed, not the old one, and blocks of any stream are taken", fromOTA, func(p *Profile) *bool { return &p.SwitchLeavesStream }},
	{"C5", "stickyProtocol", Library, "an unsupported protocol is noticed after the slot was erased; then nothing moves", fromOTA, func(p *Profile) *bool { return &p.StickyProtocol }},
	{"C6", "silentBadSize", Library, "jobs of impossible size or with an over-long id get no status", fromOTA, func(p *Profile) *bool { return &p.SilentBadSize }},
	{"C7", "lateBlockFails", Library, "a block queued behind the final one fails the finished job, under an empty id", fromOTA, func(p *Profile) *bool { return &p.LateBlockFails }},
	{"C8", "repeatLosesURL", Library, "with heap buffers a repeated document of the active job loses the URL", fromOTA, func(p *Profile) *bool { return &p.RepeatLosesURL }},
	{"C9", "httpCounts", Library, "an HTTP body is taken for the block after the one before, whatever range it answers", fromHTTP, func(p *Profile) *bool { return &p.HTTPCounts }},
	{"C10", "abortNeedsPublish", Library, "a user abort whose status cannot be sent forgets the job and goes on downloading", fromOTA, func(p *Profile) *bool { return &p.AbortNeedsPublish }},
	{"C11", "abortLeavesTimer", Library, "a user abort leaves the request timer running", fromOTA, func(p *Profile) *bool { return &p.AbortLeavesTimer }},
	{"C12", "takesGarbage", Library, "a document followed by garbage is accepted", fromOTA, func(p *Profile) *bool { return &p.TakesGarbage }},
	{"C13", "keepsOptionals", Library, "what a document does not mention stays as the job before left it: fileType, attr, updatedBy, signature, self_test", fromOTA, func(p *Profile) *bool { return &p.KeepsOptionals }},
	{"C14", "selfTestByPresence", Both, "self_test counts whatever its value is", fromOTA + ", " + fromAFR, func(p *Profile) *bool { return &p.SelfTestByPresence }},
	{"C15", "deafWhileWaiting", Library, "CheckForUpdate is ignored while waiting for a job", fromOTA, func(p *Profile) *bool { return &p.DeafWhileWaiting }},
	{"C16", "momentumStops", Library, "too many unanswered requests shut the agent down, and the job is reported with code 0", fromOTA, func(p *Profile) *bool { return &p.MomentumStops }},
	{"C17", "unsubscribeFlagSticks", Library, "initialising again after a shutdown does not restore the unsubscribe flag", fromOTA, func(p *Profile) *bool { return &p.UnsubscribeFlagSticks }},
	{"C18", "emptyDocUnsubscribes", Library, "an empty document unsubscribes the stream, under an empty name after a file was closed; needs emptyJobDoc", fromOTA + " main", func(p *Profile) *bool { return &p.EmptyDocUnsubscribes }},
	{"C19", "bitmapOverrun", Library, "a file of more blocks than the application's bitmap has bits writes behind it: the program dies", fromOTA + " to v3.4.1; fixed #504", func(p *Profile) *bool { return &p.BitmapOverrun }},
	{"C20", "staleSizeGuard", Library, "a document is ignored while more than 128 blocks of the transfer before are missing", fromOTA + " between #477 and #504, never released", func(p *Profile) *bool { return &p.StaleSizeGuard }},
	{"C21", "nextTopicCut", Library, "get-next goes to the topic $aws/things/", fromMQTT + " between e43672a0 and 1f8c1150, never released", func(p *Profile) *bool { return &p.NextTopicCut }},
	{"C22", "timerStopsBeforeTest", Library, "the self-test timer is stopped before the verdict", fromOTA, func(p *Profile) *bool { return &p.TimerStopsBeforeTest }},
	{"C23", "resumeArmsSelfTest", Library, "Resume arms the self-test timer on a healthy image: 16 s after every reconnection the device resets", fromOTA + " between #413 and #439", func(p *Profile) *bool { return &p.ResumeArmsSelfTest }},
	{"C24", "timersOutlive", Library, "suspend, resume and shutdown leave the timers alone, the request timer on suspend excepted", fromOTA + " before v3.4.0 (#413)", func(p *Profile) *bool { return &p.TimersOutlive }},
	{"C25", "shutdownWipes", Library, "a shut down agent has lost its port: an event for it is a call through a null pointer", fromOTA + " before #440", func(p *Profile) *bool { return &p.ShutdownWipes }},
	{"C26", "shortBlockAsserts", Library, "in a build with assertions the short last block may not come before others", fromOTA + " to v3.3.0, fixed #450", func(p *Profile) *bool { return &p.ShortBlockAsserts }},
	{"C28", "wildcardStreams", Library, "every message of a stream is taken for a block: a rejected request fails the job", "aws-iot-device-sdk-embedded-C demos/ota 202211.00, its filter of streams/#", func(p *Profile) *bool { return &p.WildcardStreams }},
	{"C29", "lateAckKills", Library, "an acknowledgement that comes more than 5 s after its publish or subscribe is noted in memory that is no longer its own: the program dies", "amazon-freertos demos/ota/ota_demo_core_mqtt", func(p *Profile) *bool { return &p.LateAckKills }},
	{"C30", "awaitsAcks", Library, "a publish with QoS 1 waits for its acknowledgement up to 5000 s, and the agent with it", "aws-iot-device-sdk-embedded-C demos/ota 202211.00", func(p *Profile) *bool { return &p.AwaitsAcks }},
	{"C32", "losesBuffer", Library, "a message for which the event queue has no room keeps its buffer for ever", "amazon-freertos demos/ota, " + fromOTA + " OTA_SignalEvent", func(p *Profile) *bool { return &p.LosesBuffer }},
	{"C33", "timersWholeSeconds", Library, "timers count whole seconds: one of less than a second never runs out", "ota-for-aws-iot-embedded-sdk source/portable/os/ota_os_posix.c", func(p *Profile) *bool { return &p.TimersWholeSeconds }},
	{"C34", "readsIntoTransfer", Library, "a document is read into the running transfer before its job id is compared", fromOTA, func(p *Profile) *bool { return &p.ReadsIntoTransfer }},

	{"", "notificationLosesBuffer", Library, "a job document that ends a transfer keeps its buffer for ever: with two buffers the second one makes the device deaf", fromOTA + " jobNotificationHandler", func(p *Profile) *bool { return &p.NotificationLosesBuffer }},
	{"", "queueLosesTimer", Library, "a request timer that runs out while the event queue is full is lost, and nothing asks again", fromOTA, func(p *Profile) *bool { return &p.QueueLosesTimer }},
	{"", "staleEvents", Library, "an event that the agent posted for a file acts on the next file if that comes first", fromOTA, func(p *Profile) *bool { return &p.StaleEvents }},
	{"", "testYieldsToJob", Library, "another job during the self-test gives the image on trial up, and its file is written over the older firmware", fromOTA + " verifyActiveJobStatus", func(p *Profile) *bool { return &p.TestYieldsToJob }},
	{"", "guardPretends", FreeRTOS2018, "a job during the trial of a new image occupies the agent without a file, and still does when the image is accepted", "amazon-freertos lib/ota/aws_ota_agent.c v1.4.2", func(p *Profile) *bool { return &p.GuardPretends }},
	{"", "rejectLeavesTimer", FreeRTOS2018, "the self-test timer is stopped only when an image with an active job is accepted", fromAFR, func(p *Profile) *bool { return &p.RejectLeavesTimer }},
	{"", "duplicateResets", FreeRTOS2018, "a duplicate block counts as an answer: the count of unanswered requests begins anew", fromAFR, func(p *Profile) *bool { return &p.DuplicateResets }},
	{"", "staleTail", Both, "a payload shorter than it claims is completed with bytes of the block before", fromOTA + ", " + fromAFR, func(p *Profile) *bool { return &p.StaleTail }},
	{"", "anyFileID", Both, "the file id of a block is not looked at", fromOTA + ", " + fromAFR, func(p *Profile) *bool { return &p.AnyFileID }},
	{"", "deafWhileErasing", Library, "a message that arrives while the slot is erased comes up before the file is open, where none is expected, and is dropped", fromOTA, func(p *Profile) *bool { return &p.DeafWhileErasing }},
	{"", "duplicateRequests", Library, "a duplicate block triggers a request as the end of a window does", fromOTA + " to v3.3.0 (#428)", func(p *Profile) *bool { return &p.DuplicateRequests }},
	{"", "writeAnyResult", Library, "a short write counts as written", fromOTA + " v3.0.0", func(p *Profile) *bool { return &p.WriteAnyResult }},
	{"", "confirmLost", Library, "a job found active by its own confirmed image is FAILED, not SUCCEEDED", fromOTA, func(p *Profile) *bool { return &p.ConfirmLost }},
	{"", "forgetsAnswers", Library, "a message about the job that is lost while the connection stays is not missed: nobody asks again before the next connection", fromOTA + " requestJobHandler; amazon-freertos#875", func(p *Profile) *bool { return &p.ForgetsAnswers }},
	{"", "unnamedRejects", Both, "an image is refused whose record has a state that a power cut left without a name, though the boot loader starts it", "amazon-freertos vendors/espressif/boards/ports/ota_pal_for_aws, aws_ota_pal.c prvPAL_GetPlatformImageState", func(p *Profile) *bool { return &p.UnnamedRejects }},
	{"", "noOverflowCheck", Library, "sizes close to 4 GiB are taken", fromOTA + " v3.0.0", func(p *Profile) *bool { return &p.NoOverflowCheck }},
	{"", "keepsWithoutBitmap", Library, "a repeated job, or any while the image is unconfirmed, needs no bitmap", fromOTA + " v3.0.0", func(p *Profile) *bool { return &p.KeepsWithoutBitmap }},
	{"", "longJobIDCustom", Library, "an over-long job id goes the custom job path with an empty id", fromOTA + " v3.0.0", func(p *Profile) *bool { return &p.LongJobIDCustom }},
	{"", "suspendStopsEarly", Library, "the request timer is stopped when suspend is asked for; a block before it arms it again", fromOTA, func(p *Profile) *bool { return &p.SuspendStopsEarly }},
	{"", "resumeArmsEarly", Library, "the request timer is armed when resume is asked for, even if the agent is not suspended", fromOTA, func(p *Profile) *bool { return &p.ResumeArmsEarly }},
	{"", "shutdownStopsEarly", Library, "the timers are deleted when shutdown is asked for, not when it happens", fromOTA + " b36db646", func(p *Profile) *bool { return &p.ShutdownStopsEarly }},
	{"", "emptyJobDoc", Library, "a document of token and timestamp only is told from other documents without a job", fromOTA + " main", func(p *Profile) *bool { return &p.EmptyJobDoc }},
	{"", "noActiveJobSilent", Library, "no callback NoActiveJob", fromOTA + " v3.0.0", func(p *Profile) *bool { return &p.NoActiveJobSilent }},
	{"", "customJobNull", Library, "callback ParseCustomJob gets null pointers", fromOTA + " v3.0.0", func(p *Profile) *bool { return &p.CustomJobNull }},
	{"", "endedJobInfoEmpty", Library, "callbacks Activate and Fail get an empty job id", fromOTA + " v3.0.0", func(p *Profile) *bool { return &p.EndedJobInfoEmpty }},
	{"", "tokenZeroEmpty", Library, "client token 0 prints as nothing", fromMQTT, func(p *Profile) *bool { return &p.TokenZeroEmpty }},
	{"", "shortTexts", Both, "updatedBy in as few digits as it takes, one space before a version", fromAFR, func(p *Profile) *bool { return &p.ShortTexts }},
	{"", "noUpdatedBy", Both, "SUCCEEDED does not name the updating version", fromAFR + "; " + fromMQTT + " v3.0.0", func(p *Profile) *bool { return &p.NoUpdatedBy }},
	{"", "failedWholeWord", Library, "FAILED prints the whole platform word and the ingest result", fromOTA + " before v3.3.0", func(p *Profile) *bool { return &p.FailedWholeWord }},
	{"", "progressOwnTotal", Library, "progress reads n/n", fromMQTT + " v3.0.0, fixed #209", func(p *Profile) *bool { return &p.ProgressOwnTotal }},
	{"", "noFirstProgress", Both, "no progress status after the first block", fromAFR + "; " + fromOTA + " before #426", func(p *Profile) *bool { return &p.NoFirstProgress }},
}

// Errors of With.
var (
	ErrUnknownBehaviour = errors.New("agent: unknown behaviour")
	ErrOtherGeneration  = errors.New("agent: behaviour of another generation of agents")
)

// BehaviourByName returns a row, or nil.
func BehaviourByName(name string) *Behaviour {
	for i := range Behaviours {
		if Behaviours[i].Name == name {
			return &Behaviours[i]
		}
	}
	return nil
}

// On reports whether the profile has the behaviour.
func (b *Behaviour) On(p *Profile) bool { return *b.field(p) }

// In reports whether the profile's generation of agents has the place where the behaviour shows.
func (b *Behaviour) In(p *Profile) bool {
	if p.Task2018 {
		return b.Generation&FreeRTOS2018 != 0
	}
	return b.Generation&Library != 0
}

// Releases names the profiles that have the behaviour.
func (b *Behaviour) Releases() []string {
	var names []string
	for _, p := range Profiles {
		if b.In(p) && b.On(p) {
			names = append(names, p.Name)
		}
	}
	return names
}

// With returns the profile with behaviours switched on and off. Its name stays: it is that release, changed.
// The error wraps ErrUnknownBehaviour or ErrOtherGeneration.
func (p *Profile) With(on map[string]bool) (*Profile, error) {
	changed := *p
	names := make([]string, 0, len(on))
	for name := range on {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		b := BehaviourByName(name)
		if b == nil {
			return nil, fmt.Errorf("%w %q", ErrUnknownBehaviour, name)
		}
		if !b.In(p) {
			return nil, fmt.Errorf("%w: %s has no place for %q", ErrOtherGeneration, p.Name, name)
		}
		*b.field(&changed) = on[name]
	}
	return &changed, nil
}

// Defects names the known defects that the profile has, by number.
func (p *Profile) Defects() string {
	var ids []string
	for i := range Behaviours {
		if b := &Behaviours[i]; b.ID != "" && b.In(p) && b.On(p) {
			ids = append(ids, b.ID)
		}
	}
	return strings.Join(ids, " ")
}
