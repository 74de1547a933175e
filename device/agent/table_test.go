package agent

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// scribe writes down what a handler does.
type scribe struct {
	fake
	did []string
}

func (p *scribe) add(format string, args ...any) { p.did = append(p.did, fmt.Sprintf(format, args...)) }

func last(topic string) string { return strings.TrimPrefix(topic, "$aws/things/dev/") }

func (p *scribe) Subscribe(qos byte, topic string) bool {
	p.add("sub %s", last(topic))
	return p.fake.Subscribe(qos, topic)
}

func (p *scribe) Unsubscribe(qos byte, topic string) bool {
	p.add("unsub %s", last(topic))
	return p.fake.Unsubscribe(qos, topic)
}

func (p *scribe) Publish(qos byte, topic string, payload []byte) bool {
	what := last(topic)
	if strings.HasSuffix(what, "/update") {
		what = strings.SplitN(string(payload), `"`, 5)[3]
	}
	p.add("pub %s", what)
	return p.fake.Publish(qos, topic, payload)
}

func (p *scribe) StartTimer(t Timer, ms uint32) bool {
	p.add("start %s", []string{"request", "self-test"}[t])
	return p.fake.StartTimer(t, ms)
}

func (p *scribe) StopTimer(t Timer) {
	p.add("stop %s", []string{"request", "self-test"}[t])
	p.fake.StopTimer(t)
}

func (p *scribe) CreateFile(f *File) PALStatus {
	p.add("create")
	return p.fake.CreateFile(f)
}

func (p *scribe) WriteBlock(f *File, offset uint32, data []byte) int {
	p.add("write")
	return p.fake.WriteBlock(f, offset, data)
}

func (p *scribe) AbortFile(f *File) PALStatus {
	p.add("abort file")
	return p.fake.AbortFile(f)
}

func (p *scribe) ResetDevice(f *File) PALStatus {
	p.add("reset")
	return p.fake.ResetDevice(f)
}

func (p *scribe) SetPlatformState(f *File, s ImageState) PALStatus {
	p.add("image %s", []string{"unknown", "testing", "accepted", "rejected", "aborted"}[s])
	return p.fake.SetPlatformState(f, s)
}

func (p *scribe) Callback(a *Agent, c Callback, info Info) CustomStatus {
	p.add("tell %v", c)
	return p.fake.Callback(a, c, info)
}

// The library's table, as its documentation of behaviour has it: state, event, the state after a handler that succeeds, and
// what the handler does. The file in hand has three blocks and none is here; from CreatingFile on its job is AFR_OTA-1. Rows
// that begin with a release stand for that one. A pair without a row is unexpected: the state stays, and nothing happens but
// that the buffer of a message is given back.
const libraryTable = `
Ready               | Start               | RequestingJob       | post RequestJobDocument
RequestingJob       | RequestJobDocument  | WaitingForJob       | sub jobs/notify-next, pub jobs/$next/get, stop request
RequestingJob       | RequestTimer        | WaitingForJob       | sub jobs/notify-next, pub jobs/$next/get, stop request
WaitingForJob       | ReceivedJobDocument | CreatingFile        | tell ReceivedJob, create, tell Processed, post CreateFile
CreatingFile        | StartSelfTest       | WaitingForJob       | image rejected, pub FAILED, reset
CreatingFile        | CreateFile          | RequestingFileBlock | sub streams/s-1/data/cbor, post RequestFileBlock
CreatingFile        | RequestTimer        | RequestingFileBlock | sub streams/s-1/data/cbor, post RequestFileBlock
RequestingFileBlock | RequestFileBlock    | WaitingForFileBlock | start request, pub streams/s-1/get/cbor
RequestingFileBlock | RequestTimer        | WaitingForFileBlock | start request, pub streams/s-1/get/cbor
WaitingForFileBlock | ReceivedFileBlock   | WaitingForFileBlock | start request, write, pub IN_PROGRESS, start request, tell Processed, post RequestFileBlock
WaitingForFileBlock | RequestTimer        | WaitingForFileBlock | start request, pub streams/s-1/get/cbor
WaitingForFileBlock | RequestFileBlock    | WaitingForFileBlock | start request, pub streams/s-1/get/cbor
WaitingForFileBlock | RequestJobDocument  | WaitingForJob       | sub jobs/notify-next, pub jobs/$next/get, stop request
WaitingForFileBlock | ReceivedJobDocument | RequestingJob       | stop request, image aborted, unsub streams/s-1/data/cbor, abort file, post RequestJobDocument
WaitingForFileBlock | CloseFile           | WaitingForJob       | unsub streams/s-1/data/cbor, abort file
Suspended           | Resume              | RequestingJob       | post RequestJobDocument
`

func cut(line string) []string {
	cells := strings.Split(line, "|")
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	return cells
}

type outcome struct{ next, did string }

