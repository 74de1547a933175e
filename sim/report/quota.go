package report

import "fmt"

// Quota is what was used of one quota of the account. The peak of a rate is what was asked for within one second of the clock,
// refused or not.
type Quota struct {
	Name      string `json:"name"`
	Limit     *int64 `json:"limit"` // in force; null: none
	Unit      string `json:"unit"`
	Peak      int64  `json:"peak"`
	Throttled uint64 `json:"throttled"` // refused, dropped or made to wait
	Static    bool   `json:"static"`    // a bound on one request or document, not on what a fleet asks for
}

// Share is the part of the limit that the peak is, 0 without a limit.
func (q *Quota) Share() float64 {
	if q.Limit == nil || *q.Limit == 0 {
		return 0
	}
	return float64(q.Peak) / float64(*q.Limit)
}

// Binds reports whether the quota was in the way: it throttled, or it is the rate of rollouts, which refuses nothing, and was used
// up. Other rates may pass their limit for a second without a refusal.
func (q *Quota) Binds() bool {
	return q.Throttled > 0 || q.Name == "rollout-rate" && q.Share() >= 1
}

func (q *Quota) String() string {
	if q.Limit == nil {
		return fmt.Sprintf("%s %s (no limit)", q.Name, Thousands(q.Peak))
	}
	text := fmt.Sprintf("%s %s of %s", q.Name, Thousands(q.Peak), Thousands(*q.Limit))
	if q.Throttled > 0 {
		text += fmt.Sprintf(", throttled %s times", Thousands(q.Throttled))
	}
	return text
}

// Tightest is the quota that was most in the way: of those that throttled the one that did so most often, else the one with the
// least headroom; static ones only if they refused something. nil: nothing was used.
func (r *Result) Tightest() (out *Quota) {
	for i := range r.Quotas {
		q := &r.Quotas[i]
		if q.Static && q.Throttled == 0 {
			continue
		}
		if out == nil || q.Throttled > out.Throttled || q.Throttled == out.Throttled && q.Share() > out.Share() {
			out = q
		}
	}
	return out
}
