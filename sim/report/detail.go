package report

// Detail is what charts are drawn from. It is collected when a report was asked for.
type Detail struct {
	Series    Series     `json:"series"`
	Latencies []Bin      `json:"latencies"` // seconds from a request for blocks or a range to the first answer
	Durations []Bin      `json:"durations"` // seconds of the executions that succeeded, QUEUED to SUCCEEDED
	Phases    []Phase    `json:"phases"`    // where their time went, in the order of an update
	Wear      []Bin      `json:"wear"`      // erases of the most erased sector of each device
	Failures  []Cause    `json:"failures"`  // the commonest first
	Timelines []Timeline `json:"timelines"` // of what failed and what was slowest
}

// Series are samples over virtual time, all of one length.
type Series struct {
	At         []float64        `json:"at"`         // virtual seconds
	Executions map[string][]int `json:"executions"` // of all jobs, by status
	Versions   map[string][]int `json:"versions"`   // devices that run it
	Powered    []int            `json:"powered"`
	Bricked    []int            `json:"bricked"`
	RolledBack []int            `json:"rolled_back"`
	// Counters since t = 0.
	MessagesIn  []uint64 `json:"messages_in"`
	MessagesOut []uint64 `json:"messages_out"`
	BytesIn     []uint64 `json:"bytes_in"`
	BytesOut    []uint64 `json:"bytes_out"`
	HTTPBytes   []uint64 `json:"http_bytes"` // of bodies to devices
	Connects    []uint64 `json:"connects"`
	Throttled   []uint64 `json:"throttled"`
}

// Bin counts values in [From, To).
type Bin struct {
	From  float64 `json:"from"`
	To    float64 `json:"to"`
	Count int     `json:"count"`
}

// Phase is the share of one phase in the time of an update.
type Phase struct {
	Name string  `json:"name"`
	Mean float64 `json:"mean"` // virtual seconds
	P95  float64 `json:"p95"`
}

// Cause is why executions failed, in the device's words where it had some.
type Cause struct {
	Status  string `json:"status"` // FAILED, REJECTED, TIMED_OUT, ...
	Reason  string `json:"reason"`
	Count   int    `json:"count"`
	Example string `json:"example"` // a thing
}

// Timeline is what one device went through.
type Timeline struct {
	Thing    string  `json:"thing"`
	Group    string  `json:"group"`
	Job      string  `json:"job"`
	Status   string  `json:"status"`
	Reason   string  `json:"reason,omitempty"`
	Seconds  float64 `json:"seconds"` // from QUEUED to the last change
	QueuedAt float64 `json:"queued_at"`
	Marks    []Step  `json:"marks"` // named points of its program; blocks are left out
}
