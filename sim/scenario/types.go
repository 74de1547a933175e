// Package scenario turns a scenario file into a checked, typed Scenario.
//
//	YAML text ── nodes with positions ── --set and variants ── decode ── cross checks ── Scenario
//	                                                              │            │
//	                                                              └─ []Problem ┘   all of them, sorted by place
//
// Everything a Scenario holds is an integer or a string: durations are nanoseconds, sizes bytes, link speeds bits per
// second, shares and factors parts per million (10% is 100_000, the factor 1.5 is 1_500_000). A Scenario that Load
// returned without errors needs no further checking: every name in it resolves and every expression compiles.
package scenario

import (
	"fmt"
	"time"

	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/device/agent"
	"github.com/otasim/otasim/device/firmware"
	"github.com/otasim/otasim/sim/check"
	"github.com/otasim/otasim/sim/scenario/file"
)

// Problem is one mistake in a scenario file.
type Problem = file.Problem

// Version names of the file format.
const (
	APIVersion = "otasim/v1"
	Kind       = "Scenario"
)

// Million is the whole in parts per million: 100%.
const Million = 1_000_000

// Scenario is one checked scenario file, with --set, --devices and the seed already applied.
type Scenario struct {
	Path       string // as given on the command line
	APIVersion string
	Kind       string
	Metadata   Metadata
	Seed       uint64
	Duration   time.Duration // limit of virtual time
	Firmware   []Firmware
	Keys       []Key // of the platform layer
	BootKeys   []Key // of secure boot V2
	Fleet      Fleet
	Networks   []Network // those of the file in its order, then DefaultNetwork if a group uses it
	Cloud      Cloud
	Updates    []Update
	Events     []Event
	Faults     []Fault
	Attacks    []Attack
	Planted    Planted
	Variants   []Variant
	Thresholds []Threshold
	Assertions []Assertion
	Scaled     bool      // --devices changed a count: an unmet sometimes or unfired fault is then a warning
	Warnings   []Problem // nothing that keeps it from running

	opt Options // as loaded, for Variant
}

// Metadata names the scenario.
type Metadata struct {
	Name        string
	Description string
	Tags        []string
}

// Pos is a place in the scenario file, both counted from 1; the zero Pos is no place.
type Pos struct{ Line, Col int }

// SelfTest is what a firmware does in its self-test after an update.
type SelfTest string

// The self-tests a built image can have.
const (
	SelfTestPass  SelfTest = "pass"
	SelfTestFail  SelfTest = "fail"  // reports failure: the agent rejects the image
	SelfTestCrash SelfTest = "crash" // panics and resets before it reports
	SelfTestHang  SelfTest = "hang"  // never reports: the self-test timer resets the device
	SelfTestSlow  SelfTest = "slow"  // passes after 30 s unless SelfTestDuration says otherwise
)

// Firmware is one version that devices run or are offered. Version is its label and the key other entries use.
type Firmware struct {
	Version          string
	Image            string // path of a real .bin, made absolute or relative to the working directory; "" builds one
	Project          string // project name in the app descriptor of a built image
	Size             uint32 // bytes of the app image file, appended hash included; of the real file when Image is set
	SecureVersion    uint32 // secure_version of a built image's descriptor
	SelfTest         SelfTest
	SelfTestShare    uint64 // of the devices on which it ends so, in millionths; the others pass
	SelfTestDuration time.Duration
	WrongWiFi        bool // wifiPassword: wrong
	Telemetry        firmware.Telemetry
	AllowDowngrade   bool     // otaconfigAllowDowngrade compiled into this image
	Sign             []string // names of Keys; empty: the default OTA key made from the seed
	BootSign         []string // names of BootKeys whose signatures follow the image, AttackerKey among them; empty: no signature sector
	Revokes          []string // names of BootKeys
	RevokeAtStart    bool     // not only once the update is confirmed
	Origin           string   // OriginRelease or OriginAttacker
	Target           string   // chip the image is built for: esp32, esp32s3, esp32c3; "" is the target of the groups that use it
	Pos              Pos
}

// Who has built a firmware.
const (
	OriginRelease  = "release"
	OriginAttacker = "attacker" // it is no release: no device may ever start it
)

