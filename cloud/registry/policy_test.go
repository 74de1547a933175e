package registry

import (
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/pki"
)

// world has thing t1 (type sensor, attribute site=rome) with a certificate of
// its own, in group g below group top, and the given policy attached.
func world(t testing.TB, document string) (*Registry, *Certificate) {
	r := New(realm, aws.Seed{1})
	_, err := r.CreateThingType(epoch, "sensor", ThingTypeProperties{})
	require.NoError(t, err)
	_, err = r.CreateThing("t1", "sensor", map[string]string{"site": "rome"})
	require.NoError(t, err)
	for _, g := range [][2]string{{"top", ""}, {"g", "top"}} {
		_, err = r.CreateThingGroup(epoch, CreateThingGroupRequest{ThingGroupName: g[0], ParentGroupName: g[1]})
		require.NoError(t, err)
	}
	require.NoError(t, r.AddThingToThingGroup("t1", "g"))
	c, arn := register(t, r, "t1's", "")
	require.NoError(t, r.AttachThingPrincipal("t1", arn, false))
	if document != "" {
		_, err = r.CreatePolicy(epoch, "p", document)
		require.NoError(t, err)
		require.NoError(t, r.AttachPolicy("p", arn))
	}
	return r, c
}

func allow(action, resource string) string {
	return fmt.Sprintf(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":%q,"Resource":"arn:aws:iot:eu-central-1:123456789012:%s"}}`, action, resource)
}

func TestOTAPolicy(t *testing.T) {
	r, c := world(t, OTAPolicy(realm))
	me := Principal{c, "t1"}
	stranger := Principal{c, "t2"}
	for _, q := range []struct {
		action, kind, name string
		want               bool
	}{
		{"iot:Connect", "client", "t1", true},
		{"iot:Connect", "client", "t2", false},
		{"iot:Publish", "topic", "$aws/things/t1/jobs/$next/get", true},
		{"iot:Publish", "topic", "$aws/things/t1/streams/AFR_OTA-1/get/cbor", true},
		{"iot:Publish", "topic", "$aws/things/t2/jobs/$next/get", false},
		{"iot:Publish", "topic", "$aws/things/t1x/jobs/$next/get", false},
		{"iot:Publish", "topic", "a/b", false},
		{"iot:Receive", "topic", "$aws/things/t1/jobs/notify-next", true},
		{"iot:Subscribe", "topicfilter", "$aws/things/t1/jobs/notify-next", true},
		{"iot:Subscribe", "topicfilter", "$aws/things/t1/jobs/#", true},
		{"iot:Subscribe", "topicfilter", "$aws/things/+/jobs/#", false},
		{"iot:Subscribe", "topic", "$aws/things/t1/jobs/#", false},
		{"iot:RetainPublish", "topic", "$aws/things/t1/jobs/x", false},
	} {
		require.Equal(t, q.want, r.Authorize(me, q.action, q.kind, q.name), "%+v", q)
		require.False(t, r.Authorize(stranger, q.action, q.kind, q.name), "another client id resolves no thing: %+v", q)
	}
	require.NoError(t, r.UpdateCertificate(epoch, c.ID(), Inactive))
	require.False(t, r.Authorize(me, "iot:Connect", "client", "t1"))
	require.False(t, r.Authorize(Principal{}, "iot:Connect", "client", "t1"))
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		resource, name string
		want           bool
	}{
		{"topic/a/*", "a/b/c", true},
		{"topic/a/*", "a/", true},
		{"topic/a/*", "a", false},
		{"topic/*/c", "a/b/c", true},
		{"topic/a?c", "abc", true},
		{"topic/a?c", "a\u00e9c", true},
		{"topic/a?c", "ac", false},
		{"topic/a/+", "a/b", false},
		{"topic/a/+", "a/+", true},
		{"topic/a/#", "a/b", false},
		{"topic/a/#", "a/#", true},
		{"topic/**a**", "bbab", true},
		{"topic/a*b*c", "aXbYbZc", true},
		{"topic/a*b*c", "aXcYb", false},
		{"topic/${iot:ClientId}", "t1", true},
		{"topic/${iot:Connection.Thing.ThingName}/${iot:Connection.Thing.ThingTypeName}", "t1/sensor", true},
		{"topic/${iot:Connection.Thing.Attributes[site]}/x", "rome/x", true},
		{"topic/${iot:Connection.Thing.Attributes[none]}/x", "/x", false},
		{"topic/${iot:Connection.Thing.IsAttached}", "true", true},
		{"topic/${iot:NoSuchVariable}*", "anything", false},
		{"topic/a${*}b", "a*b", true},
		{"topic/a${*}b", "aXb", false},
		{"topic/a${?}b", "a?b", true},
		{"topic/a${$}b", "a$b", true},
	} {
		r, cert := world(t, allow("iot:Publish", c.resource))
		require.Equal(t, c.want, r.Authorize(Principal{cert, "t1"}, "iot:Publish", "topic", c.name), "%s ~ %s", c.resource, c.name)
	}
}

