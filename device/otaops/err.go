// Package otaops is the esp_ota_* interface that a running app of an ESP32
// uses to receive an image into a slot, to choose what boots next, and to
// confirm or refuse the image it runs from. Everything it knows it reads from
// flash; only open handles live in RAM (State).
//
//	begin -> write, write ... -> end -> set_boot -> restart
//	                                                  | bootloader: NEW becomes PENDING_VERIFY
//	                     next boot  <- mark_valid  <--+--> mark_invalid -> restart -> previous image
//
// Which release of the code answers is a matter of bootloader.Config.Kind:
// ESP-IDF v5.5 and v6.0, v4.2 for the newest Amazon FreeRTOS port, and the
// calls of its own that the port of 2018 has.
//
// Sources: espressif/esp-idf components/app_update/esp_ota_ops.c,
// components/esp_partition/partition_target.c, partition.c; for the ports
// aws/amazon-freertos vendors/espressif/boards/ports/ota_pal_for_aws/
// aws_esp_ota_ops.c and v1.4.2 lib/ota/portable/espressif/
// esp32_devkitc_esp_wrover_kit/aws_esp_ota_ops.c.
package otaops

import (
	"errors"
	"fmt"
	"math"

	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/flashmodel/flashcrypt"
)

// Err is a return code (esp_err_t), or the way in which a call did not return.
type Err int32

const (
	OK                Err = 0
	Fail              Err = -1
	NoMem             Err = 0x101
	InvalidArg        Err = 0x102
	InvalidState      Err = 0x103
	InvalidSize       Err = 0x104
	NotFound          Err = 0x105
	NotSupported      Err = 0x106
	NotAllowed        Err = 0x10D
	PartitionConflict Err = 0x1501
	SelectInfoInvalid Err = 0x1502
	ValidateFailed    Err = 0x1503
	SmallSecVer       Err = 0x1504
	RollbackFailed    Err = 0x1505
	RollbackBadState  Err = 0x1506 // the running image is on trial
)

// The calls that do not return.
const (
	Abort   Err = math.MinInt32 + iota // failed assertion or abort: the chip resets
	Hang                               // endless loop: a watchdog resets the chip
	Restart                            // the call has reset the chip
)

var errNames = map[Err]string{
	OK: "ESP_OK", Fail: "ESP_FAIL", NoMem: "ESP_ERR_NO_MEM", InvalidArg: "ESP_ERR_INVALID_ARG", InvalidState: "ESP_ERR_INVALID_STATE",
	InvalidSize: "ESP_ERR_INVALID_SIZE", NotFound: "ESP_ERR_NOT_FOUND", NotSupported: "ESP_ERR_NOT_SUPPORTED", NotAllowed: "ESP_ERR_NOT_ALLOWED",
	PartitionConflict: "ESP_ERR_OTA_PARTITION_CONFLICT", SelectInfoInvalid: "ESP_ERR_OTA_SELECT_INFO_INVALID",
	ValidateFailed: "ESP_ERR_OTA_VALIDATE_FAILED", SmallSecVer: "ESP_ERR_OTA_SMALL_SEC_VER", RollbackFailed: "ESP_ERR_OTA_ROLLBACK_FAILED",
	RollbackBadState: "ESP_ERR_OTA_ROLLBACK_INVALID_STATE", Abort: "abort", Hang: "hang", Restart: "restart",
}

func (e Err) Error() string {
	if n, ok := errNames[e]; ok {
		return n
	}
	return fmt.Sprintf("esp_err_t 0x%x", uint32(e))
}

// Returned reports whether the call came back with a code. Otherwise the app
// is gone: aborted, hanging or restarted.
func (e Err) Returned() bool { return e < Abort || e > Restart }

// fromFlash is the code that the driver has for a refused command.
func fromFlash(err error) Err {
	switch {
	case err == nil:
		return OK
	case errors.Is(err, flashmodel.ErrDangerous):
		return Abort
	case errors.Is(err, flashmodel.ErrReadOnly):
		return NotAllowed
	}
	var refused flashcrypt.Err
	if errors.As(err, &refused) {
		return Err(refused)
	}
	return InvalidArg
}
