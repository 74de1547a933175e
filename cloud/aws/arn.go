package aws

import "strings"

// Realm is the region and account that own every resource of one cloud.
type Realm struct{ Region, Account string }

// ARN returns the name of an IoT resource: kind is "thing", "thinggroup",
// "cert", "policy", "job", "stream", "otaupdate", "client", "topic" or
// "topicfilter".
func (r Realm) ARN(kind, name string) string {
	return "arn:aws:iot:" + r.Region + ":" + r.Account + ":" + kind + "/" + name
}

// Split takes an IoT ARN of this realm apart. ok is false for another service,
// region or account and for a name without kind.
func (r Realm) Split(arn string) (kind, name string, ok bool) {
	rest, ok := strings.CutPrefix(arn, "arn:aws:iot:"+r.Region+":"+r.Account+":")
	if !ok {
		return "", "", false
	}
	kind, name, ok = strings.Cut(rest, "/")
	return kind, name, ok && kind != "" && name != ""
}

// Name reports whether s is 1 to max bytes of [a-zA-Z0-9_-] and the extra
// characters given.
func Name(s string, max int, extra string) bool {
	if s == "" || len(s) > max {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		case strings.IndexByte(extra, c) >= 0:
		default:
			return false
		}
	}
	return true
}

// ThingName reports whether s may name a thing, a thing group or a thing type:
// 1 to 128 of [a-zA-Z0-9:_-].
func ThingName(s string) bool { return Name(s, 128, ":") }
