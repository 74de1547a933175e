// Command predict holds the simulator's predictions against measurements: it plays one
// scenario in virtual time and on real sockets, with fleets of several sizes, and prints
// both, with their difference and the difference that is allowed. Its exit status is 99
// when one is too large.
package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/otasim/otasim/sim"
	"github.com/otasim/otasim/sim/report"
	"github.com/otasim/otasim/sim/scenario"
)

// What is compared, and how far the two may be apart, in per cent.
var rows = []struct {
	name    string
	allowed float64
	of      func(*report.Result) float64
}{
	{"messages from devices", 5, func(r *report.Result) float64 { return float64(r.Traffic.MQTTMessagesIn) }},
	{"messages to devices", 5, func(r *report.Result) float64 { return float64(r.Traffic.MQTTMessagesOut) }},
	{"bytes from devices", 5, func(r *report.Result) float64 { return float64(r.Traffic.MQTTBytesIn) }},
	{"bytes to devices", 5, func(r *report.Result) float64 { return float64(r.Traffic.MQTTBytesOut) }},
	{"metered messages", 5, func(r *report.Result) float64 { return float64(r.Traffic.MeteredMessages) }},
	{"connects", 5, func(r *report.Result) float64 { return float64(r.Traffic.Connects) }},
	{"time to 50 %", 15, func(r *report.Result) float64 { return at(r.Updates.TimeTo50) }},
	{"time to 90 %", 15, func(r *report.Result) float64 { return at(r.Updates.TimeTo90) }},
	{"time to 99 %", 15, func(r *report.Result) float64 { return at(r.Updates.TimeTo99) }},
}

func at(t *float64) float64 {
	if t == nil {
		return math.Inf(1)
	}
	return *t
}

func main() {
	file := flag.String("scenario", "scenarios/prediction.yaml", "scenario to play")
	sizes := flag.String("devices", "500,2000", "sizes of the fleet")
	flag.Parse()
	good := true
	for _, text := range strings.Split(*sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			fmt.Fprintf(os.Stderr, "predict: -devices %s: expected numbers such as 500,2000\n", *sizes)
			os.Exit(2)
		}
		ok, err := compare(*file, n)
		if err != nil {
			fmt.Fprintf(os.Stderr, "predict: %v\n", err)
			os.Exit(1)
		}
		good = good && ok
	}
	if !good {
		os.Exit(99)
	}
}

// compare plays the scenario with n devices in both worlds and prints the table.
func compare(file string, n int) (good bool, err error) {
	var results [2]*report.Result
	for i, mode := range []string{sim.Virtual, sim.Live} {
		sc, problems, err := scenario.Load(file, scenario.Options{Devices: n})
		if err != nil {
			return false, err
		}
		if sc == nil {
			return false, fmt.Errorf("%v", problems)
		}
		if results[i], err = sim.Run(context.Background(), sc, sim.Options{Mode: mode}); err != nil {
			return false, err
		}
	}
	predicted, measured := results[0], results[1]
	fmt.Printf("%d devices: predicted in %.1f s, measured on sockets in %.1f s; verdicts %s and %s\n", n, predicted.WallSeconds, measured.WallSeconds, predicted.Verdict, measured.Verdict)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tpredicted\tmeasured\tdifference\tallowed\t\t")
	good = predicted.Verdict == measured.Verdict
	for _, r := range rows {
		p, m := r.of(predicted), r.of(measured)
		diff := 100 * (p - m) / m
		verdict := "ok"
		if !(math.Abs(diff) <= r.allowed) {
			verdict, good = "TOO FAR", false
		}
		show := func(v float64) string { return report.Thousands(int64(v)) }
		if r.allowed == 15 {
			show = func(v float64) string {
				return report.Clock(time.Duration(v * float64(time.Second)).Round(100 * time.Millisecond))
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%+.1f %%\t%.0f %%\t%s\t\n", r.name, show(p), show(m), diff, r.allowed, verdict)
	}
	return good, w.Flush()
}
