// Package quota holds the limits of AWS IoT Core as data, each with where it
// comes from, and the token bucket that enforces a rate in virtual time.
package quota

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Name of a quota.
type Name string

// Names of the quotas.
const (
	Connections             Name = "connections"
	ConnectRate             Name = "connect-rate"
	ConnectRatePerClient    Name = "connect-rate-per-client"
	AccountSubscriptions    Name = "subscriptions"
	Subscriptions           Name = "subscriptions-per-connection"
	FiltersPerSubscribe     Name = "filters-per-subscribe"
	SubscribeRate           Name = "subscribe-rate"
	InboundPublishRate      Name = "inbound-publish-rate"
	OutboundPublishRate     Name = "outbound-publish-rate"
	ConnectionPublishes     Name = "connection-publish-rate"
	ConnectionThroughput    Name = "connection-throughput"
	Inflight                Name = "inflight"
	Payload                 Name = "payload"
	TopicLength             Name = "topic"
	TopicSlashes            Name = "topic-slashes"
	ClientIDLength          Name = "client-id"
	KeepAliveMin            Name = "keep-alive-min"
	KeepAliveMax            Name = "keep-alive-max"
	SessionExpiry           Name = "session-expiry"
	RetainedMessages        Name = "retained-messages"
	AttributesWithType      Name = "attributes-with-type"
	AttributesWithoutType   Name = "attributes-without-type"
	GroupsPerThing          Name = "groups-per-thing"
	ChildGroups             Name = "child-groups"
	GroupDepth              Name = "group-depth"
	DynamicGroups           Name = "dynamic-groups"
	PoliciesPerTarget       Name = "policies-per-target"
	PolicyVersions          Name = "policy-versions"
	PolicySize              Name = "policy-size"
	CreateCertificate       Name = "create-certificate"
	CreateThing             Name = "create-thing"
	DescribeThing           Name = "describe-thing"
	UpdateThing             Name = "update-thing"
	AddThingToGroup         Name = "add-thing-to-thing-group"
	CreateThingGroup        Name = "create-thing-group"
	CreateDynamicThingGroup Name = "create-dynamic-thing-group"
	ListThingsInGroup       Name = "list-things-in-thing-group"
	AttachPolicy            Name = "attach-policy"
	JobControl              Name = "job-control"
	JobsReads               Name = "jobs-data-reads"
	JobsWrites              Name = "jobs-data-writes"
	JobDocument             Name = "job-document"
	JobTargets              Name = "job-targets"
	Substitutions           Name = "job-document-substitutions"
	RolloutRate             Name = "rollout-rate"
	ActiveSnapshotJobs      Name = "active-snapshot-jobs"
	ActiveContinuousJobs    Name = "active-continuous-jobs"
	ConcurrentJobs          Name = "concurrent-jobs"
	DeletingJobs            Name = "deleting-jobs"
	PendingListed           Name = "pending-executions-listed"
	ExecutionHistory        Name = "execution-history"
	JobRetries              Name = "job-retries"
	JobTimeoutMin           Name = "job-timeout-min"
	JobTimeoutMax           Name = "job-timeout-max"
	StatusDetails           Name = "status-details"
	StatusDetailKey         Name = "status-detail-key"
	StatusDetailValue       Name = "status-detail-value"
	StreamFile              Name = "stream-file"
	BlockSizeMin            Name = "block-size-min"
	BlockSizeMax            Name = "block-size-max"
	BlockOffset             Name = "block-offset"
	BlockCount              Name = "block-count"
	BlockBitmap             Name = "block-bitmap"
	DataPerRequest          Name = "data-per-request"
	Streams                 Name = "streams"
	FilesPerStream          Name = "files-per-stream"
	CreateOTAUpdate         Name = "create-ota-update"
	GetOTAUpdate            Name = "get-ota-update"
	ListOTAUpdates          Name = "list-ota-updates"
	DeleteOTAUpdate         Name = "delete-ota-update"
	SignerInput             Name = "signer-input"
	S3Puts                  Name = "s3-puts"
	S3Gets                  Name = "s3-gets"
)