// AttackerKey is the name of a key of secure boot V2 that is the attacker's own; DefaultBootKey of the one that a
// scenario without such keys signs with.
const (
	AttackerKey    = "(attacker)"
	DefaultBootKey = "(secure boot)"
)

// FileSize is the length of the file that is signed and delivered: with secure boot V2 the image is filled up to 4096
// bytes, and a sector of signatures follows.
func (f *Firmware) FileSize() uint64 {
	if len(f.BootSign) == 0 {
		return uint64(f.Size)
	}
	return (uint64(f.Size)+4095)/4096*4096 + 4096
}

// Key is a signing key, read from a file or made from the seed.
type Key struct {
	Name        string
	Scheme      string // sig-sha256-ecdsa, secure-boot-v2-rsa3072
	File        string // PEM private key; "" makes one from the seed
	Certificate string // PEM certificate of File; "" makes one
	Pos         Pos
}

// Fleet is the devices that exist at t = 0.
type Fleet struct {
	Defaults Device
	Groups   []Group
	Dynamic  []DynamicGroup
}

// DynamicGroup is a thing group of whatever a query finds.
type DynamicGroup struct{ Name, Query string }

// Group is a thing group whose devices are alike. Device is complete: fleet.defaults are merged in.
type Group struct {
	Name       string
	Count      int
	Mix        []Build           // shares of it that are built otherwise
	Attributes map[string]string // of its things
	Device
	Pos Pos
}

// Build is a share of a group that is built otherwise.
type Build struct {
	Weight uint64 // ppm
	Device Device
}

// ThingName is the name of a group's i-th device, counted from 1: esp32-main-00417.
func (g Group) ThingName(i int) string { return fmt.Sprintf("%s-%s-%05d", g.Target, g.Name, i) }

// Device is everything one kind of device is made with.
type Device struct {
	Target             string // esp32, esp32s3, esp32c3
	Flash              Flash
	Partitions         string // built-in table by its ESP-IDF file name, or the path of a CSV
	PartitionsFile     bool   // Partitions is a path
	Bootloader         string // afr-2022, afr-2018, idf-5.5, idf-6.0
	Sdkconfig          Sdkconfig
	BootKeys           []string // secure boot V2: digests in the eFuses, in the order of the slots
	LoaderSign         []string // secure boot V2: keys that sign the boot loader
	Otaconfig          Otaconfig
	Firmware           string          // version at t = 0
	Network            string          // name in Networks
	Agent              string          // profile of the OTA agent
	CodeSigningOff     bool            // the platform layer takes a file whatever its signature
	AgentDefects       map[string]bool // behaviours that differ from the profile's, by name
	EFuseSecureVersion uint32
	Reconnect          device.Glue
	EFuseVersionSet    bool          // false: the secure version of Firmware is burnt where anti-rollback is on
	StartFrom, StartTo time.Duration // power-on is drawn uniformly from this range
	Presence           []Presence    // when it is there; none: always
}

// AgentProfile is the row of the device's OTA agent, with what the scenario switched.
func (d *Device) AgentProfile() *agent.Profile {
	p := agent.ProfileByName(d.Agent)
	if changed, err := p.With(d.AgentDefects); err == nil && len(d.AgentDefects) > 0 {
		return changed
	}
	return p
}

// Flash is the chip on the board.
type Flash struct {
	Size uint32 // bytes
	Mode string // qio, qout, dio, dout
	Freq string // 20m, 26m, 40m, 80m
}

