// Package check compiles and evaluates the expressions of a scenario: assertions, conditions and thresholds.
package check

// Kind says when an assertion is judged.
type Kind string

// The kinds of assertions.
const (
	Always      Kind = "always"      // after every event
	AtEnd       Kind = "atEnd"       // once, when the run is over
	Sometimes   Kind = "sometimes"   // must hold after at least one event
	EveryDevice Kind = "everyDevice" // for a device, each time it changed
)

// Threshold is one limit on a metric: "p(99) < 90m" on job_execution_duration of group canary.
type Threshold struct {
	Metric string // job_execution_duration
	Group  string // "" is the whole fleet
	Expr   string // as written
	Stat   string // p, max, min, avg, med, rate, count
	P      uint64 // with Stat p: ppm of the distribution, 990_000 is p(99)
	Op     string // <, <=, >, >=, ==
	Limit  int64  // nanoseconds, ppm or a count, as the metric is measured
}

// Program is a compiled expression.
type Program struct {
	Source string
}
