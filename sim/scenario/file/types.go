package file

// Scenario is one scenario: a fleet, a cloud, what is rolled out, what goes wrong, and what must hold.
type Scenario struct {
	// Version of the file format.
	APIVersion String `json:"apiVersion" jsonschema:"required,enum=otasim/v1"`
	// Kind of the file.
	Kind String `json:"kind" jsonschema:"required,enum=Scenario"`
	// Name, description and tags.
	Metadata Metadata `json:"metadata" jsonschema:"required"`
	// Everything random is drawn from this number: equal files with equal seeds give equal runs. 1 if absent; --seed overrides it.
	Seed Int `json:"seed" jsonschema:"minimum=0"`
	// Limit of virtual time. Rules of kind atEnd are judged when it is reached, or earlier when nothing is left to happen.
	Duration Duration `json:"duration" jsonschema:"required"`
	// Versions that devices run or are offered.
	Firmware []Firmware `json:"firmware" jsonschema:"required,minItems=1"`
	// Signing keys by name. A key without a file is made from the seed.
	Keys Map[Key] `json:"keys"`
	// The devices.
	Fleet Fleet `json:"fleet" jsonschema:"required"`
	// Links between device and cloud, by name: one link, or a list of links with weights from which each device draws one.
	Networks Map[OneOrMany[Link]] `json:"networks"`
	// The account the fleet talks to.
	Cloud Cloud `json:"cloud"`
	// What the operator rolls out: one CreateOTAUpdate call each, in the service's own spelling.
	Updates []Update `json:"updates"`
	// What an operator, a factory or the world does while it runs.
	Events []Event `json:"events"`
	// What goes wrong. A fault that never struck fails the run.
	Faults []Fault `json:"faults"`
	// Wrong implementations planted in all devices and in the cloud, to show what a defence is worth: names of device/defect and cloud/defect, which otasim explain planted lists. A run with one says so.
	PlantedDefects []String `json:"plantedDefects"`
	// What an attacker does with the capabilities they hold.
	Attacks []Attack `json:"attacks"`
	// The same scenario with some values changed, each with an expectation of its own.
	Variants []Variant `json:"variants"`
	// Limits on metrics, judged at the end: job_execution_duration: ["p(99) < 90m"]. {group:NAME} behind a metric narrows it.
	Thresholds Map[OneOrMany[Expr]] `json:"thresholds"`
	// Rules about the run. A run passes when all of them hold.
	Assertions []Assertion `json:"assertions"`
}

// Metadata names a scenario.
type Metadata struct {
	// Short name, shown in results.
	Name String `json:"name" jsonschema:"required"`
	// What it shows, in a sentence or two.
	Description String `json:"description"`
	// Words to select by.
	Tags []String `json:"tags"`
}

// Firmware is one version of the application.
type Firmware struct {
	Place *Node `json:"-"`
	// Label of this row, used everywhere else in the file; also the version in the descriptor of a built image.
	Version Label `json:"version" jsonschema:"required"`
	// A real app image (.bin). Without it an image is built from the other keys.
	Image Path `json:"image"`
	// Project name in the descriptor of a built image.
	Project String `json:"project"`
	// Length of a built image file, appended SHA-256 included.
	Size Size `json:"size" jsonschema:"minimum=4096,maximum=16777216"`
	// secure_version in the descriptor of a built image, compared with the eFuse by anti-rollback.
	SecureVersion Int `json:"secureVersion" jsonschema:"minimum=0,maximum=32"`
	// What the firmware's self-test does after an update: pass, fail (it reports failure), crash (it resets before it reports), hang (it never reports), needs-connectivity (it waits until the device is connected), slow (it passes after 30s).
	SelfTest String `json:"selfTest" jsonschema:"enum=pass,enum=fail,enum=crash,enum=hang,enum=needs-connectivity,enum=slow"`
	// Share of the devices on which the self-test ends so, drawn from the seed; it passes on the others. All if absent.
	SelfTestShare Share `json:"selfTestShare"`
	// How long the self-test takes.
	SelfTestDuration Duration `json:"selfTestDuration"`
	// wrong: the password of the access point that is compiled in is not that of the access point.
	WifiPassword String `json:"wifiPassword" jsonschema:"enum=right,enum=wrong"`
	// What the firmware publishes about its work, on dt/THING/telemetry.
	Telemetry Telemetry `json:"telemetry"`
	// Settings compiled into this image.
	Otaconfig FirmwareOtaconfig `json:"otaconfig"`
	// Names of the keys that sign the image: one for the platform layer, up to three of secure boot V2. If absent the OTA key made from the seed, and where devices have secure boot V2 its first key.
	Sign []String `json:"sign"`
	// Keys of secure boot V2 that this image revokes on its device (esp_ota_revoke_secure_boot_public_key).
	Revokes []String `json:"revokes"`
	// When it does so: confirmed (once its update is confirmed, and at each start after that; the default), or start (at once).
	RevokeAt String `json:"revokeAt" jsonschema:"enum=confirmed,enum=start"`
	// Who has built it: release, or attacker: no device may ever start it.
	Origin String `json:"origin" jsonschema:"enum=release,enum=attacker"`
	// Chip the image is built for.
	Target String `json:"target" jsonschema:"enum=esp32,enum=esp32s3,enum=esp32c3"`
	// Delta updates.
	Delta String `json:"delta" jsonschema:"enum=none,later=auto"`
}

// Telemetry is what a firmware publishes while it is connected.
type Telemetry struct {
	// Time between two messages; nothing is published if absent.
	Every Duration `json:"every"`
	// Length of a message.
	Size Size `json:"size" jsonschema:"minimum=1,maximum=131072"`
	// Quality of service.
	QoS Int `json:"qos" jsonschema:"minimum=0,maximum=1"`
}

