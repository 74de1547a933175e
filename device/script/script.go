// Package script turns bytes into lives of the OTA agent (Agent), and holds every step against the invariants of a correct
// device. The tests of package device play the same steps with flash, power cuts and a cloud.
//
//	bytes    op arg  op arg  op arg ...          two bytes a step, any byte is good: op modulo the number of ops
//	         |
//	Decode -> []Step -> Run.Step(...) -> Violations
//
// Every input is a script, so a fuzzer or an exploration engine needs no grammar; Encode is the way back. What a profile is
// known to do wrong is excused by the names of its behaviours (Invariant.Broken), nothing else is.
package script

import "fmt"

// Step is one thing that happens to the agent or the device.
type Step struct {
	Op  Op
	Arg byte
}

// Op names what happens.
type Op uint8

// The ops of both targets. Arg chooses among variants, modulo their number.
const (
	Doc      Op = iota // job document Arg of Documents arrives
	Next               // the lowest wanted block arrives, Arg more behind it (modulo 4)
	Block              // block Arg of the file in hand, or the one behind its end
	Foreign            // a block of another stream (even Arg) or another file id (odd)
	Damaged            // a block message that is wrong: see Damages
	Again              // the latest message once more
	Body               // an HTTP response: 206 with the range asked for, repeated, too long; 403; 500
	Timer              // the request timer runs out, if it is armed
	Guard              // the self-test timer runs out, if it is armed
	Suspend            // the connection ends
	Resume             // and is back
	Net                // every network call fails from now on (odd Arg), or works again
	Fault              // the next call of the platform layer or the heap fails: create, write, close, set state, heap
	Verdict            // the application accepts (even) or rejects the image in its test
	Abort              // the user aborts
	Check              // the application asks for an update
	Shutdown           // the agent is shut down, with the unsubscribe flag Arg modulo 2; a stopped one is started
	Hold               // events queue up unprocessed (odd Arg), or are processed again
	Reboot             // power fails and returns
	opCount
)

var opNames = [opCount]string{"doc", "next", "block", "foreign", "damaged", "again", "body", "timer", "guard", "suspend",
	"resume", "net", "fault", "verdict", "abort", "check", "shutdown", "hold", "reboot"}

func (o Op) String() string { return opNames[o%opCount] }

// Ops lists every op.
func Ops() []Op {
	all := make([]Op, opCount)
	for i := range all {
		all[i] = Op(i)
	}
	return all
}

func (s Step) String() string { return fmt.Sprintf("%v(%d)", s.Op, s.Arg) }

// Decode reads a script. It is total: every input is one. A last byte without argument has argument 0.
func Decode(data []byte) []Step {
	steps := make([]Step, 0, (len(data)+1)/2)
	for i := 0; i < len(data); i += 2 {
		steps = append(steps, at(data, i))
	}
	return steps
}

// at reads the step at an even offset.
func at(data []byte, i int) Step {
	s := Step{Op: Op(data[i]) % opCount}
	if i+1 < len(data) {
		s.Arg = data[i+1]
	}
	return s
}

// Encode is the inverse of Decode.
func Encode(steps ...Step) []byte {
	data := make([]byte, 0, 2*len(steps))
	for _, s := range steps {
		data = append(data, byte(s.Op), s.Arg)
	}
	return data
}

// Violation is a step after which an invariant did not hold.
type Violation struct {
	Step      int // from 0
	Invariant int // number
	What      string
}

func (v Violation) String() string {
	return fmt.Sprintf("step %d: invariant %d (%s): %s", v.Step, v.Invariant, Invariants[v.Invariant-1].Text, v.What)
}
