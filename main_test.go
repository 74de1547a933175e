package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"otasim": main})
}

// TestCommand runs the real world behind the real command line.
func TestCommand(t *testing.T) {
	scenarios, err := filepath.Abs("scenarios")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("SCENARIOS", scenarios)
			e.Setenv("OTASIM_FIRMWARE", os.Getenv("OTASIM_FIRMWARE"))
			return nil
		},
		Condition: func(cond string) (bool, error) {
			return cond == "firmware" && os.Getenv("OTASIM_FIRMWARE") != "", nil
		},
	})
}
