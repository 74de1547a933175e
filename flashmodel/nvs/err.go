package nvs

import "fmt"

// Err is a return code of the library (esp_err_t).
type Err int32

const (
	OK                    Err = 0
	ErrFail               Err = -1
	ErrInvalidArg         Err = 0x102
	ErrInvalidState       Err = 0x103
	ErrNotAllowed         Err = 0x10D  // the partition is read-only
	ErrFlashOpFail        Err = 0x6001 // a flash command was refused
	ErrNotInitialized     Err = 0x1101
	ErrNotFound           Err = 0x1102
	ErrTypeMismatch       Err = 0x1103
	ErrReadOnly           Err = 0x1104
	ErrNotEnoughSpace     Err = 0x1105
	ErrInvalidName        Err = 0x1106
	ErrRemoveFailed       Err = 0x1108
	ErrKeyTooLong         Err = 0x1109
	ErrPageFull           Err = 0x110A // never leaves the package
	ErrNVSInvalidState    Err = 0x110B
	ErrInvalidLength      Err = 0x110C
	ErrNoFreePages        Err = 0x110D
	ErrValueTooLong       Err = 0x110E
	ErrNewVersionFound    Err = 0x1110
	ErrKeysNotInitialized Err = 0x1116
	ErrCorruptKeyPart     Err = 0x1117
	ErrContentDiffers     Err = 0x1118 // never leaves the package
)

var errNames = map[Err]string{
	OK: "ESP_OK", ErrFail: "ESP_FAIL", ErrInvalidArg: "ESP_ERR_INVALID_ARG", ErrInvalidState: "ESP_ERR_INVALID_STATE", ErrNotAllowed: "ESP_ERR_NOT_ALLOWED",
	ErrFlashOpFail: "ESP_ERR_FLASH_OP_FAIL", ErrNotInitialized: "ESP_ERR_NVS_NOT_INITIALIZED", ErrNotFound: "ESP_ERR_NVS_NOT_FOUND",
	ErrTypeMismatch: "ESP_ERR_NVS_TYPE_MISMATCH", ErrReadOnly: "ESP_ERR_NVS_READ_ONLY", ErrNotEnoughSpace: "ESP_ERR_NVS_NOT_ENOUGH_SPACE",
	ErrInvalidName: "ESP_ERR_NVS_INVALID_NAME", ErrRemoveFailed: "ESP_ERR_NVS_REMOVE_FAILED", ErrKeyTooLong: "ESP_ERR_NVS_KEY_TOO_LONG",
	ErrPageFull: "ESP_ERR_NVS_PAGE_FULL", ErrNVSInvalidState: "ESP_ERR_NVS_INVALID_STATE", ErrInvalidLength: "ESP_ERR_NVS_INVALID_LENGTH",
	ErrNoFreePages: "ESP_ERR_NVS_NO_FREE_PAGES", ErrValueTooLong: "ESP_ERR_NVS_VALUE_TOO_LONG", ErrNewVersionFound: "ESP_ERR_NVS_NEW_VERSION_FOUND",
	ErrKeysNotInitialized: "ESP_ERR_NVS_KEYS_NOT_INITIALIZED", ErrCorruptKeyPart: "ESP_ERR_NVS_CORRUPT_KEY_PART",
	ErrContentDiffers: "ESP_ERR_NVS_CONTENT_DIFFERS",
}

func (e Err) Error() string {
	if s, ok := errNames[e]; ok {
		return s
	}
	return fmt.Sprintf("esp_err_t 0x%x", uint32(e))
}
