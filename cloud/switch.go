package cloud

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/otasim/otasim/cloud/broker/rules"
)

// Switch is one point on which documentation, examples and observations
// disagree, with the readings that can be chosen.
type Switch struct {
	Name     string   `json:"name"`
	Question string   `json:"question"`
	Choices  []string `json:"choices"` // the first is the default
	Source   string   `json:"source"`

	set func(s *Switches, second bool)
}

// Default is the reading without a choice.
func (s *Switch) Default() string { return s.Choices[0] }

const guide = "AWS IoT Core Developer Guide, page "

// SwitchTable is every switch, those of the greatest effect on compatibility first.
var SwitchTable = []Switch{
	{"notify-in-progress", "Is notify published when an execution goes from QUEUED to IN_PROGRESS?", []string{"no", "yes"},
		guide + "jobs-comm-notifications: its examples say no, its list of criteria says yes", func(s *Switches, on bool) { s.Jobs.NotifyInProgress = on }},
	{"stream-answers", "Who gets the answers of file delivery?", []string{"subscribers", "requester"},
		guide + "reserved-topics: stream topics are listed as subscribe only", func(s *Switches, on bool) { s.Broker.DirectStreams = on }},
	{"data-cbor", "Which form has the map of a data/cbor message?", []string{"indefinite", "definite"},
		"sizes of messages that devices have seen; aws/ota-for-aws-iot-embedded-sdk, source/ota_cbor.c, reads both", func(s *Switches, on bool) { s.Streams.DefiniteData = on }},
	{"default-block-count", "Is a request without n held against the file with its default, 131072 / block size?", []string{"strict", "lenient"},
		"aws/aws-iot-mqtt-download-agent, issue 4", func(s *Switches, on bool) { s.Streams.Lenient = on }},
	{"data-plane-time", "In which unit are the timestamps of the Jobs data plane?", []string{"seconds", "milliseconds"},
		guide + "jobs-mqtt-api: seconds, with examples in milliseconds", func(s *Switches, on bool) { s.Jobs.Milliseconds = on }},
	{"late-rejected", "May a device go from IN_PROGRESS to REJECTED?", []string{"accept", "refuse"},
		"API model iot-jobs-data/2017-09-29; aws/ota-for-aws-iot-embedded-sdk, source/ota.c, says that the service refuses", func(s *Switches, on bool) { s.Jobs.RefuseLateRejected = on }},
	{"delete-live-update", "What does DeleteOTAUpdate without force do to an update whose job runs?", []string{"refuse", "keep-job"},
		"API model iot/2015-05-28 against FreeRTOS User Guide, page ota-manager", func(s *Switches, on bool) { s.OTA.KeepLiveJob = on }},
	{"abort-minimum", "What does minNumberOfExecutedThings count?", []string{"finished", "notified"},
		guide + "jobs-configurations-details against API model iot/2015-05-28", func(s *Switches, on bool) { s.Jobs.AbortOnNotified = on }},
	{"job-quotas", "Which quotas of active jobs hold: those raised since, or 100 SNAPSHOT and 100 CONTINUOUS as published in 2019?", []string{"raised", "2019"},
		"AWS General Reference, AWS IoT Core endpoints and quotas, 2019-2020; the raised values are recalled", func(s *Switches, on bool) { s.JobQuotasOf2019 = on }},
	{"snapshot-leavers", "Does a thing that leaves the group of a SNAPSHOT job keep its pending execution?", []string{"keep", "remove"},
		guide + "iot-jobs-lifecycle", func(s *Switches, on bool) { s.Jobs.RemoveSnapshotLeavers = on }},
	{"long-update-ids", "When does an OTA update fail whose id is too long for the id of its job?", []string{"at-creation", "at-job"},
		"API model iot/2015-05-28: 128 characters for an update, 64 for a job", func(s *Switches, on bool) { s.OTA.AcceptLongIDs = on }},
	{"snapshot-windows", "May a SNAPSHOT job have maintenance windows?", []string{"refuse", "accept"},
		"recalled: only CONTINUOUS jobs have them", func(s *Switches, on bool) { s.Jobs.SnapshotWindows = on }},
	{"list-by-group", "Does ListJobs by a thing group show SCHEDULED jobs?", []string{"show", "hide"},
		"API model iot/2015-05-28 against aws/aws-cli, issue 8924", func(s *Switches, on bool) { s.Jobs.HideScheduled = on }},
	{"custom-signature", "Is a custom signature decoded from base64 until it is DER?", []string{"as-given", "decode"},
		"espressif/esp-aws-iot, issue 221: AWS CLI 1 and 2 encode a file differently", func(s *Switches, on bool) { s.OTA.DecodeSignature = on }},
	{"refused-connect", "Which code has the CONNACK of a connection that no policy allows?", []string{"7", "5"},
		"observed against OASIS MQTT 3.1.1, section 3.2.2.3", func(s *Switches, on bool) {
			s.Broker.ConnectCode = 0
			if on {
				s.Broker.ConnectCode = rules.NotAuthorized
			}
		}},
	{"forbidden-filter", "What happens to a SUBSCRIBE that the policies forbid?", []string{"disconnect", "suback"},
		"observed: aws/aws-iot-device-sdk-js, issues 112 and 191; MQTT 3.1.1, section 3.9.3", func(s *Switches, on bool) { s.Broker.SubackFailure = on }},
}

// Errors of a choice of switches.
var (
	ErrSwitch = errors.New("no such switch")
	ErrChoice = errors.New("no such choice")
)

// Set makes a choice. Errors: ErrSwitch, ErrChoice.
func (s *Switches) Set(name, choice string) error {
	for i := range SwitchTable {
		x := &SwitchTable[i]
		if x.Name != name {
			continue
		}
		k := slices.Index(x.Choices, choice)
		if k < 0 {
			return fmt.Errorf("switch %s: %w %.40q: want %s", name, ErrChoice, choice, strings.Join(x.Choices, " or "))
		}
		x.set(s, k == 1)
		return nil
	}
	return fmt.Errorf("%w: %.60q", ErrSwitch, name)
}

// ParseSwitches makes choices from NAME=CHOICE texts.
func ParseSwitches(list []string) (s Switches, err error) {
	for _, text := range list {
		name, choice, _ := strings.Cut(text, "=")
		if err := s.Set(name, choice); err != nil {
			return Switches{}, err
		}
	}
	return s, nil
}
