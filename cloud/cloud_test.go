package cloud

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"math/bits"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/cloud/ota"
	"github.com/otasim/otasim/cloud/protocol"
)

type jobDocument struct {
	AFR struct {
		Protocols  []string `json:"protocols"`
		StreamName string   `json:"streamname"`
		Files      []struct {
			FilePath  string `json:"filepath"`
			FileSize  int    `json:"filesize"`
			FileID    int    `json:"fileid"`
			CertFile  string `json:"certfile"`
			Signature string `json:"sig-sha256-ecdsa"`
		} `json:"files"`
	} `json:"afr_ota"`
}

// One whole update, from the operator's request to COMPLETED, with nothing but
// bytes between the device's side and the cloud.
func TestWholeUpdateInBytes(t *testing.T) {
	w := newWorld(t, nil)
	w.thing("dev-1", "fleet")
	k := w.connect("dev-1", nil)
	require.Equal(t, []string{"CONNACK 0 present=false"}, show(k.take()))
	k.subscribe("$aws/things/dev-1/jobs/notify-next@1")
	require.Equal(t, []string{"SUBACK [1]"}, show(k.take()))
	k.publish("$aws/things/dev-1/jobs/$next/get", `{"clientToken":"a1"}`)
	require.Equal(t, []string{`PUBLISH q0 $aws/things/dev-1/jobs/$next/get/accepted {"clientToken":"a1","timestamp":1772366400}`}, show(k.take()))

	img := image(50_000)
	_, err := w.c.CreateOTAUpdate(w.now, w.firmware("demo", img, arnOf(w, "thinggroup", "fleet")))
	require.NoError(t, err)
	info, err := w.c.GetOTAUpdate(w.now, "demo")
	require.NoError(t, err)
	require.Equal(t, ota.CreatePending, info.OTAUpdateStatus)
	w.pass(2 * time.Second)
	info, err = w.c.GetOTAUpdate(w.now, "demo")
	require.NoError(t, err)
	require.Equal(t, ota.CreateInProgress, info.OTAUpdateStatus)
	w.pass(10 * time.Second)
	info, err = w.c.GetOTAUpdate(w.now, "demo")
	require.NoError(t, err)
	require.Equal(t, ota.CreateComplete, info.OTAUpdateStatus, "%v", info.ErrorInfo)
	require.Equal(t, "AFR_OTA-demo", info.AWSIoTJobID)

	note := k.next(protocol.Publish)
	require.Equal(t, "$aws/things/dev-1/jobs/notify-next", note.Topic)
	require.Equal(t, byte(1), note.QoS)
	k.send(&protocol.Packet{Type: protocol.Puback, PacketID: note.PacketID})

	k.publish("$aws/things/dev-1/jobs/$next/get", `{"clientToken":"a2"}`)
	var answer struct {
		Execution struct {
			JobID       string      `json:"jobId"`
			Status      string      `json:"status"`
			JobDocument jobDocument `json:"jobDocument"`
		} `json:"execution"`
	}
	require.NoError(t, json.Unmarshal(k.next(protocol.Publish).Payload, &answer))
	require.Equal(t, "QUEUED", answer.Execution.Status)
	doc := answer.Execution.JobDocument.AFR
	require.Equal(t, []string{"MQTT"}, doc.Protocols)
	require.True(t, strings.HasPrefix(doc.StreamName, "AFR_OTA-") && len(doc.StreamName) == 44, doc.StreamName)
	require.Equal(t, 50_000, doc.Files[0].FileSize)
	require.Equal(t, "/certs/signer.pem", doc.Files[0].CertFile)

	update := "$aws/things/dev-1/jobs/AFR_OTA-demo/update"
	k.publish(update, `{"status":"IN_PROGRESS","statusDetails":{"receive":"1/13"}}`)
	require.Len(t, k.take(), 1)
	k.subscribe("$aws/things/dev-1/streams/" + doc.StreamName + "/data/cbor")
	k.take()
	got := make([]byte, len(img))
	missing := []byte{0xff, 0x1f} // 13 blocks
	for requests := 0; bits.OnesCount8(missing[0])+bits.OnesCount8(missing[1]) > 0; requests++ {
		require.Less(t, requests, 13)
		k.publish("$aws/things/dev-1/streams/"+doc.StreamName+"/get/cbor", getBlocks(missing, 3))
		in := k.take()
		require.NotEmpty(t, in)
		for _, p := range in {
			b := decodeBlock(t, p.Payload)
			require.Equal(t, "rdy", b.Token)
			require.Equal(t, len(b.Data), b.Size)
			require.NotZero(t, missing[b.Index/8]&(1<<(b.Index%8)), "block %d again", b.Index)
			copy(got[b.Index*4096:], b.Data)
			missing[b.Index/8] &^= 1 << (b.Index % 8)
		}
		w.pass(100 * time.Millisecond)
	}
	require.True(t, bytes.Equal(img, got))

	der, _, err := w.c.PKI().CodeSigner("firmware signer", nil)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	sig, err := base64.StdEncoding.DecodeString(doc.Files[0].Signature)
	require.NoError(t, err)
	digest := sha256.Sum256(got)
	require.True(t, ecdsa.VerifyASN1(cert.PublicKey.(*ecdsa.PublicKey), digest[:], sig))

	k.publish(update, `{"status":"SUCCEEDED","statusDetails":{"reason":"accepted v1.1.0"}}`)
	out := k.take()
	require.Len(t, out, 2, "%v", show(out))
	require.Equal(t, update+"/accepted", out[0].Topic)
	require.Equal(t, "$aws/things/dev-1/jobs/notify-next", out[1].Topic, "an empty $next is announced")
	require.NotContains(t, string(out[1].Payload), "execution")

	job, err := w.c.DescribeJob("AFR_OTA-demo")
	require.NoError(t, err)
	require.Equal(t, jobs.JobCompleted, job.Status)
	require.Equal(t, 1, job.JobProcessDetails.NumberOfSucceededThings)
	s := w.c.Stats(w.now)
	require.EqualValues(t, 1, s.Connects)
	require.Greater(t, s.BytesOut, uint64(50_000))
	require.Greater(t, s.HTTPRequests, uint64(5))
	require.Greater(t, s.ConnectedSeconds, 10.0)
}
