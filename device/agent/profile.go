package agent

// Profile is one agent release: a row of named behaviours. The zero row is the library without its known defects; each
// bool that is set is a defect or a difference of the release. Behaviours lists them, with what each does and where it
// is known from; With changes them one by one.
type Profile struct {
	Name string

	ThingNameMax  int // a longer thing name makes initialisation fail
	SignatureMax  int // bytes of a decoded signature
	BitmapMax     int // bytes; a file that needs more is ignored; 0 = not checked
	TopicMax      int // a longer topic is not used, 0 = any
	TokenThingMax int // the client token carries this many characters of the thing name, 0 = all

	// Task2018 selects the agent of Amazon FreeRTOS 2018: four states, event bits and flat documents instead of the
	// library's table. It is the generation, not a switch.
	Task2018 bool

	// The agent of Amazon FreeRTOS 2018.
	JobMessageCloses    bool // B1
	StallsOnLostRequest bool // B2
	KeepsFailedJob      bool // B3
	TrialOverwrites     bool // B4
	DuplicateProgress   bool // B5
	TokenDangles        bool // B6
	AsksOnce            bool // B7
	GuardPretends       bool
	RejectLeavesTimer   bool
	DuplicateResets     bool

	// Both generations.
	TrailerOverflows   bool // B8
	TrailerUnchecked   bool // B9
	FailsForeignJobs   bool // B10
	SelfTestByPresence bool // C14
	UnnamedRejects     bool
	StaleTail          bool
	AnyFileID          bool
	VersionZeroEmpty   bool // C2
	NoUpdatedBy        bool
	NoFirstProgress    bool
	ShortTexts         bool

	// Texts of the library.
	TokenZeroEmpty   bool
	TokenLosesDigit  bool // C1
	FailedWholeWord  bool
	ProgressOwnTotal bool

	// Documents.
	NextTopicCut         bool // C21
	EmptyJobDoc          bool
	EmptyDocUnsubscribes bool // C18
	TakesGarbage         bool // C12
	KeepsOptionals       bool // C13
	ReadsIntoTransfer    bool // C34
	JobIDSplice          bool // C3
	SwitchLeavesStream   bool // C4
	StickyProtocol       bool // C5
	SilentBadSize        bool // C6
	NoOverflowCheck      bool
	BitmapOverrun        bool // C19
	StaleSizeGuard       bool // C20
	RepeatLosesURL       bool // C8
	NoActiveJobSilent    bool
	CustomJobNull        bool
	KeepsWithoutBitmap   bool
	LongJobIDCustom      bool
	EndedJobInfoEmpty    bool

	// Transfer.
	DuplicateRequests       bool
	DeafWhileErasing        bool
	LateBlockFails          bool // C7
	HTTPCounts              bool // C9
	ShortBlockAsserts       bool // C26
	WriteAnyResult          bool
	MomentumStops           bool // C16
	WildcardStreams         bool // C28
	LateAckKills            bool // C29
	AwaitsAcks              bool // C30
	LosesBuffer             bool // C32
	TimersWholeSeconds      bool // C33
	NotificationLosesBuffer bool
	QueueLosesTimer         bool
	StaleEvents             bool
	TestYieldsToJob         bool

	// Control.
	DeafWhileWaiting      bool // C15
	AbortNeedsPublish     bool // C10
	AbortLeavesTimer      bool // C11
	UnsubscribeFlagSticks bool // C17
	TimerStopsBeforeTest  bool // C22
	ResumeArmsSelfTest    bool // C23
	TimersOutlive         bool // C24
	ShutdownWipes         bool // C25
	SuspendStopsEarly     bool
	ResumeArmsEarly       bool
	ShutdownStopsEarly    bool
	ConfirmLost           bool
	ForgetsAnswers        bool
}

