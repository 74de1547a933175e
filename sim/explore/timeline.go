package explore

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/device"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/sim"
	"github.com/otasim/otasim/sim/check"
)

// Line is one line of a timeline.
type Line struct {
	At     time.Duration
	Device int
	Topic  Topic
	Text   string
	n      int
}

// Topic is what a line is about.
type Topic uint8

// The topics.
const (
	TopicProgram Topic = iota // named points of the device's program, and what the acts did
	TopicMQTT                 // messages and connections
	TopicFlash                // commands
	TopicOtadata              // records before and after
	TopicConsole              // what the device prints
	TopicBreach               // an invariant that does not hold
)

var topicMarks = [...]string{"", "mqtt", "flash", "otadata", "log", "BREACH"}

// Recorder makes the timeline of a run.
type Recorder struct {
	Lines   []Line
	Console bool   // the console, with the boot loader's decisions
	Flash   bool   // every flash command
	Blocks  bool   // every block of a file
	Thing   string // the only device to follow, "": all

	boards  []sim.Board
	records [][2]check.Record
	run     []flashRun
	buf     bytes.Buffer
	data    []int
}

// flashRun is a run of like commands.
type flashRun struct {
	kind     flashmodel.OpKind
	from, at time.Duration
	addr     uint32
	n        uint64
	commands int
	index    uint64
}

func (r *Recorder) add(at time.Duration, dev int, topic Topic, format string, args ...any) {
	if r.Thing != "" && r.boards[dev].Thing != r.Thing {
		return
	}
	text := format
	if len(args) > 0 {
		text = fmt.Sprintf(format, args...)
	}
	r.Lines = append(r.Lines, Line{at, dev, topic, text, len(r.Lines)})
}

// Write takes the console, as the run prints it: seconds, thing, text.
func (r *Recorder) Write(b []byte) (int, error) {
	r.buf.Write(b)
	for {
		line, err := r.buf.ReadString('\n')
		if err != nil {
			r.buf.WriteString(line)
			return len(b), nil
		}
		f := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(f) < 3 {
			continue
		}
		s, err := strconv.ParseFloat(f[0], 64)
		dev := slices.IndexFunc(r.boards, func(x sim.Board) bool { return x.Thing == f[1] })
		if err != nil || dev < 0 {
			continue
		}
		r.add(time.Duration(s*1e6+0.5)*time.Microsecond, dev, TopicConsole, "%s", f[2])
	}
}

// change lets a player tell the recorder.
func (r *Recorder) change(p *player) {
	r.records, r.run, r.data = make([][2]check.Record, len(p.units)), make([]flashRun, len(p.units)), make([]int, len(p.units))
	for i := range p.units {
		if p.units[i].board.Thing == r.Thing {
			p.only = i
		}
	}
	p.log = func(now time.Duration, dev int, text string) { r.add(now, dev, TopicProgram, "%s", text) }
	p.frame = r.frame
	if r.Flash {
		p.command = func(u *unit, op flashmodel.Op) { r.command(u, &op) }
	}
	p.stepped = func(u *unit, _ time.Duration, _ *device.Event, _ bool) {
		r.flush(u.index)
		now := check.Records(u.dev.Flash(), u.board.Otadata)
		old := r.records[u.index]
		if now == old {
			return
		}
		for i := range now {
			switch {
			case old == [2]check.Record{}:
				r.add(u.dev.Flash().Clock(), u.index, TopicOtadata, "record %d is %s", i, now[i])
			case now[i] != old[i]:
				r.add(u.dev.Flash().Clock(), u.index, TopicOtadata, "record %d: %s -> %s", i, old[i], now[i])
			}
		}
		r.records[u.index] = now
	}
}

func (r *Recorder) command(u *unit, op *flashmodel.Op) {
	run := &r.run[u.index]
	if run.commands > 0 && run.kind == op.Kind && uint64(run.addr)+run.n == uint64(op.Addr) {
		run.n += uint64(op.Len)
		run.commands++
		run.at = op.Start + op.Dur
		return
	}
	r.flush(u.index)
	*run = flashRun{op.Kind, op.Start, op.Start + op.Dur, op.Addr, uint64(op.Len), 1, op.Index}
}

func (r *Recorder) flush(dev int) {
	run := &r.run[dev]
	if run.commands > 0 {
		r.add(run.from, dev, TopicFlash, "%s 0x%06x..0x%06x, %d bytes in %d commands from %d on, %v", run.kind, run.addr, uint64(run.addr)+run.n-1, run.n, run.commands, run.index, run.at-run.from)
	}
	*run = flashRun{}
}

// frame shows a frame as it is sent.
func (r *Recorder) frame(u *unit, up bool, now time.Duration, f *protocol.Frame) {
	dir := "cloud -> device"
	if up {
		dir = "device -> cloud"
	}
	if f.Kind != protocol.FrameMQTT {
		r.add(now, u.index, TopicMQTT, "%s  %s", dir, f.Kind)
		return
	}
	kind := f.Head[0] >> 4
	if kind != publish {
		if kind != 4 && kind < 12 { // neither PUBACK nor PINGREQ and PINGRESP
			r.add(now, u.index, TopicMQTT, "%s  %s", dir, packetNames[kind])
		}
		return
	}
	op := topicOf(f)
	if strings.HasPrefix(op, "streams/") && !r.Blocks {
		if r.data[u.index]++; r.data[u.index] > 2 {
			return
		}
	} else {
		r.data[u.index] = 0
	}
	text := ""
	if body := payload(f); len(body) > 0 && body[0] == '{' {
		text = "  " + short(string(body), 300)
	} else {
		text = fmt.Sprintf("  %d bytes", f.Len())
	}
	r.add(now, u.index, TopicMQTT, "%s  PUBLISH %s%s", dir, op, text)
}

var packetNames = [16]string{"", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", ""}

// payload is the JSON document in a PUBLISH, nil if there is none.
func payload(f *protocol.Frame) []byte {
	if len(f.Body) > 0 {
		return f.Body
	}
	if i := bytes.IndexByte(f.Head, '{'); i >= 0 {
		return f.Head[i:]
	}
	return nil
}

func short(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}

// Replay runs a case with a recorder.
func (e *Explorer) Replay(acts []Act, r *Recorder) (*Report, error) {
	p, offs, err := newPlayer(e.boards, e.chip, acts)
	if err != nil {
		return nil, err
	}
	r.boards = e.boards
	r.change(p)
	opt := sim.Options{}
	if r.Console {
		opt.Trace = r
	}
	rep, err := e.run(p, offs, opt)
	if err != nil {
		return nil, err
	}
	for i := range r.run {
		r.flush(i)
	}
	for _, f := range rep.Found {
		r.add(f.At, f.Device, TopicBreach, "%s: %s", f.Invariant, f.Detail)
	}
	slices.SortStableFunc(r.Lines, func(a, b Line) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.n, b.n)) })
	return rep, nil
}

// Print prints the timeline of one device, or of all with -1.
func (r *Recorder) Print(w io.Writer, dev int) {
	for i := range r.Lines {
		l := &r.Lines[i]
		if dev >= 0 && l.Device != dev {
			continue
		}
		name := ""
		if dev < 0 && len(r.boards) > 1 {
			name = r.boards[l.Device].Thing + "  "
		}
		fmt.Fprintf(w, "%12.6f  %s%-7s  %s\n", l.At.Seconds(), name, topicMarks[l.Topic], l.Text)
	}
}
