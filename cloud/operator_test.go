package cloud

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/aws"
	"github.com/otasim/otasim/cloud/pki"
	"github.com/otasim/otasim/cloud/protocol"
)

// A certificate that was registered without a CA may come from anywhere.
func TestCertificateOfAnotherAuthority(t *testing.T) {
	w := newWorld(t, nil)
	other, err := pki.New(aws.Seed{9}, epoch)
	require.NoError(t, err)
	der, _, err := other.Device("t1")
	require.NoError(t, err)
	require.Equal(t, byte(protocol.AlertUnknownCA), w.c.Handshake(w.now, [][]byte{der}))
	cert, err := w.c.RegisterCertificateWithoutCA(w.now, der, "")
	require.NoError(t, err)
	require.Zero(t, w.c.Handshake(w.now, [][]byte{der}))
	require.Equal(t, byte(protocol.AlertCertificateExpired), w.c.Handshake(w.now.AddDate(60, 0, 0), [][]byte{der}))
	require.Equal(t, byte(protocol.AlertCertificateExpired), w.c.Handshake(w.now.AddDate(-1, 0, 0), [][]byte{der}))
	require.NoError(t, w.c.UpdateCertificate(w.now, cert.CertificateID, "INACTIVE"))
	require.Equal(t, byte(protocol.AlertCertificateRevoked), w.c.Handshake(w.now, [][]byte{der}))
}

// A message published over HTTPS reaches the subscribers.
func TestPublishFromOutside(t *testing.T) {
	w := newWorld(t, nil)
	w.thing("t1")
	_, err := w.c.CreatePolicy(w.now, "more", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iot:Subscribe","iot:Receive"],"Resource":"*"}]}`)
	require.NoError(t, err)
	principals, err := w.c.Registry().ListThingPrincipals("t1")
	require.NoError(t, err)
	require.NoError(t, w.c.AttachPolicy(w.now, "more", principals[0]))
	k := w.connect("t1", nil)
	k.next(protocol.Connack)
	k.subscribe("news/+")
	w.pass(time.Second)
	k.take()
	require.NoError(t, w.c.Publish(w.now, "news/today", []byte("hello"), 1))
	w.pump()
	p := k.next(protocol.Publish)
	require.Equal(t, "news/today hello", p.Topic+" "+string(p.Payload))
	for _, topic := range []string{"", "a/+", "$aws/things/t1/jobs/notify", strings.Repeat("a", 300), "a/b/c/d/e/f/g/h/i"} {
		require.ErrorIs(t, w.c.Publish(w.now, topic, nil, 0), aws.InvalidRequest, topic)
	}
	require.ErrorIs(t, w.c.Publish(w.now, "a", make([]byte, 128<<10+1), 0), aws.InvalidRequest)
}
