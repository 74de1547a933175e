package dump

// Report is what is in a dump.
type Report struct {
	File       string      `json:"file"`
	Size       uint32      `json:"size"`
	Partial    bool        `json:"partial"` // the file ends before the chip
	Chip       string      `json:"chip"`
	ChipFrom   string      `json:"chip_from"`
	Bootloader *Bootloader `json:"bootloader"` // null: there is none
	Table      Table       `json:"partition_table"`
	OTAData    *OTAData    `json:"otadata"`    // null: no otadata partition
	Partitions []Partition `json:"partitions"` // in the order of the table
	Problems   []string    `json:"problems"`
}

// Bootloader is the image at the place where the ROM looks for it.
type Bootloader struct {
	Offset     uint32  `json:"offset"`
	Image      Image   `json:"image"`
	Version    *uint32 `json:"version"`
	IDFVersion string  `json:"idf_ver,omitempty"`
	DateTime   string  `json:"date_time,omitempty"`
	FlashSize  uint32  `json:"flash_size"` // by its header; the partition table is checked against it
	FlashMode  string  `json:"flash_mode"`
	FlashFreq  string  `json:"flash_freq"`
}

// Image is what an image says of itself and what is true of it.
type Image struct {
	Length        uint32   `json:"length"` // with its hash; 0: cut short
	Segments      int      `json:"segments"`
	Checksum      string   `json:"checksum"` // valid, invalid or missing
	Hash          string   `json:"hash"`     // valid, invalid, missing or none
	SHA256        string   `json:"sha256,omitempty"`
	MinRevision   string   `json:"min_chip_rev"`
	MaxRevision   string   `json:"max_chip_rev"`
	Problems      []string `json:"problems"`
	After         string   `json:"after"` // what follows it
	Signature     string   `json:"signature"`
	SignatureAt   uint32   `json:"signature_offset,omitempty"` // in the flash
	SignatureKeys []string `json:"signature_key_digests,omitempty"`
}

// Table is the partition table with the verdicts of its three readers. A
// verdict is "accepted" or the reason of the refusal.
type Table struct {
	Offset     uint32   `json:"offset"`
	MD5        string   `json:"md5"` // valid, mismatch or absent
	Bootloader string   `json:"bootloader"`
	App        string   `json:"app"`
	Generator  string   `json:"generator"`
	Warnings   []string `json:"warnings"` // of the generator
}

// OTAData is the two records that choose the app.
type OTAData struct {
	Offset  uint32    `json:"offset"`
	Records [2]Record `json:"records"`
	Active  *int      `json:"active"` // the record that decides; null: none
	Slot    *string   `json:"slot"`   // the partition it names; null: none
	Why     string    `json:"why"`
}

// Record is one otadata record.
type Record struct {
	Hex      string  `json:"hex"`
	Empty    bool    `json:"empty"`
	Seq      uint32  `json:"ota_seq"`
	State    string  `json:"ota_state"`
	StateHex string  `json:"ota_state_hex"`
	CRC      string  `json:"crc"`
	CRCGood  bool    `json:"crc_good"`
	Usable   bool    `json:"usable"`
	Slot     *string `json:"slot"` // the partition the number names; null: none
}

// Partition is one record of the table and what lies there. One of App, NVS
// and Content tells what.
type Partition struct {
	Label     string `json:"label"`
	Type      string `json:"type"`
	Subtype   string `json:"subtype"`
	Offset    uint32 `json:"offset"`
	Size      uint32 `json:"size"`
	Encrypted bool   `json:"encrypted"`
	ReadOnly  bool   `json:"readonly"`
	Content   string `json:"content"` // erased, image, nvs, otadata, data or outside
	Used      uint32 `json:"used"`    // bytes up to the last one that is not FF
	App       *App   `json:"app,omitempty"`
	NVS       *NVS   `json:"nvs,omitempty"`
}

// App is an app image and what the bootloader thinks of it.
type App struct {
	Chip          string `json:"chip"`
	Version       string `json:"version"`
	Project       string `json:"project_name"`
	SecureVersion uint32 `json:"secure_version"`
	IDFVersion    string `json:"idf_ver"`
	Compiled      string `json:"compiled"`
	ELFSHA256     string `json:"app_elf_sha256"`
	Descriptor    bool   `json:"descriptor"` // false: the members above but chip are empty
	Image         Image  `json:"image"`
	Loads         bool   `json:"loads"` // the bootloader would start it
	Refused       string `json:"refused,omitempty"`
	Step          int    `json:"refused_step,omitempty"` // of the loader, 1 to 16
}

// NVS is the content of an NVS partition as the device would find it.
type NVS struct {
	Error      string         `json:"error,omitempty"`
	Encrypted  bool           `json:"encrypted"` // read with the keys of the nvs_keys partition
	Namespaces []NVSNamespace `json:"namespaces"`
	Used       int            `json:"used_entries"`
	Total      int            `json:"total_entries"`
}

// NVSNamespace is a namespace with its keys in the order of the flash.
type NVSNamespace struct {
	Name string   `json:"name"`
	Keys []NVSKey `json:"keys"`
}

// NVSKey is a stored value. Value is "" where it is large or secret.
type NVSKey struct {
	Key   string `json:"key"`
	Type  string `json:"type"`
	Size  int    `json:"size"`
	Value string `json:"value,omitempty"`
	Note  string `json:"note,omitempty"`
}
