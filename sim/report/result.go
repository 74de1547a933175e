// Package report holds what a run found out, and writes it: the result document, the summary a person reads, JUnit, CSV and
// the live progress.
package report

import "time"

// Schema is the version of the result document.
const Schema = "otasim.result/1"

// Verdicts, from the most to the least severe in the order Worst compares them.
const (
	VerdictError        = "error"
	VerdictInterrupted  = "interrupted"
	VerdictSafety       = "safety"
	VerdictAssertion    = "assertion"
	VerdictLiveness     = "liveness"
	VerdictThreshold    = "threshold"
	VerdictInconclusive = "inconclusive"
	VerdictPass         = "pass"
)

// Result is the document of --json and --out json=. Names and meanings never change; fields may be added.
type Result struct {
	Schema   string `json:"schema"`
	Scenario string `json:"scenario"`
	Seed     uint64 `json:"seed"`
	Mode     string `json:"mode"` // virtual or live
	Workers  int    `json:"workers"`
	Version  string `json:"version"`
	Verdict  string `json:"verdict"`

	VirtualSeconds float64 `json:"virtual_seconds"`
	WallSeconds    float64 `json:"wall_seconds"`
	Events         uint64  `json:"events"`
	TraceHash      string  `json:"trace_hash"` // hex SHA-256

	Fleet      Fleet            `json:"fleet"`
	Jobs       []Job            `json:"jobs"`
	Updates    Updates          `json:"updates"`
	Traffic    Traffic          `json:"traffic"`
	Flash      Flash            `json:"flash"`
	CostUSD    *Cost            `json:"cost_usd"` // null: not metered
	Quotas     []Quota          `json:"quotas"`   // those of which something was used
	Assertions []Assertion      `json:"assertions"`
	Thresholds []Threshold      `json:"thresholds"`
	Faults     []Fault          `json:"faults"`
	Groups     map[string]Fleet `json:"groups"`
	Variants   []Variant        `json:"variants"`
	Invariants []Invariant      `json:"invariants"`
	Attacks    []Attack         `json:"attacks"`
	Divergence map[string]int   `json:"divergence"` // devices about which cloud and flash disagree, by class
	Memory     Memory           `json:"memory"`

	Notes []string `json:"notes,omitempty"` // what a reader must know: an update that was not created, a warning
	Error string   `json:"error,omitempty"` // with verdict error

	// Durations of job executions in virtual seconds, for the summary.
	ExecutionTime *Quantiles     `json:"execution_time,omitempty"`
	Resets        map[string]int `json:"resets,omitempty"` // esp_reset_reason_t name -> count
	Steps         []Step         `json:"steps,omitempty"`  // of the operator and the job service
	Detail        *Detail        `json:"detail,omitempty"` // with --out html and --out dir
}

// Fleet counts devices by the truth in their flash, at the end or (in expressions) now.
type Fleet struct {
	Devices    int            `json:"devices" expr:"devices"`
	Powered    int            `json:"powered" expr:"powered"`
	OnVersion  map[string]int `json:"on_version" expr:"on_version"`     // version label of the running app
	ImageState map[string]int `json:"image_state" expr:"image_state"`   // ESP_OTA_IMG_... of the running app
	OnFile     map[string]int `json:"on_file,omitempty" expr:"on_file"` // otaUpdateId of a data file -> devices whose partition holds it
	Bricked    int            `json:"bricked" expr:"bricked"`           // nothing bootable is left
	RolledBack int            `json:"rolled_back" expr:"rolled_back"`   // devices that fell back to their older image
	Mismatched int            `json:"mismatched" expr:"mismatched"`     // the cloud's truth differs from the flash's
}

// Job is one job of the job service. Times are virtual seconds since t = 0.
type Job struct {
	ID          string         `json:"id" expr:"id"`
	OTAUpdateID string         `json:"ota_update_id" expr:"ota_update_id"`
	Status      string         `json:"status" expr:"status"` // IN_PROGRESS, COMPLETED, CANCELED, DELETION_IN_PROGRESS; DELETED here when it is gone
	CreatedAt   *float64       `json:"created_at" expr:"-"`
	CompletedAt *float64       `json:"completed_at" expr:"-"` // null: not completed
	Executions  map[string]int `json:"executions" expr:"executions"`
	AbortReason *string        `json:"abort_reason" expr:"-"` // null: not aborted

	// The same counts by name, for expressions: jobs["x"].failed.
	Queued     int `json:"-" expr:"queued"`
	InProgress int `json:"-" expr:"in_progress"`
	Succeeded  int `json:"-" expr:"succeeded"`
	Failed     int `json:"-" expr:"failed"`
	TimedOut   int `json:"-" expr:"timed_out"`
	Rejected   int `json:"-" expr:"rejected"`
	Removed    int `json:"-" expr:"removed"`
	Canceled   int `json:"-" expr:"canceled"`
}

