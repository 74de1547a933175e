package explore

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/otasim/otasim/flashmodel"
)

// own are the keys of a scenario file that a failure brings with it.
var own = []string{"seed", "faults", "attacks", "assertions", "thresholds", "variants"}

// ScenarioFile is a scenario file with one failure in it, made from the text of the case's own: ready to be committed,
// next to that file, as a regression test. It fails as long as the failure is there. Acts on messages have no words in a
// scenario file; ok is false when there are some.
func ScenarioFile(ctx context.Context, text []byte, f *Finding) (out []byte, ok bool, err error) {
	k, err := ParseToken(f.Token)
	if err != nil {
		return nil, false, err
	}
	e, err := New(ctx, *k)
	if err != nil {
		return nil, false, err
	}
	r, err := e.Run(f.Acts, nil)
	if err != nil {
		return nil, false, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Found by otasim explore: %s, %s.\n#\n#   otasim replay %s\n#\n", f.Invariant, f.Detail, f.Token)
	copyScenario(&b, text)
	fmt.Fprintf(&b, "seed: %d\n\nvariants:\n  - name: found\n    set:\n", k.Seed)
	for i := range e.sc.Fleet.Groups {
		fmt.Fprintf(&b, "      fleet.groups.%s.count: %d\n", e.sc.Fleet.Groups[i].Name, e.sc.Fleet.Groups[i].Count)
	}
	for _, s := range k.Sets {
		path, value, _ := strings.Cut(s, "=")
		fmt.Fprintf(&b, "      %s: %s\n", path, value)
	}
	fmt.Fprintf(&b, "    expect: {verdict: pass}\n\nfaults:\n")
	ok = true
	n := 0
	for i := range r.player.units {
		u := &r.player.units[i]
		for j, a := range u.fired {
			switch a.Kind {
			case Cut:
				n++
				s := u.spots[j]
				fmt.Fprintf(&b, "  - name: cut %d\n    type: power-cut\n    select: {things: [%s]}\n    at: %s\n    command: any\n    skip: %d\n    leaves: %s\n", n, u.board.Thing, pointText(s.Point, s.Arg), s.Skip-1, a.Mode)
				if a.Mode == flashmodel.CutPrefix {
					fmt.Fprintf(&b, "    keep: %dB\n", a.Keep)
				}
				if Random(a.Mode) {
					fmt.Fprintf(&b, "    tornSeed: %d\n", a.Seed)
				}
				fmt.Fprintf(&b, "    off: %s\n", a.By)
			case Off:
				n++
				fmt.Fprintf(&b, "  - name: cut %d\n    type: power-cut\n    select: {things: [%s]}\n    at: %dms\n    off: %s\n", n, u.board.Thing, a.At.Milliseconds(), a.By)
			default:
				ok = false
			}
		}
	}
	b.WriteString(`
assertions:
  - name: no device is bricked, ever
    always: fleet.bricked == 0
  - name: the cloud says what the flash says
    atEnd: fleet.mismatched == 0
`)
	for _, x := range r.Outcome.Executions {
		fmt.Fprintf(&b, "  - name: %s ends for %s\n    atEnd: jobs[%q].executions[\"IN_PROGRESS\"] == 0 and jobs[%q].executions[\"QUEUED\"] == 0\n", x.Job, x.Thing, x.Job, x.Job)
	}
	return b.Bytes(), ok && n > 0, nil
}

// copyScenario copies a scenario file without the keys that a failure brings, and without the comment at its head.
func copyScenario(b *bytes.Buffer, text []byte) {
	skip, head := false, true
	for line := range strings.Lines(string(text)) {
		if head && strings.HasPrefix(line, "#") {
			continue
		}
		head = false
		if strings.TrimSpace(line) != "" && !strings.ContainsAny(line[:1], " \t#-") {
			key, _, _ := strings.Cut(line, ":")
			skip = false
			for _, o := range own {
				skip = skip || key == o
			}
		}
		if !skip {
			b.WriteString(line)
		}
	}
}
