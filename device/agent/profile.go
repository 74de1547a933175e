package agent

// Profile is one agent release: a row of named behaviours. The zero row is the library without its known defects;
// each field set is a defect or a difference of the release, named after the reference list of the releases.
type Profile struct {
	Name string

	ThingNameMax int // a longer thing name makes initialisation fail
	SignatureMax int // bytes of a decoded signature
	BitmapMax    int // bytes; a file that needs more is ignored; 0 = not checked

	// The agent of Amazon FreeRTOS 2018.
	Task2018            bool // four states, event bits and flat documents instead of the library's table
	JobMessageCloses    bool // B1: any job message ends the transfer, the same job then counts as running
	StallsOnLostRequest bool // B2: a stream request that cannot be sent is not repeated
	KeepsFailedJob      bool // B3: a job whose stream or bitmap cannot be had stays the active one
	TrialOverwrites     bool // B4: a job during the trial erases the slot of the older firmware
	DuplicateProgress   bool // B5: a duplicate block repeats the progress status
	TokenDangles        bool // B6: a document without client token has that of an earlier one
	AsksOnce            bool // B7: get-next is sent once and its loss not noticed
	TrailerOverflows    bool // B8: a file that leaves its slot no room for the trailer is fetched all the same; also in the library
	FailsForeignJobs    bool // B10: a job of another kind that the application does not claim is FAILED; also in the library
	TopicMax            int  // a longer topic is not used, 0 = any

	// Texts.
	TokenZeroEmpty   bool // client token 0 prints as nothing
	TokenLosesDigit  bool // C1: the last digit of the client token is lost
	TokenThingMax    int  // the client token carries this many characters of the thing name, 0 = all
	VersionZeroEmpty bool // C2: zero version components print as nothing
	ShortTexts       bool // updatedBy in as few digits as it takes, one space before a version
	NoUpdatedBy      bool // SUCCEEDED does not name the updating version
	FailedWholeWord  bool // FAILED prints the whole platform word and the ingest result
	ProgressOwnTotal bool // progress reads n/n
	NoFirstProgress  bool // no progress status after the first block

	// Documents.
	EmptyJobDoc        bool // a document of token and timestamp only is "empty": clean up the data path
	RefuseInvalidJSON  bool // C12 absent: a document that is not JSON throughout is refused
	FreshContext       bool // C4, C13, C14, C34 absent: a document is read into a context of its own and then judged
	JobIDSplice        bool // C3: a new job id is copied over the old one without an end
	StickyProtocol     bool // C5: an unsupported protocol is noticed after the slot was erased, then nothing moves
	SilentBadSize      bool // C6: jobs of impossible size get no status
	NoOverflowCheck    bool // sizes close to 4 GiB are taken
	RepeatLosesURL     bool // C8: with heap buffers a repeated document of the active job loses the URL
	NoActiveJobSilent  bool // no NoActiveJob callback
	CustomJobNull      bool // ParseCustomJob gets null pointers
	KeepsWithoutBitmap bool // a repeated job, or any while the image is unconfirmed, needs no bitmap
	LongJobIDCustom    bool // an over-long job id goes the custom job path with an empty id
	EndedJobInfoEmpty  bool // Activate and Fail get an empty job id

	// Transfer.
	DuplicateRequests bool // a duplicate block triggers a request as the end of a window does
	LateBlockFails    bool // C7: a block behind the final one fails the finished job
	ShortBlockAsserts bool // C26: in an assert build the short last block may not come early
	WriteAnyResult    bool // a short write counts as written
	StaleTail         bool // a short payload is completed with bytes of the block before
	MomentumStops     bool // C16: too many unanswered requests shut the agent down and report code 0

	// Control.
	DeafWhileWaiting      bool // C15: CheckForUpdate is ignored while waiting for a job
	AbortNeedsPublish     bool // C10: user abort keeps the file open if the status cannot be sent
	SuspendStopsEarly     bool // the timer is stopped when Suspend is asked for; a block before it arms it again
	AbortLeavesTimer      bool // C11
	UnsubscribeFlagSticks bool // C17: initialising again does not restore the unsubscribe flag
	TimerStopsBeforeTest  bool // C22: the self-test timer is stopped before the verdict
	ResumeArmsSelfTest    bool // C23: Resume arms the self-test timer on a healthy image too
	ShutdownStopsEarly    bool // the timers are deleted when shutdown is asked for, not when it happens
	TimersOutlive         bool // C24: Suspend, Resume and Shutdown leave the timers alone, the request timer on Suspend excepted
	ShutdownWipes         bool // C25: a shut down agent has lost its port; posting an event to it crashes
	ConfirmLost           bool // a job found active by its own confirmed image is FAILED, not SUCCEEDED
}

