//go:build !unix

package sim

import "math"

// peakRSS is not known here.
func peakRSS() uint64 { return 0 }

// openFiles has no limit here.
func openFiles() uint64 { return math.MaxUint64 }