func TestActions(t *testing.T) {
	for action, want := range map[string]bool{"iot:Publish": true, "iot:*": true, "*": true, "iot:Pub*": true, "iot:publish": true,
		"iot:Publis?": true, "iot:Receive": false, "iot:RetainPublish": false} {
		r, c := world(t, allow(action, "topic/a"))
		require.Equal(t, want, r.Authorize(Principal{c, "t1"}, "iot:Publish", "topic", "a"), action)
	}
}

// Text that comes out of a variable is literal.
func TestVariablesDoNotExpand(t *testing.T) {
	r, c := world(t, allow("iot:Publish", "topic/${iot:ClientId}"))
	require.True(t, r.Authorize(Principal{c, "*"}, "iot:Publish", "topic", "*"))
	require.False(t, r.Authorize(Principal{c, "*"}, "iot:Publish", "topic", "anything"))
	require.False(t, r.Authorize(Principal{c, "${iot:ClientId}"}, "iot:Publish", "topic", "x"))
}

func TestDenyWins(t *testing.T) {
	r, c := world(t, `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"iot:*","Resource":"*"},
		{"Effect":"Deny","Action":["iot:Publish"],"Resource":["arn:aws:iot:eu-central-1:123456789012:topic/secret/*"]},
		{"Effect":"Deny","Action":"iot:Publish","Resource":"arn:aws:iot:eu-central-1:123456789012:topic/${iot:NoSuchVariable}"}]}`)
	me := Principal{c, "t1"}
	require.True(t, r.Authorize(me, "iot:Publish", "topic", "open"))
	require.False(t, r.Authorize(me, "iot:Publish", "topic", "secret/x"))
	require.True(t, r.Authorize(me, "iot:Subscribe", "topicfilter", "secret/x"))
}

func TestGroupPolicies(t *testing.T) {
	r, c := world(t, "")
	me := Principal{c, "t1"}
	require.False(t, r.Authorize(me, "iot:Publish", "topic", "a"))
	_, err := r.CreatePolicy(epoch, "top", allow("iot:Publish", "topic/*"))
	require.NoError(t, err)
	before := r.Epoch()
	require.NoError(t, r.AttachPolicy("top", realm.ARN("thinggroup", "top")))
	require.NotEqual(t, before, r.Epoch())
	require.True(t, r.Authorize(me, "iot:Publish", "topic", "a"), "a parent group's policy counts")
	_, err = r.CreatePolicy(epoch, "deny", strings.Replace(allow("iot:Publish", "topic/a"), "Allow", "Deny", 1))
	require.NoError(t, err)
	require.NoError(t, r.AttachPolicy("deny", realm.ARN("thinggroup", "g")))
	require.False(t, r.Authorize(me, "iot:Publish", "topic", "a"))
	require.NoError(t, r.DetachPolicy("deny", realm.ARN("thinggroup", "g")))
	require.NoError(t, r.RemoveThingFromThingGroup("t1", "g"))
	require.False(t, r.Authorize(me, "iot:Publish", "topic", "a"))
}

