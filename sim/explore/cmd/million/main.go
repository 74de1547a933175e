// Command million explores more than a million cases of the correct system: single and double power cuts in every way a
// command can tear, lost, doubled and late messages, and drawn mixtures of them. It prints what it did, and ends with status
// 1 if there is an alarm, which is a false one, or if there were too few cases. Interrupted, it goes on with the same -state.
//
//	go run ./sim/explore/cmd/million [-dir sim/explore/trials] [-workers 2] [-state FOLDER] [-only TEXT]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/otasim/otasim/sim/explore"
)

const wanted = 1_000_000

func main() {
	dir := flag.String("dir", "sim/explore/trials", "folder of the trials")
	workers := flag.Int("workers", 0, "threads (default: one per processor)")
	state := flag.String("state", "", "folder that keeps the progress")
	only := flag.String("only", "", "only rounds with this in their name")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	rounds, err := explore.Rounds(*dir)
	if err != nil {
		fail(err)
	}
	rounds = slices.DeleteFunc(rounds, func(r explore.Round) bool { return !strings.Contains(r.Name, *only) })
	var mu sync.Mutex
	shown := time.Now() //nolint:forbidigo // of a progress line
	cases, alarms, err := explore.Million(ctx, rounds, *workers, *state, os.Stdout, func(line string) {
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); now.Sub(shown) >= 10*time.Second { //nolint:forbidigo // as above
			shown = now
			fmt.Fprintln(os.Stderr, line)
		}
	})
	if err != nil {
		fail(err)
	}
	if alarms > 0 || *only == "" && cases < wanted {
		os.Exit(1)
	}
}
