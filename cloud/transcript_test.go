package cloud

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"

	"github.com/otasim/otasim/cloud/jobs"
	"github.com/otasim/otasim/cloud/protocol"
)

// Transcripts of whole stories: what an operator and hand-made clients send,
// and every frame that comes back. Rewrite with go test -run Transcripts -rewrite.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var w *world
		clients := map[string]*client{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if w == nil {
				w = newWorld(t, nil)
			}
			w.t = t
			arg := func(key string) (v string) {
				if d.HasArg(key) {
					d.ScanArgs(t, key, &v)
				}
				return v
			}
			name := ""
			if len(d.CmdArgs) > 0 && len(d.CmdArgs[0].Vals) == 0 {
				name = d.CmdArgs[0].Key
			}
			verdict := "ok"
			note := func(err error) {
				if err != nil {
					verdict = err.Error()
				}
			}
			input := d.Input // STREAM stands for the update's stream
			if ids := w.c.streams.ListStreams(); len(ids) > 0 {
				input = strings.ReplaceAll(input, "STREAM", ids[0])
			}
			lines := strings.Split(strings.TrimSpace(input), "\n")
			switch d.Cmd {
			case "thing":
				w.thing(name, arg("group"))
			case "join":
				note(w.c.AddThingToThingGroup(w.now, name, arg("group")))
			case "connect":
				clients[name] = w.connect(name, func(p *protocol.Packet) { p.CleanSession = arg("clean") != "false" })
			case "drop":
				w.c.Drop(w.now, clients[name].id)
			case "subscribe":
				clients[name].subscribe(lines...)
			case "publish":
				topic, payload, _ := strings.Cut(lines[0], " ")
				clients[name].publish(topic, payload)
			case "blocks":
				n, err := strconv.Atoi(arg("n"))
				require.NoError(t, err)
				bitmap, err := hex.DecodeString(arg("bitmap"))
				require.NoError(t, err)
				clients[name].publish("$aws/things/"+name+"/streams/"+w.c.streams.ListStreams()[0]+"/get/cbor", getBlocks(bitmap, byte(n)))
			case "ack":
				for _, p := range strings.Fields(lines[0]) {
					id, err := strconv.Atoi(p)
					require.NoError(t, err)
					clients[name].send(&protocol.Packet{Type: protocol.Puback, PacketID: uint16(id)})
				}
			case "update":
				size, err := strconv.Atoi(arg("size"))
				require.NoError(t, err)
				r := w.firmware(name, image(size), w.c.ARN("thinggroup", arg("group")))
				r.TargetSelection = arg("selection")
				_, err = w.c.CreateOTAUpdate(w.now, r)
				note(err)
			case "cancel":
				_, err := w.c.CancelJob(w.now, name, jobs.CancelJobRequest{Force: d.HasArg("force")})
				note(err)
			case "wait":
				took, err := time.ParseDuration(name)
				require.NoError(t, err)
				w.pass(took)
			case "job":
				j, err := w.c.DescribeJob(name)
				require.NoError(t, err)
				verdict = fmt.Sprintf("%s %+v", j.Status, j.JobProcessDetails)
			default:
				t.Fatalf("unknown command %q", d.Cmd)
			}
			w.pump()
			var out strings.Builder
			fmt.Fprintf(&out, "%s\n", verdict)
			for _, who := range []string{"dev-1", "dev-2"} {
				k := clients[who]
				if k == nil {
					continue
				}
				for _, p := range k.take() {
					fmt.Fprintf(&out, "%s <- %s\n", who, describe(p))
				}
				if k.closed != "" {
					fmt.Fprintf(&out, "%s closed: %s\n", who, k.closed)
					delete(clients, who)
				}
			}
			return out.String()
		})
	})
}

// describe shows a packet; CBOR in diagnostic notation, blocks shortened.
func describe(p protocol.Packet) string {
	if p.Type != protocol.Publish || !strings.HasSuffix(p.Topic, "/cbor") {
		s := show([]protocol.Packet{p})[0]
		if p.PacketID != 0 && p.Type == protocol.Publish {
			s += fmt.Sprintf(" (id %d)", p.PacketID)
		}
		return s
	}
	text, err := cbor.Diagnose(p.Payload)
	if err != nil {
		text = err.Error()
	}
	if i := strings.Index(text, `"p": h'`); i >= 0 && len(text) > i+24 {
		text = text[:i+23] + "...'}"
	}
	return "PUBLISH q" + strconv.Itoa(int(p.QoS)) + " " + p.Topic + " " + text
}
