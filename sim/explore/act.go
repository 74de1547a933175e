package explore

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/otasim/otasim/flashmodel"
)

// Kind is what an Act does.
type Kind uint8

// The kinds of acts.
const (
	Cut  Kind = iota // power fails in flash command N of the device, counted from its manufacture
	Off              // power fails at a time
	Drop             // the N-th PUBLISH of one direction is lost, counted from 1
	Dup              // it arrives a second time, By later
	Late             // it arrives By later than it would: what is sent after it may overtake it
	kinds
)

var kindNames = [kinds]string{"cut", "off", "drop", "dup", "late"}

func (k Kind) String() string { return kindNames[k] }

// DefaultOff is how long power stays away after a cut.
const DefaultOff = 5 * time.Second

// Act is one thing that an explorer does to a run.
//
//	cut 1234 prefix 12 off=5s     the first 12 bytes of command 1234 are programmed
//	cut 1234 subset seed=7
//	off 63.2s off=10s
//	drop up 17                    from the device
//	dup down 3 by=20ms            to the device
//	late up 5 by=2s
//	@1 cut 8 done                 device 1; device 0 is not written
type Act struct {
	Kind   Kind
	Device int
	N      uint64        // Cut: flash command; Drop, Dup, Late: PUBLISH
	Up     bool          // Drop, Dup, Late: from the device
	At     time.Duration // Off
	By     time.Duration // Cut, Off: how long power stays away; Dup, Late
	Mode   flashmodel.CutMode
	Keep   uint32 // bytes, CutPrefix
	Seed   uint64 // the random modes
}

// Random reports whether a mode leaves what its seed says.
func Random(m flashmodel.CutMode) bool {
	return m == flashmodel.CutSubset || m == flashmodel.CutEraseNoise || m == flashmodel.CutEraseLooksDone
}

func (a Act) String() string {
	var b strings.Builder
	if a.Device != 0 {
		fmt.Fprintf(&b, "@%d ", a.Device)
	}
	b.WriteString(a.Kind.String())
	switch a.Kind {
	case Cut:
		fmt.Fprintf(&b, " %d %s", a.N, a.Mode)
		if a.Mode == flashmodel.CutPrefix {
			fmt.Fprintf(&b, " %d", a.Keep)
		}
		if Random(a.Mode) {
			fmt.Fprintf(&b, " seed=%d", a.Seed)
		}
	case Off:
		fmt.Fprintf(&b, " %s", a.At)
	default:
		fmt.Fprintf(&b, " %s %d", direction(a.Up), a.N)
	}
	switch {
	case a.Kind == Drop:
	case a.Kind > Off:
		fmt.Fprintf(&b, " by=%s", a.By)
	case a.By != DefaultOff:
		fmt.Fprintf(&b, " off=%s", a.By)
	}
	return b.String()
}

// ErrAct is wrapped by errors about the text of an act.
var ErrAct = errors.New("not an act")

// ParseAct reads what String writes.
func ParseAct(s string) (a Act, err error) {
	bad := func(why string) (Act, error) { return Act{}, fmt.Errorf("%w: %q: %s", ErrAct, s, why) }
	w := strings.Fields(s)
	if len(w) > 0 && strings.HasPrefix(w[0], "@") {
		if a.Device, err = strconv.Atoi(w[0][1:]); err != nil || a.Device < 0 {
			return bad("device")
		}
		w = w[1:]
	}
	if len(w) < 2 {
		return bad("too short")
	}
	k := slices.Index(kindNames[:], w[0])
	if k < 0 {
		return bad("unknown kind")
	}
	a.Kind = Kind(k)
	var rest []string
	switch a.Kind {
	case Cut:
		if a.N, err = strconv.ParseUint(w[1], 10, 64); err != nil || len(w) < 3 {
			return bad("command")
		}
		for m := flashmodel.CutNotStarted; m <= flashmodel.CutDone; m++ {
			if m.String() == w[2] {
				a.Mode = m
			}
		}
		if a.Mode == flashmodel.CutNone {
			return bad("mode")
		}
		rest = w[3:]
		if a.Mode == flashmodel.CutPrefix {
			if len(rest) == 0 {
				return bad("bytes")
			}
			keep, err := strconv.ParseUint(rest[0], 10, 17)
			if err != nil {
				return bad("bytes")
			}
			a.Keep, rest = uint32(keep), rest[1:]
		}
	case Off:
		if a.At, err = time.ParseDuration(w[1]); err != nil || a.At <= 0 {
			return bad("time")
		}
		rest = w[2:]
	default:
		if len(w) < 3 || w[1] != "up" && w[1] != "down" {
			return bad("direction")
		}
		a.Up = w[1] == "up"
		if a.N, err = strconv.ParseUint(w[2], 10, 64); err != nil || a.N == 0 {
			return bad("number")
		}
		rest = w[3:]
	}
	if a.Kind <= Off {
		a.By = DefaultOff
	}
	for _, r := range rest {
		key, value, _ := strings.Cut(r, "=")
		switch {
		case key == "seed" && a.Kind == Cut && Random(a.Mode):
			a.Seed, err = strconv.ParseUint(value, 10, 64)
		case key == "off" && a.Kind <= Off, key == "by" && a.Kind > Drop:
			if a.By, err = time.ParseDuration(value); err == nil && (a.By <= 0 || a.By > 1000*time.Hour) {
				err = ErrAct
			}
		default:
			return bad(r)
		}
		if err != nil {
			return bad(r)
		}
	}
	if a.Kind > Drop && a.By <= 0 {
		return bad("by")
	}
	return a, nil
}

// FormatActs writes acts in one line, ParseActs reads them.
func FormatActs(acts []Act) string {
	parts := make([]string, len(acts))
	for i, a := range acts {
		parts[i] = a.String()
	}
	return strings.Join(parts, "; ")
}

// ParseActs reads acts separated by semicolons.
func ParseActs(s string) ([]Act, error) {
	var out []Act
	for part := range strings.SplitSeq(s, ";") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		a, err := ParseAct(part)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// sortActs puts acts in the order of what they wait for: cuts by command, the others as they are.
func sortActs(acts []Act) {
	slices.SortStableFunc(acts, func(a, b Act) int {
		return cmp.Or(cmp.Compare(a.Device, b.Device), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.N, b.N), cmp.Compare(a.At, b.At))
	})
}
