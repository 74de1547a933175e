// Package bootloader is the second-stage bootloader of an ESP32: it reads the
// partition table and otadata, chooses an app partition, verifies the image
// and starts it. Along the way it may rewrite otadata records, erase the other
// slot and burn the anti-rollback eFuse.
//
//	reset -> own header -> partition table -> select (may write otadata) -> load -> app
//	                |              |                |                         |
//	                +--------------+----------------+---- nothing boots ------+--> reset (stock), hang (2018)
//
//	index   -99 invalid   -2 test   -1 factory   0..15 OTA slots
//
// Sources: espressif/esp-idf components/bootloader/subproject/main/
// bootloader_start.c and components/bootloader_support/src/
// bootloader_utility.c, bootloader_common.c; espressif/esp-afr-sdk branch
// release/v4.2 components/bootloader_support/src/bootloader_utility.c;
// aws/amazon-freertos v1.4.2 lib/third_party/mcu_vendor/espressif/esp-idf/
// components/bootloader/subproject/main/bootloader_start.c.
package bootloader

import (
	"fmt"
	"time"

	"github.com/otasim/otasim/device/defect"
	"github.com/otasim/otasim/flashmodel/image"
	"github.com/otasim/otasim/flashmodel/partition"
)

// Kind is whose bootloader it is. All but AFR2018 share the stock selection.
type Kind uint8

const (
	// AFR2022 is the bootloader of the newest Amazon FreeRTOS port (ESP-IDF
	// fork v4.2): stock selection, and a confirmed image erases the other
	// slot and its record.
	AFR2022 Kind = iota
	IDF55        // ESP-IDF v5.5
	IDF60        // ESP-IDF v6.0
	// AFR2018 is the bootloader of Amazon FreeRTOS v1.4.x (ESP-IDF v3.1-dev).
	AFR2018
)