// FirmwareOtaconfig holds otaconfig macros that belong to an image, not to a device.
type FirmwareOtaconfig struct {
	// 1 lets the agent in this image accept a version that is not newer.
	AllowDowngrade Bool `json:"AllowDowngrade"`
}

// Key is a signing key.
type Key struct {
	// What it signs with: sig-sha256-ecdsa (what the platform layer checks, and secure boot V1), or secure-boot-v2-rsa3072.
	Scheme String `json:"scheme" jsonschema:"required,enum=sig-sha256-ecdsa,enum=secure-boot-v2-rsa3072,later=secure-boot-v1-ecdsa,later=secure-boot-v2-ecdsa,later=sig-sha256-rsa"`
	// PEM file of the private key; made from the seed if absent.
	File Path `json:"file"`
	// PEM file of the code-signing certificate for the key; made if absent.
	Certificate Path `json:"certificate"`
}

// Fleet is the devices that exist at the start.
type Fleet struct {
	// What all groups have in common. A group's own keys win; sdkconfig and otaconfig are merged key by key.
	Defaults Device `json:"defaults"`
	// Thing groups of devices that are alike.
	Groups []Group `json:"groups" jsonschema:"required,minItems=1"`
	// Dynamic thing groups: whose members a query finds, now and later. Updates can be aimed at them.
	DynamicGroups []DynamicGroup `json:"dynamicGroups"`
}

// DynamicGroup is a thing group of whatever a query finds.
type DynamicGroup struct {
	Place *Node `json:"-"`
	// Name of the thing group.
	Name String `json:"name" jsonschema:"required"`
	// A query in the language of fleet indexing, over thing names, groups and attributes: "attributes.site:lab AND thingName:esp32-*".
	Query String `json:"query" jsonschema:"required"`
}

// Group is a thing group.
type Group struct {
	Place *Node `json:"-"`
	// Name of the thing group; its things are called TARGET-GROUP-00001 and so on.
	Name String `json:"name" jsonschema:"required"`
	// Number of devices.
	Count Int `json:"count" jsonschema:"required,minimum=1,maximum=5000000"`
	// What shares of the group are built with instead: each device draws one. The rest is built as the group says.
	Mix []Build `json:"mix"`
	// Attributes that its things have in the registry, at most three.
	Attributes Map[Label] `json:"attributes"`
	Device                // the rest
}

// Build is what a share of a group is built with. What it does not name is the group's.
type Build struct {
	Place *Node `json:"-"`
	// Share of the devices.
	Weight Share `json:"weight" jsonschema:"required"`
	// Generation of the bootloader.
	Bootloader String `json:"bootloader" jsonschema:"enum=afr-2022,enum=afr-2018,enum=idf-5.5,enum=idf-6.0"`
	// ESP-IDF settings, merged key by key with the group's.
	Sdkconfig Sdkconfig `json:"sdkconfig"`
	// Keys of secure boot V2.
	SecureBoot SecureBoot `json:"secureBoot"`
	// secure_version already burnt into the eFuse.
	EfuseSecureVersion Int `json:"efuseSecureVersion" jsonschema:"minimum=0,maximum=32"`
}

// Device is what a device is made with.
type Device struct {
	// Chip, spelled as in idf.py set-target.
	Target String `json:"target" jsonschema:"enum=esp32,enum=esp32s3,enum=esp32c3"`
	// Flash chip on the board, spelled as in esptool.
	Flash Flash `json:"flash"`
	// Partition table: a CSV of ESP-IDF by its name, or a path.
	Partitions Path `json:"partitions"`
	// Generation of the bootloader: afr-2022 (the newest Amazon FreeRTOS port, which erases the older firmware after a confirmed update), afr-2018, idf-5.5, idf-6.0.
	Bootloader String `json:"bootloader" jsonschema:"enum=afr-2022,enum=afr-2018,enum=idf-5.5,enum=idf-6.0"`
	// ESP-IDF settings.
	Sdkconfig Sdkconfig `json:"sdkconfig"`
	// Keys of secure boot V2.
	SecureBoot SecureBoot `json:"secureBoot"`
	// Settings of the OTA agent, without their otaconfig prefix.
	Otaconfig Otaconfig `json:"otaconfig"`
	// Version that runs at the start.
	Firmware Label `json:"firmware"`
	// Name of a network of this file, or a built-in one: default (a household's Wi-Fi), ethernet, wifi-crowded, lte-cat1, lte-m, nb-iot, gprs, satellite-leo, satellite-geo.
	Network String `json:"network"`
	// required: the platform layer takes only files whose signature is good; off: it takes any.
	CodeSigning String `json:"codeSigning" jsonschema:"enum=required,enum=off"`
	// Release of the OTA agent: ideal (no known defect), ota-main, ota-v3.4.1, ota-b36db646, ota-v3.0.0 (the library), afr-v1.4.2 or afr-v1.4.0 (Amazon FreeRTOS 2018 with its demo, which never reconnects).
	Agent String `json:"agent"`
	// Behaviours of that release switched on or off one by one, by the names that otasim explain agents lists: {stickyProtocol: false} mends one known defect, {jobIDSplice: true} adds one. A group's own names win over those of fleet.defaults.
	AgentDefects Map[Bool] `json:"agentDefects"`
	// How the firmware gets its connection back.
	Reconnect Reconnect `json:"reconnect"`
	// secure_version already burnt into the eFuse; that of the firmware if absent and anti-rollback is on.
	EfuseSecureVersion Int `json:"efuseSecureVersion" jsonschema:"minimum=0,maximum=32"`
	// When the device is switched on: a time, or a range from which each device draws its own.
	Start DurationRange `json:"start"`
	// When the device is there: one pattern, or a list with weights from which each device draws one. Always if absent.
	Presence OneOrMany[Presence] `json:"presence"`
}

