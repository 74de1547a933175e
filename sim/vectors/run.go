package vectors

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
)

var (
	ErrNoVectors = errors.New("no vector file found")
	ErrFailed    = errors.New("vectors failed")
)

// ErrSkip, wrapped in the error of a Replay, says that the vector needs a
// table that is not there. The vector counts neither as passed nor as run.
var ErrSkip = errors.New("skipped")

const (
	workers     = 2 // the rest of the machine stays usable
	shownFailed = 5 // failing vectors named per file
)

// Result is what one file gave.
type Result struct {
	File                   string
	Passed, Total, Skipped int
	Failed                 []string // the first failing vectors, in file order
}

func (r Result) String() string { return fmt.Sprintf("%s %d/%d", r.File, r.Passed, r.Total) }

// Run replays every suite whose file is below dir. It writes one line a file
// to out and everything else to diag. The error is ErrNoVectors or ErrFailed,
// or a file could not be read.
func Run(dir string, out, diag io.Writer) error {
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("%w: %v", ErrNoVectors, err)
	}
	t, err := LoadTables(dir)
	if err != nil {
		return err
	}
	ran, failed := 0, 0
	for _, s := range Suites {
		if missing := s.missing(t); missing != "" {
			fmt.Fprintf(diag, "skip %s: table %s is absent\n", s.File, missing)
			continue
		}
		r, err := s.Run(dir, t)
		if errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(diag, "skip %s: file is absent\n", s.File)
			continue
		}
		if err != nil {
			return err
		}
		if r.Skipped > 0 {
			fmt.Fprintf(diag, "skip %s: %d vectors need an absent table\n", s.File, r.Skipped)
		}
		fmt.Fprintln(out, r)
		for _, f := range r.Failed {
			fmt.Fprintf(diag, "fail %s %s\n", s.File, f)
		}
		if n := r.Total - r.Passed; n > len(r.Failed) {
			fmt.Fprintf(diag, "fail %s ... and %d more\n", s.File, n-len(r.Failed))
		}
		ran += r.Total
		failed += r.Total - r.Passed
	}
	switch {
	case failed > 0:
		return fmt.Errorf("%d %w", failed, ErrFailed)
	case ran == 0:
		return fmt.Errorf("%w below %s", ErrNoVectors, dir)
	}
	return nil
}

func (s Suite) missing(t *Tables) string {
	for _, name := range s.Needs {
		if !t.has(name) {
			return name
		}
	}
	return ""
}

// Run replays one file.
func (s Suite) Run(dir string, t *Tables) (Result, error) {
	var lines []json.RawMessage
	if err := eachLine(dir, s.File, func(line []byte) error {
		lines = append(lines, append(json.RawMessage(nil), line...))
		return nil
	}); err != nil {
		return Result{}, err
	}
	errs := make([]error, len(lines))
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(lines); i += workers {
				errs[i] = s.replay(t, lines[i])
			}
		})
	}
	wg.Wait()
	r := Result{File: s.File}
	for i, err := range errs {
		switch {
		case errors.Is(err, ErrSkip):
			r.Skipped++
			continue
		case err == nil:
			r.Passed++
		case len(r.Failed) < shownFailed:
			r.Failed = append(r.Failed, idOf(lines[i])+": "+strings.ReplaceAll(err.Error(), "\n", "; "))
		}
		r.Total++
	}
	return r, nil
}

// replay turns a panic of the code under test into a failure of that vector.
func (s Suite) replay(t *Tables, line json.RawMessage) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return s.Replay(t, line)
}

func idOf(line json.RawMessage) string {
	var v struct{ ID string }
	if json.Unmarshal(line, &v) != nil || v.ID == "" {
		return "(vector without id)"
	}
	return v.ID
}
