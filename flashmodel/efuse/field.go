package efuse

// Field is a named group of bits.
type Field uint8

// The fields that matter for updates, with their official names in String.
const (
	WriteDisable Field = iota
	ReadDisable
	FlashCryptCount
	UARTDownloadDisable
	MAC
	MACCRC
	ChipVerRev1
	ChipVerRev2
	WaferVersionMinor
	FlashCryptConfig
	CodingScheme
	ConsoleDebugDisable
	AbsDone0
	AbsDone1
	JTAGDisable
	DisableDLEncrypt
	DisableDLDecrypt
	DisableDLCache
	KeyStatus
	SecureVersionBits
)

const never = -1

// fields says where each field is and which bits of WR_DIS and RD_DIS govern it.
var fields = [...]struct {
	name                      string
	block                     Block
	start, length             uint
	writeDisable, readDisable int8
}{
	WriteDisable:        {"WR_DIS", System, 0, 16, 1, never},
	ReadDisable:         {"RD_DIS", System, 16, 4, 0, never},
	FlashCryptCount:     {"FLASH_CRYPT_CNT", System, 20, 7, 2, never},
	UARTDownloadDisable: {"UART_DOWNLOAD_DIS", System, 27, 1, 2, never},
	MAC:                 {"MAC", System, 32, 48, 3, never},
	MACCRC:              {"MAC_CRC", System, 80, 8, 3, never},
	ChipVerRev1:         {"CHIP_VER_REV1", System, 111, 1, never, never},
	ChipVerRev2:         {"CHIP_VER_REV2", System, 180, 1, never, never},
	WaferVersionMinor:   {"WAFER_VERSION_MINOR", System, 184, 2, never, never},
	FlashCryptConfig:    {"FLASH_CRYPT_CONFIG", System, 188, 4, 10, 3},
	CodingScheme:        {"CODING_SCHEME", System, 192, 2, 10, 3},
	ConsoleDebugDisable: {"CONSOLE_DEBUG_DISABLE", System, 194, 1, 15, never},
	AbsDone0:            {"ABS_DONE_0", System, 196, 1, 12, never},
	AbsDone1:            {"ABS_DONE_1", System, 197, 1, 13, never},
	JTAGDisable:         {"JTAG_DISABLE", System, 198, 1, 14, never},
	DisableDLEncrypt:    {"DISABLE_DL_ENCRYPT", System, 199, 1, 15, never},
	DisableDLDecrypt:    {"DISABLE_DL_DECRYPT", System, 200, 1, 15, never},
	DisableDLCache:      {"DISABLE_DL_CACHE", System, 201, 1, 15, never},
	KeyStatus:           {"KEY_STATUS", System, 202, 1, 10, 3},
	SecureVersionBits:   {"SECURE_VERSION", User, 128, 32, 9, 2},
}

func (f Field) String() string {
	if int(f) < len(fields) {
		return fields[f].name
	}
	return "unknown"
}

// Fields are all fields, in the order of their bits.
func Fields() []Field {
	all := make([]Field, len(fields))
	for i := range all {
		all[i] = Field(i)
	}
	return all
}