// Presence is when a device is awake. It has at most one of wake, hours and off; with none it is always there. A device that is not there sleeps without power and without a goodbye.
type Presence struct {
	Place *Node `json:"-"`
	// Share of the devices that have this pattern, in a list.
	Weight Share `json:"weight"`
	// A device that wakes up from time to time, as on batteries.
	Wake *Wake `json:"wake"`
	// A device that is switched on at some hours of the day.
	Hours *Hours `json:"hours"`
	// A device that is never there.
	Off Bool `json:"off"`
	// The device falls asleep even in the middle of an update. Otherwise it stays awake until it has nothing in hand.
	Interrupts Bool `json:"interrupts"`
}

// Wake is a device that wakes up from time to time.
type Wake struct {
	// From one waking to the next; each device has a phase of its own.
	Every Duration `json:"every" jsonschema:"required"`
	// Time it stays awake.
	For Duration `json:"for" jsonschema:"required"`
	// A waking comes earlier or later by up to this much.
	Jitter Duration `json:"jitter"`
}

// Hours are some hours of each day.
type Hours struct {
	// Local time of day at which the device is switched on.
	From Duration `json:"from" jsonschema:"required"`
	// Time it stays on.
	For Duration `json:"for" jsonschema:"required"`
	// Each day it is switched on earlier or later by up to this much.
	Jitter Duration `json:"jitter"`
	// Hours that local time is ahead of UTC; each device draws one. t = 0 is midnight UTC. 0 if absent.
	Timezones []Int `json:"timezones" jsonschema:"minimum=-12,maximum=14"`
}

// SecureBoot says which keys of secure boot V2 a device has.
type SecureBoot struct {
	// Keys whose digests the factory burns, in the order of the slots: one on the esp32, up to three on others. The first key of that scheme if absent.
	Keys []String `json:"keys"`
	// Keys that sign the boot loader; all of keys if absent.
	BootloaderSign []String `json:"bootloaderSign"`
}

// Flash is the chip on the board.
type Flash struct {
	// Capacity; 4MB is 4 MiB.
	Size Label `json:"size" jsonschema:"enum=2MB,enum=4MB,enum=8MB,enum=16MB"`
	// SPI mode.
	Mode String `json:"mode" jsonschema:"enum=qio,enum=qout,enum=dio,enum=dout"`
	// SPI clock.
	Freq Label `json:"freq" jsonschema:"enum=20m,enum=26m,enum=40m,enum=80m"`
}

// Sdkconfig holds ESP-IDF settings.
type Sdkconfig struct {
	// A new image is on trial until the application confirms it.
	Rollback Bool `json:"CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE"`
	// The bootloader refuses images whose secure_version is below the eFuse's.
	AntiRollback Bool `json:"CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK"`
	// Number of eFuse bits for the secure version.
	SecVerBits Int `json:"CONFIG_BOOTLOADER_APP_SEC_VER_SIZE_EFUSE_FIELD" jsonschema:"minimum=1,maximum=32"`
	// Where the partition table lies.
	TableOffset Hex `json:"CONFIG_PARTITION_TABLE_OFFSET" jsonschema:"minimum=4096,maximum=1048576"`
	// The partition table has an MD5 record.
	TableMD5 Bool `json:"CONFIG_PARTITION_TABLE_MD5"`
	// Secure boot, version 1: the bootloader starts only what the OTA key has signed.
	SecureBootV1 Bool `json:"CONFIG_SECURE_BOOT_V1_ENABLED"`
	// Secure boot, version 2: the ROM starts only a boot loader, and that only an application, signed by a key whose digest is in the eFuses (RSA-3072; esp32 from revision 3 on, esp32s3, esp32c3).
	SecureBootV2 Bool `json:"CONFIG_SECURE_BOOT_V2_ENABLED"`
	// Secure boot V2: the ROM revokes each key whose signature on the boot loader is bad. Not on the esp32.
	AggressiveRevoke Bool `json:"CONFIG_SECURE_BOOT_ENABLE_AGGRESSIVE_KEY_REVOKE"`
	// Secure boot V2: digest slots without a key stay open. Otherwise the factory revokes them.
	UnusedDigestSlots Bool `json:"CONFIG_SECURE_BOOT_ALLOW_UNUSED_DIGEST_SLOTS"`
	// Signed apps without secure boot: the application checks an update in esp_ota_end, the bootloader checks nothing.
	SignedApps Bool `json:"CONFIG_SECURE_SIGNED_APPS_NO_SECURE_BOOT"`
	// Flash encryption: boot loader, partition table, otadata and apps lie encrypted in flash, with a key that each chip has for itself. NVS stays as it is.
	FlashEncryption Bool `json:"CONFIG_SECURE_FLASH_ENC_ENABLED"`
	// Flash encryption in release mode: the chip encrypts nothing for a programmer. Development mode if absent.
	FlashRelease Bool `json:"CONFIG_SECURE_FLASH_ENCRYPTION_MODE_RELEASE"`
	// eFuses kept in a flash partition.
	VirtualEfuse Bool `json:"CONFIG_EFUSE_VIRTUAL_KEEP_IN_FLASH" later:"true"`
	// Watchdog of the bootloader, milliseconds.
	BootloaderWDT Int `json:"CONFIG_BOOTLOADER_WDT_TIME_MS" later:"true"`
}

// Reconnect is the firmware's connection task. The 2018 agent's demo has its own: every second, and never again once the agent runs.
type Reconnect struct {
	// First pause, doubled with each attempt and drawn between 0 and that; 500ms if absent.
	Base Duration `json:"base"`
	// Longest pause; 5s if absent.
	Max Duration `json:"max"`
	// Attempts in a row after which the firmware gives up with an assertion, and the chip resets; the demos have 5. No limit if absent.
	Attempts Int `json:"attempts" jsonschema:"minimum=1,maximum=1000"`
	// A connection that ends is not replaced.
	Never Bool `json:"never"`
}

