package explore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// piece is a finished work: a line of the state file.
type piece struct {
	ID    string
	Part  string
	Time  time.Duration
	Tally *Tally
}

// saved is the first line of the state file. A line per finished work follows: what was written before a process was killed
// counts, a last line without an end does not.
type saved struct {
	Case  Case
	Seeds int
}

// resume reads the state file, if there is one, and goes on with it.
func (c *campaign) resume() error {
	if c.plan.State == "" {
		return nil
	}
	text, err := os.ReadFile(c.plan.State)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	whole := 0 // bytes of whole lines
	for line := range bytes.Lines(text) {
		if line[len(line)-1] != '\n' {
			break
		}
		if whole == 0 {
			var s saved
			if err := json.Unmarshal(line, &s); err != nil {
				return fmt.Errorf("%w: state file %s: %w", ErrPlan, c.plan.State, err)
			}
			if fmt.Sprint(s.Case) != fmt.Sprint(c.base) || s.Seeds != c.plan.Seeds {
				return fmt.Errorf("%w: state file %s is of another campaign: remove it or name another one", ErrPlan, c.plan.State)
			}
		} else {
			p := new(piece)
			if err := json.Unmarshal(line, p); err != nil || p.Tally == nil {
				break // from here on the file is damaged
			}
			c.done[p.ID] = p
		}
		whole += len(line)
	}
	if c.file, err = os.OpenFile(c.plan.State, os.O_WRONLY|os.O_CREATE, 0o600); err != nil {
		return err
	}
	if err := c.file.Truncate(int64(whole)); err != nil {
		return err
	}
	if _, err := c.file.Seek(int64(whole), io.SeekStart); err != nil || whole > 0 {
		return err
	}
	return c.keep(saved{c.base, c.plan.Seeds})
}

// keep appends a line to the state file.
func (c *campaign) keep(v any) error {
	if c.file == nil {
		return nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = c.file.Write(append(text, '\n'))
	return err
}