// Row is one quota with its default and its origin.
type Row struct {
	Name       Name   `json:"name"`
	Value      int64  `json:"default"`
	Unit       string `json:"unit"`
	Adjustable bool   `json:"adjustable"` // AWS raises it on request
	// Fixed rows are part of the checks of a request. They are enforced with this
	// value whatever the profile.
	Fixed bool `json:"fixed"`
	Origin
}

// Origin is where a value comes from.
type Origin struct {
	Source string `json:"source"`
	Date   string `json:"date"`
}

var (
	limits   = Origin{"AWS General Reference, AWS IoT Core endpoints and quotas, mirrored copy", "2019-2020"}
	jobLimit = Origin{"AWS IoT Core Developer Guide, page job-limits", "2022-12"}
	delivery = Origin{"AWS IoT Core Developer Guide, page mqtt-based-file-delivery-in-devices", "2022-12"}
	model    = Origin{"API model iot/2015-05-28 of boto/botocore", "2026-08"}
	neo      = Origin{"ESP RainMaker Neo documentation, page Limits", "2026"}
	recalled = Origin{"recalled, not confirmed; check Service Quotas", "2026"}
)

// Rows is every quota, in the order of the table of the documentation.
var Rows = []Row{
	{Connections, 500000, "connections per account", true, false, neo},
	{ConnectRate, 500, "CONNECT per second and account", true, false, limits},
	{ConnectRatePerClient, 1, "CONNECT per second and client id", false, false, limits},
	{AccountSubscriptions, 500000, "subscriptions per account", true, false, limits},
	{Subscriptions, 50, "subscriptions per connection", true, false, limits},
	{FiltersPerSubscribe, 8, "topic filters of one SUBSCRIBE", false, true, limits},
	{SubscribeRate, 500, "SUBSCRIBE and UNSUBSCRIBE per second and account", true, false, limits},
	{InboundPublishRate, 20000, "publishes in per second and account", true, false, limits},
	{OutboundPublishRate, 20000, "publishes out per second and account", true, false, limits},
	{ConnectionPublishes, 100, "publishes per second and connection, in and out together", false, false, limits},
	{ConnectionThroughput, 524288, "bytes of publishes per second and connection, in and out together; more wait", false, false, limits},
	{Inflight, 100, "unacknowledged QoS 1 publishes per connection and direction", false, false, limits},
	{Payload, 131072, "bytes of one publish", false, true, limits},
	{TopicLength, 256, "bytes of a topic", false, true, limits},
	{TopicSlashes, 7, "slashes of a topic", false, true, limits},
	{ClientIDLength, 128, "bytes of a client id", false, true, limits},
	{KeepAliveMin, 30, "seconds, the shortest keep-alive", false, true, limits},
	{KeepAliveMax, 1200, "seconds, the longest keep-alive", false, true, limits},
	{SessionExpiry, 3600, "seconds a persistent session is kept", true, false, limits},
	{RetainedMessages, 500000, "retained messages per account", true, false, recalled},
	{AttributesWithType, 50, "attributes of a thing that has a thing type", false, true, limits},
	{AttributesWithoutType, 3, "attributes of a thing without thing type", false, true, limits},
	{GroupsPerThing, 10, "thing groups of one thing", false, true, limits},
	{ChildGroups, 100, "direct child groups of one thing group", false, false, limits},
	{GroupDepth, 7, "levels of a hierarchy of thing groups", false, true, limits},
	{DynamicGroups, 100, "dynamic thing groups per account", true, false, neo},
	{PoliciesPerTarget, 10, "policies attached to a certificate or thing group", false, true, limits},
	{PolicyVersions, 5, "versions of a policy", false, true, limits},
	{PolicySize, 2048, "characters of a policy document, white space not counted", false, true, limits},
	{CreateCertificate, 15, "calls per second of each operation", true, false, limits},
	{CreateThing, 15, "calls per second", true, false, limits},
	{DescribeThing, 350, "calls per second", true, false, limits},
	{UpdateThing, 10, "calls per second", true, false, recalled},
	{AddThingToGroup, 60, "calls per second of each operation", true, false, limits},
	{CreateThingGroup, 25, "calls per second", true, false, limits},
	{CreateDynamicThingGroup, 5, "calls per second", true, false, limits},
	{ListThingsInGroup, 25, "calls per second", true, false, limits},
	{AttachPolicy, 15, "calls per second", true, false, limits},
	{JobControl, 10, "calls per second of each Jobs control operation", true, false, limits},
	{JobsReads, 200, "Jobs data plane reads per second and account", true, false, limits},
	{JobsWrites, 200, "Jobs data plane writes per second and account", true, false, limits},
	{JobDocument, 32768, "characters of a job document", false, true, jobLimit},
	{JobTargets, 100, "targets of one job", false, true, jobLimit},
	{Substitutions, 10, "presigned URLs in a job document", false, true, jobLimit},
	{RolloutRate, 1000, "things per minute and job", false, false, jobLimit},
	{ActiveSnapshotJobs, 100000, "SNAPSHOT jobs that are not finished", true, false, recalled},
	{ActiveContinuousJobs, 1000, "CONTINUOUS jobs that are not finished", true, false, recalled},
	{ConcurrentJobs, 1000, "jobs that are being rolled out", true, false, recalled},
	{DeletingJobs, 10, "jobs in DELETION_IN_PROGRESS", false, false, jobLimit},
	{PendingListed, 10, "pending executions in an answer; 15 beside scheduled jobs", false, true, jobLimit},
	{ExecutionHistory, 730, "days an execution is kept", false, true, jobLimit},
	{JobRetries, 10, "retries of an execution, of both kinds together", false, true, jobLimit},
	{JobTimeoutMin, 1, "minutes, the shortest timeout", false, true, jobLimit},
	{JobTimeoutMax, 10080, "minutes, the longest timeout", false, true, jobLimit},
	{StatusDetails, 10, "pairs in statusDetails", false, true, jobLimit},
	{StatusDetailKey, 128, "characters of a key in statusDetails", false, true, jobLimit},
	{StatusDetailValue, 1024, "characters of a value in statusDetails", false, true, jobLimit},
	{StreamFile, 25165824, "bytes of a file of a stream", false, true, delivery},
	{BlockSizeMin, 256, "bytes of the smallest block", false, true, delivery},
	{BlockSizeMax, 131072, "bytes of the largest block", false, true, delivery},
	{BlockOffset, 98304, "blocks, the largest offset", false, true, delivery},
	{BlockCount, 98304, "blocks of one request", false, true, delivery},
	{BlockBitmap, 12288, "bytes of a block bitmap", false, true, delivery},
	{DataPerRequest, 131072, "bytes of blocks sent for one request", false, true, delivery},
	{Streams, 10000, "streams per account", true, false, recalled},
	{FilesPerStream, 50, "files of a stream", true, false, model},
	{CreateOTAUpdate, 10, "calls per second", true, false, recalled},
	{GetOTAUpdate, 15, "calls per second", true, false, recalled},
	{ListOTAUpdates, 15, "calls per second", true, false, recalled},
	{DeleteOTAUpdate, 5, "calls per second", true, false, recalled},
	{SignerInput, 16777216, "bytes of an image to sign, on the FreeRTOS platforms", false, true, limits},
	{S3Puts, 3500, "changes per second and prefix of a bucket", true, false, recalled},
	{S3Gets, 5500, "reads per second and prefix of a bucket", true, false, recalled},
}