// Otaconfig holds macros of the OTA agent. An absent one has the default of the agent's release.
type Otaconfig struct {
	// Base-2 logarithm of the block size: 12 is 4 KiB.
	Log2FileBlockSize Int `json:"LOG2_FILE_BLOCK_SIZE" jsonschema:"minimum=8,maximum=14"`
	// Blocks asked for in one stream request.
	MaxNumBlocksRequest Int `json:"MAX_NUM_BLOCKS_REQUEST" jsonschema:"minimum=1,maximum=128"`
	// Idle time before blocks are requested again, milliseconds.
	FileRequestWaitMS Int `json:"FILE_REQUEST_WAIT_MS" jsonschema:"minimum=100,maximum=3600000"`
	// Time a new image has for its self-test, milliseconds.
	SelfTestResponseWaitMS Int `json:"SELF_TEST_RESPONSE_WAIT_MS" jsonschema:"minimum=100,maximum=3600000"`
	// A progress message is sent after so many blocks.
	StatusFrequency Int `json:"OTA_UPDATE_STATUS_FREQUENCY" jsonschema:"minimum=1,maximum=65535"`
	// Unanswered requests before the agent gives up.
	MaxRequestMomentum Int `json:"MAX_NUM_REQUEST_MOMENTUM" jsonschema:"minimum=1,maximum=65535"`
	// Ways of fetching a file that the agent is built with, configENABLED_DATA_PROTOCOLS; both if absent. The 2018 agent knows MQTT only.
	EnabledDataProtocols String `json:"ENABLED_DATA_PROTOCOLS" jsonschema:"enum=MQTT,enum=HTTP,enum=MQTT|HTTP"`
	// The way it takes when a job offers both, configOTA_PRIMARY_DATA_PROTOCOL; MQTT if absent.
	PrimaryDataProtocol String `json:"PRIMARY_DATA_PROTOCOL" jsonschema:"enum=MQTT,enum=HTTP"`
	// Buffers for received blocks.
	MaxNumDataBuffers Int `json:"MAX_NUM_OTA_DATA_BUFFERS" jsonschema:"minimum=1,maximum=256"`
}

// Link is the way between one device and the cloud.
type Link struct {
	Place *Node `json:"-"`
	// Share of the devices that have this link, in a list of links.
	Weight Share `json:"weight"`
	// Another network whose link this is.
	Use String `json:"use"`
	// Speed towards the device; unlimited if absent.
	Downlink Rate `json:"downlink"`
	// Speed from the device; unlimited if absent.
	Uplink Rate `json:"uplink"`
	// Time a packet takes one way.
	Latency Duration `json:"latency"`
	// The latency varies by up to this much to both sides.
	Jitter Duration `json:"jitter"`
	// Share of packets that are lost and sent again.
	Loss Share `json:"loss"`
	// Connections that break now and then.
	Disconnect *Disconnect `json:"disconnect"`
}

// Disconnect is how often a link fails: each pause is drawn between half and one and a half times every.
type Disconnect struct {
	Place *Node `json:"-"`
	// Mean time between two failures.
	Every Duration `json:"every" jsonschema:"required"`
	// How long the link is gone.
	For DurationRange `json:"for" jsonschema:"required"`
}

// Cloud is the account.
type Cloud struct {
	// Region, used in names and addresses.
	Region String `json:"region"`
	// Twelve digits.
	Account Label `json:"account"`
	// aws-default refuses and throttles as AWS documents it, unlimited does not. A mapping of names of quotas to values changes aws-default: {jobs-data-writes: 50, connections: unlimited}. otasim explain quotas lists the names.
	Quotas Quotas `json:"quotas"`
	// The policy of devices' certificates: ota lets each reach its own topics only, open lets it do everything.
	Policy String `json:"policy" jsonschema:"enum=ota,enum=open"`
	// Readings of points on which AWS's documentation disagrees, by name of the switch: {notify-in-progress: yes}. otasim explain switches lists them.
	Switches Map[Label] `json:"switches"`
	// US dollars instead of the shipped prices: messages and connectivity per million, jobExecutions each, s3Get and s3Put per thousand, s3Egress per GiB.
	Prices Map[Decimal] `json:"prices"`
}

// Trigger says when something happens.
type Trigger struct {
	// Virtual time.
	At Duration `json:"at"`
	// When a job reaches a status.
	After *After `json:"after"`
	// With at or after: it only happens if this holds at that moment. Alone: it happens when this becomes true.
	When Expr `json:"when"`
}

// After waits for a job.
type After struct {
	Place *Node `json:"-"`
	// The update whose job it is.
	OTAUpdateID String `json:"otaUpdateId" jsonschema:"required"`
	// The status it must reach.
	JobStatus String `json:"jobStatus" jsonschema:"required,enum=IN_PROGRESS,enum=COMPLETED,enum=CANCELED"`
	// Time to wait from then on.
	Delay Duration `json:"delay"`
}

// Update is one CreateOTAUpdate call.
type Update struct {
	Place *Node `json:"-"`
	// Id of the update; the job is called AFR_OTA- and this.
	OTAUpdateID String `json:"otaUpdateId"`
	// Free text.
	Description String `json:"description"`
	Trigger
	// Version that is rolled out.
	Firmware Label `json:"firmware"`
	// Groups or things.
	Targets []String `json:"targets"`
	// Ways the image may be fetched.
	Protocols []String `json:"protocols" jsonschema:"enum=MQTT,enum=HTTP"`
	// SNAPSHOT updates who is in the groups at the start, CONTINUOUS also who joins later.
	TargetSelection String `json:"targetSelection" jsonschema:"enum=SNAPSHOT,enum=CONTINUOUS"`
	// How fast the job is handed out.
	Rollout *Rollout `json:"awsJobExecutionsRolloutConfig"`
	// When the job is cancelled.
	Abort *Abort `json:"awsJobAbortConfig"`
	// When an execution times out.
	Timeout *Timeout `json:"awsJobTimeoutConfig"`
	// How long presigned URLs are valid.
	Presigned *Presigned `json:"awsJobPresignedUrlConfig"`
	// JSON as one passes it to aws iot create-ota-update --cli-input-json. Keys of this entry win over it.
	From Path `json:"from"`
	// Role the service assumes.
	RoleArn String `json:"roleArn"`
	// Files of the update; the image is that of the firmware row.
	Files Any `json:"files"`
	// The one file of the update, in more detail than firmware says, or instead of it.
	File *UpdateFile `json:"file"`
	// Kept on the record.
	AdditionalParameters Any `json:"additionalParameters"`
	// Kept on the record.
	Tags Any `json:"tags"`
}

