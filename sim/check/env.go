package check

import (
	"time"

	"github.com/otasim/otasim/sim/report"
)

// Env is what expressions about the whole run see. A name that is not in a map reads as zeros.
//
//	fleet.bricked == 0
//	fleet.on_version["1.1.0"] == fleet.devices
//	groups["canary"].rolled_back > 0
//	jobs["fw-1-1-0"].status == "COMPLETED" and jobs["fw-1-1-0"].executions["SUCCEEDED"] == 50
//	faults["mains unplugged"].phases["download"] > 0
//	attacks["replay"].stopped_at["bootloader"] == attacks["replay"].launched
//	now < duration("2h")
//	none(devices, .otaState == "ESP_OTA_IMG_PENDING_VERIFY")       atEnd only
type Env struct {
	Fleet   report.Fleet             `expr:"fleet"`
	Groups  map[string]report.Fleet  `expr:"groups"`
	Jobs    map[string]report.Job    `expr:"jobs"` // by otaUpdateId
	Updates report.Updates           `expr:"updates"`
	Faults  map[string]report.Fault  `expr:"faults"`
	Attacks map[string]report.Attack `expr:"attacks"`
	Traffic report.Traffic           `expr:"traffic"`
	Flash   report.Flash             `expr:"flash"`
	Devices []report.Device          `expr:"devices"`
	Now     time.Duration            `expr:"now"`
}

// Names are the names a scenario defines; an expression that asks for another one is a mistake. A nil list is not checked.
type Names struct {
	Groups   []string
	Updates  []string // otaUpdateIds
	Faults   []string
	Attacks  []string
	Versions []string
}
