// Command vectors replays the reference vectors below a directory and prints
// one line a file, passed/total.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/otasim/otasim/sim/vectors"
)

func main() {
	dir := flag.String("dir", "testdata/vectors", "`directory` that holds flash/ and agent/")
	flag.Parse()
	if err := vectors.Run(*dir, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "vectors:", err)
		os.Exit(1)
	}
}