// UpdateFile is the file of an update, in the words of CreateOTAUpdate's files[].
type UpdateFile struct {
	Place *Node `json:"-"`
	// Name on the device; "/" and the version, or "/" and the partition, if absent. An empty one is left out of the job document.
	FileName String `json:"fileName"`
	// 0 is firmware, which the agent tests and activates; anything else is not. 1 if a partition is given.
	FileType Int `json:"fileType" jsonschema:"minimum=0,maximum=255"`
	// The bytes: this file, or
	Path Path `json:"path"`
	// so many bytes made from the seed; those of the firmware if both are absent.
	Size Size `json:"size" jsonschema:"minimum=1,maximum=16777216"`
	// Label of the data partition that the devices copy the file to once its signature is good.
	Partition String `json:"partition"`
	// What becomes of the service's signature: corrupt changes it in the signed object, none leaves it out.
	Signature String `json:"signature" jsonschema:"enum=good,enum=corrupt,enum=none"`
	// A signature made elsewhere, instead of the service's.
	CustomCodeSigning *CustomCodeSigning `json:"customCodeSigning"`
}

// CustomCodeSigning is a signature that the operator brings.
type CustomCodeSigning struct {
	// The signature, as it is.
	Signature String `json:"signature" jsonschema:"required"`
	// Certificate on the device.
	CertificateName String `json:"certificateName"`
	// SHA1 or SHA256.
	HashAlgorithm String `json:"hashAlgorithm" jsonschema:"required,enum=SHA1,enum=SHA256"`
	// RSA or ECDSA.
	SignatureAlgorithm String `json:"signatureAlgorithm" jsonschema:"required,enum=RSA,enum=ECDSA"`
}

// Rollout is how fast a job is handed out.
type Rollout struct {
	// Executions that are notified in a minute.
	MaximumPerMinute Int `json:"maximumPerMinute" jsonschema:"minimum=1,maximum=1000"`
	// A rate that grows.
	ExponentialRate *ExponentialRate `json:"exponentialRate"`
}

// ExponentialRate is a rollout rate that grows with success.
type ExponentialRate struct {
	// Rate at the start.
	BaseRatePerMinute Int `json:"baseRatePerMinute" jsonschema:"required,minimum=1,maximum=1000"`
	// What the rate is multiplied with, 1.1 to 5.
	IncrementFactor Decimal `json:"incrementFactor" jsonschema:"required"`
	// When it is.
	RateIncreaseCriteria RateIncrease `json:"rateIncreaseCriteria" jsonschema:"required"`
}

// RateIncrease has exactly one of its keys.
type RateIncrease struct {
	Place *Node `json:"-"`
	// Each time so many more things were notified.
	NumberOfNotifiedThings Int `json:"numberOfNotifiedThings" jsonschema:"minimum=1"`
	// Each time so many more things succeeded.
	NumberOfSucceededThings Int `json:"numberOfSucceededThings" jsonschema:"minimum=1"`
}

// Abort is when a job is cancelled by the service.
type Abort struct {
	// The first criterion that is met cancels the job.
	AbortCriteriaList []AbortCriteria `json:"abortCriteriaList" jsonschema:"required,minItems=1"`
}

// AbortCriteria is one criterion.
type AbortCriteria struct {
	// Which failures count.
	FailureType String `json:"failureType" jsonschema:"required,enum=FAILED,enum=REJECTED,enum=TIMED_OUT,enum=ALL"`
	// What happens.
	Action String `json:"action" jsonschema:"required,enum=CANCEL"`
	// Per cent of the finished executions.
	ThresholdPercentage Decimal `json:"thresholdPercentage" jsonschema:"required"`
	// Nothing is judged before so many executions are finished.
	MinNumberOfExecutedThings Int `json:"minNumberOfExecutedThings" jsonschema:"required,minimum=1"`
}

// Timeout is when an execution times out.
type Timeout struct {
	// Minutes an execution may be IN_PROGRESS.
	InProgressTimeoutInMinutes Int `json:"inProgressTimeoutInMinutes" jsonschema:"required,minimum=1,maximum=10080"`
}

// Presigned is about presigned URLs.
type Presigned struct {
	// Seconds.
	ExpiresInSec Int `json:"expiresInSec" jsonschema:"required,minimum=60,maximum=3600"`
}

// Event is one action at one time.
type Event struct {
	Place *Node `json:"-"`
	// Name, for messages.
	Name String `json:"name"`
	Trigger
	// Cancel the job of an update.
	CancelJob *JobAction `json:"cancelJob"`
	// Delete the job of an update.
	DeleteJob *JobAction `json:"deleteJob"`
	// Delete an update.
	DeleteOTAUpdate *DeleteOTAUpdate `json:"deleteOTAUpdate"`
	// Add targets to a CONTINUOUS job.
	AssociateTargetsWithJob *Associate `json:"associateTargetsWithJob"`
	// Cancel one device's execution.
	CancelJobExecution *CancelExecution `json:"cancelJobExecution"`
	// New devices are made, switched on, and join a group.
	AddThings *AddThings `json:"addThings"`
	// Things join a group.
	AddThingToThingGroup *GroupChange `json:"addThingToThingGroup"`
	// Things leave a group.
	RemoveThingFromThingGroup *GroupChange `json:"removeThingFromThingGroup"`
	// Attributes of things change in the registry, and with them the dynamic groups they are in.
	UpdateThing *UpdateThing `json:"updateThing"`
	// Devices get a new thing name, certificate and key in flash, as in a factory.
	Reprovision *Reprovision `json:"reprovision"`
	// Devices lose power.
	PowerOff *Power `json:"powerOff"`
	// Devices get power.
	PowerOn *Power `json:"powerOn"`
}

