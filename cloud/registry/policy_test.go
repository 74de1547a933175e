package registry

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/aws"
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

func TestMalformedPolicies(t *testing.T) {
	for name, doc := range map[string]string{
		"no JSON":       `{`,
		"no version":    `{"Statement":[]}`,
		"effect":        `{"Version":"2012-10-17","Statement":{"Effect":"Maybe","Action":"*","Resource":"*"}}`,
		"no action":     `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Resource":"*"}}`,
		"NotAction":     `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","NotAction":"x"}}`,
		"unclosed":      `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"a${b"}}`,
		"condition":     `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"1.2.3.4"}}}}`,
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
