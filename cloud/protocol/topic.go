package protocol

import "strings"

// Reserved topics of AWS IoT Core (AWS IoT Developer Guide, "Reserved topics").
const (
	thingPrefix = "$aws/things/"

	ServiceJobs    = "jobs"
	ServiceStreams = "streams"
	ServiceShadow  = "shadow"
)

// JobsNotifyNext is where the Jobs service announces a new head of the queue.
func JobsNotifyNext(thing string) string { return thingPrefix + thing + "/jobs/notify-next" }

// JobsNotify is where the Jobs service announces changes of the pending list.
func JobsNotify(thing string) string { return thingPrefix + thing + "/jobs/notify" }

// JobsGet is DescribeJobExecution; job may be "$next".
func JobsGet(thing, job string) string { return thingPrefix + thing + "/jobs/" + job + "/get" }

// JobsUpdate is UpdateJobExecution.
func JobsUpdate(thing, job string) string { return thingPrefix + thing + "/jobs/" + job + "/update" }

// StreamData is where file blocks arrive; format is "cbor" or "json".
func StreamData(thing, stream, format string) string {
	return thingPrefix + thing + "/streams/" + stream + "/data/" + format
}

// StreamGet is GetStream; format is "cbor" or "json".
func StreamGet(thing, stream, format string) string {
	return thingPrefix + thing + "/streams/" + stream + "/get/" + format
}

// ParseThingTopic splits "$aws/things/THING/SERVICE/REST". The parts share the
// topic's memory.
func ParseThingTopic(topic string) (thing, service, rest string, ok bool) {
	s, ok := strings.CutPrefix(topic, thingPrefix)
	if !ok {
		return "", "", "", false
	}
	if thing, s, ok = strings.Cut(s, "/"); !ok || thing == "" {
		return "", "", "", false
	}
	service, rest, ok = strings.Cut(s, "/")
	if !ok || service == "" || rest == "" {
		return "", "", "", false
	}
	return thing, service, rest, true
}

// MatchFilter reports whether an MQTT topic filter matches a topic, with AWS's
// rule that "a/#" does not match "a" itself, and MQTT's that a wildcard in the
// first level does not match a topic that begins with '$'.
func MatchFilter(filter, topic string) bool {
	if topic != "" && topic[0] == '$' && filter != "" && (filter[0] == '+' || filter[0] == '#') {
		return false
	}
	for {
		fl, frest, fmore := strings.Cut(filter, "/")
		tl, trest, tmore := strings.Cut(topic, "/")
		if fl == "#" {
			return !fmore
		}
		if fl != "+" && fl != tl {
			return false
		}
		if !fmore || !tmore {
			return fmore == tmore
		}
		filter, topic = frest, trest
	}
}