// Operations are the control plane operations that a rate limits, each on its own.
var Operations = map[string]Name{
	"CreateThing": CreateThing, "DescribeThing": DescribeThing, "UpdateThing": UpdateThing,
	"CreateThingGroup": CreateThingGroup, "CreateDynamicThingGroup": CreateDynamicThingGroup,
	"AddThingToThingGroup": AddThingToGroup, "UpdateThingGroupsForThing": AddThingToGroup, "ListThingsInThingGroup": ListThingsInGroup,
	"CreateKeysAndCertificate": CreateCertificate, "CreateCertificateFromCsr": CreateCertificate, "RegisterCertificateWithoutCA": CreateCertificate,
	"AttachPolicy": AttachPolicy,
	"CreateJob":    JobControl, "DescribeJob": JobControl, "UpdateJob": JobControl, "CancelJob": JobControl, "DeleteJob": JobControl, "ListJobs": JobControl,
	"GetJobDocument": JobControl, "AssociateTargetsWithJob": JobControl, "ListJobExecutionsForJob": JobControl, "ListJobExecutionsForThing": JobControl,
	"DescribeJobExecution": JobControl, "CancelJobExecution": JobControl, "DeleteJobExecution": JobControl,
	"CreateOTAUpdate": CreateOTAUpdate, "GetOTAUpdate": GetOTAUpdate, "ListOTAUpdates": ListOTAUpdates, "DeleteOTAUpdate": DeleteOTAUpdate,
}