// The releases. Sources: aws/ota-for-aws-iot-embedded-sdk at the named tags and commits.
var (
	// Ideal has no known defect. It asks for its job again when told to, when no answer comes and now and then, guards the
	// whole self-test with the timer, and survives a lost final status.
	Ideal = &Profile{Name: "ideal", ThingNameMax: 128, SignatureMax: 384, BitmapMax: 128, TokenThingMax: 53}

	Main = &Profile{Name: "ota-main", ThingNameMax: 128, SignatureMax: 384, BitmapMax: 128,
		TokenZeroEmpty: true, TokenLosesDigit: true, TokenThingMax: 53, EmptyJobDoc: true, EmptyDocUnsubscribes: true,
		TakesGarbage: true, KeepsOptionals: true, SelfTestByPresence: true, ReadsIntoTransfer: true, SwitchLeavesStream: true, AnyFileID: true,
		HTTPCounts: true, LosesBuffer: true, NotificationLosesBuffer: true, QueueLosesTimer: true, StaleEvents: true, TestYieldsToJob: true, DeafWhileErasing: true,
		JobIDSplice: true, StickyProtocol: true, RepeatLosesURL: true, SilentBadSize: true,
		LateBlockFails: true, StaleTail: true, MomentumStops: true, DeafWhileWaiting: true, AbortNeedsPublish: true,
		AbortLeavesTimer: true, SuspendStopsEarly: true, ResumeArmsEarly: true, UnsubscribeFlagSticks: true, TimerStopsBeforeTest: true, ConfirmLost: true, ForgetsAnswers: true, UnnamedRejects: true, FailsForeignJobs: true, TrailerOverflows: true, TrailerUnchecked: true}

	V341 = &Profile{Name: "ota-v3.4.1", ThingNameMax: 64, SignatureMax: 384, BitmapOverrun: true,
		TokenZeroEmpty: true, VersionZeroEmpty: true,
		TakesGarbage: true, KeepsOptionals: true, SelfTestByPresence: true, ReadsIntoTransfer: true, SwitchLeavesStream: true, AnyFileID: true,
		HTTPCounts: true, LosesBuffer: true, NotificationLosesBuffer: true, QueueLosesTimer: true, StaleEvents: true, TestYieldsToJob: true, DeafWhileErasing: true,
		JobIDSplice: true, StickyProtocol: true, RepeatLosesURL: true, SilentBadSize: true,
		LateBlockFails: true, StaleTail: true, MomentumStops: true, DeafWhileWaiting: true, AbortNeedsPublish: true,
		AbortLeavesTimer: true, SuspendStopsEarly: true, ResumeArmsEarly: true, UnsubscribeFlagSticks: true, TimerStopsBeforeTest: true, ConfirmLost: true, ForgetsAnswers: true, UnnamedRejects: true, FailsForeignJobs: true, TrailerOverflows: true, TrailerUnchecked: true}

	B36DB646 = &Profile{Name: "ota-b36db646", ThingNameMax: 128, SignatureMax: 256, BitmapOverrun: true,
		TokenZeroEmpty: true, VersionZeroEmpty: true,
		TakesGarbage: true, KeepsOptionals: true, SelfTestByPresence: true, ReadsIntoTransfer: true, SwitchLeavesStream: true, AnyFileID: true,
		HTTPCounts: true, LosesBuffer: true, NotificationLosesBuffer: true, QueueLosesTimer: true, StaleEvents: true, TestYieldsToJob: true, DeafWhileErasing: true,
		JobIDSplice: true, StickyProtocol: true, RepeatLosesURL: true, SilentBadSize: true,
		LateBlockFails: true, StaleTail: true, MomentumStops: true, DeafWhileWaiting: true, AbortNeedsPublish: true,
		AbortLeavesTimer: true, SuspendStopsEarly: true, ResumeArmsEarly: true, UnsubscribeFlagSticks: true, TimerStopsBeforeTest: true, ConfirmLost: true, ForgetsAnswers: true, UnnamedRejects: true, FailsForeignJobs: true, TrailerOverflows: true, TrailerUnchecked: true,
		ResumeArmsSelfTest: true, ShutdownStopsEarly: true, ShutdownWipes: true, ShortBlockAsserts: true}

	AFR140 = &Profile{Name: "afr-v1.4.0", Task2018: true, ThingNameMax: 64, SignatureMax: 256, TopicMax: 255,
		ShortTexts: true, NoUpdatedBy: true, NoFirstProgress: true, StaleTail: true, SelfTestByPresence: true, AnyFileID: true,
		JobMessageCloses: true, StallsOnLostRequest: true, KeepsFailedJob: true, TrialOverwrites: true, DuplicateProgress: true,
		TokenDangles: true, AsksOnce: true, RejectLeavesTimer: true, DuplicateResets: true, UnnamedRejects: true, FailsForeignJobs: true, TrailerOverflows: true, TrailerUnchecked: true}

	// AFR142 differs from v1.4.0 in the guard that keeps the older firmware during the trial.
	AFR142 = func() *Profile {
		p := *AFR140
		p.Name, p.TrialOverwrites, p.GuardPretends = "afr-v1.4.2", false, true
		return &p
	}()

	V300 = &Profile{Name: "ota-v3.0.0", ThingNameMax: 64, SignatureMax: 256, BitmapOverrun: true,
		TokenZeroEmpty: true, VersionZeroEmpty: true, NoUpdatedBy: true, FailedWholeWord: true,
		ProgressOwnTotal: true, NoFirstProgress: true,
		TakesGarbage: true, KeepsOptionals: true, SelfTestByPresence: true, ReadsIntoTransfer: true, SwitchLeavesStream: true, AnyFileID: true,
		HTTPCounts: true, LosesBuffer: true, NotificationLosesBuffer: true, QueueLosesTimer: true, StaleEvents: true, TestYieldsToJob: true, DeafWhileErasing: true,
		JobIDSplice: true, StickyProtocol: true, RepeatLosesURL: true, SilentBadSize: true, NoOverflowCheck: true,
		NoActiveJobSilent: true, CustomJobNull: true, LongJobIDCustom: true, KeepsWithoutBitmap: true, EndedJobInfoEmpty: true,
		DuplicateRequests: true, LateBlockFails: true, WriteAnyResult: true, StaleTail: true, MomentumStops: true,
		DeafWhileWaiting: true, AbortNeedsPublish: true, AbortLeavesTimer: true, SuspendStopsEarly: true, UnsubscribeFlagSticks: true,
		TimerStopsBeforeTest: true, TimersOutlive: true, ShutdownWipes: true, ConfirmLost: true, ForgetsAnswers: true, UnnamedRejects: true, FailsForeignJobs: true, TrailerOverflows: true, TrailerUnchecked: true}
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
