package sim

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/otasim/otasim/sim/live"
)

// ErrThing is wrapped by errors about things that a run does not have.
var ErrThing = errors.New("no such thing")

// hasThings checks the names of devices whose flash is wanted.
func (f *fleet) hasThings(files map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if f.index(name) < 0 {
			return fmt.Errorf("%w: %s; the first one is %s", ErrThing, name, f.things[0].name)
		}
	}
	return nil
}

// index is the number of the device that was made as this thing.
func (f *fleet) index(name string) int {
	return slices.IndexFunc(f.things, func(t thing) bool { return t.name == name })
}

// dump writes the whole flash of devices to files, by thing name: what esptool would
// read from the chip.
func (w *world) dump(files map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		d := w.devs[w.fleet.index(name)].dev
		if d == nil {
			continue // never made
		}
		b := make([]byte, d.Flash().Size())
		if err := d.Flash().Read(0, b); err != nil {
			return fmt.Errorf("flash of %s: %w", name, err)
		}
		if err := os.WriteFile(files[name], b, 0o644); err != nil {
			return &live.EnvironmentError{What: "flash of " + name, Err: err}
		}
	}
	return nil
}
