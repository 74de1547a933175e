package cloud

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/pki"
	"github.com/otasim/otasim/cloud/provisioning"
	"github.com/otasim/otasim/cloud/registry"
)

// What Changes picks out of the messages of devices is all that another cloud needs
// to end up the same.
func TestChangesAreEnough(t *testing.T) {
	build := func() *world {
		w := newWorld(t, func(cfg *Config) { cfg.External = true })
		w.indexed()
		w.dynamic("old", "shadow.reported.v<2")
		_, err := w.c.CreateThingGroup(w.now, registry.CreateThingGroupRequest{ThingGroupName: "fleet"})
		require.NoError(t, err)
		_, err = w.c.Provisioning().CreateTemplate(w.now, provisioning.CreateTemplateRequest{TemplateName: "fleet", Enabled: true, RoleARN: role,
			TemplateBody: strings.ReplaceAll(fleetTemplate, "OVERRIDE", "")})
		require.NoError(t, err)
		return w
	}
	key, err := pki.Key(aws.Seed{}, "device")
	require.NoError(t, err)
	csr, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{}, key)
	require.NoError(t, err)
	request, err := json.Marshal(map[string]string{"certificateSigningRequest": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))})
	require.NoError(t, err)

	type call struct {
		at             time.Time
		topic, payload string
	}
	var kept []call
	w := build()
	say := func(topic, payload string) (answer map[string]any) {
		w.pass(100 * time.Millisecond)
		out, ok := w.c.Handle(w.now, "c", topic, []byte(payload))
		require.True(t, ok)
		require.Len(t, out, 1)
		if Changes(topic, out) {
			kept = append(kept, call{w.now, topic, payload})
		}
		require.NoError(t, json.Unmarshal(out[0].Payload, &answer))
		return answer
	}
	const create, provision = "$aws/certificates/create-from-csr/json", "$aws/provisioning-templates/fleet/provision/json"
	say(create, "{}")
	token := say(create, string(request))["certificateOwnershipToken"].(string)
	say(provision, `{"certificateOwnershipToken":"`+token+`"}`)
	say("$aws/things/dev-1/shadow/get", "")
	say("$aws/things/dev-1/shadow/update", `{"state":{"reported":{"v":1}}}`)
	say("$aws/things/dev-1/shadow/update", `{"state":{"reported":{"v":1}},"version":9}`)
	require.Equal(t, "dev-1", say(provision, `{"certificateOwnershipToken":"`+token+`","parameters":{"Serial":"1"}}`)["thingName"])
	say("$aws/things/dev-1/shadow/name/n/update", `{"state":{"desired":{"x":1}}}`)
	say("$aws/things/dev-1/shadow/name/n/delete", "")
	say(create, string(request))
	require.Len(t, kept, 6, "of ten messages")
	w.pass(time.Second)

	other := build()
	for _, k := range kept {
		other.pass(k.at.Sub(other.now))
		out, _ := other.c.Handle(other.now, "c", k.topic, []byte(k.payload))
		require.True(t, Changes(k.topic, out), k.topic)
	}
	other.pass(w.now.Sub(other.now))
	state := func(w *world) string {
		shadow, err := w.c.ShadowRequest(w.now, "dev-1", "", "get", nil)
		require.NoError(t, err)
		members, err := w.c.ListThingsInThingGroup("old", false)
		require.NoError(t, err)
		require.Equal(t, []string{"dev-1"}, members)
		b, err := json.Marshal([]any{shadow, members, w.c.Registry().ListCertificates(), w.c.NamedShadows("dev-1"), w.c.Registry().FindThings(registry.ThingFilter{})})
		require.NoError(t, err)
		return string(b)
	}
	require.Equal(t, state(w), state(other))
}
