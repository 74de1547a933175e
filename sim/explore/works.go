package explore

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/otasim/otasim/cloud/protocol"
	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/sim/kernel"
)

// Reference is the scenario without a fault: what there is to disturb.
type Reference struct {
	*Report
	Commands []uint64          // flash commands by device
	Data     [][]flashmodel.Op // by device: commands on otadata
	Messages []Message
	End      time.Duration
}

// Message is one PUBLISH of the reference run.
type Message struct {
	Device int
	Up     bool
	N      uint64 // as an Act counts
	At     time.Duration
	Op     string // what its topic ends with
}

// Reference runs the scenario once and takes notes.
func (e *Explorer) Reference() (*Reference, error) {
	ref := &Reference{Commands: make([]uint64, len(e.boards)), Data: make([][]flashmodel.Op, len(e.boards))}
	rep, err := e.Run(nil, func(p *player) {
		p.command = func(u *unit, op flashmodel.Op) {
			ref.Commands[u.index] = op.Index + 1
			if op.Addr >= u.board.Otadata && op.Addr < u.board.Otadata+2*flashmodel.SectorSize {
				op.Data = slices.Clone(op.Data)
				ref.Data[u.index] = append(ref.Data[u.index], op)
			}
		}
		count := map[[2]int]uint64{}
		p.frame = func(u *unit, up bool, now time.Duration, f *protocol.Frame) {
			if f.Kind != protocol.FrameMQTT || len(f.Head) == 0 || f.Head[0]>>4 != publish {
				return
			}
			k := [2]int{u.index, 0}
			if up {
				k[1] = 1
			}
			count[k]++
			ref.Messages = append(ref.Messages, Message{u.index, up, count[k], now, topicOf(f)})
		}
	})
	if err != nil {
		return nil, err
	}
	ref.Report, ref.End = rep, time.Duration(rep.Outcome.VirtualSeconds*float64(time.Second))
	return ref, nil
}

// cutParts is into how many works the cuts are divided.
const cutParts = 16

func cutWorks(devices []int, seeds int) (out []work) {
	for i := range uint64(cutParts) {
		out = append(out, work{PartCuts, fmt.Sprintf("cuts/%d", i), func(e *Explorer, tick func(uint64) bool) (*Tally, error) {
			return e.Sweep(Sweep{Seeds: seeds, Devices: devices, Part: i, Parts: cutParts}, tick)
		}})
	}
	return out
}

// kindWorks run one cut of each kind to the end of its job.
func kindWorks(kinds map[string]string) (out []work) {
	acts := slices.SortedFunc(maps.Values(kinds), func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	return actWorks(PartCuts, "whole", slices.Compact(acts))
}

// runsPerWork is how many whole runs one work makes.
const runsPerWork = 16

func actWorks(part, id string, acts []string) (out []work) {
	for chunk := range slices.Chunk(acts, runsPerWork) {
		out = append(out, work{part, fmt.Sprintf("%s/%s/%s", part, id, chunk[0]), func(e *Explorer, tick func(uint64) bool) (*Tally, error) {
			t := &Tally{}
			for _, text := range chunk {
				list, err := ParseActs(text)
				if err != nil {
					return nil, err
				}
				one, err := e.Whole(list)
				if err != nil {
					return nil, err
				}
				t.Merge(one)
				if !tick(1) {
					break
				}
			}
			return t, nil
		}})
	}
	return out
}

// doubleWorks cut once in every command on otadata, in every way and after every byte, and then again in every command on
// otadata that follows.
func doubleWorks(ref *Reference, devices []int) (out []work, err error) {
	for _, d := range devices {
		for _, op := range ref.Data[d] {
			for _, cut := range modes(nil, &op, doubleSeeds, true) {
				first := Act{Kind: Cut, Device: d, N: op.Index, Mode: cut.Mode, Keep: cut.Keep, Seed: cut.Seed, By: DefaultOff}
				out = append(out, work{PartDoubles, "doubles/" + first.String(), func(e *Explorer, tick func(uint64) bool) (*Tally, error) {
					t, err := e.Sweep(Sweep{Seeds: doubleSeeds, Devices: []int{d}, Before: []Act{first}, Data: true, Dense: true}, tick)
					if err == nil {
						t.Kinds = nil
						t.Coverage[CutTwice] += t.Cases
					}
					return t, err
				}})
			}
		}
	}
	return out, nil
}

// doubleSeeds are the seeds of the random modes in double cuts.
const doubleSeeds = 3

// isControl reports whether a message is about the job, not about a block of the file.
func (m *Message) isControl() bool { return !strings.HasPrefix(m.Op, "streams/") }

// fates are what may happen to a message: one that is late by more than the agent's timers, one
// that is late by less.
func (m *Message) fates() []Act {
	a := Act{Device: m.Device, N: m.N, Up: m.Up}
	var out []Act
	for _, f := range []struct {
		kind Kind
		by   time.Duration
	}{{Drop, 0}, {Dup, 20 * time.Millisecond}, {Dup, 5 * time.Second}, {Late, 2 * time.Second}, {Late, 40 * time.Second}} {
		a.Kind, a.By = f.kind, f.by
		out = append(out, a)
	}
	return out
}

// messageWorks disturb each message alone; then two of those about the job; then one of them and a cut in otadata.
func messageWorks(ref *Reference, devices []int) []work {
	var single, pairs []string
	var control []Act
	seen := map[string]int{}
	for i := range ref.Messages {
		m := &ref.Messages[i]
		if !slices.Contains(devices, m.Device) {
			continue
		}
		key := fmt.Sprintf("%d/%t/%s", m.Device, m.Up, m.Op)
		if seen[key]++; !m.isControl() && seen[key] > 4 && seen[key]%32 != 0 {
			continue // blocks are alike
		}
		for _, a := range m.fates() {
			single = append(single, a.String())
			if m.isControl() && (a.Kind != Dup || a.By > time.Second) {
				control = append(control, a)
			}
		}
	}
	for i, a := range control {
		for _, b := range control[i+1:] {
			if a.Device == b.Device && (a.Up != b.Up || a.N != b.N) {
				pairs = append(pairs, FormatActs([]Act{a, b}))
			}
		}
		for _, op := range ref.Data[a.Device] {
			for _, mode := range []flashmodel.CutMode{flashmodel.CutNotStarted, flashmodel.CutDone} {
				pairs = append(pairs, FormatActs([]Act{{Kind: Cut, Device: a.Device, N: op.Index, Mode: mode, By: DefaultOff}, a}))
			}
		}
	}
	if len(pairs) > maxPairs {
		r := kernel.Seed(0).Stream("pairs")
		r.Shuffle(len(pairs), func(i, j int) { pairs[i], pairs[j] = pairs[j], pairs[i] })
		pairs = pairs[:maxPairs]
	}
	return append(actWorks(PartMessages, "single", single), actWorks(PartMessages, "pair", pairs)...)
}

// maxPairs bounds the pairs; of more, so many are drawn.
const maxPairs = 1500