var kindNames = [...]string{AFR2022: "afr2022", IDF55: "idf5.5", IDF60: "idf6.0", AFR2018: "afr2018"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// KindByName finds a kind by the name String gives.
func KindByName(name string) (Kind, bool) {
	for k, n := range kindNames {
		if n == name {
			return Kind(k), true
		}
	}
	return 0, false
}

// trialWatchdog is how long the RTC watchdog lets a pending image run before
// it resets the chip; 0 means that app start-up stops it.
func (k Kind) trialWatchdog() time.Duration {
	switch k {
	case AFR2022:
		return 90 * time.Second
	case AFR2018:
		return 60 * time.Second
	}
	return 0
}

// ResetReason is the reason code that the ESP32 ROM reports.
type ResetReason uint8

const (
	PowerOn         ResetReason = 0x01
	SoftwareSystem  ResetReason = 0x03 // also the bootloader's own reset
	DeepSleep       ResetReason = 0x05
	TimerWatchdog0  ResetReason = 0x07
	TimerWatchdog1  ResetReason = 0x08
	RTCWatchdog     ResetReason = 0x09
	TimerWatchdogC  ResetReason = 0x0B // of one CPU
	SoftwareCPU     ResetReason = 0x0C // esp_restart
	RTCWatchdogCPU  ResetReason = 0x0D
	ProCPU          ResetReason = 0x0E // APP CPU reset by PRO CPU
	BrownOut        ResetReason = 0x0F
	RTCWatchdogChip ResetReason = 0x10 // including the RTC domain
)

// Indexes of the partitions that are no OTA slots.
const (
	IndexInvalid = -99
	IndexTest    = -2
	IndexFactory = -1
)

// SkipMode is when images are loaded without checksum, hash and signature.
type SkipMode uint8

const (
	SkipNever SkipMode = iota
	SkipOnPowerOn
	SkipAlways
)

// Config is what the build of the bootloader and the board decide. The zero
// value is the newest FreeRTOS port on an ESP32 with both switches off.
type Config struct {
	Kind         Kind
	Rollback     bool // CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE
	AntiRollback bool // CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK; AFR2018 has none
	SecVerBits   int  // width of the eFuse field, 1 to 32; 0 is 32
	KeepPassive  bool // FreeRTOS kinds: BOOTLOADER_OTA_NO_FORCE_ROLLBACK off, the other slot is never erased

	TableOffset     uint32 // CONFIG_PARTITION_TABLE_OFFSET; 0 is 0x8000
	TableWithoutMD5 bool   // the app takes a table without MD5 record: CONFIG_PARTITION_TABLE_MD5 off; so does AFR2018
	// FlashSize is the size the bootloader believes in. 0 takes it from the
	// header of the bootloader image at ImageOffset, as the chip does.
	FlashSize   uint32
	ImageOffset uint32 // of the bootloader image: 0x1000 on ESP32, 0 on S3 and C3

	// Image says what an app image must fulfil: chip, revision, signature.
	// Its mode and secure version are set by Boot.
	Image image.VerifyOptions
	// SignedOnUpdate: only the application checks signatures, in esp_ota_end
	// (CONFIG_SECURE_SIGNED_APPS_NO_SECURE_BOOT); the bootloader does not.
	SignedOnUpdate bool

	// SecureBootV2: boot loader and application verify app images with the keys
	// that the eFuses trust, and the ROM the boot loader; Image.Signature is
	// not used then. CONFIG_SECURE_BOOT_V2_ENABLED.
	SecureBootV2 bool

	SkipValidate SkipMode // CONFIG_BOOTLOADER_SKIP_VALIDATE_...

	FactoryResetPin bool     // CONFIG_BOOTLOADER_FACTORY_RESET: the pin is held long enough
	FactoryReset    []string // labels of the data partitions it erases; nil is "nvs"
	EraseOTAData    bool     // and otadata
	AppTestPin      bool     // CONFIG_BOOTLOADER_APP_TEST: the pin is held long enough; not with AntiRollback

	TrialWatchdog time.Duration // 0 is the kind's own: 90 s AFR2022, 60 s AFR2018
	StartTime     time.Duration // from reset until the partition table is read
	ReadRate      uint32        // bytes of an image that are read and hashed a second; 0 takes no time

	Defects defect.Set // planted, to test checkers; also those of the application's esp_ota_ops

	VectorSlicing bool // leave the chip's command slicing alone (reference vectors)
	KeepLog       bool // fill Verdict.Log
}

func (c *Config) secVerBits() int {
	if c.SecVerBits == 0 {
		return 32
	}
	return c.SecVerBits
}

func (c *Config) tableOffset() uint32 {
	if c.TableOffset == 0 {
		return partition.DefaultOffset
	}
	return c.TableOffset
}

func (c *Config) antiRollback() bool { return c.AntiRollback && c.Kind != AFR2018 }

func (c *Config) trialWatchdog() time.Duration {
	if c.TrialWatchdog != 0 {
		return c.TrialWatchdog
	}
	return c.Kind.trialWatchdog()
}

// End is how a boot ends.
type End uint8

const (
	Started End = iota + 1 // an app runs
	Reset                  // nothing can be started: software reset, and again the same
	Div0                   // the selection divides by the number of OTA slots, which is 0: crash and reset
	Hang                   // the bootloader returned (AFR2018): stays until a watchdog or power-off
)

func (e End) String() string {
	switch e {
	case Started:
		return "started"
	case Reset:
		return "reset"
	case Div0:
		return "div0"
	case Hang:
		return "hang"
	}
	return fmt.Sprintf("end %d", uint8(e))
}

// Verdict is the outcome of one boot.
type Verdict struct {
	End        End
	Boot       string           // label of the started app
	Part       partition.Record // the started app
	Index      int              // IndexTest, IndexFactory or a slot
	Selected   bool             // the selection finished
	StartIndex int              // what it chose
	Record     int              // otadata record it followed, -1 if none
	Tried      []string         // labels whose image was read and checked, in order
	Reason     string           // why no app was started
	Image      image.Metadata   // of the started app
	// Watchdog is how long the RTC watchdog lets the started app run before
	// it resets the chip; 0 when app start-up stops it. After Hang it is the
	// time until the bootloader's own watchdog resets the chip.
	Watchdog time.Duration
	Log      []Line // only with Config.KeepLog
}
