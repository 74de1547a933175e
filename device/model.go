package device

import (
	"fmt"
	"time"

	"github.com/otasim/otasim/flashmodel/image"
)

// Model is one kind of board: what it is, what its work costs and how its
// connection task behaves. Rows are shared by devices and never changed. Times are
// typical values, those of Timings.
type Model struct {
	Name              string // "esp32-4MB"
	Target            string // as in idf.py set-target
	Chip              *image.Chip
	FlashSize         uint32 // bytes
	SecureVersionBits int    // of the eFuse field, at most CONFIG_BOOTLOADER_APP_SEC_VER_SIZE_EFUSE_FIELD

	Boot     time.Duration // from reset until the boot loader reads the partition table
	AppStart time.Duration // from the jump into the application until it starts Wi-Fi
	WiFi     time.Duration // association and address
	TLS      time.Duration // CPU work of a mutual TLS handshake, spent before CONNECT
	HTTPS    time.Duration // the same without a client certificate
	HTTP     time.Duration // one HTTP request, or response of a block
	HashRate uint32        // bytes a second read from flash and hashed
	Verify   time.Duration // ECDSA P-256 verification
	JSON     time.Duration // one JSON message in or out
	CBOR     time.Duration // one CBOR message in or out

	ResetDelay  time.Duration // between the decision to restart and the restart
	TaskWDT     time.Duration // resets a hung application when no RTC watchdog runs
	BootBudget  int           // resets in a row that end before an application starts until the device counts as bricked
	BackoffBase time.Duration // first pause before reconnecting; doubled up to BackoffMax, with full jitter
	BackoffMax  time.Duration
	KeepAlive   uint16 // seconds

	// RestartAfterConfirm makes the firmware restart once after its update was confirmed and the final status
	// acknowledged. The FreeRTOS boot loaders erase the older firmware at the next boot with a VALID record; without
	// this restart that boot would come at some later day, and until then the device could be rolled back.
	RestartAfterConfirm bool
}

// Models is the table of boards. The chip row has the rest: its id and where the ROM
// looks for the second-stage bootloader (0x1000 on the ESP32, 0 on S3 and C3).
func Models() []*Model {
	var rows []*Model
	times := Timings()
	for _, kind := range []struct {
		target string
		chip   *image.Chip
		bits   int
		sizes  []uint32 // MiB
	}{
		{"esp32", image.ESP32, 32, []uint32{2, 4, 8, 16}},
		{"esp32s3", image.ESP32S3, 16, []uint32{4, 8, 16}},
		{"esp32c3", image.ESP32C3, 16, []uint32{2, 4, 8, 16}},
	} {
		for _, size := range kind.sizes {
			m := *board
			m.Name, m.Target, m.Chip = fmt.Sprintf("%s-%dMB", kind.target, size), kind.target, kind.chip
			m.FlashSize, m.SecureVersionBits = size<<20, kind.bits
			for i := range times {
				if times[i].Target == kind.target {
					m.take(&times[i])
				}
			}
			rows = append(rows, &m)
		}
	}
	return rows
}

// ModelOf is the row of a target and a flash size in bytes, nil if there is none.
func ModelOf(target string, flashSize uint32) *Model {
	for _, m := range Models() {
		if m.Target == target && m.FlashSize == flashSize {
			return m
		}
	}
	return nil
}

// DefaultModel is an ESP32-DevKitC with 4 MB of flash.
func DefaultModel() *Model { return ModelOf("esp32", 4<<20) }

// board is what all boards have in common.
var board = &Model{
	ResetDelay:          500 * time.Millisecond,
	TaskWDT:             20 * time.Second,
	BootBudget:          5,
	BackoffBase:         500 * time.Millisecond,
	BackoffMax:          5 * time.Second,
	KeepAlive:           60,
	RestartAfterConfirm: true,
}