// JobAction is about the job of an update.
type JobAction struct {
	// The update whose job it is.
	OTAUpdateID String `json:"otaUpdateId" jsonschema:"required"`
	// Also executions that are IN_PROGRESS.
	Force Bool `json:"force"`
}

// DeleteOTAUpdate deletes an update.
type DeleteOTAUpdate struct {
	// The update.
	OTAUpdateID String `json:"otaUpdateId" jsonschema:"required"`
	// Delete its stream too.
	DeleteStream Bool `json:"deleteStream"`
	// Delete its job although executions are IN_PROGRESS.
	ForceDeleteAWSJob Bool `json:"forceDeleteAWSJob"`
}

// Associate adds targets.
type Associate struct {
	// The update whose job it is.
	OTAUpdateID String `json:"otaUpdateId" jsonschema:"required"`
	// Groups or things.
	Targets []String `json:"targets" jsonschema:"required,minItems=1"`
}

// CancelExecution cancels one execution.
type CancelExecution struct {
	// The update whose job it is.
	OTAUpdateID String `json:"otaUpdateId" jsonschema:"required"`
	// The thing.
	Thing String `json:"thing" jsonschema:"required"`
	// Also when it is IN_PROGRESS.
	Force Bool `json:"force"`
}

// AddThings makes devices.
type AddThings struct {
	// The group they join and are like.
	Group String `json:"group" jsonschema:"required"`
	// How many.
	Count Int `json:"count" jsonschema:"required,minimum=1,maximum=5000000"`
	// Version they run; that of the group if absent.
	Firmware Label `json:"firmware"`
	// Their network; that of the group if absent.
	Network String `json:"network"`
}

// GroupChange is about the membership of things.
type GroupChange struct {
	// The things.
	Things []String `json:"things" jsonschema:"required,minItems=1"`
	// The group.
	ThingGroupName String `json:"thingGroupName" jsonschema:"required"`
}

// UpdateThing changes the attributes of things.
type UpdateThing struct {
	// The things.
	Things []String `json:"things" jsonschema:"required,minItems=1"`
	// Attributes and their new values; an empty one is removed, the others stay.
	Attributes Map[Label] `json:"attributes" jsonschema:"required"`
}

// Reprovision gives devices a new identity.
type Reprovision struct {
	Place *Node `json:"-"`
	// The devices by their thing names, or
	Things []String `json:"things"`
	// the first ones of this group:
	Group String `json:"group"`
	// so many.
	Count Int `json:"count" jsonschema:"minimum=1,maximum=5000000"`
	// Group the new things join; that of the old ones if absent.
	ThingGroupName String `json:"thingGroupName"`
	// Added to the old name.
	Suffix String `json:"suffix"`
	// Or the new names.
	NewNames []String `json:"newNames"`
}

// Power selects devices to switch.
type Power struct {
	Place *Node `json:"-"`
	// By thing name.
	Things []String `json:"things"`
	// By group.
	Groups []String `json:"groups"`
}

