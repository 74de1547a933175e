package rules

// What AWS IoT Core tells an MQTT 5 client in the properties of CONNACK, and
// what it takes from one.
//
// Sources: AWS IoT Core Developer Guide, page mqtt, "MQTT 5 supported
// features"; awslabs/aws-crt-java#618 for the topic aliases.
const (
	ReceiveMaximum       = 100 // QoS 1 publishes in flight, each direction
	TopicAliasMaximum    = 8   // aliases of one connection, each direction
	MaximumQoS           = 1
	MaximumPacketSize    = 146 << 10 // bytes
	MaxUserProperties    = 8 << 10   // bytes of names and values of one packet
	MaxMessageExpiry     = 604800    // seconds
	MaxSessionExpiry     = 604800    // seconds, if the account's quota allows it
	RetainAvailable      = true
	WildcardAvailable    = true
	SharedAvailable      = true
	SubscriptionIDsKnown = false
)

// SessionExpiry is how many seconds the session of an MQTT 5 client outlives
// its connection: what the client asks for, within the account's quota.
func SessionExpiry(asked uint32, quota int64) uint32 {
	limit := min(max(quota, 0), MaxSessionExpiry)
	return uint32(min(int64(asked), limit))
}

// InflightToClient is how many QoS 1 publishes may be on their way to a client
// that announced a Receive Maximum; 0 stands for a client that did not.
func InflightToClient(announced uint16) int {
	if announced == 0 {
		return ReceiveMaximum
	}
	return min(int(announced), ReceiveMaximum)
}

// Reason codes of MQTT 5.
const (
	ReasonSuccess           byte = 0x00
	ReasonUnspecified       byte = 0x80
	ReasonMalformed         byte = 0x81
	ReasonProtocolError     byte = 0x82
	ReasonBadClientID       byte = 0x85
	ReasonNotAuthorized     byte = 0x87
	ReasonServerUnavailable byte = 0x88
	ReasonShuttingDown      byte = 0x8b
	ReasonKeepAlive         byte = 0x8d
	ReasonTakenOver         byte = 0x8e
	ReasonFilterInvalid     byte = 0x8f
	ReasonTopicInvalid      byte = 0x90
	ReasonReceiveMaximum    byte = 0x93
	ReasonAliasInvalid      byte = 0x94
	ReasonTooLarge          byte = 0x95
	ReasonQuotaExceeded     byte = 0x97
	ReasonAdministrative    byte = 0x98
	ReasonQoS               byte = 0x9b
	ReasonSubscriptionIDs   byte = 0xa1
)

// ConnackReason is the reason code of a CONNACK for a return code of 3.1.1.
func ConnackReason(code byte) byte {
	switch code {
	case Accepted:
		return ReasonSuccess
	case BadClientID:
		return ReasonBadClientID
	case ServerUnavailable:
		return ReasonQuotaExceeded
	case NotAuthorized, Refused:
		return ReasonNotAuthorized
	}
	return ReasonUnspecified
}

// DisconnectReason is the reason code of the DISCONNECT that goes before the
// end of a connection, by the reason of the lifecycle event.
func DisconnectReason(why Reason) byte {
	switch why {
	case DuplicateClientID:
		return ReasonTakenOver
	case KeepAliveTimeout:
		return ReasonKeepAlive
	case AuthError, ForbiddenAccess:
		return ReasonNotAuthorized
	case Throttled:
		return ReasonQuotaExceeded
	case ClientError:
		return ReasonProtocolError
	case ServerInitiated:
		return ReasonShuttingDown
	case APIInitiated:
		return ReasonAdministrative
	case ClientInitiated:
		return ReasonSuccess
	}
	return ReasonUnspecified
}
