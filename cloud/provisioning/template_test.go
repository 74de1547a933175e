package provisioning

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/aws"
)

// Body is a template like those of the guide.
const body = `{
  "Parameters": {"Serial": {"Type": "String"}, "Site": {"Type": "String", "Default": "hall"}, "AWS::IoT::Certificate::Id": {"Type": "String"}},
  "Resources": {
    "thing": {"Type": "AWS::IoT::Thing", "Properties": {
        "ThingName": {"Fn::Join": ["-", ["dev", {"Ref": "Serial"}]]},
        "AttributePayload": {"site": {"Ref": "Site"}, "batch": {"Fn::Select": ["1", {"Fn::Split": ["/", {"Ref": "Serial"}]}]}, "n": 1},
        "ThingTypeName": "esp32", "ThingGroups": ["fleet", {"Fn::Sub": "at-${Site}"}]},
      "OverrideSettings": {"AttributePayload": "MERGE", "ThingTypeName": "REPLACE", "ThingGroups": "DO_NOTHING"}},
    "cert": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "Active", "ThingPrincipalType": "EXCLUSIVE_THING"}},
    "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "ota"}},
    "zz": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyDocument": {"Version": "2012-10-17", "Statement": []}}}
  },
  "DeviceConfiguration": {"url": {"Fn::Sub": ["${a}/${Serial}/${!x}", {"a": {"Ref": "Site"}}]}}
}`

func TestExpand(t *testing.T) {
	d, err := parse(body)
	require.NoError(t, err)
	p, err := d.expand("abc", map[string]string{"Serial": "7/b9"})
	require.NoError(t, err)
	require.Equal(t, &Plan{Status: "ACTIVE", Exclusive: true, ThingName: "dev-7/b9", TypeName: "esp32", Attributes: map[string]string{"site": "hall", "batch": "b9", "n": "1"},
		Groups: []string{"fleet", "at-hall"}, OnAttributes: "MERGE", OnType: "REPLACE", OnGroups: "DO_NOTHING",
		Policies: []Policy{{Name: "ota"}, {Document: `{"Statement":[],"Version":"2012-10-17"}`}}, Configuration: map[string]string{"url": "hall/7/b9/${x}"}}, p)
	_, err = d.expand("abc", map[string]string{"Site": "x"})
	require.ErrorContains(t, err, `parameter "Serial" is missing`)
	_, err = d.expand("abc", map[string]string{"Serial": "no-slash"})
	require.ErrorContains(t, err, "Fn::Select has no element")
}

func TestInvalidTemplates(t *testing.T) {
	cert := `"c":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Ref":"AWS::IoT::Certificate::Id"}}}`
	thing := func(name string) string {
		return `{"Resources":{` + cert + `,"t":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":` + name + `}}}}`
	}
	_, err := parse(thing(`"x"`))
	require.NoError(t, err)
	for _, bad := range []string{
		"", "[]", "{}", "{} {}", `{"Other":1}`, `{"Resources":{}}`, `{"Resources":{` + cert + `},"Mappings":{"a":1}}`, `{"Parameters":{"a":{"Type":"Number"}},"Resources":{` + cert + `}}`,
		`{"Resources":{"x":{"Type":"AWS::S3::Bucket"}}}`, `{"Resources":{"c":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":"other"}}}}`,
		`{"Resources":{"c":{"Type":"AWS::IoT::Certificate","Properties":{"Other":1}}}}`,
		`{"Resources":{` + cert + `,"p":{"Type":"AWS::IoT::Policy"}}}`, `{"Resources":{` + cert + `,"t":{"Type":"AWS::IoT::Thing"}}}`,
		`{"Resources":{` + cert + `,"t":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":"x"},"OverrideSettings":{"ThingTypeName":"MERGE"}}}}`,
		thing(`{"Ref":"absent"}`), thing(`{"Ref":1}`), thing(`{}`), thing(`{"Ref":"a","Fn::Sub":"b"}`), thing(`{"Fn::Other":"x"}`), thing(`{"Fn::Join":["-"]}`), thing(`{"Fn::Join":["-","x"]}`),
		thing(`{"Fn::Join":["-",{"Fn::Split":["","x"]}]}`), thing(`{"Fn::Sub":"${a"}`), thing(`{"Fn::Sub":["x"]}`), thing(`[]`), thing(`null`), strings.Repeat(" ", maxBody) + thing(`"x"`),
	} {
		_, err := parse(bad)
		require.ErrorIs(t, err, ErrTemplate, bad)
	}
}

func TestTokens(t *testing.T) {
	s := New(aws.Realm{Region: "eu-central-1", Account: "123456789012"}, aws.Seed{})
	now := time.Unix(1e9, 0)
	_, err := s.CreateTemplate(now, CreateTemplateRequest{TemplateName: "t", TemplateBody: body, RoleARN: strings.Repeat("r", 20)})
	require.NoError(t, err)
	a, b := s.Grant(now, "a"), s.Grant(now, "b")
	require.NotEqual(t, a, b)
	parameters := map[string]string{"Serial": "1/2"}
	_, err = s.Expand(now, "t", a, parameters)
	require.ErrorContains(t, err, "not enabled")
	yes := true
	require.NoError(t, s.UpdateTemplate(now, "t", UpdateTemplateRequest{Enabled: &yes}))
	for i, tc := range []struct {
		template, token string
		at              time.Duration
		want            error
	}{{"t", a, 0, nil}, {"t", a, TokenLife - 1, nil}, {"t", a, TokenLife, ErrToken}, {"t", "x", 0, ErrToken}, {"none", a, 0, aws.ResourceNotFound}} {
		p, err := s.Expand(now.Add(tc.at), tc.template, tc.token, parameters)
		require.ErrorIs(t, err, tc.want, "%d", i)
		if err == nil {
			require.Equal(t, "a", p.CertificateID)
		}
	}
	_, err = s.Expand(now, "t", a, nil)
	require.ErrorIs(t, err, ErrParameters)
	s.Spend(a)
	_, err = s.Expand(now, "t", a, parameters)
	require.ErrorIs(t, err, ErrToken)
}

func FuzzTemplate(f *testing.F) {
	f.Add(body, "7/b9")
	f.Add(`{"Resources":{"c":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Fn::Sub":"${AWS::IoT::Certificate::Id}"}}}}}`, "")
	f.Fuzz(func(t *testing.T, text, value string) {
		d, err := parse(text)
		if err != nil {
			return
		}
		parameters := map[string]string{}
		for name := range d.Parameters {
			parameters[name] = value
		}
		x, errX := d.expand("id", parameters)
		y, errY := d.expand("id", parameters)
		if fmt.Sprint(x, errX) != fmt.Sprint(y, errY) {
			t.Fatalf("%v %v, then %v %v", x, errX, y, errY)
		}
	})
}