// Limits is a choice of values; a missing or zero value is no limit.
type Limits map[Name]int64

// Errors of a choice.
var (
	ErrUnknown = errors.New("no such quota")
	ErrFixed   = errors.New("cannot be changed")
	ErrValue   = errors.New("want a whole number from 1, or unlimited")
)

// Named returns the limits of a profile: "aws-default" or "unlimited". The
// latter keeps the session expiry, which bounds time and not load, and the
// in-flight window, which paces and refuses nothing.
func Named(profile string) (Limits, error) {
	l := Limits{}
	switch profile {
	case "aws-default", "":
		for _, r := range Rows {
			l[r.Name] = r.Value
		}
		return l, nil
	case "unlimited":
		for _, r := range Rows {
			if r.Fixed || r.Name == SessionExpiry || r.Name == Inflight {
				l[r.Name] = r.Value
			}
		}
		return l, nil
	}
	return nil, fmt.Errorf("quota: profile %q: want aws-default or unlimited", profile)
}

// Parse reads a choice: a profile, and NAME=VALUE for what differs from it, all
// with commas between. Without a profile the base is aws-default.
//
//	unlimited
//	jobs-data-writes=50,connections=unlimited
//	unlimited,connect-rate=10
func Parse(choice string) (Limits, error) {
	profile, rest, _ := strings.Cut(choice, ",")
	if strings.Contains(profile, "=") {
		profile, rest = "", choice
	}
	l, err := Named(profile)
	if err != nil || rest == "" {
		return l, err
	}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		if err := l.Set(Name(name), value); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// Set changes one value: a whole number from 1, or "unlimited". Errors:
// ErrUnknown, ErrFixed, ErrValue.
func (l Limits) Set(n Name, value string) error {
	i := slices.IndexFunc(Rows, func(r Row) bool { return r.Name == n })
	switch {
	case i < 0:
		return fmt.Errorf("quota %q: %w", n, ErrUnknown)
	case Rows[i].Fixed:
		return fmt.Errorf("quota %s: it is part of what a request may look like and %w", n, ErrFixed)
	case value == "unlimited":
		delete(l, n)
		return nil
	}
	v, err := strconv.ParseInt(value, 10, 64)
	if err != nil || v < 1 {
		return fmt.Errorf("quota %s: %q: %w", n, value, ErrValue)
	}
	l[n] = v
	return nil
}

// Default is the value of a row, 0 for an unknown name.
func Default(n Name) int64 {
	for _, r := range Rows {
		if r.Name == n {
			return r.Value
		}
	}
	return 0
}

// Known reports whether a name is in Rows.
func Known(n Name) bool { return slices.ContainsFunc(Rows, func(r Row) bool { return r.Name == n }) }

// Rate is a token bucket that holds one second's worth. The zero value with
// PerSecond set is full.
type Rate struct {
	PerSecond int64 // 0 = no limit
	spent     int64 // tokens missing, in units of 1e-9
	last      int64
	Peak            // what was asked for within a second of the clock
	until     int64 // end of that second
	asked     int64 // in it
}

const second = int64(1e9)

// Allow takes one token at the time now (unix nanoseconds) if there is one.
func (r *Rate) Allow(now int64) bool {
	if now >= r.until {
		r.until, r.asked = now-now%second+second, 0
	}
	r.asked++
	r.See(r.asked)
	if r.PerSecond <= 0 {
		return true
	}
	if d := now - r.last; d > 0 {
		r.spent -= min(d, second) * r.PerSecond
		r.spent = max(r.spent, 0)
		r.last = now
	}
	if r.spent+second > r.PerSecond*second {
		r.Refused++
		return false
	}
	r.spent += second
	return true
}