func TestIsAttachedCondition(t *testing.T) {
	r, c := world(t, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*","Condition":{"Bool":{"iot:Connection.Thing.IsAttached":["true"]}}}]}`)
	require.True(t, r.Authorize(Principal{c, "t1"}, "iot:Connect", "client", "t1"))
	require.False(t, r.Authorize(Principal{c, "t2"}, "iot:Connect", "client", "t2"))
}

func TestConditions(t *testing.T) {
	authority, err := pki.New(aws.Seed{}, epoch)
	require.NoError(t, err)
	der, _, err := authority.Device("t1")
	require.NoError(t, err)
	x, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	for _, tc := range []struct {
		condition, client string
		want              bool
	}{
		{`{"StringEquals":{"iot:ClientId":["a","t1"]}}`, "t1", true},
		{`{"StringEquals":{"iot:ClientId":"t*"}}`, "t1", false},
		{`{"StringEquals":{"iot:ClientId":"T1"}}`, "t1", false},
		{`{"StringEqualsIgnoreCase":{"iot:ClientId":"T1"}}`, "t1", true},
		{`{"StringNotEqualsIgnoreCase":{"iot:ClientId":"T1"}}`, "t1", false},
		{`{"StringLike":{"iot:ClientId":"t?"}}`, "t1", true},
		{`{"StringNotLike":{"iot:ClientId":["x","t*"]}}`, "t1", false},
		{`{"StringNotEquals":{"iot:ClientId":"x"}}`, "t1", true},
		{`{"StringEquals":{"iot:ClientId":"${iot:Connection.Thing.ThingName}"}}`, "t1", true},
		{`{"StringEquals":{"iot:ClientId":"${iot:Connection.Thing.ThingName}"}}`, "t2", false},
		{`{"StringLike":{"iot:Connection.Thing.Attributes[site]":"ro*"},"Bool":{"iot:Connection.Thing.IsAttached":true}}`, "t1", true},
		{`{"StringLike":{"iot:Connection.Thing.Attributes[site]":"ro*"},"Bool":{"iot:Connection.Thing.IsAttached":false}}`, "t1", false},
		{`{"StringEquals":{"iot:Connection.Thing.Attributes[none]":""}}`, "t1", false},
		{`{"StringNotEquals":{"iot:Connection.Thing.Attributes[none]":"x"}}`, "t1", true},
		{`{"StringEquals":{"iot:Certificate.Subject.CommonName":"` + x.Subject.CommonName + `"}}`, "t1", true},
		{`{"StringEquals":{"iot:Certificate.Issuer.CommonName":"` + x.Issuer.CommonName + `"}}`, "t1", true},
		{`{"StringEquals":{"iot:Certificate.SerialNumber":"` + x.SerialNumber.Text(16) + `"}}`, "t1", true},
		{`{"StringLike":{"iot:Certificate.Subject.Title":"*"}}`, "t1", false},
		{`{"StringLike":{"iot:Certificate.Subject.AlternativeName.DNSName":"*"}}`, "t1", false},
	} {
		r, c := world(t, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*","Condition":`+tc.condition+`}]}`)
		c.der = der
		require.Equal(t, tc.want, r.Authorize(Principal{c, tc.client}, "iot:Connect", "client", tc.client), tc.condition)
	}
}

func TestMalformedPolicies(t *testing.T) {
	for name, doc := range map[string]string{
		"no JSON":       `{`,
		"no version":    `{"Statement":[]}`,
		"effect":        `{"Version":"2012-10-17","Statement":{"Effect":"Maybe","Action":"*","Resource":"*"}}`,
		"no action":     `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Resource":"*"}}`,
		"NotAction":     `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","NotAction":"x"}}`,
		"unclosed":      `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"a${b"}}`,
		"condition":     `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"1.2.3.4"}}}}`,
		"no value":      `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"iot:ClientId":[]}}}}`,
		"not a bool":    `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"iot:Connection.Thing.IsAttached":"maybe"}}}}`,
		"set operator":  `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ForAnyValue:StringEquals":{"iot:ConnectAttributes":"LastWill"}}}}`,
		"too long":      allow("iot:Publish", "topic/"+strings.Repeat("x", 2048)),
		"not an object": `[]`,
	} {
		_, err := New(realm, aws.Seed{}).CreatePolicy(epoch, "p", doc)
		require.ErrorIs(t, err, aws.MalformedPolicy, name)
	}
}

func FuzzPolicy(f *testing.F) {
	f.Add(OTAPolicy(realm), "t1", "$aws/things/t1/jobs/$next/get")
	f.Add(allow("iot:*", "topic/a*b?${iot:ClientId}*"), "c", "aXbYcZ")
	f.Add(`{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"********a"}}`, "c", strings.Repeat("a", 50))
	f.Add(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringLike":{"iot:ClientId":"a*${iot:ClientId}"}}}}`, "c", "t")
	f.Fuzz(func(t *testing.T, doc, client, topic string) {
		statements, err := ParsePolicy(doc)
		if err != nil {
			require.ErrorIs(t, err, ErrPolicy)
			return
		}
		r, c := world(t, "")
		c.policies = []*policy{{inForce: &policyVersion{statements: statements}}}
		got := r.Authorize(Principal{c, client}, "iot:Publish", "topic", topic)
		c.policies = append(c.policies, &policy{inForce: &policyVersion{statements: []Statement{{deny: true, actions: []pattern{{{kind: anyText}}}, resources: []pattern{{{kind: anyText}}}}}}})
		if r.Authorize(Principal{c, client}, "iot:Publish", "topic", topic) {
			t.Fatalf("a Deny on everything does not win (before: %v)", got)
		}
	})
}