// Fault is something that goes wrong.
type Fault struct {
	Place *Node `json:"-"`
	// Name, used in expressions: faults["name"].injected.
	Name String `json:"name" jsonschema:"required"`
	// Kind of fault.
	Type String `json:"type" jsonschema:"required,enum=power-cut,enum=flash-media,enum=network,enum=cloud,enum=clock,enum=memory"`
	// What it does. flash-media: bit-flip, stuck, dead-sector, program-fails, erase-fails, read-disturb, worn-out. network: disconnect, reconnect-storm, outage, ap-outage, one-way, degrade, dns, captive-portal; of single messages: drop-message, duplicate-message, delay-message. cloud: error, throttle, lost-reply, broker-restart, outage, slow, ignore-range. clock: unset, jump, drift. memory: no-buffer, heap.
	Effect String `json:"effect" jsonschema:"enum=bit-flip,enum=stuck,enum=dead-sector,enum=program-fails,enum=erase-fails,enum=read-disturb,enum=worn-out,enum=disconnect,enum=reconnect-storm,enum=outage,enum=ap-outage,enum=one-way,enum=degrade,enum=dns,enum=captive-portal,enum=drop-message,enum=duplicate-message,enum=delay-message,enum=error,enum=throttle,enum=lost-reply,enum=broker-restart,enum=slow,enum=ignore-range,enum=unset,enum=jump,enum=drift,enum=no-buffer,enum=heap"`
	// Devices it may meet; all if absent.
	Select Select `json:"select"`
	// A named point in a device's life (otadata.program, self-test, block(128).programmed), or a time such as 30m, or a range of times such as 5m..2h from which each device draws its own.
	At String `json:"at"`
	// Phases of an update; one is drawn per device: download, flash-write (inside a flash command), verify, otadata or otadata-write, self-test or first-boot, confirm.
	During []String `json:"during" jsonschema:"enum=download,enum=flash-write,enum=verify,enum=otadata,enum=otadata-write,enum=self-test,enum=first-boot,enum=confirm"`
	// Strikes when this becomes true.
	When Expr `json:"when"`
	// With a time: it strikes again so much later, until the end or as often as times says.
	Every Duration `json:"every"`
	// How often it strikes a device.
	Times Int `json:"times" jsonschema:"minimum=1,maximum=1000"`
	// How often it strikes at most, all devices together; who is spared is drawn from the seed.
	Budget Int `json:"budget" jsonschema:"minimum=1,maximum=5000000"`
	// Chance of striking at each opportunity.
	Probability Share `json:"probability"`
	// How long it lasts; to the end if absent.
	For DurationRange `json:"for"`
	// power-cut: how long the power stays away.
	Off DurationRange `json:"off"`
	// power-cut: where an interrupted flash command stops: none (between commands), or at any word, page or sector.
	Torn String `json:"torn" jsonschema:"enum=none,enum=word,enum=page,enum=sector"`
	// power-cut: bytes of the interrupted program that still reach the cells.
	Keep Size `json:"keep"`
	// power-cut: which of the two otadata copies the interrupted command works on.
	Copy Int `json:"copy" jsonschema:"minimum=0,maximum=1"`
	// power-cut: the flash command that is interrupted, the first of its kind from the point on; program if keep is given.
	Command String `json:"command" jsonschema:"enum=program,enum=erase,enum=any"`
	// power-cut: flash commands of that kind that still pass unharmed.
	Skip Int `json:"skip" jsonschema:"minimum=0,maximum=1000000"`
	// power-cut: what the interrupted command leaves, instead of torn and keep: not-started, prefix (keep bytes of it), subset (each bit by chance), erase-zeroed, erase-noise, erase-looks-done, done.
	Leaves String `json:"leaves" jsonschema:"enum=not-started,enum=prefix,enum=subset,enum=erase-zeroed,enum=erase-noise,enum=erase-looks-done,enum=done"`
	// power-cut: seed of what is left to chance in the interrupted command; from the scenario's seed if absent.
	TornSeed Hex `json:"tornSeed"`
	// flash-media: the partition by its label, or running, passive (the OTA slot that is not running; the default).
	Partition String `json:"partition"`
	// flash-media: where in the partition the region begins; drawn per device for dead-sector if absent, else 0.
	Offset Hex `json:"offset"`
	// flash-media: length of the region; the rest of the partition if absent, one sector for dead-sector.
	Length Size `json:"length"`
	// flash-media: bits affected, drawn per device; 1 if absent.
	Bits Int `json:"bits" jsonschema:"minimum=1,maximum=65536"`
	// flash-media, stuck: the value of the bits.
	Value Int `json:"value" jsonschema:"minimum=0,maximum=1"`
	// flash-media, read-disturb: reads of a sector until its bits flip.
	Reads Int `json:"reads" jsonschema:"minimum=1,maximum=1000000000"`
	// flash-media, program-fails and erase-fails: one command in so many fails.
	OneIn Int `json:"oneIn" jsonschema:"minimum=1,maximum=1000000000"`
	// network, one-way: the direction in which nothing passes; of a message: up from the device, down to it.
	Direction String `json:"direction" jsonschema:"enum=up,enum=down"`
	// network, degrade, and cloud, slow: added to every delay. delay-message: so much later it arrives; duplicate-message: so much later it arrives again.
	Latency Duration `json:"latency"`
	// network, degrade: the added latency varies by so much to both sides.
	Jitter Duration `json:"jitter"`
	// network, degrade: share of packets that are lost and sent again.
	Loss Share `json:"loss"`
	// network, degrade: speed towards the device.
	Downlink Rate `json:"downlink"`
	// network, degrade: speed from the device.
	Uplink Rate `json:"uplink"`
	// network, drop-message, duplicate-message, delay-message: which messages count, by their topic below $aws/things/THING/ as an MQTT filter, such as jobs/+/update, jobs/notify-next or streams/+/data/cbor; all if absent.
	Topic String `json:"topic"`
	// power-cut with a point: the time that the device reaches it, counted from 1. network, drop-message, duplicate-message, delay-message: the first of these messages that is hit, counted from 1; times says how many in a row.
	Nth Int `json:"nth" jsonschema:"minimum=1,maximum=1000000000"`
	// cloud: the service that is hit.
	Service String `json:"service" jsonschema:"enum=jobs,enum=streams,enum=s3,enum=broker,enum=control-plane"`
	// cloud: only requests of this kind, such as start-next, update, get (jobs) or get (streams).
	Operation String `json:"operation"`
	// clock, jump: the clock is set forward by so much.
	Ahead Duration `json:"ahead"`
	// clock, jump: the clock is set back by so much.
	Behind Duration `json:"behind"`
	// clock, drift: parts per million that it is too fast; negative: too slow.
	Drift Int `json:"drift" jsonschema:"minimum=-500000,maximum=500000"`
	// memory, heap: the largest block that can still be had; none if absent.
	Heap Size `json:"heap"`
}

// Select chooses devices.
type Select struct {
	// By group.
	Groups []String `json:"groups"`
	// By thing name.
	Things []String `json:"things"`
	// By network: the devices of one access point, cell or region.
	Networks []String `json:"networks"`
	// Share of them, drawn from the seed.
	Fraction Share `json:"fraction"`
}