// Updates counts what devices did. TimeTo… are virtual seconds from the first job's creation until that share of all
// targeted devices had succeeded, null if never.
type Updates struct {
	Started   int      `json:"started" expr:"started"`
	Succeeded int      `json:"succeeded" expr:"succeeded"`
	Failed    int      `json:"failed" expr:"failed"`
	Hurt      int      `json:"hurt" expr:"hurt"` // devices left bricked, rolled back or with a failed execution
	TimeTo50  *float64 `json:"time_to_50" expr:"-"`
	TimeTo90  *float64 `json:"time_to_90" expr:"-"`
	TimeTo99  *float64 `json:"time_to_99" expr:"-"`
	// Virtual seconds from the first job's creation until 0, 2, 4 ... 100 % of the targets had succeeded, as far as they did.
	Curve []float64 `json:"curve,omitempty" expr:"-"`
}

// Traffic is counted at the cloud: in is from devices.
type Traffic struct {
	MQTTMessagesIn  uint64 `json:"mqtt_messages_in" expr:"mqtt_messages_in"`
	MQTTMessagesOut uint64 `json:"mqtt_messages_out" expr:"mqtt_messages_out"`
	MQTTBytesIn     uint64 `json:"mqtt_bytes_in" expr:"mqtt_bytes_in"`
	MQTTBytesOut    uint64 `json:"mqtt_bytes_out" expr:"mqtt_bytes_out"`
	MeteredMessages uint64 `json:"metered_messages" expr:"metered_messages"` // units of 5 KB, as billed
	HTTPRequests    uint64 `json:"http_requests" expr:"http_requests"`
	HTTPBytes       uint64 `json:"http_bytes" expr:"http_bytes"`
	Connects        uint64 `json:"connects" expr:"connects"`
	Throttled       uint64 `json:"throttled" expr:"throttled"`
}

// Flash sums the flash commands of all devices since t = 0.
type Flash struct {
	BytesProgrammed uint64 `json:"bytes_programmed" expr:"bytes_programmed"`
	SectorsErased   uint64 `json:"sectors_erased" expr:"sectors_erased"`
	PowerCuts       uint64 `json:"power_cuts" expr:"power_cuts"`
	MaxWear         uint32 `json:"max_wear" expr:"max_wear"` // erases of the most erased sector of any device
}

// Cost is what the cloud provider would bill, in US dollars.
type Cost struct {
	Messages      float64 `json:"messages"`
	Connectivity  float64 `json:"connectivity"`
	JobExecutions float64 `json:"job_executions"`
	S3            float64 `json:"s3"`          // requests and transfer
	S3Transfer    float64 `json:"s3_transfer"` // of s3: bytes to devices
	Total         float64 `json:"total"`
	PricesAsOf    string  `json:"prices_as_of"`
	Region        string  `json:"region"`
	Prices        []Price `json:"prices"` // that were applied
	Usage         Usage   `json:"usage"`
}

// Price is a price that was applied. Rows of one name are the tiers of a month.
type Price struct {
	Name      string  `json:"name"`
	USD       float64 `json:"usd"`
	Per       float64 `json:"per"`
	Unit      string  `json:"unit"`
	Upto      float64 `json:"upto,omitempty"` // units this row is for, from 0; absent: all that remain
	Source    string  `json:"source"`
	Date      string  `json:"date"`
	Confirmed bool    `json:"confirmed"` // false: recalled, or at second hand
}

// Usage is what was metered for Cost.
type Usage struct {
	MeteredMessages  uint64  `json:"metered_messages"` // units of 5 KB
	ConnectedMinutes float64 `json:"connected_minutes"`
	JobExecutions    uint64  `json:"job_executions"` // retries included
	S3Requests       uint64  `json:"s3_requests"`
	S3Gets           uint64  `json:"s3_gets"` // billed as GET
	S3Puts           uint64  `json:"s3_puts"` // billed as PUT: PUT, COPY, POST, LIST
	S3EgressBytes    uint64  `json:"s3_egress_bytes"`
}

// Assertion is a judged rule. Actual says what was found, for a reader.
type Assertion struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"` // always, atEnd, sometimes, everyDevice
	Expr     string `json:"expr"`
	Holds    bool   `json:"holds"`
	Actual   string `json:"actual"`
	Severity string `json:"severity,omitempty"` // absent: error
}

