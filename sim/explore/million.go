package explore

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/otasim/otasim/flashmodel"
)

// Round is one campaign of Million.
type Round struct {
	Name string
	Case Case
	Plan Plan
}

// Rounds are the campaigns that together explore a million cases of the correct system: updates that succeed, fail their
// self-test and are refused, by MQTT and HTTP, over every boot loader that knows a trial, with and without anti-rollback. dir
// holds the trials.
func Rounds(dir string) ([]Round, error) {
	var out []Round
	add := func(trial, name string, plan Plan, sets ...string) error {
		path := filepath.Join(dir, trial+".yaml")
		hash, err := FileHash(path)
		if err != nil {
			return err
		}
		out = append(out, Round{trial + ", " + name, Case{File: path, Hash: hash, Seed: 1, Sets: sets, Bare: true}, plan})
		return nil
	}
	all := Plan{Seeds: 6, Swarm: 320}
	for _, loader := range []string{"idf-5.5", "idf-6.0", "afr-2022"} {
		for _, trial := range []string{"update", "self-test-fail", "foreign-key"} {
			if err := add(trial, loader, all, "fleet.groups.field.bootloader="+loader); err != nil {
				return nil, err
			}
		}
		for _, r := range []struct {
			name string
			plan Plan
			set  string
		}{
			{"no anti-rollback", all, "fleet.defaults.sdkconfig.CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK=n"},
			{"HTTP", all, "updates.first.protocols=[HTTP]"},
			{"512 KiB", Plan{Seeds: 14, Only: []string{PartCuts}}, "firmware.1.1.0.size=512KiB"},
		} {
			if err := add("update", loader+", "+r.name, r.plan, "fleet.groups.field.bootloader="+loader, r.set); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// Million explores every round and prints what it did, and each failure with its token. It returns the number of cases, and
// of failures: every one is a false alarm. state is a folder that keeps the progress, "": it is not kept.
func Million(ctx context.Context, rounds []Round, workers int, state string, w io.Writer, progress func(string)) (cases uint64, alarms int, err error) {
	if state != "" {
		if err := os.MkdirAll(state, 0o755); err != nil {
			return 0, 0, err
		}
	}
	total := &Tally{}
	parts := map[string]*PartTally{}
	began := time.Now() //nolint:forbidigo // for the rate
	for i, r := range rounds {
		p := r.Plan
		p.Workers = workers
		if state != "" {
			p.State = filepath.Join(state, fmt.Sprintf("%02d.json", i+1))
		}
		p.Progress = func(p Progress) {
			progress(fmt.Sprintf("round %d of %d, %s: %s; %d in all", i+1, len(rounds), r.Name, p, total.Cases+total.Recoveries+p.Cases))
		}
		f, err := Campaign(ctx, r.Case, p)
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", r.Name, err)
		}
		if !f.Done {
			return total.Cases + total.Recoveries, alarms, ctx.Err()
		}
		fmt.Fprintf(w, "%-36s %8d cut points, %6d whole runs  %8v\n", r.Name, f.Tally.Cases, f.Tally.Recoveries, f.Elapsed.Round(100*time.Millisecond))
		for k := range f.Failures {
			x := &f.Failures[k]
			alarms++
			fmt.Fprintf(w, "  %s: %s, %s\n    %s\n    otasim replay %s\n", x.Invariant, x.Detail, x.Where, FormatActs(x.Acts), x.Token)
		}
		for name, one := range f.PerPart {
			sum := parts[name]
			if sum == nil {
				sum = &PartTally{}
				parts[name] = sum
			}
			sum.Cases += one.Cases
			sum.Recoveries += one.Recoveries
			sum.Time += one.Time
		}
		f.Tally.Failures = nil
		total.Merge(&f.Tally)
	}
	cases = total.Cases + total.Recoveries
	fmt.Fprintln(w)
	all := &Findings{PerPart: parts}
	all.writeParts(w)
	fmt.Fprintln(w)
	total.writeKinds(w)
	reached, states := total.Coverage.Reached()
	fmt.Fprintf(w, "\nnamed states %d of %d", reached, states)
	if missing := total.Coverage.Missing(); len(missing) > 0 {
		fmt.Fprintf(w, ", not: %s", strings.Join(missing, ", "))
	}
	fmt.Fprintf(w, "\n%d cases, %d alarms, in %v\n", cases, alarms, time.Since(began).Round(time.Second)) //nolint:forbidigo // for the reader
	return cases, alarms, nil
}

// writeKinds prints how many cases there were of each kind.
func (t *Tally) writeKinds(w io.Writer) {
	for i, n := range t.Torn {
		if n > 0 {
			fmt.Fprintf(w, "cut point   %-32s %9d\n", flashmodel.CutMode(i), n)
		}
	}
	for i, n := range t.Whole {
		if n > 0 {
			fmt.Fprintf(w, "whole run   %-32s %9d\n", WholeKind(i), n)
		}
	}
}