// expected is the table of one release by state and event.
func expected(p *Profile) map[string]outcome {
	rows := map[string]outcome{}
	for line := range strings.SplitSeq(strings.TrimSpace(libraryTable), "\n") {
		c := cut(line)
		rows[c[0]+"/"+c[1]] = outcome{c[2], c[3]}
	}
	for s := Init; s < Stopped; s++ {
		rows[s.String()+"/Suspend"] = outcome{"Suspended", ""}
		ends := outcome{"Stopped", "stop request, stop self-test, unsub jobs/notify-next, abort file"}
		if s >= CreatingFile {
			rows[s.String()+"/UserAbort"] = outcome{"WaitingForJob", "image aborted, pub FAILED, unsub streams/s-1/data/cbor, abort file"}
			ends.did = "stop request, stop self-test, unsub jobs/notify-next, unsub streams/s-1/data/cbor, unsub streams/s-1/data/cbor, abort file"
		}
		rows[s.String()+"/Shutdown"] = ends
	}
	for key, row := range rows {
		switch {
		case strings.HasSuffix(key, "/Shutdown") && (p == V300 || p == B36DB646): // C24; the timers are stopped when it is asked for
			row.did = strings.TrimPrefix(row.did, "stop request, stop self-test, ")
		case key == "WaitingForFileBlock/ReceivedFileBlock" && p == V300: // no progress after the first block
			row.did = strings.Replace(row.did, "pub IN_PROGRESS, ", "", 1)
		}
		if p == Ideal {
			switch {
			case strings.HasSuffix(key, "/Suspend"): // not before it comes up
				row.did = "stop request, stop self-test"
			case strings.HasSuffix(key, "/UserAbort"): // C11, the verdict ends the guard, and an answer is due
				row.did = "stop request, stop self-test, image aborted, start request, pub FAILED, unsub streams/s-1/data/cbor, abort file"
			case strings.HasSuffix(row.did, "pub jobs/$next/get, stop request"):
				row.did = strings.TrimSuffix(row.did, "stop request") + "start request"
			case key == "WaitingForJob/ReceivedJobDocument":
				row.did = "start request, " + row.did
			case key == "Suspended/Resume":
				row.did = "start request, " + row.did
			case key == "CreatingFile/StartSelfTest":
				row.did = "stop self-test, image rejected, start request, pub FAILED, reset"
			case key == "WaitingForFileBlock/ReceivedJobDocument":
				row.did = "tell Processed, " + row.did
			}
		}
		rows[key] = row
	}
	if p == Ideal { // C15
		rows["WaitingForJob/RequestJobDocument"] = rows["RequestingJob/RequestJobDocument"]
		rows["WaitingForJob/RequestTimer"] = rows["RequestingJob/RequestTimer"]
	}
	return rows
}

// inState puts an agent into a state, with the file in hand that the state has.
func inState(p *scribe, s State) Agent {
	a := New(&p.cfg, "dev", 0x10002)
	a.Initialise(p)
	if s >= CreatingFile {
		a.job, a.data = "AFR_OTA-1", dataMQTT
		parseDocument(document("300", "600"), &a.file, &p.cfg, p.Alloc)
		a.file.bitmap, a.file.Remaining = wholeBitmap(3), 3
		p.CreateFile(&a.file)
	}
	a.enter(s)
	p.did = nil
	return a
}

// TestTable walks every pair of state and event of every release of the library.
func TestTable(t *testing.T) {
	for _, profile := range Profiles {
		if profile.Task2018 {
			continue // TestTable2018
		}
		rows, listed := expected(profile), 0
		for s := Init; s < Stopped; s++ {
			for e := range eventCount {
				p := &scribe{fake: fake{cfg: DefaultConfig(profile), platform: PlatformValid, written: map[uint32]bool{}}}
				p.cfg.Log2Block = 8
				a := inState(p, s)
				m := message{id: e, turn: a.turn}
				switch e {
				case ReceivedJobDocument:
					m.data = document()
				case ReceivedFileBlock:
					m.data = blockOf(0, 256, 256)
				}
				key := s.String() + "/" + e.String()
				want, ok := rows[key]
				if ok {
					listed++
				} else if want = (outcome{next: s.String()}); m.data != nil {
					want.did = "tell Processed"
				}
				a.dispatch(p, m)
				for _, posted := range a.queue {
					p.add("post %v", posted.id)
				}
				require.Equal(t, want, outcome{a.state.String(), strings.Join(p.did, ", ")}, "%s %s", profile.Name, key)
			}
		}
		require.Len(t, rows, listed)
	}
}

// With a network that fails a handler that needs it fails, and the state stays.
func TestTableWithoutNetwork(t *testing.T) {
	for _, profile := range []*Profile{Main, V341, B36DB646, V300} {
		for _, c := range []struct {
			s    State
			e    EventID
			next State
			did  string
		}{
			{RequestingJob, RequestJobDocument, RequestingJob, "sub jobs/notify-next, start request"},
			{CreatingFile, CreateFile, CreatingFile, "sub streams/s-1/data/cbor, start request"},
			{RequestingFileBlock, RequestFileBlock, RequestingFileBlock, "start request, pub streams/s-1/get/cbor"},
			{WaitingForFileBlock, RequestTimer, WaitingForFileBlock, "start request, pub streams/s-1/get/cbor"},
			{WaitingForFileBlock, UserAbort, WaitingForFileBlock, "image aborted, pub FAILED"},
		} {
			p := &scribe{fake: fake{cfg: DefaultConfig(profile), platform: PlatformValid, written: map[uint32]bool{}}}
			p.cfg.Log2Block = 8
			a := inState(p, c.s)
			p.failNet = true
			a.dispatch(p, message{id: c.e, turn: a.turn})
			require.Equal(t, c.next, a.state, "%s %v %v", profile.Name, c.s, c.e)
			require.Equal(t, c.did, strings.Join(p.did, ", "), "%s %v %v", profile.Name, c.s, c.e)
		}
	}
}