// Threshold is a judged limit on a metric.
type Threshold struct {
	Metric string `json:"metric"`
	Expr   string `json:"expr"`
	Holds  bool   `json:"holds"`
	Actual string `json:"actual"`
}

// Fault counts how often a fault struck and how many of the devices it met came back.
type Fault struct {
	Name      string         `json:"name" expr:"name"`
	Injected  int            `json:"injected" expr:"injected"`
	Recovered int            `json:"recovered" expr:"recovered"`
	Phases    map[string]int `json:"phases" expr:"phases"`
}

// Variant is the outcome of one variant of the file.
type Variant struct {
	Name     string  `json:"name"`
	Verdict  string  `json:"verdict"`
	Expected string  `json:"expected"`
	Holds    bool    `json:"holds"`
	Result   *Result `json:"result"`
}

// Invariant is a rule that always applies, whatever the scenario says.
type Invariant struct {
	ID         string      `json:"id"`
	Checked    uint64      `json:"checked"`
	Violations []Violation `json:"violations"`
}

// Violation is one breach of an invariant; At is virtual seconds.
type Violation struct {
	Thing  string  `json:"thing"`
	At     float64 `json:"at"`
	Detail string  `json:"detail"`
	Replay string  `json:"replay"`
}

// Attack counts how far an attack came, in devices. StoppedAt counts by the gate that refused: job, download, signature,
// bootloader, version.
type Attack struct {
	Name      string         `json:"name" expr:"name"`
	Threat    string         `json:"threat" expr:"threat"`
	Fired     bool           `json:"fired" expr:"fired"` // it was carried out, whatever came of it
	Launched  int            `json:"launched" expr:"launched"`
	Executed  int            `json:"executed" expr:"executed"`
	Committed int            `json:"committed" expr:"committed"`
	Leaked    int            `json:"leaked,omitempty" expr:"leaked"` // whose secrets the attacker has
	StoppedAt map[string]int `json:"stopped_at" expr:"stopped_at"`
}

// Memory is the simulator's own use.
type Memory struct {
	PeakRSSBytes   uint64 `json:"peak_rss_bytes"`
	BytesPerDevice uint64 `json:"bytes_per_device"` // (peak heap + stacks - before the fleet) / devices
}

// Quantiles of a duration, in virtual seconds.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Device is one device as per-device rules see it.
type Device struct {
	Thing    string  `expr:"thing"`
	Group    string  `expr:"group"`
	Version  string  `expr:"version"` // label of the running firmware, "" if none runs
	Running  Running `expr:"running"`
	EFuse    EFuse   `expr:"efuse"`
	OTAState string  `expr:"otaState"` // ESP_OTA_IMG_... of the running slot
	// Files are the otaUpdateIds of the data files that their partitions hold, Partitions the SHA-256 in hexadecimal of the data
	// partitions that updates are about, by label.
	Files      []string          `expr:"files"`
	Partitions map[string]string `expr:"partitions"`
	Bricked    bool              `expr:"bricked"`
	RolledBack bool              `expr:"rolledBack"`
	Powered    bool              `expr:"powered"`
	Build      Build             `expr:"build"`
}

// Build is what a device was built with.
type Build struct {
	Bootloader      string `expr:"bootloader"`
	AntiRollback    bool   `expr:"antiRollback"`
	SecureBoot      int    `expr:"secureBoot"` // 1, 2, or 0 without
	FlashEncryption bool   `expr:"flashEncryption"`
}

// Running is the app that was booted.
type Running struct {
	Version       string `expr:"version"` // of its descriptor
	SecureVersion int    `expr:"secureVersion"`
	Slot          string `expr:"slot"` // partition label
}

// EFuse is the part of the eFuses that rules ask for.
type EFuse struct {
	SecureVersion int `expr:"secureVersion"`
	KeyRevoke     int `expr:"keyRevoke"` // SECURE_BOOT_KEY_REVOKE0..2, a bit each
}

// Progress is a look at a run while it goes on.
type Progress struct {
	Virtual    time.Duration  // now
	Limit      time.Duration  // the scenario's duration
	Events     uint64         // so far
	Devices    int            //
	Powered    int            //
	Connected  int            // of an external fleet; 0: nobody counts
	Executions map[string]int // all jobs together, by status
	RolledBack int
	Bricked    int
	Steps      []Step // what happened since the last look
}

// Step is something worth a line: "job fw-1-1-0-canary COMPLETED".
type Step struct {
	At   float64 `json:"at"` // virtual seconds
	Text string  `json:"text"`
}
