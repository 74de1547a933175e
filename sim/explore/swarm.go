package explore

import (
	"fmt"
	"time"

	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/sim/kernel"
)

const (
	swarmRound = 64 // runs of one round
	swarmWork  = 8  // runs of one work
)

// swarmWorks are runs of which each draws its own configuration: which kinds of faults there are at all, how many, and
// how links and agent are set.
func swarmWorks(base Case, ref *Reference, devices []int, from uint64) (out []work) {
	for at := from; at < from+swarmRound; at += swarmWork {
		out = append(out, work{PartSwarm, fmt.Sprintf("swarm/%d", at), func(e *Explorer, tick func(uint64) bool) (*Tally, error) {
			t := &Tally{}
			for n := at; n < at+swarmWork; n++ {
				k, acts := Draw(base, groupsOf(e), ref, devices, n)
				one, err := New(e.ctx, k)
				if err != nil {
					return nil, fmt.Errorf("swarm run %d: %w", n, err)
				}
				r, err := one.Whole(acts)
				if err != nil {
					return nil, err
				}
				for i := range r.Failures {
					r.Failures[i].Sets, r.Failures[i].Seed = k.Sets[len(base.Sets):], k.Seed
				}
				t.Merge(r)
				if !tick(1) {
					break
				}
			}
			return t, nil
		}})
	}
	return out
}

// knobs are the settings that a swarm run may change.
var knobs = []struct {
	path   string
	values []string
}{
	{"otaconfig.MAX_NUM_BLOCKS_REQUEST", []string{"1", "4", "16"}},
	{"otaconfig.FILE_REQUEST_WAIT_MS", []string{"2500", "30000"}},
	{"otaconfig.LOG2_FILE_BLOCK_SIZE", []string{"10", "11"}},
	{"bootloader", []string{"idf-5.5", "idf-6.0", "afr-2022"}},
}

func groupsOf(e *Explorer) (out []string) {
	for i := range e.sc.Fleet.Groups {
		out = append(out, e.sc.Fleet.Groups[i].Name)
	}
	return out
}

// Draw makes the n-th swarm run of a case.
func Draw(base Case, groups []string, ref *Reference, devices []int, n uint64) (Case, []Act) {
	r := kernel.Seed(base.Seed).Stream(fmt.Sprintf("swarm/%d", n))
	k := base
	k.Seed = base.Seed + 1 + n
	k.Sets = append([]string(nil), base.Sets...)
	for _, knob := range knobs {
		if i := r.Below(uint64(len(knob.values) + 1)); i > 0 {
			for _, g := range groups {
				k.Sets = append(k.Sets, "fleet.groups."+g+"."+knob.path+"="+knob.values[i-1])
			}
		}
	}
	var acts []Act
	for _, d := range devices {
		use := r.Uint64() // a bit for each kind of fault
		some := func(bit uint64, most int) int {
			if use>>bit&1 == 0 {
				return 0
			}
			return 1 + int(r.Below(uint64(most)))
		}
		for range some(0, 3) {
			a := Act{Kind: Cut, Device: d, N: r.Below(max(ref.Commands[d]*3/2, 1)), By: off(&r)}
			if data := ref.Data[d]; len(data) > 0 && r.Below(2) == 0 {
				a.N = data[r.Below(uint64(len(data)))].Index + r.Below(3)
			}
			a.Mode = flashmodel.CutMode(1 + r.Below(uint64(flashmodel.CutDone)))
			if a.Mode == flashmodel.CutPrefix {
				a.Keep = uint32(r.Below(64))
			}
			if Random(a.Mode) {
				a.Seed = r.Below(1000)
			}
			acts = append(acts, a)
		}
		for range some(1, 3) {
			acts = append(acts, Act{Kind: Off, Device: d, At: time.Millisecond * time.Duration(1+r.Below(uint64(ref.End/time.Millisecond))), By: off(&r)})
		}
		for bit, kind := range []Kind{Drop, Dup, Late} {
			for range some(uint64(bit)+2, 6) {
				a := Act{Kind: kind, Device: d, Up: r.Below(2) == 0, N: 1 + r.Below(uint64(len(ref.Messages)/2+8))}
				if kind != Drop {
					a.By = time.Millisecond * time.Duration(1+r.Below(60_000))
				}
				acts = append(acts, a)
			}
		}
	}
	sortActs(acts)
	return k, acts
}

func off(r *kernel.Rand) time.Duration {
	return time.Second << r.Below(9)
}
