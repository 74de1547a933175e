package script

import (
	"testing"

	"github.com/otasim/otasim/device/agent"
)

// FuzzAgent plays any bytes as a life of an agent: the first byte chooses the release, the rest, up to 32 steps, is the script.
// Nothing may panic, and no invariant may be broken but by what the release is known for.
//
// It lives here, and this package's tests do without testify, because the engine walks the coverage counters of every package in
// the test binary after each execution.
func FuzzAgent(f *testing.F) {
	for p := range agent.Profiles {
		for _, steps := range seeds {
			f.Add(append([]byte{byte(p)}, Encode(steps...)...))
		}
	}
	rigs := make([]*Agent, len(agent.Profiles))
	for i, p := range agent.Profiles {
		rigs[i] = NewAgent(p)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 {
			return
		}
		i := int(data[0]) % len(rigs)
		r := rigs[i]
		r.Reset(agent.Profiles[i])
		if r.Play(data[1:min(len(data), 65)]); len(r.Violations) > 0 {
			t.Fatalf("%s: %v\n%v", agent.Profiles[i].Name, r.Violations, Decode(data[1:]))
		}
	})
}

// seeds are lives that reach far.
var seeds = [][]Step{
	{{Op: Doc}, {Op: Next}, {Op: Next}, {Op: Next}, {Op: Doc, Arg: 3}, {Op: Verdict}},
	{{Op: Doc, Arg: 2}, {Op: Body}, {Op: Body, Arg: 1}, {Op: Body, Arg: 3}, {Op: Doc, Arg: 2}, {Op: Body}, {Op: Body}},
	{{Op: Doc}, {Op: Next}, {Op: Suspend}, {Op: Resume}, {Op: Doc, Arg: 1}, {Op: Next}, {Op: Foreign}},
	{{Op: Net, Arg: 1}, {Op: Doc}, {Op: Timer}, {Op: Timer}, {Op: Net}, {Op: Timer}, {Op: Abort}},
	{{Op: Doc}, {Op: Resume}, {Op: Foreign}, {Op: Resume}, {Op: Foreign}, {Op: Foreign}, {Op: Foreign}, {Op: Doc, Arg: 4}, {Op: Doc, Arg: 1}, {Op: Body}},
	{{Op: Hold, Arg: 1}, {Op: Doc}, {Op: Doc}, {Op: Check}, {Op: Hold}, {Op: Damaged, Arg: 3}, {Op: Shutdown, Arg: 1}, {Op: Shutdown}},
}