// Sdkconfig holds the ESP-IDF settings this version knows.
type Sdkconfig struct {
	Rollback             bool   // CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE
	AntiRollback         bool   // CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK
	SecVerBits           int    // CONFIG_BOOTLOADER_APP_SEC_VER_SIZE_EFUSE_FIELD, 1..32 (esp32) or 1..16
	PartitionTableOffset uint32 // CONFIG_PARTITION_TABLE_OFFSET
	PartitionTableMD5    bool   // CONFIG_PARTITION_TABLE_MD5
	SecureBootV1         bool   // CONFIG_SECURE_BOOT_V1_ENABLED
	SignedApps           bool   // CONFIG_SECURE_SIGNED_APPS_NO_SECURE_BOOT
	SecureBootV2         bool   // CONFIG_SECURE_BOOT_V2_ENABLED
	AggressiveRevoke     bool   // CONFIG_SECURE_BOOT_ENABLE_AGGRESSIVE_KEY_REVOKE
	UnusedDigestSlots    bool   // CONFIG_SECURE_BOOT_ALLOW_UNUSED_DIGEST_SLOTS
	FlashEncryption      bool   // CONFIG_SECURE_FLASH_ENC_ENABLED
	FlashRelease         bool   // CONFIG_SECURE_FLASH_ENCRYPTION_MODE_RELEASE
}

// Presence is one pattern of being awake, and the share of the devices that have it.
// A device is awake for For out of every Every; with Every 0 it always is.
type Presence struct {
	Weight     uint64 // ppm
	Every, For time.Duration
	Jitter     time.Duration
	Daily      bool          // Every is a day, From its local time of day
	From       time.Duration // of Daily
	Timezones  []int         // hours ahead of UTC, of Daily; at least one
	Off        bool          // never there
	Interrupts bool
}

// Otaconfig holds the otaconfig... macros of the OTA agent. Zero means the default of the agent's profile.
type Otaconfig struct {
	Log2FileBlockSize    int           // LOG2_FILE_BLOCK_SIZE, 8..14
	MaxNumBlocksRequest  int           // MAX_NUM_BLOCKS_REQUEST, 1..128
	FileRequestWait      time.Duration // FILE_REQUEST_WAIT_MS
	SelfTestResponseWait time.Duration // SELF_TEST_RESPONSE_WAIT_MS
	StatusFrequency      int           // OTA_UPDATE_STATUS_FREQUENCY, blocks
	MaxRequestMomentum   int           // MAX_NUM_REQUEST_MOMENTUM, requests
	MaxNumDataBuffers    int           // MAX_NUM_OTA_DATA_BUFFERS
	EnabledDataProtocols string        // ENABLED_DATA_PROTOCOLS: MQTT, HTTP, MQTT|HTTP
	PrimaryDataProtocol  string        // PRIMARY_DATA_PROTOCOL: MQTT or HTTP
}

// DefaultNetwork is used by groups that name no network.
const DefaultNetwork = "default"

// Network is one link, or a mix from which each device draws one.
type Network struct {
	Name  string
	Links []WeightedLink // at least one; the weights sum to Million
	Pos   Pos
}

// WeightedLink is one row of a mix. Use is the name of the network it came from, "" if given in place.
type WeightedLink struct {
	Weight uint64 // ppm of the devices
	Use    string
	Link
}

// Link is the way between one device and the cloud.
type Link struct {
	Downlink uint64        // bits per second towards the device, 0: unlimited
	Uplink   uint64        // bits per second from the device, 0: unlimited
	Latency  time.Duration // one way
	Jitter   time.Duration // uniform in [-Jitter, +Jitter] around Latency
	Loss     uint64        // ppm of the segments, seen as retransmission delay

	DisconnectEvery              time.Duration // mean time between two failures of the link, 0: it has none
	DisconnectFrom, DisconnectTo time.Duration // how long it is gone then, drawn uniformly
}

// Cloud is the account the fleet talks to.
type Cloud struct {
	Region   string
	Account  string             // 12 digits
	Open     bool               // devices' certificates may do everything
	Quotas   string             // a profile, and NAME=VALUE for what differs, in the order of the file; see quota.Parse
	Switches []string           // NAME=CHOICE; see cloud.ParseSwitches
	Prices   map[string]float64 // US dollars by name of package cost, instead of its tables
}

// Trigger says when something happens. Exactly one of At, After or When alone is set; When beside At or After is a
// condition judged at that moment: if it does not hold, the thing does not happen, and the run says so.
type Trigger struct {
	At    time.Duration // with HasAt
	HasAt bool
	After *After
	When  *check.Program // nil if absent
}

// After waits for a job to reach a status.
type After struct {
	OTAUpdateID string
	JobStatus   string        // IN_PROGRESS, COMPLETED or CANCELED
	Delay       time.Duration // added to the moment the status is reached
}

