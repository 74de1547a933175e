package quota

// A Peak is the most that was used of a limit, and how often it was in the way.
type Peak struct {
	Most    int64
	Refused uint64
}

// See notes a use.
func (p *Peak) See(n int64) {
	if n > p.Most {
		p.Most = n
	}
}

// And joins what was used of one quota in two places: the greater use, and both
// refusals.
func (p Peak) And(q Peak) Peak { return Peak{max(p.Most, q.Most), p.Refused + q.Refused} }

// A Use is what was used of one quota. A rate's peak is what was asked for within one
// second of the clock, refused or not; it can pass the limit without a refusal, as a
// bucket that was full lets one second's worth through at once.
type Use struct {
	Row
	Limit int64 // in force, 0 for none
	Peak
}

// Uses lists the quotas of which something was used, in the order of Rows.
func Uses(l Limits, peaks map[Name]Peak) (out []Use) {
	for _, r := range Rows {
		if p := peaks[r.Name]; p != (Peak{}) {
			out = append(out, Use{r, l[r.Name], p})
		}
	}
	return out
}
