// Package check compiles and evaluates the expressions of a scenario: assertions, conditions and thresholds.
//
// An assertion of kind always is evaluated at the end of every epoch in which something changed, so it may use sums over the fleet only; a rule about single
// devices is an everyDevice, evaluated for the device that changed. Everything is typed when it is compiled: a run cannot
// fail on a misspelt name.
package check

// Kind says when an expression is judged.
type Kind string

// The kinds of expressions.
const (
	Always      Kind = "always"      // at the end of every epoch
	AtEnd       Kind = "atEnd"       // once, when the run is over
	Sometimes   Kind = "sometimes"   // must hold after at least one event
	EveryDevice Kind = "everyDevice" // for a device, each time it changed
	When        Kind = "when"        // a condition of an update, event, fault or attack
)

// Error is a mistake in an expression. From and To count characters.
type Error struct {
	From, To int
	Text     string
	Help     string
}

func (e *Error) Error() string { return e.Text }