// Update is one CreateOTAUpdate call of the operator.
type Update struct {
	OTAUpdateID       string
	Description       string
	Trigger                       // at t = 0 if the file says nothing
	Firmware          string      // "" if File has the bytes
	File              *UpdateFile // nil: the image of Firmware, as it is
	Targets           []string    // groups or things of the scenario
	Protocols         []string    // MQTT, HTTP
	TargetSelection   string      // SNAPSHOT or CONTINUOUS
	Rollout           *Rollout
	Abort             []AbortCriteria
	InProgressTimeout time.Duration // awsJobTimeoutConfig, whole minutes, 0: none
	PresignedExpires  time.Duration // awsJobPresignedUrlConfig.expiresInSec, 0: the service's default
	From              string        // path of the --cli-input-json file the fields were read from, "" if none
	Pos               Pos
}

// UpdateFile is the one file of an update.
type UpdateFile struct {
	FileName  string // may be "" with HasName
	HasName   bool
	FileType  int
	Path      string // of the bytes, or
	Size      uint32 // so many made from the seed; both zero: the image of Firmware
	Partition string // label of a data partition, "" if none
	Signature string // good, corrupt, none
	Custom    *CustomCodeSigning
}

// CustomCodeSigning is a signature made elsewhere.
type CustomCodeSigning struct {
	Signature, CertificateName, HashAlgorithm, SignatureAlgorithm string
}

// Own reports whether the file has bytes of its own.
func (f *UpdateFile) Own() bool { return f != nil && (f.Path != "" || f.Size > 0) }

// Rollout is awsJobExecutionsRolloutConfig.
type Rollout struct {
	MaximumPerMinute int // 0: the service's default
	Exponential      *ExponentialRate
}

// ExponentialRate is awsJobExecutionsRolloutConfig.exponentialRate. One of the two criteria is set.
type ExponentialRate struct {
	BaseRatePerMinute       int
	IncrementFactor         uint64 // ppm: 1.5 is 1_500_000
	NumberOfNotifiedThings  int
	NumberOfSucceededThings int
}

// AbortCriteria is one entry of awsJobAbortConfig.abortCriteriaList.
type AbortCriteria struct {
	FailureType               string // FAILED, REJECTED, TIMED_OUT, ALL
	Action                    string // CANCEL
	ThresholdPercentage       uint64 // ppm: 5 % is 50_000
	MinNumberOfExecutedThings int
}

// Event is one thing an operator, a factory or the world does. Exactly one of the pointers is set.
type Event struct {
	Name string
	Trigger
	CancelJob                 *CancelJob
	DeleteJob                 *DeleteJob
	DeleteOTAUpdate           *DeleteOTAUpdate
	AssociateTargetsWithJob   *AssociateTargetsWithJob
	CancelJobExecution        *CancelJobExecution
	AddThings                 *AddThings
	AddThingToThingGroup      *GroupChange
	RemoveThingFromThingGroup *GroupChange
	UpdateThing               *UpdateThing
	Reprovision               *Reprovision
	PowerOff                  *Power
	PowerOn                   *Power
	Pos                       Pos
}

// Action is the YAML key of the action that is set.
func (e Event) Action() string {
	switch {
	case e.CancelJob != nil:
		return "cancelJob"
	case e.DeleteJob != nil:
		return "deleteJob"
	case e.DeleteOTAUpdate != nil:
		return "deleteOTAUpdate"
	case e.AssociateTargetsWithJob != nil:
		return "associateTargetsWithJob"
	case e.CancelJobExecution != nil:
		return "cancelJobExecution"
	case e.AddThings != nil:
		return "addThings"
	case e.AddThingToThingGroup != nil:
		return "addThingToThingGroup"
	case e.RemoveThingFromThingGroup != nil:
		return "removeThingFromThingGroup"
	case e.UpdateThing != nil:
		return "updateThing"
	case e.Reprovision != nil:
		return "reprovision"
	case e.PowerOff != nil:
		return "powerOff"
	case e.PowerOn != nil:
		return "powerOn"
	}
	return ""
}

