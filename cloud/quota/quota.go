// Package quota holds the limits of AWS IoT Core as data, each with where it
// comes from, and the token bucket that enforces a rate in virtual time.
package quota

import (
	"fmt"
	"slices"
)

// Name of a quota that an account can have raised, or switched off here.
type Name string

// Quotas that are enforced.
const (
	ConnectRate             Name = "connect-rate"
	ConnectRatePerClient    Name = "connect-rate-per-client"
	SubscribeRate           Name = "subscribe-rate"
	InboundPublishRate      Name = "inbound-publish-rate"
	OutboundPublishRate     Name = "outbound-publish-rate"
	ConnectionPublishes     Name = "connection-publish-rate"
	ConnectionThroughput    Name = "connection-throughput"
	Subscriptions           Name = "subscriptions-per-connection"
	Inflight                Name = "inflight"
	SessionExpiry           Name = "session-expiry"
	JobsReads               Name = "jobs-data-reads"
	JobsWrites              Name = "jobs-data-writes"
	CreateThing             Name = "create-thing"
	DescribeThing           Name = "describe-thing"
	UpdateThing             Name = "update-thing"
	AddThingToGroup         Name = "add-thing-to-thing-group"
	CreateThingGroup        Name = "create-thing-group"
	AttachPolicy            Name = "attach-policy"
	CreateDynamicThingGroup Name = "create-dynamic-thing-group"
	ListThingsInGroup       Name = "list-things-in-thing-group"
	CreateCertificate       Name = "create-certificate"
	ListOTAUpdates          Name = "list-ota-updates"
	JobControl              Name = "job-control"
	CreateOTAUpdate         Name = "create-ota-update"
	GetOTAUpdate            Name = "get-ota-update"
	DeleteOTAUpdate         Name = "delete-ota-update"
)

// Row is one quota with its default and its origin.
type Row struct {
	Name       Name
	Value      int64
	Unit       string
	Adjustable bool
	Source     string
}

const (
	limits2020 = "AWS General Reference, AWS IoT Core endpoints and quotas, mirrored copy of about 2019-2020"
	recalled   = "recalled, not confirmed; check Service Quotas"
)

// Rows is every quota that can be set, in the order of this table.
var Rows = []Row{
	{ConnectRate, 500, "CONNECT per second and account", true, limits2020},
	{ConnectRatePerClient, 1, "CONNECT per second and client id", false, limits2020},
	{SubscribeRate, 500, "SUBSCRIBE and UNSUBSCRIBE per second and account", true, limits2020},
	{InboundPublishRate, 20000, "publishes in per second and account", true, limits2020},
	{OutboundPublishRate, 20000, "publishes out per second and account", true, limits2020},
	{ConnectionPublishes, 100, "publishes per second and connection, in and out together", false, limits2020},
	{ConnectionThroughput, 512 << 10, "bytes of publishes per second and connection, in and out together; more wait", false, limits2020},
	{Subscriptions, 50, "subscriptions per connection", true, limits2020},
	{Inflight, 100, "unacknowledged QoS 1 publishes per connection and direction", false, limits2020},
	{SessionExpiry, 3600, "seconds a persistent session is kept", true, limits2020},
	{JobsReads, 200, "Jobs data plane reads per second and account", true, limits2020},
	{JobsWrites, 200, "Jobs data plane writes per second and account", true, limits2020},
	{CreateThing, 15, "calls per second", true, limits2020},
	{DescribeThing, 350, "calls per second", true, limits2020},
	{UpdateThing, 10, "calls per second", true, recalled},
	{AddThingToGroup, 60, "calls per second", true, limits2020},
	{CreateThingGroup, 25, "calls per second", true, limits2020},
	{AttachPolicy, 15, "calls per second", true, limits2020},
	{CreateDynamicThingGroup, 5, "calls per second", true, limits2020},
	{ListThingsInGroup, 25, "calls per second", true, limits2020},
	{CreateCertificate, 15, "calls per second of each operation", true, limits2020},
	{ListOTAUpdates, 15, "calls per second", true, recalled},
	{JobControl, 10, "calls per second for each Jobs control operation", true, limits2020},
	{CreateOTAUpdate, 10, "calls per second", true, recalled},
	{GetOTAUpdate, 15, "calls per second", true, recalled},
	{DeleteOTAUpdate, 5, "calls per second", true, recalled},
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
	"CreateJobTemplate": JobControl, "DescribeJobTemplate": JobControl, "ListJobTemplates": JobControl, "DeleteJobTemplate": JobControl,
	"CreateOTAUpdate": CreateOTAUpdate, "GetOTAUpdate": GetOTAUpdate, "ListOTAUpdates": ListOTAUpdates, "DeleteOTAUpdate": DeleteOTAUpdate,
}

// Limits is a choice of values; a missing or zero value is no limit.
type Limits map[Name]int64

// Named returns the limits of a profile: "aws-default" or "unlimited". The
// latter keeps the session expiry, which bounds time and not load.
func Named(profile string) (Limits, error) {
	switch profile {
	case "aws-default", "":
		l := Limits{}
		for _, r := range Rows {
			l[r.Name] = r.Value
		}
		return l, nil
	case "unlimited":
		return Limits{SessionExpiry: 3600, Inflight: 100}, nil
	}
	return nil, fmt.Errorf("quota: profile %q: want aws-default or unlimited", profile)
}

// Known reports whether a name is in Rows.
func Known(n Name) bool { return slices.ContainsFunc(Rows, func(r Row) bool { return r.Name == n }) }

// Rate is a token bucket that holds one second's worth. The zero value with
// PerSecond set is full.
type Rate struct {
	PerSecond int64 // 0 = no limit
	spent     int64 // tokens missing, in units of 1e-9
	last      int64
}

const second = int64(1e9)

// Allow takes one token at the time now (unix nanoseconds) if there is one.
func (r *Rate) Allow(now int64) bool {
	if r.PerSecond <= 0 {
		return true
	}
	if d := now - r.last; d > 0 {
		r.spent -= min(d, second) * r.PerSecond
		r.spent = max(r.spent, 0)
		r.last = now
	}
	if r.spent+second > r.PerSecond*second {
		return false
	}
	r.spent += second
	return true
}