// Attack is what an attacker does.
type Attack struct {
	Place *Node `json:"-"`
	// Name, used in expressions: attacks["name"].committed.
	Name String `json:"name" jsonschema:"required"`
	// Kind of attack; docs/attacks.md says what each does and which capability it needs.
	Type String `json:"type" jsonschema:"required,enum=downgrade-replay,enum=malicious-update,enum=tamper-image,enum=replace-image,enum=bucket-version,enum=stream-substitution,enum=replay-document,enum=edit-document,enum=inject-document,enum=forge-blocks,enum=man-in-the-middle,enum=suppress,enum=slow,enum=block-confirmation,enum=wrong-time,enum=cancel-job,enum=delete-job,enum=job-spam,enum=cross-thing,enum=takeover,enum=group-poisoning,enum=flash-write,enum=flash-read,enum=subscribe,enum=leaked-url"`
	// Id in the threat catalogue.
	Threat String `json:"threat"`
	// What the attacker has and has not; an attack has an actor.
	Actor Actor `json:"actor"`
	Trigger
	// Groups or things; all if absent.
	Targets []String `json:"targets"`
	// Share of the targets.
	Fraction Share `json:"fraction"`
	// The version that is offered, put in place or written.
	Image Label `json:"image"`
	// Whose signature goes with it: original (of the update that is changed), matching (its own, from when it was released), none, attacker (by a key of theirs), stolen (by the real key; needs signing_key).
	Signature String `json:"signature" jsonschema:"enum=original,enum=matching,enum=none,enum=attacker,enum=stolen"`
	// The update that is attacked: an otaUpdateId.
	Update String `json:"update"`
	// tamper-image, flash-write: place of the byte in the image or partition.
	Offset Hex `json:"offset"`
	// tamper-image, flash-write, forge-blocks: what the byte is xored with.
	Xor Hex `json:"xor" jsonschema:"minimum=1,maximum=255"`
	// edit-document, inject-document: keys of the job document and what they become: filesize, filepath, fileid, certfile, sig-sha256-ecdsa, fileType, streamname, protocols; null removes a key.
	Edit Map[Any] `json:"edit"`
	// forge-blocks: what happens to a block: flip (a byte changes), mix-up (it claims to be its neighbour), swap-file (it claims to be of another file).
	Forge String `json:"forge" jsonschema:"enum=flip,enum=mix-up,enum=swap-file"`
	// suppress: what is dropped; who has only the network cannot tell messages apart.
	Traffic String `json:"traffic" jsonschema:"enum=all,enum=notify,enum=jobs,enum=blocks,enum=reports"`
	// How long it lasts; to the end if absent. leaked-url: from the leak to the use.
	For Duration `json:"for"`
	// slow: speed that is left.
	Rate Rate `json:"rate"`
	// wrong-time: the device's clock is set forward by so much,
	Ahead Duration `json:"ahead"`
	// or back.
	Behind Duration `json:"behind"`
	// cancel-job, delete-job: also executions that are IN_PROGRESS.
	Force Bool `json:"force"`
	// job-spam, takeover: how often.
	Count Int `json:"count" jsonschema:"minimum=1,maximum=1000"`
	// job-spam, takeover: time between two.
	Every Duration `json:"every"`
	// cross-thing, takeover: the thing whose credentials the attacker has; its own certificate if absent: that of the target. subscribe: the same; a claim certificate if absent.
	As String `json:"as"`
	// cross-thing: the status that is reported in the name of the targets.
	Report String `json:"report" jsonschema:"enum=SUCCEEDED,enum=FAILED,enum=REJECTED"`
	// group-poisoning: the group that the targets join.
	Group String `json:"group"`
	// flash-write: the partition by its label, or running, passive, bootloader.
	Partition String `json:"partition"`
	// subscribe: topics that are subscribed to; THING stands for each target.
	Topics []String `json:"topics"`
	// inject-document: how long ago the document was recorded: the presigned URLs in it are that old.
	Age Duration `json:"age"`
	// flash-read: what the dump is searched for: image (needs image), key (the device's private key).
	Find String `json:"find" jsonschema:"enum=image,enum=key"`
	// flash-write: what is written: image (needs image), erase, flip (needs offset), select (otadata chooses the passive slot), forget (otadata is erased), signer (the certificate in NVS becomes the attacker's), sign (a byte of the first signature of secure boot V2 on the boot loader is flipped, and the checksum beside it made right), key (the digest of the attacker's key of secure boot V2 is burnt into the first open slot of the eFuses).
	Write String `json:"write" jsonschema:"enum=image,enum=erase,enum=flip,enum=select,enum=forget,enum=signer,enum=sign,enum=key"`
}

// Actor is an attacker's capabilities: network, bucket, broker, operator, signing_key, device_credentials, flash, time, or an action such as s3:PutObject.
type Actor struct {
	// What they have.
	Holds []String `json:"holds"`
	// What they have not.
	Lacks []String `json:"lacks"`
}

// Variant is the same scenario, changed.
type Variant struct {
	Place *Node `json:"-"`
	// Name, shown in results.
	Name String `json:"name" jsonschema:"required"`
	// Values to change, addressed as by --set.
	Set Map[Any] `json:"set"`
	// How it must end.
	Expect Expect `json:"expect" jsonschema:"required"`
}

// Expect is how a variant must end.
type Expect struct {
	// The verdict.
	Verdict String `json:"verdict" jsonschema:"required,enum=pass,enum=assertion,enum=threshold,enum=safety,enum=liveness,enum=inconclusive"`
	// Names of the rules that must fail.
	Violates []String `json:"violates"`
}

// Assertion is one rule. It has exactly one of always, atEnd, sometimes, everyDevice.
type Assertion struct {
	Place *Node `json:"-"`
	// What it says, in words.
	Name String `json:"name" jsonschema:"required"`
	// Must hold whenever it is looked at: at the end of each epoch, a few virtual milliseconds, in which something changed.
	Always Expr `json:"always"`
	// Must hold when the run is over.
	AtEnd Expr `json:"atEnd"`
	// Must hold at least once: shows that the hard case did happen.
	Sometimes Expr `json:"sometimes"`
	// Must hold for each device, each time it changed.
	EveryDevice Expr `json:"everyDevice"`
	// everyDevice: only devices of these groups.
	Groups []String `json:"groups"`
	// Stop the run at the first violation.
	AbortOnFail Bool `json:"abortOnFail"`
	// error fails the run, warning and info only tell.
	Severity String `json:"severity" jsonschema:"enum=error,enum=warning,enum=info"`
}