// CancelJob cancels the job of an update; Force also cancels executions that are IN_PROGRESS.
type CancelJob struct {
	OTAUpdateID string
	Force       bool
}

// DeleteJob deletes the job of an update.
type DeleteJob struct {
	OTAUpdateID string
	Force       bool
}

// DeleteOTAUpdate deletes an update and, as asked, its stream and job.
type DeleteOTAUpdate struct {
	OTAUpdateID       string
	DeleteStream      bool
	ForceDeleteAWSJob bool
}

// AssociateTargetsWithJob adds targets to a CONTINUOUS job.
type AssociateTargetsWithJob struct {
	OTAUpdateID string
	Targets     []string // groups or things
}

// CancelJobExecution cancels one device's execution.
type CancelJobExecution struct {
	OTAUpdateID string
	Thing       string
	Force       bool
}

// AddThings makes new devices and joins them to a group while the scenario runs; their numbers go on after the group's
// last. Empty Firmware and Network are those of the group.
type AddThings struct {
	Group    string
	Count    int
	Firmware string
	Network  string
}

// GroupChange moves things into or out of a thing group.
type GroupChange struct {
	Things         []string
	ThingGroupName string
}

// UpdateThing changes attributes of things; an empty value removes one.
type UpdateThing struct {
	Things     []string
	Attributes map[string]string
}

// Reprovision gives devices a new identity as a factory does: new thing name, certificate and key in flash; the old thing
// is deleted in the cloud. The i-th device becomes NewNames[i], or its old name plus Suffix.
type Reprovision struct {
	Things         []string // these, or
	Group          string   // the first Count devices of Group
	Count          int
	ThingGroupName string // group the new thing joins; "" is the old thing's
	Suffix         string
	NewNames       []string
}

// Power switches devices off or on.
type Power struct {
	Things []string
	Groups []string
}

// Select names the devices a fault or an attack meets: those of Groups, Things and Networks (all if they are empty), of which a
// Fraction is drawn.
type Select struct {
	Groups   []string
	Things   []string
	Networks []string // devices on one of these, too
	Fraction uint64   // ppm, Million if the file says nothing
}

// Variant is the same scenario with some values changed and an expectation of its own.
type Variant struct {
	Name     string
	Verdict  string   // expected
	Violates []string // names of the rules expected to fail
	Pos      Pos
}

// Threshold is one limit on one metric, judged at the end.
type Threshold struct {
	check.Threshold
	Pos Pos
}

// Severity says whether a rule that does not hold fails the run.
type Severity string

// The severities.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
	SeverityInfo    Severity = "info"
)

// Assertion is one rule about the run.
type Assertion struct {
	Name        string
	Kind        check.Kind
	Expr        string
	Program     *check.Program
	Groups      []string // everyDevice: only devices of these groups; empty: all
	AbortOnFail bool
	Severity    Severity
	Pos         Pos
}

// Devices is the number of devices at t = 0.
func (s *Scenario) Devices() int {
	n := 0
	for i := range s.Fleet.Groups {
		n += s.Fleet.Groups[i].Count
	}
	return n
}

// FirmwareByVersion finds a firmware row, nil if there is none.
func (s *Scenario) FirmwareByVersion(version string) *Firmware {
	for i := range s.Firmware {
		if s.Firmware[i].Version == version {
			return &s.Firmware[i]
		}
	}
	return nil
}

// NetworkByName finds a network, nil if there is none.
func (s *Scenario) NetworkByName(name string) *Network {
	for i := range s.Networks {
		if s.Networks[i].Name == name {
			return &s.Networks[i]
		}
	}
	return nil
}

// DynamicGroup finds a dynamic group by name, nil if there is none.
func (s *Scenario) DynamicGroup(name string) *DynamicGroup {
	for i := range s.Fleet.Dynamic {
		if s.Fleet.Dynamic[i].Name == name {
			return &s.Fleet.Dynamic[i]
		}
	}
	return nil
}

// Group finds a group, nil if there is none.
func (s *Scenario) Group(name string) *Group {
	for i := range s.Fleet.Groups {
		if s.Fleet.Groups[i].Name == name {
			return &s.Fleet.Groups[i]
		}
	}
	return nil
}
