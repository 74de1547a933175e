// Command mutants plants every defect of device/defect and cloud/defect, one at a time, and says which checker notices,
// after how many cases and how long. It ends with status 1 if one is not noticed, or if the correct system is suspected.
//
//	go run ./sim/explore/cmd/mutants [-dir sim/explore/trials] [-only name,name]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/otasim/otasim/sim/explore"
)

func main() {
	dir := flag.String("dir", "sim/explore/trials", "folder of the trials")
	only := flag.String("only", "", "names separated by commas (default: all)")
	flag.Parse()
	ok := true
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	correct, err := explore.Hunt(context.Background(), *dir, explore.Mutant{})
	if err != nil {
		fail(err)
	}
	if correct.Caught {
		fmt.Printf("the correct system is suspected: %s: %s (%s)\n  otasim replay %s\n", correct.Checker, correct.Detail, correct.Trial, correct.Token)
		ok = false
	}
	var list []explore.Catch
	for _, m := range explore.Mutants() {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), m.Name) {
			continue
		}
		c, err := explore.Hunt(context.Background(), *dir, m)
		if err != nil {
			fail(err)
		}
		list = append(list, c)
	}
	explore.WriteCatches(os.Stdout, list)
	missed := 0
	for _, c := range list {
		if !c.Caught {
			missed++
		}
	}
	fmt.Printf("%d of %d caught; the correct system passes %d cases without an alarm\n", len(list)-missed, len(list), correct.Cases)
	if missed > 0 || !ok {
		os.Exit(1)
	}
}
