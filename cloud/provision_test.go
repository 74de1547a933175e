package cloud

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/cloud/pki"
	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/cloud/provisioning"
	"github.com/otasim/otasim/cloud/registry"
)

const fleetTemplate = `{"Parameters":{"Serial":{"Type":"String"},"Hw":{"Type":"String","Default":"b"},"AWS::IoT::Certificate::Id":{"Type":"String"}},
"Resources":{
 "thing":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":{"Fn::Join":["",["dev-",{"Ref":"Serial"}]]},"AttributePayload":{"hw":{"Ref":"Hw"}},"ThingGroups":["fleet"]}OVERRIDE},
 "certificate":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Ref":"AWS::IoT::Certificate::Id"},"Status":"ACTIVE"}},
 "policy":{"Type":"AWS::IoT::Policy","Properties":{"PolicyName":"ota"}}},
"DeviceConfiguration":{"update":"nightly"}}`

const claimPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"},
{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":["ARN:topic/$aws/certificates/*","ARN:topic/$aws/provisioning-templates/fleet/*"]},
{"Effect":"Allow","Action":"iot:Subscribe","Resource":["ARN:topicfilter/$aws/certificates/*","ARN:topicfilter/$aws/provisioning-templates/fleet/*"]}]}`

// claiming is a world with a template, a fleet group, and a claim certificate.
func claiming(t *testing.T, override string) *world {
	w := newWorld(t, nil)
	_, err := w.c.CreateThingGroup(w.now, registry.CreateThingGroupRequest{ThingGroupName: "fleet"})
	require.NoError(t, err)
	_, err = w.c.Provisioning().CreateTemplate(w.now, provisioning.CreateTemplateRequest{TemplateName: "fleet", Enabled: true, RoleARN: role,
		TemplateBody: strings.ReplaceAll(fleetTemplate, "OVERRIDE", override)})
	require.NoError(t, err)
	_, err = w.c.CreatePolicy(w.now, "claim", strings.ReplaceAll(claimPolicy, "ARN:", strings.TrimSuffix(w.c.ARN("x", "y"), "x/y")))
	require.NoError(t, err)
	der, _, err := w.c.PKI().Device("claim")
	require.NoError(t, err)
	w.cert["claim"] = der
	cert, err := w.c.RegisterCertificateWithoutCA(w.now, der, "")
	require.NoError(t, err)
	require.NoError(t, w.c.AttachPolicy(w.now, "claim", cert.CertificateARN))
	return w
}

// ask publishes a request in JSON and returns the answer; the client subscribes
// first.
func (k *client) ask(topic, payload string) (suffix string, answer map[string]any) {
	k.subscribe(topic+"/accepted", topic+"/rejected")
	k.take()
	k.publish(topic, payload)
	p := k.next(protocol.Publish)
	require.NoError(k.w.t, json.Unmarshal(p.Payload, &answer))
	return strings.TrimPrefix(p.Topic, topic), answer
}

// certificate asks for one for a key of the device's own.
func (k *client) certificate() map[string]any {
	key, err := pki.Key(aws.Seed{}, "device")
	require.NoError(k.w.t, err)
	csr, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{}, key)
	require.NoError(k.w.t, err)
	body, err := json.Marshal(map[string]string{"certificateSigningRequest": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))})
	require.NoError(k.w.t, err)
	suffix, made := k.ask("$aws/certificates/create-from-csr/json", string(body))
	require.Equal(k.w.t, "/accepted", suffix)
	return made
}

func (w *world) claim(id string) *client {
	k := w.connect("claim", func(p *protocol.Packet) { p.ClientID = id })
	k.take()
	return k
}

func (w *world) status(certificate any) string {
	d, err := w.c.DescribeCertificate(certificate.(string))
	if err != nil {
		return err.(*aws.Exception).Name
	}
	return d.Status
}

// A device with a claim certificate alone gets its own, its thing, its group, and
// with it the job that runs there.
func TestFleetProvisioning(t *testing.T) {
	w := claiming(t, "")
	_, err := w.c.CreateJob(w.now, jobs.CreateJobRequest{JobID: "up", Document: "{}", Targets: []string{w.c.ARN("thinggroup", "fleet")}, TargetSelection: jobs.Continuous})
	require.NoError(t, err)
	w.pass(time.Second)
	k, bystander := w.claim("new"), w.claim("bystander")
	bystander.subscribe("$aws/certificates/create/json/accepted")
	bystander.take()

	k.publish("$aws/certificates/create/json", "")
	require.Empty(t, k.take(), "who has not subscribed hears nothing")
	suffix, made := k.ask("$aws/certificates/create/json", "{}")
	require.Equal(t, "/accepted", suffix)
	require.Empty(t, bystander.take(), "a private key goes to its device alone")
	require.Equal(t, registry.PendingActivation, w.status(made["certificateId"]))
	block, _ := pem.Decode([]byte(made["privateKey"].(string)))
	require.NotNil(t, block)
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	require.NoError(t, err)
	der, err := pki.ParsePEM(made["certificatePem"].(string))
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	require.True(t, key.PublicKey.Equal(leaf.PublicKey))
	require.Equal(t, protocol.FrameTLSAlert, w.dial(der).tls.Kind, "it is not active yet")

	token := made["certificateOwnershipToken"].(string)
	request := func(token, parameters string) string {
		return `{"certificateOwnershipToken":"` + token + `","parameters":` + parameters + `}`
	}
	const provision = "$aws/provisioning-templates/fleet/provision/json"
	for _, tc := range []struct{ payload, code string }{
		{request("wrong", `{"Serial":"1"}`), "InvalidCertificateOwnershipToken"},
		{request(token, `{}`), "InvalidParameters"},
		{request(token, `{"Serial":"not a name"}`), "InvalidRequest"},
		{"{", "InvalidRequest"},
	} {
		suffix, answer := k.ask(provision, tc.payload)
		require.Equal(t, "/rejected", suffix)
		require.Equal(t, tc.code, answer["errorCode"])
		require.EqualValues(t, 400, answer["statusCode"])
	}
	require.Empty(t, w.c.ListThings(), "a refusal leaves nothing behind")
	suffix, answer := k.ask(provision, request(token, `{"Serial":"1"}`))
	require.Equal(t, "/accepted", suffix, answer)
	require.Equal(t, map[string]any{"thingName": "dev-1", "deviceConfiguration": map[string]any{"update": "nightly"}}, answer)
	require.Equal(t, registry.Active, w.status(made["certificateId"]))
	d, err := w.c.DescribeThing(w.now, "dev-1")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"hw": "b"}, d.Attributes)
	require.Equal(t, []string{"dev-1 QUEUED"}, w.executions("up"))
	_, answer = k.ask(provision, request(token, `{"Serial":"2"}`))
	require.Equal(t, "InvalidCertificateOwnershipToken", answer["errorCode"], "a token is good once")

	w.cert["dev-1"] = der
	own := w.connect("dev-1", nil)
	own.take()
	own.publish("$aws/things/dev-1/jobs/$next/get", "")
	require.Contains(t, string(own.next(protocol.Publish).Payload), `"jobId":"up"`)
	k.publish("$aws/certificates/create/json/accepted", "{}")
	require.Equal(t, "AUTH_ERROR", k.closed)
}

// The same with the device's own key, in CBOR.
func TestFleetProvisioningByCSR(t *testing.T) {
	w := claiming(t, "")
	k := w.claim("new")
	key, err := pki.Key(aws.Seed{}, "device")
	require.NoError(t, err)
	csr, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{}, key)
	require.NoError(t, err)
	cborly := func(topic string, body any) map[string]any {
		k.subscribe(topic + "/+")
		k.take()
		b, err := cbor.Marshal(body)
		require.NoError(t, err)
		k.publish(topic, string(b))
		p := k.next(protocol.Publish)
		var out map[string]any
		require.NoError(t, cbor.Unmarshal(p.Payload, &out))
		out["topic"] = p.Topic[len(topic):]
		return out
	}
	made := cborly("$aws/certificates/create-from-csr/cbor", map[string]string{"certificateSigningRequest": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))})
	require.Equal(t, "/accepted", made["topic"])
	require.NotContains(t, made, "privateKey")
	out := cborly("$aws/provisioning-templates/fleet/provision/cbor", map[string]any{"certificateOwnershipToken": made["certificateOwnershipToken"], "parameters": map[string]string{"Serial": "7", "Hw": "c"}})
	require.Equal(t, "dev-7", out["thingName"])
	require.Equal(t, "/rejected", cborly("$aws/certificates/create-from-csr/cbor", map[string]string{})["topic"])
	require.Equal(t, "InvalidRequest", cborly("$aws/certificates/create-from-csr/cbor", 7)["errorCode"])
}

// A certificate that nobody comes for is gone after an hour.
func TestUnclaimedCertificates(t *testing.T) {
	w := claiming(t, "")
	k := w.claim("new")
	made := k.certificate()
	w.pass(provisioning.TokenLife - time.Second)
	require.Equal(t, registry.PendingActivation, w.status(made["certificateId"]))
	w.pass(time.Second)
	require.Equal(t, "ResourceNotFoundException", w.status(made["certificateId"]))

	claim, err := w.c.CreateProvisioningClaim(w.now, "fleet")
	require.NoError(t, err)
	der, err := pki.ParsePEM(claim.CertificatePEM)
	require.NoError(t, err)
	w.cert["claim"] = der
	k = w.claim("installer")
	made = k.certificate()
	suffix, _ := k.ask("$aws/provisioning-templates/fleet/provision/json", `{"certificateOwnershipToken":"`+made["certificateOwnershipToken"].(string)+`","parameters":{"Serial":"1"}}`)
	require.Equal(t, "/accepted", suffix)
	w.pass(provisioning.ClaimLife)
	require.NotEmpty(t, k.closed, "the claim has expired")
	require.Equal(t, protocol.FrameTLSAlert, w.dial(der).tls.Kind)
}

func TestProvisioningAnExistingThing(t *testing.T) {
	for _, tc := range []struct{ override, want, attributes, groups string }{
		{"", "/rejected", "map[hw:a keep:1]", "[other]"},
		{`,"OverrideSettings":{"AttributePayload":"MERGE"}`, "/accepted", "map[hw:b keep:1]", "[other fleet]"},
		{`,"OverrideSettings":{"AttributePayload":"REPLACE","ThingGroups":"REPLACE"}`, "/accepted", "map[hw:b]", "[fleet]"},
		{`,"OverrideSettings":{"AttributePayload":"DO_NOTHING","ThingGroups":"DO_NOTHING"}`, "/accepted", "map[hw:a keep:1]", "[other]"},
		{`,"OverrideSettings":{"AttributePayload":"DO_NOTHING","ThingGroups":"FAIL"}`, "/rejected", "map[hw:a keep:1]", "[other]"},
	} {
		w := claiming(t, tc.override)
		w.thing("dev-1", "other")
		require.NoError(t, w.c.UpdateThing(w.now, "dev-1", registry.ThingUpdate{Attributes: map[string]string{"hw": "a", "keep": "1"}}))
		k := w.claim("again")
		made := k.certificate()
		suffix, answer := k.ask("$aws/provisioning-templates/fleet/provision/json", `{"certificateOwnershipToken":"`+made["certificateOwnershipToken"].(string)+`","parameters":{"Serial":"1"}}`)
		require.Equal(t, tc.want, suffix, "%s %v", tc.override, answer)
		if suffix == "/rejected" {
			require.Equal(t, "ResourceConflict", answer["errorCode"])
			require.Equal(t, registry.PendingActivation, w.status(made["certificateId"]))
		}
		d, err := w.c.DescribeThing(w.now, "dev-1")
		require.NoError(t, err)
		groups, err := w.c.Registry().ListThingGroupsForThing("dev-1")
		require.NoError(t, err)
		require.Equal(t, tc.attributes+" "+tc.groups, fmt.Sprint(d.Attributes, groups), tc.override)
	}
}
