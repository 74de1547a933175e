package device

import "time"

// Model is what a board costs and how its connection task behaves. Rows are shared by devices and never changed.
// Times are typical values; docs/fidelity.md says where each comes from.
type Model struct {
	Name string

	Boot     time.Duration // from reset until the boot loader reads the partition table
	AppStart time.Duration // from the jump into the application until it starts Wi-Fi
	WiFi     time.Duration // association and address
	TLS      time.Duration // CPU work of a mutual TLS handshake, spent before CONNECT
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

// DefaultModel is an ESP32-DevKitC at 240 MHz with 4 MB of flash.
func DefaultModel() *Model {
	return &Model{
		Name:                "esp32-devkitc",
		Boot:                350 * time.Millisecond,
		AppStart:            400 * time.Millisecond,
		WiFi:                2500 * time.Millisecond,
		TLS:                 1800 * time.Millisecond,
		HashRate:            2 << 20,
		Verify:              180 * time.Millisecond,
		JSON:                2 * time.Millisecond,
		CBOR:                300 * time.Microsecond,
		ResetDelay:          500 * time.Millisecond,
		TaskWDT:             20 * time.Second,
		BootBudget:          5,
		BackoffBase:         500 * time.Millisecond,
		BackoffMax:          5 * time.Second,
		KeepAlive:           60,
		RestartAfterConfirm: true,
	}
}