// The releases. Sources: aws/ota-for-aws-iot-embedded-sdk at the named tags and commits.
var (
	// Ideal has no known defect. It asks for its job again when told to, guards the whole self-test with the
	// timer, and survives a lost final status.
	Ideal = &Profile{Name: "ideal", ThingNameMax: 128, SignatureMax: 384, BitmapMax: 128,
		RefuseInvalidJSON: true, FreshContext: true}

	Main = &Profile{Name: "ota-main", ThingNameMax: 128, SignatureMax: 384, BitmapMax: 128,
		TokenZeroEmpty: true, TokenLosesDigit: true, TokenThingMax: 53, EmptyJobDoc: true,
		JobIDSplice: true, StickyProtocol: true, RepeatLosesURL: true, SilentBadSize: true,
		LateBlockFails: true, StaleTail: true, MomentumStops: true, DeafWhileWaiting: true, AbortNeedsPublish: true,
		AbortLeavesTimer: true, SuspendStopsEarly: true, UnsubscribeFlagSticks: true, TimerStopsBeforeTest: true, ConfirmLost: true, FailsForeignJobs: true, TrailerOverflows: true}

	V341 = &Profile{Name: "ota-v3.4.1", ThingNameMax: 64, SignatureMax: 384,
		TokenZeroEmpty: true, VersionZeroEmpty: true,
		JobIDSplice: true, StickyProtocol: true, RepeatLosesURL: true, SilentBadSize: true,
		LateBlockFails: true, StaleTail: true, MomentumStops: true, DeafWhileWaiting: true, AbortNeedsPublish: true,
		AbortLeavesTimer: true, SuspendStopsEarly: true, UnsubscribeFlagSticks: true, TimerStopsBeforeTest: true, ConfirmLost: true, FailsForeignJobs: true, TrailerOverflows: true}

	B36DB646 = &Profile{Name: "ota-b36db646", ThingNameMax: 128, SignatureMax: 256,
		TokenZeroEmpty: true, VersionZeroEmpty: true,
		JobIDSplice: true, StickyProtocol: true, RepeatLosesURL: true, SilentBadSize: true,
		LateBlockFails: true, StaleTail: true, MomentumStops: true, DeafWhileWaiting: true, AbortNeedsPublish: true,
		AbortLeavesTimer: true, SuspendStopsEarly: true, UnsubscribeFlagSticks: true, TimerStopsBeforeTest: true, ConfirmLost: true, FailsForeignJobs: true, TrailerOverflows: true,
		ResumeArmsSelfTest: true, ShutdownStopsEarly: true, ShutdownWipes: true, ShortBlockAsserts: true}

	AFR140 = &Profile{Name: "afr-v1.4.0", Task2018: true, ThingNameMax: 64, SignatureMax: 256, TopicMax: 255,
		ShortTexts: true, NoUpdatedBy: true, NoFirstProgress: true, StaleTail: true,
		JobMessageCloses: true, StallsOnLostRequest: true, KeepsFailedJob: true, TrialOverwrites: true, DuplicateProgress: true,
		TokenDangles: true, AsksOnce: true, FailsForeignJobs: true, TrailerOverflows: true}

	// AFR142 differs from v1.4.0 in the guard that keeps the older firmware during the trial.
	AFR142 = func() *Profile {
		p := *AFR140
		p.Name, p.TrialOverwrites = "afr-v1.4.2", false
		return &p
	}()

	V300 = &Profile{Name: "ota-v3.0.0", ThingNameMax: 64, SignatureMax: 256,
		TokenZeroEmpty: true, VersionZeroEmpty: true, NoUpdatedBy: true, FailedWholeWord: true,
		ProgressOwnTotal: true, NoFirstProgress: true,
		JobIDSplice: true, StickyProtocol: true, RepeatLosesURL: true, SilentBadSize: true, NoOverflowCheck: true,
		NoActiveJobSilent: true, CustomJobNull: true, LongJobIDCustom: true, KeepsWithoutBitmap: true, EndedJobInfoEmpty: true,
		DuplicateRequests: true, LateBlockFails: true, WriteAnyResult: true, StaleTail: true, MomentumStops: true,
		DeafWhileWaiting: true, AbortNeedsPublish: true, AbortLeavesTimer: true, SuspendStopsEarly: true, UnsubscribeFlagSticks: true,
		TimerStopsBeforeTest: true, TimersOutlive: true, ShutdownWipes: true, ConfirmLost: true, FailsForeignJobs: true, TrailerOverflows: true}
)

// Profiles lists every row.
var Profiles = []*Profile{Ideal, Main, V341, B36DB646, V300, AFR142, AFR140}

// ProfileByName returns a row, or nil.
func ProfileByName(name string) *Profile {
	for _, p := range Profiles {
		if p.Name == name {
			return p
		}
	}
	return nil
}
