package explore

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// Findings is what a campaign came to.
type Findings struct {
	Case     Case
	Tally    Tally
	PerPart  map[string]*PartTally
	Failures []Finding
	Promised []State // what the campaign must have reached when it is done
	Elapsed  time.Duration
	Done     bool // not interrupted
}

// Missed are the promised states that a campaign which is done has not reached.
func (f *Findings) Missed() (out []State) {
	for _, s := range f.Promised {
		if f.Done && f.Tally.Coverage[s] == 0 {
			out = append(out, s)
		}
	}
	return out
}

// PartTally is one part's share.
type PartTally struct {
	Cases      uint64        `json:"cases"`      // cut points, booted to a verdict
	Recoveries uint64        `json:"recoveries"` // whole runs
	Time       time.Duration `json:"nanoseconds"`
}

// Finding is a failure with the way to see it again.
type Finding struct {
	Failure
	Token string
	File  string // of the scenario, if one was written
}

// Broken is the number of failures that are no known limit.
func (f *Findings) Broken() int {
	n := 0
	for i := range f.Failures {
		if f.Failures[i].Known == "" {
			n++
		}
	}
	return n
}

// Write prints the findings for a reader.
func (f *Findings) Write(w io.Writer) {
	f.writeParts(w)
	reached, all := f.Tally.Coverage.Reached()
	fmt.Fprintf(w, "\nnamed states %d of %d, in %v; %d are promised here\n", reached, all, f.Elapsed.Round(time.Millisecond), len(f.Promised))
	for i, n := range f.Tally.Coverage {
		note := ""
		switch promised := slices.Contains(f.Promised, State(i)); {
		case promised && n == 0:
			note = "  PROMISED"
		case n == 0:
			note = "  (not promised)"
		}
		fmt.Fprintf(w, "  %-40s %d%s\n", State(i), n, note)
	}
	if len(f.Failures) == 0 {
		fmt.Fprintf(w, "\nno invariant was broken\n")
	}
	for i := range f.Failures {
		x := &f.Failures[i]
		fmt.Fprintf(w, "\n%s  %s\n", x.Invariant, x.Detail)
		if x.Known != "" {
			fmt.Fprintf(w, "  known   %s\n", x.Known)
		}
		fmt.Fprintf(w, "  at      %s (%d cases)\n  acts    %s\n", x.Where, x.Count, FormatActs(x.Acts))
		for _, s := range x.Sets {
			fmt.Fprintf(w, "  set     %s\n", s)
		}
		if x.File != "" {
			fmt.Fprintf(w, "  file    %s\n", x.File)
		}
		fmt.Fprintf(w, "  again   otasim replay %s\n", x.Token)
	}
	for _, s := range f.Missed() {
		fmt.Fprintf(w, "\npromised, and never reached: %s\n", s)
	}
	if !f.Done {
		fmt.Fprintf(w, "\ninterrupted: these are the findings so far\n")
	}
}

func (f *Findings) writeParts(w io.Writer) {
	for _, name := range Parts() {
		if p := f.PerPart[name]; p != nil {
			n := p.Cases + p.Recoveries
			fmt.Fprintf(w, "%-9s %9d cut points, %6d whole runs  %8.0f cases/s per core\n", name, p.Cases, p.Recoveries, float64(n)/max(p.Time.Seconds(), 1e-9))
		}
	}
}

// WriteJSON writes the findings as one document.
func (f *Findings) WriteJSON(w io.Writer) error {
	type failure struct {
		Invariant string   `json:"invariant"`
		Detail    string   `json:"detail"`
		Known     string   `json:"known,omitempty"`
		Where     string   `json:"where"`
		Cases     uint64   `json:"cases"`
		Acts      string   `json:"acts"`
		Sets      []string `json:"sets,omitempty"`
		File      string   `json:"file,omitempty"`
		Replay    string   `json:"replay"`
	}
	doc := struct {
		Schema     string                `json:"schema"`
		Scenario   string                `json:"scenario"`
		Seed       uint64                `json:"seed"`
		Cases      uint64                `json:"cases"`
		Recoveries uint64                `json:"recoveries"`
		Parts      map[string]*PartTally `json:"parts"`
		States     map[string]uint64     `json:"states"`
		Missed     []string              `json:"missed"`
		Failures   []failure             `json:"failures"`
		Complete   bool                  `json:"complete"`
		Seconds    float64               `json:"wall_seconds"`
	}{"otasim.explore/1", f.Case.File, f.Case.Seed, f.Tally.Cases, f.Tally.Recoveries, f.PerPart, map[string]uint64{}, []string{}, []failure{}, f.Done, f.Elapsed.Seconds()}
	for i, n := range f.Tally.Coverage {
		doc.States[State(i).String()] = n
	}
	for _, s := range f.Missed() {
		doc.Missed = append(doc.Missed, s.String())
	}
	for i := range f.Failures {
		x := &f.Failures[i]
		doc.Failures = append(doc.Failures, failure{x.Invariant, x.Detail, x.Known, x.Where, x.Count, FormatActs(x.Acts), x.Sets, x.File, x.Token})
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}
