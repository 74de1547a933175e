package explore

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/otasim/otasim/flashmodel"
	"github.com/otasim/otasim/sim/check"
)

// own are the keys of a scenario file that a failure brings with it.
var own = []string{"seed", "faults", "attacks", "assertions", "thresholds", "variants"}

// effects are the words of a scenario file for acts on messages.
var effects = map[Kind]string{Drop: "drop-message", Dup: "duplicate-message", Late: "delay-message"}

// ScenarioFile is a scenario file with one failure in it, made from the text of the case's own: ready to be committed,
// next to that file, as a regression test. It fails as long as the failure is there. ok is false when nothing was done to the
// run: then the case's own file shows the failure.
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
	faults, events := r.words(e.bench.Lead())
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Found by otasim explore: %s, %s.\n", f.Invariant, f.Detail)
	if f.Known != "" {
		fmt.Fprintf(&b, "# A known limit of this agent: %s, see docs/explore.md.\n", f.Known)
	}
	fmt.Fprintf(&b, "#\n#   otasim replay %s\n#\n", f.Token)
	copyScenario(&b, text, events)
	fmt.Fprintf(&b, "seed: %d\n\nvariants:\n  - name: found\n    set:\n", k.Seed)
	for i := range e.sc.Fleet.Groups {
		fmt.Fprintf(&b, "      fleet.groups.%s.count: %d\n", e.sc.Fleet.Groups[i].Name, e.sc.Fleet.Groups[i].Count)
	}
	for _, s := range k.Sets {
		path, value, _ := strings.Cut(s, "=")
		fmt.Fprintf(&b, "      %s: %s\n", path, value)
	}
	b.WriteString("    expect: {verdict: pass}\n")
	if faults != "" {
		fmt.Fprintf(&b, "\nfaults:\n%s", faults)
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
	if f.Invariant == check.Tolerance {
		for _, job := range slices.Sorted(maps.Keys(e.ended)) {
			fmt.Fprintf(&b, "  - name: %s succeeds as often as with every message once and in order\n    atEnd: jobs[%q].executions[\"SUCCEEDED\"] >= %d\n", job, job, e.ended[job])
		}
	}
	return b.Bytes(), faults+events != "", nil
}

// words are the acts that took place as faults and events of a scenario file. An event comes lead late.
func (r *Report) words(lead time.Duration) (faults, events string) {
	var b, e strings.Builder
	n, messages := 0, 0
	for i := range r.player.units {
		u := &r.player.units[i]
		offs := 0
		for j, a := range u.fired {
			switch a.Kind {
			case Cut:
				n++
				s := u.spots[j]
				fmt.Fprintf(&b, "  - name: cut %d # %s\n    type: power-cut\n    select: {things: [%s]}\n    at: %s\n    nth: %d\n    command: any\n    skip: %d\n    leaves: %s\n",
					n, u.did[j], u.board.Thing, pointText(s.Point, s.Arg), s.Nth, s.Skip-1, a.Mode)
				if a.Mode == flashmodel.CutPrefix {
					fmt.Fprintf(&b, "    keep: %dB\n", a.Keep)
				}
				if Random(a.Mode) {
					fmt.Fprintf(&b, "    tornSeed: %d\n", a.Seed)
				}
				fmt.Fprintf(&b, "    off: %s\n", a.By)
			case Off: // no command is torn, so power may fail a little later
				at, back := max(a.At-lead, time.Millisecond), u.lost[offs]+a.By-lead
				offs++
				fmt.Fprintf(&e, "  - {at: %s, powerOff: {things: [%s]}} # %s\n  - {at: %s, powerOn: {things: [%s]}}\n", at, u.board.Thing, u.did[j], back, u.board.Thing)
			default:
				messages++
				fmt.Fprintf(&b, "  - name: message %d # %s\n    type: network\n    effect: %s\n    select: {things: [%s]}\n    direction: %s\n    nth: %d\n",
					messages, u.did[j], effects[a.Kind], u.board.Thing, direction(a.Up), a.N)
				if a.Kind != Drop {
					fmt.Fprintf(&b, "    latency: %s\n", a.By)
				}
			}
		}
	}
	return b.String(), e.String()
}

func direction(up bool) string {
	if up {
		return "up"
	}
	return "down"
}

// copyScenario copies a scenario file without the keys that a failure brings, and without the comment at its head. Its events are
// joined by more.
func copyScenario(w io.StringWriter, text []byte, more string) {
	write := func(s string) { _, _ = w.WriteString(s) } // a buffer takes everything
	skip, head := false, true
	for line := range strings.Lines(string(text)) {
		if head && strings.HasPrefix(line, "#") {
			continue
		}
		head = false
		if strings.TrimSpace(line) != "" && !strings.ContainsAny(line[:1], " \t#-") {
			key, _, _ := strings.Cut(line, ":")
			skip = slices.Contains(own, key)
			if key == "events" && more != "" {
				write(line + more)
				more = ""
				continue
			}
		}
		if !skip {
			write(line)
		}
	}
	if more != "" {
		write("events:\n" + more + "\n")
	}
}
